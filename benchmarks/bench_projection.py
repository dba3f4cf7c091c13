"""How much faster depth maps are than the released formula, for the same result.

    python benchmarks/bench_projection.py [--clouds 8] [--rounds 5] [--out FILE]

The released formula, written out here on its dense 8 x 224 x 224 grid (MaxPool3d, then
Conv3d), is timed against `depth_maps` on the same clouds, one thread and two; their
largest difference is checked before anything is timed. The soft maps' time and distance
to the exact ones come with it. Times are wall clock and the processor's own, which for
one thread stays meaningful while other work runs on the machine.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from mrpd_tutorial.geometry import normalise
from mrpd_tutorial.projection import RELEASED_VIEW, View, depth_maps, soft_depth_maps
from mrpd_tutorial.projection.views import look
from mrpd_tutorial.runtime import environment_summary, generator, write_json

SIZE, SLICES = 224, 8


class DenseProjection(nn.Module):
    """The released projection on its dense grid; the oracle and the opponent."""

    def __init__(self) -> None:
        super().__init__()
        self.thicken = nn.MaxPool3d((1, 7, 7), stride=1, padding=(0, 3, 3))
        self.smooth = nn.Conv3d(1, 1, (1, 3, 3), padding=(0, 1, 1), bias=False)
        bell = torch.exp(-(torch.tensor([-1.0, 0, 1]) ** 2) / (2 * 3**2))
        kernel = bell[:, None] * bell
        with torch.no_grad():
            self.smooth.weight.copy_((kernel / kernel.sum()).expand(1, 1, 1, 3, 3))

    @torch.no_grad()
    def forward(self, points: Tensor, view: View) -> Tensor:
        seen = look(points, [view])[:, 0].transpose(1, 2)  # (B, N, 3)
        high, low = seen.amax(1, keepdim=True), seen.amin(1, keepdim=True)
        side = (high - low).amax(2, keepdim=True)
        x, y, z = ((seen - (high + low) / 2) / side * 2).unbind(-1)  # (B, N) each
        row = ((x * 0.8 + 1) / 2 * SIZE).ceil().clamp(1, SIZE - 2)
        column = ((y * 0.8 + 1) / 2 * SIZE).ceil().clamp(1, SIZE - 2)
        depth = ((z + 1) / 2 + 0.2) / 1.2 * (SLICES - 2)
        cell = (depth.ceil().long() * SIZE + row.long()) * SIZE + column.long()
        grid = points.new_zeros(len(points), SLICES * SIZE * SIZE)
        grid.scatter_reduce_(1, cell, depth.clamp(1, SLICES - 2), "amax")
        grid = grid.view(-1, 1, SLICES, SIZE, SIZE)
        image = self.smooth(self.thicken(grid)).amax((1, 2))  # (B, 224, 224)
        return 1 - image / image.amax((1, 2), keepdim=True)


def make_clouds(count: int) -> Tensor:
    """Ellipsoid shells of 1024 points: as hollow as sampled objects are."""
    draw = generator(0)
    directions = nn.functional.normalize(
        torch.randn(count, 1024, 3, generator=draw), -1
    )
    return normalise(directions * (0.3 + torch.rand(count, 1, 3, generator=draw)))


def fastest(
    sides: dict[str, Callable[[], Tensor]], rounds: int
) -> dict[str, tuple[float, float]]:
    """(Wall, CPU) seconds of each side's fastest round; the sides take turns."""
    best = dict.fromkeys(sides, (float("inf"), float("inf")))
    for side in sides.values():
        side()
    for _ in range(rounds):
        for name, side in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            side()
            spent = time.perf_counter() - wall, time.process_time() - cpu
            best[name] = min(best[name][0], spent[0]), min(best[name][1], spent[1])
    return best


def measure(clouds: int, rounds: int) -> dict:
    points, dense = make_clouds(clouds), DenseProjection()
    difference = dense(points, RELEASED_VIEW) - depth_maps(points, RELEASED_VIEW)[:, 0]
    largest = float(difference.abs().max())
    assert largest <= 1e-5, f"not the same images: {largest}"
    sides = {
        "released_dense": lambda: dense(points, RELEASED_VIEW),
        "depth_maps": lambda: depth_maps(points, RELEASED_VIEW),
        "soft_depth_maps": lambda: soft_depth_maps(points, RELEASED_VIEW),
    }
    card = {"largest_difference": largest, "clouds": clouds, "threads": {}}
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        seconds = fastest(sides, rounds)
        row = card["threads"][str(threads)] = {}
        for column, kind in enumerate(("wall", "cpu")):
            each = {k: 1000 * pair[column] / clouds for k, pair in seconds.items()}
            ratio = each["released_dense"] / each["depth_maps"]
            row[kind] = {"milliseconds_per_map": each, "times_faster": ratio}
            print(
                f"{threads} thread(s), {kind} ms per map: "
                + ", ".join(f"{name} {value:.2f}" for name, value in each.items())
                + f"; depth_maps is {ratio:.0f} times faster than released_dense",
                flush=True,
            )
    torch.set_num_threads(before)
    few = points[:4]
    card["soft_mean_abs_difference"] = {
        str(size): float(
            (soft_depth_maps(few, resolution=size) - depth_maps(few, resolution=size))
            .abs()
            .mean()
        )
        for size in (112, SIZE)
    }
    print("soft maps, mean absolute difference:", card["soft_mean_abs_difference"])
    return card | {"environment": environment_summary()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clouds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("build/bench_projection.json"))
    args = parser.parse_args()
    write_json(args.out, measure(args.clouds, args.rounds), overwrite=True)
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
