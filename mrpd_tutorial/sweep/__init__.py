"""Sweeps: many models, attacks and corruptions, cell by cell; and two protocols."""

from mrpd_tutorial.sweep.protocol import Choice, Protocol, choices
from mrpd_tutorial.sweep.run import share_of_rank, sweep
from mrpd_tutorial.sweep.table import Sweep

__all__ = ["Choice", "Protocol", "Sweep", "choices", "share_of_rank", "sweep"]
