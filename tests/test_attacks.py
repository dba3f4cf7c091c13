"""Attacks: a victim whose minimal perturbation is known, and what all attacks keep."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn
from victims import CentroidLinear, TinyPointNet, clouds, labelled

from mrpd_tutorial import geometry, nearest
from mrpd_tutorial.attacks import FAB, PGD, Attack, AttackResult, random_target_labels
from mrpd_tutorial.attacks.norms import NORMS, project, size, steepest
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.geometry import knn_smoothness
from mrpd_tutorial.runtime import generator

# One setting for each norm, about as strong as the others on the clouds below.
SETTINGS = {"per_point": 0.1, "l2": 0.8, "linf": 0.06}


@pytest.fixture
def linear() -> CentroidLinear:
    return CentroidLinear().eval()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_binary_victim_falls_just_above_its_minimal_budget(norm, loss):
    model = CentroidLinear(num_classes=2).eval()
    points, labels = labelled(model)
    needed = model.minimal_eps(points, labels, norm).float()
    straight = {"norm": norm, "loss": loss, "random_start": False}
    # From a random start the way is longer: points slide along their spheres.
    wandering = straight | {"random_start": True, "steps": 20}
    wandering["step_size"] = float(needed.max())
    for settings in (straight, wandering):
        above = PGD(eps=1.01 * needed, **settings)(model, points, labels)
        below = PGD(eps=0.99 * needed, **settings)(model, points, labels)
        assert above.success.all()
        assert not below.success.any()
    assert above.attack_success_rate == 1.0
    assert below.attack_success_rate == 0.0


@pytest.mark.parametrize("norm", NORMS)
def test_margin_loss_finds_the_nearest_of_several_classes_mostly(linear, norm):
    points, labels = labelled(linear, 48)
    needed = linear.minimal_eps(points, labels, norm).float()
    attack = PGD(eps=1.05 * needed, norm=norm, loss="margin", steps=40, restarts=3)
    # The margin climbs toward the class that is best now, not toward the nearest
    # boundary: no guarantee, but most clouds must fall, and none below the minimum.
    assert attack(linear, points, labels).success.double().mean() > 0.75
    assert not dataclasses.replace(attack, eps=0.99 * needed)(
        linear, points, labels
    ).success.any()


@pytest.mark.parametrize("norm", NORMS)
def test_steepest_step_rises_as_the_dual_norm_says(norm):
    gradient = torch.randn(5, 7, 3, generator=generator(0), dtype=torch.float64)
    step = steepest(gradient, norm)
    torch.testing.assert_close(size(step, norm), torch.ones(5, dtype=torch.float64))
    rise = (step * gradient).sum((1, 2))
    dual = {
        "per_point": gradient.norm(dim=-1).sum(1),
        "l2": gradient.flatten(1).norm(dim=1),
        "linf": gradient.abs().sum((1, 2)),
    }[norm]
    torch.testing.assert_close(rise, dual)


@pytest.mark.parametrize("norm", NORMS)
def test_steepest_step_survives_tiny_and_zero_gradients(norm):
    gradient = torch.randn(2, 4, 3, generator=generator(0))
    tiny = steepest(gradient * 1e-30, norm)
    torch.testing.assert_close(tiny, steepest(gradient, norm))
    assert torch.equal(steepest(torch.zeros(1, 4, 3), norm), torch.zeros(1, 4, 3))


@pytest.mark.parametrize("norm", NORMS)
def test_projection_is_the_nearest_cloud_of_the_ball(norm):
    clean = clouds(6).double()
    moved = clean + 0.3 * torch.randn(clean.shape, generator=generator(2)).double()
    eps = torch.tensor([0.0, 0.01, 0.1, 0.3, 1.0, 100.0], dtype=torch.float64)
    nearest = project(clean, moved, eps, norm)
    assert (size(nearest - clean, norm) <= eps).all()
    assert torch.equal(nearest[0], clean[0])
    torch.testing.assert_close(nearest[5], moved[5], rtol=0, atol=1e-12)
    # Oracle: <moved - nearest, other - nearest> <= 0 for each other cloud of the ball.
    for seed in range(20):
        other = torch.randn(clean.shape, generator=generator(seed)).double()
        other = eps[:, None, None] * other / size(other, norm)[:, None, None]
        angle = ((moved - nearest) * (clean + other - nearest)).sum((1, 2))
        assert (angle <= 1e-4 * eps * (1 + eps)).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_budget_is_never_exceeded(norm, scale):
    model = TinyPointNet().eval()
    points = clouds() * scale
    labels = torch.zeros(len(points), dtype=torch.int64)
    for eps in (1e-3, SETTINGS[norm], 0.3):
        attack = PGD(eps=eps, norm=norm, step_size=eps, steps=6, restarts=2)
        result = attack(model, points, labels)
        moved = size(result.points.double() - points.double(), norm)
        assert (moved <= eps).all()
        # And it is used: at the clouds' own scale at least half of it.
        assert scale > 1 or (moved > 0.5 * eps).double().mean() > 0.5


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("model", [CentroidLinear(), TinyPointNet()])
def test_accuracy_strictly_falls(norm, model):
    model.eval()
    points, labels = labelled(model)
    result = PGD(eps=SETTINGS[norm], norm=norm)(model, points, labels)
    accuracy = (model(result.points).argmax(1) == labels).double().mean()
    assert accuracy < 0.8
    assert result.correct_before.all()
    assert torch.equal(result.success, model(result.points).argmax(1) != labels)


@pytest.mark.parametrize("norm", NORMS)
def test_eps_zero_is_the_identity_bit_for_bit(linear, norm):
    points, labels = labelled(linear)
    points[0, 0] = -0.0
    labels = linear(points).argmax(1)
    result = PGD(eps=0.0, norm=norm, restarts=2)(linear, points, labels)
    assert result.points.numpy().tobytes() == points.numpy().tobytes()
    assert not result.success.any()
    assert not result.l2.any() and not result.chamfer.any()


@pytest.mark.parametrize("criterion", ["confidence", "success"])
@pytest.mark.parametrize("norm", NORMS)
def test_batch_size_does_not_matter(norm, criterion):
    model = TinyPointNet().double().eval()
    points, labels = labelled(model.float(), 11)
    model, points = model.double(), points.double()
    results = [
        PGD(eps=0.05, norm=norm, batch_size=size, restarts=2, criterion=criterion)(
            model, points, labels, generator=generator(5)
        )
        for size in (1, 4, 11)
    ]
    for other in results[1:]:
        torch.testing.assert_close(other.points, results[0].points)
        assert torch.equal(other.success, results[0].success)
        assert torch.equal(other.iterations, results[0].iterations)
        assert torch.equal(other.queries, results[0].queries)


def test_a_data_set_in_parts_with_one_generator_is_the_data_set_at_once(linear):
    points, labels = labelled(linear, 10)
    attack, source = PGD(eps=0.05, batch_size=5), generator(3)
    whole = attack(linear, points, labels, generator=generator(3))
    parts = [
        attack(linear, points[i : i + 5], labels[i : i + 5], generator=source)
        for i in (0, 5)
    ]
    joined = AttackResult.concatenate(parts)
    assert torch.equal(whole.points, joined.points)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(linear):
    points, labels = labelled(linear)
    attack = PGD(eps=0.05)

    def bytes_of(seed):
        source = None if seed is None else generator(seed)
        result = attack(linear, points, labels, generator=source)
        return result.points.numpy().tobytes()

    assert bytes_of(7) == bytes_of(7)
    assert bytes_of(None) == bytes_of(0)  # the documented default
    assert bytes_of(7) != bytes_of(8)


def test_global_random_state_is_not_touched(linear):
    points, labels = labelled(linear)
    state = torch.get_rng_state()
    PGD(eps=0.05, restarts=2)(linear, points, labels)
    assert torch.equal(state, torch.get_rng_state())


def test_inputs_and_model_are_left_as_they_were():
    model = TinyPointNet().eval()
    model.head.bias.requires_grad_(False)
    points, labels = labelled(model)
    points.requires_grad_(True)
    targets = (labels + 1) % 4
    before = [tensor.detach().clone() for tensor in (points, labels, targets)]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    result = PGD(eps=0.05)(model, points, labels, targets)
    for old, new in zip(before, (points, labels, targets), strict=True):
        assert torch.equal(old, new.detach())
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())
    assert not model.head.bias.requires_grad
    assert model.head.weight.requires_grad
    assert all(p.grad is None for p in model.parameters()) and points.grad is None
    assert not model.training and not result.points.requires_grad
    result.points.zero_()
    assert torch.equal(before[0], points.detach())


def test_parameters_are_frozen_meanwhile_and_restored_after_an_exception():
    model = CentroidLinear().eval()
    seen = []

    def fail(module, inputs):
        seen.append(any(p.requires_grad for p in module.parameters()))
        raise RuntimeError("victim down")

    model.head.bias.requires_grad_(False)
    model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="victim down"):
        PGD(eps=0.05)(model, clouds(2), torch.tensor([0, 1]))
    assert seen == [False]
    assert model.head.weight.requires_grad and not model.head.bias.requires_grad


def test_parameters_of_a_bound_method_are_frozen_too(linear):
    seen = []

    def watch(module, inputs):
        seen.append(any(p.requires_grad for p in module.parameters()))

    linear.register_forward_pre_hook(watch)
    points, labels = clouds(2), torch.tensor([0, 1])
    PGD(eps=0.05, steps=1)(linear.__call__, points, labels)
    assert seen and not any(seen)
    assert linear.head.weight.requires_grad


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_where_the_caller_has_switched_gradients_off(linear, mode):
    points, labels = labelled(linear)
    expected = PGD(eps=0.05)(linear, points, labels)
    with mode():
        result = PGD(eps=0.05)(linear, points.clone(), labels.clone())
    assert torch.equal(result.points, expected.points)


@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize("norm", NORMS)
def test_targeted_attacks_reach_their_targets(norm, loss):
    model = CentroidLinear(num_classes=3).eval()
    points, labels = labelled(model)
    targets = random_target_labels(labels, 3, generator(0))
    eps = {"per_point": 0.5, "l2": 3.0, "linf": 0.5}[norm]
    attack = PGD(eps=eps, norm=norm, loss=loss, steps=30)
    result = attack(model, points, labels, targets)
    assert result.success.all()
    assert torch.equal(model(result.points).argmax(1), targets)


def test_random_targets_are_wrong_uniform_and_seeded():
    labels = torch.arange(4).repeat(3000)
    targets = random_target_labels(labels, 4, generator(0))
    assert (targets != labels).all()
    share = torch.bincount((targets - labels) % 4, minlength=4) / len(labels)
    assert ((share[1:] - 1 / 3).abs() < 0.02).all()
    assert torch.equal(targets, random_target_labels(labels, 4, generator(0)))


def test_the_best_cloud_is_returned_and_not_the_last():
    """Steps far too long overshoot a ridge: the last cloud is back on the safe side."""

    def ridge(points: Tensor) -> Tensor:
        # Class 1 wins only where the centroid's x is between 0.02 and 0.06.
        x = points.mean(1)[:, 0]
        inside = 0.02 - (x - 0.04).abs()
        return torch.stack([torch.zeros_like(x), inside], dim=1)

    seen = []

    def spy(points: Tensor) -> Tensor:
        logits = ridge(points)
        seen.append(float(logits[0, 1].detach()))
        return logits

    points = torch.zeros(1, 8, 3)
    points[0, :, 1] = torch.linspace(-0.5, 0.5, 8)
    labels = torch.tensor([0])
    attack = PGD(eps=0.2, step_size=0.05, steps=2, random_start=False)
    result = attack(spy, points, labels)
    assert seen[-1] < max(seen), "the test needs a last cloud that is not the best"
    assert float(ridge(result.points)[0, 1]) == max(seen)
    assert result.success.all()


def test_a_misleading_cloud_beats_one_with_a_higher_loss():
    """With three classes the cross-entropy may be higher on a cloud still correct."""
    table = torch.tensor([[2.0, 0.0, 0.0], [0.5, 0.51, -9.0], [0.1, 0.0, 0.0]])
    calls = iter((0, 0, 1, 2))

    def model(points: Tensor) -> Tensor:
        return table[next(calls)][None] + 0 * points.sum((1, 2))[:, None]

    points = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0]]])
    result = PGD(eps=0.1, steps=2, random_start=False)(model, points, torch.tensor([0]))
    assert result.success.all()
    assert result.idle_steps.tolist() == [2]  # a gradient of zeros is reported


@pytest.mark.parametrize("norm", NORMS)
def test_restarts_never_make_it_worse(norm):
    model = TinyPointNet(seed=3).eval()
    points, labels = labelled(model)

    def best_margin(restarts):
        attack = PGD(eps=0.03, norm=norm, steps=3, restarts=restarts)
        result = attack(model, points, labels, generator=generator(1))
        logits = model(result.points).detach()
        own = logits.gather(1, labels[:, None])[:, 0]
        wrong = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        return wrong - own

    one, two, four = best_margin(1), best_margin(2), best_margin(4)
    assert (two >= one - 1e-6).all() and (four >= two - 1e-6).all()
    assert (four > one + 1e-6).any()


def test_solved_clouds_leave_and_success_is_the_same(linear):
    points, labels = labelled(linear)
    settings = {"eps": 0.04, "steps": 12, "restarts": 2}
    confident = PGD(**settings)(linear, points, labels)
    quick = PGD(criterion="success", **settings)(linear, points, labels)
    assert torch.equal(confident.success, quick.success)
    assert quick.success.any() and not quick.success.all()
    assert (quick.queries[quick.success] < confident.queries[quick.success]).all()
    assert (quick.iterations[~quick.success] == 24).all()
    assert torch.equal(quick.points[~quick.success], confident.points[~quick.success])


def test_clouds_that_are_wrong_already_need_no_attack(linear):
    points, labels = labelled(linear)
    wrong = (labels + 1) % 4
    result = PGD(eps=0.1, criterion="success")(linear, points, wrong)
    assert result.success.all() and not result.iterations.any()
    assert not result.correct_before.any()
    assert torch.equal(result.points, points)
    assert result.attack_success_rate == 0.0  # nothing was misled


def test_counts_and_distances():
    model = TinyPointNet().eval()
    points, labels = labelled(model, 5)
    result = PGD(eps=0.1, steps=4, restarts=3)(model, points, labels)
    assert (result.iterations == 12).all()
    assert (result.queries == 1 + 3 * 5).all()
    moved = (result.points - points).double()
    torch.testing.assert_close(result.l2.double(), moved.square().sum((1, 2)).sqrt())
    torch.testing.assert_close(
        result.per_point_max.double(), moved.square().sum(-1).sqrt().amax(1)
    )
    torch.testing.assert_close(result.linf.double(), moved.abs().amax((1, 2)))
    pairs = torch.cdist(result.points.double(), points.double())
    nearest = pairs.amin(2).square().mean(1) + pairs.amin(1).square().mean(1)
    torch.testing.assert_close(result.chamfer.double(), nearest, rtol=1e-4, atol=1e-7)
    farthest = torch.maximum(pairs.amin(2).amax(1), pairs.amin(1).amax(1))
    torch.testing.assert_close(
        result.hausdorff.double(), farthest, rtol=1e-4, atol=1e-6
    )
    assert torch.equal(result.clean, points)
    assert result.norm == "per_point"


def test_one_budget_for_each_cloud(linear):
    points, labels = labelled(linear, 6)
    eps = torch.tensor([0.0, 0.01, 0.02, 0.05, 0.1, 0.2])
    result = PGD(eps=eps, batch_size=4)(linear, points, labels)
    assert (result.per_point_max <= eps).all()
    assert (result.per_point_max >= 0.9 * eps).all()
    torch.testing.assert_close(result.eps, eps)
    single = PGD(eps=0.05)(linear, points, labels)
    torch.testing.assert_close(result.points[3], single.points[3])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "points",
    [
        torch.zeros(2, 1, 3),
        torch.zeros(2, 16, 3),
        torch.full((2, 16, 3), 0.7),
        torch.cat([torch.linspace(-1, 1, 16)[None, :, None]] * 2)
        * torch.tensor([1.0, 0, 0]),
    ],
    ids=["one point", "all zero", "all equal", "a line"],
)
def test_degenerate_clouds_stay_finite(norm, points):
    model = TinyPointNet().eval()
    result = PGD(eps=0.05, norm=norm)(model, points, torch.tensor([0, 1]))
    assert torch.isfinite(result.points).all()
    assert torch.isfinite(result.chamfer).all()
    assert (size(result.points - points, norm) <= 0.05).all()


def test_gradients_that_are_not_finite_are_counted_and_do_no_harm():
    def model(points: Tensor) -> Tensor:
        length = points.mean(1).norm(dim=1)  # no gradient at a centroid of 0
        return torch.stack([length, 1e-3 - length], dim=1)

    points = torch.tensor([[[1.0, 0, 0], [-1.0, 0, 0]]])

    def root(points: Tensor) -> Tensor:
        return model(points) + points[:, :, 1].sum(1).abs().sqrt()[:, None]

    result = PGD(eps=0.1, random_start=False)(root, points, torch.tensor([1]))
    assert torch.isfinite(result.points).all()
    assert result.idle_steps[0] > 0


def test_a_sure_model_does_not_mask_its_gradient(linear):
    points, labels = labelled(linear)

    def sure(points: Tensor) -> Tensor:
        return 1e5 * linear(points)  # softmax is 1 - 0 in float32

    result = PGD(eps=0.1)(sure, points, labels)
    plain = PGD(eps=0.1)(linear, points, labels)
    assert result.success.sum() >= plain.success.sum() > 0
    assert not result.idle_steps.any()


def test_training_batch_norm_is_refused_unless_meant():
    model = TinyPointNet()
    with pytest.raises(ValueError, match=r"layer norm .*Call model\.eval\(\) first"):
        PGD(eps=0.05)(model, clouds(4), torch.zeros(4, dtype=torch.int64))
    result = PGD(eps=0.05, allow_training_mode=True)(
        model, clouds(4), torch.zeros(4, dtype=torch.int64)
    )
    assert model.training and torch.isfinite(result.points).all()
    PGD(eps=0.05)(CentroidLinear(), clouds(4), torch.zeros(4, dtype=torch.int64))
    dropout = nn.Sequential(CentroidLinear(), nn.Dropout(0.5))
    with pytest.raises(ValueError, match="Dropout"):
        PGD(eps=0.05)(dropout, clouds(4), torch.zeros(4, dtype=torch.int64))


def test_presets_and_settings():
    quick, paper = PGD.quick(), PGD.paper()
    assert (quick.norm, quick.eps, quick.steps) == ("per_point", 0.05, 10)
    assert (paper.norm, paper.eps, paper.step_size, paper.steps, paper.loss) == (
        "l2",
        0.08,
        0.004,
        20,
        "ce",
    )
    assert PGD.quick(steps=3).steps == 3
    assert PGD(eps=torch.tensor([0.5, 0.25])).eps == (0.5, 0.25)
    assert PGD(eps=[0.5]) == PGD(eps=(0.5,))
    assert set(dataclasses.asdict(quick)) >= {"eps", "norm", "loss", "restarts"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        quick.eps = 1.0
    with pytest.raises(TypeError, match="epsilon"):
        PGD(eps=0.1, epsilon=0.1)
    with pytest.raises(TypeError):
        PGD(0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": -0.1}, "eps must be 0 or above, and finite; received -0.1"),
        ({"eps": float("nan")}, "eps must be 0 or above"),
        ({"eps": (0.1, -1.0)}, "received -1.0"),
        ({"norm": "l-inf"}, "norm must be one of 'per_point', 'l2', 'linf'"),
        ({"loss": "dlr"}, "loss must be one of 'ce', 'margin'"),
        ({"criterion": "last"}, "criterion must be one of"),
        ({"steps": 0}, "steps must be above 0"),
        ({"restarts": 0}, "restarts must be above 0"),
        ({"batch_size": 0}, "batch_size must be above 0"),
        ({"step_size": -1.0}, "step_size must be above 0"),
        ({"restarts": 2, "random_start": False}, "restarts must be 1 without a random"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        PGD(**{"eps": 0.05, **settings})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda p: (p.mean(1), None), r"received tuple.*model\(points\)\[0\]"),
        (lambda p: p.mean(1).half(), "received torch.float16"),
        (lambda p: p.mean(1).mean(0), r"logits of shape \(2, C\).*received \(3,\)"),
        (lambda p: p.mean((0, 1))[None], r"received \(1, 3\)"),
        (lambda p: p.mean(1)[:, :1], "at least 2 classes"),
        (lambda p: p.mean(1) / 0, "NaN or infinite logits for 2 of 2 clouds"),
        (lambda p: p.mean(1)[:, :2], r"labels must lie in 0\.\.1"),
        (lambda p: p.mean(1).detach(), "model must be differentiable"),
        (lambda p: torch.zeros(2, 3, requires_grad=True), "must be differentiable"),
    ],
)
def test_victims_that_answer_wrongly_are_named(model, message):
    with pytest.raises(ValueError, match=message):
        PGD(eps=0.05)(model, clouds(2), torch.tensor([0, 2]))


def test_inputs_are_checked_at_the_door(linear):
    attack, points, labels = PGD(eps=0.05), clouds(2), torch.tensor([0, 2])
    cases = [
        ((points.transpose(1, 2), labels), r"points\.transpose\(1, 2\)"),
        ((points[0], labels), r"points must have shape \(B, N, 3\)"),
        ((points[:0], labels[:0]), "no cloud"),
        ((points[:, :0], labels), "at least 1 point"),
        ((points / 0, labels), "points must be finite"),
        ((points, labels[:1]), "for each of the 2 clouds"),
        ((points, labels.float()), "labels must be int64"),
        ((points, torch.tensor([0, 4])), r"labels must lie in 0\.\.3"),
        ((points, labels, labels), "target_labels must differ from labels"),
        ((points, labels, torch.tensor([1, 9])), r"target_labels must lie in 0\.\.3"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            attack(linear, *arguments)
    with pytest.raises(ValueError, match="one for each of the 2 clouds; received 3"):
        PGD(eps=(0.1, 0.1, 0.1))(linear, points, labels)
    with pytest.raises(ValueError, match=r"larger than the object.*per_point budget"):
        PGD(eps=10.0)(linear, points, labels)
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        random_target_labels(torch.tensor([0]), 1, generator(0))


@pytest.mark.parametrize("norm", NORMS)
def test_the_order_of_points_does_not_matter(norm):
    model = TinyPointNet().eval().double()
    points = clouds().double()
    labels = model(points).argmax(1)
    order = torch.randperm(points.shape[1], generator=generator(0))
    attack = PGD(eps=0.05, norm=norm, random_start=False)
    result = attack(model, points, labels)
    shuffled = attack(model, points[:, order], labels)
    torch.testing.assert_close(shuffled.points, result.points[:, order])


def test_float64_stays_float64(linear):
    points, labels = labelled(linear)
    result = PGD(eps=0.05)(linear.double(), points.double(), labels)
    assert result.points.dtype == torch.float64 and result.eps.dtype == torch.float64


@pytest.mark.gpu
@pytest.mark.parametrize("norm", NORMS)
def test_device_follows_the_input(norm):
    model = CentroidLinear().eval()
    points, labels = labelled(model)
    attack = PGD(eps=SETTINGS[norm], norm=norm)
    expected = attack(model, points, labels)
    result = attack(model.cuda(), points.cuda(), labels.cuda())
    assert result.points.is_cuda and result.success.is_cuda
    torch.testing.assert_close(result.points.cpu(), expected.points)
    source = generator(0, "cuda")
    assert attack(model, points.cuda(), labels.cuda(), generator=source).points.is_cuda


# What attacks on distances, and attacks that change the number of points, rely on


def scripted(margins: list[float]):
    """A model that answers with these margins, one at each call, whatever it sees."""
    calls = iter(margins)

    def model(points: Tensor) -> Tensor:
        gap = torch.full((len(points),), next(calls)) + 0 * points.sum((1, 2))
        return torch.stack([torch.zeros_like(gap), gap], dim=1)

    return model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scripted(Attack):
    """Considers clouds x + 1, x + 2, ... with the costs given."""

    eps: float = math.inf
    costs: tuple[float | None, ...]

    minimal = True

    def _run(self, search: Search) -> None:
        index = search.open()
        for step, cost in enumerate(self.costs, start=1):
            points = search.clean[index] + step
            price = None if cost is None else torch.full((len(index),), cost)
            search.consider(points, search.logits(points, index), index, price)


@pytest.mark.parametrize(
    ("margins", "costs", "kept"),
    [
        # The nearest of those that mislead, whatever their margin.
        ([-9, 1, 5, 3], (3.0, 2.0, 1.0), 3),
        ([-9, 1, 5, 3], (1.0, 2.0, 3.0), 1),
        ([-9, 1, 5, 3], (2.0, 2.0, 2.0), 1),  # ties: the first
        # One that misleads beats one that does not, at any cost.
        ([-9, -1, 0.5, -3], (1.0, 99.0, 0.0), 2),
        # None misleads: the largest margin, the clean cloud's included.
        ([-9, -1, -5, -3], (3.0, 2.0, 1.0), 1),
        ([-9, -19, -15, -13], (3.0, 2.0, 1.0), 0),
        # A clean cloud that misleads already costs nothing.
        ([9, 1, 5, 3], (3.0, 2.0, 1.0), 0),
        # Without costs the margin decides.
        ([-9, 1, 5, 3], (None, None, None), 2),
    ],
)
def test_nearest_misleading_cloud_wins(margins, costs, kept):
    points = torch.zeros(1, 2, 3)
    result = Scripted(costs=costs)(scripted(margins), points, torch.tensor([0]))
    assert torch.equal(result.points, points + kept)
    assert bool(result.success) == (margins[kept] > 0)
    assert torch.isinf(result.eps).all() and result.norm == "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adds(Attack):
    """Adds eps points at the origin, then tries them elsewhere."""

    norm = "count"
    changes_count = True

    def _run(self, search: Search) -> None:
        index = torch.arange(len(search.labels))
        for place in (0.0, 1.0, 2.0):
            added = search.clean.new_full((len(index), int(self.eps), 3), place)
            points = torch.cat([search.clean[index], added], dim=1)
            search.consider(points, search.logits(points, index), index)
            index = search.open(index)


@pytest.mark.parametrize(
    ("margins", "kept"), [([-1, -9, 2, 1], 1.0), ([5, -3, -2, -4], 1)]
)
def test_clouds_with_more_points_start_without_a_best_one(margins, kept):
    points, labels = clouds(2, 5), torch.tensor([0, 0])
    result = Adds(eps=3)(scripted(margins), points, labels)
    assert result.points.shape == (2, 8, 3)
    assert torch.equal(result.points[:, :5], points)
    assert (result.points[:, 5:] == kept).all()
    # The clean cloud is no candidate, though its margin may be the largest.
    assert bool(result.success.all()) == (max(margins[1:]) > 0)
    assert result.correct_before.all() == (margins[0] < 0)
    assert result.l2.isnan().all() and result.displacement.isnan().all()
    assert torch.isfinite(result.chamfer).all()
    joined = AttackResult.concatenate([result, result])
    assert joined.points.shape == (4, 8, 3) and joined.knn_smoothness.shape == (4,)
    nothing = Adds(eps=0)(scripted(margins), points, labels)
    assert torch.equal(nothing.points, points)


def test_budgets_fit_the_norm(linear):
    with pytest.raises(ValueError, match="whole number of points; received 1"):
        Adds(eps=1.5)
    with pytest.raises(ValueError, match="one number of points for all clouds"):
        Adds(eps=(1, 2))
    with pytest.raises(ValueError, match="0 or above, and finite; received inf"):
        Adds(eps=math.inf)
    with pytest.raises(ValueError, match="0 or above, and finite; received inf"):
        PGD(eps=math.inf)
    with pytest.raises(
        ValueError, match=r"infinite: Scripted has no budget.*Leave eps"
    ):
        Scripted(costs=(), eps=0.1)
    with pytest.raises(ValueError, match="0 or above, and finite; received nan"):
        Scripted(costs=(), eps=math.nan)
    # Of budgets for each cloud the finite ones are held against the object.
    points, labels = labelled(linear, 2)
    assert FAB(eps=(math.inf, 0.1))(linear, points, labels).eps.tolist()[0] == math.inf
    with pytest.raises(ValueError, match="larger than the object"):
        FAB(eps=(math.inf, 1e3))(linear, points, labels)


def test_knn_smoothness_by_a_slow_loop():
    points = clouds(3, 40).double()
    points[0, 0] = torch.tensor([3.0, 3.0, 3.0])  # an outlier
    found = knn_smoothness(points)
    for cloud, value in zip(points, found, strict=True):
        distances = []
        for i, point in enumerate(cloud):
            others = torch.cat([cloud[:i], cloud[i + 1 :]])
            squared = (others - point).square().sum(1)
            distances.append(squared.sort().values[:5].mean())
        distances = torch.stack(distances)
        limit = distances.mean() + 1.05 * distances.std()
        expected = torch.where(distances > limit, distances, 0.0).mean()
        torch.testing.assert_close(value, expected)
    assert found[0] > 2 * found[1]
    assert torch.equal(knn_smoothness(torch.zeros(1, 9, 3)), torch.zeros(1))
    assert torch.autograd.gradcheck(knn_smoothness, points[:, :12].requires_grad_(True))
    with pytest.raises(ValueError, match="at least 6 points"):
        knn_smoothness(points[:, :5])


def test_distances_are_the_same_in_tiles(monkeypatch, linear):
    a, b = clouds(3, 50), clouds(3, 70, seed=2)
    functions = (geometry.chamfer_distance, geometry.hausdorff_distance)
    whole = [function(a, b) for function in functions]
    found = geometry.knn(a, b, 4)
    monkeypatch.setitem(nearest._TILE, "cpu", 70 * 7)  # seven rows at once
    for function, expected in zip(functions, whole, strict=True):
        torch.testing.assert_close(function(a, b), expected)
    for tiled, expected in zip(geometry.knn(a, b, 4), found, strict=True):
        torch.testing.assert_close(tiled, expected)
    points, labels = labelled(linear, 3)
    result = PGD(eps=0.1)(linear, points, labels)
    assert result.knn_smoothness.shape == (3,)
    few = PGD(eps=0.1)(linear, points[:, :5], labels)
    assert few.knn_smoothness.isnan().all()
