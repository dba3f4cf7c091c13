"""Train the attack lab's small PU-Net: 1024 points in, 4096 out.

    python scripts/train_pu_net.py

Writes data/lab_tiny/pu_net.safetensors (half precision) and its card. Clouds: the
procedural `shapes`, which can be sampled as densely as one likes: 4096 points are the
truth, 1024 of them, jittered, the input. Loss: Chamfer distance to the truth, plus
PU-Net's repulsion between neighbours. The published network was trained with the earth
mover's distance on patches; DUP-Net's on whole clouds, as here.
"""

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from mrpd_tutorial.data import load_dataset
from mrpd_tutorial.geometry import gather_points, knn
from mrpd_tutorial.models.pu_net import PUNet, repulsion_loss
from mrpd_tutorial.runtime import environment_summary, generator, tune_allocator
from mrpd_tutorial.zoo import save_module, tiny_folder


def one_way(query: Tensor, points: Tensor) -> Tensor:
    """Mean squared distance of query points to the nearest of `points`."""
    with torch.no_grad():
        nearest = knn(query, points, 1)[1]  # (B, M, 1)
    return (query - gather_points(points, nearest)[:, :, 0]).square().sum(-1).mean()


def sampled_chamfer(dense: Tensor, truth: Tensor, rng: torch.Generator) -> Tensor:
    """Chamfer distance on a random quarter of the points of each side."""
    count = dense.shape[1] // 4
    some = torch.randperm(dense.shape[1], generator=rng)[:count]
    others = torch.randperm(truth.shape[1], generator=rng)[:count]
    return one_way(dense[:, some], truth) + one_way(truth[:, others], dense)


def train(args: argparse.Namespace) -> tuple[PUNet, dict]:
    """AdamW, one cycle; returns network and card."""
    dense = load_dataset(
        "shapes", "train", per_class=args.shapes_per_class, num_points=4 * args.points
    )
    torch.manual_seed(args.seed)
    network = PUNet.slim()
    optimiser = torch.optim.AdamW(network.parameters(), lr=args.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        args.lr,
        total_steps=args.epochs * math.ceil(len(dense) / args.batch_size),
        pct_start=0.1,
    )
    rng, history = generator(args.seed), []
    for epoch in range(args.epochs):
        total = seen = 0
        order = torch.randperm(len(dense), generator=rng).split(args.batch_size)
        progress = tqdm(order, f"pu_net {epoch + 1}/{args.epochs}", mininterval=10)
        for rows in progress:
            truth = dense.points[rows]
            some = torch.randperm(truth.shape[1], generator=rng)[: args.points]
            scale = args.jitter * torch.rand(len(rows), 1, 1, generator=rng)
            sparse = truth[:, some]
            sparse = sparse + scale * torch.randn(sparse.shape, generator=rng)
            upsampled = network(sparse)
            loss = sampled_chamfer(upsampled, truth, rng)
            loss = 100 * loss + args.repulsion * repulsion_loss(upsampled).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(rows)
            seen += len(rows)
            progress.set_postfix(loss=f"{total / seen:.4f}")
        history.append({"loss": total / seen})
    network.eval()
    return network, {
        "name": "pu_net",
        "settings": network.settings,
        "command": "python scripts/train_pu_net.py",
        "options": {key: value for key, value in vars(args).items() if key != "out"},
        "seed": args.seed,
        "frame": dense.frame,
        "trained_on": f"{len(dense)} procedural shapes of {dense.num_classes} classes",
        "data_sha256": {dense.name: dense.hash()},
        "scores": {"epochs": history, **score(network, args)},
        "environment": environment_summary(),
    }


@torch.no_grad()
def score(network: PUNet, args: argparse.Namespace) -> dict[str, float]:
    """Chamfer distance on val, beside that of repeating the sparse points."""
    val = load_dataset("shapes", "val", per_class=1, num_points=4 * args.points)
    ours, repeated = [], []
    for truth in val.points.split(args.batch_size):
        sparse = truth[:, :: truth.shape[1] // args.points]
        for found, dense in ((ours, network(sparse)), (repeated, sparse)):
            distance = one_way(dense, truth) + one_way(truth, dense)
            found.append(distance * len(truth) / len(val))
    return {
        "val_chamfer": sum(ours).item(),
        "val_chamfer_of_input": sum(repeated).item(),
    }


def main() -> None:
    """Read the command line, train, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes-per-class", type=int, default=20)
    parser.add_argument("--points", type=int, default=1024)
    parser.add_argument("--jitter", type=float, default=0.02)
    parser.add_argument("--repulsion", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=tiny_folder())
    args = parser.parse_args()
    tune_allocator()
    network, card = train(args)
    save_module(network, args.out / "pu_net.safetensors", card)


if __name__ == "__main__":
    main()
