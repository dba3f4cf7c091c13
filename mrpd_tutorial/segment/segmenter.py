"""A point-wise answer on top of the frozen student: patches, interpolation, a head."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mrpd_tutorial.checks import check_between, check_labels, check_points
from mrpd_tutorial.geometry import farthest_point_sampling, gather_points, knn
from mrpd_tutorial.models import PointEncoder

__all__ = ["IMPOSSIBLE", "Below", "PartSegmenter", "class_mask", "interpolation_matrix"]

IMPOSSIBLE = -1e4
"""Logit of the parts of other classes: finite, its exp is exactly 0 in float32."""

NEIGHBOURS = 3


class Below(NamedTuple):
    """What lies below the prompts and can be kept: it does not depend on them."""

    points: Float[Tensor, "B N 3"]
    tokens: Float[Tensor, "B T W"]
    matrix: Float[Tensor, "B N G"]

    def rows(self, index: Tensor) -> "Below":
        """The clouds at `index`."""
        return Below(*(value[index] for value in self))


def class_mask(class_parts: Sequence[Sequence[int]]) -> Bool[Tensor, "C S"]:
    """Which of the S parts each class has.

    Raises:
        ValueError: if the ids are not 0..S-1, each of one class.

    Example:
        >>> class_mask([(0, 1), (2,)])
        tensor([[ True,  True, False],
                [False, False,  True]])
    """
    ids = [part for own in class_parts for part in own]
    if not ids or sorted(ids) != list(range(len(ids))):
        raise ValueError(
            "class_parts must hold the part ids 0..S-1, each in one class; received "
            f"{tuple(class_parts)}. Take PointDataset.class_parts."
        )
    mask = torch.zeros(len(class_parts), len(ids), dtype=torch.bool)
    for label, own in enumerate(class_parts):
        mask[label, list(own)] = True
    return mask


def interpolation_matrix(
    points: Float[Tensor, "B N 3"], centres: Float[Tensor, "B G 3"]
) -> Float[Tensor, "B N G"]:
    """How much each patch centre says about each point: rows sum to 1.

    Implements PointNet++'s feature propagation [Qi et al., 1706.02413]: the three
    nearest centres, weighed by the inverse squared distance. Which are nearest is not
    differentiated; their distances are.

    Args:
        points: (B, N, 3).
        centres: (B, G, 3), G at least 3.
    """
    with torch.no_grad():
        _, nearest = knn(points, centres, NEIGHBOURS)  # (B, N, 3)
    offset = points[:, :, None] - gather_points(centres, nearest)  # (B, N, 3, 3)
    weight = 1 / (offset.square().sum(-1) + 1e-4)  # (B, N, 3)
    weight = weight / weight.sum(-1, keepdim=True)
    matrix = weight.new_zeros(*points.shape[:2], centres.shape[1])
    return matrix.scatter(2, nearest, weight)


class PartSegmenter(nn.Module):
    """`(points, labels) -> part_logits` through a frozen student, perhaps prompted.

    The class of a cloud is given, as is usual for ShapeNet-Part [Yi et al. 2016]: parts
    of other classes are impossible. The head is two layers: its first is applied to the
    patches and then interpolated, which is the same as the other way round and cheaper,
    and adds what it makes of the point's own place.

    Args:
        student: the encoder, frozen.
        class_parts: the part ids of each class, from `PointDataset.class_parts`.
        prompt: (1, L, W) or (S, L, W), see `PointEncoder.forward_tokens`; None is the
            undefended segmenter.
        hidden: width of the head.
        colour: grey value of the points in [0, 1].
        seed: of the head's random start.
    """

    def __init__(
        self,
        student: PointEncoder,
        class_parts: Sequence[Sequence[int]],
        prompt: Tensor | None = None,
        hidden: int = 128,
        colour: float = 0.4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_between("colour", colour, 0, 1)
        self.student = student.eval().requires_grad_(False)
        self.class_parts = tuple(tuple(own) for own in class_parts)
        self.colour = colour
        self.register_buffer("mask", class_mask(class_parts), persistent=False)
        width = max(1, student.config.depth - 1) * student.config.width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.norm = nn.LayerNorm(width)
            self.of_patch = nn.Linear(width, hidden)
            self.of_place = nn.Linear(3, hidden, bias=False)
            self.out = nn.Linear(hidden, self.mask.shape[1])
        kept = None if prompt is None else prompt.detach().clone()
        self.register_buffer("prompt", kept)
        self.to(student.cls_token.device)
        self.requires_grad_(False).eval()

    def head_parameters(self) -> list[nn.Parameter]:
        """What `train_head` learns, and nothing else ever does."""
        parts = (self.norm, self.of_patch, self.of_place, self.out)
        return [p for part in parts for p in part.parameters()]

    def with_prompt(self, prompt: Tensor | None) -> "PartSegmenter":
        """The same student and head with another prompt, or without one."""
        other = PartSegmenter(
            self.student,
            self.class_parts,
            prompt=prompt,
            hidden=self.out.in_features,
            colour=self.colour,
        )
        state = {k: v for k, v in self.state_dict().items() if k != "prompt"}
        other.load_state_dict(state, strict=False)
        return other

    def forward(self, points: Tensor, labels: Tensor) -> Float[Tensor, "B N S"]:
        """Score each part for each point; differentiable in the points.

        Args:
            points: (B, N, 3), in the unit sphere, y up.
            labels: (B,) the class of each cloud.

        Returns:
            (B, N, S): `IMPOSSIBLE` for parts of other classes.

        Raises:
            ValueError: what the student's `tokens` raises, or labels without parts.
        """
        return self.above(self.below(points), labels, self.prompt)

    def below(self, points: Tensor) -> Below:
        """Tokens of the patches and the way back from patches to points."""
        check_points(points, min_points=NEIGHBOURS)
        tokens = self.student.tokens(points, self.colour)
        # The student chooses the same centres: sampling has a fixed start.
        chosen = farthest_point_sampling(points, self.student.config.num_groups)
        centres = gather_points(points, chosen)
        return Below(points, tokens, interpolation_matrix(points, centres))

    def above(
        self, below: Below, labels: Int[Tensor, "B"], prompt: Tensor | None
    ) -> Float[Tensor, "B N S"]:
        """From `below` and a prompt to part logits; differentiable in the prompt."""
        return self.head(
            below, self.student.patch_features(below.tokens, prompt), labels
        )

    def head(
        self, below: Below, patches: Float[Tensor, "B G F"], labels: Int[Tensor, "B"]
    ) -> Float[Tensor, "B N S"]:
        """From patch features to part logits."""
        check_labels(labels, len(self.mask), len(patches))
        hidden = below.matrix @ self.of_patch(self.norm(patches))  # (B, N, hidden)
        hidden = F.gelu(hidden + self.of_place(below.points))
        return self.out(hidden).masked_fill(~self.mask[labels][:, None], IMPOSSIBLE)
