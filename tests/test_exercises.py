"""Every check accepts its reference and rejects two planted wrong answers."""

import math
import re

import pytest
import torch
from torch.nn import functional as F

from mrpd_tutorial import exercises, exercises_attacks
from mrpd_tutorial.exercises import EXERCISES
from mrpd_tutorial.gates import confidence_gate, released_gate


def half_contrastive(student, reference, temperature):
    similarity = student @ reference.T / temperature
    return F.cross_entropy(similarity, torch.arange(len(student)))


def no_temperature(student, reference, temperature):
    return exercises.contrastive_loss(student, reference, 1.0)


def cube(clean, moved, eps):
    return clean + (moved - clean).clamp(-eps, eps)


def surface(clean, moved, eps):
    return clean + eps * F.normalize(moved - clean, dim=-1)


def descend(model, points, labels, eps):
    return 2 * points - exercises.one_step(model, points, labels, eps)


def in_place(model, points, labels, eps):
    points += exercises.one_step(model, points, labels, eps) - points
    return points


def ball_around_here(model, points, clean, labels, step_size, eps):
    return exercises_attacks.ifgm_step(model, points, points, labels, step_size, eps)


def downhill(model, points, clean, labels, step_size, eps):
    return 2 * points - exercises_attacks.ifgm_step(
        model, points, clean, labels, step_size, eps
    )


def only_centred(clean, attacked):
    left = attacked - attacked.mean(1, keepdim=True) - clean
    return 1 - left.flatten(1).norm(dim=1) / (attacked - clean).flatten(1).norm(dim=1)


def any_flag(verdicts):
    return [name for name, v in verdicts.items() if any(f.fired for f in v.values())]


def not_cleared(verdicts):
    return [
        name
        for name, v in verdicts.items()
        if any(flag.fired is not False for flag in v.values())
    ]


WRONG = {
    "normalise": (
        lambda points: points / points.norm(dim=1).max(),
        lambda points: (points - points.mean(0)) / points.std(),
    ),
    "turn_about_y": (
        lambda points, angle: exercises.turn_about_y(points, -angle),
        lambda points, angle: points,
    ),
    "changed_share": (
        lambda before, after, threshold: float((after - before > threshold).mean(0)),
        lambda before, after, threshold: float((after - before).abs().mean()),
    ),
    "gate": (
        lambda features, texts, labels, k: released_gate(features, texts, labels),
        lambda features, texts, labels, k: confidence_gate(features, texts, labels, 1),
    ),
    "contrastive_loss": (half_contrastive, no_temperature),
    "best_log_variance": (
        lambda loss, floor: math.log(loss),
        lambda loss, floor: max(loss, floor),
    ),
    "attack_success_rate": (
        lambda before, after: 1 - float(after.float().mean()),
        lambda before, after: float((before & ~after).float().mean()),
    ),
    "into_ball": (cube, surface),
    "one_step": (descend, in_place),
    "ifgm_step": (ball_around_here, downhill),
    "undone": (only_centred, lambda clean, attacked: clean.new_ones(len(clean))),
    "masked_victims": (any_flag, not_cleared),
}


@pytest.mark.parametrize("name", EXERCISES)
def test_the_reference_passes_and_wrong_answers_do_not(name, capsys):
    reference = EXERCISES[name].reference
    assert exercises.check(name, reference) is reference
    assert EXERCISES[name].tested in capsys.readouterr().out
    assert len(WRONG[name]) == 2
    for wrong in WRONG[name]:
        assert exercises.check(name, wrong) is reference
        said = capsys.readouterr().out
        assert "passed" not in said and "Going on with the reference" in said


def test_an_untouched_stub_is_not_an_error(capsys):
    def stub(points):
        raise NotImplementedError

    found = exercises.check("normalise", stub)
    assert found is EXERCISES["normalise"].reference
    assert "not attempted" in capsys.readouterr().out


def test_a_typo_does_not_stop_the_notebook(capsys):
    exercises.check("normalise", lambda points: points.no_such_thing)
    assert "stopped with AttributeError" in capsys.readouterr().out


def test_an_unknown_exercise_is_named():
    with pytest.raises(ValueError, match="name must be one of 'normalise'"):
        exercises.check("fly", print)


@pytest.mark.parametrize(
    ("name", "wrong", "why"),
    [
        ("ifgm_step", ball_around_here, "the ball is around the clean cloud"),
        ("ifgm_step", downhill, "an attack climbs it"),
        ("undone", only_centred, "a cloud made larger normalising takes away 1.00"),
        ("masked_victims", any_flag, "C is not masked: fired there: random model"),
        ("masked_victims", lambda verdicts: [], "B: its gradient is masked"),
        ("masked_victims", lambda verdicts: ["D"], "'D' is no victim"),
        ("undone", lambda clean, attacked: 1.0, "Expected a tensor, got float"),
        ("undone", lambda clean, attacked: clean, "not \\(3,\\)"),
    ],
)
def test_attack_exercises_name_what_is_wrong(name, wrong, why, capsys):
    exercises.check(name, wrong)
    assert re.search(why, capsys.readouterr().out)
