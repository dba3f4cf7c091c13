"""Recipes: things to sit on, lie on and work at."""

import numpy as np

from mrpd_tutorial.data.shapes.parts import Dice, Shape, turn_x, turn_y, turn_z
from mrpd_tutorial.data.shapes.words import NUMBER, a, compare

__all__ = ["FURNITURE"]


def _legs(s: Shape, dice: Dice, width, depth, height, style, thickness) -> None:
    """Four legs under a top of this size: square, round or splayed."""
    x, z = width / 2 - thickness, depth / 2 - thickness
    spread = dice(0.05, 0.25) * height if style == "splayed" else 0.0
    for i, k in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        if style == "square":
            at = (i * x, 0, k * z)
            s.box(at, (thickness, height, thickness))
        else:
            foot = (i * (x + spread * 0.5), 0, k * (z + spread * 0.5))
            head = (i * (x - spread * 0.5), height, k * (z - spread * 0.5))
            s.rod(foot, head, thickness * 0.4, thickness * 0.6)


def _pedestal(s: Shape, dice: Dice, height, reach, thick) -> str:
    """One central leg with a disc, a star foot or a plain block; names the foot."""
    foot = dice.pick("disc", "star", "disc")
    s.rod((0, 0.02, 0), (0, height, 0), thick)
    if foot == "disc":
        rise = dice(0.02, 0.06)
        s.revolve([(0, 0), (reach, 0), (reach, 0.015), (thick, rise), (0, rise)])
        return "a round foot"
    arms = dice.count(4, 5)
    for angle in np.arange(arms) * 2 * np.pi / arms:
        tip = (reach * np.sin(angle), 0.03, reach * np.cos(angle))
        s.rod((0, 0.08, 0), tip, 0.025, 0.02, sides=8)
        s.blob((tip[0], 0, tip[2]), (0.05, 0.05, 0.05))
    return "a star foot"


def _sled(s: Shape, width, depth, height, radius) -> None:
    """Two bent-tube runners, as under an office or cantilever chair."""
    for side in (-1, 1):
        x, z = side * (width / 2 - radius), depth / 2
        path = [(x, height, -z), (x, radius, -z), (x, radius, z), (x, height, z)]
        for start, end in zip(path, path[1:], strict=False):
            s.rod(start, end, radius, sides=8)


def _back(s: Shape, dice: Dice, width, height, style, thickness) -> None:
    """A back rising from the origin, facing +z."""
    if style == "solid":
        s.box((0, 0, 0), (width, height, thickness))
    elif style == "rounded":
        s.blob((0, 0, 0), (width, height, thickness * 2), dice(0.3, 0.8))
    elif style == "curved":
        angle = np.linspace(-1, 1, 9)[:, None] * dice(0.5, 1.2)
        y = np.array([[0.0, height]])
        radius = width / 2 / np.sin(angle.max())
        x = np.broadcast_to(radius * np.sin(angle), (9, 2))
        z = np.broadcast_to(radius * (1 - np.cos(angle)), (9, 2))
        for shift in (0, -thickness * 0.6):
            s.grid(np.stack([x, y + np.zeros_like(x), z + shift], -1))
    else:
        post = thickness * 0.8
        for side in (-1, 1):
            s.box((side * (width - post) / 2, 0, 0), (post, height, post))
        s.box((0, height * 0.85, 0), (width, height * 0.15, post))
        count = dice.count(2, 5)
        for step in (np.arange(count) + 0.5) / count:
            if style == "slatted":
                s.box((0, height * 0.8 * step, 0), (width, height * 0.08, post * 0.6))
            else:
                s.box(((step - 0.5) * width * 0.9, 0, 0), (post * 0.6, height, post / 2))


def chair(dice: Dice, s: Shape) -> str:
    """A seat with a back; four legs, a pedestal or a sled; perhaps arms."""
    width, depth, seat = dice(0.38, 0.6), dice(0.38, 0.58), dice(0.38, 0.5)
    base = dice.pick("square", "round", "splayed", "square", "pedestal", "sled")
    slab = dice(0.02, 0.14)
    if base == "pedestal":
        below = "one leg on " + _pedestal(s, dice, seat, width * 0.5, dice(0.02, 0.04))
    elif base == "sled":
        _sled(s, width, depth, seat, dice(0.012, 0.02))
        below = "sled runners"
    else:
        _legs(s, dice, width, depth, seat, base, dice(0.03, 0.06))
        below = f"four {base} legs"
    if slab > 0.07:
        s.blob((0, seat, 0), (width, slab, depth), dice(0.6, 0.95))
    elif dice.coin(0.2):
        edge = [(0, 0), (width / 2, 0), (width / 2, slab), (0, slab)]
        s.revolve(edge, (0, seat, 0), stretch=(1, depth / width), solid=True)
    else:
        s.box((0, seat, 0), (width, slab, depth))
    top = seat + slab
    style = dice.pick("solid", "rounded", "slatted", "spindle", "curved")
    height = dice(0.3, 0.75)
    back = Shape()
    _back(back, dice, width * dice(0.85, 1), height, style, dice(0.02, 0.07))
    lift = dice(0.05, 0.2) if style in ("solid", "rounded") and dice.coin(0.4) else 0
    lean = turn_x(-dice(0, 0.3))
    s.add(back, (0, top + lift - 0.02, -depth / 2 + 0.03), lean)
    if lift:
        for side in (-1, 1):
            foot = (side * width * 0.3, top - 0.02, -depth / 2 + 0.02)
            s.rod(foot, (foot[0], top + lift + 0.05, foot[2] - 0.02), 0.012, sides=8)
    arms = dice.coin(0.4)
    if arms:
        rise, bar = dice(0.18, 0.26), dice(0.03, 0.07)
        for side in (-1, 1):
            x = side * (width / 2 + bar * 0.3)
            s.box((x, top + rise, -depth * 0.05), (bar, 0.03, depth * 0.8))
            s.box((x, seat, depth * 0.25), (bar * 0.7, rise + slab, bar * 0.7))
            if dice.coin(0.3):
                s.box((x, seat, 0), (bar * 0.4, rise + slab, depth * 0.6))
    look = compare(height, 0.42, 0.6, "low-backed", "", "high-backed")
    end = " and arms" if arms else ""
    return f"{a(look, 'chair')} with a {style} back, {below}{end}"


def stool(dice: Dice, s: Shape) -> str:
    """A seat without back."""
    height, radius = dice(0.35, 0.8), dice(0.14, 0.22)
    slab, count = dice(0.02, 0.08), dice.count(3, 4)
    form = dice.pick("round", "round", "square")
    single = dice.coin(0.3)
    if form == "round":
        edge = [(0, 0), (radius, 0), (radius, slab), (0, slab)]
        s.revolve(edge, (0, height, 0), solid=True)
    else:
        s.box((0, height, 0), (radius * 2, slab, radius * 2))
    if single:
        foot = _pedestal(s, dice, height, radius * dice(0.9, 1.2), dice(0.018, 0.04))
        below = f"one leg on {foot}"
    else:
        flare, thick = dice(0.9, 1.4), dice(0.012, 0.03)
        turns = np.arange(count) * 2 * np.pi / count + np.pi / 4
        inner = radius * (0.8 if form == "round" else 1.1)
        ways = np.stack([np.sin(turns), np.cos(turns)], 1)
        for x, z in ways * inner:
            s.rod((x * flare, 0, z * flare), (x, height, z), thick, sides=10)
        if dice.coin(0.7):
            low = dice(0.2, 0.4)
            reach = inner * (flare + (1 - flare) * low)
            for i in range(count):
                one, two = ways[i] * reach, ways[(i + 1) % count] * reach
                y = low * height
                s.rod((one[0], y, one[1]), (two[0], y, two[1]), thick * 0.6, sides=8)
        below = f"{NUMBER[count]} legs"
    look = compare(height, 0.48, 0.65, "low", "", "high")
    return f"{a(look, form, 'stool')} with {below}"


def bench(dice: Dice, s: Shape) -> str:
    """A long seat of slats or one plank."""
    width, depth, seat = dice(1.1, 2.0), dice(0.3, 0.5), dice(0.38, 0.48)
    slats = dice.count(1, 5)
    each = depth / slats
    for i in range(slats):
        z = (i + 0.5) * each - depth / 2
        s.box((0, seat, z), (width, 0.035, each * (0.8 if slats > 1 else 1)))
    for side in (-1, 1):
        x = side * (width / 2 - dice(0.08, 0.25))
        if dice.coin(0.5):
            s.box((x, 0, 0), (dice(0.04, 0.08), seat, depth * 0.9))
        else:
            for k in (-1, 1):
                s.box((x, 0, k * depth * 0.4), (0.05, seat, 0.05))
            s.box((x, seat - 0.05, 0), (0.04, 0.05, depth))
    backed = dice.coin(0.55)
    if backed:
        back, height = Shape(), dice(0.3, 0.45)
        for side in (-1, 1):
            back.box((side * width * 0.42, 0, -0.03), (0.05, height, 0.03))
        rails = dice.count(2, 4)
        for i in range(rails):
            tall = height / rails
            back.box((0, i * tall + tall * 0.25, 0), (width, tall * 0.7, 0.025))
        s.add(back, (0, seat, -depth / 2), turn_x(-dice(0.05, 0.3)))
    seat_name = "a plank seat" if slats == 1 else f"a seat of {NUMBER[slats]} slats"
    look = compare(width, 1.35, 1.7, "short", "", "long")
    return f"{a(look, 'bench')} with {seat_name} and {'a' if backed else 'no'} back"


def sofa(dice: Dice, s: Shape) -> str:
    """Cushions between arms and a back; perhaps a corner piece."""
    seats = dice.count(1, 4)
    width, depth = seats * dice(0.55, 0.75), dice(0.75, 1.0)
    seat, height = dice(0.36, 0.46), dice(0.65, 0.95)
    arm, thick = dice(0.08, 0.25), dice(0.15, 0.25)
    feet = dice(0.0, 0.12)
    soft = dice(0.75, 0.98)
    s.box((0, feet, 0), (width + 2 * arm, seat * 0.55 - feet / 2, depth))
    for i in range(seats):
        x = (i + 0.5) * width / seats - width / 2
        size = (width / seats * 0.98, seat * 0.5, depth - thick * 0.7)
        s.blob((x, seat * 0.52, thick * 0.35), size, soft)
        if dice.coin(0.85):
            size = (width / seats * 0.96, height - seat + 0.05, thick)
            at = (x, seat, -depth / 2 + thick * 1.0)
            s.blob(at, size, soft, turn_x(-dice(0.05, 0.25)))
    s.box((0, feet, -depth / 2 + thick * 0.3), (width + arm, height - feet, thick * 0.6))
    armless = dice.coin(0.12)
    rise = seat + dice(0.1, 0.28)
    for side in () if armless else (-1, 1):
        at = (side * (width + arm) / 2, feet, 0)
        if dice.coin(0.3):
            s.blob(at, (arm * 1.1, rise - feet, depth), 0.85)
        else:
            s.box(at, (arm, rise - feet, depth))
        if dice.coin(0.25):
            start, end = (at[0], rise, -depth / 2), (at[0], rise, depth / 2)
            s.rod(start, end, arm * 0.6)
    if feet > 0.03:
        x, z = (width + arm) / 2, depth * 0.42
        for i, k in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            s.rod((i * x, 0, k * z), (i * x, feet, k * z), 0.025)
    corner = seats >= 3 and dice.coin(0.3)
    if corner:
        side = -1 if dice.coin() else 1
        x = side * (width / 2 - width / seats / 2)
        long = dice(0.5, 0.9)
        at = (x, feet, depth / 2 + long / 2)
        s.box(at, (width / seats, seat - feet, long))
    kind = {1: "a sofa chair for one", 2: "a sofa for two"}.get(
        seats, f"a long sofa for {NUMBER[seats]}"
    )
    arms = "no arms" if armless else "two arms"
    return f"{kind} with {arms}" + (" and a corner seat" if corner else "")


def table(dice: Dice, s: Shape) -> str:
    """A top on legs."""
    height, slab = dice(0.35, 0.8), dice(0.015, 0.07)
    form = dice.pick("round", "square", "rectangular", "rectangular", "oval")
    width = dice(0.6, 1.1)
    depth = width * (1 if form in ("round", "square") else dice(0.4, 0.75))
    width = width * (1 if form in ("round", "square") else dice(1, 1.6))
    if form in ("round", "oval"):
        edge = [(0, 0), (0.5, 0), (0.5, slab), (0, slab)]
        s.revolve(edge, (0, height, 0), sides=28, stretch=(width, depth), solid=True)
        inset = 0.68
    else:
        s.box((0, height, 0), (width, slab, depth))
        inset = 1.0
    base = dice.pick("square", "round", "splayed", "one", "one", "panel")
    if form == "square" and base == "panel":
        base = "square"
    if base == "one":
        thick = dice(0.025, 0.11)
        foot = _pedestal(s, dice, height, min(width, depth) * dice(0.25, 0.42), thick)
        heft = compare(thick, 0.045, 0.075, "thin", "", "thick")
        below = f"one {heft} leg on {foot}" if heft else f"one leg on {foot}"
    elif base == "panel":
        for side in (-1, 1):
            at = (side * width * 0.35 * inset, 0, 0)
            s.box(at, (dice(0.03, 0.1), height, depth * 0.75 * inset))
        s.box((0, height * 0.4, 0), (width * 0.7 * inset, 0.1, 0.03))
        below = "two panel legs"
    else:
        thick = dice(0.03, 0.1)
        _legs(s, dice, width * inset, depth * inset, height, base, thick)
        heft = compare(thick, 0.05, 0.08, "thin", "", "thick")
        below = " ".join(word for word in ("four", heft, base, "legs") if word)
        if dice.coin(0.4):
            rail = height * dice(0.08, 0.16)
            for k in (-1, 1):
                z, x = k * depth * inset * 0.44, k * width * inset * 0.44
                s.box((0, height - rail, z), (width * inset * 0.85, rail, 0.02))
                s.box((x, height - rail, 0), (0.02, rail, depth * inset * 0.85))
        if dice.coin(0.15):
            y = height * dice(0.15, 0.3)
            s.box((0, y, 0), (width * inset * 0.9, 0.02, depth * inset * 0.85))
            below += " and a shelf below"
    look = compare(height, 0.48, 0.68, "low", "", "high")
    return f"{a(look, form, 'table')} with {below}"


def desk(dice: Dice, s: Shape) -> str:
    """A writing table with drawers under it, perhaps a rack on top."""
    width, depth, height = dice(1.0, 1.8), dice(0.5, 0.8), dice(0.68, 0.8)
    s.box((0, height - 0.04, 0), (width, 0.04, depth))
    both = dice.coin(0.35)
    sides = (-1, 1) if both else ((-1,) if dice.coin() else (1,))
    drawers, block = dice.count(2, 4), width * dice(0.22, 0.32)
    for side in (-1, 1):
        if side in sides:
            lift = dice(0, 0.15)
            x = side * (width - block) / 2
            s.box((x, lift, 0), (block, height - 0.04 - lift, depth * 0.92))
            tall = (height - 0.06 - lift) / drawers
            for i in range(drawers):
                y = lift + i * tall + 0.01
                size = (block * 0.9, tall * 0.88, 0.025)
                s.box((x, y, depth * 0.46), size)
                s.box((x, y + tall * 0.4, depth * 0.48), (block * 0.35, 0.02, 0.03))
        elif dice.coin(0.5):
            s.box((side * (width / 2 - 0.02), 0, 0), (0.04, height, depth * 0.9))
        else:
            for k in (-1, 1):
                at = (side * (width / 2 - 0.04), 0, k * depth * 0.42)
                s.box(at, (0.05, height, 0.05))
    if dice.coin(0.6):
        y = height * dice(0.3, 0.6)
        s.box((0, y, -depth * 0.43), (width * 0.95, height * 0.95 - y, 0.02))
    rack = dice.coin(0.3)
    if rack:
        up, deep = dice(0.25, 0.5), depth * 0.3
        for x in np.linspace(-0.48, 0.48, dice.count(2, 5)):
            s.box((x * width, height, -depth * 0.34), (0.025, up, deep))
        s.box((0, height + up, -depth * 0.34), (width, 0.025, deep))
    where = "on both sides" if both else "on one side"
    end = " and a rack on top" if rack else ""
    return f"a desk with {NUMBER[drawers]} drawers {where}{end}"


def bed(dice: Dice, s: Shape) -> str:
    """A mattress on a frame, head toward the back."""
    bunk = dice.coin(0.1)
    double = not bunk and dice.coin(0.55)
    width = dice(1.4, 1.9) if double else dice(0.8, 1.1)
    length, frame = dice(1.9, 2.15), dice(0.15, 0.35)
    soft, heads = dice(0.12, 0.28), 2 if double else 1
    for level in (0, 1.1) if bunk else (0,):
        lift = level + frame * dice(0.3, 0.6)
        s.box((0, lift, 0), (width, frame + level - lift, length))
        s.blob((0, level + frame, 0), (width * 0.97, soft, length * 0.97), 0.95)
        for i in range(heads):
            x = (i - (heads - 1) / 2) * width / heads
            size = (width / heads * 0.8, dice(0.1, 0.18), 0.4)
            s.blob((x, level + frame + soft * 0.8, -length * 0.36), size, dice(0.3, 0.7))
        if dice.coin(0.5):
            size = (width * 1.04, soft * 1.1, length * dice(0.5, 0.7))
            s.blob((0, level + frame, length * 0.5 - size[2] / 2), size, 0.93)
    head = frame + soft + dice(0.2, 0.7)
    foot = dice.coin(0.4)
    style = dice.pick("solid", "rounded", "spindle")
    if bunk:
        for i, k in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            at = (i * width / 2, 0, k * length / 2)
            s.box(at, (0.07, 1.1 + frame + soft + 0.3, 0.07))
        ladder_x = width / 2 + 0.04
        for y in np.linspace(0.25, 1.2, 4):
            s.rod((ladder_x, y, 0.3), (ladder_x, y, 0.7), 0.02)
        return "a bunk bed with two mattresses and a ladder"
    board = Shape()
    _back(board, dice, width * dice(1, 1.1), head, style, dice(0.04, 0.09))
    s.add(board, (0, 0, -length / 2 - 0.03))
    if foot:
        board = Shape()
        _back(board, dice, width, head * dice(0.45, 0.7), style, 0.05)
        s.add(board, (0, 0, length / 2 + 0.03))
    else:
        for side in (-1, 1):
            s.box((side * width * 0.45, 0, length * 0.45), (0.07, frame, 0.07))
    look = "double" if double else "single"
    end = " and a footboard" if foot else ""
    return f"a {look} bed with a {style} headboard{end}"


def piano(dice: Dice, s: Shape) -> str:
    """An upright or a grand piano, keys toward the front."""
    width, keys = dice(1.35, 1.55), dice(0.62, 0.75)
    if dice.coin(0.6):
        tall, deep = dice(1.0, 1.35), dice(0.28, 0.4)
        s.box((0, 0, -deep / 2), (width, tall, deep))
        s.box((0, tall, -deep / 2), (width * 1.03, 0.03, deep * 1.1))
        kind = "an upright piano"
        s.box((0, 0.02, 0.0), (width, 0.1, 0.08))
        for side in (-1, 1):
            s.box((side * width * 0.47, 0, 0.28), (0.07, keys, 0.07))
    else:
        deep = dice(1.3, 2.0)
        t = np.linspace(0, np.pi / 2, 8)
        curve = np.stack([width * (np.cos(t) - 0.5), -deep * (0.35 + 0.65 * np.sin(t))])
        outline = np.vstack([[(-width / 2, 0), (width / 2, 0)], curve.T[:-1]])
        outline = np.vstack([outline, [(0, -deep), (-width / 2, -deep)]])
        # The prism is built upright and laid down: its y becomes z.
        s.prism(outline, 0.28, (0, keys + 0.1, 0), turn_x(np.pi / 2))
        if dice.coin(0.6):
            lid = Shape()
            lid.prism(outline + [width / 2, 0], 0.02, turn=turn_x(np.pi / 2))
            s.add(lid, (-width / 2, keys + 0.25, 0), turn_z(dice(0.4, 0.8)))
        for x, z in ((-0.42, -0.1), (0.42, -0.1), (-0.2, -0.8 * deep)):
            scale = width if z == -0.1 else 1
            s.rod((x * scale, 0, z), (x * scale, keys, z), 0.05, 0.08)
        kind = "a grand piano"
    s.box((0, keys - 0.04, 0.14), (width, 0.08, 0.3))
    count = 14
    for i in range(count):
        x = ((i + 0.5) / count - 0.5) * width * 0.9
        s.box((x, keys + 0.04, 0.2), (width * 0.9 / count * 0.8, 0.02, 0.14))
    with_stool = dice.coin(0.3)
    if with_stool:
        seat = Shape()
        _legs(seat, dice, 0.5, 0.3, 0.42, "square", 0.04)
        seat.blob((0, 0.42, 0), (0.5, 0.09, 0.32), 0.9)
        s.add(seat, (0, 0, 0.6), turn_y(dice(-0.1, 0.1)))
    return kind + (" and its bench" if with_stool else "")


FURNITURE = {
    recipe.__name__: recipe
    for recipe in (chair, stool, bench, sofa, table, desk, bed, piano)
}
