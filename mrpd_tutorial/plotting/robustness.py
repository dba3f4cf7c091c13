"""Interactive figures of robustness: over the budget, between models, by class, cost.

They take the rows of an evaluation, of `robustness_curve`, `transfer_matrix` and
`attack_costs`, or your own numbers as mappings with the same keys. Accuracy and
interval are computed from `correct` and `n` where a row does not give them.
"""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mrpd_tutorial.plotting import common, heat_data, palette
from mrpd_tutorial.plotting import robustness_data as data
from mrpd_tutorial.plotting.charts import chance_line
from mrpd_tutorial.plotting.layout import bar_below, finish, legend_below

__all__ = ["class_figure", "cost_figure", "robustness_figure", "transfer_figure"]


def robustness_figure(
    rows: Sequence[Any], *, chance: float | None = None, title: str = ""
) -> go.Figure:
    """Accuracy over the budget, a curve for each model, with Wilson bands.

    Args:
        rows: of `robustness_curve`; or mappings with model, threat_model, eps (in one
            norm), correct and n, and optionally attack, norm, accuracy, low and high.
            A model's clean row stands at budget 0.
        chance: accuracy of guessing; drawn as a line.
        title: shown above; without one, the attack and the threat model.

    Raises:
        ValueError: on rows of several attacks or norms, without budget, or doubled.
    """
    curves, texts = data.curves_of(rows)
    figure = go.Figure()
    for index, (name, columns) in enumerate(curves.items()):
        colour = palette.nth_colour(index)
        band = go.Scatter(
            x=columns["x"] + columns["x"][::-1],
            y=columns["high"] + columns["low"][::-1],
            fill="toself",
            fillcolor=palette.faint(colour),
            line={"width": 0},
            mode="lines",
            hoverinfo="skip",
            showlegend=False,
            legendgroup=name,
        )
        bounds = zip(columns["low"], columns["high"], columns["n"], strict=True)
        line = go.Scatter(
            x=columns["x"],
            y=columns["y"],
            name=name,
            legendgroup=name,
            mode="lines+markers",
            line={"color": colour, "dash": palette.nth_dash(index)},
            marker={"symbol": palette.nth_marker(index), "size": 8},
            customdata=[list(bound) for bound in bounds],
            hovertemplate=(
                "budget %{x:g}: %{y:.1%}<br>%{customdata[0]:.1%} to "
                f"%{{customdata[1]:.1%}}, n = %{{customdata[2]:d}}<extra>{name}</extra>"
            ),
        )
        figure.add_traces([band, line])
    if chance is not None:
        chance_line(figure, chance)
    figure.update_xaxes(title=texts["x_label"], rangemode="tozero")
    figure.update_yaxes(title="accuracy", range=[0, 1.02], tickformat=".0%")
    below = legend_below(figure)
    heading = title or texts["title"], texts["facts"]
    return finish(figure, *heading, height=400 + below, bottom=below)


def transfer_figure(
    rows: Sequence[Any], *, chance: float | None = None, title: str = ""
) -> go.Figure:
    """Accuracy of each model (across) on clouds made on each model (down).

    Args:
        rows: of `transfer_matrix`; or mappings with model, made_on (None: clean),
            correct and n, and optionally attack, accuracy, low and high.
        chance: accuracy of guessing; named below the title.
        title: shown above; without one, the attack and the threat model.

    Raises:
        ValueError: on rows of several attacks, all clean, or doubled.
    """
    heat = heat_data.transfer_cells(rows, chance)
    figure, below = _heat_map(heat, 14)
    figure.update_xaxes(title="shown to")
    figure.update_yaxes(title="made on")
    below += 25
    height = 80 + 60 * len(heat.rows) + below
    return finish(figure, title or heat.title, heat.facts, height, bottom=below)


def class_figure(
    correct: Any,
    labels: Any,
    class_names: Sequence[str],
    *,
    chance: float | None = None,
    title: str = "",
) -> go.Figure:
    """Accuracy class by class, a column for each model or attack.

    Args:
        correct: name -> (B,) bool, whether each cloud was named correctly. A name
            should say the threat model: "student, adaptive PGD".
        labels: (B,) true classes.
        class_names: C names; classes without a cloud are left out.
        chance: accuracy of guessing; named below the title.
        title: shown above.

    Raises:
        ValueError: on shapes, types or class ids that do not fit.
    """
    heat = heat_data.class_cells(correct, labels, class_names, chance)
    figure, below = _heat_map(heat, 24)
    height = 80 + 24 * len(heat.rows) + below
    return finish(figure, title or heat.title, heat.facts, height, bottom=below)


def cost_figure(
    rows: Sequence[Any], *, reference: str | None = "PGD", title: str = ""
) -> go.Figure:
    """What attacks cost (left, a logarithmic axis) and what share they mislead (right).

    Args:
        rows: of `attack_costs`; or mappings with attack, seconds (a cloud), misled and
            before, and optionally iterations, queries, l2, per_point_max, chamfer and
            hausdorff.
        reference: the attack whose seconds are 1; None shows seconds.
        title: shown above.

    Raises:
        ValueError: on rows that lack a number, or no such reference.
    """
    shown, label, facts = data.cost_bars(rows, reference)
    names = [row["attack"] for row in shown]
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04)
    for column, key, colour in ((1, "relative", palette.BLUE), (2, "share", None)):
        dots = go.Scatter(
            x=[row[key] for row in shown],
            y=names,
            mode="markers",
            showlegend=False,
            marker={
                "color": colour or palette.VERMILLION,
                "size": 9,
                "symbol": "circle" if colour else "diamond",
            },
            text=[data.cost_hover(row) for row in shown],
            hovertemplate="%{text}<extra></extra>",
        )
        if column == 2:
            dots.error_x = {
                "array": [row["high"] - row["share"] for row in shown],
                "arrayminus": [row["share"] - row["low"] for row in shown],
                "thickness": 1,
                "color": "#555555",
            }
        figure.add_trace(dots, 1, column)
    label = common.wrap_html(label, 16)
    figure.update_xaxes(title=label, type="log", dtick=1, row=1, col=1)
    figure.update_xaxes(
        title="misled", range=[-0.04, 1.1], dtick=0.5, tickformat=".0%",
        tickangle=0, row=1, col=2,
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", dtick=1, showgrid=True)
    height = 170 + 22 * len(shown)
    heading = title or "What attacks cost, and what they do"
    return finish(figure, heading, facts, height)


def _heat_map(heat: heat_data.Heat, letters: int) -> tuple[go.Figure, int]:
    """The cells, and the pixels below them for their names and the colour bar."""
    columns = [common.wrap_html(name, 10) for name in heat.columns]
    cells = go.Heatmap(
        z=heat.share,
        x=columns,
        y=[common.wrap_html(name, letters) for name in heat.rows],
        text=[[_first_bold(text) for text in row] for row in heat.text],
        texttemplate="%{text}",
        textfont={"size": 10},
        customdata=[
            [hover.replace("\n", "<br>") for hover in row] for row in heat.hover
        ],
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=False,
        colorscale="Cividis",
        zmin=0,
        zmax=1,
        xgap=2,
        ygap=2,
        colorbar={**bar_below("accuracy"), "tickformat": ".0%"},
    )
    figure = go.Figure(cells)
    for row, column in heat.marked:
        figure.add_shape(
            type="rect", x0=column - 0.47, x1=column + 0.47, y0=row - 0.47,
            y1=row + 0.47, line={"color": palette.VERMILLION, "width": 3},
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(showgrid=False, tickangle=0, tickfont_size=11)
    lines = max(name.count("<br>") + 1 for name in columns)
    return figure, 75 + 15 * lines


def _first_bold(text: str) -> str:
    share, *rest = text.split("\n")
    return "<br>".join([f"<b>{share}</b>", *rest])
