"""Smooth deformations: Gaussian kernels on chosen points carry the others along."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mrpd_tutorial.geometry import farthest_point_sampling, gather_points

__all__ = ["deformation_centres", "deformed"]


def _to_unit_range(values: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """Each cloud's values to [0, 1]; equal values become 0."""
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    return (values - low) / torch.where(high > low, high - low, 1.0)


def deformation_centres(
    points: Float[Tensor, "B N 3"],
    salience: Float[Tensor, "B N"],
    busyness: Float[Tensor, "B N"],
    neighbours: Int[Tensor, "B N K"],
    anchors: int = 256,
    count: int = 192,
    salience_weight: float = 0.001,
) -> Int[Tensor, "B m"]:
    """Where to deform: spread over the shape, busy, and mattering to the model.

    score = salience_weight * norm(salience) + norm(busyness), each brought to [0, 1]
    within its cloud (the release takes the extremes of the batch, so that a cloud's
    result depends on its neighbours). Of each anchor and its neighbours the best is
    taken, and of those the `count` best.

    Args:
        points: (B, N, 3).
        salience: (B, N) as by drop.saliency.
        busyness: (B, N) as by surface.curvature_deviation.
        neighbours: (B, N, K) indices of other points.
        anchors: chosen by farthest point sampling; at most N are taken.
        count: centres wanted; at most as many as there are anchors.
        salience_weight: see above.

    Returns:
        (B, m) indices into N, m = min(count, anchors, N). Some may repeat.
    """
    score = salience_weight * _to_unit_range(salience) + _to_unit_range(busyness)
    anchor = farthest_point_sampling(points, min(anchors, points.shape[1]))  # (B, A)
    around = gather_points(neighbours, anchor)  # (B, A, K)
    around = torch.cat([anchor[..., None], around], dim=-1)  # (B, A, K + 1)
    scores = gather_points(score[..., None], around)[..., 0]
    best, which = scores.max(-1)  # (B, A)
    candidate = around.gather(-1, which[..., None])[..., 0]
    order = best.argsort(dim=1, descending=True, stable=True)[:, :count]
    return candidate.gather(1, order)


def deformed(
    points: Float[Tensor, "B N 3"],
    squared_distances: Float[Tensor, "B N m"],
    shifts: Float[Tensor, "B m 3"],
    widths: Float[Tensor, "B m"],
) -> Float[Tensor, "B N 3"]:
    """x' = sum_j w_j(x) (x + v_j) / sum_j w_j(x), w_j = exp(-|x - c_j|^2 / (2 s_j^2)).

    A point far from all centres follows the nearest, in units of their widths, so that
    equal shifts are a translation of the cloud. The release has |x - c_j|, not its
    square, in the exponent; the paper's Gaussian is taken here.

    Args:
        points: (B, N, 3).
        squared_distances: (B, N, m) of points to centres.
        shifts: (B, m, 3) v_j.
        widths: (B, m) s_j, above 0.
    """
    exponent = -squared_distances / (2 * widths.square())[:, None]
    return points + exponent.softmax(-1) @ shifts  # (B, N, m) @ (B, m, 3)
