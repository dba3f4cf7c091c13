"""Several models as one, for attacks that have to mislead all of them."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mrpd_tutorial.checks import check_choice, check_points

__all__ = ["Ensemble"]


class Ensemble(nn.Module):
    """The mean answer of several models; again `points -> logits`.

    Implements the ensembles of Liu et al. 2017 [arXiv 1611.02770] ("probability") and
    Dong et al. 2018 [arXiv 1710.06081] ("logits"): clouds made on several models
    together mislead more of them, and others too. An attack on a student together with
    an image teacher behind a softened projection is one that survives the projection.

    The attack's own success is that of the mean answer: show the clouds to each model
    to see which of them were misled.

    Args:
        models: `points -> logits (B, C)`, all for the same classes.
        weights: how much each model counts; None: equally. They are divided by their
            sum.
        average: "logits", or "probability" (of the softmax; the logits returned are its
            logarithm).

    Raises:
        ValueError: if there are no models, weights do not fit, or, at the call, models
            answer for different classes.
    """

    def __init__(
        self,
        models: Sequence[Callable[[Tensor], Tensor]],
        weights: Sequence[float] | None = None,
        average: str = "logits",
    ) -> None:
        super().__init__()
        check_choice("average", average, ("logits", "probability"))
        self.models = list(models)
        if not self.models:
            raise ValueError("models must hold at least one model; received none.")
        values = [1.0] * len(self.models) if weights is None else list(weights)
        if len(values) != len(self.models) or not all(v > 0 for v in values):
            raise ValueError(
                f"weights must hold a number above 0 for each of {len(self.models)} "
                f"models; received {values}."
            )
        self.weights = [value / sum(values) for value in values]
        self.average = average
        # Registered where they are modules, so that attacks see and freeze them; each
        # stays in the mode, training or evaluation, in which it came.
        self.parts = nn.ModuleList(m for m in self.models if isinstance(m, nn.Module))

    def forward(self, points: Tensor) -> Float[Tensor, "B C"]:
        """(B, N, 3) -> logits (B, C), differentiable where all the models are."""
        check_points(points)
        answers = [model(points) for model in self.models]
        shapes = {tuple(answer.shape) for answer in answers}
        if len(shapes) > 1:
            raise ValueError(
                f"models must answer for the same classes; their logits have the "
                f"shapes {sorted(shapes)}."
            )
        if self.average == "logits":
            return sum(w * a for w, a in zip(self.weights, answers, strict=True))
        logs = torch.stack([answer.log_softmax(1) for answer in answers])  # (M, B, C)
        weights = logs.new_tensor(self.weights).log()[:, None, None]
        return (logs + weights).logsumexp(0)
