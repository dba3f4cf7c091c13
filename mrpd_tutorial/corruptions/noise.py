"""Points that moved or were added: sensor noise, outliers, clutter.

ModelNet40-C: Sun et al. 2022 [arXiv 2201.12296]. PointCloud-C: Ren et al. 2022 [arXiv
2202.03377]. Numbers are for clouds in the unit sphere.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mrpd_tutorial.corruptions.base import (
    Corruption,
    normal,
    scaled_count,
    signs,
    uniform,
)

__all__ = [
    "AddGlobal",
    "AddLocal",
    "BackgroundNoise",
    "GaussianNoise",
    "ImpulseNoise",
    "Jitter",
    "UniformNoise",
    "Upsampling",
    "cluster_sizes",
]


@dataclass(frozen=True, kw_only=True)
class UniformNoise(Corruption):
    """Each coordinate moves by a number uniform in +-c (ModelNet40-C).

    c = 0.01, 0.02, 0.03, 0.04, 0.05. Published frame: the cube.
    """

    title: ClassVar[str] = "uniform"
    levels: ClassVar[tuple] = (0.01, 0.02, 0.03, 0.04, 0.05)
    published_frame: ClassVar[str] = "cube"

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        return cloud + self.level * uniform(draws, *cloud.shape)


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Corruption):
    """Each coordinate moves by a normal number, then is cut to +-1 (ModelNet40-C).

    Standard deviation 0.01, 0.015, 0.02, 0.025, 0.03. Published: no frame afterwards,
    unlike its sister UniformNoise.
    """

    title: ClassVar[str] = "gaussian"
    levels: ClassVar[tuple] = (0.01, 0.015, 0.02, 0.025, 0.03)

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        return (cloud + self.level * normal(draws, *cloud.shape)).clamp(-1, 1)


@dataclass(frozen=True, kw_only=True)
class Jitter(Corruption):
    """Each coordinate moves by a normal number (PointCloud-C).

    Standard deviation 0.01 times the severity. Published: no frame afterwards.
    """

    title: ClassVar[str] = "jitter"
    levels: ClassVar[tuple] = (0.01, 0.02, 0.03, 0.04, 0.05)

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        return cloud + self.level * normal(draws, *cloud.shape)


@dataclass(frozen=True, kw_only=True)
class ImpulseNoise(Corruption):
    """Some points jump by 0.1 up or down in every coordinate (ModelNet40-C).

    N/30, N/25, N/20, N/15, N/10 of N points. Published frame: the cube.
    """

    title: ClassVar[str] = "impulse"
    levels: ClassVar[tuple] = (30, 25, 20, 15, 10)
    published_frame: ClassVar[str] = "cube"
    jump: ClassVar[float] = 0.1

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        chosen = torch.randperm(len(cloud), generator=draws)[: len(cloud) // self.level]
        damaged = cloud.clone()
        damaged[chosen] += self.jump * signs(draws, len(chosen), 3)
        return damaged


@dataclass(frozen=True, kw_only=True)
class BackgroundNoise(Corruption):
    """Points uniform in the cube [-1, 1] are added (ModelNet40-C).

    N/45, N/40, N/35, N/30, N/20 to N points; they stand at the end. Published frame:
    the cube.
    """

    title: ClassVar[str] = "background"
    levels: ClassVar[tuple] = (45, 40, 35, 30, 20)
    published_frame: ClassVar[str] = "cube"

    def count(self, num_points: int) -> int:
        return num_points + num_points // self.level

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        added = uniform(draws, len(cloud) // self.level, 3)
        return torch.cat([cloud, added])


@dataclass(frozen=True, kw_only=True)
class Upsampling(Corruption):
    """Noisy copies of points are added, +-0.05 a coordinate (ModelNet40-C).

    N/5, N/4, N/3, N/2, N copies of N points; they stand at the end. Published frame:
    the cube.
    """

    title: ClassVar[str] = "upsampling"
    levels: ClassVar[tuple] = (5, 4, 3, 2, 1)
    published_frame: ClassVar[str] = "cube"
    spread: ClassVar[float] = 0.05

    def count(self, num_points: int) -> int:
        return num_points + num_points // self.level

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        chosen = torch.randperm(len(cloud), generator=draws)[: len(cloud) // self.level]
        copies = cloud[chosen] + self.spread * uniform(draws, len(chosen), 3)
        return torch.cat([cloud, copies])


@dataclass(frozen=True, kw_only=True)
class AddGlobal(Corruption):
    """Points uniform in the unit ball are added (PointCloud-C).

    10 times the severity, to 1024 points; they stand at the end. Published: no frame.
    """

    title: ClassVar[str] = "add_global"
    levels: ClassVar[tuple] = (10, 20, 30, 40, 50)

    def count(self, num_points: int) -> int:
        return num_points + scaled_count(self.level, num_points)

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        extra = scaled_count(self.level, len(cloud))
        height = uniform(draws, extra)
        angle = torch.pi * uniform(draws, extra)
        radius = uniform(draws, extra, low=0.0).pow(1 / 3)
        ring = (1 - height.square()).clamp(min=0).sqrt()
        direction = torch.stack([ring * angle.cos(), ring * angle.sin(), height], dim=1)
        return torch.cat([cloud, radius[:, None] * direction])


@dataclass(frozen=True, kw_only=True)
class AddLocal(Corruption):
    """One to seven clusters are added around points of the cloud (PointCloud-C).

    100 times the severity points in all, to 1024; each cluster is normal with a
    standard deviation uniform in 0.075..0.125, about a random point. An added point p
    outside the unit sphere goes to p / |p|^2, as in the benchmark's code (an inversion,
    not the projection its comment speaks of). They stand at the end. Published: no
    frame.
    """

    title: ClassVar[str] = "add_local"
    levels: ClassVar[tuple] = (100, 200, 300, 400, 500)

    def count(self, num_points: int) -> int:
        return num_points + scaled_count(self.level, num_points)

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        sizes = cluster_sizes(scaled_count(self.level, len(cloud)), draws)
        parts = [cloud]
        for size in sizes:
            centre = cloud[torch.randint(len(cloud), (1,), generator=draws)]
            spread = uniform(draws, 1, low=0.075, high=0.125)
            parts.append(centre + spread * normal(draws, size, 3))
        added = torch.cat(parts[1:])
        square = added.square().sum(1, keepdim=True)
        added = torch.where(square > 1, added / square.clamp(min=1), added)
        return torch.cat([cloud, added])


def cluster_sizes(total: int, draws: torch.Generator) -> list[int]:
    """Sizes of 1..7 random clusters (PointCloud-C): each point goes to any of them."""
    clusters = int(torch.randint(1, 8, (1,), generator=draws))
    membership = torch.randint(clusters, (total,), generator=draws)
    return torch.bincount(membership, minlength=clusters).tolist()
