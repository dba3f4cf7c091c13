"""Distances between clouds for an optimiser: fast to repeat, exact, differentiable.

Neighbours are found without gradient (they are integers); the distances to them are
then differences of positions, which are exact near 0 and differentiable, and which can
never be negative. Public code takes |a|^2 + |b|^2 - 2ab itself as the distance, and
stops with an error as soon as a cloud leaves the unit ball and rounding makes it
negative.

Finding neighbours is the costly part. An optimiser moves points a little at a time, so
`NeighbourList` keeps for each point more candidates than it needs, and looks at all
points again only when it can no longer prove that the nearest are among them.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mrpd_tutorial.geometry import gather_points
from mrpd_tutorial.nearest import nearest_indices

__all__ = [
    "NeighbourList",
    "farthest_pair",
    "outlier_distance",
    "squared_distance_to",
]


class NeighbourList:
    """Nearest neighbours of moving points; looks at all pairs only when it must.

    Verlet's list [Phys. Rev. 159 (1967), 98-103], known from molecular dynamics. When
    the list of a cloud is made, `candidates` neighbours of each point are kept, and the
    distance R of the last of them. Once the query has moved by u and no point by more
    than v, each point that is not a candidate is at least R - u - v away. As long as
    the k-th of the candidates is no farther, the k nearest candidates are the k
    nearest points. The first point for which this fails has the cloud's list remade.
    So answers are those of a full search, at each step, for each cloud by itself.

    Where points move far in a step, some point fails almost always. With `refresh` a
    list is remade at every so many calls, and not when the proof fails: in between,
    neighbours are the nearest of the candidates, perhaps not of all points.

    Args:
        k: number of neighbours. Clouds that have fewer give those they have; a single
            point is its own neighbour.
        candidates: how many to keep, k or more. More of them: fewer full searches, each
            step dearer.
        exclude_self: queries are the points themselves; no point is its own neighbour.
        refresh: calls a list lives; None: as long as it is proven right.
    """

    def __init__(
        self,
        k: int,
        *,
        candidates: int,
        exclude_self: bool = False,
        refresh: int | None = None,
    ) -> None:
        self.k, self.candidates = k, max(k, candidates)
        self.exclude_self, self.refresh = exclude_self, refresh
        self.rebuilt = 0  # clouds whose list was made, for those who tune it
        self._lists: Tensor | None = None

    def __call__(self, query: Tensor, points: Tensor, index: Tensor) -> Tensor:
        """Indices (b, N, k) into points (b, M, 3) of the neighbours of query (b, N, 3).

        Args:
            query: (b, N, 3); the points themselves where `exclude_self`.
            points: (b, M, 3).
            index: (b,) which clouds these are. The first call must hold the largest.
        """
        with torch.no_grad():
            query, points = query.detach(), points.detach()
            available = points.shape[1] - self.exclude_self
            if available < 1:  # a single point
                return index.new_zeros(*query.shape[:2], 1)
            if self._lists is None:
                self._open(query, points, index, available)
            chosen, stale = self._look_up(query, points, index)
            if bool(stale.any()):
                self._rebuild(query[stale], points[stale], index[stale])
                remade = query[stale], points[stale], index[stale]
                chosen[stale], _ = self._look_up(*remade)
            self._calls_left[index] -= 1
            return chosen

    def _open(self, query: Tensor, points: Tensor, index: Tensor, available: int):
        clouds, count = int(index.max()) + 1, query.shape[1]
        kept = min(self.candidates, available)
        self._complete = kept == available
        self._wanted = min(self.k, available)
        self._lists = index.new_zeros(clouds, count, kept)
        # With no calls left and at -inf reach, each list is made when first asked for.
        self._calls_left = index.new_zeros(clouds)
        self._reach = query.new_full((clouds, count), -torch.inf)
        self._query = query.new_zeros(clouds, count, 3)
        self._points = points.new_zeros(clouds, points.shape[1], 3)

    def _look_up(
        self, query: Tensor, points: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(b, N, k) nearest candidates, (b,) whether they may be others' places."""
        lists = self._lists[index]  # (b, N, c)
        offsets = gather_points(points, lists) - query[:, :, None]  # (b, N, c, 3)
        squared = offsets.square().sum(-1)
        if self._wanted == 1:
            last, best = squared.min(2, keepdim=True)
        else:
            last, best = squared.topk(self._wanted, largest=False)
        chosen = lists.gather(2, best)
        if self.refresh is not None:
            return chosen, self._calls_left[index] <= 0
        moved = (query - self._query[index]).norm(dim=-1)  # (b, N)
        drift = (points - self._points[index]).norm(dim=-1).amax(1, keepdim=True)
        safe = self._reach[index] - moved - drift
        # NaN positions compare false: they are stale, and remade like any other.
        return chosen, ~(last[..., -1].sqrt() <= safe * (1 + 1e-6)).all(1)

    def _rebuild(self, query: Tensor, points: Tensor, index: Tensor) -> None:
        self.rebuilt += len(index)
        kept = self._lists.shape[2]
        lists, reach = nearest_indices(
            query, points, kept, exclude_self=self.exclude_self
        )
        self._lists[index] = lists
        self._reach[index] = torch.inf if self._complete else reach
        self._calls_left[index] = self.refresh or 0
        self._query[index], self._points[index] = query, points


def squared_distance_to(
    a: Float[Tensor, "B N 3"],
    b: Float[Tensor, "B M 3"],
    neighbours: Int[Tensor, "B N K"],
) -> Float[Tensor, "B N K"]:
    """Squared distances of the points of a to their neighbours in b, differentiable.

    With the nearest neighbour, the mean over N is the one-sided Chamfer distance, and
    the maximum the one-sided squared Hausdorff distance, from a to b.
    """
    return (gather_points(b, neighbours) - a[:, :, None]).square().sum(-1)


def outlier_distance(
    squared: Float[Tensor, "B N K"], alpha: float = 1.05
) -> Float[Tensor, "B"]:
    """The kNN distance of Tsai et al. 2020 (AAAI 34, pp. 954-962); 0 without outliers.

    L = mean_i d_i [d_i > mean(d) + alpha std(d)], with d_i the mean squared distance of
    point i to its 5 nearest neighbours and alpha 1.05. The threshold has no gradient.
    The same as geometry.knn_smoothness, for neighbours that are known already.

    Args:
        squared: (B, N, K) squared distances to the neighbours.
        alpha: (unbiased) standard deviations above the mean that are allowed.
    """
    distances = squared.mean(-1)  # (B, N)
    with torch.no_grad():
        if distances.shape[1] > 1:
            spread = distances.std(1, keepdim=True)
        else:
            spread = torch.zeros_like(distances)
        limit = distances.mean(1, keepdim=True) + alpha * spread
        # Where all d_i are equal, the rounding of their mean makes no outliers.
        outliers = distances > limit * (1 + 1e-6)
    return torch.where(outliers, distances, 0.0).mean(1)


def farthest_pair(points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B"]:
    """The largest distance between two points of a (small) cloud: its diameter.

    Differentiable in the two points; 0 without gradient where all points are one.
    """
    with torch.no_grad():
        pairs = torch.cdist(
            points, points, compute_mode="donot_use_mm_for_euclid_dist"
        )  # (B, N, N)
        first, second = torch.unravel_index(pairs.flatten(1).argmax(1), pairs.shape[1:])
    rows = torch.arange(len(points), device=points.device)
    squared = (points[rows, first] - points[rows, second]).square().sum(-1)
    apart = squared > 0
    return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)
