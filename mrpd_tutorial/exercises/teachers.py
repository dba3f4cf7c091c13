"""Exercises on the teachers: naming by cosine, averaging views, who is fooled."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from mrpd_tutorial import metrics
from mrpd_tutorial.exercises.base import Attempt, Exercise, expect, unchanged
from mrpd_tutorial.runtime import generator

__all__ = ["EXERCISES", "average_views", "success_table", "zero_shot"]


def zero_shot(features: Tensor, class_text_features: Tensor) -> Tensor:
    """Name each cloud by the text at the smallest angle, without any training.

    Args:
        features: (B, D), of any length.
        class_text_features: (C, D), of any length.

    Returns:
        (B,) class ids.
    """
    cosines = F.normalize(features, dim=1) @ F.normalize(class_text_features, dim=1).T
    return cosines.argmax(1)  # of (B, C)


def _test_zero_shot(attempt: Attempt) -> None:
    texts = torch.randn(6, 16, generator=generator(0))
    features = torch.randn(50, 16, generator=generator(1))
    # Lengths differ widely: a dot product would name the longest text.
    lengths = torch.tensor([0.1, 1, 3, 10, 0.5, 2])[:, None]
    before = texts.clone()
    found = attempt(features, lengths * texts)
    unchanged(before, texts, "The text features")
    wanted = zero_shot(features, texts)
    expect(
        found,
        wanted,
        "50 clouds, 6 classes whose texts have different lengths",
        {
            "Long texts win a dot product, whatever their direction: divide the text "
            "features by their length first.": (features @ (lengths * texts).T).argmax(
                1
            ),
            "Those are the least similar classes.": zero_shot(-features, texts),
            "That is the best cloud for each class: take the maximum over classes, the "
            "columns.": zero_shot(texts, features),
            "Those are similarities. Which class has the largest?": F.normalize(
                features, dim=1
            )
            @ F.normalize(texts, dim=1).T,
        },
    )


def average_views(view_features: Tensor) -> Tensor:
    """One unit feature (B, D) from those of all views (B, V, D), as the image teacher.

    Each view counts the same: brought to unit length, averaged, to unit length again.
    """
    return F.normalize(F.normalize(view_features, dim=-1).mean(1), dim=-1)


def _test_average_views(attempt: Attempt) -> None:
    lengths = torch.tensor([1.0, 5.0, 0.2, 1.0])[:, None]
    views = torch.randn(5, 4, 8, generator=generator(2)) * lengths
    before = views.clone()
    found = attempt(views)
    unchanged(before, views, "The views' features")
    unit = F.normalize(views, dim=-1)
    expect(
        found,
        average_views(views),
        "5 clouds, 4 views of different lengths",
        {
            "The mean of unit vectors is shorter than 1: normalise once more, or "
            "clouds whose views disagree would count less.": unit.mean(1),
            "Views with long features outvote the others: normalise each view before "
            "you average.": F.normalize(views.mean(1), dim=-1),
            "Normalise each view first, and the mean once more.": views.mean(1),
        },
    )


def success_table(
    models: Mapping[str, Callable[[Tensor], Tensor]],
    points: Tensor,
    clouds: Mapping[str, Tensor],
    labels: Tensor,
) -> Tensor:
    """Who is fooled by whose clouds: attack success rates.

    Args:
        models: name -> `points (B, N, 3) -> logits (B, C)`; M of them.
        points: (B, N, 3), clean.
        clouds: name of the model they were made on -> (B, N, 3); S of them.
        labels: (B,).

    Returns:
        (S, M): entry (s, m) is the share of the clouds which model m had right when
        clean and has wrong as attacked on source s. 0 where it had none right.
    """
    rows = []
    for attacked in clouds.values():
        row = []
        for model in models.values():
            with torch.no_grad():
                before = model(points).argmax(1) == labels
                after = model(attacked).argmax(1) == labels
            row.append(metrics.attack_success_rate(before, after))
        rows.append(row)
    return torch.tensor(rows)


def _test_success_table(attempt: Attempt) -> None:
    def along(axis: int, bias: float) -> Callable[[Tensor], Tensor]:
        def model(points: Tensor) -> Tensor:
            value = points[..., axis].mean(1) + bias
            return torch.stack([value, -value], 1)

        return model

    # One model looks along x, one along y, one has the wrong idea of where 0 is.
    models = {"x": along(0, 0.0), "y": along(1, 0.0), "poor": along(0, 0.6)}
    labels = torch.tensor([0, 1] * 10)
    side = 1.0 - 2.0 * labels[:, None, None]  # (B, 1, 1)
    points = 0.5 * side + 0.4 * torch.randn(20, 6, 3, generator=generator(3))
    shift = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.6, 0.0])
    clouds = {"x": points - side * shift[0], "y": points - side * shift[1]}
    wanted = success_table(models, points, clouds, labels)
    wrong, joint = [], []
    for attacked in clouds.values():
        right = [m(points).argmax(1) == labels for m in models.values()]
        after = [m(attacked).argmax(1) == labels for m in models.values()]
        wrong.append([1 - float(a.float().mean()) for a in after])
        pairs = zip(right, after, strict=True)
        joint.append([float((b & ~a).float().mean()) for b, a in pairs])
    expect(
        attempt(models, points, clouds, labels),
        wanted,
        "Two sets of clouds, three models",
        {
            "That is the share of all clouds that are wrong: a poor model is wrong "
            "without an attack. Count only clouds it had right before.": torch.tensor(
                wrong
            ),
            "Divide by the clouds that this model had right before, not by all.": (
                torch.tensor(joint)
            ),
            "A row is a source of clouds, a column a model: it is the other way "
            "round.": wanted.T.contiguous(),
            "Those are accuracies: success is the opposite.": 1 - wanted,
        },
    )


EXERCISES = {
    "zero_shot": Exercise(
        reference=zero_shot,
        test=_test_zero_shot,
        tested="50 clouds went to the text at the smallest angle, whatever its length.",
        level="easy",
        minutes=5,
    ),
    "average_views": Exercise(
        reference=average_views,
        test=_test_average_views,
        tested="Every view counted the same, and the mean has unit length.",
        level="medium",
        minutes=10,
    ),
    "success_table": Exercise(
        reference=success_table,
        test=_test_success_table,
        tested="Two sources and three models, one of them often wrong without attack.",
        level="hard",
        minutes=20,
    ),
}
