"""Attacks on any `points -> logits` callable; every class says its budget's norm."""

from mrpd_tutorial.attacks.base import Attack, AttackResult, random_target_labels
from mrpd_tutorial.attacks.pgd import PGD

__all__ = ["PGD", "Attack", "AttackResult", "random_target_labels"]
