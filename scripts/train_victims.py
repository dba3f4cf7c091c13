"""Train the attack lab's surrogates: a slim PointNet and a slim DGCNN.

    python scripts/train_victims.py pointnet --modelnet DIR
    python scripts/train_victims.py dgcnn --modelnet DIR

Each writes data/lab_tiny/NAME.safetensors (half precision) with a card beside it:
what it was trained on, command, seed, classes, scores. Clouds: ModelNet40's training
split less the part kept as val (with --modelnet), `shapes`, and the few of `objects`,
several times over; the classes are those of all, so that one surrogate serves every
data set whose classes are among them. The clouds are turned, stretched, thinned out and
jittered as for the lab's own encoders (scripts/pretrain_lab.py). The last epoch is
kept; val is only reported.
"""

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from pretrain_lab import augment, clean
from torch import Tensor, nn
from tqdm import tqdm

from mrpd_tutorial.data import load_dataset
from mrpd_tutorial.data.base import PointDataset
from mrpd_tutorial.models.dgcnn import DGCNN
from mrpd_tutorial.models.pointnet import PointNet
from mrpd_tutorial.runtime import environment_summary, generator, tune_allocator
from mrpd_tutorial.zoo import save_module, tiny_folder

FAMILIES = {"pointnet": PointNet, "dgcnn": DGCNN}
EPOCHS = {"pointnet": 14, "dgcnn": 5}  # 17 and 34 minutes on one core


def load_parts(args: argparse.Namespace, split: str) -> list[PointDataset]:
    """The data sets asked for."""
    repeat = args.objects_repeat if split == "train" else min(1, args.objects_repeat)
    parts = [load_dataset("objects", split).subsample_points(1024)] * repeat
    if args.shapes_per_class:
        count = args.shapes_per_class
        if split == "val":
            count = max(1, count // 10)
        parts.append(load_dataset("shapes", split, per_class=count))
    if args.modelnet:
        parts.append(load_dataset("modelnet40", split, root=args.modelnet))
    return parts


def relabel(part: PointDataset, classes: list[str]) -> Tensor:
    """(N,) labels of a part in the list of all classes."""
    rows = torch.tensor([classes.index(clean(name)) for name in part.class_names])
    return rows[part.labels]


def train(args: argparse.Namespace) -> tuple[nn.Module, dict]:
    """Cross-entropy with smoothed labels, AdamW, one cycle; returns model and card."""
    parts = load_parts(args, "train")
    classes = sorted({clean(name) for part in parts for name in part.class_names})
    points = torch.cat([part.points for part in parts])
    labels = torch.cat([relabel(part, classes) for part in parts])
    torch.manual_seed(args.seed)
    model = FAMILIES[args.name].slim(num_classes=len(classes))
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.05)
    size = args.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        args.lr,
        total_steps=args.epochs * math.ceil(len(points) / size),
        pct_start=0.1,
    )
    rng, history = generator(args.seed), []
    for epoch in range(args.epochs):
        model.train()
        total = right = seen = 0
        order = torch.randperm(len(points), generator=rng).split(size)
        progress = tqdm(order, f"{args.name} {epoch + 1}/{args.epochs}", mininterval=10)
        for rows in progress:
            some = torch.randperm(points.shape[1], generator=rng)[: args.points]
            logits = model(augment(points[rows][:, some], rng))
            loss = F.cross_entropy(logits, labels[rows], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(rows)
            right += logits.argmax(1).eq(labels[rows]).sum().item()
            seen += len(rows)
            progress.set_postfix(loss=f"{total / seen:.3f}", acc=f"{right / seen:.3f}")
        history.append({"loss": total / seen, "train_accuracy": right / seen})
    model.eval()
    scores = {
        f"{part.name}_val_accuracy": accuracy(model, part, relabel(part, classes))
        for part in load_parts(args, "val")
    }
    sizes = {part.name: f"{part.name} ({len(part)}, split train)" for part in parts}
    trained_on = f"{len(points)} clouds of {len(classes)} classes: "
    trained_on += ", ".join(sizes.values())
    return model, {
        "name": args.name,
        "settings": model.settings,
        "classes": classes,
        "frame": parts[0].frame,
        "command": f"python scripts/train_victims.py {args.name}",
        "options": {
            key: value.name if isinstance(value, Path) else value
            for key, value in vars(args).items()
            if value is not None and key not in ("name", "out")
        },
        "seed": args.seed,
        "trained_on": trained_on,
        "data_sha256": {part.name: part.hash() for part in parts},
        "scores": {"epochs": history, **scores},
        "environment": environment_summary(),
    }


def accuracy(model: nn.Module, part: PointDataset, labels: Tensor) -> float:
    """Share of a part's clouds, 1024 points each, that are classified correctly."""
    with torch.no_grad():
        clouds = part.subsample_points(1024).points.split(32)
        predicted = torch.cat([model(points).argmax(1) for points in clouds])
    return (predicted == labels).float().mean().item()


def main() -> None:
    """Read the command line, train, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=FAMILIES)
    parser.add_argument("--modelnet", type=Path)
    parser.add_argument("--shapes-per-class", type=int, default=100)
    parser.add_argument("--objects-repeat", type=int, default=8)
    parser.add_argument("--points", type=int, default=512, help="in a training cloud")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=tiny_folder())
    args = parser.parse_args()
    args.epochs = args.epochs or EPOCHS[args.name]
    tune_allocator()
    model, card = train(args)
    save_module(model, args.out / f"{args.name}.safetensors", card)


if __name__ == "__main__":
    main()
