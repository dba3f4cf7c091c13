"""Adversarial training of a few parameters: a head, or prompts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mrpd_tutorial.checks import (
    check_between,
    check_labels,
    check_points,
    check_positive,
    check_same_device,
)

__all__ = ["AdversarialHistory", "LinearHead", "adversarial_training"]


class LinearHead(nn.Module):
    """A linear layer on features that stay as they are: `points -> logits`.

    Args:
        features: `points (B, N, 3) -> (B, D)`; a module is frozen and put in evaluation
            mode here.
        width: D.
        num_classes: C.
        seed: of the first weights; global random state is not touched.
    """

    def __init__(
        self,
        features: Callable[[Tensor], Tensor],
        width: int,
        num_classes: int,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_positive("width", width)
        check_between("num_classes", num_classes, 2, float("inf"))
        if isinstance(features, nn.Module):
            features.eval().requires_grad_(False)
        self.features = features
        source = torch.Generator().manual_seed(seed)
        weight = torch.randn(num_classes, width, generator=source) / width**0.5
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, points: Tensor) -> Float[Tensor, "B C"]:
        """(B, N, 3) -> logits (B, C)."""
        return F.linear(self.features(points), self.weight, self.bias)


@dataclass(frozen=True, kw_only=True)
class AdversarialHistory:
    """What happened in adversarial training.

    Attributes:
        epochs: for each epoch, the first being the state before training: loss (None
            before training), val_clean_accuracy, val_robust_accuracy.
        best_epoch: the one whose parameters were kept.
    """

    epochs: tuple[dict[str, float | None], ...]
    best_epoch: int


def adversarial_training(
    forward: Callable[[Tensor], Tensor],
    parameters: Mapping[str, Tensor],
    points: Tensor,
    labels: Tensor,
    attack: Callable,
    *,
    val_points: Tensor,
    val_labels: Tensor,
    val_attack: Callable | None = None,
    epochs: int = 5,
    batch_size: int = 32,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    clean_weight: float = 0.0,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    seed: int = 0,
) -> AdversarialHistory:
    """Train parameters with cross-entropy on clouds attacked through the model.

    Implements Madry et al. 2018 [arXiv 1706.06083], Eq. 2.1, for a few parameters of an
    otherwise frozen model: a linear head (`LinearHead`), or prompts, which is the
    baseline "adversarial training" of MRPD [arXiv 2511.21574]: no teachers. Each batch
    is attacked anew, through the parameters it is about to change (public benchmarks
    train on clouds made once, which the model soon knows by heart).

    The parameters are changed in place. Those of the epoch with the highest accuracy
    under `val_attack` are put back at the end (the earliest of equals; before training
    counts). Everything else the model has stays as it is; it must be in evaluation
    mode, so batch norms keep their statistics.

    Args:
        forward: `points (b, N, 3) -> logits (b, C)`, differentiable in the parameters.
        parameters: what to train, by name; tensors that require gradients.
        points: (B, N, 3) training clouds.
        labels: (B,) their classes.
        attack: an `Attack`, as strong as you can pay for; a weak one flatters.
        val_points: (V, N, 3) clouds for the choice of the epoch; not the test clouds.
        val_labels: (V,).
        val_attack: what val is attacked with; None takes `attack`.
        epochs: passes over the training clouds.
        batch_size: clouds a step.
        lr: of AdamW, falling to 0 along half a cosine.
        weight_decay: of AdamW.
        clean_weight: share of the clean clouds' loss, 0 (attacked ones only) to 1.
        augment: changes training clouds before they are attacked.
        seed: of the order of the clouds, of `augment` and of the attacks.

    Returns:
        The history; the parameters are the result.

    Raises:
        ValueError: on bad clouds or labels, no parameters, parameters that cannot be
            trained or do not touch the logits, a loss that is not finite, or what the
            attack refuses (a model in training mode).
    """
    _check(parameters, points, labels, val_points, val_labels)
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("lr", lr)):
        check_positive(name, value)
    check_between("clean_weight", clean_weight, 0, 1)
    check_between("weight_decay", weight_decay, 0, float("inf"))
    val_attack = attack if val_attack is None else val_attack
    rng = torch.Generator().manual_seed(seed)
    trained = list(parameters.values())
    optimiser = torch.optim.AdamW(trained, lr=lr, weight_decay=weight_decay)
    steps = epochs * -(-len(points) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    history = [{"loss": None} | _validate(forward, val_attack, val_points, val_labels)]
    best, kept = 0, [value.detach().clone() for value in trained]
    for epoch in range(1, epochs + 1):
        total = 0.0
        order = torch.randperm(len(points), generator=rng)
        for rows in order.to(points.device).split(batch_size):
            clouds, wanted = points[rows], labels[rows]
            if augment is not None:
                clouds = augment(clouds, rng)
            attacked = attack(forward, clouds, wanted, generator=rng).points
            loss = F.cross_entropy(forward(attacked), wanted)
            if clean_weight:
                clean_loss = F.cross_entropy(forward(clouds), wanted)
                loss = (1 - clean_weight) * loss + clean_weight * clean_loss
            _step(optimiser, loss, parameters)
            schedule.step()
            total += loss.item() * len(rows)
        scores = _validate(forward, val_attack, val_points, val_labels)
        history.append({"loss": total / len(points)} | scores)
        if scores["val_robust_accuracy"] > history[best]["val_robust_accuracy"]:
            best, kept = epoch, [value.detach().clone() for value in trained]
    with torch.no_grad():
        for value, saved in zip(trained, kept, strict=True):
            value.copy_(saved)
    return AdversarialHistory(epochs=tuple(history), best_epoch=best)


def _check(
    parameters: Mapping[str, Tensor],
    points: Tensor,
    labels: Tensor,
    val_points: Tensor,
    val_labels: Tensor,
) -> None:
    check_points(points)
    check_labels(labels, batch=len(points))
    check_points(val_points, "val_points")
    check_labels(val_labels, batch=len(val_points), name="val_labels")
    check_same_device(
        points=points, labels=labels, val_points=val_points, val_labels=val_labels
    )
    if not parameters:
        raise ValueError("parameters must name at least one tensor; received none.")
    for name, value in parameters.items():
        if not (value.requires_grad and value.is_leaf):
            raise ValueError(
                f"parameter {name!r} must be a leaf that requires gradients. Is the "
                "whole model frozen? Use requires_grad_(True) on what is to be trained."
            )


def _step(
    optimiser: torch.optim.Optimizer, loss: Tensor, parameters: Mapping[str, Tensor]
) -> None:
    if not bool(torch.isfinite(loss)):
        raise ValueError(
            f"the loss became {loss.item()}: choose a smaller lr. The parameters are "
            "those of the last step."
        )
    optimiser.zero_grad()
    if loss.requires_grad:
        loss.backward()
    for name, value in parameters.items():
        if value.grad is None:
            raise ValueError(
                f"parameter {name!r} does not touch the logits: is it a part of "
                "`forward`?"
            )
    optimiser.step()


def _validate(
    forward: Callable[[Tensor], Tensor],
    attack: Callable,
    points: Tensor,
    labels: Tensor,
) -> dict[str, float]:
    """Clean and robust accuracy, with the attack's own seed 0 every time."""
    result = attack(forward, points, labels)
    robust = result.correct_before & ~result.success
    return {
        "val_clean_accuracy": result.correct_before.double().mean().item(),
        "val_robust_accuracy": robust.double().mean().item(),
    }
