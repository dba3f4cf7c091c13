"""What an exercise is, how an attempt is judged, and how a fault is explained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "LEVELS",
    "STATUSES",
    "Attempt",
    "Exercise",
    "Verdict",
    "expect",
    "judge",
    "unchanged",
]

Attempt = Callable[..., Any]

LEVELS = ("easy", "medium", "hard", "research")
STATUSES = ("passed", "not yet", "not attempted", "stopped")


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """What an exercise asks for, and how an attempt is judged.

    Args:
        reference: a right answer.
        test: takes an attempt; raises AssertionError, saying what is wrong and why.
            Its inputs are seeded: the same attempt gets the same verdict.
        tested: what passing means, in one sentence.
        level: one of LEVELS.
        minutes: about how long it takes.

    Raises:
        ValueError: on another level, or minutes below 1.
    """

    reference: Attempt
    test: Callable[[Attempt], None]
    tested: str
    level: str
    minutes: int

    def __post_init__(self) -> None:
        if self.level not in LEVELS or self.minutes < 1:
            raise ValueError(
                f"level must be one of {', '.join(LEVELS)} and minutes at least 1; "
                f"received {self.level!r} and {self.minutes}."
            )


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Args:
        status: one of STATUSES.
        message: what was tested if passed, else what is wrong; "" if not attempted.
    """

    status: str
    message: str = ""


def judge(exercise: Exercise, attempt: Any) -> Verdict:
    """Test an attempt; whatever it does, this does not raise (but for Ctrl-C).

    An untouched stub raises NotImplementedError without a word; torch raises the same
    with words, where it cannot do something, and that is an error like any other.
    """
    try:
        assert callable(attempt), (
            f"Expected a function, got {type(attempt).__name__}. Hand over the "
            "function itself, without calling it."
        )
        exercise.test(attempt)
    except AssertionError as fault:
        return Verdict("not yet", str(fault) or "an assertion of the attempt failed.")
    except (Exception, SystemExit) as error:  # a typo must not stop the notebook
        if isinstance(error, NotImplementedError) and not error.args:
            return Verdict("not attempted")
        return Verdict("stopped", f"{type(error).__name__}: {error}")
    return Verdict("passed", exercise.tested)


def expect(
    found: object,
    wanted: Any,
    what: str,
    mistakes: Mapping[str, Any] | None = None,
    tolerance: float = 1e-4,
) -> None:
    """Compare an attempt's answer with the right one, and explain a known mistake.

    Args:
        found: what the attempt gave.
        wanted: a tensor (any shape), number, bool, string, tuple or list.
        what: what was asked, to begin the message with.
        mistakes: why an answer is wrong -> the answer that this mistake gives.
        tolerance: how far floats may be off.

    Raises:
        AssertionError: if they differ: what was expected, what came, and why, if the
            answer is that of a known mistake.
    """
    difference = _difference(found, wanted, tolerance)
    if difference is None:
        return
    for why, value in (mistakes or {}).items():
        known = _difference(value, wanted, tolerance) is not None  # it tells them apart
        if known and _difference(found, value, tolerance) is None:
            raise AssertionError(f"{what}: {difference} {why}")
    raise AssertionError(f"{what}: {difference}")


def unchanged(before: Tensor, after: Tensor, what: str = "The input cloud") -> None:
    """Raise AssertionError if an attempt has written into its input."""
    assert torch.equal(before, after), (
        f"{what} was changed in place: work on a new tensor, because whoever calls "
        "the function still needs the old one."
    )


def _difference(found: object, wanted: Any, tolerance: float) -> str | None:
    """What is different, or None."""
    if found is None:
        return "got None. Did you forget `return`?"
    if isinstance(wanted, Tensor):
        return _tensor_difference(found, wanted, tolerance)
    if isinstance(wanted, bool | str):
        same_kind = isinstance(found, str) == isinstance(wanted, str)
        if same_kind and _plain(found) == wanted:
            return None
        return f"got {found!r:.80}, not {wanted!r}."
    if isinstance(wanted, tuple | list):
        return _sequence_difference(found, wanted, tolerance)
    try:
        value = float(found)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        return f"expected a number, got {_kind(found)}."
    close = abs(value - wanted) <= tolerance * max(1.0, abs(wanted))
    return None if close else f"got {value:.4g}, not {wanted:.4g}."


def _sequence_difference(found: Any, wanted: Any, tolerance: float) -> str | None:
    if isinstance(found, str) or not hasattr(found, "__len__"):
        return f"expected {len(wanted)} values, got {_kind(found)}."
    if len(found) != len(wanted):
        return f"got {len(found)} values, not {len(wanted)}: {list(found)!r:.100}."
    for i, (one, other) in enumerate(zip(found, wanted, strict=True)):
        if (inner := _difference(one, other, tolerance)) is not None:
            return f"value {i}: {inner}"
    return None


def _tensor_difference(found: object, wanted: Tensor, tolerance: float) -> str | None:
    if not isinstance(found, Tensor):
        return f"expected a tensor, got {_kind(found)}."
    if found.shape != wanted.shape:
        return f"shape {tuple(found.shape)}, not {tuple(wanted.shape)}."
    if (found.dtype == torch.bool) != (wanted.dtype == torch.bool):
        return f"type {found.dtype}, not {wanted.dtype}."
    if wanted.dtype == torch.bool:
        wrong = int((found != wanted).sum())
        return f"{wrong} of {wanted.numel()} are wrong." if wrong else None
    if not bool(torch.isfinite(found).all()):
        return "NaN or infinite numbers came back."
    distance = (found.detach().double() - wanted.detach().double()).abs()
    largest = float(distance.max()) if distance.numel() else 0.0
    return None if largest <= tolerance else f"off by up to {largest:.2g}."


def _kind(value: object) -> str:
    return type(value).__name__


def _plain(value: Any) -> Any:
    """A tensor or numpy scalar of one element as Python's own."""
    return value.item() if hasattr(value, "item") else value
