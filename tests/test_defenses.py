"""Defenses against slow loops, their gradients, and a batch that stays rectangular."""

import copy

import pytest
import torch

from mrpd_tutorial.attacks import PGD
from mrpd_tutorial.defenses import SOR, SRS, Defended
from mrpd_tutorial.runtime import generator


def clouds(count: int = 4, num_points: int = 60, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, num_points, 3, generator=generator(seed))


def sor_oracle(cloud: torch.Tensor, defense: SOR) -> torch.Tensor:
    """One point at a time, in float64, from the definition."""
    cloud = cloud.double()
    d = []
    for i in range(len(cloud)):
        others = torch.cat([cloud[:i], cloud[i + 1 :]])
        squares = (others - cloud[i]).square().sum(1).sort().values[: defense.k]
        d.append((squares if defense.squared else squares.sqrt()).mean())
    d = torch.stack(d)
    return d <= d.mean() + defense.alpha * d.std()


@pytest.mark.parametrize(
    "defense", [SOR(), SOR(k=5, alpha=0.5), SOR.released()], ids=str
)
def test_sor_removes_what_its_definition_says(defense):
    points = clouds()
    kept = defense.kept(points)
    assert torch.equal(kept, torch.stack([sor_oracle(c, defense) for c in points]))
    assert not kept.all() and kept.any(1).all()
    defended = defense(points)
    assert defended.shape == points.shape
    for cloud, mask, after in zip(points, kept, defended, strict=True):
        survivors = cloud[mask]
        assert torch.equal(after[: len(survivors)], survivors)
        rest = torch.arange(len(survivors), len(cloud)) % len(survivors)
        assert torch.equal(after[len(survivors) :], survivors[rest])


def test_sor_removes_planted_outliers_and_nothing_else():
    grid = torch.cartesian_prod(*[torch.linspace(-0.5, 0.5, 5)] * 3)
    planted = torch.tensor([[3.0, 0, 0], [0, -3.0, 0]])
    points = torch.cat([grid[:50], planted, grid[50:]])[None]
    kept = SOR()(points)[0]
    assert torch.equal(kept[: len(grid)], grid)
    assert kept.norm(dim=1).max() < 1


def test_sor_settings_of_the_literature():
    assert (SOR().k, SOR().alpha) == (2, 1.1)
    assert (SOR.released().k, SOR.released().alpha) == (16, 1.0)


def test_gradients_flow_to_the_kept_points_alone():
    points = clouds(2).requires_grad_(True)
    defense = SOR()
    weights = torch.randn(points.shape, generator=generator(1))
    (gradient,) = torch.autograd.grad((defense(points) * weights).sum(), points)
    kept = defense.kept(points)
    assert (gradient.abs().sum(-1) > 0).eq(kept).all()
    # A point that is repeated collects the weights of its copies.
    count = int(kept[0].sum())
    first = int(kept[0].nonzero()[0])
    torch.testing.assert_close(gradient[0, first], weights[0, 0] + weights[0, count])

    thinned = SRS(drop=20)(points)
    (gradient,) = torch.autograd.grad(thinned.sum(), points)
    assert torch.equal(gradient.unique(), torch.tensor([0.0, 1.0]))
    assert (gradient[..., 0].sum(1) == 40).all()


@pytest.mark.parametrize(
    "points",
    [torch.zeros(2, 20, 3), torch.full((2, 20, 3), 0.3), torch.full((1, 3, 3), 0.1)],
)
def test_sor_keeps_clouds_without_spread(points):
    assert torch.equal(SOR(k=2)(points), points)


def test_srs_drops_others_in_each_cloud_and_each_call():
    points = clouds(3, 40)
    defense = SRS(drop=15)
    first, second = defense(points), defense(points)
    assert first.shape == (3, 25, 3)
    assert not torch.equal(first, second)
    for cloud, kept in zip(points, first, strict=True):
        place = [int((cloud == point).all(1).nonzero()[0]) for point in kept]
        assert place == sorted(set(place))  # no point twice, order kept
    same = points[:1].expand(2, -1, -1)
    thinned = defense(same)
    assert not torch.equal(thinned[0], thinned[1])


def test_srs_keeps_every_point_equally_often():
    points = torch.arange(20.0)[None, :, None].expand(4000, 20, 3)
    kept = SRS(drop=5)(points)[..., 0].long()
    share = torch.bincount(kept.flatten(), minlength=20) / 4000
    assert ((share - 0.75).abs() < 0.04).all()


def test_srs_follows_its_seed_and_touches_no_other():
    points = clouds()
    state = torch.get_rng_state()
    one, two = SRS(drop=10, seed=3), SRS(drop=10, seed=3)
    draws = [one(points), one(points)]
    assert torch.equal(two(points), draws[0])
    one.reset()
    assert torch.equal(one(points), draws[0])
    one.reset(9)
    assert torch.equal(one(points), SRS(drop=10, seed=9)(points))
    assert one == two and not torch.equal(SRS(drop=10, seed=4)(points), draws[0])
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("defense", [SRS(drop=10), SOR()], ids=str)
def test_inputs_are_not_changed(defense):
    points = clouds()
    before = points.clone()
    defense(points)
    assert torch.equal(points, before)


def test_defended_is_a_model_again():
    def model(points):
        return points.mean(1)

    defended = Defended(model, SOR())
    points = clouds()
    assert torch.equal(defended(points), SOR()(points).mean(1))
    assert not defended.is_random and Defended(model, SRS(drop=5)).is_random
    chain = Defended(defended, SRS(drop=5, seed=1))
    assert chain.is_random
    expected = chain(points)
    chain.reset(1)
    assert torch.equal(chain(points), expected)
    assert torch.equal(copy.deepcopy(Defended(model, SOR()))(points), defended(points))


def test_parameters_behind_a_defense_are_frozen_in_an_attack():
    head = torch.nn.Linear(3, 3)
    seen = []

    def watch(module, inputs):
        seen.append(module.weight.requires_grad)

    head.register_forward_pre_hook(watch)

    class Mean(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = head

        def forward(self, points):
            return self.head(points.mean(1))

    points = clouds()
    labels = Mean()(points).argmax(1)
    seen.clear()
    result = PGD(eps=0.3)(Defended(Mean(), SOR()), points, labels)
    assert seen and not any(seen) and head.weight.requires_grad
    assert (result.points != points).any()


def test_bad_input_is_named():
    points = clouds(2, 10)
    with pytest.raises(ValueError, match=r"drop must be below.*10; received 500"):
        SRS()(points)
    with pytest.raises(ValueError, match="at least 17 points a cloud; received 10"):
        SOR.released()(points)
    with pytest.raises(ValueError, match="drop must lie in"):
        SRS(drop=-1)
    with pytest.raises(ValueError, match="k must lie in"):
        SOR(k=0)
    with pytest.raises(ValueError, match="alpha must lie in"):
        SOR(alpha=-1.0)
    with pytest.raises(ValueError, match=r"transpose\(1, 2\)"):
        SOR()(points.transpose(1, 2))
    with pytest.raises(ValueError, match="points must be finite"):
        SRS(drop=1)(points / 0)
    with pytest.raises(ValueError, match=r"Defended\(model, defense\)"):
        Defended(SRS(), lambda points: points.mean(1))


@pytest.mark.gpu
@pytest.mark.parametrize("defense", [SRS(drop=10, seed=2), SOR()], ids=str)
def test_device_follows_the_input(defense):
    points = clouds()
    defense.reset()
    expected = defense(points)
    defense.reset()
    defended = defense(points.cuda())
    assert defended.is_cuda
    torch.testing.assert_close(defended.cpu(), expected)
