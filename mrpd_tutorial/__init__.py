"""Multimodal Robust Prompt Distillation for 3D point clouds, to learn and to test.

Implements Gu et al., arXiv 2511.21574. The rooms of this house, from the ground up:
geometry, checks, runtime; projection, losses, metrics, data; models, zoo; attacks,
defenses; distill, evaluate; plotting, report, cli.
"""

import os

from mrpd_tutorial._torchvision import ensure_torchvision

__version__ = "0.1.0"

# How long OpenMP's threads spin before they sleep, read when torch is imported. As long
# as they like, they take the cores from whatever else runs (everything two to ten times
# slower beside one busy process); not at all, and small operations wait for them to
# wake up (twice slower on two free cores).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# timm and open_clip import torchvision, which breaks beside a CPU-only torch: after
# `import mrpd_tutorial`, both can be imported.
ensure_torchvision()
