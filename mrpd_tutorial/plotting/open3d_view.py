"""A picture of a cloud from Open3D's off-screen renderer, or a sentence why not.

The renderer wants a graphics driver and may abort the process where there is none, so
it runs in a process of its own with a time limit.
"""

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mrpd_tutorial.plotting import common

__all__ = ["open3d_image"]

_SCRIPT = """
import sys
import numpy as np
import open3d as o3d
cloud = np.load(sys.argv[1])
width, height = int(sys.argv[3]), int(sys.argv[4])
renderer = o3d.visualization.rendering.OffscreenRenderer(width, height)
geometry = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(cloud["points"]))
geometry.colors = o3d.utility.Vector3dVector(cloud["colours"])
material = o3d.visualization.rendering.MaterialRecord()
material.shader = "defaultUnlit"
material.point_size = float(max(3, height // 110))
renderer.scene.view.set_post_processing(False)  # tone mapping pales the colours
renderer.scene.set_background([1.0, 1.0, 1.0, 1.0])
renderer.scene.add_geometry("cloud", geometry, material)
renderer.setup_camera(40.0, [0, 0, 0], [1.2, 1.0, 2.8], [0, 1, 0])
np.save(sys.argv[2], np.asarray(renderer.render_to_image()))
"""


def open3d_image(
    points: Any, width: int = 480, height: int = 480, timeout: float = 60.0
) -> np.ndarray | str:
    """Render one cloud with Open3D, seen from the front, right and above.

    Args:
        points: (N, 3), y up, in units of the cloud's radius; coloured by height.
        width: of the picture in pixels.
        height: of the picture in pixels.
        timeout: seconds after which the renderer is given up.

    Returns:
        (H, W, 3) uint8, or a sentence that says why there is no picture.
    """
    cloud = common.as_cloud(points, "points")
    if importlib.util.find_spec("open3d") is None:
        return "Open3D is not installed: pip install open3d (or open3d-cpu on Linux)."
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "cloud.npz", Path(folder) / "image.npy"
        np.savez(source, points=cloud, colours=height_colours(cloud))
        command = [sys.executable, "-c", _SCRIPT, source, target, width, height]
        try:
            run = subprocess.run(
                [str(part) for part in command],
                timeout=timeout, capture_output=True, text=True, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"Open3D's renderer gave no picture within {timeout:.0f} seconds."
        if run.returncode or not target.is_file():
            last = (run.stderr or run.stdout).strip().splitlines()[-1:] or [
                "no message"
            ]
            return (
                "Open3D's off-screen renderer did not work here (status "
                f"{run.returncode}: {last[0][:160]}). It needs a graphics driver: on "
                "Debian, apt-get install libusb-1.0-0 libvulkan1 mesa-vulkan-drivers."
            )
        return np.load(target)[..., :3]


def height_colours(cloud: np.ndarray) -> np.ndarray:
    """(N, 3) colours in 0..1 of a cloud's points, by height."""
    from matplotlib import colormaps

    values = cloud[:, 1]
    span = max(float(np.ptp(values)), 1e-6)
    return colormaps["viridis"]((values - values.min()) / span)[:, :3]
