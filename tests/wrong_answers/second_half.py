"""Wrong answers to the exercises of notebooks 06 to 11."""

import torch
from torch.nn import functional as F

from mrpd_tutorial.exercises import EXERCISES


def right(name):
    return EXERCISES[name].reference


def linear_overhead(tokens, prompts, width, mlp_width):
    return prompts / tokens


def on_test(history):
    return max(history, key=lambda row: row["test_attacked"])["epoch"]


def first_of_equals(history):
    score = [row["val_clean"] + row["val_attacked"] for row in history]
    return history[score.index(max(score))]["epoch"]


def independent(first, second):
    a, b = float(first.double().mean()), float(second.double().mean())
    half = 1.959964 * ((a * (1 - a) + b * (1 - b)) / len(first)) ** 0.5
    return b - a, b - a - half, b - a + half


def swapped(first, second):
    middle, low, high = right("paired_interval")(first, second)
    return -middle, -high, -low


def unpaired_test(first, second):
    a, b = first.double().mean(), second.double().mean()
    pooled = (a + b) / 2
    z = (b - a) / (pooled * (1 - pooled) * 2 / len(first)) ** 0.5
    return float(torch.special.erfc(z.abs() / 2**0.5))


def one_draw(model, points, labels, seeds):
    return right("eot_gradient")(model, points, labels, seeds[:1])


def summed_draws(model, points, labels, seeds):
    return len(seeds) * right("eot_gradient")(model, points, labels, seeds)


def gradient_at(model, points, labels):
    points = points.detach().requires_grad_(True)
    loss = F.cross_entropy(model(points), labels, reduction="sum")
    return torch.autograd.grad(loss, points)[0]


def undefended(model, defense, points, labels):
    return gradient_at(model, points, labels)


def same_index(model, defense, points, labels):
    return gradient_at(model, defense(points), labels)


def margins(all_logits, labels):
    found = []
    for logits in all_logits:
        true = logits.gather(1, labels[:, None])[:, 0]
        found.append(true - logits.scatter(1, labels[:, None], -torch.inf).amax(1))
    return torch.stack(found)


def ratio_of_totals(errors, reference):
    return sum(map(sum, errors.values())) / sum(map(sum, reference.values()))


def mean_error(errors, reference):
    values = [value for row in errors.values() for value in row]
    return sum(values) / len(values)


def over_the_batch(displacement, count):
    length = displacement.norm(dim=-1)
    limit = length.flatten().topk(max(1, count * len(length))).values[-1]
    return torch.where((length >= limit)[..., None], displacement, 0.0)


def by_coordinate(displacement, count):
    flat = displacement.abs().flatten(1)
    limit = flat.topk(max(1, 3 * count), 1).values[:, -1:]
    mask = (flat >= limit).unflatten(1, displacement.shape[1:])
    return torch.where(mask, displacement, 0.0)


def normal_part(points, displacement, k):
    return displacement - right("surface_step")(points, displacement, k)


def radial(points, displacement, k):
    outward = F.normalize(points, dim=-1)
    return displacement - (displacement * outward).sum(-1, keepdim=True) * outward


def others_alone(points, displacement, k):
    near = points[:, None] - points[:, :, None]  # (B, N, N, 3), from each to all
    order = near.square().sum(-1).argsort(2)[..., 1 : k + 1]  # (B, N, k)
    near = near.take_along_dim(order[..., None], 2)
    near = near - near.mean(2, keepdim=True)
    normal = torch.linalg.eigh(near.transpose(2, 3) @ near)[1][..., 0]
    return displacement - (displacement * normal).sum(-1, keepdim=True) * normal


def ious(predicted, labels, ids, empty):
    values = []
    for part in ids:
        union = int(((predicted == part) | (labels == part)).sum())
        both = int(((predicted == part) & (labels == part)).sum())
        values.append(both / union if union else empty)
    return sum(values) / len(values)


def absent_is_zero(predicted, labels, parts):
    rows = zip(predicted, labels, parts, strict=True)
    return torch.tensor([ious(p, t, ids, 0.0) for p, t, ids in rows])


def right_points(predicted, labels, parts):
    return (predicted == labels).float().mean(1)


def every_point(logits, labels):
    return F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(1)


def those_left(logits, labels):
    each = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    kept = logits.argmax(-1) == labels
    return (each * kept).sum(1) / kept.sum(1)


def hidden_vote(labels, pixels, visible, parts):
    return right("part_votes")(labels, pixels, torch.ones_like(visible), parts)


def unseen_is_zero(labels, pixels, visible, parts):
    return right("part_votes")(labels, pixels, visible, parts).clamp(min=0)


def worst_row(rows, model):
    own = [row for row in rows if row["model"] == model]
    worst = min(own, key=lambda row: row["accuracy"])
    return worst["attack"], worst["accuracy"]


def worst_made_on_it(rows, model):
    own = [r for r in rows if r["model"] == model and r["threat_model"] == "static"]
    worst = min(own, key=lambda row: row["accuracy"])
    return worst["attack"], worst["accuracy"]


def pieces(jobs, rank, world):
    size = -(-len(jobs) // world)
    return list(range(rank * size, min(len(jobs), (rank + 1) * size)))


def paid_twice(rows, clouds, processes):
    total = sum(row["attack_seconds"] or 0 for row in rows)
    return total * clouds / rows[0]["n"] / processes / 3600


def unscaled(rows, clouds, processes):
    return right("hours_needed")(rows, rows[0]["n"], processes)


WRONG = {
    "attack_success_rate": (
        (lambda before, after: 1 - float(after.float().mean()), "all clouds that are"),
        (
            lambda before, after: float((before & ~after).float().mean()),
            "Divide by the clouds that were right before",
        ),
    ),
    "worst_case": (
        (lambda correct: float(correct.float().mean(1).min()), "strongest single"),
        (lambda correct: float(correct.float().mean()), "the mean over attacks"),
    ),
    "overhead": (
        (linear_overhead, "Attention is quadratic"),
        (lambda *given: 0.0, "Nothing is free"),
    ),
    "best_epoch": (
        (on_test, "on the TEST set"),
        (first_of_equals, "the last of equals"),
    ),
    "prompt_share": (
        (lambda length, width, sets, frozen: length * width * sets / frozen, "as well"),
        (
            lambda length, width, sets, frozen: (
                length * width / (length * width + frozen)
            ),
            "a set for each block",
        ),
    ),
    "paired_interval": (
        (independent, "two different sets of clouds"),
        (swapped, "second minus first"),
    ),
    "mcnemar": (
        (lambda *given: right("mcnemar")(*given) / 2, "one tail"),
        (unpaired_test, "two different sets of clouds"),
    ),
    "eot_gradient": ((one_draw, "a single draw"), (summed_draws, "sum over draws")),
    "bpda_gradient": (
        (undefended, "without the defense"),
        (same_index, "nearest input point"),
    ),
    "joint_loss": (
        (lambda logits, labels: -margins(logits, labels).sum(0), "without the clamp"),
        (
            lambda logits, labels: -margins(logits, labels).amin(0).clamp(min=0),
            "as soon as ONE model",
        ),
    ),
    "corruption_error": (
        (ratio_of_totals, "in a ratio of totals"),
        (mean_error, "mean error"),
    ),
    "few_points": (
        (over_the_batch, "longest of the whole batch"),
        (by_coordinate, "Single coordinates"),
    ),
    "surface_step": (
        (normal_part, "part along the normal"),
        (radial, "not the direction from 0"),
        (others_alone, "was left out"),
    ),
    "shape_ious": (
        (absent_is_zero, "it counts 1, not 0"),
        (right_points, "IoU divides by the union"),
    ),
    "segmentation_loss": (
        (every_point, "spend itself on them"),
        (those_left, "Divide by all N points"),
    ),
    "part_votes": (
        (hidden_vote, "does not see"),
        (unseen_is_zero, "nobody voted"),
    ),
    "worst_adaptive": (
        (worst_row, "Jitter is a corruption"),
        (worst_made_on_it, r"\(static\)"),
    ),
    "cells_of_rank": (
        (
            lambda jobs, rank, world: list(range(rank, len(jobs), world)),
            "dealt out one by one",
        ),
        (pieces, "cut into pieces"),
    ),
    "hours_needed": (
        (paid_twice, "paid for twice"),
        (unscaled, "scale them"),
    ),
}
