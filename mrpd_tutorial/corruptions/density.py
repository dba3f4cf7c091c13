"""Points that are missing, or denser in some places than in others.

ModelNet40-C: Sun et al. 2022 [arXiv 2201.12296]. PointCloud-C: Ren et al. 2022 [arXiv
2202.03377]. Nothing is normalised afterwards, in either. Points that stay keep their
order.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mrpd_tutorial.corruptions.base import Corruption, scaled_count
from mrpd_tutorial.corruptions.noise import cluster_sizes

__all__ = ["Cutout", "DensityDecrease", "DensityIncrease", "DropGlobal", "DropLocal"]


def _patch(cloud: Tensor, left: Tensor, size: int, draws: torch.Generator) -> Tensor:
    """Rows (of `left`, row numbers) of a random point and its size - 1 nearest."""
    rows = left.nonzero()[:, 0]
    centre = rows[torch.randint(len(rows), (1,), generator=draws)]
    distance = (cloud[rows] - cloud[centre]).square().sum(1)
    # Stable: with equal points, the lowest rows, on every machine.
    return rows[distance.argsort(stable=True)[:size]]


@dataclass(frozen=True, kw_only=True)
class Cutout(Corruption):
    """Holes: a random point and its nearest neighbours go, 30 points (ModelNet40-C).

    2, 3, 5, 7, 10 holes one after the other. One point stays, whatever the cloud.
    """

    title: ClassVar[str] = "cutout"
    levels: ClassVar[tuple] = (2, 3, 5, 7, 10)
    hole: ClassVar[int] = 30

    def count(self, num_points: int) -> int:
        hole = scaled_count(self.hole, num_points)
        return max(num_points - self.level * hole, 1)

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        left = torch.ones(len(cloud), dtype=torch.bool)
        hole = scaled_count(self.hole, len(cloud))
        for _ in range(self.level):
            size = min(hole, int(left.sum()) - 1)
            left[_patch(cloud, left, size, draws)] = False
        return cloud[left]


@dataclass(frozen=True, kw_only=True)
class DensityDecrease(Corruption):
    """Thin patches: of a point and its 99 nearest, 75 random ones go (ModelNet40-C).

    1, 2, 3, 4, 5 patches one after the other; "density" in the benchmark's files.
    """

    title: ClassVar[str] = "density"
    levels: ClassVar[tuple] = (1, 2, 3, 4, 5)
    patch: ClassVar[int] = 100

    def _sizes(self, num_points: int) -> tuple[int, int]:
        patch = scaled_count(self.patch, num_points)
        return patch, 3 * patch // 4

    def count(self, num_points: int) -> int:
        return num_points - self.level * self._sizes(num_points)[1]

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        left = torch.ones(len(cloud), dtype=torch.bool)
        patch, removed = self._sizes(len(cloud))
        for _ in range(self.level):
            rows = _patch(cloud, left, patch, draws)
            left[rows[torch.randperm(len(rows), generator=draws)[:removed]]] = False
        return cloud[left]


@dataclass(frozen=True, kw_only=True)
class DensityIncrease(Corruption):
    """Dense patches in a cloud of half the points (ModelNet40-C).

    Of 2048 points, 1, 2, 3, 4, 5 patches of 100 nearest points are taken whole, and of
    the others so many at random that there are 1024. So give it clouds with twice the
    points a model is to see. "density_inc" in the benchmark's files.

    As published, the rest is drawn with replacement: some points appear twice.
    """

    title: ClassVar[str] = "density_inc"
    levels: ClassVar[tuple] = (1, 2, 3, 4, 5)
    patch: ClassVar[int] = 100

    def count(self, num_points: int) -> int:
        return (num_points + 1) // 2

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        left = torch.ones(len(cloud), dtype=torch.bool)
        total = self.count(len(cloud))
        patch = min(scaled_count(self.patch, total), total // self.level)
        for _ in range(self.level):
            left[_patch(cloud, left, patch, draws)] = False
        rest, dense = left.nonzero()[:, 0], (~left).nonzero()[:, 0]
        drawn = torch.randint(len(rest), (total - len(dense),), generator=draws)
        return cloud[torch.cat([dense, rest[drawn]]).sort().values]


@dataclass(frozen=True, kw_only=True)
class DropGlobal(Corruption):
    """A share of the points goes at random (PointCloud-C): .25, .375, .5, .625, .75."""

    title: ClassVar[str] = "dropout_global"
    levels: ClassVar[tuple] = (0.25, 0.375, 0.5, 0.625, 0.75)

    def count(self, num_points: int) -> int:
        return max(int(num_points * (1 - self.level)), 1)

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        order = torch.randperm(len(cloud), generator=draws)
        return cloud[order[: self.count(len(cloud))].sort().values]


@dataclass(frozen=True, kw_only=True)
class DropLocal(Corruption):
    """One to seven holes of random sizes, 100 times the severity in all (PointCloud-C).

    A hole is a random point and its nearest neighbours. One point stays, whatever the
    cloud.
    """

    title: ClassVar[str] = "dropout_local"
    levels: ClassVar[tuple] = (100, 200, 300, 400, 500)

    def count(self, num_points: int) -> int:
        return max(num_points - scaled_count(self.level, num_points), 1)

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        left = torch.ones(len(cloud), dtype=torch.bool)
        for size in cluster_sizes(len(cloud) - self.count(len(cloud)), draws):
            left[_patch(cloud, left, size, draws)] = False
        return cloud[left]
