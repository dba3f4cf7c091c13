"""What FGM, I-FGM, MI-FGM and PGD share: steps along the gradient, inside a ball."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mrpd_tutorial.attacks import norms
from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.checks import check_choice, check_positive

__all__ = ["Ascent", "if_defense_eps"]


def if_defense_eps(num_points: int, per_coordinate: float = 0.08) -> float:
    """The whole-cloud L2 budget of IF-Defense [Wu et al. 2020, arXiv 2010.05272].

    Its gradient attacks may move a cloud of N points by 0.08 * sqrt(3N) in L2: as far
    as if each coordinate moved by 0.08. Papers that quote "0.08" without the root mean
    a budget about 55 times smaller.

    Args:
        num_points: N.
        per_coordinate: root mean square change of a coordinate, in units of the cloud.

    Returns:
        The budget for norm="l2".

    Raises:
        ValueError: if either is not above 0.

    Example:
        >>> round(if_defense_eps(1024), 3)
        4.434
    """
    check_positive("num_points", num_points)
    check_positive("per_coordinate", per_coordinate)
    return per_coordinate * math.sqrt(3 * num_points)


@dataclass(frozen=True, kw_only=True)
class Ascent(Attack):
    """Settings of attacks that climb a loss in steps, and the climb itself.

    Args:
        eps: budget in `norm`, in units of the cloud; one number or one for each cloud.
        norm: "per_point" (each point moves at most eps, Euclidean), "l2" (the cloud as
            one vector), "linf" (each coordinate).
        steps: number of gradient steps.
        step_size: length of a step in `norm`; None means the attack's own rule.
        loss: "ce" or "margin" (best wrong logit minus true logit).
        confidence: a cloud stops as soon as its margin exceeds this number, as it
            would where the published margin loss max(0, k - margin) has no gradient.
            None: it goes on to the last step. The stronger transfer, and the harder a
            defense has it, the larger this number (see the attack's presets).

    Raises:
        ValueError: on a setting out of range; at the call, if eps exceeds the object.
    """

    norm: str = "per_point"
    steps: int = 10
    step_size: float | None = None
    loss: str = "ce"
    confidence: float | None = None

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, norms.NORMS)
        super().__post_init__()
        check_choice("loss", self.loss, ("ce", "margin"))
        check_positive("steps", self.steps)
        if self.step_size is not None:
            check_positive("step_size", self.step_size)
        if self.confidence is not None and not self.confidence >= 0:
            raise ValueError(
                f"confidence must be 0 or above; received {self.confidence}."
            )

    def _check_budget(self, points: Tensor, eps: Tensor) -> None:
        norms.check_budget(points, eps, self.norm)

    def _step_sizes(self, eps: Tensor) -> Tensor:
        """(B,) the length of each cloud's step where step_size is None."""
        return eps / self.steps

    def _direction(self, gradient: Tensor, memory: Tensor, index: Tensor) -> Tensor:
        """The step of size 1; `memory` (B, N, 3) starts with zeros, to be changed."""
        return norms.steepest(gradient, self.norm)

    def _climb(
        self,
        search: Search,
        index: Tensor,
        current: Tensor,
        seen: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Take `steps` steps from `current` with the clouds at `index`.

        `seen`: what the first step sees, clouds and logits, if the model has answered.
        """
        if self.step_size is None:
            step_sizes = self._step_sizes(search.eps)
        else:
            step_sizes = search.eps.new_full(search.eps.shape, self.step_size)
        objective = search.cross_entropy if self.loss == "ce" else search.margin
        memory = torch.zeros_like(search.clean)
        for _ in range(self.steps):
            if not len(index):
                return
            if seen is None:
                current = current.detach().requires_grad_(True)
                logits = search.logits(current, index)
                search.consider(current, logits, index)
            else:
                (current, logits), seen = seen, None
            gradient = search.gradient(objective(logits, index), current, index)
            ascent = self._direction(gradient, memory, index)
            moved = current.detach() + step_sizes[index][:, None, None] * ascent
            moved = norms.project(
                search.clean[index], moved, search.eps[index], self.norm
            )
            # Solved clouds leave. Those just solved took part in one backward pass too
            # many: cheaper than running the others twice.
            still = search.still_open(index)
            if self.confidence is not None:
                still &= search.margin(logits.detach(), index) <= self.confidence
            index, current = index[still], moved[still]
        if len(index):
            with torch.no_grad():
                search.consider(current, search.logits(current, index), index)
