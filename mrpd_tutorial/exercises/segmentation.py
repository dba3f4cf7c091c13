"""Exercises on part segmentation: IoU of a shape, an attack's loss, votes of views."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mrpd_tutorial.exercises.base import Attempt, Exercise, expect, unchanged
from mrpd_tutorial.runtime import generator

__all__ = ["EXERCISES", "part_votes", "segmentation_loss", "shape_ious"]


def shape_ious(
    predicted: Tensor, labels: Tensor, parts: Sequence[Sequence[int]]
) -> Tensor:
    """The IoU of each shape, as ShapeNet-Part is scored [Qi et al., 1612.00593].

    The mean, over the parts which the shape's category has, of intersection over union.
    A part that is neither there nor predicted counts 1.

    Args:
        predicted: (B, N) part ids.
        labels: (B, N) true part ids.
        parts: for each shape the ids of its category's parts.

    Returns:
        (B,) in 0..1; their mean is the instance mIoU.
    """
    found = []
    for own, true, ids in zip(predicted, labels, parts, strict=True):
        values = []
        for part in ids:
            union = int(((own == part) | (true == part)).sum())
            both = int(((own == part) & (true == part)).sum())
            values.append(both / union if union else 1.0)
        found.append(sum(values) / len(values))
    return torch.tensor(found)


def _variant(
    predicted: Tensor,
    labels: Tensor,
    parts: Sequence[Sequence[int]],
    empty: float | None,
    present_only: bool = False,
) -> Tensor:
    """IoUs as known mistakes have them: another value for absent parts, or none."""
    found = []
    for own, true, ids in zip(predicted, labels, parts, strict=True):
        values = []
        for part in ids:
            union = int(((own == part) | (true == part)).sum())
            both = int(((own == part) & (true == part)).sum())
            if present_only and not bool((true == part).any()):
                continue
            if union:
                values.append(both / union)
            elif empty is not None:
                values.append(empty)
        found.append(sum(values) / max(1, len(values)))
    return torch.tensor(found)


def _test_shape_ious(attempt: Attempt) -> None:
    labels = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1], [3, 3, 3, 3, 4, 4, 4, 4]])
    predicted = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1], [3, 3, 3, 3, 3, 4, 4, 5]])
    parts = [[0, 1, 2], [3, 4, 5]]  # part 2 is neither there nor predicted
    every = [range(6)] * 2
    pooled = shape_ious(predicted.reshape(1, -1), labels.reshape(1, -1), [range(6)])
    expect(
        attempt(predicted, labels, parts),
        shape_ious(predicted, labels, parts),
        "Two shapes of 8 points, two categories of 3 parts",
        {
            "Part 2 is neither there nor predicted, which is right: it counts 1, not "
            "0.": _variant(predicted, labels, parts, 0.0),
            "Part 2 is neither there nor predicted, which is right: it counts 1, and "
            "is not left out.": _variant(predicted, labels, parts, None),
            "Part 5 is not there, but was predicted: its IoU is 0, and it counts.": (
                _variant(predicted, labels, parts, 1.0, present_only=True)
            ),
            "Only the parts of the shape's own category count: those of others would "
            "all be 1.": shape_ious(predicted, labels, every),
            "That is the share of points that are right: IoU divides by the union.": (
                (predicted == labels).float().mean(1)
            ),
            "Each shape has a score of its own; points of all shapes were thrown "
            "together.": pooled.expand(2).clone(),
        },
    )
    expect(attempt(labels, labels, parts), torch.ones(2), "A perfect prediction")


def segmentation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """What an attack on segmentation raises: the loss of points that are still right.

    Points that are wrong already add nothing, so that the attack does not spend itself
    on them [the idea of SegPGD, arXiv 2207.12391, at its start].

    Args:
        logits: (B, N, P) for each point and part.
        labels: (B, N).

    Returns:
        (B,) cross-entropies of the points that are right, summed, over N.
    """
    each = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")  # (B, N)
    right = logits.argmax(-1) == labels
    return torch.where(right, each, 0.0).mean(1)


def _test_segmentation_loss(attempt: Attempt) -> None:
    logits = torch.randn(3, 40, 5, generator=generator(0))
    labels = torch.randint(0, 5, (3, 40), generator=generator(1))
    half = torch.arange(40) < 20
    labels = torch.where(half, logits.argmax(-1), labels)  # half are right for sure
    each = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    right = logits.argmax(-1) == labels
    kept = torch.where(right, each, 0.0)
    expect(
        attempt(logits, labels),
        segmentation_loss(logits, labels),
        "Three clouds of 40 points, 5 parts",
        {
            "Points that are wrong already are in it, and their loss is the largest: "
            "the attack would spend itself on them.": each.mean(1),
            "Divide by all N points: over those still right alone, the loss would jump "
            "up when an easy point falls out of it.": kept.sum(1) / right.sum(1),
            "Divide by N: the sum depends on how many points a cloud has.": kept.sum(1),
            "Those are the points that are wrong; those still right are wanted.": (
                each - kept
            ).mean(1),
            "Give one number for each cloud.": kept.mean(),
        },
    )
    free = logits.clone().requires_grad_(True)
    found = attempt(free, labels)
    assert found.requires_grad, "The loss has no gradient: an attack needs one."
    (gradient,) = torch.autograd.grad(found.sum(), free)
    assert not bool(gradient[~right].any()), (
        "Points that are wrong already still get a gradient."
    )


def part_votes(
    view_labels: Tensor, pixels: Tensor, visible: Tensor, num_parts: int
) -> Tensor:
    """The part of each point by majority of the views that see it.

    Args:
        view_labels: (V, H, W) the part each view gives to each pixel.
        pixels: (V, N, 2) row and column at which a view draws a point.
        visible: (V, N) bool, whether the view sees the point, or it is hidden.
        num_parts: P.

    Returns:
        (N,) part ids; of equal votes the lowest id; -1 where no view sees the point.
    """
    view = torch.arange(len(view_labels))[:, None]
    said = view_labels[view, pixels[..., 0], pixels[..., 1]]  # (V, N)
    votes = F.one_hot(said, num_parts) * visible[..., None]  # (V, N, P)
    total = votes.sum(0)
    # argmax does not promise which of equals it takes: the lowest has the highest rank.
    rank = total * num_parts + torch.arange(num_parts).flip(0)
    return torch.where(total.sum(1) > 0, rank.argmax(1), -1)


def _test_part_votes(attempt: Attempt) -> None:
    views, side, count, parts = 5, 6, 60, 4
    labels = torch.randint(0, parts, (views, side, side), generator=generator(2))
    pixels = torch.randint(0, side, (views, count, 2), generator=generator(3))
    visible = torch.rand(views, count, generator=generator(4)) < 0.6
    visible[:, :3] = False  # three points that no view sees
    before = labels.clone()
    found = attempt(labels, pixels, visible, parts)
    unchanged(before, labels, "The views' labels")
    wanted = part_votes(labels, pixels, visible, parts)
    everyone = torch.ones_like(visible)
    flat = [
        part_votes(labels[v : v + 1], pixels[v : v + 1], visible[v : v + 1], parts)
        for v in range(views)
    ]
    expect(
        found,
        wanted,
        "60 points in 5 views, 4 parts",
        {
            "A view was asked about points it does not see: what stands before them "
            "answered.": part_votes(labels, pixels, everyone, parts),
            "Unseen points were given part 0: the answer is -1, for nobody voted.": (
                wanted.clamp(min=0)
            ),
            "Rows come first, then columns: they were swapped.": part_votes(
                labels, pixels.flip(-1), visible, parts
            ),
            "Of equal votes the lowest part id wins.": _highest_of_equals(
                labels, pixels, visible, parts
            ),
            "That is the first view alone.": flat[0],
        },
        0,
    )


def _highest_of_equals(
    labels: Tensor, pixels: Tensor, visible: Tensor, parts: int
) -> Tensor:
    found = part_votes(parts - 1 - labels, pixels, visible, parts)
    return torch.where(found < 0, -1, parts - 1 - found)


EXERCISES = {
    "shape_ious": Exercise(
        reference=shape_ious,
        test=_test_shape_ious,
        tested="Two shapes with an absent and a wrongly predicted part.",
        level="easy",
        minutes=15,
    ),
    "segmentation_loss": Exercise(
        reference=segmentation_loss,
        test=_test_segmentation_loss,
        tested="Three clouds: only points that are still right count, with gradient.",
        level="medium",
        minutes=10,
    ),
    "part_votes": Exercise(
        reference=part_votes,
        test=_test_part_votes,
        tested="60 points in 5 views, some hidden, some tied, three never seen.",
        level="hard",
        minutes=20,
    ),
}
