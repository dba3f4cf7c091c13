"""What a gallery of attacked clouds shows, prepared once for both forms."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mrpd_tutorial.plotting.common import as_cloud, displacement_lengths, wrap

__all__ = ["Panel", "gallery_panels"]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One cloud of the gallery.

    Args:
        name: of the attack, or "clean".
        title: the name, and on a line of its own how far points went.
        points: (M, 3) the points that belong to one of the clean cloud.
        moved: (M,) how far each of them went.
        added: (A, 3) points that were added.
        removed: (R, 3) clean points that were taken away.
    """

    name: str
    title: str
    points: np.ndarray
    moved: np.ndarray
    added: np.ndarray
    removed: np.ndarray


def gallery_panels(
    clean: Any, attacked: Mapping[str, Any], limit: float | None
) -> tuple[list[Panel], float, str]:
    """The clean cloud and each attacked one, the end of the scale, and the facts."""
    cloud = as_cloud(clean, "clean")
    if not attacked:
        raise ValueError("attacked must hold at least one cloud; received none.")
    if limit is not None and not limit > 0:
        raise ValueError(f"limit must be above 0; received {limit}.")
    none = np.zeros((0, 3), dtype=np.float32)
    still = np.zeros(len(cloud), dtype=np.float32)
    panels = [
        Panel(
            name="clean", title="clean", points=cloud, moved=still, added=none,
            removed=none,
        )
    ]  # fmt: skip
    for name, value in attacked.items():
        panels.append(_panel(name, cloud, as_cloud(value, f"attacked[{name!r}]")))
    farthest = max(float(panel.moved.max(initial=0.0)) for panel in panels)
    end = limit or max(farthest, 1e-6)
    facts = f"N = {len(cloud)} points; colour: how far a point moved (radius = 1)"
    if limit is not None and farthest > limit:
        facts += f", {limit:g} and more alike"
    if any(len(panel.added) + len(panel.removed) for panel in panels):
        facts += "; red: points added or removed"
    return panels, end, facts


def _panel(name: str, clean: np.ndarray, attacked: np.ndarray) -> Panel:
    none = np.zeros((0, 3), dtype=np.float32)
    if len(attacked) == len(clean):
        moved = displacement_lengths(clean, attacked)
        farthest = f"at most {moved.max():.2g}"
        return Panel(
            name=name,
            title=f"{wrap(name, 18)}\n{farthest}",
            points=attacked,
            moved=moved,
            added=none,
            removed=none,
        )
    kept = _near(attacked, clean) == 0
    gone = none if len(attacked) > len(clean) else clean[_near(clean, attacked) > 0]
    # Copies of points count as kept by their place: the numbers tell them apart.
    change = len(attacked) - len(clean)
    return Panel(
        name=name,
        title=f"{wrap(name, 18)}\n{change:+d} points",
        points=attacked[kept],
        moved=np.zeros(int(kept.sum()), dtype=np.float32),
        added=attacked[~kept],
        removed=gone,
    )


def _near(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) distance of each point to the nearest of the others."""
    # Not by a product of matrices, whose rounding would part equal points.
    exact = "donot_use_mm_for_euclid_dist"
    pairs = torch.from_numpy(points), torch.from_numpy(others)
    return torch.cdist(*pairs, compute_mode=exact).amin(1).numpy()
