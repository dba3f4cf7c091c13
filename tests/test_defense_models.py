"""DUP-Net, restoration, PointCutMix and adversarial training."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from victims import CentroidLinear, TinyPointNet, clouds, labelled

from mrpd_tutorial.attacks import PGD
from mrpd_tutorial.defenses import (
    SOR,
    Defended,
    DUPNet,
    LinearHead,
    Restoration,
    adversarial_training,
    point_cut_mix,
)
from mrpd_tutorial.defenses.point_cut_mix import match_points
from mrpd_tutorial.distill import inference_cost
from mrpd_tutorial.geometry import farthest_point_sampling, normalise
from mrpd_tutorial.models.pu_net import PUNet, repulsion_loss
from mrpd_tutorial.models.third_party import load_dup_net
from mrpd_tutorial.runtime import generator


def sphere(count: int = 2, num_points: int = 128, seed: int = 0) -> Tensor:
    points = torch.randn(count, num_points, 3, generator=generator(seed))
    return F.normalize(points, dim=-1)


def small_net(dtype: torch.dtype = torch.float32, **changes) -> PUNet:
    """A seeded PU-Net whose radii hold several points of a sparse cloud."""
    torch.manual_seed(0)
    settings = {
        "level_widths": ((8, 12), (8, 12), (8, 12)),
        "radii": (0.4, 0.6, 0.9),
        "group_size": 8,
        "interpolated_width": 6,
        "expansion_widths": (10, 8),
        "coordinate_width": 6,
    }
    network = PUNet(**settings | changes).to(dtype)
    return network.eval().requires_grad_(False)


# ------------------------------------------------------------------ PU-Net, DUP-Net


def plain_pu_net(network: PUNet, cloud: Tensor) -> Tensor:
    """One cloud, one point at a time, from the paper's description."""
    count, levels = len(cloud), []
    centres, known, features = [*range(count)], cloud, torch.zeros(count, 0)
    if network.released_order:
        centres = farthest(cloud, count)
    for i, (level, radius) in enumerate(
        zip(network.levels, network.radii, strict=True)
    ):
        if i:
            centres = farthest(known, count // 2**i)
        rows = []
        for centre in known[centres]:
            distance = (known - centre).norm(dim=1)
            near = [j for j in distance.argsort()[: network.group_size].tolist()]
            near = [j for j in near if distance[j] <= radius]
            row = torch.cat([known[near] - centre, features[near]], dim=1)
            for layer in level.layers:
                row = layer(row).relu()
            rows.append(row.amax(0))
        known, features = known[centres], torch.stack(rows)
        levels.append((known, features))
    columns = [cloud, levels[0][1]]
    for layer, (places, values) in zip(network.interpolated, levels[1:], strict=True):
        rows = []
        for point in cloud:
            distance = (places - point).norm(dim=1)
            three = distance.argsort()[:3]
            weight = 1 / (distance[three] + 1e-8)
            rows.append((values[three] * weight[:, None]).sum(0) / weight.sum())
        columns.append(layer(torch.stack(rows)).relu())
    everything = torch.cat(columns, dim=1)
    dense = [network.coordinates(branch(everything)) for branch in network.branches]
    return torch.cat([d + cloud * network.residual for d in dense])


def distances(a: Tensor, b: Tensor) -> Tensor:
    """All distances, from differences: torch.cdist rounds near ones to 0.01."""
    return (a[:, None] - b[None]).norm(dim=-1)


def farthest(points: Tensor, count: int) -> list[int]:
    chosen = [0]
    while len(chosen) < count:
        distance = distances(points, points[chosen]).amin(1)
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
    return chosen


@pytest.mark.parametrize("changes", [{}, {"released_order": True}, {"residual": True}])
def test_pu_net_is_what_the_paper_describes(changes):
    network = small_net(**changes)
    points = normalise(clouds(2, 32))
    expected = torch.stack([plain_pu_net(network, cloud) for cloud in points])
    dense = network(points)
    assert dense.shape == (2, 128, 3)
    torch.testing.assert_close(dense, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(points[1:]), dense[1:])


def test_gradients_through_dup_net_match_finite_differences():
    defense = DUPNet(upsampler=small_net(torch.float64), sor=SOR(), resample=False)
    points = normalise(clouds(1, 24, seed=4)).double().requires_grad_(True)
    assert torch.autograd.gradcheck(
        defense, points, eps=1e-6, atol=1e-5, fast_mode=True
    )
    (gradient,) = torch.autograd.grad(defense(points).square().sum(), points)
    kept = SOR().kept(points)
    assert not kept.all()
    assert (gradient.abs().sum(-1) > 0).eq(kept).all()


def test_dup_net_upsamples_what_sor_keeps():
    network = small_net()
    points = normalise(clouds(3, 40))
    defense = DUPNet(upsampler=network, resample=False)
    assert torch.equal(defense(points), network(SOR()(points)))
    assert torch.equal(defense(points), defense(points)) and not defense.is_random
    plain = DUPNet(upsampler=network, sor=None, resample=False)
    assert torch.equal(plain(points), network(points))
    assert (defense.sor.k, defense.sor.alpha) == (2, 1.1)
    defended = Defended(TinyPointNet().eval(), defense)
    assert {id(p) for p in network.parameters()} <= {
        id(p) for p in defended.parameters()
    }


def test_dup_net_hands_on_as_many_points_as_came():
    network = small_net()
    points = normalise(clouds(2, 40)).requires_grad_()
    dense = network(SOR()(points))
    resampled = DUPNet(upsampler=network)(points)
    assert resampled.shape == points.shape
    chosen = farthest_point_sampling(dense.detach(), 40)
    for row in range(2):
        torch.testing.assert_close(resampled[row], dense[row, chosen[row]])
    (gradient,) = torch.autograd.grad(resampled.square().sum(), points)
    assert (gradient != 0).any()
    fewer = DUPNet(upsampler=lambda points: points[:, :10], sor=None)
    assert fewer(points).shape == (2, 10, 3)


def test_a_defense_is_attacked_through_and_its_cost_is_measured():
    model = TinyPointNet().eval()
    points, labels = labelled(model, 6, 32)
    for defense in (DUPNet(upsampler=small_net(residual=True)), Restoration(k=4)):
        defended = Defended(model, defense)
        labels = defended(points).argmax(1)
        result = PGD(eps=0.5, steps=8)(defended, points, labels)
        assert result.success.any() and not result.idle_steps.any()
    cost = inference_cost(
        Defended(model, DUPNet(upsampler=small_net(), resample=False)), points, 1
    )
    alone = inference_cost(model, points, 1)
    assert cost.multiply_adds_per_cloud > 5 * alone.multiply_adds_per_cloud
    assert cost.seconds_per_cloud > 0


def test_repulsion_pushes_neighbours_apart():
    pair = torch.tensor([[[0.0, 0, 0], [0.02, 0, 0]]], requires_grad=True)
    loss = repulsion_loss(pair, k=1)
    expected = (0.07 - 0.02) * torch.exp(torch.tensor(-((0.02 / 0.03) ** 2)))
    torch.testing.assert_close(loss, expected[None])
    (gradient,) = torch.autograd.grad(loss.sum(), pair)
    assert gradient[0, 1, 0] < 0 < gradient[0, 0, 0]
    assert repulsion_loss(10 * sphere(), k=4).amax() == 0
    zeros = torch.zeros(1, 8, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(repulsion_loss(zeros).sum(), zeros)
    assert torch.isfinite(gradient).all()
    with pytest.raises(ValueError, match="at least 5 points a cloud; received 2"):
        repulsion_loss(pair)


def test_pu_net_says_what_is_wrong():
    with pytest.raises(ValueError, match="same levels, at least 2; received 4 and 2"):
        PUNet(radii=(0.1, 0.2))
    with pytest.raises(ValueError, match="ratio must lie in"):
        PUNet(ratio=0)
    with pytest.raises(ValueError, match="group_size must be above 0"):
        PUNet(group_size=0)
    with pytest.raises(ValueError, match="at least 8 points a cloud; received 4"):
        PUNet.slim()(clouds(1, 4))
    with pytest.raises(ValueError, match=r"points\.transpose\(1, 2\)"):
        PUNet.slim()(clouds().transpose(1, 2))


def published_names(network: PUNet) -> dict[str, Tensor]:
    """The state of a PU-Net under the names and shapes of the published file."""
    state = {}
    for i, level in enumerate(network.levels):
        for j, layer in enumerate(level.layers):
            state[f"SA_modules.{i}.mlps.0.layer{j}.conv"] = layer
    for i, layer in enumerate(network.interpolated):
        state[f"FP_Modules.{i}.mlp.layer0.conv"] = layer
    for i, branch in enumerate(network.branches):
        state[f"FC_Modules.{i}.layer0.conv"] = branch[0]
        state[f"FC_Modules.{i}.layer1.conv"] = branch[2]
    state["pcd_layer.0.layer0.conv"] = network.coordinates[0]
    state["pcd_layer.1.layer0.conv"] = network.coordinates[2]
    weights = {f"{k}.weight": v.weight[..., None, None] for k, v in state.items()}
    return weights | {f"{k}.bias": v.bias for k, v in state.items()}


def test_dup_nets_format_is_read_strictly(tmp_path):
    network = PUNet(released_order=True)
    path = tmp_path / "pu.pth"
    torch.save(published_names(network), path)
    loaded = load_dup_net(path)
    points = normalise(clouds(1, 64))
    torch.testing.assert_close(loaded(points), network(points))
    defense = DUPNet.released(path)
    assert defense.sor.squared
    torch.testing.assert_close(defense(points), network(SOR(squared=True)(points)))
    torch.save(published_names(PUNet(ratio=2)), path)
    with pytest.raises(ValueError, match=r"FC_Modules.2.layer0.*no such tensor"):
        load_dup_net(path)
    torch.save(published_names(PUNet(coordinate_width=32)), path)
    with pytest.raises(ValueError, match=r"pcd_layer.0.*\(64, 128, 1, 1\).*\(32, 128"):
        load_dup_net(path)


def test_the_published_dup_net_stays_on_the_surface(checkpoints_dir):
    path = checkpoints_dir / "dupnet_pu-in_1024-up_4.pth"
    if not path.is_file():
        pytest.skip("no published DUP-Net in the folder of checkpoints")
    points = 0.9 * sphere(1, 1024)
    dense = load_dup_net(path)(points)[0]
    assert dense.shape == (4096, 3)
    assert (dense.norm(dim=1) - 0.9).abs().mean() < 0.03
    nearest = distances(points[0], dense).amin(1)
    assert nearest.mean() < 0.04  # every part of the surface is covered


# ---------------------------------------------------------------------- restoration


def plain_restoration(defense: Restoration, cloud: Tensor) -> Tensor:
    """One point at a time, from the docstring's equations, without SOR."""
    distance = distances(cloud, cloud)
    distance.fill_diagonal_(torch.inf)
    graph = distance.argsort(1)[:, : defense.k]
    s = defense.width * distance.gather(1, graph).mean(1).median()
    current = cloud
    for _ in range(defense.steps):
        rows = []
        for i, near in enumerate(graph):
            a = torch.exp(-(current[i] - cloud[near]).square().sum(1) / s**2)
            row = (a[:, None] * cloud[near]).sum(0) / a.sum()
            offsets = current[i] - current[near]
            length = offsets.norm(dim=1)
            b = torch.exp(-length.square() / s**2) / length
            push = (b[:, None] * offsets).sum(0) / b.sum()
            rows.append(row + defense.repulsion * push)
        current = torch.stack(rows)
    return current


@pytest.mark.parametrize(
    "defense",
    [
        Restoration(sor=None),
        Restoration(k=4, width=2.0, repulsion=0.0, steps=1, sor=None),
    ],
    ids=["default", "attraction alone"],
)
def test_restoration_is_its_equations(defense):
    points = normalise(clouds(2, 40)).double()
    expected = torch.stack([plain_restoration(defense, cloud) for cloud in points])
    torch.testing.assert_close(defense(points), expected)
    with_sor = Restoration(k=4)
    assert torch.equal(with_sor(points), Restoration(k=4, sor=None)(SOR()(points)))


def test_restoration_brings_noise_back_to_the_surface():
    clean = sphere(2, 512)
    noise = 0.05 * torch.randn(clean.shape, generator=generator(1))
    restored = Restoration()(clean + noise)
    before = ((clean + noise).norm(dim=-1) - 1).abs().mean()
    after = (restored.norm(dim=-1) - restored.norm(dim=-1).mean()).abs().mean()
    assert after < 0.6 * before
    assert 0.9 < restored.norm(dim=-1).mean() < 1.05  # it did not shrink to a ball
    lone = clean.clone()
    lone[:, 0] *= 1.5
    assert (Restoration(sor=None)(lone)[:, 0].norm(dim=-1) < 1.2).all()


def test_repulsion_keeps_points_apart():
    points = sphere(1, 256)

    def closest(cloud: Tensor) -> Tensor:
        distance = distances(cloud, cloud)
        return distance.fill_diagonal_(torch.inf).amin(1).mean()

    without = Restoration(repulsion=0.0, sor=None)(points)[0]
    assert closest(Restoration(sor=None)(points)[0]) > closest(without)


def test_gradients_through_restoration_match_finite_differences():
    points = normalise(clouds(1, 16, seed=2)).double().requires_grad_(True)
    defense = Restoration(k=4, steps=2)
    assert torch.autograd.gradcheck(
        defense, points, eps=1e-7, atol=1e-5, fast_mode=True
    )
    kept = SOR().kept(points)
    weights = torch.randn(points.shape, generator=generator(1)).double()
    (gradient,) = torch.autograd.grad((defense(points) * weights).sum(), points)
    assert not kept.all() and (gradient.abs().sum(-1) > 0).eq(kept).all()


@pytest.mark.parametrize("sor", [SOR(), None], ids=["with SOR", "without"])
@pytest.mark.parametrize(
    "points",
    [
        torch.zeros(2, 20, 3),
        torch.full((1, 9, 3), 0.3),
        torch.linspace(0, 1, 20)[None, :, None].expand(1, 20, 3).contiguous(),
        torch.cat([torch.zeros(1, 19, 3), torch.ones(1, 1, 3)], dim=1),
        sphere(1, 10).repeat(1, 3, 1),
    ],
    ids=["zeros", "equal", "line", "one lone point", "copies"],
)
def test_degenerate_clouds_give_no_nan(points, sor):
    for defense in (Restoration(sor=sor), DUPNet(upsampler=small_net(), sor=sor)):
        cloud = points.clone().requires_grad_(True)
        defended = defense(cloud)
        (gradient,) = torch.autograd.grad(defended.square().sum(), cloud)
        assert torch.isfinite(defended).all() and torch.isfinite(gradient).all()


def test_restoration_works_on_each_cloud_alone_and_changes_no_input():
    points = normalise(clouds(4, 50))
    before = points.clone()
    restored = Restoration()(points)
    assert torch.equal(points, before) and restored.shape == points.shape
    for i in range(4):
        torch.testing.assert_close(Restoration()(points[i : i + 1])[0], restored[i])
    order = torch.randperm(50, generator=generator(0))
    plain = Restoration(sor=None)
    torch.testing.assert_close(plain(points[:, order]), plain(points)[:, order])


def test_restoration_says_what_is_wrong():
    with pytest.raises(ValueError, match="at least 9 points a cloud; received 8"):
        Restoration()(clouds(1, 8))
    with pytest.raises(ValueError, match="k must lie in"):
        Restoration(k=0)
    with pytest.raises(ValueError, match="width must be above 0"):
        Restoration(width=0.0)
    with pytest.raises(ValueError, match="repulsion must lie in"):
        Restoration(repulsion=0.6)
    with pytest.raises(ValueError, match="steps must be above 0"):
        Restoration(steps=0)
    with pytest.raises(ValueError, match="points must be finite"):
        Restoration()(clouds() / 0)


# ---------------------------------------------------------------------- PointCutMix


def test_points_are_matched_one_to_one_and_nearly_as_shortly_as_can_be():
    a, b = clouds(6, 6, seed=1), clouds(6, 6, seed=2)
    match = match_points(a, b)
    assert torch.equal(match.sort(1).values, torch.arange(6).expand(6, -1))
    ours = shortest = at_random = 0.0
    for x, y, row in zip(a, b, match, strict=True):
        cost = distances(x, y)
        every = [
            cost[range(6), list(p)].sum() for p in itertools.permutations(range(6))
        ]
        ours += cost[torch.arange(6), row].sum()
        shortest += min(every)
        at_random += sum(every) / len(every)
    assert shortest <= ours < (shortest + at_random) / 2


@pytest.mark.parametrize("count", [1, 2, 7, 64, 100])
def test_a_cloud_is_matched_with_itself_however_it_is_ordered(count):
    a = clouds(3, count)
    order = torch.randperm(count, generator=generator(0))
    match = match_points(a, a[:, order])
    assert torch.equal(order[match], torch.arange(count).expand(3, -1))
    moved = a + torch.tensor([3.0, 0, 0])
    assert torch.equal(match_points(a, moved)[0].sort().values, torch.arange(count))


@pytest.mark.parametrize("kind", ["K", "R"])
def test_a_mixed_cloud_is_a_part_of_one_and_a_part_of_another(kind):
    points = torch.arange(5.0)[:, None, None] * 3 + 0.3 * clouds(5, 40)
    labels = torch.arange(5)
    mixed = point_cut_mix(points, labels, generator(3), kind=kind)
    origin = (mixed.points[..., 0] / 3).round().long()  # which cloud a point is from
    for i in range(5):
        own, other = origin[i] == i, origin[i] == mixed.other_labels[i]
        assert (own | other).all()
        if mixed.other_labels[i] != i:
            assert other.double().mean() == pytest.approx(mixed.share[i].item())
            assert torch.equal(mixed.points[i, own], points[i, own])
            donor = points[mixed.other_labels[i]]
            taken = mixed.points[i, other]
            place = distances(taken, donor)
            assert place.amin(1).max() < 1e-5
            assert len(place.argmin(1).unique()) == len(taken)  # no point twice
            if kind == "K":  # a ball around some point is what gave way
                gone = points[i, other]
                radius = distances(gone, gone).amax(1)
                stay = distances(gone, points[i, own]).amin(1)
                assert (radius <= stay + 5e-3).any() or not own.any()
    assert (mixed.other_labels != labels).any() and (mixed.share > 0).all()


def test_point_cut_mix_follows_its_generator_and_its_distribution():
    points, labels = clouds(400, 20), torch.arange(400) % 4
    before, state = points.clone(), torch.get_rng_state()
    one = point_cut_mix(points, labels, generator(1))
    two = point_cut_mix(points, labels, generator(1))
    assert torch.equal(one.points, two.points) and torch.equal(one.share, two.share)
    other = point_cut_mix(points, labels, generator(2))
    assert not torch.equal(one.share, other.share)
    assert torch.equal(points, before) and torch.equal(state, torch.get_rng_state())
    assert one.share.mean().item() == pytest.approx(0.5, abs=0.06)
    assert one.share.std().item() == pytest.approx(12**-0.5, abs=0.05)
    narrow = point_cut_mix(points, labels, generator(1), beta=50.0)
    assert narrow.share.std() < 0.1
    half = point_cut_mix(points, labels, generator(1), probability=0.5)
    alone = half.share == 0
    assert 0.35 < alone.double().mean() < 0.65
    assert torch.equal(half.points[alone], points[alone])


def test_the_loss_of_mixed_clouds_weighs_both_labels():
    mixed = point_cut_mix(clouds(6, 20), torch.arange(6), generator(0))
    logits = torch.randn(6, 6, generator=generator(1))
    target = torch.zeros(6, 6)
    for i in range(6):
        target[i, mixed.labels[i]] += 1 - mixed.share[i]
        target[i, mixed.other_labels[i]] += mixed.share[i]
    expected = F.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(mixed.cross_entropy(logits), expected)


def test_point_cut_mix_says_what_is_wrong():
    points, labels = clouds(4, 10), torch.arange(4)
    with pytest.raises(ValueError, match="kind must be one of 'K', 'R'"):
        point_cut_mix(points, labels, generator(0), kind="k")
    with pytest.raises(ValueError, match="beta must be above 0"):
        point_cut_mix(points, labels, generator(0), beta=0.0)
    with pytest.raises(ValueError, match=r"probability must lie in \[0, 1\]"):
        point_cut_mix(points, labels, generator(0), probability=1.5)
    with pytest.raises(ValueError, match="one entry for each of the 4 clouds"):
        point_cut_mix(points, labels[:2], generator(0))
    with pytest.raises(ValueError, match="a and b must have the same shape"):
        match_points(points, points[:, :5])


# ------------------------------------------------------------- adversarial training


class TwoFeatures(nn.Module):
    """A strong but fragile feature (tiny, x) and a weaker robust one (large, y)."""

    def forward(self, points: Tensor) -> Tensor:
        centre = points.mean(1)
        return torch.stack([20 * centre[:, 0], centre[:, 1]], dim=1)


def two_class_clouds(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """x = +-0.02 tells the class always, y = +-0.5 in 95 of 100."""
    source = generator(seed)
    labels = torch.arange(count) % 2
    sign = 2.0 * labels - 1
    points = 0.1 * torch.randn(count, 8, 3, generator=source)
    points = points - points.mean(1, keepdim=True)
    honest = torch.where(torch.rand(count, generator=source) < 0.95, 1.0, -1.0)
    points[..., 0] += 0.02 * sign[:, None]
    points[..., 1] += 0.5 * (sign * honest)[:, None]
    return points, labels


def fit(seed: int = 0, **changes) -> tuple[LinearHead, object]:
    head = LinearHead(TwoFeatures(), 2, 2, seed=1)
    points, labels = two_class_clouds(128, seed=0)
    val_points, val_labels = two_class_clouds(64, seed=1)
    settings = {
        "attack": PGD(eps=0.1, steps=3, step_size=0.1),
        "val_points": val_points,
        "val_labels": val_labels,
        "epochs": 8,
        "lr": 0.1,
        "seed": seed,
    }
    parameters = dict(head.named_parameters())
    history = adversarial_training(
        head, parameters, points, labels, **settings | changes
    )
    return head, history


def test_adversarial_training_leaves_the_fragile_feature():
    robust_head, history = fit()
    plain_head, plain = fit(clean_weight=1.0, val_attack=PGD(eps=0.0, steps=1))
    points, labels = two_class_clouds(100, seed=2)
    attack = PGD(eps=0.1, steps=3, step_size=0.1)

    def robust_accuracy(head: nn.Module) -> float:
        return (~attack(head, points, labels).success).double().mean().item()

    assert robust_accuracy(robust_head) > 0.85
    assert robust_accuracy(plain_head) < 0.5  # the fragile feature is the better one
    clean = (plain_head(points).argmax(1) == labels).double().mean()
    assert clean > 0.95
    assert history.epochs[-1]["loss"] < history.epochs[1]["loss"]
    assert plain.epochs[0]["loss"] is None and len(plain.epochs) == 9


def test_the_best_epoch_on_val_is_kept():
    head, history = fit()
    robust = [epoch["val_robust_accuracy"] for epoch in history.epochs]
    assert robust[history.best_epoch] == max(robust)
    assert robust.index(max(robust)) == history.best_epoch
    val_points, val_labels = two_class_clouds(64, seed=1)
    again = PGD(eps=0.1, steps=3, step_size=0.1)(head, val_points, val_labels)
    assert (~again.success).double().mean().item() == pytest.approx(max(robust))
    # A step that is far too long: the state before training is the best one.
    good = {name: value.detach().clone() for name, value in head.named_parameters()}
    points, labels = two_class_clouds(16, seed=3)
    history = adversarial_training(
        head,
        dict(head.named_parameters()),
        points,
        1 - labels,
        PGD(eps=0.1, steps=1),
        val_points=val_points,
        val_labels=val_labels,
        epochs=2,
        lr=1.0,
    )
    assert history.best_epoch == 0
    for name, value in head.named_parameters():
        assert torch.equal(value, good[name]) and value.requires_grad


def test_adversarial_training_follows_its_seed_alone():
    state = torch.get_rng_state()
    (one, first), (two, second) = fit(epochs=2), fit(epochs=2)
    assert torch.equal(one.weight, two.weight) and first == second
    other, _ = fit(epochs=2, seed=5)
    assert not torch.equal(one.weight, other.weight)
    assert torch.equal(state, torch.get_rng_state())


def test_a_prompt_is_trained_and_nothing_else():
    model = TinyPointNet().eval()
    points, labels = labelled(model, 16)
    prompt = nn.Parameter(torch.zeros(3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = []

    def augment(clouds: Tensor, rng: torch.Generator) -> Tensor:
        seen.append(len(clouds))
        return clouds + 0.01 * torch.randn(clouds.shape, generator=rng)

    adversarial_training(
        lambda clouds: model(clouds + prompt),
        {"prompt": prompt},
        points,
        labels,
        PGD(eps=0.1, steps=2),
        val_points=points,
        val_labels=labels,
        epochs=1,
        batch_size=8,
        lr=0.05,
        augment=augment,
    )
    assert seen == [8, 8]
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_adversarial_training_says_what_is_wrong():
    model = CentroidLinear()
    points, labels = labelled(model, 8)

    def train(parameters, forward=model, **changes):
        settings = {
            "labels": labels,
            "val_points": points,
            "val_labels": labels,
            "epochs": 1,
        }
        adversarial_training(
            forward, parameters, points, attack=PGD.quick(), **settings | changes
        )

    parameters = dict(model.named_parameters())
    with pytest.raises(ValueError, match="must name at least one tensor"):
        train({})
    frozen = CentroidLinear().requires_grad_(False)
    with pytest.raises(ValueError, match=r"'head.weight' must be a leaf that requires"):
        train(dict(frozen.named_parameters()), frozen)
    with pytest.raises(ValueError, match="'other' does not touch the logits"):
        train({"other": nn.Parameter(torch.zeros(1))})
    steep = {"labels": model(points).argmin(1)}
    with pytest.raises(ValueError, match="the loss became inf: choose a smaller lr"):
        train(parameters, lambda x: torch.tanh(50 * model(x)) * 3e38, **steep)
    with pytest.raises(ValueError, match="val_labels must have one entry"):
        train(parameters, val_labels=labels[:3])
    with pytest.raises(ValueError, match="epochs must be above 0"):
        train(parameters, epochs=0)
    with pytest.raises(ValueError, match="clean_weight must lie in"):
        train(parameters, clean_weight=2.0)
    training = TinyPointNet().train()
    with pytest.raises(ValueError, match="evaluation mode"):
        train(dict(training.named_parameters()), training)
    with pytest.raises(ValueError, match="num_classes must lie in"):
        LinearHead(TwoFeatures(), 2, 1)
