"""Ensembles: means by hand, and one attack that misleads all members."""

import pytest
import torch

from mrpd_tutorial.attacks import PGD, Ensemble
from mrpd_tutorial.runtime import generator


class Along(torch.nn.Module):
    """Two classes: is the centroid above 0 along an axis?"""

    def __init__(self, axis: int, scale: float = 1.0) -> None:
        super().__init__()
        self.axis, self.scale = axis, torch.nn.Parameter(torch.tensor(scale))
        self.eval()

    def forward(self, points):
        value = self.scale * points[..., self.axis].mean(1)
        return torch.stack([value, -value], 1)


@pytest.fixture
def clouds():
    points = 0.02 + 0.3 * torch.randn(6, 16, 3, generator=generator(0))
    return points - points.mean(1, keepdim=True) + 0.02


def test_means_by_hand(clouds):
    x, y = Along(0), Along(1, 3.0)
    torch.testing.assert_close(
        Ensemble([x, y], weights=[1, 3])(clouds), 0.25 * x(clouds) + 0.75 * y(clouds)
    )
    mixed = Ensemble([x, y], average="probability")(clouds)
    wanted = (x(clouds).softmax(1) + y(clouds).softmax(1)) / 2
    torch.testing.assert_close(mixed.softmax(1), wanted)
    torch.testing.assert_close(mixed.logsumexp(1), torch.zeros(6), atol=1e-6, rtol=0)


def test_one_attack_misleads_all_members(clouds):
    x, y = Along(0), Along(1)
    labels = torch.zeros(6, dtype=torch.long)
    attack = PGD(eps=0.05, steps=10, step_size=0.02)
    alone = attack(x, clouds, labels).points
    assert (x(alone).argmax(1) == 1).all() and (y(alone).argmax(1) == 0).all()
    joint = attack(Ensemble([x, y]), clouds, labels).points
    assert (x(joint).argmax(1) == 1).all() and (y(joint).argmax(1) == 1).all()
    assert x.scale.grad is None and x.scale.requires_grad  # frozen, then as before


def test_members_stay_in_their_mode():
    normed = torch.nn.Sequential(torch.nn.BatchNorm1d(3)).train()
    normed[0].eval()
    Ensemble([normed, Along(0)])
    assert normed.training and not normed[0].training


def test_bad_ensembles(clouds):
    with pytest.raises(ValueError, match="at least one model"):
        Ensemble([])
    with pytest.raises(ValueError, match="a number above 0 for each of 2"):
        Ensemble([Along(0), Along(1)], weights=[1.0])
    with pytest.raises(ValueError, match="average must be one of"):
        Ensemble([Along(0)], average="votes")
    three = Ensemble([Along(0), lambda points: torch.zeros(len(points), 3)])
    with pytest.raises(ValueError, match="the same classes"):
        three(clouds)
