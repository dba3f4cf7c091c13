"""The point auto-encoder, and the script that trains it."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from mrpd_tutorial.geometry import chamfer_distance
from mrpd_tutorial.models.auto_encoder import (
    AutoEncoder,
    AutoEncoderConfig,
    load_auto_encoder,
)
from mrpd_tutorial.runtime import generator, load_tensors, save_tensors

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "train_auto_encoder.py"
SMALL = AutoEncoderConfig(
    num_points=16, latent_width=8, encoder_widths=(8, 16), decoder_widths=(8,)
)


@pytest.fixture(scope="module")
def script():
    """The script as a module; it only runs as a program."""
    spec = importlib.util.spec_from_file_location("train_auto_encoder", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def clouds(count: int = 4, num_points: int = 40) -> torch.Tensor:
    return 0.5 * torch.randn(count, num_points, 3, generator=generator(0))


def small(seed: int = 0) -> AutoEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoEncoder(SMALL)


def test_shapes_and_size():
    model = AutoEncoder()
    assert 0.4e6 < sum(p.numel() for p in model.parameters()) < 0.6e6
    assert model(clouds()).shape == (4, 1024, 3)
    assert model(clouds(2, 1)).shape == (2, 1024, 3)
    assert model.encode(clouds()).shape == (4, 128)
    assert small()(clouds()).shape == (4, 16, 3)
    with pytest.raises(ValueError, match=r"points\.transpose\(1, 2\)"):
        small()(clouds().transpose(1, 2))


def test_order_of_points_and_neighbours_in_the_batch_do_not_matter():
    model, points = small().double(), clouds().double()
    expected = model(points)
    order = torch.randperm(40, generator=generator(1))
    torch.testing.assert_close(model(points[:, order]), expected)
    torch.testing.assert_close(model.train()(points[:1]), expected[:1])


def test_a_few_clouds_are_learned_and_gradients_reach_points():
    model, points = small(), clouds(3)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    before = float(chamfer_distance(model(points), points).mean().detach())
    for _ in range(60):
        optimiser.zero_grad()
        loss = chamfer_distance(model(points), points).mean()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.6 * before
    points = points.requires_grad_(True)
    (gradient,) = torch.autograd.grad(model(points).square().sum(), points)
    assert torch.isfinite(gradient).all() and gradient.any()


def test_weights_come_back(tmp_path):
    model, path = small(), tmp_path / "ae.safetensors"
    save_tensors(path, model.state_dict(), model.info())
    loaded = load_auto_encoder(path)
    assert loaded.config == SMALL and not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert torch.equal(loaded(clouds()), model(clouds()).detach())
    half = {name: value.half() for name, value in model.state_dict().items()}
    save_tensors(path, half, model.info(), overwrite=True)
    assert load_auto_encoder(path)(clouds()).dtype == torch.float32


def test_files_that_do_not_fit_are_named(tmp_path):
    model, path = small(), tmp_path / "ae.safetensors"
    with pytest.raises(ValueError, match=r"does not exist.*train_auto_encoder\.py"):
        load_auto_encoder(path)
    path.write_bytes(b"not weights")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_auto_encoder(path)
    state = model.state_dict()
    save_tensors(path, state, {"stage": "student"}, overwrite=True)
    with pytest.raises(ValueError, match="holds no auto-encoder but 'something else'"):
        load_auto_encoder(path)
    cut = {name: v for name, v in state.items() if name != "to_latent.bias"}
    save_tensors(path, cut, model.info(), overwrite=True)
    with pytest.raises(ValueError, match=r"'to_latent\.bias' must have shape .*None"):
        load_auto_encoder(path)
    state["to_latent.bias"] = state["to_latent.bias"] / 0
    save_tensors(path, state, model.info(), overwrite=True)
    with pytest.raises(ValueError, match=r"'to_latent\.bias' holds NaN or infinite"):
        load_auto_encoder(path)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="must be above 0"):
        AutoEncoderConfig(num_points=0)
    with pytest.raises(ValueError, match="must be above 0"):
        AutoEncoderConfig(decoder_widths=(8, 0))
    with pytest.raises(ValueError, match="at least one layer"):
        AutoEncoderConfig(encoder_widths=())
    assert AutoEncoderConfig(encoder_widths=[4, 5]).encoder_widths == (4, 5)
    with pytest.raises(TypeError, match="depth"):
        AutoEncoderConfig(depth=3)


def test_the_script_trains_writes_a_card_and_repeats_itself(script, tmp_path):
    def run(name: str, epochs: int) -> dict:
        out = tmp_path / name
        options = ["--shapes-per-class", "1", "--clouds", "16", "--batch-size", "8"]
        script.main([*options, "--epochs", str(epochs), "--out", str(out)])
        return json.loads(out.with_suffix(".json").read_text())

    card = run("a.safetensors", 6)
    scores = card["scores"]
    assert len(scores["train_chamfer"]) == 6
    assert scores["train_chamfer"][-1] < 0.9 * scores["train_chamfer"][0]
    assert 0 < scores["val_chamfer_between_halves"] < scores["val_chamfer"] < 1
    assert card["trained_on"] == "16 clouds: procedural shapes"
    assert card["options"]["epochs"] == 6 and "out" not in card["options"]
    assert set(card["data_sha256"]) == {"shapes"}
    assert load_auto_encoder(tmp_path / "a.safetensors")(clouds()).shape == (4, 1024, 3)

    run("b.safetensors", 1)
    run("c.safetensors", 1)
    first, second = (load_tensors(tmp_path / f"{n}.safetensors")[0] for n in "bc")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_script_refuses_bad_options_before_it_starts(script, tmp_path):
    out = ["--out", str(tmp_path / "x.safetensors")]
    with pytest.raises(ValueError, match="epochs must be above 0"):
        script.main(["--epochs", "0", *out])
    with pytest.raises(ValueError, match="device must be a name"):
        script.main(["--device", "tpu9", *out])
    assert not list(tmp_path.iterdir())


def test_halves_share_no_point_and_augmented_clouds_are_normal(script):
    points = torch.arange(1024.0)[None, :, None].expand(2, 1024, 3)
    one, two = script.halves(points, generator(0))
    assert one.shape == two.shape == (2, 512, 3)
    assert sorted(one[0, :, 0].tolist() + two[0, :, 0].tolist()) == list(range(1024))
    cloud = script.augment(clouds(), generator(0))
    torch.testing.assert_close(cloud.norm(dim=-1).amax(1), torch.ones(4))
    assert cloud.mean(1).abs().amax() < 1e-6
