"""The embedded data set `objects`: clouds of real things, made by many hands.

Sampled from openly licensed models by scripts/build_objects.py; data/CREDITS_objects.md
names the author and licence of each.
"""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mrpd_tutorial.checks import check_choice
from mrpd_tutorial.data.base import FRAME, SPLITS, PointDataset
from mrpd_tutorial.runtime import embedded_data

__all__ = ["decode_normals", "load_objects", "object_index"]

_REMEDY = (
    "Restore it with `git checkout -- data`, install the package again, or build it "
    "with scripts/build_objects.py."
)


def load_objects(split: str) -> PointDataset:
    """Load one split of the embedded objects: 2048 points and normals a cloud.

    The split is by object: whatever looks alike (the same tree with and without snow)
    is in one split together, and val is a part of its own, never taken from test.

    Args:
        split: "train" (about 50 % of each class), "val" (15 %) or "test" (35 %).

    Returns:
        The clouds; captions are the catalogue's names, ids the catalogue's ids.

    Raises:
        ValueError: on another split, or if a file is missing or damaged.

    Example:
        >>> data = load_objects("test")
        >>> data.points.shape[1:], "chair" in data.class_names
        (torch.Size([2048, 3]), True)
    """
    check_choice("split", split, SPLITS)
    index = object_index()
    stored = _read_clouds(embedded_data() / "objects.npz", index["sha256"])
    rows = [i for i, entry in enumerate(index["objects"]) if entry["split"] == split]
    entries = [index["objects"][i] for i in rows]
    names = tuple(index["class_names"])
    points = torch.from_numpy(stored["points"][rows].astype(np.float32)) / 32767
    return PointDataset(
        name="objects",
        split=split,
        points=points,
        labels=torch.tensor([names.index(entry["class"]) for entry in entries]),
        class_names=names,
        frame=FRAME,
        normals=decode_normals(torch.from_numpy(stored["normals"][rows])),
        captions=tuple(entry["name"].lower() for entry in entries),
        ids=tuple(entry["id"] for entry in entries),
    )


def object_index() -> dict:
    """What is known of every object: class, split, name, author, licence, look-alikes.

    Returns:
        data/objects.json: "objects" (one dict each, in the order of the clouds in
        objects.npz), "class_names", "also_in_modelnet40", "package", "sha256".

    Raises:
        ValueError: if the file is missing or damaged.
    """
    path = embedded_data() / "objects.json"
    try:
        index = json.loads(path.read_text("utf-8"))
        index["sha256"], index["class_names"], index["objects"][0]["split"]
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist. {_REMEDY}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, LookupError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}). {_REMEDY}"
        ) from error
    return index


def _read_clouds(path: Path, expected: str) -> dict[str, np.ndarray]:
    """The arrays of objects.npz, if the file is the one the index was written for."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist. {_REMEDY}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} is damaged: expected SHA-256 {expected[:12]}..., as objects.json "
            f"says; found {found[:12]}... in {len(content):,} bytes. {_REMEDY}"
        )
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in ("points", "normals")}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not readable ({error}). {_REMEDY}") from error


def decode_normals(codes: Int[Tensor, "*B P 2"]) -> Float[Tensor, "*B P 3"]:
    """Unit vectors from their place on an octahedron that is unfolded to a square.

    The inner half of the square (|u| + |v| <= 1) is the upper pyramid, z >= 0; the four
    corners, folded back along its edges, are the lower one. Error below one degree.

    Args:
        codes: (..., P, 2) int8, -127..127 for -1..1.

    Returns:
        (..., P, 3) float32.

    Example:
        >>> decode_normals(torch.tensor([[0, 0], [127, 127]], dtype=torch.int8))
        tensor([[ 0.,  0.,  1.],
                [ 0.,  0., -1.]])
    """
    square = codes.float() / 127
    z = 1 - square.abs().sum(-1, keepdim=True)
    sign = torch.where(square >= 0, 1.0, -1.0)
    folded = (1 - square.abs().flip(-1)) * sign
    vectors = torch.cat([torch.where(z >= 0, square, folded), z], dim=-1)
    return torch.nn.functional.normalize(vectors, dim=-1)
