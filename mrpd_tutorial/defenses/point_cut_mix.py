"""PointCutMix: training clouds that are a part of one and a part of another."""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from mrpd_tutorial.checks import (
    check_choice,
    check_labels,
    check_points,
    check_positive,
    check_same_device,
)
from mrpd_tutorial.geometry import gather_points, knn

__all__ = ["MixedClouds", "match_points", "point_cut_mix"]


@dataclass(frozen=True, eq=False)
class MixedClouds:
    """Clouds of two origins.

    Attributes:
        points: (B, N, 3).
        labels: (B,) classes of the clouds that the others were mixed into.
        other_labels: (B,) classes of those others.
        share: (B,) which part of the points comes from the other cloud, 0 to 1.
    """

    points: Float[Tensor, "B N 3"]
    labels: Int[Tensor, "B"]
    other_labels: Int[Tensor, "B"]
    share: Float[Tensor, "B"]

    def cross_entropy(
        self, logits: Float[Tensor, "B C"], label_smoothing: float = 0.0
    ) -> Float[Tensor, "B"]:
        """(1 - share) CE(logits, labels) + share CE(logits, other_labels), per cloud.

        Args:
            logits: (B, C), the model's answer for `points`.
            label_smoothing: as in torch's cross_entropy.
        """
        own, other = (
            F.cross_entropy(
                logits, labels, reduction="none", label_smoothing=label_smoothing
            )
            for labels in (self.labels, self.other_labels)
        )
        return (1 - self.share) * own + self.share * other


def point_cut_mix(
    points: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    kind: str = "K",
    beta: float = 1.0,
    probability: float = 1.0,
) -> MixedClouds:
    """Replace some points of each cloud by points of another one of the batch.

    Implements Zhang et al. 2021 [arXiv 2101.01461]: clouds are paired at random, points
    of a pair are matched one to one, and n of the N points give way to their matches,
    n = round(lambda N), at least 1, lambda ~ Beta(beta, beta). "K": a random point and
    its n - 1 nearest neighbours give way, so that a whole region is exchanged; "R": n
    random points.

    The paper draws one lambda a batch and matches with an approximate earth mover's
    distance (an auction on the GPU); ours draws one for each cloud and matches by
    `match_points`.

    Args:
        points: (B, N, 3) training clouds.
        labels: (B,) their classes.
        generator: source of randomness, on the CPU.
        kind: "K" or "R".
        beta: of the Beta distribution; the paper's 1 makes lambda uniform.
        probability: with which a cloud is mixed at all.

    Returns:
        Clouds with both labels; those left alone have share 0. Points keep their place
        in the order. Gradients flow to the points taken.

    Raises:
        ValueError: on bad clouds or labels, another kind, or numbers out of range.
    """
    check_points(points)
    check_labels(labels, batch=len(points))
    check_same_device(points=points, labels=labels)
    check_choice("kind", kind, ("K", "R"))
    check_positive("beta", beta)
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must lie in [0, 1]; received {probability}.")
    batch, count, _ = points.shape
    other = torch.randperm(batch, generator=generator)
    # torch has no beta distribution that takes a generator.
    seed = int(torch.randint(2**63 - 1, (1,), generator=generator))
    rng = np.random.default_rng(seed)
    drawn = torch.from_numpy(rng.beta(beta, beta, batch))
    replaced = (drawn * count).round().long().clamp(1, count)
    mixed = torch.rand(batch, generator=generator) < probability
    replaced = torch.where(mixed, replaced, 0).to(points.device)
    if kind == "K":
        centre = torch.randint(count, (batch, 1), generator=generator)
        centres = gather_points(points.detach(), centre.to(points.device))  # (B, 1, 3)
        order = knn(centres, points.detach(), count)[1][:, 0]  # (B, N), nearest first
    else:
        order = torch.rand(batch, count, generator=generator).argsort(1)
        order = order.to(points.device)
    rank = order.argsort(1)  # (B, N): when a point would give way
    other = other.to(points.device)
    matches = gather_points(points[other], match_points(points, points[other]))
    gone = rank < replaced[:, None]  # (B, N)
    return MixedClouds(
        points=torch.where(gone[..., None], matches, points),
        labels=labels,
        other_labels=labels[other],
        share=replaced.to(points.dtype) / count,
    )


@torch.no_grad()
def match_points(a: Tensor, b: Tensor) -> Int[Tensor, "B N"]:
    """Match the points of two clouds one to one, near ones to near ones.

    Both clouds are cut in halves of equal size along the axis in which the two are
    longest together, and so on to single points; halves that correspond are matched. A
    one-to-one matching in N log N, longer than the shortest one; no network of prices
    is iterated and no (B, N, N) tensor is made.

    Args:
        a: (B, N, 3).
        b: (B, N, 3).

    Returns:
        (B, N): which point of b belongs to each point of a; every one appears once.

    Raises:
        ValueError: on clouds of another shape, or of different numbers.
    """
    check_points(a, "a")
    check_points(b, "b")
    if a.shape != b.shape:
        raise ValueError(
            f"a and b must have the same shape; received {tuple(a.shape)} and "
            f"{tuple(b.shape)}. Sample as many points of each."
        )
    batch, count, _ = a.shape
    places = torch.arange(count, device=a.device).expand(batch, -1)
    orders, bounds = [places, places], [0, count]
    while len(bounds) <= count:
        sizes = torch.tensor(bounds, device=a.device).diff()
        segment = torch.arange(len(sizes), device=a.device).repeat_interleave(sizes)
        segment = segment.expand(batch, -1)  # (B, N)
        sorted_points = [
            gather_points(x, o) for x, o in zip((a, b), orders, strict=True)
        ]
        extent = sum(_extents(x, segment, len(sizes)) for x in sorted_points)
        axis = extent.argmax(2).gather(1, segment)[..., None]  # (B, N, 1)
        for i, x in enumerate(sorted_points):
            # Stable, twice: by coordinate within each segment.
            by_value = x.gather(2, axis)[..., 0].argsort(dim=1, stable=True)
            by_segment = segment.gather(1, by_value).argsort(dim=1, stable=True)
            orders[i] = orders[i].gather(1, by_value.gather(1, by_segment))
        middles = [(low + high) // 2 for low, high in itertools.pairwise(bounds)]
        bounds = sorted({*bounds, *middles})
    return torch.empty_like(orders[0]).scatter(1, orders[0], orders[1])


def _extents(points: Tensor, segment: Tensor, count: int) -> Tensor:
    """Lengths of the bounding boxes of segments, (B, S, 3)."""
    index = segment[..., None].expand_as(points)
    empty = points.new_zeros(len(points), count, 3)
    high, low = (
        empty.scatter_reduce(1, index, points, which, include_self=False)
        for which in ("amax", "amin")
    )
    return high - low
