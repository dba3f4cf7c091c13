"""Recipes: things to sit on."""

import numpy as np

from mrpd_tutorial.data.shapes.parts import Dice, Shape, turn_x
from mrpd_tutorial.data.shapes.supports import back_rest, four_legs, pedestal, sled
from mrpd_tutorial.data.shapes.words import NUMBER, a, compare

__all__ = ["SEATS"]


def chair(dice: Dice, s: Shape) -> str:
    """A seat with a back; four legs, a pedestal or a sled; perhaps arms."""
    width, depth, seat = dice(0.38, 0.6), dice(0.38, 0.58), dice(0.38, 0.5)
    base = dice.pick("square", "round", "splayed", "square", "pedestal", "sled")
    slab = dice(0.02, 0.14)
    s.part = "leg"
    if base == "pedestal":
        below = "one leg on " + pedestal(s, dice, seat, width * 0.5, dice(0.02, 0.04))
    elif base == "sled":
        sled(s, width, depth, seat, dice(0.012, 0.02))
        below = "sled runners"
    else:
        four_legs(s, dice, width, depth, seat, base, dice(0.03, 0.06))
        below = f"four {base} legs"
    s.part = "seat"
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
    back_rest(back, dice, width * dice(0.85, 1), height, style, dice(0.02, 0.07))
    lift = dice(0.05, 0.2) if style in ("solid", "rounded") and dice.coin(0.4) else 0
    lean = turn_x(-dice(0, 0.3))
    s.part = "back"
    s.add(back, (0, top + lift - 0.02, -depth / 2 + 0.03), lean)
    if lift:
        for side in (-1, 1):
            foot = (side * width * 0.3, top - 0.02, -depth / 2 + 0.02)
            s.rod(foot, (foot[0], top + lift + 0.05, foot[2] - 0.02), 0.012, sides=8)
    arms = dice.coin(0.4)
    s.part = "arm"
    if arms:
        rise, bar = dice(0.18, 0.26), dice(0.03, 0.07)
        for side in (-1, 1):
            x = side * (width / 2 + bar * 0.3)
            s.box((x, top + rise, -depth * 0.05), (bar, 0.03, depth * 0.8))
            s.box((x, seat, depth * 0.25), (bar * 0.7, rise + slab, bar * 0.7))
            if dice.coin(0.3):
                s.box((x, seat, 0), (bar * 0.4, rise + slab, depth * 0.6))
    look = compare(height, 0.42, 0.6, "low-backed", "", "high-backed")
    rest = f", arms and {below}" if arms else f" and {below}"
    return f"{a(look, 'chair')} with a {style} back{rest}"


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
        foot = pedestal(s, dice, height, radius * dice(0.9, 1.2), dice(0.018, 0.04))
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
    s.box(
        (0, feet, -depth / 2 + thick * 0.3), (width + arm, height - feet, thick * 0.6)
    )
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


SEATS = {recipe.__name__: recipe for recipe in (chair, stool, bench, sofa)}
