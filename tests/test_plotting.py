"""Figures: what they show is what they were given; each has a static twin."""

import inspect
import itertools
import math
import re
import subprocess
import sys

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from matplotlib.figure import Figure

from mrpd_tutorial import plotting
from mrpd_tutorial.metrics import wilson_interval
from mrpd_tutorial.plotting import (
    charts,
    clouds,
    common,
    display,
    gallery,
    gallery_data,
    heat_data,
    open3d_view,
    palette,
    robustness,
    robustness_data,
)
from mrpd_tutorial.plotting import static_twin as twin

CLOUD = torch.rand(64, 3, generator=torch.Generator().manual_seed(0)) - 0.5
MOVED = CLOUD + torch.tensor([0.03, 0.0, 0.04])  # every point by exactly 0.05
MAPS = torch.rand(2, 20, 20, generator=torch.Generator().manual_seed(1))
HISTORY = [
    {
        "epoch": e,
        "loss_image": 2.0 - e / 10,
        "loss_point": 1.0,
        "pass_image": 0.8,
        "val_clean": 0.5,
        "val_attacked": 0.25,
        "weight_image": 1.5,
        "weight_point": 2.0,
        "weight_text": 0.5,
    }
    for e in range(1, 5)
]
OPINIONS = {
    "student": [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]],
    "teacher": [[0.6, 0.3, 0.1], [0.6, 0.2, 0.2]],
}
NAMES = ("chair", "table", "lamp")


def row(model, threat_model, correct, n=40):
    return {
        "model": model,
        "threat_model": threat_model,
        "attack": "PGD",
        "correct": correct,
        "n": n,
        "accuracy": correct / n,
        "low": correct / n - 0.05,
        "high": correct / n + 0.05,
    }


ROWS = [row("a", "static", 10), row("a", "clean", 30), row("b", "clean", 20)]


def curve_row(model, threat_model, eps, correct, n=36, **more):
    return {
        "model": model,
        "threat_model": threat_model,
        "attack": "PGD",
        "norm": "per_point",
        "eps": eps,
        "correct": correct,
        "n": n,
        **more,
    }


CURVE = [
    curve_row("a", "clean", None, 30),
    curve_row("a", "adaptive", 0.05, 6),
    curve_row("a", "adaptive", 0.01, 18),
    curve_row("b", "adaptive", 0.01, 20),
]
MATRIX = [
    {"model": "a", "made_on": None, "correct": 30, "n": 36},
    {"model": "b", "made_on": None, "correct": 28, "n": 36},
    {"model": "a", "made_on": "a", "attack": "PGD", "correct": 0, "n": 36},
    {"model": "b", "made_on": "a", "attack": "PGD", "correct": 9, "n": 36},
]
LABELS = torch.tensor([0, 0, 0, 0, 2, 2])
RIGHT = {"a, clean": LABELS == LABELS, "a, adaptive PGD": LABELS == 2}
COSTS = [
    {"attack": "PGD", "seconds": 0.2, "misled": 3, "before": 4, "iterations": 10},
    {"attack": "CW", "seconds": 2.0, "misled": 4, "before": 4, "l2": 0.25},
]
CALLS = [
    (plotting.gallery_figure, (CLOUD, {"moved": MOVED, "less": CLOUD[9:]}), {}),
    (plotting.gallery_figure, (CLOUD, dict.fromkeys("abcdef", MOVED)), {}),
    (plotting.robustness_figure, (CURVE,), {"chance": 0.1}),
    (plotting.transfer_figure, (MATRIX,), {"chance": 0.1}),
    (plotting.class_figure, (RIGHT, LABELS, NAMES), {"chance": 0.1}),
    (plotting.cost_figure, (COSTS,), {}),
    (plotting.cloud_figure, (CLOUD,), {}),
    (plotting.cloud_figure, (CLOUD, CLOUD[:, 0]), {"colour_label": "x"}),
    (
        plotting.cloud_figure,
        (CLOUD, torch.arange(len(CLOUD)) % 3),
        {"categories": ["leg", "seat", "back", "none"]},
    ),
    (plotting.attack_figure, (CLOUD, MOVED), {"eps": 0.1}),
    (plotting.depth_map_figure, (MAPS,), {}),
    (plotting.depth_map_figure, (MAPS, MAPS * 0.9), {"view_names": ["left", "right"]}),
    (plotting.opinions_figure, (OPINIONS, NAMES, 0), {}),
    (plotting.training_curves, (HISTORY,), {}),
    (plotting.weight_curves, (HISTORY,), {"floor": -0.8}),
    (plotting.accuracy_bars, (ROWS,), {"chance": 1 / 3}),
    (
        plotting.curve_figure,
        ({"a": [(0, 0.5), (1, 0.4)], "b": [(0, 0.5, 0.4, 0.6)]},),
        {"x_label": "eps", "y_label": "accuracy", "chance": 0.1},
    ),
]


@pytest.mark.parametrize(("make", "args", "kwargs"), CALLS)
def test_both_forms_are_drawn(make, args, kwargs):
    assert isinstance(make(*args, title="A title", **kwargs), go.Figure)
    assert isinstance(twin(make)(*args, title="A title", **kwargs), Figure)
    assert display.picture(make, *args, **kwargs).startswith(b"\x89PNG")


@pytest.mark.parametrize(("make", "args", "kwargs"), CALLS)
def test_a_narrow_window_shows_all_of_a_figure(make, args, kwargs):
    figure = make(*args, title="How many words a title has " * 3, **kwargs)
    short = make(*args, title="A title", **kwargs)
    # A cell of 368 pixels: headings are broken, and have the room that they take.
    lines = figure.layout.title.text.split("<br>")
    assert len(lines) == 2 and max(map(len, lines)) <= 44
    assert max(map(len, figure.layout.title.subtitle.text.split("<br>"))) <= 56
    room = figure.layout.margin.t - short.layout.margin.t
    assert room == figure.layout.height - short.layout.height >= 20
    # Nothing beside the drawing, which would take its width.
    bars = [axis.colorbar for axis in figure.select_coloraxes()]
    holders = [*figure.data, *(t.marker for t in figure.data if "marker" in t)]
    bars += [part.colorbar for part in holders if "colorbar" in part]
    assert all(bar.orientation == "h" for bar in bars if bar.title.text)
    assert (figure.layout.legend.x or 0) == 0


def test_maps_stay_together_in_one_picture_a_row():
    figure = plotting.depth_map_figure(MAPS, MAPS * 0.9, view_names=["left", "right"])
    clean, _, difference = figure.data
    np.testing.assert_array_equal(clean.z[:, :20], MAPS[0])
    np.testing.assert_array_equal(clean.z[:, -20:], MAPS[1])
    assert np.isnan(clean.z[:, 20:-20]).all()
    assert difference.y0 == 2 * 21 and figure.layout.xaxis.tickvals == (9.5, 30.5)
    assert figure.layout.xaxis.ticktext == ("left", "right")


def test_lines_are_not_broken_within_a_number():
    assert common.wrap("of many clouds n = 8", 16) == "of many clouds\nn = 8"
    assert common.wrap("intervals of 95 % here", 15) == "intervals of\n95 % here"


def test_every_figure_has_a_twin_with_the_same_arguments():
    modules = (clouds, gallery, charts, robustness)
    for name in [name for module in modules for name in module.__all__]:
        make = getattr(plotting, name)
        assert inspect.signature(make).parameters.keys() == (
            inspect.signature(twin(make)).parameters.keys()
        )


def test_a_function_without_twin_is_named():
    with pytest.raises(ValueError, match="received print"):
        twin(print)


def test_displacement_is_the_length_each_point_moved():
    figure = plotting.attack_figure(CLOUD, MOVED, eps=0.1)
    lengths = np.asarray(figure.data[2].marker.color)
    np.testing.assert_allclose(lengths, 0.05, atol=1e-6)
    assert figure.data[2].marker.cmax == 0.1
    assert "moved by 0.050" in told(figure)[1]


def test_clouds_keep_equal_aspect_and_one_camera():
    figure = plotting.attack_figure(CLOUD * 3, MOVED * 3)
    scenes = [figure.layout[name] for name in ("scene", "scene2", "scene3")]
    assert len({str(scene.camera) for scene in scenes}) == 1
    for scene in scenes:
        assert scene.aspectmode == "cube"
        assert scene.xaxis.range == scene.yaxis.range == scene.zaxis.range
        assert scene.xaxis.range[1] >= float((CLOUD * 3).abs().max())
        assert scene.camera.up.to_plotly_json() == {"x": 0, "y": 1, "z": 0}


def test_the_static_cloud_is_a_rotation_not_a_mirror_image():
    axes = twin(plotting.cloud_figure)(CLOUD).axes[0]
    drawn = np.stack([np.asarray(part) for part in axes.collections[0]._offsets3d], 1)
    turn = np.linalg.lstsq(CLOUD.numpy(), drawn, rcond=None)[0]
    assert np.linalg.det(turn) == pytest.approx(1.0, abs=1e-4)


def test_attacks_that_change_the_number_of_points_are_refused_with_advice():
    with pytest.raises(ValueError, match="add or drop points"):
        plotting.attack_figure(CLOUD, MOVED[:10])


@pytest.mark.parametrize(
    ("cloud", "message"),
    [
        (CLOUD[None], r"points\[0\]"),
        (CLOUD[:0], "one cloud of shape"),
        (torch.full((4, 3), float("nan")), "NaN"),
    ],
)
def test_bad_clouds_are_named(cloud, message):
    with pytest.raises(ValueError, match=message):
        plotting.cloud_figure(cloud)


def test_colours_must_fit_the_cloud():
    with pytest.raises(ValueError, match="each of the 64 points; received 3"):
        plotting.cloud_figure(CLOUD, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="colour must be one of 'height'"):
        plotting.cloud_figure(CLOUD, "red")
    names = ["leg", "seat"]
    for wrong in (torch.arange(len(CLOUD)), torch.full((len(CLOUD),), 0.5), "height"):
        with pytest.raises(ValueError, match="which of the 2 it is, a whole number"):
            plotting.cloud_figure(CLOUD, wrong, categories=names)


def test_categories_have_a_colour_and_a_name_each():
    parts = (CLOUD[:, 1] > 0).long()
    figure = plotting.cloud_figure(CLOUD, parts, categories=["low", "high", "none"])
    found = {trace.name: (len(trace.x), trace.marker.color) for trace in figure.data}
    high = int(parts.sum())
    assert found == {
        "low": (len(CLOUD) - high, palette.nth_colour(0)),
        "high": (high, palette.nth_colour(1)),
        "none": (0, palette.nth_colour(2)),
    }
    drawn = twin(plotting.cloud_figure)(CLOUD, parts, categories=["low", "high"])
    assert [t.get_text() for t in drawn.legends[0].get_texts()] == ["low", "high"]


def test_difference_of_maps_is_computed_before_they_are_shrunk():
    before = torch.zeros(1, 224, 224)
    after = before.clone()
    after[0, :112] = 0.5
    figure = plotting.depth_map_figure(before, after)
    assert figure.data[0].z.shape == (112, 112)
    assert "0.250, 50.0%" in told(figure)[1]
    np.testing.assert_allclose(figure.data[2].z[:56], 0.5)


def test_maps_of_several_clouds_or_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"depth_maps\[0\]"):
        plotting.depth_map_figure(MAPS[None])
    with pytest.raises(ValueError, match="one shape"):
        plotting.depth_map_figure(MAPS, MAPS[:1])


def test_opinions_show_the_true_class_first_and_the_largest_others():
    figure = plotting.opinions_figure(OPINIONS, NAMES, 2, top=1)
    assert list(figure.data[0].y) == ["lamp (true)", "table"]
    np.testing.assert_allclose(figure.data[1].x, [0.1, 0.8], atol=1e-6)


def test_opinions_of_another_width_are_named():
    with pytest.raises(ValueError, match=r"opinions\['odd'\] must have shape \(2, 3\)"):
        plotting.opinions_figure({"odd": np.zeros((2, 4))}, NAMES, 0)
    with pytest.raises(ValueError, match="at least one model"):
        plotting.opinions_figure({}, NAMES, 0)


def test_histories_leave_out_missing_values_and_say_what_is_missing():
    history = [*HISTORY, {**HISTORY[0], "epoch": 5, "val_clean": None}]
    figure = plotting.training_curves(history)
    lengths = {trace.name: len(trace.x) for trace in figure.data}
    assert lengths["clean"] == 4 and lengths["attacked"] == 5
    with pytest.raises(ValueError, match="history is empty"):
        plotting.training_curves([])
    with pytest.raises(ValueError, match="columns loss_"):
        plotting.training_curves([{"epoch": 1}])


def test_the_largest_possible_weight_follows_the_floor():
    figure = plotting.weight_curves(HISTORY, floor=-0.8)
    assert figure.layout.shapes[0].y0 == pytest.approx(math.exp(0.8))


def test_accuracy_names_threat_models_n_chance_and_intervals():
    figure = plotting.accuracy_bars(ROWS, chance=0.25, title="Accuracy")
    names = [trace.name for trace in figure.data]
    assert names[0].startswith("clean") and "undefended student" in names[1]
    assert "chance 25.0%" in names
    assert "n = 40" in told(figure)[1]
    static = figure.data[1]
    assert static.y[0] == 0.25 and static.error_y.array[0] == pytest.approx(0.05)
    varied = [*ROWS, row("b", "static", 1, n=10)]
    text = told(plotting.accuracy_bars(varied))[1]
    assert "n = 10 to 40" in text


def test_accuracy_refuses_unknown_threat_models_and_nothing():
    with pytest.raises(ValueError, match="threat_model must be one of"):
        plotting.accuracy_bars([row("a", "white-box", 3)])
    with pytest.raises(ValueError, match="rows is empty"):
        plotting.accuracy_bars([])


def test_accuracy_takes_one_attack_at_a_time_and_marks_random_models():
    with pytest.raises(ValueError, match="one figure for each"):
        plotting.accuracy_bars([*ROWS, ROWS[0]])
    figure = plotting.accuracy_bars([{**ROWS[0], "random_model": True}])
    assert list(figure.data[0].x) == ["a ~"]
    assert "one draw" in told(figure)[1]


def test_the_legend_names_budget_and_origin():
    budget = {"norm": "per_point", "eps": 0.05, "made_on": "student", "targeted": True}
    label = common.threat_label("static", {**ROWS[0], **budget})
    assert label.endswith("(PGD, per_point 0.05, targeted, on student)")


def test_curves_show_their_intervals_and_refuse_ragged_points():
    labels = {"x_label": "eps", "y_label": "accuracy"}
    figure = plotting.curve_figure({"a": [(0, 0.5, 0.25, 1.0)]}, **labels)
    assert figure.data[0].error_y.array == (0.5,)
    assert figure.data[0].error_y.arrayminus == (0.25,)
    with pytest.raises(ValueError, match=r"\(x, y\) or \(x, y, low, high\)"):
        plotting.curve_figure({"a": [(0, 1), (1, 2, 3, 4)]}, **labels)
    with pytest.raises(ValueError, match="at least one curve"):
        plotting.curve_figure({}, **labels)


def test_colours_stay_with_their_teacher():
    figure = plotting.weight_curves(HISTORY)
    for trace in figure.data:
        assert trace.line.color == palette.TEACHER_COLOURS[trace.name]


def test_show_sends_both_forms(monkeypatch):
    display_module = pytest.importorskip("IPython.display")
    sent = []
    monkeypatch.setattr(
        display_module, "display", lambda bundle, raw: sent.append(bundle)
    )
    plotting.show(plotting.cloud_figure, CLOUD, title="A cloud")
    assert set(sent[0]) == {
        "application/vnd.plotly.v1+json",
        "image/jpeg",
        "text/plain",
    }
    # Plotly would offer to upload the figure.
    config = sent[0]["application/vnd.plotly.v1+json"]["config"]
    assert config["showSendToCloud"] is False
    assert sent[0]["image/jpeg"].startswith(b"\xff\xd8")
    assert sent[0]["text/plain"] == "cloud_figure: A cloud"


def test_open3d_gives_a_picture_or_a_sentence():
    answer = plotting.open3d_image(CLOUD, width=64, height=48)
    if isinstance(answer, str):
        assert answer.endswith(".")
    else:
        assert answer.shape == (48, 64, 3) and answer.dtype == np.uint8
        assert answer.min() < 200, "the cloud was not drawn"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import os; os.abort()", r"did not work here \(status -6: no message\)"),
        ("raise OSError('no libusb')", "status 1: OSError: no libusb"),
        ("import time; time.sleep(60)", "no picture within 2 seconds"),
    ],
)
def test_a_renderer_that_dies_or_hangs_becomes_a_sentence(monkeypatch, script, message):
    pytest.importorskip("open3d", reason="without it the sentence is another")
    monkeypatch.setattr(open3d_view, "_SCRIPT", script)
    answer = plotting.open3d_image(CLOUD, timeout=2)
    assert isinstance(answer, str)
    assert re.search(message, answer)


def test_plotting_does_not_import_open3d_or_ipython():
    code = (
        "import sys, mrpd_tutorial.plotting; "
        "assert not {'open3d', 'IPython', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def told(figure):
    heading = figure.layout.title
    return [part.text.replace("<br>", " ") for part in (heading, heading.subtitle)]


def test_curves_ascend_from_the_clean_row_with_bands_n_and_threat_model():
    figure = plotting.robustness_figure(CURVE, chance=0.1)
    band, line = figure.data[:2]
    assert line.x == (0.0, 0.01, 0.05)
    assert line.y == pytest.approx((30 / 36, 18 / 36, 6 / 36))
    low, high = wilson_interval(6, 36)
    assert line.customdata[2] == pytest.approx((low, high, 36))
    assert band.y[2:4] == pytest.approx((high, low)) and band.fill == "toself"
    title, facts = told(figure)
    assert title == "Accuracy over the budget: adaptive PGD"
    assert "n = 36" in facts and "95 %" in facts and "the defense itself" in facts
    assert figure.data[3].x == (0.01,), "b has no clean row"
    assert "chance 10.0%" in [trace.name for trace in figure.data]
    assert "per_point" in figure.layout.xaxis.title.text


def test_curves_of_two_threat_models_are_kept_apart():
    rows = [*CURVE[:2], curve_row("a", "static", 0.05, 20)]
    figure = plotting.robustness_figure(rows)
    assert [t.name for t in figure.data if t.name] == ["a, adaptive", "a, static"]
    assert told(figure)[0].endswith("adaptive and static PGD")
    assert plotting.robustness_figure(rows, title="Mine").layout.title.text == "Mine"


def test_given_accuracy_and_interval_are_shown_as_given():
    rows = [curve_row("a", "adaptive", 0.1, 18, accuracy=0.4, low=0.3, high=0.6)]
    line = plotting.robustness_figure(rows).data[1]
    assert line.y == (0.4,) and list(line.customdata[0]) == [0.3, 0.6, 36]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "rows is empty"),
        ([CURVE[0]], "all of them are clean"),
        ([{"model": "a"}], r"one lacks \['threat_model', 'correct', 'n'\]"),
        ([CURVE[1], CURVE[1]], "'a' at eps 0.05 once"),
        ([curve_row("a", "adaptive", None, 3)], "that of 'a' has none"),
        ([curve_row("a", "white-box", 0.1, 3)], "threat_model must be one of"),
        ([CURVE[1], {**CURVE[2], "norm": "l2"}], "must be of one norm"),
        ([CURVE[1], {**CURVE[2], "attack": "FGM"}], r"of one attack.*'FGM', 'PGD'"),
    ],
)
def test_rows_that_make_no_curve_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        plotting.robustness_figure(rows)


def test_the_matrix_has_clean_clouds_above_and_outlines_the_adaptive_cell():
    heat = heat_data.transfer_cells(MATRIX[::-1], 0.1)
    assert heat.rows == ["clean clouds", "a"] and heat.columns == ["b", "a"]
    np.testing.assert_allclose(heat.share, [[28 / 36, 30 / 36], [9 / 36, 0.0]])
    assert heat.marked == [(1, 1)], "made on a, shown to a"
    assert "chance 10.0%" in heat.facts and "n = 36" in heat.facts
    assert heat.hover[1][0].startswith("made on a, shown to b\n25.0% (9 of 36)")
    figure = plotting.transfer_figure(MATRIX)
    assert len(figure.layout.shapes) == 1
    assert "made by PGD: transfer, outlined: adaptive" in told(figure)[0]
    assert plotting.transfer_figure(MATRIX[2:]).data[0].z.shape == (1, 2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "rows is empty"),
        (MATRIX[:2], "as made_on; all of them are clean"),
        ([*MATRIX, MATRIX[3]], "made on 'a' and shown to 'b' once"),
        ([MATRIX[2], {**MATRIX[3], "attack": "FGM"}], "one attack"),
        ([{"made_on": "a", "n": 3}], r"one lacks \['model', 'correct'\]"),
    ],
)
def test_rows_that_make_no_matrix_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        plotting.transfer_figure(rows)


def test_cells_that_were_not_measured_stay_empty():
    heat = heat_data.transfer_cells([*MATRIX[:3]], None)
    assert math.isnan(heat.share[1, 1]) and heat.hover[1][1] == "not measured"
    assert isinstance(twin(plotting.transfer_figure)(MATRIX[:3]), Figure)


def test_classes_are_counted_and_those_without_clouds_left_out():
    heat = heat_data.class_cells(RIGHT, LABELS, NAMES, None)
    assert heat.rows == ["all classes (n = 6)", "chair (n = 4)", "lamp (n = 2)"]
    np.testing.assert_allclose(heat.share, [[1, 2 / 6], [1, 0], [1, 1]])
    assert "classes without a cloud: 1" in heat.facts and "n = 2 to 4" in heat.facts
    assert "(2 of 6)" in heat.hover[0][1]
    lists = {name: value.tolist() for name, value in RIGHT.items()}
    figure = plotting.class_figure(lists, LABELS.tolist(), NAMES)
    np.testing.assert_allclose(figure.data[0].z, heat.share)


@pytest.mark.parametrize(
    ("correct", "labels", "message"),
    [
        ({}, LABELS, "at least one name"),
        (RIGHT["a, clean"], LABELS, "correct must map"),
        ({"a": LABELS}, LABELS, r"correct\['a'\] must be bool of shape \(6,\)"),
        ({"a": LABELS[:3] == 0}, LABELS, r"bool of shape \(6,\)"),
        (RIGHT, LABELS + 1, r"lie in 0..2, the 3 class_names; received 1 to 3"),
        (RIGHT, LABELS.float(), "class ids; received float32"),
    ],
)
def test_outcomes_that_do_not_fit_are_refused(correct, labels, message):
    with pytest.raises(ValueError, match=message):
        plotting.class_figure(correct, labels, NAMES)


def test_costs_are_relative_and_whiskers_are_wilson():
    figure = plotting.cost_figure(COSTS)
    assert figure.data[0].x == pytest.approx((1.0, 10.0))
    low, high = wilson_interval(3, 4)
    assert figure.data[1].error_x.array[0] == pytest.approx(high - 0.75)
    assert figure.data[1].error_x.arrayminus[0] == pytest.approx(0.75 - low)
    assert "l2: 0.25" in figure.data[0].text[1]
    assert "n = 4 clouds" in told(figure)[1]
    seconds = plotting.cost_figure(COSTS, reference=None)
    assert seconds.data[0].x == pytest.approx((0.2, 2.0))
    assert seconds.layout.xaxis.title.text == "seconds a cloud"


@pytest.mark.parametrize(
    ("rows", "reference", "message"),
    [
        ([], "PGD", "rows is empty"),
        (COSTS, "FGM", r"\['PGD', 'CW'\], or None for seconds; received 'FGM'"),
        ([{**COSTS[0], "misled": 9}], "PGD", "9 of 4"),
        ([{**COSTS[0], "seconds": 0.0}], "PGD", "seconds above 0"),
        ([{"attack": "PGD"}], None, "one lacks"),
    ],
)
def test_costs_that_make_no_sense_are_refused(rows, reference, message):
    with pytest.raises(ValueError, match=message):
        plotting.cost_figure(rows, reference=reference)


def test_where_nothing_was_right_before_the_rate_is_unknown():
    rows = [{**COSTS[0], "misled": 0, "before": 0}]
    shown = robustness_data.cost_bars(rows, "PGD")[0][0]
    assert (shown["low"], shown["high"]) == (0.0, 1.0)


def test_the_gallery_tells_moved_added_and_removed_points():
    more = torch.cat([CLOUD, CLOUD[:5] + 0.01])
    panels, end, facts = gallery_data.gallery_panels(
        CLOUD, {"PGD": MOVED, "add": more, "drop": CLOUD[7:]}, None
    )
    assert [panel.name for panel in panels] == ["clean", "PGD", "add", "drop"]
    np.testing.assert_allclose(panels[1].moved, 0.05, atol=1e-6)
    assert end == pytest.approx(0.05, abs=1e-6)
    np.testing.assert_array_equal(panels[2].added, more[-5:])
    np.testing.assert_array_equal(panels[3].removed, CLOUD[:7])
    assert panels[2].title == "add\n+5 points"
    assert panels[3].title == "drop\n-7 points"
    assert len(panels[3].points) == 57 and "added or removed" in facts


def test_the_gallery_is_one_scene_in_which_all_clouds_are_turned_alike():
    figure = plotting.gallery_figure(CLOUD, {"PGD": CLOUD}, limit=0.02)
    assert figure.layout.scene.camera.projection.type == "orthographic"
    clean, moved = (t for t in figure.data if t.mode == "markers")
    assert clean.marker.cmax == 0.02
    np.testing.assert_allclose(np.ptp(moved.x - clean.x), 0, atol=1e-6)
    np.testing.assert_allclose(moved.y, clean.y, atol=1e-6)
    drawn = np.stack([clean.x, clean.y, clean.z], 1)
    turn = np.linalg.lstsq(CLOUD.numpy(), drawn, rcond=None)[0]
    assert np.linalg.det(turn) == pytest.approx(1.0, abs=1e-4)
    assert next(t for t in figure.data if t.mode == "text").text == ("clean",)
    # What lies to the right and above comes nearer to the reader.
    assert turn[0, 2] > 0 and turn[1, 2] > 0


@pytest.mark.parametrize(
    ("attacked", "limit", "message"),
    [
        ({}, None, "at least one cloud"),
        ({"PGD": CLOUD[None]}, None, r"attacked\['PGD'\] must be one cloud"),
        ({"PGD": CLOUD}, 0.0, "limit must be above 0"),
    ],
)
def test_a_gallery_of_bad_clouds_is_refused(attacked, limit, message):
    with pytest.raises(ValueError, match=message):
        plotting.gallery_figure(CLOUD, attacked, limit=limit)


# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def seen_as(colour, deficiency):
    """A colour "#rrggbb" in CIELAB, as somebody with that deficiency sees it."""
    value = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(DEFICIENCIES[deficiency]) @ linear, 0, 1)
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    relative = np.asarray(to_xyz) @ linear / [0.95047, 1, 1.08883]
    near_black = relative / (3 * (6 / 29) ** 2) + 4 / 29
    x, y, z = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), near_black)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest_pair(colours, deficiency):
    """The smallest distance in CIELAB (about 2 can just be seen) among the colours."""
    seen = [seen_as(colour, deficiency) for colour in colours]
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_colours_of_one_figure_are_told_apart(deficiency):
    together = {
        "clean and attacked": palette.CLEAN_ATTACKED.values(),
        "teachers": palette.TEACHER_COLOURS.values(),
        "threat models": [colour for colour, _ in palette.THREAT_MODELS.values()],
        "curves": [palette.nth_colour(i) for i in range(6)],
    }
    for name, colours in together.items():
        assert nearest_pair(colours, deficiency) > 12, name


def test_a_red_and_a_green_that_look_alike_are_noticed():
    assert nearest_pair(["#ff0000", "#00ff00"], "none") > 100
    assert nearest_pair(["#a05020", "#606020"], "deutan") < 12
