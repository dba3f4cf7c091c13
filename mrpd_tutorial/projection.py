"""Depth maps: what a point cloud looks like from several sides, in light grey to black.

Implements the projection Π of MRPD (Eq. 1), the realistic projection of PointCLIP V2
[Zhu et al., 2211.11682]: rotate, fill the bounding box, splat each point into one of
seven depth slices, thicken (max-pool), smooth (Gaussian), keep the brightest slice.

Frame of a map (B, V, H, W): the background is 1 (white) and NEAR IS DARK; 0 is the
darkest pixel of its map. Row 0 is the top; see `View` for what is up in it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mrpd_tutorial.checks import check_between, check_points

__all__ = ["RELEASED_VIEW", "TEN_VIEWS", "View", "depth_maps"]

RELEASED_RESOLUTION = 224
# The object's longest side takes this share of the map; the rest is a white border.
OBJECT_SHARE = 0.8
# Depth z in [-1, 1] becomes ((z + 1) / 2 + BIAS) / (1 + BIAS) * NEAREST, in [1, 6]:
# the far end of an object stays visible against the background, whose value is 0.
DEPTH_BIAS, FARTHEST, NEAREST = 0.2, 1, 6
LAYERS = NEAREST + 1  # slices 1..7; rounding can lift the nearest point into slice 7
POOL_RADIUS, BLUR_RADIUS, BLUR_SIGMA = 3, 1, 3.0  # pixels, at 224
# Work is cut into pieces of about this many numbers: they stay in the CPU's caches,
# or fill a GPU without filling its memory.
CPU_PIECE, GPU_PIECE = 2**20, 2**27


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

    def matrix(self) -> Float[Tensor, "3 3"]:
        """The turn M in float64, for row vectors: seen = points @ M."""
        return (_turn(self.bias) @ _turn(self.angles)).T


def _turn(angles: tuple[float, float, float]) -> Tensor:
    a, b, c = angles
    x = [[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]]
    y = [[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]]
    z = [[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]]
    x, y, z = (torch.tensor(m, dtype=torch.float64) for m in (x, y, z))
    return x @ y @ z


_Q, _SIDE, _END = math.pi / 4, (0.0, math.pi / 9, 0.0), (0.0, math.pi / 15, 0.0)
RELEASED_VIEW = View("released", (_Q, 0.0, 2 * _Q), _SIDE)
# The ten views of PointCLIP V2; the first is the one the released MRPD code uses.
TEN_VIEWS = (
    RELEASED_VIEW,
    *(View(f"diagonal-{k}", (k * _Q, 0.0, 2 * _Q), _SIDE) for k in (3, 5, 7)),
    *(View(f"straight-{k}", (2 * k * _Q, 0.0, 2 * _Q), _SIDE) for k in range(4)),
    View("end-0", (0.0, -2 * _Q, 2 * _Q), _END),
    View("end-1", (0.0, 2 * _Q, 2 * _Q), _END),
)


def pool_radius(resolution: int) -> int:
    """How many pixels a point is thickened by on each side: 3 at 224, in proportion."""
    window = (2 * POOL_RADIUS + 1) * resolution / RELEASED_RESOLUTION
    return max(0, math.floor((window - 1) / 2 + 0.5))


def blur_radius(resolution: int) -> int:
    """Radius of the Gaussian in pixels (sigma is three times this): 1 up to 335."""
    return max(1, math.floor(BLUR_RADIUS * resolution / RELEASED_RESOLUTION + 0.5))


def depth_maps(
    points: Tensor,
    views: View | Sequence[View] = TEN_VIEWS,
    resolution: int = RELEASED_RESOLUTION,
) -> Float[Tensor, "B V H W"]:
    """Draw each cloud from each view.

    Implements Π of MRPD as released (`RELEASED_VIEW`, 224 pixels). The released code
    pools and convolves a dense 8 x 224 x 224 grid; here the window maxima and the
    Gaussian run one axis at a time, over the part of the map an object can reach.
    The result does not depend on the order of the points, nor on where a cloud is or
    how large it is. No gradient flows: see `soft_depth_maps`.

    Args:
        points: (B, N, 3), float32 or float64, y up; any unit, any place.
        views: one view or V of them.
        resolution: height and width in pixels, at least 16. At 224 the released
            constants hold (window 7, Gaussian 3 x 3); the window scales with it.

    Returns:
        (B, V, resolution, resolution) in [0, 1] on the device of points: background
        1, near dark. Points that are all equal become one dark spot in the middle.

    Raises:
        ValueError: if points, views or resolution are not as described.

    Example:
        >>> depth_maps(torch.rand(2, 100, 3), RELEASED_VIEW, resolution=32).shape
        torch.Size([2, 1, 32, 32])
    """
    views = _checked(points, views, resolution)
    with torch.no_grad():
        seen = _look(points, views)  # (B, V, 3, N)
        images = seen.flatten(0, 1)  # (B V, 3, N)
        maps = points.new_ones(len(images), resolution, resolution)
        canvas = _Canvas(resolution)
        size = LAYERS * canvas.side**2
        piece = max(1, (GPU_PIECE if points.is_cuda else CPU_PIECE) // size)
        for start in range(0, len(images), piece):
            part = slice(start, start + piece)
            canvas.draw(_fill_box(images[part]), maps[part])
    return maps.unflatten(0, seen.shape[:2])


def _checked(points: Tensor, views: object, resolution: int) -> tuple[View, ...]:
    check_points(points)
    views = (views,) if isinstance(views, View) else views
    if not isinstance(views, Sequence) or not all(isinstance(v, View) for v in views):
        raise ValueError(
            "views must be a View or a sequence of them; received "
            f"{views!r:.80}. Use RELEASED_VIEW, TEN_VIEWS or your own View(...)."
        )
    if not views:
        raise ValueError("views is empty; give at least one View, such as RELEASED_VIEW.")
    if not isinstance(resolution, int):
        raise ValueError(
            f"resolution must be a whole number of pixels; received {resolution!r}."
        )
    check_between("resolution", resolution, 16, 4096)
    return tuple(views)


def _look(points: Tensor, views: Sequence[View]) -> Tensor:
    """Turn (B, N, 3) into every view: (B, V, 3, N)."""
    turns = torch.stack([view.matrix() for view in views]).to(points)  # (V, 3, 3)
    # Sums written out, not a matrix product: a BLAS may round differently for another
    # batch size, and one bit decides on which side of a pixel's edge a point falls.
    x, y, z = (axis[:, None, None, :] for axis in points.unbind(-1))  # (B, 1, 1, N)
    a, b, c = (row[None, :, :, None] for row in turns.unbind(1))  # (1, V, 3, 1)
    return x * a + y * b + z * c


def _fill_box(seen: Tensor) -> Tensor:
    """Centre the bounding boxes of (I, 3, N), longest side 2: all within [-1, 1]."""
    high, low = seen.amax(2, keepdim=True), seen.amin(2, keepdim=True)  # (I, 3, 1)
    side = (high - low).amax(1, keepdim=True)  # (I, 1, 1)
    return (seen - (high + low) / 2) / torch.where(side > 0, side, 1.0) * 2


class _Canvas:
    """Draws splats, slice by slice, on the part of the map that objects can reach.

    Every step writes at `index` what it reads at `index .. index + reach`: the splats
    are put at the lower right end of their reach, so that the memory of all images
    and slices can be treated as one long row, shifted as a whole.
    """

    def __init__(self, resolution: int) -> None:
        self.resolution = resolution
        self.pool, self.blur = pool_radius(resolution), blur_radius(resolution)
        reach = self.pool + self.blur
        border = (1 - OBJECT_SHARE) / 2
        low = max(1, math.ceil(border * resolution - 1e-3))
        high = min(resolution - 2, math.ceil((1 - border) * resolution + 1e-3))
        self.low, self.high = low, high
        self.origin, self.side = low - reach, high - low + 1 + 2 * reach
        assert self.origin >= 0 and self.origin + self.side <= resolution

    def draw(self, filled: Tensor, maps: Tensor) -> None:
        """Draw filled (I, 3, N) into maps (I, R, R), which come in white."""
        images, side = len(filled), self.side
        flat = self._splat(filled)
        spare = torch.empty_like(flat)
        for stride in (1, side):
            flat, spare = _window_max(flat, spare, 2 * self.pool + 1, stride)
        for stride in (1, side):
            flat, spare = _smooth(flat, spare, self.blur, stride)
        near = flat.view(images, LAYERS, side, side).amax(1)
        near /= near.amax((1, 2), keepdim=True)
        window = slice(self.origin, self.origin + side)
        torch.sub(1.0, near, out=maps[:, window, window])

    def _splat(self, filled: Tensor) -> Tensor:
        """The nearest point of each pixel and slice, as one long row."""
        xy = filled[:, :2] * OBJECT_SHARE
        pixel = ((xy + 1) / 2 * self.resolution).ceil().clamp(self.low, self.high)
        pixel = (pixel - self.low).long() + 2 * (self.pool + self.blur)
        depth = ((filled[:, 2] + 1) / 2 + DEPTH_BIAS) / (1 + DEPTH_BIAS) * NEAREST
        layer = depth.ceil().long() - 1
        image = torch.arange(len(filled), device=filled.device)[:, None]
        index = ((image * LAYERS + layer) * self.side + pixel[:, 0]) * self.side
        index = index + pixel[:, 1]  # (I, N)
        flat = filled.new_zeros(len(filled) * LAYERS * self.side**2)
        value = depth.clamp(FARTHEST, NEAREST)
        return flat.scatter_reduce_(0, index.flatten(), value.flatten(), "amax")


def _window_max(
    flat: Tensor, spare: Tensor, window: int, stride: int
) -> tuple[Tensor, Tensor]:
    """Maximum over `window` elements, by doubling: 3 steps for a window of 7."""
    width = 1
    while width < window:
        step = min(width, window - width)
        shift = step * stride
        torch.maximum(flat[:-shift], flat[shift:], out=spare[:-shift])
        spare[-shift:] = flat[-shift:]
        flat, spare, width = spare, flat, width + step
    return flat, spare


def _smooth(
    flat: Tensor, spare: Tensor, radius: int, stride: int
) -> tuple[Tensor, Tensor]:
    """Gaussian of sigma 3 radius; its outermost weight is 1: maps are scaled later."""
    span = 2 * radius * stride
    torch.add(flat[:-span], flat[span:], out=spare[:-span])
    spare[-span:] = flat[-span:]
    sigma = BLUR_SIGMA * radius
    for offset in range(1, 2 * radius):
        squares = radius**2 - (offset - radius) ** 2
        shift = offset * stride
        spare[:-shift].add_(flat[shift:], alpha=math.exp(squares / (2 * sigma**2)))
    return spare, flat
