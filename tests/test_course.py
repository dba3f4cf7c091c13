"""Copies of the notebooks, and grading what comes back, whatever it does."""

import csv
import json
import sys
import time
from pathlib import Path

import pytest
import torch
from small_course import CLASS, NAME, SOLUTIONS, STUBS, code, notebook, right, save

from mrpd_tutorial import cli, exercises
from mrpd_tutorial.course import (
    Limits,
    find_notebooks,
    grade,
    marking,
    read_notebook,
    student_copy,
    tasks,
    teacher_copy,
    write_copies,
)
from mrpd_tutorial.course.grade_table import as_csv, markdown
from mrpd_tutorial.course.judging import Judge, off
from mrpd_tutorial.course.kernel import Kernel, Ran
from mrpd_tutorial.course.notebook import source
from mrpd_tutorial.course.programs import Program, programs
from mrpd_tutorial.exercises import EXERCISES, judge

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def text_of(book):
    return "\n".join(source(cell) for cell in book["cells"])


def statuses(book):
    """Name -> status and message of the answers, judged in this process."""
    found = {}
    judge_here = Judge()
    for name, answer in programs(book).items():
        if answer.fault:
            found[name] = answer.fault
            continue
        judge_here.judge(name, answer.source, answer.attempt)
        word, *verdict = json.loads(judge_here.verdict("word"))
        assert word == "word"
        found[name] = tuple(verdict)
    return found


# ---------------------------------------------------------------------------- copies


@each
def test_a_student_copy_has_hints_and_no_solutions(path):
    book = read_notebook(path)
    copied = student_copy(book, path.name)
    text = text_of(copied)
    assert "Solution" not in text
    assert text.count("<summary>Hint</summary>") == text_of(book).count("Hint</summ")
    own = tasks(copied)
    assert [task.name for task in own] == [task.name for task in tasks(book)]
    assert all(task.hint and task.solution is None for task in own)
    assert {status for status, _ in statuses(copied).values()} == {"not attempted"}


@each
def test_the_solutions_of_a_teacher_copy_pass(path):
    book = read_notebook(path)
    before = json.dumps(book)
    copied = teacher_copy(book, path.name)
    assert json.dumps(book) == before, "the original was changed"
    assert "NotImplementedError" not in text_of(copied)
    found = statuses(copied)
    assert list(found) == [task.name for task in tasks(book)]
    assert {status for status, _ in found.values()} == {"passed"}, found


@each
def test_copies_are_valid_notebooks_without_outputs(path):
    nbformat = pytest.importorskip("nbformat")
    for make in (student_copy, teacher_copy):
        copied = make(read_notebook(path), path.name)
        nbformat.validate(nbformat.from_dict(copied))
        for cell in copied["cells"]:
            assert cell.get("outputs", []) == []
            assert cell.get("execution_count") is None


def test_a_copy_keeps_the_lines_around_a_stub():
    cell = source(teacher_copy(notebook())["cells"][2])
    assert cell.startswith("def mine(logits, labels):\n    return float(")
    assert cell.endswith('mine = exercises.check("accuracy", mine)\nprint(done)')


def test_cells_with_the_tag_solution_are_left_out():
    book = notebook()
    book["cells"].append(code("answer = 42"))
    book["cells"][-1]["metadata"]["tags"] = ["solution"]
    assert "answer = 42" not in text_of(student_copy(book))
    assert "answer = 42" in text_of(teacher_copy(book))


def test_a_solution_that_would_stay_is_refused():
    book = notebook()
    book["cells"][3]["source"] = "<details><summary>Solution</summary>\n\n42"
    with pytest.raises(ValueError, match=r"here\.ipynb: a solution could not be taken"):
        student_copy(book, "here.ipynb")


def test_an_exercise_without_a_solution_is_named():
    book = student_copy(notebook())
    with pytest.raises(ValueError, match="exercise 'worst_case' has no solution"):
        teacher_copy(book)


def test_a_check_without_a_stub_is_named():
    book = notebook()
    book["cells"].append(code('exercises.check("gate", elsewhere)'))
    with pytest.raises(ValueError, match="cell 10 checks 'gate', but has no stub"):
        tasks(book, "here")
    book["cells"][-1]["source"] = "def broken(:"
    with pytest.raises(ValueError, match="here, cell 10 is no Python"):
        tasks(book, "here")


def test_copies_are_written_whole_and_never_over_others(tmp_path, capsys):
    course = save(tmp_path / "course" / f"{NAME}.ipynb", notebook())
    out = tmp_path / "out"
    arguments = ["course", "student", str(out), "--notebooks", str(course.parent)]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == f"{out / course.name}\n"
    assert read_notebook(out / course.name) == student_copy(notebook())
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert "exists already and is kept" in said and "--overwrite" in said
    arguments[1] = "teacher"
    assert cli.main([*arguments, "--overwrite"]) == 0
    assert read_notebook(out / course.name) == right()
    assert [path.name for path in out.iterdir()] == [course.name]


def test_the_course_is_not_overwritten_with_copies(tmp_path):
    course = save(tmp_path / f"{NAME}.ipynb", notebook())
    with pytest.raises(ValueError, match="the folder of the notebooks themselves"):
        write_copies("student", tmp_path, [course], overwrite=True)
    with pytest.raises(ValueError, match="kind must be one of 'student', 'teacher'"):
        write_copies("pupil", tmp_path / "out", [course])


def test_the_courses_notebooks_are_found(tmp_path):
    assert find_notebooks() == NOTEBOOKS
    with pytest.raises(FileNotFoundError, match=r"No notebooks in .*--notebooks"):
        find_notebooks(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not a readable notebook"),
        ("[]", "is not a notebook of format 4"),
        ('{"nbformat": 3, "cells": []}', "is not a notebook of format 4"),
        ('{"nbformat": 4, "cells": [{}]}', "cell 0 has no type or no source"),
        (
            '{"nbformat": 4, "cells": [{"cell_type": "code", "source": [1]}]}',
            "the source of cell 0 is no text",
        ),
    ],
)
def test_what_is_no_notebook_is_named(tmp_path, text, said):
    path = save(tmp_path / "a.ipynb", text)
    with pytest.raises(ValueError, match=said):
        read_notebook(path)
    with pytest.raises(ValueError, match="does not exist"):
        read_notebook(tmp_path / "b.ipynb")


# --------------------------------------------------------- answers out of a notebook


def answer(*cells):
    return programs({"cells": [code(text) for text in cells]})


def test_an_answer_takes_what_it_names_and_nothing_else():
    found = answer(
        "%matplotlib inline\nimport torch, os as system\nfrom math import sqrt, pi",
        "scale = 2.0\nbad = print('run')\nraise SystemExit\n"
        "def helper(x):\n    return sqrt(x) * scale",
        "def mine(points):\n    return helper(points)\n\n\nfor _ in range(3): mine(1)\n"
        'mine = exercises.check("normalise", mine)',
    )["normalise"]
    assert found.attempt == "mine"
    assert "from math import sqrt" in found.source and "scale = 2.0" in found.source
    for other in ("torch", "system", "pi", "print", "SystemExit", "for", "check"):
        assert other not in found.source
    space = {}
    exec(found.source, space)
    assert space["mine"](4.0) == 4.0


def test_the_definition_above_the_check_counts():
    found = answer(
        "def mine(p):\n    return 1",
        "def mine(p):\n    return 2\nexercises.check('normalise', mine)",
        "def mine(p):\n    return 3",
    )["normalise"]
    assert "return 2" in found.source and "return 3" not in found.source


@pytest.mark.parametrize(
    "text",
    [
        "exercises.check('worst_case', lambda c: float(c.all(0).float().mean()))",
        "mine = lambda c: float(c.all(0).float().mean())\n"
        "exercises.check('worst_case', attempt=mine)",
        "from math import *\n"
        "def mine(c):\n    return fabs(float(c.all(0).float().mean()))\n"
        "exercises.check('worst_case', mine)",
    ],
)
def test_answers_may_have_other_forms(text):
    assert statuses({"cells": [code(text)]})["worst_case"][0] == "passed"


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("def mine(p:\nexercises.check('gate', mine)", "stopped", "SyntaxError in its"),
        ("exercises.check('gate', mine)", "stopped", "mine is not defined by a def"),
        (
            "def mine(p):\n    return EXERCISES['gate'].reference(p)\n"
            "exercises.check('gate', mine)",
            "not counted",
            "reaches for the checks themselves (EXERCISES)",
        ),
        (
            "def mine(p):\n    from mrpd_tutorial.exercises.gate import _test_gate\n"
            "exercises.check('gate', mine)",
            "not counted",
            "(mrpd_tutorial.exercises.gate._test_gate)",
        ),
        (
            "import gc as harmless\ndef mine(p):\n    return harmless.get_objects()\n"
            "exercises.check('gate', mine)",
            "not counted",
            "(gc)",
        ),
        (
            "def mine(p):\n    return __import__('mrpd_tutorial.exercises')\n"
            "exercises.check('gate', mine)",
            "not counted",
            "instead of answering",
        ),
    ],
)
def test_answers_that_are_not_run(text, status, said):
    fault = answer(text)["gate"].fault
    assert fault[0] == status and said in fault[1]


def test_a_docstring_may_speak_of_exercises():
    found = answer(
        'def mine(p):\n    """mrpd_tutorial.exercises tests this."""\n    return p\n'
        "exercises.check('gate', mine)"
    )["gate"]
    assert found.fault is None


# ------------------------------------------------------------------------ the judge


@pytest.mark.parametrize("name", EXERCISES)
def test_no_exercise_passes_what_is_a_little_off(name):
    exercise = EXERCISES[name]
    found = judge(exercise, lambda *given: off(exercise.reference(*given)))
    assert found.status in ("not yet", "stopped"), found


def test_a_pass_does_not_count_when_the_checks_were_changed(monkeypatch):
    name = "worst_case"
    module = exercises.robustness
    monkeypatch.setattr(module, "expect", module.expect)  # put back afterwards
    source = (
        "def mine(correct):\n"
        "    import mrpd_tutorial\n"
        "    mrpd_tutorial.exercises.robustness.expect = lambda *given: None\n"
        "    return 2.0"
    )
    judge_here = Judge()
    judge_here.judge(name, source, "mine")
    assert json.loads(judge_here.verdict("w"))[1] in ("not yet", "not counted")
    judge_here.judge(name, source, "mine")
    _, status, said = json.loads(judge_here.verdict("w"))
    assert status == "not counted" and "checks were changed" in said


def test_a_pass_does_not_count_when_torch_was_changed(monkeypatch):
    monkeypatch.setattr(torch, "isfinite", torch.isfinite)
    monkeypatch.setattr(torch.Tensor, "abs", torch.Tensor.abs)
    source = (
        "import torch\n"
        "def mine(clean, moved, eps):\n"
        "    torch.Tensor.abs = lambda self: 0 * self\n"
        "    return clean"
    )
    judge_here = Judge()
    judge_here.judge("into_ball", source, "mine")
    _, status, said = json.loads(judge_here.verdict("w"))
    assert status == "not counted", said


def test_an_answer_does_not_switch_off_gradients_for_the_next():
    judge_here = Judge()
    switched = "import torch\ndef f(*x):\n torch.set_grad_enabled(False)\n return 0"
    judge_here.judge("accuracy", switched, "f")
    assert json.loads(judge_here.verdict("w"))[1] == "not yet"
    judge_here.judge(
        "worst_case", "def f(c): return float(c.all(0).double().mean())", "f"
    )
    assert torch.is_grad_enabled()
    assert json.loads(judge_here.verdict("w"))[1] == "passed"


def test_an_answer_that_cannot_be_defined_is_stopped():
    judge_here = Judge()
    assert "ended without a verdict" in judge_here.verdict("w")
    judge_here.judge("accuracy", "import no_such_module", "f")
    _, status, said = json.loads(judge_here.verdict("w"))
    assert status == "stopped" and "ModuleNotFoundError" in said


# -------------------------------------------------------------------------- a class


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A class of five, graded with 3 s an exercise."""
    folder = tmp_path_factory.mktemp("class")
    course = [save(tmp_path_factory.mktemp("course") / f"{NAME}.ipynb", notebook())]
    for student, answers in CLASS.items():
        save(folder / student / f"{NAME}.ipynb", notebook(answers))
    save(folder / f"fay_{NAME}.ipynb", student_copy(notebook()))
    save(folder / "=gus" / f"{NAME} (1).ipynb", "{")
    save(folder / ".ipynb_checkpoints" / f"{NAME}.ipynb", notebook())
    limits, said = Limits(seconds=3), []
    started = time.monotonic()
    rows = grade(folder, notebooks=course, limits=limits, say=said.append)
    return folder, course, limits, rows, said, time.monotonic() - started


def of(rows, student):
    return {r["exercise"]: r["status"] for r in rows if r["student"] == student}


@pytest.mark.slow
def test_every_answer_of_a_class_is_judged(graded):
    _, _, _, rows, said, _ = graded
    assert of(rows, "ada") == {
        "accuracy": "passed",
        "normalise": "crashed",
        "changed_share": "time limit",
        "worst_case": "passed",
    }
    assert of(rows, "bob") == {
        "accuracy": "not yet",
        "normalise": "not attempted",
        "changed_share": "stopped",
        "worst_case": "stopped",
    }
    assert of(rows, "fay") == dict.fromkeys(STUBS, "not attempted")
    assert of(rows, "=gus") == dict.fromkeys(STUBS, "unreadable")
    assert "passed" not in of(rows, "eve").values(), of(rows, "eve")
    assert of(rows, "eve")["changed_share"] == "not counted"
    assert of(rows, "eve")["worst_case"] == "not counted"
    messages = {(r["student"], r["exercise"]): r["message"] for r in rows}
    assert "name 'befor' is not defined" in messages["bob", "changed_share"]
    assert "name 'done' is not defined" in messages["bob", "worst_case"]
    assert "after 3 s" in messages["ada", "changed_share"]
    assert len(said) == 5 and any(
        "ada/01_small.ipynb: 2 of 4 passed" in s for s in said
    )


@pytest.mark.slow
def test_the_tables_hold_every_row_and_no_formula(graded):
    folder, _, _, rows, _, _ = graded
    with (folder / "grades.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(rows) == 5 * 4
    assert {row["student"] for row in read} == {"ada", "bob", "eve", "fay", "'=gus"}
    text = (folder / "grades.md").read_text()
    assert "| ada     | 2 of 4 | passed" in text
    assert "ada/01_small.ipynb, changed_share, time limit: after 3 s" in text


@pytest.mark.slow
def test_what_is_unchanged_is_not_run_again(graded):
    folder, course, limits, rows, _, _ = graded
    said = []
    started = time.monotonic()
    again = grade(folder, notebooks=course, limits=limits, say=said.append)
    assert again == rows
    assert time.monotonic() - started < 5
    assert all("(as before)" in line for line in said)
    # A submission that is gone leaves the table; one that has changed is run again.
    (folder / "bob" / f"{NAME}.ipynb").unlink()
    save(folder / "=gus" / f"{NAME} (1).ipynb", "[")
    rows = grade(folder, notebooks=course, limits=limits, say=said.append)
    assert of(rows, "bob") == {}
    assert ["(as before)" in line for line in said[5:]].count(False) == 1


@pytest.mark.slow
def test_whole_notebooks_run_through_or_say_where_they_stop(tmp_path):
    course = [save(tmp_path / "course" / f"{NAME}.ipynb", notebook())]
    book = right()
    book["cells"] = [*book["cells"][:2], code("done = bytearray(2**33)")]
    save(tmp_path / "class" / f"hal_{NAME}.ipynb", book)
    arguments = ["grade", str(tmp_path / "class"), "--notebooks"]
    arguments += [str(course[0].parent), "--out", str(tmp_path / "out"), "--full"]
    assert cli.main(arguments) == 0
    rows = json.loads((tmp_path / "out" / "grades.json").read_text())
    (record,) = rows.values()
    found = {row["exercise"]: row for row in record["rows"]}
    assert found["accuracy"]["status"] == "missing"
    whole = found["(whole notebook)"]
    assert whole["status"] == "error"
    assert whole["message"].startswith("cell 2: MemoryError")
    assert not (tmp_path / "class" / "grades.csv").exists()


@pytest.mark.slow
def test_a_kernel_runs_through_and_is_ended(tmp_path):
    with Kernel(tmp_path) as kernel:
        ran = kernel.run("x = 6\nprint('x')", 60, "x * 7")
        assert (ran.status, ran.value) == ("ok", 42)
        assert kernel.run("input()", 10).message.startswith("StdinNotImplementedError")
        late = kernel.run("try:\n while True: pass\nexcept BaseException: pass", 1)
        assert late.status == "time limit" and late.seconds < 5
    kernel.close()


def test_a_notebook_is_known_by_its_exercises(tmp_path):
    course = [save(tmp_path / "course" / f"{NAME}.ipynb", notebook())]
    other = {**notebook(), "cells": [code("print('passed')")]}
    save(tmp_path / "class" / "ida" / "holiday.ipynb", other)
    answers = "def f(:\n mine = exercises.check('accuracy', f)"
    save(tmp_path / "class" / "jim" / "mine.ipynb", {**other, "cells": [code(answers)]})
    rows = grade(tmp_path / "class", notebooks=course, say=lambda text: None)
    assert of(rows, "ida") == {"(whole notebook)": "missing"}
    assert of(rows, "jim") == {"accuracy": "stopped"} | dict.fromkeys(
        list(STUBS)[1:], "missing"
    )


def test_a_folder_without_a_class_is_named(tmp_path, capsys):
    assert cli.main(["grade", str(tmp_path / "none")]) == 2
    assert "is not a folder. Name the folder of the class" in capsys.readouterr().err
    assert cli.main(["grade", str(tmp_path)]) == 2
    assert "holds no notebooks. Expected" in capsys.readouterr().err
    save(tmp_path / "kim" / f"{NAME}.ipynb", notebook())
    save(tmp_path / "grades.json", "[]")
    assert cli.main(["grade", str(tmp_path)]) == 2
    assert "is not what grading has written. Delete it" in capsys.readouterr().err
    assert cli.main(["grade", str(tmp_path), "--seconds", "0"]) == 2
    assert "seconds must be above 0" in capsys.readouterr().err


class Lost(Kernel):
    """A kernel that answers as it is told to."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def __call__(self, folder):
        return self

    def run(self, *given):
        return self.answers.pop(0)

    def close(self):
        pass


@pytest.mark.parametrize(
    ("told", "status", "said"),
    [
        ([Ran("ok", value='["?", "passed", ""]')], "not counted", "tampered with"),
        ([Ran("ok", value="passed")], "not counted", "tampered with"),
        ([Ran("ok", value=None)], "not counted", "tampered with"),
        ([Ran("crashed", "its process ended")], "crashed", "its process ended"),
    ],
)
def test_a_verdict_without_the_word_does_not_count(monkeypatch, told, status, said):
    kernel = Lost(Ran("ok"), Ran("ok"), *told)
    monkeypatch.setattr(marking, "Kernel", kernel)
    answers = {"accuracy": Program(source="", attempt="f")}
    (found,) = marking.mark_answers(["accuracy"], answers, Limits())
    assert found[1] == status and said in found[2]


def test_a_kernel_that_does_not_start_is_named(monkeypatch):
    monkeypatch.setattr(marking, "Kernel", Lost(Ran("crashed", "its process ended")))
    answers = {"accuracy": Program(source="", attempt="f")}
    with pytest.raises(ValueError, match=r"No kernel could be started .*4096 MiB"):
        marking.mark_answers(["accuracy"], answers, Limits())


def test_missing_kernels_are_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jupyter_client", None)
    with pytest.raises(ValueError, match=r"pip install 'mrpd_tutorial\[notebooks\]'"):
        Kernel(tmp_path)


def test_a_huge_file_is_not_read(monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["mrpd_tutorial.course.grade"], "_LARGEST", 10)
    course = [save(tmp_path / "course" / f"{NAME}.ipynb", notebook())]
    save(tmp_path / "class" / f"lea_{NAME}.ipynb", notebook())
    rows = grade(tmp_path / "class", notebooks=course, say=lambda text: None)
    assert of(rows, "lea") == dict.fromkeys(STUBS, "unreadable")
    assert "is larger than" in rows[0]["message"]


def test_tables_escape_what_students_write():
    row = {
        "student": "a|b",
        "notebook": "01",
        "exercise": "gate",
        "level": "easy",
        "status": "stopped",
        "message": "=1+1\n<script>",
        "seconds": 0.1,
        "file": "-x",
    }
    assert as_csv([row]).splitlines()[1].startswith("a|b,01,gate,easy,stopped,\"'=1+1")
    text = markdown([row], Limits(), True)
    assert "a\\|b" in text and "=1+1 &lt;script>" in text and "<script" not in text
    assert "Whole notebooks were run as well" in text


def test_solutions_of_the_small_course_are_right():
    assert sorted(SOLUTIONS) == sorted(STUBS)
    found = statuses(right())
    assert {status for status, _ in found.values()} == {"passed"}, found
