"""Geometry against slow loops and closed forms, values and gradients."""

import pytest
import torch

from mrpd_tutorial import geometry
from mrpd_tutorial.runtime import generator


def clouds(batch: int, count: int, seed: int = 0, dtype=torch.float32):
    return torch.rand(batch, count, 3, generator=generator(seed), dtype=dtype) - 0.5


def test_normalise_puts_clouds_in_the_unit_sphere():
    points = geometry.normalise(clouds(4, 50) * 7 + 3)
    assert torch.allclose(points.mean(1), torch.zeros(4, 3), atol=1e-6)
    assert torch.allclose(points.norm(dim=-1).amax(1), torch.ones(4), atol=1e-6)
    again = geometry.normalise(points)
    assert torch.allclose(again, points, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e4])
def test_normalise_of_equal_points_is_zero(value):
    points = torch.full((2, 7, 3), value, requires_grad=True)
    result = geometry.normalise(points)
    assert torch.equal(result, torch.zeros(2, 7, 3))
    result.sum().backward()
    assert torch.isfinite(points.grad).all()


def test_pairwise_squared_distances_match_cdist():
    a, b = clouds(3, 20), clouds(3, 30, seed=1)
    assert torch.allclose(
        geometry.pairwise_squared_distances(a, b), torch.cdist(a, b) ** 2, atol=1e-6
    )
    assert (geometry.pairwise_squared_distances(a * 100, a * 100) >= 0).all()


def test_knn_matches_a_sort_and_finds_itself_first():
    points = clouds(2, 40)
    distances, indices = geometry.knn(points, points, 5)
    expected = (torch.cdist(points, points) ** 2).sort(-1).values[..., :5]
    assert torch.allclose(distances, expected, atol=1e-6)
    assert torch.equal(indices[..., 0], torch.arange(40).expand(2, 40))
    assert (distances[..., 0] == 0).all()


def test_knn_is_differentiable_in_both_clouds():
    a = clouds(1, 5, dtype=torch.float64).requires_grad_()
    b = clouds(1, 9, seed=3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: geometry.knn(a, b, 3)[0], (a, b))


def test_farthest_point_sampling_matches_the_definition():
    points = clouds(3, 60)
    chosen = geometry.farthest_point_sampling(points, 12, start=4)
    for cloud, row in zip(points, chosen.tolist(), strict=True):
        expected = [4]
        while len(expected) < 12:
            nearest = torch.cdist(cloud, cloud[expected]).amin(1)
            expected.append(int(nearest.argmax()))
        assert row == expected


def test_farthest_point_sampling_of_all_points_is_a_permutation():
    chosen = geometry.farthest_point_sampling(clouds(2, 25), 25)
    assert torch.equal(chosen.sort(1).values, torch.arange(25).expand(2, 25))


def test_gather_points_takes_any_index_shape():
    points = clouds(2, 9)
    indices = torch.randint(0, 9, (2, 4, 3), generator=generator(1))
    result = geometry.gather_points(points, indices)
    assert result.shape == (2, 4, 3, 3)
    assert torch.equal(result[1, 2, 1], points[1, indices[1, 2, 1]])


def test_distances_between_clouds_of_known_shape():
    a = torch.tensor([[[0.0, 0, 0], [1, 0, 0]]])
    b = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [1, 2, 0]]])
    # Only b's third point is away from a: squared distance 4, one of three points.
    assert geometry.chamfer_distance(a, b).item() == pytest.approx(4 / 3)
    assert geometry.hausdorff_distance(a, b).item() == pytest.approx(2)
    assert geometry.chamfer_distance(a, a).item() == 0
    assert torch.equal(
        geometry.hausdorff_distance(a, b), geometry.hausdorff_distance(b, a)
    )


def test_chamfer_gradient():
    a = clouds(1, 6, dtype=torch.float64).requires_grad_()
    b = clouds(1, 7, seed=3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(geometry.chamfer_distance, (a, b))


def test_bad_input():
    points = clouds(1, 4)
    with pytest.raises(ValueError, match=r"count must lie in \[1, 4\]; received 5"):
        geometry.farthest_point_sampling(points, 5)
    with pytest.raises(ValueError, match=r"start must lie in \[0, 3\]"):
        geometry.farthest_point_sampling(points, 2, start=4)
    with pytest.raises(ValueError, match=r"k must lie in \[1, 4\]; received 9"):
        geometry.knn(points, points, 9)


@pytest.mark.gpu
def test_device_is_kept():
    points = clouds(2, 64).cuda()
    assert geometry.normalise(points).is_cuda
    chosen = geometry.farthest_point_sampling(points, 8)
    assert torch.equal(chosen.cpu(), geometry.farthest_point_sampling(points.cpu(), 8))
