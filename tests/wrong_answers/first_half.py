"""Wrong answers to the exercises of notebooks 00 to 05."""

import math

import torch
from torch.nn import functional as F

from mrpd_tutorial.exercises import EXERCISES
from mrpd_tutorial.gates import confidence_gate, released_gate


def right(name):
    return EXERCISES[name].reference


def wald(successes, n):
    share = successes / n
    half = 1.959964 * (share * (1 - share) / n) ** 0.5
    return share - half, share + half


def global_seed(points, scale, seed):
    torch.manual_seed(seed)
    return points + scale * torch.randn(points.shape)


def unseeded(points, scale, seed):
    return points + scale * torch.randn(points.shape)


def from_the_last(points, count):
    chosen = [0]
    for _ in range(count - 1):
        distance = (points - points[chosen[-1]]).norm(dim=1)
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
    return torch.tensor(chosen)


def from_the_first(points, count):
    far = (points - points[0]).norm(dim=1).argsort(descending=True)
    return torch.cat([torch.tensor([0]), far[: count - 1]])


def cube(clean, moved, eps):
    return clean + (moved - clean).clamp(-eps, eps)


def surface(clean, moved, eps):
    return clean + eps * F.normalize(moved - clean, dim=-1)


def descend(model, points, labels, eps):
    return 2 * points - right("one_step")(model, points, labels, eps)


def in_place(model, points, labels, eps):
    points += right("one_step")(model, points, labels, eps) - points
    return points


def sign_step(model, points, labels, eps):
    free = points.clone().requires_grad_(True)
    F.cross_entropy(model(free), labels, reduction="sum").backward()
    return points + eps * free.grad.sign()


def ball_around_here(model, points, clean, labels, step_size, eps):
    return right("ifgm_step")(model, points, points, labels, step_size, eps)


def downhill(model, points, clean, labels, step_size, eps):
    found = right("ifgm_step")(model, points, clean, labels, step_size, eps)
    return 2 * points - found


def only_centred(clean, attacked):
    left = attacked - attacked.mean(1, keepdim=True) - clean
    return 1 - left.flatten(1).norm(dim=1) / (attacked - clean).flatten(1).norm(dim=1)


def any_flag(verdicts):
    return [name for name, v in verdicts.items() if any(f.fired for f in v.values())]


def not_cleared(verdicts):
    return [
        name
        for name, v in verdicts.items()
        if any(flag.fired is not False for flag in v.values())
    ]


def wrong_share(models, points, clouds, labels):
    return torch.tensor(
        [
            [float((m(c).argmax(1) != labels).float().mean()) for m in models.values()]
            for c in clouds.values()
        ]
    )


def log_of_zero(features, texts, max_entropy, temperature):
    chances = (features @ texts.T / temperature).softmax(1)
    return -(chances * chances.log()).sum(1) <= max_entropy


def gate_with_gradient(features, texts, labels, temperature):
    chances = (features @ texts.T / temperature).softmax(1)
    return chances.gather(1, labels[:, None])[:, 0]


def sound_in_order(gate, texts):
    labels = torch.arange(len(texts))  # where positions and classes are the same
    wrong = texts.roll(1, 0)
    return bool(gate(texts, texts, labels).all() & ~gate(wrong, texts, labels).any())


def sound_when_open(gate, texts):
    labels = torch.arange(3 * len(texts)).flip(0) % len(texts)
    return bool(gate(texts[labels], texts, labels).all())


def half_contrastive(student, reference, temperature):
    similarity = student @ reference.T / temperature
    return F.cross_entropy(similarity, torch.arange(len(student)))


def no_temperature(student, reference, temperature):
    return right("contrastive_loss")(student, reference, 1.0)


WRONG = {
    "accuracy": (
        (
            lambda logits, labels: (
                logits.softmax(1).gather(1, labels[:, None]).mean().item()
            ),
            "mean probability",
        ),
        (
            lambda logits, labels: int((logits.argmax(1) == labels).sum()),
            "That is a count",
        ),
    ),
    "seeded_noise": (
        (global_seed, "global random state was changed"),
        (unseeded, "Seed 7 twice gave different noise"),
    ),
    "wilson_interval": (
        (wald, "normal approximation"),
        (
            lambda k, n: right("wilson_interval")(k, n)[::-1],
            "The upper end comes second",
        ),
    ),
    "normalise": (
        (
            lambda points: points / points.norm(dim=1).max(),
            "Subtract the mean over the points",
        ),
        (
            lambda points: (points - points.mean(0)) / points.std(),
            "Largest radius .* Divide by the largest norm",
        ),
    ),
    "turn_about_y": (
        (lambda p, angle: right("turn_about_y")(p, -angle), "the other way round"),
        (lambda points, angle: points, "Nothing moved"),
    ),
    "changed_share": (
        (
            lambda before, after, t: float((after - before > t).float().mean()),
            "take the absolute difference",
        ),
        (lambda before, after, t: float((after - before).abs().mean()), "on average"),
    ),
    "farthest_points": (
        (from_the_last, "NEAREST of all points chosen"),
        (from_the_first, "near 10, which is chosen already"),
    ),
    "into_ball": ((cube, "that is a cube"), (surface, "moved to its surface")),
    "one_step": ((descend, "an attack climbs it"), (sign_step, "The sign of the grad")),
    "ifgm_step": (
        (ball_around_here, "the ball is around the clean cloud"),
        (downhill, "an attack climbs it"),
    ),
    "undone": (
        (only_centred, "only centres. Normalising takes away 1.00"),
        (lambda clean, attacked: 0 * clean[:, 0, 0], "takes away 1.00, all of it"),
    ),
    "masked_victims": (
        (any_flag, "C is not masked: fired there: random model"),
        (not_cleared, "is not masked"),
    ),
    "zero_shot": (
        (lambda features, texts: (features @ texts.T).argmax(1), "Long texts win"),
        (
            lambda features, texts: F.normalize(features) @ F.normalize(texts).T,
            r"shape \(50, 6\), not \(50,\)\. Those are similarities",
        ),
    ),
    "average_views": (
        (lambda views: F.normalize(views.mean(1), dim=-1), "outvote the others"),
        (lambda views: F.normalize(views, dim=-1).mean(1), "shorter than 1"),
    ),
    "success_table": (
        (wrong_share, "wrong without an attack"),
        (lambda *given: right("success_table")(*given).T, "other way round"),
    ),
    "gate": (
        (
            lambda features, texts, labels, k: released_gate(features, texts, labels),
            "Positions in the batch",
        ),
        (
            lambda features, texts, labels, k: confidence_gate(
                features, texts, labels, 1
            ),
            "Only the best class was asked",
        ),
    ),
    "entropy_gate": (
        (lambda *given: ~right("entropy_gate")(*given), "lets the unsure pass"),
        (log_of_zero, "0 log 0 became NaN"),
    ),
    "soft_gate": (
        (
            lambda features, texts, labels, t: (
                (features @ texts.T / t).softmax(1).amax(1).detach()
            ),
            "sure and wrong",
        ),
        (gate_with_gradient, "carries a gradient"),
    ),
    "is_sound": (
        (sound_in_order, "shuffle the labels"),
        (sound_when_open, "A wrong teacher must not"),
    ),
    "contrastive_loss": (
        (half_contrastive, "Only the rows were compared"),
        (no_temperature, "The temperature is missing"),
    ),
    "best_log_variance": (
        (lambda loss, floor: math.log(loss), "below the floor"),
        (lambda loss, floor: max(loss, floor), "That is the loss itself"),
    ),
    "total_loss": (
        (
            lambda losses, lambdas, floor: (
                torch.exp(-lambdas.clamp(min=floor)) * losses
            ).sum(),
            r"The term \+ λ is missing",
        ),
        (
            lambda losses, lambdas, floor: (
                torch.exp(-lambdas) * losses + lambdas
            ).sum(),
            "below the floor must count as the floor",
        ),
    ),
}
