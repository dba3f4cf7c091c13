"""A cloud in a window of Open3D's where there is a display, a picture where not."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from mrpd_tutorial.plotting import common
from mrpd_tutorial.plotting.open3d_view import height_colours, open3d_image

__all__ = ["open3d_window"]

# In a process of its own: a window that fails may abort, and one that works blocks.
_SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import open3d as o3d
cloud = np.load(sys.argv[1])
geometry = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(cloud["points"]))
geometry.colors = o3d.utility.Vector3dVector(cloud["colours"])
window = o3d.visualization.Visualizer()
if not window.create_window(sys.argv[3], int(sys.argv[4]), int(sys.argv[5])):
    raise OSError("no window could be made")
window.add_geometry(geometry)
window.get_render_option().point_size = 3.0
Path(sys.argv[2]).touch()
window.run()
"""
# Windows that are open; a Popen that is forgotten warns when it is collected.
_WINDOWS: list[subprocess.Popen] = []


def has_display() -> bool:
    """Whether windows can be shown: on Linux, if a display is named."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open3d_window(
    points: Any,
    title: str = "cloud",
    width: int = 720,
    height: int = 720,
    timeout: float = 60.0,
) -> np.ndarray | str:
    """Open a window to turn one cloud in; without a display, render a picture instead.

    The window belongs to a process of its own and does not keep the notebook waiting.

    Args:
        points: (N, 3), y up, in units of the cloud's radius; coloured by height.
        title: of the window.
        width: of the window or picture in pixels.
        height: of the window or picture in pixels.
        timeout: seconds after which Open3D is given up.

    Returns:
        A sentence if a window is open; else a picture, (H, W, 3) uint8, from the
        off-screen renderer; else a sentence that says why neither works.

    Raises:
        ValueError: if points is no cloud (N, 3).
    """
    cloud = common.as_cloud(points, "points")
    if importlib.util.find_spec("open3d") is None or not has_display():
        return open3d_image(cloud, width, height, timeout)
    fault = _open(cloud, title, width, height, timeout)
    if fault is None:
        return "The cloud is in a window of its own: drag to turn it, Q closes it."
    answer = open3d_image(cloud, width, height, timeout)
    if isinstance(answer, str):
        return f"Open3D's window did not open ({fault}). {answer}"
    return answer


def _open(
    cloud: np.ndarray, title: str, width: int, height: int, timeout: float
) -> str | None:
    """Open a window; None if it is there, else what was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        source, opened = Path(folder) / "cloud.npz", Path(folder) / "opened"
        errors = Path(folder) / "errors.txt"
        np.savez(source, points=cloud, colours=height_colours(cloud))
        arguments = [source, opened, title, width, height]
        with errors.open("wb") as stream:
            window = subprocess.Popen(
                [sys.executable, "-c", _SCRIPT, *map(str, arguments)],
                stdout=subprocess.DEVNULL,
                stderr=stream,
            )
        end = time.monotonic() + timeout
        while not opened.exists() and window.poll() is None:
            if time.monotonic() > end:
                window.kill()
                window.wait()
                return f"none within {timeout:.0f} seconds"
            time.sleep(0.05)
        if opened.exists() and window.poll() is None:
            _WINDOWS[:] = [w for w in _WINDOWS if w.poll() is None]
            _WINDOWS.append(window)
            return None
        told = errors.read_text(errors="replace").strip().splitlines()
        last = told[-1][:160] if told else "no message"
        return f"status {window.returncode}: {last}"
