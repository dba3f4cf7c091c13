"""Expectation over transformations: what a random model answers on average."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mrpd_tutorial.checks import check_choice, check_points, check_positive

__all__ = ["EOT", "is_random"]


class EOT(nn.Module):
    """The mean answer of a random model over several draws; again `points -> logits`.

    Implements Athalye et al. 2018 [arXiv 1707.07397; as an attack on defenses arXiv
    1802.00420]: the gradient of the mean over draws is the mean of the gradients. A
    single draw's gradient leads away from what that draw did, not from the model.

    Every draw of every call has a seed of its own, from one sequence that begins at
    `seed`: successive steps of an attack see other draws, and two attacks that begin
    with `reset()` see the same ones. A model with `reset(seed)` (a Defended one) is
    reset to the draw's seed; models that draw from torch's global generators are seeded
    there, and the global state is put back afterwards. Draws by other means (numpy's
    generator, time) are averaged as well, but cannot be repeated.

    Threat model: adaptive; the attacker knows the defense and its distribution, not the
    draw it will make.

    Args:
        model: `points -> logits`.
        samples: draws averaged in each call. Cost grows with it, and so does memory
            unless `recompute` is set. 8 is ours, a compromise for CPUs: AutoAttack's
            version "rand" takes 20.
        average: "logits", or "log_softmax" (the mean log-probability, in which no draw
            outvotes the others by the scale of its logits).
        seed: where the sequence of draws begins.
        recompute: run each draw again in the backward pass instead of keeping its
            activations: memory of one draw, one more forward pass for each. Only for
            models whose draws can be repeated.

    Raises:
        ValueError: on a setting out of range, or a model that is an EOT already.
    """

    is_random = True

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        samples: int = 8,
        average: str = "logits",
        seed: int = 0,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        check_positive("samples", samples)
        check_choice("average", average, ("logits", "log_softmax"))
        if isinstance(model, EOT):
            raise ValueError(
                "model must not be an EOT already; received EOT. Set samples to the "
                "product instead."
            )
        self.model = model
        self.samples = samples
        self.average = average
        self.seed = seed
        self.recompute = recompute
        self._seeds = torch.Generator()
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Begin the sequence of draws anew, at `seed` or at the first one."""
        self._seeds.manual_seed(self.seed if seed is None else seed)

    def draw(self, points: Float[Tensor, "B N 3"], seed: int) -> Any:
        """(B, C) what the model answers with its randomness at `seed`."""
        devices = [points.device] if points.is_cuda else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            if getattr(self.model, "is_random", False) and hasattr(self.model, "reset"):
                self.model.reset(seed)
            logits = self.model(points)
        if self.average == "log_softmax" and isinstance(logits, Tensor):
            return logits.log_softmax(1)
        return logits

    def draws(self, points: Float[Tensor, "B N 3"]) -> Iterator[Any]:
        """(B, C) each, the answers of the next `samples` draws, one by one."""
        check_points(points)
        seeds = torch.randint(2**63 - 1, (self.samples,), generator=self._seeds)
        for seed in seeds.tolist():
            if self.recompute and torch.is_grad_enabled():
                yield checkpoint(
                    self.draw,
                    points,
                    seed,
                    use_reentrant=False,
                    preserve_rng_state=False,
                )
            else:
                yield self.draw(points, seed)

    def forward(self, points: Tensor) -> Any:
        """(B, N, 3) -> mean logits (B, C); what is no tensor is handed on as it is."""
        total = None
        for logits in self.draws(points):
            if not isinstance(logits, Tensor):
                return logits  # not logits: the attack's own check names the fault
            total = logits if total is None else total + logits
        return total / self.samples


def is_random(model: Callable[[Tensor], Tensor], points: Tensor) -> bool:
    """Whether a model says it is random, or answers twice differently.

    Args:
        model: `points -> logits`. A model without the attribute `is_random` (or with a
            false one) is asked twice about the first 4 clouds.
        points: (B, N, 3).

    Returns:
        True if logits differ by more than the rounding of parallel sums explains (1e-4,
        absolute and relative).

    Raises:
        ValueError: on clouds of another shape.
    """
    check_points(points)
    if getattr(model, "is_random", False):
        return True
    with torch.no_grad():
        first, second = model(points[:4]), model(points[:4])
    if not isinstance(first, Tensor) or first.shape != second.shape:
        return False  # not logits: the attack's own check names the fault
    return not torch.allclose(first, second, rtol=1e-4, atol=1e-4, equal_nan=True)
