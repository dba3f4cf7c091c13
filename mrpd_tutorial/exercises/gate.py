"""Exercises on the confidence gate: top-k, entropy, soft, and the released mix-up."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from mrpd_tutorial import gates
from mrpd_tutorial.exercises.base import Attempt, Exercise, expect, unchanged
from mrpd_tutorial.runtime import generator

__all__ = ["EXERCISES", "entropy_gate", "is_sound", "soft_gate"]

Gate = Callable[[Tensor, Tensor, Tensor], Tensor]


def _unit_rows(rows: int, dim: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, dim, generator=generator(seed)), dim=1)


def _sample() -> tuple[Tensor, Tensor, Tensor]:
    """Features (40, 16), texts (7, 16), labels (40,); every third cloud is misnamed."""
    texts = _unit_rows(7, 16, 0)
    labels = torch.randint(0, 7, (40,), generator=generator(2))
    named = torch.where(torch.arange(40) % 3 > 0, labels, (labels + 1) % 7)
    return F.normalize(texts[named] + _unit_rows(40, 16, 1), dim=1), texts, labels


def _test_gate(attempt: Attempt) -> None:
    features, texts, labels = _sample()
    released = gates.released_gate(features, texts, labels)
    for k in (1, 3, 7):
        wanted = gates.confidence_gate(features, texts, labels, k)
        expect(
            attempt(features, texts, labels, k),
            wanted,
            f"40 clouds, 7 classes, k = {k}",
            {
                "Positions in the batch were compared with class ids, as the released "
                "code does: the text features must be one row for each CLASS.": (
                    released
                ),
                "Only the best class was asked; the label may be any of the k "
                "best.": gates.confidence_gate(features, texts, labels, 1),
                "It is open where it should be shut.": ~wanted,
            },
        )


def entropy_gate(
    reference_features: Tensor,
    class_text_features: Tensor,
    max_entropy: float,
    temperature: float,
) -> Tensor:
    """Let a teacher teach where it is sure, whatever the label: low entropy.

    Args:
        reference_features: (B, D), unit norm.
        class_text_features: (C, D), unit norm.
        max_entropy: in nats, 0 to log C.
        temperature: the probabilities are softmax(cosines / temperature).

    Returns:
        (B,) bool, entropy at most max_entropy.
    """
    chances = (reference_features @ class_text_features.T / temperature).softmax(1)
    return torch.special.entr(chances).sum(1) <= max_entropy  # entr(0) is 0


def _test_entropy_gate(attempt: Attempt) -> None:
    features, texts, _ = _sample()
    logits = features @ texts.T / 0.1
    entropy = torch.special.entr(logits.softmax(1)).sum(1)
    for limit in (0.5, 1.0):
        expect(
            attempt(features, texts, limit, 0.1),
            entropy <= limit,
            f"40 clouds, at most {limit} nats, temperature 0.1",
            {
                "It lets the unsure pass and stops the sure.": entropy > limit,
                "The temperature is missing: cosines alone give nearly even "
                "probabilities.": entropy_gate(features, texts, limit, 1.0),
                "That is entropy in bits; the limit is in nats: natural logarithm.": (
                    entropy / torch.log(torch.tensor(2.0)) <= limit
                ),
            },
        )
    # So cold that probabilities are exactly 0 and 1, where 0 log 0 must count 0.
    found = attempt(features, texts, 0.1, 1e-4)
    every = torch.ones(40, dtype=torch.bool)
    expect(
        found,
        every,
        "At temperature 0.0001 the teacher is entirely sure",
        {
            "0 log 0 became NaN, and no comparison with NaN is true: count it as 0 "
            "(torch.special.entr does).": ~every,
            "0 log 0 became NaN for some: count it as 0 (torch.special.entr does).": (
                found
            ),
        },
    )


def soft_gate(
    reference_features: Tensor,
    class_text_features: Tensor,
    labels: Tensor,
    temperature: float,
) -> Tensor:
    """How much a teacher may teach: its probability of the true class.

    Args:
        reference_features: (B, D), unit norm.
        class_text_features: (C, D), unit norm.
        labels: (B,).
        temperature: the probabilities are softmax(cosines / temperature).

    Returns:
        (B,) in 0..1, without gradient: a weight is no way to lower a loss.
    """
    with torch.no_grad():
        logits = reference_features @ class_text_features.T / temperature  # (B, C)
        return logits.softmax(1).gather(1, labels[:, None])[:, 0]


def _test_soft_gate(attempt: Attempt) -> None:
    features, texts, labels = _sample()
    features.requires_grad_(True)
    found = attempt(features, texts, labels, 0.1)
    logits = (features @ texts.T / 0.1).detach()
    rows = torch.arange(40)
    expect(
        found,
        soft_gate(features, texts, labels, 0.1),
        "40 clouds, 7 classes, temperature 0.1",
        {
            "That is the probability of the best class. A teacher can be sure and "
            "wrong: take the true class.": logits.softmax(1).amax(1),
            "That softmax runs over the batch (dim 0); it must run over the "
            "classes.": logits.softmax(0)[rows, labels],
            "The temperature is missing.": soft_gate(features, texts, labels, 1.0),
        },
    )
    assert not found.requires_grad, (
        "The gate carries a gradient: training could lower the loss by shutting the "
        "gate. Use torch.no_grad() or detach()."
    )


def is_sound(gate: Gate, class_text_features: Tensor) -> bool:
    """Whether a gate lets a perfect teacher through and stops one that is wrong.

    Labels are in no order and more than classes: where label i is i, positions in the
    batch and class ids are the same numbers, and a mix-up cannot be seen.

    Args:
        gate: `(reference_features (B, D), class_text_features (C, D), labels (B,)) ->
            (B,) bool`.
        class_text_features: (C, D), unit norm, all different.
    """
    count = len(class_text_features)
    labels = torch.arange(3 * count).flip(0) % count
    perfect = class_text_features[labels]
    wrong = class_text_features[(labels + 1) % count]
    passes = bool(gate(perfect, class_text_features, labels).all())
    stops = not bool(gate(wrong, class_text_features, labels).any())
    return passes and stops


def _test_is_sound(attempt: Attempt) -> None:
    texts = torch.eye(5)

    def shut(features: Tensor, texts: Tensor, labels: Tensor) -> Tensor:
        return torch.zeros(len(labels), dtype=torch.bool)

    def gate_open(features: Tensor, texts: Tensor, labels: Tensor) -> Tensor:
        return torch.ones(len(labels), dtype=torch.bool)

    def certain(features: Tensor, texts: Tensor, labels: Tensor) -> Tensor:
        return (features @ texts.T).amax(1) > 0.9

    cases = (
        ("the package's gate", gates.confidence_gate, True, "It has no mix-up."),
        (
            "the released gate",
            gates.released_gate,
            False,
            "It compares positions in the batch with class ids. With labels 0, 1, 2, "
            "... in order the two are the same numbers: shuffle the labels, and take "
            "more clouds than classes.",
        ),
        ("a gate that is always shut", shut, False, "A perfect teacher must pass."),
        ("a gate that is always open", gate_open, False, "A wrong teacher must not."),
        (
            "a gate that asks only for certainty",
            certain,
            False,
            "A teacher that is certain of the wrong class must not pass.",
        ),
    )
    before = texts.clone()
    for what, gate, wanted, why in cases:
        found = attempt(gate, texts)
        expect(found, wanted, f"Of {what}", {why: not wanted})
    unchanged(before, texts, "The text features")


EXERCISES = {
    "gate": Exercise(
        reference=gates.confidence_gate,
        test=_test_gate,
        tested="40 random clouds and 7 classes gate as in the package, for k of 1, 3, "
        "7.",
        level="medium",
        minutes=10,
    ),
    "entropy_gate": Exercise(
        reference=entropy_gate,
        test=_test_entropy_gate,
        tested="40 clouds at two limits, and certainty without NaN.",
        level="medium",
        minutes=10,
    ),
    "soft_gate": Exercise(
        reference=soft_gate,
        test=_test_soft_gate,
        tested="40 clouds have the probability of their true class, without gradient.",
        level="easy",
        minutes=10,
    ),
    "is_sound": Exercise(
        reference=is_sound,
        test=_test_is_sound,
        tested="Of five gates the sound one was told from the four that are not.",
        level="research",
        minutes=25,
    ),
}
