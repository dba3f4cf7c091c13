"""The pitfalls of public point-cloud attack code, by number, and their tests.

1  Re-normalising clouds after an attack is a defense.
2  A projection centred on the noisy start leaves the budget.
3  "linf" means three things.
4  The confidence of an attack decides what a defense restores.
5  Dropping points needs the true label, not a random one.
6  Random sampling and grouping move the predictions for one and the same cloud.
7  Defenses without a gradient mask it; ragged outlier removal works for one cloud only.
8  Statistics of the batch leak into each cloud's result.
9  A binary search that takes a farther success for a failure.
10 Shifts of one sign translate the cloud, and that is all they do.
11 Query attacks that never apply their budget and return the cloud tried last.
12 A nearest-neighbour loss that fails outside of the unit ball.
13 Attacks for pictures clamp clouds to [0, 1].
14 A random start clamped to [0, 1] squashes the cloud.
15 The released protocol of MRPD: each of its choices changes what its numbers mean.
16 Interfaces that torch has removed, and imports that need a terminal or a window.

`WHERE` names the tests; those of 6, 7, 15 and 16 are in this file.
"""

import ast
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fake_lab import encoder
from torch import Tensor, nn
from victims import CentroidLinear, TinyPointNet, clouds, labelled

from mrpd_tutorial.attacks import PGD, SaliencyDrop, random_target_labels
from mrpd_tutorial.attacks.ascent import if_defense_eps
from mrpd_tutorial.defenses import SOR, SRS, Defended
from mrpd_tutorial.evaluate import evaluate
from mrpd_tutorial.geometry import farthest_point_sampling
from mrpd_tutorial.models import DGCNN, PointNet
from mrpd_tutorial.runtime import generator
from mrpd_tutorial.sweep import Protocol, choices

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = PGD(eps=0.03, steps=3)
TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "mrpd_tutorial"
HERE = "test_pitfalls.py"
GRADIENT, SHAPE = "test_attack_gradient.py", "test_attack_shape.py"
OPTIMISATION, SUITE = "test_attack_optimisation.py", "test_attack_suite.py"
WHERE = {
    1: [(GRADIENT, "test_pitfall_01_renormalising_is_a_defense")],
    2: [(GRADIENT, "test_pitfall_02_the_ball_is_around_the_clean_cloud")],
    3: [(GRADIENT, "test_pitfall_03_three_norms_have_three_names")],
    4: [(GRADIENT, "test_pitfall_04_confidence_decides")],
    5: [(SHAPE, "test_drop_needs_the_true_label")],
    6: [(HERE, "test_pitfall_06_")],
    7: [(HERE, "test_pitfall_07_masked"), (HERE, "test_pitfall_07_outlier_removal")],
    8: [
        (SUITE, "test_batch_size_and_neighbours_do_not_matter"),
        (OPTIMISATION, "test_pitfall_8_bounds_move"),
        (OPTIMISATION, "test_pitfall_8_neighbours"),
    ],
    9: [
        (OPTIMISATION, "test_pitfall_9_a_success_counts"),
        (OPTIMISATION, "test_pitfall_9_clouds_without_success"),
    ],
    10: [(SHAPE, "Pitfall 10:")],
    11: [(SHAPE, "Pitfall 11:")],
    12: [(OPTIMISATION, "test_pitfall_12_")],
    13: [(GRADIENT, "test_pitfall_13_")],
    14: [(GRADIENT, "test_pitfall_14_")],
    15: [(HERE, f"test_pitfall_15_{choice.name}") for choice in choices()],
    16: [(HERE, "test_pitfall_16_nothing"), (HERE, "test_pitfall_16_importing")],
}


def test_every_pitfall_has_its_tests():
    listed = re.findall(r"^(\d+) ", __doc__, re.MULTILINE)
    assert [int(number) for number in listed] == list(WHERE) == list(range(1, 17))
    places = [place for found in WHERE.values() for place in found]
    for file in {file for file, _ in places}:
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        texts = [
            f"{node.name} {ast.get_docstring(node)}"
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]
        for words in (words for own, words in places if own == file):
            assert any(words in text for text in texts), f"{file} has no {words!r}"


# --- 6: predictions are those of the cloud, whatever ran before -----------------------


def models() -> dict[str, nn.Module]:
    """Every kind of point model of the package, with sampling and grouping."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = {
            "point encoder": encoder(),
            "PointNet": PointNet(num_classes=5),
            "DGCNN": DGCNN(num_classes=5, k=6),
        }
    found["behind SOR"] = Defended(found["point encoder"], SOR())
    return {name: model.eval() for name, model in found.items()}


@pytest.mark.parametrize("name", ["point encoder", "PointNet", "DGCNN", "behind SOR"])
def test_pitfall_06_predictions_do_not_depend_on_what_ran_before(name):
    model, points = models()[name], clouds(3, 40)
    with torch.no_grad():
        first = model(points)
        torch.manual_seed(77)
        torch.rand(100)
        model(clouds(5, 64, seed=9))  # other clouds, of another size
        PGD(eps=0.1, steps=1)(model, points, torch.zeros(3, dtype=torch.int64))
        assert torch.equal(model(points), first)
        # Nor on neighbours, but for the rounding of larger batches.
        alone = torch.cat([model(cloud) for cloud in points.flip(0).split(1)]).flip(0)
    torch.testing.assert_close(alone, first, rtol=1e-4, atol=1e-5)


def test_pitfall_06_sampling_begins_at_the_first_point_each_time():
    points = clouds(4, 50)
    chosen = farthest_point_sampling(points, 12)
    torch.manual_seed(5)
    assert torch.equal(farthest_point_sampling(points, 12), chosen)
    assert (chosen[:, 0] == 0).all()


def test_pitfall_06_random_models_say_so_and_their_rows_repeat():
    model = TinyPointNet().eval()
    points, labels = labelled(model)
    models = {"net": model, "srs": Defended(model, SRS(drop=16))}

    def run():
        found = evaluate(models, (points, labels), SHORT, progress=False)
        return [(row.cell, row.correct, row.random_model) for row in found.rows]

    first = run()
    models["srs"](points)  # draws in between
    assert run() == first
    assert {cell[0] for cell, _, random in first if random} == {"srs"}


# --- 7: gradient masking through outlier removal --------------------------------------


class Far(nn.Module):
    """The class is the axis along which a point lies farthest out."""

    def forward(self, points: Tensor) -> Tensor:
        return points.amax(1) * 10


def detached_sor(points: Tensor) -> Tensor:
    """Outlier removal as public code has it: through numpy, without a gradient."""
    return torch.from_numpy(SOR()(points.detach()).numpy())


@pytest.mark.parametrize("defense", [SOR(), detached_sor], ids=["SOR", "detached"])
def test_pitfall_07_masked_and_static_numbers_flatter_a_defense(defense):
    model, points = Far(), clouds(64, 64)
    labels = model(points).argmax(1)
    sure = model(SOR()(points)).argmax(1) == labels  # no outlier decided their class
    points, labels = points[sure], labels[sure]
    assert len(points) > 20
    found = evaluate(
        {"net": model, "defended": Defended(model, defense)},
        (points, labels),
        PGD(eps=0.6, norm="l2", steps=20),
        undefended="net",
        progress=False,
    )
    assert found.row("net", "adaptive").accuracy < 0.05
    static, adaptive = (found.row("defended", kind) for kind in ("static", "adaptive"))
    # One point is moved far, and removed; but an attacker who knows that moves several.
    assert static.accuracy > 0.4 > 0.1 > adaptive.accuracy
    assert adaptive.bpda == (defense is detached_sor)


def test_pitfall_07_outlier_removal_takes_batches_that_lose_different_numbers():
    points = clouds(6, 48)
    for i in range(6):
        points[i, : i + 1] += 3.0 * torch.arange(1, i + 2)[:, None]  # i + 1 outliers
    defense, model = SOR(), TinyPointNet().eval()
    assert len(set(defense.kept(points).sum(1).tolist())) > 2
    together = defense(points)
    assert together.shape == points.shape
    for i, cloud in enumerate(points):
        assert torch.equal(together[i], defense(cloud[None])[0])
        left = cloud[defense.kept(cloud[None])[0]]
        assert torch.equal(together[i, : len(left)], left)
        assert torch.equal(together[i].unique(dim=0), left.unique(dim=0))
    labels = torch.zeros(6, dtype=torch.int64)
    assert PGD(eps=0.1, steps=2)(Defended(model, defense), points, labels).points.shape


# --- 15: the released protocol, choice by choice --------------------------------------

PAPER, RELEASED = Protocol.paper(), Protocol.released()


def one(name: str) -> Protocol:
    """The paper's protocol with one choice of the release."""
    changed = PAPER.one_by_one()[name]
    assert getattr(changed, name) == getattr(RELEASED, name) != getattr(PAPER, name)
    return changed


def linear(num_classes: int = 4, num_points: int = 64):
    """A victim whose minimal perturbation is known, with clouds and their labels."""
    model = CentroidLinear(num_classes).eval()
    points, labels = labelled(model, 24, num_points)
    return model, points, labels


def test_pitfall_15_targets():
    """A random target is farther than the nearest wrong class."""
    model, points, labels = linear()
    nearest = model.minimal_eps(points, labels, "l2")
    attack = PGD(eps=nearest * 1.6, norm="l2", steps=40, loss="margin")
    any_wrong = attack(model, points, labels)
    drawn = random_target_labels(labels, 4, generator(0))
    aimed = attack(model, points, labels, drawn)
    assert any_wrong.success.all()
    assert aimed.success.double().mean() < 0.6
    assert one("targets").targets == "random"


def test_pitfall_15_pgd_budget():
    """0.08 of a whole cloud is sqrt(3 N) times less than 0.08 of a coordinate."""
    model, points, labels = linear(num_classes=2)
    budgets = {}
    for name, protocol in (("paper", PAPER), ("released", one("pgd_budget"))):
        attack = protocol.attacks(64)["PGD"]
        assert attack.norm == "l2"
        found = attack(model, points, labels)
        needed = model.minimal_eps(points, labels, "l2")
        # The random start, 1 / sqrt(3) of eps and mostly aside, costs up to 1 in 7.
        assert found.success[needed < 0.8 * attack.eps].all()
        assert not found.success[needed > attack.eps].any()
        budgets[name] = attack.eps, float(found.success.double().mean())
    assert budgets["paper"][0] == if_defense_eps(64, 0.08)
    assert budgets["paper"][0] / budgets["released"][0] == pytest.approx(math.sqrt(192))
    assert budgets["paper"][1] > 0.8 > 0.3 > budgets["released"][1]


def test_pitfall_15_pgd_steps():
    """20 steps instead of 50, a budget's worth in all: a linear rim is reached."""
    model, points, labels = linear()
    fewer, more = (p.attacks(64)["PGD"] for p in (one("pgd_steps"), PAPER))
    assert (fewer.steps, more.steps) == (20, 50) and fewer.eps == more.eps
    assert fewer.step_size * 20 == pytest.approx(more.step_size * 50)
    results = [attack(model, points, labels) for attack in (fewer, more)]
    assert [int(r.iterations.max()) for r in results] == [20, 50]
    assert torch.equal(results[0].success, results[1].success)


def perturbed(protocol: Protocol, loss: str) -> Tensor:
    """(B,) l2 distances that CW-Perturb finds, over the least there is."""
    model, points, labels = linear(num_classes=2, num_points=16)
    points, labels = points[:4], labels[:4]
    attack = protocol.attacks(16)["Perturb"]
    assert attack.loss == loss
    result = attack(model, points, labels)
    assert result.success.all()
    return result.l2 / model.minimal_eps(points, labels, "l2")


def test_pitfall_15_perturb_loss():
    """Cross-entropy goes on pushing beyond the boundary, at which a margin stops."""
    paper = Protocol.paper(perturb_steps=30)
    changed = Protocol.paper(perturb_steps=30, perturb_loss=RELEASED.perturb_loss)
    assert one("perturb_loss").perturb_loss == "ce"
    assert perturbed(paper, "margin").median() < perturbed(changed, "ce").median()


def test_pitfall_15_perturb_steps():
    """A tenth of the updates leaves clouds farther than need be."""
    assert one("perturb_steps").perturb_steps * 10 == PAPER.perturb_steps
    fewer, more = (Protocol.paper(perturb_steps=steps) for steps in (6, 60))
    assert perturbed(more, "margin").median() < perturbed(fewer, "margin").median()


def test_pitfall_15_drop_label():
    """Points that speak for a random class are none of those that carry the class."""
    labels = torch.arange(12) % 3
    axis = nn.functional.one_hot(labels, 3).float()
    signal = axis[:, None] * torch.linspace(0.2, 1.0, 16)[None, :, None]
    flat = torch.linspace(-0.1, 0.1, 240)[None, :, None] * (1 - 0.5 * axis)[:, None]
    points = torch.cat([signal, flat], dim=1)
    found = {}
    for name, protocol in (("paper", PAPER), ("released", one("drop_label"))):
        attack = protocol.attacks(256)["Drop-200"]
        assert isinstance(attack, SaliencyDrop) and attack.eps == 200
        found[name] = evaluate(
            {"far": Far()},
            (points, labels),
            {"Drop-200": attack},
            protocol=protocol,
            progress=False,
        ).rows[-1]
    # The true label's 16 points go first; a random one's never come to them.
    assert found["paper"].accuracy == 0 and found["released"].accuracy > 0.9


def test_pitfall_15_clouds():
    """Clouds made on the undefended model spare one that looks elsewhere."""
    labels = torch.arange(24) % 3
    axis = nn.functional.one_hot(labels, 3).float()[:, None]
    noise = 0.3 * torch.randn(24, 40, 3, generator=generator(0))
    points = (noise - noise.mean(1, keepdim=True)) * (1 + 0.25 * axis) + 0.08 * axis
    models = {"plain": lambda points: points.mean(1), "other": lambda p: p.std(1)}
    attacks, rows = {"PGD": PGD(eps=0.1)}, {}
    for name, protocol in (("paper", PAPER), ("released", one("clouds"))):
        found = evaluate(
            models,
            (points, labels),
            attacks,
            undefended="plain",
            protocol=protocol,
            progress=False,
        )
        rows[name] = found.rows[-1]
    assert rows["paper"].threat_model == "adaptive" and rows["paper"].accuracy < 0.1
    assert rows["released"].threat_model == "static"
    assert rows["released"].accuracy > 0.7


def test_pitfall_15_sor():
    """Three outliers side by side: 2 neighbours see nothing odd, 16 do."""
    grid = torch.linspace(-0.5, 0.5, 8)
    cube = torch.cartesian_prod(grid, grid, grid)
    trio = torch.tensor([[3.0, 0, 0], [3.05, 0, 0], [3.0, 0.05, 0]])
    points = torch.cat([cube, trio])[None]
    assert PAPER.sor.kept(points)[0, -3:].all()
    assert not one("sor").sor.kept(points)[0, -3:].any()


def test_pitfall_15_all_choices_together_are_the_release():
    model, points, labels = linear(num_points=256)
    small = Protocol.released(perturb_steps=3)
    found = evaluate(
        {"net": model, "SOR": Defended(model, small.sor)},
        (points, labels),
        undefended="net",
        protocol=small,
        progress=False,
    )
    attack = found.row("net", "static", "PGD")
    assert (attack.norm, attack.eps, attack.targeted) == ("l2", 0.08, True)
    assert attack.made_on == found.row("SOR", "static", "PGD").made_on == "net"
    assert not found.row("net", "static", "Drop-200").targeted
    # Nothing within 0.08 of the whole cloud is wrong: PGD hardly misleads.
    needed = model.minimal_eps(points, labels, "l2")
    assert attack.accuracy >= float((needed > 0.08).double().mean()) > 0.5


# --- 16: what torch has removed, and imports that need a terminal ---------------------

REMOVED = (
    "symeig",
    "zero_gradients",
    "collections.Iterable",
    "collections.Mapping",
    "time.clock",
    "torch.distributed.launch",
    "stty",
    "torch.gels",
    "torch.lstsq",
    "torch.qr(",
    "torch.svd(",
    "autograd.Variable",
    "np.float)",
    "np.int)",
    "np.bool)",
    "pytorch3d",
    "mayavi",
)


def test_pitfall_16_nothing_that_was_removed_is_used():
    files = [*PACKAGE.rglob("*.py"), *(TESTS.parent / "scripts").glob("*.py")]
    assert len(files) > 60
    for path in files:
        text = path.read_text(encoding="utf-8")
        used = [word for word in REMOVED if word in text]
        assert not used, f"{path.name} uses {used}"


def test_pitfall_16_importing_every_module_needs_no_terminal_and_says_nothing():
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    ]
    program = (
        "import importlib, os, sys\n"
        "before = (os.getcwd(), sys.argv[:], sorted(os.listdir('.')))\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(name)\n"
        "assert (os.getcwd(), sys.argv[:], sorted(os.listdir('.'))) == before\n"
    )
    gone = {"TERM", "COLUMNS", "LINES", "DISPLAY", "WAYLAND_DISPLAY"}
    env = {name: value for name, value in os.environ.items() if name not in gone}
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error::DeprecationWarning:mrpd_tutorial",
            "-c",
            program,
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # no controlling terminal
        env=env | {"PYTHONPATH": str(PACKAGE.parent)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and done.stderr == ""
