"""SI-Adv: points slide along the surface, so that the shape stays what it is."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mrpd_tutorial.attacks import norms
from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.attacks.optimise import small_noise
from mrpd_tutorial.attacks.search import Search, margin
from mrpd_tutorial.attacks.surface import estimate_normals, tangent_part
from mrpd_tutorial.attacks.victim import (
    check_logits,
    frozen,
    require_evaluation_mode,
)
from mrpd_tutorial.checks import check_choice, check_positive

__all__ = ["SIAdv", "SIAdvQuery"]


@dataclass(frozen=True, kw_only=True)
class SIAdv(Attack):
    """Climb the margin within the tangent planes (white box).

    Implements Huang et al. 2022 [arXiv 2203.04041]. The paper turns each point's normal
    to z, drops the third coordinate of the gradient and turns back: together that is
    the tangent part g - <g, n> n. A step goes along it with one length for the whole
    cloud, step_size * sqrt(3N), then into the ball. Normals are those of the moved
    cloud.

    The released code differs: open3d estimates its normals, it attacks one cloud at a
    time, and its success rate counts clouds that were misclassified before.

    Args:
        eps: budget in `norm`. The clip to it may leave the tangent planes.
        norm: "linf" (each coordinate, as published), "per_point" or "l2".
        steps: gradient steps.
        step_size: root mean square change of a coordinate in one step.
        k: points of a neighbourhood from which a normal is estimated.
        normals_every: steps between two estimates of the normals; 1 as published.
        loss: "margin" or "ce".

    Raises:
        ValueError: on a setting out of range; at the call, if eps exceeds the object.
    """

    eps: float | Sequence[float] | Tensor = 0.16
    norm: str = "linf"
    steps: int = 50
    step_size: float = 0.007
    k: int = 20
    normals_every: int = 1
    loss: str = "margin"

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, norms.NORMS)
        super().__post_init__()
        check_choice("loss", self.loss, ("ce", "margin"))
        for name in ("steps", "step_size", "normals_every"):
            check_positive(name, getattr(self, name))
        _check_neighbourhood(self.k)

    @classmethod
    def quick(cls, **changes) -> "SIAdv":
        """20 steps, normals estimated every fifth."""
        return dataclasses.replace(cls(steps=20, normals_every=5), **changes)

    @classmethod
    def paper(cls, **changes) -> "SIAdv":
        """l-infinity 0.16, 50 steps of 0.007, normals from 20 points in every step.

        As in the README of the release; the default step of its main.py is 0.07.
        """
        settings = cls(
            eps=0.16,
            norm="linf",
            steps=50,
            step_size=0.007,
            k=20,
            normals_every=1,
            loss="margin",
        )
        return dataclasses.replace(settings, **changes)

    def _check_budget(self, points: Tensor, eps: Tensor) -> None:
        norms.check_budget(points, eps, self.norm)

    def _run(self, search: Search) -> None:
        index = search.open()
        current = search.clean[index]
        normals = current
        length = self.step_size * (3 * current.shape[1]) ** 0.5
        objective = search.cross_entropy if self.loss == "ce" else search.margin
        for step in range(self.steps):
            if not len(index):
                return
            if self.normals_every > 1 and step % self.normals_every == 0:
                normals = estimate_normals(current, self.k)
            current = current.detach().requires_grad_(True)
            logits = search.logits(current, index)
            search.consider(current, logits, index)
            gradient = search.gradient(objective(logits, index), current, index)
            if self.normals_every == 1:
                normals = _normals_where(gradient, current, self.k)
            ascent = norms.steepest(tangent_part(gradient, normals), "l2")
            moved = norms.project(
                search.clean[index],
                current.detach() + length * ascent,
                search.eps[index],
                self.norm,
            )
            still = ~(search.success[index] & search.stop_at_success)
            index, current, normals = index[still], moved[still], normals[still]
        if len(index):
            with torch.no_grad():
                search.consider(current, search.logits(current, index), index)


@dataclass(frozen=True, kw_only=True)
class SIAdvQuery(Attack):
    """Move one point at a time along the surface, asking the victim for its logits.

    The query version of Huang et al. 2022 [arXiv 2203.04041]. A surrogate's gradient
    gives each point a tangent direction and a rank. In that order a point is moved
    there, or else the opposite way, and stays moved if the victim's margin rises. After
    the last point the surrogate is asked again, about the moved cloud.

    The released code differs: it never applies eps (steps of 0.32 leave clouds at twice
    its budget of 0.16), and returns the cloud tried last, not the best. Here a step is
    as long as step_size and eps allow. Where the surrogate has no gradient, the
    direction is random in the tangent plane.

    Args:
        surrogate: `points (b, N, 3) -> logits (b, C)`, differentiable, in evaluation
            mode. Its forward passes are not queries.
        eps: budget in `norm`.
        norm: "linf" or "per_point".
        step_size: length of a point's step.
        max_queries: the victim is asked at most so often about each cloud, the clean
            cloud included.
        k: points of a neighbourhood from which a normal is estimated.
        criterion: here "success" by default: a query saved is worth a margin.

    Raises:
        ValueError: on a setting out of range; at the call, if eps exceeds the object,
            or the surrogate answers wrongly.
    """

    surrogate: Any = field(repr=False)  # a callable, see __post_init__
    eps: float | Sequence[float] | Tensor = 0.16
    norm: str = "linf"
    step_size: float = 0.32
    max_queries: int = 2000
    k: int = 20
    criterion: str = "success"

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, ("linf", "per_point"))
        super().__post_init__()
        if not callable(self.surrogate):
            raise ValueError(
                "surrogate must be a callable points (b, N, 3) -> logits (b, C); "
                f"received {type(self.surrogate).__name__}."
            )
        check_positive("step_size", self.step_size)
        check_positive("max_queries", self.max_queries)
        _check_neighbourhood(self.k)

    @classmethod
    def quick(cls, surrogate: Callable[[Tensor], Tensor], **changes) -> "SIAdvQuery":
        """At most 200 queries."""
        settings = cls(surrogate=surrogate, max_queries=200)
        return dataclasses.replace(settings, **changes)

    @classmethod
    def paper(cls, surrogate: Callable[[Tensor], Tensor], **changes) -> "SIAdvQuery":
        """l-infinity 0.16, steps of 0.32 (so: to the border), as in the README.

        The limit of 2,000 queries is ours: about two for each of 1024 points.
        """
        settings = cls(
            surrogate=surrogate,
            eps=0.16,
            norm="linf",
            step_size=0.32,
            max_queries=2000,
            k=20,
        )
        return dataclasses.replace(settings, **changes)

    def _check_budget(self, points: Tensor, eps: Tensor) -> None:
        norms.check_budget(points, eps, self.norm)

    def _run(self, search: Search) -> None:
        if not self.allow_training_mode:
            require_evaluation_mode(self.surrogate)
        index = self._affordable(search, search.open())
        index = index[search.eps[index] > 0]
        while len(index):
            before = search.best_margin[index]
            with frozen(self.surrogate):
                moves, order = self._plan(search, index)
            improved = self._sweep(search, index, moves, order)
            improved &= search.best_margin[index] > before
            index = index[improved]

    def _affordable(self, search: Search, index: Tensor) -> Tensor:
        index = search.open(index)
        return index[search.queries[index] < self.max_queries]

    def _plan(self, search: Search, index: Tensor) -> tuple[Tensor, Tensor]:
        """Each point's displacement (B, N, 3), and the order of points (B, N)."""
        points = search.best[index].requires_grad_(True)
        labels, targets = search.labels[index], None
        if search.target_labels is not None:
            targets = search.target_labels[index]
        logits = self.surrogate(points)
        check_logits(logits, labels, targets)
        gap = margin(logits, labels, targets).sum()
        if not gap.requires_grad:
            raise ValueError(
                "surrogate must be differentiable: its logits have no gradient. Pass a "
                "model that neither detaches nor runs under no_grad."
            )
        (gradient,) = torch.autograd.grad(gap, points)
        gradient = torch.where(torch.isfinite(gradient), gradient, 0.0)
        points = points.detach()
        normals = estimate_normals(points, self.k)
        tangent = tangent_part(gradient, normals)
        drawn = small_noise(search, index, points.shape[1:], 1.0)
        strength = tangent.norm(dim=-1)  # (b, N)
        blind = (strength == 0)[..., None]
        direction = norms.steepest(
            torch.where(blind, tangent_part(drawn, normals), tangent), "per_point"
        )
        eps = search.eps[index][:, None]  # (b, 1)
        if self.norm == "linf":
            eps = eps / direction.abs().amax(-1).clamp(min=0.5)
        reach = eps.clamp(max=self.step_size).expand_as(strength)[..., None]
        moves = torch.zeros_like(search.clean)
        moves[index] = reach * direction
        order = search.labels.new_zeros(search.clean.shape[:2])
        order[index] = strength.argsort(dim=1, descending=True, stable=True)
        return moves, order

    def _sweep(
        self, search: Search, index: Tensor, moves: Tensor, order: Tensor
    ) -> Tensor:
        """Try each point once; returns (b,) which of the clouds can go on."""
        going = index
        for rank in range(order.shape[1]):
            trying = going
            for sign in (1, -1):
                trying = self._affordable(search, trying)
                if not len(trying):
                    break
                chosen = order[trying, rank]
                moved = search.best[trying]
                rows = torch.arange(len(trying), device=moved.device)
                moved[rows, chosen] += sign * moves[trying, chosen]
                moved = norms.project(
                    search.clean[trying], moved, search.eps[trying], self.norm
                )
                with torch.no_grad():
                    logits = search.logits(moved, trying)
                # More than rounding, which is another one in another batch.
                rounding = 16 * torch.finfo(logits.dtype).eps * logits.abs().amax(1)
                gain = search.margin(logits, trying) - search.best_margin[trying]
                risen = gain > rounding
                search.consider(moved[risen], logits[risen], trying[risen])
                search.iterations[trying] += 1
                trying = trying[~risen]
            going = self._affordable(search, going)
            if not len(going):
                break
        return torch.isin(index, going)


def _normals_where(gradient: Tensor, points: Tensor, k: int) -> Tensor:
    """Normals (b, N, 3) where there is a gradient, and zeros where no point will move.

    A PointNet looks at some hundred points: the others' normals would be for nothing.
    """
    moving = gradient.ne(0).any(-1)  # (b, N)
    count = max(1, int(moving.sum(1).max()))
    at = moving.long().argsort(dim=1, descending=True, stable=True)[:, :count]
    normals = torch.zeros_like(points)
    rows = torch.arange(len(points), device=points.device)[:, None]
    normals[rows, at] = estimate_normals(points, k, at=at)
    return normals


def _check_neighbourhood(k: int) -> None:
    if k < 2:
        raise ValueError(f"k must be at least 2, the point and a neighbour; got {k}.")
