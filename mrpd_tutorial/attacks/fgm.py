"""One step along the gradient, several, and several with momentum."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mrpd_tutorial.attacks import norms
from mrpd_tutorial.attacks.ascent import Ascent, if_defense_eps
from mrpd_tutorial.attacks.search import Search

__all__ = ["FGM", "IFGM", "MIFGM"]


@dataclass(frozen=True, kw_only=True)
class IFGM(Ascent):
    """Iterated fast gradient method: PGD from the clean cloud, with steps eps / steps.

    Implements Kurakin et al. 2017 [arXiv 1607.02533]; for point clouds Liu et al. 2019
    [arXiv 1901.03006] and IF-Defense [Wu et al. 2020, arXiv 2010.05272]: x <- Proj(x +
    step_size * d(g)), with d the steepest direction of the norm.

    Args:
        eps: budget in `norm`, in units of the cloud; one number or one for each cloud.
        norm: "per_point", "l2" or "linf".
        steps: number of gradient steps.
        step_size: length of a step in `norm`; None means eps / steps.
        loss: "ce" or "margin" (best wrong logit minus true logit).
        confidence: a cloud stops when its margin exceeds this; None: never. The
            published 0 leaves clouds so close to the boundary that dropping random
            points (SRS) restores most of them; 30 leaves few to be restored.

    Raises:
        ValueError: on a setting out of range; at the call, if eps exceeds the object.
    """

    starts_clean: ClassVar[bool] = True

    @classmethod
    def quick(cls, **changes) -> "IFGM":
        """Per point 0.05, 10 steps (FGM: 1)."""
        return dataclasses.replace(cls(eps=0.05), **changes)

    @classmethod
    def paper(cls, num_points: int = 1024, **changes) -> "IFGM":
        """As in IF-Defense: L2 0.08 * sqrt(3N), 50 steps (FGM: 1), margin loss, k = 0.

        Its tables are targeted at random classes: pass random target labels.
        """
        steps = 1 if issubclass(cls, FGM) else 50
        settings = cls(
            eps=if_defense_eps(num_points),
            norm="l2",
            steps=steps,
            loss="margin",
            confidence=0.0,
        )
        return dataclasses.replace(settings, **changes)

    def _run(self, search: Search) -> None:
        index = search.open()
        start = search.take_clean_pass(index)
        self._climb(search, index, search.clean[index], start)


@dataclass(frozen=True, kw_only=True)
class FGM(IFGM):
    """Fast gradient method: one step of the whole budget.

    Implements Goodfellow et al. 2015 [arXiv 1412.6572] with the steepest direction of
    the norm: "linf" is FGSM, "l2" the variant of IF-Defense [arXiv 2010.05272].

    Args:
        eps, norm, loss, confidence: see IFGM.
        steps: 1.
        step_size: length of the step; None means eps.

    Raises:
        ValueError: on a setting out of range; at the call, if eps exceeds the object.
    """

    steps: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps != 1:
            raise ValueError(
                f"steps must be 1 for FGM; received {self.steps}. IFGM takes several."
            )


@dataclass(frozen=True, kw_only=True)
class MIFGM(IFGM):
    """I-FGM that steps along a running sum of gradients.

    Implements Dong et al. 2018 [arXiv 1710.06081], Eq. (6): m <- decay * m + g /
    ||g||_1, the norm over the whole cloud; then a step along the steepest direction of
    m. The momentum belongs to the cloud and never sees its neighbours in the batch.

    Args:
        eps, norm, steps, step_size, loss, confidence: see IFGM.
        decay: the paper's mu; 0 is I-FGM.

    Raises:
        ValueError: on a setting out of range; at the call, if eps exceeds the object.
    """

    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.decay <= 1:
            raise ValueError(f"decay must lie in [0, 1]; received {self.decay}.")

    def _direction(self, gradient: Tensor, memory: Tensor, index: Tensor) -> Tensor:
        # Through the unit gradient, so that tiny gradients do not underflow.
        unit = norms.steepest(gradient, "l2")
        length = unit.abs().sum((1, 2), keepdim=True)
        memory[index] = self.decay * memory[index] + unit / length.clamp(min=1e-30)
        return norms.steepest(memory[index], self.norm)
