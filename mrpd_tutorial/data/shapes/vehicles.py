"""Recipes: things that drive, fly and float; all of them travel toward +z."""

# ruff: noqa: RUF005 (array + list is a vector sum here, not a concatenation)
import numpy as np

from mrpd_tutorial.data.shapes.parts import Dice, Shape, turn_x, turn_y, turn_z
from mrpd_tutorial.data.shapes.words import NUMBER, a

__all__ = ["VEHICLES"]


def _wheel(s: Shape, x, y, z, radius, width) -> None:
    """A solid wheel whose axle lies along x."""
    s.rod((x - width / 2, y, z), (x + width / 2, y, z), radius, sides=20)


def _rectangle(width, y, back, front) -> np.ndarray:
    """A horizontal ring of four corners."""
    x = width / 2
    return np.array([(-x, y, back), (-x, y, front), (x, y, front), (x, y, back)])


def car(dice: Dice, s: Shape) -> str:
    """A body, a cabin with raked screens, four wheels."""
    kind = dice.pick("sedan", "hatchback", "van", "pickup", "open")
    length, width = dice(3.6, 4.9), dice(1.6, 1.9)
    radius, clear = dice(0.28, 0.38), dice(0.15, 0.3)
    belt = clear + dice(0.5, 0.7)
    low, high = -length / 2, length / 2
    nose = dice(0.05, 0.25)
    s.part = "body"
    s.loft(
        [
            _rectangle(width * 0.9, clear, low + 0.1, high - 0.1),
            _rectangle(width, (clear + belt) / 2, low, high),
            _rectangle(width * 0.96, belt - nose, low + 0.08, high - 0.1),
            _rectangle(width * 0.92, belt, low + 0.2, high - dice(0.5, 1.2)),
        ]
    )
    roof = belt + (dice(0.4, 0.6) if kind != "van" else dice(0.6, 1.0))
    # Shares of the length: back foot, back top, front top, front foot of the cabin.
    back, back_top, front_top, front = {
        "sedan": (0.1, 0.25, 0.55, 0.72),
        "hatchback": (0.0, 0.1, 0.55, 0.72),
        "van": (0.0, 0.02, 0.72, 0.86),
        "pickup": (0.42, 0.45, 0.62, 0.75),
        "open": (0.3, 0.32, 0.6, 0.7),
    }[kind]
    place = [low + share * length for share in (back, back_top, front_top, front)]
    s.part = "cabin"
    if kind == "open":
        pane = [
            [(x, belt, place[3]), (x * 0.9, belt + 0.4, place[2])] for x in (-0.7, 0.7)
        ]
        s.grid(np.array(pane))
        for x in (-0.38, 0.38):
            s.blob((x, belt - 0.1, 0), (0.5, 0.5, 0.25), 0.6, turn_x(-0.2))
    else:
        foot = _rectangle(width * 0.9, belt - 0.02, place[0], place[3])
        top = _rectangle(width * dice(0.68, 0.82), roof, place[1], place[2])
        s.loft([foot, top])
    s.part = "body"
    if kind == "pickup":
        for x in (-1, 1):
            at = (x * width * 0.44, belt, low + length * 0.22)
            s.box(at, (0.08, 0.25, length * 0.42))
        s.box((0, belt, low + 0.06), (width * 0.9, 0.25, 0.08))
    axle = length * dice(0.28, 0.33)
    for x in (-1, 1):
        s.part = "wheel"
        for z in (-axle, axle * 1.05):
            _wheel(s, x * width * 0.46, radius, z, radius, 0.22)
        s.part = "body"
        s.blob((x * width * 0.54, belt, place[3] - 0.2), (0.18, 0.14, 0.1))
        s.blob((x * width * 0.35, belt - 0.35, high - 0.08), (0.3, 0.16, 0.12))
    s.box((0, clear, high - 0.04), (width * 0.9, 0.15, 0.1))
    s.box((0, clear, low + 0.04), (width * 0.9, 0.15, 0.1))
    return {
        "sedan": "a sedan car",
        "hatchback": "a hatchback car",
        "van": "a tall van-like car",
        "pickup": "a pickup car with an open bed",
        "open": "an open car without a roof",
    }[kind]


def _wing(s: Shape, root, tip, chord, tip_chord, thick) -> None:
    """A thin tapering slab between two points of its middle line, chord along z."""
    rings = []
    for place, depth, height in ((root, chord, thick), (tip, tip_chord, thick * 0.5)):
        x, y, z = place
        rings.append(
            [
                (x, y, z + depth / 2),
                (x, y + height / 2, z + depth * 0.2),
                (x, y, z - depth / 2),
                (x, y - height / 2, z + depth * 0.2),
            ]
        )
    s.loft(rings)


def airplane(dice: Dice, s: Shape) -> str:
    """A fuselage with wings and tail: an airliner, a fighter, or with a propeller."""
    kind = dice.pick("airliner", "propeller", "fighter", "airliner")
    length = dice(8, 12)
    girth = length * (dice(0.045, 0.065) if kind != "propeller" else dice(0.05, 0.075))
    t = np.linspace(0, 1, 16)
    blunt = dice(0.25, 0.5) if kind != "fighter" else 0.9
    taper = np.minimum(1, (t / 0.4) ** 0.7) * np.minimum(1, ((1 - t) / 0.18) ** blunt)
    body = np.column_stack([girth * np.maximum(taper, 0.02), (t - 0.5) * length])
    s.part = "body"
    s.revolve(body, turn=turn_x(np.pi / 2))
    span = length * dice(0.35, 0.55) * (0.65 if kind == "fighter" else 1)
    sweep = length * (0.02 if kind == "propeller" else dice(0.1, 0.22))
    chord = length * dice(0.12, 0.18) * (2 if kind == "fighter" else 1)
    high = girth * (0.8 if kind == "propeller" and dice.coin() else -0.5)
    lift = dice(0, 0.1) * span
    z = length * dice(0.0, 0.1)
    tail = -length * 0.45
    for side in (-1, 1):
        tip = (side * span, high + lift, z - sweep)
        share = dice(0.25, 0.4) if kind != "propeller" else dice(0.6, 1.0)
        s.part = "wing"
        _wing(s, (0, high, z), tip, chord, chord * share, girth * 0.3)
        tip = (side * span * 0.36, girth * 0.3, tail - sweep * 0.35)
        s.part = "tail"
        _wing(s, (0, girth * 0.3, tail), tip, chord * 0.5, chord * 0.3, girth * 0.15)
        s.part = "engine"
        if kind == "airliner":
            for share in (0.35, 0.62)[: dice.count(1, 2)]:
                at = (side * span * share, high - girth * 0.55, z - sweep * share)
                pod = np.array([(0.3, -0.5), (0.38, 0.1), (0.33, 0.5)]) * girth
                pod[:, 1] *= 2.4
                s.revolve(pod, at + np.array([0, 0, chord * 0.3]), turn_x(np.pi / 2))
    fin = girth + length * dice(0.1, 0.16)
    fin_at, fin_tip = np.array([0, 0, tail]), np.array([0, fin, tail - length * 0.06])
    rings = []
    for (x, y, zz), depth in ((fin_at, chord * 0.8), (fin_tip, chord * 0.35)):
        thick = girth * 0.1
        corners = ((0, 0.5), (thick, 0), (0, -0.5), (-thick, 0))
        rings.append([(x + dx, y, zz + dz * depth) for dx, dz in corners])
    s.part = "tail"
    s.loft(rings)
    s.part = "engine"
    if kind == "propeller":
        for angle in np.arange(dice.count(2, 4)) * np.pi * 2 / 3:
            blade = Shape()
            blade.box((0, 0, 0), (girth * 0.25, girth * 1.6, 0.03))
            s.add(blade, (0, 0, length * 0.51), turn_z(angle))
        s.part = "body"
        for side in (-1, 1):
            at = (side * girth * 1.3, -girth * 1.8, length * 0.15)
            _wheel(s, *at, girth * 0.4, girth * 0.3)
            s.rod((0, 0, at[2]), at, 0.06)
        return "a small airplane with a propeller"
    return (
        "a fighter airplane" if kind == "fighter" else "an airliner airplane with jets"
    )


def bicycle(dice: Dice, s: Shape) -> str:
    """Two spoked wheels, a frame, handlebars, a saddle and pedals."""
    radius, tyre = dice(0.3, 0.36), dice(0.012, 0.03)
    base, turn = dice(0.95, 1.1), turn_y(np.pi / 2)
    thick, y = dice(0.013, 0.02), radius + tyre
    front, back = np.array([0, y, base / 2]), np.array([0, y, -base / 2])
    s.part = "wheel"
    for hub in (front, back):
        s.ring(hub, radius, tyre, turn)
        s.rod(hub - [0.05, 0, 0], hub + [0.05, 0, 0], 0.02, sides=8)
        for angle in np.arange(10) * np.pi / 5:
            rim = hub + radius * np.array([0, np.sin(angle), np.cos(angle)])
            s.rod(hub, rim, 0.003, sides=3)
    crank = np.array([0, y - 0.03, -0.08])
    seat = np.array([0, y + dice(0.4, 0.55), -0.22])
    head = np.array([0, y + dice(0.35, 0.5), base / 2 - 0.18])
    step = dice.coin(0.35)
    joint = crank + (seat - crank) * (0.35 if step else 0.85)
    s.part = "frame"
    for start, end in ((crank, seat), (crank, head), (joint, head), (crank, back)):
        s.rod(start, end, thick, sides=8)
    for x in (-0.04, 0.04):
        s.rod(back + [x, 0, 0], crank + (seat - crank) * 0.8, thick * 0.6, sides=6)
        s.rod(front + [x, 0, 0], head, thick * 0.8, sides=6)
    top = head + [0, dice(0.08, 0.2), -0.04]
    s.part = "handlebar"
    s.rod(head, top, thick, sides=8)
    wide, pull = dice(0.22, 0.32), dice(-0.2, 0.12)
    for side in (-1, 1):
        grip = top + [side * wide, 0.02, pull]
        s.rod(top, top + [side * wide * 0.6, 0.03, 0.0], thick * 0.9, sides=8)
        s.rod(top + [side * wide * 0.6, 0.03, 0.0], grip, thick, sides=8)
        pedal = crank + [side * 0.1, side * 0.15, 0.05]
        s.part = "frame"
        s.rod(crank + [side * 0.06, 0, 0], pedal, 0.01, sides=6)
        s.box(pedal - [0, 0.01, 0], (0.09, 0.02, 0.07))
        s.part = "handlebar"
    s.part = "saddle"
    s.blob(seat, (0.15, 0.06, 0.26), 0.3)
    s.part = "frame"
    s.revolve([(0.09, -0.005), (0.09, 0.005)], crank, turn_z(np.pi / 2))
    basket = dice.coin(0.25)
    s.part = "handlebar"
    if basket:
        s.revolve([(0, 0), (0.13, 0), (0.18, 0.2)], top + [0, -0.15, 0.22])
    frame = "a low step-through" if step else "a diamond"
    return f"a bicycle with {frame} frame{' and a basket' if basket else ''}"


def boat(dice: Dice, s: Shape) -> str:
    """A hull with a pointed bow; sails, a cabin or rowing seats."""
    kind = dice.pick("sailing", "motor", "rowing")
    length, width, height = dice(3, 6), dice(1.1, 1.9), dice(0.5, 0.9)
    t = np.linspace(0, 1, 12)[:, None]
    beam = width / 2 * np.maximum(1 - t**2.5, 0.01) * (0.75 + 0.25 * np.sin(np.pi * t))
    angle = np.linspace(-np.pi / 2, np.pi / 2, 11)[None]
    sheer = height * (1 + 0.35 * t**2)
    x = beam * np.sin(angle)
    y = sheer * (1 - np.cos(angle) ** dice(0.5, 1.0))
    z = (t - 0.5) * length + 0 * angle
    s.grid(np.stack([x, y + 0 * t, z], -1))
    s.loft([np.stack([x[0], y[0], z[0]], -1), np.stack([x[0], y[0], z[0] - 0.02], -1)])
    if kind != "rowing":
        deck = np.stack([x[:, [0, -1]], y[:, [0, -1]] - 0.03, z[:, [0, -1]]], -1)
        s.grid(deck)
    if kind == "sailing":
        mast = length * dice(1.0, 1.4)
        s.rod((0, 0, 0.1), (0, mast, 0.1), 0.05, 0.03)
        boom = length * dice(0.35, 0.45)
        s.rod((0, height + 0.4, 0.1), (0, height + 0.4, 0.1 - boom), 0.03)
        u, v = np.linspace(0, 1, 8)[:, None], np.linspace(0, 1, 8)[None]
        low, bulge = height + 0.45, dice(0.1, 0.35)
        for foot, tall in ((-boom, 0.95), (length * 0.45, 0.85)):
            sail_z = 0.1 + np.sign(foot) * 0.08 + foot * u * (1 - v)
            sail_y = low + (mast * tall - low) * v + 0 * u
            sail_x = bulge * np.sin(np.pi * u) * np.sin(np.pi * np.minimum(v + 0.1, 1))
            s.grid(np.stack(np.broadcast_arrays(sail_x, sail_y, sail_z), -1))
        return "a sailing boat with two sails"
    if kind == "motor":
        cabin = dice(0.4, 0.8)
        foot = _rectangle(width * 0.7, height * 0.95, -length * 0.25, length * 0.18)
        top = _rectangle(width * 0.6, height + cabin, -length * 0.22, length * 0.05)
        s.loft([foot, top])
        s.box((0, height * 0.4, -length * 0.53), (0.35, height, 0.3))
        return "a motor boat with a cabin"
    seats = dice.count(1, 3)
    for i in range(seats):
        z = (i + 0.7) / (seats + 1) * length * 0.8 - length * 0.45
        s.box((0, height * 0.65, z), (width * 0.85, 0.05, 0.25))
    for side in (-1, 1):
        end = np.array([side * width * 1.1, height * 0.4, dice(-0.8, 0.0)])
        s.rod((side * width * 0.2, height * 1.2, 0), end, 0.03, sides=8)
        s.box(end - [0, 0.1, 0], (0.35, 0.2, 0.04))
    return f"a rowing boat with {NUMBER[seats]} {'seat' if seats == 1 else 'seats'}"


def rocket(dice: Dice, s: Shape) -> str:
    """An upright body with a pointed nose, fins and perhaps boosters."""
    height, girth = dice(4, 7), dice(0.4, 0.75)
    nose = dice(0.15, 0.35)
    t = np.linspace(0, 1, 8)
    tip = np.column_stack([girth * np.sqrt(1 - t**1.6), height * (1 - nose + nose * t)])
    waist = girth * dice(0.7, 1.0)
    s.part = "body"
    s.revolve([(0, 0.2), (waist, 0.2), (girth, height * 0.3), *tip])
    s.revolve([(girth * 0.7, 0), (girth * 0.35, 0.3)])
    s.part = "fin"
    fins, reach = dice.count(3, 5), girth * dice(0.8, 1.6)
    tall = height * dice(0.15, 0.3)
    for angle in np.arange(fins) * 2 * np.pi / fins:
        fin = Shape()
        y = [0.0, -0.1, tall * 0.35, tall]
        x = [waist * 0.8, waist + reach, waist + reach, waist * 0.8]
        fin.prism(np.column_stack([x, y]), 0.06)
        s.add(fin, (0, 0.25, 0), turn_y(angle))
    boosters = dice.pick("no", "no", "two", "four")
    count = {"no": 0, "two": 2, "four": 4}[boosters]
    s.part = "booster"
    for angle in np.arange(count) * 2 * np.pi / max(count, 1) + 0.4:
        at = (girth * 1.35 * np.sin(angle), 0.1, girth * 1.35 * np.cos(angle))
        thin, long = girth * 0.4, height * 0.5
        s.revolve([(0, 0), (thin, 0), (thin, long), (0, long + thin * 2)], at)
    end = f" and {boosters} boosters" if count else ""
    return f"{a('rocket')} with {NUMBER[fins]} fins{end}"


VEHICLES = {
    recipe.__name__: recipe for recipe in (car, airplane, bicycle, boat, rocket)
}
