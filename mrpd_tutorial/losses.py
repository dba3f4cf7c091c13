"""The paper's losses: who may teach (the gate), what is taught, how much it counts."""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from mrpd_tutorial.checks import (
    check_between,
    check_features,
    check_labels,
    check_positive,
    check_same_device,
)

__all__ = [
    "UncertaintyWeights",
    "confidence_gate",
    "gated_contrastive_loss",
    "released_gate",
]


def confidence_gate(
    reference_features: Tensor,
    class_text_features: Tensor,
    labels: Tensor,
    k: int = 1,
    temperature: float = 0.07,
) -> Bool[Tensor, "B"]:
    """Let a teacher teach a sample only where it ranks the true class in its top k.

    Implements Eqs. 5-6 of [MRPD, arXiv 2511.21574]: logits = z_ref z_T^T / tau, of
    shape (B, C); sample i passes if its label is among the k largest of row i. Equal
    logits rank by class id, lowest first, so that the result never depends on chance.

    The released code differs: see `released_gate`.

    Args:
        reference_features: (B, D), a teacher's features, one row per sample, unit norm.
        class_text_features: (C, D), one row per CLASS, unit norm. Features already
            indexed by label, (B, D), are the released code's mistake.
        labels: (B,) class ids in 0..C-1.
        k: how many classes the teacher may name, 1..C.
        temperature: tau, above 0. It does not change the ranking; it is here because
            Eq. 5 has it.

    Returns:
        (B,), True where the teacher's features may be used. No gradient.

    Raises:
        ValueError: if shapes, types, devices or ranges do not fit.

    Example:
        >>> texts = torch.eye(3)
        >>> confidence_gate(texts[[0, 2]], texts, torch.tensor([0, 1]))
        tensor([ True, False])
    """
    _check_gate_inputs(reference_features, class_text_features, labels)
    check_between("k", k, 1, len(class_text_features))
    check_positive("temperature", temperature)
    with torch.no_grad():
        logits = reference_features @ class_text_features.T / temperature  # (B, C)
        own = logits.gather(1, labels[:, None])  # (B, 1)
        classes = torch.arange(logits.shape[1], device=logits.device)
        earlier = classes < labels[:, None]  # (B, C)
        rank = ((logits > own) | ((logits == own) & earlier)).sum(1)  # (B,)
    return rank < k


def released_gate(
    reference_features: Tensor, class_text_features: Tensor, labels: Tensor
) -> Bool[Tensor, "B"]:
    """The gate as the released code computes it, kept to show what it does.

    The released code hands text features that are already indexed by label to the
    gate. The logits are then (B, B), their top-1 is a POSITION in the batch, and it is
    compared with a CLASS id: with 40 classes and batches of 32, about 2.5 % of the
    samples pass, however good the teacher is.

    Args:
        reference_features: (B, D), a teacher's features, unit norm.
        class_text_features: (C, D), one row per class, unit norm (indexed by label in
            here, as the released caller does).
        labels: (B,) class ids in 0..C-1.

    Returns:
        (B,), True where the released code uses the sample. No gradient.

    Raises:
        ValueError: if shapes, types, devices or ranges do not fit.
    """
    _check_gate_inputs(reference_features, class_text_features, labels)
    if len(labels) == 0:
        return torch.zeros_like(labels, dtype=torch.bool)
    with torch.no_grad():
        texts_by_label = class_text_features[labels]  # (B, D)
        logits = reference_features @ texts_by_label.T  # (B, B)
        return logits.argmax(dim=1) == labels


def _check_gate_inputs(
    reference_features: Tensor, class_text_features: Tensor, labels: Tensor
) -> None:
    check_features(class_text_features, "class_text_features")
    if len(class_text_features) == 0:
        raise ValueError(
            "class_text_features must have a row for each class; received none."
        )
    dim = class_text_features.shape[1]
    check_features(reference_features, "reference_features", dim=dim)
    check_labels(labels, len(class_text_features), len(reference_features))
    check_same_device(
        reference_features=reference_features,
        class_text_features=class_text_features,
        labels=labels,
    )


def gated_contrastive_loss(
    student_features: Tensor,
    reference_features: Tensor,
    gate: Tensor,
    temperature: float | Tensor,
) -> Float[Tensor, ""]:
    """Pull each student feature to its own reference and off the others' in the batch.

    Implements Eq. 7: over the B_sel rows that pass the gate, S = z_s z_ref^T / tau and
    L = (CE(S, y) + CE(S^T, y)) / 2 with y = 0..B_sel-1. As in the paper, samples of the
    same class count as negatives of each other.

    Args:
        student_features: (B, D), unit norm.
        reference_features: (B, D), unit norm, row i belonging to sample i.
        gate: (B,) bool, from `confidence_gate`.
        temperature: tau, above 0; a tensor with one element may be learned.

    Returns:
        Scalar; exactly 0 (with zero gradients) if fewer than two rows pass, because a
        single row has no negatives.

    Raises:
        ValueError: if shapes, types or devices do not fit.
    """
    check_features(student_features, "student_features")
    rows, dim = student_features.shape
    check_features(reference_features, "reference_features", rows, dim)
    is_tensor = isinstance(gate, Tensor)
    if not is_tensor or gate.dtype != torch.bool or gate.shape != (rows,):
        came = f"{gate.dtype} of shape {tuple(gate.shape)}" if is_tensor else type(gate)
        raise ValueError(
            f"gate must be bool of shape ({rows},), one entry per sample; received "
            f"{came}. confidence_gate makes it."
        )
    check_same_device(
        student_features=student_features,
        reference_features=reference_features,
        gate=gate,
    )
    check_positive("temperature", float(torch.as_tensor(temperature).detach()))
    chosen = gate.nonzero()[:, 0]  # (B_sel,)
    if len(chosen) < 2:
        # Still part of the graph, so that backward() works on a batch nobody teaches.
        return (student_features * 0.0).sum()
    similarity = student_features[chosen] @ reference_features[chosen].T / temperature
    target = torch.arange(len(chosen), device=gate.device)  # similarity: (B_sel, B_sel)
    loss = F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)
    return loss / 2


class UncertaintyWeights(nn.Module):
    """Learn how much each loss counts, by one log-variance lambda per loss.

    Implements Eq. 8, L = sum_k exp(-lambda_k) L_k + lambda_k, after Kendall, Gal and
    Cipolla [arXiv 1705.07115]. lambda starts at 0 and is bounded from below, so that a
    weight never exceeds exp(-floor). At the bound the gradient lives on: it passes the
    bound unchanged (straight through), and `project_` after each optimizer step puts
    lambda back onto the bound, so that the first push upward moves it.

    The released code differs: the floor is -0.8, and torch.clamp stops the gradient, so
    that a lambda once below the floor never comes back
    (`UncertaintyWeights(names, floor=-0.8, straight_through=False)`).

    Args:
        names: the losses, for instance ("image", "point", "text").
        floor: lower bound of lambda.
        straight_through: False for torch.clamp's gradient.

    Attributes:
        log_variances: parameter (K,), lambda in the order of `names`.

    Raises:
        ValueError: without names, with a name twice, or with a floor above 0.

    Example:
        >>> weights = UncertaintyWeights(["image", "text"])
        >>> total = weights({"image": torch.tensor(2.0), "text": torch.tensor(1.0)})
        >>> total.item(), weights.weights()
        (3.0, {'image': 1.0, 'text': 1.0})
    """

    def __init__(
        self,
        names: Iterable[str],
        floor: float = -1.0,
        straight_through: bool = True,
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        if not self.names or len(set(self.names)) != len(self.names):
            raise ValueError(
                f"names must name each loss once, at least one; received {self.names}."
            )
        if not float("-inf") < floor <= 0:
            raise ValueError(
                f"floor must be finite and at most 0, where lambda starts; received "
                f"{floor}. The paper uses -1.0."
            )
        self.floor = float(floor)
        self.straight_through = straight_through
        self.log_variances = nn.Parameter(torch.zeros(len(self.names)))

    def forward(self, losses: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Add up the losses.

        Args:
            losses: one scalar tensor for each name.

        Returns:
            Scalar, sum_k exp(-lambda_k) L_k + lambda_k.

        Raises:
            ValueError: if the names differ from those given at the start.
        """
        if set(losses) != set(self.names):
            raise ValueError(
                f"losses must hold one loss for each of {', '.join(self.names)}; "
                f"received {', '.join(losses) or 'none'}."
            )
        stacked = torch.stack([losses[name].reshape(()) for name in self.names])  # (K,)
        bounded = self._bounded()
        return (torch.exp(-bounded) * stacked + bounded).sum()

    @torch.no_grad()
    def project_(self) -> None:
        """Put each lambda that an optimizer step carried below the floor back onto it.

        Without straight_through this does nothing, as in the released code.
        """
        if self.straight_through:
            self.log_variances.clamp_(min=self.floor)

    @torch.no_grad()
    def weights(self) -> dict[str, float]:
        """The weights exp(-lambda_k), 1 / sigma^2 in the paper's figure."""
        return dict(zip(self.names, torch.exp(-self._bounded()).tolist(), strict=True))

    def _bounded(self) -> Tensor:
        raw = self.log_variances
        bounded = raw.clamp(min=self.floor)
        # The value of the bounded lambda with the gradient of the raw one.
        return raw + (bounded - raw).detach() if self.straight_through else bounded
