"""The evaluation on models with a known answer, and its card."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from mrpd_tutorial.attacks import PGD
from mrpd_tutorial.defenses import SRS, Defended
from mrpd_tutorial.evaluate import THREAT_MODELS, Evaluation, evaluate
from mrpd_tutorial.metrics import wilson_interval
from mrpd_tutorial.runtime import generator


def undefended(points):
    """The class is the centroid's largest coordinate."""
    return points.mean(1)


class Other(nn.Module):
    """The same classes, seen through other weights: a surrogate."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, 0.9, 1.1]))

    def forward(self, points):
        return points.mean(1) * self.scale


class Immune(nn.Module):
    """Reads the class from the count of points above zero: no useful gradient."""

    def forward(self, points):
        return (points > 0).float().mean(1) + 0 * points.mean(1)


@pytest.fixture(scope="module")
def data():
    labels = torch.arange(30) % 3
    offset = 0.08 * nn.functional.one_hot(labels, 3)[:, None]
    noise = 0.3 * torch.randn(30, 40, 3, generator=generator(0))
    noise = noise - noise.mean(1, keepdim=True)
    return noise + offset, labels


@pytest.fixture(scope="module")
def found(data):
    models = {
        "plain": undefended,
        "other": Other(),
        "srs": Defended(undefended, SRS(drop=10)),
    }
    return evaluate(
        models,
        data,
        PGD(eps=0.1),
        undefended="plain",
        surrogate=Other(),
        progress=False,
        batch_size=7,
    )


def test_every_model_meets_every_threat_model(found):
    assert len(found.rows) == 3 * 4
    assert [row.threat_model for row in found.rows[::3]] == list(THREAT_MODELS)
    for row in found.rows:
        assert row.n == 30 and row.accuracy == row.correct / 30
        assert (row.low, row.high) == wilson_interval(row.correct, 30)
        assert row.random_model == (row.model == "srs")
    sources = {(r.model, r.threat_model): r.made_on for r in found.rows}
    assert sources["other", "static"] == "plain"
    assert sources["other", "adaptive"] == "other"
    assert sources["plain", "transfer"] == "surrogate"
    assert sources["plain", "clean"] is None


def test_known_answers(data, found):
    assert found.row("plain", "clean").accuracy == 1.0
    # Twice the margin of 0.08 / sqrt(2) per point: nothing can stand.
    static = found.row("plain", "static")
    assert static.accuracy == 0.0 and static.attack_success_rate == 1.0
    assert (static.norm, static.eps, static.targeted) == ("per_point", 0.1, False)
    assert 0 < static.mean_per_point_max <= 0.1
    assert static.mean_l2 <= 0.1 * 40**0.5
    # The undefended model's own static clouds are adaptive ones.
    assert found.row("plain", "adaptive").correct == static.correct
    _, labels = data
    shown = undefended(found.clouds["PGD", "plain"].points)
    assert int((shown.argmax(1) == labels).sum()) == static.correct


def test_a_masked_gradient_does_not_hide_from_the_static_threat(data):
    models = {"plain": undefended, "immune": Immune()}
    found = evaluate(models, data, PGD(eps=0.1), undefended="plain", progress=False)
    clean, adaptive = found.row("immune", "clean"), found.row("immune", "adaptive")
    assert clean.accuracy > 0.5
    assert adaptive.attack_success_rate < 0.5
    assert found.row("plain", "adaptive").accuracy == 0.0


def test_only_the_adaptive_attack_sees_the_defense(data):
    """The class is in the centroid, and also in the axis along which points spread."""
    points, labels = data
    spread = 1 + 0.25 * nn.functional.one_hot(labels, 3)[:, None]
    points = (points - points.mean(1, keepdim=True)) * spread + points.mean(1)[:, None]

    def by_spread(points):
        return points.std(1)

    found = evaluate(
        {"plain": undefended, "by spread": by_spread},
        (points, labels),
        PGD(eps=0.1),
        undefended="plain",
        progress=False,
    )
    clean = found.row("by spread", "clean").accuracy
    # Moving the whole cloud, which fools the undefended model, leaves its spread alone.
    assert found.row("by spread", "static").accuracy > clean - 0.1 > 0.7
    assert found.row("by spread", "adaptive").accuracy < 0.1


def test_rows_repeat_and_do_not_depend_on_the_batch_size(data):
    models = {"plain": undefended, "srs": Defended(undefended, SRS(drop=10))}
    attack = PGD(eps=0.04)

    def correct(size, seed=0):
        found = evaluate(
            models, data, attack, seed=seed, batch_size=size, progress=False
        )
        return [(row.model, row.correct) for row in found.rows]

    assert correct(8) == correct(8)
    plain = [hits for name, hits in correct(8) if name == "plain"]
    assert plain == [hits for name, hits in correct(30) if name == "plain"]


def test_one_budget_for_each_cloud_is_cut_with_the_batch(data):
    eps = torch.linspace(0, 0.1, 30)
    found = evaluate(
        {"m": undefended}, data, PGD(eps=eps), batch_size=7, progress=False
    )
    result = found.clouds["PGD", "m"]
    assert (result.per_point_max <= eps).all() and result.per_point_max[-1] > 0.09
    assert found.row("m", "adaptive").eps is None
    assert "per_point per cloud" in found.table()


def test_targeted_and_named_attacks(data):
    _, labels = data
    targets = (labels + 1) % 3
    found = evaluate(
        {"m": undefended},
        data,
        {"small": PGD(eps=0.001), "large": PGD(eps=0.12, norm="linf")},
        target_labels=targets,
        progress=False,
    )
    assert found.row("m", "adaptive", "small").accuracy == 1.0
    assert found.row("m", "adaptive", "large").accuracy == 0.0
    assert torch.equal(undefended(found.clouds["large", "m"].points).argmax(1), targets)
    assert "linf 0.12, targeted" in found.table()
    with pytest.raises(ValueError, match=r"exactly one row must fit.*found 2"):
        found.row("m", "adaptive")


def test_clean_only_and_chosen_threat_models(data):
    found = evaluate({"m": undefended}, data, None, progress=False)
    assert [row.threat_model for row in found.rows] == ["clean"]
    found = evaluate(
        {"m": undefended, "o": Other()},
        data,
        PGD(eps=0.1),
        undefended="m",
        threat_models=["static"],
        progress=False,
    )
    assert {row.threat_model for row in found.rows} == {"clean", "static"}


def test_a_surrogate_may_bring_its_name(data):
    models = {"plain": undefended}
    found = evaluate(
        models, data, PGD(eps=0.1), surrogate={"teacher": Other()}, progress=False
    )
    assert found.row("plain", "transfer").made_on == "teacher"
    assert found.card["config"]["surrogate"] == "teacher"
    for wrong, message in (
        ({}, "surrogate must be models by name"),
        ({"a": 3}, "surrogate must be models by name"),
        ({"plain": Other()}, "models calls 'plain'"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(models, data, PGD(eps=0.1), surrogate=wrong, progress=False)


def test_the_surrogate_does_not_transfer_to_itself(data):
    found = evaluate(
        {"m": undefended, "o": Other()},
        data,
        PGD(eps=0.1),
        surrogate="o",
        progress=False,
    )
    shown = [(r.model, r.made_on) for r in found.rows if r.threat_model == "transfer"]
    assert shown == [("m", "o")]


def test_table_reads_as_text_and_as_markdown(found):
    lines = found.table().splitlines()
    assert str(found) == found.table()
    body = [line for line in lines if line.startswith("|")]
    assert len(body) == 2 + 12 and len({len(line) for line in body}) == 1
    assert "per_point 0.1" in body[-1] and "95 % interval" in body[0]
    assert any(line.startswith("| srs ~") for line in body)
    text = found.table()
    assert "made once on plain" in text and "made on surrogate, of the" in text
    assert "~ answers differ" in text


def test_card_says_what_the_numbers_were_made_with(found, data, tmp_path):
    path = tmp_path / "results" / "card.json"
    found.save(path)
    card = json.loads(path.read_text())
    assert card["config"]["attacks"]["PGD"]["eps"] == 0.1
    assert card["config"]["attacks"]["PGD"]["class"] == "PGD"
    assert card["seed"] == 0 and card["device"] == "cpu" and card["seconds"] > 0
    assert card["data"]["n"] == 30 and len(card["data"]["hash"]) == 64
    assert "torch" in card["environment"]["packages"]
    assert card["models"]["other"]["parameters"] == 3
    assert "SRS(drop=10" in card["models"]["srs"]["defense"]
    assert card["models"]["surrogate"]["type"] == "Other"
    loaded = Evaluation.load(path)
    assert loaded.rows == found.rows and loaded.table() == found.table()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        found.save(path)
    found.save(path, overwrite=True)
    assert [p.name for p in path.parent.iterdir()] == ["card.json"]
    other = tmp_path / "other.json"
    other.write_text('{"kind": "something"}')
    with pytest.raises(ValueError, match="must hold an evaluation's card"):
        Evaluation.load(other)


def test_datasets_are_taken_whole(data):
    @dataclasses.dataclass
    class Set:
        name: str
        split: str
        points: torch.Tensor
        labels: torch.Tensor

    found = evaluate({"m": undefended}, Set("toy", "test", *data), None, progress=False)
    assert found.card["data"]["name"] == "toy"
    assert found.card["data"]["split"] == "test"
    pair = evaluate({"m": undefended}, data, None, progress=False)
    assert pair.card["data"]["hash"] == found.card["data"]["hash"]


def test_inputs_are_not_changed(data):
    points, labels = data
    before = points.clone(), labels.clone()
    evaluate({"m": undefended}, data, PGD(eps=0.1), progress=False)
    assert torch.equal(points, before[0]) and torch.equal(labels, before[1])


def test_progress_is_shown(data, capsys):
    evaluate({"m": undefended}, data, PGD(eps=0.1))
    assert "90/90" in capsys.readouterr().err


def test_bad_input_is_named(data):
    points, labels = data
    attack, models = PGD(eps=0.1), {"m": undefended}
    cases = [
        (({}, data, attack), {}, "models must map"),
        ((undefended, data, attack), {}, "models must map"),
        ((models, points, attack), {}, "PointDataset or a pair"),
        ((models, (points, labels[:3]), attack), {}, "for each of the 30 clouds"),
        ((models, (points / 0, labels), attack), {}, "points must be finite"),
        ((models, data, "PGD"), {}, r"attack must be an Attack.*PGD\.quick"),
        ((models, data, {"a": 3}), {}, "received int for 'a'"),
        ((models, data, attack), {"undefended": "x"}, "undefended must be one of 'm'"),
        ((models, data, attack), {"surrogate": 3}, "surrogate must be a model or"),
        ((models, data, attack), {"threat_models": ["white"]}, "threat_models must be"),
        ((models, data, attack), {"threat_models": ["static"]}, "undefended= for"),
        ((models, data, attack), {"batch_size": 0}, "batch_size must be above 0"),
        ((models, data, attack), {"target_labels": labels}, "must differ from labels"),
        ((models, data, PGD(eps=(0.1, 0.2))), {}, "one for each of the 30 clouds"),
        ((models, data, PGD(eps=50.0)), {}, "larger than the object"),
        (
            ({"undefended": undefended}, data, attack),
            {"undefended": Other()},
            "Rename one of the two",
        ),
        (
            ({"m": nn.Sequential(Other(), nn.BatchNorm1d(3))}, data, attack),
            {},
            "must be in evaluation mode",
        ),
        (
            ({"m": lambda points: points.mean(1) / 0}, data, attack),
            {},
            "NaN or infinite logits",
        ),
    ]
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match=message):
            evaluate(*arguments, progress=False, **options)


@pytest.mark.gpu
def test_clouds_move_to_the_device(data):
    found = evaluate(
        {"o": Other().cuda()}, data, PGD(eps=0.1), device="cuda", progress=False
    )
    assert found.card["device"].startswith("cuda")
    assert found.clouds["PGD", "o"].points.is_cuda
