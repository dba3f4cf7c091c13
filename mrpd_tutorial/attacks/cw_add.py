"""CW-Add: mislead by adding points; those of the cloud stay where they are."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mrpd_tutorial.attacks.distances import (
    NeighbourList,
    farthest_pair,
    squared_distance_to,
)
from mrpd_tutorial.attacks.initial_points import (
    aeroplane,
    cluster_centres,
    critical_clusters,
    critical_order,
)
from mrpd_tutorial.attacks.optimise import ranked_cost
from mrpd_tutorial.attacks.optimised import WeightSearch
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.checks import check_between, check_choice, check_positive
from mrpd_tutorial.geometry import gather_points

__all__ = ["CWAdd"]

# mode: points added, first weight, largest weight, search steps; IF-Defense's.
_PUBLISHED = {
    "chamfer": (512, 5e3, 4e4, 10),
    "hausdorff": (512, 200.0, 900.0, 10),
    "cluster": (96, 5.0, 30.0, 5),
    "object": (192, 5.0, 40.0, 5),
}


@dataclass(frozen=True, kw_only=True)
class CWAdd(WeightSearch):
    """Add points near the cloud until the model is misled; original points stay, first.

    Implements the point additions of Xiang, Qi and Li 2019 [arXiv 1809.07016], section
    4.2: min f([x; z]) + weight * D(z, x) over the added points z, by Adam, with a
    binary search over the weight. By `mode`, D(z, x) is

    - "chamfer": mean_z min_x ||z - x||^2, from added to original points only (Eq. 7);
    - "hausdorff": max_z min_x ||z - x||^2 (Eq. 6);
    - "cluster": each cluster's diameter, summed, + 0.1 * chamfer (Eq. 8, 9). Clusters
      begin where the critical points are dense, found with DBSCAN;
    - "object": ||change of the objects' shape||_2 + 0.2 * chamfer (Eq. 10). The objects
      are small aeroplanes of our own (initial_points.aeroplane), 0.3 large, placed at
      the centres of critical clusters; shape, place and rotation are all optimised.

    Chamfer and Hausdorff begin at copies of the points with the longest gradient. The
    first point the gradient prefers counts again where there are fewer than to add.

    IF-Defense's code differs as for CWPerturb, and turns objects about y only.

    Args:
        mode: "chamfer", "hausdorff", "cluster" or "object".
        eps: how many points are added; the mode's 512, 512, 96 or 192 by default. For
            clusters and objects a multiple of `clusters`.
        clusters: number of clusters or objects.
        critical: how many critical points clusters are looked for among.
        steps: Adam updates in each search step.
        search_steps: how many weights are tried; by default the mode's 10, 10, 5, 5.
        step_size: Adam's, in units of the cloud (radians for rotations).
        weight: the first weight; by default the mode's 5000, 200, 5, 5.
        max_weight: the largest weight; by default the mode's 40000, 900, 30, 40.
        chamfer_weight: the share of the Chamfer distance in "cluster" and "object"; by
            default 0.1 (0.05 in a flag of the first TensorFlow code) and 0.2.
        object_scale: radius of an added object, in units of the cloud.
        shrink, loss, confidence, start_noise, patience: see CWPerturb.

    Raises:
        ValueError: on a setting out of range.
    """

    mode: str = "chamfer"
    eps: float | Sequence[float] | Tensor | None = None
    clusters: int = 3
    critical: int = 128
    search_steps: int | None = None
    weight: float | None = None
    max_weight: float | None = None
    chamfer_weight: float | None = None
    object_scale: float = 0.3

    norm: ClassVar[str] = "count"
    changes_count: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, _PUBLISHED)
        share = 0.2 if self.mode == "object" else 0.1
        names = ("eps", "weight", "max_weight", "search_steps", "chamfer_weight")
        for name, value in zip(names, (*_published(self.mode), share), strict=True):
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        super().__post_init__()
        for name in ("clusters", "critical", "max_weight"):
            check_positive(name, getattr(self, name))
        check_positive("object_scale", self.object_scale)
        check_between("chamfer_weight", self.chamfer_weight, 0, float("inf"))
        check_between("weight", self.weight, 0, self.max_weight)
        if self.mode in ("cluster", "object") and self.eps % self.clusters:
            raise ValueError(
                f"eps must be a multiple of clusters in mode {self.mode!r}; received "
                f"{self.eps:g} points for {self.clusters} clusters."
            )

    @classmethod
    def quick(cls, mode: str = "chamfer", **changes) -> "CWAdd":
        """A quarter of the points, 40 updates for 4 weights, / 8 until one succeeds."""
        points = _published(mode)[0] // 4
        attack = cls(mode=mode, eps=points, steps=40, search_steps=4, shrink=8.0)
        return dataclasses.replace(attack, **changes)

    @classmethod
    def paper(cls, mode: str = "chamfer", **changes) -> "CWAdd":
        """Points, weights and search steps of IF-Defense [arXiv 2010.05272], Adam 0.01.

        512 points in 500 updates x 10 weights, from 5000 in [0, 40000] ("chamfer") or
        from 200 in [0, 900] ("hausdorff"); 3 x 32 points in 500 x 5, from 5 in [0, 30]
        ("cluster"); 3 x 64 points in 500 x 5, from 5 in [0, 40] ("object"). Margin 0.
        """
        return dataclasses.replace(cls(mode=mode), **changes)

    def _run(self, search: Search) -> None:
        everything = torch.arange(len(search.clean), device=search.clean.device)
        count = int(self.eps)
        if not count:
            search.consider(search.clean, search.clean_logits, everything)
            return
        start = self._start(search, count)
        place, distance = self._parts(search, start)

        def render(variable: Tensor, index: Tensor) -> Tensor:
            return torch.cat([search.clean[index], place(variable)], dim=1)

        with torch.no_grad():
            # Clouds that the first points mislead already are done.
            points = render(start, everything)
            logits = search.logits(points, everything)
            gap, far = search.margin(logits, everything), distance(start, everything)
            cost = ranked_cost(far, gap, self.confidence)
            search.consider(points, logits, everything, cost)

        self._search_weights(
            search, start, self.max_weight, distance=distance, render=render
        )

    def _start(self, search: Search, count: int) -> Tensor:
        """(B, M, 3) the first value of the variable."""
        order = critical_order(search)
        if self.mode in ("chamfer", "hausdorff"):
            position = torch.arange(count, device=order.device) % order.shape[1]
            return gather_points(search.clean, order[:, position])
        critical = gather_points(search.clean, order[:, : self.critical])
        size, rows = count // self.clusters, []
        for points, generator in zip(critical, search.generators, strict=True):
            groups = critical_clusters(points, self.clusters, size, generator)
            if self.mode == "cluster":
                rows.append(torch.cat(groups))
                continue
            objects = torch.cat(
                [aeroplane(size, generator) for _ in range(self.clusters)]
            ).to(points)
            turns = torch.zeros(self.clusters, 3)
            turns[:, 1] = torch.pi * torch.rand(self.clusters, generator=generator)
            rows.append(
                torch.cat(
                    [
                        self.object_scale * objects,
                        cluster_centres(groups),
                        turns.to(points),
                    ]
                )
            )
        return torch.stack(rows)

    def _parts(
        self, search: Search, start: Tensor
    ) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]:
        """The added points of a variable, and their distance from the clean cloud."""
        # Exact: full searches only when points have moved too far for the list.
        neighbours = NeighbourList(1, candidates=16)

        def squared(added: Tensor, index: Tensor) -> Tensor:
            clean = search.clean[index]
            nearest = neighbours(added, clean, index)
            return squared_distance_to(added, clean, nearest)[..., 0]  # (b, M)

        if self.mode == "chamfer":
            return _as_is, lambda z, index: squared(z, index).mean(1)
        if self.mode == "hausdorff":
            return _as_is, lambda z, index: squared(z, index).amax(1)
        if self.mode == "cluster":
            return (
                _as_is,
                lambda z, index: (
                    farthest_pair(z.reshape(len(z) * self.clusters, -1, 3))
                    .reshape(-1, self.clusters)
                    .sum(1)
                    + self.chamfer_weight * squared(z, index).mean(1)
                ),
            )

        def place(variable: Tensor) -> Tensor:
            return _place_objects(variable, self.clusters)

        def distance(variable: Tensor, index: Tensor) -> Tensor:
            shape = variable[:, : -2 * self.clusters]
            change = shape - start[index, : -2 * self.clusters]
            near = squared(place(variable), index).mean(1)
            return change.flatten(1).norm(dim=1) + self.chamfer_weight * near

        return place, distance


def _published(mode: str) -> tuple[int, float, float, int]:
    check_choice("mode", mode, _PUBLISHED)
    return _PUBLISHED[mode]


def _as_is(variable: Tensor) -> Tensor:
    return variable


def _place_objects(variable: Tensor, count: int) -> Tensor:
    """Objects turned and moved to their places.

    Args:
        variable: (b, count * S + 2 * count, 3): the objects' points about 0, then each
            object's place, then its rotation vector (axis times angle in radians).
        count: number of objects.

    Returns:
        (b, count * S, 3).
    """
    shape, place, turn = variable.split(
        [variable.shape[1] - 2 * count, count, count], dim=1
    )
    x, y, z = turn.unbind(-1)  # each (b, count)
    zero = torch.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    skew = torch.stack(rows, dim=-1).unflatten(-1, (3, 3))  # (b, count, 3, 3)
    rotation = torch.linalg.matrix_exp(skew)
    objects = shape.unflatten(1, (count, -1)) @ rotation.transpose(2, 3)
    return (objects + place[:, :, None]).flatten(1, 2)
