"""Copies of the notebooks for a class: without solutions, or with them filled in."""

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrpd_tutorial.checks import check_choice
from mrpd_tutorial.course.notebook import (
    FOLDED,
    find_notebooks,
    read_notebook,
    source,
    tasks,
    write_notebook,
)

__all__ = ["student_copy", "teacher_copy", "write_copies"]


def student_copy(book: dict[str, Any], where: str = "the notebook") -> dict[str, Any]:
    """A notebook without solutions; hints stay, outputs go.

    Folded blocks called Solution are taken out, and cells with the tag "solution". The
    package's own references stay importable: a check goes on with them where an attempt
    fails, so a copy can keep a solution from the eye, not from a search.

    Args:
        book: from `read_notebook`; not changed.
        where: its name, for messages.

    Raises:
        ValueError: if a solution is there in another form and would stay.
    """
    made = _plain(book)
    cells = []
    for cell in made["cells"]:
        if "solution" in cell.get("metadata", {}).get("tags", ()):
            continue
        if cell["cell_type"] == "markdown":
            before = source(cell)
            text = FOLDED.sub(_without_solution, before)
            if "solution</summary>" in text.lower():
                raise ValueError(
                    f"{where}: a solution could not be taken out, because its block "
                    "has another form than <details><summary>Solution</summary> ... "
                    f"</details>: {text.strip()[:60]!r}. Close the block."
                )
            if text != before:
                if not text.strip():
                    continue
                cell["source"] = text.strip("\n").splitlines(keepends=True)
        cells.append(cell)
    made["cells"] = cells
    made["metadata"]["mrpd_course"] = "student"
    return made


def teacher_copy(book: dict[str, Any], where: str = "the notebook") -> dict[str, Any]:
    """A notebook whose stubs are replaced by the solutions, so that every check passes.

    Args:
        book: from `read_notebook`; not changed.
        where: its name, for messages.

    Raises:
        ValueError: if an exercise has no folded solution.
    """
    made = _plain(book)
    # From the last on, so that the lines of an earlier stub in the same cell stay.
    for task in reversed(tasks(book, where)):
        if task.solution is None:
            raise ValueError(
                f"{where}: exercise {task.name!r} has no solution. Below its cell, put "
                "it into a ```python block in <details><summary>Solution</summary>."
            )
        cell = made["cells"][task.cell]
        lines = source(cell).split("\n")
        lines[task.first - 1 : task.last] = task.solution.strip("\n").split("\n")
        cell["source"] = "\n".join(lines).splitlines(keepends=True)
    made["metadata"]["mrpd_course"] = "teacher"
    return made


def write_copies(
    kind: str,
    out: str | os.PathLike,
    notebooks: Sequence[str | os.PathLike] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a copy of every notebook into a folder.

    All copies are made before the first is written.

    Args:
        kind: "student" or "teacher".
        out: the folder, made if need be.
        notebooks: the course's; None: those that `find_notebooks` finds.
        overwrite: whether files in `out` may be replaced.

    Returns:
        The files, in order.

    Raises:
        ValueError: if `out` is the folder of the notebooks themselves, or what making a
            copy raises.
        FileExistsError: if a file is there and overwrite is False.
    """
    check_choice("kind", kind, ("student", "teacher"))
    paths = [
        Path(p) for p in (notebooks if notebooks is not None else find_notebooks())
    ]
    make = {"student": student_copy, "teacher": teacher_copy}[kind]
    out = Path(out)
    for path in paths:
        if path.resolve().parent == out.resolve():
            raise ValueError(
                f"{out} is the folder of the notebooks themselves. Choose another one "
                "for the copies."
            )
        if (out / path.name).exists() and not overwrite:
            raise FileExistsError(
                f"{out / path.name} exists already and is kept. Choose another folder, "
                "or pass --overwrite to replace the copies in it."
            )
    made = [(out / path.name, make(read_notebook(path), path.name)) for path in paths]
    for path, book in made:
        write_notebook(path, book, overwrite=overwrite)
    return [path for path, _ in made]


def _plain(book: dict[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(book)
    for cell in made["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    made.setdefault("metadata", {})
    return made


def _without_solution(match: Any) -> str:
    return "" if match["kind"].lower() == "solution" else match[0]
