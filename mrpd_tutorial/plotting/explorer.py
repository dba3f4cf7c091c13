"""What the widgets show: an attack from all sides, a gate, a run of distillation."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mrpd_tutorial.plotting import clouds, common, explorer_data, palette
from mrpd_tutorial.plotting.layout import finish, legend_below, opinion_bars
from mrpd_tutorial.plotting.palette import CLEAN_ATTACKED

__all__ = ["dashboard_figure", "explorer_figure", "gate_figure"]

# Pixels of the clouds, the maps, the bars, and between them; of all with its margins.
_ROWS, _BETWEEN = (260, 110, 160), 80
_DRAWN = sum(_ROWS) + 2 * _BETWEEN
_TOP, _BOTTOM = 116, 50
_HEIGHT = _TOP + _DRAWN + _BOTTOM
_COLUMNS = 12  # divisible by two clouds, three maps, three or four models
# Where maps and bars begin, as a share of the width: their names stand to the left.
# Not in the margin, which would narrow the clouds too, and cut them.
_MAPS_FROM, _BARS_FROM = 0.1, 0.23


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
) -> go.Figure:
    """One cloud before and after an attack: points, one depth map, every model's bars.

    Always the same traces in the same order, so that a live figure changes in place.

    Args:
        clean: (N, 3), y up, in units of the cloud's radius.
        attacked: (M, 3); M differs from N where points were added or removed.
        clean_map: (H, W) in [0, 1], near is dark.
        attacked_map: (H, W), the same view of the attacked cloud.
        opinions: model name -> (2, C): probabilities on the clean, attacked cloud.
        class_names: C names.
        label: the true class.
        eps: the largest way a point may move: the end of the colour scale.
        view_name: of the depth map.
        top: how many other classes to show, those given the largest probability.
        title: shown above.
    """
    change = explorer_data.change(clean, attacked)
    maps = explorer_data.map_rows(clean_map, attacked_map)
    shown, tables = common.opinion_table(opinions, class_names, label, top)
    models = [name.replace(" ", "<br>", 1) for name in tables]  # narrow, for titles
    figure = make_subplots(
        3, _COLUMNS, specs=_specs(len(tables)), row_heights=list(_ROWS),
        horizontal_spacing=0.025, vertical_spacing=_BETWEEN / _DRAWN,
        subplot_titles=["clean", "attacked", *(name for name, _, _ in maps), *models],
    )  # fmt: skip
    _make_room(figure, len(maps))
    _add_clouds(figure, change, eps)
    _add_maps(figure, maps, view_name)
    _add_bars(figure, shown, tables)
    figure.update_annotations(font_size=12)
    legend = {"orientation": "h", "yref": "container", "y": 1 - 60 / _HEIGHT}
    legend |= {"yanchor": "top", "x": 1, "xanchor": "right"}
    figure.update_layout(legend=legend, bargap=0.25)
    return finish(
        figure, title, change.summary, height=_HEIGHT, top=_TOP, bottom=_BOTTOM
    )


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
) -> go.Figure:
    """Every sample of a gate: what the gate looks at, its true class, if it passes.

    Args:
        x: (B,) what the gate looks at, such as the true class's probability, in [0, 1].
        weights: (B,) True where a sample passes, or how much it counts, 0 to 1.
        labels: (B,) true classes.
        predicted: (B,) the class that the teacher puts first.
        class_names: C names.
        x_label: what x is.
        level: where on x the gate stands, if it stands on x: drawn as a line.
        sample_names: B names, shown at the mouse.
        title: shown above.
    """
    strip = explorer_data.gate_strip(x, weights, labels, predicted, class_names)
    names = list(sample_names or [f"sample {i}" for i in range(len(strip.x))])
    said = [class_names[int(c)] for c in common.as_array(predicted)]
    figure = go.Figure()
    for name, chosen, colour, symbol in (
        ("passes", strip.weights > 0, palette.BLUE, "circle"),
        ("does not pass", strip.weights == 0, palette.VERMILLION, "x-thin-open"),
    ):
        at = np.flatnonzero(chosen)
        trace = go.Scatter(
            x=strip.x[at],
            y=strip.y[at],
            name=name,
            mode="markers",
            # What counts less is smaller; open gates give every dot its full size.
            marker={
                "color": colour,
                "symbol": symbol,
                "size": 3 + 5 * strip.weights[at] if chosen.any() else 8,
                "line": {"width": 1.4, "color": colour},
            },
            customdata=[[names[i], said[i], float(strip.weights[i])] for i in at],
            hovertemplate=(
                "%{customdata[0]}<br>the teacher says %{customdata[1]}"
                "<br>%{x:.3f}, counts %{customdata[2]:.2f}<extra></extra>"
            ),
        )
        if name == "does not pass":
            trace.marker.size = 7
        figure.add_trace(trace)
    figure.update_xaxes(title=x_label, range=[-0.02, 1.02])
    figure.update_yaxes(
        tickvals=list(range(len(strip.rows))),
        ticktext=strip.rows,
        range=[len(strip.rows) - 0.4, -0.6],
        title="true class, passed / n",
        zeroline=False,
    )
    line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": level, "x1": level}
    line |= {"line": {"dash": "dot", "color": palette.GREY}}
    figure.update_layout(shapes=[line] if level is not None else [])
    height = 190 + 26 * len(strip.rows)
    legend = {"orientation": "h", "yref": "container", "y": 1 - 62 / height}
    legend |= {"yanchor": "top", "x": 0}
    figure.update_layout(legend=legend)
    return finish(figure, title, strip.summary, height=height, top=100)


def dashboard_figure(
    history: Sequence[Mapping[str, Any]], *, floor: float = -1.0, title: str = ""
) -> go.Figure:
    """Losses, gate pass rates, weights 1/σ² and validation accuracy over the epochs.

    Args:
        history: one mapping an epoch, as `distill` gives it.
        floor: the least λ allowed; exp(-floor) is the largest possible weight.
        title: shown above.
    """
    panels = explorer_data.dashboard_panels(history)
    figure = make_subplots(
        2, 2, subplot_titles=[name for name, _, _ in panels],
        horizontal_spacing=0.17, vertical_spacing=0.19,
    )  # fmt: skip
    named = set()
    for index, (_, unit, curves) in enumerate(panels):
        at = {"row": 1 + index // 2, "col": 1 + index % 2}
        for name, (epochs, values) in curves.items():
            line = go.Scatter(
                x=epochs,
                y=[None if math.isnan(v) else v for v in values],  # JSON has no NaN
                name=name,
                legendgroup=name,
                showlegend=name not in named,
                mode="lines+markers" if len(epochs) < 3 else "lines",
                line={
                    "color": palette.curve_colour(name),
                    "dash": palette.curve_dash(name),
                },
            )
            named.add(name)
            figure.add_trace(line, **at)
        figure.update_yaxes(
            title=unit, title_standoff=4, rangemode="tozero", tickfont_size=11, **at
        )
        if unit == "share":
            figure.update_yaxes(range=[0, 1.03], **at)
        if unit == "1/σ²":
            dotted = {"dash": "dot", "color": palette.GREY}
            figure.add_hline(
                y=math.exp(-floor),
                line=dotted,
                annotation_text=f"largest possible,<br>at the floor λ = {floor:g}",
                annotation_position="bottom right",
                **at,
            )
    figure.update_xaxes(title="epoch")
    figure.update_annotations(font_size=12)
    below = legend_below(figure)
    return finish(figure, title, "", height=510 + below, top=65, bottom=below)


def _specs(models: int) -> list[list[dict | None]]:
    def row(count: int, **kind: Any) -> list[dict | None]:
        width = _COLUMNS // count
        return [{"colspan": width, **kind}, *[None] * (width - 1)] * count

    return [row(2, type="scene"), row(3), row(models)]


def _add_clouds(
    figure: go.Figure, change: explorer_data.Change, eps: float | None
) -> None:
    for name, chosen, colour, symbol in (
        ("clean", ~change.removed, CLEAN_ATTACKED["clean"], "circle"),
        ("removed", change.removed, CLEAN_ATTACKED["attacked"], "diamond"),
    ):
        kept = change.clean[chosen]
        trace = go.Scatter3d(
            **clouds.xyz(kept),
            mode="markers",
            name=name,
            showlegend=False,
            marker={"size": 2, "color": colour, "symbol": symbol},
            hovertemplate=f"{clouds.WHERE}<extra>{name}</extra>",
        )
        figure.add_trace(trace, 1, 1)
    moved = clouds.scatter(
        change.attacked, change.moved, "moved by (radius = 1)", "Cividis", size=2
    )
    largest = eps if eps is not None and np.isfinite(eps) else 0.0
    moved.marker.update(cmin=0, cmax=max(largest, float(change.moved.max()), 1e-6))
    scene = figure.layout.scene2.domain
    moved.marker.colorbar.update(
        len=0.45, x=sum(scene.x) / 2, xanchor="center", thickness=10,
        yref="paper", y=scene.y[0], yanchor="top", ypad=2, title_font_size=11,
    )  # fmt: skip
    figure.add_trace(moved, 1, 1 + _COLUMNS // 2)
    both = np.concatenate([change.clean, change.attacked])
    figure.update_scenes(clouds.scene(both))


def _add_maps(figure: go.Figure, maps: list, view_name: str) -> None:
    for column, (name, values, is_difference) in enumerate(maps):
        scale = "RdBu" if is_difference else "Gray"
        axis = next(figure.select_xaxes(row=2, col=1 + column * _COLUMNS // 3))
        low = next(figure.select_yaxes(row=2)).domain[0]
        bar = {"orientation": "h", "thickness": 10, "len": 0.28, "xanchor": "center"}
        bar |= {"x": sum(axis.domain) / 2, "y": low, "yanchor": "top", "ypad": 2}
        bar |= {"tickvals": [-1, 0, 1]}
        trace = go.Heatmap(
            z=values,
            colorscale=scale,
            zmin=-1 if is_difference else 0,
            zmax=1,
            showscale=is_difference,
            colorbar=bar if is_difference else None,
            hovertemplate=f"{name}: %{{z:.3f}}<extra></extra>",
        )
        figure.add_trace(trace, 2, 1 + column * _COLUMNS // 3)
    figure.update_xaxes(visible=False, constrain="domain", row=2)
    figure.update_yaxes(visible=False, autorange="reversed", constrain="domain", row=2)
    for axis in figure.select_yaxes(row=2):
        axis.scaleanchor = axis.anchor
    low, high = next(figure.select_yaxes(row=2)).domain
    figure.add_annotation(
        text=f"depth maps<br>{view_name}", textangle=-90, showarrow=False,
        xref="paper", x=_MAPS_FROM, xanchor="right", xshift=-4,
        yref="paper", y=(low + high) / 2, yanchor="middle",
    )  # fmt: skip


def _make_room(figure: go.Figure, maps: int) -> None:
    """Move maps and bars, and the titles above them, to the right of their names."""
    for row, start in ((2, _MAPS_FROM), (3, _BARS_FROM)):
        for axis in figure.select_xaxes(row=row):
            axis.domain = [start + (1 - start) * x for x in axis.domain]
    for index, title in enumerate(figure.layout.annotations[2:]):
        start = _MAPS_FROM if index < maps else _BARS_FROM
        title.x = start + (1 - start) * title.x


def _add_bars(figure: go.Figure, shown: list[str], tables: dict[str, Any]) -> None:
    shown = [name.replace(" (true)", "<br>(true)") for name in shown]
    for column, table in enumerate(tables.values()):
        for row, (name, colour) in enumerate(CLEAN_ATTACKED.items()):
            bars = opinion_bars(shown, table[row], name, colour, column == 0)
            figure.add_trace(bars, 3, 1 + column * _COLUMNS // len(tables))
    for column, axis in enumerate(figure.select_yaxes(row=3)):
        axis.update(
            autorange="reversed", automargin=False, showticklabels=column == 0,
            tickfont_size=11,
        )  # fmt: skip
    figure.update_xaxes(
        range=[0, 1], tickvals=[0, 0.5, 1], ticktext=["", "½", "1"], row=3
    )
    figure.add_annotation(
        text="probability", showarrow=False, xref="paper", x=(1 + _BARS_FROM) / 2,
        yref="paper", y=0, yanchor="top", yshift=-20,
    )  # fmt: skip
    # Once: in a narrow window each 0 would lie on the 1 before it.
    next(figure.select_xaxes(row=3)).ticktext = ["0", "½", "1"]
