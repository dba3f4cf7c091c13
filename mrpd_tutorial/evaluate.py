"""Accuracy under four threat models, each with its interval, and a card to prove it.

- clean: the clouds as they are.
- static: clouds made once on the undefended model and shown to every model. What most
  tables report; an upper bound, because no attack ever saw the defense.
- adaptive: each model is attacked through itself, its defense and prompts included.
- transfer: clouds made on a surrogate of another kind, a black-box attacker.

Nothing is selected here: no checkpoint, no setting, no best of several seeds.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.attacks.result import AttackResult
from mrpd_tutorial.attacks.victim import check_logits, require_evaluation_mode
from mrpd_tutorial.checks import check_choice, check_labels, check_positive
from mrpd_tutorial.metrics import attack_success_rate, wilson_interval
from mrpd_tutorial.result_card import (
    Evaluation,
    Row,
    clouds_of,
    describe_model,
    notes,
)
from mrpd_tutorial.runtime import environment_summary, generator

__all__ = ["THREAT_MODELS", "Evaluation", "Row", "evaluate"]

THREAT_MODELS = ("clean", "static", "adaptive", "transfer")
Model = Callable[[Tensor], Tensor]


@dataclass(kw_only=True, eq=False)
class _Bench:
    """The clouds, the victims, and what has been made on them so far."""

    points: Tensor
    labels: Tensor
    target_labels: Tensor | None
    victims: Mapping[str, Model]
    attacks: Mapping[str, Attack]
    seed: int
    batch_size: int
    level: float
    bar: tqdm
    clouds: dict[tuple[str, str], AttackResult] = field(default_factory=dict)
    correct_before: dict[str, Tensor] = field(default_factory=dict)

    def _restart(self, name: str, seed: int) -> Model:
        """The model, its random draws (if any) set back, so that rows repeat."""
        model = self.victims[name]
        if getattr(model, "is_random", False):
            model.reset(seed)
        return model

    def correct(self, name: str, points: Tensor) -> Tensor:
        """(B,) which clouds the model names correctly."""
        model, found = self._restart(name, self.seed), []
        with torch.no_grad():
            for start in range(0, len(points), self.batch_size):
                part = slice(start, start + self.batch_size)
                logits = model(points[part])
                check_logits(logits, self.labels[part])
                found.append(logits.argmax(1) == self.labels[part])
                self.bar.update(len(found[-1]))
        return torch.cat(found)

    def make(self, attack_name: str, victim: str) -> AttackResult:
        """Attack the victim, once; in parts, which one generator makes one attack."""
        if (attack_name, victim) in self.clouds:
            return self.clouds[attack_name, victim]
        attack = self.attacks[attack_name]
        # Not the draws by which the clouds are judged: an attacker cannot know those.
        model = self._restart(victim, self.seed + 1)
        source, results = generator(self.seed), []
        for start in range(0, len(self.points), self.batch_size):
            part = slice(start, start + self.batch_size)
            aims = None if self.target_labels is None else self.target_labels[part]
            own = attack
            if isinstance(attack.eps, tuple):
                own = replace(attack, eps=attack.eps[part])
            results.append(
                own(model, self.points[part], self.labels[part], aims, source)
            )
            self.bar.update(len(self.points[part]))
        result = AttackResult.concatenate(results)
        self.clouds[attack_name, victim] = result
        return result

    def row(
        self, model: str, threat_model: str, attack: str | None, made_on: str | None
    ) -> Row:
        """Make the clouds if need be, show them to the model, and count."""
        self.bar.set_description(f"{model}: {threat_model}")
        clock = time.perf_counter()
        details: dict[str, Any] = {}
        if attack is None:
            correct = self.correct(model, self.points)
            self.correct_before[model] = correct
        else:
            result = self.make(attack, made_on)
            correct = self.correct(model, result.points)
            budget = self.attacks[attack]
            moved = {
                "mean_l2": float(result.l2.double().mean()),
                "mean_per_point_max": float(result.per_point_max.double().mean()),
            }
            details = {
                "attack": attack,
                "norm": budget.norm,
                "eps": None if isinstance(budget.eps, tuple) else budget.eps,
                "targeted": self.target_labels is not None,
                "made_on": made_on,
                "attack_success_rate": attack_success_rate(
                    self.correct_before[model], correct
                ),
                # NaN where points were added or removed: no displacement to speak of.
                **{k: v if v == v else None for k, v in moved.items()},
            }
        hits, n = int(correct.sum()), len(correct)
        low, high = wilson_interval(hits, n, self.level)
        return Row(
            model=model,
            threat_model=threat_model,
            random_model=bool(getattr(self.victims[model], "is_random", False)),
            correct=hits,
            n=n,
            accuracy=hits / n,
            low=low,
            high=high,
            seconds=time.perf_counter() - clock,
            **details,
        )


def _find(
    name: str, chosen: Any, models: Mapping[str, Model]
) -> tuple[str, Model] | None:
    """Name and model of `undefended` or `surrogate`, given as either or both."""
    if chosen is None:
        return None
    if isinstance(chosen, Mapping):
        if len(chosen) != 1 or not all(map(callable, chosen.values())):
            raise ValueError(
                f"{name} must be one model, as in {{'point teacher': model}}; received "
                f"{chosen!r:.80}."
            )
        ((own_name, model),) = chosen.items()
        if models.get(own_name, model) is not model:
            raise ValueError(
                f"{name} must be the model that models calls {own_name!r}; received "
                "another one. Rename one of the two."
            )
        return own_name, model
    if isinstance(chosen, str):
        check_choice(name, chosen, tuple(models))
        return chosen, models[chosen]
    if not callable(chosen):
        raise ValueError(
            f"{name} must be a model or the name of one of models; received "
            f"{type(chosen).__name__}."
        )
    known = [key for key, model in models.items() if model is chosen]
    if not known and name in models:
        raise ValueError(
            f"{name} must be the model that models calls {name!r}; received another "
            "one. Rename one of the two."
        )
    return (known[0] if known else name), chosen


def _attacks(attack: Any) -> dict[str, Attack]:
    named = {type(attack).__name__: attack} if isinstance(attack, Attack) else attack
    if named is not None and not isinstance(named, Mapping):
        named = {"attack": named}
    for name, one in (named or {}).items():
        if not isinstance(one, Attack):
            raise ValueError(
                "attack must be an Attack, or map names to Attacks; received "
                f"{type(one).__name__} for {name!r}. Try PGD.quick()."
            )
    return dict(named or {})


def _plan(
    models: Mapping[str, Model],
    attacks: Mapping[str, Attack],
    sources: Mapping[str, tuple[str, Model] | None],
    threat_models: Sequence[str] | None,
) -> list[tuple[str, str, str | None, str | None]]:
    """All cells: model, threat model, attack, model the clouds are made on."""
    possible = ["clean"]
    if attacks:
        possible += [t for t in THREAT_MODELS[1:] if t == "adaptive" or sources[t]]
    wanted = set(possible if threat_models is None else threat_models)
    for threat_model in wanted:
        check_choice("threat_models", threat_model, THREAT_MODELS)
        if threat_model not in possible:
            raise ValueError(
                f"threat_models must be among {', '.join(possible)} with what was "
                f"given; received {threat_model!r}. Pass an attack, and undefended= "
                "for static or surrogate= for transfer."
            )
    # Clean comes first, always: without it there is no attack success rate.
    cells: list[tuple[str, str, str | None, str | None]]
    cells = [(name, "clean", None, None) for name in models]
    for threat_model in (t for t in THREAT_MODELS[1:] if t in wanted):
        for attack in attacks:
            for name in models:
                source = sources.get(threat_model)
                made_on = source[0] if source else name
                if threat_model == "transfer" and made_on == name:
                    continue  # shown to its own surrogate, nothing transfers
                cells.append((name, threat_model, attack, made_on))
    return cells


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
    if not isinstance(models, Mapping) or not models:
        raise ValueError(
            "models must map at least one name to a model, as in {'student': model}; "
            f"received {models!r:.80}."
        )
    check_positive("batch_size", batch_size)
    attacks = _attacks(attack)
    sources = {
        "static": _find("undefended", undefended, models),
        "transfer": _find("surrogate", surrogate, models),
    }
    cells = _plan(models, attacks, sources, threat_models)
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

    makings = {(cell[2], cell[3]) for cell in cells if cell[2] is not None}
    total = len(points) * (len(cells) + len(makings))
    with tqdm(total=total, unit=" clouds", disable=not progress) as bar:
        bench = _Bench(
            points=points,
            labels=labels,
            target_labels=target_labels,
            victims=victims,
            attacks=attacks,
            seed=seed,
            batch_size=batch_size,
            level=level,
            bar=bar,
        )
        rows = tuple(bench.row(*cell) for cell in cells)

    names = {key: source[0] for key, source in sources.items() if source}
    card = {
        "kind": "evaluation",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": {
            "attacks": {
                name: {"class": type(one).__name__} | asdict(one)
                for name, one in attacks.items()
            },
            "undefended": names.get("static"),
            "surrogate": names.get("transfer"),
            "targeted": target_labels is not None,
            "batch_size": batch_size,
            "level": level,
        },
        "seed": seed,
        "data": data,
        "models": {name: describe_model(model) for name, model in victims.items()},
        "environment": environment_summary(),
        "device": str(points.device),
        "seconds": time.perf_counter() - started,
        "rows": [asdict(row) for row in rows],
        "notes": notes(rows, names),
    }
    return Evaluation(rows=rows, card=card, clouds=bench.clouds)
