"""Distil robust prompts: `distill(lab, train, val, DistillConfig.quick())`."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mrpd_tutorial.checks import check_points
from mrpd_tutorial.data import PointDataset
from mrpd_tutorial.distill.cache import FeatureCache
from mrpd_tutorial.distill.config import DistillConfig
from mrpd_tutorial.distill.feature_maker import FeatureMaker
from mrpd_tutorial.distill.folder import RunFolder
from mrpd_tutorial.distill.hardened import HardenedStudent
from mrpd_tutorial.distill.training import Training, in_order
from mrpd_tutorial.zoo import Lab

__all__ = ["DistillInterrupted", "DistillResult", "StopRequested", "distill"]


class StopRequested(Exception):
    """Raised by the caller's `after_epoch`: end the distillation in good order."""


class DistillInterrupted(KeyboardInterrupt):
    """Ctrl-C or StopRequested in a distillation; the message says how to go on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DistillResult:
    """What a distillation gives.

    Attributes:
        hardened: the student with the chosen epoch's prompts, `points -> logits`.
        prompt: (1 or S, L, W) of that epoch, or None.
        context: (M, width of the text tower) of that epoch, or None.
        class_text_features: (C, D) of that epoch.
        history: one dict an epoch, all with the same keys: epoch (from 1),
            learning_rate, loss; for each teacher used loss_*, pass_* (share of clouds
            its gate let through), weight_* (1 / sigma^2) and temperature_*, as they are
            after the epoch; val_clean, val_attacked (static, or through the
            prompts: see DistillConfig.attacked_through), val_score.
        best_epoch: the epoch that was kept.
        undefended: val_clean and val_attacked of the student without prompts.
        config: the settings.
    """

    hardened: HardenedStudent
    prompt: Tensor | None
    context: Tensor | None
    class_text_features: Tensor
    history: list[dict[str, float]]
    best_epoch: int
    undefended: dict[str, float]
    config: DistillConfig


def distill(
    lab: Lab,
    train: PointDataset,
    val: PointDataset,
    config: DistillConfig | None = None,
    out_dir: str | os.PathLike | None = None,
    cache_dir: str | os.PathLike | None = None,
    progress: bool = True,
    resume: bool = True,
    overwrite: bool = False,
    use_cache: bool = True,
    after_epoch: Callable[[list[dict[str, float]]], None] | None = None,
) -> DistillResult:
    """Distil three teachers into a few prompts of a frozen student.

    Implements Algorithm 1 of [MRPD, arXiv 2511.21574]. The released code differs in the
    points that `DistillConfig.released` lists.

    On the CPU the same call gives the same bytes, also after a kill and a resume. (Some
    CUDA kernels add in varying order.)

    Args:
        lab: the student and its teachers, frozen, in evaluation mode.
        train: clouds to learn from.
        val: clouds that choose the epoch; never the test split, see selection_split.
        config: the settings; None means `DistillConfig()`, the paper's.
        out_dir: keeps a checkpoint after each epoch and the results; None keeps
            nothing.
        cache_dir: keeps what is computed below the prompts; None means the user's
            cache folder.
        progress: show progress bars.
        resume: go on with the unfinished run in out_dir, if it has the same settings
            and inputs; a finished one is read and handed back.
        overwrite: remove an earlier run in out_dir first.
        use_cache: False computes attacked clouds anew for each epoch, tokens and
            teacher features for each batch, as a reference: the same result, many
            times slower.
        after_epoch: called with the history (see DistillResult) when training starts,
            with the epochs of an earlier call, and after each epoch, which is kept by
            then. It may wait (a pause) and may raise StopRequested.

    Returns:
        The result; with out_dir also as files: prompts.safetensors
        (`HardenedStudent.load`), history.csv, result.json.

    Raises:
        ValueError: if the inputs do not fit together, or out_dir holds another run.
        FileExistsError: if out_dir holds this run and resume is False.
        DistillInterrupted: on Ctrl-C or StopRequested; the last complete epoch is kept.
    """
    config = DistillConfig() if config is None else config
    _check_inputs(lab, train, val, config)
    cache = FeatureCache(cache_dir) if use_cache else None
    text = lab.class_text_features(train.class_names)
    plain = HardenedStudent(lab.student, text, train.class_names, colour=config.colour)
    maker = FeatureMaker(lab, train.class_names, config, plain, cache, progress)
    folder = None
    if out_dir is not None:
        run = {
            "config": config.as_dict(),
            "lab": {"name": lab.name, **maker.digests},
            "train": train.hash(),
            "val": val.hash(),
        }
        folder = RunFolder(out_dir, run, resume, overwrite)
        finished = folder.result()
        if finished is not None:
            hardened = HardenedStudent.load(folder.prompts, lab.student)
            finished["history"] = in_order(finished["history"], config)
            return _as_result(hardened, finished, config)
    training = Training(lab, train.class_names, config, folder)
    try:
        val_features = maker.make(val, teachers=False)
        train_features = maker.make(train, teachers=True)
        training.run(train_features, val_features, progress, after_epoch)
    except (KeyboardInterrupt, StopRequested):
        done = f"stopped after {training.epoch} of {config.epochs} epochs."
        advice = "Nothing was kept: pass out_dir to be able to go on."
        if out_dir is not None:
            advice = f"Call distill again with out_dir={str(out_dir)!r} to go on."
        raise DistillInterrupted(f"{done} {advice}") from None
    return _conclude(training, lab, train.class_names, folder)


def _check_inputs(
    lab: Lab, train: PointDataset, val: PointDataset, config: DistillConfig
) -> None:
    for name, value, kind in (
        ("train", train, PointDataset),
        ("val", val, PointDataset),
        ("config", config, DistillConfig),
    ):
        if not isinstance(value, kind):
            raise ValueError(
                f"{name} must be a {kind.__name__}; received {type(value).__name__}."
            )
    for name, data in (("train", train), ("val", val)):
        check_points(data.points, f"{name}.points", unit_sphere=True)
    if train.class_names != val.class_names:
        raise ValueError(
            f"train and val must have the same classes in the same order; received "
            f"{train.class_names} and {val.class_names}."
        )
    if config.selection_split == "val" and val.split == "test":
        raise ValueError(
            "val is the test split: an epoch chosen on it makes every test number too "
            "good. Pass the val split, or selection_split='any' to do as the released "
            "code does."
        )
    if len(train) < 2:
        raise ValueError(
            f"train must hold at least 2 clouds; received {len(train)}: contrastive "
            "losses need another one to compare with."
        )
    if config.k > len(train.class_names):
        raise ValueError(
            f"k must be at most the number of classes, {len(train.class_names)}; "
            f"received {config.k}."
        )
    depth = lab.student.config.depth
    if config.prompt_depth > depth:
        raise ValueError(
            f"prompt_depth must be at most the student's {depth} blocks; received "
            f"{config.prompt_depth}."
        )
    for name in ("student", "point_teacher", "image_teacher", "text_teacher"):
        model = getattr(lab, name)
        if model.training and name in ("student", "point_teacher"):
            raise ValueError(f"lab.{name} is in training mode; call its eval().")
        if any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError(
                f"lab.{name} must be frozen: only prompts are learned. Call "
                f"lab.{name}.requires_grad_(False)."
            )


def _conclude(
    training: Training,
    lab: Lab,
    class_names: tuple[str, ...],
    folder: RunFolder | None,
) -> DistillResult:
    """Build the hardened student; write it if there is a folder."""
    config, best = training.config, training.best
    texts, context = best["class_text_features"], best.get("context")
    if not config.normalise_text_at_inference:
        with torch.no_grad():
            texts = lab.text_teacher.class_text_features(
                class_names, context=context, normalise=False
            )
    hardened = HardenedStudent(
        lab.student,
        texts,
        class_names,
        prompt=best.get("prompt"),
        context=context,
        colour=config.colour,
        normalise_text=config.normalise_text_at_inference,
        info={
            "lab": lab.name,
            "config_digest": config.digest(),
            "epoch": training.best_epoch,
        },
    )
    chosen = training.history[training.best_epoch - 1]
    outcome = {
        "config": config.as_dict(),
        "best_epoch": training.best_epoch,
        "undefended": training.undefended,
        "hardened": {name: chosen[name] for name in ("val_clean", "val_attacked")},
        "history": training.history,
    }
    if folder is not None:
        hardened.save(folder.prompts, overwrite=True)
        folder.finish(outcome)
    return _as_result(hardened, outcome, config)


def _as_result(
    hardened: HardenedStudent, outcome: dict[str, Any], config: DistillConfig
) -> DistillResult:
    return DistillResult(
        hardened=hardened,
        prompt=hardened.prompt,
        context=hardened.context,
        class_text_features=hardened.class_text_features,
        history=outcome["history"],
        best_epoch=outcome["best_epoch"],
        undefended=outcome["undefended"],
        config=config,
    )
