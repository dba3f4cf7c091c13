"""Backward pass differentiable approximation: attacks through defenses without one."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mrpd_tutorial.attacks.eot import EOT
from mrpd_tutorial.checks import check_choice, check_points
from mrpd_tutorial.defenses.base import Defended, Defense
from mrpd_tutorial.geometry import knn

__all__ = ["BPDA", "adaptive", "around", "is_masked", "passes_gradient"]


class _StraightThrough(torch.autograd.Function):
    """`output` forward, bit for bit; backward each output point's gradient to one."""

    @staticmethod
    def forward(
        ctx: Any,
        points: Float[Tensor, "B N 3"],
        output: Float[Tensor, "B M 3"],
        source: Int[Tensor, "B M"],
    ) -> Float[Tensor, "B M 3"]:
        ctx.save_for_backward(source)
        ctx.count = points.shape[1]
        return output.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (source,) = ctx.saved_tensors
        total = gradient.new_zeros(len(gradient), ctx.count, 3)
        index = source[..., None].expand(-1, -1, 3)  # (B, M, 3)
        return total.scatter_add(1, index, gradient), None, None


def passes_gradient(
    defense: Callable[[Tensor], Tensor], points: Float[Tensor, "B N 3"]
) -> bool:
    """Whether the points that a defense returns give gradients to those it was given.

    The defense is asked once; each of its output coordinates is given a gradient of 1.

    Returns:
        False if it detaches, fails on points that need a gradient (numpy), or if the
        gradient of any cloud is zero everywhere or not finite.
    """
    points = points.detach().clone().requires_grad_(True)
    with torch.inference_mode(False), torch.enable_grad():
        try:
            output = defense(points)
        except RuntimeError:  # "Can't call numpy() on Tensor that requires grad"
            return False
        if not isinstance(output, Tensor) or not output.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(output.sum(), points, allow_unused=True)
    if gradient is None or not bool(torch.isfinite(gradient).all()):
        return False
    return bool((gradient != 0).any(-1).any(-1).all())


def is_masked(model: Callable[[Tensor], Tensor], points: Tensor) -> bool:
    """Whether a defense in a chain of Defended passes no gradient; BPDA counts as one.

    Args:
        model: `points -> logits`; what is not Defended is not masked by a defense.
        points: (B, N, 3) a few clouds to ask with.
    """
    if not isinstance(model, Defended):
        return False
    defense = model.defense
    if isinstance(defense, BPDA) or not passes_gradient(defense, points):
        return True
    with torch.no_grad():
        return is_masked(model.model, defense(points))


class BPDA(nn.Module, Defense):
    """A defense as it is forward, and nearly the identity backward.

    Implements Athalye et al. 2018 [arXiv 1802.00420], section 4.1, straight-through:
    where a defense has no useful gradient but returns points near those it was given,
    its gradient is replaced by that of a simple map. Here each point that comes out
    hands its gradient to the point of the input nearest to it ("nearest": for defenses
    that remove, repeat, move a little or add points, such as SOR, SRS, DUP-Net, voxel
    grids, and farthest-point or neighbourhood grouping), or to that of the same index
    ("same": for those that keep number and order but move points farther). Points that
    were removed get no gradient, as in truth.

    Threat model: adaptive; the attacker knows the defense. A module, so that a defense
    that is one is frozen with the model behind it.

    Args:
        defense: `points (B, N, 3) -> points (B, M, 3)`, or (B, ..., 3) for groups in
            the coordinates of the cloud. It is called without gradients.
        backward: "nearest" or "same".
        only_if_masked: ask once, at the first call, whether the defense passes
            gradients by itself (`passes_gradient`), and leave it alone if it does. A
            defense that answers with a false gradient is not found out so.

    Raises:
        ValueError: on another choice; at the call, if what the defense returns does not
            fit.
    """

    def __init__(
        self,
        defense: Callable[[Tensor], Tensor],
        backward: str = "nearest",
        only_if_masked: bool = False,
    ) -> None:
        super().__init__()
        check_choice("backward", backward, ("nearest", "same"))
        self.defense = defense
        self.backward = backward
        self.only_if_masked = only_if_masked
        self._passes: bool | None = None

    @property
    def is_random(self) -> bool:
        """Whether two calls may differ, as the defense says."""
        return bool(getattr(self.defense, "is_random", False))

    def reset(self, seed: int | None = None) -> None:
        """Start the random draws anew, if there are any."""
        if hasattr(self.defense, "reset"):
            self.defense.reset(seed)

    def forward(self, points: Tensor) -> Tensor:
        """Defend a batch of clouds: (B, N, 3) -> what the defense returns.

        Raises:
            ValueError: if the defense returns anything but (B, ..., 3), or another
                number of points with backward="same".
        """
        check_points(points)
        if self.only_if_masked:
            if self._passes is None:
                self._passes = passes_gradient(self.defense, points[:2])
            if self._passes:
                return self.defense(points)
        with torch.no_grad():
            output = self.defense(points.detach())
        fits = isinstance(output, Tensor) and output.ndim >= 3
        if not fits or len(output) != len(points) or output.shape[-1] != 3:
            came = tuple(output.shape) if isinstance(output, Tensor) else type(output)
            raise ValueError(
                f"defense must return points ({len(points)}, ..., 3); received {came}. "
                "BPDA wraps what maps points to points; wrap the model with Defended."
            )
        output = output.to(points)
        flat = output.reshape(len(points), -1, 3)  # (B, M, 3)
        if self.backward == "nearest":
            source = knn(flat, points.detach(), 1)[1][..., 0]  # (B, M)
        elif flat.shape[1] != points.shape[1]:
            raise ValueError(
                f"defense must return as many points as it is given, "
                f"{points.shape[1]}, for backward='same'; received {flat.shape[1]}. "
                "Use backward='nearest'."
            )
        else:
            source = torch.arange(points.shape[1], device=points.device)
            source = source.expand(len(points), -1)
        through = _StraightThrough.apply(points, flat, source)
        return through.reshape(output.shape)


def adaptive(
    model: Callable[[Tensor], Tensor],
    samples: int = 8,
    *,
    seed: int = 0,
    bpda: str = "masked",
    average: str = "logits",
    recompute: bool = False,
) -> Callable[[Tensor], Tensor]:
    """What an attacker who knows the defense climbs: BPDA and EOT where they are due.

    Every defense in a chain of Defended is wrapped by BPDA, and the whole by EOT if the
    model says that it is random (its attribute `is_random`; wrap other random models in
    EOT yourself, or ask `is_random`). What needs neither is returned as it is. Forward
    the answer is that of the model, averaged over draws for a random one.

    Args:
        model: Defended or any other `points -> logits`; not changed.
        samples: draws for EOT.
        seed: of EOT's sequence of draws.
        bpda: "masked" (only around defenses that pass no gradient), "always" or
            "never".
        average, recompute: see EOT.

    Raises:
        ValueError: on a setting out of range.
    """
    check_choice("bpda", bpda, ("masked", "always", "never"))
    if isinstance(model, EOT):
        return model
    if bpda != "never":
        model = around(model, only_if_masked=bpda == "masked")
    if getattr(model, "is_random", False):
        return EOT(model, samples, average=average, seed=seed, recompute=recompute)
    return model


def around(
    model: Callable[[Tensor], Tensor], *, only_if_masked: bool = True
) -> Callable[[Tensor], Tensor]:
    """A chain of Defended with every defense wrapped by BPDA; others as they are.

    Args:
        model: `points -> logits`; not changed.
        only_if_masked: see BPDA.
    """
    if not isinstance(model, Defended):
        return model
    inner = around(model.model, only_if_masked=only_if_masked)
    defense = model.defense
    if not isinstance(defense, BPDA):
        defense = BPDA(defense, only_if_masked=only_if_masked)
    return Defended(inner, defense)
