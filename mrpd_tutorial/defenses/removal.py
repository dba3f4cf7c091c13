"""Defenses that remove points: at random (SRS), or where they lie alone (SOR)."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mrpd_tutorial.checks import check_between, check_points
from mrpd_tutorial.defenses.base import Defense
from mrpd_tutorial.geometry import gather_points, knn

__all__ = ["SOR", "SRS"]


@dataclass(frozen=True, kw_only=True)
class SRS(Defense):
    """Simple random sampling: drop `drop` points, others in each cloud and each call.

    From Zhou et al. 2019 (DUP-Net) [arXiv 1812.11017] and Yang et al. 2019 [arXiv
    1902.10899]; 500 of 1024 points is the setting of IF-Defense's and MRPD's tables.

    The defense is random: a table shows one draw of it, and an attack that sees another
    draw at every step (without averaging over draws) overstates what it protects.

    Args:
        drop: points removed from each cloud; the order of the others stays.
        seed: of the sequence of draws; `reset` starts it anew.
    """

    drop: int = 500
    seed: int = 0
    _generator: torch.Generator = field(
        init=False, repr=False, compare=False, default_factory=torch.Generator
    )

    is_random = True

    def __post_init__(self) -> None:
        check_between("drop", self.drop, 0, float("inf"))
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Start the sequence of draws anew."""
        self._generator.manual_seed(self.seed if seed is None else seed)

    def __call__(self, points: Tensor) -> Float[Tensor, "B M 3"]:
        """Keep N - drop points of each cloud.

        Args:
            points: (B, N, 3), N > drop.

        Returns:
            (B, N - drop, 3).

        Raises:
            ValueError: if a cloud has no more than `drop` points.
        """
        check_points(points)
        batch, count, _ = points.shape
        if count <= self.drop:
            raise ValueError(
                f"drop must be below the number of points, {count}; received "
                f"{self.drop}. Choose about half of the points: SRS(drop={count // 2})."
            )
        order = torch.rand(batch, count, generator=self._generator).argsort(1)
        kept = order[:, : count - self.drop].sort(1).values  # (B, N - drop)
        return gather_points(points, kept.to(points.device))


@dataclass(frozen=True, kw_only=True)
class SOR(Defense):
    """Statistical outlier removal: drop points far from their neighbours.

    From Rusu et al. 2008, as a defense Zhou et al. 2019 (DUP-Net) [arXiv 1812.11017]:
    d_i is the mean distance of point i to its k nearest neighbours, and points with
    d_i > mean(d) + alpha * std(d) go.

    Clouds lose different numbers of points. To keep the batch rectangular, the points
    kept come first, in their order, and are then repeated from the first one on until
    there are N again. Which points go is not differentiable; gradients flow to those
    that stay (repeated ones collect several).

    Args:
        k: number of neighbours, the point itself not counted.
        alpha: how many standard deviations above the mean are allowed.
        squared: take d from squared distances, as IF-Defense's code does.
    """

    k: int = 2
    alpha: float = 1.1
    squared: bool = False

    def __post_init__(self) -> None:
        check_between("k", self.k, 1, float("inf"))
        check_between("alpha", self.alpha, 0, float("inf"))

    @classmethod
    def released(cls) -> "SOR":
        """As MRPD's release calls it: k 16, alpha 1.0 (DUP-Net: k 2, alpha 1.1).

        Its own file of the defense is missing; squared distances are IF-Defense's.
        """
        return cls(k=16, alpha=1.0, squared=True)

    def kept(self, points: Tensor) -> Bool[Tensor, "B N"]:
        """Which points stay; at least one of each cloud does.

        Raises:
            ValueError: if clouds have no more than k points.
        """
        check_points(points, min_points=self.k + 1)
        points = points.detach()
        _, neighbours = knn(points, points, self.k + 1)
        # The first neighbour is the point itself, or another one at the same place.
        others = gather_points(points, neighbours[..., 1:])  # (B, N, k, 3)
        distances = (others - points[:, :, None]).square().sum(-1)  # (B, N, k)
        if not self.squared:
            distances = distances.sqrt()
        mean_distance = distances.mean(-1)  # (B, N)
        spread = mean_distance.std(1, keepdim=True)
        limit = mean_distance.mean(1, keepdim=True) + self.alpha * spread
        # Where all d_i are equal, the rounding of their mean must not remove them all.
        return mean_distance <= limit * (1 + 1e-6)

    def __call__(self, points: Tensor) -> Float[Tensor, "B N 3"]:
        """Remove outliers.

        Args:
            points: (B, N, 3), N > k.

        Returns:
            (B, N, 3): kept points in their order, then the same again up to N.

        Raises:
            ValueError: if clouds have no more than k points.
        """
        kept = self.kept(points)
        first = (~kept).long().argsort(dim=1, stable=True)  # kept indices in front
        position = torch.arange(points.shape[1], device=points.device)
        wrapped = position[None] % kept.sum(1, keepdim=True)  # (B, N)
        return gather_points(points, first.gather(1, wrapped))
