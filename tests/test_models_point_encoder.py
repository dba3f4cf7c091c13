"""The point encoder: reference outputs, its patches and prompts, and bad input."""

import copy
import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn

from mrpd_tutorial.geometry import normalise
from mrpd_tutorial.models import PointEncoder, PointEncoderConfig, load_uni3d
from mrpd_tutorial.models.patches import PatchEncoder, group_patches
from mrpd_tutorial.runtime import generator

SMALL = PointEncoderConfig(
    width=32,
    depth=3,
    num_heads=2,
    num_groups=6,
    group_size=5,
    patch_widths=(8, 12, 16),
    token_encoder_dim=16,
    position_width=8,
    embed_dim=24,
)


def clouds(batch: int = 3, count: int = 40, seed: int = 0) -> torch.Tensor:
    return normalise(torch.randn(batch, count, 3, generator=generator(seed)))


def stirred(module: nn.Module, seed: int = 0) -> nn.Module:
    """Weights and batch norm statistics that leave nothing at its neutral value."""
    gen = generator(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=gen, dtype=tensor.dtype)
            if name.endswith("running_var"):
                tensor.copy_(noise.abs() + 0.5)
            elif tensor.ndim == 1:
                tensor.add_(0.2 * noise)
            else:
                tensor.copy_(noise * 0.3)
    return module


@pytest.fixture
def encoder() -> PointEncoder:
    return stirred(PointEncoder(SMALL)).eval()


@pytest.fixture(scope="module")
def reference(request):
    golden = request.getfixturevalue("golden_dir")
    with np.load(golden / "uni3d_ti.npz") as file:
        tensors = {name: torch.from_numpy(file[name]) for name in file.files}
    model = load_uni3d(golden / "uni3d_ti_random_fp16.pt", num_groups=96, group_size=32)
    return model, tensors


def test_equals_the_reference_implementation(reference):
    model, expected = reference
    points, colour = expected["points"], float(expected["colour"])
    tokens = model.tokens(points, colour)
    plain = model(points, colour=colour)
    prompted = model(points, expected["prompt"])  # 0.4 is the default colour
    torch.testing.assert_close(plain, expected["z_plain"], atol=1e-4, rtol=0)
    torch.testing.assert_close(prompted, expected["z_prompted"], atol=1e-4, rtol=0)
    again = model.forward_tokens(tokens, expected["prompt"])
    assert torch.equal(again, prompted)
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.gpu
def test_equals_the_reference_implementation_on_a_gpu(reference):
    model, expected = reference
    model = model.cuda()
    prompted = model(expected["points"].cuda(), expected["prompt"].cuda())
    model.cpu()
    assert prompted.is_cuda
    torch.testing.assert_close(
        prompted.cpu(), expected["z_prompted"], atol=1e-4, rtol=0
    )


# ------------------------------------------------------------------ patches


def plain_patch_encoder(
    encoder: PatchEncoder, patches: torch.Tensor, colour: float
) -> torch.Tensor:
    """The patch encoder as published, layer by layer."""
    batch, groups, size, _ = patches.shape
    rows = torch.cat([patches, torch.full_like(patches, colour)], dim=-1)
    rows = rows.reshape(batch * groups, size, 6).transpose(1, 2)  # (BG, 6, K)
    hidden = encoder.first_conv(rows)
    whole = hidden.amax(dim=2, keepdim=True).expand(-1, -1, size)
    hidden = encoder.second_conv(torch.cat([whole, hidden], dim=1))
    return hidden.amax(dim=2).reshape(batch, groups, -1)


@pytest.mark.parametrize("training", [False, True])
def test_patch_encoder_equals_the_plain_one(training):
    ours = stirred(PatchEncoder((8, 12, 16), 20)).double().train(training)
    plain = copy.deepcopy(ours)
    gen = generator(1)
    patches = torch.randn(2, 5, 7, 3, generator=gen, dtype=torch.float64)
    results = []
    for module, call in ((ours, ours), (plain, None)):
        leaf = patches.clone().requires_grad_()
        call = call or (lambda p, c, m=module: plain_patch_encoder(m, p, c))
        out = call(leaf, 0.4)
        out.square().sum().backward()
        grads = [leaf.grad, *(p.grad for p in module.parameters())]
        results.append([out.detach(), *grads, *module.buffers()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-7)


def test_patches_are_the_nearest_neighbours_of_far_points():
    points = clouds(2, 30)
    centres, patches, (centre_indices, members) = group_patches(points, 4, 6)
    assert (centre_indices[:, 0] == 0).all()
    for b in range(2):
        for g in range(4):
            centre = points[b, centre_indices[b, g]]
            nearest = (points[b] - centre).norm(dim=1).argsort()[:6]
            assert set(members[b, g].tolist()) == set(nearest.tolist())
            assert torch.equal(centres[b, g], centre)
            assert torch.equal(patches[b, g], points[b, members[b, g]] - centre)


def test_only_the_choice_of_the_first_point_depends_on_the_order(encoder):
    points = clouds()
    order = torch.randperm(points.shape[1] - 1, generator=generator(3)) + 1
    order = torch.cat([torch.zeros(1, dtype=torch.int64), order])
    expected = encoder(points)
    torch.testing.assert_close(encoder(points[:, order]), expected)
    assert not torch.allclose(encoder(points.flip(1)), expected)


# ------------------------------------------------------------------ prompts


def block_inputs(encoder: PointEncoder) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    for block in encoder.visual.blocks:
        # What enters a block enters its first norm; the last block is run in parts.
        block.norm1.register_forward_pre_hook(
            lambda _, args: seen.append(args[0].clone())
        )
    return seen


def test_the_last_block_gives_the_class_token_what_the_whole_block_gives(encoder):
    hidden = encoder.tokens(clouds())
    whole = hidden
    for block in encoder.visual.blocks:
        whole = block(whole)
    summary = encoder.visual.fc_norm(encoder.visual.norm(whole[:, 0]))
    expected = encoder.trans2embed(summary)
    torch.testing.assert_close(encoder.forward_tokens(hidden), expected)


def test_prompts_stand_behind_the_class_token_with_no_position(encoder):
    tokens = encoder.tokens(clouds())
    start = encoder.cls_token + encoder.cls_pos
    assert torch.equal(tokens[:, :1], start.expand(3, -1, -1))
    prompt = torch.randn(4, 32, generator=generator(1))
    seen = block_inputs(encoder)
    encoder.forward_tokens(tokens, prompt)
    assert torch.equal(seen[0][:, :1], tokens[:, :1])
    assert torch.equal(seen[0][:, 1:5], prompt.expand(3, -1, -1))
    assert torch.equal(seen[0][:, 5:], tokens[:, 1:])


def test_deep_prompts_overwrite_their_slots_before_each_block(encoder):
    tokens = encoder.tokens(clouds())
    prompt = torch.randn(3, 4, 32, generator=generator(1))
    seen = block_inputs(encoder)
    deep = encoder.forward_tokens(tokens, prompt)
    for hidden, slots in zip(seen, prompt, strict=True):
        assert hidden.shape == (3, 1 + 4 + 6, 32)
        assert torch.equal(hidden[:, 1:5], slots.expand(3, -1, -1))
    shallow = encoder.forward_tokens(tokens, prompt[:1])
    assert torch.equal(shallow, encoder.forward_tokens(tokens, prompt[0]))
    assert not torch.allclose(shallow, deep)


def test_forward_is_tokens_then_blocks(encoder):
    points, prompt = clouds(), torch.randn(1, 4, 32, generator=generator(1))
    for p in (None, prompt):
        whole = encoder(points, p, colour=0.5)
        assert torch.equal(
            whole, encoder.forward_tokens(encoder.tokens(points, 0.5), p)
        )
    assert whole.shape == (3, 24)


def test_gradients_reach_points_and_prompts():
    encoder = stirred(PointEncoder(SMALL)).double().eval().requires_grad_(False)
    points = clouds(1, 12).double().requires_grad_()
    prompt = torch.randn(3, 2, 32, generator=generator(1), dtype=torch.float64)
    prompt.requires_grad_()
    weights = torch.randn(24, generator=generator(2), dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x, p: encoder(x, p) @ weights,
        (points, prompt),
        eps=1e-7,
        atol=1e-5,
        fast_mode=True,
    )


def test_evaluation_mode_treats_each_cloud_alone(encoder):
    points = clouds()
    single = torch.cat([encoder(cloud[None]) for cloud in points])
    torch.testing.assert_close(encoder(points), single)
    before = encoder.encoder.first_conv[1].running_mean.clone()
    encoder(points)
    assert torch.equal(before, encoder.encoder.first_conv[1].running_mean)
    encoder.train()(points)
    assert not torch.equal(before, encoder.encoder.first_conv[1].running_mean)


def test_colour_may_be_one_number_or_one_for_each_point(encoder):
    points = clouds()
    expected = encoder(points, colour=0.7)
    torch.testing.assert_close(
        encoder(points, colour=torch.full_like(points, 0.7)), expected
    )
    torch.testing.assert_close(encoder(points, colour=torch.tensor(0.7)), expected)
    assert not torch.allclose(encoder(points), expected)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.transpose(1, 2), "channels come first"),
        (lambda p: p[:, :5], "at least 6 points"),
        (lambda p: p.index_fill(1, torch.tensor([3]), float("nan")), "finite"),
        (lambda p: p.half(), "float32"),
    ],
)
def test_bad_points(encoder, change, message):
    with pytest.raises(ValueError, match=message):
        encoder(change(clouds()))


def test_bad_prompts_and_colours(encoder):
    points = clouds()
    for shape in [(4, 31), (4, 2, 32), (32,), (1, 1, 4, 32)]:
        with pytest.raises(ValueError, match=r"prompt must have shape \(L, 32\)"):
            encoder(points, torch.zeros(shape))
    with pytest.raises(ValueError, match="colour must be one number"):
        encoder(points, colour=torch.zeros(3))


def test_configurations():
    assert PointEncoderConfig(**json.loads(json.dumps(asdict(SMALL)))) == SMALL
    with pytest.raises(ValueError, match="multiple of num_heads"):
        PointEncoderConfig(width=100, num_heads=3)
    with pytest.raises(ValueError, match="outputs of 3 layers"):
        PointEncoderConfig(patch_widths=(8, 16))
    with pytest.raises(ValueError, match="depth must be above 0"):
        PointEncoderConfig(depth=0)
    with pytest.raises(TypeError, match="heads"):
        PointEncoderConfig(heads=3)
    mismatch = {**asdict(PointEncoderConfig.ti()), "depth": 6}
    with pytest.raises(ValueError, match="eva02_tiny_patch14_224 has"):
        PointEncoder(PointEncoderConfig(**mismatch))
    slim = PointEncoder(PointEncoderConfig.slim())
    assert 0.5e6 < sum(p.numel() for p in slim.parameters()) < 1.5e6


def test_the_base_size_has_the_published_names():
    with torch.device("meta"):
        names = PointEncoder(PointEncoderConfig.base()).state_dict()
    assert names["trans2embed.weight"].shape == (1024, 768)
    assert names["visual.blocks.11.attn.k_proj.weight"].shape == (768, 768)
    assert names["visual.blocks.0.mlp.norm.weight"].shape == (2048,)


# ------------------------------------------------------------------ checkpoints


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """A checkpoint of the Ti size as Uni3D would publish it."""
    state = PointEncoder(PointEncoderConfig.ti()).state_dict()
    halves = {
        f"point_encoder.{name}": t.half() if t.is_floating_point() else t
        for name, t in state.items()
    }
    return {"logit_scale": torch.tensor(2.6), **halves}


FIRST = "point_encoder.visual.blocks.0.attn.qkv.weight"


def test_loads_what_was_saved(published, tmp_path):
    assert len(published) == 191
    unused = {"point_encoder.visual.head.weight": torch.zeros(1000, 192)}
    torch.save({"module": {**published, **unused}}, tmp_path / "model.pt")
    model = load_uni3d(tmp_path / "model.pt")
    assert not model.training and model.config == PointEncoderConfig.ti()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, published[f"point_encoder.{name}"].to(tensor.dtype))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(FIRST), f"lacks the tensor '{FIRST}'"),
        (
            lambda s: s.update({FIRST: s[FIRST][:9]}),
            rf"'{FIRST}' must have shape \(576, 192\); the checkpoint has \(9, 192\)",
        ),
        (lambda s: s.update(extra=torch.zeros(2)), "unexpected tensor 'extra'"),
        (
            lambda s: s.update({FIRST: torch.full_like(s[FIRST], float("nan"))}),
            f"'{FIRST}' holds NaN",
        ),
    ],
)
def test_a_wrong_architecture_names_the_first_differing_tensor(
    published, tmp_path, change, message
):
    state = dict(published)
    change(state)
    torch.save({"module": state}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=message):
        load_uni3d(tmp_path / "model.pt")


class Harmful:
    """Stands for code that a checkpoint could smuggle in."""


def test_files_that_are_no_checkpoints(published, tmp_path):
    path = tmp_path / "model.pt"
    with pytest.raises(ValueError, match=r"no checkpoint at .*huggingface.co/BAAI"):
        load_uni3d(path)
    torch.save({"module": {"point_encoder.cls_token": Harmful()}}, path)
    with pytest.raises(ValueError, match="cannot be read"):
        load_uni3d(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match=r"found the keys \['state_dict'\]"):
        load_uni3d(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="found an object of type list"):
        load_uni3d(path)
    torch.save({"module": published}, path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ValueError, match="Is the download complete"):
        load_uni3d(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be read"):
        load_uni3d(path)
    with pytest.raises(ValueError, match="size must be one of 'ti', 'base'"):
        load_uni3d(path, size="small")
