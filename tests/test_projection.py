"""Depth maps: golden images, a slow loop, symmetries, degenerate clouds, gradients."""

import math

import h5py
import numpy as np
import pytest
import torch

from mrpd_tutorial.geometry import normalise
from mrpd_tutorial.projection import (
    RELEASED_VIEW,
    TEN_VIEWS,
    View,
    depth_maps,
    exact,
    soft_depth_maps,
)
from mrpd_tutorial.projection.views import check_views
from mrpd_tutorial.runtime import generator

SIDES = {view.name: view for view in TEN_VIEWS}


def clouds(count=3, points=60, seed=0, dtype=torch.float64):
    return torch.randn(count, points, 3, generator=generator(seed), dtype=dtype)


def shells(count=4, points=1024):
    """Ellipsoid surfaces: as dense and as hollow as clouds of objects are."""
    directions = torch.nn.functional.normalize(clouds(count, points, 5), dim=-1)
    axes = 0.3 + torch.rand(count, 1, 3, generator=generator(6), dtype=torch.float64)
    return normalise((directions * axes).float())


def turn(angles):
    """Rx @ Ry @ Rz, each written as what it does to the axes."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        single = np.eye(3)
        single[i, i] = single[j, j] = math.cos(angle)
        single[j, i], single[i, j] = math.sin(angle), -math.sin(angle)
        matrix = matrix @ single
    return matrix


def loop_oracle(cloud, view, size):
    """The released formula point by point, pixel by pixel, in float64."""
    seen = cloud.double().numpy() @ turn(view.angles).T @ turn(view.bias).T
    high, low = seen.max(0), seen.min(0)
    seen = (seen - (high + low) / 2) / ((high - low).max() or 1.0) * 2
    pool, blur = exact.pool_radius(size), exact.blur_radius(size)
    layers = np.zeros((8, size, size))
    for x, y, z in seen:
        row, column = (
            int(np.clip(math.ceil((0.8 * v + 1) / 2 * size), 1, size - 2))
            for v in (x, y)
        )
        depth = ((z + 1) / 2 + 0.2) / 1.2 * 6
        layer = layers[math.ceil(depth - 1e-12)]
        for i in range(max(0, row - pool), min(size, row + pool + 1)):
            for j in range(max(0, column - pool), min(size, column + pool + 1)):
                layer[i, j] = max(layer[i, j], min(max(depth, 1), 6))
    image = np.zeros((size, size))
    kernel = [math.exp(-(t**2) / 2 / (3 * blur) ** 2) for t in range(-blur, blur + 1)]
    for layer in layers:
        smooth, padded = np.zeros_like(layer), np.pad(layer, blur)
        for i, a in enumerate(kernel):
            for j, b in enumerate(kernel):
                smooth += a * b * padded[i : i + size, j : j + size]
        image = np.maximum(image, smooth / sum(kernel) ** 2)
    return 1 - image / image.max()


class TestExact:
    def test_equals_the_released_images(self, golden_dir):
        golden = np.load(golden_dir / "released_projection.npz")
        maps = depth_maps(torch.from_numpy(golden["points"]), RELEASED_VIEW)
        assert maps.shape == (24, 1, 224, 224)
        assert maps.dtype == torch.float32
        difference = (maps[:, 0] - torch.from_numpy(golden["image"])).abs().max()
        assert difference <= 1e-5

    @pytest.mark.parametrize("size", [16, 31, 64, 112, 128, 224, 340])
    def test_equals_the_loop(self, size):
        points = clouds(2, 25, size)
        views = (TEN_VIEWS[0], TEN_VIEWS[6], TEN_VIEWS[8])
        maps = depth_maps(points, views, size)
        for cloud, row in zip(points, maps, strict=True):
            for view, image in zip(views, row, strict=True):
                slow = torch.from_numpy(loop_oracle(cloud, view, size))
                torch.testing.assert_close(image, slow, rtol=0, atol=1e-5)

    def test_ten_views_by_default_and_the_first_is_the_released(self):
        points = clouds()
        maps = depth_maps(points, resolution=48)
        assert maps.shape == (3, 10, 48, 48)
        assert torch.equal(maps[:, :1], depth_maps(points, RELEASED_VIEW, 48))

    def test_batch_equals_single(self, monkeypatch):
        points = clouds(5, dtype=torch.float32)
        whole = depth_maps(points, resolution=64)
        alone = torch.cat([depth_maps(cloud[None], resolution=64) for cloud in points])
        assert torch.equal(whole, alone)
        monkeypatch.setattr(exact, "CPU_PIECE", 1)
        assert torch.equal(whole, depth_maps(points, resolution=64))

    def test_order_place_and_size_do_not_matter(self):
        points = clouds()
        maps = depth_maps(points, resolution=64)
        order = torch.randperm(60, generator=generator(1))
        elsewhere = 7.5 * points + torch.tensor([3.0, -40.0, 0.1])
        for twin in (points[:, order], elsewhere):
            difference = (depth_maps(twin, resolution=64) - maps).abs()
            # A last bit may move single points, such as the nearest, to another slice.
            assert (difference > 1e-6).double().mean() < 1e-3

    def test_a_quarter_turn_moves_to_the_next_view(self):
        # Turned by 90 degrees about y, +x comes to where +z was.
        points = clouds()
        x, y, z = points.unbind(-1)
        turned = torch.stack([-z, y, x], dim=-1)
        for kind, step, first in (("straight", 1, 0), ("diagonal", 2, 1)):
            numbers = [first + step * k for k in range(4)]
            views = [SIDES[f"{kind}-{number}"] for number in numbers]
            before = depth_maps(points, views, 64)
            after = depth_maps(turned, views, 64)
            torch.testing.assert_close(after, before.roll(-1, dims=1))

    def test_input_is_kept_and_no_gradient_flows(self):
        points = clouds().requires_grad_()
        copy = points.detach().clone()
        assert not depth_maps(points, resolution=32).requires_grad
        assert torch.equal(points.detach(), copy)

    def test_every_resolution_has_room_for_its_splats(self):
        for size in range(16, 1100):
            canvas = exact.Canvas(size, exact.pool_radius(size))
            assert canvas.origin >= 0
            assert canvas.origin + canvas.side <= size

    def test_border_is_white_and_range_is_full(self):
        maps = depth_maps(shells(), resolution=112)
        assert maps.amin((2, 3)).eq(0).all()
        for edge in (
            maps[..., :8, :],
            maps[..., -8:, :],
            maps[..., :8],
            maps[..., -8:],
        ):
            assert edge.eq(1).all()


# Where the viewer stands: signs of x and z.
LOOKS_FROM = {
    "straight-0": (0, 1),
    "straight-1": (1, 0),
    "straight-2": (0, -1),
    "straight-3": (-1, 0),
    "diagonal-1": (1, 1),
    "diagonal-3": (1, -1),
    "diagonal-5": (-1, -1),
    "diagonal-7": (-1, 1),
}


class TestDirections:
    @pytest.mark.parametrize("name", LOOKS_FROM)
    def test_sides_are_upright_and_near_is_dark(self, name):
        x, z = LOOKS_FROM[name]
        # A ball around the axis y, one point far up, one toward the viewer.
        ball = 0.1 * clouds(1, 50)[0] / 3
        near = torch.tensor([x, 0.0, z]) / math.hypot(x, z)
        tip = torch.tensor([0.0, 1.0, 0.0])
        cloud = torch.cat([ball, tip[None], near[None], -near[None]])[None]
        image = depth_maps(cloud, SIDES[name], 112)[0, 0]
        rows = (image < 1).any(1).nonzero().flatten()
        columns = (image[rows[0] : rows[0] + 3] < 1).any(0).nonzero().flatten()
        assert abs(columns.double().mean() - 56) < 3  # the tip: top row, middle
        darkest = (image < 1e-6).nonzero().double().mean(0)
        assert darkest[0] > 56  # seen from above: the near point is low in the map

    @pytest.mark.parametrize(("name", "y"), [("end-0", -1.0), ("end-1", 1.0)])
    def test_ends_look_from_below_and_above(self, name, y):
        # One point toward the viewer, on the right (+x); one away from it, on the left.
        two = torch.tensor([[[0.5, y, 0], [-0.5, -y, 0]]])
        dark = (depth_maps(two, SIDES[name], 112)[0, 0] < 1e-6).nonzero()
        assert (dark[:, 1] > 56).all()

    def test_straight_0_shows_x_to_the_right(self):
        marks = torch.tensor([[[1.0, 0, 0], [-1, 0, 0], [-1, 0.1, 0], [-1, -0.1, 0]]])
        drawn = depth_maps(marks, SIDES["straight-0"], 112)[0, 0] < 1
        assert drawn[:, 56:].sum() < drawn[:, :56].sum()


LINE = torch.linspace(-1, 1, 50)
DEGENERATE = {
    "one point": torch.tensor([[[0.3, -0.2, 0.9]]]),
    "all at 0": torch.zeros(1, 20, 3),
    "all equal": torch.tensor([0.1, 0.7, -0.3]).expand(1, 33, 3),
    "line along x": torch.stack([LINE, 0 * LINE, 0 * LINE], -1)[None],
    "slanted line": torch.stack([LINE, LINE, 2 * LINE], -1)[None],
    "plane": torch.cartesian_prod(LINE, LINE, torch.zeros(1))[None],
    "two points": torch.tensor([[[0.0, 0, 0], [0, 1, 0]]]),
    "tiny": 1e-25 * torch.stack([LINE, LINE**2, LINE**3], -1)[None],
    "small": 1e-12 * torch.stack([LINE, LINE**2, LINE**3], -1)[None],
    "huge": 1e14 * torch.stack([LINE, LINE**2, LINE**3], -1)[None],
    "far away": torch.stack([LINE, LINE**2, LINE**3], -1)[None] + 1e6,
}


@pytest.mark.parametrize("name", DEGENERATE)
class TestDegenerate:
    def test_exact_maps_are_defined(self, name):
        maps = depth_maps(DEGENERATE[name], resolution=64)
        assert maps.ge(0).all() and maps.le(1).all()
        assert maps.amin((2, 3)).eq(0).all()
        assert maps.amax((2, 3)).eq(1).all()

    def test_soft_maps_and_gradients_are_finite(self, name):
        points = DEGENERATE[name].clone().requires_grad_()
        maps = soft_depth_maps(points, resolution=64)
        assert maps.ge(-1e-6).all() and maps.le(1).all()
        (maps**2).sum().backward()
        assert points.grad.isfinite().all()


def test_equal_points_are_a_spot_in_the_middle():
    image = depth_maps(DEGENERATE["all equal"], RELEASED_VIEW)[0, 0]
    dark = (image < 1).nonzero()
    assert dark.min() == 112 - 4 and dark.max() == 112 + 4  # pixel 112, window 7, blur


class TestSoft:
    def weights(self, maps):
        return torch.randn(maps.shape, generator=generator(3), dtype=maps.dtype)

    @pytest.mark.parametrize("box_gradient", [True, False])
    @pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
    def test_gradients_equal_finite_differences(self, sharpness, box_gradient):
        points = clouds(1, 10).requires_grad_()

        def score(points):
            maps = soft_depth_maps(points, TEN_VIEWS[:2], 24, sharpness)
            return (maps * self.weights(maps)).sum()

        if box_gradient:
            assert torch.autograd.gradcheck(score, points)
            return
        fixed = soft_depth_maps(points, TEN_VIEWS[:2], 24, sharpness, box_gradient)
        (fixed * self.weights(fixed)).sum().backward()
        # Inner points do not touch the box: there both gradients agree.
        free = torch.autograd.grad(score(points), points)[0]
        same = torch.isclose(points.grad, free, rtol=1e-6, atol=1e-9).all(-1)
        assert 0 < same.sum() < same.numel()

    def test_gradients_reach_all_three_coordinates(self):
        points = shells(2, 256).requires_grad_()
        maps = soft_depth_maps(points, resolution=112)
        (maps * self.weights(maps)).sum().backward()
        assert (points.grad != 0).double().mean() > 0.99

    def test_close_to_the_exact_maps(self):
        points = shells()
        hard = depth_maps(points, resolution=112)
        errors = [
            (soft_depth_maps(points, resolution=112, sharpness=sharpness) - hard)
            .abs()
            .mean()
            for sharpness in (0.25, 1, 4, 100)
        ]
        assert errors == sorted(errors, reverse=True)
        assert errors[1] < 0.02
        assert errors[-1] < 1e-3

    def test_close_to_the_exact_maps_on_real_clouds(self, data_dir):
        path = data_dir / "modelnet40_ply_hdf5_1024" / "ply_data_test0.h5"
        if not path.is_file():
            pytest.skip(f"no {path.name} in MRPD_DATA_DIR")
        with h5py.File(path) as file:
            points = torch.from_numpy(file["data"][::200].astype(np.float32))
        error = (soft_depth_maps(points) - depth_maps(points)).abs().mean()
        assert error < 0.008

    def test_pieces_change_nothing(self, monkeypatch):
        def maps_and_gradient():
            points = clouds(3, 30).requires_grad_()
            maps = soft_depth_maps(points, resolution=48)
            (maps * self.weights(maps)).sum().backward()
            return maps.detach(), points.grad

        monkeypatch.setattr(exact, "CPU_PIECE", 2**40)
        whole = maps_and_gradient()
        monkeypatch.setattr(exact, "CPU_PIECE", 1)
        torch.testing.assert_close(maps_and_gradient(), whole)

    def test_order_does_not_matter(self):
        points = clouds()
        order = torch.randperm(points.shape[1], generator=generator(1))
        torch.testing.assert_close(
            soft_depth_maps(points[:, order], resolution=48),
            soft_depth_maps(points, resolution=48),
        )

    def test_descent_moves_a_cloud_toward_another(self):
        target = depth_maps(clouds(1, 40, 1), resolution=32)
        points = clouds(1, 40).requires_grad_()
        optimizer = torch.optim.Adam([points], lr=0.02)
        errors = []
        for _ in range(30):
            error = (soft_depth_maps(points, resolution=32) - target).square().mean()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            errors.append(float(error.detach()))
        assert errors[-1] < 0.8 * errors[0]


class TestBadInput:
    @pytest.mark.parametrize("draw", [depth_maps, soft_depth_maps])
    def test_doors(self, draw):
        points = torch.rand(2, 10, 3)
        with pytest.raises(ValueError, match=r"use points\.transpose\(1, 2\)"):
            draw(points.transpose(1, 2))
        with pytest.raises(ValueError, match="must be finite"):
            draw(points / 0 * 0)
        with pytest.raises(ValueError, match="at least 1 points"):
            draw(points[:, :0])
        with pytest.raises(ValueError, match="holds no cloud"):
            draw(points[:0])
        with pytest.raises(ValueError, match="views is empty"):
            draw(points, ())
        with pytest.raises(ValueError, match=r"resolution must lie in \[16, 4096\]"):
            draw(points, RELEASED_VIEW, 8)
        with pytest.raises(ValueError, match=r"within 1e\+15 of 0; received 1\.0e\+20"):
            draw(torch.full((1, 2, 3), 1e20))

    def test_types(self):
        points = torch.rand(2, 10, 3)
        with pytest.raises(ValueError, match="views must be a View or a sequence"):
            check_views(points, "front", 32)
        with pytest.raises(ValueError, match="resolution must be a whole number"):
            check_views(points, TEN_VIEWS, 32.5)

    def test_sharpness(self):
        with pytest.raises(ValueError, match=r"sharpness must lie in \[0.25, 100\]"):
            soft_depth_maps(torch.rand(1, 5, 3), sharpness=0.0)


def test_own_views_are_welcome():
    tilted = View("tilted", (0.3, 0.2, math.pi / 2))
    assert depth_maps(clouds(), [tilted, RELEASED_VIEW], 32).shape == (3, 2, 32, 32)


@pytest.mark.gpu
def test_on_a_gpu():
    points = shells()
    on_gpu = depth_maps(points.cuda())
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), depth_maps(points), rtol=0, atol=1e-5)
    leaf = points.cuda().requires_grad_()
    maps = soft_depth_maps(leaf, resolution=112)
    maps.square().sum().backward()
    twin = points.clone().requires_grad_()
    expected = soft_depth_maps(twin, resolution=112)
    expected.square().sum().backward()
    torch.testing.assert_close(maps.cpu(), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(leaf.grad.cpu(), twin.grad, rtol=1e-2, atol=1e-2)
