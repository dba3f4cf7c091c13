"""Three balls around a clean cloud: their size, a step in them, the way back into them.

"per_point": every point moves at most eps in Euclidean length (the usual "L-infinity"
of point-cloud papers). "l2": the whole cloud, seen as one vector of 3N numbers, moves
at most eps. "linf": every coordinate moves at most eps. A per-point ball of eps holds
clouds with a whole-cloud L2 of up to eps * sqrt(N), so the three must never be compared
without their names.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "NORMS",
    "check_budget",
    "dual_size",
    "extent",
    "project",
    "random_displacement",
    "size",
    "steepest",
    "unit",
]

NORMS = ("per_point", "l2", "linf")


def size(displacement: Float[Tensor, "B N 3"], norm: str) -> Float[Tensor, "B"]:
    """How large a displacement is in the given norm, one number per cloud."""
    if norm == "per_point":
        return displacement.norm(dim=-1).amax(1)
    if norm == "l2":
        return displacement.flatten(1).norm(dim=1)  # (B, 3N) -> (B,)
    return displacement.abs().amax(dim=(1, 2))


def extent(points: Float[Tensor, "B N 3"], norm: str) -> Float[Tensor, "B"]:
    """The size of a displacement that carries every point across the whole object.

    Twice the largest distance from the centroid; sqrt(N) times that for "l2". 0 for a
    cloud whose points are all equal, though rounding gives it some distance.
    """
    centred = points - points.mean(dim=1, keepdim=True)
    diameter = 2 * centred.norm(dim=-1).amax(1)
    rounding = 2e-6 * points.abs().amax(dim=(1, 2))
    diameter = torch.where(diameter > rounding, diameter, 0.0)
    return diameter * (points.shape[1] ** 0.5 if norm == "l2" else 1.0)


def unit(vectors: Tensor, dims: tuple[int, ...] = (1, 2)) -> Tensor:
    """Vectors (B, N, 3) of length 1 over `dims`; zeros stay zeros.

    Dividing by the largest entry first keeps the squares of tiny gradients above the
    smallest float: a confident model would otherwise seem to have no gradient.
    """
    largest = vectors.abs().amax(dim=dims, keepdim=True)
    scaled = vectors / torch.where(largest > 0, largest, 1.0)
    length = scaled.square().sum(dim=dims, keepdim=True).sqrt()
    return scaled / torch.where(length > 0, length, 1.0)


def steepest(gradient: Float[Tensor, "B N 3"], norm: str) -> Float[Tensor, "B N 3"]:
    """The displacement of size 1 in the given norm that raises the loss fastest.

    per_point: every point along its own gradient; l2: along the cloud's gradient; linf:
    the gradient's sign. Zero gradients do not move.
    """
    if norm == "per_point":
        return unit(gradient, (2,))
    if norm == "l2":
        return unit(gradient, (1, 2))
    return gradient.sign()


def dual_size(gradient: Float[Tensor, "B N 3"], norm: str) -> Float[Tensor, "B"]:
    """How much a loss with this gradient can rise for each unit of the norm.

    The dual norm: per_point, the sum of the points' gradient lengths; l2, the length of
    the cloud's gradient; linf, the sum of absolute entries.
    """
    return (gradient * steepest(gradient, norm)).sum((1, 2))


def project(
    clean: Float[Tensor, "B N 3"],
    moved: Float[Tensor, "B N 3"],
    eps: Float[Tensor, "B"],
    norm: str,
) -> Float[Tensor, "B N 3"]:
    """The cloud in the ball of radius eps around `clean` that is nearest to `moved`.

    The radius is taken smaller by the rounding of the sum clean + displacement (about
    3e-7 in the unit sphere), so that the measured budget never exceeds eps. With eps 0
    the clean cloud returns, bit for bit.
    """
    displacement = moved - clean
    extent = clean.abs().amax(dim=(1, 2)) + eps
    slack = 2 * torch.finfo(clean.dtype).eps * extent + 1e-6 * eps
    radius = (eps - slack).clamp(min=0)[:, None, None]  # (B, 1, 1)
    if norm == "linf":
        displacement = torch.maximum(torch.minimum(displacement, radius), -radius)
    else:
        dims = (2,) if norm == "per_point" else (1, 2)
        length = displacement.square().sum(dim=dims, keepdim=True).sqrt()
        outside = length > radius
        displacement = torch.where(
            outside,
            displacement * (radius / torch.where(outside, length, 1.0)),
            displacement,
        )
    # -0.0 + 0.0 is +0.0: a point that does not move is taken over as it is.
    return torch.where(displacement == 0, clean, clean + displacement)


def random_displacement(
    like: Float[Tensor, "B N 3"],
    eps: Float[Tensor, "B"],
    norm: str,
    generators: Sequence[torch.Generator],
) -> Float[Tensor, "B N 3"]:
    """A random displacement inside the ball, drawn for each cloud by its own generator.

    per_point: uniform in each point's ball; linf: uniform in the cube; l2: uniform in
    the cube inscribed in the ball (+-eps / sqrt(3N) for each coordinate, as IF-Defense
    starts), because in 3N dimensions nearly all of the ball lies on its surface, where
    a start would have spent the whole budget on noise.

    Drawn on the CPU in float32, so that every device starts from the same clouds.
    """
    count = like.shape[1]
    drawn = torch.stack(
        [torch.rand(count, 4, generator=generator) for generator in generators]
    )  # (B, N, 4)
    drawn = drawn.to(like)
    eps = eps[:, None, None]
    cube = 2 * drawn[..., :3] - 1
    if norm == "linf":
        return eps * cube
    if norm == "l2":
        return eps / (3 * count) ** 0.5 * cube
    # A direction from two uniform numbers: height and angle on the sphere (Archimedes).
    height, angle = cube[..., 0], torch.pi * cube[..., 1]
    ring = (1 - height.square()).clamp(min=0).sqrt()
    direction = torch.stack([ring * angle.cos(), height, ring * angle.sin()], dim=-1)
    return eps * drawn[..., 3:].pow(1 / 3) * direction


def check_budget(
    points: Float[Tensor, "B N 3"], eps: Float[Tensor, "B"], norm: str
) -> None:
    """Refuse a budget that could carry points across the whole object.

    Raises:
        ValueError: if eps exceeds the object's diameter (times sqrt(N) for "l2").
            Clouds whose points are all equal have no size and are let through.
    """
    limit = extent(points, norm)
    wrong = (eps > limit) & (limit > 0)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        raise ValueError(
            f"eps must not be larger than the object: cloud {first} allows a {norm} "
            f"budget of at most {float(limit[first]):.4g}; received "
            f"{float(eps[first]):.4g}. Is the cloud in the model's frame? "
            "mrpd_tutorial.geometry.normalise brings it into the unit sphere."
        )
