"""Accuracy over the budget, and from model to model: the rows behind two figures.

`plotting.robustness_figure` and `plotting.transfer_figure` draw them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from tqdm import tqdm

from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.evaluate import evaluate, set_up
from mrpd_tutorial.result_card import Row

__all__ = ["robustness_curve", "transfer_matrix"]


def robustness_curve(
    models: Any,
    points: Tensor,
    labels: Tensor,
    attack: Any,
    eps: Any,
    *,
    made_on: str | None = None,
    seed: int = 0,
    batch_size: int = 32,
    level: float = 0.95,
    progress: bool = False,
) -> tuple[Row, ...]:
    """Accuracy of each model under one attack, budget by budget.

    Adaptive by default: every model is attacked through itself, at every budget, with
    the same seed. Nothing else changes with the budget: a step_size of None grows with
    it (PGD and its like), one that was given does not. A cloud misled within a small
    budget may withstand a larger one; where accuracy rises with the budget, the attack
    is too weak to say anything (Carlini et al. 2019 [arXiv 1902.06705], section 4.4).

    Args:
        models: name -> `points -> logits`, each in evaluation mode; or one such model,
            which is then called "model".
        points: (B, N, 3).
        labels: (B,) true classes.
        attack: untargeted, with a budget in any norm; its own eps is not used.
        eps: budgets in the attack's norm; in points where that is "count". 0 is not
            needed: clean accuracy is always measured.
        made_on: None for adaptive; the name of one of models for static, all clouds
            made on that model and shown to every one.
        seed, batch_size, level, progress: as `evaluate`.

    Returns:
        For each model its clean row, then one row a budget, ascending.

    Raises:
        ValueError: on budgets that are no positive numbers, an attack without a budget,
            and what `evaluate` raises.

    Example:
        >>> import torch
        >>> from mrpd_tutorial.attacks import FGM
        >>> points = torch.tensor([[[0.3, 0, 0]], [[0, 0.9, 0]]]).expand(2, 4, 3)
        >>> model = lambda points: points.mean(1)
        >>> attack = FGM(eps=0.1, norm="per_point")
        >>> labels = torch.tensor([0, 1])
        >>> rows = robustness_curve(model, points, labels, attack, [0.1, 0.4, 0.8])
        >>> [row.accuracy for row in rows]
        [1.0, 1.0, 0.5, 0.0]
    """
    _check_attack(attack)
    budgets = _budgets(eps)
    if attack.norm == "none":
        raise ValueError(
            f"attack must have a budget; {type(attack).__name__} looks for a small "
            "change by itself. Take one with a norm (PGD, APGD, FAB), or compare the "
            "distances of its result."
        )
    models = _named(models)
    try:
        attacks = {f"{value:g}": replace(attack, eps=value) for value in budgets}
    except ValueError as error:
        raise ValueError(
            f"attack must take each of these budgets as its eps: {error}"
        ) from error
    found = evaluate(
        models,
        (points, labels),
        attacks,
        undefended=made_on,
        threat_models=["adaptive" if made_on is None else "static"],
        seed=seed,
        batch_size=batch_size,
        level=level,
        progress=progress,
    )
    rows = [row for row in found.rows if row.threat_model == "clean"]
    rows += [
        replace(row, attack=type(attack).__name__)
        for row in found.rows
        if row.threat_model != "clean"
    ]
    order = list(models)
    return tuple(sorted(rows, key=lambda r: (order.index(r.model), r.eps or 0.0)))


def transfer_matrix(
    models: Mapping[str, Any],
    points: Tensor,
    labels: Tensor,
    attack: Any,
    *,
    made_on: Sequence[str] | None = None,
    seed: int = 0,
    batch_size: int = 32,
    level: float = 0.95,
    progress: bool = False,
) -> tuple[Row, ...]:
    """Accuracy of each model on clouds made on each model.

    Clouds are made once on each source and shown to all models: to the source itself
    (adaptive), to the others (transfer). Give the attack the criterion "confidence":
    clouds that just cross one model's boundary rarely cross another's.

    Args:
        models: name -> `points -> logits`, each in evaluation mode.
        points: (B, N, 3).
        labels: (B,) true classes.
        attack: untargeted.
        made_on: names of the models that are attacked; None: all. Models that pass no
            gradient can be shown clouds, and be attacked by query attacks only.
        seed, batch_size, level, progress: as `evaluate`.

    Returns:
        A clean row for each model, then for each source a row for each model.

    Raises:
        ValueError: on names that are not in models, or none; on what is no attack; and
            what `evaluate` raises.
    """
    _check_attack(attack)
    setup = set_up(
        models,
        (points, labels),
        attack,
        threat_models=["adaptive"],
        seed=seed,
        batch_size=batch_size,
    )
    sources = list(models) if made_on is None else list(made_on)
    unknown = [name for name in sources if name not in models]
    if unknown or not sources:
        raise ValueError(
            f"made_on must hold names of models, of which there are {list(models)}; "
            f"received {unknown or 'none'}."
        )
    (name,) = setup.attacks
    work = len(points) * (len(models) + len(sources) * (len(models) + 1))
    with tqdm(total=work, unit=" clouds", disable=not progress) as bar:
        bench = setup.bench(level=level, bar=bar)
        rows = [bench.measure(model, "clean", None, None)[0] for model in models]
        for source in sources:
            for model in models:
                threat_model = "adaptive" if model == source else "transfer"
                row, _ = bench.measure(model, threat_model, name, source)
                rows.append(row)
    return tuple(rows)


def _check_attack(attack: Any) -> None:
    if not isinstance(attack, Attack):
        raise ValueError(
            "attack must be one attack, such as PGD.quick(); received "
            f"{type(attack).__name__}."
        )


def _named(models: Any) -> Any:
    if callable(models) and not isinstance(models, Mapping):
        return {"model": models}
    return models


def _budgets(eps: Any) -> list[float]:
    try:
        values = sorted({float(value) for value in eps} - {0.0})
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"eps must be a list of budgets, as in [0.01, 0.02]; received {eps!r:.80}."
        ) from error
    if not values or not all(0 < value < math.inf for value in values):
        raise ValueError(
            "eps must hold at least one budget above 0, and finite ones only; received "
            f"{eps!r:.80}."
        )
    return values
