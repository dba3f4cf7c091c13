"""The notebooks keep the house's rules, and their solutions pass their own checks."""

import ast
import json
import math
import re
from pathlib import Path

import pytest
import torch

from mrpd_tutorial import exercises

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str | None = None) -> list[str]:
    book = json.loads(path.read_text(encoding="utf-8"))
    return [
        "".join(cell["source"])
        for cell in book["cells"]
        if kind in (None, cell["cell_type"])
    ]


def plain(code: str) -> str:
    """Code without what only a notebook understands."""
    return "\n".join(line for line in code.splitlines() if not line.startswith("%"))


def solutions(path: Path) -> list[str]:
    return [
        found
        for text in cells(path, "markdown")
        for found in re.findall(r"Solution</summary>\s+```python\n(.*?)```", text, re.S)
    ]


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 3


@each
def test_outputs_are_stripped_and_the_kernel_is_python(path):
    book = json.loads(path.read_text(encoding="utf-8"))
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])


@each
def test_a_cell_is_one_idea(path):
    for code in cells(path, "code"):
        lines = code.splitlines()
        assert len(lines) <= 25, f"{len(lines)} lines:\n{code}"
        for line in lines:
            assert len(line) <= 88, f"{len(line)} columns: {line}"
        ast.parse(plain(code))


@each
def test_prose_between_cells_is_short(path):
    book = json.loads(path.read_text(encoding="utf-8"))
    closing = False
    for cell in book["cells"]:
        text = "".join(cell["source"])
        closing = closing or text.startswith(("## Limits", "## References"))
        if cell["cell_type"] == "code" or text.startswith("# "):
            continue
        shown = re.sub(r"<details>.*?</details>", "", text, flags=re.S)
        if not closing:
            count = len(shown.split())
            assert count <= 120, f"{count} words: {text[:60]}"


@each
def test_the_order_of_parts(path):
    texts = cells(path)
    assert re.match(r"# \d+ · ", texts[0]) and "minutes" in texts[0]
    assert texts[1].startswith("**After this notebook you can**")
    objectives = re.findall(r"^\d\. ", texts[1], re.M)
    assert 3 <= len(objectives) <= 5
    assert len(re.findall(r"\(check:\s", texts[1])) >= len(objectives)
    assert texts[2].startswith("import mrpd_tutorial"), "the setup cell comes third"
    assert "QUICK = True" in texts[2]
    headings = [t.splitlines()[0] for t in texts if t.startswith("## ")]
    tail = ["## Exercises", "## Summary", "## Limits, and paper against released code"]
    assert headings[-4:] == [*tail, "## References"]
    sections = [t for t in texts if re.match(r"## \d", t)]
    assert sections
    for text in sections:
        assert "**Question.**" in text and "**Prediction.**" in text, text
    assert sum("**Reading.**" in t for t in texts) == len(sections)


@each
def test_prose_holds_no_results(path):
    """Numbers in prose are computed: no percentage is typed."""
    for text in cells(path, "markdown"):
        assert not re.search(r"\d\s?%", text), text


@each
def test_nothing_outside_is_needed(path):
    text = "\n".join(cells(path))
    for word in ("http:", "https:", "requests", "urllib", "!pip", "%pip", "MRPD_DATA"):
        assert word not in text
    assert not re.search(r"[\"'](/|[A-Z]:\\\\)\w", text), "an absolute path"


@each
def test_three_exercises_with_hint_and_solution(path):
    text = "\n".join(cells(path, "markdown"))
    assert len(re.findall(r"^### Exercise \d: ", text, re.M)) == 3
    assert (
        len(re.findall(r"^\*(Easy|Medium|Hard), about \d+ minutes\.\*", text, re.M))
        == 3
    )
    assert text.count("<summary>Hint</summary>") == 3
    assert len(solutions(path)) == 3


@each
def test_solutions_pass_and_stubs_are_not_attempted(path, capsys):
    stubs = [code for code in cells(path, "code") if "NotImplementedError" in code]
    assert len(stubs) == 3
    for stub, solution in zip(stubs, solutions(path), strict=True):
        function, name = re.search(
            r"(\w+) = exercises\.check\(\"(\w+)\"", stub
        ).groups()
        space = {"torch": torch, "math": math, "exercises": exercises}
        definition = stub[: stub.index(f"{function} = exercises")]
        exec(definition, space)
        exercises.check(name, space[function])
        assert f"{name}: not attempted" in capsys.readouterr().out
        exec(solution, space)
        assert exercises.check(name, space[function]) is space[function]
        assert f"{name}: passed" in capsys.readouterr().out


def test_every_exercise_is_used_once():
    text = "\n".join("\n".join(cells(path, "code")) for path in NOTEBOOKS)
    used = re.findall(r"exercises\.check\(\"(\w+)\"", text)
    assert sorted(used) == sorted(exercises.EXERCISES)
