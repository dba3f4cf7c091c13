"""Transfer: clouds made on another model, shown to the victim once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.attacks.victim import frozen, require_evaluation_mode

__all__ = ["Transfer"]


@dataclass(frozen=True, kw_only=True)
class Transfer(Attack):
    """Run any attack on a surrogate, and count what misleads the victim.

    Papernot et al. 2016 [arXiv 1605.07277]. Threat model: transfer; the attacker has
    the surrogate in full, and shows the victim one cloud. The victim is asked twice:
    about the clean cloud, as by every attack, and about the attacked one. iterations
    and idle_steps of the result are those on the surrogate.

    The clouds are exactly those that `attack` makes on the surrogate with the same
    generator. As by every attack, a clean cloud that the victim gets wrong, or that has
    the larger margin of two that do not mislead, is returned in its place.

    Give the attack the criterion "confidence": clouds that just cross the surrogate's
    boundary rarely cross another model's.

    Args:
        attack: what runs on the surrogate. Its eps, norm and numbers of points are this
            attack's; eps must not be given again.
        surrogate: `points -> logits`, another model for the same classes.
        batch_size, criterion, allow_training_mode: as for every attack; the criterion
            changes nothing here. allow_training_mode covers the surrogate as well.

    Raises:
        ValueError: as the attack does; at the call, if the surrogate is training.
    """

    attack: Any
    surrogate: Callable[[Tensor], Tensor]
    eps: float | Sequence[float] | Tensor = field(init=False)
    norm: str = field(init=False)
    minimal: bool = field(init=False)
    changes_count: bool = field(init=False)
    min_points: int = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.attack, Attack):
            raise ValueError(
                "attack must be an attack, such as PGD.quick(); received "
                f"{type(self.attack).__name__}."
            )
        for name in ("eps", "norm", "minimal", "changes_count", "min_points"):
            object.__setattr__(self, name, getattr(self.attack, name))
        super().__post_init__()

    def _check_eps(self, value: float) -> None:
        self.attack._check_eps(value)

    def _check_budget(self, points: Tensor, eps: Tensor) -> None:
        self.attack._check_budget(points, eps)

    def _run(self, search: Search) -> None:
        if not self.allow_training_mode:
            require_evaluation_mode(self.surrogate)
        everything = torch.arange(len(search.labels), device=search.labels.device)
        with frozen(self.surrogate):
            made = Search(
                model=self.surrogate,
                clean=search.clean.clone(),
                labels=search.labels,
                target_labels=search.target_labels,
                eps=search.eps,
                generators=search.generators,
                stop_at_success=self.attack.criterion == "success",
                changes_count=self.changes_count,
                part=search.part,
            )
            self.attack._run(made)
        assert made.best is not None, "the attack considered no cloud"
        search.iterations += made.iterations
        search.idle_steps += made.idle_steps
        with torch.no_grad():
            logits = search.logits(made.best, everything)
        search.consider(made.best, logits, everything)
