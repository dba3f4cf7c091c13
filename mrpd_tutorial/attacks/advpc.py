"""AdvPC: what misleads must survive an auto-encoder, and so other models' eyes."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.attacks.two_views import TwoViews
from mrpd_tutorial.attacks.victim import frozen, require_evaluation_mode
from mrpd_tutorial.checks import check_points

__all__ = ["AdvPC"]


@dataclass(frozen=True, kw_only=True)
class AdvPC(TwoViews):
    """Mislead by the cloud and by its reconstruction.

    Implements Hamdi et al. 2020 [arXiv 1912.00461]: climb

        (1 - gamma) min(Z(x), k) + gamma min(Z(G(x)), k)

    with Z the margin, G an auto-encoder trained on clean clouds, and x clipped to the
    budget. The auto-encoder is no part of the victim: its forward passes are not
    queries, the victim's answers to its clouds are. The TensorFlow release has
    confidence 0 for G(x); a port to PyTorch clips each point's length
    instead of its coordinates, has one confidence for both terms, and keeps the
    misleading cloud of smallest length; here the largest objective is kept, for the
    sake of which the confidence is asked for.

    Args:
        auto_encoder: `points (b, N, 3) -> points (b, M, 3)`, differentiable, in
            evaluation mode; see mrpd_tutorial.models.auto_encoder.

    The others are those of TwoViews.

    Raises:
        ValueError: if auto_encoder is not callable, is in training mode, or answers
            with anything but finite clouds.
    """

    auto_encoder: Any = field(repr=False)  # a callable, see __post_init__

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.auto_encoder):
            raise ValueError(
                "auto_encoder must be a callable points (b, N, 3) -> points (b, M, 3); "
                f"received {type(self.auto_encoder).__name__}."
            )

    @classmethod
    def quick(cls, auto_encoder: Callable[[Tensor], Tensor], **changes) -> "AdvPC":
        """Per point 0.18, 20 steps, one restart."""
        settings = cls(auto_encoder=auto_encoder, steps=20, restarts=1)
        return dataclasses.replace(settings, **changes)

    @classmethod
    def paper(cls, auto_encoder: Callable[[Tensor], Tensor], **changes) -> "AdvPC":
        """As published: l-infinity 0.18, gamma 0.25, confidence 30, 2 times 200 steps.

        Adam 0.01. The restarts begin 1e-7 beside the clean cloud, as
        CW-Perturb does, and so hardly differ.
        """
        settings = cls(
            auto_encoder=auto_encoder,
            eps=0.18,
            norm="linf",
            gamma=0.25,
            confidence=30.0,
            steps=200,
            step_size=0.01,
            restarts=2,
            start_noise=1e-7,
        )
        return dataclasses.replace(settings, **changes)

    def _run(self, search: Search) -> None:
        if not self.allow_training_mode:
            require_evaluation_mode(self.auto_encoder)

        def second_view(points: Tensor, index: Tensor) -> Tensor:
            view = self.auto_encoder(points)
            check_points(view, "the auto_encoder's answer")
            if len(view) != len(points):
                raise ValueError(
                    "auto_encoder must return one cloud for each of the "
                    f"{len(points)} given; received {len(view)}."
                )
            return view

        with frozen(self.auto_encoder):
            self._search_both(search, second_view)
