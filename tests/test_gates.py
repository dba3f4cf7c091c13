"""Gates: against slow loops, closed forms and known answers."""

import math

import pytest
import torch
from torch.nn import functional as F
from unit_features import draw_labels, unit

from mrpd_tutorial.gates import (
    confidence_gate,
    entropy_gate,
    released_gate,
    soft_gate,
    threshold_gate,
)
from mrpd_tutorial.losses import gated_contrastive_loss


def slow_gate(reference, texts, labels, k, temperature):
    """Eqs. 5-6, one number at a time."""
    passed = []
    for row, label in zip(reference.tolist(), labels.tolist(), strict=True):
        logits = [
            sum(a * b for a, b in zip(row, text, strict=True)) / temperature
            for text in texts.tolist()
        ]
        best = sorted(range(len(logits)), key=lambda c: (-logits[c], c))[:k]
        passed.append(label in best)
    return torch.tensor(passed)


@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_gate_equals_the_slow_loop(k):
    reference, texts = unit(50, 6, seed=1), unit(7, 6, seed=2)
    labels = draw_labels(50, 7)
    gate = confidence_gate(reference, texts, labels, k=k, temperature=0.2)
    assert gate.dtype == torch.bool
    torch.testing.assert_close(gate, slow_gate(reference, texts, labels, k, 0.2))
    assert 0 < int(gate.sum()) < 50 or k == 7


def test_perfect_teacher_passes_wrong_teacher_does_not():
    texts, labels = unit(40, 64), draw_labels(320, 40)
    assert confidence_gate(texts[labels], texts, labels).all()
    assert not confidence_gate(texts[(labels + 1) % 40], texts, labels).any()


def test_released_gate_lets_a_fortieth_through_ours_everything():
    """Departure 1 of the released code: batch positions compared with class ids."""
    texts = unit(40, 64)
    ours = released = 0
    batches = 1000
    for seed in range(batches):
        labels = draw_labels(32, 40, seed)
        perfect = texts[labels]
        ours += int(confidence_gate(perfect, texts, labels).sum())
        released += int(released_gate(perfect, texts, labels).sum())
    assert ours == 32 * batches
    assert released / (32 * batches) == pytest.approx(0.025, abs=0.003)


def test_released_gate_by_hand():
    texts = torch.eye(3)
    # Row 0 finds itself at position 0 and has class 0; row 1 finds itself at position 1
    # but has class 2; row 2 finds itself at position 2 but has class 1.
    labels = torch.tensor([0, 2, 1])
    gate = released_gate(texts[labels], texts, labels)
    assert gate.tolist() == [True, False, False]
    assert released_gate(torch.zeros(0, 3), texts, labels[:0]).shape == (0,)


def test_gate_ties_rank_by_class_id():
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    reference = torch.tensor([[1.0, 0.0]]).repeat(3, 1)
    labels = torch.tensor([0, 1, 2])
    assert confidence_gate(reference, texts, labels).tolist() == [True, False, False]
    two = confidence_gate(reference, texts, labels, k=2)
    assert two.tolist() == [True, True, False]


def test_gate_changes_nothing_and_carries_no_gradient():
    reference, texts = unit(8, 4).requires_grad_(), unit(3, 4, seed=1).requires_grad_()
    before = reference.detach().clone(), texts.detach().clone()
    gate = confidence_gate(reference, texts, draw_labels(8, 3))
    assert not gate.requires_grad
    torch.testing.assert_close(reference.detach(), before[0], rtol=0, atol=0)
    torch.testing.assert_close(texts.detach(), before[1], rtol=0, atol=0)


@pytest.mark.parametrize(
    "gate_function",
    [confidence_gate, released_gate, threshold_gate, entropy_gate, soft_gate],
)
def test_gate_refuses_bad_input(gate_function):
    reference, texts, labels = unit(4, 6), unit(3, 6), torch.tensor([0, 1, 2, 0])
    with pytest.raises(ValueError, match=r"must lie in 0\.\.2"):
        gate_function(reference, texts, torch.tensor([0, 1, 2, 3]))
    with pytest.raises(ValueError, match="6 columns"):
        gate_function(reference[:, :5], texts, labels)
    with pytest.raises(ValueError, match="int64"):
        gate_function(reference, texts, labels.float())
    with pytest.raises(ValueError, match="one entry for each"):
        gate_function(reference, texts, labels[:3])
    with pytest.raises(ValueError, match="finite"):
        gate_function(reference * math.nan, texts, labels)
    with pytest.raises(ValueError, match="row for each class"):
        gate_function(reference, texts[:0], labels)


def test_gate_refuses_k_and_temperature_out_of_range():
    reference, texts, labels = unit(4, 6), unit(3, 6), torch.tensor([0, 1, 2, 0])
    with pytest.raises(ValueError, match=r"k must lie in \[1, 3\]; received 4"):
        confidence_gate(reference, texts, labels, k=4)
    with pytest.raises(ValueError, match="k must"):
        confidence_gate(reference, texts, labels, k=0)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        confidence_gate(reference, texts, labels, temperature=0.0)


def test_soft_gate_by_hand():
    texts = torch.eye(3)
    reference = F.normalize(torch.tensor([[1.0, 0, 0], [1.0, 1.0, 0]]), dim=1)
    weights = soft_gate(reference, texts, torch.tensor([0, 1]), temperature=0.5)
    e = math.exp
    half = 1 / math.sqrt(2) / 0.5
    wanted = [e(2) / (e(2) + 2), e(half) / (2 * e(half) + 1)]
    torch.testing.assert_close(weights, torch.tensor(wanted))


@pytest.mark.parametrize("gate", [threshold_gate, entropy_gate, soft_gate])
def test_other_gates_with_a_perfect_and_a_wrong_teacher(gate):
    texts, labels = torch.eye(5), torch.tensor([0, 3, 4, 4])
    right = gate(texts[labels], texts, labels).float()
    wrong = gate(texts[(labels + 1) % 5], texts, labels).float()
    assert (right > 0.99).all()
    # Entropy sees that the teacher is sure, not that it is wrong.
    assert (wrong > 0.99).all() if gate is entropy_gate else (wrong < 0.01).all()


def test_a_teacher_without_an_opinion_passes_no_entropy_gate_below_one():
    texts, labels = torch.eye(4), torch.tensor([0, 1])
    none = torch.full((2, 4), 0.5)
    assert not entropy_gate(none, texts, labels, level=0.99).any()
    assert entropy_gate(none, texts, labels, level=1.0).all()
    assert threshold_gate(none, texts, labels, level=0.25).all()
    assert not threshold_gate(none, texts, labels, level=0.26).any()
    torch.testing.assert_close(soft_gate(none, texts, labels), torch.full((2,), 0.25))


def test_levels_open_and_close_the_gates():
    reference, texts, labels = unit(64, 8), unit(6, 8, seed=1), draw_labels(64, 6)
    for gate, order in ((threshold_gate, -1), (entropy_gate, 1)):
        passed = [
            int(gate(reference, texts, labels, level, 0.3).sum())
            for level in (0.0, 0.3, 0.6, 0.9)[::order]
        ]
        assert passed == sorted(passed) and passed[0] < passed[-1]


def test_refused_levels_and_temperatures():
    reference, texts, labels = unit(4, 6), unit(3, 6), torch.tensor([0, 1, 2, 0])
    for gate in (threshold_gate, entropy_gate):
        with pytest.raises(ValueError, match=r"level must lie in \[0, 1\]"):
            gate(reference, texts, labels, level=1.5)
        with pytest.raises(ValueError, match="temperature must be above 0"):
            gate(reference, texts, labels, temperature=0.0)
    with pytest.raises(ValueError, match="two classes at least"):
        entropy_gate(reference, texts[:1], labels * 0)


def test_weights_count_by_their_size_in_the_contrastive_loss():
    student, reference = unit(5, 8), unit(5, 8, seed=1)
    weights = torch.tensor([1.0, 0.5, 0.0, 0.25, 1.0])
    kept = [0, 1, 3, 4]
    similarity = student[kept] @ reference[kept].T / 0.3
    each = [
        (similarity[i].logsumexp(0) - similarity[i, i])
        + (similarity[:, i].logsumexp(0) - similarity[i, i])
        for i in range(4)
    ]
    wanted = sum(w * e for w, e in zip(weights[kept], each, strict=True)) / 2.75 / 2
    found = gated_contrastive_loss(student, reference, weights, 0.3)
    torch.testing.assert_close(found, wanted)
    # Weights of one are the gate that lets all pass.
    torch.testing.assert_close(
        gated_contrastive_loss(student, reference, torch.ones(5), 0.3),
        gated_contrastive_loss(student, reference, torch.ones(5).bool(), 0.3),
    )
    with pytest.raises(ValueError, match="weights from 0 to 1"):
        gated_contrastive_loss(student, reference, 2 * weights, 0.3)
