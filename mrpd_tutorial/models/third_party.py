"""Models that others trained and published: read safely, loaded strictly."""

import os
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from mrpd_tutorial.models.pointnet import PointNet
from mrpd_tutorial.models.pu_net import PUNet

__all__ = ["load_dup_net", "load_learning3d_pointnet"]

_Model = TypeVar("_Model", bound=nn.Module)
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def load_learning3d_pointnet(path: str | os.PathLike) -> PointNet:
    """Load the PointNet for ModelNet40 that learning3d publishes (MIT).

    github.com/vinits5/learning3d, `pretrained/exp_classifier/models/best_model.t7`: a
    plain state dict, no transform networks. It takes 1024 points with y up, centroid 0
    and largest radius 1, and its classes are ModelNet40's in alphabetic order: the
    frame and the order of `load_dataset("modelnet40", ...)`.

    Args:
        path: the checkpoint file.

    Returns:
        The model in evaluation mode, on the CPU, its parameters frozen.

    Raises:
        ValueError: if the file is missing, unreadable or of another architecture; the
            first differing tensor is named.
    """
    model = PointNet()
    names = []
    for i in range(5):
        names += [
            (f"feature_model.conv{i + 1}.weight", f"body.{i}.linear.weight", 1),
            (f"feature_model.conv{i + 1}.bias", f"body.{i}.linear.bias", 0),
        ]
        names += [
            (f"feature_model.bn{i + 1}.{key}", f"body.{i}.norm.{key}", 0)
            for key in _NORM
        ]
    for i, layer in enumerate(("head.0.linear", "head.3.linear", "head.6")):
        names += [
            (f"linear{i + 1}.{key}", f"{layer}.{key}", 0) for key in ("weight", "bias")
        ]
    for i, layer in enumerate(("head.0.norm", "head.3.norm")):
        names += [(f"bn{i + 1}.{key}", f"{layer}.{key}", 0) for key in _NORM]
    return _filled(model, names, Path(path), "learning3d's PointNet for ModelNet40")


def load_dup_net(path: str | os.PathLike) -> PUNet:
    """Load the PU-Net of DUP-Net that IF-Defense publishes (MIT).

    github.com/Wuziyi616/IF-Defense, `dupnet_pu-in_1024-up_4.pth`: a plain state dict,
    1024 points in the unit sphere become 4096.

    Args:
        path: the checkpoint file.

    Returns:
        The network in evaluation mode, on the CPU, its parameters frozen.

    Raises:
        ValueError: as `load_learning3d_pointnet`.
    """
    layers = []
    for i in range(4):
        layers += [
            (f"SA_modules.{i}.mlps.0.layer{j}", f"levels.{i}.layers.{j}")
            for j in range(3)
        ]
    layers += [(f"FP_Modules.{i}.mlp.layer0", f"interpolated.{i}") for i in range(3)]
    for i in range(4):
        layers += [
            (f"FC_Modules.{i}.layer{j}", f"branches.{i}.{2 * j}") for j in range(2)
        ]
    layers += [(f"pcd_layer.{i}.layer0", f"coordinates.{2 * i}") for i in range(2)]
    names = []
    for theirs, ours in layers:
        names.append((f"{theirs}.conv.weight", f"{ours}.weight", 2))
        names.append((f"{theirs}.conv.bias", f"{ours}.bias", 0))
    what = "DUP-Net's PU-Net from 1024 to 4096 points"
    return _filled(PUNet(released_order=True), names, Path(path), what)


def _filled(
    model: _Model, names: Iterable[tuple[str, str, int]], path: Path, what: str
) -> _Model:
    """Fill a model from a published file, every tensor of both sides accounted for.

    Args:
        model: of the architecture the file should have.
        names: (name in the file, name in the model, trailing dimensions of length 1
            that a convolution has and our matrix does not), in the file's order.
        path: the file.
        what: what the file should hold, for messages.
    """
    state = _read(path, what)
    wanted = model.state_dict()
    names = list(names)
    assert sorted(ours for _, ours, _ in names) == sorted(wanted)
    tensors = {}
    for theirs, ours, extra in names:
        shape = (*wanted[ours].shape, *[1] * extra)
        found = state.get(theirs)
        if not isinstance(found, Tensor) or tuple(found.shape) != shape:
            has = tuple(found.shape) if isinstance(found, Tensor) else "no such tensor"
            raise ValueError(
                f"{path} is not {what}: tensor {theirs!r} must have shape {shape}; "
                f"the file has {has}."
            )
        if not bool(torch.isfinite(found).all()):
            raise ValueError(
                f"{path}: tensor {theirs!r} holds NaN or infinite numbers: the file is "
                "damaged. Download it again."
            )
        tensors[ours] = found.reshape(wanted[ours].shape)
    for name in state:
        if name not in {theirs for theirs, _, _ in names}:
            raise ValueError(f"{path} is not {what}: unexpected tensor {name!r}.")
    model.load_state_dict(tensors)
    return model.eval().requires_grad_(False)


def _read(path: Path, what: str) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"no file at {path}. It should be {what}.")
    try:
        # weights_only: nothing but tensors is unpickled, no code runs.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError) as error:
        raise ValueError(
            f"{path} cannot be read as a file of tensors ({str(error).splitlines()[0]})"
            f". It should be {what}; is the download complete?"
        ) from error
    if not isinstance(state, Mapping):
        raise ValueError(
            f"{path} is not {what}: expected a dictionary of tensors, found "
            f"{type(state).__name__}."
        )
    return state
