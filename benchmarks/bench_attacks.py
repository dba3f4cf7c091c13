"""CPU cost of PGD per cloud and step, beside the loop that most public code runs.

    OMP_NUM_THREADS=1 python benchmarks/bench_attacks.py [--tune] [--steps 4] [--out F]

The victim is a PointNet with random weights: cost does not depend on what it has
learned, and its own savings (see mrpd_tutorial.models.PointNet) are there in both
loops. The plain loop is what public attacks do at each step: parameters not frozen,
loss.backward(), the iterate copied to numpy. Only ratios within one run mean something;
--tune also asks glibc to keep its buffers (for both loops).
"""

import argparse
import time

import torch
from torch import Tensor, nn

from mrpd_tutorial.attacks import PGD
from mrpd_tutorial.models import PointNet
from mrpd_tutorial.runtime import (
    environment_summary,
    generator,
    tune_allocator,
    write_json,
)


def plain_loop(model: nn.Module, points: Tensor, labels: Tensor, steps: int) -> None:
    """Steepest l2 ascent without any care."""
    current = points.clone()
    for _ in range(steps):
        current.requires_grad_(True)
        loss = nn.functional.cross_entropy(model(current), labels)
        loss.backward()
        gradient = current.grad.detach()
        length = gradient.square().sum((1, 2), keepdim=True).sqrt() + 1e-9
        current = current.detach() + 0.01 * gradient / length
        current.numpy().copy()
    model.zero_grad()


def cost(work, clouds: int, steps: int, repeats: int = 2) -> float:
    """Milliseconds of CPU time for each cloud and step, the best of `repeats` runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1e3 * min(times) / (clouds * steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tune", action="store_true", help="tune the allocator")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--out", help="write a JSON card here")
    options = parser.parse_args()
    tuned = options.tune and tune_allocator()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, steps = PointNet().eval(), options.steps
    figures: dict[str, float] = {}
    for clouds in (16, 32):
        points = 0.4 * torch.randn(clouds, 1024, 3, generator=generator(0))
        labels = torch.zeros(clouds, dtype=torch.int64)
        attack = PGD(eps=0.08, norm="l2", steps=steps, step_size=0.01, batch_size=16)

        def ours(attack=attack, points=points, labels=labels):
            attack(model, points, labels)

        figures[f"pgd, {clouds} clouds"] = cost(ours, clouds, steps)
        if clouds == 16:
            figures["plain loop, 16 clouds"] = cost(
                lambda points=points, labels=labels: plain_loop(
                    model, points, labels, steps
                ),
                clouds,
                steps,
            )
    for name, value in figures.items():
        print(f"{name:24s} {value:7.2f} CPU ms per cloud and step")
    ratio = figures["pgd, 16 clouds"] / figures["plain loop, 16 clouds"]
    growth = figures["pgd, 32 clouds"] / figures["pgd, 16 clouds"]
    print(
        f"pgd / plain loop {ratio:.2f}; per cloud, 32 clouds / 16 clouds {growth:.2f}"
    )
    if options.out:
        card = {"figures": figures, "ratio": ratio, "growth": growth, "tuned": tuned}
        card |= {"environment": environment_summary()}
        write_json(options.out, card, overwrite=True)


if __name__ == "__main__":
    main()
