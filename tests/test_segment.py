"""Part segmentation: known answers for mIoU, gate, visibility, attack and prompts."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from mrpd_tutorial.data import PointDataset, load_dataset
from mrpd_tutorial.data.shapes import PART_NAMES, make_shapes
from mrpd_tutorial.geometry import gather_points, knn
from mrpd_tutorial.metrics import bootstrap_interval, class_mean, shape_ious
from mrpd_tutorial.models import ImageTeacher
from mrpd_tutorial.models.view_features import point_view_features, points_in_front
from mrpd_tutorial.projection import TEN_VIEWS, depth_maps
from mrpd_tutorial.projection.exact import fill_box, to_map
from mrpd_tutorial.projection.views import look
from mrpd_tutorial.runtime import generator
from mrpd_tutorial.segment import (
    MultiViewTeacher,
    PartSegmenter,
    SegmentationPGD,
    SegmentConfig,
    distil_prompts,
    evaluate_parts,
    parts_table,
    point_gate,
    train_head,
    train_teacher_head,
)
from mrpd_tutorial.segment.attack import point_losses
from mrpd_tutorial.segment.prompts import point_loss
from mrpd_tutorial.segment.segmenter import (
    IMPOSSIBLE,
    class_mask,
    interpolation_matrix,
)
from mrpd_tutorial.zoo import load_lab

FEW = {"class_names": ["hammer", "umbrella", "guitar"], "num_points": 256}


@pytest.fixture(scope="module")
def lab():
    return load_lab("tiny")


@pytest.fixture(scope="module")
def train():
    return load_dataset("shapes", "train", parts=True, per_class=3, **FEW)


@pytest.fixture(scope="module")
def test():
    return load_dataset("shapes", "test", parts=True, per_class=2, **FEW)


@pytest.fixture(scope="module")
def segmenter(lab, train):
    made = PartSegmenter(lab.student, train.class_parts)
    history = train_head(made, train, epochs=20, batch_size=4)
    assert history[-1] < history[0] / 2
    return made


@pytest.fixture(scope="module")
def image_teacher(lab):
    """The lab's, with four views for speed."""
    views = TEN_VIEWS[4:8]
    return ImageTeacher(lab.image_teacher.clip_model, views, resolution=112)


@pytest.fixture(scope="module")
def teacher(image_teacher, train):
    made = MultiViewTeacher(image_teacher, train.class_parts)
    history = train_teacher_head(made, train, epochs=20, batch_size=4)
    assert history[-1] < history[0] / 2
    return made


# ------------------------------------------------------------------------- part labels


def test_part_labels_leave_the_clouds_as_they_are():
    plain = load_dataset("shapes", "train", per_class=2, **FEW)
    parts = load_dataset("shapes", "train", per_class=2, parts=True, **FEW)
    assert plain.hash() == parts.hash()
    assert torch.equal(plain.normals, parts.normals)
    assert plain.captions == parts.captions and plain.part_labels is None


def test_every_part_of_every_class_is_somewhere_and_ids_run_on():
    data = load_dataset("shapes", "test", parts=True, per_class=8, num_points=128)
    assert data.class_names == tuple(PART_NAMES)
    ids = [part for own in data.class_parts for part in own]
    assert ids == list(range(len(ids)))
    there = set(data.part_labels.unique().tolist())
    for label, own in enumerate(data.class_parts):
        assert set(data.part_labels[data.labels == label].unique().tolist()) <= set(own)
    # One table in ten has a shelf.
    tables = make_shapes(20, 2, 128, ["table"]).part_labels
    assert tables.unique().tolist() == [0, 1, 2]
    label = data.class_names.index("table")
    assert set(ids) - there <= {data.class_parts[label][2]}


def test_parts_are_where_they_belong():
    data = load_dataset("shapes", "val", parts=True, per_class=4)
    height = data.points[..., 1]

    def mean(class_name: str, part: str, value: Tensor) -> Tensor:
        label = data.class_names.index(class_name)
        part = data.class_parts[label][data.part_names[label].index(part)]
        own = data.part_labels == part
        return (value * own).sum(1)[own.any(1)] / own.sum(1)[own.any(1)]

    assert (mean("chair", "leg", height) < mean("chair", "back", height)).all()
    assert (mean("table", "leg", height) < mean("table", "top", height)).all()
    assert (
        mean("umbrella", "stick", height) < mean("umbrella", "canopy", height)
    ).all()
    assert (mean("guitar", "body", height) < mean("guitar", "head", height)).all()
    # Wings reach out to the sides, the fuselage does not.
    side = data.points[..., 0].abs()
    assert (mean("airplane", "wing", side) > 2 * mean("airplane", "body", side)).all()


def test_part_labels_follow_their_points():
    data = load_dataset("shapes", "train", parts=True, per_class=3, **FEW)
    # A label made of the point itself shows whether the two stay together.
    key = (data.normals[..., 0] > 0).long() + torch.tensor([0, 2, 4])[data.labels, None]
    data = dataclasses.replace(data, part_labels=key)

    def together(some: PointDataset) -> bool:
        first = torch.tensor([0, 2, 4])[some.labels, None]
        return bool(
            ((some.normals[..., 0] > 0).long() + first == some.part_labels).all()
        )

    thinned = data.subsample_points(100)
    assert thinned.part_labels.shape == (9, 100) and together(thinned)
    assert together(data.limit(4)) and together(data.subset([8, 0, 3]))
    assert data.limit(4).class_parts == data.class_parts


def test_classes_without_parts_are_told(few=2):
    shapes = make_shapes(few, 0, 64, ["ball", "chair"])
    assert (shapes.part_labels[:few] == -1).all()
    assert (shapes.part_labels[few:] >= 0).all()
    with pytest.raises(ValueError, match="class_names must be one of 'airplane'"):
        load_dataset("shapes", "train", parts=True, class_names=["ball"])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"part_labels": None}, "belong together; received only part_names"),
        ({"part_names": None}, "belong together; received only part_labels"),
        ({"part_labels": torch.zeros(2, 3)}, r"int64 of shape \(2, 4\)"),
        ({"part_labels": torch.full((2, 4), 2)}, r"cloud 0 of class 0 may have 0\.\.1"),
        ({"part_names": (("a", "b"),)}, "name the parts of each class"),
    ],
)
def test_part_labels_that_do_not_fit_are_refused(change, message):
    good = {
        "part_labels": torch.tensor([[0, 1, 0, 1], [2, 2, 2, 2]]),
        "part_names": (("a", "b"), ("c",)),
    }
    points = torch.rand(2, 4, 3, generator=generator(0)) - 0.5
    make = dict(name="x", split="test", points=points, frame="any")
    make |= {"labels": torch.tensor([0, 1]), "class_names": ("p", "q")}
    assert PointDataset(**make, **good).class_parts == ((0, 1), (2,))
    with pytest.raises(ValueError, match=message):
        PointDataset(**make, **{**good, **change})


# ---------------------------------------------------------------------------- metrics


def test_shape_iou_closed_forms():
    parts = [(0, 1), (2, 3, 4)]
    truth = torch.tensor([[0, 0, 0, 1], [2, 2, 3, 3], [0, 0, 0, 0]])
    said = torch.tensor([[0, 0, 1, 1], [2, 3, 3, 0], [0, 0, 0, 0]])
    labels = torch.tensor([0, 1, 0])
    # 2/3 and 1/2; 1/2, 1/3 (a part of another class is wrong) and 1 (absent); 1 and 1.
    wanted = [(2 / 3 + 1 / 2) / 2, (1 / 2 + 1 / 3 + 1) / 3, 1.0]
    found = shape_ious(said, truth, labels, parts)
    assert found.tolist() == pytest.approx(wanted)
    assert class_mean(found, labels) == pytest.approx(
        ((wanted[0] + wanted[2]) / 2 + wanted[1]) / 2
    )
    # A part that is predicted but not there counts 0.
    said[2, 0] = 1
    assert shape_ious(said, truth, labels, parts)[2] == pytest.approx((3 / 4 + 0) / 2)


def test_shape_iou_agrees_with_sets():
    source = generator(1)
    said = torch.randint(0, 5, (6, 40), generator=source)
    truth = torch.randint(2, 5, (6, 40), generator=source)
    labels = torch.ones(6, dtype=torch.int64)
    for row, found in enumerate(shape_ious(said, truth, labels, [(0, 1), (2, 3, 4)])):
        each = []
        for part in (2, 3, 4):
            a = {i for i in range(40) if said[row, i] == part}
            b = {i for i in range(40) if truth[row, i] == part}
            each.append(len(a & b) / len(a | b) if a | b else 1.0)
        assert float(found) == pytest.approx(sum(each) / 3)


def test_bootstrap_interval_of_known_shares():
    values = torch.tensor([0.0, 1.0]).repeat(200)
    low, high = bootstrap_interval(values)
    # The mean of 400 coins has a standard error of 0.025.
    assert low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.006)
    assert high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.006)
    assert bootstrap_interval(values) == (low, high)
    narrow = bootstrap_interval(values, level=0.5)
    assert low < narrow[0] < narrow[1] < high


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: shape_ious(
                torch.zeros(1, 4), torch.zeros(1, 4), torch.tensor([0]), [(0,)]
            ),
            "predicted must be int64",
        ),
        (
            lambda: shape_ious(
                torch.zeros(1, 4, dtype=torch.int64),
                torch.zeros(1, 3, dtype=torch.int64),
                torch.tensor([0]),
                [(0,)],
            ),
            "must have one shape",
        ),
        (lambda: class_mean(torch.ones(0), torch.ones(0).long()), "received none"),
        (lambda: bootstrap_interval(torch.ones(0)), "n at least 1"),
        (
            lambda: bootstrap_interval(torch.ones(3), level=1.0),
            "level must lie between",
        ),
    ],
)
def test_metrics_refuse_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ------------------------------------------------------------------ segmenter, teacher


def test_interpolation_against_a_loop():
    source = generator(2)
    points, centres = torch.rand(2, 9, 3, generator=source), None
    centres = torch.rand(2, 5, 3, generator=source)
    matrix = interpolation_matrix(points, centres)
    torch.testing.assert_close(matrix.sum(-1), torch.ones(2, 9))
    for b in range(2):
        for n in range(9):
            square = (centres[b] - points[b, n]).square().sum(-1)
            near = square.argsort()[:3]
            weight = 1 / (square[near] + 1e-4)
            wanted = torch.zeros(5).index_put((near,), weight / weight.sum())
            torch.testing.assert_close(matrix[b, n], wanted)


def test_patch_features_are_what_the_blocks_give(lab, test):
    tokens = lab.student.tokens(test.points)
    hidden, wanted = tokens, []
    for block in lab.student.visual.blocks[:-1]:
        hidden = block(hidden)
        wanted.append(hidden[:, 1:])
    found = lab.student.patch_features(tokens)
    torch.testing.assert_close(found, torch.cat(wanted, -1))
    # Prompts stand between class token and patches and are no patches themselves.
    prompt = torch.randn(2, 5, lab.student.config.width, generator=generator(0))
    other = lab.student.patch_features(tokens, prompt)
    assert other.shape == found.shape and not torch.allclose(other, found)


def test_only_parts_of_the_given_class_are_named(segmenter, teacher, test):
    for model in (segmenter, teacher):
        with torch.no_grad():
            logits = model(test.points, test.labels)
        assert logits.shape == (6, 256, 7)
        allowed = class_mask(test.class_parts)[test.labels]  # (B, S)
        assert (logits == IMPOSSIBLE).any(1).eq(~allowed).all()
        said = logits.argmax(-1)
        assert (
            shape_ious(said, test.part_labels, test.labels, test.class_parts)
        ).min() > 0
        right = (said == test.part_labels).float().mean()
        assert right > 0.75, f"{type(model).__name__} names {right:.0%} of the points"


def test_the_segmenter_needs_its_own_parts(lab, segmenter):
    other = load_dataset("shapes", "train", parts=True, per_class=1, num_points=128)
    with pytest.raises(ValueError, match="data must have the parts the segmenter"):
        train_head(segmenter, other)
    plain = load_dataset("shapes", "train", per_class=1, **FEW)
    with pytest.raises(ValueError, match=r"no part labels\. Use load_dataset"):
        train_head(segmenter, plain)
    with pytest.raises(ValueError, match=r"part ids 0\.\.S-1"):
        PartSegmenter(lab.student, [(0, 1), (1, 2)])


def test_points_fall_where_the_map_draws_them(lab, test):
    teacher, points = lab.image_teacher, test.points[:2]
    size = teacher.resolution
    filled = fill_box(look(points, teacher.views).flatten(0, 1))
    place, _ = to_map(filled, size)
    maps = depth_maps(points, teacher.views, size).flatten(0, 1)
    row, column = place.long().clamp(0, size - 1).unbind(1)
    value = maps.flatten(1).gather(1, row * size + column)
    assert (value < 1).float().mean() > 0.99, "points fall on the background"


def test_what_stands_behind_is_not_visible():
    # A wall of points at depth 0.8 before one at -0.8, and a point beside both.
    at = torch.linspace(-0.5, 0.5, 16)
    wall = torch.cartesian_prod(at, at)
    near = torch.cat([wall, torch.full((256, 1), 0.8)], 1)
    far = torch.cat([wall, torch.full((256, 1), -0.8)], 1)
    beside = torch.tensor([[0.95, 0.95, -0.8]])
    seen = points_in_front(torch.cat([near, far, beside]).T[None])[0]
    assert seen[:256].all() and not seen[256:512].any() and seen[512]


def test_unseen_points_are_taught_nothing(image_teacher, teacher, test):
    features, counts = point_view_features(image_teacher, test.points[:2])
    assert features.shape[:2] == counts.shape == (2, 256)
    assert counts.max() == 4 and counts.float().mean() > 1.5
    assert (features[counts == 0] == 0).all()
    logits = teacher.head(features, torch.zeros_like(counts), test.labels[:2])
    assert not point_gate(logits, test.part_labels[:2]).any()
    model = nn.Module()
    model.visual = nn.Linear(1, 1)
    bad = ImageTeacher(model, resolution=32)
    with pytest.raises(ValueError, match="image tower from timm"):
        point_view_features(bad, test.points[:1])


# --------------------------------------------------------------------------- the gate


def test_a_perfect_teacher_passes_everywhere_and_a_wrong_one_nowhere(test):
    truth = test.part_labels
    perfect = nn.functional.one_hot(truth, 7).float()
    assert point_gate(perfect, truth).all()
    wrong = nn.functional.one_hot((truth + 1) % 7, 7).float()
    assert not point_gate(wrong, truth).any()
    second = 2 * wrong + perfect
    assert not point_gate(second, truth).any() and point_gate(second, truth, k=2).all()
    assert not point_gate(torch.zeros_like(wrong), truth).any(), "no answer, no lesson"
    with pytest.raises(ValueError, match="k must lie in"):
        point_gate(wrong, truth, k=8)


def test_point_loss_against_a_loop_and_its_gradient():
    source = generator(3)
    student = torch.randn(2, 4, 3, generator=source, dtype=torch.float64)
    teacher = torch.randn(2, 4, 3, generator=source, dtype=torch.float64)
    gate = torch.tensor([[True, False, True, True], [False, True, False, True]])
    student.requires_grad_(True)
    found = point_loss(student, teacher, gate, temperature=2.0)
    total = 0.0
    for b, n in gate.nonzero().tolist():
        p, q = (teacher[b, n] / 2).softmax(0), (student.detach()[b, n] / 2).softmax(0)
        total += float((p * (p / q).log()).sum()) * 4
    assert found.item() == pytest.approx(total / 5)
    (gradient,) = torch.autograd.grad(found, student)
    # d KL / d student = T (q - p), of the points that pass alone.
    wanted = 2 * ((student / 2).softmax(-1) - (teacher / 2).softmax(-1)) / 5
    torch.testing.assert_close(gradient, wanted.detach() * gate[..., None])
    closed = point_loss(student, teacher, torch.zeros_like(gate))
    assert closed.item() == 0 and closed.requires_grad
    assert not torch.autograd.grad(closed, student)[0].any()
    masked = torch.full((1, 2, 3), IMPOSSIBLE).index_fill(2, torch.tensor([0, 1]), 1.0)
    assert float(point_loss(masked, masked, torch.ones(1, 2).bool())) == 0


# -------------------------------------------------------------------------- the attack


def test_attacker_losses_closed_forms():
    logits = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]])
    truth = torch.zeros(1, 2, dtype=torch.int64)
    ce = nn.functional.cross_entropy(logits[0], truth[0], reduction="none")
    torch.testing.assert_close(point_losses(logits, truth)[0], ce)
    assert point_losses(logits, truth, "margin").tolist() == [[-2.0, 0.0]]
    part = point_losses(logits, truth, "segpgd", progress=0.4)[0]
    torch.testing.assert_close(part, ce * torch.tensor([0.8, 0.2]))


@pytest.mark.parametrize("loss", ["ce", "margin", "segpgd"])
def test_the_attack_lowers_miou_and_stays_in_its_ball(segmenter, test, loss):
    attack = SegmentationPGD(eps=0.08, steps=4, loss=loss)
    inputs = (test.points.clone(), test.labels, test.part_labels)
    found = attack(segmenter, *inputs)
    assert torch.equal(inputs[0], test.points), "the input was changed"
    assert float(found.per_point_max.max()) <= 0.08
    assert (found.correct_after < found.correct_before).all()

    def ious(points: Tensor) -> Tensor:
        with torch.no_grad():
            said = segmenter(points, test.labels).argmax(-1)
        return shape_ious(said, test.part_labels, test.labels, test.class_parts)

    assert ious(found.points).mean() < ious(test.points).mean() - 0.05
    right = (segmenter(found.points, test.labels).argmax(-1) == test.part_labels).sum(1)
    assert (right - found.correct_after).abs().max() <= 1  # rounding by batch


def test_no_budget_no_change_and_chunks_do_not_matter(segmenter, test):
    inputs = (test.points[:3], test.labels[:3], test.part_labels[:3])
    still = SegmentationPGD(eps=0.0, steps=2)(segmenter, *inputs)
    assert torch.equal(still.points, test.points[:3])
    assert torch.equal(still.correct_before, still.correct_after)
    attack = SegmentationPGD(eps=0.03, steps=2)
    whole = attack(segmenter, *inputs).points
    single = dataclasses.replace(attack, batch_size=1)(segmenter, *inputs).points
    assert (whole - single).norm(dim=-1).median() < 1e-4


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SegmentationPGD(eps=-1), "eps must be 0 or above"),
        (lambda: SegmentationPGD(steps=0), "steps must be above 0"),
        (lambda: SegmentationPGD(loss="dice"), "loss must be one of 'ce'"),
    ],
)
def test_attack_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "model, message",
    [
        (lambda p, y: p.mean(1), "must return part logits of shape"),
        (lambda p, y: (p * 2).detach(), "must be differentiable"),
        (lambda p, y: p * torch.nan, "NaN or infinite"),
    ],
)
def test_what_is_attacked_is_checked(model, message):
    points = torch.rand(2, 5, 3, generator=generator(0))
    truth = torch.zeros(2, 5, dtype=torch.int64)
    with pytest.raises(ValueError, match=message):
        SegmentationPGD(eps=0.01)(model, points, truth[:, 0], truth)
    with pytest.raises(
        ValueError, match=r"part_labels must be int64 of shape \(2, 5\)"
    ):
        SegmentationPGD(eps=0.01)(model, points, truth[:, 0], truth[:, :4])


# ------------------------------------------------------------------------- the prompts


def test_prompts_receive_gradient_and_nothing_else_does(segmenter, test):
    width = segmenter.student.config.width
    prompt = nn.Parameter(0.1 * torch.randn(1, 4, width, generator=generator(0)))
    with torch.no_grad():
        below = segmenter.below(test.points)
    segmenter.above(below, test.labels, prompt).square().mean().backward()
    assert prompt.grad.abs().sum() > 0
    assert not any(
        p.requires_grad or p.grad is not None for p in segmenter.parameters()
    )


def test_distillation_changes_the_prompts_alone(segmenter, teacher, train, test):
    before = {k: v.clone() for k, v in segmenter.state_dict().items()}
    teaching = {k: v.clone() for k, v in teacher.state_dict().items()}
    points = train.points.clone()
    attack = SegmentationPGD(eps=0.05, steps=2)
    config = SegmentConfig.quick(epochs=3, batch_size=5, attack=attack)
    done = distil_prompts(segmenter, teacher, train, config)
    for module, kept in ((segmenter, before), (teacher, teaching)):
        assert all(torch.equal(v, kept[k]) for k, v in module.state_dict().items())
    assert torch.equal(train.points, points)
    assert segmenter.prompt is None and done.segmenter.prompt.shape == (1, 10, 128)
    for name, value in done.segmenter.state_dict().items():
        assert name == "prompt" or torch.equal(value, before[name])
    first, last = done.history[0], done.history[-1]
    assert last["loss_labels"] < first["loss_labels"]
    assert last["loss_image"] < first["loss_image"]
    assert 0.5 < first["pass_image"] <= 1 and first["weight_image"] != 1
    again = distil_prompts(segmenter, teacher, train, config)
    assert torch.equal(again.segmenter.prompt, done.segmenter.prompt)

    models = {"undefended": segmenter, "prompts": done.segmenter}
    rows = evaluate_parts(models, test, attack, undefended="undefended")
    names = [(row.threat_model, row.model) for row in rows]
    assert names == [(t, m) for t in ("clean", "static", "adaptive") for m in models]
    clean, _, static, _, adaptive, _ = rows
    assert static.mean_iou == adaptive.mean_iou < clean.mean_iou
    assert clean.low <= clean.mean_iou <= clean.high and clean.n == len(test)
    assert set(clean.of_class) == set(test.class_names)
    assert parts_table(rows).count("\n") == 7
    gain, low, high = clean.gain_over(static)
    assert gain == pytest.approx(clean.mean_iou - static.mean_iou)
    assert low <= gain <= high and clean.gain_over(clean) == (0, 0, 0)
    with pytest.raises(ValueError, match="of the same clouds"):
        clean.gain_over(dataclasses.replace(clean, n=2))


@pytest.mark.parametrize(
    "changes",
    [
        {"teachers": ("labels",), "schedule": "clean"},
        {"teachers": ("image",), "gate": "none", "teacher_input": "clean"},
        {"attacked_through": "prompts", "teacher_input": "student_input"},
    ],
)
def test_every_way_to_distil_runs(segmenter, teacher, train, changes):
    attack = SegmentationPGD(eps=0.05, steps=1)
    config = SegmentConfig.quick(epochs=1, batch_size=6, attack=attack, **changes)
    done = distil_prompts(segmenter, teacher, train.limit(3), config)
    assert done.segmenter.prompt.isfinite().all()
    if "labels" not in config.teachers:
        assert done.history[0]["pass_image"] == 1


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"teachers": ()}, "teachers must be one or both"),
        ({"gate": "soft"}, "gate must be one of 'part'"),
        ({"epochs": 0}, "epochs must be a whole number, at least 1"),
        ({"temperature": 0}, "temperature must be above 0"),
    ],
)
def test_settings_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        SegmentConfig.quick(**changes)


def test_presets_say_what_they_are():
    assert SegmentConfig.paper_like().epochs == 100
    assert SegmentConfig.adaptive().attacked_through == "prompts"
    saved = SegmentConfig.quick().as_dict()
    assert saved["attack"]["loss"] == "segpgd" and saved["teachers"] == [
        "image",
        "labels",
    ]


def test_evaluation_names_must_exist(segmenter, test):
    with pytest.raises(ValueError, match="undefended and adaptive must be one of"):
        evaluate_parts({"a": segmenter}, test, SegmentationPGD(), undefended="b")


def test_nearest_centres_are_those_of_the_student(lab, test):
    """Each patch centre is its own nearest: the matrix is nearly one there."""
    made = PartSegmenter(lab.student, test.class_parts)
    below = made.below(test.points)
    best = below.matrix.amax(-1)
    own, chosen = best.topk(1, dim=1)
    assert (own > 0.5).all()
    near = knn(gather_points(test.points, chosen), test.points, 1)[1]
    assert torch.equal(near[..., 0], chosen)
