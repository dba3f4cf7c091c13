"""Arrays kept on disk: named by what they were made from, never trusted unchecked."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mrpd_tutorial import __version__
from mrpd_tutorial.runtime import atomic_path, cache_dir, digest

__all__ = ["FeatureCache", "module_digest"]

_CHECKSUM_BYTES = 32
_READ_BYTES = 1 << 24
_IN_MEMORY_BYTES = 1 << 30
_STALE_SECONDS = 24 * 3600


class FeatureCache:
    """Float32 arrays on disk, computed once for each key.

    One array is one file: an ordinary .npy followed by the SHA-256 of all bytes before.
    It appears under its name by a rename, complete or not at all, so two processes may
    write the same array: the later one replaces the earlier one's equal. A file whose
    checksum does not match is made again.

    Args:
        folder: where the files go; None takes `mrpd_tutorial.runtime.cache_dir()`.
            Deleting it costs time, nothing else.
        in_memory_bytes: larger arrays are memory-mapped instead of read.
    """

    def __init__(
        self,
        folder: str | os.PathLike | None = None,
        in_memory_bytes: int = _IN_MEMORY_BYTES,
    ) -> None:
        self.folder = Path(folder) if folder is not None else cache_dir() / "features"
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(
                f"cache_dir must be a folder; {self.folder} is a file. Choose another."
            )
        self.in_memory_bytes = in_memory_bytes
        self._sweep()

    def get(
        self,
        kind: str,
        key: Iterable[Any],
        rows: int,
        compute: Callable[[], Iterator[Tensor]],
    ) -> Tensor:
        """Read an array, or compute and write it first.

        Args:
            kind: what it is, for the file's name.
            key: tensors and JSON values that determine the content.
            rows: how many rows all chunks have together.
            compute: yields the array in chunks of rows, float32.

        Returns:
            The array, on the CPU. Do not write into it.
        """
        path = self.path(kind, key)
        found = self._load(path, rows)
        if found is None:
            self._write(path, rows, compute())
            found = self._load(path, rows)
        if found is None:
            raise RuntimeError(
                f"{path} was written and reads back damaged. Check the disk, or pass "
                "another cache_dir."
            )
        return found

    def path(self, kind: str, key: Iterable[Any]) -> Path:
        """The file of an array."""
        return self.folder / f"{kind}-{digest(__version__, *key)[:32]}.npy"

    def _write(self, path: Path, rows: int, chunks: Iterator[Tensor]) -> None:
        with atomic_path(path, overwrite=True) as temporary:
            sha, written, shape = hashlib.sha256(), 0, None
            with temporary.open("wb") as file:
                tee = _Tee(file, sha)
                for chunk in chunks:
                    array = chunk.detach().to("cpu", torch.float32).contiguous().numpy()
                    if shape is None:
                        shape = (rows, *array.shape[1:])
                        _write_header(tee, shape)
                    assert array.shape[1:] == shape[1:], "chunks of different shapes"
                    tee.write(array.tobytes())
                    written += len(array)
                assert written == rows, f"{written} rows computed, {rows} promised"
                file.write(sha.digest())

    def _load(self, path: Path, rows: int) -> Tensor | None:
        """The array, or None where there is no sound one."""
        try:
            if not _is_sound(path):
                return None
            with path.open("rb") as file:
                version = np.lib.format.read_magic(file)
                assert version == (1, 0), f"header version {version}"
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                start = file.tell()
            count = int(np.prod(shape))
            mapped = count * dtype.itemsize > self.in_memory_bytes
            if mapped:
                # Copy on write: torch wants writable memory, the file stays as it is.
                array = np.memmap(path, dtype, "c", start, shape)
            else:
                array = np.fromfile(path, dtype, count, offset=start).reshape(shape)
        except (OSError, ValueError):
            return None
        return torch.from_numpy(array) if len(array) == rows else None

    def _sweep(self) -> None:
        """Remove what killed processes left half written, once it is a day old."""
        for left in self.folder.glob(".*.npy"):
            try:
                if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                    left.unlink(missing_ok=True)
            except OSError:
                continue  # another process swept it, or owns it


class _Tee:
    """Write to a file and into a checksum."""

    def __init__(self, file: Any, sha: Any) -> None:
        self.file, self.sha = file, sha

    def write(self, data: bytes) -> None:
        self.sha.update(data)
        self.file.write(data)


def _write_header(tee: _Tee, shape: tuple[int, ...]) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(tee, header)


def _is_sound(path: Path) -> bool:
    """Whether the last 32 bytes are the SHA-256 of those before."""
    if not path.is_file():
        return False
    left = path.stat().st_size - _CHECKSUM_BYTES
    if left <= 0:
        return False
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while left > 0:
            data = file.read(min(_READ_BYTES, left))
            if not data:
                return False
            sha.update(data)
            left -= len(data)
        return file.read() == sha.digest()


def module_digest(module: nn.Module) -> str:
    """One name for a frozen model: its class, settings and weights.

    Settings that are no weights (patches a cloud, views, resolution) count as well:
    attributes that are dataclasses, numbers, strings, tuples, or functions (by name).
    """
    settings = {}
    for name, value in sorted(vars(module).items()):
        if name.startswith("_") or name == "training":
            continue
        if is_dataclass(value) or isinstance(value, (bool, int, float, str, tuple)):
            settings[name] = repr(value)
        elif callable(value) and hasattr(value, "__qualname__"):
            settings[name] = value.__qualname__
    buffers = dict(module.named_buffers())  # also those that state_dict leaves out
    state = {**module.state_dict(), **buffers}
    names = sorted(state)
    return digest(
        type(module).__name__, settings, names, *(state[name] for name in names)
    )
