"""The 3D point encoder: Uni3D's architecture on timm's EVA-02 blocks, with prompts."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mrpd_tutorial.checks import check_points, check_positive, check_same_device
from mrpd_tutorial.geometry import gather_points
from mrpd_tutorial.models.eva02 import build_eva02, only_class_token
from mrpd_tutorial.models.patches import PatchEncoder, group_patches

__all__ = ["PointEncoder", "PointEncoderConfig"]


@dataclass(frozen=True, kw_only=True)
class PointEncoderConfig:
    """What a point encoder is made of; save `dataclasses.asdict` of it with weights.

    Attributes:
        timm_name: the timm model whose blocks are used; None builds EVA-02 blocks of
            the given width, depth and heads, without timm's unused image stem.
        width: W, of the tokens.
        depth: number of blocks.
        num_heads: attention heads.
        mlp_ratio: hidden width of a block over its width (only without timm_name).
        num_groups: G, patches a cloud.
        group_size: K, points a patch.
        patch_widths: outputs of the first three layers of the mini-PointNet.
        token_encoder_dim: output of the mini-PointNet.
        position_width: hidden width of the position MLP.
        embed_dim: D, of the output.
    """

    timm_name: str | None = None
    width: int = 128
    depth: int = 4
    num_heads: int = 4
    mlp_ratio: float = 8 / 3
    num_groups: int = 64
    group_size: int = 16
    patch_widths: Sequence[int] = (128, 256, 512)
    token_encoder_dim: int = 512
    position_width: int = 128
    embed_dim: int = 1024

    def __post_init__(self) -> None:
        # JSON and safetensors metadata give lists back.
        object.__setattr__(self, "patch_widths", tuple(self.patch_widths))
        if len(self.patch_widths) != 3:
            raise ValueError(
                "patch_widths must be the outputs of 3 layers; received "
                f"{self.patch_widths}."
            )
        for name in ("width", "depth", "num_heads", "num_groups", "group_size"):
            check_positive(name, getattr(self, name))
        if self.width % self.num_heads:
            raise ValueError(
                f"width must be a multiple of num_heads; received width {self.width} "
                f"and num_heads {self.num_heads}. Choose for instance num_heads = "
                f"width / 32."
            )

    @classmethod
    def ti(cls, num_groups: int = 512, group_size: int = 64) -> "PointEncoderConfig":
        """Uni3D-Ti, the paper's student."""
        return cls(
            timm_name="eva02_tiny_patch14_224",
            width=192,
            depth=12,
            num_heads=3,
            num_groups=num_groups,
            group_size=group_size,
        )

    @classmethod
    def base(cls, num_groups: int = 512, group_size: int = 64) -> "PointEncoderConfig":
        """Uni3D-B, the paper's point teacher."""
        return cls(
            timm_name="eva02_base_patch14_448",
            width=768,
            depth=12,
            num_heads=12,
            num_groups=num_groups,
            group_size=group_size,
        )

    @classmethod
    def slim(cls, num_groups: int = 64, group_size: int = 16) -> "PointEncoderConfig":
        """A small one for CPUs: the same architecture, about 1 M parameters."""
        return cls(
            num_groups=num_groups,
            group_size=group_size,
            patch_widths=(32, 64, 128),
            token_encoder_dim=128,
            position_width=64,
            embed_dim=512,
        )


class PointEncoder(nn.Module):
    """Points to one embedding each, with learnable prompts behind the class token.

    Implements Uni3D's point encoder [arXiv 2310.06773]; parameters carry the names of
    its published checkpoints. Of the timm model the blocks and the last norms are
    used; its image stem and rotary positions are not (the published checkpoints hold
    the stem's weights all the same, so the full sizes keep them).

    The output depends on the order of the points only through which one comes first
    (farthest point sampling starts there).

    Args:
        config: the sizes.
    """

    def __init__(self, config: PointEncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.encoder = PatchEncoder(config.patch_widths, config.token_encoder_dim)
        self.encoder2trans = nn.Linear(config.token_encoder_dim, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.cls_pos = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos_embed = nn.Sequential(
            nn.Linear(3, config.position_width),
            nn.GELU(),
            nn.Linear(config.position_width, width),
        )
        self.visual = build_eva02(
            config.timm_name, width, config.depth, config.num_heads, config.mlp_ratio
        )
        self.trans2embed = nn.Linear(width, config.embed_dim)

    def tokens(
        self, points: Tensor, colour: float | Tensor = 0.4
    ) -> Float[Tensor, "B T W"]:
        """Compute everything below the prompts: class token and patch tokens.

        The result does not depend on any prompt, so it can be computed once and kept.

        Args:
            points: (B, N, 3), in the unit sphere, y up; N at least num_groups and
                group_size.
            colour: one grey value in [0, 1] for all points, or (B, N, 3). Uni3D was
                trained with 0.4 where colour is missing. The released MRPD code
                differs: it uses 0.5.

        Returns:
            (B, 1 + num_groups, W): the class token first, positions added.

        Raises:
            ValueError: on clouds of another shape or type, with NaN, with too few
                points, on another device, or colours of another shape.
        """
        config = self.config
        check_points(points, min_points=max(config.num_groups, config.group_size))
        check_same_device(points=points, encoder=self.cls_token)
        points = points.to(self.cls_token.dtype)
        centres, patches, (_, members) = group_patches(
            points, config.num_groups, config.group_size
        )
        if isinstance(colour, Tensor) and colour.ndim > 0:
            colour = _member_colours(colour.to(points.dtype), points, members)
        else:
            colour = float(colour)
        features = self.encoder2trans(self.encoder(patches, colour))  # (B, G, W)
        features = features + self.pos_embed(centres)
        start = (self.cls_token + self.cls_pos).expand(len(points), -1, -1)
        return torch.cat([start, features], dim=1)  # (B, 1 + G, W)

    def forward_tokens(
        self, tokens: Float[Tensor, "B T W"], prompt: Tensor | None = None
    ) -> Float[Tensor, "B D"]:
        """Run the blocks on tokens, with prompts right behind the class token.

        Prompts have position zero, so they enter as they are.

        Args:
            tokens: (B, T, W), from `tokens`.
            prompt: None; (L, W) or (1, L, W): input prompts; (S, L, W) with
                1 < S <= depth: deep prompts [VPT, arXiv 2203.12119], where the L
                prompt slots are overwritten with set i before block i, for i < S.

        Returns:
            (B, D), not normalised.

        Raises:
            ValueError: if the prompt has another shape.
        """
        after = self._through_blocks(tokens, prompt, only_class_token)
        hidden = deque(after, maxlen=1).pop()
        summary = self.visual.fc_norm(self.visual.norm(hidden[:, 0]))  # (B, W)
        return self.trans2embed(summary)

    def patch_features(
        self, tokens: Float[Tensor, "B T W"], prompt: Tensor | None = None
    ) -> Float[Tensor, "B G F"]:
        """What the blocks make of each patch, for answers about single points.

        The patch tokens after every block but the last, side by side: nothing was ever
        trained to read the patch tokens behind the last block (only its class token is
        read), and low blocks say more of where, high ones of what.

        Args:
            tokens: (B, 1 + G, W), from `tokens`.
            prompt: see `forward_tokens`.

        Returns:
            (B, G, F), F = max(1, depth - 1) * W; the patches in the order of `tokens`.

        Raises:
            ValueError: if the prompt has another shape.
        """
        count = tokens.shape[1] - 1
        last = max(1, self.config.depth - 1)
        after = islice(self._through_blocks(tokens, prompt), last)
        return torch.cat([hidden[:, -count:] for hidden in after], dim=-1)

    def _through_blocks(
        self,
        tokens: Tensor,
        prompt: Tensor | None,
        last_block: Callable[[nn.Module, Tensor], Tensor] | None = None,
    ) -> Iterator[Tensor]:
        """The tokens after each block; the last one applied by `last_block`."""
        sets = () if prompt is None else self._prompt_sets(prompt).unbind(0)
        hidden = tokens
        for i, block in enumerate(self.visual.blocks):
            if i < len(sets):
                # Patch tokens start behind the class token and, from the second set
                # on, behind the slots of the set before.
                rest = hidden[:, 1 if i == 0 else 1 + sets[0].shape[0] :]
                slots = sets[i].expand(len(hidden), -1, -1)  # (B, L, W)
                hidden = torch.cat([hidden[:, :1], slots, rest], dim=1)
            last = i == self.config.depth - 1 and last_block is not None
            hidden = last_block(block, hidden) if last else block(hidden)
            yield hidden

    def forward(
        self,
        points: Tensor,
        prompt: Tensor | None = None,
        colour: float | Tensor = 0.4,
    ) -> Float[Tensor, "B D"]:
        """Embed clouds: `forward_tokens(tokens(points, colour), prompt)`.

        Args:
            points: see `tokens`.
            prompt: see `forward_tokens`.
            colour: see `tokens`.

        Returns:
            (B, D), not normalised.
        """
        return self.forward_tokens(self.tokens(points, colour), prompt)

    def _prompt_sets(self, prompt: Tensor) -> Tensor:
        """Check a prompt and give it the shape (S, L, W)."""
        depth, width = self.config.depth, self.config.width
        sets = prompt[None] if prompt.ndim == 2 else prompt
        fits = sets.ndim == 3 and sets.shape[-1] == width and 1 <= len(sets) <= depth
        if not fits:
            raise ValueError(
                f"prompt must have shape (L, {width}), (1, L, {width}) or, for deep "
                f"prompts, (S, L, {width}) with S at most {depth}, one set a block; "
                f"received {tuple(prompt.shape)}. Was it made for another encoder?"
            )
        check_same_device(prompt=prompt, encoder=self.cls_token)
        return sets.to(self.cls_token.dtype)


def _member_colours(colour: Tensor, points: Tensor, members: Tensor) -> Tensor:
    """Colours of the points of each patch, (B, N, 3) -> (B, G, K, 3)."""
    if colour.shape != points.shape:
        raise ValueError(
            f"colour must be one number or have the shape of points, "
            f"{tuple(points.shape)}; received {tuple(colour.shape)}."
        )
    check_same_device(points=points, colour=colour)
    return gather_points(colour, members)
