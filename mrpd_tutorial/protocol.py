"""Two ways to evaluate MRPD, and what lies between them, choice by choice."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mrpd_tutorial.attacks.ascent import if_defense_eps
from mrpd_tutorial.attacks.base import Attack, random_target_labels
from mrpd_tutorial.attacks.cw import CWPerturb
from mrpd_tutorial.attacks.drop import SaliencyDrop
from mrpd_tutorial.attacks.pgd import PGD
from mrpd_tutorial.checks import check_choice
from mrpd_tutorial.defenses import SOR
from mrpd_tutorial.runtime import generator

__all__ = ["Choice", "Protocol", "choices", "protocol_of", "random_aims"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The choices of an evaluation that decide its numbers.

    `released()` is what the test script released with MRPD [arXiv 2511.21574] does.
    `paper()` takes each choice as the papers the parts come from describe it, with
    attacks that want any wrong class and see the model they attack. The files of the
    attacks themselves are missing from the release; what they would undo is not known.

    Args:
        targets: what PGD and Perturb aim at: "none" (any wrong class) or "random" (a
            random wrong class).
        pgd_budget: 0.08 as a whole-cloud L2 radius, "cloud", or for each coordinate,
            "coordinate": 0.08 * sqrt(3 N), as IF-Defense's code has it.
        pgd_steps: of the budget divided by their number.
        perturb_loss: of CW-Perturb, "margin" or "ce".
        perturb_steps: updates in each of its search steps.
        drop_label: whose loss ranks the points of Drop-200: the "true" label's, or a
            "random" wrong one's.
        clouds: made through "each" model (adaptive), or once on the "undefended" one
            and shown to all (static).
        sor: the outlier removal that is compared.

    Raises:
        ValueError: on a value that is not one of those.
    """

    targets: str = "none"
    pgd_budget: str = "coordinate"
    pgd_steps: int = 50
    perturb_loss: str = "margin"
    perturb_steps: int = 500
    drop_label: str = "true"
    clouds: str = "each"
    sor: SOR = field(default_factory=SOR)

    def __post_init__(self) -> None:
        check_choice("targets", self.targets, ("none", "random"))
        check_choice("pgd_budget", self.pgd_budget, ("cloud", "coordinate"))
        check_choice("drop_label", self.drop_label, ("true", "random"))
        check_choice("clouds", self.clouds, ("each", "undefended"))

    @classmethod
    def paper(cls, **changes) -> "Protocol":
        """The choices as published; see the class."""
        return dataclasses.replace(cls(), **changes)

    @classmethod
    def released(cls, **changes) -> "Protocol":
        """The choices of the release; see the class."""
        settings = cls(
            targets="random",
            pgd_budget="cloud",
            pgd_steps=20,
            perturb_loss="ce",
            perturb_steps=50,
            drop_label="random",
            clouds="undefended",
            sor=SOR.released(),
        )
        return dataclasses.replace(settings, **changes)

    def attacks(self, num_points: int) -> dict[str, Attack]:
        """PGD, CW-Perturb and Drop-200 for clouds of num_points."""
        eps = 0.08 if self.pgd_budget == "cloud" else if_defense_eps(num_points, 0.08)
        steps = self.pgd_steps
        return {
            "PGD": PGD(eps=eps, norm="l2", steps=steps, step_size=eps / steps),
            "Perturb": CWPerturb.paper(
                steps=self.perturb_steps, loss=self.perturb_loss
            ),
            "Drop-200": SaliencyDrop.drop_200(),
        }

    def threat_models(self) -> tuple[str, ...]:
        """Beside clean; clouds made on a surrogate are extra in both protocols."""
        return ("adaptive",) if self.clouds == "each" else ("static",)

    def one_by_one(self, released: "Protocol | None" = None) -> dict[str, "Protocol"]:
        """This protocol with one choice of the release at a time, by the choice's name.

        Sweeps of these say what each choice is worth (sweep.protocol_worth makes them);
        choices that agree with the release already are left out. `released` may be
        another protocol than Protocol.released().
        """
        released = type(self).released() if released is None else released
        return {
            choice.name: dataclasses.replace(
                self, **{choice.name: getattr(released, choice.name)}
            )
            for choice in choices()
            if getattr(self, choice.name) != getattr(released, choice.name)
        }


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One choice in which the two protocols differ.

    Args:
        name: the field of Protocol.
        paper: its value in Protocol.paper().
        released: its value in Protocol.released().
        effect: what the released value changes.
    """

    name: str
    paper: Any
    released: Any
    effect: str


_EFFECTS = {
    "targets": "A random target is harder to reach than any wrong class: an attack "
    "that fails may still have misled, or could have.",
    "pgd_budget": "A whole-cloud radius of 0.08 is sqrt(3 N) times smaller than 0.08 a "
    "coordinate: 55 times for 1024 points.",
    "pgd_steps": "Fewer steps, each 1/20 of the budget instead of 1/50.",
    "perturb_loss": "Cross-entropy goes on pushing after success, and its weight "
    "against the distance changes with the model's confidence.",
    "perturb_steps": "A tenth of the updates for each weight of the binary search.",
    "drop_label": "The points that speak for a random class are removed, not those "
    "that speak for the true one.",
    "clouds": "Clouds made once on the undefended model never saw the defense or the "
    "prompts they are shown to: an upper bound.",
    "sor": "16 neighbours and 1.0 standard deviations remove more points than 2 "
    "neighbours and 1.1: another defense under the same name.",
}


def choices() -> tuple[Choice, ...]:
    """Every choice in which the release differs, with both values.

    Example:
        >>> [(c.name, c.paper, c.released) for c in choices()][:2]
        [('targets', 'none', 'random'), ('pgd_budget', 'coordinate', 'cloud')]
    """
    paper, released = Protocol.paper(), Protocol.released()
    return tuple(
        Choice(
            name=name,
            paper=getattr(paper, name),
            released=getattr(released, name),
            effect=effect,
        )
        for name, effect in _EFFECTS.items()
    )


def protocol_of(given: "str | Protocol | None") -> Protocol | None:
    """A protocol by its name, "paper" or "released".

    Raises:
        ValueError: on another name or type.
    """
    if given is None or isinstance(given, Protocol):
        return given
    check_choice("protocol", given, ("paper", "released"))
    return Protocol.paper() if given == "paper" else Protocol.released()


def random_aims(
    protocol: Protocol,
    model: Callable[[Tensor], Tensor],
    points: Tensor,
    labels: Tensor,
    target_labels: Tensor | None,
    seed: int,
) -> tuple[Tensor | None, dict[str, Tensor]]:
    """What a protocol has attacks aim at, and the labels that it tells Drop.

    Args:
        protocol: whose `targets` and `drop_label` may be "random".
        model: asked about one cloud for the number of classes.
        points, labels: (B, N, 3), (B,).
        target_labels: (B,) taken in place of random ones, or None.
        seed: of the random ones.

    Returns:
        Target labels (B,) or None, and attack -> (B,) the labels it is told.
    """
    if "random" not in (protocol.targets, protocol.drop_label):
        return target_labels, {}
    wrong = target_labels
    if wrong is None:
        with torch.no_grad():
            classes = model(points[:1]).shape[1]
        drawn = random_target_labels(labels.cpu(), classes, generator(seed))
        wrong = drawn.to(labels.device)
    told = ["Drop-100", "Drop-200"] if protocol.drop_label == "random" else []
    return (
        wrong if protocol.targets == "random" else target_labels,
        dict.fromkeys(told, wrong),
    )
