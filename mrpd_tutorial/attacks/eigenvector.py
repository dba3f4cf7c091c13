"""The eigenvector of the smallest eigenvalue of many symmetric 3 x 3 matrices."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["smallest_eigenvector"]


def smallest_eigenvector(matrices: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 3"]:
    """A unit vector v with A v = lambda v, lambda the smallest eigenvalue of A.

    Eberly 2014, "A Robust Eigensolver for 3 x 3 Symmetric Matrices", in closed form and
    in double precision: some fifty operations on whole batches, where LAPACK is called
    once for each matrix. Of the three eigenvalues one end stands apart by at least half
    of their spread. Its eigenvector comes from a cross product; the others span the
    plane across it, where two by two numbers are left. Where the smallest eigenvalue is
    not unique, one of its eigenvectors is given, never NaN.

    Args:
        matrices: (..., 3, 3) finite; the lower triangle is read.

    Returns:
        (..., 3) of either sign, in the dtype of matrices, without gradient.
    """
    with torch.no_grad():
        full = matrices.double()
        size = full.abs().amax((-2, -1))
        full = full / torch.where(size > 0, size, 1.0)[..., None, None]
        xx, yy, zz = full[..., 0, 0], full[..., 1, 1], full[..., 2, 2]
        xy, xz, yz = full[..., 1, 0], full[..., 2, 0], full[..., 2, 1]
        mean = (xx + yy + zz) / 3
        xx, yy, zz = xx - mean, yy - mean, zz - mean  # a shift keeps eigenvectors
        squares = xx**2 + yy**2 + zz**2 + 2 * (xy**2 + xz**2 + yz**2)
        scale = (squares / 6).sqrt()
        determinant = (
            xx * (yy * zz - yz**2) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
        )
        half = determinant / (2 * torch.where(scale > 0, scale, 1.0) ** 3)
        angle = half.clamp(-1, 1).acos() / 3
        low = half < 0  # which end stands apart: the smallest or the largest
        apart = torch.where(low, angle + 2 * torch.pi / 3, angle).cos()
        end = 2 * scale * apart  # its eigenvalue
        axis = _kernel(xx - end, yy - end, zz - end, xy, xz, yz)
        inside = _smallest_across(axis, xx, yy, zz, xy, xz, yz)
        return torch.where(low[..., None], axis, inside).to(matrices.dtype)


def _kernel(
    xx: Tensor, yy: Tensor, zz: Tensor, xy: Tensor, xz: Tensor, yz: Tensor
) -> Tensor:
    """(..., 3) unit vector across the rows of a singular matrix; z where all are 0."""
    rows = [
        torch.stack(row, dim=-1) for row in ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))
    ]
    pairs = ((0, 1), (1, 2), (2, 0))
    crossed = torch.stack(
        [torch.linalg.cross(rows[i], rows[j]) for i, j in pairs], dim=-2
    )  # (..., 3, 3)
    lengths = crossed.square().sum(-1)  # (..., 3)
    longest = lengths.argmax(-1)[..., None]
    best = crossed.gather(-2, longest[..., None].expand(*longest.shape, 3))[..., 0, :]
    length = lengths.gather(-1, longest).sqrt()
    z = best.new_tensor([0.0, 0.0, 1.0])
    return torch.where(length > 0, best / torch.where(length > 0, length, 1.0), z)


def _smallest_across(
    axis: Tensor,
    xx: Tensor,
    yy: Tensor,
    zz: Tensor,
    xy: Tensor,
    xz: Tensor,
    yz: Tensor,
) -> Tensor:
    """(..., 3) the eigenvector of the smaller eigenvalue in the plane across `axis`."""
    # Crossed with the coordinate axis it is least along: never nearly parallel.
    least = torch.nn.functional.one_hot(axis.abs().argmin(-1), 3).to(axis)
    first = torch.linalg.cross(axis, least)
    first = first / first.norm(dim=-1, keepdim=True)
    second = torch.linalg.cross(axis, first)

    def applied(v: Tensor) -> Tensor:
        x, y, z = v.unbind(-1)
        rows = (xx * x + xy * y + xz * z, xy * x + yy * y + yz * z)
        return torch.stack([*rows, xz * x + yz * y + zz * z], dim=-1)

    image = applied(first)
    a, b = (first * image).sum(-1), (second * image).sum(-1)
    c = (second * applied(second)).sum(-1)
    # Of [[a, b], [b, c]]: at half the angle of (a - c, 2b) lies the larger one.
    turn = torch.atan2(2 * b, a - c)[..., None] / 2
    return turn.cos() * second - turn.sin() * first
