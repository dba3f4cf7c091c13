"""DUP-Net: remove outliers, then draw the surface anew with four times the points."""

import os
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from mrpd_tutorial.checks import check_points
from mrpd_tutorial.defenses.base import Defense
from mrpd_tutorial.defenses.removal import SOR
from mrpd_tutorial.geometry import farthest_point_sampling, gather_points

__all__ = ["DUPNet"]


class DUPNet(nn.Module, Defense):
    """Statistical outlier removal, then PU-Net from N to 4 N points.

    Implements Zhou et al. 2019 [arXiv 1812.11017]: SOR with k 2 and alpha 1.1, PU-Net
    [arXiv 1801.06761] from 1024 to 4096 points. Public code repeats random ones of the
    points that SOR keeps until there are 1024 again; ours repeats the first ones, so
    that the defense is deterministic. Gradients flow through the network to the kept
    points: an adaptive attack needs no approximation.

    A module, so that it is frozen and moved with the model behind it. What it costs:
    `mrpd_tutorial.distill.inference_cost(Defended(model, DUPNet()), points)` beside
    that of the model alone.

    Args:
        upsampler: `points (B, N, 3) -> points (B, M, 3)`, in evaluation mode; None
            takes the small PU-Net that was trained here on procedural shapes (its card
            says so; it is not the published one).
        sor: the removal in front; None leaves it out.
        resample: hand on as many points as came in, by farthest point sampling, so that
            encoders that group neighbours see the density they were trained on: the
            tiny lab's student names 4,096 points hardly better than by chance. False
            hands on all 4 N, as published.

    Raises:
        ValueError: if no upsampler is given and there is no trained one here.

    Example:
        >>> import torch
        >>> repeat = lambda points: points.repeat(1, 2, 1)
        >>> twice = DUPNet(upsampler=repeat, resample=False)
        >>> twice(torch.randn(1, 32, 3)).shape
        torch.Size([1, 64, 3])
    """

    def __init__(
        self,
        *,
        upsampler: Callable[[Tensor], Tensor] | None = None,
        sor: SOR | None = SOR(),  # noqa: B008 (frozen)
        resample: bool = True,
    ) -> None:
        super().__init__()
        if upsampler is None:
            # Imported when needed: the other defenses do without models.
            from mrpd_tutorial.zoo_victims import load_pu_net

            upsampler = load_pu_net()
        self.upsampler = upsampler
        self.sor = sor
        self.resample = resample

    @classmethod
    def released(cls, path: str | os.PathLike) -> "DUPNet":
        """With IF-Defense's published weights, SOR and number of points.

        Args:
            path: `dupnet_pu-in_1024-up_4.pth`; see `load_dup_net`.

        Raises:
            ValueError: if the file is missing, unreadable or of another architecture.
        """
        from mrpd_tutorial.models.third_party import load_dup_net

        return cls(upsampler=load_dup_net(path), sor=SOR(squared=True), resample=False)

    def forward(self, points: Tensor) -> Float[Tensor, "B M 3"]:
        """Remove outliers and upsample.

        Args:
            points: (B, N, 3) in the unit sphere; 1024 is what networks are trained on.

        Returns:
            (B, N, 3), or with resample=False as many as the upsampler makes: 4 N.

        Raises:
            ValueError: on clouds of another shape, with NaN, or of too few points.
        """
        check_points(points)
        dense = self.upsampler(points if self.sor is None else self.sor(points))
        if not self.resample or dense.shape[1] <= points.shape[1]:
            return dense
        chosen = farthest_point_sampling(dense.detach(), points.shape[1])  # (B, N)
        return gather_points(dense, chosen)
