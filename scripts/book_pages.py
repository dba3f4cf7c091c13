"""Turns an executed notebook into a page: figures that turn, links, no widget state."""

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import nbformat

__all__ = ["write_page"]

_PLOTLY = "application/vnd.plotly.v1+json"
_VIEW = "application/vnd.jupyter.widget-view+json"
_STATE = "application/vnd.jupyter.widget-state+json"
_STILL = "image/jpeg"
# How the text of a widget's picture begins, after its name.
_STILL_OF_WIDGET = ", a still of it: "


def write_page(executed: Path, source: Path) -> None:
    """Write the page of an executed notebook, and the pictures of its figures.

    Args:
        executed: the notebook with its outputs.
        source: Sphinx's folder; pictures go to its _static/pictures.
    """
    book = nbformat.read(executed, as_version=4)
    pictures = source / "_static" / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    neighbours = {path.stem for path in executed.parent.glob("*.ipynb")}
    # Megabytes of scripts, for controls that do nothing without a kernel.
    widgets = book.metadata.pop("widgets", {}).get(_STATE, {}).get("state", {})
    for number, cell in enumerate(book.cells):
        if cell.cell_type == "markdown":
            cell.source = _linked(cell.source, neighbours - {executed.stem})
        elif cell.cell_type == "code":
            name = f"{executed.stem}-{number}"
            cell.outputs = _outputs(cell.outputs, widgets, pictures, name)
    nbformat.write(book, source / executed.name)


def _linked(text: str, neighbours: set[str]) -> str:
    """`03_three_teachers` becomes a link to that page."""

    def link(found: re.Match) -> str:
        name = found[1]
        return f"[`{name}`]({name}.ipynb)" if name in neighbours else found[0]

    return re.sub(r"(?<![\[`])`(\d\d_\w+)`", link, text)


def _outputs(
    outputs: list, widgets: dict[str, Any], pictures: Path, name: str
) -> list[Any]:
    kept: list[Any] = []
    for number, output in enumerate(outputs):
        data = output.get("data", {})
        if _VIEW in data:
            # The widget's picture and sentence came right before it.
            figure = _widget_figure(data[_VIEW]["model_id"], widgets)
            before = kept[-1].get("data", {}) if kept else {}
            if _STILL in before:
                kept[-1] = _element(figure, before, pictures / f"{name}-{number}.jpg")
                continue
            del data[_VIEW]
        elif _PLOTLY in data:
            path = pictures / f"{name}-{number}.jpg"
            output = _element(data[_PLOTLY], data, path)
        kept.append(output)
    return kept


def _element(figure: dict[str, Any] | None, data: dict[str, Any], path: Path) -> Any:
    """The output that holds a figure's picture, and what Plotly draws it from."""
    words = "".join(data.get("text/plain", ""))
    still = caption = turning = style = ""
    if _STILL_OF_WIDGET in words:
        words = words.replace(_STILL_OF_WIDGET, ", without its controls: ")
        caption = f"<figcaption>{html.escape(words)}</figcaption>"
    if _STILL in data:
        path.write_bytes(base64.b64decode("".join(data[_STILL])))
        address = f"_static/pictures/{path.name}"
        still = f'<img src="{address}" alt="{html.escape(words)}">'
    if figure is not None:
        drawn = {"data": figure["data"], "layout": figure["layout"]}
        # "</script>" in a title would end the element.
        content = json.dumps(drawn, allow_nan=False).replace("</", "<\\/")
        turning = f'<div></div><script type="application/json">{content}</script>'
        style = f' style="--height:{figure["layout"].get("height") or 450}px"'
    kind = "turning" if turning else "still"
    element = f'<figure class="{kind}"{style}>{still}{turning}{caption}</figure>'
    return nbformat.v4.new_output("display_data", data={"text/html": element})


def _widget_figure(model: str, widgets: dict[str, Any]) -> dict[str, Any] | None:
    """The Plotly figure somewhere in a widget, unless it was redrawn later.

    A notebook stores it as it was shown first; what came later is only counted.
    """
    known = widgets.get(model, {"state": {}})
    state = known["state"]
    if "_widget_data" in state:
        if state["_last_trace_edit_id"] or state["_last_layout_edit_id"]:
            return None
        for buffer in known.get("buffers", []):
            _fill(state, buffer)
        return {"data": state["_widget_data"], "layout": state["_widget_layout"]}
    for child in state.get("children", []):
        figure = _widget_figure(child.removeprefix("IPY_MODEL_"), widgets)
        if figure is not None:
            return figure
    return None


def _fill(state: dict[str, Any], buffer: dict[str, Any]) -> None:
    """Put an array back that was stored beside its place, in Plotly's own notation."""
    *way, last = buffer["path"]
    assert last == "buffer", f"an array of another kind: {buffer['path']}"
    place: Any = state
    for step in way:
        place = place[step]
    shape = ", ".join(str(size) for size in place.pop("shape"))
    place |= {"bdata": buffer["data"], "shape": shape}
