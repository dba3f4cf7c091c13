"""The distillation dashboard: watch prompts being distilled; pause, go on, stop."""

import math
import os
import shutil
import tempfile
import threading
import time
import weakref
from typing import Any

from mrpd_tutorial.data import PointDataset
from mrpd_tutorial.distill import (
    DistillConfig,
    DistillInterrupted,
    DistillResult,
    StopRequested,
    distill,
)
from mrpd_tutorial.plotting import dashboard_figure
from mrpd_tutorial.widgets.controls import button
from mrpd_tutorial.widgets.live import LiveWidget, sentence
from mrpd_tutorial.zoo import Lab

__all__ = ["DistillationDashboard"]

_SECONDS_BETWEEN_DRAWINGS = 0.5


class DistillationDashboard(LiveWidget):
    """Losses, gate pass rates, weights and accuracy on val, while prompts are learned.

    The run goes on in a thread of its own and keeps a checkpoint after each epoch:
    Stop ends it, Continue goes on from there, also after the kernel was restarted (with
    the same folder). The result is that of `distill`, bit for bit.

    Args:
        lab: the student and its teachers.
        train: clouds to learn from.
        val: clouds that choose the epoch.
        config: the settings; None: DistillConfig.quick().
        folder: where the run keeps its files; None: a folder that goes when this does.
        cache_dir: see `distill`.

    Attributes:
        state: "ready", "running", "paused", "stopping", "stopped", "finished" or
            "failed".
        history: one row an epoch, as far as it went.
    """

    def __init__(
        self,
        lab: Lab,
        train: PointDataset,
        val: PointDataset,
        config: DistillConfig | None = None,
        folder: str | os.PathLike | None = None,
        *,
        cache_dir: str | os.PathLike | None = None,
    ) -> None:
        self.config = DistillConfig.quick() if config is None else config
        if folder is None:
            folder = tempfile.mkdtemp(prefix="mrpd-distill-")
            weakref.finalize(self, shutil.rmtree, folder, True)
        self.folder = folder
        self._inputs = (lab, train, val)
        self._cache_dir = cache_dir
        super().__init__(
            {
                "go": button("Start", "Start, or go on after a pause or a stop."),
                "pause": button("Pause", "Wait after the epoch that is running."),
                "stop": button("Stop", "End after this epoch; it is kept."),
            }
        )
        self.history: list[dict[str, float]] = []
        self.state = "ready"
        self._result: DistillResult | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._last_drawn = 0.0
        self.controls["go"].on_click(lambda _: self.go())
        self.controls["pause"].on_click(lambda _: self.pause())
        self.controls["stop"].on_click(lambda _: self.stop())
        self._put(dashboard_figure([self._no_epoch()], floor=self.config.weight_floor))
        self._enter("ready", "Ready: Start begins the distillation.")

    def go(self) -> None:
        """Start, or go on after a pause or a stop; nothing where it is running."""
        with self._changed:
            if self.state == "paused":
                self._enter("running", "going on …")
                self._changed.notify_all()
            elif self.state in ("ready", "stopped", "failed"):
                self._enter("running", "preparing attacked clouds and features …")
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def pause(self) -> None:
        """Wait after the epoch that is running."""
        with self._changed:
            if self.state == "running":
                self._enter("paused", "pausing after this epoch …")

    def stop(self) -> None:
        """End after the epoch that is running; `go` goes on from there."""
        with self._changed:
            if self.state in ("running", "paused"):
                self._enter("stopping", "stopping after this epoch …")
                self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run has ended or pauses; False if that takes longer."""
        with self._changed:
            busy = ("running", "stopping")
            return self._changed.wait_for(lambda: self.state not in busy, timeout)

    def result(self) -> DistillResult:
        """The distillation's result; starts it if nobody has, and waits for its end.

        Raises:
            RuntimeError: if the run is paused, was stopped or failed, saying so.
        """
        if self.state == "ready":
            self.go()
        self.wait()
        if self._result is None:
            raise RuntimeError(
                f"the distillation is {self.state}. {self.status.value} Press Continue "
                "above, then run this cell again."
            )
        return self._result

    def _no_epoch(self) -> dict[str, float]:
        """A row without values: empty axes, to be filled."""
        kinds = ("loss", "pass", "weight")
        names = [f"{kind}_{name}" for kind in kinds for name in self.config.teachers]
        values = dict.fromkeys([*names, "val_clean", "val_attacked"], math.nan)
        return {"epoch": 1, **values}

    def _enter(self, state: str, told: str) -> None:
        kind = {"running": "busy", "stopping": "busy", "failed": "error"}
        with self._changed:
            self.state = state
            self.status.say(told, kind.get(state, "ready"))
            go, pause, stop = self.controls.values()
            go.description = "Start" if state == "ready" else "Continue"
            go.disabled = state in ("running", "stopping", "finished")
            pause.disabled = state != "running"
            stop.disabled = state not in ("running", "paused")
            self._changed.notify_all()

    def _run(self) -> None:
        lab, train, val = self._inputs
        began, epochs = time.perf_counter(), self.config.epochs
        try:
            result = distill(
                lab, train, val, self.config, self.folder, self._cache_dir,
                progress=False, after_epoch=self._after_epoch,
            )  # fmt: skip
        except DistillInterrupted:
            self._draw()
            done = len(self.history)
            self._enter(
                "stopped",
                f"Stopped after {done} of {epochs} epochs; Continue goes on there.",
            )
        except Exception as error:  # said in the widget, whatever it is
            self._enter("failed", f"The distillation failed: {sentence(error)}")
        else:
            self.history, self._result = result.history, result
            self._draw()
            best, chosen = result.best_epoch, result.history[result.best_epoch - 1]
            seconds = time.perf_counter() - began
            self._update_twin()
            self._enter(
                "finished",
                f"Finished: {epochs} epochs, {seconds:.0f} s. Epoch {best} is kept; on "
                f"val {_told(chosen)}; without prompts {_told(result.undefended)}.",
            )

    def _after_epoch(self, history: list[dict[str, float]]) -> None:
        self.history = history
        epochs = self.config.epochs
        recent = time.monotonic() - self._last_drawn < _SECONDS_BETWEEN_DRAWINGS
        if history and (not recent or self.state != "running"):
            self._draw()
        with self._changed:
            if self.state == "running" and history:
                told = (
                    f"epoch {len(history)} of {epochs}: loss {history[-1]['loss']:.3f}"
                )
                self.status.say(f"{told}, on val {_told(history[-1])}", "busy")
            if self.state == "paused":
                done = f"Paused after {len(history)} of {epochs} epochs."
                self.status.say(done, "ready")
            self._changed.wait_for(lambda: self.state != "paused")
            if self.state == "stopping":
                raise StopRequested

    def _draw(self) -> None:
        if not self.history:
            return
        done, epochs = len(self.history), self.config.epochs
        self.draw(
            dashboard_figure,
            self.history,
            floor=self.config.weight_floor,
            title=f"Distilling prompts: epoch {done} of {epochs}",
        )
        self._last_drawn = time.monotonic()


def _told(row: dict[str, Any]) -> str:
    return f"{row['val_clean']:.1%} clean, {row['val_attacked']:.1%} attacked"
