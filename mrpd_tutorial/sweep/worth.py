"""What each choice of MRPD's released protocol is worth, in accuracy, in one table."""

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mrpd_tutorial.bench_setup import find_models
from mrpd_tutorial.defenses import Defended
from mrpd_tutorial.protocol import Protocol, choices
from mrpd_tutorial.result_card import Row
from mrpd_tutorial.runtime import atomic_path
from mrpd_tutorial.sweep.cells import read_plan
from mrpd_tutorial.sweep.run import sweep

__all__ = ["ProtocolWorth", "protocol_worth"]

_START, _END = "paper", "released"
_COLUMNS = ("choice", "paper", "released", "model", "threat_model", "attack")
_COLUMNS += ("correct", "n", "accuracy", "low", "high", "difference")


@dataclass(frozen=True, kw_only=True, eq=False)
class ProtocolWorth:
    """The table of `protocol_worth`.

    Args:
        rows: mappings with choice ("paper" for the paper's protocol, the name of the
            one choice that is the release's, or "released" for all of them), paper and
            released (the choice's two values), model, threat_model, attack, correct, n,
            accuracy with its interval low..high, and difference: accuracy minus that of
            the same model and attack under the paper's protocol (None while that is
            missing). What a choice does not
            touch has no row.
        missing: cards that are not there yet; another process may be at work on them.
    """

    rows: tuple[Mapping[str, Any], ...]
    missing: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every number is there."""
        return not self.missing

    def row(self, choice: str, model: str, attack: str) -> Mapping[str, Any]:
        """The one row that fits; "none" is the attack on clean clouds.

        Raises:
            ValueError: if there is none: the choice does not touch that attack.
        """
        wanted = (choice, model, attack)
        for row in self.rows:
            if (row["choice"], row["model"], row["attack"]) == wanted:
                return row
        known = dict.fromkeys((r["choice"], r["model"], r["attack"]) for r in self.rows)
        raise ValueError(
            f"choice, model and attack must be those of a row; received {wanted}. "
            f"There are: {'; '.join(map(str, known))}."
        )

    def csv(self) -> str:
        """The rows as CSV, every digit of every number."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def markdown(self) -> str:
        """One line for each choice and attack, one column for each model."""
        models = list(dict.fromkeys(row["model"] for row in self.rows))
        head = ["choice", "paper", "released", "attack", *(f"{m} %" for m in models)]
        lines: dict[tuple, dict[str, str]] = {}
        for row in self.rows:
            key = tuple(str(row[name]) for name in ("choice", "paper", "released"))
            text = "{:.1f} ({:.1f} to {:.1f})".format(
                *(100 * row[name] for name in ("accuracy", "low", "high"))
            )
            if row["choice"] != _START and row["difference"] is not None:
                text += f", {100 * row['difference']:+.1f}"
            lines.setdefault((*key, row["attack"]), {})[row["model"]] = text
        table = [head, ["---"] * len(head)]
        table += [
            [*key, *(cells.get(m, "") for m in models)] for key, cells in lines.items()
        ]
        notes = [f"{c.name}: {c.effect}" for c in choices()]
        notes.append(
            "In brackets the interval; then the difference to the paper's protocol in "
            "points: above 0 the choice flatters the model. A choice that does not "
            "touch an attack has no line."
        )
        if self.missing:
            notes.insert(0, f"Not finished: {len(self.missing)} cells are missing.")
        text = "\n".join(f"| {' | '.join(line)} |" for line in table)
        return "\n\n".join([text, *notes]) + "\n"

    __str__ = markdown


def protocol_worth(
    models: Mapping[str, Any],
    dataset: Any,
    folder: str | os.PathLike,
    *,
    undefended: Any,
    paper: Protocol | None = None,
    released: Protocol | None = None,
    seed: int = 0,
    batch_size: int = 32,
    eot_samples: int = 8,
    level: float = 0.95,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> ProtocolWorth:
    """Measure the paper's protocol, each choice of the release alone, and all of them.

    Each protocol is a sweep in a folder of its own: resumable, and shared by the
    processes of torchrun. What a choice does not touch is taken over, not measured
    again. The undefended model behind the protocol's outlier removal is added to the
    models as "<undefended> + SOR". Once all is there, worth.csv and worth.md are
    written into `folder`.

    Args:
        models: name -> `points -> logits`, each in evaluation mode.
        dataset: a PointDataset, or a pair (points (B, N, 3), labels (B,)); N over 200.
        folder: where the sweeps and the table go; made if need be.
        undefended: the model for static clouds, itself or its name in models.
        paper, released: other protocols to go from and to; None: Protocol.paper() and
            Protocol.released().
        seed, batch_size, eot_samples, level, device, progress: as in sweep.

    Raises:
        ValueError: as sweep; without an undefended model; on a model of that name.

    Returns:
        The table.
    """
    start = Protocol.paper() if paper is None else paper
    end = Protocol.released() if released is None else released
    found = find_models("undefended", undefended, models)
    if not found:
        raise ValueError(
            "undefended must be given: the release's clouds are made on it, and "
            "outlier removal is put before it."
        )
    ((name, plain),) = found.items()
    behind = f"{name} + SOR"
    if behind in models:
        raise ValueError(
            f"models must not hold {behind!r}, which is added with each protocol's "
            "own outlier removal. Leave it out, or rename it."
        )
    single = start.one_by_one(end)
    protocols = {_START: start, **single, _END: end}
    base, folders = Path(folder), []
    for key, protocol in protocols.items():
        sweep(
            dict(models) | {behind: Defended(plain, protocol.sor)},
            dataset,
            folder=base / key,
            undefended=found,
            protocol=protocol,
            seed=seed,
            batch_size=batch_size,
            eot_samples=eot_samples,
            reuse=tuple(folders),
            level=level,
            device=device,
            progress=progress,
        )
        folders.append(base / key)
    worth = merge(dict(zip(protocols, folders, strict=True)), start, end)
    if worth.complete:
        for file, text in (("worth.csv", worth.csv()), ("worth.md", worth.markdown())):
            with atomic_path(base / file, overwrite=True) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="\n")
    return worth


def merge(folders: Mapping[str, Path], start: Protocol, end: Protocol) -> ProtocolWorth:
    """One table of all sweeps, without what a choice leaves as it is."""
    rows, missing = [], []
    before: dict[tuple[str, str], tuple[str, float]] = {}
    for choice, folder in folders.items():
        plan, cards = read_plan(folder)
        for entry, card in zip(plan["cells"], cards, strict=True):
            if card is None:
                missing.append(f"{choice}/{entry['file']}")
                continue
            row = Row(**card["row"])
            key = row.model, row.attack
            if choice == _START:
                before[key] = card["key"], row.accuracy
            elif before.get(key, (None,))[0] == card["key"]:
                continue
            between = choice not in (_START, _END)
            difference = row.accuracy - before[key][1] if key in before else None
            values = {
                name: getattr(row, name) for name in _COLUMNS if hasattr(row, name)
            }
            values |= {
                "choice": choice,
                "paper": _short(getattr(start, choice)) if between else "",
                "released": _short(getattr(end, choice)) if between else "",
                "difference": difference,
            }
            rows.append({name: values[name] for name in _COLUMNS})
    return ProtocolWorth(rows=tuple(rows), missing=tuple(missing))


def _short(value: Any) -> str:
    """A choice's value in few words."""
    if hasattr(value, "alpha"):
        return f"k {value.k}, alpha {value.alpha:g}"
    return str(value)
