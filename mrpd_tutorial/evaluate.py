"""Accuracy under four threat models, each with its interval, and a card to prove it.

- clean: the clouds as they are.
- static: clouds made once on the undefended model and shown to every model. What most
  tables report; an upper bound, because no attack ever saw the defense.
- adaptive: each model is attacked through itself, its defense and prompts included.
- transfer: clouds made on a surrogate of another kind, a black-box attacker.

Nothing is selected here: no checkpoint, no setting, no best of several seeds.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mrpd_tutorial.bench_setup import THREAT_MODELS, Setup, set_up
from mrpd_tutorial.fingerprint import describe, describe_model
from mrpd_tutorial.protocol import Protocol
from mrpd_tutorial.result_card import Evaluation, Row, as_text, notes
from mrpd_tutorial.runtime import environment_summary

__all__ = ["THREAT_MODELS", "Evaluation", "Row", "Setup", "evaluate", "set_up"]


def evaluate(
    models: Any,
    dataset: Any,
    attack: Any = None,
    corruptions: Any = (),
    *,
    undefended: Any = None,
    surrogate: Any = None,
    target_labels: Tensor | None = None,
    threat_models: Sequence[str] | None = None,
    protocol: str | Protocol | None = None,
    seed: int = 0,
    batch_size: int = 32,
    eot_samples: int = 8,
    level: float = 0.95,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Evaluation:
    """Measure clean, static, adaptive and transfer accuracy of every model.

    Attacks see what an attacker would: a random model (say, behind SRS) averaged over
    `eot_samples` draws at each step (EOT), a defense that passes no gradient through
    BPDA; other models as they are. (Query attacks see one draw a query: their budget
    counts every call.) Attacked clouds are then shown once, a random model
    by draws that begin at `seed` and that no attack has seen. Its rows carry a "~".

    PointAutoAttack has two adaptive rows: its worst case over all members, those that
    add or drop points included, and "PointAutoAttack, in ball". Other models are shown
    its clouds in the ball alone. Its draws are its own setting, `samples`.

    Args:
        models: name -> `points -> logits`, each in evaluation mode.
        dataset: a PointDataset, or a pair (points (B, N, 3), labels (B,)).
        attack: an attack, or several by name; None: those of the protocol, or clean
            accuracy only.
        corruptions: such as [Rotation(severity=3)], each with its own seed.
        undefended: the model for static clouds, itself or its name in models.
        surrogate: the model for transfer clouds, itself, its name in models, or
            {name: model}; several by name make a matrix of transfer.
        target_labels: (B,) the classes targeted attacks aim at; None: untargeted.
        threat_models: which to measure beside clean; None: the protocol's, or all that
            the arguments allow.
        protocol: "paper", "released" or a Protocol: gives attacks, targets and threat
            models where they are not given, and the label that Drop is told. Put
            Defended(model, protocol.sor) among the models by hand.
        seed: of the attacks, of random models and random targets.
        batch_size: clouds at once.
        eot_samples: draws of a random model that each step of an attack averages over;
            its cost grows with them. 1: none are averaged, each step sees one draw.
        level: of the Wilson intervals.
        device: where the clouds are moved; None leaves them where they are.
        progress: show a progress bar.

    Returns:
        An Evaluation: rows, a card, which clouds were named correctly, and the attacked
        clouds.

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
        corruptions,
        undefended=undefended,
        surrogate=surrogate,
        target_labels=target_labels,
        threat_models=threat_models,
        protocol=protocol,
        seed=seed,
        batch_size=batch_size,
        eot_samples=eot_samples,
        device=device,
    )
    total = setup.work(setup.cells)
    with tqdm(total=total, unit=" clouds", disable=not progress) as bar:
        bench = setup.bench(level=level, bar=bar)
        measured = [bench.measure(*cell) for cell in setup.cells]
    rows = tuple(row for row, _ in measured)
    outcomes = {row.cell: as_text(correct) for row, correct in measured}
    labels = tuple(setup.labels.tolist())

    card = {
        "kind": "evaluation",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": {
            "attacks": {name: describe(one) for name, one in setup.attacks.items()},
            "corruptions": {k: describe(one) for k, one in setup.corruptions.items()},
            "protocol": describe(setup.protocol),
            "undefended": setup.names.get("static"),
            "surrogate": setup.names.get("transfer"),
            "targeted": setup.target_labels is not None,
            "batch_size": batch_size,
            "eot_samples": eot_samples,
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
        "outcomes": list(outcomes.values()),
        "labels": list(labels),
        "class_names": setup.class_names and list(setup.class_names),
        "notes": notes(rows, setup.names),
    }
    return Evaluation(
        rows=rows,
        card=card,
        clouds=bench.clouds,
        outcomes=outcomes,
        labels=labels,
        class_names=setup.class_names,
    )
