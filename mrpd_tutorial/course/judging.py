"""What runs inside the kernel of a submission: limits, one answer, its verdict."""

import contextlib
import importlib
import json
import os
import pkgutil
import sys
from typing import Any

import torch

from mrpd_tutorial import exercises
from mrpd_tutorial.exercises.base import Verdict, judge

__all__ = ["Judge", "off"]


class Judge:
    """Judges answers one after the other, in a process made for one submission.

    A pass counts only if, afterwards, the checks are the functions they were and still
    reject two answers that cannot be right: an answer may have changed them.

    Args:
        memory: bytes that the process may use for data (Linux only); None: no limit.
    """

    def __init__(self, memory: int | None = None) -> None:
        if memory is not None and sys.platform == "linux":
            import resource  # there is none elsewhere

            resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self._exercises = dict(exercises.EXERCISES)
        self._checks = _functions()
        self._verdict: Verdict | None = None

    def judge(self, name: str, source: str, attempt: str) -> None:
        """Define an answer in a namespace of its own, and test it; `verdict` tells.

        Args:
            name: of the exercise.
            source: Python that defines the answer.
            attempt: name of the function in it.
        """
        self._verdict = None
        torch.set_grad_enabled(True)  # whatever the answer before has switched
        torch.set_default_dtype(torch.float32)
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            found = self._judge(name, source, attempt)
        self._verdict = found

    def verdict(self, nonce: str) -> str:
        """The last verdict as JSON, with the nonce that was asked with."""
        found = self._verdict or Verdict("stopped", "It ended without a verdict.")
        return json.dumps([nonce, found.status, found.message[:2000]])

    def _judge(self, name: str, source: str, attempt: str) -> Verdict:
        exercise = self._exercises[name]
        space: dict[str, Any] = {"__name__": "submission"}
        try:
            exec(compile(source, f"<{name}>", "exec"), space)
        except (Exception, SystemExit) as error:
            return Verdict("stopped", f"{type(error).__name__}: {error}")
        found = judge(exercise, space[attempt])
        if found.status != "passed":
            return found
        right = exercise.reference
        changed = self._checks != _functions()
        for canary in (lambda *given: None, lambda *given: off(right(*given))):
            changed = changed or judge(exercise, canary).status == "passed"
        if changed:
            return Verdict("not counted", "The checks were changed while they ran.")
        return found


def off(answer: Any) -> Any:
    """An answer made wrong: numbers moved, truth values turned round, words changed."""
    if isinstance(answer, torch.Tensor):
        if answer.dtype == torch.bool:
            return ~answer
        return answer + (0.5 if answer.is_floating_point() else 1)
    if isinstance(answer, bool):
        return not answer
    if isinstance(answer, int | float):
        return answer + 0.5
    if isinstance(answer, str):
        return f"not {answer}"
    return type(answer)(off(one) for one in answer) or ["nothing"]


def _functions() -> dict[str, Any]:
    """Every function of the checks by module and name, with its code."""
    found: dict[str, Any] = {}
    for info in pkgutil.iter_modules(exercises.__path__):
        module = importlib.import_module(f"{exercises.__name__}.{info.name}")
        for name, value in vars(module).items():
            code = getattr(value, "__code__", None)
            if callable(value):
                found[f"{info.name}.{name}"] = (id(value), id(code))
    return found
