"""What a cloud tells of the surface it was sampled from: normals, tangents, curvature.

No gradient flows through neighbours or normals, as in the papers that use them; it does
flow through the positions in `curvature`. Each cloud is worked on alone, so that its
answer does not depend on the batch, and in tiles, so that memory grows with N.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mrpd_tutorial.attacks.eigenvector import smallest_eigenvector
from mrpd_tutorial.checks import check_points, check_positive
from mrpd_tutorial.geometry import gather_points
from mrpd_tutorial.nearest import nearest_indices

__all__ = [
    "curvature",
    "curvature_deviation",
    "estimate_normals",
    "neighbour_indices",
    "tangent_part",
]


def neighbour_indices(points: Tensor, k: int) -> Int[Tensor, "B N K"]:
    """The k nearest other points of each point, nearest first.

    Args:
        points: (B, N, 3).
        k: wanted number of neighbours. A cloud of fewer than k + 1 points gives the
            N - 1 it has; a single point is its own neighbour.

    Returns:
        (B, N, K) int64 into N, K = max(1, min(k, N - 1)).

    Raises:
        ValueError: on clouds of another shape, or k below 1.
    """
    check_points(points)
    check_positive("k", k)
    count = points.shape[1]
    if count == 1:
        return torch.zeros(len(points), 1, 1, dtype=torch.int64, device=points.device)
    wanted = min(k, count - 1)
    found = [
        nearest_indices(cloud, cloud, wanted, exclude_self=True)[0]
        for cloud in points.detach().split(1)
    ]
    return torch.cat(found)


def estimate_normals(
    points: Tensor,
    k: int = 20,
    neighbours: Tensor | None = None,
    at: Int[Tensor, "B M"] | None = None,
) -> Float[Tensor, "B M 3"]:
    """Unit normals by principal components: where a point's neighbours vary least.

    Hoppe et al. 1992, "Surface reconstruction from unorganized points". Where that
    direction is not unique (points on a line, repeated points) any one of the equally
    good is given, never NaN. Normals point away from the centroid; for what is done
    with them here the sign does not matter.

    Args:
        points: (B, N, 3).
        k: points of a neighbourhood, the point itself included (20, as in SI-Adv).
        neighbours: (B, N, K) indices of other points, as by `neighbour_indices`, if
            they are known already: finding them is the costly part.
        at: (B, M) where normals are wanted; None means all N points. Not together with
            neighbours.

    Returns:
        (B, M, 3) unit vectors, without gradient.

    Raises:
        ValueError: on clouds of another shape, or k below 2.
    """
    check_points(points)
    if k < 2:
        raise ValueError(f"k must be at least 2, the point and a neighbour; got {k}.")
    with torch.no_grad():
        points = points.detach()
        places = points if at is None else gather_points(points, at)  # (B, M, 3)
        if at is not None:
            size = min(k, points.shape[1])  # the point itself is among them
            pairs = zip(places.split(1), points.split(1), strict=True)
            found = [nearest_indices(place, cloud, size)[0] for place, cloud in pairs]
            neighbours = torch.cat(found)
        else:
            if neighbours is None:
                neighbours = neighbour_indices(points, k - 1)
            size = neighbours.shape[2] + 1
        offsets = gather_points(points, neighbours) - places[:, :, None]  # (B, M, K, 3)
        mean = offsets.sum(2) / size  # the point itself is at 0
        scatter = offsets.transpose(2, 3) @ offsets / size  # (B, M, 3, 3)
        scatter = scatter - mean[..., :, None] * mean[..., None, :]
        normals = smallest_eigenvector(scatter)  # (B, M, 3), at any scale
        outward = places - points.mean(dim=1, keepdim=True)
        inward = (normals * outward).sum(-1, keepdim=True) < 0
        return torch.where(inward, -normals, normals)


def tangent_part(
    vectors: Float[Tensor, "B N 3"], normals: Float[Tensor, "B N 3"]
) -> Float[Tensor, "B N 3"]:
    """v - <v, n> n: what is left of each vector in its point's tangent plane.

    This is what SI-Adv's two rotations and the zeroed third coordinate come to.
    """
    return vectors - (vectors * normals).sum(-1, keepdim=True) * normals


def curvature(
    points: Float[Tensor, "B N 3"],
    normals: Float[Tensor, "B N 3"],
    neighbours: Int[Tensor, "B N K"],
) -> Float[Tensor, "B N"]:
    """kappa_i = mean over neighbours q of |<(q - p) / |q - p|, n_p>|, 0 on a plane.

    The local curvature of GeoA3 [Wen et al. 2020] and HiT-ADV [Lou et al. 2024], both
    with 16 neighbours. Differentiable in points; a neighbour at the same place counts
    as flat and has no gradient.

    Args:
        points: (B, N, 3).
        normals: (B, N, 3) unit normals.
        neighbours: (B, N, K) indices of other points.

    Returns:
        (B, N) within [0, 1].
    """
    offsets = gather_points(points, neighbours) - points[:, :, None]  # (B, N, K, 3)
    height = (offsets * normals[:, :, None]).sum(-1).abs()  # (B, N, K)
    squared = offsets.square().sum(-1)
    apart = squared > 0
    length = torch.where(apart, squared, 1.0).sqrt()
    return (torch.where(apart, height, 0.0) / length).mean(-1)


def curvature_deviation(
    points: Float[Tensor, "B N 3"],
    normals: Float[Tensor, "B N 3"],
    neighbours: Int[Tensor, "B N K"],
) -> Float[Tensor, "B N"]:
    """Standard deviation of the curvature over each point's neighbours.

    HiT-ADV's measure of how busy the surface is around a point: changes hide where it
    is large. The population's deviation (divided by K), 0 for a single neighbour.
    """
    values = curvature(points, normals, neighbours)
    around = gather_points(values[..., None], neighbours)[..., 0]  # (B, N, K)
    return around.std(-1, correction=0)
