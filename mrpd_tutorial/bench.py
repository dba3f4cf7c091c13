"""What evaluate and sweep share: clouds, victims, one cell of the table at a time."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.attacks.drop import RandomDrop, SaliencyDrop
from mrpd_tutorial.attacks.result import AttackResult
from mrpd_tutorial.attacks.victim import check_logits
from mrpd_tutorial.checks import check_choice
from mrpd_tutorial.corruptions import Corruption
from mrpd_tutorial.metrics import attack_success_rate, wilson_interval
from mrpd_tutorial.result_card import Row
from mrpd_tutorial.runtime import generator

__all__ = ["THREAT_MODELS", "Bench", "Model", "find_model", "named_attacks", "plan"]

THREAT_MODELS = ("clean", "static", "adaptive", "transfer")
Model = Callable[[Tensor], Tensor]


@dataclass(kw_only=True, eq=False)
class Bench:
    """The clouds, the victims, and what has been made on them so far.

    Each cell is a function of these alone, not of the cells before it or their order.
    Attacks that remove points have no target and stay untargeted beside targeted ones.

    Args:
        points, labels: (B, N, 3), (B,).
        target_labels: (B,) what targeted attacks aim at, or None.
        victims: name -> model, those shown and those attacked.
        attacks: name -> attack.
        seed: of the attacks and of random models.
        batch_size: clouds at once.
        level: of the Wilson intervals.
        bar: progress in clouds.
        corruptions: name -> corruption; each has its own seed.
        mislabelled: attack -> (B,) the labels it is told in place of the true ones, as
            MRPD's release does with Drop; such an attack has no target.
    """

    points: Tensor
    labels: Tensor
    target_labels: Tensor | None
    victims: Mapping[str, Model]
    attacks: Mapping[str, Attack]
    seed: int
    batch_size: int
    level: float
    bar: tqdm
    corruptions: Mapping[str, Corruption] = field(default_factory=dict)
    mislabelled: Mapping[str, Tensor] = field(default_factory=dict)
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
        labels, targets = self.goal(attack_name)
        for start in range(0, len(self.points), self.batch_size):
            part = slice(start, start + self.batch_size)
            aims = None if targets is None else targets[part]
            own = attack
            if isinstance(attack.eps, tuple):
                own = replace(attack, eps=attack.eps[part])
            results.append(own(model, self.points[part], labels[part], aims, source))
            self.bar.update(len(self.points[part]))
        result = AttackResult.concatenate(results)
        self.clouds[attack_name, victim] = result
        return result

    def goal(self, attack: str) -> tuple[Tensor, Tensor | None]:
        """The labels an attack is told, and its targets."""
        if attack in self.mislabelled:
            return self.mislabelled[attack], None
        if isinstance(self.attacks[attack], (RandomDrop, SaliencyDrop)):
            return self.labels, None
        return self.labels, self.target_labels

    def clean_correct(self, model: str) -> Tensor:
        """(B,) which clean clouds the model names correctly; asked once."""
        if model not in self.correct_before:
            if self.bar.total is not None:
                self.bar.total += len(self.points)
            self.correct_before[model] = self.correct(model, self.points)
        return self.correct_before[model]

    def row(
        self, model: str, threat_model: str, attack: str | None, made_on: str | None
    ) -> Row:
        """Make the clouds if need be, show them to the model, and count."""
        return self.measure(model, threat_model, attack, made_on)[0]

    def measure(
        self, model: str, threat_model: str, attack: str | None, made_on: str | None
    ) -> tuple[Row, Tensor]:
        """The row, and (B,) which clouds the model names correctly.

        Args:
            model: name of the victim that is judged.
            threat_model: one of THREAT_MODELS, or "corruption".
            attack: name of the attack or the corruption; None for clean clouds.
            made_on: name of the victim that is attacked; None without an attack.
        """
        self.bar.set_description(f"{model}: {threat_model}")
        clock = time.perf_counter()
        details: dict[str, Any] = {}
        if threat_model == "corruption":
            corruption = self.corruptions[attack]
            correct = self.correct(model, corruption(self.points))
            details = {
                "attack": corruption.title,
                "norm": "severity",
                "eps": float(corruption.severity),
            }
        elif attack is None:
            correct = self.correct(model, self.points)
            self.correct_before[model] = correct
        else:
            result = self.make(attack, made_on)
            correct = self.correct(model, result.points)
            details = {"attack": attack, "made_on": made_on} | self._budget(attack)
            moved = {
                "mean_l2": float(result.l2.double().mean()),
                "mean_per_point_max": float(result.per_point_max.double().mean()),
            }
            # NaN where points were added or removed: no displacement to speak of.
            details |= {k: v if v == v else None for k, v in moved.items()}
        if details:
            before = self.clean_correct(model)
            details["attack_success_rate"] = attack_success_rate(before, correct)
        hits, n = int(correct.sum()), len(correct)
        low, high = wilson_interval(hits, n, self.level)
        row = Row(
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
        return row, correct

    def _budget(self, name: str) -> dict[str, Any]:
        attack = self.attacks[name]
        unbounded = attack.eps == math.inf
        return {
            "norm": "none" if unbounded else attack.norm,
            "eps": None if unbounded or isinstance(attack.eps, tuple) else attack.eps,
            "targeted": self.goal(name)[1] is not None,
        }


def find_model(
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


def named_attacks(attack: Any) -> dict[str, Attack]:
    """One attack under its class's name, several under theirs, or none."""
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


def plan(
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
