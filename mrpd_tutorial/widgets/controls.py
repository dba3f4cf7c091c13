"""Controls with names: what a screen reader says and the Tab key reaches.

ipywidgets' own sliders have a handle without a name, and its HTML is replaced as a
whole, which is not announced. `Slider` is the browser's own range input, `Status` a
live region; lists and buttons are ipywidgets', which name theirs.
"""

from collections.abc import Sequence
from typing import Any

import anywidget
import ipywidgets
import traitlets

__all__ = ["Slider", "Status", "button", "choice"]

_SLIDER = """
function render({ model, el }) {
  const label = document.createElement("label");
  const name = document.createElement("span");
  const input = document.createElement("input");
  const readout = document.createElement("output");
  input.type = "range";
  readout.setAttribute("aria-hidden", "true");  // the slider says its value itself
  label.append(name, input);
  el.append(label, readout);
  el.classList.add("mrpd-slider");
  const draw = () => {
    name.textContent = model.get("description");
    input.title = label.title = model.get("tooltip");
    for (const key of ["min", "max", "step"]) input[key] = model.get(key);
    input.value = model.get("value");
    input.disabled = model.get("disabled");
    const step = model.get("step");
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const value = Number(model.get("value")).toFixed(digits);
    readout.textContent = input.disabled ? "" : value;
    input.setAttribute("aria-valuetext", readout.textContent);
  };
  input.addEventListener("input", () => {
    model.set("value", Number(input.value));
    model.save_changes();
    draw();
  });
  model.on("change", draw);
  draw();
}
export default { render };
"""
_SLIDER_STYLE = """
.mrpd-slider { display: flex; align-items: center; gap: 6px; margin: 2px;
  font-size: var(--jp-widgets-font-size, 13px); color: var(--jp-ui-font-color1, #222); }
.mrpd-slider label { display: flex; align-items: center; gap: 6px; }
.mrpd-slider label span { min-width: 72px; text-align: right; }
.mrpd-slider input { width: 170px; accent-color: #0072B2; }
.mrpd-slider input:focus-visible { outline: 2px solid #0072B2; outline-offset: 3px; }
.mrpd-slider output { min-width: 40px; font-variant-numeric: tabular-nums; }
"""
_STATUS = """
function render({ model, el }) {
  const line = document.createElement("div");
  line.setAttribute("role", "status");
  line.setAttribute("aria-live", "polite");
  el.append(line);
  const draw = () => {
    line.textContent = model.get("value");
    line.className = "mrpd-live mrpd-status mrpd-" + model.get("kind");
  };
  model.on("change", draw);
  draw();
  // Plotly draws before it has a place, 700 pixels wide, and then heeds the window's
  // size alone: tell it when the place is there or changes.
  const seen = new ResizeObserver(() => window.dispatchEvent(new Event("resize")));
  seen.observe(el);
  // Arrow keys move sliders and lists here, not JupyterLab's selection of cells: the
  // page's shortcuts must not see them, the control's own default does.
  const keys = /^(Arrow|Page|Home|End)/;
  const guard = (event) => {
    const box = el.closest(".jp-OutputArea-output") || el.parentElement;
    if (box && box.contains(event.target) && keys.test(event.key))
      event.stopImmediatePropagation();
  };
  window.addEventListener("keydown", guard, true);
  return () => {
    seen.disconnect();
    window.removeEventListener("keydown", guard, true);
  };
}
export default { render };
"""
# The last rule hides the picture in front of a live widget: in a page without a
# kernel nothing is live, so that the picture stays.
_STATUS_STYLE = """
.mrpd-status { padding: 4px 10px; margin: 4px 2px; min-height: 1.5em; max-width: 96ch;
  font-size: var(--jp-widgets-font-size, 13px); border-left: 4px solid #0072B2;
  background: var(--jp-layout-color2, #f4f4f4); color: var(--jp-ui-font-color1, #222); }
.mrpd-busy { border-left-color: #E69F00; }
.mrpd-error { border-left-color: #D55E00; font-weight: 600; }
.jp-OutputArea-child:has(+ .jp-OutputArea-child .mrpd-live) { display: none; }
"""


class Slider(anywidget.AnyWidget):
    """A slider that is named, reached by Tab and moved by the arrow keys.

    Args:
        value: a number between min and max.
        min: smallest value.
        max: largest value.
        step: between neighbouring values.
        description: the name beside it, also for screen readers.
        tooltip: one sentence more.
        disabled: greyed out, without effect.
    """

    _esm = _SLIDER
    _css = _SLIDER_STYLE
    value = traitlets.Float(0.0).tag(sync=True)
    min = traitlets.Float(0.0).tag(sync=True)
    max = traitlets.Float(1.0).tag(sync=True)
    step = traitlets.Float(0.01).tag(sync=True)
    description = traitlets.Unicode().tag(sync=True)
    tooltip = traitlets.Unicode().tag(sync=True)
    disabled = traitlets.Bool(False).tag(sync=True)

    @traitlets.validate("value")
    def _within(self, proposal: Any) -> float:
        return float(min(max(proposal["value"], self.min), self.max))

    def set_range(
        self, low: float, high: float, step: float, value: float, tooltip: str = ""
    ) -> None:
        """Give it another range and value at once."""
        with self.hold_trait_notifications():
            self.min, self.max, self.step = float(low), float(high), float(step)
            self.value = float(value)
            self.tooltip = tooltip or self.tooltip


class Status(anywidget.AnyWidget):
    """A line that says what a widget is doing; screen readers announce its changes.

    Attributes:
        value: plain text, shown as it is.
        kind: "ready", "busy" or "error".
    """

    _esm = _STATUS
    _css = _STATUS_STYLE
    value = traitlets.Unicode().tag(sync=True)
    kind = traitlets.Enum(("ready", "busy", "error"), "ready").tag(sync=True)

    def say(self, text: str, kind: str = "ready") -> None:
        """Show a sentence."""
        with self.hold_sync():
            self.kind, self.value = kind, text


def choice(
    description: str, options: Sequence, tooltip: str, **changes: Any
) -> ipywidgets.Dropdown:
    """A list to choose one from; options are names or (name, value) pairs."""
    return ipywidgets.Dropdown(
        options=list(options),
        description=description,
        tooltip=tooltip,
        layout=ipywidgets.Layout(width="290px"),
        **changes,
    )


def button(description: str, tooltip: str, **changes: Any) -> ipywidgets.Button:
    """A button with its name on it."""
    layout = ipywidgets.Layout(width="110px")
    return ipywidgets.Button(
        description=description, tooltip=tooltip, layout=layout, **changes
    )
