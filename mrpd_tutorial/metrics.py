"""How often a model is right, how sure that number is, how often an attack misleads.

Of classes (accuracy) and of parts (intersection over union).
"""

from collections.abc import Sequence
from statistics import NormalDist

import torch
from jaxtyping import Float
from torch import Tensor

from mrpd_tutorial.checks import check_labels, check_same_device
from mrpd_tutorial.runtime import generator

__all__ = [
    "accuracy",
    "attack_success_rate",
    "bootstrap_interval",
    "class_mean",
    "paired_interval",
    "shape_ious",
    "wilson_interval",
]


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


def paired_interval(
    first: Tensor, second: Tensor, level: float = 0.95
) -> tuple[float, float, float]:
    """How much more often the second model is right on the same clouds.

    The normal interval of the mean of the differences, cloud by cloud, each -1, 0 or 1:
    clouds that both get right, or both wrong, do not blur it. For few clouds on which
    the two differ, take McNemar's exact test instead.

    Args:
        first: (B,) bool, whether the first model was right; B at least 2.
        second: (B,) bool, the same clouds, the second model.
        level: the coverage, between 0 and 1.

    Returns:
        The difference second - first, its lower and its upper bound.

    Raises:
        ValueError: if the two are not of the same two or more clouds, or level is out
            of range.

    Example:
        >>> right = torch.tensor([True, True, False, False])
        >>> [round(x, 2) for x in paired_interval(right, torch.ones(4).bool())]
        [0.5, -0.07, 1.07]
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise ValueError(
            "both models must have answered the same two or more clouds, (B,) each; "
            f"received {tuple(first.shape)} and {tuple(second.shape)}."
        )
    if not 0 < level < 1:
        raise ValueError(
            f"level must lie between 0 and 1 (0.95 for 95 %); received {level}."
        )
    difference = second.double() - first.double()
    middle = float(difference.mean())
    z = NormalDist().inv_cdf((1 + level) / 2)
    half = z * float(difference.std()) / len(first) ** 0.5
    return middle, middle - half, middle + half


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


def shape_ious(
    predicted: Tensor,
    part_labels: Tensor,
    labels: Tensor,
    class_parts: Sequence[Sequence[int]],
) -> Float[Tensor, "B"]:
    """Intersection over union of each cloud: the mean over the parts of its class.

    Implements the protocol of ShapeNet-Part [Yi et al. 2016; as in Qi et al.,
    1612.00593]: the IoU of a part is |predicted and true| / |predicted or true|; a part
    that is neither there nor predicted counts 1. The mean over all clouds is the
    instance mIoU, `class_mean` of it the class mIoU.

    Args:
        predicted: (B, N) int64, the part named for each point.
        part_labels: (B, N) int64, the part it lies on.
        labels: (B,) the classes, which say what parts count.
        class_parts: the part ids of each class.

    Returns:
        (B,) float64, in [0, 1]. A point given to a part of another class is wrong.

    Raises:
        ValueError: on other shapes or types, or labels without parts.

    Example:
        >>> truth = torch.tensor([[0, 0, 0, 1]])
        >>> shape_ious(torch.tensor([[0, 0, 1, 1]]), truth, torch.tensor([0]), [(0, 1)])
        tensor([0.5833], dtype=torch.float64)
    """
    for name, value in (("predicted", predicted), ("part_labels", part_labels)):
        is_tensor = isinstance(value, Tensor)
        if not is_tensor or value.dtype != torch.int64 or value.ndim != 2:
            came = f"{value.dtype} {tuple(value.shape)}" if is_tensor else type(value)
            raise ValueError(
                f"{name} must be int64 part ids of shape (B, N); received {came}. Use "
                "part_logits.argmax(-1)."
            )
    if predicted.shape != part_labels.shape:
        raise ValueError(
            f"predicted and part_labels must have one shape; received "
            f"{tuple(predicted.shape)} and {tuple(part_labels.shape)}."
        )
    check_labels(labels, len(class_parts), len(predicted))
    check_same_device(predicted=predicted, part_labels=part_labels, labels=labels)
    ious = torch.zeros(len(labels), dtype=torch.float64, device=labels.device)
    for label in labels.unique().tolist():
        rows = labels == label
        own = torch.tensor(class_parts[label], device=labels.device)
        said = predicted[rows][..., None] == own  # (b, N, parts)
        true = part_labels[rows][..., None] == own
        both, either = (said & true).sum(1), (said | true).sum(1)  # (b, parts)
        iou = torch.where(either > 0, both.double() / either.clamp(min=1), 1.0)
        ious[rows] = iou.mean(1)
    return ious


def class_mean(values: Tensor, labels: Tensor) -> float:
    """The mean over the classes of each class's mean; classes without clouds left out.

    Args:
        values: (B,), one number a cloud.
        labels: (B,) class ids.

    Raises:
        ValueError: if there is no cloud, or not one label for each.

    Example:
        >>> class_mean(torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0, 0, 1]))
        0.5
    """
    check_labels(labels, batch=len(values))
    if not len(values):
        raise ValueError("values must hold one number or more; received none.")
    means = [values[labels == label].double().mean() for label in labels.unique()]
    return float(torch.stack(means).mean())


def bootstrap_interval(
    values: Tensor, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval of a mean, the clouds drawn anew each time.

    Implements Efron, Ann. Stat. 7 (1979), 1-26. For few clouds (below about 20) it is
    somewhat too narrow.

    Args:
        values: (n,), one number a cloud.
        level: the coverage, between 0 and 1.
        resamples: how often n clouds are drawn from the n, with replacement.
        seed: of the draws; the same one for models that are compared.

    Returns:
        The lower and the upper bound, within the range of the values.

    Raises:
        ValueError: without values, or with a level or count out of range.

    Example:
        >>> bootstrap_interval(torch.ones(5))
        (1.0, 1.0)
    """
    if values.ndim != 1 or not len(values):
        raise ValueError(
            f"values must have shape (n,), n at least 1; received "
            f"{tuple(values.shape)}."
        )
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(
            f"level must lie between 0 and 1 and resamples be 1 or more; received "
            f"{level} and {resamples}."
        )
    n = len(values)
    rows = torch.randint(n, (resamples, n), generator=generator(seed))
    means = values.detach().cpu().double()[rows].mean(1)  # (resamples,)
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = means.quantile(tails).tolist()
    return low, high
