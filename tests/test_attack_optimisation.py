"""Attacks that look for the nearest misleading cloud, and what they are made of."""

import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from victims import CentroidLinear, TinyPointNet, clouds, labelled

from mrpd_tutorial import geometry, nearest
from mrpd_tutorial.attacks.base import random_target_labels
from mrpd_tutorial.attacks.binary_search import TradeOff, binary_search
from mrpd_tutorial.attacks.cw import CWPerturb
from mrpd_tutorial.attacks.cw_add import CWAdd, _place_objects
from mrpd_tutorial.attacks.distances import (
    NeighbourList,
    farthest_pair,
    outlier_distance,
    squared_distance_to,
)
from mrpd_tutorial.attacks.geoa3 import GeoA3
from mrpd_tutorial.attacks.initial_points import aeroplane, critical_clusters, dbscan
from mrpd_tutorial.attacks.knn_attack import KNNAttack
from mrpd_tutorial.attacks.optimise import Adam, minimise, ranked_cost
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.nearest import nearest_indices
from mrpd_tutorial.runtime import generator

pytestmark = pytest.mark.usefixtures("one_thread")

MODES = ("chamfer", "hausdorff", "cluster", "object")
ATTACKS = {
    "CWPerturb": CWPerturb.quick(steps=12, search_steps=3),
    "KNNAttack": KNNAttack.quick(steps=25, step_size=0.01, confidence=0.0, eps=0.3),
    "GeoA3": GeoA3.quick(steps=12, search_steps=2),
    "GeoA3 ce": GeoA3.quick(steps=12, search_steps=2, loss="ce", k=6),
} | {
    f"CWAdd {mode}": CWAdd.quick(
        mode, eps=24, steps=15, search_steps=3, step_size=0.05, weight=0.5
    )
    for mode in MODES
}


def random_clouds(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    drawn = torch.randn(*shape, 3, generator=generator(seed), dtype=torch.float64)
    return scale * drawn


def search_on(model, points: Tensor, labels: Tensor, **changes) -> Search:
    settings = {
        "model": model,
        "clean": points,
        "labels": labels,
        "target_labels": None,
        "eps": points.new_full((len(points),), torch.inf),
        "generators": [generator(i) for i in range(len(points))],
        "stop_at_success": False,
    }
    return Search(**settings | changes)


# Neighbours and distances


@pytest.mark.parametrize("tile", [1, 64, 2**20])
@pytest.mark.parametrize("k", [1, 3])
def test_nearest_points_are_those_of_a_slow_loop(monkeypatch, tile, k):
    monkeypatch.setitem(nearest._TILE, "cpu", tile)
    a, b = random_clouds(2, 9), random_clouds(2, 7, seed=1)
    found, reach = nearest_indices(a, b, k)
    own, own_reach = nearest_indices(a, a, k, exclude_self=True)
    for cloud, point in itertools.product(range(2), range(9)):
        order = sorted(range(7), key=lambda j: math.dist(a[cloud, point], b[cloud, j]))
        assert found[cloud, point].tolist() == order[:k]
        last = math.dist(a[cloud, point], b[cloud, order[k - 1]])
        assert math.isclose(reach[cloud, point], last)
        others = [j for j in range(9) if j != point]
        others.sort(key=lambda j: math.dist(a[cloud, point], a[cloud, j]))
        assert own[cloud, point].tolist() == others[:k]
        last = math.dist(a[cloud, point], a[cloud, others[k - 1]])
        assert math.isclose(own_reach[cloud, point], last)
    with pytest.raises(ValueError, match=r"k must lie in \[1, 7\]; received 8"):
        nearest_indices(a, b, 8)
    with pytest.raises(ValueError, match=r"k must lie in \[1, 8\]; received 9"):
        nearest_indices(a, a, 9, exclude_self=True)


def test_no_tensor_holds_all_pairs_of_a_large_cloud(monkeypatch):
    largest, product = [], torch.bmm

    def spy(left: Tensor, right: Tensor) -> Tensor:
        result = product(left, right)
        largest.append(result.numel())
        return result

    monkeypatch.setattr(torch, "bmm", spy)
    points = random_clouds(2, 3000).float()
    nearest_indices(points, points, 2, exclude_self=True)
    assert max(largest) <= nearest._TILE["cpu"] < 2 * 3000 * 3000


@pytest.mark.parametrize("exclude_self", [True, False])
def test_neighbour_lists_answer_as_a_full_search_does_and_are_rarely_remade(
    exclude_self,
):
    k, steps, source = 4, 60, generator(0)
    clean = random_clouds(3, 60)
    moving, velocity = clean.clone(), torch.zeros_like(clean)
    lists = NeighbourList(k, candidates=20, exclude_self=exclude_self)
    index = torch.arange(3)
    for step in range(steps):
        if step == 30:  # a cloud leaves
            index, moving, velocity = index[1:], moving[1:], velocity[1:]
        points = moving if exclude_self else clean[index]
        found = lists(moving, points, index)
        exact, _ = nearest_indices(moving, points, k, exclude_self=exclude_self)
        assert torch.equal(found, exact)
        push = torch.randn(velocity.shape, generator=source, dtype=torch.float64)
        velocity = 0.9 * velocity + 0.002 * push
        moving = moving + velocity
    assert 3 <= lists.rebuilt < (30 * 3 + 30 * 2) / 3


def test_a_cloud_that_jumps_has_its_list_remade_and_no_other():
    points = random_clouds(3, 40)
    lists = NeighbourList(2, candidates=6, exclude_self=True)
    index = torch.arange(3)
    lists(points, points, index)
    assert lists.rebuilt == 3
    points[1] = random_clouds(40, seed=5)
    found = lists(points, points, index)
    assert lists.rebuilt == 4
    assert torch.equal(found, nearest_indices(points, points, 2, exclude_self=True)[0])


def test_lists_that_are_refreshed_are_exact_then_and_nearly_so_in_between():
    points, source = random_clouds(2, 80), generator(1)
    lists = NeighbourList(3, candidates=6, exclude_self=True, refresh=4)
    index, agreed = torch.arange(2), []
    for _ in range(12):
        found = lists(points, points, index)
        true, _ = nearest_indices(points, points, 3, exclude_self=True)
        agreed.append(float((found == true).double().mean()))
        step = torch.randn(points.shape, generator=source, dtype=torch.float64)
        points = points + 0.03 * step
    assert lists.rebuilt == 2 * 3
    assert agreed[0] == agreed[4] == agreed[8] == 1.0
    assert 0.9 < min(agreed) < 1.0
    # A cloud that comes later has its own count.
    one = lists(points[1:], points[1:], index[1:])
    assert torch.equal(
        one, nearest_indices(points, points, 3, exclude_self=True)[0][1:]
    )
    assert lists.rebuilt == 2 * 3 + 1


def test_small_clouds_have_the_neighbours_they_have():
    one, two = random_clouds(1, 1), random_clouds(1, 2)
    index = torch.tensor([0])
    own = {"candidates": 8, "exclude_self": True}
    assert NeighbourList(5, **own)(one, one, index).tolist() == [[[0]]]
    assert NeighbourList(5, **own)(two, two, index).tolist() == [[[1], [0]]]
    assert NeighbourList(5, candidates=8)(one, two, index).shape == (1, 1, 2)


def test_pitfall_12_the_knn_distance_lives_outside_the_unit_ball():
    """|a|^2 + |b|^2 - 2ab in float32 falls below -1e-6 there, and public code stops."""
    points = (300 + random_clouds(2, 200, scale=30.0)).float()
    squares = points.square().sum(-1)
    expanded = squares[:, :, None] + squares[:, None] - 2 * points @ points.mT
    assert expanded.min() < -1e-6, "the test needs clouds that break the expansion"
    neighbours, _ = nearest_indices(points, points, 5, exclude_self=True)
    squared = squared_distance_to(points, points, neighbours)
    true = torch.cdist(points.double(), points.double()).square()
    true = true.topk(6, largest=False).values[..., 1:]
    torch.testing.assert_close(squared.double(), true, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        outlier_distance(squared).double(), outlier_distance(true), rtol=1e-4, atol=0
    )
    model = TinyPointNet().eval()
    labels = torch.zeros(2, dtype=torch.int64)
    attack = KNNAttack.quick(steps=2, eps=1.0)
    assert torch.isfinite(attack(model, points, labels).points).all()


def test_outlier_distance_is_the_papers_and_that_of_geometry():
    points = random_clouds(2, 30)
    points[:, 0] += 4.0
    neighbours, _ = nearest_indices(points, points, 5, exclude_self=True)
    value = outlier_distance(squared_distance_to(points, points, neighbours))
    for cloud, each in zip(points.tolist(), value.tolist(), strict=True):
        means = []
        for i, point in enumerate(cloud):
            others = sorted(
                math.dist(point, q) ** 2 for j, q in enumerate(cloud) if j != i
            )
            means.append(sum(others[:5]) / 5)
        mean = sum(means) / 30
        spread = math.sqrt(sum((d - mean) ** 2 for d in means) / 29)
        limit = mean + 1.05 * spread
        assert math.isclose(each, sum(d for d in means if d > limit) / 30)
        assert each > 0
    torch.testing.assert_close(value, geometry.knn_smoothness(points))
    assert outlier_distance(torch.ones(2, 30, 5)).tolist() == [0, 0]
    assert outlier_distance(torch.ones(2, 1, 1)).tolist() == [0, 0]


def test_one_sided_distances_add_up_to_those_of_geometry():
    a, b = random_clouds(2, 20), random_clouds(2, 15, seed=1)
    there = squared_distance_to(a, b, nearest_indices(a, b)[0])[..., 0]
    back = squared_distance_to(b, a, nearest_indices(b, a)[0])[..., 0]
    torch.testing.assert_close(
        there.mean(1) + back.mean(1), geometry.chamfer_distance(a, b)
    )
    torch.testing.assert_close(
        torch.maximum(there.amax(1), back.amax(1)).sqrt(),
        geometry.hausdorff_distance(a, b),
    )


def test_farthest_pair_is_that_of_a_slow_loop():
    points = random_clouds(3, 11)
    for cloud, value in zip(points.tolist(), farthest_pair(points), strict=True):
        pairs = itertools.combinations(cloud, 2)
        assert math.isclose(value, max(math.dist(p, q) for p, q in pairs))
    same = torch.ones(1, 4, 3, requires_grad=True)
    value = farthest_pair(same)
    (gradient,) = torch.autograd.grad(value.sum(), same)
    assert value.tolist() == [0] and not gradient.any()


def test_gradients_are_those_of_finite_differences():
    a, b = random_clouds(2, 9), random_clouds(2, 8, seed=1)
    a.requires_grad_(True), b.requires_grad_(True)

    def chamfer(a: Tensor, b: Tensor) -> Tensor:
        return squared_distance_to(a, b, nearest_indices(a, b)[0]).mean((1, 2))

    def hausdorff(a: Tensor, b: Tensor) -> Tensor:
        return squared_distance_to(a, b, nearest_indices(a, b)[0]).amax((1, 2))

    def outliers(a: Tensor) -> Tensor:
        around, _ = nearest_indices(a, a, 3, exclude_self=True)
        return outlier_distance(squared_distance_to(a, a, around))

    assert torch.autograd.gradcheck(chamfer, (a, b))
    assert torch.autograd.gradcheck(hausdorff, (a, b))
    assert torch.autograd.gradcheck(outliers, (a,))
    assert torch.autograd.gradcheck(farthest_pair, (a,))
    assert outliers(a).gt(0).all()


# Where added points begin


def test_dbscan_finds_what_the_definition_says():
    line = torch.tensor([0.0, 0.1, 0.2, 0.3, 5.0, 5.1, 5.2, 9.0, 0.5])
    points = torch.stack([line, torch.zeros(9), torch.zeros(9)], dim=1)
    # 0.5 is no core point (two points within 0.25), but within reach of 0.3.
    assert dbscan(points, 0.25, 3).tolist() == [0, 0, 0, 0, 1, 1, 1, -1, 0]
    assert dbscan(points, 0.25, 1).tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 0]
    assert dbscan(points, 0.01, 2).tolist() == [-1] * 9
    order = torch.tensor([4, 7, 0, 1, 2, 3, 8, 5, 6])
    assert dbscan(points[order], 0.25, 3).tolist() == [0, -1, 1, 1, 1, 1, 1, 0, 0]


def test_clusters_are_the_largest_ones_and_random_places_stand_in():
    near = 0.01 * random_clouds(40).float()
    critical = torch.cat([near[:20] + 3, near[20:25] - 3, near[25:39], near[39:] + 9])
    groups = critical_clusters(critical, 2, 8, generator(0))
    assert [round(float(group.mean())) for group in groups] == [3, 0]
    assert all(group.shape == (8, 3) for group in groups)
    assert len(groups[0].unique(dim=0)) == 8  # without repetition where there are 8
    groups = critical_clusters(critical, 5, 8, generator(0))
    assert [round(float(group.mean())) for group in groups[:3]] == [3, 0, -3]
    assert len(groups) == 5 and all(group.shape == (8, 3) for group in groups)
    lonely = torch.eye(3)
    groups = critical_clusters(lonely, 2, 8, generator(0))
    assert all(group.shape == (8, 3) for group in groups)


def test_objects_are_seeded_small_and_turned_about_their_place():
    first = aeroplane(64, generator(3))
    assert torch.equal(first, aeroplane(64, generator(3)))
    assert first.norm(dim=1).max() == pytest.approx(1.0)
    assert torch.isfinite(aeroplane(1, generator(0))).all()
    extent = aeroplane(2000, generator(0)).abs().amax(0)
    assert extent[0] > extent[2] > extent[1]  # longer than wide, wider than high
    shape = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [2.0, 0, 0]])
    place = torch.tensor([[5.0, 5, 5], [0, 0, 0]])
    turn = torch.tensor([[0, torch.pi / 2, 0], [0, 0, torch.pi / 2]])
    placed = _place_objects(torch.cat([shape, place, turn])[None], 2)
    expected = torch.tensor([[5.0, 5, 4], [5, 6, 5], [0, 0, 1], [0, 2, 0]])
    torch.testing.assert_close(placed[0], expected)


# The optimiser and the binary search


def test_adam_takes_the_steps_of_torch_and_clouds_may_leave():
    start = random_clouds(4, 5)
    own, adam = start.clone(), Adam(start, 0.01)
    other = start.clone().requires_grad_(True)
    torch_adam, kept = torch.optim.Adam([other], lr=0.01), torch.arange(4)
    for step in range(20):
        if step == 10:
            still = torch.tensor([True, False, True, True])
            own, kept = own[still], kept[still]
            adam.keep(still)
        torch_adam.zero_grad()
        (other**4).sum().backward()
        own = own + adam.step(4 * own**3)
        torch_adam.step()
    torch.testing.assert_close(own, other.detach()[kept])


def test_binary_search_brackets_a_threshold_known_for_each_cloud():
    limit = torch.tensor([0.3, 7.0, 39.0, 79.0, 500.0], dtype=torch.float64)
    trade_off = TradeOff(torch.full_like(limit, 10.0), upper=80.0)
    index = torch.arange(5)
    points, tried = clouds(5, 4).double(), []
    model = CentroidLinear().double().eval()
    search = search_on(model, points, model(points).argmax(1))

    def one_step(index: Tensor, weight: Tensor) -> Tensor:
        tried.append(weight.clone())
        return weight < limit[index]

    binary_search(search, index, trade_off, 14, one_step)
    assert torch.equal(tried[0], torch.full_like(limit, 10.0))
    assert (trade_off.lower <= limit).all()
    assert (trade_off.upper >= limit)[:-1].all()
    assert (trade_off.upper - trade_off.lower < 0.02).all()
    assert trade_off.upper[-1] == 80  # never beyond the largest weight
    # Without an upper bound the weight doubles until the attack fails.
    free = TradeOff(torch.full_like(limit, 10.0))
    binary_search(search, index, free, 24, one_step)
    assert (free.lower <= limit).all() and (limit <= free.upper).all()
    assert (free.upper - free.lower < 0.01 * limit + 1e-3).all()
    steep = TradeOff(torch.full_like(limit[:1], 80.0), shrink=8.0)
    steep.update(index[:1], torch.tensor([False]))
    assert steep.weight.item() == 10.0


def test_pitfall_8_bounds_move_by_a_clouds_own_success():
    success = torch.tensor([True, False, True, False])
    together = TradeOff(torch.full((4,), 10.0), upper=80.0)
    together.update(torch.arange(4), success)
    assert together.weight.tolist() == [45, 5, 45, 5]
    for i in range(4):
        alone = TradeOff(torch.tensor([10.0]), upper=80.0)
        alone.update(torch.tensor([0]), success[i : i + 1])
        for name in ("weight", "lower", "upper"):
            assert getattr(alone, name)[0] == getattr(together, name)[i]
    part = TradeOff(torch.full((4,), 10.0), upper=80.0)
    part.update(torch.tensor([2]), torch.tensor([True]))
    assert part.weight.tolist() == [10, 10, 45, 10]


def test_pitfall_8_neighbours_with_other_labels_change_nothing():
    model = TinyPointNet().double().eval()
    points, labels = labelled(model, 4)
    for attack in (ATTACKS["GeoA3"], ATTACKS["CWPerturb"]):
        whole = attack(model, points, labels, generator=generator(0))
        turned = attack(model, points[:3], labels[:3], generator=generator(0))
        torch.testing.assert_close(whole.points[:3], turned.points)


def test_pitfall_9_a_success_counts_even_where_it_is_no_nearer():
    model = CentroidLinear(num_classes=2).double().eval()
    points, labels = labelled(model, 3, 8)
    search, index = search_on(model, points, labels), torch.arange(3)
    needed = model.minimal_eps(points, labels, "per_point")
    weight = model.head.weight.detach()
    away = torch.nn.functional.normalize(weight[1 - labels] - weight[labels], dim=1)

    def distance(points: Tensor, index: Tensor) -> Tensor:
        return (points - search.clean[index]).flatten(1).norm(dim=1)

    def at(factor: float) -> Tensor:
        start = points + factor * needed[:, None, None] * away[:, None]
        return minimise(
            search,
            index,
            start,
            torch.zeros(3, dtype=torch.float64),
            distance=distance,
            steps=1,
            step_size=1e-6,
        )

    assert at(1.1).all()
    nearest = search.best.clone()
    assert at(3.0).all(), "misled, though farther than before"
    assert torch.equal(search.best, nearest)
    assert not at(0.5).any()
    assert torch.equal(search.best, nearest) and search.success.all()


class Bowl(nn.Module):
    """Never misled; least sure of clouds at `radius` from the clean one."""

    def __init__(self, centre: Tensor, radius: float, sign: float) -> None:
        super().__init__()
        self.centre, self.radius, self.sign = centre, radius, sign

    def forward(self, points: Tensor) -> Tensor:
        away = (points - self.centre).square().sum((1, 2))
        away = (away - self.radius**2).square()
        other = self.sign * away / (1 + away)
        return torch.stack([torch.full_like(other, 2.0), other], dim=1)


@pytest.mark.parametrize("attack", [ATTACKS[n] for n in ("CWPerturb", "GeoA3")])
def test_pitfall_9_clouds_without_success_are_never_the_last_iterate(attack):
    centre = clouds(1, 20)
    label = torch.tensor([0])
    # Every move is a step back: the clean cloud is returned, bit for bit.
    result = attack(Bowl(centre, 0.0, -1.0), centre, label)
    assert torch.equal(result.points, centre) and not result.success.any()
    # Long steps pass by the best place: the largest margin shown is what is returned.
    seen, bowl = [], Bowl(centre, 0.5, -1.0)

    def spy(points: Tensor) -> Tensor:
        logits = bowl(points)
        seen.append(float(logits[0, 1].detach() - logits[0, 0].detach()))
        return logits

    attack = dataclasses.replace(attack, step_size=0.1, weight=0.01)
    result = attack(spy, centre, label)
    logits = bowl(result.points)[0]
    assert not result.success.any()
    assert float(logits[1] - logits[0]) == pytest.approx(max(seen), abs=1e-6)
    assert seen[-1] < max(seen), "the test needs a last iterate that is not the best"


def test_costs_put_confident_clouds_first_and_near_ones_before_far_ones():
    distance = torch.tensor([1e4, 5.0, 0.1, 0.01, 0.0])
    gap = torch.tensor([30.0, 15.0, 15.0, 14.0, 3.0])
    cost = ranked_cost(distance, gap, 15.0)
    assert cost.argsort().tolist() == [2, 1, 0, 3, 4]
    assert (ranked_cost(distance, gap, 0.0).argsort() == torch.arange(4, -1, -1)).all()


# The attacks


@pytest.mark.parametrize("targeted", [False, True])
def test_cw_perturb_comes_within_a_few_per_cent_of_the_least_distance(targeted):
    model = CentroidLinear(num_classes=2).eval()
    points, labels = labelled(model, 6, 16)
    needed = model.minimal_eps(points, labels, "l2").float()
    attack = CWPerturb(
        steps=80, search_steps=5, step_size=0.006, weight=0.5, shrink=2.5
    )
    result = attack(model, points, labels, 1 - labels if targeted else None)
    assert result.success.all()
    ratio = result.l2 / needed
    assert (ratio >= 0.9999).all()
    assert (ratio < 1.05).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_accuracy_strictly_falls(name):
    model = TinyPointNet().eval()
    points, labels = labelled(model, 10)
    result = ATTACKS[name](model, points, labels)
    predicted = model(result.points).argmax(1)
    assert torch.equal(result.success, predicted != labels)
    assert result.attack_success_rate >= 0.2
    assert result.correct_before.all()
    assert torch.isfinite(result.points).all()


@pytest.mark.parametrize("name", ["CWPerturb", "CWAdd hausdorff", "GeoA3", "GeoA3 ce"])
def test_targets_are_reached(name):
    model = TinyPointNet(num_classes=3).eval()
    points, labels = labelled(model, 12)
    targets = random_target_labels(labels, 3, generator(0))
    attack = dataclasses.replace(ATTACKS[name], step_size=0.05)
    result = attack(model, points, labels, targets)
    assert torch.equal(result.success, model(result.points).argmax(1) == targets)
    assert result.success.double().mean() > 0.4


@pytest.mark.parametrize(
    ("name", "criterion"),
    [(name, "confidence") for name in ATTACKS]
    + [(name, "success") for name in ("CWPerturb", "CWAdd object")],
)
def test_batch_size_does_not_matter(name, criterion):
    model = TinyPointNet().double().eval()
    points, labels = labelled(model, 3, 26)
    results = [
        dataclasses.replace(
            ATTACKS[name], batch_size=size, criterion=criterion, steps=6
        )(model, points, labels, generator=generator(5))
        for size in (1, 2, 3)
    ]
    for other in results[1:]:
        torch.testing.assert_close(other.points, results[0].points)
        assert torch.equal(other.success, results[0].success)
        assert torch.equal(other.queries, results[0].queries)


@pytest.mark.parametrize("name", ["CWPerturb", "CWAdd hausdorff", "GeoA3"])
def test_solved_clouds_leave_and_the_search_for_a_near_one_goes_on(name):
    model = TinyPointNet().eval()
    points, labels = labelled(model, 8)
    attack = ATTACKS[name]
    near = attack(model, points, labels)
    first = dataclasses.replace(attack, criterion="success")(model, points, labels)
    assert torch.equal(near.success, first.success)
    solved = first.success
    assert (first.queries[solved] <= near.queries[solved]).all()
    assert first.queries[solved].sum() < near.queries[solved].sum()
    if not attack.changes_count and attack.norm == "none":
        assert (near.l2[solved].sum()) < first.l2[solved].sum()


@pytest.mark.parametrize("name", ATTACKS)
def test_clouds_that_are_wrong_already_stay_what_they_are(name):
    model = TinyPointNet().eval()
    points, labels = labelled(model, 3)
    result = ATTACKS[name](model, points, (labels + 1) % 4)
    assert result.success.all() and not result.correct_before.any()
    assert torch.equal(result.points[:, :32], points)
    assert (result.queries <= 3).all()


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize(
    "points",
    [torch.zeros(2, 1, 3), torch.full((2, 16, 3), 0.7), clouds(2, 4)],
    ids=["one point", "all equal", "four points"],
)
def test_degenerate_clouds_stay_finite(name, points):
    model = TinyPointNet().eval()
    attack = dataclasses.replace(ATTACKS[name], steps=2)
    if attack.norm != "per_point":
        attack = dataclasses.replace(attack, search_steps=1)
    result = attack(model, points, torch.tensor([0, 1]))
    assert torch.isfinite(result.points).all()


@pytest.mark.parametrize("mode", MODES)
def test_adding_keeps_the_points_of_the_cloud_bit_for_bit(mode):
    model = TinyPointNet().eval()
    points, labels = labelled(model, 6)
    points[0, 0] = -0.0
    labels = model(points).argmax(1)
    before = points.clone()
    attack = ATTACKS[f"CWAdd {mode}"]
    result = attack(model, points, labels)
    assert result.points.shape == (6, 32 + 24, 3)
    kept = result.points[:, :32].contiguous()
    assert kept.numpy().tobytes() == before.numpy().tobytes()
    assert result.norm == "count" and (result.eps == 24).all()
    nothing = dataclasses.replace(attack, eps=0)(model, points, labels)
    assert nothing.points.numpy().tobytes() == before.numpy().tobytes()
    assert not nothing.success.any()


def test_added_points_begin_at_the_longest_gradients_and_repeat():
    class First(nn.Module):
        """Looks at x of the first three points only, at the first one most."""

        def forward(self, points: Tensor) -> Tensor:
            weight = torch.tensor([3.0, 2.0, 1.0])
            value = 0.1 * (points[:, :3, 0] * weight).sum(1)
            return torch.stack([value, -value], dim=1)

    points = clouds(1, 5)
    labels = First()(points).argmax(1)
    attack = CWAdd.quick("chamfer", eps=7, start_noise=0.0, steps=1, search_steps=1)
    result = attack(First(), points, labels)
    assert torch.equal(result.points[:, 5:8], points[:, :3])
    assert torch.equal(result.points[:, 10:], points[:, :2])


def test_knn_attack_keeps_every_point_within_its_budget():
    model = TinyPointNet().eval()
    points, labels = labelled(model, 6)
    eps = torch.tensor([0.0, 0.01, 0.05, 0.1, 0.2, 0.4])
    attack = KNNAttack.quick(eps=eps, steps=25, step_size=0.03, confidence=0.0)
    result = attack(model, points, labels)
    moved = (result.points.double() - points.double()).norm(dim=-1).amax(1)
    assert (moved <= eps).all()
    assert torch.equal(result.points[0], points[0])


def test_normals_of_the_call_follow_their_clouds_and_keep_points_outside():
    model = TinyPointNet().double().eval()
    directions = torch.nn.functional.normalize(random_clouds(5, 40), dim=-1)
    points = 0.8 * directions
    labels = model(points).argmax(1)
    attack = KNNAttack.quick(
        normals=directions, steps=20, step_size=0.02, confidence=0.0, eps=0.4
    )
    result = attack(model, points, labels)
    parts = dataclasses.replace(attack, batch_size=2)(model, points, labels)
    torch.testing.assert_close(parts.points, result.points)
    heights = ((result.points - points) * directions).sum(-1)
    assert (heights >= -1e-9).all() and heights.max() > 0.01
    free = dataclasses.replace(attack, normals=None)(model, points, labels)
    assert ((free.points - points) * directions).sum(-1).min() < -0.01


def test_geoa3_keeps_curvature_whatever_the_sign_of_the_normals():
    model = TinyPointNet().double().eval()
    directions = torch.nn.functional.normalize(random_clouds(4, 60), dim=-1)
    points = 0.8 * directions
    labels = model(points).argmax(1)
    attack = GeoA3.quick(steps=8, search_steps=1, normals=directions)
    result = attack(model, points, labels)
    parts = dataclasses.replace(attack, batch_size=3)(model, points, labels)
    torch.testing.assert_close(parts.points, result.points)
    signs = torch.where(random_clouds(4, 60)[..., :1] > 0, 1.0, -1.0)
    other = dataclasses.replace(attack, normals=signs * directions)
    torch.testing.assert_close(other(model, points, labels).points, result.points)
    flat = dataclasses.replace(attack, curvature_weight=0.0)(model, points, labels)
    assert not torch.equal(flat.points, result.points)


def test_confidence_is_reached_and_costs_distance():
    model = TinyPointNet().eval()
    points, labels = labelled(model, 8)

    def attacked(confidence: float) -> tuple[Tensor, Tensor]:
        attack = CWPerturb.quick(confidence=confidence, steps=30, search_steps=3)
        result = attack(model, points, labels)
        logits = model(result.points).detach()
        own = logits.gather(1, labels[:, None])[:, 0]
        wrong = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        return wrong - own, result.l2

    near, confident = attacked(0.0), attacked(0.5)
    assert (near[0] > 0).all() and (confident[0] >= 0.499).all()
    assert (confident[1] > near[1]).all()


def test_patience_saves_queries():
    model = TinyPointNet().eval()
    points, labels = labelled(model, 6)
    attack = CWPerturb.quick(steps=60, search_steps=2)
    patient = attack(model, points, labels)
    hasty = dataclasses.replace(attack, patience=8)(model, points, labels)
    assert (hasty.queries < patient.queries).all()
    assert torch.equal(hasty.success, patient.success)


def test_presets_hold_the_published_constants():
    def values(attack, *names):
        return tuple(getattr(attack, name) for name in names)

    names = ("steps", "search_steps", "step_size", "weight")
    assert values(CWPerturb.paper(), *names, "max_weight", "confidence") == (
        (500, 10, 0.01, 10.0, 80.0, 0.0)
    )
    expected = {
        "chamfer": (512, 500, 10, 0.01, 5000, 40000),
        "hausdorff": (512, 500, 10, 0.01, 200, 900),
        "cluster": (96, 500, 5, 0.01, 5, 30),
        "object": (192, 500, 5, 0.01, 5, 40),
    }
    for mode, constants in expected.items():
        assert values(CWAdd.paper(mode), "eps", *names, "max_weight") == constants
        assert CWAdd.quick(mode).eps == constants[0] / 4
    assert CWAdd.paper("cluster").chamfer_weight == 0.1
    assert CWAdd.paper("object").chamfer_weight == 0.2
    assert values(KNNAttack.paper(), "eps", "steps", "step_size", "confidence") == (
        (0.1, 2500, 0.001, 15.0)
    )
    assert values(KNNAttack.paper(), "chamfer_weight", "knn_weight", "k", "alpha") == (
        (5.0, 3.0, 5, 1.05)
    )
    assert values(GeoA3.paper(), *names, "k", "start_noise", "loss") == (
        (500, 10, 0.01, 10.0, 16, 1e-3, "ce")
    )
    assert CWPerturb.quick(steps=3).steps == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CWPerturb(eps=1.0), "eps must be infinite: CWPerturb has no budget"),
        (lambda: CWPerturb(loss="dlr"), "loss must be one of 'margin', 'ce'"),
        (lambda: CWPerturb(steps=0), "steps must be above 0"),
        (lambda: CWPerturb(search_steps=0), "search_steps must be above 0"),
        (lambda: CWPerturb(step_size=0.0), "step_size must be above 0"),
        (lambda: CWPerturb(weight=90.0), r"weight must lie in \[0, 80.0\]"),
        (lambda: CWPerturb(shrink=1.0), "shrink must be above 1; received 1.0"),
        (lambda: CWPerturb(confidence=-1.0), "confidence must lie in"),
        (lambda: CWPerturb(start_noise=-1.0), "start_noise must lie in"),
        (lambda: CWPerturb(patience=0), "patience must be above 0"),
        (lambda: CWAdd(mode="points"), "mode must be one of 'chamfer', 'hausdorff'"),
        (lambda: CWAdd.quick("points"), "mode must be one of"),
        (lambda: CWAdd(mode="cluster", eps=32), "eps must be a multiple of clusters"),
        (lambda: CWAdd(eps=1.5), "eps must be a whole number of points"),
        (lambda: CWAdd(object_scale=0.0), "object_scale must be above 0"),
        (lambda: CWAdd(clusters=0), "clusters must be above 0"),
        (lambda: KNNAttack(eps=-1.0), "eps must be 0 or above"),
        (lambda: KNNAttack(k=0), "k must be above 0"),
        (lambda: KNNAttack(knn_weight=-1.0), "knn_weight must lie in"),
        (lambda: GeoA3(refresh=0), "refresh must be above 0"),
        (lambda: GeoA3(k=0), "k must be above 0"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("attack", [KNNAttack, GeoA3])
def test_normals_are_checked(attack):
    model = CentroidLinear().eval()
    points, labels = labelled(model, 3)
    with pytest.raises(ValueError, match=r"normals must have the shape of points, \(3"):
        attack(normals=points[:2])(model, points, labels)
    with pytest.raises(ValueError, match="normals must be finite"):
        attack(normals=points / 0)(model, points, labels)
