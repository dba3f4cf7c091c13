"""Make the features of data sets, each array once for all runs that share it."""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from tqdm.auto import tqdm

from mrpd_tutorial.attacks import random_target_labels
from mrpd_tutorial.data import PointDataset
from mrpd_tutorial.distill.cache import FeatureCache, module_digest
from mrpd_tutorial.distill.config import DistillConfig, attack_as_dict
from mrpd_tutorial.distill.features import CHUNK, Features, seed_of
from mrpd_tutorial.models.classifier import LOGIT_SCALE
from mrpd_tutorial.models.image_teacher import ImageTeacher
from mrpd_tutorial.projection import RELEASED_RESOLUTION, RELEASED_VIEW
from mrpd_tutorial.runtime import generator
from mrpd_tutorial.zoo import Lab

__all__ = ["FeatureMaker"]

_OWNERS = {"tokens": "student", "image": "image_teacher", "point": "point_teacher"}


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
        unused |= self.config.attacked_through == "prompts"
        attacked = None if unused else self._attacked(dataset)
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
        for start in range(0, len(dataset), CHUNK):
            part = slice(start, start + CHUNK)
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


def _released_views(teacher: ImageTeacher) -> ImageTeacher:
    """The same image teacher, drawing the single view of the released code."""
    single = copy.copy(teacher)
    single.views, single.resolution = RELEASED_VIEW, RELEASED_RESOLUTION
    return single
