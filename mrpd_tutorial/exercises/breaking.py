"""Exercises on breaking defenses: averaging over draws, going around, joint attacks."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mrpd_tutorial.attacks import BPDA
from mrpd_tutorial.defenses import SOR
from mrpd_tutorial.exercises.base import Attempt, Exercise, expect, unchanged
from mrpd_tutorial.runtime import generator

__all__ = ["EXERCISES", "bpda_gradient", "eot_gradient", "joint_loss"]

Model = Callable[[Tensor], Tensor]
Defense = Callable[[Tensor], Tensor]
RandomModel = Callable[[Tensor, int], Tensor]


def _gradient(model: Model, points: Tensor, labels: Tensor) -> Tensor:
    points = points.detach().requires_grad_(True)
    loss = F.cross_entropy(model(points), labels, reduction="sum")
    return torch.autograd.grad(loss, points)[0]


def eot_gradient(
    model: RandomModel, points: Tensor, labels: Tensor, seeds: Sequence[int]
) -> Tensor:
    """The gradient of a random model's mean cross-entropy over several draws.

    Args:
        model: `(points (B, N, 3), seed) -> logits (B, C)`.
        points: (B, N, 3).
        labels: (B,).
        seeds: one for each draw.

    Returns:
        (B, N, 3); each cloud's own, whatever else is in the batch.
    """
    gradients = [
        _gradient(lambda p, seed=seed: model(p, seed), points, labels) for seed in seeds
    ]
    return torch.stack(gradients).mean(0)


def _test_eot(attempt: Attempt) -> None:
    weights = torch.randn(3, 4, generator=generator(0))

    def model(points: Tensor, seed: int) -> Tensor:
        kept = torch.rand(points.shape[1], generator=generator(seed)) > 0.5
        return torch.tanh(points[:, kept]).mean(1) @ weights * 3

    points = torch.randn(3, 12, 3, generator=generator(1))
    labels = torch.tensor([0, 1, 3])
    seeds = [3, 8, 11, 20]
    before = points.clone()
    found = attempt(model, points, labels, seeds)
    unchanged(before, points, "The input clouds")
    wanted = eot_gradient(model, points, labels, seeds)
    first, last = (eot_gradient(model, points, labels, [s]) for s in (3, 20))
    expect(
        found,
        wanted,
        "A model that drops half of the points, four draws",
        {
            "That is the gradient of a single draw: points it dropped have none. "
            "Average over all seeds.": first,
            "Only the last draw is in it: add the gradients up.": last,
            "That is the sum over draws: divide by their number.": 4 * wanted,
            "The loss was averaged over the batch: a cloud's gradient must not depend "
            "on how many others there are. Sum over clouds.": wanted / 3,
            "That is the sign; the step is the attack's business.": wanted.sign(),
        },
        1e-5,
    )


def bpda_gradient(
    model: Model, defense: Defense, points: Tensor, labels: Tensor
) -> Tensor:
    """The gradient of the cross-entropy through a defense that has none (BPDA).

    Forward the defense as it is; backward each point that came out hands its gradient
    to the point that went in nearest to it. Points that were removed get none.

    Args:
        model: `points (B, M, 3) -> logits (B, C)`.
        defense: `points (B, N, 3) -> points (B, M, 3)`, without a gradient.
        points: (B, N, 3).
        labels: (B,).

    Returns:
        (B, N, 3); the loss is summed over clouds.
    """
    around = BPDA(defense)
    return _gradient(lambda p: model(around(p)), points, labels)


def _test_bpda(attempt: Attempt) -> None:
    weights = torch.randn(3, 4, generator=generator(2))

    def model(points: Tensor) -> Tensor:
        return torch.tanh(2 * points).mean(1) @ weights * 3

    def defense(points: Tensor) -> Tensor:
        return SOR(k=2)(points.detach())

    points = 0.5 * torch.randn(3, 20, 3, generator=generator(3))
    labels = torch.tensor([0, 1, 3])
    before = points.clone()
    found = attempt(model, defense, points, labels)
    unchanged(before, points, "The input clouds")
    wanted = bpda_gradient(model, defense, points, labels)
    removed = wanted.abs().sum(-1) == 0
    same_index = _gradient(model, defense(points), labels)
    kept_once = torch.where(removed[..., None], 0.0, _gradient(model, points, labels))
    expect(
        found,
        wanted,
        "Three clouds behind SOR",
        {
            "That is the gradient without the defense: the loss must be that of what "
            "comes out of it.": _gradient(model, points, labels),
            "What comes out is in another order than what goes in, and some points "
            "are repeated: hand each gradient to the nearest input point, not to the "
            "one of the same index.": same_index,
            "The defense was left out of the forward pass.": kept_once,
            "No gradient arrived: that is the masked gradient BPDA goes around.": (
                torch.zeros_like(wanted)
            ),
        },
        1e-5,
    )


def joint_loss(all_logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """What a joint attack raises: 0 where ALL models are wrong, below 0 elsewhere.

    Each model adds minus its margin (the true logit less the largest other) while it is
    right, and nothing once it is wrong: the attack turns to those that still hold.

    Args:
        all_logits: of each model (B, C).
        labels: (B,).

    Returns:
        (B,), at most 0.
    """
    total = torch.zeros(len(labels))
    for logits in all_logits:
        true = logits.gather(1, labels[:, None])[:, 0]
        others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        total = total - (true - others).clamp(min=0)
    return total


def _test_joint_loss(attempt: Attempt) -> None:
    first = torch.randn(30, 4, generator=generator(4))
    second = 3 * torch.randn(30, 4, generator=generator(5))
    labels = torch.randint(0, 4, (30,), generator=generator(6))

    def margin(logits: Tensor) -> Tensor:
        true = logits.gather(1, labels[:, None])[:, 0]
        return true - logits.scatter(1, labels[:, None], -torch.inf).amax(1)

    margins = torch.stack([margin(first), margin(second)])
    entropies = [F.cross_entropy(x, labels, reduction="none") for x in (first, second)]
    expect(
        attempt([first, second], labels),
        joint_loss([first, second], labels),
        "30 clouds, two models",
        {
            "A model that is wrong already must add nothing: without the clamp an "
            "attack goes on with the easy one and leaves the other.": -margins.sum(0),
            "That loss is 0 as soon as ONE model is wrong: a joint attack must mislead "
            "all of them.": -margins.amin(0).clamp(min=0),
            "The sign is the other way round: the attack raises the loss, and 0 is its "
            "goal.": margins.clamp(min=0).sum(0),
            "Cross-entropy has no end: a model that is wrong already can be made more "
            "so for ever. Use the margin, clamped at 0.": entropies[0] + entropies[1],
            "Give one number for each cloud, not their sum.": joint_loss(
                [first, second], labels
            ).sum(),
        },
    )
    logits = first.clone().requires_grad_(True)
    found = attempt([logits, second], labels)
    assert found.requires_grad, "The loss has no gradient: an attack needs one."
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    fooled = margin(first) < 0
    assert not bool(gradient[fooled].any()), (
        "A model that is wrong already still gets a gradient: clamp its margin at 0."
    )
    assert bool(gradient[~fooled].any(1).all()), (
        "A model that is right gets no gradient: is its margin on the graph?"
    )


EXERCISES = {
    "eot_gradient": Exercise(
        reference=eot_gradient,
        test=_test_eot,
        tested="Four draws of a random model, averaged, each cloud by itself.",
        level="medium",
        minutes=10,
    ),
    "bpda_gradient": Exercise(
        reference=bpda_gradient,
        test=_test_bpda,
        tested="Behind SOR the kept points have the package's gradient, removed none.",
        level="hard",
        minutes=25,
    ),
    "joint_loss": Exercise(
        reference=joint_loss,
        test=_test_joint_loss,
        tested="30 clouds and two models, and no gradient for the one that is wrong.",
        level="research",
        minutes=25,
    ),
}
