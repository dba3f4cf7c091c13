"""What chairs, tables and beds share: legs, feet and backs."""

from itertools import pairwise

import numpy as np

from mrpd_tutorial.data.shapes.parts import Dice, Shape

__all__ = ["back_rest", "four_legs", "pedestal", "sled"]


def four_legs(s: Shape, dice: Dice, width, depth, height, style, thickness) -> None:
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


def pedestal(s: Shape, dice: Dice, height, reach, thick) -> str:
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


def sled(s: Shape, width, depth, height, radius) -> None:
    """Two bent-tube runners, as under an office or cantilever chair."""
    for side in (-1, 1):
        x, z = side * (width / 2 - radius), depth / 2
        path = [(x, height, -z), (x, radius, -z), (x, radius, z), (x, height, z)]
        for start, end in pairwise(path):
            s.rod(start, end, radius, sides=8)


def back_rest(s: Shape, dice: Dice, width, height, style, thickness) -> None:
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
                s.box(
                    ((step - 0.5) * width * 0.9, 0, 0), (post * 0.6, height, post / 2)
                )
