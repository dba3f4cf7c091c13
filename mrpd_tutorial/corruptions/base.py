"""The contract of corruptions: what happens to clouds without an attacker.

    damaged = SomeCorruption(severity=3)(points)  # (B, N, 3) -> (B, M, 3)

- Five severities, 1..5, with the constants of the benchmark a class belongs to.
- All randomness comes from one seed per cloud, drawn in the order of the clouds from
  `generator` or, without one, from the corruption's own `seed`. A cloud's result does
  not depend on its neighbours, and damaging a data set in parts with one generator is
  damaging it at once. The same seed draws the same numbers at every severity.
- Numbers are drawn and clouds damaged in float64 on the CPU, then returned in the dtype
  and on the device that came: every device sees the same clouds.
- Published counts of points (30 points a hole, 100 a cluster) are for clouds of 1024;
  for other clouds they are scaled with the number of points.
- All clouds of a batch come back with the same number of points, `count(N)`, or with
  `num_points`: fewer are a random choice, more repeat points chosen at random.
- Afterwards clouds are brought into a frame: see `Corruption`. This matters: a cloud
  scaled to the cube is up to 1.7 times as large as one scaled to the sphere.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mrpd_tutorial.checks import check_choice, check_points, check_positive
from mrpd_tutorial.geometry import normalise
from mrpd_tutorial.runtime import generator as make_generator

__all__ = ["FRAMES", "SEVERITIES", "Corruption", "normalise_to_cube", "resample"]

SEVERITIES = (1, 2, 3, 4, 5)
FRAMES = ("published", "sphere", "cube", "none")
PUBLISHED_POINTS = 1024


def normalise_to_cube(points: Tensor) -> Float[Tensor, "B N 3"]:
    """Move each cloud's bounding box to 0 and scale its longest side to 2.

    What ModelNet40-C [arXiv 2201.12296] does after most corruptions.

    Args:
        points: (B, N, 3), any unit.

    Returns:
        (B, N, 3) in [-1, 1]; a cloud whose points are all equal becomes zeros.

    Raises:
        ValueError: if points are not finite clouds of shape (B, N, 3).

    Example:
        >>> normalise_to_cube(torch.tensor([[[0.0, 0, 0], [4.0, 2, 0]]]))
        tensor([[[-1.0000, -0.5000,  0.0000],
                 [ 1.0000,  0.5000,  0.0000]]])
    """
    check_points(points)
    low, high = points.amin(1, keepdim=True), points.amax(1, keepdim=True)
    half = (high - low).amax(2, keepdim=True) / 2  # (B, 1, 1)
    extent = points.abs().amax(dim=(1, 2))[:, None, None]
    flat = half <= 1e-6 * extent.clamp(min=1e-30)
    centred = points - (high + low) / 2
    return torch.where(flat, 0.0, centred / torch.where(flat, 1.0, half))


def resample(cloud: Tensor, count: int, draws: torch.Generator) -> Tensor:
    """A cloud of `count` points: a random choice of (N, 3), or all and some again."""
    if count == len(cloud):
        return cloud
    order = torch.randperm(len(cloud), generator=draws)[:count]
    if count > len(cloud):
        more = torch.randint(len(cloud), (count - len(cloud),), generator=draws)
        order = torch.cat([order, more])
    return cloud[order.sort().values]


def scaled_count(published: float, num_points: int) -> int:
    """A published number of points (of 1024), for a cloud of num_points."""
    return round(published * num_points / PUBLISHED_POINTS)


@dataclass(frozen=True, kw_only=True)
class Corruption(ABC):
    """What all corruptions share; see the module's docstring for what they promise.

    Classes say what they are: `title` is the name in the benchmark's files, `levels`
    the five published constants, `published_frame` what the benchmark does to the cloud
    afterwards.

    Args:
        severity: 1..5.
        seed: of the clouds' seeds, where a call passes no generator.
        num_points: points of each damaged cloud; None: what the corruption leaves.
        frame: what is done to the damaged cloud. "published": what the benchmark does;
            "sphere": centroid to 0, largest radius to 1, the package's frame; "cube":
            see normalise_to_cube; "none": nothing. Clouds are expected in the unit
            sphere, whatever comes out.

    Raises:
        ValueError: on a setting out of range.
    """

    severity: int
    seed: int = 0
    num_points: int | None = None
    frame: str = "published"

    title: ClassVar[str] = ""
    levels: ClassVar[tuple] = ()
    published_frame: ClassVar[str] = "none"

    def __post_init__(self) -> None:
        check_choice("severity", self.severity, SEVERITIES)
        check_choice("frame", self.frame, FRAMES)
        if self.num_points is not None:
            check_positive("num_points", self.num_points)

    @property
    def level(self) -> float:
        """The published constant of this severity."""
        return self.levels[self.severity - 1]

    def count(self, num_points: int) -> int:
        """How many points a damaged cloud has, without the setting `num_points`."""
        return num_points

    @abstractmethod
    def _damage(self, cloud: Tensor, draws: torch.Generator) -> Tensor:
        """One cloud (N, 3), float64, on the CPU -> (count(N), 3)."""

    def __call__(
        self, points: Tensor, generator: torch.Generator | None = None
    ) -> Float[Tensor, "B M 3"]:
        """Damage each cloud.

        Args:
            points: (B, N, 3) clouds in the unit sphere; they are not changed.
            generator: source of the clouds' seeds; None: one started at `seed`.

        Returns:
            (B, M, 3), finite, in the dtype and on the device of points.

        Raises:
            ValueError: if points are not finite clouds of shape (B, N, 3).
        """
        check_points(points)
        if generator is None:
            generator = make_generator(self.seed)
        seeds = torch.randint(
            2**63 - 1, (len(points),), generator=generator, device=generator.device
        ).tolist()
        damaged = []
        for cloud, seed in zip(points.detach().double().cpu(), seeds, strict=True):
            draws = make_generator(seed)
            result = self._damage(cloud, draws)
            expected = self.count(len(cloud))
            assert len(result) == expected, f"{len(result)} points, not {expected}"
            if self.num_points is not None:
                result = resample(result, self.num_points, draws)
            damaged.append(result)
        return self._framed(torch.stack(damaged)).to(points)

    def _framed(self, points: Tensor) -> Tensor:
        frame = self.published_frame if self.frame == "published" else self.frame
        if frame == "none":
            return points
        return normalise(points) if frame == "sphere" else normalise_to_cube(points)


def uniform(
    draws: torch.Generator, *shape: int, low: float = -1.0, high: float = 1.0
) -> Tensor:
    """Float64 numbers of this shape, uniform in [low, high)."""
    drawn = torch.rand(*shape, generator=draws, dtype=torch.float64)
    return low + (high - low) * drawn


def normal(draws: torch.Generator, *shape: int) -> Tensor:
    """Float64 numbers of this shape, standard normal."""
    return torch.randn(*shape, generator=draws, dtype=torch.float64)


def signs(draws: torch.Generator, *shape: int) -> Tensor:
    """-1.0 or 1.0, float64."""
    return 2.0 * torch.randint(2, shape, generator=draws).double() - 1.0
