"""Attacks that only ask: queries counted and obeyed, no gradients, known answers."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn
from victims import CentroidLinear, TinyPointNet, clouds, labelled

from mrpd_tutorial.attacks import PGD
from mrpd_tutorial.attacks.drop import SaliencyDrop
from mrpd_tutorial.attacks.hop_skip_jump import HopSkipJump
from mrpd_tutorial.attacks.nes import NES, SPSA
from mrpd_tutorial.attacks.norms import NORMS, size
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.attacks.simba import SimBA
from mrpd_tutorial.attacks.square import SquareAttack, patch_share
from mrpd_tutorial.attacks.transfer import Transfer
from mrpd_tutorial.runtime import generator

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = {"per_point": 0.15, "l2": 1.0, "linf": 0.1}


def make(kind: str, norm: str = "per_point", **changes):
    """One of the attacks in a ball, at about equal cost."""
    common = {"eps": SETTINGS[norm], "norm": norm, "max_queries": 60}
    classes = {
        "square": (SquareAttack, {}),
        "nes": (NES, {"pairs": 4}),
        "spsa": (SPSA, {"pairs": 4}),
        "simba": (SimBA, {}),
        "simba-xyz": (SimBA, {"basis": "coordinates"}),
    }
    attack, settings = classes[kind]
    return attack(**common | settings | changes)


IN_BALL = ("square", "nes", "spsa", "simba", "simba-xyz")


class Counting(nn.Module):
    """Answers without gradients, through numpy, and counts what it was asked."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.asked = 0

    def forward(self, points: Tensor) -> Tensor:
        self.asked += len(points)
        with torch.no_grad():
            given = torch.from_numpy(points.numpy().copy())  # fails if it needs grad
            return torch.from_numpy(self.model(given).numpy().copy())


class OneHot(nn.Module):
    """Says which class, and nothing else."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, points: Tensor) -> Tensor:
        logits = self.model(points)
        return nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits)


# --- queries -------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", ["success", "confidence"])
@pytest.mark.parametrize("kind", [*IN_BALL, "hop_skip_jump"])
def test_queries_are_counted_and_never_exceeded(kind, criterion):
    model = TinyPointNet().eval()
    points, labels = labelled(model, 3)
    for limit in (1, 2, 21):
        if kind == "hop_skip_jump":
            settings = {"initial_probes": 5, "max_queries": limit}
            attack = HopSkipJump(criterion=criterion, **settings)
        elif kind in ("nes", "spsa") and limit < 10:
            continue  # refused; see below
        else:
            attack = make(kind, criterion=criterion, max_queries=limit)
        for i in range(len(points)):
            victim = Counting(model).eval()
            result = attack(victim, points[i : i + 1], labels[i : i + 1])
            assert victim.asked == int(result.queries) <= limit
        victim = Counting(model).eval()
        together = attack(victim, points, labels)
        assert victim.asked == int(together.queries.sum())
        assert int(together.queries.max()) <= limit
        if criterion == "confidence" and kind in ("square", "simba"):
            assert (together.queries == limit).all()  # and they are used


@pytest.mark.parametrize("kind", IN_BALL)
def test_gradients_are_not_needed_and_make_no_difference(kind):
    model = TinyPointNet().eval()
    points, labels = labelled(model, 8)
    attack = make(kind)
    blind, open_ = (
        attack(Counting(model), points, labels),
        attack(model, points, labels),
    )
    assert torch.equal(blind.points, open_.points)
    assert blind.success.any()


@pytest.mark.parametrize("kind", IN_BALL)
def test_solved_clouds_cost_nothing_more(kind):
    model = CentroidLinear().eval()
    points, labels = labelled(model)
    eager = make(kind, max_queries=200)(model, points, labels)
    assert eager.success.any()
    assert (eager.queries[eager.success] < 200).all()
    wrong = make(kind)(model, points, (labels + 1) % 4)
    assert wrong.success.all() and (wrong.queries == 1).all()
    assert torch.equal(wrong.points, points)


# --- what every attack promises ------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", IN_BALL)
def test_budget_holds_accuracy_falls_and_batch_size_does_not_matter(kind, norm):
    model = TinyPointNet().eval()
    points, labels = labelled(model.float(), 12)
    model, points = model.double(), points.double()
    results = [
        make(kind, norm, batch_size=batch)(model, points, labels, None, generator(4))
        for batch in (5, 12)
    ]
    result = results[0]
    torch.testing.assert_close(results[1].points, result.points)
    assert torch.equal(results[1].queries, result.queries)
    assert (size(result.points - points, norm) <= SETTINGS[norm]).all()
    predicted = model(result.points).argmax(1)
    assert torch.equal(predicted != labels, result.success)
    assert result.success.double().mean() > 0.1


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", IN_BALL)
def test_no_cloud_falls_below_its_minimal_budget_and_most_do_above(kind, norm):
    model = CentroidLinear(num_classes=2).eval()
    points, labels = labelled(model, 12, num_points=12)
    needed = model.minimal_eps(points, labels, norm).float()
    below = make(kind, norm, eps=0.99 * needed, max_queries=100)
    assert not below(model, points, labels).success.any()
    above = make(kind, norm, eps=2.5 * needed, max_queries=400)
    assert above(model, points, labels).success.double().mean() > 0.8


@pytest.mark.parametrize("kind", IN_BALL)
def test_targets_are_reached_and_seeds_kept(kind):
    model = CentroidLinear(num_classes=2).eval()
    points, labels = labelled(model)
    before = points.clone()
    attack = make(kind, eps=0.5, max_queries=200)
    result = attack(model, points, labels, 1 - labels, generator(3))
    assert result.success.double().mean() > 0.9
    again = attack(model, points, labels, 1 - labels, generator(3))
    other = attack(model, points, labels, 1 - labels, generator(4))
    assert torch.equal(again.points, result.points)
    assert not torch.equal(other.points, result.points)
    assert torch.equal(points, before)


@pytest.mark.parametrize("kind", [*IN_BALL, "hop_skip_jump"])
@pytest.mark.parametrize("points", [torch.zeros(2, 1, 3), torch.ones(2, 7, 3)])
def test_degenerate_clouds_stay_finite(kind, points):
    model = CentroidLinear().eval()
    labels = model(points).argmax(1)
    attack = HopSkipJump.quick() if kind == "hop_skip_jump" else make(kind)
    assert torch.isfinite(attack(model, points, labels).points).all()


# --- Square --------------------------------------------------------------------------


def test_patches_shrink_as_published():
    steps = (0, 10, 11, 51, 201, 1001, 2001, 4001, 6001, 8001)
    shares = [patch_share(1.0, step, 10_000) for step in steps]
    assert shares == [
        1,
        1,
        1 / 2,
        1 / 4,
        1 / 8,
        1 / 16,
        1 / 32,
        1 / 64,
        1 / 128,
        1 / 256,
    ]
    assert patch_share(0.8, 11, 1000) == 0.2  # 110 of 10,000


@pytest.mark.parametrize("norm", NORMS)
def test_square_proposals_move_neighbourhoods_to_the_rim(norm):
    attack = SquareAttack(eps=0.1, norm=norm)
    points = clouds(3, 20).double()
    search = searching(CentroidLinear().double().eval(), points, eps=0.1)
    index = torch.arange(3)
    current = torch.zeros_like(points)
    centres, directions = attack._draws(search, 4)
    for step in range(4):
        old, size_ = current, 5
        current = attack._propose(
            search, index, old, centres[:, step], directions[:, step], size_
        )
        distance = torch.cdist(points, points)
        for i in range(3):
            nearest = distance[i, centres[i, step, 0]].argsort()[:size_]
            moved = (current[i] != old[i]).any(-1).nonzero()[:, 0]
            emptied = distance[i, centres[i, step, 1]].argsort()[:size_]
            allowed = {*nearest.tolist(), *(emptied.tolist() if norm == "l2" else ())}
            assert {*moved.tolist()} <= allowed
            patch = current[i, nearest]
            if norm == "per_point":
                assert torch.allclose(patch.norm(dim=1), patch.new_tensor(0.1))
                assert torch.equal(patch, patch[:1].expand(size_, 3))
            elif norm == "linf":
                assert torch.allclose(patch.abs(), patch.new_tensor(0.1))
            else:  # the whole budget is used, and what was emptied is empty
                assert math.isclose(float(current[i].norm()), 0.1, rel_tol=1e-9)
                gone = set(emptied.tolist()) - set(nearest.tolist())
                assert not current[i, list(gone)].any()


@pytest.mark.parametrize("norm", NORMS)
def test_square_starts_in_cells_of_one_direction(norm):
    attack = SquareAttack(eps=0.1, norm=norm, p_init=0.25)
    points = clouds(2, 30)
    search = searching(CentroidLinear().eval(), points, eps=0.1)
    start = attack._start(search, torch.arange(2))
    torch.testing.assert_close(size(start, norm), torch.full((2,), 0.1))
    for cloud in start:
        found = len(cloud.unique(dim=0))
        assert found == 4 or (norm == "linf" and 1 < found < 4)  # of 8 corners


def test_square_beats_a_random_cloud_of_the_same_ball():
    model = TinyPointNet(seed=2).eval()
    points, labels = labelled(model)
    square = make("square", eps=0.1, max_queries=100)(model, points, labels)
    start = make("square", eps=0.1, max_queries=2)(model, points, labels)
    assert square.success.sum() > start.success.sum()


# --- NES, SPSA -----------------------------------------------------------------------


@pytest.mark.parametrize("attack", [NES, SPSA])
@pytest.mark.parametrize("loss", ["margin", "ce"])
def test_estimates_become_the_gradient(attack, loss):
    model = CentroidLinear().double().eval()
    points = clouds(2, 5).double()
    attack = attack(eps=1.0, loss=loss, pairs=1000, max_queries=10_000)
    search = searching(model, points)
    index = torch.arange(2)
    estimate = attack._estimate(search, points, index)
    current = points.clone().requires_grad_(True)
    climb = search.cross_entropy if loss == "ce" else search.margin
    (exact,) = torch.autograd.grad(climb(model(current), index).sum(), current)
    cosine = nn.functional.cosine_similarity(estimate.flatten(1), exact.flatten(1))
    assert (cosine > 0.98).all()  # expected: sqrt(n / (n + d)) = 0.993
    ratio = estimate.flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    assert ((ratio - 1).abs() < 0.1).all()


def test_steps_and_idle_steps_are_reported():
    model = TinyPointNet().eval()
    points, labels = labelled(model, 4)
    attack = NES(eps=0.01, pairs=3, max_queries=50, criterion="confidence")
    result = attack(model, points, labels)
    assert attack.steps == 7
    assert (result.iterations == 7).all() and (result.queries == 50).all()
    assert not result.idle_steps.any()
    flat = attack(OneHot(model), points, labels)  # scores that do not move
    assert (flat.idle_steps == 7).all()


# --- SimBA ---------------------------------------------------------------------------


def test_simba_directions_are_an_orthonormal_basis():
    attack = SimBA(eps=0.1, basis="points")
    search = searching(CentroidLinear().eval(), clouds(2, 6), eps=0.1)
    frames = attack._frames(search)
    unit = torch.eye(3).expand(2, 6, 3, 3)
    torch.testing.assert_close(frames @ frames.transpose(2, 3), unit)
    xyz = SimBA(eps=0.1, basis="coordinates")._frames(search)
    assert torch.equal(xyz, unit)


def test_simba_follows_the_published_algorithm():
    """Oracle: the loop of algorithm 1, cloud by cloud, without a ball in the way."""
    model = TinyPointNet(seed=1).double().eval()
    points = clouds(3, 6).double()
    labels = model(points).argmax(1)
    settings = {"step_size": 0.05, "max_queries": 30, "criterion": "confidence"}
    attack = SimBA(eps=1.0, norm="l2", basis="coordinates", **settings)
    result = attack(model, points, labels, None, generator(9))
    seeds = torch.randint(2**63 - 1, (3,), generator=generator(9)).tolist()
    for i, seed in enumerate(seeds):
        order = torch.randperm(18, generator=generator(seed))

        def gap(cloud, label=labels[i]):
            logits = model(cloud[None])[0].detach()
            other = torch.cat([logits[:label], logits[label + 1 :]]).max()
            return float(other - logits[label])

        best, asked, trial = points[i].clone(), 1, 0
        value = gap(best)
        while asked < 30:
            for sign in (1, -1):
                if asked == 30:
                    break
                moved = best.flatten().clone()
                moved[order[trial % 18]] += sign * 0.05
                asked += 1
                if gap(moved.view(6, 3)) > value:
                    best, value = moved.view(6, 3), gap(moved.view(6, 3))
                    break
            trial += 1
        torch.testing.assert_close(result.points[i], best)
        assert int(result.iterations[i]) == trial


# --- HopSkipJump ---------------------------------------------------------------------


def test_hop_skip_jump_comes_close_to_the_minimal_distance():
    model = CentroidLinear(num_classes=2).double().eval()
    points = clouds(6, 8).double()
    labels = model(points).argmax(1)
    needed = model.minimal_eps(points, labels, "l2")
    attack = HopSkipJump(max_queries=1500, initial_probes=40)
    result = attack(model, points, labels)
    assert result.success.all()
    assert (result.l2 >= needed * (1 - 1e-9)).all()
    assert (result.l2 <= 1.15 * needed).all()
    short = dataclasses.replace(attack, max_queries=200)(model, points, labels)
    assert result.l2.mean() < short.l2.mean()


def test_hop_skip_jump_sees_nothing_but_the_class():
    model = TinyPointNet().eval()
    points, labels = labelled(model, 5)
    attack = HopSkipJump(max_queries=300, initial_probes=10)
    soft, hard = attack(model, points, labels), attack(OneHot(model), points, labels)
    assert soft.success.any()
    assert torch.equal(soft.points, hard.points)
    assert torch.equal(soft.queries, hard.queries)


def test_hop_skip_jump_keeps_its_budget_and_its_batches_apart():
    model = CentroidLinear(num_classes=2).double().eval()
    points = clouds(4, 8).double()
    labels = model(points).argmax(1)
    needed = model.minimal_eps(points, labels, "l2")
    eps = needed * torch.tensor([0.9, 1.5, 0.9, 1.5])
    settings = {"eps": eps, "max_queries": 500, "initial_probes": 30}
    result = HopSkipJump(**settings)(model, points, labels)
    assert result.success.tolist() == [False, True] * 2
    assert (result.l2 <= eps).all()
    assert torch.equal(result.points[::2], points[::2])  # nothing near enough: clean
    alone = HopSkipJump(**settings, batch_size=3)(model, points, labels)
    torch.testing.assert_close(alone.points, result.points)
    eager = HopSkipJump(**settings, criterion="success")(model, points, labels)
    assert torch.equal(eager.success, result.success)
    assert (eager.queries[1::2] < result.queries[1::2]).all()


def test_hop_skip_jump_uses_the_starts_it_is_given():
    model = CentroidLinear(num_classes=3).eval()
    points, labels = labelled(model)
    targets = (labels + 1) % 3
    starts = torch.stack([points[labels == c][0] for c in range(3)])
    attack = HopSkipJump(max_queries=80, start_tries=1, starts=starts)
    result = attack(model, points, labels, targets)
    assert result.success.all()
    assert torch.equal(model(result.points).argmax(1), targets)
    moved = (points - starts[targets]).flatten(1).norm(dim=1)
    assert (result.l2 <= moved + 1e-5).all()
    with pytest.raises(ValueError, match="starts must have the clouds' 32 points"):
        HopSkipJump(starts=starts[:, :5])(model, points, labels)
    with pytest.raises(ValueError, match=r"starts must have shape \(B, N, 3\)"):
        HopSkipJump(starts=starts[0])


# --- Transfer ------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", ["success", "confidence"])
def test_transfer_shows_the_surrogates_clouds_to_the_victim_once(criterion):
    surrogate, model = TinyPointNet(seed=0).eval(), TinyPointNet(seed=5).eval()
    points, labels = labelled(surrogate)
    inner = PGD(eps=0.15, criterion=criterion)
    victim = Counting(model).eval()
    attack = Transfer(attack=inner, surrogate=surrogate, batch_size=7)
    result = attack(victim, points, labels, None, generator(2))
    white = inner(surrogate, points, labels, None, generator(2))
    assert (result.queries == 2).all() and victim.asked == 2 * len(points)
    assert torch.equal(result.iterations, white.iterations)
    clean_wrong = model(points).argmax(1) != labels
    shown_wrong = model(white.points).argmax(1) != labels
    assert torch.equal(result.success, clean_wrong | shown_wrong)
    assert torch.equal(result.correct_before, ~clean_wrong)
    fell = shown_wrong & ~clean_wrong
    assert fell.any()
    assert torch.equal(result.points[fell], white.points[fell])
    assert result.attack_success_rate < white.attack_success_rate
    assert (result.norm, result.eps[0]) == ("per_point", result.eps.new_tensor(0.15))


def test_transfer_takes_over_what_the_attack_is():
    surrogate = TinyPointNet().eval()
    points, labels = labelled(surrogate, 4)
    surrogate.head.weight.requires_grad_(True)
    drop = Transfer(attack=SaliencyDrop(eps=4, per_round=2), surrogate=surrogate)
    assert (drop.norm, drop.changes_count, drop.min_points) == ("count", True, 2)
    result = drop(TinyPointNet(seed=1).eval(), points, labels)
    assert result.points.shape == (4, 28, 3)
    assert surrogate.head.weight.requires_grad
    itself = Transfer(attack=PGD(eps=0.1), surrogate=surrogate)
    white = PGD(eps=0.1)(surrogate, points, labels)
    assert torch.equal(itself(surrogate, points, labels).success, white.success)
    minimal = Transfer(attack=HopSkipJump(max_queries=200), surrogate=surrogate)
    assert minimal.minimal and minimal.eps == float("inf")
    assert minimal(surrogate, points, labels).success.any()


def test_transfer_checks_its_parts():
    model = TinyPointNet().eval()
    points, labels = labelled(model, 4)
    with pytest.raises(ValueError, match=r"attack must be an attack.*received str"):
        Transfer(attack="pgd", surrogate=model)
    with pytest.raises(ValueError, match="larger than the object"):
        Transfer(attack=PGD(eps=9.0), surrogate=model)(model, points, labels)
    training = TinyPointNet().train()
    attack = Transfer(attack=PGD(eps=0.1), surrogate=training)
    with pytest.raises(ValueError, match=r"Call model\.eval\(\) first"):
        attack(model, points, labels)
    with pytest.raises(TypeError, match="eps"):
        Transfer(attack=PGD(eps=0.1), surrogate=model, eps=0.2)


# --- settings ------------------------------------------------------------------------


def test_presets():
    paper = SquareAttack.paper()
    assert (paper.p_init, paper.max_queries) == (0.05, 10_000)
    assert SquareAttack.paper(norm="l2").p_init == 0.1
    paper = NES.paper()
    assert (2 * paper.pairs, paper.sigma, paper.eps, paper.norm) == (
        50,
        1e-3,
        0.05,
        "linf",
    )
    paper = SPSA.paper()
    assert (paper.sigma, paper.step_size, paper.steps) == (0.01, 0.01, 100)
    assert (SimBA.paper().step_size, SimBA.paper().basis) == (0.2, "coordinates")
    paper = HopSkipJump.paper()
    assert (paper.initial_probes, paper.gamma, paper.max_queries) == (100, 1.0, 25_000)
    for attack in (SquareAttack, NES, SPSA, SimBA, HopSkipJump):
        assert attack.quick(max_queries=99).max_queries == 99
        assert attack.quick().max_queries < attack.paper().max_queries
    assert HopSkipJump.minimal and HopSkipJump().eps == float("inf")


@pytest.mark.parametrize(
    ("attack", "settings", "message"),
    [
        (SquareAttack, {"norm": "linf2"}, "norm must be one of"),
        (SquareAttack, {"max_queries": 0}, "max_queries must be above 0"),
        (SquareAttack, {"p_init": 0.0}, "p_init must be above 0"),
        (SquareAttack, {"p_init": 1.5}, r"p_init must lie in \[0, 1\]"),
        (SquareAttack, {"eps": float("inf")}, "and finite; received inf"),
        (NES, {"pairs": 0}, "pairs must be above 0"),
        (NES, {"sigma": 0.0}, "sigma must be above 0"),
        (NES, {"loss": "dlr"}, "loss must be one of 'ce', 'margin'"),
        (NES, {"step_size": 0.0}, "step_size must be above 0"),
        (SPSA, {"max_queries": 51}, "max_queries must be at least 52.*received 51"),
        (SimBA, {"basis": "dct"}, "basis must be one of 'coordinates', 'points'"),
        (SimBA, {"step_size": -1.0}, "step_size must be above 0"),
        (HopSkipJump, {"gamma": 0.0}, "gamma must be above 0"),
        (HopSkipJump, {"initial_probes": 0}, "initial_probes must be above 0"),
    ],
)
def test_settings_are_checked(attack, settings, message):
    with pytest.raises(ValueError, match=message):
        attack(**{"eps": 0.05, **settings})


def searching(model: nn.Module, points: Tensor, eps: float = 1.0) -> Search:
    """A search about these clouds, labelled by the model."""
    with torch.no_grad():
        labels = model(points).argmax(1)
    return Search(
        model=model,
        clean=points,
        labels=labels,
        target_labels=None,
        eps=points.new_full((len(points),), eps),
        generators=[generator(i) for i in range(len(points))],
        stop_at_success=False,
    )
