"""A run's folder: killed, interrupted, resumed, finished, asked for twice."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from fake_lab import clouds, fake_lab, quick

from mrpd_tutorial.distill import (
    DistillInterrupted,
    HardenedStudent,
    StopRequested,
    distill,
)
from mrpd_tutorial.distill.training import Training

TRAIN, VAL = clouds("train", 16), clouds("val", 8, seed=1)
CONFIG = quick(epochs=4)
FILES = {
    "run.json",
    "checkpoint.safetensors",
    "history.csv",
    "prompts.safetensors",
    "result.json",
}


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache_dir):
    """The bytes of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run(folder, cache_dir)
    return contents(folder)


def run(folder, cache_dir, config=CONFIG, **options):
    options = {"progress": False, **options}
    train, val = options.pop("train", TRAIN), options.pop("val", VAL)
    return distill(fake_lab(), train, val, config, folder, cache_dir, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_leaves_its_files(finished, tmp_path, cache_dir):
    assert finished.keys() == FILES
    result = run(tmp_path, cache_dir)
    assert contents(tmp_path) == finished
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [
        {name: float(value) for name, value in row.items()} for row in rows
    ] == result.history
    saved = json.loads((tmp_path / "result.json").read_text())
    assert saved["config"] == CONFIG.as_dict() and saved["history"] == result.history
    hardened = HardenedStudent.load(
        tmp_path / "prompts.safetensors", fake_lab().student
    )
    same = torch.equal(hardened(VAL.points), result.hardened(VAL.points))
    assert same and hardened.info["config_digest"] == CONFIG.digest()


class Death(BaseException):
    """Nobody catches this."""


def test_death_at_every_rename_and_resume(finished, tmp_path, cache_dir, monkeypatch):
    """Each file that is put in place is a moment to die at, before and after."""
    rename, deaths = os.replace, 0
    for late in (False, True):
        for moment in range(100):
            folder, count = tmp_path / f"{late}-{moment}", 0

            def dies(source, target, late=late, moment=moment):
                nonlocal count
                count += 1
                if count == moment + 1:
                    if late:
                        rename(source, target)
                    raise Death
                rename(source, target)

            monkeypatch.setattr(os, "replace", dies)
            try:
                run(folder, cache_dir)
            except Death:
                deaths += 1
            else:
                break
            finally:
                monkeypatch.setattr(os, "replace", rename)
            run(folder, cache_dir)
            assert contents(folder) == finished, f"death at rename {moment}"
    assert deaths == 2 * (1 + 2 * CONFIG.epochs + 3)


KILLED = """
import os, signal, sys, time, warnings
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
from fake_lab import clouds, fake_lab, quick
from mrpd_tutorial.distill import distill

lab, config = fake_lab(), quick(epochs=4)
data = clouds("train", 16), clouds("val", 8, seed=1)
kills = 0
for attempt in range(200):
    child = os.fork()
    if child == 0:
        distill(lab, *data, config, sys.argv[1], sys.argv[2], progress=False)
        os._exit(0)
    # A little longer each time, so that in the end the run is through.
    time.sleep(0.05 * 1.25**attempt)
    if os.waitpid(child, os.WNOHANG)[0]:
        break
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    kills += 1
print(kills)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9_and_resume_gives_the_same_bytes(finished, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "run"), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3
    assert contents(tmp_path / "run") == finished


INTERRUPTED = """
import signal, sys, warnings
warnings.simplefilter("ignore")
# A background job of a shell is started with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
from fake_lab import clouds, fake_lab, quick
from mrpd_tutorial.distill import distill

data = clouds("train", 16), clouds("val", 8, seed=1)
distill(fake_lab(), *data, quick(epochs=100000), sys.argv[1], sys.argv[2])
"""


@pytest.mark.slow
def test_ctrl_c_stops_with_advice(tmp_path):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(folder), str(tmp_path / "cache")],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    )
    while process.poll() is None and not (folder / "history.csv").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"Call distill again with out_dir='{folder}' to go on." in errors
    assert "of 100000 epochs" in errors
    names = {path.name for path in folder.iterdir()}
    assert names == {"run.json", "checkpoint.safetensors", "history.csv"}


def test_ctrl_c_and_resume(finished, tmp_path, cache_dir, monkeypatch):
    train_epoch = Training._epoch

    def interrupted(self, epoch, train, val):
        if epoch == 2:
            raise KeyboardInterrupt
        train_epoch(self, epoch, train, val)

    monkeypatch.setattr(Training, "_epoch", interrupted)
    with pytest.raises(DistillInterrupted, match=r"stopped after 2 of 4 epochs\. Call"):
        run(tmp_path / "run", cache_dir)
    with pytest.raises(DistillInterrupted, match="Nothing was kept: pass out_dir"):
        run(None, cache_dir)
    monkeypatch.setattr(Training, "_epoch", train_epoch)
    run(tmp_path / "run", cache_dir)
    assert contents(tmp_path / "run") == finished


def test_a_watcher_sees_every_epoch_and_can_stop_and_go_on(
    tmp_path, cache_dir, finished
):
    seen = []

    def stop_after_two(history):
        seen.append([row.pop("epoch") for row in history])  # it is given copies
        if len(history) == 2:
            raise StopRequested

    with pytest.raises(DistillInterrupted, match=r"stopped after 2 of 4 epochs\. Call"):
        run(tmp_path / "run", cache_dir, after_epoch=stop_after_two)
    assert seen == [[], [1], [1, 2]]
    lengths = []
    run(tmp_path / "run", cache_dir, after_epoch=lambda h: lengths.append(len(h)))
    assert lengths == [2, 3, 4], "first the epochs done before, then one at a time"
    assert contents(tmp_path / "run") == finished


def test_a_finished_run_is_read_not_written(tmp_path, cache_dir, monkeypatch):
    first = run(tmp_path, cache_dir)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    def refuse(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(Training, "run", refuse)
    again = run(tmp_path, cache_dir)
    assert [list(row) for row in again.history] == [list(row) for row in first.history]
    assert again.history == first.history and torch.equal(again.prompt, first.prompt)
    assert again.undefended == first.undefended
    assert again.best_epoch == first.best_epoch
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_another_run_in_the_folder_is_kept(finished, tmp_path, cache_dir):
    run(tmp_path, cache_dir)
    with pytest.raises(ValueError, match=r"config\.k was 2, now 1"):
        run(tmp_path, cache_dir, quick(epochs=4, k=1))
    with pytest.raises(ValueError, match=r"config\.attack\.eps was 0\.05, now 0\.1"):
        changed = quick(epochs=4, attack=CONFIG.attack.quick(eps=0.1, steps=2))
        run(tmp_path, cache_dir, changed)
    with pytest.raises(ValueError, match="other settings or inputs: train was"):
        run(tmp_path, cache_dir, train=clouds("train", 16, seed=9))
    with pytest.raises(FileExistsError, match="holds this run already"):
        run(tmp_path, cache_dir, resume=False)
    assert contents(tmp_path) == finished


def test_overwrite_starts_anew(finished, tmp_path, cache_dir):
    run(tmp_path, cache_dir, quick(epochs=2, seed=3))
    run(tmp_path, cache_dir, overwrite=True)
    assert contents(tmp_path) == finished


def test_foreign_files_are_kept(tmp_path, cache_dir):
    (tmp_path / "result.json").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds result\.json but no run\.json"):
        run(tmp_path, cache_dir)
    assert contents(tmp_path) == {"result.json": b"mine"}
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="out_dir must be a folder"):
        run(tmp_path / "file", cache_dir)


def test_a_damaged_checkpoint_is_named(tmp_path, cache_dir):
    run(tmp_path, cache_dir)
    (tmp_path / "result.json").unlink()
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors is not a readable"):
        run(tmp_path, cache_dir)
