"""The CLIP teachers against open_clip itself, and everything that can go wrong."""

import json

import mrpd_tutorial  # noqa: F401  first: open_clip needs its treatment of torchvision

# isort: split
import open_clip
import pytest
import torch
from open_clip.coca_model import CoCa
from torch import nn
from torch.nn import functional as F

from mrpd_tutorial.geometry import normalise
from mrpd_tutorial.models import (
    PAPER_MODELS,
    ImageClassifier,
    ImageTeacher,
    PointEncoder,
    PointEncoderConfig,
    TextTeacher,
    ZeroShotClassifier,
    build_clip,
    load_clip,
)
from mrpd_tutorial.projection import RELEASED_VIEW, TEN_VIEWS, depth_maps
from mrpd_tutorial.runtime import generator

NAMES = ("chair", "grand piano", "range hood")
VISION = {
    "image_size": 32,
    "layers": 1,
    "width": 32,
    "patch_size": 16,
    "head_width": 16,
}
TEXT = {"context_length": 24, "width": 16, "heads": 2, "layers": 2}


def config(custom_text: bool = True, vision: dict | None = None, **text) -> dict:
    return {
        "embed_dim": 20,
        "vision_cfg": vision or VISION,
        "text_cfg": {**TEXT, **text},
        "custom_text": custom_text,
    }


def stirred(module: nn.Module) -> nn.Module:
    """Weights large enough that every token matters."""
    gen = generator(0)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and "logit" not in name:
            noise = torch.randn(tensor.shape, generator=gen)
            tensor.copy_(noise.abs() + 0.5 if "running_var" in name else noise * 0.3)
    return module.eval()


def coca() -> tuple[nn.Module, open_clip.SimpleTokenizer]:
    """CoCa's text tower appends a class token of its own."""
    model = CoCa(
        embed_dim=20,
        vision_cfg={
            **VISION,
            "output_tokens": True,
            "attentional_pool": True,
            "attn_pooler_heads": 4,
        },
        text_cfg={**TEXT, "embed_cls": True, "output_tokens": True},
        multimodal_cfg={"context_length": 24, "width": 16, "heads": 2, "layers": 1},
    )
    return model, open_clip.SimpleTokenizer(context_length=24)


def clouds(batch: int = 2) -> torch.Tensor:
    return normalise(torch.randn(batch, 60, 3, generator=generator(1)))


TOWERS = {
    "inside": lambda: build_clip(config(custom_text=False)),
    "of its own": lambda: build_clip(config()),
    "no causal mask": lambda: build_clip(config(no_causal_mask=True)),
    "no causal mask, inside": lambda: build_clip(config(False, no_causal_mask=True)),
    "pools last": lambda: build_clip(config(pool_type="last")),
    "pools first": lambda: build_clip(config(pool_type="first", no_causal_mask=True)),
    "pools eos": lambda: build_clip(config(pool_type="eos", eos_id=49407)),
    "pools eos, inside": lambda: build_clip(
        config(False, pool_type="eos", eos_id=49407)
    ),
    "projection with bias": lambda: build_clip(config(proj_bias=True)),
    "no projection": lambda: build_clip(config(proj_type="none")),
    "CoCa": coca,
}


@pytest.mark.parametrize("tower", TOWERS)
def test_text_features_equal_open_clips_own(tower):
    model, tokenizer = TOWERS[tower]()
    stirred(model)
    teacher = TextTeacher(model, tokenizer)
    plain = [f"A depth picture of {name}." for name in NAMES]
    with torch.no_grad():
        expected = F.normalize(model.encode_text(tokenizer(plain)), dim=-1)
        with_words = F.normalize(
            model.encode_text(tokenizer([f"X X X {s}" for s in plain])), dim=-1
        )
    torch.testing.assert_close(teacher.class_text_features(NAMES), expected)
    context = teacher.context_from_words("X X X")
    assert context.shape == (3, teacher.context_width) == (3, 16)
    found = teacher.class_text_features(NAMES, context)
    torch.testing.assert_close(found, with_words)
    assert (found - expected).abs().max() > 1e-3
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3))


class WithoutStartToken:
    """Like SigLIP's tokenizers: the words, an end token, padding with the same."""

    def __call__(self, texts: list[str]) -> torch.Tensor:
        ids = torch.ones(len(texts), 24, dtype=torch.int64)
        for row, text in zip(ids, texts, strict=True):
            words = [2 + hash_of(word) for word in text.split()]
            row[: len(words)] = torch.tensor(words, dtype=torch.int64)
        return ids


def hash_of(word: str) -> int:
    return sum(ord(letter) * 31**i for i, letter in enumerate(word)) % 1000


def test_context_comes_first_where_there_is_no_start_token():
    model, _ = build_clip(config(no_causal_mask=True, pool_type="last"))
    stirred(model)
    tokenizer = WithoutStartToken()
    teacher = TextTeacher(model, tokenizer)
    context = teacher.context_from_words("X X")
    assert torch.equal(
        context, model.text.token_embedding(torch.tensor([2 + hash_of("X")] * 2))
    )
    expected = model.encode_text(tokenizer(["X X A depth picture of chair."]))
    found = teacher.class_text_features(["chair"], context)
    torch.testing.assert_close(found, F.normalize(expected, dim=-1))


def test_gradients_reach_the_context_and_nothing_else():
    model, tokenizer = build_clip(config())
    teacher = TextTeacher(stirred(model), tokenizer).train()
    assert not teacher.training and not teacher.tower.training
    context = 0.3 * torch.randn(2, 16, generator=generator(0))
    context.requires_grad_()
    weights = torch.randn(3, 20, generator=generator(1))

    def value(c: torch.Tensor) -> torch.Tensor:
        return (teacher.class_text_features(NAMES, c) * weights).sum()

    value(context).backward()
    assert all(p.grad is None for p in model.parameters())
    step = torch.randn(2, 16, generator=generator(2)) * 1e-2
    with torch.no_grad():
        slope = (value(context + step) - value(context - step)) / 2
    torch.testing.assert_close((context.grad * step).sum(), slope, rtol=1e-2, atol=1e-5)
    # A later call with other classes must not see the sentences of an earlier one.
    assert teacher.class_text_features(["lamp"], context).shape == (1, 20)


def test_bad_text_input():
    model, tokenizer = build_clip(config())
    teacher = TextTeacher(model, tokenizer)
    for names in ([], ["chair", 3]):
        with pytest.raises(ValueError, match="class_names must be at least one string"):
            teacher.class_text_features(names)
    for shape in ((3, 15), (16,), (1, 3, 16)):
        with pytest.raises(ValueError, match=r"context must have shape \(M, 16\)"):
            teacher.class_text_features(NAMES, torch.zeros(shape))
    with pytest.raises(ValueError, match="class 'chair' do not fit"):
        teacher.class_text_features(["chair"], torch.zeros(18, 16))
    with pytest.raises(ValueError, match="class 'chair' do not fit"):
        teacher.class_text_features(["chair"], torch.zeros(30, 16))
    with pytest.raises(ValueError, match="Shorten the name"):
        teacher.class_text_features(["chair " * 30])
    with pytest.raises(ValueError, match=r"template must hold \{\}"):
        TextTeacher(model, tokenizer, template="a chair")
    foreign = nn.Module()
    foreign.text = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="not into those of Hugging Face"):
        TextTeacher(foreign, tokenizer)


# ------------------------------------------------------------------ images


def test_image_features_equal_a_computation_by_hand():
    model, _ = build_clip(config())
    stirred(model)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    teacher = ImageTeacher(
        model, TEN_VIEWS, resolution=64, mean=mean, std=std, images_per_pass=7
    )
    points = clouds()
    views = []
    for image in depth_maps(points, TEN_VIEWS, 64).flatten(0, 1):
        channels = []
        for m, s in zip(mean, std, strict=True):
            small = F.interpolate(
                image[None, None], (32, 32), mode="bilinear", antialias=True
            )
            channels.append((small[0, 0] - m) / s)
        views.append(F.normalize(model.encode_image(torch.stack(channels)[None])))
    views = torch.cat(views).view(2, 10, 20)
    torch.testing.assert_close(teacher.view_features(points), views)
    expected = F.normalize(views.mean(1), dim=-1)
    torch.testing.assert_close(teacher(points), expected)
    maps = depth_maps(points, TEN_VIEWS, 64)
    torch.testing.assert_close(teacher.encode_maps(maps), views)


def test_released_view_and_towers_of_timm():
    vision = {"timm_model_name": "tf_efficientnet_lite0", "image_size": 48}
    model, _ = build_clip(config(vision={**vision, "timm_pool": ""}))
    teacher = ImageTeacher(model, RELEASED_VIEW, resolution=48).train()
    assert not model.training and teacher.image_size == 48
    points = clouds()
    maps = depth_maps(points, RELEASED_VIEW, 48)
    expected = F.normalize(model.encode_image(maps.expand(-1, 3, -1, -1)), dim=-1)
    torch.testing.assert_close(teacher(points), expected)
    single = torch.cat([teacher(cloud[None]) for cloud in points])
    torch.testing.assert_close(single, expected)


def test_gradients_pass_through_the_maps_and_a_soft_renderer():
    model, _ = build_clip(config())

    def soft(points, views, resolution):
        grid = torch.linspace(-1, 1, resolution)
        x, y = points[..., 0, None], points[..., 1, None]  # (B, N, 1)
        rows = torch.exp(-50 * (y - grid).square())  # (B, N, R)
        columns = torch.exp(-50 * (x - grid).square())
        image = torch.einsum("bnh,bnw->bhw", rows, columns).clamp(max=1)
        return image[:, None]

    teacher = ImageTeacher(stirred(model), render=soft, resolution=32)
    points = clouds().requires_grad_()
    teacher(points)[:, 0].sum().backward()
    assert points.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.parameters())


def test_a_softened_teacher_sees_nearly_the_same_and_passes_gradients():
    model, _ = build_clip(config())
    mean, std = (0.1, 0.2, 0.3), (1.0, 2.0, 3.0)
    teacher = ImageTeacher(stirred(model), resolution=48, mean=mean, std=std)
    points = clouds().requires_grad_()
    soft = teacher.softened(TEN_VIEWS[:3])
    soft(points)[:, 0].sum().backward()
    assert (points.grad != 0).any() and points.grad.isfinite().all()
    assert soft.clip_model is teacher.clip_model
    with torch.no_grad():
        exact = teacher.view_features(points)[:, :3]
        near = soft.view_features(points)
    assert (exact * near).sum(-1).min() > 0.9  # cosine
    assert teacher.softened().views == teacher.views


def test_bad_image_input():
    model, _ = build_clip(config())
    with pytest.raises(ValueError, match="mean must hold one number for each"):
        ImageTeacher(model, mean=(0.5,))
    with pytest.raises(ValueError, match="std must be above 0"):
        ImageTeacher(model, std=(1, 0, 1))
    with pytest.raises(ValueError, match="resolution must be above 0"):
        ImageTeacher(model, resolution=0)
    with pytest.raises(ValueError, match="channels come first"):
        ImageTeacher(model)(clouds().transpose(1, 2))
    model.visual.image_size = (32, 64)
    with pytest.raises(ValueError, match="square"):
        ImageTeacher(model)


# ------------------------------------------------------------------ classifiers


def test_zero_shot_logits_are_scaled_cosines():
    sizes = PointEncoderConfig(
        width=32, depth=2, num_groups=6, group_size=5, embed_dim=20
    )
    encoder = PointEncoder(sizes).eval()
    text = torch.randn(4, 20, generator=generator(0)) * 3
    prompt = torch.randn(2, 32, generator=generator(1))
    points = clouds()
    model = ZeroShotClassifier(encoder, text, prompt, colour=0.5, logit_scale=10)
    features = encoder(points, prompt, 0.5)
    expected = 10 * F.cosine_similarity(features[:, None], text[None], dim=-1)
    torch.testing.assert_close(model(points), expected)
    assert "prompt" not in dict(model.named_parameters())
    learnable = ZeroShotClassifier(encoder, text, nn.Parameter(prompt))
    learnable(points).sum().backward()
    assert learnable.prompt.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="must have 20 columns"):
        ZeroShotClassifier(encoder, text[:, :9])
    with pytest.raises(ValueError, match="logit_scale must be above 0"):
        ZeroShotClassifier(encoder, text, logit_scale=0)


def test_image_logits_are_scaled_cosines():
    model, _ = build_clip(config())
    teacher = ImageTeacher(stirred(model), RELEASED_VIEW, resolution=32)
    text = torch.randn(4, 20, generator=generator(0))
    points = clouds()
    expected = teacher(points) @ F.normalize(text, dim=-1).T / 0.07
    torch.testing.assert_close(ImageClassifier(teacher, text)(points), expected)


# ------------------------------------------------------------------ loading


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embed_dims": 3}, r"unknown \['embed_dims'\]"),
        ({"vision_cfg": {"pixels": 3}}, r"unknown \['pixels'\]"),
        ({"vision_cfg": {"timm_model_pretrained": True}}, "would download"),
        ({"text_cfg": {"hf_model_name": "roberta-base"}}, "Hugging Face model"),
        ({"text_cfg": {"vocab_size": 100}}, "at least 49408"),
    ],
)
def test_bad_configurations(change, message):
    with pytest.raises(ValueError, match=message):
        build_clip({**config(), **change})


def test_missing_configuration_fields():
    with pytest.raises(ValueError, match=r"missing \['vision_cfg', 'text_cfg'\]"):
        build_clip({"embed_dim": 3})


@pytest.fixture
def known_model(tmp_path, monkeypatch) -> str:
    """A tiny model that open_clip knows by name."""
    from open_clip import factory

    monkeypatch.setattr(
        factory, "_MODEL_CONFIG_PATHS", list(factory._MODEL_CONFIG_PATHS)
    )
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    path = tmp_path / "tiny-of-the-tests.json"
    path.write_text(json.dumps(config()))
    open_clip.add_model_config(path)
    return path.stem


def test_load_by_name_and_file(known_model, tmp_path):
    original, _ = build_clip(config())
    stirred(original)
    path = tmp_path / "weights.pt"
    torch.save(original.state_dict(), path)
    model, tokenizer, preprocess = load_clip(known_model, path)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert preprocess["size"] in (32, (32, 32)) and len(preprocess["mean"]) == 3
    texts = tokenizer(["a chair"])
    assert texts.shape == (1, 24)
    assert torch.equal(model.encode_text(texts), original.encode_text(texts))

    state = original.state_dict()
    state["text.ln_final.weight"] = torch.zeros(3)
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"could not load.*text.ln_final.weight"):
        load_clip(known_model, path)
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="could not load"):
        load_clip(known_model, path)


def test_load_from_a_folder(tmp_path):
    with pytest.raises(ValueError, match=r"open_clip_config\.json"):
        load_clip(f"local-dir:{tmp_path}")
    original, _ = build_clip(config())
    torch.save(original.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config(), "preprocess_cfg": {"mean": [0.1] * 3}})
    )
    model, _, preprocess = load_clip(f"local-dir:{tmp_path}")
    assert torch.equal(model.visual.proj, original.visual.proj)
    assert list(preprocess["mean"]) == [0.1] * 3


def test_without_weights_the_paper_model_says_what_to_download(monkeypatch):
    advice = (
        r"Download .*eva02_enormous_patch14_plus_clip_224.laion2b_s9b_b144k"
        r".*load_clip\('EVA02-E-14-plus', weights='PATH'\)"
    )
    with pytest.raises(ValueError, match=rf"needs weights. {advice}"):
        load_clip("EVA02-E-14-plus")
    with pytest.raises(ValueError, match=rf"neither a file nor a tag.*{advice}"):
        load_clip("EVA02-E-14-plus", "missing/file.bin")

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(open_clip.factory, "download_pretrained", offline)
    with pytest.raises(ValueError, match=rf"no network.*{advice}"):
        load_clip("EVA02-E-14-plus", "laion2b_s9b_b144k")
    with pytest.raises(ValueError, match=r"Close names: .*ViT-B-32"):
        load_clip("ViT-B-33", "openai")


def test_the_paper_models_are_named_with_their_source():
    assert set(PAPER_MODELS) == {"Uni3D-Ti", "Uni3D-B", "EVA02-E-14-plus"}
    for model in PAPER_MODELS.values():
        assert model.download.startswith("https://huggingface.co/")
        assert model.call.startswith("load_")
