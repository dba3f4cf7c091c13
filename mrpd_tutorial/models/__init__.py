"""Encoders and classifiers; the only place that imports timm and open_clip."""

from mrpd_tutorial._torchvision import ensure_torchvision

ensure_torchvision()

from mrpd_tutorial.models.auto_encoder import (  # noqa: E402
    AutoEncoder,
    load_auto_encoder,
)
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
from mrpd_tutorial.models.dgcnn import DGCNN  # noqa: E402
from mrpd_tutorial.models.image_teacher import ImageTeacher  # noqa: E402
from mrpd_tutorial.models.point_encoder import (  # noqa: E402
    PointEncoder,
    PointEncoderConfig,
)
from mrpd_tutorial.models.pointnet import PointNet  # noqa: E402
from mrpd_tutorial.models.pu_net import PUNet  # noqa: E402
from mrpd_tutorial.models.text_teacher import TextTeacher  # noqa: E402
from mrpd_tutorial.models.third_party import (  # noqa: E402
    load_dup_net,
    load_learning3d_pointnet,
)

__all__ = [
    "DGCNN",
    "PAPER_MODELS",
    "AutoEncoder",
    "ImageClassifier",
    "ImageTeacher",
    "PUNet",
    "PaperModel",
    "PointEncoder",
    "PointEncoderConfig",
    "PointNet",
    "TextTeacher",
    "ZeroShotClassifier",
    "build_clip",
    "load_auto_encoder",
    "load_clip",
    "load_dup_net",
    "load_learning3d_pointnet",
    "load_uni3d",
]
