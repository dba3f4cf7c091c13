"""Marking one notebook: its answers in a kernel with limits, or all of its cells."""

import json
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mrpd_tutorial import exercises
from mrpd_tutorial.checks import check_positive
from mrpd_tutorial.course.kernel import Kernel
from mrpd_tutorial.course.notebook import source
from mrpd_tutorial.course.programs import Program

__all__ = ["Limits", "mark_answers", "run_all"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a submission may use.

    Args:
        seconds: by the clock for each exercise; on a busy machine, or with many threads
            fighting for few cores, give more.
        notebook_seconds: for all cells together, where whole notebooks are run.
        memory: bytes of data of its process (Linux only).

    Raises:
        ValueError: unless all are above 0.
    """

    seconds: float = 60.0
    notebook_seconds: float = 600.0
    memory: int = 4 * 2**30

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            check_positive(name, value)


def mark_answers(
    owed: Sequence[str], answers: dict[str, Program], limits: Limits
) -> list[tuple[str, str, str, float]]:
    """Judge the answers of one notebook.

    Args:
        owed: names of the exercises it should hold.
        answers: name -> Program, from `programs`.
        limits: of each answer.

    Returns:
        (exercise, status, message, seconds) of each exercise owed.

    Raises:
        ValueError: if no kernel can be started.
    """
    found, kernel = [], None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            for name in owed:
                answer = answers.get(name)
                if answer is None:
                    found.append((name, "missing", "No check of it is left.", 0.0))
                    continue
                if answer.fault is not None:
                    found.append((name, *answer.fault, 0.0))
                    continue
                kernel = kernel or _ready(Path(folder), limits.memory)
                status, message, seconds = _verdict(kernel, name, answer, limits)
                found.append((name, status, message, seconds))
                if status in ("time limit", "crashed"):
                    kernel = None  # it is closed; the next answer gets another
        finally:
            if kernel is not None:
                kernel.close()
    return found


def _ready(folder: Path, memory: int) -> Kernel:
    kernel = Kernel(folder)
    ran = kernel.run(
        "import mrpd_tutorial\nfrom mrpd_tutorial.course.judging import Judge\n"
        f"_judge = Judge({memory})",
        60,
    )
    if ran.status != "ok":
        kernel.close()
        raise ValueError(
            f"No kernel could be started for grading ({ran.status}: {ran.message}). Is "
            f"ipykernel installed, and {memory >> 20} MiB of --memory enough for "
            "PyTorch?"
        )
    return kernel


def _verdict(
    kernel: Kernel, name: str, answer: Program, limits: Limits
) -> tuple[str, str, float]:
    code = f"_judge.judge({name!r}, {answer.source!r}, {answer.attempt!r})"
    ran = kernel.run(code, limits.seconds)
    if ran.status in ("time limit", "crashed"):
        return ran.status, ran.message, ran.seconds
    if ran.status == "error":
        return "stopped", ran.message, ran.seconds
    nonce = secrets.token_hex(16)  # unknown to the answer, which has returned
    told = kernel.run("", 30, f"_judge.verdict({nonce!r})")
    if told.status in ("time limit", "crashed"):
        return told.status, told.message, ran.seconds
    try:
        word, status, message = json.loads(told.value)
    except (TypeError, ValueError):
        word, status, message = "", "", ""
    if word != nonce or status not in (*exercises.STATUSES, "not counted"):
        return "not counted", "The verdict was tampered with.", ran.seconds
    return status, str(message), ran.seconds


def run_all(book: dict[str, Any], limits: Limits) -> tuple[str, str, float]:
    """Run all cells of a notebook, in order, until one fails.

    Returns:
        Status ("ran through", "error", "time limit", "crashed"), message, seconds.
    """
    left = limits.notebook_seconds
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        Kernel(Path(folder)) as kernel,
    ):
        memory = limits.memory
        ran = kernel.run(
            "def _limit():\n import mrpd_tutorial.course.judging as judging\n"
            f" judging.Judge({memory})\n_limit()\ndel _limit",
            60,
        )
        if ran.status != "ok":
            return ran.status, f"before the first cell: {ran.message}", ran.seconds
        for i, cell in enumerate(book["cells"]):
            if cell["cell_type"] != "code":
                continue
            ran = kernel.run(source(cell), left)
            left -= ran.seconds
            if ran.status != "ok" or left <= 0:
                status = "time limit" if ran.status == "ok" else ran.status
                spent = limits.notebook_seconds - left
                return status, f"cell {i}: {ran.message}", spent
    return "ran through", "", limits.notebook_seconds - left
