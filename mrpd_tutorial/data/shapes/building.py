"""Recipes: parts of a house."""

import numpy as np

from mrpd_tutorial.data.shapes.parts import Dice, Shape, turn_x, turn_y, turn_z
from mrpd_tutorial.data.shapes.words import NUMBER, a, compare

__all__ = ["BUILDING"]


def window(dice: Dice, s: Shape) -> str:
    """A frame with bars and one or two sashes, perhaps open; perhaps shutters."""
    width, height = dice(0.6, 1.8), dice(0.8, 1.8)
    bar, depth = dice(0.04, 0.09), dice(0.05, 0.15)
    s.frame((0, 0, 0), (width, height, depth), bar)
    sashes = dice.count(1, 2) if width < 1.2 else dice.count(2, 3)
    rows, columns = dice.count(1, 3), dice.count(1, 2)
    each, tall = (width - 2 * bar) / sashes, height - 2 * bar
    opened = dice.coin(0.3)
    glass = dice.coin(0.3)
    for i in range(sashes):
        sash = Shape()
        sash.frame((0, 0, 0), (each, tall, depth * 0.5), bar * 0.8)
        for row in range(1, rows):
            sash.box((0, tall * row / rows, 0), (each, bar * 0.5, depth * 0.3))
        for column in range(1, columns):
            x = each * (column / columns - 0.5)
            sash.box((x, 0, 0), (bar * 0.5, tall, depth * 0.3))
        if glass:
            sash.box((0, 0, 0), (each, tall, 0.004))
        x = (i + 0.5) * each - sashes * each / 2
        swing = dice(0.4, 1.3) if opened and i in (0, sashes - 1) else 0.0
        side = -1 if i == 0 else 1
        hinged = Shape()
        hinged.add(sash, (-side * each / 2, 0, 0))
        turn = turn_y(side * swing)
        s.add(hinged, (x + side * each / 2, bar, 0), turn)
    if dice.coin(0.4):
        s.box((0, -0.04, depth * 0.5), (width * 1.1, 0.04, depth * 2))
    shutters = dice.coin(0.2)
    for side in (-1, 1) if shutters else ():
        x = side * (width / 2 + each * 0.45)
        s.frame((x, 0, -depth / 2), (each * 0.85, height, 0.03), bar)
        for y in np.linspace(0.08, 0.9, 9) * height:
            s.box((x, y, -depth / 2), (each * 0.8, height * 0.05, 0.03), turn_x(0.5))
    look = "open" if opened else ""
    panes = NUMBER[sashes] + (" sash" if sashes == 1 else " sashes")
    return f"{a(look, 'window')} of {panes}{' with shutters' if shutters else ''}"


def door(dice: Dice, s: Shape) -> str:
    """A leaf, panelled or glazed, with a handle in its frame, closed or ajar."""
    width, height = dice(0.7, 1.0), dice(1.95, 2.15)
    leaves = 2 if dice.coin(0.2) else 1
    bar, depth = dice(0.06, 0.12), dice(0.08, 0.2)
    total = width * leaves + 2 * bar
    for side in (-1, 1):
        s.box((side * (total - bar) / 2, 0, 0), (bar, height + bar, depth))
    s.box((0, height, 0), (total, bar, depth))
    rows, columns = dice.count(1, 4), dice.count(1, 2)
    opened = dice.coin(0.35)
    swing = dice(0.3, 1.4) if opened else 0.0
    glazed, sill = dice.coin(0.3), dice(0.05, 0.5)
    for i in range(leaves):
        side = -1 if i == 0 else 1
        leaf = Shape()
        middle = -side * width / 2
        solid = height * sill if glazed else height - 0.01
        leaf.box((middle, 0.01, 0), (width, solid, 0.045))
        if glazed:
            # Glass itself gives no points: the opening and its bars do.
            at, tall = (middle, solid, 0), height - solid
            leaf.frame(at, (width, tall, 0.045), width * 0.13)
            for row in range(1, rows):
                y = solid + tall * row / rows
                leaf.box((middle, y, 0), (width, 0.025, 0.03))
            for column in range(1, columns):
                x = middle + (column / columns - 0.5) * width
                leaf.box((x, solid, 0), (0.025, tall, 0.03))
        for row in range(0 if glazed else rows):
            for column in range(columns):
                x = middle + ((column + 0.5) / columns - 0.5) * width * 0.85
                y = height * (0.06 + 0.9 * row / rows)
                size = (width * 0.75 / columns, height * 0.8 / rows, 0.075)
                leaf.box((x, y, 0), size)
        knob = middle - side * width * 0.42
        for z in (-1, 1):
            start = (knob, height * 0.48, 0)
            end = (knob, height * 0.48, z * 0.08)
            leaf.rod(start, end, 0.012, sides=8)
            leaf.rod(end, (knob + side * 0.12, height * 0.48, z * 0.08), 0.014, sides=8)
        s.add(leaf, (side * width * leaves / 2, 0, 0), turn_y(side * swing))
    look = "open" if opened else "closed"
    kind = "double" if leaves == 2 else ""
    total_panels = NUMBER[rows * columns]
    noun = "pane" if glazed else "panel"
    noun += "" if rows * columns == 1 else "s"
    return f"{a(look, kind, 'door')} with {total_panels} {noun} a leaf"


def stairs(dice: Dice, s: Shape) -> str:
    """Straight or winding steps, solid or open, perhaps with a rail."""
    steps, rise = dice.count(5, 12), dice(0.16, 0.2)
    spiral = dice.coin(0.25)
    if spiral:
        steps += 3
        radius, turn = dice(0.7, 1.0), dice(0.35, 0.5)
        s.rod((0, 0, 0), (0, (steps + 4) * rise, 0), 0.06)
        for i in range(steps):
            angle = np.array([i - 0.55, i + 0.55]) * turn
            ring = np.vstack(
                [[0, 0], radius * np.stack([np.sin(angle), np.cos(angle)], 1)]
            )
            y = (i + 1) * rise
            layers = [np.insert(ring, 1, y + h, axis=1) for h in (0, -0.04)]
            s.loft(layers)
            out = radius * 0.95 * np.array([np.sin(i * turn), np.cos(i * turn)])
            s.rod((out[0], y, out[1]), (out[0], y + 0.9, out[1]), 0.015, sides=6)
        angle = np.linspace(0, steps - 1, 4 * steps) * turn
        y = (angle / turn + 1) * rise + 0.9
        path = [radius * 0.95 * np.sin(angle), y, radius * 0.95 * np.cos(angle)]
        s.tube(np.stack(path, 1), 0.025)
        return "spiral stairs around a column"
    width, tread = dice(0.7, 1.6), dice(0.24, 0.32)
    solid = dice.coin(0.55)
    for i in range(steps):
        z = -(i + 0.5) * tread
        if solid:
            s.box((0, 0, z), (width, (i + 1) * rise, tread))
        else:
            s.box((0, (i + 1) * rise - 0.04, z), (width, 0.04, tread * 1.1))
    slope = np.arctan2(rise, tread)
    long = steps * np.hypot(rise, tread)
    if not solid:
        for side in (-1, 1):
            beam = Shape()
            beam.box((0, -0.12, -long / 2), (0.05, 0.2, long))
            s.add(beam, (side * width / 2, rise / 2, 0), turn_x(slope))
    rails = dice.count(0, 2)
    for side in (-1, 1)[:rails]:
        x = side * width * 0.47
        for i in range(0, steps, 2):
            z, y = -(i + 0.5) * tread, (i + 1) * rise
            s.rod((x, y, z), (x, y + 0.85, z), 0.015, sides=6)
        start, end = (
            (x, rise + 0.85, -tread / 2),
            (x, steps * rise + 0.85, -(steps - 0.5) * tread),
        )
        s.rod(start, end, 0.03, sides=8)
    look = "solid" if solid else "open"
    words = {0: "no rail", 1: "one rail", 2: "two rails"}[rails]
    return f"{look} stairs of {NUMBER[steps]} steps with {words}"


def fireplace(dice: Dice, s: Shape) -> str:
    """A hearth between two pillars under a mantel, perhaps with a chimney breast."""
    width, height, depth = dice(1.1, 1.7), dice(0.9, 1.3), dice(0.25, 0.5)
    pillar, beam = width * dice(0.12, 0.22), height * dice(0.15, 0.28)
    for side in (-1, 1):
        at = (side * (width - pillar) / 2, 0, 0)
        s.box(at, (pillar, height - beam, depth))
        s.box((at[0], 0, 0.03), (pillar * 1.15, 0.1, depth * 1.1))
    s.box((0, height - beam, 0), (width, beam, depth))
    s.box((0, height, 0.03), (width * dice(1.05, 1.2), 0.05, depth * 1.25))
    s.box((0, 0, -depth * 0.48), (width, height, 0.02))
    if dice.coin(0.6):
        s.box((0, 0, depth * 0.4), (width * 1.1, 0.06, depth * 1.6))
    logs = dice.coin(0.5)
    for i in range(3 if logs else 0):
        x, y = width * 0.2, 0.1 + 0.07 * (i == 2)
        z = (i - 1) * 0.1 if i < 2 else -0.05
        s.rod((-x, y, z), (x, y + 0.02, z + 0.03), 0.04)
    chimney = dice.coin(0.35)
    if chimney:
        wide = width * dice(0.6, 0.9)
        s.box((0, height + 0.05, -0.04), (wide, dice(0.6, 1.2), depth * 0.8))
    end = " and a chimney above" if chimney else ""
    return f"a fireplace with {'logs' if logs else 'an empty hearth'}{end}"


def radiator(dice: Dice, s: Shape) -> str:
    """A row of upright ribs on feet, or round bars on two posts."""
    width, height, depth = dice(0.5, 1.4), dice(0.45, 0.8), dice(0.08, 0.16)
    towel = dice.coin(0.3)
    if towel:
        width, height = dice(0.4, 0.6), dice(0.9, 1.6)
        bars = dice.count(8, 12)
        for side in (-1, 1):
            s.rod((side * width / 2, 0, 0), (side * width / 2, height, 0), 0.02)
        for y in np.linspace(0.06, 0.94, bars) * height:
            s.rod((-width / 2, y, 0), (width / 2, y, 0), 0.012, sides=8)
        return f"a towel radiator with {NUMBER[bars]} round bars"
    ribs = dice.count(6, 12)
    each = width / ribs
    for i in range(ribs):
        x = (i + 0.5) * each - width / 2
        s.blob((x, 0.08, 0), (each * dice(0.6, 0.85), height, depth), 0.7)
    for y in (0.15, height):
        s.rod((-width * 0.52, y, 0), (width * 0.52, y, 0), 0.022, sides=8)
    for side in (-1, 1):
        s.box((side * (width / 2 - each), 0, 0), (0.04, 0.12, depth))
    s.rod((width * 0.52, 0.15, 0), (width * 0.6, 0.15, 0), 0.035)
    return f"a radiator with {NUMBER[ribs]} upright ribs"


def shower(dice: Dice, s: Shape) -> str:
    """A tray, one or two glass walls, a pole and a head."""
    width, depth, height = dice(0.75, 1.2), dice(0.75, 1.0), dice(1.85, 2.1)
    rim = dice(0.06, 0.18)
    _frame_flat(s, width, depth, rim)
    s.box((0, 0, 0), (width, rim * 0.4, depth))
    walls = dice.count(1, 3)
    bar = 0.035
    sides = [(-np.pi / 2, depth, (-width / 2, 0)), (np.pi / 2, depth, (width / 2, 0))]
    sides.append((0.0, width, (0, depth / 2)))
    for turn, wide, (x, z) in sides[:walls]:
        pane = Shape()
        pane.box((0, rim, 0), (wide, height - rim, 0.012))
        pane.frame((0, rim, 0), (wide, height - rim, bar), bar)
        s.add(pane, (x, 0, z), turn_y(turn))
    back = -depth * 0.45
    s.rod((0, rim + 0.5, back), (0, height * 1.02, back), 0.014, sides=8)
    reach = dice(0.15, 0.4)
    s.rod((0, height * 1.02, back), (0, height, back + reach), 0.014, sides=8)
    disc = dice(0.05, 0.13)
    s.revolve(
        [(0.02, 0.05), (disc, 0.02), (disc, 0), (0, 0)],
        (0, height - 0.05, back + reach),
    )
    s.blob((0, 1.0, back), (0.2, 0.07, 0.08), 0.3)
    noun = "glass wall" if walls == 1 else "glass walls"
    return f"a shower with {NUMBER[walls]} {noun}"


def _frame_flat(s: Shape, width, depth, rim) -> None:
    for side in (-1, 1):
        s.box((side * (width - 0.05) / 2, 0, 0), (0.05, rim, depth))
        s.box((0, 0, side * (depth - 0.05) / 2), (width, rim, 0.05))


def picture(dice: Dice, s: Shape) -> str:
    """A picture frame: a moulding around a slightly sunken plane."""
    width = dice(0.3, 1.2)
    height = width * dice(0.6, 1.5)
    bar, depth = min(width, height) * dice(0.06, 0.16), dice(0.015, 0.05)
    s.frame((0, 0, 0), (width, height, depth), bar)
    s.box((0, 0, -depth * 0.3), (width, height, depth * 0.3))
    if dice.coin(0.5):
        s.frame(
            (0, -height * 0.02, 0),
            (width * 1.04, height * 1.04, depth * 1.6),
            bar * 0.3,
        )
    stand = dice.coin(0.3)
    if stand:
        leg = Shape()
        leg.box((0, 0, 0), (width * 0.2, height * 0.75, 0.01))
        s.add(leg, (0, 0, -height * 0.35), turn_x(0.5) @ turn_z(0))
    look = compare(width / height, 0.85, 1.18, "upright", "square", "wide")
    return f"{a(look, 'picture frame')}{' on a foot' if stand else ''}"


BUILDING = {
    recipe.__name__: recipe
    for recipe in (
        window,
        door,
        stairs,
        fireplace,
        radiator,
        shower,
    )
} | {"picture frame": picture}
