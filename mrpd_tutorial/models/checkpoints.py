"""Published Uni3D checkpoints: read safely, load strictly, say what does not fit."""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mrpd_tutorial.checks import check_choice
from mrpd_tutorial.models.point_encoder import PointEncoder, PointEncoderConfig

__all__ = ["load_uni3d"]

_SIZES = {"ti": PointEncoderConfig.ti, "base": PointEncoderConfig.base}
_PREFIX = "point_encoder."
# timm puts a classifier on some of its models; the point encoder never reaches it.
_UNUSED = ("point_encoder.visual.head.weight", "point_encoder.visual.head.bias")
_WHERE = (
    "Download model.pt of the wanted size from the folder modelzoo of "
    "https://huggingface.co/BAAI/Uni3D, put it anywhere, and pass its path."
)


def load_uni3d(
    path: str | os.PathLike,
    size: str = "ti",
    num_groups: int = 512,
    group_size: int = 64,
) -> PointEncoder:
    """Load a point encoder from a checkpoint in Uni3D's published format.

    The format is {"module": state_dict}, with the point encoder's tensors under
    `point_encoder.`, and a `logit_scale` that belongs to the training loss. Only
    tensors are unpickled (weights_only), half precision becomes float32, and every
    tensor of the architecture must be there, with its shape and finite.

    Args:
        path: the checkpoint file.
        size: "ti" (the paper's student) or "base" (its point teacher).
        num_groups: patches a cloud; the published models were trained with 512.
        group_size: points a patch; the published models were trained with 64.

    Returns:
        The encoder in evaluation mode, on the CPU, its parameters frozen.

    Raises:
        ValueError: if the size is unknown, or the file is missing, unreadable or of
            another architecture; the first differing tensor is named.
    """
    check_choice("size", size, _SIZES)
    state = _read_state(Path(path))
    encoder = PointEncoder(_SIZES[size](num_groups, group_size))
    _check_same_tensors(state, encoder.state_dict(), size)
    encoder.load_state_dict(
        {
            name.removeprefix(_PREFIX): tensor
            for name, tensor in state.items()
            if name.startswith(_PREFIX) and name not in _UNUSED
        }
    )
    return encoder.eval().requires_grad_(False)


def _read_state(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}. {_WHERE}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError) as error:
        first_line = str(error).split("\n")[0]
        raise ValueError(
            f"{path} cannot be read as a checkpoint of tensors ({first_line}). Is the "
            f"download complete? {_WHERE}"
        ) from error
    state = content.get("module") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        found = (
            f"the keys {sorted(map(str, content))[:5]}"
            if isinstance(content, Mapping)
            else f"an object of type {type(content).__name__}"
        )
        raise ValueError(
            f"{path} must hold {{'module': state_dict}}, as Uni3D publishes it; found "
            f"{found}. {_WHERE}"
        )
    return state


def _check_same_tensors(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], size: str
) -> None:
    """Compare names, shapes and values, in the order of the architecture."""
    advice = f"Is size={size!r} the size of this checkpoint?"
    for short_name, tensor in wanted.items():
        name = _PREFIX + short_name
        found = state.get(name)
        if not isinstance(found, Tensor):
            raise ValueError(f"the checkpoint lacks the tensor {name!r}. {advice}")
        if found.shape != tensor.shape:
            raise ValueError(
                f"tensor {name!r} must have shape {tuple(tensor.shape)}; the "
                f"checkpoint has {tuple(found.shape)}. {advice}"
            )
        if not bool(torch.isfinite(found).all()):
            raise ValueError(
                f"tensor {name!r} holds NaN or infinite numbers: the checkpoint is "
                "damaged. Download it again."
            )
    known = {_PREFIX + name for name in wanted} | {*_UNUSED, "logit_scale"}
    for name in state:
        if name not in known:
            raise ValueError(
                f"the checkpoint has an unexpected tensor {name!r}. {advice}"
            )
