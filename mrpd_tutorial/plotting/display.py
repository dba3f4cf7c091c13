"""Show a figure in a notebook with its static twin, so that print is complete."""

import io
from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go
from matplotlib.figure import Figure

from mrpd_tutorial.plotting import (
    static,
    static_charts,
    static_explorer,
    static_gallery,
    static_robustness,
)

__all__ = ["show", "static_twin"]

_TWINS = (static, static_gallery, static_charts, static_robustness, static_explorer)


def static_twin(make_figure: Callable[..., go.Figure]) -> Callable[..., Figure]:
    """The matplotlib function that draws the same as an interactive one.

    Raises:
        ValueError: if make_figure is not one of this package's figures.
    """
    name = getattr(make_figure, "__name__", repr(make_figure))
    for module in _TWINS:
        if name in module.__all__:
            return getattr(module, name)
    known = ", ".join(name for module in _TWINS for name in module.__all__)
    raise ValueError(f"make_figure must be one of {known}; received {name}.")


def picture(
    make_figure: Callable[..., go.Figure],
    *args: Any,
    picture_format: str = "png",
    **kwargs: Any,
) -> bytes:
    """The static twin of a figure as the bytes of a PNG or JPEG file."""
    buffer = io.BytesIO()
    # A Figure of its own, outside pyplot: no window, no global state, nothing to close.
    twin = static_twin(make_figure)(*args, **kwargs)
    twin.savefig(buffer, format=picture_format)
    return buffer.getvalue()


def show(make_figure: Callable[..., go.Figure], *args: Any, **kwargs: Any) -> None:
    """Display a figure in a notebook, its static twin travelling along for print.

    JupyterLab and VS Code show the interactive form; whatever cannot (a PDF, a page
    of HTML made by nbconvert) shows the picture.

    Args:
        make_figure: a figure function of this package, for example attack_figure.
        args: its arguments.
        kwargs: its keyword arguments.
    """
    from IPython.display import display

    interactive = make_figure(*args, **kwargs)
    title = interactive.layout.title.text.replace("<br>", " ")
    # No button that sends the reader's figure to a server.
    config = {"displaylogo": False, "showSendToCloud": False}
    bundle = {
        "application/vnd.plotly.v1+json": {
            **interactive.to_plotly_json(),
            "config": config,
        },
        # Not as PNG: Plotly's extension would show that until the mouse comes by.
        "image/jpeg": picture(make_figure, *args, picture_format="jpeg", **kwargs),
        "text/plain": f"{make_figure.__name__}: {title}",
    }
    display(bundle, raw=True)
