"""Judge an evaluation by the reliability flags, from its results and its model."""

from collections.abc import Callable

import torch
from torch import Tensor

from mrpd_tutorial.attacks import norms
from mrpd_tutorial.attacks.bpda import BPDA
from mrpd_tutorial.attacks.eot import EOT, is_random
from mrpd_tutorial.attacks.flags import EXTRA, FLAGS, HALF, IDLE, LESS, STEP, Verdict
from mrpd_tutorial.attacks.result import AttackResult
from mrpd_tutorial.attacks.search import margin
from mrpd_tutorial.attacks.victim import check_logits, frozen
from mrpd_tutorial.checks import check_labels, check_points
from mrpd_tutorial.defenses.base import Defended

__all__ = ["reliability_flags"]

# Clouds whose gradient is checked.
_CHECKED = 16


def reliability_flags(
    model: Callable[[Tensor], Tensor],
    points: Tensor,
    labels: Tensor,
    gradient: AttackResult | None = None,
    *,
    more_steps: AttackResult | None = None,
    query: AttackResult | None = None,
    transfer: AttackResult | None = None,
) -> dict[str, Verdict]:
    """Judge an evaluation by every flag.

    The model is asked about the first 16 clouds a few times, with one backward pass.
    All results must be untargeted, for these clouds, in one budget.

    Args:
        model: what the gradient attack ran on: the wrapper, where it ran on EOT or
            adaptive(model).
        points: (B, N, 3) the clean clouds.
        labels: (B,) true classes.
        gradient: result of the white-box (adaptive) attack; None if it could not run.
        more_steps: result of the same attack with several times the steps.
        query: result of a query attack.
        transfer: result of a transfer attack.

    Returns:
        A verdict for each name of FLAGS, in its order. Flags whose results are missing
        are not judged: fired is None.

    Raises:
        ValueError: on bad clouds or labels, or a result for other clouds.
    """
    check_points(points)
    check_labels(labels, batch=len(points))
    given = {
        "gradient": gradient,
        "more_steps": more_steps,
        "query": query,
        "transfer": transfer,
    }
    for name, result in given.items():
        if result is not None and not torch.equal(result.clean, points):
            raise ValueError(
                f"{name} must be the result for these points; received one for clouds "
                f"of shape {tuple(result.clean.shape)} that are not the same."
            )
    random = is_random(model, points)
    useless, mismatched = _look_at_gradient(model, points[:_CHECKED], labels[:_CHECKED])
    found = (
        _masked(gradient, useless),
        _wrong(model, random, mismatched),
        _budget(gradient),
        (
            random and not isinstance(model, EOT),
            f"random: {random}; EOT: {isinstance(model, EOT)}",
        ),
        _beaten(gradient, query, "query"),
        _converged(gradient, more_steps),
        _beaten(gradient, transfer, "transfer"),
    )
    return {
        flag.name: Verdict(flag, fired, evidence)
        for flag, (fired, evidence) in zip(FLAGS.values(), found, strict=True)
    }


_Found = tuple[bool | None, str]


def _look_at_gradient(
    model: Callable, points: Tensor, labels: Tensor
) -> tuple[list[bool], list[bool]]:
    """Which clouds have no usable gradient, and for which of the others it is wrong."""
    with frozen(model), torch.inference_mode(False), torch.enable_grad():
        current = points.detach().clone().requires_grad_(True)
        try:
            logits = model(current)
        except RuntimeError:  # "Can't call numpy() on Tensor that requires grad"
            return [True] * len(points), []
        check_logits(logits, labels)
        slope = None
        if logits.requires_grad:
            gap = margin(logits, labels, None)
            (slope,) = torch.autograd.grad(gap.sum(), current, allow_unused=True)
    if slope is None:
        return [True] * len(points), []
    usable = torch.isfinite(slope).all(-1).all(-1) & (slope != 0).any(-1).any(-1)
    direction = norms.steepest(torch.nan_to_num(slope), "l2")
    with torch.no_grad():
        ahead = margin(model(points + STEP * direction), labels, None)
        behind = margin(model(points - STEP * direction), labels, None)
    told = 2 * STEP * (slope * direction).sum((1, 2))  # (b,)
    seen = ahead - behind
    larger = torch.maximum(told.abs(), seen.abs())
    # Rises that rounding could make say nothing.
    judged = usable & (larger > 1e-4 * (1 + gap.detach().abs()))
    wrong = (told - seen).abs() > 0.5 * larger
    return (~usable).tolist(), wrong[judged].tolist()


def _masked(gradient: AttackResult | None, useless: list[bool]) -> _Found:
    share = sum(useless) / len(useless)
    evidence = f"no usable gradient for {sum(useless)} of {len(useless)} clean clouds"
    if gradient is None:
        return (True if share > HALF else None), f"{evidence}; gradient not given"
    left = gradient.correct_before & ~gradient.success
    steps = int(gradient.iterations[left].sum())
    idle = int(gradient.idle_steps[left].sum())
    evidence += f"; {idle} of {steps} steps idle on the clouds that withstood"
    if not bool(left.any()):
        return False, f"{evidence}; none withstood the attack"
    return share > HALF or idle > IDLE * steps, evidence


def _wrong(model: Callable, random: bool, mismatched: list[bool]) -> _Found:
    if random:
        return None, "differences of a random model say nothing"
    part: object = model
    while isinstance(part, Defended):
        if isinstance(part.defense, BPDA):
            return None, "the gradient is another one on purpose: BPDA"
        part = part.model
    if not mismatched:
        return None, "no cloud has a gradient to judge"
    evidence = f"wrong for {sum(mismatched)} of {len(mismatched)} clouds"
    return sum(mismatched) > HALF * len(mismatched), evidence


def _budget(gradient: AttackResult | None) -> _Found:
    if gradient is None:
        return None, "gradient not given"
    if (
        gradient.norm not in norms.NORMS
        or gradient.points.shape != gradient.clean.shape
    ):
        return None, f"no ball to use: the norm is {gradient.norm!r}"
    left = gradient.correct_before & ~gradient.success
    left &= torch.isfinite(gradient.eps) & (gradient.eps > 0)
    if not bool(left.any()):
        return False, "no cloud with a budget withstood the attack"
    used = norms.size(gradient.displacement[left], gradient.norm) / gradient.eps[left]
    few = int((used < LESS).sum())
    evidence = f"{few} of {len(used)} clouds, median use {float(used.median()):.0%}"
    return few > HALF * len(used), evidence


def _beaten(gradient: AttackResult | None, other: AttackResult | None, name: str):
    if gradient is None or other is None:
        missing = "gradient" if gradient is None else name
        return None, f"{missing} not given"
    correct = gradient.correct_before
    total, extra = int(correct.sum()), correct & ~gradient.success & other.success
    evidence = f"{int(extra.sum())} of {total} correct clouds fell to {name} alone"
    return int(extra.sum()) > EXTRA * total, evidence


def _converged(gradient: AttackResult | None, longer: AttackResult | None) -> _Found:
    if gradient is None or longer is None:
        missing = "gradient" if gradient is None else "more_steps"
        return None, f"{missing} not given"
    rates = gradient.attack_success_rate, longer.attack_success_rate
    steps = int(gradient.iterations.max()), int(longer.iterations.max())
    if steps[1] <= steps[0] and not bool(longer.success.all()):
        return None, f"more_steps took no more steps: {steps[1]} after {steps[0]}"
    evidence = (
        f"{rates[0]:.1%} misled in {steps[0]} steps, {rates[1]:.1%} in {steps[1]}"
    )
    return rates[1] > rates[0] + EXTRA, evidence
