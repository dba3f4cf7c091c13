"""Data sets: one call, one shape, one frame.

`load_dataset("objects", "test")` needs nothing; the others are read from a folder.
"""

import inspect
import os
from typing import Any

from mrpd_tutorial.checks import check_choice
from mrpd_tutorial.data.base import FRAME, SPLITS, PointDataset

__all__ = ["DATASETS", "FRAME", "SPLITS", "PointDataset", "load_dataset"]

DATASETS = ("objects", "shapes", "modelnet40", "scanobjectnn", "modelnet40-c")


def load_dataset(
    name: str, split: str, root: str | os.PathLike | None = None, **options: Any
) -> PointDataset:
    """Load a data set.

    Args:
        name: "objects" (real objects that travel with the package), "shapes"
            (procedural), or, from a folder, "modelnet40", "scanobjectnn" or
            "modelnet40-c".
        split: "train", "val" or "test"; val is cut from train, never from test.
        root: the folder, for those that have one; None looks in $MRPD_DATA_DIR.
        options: keyword arguments of the data set's own loader, such as num_points,
            seed, variant (scanobjectnn), corruption and severity (modelnet40-c).

    Returns:
        Clouds in the package's frame, labels, class names.

    Raises:
        ValueError: on an unknown name, split or option, or on missing or damaged files,
            naming the layout expected, the file at fault and what was found in it.
    """
    check_choice("name", name, DATASETS)
    check_choice("split", split, SPLITS)
    # Imported here, so that one data set's needs are nobody else's.
    if name == "objects":
        from mrpd_tutorial.data.embedded import load_embedded_objects as loader
    elif name == "shapes":
        from mrpd_tutorial.data.embedded import load_shapes as loader
    elif name == "modelnet40":
        from mrpd_tutorial.data.modelnet import load_modelnet40 as loader
    elif name == "scanobjectnn":
        from mrpd_tutorial.data.scanobjectnn import load_scanobjectnn as loader
    else:
        from mrpd_tutorial.data.modelnet40c import load_modelnet40c as loader

    known = [
        p for p in inspect.signature(loader).parameters if p not in ("split", "root")
    ]
    for option in options:
        if option not in known:
            raise ValueError(
                f"{name} has no option {option!r}; its options are {', '.join(known)}."
            )
    if "root" not in inspect.signature(loader).parameters:
        if root is not None:
            raise ValueError(
                f"{name} travels with the package and takes no root; received {root}."
            )
        return loader(split, **options)
    return loader(split, root, **options)
