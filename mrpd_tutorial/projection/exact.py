"""The exact depth maps, one axis at a time on a few sparse slices."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from mrpd_tutorial.projection.views import TEN_VIEWS, View, check_views, look

__all__ = ["RELEASED_RESOLUTION", "depth_maps"]

RELEASED_RESOLUTION = 224
# The object's longest side takes this share of the map; the rest is a white border.
OBJECT_SHARE = 0.8
# Depth z in [-1, 1] becomes ((z + 1) / 2 + BIAS) / (1 + BIAS) * NEAREST, in [1, 6]:
# the far end of an object stays visible against the background, whose value is 0.
DEPTH_BIAS, FARTHEST, NEAREST = 0.2, 1, 6
LAYERS = NEAREST + 1  # slices 1..7; rounding can lift the nearest point into slice 7
POOL_RADIUS, BLUR_RADIUS, BLUR_SIGMA = 3, 1, 3.0  # pixels, at 224
# Work is cut into pieces of about this many numbers: they stay in the CPU's caches,
# or fill a GPU without filling its memory. Smaller ones make more threads wait.
CPU_PIECE, GPU_PIECE = 2**21, 2**27


def depth_maps(
    points: Tensor,
    views: View | Sequence[View] = TEN_VIEWS,
    resolution: int = RELEASED_RESOLUTION,
) -> Float[Tensor, "B V H W"]:
    """Draw each cloud from each view.

    Implements Π of MRPD as released (`RELEASED_VIEW`, 224 pixels). The released code
    pools and convolves a dense 8 x 224 x 224 grid; here the window maxima and the
    Gaussian run one axis at a time, over the part of the map an object can reach.
    The order of the points, the place and the size of a cloud do not matter, but for
    the last bit of a coordinate: now and then it moves a point by a pixel or a slice,
    in the released code as here. No gradient flows: see `soft_depth_maps`.

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
        >>> from mrpd_tutorial.projection import RELEASED_VIEW
        >>> depth_maps(torch.rand(2, 100, 3), RELEASED_VIEW, resolution=32).shape
        torch.Size([2, 1, 32, 32])
    """
    views = check_views(points, views, resolution)
    with torch.no_grad():
        images = look(points, views).flatten(0, 1)  # (B V, 3, N)
        canvas = Canvas(resolution, pool_radius(resolution))
        maps = points.new_ones(len(images), resolution, resolution)
        piece = canvas.piece(points.is_cuda)
        cells = min(piece, len(images)) * LAYERS * canvas.side**2
        memory = points.new_empty(2, cells)  # one for all pieces: fresh memory is slow
        for seen, out in zip(images.split(piece), maps.split(piece), strict=True):
            _draw(canvas, fill_box(seen), out, memory)
    return maps.unflatten(0, (len(points), len(views)))


def pool_radius(resolution: int) -> int:
    """How many pixels a point is thickened by on each side: 3 at 224, in proportion."""
    window = (2 * POOL_RADIUS + 1) * resolution / RELEASED_RESOLUTION
    return max(0, math.floor((window - 1) / 2 + 0.5))


def blur_radius(resolution: int) -> int:
    """Radius of the Gaussian in pixels (sigma is three times this): 1 up to 335."""
    return max(1, math.floor(BLUR_RADIUS * resolution / RELEASED_RESOLUTION + 0.5))


def fill_box(seen: Tensor, box_gradient: bool = True) -> Tensor:
    """Centre the bounding boxes of (I, 3, N), longest side 2: all within [-1, 1]."""
    source = seen if box_gradient else seen.detach()
    high, low = source.amax(2, keepdim=True), source.amin(2, keepdim=True)  # (I, 3, 1)
    side = (high - low).amax(1, keepdim=True)  # (I, 1, 1)
    return (seen - (high + low) / 2) / torch.where(side > 0, side, 1.0) * 2


def to_map(filled: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """Where (I, 3, N) fall: rows and columns (I, 2, N) in pixels, depths (I, N)."""
    place = (filled[:, :2] * OBJECT_SHARE + 1) / 2 * resolution
    depth = ((filled[:, 2] + 1) / 2 + DEPTH_BIAS) / (1 + DEPTH_BIAS) * NEAREST
    return place, depth


class Canvas:
    """The part of a map that objects can reach, and where points fall on it.

    A point is put `reach` + blur pixels to the lower right of its place, so that each
    step may write at index i what it read at i, i + 1, ... and all images and slices
    can be treated as one long row of memory, shifted as a whole.
    """

    def __init__(self, resolution: int, reach: int) -> None:
        self.resolution, self.reach = resolution, reach
        self.blur = blur_radius(resolution)
        border = (1 - OBJECT_SHARE) / 2
        slack = 1e-5 * resolution  # for rounding
        self.low = max(1, math.ceil(border * resolution - slack))
        self.high = min(resolution - 2, math.ceil((1 - border) * resolution + slack))
        self.origin = self.low - reach - self.blur
        self.side = self.high - self.low + 1 + 2 * (reach + self.blur)

    def piece(self, on_gpu: bool, cells: int = 0) -> int:
        """How many images to draw at a time, each with `cells` numbers beside it."""
        size = LAYERS * self.side**2 + cells
        return max(1, (GPU_PIECE if on_gpu else CPU_PIECE) // size)

    def index(self, pixel: Tensor, depth: Tensor) -> Tensor:
        """Flat index (I, N) of pixels (I, 2, N), whole numbers, in their slices."""
        corner = (pixel - self.low).long() + 2 * (self.reach + self.blur)
        layer = depth.detach().ceil().long() - 1
        image = torch.arange(len(depth), device=depth.device)[:, None]
        row = (image * LAYERS + layer) * self.side + corner[:, 0]
        return row * self.side + corner[:, 1]

    def paste(self, near: Tensor) -> Tensor:
        """Scale (I, side, side) to at most 1 and invert: (I, R, R)."""
        scaled = near / near.amax((1, 2), keepdim=True)
        margin = (self.origin, self.resolution - self.origin - self.side)
        return 1 - pad(scaled, margin * 2)  # a negative margin crops


def _draw(canvas: Canvas, filled: Tensor, out: Tensor, memory: Tensor) -> None:
    """Draw filled (I, 3, N) exactly, into out (I, R, R)."""
    flat, spare = memory[:, : len(filled) * LAYERS * canvas.side**2]
    place, depth = to_map(filled, canvas.resolution)
    pixel = place.ceil().clamp(canvas.low, canvas.high)
    value = depth.clamp(FARTHEST, NEAREST).flatten()
    index = canvas.index(pixel, depth).flatten()
    flat.zero_().scatter_reduce_(0, index, value, "amax")
    for stride in (1, canvas.side):
        flat, spare = _window_max(flat, spare, 2 * canvas.reach + 1, stride)
    for stride in (1, canvas.side):
        flat, spare = _smooth(flat, spare, canvas.blur, stride)
    near = flat.view(len(filled), LAYERS, canvas.side, canvas.side).amax(1)
    out.copy_(canvas.paste(near))


def gaussian(radius: int) -> list[float]:
    """Weights of sigma 3 radius; the outermost is 1, for maps are scaled later."""
    spread = 2 * (BLUR_SIGMA * radius) ** 2
    return [
        math.exp((radius**2 - offset**2) / spread)
        for offset in range(-radius, radius + 1)
    ]


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
    """Gaussian along one axis."""
    span = 2 * radius * stride
    torch.add(flat[:-span], flat[span:], out=spare[:-span])
    spare[-span:] = flat[-span:]
    for offset, weight in enumerate(gaussian(radius)[1:-1], start=1):
        shift = offset * stride
        spare[:-shift].add_(flat[shift:], alpha=weight)
    return spare, flat
