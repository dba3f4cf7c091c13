"""Recipes: plants, people and animals."""

# ruff: noqa: RUF005 (array + list is a vector sum here, not a concatenation)
import numpy as np

from mrpd_tutorial.data.shapes.parts import Dice, Shape, turn_x, turn_y, turn_z
from mrpd_tutorial.data.shapes.words import NUMBER, a, compare

__all__ = ["LIVING"]


def _leaf(s: Shape, at, length, width, azimuth, rise, droop) -> None:
    """A curved blade: slope `rise` at its foot `at`, bent down by `droop` (radians)."""
    t = np.linspace(0, 1, 7)
    slope = rise - droop * t
    step = length / 6
    out = np.cumsum(np.cos(slope)) * step - np.cos(slope[0]) * step
    up = np.cumsum(np.sin(slope)) * step - np.sin(slope[0]) * step
    half = width / 2 * np.sin(np.pi * t**0.8)
    across = np.array([-1.0, 0.0, 1.0])[:, None]
    x = across * half
    # Folded a little along the middle rib.
    y = up + np.abs(across) * half * 0.3
    z = np.broadcast_to(out, x.shape)
    s.grid(np.stack([x, y, z], -1), at, turn_y(azimuth))


def _pot(s: Shape, dice: Dice, radius, height) -> str:
    form = dice.pick("round", "round", "square")
    sides = 20 if form == "round" else 4
    turn = None if form == "round" else turn_y(np.pi / 4)
    foot = radius * dice(0.6, 1.0)
    earth = [(radius * 0.93, height), (radius * 0.9, height * 0.9), (0, height * 0.9)]
    s.revolve([(0, 0), (foot, 0), (radius, height), *earth], turn=turn, sides=sides)
    if dice.coin(0.4):
        rim = radius * 1.1
        band = [(rim, height * 0.85), (rim, height), (radius * 0.93, height)]
        s.revolve(band, turn=turn, sides=sides)
    return form


def plant(dice: Dice, s: Shape) -> str:
    """A pot, stems and many leaf surfaces."""
    radius = dice(0.1, 0.25)
    height = radius * dice(1.0, 2.2)
    form = _pot(s, dice, radius, height)
    kind = dice.pick("broad", "blade", "bushy", "bushy", "palm", "flowering", "clipped")
    top = height * 0.9
    if kind == "blade":
        count, length = dice.count(14, 36), dice(0.4, 0.9)
        for i in range(count):
            at = (dice(-0.4, 0.4) * radius, top, dice(-0.4, 0.4) * radius)
            size = length * dice(0.6, 1), dice(0.03, 0.07)
            _leaf(s, at, *size, i * 2.4, dice(0.9, 1.5), dice(0.2, 1.8))
    elif kind == "palm":
        trunk = dice(0.3, 1.1)
        s.rod((0, top, 0), (0, top + trunk, 0), 0.03, 0.02)
        for i in range(dice.count(10, 24)):
            at = (0, top + trunk * dice(0.85, 1.0), 0)
            size = dice(0.35, 0.7), dice(0.05, 0.1)
            _leaf(s, at, *size, i * 2.4, dice(-0.2, 1.2), dice(0.8, 2.0))
    elif kind == "clipped":
        size, stem = radius * dice(1.5, 3.0), dice(0.0, 0.5)
        s.rod((0, top, 0), (0, top + stem + 0.05, 0), 0.02)
        s.blob((0, top + stem, 0), (size, size * dice(0.9, 1.5), size))
        for i in range(60):
            way = dice.rng.standard_normal(3)
            at = way / np.linalg.norm(way) * size * 0.5 + [0, top + stem + size / 2, 0]
            _leaf(s, at, size * 0.15, size * 0.1, i * 2.4, dice(-0.5, 1.0), 0.5)
    elif kind == "bushy":
        crown = np.array([dice(0.2, 0.4), dice(0.2, 0.45), 0])
        crown[2] = crown[0]
        stem = dice(0.0, 0.5)
        s.rod((0, top, 0), (0, top + stem + crown[1], 0), 0.02, 0.008)
        middle = np.array([0, top + stem + crown[1] * 0.95, 0])
        leaf = dice(0.06, 0.18)
        for _ in range(dice.count(60, 150)):
            way = dice.rng.standard_normal(3)
            way *= dice(0.45, 1) ** 0.5 / np.linalg.norm(way)
            at = middle + way * crown
            size = leaf * dice(0.6, 1.2), leaf * dice(0.35, 0.6)
            _leaf(s, at, *size, dice(0, 6.3), dice(-0.6, 1.0), dice(0, 1.2))
    else:
        flowers = kind == "flowering"
        for i in range(dice.count(7, 16)):
            angle, lean, long = i * 2.4, dice(0.05, 0.7), dice(0.25, 0.7)
            away = np.sin(lean) * long
            tip = np.array([np.sin(angle) * away, np.cos(lean) * long, 0])
            tip = tip + [0, top, np.cos(angle) * away]
            s.rod((0, top, 0), tip, 0.008, 0.005, sides=5)
            if flowers and i % 2:
                s.blob(tip - [0, 0.02, 0], (0.04, 0.04, 0.04))
                for petal in range(6):
                    _leaf(s, tip, 0.07, 0.05, petal * 1.05 + angle, 0.4, 0.6)
            else:
                size = dice(0.16, 0.32), dice(0.1, 0.2)
                _leaf(s, tip, *size, angle, dice(0.2, 0.9), dice(0.6, 1.8))
    look = {
        "broad": "with broad leaves",
        "blade": "with long narrow leaves",
        "bushy": "with many small leaves",
        "clipped": "clipped into a ball",
        "palm": "with a trunk and hanging leaves",
        "flowering": "with flowers",
    }[kind]
    return f"a plant {look} in a {form} pot"


def tree(dice: Dice, s: Shape) -> str:
    """A trunk and a crown: stacked cones, round masses, loose leaves or bare twigs."""
    kind = dice.pick("fir", "round", "leafy", "bare")
    trunk, girth = dice(0.5, 1.5), dice(0.05, 0.13)
    if kind == "fir":
        tiers, wide = dice.count(1, 5), dice(0.5, 1.0)
        tall = dice(1.6, 3.0)
        trunk *= 0.4
        s.rod((0, 0, 0), (0, trunk, 0), girth)
        for i in range(tiers):
            share = 1 - i / (tiers + 0.5)
            y = trunk + tall * i / (tiers + 0.6)
            high = tall / tiers * 1.35
            s.revolve([(0, 0), (wide * share, 0), (0.02, high)], (0, y, 0), solid=True)
        return f"a fir tree of {NUMBER[tiers]} {'cone' if tiers == 1 else 'cones'}"
    s.rod((0, 0, 0), (0, trunk * 1.3, 0), girth, girth * 0.6)
    if kind == "round":
        masses = dice.count(1, 6)
        size = dice(0.9, 1.6)
        for i in range(masses):
            away = 0 if masses == 1 else size * dice(0.2, 0.45)
            at = (away * np.sin(i * 2.4), trunk + dice(0, 0.5), away * np.cos(i * 2.4))
            each = size * (1 if masses == 1 else dice(0.55, 0.8))
            s.blob(at, (each, each * dice(0.8, 1.3), each))
        parts = "one round mass" if masses == 1 else f"{NUMBER[masses]} round masses"
        return f"a tree with a crown of {parts}"
    tips = []
    for i in range(dice.count(6, 12)):
        low = trunk * dice(0.7, 1.2)
        angle, lean, long = i * 2.4, dice(0.2, 1.0), dice(0.5, 1.2)
        way = [np.sin(angle) * np.sin(lean), np.cos(lean), np.cos(angle) * np.sin(lean)]
        tip = np.array([0, low, 0]) + np.array(way) * long
        s.rod((0, low, 0), tip, girth * 0.4, girth * 0.12, sides=7)
        tips.append(tip)
        for _ in range(3):
            end = tip + dice.rng.normal(0, 0.22, 3) + [0, 0.15, 0]
            s.rod(tip * 0.7 + [0, low * 0.3, 0], end, girth * 0.16, 0.005, sides=5)
            tips.append(end)
    if kind == "leafy":
        for i in range(dice.count(100, 160)):
            at = tips[i % len(tips)] + dice.rng.normal(0, 0.17, 3)
            size = dice(0.12, 0.25)
            _leaf(s, at, size, size * 0.6, dice(0, 6.3), dice(-0.8, 0.8), 0.5)
    return "a tree with loose leaves" if kind == "leafy" else "a bare tree"


def _limb(s: Shape, start, angles, lengths, radii) -> np.ndarray:
    """Two straight pieces with a joint; each (pitch forward, swing aside) from down."""
    place = np.asarray(start, dtype=float)
    for (pitch, swing), length, (r0, r1) in zip(angles, lengths, radii, strict=True):
        down = np.array([0.0, -length, 0.0])
        end = place + turn_z(swing) @ turn_x(-pitch) @ down
        s.rod(place, end, r0, r1)
        s.blob(end - [0, r1, 0], (2 * r1, 2 * r1, 2 * r1))
        place = end
    return place


def person(dice: Dice, s: Shape) -> str:
    """A standing, walking or sitting figure facing the front; trousers or a skirt."""
    pose = dice.pick("standing", "walking", "sitting", "standing")
    build, leg = dice(0.85, 1.25), dice(0.8, 0.95)
    hip, chest = 0.15 * build, 0.19 * build
    torso, skirt = dice(0.5, 0.6), dice.coin(0.3) and pose != "sitting"
    bent = dice(1.3, 1.6)
    stride = dice(0.2, 0.6)
    y = leg if pose != "sitting" else leg * 0.5
    for side in (-1, 1):
        start = (side * hip * 0.55, y, 0)
        apart = side * dice(0.0, 0.15)
        if pose == "sitting":
            angles = [(bent, apart), (dice(-0.2, 0.2), 0.0)]
        elif pose == "walking":
            angles = [(side * stride, 0.0), (side * stride - dice(0.1, 0.5), 0.0)]
        else:
            angles = [(dice(-0.08, 0.08), apart), (dice(-0.1, 0.0), apart / 2)]
        thick = 0.075 * build
        radii = [(thick, thick * 0.75), (thick * 0.7, thick * 0.5)]
        ankle = _limb(s, start, angles, (leg * 0.5, leg * 0.46), radii)
        foot = (ankle[0], ankle[1] - leg * 0.04, ankle[2] + 0.06)
        s.blob(foot, (0.09, 0.08, 0.25), 0.4)
    trunk = [(hip * 0.9, -0.08), (hip, 0), (hip * 0.85, torso * 0.35)]
    trunk += [(chest, torso * 0.8), (chest * 0.8, torso * 0.95), (0.05, torso)]
    s.revolve(trunk, (0, y, 0), stretch=(1, dice(0.55, 0.7)), solid=True)
    if skirt:
        flare = hip * dice(1.2, 2.0)
        long = leg * dice(0.4, 0.95)
        s.revolve([(flare, y - long), (hip, y + 0.05)], stretch=(1, 0.8))
    neck = y + torso
    s.rod((0, neck - 0.02, 0), (0, neck + 0.09, 0), 0.05)
    s.blob((0, neck + 0.06, 0.01), (0.16, 0.24, 0.2))
    if dice.coin(0.3):
        s.blob((0, neck + 0.1, -0.03), (0.21, 0.23, 0.21))
    for side in (-1, 1):
        start = (side * chest, neck - 0.07, 0)
        aside = side * dice(0.05, 0.4)
        pitch = dice(-0.3, 0.5) if pose != "walking" else -side * stride
        bend = dice(0, 1.3) if pose != "sitting" else dice(0.9, 1.5)
        thick = 0.05 * build
        radii = [(thick, thick * 0.8), (thick * 0.8, thick * 0.6)]
        angles = [(pitch, aside), (pitch + bend, aside * 0.5)]
        hand = _limb(s, start, angles, (0.29, 0.26), radii)
        s.blob(hand - [0, 0.1, 0], (0.05, 0.13, 0.08))
    look = compare(build, 0.95, 1.15, "slim", "", "stout")
    return f"{a(look, pose, 'person')}{' in a skirt' if skirt else ''}"


def dog(dice: Dice, s: Shape) -> str:
    """Four legs, a tail, a snout, ears; it looks toward the front."""
    long, leg, thick = dice(0.5, 0.9), dice(0.2, 0.5), dice(0.2, 0.3)
    s.blob((0, leg, 0), (thick, thick * dice(1.0, 1.25), long), 0.2)
    for i, k in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        at = np.array([i * thick * 0.3, 0, k * long * 0.35])
        s.rod(at + [0, 0, 0.02], at + [0, leg + thick * 0.4, 0], 0.03, 0.05)
        s.blob(at + [0, 0, 0.04], (0.07, 0.05, 0.11))
    rise, size = dice(0.1, 0.3), thick * dice(0.7, 0.95)
    neck = np.array([0, leg + thick * 0.7, long * 0.4])
    head = neck + [0, rise, 0.15]
    s.rod(neck, head, size * 0.45, size * 0.35)
    s.blob(head - [0, size * 0.3, 0], (size, size, size * 1.1))
    snout = dice(0.1, 0.22)
    s.rod(head + [0, 0, size * 0.3], head + [0, -0.03, size * 0.4 + snout], 0.06, 0.04)
    hanging = dice.coin()
    for side in (-1, 1):
        at = head + [side * size * 0.42, size * (0.2 if hanging else 0.4), 0]
        _leaf(s, at, 0.16, 0.1, side * 1.57, -0.9 if hanging else 1.4, 0.4)
    t = np.linspace(0, 1, 7)
    up, length = dice(0.0, 1.3), dice(0.2, 0.4)
    tail = np.stack([0 * t, np.sin(up) * t + 0.3 * t**2, -np.cos(up) * t], 1) * length
    s.tube(tail + [0, leg + thick * 0.8, -long * 0.45], 0.025 * (1.3 - t))
    look = compare(leg, 0.28, 0.42, "short-legged", "", "long-legged")
    return f"{a(look, 'dog')} with {'hanging' if hanging else 'pointed'} ears"


LIVING = {recipe.__name__: recipe for recipe in (plant, tree, person, dog)}
