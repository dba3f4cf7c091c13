"""What lies below the prompts: attacked clouds, patch tokens, teacher features.

All of it is frozen, so it is computed once, kept on disk and read by row from then on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from mrpd_tutorial.distill.config import DistillConfig
from mrpd_tutorial.models.image_teacher import ImageTeacher
from mrpd_tutorial.models.point_encoder import PointEncoder
from mrpd_tutorial.runtime import digest

__all__ = ["CHUNK", "Batch", "Features", "seed_of"]

CHUNK = 32  # clouds computed at once


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
        attacked: (N, P', 3) the same clouds, attacked for the undefended student; None
            where attacked clouds are made anew for each batch, through the prompts.
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
        attacked: Float[Tensor, "N Q 3"] | None,
        labels: Int[Tensor, "N"],
    ) -> None:
        self.clouds = {"clean": clean}
        if attacked is not None:
            self.clouds["attacked"] = attacked
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
            seen = ("clean", "attacked")
        seen = tuple(kind for kind in seen if kind in self.clouds)
        if not teachers:
            return [("tokens", kind) for kind in seen]
        parts = [("tokens", kind) for kind in seen]
        for teacher in ("image", "point"):
            if teacher in config.teachers:
                looks_at = getattr(config, f"{teacher}_teacher_input")
                kinds = ("clean",) if looks_at == "clean" else seen
                parts += [(teacher, kind) for kind in kinds]
        return parts

    def chunks(self, what: str, kind: str, bar: tqdm) -> Iterator[Tensor]:
        """Compute all rows of one part, chunk by chunk."""
        for points in self.clouds[kind].split(CHUNK):
            with torch.no_grad():
                yield self.compute[what](points.to(self.device))
            bar.update(len(points))

    def rows(
        self, what: str, kind: str, index: Int[Tensor, "B"], made: Tensor | None = None
    ) -> Tensor:
        """Some rows of one part, read or computed; of the clouds `made`, if given."""
        stored = self.stored.get((what, kind))
        if kind == "attacked" and made is not None:
            points = made
        elif stored is not None:
            return stored[index].to(self.device)
        else:
            points = self.clouds[kind][index]
        with torch.no_grad():
            return self.compute[what](points.to(self.device))

    def batch(
        self,
        index: Int[Tensor, "B"],
        attacked: Bool[Tensor, "B"],
        made: Float[Tensor, "A Q 3"] | None = None,
    ) -> Batch:
        """The clouds of one step.

        Args:
            index: (B,) row numbers, on the CPU.
            attacked: (B,) whether the student sees the attacked cloud, on the CPU.
            made: those attacked clouds, one for each True of `attacked`, in its order;
                None takes the ones that were made before training.
        """
        references = {}
        for teacher in ("image", "point"):
            if teacher in self.config.teachers:
                looks_at = getattr(self.config, f"{teacher}_teacher_input")
                which = attacked if looks_at == "student_input" else attacked & False
                references[teacher] = self._mixed(teacher, index, which, made)
        return Batch(
            tokens=self._mixed("tokens", index, attacked, made),
            references=references,
            labels=self.labels[index].to(self.device),
        )

    def _mixed(
        self, what: str, index: Tensor, attacked: Tensor, made: Tensor | None
    ) -> Tensor:
        """Rows from the attacked clouds where asked, from the clean ones elsewhere."""
        if bool(attacked.all()):
            return self.rows(what, "attacked", index, made)
        if not bool(attacked.any()):
            return self.rows(what, "clean", index)
        some = self.rows(what, "clean", index[~attacked])
        rows = some.new_empty(len(index), *some.shape[1:])
        rows[(~attacked).to(rows.device)] = some
        changed = self.rows(what, "attacked", index[attacked], made)
        rows[attacked.to(rows.device)] = changed
        return rows


def seed_of(seed: int, *purpose: Any) -> int:
    """A seed for one purpose, so that no two draws share their random numbers."""
    return int(digest(seed, *purpose)[:15], 16)
