"""Exercises of the first notebook: a share, how sure it is, noise that repeats."""

from statistics import NormalDist

import torch
from torch import Tensor

from mrpd_tutorial import metrics
from mrpd_tutorial.exercises.base import Attempt, Exercise, expect, unchanged
from mrpd_tutorial.runtime import generator

__all__ = ["EXERCISES"]


def _test_accuracy(attempt: Attempt) -> None:
    logits = torch.randn(40, 5, generator=generator(0))
    labels = torch.randint(0, 5, (40,), generator=generator(1))
    hits = logits.argmax(1) == labels
    own = logits.softmax(1).gather(1, labels[:, None])
    expect(
        attempt(logits, labels),
        metrics.accuracy(logits, labels),
        "40 clouds, 5 classes",
        {
            "That is a count: divide by the number of clouds.": int(hits.sum()),
            "That is the mean probability of the true class. A prediction is right or "
            "wrong: compare the largest logit's class with the label.": float(
                own.mean()
            ),
            "That is the share of wrong predictions.": 1 - float(hits.float().mean()),
        },
    )
    expect(attempt(logits, logits.argmax(1)), 1.0, "A model that is always right")
    expect(attempt(logits, logits.argmin(1)), 0.0, "A model that is always wrong")


def seeded_noise(points: Tensor, scale: float, seed: int) -> Tensor:
    """Add normal noise that the seed alone decides, and touch no global state.

    Args:
        points: (B, N, 3).
        scale: standard deviation of each coordinate's noise.
        seed: the same seed gives the same noise.
    """
    return points + scale * torch.randn(points.shape, generator=generator(seed))


def _test_seeded_noise(attempt: Attempt) -> None:
    points = torch.rand(2, 500, 3, generator=generator(2))
    before, state = points.clone(), torch.random.get_rng_state()
    with torch.random.fork_rng(devices=[]):
        first = attempt(points, 0.1, 7)
        touched = not torch.equal(torch.random.get_rng_state(), state)
        torch.rand(3)  # somebody else draws in between
        again, other = attempt(points, 0.1, 7), attempt(points, 0.1, 8)
        apart = attempt(points, 0.3, 7)
    unchanged(before, points)
    shape = tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__
    expect(shape, (2, 500, 3), "Shape of the noisy clouds")
    assert torch.equal(first, again), (
        "Seed 7 twice gave different noise: make a torch.Generator from the seed in "
        "the function, and draw from that."
    )
    assert not torch.equal(first, other), (
        "Seeds 7 and 8 gave the same noise: the seed is not used."
    )
    assert not touched, (
        "torch's global random state was changed: whoever draws after this gets other "
        "numbers. Draw with generator=torch.Generator().manual_seed(seed)."
    )
    expect((first - points).std(), 0.1, "Spread of the noise at scale 0.1", None, 0.01)
    expect((first - points).mean(), 0.0, "Mean of the noise", None, 0.01)
    expect((apart - points).std(), 0.3, "Spread of the noise at scale 0.3", None, 0.03)


def _test_wilson(attempt: Attempt) -> None:
    for successes, n in ((8, 10), (0, 20), (20, 20), (93, 116)):
        share, z = successes / n, NormalDist().inv_cdf(0.975)
        half = z * (share * (1 - share) / n) ** 0.5
        scale = 1 + z * z / n
        centre = (share + z * z / (2 * n)) / scale
        narrow = z / scale * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
        expect(
            attempt(successes, n),
            metrics.wilson_interval(successes, n),
            f"{successes} right of {n}",
            {
                "That is the normal approximation (Wald): with no error in the sample "
                "it claims to be certain, and it leaves [0, 1].": (
                    share - half,
                    share + half,
                ),
                "The width is right, but the middle is not the share itself: it is "
                "drawn toward one half.": (share - narrow, share + narrow),
                "The upper end comes second.": (centre + narrow, centre - narrow),
            },
        )


EXERCISES = {
    "accuracy": Exercise(
        reference=metrics.accuracy,
        test=_test_accuracy,
        tested="The share of 40 known predictions, of all right, and of none.",
        level="easy",
        minutes=5,
    ),
    "seeded_noise": Exercise(
        reference=seeded_noise,
        test=_test_seeded_noise,
        tested="The seed decides the noise, and the global random state is untouched.",
        level="medium",
        minutes=10,
    ),
    "wilson_interval": Exercise(
        reference=metrics.wilson_interval,
        test=_test_wilson,
        tested="Four shares, none and all among them, have their 95 % intervals.",
        level="hard",
        minutes=15,
    ),
}
