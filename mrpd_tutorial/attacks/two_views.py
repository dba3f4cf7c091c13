"""What AdvPC and AOF share: mislead by the cloud and by a second view of it at once."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mrpd_tutorial.attacks import norms
from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.attacks.optimise import Adam, small_noise
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.checks import check_between, check_choice, check_positive

__all__ = ["TwoViews"]

SecondView = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class TwoViews(Attack):
    """Climb (1 - gamma) min(Z(x), k) + gamma min(Z(T(x)), k) by Adam, inside a ball.

    Z is the margin (positive: misled), T the second view, k the confidence. A cloud
    that reaches k in both views is done. Of misleading clouds, those whose second view
    misleads too come first; among them, the larger objective.

    Args:
        eps: budget in `norm`; the cloud is brought back into the ball after each step.
        norm: "per_point", "l2" or "linf".
        gamma: weight of the second view, in [0, 1].
        confidence: the margin k beyond which nothing is gained.
        steps: steps of Adam in each restart.
        step_size: Adam's learning rate.
        restarts: independent tries; the best cloud of all counts.
        start_noise: standard deviation, in each coordinate, of the noise to start from.

    Raises:
        ValueError: on a setting out of range; at the call, if eps exceeds the object.
    """

    eps: float | Sequence[float] | Tensor = 0.18
    norm: str = "per_point"
    gamma: float = 0.25
    confidence: float = 30.0
    steps: int = 200
    step_size: float = 0.01
    restarts: int = 2
    start_noise: float = 1e-3

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, norms.NORMS)
        super().__post_init__()
        check_between("gamma", self.gamma, 0, 1)
        check_between("confidence", self.confidence, 0, float("inf"))
        check_between("start_noise", self.start_noise, 0, float("inf"))
        for name in ("steps", "step_size", "restarts"):
            check_positive(name, getattr(self, name))

    def _check_budget(self, points: Tensor, eps: Tensor) -> None:
        norms.check_budget(points, eps, self.norm)

    @abstractmethod
    def _run(self, search: Search) -> None:
        """Call `_search_both` with the attack's second view."""

    def _search_both(self, search: Search, second_view: SecondView) -> None:
        for _ in range(self.restarts):
            index = search.open()
            if not len(index):
                return
            shape = search.clean.shape[1:]
            noise = small_noise(search, index, shape, self.start_noise)
            start = search.clean[index] + noise
            self._climb(search, second_view, index, self._project(search, start, index))

    def _project(self, search: Search, moved: Tensor, index: Tensor) -> Tensor:
        return norms.project(search.clean[index], moved, search.eps[index], self.norm)

    def _climb(
        self, search: Search, second_view: SecondView, index: Tensor, current: Tensor
    ) -> None:
        adam = Adam(current, self.step_size)
        for step in range(self.steps + 1):
            last = step == self.steps
            current = current.detach().requires_grad_(not last)
            with torch.set_grad_enabled(not last):
                logits = search.logits(current, index)
                first = search.margin(logits, index)
                other = search.logits(second_view(current, index), index)
                second = search.margin(other, index)
                objective = self._weigh(
                    first.clamp(max=self.confidence), second.clamp(max=self.confidence)
                )
            # Both at most `confidence`: costs below 0 where both views mislead.
            both = (first > 0) & (second > 0)
            cost = torch.where(both, -objective, self.confidence - objective)
            search.consider(current, logits, index, cost)
            if last:
                return
            done = (first >= self.confidence) & (second >= self.confidence)
            # Without the clamp, where done: a zero gradient would look masked.
            objective = torch.where(done, self._weigh(first, second), objective)
            gradient = search.gradient(objective, current, index)
            moved = current.detach() + adam.step(-gradient)
            still = ~done & ~(search.success[index] & search.stop_at_success)
            index, current = index[still], self._project(search, moved, index)[still]
            adam.keep(still)
            if not len(index):
                return

    def _weigh(self, first: Tensor, second: Tensor) -> Tensor:
        return (1 - self.gamma) * first + self.gamma * second
