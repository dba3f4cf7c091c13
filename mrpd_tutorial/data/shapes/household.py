"""Recipes: light, fabric, walls' decoration, music and tools."""

# ruff: noqa: RUF005 (array + list is a vector sum here, not a concatenation)
import numpy as np

from mrpd_tutorial.data.shapes.parts import Dice, Shape, turn_x, turn_y, turn_z
from mrpd_tutorial.data.shapes.words import NUMBER, a, compare

__all__ = ["HOUSEHOLD"]


def _shade(s: Shape, dice: Dice, at, radius, height, style, down=True) -> None:
    """A lamp shade, open below (or above, for lights that shine up)."""
    s.part = "shade"
    if style == "globe":
        s.blob(at, (radius * 2, radius * 2, radius * 2))
        return
    if style == "dome":
        t = np.linspace(0, np.pi / 2, 8)
        profile = np.column_stack([radius * np.cos(t), height * np.sin(t)])
    elif style == "drum":
        profile = np.array([(radius, 0), (radius * 0.95, height)])
    else:
        profile = np.array([(radius, 0), (radius * dice(0.3, 0.65), height)])
    if not down:
        profile = profile[::-1] * [1, -1] + [0, height]
    s.revolve(profile, at, sides=24)


def lamp(dice: Dice, s: Shape) -> str:
    """A table lamp, a floor lamp, a jointed desk lamp or a hanging lamp."""
    kind = dice.pick("table", "floor", "desk", "hanging", "table", "hanging")
    style = dice.pick("cone", "drum", "dome", "globe", "cone", "drum")
    radius = dice(0.13, 0.24)
    tall = radius * dice(0.8, 1.8)
    foot = radius * dice(0.5, 1.0)
    if kind == "hanging":
        y = dice(0.3, 1.0)
        shades = dice.count(1, 5) if dice.coin(0.5) else 1
        s.part = "post"
        if shades == 1:
            s.rod((0, tall * 0.8, 0), (0, tall + y, 0), 0.008, sides=6)
            _shade(s, dice, (0, 0, 0), radius, tall, style)
        else:
            arm = radius * dice(1.0, 2.0)
            s.rod((0, 0.1, 0), (0, tall + y, 0), 0.012, sides=8)
            for angle in np.arange(shades) * 2 * np.pi / shades:
                x, z = arm * np.sin(angle), arm * np.cos(angle)
                path = [
                    (x * t, 0.1 - 0.1 * np.sin(np.pi * t), z * t)
                    for t in np.linspace(0, 1, 7)
                ]
                s.part = "post"
                s.tube(path, 0.01)
                _shade(s, dice, (x, 0.1, z), radius * 0.45, tall * 0.5, style)
        s.part = "base"
        s.revolve([(0.06, 0), (0.06, 0.02), (0, 0.02)], (0, tall + y, 0))
        noun = "shade" if shades == 1 else "shades"
        return f"a hanging lamp with {NUMBER[shades]} {style} {noun}"
    s.part = "base"
    s.revolve([(foot, 0), (foot, 0.02), (0.02, 0.04)], sides=24)
    s.part = "post"
    if kind == "desk":
        low, high = dice(0.2, 0.35), dice(0.2, 0.35)
        knee = np.array([0.0, 0.03 + low * np.cos(0.3), -low * np.sin(0.5)])
        head = knee + [0, high * 0.5, high * 0.85]
        s.rod((0, 0.03, 0), knee, 0.01)
        s.rod(knee, head, 0.01)
        s.blob(knee - [0, 0.02, 0], (0.04, 0.04, 0.04))
        shade = Shape()
        _shade(shade, dice, (0, -tall * 0.6, 0), radius * 0.55, tall * 0.6, "cone")
        s.part = "shade"
        s.add(shade, head, turn_x(-dice(0.2, 0.9)))
        return "a jointed desk lamp with a cone shade"
    height = dice(0.2, 0.45) if kind == "table" else dice(1.1, 1.7)
    bulky = kind == "table" and dice.coin(0.6)
    if bulky:
        belly = radius * dice(0.3, 0.7)
        y = np.linspace(0, 1, 12)
        wave = 0.35 + 0.65 * np.sin(np.pi * y ** dice(0.6, 1.2)) ** 2
        s.revolve(np.column_stack([belly * wave, 0.03 + y * height]))
    else:
        s.rod((0, 0.02, 0), (0, height, 0), dice(0.008, 0.02), sides=8)
    down = kind == "table" or dice.coin(0.75)
    drop = tall * 0.35 if style != "globe" else 0.02
    _shade(s, dice, (0, height - drop, 0), radius, tall, style, down)
    post = "a bulky post" if bulky else "a thin post"
    return f"a {kind} lamp with {a(style, 'shade')} on {post}"


def curtain(dice: Dice, s: Shape) -> str:
    """One or two wavy sheets hanging from a rod."""
    width, height = dice(0.7, 2.0), dice(1.2, 2.4)
    panels, waves = dice.count(1, 2), dice.count(3, 7)
    gathered = dice.coin(0.35)
    deep = dice(0.03, 0.08)
    each = width / panels * dice(0.5, 0.98)
    t, v = np.linspace(0, 1, 8 * waves + 1)[:, None], np.linspace(0, 1, 13)[None]
    for i in range(panels):
        side = 1 if panels == 1 else 2 * i - 1
        x = (t - (0.5 if panels == 1 else 1 - i)) * each
        waist = 1 - 0.65 * gathered * np.exp(-(((v - 0.42) / 0.22) ** 2))
        if panels == 1:
            x = x * waist
        else:
            # Each panel is gathered toward its own end of the rod.
            edge = side * width / 2
            x = edge - (edge - x - side * (width / 2 - each)) * waist
        phase = dice(0, 6.3)
        z = deep * np.sin(2 * np.pi * waves * t + phase) * (1 - 0.35 * v)
        y = v * height
        s.grid(np.stack(np.broadcast_arrays(x + 0 * v, y + 0 * t, z), -1))
    s.rod((-width * 0.56, height, 0), (width * 0.56, height, 0), 0.02)
    for side in (-1, 1):
        s.blob((side * width * 0.56, height - 0.03, 0), (0.06, 0.06, 0.06))
    noun = "panel" if panels == 1 else "panels"
    end = ", gathered at the waist" if gathered else ""
    return f"a curtain of {NUMBER[panels]} wavy {noun}{end}"


def _hung(s: Shape, dice: Dice, width, height, rim, bulge) -> str:
    """A frame around a plane: rectangular or oval; returns the form."""
    form = dice.pick("rectangular", "rectangular", "oval")
    if form == "oval":
        disc = [(0.5, 0), (0, 0)]
        turn = turn_x(np.pi / 2)
        s.revolve(disc, (0, height / 2, 0), turn, 28, (width, height))
        hoop = Shape()
        hoop.ring((0, 0, 0), 0.5, rim / width)
        squash = np.diag([width, height, width * bulge])
        s.add(hoop, (0, height / 2, 0), squash)
    else:
        s.box((0, 0, 0), (width, height, 0.01))
        for side in (-1, 1):
            size = (rim, height + rim, rim * bulge)
            s.box((side * width / 2, -rim / 2, 0), size)
            y = -rim / 2 if side < 0 else height - rim / 2
            s.box((0, y, 0), (width + rim, rim, rim * bulge))
    return form


def mirror(dice: Dice, s: Shape) -> str:
    """A framed pane on a stand or on legs leaning back."""
    width = dice(0.35, 0.6)
    height = width * dice(1.4, 2.8)
    glass = Shape()
    form = _hung(glass, dice, width, height, dice(0.02, 0.05), 1.0)
    lift = dice(0.1, 0.25)
    s.add(glass, (0, lift, 0), turn_x(-dice(0.0, 0.2)))
    for side in (-1, 1):
        x = side * (width / 2 + 0.04)
        s.rod((x, 0, 0), (x, lift + height * 0.6, -0.02), 0.018)
        s.rod((x, 0.02, -0.2), (x, 0.02, 0.2), 0.018)
    s.rod((-width / 2, 0.06, 0), (width / 2, 0.06, 0), 0.015)
    look = compare(height / width, 1.8, 2.4, "wide", "", "tall")
    return f"{a(look, form, 'mirror')} on a stand"


def clock(dice: Dice, s: Shape) -> str:
    """A round face with hands: alone, on bells, or in a tall case."""
    tall = dice.coin(0.35)
    radius = dice(0.1, 0.14)
    y = dice(1.5, 1.8) if tall else radius
    face = [
        (radius, -0.03),
        (radius, 0.02),
        (radius * 0.9, 0.03),
        (radius * 0.9, 0.01),
        (0, 0.01),
    ]
    depth = dice(0.18, 0.28)
    z = depth / 2 if tall else 0.0
    s.revolve(face, (0, y, z), turn_x(np.pi / 2), 24)
    for angle, length in ((dice(0, 6.3), 0.75), (dice(0, 6.3), 0.5)):
        hand = Shape()
        hand.box((0, 0, 0), (radius * 0.1, radius * length, 0.012))
        s.add(hand, (0, y, z + 0.02), turn_z(angle))
    for angle in np.arange(12) * np.pi / 6:
        tick = (
            radius * 0.78 * np.sin(angle),
            y + radius * 0.78 * np.cos(angle),
            z + 0.012,
        )
        s.blob((tick[0], tick[1] - 0.01, tick[2]), (0.015, 0.02, 0.01))
    if tall:
        width = radius * dice(2.3, 2.7)
        s.box((0, y - radius * 1.2, 0), (width, radius * 2.5, depth))
        s.box((0, y + radius * 1.3, 0), (width * 1.15, 0.05, depth * 1.15))
        s.box((0, 0.3, 0), (width * 0.7, y - radius * 1.2 - 0.3, depth * 0.75))
        s.box((0, 0, 0), (width, 0.3, depth))
        s.rod((0, y - radius * 1.6, depth * 0.4), (0, 0.7, depth * 0.4), 0.01)
        s.revolve([(0.07, 0), (0, 0.01)], (0, 0.7, depth * 0.4), turn_x(np.pi / 2))
        return "a tall case clock with a pendulum"
    s.revolve([(0, 0), (radius, 0)], (0, y, -0.03), turn_x(np.pi / 2), 24)
    bells = dice.coin(0.5)
    for side in (-1, 1) if bells else ():
        at = (side * radius * 0.6, y + radius * 0.8, -0.01)
        s.blob(at, (0.07, 0.06, 0.07), turn=turn_z(-side * 0.5))
        s.rod(
            (side * radius * 0.5, y - radius, 0), (side * radius * 0.75, -0.04, 0), 0.01
        )
    return "an alarm clock with two bells" if bells else "a round clock"


def umbrella(dice: Dice, s: Shape) -> str:
    """An open canopy of flat gores on a stick with a hook or a stand."""
    radius, ribs = dice(0.45, 0.7), dice.count(6, 10)
    height, drop = dice(0.8, 1.1), dice(0.35, 0.7) * radius
    t = np.linspace(0, 1, 7)
    profile = np.column_stack([radius * t, height - drop * t**1.8])
    s.part = "canopy"
    s.revolve(profile, sides=ribs)
    s.part = "stick"
    s.rod((0, 0.1, 0), (0, height + 0.06, 0), 0.012, sides=8)
    stand = dice.coin(0.3)
    if stand:
        s.revolve([(radius * 0.4, -0.3), (radius * 0.4, -0.25), (0.03, -0.2)])
        s.rod((0, -0.3, 0), (0, 0.15, 0), 0.014, sides=8)
    else:
        bend = np.linspace(0, np.pi, 9)
        reach = dice(0.03, 0.06)
        hook = np.column_stack(
            [0 * bend, 0.1 - reach * np.sin(bend), reach * (1 - np.cos(bend))]
        )
        s.tube(hook, 0.014)
    below = "a round stand" if stand else "a hooked handle"
    return f"an open umbrella with {NUMBER[ribs]} ribs and {below}"


def guitar(dice: Dice, s: Shape) -> str:
    """A waisted body, a long neck and a head, standing upright."""
    length, width = dice(0.45, 0.52), dice(0.34, 0.42)
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    electric = dice.coin(0.35)
    waist = dice(0.15, 0.28)
    bulge = 1 - waist * np.exp(-(((np.cos(t) - 0.25) / 0.35) ** 2)) - 0.1 * np.cos(t)
    x, y = width / 2 * np.sin(t) * bulge, length / 2 * (1 + np.cos(t))
    if electric:
        # Two horns beside the neck.
        y = y + 0.13 * np.exp(-(((np.abs(x) - width * 0.3) / 0.04) ** 2)) * (
            y > length / 2
        )
    deep = 0.045 if electric else dice(0.09, 0.12)
    s.part = "body"
    s.prism(np.column_stack([x, y])[::-1], deep)
    neck = dice(0.45, 0.55)
    s.part = "neck"
    s.box((0, length * 0.75, deep / 2), (0.05, neck, 0.03))
    s.part = "head"
    s.box((0, length * 0.75 + neck, deep / 2 - 0.01), (0.075, 0.14, 0.02))
    for i in range(3):
        y = length * 0.75 + neck + 0.03 + i * 0.04
        s.rod((-0.06, y, deep / 2), (0.06, y, deep / 2), 0.007, sides=6)
    s.part = "body"
    s.box((0, length * 0.3, deep / 2), (0.14, 0.025, 0.02))
    if not electric:
        s.ring((0, length * 0.62, deep / 2), 0.05, 0.006)
    s.part = "neck"
    for x in np.linspace(-0.018, 0.018, 4):
        low, top, z = length * 0.3, length * 0.75 + neck, deep / 2 + 0.02
        s.rod((x, low, z), (x, top, z), 0.002, sides=3)
    return f"an {'electric' if electric else 'acoustic'} guitar"


def hammer(dice: Dice, s: Shape) -> str:
    """A handle with a head across it: a claw, a block or two faces."""
    length, thick = dice(0.25, 0.4), dice(0.012, 0.018)
    s.part = "handle"
    s.rod((0, 0, 0), (0, length, 0), thick * 1.2, thick * 0.8)
    style = dice.pick("claw", "block", "plain")
    head, size = Shape(), dice(0.05, 0.09)
    if style == "block":
        wide = size * dice(0.6, 1.0)
        head.box((0, -wide / 2, 0), (size * 2, wide, wide))
    else:
        head.rod((0, 0, 0), (size, 0, 0), thick * 1.1)
        head.rod((size * 0.75, 0, 0), (size * 1.2, 0, 0), thick * 1.5)
        if style == "plain":
            head.rod((0, 0, 0), (-size * 1.1, 0, 0), thick * 1.1, thick * 0.5)
        else:
            for side in (-1, 1):
                t = np.linspace(0, 1, 6)
                path = [
                    -size * 1.2 * t,
                    -size * 0.5 * t**2,
                    side * thick * (0.3 + t * 0.5),
                ]
                reach = thick * 0.7 * (1.1 - t)
                head.tube(np.stack(path, 1), reach)
    s.part = "head"
    s.add(head, (0, length, 0), turn_y(np.pi if dice.coin() else 0))
    return f"a hammer with {a(style, 'head')}"


HOUSEHOLD = {
    recipe.__name__: recipe
    for recipe in (lamp, curtain, mirror, clock, umbrella, guitar, hammer)
}
