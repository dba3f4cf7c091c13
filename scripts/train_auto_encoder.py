"""Train the point auto-encoder of AdvPC and of restoration.

    python scripts/train_auto_encoder.py
    python scripts/train_auto_encoder.py --modelnet DIR --epochs 60 --device cuda

Writes data/lab_tiny/auto_encoder.safetensors (half precision) with a card beside it.
Clouds: the training split of `shapes`, and ModelNet40's, less the part kept as val,
when its folder is given. Loss: Chamfer distance. The card gives the Chamfer distance on
the val clouds, and what to compare it with: the distance between two halves of one val
cloud's points, which no reconstruction from 512 points can be expected to beat.

With ModelNet40 a run takes about twenty minutes on one CPU core.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from mrpd_tutorial.checks import check_device, check_positive
from mrpd_tutorial.data import load_dataset
from mrpd_tutorial.geometry import chamfer_distance, normalise
from mrpd_tutorial.models.auto_encoder import AutoEncoder, AutoEncoderConfig
from mrpd_tutorial.runtime import (
    embedded_data,
    environment_summary,
    generator,
    save_tensors,
    tune_allocator,
    write_json,
)

SEEN = 512  # points of a cloud the encoder sees, and is compared with


def load_clouds(args: argparse.Namespace, split: str) -> tuple[Tensor, dict[str, str]]:
    """Clouds (S, 1024, 3) of all sources, and each source's digest."""
    parts = [load_dataset("shapes", split, per_class=args.shapes_per_class)]
    if args.modelnet:
        parts.append(load_dataset("modelnet40", split, root=args.modelnet))
    points = torch.cat([part.subsample_points(1024).points for part in parts])
    return points, {part.name: part.hash() for part in parts}


def halves(points: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two disjoint choices of SEEN points of each cloud."""
    order = torch.randperm(points.shape[1], generator=rng)
    return points[:, order[:SEEN]], points[:, order[SEEN : 2 * SEEN]]


def augment(points: Tensor, rng: torch.Generator) -> Tensor:
    """Stretch each axis by up to 15 %, mirror at x = 0 by half, and normalise."""
    stretch = 0.85 + 0.3 * torch.rand(len(points), 1, 3, generator=rng)
    mirror = (torch.rand(len(points), generator=rng) < 0.5).float()
    stretch[:, 0, 0] *= 1 - 2 * mirror
    return normalise(points * stretch)


def evaluate(model: AutoEncoder, points: Tensor, device: str) -> dict[str, float]:
    """Mean Chamfer distances on clouds: of reconstructions, and between halves."""
    model.eval()
    reconstruction, floor, rng = [], [], generator(0)
    with torch.no_grad():
        for part in points.split(64):
            seen, rest = (half.to(device) for half in halves(part, rng))
            reconstruction.append(chamfer_distance(model(seen), rest).cpu())
            floor.append(chamfer_distance(seen, rest).cpu())
    return {
        "val_chamfer": torch.cat(reconstruction).mean().item(),
        "val_chamfer_between_halves": torch.cat(floor).mean().item(),
        "val_clouds": len(points),
    }


def train(args: argparse.Namespace) -> AutoEncoder:
    """Train, and write weights and card after the last epoch."""
    points, sources = load_clouds(args, "train")
    val, _ = load_clouds(args, "val")
    if args.clouds:
        kept = torch.randperm(len(points), generator=generator(args.seed))
        points = points[kept[: args.clouds]]
    torch.manual_seed(args.seed)
    model = AutoEncoder(AutoEncoderConfig()).to(args.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=1e-4)
    steps = args.epochs * math.ceil(len(points) / args.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, args.lr, total_steps=steps, pct_start=0.1
    )
    rng, history = generator(args.seed), []
    progress = tqdm(range(args.epochs), desc="auto_encoder", mininterval=5)
    for _ in progress:
        model.train()
        total = 0.0
        for rows in torch.randperm(len(points), generator=rng).split(args.batch_size):
            seen, _ = halves(augment(points[rows], rng), rng)
            seen = seen.to(args.device)
            loss = chamfer_distance(model(seen), seen).mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item() * len(rows)
        history.append(total / len(points))
        progress.set_postfix(chamfer=f"{history[-1]:.4f}")
    scores = {"train_chamfer": history} | evaluate(model, val, args.device)
    trained_on = f"{len(points)} clouds: procedural shapes"
    if args.modelnet:
        trained_on += " and ModelNet40's training clouds less its val part"
    small = {name: value.half() for name, value in model.state_dict().items()}
    save_tensors(args.out, small, model.info(), overwrite=True)
    write_json(
        args.out.with_suffix(".json"),
        {
            "stage": "auto_encoder",
            "command": "python scripts/train_auto_encoder.py",
            "options": {
                key: value.name if isinstance(value, Path) else value
                for key, value in vars(args).items()
                if value is not None and key != "out"
            },
            "seed": args.seed,
            "trained_on": trained_on,
            "data_sha256": sources,
            "scores": scores,
            "environment": environment_summary(),
        },
        overwrite=True,
    )
    return model


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modelnet", type=Path)
    parser.add_argument("--shapes-per-class", type=int, default=60)
    parser.add_argument("--clouds", type=int, help="train on so many of the clouds")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--out",
        type=Path,
        default=embedded_data() / "lab_tiny" / "auto_encoder.safetensors",
    )
    args = parser.parse_args(arguments)
    for name in ("epochs", "batch_size", "lr", "shapes_per_class"):
        check_positive(name, getattr(args, name))
    check_device(args.device)
    tune_allocator()
    train(args)


if __name__ == "__main__":
    main()
