"""Encoders: the only place where timm and open_clip are imported."""

from mrpd_tutorial._torchvision import ensure_torchvision

ensure_torchvision()

from mrpd_tutorial.models.checkpoints import load_uni3d  # noqa: E402
from mrpd_tutorial.models.classifier import (  # noqa: E402
    ImageClassifier,
    ZeroShotClassifier,
)
from mrpd_tutorial.models.clip import (  # noqa: E402
    PAPER_MODELS,
    PaperModel,
    build_clip,
    load_clip,
)
from mrpd_tutorial.models.image_teacher import ImageTeacher  # noqa: E402
from mrpd_tutorial.models.point_encoder import (  # noqa: E402
    PointEncoder,
    PointEncoderConfig,
)
from mrpd_tutorial.models.text_teacher import TextTeacher  # noqa: E402

__all__ = [
    "PAPER_MODELS",
    "ImageClassifier",
    "ImageTeacher",
    "PaperModel",
    "PointEncoder",
    "PointEncoderConfig",
    "TextTeacher",
    "ZeroShotClassifier",
    "build_clip",
    "load_clip",
    "load_uni3d",
]
