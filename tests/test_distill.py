"""Distillation on a tiny fake lab: the loop, its options and its bad inputs."""

import dataclasses
import math

import pytest
import torch
from fake_lab import CLASSES, clouds, encoder, fake_lab, quick
from torch import nn
from torch.nn import functional as F

from mrpd_tutorial.attacks import PGD
from mrpd_tutorial.data import PointDataset
from mrpd_tutorial.distill import DistillConfig, HardenedStudent, distill
from mrpd_tutorial.distill.cache import FeatureCache, module_digest
from mrpd_tutorial.distill.feature_maker import FeatureMaker
from mrpd_tutorial.distill.objective import Objective
from mrpd_tutorial.distill.training import draw_batches, learning_rate
from mrpd_tutorial.models.classifier import LOGIT_SCALE

TRAIN, VAL = clouds("train", 30), clouds("val", 12, seed=1)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def run(cache_dir, config=None, **options):
    lab = options.pop("lab", fake_lab())
    train, val = options.pop("train", TRAIN), options.pop("val", VAL)
    config = quick() if config is None else config
    return distill(
        lab, train, val, config, cache_dir=cache_dir, progress=False, **options
    )


def make_features(config, cache_dir, data=TRAIN):
    lab = fake_lab()
    texts = lab.class_text_features(CLASSES)
    plain = HardenedStudent(lab.student, texts, CLASSES, colour=config.colour)
    cache = None if cache_dir is None else FeatureCache(cache_dir)
    maker = FeatureMaker(lab, CLASSES, config, plain, cache, progress=False)
    return maker.make(data, teachers=True)


# ------------------------------------------------------------------ the loop


def test_history_is_a_complete_table(cache_dir):
    result = run(cache_dir)
    expected = {"epoch", "learning_rate", "loss", "val_clean", "val_attacked"}
    expected |= {"val_score"} | {
        f"{what}_{teacher}"
        for what in ("loss", "pass", "weight", "temperature")
        for teacher in ("image", "point", "text")
    }
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    for row in result.history:
        assert row.keys() == expected
        assert all(math.isfinite(value) for value in row.values())
    assert result.undefended.keys() == {"val_clean", "val_attacked"}
    assert result.prompt.shape == (1, 3, 32) and result.context.shape == (2, 16)
    assert result.class_text_features.shape == (4, 16)


def test_only_prompts_learn_and_nothing_else_changes(cache_dir):
    lab = fake_lab()
    models = (lab.student, lab.point_teacher, lab.image_teacher, lab.text_teacher)
    before = [module_digest(model) for model in models], TRAIN.hash(), VAL.hash()
    state = torch.random.get_rng_state()
    run(cache_dir)
    after = [module_digest(model) for model in models], TRAIN.hash(), VAL.hash()
    assert before == after
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_same_seed_gives_the_same_prompts(cache_dir):
    one, two, other = (run(cache_dir, quick(seed=seed)) for seed in (0, 0, 1))
    torch.testing.assert_close(one.prompt, two.prompt, rtol=0, atol=0)
    assert one.history == two.history
    assert not torch.equal(one.prompt, other.prompt)


def test_cached_and_recomputed_training_agree(cache_dir):
    """Teachers and tokens from disk, or computed for each batch: one loss curve."""
    cached, recomputed = run(cache_dir), run(cache_dir, use_cache=False)
    for one, two in zip(cached.history, recomputed.history, strict=True):
        assert one == pytest.approx(two, abs=1e-5)


def test_a_second_run_computes_no_teacher_feature(cache_dir, monkeypatch):
    first = run(cache_dir)

    def refuse(*args, **kwargs):
        raise AssertionError("computed again")

    lab = fake_lab()
    monkeypatch.setattr(type(lab.image_teacher), "forward", refuse)
    monkeypatch.setattr(type(lab.student), "tokens", refuse)
    assert run(cache_dir).history == first.history


def test_a_damaged_cache_changes_no_result(tmp_path):
    first = run(tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 9  # val: attacked, 2 tokens; train: attacked, 2 + 2 + 1
    for i, path in enumerate(files):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content[: -i or None])
    again = run(tmp_path)
    torch.testing.assert_close(again.prompt, first.prompt, rtol=0, atol=0)


def test_other_settings_get_other_features(cache_dir):
    """No stale feature is taken for another colour, attack, view or student."""
    for changes in (
        {"colour": 0.8},
        {"attack": PGD.quick(steps=2, eps=0.2)},
        {"attack_targets": "random"},
        {"image_views": "released"},
        {"seed": 5},
    ):
        config = quick(**changes)
        one = run(cache_dir, config)
        two = run(cache_dir, config, use_cache=False)
        for a, b in zip(one.history, two.history, strict=True):
            assert a == pytest.approx(b, abs=1e-5)


def test_the_loss_falls(cache_dir):
    # Without the gate, which as the context moves lets other clouds pass.
    config = quick(epochs=24, learning_rate=0.03, gate="none")
    history = run(cache_dir, config).history
    for teacher in ("image", "point", "text"):
        losses = [row[f"loss_{teacher}"] for row in history]
        # Which clouds are attacked alternates: two epochs see each cloud both ways.
        assert sum(losses[-4:]) < sum(losses[:4])


def test_the_best_epoch_is_kept(cache_dir):
    result = run(cache_dir, quick(epochs=12, learning_rate=0.05))
    scores = [row["val_score"] for row in result.history]
    best = max(scores)
    assert result.best_epoch == max(i + 1 for i, s in enumerate(scores) if s == best)
    row = result.history[result.best_epoch - 1]
    right = result.hardened(VAL.points).argmax(1) == VAL.labels
    assert row["val_clean"] == pytest.approx(right.double().mean().item())
    mean = (row["val_clean"] + row["val_attacked"]) / 2
    assert row["val_score"] == pytest.approx(mean)


def test_learning_rate_is_the_cosine():
    config = DistillConfig.paper()
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100, eta_min=1e-5)
    for epoch in range(100):
        assert learning_rate(config, epoch) == pytest.approx(
            schedule.get_last_lr()[0], rel=1e-9
        )
        optimizer.step()
        schedule.step()


# ---------------------------------------------------------------- who sees what


def test_clean_and_attacked_are_mixed_and_two_epochs_show_both():
    config = quick(batch_size=32)
    seen = torch.zeros(1000, 2, dtype=torch.int64)
    for epoch in (4, 5):
        batches = draw_batches(config, epoch, 1000)
        assert sorted(torch.cat([i for i, _ in batches]).tolist()) == list(range(1000))
        for index, attacked in batches:
            assert len(index) in (31, 32) and attacked.any() and not attacked.all()
            seen[index, attacked.long()] += 1
    assert (seen == 1).all()
    shares = [
        torch.cat([a for _, a in draw_batches(config, epoch, 1000)]).double().mean()
        for epoch in (0, 2, 4)
    ]
    assert all(abs(share - 0.5) < 0.06 for share in shares)


@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("clean_then_attacked", [0, 0, 1, 1]),
        ("clean", [0, 0, 0, 0]),
        ("attacked", [1, 1, 1, 1]),
    ],
)
def test_other_schedules(schedule, expected):
    config = quick(schedule=schedule, epochs=4)
    for epoch, wanted in enumerate(expected):
        for _, attacked in draw_batches(config, epoch, 20):
            assert attacked.float().mean() == wanted


def test_no_small_rest_is_left():
    sizes = [len(index) for index, _ in draw_batches(quick(batch_size=32), 0, 65)]
    assert sizes == [22, 22, 21]


@pytest.mark.parametrize("cached", [True, False])
def test_the_point_teacher_sees_clean_clouds_the_others_what_the_student_sees(
    cached, cache_dir
):
    features = make_features(quick(), cache_dir if cached else None)
    lab, index = fake_lab(), torch.tensor([3, 0, 7, 20])
    attacked = torch.tensor([True, False, True, False])
    clean_clouds = TRAIN.points[index]
    attacked_clouds = features.clouds["attacked"][index]
    moved = (attacked_clouds - clean_clouds).norm(dim=-1).amax(1)
    assert moved.min() > 0 and moved.max() <= 0.05
    shown = torch.where(attacked[:, None, None], attacked_clouds, clean_clouds)
    batch = features.batch(index, attacked)
    with torch.no_grad():
        point = F.normalize(lab.point_teacher(clean_clouds), dim=-1)
        torch.testing.assert_close(batch.references["point"], point)
        torch.testing.assert_close(batch.references["image"], lab.image_teacher(shown))
        torch.testing.assert_close(batch.tokens, lab.student.tokens(shown))
    assert batch.labels.tolist() == TRAIN.labels[index].tolist()


def test_released_teachers_see_the_attacked_cloud_from_one_side(cache_dir):
    config = quick(
        point_teacher_input="student_input", image_views="released", colour=0.5
    )
    features = make_features(config, cache_dir)
    index = torch.arange(4)
    batch = features.batch(index, torch.ones(4, dtype=torch.bool))
    shown = features.clouds["attacked"][index]
    lab = fake_lab()
    with torch.no_grad():
        point = F.normalize(lab.point_teacher(shown, colour=0.5), dim=-1)
    torch.testing.assert_close(batch.references["point"], point)
    assert len(lab.image_teacher.views) == 2  # the lab itself is left alone


def test_the_total_is_equation_8(cache_dir):
    config = quick(temperature=0.2, k=1)
    features = make_features(config, cache_dir)
    lab = fake_lab()
    objective = Objective(lab, CLASSES, config)
    with torch.no_grad():
        values = torch.tensor([0.3, -0.2, 0.1])
        objective.weighting.log_variances.copy_(values)
    index = torch.arange(8)
    batch = features.batch(index, index % 2 == 0)
    step = objective(batch)
    texts = lab.class_text_features(CLASSES, context=objective.context)
    student = F.normalize(
        lab.student.forward_tokens(batch.tokens, objective.prompt), dim=-1
    )
    expected = 0.0
    references = {**batch.references, "text": texts[batch.labels]}
    for teacher, weight in zip(("image", "point", "text"), values, strict=True):
        reference = references[teacher]
        passed = (reference @ texts.T).argmax(1) == batch.labels
        s = student[passed] @ reference[passed].T / 0.2
        target = torch.arange(len(s))
        loss = torch.zeros(())
        if len(s) > 1:
            loss = (F.cross_entropy(s, target) + F.cross_entropy(s.T, target)) / 2
        assert step.losses[teacher] == pytest.approx(loss.item(), abs=1e-6)
        assert step.passed[teacher] == pytest.approx(passed.double().mean().item())
        expected = expected + torch.exp(-weight) * loss + weight
    torch.testing.assert_close(step.total, expected)
    step.total.backward()
    for parameter in objective.parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0


# ------------------------------------------------------------------- options


@pytest.mark.parametrize(
    "changes",
    [
        {"gate": "none"},
        {"gate": "batch_position"},
        {"gate": "threshold", "gate_level": 0.3},
        {"gate": "entropy", "gate_level": 0.7},
        {"gate": "soft"},
        {"prompt_depth": 2},
        {"prompt_tokens": 0},
        {"context_tokens": 0},
        {"teachers": ("text",)},
        {"teachers": ("image", "point")},
        {"schedule": "clean"},
        {"image_teacher_input": "clean"},
        {"floor_gradient": "stops"},
        {"selection": "last"},
        {"normalise_text_at_inference": False},
    ],
    ids=str,
)
def test_options_run(cache_dir, changes):
    config = quick(epochs=2, **changes)
    result = run(cache_dir, config)
    assert {"prompt_depth": 2}.items() <= changes.items() or (
        result.prompt is None or len(result.prompt) == 1
    )
    assert (result.prompt is None) == (config.prompt_tokens == 0)
    assert (result.context is None) == (config.context_tokens == 0)
    for teacher in ("image", "point", "text"):
        assert (f"loss_{teacher}" in result.history[0]) == (teacher in config.teachers)
    assert result.hardened(VAL.points).shape == (12, 4)
    if changes.get("gate") == "none":
        assert result.history[0]["pass_image"] == 1


def test_released_runs_with_its_attack(cache_dir):
    config = DistillConfig.released(
        epochs=2, batch_size=8, attack=PGD.paper(steps=2), selection_split="any"
    )
    as_released = dataclasses.replace(VAL, split="test")
    result = run(cache_dir, config, val=as_released)
    assert result.history[0]["pass_text"] == 1  # ungated
    stored = result.class_text_features.norm(dim=-1)
    assert (stored - 1).abs().max() > 1e-3  # not normalised
    assert result.hardened.colour == 0.5


def test_text_prompts_alone_leave_the_student_as_it_is(cache_dir):
    result = run(cache_dir, quick(prompt_tokens=0, teachers=("text",)))
    student = fake_lab().student
    with torch.no_grad():
        plain = F.normalize(student(VAL.points), dim=-1)
        expected = LOGIT_SCALE * plain @ result.class_text_features.T
    torch.testing.assert_close(result.hardened(VAL.points), expected)


# ------------------------------------------------------------------ bad input


def bad(match, cache_dir, **options):
    with pytest.raises(ValueError, match=match):
        run(cache_dir, **options)


def test_bad_inputs_are_refused_at_the_door(cache_dir):
    test_split = dataclasses.replace(VAL, split="test")
    bad("val is the test split", cache_dir, val=test_split)
    renamed = dataclasses.replace(VAL, class_names=("a", "b", "c", "d"))
    bad("same classes in the same order", cache_dir, val=renamed)
    bad("at least 2 clouds", cache_dir, train=TRAIN.subset([0]))
    bad("k must be at most the number of classes, 4", cache_dir, config=quick(k=5))
    bad("at most the student's 2 blocks", cache_dir, config=quick(prompt_depth=3))
    big = dataclasses.replace(TRAIN, points=TRAIN.points * 2, frame="other")
    bad("must lie in the unit sphere", cache_dir, train=big)
    few = TRAIN.subsample_points(6)
    bad("must have at least 8 points", cache_dir, train=few)


def test_unfrozen_or_training_models_are_refused(cache_dir):
    lab = fake_lab()
    learnable = dataclasses.replace(lab, student=encoder().requires_grad_(True))
    bad("lab.student must be frozen", cache_dir, lab=learnable)
    training = dataclasses.replace(lab, student=encoder().train())
    bad("lab.student is in training mode", cache_dir, lab=training)


def test_too_few_points_for_the_point_teacher(cache_dir):
    assert isinstance(TRAIN, PointDataset)
    bad("at least 12 points", cache_dir, train=TRAIN.subsample_points(10))


def test_a_loss_that_is_not_finite_is_an_error(cache_dir):
    config = quick(learning_rate=1e30, gradient_clip=1e30)
    bad("the loss became|finite", cache_dir, config=config)


@pytest.mark.gpu
def test_distillation_on_cuda_follows_the_cpu(tmp_path):
    import copy

    lab = copy.deepcopy(fake_lab())
    for name in ("student", "point_teacher", "image_teacher", "text_teacher"):
        getattr(lab, name).cuda()
    on_gpu = run(tmp_path / "gpu", lab=lab)
    on_cpu = run(tmp_path / "cpu")
    assert on_gpu.prompt.is_cuda and on_gpu.hardened(VAL.points.cuda()).is_cuda
    for one, two in zip(on_gpu.history, on_cpu.history, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=0.02)
