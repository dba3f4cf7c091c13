"""Tables of the trial: what `trial.py card` writes from the cells that are there."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from mrpd_tutorial.runtime import (
    atomic_path,
    environment_summary,
    read_json,
    write_json,
)
from mrpd_tutorial.sweep import Sweep

RELEASED, OWN_GREY = "MRPD as released", "MRPD as released, grey 0.4"


def write_card(
    out: Path,
    path: Path,
    steps: int,
    groups: Sequence[str],
    recipes: Iterable[str],
) -> None:
    """Write what is there as a JSON card, and its tables as Markdown beside it.

    Args:
        out: the trial's folder.
        path: of the card, .json.
        steps: updates of an attack.
        groups: of attacks, each a sweep, in the order of the columns.
        recipes: names of what was distilled.
    """
    parts, found = {}, set()
    for part in (group + end for group in groups for end in ("", "_costly")):
        folder = out / f"steps_{steps}" / part
        if (folder / "sweep.json").exists():
            parts[part] = Sweep.load(folder)
            found |= {without_digest(p.name) for p in folder.glob("cells/*.json")}
    wanted = {without_digest(name) for part in parts.values() for name in part.missing}
    if not parts:
        raise SystemExit(f"{out} holds no cells: run the part `attack` first.")
    runs = {}
    for name in recipes:
        result = out / "runs" / slug(name) / "result.json"
        if result.exists():
            kept = ("config", "best_epoch", "undefended", "hardened")
            runs[name] = {key: read_json(result)[key] for key in kept}
    curves = sorted((out / "curve").glob("*.json"), key=lambda p: int(p.stem))
    rows = {(*row.cell, row.n): row for part in parts.values() for row in part.rows}
    rows = [asdict(row) for row in rows.values()]  # each group has the clean ones
    value = {
        "kind": "trial",
        "steps": steps,
        "missing_cells": len(wanted - found),
        "plans": {name: part.card["config"] for name, part in parts.items()},
        "runs": runs,
        "rows": [{k: v for k, v in row.items() if v is not None} for row in rows],
        "notes": [note for part in parts.values() for note in part.card["notes"]]
        + released_note(runs),
        "curve": [read_json(p) for p in curves],
    }
    write_with_table(path, value, tables(value))


def write_with_table(path: Path, value: dict, table: str) -> None:
    """Write a card with where it was made, and its table as Markdown; print that."""
    write_json(path, value | {"environment": environment_summary()}, overwrite=True)
    with atomic_path(path.with_suffix(".md"), overwrite=True) as temporary:
        temporary.write_text(table, encoding="utf-8")
    print(table)


def released_note(runs: dict) -> list[str]:
    """What decides the row of the released recipe, and is about these stand-ins."""
    if RELEASED not in runs:
        return []
    before = runs[RELEASED]["undefended"]["val_clean"]
    return [
        f"{RELEASED}: the release gives points the grey 0.5. The tiny student has seen "
        f"0.4 alone, and with 0.5 it is right on {before:.1%} of val without prompts: "
        f"the row shows little else. `{OWN_GREY}` keeps the student's grey and every "
        "other choice of the release. Uni3D learned from coloured clouds: neither row "
        "says what 0.5 costs it."
    ]


def tables(found: dict) -> str:
    """Accuracy in % by model and attack, one table for each threat model."""
    rows, lines = found["rows"], []
    shown = list(dict.fromkeys(row["model"] for row in rows))
    total = max(row["n"] for row in rows)
    clean = {
        row["model"]: row
        for row in rows
        if row["threat_model"] == "clean" and row["n"] == total
    }
    for threat in ("adaptive", "static", "transfer"):
        cells = {
            (row["model"], row["attack"]): f"{100 * row['accuracy']:.1f}"
            + (f" (n = {row['n']})" if row["n"] < total else "")
            for row in sorted(rows, key=lambda row: row["n"])
            if row["threat_model"] == threat
        }
        shown_rows = (row for row in rows if row["threat_model"] == threat)
        columns = list(dict.fromkeys(row["attack"] for row in shown_rows))
        if not columns:
            continue
        lines += [f"## {threat}, accuracy in % of {total} test clouds", ""]
        lines += ["| model | clean | " + " | ".join(columns) + " |"]
        lines += ["|---" * (len(columns) + 2) + "|"]
        for model in shown:
            values = [f"{100 * clean[model]['accuracy']:.1f}"]
            values += [cells.get((model, column), "") for column in columns]
            lines.append(f"| {model} | " + " | ".join(values) + " |")
        lines.append("")
    if found["curve"]:
        lines += convergence(found["curve"])
    if found["missing_cells"]:
        lines += [f"{found['missing_cells']} cells are not measured yet.", ""]
    return "\n".join([*lines, *(f"- {note}" for note in dict.fromkeys(found["notes"]))])


def convergence(curve: list[dict]) -> list[str]:
    """Lines of a table: accuracy in % by the number of updates, adaptive, on val."""
    rows = [row for part in curve for row in part["rows"] if row["attack"] != "none"]
    lines = [
        f"## more updates, adaptive, accuracy in % of {rows[0]['n']} val clouds",
        "",
        "| model | attack | " + " | ".join(str(part["steps"]) for part in curve) + " |",
        "|---" * (len(curve) + 2) + "|",
    ]
    for model, attack in dict.fromkeys((row["model"], row["attack"]) for row in rows):
        own = [r for r in rows if (r["model"], r["attack"]) == (model, attack)]
        values = [f"{attack.split(',')[0]} {own[0]['eps']:g}"]
        values += [f"{100 * row['accuracy']:.1f}" for row in own]
        lines.append(f"| {model} | " + " | ".join(values) + " |")
    return [*lines, ""]


def without_digest(name: str) -> str:
    """A cell's file name up to the digest of its settings."""
    return name.rsplit("--", 1)[0]


def slug(name: str) -> str:
    """A name for a folder."""
    return "".join(c if c.isalnum() else "_" for c in name)
