"""Binary search over the price of distance, for each cloud by its own success."""

from collections.abc import Callable

import torch
from torch import Tensor

from mrpd_tutorial.attacks.search import Search

__all__ = ["TradeOff", "binary_search"]


class TradeOff:
    """What a unit of distance costs each cloud, bracketed from both sides.

    Section 5 of Carlini & Wagner [arXiv 1608.04644], as the point-cloud attacks turn
    it: the weight stands at the distance. A cloud that was misled can afford a higher
    price (its lower bound rises to it), one that was not needs a lower one. The next
    price is the middle of the bracket, and twice the last one while there is no upper
    bound.

    A cloud's success counts as success even where it is no nearer than the best found
    before. Public code (IF-Defense and its heirs) counts it as a failure, so that the
    price falls just where it could rise; GeoA3's moves the bounds of all clouds of a
    batch by the class of the last one.

    Args:
        weight: (B,) the first prices.
        upper: the highest price; inf to double without end.
        shrink: what the price is divided by as long as no step has succeeded. 2 is the
            middle of the bracket, as published; a larger number sooner finds the scale
            of a victim whose logits are smaller than those of the published ones.
    """

    def __init__(
        self, weight: Tensor, upper: float = float("inf"), shrink: float = 2.0
    ) -> None:
        self.weight, self.shrink = weight.clone(), shrink
        self.lower = torch.zeros_like(weight)
        self.upper = torch.full_like(weight, upper)

    def update(self, index: Tensor, success: Tensor) -> None:
        """Move the bounds of the clouds at `index` (b,) by their own success (b,)."""
        weight, lower, upper = (
            values[index] for values in (self.weight, self.lower, self.upper)
        )
        lower = torch.where(success, torch.maximum(lower, weight), lower)
        upper = torch.where(success, upper, torch.minimum(upper, weight))
        bounded = torch.isfinite(upper)
        middle = (lower + torch.where(bounded, upper, 0.0)) / 2
        middle = torch.where(lower > 0, middle, weight / self.shrink)
        # Doubled without end, a price leaves what floats can hold.
        doubled = (2 * weight).clamp(max=1e10)
        self.weight[index] = torch.where(bounded, middle, doubled)
        self.lower[index], self.upper[index] = lower, upper


def binary_search(
    search: Search,
    index: Tensor,
    trade_off: TradeOff,
    steps: int,
    one_step: Callable[[Tensor, Tensor], Tensor],
) -> None:
    """Run `one_step` for `steps` prices; the search keeps the best cloud of all steps.

    Clouds that never mislead stay what the search holds for them: the cloud with the
    largest margin, the clean one included. Public code returns the last iterate.

    Args:
        search: what is kept while the attack runs.
        index: (b,) positions of the clouds.
        trade_off: prices of all clouds of the chunk.
        steps: how many prices are tried.
        one_step: (index, weight (b,)) -> success (b,).
    """
    for _ in range(steps):
        index = search.open(index)
        if not len(index):
            return
        trade_off.update(index, one_step(index, trade_off.weight[index]))
