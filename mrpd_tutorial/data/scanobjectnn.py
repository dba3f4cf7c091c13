"""ScanObjectNN [Uy et al., 1908.04616]: objects cut out of real indoor scans.

The published HDF5 files, by the names the paper gives the variants. y is up in them
(the authors turn clouds about y, their up-direction); which way an object faces is not
fixed, and parts are missing. Labels follow the authors' `shape_names_ext.txt`.
"""

import os
from pathlib import Path

from torch import Tensor

from mrpd_tutorial.checks import check_choice
from mrpd_tutorial.data.base import SPLITS, PointDataset, cut_validation
from mrpd_tutorial.data.files import (
    clouds_from_array,
    find_folder,
    labels_from_array,
    read_h5,
)

__all__ = [
    "CLASS_NAMES",
    "VARIANTS",
    "find_scanobjectnn",
    "load_scanobjectnn",
    "scanobjectnn_file",
    "scanobjectnn_labels",
]

CLASS_NAMES = (
    "bag",
    "bin",
    "box",
    "cabinet",
    "chair",
    "desk",
    "display",
    "door",
    "shelf",
    "table",
    "bed",
    "pillow",
    "sink",
    "sofa",
    "toilet",
)

VARIANTS = {
    "OBJ_ONLY": "main_split_nobg/{}_objectdataset.h5",
    "OBJ_BG": "main_split/{}_objectdataset.h5",
    "PB_T25": "main_split/{}_objectdataset_augmented25_norot.h5",
    "PB_T25_R": "main_split/{}_objectdataset_augmented25rot.h5",
    "PB_T50_R": "main_split/{}_objectdataset_augmentedrot.h5",
    "PB_T50_RS": "main_split/{}_objectdataset_augmentedrot_scale75.h5",
    "PB_T50_RS_NOBG": "main_split_nobg/{}_objectdataset_augmentedrot_scale75.h5",
}
"""The published names, and their files; the last is the hardest without background."""

LAYOUT = """\
  h5_files/                     (or scanobjectnn/h5_files, or scanobjectnn)
    main_split/                 with background
      training_objectdataset.h5, test_objectdataset.h5      OBJ_BG
      training_objectdataset_augmentedrot_scale75.h5, test_...      PB_T50_RS
    main_split_nobg/            the objects alone
      training_objectdataset.h5, test_objectdataset.h5      OBJ_ONLY
  each with data (N, 2048, 3) floats and label (N,) 0..14"""

_NAMES = (
    "h5_files",
    "[Ss]can[Oo]bject[Nn][Nn]*/h5_files",
    "[Ss]can[Oo]bject[Nn][Nn]*",
)


def find_scanobjectnn(root: str | os.PathLike | None = None) -> Path:
    """The folder that holds main_split or main_split_nobg."""
    return find_folder(
        "ScanObjectNN",
        root,
        _NAMES,
        lambda f: (f / "main_split").is_dir() or (f / "main_split_nobg").is_dir(),
        LAYOUT,
    )


def scanobjectnn_file(folder: Path, variant: str, split: str) -> Path:
    """The published file that holds a split: val is part of the training file."""
    check_choice("variant", variant, VARIANTS)
    part = "test" if split == "test" else "training"
    return folder / VARIANTS[variant].format(part)


def scanobjectnn_labels(path: Path) -> Tensor:
    """Labels of one published file, without reading any cloud."""
    return labels_from_array(read_h5(path, ["label"])["label"], path, len(CLASS_NAMES))


def load_scanobjectnn(
    split: str,
    root: str | os.PathLike | None = None,
    *,
    variant: str = "PB_T50_RS",
    num_points: int | None = 2048,
    seed: int = 0,
    val_fraction: float = 0.1,
) -> PointDataset:
    """Load one variant of ScanObjectNN.

    In the PB variants an object occurs several times, moved and turned, and the files
    do not say where: val shares objects with train there, so that numbers on val are
    higher than on new objects. Test has objects of its own.

    Args:
        split: "train", "val" (cut from the published training file) or "test".
        root: the folder, or the folder it lies in; None looks in $MRPD_DATA_DIR.
        variant: a name in `VARIANTS`.
        num_points: points a cloud, the first ones of the file; None takes all.
        seed: decides which training clouds are val.
        val_fraction: share of val, of each class.

    Returns:
        The clouds, background included where the variant has it, normalised to the
        package's frame.

    Raises:
        ValueError: naming the layout expected, the file at fault and what was found.
    """
    check_choice("split", split, SPLITS)
    check_choice("variant", variant, VARIANTS)
    path = scanobjectnn_file(find_scanobjectnn(root), variant, split)
    arrays = read_h5(path, ["data", "label"], f", which holds {variant}")
    points = clouds_from_array(arrays["data"], path, num_points)
    labels = labels_from_array(arrays["label"], path, len(CLASS_NAMES), len(points))
    if split != "test":
        chosen = cut_validation(labels, split, seed, val_fraction)
        points, labels = points[chosen], labels[chosen]
    return PointDataset(
        name=f"scanobjectnn-{variant}",
        split=split,
        points=points,
        labels=labels,
        class_names=CLASS_NAMES,
    )
