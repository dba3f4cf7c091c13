"""Depth maps: what a point cloud looks like from several sides, in black to white.

Implements the projection Π of MRPD (Eq. 1), the realistic projection of PointCLIP V2
[Zhu et al., 2211.11682]: turn, fill the bounding box, splat each point into one of
seven depth slices, thicken (maximum), smooth (Gaussian), keep the nearest slice.

Frame of a map (B, V, H, W): the background is 1 (white) and NEAR IS DARK; 0 is the
darkest pixel of its map. Row 0 is the top. What is up, and from where each view looks,
stands in `views`; `exact` draws, `soft` draws so that gradients flow.
"""

from mrpd_tutorial.projection.exact import RELEASED_RESOLUTION, depth_maps
from mrpd_tutorial.projection.soft import soft_depth_maps
from mrpd_tutorial.projection.views import RELEASED_VIEW, TEN_VIEWS, View

__all__ = [
    "RELEASED_RESOLUTION",
    "RELEASED_VIEW",
    "TEN_VIEWS",
    "View",
    "depth_maps",
    "soft_depth_maps",
]
