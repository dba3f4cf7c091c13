"""What attacks that only ask the victim have in common: a limited number of queries."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mrpd_tutorial.attacks import norms
from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.checks import check_choice, check_positive

__all__ = ["BallQueryAttack", "QueryAttack"]

# Margins that differ by less than so many roundings of the largest logit are the same.
_ROUNDING = 32


@dataclass(frozen=True, kw_only=True)
class QueryAttack(Attack):
    """An attack without gradients, which asks about each cloud `max_queries` times.

    Every cloud that is shown to the victim counts, the clean one as well; no cloud is
    ever asked about more often. The victim runs without gradients: it may detach, go
    through numpy or answer from another machine.

    Args:
        max_queries: the most forward passes a cloud takes part in.
        criterion: "success" by default, because queries are what is scarce: a cloud
            costs none any more once it misleads.
    """

    max_queries: int = 1000
    criterion: str = "success"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("max_queries", self.max_queries)

    def affordable(
        self, search: Search, index: Tensor | None = None, cost: int = 1
    ) -> Tensor:
        """Open positions (of `index`, or all) that have `cost` queries left."""
        index = search.open(index)
        return index[search.queries[index] + cost <= self.max_queries]

    def _query(self, search: Search) -> None:
        """Run the attack; gradients are off."""
        raise NotImplementedError

    def _run(self, search: Search) -> None:
        with torch.no_grad():
            self._query(search)


@dataclass(frozen=True, kw_only=True)
class BallQueryAttack(QueryAttack):
    """A query attack inside a ball around the clean cloud.

    Args:
        norm: "per_point", "l2" or "linf": what eps bounds.
    """

    norm: str = "per_point"

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, norms.NORMS)
        super().__post_init__()

    def _check_budget(self, points: Tensor, eps: Tensor) -> None:
        norms.check_budget(points, eps, self.norm)

    def show(
        self, search: Search, displacement: Tensor, index: Tensor, least: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Ask about clean + displacement, brought into the ball.

        Many proposals change nothing: a maximum over points does not see most of them.
        What rounding makes of the same margin depends on the batch, and must neither be
        kept nor become the best cloud.

        Args:
            displacement: (b, N, 3) for the clouds at `index`.
            least: (b,) the margins to beat, by more than rounding.

        Returns:
            The displacement that was asked about (b, N, 3), its margin (b,), and
            whether that is larger (b,).
        """
        clean = search.clean[index]
        points = norms.project(
            clean, clean + displacement, search.eps[index], self.norm
        )
        logits = search.logits(points, index)
        gap = search.margin(logits, index)
        rounding = _ROUNDING * torch.finfo(gap.dtype).eps * logits.abs().amax(1)
        rises = gap > least + rounding
        new = rises | (search.misled(logits, index) & ~search.success[index])
        search.consider(points[new], logits[new], index[new])
        return points - clean, gap, rises
