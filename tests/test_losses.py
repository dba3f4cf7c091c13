"""The paper's equations against slow loops, closed forms and known answers."""

import math

import pytest
import torch
from unit_features import draw_labels, unit

from mrpd_tutorial.gates import confidence_gate
from mrpd_tutorial.losses import UncertaintyWeights, gated_contrastive_loss


def slow_contrastive(student, reference, gate, temperature):
    """Eq. 7, one number at a time, log-sum-exp by hand."""
    rows = [i for i, passed in enumerate(gate.tolist()) if passed]
    if len(rows) < 2:
        return 0.0
    s = [[float(student[i] @ reference[j]) / temperature for j in rows] for i in rows]
    columns = [list(column) for column in zip(*s, strict=True)]

    def entropy(matrix):
        terms = [
            math.log(sum(math.exp(v - row[i]) for v in row))
            for i, row in enumerate(matrix)
        ]
        return sum(terms) / len(terms)

    return (entropy(s) + entropy(columns)) / 2


@pytest.mark.parametrize("passing", [0, 1, 2, 5, 8])
def test_contrastive_loss_equals_the_slow_loop(passing):
    student = unit(8, 5, seed=1, dtype=torch.float64)
    reference = unit(8, 5, seed=2, dtype=torch.float64)
    gate = torch.arange(8).flip(0) < passing
    loss = gated_contrastive_loss(student, reference, gate, 0.1)
    expected = slow_contrastive(student, reference, gate, 0.1)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_contrastive_loss_gradients():
    student = unit(6, 4, seed=1, dtype=torch.float64).requires_grad_()
    reference = unit(6, 4, seed=2, dtype=torch.float64).requires_grad_()
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    gate = torch.tensor([True, False, True, True, False, True])

    def loss(s, r, t):
        return gated_contrastive_loss(s, r, gate, t)

    assert torch.autograd.gradcheck(loss, (student, reference, temperature))
    (gradient,) = torch.autograd.grad(loss(student, reference, temperature), student)
    assert gradient[~gate].abs().max() == 0
    assert gradient[gate].abs().amin(dim=1).min() > 0


@pytest.mark.parametrize("passing", [0, 1])
def test_fewer_than_two_rows_teach_nothing(passing):
    student = unit(4, 3).requires_grad_()
    loss = gated_contrastive_loss(student, unit(4, 3), torch.arange(4) < passing, 0.07)
    loss.backward()
    assert loss.item() == 0 and student.grad.abs().max() == 0


def test_contrastive_loss_falls_as_student_and_teacher_agree():
    reference, gate = unit(16, 32), torch.ones(16, dtype=torch.bool)
    far = gated_contrastive_loss(unit(16, 32, seed=9), reference, gate, 0.07)
    assert gated_contrastive_loss(reference, reference, gate, 0.07) < far


def test_contrastive_loss_refuses_bad_input():
    student, gate = unit(4, 3), torch.ones(4, dtype=torch.bool)
    with pytest.raises(ValueError, match="4 rows"):
        gated_contrastive_loss(student, unit(3, 3), gate, 0.07)
    with pytest.raises(ValueError, match=r"gate must be bool, or float .*\(4,\)"):
        gated_contrastive_loss(student, student, gate.long(), 0.07)
    with pytest.raises(ValueError, match=r"received .* of shape \(3,\)"):
        gated_contrastive_loss(student, student, gate[:3], 0.07)
    with pytest.raises(ValueError, match="temperature"):
        gated_contrastive_loss(student, student, gate, -1.0)
    with pytest.raises(ValueError, match="finite"):
        gated_contrastive_loss(student * math.inf, student, gate, 0.07)


def test_uncertainty_weights_closed_form():
    weighting = UncertaintyWeights(["image", "point", "text"]).double()
    with torch.no_grad():
        weighting.log_variances.copy_(torch.tensor([0.5, -0.5, 0.0]))
    losses = {
        "image": torch.tensor(1.5, dtype=torch.float64),
        "text": torch.tensor(3.0, dtype=torch.float64),
        "point": torch.tensor(0.2, dtype=torch.float64),
    }
    total = weighting(losses)
    expected = math.exp(-0.5) * 1.5 + 0.5 + math.exp(0.5) * 0.2 - 0.5 + 3.0
    assert total.item() == pytest.approx(expected)
    total.backward()
    # dL/dlambda = 1 - exp(-lambda) L
    wanted = [1 - math.exp(-0.5) * 1.5, 1 - math.exp(0.5) * 0.2, 1 - 3.0]
    assert weighting.log_variances.grad.tolist() == pytest.approx(wanted)
    assert weighting.weights()["point"] == pytest.approx(math.exp(0.5))


def test_weights_settle_where_kendall_says():
    """The best lambda for a constant loss is its logarithm."""
    weighting = UncertaintyWeights(["image", "text"])
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.1)
    losses = {"image": torch.tensor(0.6), "text": torch.tensor(2.5)}
    for _ in range(500):
        optimizer.zero_grad()
        weighting(losses).backward()
        optimizer.step()
        weighting.project_()
    wanted = [math.log(0.6), math.log(2.5)]
    assert weighting.log_variances.tolist() == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("start", [-1.0, -1.7])
def test_gradient_lives_at_the_floor(start):
    weighting = UncertaintyWeights(["text"], floor=-1.0)
    with torch.no_grad():
        weighting.log_variances.fill_(start)
    assert weighting.weights()["text"] == pytest.approx(math.e)
    weighting({"text": torch.tensor(2.0)}).backward()
    assert weighting.log_variances.grad.item() == pytest.approx(1 - math.e * 2.0)


def test_lambda_comes_back_from_the_floor_the_released_one_never():
    def run(weighting):
        optimizer = torch.optim.SGD(weighting.parameters(), lr=0.3)
        for loss in [0.01] * 20 + [5.0] * 20:  # an easy loss becomes a hard one
            optimizer.zero_grad()
            weighting({"text": torch.tensor(loss)}).backward()
            optimizer.step()
            weighting.project_()
        return weighting.weights()["text"]

    assert run(UncertaintyWeights(["text"])) == pytest.approx(1 / 5, rel=0.01)
    released = UncertaintyWeights(["text"], floor=-0.8, straight_through=False)
    assert run(released) == pytest.approx(math.exp(0.8))


def test_projection_keeps_the_floor():
    weighting = UncertaintyWeights(["image", "text"])
    with torch.no_grad():
        weighting.log_variances.copy_(torch.tensor([-3.0, 0.5]))
    weighting.project_()
    assert weighting.log_variances.tolist() == [-1.0, 0.5]


def test_uncertainty_weights_refuse_bad_input():
    with pytest.raises(ValueError, match="each loss once"):
        UncertaintyWeights([])
    with pytest.raises(ValueError, match="each loss once"):
        UncertaintyWeights(["text", "text"])
    with pytest.raises(ValueError, match="floor"):
        UncertaintyWeights(["text"], floor=0.5)
    with pytest.raises(ValueError, match="floor"):
        UncertaintyWeights(["text"], floor=math.nan)
    with pytest.raises(ValueError, match="one loss for each of image, text"):
        UncertaintyWeights(["image", "text"])({"image": torch.tensor(1.0)})


@pytest.mark.gpu
def test_losses_keep_the_device():
    texts = unit(5, 8).cuda()
    labels = draw_labels(16, 5).cuda()
    gate = confidence_gate(texts[labels], texts, labels)
    assert gate.is_cuda and gate.all()
    loss = gated_contrastive_loss(texts[labels], texts[labels], gate, 0.07)
    assert UncertaintyWeights(["text"]).cuda()({"text": loss}).is_cuda
    with pytest.raises(ValueError, match="one device"):
        confidence_gate(texts[labels], texts, labels.cpu())
