"""The explorers' figures and their twins, and Open3D with and without a display."""

import inspect
import math
import re
import sys

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from matplotlib.figure import Figure

from mrpd_tutorial import plotting
from mrpd_tutorial.plotting import explorer, explorer_data, open3d_live
from mrpd_tutorial.plotting import static_twin as twin

CLOUD = torch.rand(64, 3, generator=torch.Generator().manual_seed(0)) - 0.5
MAPS = torch.rand(2, 20, 20, generator=torch.Generator().manual_seed(1))
NAMES = ("chair", "table", "lamp")
OPINIONS = {
    "student": [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]],
    "teacher": [[0.6, 0.3, 0.1], [0.6, 0.2, 0.2]],
}
ROW = {f"{kind}_image": 0.5 for kind in ("loss", "pass", "weight")}
HISTORY = [
    {"epoch": e, **ROW, "val_clean": 0.5, "val_attacked": 0.2} for e in range(1, 5)
]
SEEN = (MAPS[0], MAPS[1], OPINIONS, NAMES, 0)
GATE = ([0.1, 0.9, 0.6], [False, True, True], [0, 0, 2], [1, 0, 1], NAMES)
CALLS = [
    (plotting.explorer_figure, (CLOUD, CLOUD + 0.1, *SEEN), {"eps": 0.2}),
    (plotting.explorer_figure, (CLOUD, CLOUD[9:], *SEEN), {"view_name": "front"}),
    (plotting.gate_figure, GATE, {"x_label": "probability", "level": 0.5}),
    (plotting.dashboard_figure, (HISTORY,), {"floor": -0.8}),
]


@pytest.mark.parametrize(("make", "args", "kwargs"), CALLS)
def test_both_forms_are_drawn(make, args, kwargs):
    assert isinstance(make(*args, title="A title", **kwargs), go.Figure)
    assert isinstance(twin(make)(*args, title="A title", **kwargs), Figure)


def test_every_figure_has_a_twin_with_the_same_arguments():
    for name in explorer.__all__:
        make = getattr(plotting, name)
        assert inspect.signature(make).parameters.keys() == (
            inspect.signature(twin(make)).parameters.keys()
        )


def test_removed_points_are_found_and_kept_ones_have_not_moved():
    change = explorer_data.change(CLOUD, CLOUD[9:])
    np.testing.assert_array_equal(np.flatnonzero(change.removed), range(9))
    assert (change.moved == 0).all()
    assert change.summary == "N = 64 points, 55 after the attack, 9 removed"


def test_added_points_are_counted():
    more = torch.cat([CLOUD, CLOUD[:3] + 0.01])
    change = explorer_data.change(CLOUD, more)
    assert not change.removed.any() and (change.moved[64:] > 0).all()
    assert change.summary.endswith("67 after the attack, 3 added or moved")


def test_the_gate_counts_who_passes_and_who_of_those_is_named_rightly():
    figure = plotting.gate_figure(*GATE, x_label="probability", level=0.5)
    passed, stopped = figure.data
    assert passed.x.tolist() == pytest.approx([0.9, 0.6]) and len(stopped.x) == 1
    told = figure.layout.title.subtitle.text.replace("<br>", " ")
    assert told.startswith("n = 3 clouds, 66.7% pass; the teacher names 50.0% of those")
    assert list(figure.layout.yaxis.ticktext) == ["chair 1/2", "table 0/0", "lamp 1/1"]
    assert figure.layout.shapes[0].x0 == 0.5


def test_a_soft_gate_is_weighed():
    rate, precision = explorer_data.gate_numbers([0.75, 0.25], [True, False])
    assert (rate, precision) == (0.5, 0.75)
    rate, precision = explorer_data.gate_numbers([False], [True])
    assert rate == 0 and math.isnan(precision)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: explorer_data.gate_numbers([True], [True, False]), "one number a sam"),
        (
            lambda: plotting.gate_figure([0.1], [1], [0, 1], [0], NAMES, x_label=""),
            r"one entry a sample, \(B,\); received \(1,\), \(1,\), \(2,\)",
        ),
        (
            lambda: plotting.dashboard_figure([{"epoch": 1, "loss_image": 1.0}]),
            "columns for clouds that pass the gate, learned weights, validation",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture
def no_display(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="elsewhere there is a display"
)
def test_without_a_display_the_answer_is_a_picture_or_a_sentence(no_display):
    assert not open3d_live.has_display()
    answer = plotting.open3d_window(CLOUD, width=64, height=48)
    if isinstance(answer, str):
        assert answer.endswith(".")
    else:
        assert answer.shape == (48, 64, 3) and answer.min() < 200


def test_with_a_display_a_window_stays_open_and_nobody_waits(monkeypatch):
    pytest.importorskip("open3d", reason="without it no window is tried")
    monkeypatch.setenv("DISPLAY", ":0")
    script = "import sys, time; open(sys.argv[2], 'w').close(); time.sleep(600)"
    monkeypatch.setattr(open3d_live, "_SCRIPT", script)
    answer = plotting.open3d_window(CLOUD)
    window = open3d_live._WINDOWS.pop()
    still_open = window.poll() is None
    window.kill()
    window.wait()
    assert still_open and "window of its own" in answer


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("raise OSError('no screen')", r"\(status 1: OSError: no screen\)"),
        ("import time; time.sleep(60)", r"\(none within 1 seconds\)"),
    ],
)
def test_where_neither_works_a_sentence_says_why(monkeypatch, script, fault):
    pytest.importorskip("open3d", reason="without it no window is tried")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(open3d_live, "_SCRIPT", script)
    monkeypatch.setattr(open3d_live, "open3d_image", lambda *args: "No driver.")
    answer = plotting.open3d_window(CLOUD, timeout=1)
    assert "window did not open" in answer and answer.endswith("No driver.")
    assert re.search(fault, answer)


def test_where_the_window_fails_the_picture_comes(monkeypatch):
    pytest.importorskip("open3d", reason="without it no window is tried")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(open3d_live, "_SCRIPT", "raise SystemExit(3)")
    picture = np.zeros((2, 2, 3), dtype=np.uint8)
    monkeypatch.setattr(open3d_live, "open3d_image", lambda *args: picture)
    assert plotting.open3d_window(CLOUD) is picture


def test_values_that_are_not_there_yet_are_no_nan():
    keys = [f"{kind}_text" for kind in ("loss", "pass", "weight")]
    row = {"epoch": 1, **dict.fromkeys([*keys, "val_clean", "val_attacked"], math.nan)}
    figure = plotting.dashboard_figure([row])
    values = [value for trace in figure.data for value in trace.y]
    assert values and not any(isinstance(value, float) for value in values)
