"""Recipes: what stands outdoors, and shelters."""

# ruff: noqa: RUF005 (array + list is a vector sum here, not a concatenation)
import numpy as np

from mrpd_tutorial.data.shapes.parts import Dice, Shape, turn_x, turn_y
from mrpd_tutorial.data.shapes.words import NUMBER, a

__all__ = ["OUTDOORS"]


def ladder(dice: Dice, s: Shape) -> str:
    """Rungs between two rails: leaning, or a step ladder that stands by itself."""
    rungs, gap = dice.count(4, 11), dice(0.25, 0.32)
    width, thick = dice(0.32, 0.5), dice(0.018, 0.032)
    folding = dice.coin(0.4)
    if folding:
        rungs = min(rungs, 7)
    side_rails = Shape()
    long = (rungs + 0.8) * gap
    for side in (-1, 1):
        side_rails.box((side * width / 2, 0, 0), (thick, long, thick * 2))
    plain = Shape()
    plain.add(side_rails)
    for i in range(rungs):
        y = (i + 0.7) * gap
        if folding:
            plain.box((0, y, 0), (width, 0.02, 0.1))
        else:
            plain.rod((-width / 2, y, 0), (width / 2, y, 0), thick * 0.6, sides=8)
    if not folding:
        s.add(plain, (0, 0, 0), turn_x(-dice(0, 0.3)))
        return f"a ladder with {NUMBER[rungs]} rungs"
    lean = dice(0.15, 0.32)
    foot = np.sin(lean) * long
    s.add(plain, (0, 0, foot), turn_x(-lean))
    s.add(side_rails, (0, 0, -foot), turn_x(lean))
    s.box((0, long * np.cos(lean), 0), (width * 1.1, 0.03, 0.2))
    return f"a folding ladder with {NUMBER[rungs]} steps"


def fence(dice: Dice, s: Shape) -> str:
    """Posts, rails and pickets; or rails alone."""
    width, height = dice(1.6, 3.0), dice(0.7, 1.3)
    kind = dice.pick("pickets", "pickets", "rails", "bars")
    posts, rails = dice.count(2, 4), 2 if kind != "rails" else dice.count(2, 4)
    thick = dice(0.06, 0.1)
    for x in np.linspace(-0.5, 0.5, posts) * width:
        s.box((x, 0, 0), (thick, height * 1.05, thick))
    for y in np.linspace(0.25, 0.85, rails) * height:
        s.box(
            (0, y, 0), (width, thick if kind != "rails" else thick * 1.5, thick * 0.4)
        )
    count = 0
    if kind == "pickets":
        count = dice.count(8, 16)
        wide = width / count * dice(0.45, 0.8) / 2
        point = dice(0.0, 0.12)
        for x in (np.arange(count) + 0.5) / count * width - width / 2:
            top = height * 0.95
            outline = [
                (-wide, 0.06),
                (wide, 0.06),
                (wide, top - point),
                (0, top),
                (-wide, top - point),
            ]
            s.prism(outline, 0.025, (x, 0, thick * 0.4))
    elif kind == "bars":
        count = dice.count(8, 18)
        for x in (np.arange(count) + 0.5) / count * width - width / 2:
            s.rod((x, 0.05, 0), (x, height, 0), 0.012, sides=6)
            s.revolve([(0.025, 0), (0, 0.07)], (x, height, 0), sides=8)
    what = f"{NUMBER[rails]} rails" if kind == "rails" else f"many {kind}"
    return f"a fence of {what} between {NUMBER[posts]} posts"


def house(dice: Dice, s: Shape) -> str:
    """Walls, a roof, a door, windows, perhaps a chimney."""
    width, depth = dice(5, 9), dice(4, 7)
    floors = dice.count(1, 2)
    height, over = floors * dice(2.4, 3.0), dice(0.1, 0.5)
    s.box((0, 0, 0), (width, height, depth))
    kind, rise = dice.pick("gabled", "gabled", "hipped", "flat"), dice(1.2, 3.0)
    if kind == "gabled":
        gable = [(-depth / 2 - over, 0), (depth / 2 + over, 0), (0, rise)]
        s.prism(gable, width + over, (0, height, 0), turn_y(np.pi / 2))
    elif kind == "hipped":
        x, z, ridge = width / 2 + over, depth / 2 + over, max(width - depth, 0.1) / 2
        foot = [(-x, 0, -z), (-x, 0, z), (x, 0, z), (x, 0, -z)]
        top = [
            (-ridge, rise, 0),
            (-ridge, rise, 0.01),
            (ridge, rise, 0.01),
            (ridge, rise, 0),
        ]
        s.loft([foot, top], (0, height, 0))
    else:
        s.box((0, height, 0), (width + over, 0.3, depth + over))
    if dice.coin(0.5) and kind != "flat":
        s.box((width * 0.25, height, -depth * 0.1), (0.6, rise * 1.1, 0.6))
    door_x = width * dice(-0.3, 0.3)
    s.box((door_x, 0, depth / 2), (1.0, 2.1, 0.3))
    columns = dice.count(2, 4)
    for floor in range(floors):
        for x in ((np.arange(columns) + 0.5) / columns - 0.5) * width:
            if floor == 0 and abs(x - door_x) < 1.1:
                continue
            y = floor * height / floors + 0.9
            s.frame((x, y, depth / 2), (1.0, 1.2, 0.3), 0.15)
            s.frame((x, y, -depth / 2), (1.0, 1.2, 0.3), 0.15)
    tall = "one floor" if floors == 1 else "two floors"
    return f"a house of {tall} with a {kind} roof"


def tent(dice: Dice, s: Shape) -> str:
    """A ridge, a dome or a cone of cloth, with ropes or poles."""
    width, depth, height = dice(1.4, 2.4), dice(1.8, 3.0), dice(1.0, 1.7)
    kind = dice.pick("ridge", "dome", "cone")
    if kind == "ridge":
        roof = [[(-width / 2, 0), (0, height)], [(0, height), (width / 2, 0)]]
        for (x0, y0), (x1, y1) in roof:
            ends = [
                [(x, y, z) for z in (-depth / 2, depth / 2)]
                for x, y in ((x0, y0), (x1, y1))
            ]
            s.grid(np.array(ends, dtype=float))
        back = [[(-width / 2, 0, -depth / 2), (0, height, -depth / 2)]]
        back += [[(width / 2, 0, -depth / 2), (0, height, -depth / 2)]]
        s.grid(np.array(back, dtype=float))
        for side in (-1, 1):
            flap = [
                [(side * width / 2, 0, 0), (0, height, 0)],
                [(side * width * 0.2, 0, 0.2), (0, height, 0)],
            ]
            s.grid(np.array(flap, dtype=float) + [0, 0, depth / 2])
        for z in (-1, 1):
            s.rod((0, 0, z * depth / 2), (0, height * 1.05, z * depth / 2), 0.025)
            end = (0, 0, z * (depth / 2 + 0.6))
            s.rod((0, height, z * depth / 2), end, 0.012, sides=5)
    else:
        t = np.linspace(0, 1, 9)
        high = np.sin(t * np.pi / 2) if kind == "dome" else t
        wide = np.cos(t * np.pi / 2) if kind == "dome" else 1 - t
        sides = dice.count(4, 8)
        taller = height * (1.0 if kind == "dome" else 1.5)
        profile = np.column_stack([width / 2 * wide, taller * high])
        s.revolve(profile, turn=turn_y(0.4), sides=sides, stretch=(1, depth / width))
        if kind == "cone":
            for angle in np.arange(5) * 1.26:
                top = (0.25 * np.sin(angle), taller * 1.15, 0.25 * np.cos(angle))
                foot = (-0.25 * np.sin(angle), taller * 0.85, -0.25 * np.cos(angle))
                s.rod(foot, top, 0.02, sides=6)
    return f"{a(kind, 'tent')}"


OUTDOORS = {recipe.__name__: recipe for recipe in (ladder, fence, house, tent)}
