"""Interactive charts of opinions, training and accuracy (Plotly)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mrpd_tutorial.plotting import common, palette
from mrpd_tutorial.plotting.layout import (
    finish,
    legend_above,
    legend_below,
    opinion_bars,
)
from mrpd_tutorial.plotting.palette import CLEAN_ATTACKED, GREY, THREAT_MODELS

__all__ = [
    "accuracy_bars",
    "curve_figure",
    "opinions_figure",
    "training_curves",
    "weight_curves",
]


def opinions_figure(
    opinions: Mapping[str, Any],
    class_names: Sequence[str],
    label: int,
    *,
    top: int = 4,
    title: str = "",
) -> go.Figure:
    """What each model says the cloud is, before and after the attack.

    Args:
        opinions: model name -> (2, C): probabilities on the clean, attacked cloud.
        class_names: C names.
        label: the true class.
        top: how many other classes to show, those given the largest probability.
        title: shown above.
    """
    shown, tables = common.opinion_table(opinions, class_names, label, top)
    figure = make_subplots(
        1, len(tables), shared_yaxes=True, horizontal_spacing=0.03,
        subplot_titles=[common.wrap_html(name, 10) for name in tables],
    )  # fmt: skip
    for column, table in enumerate(tables.values()):
        for row, (name, colour) in enumerate(CLEAN_ATTACKED.items()):
            bars = opinion_bars(shown, table[row], name, colour, column == 0)
            figure.add_trace(bars, 1, column + 1)
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(
        range=[0, 1], title="probability", tickvals=[0, 0.5, 1],
        ticktext=["", "½", "1"],
    )  # fmt: skip
    # Once: in a narrow window each 0 would lie on the 1 before it.
    next(figure.select_xaxes()).ticktext = ["0", "½", "1"]
    figure.update_annotations(font_size=12)
    height = 200 + 40 * len(shown)
    figure.update_layout(bargap=0.25, legend=legend_above(height))
    subtitle = f"true class: {class_names[label]}"
    return finish(figure, title, subtitle, height=height, top=125)


def training_curves(
    history: Sequence[Mapping[str, Any]], *, title: str = ""
) -> go.Figure:
    """Losses, gate pass rates and validation accuracy over the epochs.

    Args:
        history: one mapping an epoch with "epoch" and columns "loss_*", "pass_*",
            "val_*", as `distill` gives it; a row may lack some of them.
        title: shown above.
    """
    panels = common.training_panels(history)
    # Two beside each other, so that a narrow window shows them; the last one takes
    # what is left of its row.
    rows = -(-len(panels) // 2)
    specs: list[list[dict[str, int] | None]] = [[{}, {}] for _ in range(rows)]
    if len(panels) % 2:
        specs[-1] = [{"colspan": 2}, None]
    figure = make_subplots(
        rows, 2, specs=specs, subplot_titles=[name for name, _, _ in panels],
        horizontal_spacing=0.17, vertical_spacing=0.36 / rows,
    )  # fmt: skip
    named = set()
    for index, (_, unit, curves) in enumerate(panels):
        at = {"row": 1 + index // 2, "col": 1 + index % 2}
        for name, (epochs, values) in curves.items():
            line = _line(name, epochs, values)
            line.update(legendgroup=name, showlegend=name not in named)
            named.add(name)
            figure.add_trace(line, **at)
        figure.update_yaxes(
            title=unit, title_standoff=4, rangemode="tozero", tickfont_size=11, **at
        )
        if unit == "share":
            figure.update_yaxes(range=[0, 1.03], **at)
    figure.update_xaxes(title="epoch")
    figure.update_annotations(font_size=12)
    below = legend_below(figure)
    height = 90 + 230 * rows + below
    return finish(figure, title, "", height=height, top=65, bottom=below)


def weight_curves(
    history: Sequence[Mapping[str, Any]], *, floor: float = -1.0, title: str = ""
) -> go.Figure:
    """The learned weights 1/σ² = exp(-λ) of the three teachers over the epochs.

    Args:
        history: one mapping an epoch with "epoch" and columns "weight_*".
        floor: the least λ allowed; exp(-floor) is the largest possible weight.
        title: shown above.
    """
    figure = go.Figure()
    for name, (epochs, values) in common.series(history, "weight_").items():
        figure.add_trace(_line(name, epochs, values))
    figure.add_hline(
        y=math.exp(-floor),
        line={"dash": "dot", "color": GREY},
        annotation_text=f"largest possible, at the floor λ = {floor:g}",
        annotation_position="bottom right",
    )
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title="weight 1/σ²", rangemode="tozero")
    figure.update_layout(legend=legend_above(360))
    return finish(figure, title, "", height=360)


def accuracy_bars(
    rows: Sequence[Any], *, chance: float | None = None, title: str = ""
) -> go.Figure:
    """Accuracy of each model under each threat model, with 95 % intervals and n.

    Args:
        rows: of an Evaluation, of one attack; or mappings with model, threat_model,
            attack, correct, n and accuracy, low, high (shares in 0..1).
        chance: accuracy of guessing; drawn as a line.
        title: shown above.
    """
    groups = common.by_threat_model(rows)
    figure = go.Figure()
    for name, group in groups.items():
        bars = go.Bar(
            x=[common.wrap_html(row["model"], 10) for row in group],
            y=[row["accuracy"] for row in group],
            name=common.wrap_html(common.threat_label(name, group[0]), 46),
            marker_color=THREAT_MODELS[name][0],
            error_y={
                "array": [row["high"] - row["accuracy"] for row in group],
                "arrayminus": [row["accuracy"] - row["low"] for row in group],
                "color": "#222222",
                "thickness": 1.2,
            },
            customdata=[[row["correct"], row["n"]] for row in group],
            hovertemplate=(
                "%{x}<br>%{y:.1%} (%{customdata[0]} of %{customdata[1]})"
                f"<extra>{name}</extra>"
            ),
        )
        figure.add_trace(bars)
    if chance is not None:
        chance_line(figure, chance)
    figure.update_xaxes(tickfont_size=11)
    figure.update_yaxes(title="accuracy", range=[0, 1.02], tickformat=".0%")
    figure.update_layout(barmode="group")
    below = legend_below(figure)
    return finish(
        figure, title, common.sample_size(groups), height=420 + below, bottom=below
    )


def curve_figure(
    curves: Mapping[str, Sequence[Any]],
    *,
    x_label: str,
    y_label: str,
    chance: float | None = None,
    title: str = "",
    subtitle: str = "",
) -> go.Figure:
    """Curves over a number, with intervals where there are any.

    Args:
        curves: name -> points (x, y), or (x, y, low, high) with an interval.
        x_label: what x is, with its unit.
        y_label: what y is, with its unit.
        chance: y of guessing; drawn as a line.
        title: shown above.
        subtitle: facts in a smaller line below it, such as n.
    """
    figure = go.Figure()
    for index, (name, columns) in enumerate(common.curve_points(curves).items()):
        line = go.Scatter(
            x=columns["x"],
            y=columns["y"],
            name=name,
            mode="lines+markers" if len(columns["x"]) < 16 else "lines",
            line={"color": palette.nth_colour(index), "dash": palette.nth_dash(index)},
        )
        if "low" in columns:
            pairs = zip(columns["y"], columns["low"], columns["high"], strict=True)
            low, high = zip(*((y - lo, hi - y) for y, lo, hi in pairs), strict=True)
            line.error_y = {"array": high, "arrayminus": low, "thickness": 1}
        figure.add_trace(line)
    if chance is not None:
        chance_line(figure, chance)
    figure.update_xaxes(title=common.wrap_html(x_label, 40))
    figure.update_yaxes(title=common.wrap_html(y_label, 26), rangemode="tozero")
    below = legend_below(figure)
    return finish(figure, title, subtitle, height=360 + below, bottom=below)


def chance_line(figure: go.Figure, chance: float) -> None:
    """Draw the accuracy of guessing across a figure, with an entry in the legend."""
    line = {"dash": "dot", "color": GREY}
    figure.add_hline(y=chance, line=line)
    # A shape has no legend entry; an empty trace speaks for it.
    name = f"chance {chance:.1%}"
    figure.add_trace(go.Scatter(x=[None], y=[None], mode="lines", line=line, name=name))


def _line(name: str, epochs: list[float], values: list[float]) -> go.Scatter:
    style = {"color": palette.curve_colour(name), "dash": palette.curve_dash(name)}
    mode = "lines+markers" if len(epochs) < 3 else "lines"
    return go.Scatter(x=epochs, y=values, name=name, mode=mode, line=style)
