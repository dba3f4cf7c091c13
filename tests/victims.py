"""Models to attack in tests: known answers, and known faults."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mrpd_tutorial.runtime import generator


class CentroidLinear(nn.Module):
    """logits = W * centroid: every minimal perturbation has a closed form."""

    def __init__(self, num_classes: int = 4, seed: int = 0) -> None:
        super().__init__()
        self.head = nn.Linear(3, num_classes)
        source = generator(seed)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(num_classes, 3, generator=source))
            self.head.bias.zero_()

    def forward(self, points: Tensor) -> Tensor:
        return self.head(points.mean(1))

    def minimal_eps(
        self,
        points: Tensor,
        labels: Tensor,
        norm: str,
        target_labels: Tensor | None = None,
    ) -> Tensor:
        """(B,) the least budget that changes the class, by the dual norm of w_j - w_y.

        norm: "per_point", "l2" or "linf". Targeted only where there are two classes, or
        where the target is the one to be reached first.
        """
        weight = self.head.weight.detach().double()
        logits = points.detach().double().mean(1) @ weight.T
        rows = torch.arange(len(points))
        gap = logits[rows, labels][:, None] - logits  # (B, C)
        difference = weight[None] - weight[labels][:, None]  # (B, C, 3)
        order = 1 if norm == "linf" else 2
        slope = difference.norm(p=order, dim=-1)  # (B, C): rise per unit of centroid
        if norm == "l2":
            slope = slope * math.sqrt(1 / points.shape[1])
        needed = gap / slope
        needed[rows, labels] = torch.inf
        if target_labels is not None:
            return needed[rows, target_labels]
        return needed.amin(1)


class TinyPointNet(nn.Module):
    """A network with a max over points and a batch norm, seeded."""

    def __init__(self, seed: int = 0, num_classes: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Linear(32, 32))
        self.norm = nn.BatchNorm1d(32, momentum=1.0)
        self.head = nn.Linear(32, num_classes)
        source = generator(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=source) * 0.5)
            self(clouds(64, seed=99))  # sets the running statistics
            self.head.bias.zero_()

    def forward(self, points: Tensor) -> Tensor:
        return self.head(self.norm(self.body(points).amax(1)))


class WithFault(nn.Module):
    """A healthy model whose answers `fault(logits)` spoils."""

    def __init__(self, model: nn.Module, fault: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.model = model
        self.fault = fault

    def forward(self, points: Tensor) -> object:
        return self.fault(self.model(points))


class NaNModel(WithFault):
    """Answers NaN."""

    def __init__(self) -> None:
        super().__init__(CentroidLinear(), lambda logits: logits / 0 * 0)


class HalfModel(WithFault):
    """Answers in float16."""

    def __init__(self) -> None:
        super().__init__(CentroidLinear(), lambda logits: logits.half())


class ThrowingModel(nn.Module):
    """Raises RuntimeError("victim down") after `healthy` calls."""

    def __init__(self, healthy: int = 0) -> None:
        super().__init__()
        self.model = CentroidLinear()
        self.healthy = healthy

    def forward(self, points: Tensor) -> Tensor:
        self.healthy -= 1
        if self.healthy < 0:
            raise RuntimeError("victim down")
        return self.model(points)


def clouds(count: int = 24, num_points: int = 32, seed: int = 1) -> Tensor:
    """(count, num_points, 3) normally distributed points, radius about 1."""
    return 0.4 * torch.randn(count, num_points, 3, generator=generator(seed))


def labelled(
    model: nn.Module, count: int = 24, num_points: int = 32
) -> tuple[Tensor, Tensor]:
    """Clouds labelled by the model itself: its clean accuracy is 100 %."""
    points = clouds(count, num_points)
    with torch.no_grad():
        dtype = next(model.parameters()).dtype
        return points.to(dtype), model(points.to(dtype)).argmax(1)
