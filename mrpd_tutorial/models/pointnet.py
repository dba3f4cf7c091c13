"""PointNet: the same small network for every point, then the maximum over points."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mrpd_tutorial.checks import (
    check_between,
    check_points,
    check_positive,
    check_same_device,
)
from mrpd_tutorial.models.pooling import first_maxima, linear_maximum

__all__ = ["NormedLinear", "PointNet", "classifier_head"]

# Activations of the widest layer held at once: 64 MiB in float32.
_TILE = 2**24


class NormedLinear(nn.Module):
    """A linear layer and its batch norm, on rows: (R, in) -> (R, out).

    In evaluation mode a batch norm is a scale and a shift; both go into the layer
    before it on the fly, which changes the result by rounding only.

    Args:
        width_in: columns of the rows.
        width_out: columns of the result.
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width_in, width_out)
        self.norm = nn.BatchNorm1d(width_out)

    def folded(self) -> tuple[Float[Tensor, "out in"], Float[Tensor, "out"]]:
        """Weight and bias of the linear layer that does both (evaluation mode)."""
        norm = self.norm
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        bias = (self.linear.bias - norm.running_mean) * scale + norm.bias
        return self.linear.weight * scale[:, None], bias

    def forward(self, rows: Float[Tensor, "R in"]) -> Float[Tensor, "R out"]:
        """(R, in) -> (R, out); rows are (cloud, point) pairs or clouds."""
        if self.norm.training:
            return self.norm(self.linear(rows))
        return F.linear(rows, *self.folded())


def classifier_head(
    width: int, hidden: Sequence[int], num_classes: int, dropout: float
) -> nn.Sequential:
    """Layers with batch norm, ReLU and dropout, then one to the classes.

    Args:
        width: columns of the features.
        hidden: widths of the layers between.
        num_classes: C.
        dropout: share of activations dropped behind each hidden layer (training).
    """
    layers: list[nn.Module] = []
    for inner in hidden:
        layers += [NormedLinear(width, inner), nn.ReLU(), nn.Dropout(dropout)]
        width = inner
    return nn.Sequential(*layers, nn.Linear(width, num_classes))


class PointNet(nn.Module):
    """PointNet's classifier without its two transform networks.

    Implements Qi et al. 2017 [arXiv 1612.00593], section 4.2, "vanilla" form: a shared
    network of 1x1 convolutions with batch norm and ReLU, the maximum over points,
    fully connected layers. The learned transforms (T-nets) are left out, as in
    learning3d, whose published checkpoint `load_learning3d_pointnet` reads.

    Two identities make the evaluation mode cheap, above all for attacks. ReLU never
    falls, so it can follow the maximum instead of preceding it. And of the N points
    only those that reach the maximum of a channel (the paper's critical points) carry
    its gradient: the widest layer is run without gradient to find them, then once more
    on them alone. Values and gradients are those of the plain network up to rounding;
    where points tie for a maximum, the first has the gradient (torch's amax would
    share it).

    Args:
        num_classes: C.
        widths: outputs of the shared layers; the last is the width of the feature.
        head_widths: outputs of the layers between the feature and the logits.
        dropout: in the head while training; the paper's 0.3.

    Raises:
        ValueError: on an empty list or a width or dropout out of range.

    Example:
        >>> model = PointNet.slim(num_classes=10).eval()
        >>> model(torch.zeros(2, 64, 3)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        num_classes: int = 40,
        widths: Sequence[int] = (64, 64, 64, 128, 1024),
        head_widths: Sequence[int] = (512, 256),
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        check_between("num_classes", num_classes, 2, float("inf"))
        check_between("dropout", dropout, 0, 0.99)
        if not widths:
            raise ValueError("widths must name at least one layer; received none.")
        for width in (*widths, *head_widths):
            check_positive("widths and head_widths", width)
        self.settings: dict[str, Any] = {
            "num_classes": num_classes,
            "widths": list(widths),
            "head_widths": list(head_widths),
            "dropout": dropout,
        }
        inputs = (3, *widths[:-1])
        self.body = nn.ModuleList(
            NormedLinear(i, o) for i, o in zip(inputs, widths, strict=True)
        )
        self.head = classifier_head(widths[-1], head_widths, num_classes, dropout)

    @classmethod
    def slim(cls, num_classes: int = 40) -> "PointNet":
        """A small one for CPUs: 0.08 M parameters, a quarter of the arithmetic."""
        return cls(
            num_classes=num_classes, widths=(32, 64, 128, 256), head_widths=(128,)
        )

    def _rows(self, points: Tensor) -> Tensor:
        """All shared layers but the last, (B, N, 3) -> (B, N, W)."""
        weight = self.body[0].linear.weight
        check_points(points)
        check_same_device(points=points, model=weight)
        rows = points.to(weight.dtype).flatten(0, 1)  # (B*N, 3)
        for layer in self.body[:-1]:
            rows = layer(rows).relu()
        return rows.unflatten(0, points.shape[:2])  # (B, N, W)

    def _critical(self, rows: Tensor) -> Tensor:
        """The first point that reaches each channel's maximum, (B, N, W) -> (B, F)."""
        return first_maxima(rows, self.body[-1].folded()[0], _TILE)

    def critical_points(self, points: Tensor) -> Int[Tensor, "B F"]:
        """Which point each channel of the feature comes from (evaluation mode).

        Args:
            points: (B, N, 3).

        Returns:
            (B, F) indices into N; the distinct ones are the cloud's critical points.
        """
        return self._critical(self._rows(points))

    def features(self, points: Tensor) -> Float[Tensor, "B F"]:
        """The maximum over points, in front of the head.

        Args:
            points: (B, N, 3), in the frame the model was trained in.

        Raises:
            ValueError: on clouds of another shape, with NaN, or on another device.
        """
        rows = self._rows(points)
        last = self.body[-1]
        if last.norm.training:
            pooled = last(rows.flatten(0, 1)).view(*rows.shape[:2], -1).amax(1)
            return pooled.relu()
        return linear_maximum(rows, *last.folded()).relu()  # (B, N, W) -> (B, F)

    def forward(self, points: Tensor) -> Float[Tensor, "B C"]:
        """(B, N, 3) -> logits (B, C); see `features`."""
        return self.head(self.features(points))
