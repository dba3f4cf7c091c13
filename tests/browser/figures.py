"""What Plotly shows in a page: its data, its camera, its canvases, its layout."""

from typing import Any

__all__ = ["canvas_picture", "camera", "crossing_titles", "shown", "sticking_out"]

_SHOWN = """(gd) => {
  const data = gd._fullData;
  const numbers = (values) => Array.from(values ?? []);
  return {
    title: gd._fullLayout.title.text,
    clouds: data.filter((t) => t.type === "scatter3d").map((t) => ({
      name: t.name, points: [t.x, t.y, t.z].map(numbers)})),
    bars: data.filter((t) => t.type === "bar").map((t) => ({
      name: t.name, classes: numbers(t.y), chances: numbers(t.x)})),
    lines: data.filter((t) => t.type === "scatter").map((t) => ({
      name: t.name, x: numbers(t.x), y: numbers(t.y)})),
    level: (gd._fullLayout.shapes ?? []).map((shape) => shape.x0),
  };
}"""

# WebGL alone: titles, bars and buttons lie in other layers.
_CANVAS_ALONE = ".main-svg, .modebar-container { visibility: hidden !important; }"
_NOTHING = _CANVAS_ALONE + " canvas { opacity: 0 !important; }"


def shown(figure: Any) -> dict[str, Any]:
    """The data that Plotly has drawn, by kind of trace."""
    return figure.evaluate(_SHOWN)


def camera(figure: Any, scene: str = "scene") -> list[float]:
    """Where the camera of a cloud stands."""
    return figure.evaluate(
        """(gd, scene) => {
          const eye = gd._fullLayout[scene]._scene.getCamera().eye;
          return [eye.x, eye.y, eye.z];
        }""",
        scene,
    )


def canvas_picture(canvas: Any, hidden: bool = False) -> bytes:
    """A PNG of what WebGL has drawn; hidden: of the same place without it."""
    return canvas.screenshot(style=_NOTHING if hidden else _CANVAS_ALONE)


def sticking_out(area: Any) -> list[str]:
    """What is wider than its place or ends to the right of the area.

    Args:
        area: the locator of a cell's outputs.
    """
    return area.evaluate(
        """(area) => {
          const edge = area.getBoundingClientRect().right + 1;
          const found = [];
          if (area.scrollWidth > area.clientWidth + 1) found.push("the output scrolls");
          const parts = "select, input, button, .js-plotly-plot, .mrpd-status, "
            + ".gtitle, .annotation, .xtick, canvas";
          for (const part of area.querySelectorAll(parts)) {
            const box = part.getBoundingClientRect();
            if (box.width > 0 && box.right > edge)
              found.push(`${part.tagName} ${part.textContent} by ${box.right - edge}`);
          }
          return found;
        }"""
    )


def crossing_titles(figure: Any) -> list[str]:
    """Pairs of a figure's titles, large and small, that lie over each other."""
    return figure.evaluate(
        """(gd) => {
          const titles = [...gd.querySelectorAll(".gtitle, .annotation-text, .legend")];
          const boxes = titles.map((title) => title.getBoundingClientRect());
          const crossing = [];
          boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b, j) => {
            if (a.left < b.right - 1 && b.left < a.right - 1
                && a.top < b.bottom - 1 && b.top < a.bottom - 1)
              crossing.push(
                `${titles[i].textContent} / ${titles[i + 1 + j].textContent}`);
          }));
          return crossing;
        }"""
    )
