"""The folder of a sweep: one card for each cell, recognised by all that decides it."""

import os
import re
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mrpd_tutorial.result_card import Row, split_attack
from mrpd_tutorial.runtime import digest, read_json, write_json

__all__ = ["Cell", "CellFolder"]

_CELLS, _PLAN = "cells", "sweep.json"
_COMMON = ("format", "package", "data", "seed", "level", "batch_size", "device")
_STALE_SECONDS = 24 * 3600
_CARD_BYTES = 2**14  # a card without its outcomes, generously


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of the table, and everything it depends on.

    Args:
        model: name of the model that is judged.
        threat_model: "clean", "static", "adaptive", "transfer" or "corruption".
        attack: name of the attack or corruption, or None.
        made_on: name of the model the clouds are made on, or None.
        settings: all that decides the number, as JSON values.
    """

    model: str
    threat_model: str
    attack: str | None
    made_on: str | None
    settings: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, str, str | None, str | None]:
        """(model, threat model, attack, made on)."""
        return self.model, self.threat_model, self.attack, self.made_on

    @property
    def file(self) -> str:
        """The card's name: readable, and different for different names."""
        words = [name for name in self.names if name is not None]
        plain = [re.sub(r"[^\w.-]+", "_", word)[:40] for word in words]
        return f"{'--'.join(plain)}--{digest(list(self.names))[:8]}.json"

    @property
    def key(self) -> str:
        """SHA-256 of the settings."""
        return digest(self.settings)

    @property
    def job(self) -> tuple[str, ...]:
        """Cells with the same job are shown the same clouds, made once."""
        if self.made_on is not None:
            return ("attack", split_attack(str(self.attack))[0], self.made_on)
        return (self.threat_model, str(self.attack or self.model))


class CellFolder:
    """The cards of a sweep's cells.

    Args:
        folder: made if need be.

    Raises:
        ValueError: if it is a file, or cannot be written.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        self.cells = self.folder / _CELLS

    def prepare(self, cells: Sequence[Cell], clouds: int) -> None:
        """Check, before work starts, that these cells can be kept here.

        Raises:
            ValueError: if the folder cannot be written or is too full, or if it holds
                cells of other settings.
        """
        self._probe(sum(_CARD_BYTES + clouds for _ in cells))
        self._sweep()
        wanted = {cell.file: cell for cell in cells}
        for path in sorted(self.cells.glob("*.json")):
            found = _sound(path)
            if found is None:
                continue  # measured again when its turn comes
            cell = wanted.get(path.name)
            now = cells[0].settings if cell is None else cell.settings
            self._compare(path, found["settings"], now, cell is None)

    def plan(self, cells: Sequence[Cell], notes: Mapping[str, Any]) -> None:
        """Write which cells the table has, in order."""
        listed = [{"file": cell.file, "key": cell.key} for cell in cells]
        value = {"kind": "sweep", "cells": listed} | dict(notes)
        write_json(self.folder / _PLAN, value, overwrite=True)

    def read(self, cell: Cell) -> dict[str, Any] | None:
        """The cell's card, or None where there is none, or a damaged one."""
        path = self.cells / cell.file
        found = _sound(path)
        if found is None and path.exists():
            warnings.warn(
                f"{path} is damaged and does not count; its cell is measured again.",
                stacklevel=2,
            )
        return found if found is not None and found["key"] == cell.key else None

    def take_over(self, other: "CellFolder", cells: Sequence[Cell]) -> None:
        """Copy the cards of these cells that are finished in another folder."""
        for cell in cells:
            found = _sound(other.cells / cell.file)
            wanted = found is not None and found["key"] == cell.key
            if wanted and not (self.cells / cell.file).exists():
                write_json(self.cells / cell.file, found, overwrite=True)

    def write(self, cell: Cell, card: Mapping[str, Any]) -> None:
        """Keep a finished cell, whole or not at all.

        Raises:
            OSError: if it cannot be written; what is there is kept.
        """
        value = {"kind": "sweep cell", "settings": cell.settings, "key": cell.key}
        value |= card
        value["checksum"] = digest(value)
        try:
            write_json(self.cells / cell.file, value, overwrite=True)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{self.cells} takes no more cards ({error.strerror}). Finished cells "
                "are kept: make room and call the sweep again",
            ) from error

    def _probe(self, size: int) -> None:
        try:
            self.cells.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.cells) as file:
                for _ in range(0, size, 2**16):
                    file.write(bytes(2**16))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ValueError(
                f"folder must be one that can be written, with room for the cards "
                f"(about {size / 1e6:.1f} MB); {self.folder}: {error.strerror}. Choose "
                "another folder, or make room."
            ) from error

    def _sweep(self) -> None:
        """Remove what killed processes left half written, once it is a day old."""
        for left in self.cells.glob(".*.json"):
            try:
                if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                    left.unlink(missing_ok=True)
            except OSError:
                continue  # another process was faster

    def _compare(self, path: Path, before: Mapping, now: Mapping, common: bool) -> None:
        """Refuse cards of other settings; of other cells only the common ones count."""
        if common:
            before = {name: before.get(name) for name in _COMMON}
            now = {name: now.get(name) for name in _COMMON}
        old, new = _flat(before), _flat(now)
        differing = [
            f"{name} was {old.get(name)!r:.60}, now {new.get(name)!r:.60}"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
        if differing:
            more = f" and {len(differing) - 6} more" if len(differing) > 6 else ""
            raise ValueError(
                f"{path} was measured with other settings: "
                f"{'; '.join(differing[:6])}{more}. Use the same settings to go on in "
                "this folder, choose another folder, or delete the card to measure its "
                "cell again."
            )


def read_plan(folder: str | os.PathLike) -> tuple[dict[str, Any], list[dict | None]]:
    """The plan in a folder, and for each of its cells the card, or None.

    Raises:
        ValueError: if the folder holds no sweep.
    """
    path = Path(folder) / _PLAN
    plan = read_json(path)
    if not isinstance(plan, dict) or plan.get("kind") != "sweep":
        raise ValueError(f"{path} must hold the plan of a sweep; it does not.")
    cards = []
    for entry in plan["cells"]:
        card = _sound(Path(folder) / _CELLS / entry["file"])
        whole = card is not None and card["key"] == entry["key"]
        cards.append(card if whole else None)
    return plan, cards


def _sound(path: Path) -> dict[str, Any] | None:
    """A card that says what it said when it was written, or None."""
    try:
        card = read_json(path)
    except (ValueError, OSError):
        return None
    if not isinstance(card, dict) or card.get("kind") != "sweep cell":
        return None
    rest = {name: value for name, value in card.items() if name != "checksum"}
    if card.get("checksum") != digest(rest):
        return None
    return card if set(card["row"]) == {f.name for f in fields(Row)} else None


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    items = {}
    for key, inner in value.items():
        items |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return items
