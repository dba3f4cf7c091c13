"""Exercises on fooling a cloud: the ball, one step, many steps, what is undone."""

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from mrpd_tutorial import geometry
from mrpd_tutorial.attacks import PGD, SquareAttack, Verdict, reliability_flags
from mrpd_tutorial.exercises.base import Attempt, Exercise, expect, unchanged
from mrpd_tutorial.runtime import generator

__all__ = [
    "EXERCISES",
    "ifgm_step",
    "into_ball",
    "masked_victims",
    "one_step",
    "undone",
]

Model = Callable[[Tensor], Tensor]


# Where class 0 is for `_aslant`; not along an axis, so that the sign of the gradient is
# another direction than the gradient.
_WAY = torch.tensor([1.0, 1.0, 0.0]) / 2**0.5


def _aslant(points: Tensor) -> Tensor:
    """Class 0 where x + y is large, class 1 where it is small."""
    where = (points @ _WAY).mean(1)
    return torch.stack([where, -where], 1) * 10


def into_ball(clean: Tensor, moved: Tensor, eps: float) -> Tensor:
    """Put each point (B, N, 3) back within eps of its clean place."""
    displacement = moved - clean
    length = displacement.norm(dim=-1, keepdim=True)
    return clean + displacement * (eps / length.clamp(min=eps))


def _test_into_ball(attempt: Attempt) -> None:
    clean = torch.rand(2, 30, 3, generator=generator(5))
    step = torch.randn(2, 30, 3, generator=generator(6)) * 0.05
    before = clean.clone()
    found = attempt(clean, clean + step, 0.05)
    unchanged(before, clean, "The clean cloud")
    whole = step * (0.05 / step.flatten(1).norm(dim=1).clamp(min=0.05))[:, None, None]
    expect(
        found,
        into_ball(clean, clean + step, 0.05),
        "60 displaced points, eps 0.05",
        {
            "Points that were inside their ball were moved to its surface; leave them "
            "alone.": clean + 0.05 * F.normalize(step, dim=-1),
            "Coordinates were cut one by one: that is a cube, and its corners are "
            "farther than eps away. Use the length of a point's displacement.": clean
            + step.clamp(-0.05, 0.05),
            "The whole cloud was bounded as one vector (L2). Here each point has a "
            "ball of its own.": clean + whole,
            "Points are still farther than eps away.": clean + step,
        },
    )
    expect(attempt(clean, clean.clone(), 0.05), clean, "Points that did not move")


def one_step(model: Model, points: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Move each point by eps along the gradient of the model's cross-entropy."""
    points = points.detach().requires_grad_(True)
    loss = F.cross_entropy(model(points), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, points)
    direction = gradient / gradient.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return (points + eps * direction).detach()


def _test_one_step(attempt: Attempt) -> None:
    points = torch.rand(4, 20, 3, generator=generator(7)) * 0.1
    before = points.clone()
    labels = torch.tensor([0, 0, 1, 1])
    found = attempt(_aslant, points, labels, 0.2)
    unchanged(before, points, "The input clouds")
    shift = 0.2 * torch.tensor([-1.0, -1.0, 1.0, 1.0])[:, None, None] * _WAY
    expect(
        found,
        points + shift,
        "A model with a known answer",
        {
            "The clouds went down the loss: an attack climbs it.": points - shift,
            "Nothing moved.": points,
            "The sign of the gradient carries a point up to √3 eps; divide each "
            "point's gradient by its length.": points + shift * 2**0.5,
            "Each point may move by eps, and has a length of its own; the cloud's "
            "gradient was divided by the length of the whole.": points
            + shift / 20**0.5,
        },
    )
    assert not found.requires_grad, "Detach the result: it is data from now on."


def ifgm_step(
    model: Model,
    points: Tensor,
    clean: Tensor,
    labels: Tensor,
    step_size: float,
    eps: float,
) -> Tensor:
    """One step of I-FGM, per point: along each point's gradient, back into the ball.

    Args:
        model: `points (B, N, 3) -> logits (B, C)`.
        points: (B, N, 3) where the attack is now.
        clean: (B, N, 3) where it began.
        labels: (B,) true classes.
        step_size: how far a point goes.
        eps: how far it may be from its clean place.
    """
    return into_ball(clean, one_step(model, points, labels, step_size), eps)


def _test_ifgm_step(attempt: Attempt) -> None:
    clean = torch.rand(4, 20, 3, generator=generator(0)) * 0.1
    labels = torch.tensor([0, 0, 1, 1])
    sign = torch.tensor([-1.0, -1.0, 1.0, 1.0])[:, None, None]
    along = (sign * _WAY).expand(4, 20, 3)
    before = clean.clone()
    expect(
        attempt(_aslant, clean, clean, labels, 0.02, 0.05),
        clean + 0.02 * along,
        "A step of 0.02 from the clean cloud",
        {
            "It goes down the loss: an attack climbs it.": clean - 0.02 * along,
            "From the clean cloud each point goes step_size, not eps.": clean
            + 0.05 * along,
            "Nothing moved.": clean,
        },
    )
    unchanged(before, clean, "The clean cloud")
    here = clean + 0.045 * along
    expect(
        attempt(_aslant, here, clean, labels, 0.02, 0.05),
        clean + 0.05 * along,
        "A step of 0.02 from 0.045 away, eps = 0.05",
        {
            "A point is 0.065 from its clean place, over eps: the ball is around the "
            "clean cloud, not around the place of the last step.": here + 0.02 * along,
            "The step began at the clean cloud, not where the attack is now.": clean
            + 0.02 * along,
        },
    )


def undone(clean: Tensor, attacked: Tensor) -> Tensor:
    """The share of each cloud's displacement that normalising it again takes away.

    Below 0 where that adds more than it takes: an outlier makes the whole cloud
    shrink.

    Args:
        clean: (B, N, 3), normalised.
        attacked: (B, N, 3), other than clean.

    Returns:
        (B,) 1 - |normalise(attacked) - clean| / |attacked - clean|, lengths of whole
        clouds.
    """
    left = (geometry.normalise(attacked) - clean).flatten(1).norm(dim=1)
    return 1 - left / (attacked - clean).flatten(1).norm(dim=1)


def _test_undone(attempt: Attempt) -> None:
    clean = geometry.normalise(torch.randn(3, 40, 3, generator=generator(1)))
    noise = 0.1 * torch.randn(3, 40, 3, generator=generator(2))
    cases = {
        "a shift of the whole cloud": clean + torch.tensor([0.1, 0.0, 0.2]),
        "a cloud made larger": 1.2 * clean,
        "three random displacements": clean + noise,
    }
    for what, attacked in cases.items():
        wanted = undone(clean, attacked)
        found = attempt(clean, attacked)
        all_of_it = "" if "random" in what else ", all of it,"
        why = (
            f"Normalising takes away {float(wanted[0]):.2f}{all_of_it} of the first "
            "cloud's displacement."
        )
        centred = attacked - attacked.mean(1, keepdim=True) - clean
        moved = (attacked - clean).flatten(1).norm(dim=1)
        only_centred = 1 - centred.flatten(1).norm(dim=1) / moved
        expect(
            found,
            wanted,
            f"For {what}",
            {
                f"Normalising also scales; this only centres. {why}": only_centred,
                f"That is what is left. {why}": 1 - wanted,
                why: found,
            },
            1e-3,
        )


def masked_victims(verdicts: Mapping[str, Mapping[str, Verdict]]) -> list[str]:
    """The victims for which the flag "masked gradient" fired.

    Args:
        verdicts: name of the victim -> name of the flag -> Verdict.
    """
    return [name for name, v in verdicts.items() if v["masked gradient"].fired is True]


@cache
def _evaluations() -> dict[str, dict[str, Verdict]]:
    points = 0.4 * torch.randn(12, 16, 3, generator=generator(3))
    labels = points.mean(1).argmax(1)

    def honest(points: Tensor) -> Tensor:
        return points.mean(1)

    def rounded(points: Tensor) -> Tensor:
        return 0.1 * (points.mean(1) / 0.1).round() + 1e-3 * points.detach().mean(1)

    noise = generator(4)

    def random(points: Tensor) -> Tensor:
        shape = (len(points), 3)
        return points.mean(1) + 0.01 * torch.randn(shape, generator=noise)

    found = {}
    for name, model in (("A", honest), ("B", rounded), ("C", random)):
        gradient = PGD(eps=0.04, norm="per_point", steps=4)(model, points, labels)
        query = None
        if name != "C":
            attack = SquareAttack(eps=0.04, norm="per_point", max_queries=30)
            query = attack(model, points, labels)
        found[name] = reliability_flags(model, points, labels, gradient, query=query)
    return found


def _test_masked_victims(attempt: Attempt) -> None:
    verdicts = _evaluations()
    # A copy: what an attempt does to its input must not reach the next attempt.
    found = attempt({name: dict(flags) for name, flags in verdicts.items()})
    expect(found is not None, True, "The answer is a list, but nothing was returned")
    found, wanted = list(found), masked_victims(verdicts)
    for name in found:
        assert name in verdicts, f"{name!r} is no victim; there are {list(verdicts)}."
        if name not in wanted:
            fired = [key for key, v in verdicts[name].items() if v.fired] or ["none"]
            raise AssertionError(
                f"{name} is not masked: fired there: {', '.join(fired)}. Flags that "
                "were not judged (None) say nothing, and others mean other things."
            )
    missing = [name for name in wanted if name not in found]
    assert not missing, f"{', '.join(missing)}: its gradient is masked, and not named."


EXERCISES = {
    "into_ball": Exercise(
        reference=into_ball,
        test=_test_into_ball,
        tested="Points stay within eps, those inside stay put.",
        level="medium",
        minutes=10,
    ),
    "one_step": Exercise(
        reference=one_step,
        test=_test_one_step,
        tested="On a linear model each point moves eps the right way.",
        level="hard",
        minutes=15,
    ),
    "ifgm_step": Exercise(
        reference=ifgm_step,
        test=_test_ifgm_step,
        tested="Steps climb, from the clean cloud and at the rim, and stay within eps "
        "of it.",
        level="medium",
        minutes=10,
    ),
    "undone": Exercise(
        reference=undone,
        test=_test_undone,
        tested="Shifts and scalings are undone wholly, random displacements in part.",
        level="medium",
        minutes=10,
    ),
    "masked_victims": Exercise(
        reference=masked_victims,
        test=_test_masked_victims,
        tested="Of an honest, a rounded and a random victim the masked one was named.",
        level="easy",
        minutes=5,
    ),
}
