"""What a demo's result says of its parts, as JSON values."""

import itertools
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import torch
from torch import Tensor, nn

from mrpd_tutorial.data import PointDataset
from mrpd_tutorial.distill import DistillResult, inference_cost
from mrpd_tutorial.projection import View
from mrpd_tutorial.zoo import Lab

__all__ = [
    "config",
    "cost",
    "data",
    "distilled",
    "durations",
    "example",
    "lab",
    "views",
]

# What the tiny lab's models stand in for, so that no number passes for the paper's.
STAND_INS = {
    "student": "Uni3D-Ti",
    "point_teacher": "Uni3D-B",
    "image_teacher": "the image tower of CLIP EVA02-E-14-plus",
    "text_teacher": "the text tower of CLIP EVA02-E-14-plus",
}
_COSTED = 16


def config(settings: Any) -> dict[str, Any]:
    """A DemoConfig; of the root only the folder's name, which says nothing private."""
    values = {f.name: getattr(settings, f.name) for f in fields(settings)}
    values["distill"] = settings.distill.as_dict()
    if settings.root is not None:
        values["root"] = os.path.basename(os.path.normpath(settings.root))
    return values


def data(splits: Mapping[str, PointDataset]) -> dict[str, Any]:
    """The clouds used: how many, of what, and their hashes."""
    test = splits["test"]
    return {
        "name": test.name,
        "frame": test.frame,
        "class_names": list(test.class_names),
        "num_points": test.points.shape[1],
        "clouds": {name: len(split) for name, split in splits.items()},
        "test_counts": test.class_counts(),
        "hash": {name: split.hash() for name, split in splits.items()},
    }


def lab(models: Lab) -> dict[str, Any]:
    """The models: their sizes, cards, and what they stand in for."""
    parts = {
        "student": models.student,
        "point_teacher": models.point_teacher,
        "image_teacher": models.image_teacher.clip_model.visual,
        "text_teacher": models.text_teacher.tower,
    }
    return {
        "name": models.name,
        "is_stand_in": models.name != "paper",
        "stand_ins": STAND_INS,
        "parameters": {
            name: sum(p.numel() for p in part.parameters())
            for name, part in parts.items()
        },
        "views": len(views(models)),
        "resolution": models.image_teacher.resolution,
        "card": dict(models.card),
        "digest": models.digest(),
    }


def distilled(result: DistillResult) -> dict[str, Any]:
    """The history, the epoch that was kept, and how many numbers were learned."""
    learned = {"prompt": result.prompt, "context": result.context}
    return {
        "history": result.history,
        "undefended": result.undefended,
        "best_epoch": result.best_epoch,
        "shapes": {k: list(v.shape) for k, v in learned.items() if v is not None},
        "numbers_learned": sum(v.numel() for v in learned.values() if v is not None),
    }


def cost(models: Mapping[str, nn.Module], points: Tensor) -> dict[str, Any]:
    """Time and multiply-adds of the student without (first) and with prompts (last)."""
    names = list(models)
    return {
        name: asdict(inference_cost(models[name], points[:_COSTED]))
        for name in (names[0], names[-1])
    }


@torch.no_grad()
def example(
    models: Mapping[str, nn.Module],
    lab: Lab,
    texts: Tensor,
    test: PointDataset,
    static: Tensor,
    index: int,
) -> dict[str, Any]:
    """One cloud before and after the attack, and what each model says of it.

    Args:
        models: name -> `points -> logits`.
        lab: for the names of the views.
        texts: (C, D) class text features, unit norm.
        test: the clean clouds.
        static: (B, N, 3) the attacked ones.
        index: which.
    """
    pair = torch.stack([test.points[index], static[index]])  # (2, N, 3)
    label = int(test.labels[index])
    closeness = texts @ texts[label]  # (C,)
    nearest = [int(c) for c in closeness.argsort(descending=True) if int(c) != label]
    moved = (pair[1] - pair[0]).norm(dim=1)
    return {
        "label": label,
        "id": None if test.ids is None else test.ids[index],
        "caption": None if test.captions is None else test.captions[index],
        "opinions": {
            name: model(pair).softmax(1).tolist() for name, model in models.items()
        },
        "nearest_texts": [
            [test.class_names[c], float(closeness[c])] for c in nearest[:3]
        ],
        "mean_displacement": float(moved.mean()),
        "max_displacement": float(moved.max()),
        "view_names": [view.name for view in views(lab)],
    }


def views(lab: Lab) -> tuple[View, ...]:
    """The image teacher's views, also where it is a single one."""
    chosen = lab.image_teacher.views
    return (chosen,) if isinstance(chosen, View) else tuple(chosen)


def durations(clock: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each stage from the moments at which the stages ended."""
    pairs = itertools.pairwise(clock.items())
    spent = {name: end - start for (_, start), (name, end) in pairs}
    return spent | {"total": sum(spent.values())}
