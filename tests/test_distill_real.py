"""Distillation in the tiny lab on real objects: prompts must help, strictly."""

import pytest
import torch

from mrpd_tutorial.attacks import PGD
from mrpd_tutorial.data import load_dataset
from mrpd_tutorial.distill import DistillConfig, HardenedStudent, distill
from mrpd_tutorial.zoo import load_lab


@pytest.mark.slow
def test_prompts_help_on_objects(tmp_path):
    lab = load_lab("tiny")
    train, val = (
        load_dataset("objects", split).limit(count).subsample_points(512)
        for split, count in (("train", 96), ("val", 32))
    )
    # The image teacher's ten views would take most of the test's time.
    config = DistillConfig.quick(
        epochs=12, teachers=("point", "text"), attack=PGD.quick(steps=5)
    )
    result = distill(
        lab, train, val, config, tmp_path / "run", tmp_path / "cache", progress=False
    )
    chosen, before = result.history[result.best_epoch - 1], result.undefended
    assert chosen["val_attacked"] > before["val_attacked"]
    assert chosen["val_score"] > sum(before.values()) / 2 + 0.03
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert 0.2 < result.history[0]["pass_point"] < 1
    assert result.history[0]["pass_text"] == 1
    # The file finds the tiny lab's student by itself and needs no text tower.
    loaded = HardenedStudent.load(tmp_path / "run" / "prompts.safetensors")
    with torch.no_grad():
        assert torch.equal(loaded(val.points), result.hardened(val.points))
