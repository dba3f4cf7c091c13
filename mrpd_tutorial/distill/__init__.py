"""MRPD: distil three teachers into a few prompts of a frozen student.

In the order of reading: `config` (every setting, the paper's and the released ones),
`features` (what lies below the prompts) and `cache`, `objective` (what is learned, and
the loss), `training` (the loop), `folder` (its files), `recipe` (`distill` itself),
`hardened` (the outcome) and `cost` (what it costs).
"""

from mrpd_tutorial.distill.config import TEACHERS, DistillConfig
from mrpd_tutorial.distill.cost import InferenceCost, inference_cost
from mrpd_tutorial.distill.folder import write_history
from mrpd_tutorial.distill.hardened import HardenedStudent
from mrpd_tutorial.distill.recipe import (
    DistillInterrupted,
    DistillResult,
    StopRequested,
    distill,
)

__all__ = [
    "TEACHERS",
    "DistillConfig",
    "DistillInterrupted",
    "DistillResult",
    "HardenedStudent",
    "InferenceCost",
    "StopRequested",
    "distill",
    "inference_cost",
    "write_history",
]
