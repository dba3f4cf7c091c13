"""The numbers behind the figures of robustness, prepared once for both forms."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from mrpd_tutorial.checks import check_choice
from mrpd_tutorial.metrics import wilson_interval
from mrpd_tutorial.plotting.palette import THREAT_MODELS

__all__ = ["cost_bars", "cost_hover", "counted", "curves_of", "rows_of", "sizes_of"]


def curves_of(
    rows: Sequence[Any],
) -> tuple[dict[str, dict[str, list[float]]], dict[str, str]]:
    """Rows as curves over the budget, and the words around them.

    Returns:
        name -> columns x, y, low, high, n, ascending in x; and the texts "title",
        "facts", "x_label".
    """
    found = rows_of(rows, ("model", "threat_model", "correct", "n"))
    for row in found:
        check_choice("threat_model", row["threat_model"], THREAT_MODELS)
    attacked = [row for row in found if row["threat_model"] != "clean"]
    if not attacked:
        raise ValueError("rows must hold a model under attack; all of them are clean.")
    for key in ("attack", "norm"):
        values = {row.get(key) for row in attacked}
        if len(values) > 1:
            raise ValueError(
                f"rows must be of one {key}, or budgets mean different things; "
                f"received {sorted(map(str, values))}. Draw one figure for each."
            )
    kinds = list(dict.fromkeys(row["threat_model"] for row in attacked))
    curves: dict[str, dict[float, dict[str, Any]]] = {}
    for row in attacked:
        if row.get("eps") is None:
            raise ValueError(
                f"each row under attack must name its eps; that of {row['model']!r} "
                "has none."
            )
        name = _curve_name(row, len(kinds) > 1)
        points = curves.setdefault(name, {0.0: _clean_of(row["model"], found)})
        eps = float(row["eps"])
        if points.get(eps):
            raise ValueError(
                f"rows must hold {name!r} at eps {eps:g} once; received it again."
            )
        points[eps] = row
    columns = {}
    for name, points in curves.items():
        shown = [(x, points[x]) for x in sorted(points) if points[x] is not None]
        columns[name] = {"x": [x for x, _ in shown]} | {
            key: [float(row[source]) for _, row in shown]
            for key, source in (
                ("y", "accuracy"),
                ("low", "low"),
                ("high", "high"),
                ("n", "n"),
            )
        }
    first = attacked[0]
    norm, attack = first.get("norm"), first.get("attack") or "attack"
    unit = {"count": "points", None: "radius = 1"}.get(norm, f"{norm}, radius = 1")
    texts = {
        "title": f"Accuracy over the budget: {' and '.join(kinds)} {attack}",
        "facts": "; ".join(
            [
                *(THREAT_MODELS[kind][1] for kind in kinds),
                sizes_of(found, "point"),
                "bands: 95 % Wilson intervals",
            ]
        ),
        "x_label": f"budget of {attack} ({unit})",
    }
    return columns, texts


def cost_bars(
    rows: Sequence[Any], reference: str | None
) -> tuple[list[dict[str, Any]], str, str]:
    """Costs with seconds made relative, the label of that axis, and the facts."""
    wanted = ("attack", "seconds", "misled", "before")
    found = rows_of(rows, wanted, counts=False)
    units = [row["seconds"] for row in found if row["attack"] == reference]
    if reference is not None and not units:
        raise ValueError(
            f"reference must be the attack of one of rows, "
            f"{[row['attack'] for row in found]}, or None for seconds; received "
            f"{reference!r}."
        )
    unit = units[0] if units else 1.0
    shown = []
    for row in found:
        if not row["seconds"] > 0 or not 0 <= row["misled"] <= row["before"]:
            raise ValueError(
                f"rows must have seconds above 0, and misled in 0..before; that of "
                f"{row['attack']!r} has {row['seconds']} s, {row['misled']} of "
                f"{row['before']}."
            )
        share = (0.0, 0.0, 1.0)
        if row["before"]:
            bounds = wilson_interval(row["misled"], row["before"])
            share = (row["misled"] / row["before"], *bounds)
        shown.append(
            row
            | {"relative": row["seconds"] / unit}
            | dict(zip(("share", "low", "high"), share, strict=True))
        )
    label = "seconds a cloud" if not units else f"seconds a cloud ({reference} = 1)"
    sizes = sorted({row["before"] for row in found})
    count = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return shown, label, (
        f"misled / originally correct, n = {count} clouds; whiskers: 95 % Wilson "
        "intervals; hover: steps, queries, distances"
    )  # fmt: skip


def cost_hover(row: Mapping[str, Any]) -> str:
    """Everything known of one attack's cost, a line each."""
    lines = [f"<b>{row['attack']}</b>", f"misled {row['misled']} of {row['before']}"]
    lines += [f"{row['seconds']:.3g} s a cloud"]
    for key in ("iterations", "queries"):
        if row.get(key) is not None:
            lines.append(f"{key}: {row[key]:.0f}")
    for key in ("l2", "per_point_max", "chamfer", "hausdorff"):
        if row.get(key) is not None:
            lines.append(f"{key}: {row[key]:.3g}")
    return "<br>".join(lines)


def rows_of(
    rows: Sequence[Any], wanted: Sequence[str], counts: bool = True
) -> list[dict[str, Any]]:
    """Rows or mappings as mappings that have all that is wanted; see `counted`."""
    if not rows:
        raise ValueError("rows is empty: there is nothing to show.")
    found = [asdict(row) if is_dataclass(row) else dict(row) for row in rows]
    for row in found:
        missing = [key for key in wanted if row.get(key) is None]
        if missing:
            raise ValueError(
                f"each row must have {', '.join(wanted)}; one lacks {missing}."
            )
    return [counted(row) for row in found] if counts else found


def counted(row: dict[str, Any]) -> dict[str, Any]:
    """A row with accuracy and interval, computed where they were not given."""
    low, high = wilson_interval(int(row["correct"]), int(row["n"]))
    own = {"accuracy": row["correct"] / row["n"], "low": low, "high": high}
    return own | {key: value for key, value in row.items() if value is not None}


def _clean_of(model: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    own = [r for r in rows if r["model"] == model and r["threat_model"] == "clean"]
    return own[0] if own else None


def _curve_name(row: Mapping[str, Any], several: bool) -> str:
    name = row["model"] + (" ~" if row.get("random_model") else "")
    return f"{name}, {row['threat_model']}" if several else name


def sizes_of(rows: Sequence[Mapping[str, Any]], what: str) -> str:
    """How many clouds stand behind each number, for a subtitle."""
    sizes = sorted({int(row["n"]) for row in rows})
    count = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return f"n = {count} clouds a {what}"
