"""What both forms of a figure share: names, and the numbers prepared once."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
from torch import Tensor

from mrpd_tutorial.checks import check_choice
from mrpd_tutorial.plotting.palette import THREAT_MODELS, nth_colour

# Depth maps are plotted with at most this many pixels a side: they load fast.
MAP_PIXELS = 112
MAP_LEGEND = "near is dark, the background is white"


def as_array(value: Any) -> np.ndarray:
    """A tensor on any device, an array or a list, as a float32 array."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value, dtype=np.float32)


def as_cloud(value: Any, name: str) -> np.ndarray:
    """One cloud (N, 3), or a ValueError that says how to get one."""
    cloud = as_array(value)
    if cloud.ndim != 2 or cloud.shape[1] != 3 or len(cloud) == 0:
        raise ValueError(
            f"{name} must be one cloud of shape (N, 3); received {cloud.shape}. "
            f"For a batch, pass one of its clouds: {name}[0]."
        )
    if not np.isfinite(cloud).all():
        raise ValueError(f"{name} must be finite; it holds NaN or infinite numbers.")
    return cloud


def displacement_lengths(clean: Any, attacked: Any) -> np.ndarray:
    """How far each point moved, in units of the cloud's radius.

    Args:
        clean: (N, 3).
        attacked: (N, 3), point i of one belonging to point i of the other.

    Returns:
        (N,).

    Raises:
        ValueError: if the clouds have not the same points; attacks that add or drop
            points have no displacement.
    """
    clean, attacked = as_cloud(clean, "clean"), as_cloud(attacked, "attacked")
    if clean.shape != attacked.shape:
        raise ValueError(
            f"clean and attacked must have the same points; received {clean.shape} and "
            f"{attacked.shape}. Show attacks that add or drop points with two "
            "cloud_figure."
        )
    return np.linalg.norm(attacked - clean, axis=1)


def height_or_values(points: np.ndarray, colour: Any) -> np.ndarray:
    """The number that colours each point: its height y, or the (N,) values given."""
    if isinstance(colour, str):
        check_choice("colour", colour, ("height",))
        return points[:, 1]
    values = as_array(colour).reshape(-1)
    if len(values) != len(points):
        raise ValueError(
            f"colour must be 'height' or one number for each of the {len(points)} "
            f"points; received {len(values)}."
        )
    return values


def category_groups(
    points: np.ndarray, colour: Any, categories: Sequence[str]
) -> list[tuple[str, np.ndarray, str]]:
    """Each category's name, its points (M, 3), and its colour; unused ones too."""
    ids = height_or_values(points, colour)
    if isinstance(colour, str) or not np.isin(ids, np.arange(len(categories))).all():
        raise ValueError(
            f"with categories, colour must hold for each point which of the "
            f"{len(categories)} it is, a whole number from 0; received "
            f"{colour if isinstance(colour, str) else np.unique(ids)}."
        )
    return [
        (name, points[ids == index], nth_colour(index))
        for index, name in enumerate(categories)
    ]


def map_rows(
    depth_maps: Any, attacked_maps: Any | None
) -> list[tuple[str, np.ndarray, bool]]:
    """The rows of a figure of depth maps: (name, maps (V, h, w), is a difference).

    Maps are averaged over blocks of pixels down to MAP_PIXELS a side; the difference
    is named with numbers taken before that.
    """
    maps = _as_maps(depth_maps, "depth_maps")
    if attacked_maps is None:
        return [("depth", _shrink(maps), False)]
    attacked = _as_maps(attacked_maps, "attacked_maps")
    if attacked.shape != maps.shape:
        raise ValueError(
            f"depth_maps and attacked_maps must have one shape; received {maps.shape} "
            f"and {attacked.shape}."
        )
    difference = attacked - maps
    return [
        ("clean", _shrink(maps), False),
        ("attacked", _shrink(attacked), False),
        ("difference", _shrink(difference), True),
    ]


def map_summary(depth_maps: Any, attacked_maps: Any) -> str:
    """One line: how much depth maps changed."""
    change = np.abs(as_array(attacked_maps) - as_array(depth_maps))
    return (
        f"{MAP_LEGEND}; mean |difference| {change.mean():.3f}, "
        f"{(change > 0.1).mean():.1%} of pixels change by more than 0.1"
    )


def attack_summary(lengths: np.ndarray) -> str:
    """One line: how many points there are and how far they moved."""
    return (
        f"N = {len(lengths)} points, moved by {lengths.mean():.3f} of the cloud's "
        f"radius on average, {lengths.max():.3f} at most"
    )


def _as_maps(value: Any, name: str) -> np.ndarray:
    maps = as_array(value)
    maps = maps[None] if maps.ndim == 2 else maps
    if maps.ndim != 3 or 0 in maps.shape:
        raise ValueError(
            f"{name} must be the maps of one cloud, (V, H, W) or (H, W); received "
            f"{maps.shape}. For a batch, pass one of its clouds: {name}[0]."
        )
    return maps


def _shrink(maps: np.ndarray) -> np.ndarray:
    views, height, width = maps.shape
    block = -(-max(height, width) // MAP_PIXELS)
    maps = maps[:, : height // block * block, : width // block * block]
    blocks = maps.reshape(views, height // block, block, width // block, block)
    return blocks.mean(axis=(2, 4))  # (V, h, w)


def opinion_table(
    opinions: Mapping[str, Any], class_names: Sequence[str], label: int, top: int
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Which classes to show, and each model's probabilities for them.

    Args:
        opinions: model name -> (2, C): probabilities on the clean and attacked cloud.
        class_names: C names.
        label: the true class, always among those shown.
        top: how many classes to show besides it.

    Returns:
        The names shown, true class first, and model name -> (2, shown).
    """
    tables = {name: as_array(value) for name, value in opinions.items()}
    if not tables:
        raise ValueError("opinions must hold at least one model; received none.")
    for name, table in tables.items():
        if table.shape != (2, len(class_names)):
            raise ValueError(
                f"opinions[{name!r}] must have shape (2, {len(class_names)}): clean "
                f"and attacked, one column a class; received {table.shape}."
            )
    largest = np.max([table.max(axis=0) for table in tables.values()], axis=0)
    order = [label, *[int(c) for c in np.argsort(-largest) if c != label][:top]]
    names = [
        f"{class_names[c]} (true)" if c == label else class_names[c] for c in order
    ]
    return names, {name: table[:, order] for name, table in tables.items()}


def series(
    history: Sequence[Mapping[str, Any]], prefix: str
) -> dict[str, tuple[list[float], list[float]]]:
    """Columns of a history whose names begin with `prefix`: name -> (epochs, values).

    Rows in which the value is missing or None are left out of that column.
    """
    if not history:
        raise ValueError("history is empty: no epoch has finished yet.")
    names = dict.fromkeys(key for row in history for key in row)
    # The score that chose the epoch is made of the accuracies beside it.
    names = [n for n in names if n.startswith(prefix) and n != "val_score"]
    columns = {}
    for name in names:
        rows = [r for r in history if r.get(name) is not None]
        if rows:
            columns[name.removeprefix(prefix)] = (
                [float(row["epoch"]) for row in rows],
                [float(row[name]) for row in rows],
            )
    return columns


def threat_label(threat_model: str, row: Mapping[str, Any]) -> str:
    """A legend entry: the threat model, what it means, and the attack that was used."""
    label = THREAT_MODELS[threat_model][1]
    if threat_model == "clean":
        return label
    attack = row.get("attack") or "attack not named"
    if row.get("norm"):
        eps = "" if row.get("eps") is None else f" {row['eps']:g}"
        attack += f", {row['norm']}{eps}"
    if row.get("targeted"):
        attack += ", targeted"
    if threat_model != "adaptive" and row.get("made_on"):
        attack += f", on {row['made_on']}"
    return f"{label} ({attack})"


def by_threat_model(rows: Sequence[Any]) -> dict[str, list[dict[str, Any]]]:
    """The rows of an evaluation by threat model, in the project's order.

    Models whose answers are random get a "~" behind their name.
    """
    if not rows:
        raise ValueError("rows is empty: there is no accuracy to show.")
    groups: dict[str, list[dict[str, Any]]] = {name: [] for name in THREAT_MODELS}
    seen = set()
    for row in rows:
        row = asdict(row) if is_dataclass(row) else dict(row)
        check_choice("threat_model", row["threat_model"], THREAT_MODELS)
        cell = (row["model"], row["threat_model"])
        if cell in seen:
            raise ValueError(
                f"rows must hold {cell[0]!r} under {cell[1]!r} once; received it "
                "again. With several attacks, draw one figure for each."
            )
        seen.add(cell)
        row["model"] += " ~" if row.get("random_model") else ""
        groups[row["threat_model"]].append(row)
    return {name: group for name, group in groups.items() if group}


def sample_size(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """One line: how many clouds each bar counts, and what its interval is."""
    rows = [row for group in groups.values() for row in group]
    sizes = sorted({int(row["n"]) for row in rows})
    count = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    drawn = "; ~ random, one draw" if any(r.get("random_model") for r in rows) else ""
    return f"n = {count} clouds a bar; whiskers: 95 % Wilson intervals{drawn}"


def training_panels(
    history: Sequence[Mapping[str, Any]],
) -> list[tuple[str, str, dict[str, tuple[list[float], list[float]]]]]:
    """The panels of the training figure that the history has columns for.

    Returns:
        (title, unit, curves) a panel.
    """
    wanted = [
        ("losses", "loss", "loss_"),
        ("clouds that pass the gate", "share", "pass_"),
        ("validation accuracy", "share", "val_"),
    ]
    panels = [(title, unit, series(history, key)) for title, unit, key in wanted]
    panels = [panel for panel in panels if panel[2]]
    if not panels:
        raise ValueError(
            "history must have columns loss_*, pass_* or val_*; received "
            f"{sorted(history[0])}."
        )
    return panels


def wrap(text: str, width: int) -> str:
    """Break a line at spaces so that it fits a narrow figure, not within "n = 8"."""
    kept = text.replace(" = ", "\xa0=\xa0").replace(" %", "\xa0%")
    lines = textwrap.wrap(kept, max(width, 10), break_on_hyphens=False)
    return "\n".join(lines).replace("\xa0", " ")


def wrap_html(text: str, width: int) -> str:
    """The same for Plotly, whose lines end with <br>."""
    return wrap(text, width).replace("\n", "<br>")


def curve_points(
    curves: Mapping[str, Sequence[Any]],
) -> dict[str, dict[str, list[float]]]:
    """Curves as columns: name -> x, y and, where there are intervals, low and high."""
    if not curves:
        raise ValueError("curves must hold at least one curve; received none.")
    columns = {}
    for name, points in curves.items():
        rows = [tuple(float(value) for value in point) for point in points]
        if (
            not rows
            or len({len(row) for row in rows}) != 1
            or len(rows[0]) not in (2, 4)
        ):
            raise ValueError(
                f"curves[{name!r}] must hold points (x, y) or (x, y, low, high), at "
                f"least one and all alike; received {points!r:.80}."
            )
        keys = ("x", "y", "low", "high")[: len(rows[0])]
        columns[name] = {
            key: list(values)
            for key, values in zip(keys, zip(*rows, strict=True), strict=True)
        }
    return columns
