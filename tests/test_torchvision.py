"""torchvision beside a torch that cannot load its operators, in fresh interpreters."""

import subprocess
import sys
import textwrap
from pathlib import Path

import mrpd_tutorial

PACKAGE = Path(mrpd_tutorial.__file__).parent

# The module alone, without the package: so the cases below start from nothing.
LOAD = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location(
    "treatment", {str(PACKAGE / "_torchvision.py")!r}
)
treatment = importlib.util.module_from_spec(spec)
spec.loader.exec_module(treatment)
"""


def run(code: str, tmp_path: Path, torchvision: str | None = None) -> str:
    """Run code in a new interpreter, with a made-up torchvision if one is given."""
    if torchvision is not None:
        folder = tmp_path / "torchvision"
        folder.mkdir()
        (folder / "__init__.py").write_text(textwrap.dedent(torchvision))
        (folder / "part.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_timm_and_open_clip_import_after_the_package(tmp_path):
    code = f"""
    sys.path.insert(0, {str(PACKAGE.parent)!r})
    import torch
    before = torch.library.register_fake
    import mrpd_tutorial, timm, open_clip
    assert torch.library.register_fake is before
    assert "torchvision" in sys.modules
    from mrpd_tutorial._torchvision import ensure_torchvision
    print(ensure_torchvision())
    """
    assert run(code, tmp_path).startswith("torchvision was imported")


def test_a_working_torchvision_is_imported_normally(tmp_path):
    code = """
    assert treatment.ensure_torchvision() == treatment.ensure_torchvision()
    import torchvision
    assert torchvision.TORCH_WAS_LOADED is False
    print(treatment.ensure_torchvision())
    """
    package = "import sys\nTORCH_WAS_LOADED = 'torch' in sys.modules"
    assert run(code, tmp_path, package) == "torchvision was imported normally"


def test_absent_and_already_imported(tmp_path):
    code = """
    sys.modules["torchvision"] = None
    print(treatment.ensure_torchvision())
    """
    assert "not installed" in run(code, tmp_path)
    code = """
    import torchvision
    print(treatment.ensure_torchvision())
    """
    assert "imported before" in run(code, tmp_path, "")


def test_missing_operators_are_passed_over_once_and_named(tmp_path):
    package = """
    import torch, torchvision.part
    @torch.library.register_fake("torchvision::nms")
    def nms(): ...
    @torch.library.register_fake("torchvision::qnms")
    def qnms(): ...
    """
    code = """
    import logging, torch
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    before = torch.library.register_fake
    status = treatment.ensure_torchvision()
    assert treatment.ensure_torchvision() is status
    assert torch.library.register_fake is before
    import torchvision
    assert callable(torchvision.nms)
    try:  # the patch is gone: other code's mistakes are errors again
        torch.library.register_fake("torchvision::other")(lambda: None)
    except RuntimeError:
        print(status)
    """
    out = run(code, tmp_path, package)
    assert out.endswith("passed over: torchvision::nms, torchvision::qnms")
    assert out.count("passed over") == 2  # logged once, printed once


def test_other_errors_come_through(tmp_path):
    code = """
    try:
        treatment.ensure_torchvision()
    except RuntimeError as error:
        print(error)
    """
    assert run(code, tmp_path, "raise RuntimeError('broken')") == "broken"


def test_a_second_failure_comes_through_and_leaves_nothing_behind(tmp_path):
    package = """
    import torch, torchvision.part
    torch.library.register_fake("torchvision::nms")(lambda: None)
    raise RuntimeError("still broken")
    """
    code = """
    import torch
    before = torch.library.register_fake
    try:
        treatment.ensure_torchvision()
    except RuntimeError as error:
        print(error)
    assert torch.library.register_fake is before
    assert not [name for name in sys.modules if name.startswith("torchvision")]
    """
    assert run(code, tmp_path, package) == "still broken"
