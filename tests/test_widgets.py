"""Widgets without a browser: controls are set, and what is shown must follow."""

import re
import subprocess
import sys
import threading
import time

import ipywidgets
import numpy as np
import pytest
import torch
from fake_lab import CLASSES, clouds, fake_lab, quick
from torch import nn

from mrpd_tutorial import gates
from mrpd_tutorial.attacks import PGD
from mrpd_tutorial.distill import distill
from mrpd_tutorial.plotting import palette
from mrpd_tutorial.widgets import (
    ATTACK_CHOICES,
    AttackChoice,
    AttackExplorer,
    DistillationDashboard,
    GateExplorer,
)
from mrpd_tutorial.widgets.background import LatestOnly, Superseded, Watched
from mrpd_tutorial.widgets.controls import Slider

DATA = clouds("test", 8)
TRAIN, VAL = clouds("train", 16), clouds("val", 8, seed=1)
SOON = 60  # seconds after which a test gives up waiting


def explorer(**options):
    return AttackExplorer(fake_lab(), DATA, **{"delay": 0.01, **options})


def shown(widget, name):
    """The array of the first trace of that name that has points."""
    for trace in widget.figure.data:
        if trace.name == name and trace.x is not None and len(trace.x):
            return np.asarray(trace.x)
    raise AssertionError(f"no trace {name}")


def attacked_points(widget):
    trace = widget.figure.data[2]
    return np.stack([np.asarray(trace[axis]) for axis in "xyz"], 1)


def bars(widget):
    """Probabilities by model, clean and attacked."""
    return [np.asarray(t.x) for t in widget.figure.data if t.type == "bar"]


def widgets():
    dashboard = DistillationDashboard(fake_lab(), TRAIN, VAL, quick())
    return [explorer(), GateExplorer(fake_lab(), VAL), dashboard]


def test_every_control_has_a_name_and_a_tooltip_and_takes_the_focus():
    for widget in widgets():
        for control in widget.controls.values():
            assert control.description and control.tooltip
            # Each is one of the browser's own: a list, a button, or a range input.
            kinds = (ipywidgets.Dropdown, ipywidgets.Button, Slider)
            assert isinstance(control, kinds)
            assert getattr(control, "tabbable", None) is not False
        assert 'input.type = "range"' in Slider._esm
        assert "label.append(name, input)" in Slider._esm
        assert '"role", "status"' in widget.status._esm


def test_the_tab_key_meets_the_controls_in_their_order():
    for widget in widgets():
        row, status = widget.box.children[:2]
        assert row.children == tuple(widget.controls.values())
        assert status is widget.status


def test_the_first_answer_is_there_at_once():
    widget = explorer()
    assert re.match(
        r"PGD: the undefended student .*\(\d+\.\d s\)$", widget.status.value
    )
    assert widget.status.kind == "ready"
    assert len(bars(widget)) == 2 * 3  # clean and attacked, three models


def test_a_larger_eps_moves_points_further_and_changes_the_bars():
    widget = explorer()
    for eps in (0.02, 0.1):
        widget.controls["eps"].value = eps
        assert widget.wait(SOON)
        moved = attacked_points(widget) - DATA.points[0].numpy()
        lengths = np.linalg.norm(moved, axis=1)
        assert 0.5 * eps < lengths.max() <= eps + 1e-6
        np.testing.assert_allclose(
            widget.figure.data[2].marker.color, lengths, atol=1e-6
        )
        assert f"eps {eps:g}" in widget.figure.layout.title.text
    before = bars(widget)
    widget.controls["eps"].value = 0.0
    widget.wait(SOON)
    np.testing.assert_array_equal(attacked_points(widget), DATA.points[0].numpy())
    after = bars(widget)
    assert not np.allclose(before[1], after[1]), "the attacked bars do not follow"
    np.testing.assert_allclose(after[0], after[1], atol=1e-6)


def test_maps_and_bars_are_those_of_the_models():
    widget = explorer()
    widget.controls["view"].value = 1
    widget.wait(SOON)
    points = torch.from_numpy(attacked_points(widget))[None]
    lab = fake_lab()
    maps = lab.image_teacher.render(points, lab.image_teacher.views, 32)[0, 1]
    clean, attacked, difference = (
        np.asarray(t.z) for t in widget.figure.data if t.type == "heatmap"
    )
    np.testing.assert_allclose(attacked, maps, atol=1e-5)
    np.testing.assert_allclose(difference, attacked - clean, atol=1e-6)
    teacher = lab.classifiers(CLASSES)["point teacher"]
    expected = teacher(points).softmax(1)[0]
    last = widget.figure.data[-1]
    names = [str(name).removesuffix("<br>(true)") for name in last.y]
    order = [CLASSES.index(name) for name in names]
    np.testing.assert_allclose(np.asarray(last.x), expected[order], atol=1e-5)


def test_the_camera_stays_and_both_clouds_turn_together():
    widget = explorer()
    eye = {"x": 2.0, "y": 0.1, "z": 0.3}
    widget.figure.layout.scene.camera = {"eye": eye}
    assert widget.figure.layout.scene2.camera.eye.to_plotly_json() == eye
    revision = widget.figure.layout.uirevision
    widget.controls["eps"].value = 0.1
    widget.controls["object"].value = 2
    widget.wait(SOON)
    assert "rod" not in widget.figure.layout.title.text
    for scene in (widget.figure.layout.scene, widget.figure.layout.scene2):
        assert scene.camera.eye.to_plotly_json() == eye
    assert revision == widget.figure.layout.uirevision == "keep"


def test_another_view_does_not_attack_again():
    made = []

    def make(eps, steps):
        made.append(eps)
        return PGD.quick(eps=eps, steps=steps)

    widget = explorer(attacks={"PGD": AttackChoice(make=make, idea="counts")})
    widget.controls["view"].value = 1
    widget.wait(SOON)
    assert len(made) == 1
    widget.controls["eps"].value = 0.1
    widget.wait(SOON)
    assert made == [0.05, 0.1]


def test_every_attack_of_the_list_works_and_sets_the_sliders():
    small = {"AOF": {"k": 5, "frequencies": 8}, "SI-Adv": {"k": 5}}
    assert 6 <= len(ATTACK_CHOICES) <= 8
    widget = explorer()
    for name, chosen in ATTACK_CHOICES.items():
        widget.controls["attack"].value = name
        assert widget.wait(SOON)
        assert widget.controls["eps"].disabled == (chosen.eps_label is None)
        assert widget.controls["steps"].disabled == (chosen.steps is None)
        if name in small:  # neighbourhoods larger than these clouds
            continue
        assert widget.status.value.startswith(f"{name}: "), widget.status.value
    assert "removed" in widget.figure.layout.title.subtitle.text
    count = int(widget.controls["eps"].value)
    assert count == 12 and len(attacked_points(widget)) == 24 - count
    assert len(widget.figure.data[1].x) == count, "the removed points are marked"


def test_an_error_is_a_sentence_in_the_widget_and_the_next_request_works(capfd):
    def make(eps, steps):
        if eps > 0.1:
            raise ValueError("eps must be smaller; choose 0.1 or less.")
        return PGD.quick(eps=eps, steps=steps)

    widget = explorer(attacks={"PGD": AttackChoice(make=make, idea="fails")})
    before = attacked_points(widget)
    widget.controls["eps"].value = 0.15
    widget.wait(SOON)
    assert widget.status.kind == "error"
    message = "PGD did not work: eps must be smaller; choose 0.1 or less."
    assert widget.status.value == message
    np.testing.assert_array_equal(attacked_points(widget), before)
    widget.controls["eps"].value = 0.02
    widget.wait(SOON)
    assert widget.status.kind == "ready"
    assert "Traceback" not in "".join(capfd.readouterr())


def test_an_attack_that_fails_at_once_leaves_a_widget_that_says_so():
    def make(eps, steps):
        raise RuntimeError("out of\n  memory")

    widget = explorer(attacks={"Odd": AttackChoice(make=make, idea="")}, attack="Odd")
    assert widget.status.value == "Odd did not work: RuntimeError: out of memory"
    with pytest.raises(ValueError, match=r"nothing to show yet\. Odd did not work"):
        widget.static()


class Slow(nn.Module):
    """Waits until told, and counts its answers."""

    def __init__(self):
        super().__init__()
        self.entered, self.release = threading.Event(), threading.Event()
        self.answers = 0

    def forward(self, points):
        self.entered.set()
        assert self.release.wait(SOON)
        self.answers += 1
        return points.mean(1)


def test_a_stale_request_is_dropped_and_the_last_one_wins():
    slow, results = Slow(), []

    def job(name):
        def run(check):
            model = Watched(slow, check)
            for _ in range(100):
                model(torch.zeros(1, 4, 3))
            results.append(name)

        return run

    latest = LatestOnly(pytest.fail, delay=0.01)
    latest.submit(job("first"))
    assert slow.entered.wait(SOON)
    latest.submit(job("second"))
    latest.submit(job("third"))
    slow.release.set()
    assert latest.wait(SOON)
    assert results == ["third"] and latest.superseded == 2
    assert slow.answers == 101, "the first one ended at its next step"


def test_a_dragged_slider_starts_one_attack():
    made = []

    def make(eps, steps):
        made.append(eps)
        return PGD.quick(eps=eps, steps=steps)

    chosen = {"PGD": AttackChoice(make=make, idea="counts")}
    widget = explorer(attacks=chosen, delay=0.5)
    for step in range(10):
        widget.controls["eps"].value = 0.06 + step / 200
    assert widget.status.kind == "busy" and "attacking" in widget.status.value
    widget.wait(SOON)
    assert made == pytest.approx([0.05, 0.105])
    assert "eps 0.105" in widget.figure.layout.title.text


def test_a_failing_job_is_told_and_does_not_block_the_next():
    told, done = [], []
    latest = LatestOnly(told.append, delay=0.0)

    def fail(check):
        raise RuntimeError("no")

    latest.submit(fail)
    latest.wait(SOON)
    latest.submit(lambda check: done.append(1))
    assert latest.wait(SOON) and done == [1]
    assert [str(error) for error in told] == ["no"]


def test_watched_models_pass_their_mode_on_and_stop():
    def stale():
        raise Superseded

    model = Watched(nn.BatchNorm1d(3).eval(), stale)
    assert not model.training and not model.model.training
    with pytest.raises(Superseded):
        model(torch.zeros(1, 4, 3))


def test_two_explorers_do_not_disturb_each_other():
    one, two = explorer(), explorer()
    one.controls["eps"].value = 0.1
    one.wait(SOON)
    assert "eps 0.1" in one.figure.layout.title.text
    assert "eps 0.05" in two.figure.layout.title.text
    again = explorer()
    np.testing.assert_array_equal(attacked_points(two), attacked_points(again))


def test_the_hardened_student_is_shown_and_can_be_attacked():
    hardened = fake_lab().classifiers(CLASSES)["point teacher"]
    widget = explorer(hardened=hardened)
    assert list(widget.models)[1] == "MRPD prompts" and len(bars(widget)) == 8
    widget.controls["victim"].value = "MRPD prompts"
    widget.wait(SOON)
    assert "on the MRPD prompts" in widget.figure.layout.title.text
    # Made on another model: other points.
    other = attacked_points(explorer())
    assert not np.allclose(attacked_points(widget), other)


def test_colours_are_the_palettes():
    colours = [t.marker.color for t in explorer().figure.data if t.type == "bar"]
    clean, attacked = palette.CLEAN_ATTACKED.values()
    assert colours == [clean, attacked] * 3
    gate = GateExplorer(fake_lab(), VAL).figure
    assert [t.marker.color for t in gate.data] == [palette.BLUE, palette.VERMILLION]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: explorer(object_index=8), "must be 0 to 7; received 8"),
        (lambda: explorer(attack="BIM"), "attack must be one of"),
        (
            lambda: GateExplorer(fake_lab(), VAL, attacked=VAL.points[:3]),
            "the 8 clouds of data, in their order; received 3",
        ),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ------------------------------------------------------------------ gate explorer


def test_gate_numbers_are_those_of_the_gates():
    widget = GateExplorer(fake_lab(), VAL)
    labels = VAL.labels
    for teacher in ("image teacher", "point teacher", "text teacher"):
        widget.controls["teacher"].value = teacher
        z = widget.features[teacher, "clean"]
        widget.controls["level"].value, widget.controls["temperature"].value = 0.3, 0.1
        for k in (1, 2, 4):
            widget.controls["gate"].value = "top-k (paper)"
            widget.controls["k"].value = k
            expected = gates.confidence_gate(z, widget.texts, labels, k)
            assert torch.equal(widget.weights, expected)
            told = f"{int(expected.sum())} of 8 clouds pass"
            assert widget.status.value.startswith(told)
            drawn = len(widget.figure.data[0].x)
            assert drawn == int(expected.sum())
            assert len(widget.figure.data[1].x) == 8 - drawn
        for name, expected in {
            "released code": gates.released_gate(z, widget.texts, labels),
            "threshold": gates.threshold_gate(z, widget.texts, labels, 0.3, 0.1),
            "entropy": gates.entropy_gate(z, widget.texts, labels, 0.3, 0.1),
            "soft": gates.soft_gate(z, widget.texts, labels, 0.1),
        }.items():
            widget.controls["gate"].value = name
            assert torch.equal(widget.weights, expected), name
            assert widget.pass_rate == pytest.approx(float(expected.float().mean()))


def test_precision_counts_who_is_named_rightly_among_those_that_pass():
    widget = GateExplorer(fake_lab(), VAL)
    widget.controls["gate"].value = "none"
    z = widget.reference_features
    right = float(((z @ widget.texts.T).argmax(1) == VAL.labels).float().mean())
    assert widget.pass_rate == 1.0
    assert f"{right:.1%} are named rightly" in widget.status.value
    widget.controls["gate"].value = "threshold"
    widget.controls["level"].value = 1.0
    assert widget.status.value == "0 of 8 clouds pass (0.0%)."


@pytest.mark.parametrize("gate", ["threshold", "entropy"])
def test_the_line_parts_those_that_pass_from_those_that_do_not(gate):
    widget = GateExplorer(fake_lab(), VAL)
    widget.controls["gate"].value = gate
    widget.controls["temperature"].value = 0.05
    x = np.sort(np.concatenate([t.x for t in widget.figure.data]))
    level = round(float(x[3] + x[4]) / 2, 3)
    widget.controls["level"].value = level
    assert widget.figure.layout.shapes[0].x0 == level
    passed, stopped = (np.asarray(t.x) for t in widget.figure.data)
    assert len(passed) == len(stopped) == 4
    above = passed if gate == "threshold" else stopped
    below = stopped if gate == "threshold" else passed
    assert above.min() > level > below.max()
    widget.controls["gate"].value = "soft"
    assert not widget.figure.layout.shapes, "a gate without a level has no line"


def test_sliders_that_a_gate_does_not_heed_are_greyed_out():
    widget = GateExplorer(fake_lab(), VAL)
    assert not widget.controls["k"].disabled and widget.controls["level"].disabled
    widget.controls["gate"].value = "threshold"
    assert widget.controls["k"].disabled and not widget.controls["level"].disabled


def test_attacked_clouds_can_be_chosen():
    widget = GateExplorer(fake_lab(), VAL, attacked=VAL.points.roll(1, 0))
    before = widget.reference_features
    widget.controls["clouds"].value = "attacked"
    expected = fake_lab().image_teacher(VAL.points.roll(1, 0))
    torch.testing.assert_close(widget.reference_features, expected)
    assert not torch.allclose(before, expected)


# -------------------------------------------------------- distillation dashboard


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def until(condition):
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_pause_continue_stop_and_go_on_give_the_run_nobody_disturbed(
    tmp_path, cache_dir
):
    config = quick(epochs=6)
    widget = DistillationDashboard(
        fake_lab(), TRAIN, VAL, config, tmp_path, cache_dir=cache_dir
    )
    buttons = widget.controls
    assert widget.state == "ready" and buttons["go"].description == "Start"
    with widget._changed:  # nothing ends before the pause
        buttons["go"].click()
        buttons["pause"].click()
    until(lambda: widget.status.value.startswith("Paused after"))
    paused = len(widget.history)
    assert paused < 6 and buttons["pause"].disabled
    time.sleep(0.2)
    assert len(widget.history) == paused, "it went on in its pause"
    with pytest.raises(RuntimeError, match=r"is paused\. Paused after"):
        widget.result()

    buttons["stop"].click()
    until(lambda: widget.state == "stopped")
    assert re.match("Stopped after . of 6 epochs; Continue", widget.status.value)
    assert buttons["go"].description == "Continue" and not buttons["go"].disabled
    with pytest.raises(RuntimeError, match="is stopped"):
        widget.result()

    buttons["go"].click()
    result = widget.result()
    until(lambda: widget.state == "finished")
    assert widget.status.value.startswith("Finished: 6 epochs")
    undisturbed = distill(
        fake_lab(), TRAIN, VAL, config, cache_dir=cache_dir, progress=False
    )
    assert result.history == undisturbed.history
    assert torch.equal(result.prompt, undisturbed.prompt)
    weights = [row["weight_text"] for row in result.history]
    traces = [t for t in widget.figure.data if t.name == "text"]
    np.testing.assert_allclose(traces[-1].y, weights)
    assert all(button.disabled for button in buttons.values())


def test_result_starts_a_run_that_nobody_has_started(cache_dir):
    widget = DistillationDashboard(fake_lab(), TRAIN, VAL, quick(), cache_dir=cache_dir)
    with pytest.raises(ValueError, match=r"nothing to show yet\. Ready"):
        widget.static()
    assert widget.result().best_epoch >= 1
    assert len(widget.history) == 3
    assert widget.picture().startswith(b"\x89PNG")


def test_a_run_that_fails_says_why():
    widget = DistillationDashboard(fake_lab(), TRAIN, VAL, quick(k=5))
    widget.go()
    widget.wait(SOON)
    assert widget.state == "failed" and widget.status.kind == "error"
    assert "failed: k must be at most the number of classes" in widget.status.value
    with pytest.raises(RuntimeError, match="is failed"):
        widget.result()


# ------------------------------------------------------------------ static twins


def test_each_leaves_a_picture_beside_what_is_live(monkeypatch):
    display_module = pytest.importorskip("IPython.display")
    sent = []
    monkeypatch.setattr(
        display_module, "display", lambda bundle, **options: sent.append(bundle)
    )
    for widget in (explorer(), GateExplorer(fake_lab(), VAL)):
        sent.clear()
        widget._ipython_display_()
        still, live = sent
        assert still["image/jpeg"].startswith(b"\xff\xd8")
        assert widget.status.value in still["text/plain"]
        view = live["application/vnd.jupyter.widget-view+json"]
        assert view["model_id"] == widget.box.model_id
        assert "image/jpeg" not in live, "it would show twice"
        # A live widget hides the output in front of it, and only that one.
        assert ":has(+ .jp-OutputArea-child .mrpd-live)" in widget.status._css
        assert "mrpd-live" in widget.status._esm
        sent.clear()
        widget.static()
        assert {"application/vnd.plotly.v1+json", "image/jpeg"} <= sent[0].keys()


def test_the_dashboards_picture_comes_when_the_run_ends(monkeypatch, cache_dir):
    display_module = pytest.importorskip("IPython.display")
    updates = []

    class Handle:
        def update(self, bundle, **options):
            updates.append(bundle)

    monkeypatch.setattr(display_module, "display", lambda bundle, **options: Handle())
    widget = DistillationDashboard(fake_lab(), TRAIN, VAL, quick(), cache_dir=cache_dir)
    widget._ipython_display_()
    assert not updates
    widget.result()
    assert updates[-1]["image/jpeg"].startswith(b"\xff\xd8")


def test_pictures_follow_the_controls():
    widget = explorer()
    before = widget.picture()
    widget.controls["eps"].value = 0.15
    widget.wait(SOON)
    assert widget.picture() != before


def test_a_figure_is_announced_once_and_whole(monkeypatch):
    opened = []
    make = ipywidgets.widgets.widget.comm.create_comm

    def create_comm(**options):
        opened.append(options["data"]["state"])
        return make(**options)

    monkeypatch.setattr(ipywidgets.widgets.widget.comm, "create_comm", create_comm)
    widget = GateExplorer(fake_lab(), VAL)
    figures = [state for state in opened if "_widget_data" in state]
    assert len(figures) == 1
    assert len(figures[0]["_widget_data"]) == len(widget.figure.data) == 2
    # Plotly would offer to upload the figure.
    assert figures[0]["_config"]["showSendToCloud"] is False


def test_the_figures_loader_keeps_every_kind_of_message_until_plotly_is_there():
    figure = explorer().figure
    kinds = {n[len("_py2js_") :] for n in figure.traits() if n.startswith("_py2js_")}
    listed = re.search(r"MESSAGES = \[(.*?)\]", figure._esm, re.DOTALL)[1]
    assert set(re.findall(r'"(\w+)"', listed)) == kinds
    assert len(figure._esm) < 3000 and len(figure._plotly) > 10**6


def test_without_its_extra_the_package_says_what_to_install():
    program = (
        "import sys; sys.modules['anywidget'] = None\nimport mrpd_tutorial.widgets\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert "pip install mrpd_tutorial[notebooks]" in done.stderr
