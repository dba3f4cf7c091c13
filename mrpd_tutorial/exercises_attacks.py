"""Exercises of the attack gallery: references, and checks that say what is wrong.

`exercises.EXERCISES` lists them.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mrpd_tutorial import geometry
from mrpd_tutorial.attacks import PGD, SquareAttack, Verdict, reliability_flags
from mrpd_tutorial.runtime import generator

__all__ = [
    "check_ifgm_step",
    "check_masked_victims",
    "check_undone",
    "ifgm_step",
    "masked_victims",
    "undone",
]

Attempt = Callable[..., Any]


def _shaped(found: object, wanted: Tensor) -> Tensor:
    assert isinstance(found, Tensor), f"Expected a tensor, got {type(found).__name__}."
    shapes = tuple(found.shape), tuple(wanted.shape)
    assert shapes[0] == shapes[1], f"Shape {shapes[0]}, not {shapes[1]}."
    return found.detach().double()


def ifgm_step(
    model: Callable[[Tensor], Tensor],
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
    points = points.detach().requires_grad_(True)
    loss = F.cross_entropy(model(points), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, points)
    moved = points.detach() + step_size * F.normalize(gradient, dim=-1)
    length = (moved - clean).norm(dim=-1, keepdim=True)
    return clean + (moved - clean) * (eps / length.clamp(min=eps))


def check_ifgm_step(attempt: Attempt) -> None:
    """A step along each point's gradient, then back into the ball."""

    # Class 0 where x is large, class 1 where it is small: the way is along x.
    def model(points: Tensor) -> Tensor:
        x = points[..., 0].mean(1)
        return torch.stack([x, -x], 1) * 10

    clean = torch.rand(4, 20, 3, generator=generator(0)) * 0.1
    labels = torch.tensor([0, 0, 1, 1])
    sign = torch.tensor([-1.0, -1.0, 1.0, 1.0])[:, None, None]
    along = sign * torch.tensor([1.0, 0.0, 0.0])
    before = clean.clone()
    first = _shaped(attempt(model, clean, clean, labels, 0.02, 0.05), clean)
    assert torch.equal(clean, before), "The input clouds were changed."
    far = (first - clean.double()).norm(dim=-1)
    assert bool((far > 0.019).all()), "From the clean cloud each point goes step_size."
    wrong = ((first - clean) * along).sum(-1).min() < 0
    assert not bool(wrong), "It goes down the loss: an attack climbs it."
    assert float((first - clean - 0.02 * along).abs().max()) < 1e-4, (
        "From the clean cloud each point must go step_size along its own gradient."
    )
    here = clean + 0.045 * along
    second = _shaped(attempt(model, here, clean, labels, 0.02, 0.05), clean)
    far = (second - clean).norm(dim=-1)
    assert float(far.max()) <= 0.05 + 1e-4, (
        f"A point is {float(far.max()):.3f} from its clean place, over eps = 0.05: the "
        "ball is around the clean cloud, not around the place of the last step."
    )
    assert float((second - clean - 0.05 * along).abs().max()) < 1e-4, (
        "A step across the rim must end on the rim, in the direction it had."
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


def check_undone(attempt: Attempt) -> None:
    """The share of a displacement that re-normalising undoes."""
    clean = geometry.normalise(torch.randn(3, 40, 3, generator=generator(1)))
    noise = 0.1 * torch.randn(3, 40, 3, generator=generator(2))
    cases = {
        "a shift of the whole cloud": clean + torch.tensor([0.1, 0.0, 0.2]),
        "a cloud made larger": 1.2 * clean,
        "three random displacements": clean + noise,
    }
    for what, attacked in cases.items():
        wanted = undone(clean, attacked)
        found = _shaped(attempt(clean, attacked), wanted)
        off = float((found - wanted.double()).abs().max())
        means = ", all of it," if "random" not in what else ""
        assert off < 1e-3, (
            f"For {what} normalising takes away {float(wanted[0]):.2f}{means} of the "
            f"displacement; got {float(found[0]):.2f}."
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


def check_masked_victims(attempt: Attempt) -> None:
    """Which victims' flags say that the gradient is masked."""
    verdicts = _evaluations()
    found, wanted = list(attempt(verdicts)), masked_victims(verdicts)
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
