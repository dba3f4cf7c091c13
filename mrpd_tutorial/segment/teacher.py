"""The point-wise image teacher: depth features of all views, and a linear head."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mrpd_tutorial.checks import check_labels, check_positive
from mrpd_tutorial.models import ImageTeacher
from mrpd_tutorial.models.view_features import point_view_features
from mrpd_tutorial.segment.segmenter import IMPOSSIBLE, class_mask

__all__ = ["MultiViewTeacher"]


class MultiViewTeacher(nn.Module):
    """`(points, labels) -> part_logits` from depth maps, without a gradient.

    Feature maps of an image teacher, averaged over the views that see a point (see
    `point_view_features`), standardised, then one linear layer. Points that no view
    sees get no answer: all logits are equal, and the gate keeps them out.

    Args:
        image_teacher: draws and sees; frozen.
        class_parts: the part ids of each class.
        stages: how many of the tower's last feature maps are used.
        clouds_per_pass: how many clouds are worked on at once (memory).
    """

    def __init__(
        self,
        image_teacher: ImageTeacher,
        class_parts: Sequence[Sequence[int]],
        stages: int = 4,
        clouds_per_pass: int = 6,
    ) -> None:
        super().__init__()
        check_positive("stages", stages)
        check_positive("clouds_per_pass", clouds_per_pass)
        self.image_teacher = image_teacher.requires_grad_(False)
        self.stages, self.clouds_per_pass = stages, clouds_per_pass
        self.register_buffer("mask", class_mask(class_parts), persistent=False)
        like = image_teacher.mean
        probe = like.new_tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
        width = point_view_features(image_teacher, probe, stages)[0].shape[-1]
        self.register_buffer("mean", like.new_zeros(width))
        self.register_buffer("std", like.new_ones(width))
        self.out = nn.Linear(width, self.mask.shape[1]).to(like.device)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.requires_grad_(False).eval()

    def features(
        self, points: Tensor
    ) -> tuple[Float[Tensor, "B N F"], Int[Tensor, "B N"]]:
        """See `point_view_features`, a few clouds at a time."""
        found = [
            point_view_features(self.image_teacher, some, self.stages)
            for some in points.split(self.clouds_per_pass)
        ]
        features, counts = zip(*found, strict=True)
        return torch.cat(features), torch.cat(counts)

    def head(
        self,
        features: Float[Tensor, "B N F"],
        counts: Int[Tensor, "B N"],
        labels: Int[Tensor, "B"],
    ) -> Float[Tensor, "B N S"]:
        """From features to part logits."""
        logits = self.out((features - self.mean) / self.std)
        logits = torch.where(counts[..., None] > 0, logits, 0.0)
        return logits.masked_fill(~self.mask[labels][:, None], IMPOSSIBLE)

    def forward(self, points: Tensor, labels: Tensor) -> Float[Tensor, "B N S"]:
        """Score each part for each point.

        Args:
            points: (B, N, 3), in the unit sphere, y up.
            labels: (B,) the class of each cloud.

        Returns:
            (B, N, S): `IMPOSSIBLE` for parts of other classes; 0 for all parts of its
            class where no view sees the point.

        Raises:
            ValueError: on bad points or labels.
        """
        check_labels(labels, len(self.mask), len(points))
        answers = []
        parts = (points.split(self.clouds_per_pass), labels.split(self.clouds_per_pass))
        for some, own in zip(*parts, strict=True):
            answers.append(self.head(*self.features(some), own))
        return torch.cat(answers)
