"""The rules for notebooks can fail: each notices a notebook that breaks it."""

import json
import re

import pytest
import test_notebooks_lint as lint


def swap(pattern, new):
    def change(book):
        for cell in book["cells"]:
            text = "".join(cell["source"])
            cell["source"] = re.sub(pattern, new, text, flags=re.M)

    return change


def drop_last_cell(book):
    del book["cells"][-1]


def store_an_output(book):
    book["cells"][2]["outputs"] = [{"output_type": "stream", "text": "x"}]


STRIPPED = lint.test_outputs_are_stripped_and_the_kernel_is_python
OPENING = lint.test_the_opening_says_what_it_takes
OBJECTIVES = lint.test_each_objective_names_the_check_that_shows_it
SETUP = lint.test_the_setup_cell_is_safe_to_run_twice
ORDER = lint.test_the_order_of_parts
PARTS = lint.test_every_exercise_has_all_its_parts


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        (STRIPPED, store_an_output),
        (lint.test_a_cell_is_one_idea, swap("QUICK = True", "pass\n" * 25)),
        (lint.test_a_cell_is_one_idea, swap("QUICK = True", "#" * 89)),
        (lint.test_prose_between_cells_is_short, swap("Question", "word " * 120)),
        (OPENING, swap("Needs", "Takes")),
        (OPENING, swap(r"^# \d+ ·", "# 77 ·")),
        (OPENING, swap(r"\d+ minutes", "some minutes")),
        (OPENING, swap(r"\*\d+ minutes to", "*25 minutes to")),
        (OBJECTIVES, swap(r"\(check:", "(see:")),
        (OBJECTIVES, swap(r"exercise \d", "exercise 9")),
        (OBJECTIVES, swap(r"^[34]\. ", "- ")),
        (SETUP, swap("QUICK = True", "ALL = 1")),
        (ORDER, drop_last_cell),
        (ORDER, swap(r"\*\*Prediction\.\*\*", "")),
        (ORDER, swap(r"\*\*Reading\.\*\*", "")),
        (lint.test_prose_holds_no_results, swap("Question", "About 40 % fall.")),
        (lint.test_nothing_outside_is_needed, swap("QUICK", "https://a.org")),
        (PARTS, swap(r"about \d+ minutes\.\*", "about 99 minutes.*")),
        (PARTS, swap("Hint</", "Help</")),
        (PARTS, swap("Solution</", "Answer</")),
        (PARTS, swap(r'check\("\w+"', 'check("gone"')),
        (PARTS, swap("raise NotImplementedError", "pass")),
        (PARTS, swap(r"^\w+ = exercises\.check", "exercises.check")),
    ],
)
def test_a_rule_notices(tmp_path, rule, change):
    path = lint.NOTEBOOKS[0]
    rule(path)
    book = json.loads(path.read_text(encoding="utf-8"))
    change(book)
    broken = tmp_path / path.name
    broken.write_text(json.dumps(book), encoding="utf-8")
    with pytest.raises((AssertionError, ValueError)):
        rule(broken)
