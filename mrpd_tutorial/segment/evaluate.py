"""mIoU of segmenters on clean, static and adaptive clouds, with intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mrpd_tutorial.checks import check_choice
from mrpd_tutorial.data import PointDataset
from mrpd_tutorial.metrics import bootstrap_interval, class_mean, shape_ious
from mrpd_tutorial.segment.attack import SegmentationPGD
from mrpd_tutorial.segment.heads import require_parts

__all__ = ["PartRow", "evaluate_parts", "parts_table"]

Segmenter = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class PartRow:
    """One segmenter under one threat model.

    Args:
        model: its name.
        threat_model: "clean"; "static": clouds made once, on the undefended segmenter;
            "adaptive": made on this very segmenter, through its prompts.
        n: clouds.
        mean_iou: instance mIoU, the mean over the clouds.
        low, high: its 95 % bootstrap interval over the clouds.
        class_iou: class mIoU, the mean over the classes of their clouds' mean.
        of_class: the mean of each class that has clouds.
        point_accuracy: share of all points named right.
        ious: the score of each cloud, in the order of the data.
    """

    model: str
    threat_model: str
    n: int
    mean_iou: float
    low: float
    high: float
    class_iou: float
    of_class: dict[str, float]
    point_accuracy: float
    ious: tuple[float, ...]

    def gain_over(self, other: "PartRow") -> tuple[float, float, float]:
        """How much higher the mIoU is than another row's, and its 95 % interval.

        Cloud by cloud, so that what makes a cloud easy or hard for both cancels: much
        narrower than the two intervals side by side.

        Raises:
            ValueError: if the rows are of different numbers of clouds.
        """
        if self.n != other.n:
            raise ValueError(
                f"both rows must be of the same clouds; received {self.n} and "
                f"{other.n}."
            )
        gains = torch.tensor(self.ious) - torch.tensor(other.ious)
        return float(gains.mean()), *bootstrap_interval(gains)


@torch.no_grad()
def _answers(segmenter: Segmenter, points: Tensor, labels: Tensor) -> Tensor:
    """(B, N) the part named for each point, 16 clouds at a time."""
    parts = zip(points.split(16), labels.split(16), strict=True)
    return torch.cat([segmenter(some, own).argmax(-1) for some, own in parts])


def evaluate_parts(
    models: Mapping[str, Segmenter],
    data: PointDataset,
    attack: SegmentationPGD | None = None,
    undefended: str | None = None,
    adaptive: Sequence[str] | None = None,
) -> list[PartRow]:
    """Measure each segmenter on clean clouds and under attack.

    Args:
        models: name -> `(points, labels) -> part_logits`.
        data: clouds with part labels.
        attack: None measures clean clouds alone.
        undefended: the model whose attacked clouds are shown to all (static); None
            leaves static out.
        adaptive: the models that are attacked themselves; None takes all. Leave out
            those without a gradient, such as a teacher that draws depth maps.

    Returns:
        A row for each model and threat model: clean, static, adaptive.

    Raises:
        ValueError: on data without parts, or names that are not in models.
    """
    truth = require_parts(data)
    wanted = tuple(models) if adaptive is None else tuple(adaptive)
    for name in wanted if undefended is None else (*wanted, undefended):
        check_choice("undefended and adaptive", name, tuple(models))
    shown = [("clean", name, data.points) for name in models]
    if attack is not None:
        made: dict[str, Tensor] = {}
        for name in dict.fromkeys((undefended, *wanted)):
            if name is not None:
                result = attack(models[name], data.points, data.labels, truth)
                made[name] = result.points
        if undefended is not None:
            shown += [("static", name, made[undefended]) for name in models]
        shown += [("adaptive", name, made[name]) for name in wanted]
    rows = []
    for threat_model, name, points in shown:
        said = _answers(models[name], points, data.labels)
        ious = shape_ious(said, truth, data.labels, data.class_parts)
        low, high = bootstrap_interval(ious)
        of_class = {
            data.class_names[label]: float(ious[data.labels == label].mean())
            for label in data.labels.unique().tolist()
        }
        rows.append(
            PartRow(
                model=name,
                threat_model=threat_model,
                n=len(data),
                mean_iou=float(ious.mean()),
                low=low,
                high=high,
                class_iou=class_mean(ious, data.labels),
                of_class=of_class,
                point_accuracy=float((said == truth).double().mean()),
                ious=tuple(ious.tolist()),
            )
        )
    return rows


def parts_table(rows: Sequence[PartRow]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| model | threat model | mIoU | 95 % interval | class mIoU | points right | n "
        "|\n|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.model} | {row.threat_model} | {row.mean_iou:.1%} | {row.low:.1%} "
            f"to {row.high:.1%} | {row.class_iou:.1%} | {row.point_accuracy:.1%} | "
            f"{row.n} |"
        )
    return "\n".join(lines)
