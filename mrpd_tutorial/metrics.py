"""How often a model is right, how sure that number is, how often an attack misleads."""

from statistics import NormalDist

import torch
from torch import Tensor

from mrpd_tutorial.checks import check_labels, check_same_device

__all__ = ["accuracy", "attack_success_rate", "wilson_interval"]


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of clouds whose largest logit is at the true class.

    Args:
        logits: (B, C), finite.
        labels: (B,) class ids in 0..C-1.

    Returns:
        Between 0 and 1.

    Raises:
        ValueError: on other shapes, without clouds, with NaN or labels out of range.

    Example:
        >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
        0.5
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2 or 0 in logits.shape:
        came = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits)
        raise ValueError(
            f"logits must have shape (B, C) with at least one cloud and one class; "
            f"received {came}."
        )
    if not bool(torch.isfinite(logits).all()):
        raise ValueError(
            "logits must be finite; received NaN or infinite numbers. Does the model "
            "get clouds outside the unit sphere, or is a weight damaged?"
        )
    check_labels(labels, logits.shape[1], logits.shape[0])
    check_same_device(logits=logits, labels=labels)
    return float((logits.argmax(1) == labels).double().mean())


def wilson_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a share, good for few trials and shares near 0 or 1.

    Implements Wilson, J. Am. Stat. Assoc. 22 (1927), 209-212.

    Args:
        successes: how many of n, 0..n.
        n: how many trials, at least 1.
        level: the coverage, between 0 and 1.

    Returns:
        The lower and the upper bound, within [0, 1].

    Raises:
        ValueError: if the numbers do not fit.

    Example:
        >>> [round(bound, 3) for bound in wilson_interval(8, 10)]
        [0.49, 0.943]
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(
            f"successes must lie in 0..n with n at least 1; received {successes} of "
            f"{n}."
        )
    if not 0 < level < 1:
        raise ValueError(
            f"level must lie between 0 and 1 (0.95 for 95 %); received {level}."
        )
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z / scale * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    # The formula gives 0 and 1 exactly at the ends; only its rounding does not.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def attack_success_rate(before_correct: Tensor, after_correct: Tensor) -> float:
    """The share of originally correct clouds that an attack misleads.

    Clouds that were wrong before the attack count for nothing. Where no cloud was
    correct there is nothing to mislead, and the rate is 0.

    Args:
        before_correct: (B,) bool, whether the clean cloud was classified correctly.
        after_correct: (B,) bool, the same after the attack.

    Returns:
        Between 0 and 1.

    Raises:
        ValueError: if the two are not bool tensors of one shape (B,).

    Example:
        >>> before = torch.tensor([True, True, False])
        >>> attack_success_rate(before, torch.tensor([False, True, False]))
        0.5
    """
    for name, value in (
        ("before_correct", before_correct),
        ("after_correct", after_correct),
    ):
        is_tensor = isinstance(value, Tensor)
        if not is_tensor or value.dtype != torch.bool or value.ndim != 1:
            came = (
                f"{value.dtype} of shape {tuple(value.shape)}"
                if is_tensor
                else type(value)
            )
            raise ValueError(
                f"{name} must be bool of shape (B,); received {came}. Use "
                "logits.argmax(1) == labels."
            )
    if before_correct.shape != after_correct.shape:
        raise ValueError(
            f"before_correct and after_correct must have the same length; received "
            f"{len(before_correct)} and {len(after_correct)}."
        )
    check_same_device(before_correct=before_correct, after_correct=after_correct)
    correct = int(before_correct.sum())
    misled = int((before_correct & ~after_correct).sum())
    return misled / correct if correct else 0.0
