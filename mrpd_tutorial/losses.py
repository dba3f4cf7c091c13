"""The paper's losses: what is taught, and how much it counts."""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mrpd_tutorial.checks import (
    check_features,
    check_positive,
    check_same_device,
)

__all__ = [
    "UncertaintyWeights",
    "gated_contrastive_loss",
]


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
        gate: (B,), from a function of `mrpd_tutorial.gates`: bool, or weights in 0..1
            (the paper has none): a row counts by its weight, and its reference is a
            negative of the others if it is above 0.
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
    is_gate = is_tensor and (gate.dtype == torch.bool or gate.is_floating_point())
    if not is_gate or gate.shape != (rows,):
        came = f"{gate.dtype} of shape {tuple(gate.shape)}" if is_tensor else type(gate)
        raise ValueError(
            f"gate must be bool, or float weights, of shape ({rows},), one entry per "
            f"sample; received {came}. confidence_gate makes it."
        )
    if gate.is_floating_point() and not ((gate >= 0) & (gate <= 1)).all():
        raise ValueError("gate must hold weights from 0 to 1; some are not.")
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
    each = F.cross_entropy(similarity, target, reduction="none")
    each = each + F.cross_entropy(similarity.T, target, reduction="none")  # (B_sel,)
    weights = gate[chosen].to(each.dtype)
    return (weights * each).sum() / weights.sum() / 2


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
