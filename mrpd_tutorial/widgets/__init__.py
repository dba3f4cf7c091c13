"""Things to touch in a notebook: widgets that run the package while you watch.

`AttackExplorer`, `DistillationDashboard` and `GateExplorer` are shown by naming them
at the end of a cell. Each leaves a picture in the notebook for where no kernel runs,
and `static()` shows what it shows now as a figure that stays. They need the extra
`notebooks`: ipywidgets and anywidget.
"""

try:
    import anywidget  # noqa: F401
    import ipywidgets  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"mrpd_tutorial.widgets needs {error.name}, which is not installed. Install "
        "it with `pip install mrpd_tutorial[notebooks]`.",
        name=error.name,
    ) from error

from mrpd_tutorial.widgets.attack_choices import ATTACK_CHOICES, AttackChoice
from mrpd_tutorial.widgets.attack_explorer import AttackExplorer
from mrpd_tutorial.widgets.distillation_dashboard import DistillationDashboard
from mrpd_tutorial.widgets.gate_explorer import GateExplorer

__all__ = [
    "ATTACK_CHOICES",
    "AttackChoice",
    "AttackExplorer",
    "DistillationDashboard",
    "GateExplorer",
]
