"""Tables of shares behind the heat maps, prepared once for both forms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from mrpd_tutorial.plotting.robustness_data import counted, rows_of, sizes_of

__all__ = ["Heat", "class_cells", "transfer_cells"]

CLEAN_ROW, ALL_CLASSES = "clean clouds", "all classes"


@dataclass(frozen=True, kw_only=True)
class Heat:
    """A table of shares, ready to be drawn.

    Args:
        rows: R names, the first above.
        columns: C names.
        share: (R, C), NaN where nothing was measured.
        text: (R, C) what a cell says.
        hover: (R, C) what it says on a closer look.
        marked: (row, column) of the cells to be outlined.
        facts: the line below the title.
        title: unless the caller gives one.
    """

    rows: list[str]
    columns: list[str]
    share: np.ndarray
    text: list[list[str]]
    hover: list[list[str]]
    marked: list[tuple[int, int]]
    facts: str
    title: str


def transfer_cells(rows: Sequence[Any], chance: float | None) -> Heat:
    """Rows of a transfer matrix as a table: made on (down) x shown to (across)."""
    found = rows_of(rows, ("model", "correct", "n"))
    for row in found:
        row["made_on"] = row.get("made_on") or CLEAN_ROW
    columns = list(dict.fromkeys(row["model"] for row in found))
    names = list(dict.fromkeys(row["made_on"] for row in found))
    if names == [CLEAN_ROW]:
        raise ValueError(
            "rows must name the model their clouds were made on, as made_on; all of "
            "them are clean. See transfer_matrix."
        )
    names.sort(key=lambda name: name != CLEAN_ROW)
    attacks = {row.get("attack") for row in found if row["made_on"] != CLEAN_ROW}
    if len(attacks) > 1:
        raise ValueError(
            f"rows must be of one attack; received {sorted(map(str, attacks))}. Draw "
            "one figure for each."
        )
    cells = {}
    for row in found:
        place = names.index(row["made_on"]), columns.index(row["model"])
        if place in cells:
            raise ValueError(
                f"rows must hold clouds made on {row['made_on']!r} and shown to "
                f"{row['model']!r} once; received them again."
            )
        cells[place] = row
    marked = [
        (names.index(name), columns.index(name)) for name in names if name in columns
    ]
    facts = [
        "adaptive: made on the model itself; transfer: on another",
        sizes_of(found, "cell"),
        "below the share: 95 % Wilson interval",
    ]
    attack = next(iter(attacks)) or "attack"
    return _heat(
        names, columns, cells, marked, facts, chance,
        f"Accuracy on clouds made by {attack}: transfer, outlined: adaptive",
        "made on {row}, shown to {column}",
    )  # fmt: skip


def class_cells(
    correct: Any,
    labels: Any,
    class_names: Sequence[str],
    chance: float | None,
) -> Heat:
    """Correct answers, column by column, as a table of classes x columns."""
    if not isinstance(correct, Mapping) or not correct:
        raise ValueError(
            "correct must map at least one name to (B,) bools, as in {'student': "
            f"logits.argmax(1) == labels}}; received {correct!r:.80}."
        )
    ids = _array(labels)
    if ids.ndim != 1 or not len(ids) or ids.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be (B,) class ids; received {ids.dtype} of shape {ids.shape}."
        )
    if ids.min() < 0 or ids.max() >= len(class_names):
        raise ValueError(
            f"labels must lie in 0..{len(class_names) - 1}, the {len(class_names)} "
            f"class_names; received {ids.min()} to {ids.max()}."
        )
    hits = {name: _array(value) for name, value in correct.items()}
    for name, value in hits.items():
        if value.shape != ids.shape or value.dtype != np.bool_:
            raise ValueError(
                f"correct[{name!r}] must be bool of shape {ids.shape}; received "
                f"{value.dtype} of shape {value.shape}."
            )
    groups = {ALL_CLASSES: np.ones(len(ids), dtype=bool)}
    groups |= {class_names[c]: ids == c for c in sorted(set(ids.tolist()))}
    cells = {}
    for row, of_class in enumerate(groups.values()):
        for column, value in enumerate(hits.values()):
            cells[row, column] = counted(
                {"correct": int(value[of_class].sum()), "n": int(of_class.sum())}
            )
    absent = len(class_names) - len(groups) + 1
    per_class = [cells[row, 0] for row in range(1, len(groups))]
    facts = [sizes_of(per_class, "class"), "hover: n and 95 % Wilson interval"]
    facts += [f"classes without a cloud: {absent}"] if absent else []
    names = [f"{name} (n = {int(value.sum())})" for name, value in groups.items()]
    return _heat(
        names, list(hits), cells, [], facts, chance, "Accuracy by class",
        "{row}, {column}", short=True,
    )  # fmt: skip


def _heat(
    rows: list[str],
    columns: list[str],
    cells: Mapping[tuple[int, int], Mapping[str, Any]],
    marked: list[tuple[int, int]],
    facts: list[str],
    chance: float | None,
    title: str,
    place: str,
    short: bool = False,
) -> Heat:
    share = np.full((len(rows), len(columns)), np.nan)
    text = [[""] * len(columns) for _ in rows]
    hover = [["not measured"] * len(columns) for _ in rows]
    for (row, column), cell in cells.items():
        share[row, column] = cell["accuracy"]
        text[row][column] = f"{cell['accuracy']:.0%}"
        bounds = f"{cell['low']:.0%} to {cell['high']:.0%}"
        if not short:
            text[row][column] += f"\n{100 * cell['low']:.0f}–{cell['high']:.0%}"
        hover[row][column] = (
            place.format(row=rows[row], column=columns[column])
            + f"\n{cell['accuracy']:.1%} ({cell['correct']} of {cell['n']})\n{bounds}"
        )
    if chance is not None:
        facts = [*facts, f"chance {chance:.1%}"]
    return Heat(
        rows=rows, columns=columns, share=share, text=text, hover=hover,
        marked=marked, facts="; ".join(facts), title=title,
    )  # fmt: skip


def _array(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value)
