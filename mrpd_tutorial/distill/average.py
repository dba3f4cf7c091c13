"""A moving average of what is learned, to be validated and kept in its place."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["MovingAverage"]


class MovingAverage:
    """Exponential moving average of a module's parameters.

    As in Mean Teacher [arXiv 1703.01780]; after step t (from 1) the decay is
    min(decay, (1 + t) / (10 + t)), so that the random start is soon forgotten.

    Args:
        module: whose parameters are averaged.
        decay: in [0, 1); 0 follows the parameters exactly.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay, self.steps = module, decay, 0
        self.values = {
            name: parameter.detach().clone()
            for name, parameter in module.named_parameters()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters after an optimizer step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, parameter in self.module.named_parameters():
            self.values[name].lerp_(parameter, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the module has the averaged parameters."""
        before = {
            name: parameter.detach().clone()
            for name, parameter in self.module.named_parameters()
        }
        self._put(self.values)
        try:
            yield
        finally:
            self._put(before)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.module.named_parameters():
            parameter.copy_(values[name])

    def restore(self, values: Mapping[str, Tensor], steps: int) -> None:
        """Go on from values that were kept after so many steps."""
        self.steps = steps
        for name, value in self.values.items():
            value.copy_(values[name])
