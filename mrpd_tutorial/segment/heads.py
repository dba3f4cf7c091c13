"""Training of the two heads, on clean clouds, everything below them frozen."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mrpd_tutorial.checks import check_positive
from mrpd_tutorial.data import PointDataset
from mrpd_tutorial.runtime import generator
from mrpd_tutorial.segment.segmenter import Below, PartSegmenter
from mrpd_tutorial.segment.teacher import MultiViewTeacher

__all__ = ["below_in_parts", "require_parts", "train_head", "train_teacher_head"]


def require_parts(data: PointDataset) -> Tensor:
    """The part labels of a data set (N, P).

    Raises:
        ValueError: if it has none, saying how to get some.
    """
    if data.part_labels is None:
        raise ValueError(
            f"{data} has no part labels. Use load_dataset('shapes', {data.split!r}, "
            "parts=True)."
        )
    return data.part_labels


@torch.no_grad()
def below_in_parts(segmenter: PartSegmenter, points: Tensor, size: int = 16) -> Below:
    """`segmenter.below`, a few clouds at a time, without gradient."""
    found = [segmenter.below(some) for some in points.split(size)]
    return Below(*(torch.cat(values) for values in zip(*found, strict=True)))


def train_head(
    segmenter: PartSegmenter,
    data: PointDataset,
    epochs: int = 30,
    learning_rate: float = 3e-3,
    batch_size: int = 16,
    seed: int = 0,
) -> list[float]:
    """Train a segmenter's head in place, on clean clouds.

    Args:
        segmenter: its prompt, if any, stays as it is, and so does its student.
        data: clouds with part labels.
        epochs: passes over them; their patch features are computed once.
        learning_rate: of AdamW, falling along a cosine to 0.
        batch_size: clouds a step.
        seed: of the order of the clouds.

    Returns:
        The mean cross-entropy of the points, for each epoch.

    Raises:
        ValueError: if data has no part labels, or others than the segmenter.
    """
    targets = require_parts(data)
    _require_same_parts(segmenter.class_parts, data)
    below = below_in_parts(segmenter, data.points)
    with torch.no_grad():
        patches = segmenter.student.patch_features(below.tokens, segmenter.prompt)

    def answer(rows: Tensor) -> Tensor:
        return segmenter.head(below.rows(rows), patches[rows], data.labels[rows])

    weights = segmenter.head_parameters()
    options = (epochs, learning_rate, batch_size, seed)
    return _train(weights, answer, targets, *options)


def train_teacher_head(
    teacher: MultiViewTeacher,
    data: PointDataset,
    epochs: int = 30,
    learning_rate: float = 1e-2,
    batch_size: int = 16,
    seed: int = 0,
    points_per_cloud: int = 256,
) -> list[float]:
    """Train a teacher's linear head in place, on clean clouds; as `train_head`.

    Args:
        points_per_cloud: how many points of each cloud are learned from, chosen at
            random; more of them cost time and change little.
    """
    targets = require_parts(data)
    features, counts = teacher.features(data.points)
    order = torch.randperm(targets.shape[1], generator=generator(seed))
    order = order[:points_per_cloud].to(targets.device)
    features, counts, targets = features[:, order], counts[:, order], targets[:, order]
    seen = features[counts > 0]  # (points, F)
    teacher.mean.copy_(seen.mean(0))
    teacher.std.copy_(seen.std(0).clamp(min=1e-3))

    def answer(rows: Tensor) -> Tensor:
        return teacher.head(features[rows], counts[rows], data.labels[rows])

    weights = list(teacher.out.parameters())
    options = (epochs, learning_rate, batch_size, seed)
    return _train(weights, answer, targets, *options)


def _require_same_parts(
    class_parts: tuple[tuple[int, ...], ...], data: PointDataset
) -> None:
    if data.class_parts != class_parts:
        raise ValueError(
            f"data must have the parts the segmenter was made for, {class_parts}; "
            f"received {data.class_parts}. Make it with PartSegmenter(student, "
            "data.class_parts)."
        )


def _train(
    weights: list[nn.Parameter],
    answer: Callable[[Tensor], Tensor],
    targets: Tensor,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
) -> list[float]:
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        check_positive(name, value)
    optimizer = torch.optim.AdamW(weights, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    shuffle, history = generator(seed), []
    try:
        for weight in weights:
            weight.requires_grad_(True)
        for _ in range(epochs):
            total = 0.0
            order = torch.randperm(len(targets), generator=shuffle).to(targets.device)
            for rows in order.split(batch_size):
                loss = F.cross_entropy(
                    answer(rows).flatten(0, 1), targets[rows].flatten()
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(rows)
            schedule.step()
            history.append(total / len(targets))
    finally:
        for weight in weights:
            weight.requires_grad_(False)
            weight.grad = None
    return history
