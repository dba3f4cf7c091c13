"""The evaluation on models with a known answer, and its card."""

import dataclasses
import json

import pytest
import torch
from torch import nn
from victims import TinyPointNet, clouds, labelled

from mrpd_tutorial.attacks import EOT, PGD, PointAutoAttack, SquareAttack, adaptive
from mrpd_tutorial.corruptions import Jitter
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
        PGD(eps=0.1, steps=10),
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
    attack = PGD(eps=0.04, steps=8)

    def correct(size, seed=0):
        options = {"seed": seed, "batch_size": size, "eot_samples": 2}
        found = evaluate(models, data, attack, progress=False, **options)
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
    assert "~ answers differ" in text and "adaptive, EOT 8" in text
    assert "averaged over n draws" in text and "without EOT" not in text


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


# --- the worst case of PointAutoAttack ------------------------------------------------

AUTO = PointAutoAttack(eps=0.04, changed=6, steps=5, max_queries=15, samples=3)


def test_what_added_and_dropped_points_mislead_reaches_the_table():
    model = TinyPointNet().eval()
    points, labels = labelled(model)
    found = evaluate(
        {"net": model, "other": TinyPointNet(seed=5).eval()},
        (points, labels),
        AUTO,
        undefended="net",
        progress=False,
    )
    result = AUTO(model, points, labels)
    worst = found.row("net", "adaptive", "PointAutoAttack")
    in_ball = found.row("net", "adaptive", "PointAutoAttack, in ball")
    assert worst.accuracy == result.robust_accuracy
    assert in_ball.accuracy == result.robust_accuracy_in_ball
    assert 0 < worst.accuracy < in_ball.accuracy < 1
    assert in_ball.mean_l2 > 0 and worst.mean_l2 is None
    # Every cloud that counts can be shown, and misleads.
    for index, changed in result.outside_ball():
        assert changed.shape[1] in (26, 38) and torch.isfinite(changed).all()
        assert (model(changed).argmax(1) != labels[index]).all()
        assert (result.fooled_by[index] > 3).all() and not result.success[index].any()
    # Another model is shown the ball alone.
    static = [row.attack for row in found.rows if row.threat_model == "static"]
    assert static == ["PointAutoAttack, in ball"] * 2
    text = found.table()
    assert "worst case over all members" in text
    assert (
        "| net   | adaptive     | PointAutoAttack          | per_point 0.04 |" in text
    )
    outside = [row for row in found.card["rows"] if row["attack"] == "PointAutoAttack"]
    assert len(outside) == 2
    alone = dataclasses.replace(AUTO, changed=0)  # no member leaves the ball
    plain = evaluate({"net": model}, (points, labels), alone, progress=False)
    assert [row.attack for row in plain.rows] == ["none", "PointAutoAttack"]
    assert plain.rows[1].accuracy == in_ball.accuracy


def test_a_random_models_worst_case_is_shown_once_by_draws_of_its_own():
    model = Defended(TinyPointNet().eval(), SRS(drop=8))
    points = clouds()
    model.reset(0)
    labels = model(points).argmax(1)
    found = evaluate({"m": model}, (points, labels), AUTO, progress=False)
    result = found.clouds["PointAutoAttack", "m"]

    def right(shown, index):
        model.reset(0)  # the seed of the evaluation, which no attack draws from
        return model(shown).argmax(1) == labels[index]

    expected = right(result.points, torch.arange(24))
    in_ball = found.row("m", "adaptive", "PointAutoAttack, in ball")
    assert in_ball.correct == int(expected.sum())
    for index, changed in result.outside_ball():
        expected[index] = right(changed, index)
    worst = found.row("m", "adaptive", "PointAutoAttack")
    marks = "".join("01"[hit] for hit in expected.tolist())
    assert found.outcomes[worst.cell] == marks and worst.correct == int(expected.sum())
    assert worst.eot_samples == 3  # its own setting


# --- random models and masked gradients -----------------------------------------------


def test_random_models_are_attacked_over_draws_and_others_as_they_are():
    model = TinyPointNet().eval()
    points, labels = labelled(model)
    random = Defended(model, SRS(drop=12))
    attack = PGD(eps=0.06, steps=3)

    def run(samples, models):
        return evaluate(
            models, (points, labels), attack, eot_samples=samples, progress=False
        )

    models = {"net": model, "srs": random}
    one, six = (run(samples, models) for samples in (1, 6))
    assert torch.equal(one.clouds["PGD", "net"].points, six.clouds["PGD", "net"].points)
    times = {"seconds": 0.0, "attack_seconds": 0.0, "attack_cpu_seconds": 0.0}
    rows = [f.row("net", "adaptive") for f in (one, six)]
    assert dataclasses.replace(rows[0], **times) == dataclasses.replace(
        rows[1], **times
    )
    # One draw: the model itself, from the seed after that of the evaluation.
    random.reset(1)
    expected = attack(random, points, labels)
    assert torch.equal(one.clouds["PGD", "srs"].points, expected.points)
    random.reset(1)
    small = dataclasses.replace(attack, batch_size=32 // 6)
    expected = small(EOT(random, 6, seed=1), points, labels)
    assert torch.equal(six.clouds["PGD", "srs"].points, expected.points)
    assert [f.row("srs", "adaptive").eot_samples for f in (one, six)] == [1, 6]
    queries = [f.row("srs", "adaptive").mean_queries for f in (one, six)]
    assert queries == [5, 6 * 5]
    assert "without EOT" in one.table() and "without EOT" not in six.table()
    assert six.card["config"]["eot_samples"] == 6
    with pytest.raises(ValueError, match="eot_samples must be a whole number of draws"):
        run(0, models)


SHORT = PGD(eps=0.02, steps=3)


def test_query_attacks_keep_their_budget_on_random_models():
    random = Defended(TinyPointNet().eval(), SRS(drop=12))
    points = clouds(6)
    random.reset(0)
    data = points, random(points).argmax(1)
    attack = SquareAttack(eps=0.05, max_queries=9)
    found = evaluate({"srs": random}, data, attack, progress=False)
    row = found.row("srs", "adaptive")
    assert row.eot_samples == 1 and 1 < row.mean_queries <= 9
    assert "without EOT" in found.table()


class Undeclared(nn.Module):
    """Random, without saying so, from torch's global generator."""

    def forward(self, points):
        return points.mean(1) + 0.02 * torch.randn(len(points), 3)


def test_random_models_that_do_not_say_so_are_found_out_and_repeat(data):
    def run():
        found = evaluate({"m": Undeclared()}, data, SHORT, progress=False)
        return found.row("m", "adaptive")

    state = torch.get_rng_state()
    first, again = run(), run()
    assert first.random_model and first.eot_samples == 8
    assert first.correct == again.correct
    assert torch.equal(state, torch.get_rng_state())


def test_defenses_without_a_gradient_are_attacked_around(data):
    def on_grid(points):
        return (points / 0.01).round() * 0.01

    models = {"plain": undefended, "grid": Defended(undefended, on_grid)}
    found = evaluate(models, data, PGD(eps=0.1), progress=False)
    row = found.row("grid", "adaptive")
    assert row.bpda and row.accuracy < 0.1
    assert not found.row("plain", "adaptive").bpda
    expected = PGD(eps=0.1)(adaptive(models["grid"]), *data)
    assert torch.equal(found.clouds["PGD", "grid"].points, expected.points)
    assert "adaptive, BPDA" in found.table() and "BPDA: the defense" in found.table()


# --- corruptions, protocols, what figures need ----------------------------------------


def test_corruptions_are_rows(data):
    found = evaluate(
        {"m": undefended}, data, None, [Jitter(severity=4)], progress=False
    )
    row = found.row("m", "corruption")
    right = undefended(Jitter(severity=4)(data[0])).argmax(1) == data[1]
    assert (row.attack, row.norm, row.eps) == ("jitter", "severity", 4.0)
    assert row.correct == int(right.sum()) and row.attack_success_rate is not None
    assert row.cell == ("m", "corruption", "jitter 4", None)
    assert found.outcomes[row.cell].count("1") == row.correct
    assert "corruption: clouds damaged" in found.table()
    with pytest.raises(ValueError, match=r"such as Rotation\(severity=3\)"):
        evaluate({"m": undefended}, data, None, [Jitter], progress=False)


def test_a_protocol_brings_targets_and_threat_models(data):
    attacks = {"PGD": PGD(eps=0.12, norm="linf")}
    models = {"m": undefended}
    paper = evaluate(models, data, attacks, protocol="paper", progress=False)
    assert [row.threat_model for row in paper.rows] == ["clean", "adaptive"]
    assert not paper.rows[1].targeted
    options = {"undefended": "m", "progress": False}
    found = evaluate(models, data, attacks, protocol="released", **options)
    assert [row.threat_model for row in found.rows] == ["clean", "static"]
    assert found.rows[1].targeted
    assert found.card["config"]["protocol"]["targets"] == "random"
    with pytest.raises(ValueError, match="protocol must be one of 'paper', 'released'"):
        evaluate(models, data, attacks, protocol="best", progress=False)


def test_outcomes_classes_and_costs_need_no_second_run(data, tmp_path):
    points, labels = data

    @dataclasses.dataclass
    class Set:
        points: torch.Tensor
        labels: torch.Tensor
        name: str = "toy"
        split: str = "test"
        class_names: tuple[str, ...] = ("x", "y", "z", "never seen")

    found = evaluate(
        {"m": undefended}, Set(points, labels), PGD(eps=0.05, steps=4), progress=False
    )
    row = found.row("m", "adaptive")
    right = undefended(found.clouds["PGD", "m"].points).argmax(1) == labels
    assert found.outcomes[row.cell] == "".join("01"[hit] for hit in right.tolist())
    assert found.labels == tuple(labels.tolist())
    by_class = found.class_accuracy()[row.cell]
    assert by_class[3] is None
    for k in range(3):
        assert by_class[k] == pytest.approx(right[labels == k].double().mean())
    assert row.mean_iterations == 4 and row.mean_queries == 6
    assert row.seconds >= row.attack_seconds > 0 and row.attack_cpu_seconds > 0
    clean = found.row("m", "clean")
    assert clean.mean_queries is None and clean.attack_seconds is None
    found.save(tmp_path / "card.json")
    loaded = Evaluation.load(tmp_path / "card.json")
    assert loaded.outcomes == found.outcomes and loaded.labels == found.labels
    assert loaded.class_names == found.class_names == Set.class_names


def test_several_surrogates_make_a_matrix_of_transfer(data):
    models = {"a": undefended, "b": Other(), "c": Immune()}
    found = evaluate(models, data, PGD(eps=0.06), surrogate=models, progress=False)
    pairs = [(r.made_on, r.model) for r in found.rows if r.threat_model == "transfer"]
    assert pairs == [(s, m) for s in "abc" for m in "abc" if s != m]
    row = found.row("b", "transfer", made_on="a")
    right = models["b"](found.clouds["PGD", "a"].points).argmax(1) == data[1]
    assert row.correct == int(right.sum())
    assert "made on a, b, c, of the attacker's own" in found.table()
    with pytest.raises(ValueError, match="must not both be called 'x'"):
        evaluate(
            {"m": undefended},
            data,
            PGD(eps=0.1),
            undefended={"x": Other()},
            surrogate={"x": Other()},
        )
    with pytest.raises(ValueError, match="name must not end in ', in ball'"):
        evaluate(models, data, {"A, in ball": PGD(eps=0.1)})


@pytest.mark.gpu
def test_clouds_move_to_the_device(data):
    found = evaluate(
        {"o": Other().cuda()}, data, PGD(eps=0.1), device="cuda", progress=False
    )
    assert found.card["device"].startswith("cuda")
    assert found.clouds["PGD", "o"].points.is_cuda
