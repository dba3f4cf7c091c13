"""PointNet and DGCNN against plain ones, and published weights loaded strictly."""

import copy
import importlib
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrpd_tutorial.attacks import PGD
from mrpd_tutorial.data import load_dataset
from mrpd_tutorial.data.shapes import SHAPE_CLASSES
from mrpd_tutorial.defenses import DUPNet
from mrpd_tutorial.models import dgcnn, pointnet
from mrpd_tutorial.models.dgcnn import DGCNN, feature_neighbours
from mrpd_tutorial.models.pointnet import PointNet
from mrpd_tutorial.models.pu_net import PUNet
from mrpd_tutorial.models.third_party import load_learning3d_pointnet
from mrpd_tutorial.runtime import generator, read_json
from mrpd_tutorial.zoo import save_module
from mrpd_tutorial.zoo_victims import Victim, load_pu_net, load_victim

ROOT = Path(__file__).resolve().parent.parent


def clouds(count: int = 3, num_points: int = 40, seed: int = 0) -> Tensor:
    return 0.5 * torch.randn(count, num_points, 3, generator=generator(seed))


def settle(model: nn.Module, seed: int = 0) -> nn.Module:
    """Seeded weights, and batch norms whose statistics and signs are not the default's.

    Half of the scales are negative: a fold that swaps norm and maximum would fail.
    """
    source = generator(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            size = module.weight.shape
            module.weight.data = torch.randn(size, generator=source)
            module.bias.data = 0.1 * torch.randn(size, generator=source)
            module.running_mean.copy_(0.1 * torch.randn(size, generator=source))
            module.running_var.copy_(0.5 + torch.rand(size, generator=source))
        elif isinstance(module, (nn.Linear, nn.Conv1d)):
            shape = module.weight.shape
            module.weight.data = torch.randn(shape, generator=source) / shape[1] ** 0.5
            module.bias.data = 0.1 * torch.randn(shape[0], generator=source)
    return model.eval()


class PlainPointNet(nn.Module):
    """The network layer by layer, under the published file's names."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 64, 64, 64, 128, 1024)
        self.feature_model = nn.Module()
        for i in range(5):
            layer = nn.Conv1d(widths[i], widths[i + 1], 1)
            self.feature_model.add_module(f"conv{i + 1}", layer)
            self.feature_model.add_module(f"bn{i + 1}", nn.BatchNorm1d(widths[i + 1]))
        self.linear1, self.bn1 = nn.Linear(1024, 512), nn.BatchNorm1d(512)
        self.linear2, self.bn2 = nn.Linear(512, 256), nn.BatchNorm1d(256)
        self.linear3 = nn.Linear(256, 40)

    def forward(self, points: Tensor) -> Tensor:
        hidden = points.transpose(1, 2)  # (B, 3, N)
        for i in range(1, 6):
            conv = getattr(self.feature_model, f"conv{i}")
            hidden = F.relu(getattr(self.feature_model, f"bn{i}")(conv(hidden)))
        hidden = hidden.amax(2)  # (B, 1024)
        hidden = F.relu(self.bn1(self.linear1(hidden)))
        return self.linear3(F.relu(self.bn2(self.linear2(hidden))))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A plain PointNet and the file that its state makes."""
    plain = settle(PlainPointNet(), seed=1)
    path = tmp_path_factory.mktemp("published") / "pointnet.t7"
    torch.save(plain.state_dict(), path)
    return plain, path


def test_a_published_pointnet_answers_as_the_plain_network(published):
    plain, path = published
    model = load_learning3d_pointnet(path)
    points, other = clouds().requires_grad_(True), clouds().requires_grad_(True)
    expected, logits = plain(points), model(other)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn(logits.shape, generator=generator(2))
    (wanted,) = torch.autograd.grad((expected * weights).sum(), points)
    (gradient,) = torch.autograd.grad((logits * weights).sum(), other)
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6)
    assert not model.training and not any(p.requires_grad for p in model.parameters())


def test_pointnet_in_training_mode_is_the_plain_network(published):
    plain, path = published
    model = load_learning3d_pointnet(path).requires_grad_(True)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    plain.train(), model.train()
    try:
        points = clouds(4)
        torch.testing.assert_close(model(points), plain(points), rtol=1e-4, atol=1e-4)
        mean = plain.feature_model.bn5.running_mean
        torch.testing.assert_close(model.body[4].norm.running_mean, mean)
    finally:
        plain.load_state_dict(torch.load(path, weights_only=True))
        plain.eval()


def test_critical_points_alone_decide():
    model = settle(PointNet.slim(num_classes=5))
    points = clouds(2, 200)
    critical = model.critical_points(points)
    logits = model(points)
    for cloud, indices, row in zip(points, critical, logits, strict=True):
        alone = model(cloud[indices.unique()][None])[0]
        torch.testing.assert_close(alone, row, rtol=1e-5, atol=1e-5)
    points.requires_grad_(True)
    (gradient,) = torch.autograd.grad(model(points).square().sum(), points)
    for indices, row in zip(critical, gradient, strict=True):
        moved = row.abs().sum(-1).nonzero()[:, 0]
        assert set(moved.tolist()) <= set(indices.tolist()) and len(moved)


def test_gradients_match_finite_differences():
    model = settle(PointNet(num_classes=3, widths=(8, 16), head_widths=(8,))).double()
    points = clouds(2, 12).double().requires_grad_(True)
    assert torch.autograd.gradcheck(model, points, eps=1e-7, atol=1e-5)
    # Parameters too: adversarial training runs batch norm in evaluation mode.
    weight = model.body[-1].linear.weight
    model(points).square().sum().backward()
    step = torch.zeros_like(weight)
    step[3, 5] = 1e-6
    with torch.no_grad():
        weight += step
        up = model(points).square().sum()
        weight -= 2 * step
        down = model(points).square().sum()
    assert weight.grad[3, 5].item() == pytest.approx(
        (up - down).item() / 2e-6, rel=1e-4
    )


def test_the_order_and_repetition_of_points_do_not_matter():
    model = settle(PointNet.slim())
    points = clouds(2, 60)
    order = torch.randperm(60, generator=generator(3))
    torch.testing.assert_close(model(points[:, order]), model(points))
    torch.testing.assert_close(model(points.repeat(1, 2, 1)), model(points))
    torch.testing.assert_close(model(points)[1:], model(points[1:]))


@pytest.mark.parametrize(
    "points", [torch.zeros(2, 1, 3), torch.full((1, 30, 3), 0.2), 1e3 * clouds()]
)
def test_degenerate_clouds_have_finite_answers_and_gradients(points):
    points = points.clone().requires_grad_(True)
    logits = settle(PointNet.slim())(points)
    (gradient,) = torch.autograd.grad(logits.sum(), points)
    assert torch.isfinite(logits).all() and torch.isfinite(gradient).all()


def test_pgd_misleads_a_pointnet_and_leaves_it_as_it_was():
    model = settle(PointNet.slim(num_classes=4))
    points = clouds(8, 64)
    with torch.no_grad():  # else one class wins everywhere
        model.head[-1].bias -= model(points).mean(0)
    labels = model(points).argmax(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = PGD(eps=0.3, steps=5)(model, points, labels)
    assert result.success.any()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    with pytest.raises(ValueError, match="evaluation mode"):
        PGD.quick()(model.train(), points, labels)


def test_published_files_are_read_strictly(published, tmp_path):
    plain, path = published
    state = plain.state_dict()

    def refused(changed: object, message: str) -> None:
        torch.save(changed, tmp_path / "other.t7")
        with pytest.raises(ValueError, match=message):
            load_learning3d_pointnet(tmp_path / "other.t7")

    first = "feature_model.conv1.weight"
    wide = {k: v for k, v in state.items()}
    wide[first] = torch.zeros(64, 6, 1)
    wide["linear3.bias"] = torch.zeros(10)
    refused(wide, rf"{first}' must have shape \(64, 3, 1\); the file has \(64, 6, 1\)")
    refused(
        {k: v for k, v in state.items() if k != "bn2.running_var"},
        r"bn2.running_var' must have shape \(256,\); the file has no such tensor",
    )
    refused({**state, "stn.conv1.weight": torch.zeros(1)}, "unexpected.*stn.conv1")
    refused({**state, "bn1.bias": torch.full((512,), torch.nan)}, "bn1.bias' holds NaN")
    refused([1, 2], "expected a dictionary of tensors, found list")
    refused(nn.Linear(1, 1), "cannot be read as a file of tensors")
    (tmp_path / "cut.t7").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cannot be read.*download complete"):
        load_learning3d_pointnet(tmp_path / "cut.t7")
    with pytest.raises(ValueError, match=r"no file at.*learning3d"):
        load_learning3d_pointnet(tmp_path / "none.t7")


def test_bad_input_is_named():
    model = PointNet.slim()
    with pytest.raises(ValueError, match=r"points\.transpose\(1, 2\)"):
        model(clouds().transpose(1, 2))
    with pytest.raises(ValueError, match="points must be finite"):
        model(clouds() / 0)
    with pytest.raises(ValueError, match="widths must name at least one layer"):
        PointNet(widths=())
    with pytest.raises(ValueError, match="widths and head_widths must be above 0"):
        PointNet(widths=(8, 0))
    with pytest.raises(ValueError, match="num_classes must lie in"):
        PointNet(num_classes=1)
    with pytest.raises(ValueError, match="dropout must lie in"):
        PointNet(dropout=1.0)


def test_the_published_pointnet_knows_modelnet40(data_dir, checkpoints_dir):
    path = checkpoints_dir / "pointnet_modelnet40_learning3d.t7"
    if not path.is_file():
        pytest.skip("no published PointNet in the folder of checkpoints")
    model = load_learning3d_pointnet(path)
    test = load_dataset("modelnet40", "test", root=data_dir)
    chosen = torch.randperm(len(test), generator=generator(0))[:200]
    with torch.no_grad():
        predicted = model(test.points[chosen]).argmax(1)
    # Measured on all 1186 clouds: 0.878. Another class order would give about 0.025.
    assert (predicted == test.labels[chosen]).float().mean() > 0.82


# ---------------------------------------------------------------------------- DGCNN


def plain_dgcnn(model: DGCNN, points: Tensor) -> Tensor:
    """One edge at a time, as the paper's equations; batch norm as torch does it."""
    hidden, outputs = points, []
    for edge in model.edges:
        difference = (hidden[:, :, None] - hidden[:, None]).square().sum(-1)
        near = difference.topk(model.k, largest=False).indices  # (B, N, k)
        rows = torch.arange(len(points))[:, None, None]
        other = hidden[rows, near]  # (B, N, k, W)
        own = hidden[:, :, None].expand_as(other)
        edges = edge.layer.linear(torch.cat([other - own, own], dim=-1))
        edges = edge.layer.norm(edges.flatten(0, 2)).view_as(edges)
        hidden = F.leaky_relu(edges, 0.2).amax(2)
        outputs.append(hidden)
    rows = model.embedding.linear(torch.cat(outputs, dim=-1)).flatten(0, 1)
    rows = F.leaky_relu(model.embedding.norm(rows), 0.2).unflatten(0, points.shape[:2])
    return model.head(torch.cat([rows.amax(1), rows.mean(1)], dim=-1))


def small_dgcnn(**changes) -> DGCNN:
    settings = {
        "num_classes": 4,
        "k": 5,
        "widths": (6, 8),
        "embedding_width": 12,
        "head_widths": (10,),
        "dropout": 0.0,
    }
    return settle(DGCNN(**settings | changes)).double()


@pytest.mark.parametrize("training", [False, True])
def test_dgcnn_is_what_the_paper_describes(training):
    model = small_dgcnn().train(training)
    plain = copy.deepcopy(model)
    points = clouds().double().requires_grad_(True)
    expected, logits = plain_dgcnn(plain, points), model(points)
    torch.testing.assert_close(logits, expected)
    (wanted,) = torch.autograd.grad(expected.square().sum(), points)
    (gradient,) = torch.autograd.grad(logits.square().sum(), points)
    torch.testing.assert_close(gradient, wanted)
    for name, value in plain.state_dict().items():  # running statistics
        torch.testing.assert_close(model.state_dict()[name], value)


def test_dgcnn_gradients_match_finite_differences():
    points = clouds(1, 12).double().requires_grad_(True)
    assert torch.autograd.gradcheck(small_dgcnn(), points, eps=1e-7, fast_mode=True)


def test_neighbours_in_feature_space_are_the_nearest_in_tiles_too(monkeypatch):
    features = torch.randn(2, 50, 7, generator=generator(0))
    found = feature_neighbours(features, 6)
    squares = (features[:, :, None] - features[:, None]).square().sum(-1)
    expected = squares.topk(6, largest=False).indices
    assert torch.equal(found.sort(-1).values, expected.sort(-1).values)
    monkeypatch.setattr(dgcnn, "_PAIRS", 700)
    again = feature_neighbours(features, 6)
    assert torch.equal(again.sort(-1).values, found.sort(-1).values)


def test_critical_points_are_the_same_in_tiles(monkeypatch):
    model = settle(PointNet.slim())
    points = clouds(5, 30)
    whole = model.critical_points(points)
    monkeypatch.setattr(pointnet, "_TILE", 1)
    assert torch.equal(model.critical_points(points), whole)


def test_dgcnn_does_not_mind_order_or_neighbours_in_the_batch():
    model = small_dgcnn()
    points = clouds(3, 30).double()
    order = torch.randperm(30, generator=generator(1))
    torch.testing.assert_close(model(points[:, order]), model(points))
    torch.testing.assert_close(model(points[1:2]), model(points)[1:2])


@pytest.mark.parametrize("points", [torch.zeros(2, 12, 3), torch.full((1, 12, 3), 0.2)])
def test_dgcnn_has_finite_answers_for_degenerate_clouds(points):
    points = points.double().requires_grad_(True)
    logits = small_dgcnn()(points)
    (gradient,) = torch.autograd.grad(logits.sum(), points)
    assert torch.isfinite(logits).all() and torch.isfinite(gradient).all()


def test_dgcnn_says_what_is_wrong():
    with pytest.raises(ValueError, match="at least 12 points a cloud; received 11"):
        DGCNN.slim()(clouds(1, 11))
    with pytest.raises(ValueError, match="k must be above 0"):
        DGCNN(k=0)
    with pytest.raises(ValueError, match="widths must name at least one layer"):
        DGCNN(widths=())
    with pytest.raises(ValueError, match="widths must be above 0"):
        DGCNN(embedding_width=0)
    with pytest.raises(ValueError, match="num_classes must lie in"):
        DGCNN(num_classes=1)
    with pytest.raises(ValueError, match="dropout must lie in"):
        DGCNN(dropout=-0.1)


# --------------------------------------------------- the lab's own, and their scripts


@pytest.mark.parametrize("family", [PointNet, DGCNN])
def test_a_surrogate_comes_back_with_its_classes(family, tmp_path):
    name = family.__name__.lower()
    model = settle(family.slim(num_classes=3))
    card = {"settings": model.settings, "classes": ["night stand", "cup", "sofa"]}
    save_module(model, tmp_path / f"{name}.safetensors", card)
    assert (tmp_path / f"{name}.safetensors").stat().st_size < 2**20
    victim = load_victim(name, tmp_path)
    points = clouds(2, 64)
    logits = victim(points)
    torch.testing.assert_close(logits, model(points), rtol=0.02, atol=0.05)  # half
    assert not victim.training and not any(p.requires_grad for p in victim.parameters())
    some = victim.for_classes(("sofa", "night_stand"))
    assert torch.equal(some(points), logits[:, [2, 0]])
    assert some.class_names == ("sofa", "night_stand")
    with pytest.raises(ValueError, match=r"does not know \['car'\]; it was trained on"):
        victim.for_classes(("car", "sofa"))
    with pytest.raises(ValueError, match="class_names must differ"):
        Victim(model, ("cup", "Cup", "sofa"))
    with pytest.raises(ValueError, match="name must be one of"):
        load_victim("pointnet++", tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        load_victim(name, tmp_path / "none")


def test_a_pu_net_comes_back(tmp_path):
    network = PUNet.slim()
    path = tmp_path / "pu_net.safetensors"
    save_module(network, path, {"settings": network.settings})
    assert path.stat().st_size < 2**20
    loaded = load_pu_net(tmp_path)
    points = clouds(1, 64)
    torch.testing.assert_close(loaded(points), network(points), rtol=0.02, atol=0.02)
    assert DUPNet(upsampler=loaded)(points).shape == points.shape


def run_script(monkeypatch, name: str, *arguments: str) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    module = importlib.import_module(name)
    monkeypatch.setattr(module, "tune_allocator", lambda: None)
    module.main()


@pytest.mark.parametrize("family", ["pointnet", "dgcnn"])
def test_the_script_trains_a_surrogate(family, tmp_path, monkeypatch):
    few = "--shapes-per-class 1 --epochs 2 --points 32 --lr 0.01 --batch-size 16 "
    few += "--objects-repeat 0"
    out = ["--out", str(tmp_path)]
    run_script(monkeypatch, "train_victims", family, *few.split(), *out)
    victim = load_victim(family, tmp_path)
    first, last = victim.card["scores"]["epochs"]
    assert last["loss"] < first["loss"]
    assert len(victim.class_names) == len(SHAPE_CLASSES)
    assert 0 <= victim.card["scores"]["shapes_val_accuracy"] <= 1
    assert victim.card["settings"]["num_classes"] == len(SHAPE_CLASSES)


def test_a_surrogate_knows_the_classes_of_all_its_clouds(tmp_path, monkeypatch):
    few = "--shapes-per-class 1 --epochs 1 --points 16 --objects-repeat 1"
    run_script(
        monkeypatch, "train_victims", "pointnet", *few.split(), f"--out={tmp_path}"
    )
    classes = load_dataset("objects", "train").class_names
    victim = load_victim("pointnet", tmp_path).for_classes(classes)
    assert victim.class_names == classes
    assert 0 <= victim.card["scores"]["objects_val_accuracy"] <= 1


def test_the_script_trains_a_pu_net(tmp_path, monkeypatch):
    few = "--shapes-per-class 1 --epochs 2 --points 16 --lr 0.005"
    run_script(monkeypatch, "train_pu_net", *few.split(), "--out", str(tmp_path))
    load_pu_net(tmp_path)
    card = read_json(tmp_path / "pu_net.json")
    first, last = card["scores"]["epochs"]
    assert last["loss"] < first["loss"]
    assert card["scores"]["val_chamfer"] > 0 and card["scores"]["val_chamfer_of_input"]
