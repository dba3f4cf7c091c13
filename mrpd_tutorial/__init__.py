"""Multimodal Robust Prompt Distillation for 3D point clouds, to learn and to test.

Implements Gu et al., arXiv 2511.21574. The rooms of this house, from the ground up:
geometry, checks, runtime; projection, losses, metrics, data; models, zoo; attacks,
defenses; distill, evaluate; plotting, report, cli.
"""

from mrpd_tutorial._torchvision import ensure_torchvision

__version__ = "0.1.0"

# timm and open_clip import torchvision, which breaks beside a CPU-only torch: after
# `import mrpd_tutorial`, both can be imported.
ensure_torchvision()
