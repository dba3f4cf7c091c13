"""The folder of a run: what it was asked, how far it is, what came out.

run.json (settings and inputs), checkpoint.safetensors and history.csv (after each
epoch), prompts.safetensors and, at last, result.json, which marks a finished run. Every
file appears by a rename, and none holds a time or a random name: a run that was killed
and resumed leaves the same bytes as one that was not.
"""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mrpd_tutorial.runtime import (
    atomic_path,
    load_tensors,
    read_json,
    save_tensors,
    write_json,
)

__all__ = ["RunFolder", "write_history"]

_RUN, _CHECKPOINT, _HISTORY = "run.json", "checkpoint.safetensors", "history.csv"
_PROMPTS, _RESULT = "prompts.safetensors", "result.json"
_FILES = (_RUN, _CHECKPOINT, _HISTORY, _PROMPTS, _RESULT)


class RunFolder:
    """One run's files.

    Args:
        folder: made if need be.
        run: settings and inputs as JSON values: what makes two runs the same.
        resume: go on with an unfinished run, or hand back a finished one.
        overwrite: remove an earlier run's files first.

    Raises:
        ValueError: if the folder holds another run, naming the differing settings.
        FileExistsError: if it holds this run and resume is False.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        run: Mapping[str, Any],
        resume: bool,
        overwrite: bool,
    ) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(
                f"out_dir must be a folder; {folder} is a file. Choose another."
            )
        if overwrite:
            # The marker of a finished run goes first, the run's description last: a
            # kill in between leaves a run that can still be told apart.
            for name in reversed(_FILES):
                (self.folder / name).unlink(missing_ok=True)
        for name in _FILES:  # what a kill in the middle of a write left behind
            stem, suffix = name.rsplit(".", 1)
            for left in self.folder.glob(f".{stem}-*.{suffix}"):
                left.unlink(missing_ok=True)
        if (self.folder / _RUN).exists():
            self._compare(read_json(self.folder / _RUN), run)
            if not resume:
                raise FileExistsError(
                    f"{folder} holds this run already. Pass resume=True to go on with "
                    "it, overwrite=True to do it again, or another out_dir."
                )
        else:
            others = [name for name in _FILES if (self.folder / name).exists()]
            if others:
                raise FileExistsError(
                    f"{folder} holds {', '.join(others)} but no {_RUN}: they belong to "
                    "something else and are kept. Choose another out_dir, or pass "
                    "overwrite=True."
                )
            write_json(self.folder / _RUN, run)

    @property
    def prompts(self) -> Path:
        """The hardened student's file."""
        return self.folder / _PROMPTS

    def result(self) -> dict[str, Any] | None:
        """The result of a finished run, or None."""
        path = self.folder / _RESULT
        return read_json(path) if path.exists() and self.prompts.exists() else None

    def finish(self, result: Mapping[str, Any]) -> None:
        """Mark the run as finished."""
        # A kill right after the last checkpoint left the table an epoch short.
        write_history(self.folder / _HISTORY, result["history"], overwrite=True)
        write_json(self.folder / _RESULT, result, overwrite=True)

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The state after the last complete epoch, or None."""
        path = self.folder / _CHECKPOINT
        return load_tensors(path) if path.exists() else None

    def save_checkpoint(
        self, tensors: Mapping[str, Tensor], info: Mapping[str, Any]
    ) -> None:
        """Keep the state after an epoch; the history as a table beside it."""
        save_tensors(self.folder / _CHECKPOINT, tensors, info, overwrite=True)
        write_history(self.folder / _HISTORY, info["history"], overwrite=True)

    def _compare(self, found: Any, wanted: Mapping[str, Any]) -> None:
        before, now = _flat(found), _flat(wanted)
        differing = [
            f"{name} was {before.get(name)!r}, now {now.get(name)!r}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if differing:
            raise ValueError(
                f"{self.folder} holds a run with other settings or inputs: "
                f"{'; '.join(differing)}. Use the same ones to go on with it, choose "
                "another out_dir, or pass overwrite=True to start anew."
            )


def write_history(
    path: str | os.PathLike,
    history: Sequence[Mapping[str, Any]],
    overwrite: bool = False,
) -> None:
    """Write a history as CSV, one row an epoch, every digit of every number."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def optimizer_state(
    module: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Parameters and AdamW's moments by name, to be restored by `restore`."""
    tensors = {}
    for name, parameter in module.named_parameters():
        tensors[f"parameter.{name}"] = parameter
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}.{name}"] = torch.as_tensor(value)
    return tensors


def restore(
    module: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_state` took out."""
    for name, parameter in module.named_parameters():
        with torch.no_grad():
            parameter.copy_(tensors[f"parameter.{name}"])
        state = {
            key.removesuffix(f".{name}"): value
            for key, value in tensors.items()
            if key.endswith(f".{name}") and not key.startswith("parameter.")
        }
        if state:
            # AdamW counts its steps on the CPU; the moments live with the parameter.
            optimizer.state[parameter] = {
                key: value.clone() if key == "step" else value.to(parameter.device)
                for key, value in state.items()
            }


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    items = {}
    for key, inner in value.items():
        items |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return items
