"""The notebooks keep the house's rules, and their solutions pass their own checks."""

import ast
import json
import math
import re
from pathlib import Path

import pytest
import torch

from mrpd_tutorial import exercises
from mrpd_tutorial.course import read_notebook, tasks
from mrpd_tutorial.exercises import EXERCISES, LEVELS

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

# Exercises whose checks are ready and whose notebook is not. Take a name out when a
# notebook checks it; at the end of the course this is empty.
NOT_YET_USED: set[str] = set()

_EXERCISE = re.compile(
    r"### Exercise (\d+): .+\n\n"
    rf"\*({'|'.join(level.title() for level in LEVELS)}), about (\d+) minutes\.\*"
)


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


def shown(text: str) -> str:
    """Prose without what is folded away."""
    return re.sub(r"<details>.*?</details>", "", text, flags=re.S)


def section(path: Path, heading: str) -> list[str]:
    """The cells from a heading of level two up to the next."""
    texts = cells(path)
    start = next(i for i, text in enumerate(texts) if text.startswith(heading))
    ends = [i for i in range(start + 1, len(texts)) if texts[i].startswith("## ")]
    return texts[start : min(ends, default=len(texts))]


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 3
    numbers = [path.name[:3] for path in NOTEBOOKS]
    assert all(re.fullmatch(r"\d\d_", number) for number in numbers)
    assert len(set(numbers)) == len(numbers), "two notebooks have one number"


@each
def test_outputs_are_stripped_and_the_kernel_is_python(path):
    book = json.loads(path.read_text(encoding="utf-8"))
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    assert "widgets" not in book["metadata"], "the state of widgets is stored"
    for cell in book["cells"]:
        assert not cell.get("attachments"), "a picture is stored in a cell"
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            assert not set(cell["metadata"]) & {"execution", "scrolled", "collapsed"}
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    kinds = {cell["cell_type"] for cell in book["cells"]}
    assert kinds == {"code", "markdown"}


@each
def test_a_cell_is_one_idea(path):
    for code in cells(path, "code"):
        assert code.strip(), "an empty cell"
        lines = code.splitlines()
        assert len(lines) <= 25, f"{len(lines)} lines:\n{code}"
        for line in lines:
            assert len(line) <= 88, f"{len(line)} columns: {line}"
        ast.parse(plain(code))


@each
def test_prose_between_cells_is_short(path):
    book = json.loads(path.read_text(encoding="utf-8"))
    closing, words = False, 0
    for cell in book["cells"]:
        text = "".join(cell["source"])
        closing = closing or text.startswith(("## Limits", "## References"))
        if cell["cell_type"] == "code" or text.startswith("# "):
            continue
        assert text.strip(), "an empty cell"
        words = len(shown(text).split())
        assert closing or words <= 120, f"{words} words: {text[:60]}"


@each
def test_the_opening_says_what_it_takes(path):
    opening = cells(path)[0]
    number = int(path.stem[:2])
    assert re.match(rf"# {number} · \S", opening), f"the title begins '# {number} · '"
    minutes = re.search(r"\*(\d+) minutes to read and try", opening)
    assert minutes, "how long it takes"
    tried = sum(int(m[3]) for text in cells(path) if (m := _EXERCISE.match(text)))
    assert int(minutes[1]) >= tried + 15, f"{tried} minutes are for the exercises"
    assert "quick mode" in opening and "full" in opening, "quick and full"
    assert "Needs" in opening, "what it needs"
    assert len(opening.split()) <= 150


@each
def test_each_objective_names_the_check_that_shows_it(path):
    text = cells(path)[1]
    assert text.startswith("**After this notebook you can**")
    found = re.split(r"^(\d)\. ", text, flags=re.M)[1:]
    numbers, objectives = found[::2], found[1::2]
    assert 3 <= len(objectives) <= 5
    assert numbers == [str(i) for i in range(1, len(numbers) + 1)]
    sections = {t.split()[1].rstrip(".") for t in cells(path) if re.match(r"## \d", t)}
    for objective in objectives:
        check = re.search(r"\(check:\s(.+?)\)", objective, re.S)
        assert check, f"no check: {objective}"
        named = re.findall(r"exercises? (\d+)", check[1])
        for number in named:
            assert f"### Exercise {number}:" in "\n".join(cells(path)), objective
        for number in re.findall(r"sections? (\d+)", check[1]):
            assert number in sections, f"there is no section {number}: {objective}"
    assert any("exercise" in objective for objective in objectives)


@each
def test_the_setup_cell_is_safe_to_run_twice(path):
    texts = cells(path)
    setup = texts[2]
    assert setup.startswith("import mrpd_tutorial"), "the setup cell comes third"
    assert "QUICK = True" in setup
    for text in cells(path, "code")[1:]:
        assert "QUICK =" not in text, "QUICK is set in the setup cell alone"
    for node in ast.walk(ast.parse(plain(setup))):
        assert not isinstance(node, ast.AugAssign), "running it twice adds twice"


@each
def test_the_order_of_parts(path):
    texts = cells(path)
    headings = [t.splitlines()[0] for t in texts if t.startswith("## ")]
    tail = ["## Exercises", "## Summary", "## Limits, and paper against released code"]
    assert headings[-4:] == [*tail, "## References"]
    sections = [t for t in texts if re.match(r"## \d", t)]
    assert sections
    assert [int(t.split()[1][:-1]) for t in sections] == list(
        range(1, 1 + len(sections))
    )
    for text in sections:
        assert "**Question.**" in text and "**Prediction.**" in text, text
        assert "**Reading.**" in "\n".join(section(path, text.splitlines()[0])), text
    assert sum("**Reading.**" in t for t in texts) == len(sections)
    assert re.search(r"^- .*\S", "\n".join(section(path, tail[2])), re.M), "no limits"
    summary = section(path, "## Summary")
    assert len(summary) > 1 and "print" in summary[1], "a summary is computed"


@each
def test_prose_holds_no_results(path):
    """Numbers in prose are computed: no percentage is typed."""
    for text in cells(path, "markdown"):
        assert not re.search(r"\d\s?%", text), text
        assert not re.search(r"\d percent\b", text), text


@each
def test_nothing_outside_is_needed(path):
    text = "\n".join(cells(path))
    for word in ("http:", "https:", "requests", "urllib", "!pip", "%pip", "MRPD_DATA"):
        assert word not in text
    assert not re.search(r"[\"'](/|[A-Z]:\\\\)\w", text), "an absolute path"
    named = re.findall(r"`(\d\d_\w+)`", text)
    for name in named:
        assert (FOLDER / f"{name}.ipynb").is_file(), f"there is no notebook {name}"


@each
def test_every_exercise_has_all_its_parts(path):
    """Heading, level and minutes as its check has them, stub, check, hint, solution."""
    own = tasks(read_notebook(path), path.name)
    assert len(own) >= 3
    texts = section(path, "## Exercises")
    heads = [m for text in texts if (m := _EXERCISE.match(text))]
    assert len([t for t in texts if t.startswith("### Exercise")]) == len(heads)
    assert [int(head[1]) for head in heads] == list(range(1, 1 + len(own)))
    for head, task in zip(heads, own, strict=True):
        wanted = EXERCISES[task.name]
        said = head[2].lower(), int(head[3])
        assert said == (wanted.level, wanted.minutes), f"{task.name}: {said}"
        assert task.hint, f"{task.name} has no hint"
        assert task.solution, f"{task.name} has no solution"
        code = cells(path)[task.cell]
        stub = ast.parse(plain(code)).body[0]
        assert isinstance(stub, ast.FunctionDef) and stub.name == task.attempt
        assert ast.get_docstring(stub), f"{task.name}: the stub says no shapes"
        assert len(stub.body) == 2 and isinstance(stub.body[1], ast.Raise)
        line = f'{task.attempt} = exercises.check("{task.name}", {task.attempt})'
        assert line in code, "a wrong attempt goes on with the reference"


@each
def test_solutions_pass_and_stubs_are_not_attempted(path, capsys):
    for task in tasks(read_notebook(path), path.name):
        space = {"torch": torch, "math": math, "exercises": exercises}
        lines = plain(cells(path)[task.cell]).splitlines()
        exec("\n".join(lines[task.first - 1 : task.last]), space)
        exercises.check(task.name, space[task.attempt])
        assert f"{task.name}: not attempted" in capsys.readouterr().out
        exec(task.solution, space)
        right = space[task.attempt]
        assert exercises.check(task.name, right) is right
        assert f"{task.name}: passed" in capsys.readouterr().out


def test_every_check_is_used_by_one_notebook_or_not_yet():
    used = [
        task.name
        for path in NOTEBOOKS
        for task in tasks(read_notebook(path), path.name)
    ]
    twice = {name for name in used if used.count(name) > 1}
    assert not twice, f"checked in two notebooks: {twice}"
    done = NOT_YET_USED & set(used)
    assert not done, f"used by now, take them out of NOT_YET_USED: {done}"
    left = set(EXERCISES) - set(used) - NOT_YET_USED
    assert not left, f"no notebook has these exercises: {left}"
    gone = NOT_YET_USED - set(EXERCISES)
    assert not gone, f"there are no such exercises: {gone}"
