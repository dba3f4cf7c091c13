"""Tensors of points: normalising, neighbours, sampling, distances between clouds."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mrpd_tutorial.checks import check_between, check_points, check_same_device
from mrpd_tutorial.nearest import nearest_both_ways, nearest_indices

__all__ = [
    "chamfer_distance",
    "farthest_point_sampling",
    "gather_points",
    "hausdorff_distance",
    "knn",
    "knn_smoothness",
    "normalise",
    "pairwise_squared_distances",
]


def normalise(points: Tensor) -> Float[Tensor, "B N 3"]:
    """Move each cloud's centroid to 0 and scale its largest radius to 1.

    Args:
        points: (B, N, 3), any unit.

    Returns:
        (B, N, 3) in the unit sphere; a cloud whose points are all equal becomes zeros.

    Raises:
        ValueError: if points are not finite clouds of shape (B, N, 3).

    Example:
        >>> normalise(torch.tensor([[[0.0, 0, 0], [4.0, 0, 0]]]))
        tensor([[[-1.,  0.,  0.],
                 [ 1.,  0.,  0.]]])
    """
    check_points(points)
    centred = points - points.mean(dim=1, keepdim=True)
    radius = centred.norm(dim=-1).amax(dim=1)[:, None, None]  # (B, 1, 1)
    # All-equal points leave a radius of rounding errors: those clouds become zeros.
    extent = points.abs().amax(dim=(1, 2))[:, None, None]
    flat = radius <= 1e-6 * extent.clamp(min=1e-30)
    return torch.where(flat, 0.0, centred / torch.where(flat, 1.0, radius))


def pairwise_squared_distances(
    a: Float[Tensor, "B N 3"], b: Float[Tensor, "B M 3"]
) -> Float[Tensor, "B N M"]:
    """Squared distances between all points of two clouds.

    |a|^2 + |b|^2 - 2ab needs no (B, N, M, 3) tensor; rounding is clamped at 0.

    Args:
        a: (B, N, 3).
        b: (B, M, 3).

    Returns:
        (B, N, M), never negative.
    """
    squares = (a * a).sum(-1)[:, :, None] + (b * b).sum(-1)[:, None, :]  # (B, N, M)
    return torch.baddbmm(squares, a, b.transpose(1, 2), alpha=-2).clamp(min=0)


def knn(
    query: Tensor, points: Tensor, k: int
) -> tuple[Float[Tensor, "B M k"], Int[Tensor, "B M k"]]:
    """The k nearest points of each query, nearest first.

    Args:
        query: (B, M, 3).
        points: (B, N, 3), N >= k. A query that is itself a point finds itself first.
        k: number of neighbours.

    Returns:
        Squared distances (B, M, k) and indices into points (B, M, k).

    Raises:
        ValueError: on clouds of another shape, or k outside 1..N.
    """
    check_points(query, "query")
    check_points(points)
    check_same_device(query=query, points=points)
    check_between("k", k, 1, points.shape[1])
    indices, _ = nearest_indices(query, points, k)
    # As differences: exact near 0, and differentiable.
    offsets = gather_points(points, indices) - query[:, :, None]  # (B, M, k, 3)
    return offsets.square().sum(-1), indices


def knn_smoothness(
    points: Tensor, k: int = 5, alpha: float = 1.05
) -> Float[Tensor, "B"]:
    """How far outliers stand from their neighbours; 0 where no point stands out.

    Implements the kNN distance of Tsai et al. 2020 (AAAI 34, pp. 954-962): d_i is the
    mean squared distance of point i to its k nearest neighbours; the result is the mean
    over points of d_i where d_i > mean(d) + alpha * std(d), and 0 elsewhere. Which
    points stand out, and who their neighbours are, is not differentiable; the distances
    are.

    Args:
        points: (B, N, 3), N > k.
        k: number of neighbours, the point itself not counted; the paper's 5.
        alpha: how many (unbiased) standard deviations above the mean are allowed; 1.05.

    Returns:
        (B,), in squared units of the clouds.

    Raises:
        ValueError: if clouds have no more than k points.
    """
    check_points(points, min_points=k + 1)
    with torch.no_grad():
        _, neighbours = knn(points, points, k + 1)
    # The first neighbour is the point itself, or another one at the same place.
    others = gather_points(points, neighbours[..., 1:])  # (B, N, k, 3)
    distances = (others - points[:, :, None]).square().sum(-1).mean(-1)  # (B, N)
    with torch.no_grad():
        spread = distances.std(1, keepdim=True)
        limit = distances.mean(1, keepdim=True) + alpha * spread
        # Where all d_i are equal, the rounding of their mean makes no outliers.
        outliers = distances > limit * (1 + 1e-6)
    return torch.where(outliers, distances, 0.0).mean(1)


def farthest_point_sampling(
    points: Tensor, count: int, start: int = 0
) -> Int[Tensor, "B count"]:
    """Choose `count` points, each the farthest from those chosen before.

    Implements Gonzalez (1985) as used by PointNet++ [Qi et al., 1706.02413]. The start
    is fixed, so that an evaluation is the same each time; ties go to the lowest index.

    Args:
        points: (B, N, 3).
        count: how many to choose, 1..N.
        start: index of the first point chosen.

    Returns:
        Indices (B, count), in the order chosen.

    Raises:
        ValueError: on clouds of another shape, or count or start outside the cloud.
    """
    check_points(points)
    check_between("count", count, 1, points.shape[1])
    check_between("start", start, 0, points.shape[1] - 1)
    with torch.no_grad():
        x, y, z = points.detach().unbind(-1)  # each (B, N): contiguous rows are faster
        x, y, z = x.contiguous(), y.contiguous(), z.contiguous()
        chosen = torch.empty(
            points.shape[0], count, dtype=torch.int64, device=points.device
        )
        chosen[:, 0] = start
        nearest = torch.full_like(x, float("inf"))
        for i in range(1, count):
            last = chosen[:, i - 1 : i]  # (B, 1)
            distance = (x - x.gather(1, last)).square_()
            distance += (y - y.gather(1, last)).square_()
            distance += (z - z.gather(1, last)).square_()
            torch.minimum(nearest, distance, out=nearest)
            chosen[:, i] = nearest.argmax(dim=1)
    return chosen


def gather_points(points: Tensor, indices: Tensor) -> Tensor:
    """Pick points by index.

    Args:
        points: (B, N, D), coordinates or any per-point features.
        indices: (B, ...) int64 into N.

    Returns:
        (B, ..., D).
    """
    batch, _, dim = points.shape
    flat = indices.reshape(batch, -1, 1).expand(-1, -1, dim)  # (B, prod(...), D)
    return points.gather(1, flat).reshape(*indices.shape, dim)


def _nearest_squared(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    check_points(a, "a")
    check_points(b, "b")
    check_same_device(a=a, b=b)
    # Neighbours are found without gradient; the distances to them are recomputed as
    # differences, exact near 0 and differentiable.
    with torch.no_grad():
        to_b, to_a = nearest_both_ways(a, b)  # (B, N), (B, M)
    a_to_b = (a - gather_points(b, to_b)).square().sum(-1)
    b_to_a = (b - gather_points(a, to_a)).square().sum(-1)
    return a_to_b, b_to_a


def chamfer_distance(a: Tensor, b: Tensor) -> Float[Tensor, "B"]:
    """Mean squared distance to the nearest neighbour, both ways added.

    Args:
        a: (B, N, 3).
        b: (B, M, 3).

    Returns:
        (B,), in squared units of the clouds. Differentiable in both clouds.

    Raises:
        ValueError: if either is not a batch of finite clouds.
    """
    a_to_b, b_to_a = _nearest_squared(a, b)
    return a_to_b.mean(1) + b_to_a.mean(1)


def hausdorff_distance(a: Tensor, b: Tensor) -> Float[Tensor, "B"]:
    """Largest distance from a point of one cloud to the other cloud, both ways.

    Args:
        a: (B, N, 3).
        b: (B, M, 3).

    Returns:
        (B,), in units of the clouds (not squared).

    Raises:
        ValueError: if either is not a batch of finite clouds.
    """
    a_to_b, b_to_a = _nearest_squared(a, b)
    return torch.maximum(a_to_b.amax(1), b_to_a.amax(1)).sqrt()
