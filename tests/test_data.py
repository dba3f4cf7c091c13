"""Data sets: every format from tiny files, every way to break one, real clouds."""

import shutil

import h5py
import numpy as np
import pytest
import torch

from mrpd_tutorial.data import DATASETS, FRAME, PointDataset, load_dataset
from mrpd_tutorial.data.base import cut_validation
from mrpd_tutorial.data.listing import dataset_rows
from mrpd_tutorial.data.modelnet40c import MODELNET40_CLASSES
from mrpd_tutorial.data.scanobjectnn import CLASS_NAMES, VARIANTS
from mrpd_tutorial.geometry import normalise

CLASSES = ("airplane", "night_stand", "tv_stand")


def clouds(count, points=40, seed=0):
    random = np.random.default_rng(seed)
    scale = random.uniform(0.5, 4, (count, 1, 3))
    return (random.normal(size=(count, points, 3)) * scale + 3).astype(np.float32)


def labels(count, classes=3):
    return (np.arange(count) % classes).reshape(-1, 1)


def write_h5(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file[key] = value


@pytest.fixture(autouse=True)
def no_real_data(request, monkeypatch, tmp_path):
    """Tiny files only, unless a test asks for the real ones."""
    if "data_dir" not in request.fixturenames:
        monkeypatch.setenv("MRPD_DATA_DIR", str(tmp_path))


@pytest.fixture
def hdf5(tmp_path):
    """ModelNet40 in HDF5: two training chunks of 20 and 13 clouds, 9 test clouds."""
    folder = tmp_path / "modelnet40_ply_hdf5_2048"
    folder.mkdir()
    (folder / "shape_names.txt").write_text("\n".join(CLASSES) + "\n")
    names = ["ply_data_train0.h5", "ply_data_train1.h5"]
    foreign = [f"data/elsewhere/{name}" for name in names]
    (folder / "train_files.txt").write_text("\n".join(foreign) + "\n\n")
    (folder / "test_files.txt").write_text("ply_data_test0.h5\r\n")
    sizes = {names[0]: 20, names[1]: 13, "ply_data_test0.h5": 9}
    for seed, (name, size) in enumerate(sizes.items()):
        write_h5(
            folder / name,
            data=clouds(size, seed=seed),
            label=labels(size).astype(np.uint8),
            normal=np.ones((size, 40, 3), np.float32),
        )
    return folder


@pytest.fixture
def text(tmp_path):
    """ModelNet40 in text files: 12 training clouds, 3 test clouds."""
    folder = tmp_path / "modelnet40_normal_resampled"
    (folder / "x").mkdir(parents=True)
    (folder / "modelnet40_shape_names.txt").write_text("\n".join(CLASSES))
    for part, numbers in (("train", range(1, 5)), ("test", range(5, 6))):
        ids = [f"{name}_{number:04d}" for name in CLASSES for number in numbers]
        (folder / f"modelnet40_{part}.txt").write_text("\n".join(ids))
        for seed, cloud in enumerate(ids):
            place = folder / cloud.rpartition("_")[0]
            place.mkdir(exist_ok=True)
            rows = np.hstack([clouds(1, 40, seed)[0], np.ones((40, 3))])
            np.savetxt(place / f"{cloud}.txt", rows, delimiter=",", fmt="%.6f")
    return folder


@pytest.fixture
def scans(tmp_path):
    """ScanObjectNN: every variant, its number as the label of the first cloud."""
    folder = tmp_path / "scanobjectnn" / "h5_files"
    for number, pattern in enumerate(VARIANTS.values()):
        for part in ("training", "test"):
            label = labels(45, 15)[:, 0]
            label[0] = number
            write_h5(folder / pattern.format(part), data=clouds(45), label=label)
    return folder


@pytest.fixture
def corrupted(tmp_path):
    folder = tmp_path / "modelnet40_c"
    folder.mkdir()
    np.save(folder / "label.npy", labels(80, 40))
    np.save(folder / "data_original.npy", clouds(80))
    np.save(folder / "data_background_3.npy", clouds(80, 44).astype(np.float64))
    return folder


def assert_in_frame(data, atol=1e-5):
    assert data.frame == FRAME
    assert data.points.dtype == torch.float32 and data.labels.dtype == torch.int64
    assert data.points.mean(1).abs().max() < 2 * atol
    radius = data.points.norm(dim=-1).amax(1)
    torch.testing.assert_close(radius, torch.ones(len(data)), atol=atol, rtol=0)


# The data set itself ------------------------------------------------------------------


def made(count=30, classes=4, points=50, **extra):
    cloud = normalise(torch.from_numpy(clouds(count, points)))
    label = torch.arange(count) % classes
    names = tuple(f"class {i}" for i in range(classes))
    return PointDataset("made", "train", cloud, label, names, **extra)


def test_subset_keeps_what_belongs_together():
    ids = tuple(f"cloud {i}" for i in range(30))
    data = made(ids=ids, captions=ids, normals=torch.ones(30, 50, 3))
    part = data.subset([4, 2])
    assert part.ids == part.captions == ("cloud 4", "cloud 2")
    assert torch.equal(part.points, data.points[[4, 2]])
    assert part.labels.tolist() == [0, 2] and part.normals.shape == (2, 50, 3)
    mask = data.labels == 1
    assert torch.equal(data.subset(mask).points, data.points[mask])


@pytest.mark.parametrize(
    "indices, message",
    [
        ([], "choose no cloud"),
        ([30], "must lie in 0..29; received 30..30"),
        ([-1], "must lie in 0..29"),
        (torch.tensor([0.5]), "must be row numbers"),
        (torch.tensor([[1]]), "must be row numbers"),
        (torch.ones(4, dtype=torch.bool), "bool mask of shape"),
    ],
)
def test_subset_refuses(indices, message):
    with pytest.raises(ValueError, match=message):
        made().subset(indices)


@pytest.mark.parametrize("seed", range(5))
def test_limit_is_balanced_and_seeded(seed):
    random = torch.Generator().manual_seed(seed)
    data = made(200)
    uneven = data.subset((torch.rand(200, generator=random) ** 2 * 200).long().unique())
    for n in (1, 3, 4, 10, 50, len(uneven) - 1):
        part = uneven.limit(n, seed)
        assert len(part) == n
        before, after = uneven.class_counts(), part.class_counts()
        # Balanced: a class with clouds to spare is at most one below the fullest.
        most = max(after.values())
        assert all(c == before[k] or c >= most - 1 for k, c in after.items())
        assert part.hash() == uneven.limit(n, seed).hash()
    assert uneven.limit(len(uneven)) is uneven
    with pytest.raises(ValueError, match="n must be at least 1"):
        uneven.limit(0)


def test_limit_depends_on_seed():
    assert made(200).limit(20, 0).hash() != made(200).limit(20, 1).hash()


def test_subsample_points_is_fixed_nested_and_normalised():
    data = made()
    before = data.points.clone()
    few, more = data.subsample_points(10), data.subsample_points(20)
    assert few.points.shape == (30, 10, 3)
    assert_in_frame(few)
    assert few.hash() == made().subsample_points(10).hash()
    assert torch.equal(data.points, before)
    assert data.subsample_points(50) is data
    # Nested: up to one shift and scale a cloud, the few are among the more.
    raw = PointDataset("raw", "test", before, data.labels, data.class_names, "raw")
    a, b = raw.subsample_points(10).points[0], raw.subsample_points(20).points[0]
    assert (torch.cdist(a, b).amin(1) == 0).all()
    assert not torch.equal(a, before[0, :10]), "not the first points"
    assert more.points.shape[1] == 20
    with pytest.raises(ValueError, match="count must lie in"):
        data.subsample_points(51)


def test_hash_follows_content():
    data = made()
    assert data.hash() == made().hash()
    moved = data.points.clone()
    moved[0, 0] *= 0.5
    changed = [
        PointDataset("made", "train", moved, data.labels, data.class_names),
        PointDataset("made", "train", data.points, 0 * data.labels, data.class_names),
        PointDataset("made", "train", data.points, data.labels, (*"abcd",)),
    ]
    assert len({data.hash(), *(d.hash() for d in changed)}) == 4


def test_point_dataset_is_frozen():
    with pytest.raises(AttributeError):
        made().points = None


@pytest.mark.parametrize(
    "change, message",
    [
        ({"split": "dev"}, "split must be one of 'train', 'val', 'test'"),
        ({"points": torch.zeros(3, 2)}, "points must have shape"),
        ({"points": torch.full((2, 5, 3), torch.nan)}, "points must be finite"),
        ({"points": 9 * torch.ones(2, 5, 3)}, "must lie in the unit sphere"),
        ({"points": torch.zeros(2, 5, 3).double()}, "points must be float32"),
        ({"points": torch.zeros(0, 5, 3)}, "holds no cloud"),
        ({"labels": torch.tensor([0, 2])}, "labels must lie in 0..1"),
        ({"labels": torch.tensor([0])}, "one entry for each of the 2 clouds"),
        ({"labels": torch.tensor([0.0, 1.0])}, "labels must be int64"),
        ({"class_names": ("a", "a")}, "class_names must differ"),
        ({"class_names": ()}, "class_names must not be empty"),
        ({"normals": torch.zeros(2, 4, 3)}, "normals must be float32 of the points'"),
        ({"captions": ("one",)}, "captions must have one entry for each"),
        ({"ids": ("one",)}, "ids must have one entry for each"),
    ],
)
def test_point_dataset_refuses(change, message):
    good = {
        "name": "made",
        "split": "test",
        "points": torch.zeros(2, 5, 3),
        "labels": torch.tensor([0, 1]),
        "class_names": ("a", "b"),
    }
    PointDataset(**good)
    with pytest.raises(ValueError, match=message):
        PointDataset(**(good | change))


@pytest.mark.parametrize("seed", range(4))
def test_validation_is_a_stratified_cut(seed):
    label = torch.tensor([0] * 100 + [1] * 31 + [2] * 2 + [3])
    train = cut_validation(label, "train", seed)
    val = cut_validation(label, "val", seed)
    assert torch.equal(torch.cat([train, val]).sort().values, torch.arange(134))
    assert torch.bincount(label[val], minlength=4).tolist() == [10, 3, 1, 0]
    assert torch.equal(val, cut_validation(label, "val", seed))
    assert not torch.equal(val, cut_validation(label, "val", seed + 1))


def test_validation_refuses():
    label = torch.arange(5)
    with pytest.raises(ValueError, match="no class has two"):
        cut_validation(label, "val")
    with pytest.raises(ValueError, match="fraction must lie between"):
        cut_validation(label, "val", fraction=1.0)
    with pytest.raises(ValueError, match="split must be one of"):
        cut_validation(label, "test")


# ModelNet40, HDF5 ---------------------------------------------------------------------


def test_hdf5(hdf5):
    test = load_dataset("modelnet40", "test", num_points=30)
    assert test.class_names == CLASSES and test.points.shape == (9, 30, 3)
    assert_in_frame(test)
    first = normalise(torch.from_numpy(clouds(9, seed=2)[:, :30]))
    torch.testing.assert_close(test.points, first)
    assert test.labels.tolist() == labels(9)[:, 0].tolist()
    parts = [load_dataset("modelnet40", s, num_points=30) for s in ("train", "val")]
    assert [len(p) for p in parts] == [30, 3]
    assert list(parts[1].class_counts().values()) == [1, 1, 1]
    both = torch.cat([p.points for p in parts]).flatten(1)
    assert len(both.unique(dim=0)) == 33, "train and val share no cloud"


@pytest.mark.parametrize("number", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("whole", [np.uint8, np.int64, np.float32])
def test_hdf5_number_types(hdf5, number, whole):
    path = hdf5 / "ply_data_test0.h5"
    write_h5(path, data=clouds(9).astype(number), label=labels(9)[:, 0].astype(whole))
    assert_in_frame(load_dataset("modelnet40", "test", hdf5, num_points=None))


def test_hdf5_found_under_other_names(hdf5, tmp_path):
    wanted = load_dataset("modelnet40", "test", hdf5, num_points=8).hash()
    other = hdf5.rename(tmp_path / "modelnet40_ply_hdf5_1024")
    for root in (None, tmp_path, other, str(other)):
        assert load_dataset("modelnet40", "test", root, num_points=8).hash() == wanted
    odd = other.rename(tmp_path / "my clouds")
    assert load_dataset("modelnet40", "test", odd, num_points=8).hash() == wanted


def test_hdf5_normals(hdf5):
    data = load_dataset("modelnet40", "val", num_points=8, normals=True)
    assert data.normals.shape == data.points.shape
    write_h5(hdf5 / "ply_data_test0.h5", data=clouds(9), label=labels(9))
    with pytest.raises(ValueError, match=r"ply_data_test0.h5 must hold .* normal"):
        load_dataset("modelnet40", "test", num_points=8, normals=True)


def test_all_equal_points_are_defined(hdf5):
    path = hdf5 / "ply_data_test0.h5"
    write_h5(path, data=np.full((3, 40, 3), 2.5, np.float32), label=labels(3))
    assert (load_dataset("modelnet40", "test", num_points=9).points == 0).all()


def spoil(key, value):
    def change(folder):
        good = {"data": clouds(9), "label": labels(9)} | {key: value}
        write_h5(folder / "ply_data_test0.h5", **good)

    return change


def truncate(folder):
    path = folder / "ply_data_test0.h5"
    path.write_bytes(path.read_bytes()[:-200])


def with_nan(row=4):
    data = clouds(9)
    data[row, 39, 2] = np.nan  # beyond the points asked for: still a damaged file
    return data


BROKEN_HDF5 = [
    (spoil("data", with_nan()), "NaN or infinite numbers in 1 of 9 clouds.* row 4"),
    (spoil("data", clouds(9) * 1e30), "found a number of size"),
    (spoil("data", clouds(0)), "points are empty"),
    (spoil("data", clouds(9)[..., :2]), r"must be floats of shape .*found float32 \(9"),
    (spoil("data", clouds(9).transpose(0, 2, 1)), "channels seem to come first"),
    (spoil("data", np.ones((9, 40, 3), int)), "must be floats .* found int64"),
    (spoil("data", clouds(9, 5)), "clouds have 5 points, but num_points is 30"),
    (spoil("label", labels(9) + 1), "labels must lie in 0..2 .* found 1..3"),
    (spoil("label", labels(9) - 1), "labels must lie in 0..2 .* found -1..1"),
    (spoil("label", labels(8)), "8 labels for 9 clouds"),
    (spoil("label", labels(9) + 0.5), "labels must be whole numbers"),
    (spoil("label", np.ones((9, 2), int)), r"found int64 \(9, 2\)"),
    (truncate, "not a readable HDF5 file .* truncated"),
    (lambda f: (f / "ply_data_test0.h5").write_bytes(b""), "not a readable HDF5 file"),
    (
        lambda f: (f / "ply_data_test0.h5").unlink(),
        "ply_data_test0.h5 is missing, but test_files.txt lists it",
    ),
    (
        lambda f: write_h5(f / "ply_data_test0.h5", points=clouds(9)),
        "must hold the arrays data, label; data, label missing, found points",
    ),
    (lambda f: (f / "test_files.txt").unlink(), "test_files.txt is missing"),
    (lambda f: (f / "test_files.txt").write_text("\n"), "test_files.txt is empty"),
    (lambda f: (f / "shape_names.txt").unlink(), "shape_names.txt is missing"),
    (lambda f: (f / "shape_names.txt").write_bytes(b"\xff\xfe"), "readable as text"),
    (lambda f: (f / "shape_names.txt").write_text("a\na\n"), "names must differ"),
]


@pytest.mark.parametrize("change, message", BROKEN_HDF5)
def test_broken_hdf5(hdf5, change, message):
    change(hdf5)
    with pytest.raises(ValueError, match=f"(?s){message}") as caught:
        load_dataset("modelnet40", "test", num_points=30)
    assert str(hdf5) in str(caught.value), "the message names the file"


def test_chunks_of_different_lengths(hdf5):
    path = hdf5 / "ply_data_train1.h5"
    write_h5(path, data=clouds(13, 50), label=labels(13))
    with pytest.raises(ValueError, match=r"train1.h5: clouds have 50 points, .* 40"):
        load_dataset("modelnet40", "train", num_points=None)
    assert len(load_dataset("modelnet40", "train", num_points=40)) == 30


@pytest.mark.parametrize("size", range(100, 4000, 371))
def test_truncation_anywhere_is_an_error(hdf5, size):
    path = hdf5 / "ply_data_test0.h5"
    whole = path.read_bytes()
    path.write_bytes(whole[: min(size, len(whole) - 1)])
    with pytest.raises(ValueError, match=r"ply_data_test0.h5"):
        load_dataset("modelnet40", "test", num_points=30)


@pytest.mark.parametrize("name", ["modelnet40", "scanobjectnn", "modelnet40-c"])
def test_missing_folder_names_the_layout(name, tmp_path):
    options = {"corruption": "cutout", "severity": 1} if "-c" in name else {}
    for root in (None, tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=r"was not found\. Expected") as caught:
            load_dataset(name, "test", root, **options)
        message = str(caught.value)
        assert "label" in message and str(root or tmp_path) in message
        advice = "MRPD_DATA_DIR" if root is None else "right folder as root"
        assert advice in message and "data/README.md" in message


def test_empty_folder_of_the_right_name(tmp_path):
    (tmp_path / "modelnet40_ply_hdf5_2048").mkdir()
    with pytest.raises(ValueError, match=r"hdf5_2048 \(the folder is empty\)"):
        load_dataset("modelnet40", "test")


# ModelNet40, text ---------------------------------------------------------------------


def test_text(text):
    test = load_dataset("modelnet40", "test", num_points=30, normals=True)
    assert test.class_names == CLASSES and test.points.shape == (3, 30, 3)
    assert test.labels.tolist() == [0, 1, 2]
    assert test.ids == ("airplane_0005", "night_stand_0005", "tv_stand_0005")
    assert (test.normals == 1).all()
    assert_in_frame(test)
    expected = normalise(torch.from_numpy(clouds(1, 40, 0)[:, :30]))
    torch.testing.assert_close(test.points[:1], expected, atol=1e-5, rtol=0)
    parts = [load_dataset("modelnet40", s, num_points=30) for s in ("train", "val")]
    assert [len(p) for p in parts] == [9, 3]
    assert len({*parts[0].ids, *parts[1].ids}) == 12
    assert load_dataset("modelnet40", "test", num_points=None).points.shape[1] == 40


def put(content, name="airplane/airplane_0005.txt"):
    return lambda folder: (folder / name).write_text(content)


LINE = "0.1,0.2,0.3,1,0,0\n"
BROKEN_TEXT = [
    (put(LINE * 29), "the cloud has 29 points, but num_points is 30"),
    (put(LINE * 20 + "0.1,0.2"), "must hold lines x,y,z,nx,ny,nz"),
    (put(LINE * 20 + "0.1,0.2,a,1,0,0"), "must hold lines x,y,z,nx,ny,nz"),
    (put("0.1,0.2,0.3\n" * 40), "found 3 numbers in a line"),
    (put(LINE * 29 + "nan,0.2,0.3,1,0,0\n"), "points must be finite"),
    (put(""), "airplane_0005.txt is empty"),
    (
        lambda f: (f / "airplane" / "airplane_0005.txt").unlink(),
        "airplane_0005.txt is missing, but the list of clouds names it",
    ),
    (put("rocket_0001", "modelnet40_test.txt"), "found 'rocket_0001'"),
    (put("airplane", "modelnet40_test.txt"), "found 'airplane'"),
    (put("", "modelnet40_test.txt"), "modelnet40_test.txt is empty"),
    (lambda f: (f / "modelnet40_test.txt").unlink(), "modelnet40_test.txt is missing"),
    (
        lambda f: (f / "modelnet40_shape_names.txt").unlink(),
        "modelnet40_shape_names.txt is missing",
    ),
]


@pytest.mark.parametrize("change, message", BROKEN_TEXT)
def test_broken_text(text, change, message):
    change(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset("modelnet40", "test", num_points=30)
    assert str(text) in str(caught.value)


def test_text_clouds_of_different_lengths(text):
    put(LINE * 20, "tv_stand/tv_stand_0005.txt")(text)
    with pytest.raises(ValueError, match="the cloud has 20 points, those before 40"):
        load_dataset("modelnet40", "test", num_points=None)


# ScanObjectNN -------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_scanobjectnn(scans, variant):
    test = load_dataset("scanobjectnn", "test", variant=variant, num_points=20)
    assert test.name == f"scanobjectnn-{variant}" and test.class_names == CLASS_NAMES
    assert test.labels[0] == list(VARIANTS).index(variant)
    assert_in_frame(test)
    train = load_dataset("scanobjectnn", "train", variant=variant, num_points=20)
    val = load_dataset("scanobjectnn", "val", variant=variant, num_points=20)
    assert len(train) + len(val) == 45 and len(val) == 15


def test_scanobjectnn_roots(scans, tmp_path):
    hashes = {
        load_dataset("scanobjectnn", "test", root, num_points=20).hash()
        for root in (None, tmp_path, scans, scans.parent)
    }
    assert len(hashes) == 1


def test_broken_scanobjectnn(scans):
    with pytest.raises(ValueError, match="variant must be one of 'OBJ_ONLY'"):
        load_dataset("scanobjectnn", "test", variant="hardest")
    with pytest.raises(ValueError, match="40 points, but num_points is 2048"):
        load_dataset("scanobjectnn", "test")
    path = scans / "main_split" / "test_objectdataset_augmentedrot_scale75.h5"
    write_h5(path, data=clouds(45), label=labels(45, 16))
    with pytest.raises(ValueError, match=r"scale75.h5: labels must lie in 0..14"):
        load_dataset("scanobjectnn", "test", num_points=20)
    path.unlink()
    with pytest.raises(ValueError, match=r"scale75.h5 is missing, which holds PB_T50"):
        load_dataset("scanobjectnn", "test", num_points=20)


# ModelNet40-C -------------------------------------------------------------------------


def test_modelnet40c(corrupted):
    data = load_dataset("modelnet40-c", "test", corruption="background", severity=3)
    assert data.name == "modelnet40-c-background-3" and data.points.shape[1] == 44
    assert data.class_names == MODELNET40_CLASSES and len(MODELNET40_CLASSES) == 40
    assert data.labels.tolist() == labels(80, 40)[:, 0].tolist()
    assert_in_frame(data)
    original = load_dataset("modelnet40-c", "test", num_points=20)
    assert original.name == "modelnet40-c-original"
    assert original.points.shape[1] == 20


def test_modelnet40c_draws_points_from_everywhere(corrupted):
    """Added points stand at the end: cutting them off would undo the corruption."""
    data = np.zeros((80, 1100, 3), np.float32)
    data[:, 1024:] = 1  # the added ones
    data[:, 0] = -1
    np.save(corrupted / "data_background_3.npy", data)
    options = {"corruption": "background", "severity": 3, "num_points": 512}
    points = load_dataset("modelnet40-c", "test", **options).points
    assert 10 < (points[0, :, 0] > 0.5).sum() < 70


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"corruption": "rain", "severity": 1},
            "corruption must be one of 'occlusion'",
        ),
        ({"corruption": "cutout"}, "severity must be one of 1, 2, 3, 4, 5"),
        ({"corruption": "cutout", "severity": 6}, "severity must be one of"),
        ({"severity": 3}, '"original" has no severity'),
        ({"corruption": "cutout", "severity": 1}, r"data_cutout_1.npy is missing"),
        ({"num_points": 41}, "have 40 points, but num_points is 41"),
    ],
)
def test_modelnet40c_refuses(corrupted, options, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("modelnet40-c", "test", **options)


def test_broken_modelnet40c(corrupted):
    with pytest.raises(ValueError, match="split must be one of 'test'"):
        load_dataset("modelnet40-c", "train")
    path = corrupted / "data_original.npy"
    for content, message in (
        (path.read_bytes()[:-100], "not a readable .npy file .* truncated"),
        (b"", "not a readable .npy file"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load_dataset("modelnet40-c", "test")
    for array, message in (
        (clouds(79), "holds 79 clouds, but label.npy 80 labels"),
        (clouds(80)[:, :, :2], "must be floats of shape"),
        (np.full((80, 5, 3), np.inf), "must be finite"),
    ):
        np.save(path, array)
        with pytest.raises(ValueError, match=message):
            load_dataset("modelnet40-c", "test")
    np.save(corrupted / "label.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match=r"label.npy is not a readable .npy file"):
        load_dataset("modelnet40-c", "test")
    np.save(corrupted / "label.npy", labels(80, 41))
    with pytest.raises(ValueError, match=r"label.npy: labels must lie in 0..39"):
        load_dataset("modelnet40-c", "test")


# The door, and the listing ------------------------------------------------------------


def test_load_dataset_refuses(hdf5):
    with pytest.raises(ValueError, match="name must be one of 'objects'"):
        load_dataset("shapenet", "test")
    with pytest.raises(ValueError, match="split must be one of 'train', 'val', 'test'"):
        load_dataset("modelnet40", "dev")
    with pytest.raises(ValueError, match="modelnet40 has no option 'points'; its"):
        load_dataset("modelnet40", "test", points=8)
    with pytest.raises(ValueError, match="num_points must be at least 1"):
        load_dataset("modelnet40", "test", num_points=0)
    with pytest.raises(ValueError, match="shapes travels with the package"):
        load_dataset("shapes", "test", root=hdf5)


def test_objects():
    parts = {s: load_dataset("objects", s) for s in ("train", "val", "test")}
    for data in parts.values():
        assert_in_frame(data, atol=2**-15)  # stored as int16
        assert data.num_classes >= 16 and data.points.shape[1] >= 2048
        assert data.normals is not None
    assert len({p.class_names for p in parts.values()}) == 1
    few = load_dataset("objects", "test", num_points=256)
    assert few.points.shape[1:] == (256, 3)


def test_shapes():
    options = {"per_class": 2, "num_points": 64}
    parts = {s: load_dataset("shapes", s, **options) for s in ("train", "val", "test")}
    train = parts["train"]
    assert train.num_classes >= 30 and set(train.class_counts().values()) == {2}
    assert train.captions is not None and train.points.shape[1] == 64
    assert_in_frame(train)
    assert train.hash() == load_dataset("shapes", "train", **options).hash()
    other = load_dataset("shapes", "train", seed=1, **options)
    assert len({p.hash() for p in (*parts.values(), other)}) == 4
    names = train.class_names[3:1:-1]
    two = load_dataset("shapes", "val", class_names=names, **options)
    assert two.class_names == names and len(two) == 4
    with pytest.raises(ValueError, match="class_names must be one of"):
        load_dataset("shapes", "val", class_names=("unicorn",))


def row(name):
    return next(r for r in dataset_rows() if r.name == name)


def test_listing(hdf5, scans, corrupted):
    found = row("modelnet40")
    assert found.where == str(hdf5)
    assert [found.clouds(s) for s in ("train", "val", "test")] == [30, 3, 9]
    assert found.balance("test") == "3 a class" and "33" not in str(found)
    assert row("scanobjectnn (OBJ_BG)").clouds("test") == 45
    assert "1 (display) to" not in row("scanobjectnn (OBJ_BG)").balance("val")
    assert "1 of 75 corrupted files" in row("modelnet40-c").note
    assert row("modelnet40-c").clouds("test") == 80


def test_listing_says_what_is_wrong(hdf5, scans):
    (hdf5 / "ply_data_test0.h5").unlink()
    shutil.rmtree(scans / "main_split_nobg")
    for path in (scans / "main_split").glob("test_*"):
        path.unlink()
    assert "ply_data_test0.h5 is missing" in row("modelnet40").note
    assert "is missing" in row("scanobjectnn (OBJ_BG)").note
    missing = row("modelnet40-c")
    assert missing.where is None and "not found" in str(missing)
    assert {r.name.split(" ")[0] for r in dataset_rows()} == set(DATASETS)


# Real clouds --------------------------------------------------------------------------


def test_real_modelnet40(data_dir):
    try:
        test = load_dataset("modelnet40", "test", data_dir)
    except ValueError as error:
        pytest.skip(f"no ModelNet40 in MRPD_DATA_DIR: {error}")
    assert test.class_names == MODELNET40_CLASSES
    assert test.points.shape[1:] == (1024, 3)
    assert_in_frame(test)
    val, train = (load_dataset("modelnet40", s, data_dir) for s in ("val", "train"))
    share = len(val) / (len(train) + len(val))
    assert share == pytest.approx(0.1, abs=0.01)
    assert min(val.class_counts().values()) >= 1
    assert set(test.limit(40).class_counts().values()) == {1}
    # y is up: standing things are taller than they are wide.
    for name in ("bottle", "person", "lamp", "door"):
        label = test.class_names.index(name)
        points = test.points[test.labels == label]
        size = points.amax(1) - points.amin(1)  # (M, 3)
        assert (size[:, 1] > size[:, 0]).float().mean() > 0.7, name
    listed = next(r for r in dataset_rows(data_dir) if r.name == "modelnet40")
    assert listed.splits["test"] == test.class_counts()
    assert listed.splits["val"] == val.class_counts()
