"""The slow waves on a point cloud: a graph, its Laplacian, its first eigenvectors."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mrpd_tutorial.attacks.surface import neighbour_indices
from mrpd_tutorial.checks import check_points, check_positive

__all__ = ["graph_laplacian", "low_frequency_basis", "low_frequency_part"]

# A basis is good enough once |L v - lambda v| is below this share of the spectrum.
_TOLERANCE = 1e-5
_ROUNDS = 30  # of filter and projection, at most; one to three are usual


def _edges(
    cloud: Float[Tensor, "N 3"], k: int
) -> tuple[Int[Tensor, "E"], Int[Tensor, "E"], Float[Tensor, "E"]]:
    """Both ends and the weight of each edge; every edge is listed in both directions.

    Two points are joined if either is among the k nearest of the other, by a weight of
    exp(-|x_i - x_j|^2).
    """
    count = len(cloud)
    to = neighbour_indices(cloud[None], k)[0]  # (N, K)
    start = torch.arange(count, device=cloud.device)[:, None].expand_as(to)
    low, high = torch.minimum(start, to), torch.maximum(start, to)
    pair = torch.unique((low * count + high)[low < high])  # no loops
    low, high = pair // count, pair % count
    weight = torch.exp(-(cloud[low] - cloud[high]).square().sum(-1))
    ends = torch.cat([low, high]), torch.cat([high, low])
    return *ends, weight.repeat(2)


def graph_laplacian(cloud: Float[Tensor, "N 3"], k: int = 30) -> Float[Tensor, "N N"]:
    """L = D - A of one cloud's neighbour graph, A_ij = exp(-|x_i - x_j|^2).

    Two points are joined if either is among the k nearest of the other.
    """
    start, end, weight = _edges(cloud, k)
    joined = cloud.new_zeros(len(cloud), len(cloud))
    joined[start, end] = weight
    return joined.sum(1).diag() - joined


class _Laplacian:
    """The same as a product L @ block, without a matrix of N x N numbers."""

    def __init__(self, cloud: Float[Tensor, "N 3"], k: int) -> None:
        start, end, weight = _edges(cloud, k)
        count = len(cloud)
        degree = cloud.new_zeros(count).index_add_(0, start, weight)
        diagonal = torch.arange(count, device=cloud.device)
        places = torch.stack([torch.cat([diagonal, start]), torch.cat([diagonal, end])])
        self._matrix = torch.sparse_coo_tensor(
            places,
            torch.cat([degree, -weight]),
            (count, count),
            check_invariants=False,
        ).coalesce()
        self.largest = 2 * float(degree.max())  # Gershgorin: no eigenvalue is larger

    def __matmul__(self, block: Float[Tensor, "N p"]) -> Float[Tensor, "N p"]:
        return torch.sparse.mm(self._matrix, block)


def low_frequency_basis(
    points: Tensor, count: int = 100, k: int = 30
) -> Float[Tensor, "B N F"]:
    """The `count` slowest waves on each cloud: eigenvectors of its graph's Laplacian.

    Of small clouds (N up to 20 times `count`) by one dense decomposition each, about
    0.2 s for 1024 points on one core. Their waves get as short as neighbourhoods are
    wide, eigenvalues lie close, and nothing iterative is faster. Of larger ones by
    subspace iteration with a Chebyshev filter [Zhou, Saad et al. 2006, J. Comput. Phys.
    219, 172]: time and memory grow with N, not with its cube and its square. Residuals
    there are at most 1e-5 of the largest eigenvalue, so that waves whose eigenvalues
    are that near to one another may mix.

    Args:
        points: (B, N, 3).
        count: wanted number of eigenvectors, those with the smallest eigenvalues.
        k: neighbours in the graph.

    Returns:
        (B, N, F) orthonormal columns, slowest first, F = min(count, N), without
        gradient.

    Raises:
        ValueError: on clouds of another shape, or numbers below 1.
    """
    check_points(points)
    check_positive("count", count)
    with torch.no_grad():
        # Cloud by cloud, so that the batch has no effect.
        return torch.stack([_basis(cloud, count, k) for cloud in points.detach()])


def _basis(cloud: Float[Tensor, "N 3"], count: int, k: int) -> Float[Tensor, "N F"]:
    if len(cloud) <= 20 * count:
        vectors = torch.linalg.eigh(graph_laplacian(cloud, k)).eigenvectors
        return vectors[:, :count]
    laplacian = _Laplacian(cloud, k)
    # More vectors than are wanted: the last of them converge slowly.
    width = count + max(8, count // 2)
    source = torch.Generator().manual_seed(0)
    block = torch.randn(len(cloud), width, generator=source).to(cloud)
    top, cut = _bounds(laplacian, block[:, :8], width)
    for _ in range(_ROUNDS):
        block = _filtered(laplacian, block, cut, top)
        block = torch.linalg.qr(block).Q
        image = laplacian @ block
        values, turn = torch.linalg.eigh(block.T @ image)
        block, image = block @ turn, image @ turn
        residual = (image - block * values)[:, :count].norm(dim=0)
        if bool((residual <= _TOLERANCE * top).all()):
            break
        cut = float(values[-1])
    return block[:, :count]


def _bounds(
    laplacian: _Laplacian, start: Float[Tensor, "N s"], width: int
) -> tuple[float, float]:
    """An upper bound of the spectrum, and about where `width` eigenvalues lie below.

    By Lanczos from each column of `start`: the largest Ritz value plus the last
    residual bounds the spectrum [Zhou and Li 2011, Linear Algebra Appl. 435, 480], and
    Ritz values weighted by the squared first components of their vectors count
    eigenvalues on average over starts [Lin, Saad, Yang 2016, arXiv 1308.5467].
    """
    steps, columns = min(24, len(start) - 1), start.shape[1]
    small = start.new_zeros(columns, steps, steps)
    before, now = torch.zeros_like(start), start / start.norm(dim=0)
    beta = start.new_zeros(columns)
    for i in range(steps):
        after = laplacian @ now - beta * before
        alpha = (after * now).sum(0)
        after = after - alpha * now
        small[:, i, i] = alpha
        beta = after.norm(dim=0)
        if i + 1 < steps:
            small[:, i, i + 1] = small[:, i + 1, i] = beta
        before, now = now, after / beta.clamp(min=1e-30)
    ritz, vectors = torch.linalg.eigh(small)  # (s, steps)
    top = min(float((ritz[:, -1] + beta).max()), laplacian.largest)
    values, order = ritz.flatten().sort()
    below = vectors[:, 0].square().flatten()[order].cumsum(0)
    wanted = columns * width / len(start)
    place = min(int((below < wanted).sum()), len(values) - 1)
    return top, min(float(values[place]), 0.9 * top)


def _filtered(
    laplacian: _Laplacian, block: Float[Tensor, "N p"], cut: float, top: float
) -> Float[Tensor, "N p"]:
    """A Chebyshev polynomial of L times the block: what is below `cut` grows.

    Degree such that eigenvalue 0 grows by 1e6 against those in [cut, top].
    """
    half, middle = (top - cut) / 2, (top + cut) / 2
    growth = float(torch.acosh(torch.tensor(middle / half)))
    degree = max(8, min(40, round(16 / growth)))
    before, now = block, (laplacian @ block - middle * block) / half
    for _ in range(degree - 1):
        after = (laplacian @ now - middle * now) * (2 / half) - before
        before, now = now, after
        # Only ratios matter: no overflow, and small numbers stay normal.
        size = now.abs().amax()
        before, now = before / size, now / size
    return now


def low_frequency_part(
    points: Float[Tensor, "B N 3"], basis: Float[Tensor, "B N F"]
) -> Float[Tensor, "B N 3"]:
    """Projection of a cloud on its basis; the rest is the high-frequency part."""
    return basis @ (basis.transpose(1, 2) @ points)  # (B, N, F) @ (B, F, 3)
