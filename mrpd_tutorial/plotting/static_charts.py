"""Static charts of opinions, training and accuracy (matplotlib): twins of `charts`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mrpd_tutorial.plotting import common, palette
from mrpd_tutorial.plotting.palette import CLEAN_ATTACKED, GREY, THREAT_MODELS
from mrpd_tutorial.plotting.static import new_figure

__all__ = [
    "accuracy_bars",
    "curve_figure",
    "opinions_figure",
    "training_curves",
    "weight_curves",
]

DASHES = {"solid": "-", "dash": "--", "dot": ":"}


def opinions_figure(
    opinions: Mapping[str, Any],
    class_names: Sequence[str],
    label: int,
    *,
    top: int = 4,
    title: str = "",
) -> Figure:
    """The static twin of `charts.opinions_figure`; the same arguments."""
    shown, tables = common.opinion_table(opinions, class_names, label, top)
    subtitle = f"true class: {class_names[label]}"
    figure = new_figure(9.6, 1.5 + 0.42 * len(shown), title, subtitle)
    axes = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    at = np.arange(len(shown))
    for axis, (model, table) in zip(axes, tables.items(), strict=True):
        for row, (name, colour) in enumerate(CLEAN_ATTACKED.items()):
            offset = 0.4 * row - 0.2
            axis.barh(at + offset, table[row], 0.38, color=colour, label=name)
        axis.set_title(model, fontsize=10)
        axis.set(xlim=(0, 1), xlabel="probability", yticks=at, yticklabels=shown)
        plain(axis, grid="x")
    axes[0].invert_yaxis()
    legend_below(figure, axes[0], columns=2)
    return figure


def training_curves(history: Sequence[Mapping[str, Any]], *, title: str = "") -> Figure:
    """The static twin of `charts.training_curves`; the same arguments."""
    panels = common.training_panels(history)
    figure = new_figure(9.6, 3.4, title, "")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (name, unit, curves) in zip(axes, panels, strict=True):
        draw_lines(axis, curves)
        axis.set_title(name, fontsize=10)
        axis.set(xlabel="epoch", ylabel=unit)
        axis.set_ylim(bottom=0, top=1.03 if unit == "share" else None)
        axis.legend(fontsize=8, frameon=False)
    return figure


def weight_curves(
    history: Sequence[Mapping[str, Any]], *, floor: float = -1.0, title: str = ""
) -> Figure:
    """The static twin of `charts.weight_curves`; the same arguments."""
    figure = new_figure(6.4, 3.6, title, "")
    axes = figure.subplots()
    draw_lines(axes, common.series(history, "weight_"))
    label = f"largest possible, at the floor λ = {floor:g}"
    axes.axhline(math.exp(-floor), color=GREY, linestyle=":", label=label)
    axes.set(xlabel="epoch", ylabel="weight 1/σ²")
    axes.set_ylim(bottom=0)
    legend_below(figure, axes, columns=4)
    return figure


def accuracy_bars(
    rows: Sequence[Any], *, chance: float | None = None, title: str = ""
) -> Figure:
    """The static twin of `charts.accuracy_bars`; the same arguments."""
    groups = common.by_threat_model(rows)
    models = list(dict.fromkeys(r["model"] for g in groups.values() for r in g))
    figure = new_figure(9.6, 5.0, title, common.sample_size(groups))
    axes = figure.subplots()
    width = 0.8 / len(groups)
    for index, (name, group) in enumerate(groups.items()):
        at = [models.index(row["model"]) for row in group]
        heights = np.array([row["accuracy"] for row in group])
        low = heights - [row["low"] for row in group]
        high = np.array([row["high"] for row in group]) - heights
        axes.bar(
            np.array(at) + (index - (len(groups) - 1) / 2) * width, heights,
            width * 0.94, yerr=(low.clip(0), high.clip(0)), capsize=2,
            color=THREAT_MODELS[name][0], label=common.threat_label(name, group[0]),
            error_kw={"elinewidth": 1, "ecolor": "#222222"},
        )  # fmt: skip
    if chance is not None:
        axes.axhline(chance, color=GREY, linestyle=":", label=f"chance {chance:.1%}")
    axes.set(xticks=range(len(models)), ylim=(0, 1.02), ylabel="accuracy")
    axes.set_xticklabels([common.wrap(model, 18) for model in models])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    plain(axes, grid="y")
    legend_below(figure, axes, columns=1)
    return figure


def curve_figure(
    curves: Mapping[str, Sequence[Any]],
    *,
    x_label: str,
    y_label: str,
    chance: float | None = None,
    title: str = "",
    subtitle: str = "",
) -> Figure:
    """The static twin of `charts.curve_figure`; the same arguments."""
    figure = new_figure(7.2, 3.8, title, subtitle)
    axes = figure.subplots()
    for index, (name, columns) in enumerate(common.curve_points(curves).items()):
        y = np.array(columns["y"])
        error = None
        if "low" in columns:
            error = (y - columns["low"]).clip(0), (columns["high"] - y).clip(0)
        axes.errorbar(
            columns["x"], y, yerr=error, capsize=2, markersize=4,
            marker="o" if len(y) < 16 else None,
            color=palette.nth_colour(index), label=name,
            linestyle=DASHES[palette.nth_dash(index)],
        )  # fmt: skip
    if chance is not None:
        axes.axhline(chance, color=GREY, linestyle=":", label=f"chance {chance:.1%}")
    axes.set(xlabel=x_label, ylabel=y_label)
    low, high = axes.get_ylim()
    axes.set_ylim(min(0.0, low), high + 0.03 * (high - min(0.0, low)))
    plain(axes, grid="both")
    legend_below(figure, axes, columns=2)
    return figure


def draw_lines(
    axes: Axes, curves: Mapping[str, tuple[list[float], list[float]]]
) -> None:
    """One line for each curve (epochs, values), over whole epochs."""
    for name, (epochs, values) in curves.items():
        axes.plot(
            epochs, values, label=name, color=palette.curve_colour(name),
            linestyle=DASHES[palette.curve_dash(name)],
            marker="o" if len(epochs) < 3 else None,
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain(axes, grid="both")


def plain(axes: Axes, grid: str) -> None:
    """A light grid, and no box around the axes."""
    axes.grid(axis=grid, color="#e3e3e3")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend_below(figure: FigureBase, axes: Axes, columns: int) -> None:
    """One legend for the figure, outside of its axes."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=columns, frameon=False,
        fontsize=9,
    )  # fmt: skip
