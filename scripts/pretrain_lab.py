"""Pre-train the offline lab: a small CLIP, a student and a larger point teacher.

    python scripts/pretrain_lab.py text --clip-text clip_vitb32_text.npz
    python scripts/pretrain_lab.py image --clip-text ... --modelnet DIR --imagenet FILE
    python scripts/pretrain_lab.py student --clip-text ... --modelnet DIR
    python scripts/pretrain_lab.py point_teacher --clip-text ... --modelnet DIR

Each stage writes data/lab_tiny/STAGE.safetensors with a card beside it. All learn the
same space, so their order does not matter: CLIP ViT-B/32's embeddings of "a NAME" for
2,148 object names, published with Detic (Apache-2.0). The mean of those is taken away,
because every pair of CLIP's names has a cosine near 0.75.

- text: a small transformer learns the names, in sentences.
- image: EfficientNet-lite0, from ImageNet weights, puts one depth map of a cloud on the
  embedding of its class's name.
- student, point_teacher: encoders of Uni3D's architecture do so from the points.

Clouds: ModelNet40's training split, less the part kept as val, and `shapes`. No stage
is trained on the data set `objects`; the recipes of `shapes` were widened once after
looking at pictures of its training clouds, never of its test clouds.
"""

import argparse
import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from mrpd_tutorial import zoo
from mrpd_tutorial.data import load_dataset
from mrpd_tutorial.data.base import PointDataset
from mrpd_tutorial.data.shapes import SHAPE_CLASSES
from mrpd_tutorial.geometry import normalise
from mrpd_tutorial.models.clip import TextTeacher, build_clip
from mrpd_tutorial.projection import TEN_VIEWS, depth_maps
from mrpd_tutorial.runtime import (
    environment_summary,
    generator,
    tune_allocator,
)

TEMPERATURE = 0.07
TEMPLATES = (
    "{}",
    "a {}",
    "a {}.",
    "a photo of a {}.",
    "a point cloud of a {}.",
    "a 3D model of a {}.",
    "A depth picture of {}.",
    "A depth picture of {}.",
    "X X X A depth picture of {}.",
)
# Class names of ours that the published list lacks: the mean of the names nearest.
ALIASES = {
    "plant": ("houseplant",),
    "monitor": ("computer monitor",),
    "bookshelf": ("bookcase",),
    "tool": ("hammer", "screwdriver", "wrench", "pliers", "shovel", "chainsaw"),
}


# ---------------------------------------------------------------- stage 1: text


def clip_text_space(path: Path) -> tuple[list[str], Tensor]:
    """Names and CLIP's embeddings of them, centred and of unit length.

    Returns:
        Names, lower case and without underscores; targets (names, 512).
    """
    with np.load(path) as archive:
        names = [clean(str(name)) for name in archive["names"]]
        embeddings = torch.from_numpy(archive["emb"].astype(np.float32))
        extra = [clean(str(name)) for name in archive["mn40_classes"]]
        extra_embeddings = torch.from_numpy(archive["mn40_emb"].astype(np.float32))
    mean = embeddings.mean(0)
    by_name: dict[str, list[Tensor]] = {}
    for name, row in zip(names, embeddings, strict=True):
        by_name.setdefault(name, []).append(row)
    for name, row in zip(extra, extra_embeddings, strict=True):
        by_name.setdefault(name, [row])
    for name, aliases in ALIASES.items():
        found = [row for alias in aliases for row in by_name.get(alias, [])]
        by_name.setdefault(name, found)
    names = sorted(by_name)
    rows = torch.stack([torch.stack(by_name[name]).mean(0) for name in names])
    return names, F.normalize(rows - mean, dim=-1)


def clean(name: str) -> str:
    """`monitor_(computer_equipment) computer_monitor` -> `monitor`."""
    name = re.sub(r"_?\(.*?\).*", "", name).split("/")[0]
    return name.replace("_", " ").strip().lower()


def train_text(args: argparse.Namespace) -> None:
    """Stage 1: sentences about 2,148 names onto CLIP's embeddings of the names."""
    names, targets = clip_text_space(args.clip_text)
    captions, caption_rows = shape_captions(names)
    torch.manual_seed(args.seed)
    clip, tokenizer = build_clip(zoo.CLIP_CONFIG)
    teacher = TextTeacher(clip, tokenizer, template="{}")
    tower = teacher.tower.requires_grad_(True)
    # Of 49,408 token embeddings a batch uses a few hundred: sparse gradients.
    table = tower.token_embedding
    table.sparse = True
    rest = [p for p in tower.parameters() if p is not table.weight]
    optimiser = torch.optim.AdamW(rest, lr=2e-3, weight_decay=0.02)
    table_optimiser = torch.optim.SparseAdam([table.weight], lr=1e-3)
    rng, noise = np.random.default_rng(args.seed), generator(args.seed)
    epochs, size = args.epochs or 50, 128
    steps = epochs * math.ceil(len(names) / size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 2e-3, total_steps=steps, pct_start=0.1
    )
    progress = tqdm(range(epochs), desc="text", mininterval=5)
    for _ in progress:
        order = rng.permutation(len(names))
        for start in range(0, len(names), size):
            rows = order[start : start + size]
            if rng.random() < 0.4:
                # A learnable context is vectors instead of words: meet some here.
                context = torch.randn(3, teacher.context_width, generator=noise) * 0.05
                sentences = [f"A depth picture of {names[row]}." for row in rows]
            else:
                context = None
                sentences = [rng.choice(TEMPLATES).format(names[row]) for row in rows]
                some = rng.choice(len(captions), size=size // 4)
                sentences += [captions[i] for i in some]
                rows = np.concatenate([rows, caption_rows[some]])
            features = teacher.class_text_features(sentences, context)  # (B, D)
            target = torch.from_numpy(rows)
            loss = F.cross_entropy(features @ targets.T / TEMPERATURE, target)
            loss = loss + 2 * (1 - (features * targets[target]).sum(-1)).mean()
            optimiser.zero_grad()
            table_optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(rest, 1.0)
            table_optimiser.step()
            optimiser.step()
            schedule.step()
        progress.set_postfix(loss=f"{loss.item():.3f}")
    table.sparse = False
    with torch.no_grad():
        features = TextTeacher(clip, tokenizer).class_text_features(names)
    nearest = (features @ targets.T).argmax(1)
    # Two names can share one embedding (bookshelf, bookcase): either counts.
    same = (targets[nearest] * targets).sum(-1) > 0.999
    sentences = [t.format(name) for name in names for t in TEMPLATES] + captions
    zoo.save_text_tower(
        tower,
        args.out / "text.safetensors",
        tokenizer(sentences).unique().tolist(),
        make_card(
            args,
            "embeddings by CLIP ViT-B/32 of 'a NAME' for 2,148 object names, published "
            "with Detic (Apache-2.0), their mean taken away; captions of shapes",
            {
                "names": len(names),
                "nearest_name_right": same.float().mean().item(),
                "mean_cosine": (features * targets).sum(-1).mean().item(),
            },
        ),
    )


def shape_captions(names: list[str]) -> tuple[list[str], np.ndarray]:
    """Captions of some procedural shapes and the row of each one's class name."""
    shapes = load_dataset("shapes", "train", per_class=40, num_points=64)
    assert shapes.captions is not None
    index = {name: row for row, name in enumerate(names)}
    kept = [
        (caption, index[clean(shapes.class_names[label])])
        for caption, label in zip(shapes.captions, shapes.labels.tolist(), strict=True)
        if clean(shapes.class_names[label]) in index
    ]
    return [caption for caption, _ in kept], np.array([row for _, row in kept])


# ------------------------------------------------- stages 2 and 3: image, points


def training_clouds(args: argparse.Namespace) -> tuple[Tensor, Tensor, list[str], dict]:
    """ModelNet40's training clouds and shapes, labels in the union of their classes.

    Returns:
        points, labels, class names, and the digest of each source.
    """
    known = set(clip_text_space(args.clip_text)[0])
    parts: list[PointDataset] = []
    if args.shapes_per_class:
        # A class that the published embeddings do not name cannot be learned here.
        wanted = [name for name in SHAPE_CLASSES if clean(name) in known]
        parts.append(
            load_dataset(
                "shapes",
                "train",
                per_class=args.shapes_per_class,
                class_names=wanted,
            )
        )
    if args.modelnet:
        parts.append(load_dataset("modelnet40", "train", root=args.modelnet))
    names = sorted({clean(name) for part in parts for name in part.class_names})
    labels = [
        torch.tensor([names.index(clean(name)) for name in part.class_names])[
            part.labels
        ]
        for part in parts
    ]
    points = [part.subsample_points(1024).points for part in parts]
    sources = {part.name: part.hash() for part in parts}
    return torch.cat(points), torch.cat(labels), names, sources


def augment(points: Tensor, rng: torch.Generator, jitter: float = 0.01) -> Tensor:
    """Turn about y, stretch, thin out, jitter: poses and densities of elsewhere."""
    batch, count, _ = points.shape
    quarter = torch.randint(0, 4, (batch,), generator=rng) * (math.pi / 2)
    small = torch.randn(batch, generator=rng) * 0.15
    free = torch.rand(batch, generator=rng) * 2 * math.pi
    kind = torch.rand(batch, generator=rng)
    yaw = torch.where(kind < 0.4, small, torch.where(kind < 0.8, quarter + small, free))
    cos, sin = yaw.cos()[:, None], yaw.sin()[:, None]
    x, y, z = points.unbind(-1)
    points = torch.stack((cos * x + sin * z, y, cos * z - sin * x), -1)  # (B, N, 3)
    flip = torch.rand(batch, 1, 1, generator=rng) < 0.5
    points = torch.where(flip, points * torch.tensor([-1.0, 1.0, 1.0]), points)
    points = points * (0.8 + 0.45 * torch.rand(batch, 1, 3, generator=rng))
    # Some points repeat others, so that density varies from cloud to cloud.
    keep = torch.randint(count // 2, count + 1, (1,), generator=rng).item()
    order = torch.randperm(count, generator=rng)
    order = torch.cat((order[:keep], order[: count - keep]))
    scale = jitter * torch.rand(batch, 1, 1, generator=rng)
    noise = torch.randn(points.shape, generator=rng) * scale
    return normalise(points[:, order] + noise)


def train_encoder(
    args: argparse.Namespace,
    module: nn.Module,
    encode: Callable[[Tensor, torch.Generator], Tensor],
    epochs: int,
) -> None:
    """Put each cloud's feature on its class's text: cross-entropy and cosine."""
    points, labels, classes, sources = training_clouds(args)
    names, targets = clip_text_space(args.clip_text)
    text = targets[torch.tensor([names.index(name) for name in classes])]  # (C, D)
    epochs, size = args.epochs or epochs, 64
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.05)
    steps = epochs * math.ceil(len(points) / size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, args.lr, total_steps=steps, pct_start=0.1
    )
    rng, history = generator(args.seed), []
    module.train()
    for epoch in range(epochs):
        total = right = seen = 0
        order = torch.randperm(len(points), generator=rng).split(size)
        progress = tqdm(order, f"{args.stage} {epoch + 1}/{epochs}", mininterval=10)
        for rows in progress:
            features = F.normalize(encode(augment(points[rows], rng), rng), dim=-1)
            logits = features @ text.T / TEMPERATURE  # (B, C)
            target = labels[rows]
            loss = F.cross_entropy(logits, target, label_smoothing=0.1)
            loss = loss + (1 - (features * text[target]).sum(-1)).mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 5.0)
            optimiser.step()
            schedule.step()
            total += loss.item() * len(rows)
            right += logits.argmax(1).eq(target).sum().item()
            seen += len(rows)
            progress.set_postfix(loss=f"{total / seen:.3f}", acc=f"{right / seen:.3f}")
        history.append({"loss": total / seen, "train_accuracy": right / seen})
        trained_on = (
            f"{len(points)} clouds of {len(classes)} classes: procedural shapes"
        )
        if args.modelnet:
            trained_on += " and ModelNet40's training clouds less its val part"
        zoo.save_module(
            module,
            args.out / f"{args.stage}.safetensors",
            make_card(args, trained_on, {"epochs": history, "of_epochs": epochs})
            | {"data_sha256": sources},
        )


def train_image(args: argparse.Namespace) -> None:
    """Stage 2: one depth map, of a view drawn for each batch, to its class's text."""
    torch.manual_seed(args.seed)
    clip, _ = build_clip(zoo.CLIP_CONFIG)
    visual = clip.visual.to(memory_format=torch.channels_last)
    if args.imagenet:
        load_imagenet_trunk(visual.trunk, args.imagenet)

    def encode(points: Tensor, rng: torch.Generator) -> Tensor:
        view = int(torch.randint(len(TEN_VIEWS), (1,), generator=rng))
        maps = depth_maps(points, TEN_VIEWS[view : view + 1], zoo.IMAGE_SIZE)
        images = maps.expand(-1, 3, -1, -1)  # (B, 3, H, W)
        return visual(images.contiguous(memory_format=torch.channels_last))

    train_encoder(args, visual, encode, epochs=4)


def load_imagenet_trunk(trunk: nn.Module, path: Path) -> None:
    """Fill EfficientNet-lite0 from a file whose tensors stand in the same order."""
    source = [
        value
        for key, value in torch.load(path, weights_only=True).items()
        if not key.startswith("_fc.")
    ]
    state = trunk.state_dict()
    if [v.shape for v in source] != [v.shape for v in state.values()]:
        raise ValueError(f"{path} does not hold EfficientNet-lite0 in timm's order.")
    trunk.load_state_dict(dict(zip(state, source, strict=True)))


def train_points(args: argparse.Namespace) -> None:
    """Stage 3: points to their class's text, from half to all of the patches."""
    torch.manual_seed(args.seed)
    encoder = zoo.build_point_encoder(args.stage)
    full = encoder.config

    def encode(points: Tensor, rng: torch.Generator) -> Tensor:
        # No weight depends on the number of patches; fewer of them cost less and keep
        # the encoder from leaning on a single one (Uni3D's patch dropout).
        low, high = full.num_groups // 2, full.num_groups + 1
        count = int(torch.randint(low, high, (1,), generator=rng))
        encoder.config = dataclasses.replace(full, num_groups=count)
        return encoder(points)

    train_encoder(args, encoder, encode, epochs=9)


def make_card(args: argparse.Namespace, trained_on: str, scores: dict) -> dict:
    """What a reader of the weights wants to know."""
    given = {
        key: value.name if isinstance(value, Path) else value
        for key, value in vars(args).items()
        if value is not None and key not in ("stage", "out")
    }
    return {
        "stage": args.stage,
        "command": f"python scripts/pretrain_lab.py {args.stage}",
        "options": given,
        "seed": args.seed,
        "trained_on": trained_on,
        "scores": scores,
        "environment": environment_summary(),
    }


def main() -> None:
    """Read the command line and train one stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=zoo.STAGES)
    parser.add_argument("--clip-text", type=Path, required=True)
    parser.add_argument("--modelnet", type=Path)
    parser.add_argument("--imagenet", type=Path)
    parser.add_argument("--shapes-per-class", type=int, default=100)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=zoo.tiny_folder())
    args = parser.parse_args()
    tune_allocator()
    {"text": train_text, "image": train_image}.get(args.stage, train_points)(args)


if __name__ == "__main__":
    main()
