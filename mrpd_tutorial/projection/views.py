"""Directions to look from, and turning clouds into them.

For clouds in this package's frame (y up, +z to the front, x to the right of somebody
who faces the cloud's front) all eight views of TEN_VIEWS from the sides show the object
upright, seen from 20 degrees above the horizon:

    straight-0 from +z (front)   straight-1 from +x   straight-2 from -z   -3 from -x
    diagonal-1 from +x and +z    -3 from +x and -z    -5 from -x and -z
    -7 from -x and +z            (diagonal-1 is RELEASED_VIEW)
    end-0 from below, +z up      end-1 from above, -z up      (both 12 degrees tilted)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mrpd_tutorial.checks import check_between, check_points

__all__ = ["RELEASED_VIEW", "TEN_VIEWS", "View", "check_views", "look"]

SHIFT = (0.5, 0.5, 1.5)  # after turning; see `look`
LARGEST = 1e15  # squares of larger coordinates do not fit float32


@dataclass(frozen=True)
class View:
    """A direction to look from: two turns, given as Euler angles in radians.

    A point p (a row) is seen at p @ R(angles)^T @ R(bias)^T with R = Rx @ Ry @ Rz.
    In the turned frame +z points to the viewer, x runs down the map's rows and y to
    the right along its columns.
    """

    name: str
    angles: tuple[float, float, float]
    bias: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def turns(self) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3 3"]]:
        """Two matrices (float32) for row vectors: seen = points @ first @ second."""
        return _euler(self.angles).T, _euler(self.bias).T


def _euler(angles: tuple[float, float, float]) -> Tensor:
    # In float32 throughout: the released cos(pi / 2) is -4e-8, and where a symmetric
    # object has its middle on a pixel's edge, that decides the pixel.
    (a, b, c), zero, one = torch.tensor(angles), torch.zeros(()), torch.ones(())
    x = [one, zero, zero, zero, a.cos(), -a.sin(), zero, a.sin(), a.cos()]
    y = [b.cos(), zero, b.sin(), zero, one, zero, -b.sin(), zero, b.cos()]
    z = [c.cos(), -c.sin(), zero, c.sin(), c.cos(), zero, zero, zero, one]
    x, y, z = (torch.stack(entries).view(3, 3) for entries in (x, y, z))
    return x @ y @ z


_Q, _SIDE, _END = math.pi / 4, (0.0, math.pi / 9, 0.0), (0.0, math.pi / 15, 0.0)
RELEASED_VIEW = View("diagonal-1", (_Q, 0.0, 2 * _Q), _SIDE)
# The ten views of PointCLIP V2; the first is the one the released MRPD code uses.
TEN_VIEWS = (
    RELEASED_VIEW,
    *(View(f"diagonal-{k}", (k * _Q, 0.0, 2 * _Q), _SIDE) for k in (3, 5, 7)),
    *(View(f"straight-{k}", (2 * k * _Q, 0.0, 2 * _Q), _SIDE) for k in range(4)),
    View("end-0", (0.0, -2 * _Q, 2 * _Q), _END),
    View("end-1", (0.0, 2 * _Q, 2 * _Q), _END),
)


def check_views(points: Tensor, views: object, resolution: object) -> tuple[View, ...]:
    """The views as a tuple, after all arguments of a projection have been checked."""
    check_points(points)
    views = (views,) if isinstance(views, View) else views
    if not isinstance(views, Sequence) or not all(isinstance(v, View) for v in views):
        raise ValueError(
            "views must be a View or a sequence of them; received "
            f"{views!r:.80}. Use RELEASED_VIEW, TEN_VIEWS or your own View(...)."
        )
    if not views:
        raise ValueError(
            "views is empty; give at least one View, such as RELEASED_VIEW."
        )
    if not isinstance(resolution, int):
        raise ValueError(
            f"resolution must be a whole number of pixels; received {resolution!r}."
        )
    check_between("resolution", resolution, 16, 4096)
    extent = float(points.detach().abs().amax())
    if extent > LARGEST:
        raise ValueError(
            f"points must lie within {LARGEST:.0e} of 0; received {extent:.1e}. Use "
            "another unit, or mrpd_tutorial.geometry.normalise(points.double())."
        )
    return tuple(views)


def look(points: Tensor, views: Sequence[View]) -> Tensor:
    """Turn (B, N, 3) into every view: (B, V, 3, N).

    Centroid, radius and shift have no effect but rounding, for the bounding box is
    centred and scaled afterwards (hence no gradient needs to flow through them). They
    are computed as the released code does, since one bit decides on which side of a
    pixel's edge a point falls: without them, one cloud in seven differs somewhere.
    """
    with torch.no_grad():
        # NumPy adds one point after the other; torch's own order of adding depends on
        # the device, and one cloud in eighty would differ from the released map.
        centre = points.detach().cpu().numpy().mean(1, keepdims=True)
        centre = torch.from_numpy(centre).to(points)  # (B, 1, 3)
        x, y, z = (points - centre).unbind(-1)
        square = (x * x + y * y + z * z).amax(1)[:, None, None]
        # torch's float32 root is not correctly rounded, NumPy's is.
        radius = square.double().sqrt().to(points.dtype)
        radius = torch.where(radius > 0, radius, 1.0)  # (B, 1, 1)
    seen = ((points - centre) / radius).transpose(1, 2)[:, None]  # (B, 1, 3, N)
    for turns in zip(*(view.turns() for view in views), strict=True):
        matrix = torch.stack(turns).to(points)[None, :, :, :, None]  # (1, V, 3, 3, 1)
        # Sums written out: a BLAS may round differently for another batch size.
        x, y, z = (seen[:, :, i, None] * matrix[:, :, i] for i in range(3))
        seen = x + y + z  # (B, V, 3, N)
    return seen + seen.new_tensor(SHIFT)[:, None]
