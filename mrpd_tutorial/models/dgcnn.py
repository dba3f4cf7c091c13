"""DGCNN: every point looks at its nearest neighbours, anew in each layer."""

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
from mrpd_tutorial.geometry import knn
from mrpd_tutorial.models.pointnet import NormedLinear, classifier_head

__all__ = ["DGCNN", "EdgeConv", "feature_neighbours"]

# Distances between features held at once: 64 MiB in float32.
_PAIRS = 2**24


def feature_neighbours(features: Tensor, k: int) -> Int[Tensor, "B N k"]:
    """The k nearest points of each point, by features, itself included.

    `geometry.knn` for features of any width; which points are neighbours is not
    differentiated.

    Args:
        features: (B, N, W).
        k: 1..N.
    """
    with torch.no_grad():
        squares = features.square().sum(-1)  # (B, N)
        found = []
        for start in range(0, features.shape[1], _rows_a_tile(features)):
            rows = features[:, start : start + _rows_a_tile(features)]
            # |row|^2 is the same for all candidates of a row: left out.
            distances = torch.baddbmm(
                squares[:, None, :], rows, features.transpose(1, 2), alpha=-2
            )  # (B, n, N)
            found.append(distances.topk(k, dim=-1, largest=False, sorted=False).indices)
        return torch.cat(found, dim=1)


def _rows_a_tile(features: Tensor) -> int:
    return max(1, _PAIRS // (features.shape[0] * features.shape[1]))


class EdgeConv(nn.Module):
    """For each point, the maximum over its neighbours of one layer on the edge.

    Implements Eq. 7 and 8 of Wang et al. 2019 [arXiv 1801.07829]:
    x_i' = max_j LeakyReLU(BN(W [x_j - x_i; x_i])). A layer that is linear in x_i and
    x_j is run once for each point, not once for each edge: W_d x_j + (W_o - W_d) x_i.
    In evaluation mode, where LeakyReLU(BN(.)) is one monotone function once the norm's
    scale is part of W, the maximum is taken over W_d x_j alone.

    Args:
        width_in: columns of the features.
        width_out: columns of the result.
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.layer = NormedLinear(2 * width_in, width_out)

    def forward(
        self, features: Float[Tensor, "B N W"], neighbours: Int[Tensor, "B N k"]
    ) -> Float[Tensor, "B N F"]:
        """(B, N, W) and the indices of each point's neighbours -> (B, N, F)."""
        norm = self.layer.norm
        if norm.training:
            weight, bias = self.layer.linear.weight, self.layer.linear.bias
        else:
            weight, bias = self.layer.folded()
        of_difference, of_own = weight.chunk(2, dim=1)
        own = F.linear(features, of_own - of_difference, bias)  # (B, N, F)
        other = F.linear(features, of_difference)
        batch, count, k = neighbours.shape
        first = torch.arange(batch, device=features.device)[:, None, None] * count
        rows = (neighbours + first).flatten()  # (B*N*k): into all points of the batch
        edges = other.flatten(0, 1).index_select(0, rows)  # (B*N*k, F)
        edges = edges.view(batch, count, k, -1)
        if norm.training:
            edges = edges + own[:, :, None]
            edges = norm(edges.flatten(0, 2)).view_as(edges)
            return F.leaky_relu(edges.amax(2), 0.2)
        return F.leaky_relu(own + edges.amax(2), 0.2)  # (B, N, F)


class DGCNN(nn.Module):
    """The classifier of Wang et al. 2019 [arXiv 1801.07829], section 4.

    EdgeConv layers whose graph is made anew from the features of the layer before (the
    first from the coordinates), all their outputs side by side, one shared layer,
    maximum and mean over points, fully connected layers. LeakyReLU has slope 0.2.

    Args:
        num_classes: C.
        k: neighbours of a point, itself included; the paper's 20.
        widths: outputs of the EdgeConv layers.
        embedding_width: output of the shared layer; features are twice as wide.
        head_widths: outputs of the layers between the feature and the logits. The
            published code has LeakyReLU there; ours has ReLU, as PointNet.
        dropout: in the head while training.

    Raises:
        ValueError: on an empty list or a number out of range.

    Example:
        >>> model = DGCNN.slim(num_classes=10).eval()
        >>> model(torch.randn(2, 64, 3)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        num_classes: int = 40,
        k: int = 20,
        widths: Sequence[int] = (64, 64, 128, 256),
        embedding_width: int = 1024,
        head_widths: Sequence[int] = (512, 256),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_between("num_classes", num_classes, 2, float("inf"))
        check_between("dropout", dropout, 0, 0.99)
        check_positive("k", k)
        if not widths:
            raise ValueError("widths must name at least one layer; received none.")
        for width in (*widths, embedding_width, *head_widths):
            check_positive("widths", width)
        self.k = k
        self.settings: dict[str, Any] = {
            "num_classes": num_classes,
            "k": k,
            "widths": list(widths),
            "embedding_width": embedding_width,
            "head_widths": list(head_widths),
            "dropout": dropout,
        }
        inputs = (3, *widths[:-1])
        self.edges = nn.ModuleList(
            EdgeConv(i, o) for i, o in zip(inputs, widths, strict=True)
        )
        self.embedding = NormedLinear(sum(widths), embedding_width)
        self.head = classifier_head(
            2 * embedding_width, head_widths, num_classes, dropout
        )

    @classmethod
    def slim(cls, num_classes: int = 40) -> "DGCNN":
        """A small one for CPUs: 0.1 M parameters, three graphs of 12 neighbours."""
        return cls(
            num_classes=num_classes,
            k=12,
            widths=(32, 32, 64),
            embedding_width=256,
            head_widths=(128,),
        )

    def features(self, points: Tensor) -> Float[Tensor, "B F"]:
        """Maximum and mean over points, in front of the head.

        Args:
            points: (B, N, 3), N >= k, in the frame the model was trained in.

        Raises:
            ValueError: on clouds of another shape, with NaN, of fewer than k points, or
                on another device.
        """
        weight = self.embedding.linear.weight
        check_points(points, min_points=self.k)
        check_same_device(points=points, model=weight)
        hidden = points.to(weight.dtype)
        outputs = []
        for edge in self.edges:
            if outputs:
                neighbours = feature_neighbours(hidden, self.k)
            else:
                neighbours = knn(hidden.detach(), hidden.detach(), self.k)[1]
            hidden = edge(hidden, neighbours)
            outputs.append(hidden)
        rows = torch.cat(outputs, dim=-1).flatten(0, 1)  # (B*N, sum of widths)
        rows = F.leaky_relu(self.embedding(rows), 0.2).unflatten(0, points.shape[:2])
        return torch.cat([rows.amax(1), rows.mean(1)], dim=-1)  # (B, F)

    def forward(self, points: Tensor) -> Float[Tensor, "B C"]:
        """(B, N, 3) -> logits (B, C); see `features`."""
        return self.head(self.features(points))
