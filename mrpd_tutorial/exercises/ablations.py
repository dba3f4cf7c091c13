"""Exercises on ablations: which epoch, how many numbers, is a difference one."""

from collections.abc import Mapping, Sequence
from math import comb, erfc, sqrt
from statistics import NormalDist

import torch
from torch import Tensor

from mrpd_tutorial.exercises.base import Attempt, Exercise, expect
from mrpd_tutorial.metrics import paired_interval
from mrpd_tutorial.runtime import generator

__all__ = ["EXERCISES", "best_epoch", "mcnemar", "prompt_share"]


def best_epoch(history: Sequence[Mapping[str, float]]) -> int:
    """The epoch with the best mean of clean and attacked accuracy on val.

    Of equals the last, as in the package (`DistillConfig.selection`, "mean").

    Args:
        history: a row for each epoch with "epoch", "val_clean", "val_attacked", and
            "test_attacked", which is there to be left alone.
    """
    best = max(
        history, key=lambda row: (row["val_clean"] + row["val_attacked"], row["epoch"])
    )
    return int(best["epoch"])


def _test_best_epoch(attempt: Attempt) -> None:
    names = ("epoch", "val_clean", "val_attacked", "test_attacked")
    rows = (
        (1, 0.75, 0.125, 0.25),
        (2, 0.625, 0.375, 0.375),
        (3, 0.5, 0.5, 0.25),
        (4, 0.25, 0.625, 0.5),
        (5, 0.375, 0.5, 0.375),
    )
    history = [dict(zip(names, row, strict=True)) for row in rows]
    expect(
        attempt(history),
        3,
        "Five epochs",
        {
            "That is the best epoch on the TEST set: whoever chooses there reports the "
            "luck of the choice as accuracy.": 4,
            "Epochs 2 and 3 are equal on val: the last of equals, as in the package.": (
                2
            ),
            "Those epochs count from 1: take the row's own number, not its place.": 2,
            "That is the best clean accuracy; the mean of clean and attacked is "
            "asked.": 1,
            "That is the last epoch, whatever its accuracy.": 5,
        },
        0,
    )
    higher = [{**row, "test_attacked": 1 - row["test_attacked"]} for row in history]
    expect(attempt(higher), 3, "The same with other test accuracies", None, 0)
    clean = [{**row, "val_attacked": 0.5} for row in history]
    expect(attempt(clean), 1, "The same, all equal under attack", None, 0)


def prompt_share(length: int, width: int, sets: int, frozen: int) -> float:
    """The share of a hardened student's parameters that was learned.

    Args:
        length: prompt tokens.
        width: numbers in a token.
        sets: 1 for prompts at the input; for deep prompts, one set for each block.
        frozen: parameters of the student itself.
    """
    learned = length * width * sets
    return learned / (learned + frozen)


def _test_prompt_share(attempt: Attempt) -> None:
    for setting in ((8, 64, 1, 10_000), (32, 192, 12, 200_000)):
        length, width, sets, frozen = setting
        one = length * width
        expect(
            attempt(*setting),
            prompt_share(*setting),
            f"{length} tokens of {width}, {sets} sets, {frozen} frozen",
            {
                "Prompts are parameters as well: divide by learned and frozen "
                "together.": one * sets / frozen,
                "Deep prompts have a set for each block.": one / (one + frozen),
                "That is the frozen share.": 1 - prompt_share(*setting),
                "That is a percentage: a share lies in 0..1.": 100
                * prompt_share(*setting),
            },
            1e-6,
        )


def _pair() -> tuple[Tensor, Tensor]:
    """Two models that are right on nearly the same 200 clouds."""
    first = torch.rand(200, generator=generator(0)) < 0.6
    draw = torch.rand(200, generator=generator(1))
    return first, torch.where(draw < 0.1, draw < 0.075, first)


def _test_paired_interval(attempt: Attempt) -> None:
    first, second = _pair()
    middle, low, high = paired_interval(first, second)
    z = NormalDist().inv_cdf(0.975)
    shares = float(second.double().mean()), float(first.double().mean())
    apart = z * sqrt(sum(p * (1 - p) for p in shares) / 200)
    raw = float((second.double() - first.double()).std())
    expect(
        attempt(first, second),
        (middle, low, high),
        "Two models on the same 200 clouds",
        {
            "That is the interval for two different sets of clouds. These are the "
            "same: take the differences cloud by cloud, their spread is smaller.": (
                middle,
                middle - apart,
                middle + apart,
            ),
            "That is the spread of single clouds: the mean of n has a spread smaller "
            "by √n.": (middle, middle - z * raw, middle + z * raw),
            "The sign is the other way round: second minus first.": (
                -middle,
                -high,
                -low,
            ),
            "A 95 % interval reaches 1.96 standard errors to each side, not 1.": (
                middle,
                middle - (high - middle) / z,
                middle + (high - middle) / z,
            ),
        },
        5e-4,
    )


def mcnemar(first: Tensor, second: Tensor) -> float:
    """The exact two-sided p-value of McNemar's test that two models are equally good.

    Only clouds on which exactly one of them is right say anything; if the two are
    equally good, each of these is a fair coin.

    Args:
        first: (B,) bool, whether the first model was right.
        second: (B,) bool, the same clouds, the second model.

    Returns:
        Between 0 and 1; 1 where the two are right on the same clouds.
    """
    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    n = only_first + only_second
    tail = sum(comb(n, i) for i in range(min(only_first, only_second) + 1)) / 2**n
    return min(1.0, 2 * tail)


def _test_mcnemar(attempt: Attempt) -> None:
    first, second = _pair()
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    shares = first.double().mean(), second.double().mean()
    pooled = float(sum(shares)) / 2
    z = float(shares[1] - shares[0]) / sqrt(pooled * (1 - pooled) * 2 / 200)
    expect(
        attempt(first, second),
        mcnemar(first, second),
        f"{b} clouds only the first had right, {c} only the second",
        {
            "That is one tail: two-sided is twice that, because either could have "
            "been the better one.": mcnemar(first, second) / 2,
            "That is the test for two different sets of clouds; on the same clouds "
            "only those count on which the two differ.": erfc(abs(z) / sqrt(2)),
            "That is the χ² approximation; so few clouds need the binomial sum.": erfc(
                abs(b - c) / sqrt(b + c) / sqrt(2)
            ),
            "That is the χ² approximation with continuity; so few clouds need the "
            "binomial sum.": erfc((abs(b - c) - 1) / sqrt(b + c) / sqrt(2)),
        },
        1e-5,
    )
    expect(attempt(first, first), 1.0, "A model against itself")
    even = torch.tensor([True, False] * 3)
    expect(attempt(even, ~even), 1.0, "Three clouds each: a p-value is at most 1")
    expect(attempt(second, first), mcnemar(first, second), "The models swapped")


EXERCISES = {
    "best_epoch": Exercise(
        reference=best_epoch,
        test=_test_best_epoch,
        tested="The epoch was chosen on val alone, and of equals the last.",
        level="easy",
        minutes=5,
    ),
    "prompt_share": Exercise(
        reference=prompt_share,
        test=_test_prompt_share,
        tested="A student with prompts at the input, and one with deep prompts.",
        level="easy",
        minutes=5,
    ),
    "paired_interval": Exercise(
        reference=paired_interval,
        test=_test_paired_interval,
        tested="Two models on the same 200 clouds, their difference and its interval.",
        level="hard",
        minutes=15,
    ),
    "mcnemar": Exercise(
        reference=mcnemar,
        test=_test_mcnemar,
        tested="Two models on the same clouds, either way round, and a tie.",
        level="research",
        minutes=25,
    ),
}
