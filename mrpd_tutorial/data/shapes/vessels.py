"""Recipes: things turned on a lathe, and the bathroom."""

import numpy as np

from mrpd_tutorial.data.shapes.parts import Dice, Shape, turn_x, turn_y
from mrpd_tutorial.data.shapes.words import a, compare

__all__ = ["VESSELS"]


def _smooth(radii, heights, steps=14) -> np.ndarray:
    """A smooth profile through a few (radius, height) knots (cosine steps between)."""
    t = np.linspace(0, 1, steps)
    place = np.interp(t, np.linspace(0, 1, len(heights)), heights)
    at = np.interp(t, np.linspace(0, 1, len(heights)), np.arange(len(heights)))
    low = np.minimum(at.astype(int), len(radii) - 2)
    blend = (1 - np.cos(np.pi * (at - low))) / 2
    radii = np.asarray(radii, dtype=float)
    return np.column_stack([radii[low] * (1 - blend) + radii[low + 1] * blend, place])


def _walls(outer: np.ndarray, wall: float) -> np.ndarray:
    """An outer profile, its inner twin coming back down, closed at the bottom."""
    inner = outer[::-1] - [wall, 0]
    inner = inner[inner[:, 1] > outer[0, 1] + wall]
    inner[:, 0] = np.maximum(inner[:, 0], 0.001)
    floor = [(0, outer[0, 1] + wall)]
    return np.vstack([[(0, outer[0, 1])], outer, inner, floor])


def ball(dice: Dice, s: Shape) -> str:
    """A sphere: the class with a known answer."""
    s.blob((0, 0, 0), (1, 1, 1))
    return "a round ball"


def cup(dice: Dice, s: Shape) -> str:
    """A cup with or without a handle, or a goblet; perhaps on a saucer."""
    height, top = dice(0.07, 0.12), dice(0.032, 0.05)
    bottom = top * dice(0.55, 1.0)
    belly = (bottom + top) / 2 * dice(0.95, 1.1)
    kind = dice.pick("handle", "handle", "plain", "stem")
    look = compare(height / top, 1.9, 2.6, "low", "", "tall")
    if kind == "stem":
        stem, base = height * dice(0.5, 1.1), top * dice(0.7, 1.0)
        bowl_profile = _smooth([0.004, belly * 1.1, top], [0, height / 2, height])
        s.part = "body"
        s.revolve(_walls(bowl_profile, 0.003), (0, stem, 0))
        s.part = "base"
        s.revolve([(base, 0), (base, 0.003), (0.005, 0.01), (0.004, stem)])
        return f"{a(look, 'cup')} on a stem"
    outer = _smooth([bottom, belly, top], [0, height / 2, height])
    s.part = "body"
    s.revolve(_walls(outer, 0.004))
    s.part = "handle"
    if kind == "handle":
        reach, bend = height * dice(0.28, 0.42), np.linspace(-np.pi / 2, np.pi / 2, 10)
        x = (bottom + top) / 2 + reach * np.cos(bend) * dice(0.7, 1.0)
        y = height * 0.52 + reach * np.sin(bend)
        handle = Shape()
        handle.tube(np.column_stack([x, y, 0 * x]), dice(0.004, 0.007))
        s.add(handle, turn=turn_y(dice(-0.4, 0.4) + np.pi * dice.coin(0.3)))
    s.part = "base"
    saucer = dice.coin(0.35)
    if saucer:
        wide = top * dice(1.5, 2.0)
        s.revolve([(0, -0.004), (wide * 0.5, -0.004), (wide, 0.008), (wide * 0.5, 0)])
    grip = "with a handle" if kind == "handle" else "without a handle"
    return f"{a(look, 'cup')} {grip}" + (" on a saucer" if saucer else "")


def bottle(dice: Dice, s: Shape) -> str:
    """A body, a shoulder and a neck."""
    height, body = dice(0.2, 0.34), dice(0.028, 0.055)
    neck, shoulder = body * dice(0.25, 0.5), dice(0.5, 0.75)
    radii = [body, body * dice(0.92, 1.05), body, neck, neck * dice(0.9, 1.1), neck]
    heights = [0, shoulder / 2, shoulder, dice(shoulder + 0.08, 0.85), 0.93, 1]
    profile = _smooth(radii, np.array(heights) * height, 24)
    form = dice.pick("round", "round", "round", "square")
    sides = 20 if form == "round" else 4
    turn = None if form == "round" else turn_y(np.pi / 4)
    s.revolve(np.vstack([[(0, 0)], profile, [(0, height)]]), sides=sides, turn=turn)
    cap = dice.coin(0.5)
    if cap:
        edge = [(neck * 1.2, 0), (neck * 1.2, height * 0.07), (0, height * 0.07)]
        s.revolve(edge, (0, height * 0.97, 0))
    look = compare(height / body, 5.5, 7.5, "stout", "", "slim")
    return f"{a(look, form, 'bottle')}" + (" with a cap" if cap else "")


def vase(dice: Dice, s: Shape) -> str:
    """A smooth hollow of revolution, sometimes with two handles or stems in it."""
    height, belly = dice(0.2, 0.45), dice(0.05, 0.13)
    radii = [
        belly * dice(0.35, 0.8),
        belly,
        belly * dice(0.3, 0.7),
        belly * dice(0.4, 0.9),
    ]
    heights = np.array([0, dice(0.25, 0.55), dice(0.7, 0.88), 1]) * height
    s.revolve(_walls(_smooth(radii, heights, 20), 0.006), sides=24)
    handles = dice.coin(0.25)
    for side in (-1, 1) if handles else ():
        bend = np.linspace(-np.pi / 2, np.pi / 2, 8)
        x = side * (radii[2] * 0.9 + belly * 0.5 * np.cos(bend))
        y = heights[2] * 0.85 + height * 0.2 * np.sin(bend)
        s.tube(np.column_stack([x, y, 0 * x]), 0.008)
    look = compare(height / belly, 2.8, 4.5, "squat", "", "slender")
    return f"{a(look, 'vase')}" + (" with two handles" if handles else "")


def bowl(dice: Dice, s: Shape) -> str:
    """An open half-round shell."""
    top = dice(0.08, 0.16)
    height, bulge = top * dice(0.35, 0.95), dice(0.4, 0.8)
    t = np.linspace(0, np.pi / 2, 9)
    foot = top * dice(0.25, 0.45)
    outer = np.column_stack(
        [foot + (top - foot) * np.sin(t) ** bulge, height * (1 - np.cos(t))]
    )
    s.revolve(_walls(outer, 0.006), sides=28)
    ring = dice.coin(0.4)
    if ring:
        rim = top * 0.12
        s.revolve([(foot * 0.9, -rim), (foot, 0)])
    look = compare(height / top, 0.5, 0.75, "shallow", "", "deep")
    return f"{a(look, 'bowl')}" + (" on a foot ring" if ring else "")


def cone(dice: Dice, s: Shape) -> str:
    """A traffic cone."""
    height, radius = dice(0.4, 0.8), dice(0.12, 0.2)
    tip = radius * dice(0.1, 0.25)
    s.revolve([(radius, 0), (tip, height), (0, height)], (0, 0.03, 0))
    square = dice.coin(0.6)
    if square:
        s.box((0, 0, 0), (radius * 2.6, 0.03, radius * 2.6))
    else:
        wide = radius * 1.4
        s.revolve([(0, 0), (wide, 0), (wide, 0.03), (radius, 0.03)])
    return f"a cone on a {'square' if square else 'round'} base"


def _basin(s: Shape, at, width, height, depth, squareness, wall) -> None:
    """An open shell with a flat rim: half a rounded box inside another."""
    angle = np.linspace(0, 2 * np.pi, 33)[:, None]
    power = 1 - 0.8 * squareness

    def bend(value):
        return np.sign(value) * np.abs(value) ** power

    level = np.linspace(0.03, np.pi / 2, 7)
    reach = np.sin(level) ** (power * 0.8 + 0.05)
    outer = np.column_stack([reach, 1 - np.cos(level)])
    inner = outer[::-1] * [1, 0.9] + [0, 0.1]
    shrink = 1 - 2 * wall / min(width, depth)
    profile = np.vstack([outer, inner * [shrink, 1]])
    x = bend(np.sin(angle)) * profile[:, 0] * width / 2
    z = bend(np.cos(angle)) * profile[:, 0] * depth / 2
    y = np.broadcast_to(profile[:, 1] * height, x.shape)
    s.grid(np.stack([x, y, z], -1), at)


def _tap(s: Shape, at, height, reach) -> None:
    bend = np.linspace(0, np.pi, 8)
    y = np.r_[0, height + reach / 2 * np.sin(bend)]
    z = np.r_[0, reach / 2 * (1 - np.cos(bend))]
    path = np.column_stack([0 * y, y, z]) + np.asarray(at)
    s.tube(path, 0.015)
    for side in (-1, 1):
        s.rod(path[0] + [side * 0.08, 0, 0], path[0] + [side * 0.08, 0.06, 0], 0.02)


def sink(dice: Dice, s: Shape) -> str:
    """A basin with a tap, on a column, on a cupboard or hung on the wall."""
    width, depth, height = dice(0.45, 0.8), dice(0.4, 0.55), dice(0.78, 0.9)
    deep = dice(0.13, 0.22)
    under = dice.pick("a column", "a cupboard", "the wall")
    _basin(s, (0, height - deep, 0), width, deep, depth, dice(0.1, 0.9), 0.04)
    _tap(s, (0, height, -depth * 0.42), dice(0.08, 0.2), dice(0.1, 0.18))
    if under == "a column":
        thick = dice(0.07, 0.11)
        outline = [
            (thick * 1.4, 0),
            (thick, 0.15),
            (thick, 0.5),
            (thick * 1.6, height - deep * 0.7),
        ]
        s.revolve(outline, (0, 0, -0.04))
    elif under == "a cupboard":
        s.box((0, 0.06, 0), (width * 1.1, height - 0.1, depth * 1.0))
        s.box((0, height - 0.04, 0), (width * 1.25, 0.03, depth * 1.1))
        for side in (-1, 1):
            at = (side * width * 0.27, 0.1, depth * 0.5)
            s.box(at, (width * 0.5, height - 0.2, 0.03))
    else:
        s.box((0, height - deep * 1.3, -depth * 0.48), (width * 0.8, deep * 1.6, 0.05))
        s.rod((0, height - deep - 0.25, 0), (0, height - deep, 0), 0.03)
    return f"a sink on {under}"


def toilet(dice: Dice, s: Shape) -> str:
    """A bowl with a seat and a water tank behind it."""
    width, depth, height = dice(0.34, 0.4), dice(0.42, 0.5), dice(0.37, 0.43)
    _basin(s, (0, height * 0.35, 0.1), width, height * 0.65, depth, 0.15, 0.07)
    foot = [(0.7, 0), (0.55, 0.15), (0.6, 0.3), (0.9, height * 0.7)]
    s.revolve(foot, (0, 0, 0.05), stretch=(width * 0.45, depth * 0.5))
    high, low = dice(0.35, 0.5), height * dice(0.5, 0.95)
    z = 0.04 - depth / 2
    s.box((0, low, z), (width * 1.1, high, dice(0.15, 0.2)))
    s.box((0, low + high, z), (width * 1.16, 0.03, 0.22))
    if dice.coin(0.5):
        s.box((0, 0, z), (width * 0.5, low, 0.15))
    up = dice.coin(0.35)
    lid = Shape()
    disc = [(0, 0), (0.5, 0), (0.5, 0.02), (0, 0.02)]
    lid.revolve(disc, (0, 0, depth / 2), stretch=(width, depth))
    s.add(lid, (0, height, 0.1 - depth / 2), turn_x(-1.65) if up else None)
    return f"a toilet with a tank and the lid {'up' if up else 'down'}"


def bathtub(dice: Dice, s: Shape) -> str:
    """A long basin, boxed in or free on feet."""
    width, depth, height = dice(1.4, 1.85), dice(0.65, 0.9), dice(0.42, 0.55)
    boxed = dice.coin(0.5)
    lift = 0 if boxed else dice(0.05, 0.15)
    _basin(
        s,
        (0, lift, 0),
        width,
        height,
        depth,
        dice(0.5, 0.9) if boxed else dice(0, 0.7),
        0.05,
    )
    if boxed:
        for side in (-1, 1):
            s.box((0, 0, side * depth / 2), (width, height, 0.02))
            s.box((side * width / 2, 0, 0), (0.02, height, depth))
    else:
        for i, k in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            at = (i * width * 0.3, 0, k * depth * 0.3)
            s.rod(at, (at[0], lift + height * 0.3, at[2]), 0.03, 0.05)
    tap = Shape()
    _tap(tap, (0, 0, 0), dice(0.08, 0.2), 0.15)
    s.add(tap, (-width * 0.46, height + lift, 0), turn_y(np.pi / 2))
    return "a bathtub boxed in" if boxed else "a bathtub standing on four feet"


VESSELS = {
    recipe.__name__: recipe
    for recipe in (
        ball,
        cup,
        bottle,
        vase,
        bowl,
        cone,
        sink,
        toilet,
        bathtub,
    )
}
