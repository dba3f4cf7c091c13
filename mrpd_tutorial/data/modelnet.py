"""ModelNet40 [Wu et al., 1406.5670], in the two forms everybody downloads.

HDF5: `modelnet40_ply_hdf5_2048`, from PointNet [Qi et al., 1612.00593]. Text:
`modelnet40_normal_resampled`, from PointNet++ [Qi et al., 1706.02413]. In both y is up.
Test is the published test split, untouched; val is cut from train by seed.
"""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mrpd_tutorial.checks import check_choice
from mrpd_tutorial.data.base import SPLITS, PointDataset, cut_validation
from mrpd_tutorial.data.files import (
    clouds_from_array,
    find_folder,
    labels_from_array,
    normals_from_array,
    read_h5,
    read_lines,
)

__all__ = ["LAYOUT", "find_modelnet40", "load_modelnet40", "modelnet40_labels"]

LAYOUT = """\
  modelnet40_ply_hdf5_2048/     (another name or number of points will do)
    shape_names.txt             40 lines, one class each
    train_files.txt, test_files.txt      one .h5 name a line
    ply_data_train0.h5, ...     data (N, P, 3) floats, label (N, 1) 0..39
or
  modelnet40_normal_resampled/
    modelnet40_shape_names.txt  40 lines, one class each
    modelnet40_train.txt, modelnet40_test.txt      one cloud a line: airplane_0001
    airplane/airplane_0001.txt  lines x,y,z,nx,ny,nz"""

_NAMES = (
    "modelnet40_ply_hdf5_2048",
    "modelnet40_ply_hdf5_*",
    "modelnet40_normal_resampled",
    "modelnet40*",
    "ModelNet40*",
)
_TEXT_NAMES = "modelnet40_shape_names.txt"


def _is_text(folder: Path) -> bool:
    return any(
        (folder / name).is_file()
        for name in (_TEXT_NAMES, "modelnet40_train.txt", "modelnet40_test.txt")
    )


def _is_hdf5(folder: Path) -> bool:
    lists = ("shape_names.txt", "train_files.txt", "test_files.txt")
    if (folder / "label.npy").is_file():  # ModelNet40-C
        return False
    return any((folder / name).is_file() for name in lists)


def find_modelnet40(root: str | os.PathLike | None = None) -> Path:
    """The folder of ModelNet40: root, a folder in it, or one in $MRPD_DATA_DIR."""
    return find_folder(
        "ModelNet40", root, _NAMES, lambda f: _is_hdf5(f) or _is_text(f), LAYOUT
    )


def _class_names(folder: Path) -> tuple[str, ...]:
    path = folder / (_TEXT_NAMES if _is_text(folder) else "shape_names.txt")
    names = read_lines(path)
    if len(set(names)) != len(names):
        raise ValueError(f"{path}: class names must differ from each other.")
    return tuple(names)


def _chunks(folder: Path, part: str) -> list[Path]:
    """The .h5 files a list names; its lines may carry somebody else's folder."""
    listing = folder / f"{part}_files.txt"
    return [
        folder / line.replace("\\", "/").split("/")[-1] for line in read_lines(listing)
    ]


def _listed_clouds(
    folder: Path, part: str, class_names: tuple[str, ...]
) -> tuple[list[str], Tensor]:
    """Cloud ids of the text form, and their labels, which are part of the ids."""
    listing = folder / f"modelnet40_{part}.txt"
    ids = read_lines(listing)
    index = {name: label for label, name in enumerate(class_names)}
    labels = []
    for cloud in ids:
        name = cloud.rpartition("_")[0]
        if name not in index:
            raise ValueError(
                f"{listing}: each line must be a class of {_TEXT_NAMES}, an underscore "
                f"and a number, like airplane_0001; found {cloud!r}."
            )
        labels.append(index[name])
    return ids, torch.tensor(labels)


def modelnet40_labels(folder: Path, part: str) -> tuple[Tensor, tuple[str, ...]]:
    """Labels of the published `part`, "train" or "test", without reading any cloud."""
    class_names = _class_names(folder)
    if _is_text(folder):
        return _listed_clouds(folder, part, class_names)[1], class_names
    why = f", but {part}_files.txt lists it"
    labels = [
        labels_from_array(read_h5(p, ["label"], why)["label"], p, len(class_names))
        for p in _chunks(folder, part)
    ]
    return torch.cat(labels), class_names


def _read_hdf5(
    folder: Path,
    part: str,
    num_classes: int,
    num_points: int | None,
    normals: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    points, labels, directions = [], [], []
    for path in _chunks(folder, part):
        keys = ["data", "label", "normal"] if normals else ["data", "label"]
        arrays = read_h5(path, keys, f", but {part}_files.txt lists it")
        points.append(clouds_from_array(arrays["data"], path, num_points))
        if points[-1].shape[1] != points[0].shape[1]:
            raise ValueError(
                f"{path}: clouds have {points[-1].shape[1]} points, those of the files "
                f"before {points[0].shape[1]}. Pass num_points to take as many of each."
            )
        rows = len(points[-1])
        labels.append(labels_from_array(arrays["label"], path, num_classes, rows))
        if normals:
            directions.append(normals_from_array(arrays["normal"], path, num_points))
    return (
        torch.cat(points),
        torch.cat(labels),
        torch.cat(directions) if normals else None,
    )


def _read_text(path: Path, num_points: int | None) -> np.ndarray:
    """One cloud, (P, 6): x, y, z and the normal."""
    if not path.is_file():
        raise ValueError(
            f"{path} is missing, but the list of clouds names it. Unpack the data set "
            "again."
        )
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty; expected lines x,y,z,nx,ny,nz.")
    try:
        rows = np.loadtxt(
            path, delimiter=",", max_rows=num_points, ndmin=2, dtype=np.float32
        )
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{path} must hold lines x,y,z,nx,ny,nz: {error}. It may be truncated: "
            "unpack the data set again."
        ) from error
    if rows.shape[1] != 6:
        raise ValueError(
            f"{path} must hold lines x,y,z,nx,ny,nz; found {rows.shape[1]} numbers "
            "in a line."
        )
    if num_points is not None and len(rows) < num_points:
        raise ValueError(
            f"{path}: the cloud has {len(rows)} points, but num_points is "
            f"{num_points}. Ask for {len(rows)} or fewer, or unpack the data set again."
        )
    return rows


def _read_texts(
    folder: Path,
    ids: list[str],
    num_points: int | None,
    normals: bool,
) -> tuple[Tensor, Tensor | None]:
    points, directions = [], []
    for cloud in ids:
        path = folder / cloud.rpartition("_")[0] / f"{cloud}.txt"
        rows = _read_text(path, num_points)
        points.append(clouds_from_array(rows[None, :, :3], path, num_points))
        if points[-1].shape[1] != points[0].shape[1]:
            raise ValueError(
                f"{path}: the cloud has {len(rows)} points, those before "
                f"{points[0].shape[1]}. Pass num_points to take as many of each."
            )
        if normals:
            directions.append(normals_from_array(rows[None, :, 3:], path, num_points))
    return torch.cat(points), torch.cat(directions) if normals else None


def load_modelnet40(
    split: str,
    root: str | os.PathLike | None = None,
    *,
    num_points: int | None = 1024,
    normals: bool = False,
    seed: int = 0,
    val_fraction: float = 0.1,
) -> PointDataset:
    """Load ModelNet40.

    Args:
        split: "train", "val" (cut from the published train split) or "test".
        root: the folder, or the folder it lies in; None looks in $MRPD_DATA_DIR.
        num_points: points a cloud, the first ones of the file; None takes all.
        normals: whether to read normals too.
        seed: decides which training clouds are val.
        val_fraction: share of val, of each class.

    Returns:
        The clouds, normalised to the package's frame (y up is the file's own).

    Raises:
        ValueError: naming the layout expected, the file at fault and what was found.
    """
    check_choice("split", split, SPLITS)
    folder = find_modelnet40(root)
    part = "test" if split == "test" else "train"
    class_names = _class_names(folder)
    ids = None
    if _is_text(folder):
        ids, labels = _listed_clouds(folder, part, class_names)
        if split != "test":
            chosen = cut_validation(labels, split, seed, val_fraction)
            ids, labels = [ids[i] for i in chosen.tolist()], labels[chosen]
        points, directions = _read_texts(folder, ids, num_points, normals)
        ids = tuple(ids)
    else:
        points, labels, directions = _read_hdf5(
            folder, part, len(class_names), num_points, normals
        )
        if split != "test":
            chosen = cut_validation(labels, split, seed, val_fraction)
            points, labels = points[chosen], labels[chosen]
            directions = None if directions is None else directions[chosen]
    return PointDataset(
        name="modelnet40",
        split=split,
        points=points,
        labels=labels,
        class_names=class_names,
        normals=directions,
        ids=ids,
    )
