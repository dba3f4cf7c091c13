"""A figure that changes in place, and comes up on a slow machine too."""

from copy import deepcopy
from typing import Any

import plotly.graph_objects as go
import traitlets

__all__ = ["SCENES", "LiveFigure", "refresh"]

SCENES = ("scene", "scene2")

# anywidget gives a module two seconds to load; a widget that is late shows itself, but
# hears nothing any more. Plotly's five megabytes can be late, so that this is the
# module, and loads Plotly when the figure is to be seen. What Python says until then is
# kept, and said again.
_LOADER = """
const MESSAGES = ["addTraces", "deleteTraces", "moveTraces", "restyle", "relayout",
  "update", "animate", "removeLayoutProps", "removeTraceProps"];
export default () => {
  let plotly;
  const missed = [];
  const listeners = MESSAGES.map((message) => {
    const name = "_py2js_" + message;
    return [name, (model) => () => missed.push([name, model.get(name)])];
  });
  const load = async (model) => {
    const code = new Blob([model.get("_plotly")], { type: "text/javascript" });
    const url = URL.createObjectURL(code);
    const module = await import(url);
    URL.revokeObjectURL(url);
    const figure = module.default();
    for (const [name, listener] of listeners) model.off("change:" + name, listener);
    figure.initialize({ model });
    for (const [name, value] of missed) {
      model.set(name, null);
      model.set(name, value);
    }
    return figure;
  };
  return {
    initialize({ model }) {
      for (const pair of listeners) {
        pair[1] = pair[1](model);
        model.on("change:" + pair[0], pair[1]);
      }
    },
    async render(view) {
      plotly ??= load(view.model);
      return (await plotly).render(view);
    },
  };
};
"""


class LiveFigure(go.FigureWidget):
    """A FigureWidget whose whole present state is sent to each page that opens it.

    Plotly's announces itself empty and sends the figure afterwards, when a page may
    have drawn it already, and tells a page that is loaded anew how it began.
    """

    _esm = _LOADER
    _plotly = traitlets.Unicode(str(go.FigureWidget._esm)).tag(sync=True)
    _is_whole = False

    def __init__(self, figure: go.Figure) -> None:
        super().__init__(figure)
        # The figure follows the width of the page. No button sends it to a server.
        self._config = {
            "responsive": True,
            "displaylogo": False,
            "showSendToCloud": False,
        }
        self._is_whole = True
        self.open()

    def open(self) -> None:
        """Announce the figure, but not before it is whole; see ipywidgets.Widget."""
        if self._is_whole:
            super().open()

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """The state to be sent; see ipywidgets.Widget."""
        if getattr(self, "_view_count", None) is not None:
            # Past the traits, which would send it a second time.
            self._trait_values["_widget_data"] = deepcopy(self._data)
            self._trait_values["_widget_layout"] = deepcopy(self._layout)
        return super().get_state(key, drop_defaults)


def refresh(live: go.FigureWidget, figure: go.Figure) -> None:
    """Make a live figure show another one of the same traces, in place.

    Cameras and axes stay as the reader has turned and zoomed them.
    """
    assert [t.type for t in live.data] == [t.type for t in figure.data]
    layout = figure.layout.to_plotly_json()
    layout.pop("template", None)
    for name, part in layout.items():
        if name in SCENES:
            part.pop("camera", None)
        elif name.startswith(("xaxis", "yaxis")):
            part.pop("range", None)
    with live.batch_update():
        for old, new in zip(live.data, figure.data, strict=True):
            changes = new.to_plotly_json()
            for fixed in ("type", "uid"):
                changes.pop(fixed, None)
            old.update(changes)
        # Lists of shapes are merged item by item: one too many would stay.
        live.layout.shapes = layout.pop("shapes", [])
        live.layout.update(layout)
