"""EOT, BPDA, PointAutoAttack and the reliability flags, on victims built to deceive."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn
from victims import CentroidLinear, TinyPointNet, clouds, labelled

from mrpd_tutorial.attacks import (
    PGD,
    AttackResult,
    CWAdd,
    CWPerturb,
    GeoA3,
    HiTADV,
    KNNAttack,
)
from mrpd_tutorial.attacks.auto_attack import AutoAttackResult, PointAutoAttack
from mrpd_tutorial.attacks.bpda import BPDA, adaptive, is_masked, passes_gradient
from mrpd_tutorial.attacks.eot import EOT, is_random
from mrpd_tutorial.attacks.flags import FLAGS, Flag
from mrpd_tutorial.attacks.norms import NORMS, size
from mrpd_tutorial.attacks.pgd_add import PGDAdd
from mrpd_tutorial.attacks.reliability import reliability_flags
from mrpd_tutorial.attacks.square import SquareAttack
from mrpd_tutorial.attacks.transfer import Transfer
from mrpd_tutorial.defenses import SOR, SRS, Defended
from mrpd_tutorial.geometry import farthest_point_sampling, gather_points
from mrpd_tutorial.runtime import generator

pytestmark = pytest.mark.usefixtures("one_thread")


def on_grid(points: Tensor) -> Tensor:
    """A masking defense: points snap to a fine grid, which has a gradient of zeros."""
    return (points / 0.02).round() * 0.02


def through_numpy(points: Tensor) -> Tensor:
    """A defense written for numpy: SOR, without any gradient."""
    return torch.from_numpy(SOR()(torch.from_numpy(points.numpy())).numpy())


def upsampled(points: Tensor) -> Tensor:
    """DUP-Net-like, detached: outliers go, four points appear for each that stays."""
    kept = SOR()(points.detach())
    shift = torch.tensor([[0.0, 0, 0], [0.01, 0, 0], [0, 0.01, 0], [0, 0, 0.01]])
    return (kept[:, :, None] + shift.to(points)).flatten(1, 2)


def sampled(points: Tensor) -> Tensor:
    """Farthest-point sampling of half of the points, detached."""
    chosen = farthest_point_sampling(points, points.shape[1] // 2)
    return gather_points(points, chosen).detach()


class Shifting(nn.Module):
    """A random victim: adds a random linear function of the centroid, 0 on average."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model = model
        self.scale = scale

    def forward(self, points: Tensor) -> Tensor:
        logits = self.model(points)
        lens = torch.randn(3, logits.shape[1], dtype=logits.dtype)
        return logits + self.scale * points.mean(1) @ lens


class WrongGradient(nn.Module):
    """Answers well, and gives the gradient of the opposite answer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, points: Tensor) -> Tensor:
        logits = self.model(points)
        return 2 * logits.detach() - logits


# --- BPDA ----------------------------------------------------------------------------


@pytest.mark.parametrize("defense", [on_grid, through_numpy, upsampled, sampled])
def test_bpda_beats_a_defense_that_masks_its_gradient(defense):
    model = TinyPointNet().eval()
    masked = Defended(model, defense)
    points = clouds(24, seed=3)
    with torch.no_grad():
        labels = masked(points).argmax(1)
    attack = PGD(eps=0.1, steps=10)
    through = attack(adaptive(masked), points, labels)
    assert passes_gradient(defense, points) is False
    try:
        plain = attack(masked, points, labels)
        rate = plain.attack_success_rate
        assert plain.idle_steps.sum() == plain.iterations.sum()
    except (ValueError, RuntimeError) as error:  # detached, or numpy
        assert "differentiable" in str(error) or "numpy" in str(error)
        rate = 0.0
    assert through.attack_success_rate > rate + 0.3
    # Forward nothing is approximated: what misleads, misleads the real pipeline.
    assert torch.equal(masked(through.points).argmax(1) != labels, through.success)


@pytest.mark.parametrize("defense", [on_grid, through_numpy, upsampled, sampled])
def test_bpda_is_the_defense_forward_bit_for_bit(defense):
    points = clouds(3)
    expected = defense(points)
    current = points.clone().requires_grad_(True)
    output = BPDA(defense)(current)
    assert torch.equal(output, expected) and output.requires_grad
    assert torch.equal(BPDA(defense)(points), expected)


def test_bpda_hands_each_gradient_to_the_nearest_point():
    points = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]]], requires_grad=True)
    moved = torch.tensor([[[1.1, 0, 0], [0.9, 0, 0], [0.2, 0, 0], [1.4, 0, 0]]])
    weight = torch.arange(12.0).view(1, 4, 3)
    (BPDA(lambda _: moved)(points) * weight).sum().backward()
    expected = torch.stack(
        [weight[0, 2], weight[0, 0] + weight[0, 1] + weight[0, 3], torch.zeros(3)]
    )
    assert torch.equal(points.grad[0], expected)


def test_bpda_by_index_is_the_identity_backward():
    points = clouds(2).requires_grad_(True)
    weight = torch.randn(points.shape, generator=generator(0))
    far = BPDA(lambda p: p.flip(1) * 5, backward="same")
    (far(points) * weight).sum().backward()
    assert torch.equal(points.grad, weight)


@pytest.mark.parametrize("defense", [SOR(), SRS(drop=10)])
def test_bpda_agrees_with_the_gradient_of_defenses_that_only_remove(defense):
    points = clouds(3).double()
    weight = torch.randn(3, 3, generator=generator(1)).double()

    def gradient(wrapped):
        defense.reset()
        current = points.clone().requires_grad_(True)
        (wrapped(current).square() @ weight).sum().backward()
        return current.grad

    assert passes_gradient(defense, points)
    torch.testing.assert_close(gradient(BPDA(defense)), gradient(defense))
    left_alone = BPDA(defense, only_if_masked=True)
    left_alone(points)
    assert torch.equal(gradient(left_alone), gradient(defense))


def test_bpda_takes_groups_of_points():
    def grouped(points: Tensor) -> Tensor:
        return points.detach().unflatten(1, (8, 4))  # (B, 8, 4, 3)

    points = clouds(2).requires_grad_(True)
    output = BPDA(grouped)(points)
    assert output.shape == (2, 8, 4, 3)
    output.sum().backward()
    assert torch.equal(points.grad, torch.ones_like(points))


def test_bpda_says_what_does_not_fit():
    points = clouds(2)
    with pytest.raises(ValueError, match="backward must be one of 'nearest', 'same'"):
        BPDA(on_grid, backward="identity")
    with pytest.raises(ValueError, match=r"must return points \(2, ..., 3\).*\(2, 4\)"):
        BPDA(CentroidLinear())(points)
    with pytest.raises(ValueError, match=r"32, for backward='same'; received 16"):
        BPDA(sampled, backward="same")(points)
    with pytest.raises(ValueError, match="received <class 'NoneType'>"):
        BPDA(lambda p: None)(points)


# --- EOT -----------------------------------------------------------------------------


def test_eot_beats_a_random_victim():
    model = CentroidLinear().eval()
    points, labels = labelled(model, 32)
    random = Shifting(model, 6.0)
    attack = PGD(eps=0.08, steps=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = attack(random, points, labels)
    averaged = attack(EOT(random, samples=40), points, labels)
    # What counts is the model behind the noise: its answer without any.
    misled = [
        (model(result.points).argmax(1) != labels).double().mean()
        for result in (plain, averaged)
    ]
    assert misled[1] > misled[0] + 0.15


def test_eot_beats_srs():
    model = TinyPointNet().eval()
    points, labels = labelled(model)
    random = Defended(model, SRS(drop=20))
    attack = PGD(eps=0.1, steps=10)
    random.reset(5)
    plain = attack(random, points, labels)
    averaged = attack(adaptive(random, 12), points, labels)

    def accuracy(result: AttackResult) -> float:
        random.reset(77)
        rights = [random(result.points).argmax(1) == labels for _ in range(20)]
        return float(torch.stack(rights).double().mean())

    assert accuracy(averaged) < accuracy(plain) - 0.02


@pytest.mark.parametrize("average", ["logits", "log_softmax"])
def test_eot_is_the_mean_over_seeded_draws(average):
    random = Defended(TinyPointNet().eval(), SRS(drop=12))
    points = clouds(3)
    eot = EOT(random, samples=5, average=average, seed=4)
    answer = eot(points)
    seeds = torch.randint(2**63 - 1, (5,), generator=generator(4)).tolist()
    expected = []
    for seed in seeds:
        random.reset(seed)
        logits = random(points)
        expected.append(logits.log_softmax(1) if average == "log_softmax" else logits)
    torch.testing.assert_close(answer, torch.stack(expected).mean(0))
    assert not torch.equal(eot(points), answer)  # other draws at the next step
    eot.reset()
    assert torch.equal(eot(points), answer)
    eot.reset(5)
    assert not torch.equal(eot(points), answer)


def test_eot_seeds_the_global_generator_and_puts_it_back():
    eot = EOT(Shifting(CentroidLinear(), 1.0), samples=3)
    points, state = clouds(2), torch.get_rng_state()
    answer = eot(points)
    assert torch.equal(state, torch.get_rng_state())
    eot.reset()
    torch.manual_seed(123)
    assert torch.equal(eot(points), answer)


def test_eot_gradients_are_means_and_can_be_recomputed():
    random = Defended(TinyPointNet().eval(), SRS(drop=12))
    points = clouds(3)

    def gradient(**settings):
        current = points.clone().requires_grad_(True)
        eot = EOT(random, samples=4, seed=1, **settings)
        eot(current)[:, 0].sum().backward()
        return current.grad

    kept = gradient()
    torch.testing.assert_close(gradient(recompute=True), kept)
    seeds = torch.randint(2**63 - 1, (4,), generator=generator(1)).tolist()
    total = torch.zeros_like(points)
    for seed in seeds:
        random.reset(seed)
        current = points.clone().requires_grad_(True)
        random(current)[:, 0].sum().backward()
        total += current.grad / 4
    torch.testing.assert_close(kept, total)


def test_eot_says_what_does_not_fit():
    model = CentroidLinear()
    with pytest.raises(ValueError, match="samples must be above 0"):
        EOT(model, samples=0)
    with pytest.raises(ValueError, match="average must be one of 'logits'"):
        EOT(model, average="votes")
    with pytest.raises(ValueError, match="must not be an EOT already"):
        EOT(EOT(model))
    with pytest.raises(ValueError, match="received tuple"):
        PGD(eps=0.1)(EOT(lambda p: (p, p)), clouds(2), torch.tensor([0, 1]))


def test_random_models_are_known_by_word_and_by_deed():
    model, points = CentroidLinear(), clouds(6)
    assert not is_random(model, points)
    assert not is_random(Defended(model, SOR()), points)
    assert is_random(Defended(model, SRS(drop=4)), points)
    assert is_random(Shifting(model, 0.5), points)
    assert is_random(EOT(model), points)


def test_adaptive_builds_what_is_due():
    model = TinyPointNet()
    assert adaptive(model) is model
    both = Defended(Defended(model, SRS(drop=4)), on_grid)
    eot = adaptive(both, 3, seed=8, average="log_softmax", recompute=True)
    assert isinstance(eot, EOT) and adaptive(eot) is eot
    settings = (eot.samples, eot.seed, eot.average, eot.recompute)
    assert settings == (3, 8, "log_softmax", True)
    outer = eot.model
    assert isinstance(outer.defense, BPDA) and outer.defense.defense is on_grid
    assert isinstance(outer.model.defense, BPDA) and outer.model.model is model
    assert both.defense is on_grid  # not changed
    sor = adaptive(Defended(model, SOR()))
    assert not isinstance(sor, EOT)
    assert isinstance(adaptive(both, bpda="never"), EOT)
    assert adaptive(both, bpda="never").model is both
    assert not adaptive(both, bpda="always").model.defense.only_if_masked
    with pytest.raises(ValueError, match="bpda must be one of"):
        adaptive(model, bpda="sometimes")


def test_a_mask_is_found_anywhere_in_a_chain():
    model, points = TinyPointNet().eval(), clouds(2)
    assert not is_masked(model, points)
    assert not is_masked(Defended(Defended(model, SRS(drop=4)), SOR()), points)
    assert is_masked(Defended(model, on_grid), points)
    assert is_masked(Defended(Defended(model, through_numpy), SRS(drop=4)), points)
    assert is_masked(Defended(Defended(model, SOR()), upsampled), points)
    assert is_masked(Defended(model, BPDA(SOR())), points)


# --- points added --------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
def test_added_points_stay_near_and_mislead(norm):
    model = TinyPointNet().eval()
    points, labels = labelled(model)
    eps = {"per_point": 0.3, "l2": 1.0, "linf": 0.2}[norm]
    result = PGDAdd(eps=eps, norm=norm, count=8, steps=10)(model, points, labels)
    assert result.points.shape == (24, 40, 3)
    assert torch.equal(result.points[:, :32], points)
    assert result.success.any()
    assert torch.equal(result.success, model(result.points).argmax(1) != labels)
    added = result.points[:, 32:]
    reach = torch.cdist(added, points).amin(2)  # (B, 8) to the nearest point
    if norm == "l2":
        assert (reach.norm(dim=1) <= eps).all()
    assert (reach <= eps * (3**0.5 if norm == "linf" else 1) + 1e-5).all()
    nothing = PGDAdd(eps=0.0, norm=norm, count=8)(model, points, labels)
    assert not nothing.success.any()  # a maximum over points does not see copies


# --- PointAutoAttack -----------------------------------------------------------------

FAST = {"steps": 6, "max_queries": 20, "samples": 3}


@pytest.mark.parametrize("norm", NORMS)
def test_the_worst_case_is_that_of_all_members(norm):
    model = TinyPointNet().eval()
    points, labels = labelled(model)
    labels[:2] = (labels[:2] + 1) % 4  # two that are wrong before
    eps = {"per_point": 0.05, "l2": 0.3, "linf": 0.03}[norm]
    attack = PointAutoAttack(eps=eps, norm=norm, changed=6, **FAST)
    result = attack(model, points, labels)
    assert isinstance(result, AutoAttackResult)
    assert result.members == ("clean", "apgd-ce", "apgd-dlr", "square", "add", "drop")
    assert result.in_ball == (True, True, True, True, False, False)
    assert (result.fooled_by[:2] == 0).all() and not result.correct_before[:2].any()
    assert torch.equal(model(result.points).argmax(1) != labels, result.success)
    assert (size(result.points - points, norm) <= eps).all()
    in_ball = (result.fooled_by >= 0) & (result.fooled_by <= 3)
    assert torch.equal(in_ball, result.success)
    # Both kinds of members find clouds, and the worst case is both together.
    assert in_ball[2:].any() and (result.fooled_by > 3).any()
    assert torch.equal(result.worst_case, result.fooled_by >= 0)
    assert result.robust_accuracy < result.robust_accuracy_in_ball < 22 / 24
    table = result.table()
    assert [row["member"] for row in table] == list(result.members)
    assert table[0] == {
        "member": "clean",
        "in_ball": True,
        "fooled": 2,
        "robust_accuracy": 22 / 24,
    }
    assert table[-1]["robust_accuracy"] == pytest.approx(result.robust_accuracy)
    single = attack.members(32, 4)["apgd-ce"]
    single = dataclasses.replace(single, eps=eps)(model, points, labels)
    assert (result.worst_case | ~single.success).all()  # no weaker than a member


def test_clouds_that_fell_leave_and_batches_do_not_matter():
    model = TinyPointNet().double().eval()
    points = clouds().double()
    labels = model(points).argmax(1)
    attack = PointAutoAttack(eps=0.05, **FAST)
    result = attack(model, points, labels)
    other = dataclasses.replace(attack, batch_size=5)(model, points, labels)
    assert torch.equal(other.fooled_by, result.fooled_by)
    assert torch.equal(other.queries, result.queries)
    torch.testing.assert_close(other.points, result.points)
    for name in ("add", "drop"):
        clouds_of = result.outside[name], other.outside[name]
        torch.testing.assert_close(*clouds_of, equal_nan=True)
        there = torch.isfinite(clouds_of[0]).all(-1).all(-1)
        assert torch.equal(there, result.fooled_by == result.members.index(name))
    early = result.queries[result.fooled_by == 1]
    late = result.queries[result.fooled_by < 0]
    assert len(early) and len(late) and early.max() < late.min()


def test_auto_attack_reaches_targets_and_asks_what_can_be_asked():
    model = CentroidLinear(num_classes=3).eval()
    points, labels = labelled(model)
    targets = (labels + 1) % 3
    result = PointAutoAttack(eps=0.6, **FAST)(model, points, labels, targets)
    assert result.success.all()
    assert torch.equal(model(result.points).argmax(1), targets)
    assert result.members == ("clean", "apgd-ce", "apgd-margin", "square", "add")
    attack = PointAutoAttack(eps=0.1, changed=0)
    assert list(attack.members(32, 2)) == ["apgd-ce", "apgd-margin", "square"]
    assert list(PointAutoAttack.paper().members(1024, 40)) == [
        "apgd-ce",
        "apgd-dlr",
        "square",
        "add",
        "drop",
    ]


def test_auto_attack_goes_through_masks_and_draws():
    model = TinyPointNet().eval()
    points = clouds()
    masked = Defended(model, on_grid)
    labels = masked(points).argmax(1)
    attack = PointAutoAttack(eps=0.1, changed=0, **FAST)
    assert attack(masked, points, labels).robust_accuracy < 0.5
    random = Defended(model, SRS(drop=8))
    first = attack(random, points, labels)
    random.reset(3)
    again = attack(random, points, labels)
    assert torch.equal(first.points, again.points)  # EOT begins anew at each call
    assert first.robust_accuracy < 0.6
    noisy = attack(Shifting(model, 0.05), points, labels)  # random only by deed
    assert noisy.robust_accuracy < 0.6


def test_a_random_victim_errs_in_most_draws_not_only_at_the_first():
    model = TinyPointNet().eval()
    points, labels = labelled(model)
    random = Defended(model, SRS(drop=8))

    def errors(points: Tensor) -> Tensor:
        """(B,) the share of 40 draws that err, none of which the attack has seen."""
        shares = []
        for seed in range(1000, 1040):
            random.reset(seed)
            shares.append(random(points).argmax(1) != labels)
        return torch.stack(shares).double().mean(0)

    settings = {"steps": 12, "max_queries": 20, "changed": 0}
    found = PointAutoAttack(eps=0.05, samples=4, **settings)(random, points, labels)
    member = PGD(eps=0.05, step_size=0.01, steps=12, restarts=1)
    single = errors(member(adaptive(random, 4), points, labels).points)
    ensemble, clean = errors(found.points), errors(points)
    # Members stopped at the first lucky draw would be 0.14 below PGD here.
    assert ensemble.mean() > single.mean() - 0.03
    assert ensemble[found.success].mean() > 0.7
    sometimes = (clean > 0) & (clean < 0.5)  # wrong now and then before any attack
    assert sometimes.any() and ensemble[sometimes].mean() > 2 * clean[sometimes].mean()


def test_eps_per_cloud_and_eps_zero():
    model = TinyPointNet().eval()
    points, labels = labelled(model)
    eps = torch.where(torch.arange(24) % 2 == 0, 0.0, 0.2)
    result = PointAutoAttack(eps=eps, changed=0, **FAST)(model, points, labels)
    assert not result.success[::2].any() and result.success[1::2].any()
    assert torch.equal(result.points[::2], points[::2])
    torch.testing.assert_close(result.eps, eps)


def test_auto_attack_settings():
    quick, paper = PointAutoAttack.quick(), PointAutoAttack.paper(norm="l2", eps=1.0)
    assert (quick.steps, quick.max_queries) == (10, 100)
    numbers = (paper.steps, paper.classes_tried, paper.max_queries, paper.samples)
    assert numbers == (100, 9, 5000, 20) and paper.norm == "l2"
    cases = [
        ({"norm": "count"}, "norm must be one of"),
        ({"criterion": "confidence"}, "criterion must be one of 'success'"),
        ({"steps": 0}, "steps must be above 0"),
        ({"samples": 0}, "samples must be above 0"),
        ({"changed": -1}, "changed must be 0 or above"),
    ]
    for settings, message in cases:
        with pytest.raises(ValueError, match=message):
            PointAutoAttack(eps=0.1, **settings)
    with pytest.raises(ValueError, match="changed must leave a point of 32"):
        PointAutoAttack(eps=0.1, changed=32)(
            CentroidLinear().eval(), clouds(2), torch.tensor([0, 1])
        )


# --- reliability flags ---------------------------------------------------------------


@pytest.fixture(scope="module")
def honest() -> dict:
    """A plain victim and a sound evaluation of it, which some clouds withstand."""
    model = TinyPointNet().eval()
    points, labels = labelled(model, 32)
    attack = PGD(eps=0.04, steps=40, loss="margin")
    query = SquareAttack(eps=0.04, max_queries=40)
    other = TinyPointNet(seed=3).eval()
    return {
        "model": model,
        "points": points,
        "labels": labels,
        "gradient": attack(model, points, labels),
        "more_steps": dataclasses.replace(attack, steps=80)(model, points, labels),
        "query": query(model, points, labels),
        "transfer": Transfer(attack=attack, surrogate=other)(model, points, labels),
    }


def fired(verdicts: dict) -> set[str]:
    return {name for name, verdict in verdicts.items() if verdict.fired}


def test_no_flag_fires_on_a_sound_evaluation(honest):
    left = honest["gradient"].correct_before & ~honest["gradient"].success
    assert left.any(), "the test needs clouds that withstand"
    verdicts = reliability_flags(**honest)
    assert list(verdicts) == list(FLAGS) and len(FLAGS) == 7
    for name, verdict in verdicts.items():
        assert verdict.fired is False, (name, verdict.evidence)
        assert verdict.flag is FLAGS[name] and verdict.evidence
    for flag in FLAGS.values():
        assert isinstance(flag, Flag)
        assert all(getattr(flag, f.name) for f in dataclasses.fields(flag))
        assert flag.condition.endswith(".") and flag.remedy.endswith(".")


def evaluated(model, honest, eps=0.1, **settings):
    points = honest["points"]
    labels = model(points).argmax(1)
    result = PGD(eps=eps, **settings)(model, points, labels)
    return {"model": model, "points": points, "labels": labels, "gradient": result}


def test_a_masked_gradient_fires(honest):
    masked = Defended(honest["model"], on_grid)
    given = evaluated(masked, honest, eps=0.05)
    query = SquareAttack(eps=0.05, max_queries=150)
    query = query(masked, given["points"], given["labels"])
    found = fired(reliability_flags(**given, query=query))
    assert {"masked gradient", "query beats gradient"} <= found
    # Also where the attack could not even begin.
    for defense in (through_numpy, sampled):
        model = Defended(honest["model"], defense)
        verdicts = reliability_flags(model, given["points"], given["labels"])
        assert verdicts["masked gradient"].fired
        assert verdicts["query beats gradient"].fired is None
    # And not, once the attack goes through.
    repaired = evaluated(adaptive(masked), honest, eps=0.05, steps=40)
    verdicts = reliability_flags(**repaired)
    assert verdicts["masked gradient"].fired is False
    assert verdicts["wrong gradient"].fired is None
    assert "BPDA" in verdicts["wrong gradient"].evidence


@pytest.mark.parametrize(
    "attack",
    [
        CWPerturb.quick(steps=8, search_steps=2),
        CWAdd.quick("chamfer", eps=8, steps=8, search_steps=2),
        KNNAttack.quick(steps=8, confidence=1.0, start_noise=0.0),
        GeoA3.quick(steps=8, search_steps=2),
        HiTADV.quick(steps=4, search_steps=2, anchors=8, centres=6, k=6, eps=0.05),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_a_masked_gradient_fires_beside_the_gradient_of_a_distance(honest, attack):
    points = honest["points"][:6]

    def stuck(clouds: Tensor) -> Tensor:
        """Attached, and never anything but zeros."""
        still = points.mean(0, keepdim=True)
        return honest["model"](still + 0 * clouds.mean(1, keepdim=True))

    labels = stuck(points).argmax(1)
    result = attack(stuck, points, labels)
    assert not result.success.any() and (result.iterations > 0).all()
    assert torch.equal(result.idle_steps, result.iterations)
    assert reliability_flags(stuck, points, labels, result)["masked gradient"].fired
    # An honest model is climbed, and standing still once it is misled is no sign.
    labels = honest["model"](points).argmax(1)
    result = attack(honest["model"], points, labels)
    assert (result.idle_steps == 0).all()


def test_a_wrong_gradient_fires(honest):
    given = evaluated(WrongGradient(honest["model"]), honest)
    assert "wrong gradient" in fired(reliability_flags(**given))


def test_an_unused_budget_fires(honest):
    given = evaluated(honest["model"], honest, step_size=1e-4, random_start=False)
    assert "budget not used" in fired(reliability_flags(**given))


def test_a_random_model_fires_unless_averaged(honest):
    random = Defended(honest["model"], SRS(drop=8))
    name = "random model without EOT"
    assert name in fired(reliability_flags(**evaluated(random, honest)))
    deed = Shifting(honest["model"], 0.5)
    assert name in fired(reliability_flags(deed, honest["points"], honest["labels"]))
    averaged = evaluated(adaptive(random, 2), honest, steps=2)
    verdicts = reliability_flags(**averaged)
    assert verdicts[name].fired is False
    assert verdicts["wrong gradient"].fired is None


def test_more_steps_fire_while_they_help(honest):
    short = evaluated(honest["model"], honest, step_size=0.01, steps=3)
    longer = evaluated(honest["model"], honest, step_size=0.01, steps=30)["gradient"]
    name = "more steps still help"
    assert name in fired(reliability_flags(**short, more_steps=longer))
    same = reliability_flags(**short, more_steps=short["gradient"])[name]
    assert same.fired is None and "no more steps: 3 after 3" in same.evidence


def test_transfer_that_beats_the_adaptive_attack_fires(honest):
    masked = Defended(honest["model"], on_grid)
    given = evaluated(masked, honest)
    attack = Transfer(attack=PGD(eps=0.1), surrogate=honest["model"])
    transfer = attack(masked, given["points"], given["labels"])
    found = fired(reliability_flags(**given, transfer=transfer))
    assert "transfer beats adaptive" in found


def test_what_is_missing_is_not_judged(honest):
    verdicts = reliability_flags(honest["model"], honest["points"], honest["labels"])
    unjudged = {name for name, verdict in verdicts.items() if verdict.fired is None}
    assert unjudged == set(FLAGS) - {"wrong gradient", "random model without EOT"}
    assert (
        "query not given"
        in reliability_flags(
            **{k: honest[k] for k in ("model", "points", "labels", "gradient")}
        )["query beats gradient"].evidence
    )
    everything = evaluated(honest["model"], honest, eps=1.0)
    assert everything["gradient"].success.all()
    verdicts = reliability_flags(**everything)
    assert verdicts["budget not used"].fired is False
    with pytest.raises(ValueError, match="query must be the result for these points"):
        reliability_flags(**honest | {"query": _other_clouds(honest["query"])})


def _other_clouds(result: AttackResult) -> AttackResult:
    return dataclasses.replace(result, clean=result.clean + 1)
