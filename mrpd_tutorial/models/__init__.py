"""Encoders: the only place where timm and open_clip are imported."""

from mrpd_tutorial._torchvision import ensure_torchvision

ensure_torchvision()

from mrpd_tutorial.models.checkpoints import load_uni3d  # noqa: E402
from mrpd_tutorial.models.point_encoder import (  # noqa: E402
    PointEncoder,
    PointEncoderConfig,
)

__all__ = ["PointEncoder", "PointEncoderConfig", "load_uni3d"]
