"""What CW-Perturb, CW-Add, kNN and GeoA3 share: settings, and how they descend."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.attacks.binary_search import TradeOff, binary_search
from mrpd_tutorial.attacks.optimise import LOSSES, minimise, small_noise, unsolved
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.checks import check_between, check_choice, check_positive

__all__ = ["Optimised", "WeightSearch"]


@dataclass(frozen=True, kw_only=True)
class Optimised(Attack):
    """Minimise misleading + weight * distance by Adam, see optimise.minimise.

    Args:
        steps: Adam updates from one start.
        step_size: Adam's, in units of the cloud.
        loss: "margin" or "ce", see optimise.misleading_loss.
        confidence: the margin (in logits) a misled cloud is to have; clouds that are to
            be shown to defenses need one.
        start_noise: standard deviation of the start about the first cloud, where the
            gradient of a distance may not be defined.
        patience: updates without progress after which a cloud ends early; None: never.

    Raises:
        ValueError: on a setting out of range.
    """

    eps: float | Sequence[float] | Tensor = float("inf")
    steps: int = 500
    step_size: float = 0.01
    loss: str = "margin"
    confidence: float = 0.0
    start_noise: float = 1e-7
    patience: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("loss", self.loss, LOSSES)
        for name in ("steps", "step_size"):
            check_positive(name, getattr(self, name))
        check_between("confidence", self.confidence, 0, float("inf"))
        check_between("start_noise", self.start_noise, 0, float("inf"))
        if self.patience is not None:
            check_positive("patience", self.patience)

    def _descend(
        self,
        search: Search,
        index: Tensor,
        start: Tensor,
        weight: Tensor,
        **options: Any,
    ) -> Tensor:
        """`minimise` from noise about `start` (b, M, 3); (b,) who was misled."""
        noise = small_noise(search, index, start.shape[1:], self.start_noise)
        start = start + noise
        if "constrain" in options:
            start = options["constrain"](start, index)
        return minimise(
            search,
            index,
            start,
            weight,
            steps=self.steps,
            step_size=self.step_size,
            loss=self.loss,
            confidence=self.confidence,
            patience=self.patience,
            **options,
        )


@dataclass(frozen=True, kw_only=True)
class WeightSearch(Optimised):
    """The same, for each cloud with several weights in turn, see TradeOff.

    Args:
        search_steps: how many weights are tried.
        weight: the first weight.
        shrink: what the weight is divided by until a search step succeeds; 2 as
            published, more for a victim with small logits or for few search steps.

    The others are those of Optimised; `steps` are those of one weight.
    """

    search_steps: int = 10
    weight: float = 10.0
    shrink: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("search_steps", self.search_steps)
        if self.shrink <= 1:
            raise ValueError(f"shrink must be above 1; received {self.shrink}.")

    def _search_weights(
        self, search: Search, start: Tensor, upper: float, **options: Any
    ) -> None:
        """Descend from `start` (B, M, 3) for each weight, none above `upper`."""

        def one_step(index: Tensor, weight: Tensor) -> Tensor:
            return self._descend(search, index, start[index], weight, **options)

        first = search.clean.new_full((len(search.clean),), self.weight)
        trade_off = TradeOff(first, upper, self.shrink)
        index = unsolved(search, self.confidence)
        binary_search(search, index, trade_off, self.search_steps, one_step)
