"""The look all interactive figures share, in a narrow notebook and in a wide one."""

from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go

from mrpd_tutorial.plotting.common import wrap

__all__ = ["bar_below", "finish", "legend_above", "legend_below", "opinion_bars"]

_FONT = {"family": "system-ui, sans-serif", "size": 13, "color": "#222222"}
# A window of 800 pixels, JupyterLab's file browser open, leaves a figure 368. Letters
# of a title, and of the line of facts below it, that fit.
_WIDTH, _TITLE, _LINE = 368, 44, 56
# Pixels that one more line of each takes.
_TITLE_LINE, _FACTS_LINE = 20, 16
# What remains of the row of buttons leaves room for the title: a picture to keep, move,
# zoom or turn, and back to the start. The mouse does the rest.
_NO_BUTTONS = [
    "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d",
    "zoom3d", "orbitRotation", "resetCameraLastSave3d",
]  # fmt: skip


def finish(
    figure: go.Figure,
    title: str,
    subtitle: str,
    height: int,
    top: int = 80,
    bottom: int = 10,
) -> go.Figure:
    """Give a figure its title, a line of computed facts below it, and its size.

    The width is left open, so that a figure fills the page or the notebook. Long texts
    are broken for a narrow one, and make the figure taller.

    Args:
        figure: changed in place.
        title: shown at the upper left.
        subtitle: shown below it, smaller.
        height: in pixels, with a heading of one line each.
        top: pixels above the drawing, with the same heading.
        bottom: pixels below the drawing.
    """
    titles = wrap(title, _TITLE).split("\n")
    facts = wrap(subtitle, _LINE).split("\n")
    # Plotly hangs a title of one line from its top, a longer one from its baseline.
    drop = 11 if len(titles) > 1 else 0
    extra = drop + _TITLE_LINE * (len(titles) - 1) + _FACTS_LINE * (len(facts) - 1)
    heading = {
        "text": "<br>".join(titles),
        "subtitle": {
            "text": "<br>".join(facts),
            "font": {"size": 12, "color": "#555555"},
        },
        # From the left edge of the page, whatever room the axis takes.
        "x": 0,
        "xref": "container",
        "y": 1,
        "yref": "container",
        "yanchor": "top",
        "pad": {"t": 10 + drop, "l": 10},
        "font": {"size": 15},
    }
    margin = {"l": 10, "r": 10, "t": top + extra, "b": bottom}
    legend = figure.layout.legend
    if legend.yref == "container" and legend.y:  # above: as far below the heading
        legend.y = 1 - ((1 - legend.y) * height + extra) / (height + extra)
    figure.update_xaxes(title_font_size=13)
    figure.update_yaxes(title_font_size=13)
    figure.update_layout(
        title=heading, template="plotly_white", font=_FONT, height=height + extra,
        margin=margin, modebar_remove=_NO_BUTTONS,
    )  # fmt: skip
    return figure


def legend_above(height: int) -> dict[str, Any]:
    """A horizontal legend below the title and its subtitle, which take 58 pixels.

    Args:
        height: of the figure, in pixels.
    """
    y = 1 - 58 / height
    return {"orientation": "h", "yref": "container", "y": y, "yanchor": "top", "x": 0}


def legend_below(figure: go.Figure) -> int:
    """Put a figure's legend below it; returns the pixels it takes in a narrow one."""
    names = [trace.name for trace in figure.data if trace.showlegend is not False]
    figure.update_layout(
        legend={
            "orientation": "h", "xref": "container", "x": 0, "yref": "container",
            "y": 0, "yanchor": "bottom", "font": {"size": 12},
        }
    )  # fmt: skip
    return _legend_height(names)


def _legend_height(names: Iterable[str]) -> int:
    lines = [name.split("<br>") for name in names]
    if not lines:
        return 0
    widest = 50 + 6.5 * max(len(line) for name in lines for line in name)
    columns = max(1, int(_WIDTH // widest))
    tallest = max(len(name) for name in lines)
    return 10 + 18 * tallest * -(-len(lines) // columns)


def bar_below(label: str) -> dict[str, Any]:
    """A colour bar below the drawing, where it takes nothing of the width.

    It needs 65 pixels of the lower margin.
    """
    return {
        "title": {"text": label, "side": "bottom", "font": {"size": 12}},
        "orientation": "h", "thickness": 12, "len": 0.6,
        "yref": "container", "y": 0, "yanchor": "bottom",
    }  # fmt: skip


def opinion_bars(
    shown: Sequence[str], chances: Any, name: str, colour: str, in_legend: bool
) -> go.Bar:
    """One model's probabilities of the classes shown, on clean or attacked clouds."""
    return go.Bar(
        y=shown,
        x=chances,
        name=name,
        orientation="h",
        marker_color=colour,
        legendgroup=name,
        showlegend=in_legend,
        hovertemplate=f"{name}: %{{x:.1%}}<extra>%{{y}}</extra>",
    )
