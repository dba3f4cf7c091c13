"""Attacks that remove points: those that speak for the true class, or any (a control).

Both remove exactly eps points of every cloud. The model must answer for clouds of fewer
points than it was trained on.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mrpd_tutorial.attacks.base import Attack, AttackResult
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.checks import check_between, check_positive
from mrpd_tutorial.geometry import gather_points

__all__ = ["RandomDrop", "SaliencyDrop", "centre_by_median", "saliency"]


def centre_by_median(points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B 3"]:
    """Median of each coordinate; of an even number, the mean of the middle two."""
    ordered, count = points.sort(dim=1).values, points.shape[1]
    return (ordered[:, (count - 1) // 2] + ordered[:, count // 2]) / 2


def saliency(
    points: Float[Tensor, "B N 3"], gradient: Float[Tensor, "B N 3"], power: float = 1.0
) -> Float[Tensor, "B N"]:
    """How much the loss would rise if a point were moved to the centre of its cloud.

    From Zheng et al. 2019 [arXiv 1812.01687]: s_i = -r_i^(1 + power) dL/dr_i
    = -r_i^power <dL/dx_i, x_i - c>, with c the median of each coordinate and r_i the
    distance to it. A point in the middle changes nothing, so that moving a point there
    stands for removing it.

    Args:
        points: (B, N, 3).
        gradient: (B, N, 3) of the loss of the TRUE label.
        power: the paper's alpha, 0 or above.

    Returns:
        (B, N); the larger, the more the point speaks for the true class.
    """
    outward = points - centre_by_median(points)[:, None]
    radius = outward.norm(dim=-1)
    return -radius.pow(power) * (gradient * outward).sum(-1)


@dataclass(frozen=True, kw_only=True)
class _Drop(Attack):
    """What removing points has in common: a budget in points, and no target."""

    eps: float | Sequence[float] | Tensor = 100

    norm: ClassVar[str] = "count"
    changes_count: ClassVar[bool] = True
    min_points: ClassVar[int] = 2

    def _check_budget(self, points: Tensor, eps: Tensor) -> None:
        most = points.shape[1] - 1
        if float(eps.max()) > most:
            raise ValueError(
                f"eps must leave at least one point: from clouds of {most + 1} points "
                f"at most {most} can be removed; received {int(eps.max())}."
            )

    def __call__(
        self,
        model: Callable[[Tensor], Tensor],
        points: Tensor,
        labels: Tensor,
        target_labels: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> AttackResult:
        """Attack each cloud; see Attack. There is no target.

        Raises:
            ValueError: if target_labels are given, or on other bad input.
        """
        if target_labels is not None:
            raise ValueError(
                f"target_labels must be None: {type(self).__name__} has no target. It "
                "is untargeted by construction; with the loss of another label the "
                "points removed would be the wrong ones. Leave target_labels out."
            )
        return super().__call__(model, points, labels, None, generator)


@dataclass(frozen=True, kw_only=True)
class SaliencyDrop(_Drop):
    """Remove the points that speak most for the true class, a few at a time.

    Implements algorithm 1 of Zheng et al. 2019 [arXiv 1812.01687]: compute the saliency
    of all points that are left, remove the `per_round` largest, begin again. The loss
    is the cross-entropy of the TRUE label. Public code differs: the protocol released
    with MRPD passes a random target as the label, which ranks the points by another
    class's loss and misleads far less often. Only the last cloud counts, that
    with eps points removed.

    Args:
        eps: points removed from each cloud; a whole number.
        per_round: points removed between two gradients; the last round may remove
            fewer.
        power: the exponent alpha of `saliency`.

    Raises:
        ValueError: on a setting out of range; at the call, if target_labels are given
            or eps removes all points.
    """

    per_round: int = 5
    power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("per_round", self.per_round)
        check_between("power", self.power, 0, float("inf"))

    @classmethod
    def quick(cls, **changes) -> "SaliencyDrop":
        """100 points in 5 rounds of 20: a quarter of the gradients of Drop-100."""
        return dataclasses.replace(cls(eps=100, per_round=20), **changes)

    @classmethod
    def paper(cls, **changes) -> "SaliencyDrop":
        """Drop-200 of 1024 points, 40 rounds of 5, power 1 (see `drop_100`)."""
        return cls.drop_200(**changes)

    @classmethod
    def drop_100(cls, **changes) -> "SaliencyDrop":
        """Drop-100: 20 rounds of 5, power 1, as Zheng et al. attack PointNet.

        The released script for DGCNN has power 6 and 10 rounds of 10 as its defaults.
        """
        return dataclasses.replace(cls(eps=100, per_round=5, power=1.0), **changes)

    @classmethod
    def drop_200(cls, **changes) -> "SaliencyDrop":
        """Drop-200: 40 rounds of 5, power 1."""
        return dataclasses.replace(cls(eps=200, per_round=5, power=1.0), **changes)

    def _run(self, search: Search) -> None:
        index = torch.arange(len(search.labels), device=search.labels.device)
        current, left = search.clean, int(search.eps[0])
        while left:
            current = current.detach().requires_grad_(True)
            loss = search.cross_entropy(search.logits(current, index), index)
            gradient = search.gradient(loss, current, index)
            current = current.detach()
            scores = saliency(current, gradient, self.power)
            removed = min(self.per_round, left)
            # A stable sort: where scores tie, the first points go, on all devices.
            order = scores.argsort(dim=1, descending=True, stable=True)[:, removed:]
            current = gather_points(current, order.sort(dim=1).values)
            left -= removed
        with torch.no_grad():
            search.consider(current, search.logits(current, index), index)


@dataclass(frozen=True, kw_only=True)
class RandomDrop(_Drop):
    """Remove points at random: what an attack that looks must do better than.

    Args:
        eps: points removed from each cloud; a whole number.
        restarts: independent draws; the best cloud of all counts.

    Raises:
        ValueError: as SaliencyDrop.
    """

    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("restarts", self.restarts)

    @classmethod
    def quick(cls, **changes) -> "RandomDrop":
        """100 points, one draw: the control of SaliencyDrop.quick."""
        return dataclasses.replace(cls(eps=100), **changes)

    @classmethod
    def paper(cls, **changes) -> "RandomDrop":
        """200 points, one draw: the control of Drop-200."""
        return dataclasses.replace(cls(eps=200), **changes)

    def _run(self, search: Search) -> None:
        count = search.clean.shape[1]
        index = torch.arange(len(search.labels), device=search.labels.device)
        for _ in range(self.restarts):
            if not len(index):
                return
            # Drawn on the CPU: every device removes the same points.
            sources = [search.generators[i] for i in index.tolist()]
            draws = torch.stack([torch.rand(count, generator=g) for g in sources])
            kept = draws.argsort(dim=1)[:, : count - int(search.eps[0])]
            kept = kept.sort(dim=1).values.to(search.clean.device)
            points = gather_points(search.clean[index], kept)
            with torch.no_grad():
                search.consider(points, search.logits(points, index), index)
            search.iterations[index] += 1
            index = search.open(index)
