"""The image teacher: clouds, drawn as depth maps, through a CLIP image tower."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mrpd_tutorial.checks import check_points, check_positive, check_same_device
from mrpd_tutorial.projection import TEN_VIEWS, depth_maps, soft_depth_maps

__all__ = ["ImageTeacher"]

Render = Callable[..., Tensor]


class ImageTeacher(nn.Module):
    """Depth maps of a cloud from several views, embedded and averaged.

    Implements Eq. 1 of MRPD [arXiv 2511.21574]: z_I = norm(f_I(Π(P))), f_I frozen.
    The released code differs: one view (pass RELEASED_VIEW).

    Args:
        clip_model: an open_clip model; it is frozen and set to evaluation mode.
        views: TEN_VIEWS, RELEASED_VIEW or others, see `mrpd_tutorial.projection`.
        resolution: side of the depth maps in pixels.
        image_size: side of the tower's input; None asks the tower. Maps of another
            size are resized (bilinear, antialiased).
        mean: of each of three channels, subtracted from the maps; None: 0, as in the
            released code.
        std: of each of three channels, divides the maps; None: 1, as released.
        render: makes the maps: `render(points, views, resolution)`; give
            `soft_depth_maps` where gradients must reach the points.
        images_per_pass: how many maps go through the tower at once (memory).
    """

    def __init__(
        self,
        clip_model: nn.Module,
        views: Any = TEN_VIEWS,
        resolution: int = 224,
        image_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        render: Render = depth_maps,
        images_per_pass: int = 64,
    ) -> None:
        super().__init__()
        check_positive("resolution", resolution)
        check_positive("images_per_pass", images_per_pass)
        self.clip_model = clip_model.eval().requires_grad_(False)
        self.views = views
        self.resolution = resolution
        self.image_size = image_size or _image_size(clip_model, resolution)
        self.render = render
        self.images_per_pass = images_per_pass
        self.register_buffer("mean", _channels("mean", mean, 0.0), persistent=False)
        self.register_buffer("std", _channels("std", std, 1.0), persistent=False)
        if not bool((self.std > 0).all()):
            raise ValueError(f"std must be above 0; received {std}.")
        self.eval()

    def train(self, mode: bool = True) -> "ImageTeacher":
        """Stay in evaluation mode: a teacher is frozen."""
        return super().train(False)

    def forward(self, points: Tensor) -> Float[Tensor, "B D"]:
        """Embed clouds.

        Args:
            points: (B, N, 3), in the unit sphere, y up, +z toward the viewer.

        Returns:
            (B, D), unit norm: the mean over the views' unit features, normalised.

        Raises:
            ValueError: on clouds of another shape or type, with NaN or on another
                device.
        """
        return F.normalize(self.view_features(points).mean(dim=1), dim=-1)

    def view_features(self, points: Tensor) -> Float[Tensor, "B V D"]:
        """Embed every view of every cloud on its own.

        Args:
            points: (B, N, 3).

        Returns:
            (B, V, D), unit norm.
        """
        check_points(points)
        check_same_device(points=points, image_teacher=self.mean)
        return self.encode_maps(self.render(points, self.views, self.resolution))

    def encode_maps(
        self, depth_maps: Float[Tensor, "B V H W"]
    ) -> Float[Tensor, "B V D"]:
        """Embed depth maps that are already there; differentiable in them.

        Args:
            depth_maps: (B, V, H, W) in [0, 1].

        Returns:
            (B, V, D), unit norm.
        """
        maps = depth_maps.to(self.mean.dtype).flatten(0, 1)[:, None]  # (B*V, 1, H, W)
        features = [
            self._encode_images(images) for images in maps.split(self.images_per_pass)
        ]
        features = torch.cat(features).unflatten(0, depth_maps.shape[:2])  # (B, V, D)
        return F.normalize(features, dim=-1)

    def softened(self, views: Any = None) -> "ImageTeacher":
        """The same tower behind `soft_depth_maps`: gradients reach the points.

        For attacks through the projection; measure them on the teacher itself, whose
        maps are exact.

        Args:
            views: others than the teacher's, such as a few of them, to save time.

        Returns:
            A teacher that shares this one's weights.
        """
        return ImageTeacher(
            self.clip_model,
            self.views if views is None else views,
            self.resolution,
            self.image_size,
            self.mean.flatten().tolist(),
            self.std.flatten().tolist(),
            render=soft_depth_maps,
            images_per_pass=self.images_per_pass,
        ).to(self.mean.device)

    def _encode_images(self, images: Tensor) -> Tensor:
        """(b, 1, H, W) -> (b, D)."""
        return self.clip_model.encode_image(self.images(images)).to(images.dtype)

    def images(self, depth_maps: Float[Tensor, "I 1 H W"]) -> Float[Tensor, "I 3 S S"]:
        """What the tower gets: maps in its size, grey in three channels, normalised.

        Args:
            depth_maps: (I, 1, H, W) in [0, 1].

        Returns:
            (I, 3, S, S) in the tower's number format.
        """
        size, images = (self.image_size, self.image_size), depth_maps
        if tuple(images.shape[-2:]) != size:
            images = F.interpolate(
                images, size, mode="bilinear", align_corners=False, antialias=True
            )
        weight = next(self.clip_model.visual.parameters())
        return ((images - self.mean) / self.std).to(weight.dtype)


def _channels(name: str, values: Sequence[float] | None, default: float) -> Tensor:
    """Three numbers as (1, 3, 1, 1)."""
    values = [default] * 3 if values is None else list(values)
    if len(values) != 3:
        raise ValueError(
            f"{name} must hold one number for each of 3 channels; received {values}."
        )
    return torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)


def _image_size(clip_model: nn.Module, default: int) -> int:
    """The side that the image tower wants."""
    size = getattr(clip_model.visual, "image_size", default)
    if isinstance(size, Sequence):
        if len(set(size)) != 1:
            raise ValueError(
                f"the image tower wants images of {tuple(size)} pixels; depth maps are "
                "square. Choose a model with square input."
            )
        return int(size[0])
    return int(size)
