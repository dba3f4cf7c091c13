"""Depth maps that gradients flow through, for attacks and for teaching."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from mrpd_tutorial.checks import check_between
from mrpd_tutorial.projection.exact import (
    LAYERS,
    RELEASED_RESOLUTION,
    Canvas,
    fill_box,
    gaussian,
    pool_radius,
    to_map,
)
from mrpd_tutorial.projection.views import TEN_VIEWS, View, check_views, look

__all__ = ["soft_depth_maps"]

SOFTMAX_SHARPNESS = 16.0  # per unit of depth, of which an object spans 5


def soft_depth_maps(
    points: Tensor,
    views: View | Sequence[View] = TEN_VIEWS,
    resolution: int = RELEASED_RESOLUTION,
    sharpness: float = 1.0,
    box_gradient: bool = True,
) -> Float[Tensor, "B V H W"]:
    """Draw each cloud so that gradients reach all three coordinates of its points.

    Two steps of `depth_maps` are softened: a point's square moves smoothly, its edges
    fading over 1 / sharpness pixels, instead of snapping to the pixels; and the nearest
    of several points is a softmax-weighted mean of their depths. The choice among the
    depth slices stays hard, as it hardly shows: small jumps remain where a point
    changes slices. Larger sharpness comes closer to `depth_maps`, smaller lets more
    pixels pull at each point. Memory in training is that of one piece of the batch,
    for pieces are drawn again during the backward pass.

    Args:
        points, views, resolution: as in `depth_maps`.
        sharpness: of edges (1 / pixels) and of the maximum, 0.25 to 100. Above 1 some
            points have no pixel on their edges, so no gradient in x and y.
        box_gradient: whether moving an outermost point also moves and scales the rest,
            as it does in truth; without, the bounding box counts as fixed.

    Returns:
        (B, V, resolution, resolution) in [0, 1]: background 1, near dark.

    Raises:
        ValueError: if an argument is not as described.

    Example:
        >>> from mrpd_tutorial.projection import RELEASED_VIEW
        >>> points = torch.rand(1, 50, 3, requires_grad=True)
        >>> soft_depth_maps(points, RELEASED_VIEW, 32).mean().backward()
        >>> bool((points.grad != 0).any())
        True
    """
    views = check_views(points, views, resolution)
    check_between("sharpness", sharpness, 0.25, 100)
    images = look(points, views).flatten(0, 1)  # (B V, 3, N)
    reach = math.floor(pool_radius(resolution) + 1 + 0.5 / sharpness)
    canvas = Canvas(resolution, reach)
    cells = points.shape[1] * (2 * reach + 1) ** 2
    piece = canvas.piece(points.is_cuda, cells)
    maps = []
    for seen in images.split(piece):
        again = seen.requires_grad and torch.is_grad_enabled()
        filled = fill_box(seen, box_gradient)
        if again and len(seen) < len(images):
            drawn = checkpoint(
                _soft_draw,
                canvas,
                filled,
                sharpness,
                use_reentrant=False,
                preserve_rng_state=False,
            )
        else:
            drawn = _soft_draw(canvas, filled, sharpness)
        maps.append(drawn)
    return torch.cat(maps).unflatten(0, (len(points), len(views)))


def _soft_draw(canvas: Canvas, filled: Tensor, sharpness: float) -> Tensor:
    """Draw filled (I, 3, N) softly: (I, R, R)."""
    place, depth = to_map(filled, canvas.resolution)
    pixel = place.detach().ceil()
    offsets = torch.arange(-canvas.reach, canvas.reach + 1, device=filled.device)
    # How far the neighbouring pixels' middles are from the point: (I, 2, N, window).
    distance = (pixel - 0.5 - place)[..., None] + offsets
    half = pool_radius(canvas.resolution) + 0.5
    cover = ((half - distance.abs()) * sharpness + 0.5).clamp(0, 1)
    cover = cover * cover * (3 - 2 * cover)
    rows, columns = cover.unbind(1)
    value = rows[..., :, None] * columns[..., None, :] * depth[..., None, None]
    value = value.flatten()  # (I N window window)
    corner = canvas.index(pixel.clamp(canvas.low, canvas.high), depth)[..., None, None]
    shift = offsets - canvas.reach  # the whole window lies to the upper left
    index = corner + shift[:, None] * canvas.side + shift  # (I, N, window, window)
    index = index.flatten()
    size = len(filled) * LAYERS * canvas.side**2
    with torch.no_grad():
        best = value.new_zeros(size).scatter_reduce_(0, index, value, "amax")
    beta = SOFTMAX_SHARPNESS * sharpness
    # Exponents stop at -60: numbers too small for float32 make processors slow.
    weight = torch.exp((beta * (value - best[index])).clamp(min=-60))
    total = value.new_zeros(size).scatter_add(0, index, weight)
    # The background, of depth 0, has a say.
    total = total + torch.exp((-beta * best).clamp(min=-60))
    flat = value.new_zeros(size).scatter_add(0, index, weight * value) / total
    near = flat.view(-1, canvas.side, canvas.side)
    near = _smooth_rows(_smooth_rows(near, canvas.blur).mT, canvas.blur).mT
    near = near.unflatten(0, (len(filled), LAYERS)).amax(1)
    return canvas.paste(near)


def _smooth_rows(maps: Tensor, radius: int) -> Tensor:
    """`_smooth` down the rows of (M, H, W), as a sum that autograd follows."""
    rows = maps.shape[1]
    maps = pad(maps, (0, 0, 0, 2 * radius))
    return sum(
        weight * maps[:, shift : shift + rows]
        for shift, weight in enumerate(gaussian(radius))
    )
