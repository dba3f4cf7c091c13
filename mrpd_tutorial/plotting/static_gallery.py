"""One object as several attacks leave it (matplotlib): the twin of `gallery`."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from mrpd_tutorial.plotting import palette
from mrpd_tutorial.plotting.gallery_data import gallery_panels
from mrpd_tutorial.plotting.static import draw_cloud, new_figure

__all__ = ["gallery_figure"]


def gallery_figure(
    clean: Any,
    attacked: Mapping[str, Any],
    *,
    limit: float | None = None,
    title: str = "",
) -> Figure:
    """The static twin of `gallery.gallery_figure`; the same arguments."""
    panels, end, facts = gallery_panels(clean, attacked, limit)
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    figure = new_figure(2.4 * columns + 0.9, 0.7 + 2.4 * rows, title, facts)
    axes = figure.subplots(
        rows, columns, subplot_kw={"projection": "3d"}, squeeze=False
    ).ravel()
    for panel, axis in zip(panels, axes, strict=False):
        dots = draw_cloud(
            axis, panel.points, c=panel.moved, cmap="cividis", vmin=0, vmax=end, s=2
        )
        for cloud in (panel.added, panel.removed):
            if len(cloud):
                draw_cloud(axis, cloud, color=palette.VERMILLION, s=4)
        axis.set_title(panel.title, fontsize=9)
        axis.set_axis_off()
        axis.set_box_aspect((1, 1, 1), zoom=1.5)  # no labels need the room
    for axis in axes[len(panels) :]:
        axis.remove()  # hidden, its extent would be None, on which the layout stumbles
    used = list(axes[: len(panels)])
    figure.colorbar(dots, ax=used, label="moved by (radius = 1)", shrink=0.6)
    return figure
