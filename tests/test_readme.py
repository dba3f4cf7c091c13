"""Every accuracy and ratio in the README is one of a card in results/."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CARDS = [ROOT / "results" / f"{name}.json" for name in ("objects", "modelnet40")]


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_tables_agree_with_the_cards(path):
    card = json.loads(path.read_text(encoding="utf-8"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    start = text.index(f"[card](results/{path.name})")
    table = [line for line in text[start:].splitlines()[:16] if line.startswith("|")]
    lines = {line.split(" |")[0].strip("| ~"): line for line in table[2:]}
    for row in card["rows"] + card["teacher_rows"]:
        shown = f"{100 * row['accuracy']:.1f} ({100 * row['low']:.0f}"
        cell = 1 + ("clean", "static", "adaptive", "transfer").index(
            row["threat_model"]
        )
        assert shown in lines[row["model"]].split(" | ")[cell]


def test_ratios_agree_with_the_benchmarks():
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    projection, distill = (
        json.loads((ROOT / f"results/bench_{name}.json").read_text(encoding="utf-8"))
        for name in ("projection", "distill")
    )
    one, two = (
        projection["threads"][count]["wall"]["times_faster"] for count in ("1", "2")
    )
    assert f"depth maps are {one:.0f} times faster" in text
    assert f"on one thread and {two:.0f} times on two" in text
    epoch = distill["times_faster"]["an epoch, recomputed"]["wall"]
    assert f"an epoch from the cache is {epoch:.0f} times faster" in text
    assert distill["largest_loss_difference"] < 1e-5


def test_links_and_commands_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in ("data/README.md", "CITATION.cff", "results/attacked_cloud.png"):
        assert f"({target})" in text and (ROOT / target).is_file()
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in ("demo", "test", "lab", "book"):
        assert f"`make {command}`" in text or f"make {command} " in text
        assert f"\n{command}: " in makefile


def test_the_trial_agrees_with_its_card():
    card = json.loads((ROOT / "results/trial_modelnet40.json").read_text("utf-8"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    start = text.index("[card](results/trial_modelnet40.json)")
    table = [line for line in text[start:].splitlines()[:16] if line.startswith("|")]
    head, lines = table[0].split(" | "), table[2:]
    columns = {"clean": ("clean", "none"), "static": ("static", "PGD, small")}
    columns |= {"adaptive": ("adaptive", "PGD, small")}
    columns |= {"PointAutoAttack": ("adaptive", "")}
    most = max(row["n"] for row in card["rows"])
    found = {
        (row["model"], row["threat_model"], row["attack"]): row
        for row in card["rows"]
        if row["n"] == most
    }
    names = {"MRPD, the paper's recipe": "MRPD"}
    names |= {"`DistillConfig.adaptive()`": "MRPD, attacked through prompts"}
    assert len(lines) == 8
    for line in lines:
        model, *cells = line.strip("| ").split(" | ")
        for title, cell in zip(head[1:], cells, strict=True):
            threat, attack = columns[title.split()[0]]
            key = names.get(model, model), threat, attack or title.strip(" |")
            row = found[key]
            low, high = 100 * row["low"], 100 * row["high"]
            assert cell == f"{100 * row['accuracy']:.1f} ({low:.0f}–{high:.0f})", key


def test_what_the_protocol_is_worth_agrees_with_its_card():
    rows = json.loads((ROOT / "results/protocol_modelnet40.json").read_text("utf-8"))
    found = {
        (row["choice"], row["attack"], row["model"]): f"{100 * row['accuracy']:.1f} %"
        for row in rows["rows"]
    }
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    text = text[text.index("[card](results/protocol_modelnet40.md)") :]
    sentences = text.split("Part segmentation")[0]
    for shown in (
        ("paper", "PGD", "no defense"),
        ("released", "PGD", "no defense"),
        ("pgd_budget", "PGD", "no defense"),
        ("paper", "Perturb", "MRPD"),
        ("clouds", "Perturb", "MRPD"),
        ("paper", "Drop-200", "MRPD"),
        ("drop_label", "Drop-200", "MRPD"),
    ):
        assert f" {found[shown]}" in sentences, shown
    assert f"n = {rows['rows'][0]['n']}," in sentences
