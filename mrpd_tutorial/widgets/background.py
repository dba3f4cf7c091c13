"""Work in the background, of which only the newest request counts."""

import threading
from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["LatestOnly", "Superseded", "Watched"]


class Superseded(Exception):
    """A newer request has come: nobody waits for this one's answer any more."""


class LatestOnly:
    """Run jobs one at a time in a thread; a newer job ends and replaces an older one.

    A thread lives only while there is something to do, and does not keep the process
    alive.

    Args:
        on_error: told what a job raised, unless a newer one has come since.
        delay: seconds that a job waits for a newer one before it starts, so that a
            slider that is dragged starts one job, not fifty.

    Attributes:
        superseded: how many jobs were given up, started or not.
    """

    def __init__(
        self, on_error: Callable[[Exception], None], delay: float = 0.15
    ) -> None:
        self.on_error = on_error
        self.delay = delay
        self.superseded = 0
        self._changed = threading.Condition()
        self._number = 0
        self._job: Callable[[Callable[[], None]], None] | None = None
        self._working = False

    def submit(self, job: Callable[[Callable[[], None]], None]) -> None:
        """Ask for a job; it is given `check`, which raises Superseded once stale."""
        with self._changed:
            if self._job is not None:
                self.superseded += 1
            self._number, self._job = self._number + 1, job
            self._changed.notify_all()
            if not self._working:
                self._working = True
                threading.Thread(target=self._work, daemon=True).start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to do; False if that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._working, timeout)

    def _work(self) -> None:
        while True:
            number, job = self._settled()
            try:
                job(lambda n=number: self._check(n))
            except Superseded:
                pass  # counted when the newer one came
            except Exception as error:  # told to the reader, whatever it is
                if self._number == number:
                    self.on_error(error)
            with self._changed:
                if self._number == number:
                    self._job, self._working = None, False
                    self._changed.notify_all()
                    return

    def _settled(self) -> tuple[int, Callable[[Callable[[], None]], None]]:
        """The newest job, once no newer one has come for `delay` seconds."""
        with self._changed:
            while True:
                number = self._number
                if not self._changed.wait_for(
                    lambda n=number: self._number != n, self.delay
                ):
                    assert self._job is not None
                    return number, self._job

    def _check(self, number: int) -> None:
        if self._number != number:
            raise Superseded


class Watched(nn.Module):
    """A model that asks before each answer whether anybody still wants it.

    So an attack ends at its next step once a newer one is asked for.

    Args:
        model: `points -> logits`.
        check: raises to end the work.
    """

    def __init__(self, model: nn.Module, check: Callable[[], None]) -> None:
        super().__init__()
        self.model = model
        self.check = check
        # Its own flag alone: the model keeps the mode it is in.
        self.training = model.training

    def forward(self, points: Tensor) -> Tensor:
        """Logits (B, C) of points (B, N, 3), unless check raises."""
        self.check()
        return self.model(points)
