"""A point auto-encoder: what is left of a cloud after a narrow pass.

AdvPC looks through one, and it restores clouds: noise does not fit through 128 numbers.
Trained by scripts/train_auto_encoder.py.
"""

import itertools
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mrpd_tutorial.checks import check_points, check_positive
from mrpd_tutorial.models.pooling import linear_maximum
from mrpd_tutorial.runtime import embedded_data, load_tensors

__all__ = ["AutoEncoder", "AutoEncoderConfig", "load_auto_encoder"]

_MADE_BY = "python scripts/train_auto_encoder.py makes one, see its --help."


@dataclass(frozen=True, kw_only=True)
class AutoEncoderConfig:
    """Sizes; the default has 0.50 million parameters.

    Attributes:
        num_points: M, points of a reconstruction, whatever the input's number.
        latent_width: numbers a cloud must pass through.
        encoder_widths: of the per-point layers before the maximum over points.
        decoder_widths: of the layers between latent and points.
    """

    num_points: int = 1024
    latent_width: int = 128
    encoder_widths: Sequence[int] = (64, 128, 256)
    decoder_widths: Sequence[int] = (128, 128)

    def __post_init__(self) -> None:
        for name in ("encoder_widths", "decoder_widths"):  # JSON has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.encoder_widths:
            raise ValueError("encoder_widths must name at least one layer.")
        widths = (*self.encoder_widths, *self.decoder_widths, self.latent_width)
        for width in (self.num_points, *widths):
            check_positive("each of num_points and the widths", width)


def _layers(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with a ReLU between every two."""
    layers: list[nn.Module] = []
    for inner, outer in itertools.pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class AutoEncoder(nn.Module):
    """PointNet encoder, fully connected decoder, as in Achlioptas et al. 2018.

    "Learning Representations and Generative Models for 3D Point Clouds" [arXiv
    1707.02392], which AdvPC uses, is four times as large and has batch norm; this one
    has none, so that a cloud's reconstruction never depends on its batch, in training
    as in evaluation. The order of the input's points does not matter. Frame: clouds in
    and out have centroid near 0 and radius about 1.

    Args:
        config: sizes.
    """

    def __init__(self, config: AutoEncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AutoEncoderConfig()
        self.point_layers = _layers((3, *config.encoder_widths))
        self.to_latent = nn.Linear(config.encoder_widths[-1], config.latent_width)
        outputs = 3 * config.num_points
        self.decoder = _layers((config.latent_width, *config.decoder_widths, outputs))

    def encode(self, points: Float[Tensor, "B N 3"]) -> Float[Tensor, "B D"]:
        """(B, N, 3) -> latent (B, D), the same for any order of the points."""
        last = self.point_layers[-1]
        rows = self.point_layers[:-1](points)  # (B, N, V)
        features = linear_maximum(rows, last.weight, last.bias)  # (B, W)
        return self.to_latent(features.relu())

    def decode(self, latent: Float[Tensor, "B D"]) -> Float[Tensor, "B M 3"]:
        """(B, D) -> points (B, M, 3)."""
        return self.decoder(latent.relu()).unflatten(1, (-1, 3))  # (B, 3M) -> (B, M, 3)

    def forward(self, points: Tensor) -> Float[Tensor, "B M 3"]:
        """Reconstruct clouds.

        Args:
            points: (B, N, 3), any N.

        Returns:
            (B, M, 3), M = config.num_points.

        Raises:
            ValueError: on clouds of another shape.
        """
        check_points(points)
        return self.decode(self.encode(points))

    def info(self) -> dict:
        """What `load_auto_encoder` must know; saved with the weights."""
        return {"model": "auto_encoder", "config": asdict(self.config)}


def load_auto_encoder(path: str | os.PathLike | None = None) -> AutoEncoder:
    """Load what scripts/train_auto_encoder.py wrote.

    Args:
        path: the file; None takes the one that travels with the package.

    Returns:
        The auto-encoder in evaluation mode, in float32 on the CPU, parameters frozen.

    Raises:
        ValueError: if the file is missing, damaged or holds another model.
    """
    if path is None:
        path = embedded_data() / "lab_tiny" / "auto_encoder.safetensors"
    try:
        tensors, info = load_tensors(path)
    except ValueError as error:
        raise ValueError(f"{error} {_MADE_BY}") from error
    kind = info.get("model", "something else")
    if kind != "auto_encoder":
        raise ValueError(f"{path} holds no auto-encoder but {kind!r}. {_MADE_BY}")
    model = AutoEncoder(AutoEncoderConfig(**info["config"]))
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    found = {name: value.shape for name, value in tensors.items()}
    if wanted != found:
        names = sorted(
            name for name in wanted | found if wanted.get(name) != found.get(name)
        )
        raise ValueError(
            f"{path}: tensor {names[0]!r} must have shape {wanted.get(names[0])}; "
            f"found {found.get(names[0])}. {_MADE_BY}"
        )
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(
                f"{path}: tensor {name!r} holds NaN or infinite numbers. {_MADE_BY}"
            )
    model.load_state_dict({name: value.float() for name, value in tensors.items()})
    return model.eval().requires_grad_(False)
