"""Every check passes what is right and names what is wrong."""

import pytest
import torch

from mrpd_tutorial import checks

CLOUD = torch.zeros(2, 5, 3)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[0, 0, 0]], "must be a torch.Tensor"),
        (torch.zeros(2, 3, 5), r"received \(2, 3, 5\).*transpose\(1, 2\)"),
        (torch.zeros(5, 3), r"For a single cloud, use points\[None\]"),
        (torch.zeros(2, 5, 4), r"shape \(B, N, 3\); received \(2, 5, 4\)"),
        (torch.zeros(0, 5, 3), "holds no cloud"),
        (torch.zeros(2, 0, 3), "at least 1 points"),
        (CLOUD.long(), "float32 or float64; received torch.int64"),
        (CLOUD.half(), "received torch.float16"),
        (CLOUD.index_fill(0, torch.tensor([1]), torch.nan), "the first in row 1"),
        (CLOUD + torch.inf, "30 NaN or infinite"),
    ],
)
def test_points_refused(points, message):
    with pytest.raises(ValueError, match=message):
        checks.check_points(points)


def test_points_accepted():
    assert checks.check_points(CLOUD) is None
    assert checks.check_points(CLOUD.double(), unit_sphere=True) is None
    assert checks.check_cloud(CLOUD[0]) is None


def test_points_outside_the_unit_sphere():
    with pytest.raises(ValueError, match=r"radius is 3\.000.*normalise"):
        checks.check_points(torch.tensor([[[3.0, 0, 0], [0, 0, 0]]]), unit_sphere=True)


def test_too_few_points():
    with pytest.raises(ValueError, match="at least 6 points a cloud; received 5"):
        checks.check_points(CLOUD, min_points=6)


def test_single_cloud_refused():
    with pytest.raises(ValueError, match=r"shape \(N, 3\); received \(2, 5, 3\)"):
        checks.check_cloud(CLOUD)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2], "must be a torch.Tensor"),
        (torch.zeros(2, 1, dtype=torch.int64), r"reshape\(-1\)"),
        (torch.zeros(2), "int64 class ids; received torch.float32"),
        (torch.zeros(3, dtype=torch.int64), "each of the 2 clouds; received 3"),
        (torch.tensor([0, -1]), "must not be negative"),
        (torch.tensor([0, 4]), r"0\.\.3 for 4 classes; received 4"),
    ],
)
def test_labels_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        checks.check_labels(labels, num_classes=4, batch=2)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.zeros(4), r"shape \(rows, D\)"),
        (torch.zeros(3, 8), "must have 2 rows; received 3"),
        (torch.zeros(2, 7), "must have 8 columns"),
        (torch.full((2, 8), torch.nan), "16 NaN"),
    ],
)
def test_features_refused(features, message):
    with pytest.raises(ValueError, match=message):
        checks.check_features(features, "features", rows=2, dim=8)


def test_devices_must_agree():
    there = torch.zeros(1, device="meta")
    with pytest.raises(ValueError, match="a on cpu, b on meta"):
        checks.check_same_device(a=torch.zeros(1), b=there)


def test_numbers_and_choices():
    for value in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="steps must be above 0"):
            checks.check_positive("steps", value)
    with pytest.raises(ValueError, match=r"k must lie in \[1, 3\]; received 4"):
        checks.check_between("k", 4, 1, 3)
    with pytest.raises(ValueError, match="norm must be one of 'a', 'b'; received 'c'"):
        checks.check_choice("norm", "c", ("a", "b"))
    assert checks.check_between("k", 1, 1, 3) is None


def test_device():
    with pytest.raises(ValueError, match="must be a name like 'cpu'"):
        checks.check_device("toaster")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="finds no CUDA device"):
            checks.check_device("cuda")
    assert checks.check_device("cpu") is None
