"""The one contract of all attacks, and the bookkeeping they share.

    result = SomeAttack(...)(model, points, labels, target_labels=None, generator=None)

`model` is any callable `points (B, N, 3) -> logits (B, C)`. What holds for each attack:

- Inputs are not changed. Parameters of a model that is a torch module are frozen for
  the attack's duration and restored, also after an exception. Its training mode is not
  touched: a model whose batch norm or dropout is training is refused.
- The returned cloud is the best one found, the clean cloud included: one that misleads
  before one that does not, then the larger margin (criterion "confidence"). With
  criterion "success" the first misleading cloud is returned, and that cloud leaves the
  batch at once: success is the same, the confidence lower. Clouds that are to be shown
  to other models (static, transfer) should be made with "confidence".
- Attacks that look for the nearest misleading cloud (`minimal`) compare misleading
  clouds by their own distance instead of by the margin. Their budget may be infinite.
- Attacks that add or remove points (`changes_count`) return clouds of M points; N are
  given. Their budget is in the norm "count": how many points. The clean cloud is no
  candidate, unless that number is 0.
- All randomness comes from one seed per cloud, drawn from `generator` in the order of
  the clouds. So a cloud's result does not depend on `batch_size` or on its neighbours
  (up to the model's own rounding), and attacking a data set in parts with one generator
  is attacking it at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mrpd_tutorial.attacks.result import AttackResult
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.attacks.victim import frozen, require_evaluation_mode
from mrpd_tutorial.checks import (
    check_choice,
    check_labels,
    check_points,
    check_positive,
    check_same_device,
)

__all__ = ["Attack", "AttackResult", "random_target_labels"]


def random_target_labels(
    labels: Tensor, num_classes: int, generator: torch.Generator
) -> Int[Tensor, "B"]:
    """A wrong class for each cloud, uniformly drawn.

    Random targets understate the damage of an untargeted attack; they are the protocol
    of most published tables.

    Args:
        labels: (B,) true classes.
        num_classes: C, at least 2.
        generator: source of randomness.

    Raises:
        ValueError: if labels are not class ids below num_classes.
    """
    check_labels(labels, num_classes)
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2; received {num_classes}.")
    shift = torch.randint(
        1, num_classes, labels.shape, generator=generator, device=generator.device
    )
    return (labels + shift.to(labels.device)) % num_classes


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """What all attacks share; see the module's docstring for what they promise.

    Classes say what they are: `norm` is the norm of the budget ("per_point", "l2",
    "linf", "count" or, without a budget, "none"), `minimal`, `changes_count`,
    `starts_clean` (the first gradient is taken at the clean cloud, which then is shown
    to the model once instead of twice), and `min_points`, the fewest points a cloud
    must have.

    Args:
        eps: the budget in the attack's norm: one number, or one for each cloud (kept
            as a tuple of floats). Infinite where the norm is "none", and where a
            `minimal` attack is to have no bound. With the norm "count" one whole
            number for all clouds: a batch has one number of points.
        batch_size: clouds worked on at once; changes memory and speed only.
        criterion: "confidence" (search to the end, return the largest margin) or
            "success" (stop a cloud as soon as it misleads).
        allow_training_mode: attack a model whose batch norm or dropout is training.
    """

    eps: float | Sequence[float] | Tensor
    batch_size: int = 32
    criterion: str = "confidence"
    allow_training_mode: bool = False

    norm: ClassVar[str] = "none"
    minimal: ClassVar[bool] = False
    changes_count: ClassVar[bool] = False
    starts_clean: ClassVar[bool] = False
    min_points: ClassVar[int] = 1

    def __post_init__(self) -> None:
        eps = self.eps
        if isinstance(eps, Tensor):
            eps = eps.detach().cpu().double().tolist()
        if isinstance(eps, (list, tuple)):
            eps = tuple(float(value) for value in eps)
        for value in eps if isinstance(eps, tuple) else (eps,):
            self._check_eps(value)
        if self.norm == "count" and isinstance(eps, tuple):
            raise ValueError(
                "eps must be one number of points for all clouds, whose batch has one "
                f"shape; received {len(eps)}. Call the attack once for each number."
            )
        object.__setattr__(self, "eps", eps)
        check_positive("batch_size", self.batch_size)
        check_choice("criterion", self.criterion, ("confidence", "success"))

    def _check_eps(self, value: float) -> None:
        name, infinite = type(self).__name__, value == float("inf")
        if not value >= 0 or (infinite and self.norm != "none" and not self.minimal):
            raise ValueError(f"eps must be 0 or above, and finite; received {value}.")
        if self.norm == "none" and not infinite:
            raise ValueError(
                f"eps must be infinite: {name} has no budget, it looks for a small "
                f"change by itself; received {value}. Leave eps out."
            )
        if self.norm == "count" and value % 1:
            raise ValueError(f"eps must be a whole number of points; received {value}.")

    @abstractmethod
    def _run(self, search: Search) -> None:
        """Show clouds to the model with search.logits and search.consider."""

    def _check_budget(self, points: Tensor, eps: Tensor) -> None:  # noqa: B027
        """Refuse budgets that make no sense for these clouds; attacks override."""

    def budget(self, points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B"]:
        """(B,) the budget of each cloud.

        Raises:
            ValueError: if there is neither one budget nor one for each cloud, or if a
                budget makes no sense for its cloud.
        """
        if not isinstance(self.eps, tuple):
            eps = points.new_full((len(points),), self.eps)
        elif len(self.eps) == len(points):
            eps = points.new_tensor(self.eps)
        else:
            raise ValueError(
                f"eps must be one number or one for each of the {len(points)} clouds; "
                f"received {len(self.eps)}."
            )
        finite = torch.isfinite(eps)
        if bool(finite.any()):
            self._check_budget(points[finite], eps[finite])
        return eps

    def __call__(
        self,
        model: Callable[[Tensor], Tensor],
        points: Tensor,
        labels: Tensor,
        target_labels: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> AttackResult:
        """Attack each cloud.

        Args:
            model: `points (b, N, 3) -> logits (b, C)`, in evaluation mode.
            points: (B, N, 3) clean clouds in the frame the model expects. Clouds are
                not normalised again: that would be a weak defense in disguise.
            labels: (B,) true classes.
            target_labels: (B,) classes to reach instead; None attacks untargeted.
            generator: source of the clouds' seeds; None means seed 0, so that the same
                call gives the same clouds.

        Returns:
            An AttackResult on the device and in the dtype of points.

        Raises:
            ValueError: on bad input, or a model that answers with NaN, another shape or
                another dtype. What the model itself raises comes through unchanged.
        """
        check_points(points, min_points=self.min_points)
        check_labels(labels, batch=len(points))
        tensors = {"points": points, "labels": labels}
        if target_labels is not None:
            check_labels(target_labels, batch=len(points), name="target_labels")
            tensors["target_labels"] = target_labels
            same = target_labels.to(labels.device) == labels
            if bool(same.any()):
                raise ValueError(
                    "target_labels must differ from labels; they agree for cloud "
                    f"{int(same.nonzero()[0])}. See random_target_labels."
                )
        check_same_device(**tensors)
        eps = self.budget(points)
        if not self.allow_training_mode:
            require_evaluation_mode(model)
        if generator is None:
            generator = torch.Generator().manual_seed(0)
        seeds = torch.randint(
            2**63 - 1, (len(points),), generator=generator, device=generator.device
        ).tolist()
        results = []
        # Callers may be inside no_grad or inference_mode; attacks need gradients.
        with frozen(model), torch.inference_mode(False), torch.enable_grad():
            for start in range(0, len(points), self.batch_size):
                part = slice(start, start + self.batch_size)
                search = Search(
                    model=model,
                    clean=points[part].detach().clone(),
                    labels=labels[part].clone(),
                    target_labels=(
                        None if target_labels is None else target_labels[part].clone()
                    ),
                    eps=eps[part].clone(),
                    generators=[
                        torch.Generator().manual_seed(seed) for seed in seeds[part]
                    ],
                    stop_at_success=self.criterion == "success",
                    changes_count=self.changes_count,
                    starts_clean=self.starts_clean,
                    part=part,
                )
                self._run(search)
                results.append(self._result(search))
        return type(results[0]).concatenate(results)

    def _result(self, search: Search) -> AttackResult:
        assert search.best is not None, f"{type(self).__name__} considered no cloud"
        return AttackResult(
            points=search.best,
            clean=search.clean,
            success=search.success,
            correct_before=search.correct_before,
            iterations=search.iterations,
            queries=search.queries,
            idle_steps=search.idle_steps,
            eps=search.eps,
            norm=self.norm,
        )
