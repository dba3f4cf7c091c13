"""Figures: interactive (Plotly), each with a static twin (matplotlib) of the same name.

`clouds` and `charts` make Plotly figures, `static` and `static_charts` their twins,
`show` displays both at once in a notebook, `open3d_image` renders with Open3D.
"""

from mrpd_tutorial.plotting.charts import (
    accuracy_bars,
    curve_figure,
    opinions_figure,
    training_curves,
    weight_curves,
)
from mrpd_tutorial.plotting.clouds import (
    attack_figure,
    cloud_figure,
    depth_map_figure,
)
from mrpd_tutorial.plotting.display import show, static_twin
from mrpd_tutorial.plotting.open3d_view import open3d_image

__all__ = [
    "accuracy_bars",
    "attack_figure",
    "cloud_figure",
    "curve_figure",
    "depth_map_figure",
    "open3d_image",
    "opinions_figure",
    "show",
    "static_twin",
    "training_curves",
    "weight_curves",
]
