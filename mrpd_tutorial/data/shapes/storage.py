"""Recipes: boxes with doors and drawers, and kitchen and laundry machines."""

from itertools import pairwise

import numpy as np

from mrpd_tutorial.data.shapes.parts import Dice, Shape, turn_x, turn_y
from mrpd_tutorial.data.shapes.words import NUMBER, a, compare

__all__ = ["STORAGE"]


def _feet(s: Shape, width, depth, height) -> None:
    for i, k in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        at = (i * (width / 2 - 0.05), 0, k * (depth / 2 - 0.05))
        s.rod(at, (at[0], height, at[2]), 0.02, 0.025, sides=8)


def _front(s: Shape, dice: Dice, at, size, rows, columns, knob) -> None:
    """Panels a little in front of a face; `at` is the bottom centre of the face."""
    width, height = size[0] / columns, size[1] / rows
    out = dice(0.012, 0.03)
    for row in range(rows):
        for column in range(columns):
            x = at[0] + (column + 0.5) * width - size[0] / 2
            y = at[1] + row * height
            s.box((x, y + height * 0.03, at[2]), (width * 0.94, height * 0.94, out * 2))
            mid, z = y + height / 2, at[2] + out
            if knob == "knobs":
                s.blob((x, mid - 0.015, z + 0.01), (0.03, 0.03, 0.03))
            elif knob == "bars":
                s.box((x, mid, z + 0.015), (width * 0.4, 0.015, 0.02))
            elif knob == "doors":
                side = 1 if (column % 2 == 0) == (columns > 1) else -1
                at_x = x + side * width * 0.4
                bar = min(0.2, height * 0.3)
                s.box((at_x, mid - bar / 2, z + 0.015), (0.015, bar, 0.02))


def cabinet(dice: Dice, s: Shape) -> str:
    """A low or hung box with doors, perhaps a row of drawers above them."""
    width, depth, height = dice(0.5, 1.5), dice(0.3, 0.6), dice(0.6, 1.2)
    feet = dice(0.03, 0.2) if dice.coin(0.5) else 0.0
    doors = max(1, round(width / dice(0.35, 0.6)))
    if feet:
        _feet(s, width, depth, feet)
    body = height - feet
    s.box((0, feet, 0), (width, body, depth))
    s.box((0, height, 0.01), (width * 1.04, 0.03, depth * 1.04))
    drawers = dice.coin(0.5)
    share = dice(0.18, 0.3) if drawers else 0.0
    face = (width * 0.97, body * (1 - share) * 0.97)
    _front(s, dice, (0, feet, depth / 2), face, 1, doors, "doors")
    if drawers:
        at = (0, feet + body * (1 - share), depth / 2)
        _front(s, dice, at, (width * 0.97, body * share), 1, doors, "bars")
    look = compare(width / height, 0.8, 1.4, "narrow", "", "wide")
    end = " below a row of drawers" if drawers else ""
    noun = "door" if doors == 1 else "doors"
    return f"{a(look, 'cabinet')} with {NUMBER[doors]} {noun}{end}"


def dresser(dice: Dice, s: Shape) -> str:
    """A chest of drawers."""
    width, depth, height = dice(0.4, 1.4), dice(0.35, 0.55), dice(0.5, 1.3)
    feet = dice(0.02, 0.18)
    rows = dice.count(2, 6)
    columns = 2 if width > 0.95 else 1
    _feet(s, width, depth, feet)
    s.box((0, feet, 0), (width, height - feet, depth))
    if dice.coin(0.6):
        s.box((0, height, 0.01), (width * 1.06, 0.03, depth * 1.06))
    face = (width * 0.97, (height - feet) * 0.98)
    knob = dice.pick("knobs", "bars")
    _front(s, dice, (0, feet, depth / 2), face, rows, columns, knob)
    look = compare(height / width, 0.8, 1.3, "wide", "", "tall")
    each = f" in {NUMBER[columns]} columns" if columns > 1 else ""
    total = NUMBER[rows * columns]
    return f"{a(look, 'dresser')} with {total} drawers{each} and {knob}"


def wardrobe(dice: Dice, s: Shape) -> str:
    """A tall box with tall doors."""
    doors = dice.count(2, 4)
    width, depth, height = doors * dice(0.4, 0.6), dice(0.5, 0.65), dice(1.8, 2.4)
    low = dice(0.2, 0.4) if dice.coin(0.4) else 0.05
    s.box((0, 0, 0), (width, height, depth))
    at = (0, low, depth / 2)
    _front(s, dice, at, (width * 0.98, height - low), 1, doors, "doors")
    if low > 0.1:
        face = (width * 0.98, low - 0.03)
        _front(s, dice, (0, 0.03, depth / 2), face, 1, max(1, doors // 2), "bars")
    if dice.coin(0.4):
        s.box((0, height, 0.02), (width * 1.07, dice(0.04, 0.1), depth * 1.1))
    end = " and drawers at the bottom" if low > 0.1 else ""
    return f"a tall wardrobe with {NUMBER[doors]} doors{end}"


def bookshelf(dice: Dice, s: Shape) -> str:
    """Open shelves, perhaps with books."""
    width, depth, height = dice(0.5, 1.4), dice(0.22, 0.4), dice(0.8, 2.2)
    shelves, board = dice.count(2, 7), dice(0.015, 0.04)
    columns = dice.count(1, 3) if width > 0.9 else 1
    back = dice.coin(0.7)
    for x in np.linspace(-0.5, 0.5, columns + 1):
        s.box((x * width, 0, 0), (board, height, depth))
    levels = np.linspace(dice(0, 0.06), 1 - board / height, shelves + 1) * height
    for y in levels:
        s.box((0, y, 0), (width, board, depth))
    if back:
        s.box((0, 0, -depth / 2), (width, height, 0.01))
    books = dice.coin(0.45)
    for y, above in pairwise(levels) if books else ():
        x = -width / 2 + board
        stop = dice(-0.3, 0.5) * width
        while x < stop:
            thick = dice(0.03, 0.1)
            tall = (above - y) * dice(0.55, 0.9)
            s.box((x + thick / 2, y, 0), (thick * 0.9, tall, depth * dice(0.6, 0.85)))
            x += thick
    look = compare(height / width, 1.2, 2.0, "wide", "", "tall")
    end = "" if back else " and no back"
    load = " full of books" if books else ""
    return f"{a(look, 'bookshelf')} with {NUMBER[shelves]} levels{end}{load}"


def refrigerator(dice: Dice, s: Shape) -> str:
    """A tall smooth box with one, two or three doors and long handles."""
    width, depth, height = dice(0.55, 0.95), dice(0.55, 0.75), dice(1.4, 2.0)
    s.box((0, 0.04, -0.04), (width, height - 0.04, depth - 0.08))
    _feet(s, width, depth, 0.05)
    beside = width > 0.8 and dice.coin(0.7)
    split = dice(0.3, 0.7)
    z, thick = depth / 2 - 0.03, 0.08
    if beside:
        for side in (-1, 1):
            x = side * width / 4
            s.box((x, 0.06, z), (width / 2 * 0.97, height - 0.07, thick))
            at = (side * 0.05, height * 0.35, z + 0.07)
            s.box(at, (0.025, height * 0.4, 0.03))
        return "a wide refrigerator with two doors side by side"
    doors = dice.count(1, 2)
    edges = [0.06, height] if doors == 1 else [0.06, height * split, height]
    for low, high in pairwise(edges):
        s.box((0, low, z), (width, (high - low) * 0.98, thick))
        bar = (high - low) * 0.4
        middle = (low + high) / 2
        s.box((width * 0.42, middle - bar / 2, z + 0.07), (0.025, bar, 0.03))
    noun = "door" if doors == 1 else "doors, one above the other"
    return f"a refrigerator with {NUMBER[doors]} {noun}"


def _porthole(s: Shape, radius, y, z) -> None:
    s.ring((0, y, z), radius, radius * 0.15)
    glass = [(0, 0.06), (radius * 0.5, 0.045), (radius * 0.9, 0)]
    s.revolve(glass[::-1], (0, y, z), turn_x(np.pi / 2))


def washing_machine(dice: Dice, s: Shape) -> str:
    """A box with a round door in front, or a lid on top."""
    width, depth, height = dice(0.55, 0.68), dice(0.45, 0.65), dice(0.8, 0.95)
    s.box((0, 0.02, 0), (width, height, depth))
    top = dice.coin(0.2)
    z = depth / 2
    if top:
        s.box((0, height, -depth * 0.42), (width, dice(0.1, 0.2), depth * 0.16))
        s.box((0, height, depth * 0.05), (width * 0.85, 0.04, depth * 0.7))
        for x in (0.2, 0.32):
            knob = (x * width, height + 0.06, -depth * 0.32)
            s.rod(knob, (knob[0], knob[1], knob[2] + 0.04), 0.03)
        return "a washing machine that opens at the top"
    _porthole(s, width * dice(0.25, 0.36), height * dice(0.42, 0.52), z)
    band = height * dice(0.12, 0.18)
    s.box((0, height - band, z), (width, band * 0.9, 0.03))
    s.box(
        (-width * 0.3, height - band * 0.9, z + 0.01), (width * 0.3, band * 0.6, 0.03)
    )
    knob = (width * dice(0, 0.35), height - band / 2, z)
    s.rod(knob, (knob[0], knob[1], z + 0.05), band * 0.28)
    _feet(s, width, depth, 0.04)
    return "a washing machine with a round door in front"


def oven(dice: Dice, s: Shape) -> str:
    """A box with a window, a bar handle, knobs and burners on top."""
    width, depth, height = dice(0.5, 0.95), dice(0.5, 0.65), dice(0.8, 0.95)
    s.box((0, 0, 0), (width, height, depth))
    z = depth / 2
    s.box((0, height * 0.2, z), (width * 0.94, height * 0.58, 0.05))
    s.box((0, height * 0.32, z + 0.01), (width * 0.6, height * 0.3, 0.05))
    s.box((0, height * 0.02, z), (width * 0.94, height * 0.15, 0.04))
    bar = height * 0.74
    s.rod((-width * 0.4, bar, z + 0.07), (width * 0.4, bar, z + 0.07), 0.013)
    for side in (-1, 1):
        s.rod((side * width * 0.36, bar, z), (side * width * 0.36, bar, z + 0.07), 0.01)
    knobs, burners = dice.count(4, 6), 4 if width < 0.75 else dice.count(4, 6)
    for x in np.linspace(-0.38, 0.38, knobs) * width:
        s.rod((x, height * 0.88, z), (x, height * 0.88, z + 0.045), 0.025)
    columns = burners // 2
    for i in range(columns * 2):
        x = ((i % columns + 0.5) / columns - 0.5) * width * 0.9
        at = (x, height + 0.012, (-1 if i < columns else 1) * depth * 0.22)
        s.ring(at, dice(0.06, 0.1), 0.012, turn_x(np.pi / 2))
        s.revolve([(0.04, 0), (0.04, 0.02), (0, 0.02)], (at[0], height, at[2]))
    panel = dice.coin(0.4)
    if panel:
        s.box((0, height, -depth * 0.46), (width, dice(0.1, 0.25), 0.05))
    end = " and a raised back" if panel else ""
    return f"an oven with {NUMBER[columns * 2]} burners, {NUMBER[knobs]} knobs{end}"


def monitor(dice: Dice, s: Shape) -> str:
    """A flat screen on a foot, or an old deep tube."""
    width = dice(0.5, 1.2)
    height = width * dice(0.52, 0.78)
    lift = dice(0.04, 0.2)
    deep = dice.coin(0.2)
    screen = Shape()
    screen.box((0, 0, 0), (width, height, 0.05))
    rim = width * dice(0.02, 0.05)
    for side in (-1, 1):
        screen.box((side * (width - rim) / 2, 0, 0.02), (rim, height, 0.03))
        y = 0 if side < 0 else height - rim
        screen.box((0, y, 0.02), (width, rim, 0.03))
    if deep:
        tail = [(0.5, 0), (0.5, 0.3), (0.3, 1)]
        shape = np.array(tail) * [1.2, -width * 0.6]
        at, turn = (0, height / 2, -0.02), turn_x(np.pi / 2)
        screen.revolve(shape, at, turn, 4, (width * 0.7, height * 0.7))
    s.add(screen, (0, lift, 0), turn_x(-dice(0, 0.12)))
    foot = dice.pick("a round foot", "a flat foot", "two feet")
    if foot == "two feet":
        for side in (-1, 1):
            s.box((side * width * 0.3, 0, 0), (0.04, lift + 0.02, 0.06))
            s.box((side * width * 0.3, 0, 0), (0.04, 0.02, dice(0.15, 0.3)))
    else:
        s.box((0, 0, -0.04), (width * 0.1, lift + height * 0.3, 0.04))
        reach = width * dice(0.18, 0.3)
        if foot == "a round foot":
            s.revolve([(reach, 0), (reach, 0.015), (0, 0.02)], stretch=(1, 0.7))
        else:
            s.box((0, 0, 0), (reach * 2, 0.015, reach))
    kind = "deep old" if deep else "flat"
    look = compare(width, 0.65, 1.0, "small", "", "large")
    return f"{a(look, kind, 'monitor')} on {foot}"


def laptop(dice: Dice, s: Shape) -> str:
    """Two thin slabs with a hinge at the back."""
    width, opening = dice(0.28, 0.42), dice(1.3, 2.3)
    depth = width * dice(0.6, 0.8)
    s.box((0, 0, 0), (width, 0.018, depth))
    rows = 4
    for row in range(rows):
        for x in np.linspace(-0.42, 0.42, 10) * width:
            z = -depth * 0.35 + row * depth * 0.13
            s.box((x, 0.018, z), (width * 0.07, 0.006, depth * 0.09))
    s.box((0, 0.018, depth * 0.32), (width * 0.3, 0.004, depth * 0.2))
    lid = Shape()
    lid.box((0, 0, 0), (width, depth, 0.012))
    s.add(lid, (0, 0.012, -depth / 2), turn_x(np.pi / 2 - opening) @ turn_y(0))
    look = compare(opening, 1.55, 1.95, "half-closed", "", "wide open")
    return f"{a(look, 'laptop')} with a keyboard"


STORAGE = {
    recipe.__name__.replace("_", " "): recipe
    for recipe in (
        cabinet,
        dresser,
        wardrobe,
        bookshelf,
        refrigerator,
        washing_machine,
        oven,
        monitor,
        laptop,
    )
}
