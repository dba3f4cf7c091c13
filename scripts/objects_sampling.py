"""From an OBJ model to a cloud of its outside surface with normals, bit for bit.

Used by build_objects.py. The reader is written out here, and sums are made by NumPy's
elementwise operations alone, so that the bytes do not depend on the version of a mesh
library or on the machine's linear algebra.

Frame: right-handed, y up, the front toward +z, centroid 0, largest radius 1.
"""

import hashlib

import numpy as np

CANDIDATES = 80_000  # points on all faces, of which the visible ones are kept
GRID = 112  # cells along one side of a depth buffer over [-1, 1] x [-1, 1]
DEPTH_TOLERANCE = 2 * 2 / GRID  # two cells: how far behind the front still counts
SLANT = 0.25  # |cosine| below which a face is too slanted to be judged from there


def read_obj(data: bytes, skipped: frozenset[bytes] = frozenset()) -> np.ndarray:
    """Triangles (F, 3, 3) of an OBJ file, without those of `skipped` materials."""
    vertices, triangles, material = [], [], b""
    for line in data.splitlines():
        if line.startswith(b"v "):
            vertices.append([float(x) for x in line.split()[1:4]])
        elif line.startswith(b"usemtl"):
            material = line[6:].strip()
        elif line.startswith(b"f ") and material not in skipped:
            face = [int(corner.split(b"/")[0]) for corner in line.split()[1:]]
            # Negative numbers count from the last vertex read so far.
            face = [i - 1 if i > 0 else len(vertices) + i for i in face]
            if len(face) == 3:
                triangles.append(face)
            elif len(face) > 3:
                triangles += cut_polygon(face, vertices)
    return np.asarray(vertices, np.float64)[np.asarray(triangles, np.int64)]


def see_through_materials(data: bytes, opacity: float) -> frozenset[bytes]:
    """Names of the materials of an MTL file that are less opaque than `opacity`."""
    name, found = b"", set()
    for line in data.splitlines():
        if line.startswith(b"newmtl"):
            name = line[6:].strip()
        elif line.startswith(b"d ") and float(line.split()[1]) < opacity:
            found.add(name)
    return frozenset(found)


def cut_polygon(face: list[int], vertices: list[list[float]]) -> list[list[int]]:
    """Triangles of a polygon, as vertex numbers; concave ones are cut ear by ear."""
    corners = [vertices[i] for i in face]
    # Newell's normal, and the two axes that show most of the polygon.
    normal = [0.0, 0.0, 0.0]
    for p, q in zip(corners, corners[1:] + corners[:1], strict=True):
        for axis in range(3):
            i, j = (axis + 1) % 3, (axis + 2) % 3
            normal[axis] += (p[i] - q[i]) * (p[j] + q[j])
    flat = max(range(3), key=lambda axis: abs(normal[axis]))
    sign = 1.0 if normal[flat] > 0 else -1.0
    x, y = (flat + 1) % 3, (flat + 2) % 3
    plane = [(p[x], p[y] * sign) for p in corners]

    def turn(a: int, b: int, c: int) -> float:
        (ax, ay), (bx, by), (cx, cy) = plane[a], plane[b], plane[c]
        return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)

    left, triangles = list(range(len(face))), []
    while len(left) > 3:
        for k in range(len(left)):
            a, b, c = left[k - 1], left[k], left[(k + 1) % len(left)]
            inside = (
                d
                for d in left
                if d not in (a, b, c)
                and plane[d] not in (plane[a], plane[b], plane[c])
                and min(turn(a, b, d), turn(b, c, d), turn(c, a, d)) >= 0
            )
            if turn(a, b, c) > 0 and next(inside, None) is None:
                break
        else:
            k = 0  # no ear is left: what remains has no area, or crosses itself
            a, b, c = left[-1], left[0], left[1]
        triangles.append([face[a], face[b], face[c]])
        del left[k]
    return [*triangles, [face[i] for i in left]]


def place(triangles: np.ndarray, rotation: str, size: tuple[float, ...]) -> np.ndarray:
    """Turn and scale a model as the catalogue says, its box centred at 0.

    Args:
        triangles: (F, 3, 3).
        rotation: nine numbers, a matrix row by row, or "" for none.
        size: width (x), height (y) and depth (z) of the placed model's box.
    """
    if rotation:
        rows = np.array(rotation.split(), np.float64).reshape(3, 3)
        triangles = (triangles[..., None, :] * rows).sum(-1)
    low, high = triangles.min((0, 1)), triangles.max((0, 1))
    extent = np.where(high > low, high - low, 1.0)
    return (triangles - (low + high) / 2) * (np.asarray(size) / extent)


def sample_faces(
    triangles: np.ndarray, count: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points (count, 3) uniform by area, one in each of `count` equal shares of it,
    and the unit normals of their faces."""
    a, ab, ac = (
        triangles[:, 0],
        triangles[:, 1] - triangles[:, 0],
        triangles[:, 2] - triangles[:, 0],
    )
    normals = np.cross(ab, ac)
    doubled = np.sqrt((normals**2).sum(1))
    keep = doubled > 1e-12 * doubled.max()
    a, ab, ac = a[keep], ab[keep], ac[keep]
    normals, doubled = normals[keep] / doubled[keep, None], doubled[keep]
    edges = np.cumsum(doubled)
    shares = (np.arange(count) + random.random(count)) / count * edges[-1]
    face = np.minimum(np.searchsorted(edges, shares, side="right"), len(edges) - 1)
    u, v = random.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return a[face] + u * ab[face] + v * ac[face], normals[face]


def directions() -> np.ndarray:
    """21 unit vectors, together with their opposites spread evenly over the sphere:
    the corners and the edge middles of an icosahedron."""
    g = (1 + 5**0.5) / 2
    corners = np.array([[0, 1, s * g] for s in (1, -1)])
    corners = np.concatenate([np.roll(corners, i, axis=1) for i in range(3)])
    corners = np.concatenate([corners, -corners])
    gaps = ((corners[:, None] - corners) ** 2).sum(-1)
    i, j = np.nonzero(np.triu(np.abs(gaps - 4) < 1e-9))
    every = np.concatenate([corners, (corners[i] + corners[j])])
    every /= np.sqrt((every**2).sum(1, keepdims=True))
    leading = every[np.arange(len(every)), np.argmax(np.abs(every) > 1e-9, axis=1)]
    return every[leading > 0]


def seen_from_outside(
    points: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which points can be seen from far away, and from which side of their face.

    Depth buffers of the points themselves, from 42 directions: a point is seen where
    it lies at most DEPTH_TOLERANCE behind the nearest point of its cell.

    Args:
        points: (N, 3) in the unit sphere. normals: (N, 3), of either sign.

    Returns:
        seen (N,) bool, and side (N,): above 0 where seen along the normal, below 0
        where seen against it, from -1 to 1.
    """
    seen = np.zeros(len(points), bool)
    side, total = np.zeros(len(points)), np.full(len(points), 1e-9)
    for axis in directions():
        right = np.cross(axis, [0.0, 1.0, 0.0] if abs(axis[1]) < 0.9 else [1.0, 0, 0])
        right /= np.sqrt((right**2).sum())
        up = np.cross(right, axis)
        column, row = ((points * e).sum(1) * (GRID / 2) + GRID / 2 for e in (right, up))
        cell = np.clip(row.astype(np.int64), 0, GRID - 1) * GRID
        cell += np.clip(column.astype(np.int64), 0, GRID - 1)
        facing = (normals * axis).sum(1)
        for sign in (1.0, -1.0):
            depth = sign * (points * axis).sum(1)
            nearest = np.full(GRID * GRID, -np.inf)
            np.maximum.at(nearest, cell, depth)
            nearest = close_holes(nearest.reshape(GRID, GRID)).ravel()
            here = depth >= nearest[cell] - DEPTH_TOLERANCE
            here &= np.abs(facing) > SLANT
            seen |= here
            side += here * facing * sign
            total += here * np.abs(facing)
    return seen, side / total


def close_holes(depth: np.ndarray) -> np.ndarray:
    """Fill gaps of up to two cells between the points of a nearer surface.

    The largest of each 3 x 3 neighbourhood, then the smallest of those: outlines stay
    where they are.
    """
    for largest, beyond in ((np.maximum, -np.inf), (np.minimum, np.inf)):
        for _ in range(2):  # along one side, then the other
            padded = np.pad(depth, ((1, 1), (0, 0)), constant_values=beyond)
            depth = largest(largest(padded[:-2], padded[1:-1]), padded[2:]).T
    return depth


def sample_outside(
    triangles: np.ndarray, count: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """A cloud of the outside surface, centred and scaled into the unit sphere.

    Args:
        triangles: (F, 3, 3), placed.
        count: number of points.
        name: the object's id, from which the random seed is made.

    Returns:
        points (count, 3) and normals (count, 3), float64. Normals point to the side
        that is seen; where both are (a leaf, a pane), to the modeller's side.
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    random = np.random.default_rng(seed)
    points, normals = sample_faces(triangles, CANDIDATES, random)
    middle = (points.min(0) + points.max(0)) / 2
    radius = np.sqrt(((points - middle) ** 2).sum(1).max())
    seen, side = seen_from_outside((points - middle) / radius, normals)
    if seen.sum() < count:
        raise ValueError(f"{name}: only {seen.sum()} points are seen from outside.")
    chosen = np.sort(random.permutation(np.flatnonzero(seen))[:count])
    points, normals, side = points[chosen], normals[chosen], side[chosen]
    normals = np.where(side[:, None] < -0.3, -normals, normals)
    # The order of points carries nothing: neither parts nor faces can be read off it.
    order = random.permutation(count)
    points, normals = points[order], normals[order]
    points = points - points.mean(0)
    return points / np.sqrt((points**2).sum(1).max()), normals
