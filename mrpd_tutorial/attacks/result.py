"""What an attack hands back: the clouds, whether they mislead, how far they moved."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mrpd_tutorial import geometry, metrics

__all__ = ["AttackResult"]


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackResult:
    """The best cloud found for each clean one, by the attack's own criterion.

    Args:
        points: (B, M, 3) adversarial clouds; M differs from N where points are added
            or removed.
        clean: (B, N, 3) the clouds they were made from.
        success: (B,) the model's class differs from the label (untargeted) or is the
            target (targeted).
        correct_before: (B,) whether the clean cloud was classified correctly; only
            these count in an attack success rate.
        iterations: (B,) steps taken, over all restarts.
        queries: (B,) forward passes this cloud took part in.
        idle_steps: (B,) steps whose gradient was zero or not finite. Many of them mean
            a masked gradient: the attack was blind, not the model robust.
        eps: (B,) the budget each cloud had.
        norm: the norm of that budget.
    """

    points: Float[Tensor, "B M 3"]
    clean: Float[Tensor, "B N 3"]
    success: Bool[Tensor, "B"]
    correct_before: Bool[Tensor, "B"]
    iterations: Int[Tensor, "B"]
    queries: Int[Tensor, "B"]
    idle_steps: Int[Tensor, "B"]
    eps: Float[Tensor, "B"]
    norm: str

    @property
    def displacement(self) -> Float[Tensor, "B N 3"]:
        """(B, N, 3) how each point moved; NaN where points were added or removed."""
        if self.points.shape != self.clean.shape:
            return torch.full_like(self.clean, torch.nan)
        return self.points - self.clean

    @cached_property
    def l2(self) -> Float[Tensor, "B"]:
        """(B,) length of the whole displacement, a vector of 3N numbers."""
        return self.displacement.flatten(1).norm(dim=1)  # (B, 3N) -> (B,)

    @cached_property
    def per_point_max(self) -> Float[Tensor, "B"]:
        """(B,) the longest way a point moved."""
        return self.displacement.norm(dim=-1).amax(1)

    @cached_property
    def linf(self) -> Float[Tensor, "B"]:
        """(B,) the largest change of a coordinate."""
        return self.displacement.abs().amax(dim=(1, 2))

    @cached_property
    def chamfer(self) -> Float[Tensor, "B"]:
        """(B,) mean squared distance to the nearest neighbour, both ways added."""
        return self._by_cloud(geometry.chamfer_distance)

    @cached_property
    def hausdorff(self) -> Float[Tensor, "B"]:
        """(B,) largest distance of a point to the other cloud, both ways."""
        return self._by_cloud(geometry.hausdorff_distance)

    @cached_property
    def knn_smoothness(self) -> Float[Tensor, "B"]:
        """(B,) see geometry.knn_smoothness; NaN for clouds of 5 points or fewer."""
        if self.points.shape[1] <= 5:
            return self.points.new_full((len(self.points),), torch.nan)
        return torch.cat([geometry.knn_smoothness(a) for a in self.points.split(1)])

    def _by_cloud(self, distance) -> Tensor:
        # One cloud at a time, and geometry works in tiles: never all pairs of all.
        pairs = zip(self.points.split(1), self.clean.split(1), strict=True)
        return torch.cat([distance(a, b) for a, b in pairs])

    @property
    def attack_success_rate(self) -> float:
        """Misled / originally correct; for a targeted attack, turned to the target."""
        return metrics.attack_success_rate(self.correct_before, ~self.success)

    @classmethod
    def concatenate(cls, results: Sequence["AttackResult"]) -> "AttackResult":
        """One result for the clouds of several, in order.

        What is not one number for each cloud (the norm) is that of the first.
        """
        joined = {}
        for name in (field.name for field in fields(cls)):
            values = [getattr(result, name) for result in results]
            joined[name] = (
                torch.cat(values) if isinstance(values[0], Tensor) else values[0]
            )
        return cls(**joined)
