"""The kNN attack: moved points stay near the surface and near one another."""

import dataclasses
from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from mrpd_tutorial.attacks import norms
from mrpd_tutorial.attacks.distances import (
    NeighbourList,
    outlier_distance,
    squared_distance_to,
)
from mrpd_tutorial.attacks.optimise import unsolved
from mrpd_tutorial.attacks.optimised import Optimised
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.checks import check_between, check_points, check_positive

__all__ = ["KNNAttack", "check_normals", "own_normals"]


def check_normals(normals: Tensor | None, points: Tensor) -> None:
    """Check that there is one normal for each point of the clouds that are attacked.

    Raises:
        ValueError: on another shape or on numbers that are not finite.
    """
    if normals is None:
        return
    check_points(normals, "normals")
    if normals.shape != points.shape:
        raise ValueError(
            f"normals must have the shape of points, {tuple(points.shape)}; received "
            f"{tuple(normals.shape)}. Give one unit vector for each point, or None."
        )


def own_normals(normals: Tensor | None, search: Search) -> Tensor | None:
    """The normals of the clouds that `search` works on, out of those of the call."""
    return None if normals is None else normals[search.part].to(search.clean)


@dataclass(frozen=True, kw_only=True)
class KNNAttack(Optimised):
    """Mislead by clouds without outliers, every point within eps of where it was.

    Implements Tsai et al. 2020 (AAAI 34, pp. 954-962) with the constants of
    IF-Defense: min f(x') + N * (5 * mean_i min_j ||x'_i - x_j||^2 + 3 * L_knn(x')),
    L_knn as in distances.outlier_distance, by Adam. After each update points that moved
    inward are put back into the tangent plane (where normals are given), and offsets
    are shortened to eps.

    Public code differs: it returns the last iterate. Here it is the one of smallest
    distance (the bracket above) among those that mislead by `confidence`. Neighbours
    are exact at every step, by a list that is rarely made anew (NeighbourList).

    Args:
        eps: how far each point may move, Euclidean; one number or one for each cloud.
        steps: Adam updates; there is no search over a weight.
        step_size: Adam's, in units of the cloud.
        chamfer_weight: weight of the (one-sided) Chamfer distance.
        knn_weight: weight of the kNN distance.
        k: neighbours of a point in the kNN distance.
        alpha: its threshold, standard deviations above the mean.
        normals: (B, N, 3) unit normals of the clouds of the call, outward; None: points
            may move inward.
        loss, confidence, start_noise, patience: see CWPerturb.

    Raises:
        ValueError: on a setting out of range, on normals of another shape, if eps
            exceeds the object.
    """

    eps: float | tuple | list | Tensor = 0.1
    steps: int = 2500
    step_size: float = 1e-3
    chamfer_weight: float = 5.0
    knn_weight: float = 3.0
    k: int = 5
    alpha: float = 1.05
    normals: Tensor | None = field(default=None, repr=False, compare=False)
    confidence: float = 15.0

    norm: ClassVar[str] = "per_point"
    minimal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("k", self.k)
        for name in ("chamfer_weight", "knn_weight", "alpha"):
            check_between(name, getattr(self, name), 0, float("inf"))

    @classmethod
    def quick(cls, **changes) -> "KNNAttack":
        """60 updates of 0.003, margin 5: a few seconds, with larger distances."""
        attack = cls(steps=60, step_size=3e-3, confidence=5.0)
        return dataclasses.replace(attack, **changes)

    @classmethod
    def paper(cls, **changes) -> "KNNAttack":
        """2500 updates of 0.001, points within 0.1, margin 15, without normals.

        IF-Defense [arXiv 2010.05272]; AOF's comparison uses eps 0.18, untargeted.
        """
        return dataclasses.replace(cls(), **changes)

    def budget(self, points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B"]:
        """(B,) see Attack.budget; checks the normals, too."""
        check_normals(self.normals, points)
        return super().budget(points)

    def _check_budget(self, points: Tensor, eps: Tensor) -> None:
        norms.check_budget(points, eps, self.norm)

    def _run(self, search: Search) -> None:
        index = unsolved(search, self.confidence)
        if not len(index):
            return
        clean, count = search.clean, search.clean.shape[1]
        to_clean = NeighbourList(1, candidates=16)
        to_others = NeighbourList(self.k, candidates=6 * self.k, exclude_self=True)
        normals = own_normals(self.normals, search)

        def distance(points: Tensor, index: Tensor) -> Tensor:
            nearest = to_clean(points, clean[index], index)
            chamfer = squared_distance_to(points, clean[index], nearest).mean((1, 2))
            around = to_others(points, points, index)
            squared = squared_distance_to(points, points, around)  # (b, N, k)
            outliers = outlier_distance(squared, self.alpha)
            return self.chamfer_weight * chamfer + self.knn_weight * outliers

        def constrain(points: Tensor, index: Tensor) -> Tensor:
            if normals is not None:
                offset = points - clean[index]
                height = (offset * normals[index]).sum(-1, keepdim=True)
                points = points - height.clamp(max=0) * normals[index]
            return norms.project(clean[index], points, search.eps[index], self.norm)

        weight = clean.new_full((len(index),), float(count))
        self._descend(
            search, index, clean[index], weight, distance=distance, constrain=constrain
        )
