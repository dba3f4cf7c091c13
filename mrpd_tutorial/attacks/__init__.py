"""Attacks: gradient, optimisation, shape-aware, add and drop, black box, adaptive."""

from mrpd_tutorial.attacks.advpc import AdvPC
from mrpd_tutorial.attacks.aof import AOF
from mrpd_tutorial.attacks.apgd import APGD
from mrpd_tutorial.attacks.ascent import if_defense_eps
from mrpd_tutorial.attacks.auto_attack import AutoAttackResult, PointAutoAttack
from mrpd_tutorial.attacks.base import Attack, AttackResult, random_target_labels
from mrpd_tutorial.attacks.bpda import BPDA, adaptive, passes_gradient
from mrpd_tutorial.attacks.cw import CWPerturb
from mrpd_tutorial.attacks.cw_add import CWAdd
from mrpd_tutorial.attacks.drop import RandomDrop, SaliencyDrop
from mrpd_tutorial.attacks.ensemble import Ensemble
from mrpd_tutorial.attacks.eot import EOT, is_random
from mrpd_tutorial.attacks.fab import FAB
from mrpd_tutorial.attacks.fgm import FGM, IFGM, MIFGM
from mrpd_tutorial.attacks.flags import FLAGS, Flag, Verdict
from mrpd_tutorial.attacks.geoa3 import GeoA3
from mrpd_tutorial.attacks.hit_adv import HiTADV
from mrpd_tutorial.attacks.hop_skip_jump import HopSkipJump
from mrpd_tutorial.attacks.knn_attack import KNNAttack
from mrpd_tutorial.attacks.nes import NES, SPSA
from mrpd_tutorial.attacks.pgd import PGD
from mrpd_tutorial.attacks.pgd_add import PGDAdd
from mrpd_tutorial.attacks.reliability import reliability_flags
from mrpd_tutorial.attacks.renormalise import Renormalised
from mrpd_tutorial.attacks.si_adv import SIAdv, SIAdvQuery
from mrpd_tutorial.attacks.simba import SimBA
from mrpd_tutorial.attacks.square import SquareAttack
from mrpd_tutorial.attacks.transfer import Transfer

__all__ = [
    "AOF",
    "APGD",
    "BPDA",
    "EOT",
    "Ensemble",
    "FAB",
    "FGM",
    "FLAGS",
    "IFGM",
    "MIFGM",
    "NES",
    "PGD",
    "SPSA",
    "AdvPC",
    "Attack",
    "AttackResult",
    "AutoAttackResult",
    "CWAdd",
    "CWPerturb",
    "Flag",
    "GeoA3",
    "HiTADV",
    "HopSkipJump",
    "KNNAttack",
    "PGDAdd",
    "PointAutoAttack",
    "RandomDrop",
    "Renormalised",
    "SIAdv",
    "SIAdvQuery",
    "SaliencyDrop",
    "SimBA",
    "SquareAttack",
    "Transfer",
    "Verdict",
    "adaptive",
    "if_defense_eps",
    "is_random",
    "passes_gradient",
    "random_target_labels",
    "reliability_flags",
]
