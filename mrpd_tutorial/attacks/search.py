"""What an attack keeps while it runs: the goal, the victim, the best clouds so far."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from mrpd_tutorial.attacks.victim import check_logits

__all__ = ["Search", "dlr", "margin"]


def margin(
    logits: Float[Tensor, "B C"], labels: Tensor, target_labels: Tensor | None
) -> Float[Tensor, "B"]:
    """How far a cloud is beyond the decision: positive means misled.

    Untargeted: the best wrong logit minus the true one. Targeted: the target's logit
    minus the best other one.
    """
    wanted = labels if target_labels is None else target_labels
    own = logits.gather(1, wanted[:, None])[:, 0]
    best_other = logits.scatter(1, wanted[:, None], -torch.inf).amax(1)
    return best_other - own if target_labels is None else own - best_other


def dlr(
    logits: Float[Tensor, "B C"], labels: Tensor, target_labels: Tensor | None
) -> Float[Tensor, "B"]:
    """Difference of logits ratio, to climb: a margin that ignores the logits' scale.

    Implements Eqs. (6) and (7) of Croce and Hein 2020 [arXiv 2003.01690], with z sorted
    in descending order: untargeted (max wrong - z_y) / (z_1 - z_3), targeted (z_t -
    z_y) / (z_1 - (z_3 + z_4) / 2). Where the best logits are all equal it is 0.

    Raises:
        ValueError: with fewer than 3 classes, or than 4 targeted.
    """
    least = 3 if target_labels is None else 4
    if logits.shape[1] < least:
        raise ValueError(
            f"the dlr loss needs at least {least} classes; received "
            f"{logits.shape[1]}. Use the margin loss, which it is a ratio of."
        )
    top = logits.topk(least, dim=1).values  # (B, 3 or 4)
    if target_labels is None:
        rise, scale = margin(logits, labels, None), top[:, 0] - top[:, 2]
    else:
        chosen = logits.gather(1, torch.stack([target_labels, labels], dim=1))
        rise = chosen[:, 0] - chosen[:, 1]
        scale = top[:, 0] - (top[:, 2] + top[:, 3]) / 2
    return rise / torch.where(scale > 0, scale, 1.0)


def _check_differentiable(came_back: bool) -> None:
    if not came_back:
        raise ValueError(
            "model must be differentiable: no gradient came back from its logits to "
            "the points. Does it detach, run under no_grad, or go through numpy? A "
            "query-based attack does not need gradients."
        )


@dataclass(kw_only=True, eq=False)
class Search:
    """One attack on one chunk of clouds: the goal, the victim, the best clouds so far.

    `index` arguments are positions in the chunk, so that an attack can go on with some
    of the clouds only.

    The best cloud so far starts as the clean one. Where `changes_count` is set (points
    are added or removed) there is no best cloud until the first `consider`, which must
    hold all clouds of the chunk; all clouds considered have the same number of points.

    `part` says which clouds of the attack's call these are: what an attack was given
    for each cloud of the call (normals, say) is indexed with it. `record` is for what
    an attack's `_run` hands to its own `_result`.

    Where `starts_clean` is set, the answer to the clean clouds keeps its gradient, for
    the first step: see `take_clean_pass`.
    """

    model: Callable[[Tensor], Tensor]
    clean: Tensor
    labels: Tensor
    target_labels: Tensor | None
    eps: Tensor
    generators: list[torch.Generator]
    stop_at_success: bool
    changes_count: bool = False
    starts_clean: bool = False
    part: slice = field(default_factory=lambda: slice(None))
    clean_logits: Tensor = field(init=False)
    record: dict[str, Tensor] = field(default_factory=dict)
    best: Tensor | None = field(init=False)
    best_margin: Tensor = field(init=False)
    best_cost: Tensor = field(init=False)
    success: Tensor = field(init=False)
    correct_before: Tensor = field(init=False)
    iterations: Tensor = field(init=False)
    queries: Tensor = field(init=False)
    idle_steps: Tensor = field(init=False)

    def __post_init__(self) -> None:
        count = torch.zeros_like(self.labels)
        self.iterations, self.queries = count.clone(), count.clone()
        self.idle_steps = count.clone()
        everything = torch.arange(len(self.labels), device=self.labels.device)
        clean = self.clean.clone().requires_grad_(self.starts_clean)
        with torch.set_grad_enabled(self.starts_clean):
            logits = self.logits(clean, everything)
        self._clean_pass = (clean, logits) if self.starts_clean else None
        self.clean_logits = logits = logits.detach()
        self.correct_before = logits.argmax(1) == self.labels
        self.best = None
        self.success = torch.zeros_like(self.correct_before)
        self.best_margin = torch.full_like(logits[:, 0], -torch.inf)
        self.best_cost = self.clean.new_full((len(self.labels),), torch.inf)
        if not self.changes_count:
            self.best = self.clean.clone()  # apart from `clean`, which must stay
            no_cost = torch.zeros_like(self.best_cost)
            self.consider(self.clean, logits, everything, no_cost)

    def take_clean_pass(self, index: Tensor) -> tuple[Tensor, Tensor] | None:
        """Clean clouds and the answer to them, differentiable; the second call: None.

        None, too, where `index` leaves clouds of the chunk out: another pass over the
        few that are left costs less than a gradient for all.
        """
        taken, self._clean_pass = self._clean_pass, None
        return taken if len(index) == len(self.labels) else None

    def targets(self, index: Tensor) -> Tensor | None:
        """(b,) the classes to reach, or None for an untargeted attack."""
        return None if self.target_labels is None else self.target_labels[index]

    def misled(self, logits: Tensor, index: Tensor) -> Tensor:
        """(b,) bool, whether the clouds at `index` were answered as is wanted."""
        predicted = logits.argmax(1)
        if self.target_labels is None:
            return predicted != self.labels[index]
        return predicted == self.target_labels[index]

    def open(self, index: Tensor | None = None) -> Tensor:
        """Positions (of `index`, or of the chunk) that the attack still works on."""
        if index is None:
            index = torch.arange(len(self.labels), device=self.labels.device)
        return index[self.still_open(index)]

    def still_open(self, index: Tensor) -> Tensor:
        """(b,) bool, which of `index` are open."""
        return ~self.success[index] | (not self.stop_at_success)

    def logits(self, points: Tensor, index: Tensor) -> Tensor:
        """The model's answer, checked and counted.

        Raises:
            ValueError: on an answer that is not logits, or has no gradient where the
                points need one.
        """
        self.queries[index] += 1
        logits = self.model(points)
        check_logits(logits, self.labels[index], self.targets(index))
        if torch.is_grad_enabled() and points.requires_grad:
            # Here, not only where the gradient is taken: a loss that holds a distance
            # too has a gradient in any case, one that does not mislead.
            _check_differentiable(logits.requires_grad)
        return logits

    def margin(self, logits: Tensor, index: Tensor) -> Tensor:
        """(b,) see `margin`, for the clouds at `index`."""
        return margin(logits, self.labels[index], self.targets(index))

    def cross_entropy(self, logits: Tensor, index: Tensor) -> Tensor:
        """(b,) cross-entropy to climb, up to a monotone function that cannot saturate.

        CE = softplus(u) with u = logsumexp of the other logits - own logit. The two
        have the same gradient direction, but that of CE underflows once the model is
        sure (its factor sigmoid(u) becomes 0), which looks like robustness.
        """
        targets = self.targets(index)
        wanted = self.labels[index] if targets is None else targets
        own = logits.gather(1, wanted[:, None])[:, 0]
        others = logits.scatter(1, wanted[:, None], -torch.inf).logsumexp(1)
        return others - own if targets is None else own - others

    def gradient(
        self,
        loss: Tensor,
        points: Tensor,
        index: Tensor,
        done: Tensor | None = None,
    ) -> Tensor:
        """d loss / d points, (b, N, 3); clouds without a usable one get zeros, counted.

        Not counted where `done` (b,), if given: what has been reached has no gradient.

        Raises:
            ValueError: if no gradient reaches the points at all.
        """
        gradient = None
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss.sum(), points, allow_unused=True)
        _check_differentiable(gradient is not None)
        finite = torch.isfinite(gradient)
        gradient = torch.where(finite, gradient, 0.0)
        useless = ~finite.all(-1).all(-1) | (gradient == 0).all(-1).all(-1)
        if done is not None:
            useless = useless & ~done
        self.idle_steps[index] += useless.long()
        self.iterations[index] += 1
        return gradient

    def consider(
        self,
        points: Tensor,
        logits: Tensor,
        index: Tensor,
        cost: Tensor | None = None,
    ) -> None:
        """Keep those of the clouds (b, M, 3) at `index` that beat the best so far.

        A misleading cloud beats one that does not mislead. Two that mislead are
        compared by `cost` (b,), the smaller wins, or without costs by the margin, the
        larger wins. Two that do not mislead are compared by the margin.
        """
        logits = logits.detach()
        success, gap = self.misled(logits, index), self.margin(logits, index)
        if self.best is None:
            assert len(index) == len(self.labels), "the first clouds are all clouds"
            self.best = points.detach().new_empty(len(index), *points.shape[1:])
        old, better = self.success[index], gap > self.best_margin[index]
        if cost is not None:
            cost = cost.detach().to(self.best_cost)
            better = torch.where(old, cost < self.best_cost[index], better)
        better = (success & ~old) | ((success == old) & better)
        chosen = index[better]
        self.best[chosen] = points.detach()[better]
        self.best_margin[chosen] = gap[better]
        self.success[chosen] = success[better]
        if cost is not None:
            self.best_cost[chosen] = torch.where(success, cost, torch.inf)[better]
