"""Attacks as an optimisation: mislead the model, and stay near the clean cloud.

    minimise  misleading(x') + weight * distance(x', x)

Each cloud is an optimisation of its own: the sum over the batch is separable, Adam
works coordinate by coordinate, the weight is one number per cloud, and a cloud that is
done leaves the batch. So results do not depend on the neighbours.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mrpd_tutorial.attacks.search import Search

__all__ = [
    "LOSSES",
    "Adam",
    "gradient_of_sum",
    "minimise",
    "misleading_loss",
    "ranked_cost",
    "reached",
    "small_noise",
    "unsolved",
]

LOSSES = ("margin", "ce")


class Adam:
    """Adam [Kingma & Ba, arXiv 1412.6980], whose clouds may leave one by one.

    The same numbers as torch.optim.Adam with its default betas and eps.

    Args:
        like: (b, ...) a tensor of the variable's shape.
        step_size: about how far a coordinate moves in a step, in its own unit.
    """

    def __init__(self, like: Tensor, step_size: float) -> None:
        self.step_size = step_size
        self._steps = 0
        self._mean, self._square = torch.zeros_like(like), torch.zeros_like(like)

    def step(self, gradient: Tensor) -> Tensor:
        """The change to add to the variable, in the gradient's shape."""
        self._steps += 1
        self._mean.lerp_(gradient, 0.1)
        self._square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        mean = self._mean / (1 - 0.9**self._steps)
        root = (self._square / (1 - 0.999**self._steps)).sqrt()
        return -self.step_size * mean / (root + 1e-8)

    def keep(self, still: Tensor) -> None:
        """Go on with some of the clouds, (b,) bool."""
        self._mean, self._square = self._mean[still], self._square[still]


def misleading_loss(
    search: Search, logits: Tensor, index: Tensor, loss: str, confidence: float
) -> Float[Tensor, "b"]:
    """What is to become 0 for a cloud that misleads; never negative.

    "margin": max(0, k - margin), Eq. 3 of Carlini & Wagner [arXiv 1608.04644], f_6.
    "ce": the cross-entropy -log p_target, targeted. Untargeted -log(1 - p_label):
    public code takes log p_label, which has no lower bound and outweighs any distance
    once the model is misled.
    """
    if loss == "ce":
        return functional.softplus(-search.cross_entropy(logits, index))
    return (confidence - search.margin(logits, index)).clamp(min=0)


def gradient_of_sum(
    search: Search,
    index: Tensor,
    variable: Tensor,
    *,
    points: Tensor,
    seen: Tensor,
    misleading: Float[Tensor, "b"],
    price: Float[Tensor, "b"],
    done: Tensor,
) -> Tensor:
    """d (misleading + price) / d variable; idle is who has no gradient of the first.

    A distance has a gradient in any case, so that a model whose own is masked (all
    zeros, but there) would go unnoticed in the sum.

    Args:
        search: counts the step, and who was idle in it.
        index: (b,) positions of the clouds.
        variable: what the attack moves, (b, ...).
        points: (b, M, 3) the clouds made of it, with their graph.
        seen: (b, M, 3) the same without, of which the model was asked.
        misleading: (b,) loss that depends on `seen`.
        price: (b,) distance, times its weight, that depends on `variable`.
        done: (b,) who misleads as is wanted: no gradient is asked of them.
    """
    slope = search.gradient(misleading, seen, index, done)
    ends, slopes = [points], [slope]
    if price.requires_grad:
        ends, slopes = [*ends, price.sum()], [*slopes, None]
    (gradient,) = torch.autograd.grad(ends, variable, slopes)
    return torch.where(torch.isfinite(gradient), gradient, 0.0)


def reached(gap: Float[Tensor, "b"], confidence: float) -> Tensor:
    """(b,) whether clouds mislead by a margin of at least `confidence`."""
    return (gap > 0) & (gap >= confidence)


def ranked_cost(
    distance: Float[Tensor, "b"], gap: Float[Tensor, "b"], confidence: float
) -> Float[Tensor, "b"]:
    """A cost for Search.consider: the nearest of those that reach the confidence.

    Clouds that reach it have negative costs, rising with the distance; clouds that only
    mislead have what they lack, so that they come after all others.
    """
    return torch.where(
        reached(gap, confidence), -1 / (1 + distance), (confidence - gap).clamp(min=0)
    )


def unsolved(search: Search, confidence: float) -> Tensor:
    """Positions of the clouds that are still to be misled by `confidence`."""
    solved = search.success & reached(search.best_margin, confidence)
    return search.open((~solved).nonzero()[:, 0])


def small_noise(
    search: Search, index: Tensor, shape: tuple[int, ...], size: float
) -> Tensor:
    """(b, *shape) normal noise, each cloud's from its own generator, on the CPU."""
    drawn = [torch.randn(shape, generator=search.generators[i]) for i in index.tolist()]
    return size * torch.stack(drawn).to(search.clean)


def minimise(
    search: Search,
    index: Tensor,
    start: Float[Tensor, "b M 3"],
    weight: Float[Tensor, "b"],
    *,
    distance: Callable[[Tensor, Tensor], Tensor],
    steps: int,
    step_size: float,
    loss: str = "margin",
    confidence: float = 0.0,
    patience: int | None = None,
    render: Callable[[Tensor, Tensor], Tensor] | None = None,
    constrain: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Minimise misleading + weight * distance from `start`; each iterate is considered.

    Args:
        search: what is kept while the attack runs.
        index: (b,) positions of the clouds.
        start: (b, M, 3) the first value of the variable.
        weight: (b,) each cloud's price of a unit of distance.
        distance: (variable, index) -> (b,), differentiable, 0 or above.
        steps: updates at most; there is one query more.
        step_size: Adam's.
        loss: see `misleading_loss`.
        confidence: the margin wanted.
        patience: a cloud leaves once its objective has not fallen by 0.1 % in as many
            updates; None: never.
        render: (variable, index) -> clouds for the model; None: the variable itself.
        constrain: (variable, index) -> the nearest one allowed, after each update.

    Returns:
        (b,) whether any iterate of each cloud misled by the confidence. Whether it was
        nearer than those found before plays no part.
    """
    hit = torch.zeros_like(index, dtype=torch.bool)
    position = torch.arange(len(index), device=index.device)
    variable, adam = start.detach(), Adam(start, step_size)
    lowest = start.new_full((len(index),), torch.inf)
    waited = torch.zeros_like(index)
    for step in range(steps + 1):
        if not len(index):
            break
        with torch.set_grad_enabled(step < steps):
            variable = variable.detach().requires_grad_(step < steps)
            points = variable if render is None else render(variable, index)
            seen = points.detach().requires_grad_(step < steps)
            logits = search.logits(seen, index)
            far = distance(variable, index)
            misleading = misleading_loss(search, logits, index, loss, confidence)
            price = weight[position] * far
        gap = search.margin(logits.detach(), index)
        done = reached(gap, confidence)
        hit[position] |= done
        search.consider(
            points, logits, index, ranked_cost(far.detach(), gap, confidence)
        )
        if step == steps:
            break
        gradient = gradient_of_sum(
            search,
            index,
            variable,
            points=points,
            seen=seen,
            misleading=misleading,
            price=price,
            done=done,
        )
        variable = variable.detach() + adam.step(gradient)
        if constrain is not None:
            variable = constrain(variable, index)

        value = (misleading + price).detach()
        falls = value < lowest - 1e-3 * lowest.abs().clamp(max=torch.finfo().max)
        lowest = torch.where(falls, value, lowest)
        waited = torch.where(falls, 0, waited + 1)
        still = search.still_open(index)
        if patience is not None:
            still = still & (waited < patience)
        if not bool(still.all()):
            index, position, variable = index[still], position[still], variable[still]
            lowest, waited = lowest[still], waited[still]
            adam.keep(still)
    return hit
