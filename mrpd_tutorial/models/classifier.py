"""Zero-shot classifiers: an encoder and class text features as `points -> logits`."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mrpd_tutorial.checks import check_features, check_positive
from mrpd_tutorial.models.image_teacher import ImageTeacher
from mrpd_tutorial.models.point_encoder import PointEncoder

__all__ = ["LOGIT_SCALE", "ImageClassifier", "ZeroShotClassifier"]

LOGIT_SCALE = 1 / 0.07
"""What cosines are multiplied by, everywhere: one over the paper's first temperature.

CLIP's 100 would saturate the softmax of class features that lie far apart, and so hide
the gradient from attacks.
"""


class ZeroShotClassifier(nn.Module):
    """A point encoder that names clouds by the closest class text feature.

    Implements the inference of MRPD [arXiv 2511.21574]: argmax_c z_s(P) · z_T[c], with
    both sides normalised (the released test script forgets it for prompted texts).

    Args:
        encoder: the point encoder, used as it is: freeze it, or train it.
        class_text_features: (C, D), normalised here.
        prompt: point prompts for the encoder; a Parameter stays learnable.
        colour: grey value of the points.
        logit_scale: what cosines are multiplied by.
    """

    def __init__(
        self,
        encoder: PointEncoder,
        class_text_features: Tensor,
        prompt: Tensor | None = None,
        colour: float = 0.4,
        logit_scale: float = LOGIT_SCALE,
    ) -> None:
        super().__init__()
        check_features(
            class_text_features, "class_text_features", dim=encoder.config.embed_dim
        )
        check_positive("logit_scale", logit_scale)
        self.encoder = encoder
        self.colour = colour
        self.logit_scale = logit_scale
        unit = F.normalize(class_text_features.detach(), dim=-1)
        self.register_buffer("class_text_features", unit)
        if isinstance(prompt, nn.Parameter):
            self.prompt = prompt
        else:
            self.register_buffer("prompt", prompt)

    def forward(self, points: Tensor) -> Float[Tensor, "B C"]:
        """Score each class for each cloud.

        Args:
            points: (B, N, 3), in the unit sphere, y up.

        Returns:
            Logits (B, C): cosine times logit_scale. Differentiable in the points.

        Raises:
            ValueError: what the encoder's `tokens` raises.
        """
        features = self.encoder(points, self.prompt, self.colour)
        return _cosines(features, self.class_text_features) * self.logit_scale


class ImageClassifier(nn.Module):
    """The image teacher as a classifier of clouds.

    Differentiable in the points only where the teacher's `render` is
    (`soft_depth_maps`).

    Args:
        image_teacher: the teacher.
        class_text_features: (C, D), normalised here.
        logit_scale: what cosines are multiplied by.
    """

    def __init__(
        self,
        image_teacher: ImageTeacher,
        class_text_features: Tensor,
        logit_scale: float = LOGIT_SCALE,
    ) -> None:
        super().__init__()
        check_features(class_text_features, "class_text_features")
        check_positive("logit_scale", logit_scale)
        self.image_teacher = image_teacher
        self.logit_scale = logit_scale
        unit = F.normalize(class_text_features.detach(), dim=-1)
        self.register_buffer("class_text_features", unit)

    def forward(self, points: Tensor) -> Float[Tensor, "B C"]:
        """Score each class for each cloud.

        Args:
            points: (B, N, 3), in the unit sphere, y up, +z toward the viewer.

        Returns:
            Logits (B, C): cosine times logit_scale.
        """
        return (
            _cosines(self.image_teacher(points), self.class_text_features)
            * self.logit_scale
        )


def _cosines(features: Tensor, class_text_features: Tensor) -> Tensor:
    """(B, D), (C, D) of unit norm -> (B, C)."""
    features = F.normalize(features, dim=-1)
    return features @ class_text_features.to(features.dtype).T
