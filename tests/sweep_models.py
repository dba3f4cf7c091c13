"""A tiny sweep that tests run here and in a process of its own, to be killed."""

import os
import signal
import sys

import torch
from torch import Tensor, nn

from mrpd_tutorial.attacks import PGD
from mrpd_tutorial.corruptions import Cutout, Jitter
from mrpd_tutorial.runtime import generator


class Mean(nn.Module):
    """The class is the centroid's largest coordinate, each with its own weight.

    `_left` counts down the calls until the process is killed; as it begins with "_", it
    is no part of what the model is.
    """

    def __init__(self, weights: tuple[float, ...] = (1.0, 1.0, 1.0)) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))
        self._left = -1

    def forward(self, points: Tensor) -> Tensor:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return points.mean(1) * self.weights


def data() -> tuple[Tensor, Tensor]:
    """18 clouds of 32 points, three classes, the Mean's clean accuracy 100 %."""
    labels = torch.arange(18) % 3
    noise = 0.2 * torch.randn(18, 32, 3, generator=generator(0))
    noise = noise - noise.mean(1, keepdim=True)
    return noise + 0.08 * nn.functional.one_hot(labels, 3)[:, None], labels


def arguments() -> dict:
    """What a sweep of 2 models, 2 attacks and 2 corruptions is called with."""
    plain = Mean()
    return {
        "models": {"plain": plain, "other": Mean((1.0, 0.8, 1.2))},
        "dataset": data(),
        "attacks": {
            "small": PGD(eps=0.02, steps=3),
            "large": PGD(eps=0.1, steps=3, norm="linf"),
        },
        "corruptions": [Jitter(severity=5), Cutout(severity=1)],
        "undefended": plain,
        "surrogate": {"third": Mean((0.9, 1.0, 1.0))},
        "batch_size": 8,
        "progress": False,
    }


CELLS = 2 + 2 * (2 + 2 + 2) + 2 * 2

if __name__ == "__main__":
    from sweep_models import arguments as imported  # the classes as tests name them

    from mrpd_tutorial.sweep import sweep

    torch.set_num_threads(1)
    given = imported()
    given["models"]["other"]._left = int(sys.argv[2])
    sweep(folder=sys.argv[1], **given)
