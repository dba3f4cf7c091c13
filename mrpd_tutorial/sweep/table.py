"""The merged table of a sweep: tidy rows, and the same as CSV, Markdown and HTML."""

import csv
import html
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mrpd_tutorial.result_card import Evaluation, Row, notes
from mrpd_tutorial.runtime import atomic_path
from mrpd_tutorial.sweep.cells import read_plan

__all__ = ["Sweep"]

_TABLES = ("table.csv", "table.md", "table.html")
# What differs from run to run, and so has no place in the tables.
_TIMES = ("seconds", "attack_seconds", "attack_cpu_seconds")
_COLUMNS = [name for name in Row.__dataclass_fields__ if name not in _TIMES]
_STYLE = (
    "body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{padding:.3em .7em;border-bottom:1px solid #ccc;text-align:left}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """What a sweep's folder holds.

    Nothing in the tables depends on time, on how often the sweep was interrupted, or on
    how many processes measured it: the same sweep gives the same bytes.

    Args:
        rows: one Row for each finished cell, in the table's order.
        missing: cards that are not there yet; another process may be at work on them.
        outcomes: a row's `cell` (model, threat model, attack, made on) -> a string of
            one "1" (named correctly) or "0" for each cloud, in order.
        labels: the true class of each cloud.
        class_names: in the labels' order; None where the data set has none.
        card: what the cells have in common, for `evaluation`.
        folder: where the cards lie.
    """

    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    card: dict[str, Any]
    folder: Path
    outcomes: Mapping[tuple, str] = field(default_factory=dict)
    labels: tuple[int, ...] = ()
    class_names: tuple[str, ...] | None = None

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "Sweep":
        """Merge the cards in a folder.

        Raises:
            ValueError: if the folder holds no sweep.
        """
        plan, cards = read_plan(folder)
        listed = zip(plan["cells"], cards, strict=True)
        missing = tuple(entry["file"] for entry, card in listed if card is None)
        whole = [card for card in cards if card is not None]
        rows = tuple(Row(**card["row"]) for card in whole)
        outcomes = {tuple(card["settings"]["cell"]): card["correct"] for card in whole}
        names = plan["class_names"]
        common = {
            "kind": "evaluation",
            "config": plan["config"],
            "rows": [asdict(row) for row in rows],
            "outcomes": list(outcomes.values()),
            "labels": plan["labels"],
            "class_names": names,
            "notes": notes(rows, plan["names"]),
        }
        return cls(
            rows=rows,
            missing=missing,
            card=common,
            folder=Path(folder),
            outcomes=outcomes,
            labels=tuple(plan["labels"]),
            class_names=None if names is None else tuple(names),
        )

    @property
    def complete(self) -> bool:
        """Whether every cell is there."""
        return not self.missing

    def table(self) -> list[dict[str, Any]]:
        """One flat mapping a cell, every digit of every number; no times."""
        return [{name: getattr(row, name) for name in _COLUMNS} for row in self.rows]

    def evaluation(self) -> Evaluation:
        """The same rows as an Evaluation, for its figures and look-ups."""
        return Evaluation(
            rows=self.rows,
            card=self.card,
            outcomes=self.outcomes,
            labels=self.labels,
            class_names=self.class_names,
        )

    def corruption_errors(self, model: str) -> dict[str, list[float]]:
        """Corruption's title -> error rates by severity, and "clean", of one model.

        What corruptions.mean_corruption_error takes.

        Raises:
            ValueError: if the model has no such row.
        """
        shown = [row for row in self.rows if row.model == model]
        errors: dict[str, list[float]] = {}
        for row in sorted(shown, key=lambda row: row.eps or 0):
            if row.threat_model in ("clean", "corruption"):
                title = "clean" if row.threat_model == "clean" else row.attack
                errors.setdefault(title, []).append(1 - row.accuracy)
        if not set(errors) - {"clean"}:
            known = sorted({row.model for row in self.rows})
            raise ValueError(
                f"model must be one with corruptions measured; received {model!r}. "
                f"There are: {', '.join(known)}."
            )
        return errors

    def csv(self) -> str:
        """The tidy rows as CSV."""
        text = io.StringIO(newline="")
        rows = self.table()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def markdown(self) -> str:
        """The rows as a Markdown table with its notes."""
        return self._unfinished() + self.evaluation().table() + "\n"

    __str__ = markdown

    def html(self) -> str:
        """The rows as a page of its own, without scripts."""
        lines = self.evaluation().table().split("\n\n")[0].splitlines()
        head, *body = [_cells(line) for i, line in enumerate(lines) if i != 1]
        # Text first; the last four columns are numbers: n, accuracy, interval, misled.
        kinds = ["<td>"] * (len(head) - 4) + ['<td class="n">'] * 4
        rows = []
        for row in body:
            pairs = zip(kinds, map(html.escape, row), strict=True)
            cells = "".join(f"{kind}{cell}</td>" for kind, cell in pairs)
            rows.append(f"<tr>{cells}</tr>")
        heads = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
        remarks = [self._unfinished(), *self.card["notes"]]
        remarks = [f"<p>{html.escape(text.strip())}</p>" for text in remarks if text]
        return "\n".join(
            [
                '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">',
                f"<title>Robustness</title><style>{_STYLE}</style></head>\n<body>",
                f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>",
                *rows,
                "</tbody>\n</table>",
                *remarks,
                "</body>\n</html>\n",
            ]
        )

    def write(self) -> tuple[Path, ...]:
        """Write table.csv, table.md and table.html into the folder."""
        texts = (self.csv(), self.markdown(), self.html())
        paths = tuple(self.folder / name for name in _TABLES)
        for path, text in zip(paths, texts, strict=True):
            with atomic_path(path, overwrite=True) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="\n")
        return paths

    def _unfinished(self) -> str:
        if self.complete:
            return ""
        total = len(self.missing) + len(self.rows)
        return f"Not finished: {len(self.missing)} of {total} cells are missing.\n\n"


def _cells(line: str) -> Sequence[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]
