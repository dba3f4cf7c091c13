"""The contract of defenses that change the cloud before the model sees it."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["Defended", "Defense"]


class Defense(ABC):
    """Something that maps points (B, N, 3) to points (B, M, 3), the same M for a batch.

    Gradients flow to the points that are kept, so that an adaptive attack can go
    through the defense. Clouds are not normalised again afterwards.

    `is_random` says whether two calls may differ. Then `reset(seed)` starts the
    sequence of draws anew.
    """

    is_random = False

    @abstractmethod
    def __call__(self, points: Tensor) -> Tensor:
        """Defend a batch of clouds."""

    def reset(self, seed: int | None = None) -> None:  # noqa: B027
        """Start the random draws anew, from `seed` or from the defense's own."""


class Defended(nn.Module):
    """A model behind a defense: again a `points -> logits` callable.

    Args:
        model: `points -> logits`.
        defense: `points -> points`; chain defenses by nesting Defended.

    Raises:
        ValueError: if the two were swapped.
    """

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        defense: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        if isinstance(model, Defense):
            raise ValueError(
                f"model must map points to logits; received the defense "
                f"{type(model).__name__}. The model comes first: "
                "Defended(model, defense)."
            )
        self.model = model
        self.defense = defense

    @property
    def is_random(self) -> bool:
        """Whether two calls may answer differently."""
        return any(
            getattr(part, "is_random", False) for part in (self.model, self.defense)
        )

    def reset(self, seed: int | None = None) -> None:
        """Start the random draws of all defenses in the chain anew."""
        for part in (self.model, self.defense):
            if hasattr(part, "reset") and getattr(part, "is_random", False):
                part.reset(seed)

    def forward(self, points: Tensor) -> Tensor:
        """(B, N, 3) -> logits (B, C)."""
        return self.model(self.defense(points))
