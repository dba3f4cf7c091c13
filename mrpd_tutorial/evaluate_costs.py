"""What each attack costs and what it buys, side by side on the same clouds."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.attacks.result import AttackResult
from mrpd_tutorial.bench_setup import named_attacks
from mrpd_tutorial.metrics import wilson_interval
from mrpd_tutorial.runtime import generator

__all__ = ["AttackCost", "attack_costs", "cost_table"]


@dataclass(frozen=True, kw_only=True)
class AttackCost:
    """One attack on one set of clouds. Distances are means over the misled clouds.

    Args:
        attack: its name.
        norm: of its budget; "none" where it has no bound.
        eps: the budget; None without a bound, and where every cloud had its own.
        n: clouds attacked.
        before: how many of them the model had right before.
        misled: how many of those it has wrong after; by any member of an ensemble.
        success_rate: misled / before; None where before is 0.
        low, high: the Wilson interval of the success rate; None where before is 0.
        seconds: wall-clock seconds a cloud, all n together divided by n.
        iterations: steps a cloud, mean over all n.
        queries: forward passes a cloud took part in, mean over all n.
        l2: whole-cloud displacement; None where points were added or removed.
        per_point_max: the longest way of a point; None likewise.
        chamfer: mean squared distance to the nearest point, both ways added.
        hausdorff: the largest distance of a point to the other cloud.
    """

    attack: str
    norm: str
    eps: float | None = None
    n: int
    before: int
    misled: int
    success_rate: float | None = None
    low: float | None = None
    high: float | None = None
    seconds: float
    iterations: float
    queries: float
    l2: float | None = None
    per_point_max: float | None = None
    chamfer: float | None = None
    hausdorff: float | None = None


def attack_costs(
    model: Callable[[Tensor], Tensor],
    points: Tensor,
    labels: Tensor,
    attacks: Any,
    *,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[list[AttackCost], dict[str, AttackResult]]:
    """Run every attack on the same clouds, one after the other, and note what it took.

    Clouds are worked on in the attack's batches, so that seconds are those of a batch,
    not of a cloud by itself. Threat model: adaptive, but for attacks that say otherwise
    (Transfer).

    Args:
        model: `points -> logits`, in evaluation mode.
        points: (B, N, 3).
        labels: (B,) true classes.
        attacks: name -> attack; or one attack.
        seed: every attack starts from it.
        level: of the Wilson intervals.

    Returns:
        A row for each attack, in order, and name -> AttackResult.

    Raises:
        ValueError: without attacks, and what an attack raises.
    """
    named = named_attacks(attacks)
    if not named:
        raise ValueError("attacks must hold at least one attack; received none.")
    rows, results = [], {}
    for name, attack in named.items():
        _wait(points)
        clock = time.perf_counter()
        result = attack(model, points, labels, generator=generator(seed))
        _wait(points)
        seconds = (time.perf_counter() - clock) / len(points)
        rows.append(_row(name, attack, result, seconds, level))
        results[name] = result
    return rows, results


def cost_table(rows: Sequence[AttackCost], reference: str | None = "PGD") -> str:
    """The rows in Markdown, aligned; seconds also as a multiple of the reference's.

    Args:
        rows: of `attack_costs`.
        reference: name of the attack whose seconds are 1; None leaves that column out.
            It is also left out where there is no such row.

    Raises:
        ValueError: without rows.
    """
    if not rows:
        raise ValueError("rows is empty: there is no attack to show.")
    unit = next((row.seconds for row in rows if row.attack == reference), None)
    head = ["attack", "budget", "misled", "L2", "point max", "Chamfer", "Hausdorff"]
    head += ["steps", "queries", "s / cloud"] + ([f"× {reference}"] if unit else [])
    lines = [head]
    for row in rows:
        cells = [row.attack, _budget(row), f"{row.misled} of {row.before}"]
        distances = (row.l2, row.per_point_max, row.chamfer, row.hausdorff)
        cells += ["-" if value is None else f"{value:.2g}" for value in distances]
        cells += [f"{row.iterations:.0f}", f"{row.queries:.0f}", f"{row.seconds:.2g}"]
        lines.append(cells + ([f"{row.seconds / unit:.1f}"] if unit else []))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    # Words to the left, numbers to the right.
    lines.insert(
        1, ["-" * w if i < 3 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    )
    return "\n".join(
        "| "
        + " | ".join(
            c.ljust(w) if i < 3 else c.rjust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in lines
    )


def _budget(row: AttackCost) -> str:
    if row.norm == "none":
        return "no bound"
    if row.norm == "count":
        return "points, per cloud" if row.eps is None else f"{row.eps:g} points"
    return f"{row.norm} " + ("per cloud" if row.eps is None else f"{row.eps:g}")


def _row(
    name: str, attack: Attack, result: AttackResult, seconds: float, level: float
) -> AttackCost:
    # Of an ensemble, what any of its members misled.
    success = getattr(result, "worst_case", result.success)
    before = result.correct_before
    misled, right = int((before & success).sum()), int(before.sum())
    details: dict[str, Any] = {}
    if right:
        low, high = wilson_interval(misled, right, level)
        details = {"success_rate": misled / right, "low": low, "high": high}
    moved = before & result.success
    if bool(moved.any()):
        for key in ("l2", "per_point_max", "chamfer", "hausdorff"):
            value = float(getattr(result, key)[moved].double().mean())
            details[key] = None if math.isnan(value) else value
    unbounded = attack.eps == math.inf
    return AttackCost(
        attack=name,
        norm="none" if unbounded else result.norm,
        eps=None if unbounded or isinstance(attack.eps, tuple) else float(attack.eps),
        n=len(before),
        before=right,
        misled=misled,
        seconds=seconds,
        iterations=float(result.iterations.double().mean()),
        queries=float(result.queries.double().mean()),
        **details,
    )


def _wait(points: Tensor) -> None:
    """A GPU works on after the call has come back."""
    if points.is_cuda:
        torch.cuda.synchronize(points.device)
