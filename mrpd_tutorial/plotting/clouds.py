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
from mrpd_tutorial.plotting.layout import bar_below, finish, legend_below
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
        bottom = legend_below(figure)
    else:
        values = common.height_or_values(cloud, colour)
        figure.add_trace(scatter(cloud, values, colour_label, "Viridis"))
        bottom = 65
    figure.update_layout(scene=scene(cloud))
    facts = f"N = {len(cloud)} points"
    return finish(figure, title, facts, height=430 + bottom, top=65, bottom=bottom)


def attack_figure(
    clean: Any, attacked: Any, *, title: str = "", eps: float | None = None
) -> go.Figure:
    """Clean cloud and attacked cloud, and below them how far each point moved.

    Args:
        clean: (N, 3), y up, in units of the cloud's radius.
        attacked: (N, 3), the same points after the attack.
        title: shown above.
        eps: the budget a point, if there is one: the end of the colour scale.
    """
    lengths = common.displacement_lengths(clean, attacked)
    clean, attacked = as_cloud(clean, "clean"), as_cloud(attacked, "attacked")
    figure = make_subplots(
        2,
        2,
        specs=[[{"type": "scene"}] * 2, [{"type": "scene", "colspan": 2}, None]],
        subplot_titles=["clean", "attacked", "displacement"],
        horizontal_spacing=0.01,
        vertical_spacing=0.06,
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
    figure.add_trace(moved, 2, 1)
    figure.update_scenes(scene(np.concatenate([clean, attacked])))
    figure.update_annotations(font_size=12)
    facts = common.attack_summary(lengths)
    return finish(figure, title, facts, height=590, top=80, bottom=65)


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
    views, high, wide = rows[0][1].shape
    names = list(view_names or [f"view {v + 1}" for v in range(views)])
    gap = max(1, wide // 16)
    figure = go.Figure()
    for r, (name, maps, is_difference) in enumerate(rows):
        # One picture a row: maps of their own would drift apart in a narrow window.
        apart = np.pad(maps, ((0, 0), (0, 0), (0, gap)), constant_values=np.nan)
        trace = go.Heatmap(
            z=np.concatenate(list(apart), axis=1)[:, :-gap],
            y0=r * (high + gap),
            name=name,
            coloraxis="coloraxis2" if is_difference else "coloraxis",
            hoverongaps=False,
            hovertemplate=f"{name}: %{{z:.3f}}<extra></extra>",
        )
        figure.add_trace(trace)
    plain = {"showgrid": False, "zeroline": False, "constrain": "domain"}
    figure.update_xaxes(
        **plain, constraintoward="left", tickfont_size=11,
        tickvals=[(wide - 1) / 2 + v * (wide + gap) for v in range(views)],
        ticktext=names,
    )  # fmt: skip
    figure.update_yaxes(
        **plain, autorange="reversed", scaleanchor="x", constraintoward="top",
        tickvals=[(high - 1) / 2 + r * (high + gap) for r in range(len(rows))],
        ticktext=[name for name, _, _ in rows], tickangle=-90,
    )  # fmt: skip
    height = 145 + 130 * len(rows)
    bar = _bar_above("depth (0 = near)", 0.0)
    scale = {"colorscale": "Gray", "cmin": 0, "cmax": 1, "colorbar": bar}
    figure.update_layout(coloraxis=scale)
    subtitle = common.MAP_LEGEND
    if attacked_maps is not None:
        bar = _bar_above("difference", 0.53)
        scale = {"colorscale": "RdBu", "cmin": -1, "cmax": 1, "colorbar": bar}
        figure.update_layout(coloraxis2=scale)
        subtitle = common.map_summary(depth_maps, attacked_maps)
    return finish(figure, title, subtitle, height=height, top=115)


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
            "colorbar": bar_below(label),
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
    axes = {
        f"{k}axis": {**axis, "title": {"text": v, "font": {"size": 11}}}
        for k, v in titles.items()
    }
    return {**axes, "aspectmode": "cube", "camera": _CAMERA}


def _bar_above(label: str, x: float) -> dict[str, Any]:
    """A colour bar between the heading and the maps."""
    # At a height of 1 and more Plotly would move the figure's title out of its way.
    return {
        "title": {"text": label, "side": "top", "font": {"size": 12}},
        "orientation": "h", "thickness": 10, "len": 0.45, "x": x, "xanchor": "left",
        "yref": "paper", "y": 0.999, "yanchor": "bottom",
    }  # fmt: skip
