"""The attack lab's own models: surrogates of other families, and a PU-Net.

Made by `scripts/train_victims.py` and `scripts/train_pu_net.py`: one safetensors file
and one card (what it was trained on, command, seed, scores, classes) each.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mrpd_tutorial.models.dgcnn import DGCNN
from mrpd_tutorial.models.pointnet import PointNet
from mrpd_tutorial.models.pu_net import PUNet
from mrpd_tutorial.runtime import read_json
from mrpd_tutorial.zoo import load_module, plain_name, tiny_folder

__all__ = ["Victim", "load_pu_net", "load_victim"]

_FAMILIES = {"pointnet": PointNet, "dgcnn": DGCNN}


class Victim(nn.Module):
    """A trained classifier that knows the names of its classes.

    Args:
        model: `points -> logits (B, C)`.
        class_names: its C classes, in the order of the logits.
        card: what it was trained on, with its scores.

    Raises:
        ValueError: if a name comes twice.
    """

    def __init__(
        self,
        model: nn.Module,
        class_names: Sequence[str],
        card: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.class_names = tuple(class_names)
        self.card = dict(card or {})
        if len({plain_name(name) for name in class_names}) != len(class_names):
            raise ValueError(f"class_names must differ; received {list(class_names)}.")

    def for_classes(self, class_names: Sequence[str]) -> "Victim":
        """The same model that answers for these classes only, in this order.

        Raises:
            ValueError: naming the classes it was not trained on.
        """
        known = {plain_name(name): row for row, name in enumerate(self.class_names)}
        missing = [name for name in class_names if plain_name(name) not in known]
        if missing:
            raise ValueError(
                f"this model does not know {missing}; it was trained on "
                f"{list(self.class_names)}. Choose another surrogate, or train one: "
                "scripts/train_victims.py."
            )
        columns = torch.tensor([known[plain_name(name)] for name in class_names])
        return Victim(_Columns(self.model, columns), class_names, self.card)

    def forward(self, points: Tensor) -> Float[Tensor, "B C"]:
        """(B, N, 3) -> logits (B, C)."""
        return self.model(points)


class _Columns(nn.Module):
    def __init__(self, model: nn.Module, columns: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, points: Tensor) -> Tensor:
        return self.model(points)[:, self.columns]


def load_victim(name: str, folder: str | os.PathLike | None = None) -> Victim:
    """Load a surrogate that was trained here.

    Args:
        name: "pointnet" or "dgcnn".
        folder: another folder made by `scripts/train_victims.py`.

    Returns:
        The model in evaluation mode, on the CPU, its parameters frozen.

    Raises:
        ValueError: if the name is unknown, or a file is missing, damaged or of another
            architecture.
    """
    if name not in _FAMILIES:
        raise ValueError(f"name must be one of {sorted(_FAMILIES)}; received {name!r}.")
    path = Path(folder or tiny_folder()) / f"{name}.safetensors"
    card = read_json(path.with_suffix(".json"))
    model = _FAMILIES[name](**card["settings"])
    load_module(model, path)
    return Victim(model, card["classes"], card).eval().requires_grad_(False)


def load_pu_net(folder: str | os.PathLike | None = None) -> PUNet:
    """Load the small PU-Net that was trained here: 1024 points become 4096.

    Args:
        folder: another folder made by `scripts/train_pu_net.py`.

    Returns:
        The network in evaluation mode, on the CPU, its parameters frozen.

    Raises:
        ValueError: if a file is missing, damaged or of another architecture.
    """
    path = Path(folder or tiny_folder()) / "pu_net.safetensors"
    network = PUNet(**read_json(path.with_suffix(".json"))["settings"])
    load_module(network, path)
    return network.eval().requires_grad_(False)
