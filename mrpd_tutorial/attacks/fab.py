"""The nearest misleading cloud, in three norms."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mrpd_tutorial.attacks import norms
from mrpd_tutorial.attacks.aims import aims_in_turn, objective
from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.checks import check_between, check_choice, check_positive

__all__ = ["FAB"]


def _to_plane(gap: Tensor, dual: Tensor, limit: Tensor) -> Tensor:
    """(b,) signed way along the steepest direction to the plane, at most `limit`."""
    length = torch.where(dual > 0, -gap / torch.where(dual > 0, dual, 1.0), 0.0)
    return torch.maximum(torch.minimum(length, limit), -limit)


@dataclass(frozen=True, kw_only=True)
class FAB(Attack):
    """Fast adaptive boundary attack: walk along the boundary toward the clean cloud.

    Implements Algorithm 1 of Croce and Hein 2020 [arXiv 1907.02044] in its targeted
    form (one backward pass a step, whatever the number of classes), on coordinates that
    have no bounds. With f the aimed-at logit minus the true one and g its gradient at
    x, the boundary is taken for the plane f + <g, x' - x> = 0. Both x and the clean
    cloud x_0 are projected on it, which without bounds has a closed form in every norm,

        delta = -f / ||g||_dual * d(g),    d(g) the norm's steepest direction of size 1,

    with the dual norm of "per_point" being the sum of the points' gradient lengths.
    Then x <- (1 - a)(x + overshoot delta) + a (x_0 + overshoot delta_0), with a =
    min(|delta| / (|delta| + |delta_0|), alpha_max); a misleading x is kept if it is the
    nearest so far, and pulled back to x_0 + backward (x - x_0); the plane found at x is
    projected on from there, where the paper computes another gradient. At the end each
    cloud found is moved toward x_0 by interpolating f.

    No projection is longer than the object itself: where a gradient nearly vanishes the
    plane may be anywhere.

    Args:
        eps: the farthest cloud that counts, in `norm`; infinite: any. One number or one
            for each cloud.
        norm: "per_point", "l2" or "linf", in which the nearest cloud is wanted.
        steps: of each try.
        restarts: tries for each class aimed at; the first starts at the clean cloud,
            the others within half of the distance found so far.
        classes_tried: so many of the likeliest wrong classes are aimed at in turn.
            Attacks with target_labels aim at those.
        alpha_max: see above; 0.1.
        overshoot: see above; the paper's eta, 1.05.
        backward: see above; the paper's beta, 0.9.
        final_steps: interpolations at the end; 3.

    Raises:
        ValueError: on a setting out of range; at the call, if a finite eps exceeds the
            object.
    """

    eps: float | Sequence[float] | Tensor = math.inf
    norm: str = "l2"
    steps: int = 20
    restarts: int = 1
    classes_tried: int = 9
    alpha_max: float = 0.1
    overshoot: float = 1.05
    backward: float = 0.9
    final_steps: int = 3

    minimal = True

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, norms.NORMS)
        super().__post_init__()
        for name in ("steps", "restarts", "classes_tried"):
            check_positive(name, getattr(self, name))
        check_between("alpha_max", self.alpha_max, 0, 1)
        check_between("overshoot", self.overshoot, 1, 2)
        check_between("backward", self.backward, 0, 1)
        check_between("final_steps", self.final_steps, 0, math.inf)

    @classmethod
    def quick(cls, **changes) -> "FAB":
        """L2, 20 steps for each of 3 classes."""
        return dataclasses.replace(cls(classes_tried=3), **changes)

    @classmethod
    def paper(cls, **changes) -> "FAB":
        """FAB-T of AutoAttack [arXiv 2003.01690]: 100 steps for each of 9 classes."""
        return dataclasses.replace(cls(steps=100), **changes)

    def _check_budget(self, points: Tensor, eps: Tensor) -> None:
        norms.check_budget(points, eps, self.norm)

    def _run(self, search: Search) -> None:
        reach = norms.extent(search.clean, self.norm)
        # A cloud of equal points has no extent; it may move by a unit.
        reach = torch.where(reach > 0, reach, 1.0)
        for aims in aims_in_turn(search, self.classes_tried):
            for restart in range(self.restarts):
                index = search.open()
                if not len(index):
                    return
                start = search.clean[index]
                if restart:
                    radius = torch.minimum(search.eps, search.best_cost)
                    radius = torch.minimum(radius, 0.1 * reach)[index] / 2
                    generators = [search.generators[i] for i in index.tolist()]
                    start = start + norms.random_displacement(
                        start, radius, self.norm, generators
                    )
                self._walk(search, index, start, aims, reach)
        self._interpolate(search)

    def _show(self, search: Search, points: Tensor, logits: Tensor, index: Tensor):
        """Let the search keep clouds within eps; their cost is their distance."""
        points = points.detach()
        cost = norms.size(points - search.clean[index], self.norm)
        # The distance itself is rounded; the budget holds in exact numbers too.
        within = cost * (1 + 1e-5) <= search.eps[index]
        search.consider(points[within], logits[within], index[within], cost[within])

    def _walk(
        self,
        search: Search,
        index: Tensor,
        current: Tensor,
        aims: Tensor | None,
        reach: Tensor,
    ) -> None:
        for _ in range(self.steps):
            current = current.detach().requires_grad_(True)
            logits = search.logits(current, index)
            self._show(search, current, logits, index)
            chosen = None if aims is None else aims[index]
            gap = objective(search, "margin", logits, index, chosen)
            gradient = search.gradient(gap, current, index)
            gap, seen, clean = gap.detach(), current.detach(), search.clean[index]
            # A misleading cloud is pulled back; the plane found at it serves there too.
            misled = search.misled(logits, index)[:, None, None]
            current = torch.where(misled, clean + self.backward * (seen - clean), seen)
            gap_at_clean = gap + (gradient * (clean - seen)).sum((1, 2))
            gap = gap + (gradient * (current - seen)).sum((1, 2))
            direction = norms.steepest(gradient, self.norm)
            dual = norms.dual_size(gradient, self.norm)
            limit = reach[index]
            length = _to_plane(gap, dual, limit)
            length_at_clean = _to_plane(gap_at_clean, dual, limit)
            both = length.abs() + length_at_clean.abs()
            share = length.abs() / torch.where(both > 0, both, 1.0)
            share = share.clamp(max=self.alpha_max)[:, None, None]
            step = self.overshoot * direction
            from_here = current + length[:, None, None] * step
            from_clean = clean + length_at_clean[:, None, None] * step
            moved = (1 - share) * from_here + share * from_clean
            still = search.still_open(index)
            index, current = index[still], moved[still]
            if not len(index):
                return
        with torch.no_grad():
            self._show(search, current, search.logits(current, index), index)

    def _interpolate(self, search: Search) -> None:
        """Move the clouds found toward the clean ones, to where f is just above 0."""
        everything = torch.arange(len(search.labels), device=search.labels.device)
        index = everything[search.success & (search.best_cost > 0)]
        if not len(index) or search.stop_at_success:
            return
        with torch.no_grad():
            away = search.best[index] - search.clean[index]
            low = torch.zeros_like(search.eps[index])
            high = torch.ones_like(low)
            gap_low = search.margin(search.clean_logits, everything)[index].to(low)
            gap_high = search.best_margin[index].to(low)
            for _ in range(self.final_steps):
                share = gap_high / (gap_high - gap_low).clamp(min=1e-30)
                # A little short of the interpolated zero, on the misleading side.
                middle = high - 0.95 * share * (high - low)
                points = search.clean[index] + middle[:, None, None] * away
                logits = search.logits(points, index)
                self._show(search, points, logits, index)
                gap = search.margin(logits, index).to(low)
                misled = search.misled(logits, index)
                high = torch.where(misled, middle, high)
                gap_high = torch.where(misled, gap, gap_high)
                low = torch.where(misled, low, middle)
                gap_low = torch.where(misled, gap_low, gap)
