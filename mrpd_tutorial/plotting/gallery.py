"""One object as several attacks leave it, side by side (Plotly)."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from mrpd_tutorial.plotting import palette
from mrpd_tutorial.plotting.gallery_data import gallery_panels
from mrpd_tutorial.plotting.layout import bar_below, finish

__all__ = ["gallery_figure"]

# Clouds side by side in one scene. A scene for each would be a WebGL context for each,
# of which a browser keeps about sixteen for a whole notebook.
_APART, _BELOW, _COLUMNS = 2.1, 2.9, 3
# Pixels of a row, and of the width that a window of 800 leaves to the clouds.
_ROW, _WIDTH = 180, 372
# The view of all other figures, from the front, a little from the right and above: by
# turning each cloud about its own centre, so that the row faces the reader.
_RIGHT, _ABOVE = math.radians(26), math.radians(18)


def gallery_figure(
    clean: Any,
    attacked: Mapping[str, Any],
    *,
    limit: float | None = None,
    title: str = "",
) -> go.Figure:
    """A clean cloud and what attacks made of it, seen from one side.

    Each point's colour says how far it moved. Where an attack adds or removes points,
    those are shown in red, removed ones where they were.

    Args:
        clean: (N, 3), y up, in units of the cloud's radius.
        attacked: name of the attack -> (M, 3). With M = N point i belongs to point i.
        limit: the end of the colour scale; None: the farthest way of a point.
        title: shown above.

    Raises:
        ValueError: on bad clouds, or none.
    """
    panels, end, facts = gallery_panels(clean, attacked, limit)
    figure = go.Figure()
    for index, panel in enumerate(panels):
        corner = np.array(
            [_APART * (index % _COLUMNS), -_BELOW * (index // _COLUMNS), 0]
        )
        moved = _dots(_turned(panel.points) + corner, panel.name)
        moved.marker.update(
            color=panel.moved, colorscale="Cividis", cmin=0, cmax=end,
            showscale=index == 0,
            colorbar=bar_below("moved by (radius = 1)"),
        )  # fmt: skip
        moved.update(
            customdata=panel.moved,
            hovertemplate=f"moved by %{{customdata:.3f}}<extra>{panel.name}</extra>",
        )
        figure.add_trace(moved)
        for cloud, word in ((panel.added, "added"), (panel.removed, "removed")):
            if len(cloud):
                name = f"{panel.name}: {len(cloud)} {word}"
                dots = _dots(_turned(cloud) + corner, name)
                dots.marker.update(color=palette.VERMILLION, size=2.6)
                dots.hovertemplate = f"{name}<extra></extra>"
                figure.add_trace(dots)
        figure.add_trace(_label(corner, panel.title))
    rows = -(-len(panels) // _COLUMNS)
    columns = min(len(panels), _COLUMNS)
    figure.update_layout(scene=_scene(columns, rows))
    height = 130 + _ROW * rows
    return finish(figure, title, facts, height=height, top=65, bottom=65)


def _turned(cloud: np.ndarray) -> np.ndarray:
    """The cloud as seen from the right and above: turned about y, then about x."""
    x, y, z = cloud.T
    x, z = (
        math.cos(_RIGHT) * x - math.sin(_RIGHT) * z,
        math.sin(_RIGHT) * x + math.cos(_RIGHT) * z,
    )
    y, z = (
        math.cos(_ABOVE) * y - math.sin(_ABOVE) * z,
        math.sin(_ABOVE) * y + math.cos(_ABOVE) * z,
    )
    return np.stack([x, y, z], axis=1)


def _dots(cloud: np.ndarray, name: str) -> go.Scatter3d:
    return go.Scatter3d(
        x=cloud[:, 0], y=cloud[:, 1], z=cloud[:, 2], mode="markers", name=name,
        showlegend=False, marker={"size": 1.8},
    )  # fmt: skip


def _label(corner: np.ndarray, text: str) -> go.Scatter3d:
    return go.Scatter3d(
        x=[corner[0]], y=[corner[1] + 1.1], z=[0], mode="text",
        text=[text.replace("\n", "<br>")], textposition="top center",
        textfont={"size": 11, "color": "#222222"}, hoverinfo="skip", showlegend=False,
    )  # fmt: skip


def _scene(columns: int, rows: int) -> dict[str, Any]:
    """Parallel rays: every cloud is seen from the same direction."""
    sides = {
        "x": (-1.1, _APART * (columns - 1) + 1.1),
        "y": (-_BELOW * (rows - 1) - 1.05, 1.75),
        "z": (-1.1, 1.1),
    }
    wide, high = (sides[name][1] - sides[name][0] for name in "xy")
    # From here the height of the drawing shows two units: fit both into the page.
    scale = min(1.9 / high, 2 * _WIDTH / (wide * _ROW * rows))
    scene: dict[str, Any] = {
        f"{name}axis": {"visible": False, "range": list(side)}
        for name, side in sides.items()
    }
    return scene | {
        "aspectmode": "manual",
        "aspectratio": {k: scale * (b - a) for k, (a, b) in sides.items()},
        "camera": {
            "projection": {"type": "orthographic"},
            "up": {"x": 0, "y": 1, "z": 0},
            "eye": {"x": 0, "y": 0, "z": 1.8},
            "center": {"x": 0, "y": 0, "z": 0},
        },
    }
