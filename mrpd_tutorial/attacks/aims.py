"""Losses to climb toward a class, and which classes are worth aiming at."""

import torch
from torch import Tensor

from mrpd_tutorial.attacks.search import Search, dlr
from mrpd_tutorial.checks import check_choice

__all__ = ["LOSSES", "aims_in_turn", "objective"]

LOSSES = ("ce", "margin", "dlr")


def objective(
    search: Search, loss: str, logits: Tensor, index: Tensor, aims: Tensor | None
) -> Tensor:
    """(b,) the loss to climb for the clouds at `index`.

    Args:
        search: the running attack.
        loss: "ce", "margin" or "dlr".
        logits: (b, C).
        index: (b,) positions in the chunk.
        aims: (b,) a class for each cloud to be pulled to; None follows the search's own
            goal. With aims "margin" is the aim's logit minus the true one, whose zero
            is the boundary between the two classes.
    """
    check_choice("loss", loss, LOSSES)
    labels = search.labels[index]
    if aims is None:
        if loss == "dlr":
            return dlr(logits, labels, search.targets(index))
        return (search.cross_entropy if loss == "ce" else search.margin)(logits, index)
    if loss == "dlr":
        return dlr(logits, labels, aims)
    own = logits.gather(1, aims[:, None])[:, 0]
    if loss == "margin":
        return own - logits.gather(1, labels[:, None])[:, 0]
    return own - logits.scatter(1, aims[:, None], -torch.inf).logsumexp(1)


def aims_in_turn(search: Search, count: int) -> list[Tensor | None]:
    """The `count` likeliest wrong classes of each clean cloud, the likeliest first.

    Returns:
        At most C - 1 tensors (B,), each with one class per cloud; [None] where count is
        0 or the search has targets of its own.
    """
    if count == 0 or search.target_labels is not None:
        return [None]
    wrong = search.clean_logits.scatter(1, search.labels[:, None], -torch.inf)
    found = wrong.topk(min(count, wrong.shape[1] - 1), dim=1).indices  # (B, count)
    return list(found.unbind(1))
