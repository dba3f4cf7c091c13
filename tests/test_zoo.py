"""The lab that travels with the package: whole, frozen, one space, honest cards."""

import shutil

import pytest
import torch

from mrpd_tutorial import zoo
from mrpd_tutorial.attacks import PGD
from mrpd_tutorial.data import load_dataset
from mrpd_tutorial.runtime import load_tensors, save_tensors


@pytest.fixture(scope="module")
def lab():
    return zoo.load_lab("tiny")


@pytest.fixture(scope="module")
def few():
    return load_dataset("objects", "val").subsample_points(1024).limit(36)


@pytest.fixture
def copied_folder(tmp_path):
    return shutil.copytree(zoo.tiny_folder(), tmp_path / "lab")


def test_everything_is_frozen_and_in_one_space(lab, few):
    modules = (lab.student, lab.point_teacher, lab.image_teacher, lab.text_teacher)
    for module in modules:
        assert not any(p.requires_grad for p in module.parameters())
        assert not module.training
    points = few.points[:2]
    text = lab.class_text_features(few.class_names)
    assert text.shape == (few.num_classes, lab.embed_dim)
    assert torch.allclose(text.norm(dim=1), torch.ones(len(text)), atol=1e-5)
    for encode in (lab.student, lab.point_teacher, lab.image_teacher):
        assert encode(points).shape == (2, lab.embed_dim)


def test_cards_say_what_each_model_was_trained_on(lab):
    assert set(lab.card) == set(zoo.STAGES)
    for card in lab.card.values():
        assert {"trained_on", "command", "options", "seed", "scores"} <= set(card)
        assert "objects" not in card["trained_on"].replace("object names", "")


def test_the_files_are_small_enough_to_ship():
    sizes = [path.stat().st_size for path in zoo.tiny_folder().iterdir()]
    assert max(sizes) <= 8 * 2**20
    assert sum(sizes) <= 25 * 2**20


def test_zero_shot_beats_chance_and_an_attack_tells_the_models_apart(lab, few):
    models = lab.classifiers(few.class_names)
    attacked = PGD.quick(steps=5)(models["student"], few.points, few.labels).points

    def accuracy(name, points):
        with torch.no_grad():
            hits = models[name](points).argmax(1) == few.labels
        return float(hits.float().mean())

    for name in models:
        assert accuracy(name, few.points) > 5 / few.num_classes
    assert accuracy("student", attacked) < accuracy("student", few.points) - 0.3
    # What the whole idea rests on: depth maps hardly carry the student's attack.
    lost = accuracy("image teacher", few.points) - accuracy("image teacher", attacked)
    assert lost < 0.25


def test_names_are_words_to_the_text_teacher(lab):
    one, other = (lab.class_text_features([n]) for n in ("night_stand", "night stand"))
    assert torch.equal(one, other)
    assert zoo.plain_name("TV_stand ") == "tv stand"


def test_digest_sees_every_weight(lab):
    before = lab.digest()
    assert zoo.load_lab("tiny").digest() == before
    bias = lab.point_teacher.trans2embed.bias
    with torch.no_grad():
        bias[0] += 1
        assert lab.digest() != before
        bias[0] -= 1


def test_unknown_name_and_device():
    with pytest.raises(ValueError, match="name must be one of 'tiny'"):
        zoo.load_lab("huge")
    with pytest.raises(ValueError, match="device must be a name"):
        zoo.load_lab("tiny", device="toaster")


@pytest.mark.parametrize("stage", zoo.STAGES)
def test_damaged_and_missing_files_are_named(copied_folder, stage):
    path = copied_folder / f"{stage}.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=rf"{stage}\.safetensors is not a readable"):
        zoo.load_lab("tiny", folder=copied_folder)
    path.unlink()
    with pytest.raises(ValueError, match=rf"{stage}\.safetensors does not exist"):
        zoo.load_lab("tiny", folder=copied_folder)


def test_another_architecture_names_the_first_differing_tensor(copied_folder):
    path = copied_folder / "student.safetensors"
    tensors, info = load_tensors(path)
    tensors["trans2embed.weight"] = tensors["trans2embed.weight"][:, :5]
    save_tensors(path, tensors, info, overwrite=True)
    with pytest.raises(ValueError, match=r"trans2embed\.weight.*\(512, 128\)"):
        zoo.load_lab("tiny", folder=copied_folder)


def test_paper_models_say_what_to_download(tmp_path):
    with pytest.raises(ValueError, match=r"no checkpoint at .* Download"):
        zoo.paper_lab(tmp_path / "ti.pt", tmp_path / "b.pt")


@pytest.mark.gpu
def test_the_lab_moves_to_a_gpu(lab, few):
    there = zoo.load_lab("tiny", device="cuda")
    points = few.points[:4]
    for name in ("student", "point_teacher", "image_teacher"):
        here = getattr(lab, name)(points)
        moved = getattr(there, name)(points.cuda())
        assert moved.is_cuda
        assert torch.allclose(here, moved.cpu(), atol=1e-2)
