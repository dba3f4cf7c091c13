"""The loop over epochs, and the state that outlives a kill."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from mrpd_tutorial.attacks import random_target_labels
from mrpd_tutorial.distill.average import MovingAverage
from mrpd_tutorial.distill.config import DistillConfig
from mrpd_tutorial.distill.features import Features, seed_of
from mrpd_tutorial.distill.folder import RunFolder, optimizer_state, restore
from mrpd_tutorial.distill.hardened import HardenedStudent
from mrpd_tutorial.distill.objective import Objective
from mrpd_tutorial.runtime import generator
from mrpd_tutorial.zoo import Lab

__all__ = ["Training", "draw_batches", "in_order", "learning_rate"]


class Training:
    """The loop over epochs, and the state that outlives a kill."""

    def __init__(
        self,
        lab: Lab,
        class_names: tuple[str, ...],
        config: DistillConfig,
        folder: RunFolder | None,
    ) -> None:
        self.lab, self.config, self.folder = lab, config, folder
        self.class_names = class_names
        self.objective = Objective(lab, class_names, config)
        self.optimizer = torch.optim.AdamW(
            self.objective.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        self.average = MovingAverage(self.objective, config.average)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0
        self.undefended: dict[str, float] = {}
        saved = folder.checkpoint() if folder is not None else None
        if saved is not None:
            self._restore(*saved)

    @property
    def epoch(self) -> int:
        """How many epochs are complete."""
        return len(self.history)

    def run(
        self,
        train: Features,
        val: Features,
        progress: bool,
        after_epoch: Callable[[list[dict[str, float]]], None] | None = None,
    ) -> None:
        """Train until the last epoch; see `distill` for what after_epoch is told."""
        tell = after_epoch or (lambda history: None)
        if not self.undefended:
            plain = self.objective.plain_text_features
            self.undefended = self._validate(val, plain, prompted=False)
        epochs = range(self.epoch, self.config.epochs)
        bar = tqdm(
            epochs,
            desc="distilling",
            unit=" epoch",
            initial=self.epoch,
            total=self.config.epochs,
            disable=not progress,
        )
        tell([dict(row) for row in self.history])
        with bar:
            for epoch in bar:
                self._epoch(epoch, train, val)
                row = self.history[-1]
                bar.set_postfix_str(
                    f"loss {row['loss']:.3f}, val {100 * row['val_clean']:.1f} % clean "
                    f"{100 * row['val_attacked']:.1f} % attacked"
                )
                tell([dict(row) for row in self.history])

    def _epoch(self, epoch: int, train: Features, val: Features) -> None:
        config = self.config
        train.begin_epoch()
        val.begin_epoch()
        rate = learning_rate(config, epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        sums: dict[str, float] = {}
        for index, attacked in draw_batches(config, epoch, len(train)):
            made = None
            if config.attacked_through == "prompts" and bool(attacked.any()):
                with torch.no_grad():
                    texts = self.objective.class_text_features()
                prompt = self.objective.prompt
                made = self._attacked(train, index[attacked], texts, prompt, epoch)
            step = self.objective(train.batch(index, attacked, made))
            total = step.total.item()
            if not math.isfinite(total):
                raise ValueError(
                    f"the loss became {total} in epoch {epoch + 1}. Lower the "
                    f"learning_rate, which is {config.learning_rate}."
                )
            self.optimizer.zero_grad(set_to_none=True)
            step.total.backward()
            nn.utils.clip_grad_norm_(self.objective.parameters(), config.gradient_clip)
            self.optimizer.step()
            self.objective.weighting.project_()
            self.average.update()
            values = {"loss": total}
            values |= {f"loss_{name}": v for name, v in step.losses.items()}
            values |= {f"pass_{name}": v for name, v in step.passed.items()}
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value * len(index)
        weights = self.objective.weighting.weights()
        row: dict[str, float] = {"epoch": epoch + 1, "learning_rate": rate}
        row |= {name: value / len(train) for name, value in sums.items()}
        row |= {f"weight_{name}": value for name, value in weights.items()}
        temperatures = self.objective.temperatures()
        row |= {f"temperature_{name}": value for name, value in temperatures.items()}
        with self.average.applied():
            with torch.no_grad():
                texts = self.objective.class_text_features()
            row |= self._validate(val, texts, prompted=True)
            self._keep(row, texts)
        self.history += in_order([row], config)
        if self.folder is not None:
            self._save()

    def _keep(self, row: dict[str, float], texts: Tensor) -> None:
        """Score the epoch, and take it if none was better."""
        row["val_score"] = {
            "mean": (row["val_clean"] + row["val_attacked"]) / 2,
            "attacked": row["val_attacked"],
            "last": row["epoch"],
        }[self.config.selection]
        best = self.history[self.best_epoch - 1]["val_score"] if self.best_epoch else -1
        if row["val_score"] >= best:
            self.best_epoch = int(row["epoch"])
            self.best = self._snapshot(texts)

    def _attacked(
        self,
        data: Features,
        index: Tensor,
        texts: Tensor,
        prompt: Tensor | None,
        epoch: int,
    ) -> Tensor:
        """Clouds attacked through a prompt, one for each of `index`.

        `epoch` only names the draws; val has the same ones, -1, after each epoch.
        """
        config = self.config
        victim = HardenedStudent(
            self.lab.student,
            texts,
            self.class_names,
            prompt=prompt,
            colour=config.colour,
        )
        labels, targets = data.labels[index], None
        seed = seed_of(config.seed, "through", epoch, int(index[0]))
        if config.attack_targets == "random":
            targets = random_target_labels(
                labels, len(self.class_names), generator(seed)
            ).to(data.device)
        points = data.clouds["clean"][index].to(data.device)
        result = config.attack(
            victim, points, labels.to(data.device), targets, generator(seed)
        )
        return result.points

    def _validate(
        self, val: Features, texts: Tensor, prompted: bool
    ) -> dict[str, float]:
        """Accuracy on clean and attacked val clouds; see `attacked_through`."""
        prompt = self.objective.prompt if prompted else None
        accuracies = {}
        for kind in ("clean", "attacked"):
            correct = 0
            for index in torch.arange(len(val)).split(self.config.batch_size):
                made = None
                if kind == "attacked" and self.config.attacked_through == "prompts":
                    made = self._attacked(val, index, texts, prompt, -1)
                with torch.no_grad():
                    tokens = val.rows("tokens", kind, index, made)
                    features = self.lab.student.forward_tokens(tokens, prompt)
                    predicted = (features @ texts.T).argmax(1)
                correct += int((predicted.cpu() == val.labels[index]).sum())
            accuracies[f"val_{kind}"] = correct / len(val)
        return accuracies

    def _snapshot(self, texts: Tensor) -> dict[str, Tensor]:
        """Copies of what inference needs."""
        kept = {"class_text_features": texts}
        for name in ("prompt", "context"):
            value = getattr(self.objective, name)
            if value is not None:
                kept[name] = value
        return {name: value.detach().clone() for name, value in kept.items()}

    def _save(self) -> None:
        assert self.folder is not None
        tensors = optimizer_state(self.objective, self.optimizer)
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for name, value in self.average.values.items():
            tensors[f"average.{name}"] = value
        info = {
            "steps": self.average.steps,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "undefended": self.undefended,
        }
        self.folder.save_checkpoint(tensors, info)

    def _restore(self, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
        restore(self.objective, self.optimizer, tensors)
        device = self.objective.log_temperatures.device
        self.best = {
            name.removeprefix("best."): value.to(device)
            for name, value in tensors.items()
            if name.startswith("best.")
        }
        averages = {
            name.removeprefix("average."): value
            for name, value in tensors.items()
            if name.startswith("average.")
        }
        self.average.restore(averages, info["steps"])
        self.history = in_order(info["history"], self.config)
        self.best_epoch = info["best_epoch"]
        self.undefended = info["undefended"]


def in_order(
    history: Sequence[dict[str, float]], config: DistillConfig
) -> list[dict[str, float]]:
    """Rows with their columns in the order of the table; JSON sorts them by name."""
    columns = ["epoch", "learning_rate", "loss"]
    for what in ("loss", "pass", "weight", "temperature"):
        columns += [f"{what}_{teacher}" for teacher in config.teachers]
    columns += ["val_clean", "val_attacked", "val_score"]
    return [{name: row[name] for name in columns} for row in history]


def learning_rate(config: Any, epoch: int) -> float:
    """The cosine of [SGDR, arXiv 1608.03983] without restarts, for epoch 0, 1, ...

    Args:
        config: with learning_rate, final_learning_rate and epochs.
        epoch: from 0.
    """
    low, high = config.final_learning_rate, config.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * epoch / config.epochs)) / 2


def draw_batches(
    config: DistillConfig, epoch: int, count: int
) -> Sequence[tuple[Tensor, Tensor]]:
    """The batches of an epoch: row numbers, and who comes attacked.

    All randomness of an epoch follows from the seed and its number, so that a resumed
    run needs no saved random state.

    Args:
        config: seed, schedule and batch size.
        epoch: from 0.
        count: N clouds.

    Returns:
        (rows (B,), attacked (B,) bool) for each batch.
    """
    order = torch.randperm(
        count, generator=generator(seed_of(config.seed, "order", epoch))
    )
    if config.schedule == "mixed":
        coin = generator(seed_of(config.seed, "coin", epoch // 2))
        attacked = torch.rand(count, generator=coin) < 0.5
        attacked = ~attacked if epoch % 2 else attacked
    else:
        late = config.schedule == "clean_then_attacked" and epoch >= config.epochs // 2
        attacked = torch.full((count,), late or config.schedule == "attacked")
    batches = order.tensor_split(math.ceil(count / config.batch_size))
    return [(index, attacked[index]) for index in batches]
