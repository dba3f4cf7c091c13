"""Gates: which samples a teacher may teach, and how much each of them counts.

The paper's gate is `confidence_gate`; `released_gate` is the released code's. The
others are alternatives to measure it against.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mrpd_tutorial.checks import (
    check_between,
    check_features,
    check_labels,
    check_positive,
    check_same_device,
)

__all__ = [
    "confidence_gate",
    "entropy_gate",
    "released_gate",
    "soft_gate",
    "threshold_gate",
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


def threshold_gate(
    reference_features: Tensor,
    class_text_features: Tensor,
    labels: Tensor,
    level: float = 0.5,
    temperature: float = 0.07,
) -> Bool[Tensor, "B"]:
    """Let a teacher teach where it gives the true class at least `level`.

    Ours, for comparison with Eqs. 5-6 of [MRPD, arXiv 2511.21574]: not the rank of the
    true class decides, but its probability.

    Args:
        reference_features, class_text_features, labels: as in `confidence_gate`.
        level: least probability of the true class, 0..1; 0 lets all pass.
        temperature: tau of the softmax over the classes, above 0.

    Returns:
        (B,), True where the teacher's features may be used. No gradient.

    Raises:
        ValueError: if shapes, types, devices or ranges do not fit.
    """
    check_between("level", level, 0, 1)
    own = soft_gate(reference_features, class_text_features, labels, temperature)
    return own >= level


def entropy_gate(
    reference_features: Tensor,
    class_text_features: Tensor,
    labels: Tensor,
    level: float = 0.5,
    temperature: float = 0.07,
) -> Bool[Tensor, "B"]:
    """Let a teacher teach where its opinion is clear, be it right or wrong.

    Ours, for comparison: it needs no labels (they are only checked), as where clouds
    are unlabelled, and so it cannot tell a confident mistake from knowledge.

    Args:
        reference_features, class_text_features, labels: as in `confidence_gate`.
        level: highest entropy of the teacher's class probabilities, as a share of the
            entropy log C of having no opinion, 0..1; 1 lets all pass.
        temperature: tau of the softmax over the classes, above 0.

    Returns:
        (B,), True where the teacher's features may be used. No gradient.

    Raises:
        ValueError: if shapes, types, devices or ranges do not fit, or there is one
            class only.
    """
    check_between("level", level, 0, 1)
    _check_gate_inputs(reference_features, class_text_features, labels)
    if len(class_text_features) < 2:
        raise ValueError(
            "class_text_features must hold two classes at least: the entropy over one "
            "class says nothing. Use gate='none'."
        )
    check_positive("temperature", temperature)
    with torch.no_grad():
        logs = _log_probabilities(reference_features, class_text_features, temperature)
        entropy = -(logs.exp() * logs).sum(1)  # (B,)
    most = math.log(len(class_text_features))
    return entropy <= level * most * (1 + 1e-6)  # rounding


def soft_gate(
    reference_features: Tensor,
    class_text_features: Tensor,
    labels: Tensor,
    temperature: float = 0.07,
) -> Float[Tensor, "B"]:
    """Let each sample count by the probability its teacher gives to the true class.

    Ours, for comparison: nobody is shut out, doubtful teaching counts less.

    Args:
        reference_features, class_text_features, labels: as in `confidence_gate`.
        temperature: tau of the softmax over the classes, above 0.

    Returns:
        (B,) weights in 0..1. No gradient.

    Raises:
        ValueError: if shapes, types, devices or ranges do not fit.
    """
    _check_gate_inputs(reference_features, class_text_features, labels)
    check_positive("temperature", temperature)
    with torch.no_grad():
        logs = _log_probabilities(reference_features, class_text_features, temperature)
        return logs.gather(1, labels[:, None])[:, 0].exp()


def _log_probabilities(
    reference_features: Tensor, class_text_features: Tensor, temperature: float
) -> Tensor:
    logits = reference_features @ class_text_features.T / temperature  # (B, C)
    return logits.log_softmax(dim=1)


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
