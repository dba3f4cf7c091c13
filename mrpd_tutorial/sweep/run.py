"""Many models, attacks and corruptions: measured cell by cell, kept, merged."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mrpd_tutorial import __version__
from mrpd_tutorial.attacks.auto_attack import PointAutoAttack
from mrpd_tutorial.bench import Bench
from mrpd_tutorial.bench_setup import Setup, set_up
from mrpd_tutorial.fingerprint import describe
from mrpd_tutorial.protocol import Protocol
from mrpd_tutorial.result_card import as_text, split_attack
from mrpd_tutorial.runtime import digest, environment_summary
from mrpd_tutorial.sweep.cells import Cell, CellFolder
from mrpd_tutorial.sweep.table import Sweep

__all__ = ["share_of_rank", "sweep"]

_FORMAT = 2


def share_of_rank() -> tuple[int, int]:
    """This process's number and how many there are: (RANK, WORLD_SIZE) of torchrun.

    Returns:
        (0, 1) where neither is set.

    Raises:
        ValueError: if only one is set, or they do not fit.
    """
    rank, world = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if rank is None and world is None:
        return 0, 1
    try:
        share = int(rank), int(world)
    except (TypeError, ValueError):
        share = 0, 0
    if not 0 <= share[0] < share[1]:
        raise ValueError(
            "RANK and WORLD_SIZE must both be set, as torchrun does, with 0 <= RANK < "
            f"WORLD_SIZE; received RANK={rank} and WORLD_SIZE={world}. Unset both to "
            "run alone."
        )
    return share


def sweep(
    models: Any,
    dataset: Any,
    attacks: Any = None,
    corruptions: Any = (),
    *,
    folder: str | os.PathLike,
    undefended: Any = None,
    surrogate: Any = None,
    target_labels: Tensor | None = None,
    threat_models: Sequence[str] | None = None,
    protocol: str | Protocol | None = None,
    seed: int = 0,
    batch_size: int = 32,
    eot_samples: int = 8,
    reuse: Sequence[str | os.PathLike] = (),
    level: float = 0.95,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Sweep:
    """Measure every model under every threat, and keep each cell as soon as it is done.

    A cell is one model under one threat model and attack (see evaluate), or under one
    corruption. Its card in `folder`/cells holds the row, which clouds were named
    correctly, and all that decides them: attack, data, weights, seed. Call the same
    sweep again after any interruption, kill -9 included: finished cells are read, a
    damaged card is measured again with a warning, a card of other settings is an error.
    More models or attacks may be added later. Once all cells are there, table.csv,
    table.md and table.html are written.

    Several processes share one folder, on several machines if need be: `torchrun
    --nproc-per-node 2 script.py`, or RANK and WORLD_SIZE set by hand. Cells that are
    shown the same clouds (a static attack and all models that see it) are one job, so
    that clouds are made once; each rank takes every WORLD_SIZE-th job. Whoever finishes
    last writes the tables; Sweep.load(folder) merges what is there. The tables are
    identical to one process's where processes round alike: the same device type, and
    the same number of threads (torchrun sets OMP_NUM_THREADS=1; do so alone too).

    Args:
        models: name -> `points -> logits`, in evaluation mode, on `device`.
        dataset: a PointDataset, or a pair (points (B, N, 3), labels (B,)).
        attacks: an attack, or several by name, or None: those of the protocol, if any.
        corruptions: such as [Rotation(severity=3)], each with its own seed.
        folder: where cards and tables go; made if need be.
        undefended, surrogate, target_labels: as in evaluate.
        threat_models: of "static", "adaptive", "transfer"; None: the protocol's, or
            all that the arguments allow. Clean accuracy is always measured.
        protocol, seed, batch_size, eot_samples: as in evaluate.
        reuse: folders of other sweeps. Their finished cells are taken over where all
            that decides them is the same.
        level: of the Wilson intervals.
        device: where clouds are moved, such as f"cuda:{LOCAL_RANK}"; None leaves them.
        progress: show a progress bar for each process.

    Returns:
        The Sweep, with all cells, or as many as all processes have finished by now.

    Raises:
        ValueError: before work starts: bad input, a folder that cannot be written, has
            no room, or holds cells of other settings.
        OSError: if the disk fills up during work; finished cells are kept.

    Example:
        >>> import tempfile
        >>> from mrpd_tutorial.corruptions import Jitter
        >>> data = torch.eye(3)[:, None].expand(3, 8, 3), torch.arange(3)
        >>> models = {"mean": lambda points: points.mean(1)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = sweep(models, data, corruptions=[Jitter(severity=1)],
        ...                  folder=folder, progress=False)
        >>> [(row.threat_model, row.accuracy) for row in done.rows]
        [('clean', 1.0), ('corruption', 1.0)]
    """
    rank, world = share_of_rank()
    setup = set_up(
        models,
        dataset,
        attacks,
        corruptions,
        undefended=undefended,
        surrogate=surrogate,
        target_labels=target_labels,
        threat_models=threat_models,
        protocol=protocol,
        seed=seed,
        batch_size=batch_size,
        eot_samples=eot_samples,
        device=device,
    )
    cells = _cells(setup, level)
    store = CellFolder(folder)
    store.prepare(cells, len(setup.points))
    config = {"level": level, "protocol": describe(setup.protocol), "seed": seed}
    notes = {"config": config | {"eot_samples": eot_samples}}
    notes |= {"names": dict(setup.names), "labels": setup.labels.tolist()}
    store.plan(cells, notes | {"class_names": setup.class_names})
    for other in reuse:
        store.take_over(CellFolder(other), cells)
    with tqdm(
        unit=" clouds",
        total=0,
        disable=not progress,
        position=rank,
        postfix=f"rank {rank} of {world}" if world > 1 else None,
    ) as bar:
        bench = setup.bench(level=level, bar=bar)
        _measure(setup, bench, store, _share(cells, rank, world))
    found = Sweep.load(folder)
    if found.complete:
        found.write()
    return found


def _cells(setup: Setup, level: float) -> list[Cell]:
    """All cells in the table's order, each with everything that decides it."""
    models = {name: describe(model) for name, model in setup.victims.items()}
    attacks = {name: describe(attack) for name, attack in setup.attacks.items()}
    damage = {name: describe(one) for name, one in setup.corruptions.items()}
    aims = None if setup.target_labels is None else digest(setup.target_labels)
    common = {"format": _FORMAT, "package": __version__, "data": setup.data}
    common |= {"device": setup.points.device.type, "level": level}
    common |= {"seed": setup.seed, "batch_size": setup.batch_size}
    cells = []
    for model, threat_model, attack, made_on in setup.cells:
        settings = common | {"cell": [model, threat_model, attack, made_on]}
        settings |= {"model": models[model]}
        if threat_model == "corruption":
            settings |= {"corruption": damage[attack]}
        elif attack is not None:
            name = split_attack(attack)[0]
            told = setup.mislabelled.get(name)
            settings |= {
                "attack": attacks[name],
                "source": models[made_on],
                "target_labels": aims,
                "told_labels": None if told is None else digest(told),
            }
            if not isinstance(setup.attacks[name], PointAutoAttack):  # has its own
                settings |= {"eot_samples": setup.eot_samples}
        cells.append(
            Cell(
                model=model,
                threat_model=threat_model,
                attack=attack,
                made_on=made_on,
                settings=settings,
            )
        )
    return cells


def _share(cells: Sequence[Cell], rank: int, world: int) -> list[Cell]:
    """The cells of every world-th job, job by job."""
    jobs = {job: i for i, job in enumerate(dict.fromkeys(cell.job for cell in cells))}
    mine = [cell for cell in cells if jobs[cell.job] % world == rank]
    return sorted(mine, key=lambda cell: jobs[cell.job])


def _measure(
    setup: Setup, bench: Bench, store: CellFolder, cells: Sequence[Cell]
) -> None:
    """Measure what is not there yet; clouds are kept no longer than their job."""
    todo = [cell for cell in cells if store.read(cell) is None]
    bench.bar.total = setup.work([cell.names for cell in todo])
    environment = environment_summary()
    for _, job in groupby(todo, key=lambda cell: cell.job):
        for cell in job:
            row, correct = bench.measure(*cell.names)
            store.write(
                cell,
                {
                    "row": asdict(row),
                    "correct": as_text(correct),
                    "environment": environment,
                },
            )
        bench.clouds.clear()
