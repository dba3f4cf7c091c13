"""SimBA: one direction of an orthonormal basis at a time, by the logits alone."""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from mrpd_tutorial.attacks.queries import BallQueryAttack
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.checks import check_choice, check_positive

__all__ = ["SimBA"]


@dataclass(frozen=True, kw_only=True)
class SimBA(BallQueryAttack):
    """Try +step and -step along a basis vector, keep it if the margin rises; go on.

    Implements algorithm 1 of Guo et al. 2019 [arXiv 1905.07121]. Threat model: black
    box, score-based. Directions come in a random order without replacement (the order
    begins again when all 3N have been tried). The paper has no budget, only the length
    sqrt(T) * step_size of T kept steps; here the cloud is brought back into its ball
    before it is shown. The paper lowers the probability of the true class, which
    saturates where a victim is sure; this climbs the margin.

    Its low-frequency (DCT) basis needs the grid of an image. What clouds have instead
    is points: the basis "points" holds three random orthonormal directions for each
    point, "coordinates" its x, y and z.

    Public point-cloud code (SI-Adv's) never applies the budget and returns the cloud
    tried last; this returns the best.

    Args:
        eps: budget in `norm`, in units of the cloud; one number or one for each cloud.
        norm: "per_point", "l2" or "linf".
        basis: "coordinates" or "points".
        step_size: length of a step, in units of the cloud; None means eps (eps / 5 for
            "l2": 25 kept steps fill the ball).
        max_queries: the clean cloud and all trials, one or two for each direction.

    Raises:
        ValueError: on a setting out of range; at the call, if eps exceeds the object.
    """

    basis: str = "points"
    step_size: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("basis", self.basis, ("coordinates", "points"))
        if self.step_size is not None:
            check_positive("step_size", self.step_size)

    @classmethod
    def quick(cls, **changes) -> "SimBA":
        """Per point 0.05, 300 queries."""
        return dataclasses.replace(cls(eps=0.05, max_queries=300), **changes)

    @classmethod
    def paper(cls, **changes) -> "SimBA":
        """Coordinates and step 0.2 as for ImageNet; l2 within 5, 10,000 queries.

        The release runs 10,000 iterations (30,000 targeted) of one or two queries;
        counting queries is ours, so that attacks compare. So is the bound: the paper
        has none, and its mean l2 distance for images in [0, 1] is about 4.
        """
        settings = cls(
            eps=5.0, norm="l2", basis="coordinates", step_size=0.2, max_queries=10_000
        )
        return dataclasses.replace(settings, **changes)

    def _query(self, search: Search) -> None:
        count = search.clean.shape[1]
        order = torch.stack(
            [torch.randperm(3 * count, generator=g) for g in search.generators]
        ).to(search.clean.device)  # (b, 3N)
        frames = self._frames(search)
        steps = search.eps / (5 if self.norm == "l2" else 1)
        if self.step_size is not None:
            steps = torch.full_like(search.eps, self.step_size)
        current, margin = torch.zeros_like(search.clean), search.best_margin.clone()
        index, trial = self.affordable(search), 0
        while len(index):
            search.iterations[index] += 1
            chosen = order[index, trial % (3 * count)]
            point, axis = chosen // 3, chosen % 3
            step = torch.zeros_like(search.clean[index])
            rows = torch.arange(len(index), device=index.device)
            step[rows, point] = steps[index, None] * frames[index, point, axis]
            waiting = torch.ones_like(index, dtype=torch.bool)
            for sign in (1.0, -1.0):
                open_now = self.affordable(search, index[waiting])
                trying = waiting & torch.isin(index, open_now)
                asked = index[trying]
                if not len(asked):
                    break
                moved, gap, rises = self.show(
                    search, current[asked] + sign * step[trying], asked, margin[asked]
                )
                current[asked[rises]], margin[asked[rises]] = moved[rises], gap[rises]
                waiting = trying.clone()
                waiting[trying] = ~rises
            index, trial = self.affordable(search, index), trial + 1

    def _frames(self, search: Search) -> Tensor:
        """(b, N, 3, 3) three orthonormal directions (rows) for each point."""
        batch, count, _ = search.clean.shape
        if self.basis == "coordinates":
            return torch.eye(3).to(search.clean).expand(batch, count, 3, 3)
        drawn = [torch.randn(count, 3, 3, generator=g) for g in search.generators]
        return torch.linalg.qr(torch.stack(drawn)).Q.to(search.clean)
