"""Surfaces to build objects from, and points drawn uniformly from what is visible.

Every part becomes triangles, so that one vectorised draw samples a whole object. Frame:
right-handed, y up, +z toward the viewer's front, x to the viewer's right; lengths are
metres or anything else (clouds are normalised later). `at` is always the BOTTOM CENTRE
of a part, and `turn` rotates the part about that point.
"""

import numpy as np

__all__ = ["Dice", "Shape", "turn_x", "turn_y", "turn_z"]

# A sample this deep (relative to the part) inside a solid is hidden; the slack keeps
# the flat facets of round parts, which lie a little inside the true circle.
_SLACK = 0.96


def _turn(first: int, second: int, angle: float) -> np.ndarray:
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first] = np.sin(angle)
    matrix[first, second] = -matrix[second, first]
    return matrix


def turn_x(angle: float) -> np.ndarray:
    """Rotation about x, radians: y turns toward z (a figure leans forward)."""
    return _turn(1, 2, angle)


def turn_y(angle: float) -> np.ndarray:
    """Rotation about y, radians: z turns toward x."""
    return _turn(2, 0, angle)


def turn_z(angle: float) -> np.ndarray:
    """Rotation about z, radians: x turns toward y."""
    return _turn(0, 1, angle)


class Dice:
    """Short names for the random choices of a recipe."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def __call__(self, low: float, high: float) -> float:
        """A number between low and high."""
        return low + (high - low) * self.rng.random()

    def coin(self, chance: float = 0.5) -> bool:
        """True with this chance."""
        return bool(self.rng.random() < chance)

    def count(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def pick(self, *options: str) -> str:
        """One of the options."""
        return options[int(self.rng.integers(len(options)))]


def _box_faces() -> np.ndarray:
    """The 12 triangles of the cube [-1/2, 1/2] x [0, 1] x [-1/2, 1/2]."""
    triangles = []
    for axis in range(3):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        for side in (-1.0, 1.0):
            corners = []
            for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
                corner = np.zeros(3)
                corner[axis], corner[one], corner[two] = side, a, b * side
                corners.append(corner)
            triangles += [corners[:3], [corners[0], corners[2], corners[3]]]
    return np.array(triangles) / 2 + np.array([0.0, 0.5, 0.0])


_BOX = _box_faces()


class Shape:
    """A pile of parts: triangles to sample, and solids that hide what is in them.

    What is built from then on belongs to the part that `part` names, say "leg".
    """

    def __init__(self) -> None:
        self.part = ""
        self.part_of_piece: list[str] = []
        self._triangles: list[np.ndarray] = []
        self._solids: list[tuple] = []  # (turn, at, size, test in the unit frame)

    def _place(self, triangles, at, turn) -> None:
        if turn is not None:
            triangles = triangles @ turn.T
        self._triangles.append(triangles + np.asarray(at, dtype=float))
        self.part_of_piece.append(self.part)

    def _hide(self, at, turn, size, test) -> None:
        turn = np.eye(3) if turn is None else turn
        self._solids.append(
            (turn, np.asarray(at, float), np.asarray(size, float), test)
        )

    def grid(self, surface, at=(0, 0, 0), turn=None) -> None:
        """A surface through a (U, V, 3) grid of vertices; hides nothing."""
        a, b = surface[:-1, :-1], surface[1:, :-1]
        c, d = surface[1:, 1:], surface[:-1, 1:]
        faces = np.stack([np.stack([a, b, c], 2), np.stack([a, c, d], 2)])
        self._place(faces.reshape(-1, 3, 3), at, turn)

    def box(self, at, size, turn=None) -> None:
        """A solid box; size is (width x, height y, depth z)."""
        self._place(_BOX * np.asarray(size, dtype=float), at, turn)
        self._hide(at, turn, size, _in_box)

    def frame(self, at, size, bar) -> None:
        """Four bars around an upright opening; size is the outer size."""
        x, y, z = at
        width, height, depth = size
        for side in (-1, 1):
            post = (x + side * (width - bar) / 2, y, z)
            self.box(post, (bar, height, depth))
            rail = (x, y if side < 0 else y + height - bar, z)
            self.box(rail, (width, bar, depth))

    def loft(self, sections, at=(0, 0, 0), turn=None) -> None:
        """A closed skin over (K, M, 3) rings, the first and last filled; hides nothing.

        Rings must be star-shaped about their means.
        """
        sections = np.asarray(sections, dtype=float)
        rings = np.concatenate([sections, sections[:, :1]], 1)  # (K, M + 1, 3)
        self.grid(rings, at, turn)
        for ring in (rings[0], rings[-1][::-1]):
            centre = np.broadcast_to(ring[:-1].mean(0), ring[:-1].shape)
            self._place(np.stack([centre, ring[:-1], ring[1:]], 1), at, turn)

    def prism(self, outline, depth, at=(0, 0, 0), turn=None) -> None:
        """An (M, 2) outline in the x-y plane, counter-clockwise, made deep along z."""
        outline = np.asarray(outline, dtype=float)
        layers = [
            np.column_stack([outline, np.full(len(outline), z)])
            for z in (depth / 2, -depth / 2)
        ]
        self.loft(layers, at, turn)

    def revolve(
        self, profile, at=(0, 0, 0), turn=None, sides=20, stretch=(1, 1), solid=False
    ) -> None:
        """A profile [(radius, y), ...] turned about the y axis, outside first.

        Args:
            profile: going up for an outer wall; going down afterwards for an inner one.
            sides: facets around.
            stretch: factors on x and z.
            solid: whether it hides what is inside (profiles going up only).
        """
        radius, height = np.asarray(profile, dtype=float).T
        angle = np.linspace(0, 2 * np.pi, sides + 1)
        x = stretch[0] * np.sin(angle)[:, None] * radius
        z = stretch[1] * np.cos(angle)[:, None] * radius
        y = np.broadcast_to(height, x.shape)
        self.grid(np.stack([x, y, z], -1), at, turn)
        if solid:
            # A little within the ends, so that a flat end does not hide itself.
            margin = 1e-4 * (height[-1] - height[0])

            def inside(unit):
                y = unit[:, 1]
                reach = np.interp(y, height, radius) * _SLACK
                between = (y > height[0] + margin) & (y < height[-1] - margin)
                return between & (unit[:, 0] ** 2 + unit[:, 2] ** 2 < reach**2)

            self._hide(at, turn, (stretch[0], 1, stretch[1]), inside)

    def rod(self, start, end, radius, end_radius=None, sides=12) -> None:
        """A round rod between two points, capped; conical if the radii differ."""
        start = np.asarray(start, dtype=float)
        along = np.asarray(end, dtype=float) - start
        length = float(np.linalg.norm(along))
        up = along / max(length, 1e-9)
        helper = np.eye(3)[np.argmin(np.abs(up))]
        side = np.cross(up, helper)
        side /= np.linalg.norm(side)
        turn = np.column_stack([side, up, np.cross(side, up)])
        last = radius if end_radius is None else end_radius
        profile = [(0, 0), (radius, 0), (last, length), (0, length)]
        # A thin rod has next to no room inside, and many parts make sampling slow.
        solid = max(radius, last) > 0.1 * length
        self.revolve(profile, start, turn, sides, solid=solid)

    def tube(self, path, radius, sides=8) -> None:
        """A round tube along an (M, 3) path, open at the ends; radius may vary (M,)."""
        path = np.asarray(path, dtype=float)
        ahead = np.gradient(path, axis=0)
        ahead /= np.linalg.norm(ahead, axis=1, keepdims=True) + 1e-9
        # One fixed helper keeps neighbouring rings from twisting against each other.
        helper = np.eye(3)[np.argmin(np.abs(ahead).max(0))]
        side = np.cross(ahead, helper)
        side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
        other = np.cross(ahead, side)
        angle = np.linspace(0, 2 * np.pi, sides + 1)[:, None, None]
        reach = np.broadcast_to(radius, len(path))[:, None]
        ring = np.cos(angle) * (side * reach) + np.sin(angle) * (other * reach)
        self.grid(path + ring)

    def ring(self, centre, radius, thickness, turn=None, sides=24) -> None:
        """A torus standing in the x-y plane (a wheel seen from the front)."""
        angle = np.linspace(0, 2 * np.pi, sides + 1)[:, None]
        around = np.linspace(0, 2 * np.pi, 9)[None]
        reach = radius + thickness * np.cos(around)
        z = np.broadcast_to(thickness * np.sin(around), (sides + 1, 9))
        surface = np.stack([reach * np.cos(angle), reach * np.sin(angle), z], -1)
        self.grid(surface, centre, turn)

    def blob(self, at, size, squareness=0.0, turn=None) -> None:
        """An ellipsoid (squareness 0) or a cushion-like rounded box (toward 1)."""
        power = 1 - 0.85 * squareness
        latitude = np.linspace(-np.pi / 2, np.pi / 2, 11)[None]
        longitude = np.linspace(0, 2 * np.pi, 21)[:, None]

        def bend(value):
            return np.sign(value) * np.abs(value) ** power

        x = bend(np.cos(latitude)) * bend(np.sin(longitude))
        z = bend(np.cos(latitude)) * bend(np.cos(longitude))
        y = bend(np.sin(latitude)) + np.zeros_like(x)
        size = np.asarray(size, dtype=float)
        surface = np.stack([x / 2, y / 2 + 0.5, z / 2], -1) * size
        self.grid(surface, at, turn)

        def inside(unit):
            q = np.abs(unit * 2 - np.array([0.0, 1.0, 0.0])) / _SLACK
            return (q ** (2 / power)).sum(1) < 1

        self._hide(at, turn, size, inside)

    def add(self, other: "Shape", at=(0, 0, 0), turn=None) -> None:
        """Another shape, turned about its origin and moved."""
        whole = np.eye(3) if turn is None else turn
        for triangles in other._triangles:
            self._place(triangles, at, turn)
        for inner, place, size, test in other._solids:
            self._hide(whole @ place + np.asarray(at), whole @ inner, size, test)

    def sample(
        self, rng: np.random.Generator, count: int, unevenness: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (count, 3), unit normals (count, 3), pieces (count,) they lie on.

        Uniform over visible surface; a piece is a place in `part_of_piece`.

        Args:
            rng: the random generator.
            count: how many.
            unevenness: spread of the logarithm of the parts' densities.
        """
        spread = np.exp(unevenness * rng.standard_normal(len(self._triangles)))
        sizes = [len(piece) for piece in self._triangles]
        weight = np.repeat(spread, sizes)
        piece = np.repeat(np.arange(len(sizes)), sizes)
        triangles = np.concatenate(self._triangles)
        first = triangles[:, 1] - triangles[:, 0]
        second = triangles[:, 2] - triangles[:, 0]
        normals = np.cross(first, second)
        double_area = np.linalg.norm(normals, axis=1)
        normals /= double_area[:, None] + 1e-12
        total = np.cumsum(double_area * weight)
        found, missing = [], count
        # Recipes leave most of the surface visible, so one round usually does; the
        # bound is for the pathological one.
        for _ in range(50):
            draw = rng.random((3, int(missing * 1.3) + 16))
            index = np.searchsorted(total, draw[0] * total[-1], side="right")
            index = np.minimum(index, len(total) - 1)
            root = np.sqrt(draw[1])[:, None]
            points = triangles[index, 0] + root * (
                first[index] * (1 - draw[2])[:, None] + second[index] * draw[2][:, None]
            )
            seen = ~self.hidden(points)
            drawn = (points, normals[index], piece[index])
            found.append([values[seen][:missing] for values in drawn])
            missing -= len(found[-1][0])
            if missing == 0:
                return tuple(map(np.concatenate, zip(*found, strict=True)))
        raise AssertionError("a recipe hides nearly all of its own surface")

    def hidden(self, points: np.ndarray) -> np.ndarray:
        """Which of the (N, 3) points lie inside a solid part."""
        hidden = np.zeros(len(points), dtype=bool)
        for turn, at, size, test in self._solids:
            hidden |= test((points - at) @ turn / size)
        return hidden


def _in_box(unit: np.ndarray) -> np.ndarray:
    near = np.abs(unit - np.array([0.0, 0.5, 0.0])) < 0.4999
    return near[:, 0] & near[:, 1] & near[:, 2]
