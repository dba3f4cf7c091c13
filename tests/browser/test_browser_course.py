"""The first notebook as a reader meets it: JupyterLab, a browser, a keyboard, a mouse.

The tests share one page in which the notebook has run from top to bottom, and follow
each other as a reader goes on; pictures of each step are kept (see conftest.py).
"""

import re
from pathlib import Path

import numpy as np
import pytest

from browser.figures import camera, canvas_picture, crossing_titles, shown, sticking_out
from browser.pictures import check_painted
from mrpd_tutorial import exercises

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "00_start_here.ipynb"
ANSWERED = re.compile(r"\(\d+\.\d s\)$")
SOON = 300_000  # milliseconds

# Everything a status line says from now on.
LISTEN = """(line) => {
  window.said = [];
  new MutationObserver(() => window.said.push(line.textContent))
    .observe(line, {childList: true, characterData: true, subtree: true});
}"""


@pytest.fixture(scope="module")
def course(open_notebook):
    page = open_notebook(NOTEBOOK, "course")
    page.run_all()
    page.shot("ran")
    return page


@pytest.fixture
def explorer(course):
    """The cell of the attack explorer, in view."""
    cell = course.scroll_to(course.index_of("AttackExplorer(lab"))
    cell.get_by_role("slider", name="eps", exact=True).wait_for()
    cell.locator(".js-plotly-plot canvas").nth(1).wait_for()
    return cell


def expected():
    return pytest.importorskip("playwright.sync_api").expect


def say(cell, pattern):
    """Wait until the widget's status line says something; it comes back."""
    line = cell.get_by_role("status")
    expected()(line).to_have_text(pattern, timeout=SOON)
    return line.inner_text()


def test_the_notebook_runs_from_top_to_bottom(course):
    counts = course.counts()
    assert counts == list(range(1, len(counts) + 1))
    assert course.complaints() == [], "errors, or words on stderr"
    for name in exercises.THEMES["00 start here"]:
        printed = course.text(course.index_of(f'exercises.check("{name}"'))
        assert f"{name}: not attempted. Going on with the reference." in printed
    assert course.errors == [], "the browser's console"
    assert course.foreign == [], "the page asked for something outside this machine"


def test_the_clouds_are_drawn(course, explorer):
    gallery = course.index_of("plotting.attack_figure")
    for place, cell in (
        ("explorer", explorer),
        ("gallery", course.scroll_to(gallery)),
    ):
        cell.locator(".js-plotly-plot canvas").first.wait_for()
        canvases = cell.locator(".js-plotly-plot canvas").all()
        assert len(canvases) >= 2
        for canvas in canvases:
            check_painted(canvas_picture(canvas))
        with pytest.raises(AssertionError, match="blank"):
            check_painted(canvas_picture(canvases[0], hidden=True))
        course.shot(f"clouds_{place}")


def test_arrow_keys_move_eps_and_cloud_and_bars_follow(course, explorer):
    figure = explorer.locator(".js-plotly-plot")
    canvas = explorer.locator("#scene canvas")
    attacked = explorer.locator("#scene2 canvas")
    page = course.page
    say(explorer, ANSWERED)
    started = camera(figure)

    # A reader turns the first cloud: the second turns too, and both stay so.
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 70, y + 10, steps=6)
    page.mouse.up()
    page.wait_for_function(
        """([gd, old]) => ["scene", "scene2"].every((name) =>
          Math.abs(gd._fullLayout[name]._scene.getCamera().eye.x - old) > 0.1)""",
        arg=[figure.element_handle(), started[0]],
    )
    turned = camera(figure)
    np.testing.assert_allclose(camera(figure, "scene2"), turned, atol=1e-3)
    course.shot("turned")

    before, picture = shown(figure), canvas_picture(attacked)
    explorer.get_by_role("combobox", name="View").focus()
    page.keyboard.press("Tab")
    eps = explorer.get_by_role("slider", name="eps", exact=True)
    expected()(eps).to_be_focused()
    chosen = course.active()
    explorer.get_by_role("status").evaluate(LISTEN)
    for _ in range(8):  # from 0.05 in steps of 0.005
        page.keyboard.press("ArrowRight")
    expected()(eps).to_have_value("0.09")
    page.wait_for_function(
        "(gd) => gd._fullLayout.title.text.includes('eps 0.09')",
        arg=figure.element_handle(),
    )
    told = say(explorer, ANSWERED)
    course.shot("eps")

    said = page.evaluate("window.said")
    assert any("attacking with PGD" in line for line in said), said
    assert re.match("PGD: the undefended student", told)
    assert course.active() == chosen, "the arrow keys moved the notebook's selection"
    after = shown(figure)
    (clean, _, old), (same, _, new) = before["clouds"], after["clouds"]
    assert clean == same, "the clean cloud changed"
    ways = [
        np.linalg.norm(np.array(c["points"]) - np.array(clean["points"]), axis=0)
        for c in (old, new)
    ]
    assert ways[0].max() == pytest.approx(0.05, abs=1e-3)
    assert ways[1].max() == pytest.approx(0.09, abs=1e-3)
    assert canvas_picture(attacked) != picture
    bars = zip(before["bars"], after["bars"], strict=True)
    moved = {"clean": 0.0, "attacked": 0.0}
    for one, other in bars:
        # Which other classes are shown may change: the true one is always first.
        change = abs(one["chances"][0] - other["chances"][0])
        moved[one["name"]] = max(moved[one["name"]], change)
    assert moved["clean"] < 1e-6 and moved["attacked"] > 1e-3
    np.testing.assert_allclose(camera(figure), turned, atol=1e-3)
    np.testing.assert_allclose(camera(figure, "scene2"), turned, atol=1e-3)


def test_every_control_has_a_name(explorer):
    names = {
        "combobox": ["Object", "Attack", "Made on", "View"],
        "slider": ["eps", "Steps"],
    }
    for role, known in names.items():
        assert explorer.get_by_role(role).count() == len(known)
        for name in known:
            assert explorer.get_by_role(role, name=name, exact=True).count() == 1
    assert explorer.get_by_role("status").count() == 1
    reached = explorer.locator(".jp-OutputArea").first.locator(
        "select, input, button, a[href], [tabindex='0']"
    )
    assert reached.count() >= 6
    for control in reached.all():
        expected()(control).to_have_accessible_name(re.compile(r"\w"))


@pytest.mark.parametrize("width", [800, 1280])
def test_nothing_sticks_out(course, explorer, width):
    figure = explorer.locator(".js-plotly-plot")
    area = explorer.locator(".jp-OutputArea").first
    course.page.set_viewport_size({"width": width, "height": 1500})
    course.page.wait_for_function(
        """([gd, width]) => window.innerWidth === width
          && Math.abs(gd._fullLayout.width - gd.parentElement.clientWidth) < 3""",
        arg=[figure.element_handle(), width],
    )
    course.scroll_to(course.index_of("AttackExplorer(lab"))
    course.shot(f"width_{width}")
    assert sticking_out(area) == []
    assert crossing_titles(figure) == []


def answer(page, name, right_or_wrong):
    """Put an answer into the stub of an exercise and run its cell."""
    index = page.index_of(f'exercises.check("{name}"')
    source = page.source(index)
    assert "raise NotImplementedError" in source
    return index, source.replace("raise NotImplementedError", right_or_wrong)


def test_a_wrong_answer_is_told_why_and_a_right_one_praised(course):
    course.page.set_viewport_size({"width": 1280, "height": 1000})
    index, wrong = answer(
        course, "accuracy", "return (logits.argmax(dim=1) == labels).sum()"
    )
    stub = course.source(index)
    course.write(index, wrong)
    course.run(index)
    cell = course.cell(index)
    cell.get_by_text("accuracy: not yet.").wait_for()
    course.shot("wrong_answer")
    told = cell.locator(".jp-OutputArea").first.inner_text()
    assert "That is a count: divide by the number of clouds." in told
    assert "Going on with the reference." in told

    # The right one is typed, over all that stands there.
    right = wrong.replace(").sum()", ").float().mean()")
    cell.locator(".cm-content").click()
    course.page.keyboard.press("Control+A")
    course.page.keyboard.insert_text(right)
    assert course.source(index) == right
    course.run(index)
    cell.get_by_text("accuracy: passed.").wait_for()
    course.shot("right_answer")
    told = " ".join(cell.locator(".jp-OutputArea").first.inner_text().split())
    assert exercises.EXERCISES["accuracy"].tested in told
    assert "student, clean:" in told and "not yet" not in told
    course.write(index, stub)
    assert course.complaints() == [] and course.errors == []


def test_cells_run_twice_out_of_order_and_after_a_restart(course, explorer):
    places = ("tune_allocator()", "environment_summary()", "AttackExplorer(lab")
    setup, data, widget = map(course.index_of, places)
    course.run(widget)  # once more: another widget in place of the first
    say(explorer, ANSWERED)
    assert explorer.get_by_role("slider", name="eps", exact=True).count() == 1

    course.run(course.index_of("attack = PGD.quick()"), wait=False)
    course.restart_kernel()  # in the middle of it
    course.run(widget)  # before anything that it needs
    assert course.outputs(widget)[0]["ename"] == "NameError"
    for index in (setup, setup, data, widget):
        course.run(index)
    explorer.locator(".js-plotly-plot canvas").nth(1).wait_for()
    say(explorer, ANSWERED)
    assert all(o["output_type"] != "error" for o in course.outputs(widget))

    figure = explorer.locator(".js-plotly-plot")
    explorer.get_by_role("slider", name="eps", exact=True).press("ArrowLeft")
    course.page.wait_for_function(
        "(gd) => gd._fullLayout.title.text.includes('eps 0.045')",
        arg=figure.element_handle(),
    )
    check_painted(canvas_picture(explorer.locator("#scene2 canvas")))
    course.shot("restarted")
    assert course.errors == [] and course.foreign == []
