"""Sweeps: resumable, the same from one process and from several, and honest."""

import csv
import dataclasses
import errno
import json
import math
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest
import torch
from sweep_models import CELLS, Mean, arguments, data

from mrpd_tutorial import corruptions
from mrpd_tutorial.attacks import PGD, Attack, PointAutoAttack
from mrpd_tutorial.attacks.cw import CWPerturb
from mrpd_tutorial.attacks.drop import SaliencyDrop
from mrpd_tutorial.defenses import SOR, SRS, Defended
from mrpd_tutorial.evaluate import Evaluation, evaluate
from mrpd_tutorial.fingerprint import describe
from mrpd_tutorial.metrics import wilson_interval
from mrpd_tutorial.sweep import Protocol, Sweep, choices, protocol_worth, sweep
from mrpd_tutorial.sweep.worth import merge

TABLES = ("table.csv", "table.md", "table.html")


def tables(folder):
    return [(Path(folder) / name).read_bytes() for name in TABLES]


def cards(folder):
    return sorted((Path(folder) / "cells").glob("*.json"))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return sweep(folder=folder, **arguments())


def timeless(row):
    """A row without what differs from run to run."""
    rest = {} if row.attack_seconds is None else {"attack_seconds": 0.0}
    rest |= {} if row.attack_cpu_seconds is None else {"attack_cpu_seconds": 0.0}
    return dataclasses.replace(row, seconds=0.0, **rest)


def test_rows_are_those_of_evaluate(done):
    given = arguments()
    damage, models = given["corruptions"], given.pop("models")
    attack = given.pop("attacks")
    found = evaluate(models, given.pop("dataset"), attack, **given)
    assert [timeless(row) for row in done.rows] == [timeless(row) for row in found.rows]
    assert dict(done.outcomes) == found.outcomes and done.labels == found.labels
    assert done.evaluation().class_accuracy() == found.class_accuracy()
    done.evaluation().save(done.folder / "card.json")
    assert Evaluation.load(done.folder / "card.json").outcomes == found.outcomes
    assert [row.cell for row in done.rows] == list(done.outcomes)
    rows = done.rows
    assert len(rows) == CELLS and done.complete
    points, labels = data()
    damaged_rows = [row for row in rows if row.threat_model == "corruption"]
    assert len(damaged_rows) == 2 * len(damage)
    for row in damaged_rows:
        assert row.norm == "severity"
        (kind,) = [one for one in damage if one.title == row.attack]
        damaged = kind(points)
        assert row.eps == kind.severity
        hits = int((models[row.model](damaged).argmax(1) == labels).sum())
        assert (row.correct, row.low, row.high) == (hits, *wilson_interval(hits, 18))
    outcome = done.outcomes["other", "static", "small", "plain"]
    static = next(r for r in rows if (r.model, r.attack) == ("other", "small"))
    assert len(outcome) == 18 and outcome.count("1") == static.correct


def test_tables_are_tidy_and_tell_no_times(done):
    rows = list(csv.DictReader((done.folder / "table.csv").read_text().splitlines()))
    assert len(rows) == CELLS and len(done.table()) == CELLS
    assert not [name for name in rows[0] if "seconds" in name]
    assert not [name for name in done.table()[0] if "seconds" in name]
    assert [float(row["accuracy"]) for row in rows] == [r.accuracy for r in done.rows]
    text = (done.folder / "table.md").read_text()
    assert text == done.markdown() == str(done)
    assert "static: clouds made once on plain" in text and "severity 5" in text
    assert "made on third" in text and "corruption: clouds damaged" in text
    page = (done.folder / "table.html").read_text()
    assert page.count("<tr>") == 1 + CELLS and "<script" not in page
    assert done.evaluation().row("other", "clean").accuracy > 0.5
    again = Sweep.load(done.folder)
    assert again.rows == done.rows and again.html() == page


def test_corruption_errors_fit_the_published_measure(done):
    errors = done.corruption_errors("other")
    assert set(errors) == {"clean", "jitter", "cutout"}
    assert 0 <= corruptions.mean_corruption_error(errors) <= 1
    with pytest.raises(ValueError, match="There are: other, plain"):
        done.corruption_errors("nobody")


def test_a_finished_cell_is_never_measured_again(done, monkeypatch):
    before = {path: path.read_bytes() for path in cards(done.folder)}
    monkeypatch.setattr(Mean, "forward", None)  # no model may be asked
    again = sweep(folder=done.folder, **arguments())
    assert again.rows == done.rows
    assert {path: path.read_bytes() for path in cards(done.folder)} == before


def test_killed_and_resumed_gives_the_same_bytes(done, tmp_path):
    folder = tmp_path / "killed"
    script = Path(__file__).parent / "sweep_models.py"
    child = subprocess.run(
        [sys.executable, script, folder, "40"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(script.parent.parent)},
    )
    assert child.returncode == -9, child.stderr
    there = {path: path.read_bytes() for path in cards(folder)}
    assert 2 <= len(there) < CELLS and not (folder / "table.csv").exists()
    partly = Sweep.load(folder)
    assert len(partly.rows) == len(there) and not partly.complete
    assert f"{CELLS - len(there)} of {CELLS} cells are missing" in partly.markdown()
    sweep(folder=folder, **arguments())
    assert tables(folder) == tables(done.folder)
    assert all(path.read_bytes() == text for path, text in there.items())


def test_two_processes_give_the_table_of_one(done, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    second = sweep(folder=tmp_path, **arguments())
    assert 0 < len(second.rows) < CELLS and not (tmp_path / "table.csv").exists()
    monkeypatch.setenv("RANK", "0")
    first = sweep(folder=tmp_path, **arguments())
    assert first.complete
    assert tables(tmp_path) == tables(done.folder)
    # Cells of one job are one rank's: static clouds are made once.
    static = {r.attack for r in second.rows if r.threat_model == "static"}
    assert sum(
        r.attack in static for r in second.rows if r.threat_model == "static"
    ) == 2 * len(static)
    for rank, world in (("2", "2"), ("x", "2"), (None, "2")):
        monkeypatch.setenv("WORLD_SIZE", world)
        monkeypatch.delenv("RANK")
        if rank:
            monkeypatch.setenv("RANK", rank)
        with pytest.raises(ValueError, match=r"0 <= RANK < WORLD_SIZE; received RANK="):
            sweep(folder=tmp_path, **arguments())
        monkeypatch.setenv("RANK", "0")


def few(folder, **changes):
    """A sweep of three cells."""
    given = {
        "models": {"plain": Mean()},
        "dataset": data(),
        "attacks": PGD(eps=0.05, steps=2),
        "corruptions": [corruptions.Jitter(severity=1)],
        "progress": False,
    } | changes
    return sweep(folder=folder, **given)


def test_damaged_cards_are_measured_again(tmp_path):
    first = few(tmp_path)
    expected = tables(tmp_path)
    for damage in (
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace('"correct": 1', '"correct": 2', 1),
        lambda text: "{}",
    ):
        path = next(p for p in cards(tmp_path) if "clean" in p.name)
        path.write_text(damage(path.read_text()))
        assert len(Sweep.load(tmp_path).missing) == 1
        with pytest.warns(UserWarning, match="damaged and does not count; its cell is"):
            again = few(tmp_path)
        assert again.rows[0].correct == first.rows[0].correct
        assert tables(tmp_path) == expected


def test_cells_of_other_settings_are_refused(tmp_path):
    few(tmp_path)
    before = {path: path.read_bytes() for path in cards(tmp_path)}
    points, labels = data()
    for changes, message in (
        ({"attacks": PGD(eps=0.06, steps=2)}, r"attack.eps was 0.05, now 0.06"),
        ({"models": {"plain": Mean((1.0, 0.9, 1.0))}}, r"model.weights was '"),
        ({"dataset": (points + 0.001, labels)}, r"data.hash was"),
        ({"seed": 1}, "seed was 0, now 1"),
        ({"batch_size": 7}, "batch_size was 32, now 7"),
        ({"eot_samples": 4}, "eot_samples was 8, now 4"),
        ({"models": {"new": Mean()}, "seed": 1}, "seed was 0, now 1"),
        ({"target_labels": (labels + 1) % 3}, "target_labels was None, now '"),
        (
            {"corruptions": [corruptions.Jitter(severity=1, seed=5)]},
            "corruption.seed was 0, now 5",
        ),
    ):
        with pytest.raises(ValueError, match=message) as error:
            few(tmp_path, **changes)
        assert "choose another folder, or delete the card" in str(error.value)
    assert {path: path.read_bytes() for path in cards(tmp_path)} == before


def test_a_sweep_may_grow(tmp_path):
    few(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in cards(tmp_path)}
    more = {"plain": Mean(), "other": Mean((1.0, 0.8, 1.2))}
    grown = few(tmp_path, models=more)
    assert len(grown.rows) == 6
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert len(few(tmp_path).rows) == 3


def test_a_folder_that_cannot_be_written_is_named_before_work(tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("work began")

    monkeypatch.setattr(Mean, "forward", never)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ValueError, match="folder must be one that can be written"):
        few(file)
    for code in (errno.EROFS, errno.ENOSPC):

        def refuse(*_, code=code, **__):
            raise OSError(code, errno.errorcode[code])

        monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
        with pytest.raises(
            ValueError, match=f"{errno.errorcode[code]}. Choose another"
        ):
            few(tmp_path / "other")


def test_a_disk_that_fills_up_keeps_finished_cells(tmp_path, monkeypatch):
    from mrpd_tutorial.sweep import cells

    write, written = cells.write_json, []

    def full(path, *rest, **options):
        if len(written) == 2 and "cells" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        if "cells" in str(path):
            written.append(path)
        write(path, *rest, **options)

    monkeypatch.setattr(cells, "write_json", full)
    with pytest.raises(OSError, match="Finished cells are kept: make room and call"):
        few(tmp_path)
    assert cards(tmp_path) == sorted(written)
    monkeypatch.setattr(cells, "write_json", write)
    assert few(tmp_path).complete


def test_bad_input_is_named_before_anything_is_written(tmp_path):
    points, _ = data()
    for changes, message in (
        ({"models": {}}, "models must map"),
        ({"attacks": "PGD"}, "attack must be an Attack"),
        ({"attacks": PGD(eps=90.0)}, "larger than the object"),
        ({"corruptions": [corruptions.Jitter]}, r"such as Rotation\(severity=3\)"),
        (
            {"corruptions": [corruptions.Jitter(severity=1)] * 2},
            "'jitter 1' is there tw",
        ),
        ({"dataset": points}, "PointDataset or a pair"),
        ({"threat_models": ["static"]}, "undefended= for static"),
        ({"protocol": "best"}, "protocol must be one of 'paper', 'released'"),
    ):
        with pytest.raises(ValueError, match=message):
            few(tmp_path / "none", **changes)
    assert not (tmp_path / "none").exists()
    (tmp_path / "sweep.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold the plan of a sweep"):
        Sweep.load(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        Sweep.load(tmp_path / "nowhere")


def test_progress_counts_clouds(tmp_path, capsys):
    few(tmp_path, progress=True)
    # Clean and corrupted clouds are shown once, attacked ones made and shown.
    assert "72/72" in capsys.readouterr().err


def test_the_protocols_differ_in_what_the_release_does():
    paper, released = Protocol.paper(), Protocol.released()
    listed = {choice.name: choice for choice in choices()}
    assert set(listed) == {field.name for field in dataclasses.fields(Protocol)}
    for name, choice in listed.items():
        assert (choice.paper, choice.released) == (
            getattr(paper, name),
            getattr(released, name),
        )
        assert choice.paper != choice.released and choice.effect
    pgd = released.attacks(1024)["PGD"]
    assert (pgd.norm, pgd.eps, pgd.step_size, pgd.steps) == ("l2", 0.08, 0.004, 20)
    assert pgd.loss == "ce"
    assert paper.attacks(1024)["PGD"].eps == pytest.approx(0.08 * math.sqrt(3072))
    assert isinstance(released.attacks(1024)["Drop-200"], SaliencyDrop)
    perturb = released.attacks(1024)["Perturb"]
    assert isinstance(perturb, CWPerturb) and perturb.loss == "ce"
    assert (perturb.steps, perturb.search_steps) == (50, 10)
    assert (released.sor.k, released.sor.alpha) == (16, 1.0)
    assert paper.sor == SOR(k=2, alpha=1.1)
    assert released.threat_models() == ("static",)
    single = paper.one_by_one()
    assert set(single) == set(listed) and not released.one_by_one()
    for name, one in single.items():
        changed = [n for n in listed if getattr(one, n) != getattr(paper, n)]
        assert changed == [name]
    with pytest.raises(ValueError, match="targets must be one of 'none', 'random'"):
        Protocol(targets="all")


class Recorder(Attack):
    """Returns the clean clouds, and notes what it was told."""

    told: dict = {}  # noqa: RUF012

    def _run(self, search):
        self.told[self.eps] = (search.labels, search.target_labels)


def told_labels(found):
    path = next(path for path in cards(found.folder) if "Drop" in path.name)
    return json.loads(path.read_text())["settings"]["told_labels"]


def test_what_each_protocol_tells_the_attacks(tmp_path):
    points, labels = data()
    sets = {"dataset": (points, labels), "corruptions": ()}
    attacks = {"PGD": Recorder(eps=math.inf), "Drop-200": SaliencyDrop(eps=4)}

    def run(name, protocol):
        return few(tmp_path / name, attacks=attacks, protocol=protocol, **sets)

    plain = Mean()
    sets["models"], sets["undefended"] = {"plain": plain}, plain
    found = run("released", "released")
    assert [row.threat_model for row in found.rows] == ["clean", "static", "static"]
    told, targets = Recorder.told[math.inf]
    assert torch.equal(told, labels) and bool((targets != labels).all())
    assert found.rows[1].targeted and not found.rows[2].targeted
    assert told_labels(found) is not None
    found = run("paper", "paper")
    assert [row.threat_model for row in found.rows] == ["clean", "adaptive", "adaptive"]
    assert Recorder.told[math.inf][1] is None
    one = Protocol.paper().one_by_one()["drop_label"]
    found = run("drop", one)
    assert Recorder.told[math.inf][1] is None, "random labels are for Drop alone"
    assert told_labels(found) is not None


def test_the_label_drop_is_told_decides_its_success(tmp_path):
    """Half of the points carry the class, far out; a random label spares them."""
    labels = torch.arange(12) % 3
    axis = torch.nn.functional.one_hot(labels, 3).float()
    signal = axis[:, None] * torch.linspace(0.2, 1.0, 16)[None, :, None]
    noise = 0.05 * torch.ones(12, 48, 3)
    points = torch.cat([signal, noise - noise.mean(1, keepdim=True)], dim=1)

    class Far(torch.nn.Module):
        def forward(self, points):
            return points.amax(1) * 10

    def accuracy(protocol):
        found = sweep(
            {"far": Far()},
            (points, labels),
            {"Drop-200": SaliencyDrop(eps=16, per_round=1)},
            folder=tmp_path / protocol.drop_label,
            protocol=protocol,
            progress=False,
        )
        return found.rows[-1].accuracy

    paper = Protocol.paper()
    assert accuracy(paper) < accuracy(paper.one_by_one()["drop_label"])


def test_a_protocol_brings_its_attacks(tmp_path):
    small = Protocol.released(perturb_steps=2, pgd_steps=2)
    points = torch.cat([data()[0]] * 7, dim=1)  # 224 points: Drop-200 needs more
    plain = Mean()
    found = sweep(
        {"plain": plain, "sor": Defended(plain, small.sor)},
        (points, data()[1]),
        folder=tmp_path,
        undefended="plain",
        protocol=small,
        progress=False,
    )
    assert [row.attack for row in found.rows[2::2]] == ["PGD", "Perturb", "Drop-200"]
    assert found.complete and found.card["config"]["protocol"]["targets"] == "random"


def test_the_worst_case_and_the_ball_are_two_cells_of_one_job(tmp_path):
    auto = PointAutoAttack(eps=0.05, changed=4, steps=3, max_queries=8)
    found = few(tmp_path, attacks={"AA": auto}, corruptions=(), eot_samples=3)
    worst, in_ball = (
        found.evaluation().row("plain", "adaptive", name) for name in NAMES
    )
    assert worst.correct <= in_ball.correct
    assert worst.attack_seconds == in_ball.attack_seconds  # made once
    assert "AA, in ball" in (tmp_path / "table.csv").read_text()
    assert "AA, in ball" in (tmp_path / "table.html").read_text()
    assert "worst case over all" in (tmp_path / "table.md").read_text()
    # Its draws are its own setting: others' do not make it another attack.
    again = few(tmp_path, attacks={"AA": auto}, corruptions=(), eot_samples=5)
    assert again.rows == found.rows


NAMES = ("AA", "AA, in ball")


def test_cells_of_another_folder_are_taken_over(tmp_path, monkeypatch):
    first = few(tmp_path / "first")
    with monkeypatch.context() as patch:
        patch.setattr(Mean, "forward", None)  # no model may be asked
        again = few(tmp_path / "second", reuse=[tmp_path / "first"])
    assert again.rows == first.rows
    assert tables(tmp_path / "second") == tables(tmp_path / "first")
    attacks = PGD(eps=0.06, steps=2)
    other = few(tmp_path / "third", attacks=attacks, reuse=[tmp_path / "first"])
    assert other.rows[0] == first.rows[0] and other.rows[1] != first.rows[1]


def test_what_each_choice_is_worth(tmp_path, monkeypatch):
    points = torch.cat([data()[0][:3]] * 7, dim=1)  # 224 points: Drop-200 needs more
    given = {
        "models": {"plain": Mean(), "other": Mean((1.0, 0.8, 1.2))},
        "dataset": (points, data()[1][:3]),
        "folder": tmp_path,
        "undefended": "plain",
        "paper": Protocol.paper(perturb_steps=3, pgd_steps=4),
        "released": Protocol.released(perturb_steps=2, pgd_steps=2),
        "progress": False,
    }
    worth = protocol_worth(**given)
    assert worth.complete
    # The centroid is 0.08 / sqrt(2) from the boundary, 0.85 in whole-cloud l2: within
    # the paper's 0.08 * sqrt(3 N) = 2.07, far beyond the release's 0.08.
    assert worth.row("paper", "plain", "PGD")["accuracy"] == 0
    budget = worth.row("pgd_budget", "plain", "PGD")
    assert budget["accuracy"] == 1 and budget["difference"] == 1
    assert (budget["paper"], budget["released"]) == ("coordinate", "cloud")
    assert budget["low"] < 1 and budget["high"] == 1 and budget["n"] == 3
    assert worth.row("released", "plain", "PGD")["accuracy"] == 1
    assert worth.row("clouds", "other", "PGD")["threat_model"] == "static"
    models = {row["model"] for row in worth.rows if row["choice"] == "sor"}
    assert models == {"plain + SOR"}
    touched = {(r["choice"], r["attack"]) for r in worth.rows}
    assert ("drop_label", "Drop-200") in touched
    for pair in (("drop_label", "PGD"), ("pgd_budget", "Perturb"), ("clouds", "none")):
        assert pair not in touched
    with pytest.raises(
        ValueError, match=r"must be those of a row; received \('drop_la"
    ):
        worth.row("drop_label", "plain", "PGD")
    assert worth.csv() == (tmp_path / "worth.csv").read_text()
    assert worth.markdown() == str(worth) == (tmp_path / "worth.md").read_text()
    assert "| pgd_budget | coordinate | cloud | PGD | 100.0 (" in worth.markdown()
    assert ", +100.0 |" in worth.markdown()
    ask, asked = Mean.forward, []

    def counted(model, points):
        asked.append(len(points))
        return ask(model, points)

    monkeypatch.setattr(Mean, "forward", counted)
    assert protocol_worth(**given).csv() == worth.csv()
    assert set(asked) == {1}, "one cloud for the number of classes, and no other"
    with pytest.raises(ValueError, match="undefended must be given"):
        protocol_worth(**given | {"undefended": None})
    with pytest.raises(ValueError, match=r"models must not hold 'plain \+ SOR'"):
        protocol_worth(**given | {"models": given["models"] | {"plain + SOR": Mean()}})
    # While the paper's cells are missing (another process has them) it still reads.
    next((tmp_path / "paper" / "cells").glob("plain--adaptive--PGD*")).unlink()
    folders = {name: tmp_path / name for name in ("paper", "pgd_budget")}
    partly = merge(folders, given["paper"], given["released"])
    assert not partly.complete and "Not finished: 1 cells" in partly.markdown()


def test_descriptions_tell_what_behaves_differently():
    def made(factor):
        return lambda points: points.mean(1) * factor

    different = [
        Mean(),
        Mean((1.0, 1.0, 1.1)),
        Defended(Mean(), SRS(drop=4)),
        Defended(Mean(), SRS(drop=5)),
        made(1.0),
        made(2.0),
        partial(torch.mul, 2),
        partial(torch.mul, 3),
        Mean().forward,
        Mean((1.0, 1.0, 1.1)).forward,
        PGD(eps=0.1),
        PGD(eps=0.1, norm="l2"),
        CWPerturb(),
    ]
    texts = [json.dumps(describe(one), allow_nan=False) for one in different]
    assert len(set(texts)) == len(texts)
    again = [Mean(), Defended(Mean(), SRS(drop=4)), made(2.0), PGD(eps=0.1)]
    same = [0, 2, 5, 10]
    assert [json.dumps(describe(one)) for one in again] == [texts[i] for i in same]
    loop = Mean()
    loop.settings = [loop]
    assert "itself" in json.dumps(describe(loop))
    model = Mean()
    model._left = 7
    assert describe(model) == describe(Mean())
