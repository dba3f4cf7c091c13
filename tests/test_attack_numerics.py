"""What attacks compute with: neighbours, eigenvectors, waves, in how much memory."""

import dataclasses

import pytest
import torch
from attack_table import TABLE, Case
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from victims import TinyPointNet, clouds

from mrpd_tutorial import nearest
from mrpd_tutorial.attacks import AOF, IFGM, MIFGM, PointAutoAttack, Transfer
from mrpd_tutorial.attacks.eigenvector import smallest_eigenvector
from mrpd_tutorial.attacks.spectrum import graph_laplacian, low_frequency_basis
from mrpd_tutorial.models.pooling import first_maxima, linear_maximum
from mrpd_tutorial.runtime import generator

pytestmark = pytest.mark.usefixtures("one_thread")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


# Neighbours


@pytest.mark.parametrize("tile", [700, 2**20])
@pytest.mark.parametrize("count", [64, 203, 320])
@pytest.mark.parametrize("k", [1, 4, 20])
def test_nearest_points_by_parts_are_those_of_all_distances(
    monkeypatch, tile, count, k
):
    monkeypatch.setitem(nearest._TILE, "cpu", tile)
    query, points = normal(3, 50, 3), normal(3, count, 3, seed=1)
    found, reach = nearest.nearest_indices(query, points, k)
    distances = torch.cdist(query, points)
    expected = distances.topk(k, largest=False)
    assert torch.equal(found, expected.indices)
    torch.testing.assert_close(reach, expected.values[..., -1])
    own, _ = nearest.nearest_indices(points, points, k, exclude_self=True)
    distances = torch.cdist(points, points)
    distances[:, range(count), range(count)] = torch.inf
    assert torch.equal(own, distances.topk(k, largest=False).indices)


@pytest.mark.parametrize("tile", [2000, 2**20])
@pytest.mark.parametrize(("n", "m"), [(64, 96), (70, 33), (128, 64)])
def test_nearest_both_ways_is_two_searches(monkeypatch, tile, n, m):
    monkeypatch.setitem(nearest._TILE, "cpu", tile)
    a, b = normal(3, n, 3), normal(3, m, 3, seed=1)
    distances = torch.cdist(a, b)
    to_b, to_a = nearest.nearest_both_ways(a, b)
    assert torch.equal(to_b, distances.argmin(2))
    assert torch.equal(to_a, distances.argmin(1))


def test_neighbours_are_points_even_where_clouds_are_not_numbers():
    points = torch.full((1, 203, 3), torch.nan)
    found, _ = nearest.nearest_indices(points, points, 4, exclude_self=True)
    assert found.max() < 203


# Eigenvectors


def symmetric(values: list[float], count: int = 200) -> Tensor:
    """(count, 3, 3) with these eigenvalues, in random frames."""
    frames = torch.linalg.qr(normal(count, 3, 3)).Q
    return frames @ torch.tensor(values).double().diag() @ frames.transpose(1, 2)


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 5],
        [-3, 0, 4],
        [0, 0, 1],
        [0, 1, 1],
        [1, 1, 1],
        [0, 0, 0],
        [1, 1 + 1e-9, 2],
        [1, 2, 2 + 1e-9],
        [1e-12, 1, 1e3],
        [1e-30, 2e-30, 3e-30],
    ],
    ids=str,
)
def test_smallest_eigenvectors_are_lapacks(values):
    matrices = symmetric(values)
    found = smallest_eigenvector(matrices)
    lengths = torch.ones(200).double()
    torch.testing.assert_close(found.norm(dim=1), lengths, rtol=1e-12, atol=0)
    size = max(map(abs, values)) or 1.0
    smallest = torch.linalg.eigvalsh(matrices)[:, :1]
    residual = (matrices @ found[..., None])[..., 0] - smallest * found
    assert residual.norm(dim=1).max() < 1e-7 * size
    if values == [1, 2, 5]:
        expected = torch.linalg.eigh(matrices).eigenvectors[..., 0]
        angle = (found * expected).sum(1).abs()
        torch.testing.assert_close(angle, lengths, rtol=1e-12, atol=0)


def test_diagonal_matrices_and_any_batch_shape_have_eigenvectors():
    matrices = torch.tensor([[3.0, 2, 1], [1, 2, 3], [2, 1, 3]]).diag_embed()
    found = smallest_eigenvector(matrices[:, None])
    expected = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])[:, None]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.abs(), expected)
    assert smallest_eigenvector(matrices[:0]).shape == (0, 3)


# Waves


def test_waves_of_large_clouds_are_those_of_the_dense_matrix():
    points = clouds(1, 400).double()
    basis = low_frequency_basis(points, 8, 10)[0]  # 400 > 20 * 8: by iteration
    laplacian = graph_laplacian(points[0], 10)
    values, vectors = torch.linalg.eigh(laplacian)
    assert values[8] - values[7] > 1e-3 * values[-1], "the test needs a gap at the cut"
    eye = torch.eye(8, dtype=torch.float64)
    torch.testing.assert_close(basis.T @ basis, eye)
    residual = laplacian @ basis - basis * values[:8]
    assert (residual.norm(dim=0) < 2e-5 * values[-1]).all()
    expected = vectors[:, :8] @ (vectors[:, :8].T @ points[0])
    found = basis @ (basis.T @ points[0])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    again = low_frequency_basis(points, 8, 10)[0]
    assert torch.equal(again, basis)


# Pooling


@pytest.mark.parametrize("count", [64, 50])
def test_the_maximum_of_a_layer_is_the_plain_one_with_its_gradients(count):
    rows = normal(3, count, 5).requires_grad_(True)
    weight, bias = normal(7, 5, seed=1).requires_grad_(True), normal(7, seed=2)
    found = linear_maximum(rows, weight, bias)
    plain = (rows @ weight.T + bias).amax(1)
    torch.testing.assert_close(found, plain)
    inputs, slope = (rows, weight), normal(3, 7, seed=3)
    ours = torch.autograd.grad((found * slope).sum(), inputs)
    theirs = torch.autograd.grad((plain * slope).sum(), inputs)
    torch.testing.assert_close(ours, theirs)
    equal = first_maxima(torch.ones(2, count, 5), torch.ones(7, 5))
    assert equal.tolist() == [[0] * 7] * 2, "the first of equals"
    late = torch.zeros(1, count, 1)
    late[0, [40, 45]] = 1.0
    assert first_maxima(late, torch.ones(1, 1)).tolist() == [[40]]


# The clean pass


@pytest.mark.parametrize("kind", [IFGM, MIFGM])
def test_the_first_step_is_taken_from_the_clean_answer(kind):
    model = TinyPointNet().double().eval()
    points = clouds(6).double()
    labels = model(points).argmax(1)
    attack = kind(eps=0.1, steps=3)
    result = attack(model, points, labels)
    assert (result.iterations == 3).all()
    assert (result.queries == 4).all(), "clean, after each step"
    # Where some clouds leave before the first step, the others are asked again.
    wrong = labels.clone()
    wrong[:2] = (wrong[:2] + 1) % 4
    mixed = dataclasses.replace(attack, criterion="success")(model, points, wrong)
    alone = dataclasses.replace(attack, criterion="success")(
        model, points[2:], labels[2:]
    )
    assert mixed.queries.tolist()[:2] == [1, 1]
    torch.testing.assert_close(mixed.points[2:], alone.points)


# Memory


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation gave."""

    def __init__(self) -> None:
        super().__init__()
        self.numel, self.name = 0, ""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            # Views (an expanded index, say) hold no memory of their own.
            if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
                held = leaf.untyped_storage().nbytes() // leaf.element_size()
                if held > self.numel:
                    self.numel, self.name = held, str(func)
        return result


def shortened(case: Case):
    """The attack with one step, where it has steps."""
    attack = case.attack
    if isinstance(attack, (PointAutoAttack, Transfer)):
        return attack
    changes = {"steps": 1, "search_steps": 1, "restarts": 1, "max_queries": 12}
    names = {field.name for field in dataclasses.fields(attack) if field.init}
    kept = {name: value for name, value in changes.items() if name in names}
    if hasattr(attack, "pairs"):
        kept["pairs"] = 2
    if isinstance(attack, AOF):
        kept["k"] = 10
    return dataclasses.replace(attack, **kept)


@pytest.mark.parametrize("case", TABLE, ids=str)
def test_no_attack_holds_all_pairs_of_a_large_cloud(monkeypatch, case):
    count = 2048
    monkeypatch.setitem(nearest._TILE, "cpu", 2**17)
    model, points = TinyPointNet().eval(), clouds(1, count)
    labels = model(points).argmax(1)
    with Largest() as largest:
        shortened(case)(model, points, labels)
    assert largest.numel < count**2 / 8, largest.name
