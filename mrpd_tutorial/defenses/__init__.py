"""Defenses: `points -> points`, put before a model with `Defended`."""

from mrpd_tutorial.defenses.base import Defended, Defense
from mrpd_tutorial.defenses.removal import SOR, SRS

__all__ = ["SOR", "SRS", "Defended", "Defense"]
