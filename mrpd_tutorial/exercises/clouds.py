"""Exercises on clouds and depth maps: frame, turning, counting pixels, sampling."""

import math

import torch
from torch import Tensor

from mrpd_tutorial import geometry
from mrpd_tutorial.exercises.base import Attempt, Exercise, expect, unchanged
from mrpd_tutorial.runtime import generator

__all__ = ["EXERCISES", "changed_share", "turn_about_y"]


def normalise(points: Tensor) -> Tensor:
    """(N, 3) in any unit -> (N, 3), centroid 0, largest radius 1."""
    return geometry.normalise(points[None])[0]


def _test_normalise(attempt: Attempt) -> None:
    points = torch.rand(50, 3, generator=generator(0)) * 7 + 3
    before = points.clone()
    found = attempt(points)
    unchanged(before, points)
    assert isinstance(found, Tensor) and found.shape == points.shape, (
        f"A cloud of shape (50, 3) must come back, not {found!r:.80}. Did you forget "
        "`return`?"
    )
    expect(
        found.mean(0),
        torch.zeros(3),
        "Centroid of a random cloud",
        {"Subtract the mean over the points first.": found.mean(0)},
    )
    expect(
        found.norm(dim=1).max(),
        1.0,
        "Largest radius of a random cloud",
        {
            "Divide by the largest norm of a point, not by the spread or the largest "
            "coordinate.": found.norm(dim=1).max()
        },
    )
    expect(found, normalise(points), "A random cloud")


def turn_about_y(points: Tensor, angle: float) -> Tensor:
    """Turn a cloud (N, 3) about the upward axis; a quarter turn takes +z to +x."""
    cos, sin = math.cos(angle), math.sin(angle)
    x, y, z = points.unbind(-1)
    return torch.stack([cos * x + sin * z, y, -sin * x + cos * z], -1)


def _test_turn(attempt: Attempt) -> None:
    front = torch.tensor([[0.0, 0.5, 1.0]])
    right = torch.tensor([[1.0, 0.5, 0.0]])
    expect(
        attempt(front, math.pi / 2),
        right,
        "A quarter turn of the front, +z",
        {
            "It came to -x: the other way round.": turn_about_y(front, -math.pi / 2),
            "Nothing moved.": front,
            "The angle is in radians.": turn_about_y(front, math.radians(math.pi / 2)),
        },
    )
    cloud = torch.rand(50, 3, generator=generator(1)) - 0.5
    expect(attempt(cloud, 0.0), cloud, "A turn by nothing")
    turned = attempt(cloud, 0.7)
    expect(turned[:, 1], cloud[:, 1], "Heights after a turn")
    expect(turned, turn_about_y(cloud, 0.7), "A turn by 0.7")


def changed_share(before: Tensor, after: Tensor, threshold: float) -> float:
    """The share of pixels of two sets of depth maps that differ by over a threshold."""
    return float(((after - before).abs() > threshold).double().mean())


def _test_changed_share(attempt: Attempt) -> None:
    before = torch.ones(2, 10, 10)
    after = before.clone()
    after[0, 0] = 0.5  # 10 of 200 pixels, darker by 0.5
    after[1, 0, 0] = 0.95  # one more, by 0.05
    mean = float((after - before).abs().mean())
    expect(
        attempt(before, after, 0.1),
        10 / 200,
        "Ten pixels of 200 became darker by more than 0.1",
        {
            "Pixels that become darker change, too: take the absolute difference.": 0.0,
            "That is how much pixels changed on average. How many changed?": mean,
            "That is a count: divide by the number of pixels.": 10,
        },
    )
    expect(attempt(after, before, 0.1), 10 / 200, "The same ten, brighter")
    expect(attempt(before, after, 0.01), 11 / 200, "Eleven pixels, over 0.01")


def farthest_points(points: Tensor, count: int) -> Tensor:
    """Indices (count,) of farthest point sampling of a cloud (N, 3), starting at 0."""
    return geometry.farthest_point_sampling(points[None], count)[0]


def _to_the_last(points: Tensor, count: int) -> Tensor:
    """The known mistake: far from the last point chosen, however near to the others."""
    chosen = [0]
    for _ in range(count - 1):
        distance = (points - points[chosen[-1]]).norm(dim=1)
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
    return torch.tensor(chosen)


def _test_farthest_points(attempt: Attempt) -> None:
    line = torch.tensor([[0.0, 0, 0], [1, 0, 0], [9, 0, 0], [4, 0, 0], [10, 0, 0]])
    far = (line - line[0]).norm(dim=1).argsort(descending=True)[:2]
    expect(
        attempt(line, 3),
        torch.tensor([0, 4, 3]),
        "Points on a line at 0, 1, 9, 4, 10, three of them",
        {
            "9 is far from 0, but near 10, which is chosen already: what counts is the "
            "distance to the NEAREST of all points chosen so far.": torch.tensor(
                [0, *far.tolist()]
            ),
            "1 is far from 10, the point chosen last, but near 0: what counts is the "
            "distance to the NEAREST of all points chosen so far.": _to_the_last(
                line, 3
            ),
            "Those are the places, not the indices.": line[[0, 4, 3]],
            "Those are simply the first points.": torch.arange(3),
        },
    )
    cloud = torch.rand(60, 3, generator=generator(2))
    before = cloud.clone()
    found = attempt(cloud, 12)
    unchanged(before, cloud)
    expect(found, farthest_points(cloud, 12), "12 of 60 random points, start at 0")


EXERCISES = {
    "normalise": Exercise(
        reference=normalise,
        test=_test_normalise,
        tested="A random cloud came back with centroid 0 and largest radius 1.",
        level="easy",
        minutes=5,
    ),
    "turn_about_y": Exercise(
        reference=turn_about_y,
        test=_test_turn,
        tested="Turns keep heights, and a quarter takes +z to +x.",
        level="medium",
        minutes=10,
    ),
    "changed_share": Exercise(
        reference=changed_share,
        test=_test_changed_share,
        tested="Known changes of known maps were counted.",
        level="easy",
        minutes=5,
    ),
    "farthest_points": Exercise(
        reference=farthest_points,
        test=_test_farthest_points,
        tested="On a line and in a random cloud, the package's points in its order.",
        level="hard",
        minutes=15,
    ),
}
