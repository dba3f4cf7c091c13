"""Seeds, files that are never half written, digests, and what machine this is."""

import contextlib
import ctypes
import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

__all__ = [
    "atomic_path",
    "cache_dir",
    "digest",
    "embedded_data",
    "environment_summary",
    "generator",
    "load_tensors",
    "read_json",
    "save_tensors",
    "tune_allocator",
    "write_json",
]


def generator(seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A random generator of its own; global random state is never touched."""
    return torch.Generator(device=device).manual_seed(seed)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it into place if all went well.

    Whatever happens (an exception, Ctrl-C, kill -9), `path` is either its old self or
    complete. The folder is made if need be.

    Args:
        path: the final file.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError: if path exists and overwrite is False.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists already and is kept. Pass overwrite=True to replace it, or "
            "choose another path."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; results are for everybody the umask allows.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        # Data must reach the disk before the name does, or a power cut leaves a
        # complete name on an empty file.
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, value: Any, overwrite: bool = False) -> None:
    """Write JSON, sorted by key and atomic; NaN is refused (it is not JSON)."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: naming the file, if it is missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not readable JSON: {error}.") from error


def save_tensors(
    path: str | os.PathLike,
    tensors: Mapping[str, Tensor],
    info: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Write tensors and a JSON-able description as one safetensors file, atomically.

    The same tensors and description give the same bytes.
    """
    tensors = {k: v.detach().contiguous().cpu() for k, v in sorted(tensors.items())}
    text = json.dumps(info, sort_keys=True, allow_nan=False)
    with atomic_path(path, overwrite) as temporary:
        save_file(tensors, temporary, metadata={"info": text})


def load_tensors(
    path: str | os.PathLike, device: str | torch.device = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises:
        ValueError: naming the file, if it is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            info = json.loads((file.metadata() or {}).get("info", "{}"))
            # Copies are aligned as torch's own tensors are; where a tensor starts
            # decides how kernels round, and so whether a run repeats to the last bit.
            names = file.keys()
            return {name: file.get_tensor(name).clone() for name in names}, info
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist.") from None
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise ValueError(
            f"{path} is not a readable safetensors file ({error}). It may be "
            "truncated: make or fetch it again."
        ) from error


def digest(*values: Any) -> str:
    """SHA-256 over tensors, arrays and JSON-able values: equal content, equal name.

    Example:
        >>> digest([1, 2]) == digest([1, 2]), digest([1, 2]) == digest([2, 1])
        (True, False)
    """
    sha = hashlib.sha256()
    for value in values:
        if isinstance(value, Tensor):
            value = value.detach().cpu().contiguous()
            # Views as bytes, so that dtypes numpy does not know (bfloat16) work too.
            header = f"{value.dtype}{tuple(value.shape)}"
            raw = value.reshape(-1).view(torch.uint8).numpy() if value.numel() else b""
            sha.update(header.encode() + b"\0")
            sha.update(raw)
        elif isinstance(value, np.ndarray):
            sha.update(f"{value.dtype}{value.shape}".encode() + b"\0")
            sha.update(np.ascontiguousarray(value).tobytes())
        else:
            sha.update(json.dumps(value, sort_keys=True, allow_nan=False).encode())
        sha.update(b"\1")
    return sha.hexdigest()


def embedded_data() -> Path:
    """The folder of the data that travels with the package.

    Raises:
        FileNotFoundError: if neither the installed copy nor the checkout has it.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "embedded_data", package.parent / "data"):
        if (folder / "README.md").is_file():
            return folder
    raise FileNotFoundError(
        f"The package's data folder was found neither in {package} nor beside it. "
        "Install the package again, or clone the repository and install it from there."
    )


def cache_dir() -> Path:
    """Where computed features are kept: $MRPD_CACHE_DIR, or the user's cache folder."""
    chosen = os.environ.get("MRPD_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mrpd_tutorial"


def tune_allocator() -> bool:
    """Ask glibc to keep large buffers instead of returning them at every step.

    Opt-in, for programs at their start: training steps on a CPU free and take the same
    large tensors again and again, and the page faults cost more than the arithmetic.
    The price is that peak memory stays with the process.

    Returns:
        Whether the settings were taken (Linux with glibc only).
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # names from <malloc.h>
    settings = (
        (mmap_threshold, 2**30),
        (trim_threshold, 2**31 - 1),
        (top_pad, 256 * 2**20),
    )
    # mallopt answers 1 for taken; all three are tried, whatever the first one says.
    return all([mallopt(name, value) == 1 for name, value in settings])


def environment_summary() -> dict[str, Any]:
    """Versions, device and threads, for result cards: what a number was made with."""
    packages = ("torch", "timm", "open_clip_torch", "numpy", "mrpd_tutorial")
    versions = {}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "python": platform.python_version(),
        "platform": platform.system(),
        "machine": platform.machine(),
        "packages": versions,
        "cuda_device": cuda,
        "threads": torch.get_num_threads(),
    }
