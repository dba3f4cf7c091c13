"""Interactive views of clouds and their depth maps (Plotly).

Clouds are drawn in the frame of the project: y is up, +z comes toward the viewer's
front, equal aspect, the same camera at the start of every figure.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mrpd_tutorial.plotting import common
from mrpd_tutorial.plotting.common import as_cloud
from mrpd_tutorial.plotting.layout import finish
from mrpd_tutorial.plotting.palette import CLEAN_ATTACKED

__all__ = ["attack_figure", "cloud_figure", "depth_map_figure"]

# From the front, a little from the right and above.
_CAMERA = {
    "up": {"x": 0, "y": 1, "z": 0},
    "eye": {"x": 0.85, "y": 0.65, "z": 1.75},
    "center": {"x": 0, "y": -0.12, "z": 0},
}
WHERE = "(%{x:.3f}, %{y:.3f}, %{z:.3f})"


def cloud_figure(
    points: Any,
    colour: Any = "height",
    *,
    colour_label: str = "height y, radius = 1",
    categories: Sequence[str] = (),
    title: str = "",
) -> go.Figure:
    """One cloud to turn with the mouse.

    Args:
        points: (N, 3), y up, in units of the cloud's radius.
        colour: "height", or one number a point (N,).
        colour_label: what the colour means, with its unit.
        categories: names; `colour` then says which of them each point is, a whole
            number from 0, and a legend takes the place of the colour bar.
        title: shown above.
    """
    cloud = as_cloud(points, "points")
    figure = go.Figure()
    if categories:
        for name, some, shade in common.category_groups(cloud, colour, categories):
            figure.add_trace(
                go.Scatter3d(
                    **xyz(some), mode="markers", name=name, showlegend=True,
                    marker={"size": 2.5, "color": shade},
                    hovertemplate=f"{WHERE}: {name}<extra></extra>",
                )
            )  # fmt: skip
        figure.update_layout(legend={"itemsizing": "constant"})
    else:
        values = common.height_or_values(cloud, colour)
        figure.add_trace(scatter(cloud, values, colour_label, "Viridis"))
    figure.update_layout(scene=scene(cloud))
    return finish(figure, title, f"N = {len(cloud)} points", height=460)


def attack_figure(
    clean: Any, attacked: Any, *, title: str = "", eps: float | None = None
) -> go.Figure:
    """Clean cloud, attacked cloud, and how far each point moved, side by side.

    Args:
        clean: (N, 3), y up, in units of the cloud's radius.
        attacked: (N, 3), the same points after the attack.
        title: shown above.
        eps: the budget a point, if there is one: the end of the colour scale.
    """
    lengths = common.displacement_lengths(clean, attacked)
    clean, attacked = as_cloud(clean, "clean"), as_cloud(attacked, "attacked")
    figure = make_subplots(
        1,
        3,
        specs=[[{"type": "scene"}] * 3],
        subplot_titles=["clean", "attacked", "displacement"],
        horizontal_spacing=0.01,
    )
    for column, (cloud, name) in enumerate([(clean, "clean"), (attacked, "attacked")]):
        trace = go.Scatter3d(
            **xyz(cloud),
            mode="markers",
            showlegend=False,
            marker={"size": 2, "color": CLEAN_ATTACKED[name]},
            hovertemplate=WHERE + "<extra></extra>",
        )
        figure.add_trace(trace, 1, column + 1)
    moved = scatter(attacked, lengths, "moved by (radius = 1)", "Cividis", size=2)
    moved.marker.update(cmin=0, cmax=eps or max(float(lengths.max()), 1e-6))
    figure.add_trace(moved, 1, 3)
    figure.update_scenes(scene(np.concatenate([clean, attacked])))
    return finish(figure, title, common.attack_summary(lengths), height=400, top=95)


def depth_map_figure(
    depth_maps: Any,
    attacked_maps: Any | None = None,
    *,
    view_names: Sequence[str] | None = None,
    title: str = "",
) -> go.Figure:
    """Depth maps of one cloud; with a second set also that set and the difference.

    Args:
        depth_maps: (V, H, W) in [0, 1], near is dark, the background is 1.
        attacked_maps: the same views of the attacked cloud. The difference is drawn
            on the full scale -1..1, so that small changes look small.
        view_names: V names.
        title: shown above.
    """
    rows = common.map_rows(depth_maps, attacked_maps)
    views = len(rows[0][1])
    names = list(view_names or [f"view {v + 1}" for v in range(views)])
    figure = make_subplots(
        len(rows), views, column_titles=names, row_titles=[row[0] for row in rows],
        horizontal_spacing=0.01, vertical_spacing=0.02,
    )  # fmt: skip
    for r, (name, maps, is_difference) in enumerate(rows):
        for v in range(views):
            trace = go.Heatmap(
                z=maps[v],
                coloraxis="coloraxis2" if is_difference else "coloraxis",
                hovertemplate=f"{name}: %{{z:.3f}}<extra></extra>",
            )
            figure.add_trace(trace, r + 1, v + 1)
    figure.update_xaxes(visible=False, constrain="domain")
    figure.update_yaxes(visible=False, autorange="reversed", constrain="domain")
    for index, axis in enumerate(figure.select_yaxes()):
        axis.scaleanchor = f"x{index + 1 if index else ''}"
    figure.update_layout(coloraxis=_depth_axis(len(rows)))
    subtitle = common.MAP_LEGEND
    if attacked_maps is not None:
        figure.update_layout(coloraxis2=_difference_axis())
        subtitle = common.map_summary(depth_maps, attacked_maps)
    return finish(figure, title, subtitle, height=100 + 190 * len(rows), top=95)


def xyz(cloud: np.ndarray) -> dict[str, np.ndarray]:
    """A cloud's coordinates as a trace takes them."""
    return {"x": cloud[:, 0], "y": cloud[:, 1], "z": cloud[:, 2]}


def scatter(
    cloud: np.ndarray, values: np.ndarray, label: str, scale: str, size: float = 2.5
) -> go.Scatter3d:
    """Dots coloured by a number each."""
    return go.Scatter3d(
        **xyz(cloud),
        mode="markers",
        showlegend=False,
        marker={
            "size": size,
            "color": values,
            "colorscale": scale,
            "colorbar": {"title": {"text": label, "side": "right"}, "thickness": 12},
        },
        hovertemplate=WHERE + ": %{marker.color:.3f}<extra></extra>",
    )


def scene(cloud: np.ndarray) -> dict[str, Any]:
    """Equal aspect: the same range on all three axes, wide enough for the cloud."""
    reach = max(1.0, float(np.abs(cloud).max())) * 1.02
    axis = {
        "range": [-reach, reach],
        "showticklabels": False,
        "backgroundcolor": "#f7f7f7",
        "gridcolor": "#e3e3e3",
        "showspikes": False,
    }
    titles = {"x": "x", "y": "y (up)", "z": "z (front)"}
    axes = {f"{k}axis": {**axis, "title": {"text": v}} for k, v in titles.items()}
    return {**axes, "aspectmode": "cube", "camera": _CAMERA}


def _depth_axis(rows: int) -> dict[str, Any]:
    bar = {"title": {"text": "depth (0 = near)", "side": "right"}, "thickness": 12}
    if rows > 1:
        bar |= {"len": 0.62, "y": 1.0, "yanchor": "top"}
    return {"colorscale": "Gray", "cmin": 0, "cmax": 1, "colorbar": bar}


def _difference_axis() -> dict[str, Any]:
    bar = {"title": {"text": "difference", "side": "right"}, "thickness": 12}
    bar |= {"len": 0.36, "y": 0.0, "yanchor": "bottom"}
    return {"colorscale": "RdBu", "cmin": -1, "cmax": 1, "colorbar": bar}
