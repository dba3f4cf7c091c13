"""Signs that an evaluation says more about the attack than about the model.

In the spirit of AutoAttack's checks and its flags document (Croce and Hein 2020 [arXiv
2003.01690]), and of the list in Athalye et al. 2018 [arXiv 1802.00420], section 3.1.
Each flag is data: the condition under which it fires, what that means, what to do.
`reliability.reliability_flags` judges an evaluation by them.
"""

from dataclasses import dataclass

__all__ = ["EXTRA", "FLAGS", "HALF", "IDLE", "LESS", "STEP", "Flag", "Verdict"]

# Shares above which flags fire; the conditions below name them.
IDLE, LESS, HALF, EXTRA = 0.1, 0.5, 0.5, 0.02
# The step, in whole-cloud l2, along which a gradient is checked.
STEP = 0.01


@dataclass(frozen=True)
class Flag:
    """One sign of an unreliable evaluation.

    Args:
        name: what it is called.
        condition: when it fires.
        meaning: what that says about the evaluation.
        remedy: what to do.
    """

    name: str
    condition: str
    meaning: str
    remedy: str


@dataclass(frozen=True)
class Verdict:
    """What a flag says about one evaluation.

    Args:
        flag: which one.
        fired: None where what it needs was not given.
        evidence: the numbers it was decided by, or what is missing.
    """

    flag: Flag
    fired: bool | None
    evidence: str


_ALL = (
    Flag(
        "masked gradient",
        f"Over {IDLE:.0%} of the gradient steps on clouds that withstood the attack "
        f"were idle (a gradient of zeros, NaN or infinite), or over {HALF:.0%} of the "
        "clean clouds have no usable gradient.",
        "The attack stood still. Accuracy under it is no sign of robustness: the "
        "gradient is masked by a step that has none (rounding, sorting, detach), or "
        "lost to saturation.",
        "Attack through the step with BPDA or adaptive(model), use the margin or dlr "
        "loss, and add a query attack such as SquareAttack.",
    ),
    Flag(
        "wrong gradient",
        f"For over {HALF:.0%} of the clouds the margin rises along its own gradient "
        "by less than half of what the gradient says, or by more than double (central "
        f"differences, whole-cloud l2 step {STEP}).",
        "The gradient that comes back is not that of the model: a custom backward "
        "pass, noise, or a surface so rough that gradients say nothing.",
        "Attack the model without the custom part, or estimate gradients from scores: "
        "NES, SPSA, SquareAttack.",
    ),
    Flag(
        "budget not used",
        f"Over {HALF:.0%} of the clouds that withstood the attack were left within "
        f"{LESS:.0%} of the budget.",
        "The attack ended before it reached the rim of its ball: too few or too short "
        "steps, or it stood still. The accuracy is for a smaller budget than it says.",
        "Raise steps or step_size (2.5 * eps / steps reaches the rim), or use APGD, "
        "which sets its own.",
    ),
    Flag(
        "random model without EOT",
        "The model says that it is random, or answers the same clouds differently, and "
        "it was not attacked through EOT.",
        "Each step saw another model. Success is partly the luck of a draw, and the "
        "gradient of one draw leads away from that draw only.",
        "Attack EOT(model) or adaptive(model), and judge the clouds by new draws.",
    ),
    Flag(
        "query beats gradient",
        f"A query attack with the same budget misleads over {EXTRA:.0%} of the clouds "
        "that were correct and withstood the gradient attack.",
        "Seeing less, it found more: the gradient is masked, or the gradient attack is "
        "badly set.",
        "Count the worst case over both (PointAutoAttack does), and repair the "
        "gradient attack: BPDA, another loss, more steps, restarts.",
    ),
    Flag(
        "more steps still help",
        f"The same attack with more steps misleads over {EXTRA:.0%} more of the "
        "correct clouds.",
        "The attack had not converged: the accuracy is an upper bound that is still "
        "falling.",
        "Raise the steps until it stands still, show the curve, and report the last "
        "value.",
    ),
    Flag(
        "transfer beats adaptive",
        f"Clouds made on another model mislead over {EXTRA:.0%} of the clouds that "
        "were correct and withstood the adaptive attack.",
        "An attacker who knows nothing of the defense does better than one who knows "
        "it: the adaptive attack is hindered, by masking or by its settings.",
        "Start the adaptive attack from the transferred clouds, repair its gradient "
        "(BPDA, EOT), and count the worst case over both.",
    ),
)
FLAGS: dict[str, Flag] = {flag.name: flag for flag in _ALL}
