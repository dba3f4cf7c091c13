"""Part labels: which ids belong to which class, and whether labels keep to them."""

import torch
from torch import Tensor

from mrpd_tutorial.checks import check_same_device

__all__ = ["check_parts", "part_ids"]


def part_ids(part_names: tuple[tuple[str, ...], ...]) -> tuple[tuple[int, ...], ...]:
    """The part ids of each class, counted on from class to class.

    Example:
        >>> part_ids((("leg", "seat"), ("body", "wing", "tail")))
        ((0, 1), (2, 3, 4))
    """
    ids, first = [], 0
    for names in part_names:
        ids.append(tuple(range(first, first + len(names))))
        first += len(names)
    return tuple(ids)


def check_parts(
    part_labels: Tensor | None,
    part_names: tuple[tuple[str, ...], ...] | None,
    points: Tensor,
    labels: Tensor,
) -> None:
    """Check that every point lies on a part of its own cloud's class.

    Args:
        part_labels: (N, P) int64.
        part_names: the names of the parts of each class.
        points: (N, P, 3).
        labels: (N,) class ids.

    Raises:
        ValueError: if one of the two is missing, or they do not fit.
    """
    if part_labels is None or part_names is None:
        raise ValueError(
            "part_labels and part_names belong together; received only "
            f"{'part_names' if part_labels is None else 'part_labels'}."
        )
    count = int(labels.max()) + 1 if len(labels) else 0
    if len(part_names) < count or not all(part_names):
        raise ValueError(
            f"part_names must name the parts of each class, one or more; received "
            f"{part_names} for labels up to {count - 1}."
        )
    if part_labels.dtype != torch.int64 or part_labels.shape != points.shape[:2]:
        raise ValueError(
            f"part_labels must be int64 of shape {tuple(points.shape[:2])}, one for "
            f"each point; received {part_labels.dtype} {tuple(part_labels.shape)}."
        )
    check_same_device(points=points, part_labels=part_labels)
    ids = part_ids(part_names)
    low = torch.tensor([own[0] for own in ids], device=labels.device)[labels]
    high = torch.tensor([own[-1] for own in ids], device=labels.device)[labels]
    wrong = (part_labels < low[:, None]) | (part_labels > high[:, None])  # (N, P)
    if bool(wrong.any()):
        row = int(wrong.any(1).nonzero()[0])
        raise ValueError(
            f"part_labels must be parts of the cloud's own class; cloud {row} of class "
            f"{int(labels[row])} may have {int(low[row])}..{int(high[row])} and has "
            f"{int(part_labels[row][wrong[row]][0])}. Part ids run on through the "
            "classes."
        )
