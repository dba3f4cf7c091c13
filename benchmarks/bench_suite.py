"""CPU cost of every attack on the published PointNet, beside what public code costs.

    OMP_NUM_THREADS=1 python benchmarks/bench_suite.py --checkpoint FILE --root FOLDER

FILE is learning3d's PointNet for ModelNet40, FOLDER holds ModelNet40's HDF5 files. Each
attack takes its published constants with fewer iterations, all clouds running to the
end, so that the cost of an iteration is the public one's: of public attack code on the
same network, with 1024 points, on one thread of torch 2.13 on CPUs, in another run on
another machine of that kind. Ratios across runs are rough; those of our own attacks to
one model pass, in this run, are not.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mrpd_tutorial import attacks
from mrpd_tutorial.data import load_dataset
from mrpd_tutorial.geometry import normalise
from mrpd_tutorial.models import PointNet, load_learning3d_pointnet
from mrpd_tutorial.models.auto_encoder import AutoEncoder, AutoEncoderConfig
from mrpd_tutorial.runtime import environment_summary, tune_allocator, write_json

# Milliseconds of CPU for a cloud and iteration of public code; iterations published.
PUBLIC = {
    "FGM": (56.6, 1),
    "I-FGM": (45.5, 50),
    "MI-FGM": (44.2, 50),
    "PGD": (43.5, 50),
    "Drop-200": (40.6, 40),
    "CW-Perturb": (38.1, 5000),
    "CW-Add chamfer": (55.9, 5000),
    "CW-Add hausdorff": (54.6, 5000),
    "CW-Add cluster": (47.3, 2500),
    "kNN": (95.4, 2500),
    "GeoA3": (65.6, 5000),
    "AOF": (97.4, 400),
    "AdvPC": (71.2, 400),
    "SI-Adv": (22.7, 50),
    "HiT-ADV": (75.3, 1000),
}


def suite(steps: int, count: int) -> dict[str, attacks.Attack]:
    """The attacks with `steps` iterations, for clouds of `count` points."""
    eps = attacks.if_defense_eps(count)
    few = {"steps": steps, "search_steps": 1}
    # Its weights do not matter to its cost.
    encoder = AutoEncoder(AutoEncoderConfig()).eval().requires_grad_(False)
    return {
        "FGM": attacks.FGM(eps=eps, norm="l2"),
        "I-FGM": attacks.IFGM(eps=eps, norm="l2", steps=steps),
        "MI-FGM": attacks.MIFGM(eps=eps, norm="l2", steps=steps),
        "PGD": attacks.PGD(eps=eps, norm="l2", steps=steps),
        "Drop-200": attacks.SaliencyDrop(eps=5 * steps, per_round=5),
        "CW-Perturb": attacks.CWPerturb.paper(**few),
        "CW-Add chamfer": attacks.CWAdd.paper("chamfer", **few),
        "CW-Add hausdorff": attacks.CWAdd.paper("hausdorff", **few),
        "CW-Add cluster": attacks.CWAdd.paper("cluster", **few),
        "kNN": attacks.KNNAttack.paper(steps=steps),
        "GeoA3": attacks.GeoA3.paper(**few),
        "AOF": attacks.AOF.paper(steps=steps, restarts=1),
        "AdvPC": attacks.AdvPC.paper(encoder, steps=steps, restarts=1),
        "SI-Adv": attacks.SIAdv.paper(steps=steps),
        "HiT-ADV": attacks.HiTADV.paper(**few),
    }


def cpu_ms(work: Callable[[], object], repeats: int) -> tuple[float, object]:
    """The least milliseconds of CPU time of several runs, and what the last gave."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        found = work()
        times.append(time.process_time() - start)
    return 1e3 * min(times), found


def victims(args: argparse.Namespace) -> tuple[PointNet, Tensor, Tensor]:
    """The network and clouds it names correctly, of as many classes as there are."""
    model = load_learning3d_pointnet(args.checkpoint)
    data = load_dataset("modelnet40", "test", root=args.root).subsample_points(1024)
    data = data.limit(4 * args.clouds)
    with torch.no_grad():
        right = model(data.points).argmax(1) == data.labels
    kept = right.nonzero()[: args.clouds, 0]
    return model, data.points[kept], data.labels[kept]


def main() -> None:
    """Time one model pass, then every attack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--clouds", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("build/bench_suite.json"))
    args = parser.parse_args()
    tuned = tune_allocator()
    torch.set_num_threads(1)
    model, points, labels = victims(args)
    model.requires_grad_(False)

    def one_pass() -> None:
        moving = points.clone().requires_grad_(True)
        model(moving).gather(1, labels[:, None]).sum().backward()

    one, _ = cpu_ms(one_pass, 5)
    one /= len(points)
    print(f"{len(points)} clouds; forward and backward {one:.1f} CPU ms a cloud")
    rows = {}
    for name, attack in suite(args.steps, points.shape[1]).items():
        spent, result = cpu_ms(
            lambda attack=attack: attack(model, points, labels), args.repeats
        )
        steps = 1 if name == "FGM" else args.steps
        each, (public, published) = spent / len(points) / steps, PUBLIC[name]
        with torch.no_grad():
            again = model(normalise(result.points)).argmax(1) != labels
        rows[name] = {
            "cpu_ms_per_cloud_iteration": each,
            "model_passes": each / one,
            "public_ms": public,
            "public_over_ours": public / each,
            "published_iterations": published,
            "iterations_here": steps,
            "success": result.success.float().mean().item(),
            "success_after_normalising_again": again.float().mean().item(),
        }
        print(
            f"{name:18} {each:6.1f} ms, {each / one:4.1f} passes; public {public:5.1f} "
            f"ms, {public / each:4.1f} times ours; misled {rows[name]['success']:.0%}",
            flush=True,
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MiB")
    card = {
        "clouds": len(points),
        "rows": rows,
        "one_pass_ms": one,
        "peak_mib": peak,
        "allocator_tuned": tuned,
        "environment": environment_summary(),
    }
    write_json(args.out, card, overwrite=True)
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
