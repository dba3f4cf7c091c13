"""Prompts for a frozen segmenter, taught point by point."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mrpd_tutorial.checks import check_between
from mrpd_tutorial.data import PointDataset
from mrpd_tutorial.distill.training import learning_rate
from mrpd_tutorial.losses import UncertaintyWeights
from mrpd_tutorial.runtime import generator
from mrpd_tutorial.segment.config import SegmentConfig
from mrpd_tutorial.segment.heads import below_in_parts, require_parts
from mrpd_tutorial.segment.segmenter import Below, PartSegmenter
from mrpd_tutorial.segment.teacher import MultiViewTeacher

__all__ = ["PromptResult", "distil_prompts", "point_gate", "point_loss"]


def point_gate(
    teacher_logits: Float[Tensor, "B N S"], part_labels: Int[Tensor, "B N"], k: int = 1
) -> Bool[Tensor, "B N"]:
    """Let a teacher teach a point only where it ranks the true part in its top k.

    Eqs. 5-6 of MRPD [2511.21574] carried from clouds and classes to points and parts.
    Equal logits rank AGAINST the true part, unlike the paper's gate: a teacher that saw
    nothing answers the same for all parts, and must not teach.

    Args:
        teacher_logits: (B, N, S).
        part_labels: (B, N), the part each point lies on.
        k: how many parts the teacher may name, 1..S.

    Returns:
        (B, N), True where the teacher's answer may be used. No gradient.

    Raises:
        ValueError: if k is out of range.

    Example:
        >>> logits = torch.tensor([[[2.0, 1.0], [2.0, 1.0], [0.0, 0.0]]])
        >>> point_gate(logits, torch.tensor([[0, 1, 0]]))
        tensor([[ True, False, False]])
    """
    check_between("k", k, 1, teacher_logits.shape[-1])
    with torch.no_grad():
        own = teacher_logits.gather(2, part_labels[..., None])  # (B, N, 1)
        return (teacher_logits >= own).sum(-1) <= k  # the true part itself counts


def point_loss(
    student_logits: Float[Tensor, "B N S"],
    teacher_logits: Float[Tensor, "B N S"],
    gate: Bool[Tensor, "B N"],
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """How far the student's answers are from the teacher's, where the gate is open.

    KL(teacher || student) of the parts at a temperature, times its square [Hinton et
    al., 1503.02531], averaged over the points that pass. Features cannot be compared as
    in Eq. 7: student and teacher share no space, only the names of the parts.

    Args:
        student_logits: (B, N, S), differentiable.
        teacher_logits: (B, N, S), taken as they are.
        gate: (B, N).
        temperature: above 0.

    Returns:
        Scalar; exactly 0, with zero gradients, if no point passes.
    """
    said = F.log_softmax(student_logits / temperature, -1)
    wanted = F.log_softmax(teacher_logits.detach() / temperature, -1)
    each = (wanted.exp() * (wanted - said)).sum(-1) * temperature**2  # (B, N)
    return (each * gate).sum() / gate.sum().clamp(min=1)


@dataclass(frozen=True, eq=False)
class PromptResult:
    """What `distil_prompts` hands back.

    Args:
        segmenter: with the prompts of the last epoch: nothing was chosen.
        history: for each "epoch" the mean losses (loss_image, loss_labels), the share
            of points that passed the gate (pass_image), the weights exp(-lambda)
            (weight_...) and the share of training points named right (point_accuracy).
        config: the settings.
    """

    segmenter: PartSegmenter
    history: list[dict[str, float]]
    config: SegmentConfig


def distil_prompts(
    segmenter: PartSegmenter,
    teacher: MultiViewTeacher,
    train: PointDataset,
    config: SegmentConfig,
) -> PromptResult:
    """Learn prompt tokens; student, head and teacher stay frozen.

    Args:
        segmenter: the undefended one, its head trained.
        teacher: its head trained; not asked if config.teachers leaves "image" out.
        train: clouds with part labels.
        config: the settings.

    Returns:
        The prompted segmenter and how it came about; `segmenter` itself is unchanged.

    Raises:
        ValueError: if train has no part labels.
    """
    lesson = _Lesson(segmenter.with_prompt(None), teacher, train, config)
    return lesson.learn()


class _Lesson:
    """The loop, and what is computed once for it."""

    def __init__(
        self,
        undefended: PartSegmenter,
        teacher: MultiViewTeacher,
        train: PointDataset,
        config: SegmentConfig,
    ) -> None:
        self.undefended, self.teacher = undefended, teacher
        self.train, self.config = train, config
        self.targets = require_parts(train)
        student, source = undefended.student, generator(config.seed)
        shape = (config.prompt_depth, config.prompt_tokens, student.config.width)
        drawn = config.prompt_std * torch.randn(shape, generator=source)
        self.prompt = nn.Parameter(drawn.to(student.cls_token.device))
        self.weighting = UncertaintyWeights(config.teachers, config.weight_floor)
        self.weighting.to(self.prompt.device)
        self.shuffle = source
        # (clean or attacked) -> clouds, what lies below the prompts, teacher's logits
        self.clouds = {False: train.points}
        if config.schedule != "clean" and config.attacked_through == "undefended":
            inputs = (train.points, train.labels, self.targets)
            self.clouds[True] = config.attack(undefended, *inputs).points
        self.below = {k: below_in_parts(undefended, v) for k, v in self.clouds.items()}
        self.taught: dict[bool, Tensor] = {}
        if "image" in config.teachers:
            kinds = (False,) if config.teacher_input == "clean" else self.clouds
            self.taught = {k: teacher(self.clouds[k], train.labels) for k in kinds}

    def learn(self) -> PromptResult:
        config, train = self.config, self.train
        learned = [self.prompt, *self.weighting.parameters()]
        optimizer = torch.optim.AdamW(
            learned, lr=config.learning_rate, weight_decay=config.weight_decay
        )
        coins = torch.rand(len(train), generator=self.shuffle) < 0.5
        history = []
        for epoch in range(config.epochs):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, epoch)
            attacked = {
                "mixed": coins ^ bool(epoch % 2),
                "clean": torch.zeros_like(coins),
                "attacked": torch.ones_like(coins),
            }[config.schedule]
            order = torch.randperm(len(train), generator=self.shuffle)
            sums: dict[str, float] = {}
            for rows in order.split(config.batch_size):
                losses, figures = self._losses(rows, attacked[rows])
                optimizer.zero_grad()
                self.weighting(losses).backward()
                nn.utils.clip_grad_norm_(learned, config.gradient_clip)
                optimizer.step()
                self.weighting.project_()
                for name, value in figures.items():
                    sums[name] = sums.get(name, 0.0) + value * len(rows)
            figures = {name: value / len(train) for name, value in sums.items()}
            weights = self.weighting.weights().items()
            history.append(
                {"epoch": epoch + 1}
                | figures
                | {f"weight_{name}": weight for name, weight in weights}
            )
        hardened = self.undefended.with_prompt(self.prompt)
        return PromptResult(hardened, history, config)

    def _losses(
        self, rows: Tensor, attacked: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        labels, targets = self.train.labels[rows], self.targets[rows]
        below, taught = self._batch(rows, attacked)
        logits = self.undefended.above(below, labels, self.prompt)
        losses, figures = {}, {}
        if taught is not None:
            gate = torch.ones_like(targets, dtype=torch.bool)
            if self.config.gate == "part":
                gate = point_gate(taught, targets, self.config.k)
            temperature = self.config.temperature
            losses["image"] = point_loss(logits, taught, gate, temperature)
            figures["pass_image"] = float(gate.float().mean())
        if "labels" in self.config.teachers:
            losses["labels"] = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        figures |= {f"loss_{name}": loss.item() for name, loss in losses.items()}
        right = logits.detach().argmax(-1) == targets
        return losses, figures | {"point_accuracy": float(right.float().mean())}

    def _batch(self, rows: Tensor, attacked: Tensor) -> tuple[Below, Tensor | None]:
        """What lies below the prompts, and the teacher's answer, for these clouds."""
        below = self.below[False].rows(rows)
        taught = self.taught[False][rows] if self.taught else None
        if not bool(attacked.any()):
            return below, taught
        which = rows[attacked]
        if self.config.attacked_through == "undefended":
            other = self.below[True].rows(which)
            answer = self.taught[True][which] if True in self.taught else None
        else:
            inputs = (self.train.points[which], self.train.labels[which])
            victim = self.undefended.with_prompt(self.prompt)
            clouds = self.config.attack(victim, *inputs, self.targets[which]).points
            other, answer = below_in_parts(self.undefended, clouds), None
            if self.taught and self.config.teacher_input == "student_input":
                answer = self.teacher(clouds, inputs[1])
        for value, changed in zip(below, other, strict=True):
            value[attacked] = changed  # copies: `rows` indexed them
        if answer is not None and taught is not None:
            taught[attacked] = answer
        return below, taught
