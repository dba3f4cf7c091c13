"""Corruptions against closed forms, and what all of them promise."""

import dataclasses

import numpy as np
import pytest
import torch

from mrpd_tutorial import corruptions as c
from mrpd_tutorial.corruptions import base, deformations, density, hidden
from mrpd_tutorial.data.modelnet40c import CORRUPTIONS
from mrpd_tutorial.geometry import normalise
from mrpd_tutorial.runtime import generator

ALL = (*c.MODELNET40_C, *c.POINTCLOUD_C, *c.SENSOR, c.Stretch)
VIEWS = (c.Occlusion, c.LiDAR)


def ids(value):
    return getattr(value, "__name__", str(value))


def sphere(count: int, seed: int = 0) -> torch.Tensor:
    directions = torch.randn(count, 3, generator=generator(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(directions, dim=1)


def apart(a, b):
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


@pytest.fixture(scope="module")
def points():
    """Six normalised clouds of 96 points: on boxes of different sides."""
    drawn = torch.rand(6, 96, 3, generator=generator(3)) - 0.5
    sides = torch.rand(6, 1, 3, generator=generator(4)) + 0.3
    return normalise(drawn / drawn.abs().amax(2, keepdim=True) * sides)


def with_level(kind, level):
    """The same corruption with one level at every severity, and no frame."""
    return type("Same", (kind,), {"levels": (level,) * 5})(severity=1, frame="none")


def test_the_benchmarks_are_complete():
    assert len(c.MODELNET40_C) == len(set(c.MODELNET40_C)) == 15
    assert {kind.title for kind in c.MODELNET40_C} == set(CORRUPTIONS)
    assert tuple(kind.title for kind in c.MODELNET40_C) == CORRUPTIONS
    titles = {kind.title for kind in c.POINTCLOUD_C}
    assert titles | {"clean"} == set(c.POINTCLOUD_C_DGCNN_ERRORS)
    assert all(len(kind.levels) == 5 for kind in ALL)


@pytest.mark.parametrize("kind", ALL, ids=ids)
def test_what_every_corruption_promises(kind, points):
    if kind in VIEWS:  # hulls take a while where every call is checked
        points = points[:, :24]
    count, before = points.shape[1], points.clone()
    for severity in c.SEVERITIES:
        corruption = kind(severity=severity)
        damaged = corruption(points)
        assert torch.equal(points, before)
        assert damaged.shape == (6, corruption.count(count), 3)
        assert damaged.dtype == torch.float32 and bool(torch.isfinite(damaged).all())
        assert torch.equal(damaged, corruption(points)), "the same seed"
        assert not torch.equal(damaged, kind(severity=severity, seed=1)(points))
        source = generator(0)
        parts = [corruption(part, source) for part in points.split([1, 3, 2])]
        assert torch.equal(damaged, torch.cat(parts)), "in parts"
        assert torch.equal(corruption(points[:2]), damaged[:2]), "neighbours"
    assert corruption(points.double()).dtype == torch.float64


@pytest.mark.parametrize("kind", ALL, ids=ids)
def test_frames_and_number_of_points(kind, points):
    framed = {f: kind(severity=3, frame=f)(points) for f in base.FRAMES}
    assert torch.equal(framed["published"], framed[kind.published_frame])
    assert torch.allclose(framed["sphere"].mean(1), torch.zeros(6, 3), atol=1e-5)
    assert torch.allclose(framed["sphere"].norm(dim=-1).amax(1), torch.ones(6))
    assert torch.allclose(framed["cube"].amax(1), -framed["cube"].amin(1), atol=1e-6)
    assert torch.allclose(framed["cube"].amax((1, 2)), torch.ones(6))
    for count in (1, 40, 96, 200):
        fewer = kind(severity=5, num_points=count, frame="none")(points)
        assert fewer.shape == (6, count, 3)
        whole = kind(severity=5, frame="none")(points)
        for cloud, full in zip(fewer, whole, strict=True):
            nearest = apart(cloud, full).amin(1)
            assert float(nearest.max()) < 1e-4, "all points are the damaged cloud's"


@pytest.mark.parametrize("kind", ALL, ids=ids)
def test_degenerate_clouds_stay_finite(kind):
    same = torch.full((1, 20, 3), 0.3)
    line = torch.linspace(-1, 1, 20)[None, :, None] * torch.tensor([1.0, 0, 0])
    flat = torch.rand(1, 20, 3, generator=generator(0)) * torch.tensor([1.0, 1, 0])
    zeros = torch.zeros(1, 20, 3)
    for cloud in (same, line, flat, zeros, flat[:, :1], flat[:, :2], flat[:, :5]):
        for severity in (1, 5):
            for frame in ("published", "sphere", "cube"):
                corruption = kind(severity=severity, frame=frame)
                damaged = corruption(cloud)
                assert damaged.shape[1] == corruption.count(cloud.shape[1]) >= 1
                assert bool(torch.isfinite(damaged).all())


def moved(kind, points, severity):
    return (kind(severity=severity, frame="none")(points) - points).norm(dim=-1).mean()


MOVING = (
    c.UniformNoise,
    c.GaussianNoise,
    c.ImpulseNoise,
    c.Rotation,
    c.Shear,
    c.FreeFormDeformation,
    c.RBFDeformation,
    c.InverseRBFDeformation,
    c.Stretch,
    c.Scale,
    c.Jitter,
    c.Rotate,
    c.SensorNoise,
    c.RainSnow,
)
COUNTING = (
    c.BackgroundNoise,
    c.Upsampling,
    c.Cutout,
    c.DensityDecrease,
    c.DropGlobal,
    c.DropLocal,
    c.AddGlobal,
    c.AddLocal,
    c.PartialView,
)


def test_every_corruption_has_a_measure_of_severity():
    assert {*MOVING, *COUNTING, *VIEWS, c.DensityIncrease} == set(ALL)


@pytest.mark.parametrize("kind", MOVING, ids=ids)
def test_points_move_farther_with_severity(kind, points):
    many = points.repeat(8, 1, 1)
    ways = [float(moved(kind, many, severity)) for severity in c.SEVERITIES]
    assert ways == sorted(ways) and ways[0] < 0.7 * ways[4]


@pytest.mark.parametrize("kind", COUNTING, ids=ids)
def test_counts_change_with_severity(kind):
    changes = [abs(kind(severity=s).count(1024) - 1024) for s in c.SEVERITIES]
    assert changes == sorted(set(changes)) and changes[0] > 0


def test_counts_of_points_are_those_published():
    def counts(kind, num_points=1024):
        return [kind(severity=s).count(num_points) for s in c.SEVERITIES]

    added = [1024 // n for n in (45, 40, 35, 30, 20)]
    assert counts(c.BackgroundNoise) == [1024 + n for n in added]
    assert counts(c.Upsampling) == [1228, 1280, 1365, 1536, 2048]
    assert counts(c.Cutout) == [1024 - 30 * n for n in (2, 3, 5, 7, 10)]
    assert counts(c.DensityDecrease) == [1024 - 75 * n for n in range(1, 6)]
    assert counts(c.DensityIncrease, 2048) == [1024] * 5
    assert counts(c.DropGlobal) == [768, 640, 512, 384, 256]
    assert counts(c.DropLocal) == [924, 824, 724, 624, 524]
    assert counts(c.AddGlobal) == [1034, 1044, 1054, 1064, 1074]
    assert counts(c.AddLocal) == [1124, 1224, 1324, 1424, 1524]
    assert counts(c.LiDAR) == [768] * 5
    assert counts(c.PartialView) == [922, 819, 717, 614, 512]
    assert counts(c.Cutout, 2048) == [2048 - 60 * n for n in (2, 3, 5, 7, 10)]


def test_points_that_stay_or_come_first_are_untouched(points):
    for kind in (c.BackgroundNoise, c.Upsampling, c.AddGlobal, c.AddLocal):
        damaged = kind(severity=3, frame="none")(points)
        assert torch.equal(damaged[:, :96], points)
    for kind in (c.Cutout, c.DensityDecrease, c.DropGlobal, c.DropLocal, c.PartialView):
        damaged = kind(severity=3, frame="none")(points)
        for cloud, clean in zip(damaged, points, strict=True):
            place = (cloud[:, None] == clean[None]).all(-1).float().argmax(1)
            assert torch.equal(clean[place], cloud)
            assert bool((place.diff() > 0).all()), "each once, in their order"


def test_noise_has_the_published_size():
    points = torch.zeros(4, 4000, 3, dtype=torch.float64)
    for severity in c.SEVERITIES:
        level = c.UniformNoise.levels[severity - 1]
        noise = c.UniformNoise(severity=severity, frame="none")(points)
        assert float(noise.abs().max()) <= level < 1.02 * float(noise.abs().max())
        assert abs(float(noise.std()) / level * 3**0.5 - 1) < 0.02
        for kind in (c.GaussianNoise, c.Jitter):
            noise = kind(severity=severity)(points)
            assert abs(float(noise.std()) / kind.levels[severity - 1] - 1) < 0.02
    edge = c.GaussianNoise(severity=5)(points + 1)
    assert (
        float(edge.max()) == 1.0
        and abs(float((edge == 1).double().mean()) - 0.5) < 0.05
    )


def test_impulses_jump_by_a_tenth_in_each_coordinate(points):
    jump = c.ImpulseNoise(severity=5, frame="none")(points) - points
    hit = jump.abs().amax(2) > 0
    assert hit.sum(1).tolist() == [96 // 10] * 6
    assert torch.allclose(jump[hit].abs(), torch.tensor(0.1), atol=1e-6)


def test_added_points_lie_where_they_should(points):
    many = points.repeat(4, 1, 1)[:, :60]
    cube = c.BackgroundNoise(severity=5, frame="none")(many)[:, 60:]
    assert float(cube.abs().max()) <= 1
    copies = c.Upsampling(severity=5, frame="none")(many)[:, 60:]
    away = (copies[:, :, None] - many[:, None]).abs().amax(-1).amin(-1)
    assert 0.03 < float(away.max()) <= 0.05 + 1e-6
    ball = c.AddGlobal(severity=5)(torch.zeros(1, 102400, 3))[0, 102400:]
    radii = ball.norm(dim=1)
    assert len(ball) == 5000 and float(radii.max()) <= 1
    # Uniform in the ball: r^3 is uniform, and no direction is preferred.
    assert abs(float(radii.pow(3).mean()) - 0.5) < 0.02
    assert float(ball.mean(0).abs().max()) < 0.03
    local = c.AddLocal(severity=5)(many)[:, 60:]
    assert float(local.norm(dim=-1).max()) <= 1 + 1e-6


def test_clusters_of_added_points_have_the_published_spread():
    origin = torch.zeros(30, 1024, 3, dtype=torch.float64)
    added = c.AddLocal(severity=5)(origin)[:, 1024:]
    assert 0.075 < float(added.std()) < 0.125
    sizes = [density.cluster_sizes(500, generator(seed)) for seed in range(60)]
    assert {sum(s) for s in sizes} == {500}
    assert {len(s) for s in sizes} == set(range(1, 8))


def test_local_patches_are_nearest_neighbours():
    points = sphere(1024)[None]
    for kind, gone in ((c.Cutout, 60), (c.DropLocal, 100)):
        damaged = kind(severity=1, frame="none")(points)[0]
        removed = apart(points[0], damaged).amin(1) > 0
        assert int(removed.sum()) == gone
        # A hole: those removed have far more removed neighbours than chance (6-10 %).
        near = apart(points[0][removed], points[0]).topk(9, largest=False).indices
        share = removed[near[:, 1:]].double().mean()
        assert float(share) > 0.6
    thin = c.DensityDecrease(severity=1)(points)[0]
    removed = apart(points[0], thin).amin(1) > 0
    centre = points[0][removed].mean(0)
    patch = (points[0] - centre).norm(dim=1).argsort()[:90]
    assert 0.6 < float(removed[patch].double().mean()) < 0.9
    dense = c.DensityIncrease(severity=5)(sphere(2048)[None])[0]
    whole = apart(sphere(2048), dense).amin(1) == 0
    near = apart(sphere(2048), sphere(2048)).topk(5, largest=False).indices
    full = whole[near].all(1)
    assert 200 < int(full.sum()) < 700, "patches of 500 points are there whole"


def angles_of(matrix):
    """x, y, z angles of R_x R_y R_z in degrees."""
    y = torch.asin(matrix[0, 2])
    x = torch.atan2(-matrix[1, 2], matrix[2, 2])
    z = torch.atan2(-matrix[0, 1], matrix[0, 0])
    return torch.rad2deg(torch.stack([x, y, z]))


def linear_map(kind, severity, points):
    damaged = kind(severity=severity, frame="none")(points)
    return torch.linalg.lstsq(points, damaged).solution  # (B, 3, 3): x -> x M


@pytest.mark.parametrize("severity", c.SEVERITIES)
def test_matrices_are_those_published(severity, points):
    points = points.double().repeat(5, 1, 1)
    eye = torch.eye(3, dtype=torch.float64)
    turned = linear_map(c.Rotation, severity, points)
    assert torch.allclose(turned @ turned.mT, eye.expand_as(turned), atol=1e-9)
    angles = torch.stack([angles_of(matrix) for matrix in turned])
    level = c.Rotation.levels[severity - 1]
    assert bool(((angles.abs() - level).abs() <= 2.5 + 1e-6).all())
    assert bool((angles > 0).any()) and bool((angles < 0).any())
    turned = linear_map(c.Rotate, severity, points)
    # R_z R_y R_x of PointCloud-C is the inverse of R_x R_y R_z of minus the angles.
    angles = torch.stack([angles_of(matrix.T) for matrix in turned])
    assert 0.8 * 6 * severity < float(angles.abs().max()) <= 6 * severity + 1e-6
    sheared = linear_map(c.Shear, severity, points)
    off = sheared[:, [0, 1, 1, 2], [2, 0, 2, 0]]
    level = c.Shear.levels[severity - 1]
    assert bool(((off.abs() - level).abs() <= 0.05 + 1e-9).all())
    rest = sheared[:, [0, 1, 2, 0, 2], [0, 1, 2, 1, 1]]
    assert torch.allclose(rest, torch.tensor([1.0, 1, 1, 0, 0]).double(), atol=1e-9)
    factors = linear_map(c.Stretch, severity, points).diagonal(dim1=1, dim2=2)
    level = c.Stretch.levels[severity - 1]
    expected = torch.tensor([1 - level, 1, 1 + level]).double()
    assert torch.allclose(factors.sort(1).values, expected.expand(30, 3), atol=1e-6)
    factors = linear_map(c.Scale, severity, points).diagonal(dim1=1, dim2=2)
    most = c.Scale.levels[severity - 1]
    assert 1 / most <= float(factors.min()) < 0.8 and 1.3 < float(factors.max()) <= most


def test_without_strength_nothing_happens(points):
    points = points.double()
    for kind in MOVING:
        if kind in (c.Rotation, c.Shear):  # theirs vary by a fixed amount
            continue
        level = {c.ImpulseNoise: 10**9, c.Scale: 1.0}.get(kind, 0.0)
        assert torch.allclose(with_level(kind, level)(points), points, atol=1e-12)
    for kind in (c.BackgroundNoise, c.Upsampling):
        assert torch.equal(with_level(kind, 10**9)(points), points)
    for kind in (c.Cutout, c.DensityDecrease, c.DropLocal, c.AddGlobal, c.AddLocal):
        assert torch.equal(with_level(kind, 0)(points), points)
    for kind in (c.DropGlobal, c.PartialView):
        assert torch.equal(with_level(kind, 0.0)(points), points)


def test_bernstein_polynomials():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    values = deformations.bernstein(t)
    assert torch.allclose(values.sum(1), torch.ones(11, dtype=torch.float64))
    assert torch.allclose(values @ torch.linspace(0, 1, 5).double(), t)
    assert values[0].tolist() == [1, 0, 0, 0, 0] and values[-1].tolist() == [
        0,
        0,
        0,
        0,
        1,
    ]


def test_free_form_deformation_moves_corners_by_their_control_points():
    corners = torch.tensor([[-1.0, -1, -1], [1, 1, 1], [3, 0, 0]])[None].double()
    kind = c.FreeFormDeformation
    moves = kind(severity=5, frame="none")(corners) - corners
    seed = torch.randint(2**63 - 1, (1,), generator=generator(0)).item()
    drawn = 2 * 0.5 * base.uniform(generator(seed), 5, 5, 5, 3)
    assert torch.allclose(moves[0, 0], drawn[0, 0, 0])
    assert torch.allclose(moves[0, 1], drawn[4, 4, 4])
    assert not moves[0, 2].any(), "outside the lattice"


@pytest.mark.parametrize("kind", [c.RBFDeformation, c.InverseRBFDeformation])
def test_radial_functions_interpolate_and_reproduce_affine_maps(kind):
    corruption = kind(severity=3)
    lattice = deformations._lattice()
    moves = base.normal(generator(1), len(lattice), 3)
    assert torch.allclose(corruption._carry(lattice, moves), moves, atol=1e-8)
    cloud = sphere(50)
    matrix, offset = base.normal(generator(2), 3, 3), base.normal(generator(3), 3)
    found = corruption._carry(cloud, lattice @ matrix + offset)
    assert torch.allclose(found, cloud @ matrix + offset, atol=1e-8)
    # The control points themselves move by the published length.
    way = (corruption._damage(lattice, generator(0)) - lattice).norm(dim=1)
    assert torch.allclose(way, torch.full_like(way, 0.075), atol=1e-8)


def test_hull_corners_against_planes_through_all_triples():
    for seed in range(6):
        points = base.normal(generator(seed), 14, 3)
        if seed == 5:
            points = torch.cat([points, 0.2 * points])  # the copies lie inside
        corners = torch.zeros(len(points), dtype=torch.bool)
        for triple in torch.combinations(torch.arange(len(points)), 3):
            a, b, d = points[triple]
            height = (points - a) @ torch.linalg.cross(b - a, d - a)
            if not (bool((height > 1e-12).any()) and bool((height < -1e-12).any())):
                corners[triple] = True
        assert hidden.hull_corners(points.numpy()).tolist() == corners.tolist()


def test_hull_of_flat_and_tiny_sets():
    grid = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0]).double()] * 3)
    inside = 0.5 * base.uniform(generator(0), 50, 3)
    found = hidden.hull_corners(torch.cat([grid, inside]).numpy())
    assert found.tolist() == [True] * 8 + [False] * 50
    assert hidden.hull_corners(np.zeros((1, 3))).all()
    line = np.linspace(0, 1, 30)[:, None] * np.array([[1.0, 2, 3]])
    found = hidden.hull_corners(line)
    assert found[0] and found[-1]


@pytest.mark.parametrize("distance", [3.0, 5.0])
def test_the_front_of_a_sphere_is_visible(distance):
    points, camera = sphere(1024), c.viewpoint(30.0, 20.0, distance)
    cosine = points @ camera / distance  # visible above 1 / distance, exactly
    seen = c.visible_points(points, camera)
    assert bool(seen[cosine > 1 / distance].all())
    assert not bool(seen[cosine < 0].any())
    assert int((seen & (cosine < 1 / distance)).sum()) < 0.12 * int(seen.sum())


def test_hidden_points_against_a_z_buffer():
    """Pixel by pixel: a point is visible if nothing in its pixel is clearly nearer."""
    points, surface = sphere(1024), sphere(400_000, seed=1)
    camera = torch.tensor([0.0, 0, 3]).double()

    def pixels(cloud):
        place = cloud[:, :2] / (3 - cloud[:, 2:])
        row, column = ((place + 0.5) * 100).long().unbind(1)
        return 100 * row + column, (cloud - camera).norm(dim=1)

    pixel, depth = pixels(surface)
    nearest = torch.full((10_000,), torch.inf).double()
    nearest = nearest.scatter_reduce(0, pixel, depth, "amin")
    pixel, depth = pixels(points)
    buffer = depth < nearest[pixel] + 0.15
    seen = c.visible_points(points, camera)
    assert 0.3 < float(buffer.double().mean()) < 0.4
    assert float((buffer == seen).double().mean()) > 0.95


def test_a_wall_hides_what_is_behind_it():
    line = torch.linspace(-0.5, 0.5, 30).double()
    wall = torch.cartesian_prod(line, line, torch.tensor([0.5]).double())
    behind = torch.cat([wall[:, :2] * 0.8, -wall[:, 2:]], dim=1)
    camera = torch.tensor([0.0, 0, 3]).double()
    seen = c.visible_points(torch.cat([wall, behind]), camera)
    assert float(seen[:900].double().mean()) > 0.95 and not bool(seen[900:].any())
    seen = c.visible_points(torch.cat([wall, behind]), -camera)
    assert float(seen[900:].double().mean()) > 0.95
    same = c.visible_points(torch.cat([wall, wall]), camera)
    assert torch.equal(same[:900], same[900:]), "equal points share their answer"
    assert bool(c.visible_points(wall, wall[7])[7]), "a point at the viewpoint"


def test_occlusion_looks_from_five_sectors():
    points = sphere(512)[None].repeat(4, 1, 1)
    for severity in c.SEVERITIES:
        damaged = c.Occlusion(severity=severity, frame="none")(points)
        centre = damaged.mean(1)
        azimuth = torch.rad2deg(torch.atan2(centre[:, 0], centre[:, 2]))
        off = (azimuth - 72 * severity + 180) % 360 - 180
        assert float(off.abs().max()) < 36 + 5
        elevation = torch.rad2deg(torch.asin(centre[:, 1] / centre.norm(dim=1)))
        assert float(elevation.min()) > 25 and float(elevation.max()) < 65
        assert all(150 < len(cloud.unique(dim=0)) < 280 for cloud in damaged)


def test_lidar_returns_lie_on_scan_lines():
    points = sphere(1024)[None]
    for severity in (1, 4):
        damaged = c.LiDAR(severity=severity)(points)[0]
        assert damaged.shape == (768, 3)
        # The scanner's place can be told: on its lines elevations differ by degrees.
        azimuths = torch.linspace(-36, 36, 721).double() + 72 * severity

        def lines(azimuth, damaged=damaged):
            rays = damaged - c.viewpoint(float(azimuth), 22.5, 5.0)
            e = torch.rad2deg(torch.atan2(rays[:, 1], rays[:, [0, 2]].norm(dim=1)))
            return float(((e - e[0] + 0.5) % 1 - 0.5).abs().max())

        assert min(lines(azimuth) for azimuth in azimuths) < 0.02
        rays = damaged - c.viewpoint(72.0 * severity, 22.5, 5.0)
        assert float(rays.norm(dim=1).max()) < 5.3, "the far side is hidden"


def test_sensor_noise_lies_on_rays_and_grows_with_depth():
    points = sphere(20000)[None]
    noise = (c.SensorNoise(severity=3, frame="none")(points) - points)[0]
    # Rays meet in the sensor: the least-squares meeting point is where it stands.
    unit = torch.nn.functional.normalize(noise, dim=1)
    across = torch.eye(3).double() - unit[:, :, None] * unit[:, None]
    sensor = torch.linalg.solve(across.sum(0), (across @ points[0, :, :, None]).sum(0))
    sensor = sensor[:, 0]
    assert abs(float(sensor.norm()) - 3) < 1e-6 and 0 <= float(sensor[1]) <= 1.5 + 1e-6
    depth = (points[0] - sensor).norm(dim=1)
    size = noise.norm(dim=1)
    for low, high in ((2.0, 2.2), (3.8, 4.0)):
        chosen = (depth > low) & (depth < high)
        expected = 0.02 * (depth[chosen] / 3).square()
        ratio = (size[chosen] / expected).square().mean().sqrt()
        assert abs(float(ratio) - 1) < 0.06


def test_partial_view_cuts_along_one_direction():
    points = sphere(1000)[None]
    kept = c.PartialView(severity=5)(points)[0]
    direction = kept.mean(0) / kept.mean(0).norm()
    heights, all_heights = kept @ direction, (points[0] @ direction).sort().values
    assert len(kept) == 500
    assert float(heights.min()) > float(all_heights[400]), "the far half is gone"


def test_rain_and_snow_stand_between_sensor_and_object():
    points = sphere(2000)[None]
    damaged = c.RainSnow(severity=5, frame="none")(points)[0]
    hit = (damaged != points[0]).any(1)
    assert int(hit.sum()) <= 400 and int(hit.sum()) > 390
    assert float(damaged.norm(dim=1).max()) <= 1.2 + 1e-9
    way = torch.nn.functional.normalize(damaged[hit] - points[0][hit], dim=1)
    assert float((way @ way.mean(0)).min()) > 0.5, "all toward one sensor"


def test_corruption_errors_as_published():
    errors = c.POINTCLOUD_C_DGCNN_ERRORS
    assert c.mean_corruption_error(errors, errors) == pytest.approx(1.0)
    assert c.relative_mean_corruption_error(errors, errors) == pytest.approx(1.0)
    # PointNet's row of PointCloud-C: mCE 1.422 by accuracies .881 .797 .591 .876 .778
    # .121 .562 (scale, jitter, rotate, drop-global, drop-local, add-global, add-local).
    accuracies = (0.881, 0.797, 0.591, 0.876, 0.778, 0.121, 0.562)
    pointnet = {
        kind.title: 1 - accuracy
        for kind, accuracy in zip(c.POINTCLOUD_C, accuracies, strict=True)
    }
    assert c.mean_corruption_error(pointnet, errors) == pytest.approx(1.422, abs=2e-3)
    assert c.mean_corruption_error({"a": [0.1, 0.3], "b": 0.4}) == pytest.approx(0.3)
    levels = {"a": [0.1, 0.2], "clean": 0.0}
    assert c.mean_corruption_error(levels, {"a": 0.3}) == pytest.approx(0.5)
    relative = {"clean": 0.1, "jitter": 0.3}, {"clean": 0.1, "jitter": 0.2}
    assert c.relative_mean_corruption_error(*relative) == pytest.approx(2.0)


def test_bad_input_is_named(points):
    with pytest.raises(ValueError, match="severity must be one of 1, 2, 3, 4, 5; rec"):
        c.Cutout(severity=0)
    with pytest.raises(ValueError, match="frame must be one of 'published', 'sphere'"):
        c.Cutout(severity=1, frame="box")
    with pytest.raises(ValueError, match="num_points must be above 0"):
        c.Cutout(severity=1, num_points=0)
    with pytest.raises(ValueError, match="points must be finite"):
        c.Cutout(severity=1)(points / 0)
    with pytest.raises(ValueError, match=r"cloud must have shape \(N, 3\)"):
        c.visible_points(points, torch.zeros(3))
    for call, message in (
        (lambda: c.mean_corruption_error({}), "at least one corruption"),
        (lambda: c.mean_corruption_error({"clean": 0.1}), "at least one corruption"),
        (lambda: c.mean_corruption_error({"a": []}), "at least one error rate"),
        (lambda: c.mean_corruption_error({"a": 2.0}), r"must lie in \[0, 1\]"),
        (lambda: c.mean_corruption_error({"a": 0.1}, {"b": 0.1}), "only one of them"),
        (lambda: c.corruption_error(0.1, 0.0), "multiple of no error"),
        (
            lambda: c.relative_mean_corruption_error({"a": 0.1}, {"a": 0.2}),
            'errors must hold "clean"',
        ),
        (
            lambda: c.relative_mean_corruption_error(
                {"a": 0.1, "clean": 0.0}, {"a": 0.2, "clean": 0.3}
            ),
            "above the reference's clean error",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(dataclasses.FrozenInstanceError):
        c.Cutout(severity=1).severity = 2


def test_global_random_state_is_not_touched(points):
    before = torch.random.get_rng_state()
    c.Upsampling(severity=2)(points)
    assert torch.equal(before, torch.random.get_rng_state())
