"""Metrics against closed forms and tables."""

import math

import pytest
import torch

from mrpd_tutorial.metrics import (
    accuracy,
    attack_success_rate,
    paired_interval,
    wilson_interval,
)
from mrpd_tutorial.runtime import generator


def test_accuracy_counts():
    logits = torch.randn(200, 7, generator=generator(0))
    labels = torch.randint(7, (200,), generator=generator(1))
    right = sum(
        max(range(7), key=lambda c: row[c]) == label
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    )
    assert accuracy(logits, labels) == right / 200
    assert accuracy(torch.eye(3), torch.arange(3)) == 1
    assert accuracy(torch.eye(3), (torch.arange(3) + 1) % 3) == 0


def test_accuracy_refuses_bad_input():
    labels = torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"logits must have shape \(B, C\)"):
        accuracy(torch.zeros(2), labels)
    with pytest.raises(ValueError, match="at least one cloud"):
        accuracy(torch.zeros(0, 3), labels[:0])
    with pytest.raises(ValueError, match="finite"):
        accuracy(torch.full((2, 3), math.nan), labels)
    with pytest.raises(ValueError, match=r"must lie in 0\.\.2"):
        accuracy(torch.zeros(2, 3), torch.tensor([0, 3]))


@pytest.mark.parametrize("successes, n", [(0, 10), (8, 10), (10, 10), (431, 1186)])
def test_wilson_bounds_solve_their_equation(successes, n):
    """The bounds are the p where |share - p| = z sqrt(p (1 - p) / n)."""
    z, share = 1.959964, successes / n
    low, high = wilson_interval(successes, n)
    assert 0 <= low <= share <= high <= 1
    for bound in (low, high):
        spread = z * math.sqrt(bound * (1 - bound) / n)
        if bound not in (0.0, 1.0):
            assert abs(share - bound) == pytest.approx(spread, rel=1e-5)


def test_wilson_known_values():
    assert wilson_interval(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert wilson_interval(10, 10) == (pytest.approx(0.7225, abs=1e-4), 1.0)
    narrow, wide = wilson_interval(50, 100, 0.5), wilson_interval(50, 100, 0.99)
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]


def test_a_paired_interval_is_of_the_differences():
    first = torch.rand(400, generator=generator(0)) < 0.6
    assert paired_interval(first, first) == (0, 0, 0)
    other = first.clone()
    other[:40] = True
    gain = int((~first[:40]).sum())  # so many clouds more, none fewer
    middle, low, high = paired_interval(first, other)
    assert middle == pytest.approx(gain / 400)
    share = gain / 400  # of a variable that is 0 or 1
    error = (share * (1 - share) / 399) ** 0.5
    assert high - middle == pytest.approx(1.959964 * error)
    assert low == pytest.approx(middle - (high - middle))
    back = paired_interval(other, first)
    assert back == pytest.approx((-middle, -high, -low))
    for bad in ((first, first[1:]), (first[:1], first[:1])):
        with pytest.raises(ValueError, match="the same two or more clouds"):
            paired_interval(*bad)
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        paired_interval(first, first, 95)


def test_wilson_refuses_bad_input():
    for successes, n in [(0, 0), (-1, 5), (6, 5)]:
        with pytest.raises(ValueError, match=r"successes must lie in 0\.\.n"):
            wilson_interval(successes, n)
    with pytest.raises(ValueError, match="level"):
        wilson_interval(1, 2, 95)


def test_attack_success_rate():
    before = torch.tensor([True, True, True, False, False])
    after = torch.tensor([True, False, False, False, True])
    assert attack_success_rate(before, after) == pytest.approx(2 / 3)
    assert attack_success_rate(before, before) == 0
    assert attack_success_rate(before, ~before) == 1
    assert attack_success_rate(~torch.ones(3, dtype=torch.bool), before[:3]) == 0


def test_attack_success_rate_refuses_bad_input():
    flags = torch.tensor([True, False])
    with pytest.raises(ValueError, match="before_correct must be bool"):
        attack_success_rate(flags.float(), flags)
    with pytest.raises(ValueError, match="same length"):
        attack_success_rate(flags, flags[:1])
