"""The lab: a student and its three teachers, ready to use offline.

`load_lab("tiny")` gives the bundle that travels with the package: small models made by
`scripts/pretrain_lab.py`, one safetensors file and one card (what it was trained on,
command, seed, scores) each. They stand in for the paper's Uni3D-Ti, Uni3D-B and
EVA02-E-14-plus, which need published weights and a GPU: see `paper_lab`.
"""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mrpd_tutorial.checks import check_choice, check_device
from mrpd_tutorial.models import PointEncoder, PointEncoderConfig, load_uni3d
from mrpd_tutorial.models.classifier import ImageClassifier, ZeroShotClassifier
from mrpd_tutorial.models.clip import ImageTeacher, TextTeacher, build_clip, load_clip
from mrpd_tutorial.projection import RELEASED_VIEW, TEN_VIEWS
from mrpd_tutorial.runtime import (
    digest,
    embedded_data,
    load_tensors,
    read_json,
    save_tensors,
    write_json,
)

__all__ = ["Lab", "load_lab", "paper_lab"]

STAGES = ("text", "image", "student", "point_teacher")
IMAGE_SIZE = 112
EMBED_DIM = 512
CLIP_CONFIG = {
    "embed_dim": EMBED_DIM,
    "vision_cfg": {
        "timm_model_name": "tf_efficientnet_lite0",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": IMAGE_SIZE,
    },
    "text_cfg": {
        "context_length": 48,
        "vocab_size": 49408,
        "width": 192,
        "heads": 3,
        "layers": 3,
    },
}
POINT_CONFIGS = {
    "student": PointEncoderConfig.slim(),
    "point_teacher": PointEncoderConfig(
        width=192,
        depth=5,
        num_heads=3,
        num_groups=96,
        group_size=16,
        patch_widths=(48, 96, 192),
        token_encoder_dim=192,
        position_width=96,
        embed_dim=EMBED_DIM,
    ),
}


@dataclass(frozen=True)
class Lab:
    """A student and its three teachers in one embedding space, all frozen.

    Attributes:
        name: "tiny" names the small stand-ins, "paper" the paper's models.
        student: the encoder to harden, points (B, N, 3) -> (B, D).
        point_teacher: a stronger point encoder, the same signature.
        image_teacher: depth maps of points -> (B, D).
        text_teacher: class names and context vectors -> (C, D).
        card: what each model was trained on, with its scores.
    """

    name: str
    student: PointEncoder
    point_teacher: PointEncoder
    image_teacher: ImageTeacher
    text_teacher: TextTeacher
    card: Mapping[str, Any]

    @property
    def embed_dim(self) -> int:
        """D, the width of the common embedding space."""
        return self.student.config.embed_dim

    def class_text_features(
        self, class_names: Sequence[str], context: Tensor | None = None
    ) -> Float[Tensor, "C D"]:
        """Text features of class names, of unit length; see `TextTeacher`."""
        return self.text_teacher.class_text_features(class_names, context=context)

    def classifiers(self, class_names: Sequence[str]) -> dict[str, nn.Module]:
        """The undefended student and two teachers as `points -> logits` callables.

        Args:
            class_names: the C classes to choose from.

        Returns:
            "student", "point teacher", "image teacher".
        """
        with torch.no_grad():
            text = self.class_text_features(class_names)
        return {
            "student": ZeroShotClassifier(self.student, text),
            "point teacher": ZeroShotClassifier(self.point_teacher, text),
            "image teacher": ImageClassifier(self.image_teacher, text),
        }

    def digest(self) -> str:
        """One name for all weights and settings, for caches and cards."""
        parts = [self.name]
        for module in (
            self.student,
            self.point_teacher,
            self.image_teacher,
            self.text_teacher,
        ):
            parts += [v for _, v in sorted(module.state_dict().items())]
        return digest(*parts)


def load_lab(
    name: str = "tiny",
    device: str | torch.device = "cpu",
    folder: str | os.PathLike | None = None,
) -> Lab:
    """Load the offline lab.

    Args:
        name: "tiny", the bundle that travels with the package.
        device: where the models go.
        folder: another folder made by `scripts/pretrain_lab.py`.

    Returns:
        The lab, every parameter frozen, in evaluation mode.

    Raises:
        ValueError: if the name is unknown, or a file is missing, damaged or of another
            architecture.
    """
    check_choice("name", name, ("tiny",))
    check_device(device)
    folder = Path(folder) if folder is not None else tiny_folder()
    clip, tokenizer = build_clip(CLIP_CONFIG)
    card = {}
    _, card["text"] = _load_text(clip, folder / "text.safetensors")
    card["image"] = load_module(clip.visual, folder / "image.safetensors")
    encoders = {}
    for stage in ("student", "point_teacher"):
        encoders[stage] = build_point_encoder(stage)
        card[stage] = load_module(encoders[stage], folder / f"{stage}.safetensors")
    clip = clip.eval().requires_grad_(False)
    # Depthwise convolutions on a CPU are faster with channels last.
    clip.visual.to(memory_format=torch.channels_last)
    return Lab(
        name=name,
        image_teacher=tiny_image_teacher(clip).to(device),
        text_teacher=TextTeacher(clip, tokenizer).to(device),
        card=card,
        **{k: v.eval().requires_grad_(False).to(device) for k, v in encoders.items()},
    )


def paper_lab(
    student: str | os.PathLike,
    point_teacher: str | os.PathLike,
    clip_weights: str | os.PathLike | None = None,
    device: str | torch.device = "cpu",
    multi_view: bool = True,
) -> Lab:
    """The paper's models: Uni3D-Ti, Uni3D-B and EVA02-E-14-plus, from files on disk.

    Args:
        student: Uni3D-Ti's published checkpoint.
        point_teacher: Uni3D-B's published checkpoint.
        clip_weights: a file or an open_clip tag. The published tag,
            "laion2b_s9b_b144k", needs a network once and about 20 GB; None says so.
        device: where the models go.
        multi_view: ten views as in the paper; False takes the released single view.

    Raises:
        ValueError: if a file is missing or of another architecture, saying what to
            download.
    """
    check_device(device)
    encoders = {
        "student": load_uni3d(student, size="ti"),
        "point_teacher": load_uni3d(point_teacher, size="base"),
    }
    clip, tokenizer, _ = load_clip("EVA02-E-14-plus", clip_weights)
    views = TEN_VIEWS if multi_view else RELEASED_VIEW
    return Lab(
        name="paper",
        image_teacher=ImageTeacher(clip, views, resolution=224).to(device),
        text_teacher=TextTeacher(clip, tokenizer).to(device),
        card={"weights": "published by their authors; see README.md"},
        **{k: v.to(device) for k, v in encoders.items()},
    )


# ------------------------------------- used by scripts/pretrain_lab.py and load_lab


def tiny_folder() -> Path:
    """Where the tiny lab's files are."""
    return embedded_data() / "lab_tiny"


def build_point_encoder(stage: str) -> PointEncoder:
    """An untrained encoder of the tiny lab: stage "student" or "point_teacher"."""
    return PointEncoder(POINT_CONFIGS[stage])


def tiny_image_teacher(clip: nn.Module) -> ImageTeacher:
    """The tiny lab's image teacher: ten views, small maps, no CLIP mean and std."""
    return ImageTeacher(clip, TEN_VIEWS, resolution=IMAGE_SIZE)


def save_module(module: nn.Module, path: Path, card: Mapping[str, Any]) -> None:
    """Write a module's weights in half precision, and its card beside it."""
    tensors = {
        key: value.half() if value.is_floating_point() else value
        for key, value in module.state_dict().items()
    }
    save_tensors(path, tensors, {"stage": path.stem}, overwrite=True)
    write_json(path.with_suffix(".json"), card, overwrite=True)


def load_module(module: nn.Module, path: Path) -> dict[str, Any]:
    """Fill a module from `save_module`'s file, strictly; return its card."""
    tensors, _ = load_tensors(path)
    _require_same_tensors(module.state_dict(), tensors, path)
    module.load_state_dict(tensors)
    return read_json(path.with_suffix(".json"))


def _require_same_tensors(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path
) -> None:
    for key in [*wanted, *found]:
        ours, theirs = wanted.get(key), found.get(key)
        if ours is None or theirs is None or ours.shape != theirs.shape:
            described = [
                "absent" if t is None else str(tuple(t.shape)) for t in (ours, theirs)
            ]
            raise ValueError(
                f"{path} does not fit this architecture: tensor {key!r} should be "
                f"{described[0]} and is {described[1]} in the file. Make it again with "
                "scripts/pretrain_lab.py, or get the file of this version."
            )


_TABLE = "token_embedding.weight"


def save_text_tower(
    text: nn.Module, path: Path, token_ids: Iterable[int], card: Mapping[str, Any]
) -> None:
    """Write the text tower with the embeddings of the tokens it was trained on only.

    CLIP's vocabulary has 49,408 tokens, of which training met a few thousand: the other
    rows are noise and would be most of the file. `load_lab` gives those tokens the mean
    of the trained rows.
    """
    ids = torch.tensor(sorted(set(token_ids)))
    tensors = {
        key: value.half() if value.is_floating_point() else value
        for key, value in text.state_dict().items()
    }
    tensors[_TABLE] = tensors[_TABLE][ids]
    tensors["token_ids"] = ids.to(torch.int32)
    save_tensors(path, tensors, {"stage": path.stem}, overwrite=True)
    write_json(path.with_suffix(".json"), card, overwrite=True)


def _load_text(clip: nn.Module, path: Path) -> tuple[Tensor, dict[str, Any]]:
    tensors, _ = load_tensors(path)
    if "token_ids" not in tensors:
        raise ValueError(f"{path} holds no 'token_ids': it is no text tower of a lab.")
    ids = tensors.pop("token_ids").long()
    rows = tensors[_TABLE].float()
    table = rows.mean(0).repeat(clip.text.token_embedding.num_embeddings, 1)
    table[ids] = rows
    tensors[_TABLE] = table
    _require_same_tensors(clip.text.state_dict(), tensors, path)
    clip.text.load_state_dict(tensors)
    return ids, read_json(path.with_suffix(".json"))


def plain_name(name: str) -> str:
    """A class name as words: `night_stand` -> `night stand`."""
    return re.sub(r"[_\s]+", " ", name).strip().lower()


def config_of(encoder: PointEncoder) -> dict[str, Any]:
    """An encoder's sizes, for cards."""
    return dataclasses.asdict(encoder.config)
