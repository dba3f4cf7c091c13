"""The hardened student: frozen encoder, learned prompts, stored class texts."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mrpd_tutorial.checks import (
    check_between,
    check_features,
)
from mrpd_tutorial.distill.cache import module_digest
from mrpd_tutorial.models.classifier import LOGIT_SCALE
from mrpd_tutorial.models.point_encoder import PointEncoder
from mrpd_tutorial.runtime import load_tensors, save_tensors
from mrpd_tutorial.zoo import load_lab

__all__ = ["HardenedStudent"]

_FORMAT = "mrpd hardened student 1"


class HardenedStudent(nn.Module):
    """`points -> logits` through a frozen student with distilled prompts.

    Implements MRPD's inference [arXiv 2511.21574]: argmax_c z_s(P; theta_p) · z_T[c].
    The text features are stored, so that no text tower is needed.

    Args:
        student: the frozen encoder.
        class_text_features: (C, D), made with the learned context.
        class_names: C names, in the order of the labels.
        prompt: (1, L, W) or (S, L, W); None is the undefended student.
        context: (M, width of the text tower), kept for reference; None if not learned.
        colour: grey value of the points in [0, 1].
        normalise_text: whether class_text_features are given unit norm. The released
            test script differs: it does not.
        info: JSON values that travel with the file.
    """

    def __init__(
        self,
        student: PointEncoder,
        class_text_features: Tensor,
        class_names: Sequence[str],
        prompt: Tensor | None = None,
        context: Tensor | None = None,
        colour: float = 0.4,
        normalise_text: bool = True,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_features(
            class_text_features,
            "class_text_features",
            rows=len(class_names),
            dim=student.config.embed_dim,
        )
        check_between("colour", colour, 0, 1)
        if prompt is not None and not bool(torch.isfinite(prompt).all()):
            raise ValueError("prompt must be finite; received NaN or infinite numbers.")
        self.student = student
        self.class_names = tuple(class_names)
        self.colour = float(colour)
        self.normalise_text = normalise_text
        self.info = dict(info or {})
        text = class_text_features.detach().clone()
        if normalise_text:
            # Unit rows stay as they are: dividing once more would move their last bit,
            # and a saved student must come back the same.
            unit = (text.norm(dim=-1, keepdim=True) - 1).abs() < 1e-6
            text = torch.where(unit, text, F.normalize(text, dim=-1))
        self.register_buffer("class_text_features", text)
        for name, value in (("prompt", prompt), ("context", context)):
            kept = None if value is None else value.detach().clone()
            self.register_buffer(name, kept)
        self.eval()

    def forward(self, points: Tensor) -> Float[Tensor, "B C"]:
        """Score each class for each cloud.

        Args:
            points: (B, N, 3), in the unit sphere, y up.

        Returns:
            Logits (B, C): cosine times LOGIT_SCALE. Differentiable in the points,
            through the prompts: an adaptive attack needs nothing else.

        Raises:
            ValueError: what the student's `tokens` raises.
        """
        features = F.normalize(self.student(points, self.prompt, self.colour), dim=-1)
        return LOGIT_SCALE * features @ self.class_text_features.T  # (B, C)

    def undefended(self, class_text_features: Tensor) -> "HardenedStudent":
        """The same student without prompts, for comparison.

        Args:
            class_text_features: (C, D), made without context.
        """
        return HardenedStudent(
            self.student, class_text_features, self.class_names, colour=self.colour
        )

    def save(self, path: str | os.PathLike, overwrite: bool = False) -> None:
        """Write prompts, context and class texts as one small safetensors file.

        The student itself is not in it, only its digest.

        Raises:
            FileExistsError: if path exists and overwrite is False.
        """
        tensors = {"class_text_features": self.class_text_features}
        for name in ("prompt", "context"):
            if getattr(self, name) is not None:
                tensors[name] = getattr(self, name)
        description = {
            "format": _FORMAT,
            "class_names": list(self.class_names),
            "colour": self.colour,
            "normalise_text": self.normalise_text,
            "student_digest": module_digest(self.student),
            "info": self.info,
        }
        save_tensors(path, tensors, description, overwrite)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        student: PointEncoder | None = None,
        device: str | torch.device | None = None,
    ) -> "HardenedStudent":
        """Read what `save` wrote.

        Args:
            path: the file.
            student: the encoder the prompts were distilled for; None loads the tiny
                lab's, if the prompts are for it.
            device: where it all goes, the student included; None leaves the student
                where it is.

        Raises:
            ValueError: if the file is missing, damaged or something else, or if the
                student is not the one the prompts were distilled for.
        """
        tensors, description = load_tensors(path)
        if description.get("format") != _FORMAT or "class_text_features" not in tensors:
            raise ValueError(
                f"{path} must be written by HardenedStudent.save; it is a safetensors "
                f"file with the tensors {sorted(tensors)} and another description."
            )
        lab_name = description["info"].get("lab")
        if student is None:
            if lab_name != "tiny":
                raise ValueError(
                    f"{path} was distilled in the lab {lab_name!r}, which does not "
                    "travel with the package. Pass student=, the encoder of that lab."
                )
            student = load_lab("tiny").student
        if device is not None:
            student = student.to(device)
        if module_digest(student) != description["student_digest"]:
            raise ValueError(
                f"{path} holds prompts for another student (lab {lab_name!r}, digest "
                f"{description['student_digest'][:12]}); this one has the digest "
                f"{module_digest(student)[:12]}. Prompts work only with the encoder "
                "they were distilled for: same weights, same number of patches."
            )
        return cls(
            student,
            tensors["class_text_features"],
            description["class_names"],
            prompt=tensors.get("prompt"),
            context=tensors.get("context"),
            colour=description["colour"],
            normalise_text=description["normalise_text"],
            info=description["info"],
        ).to(next(student.parameters()).device)
