"""Curves, matrices and costs against victims whose answers are known."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from victims import CentroidLinear, TinyPointNet, labelled

from mrpd_tutorial.attacks import (
    FGM,
    PGD,
    CWPerturb,
    PointAutoAttack,
    RandomDrop,
    Transfer,
)
from mrpd_tutorial.evaluate_costs import attack_costs, cost_table
from mrpd_tutorial.evaluate_curves import robustness_curve, transfer_matrix
from mrpd_tutorial.metrics import wilson_interval

LINEAR = CentroidLinear().eval()
POINTS, LABELS = labelled(LINEAR)
# On a linear model one step is the best attack: accuracy has a closed form.
ATTACK = FGM(eps=0.1, norm="per_point")


class Opposite(nn.Module):
    """Answers with another model's logits, negated."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, points):
        return -self.model(points)


class Blind(nn.Module):
    """Answers the same whatever it is shown, with no way back to the points."""

    def forward(self, points):
        return torch.eye(4)[0].repeat(len(points), 1)


def test_a_curve_is_the_share_of_clouds_whose_minimal_budget_is_larger():
    eps = [0.4, 0.05, 0.1, 0.2]
    rows = robustness_curve(LINEAR, POINTS, LABELS, ATTACK, eps)
    assert [row.eps for row in rows] == [None, 0.05, 0.1, 0.2, 0.4]
    assert [row.threat_model for row in rows] == ["clean"] + 4 * ["adaptive"]
    # The cross-entropy's gradient leads to the nearest class only where there are two.
    needed = LINEAR.minimal_eps(POINTS, LABELS, "per_point")
    for row in rows[1:]:
        assert row.accuracy >= float((needed > row.eps).double().mean())
        assert (row.low, row.high) == wilson_interval(row.correct, row.n)
        assert row.attack == "FGM" and row.norm == "per_point" and row.n == 24
    two = CentroidLinear(num_classes=2).eval()
    points, labels = labelled(two)
    needed = two.minimal_eps(points, labels, "per_point")
    for row in robustness_curve({"two": two}, points, labels, ATTACK, eps)[1:]:
        assert row.model == "two"
        assert row.correct == int((needed > row.eps).sum())
    assert rows[0].accuracy == 1.0 > rows[-1].accuracy


def test_each_model_has_its_clean_row_first_and_budgets_are_not_repeated():
    models = {"b": TinyPointNet().eval(), "a": LINEAR}
    rows = robustness_curve(models, POINTS, LABELS, ATTACK, [0.1, 0, 0.1, 0.05])
    assert [(row.model, row.eps) for row in rows] == [
        (name, eps) for name in ("b", "a") for eps in (None, 0.05, 0.1)
    ]


def test_a_static_curve_shows_one_models_clouds_to_all():
    models = {"linear": LINEAR, "opposite": Opposite(LINEAR).eval()}
    rows = robustness_curve(models, POINTS, LABELS, ATTACK, [0.2], made_on="linear")
    attacked = [row for row in rows if row.threat_model == "static"]
    assert [row.made_on for row in attacked] == ["linear", "linear"]
    adaptive = robustness_curve(LINEAR, POINTS, LABELS, ATTACK, [0.2])[1]
    assert attacked[0].correct == adaptive.correct
    # The opposite names wrongly whatever the linear model names rightly.
    assert attacked[1].correct <= 24 - attacked[0].correct


def test_counts_are_budgets_too():
    rows = robustness_curve(LINEAR, POINTS, LABELS, RandomDrop(eps=1), [2, 8])
    assert [(row.norm, row.eps) for row in rows[1:]] == [("count", 2), ("count", 8)]


@pytest.mark.parametrize(
    ("attack", "eps", "message"),
    [
        (ATTACK, [], "at least one budget above 0"),
        (ATTACK, [0.0], "at least one budget above 0"),
        (ATTACK, [0.1, -0.1], "finite ones only; received"),
        (ATTACK, [math.inf], "finite ones only"),
        (ATTACK, [math.nan], "finite ones only"),
        (ATTACK, 0.1, "eps must be a list of budgets"),
        (ATTACK, ["far"], "eps must be a list of budgets"),
        (CWPerturb.quick(), [0.1], "CWPerturb looks for a small change by itself"),
        (RandomDrop(eps=1), [1.5], "take each of these budgets.*whole number"),
        (Transfer(attack=ATTACK, surrogate=LINEAR), [0.1], "take each of these"),
        ("PGD", [0.1], "attack must be one attack.*received str"),
        ({"PGD": ATTACK}, [0.1], "attack must be one attack.*received dict"),
    ],
)
def test_curves_without_sense_are_refused(attack, eps, message):
    with pytest.raises(ValueError, match=message):
        robustness_curve(LINEAR, POINTS, LABELS, attack, eps)


def test_what_evaluate_refuses_is_refused():
    with pytest.raises(ValueError, match="models must map"):
        robustness_curve({}, POINTS, LABELS, ATTACK, [0.1])
    with pytest.raises(ValueError, match="undefended must be one of"):
        robustness_curve({"a": LINEAR}, POINTS, LABELS, ATTACK, [0.1], made_on="b")


def test_a_matrix_is_adaptive_on_its_diagonal_and_transfer_beside_it():
    models = {
        "linear": LINEAR,
        "opposite": Opposite(LINEAR).eval(),
        "blind": Blind().eval(),
    }
    rows = transfer_matrix(
        models, POINTS, LABELS, ATTACK, made_on=["linear", "opposite"]
    )
    cells = {(row.made_on, row.model): row for row in rows}
    assert len(rows) == len(cells) == 3 + 2 * 3
    for (source, model), row in cells.items():
        kind = "adaptive" if source == model else "transfer" if source else "clean"
        assert row.threat_model == kind
    with torch.no_grad():
        made = ATTACK(LINEAR, POINTS, LABELS).points
        shown = Opposite(LINEAR)(made).argmax(1) == LABELS
    assert cells["linear", "opposite"].correct == int(shown.sum())
    alone = robustness_curve(LINEAR, POINTS, LABELS, ATTACK, [0.1])[1]
    assert cells["linear", "linear"].correct == alone.correct
    # Who does not look cannot be fooled.
    assert cells["linear", "blind"].correct == int((LABELS == 0).sum())


@pytest.mark.parametrize(
    ("names", "message"),
    [(["a", "c"], r"\['a', 'b'\]; received \['c'\]"), ([], "received none")],
)
def test_sources_that_are_not_there_are_named(names, message):
    models = {"a": LINEAR, "b": LINEAR}
    with pytest.raises(ValueError, match=message):
        transfer_matrix(models, POINTS, LABELS, ATTACK, made_on=names)


def test_a_matrix_needs_one_attack_and_a_gradient_where_it_is_made():
    models = {"a": LINEAR, "blind": Blind().eval()}
    with pytest.raises(ValueError, match="attack must be one attack"):
        transfer_matrix(models, POINTS, LABELS, {"FGM": ATTACK})
    with pytest.raises(ValueError, match="model must be differentiable"):
        transfer_matrix(models, POINTS, LABELS, ATTACK)


def test_costs_count_what_was_right_before_and_is_misled():
    labels = LABELS.clone()
    labels[:4] = (labels[:4] + 1) % 4  # wrong before any attack
    attacks = {
        "FGM": FGM(eps=0.3, norm="per_point"),
        "CW": CWPerturb.quick(steps=5, search_steps=1),
        "drop": RandomDrop(eps=4),
    }
    rows, results = attack_costs(LINEAR, POINTS, labels, attacks)
    assert [row.attack for row in rows] == list(results) == list(attacks)
    fgm, cw, drop = rows
    result = results["FGM"]
    misled = result.success & result.correct_before
    assert (fgm.n, fgm.before, fgm.misled) == (24, 20, int(misled.sum()))
    assert fgm.success_rate == result.attack_success_rate > 0
    assert (fgm.low, fgm.high) == wilson_interval(fgm.misled, 20)
    assert fgm.l2 == pytest.approx(float(result.l2[misled].mean()), rel=1e-5)
    assert fgm.per_point_max == pytest.approx(0.3, rel=1e-4)
    assert fgm.queries == float(result.queries.double().mean()) and fgm.seconds > 0
    assert (cw.norm, cw.eps) == ("none", None)
    assert drop.l2 is None and (drop.norm, drop.eps) == ("count", 4)
    again = attack_costs(LINEAR, POINTS, labels, attacks)[0]
    for one, other in zip(rows, again, strict=True):
        assert dataclasses.replace(one, seconds=0.0) == dataclasses.replace(
            other, seconds=0.0
        )


def test_an_ensemble_counts_what_any_member_misled():
    attack = PointAutoAttack(eps=0.05, steps=2, max_queries=4)
    rows, results = attack_costs(LINEAR, POINTS, LABELS, attack)
    assert rows[0].attack == "PointAutoAttack"
    assert rows[0].misled == int(results["PointAutoAttack"].worst_case.sum())


def test_where_no_cloud_was_right_there_is_no_rate():
    rows, _ = attack_costs(LINEAR, POINTS, (LABELS + 1) % 4, {"FGM": ATTACK})
    assert rows[0].before == 0 and rows[0].success_rate is None
    assert "0 of 0" in cost_table(rows)


def test_the_table_names_budgets_and_the_price():
    attacks = {
        "PGD": PGD(eps=0.1, norm="l2", steps=2),
        "own": FGM(eps=[0.1] * 24, norm="linf"),
        "CW": CWPerturb.quick(steps=2, search_steps=1),
        "drop": RandomDrop(eps=4),
    }
    rows, _ = attack_costs(LINEAR, POINTS, LABELS, attacks)
    lines = cost_table(rows).splitlines()
    assert len({len(line) for line in lines}) == 1, "aligned"
    assert "× PGD" in lines[0] and lines[2].split("|")[-2].strip() == "1.0"
    words = ("l2 0.1", "linf per cloud", "no bound", "4 points")
    for line, word in zip(lines[2:], words, strict=True):
        assert word in line
    assert "×" not in cost_table(rows, reference="not there")
    assert "×" not in cost_table(rows, reference=None)


def test_costs_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one attack"):
        attack_costs(LINEAR, POINTS, LABELS, {})
    with pytest.raises(ValueError, match="rows is empty"):
        cost_table([])
