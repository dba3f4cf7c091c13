"""Restoration: put each point where its neighbours say the surface is."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from mrpd_tutorial.checks import check_between, check_points, check_positive
from mrpd_tutorial.defenses.base import Defense
from mrpd_tutorial.defenses.removal import SOR
from mrpd_tutorial.geometry import gather_points, knn

__all__ = ["Restoration"]


@dataclass(frozen=True, kw_only=True)
class Restoration(Defense):
    """Optimise points to lie on their smoothed neighbourhood, evenly spread.

    In the spirit of IF-Defense [Wu et al. 2020, arXiv 2010.05272], which moves points
    by a geometry-aware loss (be on an implicit surface) and a distribution-aware one
    (keep a distance). The surface there is a network's (ConvONet); here it is the
    cloud's own, by the fixed-point iteration of the locally optimal projection [Lipman
    et al. 2007, Eq. 9, weights of Huang et al. 2009]:

        x_i <- sum_j a_ij p_j / sum_j a_ij + mu * sum_j b_ij (x_i - x_j) / sum_j b_ij
        a_ij = exp(-|x_i - p_j|^2 / s^2)
        b_ij = exp(-|x_i - x_j|^2 / s^2) / |x_i - x_j|

    over the k nearest others j of point i in the cloud given. Where it differs from
    that algorithm: a point starts at its own place and is not its own neighbour, or it
    would never leave; attraction is to the mean (smooth), not the L1 median; the graph
    is made once; s is `width` times the cloud's median distance to neighbours.

    What it is not: it has no idea of what objects look like. It takes jitter and lone
    points back to the surface; it cannot bring back a part that was removed, it rounds
    edges and thin parts, and IF-Defense's published numbers are not its numbers.

    Deterministic, and differentiable apart from the choice of neighbours: an adaptive
    attack goes through all its steps.

    Args:
        k: neighbours of a point, itself not counted.
        width: s, as a multiple of the median distance to the `k` neighbours.
        repulsion: mu, 0 to below 0.5; Huang et al. take 0.45.
        steps: iterations.
        sor: outlier removal in front, as IF-Defense has it; None leaves it out.
    """

    k: int = 8
    width: float = 1.0
    repulsion: float = 0.45
    steps: int = 3
    sor: SOR | None = field(default_factory=SOR)

    def __post_init__(self) -> None:
        check_between("k", self.k, 1, float("inf"))
        check_positive("width", self.width)
        check_between("repulsion", self.repulsion, 0, 0.5)
        check_positive("steps", self.steps)

    def __call__(self, points: Tensor) -> Float[Tensor, "B N 3"]:
        """Restore.

        Args:
            points: (B, N, 3), N > k (and more than SOR's).

        Returns:
            (B, N, 3).

        Raises:
            ValueError: if clouds have no more than k points.
        """
        check_points(points, min_points=self.k + 1)
        given = points if self.sor is None else self.sor(points)
        with torch.no_grad():
            # The first neighbour is the point itself, or another at the same place.
            _, graph = knn(given, given, self.k + 1)
            graph = graph[..., 1:]  # (B, N, k)
        others = gather_points(given, graph)  # (B, N, k, 3): p_j
        squares = (others - given[:, :, None]).square().sum(-1)  # (B, N, k)
        lengths = squares.clamp(min=1e-12).sqrt()
        scale = self.width * lengths.mean(-1).median(1).values  # (B,)
        variance = scale.square()[:, None, None]  # (B, 1, 1)
        # Copies that SOR made would hold a point where it is: they do not vote, unless
        # there is nobody else.
        copy = squares.detach() <= 1e-12
        silent = torch.where(copy & ~copy.all(-1, keepdim=True), -torch.inf, 0.0)
        current = given
        for _ in range(self.steps):
            current = self._step(current, others, graph, variance, silent)
        return current

    def _step(
        self,
        current: Tensor,
        others: Tensor,
        graph: Tensor,
        variance: Tensor,
        silent: Tensor,
    ) -> Tensor:
        squares = (others - current[:, :, None]).square().sum(-1)  # (B, N, k)
        # A softmax, so that a point far from all others still goes to the nearest.
        attraction = (silent - squares / variance).softmax(-1)
        moved = (attraction[..., None] * others).sum(2)  # (B, N, 3)
        if not self.repulsion:
            return moved
        offsets = current[:, :, None] - gather_points(current, graph)  # x_i - x_j
        squares = offsets.square().sum(-1)
        # log b_ij = -d^2 / s^2 - log d, the same way.
        pressure = silent - squares / variance - 0.5 * squares.clamp(min=1e-12).log()
        push = (pressure.softmax(-1)[..., None] * offsets).sum(2)
        return moved + self.repulsion * push
