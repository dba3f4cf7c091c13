"""Grades as CSV and as Markdown: who has passed what, notebook by notebook."""

import csv
import io
from collections.abc import Sequence
from typing import Any

__all__ = ["as_csv", "markdown"]

_FIELDS = ("student", "notebook", "exercise", "level", "status", "message", "seconds")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of a class, one line for each exercise.

    Spreadsheets run what begins like a formula, and names and messages are the
    students': such text gets an apostrophe in front.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, (*_FIELDS, "file"), lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow(
            {k: f"'{v}" if str(v).startswith(_FORMULA) else v for k, v in row.items()}
        )
    return text.getvalue()


def markdown(rows: Sequence[dict[str, Any]], limits: Any, full: bool) -> str:
    """The rows of a class: one table for each notebook, then what was wrong.

    Args:
        rows: of `grade`.
        limits: of `grade`, to be named.
        full: whether whole notebooks were run.
    """
    lines = ["# Grades", ""]
    lines += [
        f"At most {limits.seconds:g} s an exercise and {limits.memory >> 20} MiB of "
        "memory. Answers were taken out of the notebooks and judged by the package's "
        "own checks; printed text counts for nothing.",
        "",
    ]
    if full:
        lines += [
            f"Whole notebooks were run as well, {limits.notebook_seconds:g} s at most.",
            "",
        ]
    for notebook in dict.fromkeys(row["notebook"] for row in rows):
        own = [row for row in rows if row["notebook"] == notebook]
        lines += [f"## {_cell(notebook)}", "", *_table(own), ""]
    told = [row for row in rows if row["message"] and row["status"] != "passed"]
    if told:
        lines += ["## What was wrong", ""]
        lines += [
            f"- {_cell(row['file'])}, {_cell(row['exercise'])}, {row['status']}: "
            f"{_cell(row['message'])}"
            for row in told
        ]
        lines += [""]
    return "\n".join(lines)


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    exercises = list(dict.fromkeys(row["exercise"] for row in rows))
    table = [["student", "passed", *map(_cell, exercises)]]
    for file in dict.fromkeys(row["file"] for row in rows):
        own = {row["exercise"]: row for row in rows if row["file"] == file}
        passed = sum(row["status"] == "passed" for row in own.values())
        graded = sum(row["level"] != "" for row in own.values())
        student = _cell(next(iter(own.values()))["student"])
        cells = [own[name]["status"] if name in own else "" for name in exercises]
        table.append([student, f"{passed} of {graded}", *cells])
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    table.insert(1, ["-" * width for width in widths])
    return [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in table
    ]


def _cell(text: str) -> str:
    """Text that cannot end a cell, a line, or begin HTML."""
    text = " ".join(str(text).split())
    for sign, written in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|")):
        text = text.replace(sign, written)
    return text
