"""Figures: interactive (Plotly), each with a static twin (matplotlib) of the same name.

`clouds`, `gallery`, `charts` and `robustness` make Plotly figures; the modules named
`static...` hold their twins. `show` displays both at once in a notebook, `open3d_image`
renders with Open3D.
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
from mrpd_tutorial.plotting.explorer import (
    dashboard_figure,
    explorer_figure,
    gate_figure,
)
from mrpd_tutorial.plotting.gallery import gallery_figure
from mrpd_tutorial.plotting.open3d_live import open3d_window
from mrpd_tutorial.plotting.open3d_view import open3d_image
from mrpd_tutorial.plotting.robustness import (
    class_figure,
    cost_figure,
    robustness_figure,
    transfer_figure,
)

__all__ = [
    "accuracy_bars",
    "attack_figure",
    "class_figure",
    "cloud_figure",
    "cost_figure",
    "curve_figure",
    "dashboard_figure",
    "depth_map_figure",
    "explorer_figure",
    "gallery_figure",
    "gate_figure",
    "open3d_image",
    "open3d_window",
    "opinions_figure",
    "robustness_figure",
    "show",
    "static_twin",
    "training_curves",
    "transfer_figure",
    "weight_curves",
]
