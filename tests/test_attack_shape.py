"""Drop, AOF, AdvPC, SI-Adv and HiT-ADV, and the surface they look at."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from victims import CentroidLinear, TinyPointNet, clouds, labelled

from mrpd_tutorial import nearest
from mrpd_tutorial.attacks import random_target_labels
from mrpd_tutorial.attacks.advpc import AdvPC
from mrpd_tutorial.attacks.aof import AOF
from mrpd_tutorial.attacks.deformation import deformation_centres, deformed
from mrpd_tutorial.attacks.drop import (
    RandomDrop,
    SaliencyDrop,
    centre_by_median,
    saliency,
)
from mrpd_tutorial.attacks.hit_adv import HiTADV
from mrpd_tutorial.attacks.norms import size
from mrpd_tutorial.attacks.si_adv import SIAdv, SIAdvQuery
from mrpd_tutorial.attacks.spectrum import (
    graph_laplacian,
    low_frequency_basis,
    low_frequency_part,
)
from mrpd_tutorial.attacks.surface import (
    curvature,
    curvature_deviation,
    estimate_normals,
    neighbour_indices,
    tangent_part,
)
from mrpd_tutorial.geometry import farthest_point_sampling
from mrpd_tutorial.runtime import generator

pytestmark = pytest.mark.usefixtures("one_thread")


def blur(points: Tensor) -> Tensor:
    """An auto-encoder of a kind: three quarters of each point, the rest another's."""
    return 0.75 * points + 0.25 * points.roll(1, dims=1)


SURROGATE = TinyPointNet(seed=5).eval()
MOVING = {
    "aof": AOF.quick(eps=0.1, k=6, frequencies=10, steps=8),
    "advpc": AdvPC.quick(blur, eps=0.1, steps=8),
    "si": SIAdv.quick(eps=0.16, step_size=0.03, k=6, steps=8),
    "si query": SIAdvQuery.quick(SURROGATE, k=6, max_queries=60),
    "hit": HiTADV.quick(eps=0.4, steps=8, k=6, anchors=16, centres=12),
}
REMOVING = {
    "drop": SaliencyDrop(eps=16, per_round=5),
    "random drop": RandomDrop(eps=16, restarts=4),
}
ATTACKS = MOVING | REMOVING


def changed(attack, **changes):
    return dataclasses.replace(attack, **changes)


def in_double(attack):
    """The attack with what it carries in float64, for exact comparisons."""
    if isinstance(attack, SIAdvQuery):
        return changed(attack, surrogate=TinyPointNet(seed=5).eval().double())
    return attack


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", ATTACKS)
def test_accuracy_strictly_falls_and_the_budget_holds(name):
    attack, model = ATTACKS[name], TinyPointNet().eval()
    points, labels = labelled(model, 24, 64)
    before, kept = points.clone(), [p.clone() for p in model.parameters()]
    result = attack(model, points, labels)
    predicted = model(result.points).argmax(1)
    assert torch.equal(result.success, predicted != labels)
    assert result.attack_success_rate > 0.25
    assert torch.equal(points, before), "inputs are not changed"
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), kept, strict=True))
    assert all(p.requires_grad for p in model.parameters())
    assert not any(p.grad is not None for p in model.parameters())
    if name in MOVING:
        moved = size(result.points.double() - points.double(), attack.norm)
        assert (moved <= attack.eps).all()
        assert moved.amax() > 0.5 * attack.eps
    else:
        assert result.points.shape == (24, 48, 3)
        assert result.norm == "count"


@pytest.mark.parametrize("name", MOVING)
def test_targets_are_reached(name):
    model = CentroidLinear(num_classes=3).eval()
    points, labels = labelled(model, 8, 32)
    targets = random_target_labels(labels, 3, generator(0))
    attack = changed(ATTACKS[name], eps=0.7)
    if name == "hit":  # it may not move the centroid, all that this victim looks at
        attack = changed(attack, centred=False, steps=40, search_steps=1)
    elif name == "si query":
        attack = changed(attack, surrogate=model, max_queries=400)
    else:
        attack = changed(attack, steps=60, step_size=0.1)
    result = attack(model, points, labels, targets)
    assert result.success.double().mean() > 0.8
    hit = result.success
    assert torch.equal(model(result.points).argmax(1)[hit], targets[hit])


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize(
    "points",
    [
        torch.zeros(2, 20, 3),
        torch.full((2, 20, 3), 0.7),
        torch.cat([torch.linspace(-1, 1, 20)[None, :, None]] * 2)
        * torch.tensor([1.0, 0, 0]),
        torch.cat([torch.zeros(2, 19, 3), torch.ones(2, 1, 3)], dim=1),
        torch.tensor([[[0.0, 0, 0], [1.0, 0, 0]]] * 2),
    ],
    ids=["all zero", "all equal", "a line", "one outlier", "two points"],
)
def test_degenerate_clouds_stay_finite(name, points):
    attack = ATTACKS[name]
    if name in REMOVING:
        attack = changed(attack, eps=min(16, points.shape[1] - 1))
    result = attack(TinyPointNet().eval(), points, torch.tensor([0, 1]))
    assert torch.isfinite(result.points).all()
    if name in MOVING:
        assert (size(result.points - points, attack.norm) <= attack.eps).all()


@pytest.mark.parametrize("name", MOVING)
def test_a_single_point_is_a_cloud(name):
    points = torch.tensor([[[0.1, 0.2, 0.3]]])
    result = MOVING[name](TinyPointNet().eval(), points, torch.tensor([0]))
    assert torch.isfinite(result.points).all()


@pytest.mark.parametrize("name", MOVING)
def test_clouds_that_are_misled_leave_at_once(name):
    model = TinyPointNet().eval()
    points, labels = labelled(model, 12, 48)
    attack = changed(MOVING[name], criterion="confidence")
    quick = changed(attack, criterion="success")(model, points, labels)
    whole = attack(model, points, labels)
    assert (quick.queries <= whole.queries).all()
    assert (quick.queries[quick.success] < whole.queries[quick.success]).any()
    wrong = changed(attack, criterion="success")(model, points, (labels + 1) % 4)
    assert wrong.success.all() and not wrong.iterations.any()
    assert wrong.attack_success_rate == 0, "what was wrong before counts for nothing"


@pytest.mark.gpu
@pytest.mark.parametrize("name", ATTACKS)
def test_device_follows_the_input(name):
    model = TinyPointNet().eval().double()
    points, labels = labelled(model, 6, 40)
    attack = in_double(ATTACKS[name])
    expected = attack(model, points, labels)
    if isinstance(attack, SIAdvQuery):
        attack.surrogate.cuda()
    result = attack(model.cuda(), points.cuda(), labels.cuda())
    assert result.points.is_cuda
    assert (result.success.cpu() == expected.success).double().mean() > 0.8


# ---------------------------------------------------------------- drop


def dropped_slowly(model, cloud, label, eps, per_round, power=1.0) -> np.ndarray:
    """Zheng et al.'s algorithm, one point at a time, in numpy."""
    cloud = cloud.double().numpy()
    while eps:
        inputs = torch.from_numpy(cloud)[None].requires_grad_(True)
        loss = functional.cross_entropy(model(inputs), torch.tensor([label]))
        (gradient,) = torch.autograd.grad(loss, inputs)
        centre = np.median(cloud, axis=0)
        scores = []
        for point, slope in zip(cloud, gradient[0].numpy(), strict=True):
            radius = math.dist(point, centre)
            along = sum(g * (p - c) for g, p, c in zip(slope, point, centre))  # noqa: B905
            scores.append(-along * radius**power)
        count = min(per_round, eps)
        worst = sorted(range(len(cloud)), key=lambda i: -scores[i])[:count]
        cloud = np.delete(cloud, worst, axis=0)
        eps -= count
    return cloud


@pytest.mark.parametrize("num_points", [39, 40])
@pytest.mark.parametrize("power", [0.0, 1.0, 6.0])
def test_drop_is_the_slow_loop(num_points, power):
    model = TinyPointNet().eval().double()
    points, labels = labelled(model, 6, num_points)
    attack = SaliencyDrop(eps=12, per_round=5, power=power)
    result = attack(model, points, labels)
    for cloud, label, found in zip(points, labels.tolist(), result.points, strict=True):
        expected = dropped_slowly(model, cloud, label, 12, 5, power)
        np.testing.assert_array_equal(found.numpy(), expected)
    assert (result.iterations == 3).all() and (result.queries == 5).all()


def test_the_median_is_numpys():
    for count in (1, 2, 7, 8):
        points = clouds(3, count).double()
        expected = np.median(points.numpy(), axis=1)
        np.testing.assert_allclose(centre_by_median(points).numpy(), expected)


def test_saliency_is_the_slope_along_the_radius():
    """s = -r^(1 + power) dL/dr by finite differences, on a loss that is known."""
    points = clouds(2, 9).double()
    weight = torch.randn(points.shape, generator=generator(3), dtype=torch.float64)
    centre = centre_by_median(points)[:, None]
    outward = points - centre
    radius = outward.norm(dim=-1, keepdim=True)
    step = 1e-6
    rise = (weight * (outward * step / radius)).sum(-1) / step
    expected = -radius[..., 0].pow(1 + 1.5) * rise
    torch.testing.assert_close(saliency(points, weight, 1.5), expected)


def test_drop_needs_the_true_label():
    """Pitfall 5: the loss of a random label removes the wrong points."""
    model = TinyPointNet().eval().double()
    points, labels = labelled(model, 48, 64)
    other = random_target_labels(labels, 4, generator(0))
    with pytest.raises(
        ValueError, match="target_labels must be None: SaliencyDrop has"
    ):
        SaliencyDrop(eps=16)(model, points, labels, other)
    right = SaliencyDrop(eps=16)(model, points, labels).success
    wrong = []
    for cloud, label, target in zip(points, labels, other.tolist(), strict=True):
        left = torch.from_numpy(dropped_slowly(model, cloud, target, 16, 5))
        wrong.append(model(left[None]).argmax(1) != label)
    assert right.double().mean() > 2 * torch.cat(wrong).double().mean()


def test_drop_beats_chance_and_keeps_the_order():
    model = TinyPointNet().eval()
    points, labels = labelled(model, 48, 64)
    by_saliency = SaliencyDrop(eps=16)(model, points, labels)
    by_chance = RandomDrop(eps=16)(model, points, labels)
    assert by_saliency.attack_success_rate > 2 * by_chance.attack_success_rate
    for result in (by_saliency, by_chance):
        for cloud, left in zip(points, result.points, strict=True):
            where = (left[:, None] == cloud[None]).all(-1).long().argmax(1)
            assert (where.diff() > 0).all(), "a subset of the cloud, in its order"


def test_random_drop_is_uniform_seeded_and_gains_by_restarts():
    points = torch.arange(40.0)[None, :, None].expand(500, 40, 3).contiguous() / 40
    labels = torch.zeros(500, dtype=torch.int64)
    model = CentroidLinear().eval()
    result = RandomDrop(eps=30)(model, points, labels, generator=generator(1))
    kept = torch.bincount((result.points[..., 0] * 40).round().long().flatten())
    assert kept.sum() == 5000 and ((kept - 125).abs() < 5 * math.sqrt(125)).all()
    again = RandomDrop(eps=30)(model, points, labels, generator=generator(1))
    assert torch.equal(result.points, again.points)

    model = TinyPointNet().eval()
    points, labels = labelled(model, 48, 64)
    one = RandomDrop(eps=24)(model, points, labels)
    many = RandomDrop(eps=24, restarts=8)(model, points, labels)
    assert many.success.sum() > one.success.sum()
    assert (many.queries == 9).all() and (many.iterations == 8).all()


@pytest.mark.parametrize("kind", [SaliencyDrop, RandomDrop])
def test_drop_settings_are_checked(kind):
    model = TinyPointNet().eval()
    points, labels = labelled(model, 2, 16)
    with pytest.raises(
        ValueError, match="eps must leave at least one point: from clou"
    ):
        kind(eps=16)(model, points, labels)
    assert kind(eps=15)(model, points, labels).points.shape == (2, 1, 3)
    with pytest.raises(ValueError, match=r"whole number of points; received 1\.5"):
        kind(eps=1.5)
    with pytest.raises(ValueError, match="eps must be one number of points for all"):
        kind(eps=(3, 4))
    with pytest.raises(ValueError, match="target_labels must be None"):
        kind(eps=3)(model, points, labels, (labels + 1) % 4)
    with pytest.raises(ValueError, match="at least 2 points"):
        kind(eps=0)(model, points[:, :1], labels)
    with pytest.raises(ValueError, match="per_round must be above 0"):
        SaliencyDrop(per_round=0)
    with pytest.raises(ValueError, match="power must lie in"):
        SaliencyDrop(power=-1.0)
    with pytest.raises(ValueError, match="restarts must be above 0"):
        RandomDrop(restarts=0)


# ---------------------------------------------------------------- surface


def test_neighbours_are_those_of_all_pairs(monkeypatch):
    points = clouds(3, 30).double() + 5.0
    distances = torch.cdist(points, points)
    distances[:, range(30), range(30)] = torch.inf
    expected = distances.topk(7, largest=False).indices
    assert torch.equal(neighbour_indices(points, 7), expected)
    monkeypatch.setitem(nearest._TILE, "cpu", 64)  # two rows at a time
    assert torch.equal(neighbour_indices(points, 7), expected)
    assert neighbour_indices(points, 99).shape == (3, 30, 29)
    assert neighbour_indices(points[:, :1], 4).tolist() == [[[0]]] * 3
    with pytest.raises(ValueError, match="k must be above 0"):
        neighbour_indices(points, 0)
    with pytest.raises(ValueError, match=r"points must have shape \(B, N, 3\)"):
        neighbour_indices(points[0], 3)


def test_normals_are_the_last_principal_component():
    points = clouds(2, 25).double()
    around = neighbour_indices(points, 7)
    normals = estimate_normals(points, 8)
    for cloud, rows, found in zip(points, around, normals, strict=True):
        for i in range(25):
            patch = cloud[[i, *rows[i].tolist()]]
            expected = np.linalg.svd((patch - patch.mean(0)).numpy())[2][-1]
            assert abs(float(found[i] @ torch.from_numpy(expected))) > 1 - 1e-9
    torch.testing.assert_close(estimate_normals(points, neighbours=around), normals)
    some = torch.tensor([[3, 0, 24], [7, 7, 1]])
    expected = torch.stack([normals[0, some[0]], normals[1, some[1]]])
    torch.testing.assert_close(estimate_normals(points, 8, at=some), expected)


def test_normals_of_known_surfaces():
    directions = torch.randn(2, 600, 3, generator=generator(0))
    sphere = functional.normalize(directions, dim=-1)
    angle = (estimate_normals(sphere * 1e-4 + 1) * sphere).sum(-1)
    assert (angle > 0.95).all(), "along the radius, outward, at any scale"
    plane = torch.cat([torch.rand(1, 50, 2), torch.zeros(1, 50, 1)], dim=-1)
    normals = estimate_normals(plane)
    torch.testing.assert_close(normals[..., 2].abs(), torch.ones(1, 50))
    line = torch.linspace(0, 1, 9)[None, :, None] * torch.tensor([0.0, 1.0, 0.0])
    normals = estimate_normals(line)
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(1, 9))
    torch.testing.assert_close(normals[..., 1], torch.zeros(1, 9))
    same = estimate_normals(torch.ones(1, 4, 3))
    torch.testing.assert_close(same.norm(dim=-1), torch.ones(1, 4))
    with pytest.raises(ValueError, match="k must be at least 2"):
        estimate_normals(plane, 1)


def test_tangent_parts_are_the_turned_gradients_of_the_paper():
    """SI-Adv turns n to z, drops the third coordinate and turns back."""
    normals = functional.normalize(clouds(1, 12).double(), dim=-1)
    normals[0, 0] = torch.tensor([0.0, 0.0, 1.0])
    normals[0, 1] = torch.tensor([0.0, 0.0, -1.0])
    vectors = torch.randn(1, 12, 3, generator=generator(2), dtype=torch.float64)
    found = tangent_part(vectors, normals)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    for v, n, tangent in zip(vectors[0], normals[0], found[0], strict=True):
        other = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
        if float(n[0].abs()) > 0.9:
            other = up
        first = functional.normalize(torch.linalg.cross(n, other), dim=0)
        turn = torch.stack([first, torch.linalg.cross(n, first), n])  # rows: x, y, z
        torch.testing.assert_close(turn @ n, up)
        turned = turn @ v
        turned[2] = 0
        torch.testing.assert_close(turn.T @ turned, tangent)
    torch.testing.assert_close(
        (found * normals).sum(-1), torch.zeros_like(found[..., 0])
    )


def test_curvature_is_the_slow_loop():
    points = clouds(2, 20).double()
    normals = estimate_normals(points, 6)
    around = neighbour_indices(points, 5)
    values = curvature(points, normals, around)
    deviations = curvature_deviation(points, normals, around)
    for b in range(2):
        kappa = []
        for i in range(20):
            rows = around[b, i].tolist()
            offsets = [points[b, j] - points[b, i] for j in rows]
            bends = [abs(float(o / o.norm() @ normals[b, i])) for o in offsets]
            kappa.append(np.mean(bends))
        np.testing.assert_allclose(values[b].numpy(), kappa)
        expected = [np.std([kappa[j] for j in rows]) for rows in around[b].tolist()]
        np.testing.assert_allclose(deviations[b].numpy(), expected)


def test_curvature_has_a_gradient_even_where_points_meet():
    points = clouds(1, 8).double()
    normals, around = estimate_normals(points, 4), neighbour_indices(points, 3)
    points.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda p: curvature(p, normals, around), (points,))
    same = torch.zeros(1, 5, 3, dtype=torch.float64, requires_grad=True)
    flat = curvature(same, estimate_normals(same), neighbour_indices(same, 3))
    (gradient,) = torch.autograd.grad(flat.sum(), same)
    assert torch.equal(flat, torch.zeros(1, 5).double())
    assert torch.equal(gradient, torch.zeros_like(gradient))


# ---------------------------------------------------------------- AOF, AdvPC


def test_low_frequencies_are_those_of_a_dense_oracle():
    points = clouds(3, 24).double()
    basis = low_frequency_basis(points, 7, 5)
    for cloud, found in zip(points.numpy(), basis.numpy(), strict=True):
        weights = np.zeros((24, 24))
        for i in range(24):
            squared = [((cloud[i] - cloud[j]) ** 2).sum() for j in range(24)]
            for j in np.argsort(squared)[1:6]:
                weights[i, j] = weights[j, i] = math.exp(-squared[j])
        laplacian = np.diag(weights.sum(0)) - weights
        values, vectors = np.linalg.eigh(laplacian)
        assert values[7] - values[6] > 1e-6, "the test needs a gap at the cut"
        expected = vectors[:, :7] @ vectors[:, :7].T @ cloud
        low = found @ (found.T @ cloud)
        np.testing.assert_allclose(low, expected, atol=1e-9)
        mine = graph_laplacian(torch.from_numpy(cloud), 5).numpy()
        np.testing.assert_allclose(mine, laplacian, atol=1e-12)
        slopes = np.diag(found.T @ laplacian @ found)
        np.testing.assert_allclose(slopes, values[:7], atol=1e-9)
    torch.testing.assert_close(low_frequency_part(points, basis)[2], torch.tensor(low))


def test_all_frequencies_reconstruct_and_none_of_the_rest_is_left():
    points = clouds(2, 30)
    whole = low_frequency_basis(points, 30, 6)
    torch.testing.assert_close(low_frequency_part(points, whole), points)
    assert low_frequency_basis(points, 99, 6).shape == (2, 30, 30)
    basis = low_frequency_basis(points, 8, 6)
    square = basis.transpose(1, 2) @ basis
    torch.testing.assert_close(square, torch.eye(8).expand(2, 8, 8))
    low = low_frequency_part(points, basis)
    torch.testing.assert_close(low_frequency_part(low, basis), low)
    rest = low_frequency_part(points - low, basis)
    torch.testing.assert_close(rest, torch.zeros_like(rest), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="count must be above 0"):
        low_frequency_basis(points, 0)


@pytest.mark.parametrize("name", ["aof", "advpc"])
def test_the_second_view_is_misled_too(name):
    """That is what the weight gamma is for."""
    model = TinyPointNet().eval()
    points, labels = labelled(model, 24, 48)
    attack = changed(MOVING[name], steps=20)

    def view(moved: Tensor) -> Tensor:
        if name == "advpc":
            return blur(moved)
        return low_frequency_part(moved, low_frequency_basis(points, 10, 6))

    misled = []
    for gamma in (0.0, 0.5):
        result = changed(attack, gamma=gamma)(model, points, labels)
        with torch.no_grad():
            margins = model(view(result.points))
        own = margins.gather(1, labels[:, None])[:, 0]
        misled.append(margins.scatter(1, labels[:, None], -torch.inf).amax(1) - own)
        assert result.attack_success_rate > 0.5
    assert misled[1].mean() > misled[0].mean() + 0.1


def test_clouds_whose_second_view_misleads_come_first():
    margins = [-1.0, 5.0, -1.0, 1.0, 1.0, 3.0, -1.0]  # clean, then pairs (x, G(x))
    seen = []

    def model(points: Tensor) -> Tensor:
        value = margins[len(seen)]
        seen.append(points.detach().clone())
        slope = 1e-3 * points.sum((1, 2))
        return torch.stack([0 * slope, value + slope], dim=1)

    points = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0], [0.0, 1, 0]]])
    attack = AdvPC(auto_encoder=blur, steps=2, restarts=1, start_noise=0.01)
    result = attack(model, points, torch.tensor([0]))
    assert len(seen) == 7
    assert torch.equal(result.points, seen[3])
    assert result.queries.tolist() == [7] and result.success.all()


def test_clouds_that_reach_the_confidence_in_both_views_are_done():
    model = TinyPointNet().eval()
    points, labels = labelled(model, 12, 48)
    attack = changed(MOVING["advpc"], steps=30, confidence=0.5)
    result = attack(model, points, labels)
    some = result.iterations < 30
    assert some.any(), "some reach it"
    assert not result.idle_steps.any(), "a loss that is clamped is no masked gradient"
    logits = model(result.points).detach()
    own = logits.gather(1, labels[:, None])[:, 0]
    gap = logits.scatter(1, labels[:, None], -torch.inf).amax(1) - own
    assert (gap[some] >= 0.5 - 1e-5).all()


def test_the_auto_encoder_is_checked_frozen_and_restored():
    model = TinyPointNet().eval()
    points, labels = labelled(model, 3, 16)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.drop = nn.Dropout(0.5)
            self.flags: set[bool] = set()

        def forward(self, cloud: Tensor) -> Tensor:
            self.flags.add(self.scale.requires_grad)
            return self.drop(cloud * self.scale)[:, ::2]  # another number of points

    encoder = Encoder()
    with pytest.raises(ValueError, match="must be in evaluation mode"):
        AdvPC.quick(encoder)(model, points, labels)
    AdvPC.quick(encoder.eval(), eps=0.1)(model, points, labels)
    assert encoder.flags == {False} and encoder.scale.requires_grad
    assert encoder.scale.grad is None
    with pytest.raises(ValueError, match="auto_encoder must be a callable"):
        AdvPC(auto_encoder=None)
    with pytest.raises(TypeError, match="auto_encoder"):
        AdvPC(eps=0.1)
    for answer, message in [
        (lambda p: p.transpose(1, 2), r"the auto_encoder's answer must have shape"),
        (lambda p: p / 0, "the auto_encoder's answer must be finite"),
        (lambda p: p[:1], "one cloud for each of the 3 given; received 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            AdvPC.quick(answer, eps=0.1)(model, points, labels)


# ---------------------------------------------------------------- SI-Adv


def test_steps_stay_in_the_tangent_planes():
    model = TinyPointNet().eval().double()
    points, labels = labelled(model, 12, 60)
    attack = SIAdv(eps=1.0, steps=1, step_size=0.01, k=8)
    result = attack(model, points, labels)
    moved = result.points - points
    normals = estimate_normals(points, 8)
    assert (moved.flatten(1).norm(dim=1) > 0).any()
    torch.testing.assert_close(
        (moved * normals).sum(-1), torch.zeros_like(moved[..., 0]), rtol=0, atol=1e-9
    )
    length = result.l2[result.l2 > 0]
    expected = torch.full_like(length, 0.01 * math.sqrt(3 * 60))
    torch.testing.assert_close(length, expected)
    query = SIAdvQuery(
        surrogate=TinyPointNet(seed=5).eval().double(), max_queries=3, k=8
    )
    moved = query(model, points, labels).points - points
    torch.testing.assert_close(
        (moved * normals).sum(-1), torch.zeros_like(moved[..., 0]), rtol=0, atol=1e-6
    )


def test_points_slide_on_a_plane_and_cannot_leave_it():
    model = TinyPointNet().eval()
    points = clouds(6, 50)
    points[..., 2] = 0
    labels = model(points).argmax(1)
    result = SIAdv(eps=0.2, steps=10, step_size=0.02, k=8)(model, points, labels)
    assert result.points[..., 2].abs().amax() < 1e-5
    assert result.linf.amax() > 0.05


def test_normals_can_be_kept_for_some_steps(monkeypatch):
    model = TinyPointNet().eval()
    points, labels = labelled(model, 4, 32)
    calls = []

    def counting(*args, **kwargs):
        calls.append(args)
        return estimate_normals(*args, **kwargs)

    monkeypatch.setattr("mrpd_tutorial.attacks.si_adv.estimate_normals", counting)
    SIAdv(steps=10, k=6, normals_every=4)(model, points, labels)
    assert len(calls) == 3
    SIAdv(steps=10, k=6)(model, points, labels)
    assert len(calls) == 13


@pytest.mark.parametrize("norm", ["linf", "per_point"])
def test_query_attack_obeys_eps_and_returns_the_best_cloud(norm):
    """Pitfall 11: the release never applies eps and returns the cloud tried last."""
    model = TinyPointNet().eval()
    points, labels = labelled(model, 1, 48)
    seen = []

    def spy(cloud: Tensor) -> Tensor:
        logits = model(cloud).detach()
        own = logits[0, labels[0]]
        others = logits[0].clone()
        others[labels[0]] = -torch.inf
        seen.append((float(others.amax() - own), cloud.clone()))
        return logits

    attack = SIAdvQuery.paper(SURROGATE, norm=norm, eps=0.05, k=6, max_queries=150)
    result = changed(attack, criterion="confidence")(spy, points, labels)
    assert result.queries.tolist() == [len(seen)] and len(seen) == 150
    gaps = [gap for gap, _ in seen]
    best = [cloud for gap, cloud in seen if gap > max(gaps) - 1e-5]
    assert any(torch.equal(result.points, cloud) for cloud in best)
    last = seen[-1][1]
    assert not torch.equal(last, result.points), "the test needs another last cloud"
    for _, cloud in seen:
        assert (size(cloud - points, norm) <= 0.05).all()
    assert result.linf.amax() > 0.025 and max(gaps) > gaps[0] + 0.1


def test_query_budget_is_kept_by_each_cloud_and_needs_no_gradient():
    model = TinyPointNet().eval()
    points, labels = labelled(model, 10, 48)

    def blind(cloud: Tensor) -> Tensor:
        with torch.no_grad():
            return model(cloud)

    few = SIAdvQuery.quick(SURROGATE, k=6, max_queries=12)(blind, points, labels)
    many = SIAdvQuery.quick(SURROGATE, k=6, max_queries=120)(blind, points, labels)
    assert (few.queries <= 12).all() and (many.queries <= 120).all()
    assert many.success.sum() > few.success.sum()
    assert (many.queries[many.success] < 120).any(), "it stops where the margin flips"
    assert torch.equal(few.queries, few.iterations + 1)


def test_a_surrogate_without_a_gradient_leaves_random_tangents():
    model = TinyPointNet().eval()
    points, labels = labelled(model, 8, 48)

    def constant(cloud: Tensor) -> Tensor:
        return torch.zeros(len(cloud), 4) + 0 * cloud.sum()

    attack = SIAdvQuery.quick(constant, k=6, max_queries=200)
    assert attack(model, points, labels).success.any()
    with pytest.raises(ValueError, match="surrogate must be differentiable"):
        changed(attack, surrogate=lambda p: torch.zeros(len(p), 4))(
            model, points, labels
        )
    with pytest.raises(ValueError, match="surrogate must be a callable"):
        changed(attack, surrogate=3)
    with pytest.raises(ValueError, match="must be in evaluation mode"):
        changed(attack, surrogate=TinyPointNet())(model, points, labels)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1"):
        changed(attack, surrogate=lambda p: p.mean(1)[:, :2])(model, points, labels)


# ---------------------------------------------------------------- HiT-ADV


def centred(points: Tensor) -> Tensor:
    return points - points.mean(1, keepdim=True)


class Watchman(nn.Module):
    """Class 1 wins by a move of the centroid, or by a stretch along x."""

    def forward(self, points: Tensor) -> Tensor:
        moved = 20 * points.mean(1).sum(-1)
        spread = points.var(1)
        stretched = 8 * (spread[:, 0] / spread.sum(-1) - 0.42)
        return torch.stack([torch.zeros_like(moved), moved + stretched], dim=1)


def test_hit_adv_survives_recentring_where_the_releases_start_does_not():
    """Pitfall 10: shifts of one sign translate the cloud, and that is all they do."""
    model = Watchman().eval()
    points = centred(clouds(12, 100))
    points = points / points.norm(dim=-1).amax(1)[:, None, None]
    labels = torch.zeros(12, dtype=torch.int64)
    keep = model(points).argmax(1) == 0
    points, labels = points[keep], labels[keep]
    assert len(points) >= 6

    chosen = points[:, :32]
    squared = torch.cdist(points, chosen).square()
    one_sign = 0.55 * torch.rand(len(points), 32, 3, generator=generator(0))
    released = deformed(points, squared, one_sign, torch.full((len(points), 32), 0.6))
    drift = (released - points).mean((0, 1))
    assert (drift - 0.275).abs().amax() < 0.05, "about 0.26 along each axis"
    assert (model(released).argmax(1) == 1).all()
    assert (model(centred(released)).argmax(1) == 1).double().mean() < 0.5

    attack = HiTADV.quick(steps=25, search_steps=1, k=8)
    result = attack(model, points, labels)
    assert result.success.all()
    assert (model(centred(result.points)).argmax(1) == 1).all()
    assert result.points.mean(1).abs().amax() < 1e-5

    loose = changed(attack, centred=False)(model, points, labels)
    assert loose.points.mean(1).norm(dim=-1).mean() > 0.01


def test_deformation_is_the_slow_loop_and_equal_shifts_are_a_translation():
    points = clouds(2, 15).double()
    centres = points[:, :4]
    squared = torch.cdist(points, centres).square()
    shifts = torch.randn(2, 4, 3, generator=generator(1), dtype=torch.float64)
    widths = 0.2 + torch.rand(2, 4, generator=generator(2), dtype=torch.float64)
    found = deformed(points, squared, shifts, widths)
    for b in range(2):
        for i in range(15):
            above, below = torch.zeros(3, dtype=torch.float64), 0.0
            for j in range(4):
                far = float((points[b, i] - centres[b, j]).square().sum())
                kernel = math.exp(-far / (2 * float(widths[b, j]) ** 2))
                above += kernel * (points[b, i] + shifts[b, j])
                below += kernel
            torch.testing.assert_close(found[b, i], above / below)
    same = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64).expand(2, 4, 3)
    torch.testing.assert_close(
        deformed(points, squared, same, widths), points + same[0, 0]
    )
    far = deformed(100 * points, 1e4 * squared, shifts, widths)
    assert torch.isfinite(far).all(), "kernels below the smallest float"


def test_centres_are_busy_spread_and_each_clouds_own_affair():
    """Pitfall 8: the release scales saliency by the extremes of the batch."""
    points = clouds(3, 60).double()
    around = neighbour_indices(points, 6)
    salience = torch.rand(3, 60, generator=generator(1), dtype=torch.float64)
    salience[2] *= 1e9
    busy = torch.rand(3, 60, generator=generator(2), dtype=torch.float64)
    settings = {"anchors": 20, "count": 8, "salience_weight": 1.0}
    together = deformation_centres(points, salience, busy, around, **settings)
    for b in range(3):
        alone = deformation_centres(
            *(values[b : b + 1] for values in (points, salience, busy, around)),
            **settings,
        )
        assert torch.equal(alone[0], together[b])

    def slowly(low: Tensor, high: Tensor) -> list[int]:
        score = (salience[0] - low) / (high - low)
        score = score + (busy[0] - busy[0].min()) / (busy[0].max() - busy[0].min())
        winners = [
            max([a, *around[0, a].tolist()], key=lambda i: float(score[i]))
            for a in farthest_point_sampling(points, 20)[0].tolist()
        ]
        return sorted(winners, key=lambda i: -float(score[i]))[:8]

    assert together[0].tolist() == slowly(salience[0].min(), salience[0].max())
    assert together[0].tolist() != slowly(salience.min(), salience.max())
    few = deformation_centres(
        points[:, :5], salience[:, :5], busy[:, :5], around[:, :5] % 5
    )
    assert few.shape == (3, 5)


def test_hit_adv_returns_the_least_visible_of_all_search_steps():
    costs = []

    class Spy(HiTADV):
        def _result(self, search):
            costs.append(search.best_cost.clone())
            return super()._result(search)

    model = TinyPointNet().eval()
    points, labels = labelled(model, 12, 48)
    settings = dataclasses.asdict(MOVING["hit"]) | {"confidence": 0.1}
    one = Spy(**settings | {"search_steps": 1})(model, points, labels)
    six = Spy(**settings | {"search_steps": 6})(model, points, labels)
    assert not (one.success & ~six.success).any()
    assert six.success.double().mean() > 0.5
    assert (costs[1] <= costs[0]).all() and (costs[1] < costs[0]).any()
    # The clean cloud, its saliency, and each step's iterates.
    assert (six.queries == 2 + 6 * 9).all()


# ---------------------------------------------------------------- settings


def test_papers_presets_are_the_published_ones():
    assert SaliencyDrop.drop_100() == SaliencyDrop(eps=100, per_round=5, power=1.0)
    assert SaliencyDrop.drop_200() == SaliencyDrop(eps=200, per_round=5, power=1.0)
    assert SaliencyDrop.paper(batch_size=4).eps == RandomDrop.paper().eps == 200
    aof, advpc = AOF.paper(), AdvPC.paper(blur)
    for attack in (aof, advpc):
        assert (attack.eps, attack.gamma, attack.confidence) == (0.18, 0.25, 30)
        assert (attack.steps, attack.restarts, attack.step_size) == (200, 2, 0.01)
        assert attack.start_noise == 1e-7
    assert (aof.norm, aof.frequencies, aof.k) == ("per_point", 100, 30)
    assert (advpc.norm, AdvPC.paper(blur, eps=0.45).eps) == ("linf", 0.45)
    si, query = SIAdv.paper(), SIAdvQuery.paper(blur)
    assert (si.eps, si.norm, si.steps, si.step_size) == (0.16, "linf", 50, 0.007)
    assert (si.k, si.normals_every) == (20, 1)
    assert (query.eps, query.norm, query.step_size) == (0.16, "linf", 0.32)
    assert query.criterion == "success"
    hit = HiTADV.paper()
    assert (hit.eps, hit.min_width, hit.max_width) == (0.55, 0.1, 1.2)
    assert (hit.steps, hit.search_steps, hit.weight, hit.max_weight) == (
        100,
        10,
        10,
        80,
    )
    assert (hit.step_size, hit.width_step_size, hit.confidence) == (0.05, 0.03, 30)
    assert (hit.anchors, hit.centres, hit.k) == (256, 192, 16)
    assert (hit.salience_weight, hit.chamfer_weight, hit.centred) == (1e-3, 1e-4, True)
    for quick in (SaliencyDrop, RandomDrop, AOF, SIAdv, HiTADV):
        assert quick.quick(batch_size=3).batch_size == 3
        with pytest.raises(TypeError, match="epsilon"):
            quick.quick(epsilon=0.1)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (AOF, {"gamma": 1.5}, r"gamma must lie in \[0, 1\]; received 1.5"),
        (AOF, {"confidence": -1.0}, "confidence must lie in"),
        (AOF, {"steps": 0}, "steps must be above 0"),
        (AOF, {"restarts": 0}, "restarts must be above 0"),
        (AOF, {"step_size": 0.0}, "step_size must be above 0"),
        (AOF, {"start_noise": -1.0}, "start_noise must lie in"),
        (AOF, {"norm": "l-inf"}, "norm must be one of"),
        (AOF, {"frequencies": 0}, "frequencies must be above 0"),
        (AOF, {"k": 0}, "k must be above 0"),
        (SIAdv, {"eps": -0.1}, "eps must be 0 or above"),
        (SIAdv, {"loss": "dlr"}, "loss must be one of"),
        (SIAdv, {"norm": "count"}, "norm must be one of"),
        (SIAdv, {"normals_every": 0}, "normals_every must be above 0"),
        (SIAdv, {"k": 1}, "k must be at least 2"),
        (SIAdvQuery, {"surrogate": blur, "norm": "l2"}, "norm must be one of"),
        (SIAdvQuery, {"surrogate": blur, "max_queries": 0}, "max_queries must be abo"),
        (HiTADV, {"eps": float("inf")}, "eps must lie in"),
        (HiTADV, {"max_width": 0.05}, "max_width must lie in"),
        (HiTADV, {"weight": 90.0}, r"weight must lie in \[0, 80.0\]"),
        (HiTADV, {"k": 1}, "k must be at least 2 neighbours"),
        (HiTADV, {"nearest_every": 0}, "nearest_every must be above 0"),
        (HiTADV, {"chamfer_weight": -1.0}, "chamfer_weight must lie in"),
    ],
)
def test_settings_are_checked(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)
