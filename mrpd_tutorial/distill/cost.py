"""What inference costs: prompts are few, but not free."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mrpd_tutorial.checks import check_points, check_positive, check_same_device

__all__ = ["InferenceCost", "inference_cost"]


@dataclass(frozen=True, kw_only=True)
class InferenceCost:
    """What classifying one cloud costs.

    Attributes:
        seconds_per_cloud: least wall-clock time of several runs, on this machine.
        multiply_adds_per_cloud: in matrix products and convolutions (torch's
            FlopCounterMode counts two for each).
        batch_size: clouds classified at once.
        num_points: points a cloud.
    """

    seconds_per_cloud: float
    multiply_adds_per_cloud: int
    batch_size: int
    num_points: int


def inference_cost(model: nn.Module, points: Tensor, repeats: int = 9) -> InferenceCost:
    """Measure the time and the multiply-adds of `model(points)`.

    Prompts are not free: L tokens pass through every block beside the 1 + G others, so
    compare a hardened student with its `undefended` twin.

    Args:
        model: `points -> logits`, on the device of points.
        points: (B, N, 3), in the model's frame.
        repeats: runs of which the fastest counts: what else the machine does can only
            slow a run down.

    Raises:
        ValueError: if points are no clouds or repeats is not positive.
    """
    check_points(points)
    check_positive("repeats", repeats)
    parameter = next(model.parameters(), points)
    check_same_device(points=points, model=parameter)
    with torch.no_grad():
        # Fused attention is unknown to the counter on CPUs; its plain form is not.
        counter = FlopCounterMode(display=False)
        with sdpa_kernel(SDPBackend.MATH), counter:
            model(points)
        seconds = []
        for _ in range(repeats + 1):
            _synchronise(points.device)
            start = time.perf_counter()
            model(points)
            _synchronise(points.device)
            seconds.append(time.perf_counter() - start)
    return InferenceCost(
        seconds_per_cloud=min(seconds) / len(points),
        multiply_adds_per_cloud=counter.get_total_flops() // 2 // len(points),
        batch_size=len(points),
        num_points=points.shape[1],
    )


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
