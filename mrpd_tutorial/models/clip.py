"""CLIP: models by configuration, from a file or from the hub, and the two teachers."""

import copy
import difflib
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip import CLIP, CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
from torch import nn

from mrpd_tutorial.models.image_teacher import ImageTeacher
from mrpd_tutorial.models.text_teacher import TextTeacher, Tokenizer

__all__ = [
    "PAPER_MODELS",
    "ImageTeacher",
    "PaperModel",
    "TextTeacher",
    "build_clip",
    "load_clip",
]

_LOADING_ERRORS = (
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    ValueError,
    pickle.UnpicklingError,
)
_FIELDS = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text")


@dataclass(frozen=True, kw_only=True)
class PaperModel:
    """One of the three frozen models of the paper, and how to come by it.

    Attributes:
        role: what it does in MRPD.
        call: the Python expression that loads it.
        download: where its weights are published.
    """

    role: str
    call: str
    download: str


PAPER_MODELS: Mapping[str, PaperModel] = {
    "Uni3D-Ti": PaperModel(
        role="student (width 192, 512 groups of 64 points, output 1024)",
        call="load_uni3d(path, size='ti')",
        download="https://huggingface.co/BAAI/Uni3D (folder modelzoo)",
    ),
    "Uni3D-B": PaperModel(
        role="point teacher (width 768, 512 groups of 64 points, output 1024)",
        call="load_uni3d(path, size='base')",
        download="https://huggingface.co/BAAI/Uni3D/blob/main/modelzoo/uni3d-b/model.pt",
    ),
    "EVA02-E-14-plus": PaperModel(
        role="image and text teacher (output 1024, text width 1280; 5 billion "
        "parameters: 20 GB in float32, 10 GB with precision='fp16' on a GPU)",
        call="load_clip('EVA02-E-14-plus', weights=path or 'laion2b_s9b_b144k')",
        download="https://huggingface.co/timm/"
        "eva02_enormous_patch14_plus_clip_224.laion2b_s9b_b144k "
        "(open_clip_pytorch_model.bin)",
    ),
}


def build_clip(config: Mapping[str, Any]) -> tuple[nn.Module, Tokenizer]:
    """Build an open_clip model with random weights from an explicit configuration.

    Nothing is downloaded.

    Args:
        config: `embed_dim`, `vision_cfg` and `text_cfg` as in open_clip's model
            configurations, and, if wanted, `quick_gelu` and `custom_text` (True, the
            default: the text tower is `.text`; False: it is a part of the model).

    Returns:
        The model, in training mode, its parameters learnable; and CLIP's tokenizer for
        the text tower's context length.

    Raises:
        ValueError: on fields that are unknown or missing, towers that want pre-trained
            weights, or a vocabulary smaller than CLIP's.
    """
    config = copy.deepcopy(dict(config))
    _check_fields("config", config, _FIELDS, required=_FIELDS[:3])
    for name, kind in (("vision_cfg", CLIPVisionCfg), ("text_cfg", CLIPTextCfg)):
        _check_fields(name, config[name], tuple(kind.__dataclass_fields__))
    if config["vision_cfg"].get("timm_model_pretrained"):
        raise ValueError(
            "vision_cfg asks for timm_model_pretrained=True, which would download "
            "weights. Leave it out, and load weights into model.visual.trunk."
        )
    text = CLIPTextCfg(**config["text_cfg"])
    if text.hf_model_name or text.hf_tokenizer_name:
        raise ValueError(
            "text_cfg names a Hugging Face model or tokenizer; only open_clip's own "
            "text towers take context vectors. Give width, heads and layers instead."
        )
    tokenizer = open_clip.SimpleTokenizer(context_length=text.context_length)
    if text.vocab_size < tokenizer.vocab_size:
        raise ValueError(
            f"text_cfg must have a vocab_size of at least {tokenizer.vocab_size}, the "
            f"tokens of CLIP's tokenizer; received {text.vocab_size}."
        )
    kind = CustomTextCLIP if config.pop("custom_text", True) else CLIP
    return kind(**config), tokenizer


def load_clip(
    name: str,
    weights: str | os.PathLike | None = None,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
) -> tuple[nn.Module, Tokenizer, dict[str, Any]]:
    """Load any open_clip model by name, with weights from a file or by tag.

    Only a tag makes open_clip ask the Hugging Face hub (or its cache on this disk).

    Args:
        name: a name of `open_clip.list_models()`, for instance "EVA02-E-14-plus", or
            "local-dir:FOLDER" with an open_clip_config.json and weights in it.
        weights: path of a checkpoint file, or one of the tags of that model.
        device: where the model goes.
        precision: open_clip's name of the number format: "fp32", "fp16", "bf16".

    Returns:
        The model, frozen and in evaluation mode; its tokenizer; and the preprocessing
        it was trained with (a dict with `size`, `mean`, `std`, ...).

    Raises:
        ValueError: if the name is unknown, no weights were given or found, the hub
            cannot be reached, or the weights are of another model; the message says
            what to download and where to put it.
    """
    in_folder = name.startswith("local-dir:")
    if in_folder:
        _check_folder(name)
    else:
        _check_name(name)
        _check_weights(name, weights)
    try:
        model = open_clip.create_model(
            name,
            pretrained=None if in_folder else os.fspath(weights),
            precision=precision,
            device=device,
            require_pretrained=True,
        )
    except _LOADING_ERRORS as error:
        detail = " ".join(str(error).split())[:300]
        advice = "Is the folder complete?" if in_folder else _what_to_download(name)
        raise ValueError(
            f"open_clip could not load {name!r} with weights {str(weights)!r}: "
            f"{detail} {advice}"
        ) from error
    preprocess = dict(open_clip.get_model_preprocess_cfg(model))
    return (
        model.eval().requires_grad_(False),
        open_clip.get_tokenizer(name),
        preprocess,
    )


def _check_fields(
    name: str,
    given: Mapping[str, Any],
    known: tuple[str, ...],
    required: tuple[str, ...] = (),
) -> None:
    unknown = [field for field in given if field not in known]
    missing = [field for field in required if field not in given]
    if unknown or missing:
        raise ValueError(
            f"{name} must have the fields {', '.join(required) or 'of open_clip'} and "
            f"may have {', '.join(known)}; received unknown {unknown}, missing "
            f"{missing}."
        )


def _check_folder(name: str) -> None:
    folder = Path(name.removeprefix("local-dir:"))
    if not (folder / "open_clip_config.json").is_file():
        raise ValueError(
            f"{folder} must be a folder with open_clip_config.json and the weights "
            "beside it; no such file was found."
        )


def _check_name(name: str) -> None:
    known = open_clip.list_models()
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.3)
    raise ValueError(
        f"open_clip has no model {name!r}. Close names: {', '.join(close) or 'none'}; "
        "open_clip.list_models() lists all."
    )


def _check_weights(name: str, weights: str | os.PathLike | None) -> None:
    if weights is None:
        raise ValueError(f"{name!r} needs weights. {_what_to_download(name)}")
    if os.path.isfile(weights):
        return
    if os.fspath(weights) not in open_clip.list_pretrained_tags_by_model(name):
        raise ValueError(
            f"weights {os.fspath(weights)!r} are neither a file nor a tag of {name!r}. "
            f"{_what_to_download(name)}"
        )


def _what_to_download(name: str) -> str:
    """One sentence: where the weights are, and what to do with them."""
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not tags:
        return "open_clip knows no published weights: pass the path of a file."
    known = PAPER_MODELS.get(name)
    tag = tags[-1]
    source = open_clip.get_pretrained_cfg(name, tag)
    if known is not None:
        place = known.download
    elif source.get("hf_hub"):
        place = f"https://huggingface.co/{source['hf_hub'].strip('/')}"
    else:
        place = source.get("url", "its authors")
    return (
        f"Download the weights of {name} ({tag}) from {place}, put the file anywhere, "
        f"and pass its path: load_clip({name!r}, weights='PATH'). With a network, a "
        f"tag will do: weights={tag!r} (known: {', '.join(tags)})."
    )
