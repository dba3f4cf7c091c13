"""Attacks on any `points -> logits` callable; every class says its budget's norm."""

from mrpd_tutorial.attacks.apgd import APGD
from mrpd_tutorial.attacks.ascent import if_defense_eps
from mrpd_tutorial.attacks.base import Attack, AttackResult, random_target_labels
from mrpd_tutorial.attacks.fab import FAB
from mrpd_tutorial.attacks.fgm import FGM, IFGM, MIFGM
from mrpd_tutorial.attacks.pgd import PGD
from mrpd_tutorial.attacks.renormalise import Renormalised

__all__ = [
    "APGD",
    "FAB",
    "FGM",
    "IFGM",
    "MIFGM",
    "PGD",
    "Attack",
    "AttackResult",
    "Renormalised",
    "if_defense_eps",
    "random_target_labels",
]
