"""Defenses: `points -> points`, put before a model with `Defended`, or training."""

from mrpd_tutorial.defenses.adversarial_training import (
    AdversarialHistory,
    LinearHead,
    adversarial_training,
)
from mrpd_tutorial.defenses.base import Defended, Defense
from mrpd_tutorial.defenses.dup_net import DUPNet
from mrpd_tutorial.defenses.point_cut_mix import MixedClouds, point_cut_mix
from mrpd_tutorial.defenses.removal import SOR, SRS
from mrpd_tutorial.defenses.restoration import Restoration

__all__ = [
    "SOR",
    "SRS",
    "AdversarialHistory",
    "Defended",
    "Defense",
    "DUPNet",
    "LinearHead",
    "MixedClouds",
    "Restoration",
    "adversarial_training",
    "point_cut_mix",
]
