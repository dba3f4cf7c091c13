"""Numbers that both forms of the explorers' figures show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mrpd_tutorial.plotting import common
from mrpd_tutorial.plotting.common import as_array, as_cloud

__all__ = [
    "Change",
    "GateStrip",
    "change",
    "dashboard_panels",
    "gate_numbers",
    "gate_strip",
    "map_rows",
]

# Points nearer than this (in units of the cloud's radius) count as the same one.
SAME = 1e-5


@dataclass(frozen=True)
class Change:
    """What an attack did to a cloud, also where it added or removed points.

    Args:
        clean: (N, 3).
        attacked: (M, 3).
        removed: (N,) bool, clean points that the attacked cloud lacks; none where
            points only moved.
        moved: (M,) how far each attacked point is from where it came from; where the
            number of points changed, from the nearest clean point.
        summary: one line of numbers.
    """

    clean: np.ndarray
    attacked: np.ndarray
    removed: np.ndarray
    moved: np.ndarray
    summary: str


def change(clean: Any, attacked: Any) -> Change:
    """Compare a cloud (N, 3) with what an attack made of it (M, 3)."""
    before, after = as_cloud(clean, "clean"), as_cloud(attacked, "attacked")
    if before.shape == after.shape:
        moved = np.linalg.norm(after - before, axis=1)
        none = np.zeros(len(before), dtype=bool)
        return Change(before, after, none, moved, common.attack_summary(moved))
    # Not by a matrix product, whose rounding would part a point from itself.
    distances = torch.cdist(
        torch.from_numpy(after),
        torch.from_numpy(before),
        compute_mode="donot_use_mm_for_euclid_dist",
    ).numpy()  # (M, N)
    removed = distances.min(axis=0) > SAME
    moved = distances.min(axis=1)
    moved[moved <= SAME] = 0.0
    facts = [f"N = {len(before)} points, {len(after)} after the attack"]
    if removed.any():
        facts.append(f"{int(removed.sum())} removed")
    if (moved > 0).any():
        facts.append(f"{int((moved > 0).sum())} added or moved")
    return Change(before, after, removed, moved, ", ".join(facts))


def map_rows(clean_map: Any, attacked_map: Any) -> list[tuple[str, np.ndarray, bool]]:
    """(name, (h, w), is a difference) of one view before, after, and the difference."""
    rows = common.map_rows(clean_map, attacked_map)
    return [(name, maps[0], is_difference) for name, maps, is_difference in rows]


@dataclass(frozen=True)
class GateStrip:
    """The dots of a gate's figure.

    Args:
        x: (B,) what the gate looks at.
        y: (B,) the row of the true class, spread within the row.
        weights: (B,) how much each sample counts, 0 to 1.
        rows: the class names, each with how many of its samples pass.
        summary: one line of numbers.
    """

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    rows: list[str]
    summary: str


def gate_numbers(weights: Any, right: Any) -> tuple[float, float]:
    """Pass rate, and precision: how many of those that pass the teacher names rightly.

    Args:
        weights: (B,) how much each sample counts, 0 to 1; a gate that opens or shuts
            gives True and False.
        right: (B,) bool, whether the teacher's first class is the true one.

    Returns:
        The mean weight, and the weighted share of right ones; NaN if nobody passes.

    Example:
        >>> gate_numbers([True, True, False, False], [True, False, True, False])
        (0.5, 0.5)
    """
    counted, good = as_array(weights).astype(float), as_array(right).astype(float)
    if counted.shape != good.shape or counted.ndim != 1 or not len(counted):
        raise ValueError(
            f"weights and right must have one number a sample, (B,); received "
            f"{counted.shape} and {good.shape}."
        )
    total = counted.sum()
    precision = float((counted * good).sum() / total) if total else float("nan")
    return float(counted.mean()), precision


def gate_strip(
    x: Any,
    weights: Any,
    labels: Any,
    predicted: Any,
    class_names: Sequence[str],
) -> GateStrip:
    """Prepare the dots; see `gate_figure`."""
    x, weights = as_array(x), as_array(weights)
    labels, predicted = (as_array(v).astype(int) for v in (labels, predicted))
    if not (x.shape == weights.shape == labels.shape == predicted.shape) or not len(x):
        raise ValueError(
            "x, weights, labels and predicted must each have one entry a sample, (B,); "
            f"received {x.shape}, {weights.shape}, {labels.shape}, {predicted.shape}."
        )
    rate, precision = gate_numbers(weights, predicted == labels)
    rows, y = [], np.zeros(len(x))
    for label, name in enumerate(class_names):
        mine = np.flatnonzero(labels == label)
        # Spread evenly, in the order of the samples: the same dots at the same height.
        y[mine] = label + 0.6 * ((np.arange(len(mine)) + 0.5) / max(len(mine), 1) - 0.5)
        passed = weights[mine].sum()
        count = f"{passed:.0f}" if passed == round(passed) else f"{passed:.1f}"
        rows.append(f"{name} {count}/{len(mine)}")
    told = "nobody passes"
    if rate > 0:
        told = f"{rate:.1%} pass; the teacher names {precision:.1%} of those rightly"
    overall = float((predicted == labels).mean())
    told += f" (of all: {overall:.1%})"
    return GateStrip(x, y, weights, rows, f"n = {len(x)} clouds, {told}")


def dashboard_panels(
    history: Sequence[Mapping[str, Any]],
) -> list[tuple[str, str, dict[str, tuple[list[float], list[float]]]]]:
    """(title, unit, curves) of losses, gate pass rates, weights, accuracy on val."""
    wanted = [
        ("losses", "loss", "loss_"),
        ("clouds that pass the gate", "share", "pass_"),
        ("learned weights", "1/σ²", "weight_"),
        ("validation accuracy", "share", "val_"),
    ]
    panels = [(title, unit, common.series(history, key)) for title, unit, key in wanted]
    missing = [title for title, _, curves in panels if not curves]
    if missing:
        raise ValueError(
            f"history must have columns for {', '.join(missing)}; received "
            f"{sorted(history[0])}."
        )
    return panels
