"""The whole object changes: turned, sheared, stretched.

ModelNet40-C: Sun et al. 2022 [arXiv 2201.12296]. PointCloud-C: Ren et al. 2022 [arXiv
2202.03377]. A matrix M acts on points as rows: x -> x M.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mrpd_tutorial.corruptions.base import Corruption, signs, uniform

__all__ = ["Rotate", "Rotation", "Scale", "Shear", "Stretch", "turn"]


def turn(angles: Tensor) -> Float[Tensor, "3 3"]:
    """R_x R_y R_z of three angles in radians: row vectors turn about x first."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().tolist(), angles.sin().tolist()
    about_x = angles.new_tensor([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = angles.new_tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = angles.new_tensor([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def _sized(draws: torch.Generator, count: int, level: float, slack: float) -> Tensor:
    """Numbers of either sign whose size is uniform in level +- slack."""
    return (level + slack * uniform(draws, count)) * signs(draws, count)


@dataclass(frozen=True, kw_only=True)
class Rotation(Corruption):
    """Turned about x, y and z, each by c +- 2.5 degrees of either sign (ModelNet40-C).

    c = 2.5, 5, 7.5, 10, 15 degrees. Published frame: the cube.
    """

    title: ClassVar[str] = "rotation"
    levels: ClassVar[tuple] = (2.5, 5.0, 7.5, 10.0, 15.0)
    published_frame: ClassVar[str] = "cube"

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        return cloud @ turn(torch.deg2rad(_sized(draws, 3, self.level, 2.5)))


@dataclass(frozen=True, kw_only=True)
class Rotate(Corruption):
    """Turned about x, y and z, each by an angle uniform in +-a (PointCloud-C).

    a = 6, 12, 18, 24, 30 degrees. Published: no frame afterwards (radii do not change).
    """

    title: ClassVar[str] = "rotate"
    levels: ClassVar[tuple] = (6.0, 12.0, 18.0, 24.0, 30.0)

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        # The benchmark multiplies rows by R_z R_y R_x.
        angles = torch.deg2rad(self.level * uniform(draws, 3))
        return cloud @ turn(-angles).T


@dataclass(frozen=True, kw_only=True)
class Shear(Corruption):
    """Sheared by a matrix with ones on its diagonal (ModelNet40-C).

    x -> x [[1, 0, b], [d, 1, e], [f, 0, 1]], each number of size c +- 0.05 and either
    sign, c = 0.05, 0.1, 0.15, 0.2, 0.25: as in the benchmark's code, which draws six
    numbers and uses four of them. Published frame: the cube.
    """

    title: ClassVar[str] = "shear"
    levels: ClassVar[tuple] = (0.05, 0.1, 0.15, 0.2, 0.25)
    published_frame: ClassVar[str] = "cube"

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        b, d, e, f = _sized(draws, 4, self.level, 0.05).tolist()
        return cloud @ cloud.new_tensor([[1, 0, b], [d, 1, e], [f, 0, 1]])


@dataclass(frozen=True, kw_only=True)
class Stretch(Corruption):
    """One axis longer by c, another shorter by c ("scale" of ModelNet40-C's code).

    c = 0.1, 0.2, 0.3, 0.4, 0.5. Written for ModelNet40-C and left out of its published
    15, so it is not part of MODELNET40_C. Published frame: the cube.
    """

    title: ClassVar[str] = "stretch"
    levels: ClassVar[tuple] = (0.1, 0.2, 0.3, 0.4, 0.5)
    published_frame: ClassVar[str] = "cube"

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        longer, shorter = torch.randperm(3, generator=draws)[:2].tolist()
        factors = cloud.new_ones(3)
        factors[longer] += self.level
        factors[shorter] -= self.level
        return cloud * factors


@dataclass(frozen=True, kw_only=True)
class Scale(Corruption):
    """Each axis by a factor uniform in 1/s..s (PointCloud-C).

    s = 1.6, 1.7, 1.8, 1.9, 2. Published frame: the unit sphere, the only corruption of
    this benchmark that is normalised afterwards.
    """

    title: ClassVar[str] = "scale"
    levels: ClassVar[tuple] = (1.6, 1.7, 1.8, 1.9, 2.0)
    published_frame: ClassVar[str] = "sphere"

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        return cloud * uniform(draws, 3, low=1 / self.level, high=self.level)
