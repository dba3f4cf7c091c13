"""Shared fixtures: where real data is, and shape checks at run time."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Shape annotations become checks while the tests run; users pay nothing for them.
_hook = install_import_hook("mrpd_tutorial", "shape_checks.checker")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets, named by MRPD_DATA_DIR."""
    value = os.environ.get("MRPD_DATA_DIR")
    if not value:
        pytest.skip("MRPD_DATA_DIR is not set: no real data on this machine")
    return Path(value)


def _sibling(data_dir: Path, name: str, variable: str) -> Path:
    folder = Path(os.environ.get(variable) or data_dir.parent / name)
    if not folder.is_dir():
        pytest.skip(f"no folder {name} beside MRPD_DATA_DIR, and {variable} is not set")
    return folder


@pytest.fixture(scope="session")
def golden_dir(data_dir: Path) -> Path:
    """Reference outputs of other implementations: MRPD_GOLDEN_DIR, or `golden`."""
    return _sibling(data_dir, "golden", "MRPD_GOLDEN_DIR")


@pytest.fixture(scope="session")
def checkpoints_dir(data_dir: Path) -> Path:
    """Published weights: MRPD_CHECKPOINTS_DIR, or `checkpoints`."""
    return _sibling(data_dir, "checkpoints", "MRPD_CHECKPOINTS_DIR")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in parallel round by the batch's size, which an optimiser amplifies."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip GPU tests where there is none, saying so."""
    import torch

    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="no CUDA device on this machine")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)
