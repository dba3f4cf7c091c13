"""PU-Net: a few points of a surface in, several times as many out."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mrpd_tutorial.checks import (
    check_between,
    check_points,
    check_positive,
    check_same_device,
)
from mrpd_tutorial.geometry import farthest_point_sampling, gather_points, knn

__all__ = ["PUNet", "repulsion_loss"]


class _Grouping(nn.Module):
    """Features of centres from the points within a radius (PointNet++'s set layer)."""

    def __init__(self, width_in: int, widths: Sequence[int]) -> None:
        super().__init__()
        inputs = (3 + width_in, *widths[:-1])
        self.layers = nn.ModuleList(
            nn.Linear(i, o) for i, o in zip(inputs, widths, strict=True)
        )

    def forward(
        self,
        centres: Tensor,
        points: Tensor,
        features: Tensor | None,
        radius: float,
        group_size: int,
    ) -> Tensor:
        """(B, M, 3), (B, N, 3), (B, N, W) -> (B, M, F)."""
        with torch.no_grad():
            size = min(group_size, points.shape[1])
            distances, members = knn(centres, points, size)  # (B, M, K)
            # Whoever is too far gives his place to the nearest, who adds nothing new
            # to a maximum.
            inside = distances <= radius**2
            members = torch.where(inside, members, members[..., :1])
        # The first layer is linear in x_j - x_i and f_j: once a point, not once a pair.
        first = self.layers[0]
        of_offset, of_feature = first.weight[:, :3], first.weight[:, 3:]
        hidden = F.linear(points, of_offset)  # (B, N, H)
        if features is not None:
            hidden = hidden + F.linear(features, of_feature)
        own = F.linear(centres, of_offset) - first.bias  # (B, M, H)
        hidden = (gather_points(hidden, members) - own[:, :, None]).relu()
        for layer in self.layers[1:]:
            hidden = layer(hidden).relu()  # (B, M, K, H)
        return hidden.amax(2)


def _interpolate(points: Tensor, known: Tensor, features: Tensor) -> Tensor:
    """Features of `known` (B, M, W) at points (B, N, 3), from the nearest three.

    Weights are 1 / (distance + 1e-8), PointNet++'s, made differentiable: where a point
    is one of the known ones, its distance is constantly 0.
    """
    with torch.no_grad():
        nearest = knn(points, known, min(3, known.shape[1]))[1]  # (B, N, 3)
    offsets = gather_points(known, nearest) - points[:, :, None]
    distances = offsets.square().sum(-1).clamp(min=1e-16).sqrt()
    weights = 1 / (distances + 1e-8)
    weights = weights / weights.sum(-1, keepdim=True)  # (B, N, 3)
    return (gather_points(features, nearest) * weights[..., None]).sum(2)


class PUNet(nn.Module):
    """Upsample clouds: (B, N, 3) -> (B, ratio * N, 3).

    Implements Yu et al. 2018 [arXiv 1801.06761]: features of four levels of detail
    (sections 3.2), interpolated back to all points, one branch of layers for each copy
    of a point (3.3), coordinates from its features (3.4). Of the levels, the first has
    all points as centres, the next ones half as many each, by farthest point sampling.

    Public code differs in two things without weight. It takes the first 32 points
    within the radius, in the order of the cloud, ours the nearest 32; the two differ
    where more than 32 lie within. And its first level is in the order of farthest point
    sampling but is put beside coordinates in the cloud's own order; `released_order`
    does so too, for weights trained that way.

    Args:
        ratio: copies of each point.
        level_widths: outputs of the layers of each level.
        radii: of each level, in units of the cloud (unit sphere).
        group_size: points looked at within the radius.
        interpolated_width: width of the features of a level at all points.
        expansion_widths: outputs of the two layers of a branch.
        coordinate_width: width of the layer in front of the coordinates.
        residual: add each point's own coordinates to what the network says, so that a
            small network need not learn them (the paper's regresses them).
        released_order: put the first level beside the coordinates as public code does.

    Raises:
        ValueError: if levels and radii do not fit, or a number is out of range.

    Example:
        >>> PUNet.slim()(torch.randn(1, 64, 3)).shape
        torch.Size([1, 256, 3])
    """

    def __init__(
        self,
        *,
        ratio: int = 4,
        level_widths: Sequence[Sequence[int]] = (
            (32, 32, 64),
            (64, 64, 128),
            (128, 128, 256),
            (256, 256, 512),
        ),
        radii: Sequence[float] = (0.05, 0.1, 0.2, 0.3),
        group_size: int = 32,
        interpolated_width: int = 64,
        expansion_widths: Sequence[int] = (256, 128),
        coordinate_width: int = 64,
        residual: bool = False,
        released_order: bool = False,
    ) -> None:
        super().__init__()
        check_between("ratio", ratio, 1, float("inf"))
        check_positive("group_size", group_size)
        if len(level_widths) != len(radii) or len(radii) < 2:
            raise ValueError(
                "level_widths and radii must name the same levels, at least 2; "
                f"received {len(level_widths)} and {len(radii)}."
            )
        self.settings: dict[str, Any] = {
            "ratio": ratio,
            "level_widths": [list(widths) for widths in level_widths],
            "radii": list(radii),
            "group_size": group_size,
            "interpolated_width": interpolated_width,
            "expansion_widths": list(expansion_widths),
            "coordinate_width": coordinate_width,
            "residual": residual,
            "released_order": released_order,
        }
        self.radii, self.group_size = tuple(radii), group_size
        self.residual, self.released_order = residual, released_order
        outputs = [widths[-1] for widths in level_widths]
        self.levels = nn.ModuleList(
            _Grouping(i, widths)
            for i, widths in zip((0, *outputs[:-1]), level_widths, strict=True)
        )
        self.interpolated = nn.ModuleList(
            nn.Linear(width, interpolated_width) for width in outputs[1:]
        )
        width = 3 + outputs[0] + interpolated_width * len(outputs[1:])
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, expansion_widths[0]),
                nn.ReLU(),
                nn.Linear(expansion_widths[0], expansion_widths[1]),
                nn.ReLU(),
            )
            for _ in range(ratio)
        )
        self.coordinates = nn.Sequential(
            nn.Linear(expansion_widths[1], coordinate_width),
            nn.ReLU(),
            nn.Linear(coordinate_width, 3),
        )

    @classmethod
    def slim(cls, ratio: int = 4) -> "PUNet":
        """A small one for CPUs: 0.1 M parameters, an eighth of the arithmetic."""
        return cls(
            ratio=ratio,
            level_widths=((16, 16, 32), (32, 32, 48), (48, 48, 64), (64, 64, 96)),
            group_size=16,
            interpolated_width=32,
            expansion_widths=(96, 64),
            coordinate_width=32,
            residual=True,
        )

    @property
    def min_points(self) -> int:
        """The fewest points a cloud must have: one for the last level."""
        return 2 ** (len(self.radii) - 1)

    def forward(self, points: Tensor) -> Float[Tensor, "B M 3"]:
        """Upsample.

        Args:
            points: (B, N, 3) in the unit sphere, N at least `min_points`.

        Returns:
            (B, ratio * N, 3): the N points of the first branch, then of the second, ...

        Raises:
            ValueError: on clouds of another shape, with NaN, of too few points, or on
                another device.
        """
        check_points(points, min_points=self.min_points)
        check_same_device(points=points, model=self.coordinates[0].weight)
        count = points.shape[1]
        chosen = count if self.released_order else count // 2
        # Farthest points of the farthest points are their first ones: one order serves
        # all levels.
        order = farthest_point_sampling(points, chosen)
        spread = gather_points(points, order)
        centres, features, rows = points, None, [points]
        for i, (level, radius) in enumerate(zip(self.levels, self.radii, strict=True)):
            before = centres
            if i or self.released_order:
                centres = spread[:, : count // 2**i]
            features = level(centres, before, features, radius, self.group_size)
            if i == 0:
                rows.append(features)
            else:
                interpolated = self.interpolated[i - 1](
                    _interpolate(points, centres, features)
                )
                rows.append(interpolated.relu())
        everything = torch.cat(rows, dim=-1)  # (B, N, W)
        copies = torch.cat([branch(everything) for branch in self.branches], dim=1)
        dense = self.coordinates(copies)  # (B, ratio * N, 3)
        if self.residual:
            dense = dense + points.repeat(1, len(self.branches), 1)
        return dense


def repulsion_loss(
    points: Tensor, k: int = 4, h: float = 0.03, radius: float = 0.07
) -> Float[Tensor, "B"]:
    """How much points crowd: the mean over neighbours of (radius - d) exp(-d^2 / h^2).

    PU-Net's repulsion [Yu et al. 2018, arXiv 1801.06761, Eq. 3]. The paper has -d for
    the first factor, which pulls neighbours together beyond h / sqrt(2); its published
    code has radius - d, which pushes up to the radius, and ours takes that.

    Args:
        points: (B, N, 3), N > k.
        k: neighbours of a point, itself not counted.
        h: width of the weight, in units of the cloud.
        radius: where repulsion ends; d counts as radius beyond.

    Raises:
        ValueError: if clouds have no more than k points.
    """
    check_points(points, min_points=k + 1)
    with torch.no_grad():
        neighbours = knn(points, points, k + 1)[1][..., 1:]  # (B, N, k)
    squares = (gather_points(points, neighbours) - points[:, :, None]).square().sum(-1)
    distances = squares.clamp(min=1e-12).sqrt()
    pressure = (radius - distances).clamp(min=0) * torch.exp(-squares / h**2)
    return pressure.mean((1, 2))
