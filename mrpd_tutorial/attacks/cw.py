"""CW-Perturb: the nearest misleading cloud, by whole-cloud L2 distance."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mrpd_tutorial.attacks.optimised import WeightSearch
from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.checks import check_between, check_positive

__all__ = ["CWPerturb"]


@dataclass(frozen=True, kw_only=True)
class CWPerturb(WeightSearch):
    """Move points as little as possible, in whole-cloud L2, until the model is misled.

    Implements the point perturbation of Xiang, Qi and Li 2019 [arXiv 1809.07016],
    Eq. 4 and 5: min f(x') + weight * ||x' - x||_2 with the margin loss f, by Adam, and
    a binary search over the weight. The returned cloud is the nearest of all iterates
    of all search steps that mislead by `confidence`; failing that, one that misleads;
    failing that, the one with the largest margin, the clean cloud included. Clouds that
    are wrong already come back as they are.

    IF-Defense's code differs: a search step counts as failed if it finds no cloud
    nearer than the best so far, and clouds that never mislead are returned as their
    last iterate, at any distance.

    There is no budget: look at the result's distances.

    Args:
        steps: Adam updates in each search step.
        search_steps: how many weights are tried.
        step_size: Adam's, in units of the cloud.
        weight: the first weight.
        max_weight: the largest weight.
        shrink: what the weight is divided by until a search step succeeds; 2 as
            published, more for a victim with small logits or for few search steps.
        loss: "margin" or "ce", see optimise.misleading_loss.
        confidence: the margin (in logits) a misled cloud is to have; clouds that are to
            be shown to defenses need one.
        start_noise: standard deviation of the start about the clean cloud, where the
            gradient of the distance is not defined.
        patience: updates without progress after which a cloud ends a search step early;
            None: never.

    Raises:
        ValueError: on a setting out of range.

    Example:
        >>> import torch
        >>> model = lambda points: points.mean(1)  # class: the largest coordinate
        >>> points = torch.tensor([[[0.2, 0, 0], [0, 0, 0.0]]])
        >>> result = CWPerturb.quick()(model, points, torch.tensor([0]))
        >>> bool(result.success), bool(0.09 < result.l2 < 0.12)  # at least 0.1
        (True, True)
    """

    max_weight: float = 80.0

    norm: ClassVar[str] = "none"
    minimal: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("max_weight", self.max_weight)
        check_between("weight", self.weight, 0, self.max_weight)

    @classmethod
    def quick(cls, **changes) -> "CWPerturb":
        """60 updates for each of 5 weights, divided by 8 until one succeeds."""
        attack = cls(steps=60, search_steps=5, shrink=8.0)
        return dataclasses.replace(attack, **changes)

    @classmethod
    def paper(cls, **changes) -> "CWPerturb":
        """500 updates of 0.01 for each of 10 weights from 10 in [0, 80], margin 0.

        The constants of IF-Defense's port [arXiv 2010.05272], with which the tables of
        the field are made; pass random target labels to follow them.
        """
        return dataclasses.replace(cls(), **changes)

    def _run(self, search: Search) -> None:
        def distance(points: Tensor, index: Tensor) -> Tensor:
            return (points - search.clean[index]).flatten(1).norm(dim=1)

        self._search_weights(search, search.clean, self.max_weight, distance=distance)
