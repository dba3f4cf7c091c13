"""From points to patch tokens: farthest points, their neighbours, a mini-PointNet."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mrpd_tutorial.geometry import farthest_point_sampling, gather_points, knn

__all__ = ["PatchEncoder", "group_patches"]


def group_patches(
    points: Float[Tensor, "B N 3"], num_groups: int, group_size: int
) -> tuple[Float[Tensor, "B G 3"], Float[Tensor, "B G K 3"], tuple[Tensor, Tensor]]:
    """Cut each cloud into patches: a centre and its nearest neighbours.

    The centres are chosen by farthest point sampling from point 0 on. This is the one
    place where the order of the points matters: which point comes first. Which points
    belong to a patch is not differentiated; where they are is.

    Args:
        points: (B, N, 3), N at least num_groups and group_size.
        num_groups: G, patches a cloud.
        group_size: K, neighbours of a centre, itself included.

    Returns:
        centres (B, G, 3), patches (B, G, K, 3) relative to their centre, and the
        indices into points of both, (B, G) and (B, G, K).
    """
    with torch.no_grad():
        centre_indices = farthest_point_sampling(points, num_groups)
        members = knn(gather_points(points, centre_indices), points, group_size)[1]
    centres = gather_points(points, centre_indices)  # (B, G, 3)
    patches = gather_points(points, members) - centres[:, :, None]  # (B, G, K, 3)
    return centres, patches, (centre_indices, members)


class PatchEncoder(nn.Module):
    """A mini-PointNet: one feature vector for each patch.

    Implements the patch encoder of Point-BERT [arXiv 2111.14819] with Uni3D's
    parameter names and widths [arXiv 2310.06773]: two layers, maximum over the patch,
    the maximum put before every point's own features, two layers, maximum.

    Two identities make it fast without changing the result beyond rounding. The
    patch's maximum is the same for all its points, so its half of the third layer is
    computed once a patch. And a batch norm in evaluation mode is a scale and a shift,
    which go into the layer before it on the fly.

    Args:
        widths: outputs of the first, second and third layer.
        out_width: width of the feature vector.
    """

    def __init__(self, widths: tuple[int, int, int], out_width: int) -> None:
        super().__init__()
        first, second, third = widths
        self.first_conv = nn.Sequential(
            nn.Conv1d(6, first, 1),
            nn.BatchNorm1d(first),
            nn.ReLU(),
            nn.Conv1d(first, second, 1),
        )
        self.second_conv = nn.Sequential(
            nn.Conv1d(2 * second, third, 1),
            nn.BatchNorm1d(third),
            nn.ReLU(),
            nn.Conv1d(third, out_width, 1),
        )

    def forward(
        self, patches: Float[Tensor, "B G K 3"], colours: float | Tensor
    ) -> Float[Tensor, "B G W"]:
        """Encode each patch.

        Args:
            patches: (B, G, K, 3), relative to the centre.
            colours: one grey value for all points, or (B, G, K, 3) in [0, 1].

        Returns:
            (B, G, out_width).
        """
        batch, groups, size, _ = patches.shape
        rows = patches.reshape(-1, 3)  # (B*G*K, 3): every layer is one product
        weight, bias = _flat(self.first_conv[0])
        if isinstance(colours, Tensor):
            rows = torch.cat([rows, colours.reshape(-1, 3)], dim=1)  # (B*G*K, 6)
        else:  # a constant input is a part of the bias
            bias = bias + weight[:, 3:].sum(1) * colours
            weight = weight[:, :3]
        hidden = _scaled_linear(rows, weight, bias, self.first_conv[1]).relu_()
        hidden = F.linear(hidden, *_flat(self.first_conv[3]))  # (B*G*K, second)

        whole = _maximum(hidden, size)  # (B*G, second)
        weight, bias = _flat(self.second_conv[0])
        norm = self.second_conv[1]
        if not norm.training:
            weight, bias = _folded(weight, bias, norm)
        of_whole, of_point = weight.chunk(2, dim=1)
        hidden = F.linear(hidden, of_point).view(-1, size, weight.shape[0])
        hidden += F.linear(whole, of_whole, bias)[:, None]  # (B*G, K, third)
        hidden = hidden.flatten(0, 1)  # (B*G*K, third)
        if norm.training:
            hidden = norm(hidden)
        hidden = F.linear(hidden.relu_(), *_flat(self.second_conv[3]))
        return _maximum(hidden, size).view(batch, groups, -1)  # (B, G, out_width)


def _flat(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """The weight of a convolution of length 1 as a matrix, and its bias."""
    return layer.weight[:, :, 0], layer.bias


def _folded(weight: Tensor, bias: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """A linear layer that also does the batch norm behind it (evaluation mode)."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return weight * scale[:, None], (bias - norm.running_mean) * scale + norm.bias


def _scaled_linear(
    rows: Tensor, weight: Tensor, bias: Tensor, norm: nn.Module
) -> Tensor:
    if norm.training:
        return norm(F.linear(rows, weight, bias))
    return F.linear(rows, *_folded(weight, bias, norm))


def _maximum(rows: Tensor, size: int) -> Tensor:
    """Maximum over the points of each patch, (B*G*K, W) -> (B*G, W)."""
    return rows.view(-1, size, rows.shape[1]).amax(dim=1)
