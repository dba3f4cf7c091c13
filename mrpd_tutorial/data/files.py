"""Reading other people's files: each failure names the file and what was in it."""

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from mrpd_tutorial.geometry import normalise
from mrpd_tutorial.runtime import embedded_data

__all__ = [
    "clouds_from_array",
    "describe_folder",
    "find_folder",
    "labels_from_array",
    "normals_from_array",
    "read_h5",
    "read_lines",
    "read_npy",
]


def describe_folder(folder: Path, limit: int = 8) -> str:
    """What lies in a folder, in a few words."""
    if not folder.exists():
        return "there is no such folder"
    if not folder.is_dir():
        return "it is a file, not a folder"
    names = sorted(
        entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir()
    )
    if not names:
        return "the folder is empty"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"the folder holds {', '.join(names[:limit])}{more}"


def find_folder(
    title: str,
    root: str | os.PathLike | None,
    names: Sequence[str],
    recognise: Callable[[Path], bool],
    layout: str,
) -> Path:
    """Find a data set's folder: root itself, or a folder of one of the usual names.

    Args:
        title: the data set, for the message.
        root: the folder, or one that holds it; None looks in $MRPD_DATA_DIR and then
            in the package's data folder.
        names: usual folder names, glob patterns allowed, best first.
        recognise: whether a folder holds this data set.
        layout: the layout expected, for the message.

    Raises:
        ValueError: naming the layout, where was looked and what was found there.
    """
    if root is not None:
        places = [Path(root)]
    else:
        given = os.environ.get("MRPD_DATA_DIR")
        places = ([Path(given)] if given else []) + [embedded_data()]
    near: list[Path] = []  # folders of the right name that hold something else
    for place in places:
        candidates = [place] if root is not None else []
        for name in names:
            candidates += sorted(p for p in place.glob(name) if p.is_dir())
        for candidate in candidates:
            if candidate.is_dir() and recognise(candidate):
                return candidate
        near += [candidate for candidate in candidates if candidate != place]
    looked = "; ".join(f"{p} ({describe_folder(p)})" for p in [*places, *near])
    advice = (
        "Pass the right folder as root."
        if root is not None
        else "Pass the folder as root, or set MRPD_DATA_DIR to the folder around it."
    )
    raise ValueError(
        f"{title} was not found. Expected this layout:\n{layout}\nLooked in {looked}. "
        f"{advice} data/README.md says where it is published."
    )


def _require_file(path: Path, why: str = "") -> None:
    if not path.is_file():
        raise ValueError(
            f"{path} is missing{why}; {describe_folder(path.parent)}. "
            "Unpack the data set again, or correct the folder."
        )


def read_lines(path: Path) -> list[str]:
    """The non-empty lines of a text file, stripped.

    Raises:
        ValueError: if the file is missing, not text, or has no such line.
    """
    _require_file(path)
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path} is not readable as text: {error}.") from error
    lines = [line for line in lines if line]
    if not lines:
        raise ValueError(f"{path} is empty; expected one entry a line.")
    return lines


def read_h5(path: Path, keys: Collection[str], why: str = "") -> dict[str, np.ndarray]:
    """Read arrays out of an HDF5 file.

    Raises:
        ValueError: if the file is missing, truncated, or lacks an array.
    """
    _require_file(path, why)
    try:
        with h5py.File(path, "r") as file:
            missing = [k for k in keys if not isinstance(file.get(k), h5py.Dataset)]
            if missing:
                raise ValueError(
                    f"{path} must hold the arrays {', '.join(keys)}; "
                    f"{', '.join(missing)} missing, found {', '.join(file) or 'none'}."
                )
            return {key: file[key][...] for key in keys}
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(
            f"{path} is not a readable HDF5 file of {path.stat().st_size} bytes "
            f"({error}). It may be truncated: fetch it again."
        ) from error


def read_npy(path: Path, why: str = "") -> np.ndarray:
    """Read a .npy file, pickles refused.

    Raises:
        ValueError: if the file is missing, truncated, or no such array.
    """
    _require_file(path, why)
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"{path} is not a readable .npy file of {path.stat().st_size} bytes "
            f"({error}). It may be truncated: fetch it again."
        ) from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} must hold one array, not an .npz archive.")
    return array


def clouds_from_array(array: np.ndarray, path: Path, num_points: int | None) -> Tensor:
    """Clouds in the package's frame from an array of a file.

    Args:
        array: expected (N, P, 3) floats of any width, finite.
        path: the file, for the messages.
        num_points: how many points to keep, the first ones as in published code (their
            order in these files is random); None keeps all.

    Returns:
        (N, num_points, 3) float32, each cloud centred and scaled to the unit sphere.

    Raises:
        ValueError: naming the file, on another shape, no cloud, too few points, NaN.
    """
    _check_cloud_array(array, path, "points", num_points)
    # A copy in the machine's byte order: torch takes no other.
    points = torch.from_numpy(np.array(array[:, :num_points], dtype=np.float32))
    return normalise(points)


def normals_from_array(array: np.ndarray, path: Path, num_points: int | None) -> Tensor:
    """Normals (N, num_points, 3) float32 from an array of a file, checked alike."""
    _check_cloud_array(array, path, "normals", num_points)
    return torch.from_numpy(np.array(array[:, :num_points], dtype=np.float32))


def _check_cloud_array(
    array: np.ndarray, path: Path, what: str, num_points: int | None
) -> None:
    if num_points is not None and num_points < 1:
        raise ValueError(f"num_points must be at least 1; received {num_points}.")
    found = f"{array.dtype} {array.shape}"
    if array.dtype.kind != "f" or array.ndim != 3 or array.shape[-1] != 3:
        hint = ""
        if array.ndim == 3 and array.shape[1] == 3:
            hint = " The channels seem to come first."
        raise ValueError(
            f"{path}: {what} must be floats of shape (N, P, 3); found {found}.{hint}"
        )
    if 0 in array.shape:
        raise ValueError(f"{path}: {what} are empty; found {found}.")
    if num_points is not None and array.shape[1] < num_points:
        raise ValueError(
            f"{path}: clouds have {array.shape[1]} points, but num_points is "
            f"{num_points}. Ask for num_points={array.shape[1]} or fewer."
        )
    finite = np.isfinite(array).all(axis=(1, 2))
    if not finite.all():
        rows = np.flatnonzero(~finite)
        raise ValueError(
            f"{path}: {what} must be finite; NaN or infinite numbers in {len(rows)} of "
            f"{len(array)} clouds, the first in row {rows[0]}. Fetch the file again."
        )
    largest = max(abs(float(array.min())), abs(float(array.max())))
    if largest > 1e12:  # squares of such numbers leave float32
        raise ValueError(
            f"{path}: {what} must be coordinates; found a number of size "
            f"{largest:.1e}. Fetch the file again."
        )


def labels_from_array(
    array: np.ndarray, path: Path, num_classes: int, rows: int | None = None
) -> Tensor:
    """Labels (N,) int64 from an array of a file.

    Args:
        array: expected (N,) or (N, 1), whole numbers 0..num_classes-1.
        path: the file, for the messages.
        num_classes: how many classes there are.
        rows: how many clouds the labels are for, if known.

    Raises:
        ValueError: naming the file, on another shape, type, length or range.
    """
    whole = array.dtype.kind in "iu" or (
        array.dtype.kind == "f" and bool((array == np.floor(array)).all())
    )
    shaped = array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)
    if not whole or not shaped or array.size == 0:
        raise ValueError(
            f"{path}: labels must be whole numbers of shape (N, 1) or (N,), N >= 1; "
            f"found {array.dtype} {array.shape}."
        )
    if rows is not None and len(array) != rows:
        raise ValueError(f"{path}: {len(array)} labels for {rows} clouds.")
    low, high = array.min(), array.max()
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"{path}: labels must lie in 0..{num_classes - 1} for the {num_classes} "
            f"classes; found {low:g}..{high:g}."
        )
    return torch.from_numpy(array.reshape(-1).astype(np.int64))
