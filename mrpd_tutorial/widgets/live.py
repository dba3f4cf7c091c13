"""What all widgets share: one live figure, a status line, a static twin."""

import threading
from collections.abc import Callable
from typing import Any

import ipywidgets
import plotly.graph_objects as go

from mrpd_tutorial.plotting import display as plotting_display
from mrpd_tutorial.widgets.controls import Status
from mrpd_tutorial.widgets.live_figure import SCENES, LiveFigure, refresh

__all__ = ["Drawing", "LiveWidget"]

Drawing = tuple[Callable[..., go.Figure], tuple, dict[str, Any]]
"""A figure function of mrpd_tutorial.plotting with its arguments."""


class LiveWidget:
    """Controls above a status line above one live figure.

    Shown by naming it at the end of a cell. The cell's output holds a picture too,
    which a front end hides while the widget is alive, and which is what nbviewer, HTML
    and print show.

    Attributes:
        status: what the widget is doing.
        figure: the live figure; None until there is something to show.
        box: all of it, an ipywidgets container.
        controls: name -> control, in the order of the Tab key.
    """

    def __init__(self, controls: dict[str, ipywidgets.DOMWidget]) -> None:
        self.controls = controls
        self.status = Status()
        self.figure: go.FigureWidget | None = None
        row = ipywidgets.HBox(
            list(controls.values()), layout=ipywidgets.Layout(flex_flow="row wrap")
        )
        self.box = ipywidgets.VBox([row, self.status])
        self._drawn: Drawing | None = None
        self._handle: Any = None
        self._lock = threading.RLock()

    def static(self) -> None:
        """Show what the widget shows now as a figure that stays without a kernel.

        Raises:
            ValueError: if there is nothing to show yet.
        """
        make, args, kwargs = self._drawing()
        plotting_display.show(make, *args, **kwargs)

    def picture(self, picture_format: str = "png") -> bytes:
        """The same as the bytes of a PNG or JPEG file.

        Raises:
            ValueError: if there is nothing to show yet.
        """
        make, args, kwargs = self._drawing()
        return plotting_display.picture(
            make, *args, picture_format=picture_format, **kwargs
        )

    def draw(self, make: Callable[..., go.Figure], *args: Any, **kwargs: Any) -> None:
        """Show a figure of this package, and remember it for the static twin."""
        self._put(make(*args, **kwargs))
        self._drawn = (make, args, kwargs)

    def _put(self, figure: go.Figure) -> None:
        with self._lock:
            if self.figure is not None:
                refresh(self.figure, figure)
                return
            figure.update_layout(uirevision="keep")
            self.figure = LiveFigure(figure)
            self._link_cameras(self.figure)
            self.box.children = (*self.box.children, self.figure)

    def _link_cameras(self, figure: go.FigureWidget) -> None:
        """Turn one cloud, and the other one turns too."""

        def follow(other: str) -> Callable[..., None]:
            def turn(scene: Any, camera: Any) -> None:
                with self._lock:
                    if figure.layout[other].camera != camera:
                        figure.layout[other].camera = camera

            return turn

        first, second = SCENES
        if all(name in figure.layout for name in SCENES):
            figure.layout[first].on_change(follow(second), "camera")
            figure.layout[second].on_change(follow(first), "camera")

    def _drawing(self) -> Drawing:
        if self._drawn is None:
            raise ValueError(
                f"{type(self).__name__} has nothing to show yet. {self.status.value}"
            )
        return self._drawn

    def _twin(self) -> dict[str, Any]:
        """The output that stands for the widget where no kernel runs."""
        name = type(self).__name__
        if self._drawn is None:
            return {"text/plain": f"{name}: {self.status.value}"}
        sentence = f"{name}, a still of it: {self.status.value}"
        return {"image/jpeg": self.picture("jpeg"), "text/plain": sentence}

    def _update_twin(self) -> None:
        """Put the present state into the outputs that are there already."""
        if self._handle is not None:
            self._handle.update(self._twin(), raw=True)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        twin = self._twin()
        alternative = {"image/jpeg": {"alt": twin["text/plain"]}}
        metadata = alternative if "image/jpeg" in twin else {}
        self._handle = display(twin, raw=True, metadata=metadata, display_id=True)
        live = dict(self.box._repr_mimebundle_())
        live["text/plain"] = (
            f"{type(self).__name__}: run this cell in JupyterLab to use it."
        )
        display(live, raw=True)


def sentence(error: BaseException) -> str:
    """An error as a line for the status, without a stack trace."""
    text = " ".join(str(error).split()) or "no more is known"
    named = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return f"{named}{text}"
