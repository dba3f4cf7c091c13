"""Files are whole or absent; equal content has an equal digest."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from mrpd_tutorial import runtime


def test_atomic_path_writes_and_refuses_to_overwrite(tmp_path):
    path = tmp_path / "folder" / "result.txt"
    with runtime.atomic_path(path) as temporary:
        temporary.write_text("first")
    with (
        pytest.raises(FileExistsError, match="overwrite=True"),
        runtime.atomic_path(path) as temporary,
    ):
        temporary.write_text("second")
    assert path.read_text() == "first"
    with runtime.atomic_path(path, overwrite=True) as temporary:
        temporary.write_text("third")
    assert path.read_text() == "third"
    assert [p.name for p in path.parent.iterdir()] == ["result.txt"]


def test_atomic_path_keeps_the_old_file_on_failure(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with (
        pytest.raises(KeyboardInterrupt),
        runtime.atomic_path(path, overwrite=True) as temporary,
    ):
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["result.txt"]


def test_kill_in_the_middle_leaves_the_old_file(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    program = (
        "import sys, time\n"
        "from mrpd_tutorial.runtime import atomic_path\n"
        "with atomic_path(sys.argv[1], overwrite=True) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert path.read_text() == "old"


def test_json_round_trip_and_errors(tmp_path):
    path = tmp_path / "card.json"
    runtime.write_json(path, {"b": [1, 2.5], "a": None})
    assert runtime.read_json(path) == {"a": None, "b": [1, 2.5]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        runtime.write_json(tmp_path / "nan.json", {"x": float("nan")})
    assert not (tmp_path / "nan.json").exists()
    path.write_text("{")
    with pytest.raises(ValueError, match="is not readable JSON"):
        runtime.read_json(path)
    with pytest.raises(ValueError, match="does not exist"):
        runtime.read_json(tmp_path / "absent.json")


def test_tensors_round_trip_to_the_same_bytes(tmp_path):
    tensors = {"b": torch.arange(6.0).reshape(2, 3).T, "a": torch.tensor([1])}
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    runtime.save_tensors(first, tensors, {"k": 1})
    time.sleep(0.01)
    runtime.save_tensors(second, dict(reversed(tensors.items())), {"k": 1})
    assert first.read_bytes() == second.read_bytes()
    loaded, info = runtime.load_tensors(first)
    assert info == {"k": 1}
    assert torch.equal(loaded["b"], tensors["b"])


@pytest.mark.parametrize("keep", [0, 5, 60])
def test_truncated_tensors_are_named(tmp_path, keep):
    path = tmp_path / "x.safetensors"
    runtime.save_tensors(path, {"a": torch.zeros(100)}, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"x\.safetensors is not a readable"):
        runtime.load_tensors(path)
    with pytest.raises(ValueError, match="does not exist"):
        runtime.load_tensors(tmp_path / "absent.safetensors")


def test_digest_sees_values_shapes_types_and_order():
    values = [
        torch.zeros(6),
        torch.zeros(2, 3),
        torch.zeros(6).double(),
        torch.zeros(6).numpy(),
        [0] * 6,
        torch.tensor(0.0),
        torch.zeros(0),
    ]
    assert len({runtime.digest(value) for value in values}) == len(values)
    a, b = torch.tensor([1.0]), torch.tensor([2.0])
    assert runtime.digest(a, b) != runtime.digest(b, a)
    assert runtime.digest(a.clone()) == runtime.digest(a)


def test_generators_are_their_own():
    state = torch.random.get_rng_state()
    a = torch.rand(3, generator=runtime.generator(5))
    b = torch.rand(3, generator=runtime.generator(5))
    assert torch.equal(a, b)
    assert torch.equal(state, torch.random.get_rng_state())


def test_cache_dir_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MRPD_CACHE_DIR", str(tmp_path))
    assert runtime.cache_dir() == tmp_path
    monkeypatch.delenv("MRPD_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert runtime.cache_dir() == tmp_path / "xdg" / "mrpd_tutorial"


def test_environment_and_embedded_data():
    assert runtime.environment_summary()["packages"]["torch"]
    assert (runtime.embedded_data() / "README.md").is_file()
    assert runtime.tune_allocator() in (True, False)
    assert os.path.isdir(runtime.embedded_data())
