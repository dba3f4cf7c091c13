"""Attacks that survive re-centring and scaling, by going through them."""

from collections.abc import Callable

from torch import Tensor

from mrpd_tutorial.defenses.base import Defended
from mrpd_tutorial.geometry import normalise

__all__ = ["Renormalised"]


class Renormalised(Defended):
    """A model that normalises every cloud it gets: logits(normalise(points)).

    Many pipelines re-centre and scale a cloud before they classify it, which undoes
    part of an attack made without that step: of IF-Defense's I-FGM clouds a quarter.
    Attack `Renormalised(model)` instead of `model`, and the gradient goes through
    centroid and radius; what misleads it misleads the pipeline:

        result = PGD.quick()(Renormalised(model), points, labels)
        model(normalise(result.points))  # result.success is about these answers

    Budgets hold in the frame of `points`. Where those are normalised already (centroid
    0, largest radius 1) nothing changes for the clean clouds.

    Args:
        model: `points (B, N, 3) -> logits (B, C)`.
    """

    def __init__(self, model: Callable[[Tensor], Tensor]) -> None:
        super().__init__(model, normalise)
