"""Exercises on work at scale: reading a card, sharing cells, what a run will cost."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from mrpd_tutorial.exercises.base import Attempt, Exercise, expect

__all__ = ["EXERCISES", "cells_of_rank", "hours_needed", "worst_adaptive"]

Rows = Sequence[Mapping[str, Any]]


def _rows() -> list[dict[str, Any]]:
    """Rows as in a result card, with what matters here."""
    keys = ("model", "threat_model", "attack", "made_on", "accuracy", "attack_seconds")
    rows = (
        ("plain", "clean", "none", None, 0.8, None),
        ("plain", "adaptive", "PGD", "plain", 0.1, 120.0),
        ("plain", "adaptive", "drop", "plain", 0.05, 30.0),
        ("hardened", "clean", "none", None, 0.7, None),
        ("hardened", "static", "PGD", "plain", 0.6, 120.0),
        ("hardened", "static", "drop", "plain", 0.25, 30.0),
        ("hardened", "adaptive", "PGD", "hardened", 0.3, 150.0),
        ("hardened", "adaptive", "drop", "hardened", 0.4, 40.0),
        ("hardened", "transfer", "PGD", "teacher", 0.2, 90.0),
        ("hardened", "corruption", "jitter", None, 0.15, None),
    )
    return [{**dict(zip(keys, row, strict=True)), "n": 50} for row in rows]


def worst_adaptive(rows: Rows, model: str) -> tuple[str, float]:
    """The attack that is worst for a model when made through that very model.

    Args:
        rows: of a result card, each with "model", "threat_model", "attack", "accuracy".
        model: its name.

    Returns:
        The attack's name and the accuracy it leaves.
    """
    own = [r for r in rows if r["model"] == model and r["threat_model"] == "adaptive"]
    worst = min(own, key=lambda row: row["accuracy"])
    return worst["attack"], worst["accuracy"]


def _test_worst_adaptive(attempt: Attempt) -> None:
    rows = _rows()
    expect(
        attempt(rows, "hardened"),
        ("PGD", 0.3),
        "The hardened model",
        {
            "Those clouds were made on another model (static): they know nothing of "
            "the defense.": ("drop", 0.25),
            "Those clouds were made on a surrogate (transfer), not through this "
            "model.": ("PGD", 0.2),
            "Jitter is a corruption: nobody chose it to harm this model.": (
                "jitter",
                0.15,
            ),
            "That is the other model's row.": ("drop", 0.05),
            "That is the attack that harms least.": ("drop", 0.4),
        },
    )
    expect(attempt(rows, "plain"), ("drop", 0.05), "The plain model")


def cells_of_rank(jobs: Sequence[str], rank: int, world: int) -> list[int]:
    """Which cells of a table a process measures, each job's cells together.

    Jobs are numbered as they first appear, and process r takes every job whose number
    leaves r when divided by the number of processes. Cells of one job need the same
    attacked clouds, which would be made twice if two processes shared it.

    Args:
        jobs: the job of each cell, in the table's order.
        rank: this process, 0..world - 1.
        world: how many processes.

    Returns:
        Indices of this process's cells, in the table's order.
    """
    number = {job: i for i, job in enumerate(dict.fromkeys(jobs))}
    return [i for i, job in enumerate(jobs) if number[job] % world == rank]


def _test_cells_of_rank(attempt: Attempt) -> None:
    jobs = ["clean", "pgd", "pgd", "drop", "clean", "cw", "drop", "pgd", "noise"]
    taken = []
    for world in (1, 2, 4):
        for rank in range(world):
            found = attempt(list(jobs), rank, world)
            single = [i for i in range(len(jobs)) if i % world == rank]
            size = ceil(len(jobs) / world)
            ordered = sorted(set(jobs))
            sorted_jobs = [
                i for i, job in enumerate(jobs) if ordered.index(job) % world == rank
            ]
            expect(
                found,
                cells_of_rank(jobs, rank, world),
                f"Rank {rank} of {world}",
                {
                    "Cells were dealt out one by one: those of one job went to several "
                    "processes, which then all make the same clouds.": single,
                    "The table was cut into pieces, and a job with it.": list(
                        range(rank * size, min(len(jobs), (rank + 1) * size))
                    ),
                    "Number the jobs as they first appear, not by name.": sorted_jobs,
                    "Ranks count from 0.": cells_of_rank(jobs, rank - 1, world),
                },
                0,
            )
            taken += found if world == 4 else []
    expect(sorted(taken), list(range(len(jobs))), "All ranks together", None, 0)


def hours_needed(rows: Rows, clouds: int, processes: int) -> float:
    """How long the attacks of a small run will take on more clouds, shared evenly.

    Making attacked clouds is what takes the time. Each set is made once (an attack on
    the model it was made on), and shown to several models: every row that shows it
    repeats its seconds.

    Args:
        rows: of a result card, each with "attack", "made_on", "attack_seconds" (None
            without an attack) and "n", the clouds it was measured on.
        clouds: how many there will be.
        processes: how many share the work, evenly.

    Returns:
        Hours by the clock.
    """
    sets = {
        (row["attack"], row["made_on"]): row["attack_seconds"] / row["n"]
        for row in rows
        if row["attack_seconds"] is not None
    }
    return sum(sets.values()) * clouds / processes / 3600


def _test_hours(attempt: Attempt) -> None:
    rows = _rows()
    seconds = [row["attack_seconds"] or 0.0 for row in rows]
    names = {row["attack"]: s for row, s in zip(rows, seconds, strict=True)}
    for clouds, processes in ((50, 1), (2468, 4)):
        wanted = hours_needed(rows, clouds, processes)
        expect(
            attempt(rows, clouds, processes),
            wanted,
            f"{clouds} clouds, {processes} processes, measured on 50",
            {
                "Clouds made once and shown to two models were paid for twice: count "
                "each (attack, made on) once.": sum(seconds)
                * clouds
                / 50
                / processes
                / 3600,
                "The same attack on another model is another set of clouds.": sum(
                    names.values()
                )
                * clouds
                / 50
                / processes
                / 3600,
                "The seconds are those of 50 clouds: scale them.": wanted * 50 / clouds,
                "The seconds are those of 50 clouds, not of one.": wanted * 50,
                "Those are seconds.": wanted * 3600,
                "The processes share the work.": wanted * processes,
            },
            1e-6,
        )


EXERCISES = {
    "worst_adaptive": Exercise(
        reference=worst_adaptive,
        test=_test_worst_adaptive,
        tested="Two models of a card, whose lowest rows are not adaptive ones.",
        level="easy",
        minutes=5,
    ),
    "cells_of_rank": Exercise(
        reference=cells_of_rank,
        test=_test_cells_of_rank,
        tested="One, two and four processes: nothing twice, nothing left, jobs whole.",
        level="medium",
        minutes=10,
    ),
    "hours_needed": Exercise(
        reference=hours_needed,
        test=_test_hours,
        tested="A card of 50 clouds scaled to as many, and to 2468 on four processes.",
        level="hard",
        minutes=15,
    ),
}
