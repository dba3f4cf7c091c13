"""The embedded objects: what is promised of them, and that they can be built again."""

import importlib
import io
import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mrpd_tutorial.data import FRAME, load_dataset, objects
from mrpd_tutorial.geometry import chamfer_distance, knn
from mrpd_tutorial.runtime import embedded_data

ROOT = Path(__file__).resolve().parent.parent
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def splits():
    return {split: objects.load_objects(split) for split in SPLITS}


@pytest.fixture(scope="module")
def builder():
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        yield importlib.import_module("build_objects")
    finally:
        sys.path.remove(str(ROOT / "scripts"))


def curation():
    return json.loads((ROOT / "scripts/objects_curation.json").read_text("utf-8"))


def test_counts(splits):
    names = splits["test"].class_names
    assert len(names) >= 16 and list(names) == sorted(names)
    counts = {split: data.class_counts() for split, data in splits.items()}
    for name in names:
        assert sum(counts[split][name] for split in SPLITS) >= 10
        assert counts["test"][name] >= 3 and counts["val"][name] >= 1
        assert counts["train"][name] >= counts["test"][name]
    total = sum(len(data) for data in splits.values())
    assert 0.45 < len(splits["train"]) / total < 0.55
    assert 0.30 < len(splits["test"]) / total < 0.40
    assert len(objects.object_index()["also_in_modelnet40"]) >= 10


def test_no_object_and_no_look_alike_is_in_two_splits(splits):
    ids = [name for data in splits.values() for name in data.ids]
    assert len(set(ids)) == len(ids)
    home = {}
    for entry in objects.object_index()["objects"]:
        assert home.setdefault(entry["group"], entry["split"]) == entry["split"]
        assert entry["id"] in splits[entry["split"]].ids


def test_no_test_object_repeats_a_training_object(splits):
    """Closer than two samples of one surface usually are would be a copy."""
    train, test = splits["train"], splits["test"]
    for label in range(test.num_classes):
        theirs = train.points[train.labels == label, :256]
        for cloud in test.points[test.labels == label]:
            same = chamfer_distance(cloud[None, :256], cloud[None, -256:])
            apart = chamfer_distance(cloud[None, :256].expand_as(theirs), theirs)
            assert float(apart.min()) > 0.9 * float(same)


def test_frame(splits):
    for data in splits.values():
        assert data.frame == FRAME and data.points.shape[1:] == (2048, 3)
        assert data.points.mean(1).abs().max() < 1e-4
        radius = data.points.norm(dim=-1).amax(1)
        assert (radius - 1).abs().max() < 1e-4


def test_up_and_front(splits):
    """Chairs stand on their legs, and their backs are behind the seats."""
    train = splits["train"]
    chairs = train.points[train.labels == train.class_names.index("chair")]
    tops = torch.stack([c[c[:, 1] > c[:, 1].quantile(0.85)].mean(0) for c in chairs])
    assert (tops[:, 2] < 0).float().mean() > 0.9
    trees = train.points[train.labels == train.class_names.index("tree")]
    assert (trees[..., 1].amin(1) < -0.4).all()


def test_normals_are_unit_and_across_the_surface(splits):
    data = splits["val"].limit(18)
    assert (data.normals.norm(dim=-1) - 1).abs().max() < 1e-5
    _, near = knn(data.points, data.points, 4)
    rows = torch.arange(len(data))[:, None, None]
    steps = data.points[rows, near[..., 1:]] - data.points[:, :, None]
    steps = torch.nn.functional.normalize(steps, dim=-1)  # (N, P, 3 neighbours, 3)
    slope = (steps * data.normals[:, :, None]).sum(-1).abs()
    solid = torch.tensor([data.class_names[y] != "tree" for y in data.labels])
    # Random directions would have a median of 0.5.
    assert slope[solid].median() < 0.1


def test_normals_point_outward(splits):
    data = splits["test"]
    for name in ("bottle", "car"):
        chosen = data.labels == data.class_names.index(name)
        outward = (data.points[chosen] * data.normals[chosen]).sum(-1) > 0
        assert outward.float().mean() > 0.75


def test_every_object_has_author_and_licence(splits):
    credits = (embedded_data() / "CREDITS_objects.md").read_text("utf-8")
    for entry in objects.object_index()["objects"]:
        assert entry["author"] and entry["licence"] in curation()["licences"]
        (line,) = (x for x in credits.splitlines() if f"| {entry['id']} |" in x)
        assert entry["author"] in line and line.endswith(f"| {entry['licence']} |")
        assert entry["class"] in line


def test_decoding_is_deterministic_and_load_dataset_agrees(splits):
    again = load_dataset("objects", "val")
    assert again.hash() == splits["val"].hash()
    assert torch.equal(again.normals, splits["val"].normals)
    assert len(load_dataset("objects", "val", num_points=256).points[0]) == 256


def test_file_is_small_and_holds_no_pickle():
    path = embedded_data() / "objects.npz"
    assert path.stat().st_size <= 8 * 2**20
    with zipfile.ZipFile(path) as archive:
        assert all(e.compress_type == zipfile.ZIP_STORED for e in archive.infolist())
    with np.load(path, allow_pickle=False) as file:
        assert file["points"].dtype == np.int16 and file["normals"].dtype == np.int8


def test_damage_is_named(tmp_path, monkeypatch):
    source = embedded_data()
    monkeypatch.setattr(objects, "embedded_data", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"objects\.json does not exist\. Restore it"):
        objects.load_objects("test")
    shutil.copy(source / "objects.json", tmp_path)
    with pytest.raises(ValueError, match=r"objects\.npz does not exist\. Restore it"):
        objects.load_objects("test")
    content = (source / "objects.npz").read_bytes()
    (tmp_path / "objects.npz").write_bytes(content[:-1000])
    with pytest.raises(ValueError, match=r"objects\.npz is damaged: expected SHA-256"):
        objects.load_objects("test")
    (tmp_path / "objects.json").write_text("{")
    with pytest.raises(ValueError, match=r"objects\.json is damaged"):
        objects.load_objects("test")
    with pytest.raises(ValueError, match="split must be one of"):
        objects.load_objects("everything")


def test_normal_codes_keep_directions_within_a_degree(builder):
    random = np.random.default_rng(0).normal(size=(5000, 3))
    random = np.concatenate([random, np.eye(3), -np.eye(3)])
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    codes = torch.from_numpy(builder.encode_normals(random))
    cosine = (objects.decode_normals(codes).numpy() * random).sum(1)
    assert np.degrees(np.arccos(cosine.clip(-1, 1))).max() < 1


@pytest.mark.parametrize("turn", range(6))
@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0), (2, 0, 1), (1, 0, 2)])
def test_a_concave_polygon_is_cut_without_overlap(builder, turn, axes):
    from objects_sampling import cut_polygon

    outline = np.array([(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)], float)
    corners = np.zeros((6, 3))
    corners[:, axes[:2]] = np.roll(outline, turn, axis=0)
    cut = corners[cut_polygon(list(range(6)), corners.tolist())]
    areas = np.cross(cut[:, 1] - cut[:, 0], cut[:, 2] - cut[:, 0]) / 2
    assert np.linalg.norm(areas, axis=1).sum() == pytest.approx(3)
    assert np.abs(areas.sum(0)).sum() == pytest.approx(3)


def test_points_inside_are_not_sampled(builder):
    """Of a small box within a large one, nothing is seen."""
    from objects_sampling import sample_outside

    corners = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6)]
    faces += [(0, 2, 6, 4), (1, 5, 7, 3)]
    thirds = [t for a, b, c, d in faces for t in ((a, b, c), (a, c, d))]
    box = corners[np.array(thirds)].astype(float)
    points, normals = sample_outside(np.concatenate([box, -0.4 * box]), 2048, "box")
    side = np.abs(points).max(1)
    assert side.min() == pytest.approx(side.max(), rel=0.05)
    assert ((points * normals).sum(1) > 0).all()


@pytest.mark.slow
def test_one_class_built_again_is_the_same_byte_for_byte(builder):
    if not builder.PACKAGE_FOLDER.is_dir():
        pytest.skip("the Debian package sweethome3d-furniture is not installed")
    try:
        files = builder.build(builder.PACKAGE_FOLDER, ["sink"])
    except ValueError as error:
        if "expected" not in str(error):
            raise
        pytest.skip(f"another version of the package is installed: {error}")
    index = objects.object_index()
    rows = [i for i, e in enumerate(index["objects"]) if e["class"] == "sink"]
    built = np.load(io.BytesIO(files["objects.npz"]))
    with np.load(embedded_data() / "objects.npz") as shipped:
        for name in ("points", "normals"):
            assert np.array_equal(built[name], shipped[name][rows])
    credits = (embedded_data() / "CREDITS_objects.md").read_bytes()
    assert files["CREDITS_objects.md"] == credits
    rebuilt = json.loads(files["objects.json"])
    assert {**rebuilt, "sha256": index["sha256"]} == index


def test_the_builder_names_a_missing_package(builder, tmp_path):
    with pytest.raises(ValueError, match="Install the Debian package"):
        builder.build(tmp_path)
    for name in curation()["package"]["archives"]:
        (tmp_path / name).write_bytes(b"another version")
    with pytest.raises(ValueError, match="package version that"):
        builder.build(tmp_path)
