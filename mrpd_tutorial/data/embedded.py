"""The two data sets that need no folder: `objects`, real ones, and `shapes`, made."""

from collections.abc import Sequence

from mrpd_tutorial.checks import check_choice
from mrpd_tutorial.data.base import SPLITS, PointDataset

__all__ = ["load_embedded_objects", "load_shapes"]


def load_embedded_objects(split: str, *, num_points: int | None = None) -> PointDataset:
    """Load the real objects that travel with the package.

    Args:
        split: "train", "val" or "test", split by object.
        num_points: points to keep; None keeps all that are stored.
    """
    from mrpd_tutorial.data.objects import load_objects

    check_choice("split", split, SPLITS)
    data = load_objects(split)
    return data if num_points is None else data.subsample_points(num_points)


def load_shapes(
    split: str,
    *,
    per_class: int = 20,
    num_points: int = 1024,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    parts: bool = False,
) -> PointDataset:
    """Make procedural shapes; every split and seed gives other ones.

    Args:
        split: "train", "val" or "test".
        per_class: clouds of each class.
        num_points: points a cloud.
        seed: which shapes; the same seed gives the same ones.
        class_names: the classes wanted, in the order of their labels; None takes all.
        parts: whether each point says which part it lies on. The same clouds, of those
            classes that have named parts (`mrpd_tutorial.data.shapes.PART_NAMES`).
    """
    from mrpd_tutorial.data.shapes import PART_NAMES, SHAPE_CLASSES, make_shapes

    check_choice("split", split, SPLITS)
    known = tuple(PART_NAMES if parts else SHAPE_CLASSES)
    names = known if class_names is None else tuple(class_names)
    for name in names:
        check_choice("class_names", name, known)
    shapes = make_shapes(
        per_class,
        seed=len(SPLITS) * seed + SPLITS.index(split),  # no two splits share a seed
        num_points=num_points,
        class_names=names,
    )
    part_names = tuple(PART_NAMES[name] for name in names) if parts else None
    first = 0  # part ids run on through the classes
    part_labels = shapes.part_labels
    for label, own in enumerate(part_names or ()):
        part_labels[shapes.labels == label] += first
        first += len(own)
    return PointDataset(
        name="shapes",
        split=split,
        points=shapes.points,
        labels=shapes.labels,
        class_names=names,
        normals=shapes.normals,
        captions=shapes.captions,
        part_labels=part_labels if parts else None,
        part_names=part_names,
    )
