"""Checks at the door: what was expected, what came, what to do about it."""

from collections.abc import Collection

import torch
from torch import Tensor

__all__ = [
    "check_between",
    "check_choice",
    "check_cloud",
    "check_count",
    "check_device",
    "check_features",
    "check_labels",
    "check_points",
    "check_positive",
    "check_same_device",
]

_FLOATS = (torch.float32, torch.float64)


def _require_tensor(value: object, name: str, shape: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise ValueError(
            f"{name} must be a torch.Tensor of shape {shape}; received "
            f"{type(value).__name__}. Use torch.as_tensor({name}) first."
        )
    return value


def _require_float(value: Tensor, name: str) -> None:
    if value.dtype not in _FLOATS:
        raise ValueError(
            f"{name} must be float32 or float64; received {value.dtype}. "
            f"Use {name}.float()."
        )


def _require_finite(value: Tensor, name: str) -> None:
    finite = torch.isfinite(value)
    if not bool(finite.all()):
        first = (~finite).flatten(1).any(1).nonzero()[0].item() if value.ndim > 1 else 0
        raise ValueError(
            f"{name} must be finite; received {int((~finite).sum())} NaN or infinite "
            f"numbers, the first in row {first}. Remove or repair those rows."
        )


def check_points(
    points: object,
    name: str = "points",
    *,
    min_points: int = 1,
    unit_sphere: bool = False,
) -> None:
    """Check a batch of clouds.

    Args:
        points: expected (B, N, 3), float32 or float64, finite.
        name: the argument's name, for the message.
        min_points: the least number of points N a cloud must have.
        unit_sphere: whether every point must lie within radius 1 (1e-3 allowed).

    Raises:
        ValueError: if anything of this does not hold.
    """
    points = _require_tensor(points, name, "(B, N, 3)")
    if points.ndim != 3 or points.shape[-1] != 3:
        hint = ""
        if points.ndim == 3 and points.shape[1] == 3:
            hint = f" If channels come first, use {name}.transpose(1, 2)."
        elif points.ndim == 2 and points.shape[-1] == 3:
            hint = f" For a single cloud, use {name}[None]."
        raise ValueError(
            f"{name} must have shape (B, N, 3); received {tuple(points.shape)}.{hint}"
        )
    if points.shape[0] == 0:
        raise ValueError(f"{name} holds no cloud: shape {tuple(points.shape)}.")
    if points.shape[1] < min_points:
        raise ValueError(
            f"{name} must have at least {min_points} points a cloud; received "
            f"{points.shape[1]}. Sample more points or ask for fewer."
        )
    _require_float(points, name)
    _require_finite(points, name)
    if unit_sphere:
        radius = float(points.detach().norm(dim=-1).max())
        if radius > 1.001:
            raise ValueError(
                f"{name} must lie in the unit sphere; the largest radius is "
                f"{radius:.3f}. Use mrpd_tutorial.geometry.normalise({name})."
            )


def check_cloud(points: object, name: str = "points", *, min_points: int = 1) -> None:
    """Check one cloud (N, 3); the same demands as `check_points`."""
    points = _require_tensor(points, name, "(N, 3)")
    if points.ndim != 2 or points.shape[-1] != 3:
        raise ValueError(
            f"{name} must have shape (N, 3); received {tuple(points.shape)}. "
            f"For a batch, pass one cloud: {name}[0]."
        )
    check_points(points[None], name, min_points=min_points)


def check_labels(
    labels: object,
    num_classes: int | None = None,
    batch: int | None = None,
    name: str = "labels",
) -> None:
    """Check class ids: (B,) int64 in 0..num_classes-1, one for each of `batch` clouds.

    Raises:
        ValueError: on a wrong type, shape, length or range.
    """
    labels = _require_tensor(labels, name, "(B,)")
    if labels.ndim != 1:
        raise ValueError(
            f"{name} must have shape (B,); received {tuple(labels.shape)}. "
            f"Use {name}.reshape(-1)."
        )
    if labels.dtype != torch.int64:
        raise ValueError(
            f"{name} must be int64 class ids; received {labels.dtype}. "
            f"Use {name}.long()."
        )
    if batch is not None and labels.shape[0] != batch:
        raise ValueError(
            f"{name} must have one entry for each of the {batch} clouds; received "
            f"{labels.shape[0]}."
        )
    if labels.numel() and int(labels.min()) < 0:
        raise ValueError(f"{name} must not be negative; received {int(labels.min())}.")
    if num_classes is not None and labels.numel() and int(labels.max()) >= num_classes:
        raise ValueError(
            f"{name} must lie in 0..{num_classes - 1} for {num_classes} classes; "
            f"received {int(labels.max())}. Do the class names and the labels belong "
            "to the same data set?"
        )


def check_features(
    features: object, name: str, rows: int | None = None, dim: int | None = None
) -> None:
    """Check a feature matrix: (rows, dim), float32 or float64, finite.

    Raises:
        ValueError: if anything of this does not hold.
    """
    features = _require_tensor(features, name, "(rows, D)")
    if features.ndim != 2:
        raise ValueError(
            f"{name} must have shape (rows, D); received {tuple(features.shape)}."
        )
    if rows is not None and features.shape[0] != rows:
        raise ValueError(
            f"{name} must have {rows} rows; received {features.shape[0]}. Per-class "
            "and per-sample features are different things: (C, D) and (B, D)."
        )
    if dim is not None and features.shape[1] != dim:
        raise ValueError(
            f"{name} must have {dim} columns (the embedding dimension); received "
            f"{features.shape[1]}. Do both come from the same embedding space?"
        )
    _require_float(features, name)
    _require_finite(features, name)


def check_same_device(**tensors: Tensor) -> None:
    """Check that all named tensors live on one device.

    Raises:
        ValueError: naming each tensor's device.
    """
    devices = {name: value.device for name, value in tensors.items()}
    if len(set(devices.values())) > 1:
        listing = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise ValueError(f"All inputs must be on one device; received {listing}.")


def check_device(device: str | torch.device) -> None:
    """Check that a device is there, before anything is moved to it.

    Raises:
        ValueError: on a name torch does not know, or CUDA where there is none.
    """
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(
            f"device must be a name like 'cpu' or 'cuda:0'; received {device!r}."
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device is {device!r}, but this PyTorch finds no CUDA device. Use 'cpu', "
            "or install a CUDA build of PyTorch and its driver."
        )


def check_positive(name: str, value: float) -> None:
    """Check that a number is finite and above 0, else raise ValueError."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be above 0 and finite; received {value}.")


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Check low <= value <= high, else raise ValueError."""
    if not low <= value <= high:
        raise ValueError(f"{name} must lie in [{low}, {high}]; received {value}.")


def check_count(name: str, value: object, least: int) -> None:
    """Check for a whole number that is at least `least`, else raise ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(
            f"{name} must be a whole number, at least {least}; received {value!r}."
        )


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Check that value is one of choices, else raise ValueError naming them all."""
    if value not in choices:
        listing = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {listing}; received {value!r}.")
