"""The look all interactive figures share."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

__all__ = ["finish", "legend_above", "opinion_bars"]

_FONT = {"family": "system-ui, sans-serif", "size": 13, "color": "#222222"}


def finish(
    figure: go.Figure,
    title: str,
    subtitle: str,
    height: int,
    top: int = 80,
    bottom: int = 10,
) -> go.Figure:
    """Give a figure its title, a line of computed facts below it, and its size.

    The width is left open, so that a figure fills the page or the notebook.
    """
    heading = {
        "text": title,
        "subtitle": {"text": subtitle, "font": {"size": 12, "color": "#555555"}},
        "x": 0,
        "xref": "paper",
        "y": 1,
        "yref": "container",
        "yanchor": "top",
        "pad": {"t": 10},
        "font": {"size": 15},
    }
    margin = {"l": 10, "r": 10, "t": top, "b": bottom}
    figure.update_layout(
        title=heading, template="plotly_white", font=_FONT, height=height, margin=margin
    )
    return figure


def legend_above(height: int) -> dict[str, Any]:
    """A horizontal legend below the title and its subtitle, which take 58 pixels.

    Args:
        height: of the figure, in pixels.
    """
    y = 1 - 58 / height
    return {"orientation": "h", "yref": "container", "y": y, "yanchor": "top", "x": 0}


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
