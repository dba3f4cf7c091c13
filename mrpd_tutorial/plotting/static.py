"""Static views of clouds and depth maps (matplotlib): the twins of `clouds`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from mrpd_tutorial.plotting import common
from mrpd_tutorial.plotting.common import as_cloud
from mrpd_tutorial.plotting.palette import CLEAN_ATTACKED

__all__ = ["attack_figure", "cloud_figure", "depth_map_figure"]

_DPI = 120


def cloud_figure(
    points: Any,
    colour: Any = "height",
    *,
    colour_label: str = "height y, radius = 1",
    categories: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """The static twin of `clouds.cloud_figure`; the same arguments."""
    cloud = as_cloud(points, "points")
    figure = new_figure(5.4, 4.6, title, f"N = {len(cloud)} points")
    axes = figure.add_subplot(projection="3d")
    if categories:
        reach = max(1.0, float(np.abs(cloud).max()))
        for name, some, shade in common.category_groups(cloud, colour, categories):
            draw_cloud(axes, some, reach=reach, color=shade, s=5, label=name)
        figure.legend(loc="outside right upper", markerscale=3, frameon=False)
        return figure
    values = common.height_or_values(cloud, colour)
    dots = draw_cloud(axes, cloud, c=values, cmap="viridis", s=5)
    figure.colorbar(dots, ax=axes, label=colour_label, shrink=0.7, pad=0.1)
    return figure


def attack_figure(
    clean: Any, attacked: Any, *, title: str = "", eps: float | None = None
) -> Figure:
    """The static twin of `clouds.attack_figure`; the same arguments."""
    lengths = common.displacement_lengths(clean, attacked)
    clean, attacked = as_cloud(clean, "clean"), as_cloud(attacked, "attacked")
    figure = new_figure(9.6, 3.9, title, common.attack_summary(lengths))
    axes = figure.subplots(1, 3, subplot_kw={"projection": "3d"})
    reach = max(1.0, float(np.abs(clean).max()), float(np.abs(attacked).max()))
    for axis, cloud, name in zip(axes, (clean, attacked), CLEAN_ATTACKED, strict=False):
        draw_cloud(axis, cloud, reach=reach, color=CLEAN_ATTACKED[name], s=3)
        axis.set_title(name, fontsize=10)
    dots = draw_cloud(
        axes[2], attacked, reach=reach, c=lengths, cmap="cividis", s=3,
        vmin=0, vmax=eps or max(float(lengths.max()), 1e-6),
    )  # fmt: skip
    axes[2].set_title("displacement", fontsize=10)
    figure.colorbar(dots, ax=axes, label="moved by (radius = 1)", shrink=0.6, pad=0.04)
    return figure


def depth_map_figure(
    depth_maps: Any,
    attacked_maps: Any | None = None,
    *,
    view_names: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """The static twin of `clouds.depth_map_figure`; the same arguments."""
    rows = common.map_rows(depth_maps, attacked_maps)
    views = len(rows[0][1])
    names = list(view_names or [f"view {v + 1}" for v in range(views)])
    subtitle = common.MAP_LEGEND
    if attacked_maps is not None:
        subtitle = common.map_summary(depth_maps, attacked_maps)
    width = max(5.0, 1.2 + 1.7 * views)
    figure = new_figure(width, 0.7 + 1.75 * len(rows), title, subtitle)
    axes = figure.subplots(len(rows), views, squeeze=False)
    for row, (name, maps, is_difference) in enumerate(rows):
        for view in range(views):
            drawn = draw_map(axes[row, view], maps[view], is_difference)
            if row == 0:
                axes[row, view].set_title(names[view], fontsize=9)
        axes[row, 0].set_ylabel(name, fontsize=9)
        label = "difference" if is_difference else "depth (0 = near)"
        figure.colorbar(drawn, ax=axes[row], label=label, pad=0.02)
    return figure


def new_figure(width: float, height: float, title: str, subtitle: str) -> Figure:
    """A figure outside pyplot, with a title and a smaller line of facts below it."""
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    # Long lines are broken, or constrained layout would squeeze the axes for them.
    lines = [
        common.wrap(title, int(width * 13)),
        common.wrap(subtitle, int(width * 13)),
    ]
    text = "\n".join(line for line in lines if line)
    if text:
        figure.suptitle(text, x=0.01, ha="left", fontsize=10)
    return figure


def draw_cloud(axes: Axes, cloud: np.ndarray, reach: float = 0.0, **style: Any) -> Any:
    """Draw a cloud with y up and z to the front, equal aspect, fixed camera.

    Returns the dots, for a colour bar.
    """
    reach = reach or max(1.0, float(np.abs(cloud).max()))
    # matplotlib's third axis is up: (x, -z, y) is a rotation of (x, y, z).
    dots = axes.scatter(
        cloud[:, 0], -cloud[:, 2], cloud[:, 1], depthshade=False, linewidths=0, **style
    )
    axes.set(
        xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach),
        xticklabels=[], yticklabels=[], zticklabels=[],
    )  # fmt: skip
    labels = {"labelpad": -14, "fontsize": 8}
    axes.set_xlabel("x", **labels)
    axes.set_ylabel("z (front)", **labels)
    axes.set_zlabel("y (up)", **labels)
    axes.set_box_aspect((1, 1, 1), zoom=1.2)
    axes.view_init(elev=20, azim=-64)
    return dots


def draw_map(axes: Axes, depth_map: np.ndarray, is_difference: bool) -> AxesImage:
    """Draw one depth map, or a difference of two; returns it, for a colour bar."""
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color("#dddddd")
    if is_difference:
        return axes.imshow(depth_map, cmap="RdBu", vmin=-1, vmax=1)
    return axes.imshow(depth_map, cmap="gray", vmin=0, vmax=1)
