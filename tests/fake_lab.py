"""A lab of the real classes with random weights, small enough to distil in a second."""

from functools import cache

import torch

from mrpd_tutorial.attacks import PGD
from mrpd_tutorial.data import PointDataset
from mrpd_tutorial.distill import DistillConfig
from mrpd_tutorial.geometry import normalise
from mrpd_tutorial.models import PointEncoder, PointEncoderConfig
from mrpd_tutorial.models.clip import ImageTeacher, TextTeacher, build_clip
from mrpd_tutorial.projection import TEN_VIEWS
from mrpd_tutorial.runtime import generator
from mrpd_tutorial.zoo import Lab

DIM = 16
CLASSES = ("rod", "plate", "ball", "cone")
CLIP = {
    "embed_dim": DIM,
    "vision_cfg": {
        "image_size": 32,
        "patch_size": 16,
        "width": 32,
        "head_width": 16,
        "layers": 1,
    },
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}


def encoder(width: int = 32, depth: int = 2, num_groups: int = 8) -> PointEncoder:
    config = PointEncoderConfig(
        width=width,
        depth=depth,
        num_heads=2,
        num_groups=num_groups,
        group_size=4,
        patch_widths=(8, 8, 8),
        token_encoder_dim=8,
        position_width=8,
        embed_dim=DIM,
    )
    return PointEncoder(config).eval().requires_grad_(False)


@cache
def fake_lab() -> Lab:
    """Random weights, always the same ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip, tokenizer = build_clip(CLIP)
        clip = clip.eval().requires_grad_(False)
        student, point_teacher = encoder(), encoder(width=48, num_groups=12)
    return Lab(
        name="fake",
        student=student,
        point_teacher=point_teacher,
        image_teacher=ImageTeacher(clip, TEN_VIEWS[:2], resolution=32),
        text_teacher=TextTeacher(clip, tokenizer),
        card={},
    )


def clouds(split: str, count: int, seed: int = 0) -> PointDataset:
    """Stretched Gaussian clouds of four classes; the stretch names the class."""
    labels = torch.arange(count) % len(CLASSES)
    stretch = torch.tensor([[1, 0.1, 0.1], [1, 0.1, 1], [1, 1, 1], [0.4, 1, 0.4]])
    noise = torch.randn(count, 24, 3, generator=generator(seed))
    return PointDataset(
        name="clouds",
        split=split,
        points=normalise(noise * stretch[labels][:, None]),
        labels=labels,
        class_names=CLASSES,
    )


def quick(**changes) -> DistillConfig:
    """Three epochs in batches of eight."""
    settings = {
        "prompt_tokens": 3,
        "context_tokens": 2,
        "epochs": 3,
        "batch_size": 8,
        "k": 2,
        "attack": PGD.quick(steps=2),
    }
    return DistillConfig(**{**settings, **changes})
