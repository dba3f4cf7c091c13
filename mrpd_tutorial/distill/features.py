"""What lies below the prompts: attacked clouds, patch tokens, teacher features.

All of it is frozen, so it is computed once, kept on disk and read by row from then on.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from mrpd_tutorial.attacks import random_target_labels
from mrpd_tutorial.data import PointDataset
from mrpd_tutorial.distill.cache import FeatureCache, module_digest
from mrpd_tutorial.distill.config import DistillConfig, attack_as_dict
from mrpd_tutorial.models.classifier import LOGIT_SCALE
from mrpd_tutorial.models.image_teacher import ImageTeacher
from mrpd_tutorial.models.point_encoder import PointEncoder
from mrpd_tutorial.projection import RELEASED_RESOLUTION, RELEASED_VIEW
from mrpd_tutorial.runtime import digest, generator
from mrpd_tutorial.zoo import Lab

__all__ = ["Batch", "FeatureMaker", "Features"]

_CHUNK = 32
_OWNERS = {"tokens": "student", "image": "image_teacher", "point": "point_teacher"}


@dataclass(frozen=True)
class Batch:
    """What a training step needs of its clouds.

    Args:
        tokens: (B, T, W) the student's tokens, clean or attacked as drawn.
        references: "image" and "point" -> (B, D) unit features, as far as used.
        labels: (B,) class ids.
    """

    tokens: Float[Tensor, "B T W"]
    references: dict[str, Tensor]
    labels: Int[Tensor, "B"]


class Features:
    """Rows of everything below the prompts, for clean and attacked clouds.

    Args:
        student: the frozen student.
        image_teacher: as the configuration sees it.
        point_teacher: the frozen point teacher.
        config: colour, teachers and what they look at.
        clean: (N, P, 3) clouds.
        attacked: (N, P', 3) the same clouds, attacked for the undefended student.
        labels: (N,) class ids.

    Attributes:
        stored: (what, "clean" or "attacked") -> rows computed before; what is missing
            is computed for each batch anew.
        attack_anew: makes the attacked clouds once more; None where they are kept.
    """

    def __init__(
        self,
        student: PointEncoder,
        image_teacher: ImageTeacher,
        point_teacher: PointEncoder,
        config: DistillConfig,
        clean: Float[Tensor, "N P 3"],
        attacked: Float[Tensor, "N Q 3"],
        labels: Int[Tensor, "N"],
    ) -> None:
        self.clouds = {"clean": clean, "attacked": attacked}
        self.labels = labels
        self.config = config
        self.device = next(student.parameters()).device
        self.stored: dict[tuple[str, str], Tensor] = {}
        self.attack_anew: Callable[[], Tensor] | None = None
        colour = config.colour
        self.compute: dict[str, Callable[[Tensor], Tensor]] = {
            "tokens": lambda points: student.tokens(points, colour),
            "image": image_teacher,
            "point": lambda points: F.normalize(
                point_teacher(points, colour=colour), dim=-1
            ),
        }

    def __len__(self) -> int:
        return len(self.labels)

    def begin_epoch(self) -> None:
        """Make the attacked clouds anew, where nothing is to be kept."""
        if self.attack_anew is not None:
            self.clouds["attacked"] = self.attack_anew()

    def needed(self, teachers: bool) -> list[tuple[str, str]]:
        """What a run reads: tokens, and teacher features if it trains on them."""
        config = self.config
        seen = {
            "mixed": ("clean", "attacked"),
            "clean_then_attacked": ("clean", "attacked"),
            "clean": ("clean",),
            "attacked": ("attacked",),
        }[config.schedule]
        if not teachers:
            return [("tokens", "clean"), ("tokens", "attacked")]
        parts = [("tokens", kind) for kind in seen]
        for teacher in ("image", "point"):
            if teacher in config.teachers:
                looks_at = getattr(config, f"{teacher}_teacher_input")
                kinds = ("clean",) if looks_at == "clean" else seen
                parts += [(teacher, kind) for kind in kinds]
        return parts

    def chunks(self, what: str, kind: str, bar: tqdm) -> Iterator[Tensor]:
        """Compute all rows of one part, chunk by chunk."""
        for points in self.clouds[kind].split(_CHUNK):
            with torch.no_grad():
                yield self.compute[what](points.to(self.device))
            bar.update(len(points))

    def rows(self, what: str, kind: str, index: Int[Tensor, "B"]) -> Tensor:
        """Some rows of one part, read or computed."""
        stored = self.stored.get((what, kind))
        if stored is not None:
            return stored[index].to(self.device)
        with torch.no_grad():
            return self.compute[what](self.clouds[kind][index].to(self.device))

    def batch(self, index: Int[Tensor, "B"], attacked: Bool[Tensor, "B"]) -> Batch:
        """The clouds of one step.

        Args:
            index: (B,) row numbers, on the CPU.
            attacked: (B,) whether the student sees the attacked cloud, on the CPU.
        """
        references = {}
        for teacher in ("image", "point"):
            if teacher in self.config.teachers:
                looks_at = getattr(self.config, f"{teacher}_teacher_input")
                which = attacked if looks_at == "student_input" else attacked & False
                references[teacher] = self._mixed(teacher, index, which)
        return Batch(
            tokens=self._mixed("tokens", index, attacked),
            references=references,
            labels=self.labels[index].to(self.device),
        )

    def _mixed(self, what: str, index: Tensor, attacked: Tensor) -> Tensor:
        """Rows from the attacked clouds where asked, from the clean ones elsewhere."""
        if bool(attacked.all()):
            return self.rows(what, "attacked", index)
        if not bool(attacked.any()):
            return self.rows(what, "clean", index)
        some = self.rows(what, "clean", index[~attacked])
        rows = some.new_empty(len(index), *some.shape[1:])
        rows[(~attacked).to(rows.device)] = some
        rows[attacked.to(rows.device)] = self.rows(what, "attacked", index[attacked])
        return rows


class FeatureMaker:
    """Make the features of data sets for one lab and one configuration.

    Args:
        lab: the student and its teachers.
        class_names: the C classes.
        config: the settings.
        undefended: `points -> logits` of the student without prompts, to attack.
        cache: where to keep arrays; None computes teacher features and tokens anew for
            each batch, and attacked clouds for each epoch.
        progress: show progress bars.
    """

    def __init__(
        self,
        lab: Lab,
        class_names: tuple[str, ...],
        config: DistillConfig,
        undefended: Callable[[Tensor], Tensor],
        cache: FeatureCache | None,
        progress: bool,
    ) -> None:
        self.config, self.cache, self.progress = config, cache, progress
        self.undefended, self.class_names = undefended, class_names
        self.student, self.point_teacher = lab.student, lab.point_teacher
        self.image_teacher = lab.image_teacher
        if config.image_views == "released":
            self.image_teacher = _released_views(lab.image_teacher)
        self.digests = {
            "student": module_digest(self.student),
            "point_teacher": module_digest(self.point_teacher),
            "image_teacher": module_digest(self.image_teacher),
            "text_teacher": module_digest(lab.text_teacher),
        }

    def make(self, dataset: PointDataset, teachers: bool) -> Features:
        """Features of a data set.

        Args:
            dataset: clouds and labels.
            teachers: whether teacher features are wanted; validation needs none.
        """
        # Training on clean clouds alone never looks at attacked ones; validation does.
        unused = teachers and self.config.schedule == "clean"
        attacked = dataset.points.cpu() if unused else self._attacked(dataset)
        features = Features(
            self.student,
            self.image_teacher,
            self.point_teacher,
            self.config,
            dataset.points.cpu(),
            attacked,
            dataset.labels.cpu(),
        )
        if self.cache is None:
            features.attack_anew = None if unused else lambda: self._attacked(dataset)
            return features
        for what, kind in features.needed(teachers):
            key = [what, self.digests[_OWNERS[what]], features.clouds[kind]]
            if what != "image":
                key.append(self.config.colour)
            with self._bar(f"{dataset.split} {kind}: {what}", len(dataset)) as bar:
                features.stored[what, kind] = self.cache.get(
                    what,
                    key,
                    len(dataset),
                    lambda what=what, kind=kind, bar=bar: features.chunks(
                        what, kind, bar
                    ),
                )
        return features

    def _attacked(self, dataset: PointDataset) -> Tensor:
        """The data set's clouds, attacked once, on the undefended student."""
        config = self.config
        key = [
            "attacked",
            self.digests["student"],
            self.digests["text_teacher"],
            list(self.class_names),
            config.colour,
            LOGIT_SCALE,
            attack_as_dict(config.attack),
            config.attack_targets,
            config.seed,
            dataset.points,
            dataset.labels,
        ]
        with self._bar(f"{dataset.split}: attacking", len(dataset)) as bar:
            if self.cache is None:
                return torch.cat(list(self._attack(dataset, bar)))
            return self.cache.get(
                "attacked", key, len(dataset), lambda: self._attack(dataset, bar)
            )

    def _attack(self, dataset: PointDataset, bar: tqdm) -> Iterator[Tensor]:
        config = self.config
        device = next(self.student.parameters()).device
        source = generator(seed_of(config.seed, "attack"))
        labels, targets = dataset.labels.cpu(), None
        if config.attack_targets == "random":
            aims = generator(seed_of(config.seed, "targets"))
            targets = random_target_labels(labels, len(self.class_names), aims)
        for start in range(0, len(dataset), _CHUNK):
            part = slice(start, start + _CHUNK)
            result = config.attack(
                self.undefended,
                dataset.points[part].to(device),
                labels[part].to(device),
                None if targets is None else targets[part].to(device),
                source,
            )
            bar.update(len(result.points))
            yield result.points.cpu()

    def _bar(self, description: str, total: int) -> tqdm:
        # Shown only once something is computed: reading the cache takes no time.
        return tqdm(
            desc=description,
            total=total,
            unit=" clouds",
            disable=not self.progress,
            leave=False,
            delay=0.5,
        )


def seed_of(seed: int, *purpose: Any) -> int:
    """A seed for one purpose, so that no two draws share their random numbers."""
    return int(digest(seed, *purpose)[:15], 16)


def _released_views(teacher: ImageTeacher) -> ImageTeacher:
    """The same image teacher, drawing the single view of the released code."""
    single = copy.copy(teacher)
    single.views, single.resolution = RELEASED_VIEW, RELEASED_RESOLUTION
    return single
