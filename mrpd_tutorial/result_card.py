"""The rows of an evaluation, as a table to read and as a card to keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from os import PathLike
from typing import Any

from torch import Tensor

from mrpd_tutorial.attacks.result import AttackResult
from mrpd_tutorial.checks import check_labels, check_points
from mrpd_tutorial.runtime import digest, read_json, write_json

__all__ = [
    "IN_BALL",
    "Evaluation",
    "Row",
    "as_text",
    "clouds_of",
    "notes",
    "split_attack",
]

# How the row is called that counts only what PointAutoAttack moves within its budget.
IN_BALL = ", in ball"

_NOTES = {
    "clean": "clean: the clouds as they are.",
    "static": "static: clouds made once on {static}, which knows no defense; an upper "
    "bound of the accuracy under attack.",
    "adaptive": "adaptive: each model attacked through itself, defense included.",
    "transfer": "transfer: clouds made on {transfer}, of the attacker's own.",
    "corruption": "corruption: clouds damaged without an attacker; five severities.",
    "in ball": "in ball: of PointAutoAttack, only points moved within the budget "
    "count, as in other papers. Its row without these words is the worst case over "
    "all members, those that add or drop points included. Other models are shown its "
    "clouds in the ball alone: static and transfer rows have no such worst case.",
    "random": "~ answers differ from call to call; the attacked clouds are shown once, "
    "by draws that no attack has seen.",
    "eot": "EOT n: at each step the attack averaged over n draws of the random model.",
    "no eot": "Adaptive rows with ~ and without EOT did not average over draws: an "
    "upper bound of the accuracy under attack.",
    "bpda": "BPDA: the defense passes no gradient; the attack went around it.",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell of the table: a model under a threat model.

    Args:
        model: its name.
        threat_model: "clean", "static", "adaptive", "transfer" or "corruption".
        attack: the attack's name, or the corruption's title; "none" for clean. With
            ", in ball" only what PointAutoAttack moved within its budget counts;
            without, what it added and dropped as well.
        norm: the norm of its budget; "none" without a bound, "severity" for a
            corruption, None for clean.
        eps: its budget; None for clean, and where every cloud had its own.
        targeted: whether it aimed at given classes.
        made_on: the model the clouds were made on; None for clean.
        eot_samples: draws of a random model that the attack averaged over (EOT); 1:
            it saw the model as it is.
        bpda: whether the attack went through a defense without a gradient by BPDA.
        random_model: whether the model answers differently each time (one draw shown).
        correct: clouds classified correctly.
        n: clouds shown.
        accuracy: correct / n.
        low: lower end of the Wilson interval of the accuracy.
        high: upper end.
        attack_success_rate: misled / originally correct; None for clean.
        mean_l2: mean whole-cloud displacement; None for clean, and where points are
            added or removed.
        mean_per_point_max: mean over clouds of the longest way of a point.
        mean_iterations: mean number of the attack's steps; None without an attack.
        mean_queries: mean number of forward passes a cloud took part in while it was
            attacked, every draw counted.
        attack_seconds: time by the clock for making the clouds, the same in every row
            that shows them; None without an attack.
        attack_cpu_seconds: the same in seconds of all processors.
        seconds: time for making (once for each set of clouds) and showing the clouds.
    """

    model: str
    threat_model: str
    attack: str = "none"
    norm: str | None = None
    eps: float | None = None
    targeted: bool = False
    made_on: str | None = None
    eot_samples: int = 1
    bpda: bool = False
    random_model: bool = False
    correct: int
    n: int
    accuracy: float
    low: float
    high: float
    attack_success_rate: float | None = None
    mean_l2: float | None = None
    mean_per_point_max: float | None = None
    mean_iterations: float | None = None
    mean_queries: float | None = None
    attack_seconds: float | None = None
    attack_cpu_seconds: float | None = None
    seconds: float

    @property
    def cell(self) -> tuple[str, str, str | None, str | None]:
        """(model, threat model, attack or corruption, made on): a key of `outcomes`."""
        attack: str | None = self.attack
        if self.threat_model == "clean":
            attack = None
        elif self.threat_model == "corruption":
            attack = f"{self.attack} {self.eps:.0f}"
        return self.model, self.threat_model, attack, self.made_on


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Rows, the card they belong to, and the clouds behind them.

    Args:
        rows: one Row for each model, threat model and attack.
        card: settings, seed, versions, device, data hash, seconds and the rows; JSON.
        clouds: (attack name, name of the model attacked) -> AttackResult; not saved.
        outcomes: a row's `cell` -> a string of one "1" (named correctly) or "0" for
            each cloud, in the data set's order.
        labels: the true class of each cloud.
        class_names: in the labels' order; None where the data set has none.
    """

    rows: tuple[Row, ...]
    card: dict[str, Any]
    clouds: Mapping[tuple[str, str], AttackResult] = field(default_factory=dict)
    outcomes: Mapping[tuple, str] = field(default_factory=dict)
    labels: tuple[int, ...] = ()
    class_names: tuple[str, ...] | None = None

    def class_accuracy(self) -> dict[tuple, list[float | None]]:
        """Of each cell the accuracy on each class, by its id; None without clouds."""
        count = max(self.labels, default=-1) + 1
        if self.class_names is not None:
            count = max(count, len(self.class_names))
        found = {}
        for cell, outcome in self.outcomes.items():
            hits: list[list[bool]] = [[] for _ in range(count)]
            for label, mark in zip(self.labels, outcome, strict=True):
                hits[label].append(mark == "1")
            found[cell] = [sum(own) / len(own) if own else None for own in hits]
        return found

    def row(
        self,
        model: str,
        threat_model: str,
        attack: str | None = None,
        made_on: str | None = None,
    ) -> Row:
        """The one row that fits; what is None may be anything.

        Raises:
            ValueError: if none or several do.
        """
        found = [
            row
            for row in self.rows
            if (row.model, row.threat_model) == (model, threat_model)
            and attack in (None, row.attack)
            and made_on in (None, row.made_on)
        ]
        if len(found) != 1:
            raise ValueError(
                f"exactly one row must fit model {model!r}, threat model "
                f"{threat_model!r}, attack {attack!r}, made on {made_on!r}; found "
                f"{len(found)}. There are: "
                + "; ".join(
                    f"{r.model}, {r.threat_model}, {r.attack}, {r.made_on}"
                    for r in self.rows
                )
            )
        return found[0]

    def table(self) -> str:
        """The rows as a Markdown table, aligned so that it reads well as plain text."""
        level = self.card["config"]["level"]
        head = ["model", "threat model", "attack", "budget", "made on", "n"]
        head += ["accuracy %", f"{100 * level:g} % interval", "misled %"]
        lines = [head]
        for row in self.rows:
            rate = row.attack_success_rate
            budget = "-"
            if row.norm is not None:
                eps = "per cloud" if row.eps is None else f"{row.eps:g}"
                budget = "no bound" if row.norm == "none" else f"{row.norm} {eps}"
                budget += ", targeted" if row.targeted else ""
            how = [row.threat_model]
            how += [f"EOT {row.eot_samples}"] if row.eot_samples > 1 else []
            how += ["BPDA"] if row.bpda else []
            cells = [row.model + (" ~" if row.random_model else ""), ", ".join(how)]
            cells += [row.attack, budget, row.made_on or "-", str(row.n)]
            cells += [f"{100 * row.accuracy:.1f}"]
            cells += [f"{100 * row.low:.1f} to {100 * row.high:.1f}"]
            cells += ["-" if rate is None else f"{100 * rate:.1f}"]
            lines.append(cells)
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        lines.insert(1, ["-" * width for width in widths])
        text = "\n".join(
            "| "
            + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True))
            + " |"
            for line in lines
        )
        return "\n\n".join([text, *self.card["notes"]])

    __str__ = table

    def save(self, path: str | PathLike, overwrite: bool = False) -> None:
        """Write the result card as JSON, whole or not at all.

        Raises:
            FileExistsError: if there is one and overwrite is False.
        """
        write_json(path, self.card, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | PathLike) -> "Evaluation":
        """Read a result card; the clouds are not part of it.

        Raises:
            ValueError: if the file is no card of an evaluation.
        """
        card = read_json(path)
        names = {f.name for f in fields(Row)}
        if not isinstance(card, dict) or card.get("kind") != "evaluation":
            raise ValueError(f"{path} must hold an evaluation's card; it does not.")
        if any(set(row) != names for row in card["rows"]):
            raise ValueError(f"{path} holds rows of another version of this package.")
        rows = tuple(Row(**row) for row in card["rows"])
        outcomes, names = card["outcomes"], card["class_names"]
        return cls(
            rows=rows,
            card=card,
            outcomes={r.cell: text for r, text in zip(rows, outcomes, strict=True)},
            labels=tuple(card["labels"]),
            class_names=None if names is None else tuple(names),
        )


def notes(rows: Sequence[Row], names: Mapping[str, str]) -> list[str]:
    """What the threat models in a table mean; `names` says on what clouds were made."""
    shown = {row.threat_model for row in rows}
    for row in rows:
        alone = row.random_model and row.eot_samples == 1
        shown |= {
            key
            for key, due in (
                ("in ball", split_attack(row.attack)[1]),
                ("random", row.random_model),
                ("eot", row.eot_samples > 1),
                ("no eot", alone and row.threat_model == "adaptive"),
                ("bpda", row.bpda),
            )
            if due
        }
    return [text.format(**names) for key, text in _NOTES.items() if key in shown]


def as_text(correct: Tensor) -> str:
    """(B,) bool as one "1" or "0" for each cloud."""
    return "".join("01"[hit] for hit in correct.tolist())


def split_attack(attack: str) -> tuple[str, bool]:
    """The attack's own name, and whether its row is about the ball alone.

    Example:
        >>> split_attack("PointAutoAttack, in ball"), split_attack("PGD")
        (('PointAutoAttack', True), ('PGD', False))
    """
    return attack.removesuffix(IN_BALL), attack.endswith(IN_BALL)


def clouds_of(dataset: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Points and labels of a data set, and what the card says of them."""
    if isinstance(dataset, (tuple, list)) and len(dataset) == 2:
        points, labels = dataset
        info = {"name": "unnamed", "split": None}
    elif hasattr(dataset, "points") and hasattr(dataset, "labels"):
        points, labels = dataset.points, dataset.labels
        info = {"name": dataset.name, "split": dataset.split}
    else:
        raise ValueError(
            "dataset must be a PointDataset or a pair (points, labels); received "
            f"{type(dataset).__name__}. See mrpd_tutorial.data.load_dataset."
        )
    check_points(points)
    check_labels(labels, batch=len(points))
    info |= {"n": len(points), "num_points": points.shape[1]}
    return points, labels, info | {"hash": digest(points, labels)}
