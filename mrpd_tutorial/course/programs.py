"""From a submitted notebook to the least program that holds an answer.

Only what a function needs is taken: its definition, and the imports, functions, classes
and literal constants it names, from any cell above its check. Other statements (loops,
prints, assignments to other modules) are never run. A function that uses variables of
the notebook (clouds, models) therefore stops with a NameError; the exercises ask for
functions of their arguments.
"""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mrpd_tutorial.course.notebook import check_calls, code_cells
from mrpd_tutorial.exercises import EXERCISES

__all__ = ["Program", "programs"]

_CHECKS = ("mrpd_tutorial.exercises", "mrpd_tutorial.course")
_TABLES = {"exercises", "EXERCISES", "THEMES"}
# No exercise needs these, and through each of them an answer finds its judge.
_DOORS = {
    "IPython",
    "__main__",
    "builtins",
    "ctypes",
    "gc",
    "importlib",
    "inspect",
    "sys",
}
_CALLS = {"__import__", "eval", "exec", "get_ipython", "globals"}


@dataclass(frozen=True)
class Program:
    """A submitted answer.

    Args:
        source: Python that defines it; "" where there is a fault.
        attempt: name of the function in it.
        fault: status and message of an answer that cannot be run, or None.
    """

    source: str = ""
    attempt: str = ""
    fault: tuple[str, str] | None = None


def programs(book: dict[str, Any]) -> dict[str, Program]:
    """Name of an exercise -> the answer in a notebook; of several checks the last.

    Args:
        book: from `read_notebook`.
    """
    found: dict[str, Program] = {}
    bound: dict[str, list[ast.stmt]] = {}
    for i, text in code_cells(book):
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            for name in re.findall(r"\bcheck\(\s*[\"'](\w+)[\"']", text):
                if name in EXERCISES:
                    message = f"{type(error).__name__} in its cell ({i}): {error}"
                    found[name] = Program(fault=("stopped", message))
            continue
        for node in tree.body:
            for name, attempt in check_calls(node):
                found[name] = _program(attempt, bound)
            _bind(node, bound)
    return found


def _bind(node: ast.stmt, bound: dict[str, list[ast.stmt]]) -> None:
    """Remember what a statement defines, if it is of a kind that may be run."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            name = alias.asname or alias.name.split(".")[0]
            single: ast.stmt = (
                ast.Import(names=[alias])
                if isinstance(node, ast.Import)
                else ast.ImportFrom(node.module, [alias], node.level)
            )
            # `import a.b` adds to what `import a` bound, and * to *; others replace.
            adds = name == "*" or isinstance(node, ast.Import)
            before = [n for n in bound.get(name, ()) if adds and type(n) is type(node)]
            bound[name] = [*before, single]
    elif isinstance(node, ast.FunctionDef | ast.ClassDef):
        bound[node.name] = [node]
    elif isinstance(node, ast.Assign | ast.AnnAssign) and _is_plain(node.value):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if isinstance(target, ast.Name):
                bound[target.id] = [node]


def _is_plain(value: ast.expr | None) -> bool:
    """Whether a value is a literal or a lambda: making it runs nothing."""
    if value is None or isinstance(value, ast.Lambda):
        return value is not None
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _program(attempt: ast.expr, bound: dict[str, list[ast.stmt]]) -> Program:
    if isinstance(attempt, ast.Name) and attempt.id not in bound:
        return Program(
            fault=(
                "stopped",
                f"{attempt.id} is not defined by a def or a lambda above its check.",
            )
        )
    chosen: list[ast.stmt] = []
    todo = [attempt] if not isinstance(attempt, ast.Name) else list(bound[attempt.id])
    seen: set[int] = set()
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, ast.stmt):
            chosen.append(node)
        for name in _names(node):
            todo += bound.get(name, ())
    for star in bound.get("*", ()):
        chosen.append(star)
    reached = next(filter(None, map(_reaches, [attempt, *chosen])), None)
    if reached:
        return Program(
            fault=(
                "not counted",
                f"It reaches for the checks themselves ({reached}), instead of "
                "answering.",
            )
        )
    order = {id(n): i for i, n in enumerate(n for own in bound.values() for n in own)}
    # Imports and constants before what uses them when it is defined (defaults, bases).
    chosen.sort(key=lambda n: (not _comes_first(n), order.get(id(n), 0)))
    lines = [ast.unparse(ast.fix_missing_locations(node)) for node in chosen]
    name = attempt.id if isinstance(attempt, ast.Name) else "_attempt"
    if not isinstance(attempt, ast.Name):
        lines.append(f"_attempt = {ast.unparse(attempt)}")
    return Program(source="\n".join(lines), attempt=name)


def _comes_first(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign)


def _names(node: ast.AST) -> Iterable[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _reaches(node: ast.AST) -> str | None:
    """By what a piece of code gets at the checks or their references, or None."""
    for inner in ast.walk(node):
        words: list[str] = []
        if isinstance(inner, ast.Import):
            words = [alias.name for alias in inner.names]
        elif isinstance(inner, ast.ImportFrom):
            words = [f"{inner.module}.{alias.name}" for alias in inner.names]
        elif isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            words = [inner.value] if " " not in inner.value else []  # not a docstring
        elif isinstance(inner, ast.Name) and inner.id in _TABLES | _CALLS:
            return inner.id
        elif isinstance(inner, ast.Attribute) and inner.attr in _TABLES:
            return inner.attr
        for word in words:
            module = isinstance(inner, ast.Import | ast.ImportFrom)
            if word.startswith(_CHECKS) or (module and word.split(".")[0] in _DOORS):
                return word
    return None
