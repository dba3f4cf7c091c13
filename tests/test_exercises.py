"""Every check accepts its reference, rejects two planted wrong answers, says why."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from wrong_answers import WRONG

from mrpd_tutorial import exercises
from mrpd_tutorial.attacks import BPDA
from mrpd_tutorial.defenses import SOR
from mrpd_tutorial.distill.config import DistillConfig
from mrpd_tutorial.exercises import EXERCISES, THEMES, Exercise, judge
from mrpd_tutorial.exercises.base import expect
from mrpd_tutorial.runtime import generator
from mrpd_tutorial.sweep.cells import Cell
from mrpd_tutorial.sweep.run import _share

each = pytest.mark.parametrize("name", EXERCISES)
wrong_ones = pytest.mark.parametrize(
    ("name", "wrong", "why"),
    [(name, *planted) for name, rows in WRONG.items() for planted in rows],
    ids=[f"{name}-{i}" for name, rows in WRONG.items() for i in range(len(rows))],
)


def test_every_theme_has_three_exercises_from_easy_on():
    assert len(THEMES) == 12
    assert [int(theme[:2]) for theme in THEMES] == list(range(12))
    for theme, own in THEMES.items():
        assert len(own) >= 3, theme
        levels = {exercise.level for exercise in own.values()}
        assert len(levels) >= 2, f"{theme}: all are {levels}"
        assert levels & {"easy", "medium"} and levels & {"hard", "research"}, theme
    every = {exercise.level for exercise in EXERCISES.values()}
    assert every == set(exercises.LEVELS)


def test_every_exercise_has_two_wrong_answers():
    assert sorted(WRONG) == sorted(EXERCISES)
    others = {name: len(rows) for name, rows in WRONG.items() if len(rows) != 2}
    assert others == {"surface_step": 3}


@each
def test_the_reference_passes(name, capsys):
    reference = EXERCISES[name].reference
    assert exercises.check(name, reference) is reference
    assert capsys.readouterr().out == f"{name}: passed. {EXERCISES[name].tested}\n"


@wrong_ones
def test_a_wrong_answer_is_rejected_and_told_why(name, wrong, why, capsys):
    with torch.random.fork_rng(devices=[]):  # one of them seeds torch
        assert exercises.check(name, wrong) is EXERCISES[name].reference
    said = capsys.readouterr().out
    assert said.startswith(f"{name}: not yet. "), said
    assert said.endswith("Going on with the reference.\n")
    assert re.search(why, said), said


@each
def test_an_untouched_stub_is_not_attempted(name, capsys):
    def stub(*given):
        raise NotImplementedError

    assert exercises.check(name, stub) is EXERCISES[name].reference
    assert f"{name}: not attempted" in capsys.readouterr().out


@each
@pytest.mark.parametrize(
    "attempt",
    [
        lambda *given: None,
        lambda *given: "a word",
        lambda *given: 0.5,
        lambda *given: [],
        lambda *given: torch.full((2, 3), float("nan")),
        lambda *given: exit(),
        lambda: 0,
        17,
    ],
    ids=["None", "text", "number", "list", "NaN", "exit", "signature", "no function"],
)
def test_a_check_never_raises(name, attempt, capsys):
    assert exercises.check(name, attempt) is EXERCISES[name].reference
    assert "Going on with the reference" in capsys.readouterr().out


@each
def test_the_same_attempt_gets_the_same_verdict(name):
    for attempt in (EXERCISES[name].reference, WRONG[name][0][0]):
        with torch.random.fork_rng(devices=[]):
            first = judge(EXERCISES[name], attempt)
            torch.rand(5)  # no check draws from the global generator
            assert judge(EXERCISES[name], attempt) == first


@each
def test_a_check_leaves_the_random_state_alone(name):
    before = torch.random.get_rng_state()
    judge(EXERCISES[name], EXERCISES[name].reference)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_forgetting_to_return_is_named(capsys):
    exercises.check("normalise", lambda points: None)
    assert "Did you forget `return`?" in capsys.readouterr().out


def test_a_call_instead_of_a_function_is_named(capsys):
    exercises.check("normalise", torch.zeros(3, 3))
    assert "Expected a function, got Tensor" in capsys.readouterr().out


def test_a_typo_does_not_stop_the_notebook(capsys):
    exercises.check("normalise", lambda points: points.no_such_thing)
    assert "stopped with AttributeError" in capsys.readouterr().out


def test_not_implemented_in_torch_is_no_untouched_stub(capsys):
    def unsupported(points):
        raise NotImplementedError("Could not run 'aten::x' with these arguments")

    exercises.check("normalise", unsupported)
    said = capsys.readouterr().out
    assert "stopped with NotImplementedError: Could not run" in said


def test_writing_into_the_input_is_named(capsys):
    def in_place(points):
        points -= points.mean(0)
        return points.div_(points.norm(dim=1).max())

    exercises.check("normalise", in_place)
    assert "was changed in place" in capsys.readouterr().out


def test_an_unknown_exercise_is_named():
    with pytest.raises(ValueError, match="name must be one of 'accuracy'"):
        exercises.check("fly", print)


def test_an_exercise_has_a_level_and_minutes():
    with pytest.raises(ValueError, match="level must be one of easy, medium, hard"):
        Exercise(reference=len, test=len, tested="", level="hardest", minutes=5)
    with pytest.raises(ValueError, match="minutes at least 1; received 'easy' and 0"):
        Exercise(reference=len, test=len, tested="", level="easy", minutes=0)


@pytest.mark.parametrize(
    ("found", "wanted", "said"),
    [
        (torch.ones(2), torch.ones(3), r"shape \(2,\), not \(3,\)"),
        (torch.ones(3), torch.ones(3, dtype=torch.bool), "type torch.float32, not"),
        (torch.ones(3) > 2, torch.ones(3) > 0, "3 of 3 are wrong"),
        (torch.ones(3), torch.zeros(3), "off by up to 1"),
        (torch.ones(3) * float("nan"), torch.ones(3), "NaN or infinite"),
        (float("nan"), 1.0, "got nan, not 1"),
        ([1], [1, 2], "got 1 values, not 2"),
        ((1, 3), (1, 2), "value 1: got 3, not 2"),
        ("no", "yes", "got 'no', not 'yes'"),
        (torch.ones(3), 1.0, "expected a number, got Tensor"),
        (False, True, "got False, not True"),
        (0.5, True, "got 0.5, not True"),
    ],
)
def test_what_differs_is_said(found, wanted, said):
    with pytest.raises(AssertionError, match=f"Asked: .*{said}"):
        expect(found, wanted, "Asked")
    expect(wanted, wanted, "Asked")


def test_a_mistake_is_named_only_where_it_differs_from_the_right_answer():
    mistakes = {"Right by chance.": 1.0, "Twice.": 2.0}
    with pytest.raises(AssertionError, match=r"Asked: got 2, not 1\. Twice\.$"):
        expect(2.0, 1.0, "Asked", mistakes)
    with pytest.raises(AssertionError, match=r"Asked: got 3, not 1\.$"):
        expect(3.0, 1.0, "Asked", mistakes)


# References that the package has no function for, against something that knows.


def test_overhead_agrees_with_the_counter():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
            self.up, self.down = nn.Linear(16, 40), nn.Linear(40, 16)

        def forward(self, tokens):
            q, k, v = self.qkv(tokens).chunk(3, -1)
            return self.down(self.up(self.out((q @ k.mT).softmax(-1) @ v)))

    def cost(tokens):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            Block()(torch.zeros(1, tokens, 16))
        return counter.get_total_flops()

    found = EXERCISES["overhead"].reference(12, 5, 16, 40)
    assert found == pytest.approx(cost(17) / cost(12) - 1)


def test_cells_of_rank_shares_as_a_sweep_does():
    def cell(attack, made_on, model):
        return Cell(
            model=model,
            threat_model="static",
            attack=attack,
            made_on=made_on,
            settings={},
        )

    cells = [
        cell(attack, made_on, model)
        for model in "ab"
        for attack in ("PGD", "drop", "CW")
        for made_on in "xy"
    ]
    jobs = [str(cell.job) for cell in cells]
    for rank in range(3):
        found = EXERCISES["cells_of_rank"].reference(jobs, rank, 3)
        shared = _share(cells, rank, 3)
        assert sorted(found) == sorted(cells.index(one) for one in shared)


def test_best_epoch_is_the_default_of_the_package():
    assert DistillConfig.paper().selection == "mean"


def test_bpda_by_hand_agrees_with_the_package():
    weights = torch.randn(3, 4, generator=generator(0))
    points = torch.randn(2, 15, 3, generator=generator(1))
    labels = torch.tensor([0, 2])

    def model(points):
        return points.square().mean(1) @ weights

    found = EXERCISES["bpda_gradient"].reference(model, SOR(), points, labels)
    output = BPDA(SOR())(points).requires_grad_(True)
    F.cross_entropy(model(output), labels, reduction="sum").backward()
    slow = torch.zeros_like(points)
    for b in range(2):
        for m in range(15):
            nearest = (points[b] - output[b, m]).norm(dim=1).argmin()
            slow[b, nearest] += output.grad[b, m]
    assert torch.allclose(found, slow, atol=1e-6)


def test_mcnemar_knows_textbook_numbers():
    def pair(only_first, only_second):
        first = [True] * only_first + [False] * only_second + [True] * 4
        second = [False] * only_first + [True] * only_second + [True] * 4
        return torch.tensor(first), torch.tensor(second)

    reference = EXERCISES["mcnemar"].reference
    assert reference(*pair(0, 5)) == pytest.approx(2 / 32)
    assert reference(*pair(8, 2)) == pytest.approx(2 * (1 + 10 + 45) / 1024)


def test_shape_ious_by_hand():
    labels = torch.tensor([[0, 0, 1, 1]])
    found = EXERCISES["shape_ious"].reference(
        torch.tensor([[0, 1, 1, 1]]), labels, [[0, 1, 2]]
    )
    assert found.item() == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
