"""Procedural shapes: known answers, captions that tell the truth, steady seeds."""

import re

import numpy as np
import pytest
import torch

from mrpd_tutorial.data.shapes import SHAPE_CLASSES, make_shapes
from mrpd_tutorial.data.shapes.building import BUILDING
from mrpd_tutorial.data.shapes.furniture import FURNITURE
from mrpd_tutorial.data.shapes.outdoors import OUTDOORS
from mrpd_tutorial.data.shapes.parts import Dice, Shape, turn_x, turn_y, turn_z
from mrpd_tutorial.data.shapes.seats import SEATS
from mrpd_tutorial.data.shapes.words import NUMBER
from mrpd_tutorial.runtime import generator


@pytest.fixture(scope="module")
def few():
    """Three clouds of every class."""
    return make_shapes(3, seed=5, num_points=512)


def _sample(shape: Shape, count: int = 4000, seed: int = 0):
    return shape.sample(np.random.default_rng(seed), count)[:2]


def test_every_class_gives_clouds_in_the_frame(few):
    assert len(SHAPE_CLASSES) >= 34 and len(set(SHAPE_CLASSES)) == len(SHAPE_CLASSES)
    total = 3 * len(SHAPE_CLASSES)
    assert few.points.shape == few.normals.shape == (total, 512, 3)
    assert few.points.dtype == few.normals.dtype == torch.float32
    assert few.labels.dtype == torch.int64 and len(few.captions) == total
    assert few.labels.bincount().tolist() == [3] * len(SHAPE_CLASSES)
    assert few.points.isfinite().all()
    centre = few.points.mean(1)
    torch.testing.assert_close(centre, torch.zeros(total, 3), atol=1e-5, rtol=0)
    radius = few.points.norm(dim=-1).amax(1)
    torch.testing.assert_close(radius, torch.ones(total))
    torch.testing.assert_close(few.normals.norm(dim=-1), torch.ones(total, 512))


def test_captions_name_their_class_and_vary(few):
    for label, caption in zip(few.labels.tolist(), few.captions, strict=True):
        assert SHAPE_CLASSES[label] in caption, caption
        assert "  " not in caption and caption == caption.strip()
    assert len(set(few.captions)) > len(SHAPE_CLASSES)


def test_a_ball_is_a_sphere():
    shapes = make_shapes(4, seed=0, num_points=2048, class_names=["ball"])
    radius = shapes.points.norm(dim=-1)
    # Uniform on the unit sphere: radius 1 up to the facets and the sampled centroid,
    # each coordinate spread over [-1, 1] with variance 1/3, distances E = 4/3.
    assert radius.min() > 0.88
    assert abs(radius.mean() - 0.97) < 0.03
    variance = shapes.points.var(1) / radius.mean() ** 2
    torch.testing.assert_close(variance, torch.full((4, 3), 1 / 3), atol=0.02, rtol=0)
    distance = torch.cdist(shapes.points, shapes.points).mean((1, 2)) / radius.mean()
    torch.testing.assert_close(distance, torch.full((4,), 4 / 3), atol=0.02, rtol=0)
    # Normals point outward.
    outward = (shapes.normals * shapes.points).sum(-1) / radius
    assert outward.min() > 0.9


def test_the_same_seed_gives_the_same_bytes_whatever_else_is_asked_for():
    both = make_shapes(3, seed=7, num_points=64, class_names=["chair", "plant"])
    one = make_shapes(2, seed=7, num_points=64, class_names=["plant"])
    assert torch.equal(both.points[3:5], one.points)
    assert torch.equal(both.normals[3:5], one.normals)
    assert both.captions[3:5] == one.captions
    assert one.labels.tolist() == [0, 0]


def test_global_randomness_is_left_alone():
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002 (the global state is what is being tested)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    make_shapes(1, seed=0, num_points=16, class_names=["vase"])
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_different_seeds_give_different_objects():
    names = [name for name in SHAPE_CLASSES if name != "ball"]
    one = make_shapes(2, seed=0, num_points=128, class_names=names)
    two = make_shapes(2, seed=1, num_points=128, class_names=names)
    clouds = torch.cat([one.points, two.points]).flatten(1)
    distance = torch.cdist(clouds, clouds).fill_diagonal_(torch.inf)
    assert distance.min() > 0.1


def test_more_points_do_not_change_the_object():
    one = make_shapes(2, seed=2, num_points=64)
    two = make_shapes(2, seed=2, num_points=256)
    assert one.captions == two.captions


def test_points_are_uniform_over_area():
    shape = Shape()
    shape.box((0, 0, 0), (2.0, 1.0, 0.5))
    points, normals = _sample(shape, 20000)
    # Both faces across x measure 1, across y 2, across z 4.
    for axis, share in enumerate((1 / 7, 2 / 7, 4 / 7)):
        found = (np.abs(normals[:, axis]) > 0.99).mean()
        assert found == pytest.approx(share, abs=0.02)
    assert points.min(0) == pytest.approx([-1, 0, -0.25], abs=1e-9)
    assert points.max(0) == pytest.approx([1, 1, 0.25], abs=1e-9)
    centre = np.array([0, 0.5, 0])
    assert ((points - centre) * normals).sum(1).min() > 0, "box normals point outward"


def test_what_lies_inside_is_hidden_and_flat_ends_are_not():
    shape = Shape()
    shape.box((0, 0, 0), (1, 1, 1))
    shape.box((0, 0.25, 0), (0.5, 0.5, 0.5))
    points, _ = _sample(shape)
    depth = np.abs(points - [0, 0.5, 0]).max(1)
    assert depth.min() == pytest.approx(0.5)

    disc = Shape()
    edge = [(0, 0), (0.5, 0), (0.5, 0.1), (0, 0.1)]
    disc.revolve(edge, solid=True, turn=turn_z(0.3) @ turn_x(0.2))
    points, normals = _sample(disc)
    up = turn_z(0.3) @ turn_x(0.2) @ np.array([0, 1, 0])
    # Ends 2 pi r^2, wall 2 pi r h: the ends have r / (r + h) of it.
    ends = (np.abs(normals @ up) > 0.99).mean()
    assert ends == pytest.approx(0.5 / 0.6, abs=0.03)


def test_a_shape_added_to_another_hides_where_it_went():
    inner, outer = Shape(), Shape()
    inner.box((0, 0, 0), (0.2, 0.2, 0.2))
    part = Shape()
    part.box((0, 0, 0), (1, 1, 1))
    outer.add(part, (3, 0, 0), turn_y(0.7))
    outer.add(inner, (3, 0.4, 0))
    points, _ = _sample(outer)
    local = (points - [3, 0.5, 0]) @ turn_y(0.7)
    assert np.abs(local).max(1).min() == pytest.approx(0.5)


def test_turns_go_the_way_they_say():
    x, y, z = np.eye(3)
    quarter = np.pi / 2
    assert turn_x(quarter) @ y == pytest.approx(z)
    assert turn_y(quarter) @ z == pytest.approx(x)
    assert turn_z(quarter) @ x == pytest.approx(y)


def _built(recipe, seed: int):
    """The caption and dense points of one object, before turns and normalisation."""
    shape = Shape()
    caption = recipe(Dice(np.random.default_rng(seed)), shape)
    points, normals = _sample(shape, 6000, seed)
    return caption, points, normals


def _groups(points: np.ndarray, reach: float) -> int:
    """How many groups there are when points closer than reach belong together."""
    near = torch.from_numpy(points)
    near = torch.cdist(near, near) < reach
    left, groups = set(range(len(points))), 0
    while left:
        groups += 1
        front = [left.pop()]
        while front:
            found = left & set(near[front.pop()].nonzero()[:, 0].tolist())
            left -= found
            front += found
    return groups


@pytest.mark.parametrize("recipe", [FURNITURE["table"], SEATS["stool"]])
def test_legs_are_as_many_as_the_caption_says(recipe):
    counts = set()
    for seed in range(30):
        caption, points, _ = _built(recipe, seed)
        legs = re.search(r"(one|two|three|four) (\w+ )*legs?", caption)
        height = np.ptp(points[:, 1])
        level = (points[:, 1] - points[:, 1].min()) / height
        # Above stretchers and shelves, below aprons and tops; panels have a rail here.
        slab = points[(level > 0.5) & (level < 0.75)][:, [0, 2]]
        if "panel" in caption:
            continue
        assert NUMBER[_groups(slab, 0.08)] == legs.group(1), caption
        counts.add(legs.group(1))
    assert {"one", "four"} <= counts


def test_tables_are_as_low_and_as_round_as_the_caption_says():
    for seed in range(30):
        caption, points, normals = _built(FURNITURE["table"], seed)
        top = points[:, 1].max()
        # The words speak of the height below the slab, which is 0.015 to 0.07 thick.
        if top < 0.48 or top > 0.55:
            assert ("a low " in caption) == (top < 0.5), caption
        if top < 0.68 or top > 0.75:
            assert ("a high " in caption) == (top > 0.7), caption
        x, z = points[(normals[:, 1] > 0.99) & (points[:, 1] > top - 1e-6)][:, [0, 2]].T
        # The share of its bounding rectangle that the top fills: pi / 4 if round.
        corner = (np.abs(x / x.max()) ** 2 + np.abs(z / z.max()) ** 2 > 1.02).mean()
        assert (corner < 0.05) == ("round table" in caption or "oval" in caption)
        assert ("round table" in caption or "square table" in caption) <= (
            abs(x.max() / z.max() - 1) < 0.1
        )


def test_rungs_and_steps_are_as_many_as_the_caption_says():
    ladders = stairs = 0
    for seed in range(40):
        caption, points, _ = _built(OUTDOORS["ladder"], seed)
        if "folding" not in caption:
            rungs = points[np.abs(points[:, 0]) < 0.1][:, 1:]
            assert f"{NUMBER[_groups(rungs, 0.08)]} rungs" in caption
            ladders += 1
        caption, points, normals = _built(BUILDING["stairs"], seed)
        if "no rail" in caption and "solid" in caption:
            heights = np.unique(points[normals[:, 1] > 0.99, 1].round(3))
            assert f"of {NUMBER[len(heights)]} steps" in caption
            # They go up, away from the viewer.
            assert np.corrcoef(points[:, 1], points[:, 2])[0, 1] < -0.3
            stairs += 1
    assert ladders and stairs


def test_classes_can_be_told_apart():
    def features(shapes):
        """Square roots of histograms of distances and of coordinates."""
        pick = torch.randint(512, (2, 2048), generator=generator(0))
        points = shapes.points.double()
        lengths = (points[:, pick[0]] - points[:, pick[1]]).norm(dim=-1)
        columns = [torch.stack([torch.histc(row, 24, 0, 2) for row in lengths]) / 2048]
        for axis in range(3):
            rows = points[:, :, axis]
            columns.append(torch.stack([torch.histc(r, 12, -1, 1) for r in rows]) / 512)
        return torch.cat(columns, 1).sqrt()

    known = make_shapes(8, seed=10, num_points=512)
    asked = make_shapes(3, seed=11, num_points=512)
    nearest = torch.cdist(features(asked), features(known)).argmin(1)
    accuracy = (known.labels[nearest] == asked.labels).double().mean()
    assert accuracy > 0.6, f"chance is {1 / len(SHAPE_CLASSES):.3f}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count_per_class": 0}, "count_per_class"),
        ({"num_points": 0}, "num_points"),
        ({"seed": -1}, "seed must be 0 or more; received -1"),
        ({"class_names": ["chair", "dragon"]}, r"unknown: \['dragon'\]"),
        ({"class_names": ["chair", "chair"]}, "different names"),
        ({"class_names": []}, "different names"),
    ],
)
def test_bad_arguments_say_what_to_do(arguments, message):
    good = {"count_per_class": 1, "seed": 0, "num_points": 8, "class_names": ["ball"]}
    with pytest.raises(ValueError, match=message):
        make_shapes(**{**good, **arguments})
