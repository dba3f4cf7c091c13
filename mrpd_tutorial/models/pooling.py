"""The maximum over points of a linear layer, and which points it comes from."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["first_maxima", "linear_maximum"]

# Outputs held at once: 64 MiB in float32.
_TILE = 2**24
# Maxima of parts are found by vector instructions, places of maxima are not.
_PART = 32


def first_maxima(
    rows: Float[Tensor, "B N W"], weight: Float[Tensor, "M W"], tile: int = _TILE
) -> Int[Tensor, "B M"]:
    """The first point at which each output of a linear layer is largest.

    A bias does not change which point that is.

    Args:
        rows: (B, N, W) what the layer sees at each point.
        weight: (M, W) the layer's weight.
        tile: outputs held at once.

    Returns:
        (B, M) indices into N, without gradient.
    """
    with torch.no_grad():
        size = max(1, tile // (rows.shape[1] * len(weight)))
        # Channels come first: a maximum along the last dimension is much faster.
        return torch.cat(
            [_place(weight @ part.transpose(1, 2)) for part in rows.split(size)]
        )


def _place(values: Float[Tensor, "B M N"]) -> Int[Tensor, "B M"]:
    """argmax over the last dimension, the first of equals."""
    if values.shape[-1] % _PART:
        return values.max(2).indices
    parts = values.unflatten(2, (-1, _PART))  # (B, M, N / 32, 32)
    part = parts.amax(3).max(2).indices  # (B, M), the first part that holds it
    chosen = parts.gather(2, part[..., None, None].expand(-1, -1, 1, _PART))
    return part * _PART + chosen[:, :, 0].max(2).indices


def linear_maximum(
    rows: Float[Tensor, "B N W"], weight: Float[Tensor, "M W"], bias: Float[Tensor, "M"]
) -> Float[Tensor, "B M"]:
    """max over points of weight @ row + bias, differentiable at the places of maxima.

    The layer is run without gradient to find those places, then once more on them
    alone. The same values and gradients as of the plain layer and maximum, up to
    rounding; where points tie, the first has the gradient (torch's amax would share
    it).
    """
    places = first_maxima(rows, weight)  # (B, M)
    chosen = rows.gather(1, places[..., None].expand(-1, -1, rows.shape[-1]))
    return (chosen * weight).sum(-1) + bias  # (B, M, W) -> (B, M)
