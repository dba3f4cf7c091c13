"""All attacks, each small and quick, and what may be asked of each."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from victims import CentroidLinear, TinyPointNet

from mrpd_tutorial.attacks import (
    AOF,
    APGD,
    FAB,
    FGM,
    IFGM,
    MIFGM,
    NES,
    PGD,
    SPSA,
    AdvPC,
    Attack,
    CWAdd,
    CWPerturb,
    GeoA3,
    HiTADV,
    HopSkipJump,
    KNNAttack,
    PGDAdd,
    PointAutoAttack,
    RandomDrop,
    SaliencyDrop,
    SIAdv,
    SIAdvQuery,
    SimBA,
    SquareAttack,
    Transfer,
)
from mrpd_tutorial.attacks.norms import NORMS

__all__ = ["TABLE", "Case"]

# Budgets that mislead a good part of the test clouds, and not all at once.
EPS = {"per_point": 0.1, "l2": 0.4, "linf": 0.06}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One attack of the table, and what may be asked of it.

    Args:
        attack: small and quick, with a finite budget where it can have one.
        draws: whether its results depend on the seed.
        without_draws: changes that leave no randomness; None where there are none.
        equivariant: with `without_draws`, shuffled points give the shuffled result.
        victims: those of TinyPointNet and CentroidLinear whose accuracy must fall.
        gradient: whether it needs a differentiable model.
        targeted: whether it takes target labels.
        returns_first: whether it returns the one misleading cloud that it ever saw.
    """

    attack: Attack
    draws: bool = False
    without_draws: dict[str, Any] | None = field(default_factory=dict)
    equivariant: bool = True
    victims: tuple[type[nn.Module], ...] = (TinyPointNet, CentroidLinear)
    gradient: bool = True
    targeted: bool = True
    returns_first: bool = True
    note: str = ""

    def __str__(self) -> str:
        words = [type(self.attack).__name__, self.attack.norm, self.note]
        return "-".join(word for word in words if word)


class AnyDtype(nn.Module):
    """A model that answers in the dtype it is asked in."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.single, self.double_ = kind().eval(), kind().eval().double()

    def forward(self, points: Tensor) -> Tensor:
        return (self.double_ if points.dtype == torch.float64 else self.single)(points)


def smooth(points: Tensor) -> Tensor:
    """An auto-encoder that keeps half of what makes a point differ from the centre."""
    return 0.5 * points + 0.5 * points.mean(1, keepdim=True)


def within(norm: str) -> dict[str, Any]:
    return {"eps": EPS[norm], "norm": norm}


START = {"draws": True, "without_draws": {"random_start": False, "restarts": 1}}
NOISE = {"draws": True, "without_draws": {"start_noise": 0.0}}
AIMED = {"loss": "dlr", "classes_tried": 2}
RANDOM = {"draws": True, "without_draws": None}
ASKS = {**RANDOM, "gradient": False}
DROPS = {"victims": (TinyPointNet,), "targeted": False}
SHORT = {"steps": 8, "search_steps": 2, "step_size": 0.05, "start_noise": 1e-3}
TWO = {"steps": 6, "step_size": 0.03, "restarts": 1, "confidence": 1.0}
OTHER = AnyDtype(TinyPointNet).eval()

# All attacks. PGD in each norm; of the others each norm is seen somewhere, and all are
# compared with closed forms and slow loops in the tests of their own.
TABLE: list[Case] = [
    Case(attack=FGM(**within("linf"))),
    Case(attack=IFGM(**within("per_point"), steps=4)),
    Case(attack=MIFGM(**within("l2"), steps=4)),
    *(Case(attack=PGD(**within(norm), steps=3, restarts=2), **START) for norm in NORMS),
    Case(attack=APGD(**within("linf"), steps=5, restarts=2), **START),
    Case(attack=APGD(**within("per_point"), steps=5, **AIMED), **START, note="aimed"),
    Case(
        attack=FAB(**within("per_point"), steps=4, restarts=2, classes_tried=2),
        draws=True,
        without_draws={"restarts": 1},
    ),
    Case(attack=FAB(**within("linf"), steps=5, classes_tried=2)),
    Case(attack=FAB(norm="l2", steps=5, classes_tried=2), note="unbounded"),
    # Optimisation and shape.
    Case(attack=CWPerturb(**SHORT), **NOISE),
    Case(attack=CWAdd(mode="chamfer", eps=8, **SHORT), **NOISE),
    Case(
        attack=KNNAttack(eps=0.2, steps=8, step_size=0.03, confidence=1.0),
        **NOISE,
    ),
    Case(attack=GeoA3(**SHORT), **NOISE),
    Case(attack=SIAdv(eps=0.2, steps=5, step_size=0.05, k=6)),
    # The second view of the cloud is shown to the victim, and never returned.
    Case(attack=AOF(eps=0.2, frequencies=10, k=5, **TWO), **NOISE, returns_first=False),
    Case(attack=AdvPC(auto_encoder=smooth, **TWO), **NOISE, returns_first=False),
    Case(
        attack=HiTADV(
            steps=5, search_steps=2, anchors=8, centres=6, k=6, confidence=1.0
        ),
        **RANDOM,
        victims=(TinyPointNet,),  # clouds keep their centroid
    ),
    # Points added and removed. Dropping asks about clouds with too many points.
    Case(
        attack=PGDAdd(eps=0.3, steps=4, count=8),
        draws=True,
        without_draws={"random_start": False},
    ),
    # Of points that no feature comes from, the first go.
    Case(
        attack=SaliencyDrop(eps=12, per_round=4),
        **DROPS,
        equivariant=False,
        returns_first=False,
    ),
    Case(attack=RandomDrop(eps=12, restarts=2), **DROPS, **ASKS),
    # Black box. Probes may lie outside of the ball, and are never returned.
    Case(attack=SquareAttack(**within("per_point"), max_queries=40), **ASKS),
    Case(attack=SimBA(**within("linf"), max_queries=40), **ASKS),
    Case(
        attack=NES(**within("per_point"), pairs=6, max_queries=53),
        **ASKS,
        returns_first=False,
    ),
    Case(
        attack=SPSA(**within("l2"), pairs=6, max_queries=53),
        **ASKS,
        returns_first=False,
    ),
    Case(attack=HopSkipJump(max_queries=80, initial_probes=8), **ASKS),
    # So few queries do not reach the points whose direction is drawn.
    Case(
        attack=SIAdvQuery(surrogate=OTHER, eps=0.2, max_queries=40, k=6),
        gradient=False,
    ),
    Case(
        attack=Transfer(attack=PGD(**within("l2"), steps=3), surrogate=OTHER),
        draws=True,
        without_draws={"random_start": False},
        victims=(TinyPointNet,),
        gradient=False,
    ),
    # What its members see is not what it returns: each is judged by one more answer.
    Case(
        attack=PointAutoAttack(**within("per_point"), steps=4, max_queries=20),
        **RANDOM,
        returns_first=False,
    ),
]
