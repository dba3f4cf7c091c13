"""Is there anything in a picture of a canvas?"""

import io

import numpy as np
from PIL import Image

__all__ = ["check_painted", "coloured_share", "shades"]

_CHROMA = 20  # of 255: axes, letters and white are grey
_LEAST_SHARE, _LEAST_SHADES = 0.01, 4


def _pixels(png: bytes) -> np.ndarray:
    """(H, W, 3) in 0 to 255, on white."""
    with Image.open(io.BytesIO(png)) as image:
        picture = image.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(white, picture).convert("RGB"), dtype=int)


def coloured_share(png: bytes) -> float:
    """The share of pixels that have a colour other than grey, 0 to 1."""
    pixels = _pixels(png)
    return float(((pixels.max(2) - pixels.min(2)) > _CHROMA).mean())


def shades(png: bytes) -> int:
    """How many colours that are not grey, 16 levels a channel."""
    pixels = _pixels(png).reshape(-1, 3)
    coloured = pixels[(pixels.max(1) - pixels.min(1)) > _CHROMA]
    return len(np.unique(coloured // 16, axis=0))


def check_painted(png: bytes) -> None:
    """Points are small and have edges: some colour, in several shades.

    Raises:
        AssertionError: if the picture is blank, of one colour, or of axes alone.
    """
    share, number = coloured_share(png), shades(png)
    assert share >= _LEAST_SHARE, f"blank: only {share:.2%} of its pixels have a colour"
    assert number >= _LEAST_SHADES, f"not a picture: {number} shades of colour"
