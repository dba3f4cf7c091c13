"""The cache on disk: computed once, never trusted unchecked."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from fake_lab import encoder, fake_lab

from mrpd_tutorial.distill.cache import FeatureCache, module_digest
from mrpd_tutorial.runtime import generator


class Source:
    """An array in three chunks, counting how often it is computed."""

    def __init__(self, scale: float = 1.0):
        self.array = scale * torch.randn(10, 3, 2, generator=generator(0))
        self.times = 0

    def __call__(self):
        self.times += 1
        yield from self.array.split(4)


def read(cache: FeatureCache, source: Source, *key):
    return cache.get("things", ["key", *key], 10, source)


def test_computed_once(tmp_path):
    source = Source()
    for _ in range(3):
        found = read(FeatureCache(tmp_path), source)
        torch.testing.assert_close(found, source.array, rtol=0, atol=0)
    assert source.times == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_the_file_is_an_ordinary_npy(tmp_path):
    source = Source()
    read(FeatureCache(tmp_path), source)
    (path,) = tmp_path.iterdir()
    np.testing.assert_array_equal(np.load(path), source.array.numpy())


def test_other_keys_are_other_arrays(tmp_path):
    cache = FeatureCache(tmp_path)
    one, two = Source(), Source(2.0)
    read(cache, one, 1)
    torch.testing.assert_close(read(cache, two, 2), two.array)
    torch.testing.assert_close(read(cache, one, 1), one.array)
    assert one.times == two.times == 1


def test_memory_mapped_is_the_same_and_leaves_the_file_alone(tmp_path):
    source = Source()
    read(FeatureCache(tmp_path), source)
    mapped = read(FeatureCache(tmp_path, in_memory_bytes=0), source)
    torch.testing.assert_close(mapped, source.array, rtol=0, atol=0)
    mapped.zero_()
    torch.testing.assert_close(read(FeatureCache(tmp_path), source), source.array)
    assert source.times == 1


@pytest.mark.parametrize("place", [0, 7, 60, 128, 200, -33, -1])
def test_a_flipped_bit_is_found_and_repaired(tmp_path, place):
    source = Source()
    read(FeatureCache(tmp_path), source)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    found = read(FeatureCache(tmp_path), source)
    torch.testing.assert_close(found, source.array, rtol=0, atol=0)
    assert source.times == 2
    read(FeatureCache(tmp_path), source)
    assert source.times == 2


@pytest.mark.parametrize("left", [0, 1, 31, 32, 33, 100, 300, -1])
def test_a_truncated_file_is_made_again(tmp_path, left):
    source = Source()
    read(FeatureCache(tmp_path), source)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:left])
    torch.testing.assert_close(read(FeatureCache(tmp_path), source), source.array)
    assert source.times == 2


def test_an_interrupted_computation_leaves_nothing(tmp_path):
    def breaks():
        yield torch.zeros(4, 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FeatureCache(tmp_path).get("things", ["key"], 10, breaks)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_killed_processes_are_swept_after_a_day(tmp_path):
    old, new = tmp_path / ".things-old.npy", tmp_path / ".things-new.npy"
    old.touch()
    new.touch()
    day_ago = time.time() - 25 * 3600
    os.utime(old, (day_ago, day_ago))
    FeatureCache(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [new.name]


def test_two_processes_write_the_same_array(tmp_path):
    program = (
        "import sys, time, torch\n"
        "from mrpd_tutorial.distill.cache import FeatureCache\n"
        "def compute():\n"
        "    for i in range(20):\n"
        "        time.sleep(0.02)\n"
        "        yield torch.full((5, 2), float(i))\n"
        "cache = FeatureCache(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "for repeat in range(3):\n"
        "    found = cache.get('things', ['key', repeat], 100, compute)\n"
        "    assert found[:, 0].tolist() == [float(i // 5) for i in range(100)]\n"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=60)
        assert worker.returncode == 0
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cache_dir must be a folder"):
        FeatureCache(tmp_path / "file")


def test_module_digest_sees_weights_and_settings():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        one = encoder()
        torch.manual_seed(3)
        same = encoder()
        torch.manual_seed(3)
        coarser = encoder(num_groups=7)
    assert module_digest(one) == module_digest(same) != module_digest(coarser)
    with torch.no_grad():
        same.cls_pos[0, 0, 0] += 1e-3
    assert module_digest(one) != module_digest(same)
    image = fake_lab().image_teacher
    before, views = module_digest(image), image.views
    try:
        image.views = views[:1]
        assert module_digest(image) != before
    finally:
        image.views = views
    text = fake_lab().text_teacher
    before = module_digest(text)
    text.class_text_features(["a chair"])  # what it remembers is no setting
    assert module_digest(text) == before
