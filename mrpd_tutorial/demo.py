"""The demo: distil prompts, attack, evaluate; everything a report needs, as numbers."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from mrpd_tutorial import demo_describe as describe
from mrpd_tutorial.attacks import PGD
from mrpd_tutorial.data import PointDataset, load_dataset
from mrpd_tutorial.defenses import SOR, SRS, Defended
from mrpd_tutorial.distill import DistillConfig, DistillResult, distill
from mrpd_tutorial.evaluate import Evaluation, Row, evaluate
from mrpd_tutorial.projection import depth_maps
from mrpd_tutorial.runtime import environment_summary
from mrpd_tutorial.zoo import Lab, load_lab

__all__ = ["DemoConfig", "DemoResult", "run_demo"]

# Names of models and of the attack, as they stand in every table and figure.
UNDEFENDED, HARDENED, ATTACK = "undefended student", "MRPD prompts", "PGD"
IMAGE, POINT = "image teacher", "point teacher"


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """What the demo runs on, and how much of it.

    Attributes:
        data: a name for `load_dataset`.
        root: its folder, for data sets that have one.
        num_points: points a cloud.
        train_clouds: at most this many, evenly over the classes; None takes all.
        val_clouds: the same for val.
        test_clouds: the same for test.
        batch_size: clouds evaluated at once.
        distill: how prompts are distilled, its attack included.
        seed: of the evaluation's attacks.
        eot_samples: draws of a random defense that each step of an attack averages.
        device: where models and clouds go.
    """

    data: str = "objects"
    root: str | PathLike | None = None
    num_points: int = 1024
    train_clouds: int | None = None
    val_clouds: int | None = None
    test_clouds: int | None = None
    batch_size: int = 32
    distill: DistillConfig = field(default_factory=DistillConfig.quick)
    seed: int = 0
    eot_samples: int = 4
    device: str = "cpu"

    @classmethod
    def quick(cls, **changes: Any) -> "DemoConfig":
        """A walk through every step in well under a minute; its numbers mean little."""
        settings = cls(
            train_clouds=64,
            val_clouds=32,
            test_clouds=32,
            eot_samples=1,
            distill=DistillConfig.quick(
                epochs=3, attack=PGD.quick(steps=4), batch_size=16
            ),
        )
        return replace(settings, **changes)


@dataclass(frozen=True, kw_only=True, eq=False)
class DemoResult:
    """What the demo found.

    Attributes:
        result: numbers and names as JSON values: the report shows these and no others.
        arrays: the example's clouds (N, 3) and depth maps (V, H, W).
        evaluation: the table.
        distilled: the prompts and their history.
    """

    result: dict[str, Any]
    arrays: dict[str, Tensor]
    evaluation: Evaluation
    distilled: DistillResult


def run_demo(
    config: DemoConfig,
    lab: Lab | None = None,
    distill_dir: str | PathLike | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> DemoResult:
    """Run the whole path.

    Args:
        config: see there.
        lab: the models, on the config's device; None loads the tiny lab.
        distill_dir: where the distillation keeps its files, and goes on after a kill.
        overwrite: distil anew even where distill_dir holds a finished run.
        progress: show progress bars.

    Returns:
        The result, not yet written anywhere.

    Raises:
        ValueError: on data that is missing or does not fit.
        KeyboardInterrupt: on Ctrl-C; distill_dir can be gone on with.
    """
    clock = {"": time.perf_counter()}
    lab = load_lab("tiny", config.device) if lab is None else lab
    data = {split: _load(config, split) for split in ("train", "val", "test")}
    clock["loading"] = time.perf_counter()
    distilled = distill(
        lab,
        data["train"],
        data["val"],
        config.distill,
        out_dir=distill_dir,
        progress=progress,
        overwrite=overwrite,
    )
    clock["distilling"] = time.perf_counter()
    test = data["test"]
    texts = lab.class_text_features(test.class_names)
    student = distilled.hardened.undefended(texts)
    teachers = lab.classifiers(test.class_names)
    evaluation = evaluate(
        _defended(student, distilled.hardened, config.num_points),
        test,
        {ATTACK: config.distill.attack},
        undefended=UNDEFENDED,
        surrogate={POINT: teachers[POINT]},
        seed=config.seed,
        eot_samples=config.eot_samples,
        batch_size=config.batch_size,
        progress=progress,
    )
    static = evaluation.clouds[ATTACK, UNDEFENDED].points
    judges = {IMAGE: teachers[IMAGE], POINT: teachers[POINT]}
    teacher_rows, right = _teacher_rows(judges, test, static, evaluation, config)
    clock["evaluating"] = time.perf_counter()
    models = {UNDEFENDED: student, **judges, HARDENED: distilled.hardened}
    index, rule = _choose_example(student, distilled.hardened, right, test, static)
    example = describe.example(models, lab, texts, test, static, index)
    result = {
        "kind": "demo",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": describe.config(config),
        "data": describe.data(data),
        "lab": describe.lab(lab),
        "rows": [asdict(row) for row in evaluation.rows],
        "teacher_rows": [asdict(row) for row in teacher_rows],
        "notes": evaluation.card["notes"],
        "models": evaluation.card["models"],
        "distilled": describe.distilled(distilled),
        "cost": describe.cost(models, test.points),
        "example": example | {"index": index, "rule": rule},
        "environment": environment_summary(),
        "seconds": describe.durations(clock),
    }
    pair = torch.stack([test.points[index], static[index]])
    maps = depth_maps(pair, describe.views(lab), lab.image_teacher.resolution)
    pair, maps = pair.cpu(), maps.cpu()
    arrays = {
        "clean": pair[0],
        "attacked": pair[1],
        "clean_maps": maps[0],
        "attacked_maps": maps[1],
    }
    return DemoResult(
        result=result, arrays=arrays, evaluation=evaluation, distilled=distilled
    )


def _load(config: DemoConfig, split: str) -> PointDataset:
    data = load_dataset(config.data, split, config.root)
    data = data.subsample_points(config.num_points)
    wanted = getattr(config, f"{split}_clouds")
    data = data if wanted is None else data.limit(wanted, seed=0)
    there = {k: getattr(data, k).to(config.device) for k in ("points", "labels")}
    return replace(data, **there)


def _defended(
    student: nn.Module, hardened: nn.Module, num_points: int
) -> dict[str, nn.Module]:
    """The models of the table: as they are, and behind the defenses of the paper."""
    # 500 of 1024 points, as in the published tables, in proportion for other clouds.
    drop = round(num_points * 500 / 1024)
    return {
        UNDEFENDED: student,
        f"student + SRS ({drop} dropped)": Defended(student, SRS(drop=drop)),
        "student + SOR (k 16, α 1)": Defended(student, SOR.released()),
        HARDENED: hardened,
    }


def _teacher_rows(
    judges: Mapping[str, nn.Module],
    test: PointDataset,
    static: Tensor,
    evaluation: Evaluation,
    config: DemoConfig,
) -> tuple[list[Row], Tensor]:
    """The teachers on clean and static clouds; where the image teacher is right.

    No attack was made on the teachers themselves, and the rows say so: their threat
    model is static, the clouds made on the undefended student.
    """
    rows, right = [], torch.ones_like(test.labels, dtype=torch.bool)
    model_row = evaluation.row(UNDEFENDED, "static")
    for threat_model, points in (("clean", test.points), ("static", static)):
        shown = evaluate(
            judges,
            (points, test.labels),
            None,
            batch_size=config.batch_size,
            progress=False,
        )
        for row in shown.rows:
            if threat_model == "static":
                origin = {
                    name: getattr(model_row, name)
                    for name in ("attack", "norm", "eps", "targeted", "made_on")
                }
                row = replace(row, threat_model="static", **origin)
            rows.append(row)
        right &= _predict(judges[IMAGE], points) == test.labels
    return rows, right


@torch.no_grad()
def _predict(model: nn.Module, points: Tensor) -> Tensor:
    return torch.cat([model(part).argmax(1) for part in points.split(32)])


def _choose_example(
    student: nn.Module,
    hardened: nn.Module,
    image_right: Tensor,
    test: PointDataset,
    static: Tensor,
) -> tuple[int, str]:
    """The cloud the report shows, and the rule by which it was chosen."""
    fooled = _predict(student, test.points) == test.labels
    fooled &= _predict(student, static) != test.labels
    saved = fooled & (_predict(hardened, static) == test.labels)
    for candidates, rule in (
        (
            saved & image_right,
            "the first test cloud on which the attack misleads the undefended student, "
            "but neither the image teacher nor the student with prompts",
        ),
        (
            saved,
            "the first test cloud on which the attack misleads the undefended student, "
            "but not the student with prompts",
        ),
        (
            fooled,
            "the first test cloud on which the attack misleads the undefended student "
            "(there is none that the prompts save)",
        ),
    ):
        if bool(candidates.any()):
            return int(candidates.nonzero()[0, 0]), rule
    return 0, "the first test cloud (the attack misleads the student on none)"
