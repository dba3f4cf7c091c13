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
) -> PointDataset:
    """Make procedural shapes; every split and seed gives other ones.

    Args:
        split: "train", "val" or "test".
        per_class: clouds of each class.
        num_points: points a cloud.
        seed: which shapes; the same seed gives the same ones.
        class_names: the classes wanted, in the order of their labels; None takes all.
    """
    from mrpd_tutorial.data.shapes import SHAPE_CLASSES, make_shapes

    check_choice("split", split, SPLITS)
    if class_names is not None:
        for name in class_names:
            check_choice("class_names", name, tuple(SHAPE_CLASSES))
    names = tuple(SHAPE_CLASSES if class_names is None else class_names)
    points, normals, labels, captions = make_shapes(
        per_class,
        seed=len(SPLITS) * seed + SPLITS.index(split),  # no two splits share a seed
        num_points=num_points,
        class_names=None if class_names is None else names,
    )
    return PointDataset(
        name="shapes",
        split=split,
        points=points,
        labels=labels,
        class_names=names,
        normals=normals,
        captions=tuple(captions),
    )
