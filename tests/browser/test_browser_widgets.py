"""The gate explorer and the distillation dashboard in a browser, on a small lab."""

import re

import nbformat
import pytest

from browser.figures import shown, sticking_out

pytestmark = pytest.mark.slow

SOON = 300_000  # milliseconds

SETUP = """\
import mrpd_tutorial
from fake_lab import clouds, fake_lab, quick
from mrpd_tutorial.widgets import DistillationDashboard, GateExplorer"""
GATE = 'GateExplorer(fake_lab(), clouds("val", 24))'
DASHBOARD = """\
train, val = clouds("train", 16), clouds("val", 8, seed=1)
DistillationDashboard(fake_lab(), train, val, quick(epochs=3000))"""


@pytest.fixture(scope="module")
def page(open_notebook, tmp_path_factory):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text) for text in (SETUP, GATE, DASHBOARD)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    path = tmp_path_factory.mktemp("widgets") / "widgets.ipynb"
    nbformat.write(notebook, path)
    opened = open_notebook(path, "widgets")
    opened.run_all()
    assert opened.complaints() == []
    yield opened
    assert opened.errors == [] and opened.foreign == []


def tell(cell, pattern):
    """Wait until the status line says something; it comes back."""
    from playwright.sync_api import expect

    line = cell.get_by_role("status")
    expect(line).to_have_text(re.compile(pattern), timeout=SOON)
    return line.inner_text()


def level_shown(page, figure, level):
    """Wait until the figure's dotted line stands there."""
    page.page.wait_for_function(
        """([gd, level]) =>
          Math.abs((gd._fullLayout.shapes?.[0]?.x0 ?? NaN) - level) < 1e-6""",
        arg=[figure.element_handle(), level],
    )


def test_dragging_the_gates_level_lets_others_pass(page):
    cell = page.scroll_to(page.index_of("GateExplorer("))
    figure = cell.locator(".js-plotly-plot")
    level = cell.get_by_role("slider", name="Level", exact=True)
    level.wait_for()
    assert level.is_disabled(), "the paper's gate has no level"
    cell.get_by_role("combobox", name="Gate", exact=True).select_option("threshold")
    level_shown(page, figure, 0.5)
    assert level.is_enabled()
    box = level.bounding_box()
    y, middle = box["y"] + box["height"] / 2, box["x"] + box["width"] / 2
    before = shown(figure)
    page.page.mouse.move(middle, y)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 0.06 * box["width"], y, steps=8)
    page.page.mouse.up()
    chosen = float(level.input_value())
    assert chosen < 0.1
    level_shown(page, figure, chosen)
    page.shot("gate")
    after = shown(figure)
    assert before["level"] == [0.5]
    passed = {}
    for name, drawn in (("before", before), ("after", after)):
        (inside, outside) = drawn["lines"]
        assert [inside["name"], outside["name"]] == ["passes", "does not pass"]
        assert len(inside["x"]) + len(outside["x"]) == 24
        passed[name] = len(inside["x"])
    assert passed["after"] > passed["before"]
    assert min(after["lines"][0]["x"]) >= chosen
    told = tell(cell, rf"^{passed['after']} of 24 clouds pass")
    assert "named rightly" in told
    names = {"combobox": ["Teacher", "Gate"], "slider": ["k", "Level", "τ"]}
    for role, known in names.items():
        assert cell.get_by_role(role).count() == len(known)
        for name in known:
            assert cell.get_by_role(role, name=name, exact=True).count() == 1
    assert sticking_out(cell.locator(".jp-OutputArea").first) == []


def test_the_dashboard_starts_pauses_goes_on_and_stops(page):
    cell = page.scroll_to(page.index_of("DistillationDashboard("))
    figure = cell.locator(".js-plotly-plot")

    def press(name):
        cell.get_by_role("button", name=name, exact=True).click()

    tell(cell, "^Ready: Start begins the distillation")
    assert cell.get_by_role("button", name="Pause", exact=True).is_disabled()
    page.shot("dashboard_ready")
    press("Start")
    tell(cell, r"epoch \d+ of 3000: loss")
    press("Pause")
    paused = tell(cell, r"^Paused after \d+ of 3000 epochs")
    page.shot("dashboard_paused")
    losses = [t for t in shown(figure)["lines"] if t["y"]]
    assert losses and len(losses[0]["y"]) >= 1
    press("Continue")
    tell(cell, r"epoch \d+ of 3000: loss")
    press("Stop")
    stopped = tell(cell, r"^Stopped after \d+ of 3000 epochs; Continue goes on there")
    page.shot("dashboard_stopped")
    epochs = [int(re.search(r"after (\d+) of", t)[1]) for t in (paused, stopped)]
    assert epochs[1] > epochs[0] >= 1
    longest = max(len(line["y"]) for line in shown(figure)["lines"])
    assert longest == epochs[1], "the figure does not end where the run ended"
    assert cell.get_by_role("button", name="Continue", exact=True).is_enabled()
    assert sticking_out(cell.locator(".jp-OutputArea").first) == []
