"""The house rules: imports point downward, importing has no effect, lists agree."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mrpd_tutorial"
FLOORS = (
    {"_torchvision", "checks", "fingerprint", "geometry", "nearest", "runtime"},
    {"corruptions", "data", "gates", "losses", "metrics", "projection"},
    {"models", "zoo"},
    {"attacks", "defenses"},
    {
        "bench",
        "distill",
        "evaluate",
        "hardened",
        "protocol",
        "result_card",
        "segment",
        "sweep",
    },
    {"plotting", "widgets", "exercises", "course", "report", "cli", "demo"},
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
SHOWING = {"plotly", "open3d", "matplotlib", "IPython", "ipywidgets"}


def room(path: Path) -> str:
    """The top-level name of a module, `distill_cache` and the like to their owner."""
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return name if name in FLOOR_OF else name.split("_")[0]


def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


MODULES = [p for p in sorted(PACKAGE.rglob("*.py")) if p.name != "__init__.py"]
MODULES += [p for p in PACKAGE.rglob("__init__.py") if p.parent != PACKAGE]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downward(path):
    here = FLOOR_OF[room(path)]
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "mrpd_tutorial" and len(parts) > 1 and parts[1] != "__version__":
            target = room(PACKAGE / f"{parts[1]}.py")
            assert FLOOR_OF[target] <= here, f"{path.name} imports {name}, upward"
        if parts[0] in SHOWING:
            assert here == 5, f"{path.name} imports {name} below floor 5"
        if parts[0] in {"timm", "open_clip"}:
            assert room(path) == "models", f"{path.name} imports {name}"


def test_importing_has_no_effect():
    program = (
        "import os, random, sys, warnings\n"
        "import torch\n"
        "before = (dict(os.environ), warnings.filters[:], torch.get_num_threads(),\n"
        "          torch.random.get_rng_state().tolist(), random.getstate())\n"
        "import mrpd_tutorial.data, mrpd_tutorial.distill, mrpd_tutorial.evaluate\n"
        "after = (dict(os.environ), warnings.filters[:], torch.get_num_threads(),\n"
        "         torch.random.get_rng_state().tolist(), random.getstate())\n"
        # torch (inductor) and open_clip set one variable each, whoever imports them.
        "theirs = {'TORCHINDUCTOR_CACHE_DIR', 'TOKENIZERS_PARALLELISM'}\n"
        "new = {k for k, v in after[0].items() if before[0].get(k) != v}\n"
        "assert new <= theirs, new\n"
        "ours = [f for f in after[1] if f not in before[1] and 'mrpd' in str(f)]\n"
        "assert not ours, ours\n"
        "assert before[2:] == after[2:], 'threads or seeds'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def requirements() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + [
        line for extra in extras.values() for line in extra
    ]
    return {re.match(r"[\w.-]+", line)[0].lower(): line for line in lines}


def test_environment_file_agrees_with_pyproject():
    text = (ROOT / "environment.yml").read_text()
    lines = re.findall(r"^ {6}- (.+)$", text, re.MULTILINE)
    lines = [line.strip('"') for line in lines]
    found = {re.match(r"[\w.-]+", line)[0].lower(): line for line in lines}
    assert found == requirements()


def test_every_requirement_is_pinned():
    pins = dict(
        line.lower().split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    pins = {name.replace("_", "-"): version for name, version in pins.items()}
    for name in requirements():
        if name != "open3d":  # the name elsewhere of what is open3d-cpu on Linux
            assert name.replace("_", "-") in pins, f"{name} is not pinned"
    assert pins["torch"] == "2.13.0"


def test_no_file_is_over_8_mib_and_no_output_is_committed():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if not path.is_file():
            continue
        assert path.stat().st_size <= 8 * 2**20, f"{name} is over 8 MiB"
        if path.suffix == ".ipynb":
            assert '"output_type"' not in path.read_text(), f"{name} holds outputs"
