"""Exercises of the notebooks: a reference and a check for each.

In a notebook, `attempt = exercises.check("normalise", attempt)` says what it tested
and hands back a function to go on with: the attempt if it is right, else the reference.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mrpd_tutorial import exercises_attacks, gates, geometry, losses, metrics
from mrpd_tutorial.checks import check_choice
from mrpd_tutorial.runtime import generator

__all__ = ["EXERCISES", "Exercise", "check"]


@dataclass(frozen=True)
class Exercise:
    """What an exercise asks for, and how an attempt is judged.

    Args:
        reference: a right answer.
        test: takes an attempt; raises AssertionError, saying what is wrong.
        tested: what passing means, in one sentence.
    """

    reference: Callable[..., Any]
    test: Callable[[Callable[..., Any]], None]
    tested: str


def check(name: str, attempt: Callable[..., Any]) -> Callable[..., Any]:
    """Judge an attempt, say so, and hand back a function to go on with.

    Args:
        name: of the exercise, one of EXERCISES.
        attempt: the reader's function; an untouched stub raises NotImplementedError.

    Returns:
        The attempt if it passes, else the reference.

    Raises:
        ValueError: if there is no such exercise.
    """
    check_choice("name", name, tuple(EXERCISES))
    exercise = EXERCISES[name]
    try:
        exercise.test(attempt)
    except NotImplementedError:
        print(f"{name}: not attempted. Going on with the reference.")
    except AssertionError as fault:
        print(f"{name}: not yet. {fault}\nGoing on with the reference.")
    except Exception as error:  # a typo must not stop the notebook
        print(
            f"{name}: stopped with {type(error).__name__}: {error}\n"
            "Going on with the reference."
        )
    else:
        print(f"{name}: passed. {exercise.tested}")
        return attempt
    return exercise.reference


def _same(found: object, wanted: Tensor, what: str, tolerance: float = 1e-4) -> None:
    shape = tuple(wanted.shape)
    assert isinstance(found, Tensor), f"{what}: expected a tensor, got {type(found)}."
    assert found.shape == shape, f"{what}: shape {tuple(found.shape)}, not {shape}."
    distance = float((found.double() - wanted.double()).abs().max())
    assert distance <= tolerance, f"{what}: off by {distance:.2g} at most."


def _number(found: object, wanted: float, what: str, tolerance: float = 1e-4) -> None:
    value = float(found)  # type: ignore[arg-type]
    assert abs(value - wanted) <= tolerance, f"{what}: {value:.4g}, not {wanted:.4g}."


# ------------------------------------------------------------ 01: clouds, depth maps


def _test_normalise(attempt: Callable[..., Any]) -> None:
    points = torch.rand(50, 3, generator=generator(0)) * 7 + 3
    before = points.clone()
    found = attempt(points)
    assert torch.equal(points, before), "The input cloud was changed."
    _same(found, geometry.normalise(points[None])[0], "A random cloud")
    _number(found.mean(0).abs().max(), 0.0, "Distance of the centroid from 0")
    _number(found.norm(dim=1).max(), 1.0, "Largest radius")


def turn_about_y(points: Tensor, angle: float) -> Tensor:
    """Turn a cloud (N, 3) about the upward axis; a quarter turn takes +z to +x."""
    cos, sin = math.cos(angle), math.sin(angle)
    x, y, z = points.unbind(-1)
    return torch.stack([cos * x + sin * z, y, -sin * x + cos * z], -1)


def _test_turn(attempt: Callable[..., Any]) -> None:
    front = torch.tensor([[0.0, 0.5, 1.0]])
    right = torch.tensor([[1.0, 0.5, 0.0]])
    _same(attempt(front, math.pi / 2), right, "A quarter turn of the front, +z")
    cloud = torch.rand(50, 3, generator=generator(1)) - 0.5
    _same(attempt(cloud, 0.0), cloud, "A turn by nothing")
    turned = attempt(cloud, 0.7)
    _same(turned[:, 1], cloud[:, 1], "Heights after a turn")
    _same(turned, turn_about_y(cloud, 0.7), "A turn by 0.7")


def changed_share(before: Tensor, after: Tensor, threshold: float) -> float:
    """The share of pixels of two sets of depth maps that differ by over a threshold."""
    return float(((after - before).abs() > threshold).double().mean())


def _test_changed_share(attempt: Callable[..., Any]) -> None:
    before = torch.ones(2, 10, 10)
    after = before.clone()
    after[0, 0] = 0.5  # 10 of 200 pixels, darker by 0.5
    after[1, 0, 0] = 0.95  # one more, by 0.05
    _number(attempt(before, after, 0.1), 10 / 200, "Ten pixels of 200, over 0.1")
    _number(attempt(after, before, 0.1), 10 / 200, "The same, brighter")
    _number(attempt(before, after, 0.01), 11 / 200, "Eleven pixels, over 0.01")


# --------------------------------------------------------------- 02: distillation


def _unit_rows(rows: int, dim: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, dim, generator=generator(seed)), dim=1)


def _test_gate(attempt: Callable[..., Any]) -> None:
    texts, features = _unit_rows(7, 16, 0), _unit_rows(40, 16, 1)
    labels = torch.randint(0, 7, (40,), generator=generator(2))
    for k in (1, 3, 7):
        found = attempt(features, texts, labels, k)
        wanted = gates.confidence_gate(features, texts, labels, k)
        assert found.dtype == torch.bool, "The gate must be of type bool."
        assert found.shape == (40,), f"Shape {tuple(found.shape)}, not (40,)."
        wrong = int((found != wanted).sum())
        assert wrong == 0, f"k = {k}: {wrong} of 40 clouds are gated wrongly."


def contrastive_loss(
    student_features: Tensor, reference_features: Tensor, temperature: float
) -> Tensor:
    """Eq. 7 where every row passes the gate."""
    everyone = torch.ones(len(student_features), dtype=torch.bool)
    return losses.gated_contrastive_loss(
        student_features, reference_features, everyone, temperature
    )


def _test_contrastive(attempt: Callable[..., Any]) -> None:
    student, reference = _unit_rows(12, 16, 3), _unit_rows(12, 16, 4)
    for temperature in (0.07, 1.0):
        wanted = float(contrastive_loss(student, reference, temperature))
        found = attempt(student, reference, temperature)
        _number(found, wanted, f"Random features, temperature {temperature}")
    same = float(attempt(reference, reference, 0.07))
    assert same < wanted, "Features equal to their references must cost less."


def best_log_variance(loss: float, floor: float) -> float:
    """The λ that makes exp(-λ) loss + λ least, not below the floor."""
    return max(math.log(loss), floor)


def _test_best_log_variance(attempt: Callable[..., Any]) -> None:
    for loss in (0.05, 0.5, 1.0, 4.0):
        grid = torch.linspace(-1, 3, 40001, dtype=torch.float64)
        wanted = grid[(torch.exp(-grid) * loss + grid).argmin()]
        _number(attempt(loss, -1.0), float(wanted), f"A loss of {loss}", 2e-4)


# ------------------------------------------------------------------- 03: robustness


def _test_success_rate(attempt: Callable[..., Any]) -> None:
    before = torch.tensor([True, True, True, True, False, False])
    after = torch.tensor([True, False, False, False, False, True])
    wanted = metrics.attack_success_rate(before, after)
    _number(attempt(before, after), wanted, "Four right before, three of them misled")


def into_ball(clean: Tensor, moved: Tensor, eps: float) -> Tensor:
    """Put each point (B, N, 3) back within eps of its clean place."""
    displacement = moved - clean
    length = displacement.norm(dim=-1, keepdim=True)
    return clean + displacement * (eps / length.clamp(min=eps))


def _test_into_ball(attempt: Callable[..., Any]) -> None:
    clean = torch.rand(2, 30, 3, generator=generator(5))
    step = torch.randn(2, 30, 3, generator=generator(6)) * 0.05
    found = attempt(clean, clean + step, 0.05)
    length = (found - clean).norm(dim=-1)
    assert float(length.max()) <= 0.05 + 1e-5, "A point left its ball."
    inside = step.norm(dim=-1) <= 0.05
    _same(found[inside], (clean + step)[inside], "Points that were inside")
    _same(found, into_ball(clean, clean + step, 0.05), "Points on the way back")
    _same(attempt(clean, clean, 0.05), clean, "Points that did not move")


def one_step(
    model: Callable[[Tensor], Tensor], points: Tensor, labels: Tensor, eps: float
) -> Tensor:
    """Move each point by eps along the gradient of the model's cross-entropy."""
    points = points.detach().requires_grad_(True)
    loss = F.cross_entropy(model(points), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, points)
    direction = gradient / gradient.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return (points + eps * direction).detach()


def _test_one_step(attempt: Callable[..., Any]) -> None:
    # Class 0 where x is large, class 1 where it is small: the attack is a shift in x.
    def model(points: Tensor) -> Tensor:
        x = points[..., 0].mean(1)
        return torch.stack([x, -x], 1) * 10

    points = torch.rand(4, 20, 3, generator=generator(7)) * 0.1
    before = points.clone()
    labels = torch.tensor([0, 0, 1, 1])
    found = attempt(model, points, labels, 0.2)
    assert torch.equal(points, before), "The input clouds were changed."
    shift = torch.zeros(4, 1, 3)
    shift[:2, :, 0], shift[2:, :, 0] = -0.2, 0.2
    _same(found, points + shift, "A model with a known answer")
    assert not found.requires_grad, "Detach the result: it is data from now on."


EXERCISES = {
    "normalise": Exercise(
        lambda points: geometry.normalise(points[None])[0],
        _test_normalise,
        "A random cloud came back with centroid 0 and largest radius 1.",
    ),
    "turn_about_y": Exercise(
        turn_about_y, _test_turn, "Turns keep heights, and a quarter takes +z to +x."
    ),
    "changed_share": Exercise(
        changed_share, _test_changed_share, "Known changes of known maps were counted."
    ),
    "gate": Exercise(
        gates.confidence_gate,
        _test_gate,
        "40 random clouds and 7 classes gate as in the package, for k of 1, 3, 7.",
    ),
    "contrastive_loss": Exercise(
        contrastive_loss,
        _test_contrastive,
        "Random features cost what the package says, at two temperatures.",
    ),
    "best_log_variance": Exercise(
        best_log_variance,
        _test_best_log_variance,
        "Four losses gave the λ that a fine grid finds best.",
    ),
    "attack_success_rate": Exercise(
        metrics.attack_success_rate,
        _test_success_rate,
        "Clouds that were wrong before the attack do not count.",
    ),
    "into_ball": Exercise(
        into_ball, _test_into_ball, "Points stay within eps, those inside stay put."
    ),
    "one_step": Exercise(
        one_step,
        _test_one_step,
        "On a linear model each point moves eps the right way.",
    ),
    "ifgm_step": Exercise(
        exercises_attacks.ifgm_step,
        exercises_attacks.check_ifgm_step,
        "Steps climb, from the clean cloud and at the rim, and stay within eps of it.",
    ),
    "undone": Exercise(
        exercises_attacks.undone,
        exercises_attacks.check_undone,
        "Shifts and scalings are undone wholly, random displacements in part.",
    ),
    "masked_victims": Exercise(
        exercises_attacks.masked_victims,
        exercises_attacks.check_masked_victims,
        "Of an honest, a rounded and a random victim the masked one was named.",
    ),
}
"""Name of an exercise -> what it asks for and how it is judged."""
