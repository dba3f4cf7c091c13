"""Random features and labels for tests of gates and losses."""

import torch
from torch.nn import functional as F

from mrpd_tutorial.runtime import generator


def unit(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32):
    drawn = torch.randn(*shape, generator=generator(seed), dtype=dtype)
    return F.normalize(drawn, dim=-1)


def draw_labels(count: int, classes: int, seed: int = 0):
    return torch.randint(classes, (count,), generator=generator(seed))
