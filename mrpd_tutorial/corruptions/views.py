"""What a sensor at one place sees of an object: occlusion, scan lines, noise, weather.

The sensor stands outside the unit sphere and looks at its centre; y is up. Occlusion
and LiDAR are ModelNet40-C's, Sun et al. 2022 [arXiv 2201.12296]; the three others
belong to no benchmark, their constants are this package's.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mrpd_tutorial.corruptions.base import Corruption, normal, resample, uniform
from mrpd_tutorial.corruptions.hidden import visible_points

__all__ = ["LiDAR", "Occlusion", "PartialView", "RainSnow", "SensorNoise", "viewpoint"]


def viewpoint(azimuth: float, elevation: float, distance: float) -> Float[Tensor, "3"]:
    """A place in the package's frame, float64.

    Args:
        azimuth: degrees from +z (front) toward +x.
        elevation: degrees above the ground.
        distance: from the centre.

    Example:
        >>> viewpoint(90.0, 0.0, 3.0).round(decimals=3) + 0
        tensor([3., 0., 0.], dtype=torch.float64)
    """
    a, e = torch.deg2rad(torch.tensor([azimuth, elevation], dtype=torch.float64))
    direction = torch.stack([a.sin() * e.cos(), e.sin(), a.cos() * e.cos()])
    return distance * direction


def _sector(severity: int, draws: torch.Generator) -> float:
    """Azimuth within the fifth of the circle that ModelNet40-C calls a severity."""
    return 72.0 * severity + 36.0 * float(uniform(draws, 1))


@dataclass(frozen=True, kw_only=True)
class Occlusion(Corruption):
    """Only what a camera sees stays (ModelNet40-C).

    The camera stands 3 away, 30 to 60 degrees up. The five "severities" are five
    sectors of its azimuth, 72 degrees times the severity +- 36: none is harder by
    design. Published frame: the cube.

    The benchmark renders the mesh and draws 1024 points from the depth image. Here the
    hidden points of the cloud are removed (see visible_points) and those that stay
    repeated at random up to the number before: of 1024 points of ModelNet40's clouds
    270 to 410 are different ones.
    """

    title: ClassVar[str] = "occlusion"
    levels: ClassVar[tuple] = (1, 2, 3, 4, 5)
    published_frame: ClassVar[str] = "cube"

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        elevation = 45.0 + 15.0 * float(uniform(draws, 1))
        camera = viewpoint(_sector(self.level, draws), elevation, 3.0)
        return resample(cloud[visible_points(cloud, camera)], len(cloud), draws)


@dataclass(frozen=True, kw_only=True)
class LiDAR(Corruption):
    """Only what a laser scanner's lines meet stays (ModelNet40-C).

    The scanner stands 5 away, 22.5 degrees up; the five "severities" are five sectors
    of azimuth, as for Occlusion. Lines are one degree of elevation apart, seen from the
    scanner: visible points in the middle half of each degree move to its centre, the
    others go. 3/4 of the number before are drawn from them, with replacement as
    published. Published: no frame afterwards.

    If no visible point is near a line, all visible ones move to theirs.
    """

    title: ClassVar[str] = "lidar"
    levels: ClassVar[tuple] = (1, 2, 3, 4, 5)

    def count(self, num_points: int) -> int:
        return max(3 * num_points // 4, 1)

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        scanner = viewpoint(_sector(self.level, draws), 22.5, 5.0)
        seen = cloud[visible_points(cloud, scanner)] - scanner
        flat = seen[:, [0, 2]].norm(dim=1)
        elevation = torch.rad2deg(torch.atan2(seen[:, 1], flat))
        steps = elevation - elevation.min()
        line = steps.floor() + 0.5
        near = (steps - line).abs() <= 0.25
        near = near if bool(near.any()) else torch.ones_like(near)
        angle = torch.deg2rad(elevation.min() + line)
        # Distance and azimuth stay; only the elevation is the line's.
        radius = seen.norm(dim=1)
        scale = radius * angle.cos() / flat.clamp(min=1e-12)
        x, z = scale * seen[:, 0], scale * seen[:, 2]
        returned = torch.stack([x, radius * angle.sin(), z], dim=1)[near] + scanner
        chosen = torch.randint(
            len(returned), (self.count(len(cloud)),), generator=draws
        )
        return returned[chosen]


@dataclass(frozen=True, kw_only=True)
class SensorNoise(Corruption):
    """Each point moves along its ray to the sensor, the farther the more.

    The sensor stands 3 away at a random azimuth, 0 to 30 degrees up. A depth z has the
    error s (z / 3)^2 times a normal number: quadratic, as of structured light and
    stereo (Nguyen, Izadi and Lovell 2012 for the Kinect); s = 0.005, 0.01, 0.02, 0.03,
    0.05. No frame afterwards.
    """

    title: ClassVar[str] = "sensor_noise"
    levels: ClassVar[tuple] = (0.005, 0.01, 0.02, 0.03, 0.05)

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        sensor = _anywhere(draws)
        rays = cloud - sensor
        depth = rays.norm(dim=1, keepdim=True)
        error = self.level * (depth / _AWAY).square() * normal(draws, len(cloud), 1)
        return cloud + error * rays / depth.clamp(min=1e-12)


@dataclass(frozen=True, kw_only=True)
class PartialView(Corruption):
    """The part of the object that is farthest from a viewpoint is missing.

    The viewpoint is as SensorNoise's. 10, 20, 30, 40, 50 % of the points go, by their
    depth along the view, whether or not they could be seen: an object cut by the edge
    of what was scanned. No frame afterwards.
    """

    title: ClassVar[str] = "partial_view"
    levels: ClassVar[tuple] = (0.1, 0.2, 0.3, 0.4, 0.5)

    def count(self, num_points: int) -> int:
        return max(num_points - round(self.level * num_points), 1)

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        nearness = cloud @ _anywhere(draws)
        order = nearness.argsort(descending=True, stable=True)
        return cloud[order[: self.count(len(cloud))].sort().values]


@dataclass(frozen=True, kw_only=True)
class RainSnow(Corruption):
    """Drops or flakes between sensor and object answer in its place.

    The sensor is as SensorNoise's. A share p of the rays, 1, 2.5, 5, 10, 20 %, is
    scattered: its point goes toward the sensor, to a place uniform between the ray's
    entry into the ball of radius 1.2 (what lies farther in front is cropped with the
    scene) and the point. No frame afterwards.
    """

    title: ClassVar[str] = "rain_snow"
    levels: ClassVar[tuple] = (0.01, 0.025, 0.05, 0.1, 0.2)
    crop: ClassVar[float] = 1.2

    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        sensor = _anywhere(draws)
        hit = torch.randperm(len(cloud), generator=draws)
        hit = hit[: round(self.level * len(cloud))]
        toward = torch.nn.functional.normalize(sensor - cloud[hit], dim=1)
        # |x + t d| = crop: the outer root of a quadratic; 0 for points beyond the ball.
        along = (cloud[hit] * toward).sum(1)
        inside = self.crop**2 - cloud[hit].square().sum(1) + along.square()
        room = (inside.clamp(min=0).sqrt() - along).clamp(min=0)
        damaged = cloud.clone()
        damaged[hit] += (uniform(draws, len(hit), low=0.0) * room)[:, None] * toward
        return damaged


_AWAY = 3.0


def _anywhere(draws: torch.Generator) -> Tensor:
    """A sensor _AWAY from the centre, all around, up to 30 degrees above the ground."""
    azimuth, height = uniform(draws, 2).tolist()
    return viewpoint(180.0 * azimuth, 15.0 + 15.0 * height, _AWAY)
