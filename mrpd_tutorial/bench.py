"""What evaluate and sweep share: clouds, victims, one cell of the table at a time."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mrpd_tutorial.attacks.auto_attack import AutoAttackResult, PointAutoAttack
from mrpd_tutorial.attacks.base import Attack
from mrpd_tutorial.attacks.bpda import around, is_masked
from mrpd_tutorial.attacks.drop import RandomDrop, SaliencyDrop
from mrpd_tutorial.attacks.eot import EOT, is_random
from mrpd_tutorial.attacks.result import AttackResult
from mrpd_tutorial.attacks.victim import check_logits
from mrpd_tutorial.corruptions import Corruption
from mrpd_tutorial.metrics import attack_success_rate, wilson_interval
from mrpd_tutorial.result_card import Row, split_attack
from mrpd_tutorial.runtime import generator

__all__ = ["Bench", "Making", "Model"]

Model = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Making:
    """How a set of attacked clouds was made.

    Args:
        eot_samples: draws that the attack averaged over; 1: none.
        bpda: whether it went through a defense without a gradient by BPDA.
        attack_seconds, attack_cpu_seconds: by the clock, and of all threads.
        mean_iterations, mean_queries: over clouds; draws count as queries.
    """

    eot_samples: int
    bpda: bool
    attack_seconds: float
    attack_cpu_seconds: float
    mean_iterations: float
    mean_queries: float


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
        eot_samples: draws that attacks on random models average over.
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
    eot_samples: int = 8
    corruptions: Mapping[str, Corruption] = field(default_factory=dict)
    mislabelled: Mapping[str, Tensor] = field(default_factory=dict)
    clouds: dict[tuple[str, str], AttackResult] = field(default_factory=dict)
    makings: dict[tuple[str, str], Making] = field(default_factory=dict)
    correct_before: dict[str, Tensor] = field(default_factory=dict)
    _random: dict[str, bool] = field(default_factory=dict)

    def is_random(self, name: str) -> bool:
        """Whether a victim says that it is random, or answers twice differently."""
        if name not in self._random:
            with self._forked():
                self._random[name] = is_random(self.victims[name], self.points)
        return self._random[name]

    def _forked(self) -> contextlib.AbstractContextManager:
        devices = [self.points.device] if self.points.is_cuda else []
        return torch.random.fork_rng(devices=devices)

    @contextlib.contextmanager
    def _drawing(self, name: str, seed: int) -> Iterator[Model]:
        """The model, its random draws (if any) begun anew, so that rows repeat."""
        model, random = self.victims[name], self.is_random(name)
        with self._forked():
            if random:
                torch.manual_seed(seed)
                if hasattr(model, "reset"):
                    model.reset(seed)
            yield model

    def correct(self, name: str, points: Tensor, index: Tensor | None = None) -> Tensor:
        """(b,) which clouds (b, M, 3) the model names correctly.

        Args:
            name: of the victim.
            points: the clouds.
            index: (b,) which of the data set they are; None: all, in order.
        """
        labels, found = self.labels if index is None else self.labels[index], []
        with self._drawing(name, self.seed) as model, torch.no_grad():
            for start in range(0, len(points), self.batch_size):
                part = slice(start, start + self.batch_size)
                logits = model(points[part])
                check_logits(logits, labels[part])
                found.append(logits.argmax(1) == labels[part])
                self.bar.update(len(found[-1]))
        return torch.cat(found)

    def seen(self, attack: Attack, name: str) -> tuple[Model, int, bool]:
        """The victim as an attack climbs it, over how many draws, and whether by BPDA.

        A model that is neither random nor behind a defense that masks its gradient is
        attacked as it is.
        """
        model, random = self.victims[name], self.is_random(name)
        with self._forked():
            masked = is_masked(model, self.points[:2])
        if isinstance(attack, PointAutoAttack) and not isinstance(model, EOT):
            return model, attack.samples if random else 1, masked  # wraps it itself
        # Not the draws by which the clouds are judged: an attacker cannot know those.
        samples, seed = self.eot_samples, self.seed + 1
        # Query attacks are promised their budget: every draw would count.
        averaged = random and samples > 1 and not hasattr(attack, "max_queries")
        if masked:
            model = around(model)
        if averaged and not isinstance(model, EOT):
            model = EOT(model, samples, seed=seed)
        return model, model.samples if isinstance(model, EOT) else 1, masked

    def make(self, attack_name: str, victim: str) -> AttackResult:
        """Attack the victim, once; in parts, which one generator makes one attack."""
        if (attack_name, victim) in self.clouds:
            return self.clouds[attack_name, victim]
        attack = self.attacks[attack_name]
        source, results = generator(self.seed), []
        labels, targets = self.goal(attack_name)
        model, draws, bpda = self.seen(attack, victim)
        words = f", EOT {draws}" if draws > 1 else ""
        self.bar.set_description(f"{victim}: {attack_name}{words}")
        clocks = time.perf_counter(), time.process_time()
        with self._drawing(victim, self.seed + 1):
            for start in range(0, len(self.points), self.batch_size):
                part = slice(start, start + self.batch_size)
                aims = None if targets is None else targets[part]
                own = attack
                if draws > 1:  # all draws are in memory at once
                    own = replace(own, batch_size=max(1, attack.batch_size // draws))
                if isinstance(attack.eps, tuple):
                    own = replace(own, eps=attack.eps[part])
                found = own(model, self.points[part], labels[part], aims, source)
                results.append(found)
                self.bar.update(len(self.points[part]))
        result = type(results[0]).concatenate(results)
        self.clouds[attack_name, victim] = result
        self.makings[attack_name, victim] = Making(
            eot_samples=draws,
            bpda=bpda,
            attack_seconds=time.perf_counter() - clocks[0],
            attack_cpu_seconds=time.process_time() - clocks[1],
            mean_iterations=float(result.iterations.double().mean()),
            mean_queries=draws * float(result.queries.double().mean()),
        )
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
            self._extra(len(self.points))
            self.correct_before[model] = self.correct(model, self.points)
        return self.correct_before[model]

    def _extra(self, count: int) -> None:
        if self.bar.total is not None:
            self.bar.total += count

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
            attack: name of the attack (with ", in ball" for that part of
                PointAutoAttack) or the corruption; None for clean clouds.
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
            correct, details = self._attacked(model, attack, made_on)
            details |= {"attack": attack, "made_on": made_on}
        if details:
            before = self.clean_correct(model)
            details["attack_success_rate"] = attack_success_rate(before, correct)
        hits, n = int(correct.sum()), len(correct)
        low, high = wilson_interval(hits, n, self.level)
        row = Row(
            model=model,
            threat_model=threat_model,
            random_model=self.is_random(model),
            correct=hits,
            n=n,
            accuracy=hits / n,
            low=low,
            high=high,
            seconds=time.perf_counter() - clock,
            **details,
        )
        return row, correct

    def _attacked(
        self, model: str, attack: str, made_on: str
    ) -> tuple[Tensor, dict[str, Any]]:
        """(B,) which attacked clouds the model names correctly; the row's details."""
        name, in_ball = split_attack(attack)
        result = self.make(name, made_on)
        details = self._budget(name) | vars(self.makings[name, made_on])
        moved = {
            "mean_l2": float(result.l2.double().mean()),
            "mean_per_point_max": float(result.per_point_max.double().mean()),
        }
        correct = self.correct(model, result.points)
        if isinstance(result, AutoAttackResult) and not in_ball:
            # Clouds with points added or dropped are shown as they are, once, like all.
            for index, points in result.outside_ball():
                self._extra(len(index))
                correct[index] = self.correct(model, points, index)
            if result.outside:
                moved = {}
        return correct, details | {k: v for k, v in moved.items() if v == v}

    def _budget(self, name: str) -> dict[str, Any]:
        attack = self.attacks[name]
        unbounded = attack.eps == math.inf
        return {
            "norm": "none" if unbounded else attack.norm,
            "eps": None if unbounded or isinstance(attack.eps, tuple) else attack.eps,
            "targeted": self.goal(name)[1] is not None,
        }
