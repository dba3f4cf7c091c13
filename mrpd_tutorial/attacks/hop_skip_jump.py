"""HopSkipJump: the nearest misleading cloud, by the victim's decisions alone."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from mrpd_tutorial.attacks.norms import unit
from mrpd_tutorial.attacks.queries import QueryAttack
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.checks import check_points, check_positive

__all__ = ["HopSkipJump"]

# A jump is halved so often before it is given up.
_HALVED = 16


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(QueryAttack):
    """Walk along the decision boundary toward the clean cloud, in whole-cloud l2.

    Implements algorithm 2 of Chen, Jordan and Wainwright 2020 [arXiv 1904.02144] for
    l2. Threat model: black box, decision-based; only the class is seen (argmax of the
    logits), and what the logits are beside that changes nothing. With d = 3N and theta
    = gamma / d^1.5, step t is

    1. a binary search for the boundary between the cloud and the clean one, to theta;
    2. the direction across the boundary, from B_t = initial_probes * sqrt(t) unit
       vectors u of length delta = sqrt(d) * theta * distance: the mean of (phi - mean
       phi) u, phi = +1 where the probe misleads and -1 elsewhere;
    3. a jump of distance / sqrt(t) along it, halved until it misleads.

    A misleading cloud to begin with is needed. The paper draws uniform noise; noise in
    the unit cube is one and the same class for most point networks, so that here the
    noise is squeezed and turned at random, between the dense ball and a line. Pass
    `starts`, clouds of other classes, where that is not enough: for targeted attacks.

    Args:
        eps: clouds farther away in l2 do not count; infinite by default.
        initial_probes: B_0.
        max_probes: the largest B_t.
        gamma: the precision of the binary search.
        start_tries: noises tried for a start, each a query.
        starts: (S, N, 3) clouds that are tried first, or None. Row by row: l2 compares
            points of one index.
        max_queries: everything is counted.
        criterion: "confidence" (the nearest cloud, the default) or "success" (the first
            one within eps).

    Raises:
        ValueError: on a setting out of range, or starts of another number of points.
    """

    eps: float | Sequence[float] | Tensor = float("inf")
    criterion: str = "confidence"
    max_queries: int = 2000
    initial_probes: int = 100
    max_probes: int = 10_000
    gamma: float = 1.0
    start_tries: int = 50
    starts: Tensor | None = field(default=None, compare=False, repr=False)

    norm: ClassVar[str] = "l2"
    minimal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("initial_probes", "max_probes", "gamma", "start_tries"):
            check_positive(name, getattr(self, name))
        if self.starts is not None:
            check_points(self.starts, "starts")

    @classmethod
    def quick(cls, **changes) -> "HopSkipJump":
        """1000 queries, 30 probes at first."""
        return dataclasses.replace(cls(max_queries=1000, initial_probes=30), **changes)

    @classmethod
    def paper(cls, **changes) -> "HopSkipJump":
        """25,000 queries (the most in the paper's figures), B_0 100, gamma 1.

        B_0, the largest B_t of 10,000, gamma and the 10,000 noises tried for a start
        are the released code's (Jianbo-Lab/HSJA, hsja.py). That ends after 40
        iterations, this when the queries are spent; and its first probes are a tenth of
        the range of pixels long, which clouds do not have.
        """
        settings = cls(max_queries=25_000, start_tries=10_000)
        return dataclasses.replace(settings, **changes)

    def _misled(self, search: Search, points: Tensor, index: Tensor) -> Tensor:
        """(b,) whether the clouds (b, N, 3) mislead; those near enough are candidates.

        Unsuccessful clouds are not handed to the search: it would compare their logits.
        """
        logits = search.logits(points, index)
        misled = search.misled(logits, index)
        moved = (points.double() - search.clean[index].double()).flatten(1)
        distance = moved.norm(dim=1)  # (b,)
        fits = misled & (distance <= search.eps[index])
        search.consider(points[fits], logits[fits], index[fits], distance[fits])
        return misled

    def _query(self, search: Search) -> None:
        clean = search.clean
        size = clean[0].numel()
        theta = self.gamma / size**1.5
        # Clouds the victim gets wrong already need no walk: nothing is nearer.
        index = search.open()[~search.success[search.open()]]
        current, index = self._begin(search, index)
        self._to_boundary(search, current, index, theta)
        step = 0
        while len(index := self.affordable(search, index)):
            step += 1
            distance = (current - clean).flatten(1).norm(dim=1)  # (B,)
            probes = min(self.max_probes, int(self.initial_probes * step**0.5))
            length = size**0.5 * theta * distance
            direction = self._across(search, current, index, probes, length)
            self._jump(search, current, index, direction, distance / step**0.5)
            self._to_boundary(search, current, index, theta)
            search.iterations[index] += 1

    def _begin(self, search: Search, index: Tensor) -> tuple[Tensor, Tensor]:
        """Misleading clouds (B, N, 3), and the positions where one was found."""
        current, count = search.clean.clone(), search.clean.shape[1]
        given = () if self.starts is None else self.starts.to(search.clean)
        if len(given) and given.shape[1] != count:
            raise ValueError(
                f"starts must have the clouds' {count} points; received "
                f"{given.shape[1]}."
            )
        centre = search.clean.mean(1, keepdim=True)
        radius = (search.clean - centre).norm(dim=-1).amax(1)[:, None, None]
        found = torch.zeros_like(search.success)
        for attempt in range(len(given) + self.start_tries):
            waiting = self.affordable(search, index[~found[index]])
            if not len(waiting):
                break
            if attempt < len(given):
                points = given[attempt].expand(len(waiting), -1, -1).contiguous()
            else:
                noise = [
                    _squeezed_noise(count, search.generators[i])
                    for i in waiting.tolist()
                ]
                noise = torch.stack(noise).to(search.clean)
                points = centre[waiting] + radius[waiting] * noise
            misled = self._misled(search, points, waiting)
            current[waiting[misled]] = points[misled]
            found[waiting[misled]] = True
        return current, index[found[index]]

    def _to_boundary(
        self, search: Search, current: Tensor, index: Tensor, theta: float
    ) -> None:
        """Move each misleading cloud toward the clean one, as far as it misleads."""
        far, clean = current.clone(), search.clean
        low = search.eps.new_zeros(len(clean))
        high = torch.ones_like(low)
        for _ in range(math.ceil(math.log2(1 / theta)) if theta < 1 else 1):
            index = self.affordable(search, index)
            if not len(index):
                return
            middle = (low[index] + high[index]) / 2
            points = clean[index] + middle[:, None, None] * (far[index] - clean[index])
            misled = self._misled(search, points, index)
            current[index[misled]] = points[misled]
            high[index] = torch.where(misled, middle, high[index])
            low[index] = torch.where(misled, low[index], middle)

    def _across(
        self,
        search: Search,
        current: Tensor,
        index: Tensor,
        probes: int,
        length: Tensor,
    ) -> Tensor:
        """(B, N, 3) unit directions from the clean side to the misleading one."""
        signed, plain = torch.zeros_like(current), torch.zeros_like(current)
        votes, asked = torch.zeros_like(length), torch.zeros_like(length)
        for _ in range(probes):
            index = self.affordable(search, index)
            if not len(index):
                break
            drawn = [
                torch.randn(current.shape[1:], generator=search.generators[i])
                for i in index.tolist()
            ]
            u = unit(torch.stack(drawn).to(current))
            points = current[index] + length[index, None, None] * u
            phi = torch.where(self._misled(search, points, index), 1.0, -1.0).to(u)
            signed[index] += phi[:, None, None] * u
            plain[index] += u
            votes[index] += phi
            asked[index] += 1
        share = votes / asked.clamp(min=1)  # mean phi
        # Where all probes agree nothing would be left: then their mean, by its sign.
        baseline = torch.where(share.abs() == 1, 0.0, share)
        return unit(signed - baseline[:, None, None] * plain)

    def _jump(
        self,
        search: Search,
        current: Tensor,
        index: Tensor,
        direction: Tensor,
        length: Tensor,
    ) -> None:
        """The longest of the lengths length, length / 2, ... that misleads."""
        length = length.clone()
        for _ in range(_HALVED):
            index = self.affordable(search, index)
            if not len(index):
                return
            step = length[index, None, None] * direction[index]
            points = current[index] + step
            misled = self._misled(search, points, index)
            current[index[misled]] = points[misled]
            index = index[~misled]
            length[index] /= 2


def _squeezed_noise(count: int, generator: torch.Generator) -> Tensor:
    """(count, 3) uniform noise in [-1, 1]^3, each axis squeezed, turned at random."""
    noise = 2 * torch.rand(count, 3, generator=generator) - 1
    squeeze = torch.rand(3, generator=generator)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator)).Q
    return (noise * squeeze) @ turn
