"""The hardened student: its file, its equations, its cost."""

import pytest
import torch
from fake_lab import CLASSES, clouds, encoder, fake_lab
from torch import nn
from torch.nn import functional as F

from mrpd_tutorial.attacks import PGD
from mrpd_tutorial.distill import HardenedStudent, inference_cost
from mrpd_tutorial.models.classifier import LOGIT_SCALE
from mrpd_tutorial.runtime import generator, save_tensors

POINTS = clouds("val", 6).points


def hardened(**changes) -> HardenedStudent:
    lab, source = fake_lab(), generator(0)
    settings = {
        "student": lab.student,
        "class_text_features": lab.class_text_features(CLASSES),
        "class_names": CLASSES,
        "prompt": torch.randn(1, 3, 32, generator=source),
        "context": torch.randn(2, 16, generator=source),
        "info": {"lab": "fake", "epoch": 7},
    }
    return HardenedStudent(**{**settings, **changes})


def test_logits_are_cosines_with_the_prompted_student():
    model, student = hardened(colour=0.3), fake_lab().student
    with torch.no_grad():
        features = F.normalize(student(POINTS, model.prompt, colour=0.3), dim=-1)
        texts = fake_lab().class_text_features(CLASSES)
        torch.testing.assert_close(model(POINTS), LOGIT_SCALE * features @ texts.T)
    assert not torch.allclose(model(POINTS), hardened(prompt=None)(POINTS))


def test_text_features_of_any_length():
    long = 3 * fake_lab().class_text_features(CLASSES)
    torch.testing.assert_close(
        hardened(class_text_features=long)(POINTS), hardened()(POINTS)
    )
    raw = hardened(class_text_features=long, normalise_text=False)
    torch.testing.assert_close(raw(POINTS), 3 * hardened()(POINTS))


@pytest.mark.parametrize("prompt", [None, (1, 3, 32), (2, 3, 32)])
def test_saved_and_loaded_is_the_same(tmp_path, prompt):
    prompt = None if prompt is None else torch.randn(prompt, generator=generator(1))
    model = hardened(prompt=prompt, colour=0.3)
    model.save(tmp_path / "prompts.safetensors")
    loaded = HardenedStudent.load(tmp_path / "prompts.safetensors", fake_lab().student)
    assert torch.equal(loaded(POINTS), model(POINTS))
    assert loaded.class_names == CLASSES and loaded.info == {"lab": "fake", "epoch": 7}
    assert torch.equal(loaded.context, model.context)
    assert (tmp_path / "prompts.safetensors").stat().st_size < 10_000
    loaded.save(tmp_path / "again.safetensors")
    first, again = (tmp_path / f"{n}.safetensors" for n in ("prompts", "again"))
    assert first.read_bytes() == again.read_bytes()


def test_nothing_is_overwritten_unasked(tmp_path):
    path = tmp_path / "prompts.safetensors"
    hardened().save(path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        hardened().save(path)
    hardened(colour=0.9).save(path, overwrite=True)
    assert HardenedStudent.load(path, fake_lab().student).colour == 0.9


def test_another_student_is_refused(tmp_path):
    path = tmp_path / "prompts.safetensors"
    hardened().save(path)
    with pytest.raises(ValueError, match="prompts for another student"):
        HardenedStudent.load(path, encoder())
    with pytest.raises(ValueError, match="lab 'fake', which does not travel"):
        HardenedStudent.load(path)


def test_other_files_are_refused(tmp_path):
    student, path = fake_lab().student, tmp_path / "prompts.safetensors"
    with pytest.raises(ValueError, match="does not exist"):
        HardenedStudent.load(path, student)
    save_tensors(path, {"prompt": torch.zeros(1, 3, 32)}, {})
    with pytest.raises(ValueError, match=r"must be written by HardenedStudent\.save"):
        HardenedStudent.load(path, student)
    hardened().save(path, overwrite=True)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        HardenedStudent.load(path, student)


def test_bad_parts_are_refused():
    texts = fake_lab().class_text_features(CLASSES)
    with pytest.raises(ValueError, match="must have 4 rows"):
        hardened(class_text_features=texts[:3])
    with pytest.raises(ValueError, match="must have 16 columns"):
        hardened(class_text_features=texts[:, :5])
    with pytest.raises(ValueError, match="prompt must be finite"):
        hardened(prompt=torch.full((1, 3, 32), torch.nan))
    with pytest.raises(ValueError, match="colour must lie in"):
        hardened(colour=2.0)
    with pytest.raises(ValueError, match=r"points must have shape \(B, N, 3\)"):
        hardened()(POINTS[0])


def test_an_adaptive_attack_goes_through_the_prompts():
    model = hardened()
    points = POINTS.clone().requires_grad_(True)
    model(points).square().sum().backward()
    assert points.grad.abs().amax(dim=(1, 2)).min() > 0
    labels = model(POINTS).argmax(1)
    result = PGD.quick(eps=0.2)(model, POINTS, labels)
    assert result.idle_steps.max() == 0

    def lead(points):  # of the class that was first, over the mean of all
        logits = model(points)
        return (logits.gather(1, labels[:, None])[:, 0] - logits.mean(1)).mean()

    assert lead(result.points) < lead(POINTS)


def test_prompts_are_few_but_not_free():
    """Multiply-adds by hand for one linear layer; more with prompts than without."""
    layer = nn.Sequential(nn.Flatten(), nn.Linear(72, 5))
    cost = inference_cost(layer, POINTS)
    assert cost.multiply_adds_per_cloud == 72 * 5
    assert cost.seconds_per_cloud > 0 and cost.num_points == 24
    model = hardened()
    plain = model.undefended(fake_lab().class_text_features(CLASSES))
    with_prompts = inference_cost(model, POINTS).multiply_adds_per_cloud
    without = inference_cost(plain, POINTS).multiply_adds_per_cloud
    # Three more tokens beside 1 + 8, in all that happens above the patch encoder.
    assert without < with_prompts < without * (1 + 3 / 9) ** 2


def test_attention_is_counted():
    class Attention(nn.Module):
        def forward(self, points):
            return F.scaled_dot_product_attention(points, points, points)

    cost = inference_cost(Attention(), POINTS)
    assert cost.multiply_adds_per_cloud == 2 * 24 * 24 * 3


def test_inference_cost_refuses_bad_input():
    with pytest.raises(ValueError, match=r"points must have shape \(B, N, 3\)"):
        inference_cost(nn.Identity(), POINTS[0])
    with pytest.raises(ValueError, match="repeats must be above 0"):
        inference_cost(nn.Identity(), POINTS, repeats=0)
