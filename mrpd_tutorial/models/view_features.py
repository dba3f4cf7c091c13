"""What an image tower sees at each point of a cloud, from all sides it is seen from."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from mrpd_tutorial.checks import check_points, check_same_device
from mrpd_tutorial.models.image_teacher import ImageTeacher
from mrpd_tutorial.projection.exact import fill_box, to_map
from mrpd_tutorial.projection.views import check_views, look

__all__ = ["point_view_features", "points_in_front"]

CELLS, TOLERANCE = 16, 0.25  # see points_in_front


def points_in_front(
    filled: Float[Tensor, "I 3 N"], cells: int = CELLS, tolerance: float = TOLERANCE
) -> Bool[Tensor, "I N"]:
    """Which points of each view nothing stands in front of.

    A test by depth: the map is cut into cells x cells squares, and a point is seen if
    it is at most `tolerance` farther than the nearest point of its square. Points are
    no surface: small squares let far points show through the gaps, large ones or a
    small tolerance hide slanted surfaces.

    Args:
        filled: (I, 3, N) in [-1, 1], as the projection's `fill_box` gives them: rows,
            columns, and depth that grows toward the viewer.
        cells: squares on each side of the map.
        tolerance: of depth; the object's longest side is 2.

    Returns:
        (I, N), True where a point is seen.
    """
    square = ((filled[:, :2] + 1) / 2 * cells).long().clamp(0, cells - 1)  # (I, 2, N)
    index = square[:, 0] * cells + square[:, 1]  # (I, N)
    depth = filled[:, 2]
    nearest = depth.new_full((len(depth), cells * cells), -torch.inf)
    nearest = nearest.scatter_reduce(1, index, depth, "amax")
    return depth >= nearest.gather(1, index) - tolerance


@torch.no_grad()
def point_view_features(
    teacher: ImageTeacher, points: Tensor, stages: int = 4
) -> tuple[Float[Tensor, "B N F"], Int[Tensor, "B N"]]:
    """Feature maps of all views, brought back to the points and averaged.

    The cloud is drawn as for the teacher; each stage's feature map is read (bilinearly)
    where a point falls on it; the views in which the point is visible are averaged.

    Args:
        teacher: an image teacher whose tower comes from timm.
        points: (B, N, 3), in the unit sphere, y up.
        stages: how many of the tower's last feature maps are put side by side.

    Returns:
        features (B, N, F), zeros for points that no view shows, and how many views show
        each point (B, N). No gradient.

    Raises:
        ValueError: on bad points, or a tower that gives no feature maps.
    """
    check_points(points)
    check_same_device(points=points, image_teacher=teacher.mean)
    trunk = getattr(teacher.clip_model.visual, "trunk", None)
    if not hasattr(trunk, "forward_intermediates"):
        raise ValueError(
            "teacher must have an image tower from timm, whose feature maps can be "
            f"read; received {type(teacher.clip_model.visual).__name__}."
        )
    views = check_views(points, teacher.views, teacher.resolution)
    filled = fill_box(look(points, views).flatten(0, 1))  # (B V, 3, N)
    seen = points_in_front(filled)
    place, _ = to_map(filled, teacher.resolution)  # (B V, 2, N), rows and columns
    grid = place.flip(1).transpose(1, 2)[:, None] / teacher.resolution * 2 - 1
    maps = teacher.render(points, views, teacher.resolution).flatten(0, 1)[:, None]
    shape = (len(points), len(views))
    counts = seen.unflatten(0, shape).sum(1)  # (B, N)
    features = []
    for images, where, shown in zip(
        teacher.images(maps).split(teacher.images_per_pass),
        grid.split(teacher.images_per_pass),
        seen.split(teacher.images_per_pass),
        strict=True,
    ):
        found = trunk.forward_intermediates(
            images, indices=stages, intermediates_only=True
        )
        read = [F.grid_sample(m, where, align_corners=False)[:, :, 0] for m in found]
        features.append(torch.cat(read, 1) * shown[:, None])  # (i, F, N)
    total = torch.cat(features).unflatten(0, shape).sum(1)  # (B, F, N)
    return (total / counts.clamp(min=1)[:, None]).transpose(1, 2), counts
