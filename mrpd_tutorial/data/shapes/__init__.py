"""A seeded generator of everyday objects with captions: data without a download.

For pre-training, and for tests with a known answer. Cloud i of a class is a function of
(seed, class, i) and the number of points alone, whatever else is asked for.
"""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mrpd_tutorial.checks import check_positive
from mrpd_tutorial.data.shapes.building import BUILDING
from mrpd_tutorial.data.shapes.furniture import FURNITURE
from mrpd_tutorial.data.shapes.household import HOUSEHOLD
from mrpd_tutorial.data.shapes.living import LIVING
from mrpd_tutorial.data.shapes.outdoors import OUTDOORS
from mrpd_tutorial.data.shapes.part_names import PART_NAMES
from mrpd_tutorial.data.shapes.parts import Dice, Shape, turn_x, turn_y, turn_z
from mrpd_tutorial.data.shapes.seats import SEATS
from mrpd_tutorial.data.shapes.storage import STORAGE
from mrpd_tutorial.data.shapes.vehicles import VEHICLES
from mrpd_tutorial.data.shapes.vessels import VESSELS
from mrpd_tutorial.geometry import normalise

__all__ = ["PART_NAMES", "SHAPE_CLASSES", "Shapes", "make_shapes"]

_RECIPES = {
    **SEATS,
    **FURNITURE,
    **STORAGE,
    **VESSELS,
    **HOUSEHOLD,
    **LIVING,
    **VEHICLES,
    **BUILDING,
    **OUTDOORS,
}
SHAPE_CLASSES: tuple[str, ...] = tuple(sorted(_RECIPES))


class Shapes(NamedTuple):
    """Clouds with normals, labels, captions and parts; see `make_shapes`."""

    points: Float[Tensor, "S N 3"]
    normals: Float[Tensor, "S N 3"]
    labels: Int[Tensor, " S"]
    captions: tuple[str, ...]
    part_labels: Int[Tensor, "S N"]


def make_shapes(
    count_per_class: int,
    seed: int,
    num_points: int = 1024,
    class_names: Sequence[str] | None = None,
) -> Shapes:
    """Make clouds of parametric objects, class by class.

    Every object gets its own proportions, number and style of parts, a yaw within 12
    degrees, a tilt within 3, and up to 12 % stretch along each axis. Frame: y up,
    fronts toward +z, centroid 0, largest radius 1.

    Args:
        count_per_class: clouds of each class.
        seed: not negative; different seeds give different objects.
        num_points: points of each cloud.
        class_names: some of `SHAPE_CLASSES`, in the order their labels shall have; by
            default all of them.

    Returns:
        points and unit normals (S, N, 3) float32, labels (S,) int64 into class_names,
        a caption each, e.g. "a low round table with one thick leg on a round foot", and
        the part each point lies on, (S, N) int64 into the class's `PART_NAMES`, -1
        where the class has none.

    Raises:
        ValueError: if a class is unknown or named twice, or a number is out of range.

    Example:
        >>> shapes = make_shapes(2, 0, num_points=64, class_names=["ball", "chair"])
        >>> tuple(shapes.points.shape), shapes.labels.tolist(), shapes.captions[0]
        ((4, 64, 3), [0, 0, 1, 1], 'a round ball')
    """
    check_positive("count_per_class", count_per_class)
    check_positive("num_points", num_points)
    if seed < 0:
        raise ValueError(
            f"seed must be 0 or more; received {seed}. Choose another number."
        )
    names = SHAPE_CLASSES if class_names is None else tuple(class_names)
    unknown = sorted(set(names) - set(SHAPE_CLASSES))
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(
            "class_names must be different names out of SHAPE_CLASSES; received "
            f"{list(names)}, of which unknown: {unknown}. Choose from "
            f"{list(SHAPE_CLASSES)}."
        )
    points, normals, captions, parts = [], [], [], []
    for name in names:
        for index in range(count_per_class):
            cloud, normal, caption, part = _make_one(name, seed, index, num_points)
            points.append(cloud)
            normals.append(normal)
            captions.append(caption)
            parts.append(part)
    return Shapes(
        normalise(torch.from_numpy(np.stack(points)).float()),
        torch.from_numpy(np.stack(normals)).float(),
        torch.arange(len(names)).repeat_interleave(count_per_class),
        tuple(captions),
        torch.from_numpy(np.stack(parts)),
    )


def _make_one(
    name: str, seed: int, index: int, num_points: int
) -> tuple[np.ndarray, np.ndarray, str, np.ndarray]:
    """One cloud before normalisation, its unit normals, caption and part labels."""
    # A checksum rather than hash(): the latter changes from run to run.
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), index])
    dice, shape = Dice(rng), Shape()
    caption = _RECIPES[name](dice, shape)
    # A ball stays a ball: it is the class with a known answer.
    stretch = np.ones(3) if name == "ball" else 1 + 0.12 * (2 * rng.random(3) - 1)
    yaw, *tilt = np.deg2rad([12, 3, 3]) * (2 * rng.random(3) - 1)
    turn = turn_x(tilt[0]) @ turn_z(tilt[1]) @ turn_y(yaw)
    unevenness = 0.35 if dice.coin(0.3) else 0.0
    points, normals, pieces = shape.sample(rng, num_points, unevenness)
    # Normals follow the inverse transpose of what moves the points.
    normals = (normals / stretch) @ turn.T
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    names = PART_NAMES.get(name)
    ids = [-1 if names is None else names.index(part) for part in shape.part_of_piece]
    return (points * stretch) @ turn.T, normals, caption, np.array(ids)[pieces]
