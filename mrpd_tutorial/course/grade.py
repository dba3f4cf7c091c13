"""Grading a class: every notebook in kernels of its own, a table that can be resumed.

Printed text counts for nothing. The answers are taken out of a notebook (see
`programs`), and the package's own checks judge them in a fresh process with limits of
time and, on Linux, memory. A verdict is asked for with a random word after the answer
has returned, and a pass counts only if the checks are unchanged and still reject what
is wrong. So a notebook that prints "passed", replaces `exercises.check`, hangs, ends
its process or fills the memory is graded like any other.

What this does not defend against: the answers run as Python with your rights. They can
read and write your files, use the network, start processes that leave their group, copy
the package's own functions (an answer may call the package; look at the code where that
matters), or rewrite the judge in the memory of their own process. Grade the work of
people whom you do not trust in a container or on another account.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mrpd_tutorial import __version__, exercises
from mrpd_tutorial.course.grade_table import as_csv, markdown
from mrpd_tutorial.course.marking import Limits, mark_answers, run_all
from mrpd_tutorial.course.notebook import find_notebooks, read_notebook, tasks
from mrpd_tutorial.course.programs import programs
from mrpd_tutorial.exercises import EXERCISES
from mrpd_tutorial.runtime import atomic_path, read_json, write_json

__all__ = ["grade"]

_WHOLE = "(whole notebook)"
_LARGEST = 64 * 2**20  # bytes of a submission


def grade(
    folder: str | os.PathLike,
    *,
    notebooks: Sequence[str | os.PathLike] | None = None,
    out: str | os.PathLike | None = None,
    limits: Limits | None = None,
    full: bool = False,
    again: bool = False,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Grade FOLDER/STUDENT/*.ipynb and FOLDER/*.ipynb, and write the tables.

    A notebook belongs to that of the course whose name is in its own name, else to the
    one with which it shares most exercises, and owes the exercises of that one. A
    notebook directly in FOLDER belongs to the student its name begins or ends with.

    `grades.csv` has a row for each exercise, `grades.md` a table for each notebook,
    `grades.json` what is needed to resume: a submission that is unchanged, like the
    checks and the limits, is not run again.

    Args:
        folder: of the class.
        notebooks: of the course; None: those that `find_notebooks` finds.
        out: folder of the tables; None: `folder` itself.
        limits: None: Limits().
        full: also run all cells of each notebook, in another kernel, and say whether
            they run through.
        again: run everything anew.
        say: told of each submission when it is done.

    Returns:
        The rows of the CSV.

    Raises:
        ValueError: if there is no such folder or no notebook in it, or `grades.json` is
            damaged; and what reading the course's notebooks raises.
    """
    folder, limits = Path(folder), limits or Limits()
    out = folder if out is None else Path(out)
    submitted = _submissions(folder)
    course = _course(notebooks)
    known = _known(out / "grades.json")
    settings = [__version__, _checks_digest(), asdict(limits), full]
    records: dict[str, Any] = {}
    for i, path in enumerate(submitted, 1):
        name = path.relative_to(folder).as_posix()
        owner = _owner(path, folder, course)
        key = _digest([*settings, owner, course, _content(path)])
        record = known.get(name, {})
        kept = record.get("key") == key and not again
        if not kept:
            rows = _graded(path, course, owner, limits, full)
            record = {"key": key, "rows": [{**row, "file": name} for row in rows]}
        records[name] = record
        if not kept:  # after each, so that an interrupted run goes on where it was
            write_json(out / "grades.json", known | records, overwrite=True)
        say(f"{i}/{len(submitted)} {name}: {_summary(record['rows'])}"
            + (" (as before)" if kept else ""))  # fmt: skip
    write_json(out / "grades.json", records, overwrite=True)
    rows = [row for record in records.values() for row in record["rows"]]
    _write(out / "grades.csv", as_csv(rows))
    _write(out / "grades.md", markdown(rows, limits, full))
    return rows


def _submissions(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder. Name the folder of the class.")
    found = sorted(folder.glob("*.ipynb")) + sorted(folder.glob("*/*.ipynb"))
    parts = [(path, path.relative_to(folder).parts) for path in found]
    found = [p for p, own in parts if not any(part.startswith(".") for part in own)]
    if not found:
        raise ValueError(
            f"{folder} holds no notebooks. Expected {folder}/STUDENT/NOTEBOOK.ipynb or "
            f"{folder}/STUDENT_NOTEBOOK.ipynb."
        )
    return found


def _course(notebooks: Sequence[str | os.PathLike] | None) -> dict[str, list[str]]:
    """Name of each notebook of the course -> its exercises, in order."""
    paths = [
        Path(p) for p in (notebooks if notebooks is not None else find_notebooks())
    ]
    read = {path.stem: tasks(read_notebook(path), path.name) for path in paths}
    return {stem: [task.name for task in own] for stem, own in read.items()}


def _owner(path: Path, folder: Path, course: dict[str, list[str]]) -> tuple[str, str]:
    """The student, and the notebook of the course ("" where it cannot be told)."""
    named = [stem for stem in course if stem.lower() in path.stem.lower()]
    notebook = max(named, key=len, default="")
    if path.parent != folder:
        return path.parent.name, notebook
    at = path.stem.lower().find(notebook.lower())
    rest = path.stem[:at] + path.stem[at + len(notebook) :]
    return rest.strip(" _-.") or path.stem, notebook


def _graded(
    path: Path,
    course: dict[str, list[str]],
    owner: tuple[str, str],
    limits: Limits,
    full: bool,
) -> list[dict[str, Any]]:
    student, notebook = owner

    def row(name: str, status: str, message: str = "", seconds: float = 0.0) -> dict:
        return {
            "student": student,
            "notebook": notebook or path.stem,
            "exercise": name,
            "level": EXERCISES[name].level if name in EXERCISES else "",
            "status": status,
            "message": message,
            "seconds": round(seconds, 1),
        }

    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"{path} is larger than {_LARGEST >> 20} MiB.")
        book = read_notebook(path)
        answers = programs(book)
    except ValueError as error:
        return [
            row(name, "unreadable", str(error))
            for name in course.get(notebook, [_WHOLE])
        ]
    if not notebook:
        shared = {stem: len(answers.keys() & set(own)) for stem, own in course.items()}
        best = max(shared, key=lambda stem: shared[stem], default="")
        notebook = best if best and shared[best] else ""
    owed = course.get(notebook)
    if owed is None:
        return [row(_WHOLE, "missing", "It has no exercise of the course.")]
    rows = [row(*found) for found in mark_answers(owed, answers, limits)]
    if full:
        rows.append(row(_WHOLE, *run_all(book, limits)))
    return rows


def _summary(rows: Sequence[dict[str, Any]]) -> str:
    own = [row for row in rows if row["exercise"] != _WHOLE]
    passed = sum(row["status"] == "passed" for row in own)
    whole = [row["status"] for row in rows if row["exercise"] == _WHOLE]
    parts = [f"{passed} of {len(own)} passed"] if own else []
    return ", ".join(parts + whole)


def _write(path: Path, text: str) -> None:
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _known(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    known = read_json(path)
    if not isinstance(known, dict) or not all(
        isinstance(own, dict) and isinstance(own.get("rows"), list)
        for own in known.values()
    ):
        raise ValueError(f"{path} is not what grading has written. Delete it.")
    return known


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checks_digest() -> str:
    folder = Path(exercises.__file__).parent
    return _digest([path.read_text("utf-8") for path in sorted(folder.glob("*.py"))])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
