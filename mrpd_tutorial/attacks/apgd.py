"""PGD that sets its own step size, with three losses."""

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mrpd_tutorial.attacks import norms
from mrpd_tutorial.attacks.aims import LOSSES, aims_in_turn, objective
from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.checks import check_between, check_choice, check_positive

__all__ = ["APGD", "checkpoints"]

# Section 3.1 of the paper: weight of the new step, share of steps that must rise.
_NEW, _RISING = 0.75, 0.75


def checkpoints(steps: int) -> list[int]:
    """The steps after which APGD may halve its step size.

    Section 3.2 of Croce and Hein 2020 [arXiv 2003.01690]: ceil(p_j * steps) with p_0 =
    0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), below 1.

    Example:
        >>> checkpoints(100)
        [22, 41, 57, 70, 80, 87, 93, 99]
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    # Sums of decimals: 0.41 * 100 must not become 42.
    found = {math.ceil(share * steps - 1e-9) for share in shares[1:]}
    return sorted(step for step in found if step < steps)


@dataclass(frozen=True, kw_only=True)
class APGD(Attack):
    """Auto-PGD: long steps first, halved when they no longer help, from the best point.

    Implements Algorithm 1 of Croce and Hein 2020 [arXiv 2003.01690]: z = Proj(x_k +
    step * d(g)), x_{k+1} = Proj(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_{k-1})), step = 2
    eps at first. At each checkpoint a cloud's step is halved, and the cloud goes back
    to its best point, if fewer than 75 % of its steps raised the loss, or if neither
    the step nor the best loss changed since the checkpoint before. All of that is
    decided for each cloud by itself.

    Point clouds are not pictures: nothing is clamped to [0, 1]. (Ports of the released
    code to point clouds, whose clouds are clamped or leave their ball, differ in this.)
    After a cloud went back to its best point its next step has no momentum.

    Args:
        eps: budget in `norm`, in units of the cloud; one number or one for each cloud.
        norm: "per_point", "l2" or "linf".
        steps: gradient steps of each try.
        restarts: tries (for each class aimed at); the best cloud of all counts.
        random_start: begin at a random cloud in the ball instead of the clean one.
        loss: "ce", "margin" or "dlr" (difference of logits ratio; at least 3 classes,
            4 with a class to aim at).
        classes_tried: 0 climbs the untargeted loss. Otherwise so many of the likeliest
            wrong classes are aimed at in turn (APGD-T uses 9), and any wrong answer
            counts. Attacks with target_labels aim at those.

    Raises:
        ValueError: on a setting out of range; at the call, if eps exceeds the object.
    """

    norm: str = "per_point"
    steps: int = 20
    restarts: int = 1
    random_start: bool = True
    loss: str = "ce"
    classes_tried: int = 0

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, norms.NORMS)
        super().__post_init__()
        check_choice("loss", self.loss, LOSSES)
        check_positive("steps", self.steps)
        check_positive("restarts", self.restarts)
        check_between("classes_tried", self.classes_tried, 0, math.inf)
        if self.restarts > 1 and not self.random_start:
            raise ValueError(
                f"restarts must be 1 without a random start; received {self.restarts}. "
                "They would all be the same: set random_start=True."
            )

    @classmethod
    def quick(cls, **changes) -> "APGD":
        """Per point 0.05, 20 steps, cross-entropy."""
        return dataclasses.replace(cls(eps=0.05), **changes)

    @classmethod
    def paper(cls, **changes) -> "APGD":
        """100 steps as in AutoAttack, with the L2 budget 0.3 of its use on clouds.

        The budget is PointCAT's [Huang et al. 2022, arXiv 2209.07788]. AutoAttack runs
        this with "ce", and with loss="dlr", classes_tried=9 (APGD-T).
        """
        return dataclasses.replace(cls(eps=0.3, norm="l2", steps=100), **changes)

    def _check_budget(self, points: Tensor, eps: Tensor) -> None:
        norms.check_budget(points, eps, self.norm)

    def _run(self, search: Search) -> None:
        for aims in aims_in_turn(search, self.classes_tried):
            for _ in range(self.restarts):
                index = search.open()
                if not len(index):
                    return
                start = search.clean[index]
                if self.random_start:
                    generators = [search.generators[i] for i in index.tolist()]
                    start = start + norms.random_displacement(
                        start, search.eps[index], self.norm, generators
                    )
                self._climb(search, index, self._back(search, start, index), aims)

    def _back(self, search: Search, moved: Tensor, index: Tensor) -> Tensor:
        return norms.project(search.clean[index], moved, search.eps[index], self.norm)

    def _climb(
        self, search: Search, index: Tensor, current: Tensor, aims: Tensor | None
    ) -> None:
        """One try from `current`, the clouds at `index`."""
        count, lowest = len(search.labels), -torch.inf
        eps = search.eps
        step = 2 * eps  # this and what follows: one for each cloud of the chunk
        best_loss, last_loss, loss_then = (torch.full_like(eps, lowest) for _ in "123")
        best, best_gradient, previous = (torch.zeros_like(search.clean) for _ in "123")
        rises = torch.zeros_like(eps)
        halved = torch.ones(count, dtype=torch.bool, device=eps.device)
        previous[index] = current
        checks, last_check = checkpoints(self.steps), 0
        for k in range(self.steps):
            current = current.detach().requires_grad_(True)
            logits = search.logits(current, index)
            search.consider(current, logits, index)
            chosen = None if aims is None else aims[index]
            loss = objective(search, self.loss, logits, index, chosen)
            gradient = search.gradient(loss, current, index)
            loss, current = loss.detach().to(eps), current.detach()
            rises[index] += (loss > last_loss[index]).to(eps) if k else 0
            better = loss > best_loss[index]
            improved = index[better]
            best_loss[improved] = loss[better]
            best[improved] = current[better]
            best_gradient[improved] = gradient[better]
            last_loss[index] = loss
            if k in checks:
                oscillates = rises < _RISING * (k - last_check)
                stands_still = ~halved & (best_loss <= loss_then)
                halved = oscillates | stands_still
                step = torch.where(halved, step / 2, step)
                back = halved[index]
                current[back] = best[index[back]]
                gradient[back] = best_gradient[index[back]]
                previous[index[back]] = current[back]
                last_loss = torch.where(halved, best_loss, last_loss)
                loss_then, last_check = best_loss.clone(), k
                rises.zero_()
            ascent = norms.steepest(gradient, self.norm)
            stepped = current + step[index][:, None, None] * ascent
            moved = self._back(search, stepped, index)
            if k:
                inertia = (1 - _NEW) * (current - previous[index])
                moved = current + _NEW * (moved - current) + inertia
                moved = self._back(search, moved, index)
            previous[index] = current
            still = search.still_open(index)
            index, current = index[still], moved[still]
            if not len(index):
                return
        with torch.no_grad():
            search.consider(current, search.logits(current, index), index)
