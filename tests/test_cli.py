"""The command: what it says, what it leaves behind, how it ends."""

import json
from dataclasses import replace

import pytest
import torch

from mrpd_tutorial import __version__, cli, demo
from mrpd_tutorial.attacks import PGD
from mrpd_tutorial.data import PointDataset
from mrpd_tutorial.demo import DemoConfig
from mrpd_tutorial.distill import DistillConfig, HardenedStudent
from mrpd_tutorial.zoo import tiny_folder

needs_lab = pytest.mark.skipif(
    not (tiny_folder() / "student.safetensors").is_file(),
    reason="the tiny lab is not in data/",
)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A demo of seconds, its cache kept out of the user's folder."""
    settings = DemoConfig(
        train_clouds=18,
        val_clouds=18,
        test_clouds=6,
        num_points=256,
        distill=DistillConfig.quick(epochs=2, batch_size=6, attack=PGD.quick(steps=1)),
    )
    monkeypatch.setattr(DemoConfig, "quick", classmethod(lambda cls: settings))
    monkeypatch.setattr(cli, "tune_allocator", lambda: False)
    monkeypatch.setenv("MRPD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "out"


def contents(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@needs_lab
@pytest.mark.slow
def test_the_demo_writes_a_report_and_never_over_another(small, capsys):
    arguments = ["demo", "--quick", "--out", str(small)]
    assert cli.main([*arguments, "--test-clouds", "5"]) == 0
    said = capsys.readouterr().out
    assert "| MRPD prompts" in said and "Stand-in models" in said
    result = json.loads((small / "result.json").read_text(encoding="utf-8"))
    assert result["data"]["clouds"] == {"train": 18, "val": 18, "test": 5}
    assert {row["n"] for row in result["rows"]} == {5}
    threats = {row["threat_model"] for row in result["rows"]}
    assert threats == {"clean", "static", "adaptive", "transfer"}
    origins = {r["made_on"] for r in result["rows"] if r["threat_model"] == "transfer"}
    assert origins == {"point teacher"}
    assert len(result["distilled"]["history"]) == 2
    assert (small / "report.html").stat().st_size > 2**22
    assert (small / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    loaded = HardenedStudent.load(small / "distill" / "prompts.safetensors")
    assert loaded(torch.rand(1, 256, 3) * 0.5).shape == (1, 18)

    before = contents(small)
    assert cli.main(arguments) == 2
    assert "holds a finished run already" in capsys.readouterr().err
    assert contents(small) == before

    assert cli.main([*arguments, "--overwrite", "--test-clouds", "4"]) == 0
    result = json.loads((small / "result.json").read_text(encoding="utf-8"))
    assert result["data"]["clouds"]["test"] == 4


@needs_lab
@pytest.mark.slow
def test_the_demo_runs_on_real_modelnet40(small, data_dir, monkeypatch):
    steps = DistillConfig.quick(epochs=2, batch_size=8, attack=PGD.quick(steps=3))
    settings = replace(DemoConfig.quick(), num_points=1024, distill=steps)
    monkeypatch.setattr(DemoConfig, "quick", classmethod(lambda cls: settings))
    arguments = ["demo", "--data", "modelnet40", "--root", str(data_dir)]
    arguments += ["--quick", "--train-clouds", "40", "--test-clouds", "40"]
    assert cli.main([*arguments, "--out", str(small)]) == 0
    result = json.loads((small / "result.json").read_text(encoding="utf-8"))
    assert len(result["data"]["class_names"]) == 40
    clean, static, adaptive = (
        next(
            row["accuracy"]
            for row in result["rows"]
            if (row["model"], row["threat_model"]) == ("undefended student", threat)
        )
        for threat in ("clean", "static", "adaptive")
    )
    # 40 clouds, one a class: chance is 0.025.
    assert clean > 0.4 and static < clean - 0.1 and static == adaptive


@needs_lab
def test_ctrl_c_ends_with_130_and_no_half_file(small, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "evaluate", interrupted)
    assert cli.main(["demo", "--quick", "--out", str(small)]) == 130
    assert "without --overwrite goes on" in capsys.readouterr().err
    left = [path.name for path in small.rglob("*") if path.is_file()]
    assert "result.json" not in [p.name for p in small.iterdir()]
    assert not [name for name in left if name.startswith(".") or name.endswith("html")]
    assert "prompts.safetensors" in left, "the distillation was finished, and is kept"


def test_bad_input_is_one_sentence_and_status_2(tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    for arguments, message in (
        (["--test-clouds", "0"], "--test-clouds must be above 0"),
        (["--lab", str(tmp_path)], "does not exist"),
        (["--device", "tpu-of-dreams"], "device must be a name"),
    ):
        assert cli.main(["demo", "--quick", *out, *arguments]) == 2
        said = capsys.readouterr().err
        assert message in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


@needs_lab
def test_missing_data_is_explained(tmp_path, capsys):
    arguments = ["demo", "--data", "modelnet40", "--root", str(tmp_path / "nowhere")]
    assert cli.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "ModelNet40" in capsys.readouterr().err


def test_data_lists_what_is_here(tmp_path, capsys):
    assert cli.main(["data", "--root", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for name in ("objects: with the package", "shapes: made", "modelnet40: not found"):
        assert name in said


def test_env_is_json(capsys):
    assert cli.main(["env"]) == 0
    assert "torch" in json.loads(capsys.readouterr().out)["packages"]


def test_help_and_version(capsys):
    for argument, text in (
        ("--version", __version__),
        ("--help", "demo | data | course | grade | env"),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main([argument])
        assert ended.value.code == 0
        assert text in capsys.readouterr().out


class Answers(torch.nn.Module):
    """Known answers: one list for clouds of zeros, one for clouds of ones."""

    def __init__(self, clean, attacked):
        super().__init__()
        self.answers = {0.0: torch.tensor(clean), 1.0: torch.tensor(attacked)}

    def forward(self, points):
        return torch.nn.functional.one_hot(self.answers[float(points.max())], 2).float()


def test_the_examples_rule_prefers_a_cloud_that_the_prompts_save():
    labels = torch.tensor([0, 1, 1, 0])
    data = PointDataset("x", "test", torch.zeros(4, 5, 3), labels, ("a", "b"))
    static = torch.ones(4, 5, 3)
    student = Answers([0, 1, 1, 1], [0, 0, 0, 0])  # misled on 1 and 2
    for hardened, image_right, wanted, said in (
        ([0, 0, 1, 0], True, 2, "neither the image teacher"),
        ([0, 0, 1, 0], False, 2, "but not the student with prompts"),
        ([0, 0, 0, 0], True, 1, "none that the prompts save"),
    ):
        right = torch.full((4,), image_right)
        index, rule = demo._choose_example(
            student, Answers([0] * 4, hardened), right, data, static
        )
        assert index == wanted and said in rule
    immune = Answers([0, 1, 1, 0], [0, 1, 1, 0])
    index, rule = demo._choose_example(immune, immune, labels == labels, data, static)
    assert index == 0 and "on none" in rule
