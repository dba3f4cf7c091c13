"""The text teacher: class names, with learnable context, to class text features."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mrpd_tutorial.checks import check_same_device

__all__ = ["TextTeacher"]

Tokenizer = Callable[[list[str]], Tensor]


class TextTeacher(nn.Module):
    """Sentences about classes through a frozen CLIP text tower.

    Implements Eq. 2-3 of MRPD [arXiv 2511.21574]: z_T[c] = norm(f_T([V_ctx, t_c])).
    The M context vectors stand between the start token and the sentence, where the
    embeddings of "X X X" would be in "X X X A depth picture of NAME.". Works on any
    open_clip text tower, whether the model carries it itself (CLIP) or as `.text`
    (CustomTextCLIP, CoCa); towers from Hugging Face transformers are refused.

    Where attention is causal, nothing after the end token can matter: sequences are
    cut behind the longest sentence, which changes the result by rounding only.

    Args:
        clip_model: an open_clip model; it is frozen and set to evaluation mode.
        tokenizer: sentences to token ids (C, T), padded to one length.
        template: the sentence, with {} for the class name.
    """

    def __init__(
        self,
        clip_model: nn.Module,
        tokenizer: Tokenizer,
        template: str = "A depth picture of {}.",
    ) -> None:
        super().__init__()
        if "{}" not in template:
            raise ValueError(
                f"template must hold {{}} where the class name goes; received "
                f"{template!r}. Use for instance 'A depth picture of {{}}.'"
            )
        self.tower = _text_tower(clip_model).eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.template = template
        blank, other = tokenizer(["", "x"])
        self._padding = int(blank[-1])
        # Nearly all tokenizers begin with a start token; those of SigLIP do not.
        self._context_position = int(blank[0] == other[0])
        self._last_ids: tuple[tuple[str, ...], Tensor] | None = None
        self.eval()

    def train(self, mode: bool = True) -> "TextTeacher":
        """Stay in evaluation mode: a teacher is frozen."""
        return super().train(False)

    @property
    def context_width(self) -> int:
        """Width of a context vector."""
        return self.tower.token_embedding.weight.shape[1]

    def context_from_words(self, words: str) -> Float[Tensor, "M W"]:
        """Embeddings of words, to start or to compare a context with.

        Args:
            words: for instance "X X X".

        Returns:
            (M, context_width), one row for each token of the words.
        """
        # The tokens of the words stand between what stays the same around them: the
        # start token in front, the end token and the padding behind.
        ids = self.tokenizer([words, ""])  # (2, T)
        length = _content_length(ids[0], self._padding)
        surplus = length - _content_length(ids[1], self._padding)
        start = self._context_position
        ids = ids[0, start : start + surplus].to(self._device)
        return self.tower.token_embedding(ids).detach().clone()

    def class_text_features(
        self,
        class_names: Sequence,
        context: Tensor | None = None,
        normalise: bool = True,
    ) -> Float[Tensor, "C D"]:
        """Embed one sentence for each class.

        Args:
            class_names: C names, put into the template.
            context: None, or (M, context_width), learnable context vectors.
            normalise: False gives the features the length they have, as the released
                test script uses prompted ones.

        Returns:
            (C, D), unit norm, differentiable in the context. Without a context equal
            to the normalised `encode_text` of the sentences.

        Raises:
            ValueError: without class names, if a sentence with its context does not
                fit the tower's context length, or the context has another shape.
        """
        ids = self._sentence_ids(tuple(class_names))  # (C, T)
        embeddings = self.tower.token_embedding(ids)  # (C, T, W)
        if context is not None:
            self._check_context(context, ids, class_names)
            ids, embeddings = self._insert(ids, embeddings, context)
        features = self._encode(ids, embeddings).float()
        return F.normalize(features, dim=-1) if normalise else features

    @property
    def _device(self) -> torch.device:
        return self.tower.token_embedding.weight.device

    def _sentence_ids(self, class_names: tuple) -> Int[Tensor, "C T"]:
        if not class_names or not all(isinstance(name, str) for name in class_names):
            raise ValueError(
                f"class_names must be at least one string; received {class_names!r}."
            )
        if self._last_ids is None or self._last_ids[0] != class_names:
            ids = self.tokenizer(
                # Data sets write night_stand; a tower was taught words.
                [self.template.format(n.replace("_", " ")) for n in class_names]
            )
            full = (ids[:, -1] != self._padding).nonzero()
            if len(full):  # tokenizers cut silently
                raise ValueError(
                    f"the sentence for class {class_names[int(full[0])]!r} fills all "
                    f"{ids.shape[1]} tokens of the text tower. Shorten the name."
                )
            self._last_ids = (class_names, ids)
        return self._last_ids[1].to(self._device)

    def _check_context(
        self, context: Tensor, ids: Tensor, class_names: Sequence[str]
    ) -> None:
        if context.ndim != 2 or context.shape[1] != self.context_width:
            raise ValueError(
                f"context must have shape (M, {self.context_width}); received "
                f"{tuple(context.shape)}. Was it made for another text tower?"
            )
        check_same_device(context=context, text_tower=ids)
        free = ids.shape[1] - len(context)
        full = (ids[:, max(free, 0) :] != self._padding).any(dim=1).nonzero()
        if free < 1 or len(full):
            name = class_names[int(full[0])] if len(full) else class_names[0]
            raise ValueError(
                f"{len(context)} context vectors and the sentence for class {name!r} "
                f"do not fit the text tower's {ids.shape[1]} tokens. Use fewer context "
                "vectors or a shorter name."
            )

    def _insert(
        self, ids: Tensor, embeddings: Tensor, context: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Put the context behind the start token; as much padding falls off the end."""
        count, position = len(context), self._context_position
        keep = ids.shape[1] - count
        # Any id serves that is neither padding nor the end token, by which the towers
        # find where to look: the first one is taken.
        filler = ids[:, :1].expand(-1, count)
        ids = torch.cat([ids[:, :position], filler, ids[:, position:keep]], dim=1)
        context = context.to(embeddings.dtype).expand(len(ids), -1, -1)  # (C, M, W)
        embeddings = torch.cat(
            [embeddings[:, :position], context, embeddings[:, position:keep]], dim=1
        )
        return ids, embeddings

    def _encode(self, ids: Tensor, embeddings: Tensor) -> Tensor:
        """Run the tower from token embeddings on, as open_clip's encode_text does."""
        tower, mask = self.tower, self.tower.attn_mask
        pool, end_id = _pooling(tower)
        class_token = getattr(tower, "cls_emb", None)  # CoCa's, at the end
        masks_padding = getattr(tower, "use_pad_mask", False) or class_token is not None
        at = _pooled_position(ids, pool, end_id)  # (C,)
        if mask is not None and not masks_padding:
            length = int(at.max()) + 1
            embeddings = embeddings[:, :length]
        if class_token is not None:
            tail = class_token.expand(len(ids), 1, -1)  # (C, 1, W)
            embeddings = torch.cat([embeddings, tail], dim=1)
        length = embeddings.shape[1]
        if mask is not None:
            mask = mask[:length, :length]
        if masks_padding:
            padding = tower._build_additive_mask(ids, length, embeddings.dtype)
            mask = padding if mask is None else mask[None] + padding
        dtype = tower.transformer.get_cast_dtype()
        hidden = embeddings.to(dtype) + tower.positional_embedding[:length].to(dtype)
        hidden = tower.transformer(hidden, attn_mask=mask)  # (C, T, W)
        if class_token is not None:
            at = torch.full_like(at, length - 1)
        rows = torch.arange(len(ids), device=ids.device)
        pooled = tower.ln_final(hidden[rows, at])  # (C, W): norm works row by row
        projection = tower.text_projection
        if projection is None:
            return pooled
        if isinstance(projection, nn.Linear):
            return projection(pooled)
        return pooled @ projection


def _text_tower(clip_model: nn.Module) -> nn.Module:
    """The module that holds an open_clip model's text tower."""
    tower = getattr(clip_model, "text", clip_model)
    needed = ("token_embedding", "positional_embedding", "transformer", "ln_final")
    missing = [name for name in needed if not hasattr(tower, name)]
    if missing:
        raise ValueError(
            f"the text tower of {type(clip_model).__name__} is a "
            f"{type(tower).__name__} without {', '.join(missing)}: context vectors can "
            "be put into open_clip's own text towers only, not into those of Hugging "
            "Face transformers. Choose a model such as 'ViT-B-32' or "
            "'EVA02-E-14-plus'."
        )
    return tower


def _content_length(ids: Tensor, padding: int) -> int:
    """How many tokens come before the padding."""
    content = (ids != padding).nonzero()
    return int(content[-1]) + 1 if len(content) else 0


def _pooling(tower: nn.Module) -> tuple[str, int | None]:
    """Which position a tower reads out, and its end token where that decides."""
    if hasattr(tower, "text_pool_type"):  # open_clip.CLIP carries its text tower
        return tower.text_pool_type, getattr(tower, "text_eos_id", None)
    return tower.pool_type, getattr(tower, "eos_id", None)


def _pooled_position(
    ids: Int[Tensor, "C T"], pool: str, end_id: int | None
) -> Int[Tensor, "C"]:
    if pool == "first":
        return torch.zeros_like(ids[:, 0])
    if pool == "last":
        return torch.full_like(ids[:, 0], ids.shape[1] - 1)
    if pool == "argmax":  # the end token has the highest id
        return ids.argmax(dim=1)
    if pool == "eos":
        return (ids == end_id).int().argmax(dim=1)
    raise ValueError(
        f"the text tower pools by {pool!r}, which gives no single feature for a "
        "sentence. Choose a model that pools by 'argmax', 'eos', 'first' or 'last'."
    )
