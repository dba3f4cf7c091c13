"""What every data set looks like once it is loaded, and how val is cut from train."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from mrpd_tutorial.checks import (
    check_between,
    check_choice,
    check_labels,
    check_points,
    check_same_device,
)
from mrpd_tutorial.data.parts import check_parts, part_ids
from mrpd_tutorial.geometry import normalise
from mrpd_tutorial.runtime import digest, generator

__all__ = ["FRAME", "SPLITS", "PointDataset", "cut_validation"]

FRAME = "right-handed, y up, +z front, centroid 0, largest radius 1"
"""The package's frame; clouds that name it are checked to lie in the unit sphere."""

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class PointDataset:
    """Clouds with their labels, checked when made and never changed afterwards.

    Args:
        name: the data set.
        split: "train", "val" or "test".
        points: (N, P, 3) float32, finite; in the unit sphere if frame is `FRAME`.
        labels: (N,) int64 into class_names.
        class_names: one name a class, in the order of the labels, as published.
        frame: axes, which is up, centring and scale, in words.
        normals: (N, P, 3) float32 unit vectors in the same frame, or None.
        captions: one sentence a cloud, or None.
        ids: one name a cloud that says where it came from, or None.
        part_labels: (N, P) int64, the part each point lies on, or None. Part ids run on
            through the classes: see `class_parts`.
        part_names: for each class the names of its parts, or None.

    Raises:
        ValueError: if the parts do not fit together.

    Example:
        >>> points = torch.tensor([[[0.0, -1, 0], [0.0, 1, 0]]])
        >>> data = PointDataset("mine", "test", points, torch.tensor([0]), ("pole",))
        >>> len(data), data.num_classes
        (1, 1)
    """

    name: str
    split: str
    points: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    frame: str = FRAME
    normals: Tensor | None = None
    captions: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    part_labels: Tensor | None = None
    part_names: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        check_choice("split", self.split, SPLITS)
        check_points(self.points, unit_sphere=self.frame == FRAME)
        if self.points.dtype != torch.float32:
            raise ValueError(
                f"points must be float32; received {self.points.dtype}. "
                "Use points.float()."
            )
        _check_names("class_names", self.class_names)
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError(
                f"class_names must differ from each other; received {self.class_names}."
            )
        check_labels(self.labels, len(self.class_names), len(self.points))
        check_same_device(points=self.points, labels=self.labels)
        if self.normals is not None:
            check_points(self.normals, "normals")
            if (
                self.normals.shape != self.points.shape
                or self.normals.dtype != torch.float32
            ):
                raise ValueError(
                    f"normals must be float32 of the points' shape "
                    f"{tuple(self.points.shape)}; received {self.normals.dtype} "
                    f"{tuple(self.normals.shape)}."
                )
            check_same_device(points=self.points, normals=self.normals)
        for field in ("captions", "ids"):
            value = getattr(self, field)
            if value is not None:
                _check_names(field, value)
                if len(value) != len(self.points):
                    raise ValueError(
                        f"{field} must have one entry for each of the "
                        f"{len(self.points)} clouds; received {len(value)}."
                    )
        if self.part_labels is not None or self.part_names is not None:
            check_parts(self.part_labels, self.part_names, self.points, self.labels)

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        return (
            f"PointDataset({self.name!r}, {self.split!r}: {len(self)} clouds of "
            f"{self.points.shape[1]} points, {self.num_classes} classes)"
        )

    @property
    def num_classes(self) -> int:
        """How many classes the labels may name, whether or not a cloud has them."""
        return len(self.class_names)

    @property
    def class_parts(self) -> tuple[tuple[int, ...], ...] | None:
        """The part ids of each class, or None without part labels.

        Example:
            >>> from mrpd_tutorial.data import load_dataset
            >>> options = {"class_names": ["hammer", "umbrella"], "per_class": 1}
            >>> load_dataset("shapes", "val", parts=True, **options).class_parts
            ((0, 1), (2, 3))
        """
        return None if self.part_names is None else part_ids(self.part_names)

    def class_counts(self) -> dict[str, int]:
        """Number of clouds of each class, classes without any included."""
        counts = torch.bincount(self.labels.cpu(), minlength=self.num_classes).tolist()
        return dict(zip(self.class_names, counts, strict=True))

    def subset(self, indices: Tensor | Sequence[int]) -> "PointDataset":
        """The clouds at `indices`, in that order, with everything that belongs to them.

        Args:
            indices: (M,) row numbers 0..N-1, M >= 1, or a (N,) bool mask.

        Raises:
            ValueError: if nothing is chosen, or a row does not exist.
        """
        chosen = torch.as_tensor(indices, device=self.points.device)
        if chosen.dtype == torch.bool and chosen.shape == (len(self),):
            chosen = chosen.nonzero()[:, 0]
        if chosen.numel() == 0:
            raise ValueError(
                f"indices choose no cloud out of the {len(self)} of {self}."
            )
        if chosen.ndim != 1 or chosen.is_floating_point() or chosen.dtype == torch.bool:
            raise ValueError(
                f"indices must be row numbers of shape (M,) or a bool mask of shape "
                f"({len(self)},); received {chosen.dtype} {tuple(chosen.shape)}."
            )
        if int(chosen.min()) < 0 or int(chosen.max()) >= len(self):
            raise ValueError(
                f"indices must lie in 0..{len(self) - 1}; received "
                f"{int(chosen.min())}..{int(chosen.max())}."
            )
        chosen = chosen.long()
        rows = chosen.tolist()

        def pick(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if values is None else tuple(values[row] for row in rows)

        return replace(
            self,
            points=self.points[chosen],
            labels=self.labels[chosen],
            normals=None if self.normals is None else self.normals[chosen],
            part_labels=None if self.part_labels is None else self.part_labels[chosen],
            captions=pick(self.captions),
            ids=pick(self.ids),
        )

    def subsample_points(self, count: int) -> "PointDataset":
        """Keep `count` points of every cloud and normalise again.

        A fixed random choice (the same places in all clouds, whatever the data), so
        that clouds whose points are stored in some order are thinned evenly. The same
        count always gives the same points; fewer points are a subset of more.

        Args:
            count: points to keep, 1..P. With P, the data set itself is returned.

        Raises:
            ValueError: if clouds have fewer points than that.
        """
        total = self.points.shape[1]
        check_between("count", count, 1, total)
        if count == total:
            return self
        order = torch.randperm(total, generator=generator(0))[:count].sort().values
        order = order.to(self.points.device)
        points = self.points[:, order]
        return replace(
            self,
            points=normalise(points) if self.frame == FRAME else points,
            normals=None if self.normals is None else self.normals[:, order],
            part_labels=(
                None if self.part_labels is None else self.part_labels[:, order]
            ),
        )

    def limit(self, n: int, seed: int = 0) -> "PointDataset":
        """At most n clouds, as evenly spread over the classes as they allow.

        Args:
            n: how many clouds to keep, at least 1. If there are no more, all stay.
            seed: which clouds of a class, and which classes get one more than others.

        Returns:
            The chosen clouds in their old order.

        Raises:
            ValueError: if n is below 1.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1; received {n}.")
        if n >= len(self):
            return self
        shuffle = generator(seed)
        turn = torch.randperm(self.num_classes, generator=shuffle).tolist()
        places = []  # (how many of its class come before it, the class's turn, row)
        labels = self.labels.cpu()
        for label in range(self.num_classes):
            rows = (labels == label).nonzero()[:, 0]
            rows = rows[torch.randperm(len(rows), generator=shuffle)].tolist()
            places += [(rank, turn[label], row) for rank, row in enumerate(rows)]
        return self.subset(sorted(row for _, _, row in sorted(places)[:n]))

    def hash(self) -> str:
        """SHA-256 of points, labels and class names: what a result was measured on."""
        return digest(self.points, self.labels, list(self.class_names))


def _check_names(field: str, names: object) -> None:
    if not isinstance(names, tuple) or not all(isinstance(n, str) for n in names):
        raise ValueError(
            f"{field} must be a tuple of strings; received {type(names).__name__}. "
            f"Use tuple({field})."
        )
    if not names:
        raise ValueError(f"{field} must not be empty.")


def cut_validation(
    labels: Int[Tensor, "N"], split: str, seed: int = 0, fraction: float = 0.1
) -> Int[Tensor, "M"]:
    """Rows of the published training split that are `train`, or `val`.

    Each class gives the same fraction, rounded, and at least one cloud to each side
    where it has two; a class with a single cloud stays in train.

    Args:
        labels: (N,) classes of the whole published training split.
        split: "train" or "val".
        seed: decides which clouds; every seed cuts the split in two.
        fraction: share of val, 0..1 exclusive.

    Returns:
        Row numbers in ascending order.

    Raises:
        ValueError: on another split, or a fraction that leaves one side empty.
    """
    check_choice("split", split, ("train", "val"))
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1; received {fraction}.")
    shuffle = generator(seed)
    val = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        rows = (labels == label).nonzero()[:, 0]
        take = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
        val[rows[torch.randperm(len(rows), generator=shuffle)[:take]]] = True
    if not val.any():
        raise ValueError(
            f"val cannot be cut from {len(labels)} training clouds: no class has two."
        )
    return (val if split == "val" else ~val).nonzero()[:, 0]
