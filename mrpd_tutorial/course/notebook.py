"""A notebook as a file, and the exercises in it: stub, check, hint, solution."""

import ast
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrpd_tutorial
from mrpd_tutorial.exercises import EXERCISES
from mrpd_tutorial.runtime import atomic_path

__all__ = [
    "Task",
    "check_calls",
    "code_cells",
    "find_notebooks",
    "python_only",
    "read_notebook",
    "source",
    "tasks",
    "write_notebook",
]

FOLDED = re.compile(
    r"<details[^>]*>\s*<summary>\s*(?P<kind>\w+)\s*</summary>(?P<body>.*?)</details>",
    re.DOTALL,
)
_FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Task:
    """One exercise as it stands in a notebook.

    Args:
        name: of the exercise, one of EXERCISES.
        cell: index of the cell with the stub and the check.
        attempt: name of the reader's function.
        first, last: lines of the cell, counted from 1, that hold the stub.
        hint: text of the folded hint, or None.
        solution: code of the folded solution, or None.
    """

    name: str
    cell: int
    attempt: str
    first: int
    last: int
    hint: str | None
    solution: str | None


def find_notebooks(folder: str | os.PathLike | None = None) -> list[Path]:
    """The course's notebooks in order.

    Args:
        folder: where they are; None: `notebooks` beside the package, or right here.

    Raises:
        FileNotFoundError: if there are none.
    """
    beside = Path(mrpd_tutorial.__file__).resolve().parents[1] / "notebooks"
    folders = [beside, Path("notebooks")] if folder is None else [Path(folder)]
    for place in folders:
        found = sorted(place.glob("*.ipynb"))
        if found:
            return found
    raise FileNotFoundError(
        f"No notebooks in {' or '.join(str(place) for place in folders)}. Name the "
        "course's folder with --notebooks; a clone of the repository has it."
    )


def read_notebook(path: str | os.PathLike) -> dict[str, Any]:
    """Read a notebook of format 4.

    Raises:
        ValueError: naming the file, if it is missing, damaged or of an old format.
    """
    try:
        book = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable notebook: {error}.") from error
    whole = isinstance(book, dict) and isinstance(book.get("cells"), list)
    if not whole or book.get("nbformat") != 4:
        raise ValueError(
            f"{path} is not a notebook of format 4. Open it in JupyterLab and save it."
        )
    for i, cell in enumerate(book["cells"]):
        fits = isinstance(cell, dict) and isinstance(cell.get("cell_type"), str)
        if not fits or not isinstance(cell.get("source"), str | list):
            raise ValueError(f"{path} is damaged: cell {i} has no type or no source.")
        if not all(isinstance(line, str) for line in cell["source"]):
            raise ValueError(f"{path} is damaged: the source of cell {i} is no text.")
    return book


def write_notebook(
    path: str | os.PathLike, book: dict[str, Any], overwrite: bool = False
) -> None:
    """Write a notebook as JupyterLab lays it out, whole or not at all.

    Raises:
        FileExistsError: if there is one and overwrite is False.
    """
    text = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")


def source(cell: dict[str, Any]) -> str:
    """A cell's text; on disk it may be one string or a list of lines."""
    return "".join(cell["source"])


def python_only(text: str) -> str:
    """Code in which the lines that only IPython understands are comments."""
    lines = text.split("\n")
    return "\n".join(
        f"# {line}" if line.startswith(("%", "!", "?")) else line for line in lines
    )


def code_cells(book: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """Index and Python text of each code cell."""
    for i, cell in enumerate(book["cells"]):
        if cell["cell_type"] == "code":
            yield i, python_only(source(cell))


def check_calls(tree: ast.AST) -> list[tuple[str, ast.expr]]:
    """Of each call `exercises.check("name", attempt)` the name and the attempt."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        function, first = node.func, node.args[0]
        called = getattr(function, "attr", getattr(function, "id", None))
        if called != "check" or not isinstance(first, ast.Constant):
            continue
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        attempt = node.args[1] if len(node.args) > 1 else named.get("attempt")
        if attempt is not None and first.value in EXERCISES:
            found.append((first.value, attempt))
    return found


def tasks(book: dict[str, Any], where: str = "the notebook") -> list[Task]:
    """The exercises of one of the course's own notebooks.

    Args:
        book: from `read_notebook`.
        where: its name, for messages.

    Raises:
        ValueError: if a cell is no Python, or checks what no stub in it defines.
    """
    found: list[tuple[int, str, str, ast.FunctionDef]] = []
    for i, text in code_cells(book):
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            raise ValueError(f"{where}, cell {i} is no Python: {error}.") from error
        stubs = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
        for name, attempt in check_calls(tree):
            stub = stubs.get(getattr(attempt, "id", ""))
            if stub is None:
                raise ValueError(
                    f"{where}, cell {i} checks {name!r}, but has no stub for it: "
                    "define the function in the same cell, above the check."
                )
            found.append((i, name, stub.name, stub))
    ends = [i for i, *_ in found[1:]] + [len(book["cells"])]
    rows = []
    for (i, name, attempt, stub), end in zip(found, ends, strict=True):
        folded = _folded(book["cells"][i + 1 : end])
        code = _FENCED.search(folded.get("Solution", ""))
        rows.append(
            Task(
                name=name,
                cell=i,
                attempt=attempt,
                first=stub.lineno,
                last=stub.end_lineno or stub.lineno,
                hint=folded.get("Hint", "").strip() or None,
                solution=code.group(1) if code else None,
            )
        )
    return rows


def _folded(cells: list[dict[str, Any]]) -> dict[str, str]:
    """Title -> text of the folded blocks that follow an exercise."""
    text = "\n".join(source(c) for c in cells if c["cell_type"] == "markdown")
    return {match["kind"]: match["body"] for match in FOLDED.finditer(text)}
