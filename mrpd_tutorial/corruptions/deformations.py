"""The object bends: a lattice of control points around it moves at random.

The three deformations of ModelNet40-C, Sun et al. 2022 [arXiv 2201.12296], whose code
calls PyGeM for them; the equations here are PyGeM's. The lattice is 5 x 5 x 5 over the
cube [-1, 1]. Published frame of all three: the cube.
"""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mrpd_tutorial.corruptions.base import Corruption, uniform

__all__ = [
    "FreeFormDeformation",
    "InverseRBFDeformation",
    "RBFDeformation",
    "bernstein",
]

_SIDE = 5
_RADIUS = 0.5  # PyGeM's default


def bernstein(t: Float[Tensor, "N"]) -> Float[Tensor, "N 5"]:
    """The five Bernstein polynomials of degree 4 at t in [0, 1]; they add up to 1."""
    binomials = t.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0])
    power = torch.arange(_SIDE)
    return binomials * t[:, None] ** power * (1 - t[:, None]) ** (_SIDE - 1 - power)


@dataclass(frozen=True, kw_only=True)
class FreeFormDeformation(Corruption):
    """Free-form deformation, "distortion" in the benchmark's files.

    Sederberg and Parry 1986: x -> x + sum_ijk B_i(s) B_j(t) B_k(u) d_ijk, with (s, t,
    u) the place of x in the cube. d is uniform in +-c a coordinate, in parts of the
    cube's side of 2; c = 0.1, 0.2, 0.3, 0.4, 0.5. Points outside the cube stay.
    """

    title: ClassVar[str] = "distortion"
    levels: ClassVar[tuple] = (0.1, 0.2, 0.3, 0.4, 0.5)
    published_frame: ClassVar[str] = "cube"

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        moves = 2 * self.level * uniform(draws, _SIDE, _SIDE, _SIDE, 3)
        place = ((cloud + 1) / 2).clamp(0, 1)
        s, t, u = (bernstein(column) for column in place.unbind(1))  # (N, 5) each
        offset = torch.einsum("ni,nj,nk,ijkd->nd", s, t, u, moves)
        inside = cloud.abs().amax(1, keepdim=True) <= 1
        return torch.where(inside, cloud + offset, cloud)


def _multiquadric(distance: Tensor) -> Tensor:
    return (distance.square() + _RADIUS**2).sqrt()


def _inverse_multiquadric(distance: Tensor) -> Tensor:
    return 1 / _multiquadric(distance)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """(N, M) as differences: the expanded square loses half the digits near 0."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _lattice() -> Float[Tensor, "125 3"]:
    line = torch.linspace(-1, 1, _SIDE, dtype=torch.float64)
    return torch.cartesian_prod(line, line, line)


def _affine(points: Tensor) -> Tensor:
    """(N, 4): 1, x, y, z."""
    return torch.cat([points.new_ones(len(points), 1), points], dim=1)


@cache
def _solver(kernel) -> Float[Tensor, "129 125"]:
    """Weights of kernels and affine part = this, times the control points' moves."""
    lattice = _lattice()
    affine = _affine(lattice)  # (125, 4)
    top = torch.cat([kernel(_distances(lattice, lattice)), affine], dim=1)
    bottom = torch.cat([affine.T, affine.new_zeros(4, 4)], dim=1)
    return torch.linalg.inv(torch.cat([top, bottom]))[:, : len(lattice)]


@dataclass(frozen=True, kw_only=True)
class RBFDeformation(Corruption):
    """Radial basis functions carry the lattice's moves into space ("distortion_rbf").

    x -> x + sum_i w_i phi(|x - p_i|) + (1, x) A, with w and A such that each control
    point p_i moves by its own d_i and the w leave affine maps to A. phi(r) = sqrt(r^2
    + 0.25), the multiquadric. Each d_i has length c = 0.025, 0.05, 0.075, 0.1, 0.125
    and the direction (cos a sin g, sin a sin g, cos g), a and g uniform in +-pi.
    """

    title: ClassVar[str] = "distortion_rbf"
    levels: ClassVar[tuple] = (0.025, 0.05, 0.075, 0.1, 0.125)
    published_frame: ClassVar[str] = "cube"
    kernel: ClassVar = staticmethod(_multiquadric)

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        lattice = _lattice()
        a, g = torch.pi * uniform(draws, 2, len(lattice))
        moves = torch.stack([a.cos() * g.sin(), a.sin() * g.sin(), g.cos()], dim=1)
        return cloud + self._carry(cloud, self.level * moves)

    def _carry(self, cloud: Tensor, moves: Tensor) -> Tensor:
        """(N, 3): how the points move when the control points move by (125, 3)."""
        weights = _solver(self.kernel) @ moves  # (129, 3)
        near = self.kernel(_distances(cloud, _lattice()))  # (N, 125)
        return torch.cat([near, _affine(cloud)], dim=1) @ weights


@dataclass(frozen=True, kw_only=True)
class InverseRBFDeformation(RBFDeformation):
    """As RBFDeformation, with phi(r) = 1 / sqrt(r^2 + 0.25) ("distortion_rbf_inv")."""

    title: ClassVar[str] = "distortion_rbf_inv"
    kernel: ClassVar = staticmethod(_inverse_multiquadric)
