"""Which points of a cloud can be seen from a viewpoint, without a mesh or a window.

Hidden-point removal: Katz, Tal and Basri 2007, "Direct visibility of point sets", ACM
Transactions on Graphics 26(3). A point is visible if, after a reflection of the cloud
in a large sphere about the viewpoint, it is a corner of the convex hull of the cloud
and the viewpoint.
"""

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mrpd_tutorial.checks import check_cloud

__all__ = ["hull_corners", "visible_points"]

# Of the extent: it lifts ties (points in a plane, on a line), far above rounding.
_JOGGLE = 1e-9


def hull_corners(points: np.ndarray) -> np.ndarray:
    """Which points are corners of the convex hull of all.

    Incremental: a point outside the hull so far replaces the faces it sees by a fan to
    the edge of what it sees. Points are joggled by 1e-9 of their extent, so that no
    four lie in a plane: of points within a face of the hull, some may count as corners.

    Args:
        points: (N, 3) float64, all different, in any position.

    Returns:
        (N,) bool; all True up to 4 points.
    """
    count = len(points)
    if count <= 4:
        return np.ones(count, dtype=bool)
    noise = np.random.default_rng(0).uniform(-1, 1, points.shape)
    extent = float(np.abs(points - points.mean(0)).max())
    points = points + _JOGGLE * max(extent, 1e-30) * noise
    points = points - points.mean(0)
    start = _first_four(points)
    faces = _outward(start, points)
    normals, offsets = _planes(faces, points)
    todo = np.setdiff1d(np.arange(count), start)
    while len(todo):
        # Points inside the hull stay inside: they are looked at once.
        heights = points[todo] @ normals.T - offsets  # (todo, faces)
        outside = (heights > 0).any(1)
        todo = todo[outside]
        if not len(todo):
            break
        # The farthest ones first make a large hull early; a batch shares one look.
        order = np.argsort(-heights[outside].max(1), kind="stable")[:32]
        for point in todo[order].tolist():
            seen = normals @ points[point] > offsets
            if not seen.any():
                continue
            new = _fan(faces[seen], point)
            new_normals, new_offsets = _planes(new, points)
            faces = np.concatenate([faces[~seen], new])
            normals = np.concatenate([normals[~seen], new_normals])
            offsets = np.concatenate([offsets[~seen], new_offsets])
        todo = np.delete(todo, order)
    corners = np.zeros(count, dtype=bool)
    corners[faces.ravel()] = True
    return corners


def _first_four(points: np.ndarray) -> np.ndarray:
    """Four points far apart: the first is farthest from the centre, and so on."""
    a = int(np.square(points).sum(1).argmax())
    away = points - points[a]
    b = int(np.square(away).sum(1).argmax())
    area = np.square(np.cross(away, away[b])).sum(1)
    c = int(area.argmax())
    d = int(np.abs(away @ np.cross(away[b], away[c])).argmax())
    return np.array([a, b, c, d])


def _outward(four: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The faces of a tetrahedron, counter-clockwise seen from outside."""
    a, b, c, d = four
    edges = points[[b, c, d]] - points[a]
    if np.linalg.det(edges) > 0:
        b, c = c, b
    return np.array([[a, b, c], [a, c, d], [a, d, b], [b, d, c]])


def _planes(faces: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b, c = points[faces.T]  # (faces, 3) each
    normals = _cross(b - a, c - a)
    return normals, np.einsum("ij,ij->i", normals, a)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Row by row; np.cross takes several times as long on a few rows."""
    ahead, behind = [1, 2, 0], [2, 0, 1]
    return u[:, ahead] * v[:, behind] - u[:, behind] * v[:, ahead]


def _fan(seen: np.ndarray, point: int) -> np.ndarray:
    """Faces from the edge of the faces seen to the point."""
    edges = {pair for a, b, c in seen.tolist() for pair in ((a, b), (b, c), (c, a))}
    return np.array([(a, b, point) for a, b in sorted(edges) if (b, a) not in edges])


def visible_points(
    cloud: Tensor, viewpoint: Tensor, exponent: float = 1.5
) -> Bool[Tensor, "N"]:
    """Which points are visible from the viewpoint.

    Each point x at distance r goes to x (2 R - r) / r, with R = 10^exponent times the
    largest distance; points on the convex hull of these and the viewpoint are visible.
    A larger exponent sees deeper into hollows, and through the gaps of a sparse cloud
    too.

    Args:
        cloud: (N, 3), N >= 1. Points at the same place share their answer.
        viewpoint: (3,), in the cloud's frame; a point right there is visible.
        exponent: 1.5 suits about a thousand points of an object seen from 3 to 5 radii.

    Returns:
        (N,) bool on the device of cloud; at least one True.

    Raises:
        ValueError: if cloud is not a finite cloud (N, 3).
    """
    check_cloud(cloud, "cloud")
    relative = (cloud.detach() - viewpoint.to(cloud)).double().cpu().numpy()
    places, which = np.unique(relative, axis=0, return_inverse=True)
    which = which.reshape(-1)
    distance = np.sqrt(np.square(places).sum(1))
    here = distance == 0
    radius = 10.0**exponent * max(float(distance.max()), 1e-30)
    stretch = (2 * radius - distance) / np.where(here, 1.0, distance)
    reflected = np.concatenate([np.zeros((1, 3)), places[~here] * stretch[~here, None]])
    visible = here.copy()
    visible[~here] = hull_corners(reflected)[1:]
    return torch.from_numpy(visible[which]).to(cloud.device)
