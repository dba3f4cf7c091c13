"""How the cost of every attack grows with points and with clouds.

    OMP_NUM_THREADS=1 python benchmarks/bench_scaling.py [--points 1024 4096 16384]

One cloud of each size, then 1, 2 and 4 clouds of 1024 points, against a small PointNet
with random weights: costs do not depend on what it has learned. Each attack takes two
steps (or some ten queries) with its published neighbourhoods, so that what it does once
for a cloud weighs most. Beside CPU seconds and peak memory above what was held before
stands the exponent p of the best fit of N^p: 1 is linear. A search for neighbours
compares all pairs and so has an exponent of up to 2 in time; its memory may not.
"""

import argparse
import time
from pathlib import Path

import torch
from bench_suite import suite
from torch import Tensor

from mrpd_tutorial import attacks
from mrpd_tutorial.models import PointNet
from mrpd_tutorial.runtime import environment_summary, generator, write_json


def all_attacks(count: int, surrogate: PointNet) -> dict[str, attacks.Attack]:
    """Those of bench_suite with two steps each, and the others with few queries."""
    few = {"steps": 2, "restarts": 1}
    cheap = suite(count, cap=2) | {
        "AOF": attacks.AOF.paper(**few),
        "APGD": attacks.APGD(eps=0.05, **few),
        "FAB": attacks.FAB(norm="l2", classes_tried=1, **few),
        "PGD-Add": attacks.PGDAdd.quick(steps=2),
        "Square": attacks.SquareAttack(eps=0.05, max_queries=10),
        "SimBA": attacks.SimBA(eps=0.05, max_queries=10),
        "NES": attacks.NES(eps=0.05, pairs=4, max_queries=11),
        "HopSkipJump": attacks.HopSkipJump(max_queries=20, initial_probes=4),
        "SI-Adv query": attacks.SIAdvQuery(surrogate=surrogate, max_queries=10),
    }
    return cheap


def memory_kib(name: str) -> int:
    """VmRSS or VmHWM of this process (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise ValueError(f"no {name} in /proc/self/status: this benchmark needs Linux.")


def measured(
    attack: attacks.Attack, model: PointNet, points: Tensor
) -> tuple[float, float]:
    """CPU seconds for each cloud, and the peak in MiB above what was held before."""
    with torch.no_grad():
        labels = model(points).argmax(1)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    held = memory_kib("VmRSS")
    start = time.process_time()
    attack(model, points, labels)
    spent = time.process_time() - start
    return spent / len(points), (memory_kib("VmHWM") - held) / 1024


def exponent(sizes: list[int], values: list[float]) -> float:
    """The slope of the least-squares line through (log size, log value)."""
    x = torch.tensor(sizes).double().log()
    y = torch.tensor(values).double().clamp(min=1e-3).log()
    x = x - x.mean()
    return float((x * (y - y.mean())).sum() / x.square().sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, nargs="+", default=[1024, 4096, 16384])
    parser.add_argument("--clouds", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--only", nargs="+", default=None)
    parser.add_argument("--out", type=Path, default=Path("build/bench_scaling.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = PointNet.slim().eval().requires_grad_(False)
    rows = {}
    for name in all_attacks(1024, model):
        if args.only and name not in args.only:
            continue
        seconds, mib, each = [], [], []
        for count in args.points:
            points = torch.randn(1, count, 3, generator=generator(count))
            points = torch.nn.functional.normalize(points, dim=-1)  # a surface
            spent, peak = measured(all_attacks(count, model)[name], model, points)
            seconds.append(spent)
            mib.append(peak)
        for clouds in args.clouds:
            points = torch.randn(clouds, 1024, 3, generator=generator(clouds))
            points = torch.nn.functional.normalize(points, dim=-1)
            each.append(measured(all_attacks(1024, model)[name], model, points)[0])
        total = [one * count for one, count in zip(each, args.clouds, strict=True)]
        rows[name] = {
            "cpu_seconds_by_points": seconds,
            "peak_mib_by_points": mib,
            "exponent_of_seconds": exponent(args.points, seconds),
            "exponent_of_memory": exponent(args.points, [max(m, 1.0) for m in mib]),
            "cpu_seconds_per_cloud_by_clouds": each,
            "exponent_in_clouds": exponent(args.clouds, total),
        }
        print(
            f"{name:17} "
            + " ".join(
                f"{second:7.2f} s {peak:5.0f} MiB"
                for second, peak in zip(seconds, mib, strict=True)
            )
            + f"; exponents {rows[name]['exponent_of_seconds']:.2f} (s), "
            f"{rows[name]['exponent_of_memory']:.2f} (MiB), in clouds "
            f"{rows[name]['exponent_in_clouds']:.2f}",
            flush=True,
        )
    card = {
        "what": "Two steps or some ten queries of each attack on a small PointNet with "
        "random weights; CPU seconds of one thread, peak memory above what was held.",
        "points": args.points,
        "clouds": args.clouds,
        "dense_pairs_mib": [4 * n**2 / 2**20 for n in args.points],
        "rows": rows,
        "environment": environment_summary(),
    }
    write_json(args.out, card, overwrite=True)
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
