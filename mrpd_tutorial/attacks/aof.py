"""AOF: change the smooth part of the shape, which other models see too."""

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from mrpd_tutorial.attacks.search import Search
from mrpd_tutorial.attacks.spectrum import low_frequency_basis, low_frequency_part
from mrpd_tutorial.attacks.two_views import TwoViews
from mrpd_tutorial.checks import check_positive

__all__ = ["AOF"]


@dataclass(frozen=True, kw_only=True)
class AOF(TwoViews):
    """Mislead by the cloud and by its low-frequency part alone, so that it transfers.

    Implements Liu et al. 2022, "Boosting 3D Adversarial Attacks with Attacking On
    Frequency". The clean cloud's graph gives a basis V; x = x_low + x_high, x_low the
    first `frequencies` coefficients in V. A step changes x_low by one displacement that
    both terms of

        (1 - gamma) min(Z(x_low + x_high), k) + gamma min(Z(x_low), k)

    see (Z the margin); then x goes back into the ball and is split anew, so that what a
    step added at high frequencies moves to x_high. The released code counts a success
    only if both views mislead; here a cloud that misleads by itself alone is a success
    too, ranked behind all that do both, and the clip holds for what is returned.

    Args:
        frequencies: eigenvectors that make up x_low.
        k: neighbours in the graph.

    The others are those of TwoViews.
    """

    frequencies: int = 100
    k: int = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("frequencies", self.frequencies)
        check_positive("k", self.k)

    @classmethod
    def quick(cls, **changes) -> "AOF":
        """20 steps, one restart."""
        return dataclasses.replace(cls(steps=20, restarts=1), **changes)

    @classmethod
    def paper(cls, **changes) -> "AOF":
        """As published: per point 0.18, 100 frequencies, k-NN graph of 30, gamma 0.25.

        Adam 0.01, 200 steps, 2 restarts, confidence 30. The restarts begin 1e-7 beside
        the clean cloud, as CW-Perturb does, and so hardly differ.
        """
        settings = cls(
            eps=0.18,
            norm="per_point",
            frequencies=100,
            k=30,
            gamma=0.25,
            confidence=30.0,
            steps=200,
            step_size=0.01,
            restarts=2,
            start_noise=1e-7,
        )
        return dataclasses.replace(settings, **changes)

    def _run(self, search: Search) -> None:
        basis = low_frequency_basis(search.clean, self.frequencies, self.k)

        def second_view(points: Tensor, index: Tensor) -> Tensor:
            low = low_frequency_part(points.detach(), basis[index])
            return low + (points - points.detach())  # moves as the cloud moves

        self._search_both(search, second_view)
