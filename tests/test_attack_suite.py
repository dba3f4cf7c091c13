"""What every attack promises, for every attack of one table."""

import dataclasses

import pytest
import torch
from attack_table import TABLE, Case
from torch import Tensor, nn
from victims import (
    CentroidLinear,
    HalfModel,
    NaNModel,
    ThrowingModel,
    TinyPointNet,
    WithFault,
    clouds,
    labelled,
)

from mrpd_tutorial import attacks, geometry
from mrpd_tutorial.attacks.norms import NORMS, size
from mrpd_tutorial.runtime import generator

pytestmark = pytest.mark.usefixtures("one_thread")


def every(keep=lambda case: True):
    """Run a test for each case of the table that `keep` is true of."""
    return pytest.mark.parametrize("case", [c for c in TABLE if keep(c)], ids=str)


def bounded(case: Case) -> bool:
    eps = case.attack.eps
    return isinstance(eps, tuple) or eps < float("inf")


def in_a_ball(case: Case) -> bool:
    attack = case.attack
    return attack.norm in NORMS and bounded(case) and not attack.changes_count


def victim(kind: type[nn.Module] = TinyPointNet) -> nn.Module:
    """In float64, so that only the attack decides about ties, not rounding."""
    model = kind().eval()
    return model.double()


def altered(case: Case, **changes) -> attacks.Attack:
    """The case's attack with other settings; those of an inner attack go to that."""
    if isinstance(case.attack, attacks.Transfer):
        inner = dataclasses.replace(case.attack.attack, **changes)
        return dataclasses.replace(case.attack, attack=inner)
    return dataclasses.replace(case.attack, **changes)


def spent(case: Case, result) -> Tensor:
    """(B,) how much of its budget each result used."""
    if case.attack.norm == "count":
        change = abs(result.points.shape[1] - result.clean.shape[1])
        return torch.full((len(result.points),), float(change))
    if case.attack.changes_count:  # points added, each near a point of the cloud
        return geometry.hausdorff_distance(result.points, result.clean)
    return size((result.points - result.clean).double(), case.attack.norm)


def bytes_of(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().numpy().tobytes()


def test_the_table_has_every_attack():
    public = (getattr(attacks, name) for name in attacks.__all__)
    kinds = {kind for kind in public if issubclass_of_attack(kind)}
    assert {type(case.attack) for case in TABLE} == kinds - {attacks.Attack}


def issubclass_of_attack(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, attacks.Attack)


@every()
def test_accuracy_strictly_falls_and_the_budget_holds(case):
    for kind in case.victims:
        model = victim(kind)
        points, labels = labelled(model, 16)
        result = case.attack(model, points, labels)
        after = model(result.points).argmax(1)
        assert result.correct_before.all()
        assert (after == labels).double().mean() <= 0.9, f"{kind.__name__} stands"
        assert torch.equal(result.success, after != labels)
        assert torch.isfinite(result.points).all()
        assert result.norm == case.attack.norm
        assert (spent(case, result) <= result.eps).all()
        assert (result.queries >= 2).all()


@every(in_a_ball)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_budget_holds_in_float32_at_any_scale(case, scale):
    model, points = TinyPointNet().eval(), clouds(8) * scale + scale
    labels = model(points).argmax(1)
    result = case.attack(model, points, labels)
    moved = size(result.points.double() - points.double(), case.attack.norm)
    assert (moved <= result.eps.double()).all()


@every(bounded)
def test_eps_zero_is_the_identity(case):
    model = TinyPointNet().eval()
    points = clouds(6)
    points[0, 0] = -0.0
    labels = model(points).argmax(1)
    result = altered(case, eps=0.0)(model, points, labels)
    if case.attack.changes_count and case.attack.norm != "count":
        count = points.shape[1]  # points added, all where there are points already
        assert bytes_of(result.points[:, :count]) == bytes_of(points)
        assert (geometry.hausdorff_distance(result.points, points) == 0).all()
    else:
        assert bytes_of(result.points) == bytes_of(points)
    assert not result.success.any()


@every(lambda case: case.attack.norm == "none")
def test_without_a_budget_a_finite_one_is_refused(case):
    with pytest.raises(ValueError, match="eps must be infinite"):
        altered(case, eps=0.1)


@every(lambda case: not case.attack.minimal and case.attack.norm != "none")
def test_with_a_budget_an_infinite_one_is_refused(case):
    with pytest.raises(ValueError, match="eps must be 0 or above, and finite"):
        altered(case, eps=float("inf"))


@every(in_a_ball)
def test_each_cloud_has_its_own_budget(case):
    model = victim()
    points, labels = labelled(model, 6)
    shares = torch.tensor([0.0, 0.1, 0.5, 1.0, 1.5, 2.0], dtype=torch.float64)
    eps = shares * case.attack.eps
    attack = dataclasses.replace(altered(case, eps=eps), batch_size=4)
    result = attack(model, points, labels)
    assert (spent(case, result) <= eps).all()
    torch.testing.assert_close(result.eps, eps)
    assert bytes_of(result.points[0]) == bytes_of(points[0])
    alone = case.attack(model, points, labels)
    torch.testing.assert_close(result.points[3], alone.points[3])
    with pytest.raises(ValueError, match="one for each of the 6 clouds; received 5"):
        altered(case, eps=eps[:5])(model, points, labels)


@every(lambda case: case.attack.norm in NORMS and not case.attack.minimal)
def test_budgets_larger_than_the_object_are_refused(case):
    with pytest.raises(ValueError, match="eps must not be larger than the object"):
        altered(case, eps=100.0)(TinyPointNet().eval(), clouds(1), torch.tensor([0]))


@every(lambda case: case.attack.norm == "count")
def test_a_number_of_points_is_whole_and_the_same_for_all(case):
    with pytest.raises(ValueError, match="eps must be one number of points"):
        altered(case, eps=(1.0, 2.0))
    with pytest.raises(ValueError, match="eps must be a whole number of points"):
        altered(case, eps=1.5)


@every(lambda case: case.equivariant and case.without_draws is not None)
def test_the_order_of_points_does_not_matter(case):
    model = victim()
    points, labels = labelled(model, 6)
    order = torch.randperm(points.shape[1], generator=generator(0))
    attack = altered(case, **case.without_draws)
    result = attack(model, points, labels)
    shuffled = attack(model, points[:, order], labels)
    assert torch.equal(result.success, shuffled.success)
    if case.attack.changes_count:
        apart = geometry.hausdorff_distance(result.points, shuffled.points)
        assert (apart < 1e-6).all()
    else:
        torch.testing.assert_close(
            shuffled.points, result.points[:, order], rtol=1e-6, atol=1e-9
        )


@every()
@pytest.mark.parametrize("criterion", ["confidence", "success"])
def test_batch_size_and_neighbours_do_not_matter(case, criterion):
    """Pitfall 8: public code takes extremes and labels of the batch for each cloud."""
    if isinstance(case.attack, attacks.PointAutoAttack) and criterion != "success":
        pytest.skip("this attack has one criterion, success")
    model = victim()
    points, _ = labelled(model, 5)
    points[3] *= 3  # a neighbour whose gradients and distances are of another size
    labels = model(points).argmax(1)
    parts, whole = (
        dataclasses.replace(case.attack, batch_size=batch_size, criterion=criterion)(
            model, points, labels, generator=generator(5)
        )
        for batch_size in (2, 5)  # 2, 2 and 1; all at once
    )
    torch.testing.assert_close(parts.points, whole.points)
    for name in ("success", "iterations", "queries"):
        assert torch.equal(getattr(parts, name), getattr(whole, name)), name


@every()
def test_the_same_seed_gives_the_same_bytes(case):
    model = TinyPointNet().eval()
    points, labels = labelled(model, 6)
    state = torch.get_rng_state()

    def run(seed):
        return bytes_of(case.attack(model, points, labels, None, seed).points)

    first = run(None)
    assert run(generator(0)) == first
    assert (run(generator(8)) != first) == case.draws
    assert torch.equal(state, torch.get_rng_state())


@every()
def test_inputs_and_model_are_left_as_they_were(case):
    model = TinyPointNet().eval()
    model.head.bias.requires_grad_(False)
    points, labels = labelled(model, 4)
    before = [bytes_of(tensor) for tensor in (points, labels)]
    weights = [bytes_of(tensor) for tensor in model.state_dict().values()]
    result = case.attack(model, points, labels)
    result.points.zero_()
    result.clean.zero_()
    assert before == [bytes_of(tensor) for tensor in (points, labels)]
    assert weights == [bytes_of(tensor) for tensor in model.state_dict().values()]
    assert model.head.weight.requires_grad and not model.head.bias.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training and not result.points.requires_grad


@every()
@pytest.mark.parametrize("healthy", [0, 1])
def test_what_the_model_raises_comes_through_and_parameters_are_restored(case, healthy):
    model = ThrowingModel(healthy=healthy).eval()
    model.model.head.bias.requires_grad_(False)
    points, labels = labelled(CentroidLinear().eval(), 2)
    with pytest.raises(RuntimeError, match="victim down"):
        case.attack(model, points, labels)
    assert model.model.head.weight.requires_grad
    assert not model.model.head.bias.requires_grad


FLAT = torch.tensor([1.0, 1.0, 0.0])
DEGENERATE = {
    "all points zero": torch.zeros(2, 32, 3),
    "all points equal": torch.full((2, 32, 3), 70.0),
    "a plane": clouds(2) * FLAT,
    "a line": clouds(2) * torch.tensor([1.0, 0, 0]),
    "every point twice": clouds(2, 16).repeat(1, 2, 1),
}


@every()
def test_degenerate_clouds_stay_finite(case):
    model, points = TinyPointNet().eval(), torch.cat(list(DEGENERATE.values()))
    result = case.attack(model, points, model(points).argmax(1))
    fine = torch.isfinite(result.points).all(-1).all(-1)
    fine &= torch.isfinite(result.chamfer) & torch.isfinite(result.knn_smoothness)
    fine &= spent(case, result) <= result.eps
    kinds = [name for name, some in DEGENERATE.items() for _ in some]
    assert fine.all(), [kinds[i] for i in (~fine).nonzero()[:, 0]]


class FooledOnce(nn.Module):
    """Answers wrongly to the first cloud that deserves it, and never again."""

    def __init__(self, label: int) -> None:
        super().__init__()
        self.model = TinyPointNet()
        self.label = label
        self.fooled_by: Tensor | None = None

    def forward(self, points: Tensor) -> Tensor:
        logits = self.model(points)
        if self.fooled_by is not None:
            certain = 100.0 * nn.functional.one_hot(torch.tensor(self.label), 4)
            return logits + certain
        if int(logits.argmax()) != self.label:
            self.fooled_by = points.detach().clone()
        return logits


@every(lambda case: case.returns_first)
def test_the_misleading_cloud_is_returned_and_not_the_last(case):
    points, labels = labelled(TinyPointNet().eval(), 24)
    fooled = 0
    attack = dataclasses.replace(case.attack, batch_size=1)
    for cloud, label in zip(points.split(1), labels.split(1), strict=True):
        model = FooledOnce(int(label)).eval()
        result = attack(model, cloud, label)
        if model.fooled_by is not None:
            within = not in_a_ball(case) or bool(
                size(model.fooled_by - cloud, case.attack.norm) <= result.eps
            )
            assert bool(result.success) == within
            assert torch.equal(result.points, model.fooled_by) == within
            fooled += within
        if fooled == 3:
            return
    assert fooled, "the test needs a cloud that is fooled once"


@every()
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (NaNModel(), "NaN or infinite logits for 2 of 2 clouds"),
        (HalfModel(), "received torch.float16"),
        (CentroidLinear(num_classes=2), r"labels must lie in 0\.\.1"),
        (WithFault(CentroidLinear(), lambda x: x[:1]), r"received \(1, 4\)"),
        (WithFault(CentroidLinear(), lambda x: (x, x)), r"received tuple"),
    ],
    ids=["NaN", "float16", "wrong width", "wrong length", "a tuple"],
)
def test_victims_that_answer_wrongly_are_named(case, model, message):
    with pytest.raises(ValueError, match=message):
        case.attack(model.eval(), clouds(2), torch.tensor([0, 2]))


@every(lambda case: case.gradient)
def test_a_model_without_gradients_is_named(case):
    model = WithFault(TinyPointNet(), lambda logits: logits.detach()).eval()
    points = clouds(2)
    with pytest.raises(ValueError, match="model must be differentiable"):
        case.attack(model, points, model(points).argmax(1))


@every(lambda case: case.targeted)
def test_a_target_must_not_be_the_label(case):
    labels = torch.tensor([0, 1])
    with pytest.raises(ValueError, match="target_labels must differ from labels"):
        case.attack(CentroidLinear().eval(), clouds(2), labels, labels.clone())


@every(lambda case: case.targeted)
def test_targeted_success_is_reaching_the_target(case):
    model = victim(TinyPointNet)
    points, labels = labelled(model, 16)
    # The likeliest wrong class: near enough to be reached by some.
    ranked = model(points).topk(2, dim=1).indices
    result = case.attack(model, points, labels, ranked[:, 1])
    reached = model(result.points).argmax(1) == ranked[:, 1]
    assert torch.equal(result.success, reached)
    assert reached.any()


@every(lambda case: not case.targeted)
def test_attacks_without_a_target_refuse_one(case):
    labels = torch.tensor([0, 1])
    with pytest.raises(ValueError, match="target_labels must be None"):
        case.attack(CentroidLinear().eval(), clouds(2), labels, 1 - labels)
