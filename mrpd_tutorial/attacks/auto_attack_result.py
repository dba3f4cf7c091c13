"""What PointAutoAttack hands back: the worst case over its members, and the ball's."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mrpd_tutorial.attacks.result import AttackResult

__all__ = ["AutoAttackResult"]


@dataclass(frozen=True, kw_only=True, eq=False)
class AutoAttackResult(AttackResult):
    """What the ensemble found; `success` and `points` are about the ball alone.

    Args:
        fooled_by: (B,) the member that misled the victim first (a random one: in most
            draws), an index into members; -1 where none did. 0 is "clean": wrong before
            any attack.
        members: names of the members, in the order in which they ran.
        in_ball: for each member whether it moves points within the ball (True) or adds
            or removes points.
        outside: member that adds or removes points -> (B, M, 3) its clouds, where
            fooled_by names it; NaN elsewhere.
    """

    fooled_by: Int[Tensor, "B"]
    members: tuple[str, ...]
    in_ball: tuple[bool, ...]
    outside: Mapping[str, Tensor]

    def outside_ball(self) -> list[tuple[Int[Tensor, "b"], Float[Tensor, "b M 3"]]]:
        """Positions and clouds misled by points added, and by points removed.

        To show them to a victim beside `points`, whose worst case they are.
        """
        found = []
        for name, clouds in self.outside.items():
            index = (self.fooled_by == self.members.index(name)).nonzero()[:, 0]
            if len(index):
                found.append((index, clouds[index]))
        return found

    @classmethod
    def concatenate(cls, results: Sequence["AutoAttackResult"]) -> "AutoAttackResult":
        """One result for the clouds of several, in order."""
        joined = super().concatenate(results)
        outside = {
            name: torch.cat([result.outside[name] for result in results])
            for name in joined.outside
        }
        return dataclasses.replace(joined, outside=outside)

    @property
    def worst_case(self) -> Bool[Tensor, "B"]:
        """(B,) whether any member misled the victim, or the clean cloud did."""
        return self.fooled_by >= 0

    @property
    def robust_accuracy(self) -> float:
        """The headline: the share of all clouds that every member left correct."""
        return float((~self.worst_case).double().mean())

    @property
    def robust_accuracy_in_ball(self) -> float:
        """The same for the members that only move points within the ball."""
        return float((~self.success).double().mean())

    def table(self) -> list[dict[str, Any]]:
        """One row a member: how many clouds it misled first, and what is left then.

        Returns:
            Rows with the keys member, in_ball, fooled (a count) and robust_accuracy
            (of all clouds, after this member).
        """
        rows, left = [], len(self.fooled_by)
        for number, name in enumerate(self.members):
            fooled = int((self.fooled_by == number).sum())
            left -= fooled
            rows.append(
                {
                    "member": name,
                    "in_ball": self.in_ball[number],
                    "fooled": fooled,
                    "robust_accuracy": left / len(self.fooled_by),
                }
            )
        return rows
