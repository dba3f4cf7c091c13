"""Weights that travel with the package beside the lab: do they do their work?"""

import pytest
import torch

from mrpd_tutorial.data import load_dataset
from mrpd_tutorial.defenses import DUPNet
from mrpd_tutorial.geometry import chamfer_distance, knn
from mrpd_tutorial.models import load_auto_encoder
from mrpd_tutorial.runtime import generator
from mrpd_tutorial.zoo import load_lab, tiny_folder
from mrpd_tutorial.zoo_victims import load_victim

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def objects():
    return load_dataset("objects", "val").limit(12)


@pytest.mark.parametrize("family", ["pointnet", "dgcnn"])
def test_the_surrogates_know_what_they_were_trained_on(family):
    shapes = load_dataset("shapes", "val", per_class=1)
    victim = load_victim(family).for_classes(shapes.class_names)
    with torch.no_grad():
        right = victim(shapes.points).argmax(1) == shapes.labels
    # Chance is one in 53; the cards say more than 80 % of many.
    assert right.float().mean() > 0.6
    assert not any(parameter.requires_grad for parameter in victim.parameters())


@pytest.mark.parametrize("family", ["pointnet", "dgcnn"])
def test_the_surrogates_know_the_classes_of_the_objects(family, objects):
    victim = load_victim(family).for_classes(objects.class_names)
    with torch.no_grad():
        right = victim(objects.subsample_points(1024).points).argmax(1)
    assert (right == objects.labels).sum() > 4  # of 12; chance is less than one


def test_the_auto_encoder_keeps_the_shape(objects):
    clean = objects.subsample_points(1024).points
    with torch.no_grad():
        seen = load_auto_encoder()(clean)
    others = chamfer_distance(clean, clean.roll(1, 0)).mean()
    assert chamfer_distance(seen, clean).mean() < others / 8


def test_dup_net_draws_the_surface_four_times_as_densely(objects):
    dense = objects.points  # (B, 2048, 3)
    sparse = dense[:, :1024]
    sparse = sparse + 0.02 * torch.randn(sparse.shape, generator=generator(0))
    with torch.no_grad():
        drawn = DUPNet(resample=False)(sparse)
    assert drawn.shape == (len(dense), 4096, 3)
    off = {
        name: knn(points, dense, 1)[0].mean()
        for name, points in (("given", sparse), ("drawn", drawn))
    }
    holes = {
        name: knn(dense, points, 1)[0].mean()
        for name, points in (("given", sparse), ("drawn", drawn))
    }
    assert holes["drawn"] < holes["given"]  # it fills
    assert off["drawn"] < 1.5 * off["given"]  # and stays where the surface is


def test_the_student_still_knows_what_dup_net_hands_on(objects):
    student = load_lab("tiny").classifiers(objects.class_names)["student"]
    clean = objects.subsample_points(1024).points
    with torch.no_grad():
        before, after = (
            int((student(points).argmax(1) == objects.labels).sum())
            for points in (clean, DUPNet()(clean))
        )
    assert after >= before - 3  # of 12; on all 4,096 points hardly any would be left


def test_every_file_is_small_and_has_its_card():
    for path in tiny_folder().glob("*.safetensors"):
        assert path.with_suffix(".json").is_file(), path.name
        assert path.stat().st_size <= 8 * 2**20, path.name
