"""Accuracy under four threat models, each with its interval, and a card to prove it.

- clean: the clouds as they are.
- static: clouds made once on the undefended model and shown to every model. What most
  tables report; an upper bound, because no attack ever saw the defense.
- adaptive: each model is attacked through itself, its defense and prompts included.
- transfer: clouds made on a surrogate of another kind, a black-box attacker.

Nothing is selected here: no checkpoint, no setting, no best of several seeds.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.attacks.victim import require_evaluation_mode
from mrpd_tutorial.bench import (
    THREAT_MODELS,
    Bench,
    Model,
    find_model,
    named_attacks,
    plan,
)
from mrpd_tutorial.checks import check_labels, check_positive
from mrpd_tutorial.fingerprint import describe
from mrpd_tutorial.result_card import (
    Evaluation,
    Row,
    clouds_of,
    describe_model,
    notes,
)
from mrpd_tutorial.runtime import environment_summary

__all__ = ["THREAT_MODELS", "Evaluation", "Row", "Setup", "evaluate", "set_up"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Setup:
    """Checked inputs of an evaluation, and the cells they allow; made by `set_up`.

    Args:
        points, labels: on the device where the work is done.
        target_labels: on the same device, or None.
        data: what a card says of the data set.
        attacks: name -> attack.
        victims: name -> model, the sources of static and transfer clouds included.
        names: "static" and "transfer" -> the victim their clouds are made on.
        cells: (model, threat model, attack, made on), in the table's order.
    """

    points: Tensor
    labels: Tensor
    target_labels: Tensor | None
    data: dict[str, Any]
    attacks: Mapping[str, Attack]
    victims: Mapping[str, Model]
    names: Mapping[str, str]
    cells: Sequence[tuple[str, str, str | None, str | None]]

    @property
    def shown(self) -> list[str]:
        """Names of the models that are judged, in the table's order."""
        return [cell[0] for cell in self.cells if cell[1] == "clean"]

    def work(self, cells: Collection[tuple]) -> int:
        """How many clouds are made or shown in these cells."""
        makings = {(cell[2], cell[3]) for cell in cells if cell[3] is not None}
        return len(self.points) * (len(cells) + len(makings))

    def bench(self, **options) -> Bench:
        """Where the cells are measured; options are Bench's others."""
        return Bench(
            points=self.points,
            labels=self.labels,
            target_labels=self.target_labels,
            victims=self.victims,
            attacks=self.attacks,
            **options,
        )


def set_up(
    models: Any,
    dataset: Any,
    attack: Any,
    *,
    undefended: Any = None,
    surrogate: Any = None,
    target_labels: Tensor | None = None,
    threat_models: Sequence[str] | None = None,
    batch_size: int = 32,
    device: str | torch.device | None = None,
) -> Setup:
    """Check what can be checked before any work; arguments as `evaluate`.

    Raises:
        ValueError: on bad input.
    """
    if not isinstance(models, Mapping) or not models:
        raise ValueError(
            "models must map at least one name to a model, as in {'student': model}; "
            f"received {models!r:.80}."
        )
    check_positive("batch_size", batch_size)
    attacks = named_attacks(attack)
    sources = {
        "static": find_model("undefended", undefended, models),
        "transfer": find_model("surrogate", surrogate, models),
    }
    cells = plan(models, attacks, sources, threat_models)
    points, labels, data = clouds_of(dataset)
    if device is not None:
        points, labels = points.to(device), labels.to(device)
    if target_labels is not None:
        check_labels(target_labels, batch=len(points), name="target_labels")
        target_labels = target_labels.to(labels.device)
    victims = dict(models) | dict(source for source in sources.values() if source)
    for model in victims.values():
        require_evaluation_mode(model)
    for one in attacks.values():
        one.budget(points)
    return Setup(
        points=points,
        labels=labels,
        target_labels=target_labels,
        data=data,
        attacks=attacks,
        victims=victims,
        names={key: source[0] for key, source in sources.items() if source},
        cells=cells,
    )


def evaluate(
    models: Any,
    dataset: Any,
    attack: Any,
    *,
    undefended: Any = None,
    surrogate: Any = None,
    target_labels: Tensor | None = None,
    threat_models: Sequence[str] | None = None,
    seed: int = 0,
    batch_size: int = 32,
    level: float = 0.95,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Evaluation:
    """Measure clean, static, adaptive and transfer accuracy of every model.

    A random model (say, behind SRS) is shown by one draw that starts at `seed`; the
    adaptive attack sees a fresh draw in every step and does not average over draws, so
    that its accuracy is an upper bound. Such rows carry a "~".

    Args:
        models: name -> `points -> logits`, each in evaluation mode.
        dataset: a PointDataset, or a pair (points (B, N, 3), labels (B,)).
        attack: an attack, or several by name, or None for clean accuracy only.
        undefended: the model for static clouds, itself or its name in models.
        surrogate: the model for transfer clouds, itself, its name in models, or
            {name: model}.
        target_labels: (B,) the classes targeted attacks aim at; None: untargeted.
        threat_models: which to measure beside clean; None: all the arguments allow.
        seed: of the attacks and of random models.
        batch_size: clouds at once.
        level: of the Wilson intervals.
        device: where the clouds are moved; None leaves them where they are.
        progress: show a progress bar.

    Returns:
        An Evaluation: rows, a card, and the attacked clouds.

    Raises:
        ValueError: on bad input, before any work starts where it can be known.

    Example:
        >>> from mrpd_tutorial.attacks import PGD
        >>> points = torch.tensor([[[0.1, 0, 0]], [[0, 0.9, 0]]])
        >>> data = (points.expand(2, 4, 3), torch.tensor([0, 1]))
        >>> models = {"mean": lambda points: points.mean(1)}
        >>> found = evaluate(models, data, PGD(eps=0.0), progress=False)
        >>> found.row("mean", "adaptive").accuracy
        1.0
    """
    started = time.perf_counter()
    setup = set_up(
        models,
        dataset,
        attack,
        undefended=undefended,
        surrogate=surrogate,
        target_labels=target_labels,
        threat_models=threat_models,
        batch_size=batch_size,
        device=device,
    )
    total = setup.work(setup.cells)
    with tqdm(total=total, unit=" clouds", disable=not progress) as bar:
        bench = setup.bench(seed=seed, batch_size=batch_size, level=level, bar=bar)
        rows = tuple(bench.row(*cell) for cell in setup.cells)

    card = {
        "kind": "evaluation",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": {
            "attacks": {name: describe(one) for name, one in setup.attacks.items()},
            "undefended": setup.names.get("static"),
            "surrogate": setup.names.get("transfer"),
            "targeted": setup.target_labels is not None,
            "batch_size": batch_size,
            "level": level,
        },
        "seed": seed,
        "data": setup.data,
        "models": {
            name: describe_model(model) for name, model in setup.victims.items()
        },
        "environment": environment_summary(),
        "device": str(setup.points.device),
        "seconds": time.perf_counter() - started,
        "rows": [asdict(row) for row in rows],
        "notes": notes(rows, setup.names),
    }
    return Evaluation(rows=rows, card=card, clouds=bench.clouds)
