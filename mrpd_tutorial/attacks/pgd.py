"""Projected gradient descent, in three norms."""

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from mrpd_tutorial.attacks import norms
from mrpd_tutorial.attacks.ascent import Ascent, if_defense_eps
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.checks import check_positive

__all__ = ["PGD"]


@dataclass(frozen=True, kw_only=True)
class PGD(Ascent):
    """Climb the loss by the norm's steepest step, and return to the ball after each.

    Implements Madry et al. 2018 [arXiv 1706.06083], x <- Proj(x + step_size * d(g)),
    with d the steepest direction of the norm: each point's own unit gradient
    ("per_point"), the cloud's unit gradient ("l2"), the sign ("linf"). The projection
    is always around the CLEAN cloud. Public point-cloud code (IF-Defense) centres it on
    the random start, so that its clouds leave the budget by up to the start's length.

    Args:
        eps: budget in `norm`, in units of the cloud; one number or one for each cloud.
        norm: "per_point" (each point moves at most eps, Euclidean), "l2" (the cloud as
            one vector), "linf" (each coordinate).
        steps: number of gradient steps.
        step_size: length of a step in `norm`; None means 2.5 * eps / steps, with which
            a cloud can reach every part of its ball (Madry et al., section 5).
        restarts: independent tries; the best cloud of all counts.
        random_start: begin at a random cloud in the ball instead of the clean one.
        loss: "ce" or "margin" (best wrong logit minus true logit).
        confidence: a cloud's try ends when its margin exceeds this; None: never.

    Raises:
        ValueError: on a setting out of range; at the call, if eps exceeds the object.

    Example:
        >>> import torch
        >>> model = lambda points: points.mean(1)  # class: the largest coordinate
        >>> points = torch.tensor([[[0.02, 0, 0], [0, 0, 0.0]]])
        >>> attack = PGD(eps=0.01, norm="per_point", steps=5, random_start=False)
        >>> bool(attack(model, points, torch.tensor([0])).success)
        True
    """

    restarts: int = 1
    random_start: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("restarts", self.restarts)
        if self.restarts > 1 and not self.random_start:
            raise ValueError(
                f"restarts must be 1 without a random start; received {self.restarts}. "
                "They would all be the same: set random_start=True."
            )

    @classmethod
    def quick(cls, **changes) -> "PGD":
        """Per point 0.05, 10 steps: about 2.5 % of a unit-sphere object's diameter."""
        return dataclasses.replace(cls(eps=0.05, norm="per_point", steps=10), **changes)

    @classmethod
    def paper(cls, **changes) -> "PGD":
        """As released with MRPD [arXiv 2511.21574]; pass random target labels.

        A whole-cloud L2 ball of 0.08, step 0.004, 20 steps, cross-entropy toward the
        target. The budget is tiny: IF-Defense, whose PGD this is, multiplies it by
        sqrt(3N) (0.08 * sqrt(3 * 1024) = 4.43 for the cloud); MRPD's release does not.
        The step is exactly eps / steps, so that from a random start the cloud cannot
        always reach the far side of its ball.
        """
        settings = cls(eps=0.08, norm="l2", steps=20, step_size=0.004)
        return dataclasses.replace(settings, **changes)

    @classmethod
    def if_defense(cls, num_points: int = 1024, **changes) -> "PGD":
        """IF-Defense's [arXiv 2010.05272]: L2 0.08 * sqrt(3N), 50 steps of eps / 50.

        The margin loss with confidence 0, from a random start of +-eps / sqrt(3N) for
        each coordinate; its tables are targeted at random classes. Its projection is
        around the noisy start; ours is around the clean cloud.
        """
        eps = if_defense_eps(num_points)
        settings = cls(
            eps=eps,
            norm="l2",
            steps=50,
            step_size=eps / 50,
            loss="margin",
            confidence=0.0,
        )
        return dataclasses.replace(settings, **changes)

    def _step_sizes(self, eps: Tensor) -> Tensor:
        return 2.5 * eps / self.steps

    def _run(self, search: Search) -> None:
        for _ in range(self.restarts):
            index = search.open()
            current = search.clean[index]
            if self.random_start and len(index):
                generators = [search.generators[i] for i in index.tolist()]
                start = current + norms.random_displacement(
                    current, search.eps[index], self.norm, generators
                )
                current = norms.project(current, start, search.eps[index], self.norm)
            self._climb(search, index, current)
