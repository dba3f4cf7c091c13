"""The report: whole, self-contained, and every number from the result."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from mrpd_tutorial import report_page
from mrpd_tutorial.report import build_report, write_report
from mrpd_tutorial.report_page import Drawing

NAMES = ["chair", "table", "floor_lamp"]
THREATS = ("clean", "static", "adaptive", "transfer")


def row(model, threat_model, correct, n=40):
    attacked = threat_model != "clean"
    return {
        "model": model,
        "threat_model": threat_model,
        "attack": "PGD" if attacked else "none",
        "norm": "per_point" if attacked else None,
        "eps": 0.05 if attacked else None,
        "targeted": False,
        "made_on": "undefended student" if attacked else None,
        "random_model": "SRS" in model,
        "correct": correct,
        "n": n,
        "accuracy": correct / n,
        "low": max(0.0, correct / n - 0.1),
        "high": min(1.0, correct / n + 0.1),
    }


@pytest.fixture
def result():
    history = [
        {
            "epoch": e,
            "loss": 3.0 / e,
            "val_clean": 0.6 + e / 100,
            "val_attacked": 0.3 + e / 50,
            "val_score": 0.5,
        }
        | {f"loss_{t}": 2.0 / e for t in ("image", "point", "text")}
        | {f"pass_{t}": 0.8 for t in ("image", "point", "text")}
        | {f"weight_{t}": 1.0 + e / 10 for t in ("image", "point", "text")}
        for e in range(1, 7)
    ]
    hits = {"undefended student": 28, "student + SRS": 26, "MRPD prompts": 31}
    drop = dict(zip(THREATS, (0, 20, 22, 9), strict=True))
    rows = [row(m, t, h - drop[t]) for t in THREATS for m, h in hits.items()]
    teachers = [
        row(m, t, 33 - 2 * (t == "static"))
        for t in ("clean", "static")
        for m in ("image teacher", "point teacher")
    ]
    opinions = {
        m: [[0.1, 0.2, 0.7], [0.1, 0.6, 0.3]]
        for m in (
            "undefended student",
            "image teacher",
            "point teacher",
            "MRPD prompts",
        )
    }
    cost = {"seconds_per_cloud": 0.01, "multiply_adds_per_cloud": 1000}
    return {
        "kind": "demo",
        "created": "2026-01-01T00:00:00+00:00",
        "config": {
            "seed": 5,
            "distill": {
                "seed": 6,
                "attack": {"class": "PGD", "steps": 10},
                "prompt_tokens": 10,
                "context_tokens": 3,
                "teachers": ["image", "point", "text"],
                "weight_floor": -1.0,
            },
        },
        "data": {
            "name": "objects<b>",
            "class_names": NAMES,
            "num_points": 128,
            "clouds": {"train": 50, "val": 20, "test": 40},
            "hash": {"test": "0123456789abcdef"},
        },
        "lab": {
            "name": "tiny",
            "is_stand_in": True,
            "stand_ins": {"student": "Uni3D-Ti"},
            "parameters": {"student": 512345},
            "views": 10,
            "resolution": 112,
            "digest": "fedcba9876543210",
        },
        "rows": rows,
        "teacher_rows": teachers,
        "notes": ["clean: the clouds as they are.", "~ one draw."],
        "distilled": {
            "history": history,
            "undefended": {"val_clean": 0.55, "val_attacked": 0.2},
            "best_epoch": 6,
            "numbers_learned": 2496,
        },
        "cost": {
            "undefended student": cost,
            "MRPD prompts": {**cost, "multiply_adds_per_cloud": 1100},
        },
        "example": {
            "label": 2,
            "index": 7,
            "rule": "the first that fits",
            "opinions": opinions,
            "nearest_texts": [["table", 0.81], ["chair", 0.4]],
            "mean_displacement": 0.0312,
            "max_displacement": 0.05,
            "view_names": [f"view-{i}" for i in range(5)],
        },
        "environment": {"packages": {"torch": "2.13.0"}, "threads": 2},
        "seconds": {"total": 123.4},
    }


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    clean = rng.uniform(-0.5, 0.5, (128, 3)).astype(np.float32)
    maps = rng.uniform(0, 1, (5, 28, 28)).astype(np.float32)
    return {
        "clean": clean,
        "attacked": clean + 0.01,
        "clean_maps": maps,
        "attacked_maps": maps * 0.98,
    }


@pytest.fixture(autouse=True)
def quick_drawings(request, monkeypatch):
    """Drawing seven figures twice takes seconds: most tests read the words only."""
    if request.node.name != "test_the_page_is_self_contained_and_complete":
        monkeypatch.setattr(Drawing, "png", lambda self: b"png")
        monkeypatch.setattr(Drawing, "interactive", lambda self: "<div></div>")
        monkeypatch.setattr(report_page, "get_plotlyjs", lambda: "")


class Page(HTMLParser):
    """What a browser would fetch, and the text a reader sees."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.links, self.anchors, self.words = [], [], set(), []
        self.headings, self.images, self._hidden = 0, 0, 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self._hidden += tag in ("script", "style")
        self.headings += tag == "h2"
        self.images += tag == "img"
        self.anchors.add(attributes.get("id"))
        if "src" in attributes:
            self.fetched.append(attributes["src"])
        if "href" in attributes:
            (self.links if tag == "a" else self.fetched).append(attributes["href"])

    def handle_endtag(self, tag):
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data):
        if not self._hidden:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_the_page_is_self_contained_and_complete(result, arrays):
    text, pictures = build_report(result, arrays)
    page = Page(text)
    assert all(source.startswith("data:") for source in page.fetched)
    assert page.headings == 8
    assert page.images == len(pictures) == 7
    assert text.count("plotly.js v") == 1, "plotly.js must be there once"
    assert {link.removeprefix("#") for link in page.links} <= page.anchors
    assert len(page.links) == 8


def test_numbers_come_from_the_result_with_their_threat_model(result, arrays):
    text = Page(build_report(result, arrays)[0]).text
    for number in (
        "70.0 %",
        "77.5 %",
        "20.0 %",
        "0.031",
        "2496",
        "10.0 % to the multiply-adds",
        "0.81",
    ):
        assert number in text, number
    assert "clean 70.0 % → 77.5 %; static 20.0 % → 27.5 %" in text
    assert "adaptive 15.0 % → 22.5 %; transfer 47.5 % → 55.0 %" in text
    assert "PGD, 10 steps, each point at most 0.05" in text
    assert "40 test clouds, with 95 % Wilson intervals" in text


def test_another_result_changes_every_number_in_the_table(result, arrays):
    for line in result["rows"]:
        line["accuracy"] = 0.123
    text = Page(build_report(result, arrays)[0]).text
    assert text.count("12.3 %") >= len(result["rows"])
    assert "70.0 %" not in text


def test_stand_ins_name_themselves(result, arrays):
    text = Page(build_report(result, arrays)[0]).text
    assert "small stand-ins for the paper's models" in text
    assert "student (512,345 parameters) for Uni3D-Ti" in text
    result["lab"]["is_stand_in"] = False
    assert "stand-in" not in Page(build_report(result, arrays)[0]).text.lower()


def test_names_are_escaped_and_random_models_marked(result, arrays):
    text, _ = build_report(result, arrays)
    assert "objects&lt;b&gt;" in text and "objects<b>" not in text
    assert "student + SRS ~" in Page(text).text


def test_files_are_written_whole_and_never_over_others(result, arrays, tmp_path):
    files = write_report(tmp_path / "out", result, arrays)
    assert files[0].name == "report.html"
    assert files[-1].name == "result.json"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        p.name for p in files
    )
    assert json.loads(files[-1].read_text(encoding="utf-8")) == result
    before = {p: p.read_bytes() for p in files}
    with pytest.raises(FileExistsError, match=r"report\.html exists already"):
        write_report(tmp_path / "out", {**result, "created": "later"}, arrays)
    assert {p: p.read_bytes() for p in files} == before
    write_report(tmp_path / "out", {**result, "created": "later"}, arrays, True)
    assert json.loads(files[-1].read_text(encoding="utf-8"))["created"] == "later"


def test_a_failure_in_the_middle_leaves_no_half_report(result, arrays, tmp_path):
    result["seconds"] = {"total": float("nan")}
    with pytest.raises(ValueError, match="JSON"):
        write_report(tmp_path, result, arrays)
    assert not (tmp_path / "result.json").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
