"""The rows of an evaluation, as a table to read and as a card to keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from os import PathLike
from typing import Any

from torch import Tensor, nn

from mrpd_tutorial.attacks.result import AttackResult
from mrpd_tutorial.checks import check_labels, check_points
from mrpd_tutorial.runtime import digest, read_json, write_json

__all__ = ["Evaluation", "Row", "clouds_of", "describe_model", "notes"]

_NOTES = {
    "clean": "clean: the clouds as they are.",
    "static": "static: clouds made once on {static}, which knows no defense; an upper "
    "bound of the accuracy under attack.",
    "adaptive": "adaptive: each model attacked through itself, defense included.",
    "transfer": "transfer: clouds made on {transfer}, a model of the attacker's own.",
    "corruption": "corruption: clouds damaged without an attacker; five severities.",
    "random": "~ answers differ from call to call; one draw is shown, and the adaptive "
    "attack does not average over draws: an upper bound.",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell of the table: a model under a threat model.

    Args:
        model: its name.
        threat_model: "clean", "static", "adaptive", "transfer" or "corruption".
        attack: the attack's name, or the corruption's title; "none" for clean.
        norm: the norm of its budget; "none" without a bound, "severity" for a
            corruption, None for clean.
        eps: its budget; None for clean, and where every cloud had its own.
        targeted: whether it aimed at given classes.
        made_on: the model the clouds were made on; None for clean.
        random_model: whether the model answers differently each time (one draw shown).
        correct: clouds classified correctly.
        n: clouds shown.
        accuracy: correct / n.
        low: lower end of the Wilson interval of the accuracy.
        high: upper end.
        attack_success_rate: misled / originally correct; None for clean.
        mean_l2: mean whole-cloud displacement; None for clean.
        mean_per_point_max: mean over clouds of the longest way of a point.
        seconds: time for making (once for each set of clouds) and showing the clouds.
    """

    model: str
    threat_model: str
    attack: str = "none"
    norm: str | None = None
    eps: float | None = None
    targeted: bool = False
    made_on: str | None = None
    random_model: bool = False
    correct: int
    n: int
    accuracy: float
    low: float
    high: float
    attack_success_rate: float | None = None
    mean_l2: float | None = None
    mean_per_point_max: float | None = None
    seconds: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Rows, the card they belong to, and the clouds behind them.

    Args:
        rows: one Row for each model, threat model and attack.
        card: settings, seed, versions, device, data hash, seconds and the rows; JSON.
        clouds: (attack name, name of the model attacked) -> AttackResult; not saved.
    """

    rows: tuple[Row, ...]
    card: dict[str, Any]
    clouds: Mapping[tuple[str, str], AttackResult] = field(default_factory=dict)

    def row(self, model: str, threat_model: str, attack: str | None = None) -> Row:
        """The one row that fits.

        Raises:
            ValueError: if none or several do.
        """
        found = [
            row
            for row in self.rows
            if (row.model, row.threat_model) == (model, threat_model)
            and attack in (None, row.attack)
        ]
        if len(found) != 1:
            raise ValueError(
                f"exactly one row must fit model {model!r}, threat model "
                f"{threat_model!r}, attack {attack!r}; found {len(found)}. There are: "
                + "; ".join(
                    f"{r.model}, {r.threat_model}, {r.attack}" for r in self.rows
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
            cells = [row.model + (" ~" if row.random_model else ""), row.threat_model]
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
        return cls(rows=tuple(Row(**row) for row in card["rows"]), card=card)


def notes(rows: Sequence[Row], names: Mapping[str, str]) -> list[str]:
    """What the threat models in a table mean; `names` says on what clouds were made."""
    shown = {row.threat_model for row in rows}
    if any(row.random_model for row in rows):
        shown.add("random")
    return [text.format(**names) for key, text in _NOTES.items() if key in shown]


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


def describe_model(model: Any) -> dict[str, Any]:
    """What a card says of a model: enough to recognise the same one."""
    info: dict[str, Any] = {
        "type": getattr(model, "__name__", type(model).__name__),
        "is_random": bool(getattr(model, "is_random", False)),
    }
    if hasattr(model, "defense"):
        info["defense"] = repr(model.defense)
    if isinstance(model, nn.Module):
        state = [(k, v) for k, v in sorted(model.state_dict().items())]
        tensors = [(k, v) for k, v in state if isinstance(v, Tensor)]
        info["parameters"] = sum(p.numel() for p in model.parameters())
        info["weights_hash"] = digest([k for k, _ in tensors], *(v for _, v in tensors))
    return info
