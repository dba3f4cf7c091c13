"""Exercises on the report: success rate, the worst of all attacks, prompts' cost."""

import torch
from torch import Tensor

from mrpd_tutorial import metrics
from mrpd_tutorial.exercises.base import Attempt, Exercise, expect
from mrpd_tutorial.runtime import generator

__all__ = ["EXERCISES", "overhead", "worst_case"]


def _test_success_rate(attempt: Attempt) -> None:
    before = torch.tensor([True, True, True, True, False, False])
    after = torch.tensor([True, False, False, False, False, True])
    expect(
        attempt(before, after),
        metrics.attack_success_rate(before, after),
        "Of six clouds four right before, three of those misled",
        {
            "That is the share of all clouds that are wrong after. Some were wrong "
            "before, and one became right: neither is the attack's doing.": 1
            - float(after.float().mean()),
            "Divide by the clouds that were right before, not by all.": 3 / 6,
            "That is what is left: success is the opposite.": 1 / 4,
        },
    )
    none = torch.zeros(3, dtype=torch.bool)
    every = ~none
    expect(attempt(every, none), 1.0, "Three right before, none after")
    expect(attempt(every, every), 0.0, "Three right before and after")


def worst_case(correct: Tensor) -> float:
    """Accuracy where each cloud meets the attack that is worst for it.

    Args:
        correct: (A, B) bool, whether cloud b was named correctly under attack a.
    """
    return float(correct.all(0).double().mean())


def _test_worst_case(attempt: Attempt) -> None:
    for attacks, seed in ((1, 0), (3, 1), (4, 2)):
        chances = torch.rand(attacks, 60, generator=generator(seed))
        correct = chances > 0.3
        expect(
            attempt(correct),
            worst_case(correct),
            f"{attacks} attacks, 60 clouds",
            {
                "That is the accuracy under the strongest single attack. Another "
                "attack misleads other clouds: take the worst for each cloud, then "
                "the mean.": float(correct.double().mean(1).amin()),
                "That is the mean over attacks: an attacker chooses, and does not "
                "average.": float(correct.double().mean()),
                "A cloud counts only if it holds under ALL attacks, not under any.": (
                    float(correct.any(0).double().mean())
                ),
            },
        )


def block_cost(tokens: int, width: int, mlp_width: int) -> int:
    """Multiply-adds of one transformer block for one cloud.

    Queries, keys, values and the output: 4 T W²; scores and their use: 2 T² W; the two
    layers of the MLP: 2 T W M.
    """
    return (
        4 * tokens * width**2 + 2 * tokens**2 * width + 2 * tokens * width * mlp_width
    )


def overhead(tokens: int, prompts: int, width: int, mlp_width: int) -> float:
    """The share of multiply-adds that prompts add to a block.

    Args:
        tokens: T without prompts, the class token among them.
        prompts: L more.
        width: W of a token.
        mlp_width: M of the MLP's hidden layer.

    Returns:
        (with - without) / without.
    """
    before = block_cost(tokens, width, mlp_width)
    return block_cost(tokens + prompts, width, mlp_width) / before - 1


def _test_overhead(attempt: Attempt) -> None:
    for setting in ((65, 8, 64, 256), (513, 32, 192, 768), (65, 0, 64, 256)):
        tokens, prompts, width, mlp_width = setting
        linear = 4 * width**2 + 2 * width * mlp_width
        fixed = linear * tokens + 2 * tokens**2 * width
        single = linear + 2 * (tokens + prompts) * width
        expect(
            attempt(*setting),
            overhead(*setting),
            f"T = {tokens}, L = {prompts}, W = {width}, M = {mlp_width}",
            {
                "Nothing is free: prompts pass through every layer, as tokens do. Only "
                "the teachers are gone by then.": 0.0,
                "Attention is quadratic in the number of tokens; that answer is "
                "linear, L / T.": prompts / tokens,
                "That is with over without: subtract 1.": overhead(*setting) + 1,
                "The prompts' own scores are counted once: keys AND queries grow, "
                "from T² to (T + L)².": (
                    linear * prompts + 2 * tokens * prompts * width
                )
                / fixed,
                "The old tokens look at the prompts, too: from T² to (T + L)².": single
                * prompts
                / fixed,
            },
            1e-5,
        )


EXERCISES = {
    "attack_success_rate": Exercise(
        reference=metrics.attack_success_rate,
        test=_test_success_rate,
        tested="Clouds that were wrong before the attack do not count.",
        level="easy",
        minutes=5,
    ),
    "worst_case": Exercise(
        reference=worst_case,
        test=_test_worst_case,
        tested="One, three and four attacks: a cloud counts if it holds under all.",
        level="medium",
        minutes=10,
    ),
    "overhead": Exercise(
        reference=overhead,
        test=_test_overhead,
        tested="Two encoders with prompts, and one without, to five digits.",
        level="hard",
        minutes=20,
    ),
}
