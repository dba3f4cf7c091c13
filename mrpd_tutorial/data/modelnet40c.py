"""ModelNet40-C [Sun et al., 2201.12296]: ModelNet40's test clouds, damaged in 15 ways.

A folder of .npy files: one for each corruption and severity, one of labels for all. The
axes are ModelNet40's (y up). Damaged clouds differ in their number of points, and added
points stand at the end: fewer points are therefore drawn at random, not cut off.
"""

import os
from pathlib import Path

from torch import Tensor

from mrpd_tutorial.checks import check_choice
from mrpd_tutorial.data.base import PointDataset
from mrpd_tutorial.data.files import (
    clouds_from_array,
    find_folder,
    labels_from_array,
    read_lines,
    read_npy,
)

__all__ = [
    "CORRUPTIONS",
    "MODELNET40_CLASSES",
    "find_modelnet40c",
    "load_modelnet40c",
    "modelnet40c_file",
    "modelnet40c_labels",
]

CORRUPTIONS = (
    "occlusion",
    "lidar",
    "density_inc",
    "density",
    "cutout",
    "uniform",
    "gaussian",
    "impulse",
    "upsampling",
    "background",
    "rotation",
    "shear",
    "distortion",
    "distortion_rbf",
    "distortion_rbf_inv",
)

# fmt: off
MODELNET40_CLASSES = (
    "airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car",
    "chair", "cone", "cup", "curtain", "desk", "door", "dresser", "flower_pot",
    "glass_box", "guitar", "keyboard", "lamp", "laptop", "mantel", "monitor",
    "night_stand", "person", "piano", "plant", "radio", "range_hood", "sink", "sofa",
    "stairs", "stool", "table", "tent", "toilet", "tv_stand", "vase", "wardrobe",
    "xbox",
)
# fmt: on
"""The class names in the order of the labels, which these files do not carry."""

LAYOUT = """\
  modelnet40_c/
    label.npy                   (N,) or (N, 1), 0..39
    data_original.npy           (N, P, 3), undamaged
    data_background_1.npy       (N, P, 3), severity 1 of 5; 15 corruptions in all"""


def find_modelnet40c(root: str | os.PathLike | None = None) -> Path:
    """The folder that holds label.npy and the data_*.npy files."""
    return find_folder(
        "ModelNet40-C",
        root,
        ("modelnet40_c", "[Mm]odel[Nn]et40[-_][Cc]"),
        lambda f: (f / "label.npy").is_file() or any(f.glob("data_*_[1-5].npy")),
        LAYOUT,
    )


def modelnet40c_file(folder: Path, corruption: str, severity: int | None) -> Path:
    """The file of one corruption; "original" has no severity."""
    check_choice("corruption", corruption, (*CORRUPTIONS, "original"))
    if corruption == "original":
        if severity is not None:
            raise ValueError(
                f'"original" has no severity; received {severity}. Leave it out.'
            )
        return folder / "data_original.npy"
    check_choice("severity", severity, (1, 2, 3, 4, 5))
    return folder / f"data_{corruption}_{severity}.npy"


def modelnet40c_labels(folder: Path) -> tuple[Tensor, tuple[str, ...]]:
    """The labels all corruptions share, and the class names."""
    listing = folder / "shape_names.txt"
    names = tuple(read_lines(listing)) if listing.exists() else MODELNET40_CLASSES
    path = folder / "label.npy"
    return labels_from_array(read_npy(path), path, len(names)), names


def load_modelnet40c(
    split: str = "test",
    root: str | os.PathLike | None = None,
    *,
    corruption: str = "original",
    severity: int | None = None,
    num_points: int | None = None,
) -> PointDataset:
    """Load one corruption of ModelNet40-C.

    Args:
        split: "test"; there is no other (nothing is ever trained on corruptions).
        root: the folder, or the folder it lies in; None looks in $MRPD_DATA_DIR.
        corruption: a name in `CORRUPTIONS`, or "original".
        severity: 1..5; None for "original". For occlusion and lidar these are five
            directions of view, not degrees.
        num_points: points a cloud, a fixed random choice; None takes all.

    Returns:
        The clouds, normalised to the package's frame after the damage.

    Raises:
        ValueError: naming the layout expected, the file at fault and what was found.
    """
    check_choice("split", split, ("test",))
    folder = find_modelnet40c(root)
    path = modelnet40c_file(folder, corruption, severity)
    labels, class_names = modelnet40c_labels(folder)
    points = clouds_from_array(read_npy(path), path, None)
    if len(points) != len(labels):
        raise ValueError(
            f"{path} holds {len(points)} clouds, but label.npy {len(labels)} labels. "
            "Fetch both again."
        )
    if num_points is not None and num_points > points.shape[1]:
        raise ValueError(
            f"{path}: clouds have {points.shape[1]} points, but num_points is "
            f"{num_points}. Ask for fewer, or leave it out."
        )
    name = f"modelnet40-c-{corruption}" + ("" if severity is None else f"-{severity}")
    data = PointDataset(name, split, points, labels, class_names)
    return data if num_points is None else data.subsample_points(num_points)
