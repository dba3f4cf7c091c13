"""Static views of what the explorers show (matplotlib): the twins of `explorer`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mrpd_tutorial.plotting import common, explorer_data, palette
from mrpd_tutorial.plotting.palette import CLEAN_ATTACKED
from mrpd_tutorial.plotting.static import draw_cloud, draw_map, new_figure
from mrpd_tutorial.plotting.static_charts import draw_lines, legend_below, plain

__all__ = ["dashboard_figure", "explorer_figure", "gate_figure"]


def explorer_figure(
    clean: Any,
    attacked: Any,
    clean_map: Any,
    attacked_map: Any,
    opinions: dict[str, Any],
    class_names: Sequence[str],
    label: int,
    *,
    eps: float | None = None,
    view_name: str = "",
    top: int = 4,
    title: str = "",
) -> Figure:
    """The static twin of `explorer.explorer_figure`; the same arguments."""
    change = explorer_data.change(clean, attacked)
    maps = explorer_data.map_rows(clean_map, attacked_map)
    figure = new_figure(9.6, 9.6, title, change.summary)
    upper, middle, lower = figure.subfigures(3, 1, height_ratios=[1.55, 0.8, 1])
    _draw_clouds(upper, change, eps)
    axes = middle.subplots(1, 3)
    for axis, (name, values, is_difference) in zip(axes, maps, strict=True):
        drawn = draw_map(axis, values, is_difference)
        named = f"depth, {view_name}: {name}" if view_name and name == "clean" else name
        axis.set_title(named, fontsize=9)
    middle.colorbar(drawn, ax=axes, label="difference", shrink=0.8, pad=0.02)
    _draw_bars(lower, *common.opinion_table(opinions, class_names, label, top))
    return figure


def gate_figure(
    x: Any,
    weights: Any,
    labels: Any,
    predicted: Any,
    class_names: Sequence[str],
    *,
    x_label: str,
    level: float | None = None,
    sample_names: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """The static twin of `explorer.gate_figure`; the same arguments."""
    strip = explorer_data.gate_strip(x, weights, labels, predicted, class_names)
    height = 1.6 + 0.26 * len(strip.rows)
    figure = new_figure(8.0, height, title, strip.summary)
    axes = figure.subplots()
    for name, chosen, colour, marker in (
        ("passes", strip.weights > 0, palette.BLUE, "o"),
        ("does not pass", strip.weights == 0, palette.VERMILLION, "x"),
    ):
        size = 10 + 20 * strip.weights[chosen]
        axes.scatter(
            strip.x[chosen],
            strip.y[chosen],
            s=size,
            c=colour,
            marker=marker,
            label=name,
        )
    if level is not None:
        axes.axvline(level, color=palette.GREY, linestyle=":")
    axes.set(xlim=(-0.02, 1.02), ylim=(len(strip.rows) - 0.4, -0.6), xlabel=x_label)
    axes.set_yticks(range(len(strip.rows)), strip.rows)
    axes.set_ylabel("true class, passed / n")
    plain(axes, grid="x")
    legend_below(figure, axes, columns=2)
    return figure


def dashboard_figure(
    history: Sequence[Mapping[str, Any]], *, floor: float = -1.0, title: str = ""
) -> Figure:
    """The static twin of `explorer.dashboard_figure`; the same arguments."""
    panels = explorer_data.dashboard_panels(history)
    figure = new_figure(9.6, 6.0, title, "")
    axes = figure.subplots(2, 2).ravel()
    for axis, (name, unit, curves) in zip(axes, panels, strict=True):
        draw_lines(axis, curves)
        if unit == "1/σ²":
            label = f"largest possible, at the floor λ = {floor:g}"
            axis.axhline(
                math.exp(-floor), color=palette.GREY, linestyle=":", label=label
            )
        axis.set_title(name, fontsize=10)
        axis.set(xlabel="epoch", ylabel=unit)
        axis.set_ylim(bottom=0, top=1.03 if unit == "share" else None)
        axis.legend(fontsize=8, frameon=False)
    return figure


def _draw_clouds(figure: Any, change: explorer_data.Change, eps: float | None) -> None:
    left, right = figure.subplots(1, 2, subplot_kw={"projection": "3d"})
    both = np.concatenate([change.clean, change.attacked])
    reach = max(1.0, float(np.abs(both).max()))
    kept = change.clean[~change.removed]
    draw_cloud(left, kept, reach=reach, color=CLEAN_ATTACKED["clean"], s=4)
    if change.removed.any():
        gone = change.clean[change.removed]
        draw_cloud(left, gone, reach=reach, color=CLEAN_ATTACKED["attacked"], s=6)
    left.set_title("clean", fontsize=10)
    largest = eps if eps is not None and np.isfinite(eps) else 0.0
    dots = draw_cloud(
        right, change.attacked, reach=reach, c=change.moved, cmap="cividis", s=4,
        vmin=0, vmax=max(largest, float(change.moved.max()), 1e-6),
    )  # fmt: skip
    right.set_title("attacked", fontsize=10)
    figure.colorbar(
        dots, ax=[left, right], label="moved by (radius = 1)", shrink=0.7, pad=0.04
    )


def _draw_bars(figure: Any, shown: list[str], tables: dict[str, np.ndarray]) -> None:
    axes = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    at = np.arange(len(shown))
    for axis, (model, table) in zip(axes, tables.items(), strict=True):
        for row, (name, colour) in enumerate(CLEAN_ATTACKED.items()):
            axis.barh(at + 0.4 * row - 0.2, table[row], 0.38, color=colour, label=name)
        axis.set_title(model, fontsize=10)
        axis.set(xlim=(0, 1), xlabel="probability", yticks=at, yticklabels=shown)
        plain(axis, grid="x")
    axes[0].invert_yaxis()
    legend_below(figure, axes[0], columns=2)
