"""The attacks of the explorer: quick ones, each with the range of its budget."""

from collections.abc import Callable
from dataclasses import dataclass

from mrpd_tutorial.attacks import (
    AOF,
    APGD,
    FGM,
    PGD,
    Attack,
    CWPerturb,
    RandomDrop,
    SaliencyDrop,
    SIAdv,
)

__all__ = ["ATTACK_CHOICES", "AttackChoice"]


@dataclass(frozen=True, kw_only=True)
class AttackChoice:
    """One entry of the explorer's list of attacks.

    Args:
        make: (eps, steps) -> the attack.
        idea: what it does, in a few words.
        eps_label: what eps means here; None: the attack has no budget.
        eps: lowest, highest, step, first value of the slider.
        steps: highest and first number of steps; None: they are not to be chosen.
        is_length: whether eps is how far a point may move: the colour scale's end.
    """

    make: Callable[[float, int], Attack]
    idea: str
    eps_label: str | None = "how far each point may move, in units of the radius"
    eps: tuple[float, float, float, float] = (0.0, 0.15, 0.005, 0.05)
    steps: tuple[int, int] | None = (20, 10)
    is_length: bool = True


_COORDINATE = "how far each coordinate may move, in units of the radius"
_COUNT = "how many points are removed"
_REMOVAL = {"eps_label": _COUNT, "eps": (0.0, 600.0, 10.0, 200.0), "is_length": False}

ATTACK_CHOICES: dict[str, AttackChoice] = {
    "PGD": AttackChoice(
        make=lambda eps, steps: PGD.quick(eps=eps, steps=steps),
        idea="steps along the gradient from a random start, back into the ball",
    ),
    "APGD": AttackChoice(
        make=lambda eps, steps: APGD.quick(eps=eps, steps=steps),
        idea="PGD that chooses its step length itself",
    ),
    "FGM": AttackChoice(
        make=lambda eps, steps: FGM.quick(eps=eps, norm="per_point"),
        idea="a single step along the gradient",
        steps=None,
    ),
    "SI-Adv": AttackChoice(
        make=lambda eps, steps: SIAdv.quick(
            eps=eps, steps=steps, step_size=max(2 * eps / steps, 1e-6)
        ),
        idea="moves points along the surface, so that the shape stays",
        eps_label=_COORDINATE,
        eps=(0.0, 0.3, 0.005, 0.1),
    ),
    "AOF": AttackChoice(
        make=lambda eps, steps: AOF.quick(eps=eps, steps=steps),
        idea="bends the smooth part of the shape, which other models see too",
        eps=(0.0, 0.3, 0.005, 0.18),
        steps=(10, 6),
    ),
    "CW-Perturb": AttackChoice(
        make=lambda eps, steps: CWPerturb.quick(steps=steps, search_steps=2),
        idea="looks for the nearest misleading cloud; no budget",
        eps_label=None,
    ),
    "SaliencyDrop": AttackChoice(
        make=lambda eps, steps: SaliencyDrop.quick(eps=int(eps), per_round=40),
        idea="removes the points that speak for the true class",
        steps=None,
        **_REMOVAL,
    ),
    "RandomDrop": AttackChoice(
        make=lambda eps, steps: RandomDrop.quick(eps=int(eps)),
        idea="removes points at random, a control",
        steps=None,
        **_REMOVAL,
    ),
}
