"""What is learned, and the paper's total loss of one batch."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mrpd_tutorial.distill.config import DistillConfig
from mrpd_tutorial.distill.features import Batch, seed_of
from mrpd_tutorial.gates import (
    confidence_gate,
    entropy_gate,
    released_gate,
    soft_gate,
    threshold_gate,
)
from mrpd_tutorial.losses import UncertaintyWeights, gated_contrastive_loss
from mrpd_tutorial.runtime import generator
from mrpd_tutorial.zoo import Lab

__all__ = ["Objective", "StepLosses"]


@dataclass(frozen=True)
class StepLosses:
    """The losses of one batch.

    Args:
        total: Eq. 8, to be differentiated.
        losses: teacher -> L_k, detached.
        passed: teacher -> share of the batch that its gate let through (of a soft gate:
            the mean weight).
    """

    total: Float[Tensor, ""]
    losses: dict[str, float]
    passed: dict[str, float]


class Objective(nn.Module):
    """Prompts, context, temperatures and log-variances, with the loss they serve.

    Implements Algorithm 1 of [MRPD, arXiv 2511.21574] above the frozen features.

    Args:
        lab: student and text teacher.
        class_names: the C classes.
        config: the settings; its seed draws the start.

    Attributes:
        prompt: (1 or S, L, W) or None.
        context: (M, width of the text tower) or None.
        log_temperatures: (number of teachers,), log tau.
        weighting: the log-variances.
    """

    def __init__(
        self, lab: Lab, class_names: tuple[str, ...], config: DistillConfig
    ) -> None:
        super().__init__()
        # In a tuple, so that the lab's weights are no parameters of the objective.
        self._lab = (lab,)
        self.class_names, self.config = class_names, config
        device = next(lab.student.parameters()).device
        self.prompt = self.context = None
        if config.prompt_tokens:
            width = lab.student.config.width
            shape = (config.prompt_depth, config.prompt_tokens, width)
            self.prompt = _drawn(shape, config.prompt_std, config.seed, "prompt")
        if config.context_tokens:
            shape = (config.context_tokens, lab.text_teacher.context_width)
            self.context = _drawn(shape, config.context_std, config.seed, "context")
        start = torch.full((len(config.teachers),), config.temperature).log()
        self.log_temperatures = nn.Parameter(start)
        self.weighting = UncertaintyWeights(
            config.teachers,
            floor=config.weight_floor,
            straight_through=config.floor_gradient == "passes",
        )
        self.to(device)
        with torch.no_grad():
            plain = lab.text_teacher.class_text_features(class_names)
        self.register_buffer("plain_text_features", plain)

    def class_text_features(self) -> Float[Tensor, "C D"]:
        """Text features with the current context, unit norm, differentiable in it."""
        if self.context is None:
            return self.plain_text_features
        teacher = self._lab[0].text_teacher
        return teacher.class_text_features(self.class_names, context=self.context)

    def student_features(self, tokens: Float[Tensor, "B T W"]) -> Float[Tensor, "B D"]:
        """Student features with the current prompts, unit norm."""
        student = self._lab[0].student
        return F.normalize(student.forward_tokens(tokens, self.prompt), dim=-1)

    def forward(self, batch: Batch) -> StepLosses:
        """Compare student and teachers on one batch.

        Args:
            batch: tokens, teacher features and labels.

        Returns:
            The total loss and what it is made of.
        """
        config, labels = self.config, batch.labels
        texts = self.class_text_features()
        student = self.student_features(batch.tokens)
        references = {**batch.references, "text": texts[labels]}
        taus = self.log_temperatures.exp().unbind()
        losses, passed = {}, {}
        for teacher, tau in zip(config.teachers, taus, strict=True):
            reference = references[teacher]
            gate = self._gate(teacher, reference.detach(), texts.detach(), labels)
            if teacher == "text" and config.text_contrast == "classes":
                losses[teacher] = F.cross_entropy(student @ texts.T / tau, labels)
                gate = torch.ones_like(gate)
            else:
                losses[teacher] = gated_contrastive_loss(student, reference, gate, tau)
            passed[teacher] = float(gate.float().mean())
        return StepLosses(
            total=self.weighting(losses),
            losses={name: loss.item() for name, loss in losses.items()},
            passed=passed,
        )

    def temperatures(self) -> dict[str, float]:
        """Teacher -> tau."""
        values = self.log_temperatures.detach().exp().tolist()
        return dict(zip(self.config.teachers, values, strict=True))

    def _gate(
        self, teacher: str, reference: Tensor, texts: Tensor, labels: Tensor
    ) -> Tensor:
        config = self.config
        if config.gate == "none" or (teacher == "text" and not config.text_gated):
            return torch.ones_like(labels, dtype=torch.bool)
        if config.gate == "batch_position":
            return released_gate(reference, texts, labels)
        if config.gate == "class":
            return confidence_gate(reference, texts, labels, config.k)
        if config.gate == "soft":
            return soft_gate(reference, texts, labels, config.temperature)
        gate = {"threshold": threshold_gate, "entropy": entropy_gate}[config.gate]
        return gate(reference, texts, labels, config.gate_level, config.temperature)


def _drawn(shape: tuple[int, ...], std: float, seed: int, purpose: str) -> nn.Parameter:
    # Drawn on the CPU, so that every device starts at the same place.
    source = generator(seed_of(seed, purpose))
    return nn.Parameter(std * torch.randn(shape, generator=source))
