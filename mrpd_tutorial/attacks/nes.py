"""PGD with gradients estimated from scores: NES and SPSA."""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from mrpd_tutorial.attacks import norms
from mrpd_tutorial.attacks.queries import BallQueryAttack
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.checks import check_choice, check_positive

__all__ = ["NES", "SPSA"]


@dataclass(frozen=True, kw_only=True)
class _Estimated(BallQueryAttack):
    """Climb an estimate of the gradient by the norm's steepest step.

    g = 1 / (2 n sigma) sum_i (L(x + sigma u_i) - L(x - sigma u_i)) u_i, and then
    x <- Proj(x + step_size * d(g)) as in PGD. A step costs 2 * pairs + 1 queries, the
    last one for the cloud it leads to; only those clouds can be returned, not the
    probes, which may lie outside of the ball.
    """

    pairs: int = 25
    sigma: float = 1e-3
    step_size: float | None = None
    loss: str = "margin"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("pairs", self.pairs)
        check_positive("sigma", self.sigma)
        check_choice("loss", self.loss, ("ce", "margin"))
        if self.step_size is not None:
            check_positive("step_size", self.step_size)
        if self.max_queries < 2 * self.pairs + 2:
            raise ValueError(
                f"max_queries must be at least {2 * self.pairs + 2}, the clean cloud "
                f"and one step with {self.pairs} pairs; received {self.max_queries}."
            )

    @property
    def steps(self) -> int:
        """How many steps the queries last for."""
        return (self.max_queries - 1) // (2 * self.pairs + 1)

    def _probe(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, 3) a random direction u."""
        raise NotImplementedError

    def _query(self, search: Search) -> None:
        index, current = search.open(), search.clean.clone()
        step_sizes = search.eps * min(1.0, 2.5 / self.steps)
        if self.step_size is not None:
            step_sizes = torch.full_like(search.eps, self.step_size)
        for _ in range(self.steps):
            index = self.affordable(search, index, 2 * self.pairs + 1)
            if not len(index):
                return
            ascent = norms.steepest(
                self._estimate(search, current[index], index), self.norm
            )
            moved = current[index] + step_sizes[index, None, None] * ascent
            clean = search.clean[index]
            least = search.best_margin[index]
            current[index] = clean + self.show(search, moved - clean, index, least)[0]
            search.iterations[index] += 1

    def _estimate(self, search: Search, points: Tensor, index: Tensor) -> Tensor:
        """(b, N, 3) the estimated gradient; clouds without a rise anywhere: idle."""
        climb = search.cross_entropy if self.loss == "ce" else search.margin
        gradient = torch.zeros_like(points)
        sources = [search.generators[i] for i in index.tolist()]
        for _ in range(self.pairs):
            probes = [self._probe(points.shape[1], source) for source in sources]
            probe = torch.stack(probes).to(points)  # (b, N, 3)
            up = climb(search.logits(points + self.sigma * probe, index), index)
            down = climb(search.logits(points - self.sigma * probe, index), index)
            gradient += (up - down)[:, None, None] * probe
        search.idle_steps[index] += (gradient == 0).all(-1).all(-1).long()
        return gradient / (2 * self.pairs * self.sigma)


@dataclass(frozen=True, kw_only=True)
class NES(_Estimated):
    """PGD along a gradient estimated with normally distributed probes.

    Implements Ilyas et al. 2018 [arXiv 1804.08598], algorithm 1 (natural evolution
    strategies with antithetic sampling). Threat model: black box, score-based. The
    paper's steps are signs in a linf ball with a momentum in its code; ours are the
    steepest ones of `norm`, without.

    Args:
        eps: budget in `norm`, in units of the cloud; one number or one for each cloud.
        norm: "per_point", "l2" or "linf".
        pairs: probes up and down for one estimate; the paper's n is 2 * pairs.
        sigma: length of the probes for each coordinate, in units of the cloud.
        step_size: length of a step in `norm`; None means 2.5 * eps / steps, at most
            eps, with the steps that the queries last for.
        loss: "margin" or "ce".
        max_queries: the clean cloud, all probes and steps.

    Raises:
        ValueError: on a setting out of range, or fewer queries than one step needs; at
            the call, if eps exceeds the object.
    """

    @classmethod
    def quick(cls, **changes) -> "NES":
        """Per point 0.05, 511 queries: 10 steps of 25 pairs."""
        return dataclasses.replace(cls(eps=0.05, max_queries=511), **changes)

    @classmethod
    def paper(cls, **changes) -> "NES":
        """n 50, sigma 0.001, linf 0.05, step 0.01, cross-entropy, 10,000 queries.

        Those of the released code (labsix/limited-blackbox-attacks, main.py); the paper
        gives a targeted attack up to 1,000,000 queries. The release also has a momentum
        of 0.9 and halves the step where the loss stands still; without both here, ours,
        because NES, SPSA and PGD then differ in the gradient alone.
        """
        settings = cls(
            eps=0.05, norm="linf", step_size=0.01, max_queries=10_000, loss="ce"
        )
        return dataclasses.replace(settings, **changes)

    def _probe(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, 3, generator=generator)


@dataclass(frozen=True, kw_only=True)
class SPSA(_Estimated):
    """PGD along a gradient estimated with probes of random signs.

    Implements the estimate of Uesato et al. 2018 [arXiv 1802.05666], algorithm 1
    (simultaneous perturbation stochastic approximation): every coordinate of a probe is
    +1 or -1. Threat model: black box, score-based. The paper steps with Adam; ours are
    the steepest steps of `norm`, so that the two estimates can be compared.

    Args, Raises: see NES. sigma is the paper's delta.
    """

    sigma: float = 0.01

    @classmethod
    def quick(cls, **changes) -> "SPSA":
        """Per point 0.05, 511 queries: 10 steps of 25 pairs."""
        return dataclasses.replace(cls(eps=0.05, max_queries=511), **changes)

    @classmethod
    def paper(cls, **changes) -> "SPSA":
        """delta 0.01, step 0.01, margin: as in CleverHans.

        100 steps of 128 pairs (a batch of 256) are ours: CleverHans has a batch of 128
        and leaves the steps open, and the paper's batches go up to 8192, more than a
        CPU can ask. The budget, linf 0.03, is about the 8/255 of images.
        """
        settings = cls(
            eps=0.03, norm="linf", step_size=0.01, pairs=128, max_queries=25_701
        )
        return dataclasses.replace(settings, **changes)

    def _probe(self, count: int, generator: torch.Generator) -> Tensor:
        return 2.0 * torch.randint(2, (count, 3), generator=generator) - 1
