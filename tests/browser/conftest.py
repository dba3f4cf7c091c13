"""One JupyterLab for the session, one Chromium for each file of tests.

Pictures of each step go to build/browser, or to $MRPD_BROWSER_SHOTS: the artefacts to
keep of a run. Chromium is Debian's, or $MRPD_CHROMIUM; Playwright only drives it, and
never fetches a browser.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from browser.chromium import FLAGS, absent, find_chromium
from browser.lab_page import LabPage
from browser.lab_server import LabServer, jupyter_lab

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium."""
    found = find_chromium()
    if found is None:
        absent("no Chromium here: apt-get install chromium, or set MRPD_CHROMIUM")
    for needed in ("playwright", "jupyterlab"):
        if find_spec(needed) is None:
            absent(f"no {needed} here: pip install -e '.[notebooks,dev]'")
    return found


@pytest.fixture(scope="session")
def shots() -> Path:
    """The folder for pictures."""
    folder = Path(os.environ.get("MRPD_BROWSER_SHOTS") or ROOT / "build" / "browser")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def server(
    chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabServer]:
    """JupyterLab."""
    with jupyter_lab(tmp_path_factory.mktemp("jupyter")) as running:
        yield running


# Not for the session: Playwright keeps an event loop running in this thread, in which
# other tests could not start theirs.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=chromium, args=list(FLAGS), timeout=240_000
        )
        yield running
        running.close()


@pytest.fixture(scope="module")
def open_notebook(
    browser: Any, server: LabServer, shots: Path
) -> Iterator[Callable[[Path, str], LabPage]]:
    """(a notebook, name of its pictures) -> the page that shows a copy of it."""
    contexts = []

    def open_it(notebook: Path, name: str) -> LabPage:
        folder = server.root / name
        folder.mkdir()
        for path in (notebook, notebook.parent / "glossary.md"):
            if path.is_file():
                shutil.copy(path, folder)
        context = browser.new_context(viewport={"width": 1280, "height": 1000})
        contexts.append(context)
        page = LabPage(context.new_page(), shots, name)
        page.open(server.page_of(f"{name}/{notebook.name}"))
        page.shot("opened")
        return page

    yield open_it
    for context in contexts:
        context.close()
