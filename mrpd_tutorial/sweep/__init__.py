"""Sweeps: many models, attacks and corruptions, cell by cell; and two protocols."""

from mrpd_tutorial.protocol import Choice, Protocol, choices
from mrpd_tutorial.sweep.run import share_of_rank, sweep
from mrpd_tutorial.sweep.table import Sweep
from mrpd_tutorial.sweep.worth import ProtocolWorth, protocol_worth

__all__ = [
    "Choice",
    "Protocol",
    "ProtocolWorth",
    "Sweep",
    "choices",
    "protocol_worth",
    "share_of_rank",
    "sweep",
]
