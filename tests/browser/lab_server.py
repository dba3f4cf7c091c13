"""JupyterLab on a free port of this machine, with settings and folders of its own."""

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LabServer", "jupyter_lab"]

TESTS = Path(__file__).resolve().parent.parent
_START = 240  # seconds: a busy machine imports slowly


@dataclass(frozen=True)
class LabServer:
    """Where JupyterLab answers.

    Args:
        address: http://127.0.0.1:port.
        token: that it asks for.
        root: the folder whose notebooks it shows.
    """

    address: str
    token: str
    root: Path

    def page_of(self, notebook: str) -> str:
        """The address that opens a notebook in a workspace without a past."""
        return f"{self.address}/lab/tree/{notebook}?token={self.token}&reset"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _environment(folder: Path) -> dict[str, str]:
    own = {
        name: str(folder / name.lower())
        for name in (
            "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR",
            "IPYTHONDIR",
        )
    }  # fmt: skip
    # Kernels find the package whose tests these are, and the small lab of the tests.
    paths = [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    own["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    # Waiting threads that spin would take the cores from the browser.
    return {"GOMP_SPINCOUNT": "1000", **os.environ, **own}


@contextmanager
def jupyter_lab(folder: Path) -> Iterator[LabServer]:
    """Start JupyterLab and stop it again.

    Args:
        folder: an empty one, for notebooks, settings and the log.

    Raises:
        RuntimeError: if it does not answer; the message holds the end of its log.
    """
    root = folder / "notebooks"
    root.mkdir()
    port, token = _free_port(), secrets.token_hex(16)
    server = LabServer(f"http://127.0.0.1:{port}", token, root)
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
        "--expose-app-in-browser", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}",
        f"--LabApp.workspaces_dir={folder / 'workspaces'}",
        f"--LabApp.user_settings_dir={folder / 'settings'}",
        "--LabApp.news_url=None", "--LabApp.check_for_updates_class="
        "jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    log = folder / "server.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=_environment(folder)
        ) as process,
    ):
        try:
            _wait_for_answer(server, process, log)
            yield server
        finally:
            process.terminate()  # it ends its kernels first
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for_answer(server: LabServer, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + _START
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{server.address}/api", timeout=5):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    why = "ended" if process.poll() is not None else f"was silent for {_START} s"
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise RuntimeError(f"JupyterLab {why}; the end of its log:\n{tail}")
