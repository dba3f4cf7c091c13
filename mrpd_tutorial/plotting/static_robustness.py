"""Static figures of robustness (matplotlib): the twins of `robustness`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from mrpd_tutorial.plotting import common, heat_data, palette
from mrpd_tutorial.plotting import robustness_data as data
from mrpd_tutorial.plotting.static import new_figure
from mrpd_tutorial.plotting.static_charts import DASHES, legend_below, plain

__all__ = ["class_figure", "cost_figure", "robustness_figure", "transfer_figure"]


def robustness_figure(
    rows: Sequence[Any], *, chance: float | None = None, title: str = ""
) -> Figure:
    """The static twin of `robustness.robustness_figure`; the same arguments."""
    curves, texts = data.curves_of(rows)
    figure = new_figure(7.6, 4.4, title or texts["title"], texts["facts"])
    axes = figure.subplots()
    for index, (name, columns) in enumerate(curves.items()):
        colour = palette.nth_colour(index)
        axes.fill_between(
            columns["x"], columns["low"], columns["high"], color=colour, alpha=0.15,
            linewidth=0,
        )  # fmt: skip
        axes.plot(
            columns["x"], columns["y"], color=colour, label=name, markersize=5,
            linestyle=DASHES[palette.nth_dash(index)],
            marker={"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^"}[
                palette.nth_marker(index)
            ],
        )  # fmt: skip
    if chance is not None:
        label = f"chance {chance:.1%}"
        axes.axhline(chance, color=palette.GREY, linestyle=":", label=label)
    axes.set(xlabel=texts["x_label"], ylabel="accuracy", ylim=(0, 1.02))
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    plain(axes, grid="both")
    legend_below(figure, axes, columns=3)
    return figure


def transfer_figure(
    rows: Sequence[Any], *, chance: float | None = None, title: str = ""
) -> Figure:
    """The static twin of `robustness.transfer_figure`; the same arguments."""
    heat = heat_data.transfer_cells(rows, chance)
    figure, axes = _heat_map(heat, title, row_height=0.6)
    axes.set(xlabel="shown to", ylabel="made on")
    return figure


def class_figure(
    correct: Any,
    labels: Any,
    class_names: Sequence[str],
    *,
    chance: float | None = None,
    title: str = "",
) -> Figure:
    """The static twin of `robustness.class_figure`; the same arguments."""
    heat = heat_data.class_cells(correct, labels, class_names, chance)
    return _heat_map(heat, title, row_height=0.26)[0]


def cost_figure(
    rows: Sequence[Any], *, reference: str | None = "PGD", title: str = ""
) -> Figure:
    """The static twin of `robustness.cost_figure`; the same arguments."""
    shown, label, facts = data.cost_bars(rows, reference)
    heading = title or "What attacks cost, and what they do"
    figure = new_figure(8.4, 1.5 + 0.24 * len(shown), heading, facts)
    left, right = figure.subplots(1, 2, sharey=True)
    at = np.arange(len(shown))
    left.plot([row["relative"] for row in shown], at, "o", color=palette.BLUE)
    left.set_xscale("log")
    left.set(xlabel=label, yticks=at, yticklabels=[row["attack"] for row in shown])
    share = np.array([row["share"] for row in shown])
    low = (share - [row["low"] for row in shown]).clip(0)
    high = ([row["high"] for row in shown] - share).clip(0)
    right.errorbar(
        share, at, xerr=(low, high), fmt="D", color=palette.VERMILLION,
        ecolor="#555555", elinewidth=1, capsize=2,
    )  # fmt: skip
    right.set(xlabel="misled", xlim=(-0.02, 1.02))
    right.xaxis.set_major_formatter(PercentFormatter(1.0))
    left.invert_yaxis()
    for axes in (left, right):
        plain(axes, grid="both")
    return figure


def _heat_map(
    heat: heat_data.Heat, title: str, row_height: float
) -> tuple[Figure, Axes]:
    width = max(6.4, 2.8 + 1.15 * len(heat.columns))
    height = 1.6 + row_height * len(heat.rows)
    figure = new_figure(width, height, title or heat.title, heat.facts)
    axes = figure.subplots()
    drawn = axes.imshow(heat.share, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    columns = [common.wrap(name, 16) for name in heat.columns]
    axes.set(xticks=range(len(columns)), yticks=range(len(heat.rows)))
    axes.set_xticklabels(columns, fontsize=9)
    axes.set_yticklabels([common.wrap(name, 24) for name in heat.rows], fontsize=9)
    for row, column in np.argwhere(~np.isnan(heat.share)):
        colour = _readable(heat.share[row, column])
        text = heat.text[row][column]
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    for row, column in heat.marked:
        outline = Rectangle(
            (column - 0.47, row - 0.47), 0.94, 0.94, fill=False,
            edgecolor=palette.VERMILLION, linewidth=2.5,
        )  # fmt: skip
        axes.add_patch(outline)
    axes.spines[:].set_visible(False)
    figure.colorbar(drawn, ax=axes, label="accuracy", format=PercentFormatter(1.0))
    return figure, axes


def _readable(share: float) -> str:
    """Black on light cells, white on dark ones."""
    red, green, blue, _ = colormaps["cividis"](share)
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
