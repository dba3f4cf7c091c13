"""Which data sets are here: where, how many clouds, how evenly over the classes."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mrpd_tutorial.data.base import SPLITS, cut_validation
from mrpd_tutorial.data.embedded import load_embedded_objects
from mrpd_tutorial.data.modelnet import find_modelnet40, modelnet40_labels
from mrpd_tutorial.data.modelnet40c import (
    CORRUPTIONS,
    find_modelnet40c,
    modelnet40c_file,
    modelnet40c_labels,
)
from mrpd_tutorial.data.scanobjectnn import (
    CLASS_NAMES,
    VARIANTS,
    find_scanobjectnn,
    scanobjectnn_file,
    scanobjectnn_labels,
)

__all__ = ["DatasetRow", "dataset_rows"]


@dataclass(frozen=True, kw_only=True)
class DatasetRow:
    """One data set in the listing.

    Args:
        name: as `load_dataset` calls it, a variant in brackets.
        where: the folder, or in words; None if it was not found.
        splits: split -> class name -> number of clouds.
        note: what else there is to say, or why it was not found or cannot be read.
    """

    name: str
    where: str | None = None
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    note: str = ""

    def clouds(self, split: str) -> int:
        """Number of clouds in a split."""
        return sum(self.splits[split].values())

    def balance(self, split: str) -> str:
        """How evenly the classes are filled: "10 (bowl) to 100 (chair) a class"."""
        counts = self.splits[split]
        low, high = min(counts, key=counts.get), max(counts, key=counts.get)
        if counts[low] == counts[high]:
            return f"{counts[low]} a class"
        return f"{counts[low]} ({low}) to {counts[high]} ({high}) a class"

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.where or 'not found'}"]
        for split, counts in self.splits.items():
            lines.append(
                f"  {split:5} {self.clouds(split):6} clouds, {len(counts)} classes, "
                f"{self.balance(split)}"
            )
        lines += [f"  {line}" for line in self.note.splitlines()]
        return "\n".join(lines)


def dataset_rows(root: str | os.PathLike | None = None) -> list[DatasetRow]:
    """List all data sets; only labels are read, and a broken one says what is wrong.

    Args:
        root: folder of data sets; None looks in $MRPD_DATA_DIR.

    Returns:
        One row a data set, or a variant of one; never raises over a missing one.
    """
    rows = [_guarded("objects", _objects), _shapes()]
    for name, make in (
        ("modelnet40", _modelnet40),
        ("scanobjectnn", _scanobjectnn),
        ("modelnet40-c", _modelnet40c),
    ):
        made = _guarded(name, make, root)
        rows += made if isinstance(made, list) else [made]
    return rows


def _guarded(
    name: str, make: Callable[..., DatasetRow | list[DatasetRow]], *arguments: object
) -> DatasetRow | list[DatasetRow]:
    try:
        return make(*arguments)
    except (ValueError, FileNotFoundError) as error:
        return DatasetRow(name=name, note=str(error))


def _counts(labels: Tensor, names: tuple[str, ...]) -> dict[str, int]:
    counts = torch.bincount(labels, minlength=len(names)).tolist()
    return dict(zip(names, counts, strict=True))


def _splits(
    train: Tensor, test: Tensor, names: tuple[str, ...]
) -> dict[str, dict[str, int]]:
    parts = {split: train[cut_validation(train, split)] for split in ("train", "val")}
    return {split: _counts(part, names) for split, part in parts.items()} | {
        "test": _counts(test, names)
    }


def _objects() -> DatasetRow:
    return DatasetRow(
        name="objects",
        where="with the package",
        splits={s: load_embedded_objects(s).class_counts() for s in SPLITS},
        note="real objects, split by object; data/README.md names their sources",
    )


def _shapes() -> DatasetRow:
    from mrpd_tutorial.data.shapes import SHAPE_CLASSES

    return DatasetRow(
        name="shapes",
        where="made on demand",
        note=f"{len(SHAPE_CLASSES)} procedural classes, as many clouds as asked",
    )


def _modelnet40(root: str | os.PathLike | None) -> DatasetRow:
    folder = find_modelnet40(root)
    try:
        train, names = modelnet40_labels(folder, "train")
        test, _ = modelnet40_labels(folder, "test")
        splits = _splits(train, test, names)
    except ValueError as error:
        return DatasetRow(name="modelnet40", where=str(folder), note=str(error))
    return DatasetRow(name="modelnet40", where=str(folder), splits=splits)


def _scanobjectnn(root: str | os.PathLike | None) -> list[DatasetRow]:
    folder = find_scanobjectnn(root)
    rows = []
    for variant in VARIANTS:
        files = [scanobjectnn_file(folder, variant, s) for s in ("train", "test")]
        if not any(path.exists() for path in files):
            continue
        row = {"name": f"scanobjectnn ({variant})", "where": str(files[0].parent)}
        try:
            train, test = (scanobjectnn_labels(path) for path in files)
            rows.append(DatasetRow(**row, splits=_splits(train, test, CLASS_NAMES)))
        except ValueError as error:
            rows.append(DatasetRow(**row, note=str(error)))
    if not rows:
        note = f"none of its variants ({', '.join(VARIANTS)}) has a file here"
        rows.append(DatasetRow(name="scanobjectnn", where=str(folder), note=note))
    return rows


def _modelnet40c(root: str | os.PathLike | None) -> DatasetRow:
    folder = find_modelnet40c(root)
    wanted = [(name, severity) for name in CORRUPTIONS for severity in range(1, 6)]
    here = [c for c in wanted if modelnet40c_file(folder, *c).is_file()]
    note = f"{len(here)} of {len(wanted)} corrupted files"
    try:
        labels, names = modelnet40c_labels(folder)
    except ValueError as error:
        note = f"{note}\n{error}"
        return DatasetRow(name="modelnet40-c", where=str(folder), note=note)
    splits = {"test": _counts(labels, names)}
    return DatasetRow(name="modelnet40-c", where=str(folder), splits=splits, note=note)
