"""Recipes: tables, beds and a piano."""

# ruff: noqa: RUF005 (array + list is a vector sum here, not a concatenation)
import numpy as np

from mrpd_tutorial.data.shapes.parts import Dice, Shape, turn_x, turn_y, turn_z
from mrpd_tutorial.data.shapes.supports import back_rest, four_legs, pedestal
from mrpd_tutorial.data.shapes.words import NUMBER, a, compare

__all__ = ["FURNITURE"]


def table(dice: Dice, s: Shape) -> str:
    """A top on legs."""
    height, slab = dice(0.35, 0.8), dice(0.015, 0.07)
    form = dice.pick("round", "square", "rectangular", "rectangular", "oval")
    width = dice(0.6, 1.1)
    depth = width * (1 if form in ("round", "square") else dice(0.4, 0.75))
    width = width * (1 if form in ("round", "square") else dice(1, 1.6))
    s.part = "top"
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
    s.part = "leg"
    if base == "one":
        thick = dice(0.025, 0.11)
        foot = pedestal(s, dice, height, min(width, depth) * dice(0.25, 0.42), thick)
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
        four_legs(s, dice, width * inset, depth * inset, height, base, thick)
        heft = compare(thick, 0.05, 0.08, "thin", "", "thick")
        below = " ".join(word for word in ("four", heft, base, "legs") if word)
        if dice.coin(0.4):
            rail = height * dice(0.08, 0.16)
            s.part = "top"
            for k in (-1, 1):
                z, x = k * depth * inset * 0.44, k * width * inset * 0.44
                s.box((0, height - rail, z), (width * inset * 0.85, rail, 0.02))
                s.box((x, height - rail, 0), (0.02, rail, depth * inset * 0.85))
        if dice.coin(0.15):
            y = height * dice(0.15, 0.3)
            s.part = "shelf"
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
        s.part = "frame"
        s.box((0, lift, 0), (width, frame + level - lift, length))
        s.part = "bedding"
        s.blob((0, level + frame, 0), (width * 0.97, soft, length * 0.97), 0.95)
        for i in range(heads):
            x = (i - (heads - 1) / 2) * width / heads
            size = (width / heads * 0.8, dice(0.1, 0.18), 0.4)
            s.blob(
                (x, level + frame + soft * 0.8, -length * 0.36), size, dice(0.3, 0.7)
            )
        if dice.coin(0.5):
            size = (width * 1.04, soft * 1.1, length * dice(0.5, 0.7))
            s.blob((0, level + frame, length * 0.5 - size[2] / 2), size, 0.93)
    head = frame + soft + dice(0.2, 0.7)
    foot = dice.coin(0.4)
    style = dice.pick("solid", "rounded", "spindle")
    s.part = "frame" if bunk else "board"
    if bunk:
        for i, k in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            at = (i * width / 2, 0, k * length / 2)
            s.box(at, (0.07, 1.1 + frame + soft + 0.3, 0.07))
        ladder_x = width / 2 + 0.04
        for y in np.linspace(0.25, 1.2, 4):
            s.rod((ladder_x, y, 0.3), (ladder_x, y, 0.7), 0.02)
        return "a bunk bed with two mattresses and a ladder"
    board = Shape()
    back_rest(board, dice, width * dice(1, 1.1), head, style, dice(0.04, 0.09))
    s.add(board, (0, 0, -length / 2 - 0.03))
    if foot:
        board = Shape()
        back_rest(board, dice, width, head * dice(0.45, 0.7), style, 0.05)
        s.add(board, (0, 0, length / 2 + 0.03))
    else:
        s.part = "frame"
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
        four_legs(seat, dice, 0.5, 0.3, 0.42, "square", 0.04)
        seat.blob((0, 0.42, 0), (0.5, 0.09, 0.32), 0.9)
        s.add(seat, (0, 0, 0.6), turn_y(dice(-0.1, 0.1)))
    return kind + (" and its bench" if with_stool else "")


FURNITURE = {recipe.__name__: recipe for recipe in (table, desk, bed, piano)}
