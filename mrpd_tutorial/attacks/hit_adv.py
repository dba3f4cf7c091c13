"""HiT-ADV: smooth deformations around places where the surface is busy anyway."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mrpd_tutorial.attacks import norms
from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.attacks.binary_search import TradeOff, binary_search
from mrpd_tutorial.attacks.deformation import deformation_centres, deformed
from mrpd_tutorial.attacks.drop import saliency
from mrpd_tutorial.attacks.optimise import (
    Adam,
    gradient_of_sum,
    ranked_cost,
    reached,
)
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.attacks.surface import (
    curvature_deviation,
    estimate_normals,
    neighbour_indices,
)
from mrpd_tutorial.checks import check_between, check_positive
from mrpd_tutorial.geometry import (
    gather_points,
    pairwise_squared_distances,
)
from mrpd_tutorial.nearest import nearest_both_ways

__all__ = ["HiTADV"]


@dataclass(frozen=True, kw_only=True)
class HiTADV(Attack):
    """Shift and widen Gaussian kernels on busy places until the cloud misleads.

    Implements Lou et al. 2024 [arXiv 2403.05247]: minimise by Adam, over shifts v_j and
    widths s_j of the kernels of `deformed` at `deformation_centres`,

        max(0, k - Z(x')) + weight * D,
        D = chamfer_weight * CD(x', x) + |v| / m + |1 - s| / m + cos(s, busyness)

    with Z the margin, m the number of centres, and the weight found by a binary search
    for each cloud (success raises it). Of the clouds that mislead by k the one with the
    smallest D is returned; where none does, the one that misleads by most.

    The release starts all shifts in U(0, 0.55), with one sign: that translates the
    whole cloud by about 0.26 along each axis, and what misleads by it alone is undone
    by re-centring. Here shifts start with both signs, and `centred` takes the mean
    displacement away from every cloud before the model sees it. The mean taken away
    could lead out of the bound of the shifts; the displacement is then scaled down, so
    that eps bounds each coordinate. Nearest neighbours for CD are kept for
    `nearest_every` steps; distances to them are always exact.

    Args:
        eps: bound of each shift's coordinates and of each point's, l-infinity.
        steps: steps of Adam for each weight.
        search_steps: weights tried.
        weight: the first one.
        max_weight: none is larger.
        confidence: the margin k.
        step_size: Adam's learning rate for the shifts.
        width_step_size: the same for the widths.
        min_width: lower bound of the widths, which start uniformly between the two.
        max_width: upper bound of the widths.
        anchors: see `deformation_centres`.
        centres: the same.
        k: neighbours for curvature, and around an anchor.
        salience_weight: see `deformation_centres`.
        chamfer_weight: see above.
        nearest_every: steps between two searches for nearest neighbours.
        centred: whether clouds keep their centroid.

    Raises:
        ValueError: on a setting out of range; at the call, if eps exceeds the object.
    """

    eps: float | Sequence[float] | Tensor = 0.55
    steps: int = 100
    search_steps: int = 10
    weight: float = 10.0
    max_weight: float = 80.0
    confidence: float = 30.0
    step_size: float = 0.05
    width_step_size: float = 0.03
    min_width: float = 0.1
    max_width: float = 1.2
    anchors: int = 256
    centres: int = 192
    k: int = 16
    salience_weight: float = 0.001
    chamfer_weight: float = 1e-4
    nearest_every: int = 10
    centred: bool = True

    norm: ClassVar[str] = "linf"
    minimal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for eps in self.eps if isinstance(self.eps, tuple) else (self.eps,):
            check_between("eps", eps, 0, 1e6)
        for name in ("steps", "search_steps", "step_size", "width_step_size"):
            check_positive(name, getattr(self, name))
        for name in ("anchors", "centres", "nearest_every", "min_width", "max_weight"):
            check_positive(name, getattr(self, name))
        if self.k < 2:
            raise ValueError(f"k must be at least 2 neighbours; received {self.k}.")
        check_between("max_width", self.max_width, self.min_width, 1e6)
        check_between("weight", self.weight, 0, self.max_weight)
        for name in ("confidence", "salience_weight", "chamfer_weight"):
            check_between(name, getattr(self, name), 0, float("inf"))

    @classmethod
    def quick(cls, **changes) -> "HiTADV":
        """20 steps for each of 3 weights, 48 centres out of 64 anchors."""
        settings = cls(steps=20, search_steps=3, anchors=64, centres=48)
        return dataclasses.replace(settings, **changes)

    @classmethod
    def paper(cls, **changes) -> "HiTADV":
        """As released: 100 steps for each of 10 weights, from 10 up to 80.

        Shifts up to 0.55, widths 0.1 to 1.2, confidence 30, Adam 0.05 and 0.03, 192
        centres out of 256 anchors, curvature over 16 neighbours.
        """
        settings = cls(
            eps=0.55,
            steps=100,
            search_steps=10,
            weight=10.0,
            max_weight=80.0,
            confidence=30.0,
            step_size=0.05,
            width_step_size=0.03,
            min_width=0.1,
            max_width=1.2,
            anchors=256,
            centres=192,
            k=16,
            salience_weight=0.001,
            chamfer_weight=1e-4,
        )
        return dataclasses.replace(settings, **changes)

    def _check_budget(self, points: Tensor, eps: Tensor) -> None:
        norms.check_budget(points, eps, self.norm)

    def _run(self, search: Search) -> None:
        index = search.open()
        if not len(index):
            return
        busy, centres = self._centres(search)
        squared = pairwise_squared_distances(
            search.clean, gather_points(search.clean, centres)
        )  # (B, N, m)
        busy = busy.gather(1, centres)  # (B, m)

        def one_step(index: Tensor, weight: Tensor) -> Tensor:
            return self._optimise(search, index, weight, squared, busy)

        trade_off = TradeOff(torch.full_like(search.eps, self.weight), self.max_weight)
        binary_search(search, index, trade_off, self.search_steps, one_step)

    def _centres(self, search: Search) -> tuple[Tensor, Tensor]:
        """How busy the surface is around each point (B, N), and centres (B, m)."""
        points = search.clean.clone().requires_grad_(True)
        everything = torch.arange(len(points), device=points.device)
        loss = search.cross_entropy(search.logits(points, everything), everything)
        gradient = search.gradient(loss, points, everything)
        points = points.detach()
        neighbours = neighbour_indices(points, self.k)
        normals = estimate_normals(points, neighbours=neighbours)
        busy = curvature_deviation(points, normals, neighbours)
        return busy, deformation_centres(
            points,
            saliency(points, gradient),
            busy,
            neighbours,
            self.anchors,
            self.centres,
            self.salience_weight,
        )

    def _start(self, search: Search, index: Tensor, count: int) -> Tensor:
        """(b, m, 4): shifts with both signs, and widths."""
        sources = [search.generators[i] for i in index.tolist()]
        drawn = torch.stack([torch.rand(count, 4, generator=g) for g in sources])
        drawn = drawn.to(search.clean)  # from the CPU: the same on every device
        shifts = search.eps[index][:, None, None] * (2 * drawn[..., :3] - 1)
        widths = self.min_width + (self.max_width - self.min_width) * drawn[..., 3:]
        return torch.cat([shifts, widths], dim=-1)

    def _bounded(self, search: Search, index: Tensor, moved: Tensor) -> Tensor:
        """Clouds with the centroid of the clean ones, no coordinate beyond eps."""
        clean, eps = search.clean[index], search.eps[index]
        displacement = moved - clean
        if self.centred:
            displacement = displacement - displacement.mean(1, keepdim=True)
        largest = displacement.detach().abs().amax((1, 2))
        allowed = (1 - 1e-5) * eps  # so that projecting clips nothing off the centre
        scale = torch.where(largest > allowed, allowed / largest.clamp(min=1e-30), 1.0)
        return norms.project(
            clean, clean + scale[:, None, None] * displacement, eps, self.norm
        )

    def _optimise(
        self,
        search: Search,
        index: Tensor,
        weight: Tensor,
        squared: Tensor,
        busy: Tensor,
    ) -> Tensor:
        """Adam from a new start; returns (b,) who was misled by the confidence."""
        position = torch.arange(len(index), device=index.device)
        hit = torch.zeros_like(index, dtype=torch.bool)
        theta = self._start(search, index, squared.shape[2])
        adam = Adam(theta, 1.0)
        rates = theta.new_tensor([self.step_size] * 3 + [self.width_step_size])
        nearest = None
        for step in range(self.steps + 1):
            last = step == self.steps
            theta = theta.detach().requires_grad_(not last)
            clean = search.clean[index]
            with torch.set_grad_enabled(not last):
                shifts, widths = theta[..., :3], theta[..., 3]
                moved = deformed(clean, squared[index], shifts, widths)
                moved = self._bounded(search, index, moved)
                if nearest is None or step % self.nearest_every == 0:
                    nearest = nearest_both_ways(moved.detach(), clean)
                seen = moved.detach().requires_grad_(not last)
                logits = search.logits(seen, index)
                gap = search.margin(logits, index)
                distance = self.chamfer_weight * _chamfer(moved, clean, nearest)
                distance = distance + _visible(shifts, widths, busy[index])
            cost = ranked_cost(distance.detach(), gap.detach(), self.confidence)
            search.consider(moved, logits, index, cost)
            done = reached(gap.detach(), self.confidence)
            hit[position] |= done
            if last:
                break
            gradient = gradient_of_sum(
                search,
                index,
                theta,
                points=moved,
                seen=seen,
                misleading=(self.confidence - gap).clamp(min=0),
                price=weight[position] * distance,
                done=done,
            )
            theta = theta.detach() + rates * adam.step(gradient)
            eps = search.eps[index][:, None, None]
            shifts = torch.maximum(torch.minimum(theta[..., :3], eps), -eps)
            widths = theta[..., 3:].clamp(self.min_width, self.max_width)
            theta = torch.cat([shifts, widths], dim=-1)
            still = ~(search.success[index] & search.stop_at_success)
            index, position, theta = index[still], position[still], theta[still]
            nearest = (nearest[0][still], nearest[1][still])
            adam.keep(still)
            if not len(index):
                break
        return hit


def _visible(shifts: Tensor, widths: Tensor, busy: Tensor) -> Tensor:
    """(b,) |v| / m + |1 - s| / m + cos(s, busyness)."""
    count = widths.shape[1]
    size = shifts.flatten(1).norm(dim=1) + (1 - widths).norm(dim=1)
    return size / count + F.cosine_similarity(widths, busy, dim=1)


def _chamfer(moved: Tensor, clean: Tensor, nearest: tuple[Tensor, Tensor]) -> Tensor:
    """(b,) the two-sided mean squared distance between the neighbours given."""
    there = (moved - gather_points(clean, nearest[0])).square().sum(-1).mean(1)
    back = (clean - gather_points(moved, nearest[1])).square().sum(-1).mean(1)
    return there + back
