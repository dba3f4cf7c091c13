"""Exercises on the losses: Eq. 7, where a weight settles, and their sum, Eq. 8."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mrpd_tutorial import losses
from mrpd_tutorial.exercises.base import Attempt, Exercise, expect
from mrpd_tutorial.runtime import generator

__all__ = ["EXERCISES", "best_log_variance", "contrastive_loss", "total_loss"]


def contrastive_loss(
    student_features: Tensor, reference_features: Tensor, temperature: float
) -> Tensor:
    """Eq. 7 where every row passes the gate.

    Args:
        student_features: (B, D), unit norm.
        reference_features: (B, D), unit norm, row i belonging to sample i.
        temperature: above 0.
    """
    everyone = torch.ones(len(student_features), dtype=torch.bool)
    return losses.gated_contrastive_loss(
        student_features, reference_features, everyone, temperature
    )


def _test_contrastive(attempt: Attempt) -> None:
    student, reference = (
        F.normalize(torch.randn(12, 16, generator=generator(seed)), dim=1)
        for seed in (3, 4)
    )
    target = torch.arange(12)
    for temperature in (0.07, 1.0):
        similarity = student @ reference.T / temperature
        right = contrastive_loss(student, reference, temperature)
        expect(
            attempt(student, reference, temperature),
            float(right),
            f"Random features, temperature {temperature}",
            {
                "Only the rows were compared: the loss is the mean over rows and "
                "columns, student to teacher and back.": float(
                    F.cross_entropy(similarity, target)
                ),
                "Only the columns were compared: the rows count as well.": float(
                    F.cross_entropy(similarity.T, target)
                ),
                "The temperature is missing: divide the cosines by it.": float(
                    contrastive_loss(student, reference, 1.0)
                ),
                "The temperature divides the cosines; you multiplied.": float(
                    contrastive_loss(student, reference, 1 / temperature)
                ),
                "That is the sum of both cross-entropies: take their mean.": 2
                * float(right),
            },
        )
    same = attempt(reference, reference, 0.07)
    wanted = float(contrastive_loss(reference, reference, 0.07))
    expect(same, wanted, "Features equal to their references")


def best_log_variance(loss: float, floor: float) -> float:
    """The λ that makes exp(-λ) loss + λ least, not below the floor."""
    return max(math.log(loss), floor)


def _test_best_log_variance(attempt: Attempt) -> None:
    for loss in (0.05, 0.5, 1.0, 4.0):
        grid = torch.linspace(-1, 3, 40001, dtype=torch.float64)
        wanted = float(grid[(torch.exp(-grid) * loss + grid).argmin()])
        expect(
            attempt(loss, -1.0),
            wanted,
            f"A loss of {loss}, floor -1",
            {
                "That is below the floor.": math.log(loss),
                "That is the loss itself. Set the derivative with respect to λ to "
                "zero: 1 - exp(-λ) loss = 0.": max(loss, -1.0),
                "That is the weight exp(-λ), not λ.": 1 / loss,
                "The sign is the wrong one: a large loss wants a small weight, so a "
                "large λ.": max(-math.log(loss), -1.0),
            },
            2e-4,
        )


def total_loss(losses: Tensor, log_variances: Tensor, floor: float) -> Tensor:
    """Eq. 8: Σ exp(-λ) L + λ, no λ below the floor.

    Args:
        losses: (K,).
        log_variances: (K,) λ, learned.
        floor: no λ counts as less than this.

    Returns:
        Scalar, part of the graph of both.
    """
    bounded = log_variances.clamp(min=floor)
    return (torch.exp(-bounded) * losses + bounded).sum()


def _test_total_loss(attempt: Attempt) -> None:
    values = torch.tensor([2.0, 0.5, 1.0])
    weights = losses.UncertaintyWeights(["image", "point", "text"], floor=-1.0)
    for log_variances in ([0.0, 0.0, 0.0], [0.5, -0.7, 0.2], [0.3, -4.0, 0.1]):
        raw = torch.tensor(log_variances)
        with torch.no_grad():
            weights.log_variances.copy_(raw)
            named = dict(zip(weights.names, values, strict=True))
            wanted = float(weights(named))
        bounded = raw.clamp(min=-1.0)
        weighted = torch.exp(-bounded) * values
        expect(
            attempt(values, raw.clone(), -1.0),
            wanted,
            f"Losses 2, 0.5 and 1 with λ = {log_variances}, floor -1",
            {
                "The term + λ is missing: without it the cheapest λ is infinite, and "
                "nothing is learned.": float(weighted.sum()),
                "A λ below the floor must count as the floor: a teacher's weight grew "
                "without bound.": float((torch.exp(-raw) * values + raw).sum()),
                "The weight is exp(-λ): a large λ means an unsure teacher, who counts "
                "less.": float((torch.exp(bounded) * values + bounded).sum()),
                "That is the mean; Eq. 8 has the sum.": wanted / 3,
                "Only the λ in the weight was bounded; the one that is added must be, "
                "too.": float((weighted + raw).sum()),
            },
        )
    own, lambdas = values.clone().requires_grad_(), torch.zeros(3, requires_grad=True)
    total = attempt(own, lambdas, -1.0)
    assert isinstance(total, Tensor) and total.requires_grad, (
        "The result is cut off from the graph: λ is learned and the losses train the "
        "prompts, so use tensors all the way, no float() and no .item()."
    )
    to_losses, to_lambdas = torch.autograd.grad(
        total, (own, lambdas), allow_unused=True, materialize_grads=True
    )
    expect(to_losses, torch.ones(3), "Gradient for the losses at λ = 0")
    expect(to_lambdas, 1 - values, "Gradient for λ at 0, which is 1 - L")


EXERCISES = {
    "contrastive_loss": Exercise(
        reference=contrastive_loss,
        test=_test_contrastive,
        tested="Random features cost what the package says, at two temperatures.",
        level="medium",
        minutes=15,
    ),
    "best_log_variance": Exercise(
        reference=best_log_variance,
        test=_test_best_log_variance,
        tested="Four losses gave the λ that a fine grid finds best.",
        level="hard",
        minutes=10,
    ),
    "total_loss": Exercise(
        reference=total_loss,
        test=_test_total_loss,
        tested="Three sets of λ, one below the floor, and the gradients of both.",
        level="medium",
        minutes=10,
    ),
}
