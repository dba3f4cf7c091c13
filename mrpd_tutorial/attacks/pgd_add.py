"""PGD on added points: each of them within a ball around a point of the cloud."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mrpd_tutorial.attacks import norms
from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.attacks.initial_points import critical_order
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.checks import check_choice, check_positive
from mrpd_tutorial.geometry import gather_points

__all__ = ["PGDAdd"]


@dataclass(frozen=True, kw_only=True)
class PGDAdd(Attack):
    """Add a few points close to the cloud; its own points stay where they are, first.

    The added points of Xiang et al. 2019 [arXiv 1809.07016] with a hard budget in the
    place of their penalty: they begin at the points with the longest gradient, and PGD
    [arXiv 1706.06083] moves each within eps of where it began. So nothing is farther
    than eps from the clean cloud. Threat model: white box.

    Args:
        eps: how far an added point may be from the point it began at, in `norm` ("l2":
            all added points together).
        norm: "per_point", "l2" or "linf".
        count: points added to each cloud.
        steps: gradient steps.
        random_start: begin at random points of those balls. Copies of points give a
            maximum over points no gradient of their own, or share it.
        loss: "ce" or "margin".

    Raises:
        ValueError: on a setting out of range; at the call, if eps exceeds the object.
    """

    norm: str = "per_point"
    count: int = 32
    steps: int = 20
    random_start: bool = True
    loss: str = "margin"

    changes_count: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, norms.NORMS)
        super().__post_init__()
        check_choice("loss", self.loss, ("ce", "margin"))
        check_positive("count", self.count)
        check_positive("steps", self.steps)

    @classmethod
    def quick(cls, **changes) -> "PGDAdd":
        """32 points within 0.05, 10 steps."""
        return dataclasses.replace(cls(eps=0.05, steps=10), **changes)

    @classmethod
    def paper(cls, **changes) -> "PGDAdd":
        """512 points as in CW-Add, 100 steps; there is no published budget. 0.05."""
        return dataclasses.replace(cls(eps=0.05, count=512, steps=100), **changes)

    def _check_budget(self, points: Tensor, eps: Tensor) -> None:
        norms.check_budget(points, eps, self.norm)

    def _run(self, search: Search) -> None:
        order = critical_order(search)
        position = torch.arange(self.count, device=order.device) % order.shape[1]
        anchors = gather_points(search.clean, order[:, position])  # (B, count, 3)
        index = torch.arange(len(anchors), device=anchors.device)
        added = anchors
        if self.random_start:
            added = anchors + norms.random_displacement(
                anchors, search.eps, self.norm, search.generators
            )
            added = norms.project(anchors, added, search.eps, self.norm)
        climb = search.cross_entropy if self.loss == "ce" else search.margin
        step_sizes = 2.5 * search.eps / self.steps
        for _ in range(self.steps):
            added = added.detach().requires_grad_(True)
            points = torch.cat([search.clean[index], added], dim=1)
            logits = search.logits(points, index)
            search.consider(points, logits, index)
            gradient = search.gradient(climb(logits, index), added, index)
            ascent = norms.steepest(gradient, self.norm)
            moved = added.detach() + step_sizes[index, None, None] * ascent
            moved = norms.project(anchors[index], moved, search.eps[index], self.norm)
            still = search.still_open(index)
            index, added = index[still], moved[still]
            if not len(index):
                return
        with torch.no_grad():
            points = torch.cat([search.clean[index], added], dim=1)
            search.consider(points, search.logits(points, index), index)
