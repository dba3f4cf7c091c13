"""Corruptions: damage without an attacker, in five severities; see corruptions/base.py.

Classes, and two tuples of them: the benchmarks ModelNet40-C (15) and PointCloud-C (7).
"""

from mrpd_tutorial.corruptions.base import (
    SEVERITIES,
    Corruption,
    normalise_to_cube,
)
from mrpd_tutorial.corruptions.deformations import (
    FreeFormDeformation,
    InverseRBFDeformation,
    RBFDeformation,
)
from mrpd_tutorial.corruptions.density import (
    Cutout,
    DensityDecrease,
    DensityIncrease,
    DropGlobal,
    DropLocal,
)
from mrpd_tutorial.corruptions.error import (
    POINTCLOUD_C_DGCNN_ERRORS,
    corruption_error,
    mean_corruption_error,
    relative_mean_corruption_error,
)
from mrpd_tutorial.corruptions.hidden import visible_points
from mrpd_tutorial.corruptions.noise import (
    AddGlobal,
    AddLocal,
    BackgroundNoise,
    GaussianNoise,
    ImpulseNoise,
    Jitter,
    UniformNoise,
    Upsampling,
)
from mrpd_tutorial.corruptions.transforms import (
    Rotate,
    Rotation,
    Scale,
    Shear,
    Stretch,
)
from mrpd_tutorial.corruptions.views import (
    LiDAR,
    Occlusion,
    PartialView,
    RainSnow,
    SensorNoise,
    viewpoint,
)

__all__ = [
    "MODELNET40_C",
    "POINTCLOUD_C",
    "POINTCLOUD_C_DGCNN_ERRORS",
    "SENSOR",
    "SEVERITIES",
    "AddGlobal",
    "AddLocal",
    "BackgroundNoise",
    "Corruption",
    "Cutout",
    "DensityDecrease",
    "DensityIncrease",
    "DropGlobal",
    "DropLocal",
    "FreeFormDeformation",
    "GaussianNoise",
    "ImpulseNoise",
    "InverseRBFDeformation",
    "Jitter",
    "LiDAR",
    "Occlusion",
    "PartialView",
    "RBFDeformation",
    "RainSnow",
    "Rotate",
    "Rotation",
    "Scale",
    "SensorNoise",
    "Shear",
    "Stretch",
    "UniformNoise",
    "Upsampling",
    "corruption_error",
    "mean_corruption_error",
    "normalise_to_cube",
    "relative_mean_corruption_error",
    "viewpoint",
    "visible_points",
]

MODELNET40_C = (
    Occlusion,
    LiDAR,
    DensityIncrease,
    DensityDecrease,
    Cutout,
    UniformNoise,
    GaussianNoise,
    ImpulseNoise,
    Upsampling,
    BackgroundNoise,
    Rotation,
    Shear,
    FreeFormDeformation,
    RBFDeformation,
    InverseRBFDeformation,
)
"""The 15 corruptions of ModelNet40-C, in the order of its paper's table."""

POINTCLOUD_C = (Scale, Jitter, Rotate, DropGlobal, DropLocal, AddGlobal, AddLocal)
"""The 7 corruptions of PointCloud-C."""

SENSOR = (SensorNoise, PartialView, RainSnow)
"""What real sensors add; no benchmark, constants of this package."""
