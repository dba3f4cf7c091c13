"""A kernel process of its own for one submission, with limits, that may be lost."""

import ast
import contextlib
import os
import queue
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Kernel", "Ran"]

_START_SECONDS = 180.0


@dataclass(frozen=True)
class Ran:
    """What became of a piece of code.

    Args:
        status: "ok", "error", "time limit" or "crashed".
        message: of the error.
        value: of the expression asked for, or None.
        seconds: by the clock.
    """

    status: str
    message: str = ""
    value: Any = None
    seconds: float = 0.0


class Kernel:
    """An IPython kernel in this Python, asked for replies only; prints are not read.

    After "time limit" or "crashed" the process is gone.

    Args:
        folder: its working and settings folder, empty, so that nothing of the user's
            notebooks or IPython profile takes part.

    Raises:
        ValueError: if the packages for kernels are not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from jupyter_client import KernelManager
            from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
        except ImportError as error:
            raise ValueError(
                "Grading needs Jupyter's kernels, which are not installed: "
                "pip install 'mrpd_tutorial[notebooks]'."
            ) from error

        class ThisPython(KernelSpecManager):
            """Whatever kernels are installed, take the Python that runs this."""

            def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
                start = [sys.executable, "-m", "ipykernel_launcher"]
                return KernelSpec(
                    argv=[*start, "-f", "{connection_file}"],
                    display_name=kernel_name,
                    language="python",
                )

        environment = os.environ | {"IPYTHONDIR": str(folder / ".ipython")}
        self._manager = KernelManager(kernel_spec_manager=ThisPython())
        self._manager.connection_file = str(folder / ".kernel.json")
        self._manager.start_kernel(
            cwd=str(folder),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._client = self._manager.client()
        # Without the channel for outputs, endless prints fill no memory here.
        self._client.start_channels(iopub=False, stdin=False, hb=False)
        self._started = False

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, code: str, seconds: float, expression: str | None = None) -> Ran:
        """Run code, and evaluate an expression after it.

        Args:
            code: Python, or what IPython understands.
            seconds: limit by the clock; the first code may take longer, to start.
            expression: evaluated once the code is through; what is no literal comes
                back as None.
        """
        start = time.monotonic()
        limit = seconds if self._started else seconds + _START_SECONDS
        asked = {} if expression is None else {"value": expression}
        message = self._client.execute(
            code, store_history=False, user_expressions=asked, allow_stdin=False
        )
        while True:
            spent = time.monotonic() - start
            if spent > limit:
                self.close()
                return Ran("time limit", f"after {limit:g} s", seconds=spent)
            alive = self._manager.is_alive()
            try:
                reply = self._client.get_shell_msg(timeout=min(0.2, limit))
            except queue.Empty:
                if not alive:
                    self.close()
                    return Ran("crashed", "its process ended", seconds=spent)
                continue
            if reply["parent_header"].get("msg_id") == message:
                self._started = True
                return _read(reply["content"], time.monotonic() - start)

    def close(self) -> None:
        """End the process and those it has started; safe to call twice."""
        if self._manager.provisioner is not None:
            pid = getattr(self._manager.provisioner, "pid", None)
            if pid and hasattr(os, "killpg"):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)  # a kernel leads a group of its own
            self._manager.shutdown_kernel(now=True)
        self._client.stop_channels()
        self._manager.cleanup_resources()


def _read(content: dict[str, Any], seconds: float) -> Ran:
    if content["status"] != "ok":
        message = f"{content.get('ename')}: {content.get('evalue')}"
        return Ran("error", message[:2000], seconds=seconds)
    value = None
    # What is no literal, or was not asked for, stays None: the process is not trusted.
    with contextlib.suppress(KeyError, TypeError, ValueError, SyntaxError):
        answer = content["user_expressions"]["value"]["data"]["text/plain"]
        value = ast.literal_eval(answer)
    return Ran("ok", value=value, seconds=seconds)
