"""Every setting of the distillation of point-wise prompts."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from mrpd_tutorial.checks import (
    check_between,
    check_choice,
    check_count,
    check_positive,
)
from mrpd_tutorial.segment.attack import SegmentationPGD

__all__ = ["SegmentConfig"]

TEACHERS = ("image", "labels")
_CHOICES = {
    "gate": ("part", "none"),
    "schedule": ("mixed", "clean", "attacked"),
    "teacher_input": ("student_input", "clean"),
    "attacked_through": ("undefended", "prompts"),
}


@dataclass(frozen=True, kw_only=True)
class SegmentConfig:
    """How prompts for a segmenter are distilled. No paper says: this is our transfer.

    Attributes:
        prompt_tokens: L, learnable tokens behind the class token.
        prompt_depth: 1: into the input; S > 1: a set for each of the first S blocks.
        prompt_std: of the random start.
        epochs: passes over the training clouds.
        batch_size: clouds a step.
        learning_rate: of AdamW, falling along a cosine.
        final_learning_rate: where the cosine ends.
        weight_decay: of AdamW.
        gradient_clip: largest norm of the whole gradient.
        teachers: of "image" (the multi-view teacher's answer to each point) and
            "labels" (the true parts, in the text teacher's place).
        gate: "part": only points whose true part is among the teacher's k best teach;
            "none": all do.
        k: the gate's k.
        temperature: of both answers in the image loss.
        weight_floor: lower bound of the log-variances (Eq. 8).
        schedule: what the student sees: "mixed" (each cloud clean or attacked by the
            toss of a coin, the other way round in the next epoch), or one of the two.
        teacher_input: the cloud that is drawn for the teacher.
        attacked_through: "undefended": once, without prompts (as MRPD does);
            "prompts": anew for each batch, through the prompts as they are by then.
        attack: makes the attacked clouds.
        seed: of prompts, order and coins.

    Raises:
        ValueError: if a setting is out of its range.
    """

    prompt_tokens: int = 10
    prompt_depth: int = 1
    prompt_std: float = 1.0
    epochs: int = 100
    batch_size: int = 32
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    weight_decay: float = 1e-2
    gradient_clip: float = 5.0
    teachers: tuple[str, ...] = TEACHERS
    gate: str = "part"
    k: int = 1
    temperature: float = 1.0
    weight_floor: float = -1.0
    schedule: str = "mixed"
    teacher_input: str = "student_input"
    attacked_through: str = "undefended"
    attack: SegmentationPGD = field(default_factory=SegmentationPGD.quick)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        named = tuple(self.teachers)
        if (
            not named
            or len(set(named)) != len(named)
            or not set(named) <= set(TEACHERS)
        ):
            raise ValueError(
                f"teachers must be one or both of {TEACHERS}; received {named}."
            )
        object.__setattr__(self, "teachers", tuple(t for t in TEACHERS if t in named))
        for name in ("prompt_tokens", "prompt_depth", "epochs", "batch_size", "k"):
            check_count(name, getattr(self, name), 1)
        for name in ("learning_rate", "temperature", "gradient_clip"):
            check_positive(name, getattr(self, name))
        last, first = self.final_learning_rate, self.learning_rate
        check_between("final_learning_rate", last, 0, first)
        check_between("prompt_std", self.prompt_std, 0, 1e3)
        check_between("weight_decay", self.weight_decay, 0, 1e3)
        check_between("weight_floor", self.weight_floor, -100, 0)

    @classmethod
    def paper_like(cls, **changes: Any) -> "SegmentConfig":
        """MRPD's settings where they carry over: tokens, schedule, optimiser."""
        return dataclasses.replace(cls(), **changes)

    @classmethod
    def quick(cls, **changes: Any) -> "SegmentConfig":
        """For about a hundred clouds on a CPU: fewer epochs, far larger steps."""
        settings = cls(
            epochs=12,
            batch_size=12,
            prompt_std=0.02,
            learning_rate=0.03,
            final_learning_rate=1e-3,
        )
        return dataclasses.replace(settings, **changes)

    @classmethod
    def adaptive(cls, **changes: Any) -> "SegmentConfig":
        """Deep prompts, trained against attacks that see them; a clean teacher."""
        settings = cls.quick(
            prompt_depth=3,
            prompt_tokens=20,
            teacher_input="clean",
            schedule="attacked",
            attacked_through="prompts",
            attack=SegmentationPGD.quick(steps=3),
        )
        return dataclasses.replace(settings, **changes)

    def as_dict(self) -> dict[str, Any]:
        """All settings as JSON values."""
        values = dataclasses.asdict(self)
        values["teachers"] = list(self.teachers)
        return values
