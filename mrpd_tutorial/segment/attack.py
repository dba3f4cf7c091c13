"""PGD against a segmenter: every point's answer counts, not the cloud's.

The attacks of `mrpd_tutorial.attacks` work on `points -> logits (B, C)` and ask whether
the cloud's one answer is wrong. A segmenter is asked `(points, labels)` and gives one
answer a point: there is no single success to stop at, and which of two clouds is the
better one is a count of points. The steps and the ball are theirs (`attacks.norms`).
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from mrpd_tutorial.attacks import norms
from mrpd_tutorial.attacks.victim import frozen, require_evaluation_mode
from mrpd_tutorial.checks import (
    check_choice,
    check_labels,
    check_points,
    check_positive,
    check_same_device,
)

__all__ = ["SegmentationPGD", "SegmentationResult", "point_losses"]

Segmenter = Callable[[Tensor, Tensor], Tensor]
LOSSES = ("ce", "margin", "segpgd")


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationResult:
    """The worst cloud found for each clean one.

    Args:
        points: (B, N, 3) attacked clouds.
        clean: (B, N, 3) what they were made from, point by point.
        correct_before: (B,) how many points were named right on the clean cloud.
        correct_after: (B,) how many on the attacked one.
        eps: budget of each point, Euclidean.
    """

    points: Float[Tensor, "B N 3"]
    clean: Float[Tensor, "B N 3"]
    correct_before: Int[Tensor, "B"]
    correct_after: Int[Tensor, "B"]
    eps: float

    @property
    def per_point_max(self) -> Float[Tensor, "B"]:
        """(B,) the longest way a point moved."""
        return norms.size(self.points - self.clean, "per_point")


def point_losses(
    part_logits: Float[Tensor, "B N S"],
    part_labels: Int[Tensor, "B N"],
    loss: str = "ce",
    progress: float = 0.0,
) -> Float[Tensor, "B N"]:
    """What an attacker wants to grow, for each point.

    Args:
        part_logits: (B, N, S).
        part_labels: (B, N), the true part.
        loss: "ce", cross-entropy; "margin", best wrong logit minus the true one, up to
            0, so that points already misled count no more; "segpgd", cross-entropy
            whose weight moves from the points still right to those already wrong
            [Gu et al., 2207.12391]: 1 - progress / 2 and progress / 2.
        progress: share of the steps done, for "segpgd".

    Returns:
        (B, N), differentiable.
    """
    own = part_logits.gather(2, part_labels[..., None])[..., 0]  # (B, N)
    others = part_logits.scatter(2, part_labels[..., None], -torch.inf)
    if loss == "margin":
        return (others.amax(-1) - own).clamp(max=0)
    entropy = F.softplus(others.logsumexp(-1) - own)
    if loss == "ce":
        return entropy
    wrong = part_logits.detach().argmax(-1) != part_labels
    return entropy * torch.where(wrong, progress / 2, 1 - progress / 2)


@dataclass(frozen=True, kw_only=True)
class SegmentationPGD:
    """Move each point at most eps so that as many points as possible are misnamed.

    Untargeted PGD [Madry et al., 1706.06083] on the mean loss of a cloud's points; each
    point steps along its own unit gradient. Threat models: attack the undefended
    segmenter and show the clouds to all (static), or attack the very segmenter that is
    judged, through its prompts (adaptive). Labels stay what they were: a point keeps
    the part it was sampled from.

    Args:
        eps: per-point L2 budget, in units of the cloud's radius.
        steps: gradient steps from the clean cloud.
        step_size: length of a step; None means 2.5 * eps / steps.
        loss: "ce", "margin" or "segpgd", see `point_losses`.
        batch_size: clouds worked on at once; changes memory and speed only.

    Raises:
        ValueError: on a setting out of range.
    """

    eps: float = 0.05
    steps: int = 10
    step_size: float | None = None
    loss: str = "segpgd"
    batch_size: int = 16

    def __post_init__(self) -> None:
        if not 0 <= self.eps < float("inf"):
            raise ValueError(
                f"eps must be 0 or above, and finite; received {self.eps}."
            )
        for name in ("steps", "batch_size"):
            check_positive(name, getattr(self, name))
        if self.step_size is not None:
            check_positive("step_size", self.step_size)
        check_choice("loss", self.loss, LOSSES)

    @classmethod
    def quick(cls, **changes) -> "SegmentationPGD":
        """Per point 0.05, 10 steps, as `PGD.quick()`."""
        return dataclasses.replace(cls(), **changes)

    def __call__(
        self,
        segmenter: Segmenter,
        points: Tensor,
        labels: Tensor,
        part_labels: Tensor,
    ) -> SegmentationResult:
        """Attack each cloud; nothing here is random.

        Args:
            segmenter: `(points, labels) -> part_logits (B, N, S)`, in evaluation mode.
            points: (B, N, 3) clean clouds, in the segmenter's frame.
            labels: (B,) their classes, which the segmenter is told.
            part_labels: (B, N) the true part of each point.

        Returns:
            For each cloud the one with the fewest points right, of equals that with the
            largest mean loss; the clean cloud is a candidate.

        Raises:
            ValueError: on bad input, a budget larger than the object, or a segmenter
                that answers in another shape or without gradient.
        """
        check_points(points)
        check_labels(labels, batch=len(points))
        if part_labels.dtype != torch.int64 or part_labels.shape != points.shape[:2]:
            raise ValueError(
                f"part_labels must be int64 of shape {tuple(points.shape[:2])}; "
                f"received {part_labels.dtype} {tuple(part_labels.shape)}."
            )
        check_same_device(points=points, labels=labels, part_labels=part_labels)
        norms.check_budget(
            points, points.new_full((len(points),), self.eps), "per_point"
        )
        require_evaluation_mode(segmenter)
        found = []
        with frozen(segmenter), torch.inference_mode(False), torch.enable_grad():
            for rows in torch.arange(len(points)).split(self.batch_size):
                chunk = (points[rows].detach().clone(), labels[rows], part_labels[rows])
                found.append(self._climb(segmenter, *chunk))
        attacked, before, after = (torch.cat(v) for v in zip(*found, strict=True))
        return SegmentationResult(
            points=attacked,
            clean=points.detach().clone(),
            correct_before=before,
            correct_after=after,
            eps=self.eps,
        )

    def _climb(
        self, segmenter: Segmenter, clean: Tensor, labels: Tensor, truth: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attacked clouds, points right before, points right after."""
        eps = clean.new_full((len(clean),), self.eps)
        length = (
            2.5 * self.eps / self.steps if self.step_size is None else self.step_size
        )
        current, best = clean, clean.clone()
        for step in range(self.steps + 1):
            current = current.detach().requires_grad_(True)
            logits = _answer(segmenter, current, labels, truth)
            right = (logits.detach().argmax(-1) == truth).sum(1)  # (B,)
            entropy = point_losses(logits.detach(), truth).mean(1)
            if step == 0:
                before, fewest, largest = right, right.clone(), entropy.clone()
            better = (right < fewest) | ((right == fewest) & (entropy > largest))
            best[better] = current.detach()[better]
            fewest[better], largest[better] = right[better], entropy[better]
            if step == self.steps:
                break
            losses = point_losses(logits, truth, self.loss, step / self.steps)
            # Summed over the clouds, so that a cloud's gradient is its own.
            (gradient,) = torch.autograd.grad(losses.mean(1).sum(), current)
            gradient = torch.where(torch.isfinite(gradient), gradient, 0.0)
            moved = current.detach() + length * norms.steepest(gradient, "per_point")
            current = norms.project(clean, moved, eps, "per_point")
        return best, before, fewest


def _answer(
    segmenter: Segmenter, points: Tensor, labels: Tensor, truth: Tensor
) -> Tensor:
    logits = segmenter(points, labels)
    fits = isinstance(logits, Tensor) and logits.shape[:2] == points.shape[:2]
    if not fits or logits.ndim != 3:
        came = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits)
        raise ValueError(
            f"segmenter must return part logits of shape {tuple(points.shape[:2])} + "
            f"(S,); received {came}."
        )
    if not bool(torch.isfinite(logits).all()):
        raise ValueError("segmenter returned NaN or infinite part logits.")
    if not logits.requires_grad:
        raise ValueError(
            "segmenter must be differentiable: no gradient came back from its answer "
            "to the points. Does it draw depth maps, detach, or run under no_grad?"
        )
    return logits
