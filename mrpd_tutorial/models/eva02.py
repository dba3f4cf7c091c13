"""EVA-02 blocks from timm, and a last block that answers for the class token alone."""

import timm
from timm.models.eva import Eva, EvaBlock
from torch import Tensor, nn

__all__ = ["build_eva02", "only_class_token"]


def only_class_token(block: nn.Module, hidden: Tensor) -> Tensor:
    """The last block, (B, T, W) -> (B, 1, W): nothing reads the other tokens after it.

    Attention needs them all; the MLP, two thirds of a block, then runs on one.
    """
    if type(block) is not EvaBlock or block.gamma_1 is not None:
        return block(hidden)[:, :1]
    hidden = hidden + block.drop_path1(block.attn(block.norm1(hidden)))
    hidden = hidden[:, :1]
    return hidden + block.drop_path2(block.mlp(block.norm2(hidden)))


def build_eva02(
    timm_name: str | None, width: int, depth: int, num_heads: int, mlp_ratio: float
) -> nn.Module:
    """The blocks and last norms of an EVA-02 model of these sizes, with random weights.

    Raises:
        ValueError: if the timm model has other sizes.
    """
    if timm_name is not None:
        visual = timm.create_model(timm_name, pretrained=False, num_classes=0)
        found = (visual.embed_dim, len(visual.blocks), visual.blocks[0].attn.num_heads)
        wanted = (width, depth, num_heads)
        if found != wanted:
            raise ValueError(
                f"{timm_name} has (width, depth, num_heads) {found}; the "
                f"configuration says {wanted}. Make them agree."
            )
        return visual
    visual = Eva(
        img_size=1,
        patch_size=1,
        num_classes=0,
        embed_dim=width,
        depth=depth,
        num_heads=num_heads,
        mlp_ratio=mlp_ratio,
        swiglu_mlp=True,
        class_token=False,
        use_abs_pos_emb=False,
    )
    visual.patch_embed = nn.Identity()
    return visual
