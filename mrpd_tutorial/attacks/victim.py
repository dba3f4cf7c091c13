"""The attacked model: frozen while attacked, and its answers checked."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from mrpd_tutorial.checks import check_labels

__all__ = ["check_logits", "frozen", "require_evaluation_mode"]


def _module(model: Callable) -> nn.Module | None:
    """The module behind a callable, if there is one to be found."""
    if isinstance(model, nn.Module):
        return model
    owner = getattr(model, "__self__", None)  # a bound method, as in model.predict
    return owner if isinstance(owner, nn.Module) else None


@contextlib.contextmanager
def frozen(model: Callable) -> Iterator[None]:
    """Freeze a module's parameters, and give each its own flag back, come what may.

    Attacks differentiate by points alone; without parameter gradients a backward pass
    costs about a quarter less. Training modes are not touched.
    """
    module = _module(model)
    flags = [(p, p.requires_grad) for p in module.parameters()] if module else []
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _depends_on_mode(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return True
    rate = getattr(module, "p", None) or getattr(module, "drop_prob", None)
    return "Drop" in type(module).__name__ and bool(rate)


def require_evaluation_mode(model: Callable) -> None:
    """Refuse a model whose training mode would change its answers.

    In training mode, batch norm mixes the clouds of a batch (and every query would move
    its running statistics), and dropout makes the victim a random one.

    Raises:
        ValueError: naming the first such layer.
    """
    module = _module(model)
    for name, part in module.named_modules() if module else ():
        if part.training and _depends_on_mode(part):
            raise ValueError(
                f"model must be in evaluation mode; its layer {name or 'model'} "
                f"({type(part).__name__}) is training. Call model.eval() first, or "
                "pass allow_training_mode=True to the attack if this is meant."
            )


def check_logits(
    logits: object, labels: Tensor, target_labels: Tensor | None = None
) -> None:
    """Check what a model answered for a batch of clouds.

    Args:
        logits: expected (B, C), C >= 2, float32 or float64, finite.
        labels: (B,), each below C.
        target_labels: (B,), each below C, or None.

    Raises:
        ValueError: if anything of this does not hold.
    """
    batch = len(labels)
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"model must return logits of shape ({batch}, C); received "
            f"{type(logits).__name__}. If logits come first in a tuple, pass "
            "lambda points: model(points)[0]."
        )
    if logits.ndim != 2 or logits.shape[0] != batch or logits.shape[1] < 2:
        raise ValueError(
            f"model must return logits of shape ({batch}, C) with at least 2 classes; "
            f"received {tuple(logits.shape)}. Does it average over the batch, or take "
            "points as (B, 3, N)?"
        )
    if logits.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"model must return float32 or float64 logits; received {logits.dtype}, "
            "whose rounding hides small gradients. Run the model in float32."
        )
    finite = torch.isfinite(logits).all(1)
    if not bool(finite.all()):
        raise ValueError(
            f"model returned NaN or infinite logits for {int((~finite).sum())} of "
            f"{batch} clouds, the first at position {int((~finite).nonzero()[0])} of "
            "the batch. Check the model on that cloud before attacking it."
        )
    check_labels(labels, logits.shape[1])
    if target_labels is not None:
        check_labels(target_labels, logits.shape[1], name="target_labels")
