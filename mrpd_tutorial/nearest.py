"""Nearest points by a full search: no tensor of all pairs, no sorting of all scores."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mrpd_tutorial.checks import check_between

__all__ = ["nearest_both_ways", "nearest_indices"]

# Scores held at once: 4 MiB in float32 stay in the processor's caches; a GPU has room.
_TILE = {"cpu": 2**20, "cuda": 2**26}


def nearest_indices(
    query: Float[Tensor, "B N 3"],
    points: Float[Tensor, "B M 3"],
    k: int = 1,
    *,
    exclude_self: bool = False,
) -> tuple[Int[Tensor, "B N k"], Float[Tensor, "B N"]]:
    """The k nearest points of each query, nearest first, and how far the others are.

    In tiles: memory grows with N and with M, not with N x M.

    Args:
        query: (B, N, 3).
        points: (B, M, 3), M >= k.
        k: number of neighbours.
        exclude_self: query and points are one cloud, and no point is its own neighbour;
            then M > k.

    Returns:
        Indices (B, N, k) into points, and (B, N) the distance of the last of them:
        all other points are at least as far, up to rounding.

    Raises:
        ValueError: if there are fewer points than neighbours.
    """
    check_between("k", k, 1, points.shape[1] - exclude_self)
    with torch.no_grad():
        # About the centroid of the points, rounding is smallest.
        centre = points.mean(dim=1, keepdim=True)
        query, points = query - centre, points - centre
        # |p|^2 - 2qp orders points as |q - p|^2 does, and is one matrix product.
        left = torch.cat([-2 * query, torch.ones_like(query[..., :1])], -1)  # (B, N, 4)
        right = torch.cat([points, points.square().sum(-1, keepdim=True)], -1)
        parts = _parts(points.shape[1], k)
        spare = -points.shape[1] % parts
        if spare:  # points at infinity fill up the last part
            padding = right.new_tensor([0, 0, 0, torch.inf])
            padding = padding.expand(len(right), spare, 4)
            right = torch.cat([right, padding], dim=1)
        right = right.transpose(1, 2)  # (B, 4, M)
        clouds, rows = _tile(query, right.shape[2])
        found = [
            _search_rows(*pair, rows, k, parts, exclude_self)
            for pair in zip(left.split(clouds), right.split(clouds), strict=True)
        ]
        # Where NaN comes after the padding, some answer: any, but a point.
        indices = torch.cat(found).clamp(max=points.shape[1] - 1)
        last = points.take_along_dim(indices[..., -1:], 1)  # (B, N, 3)
        return indices, (last - query).norm(dim=-1)


def nearest_both_ways(
    a: Float[Tensor, "B N 3"], b: Float[Tensor, "B M 3"]
) -> tuple[Int[Tensor, "B N"], Int[Tensor, "B M"]]:
    """The point of b nearest to each of a, and the reverse, from one set of scores.

    In tiles, as nearest_indices: memory grows with N and with M, not with N x M.
    """
    with torch.no_grad():
        centre = b.mean(dim=1, keepdim=True)
        a, b = a - centre, b - centre
        own = a.square().sum(-1, keepdim=True)
        left = torch.cat([-2 * a, torch.ones_like(own), own], -1)  # (B, N, 5)
        other = b.square().sum(-1, keepdim=True)
        right = torch.cat([b, other, torch.ones_like(other)], -1).transpose(1, 2)
        clouds, rows = _tile(a, b.shape[1])
        rows = max(1, rows // 32) * 32
        pairs = zip(left.split(clouds), right.split(clouds), strict=True)
        to_b, to_a = zip(*[_both_rows(*pair, rows) for pair in pairs], strict=True)
        return torch.cat(to_b), torch.cat(to_a)


def _tile(query: Float[Tensor, "B N 3"], count: int) -> tuple[int, int]:
    """How many clouds, and how many rows of each, are held at once."""
    size = _TILE.get(query.device.type, _TILE["cpu"])
    clouds = max(1, size // (query.shape[1] * count))
    return clouds, max(1, size // (min(clouds, len(query)) * count))


def _search_rows(
    left: Float[Tensor, "b N 4"],
    right: Float[Tensor, "b 4 M"],
    rows: int,
    k: int,
    parts: int,
    exclude_self: bool,
) -> Int[Tensor, "b N k"]:
    found = []
    for start in range(0, left.shape[1], rows):
        scores = torch.bmm(left[:, start : start + rows], right)  # (b, rows, M)
        if exclude_self:
            own = torch.arange(start, start + scores.shape[1], device=left.device)
            own = own[None, :, None].expand(len(left), -1, 1)
            scores.scatter_(2, own, torch.inf)
        found.append(_smallest(scores, k, parts))
    return torch.cat(found, dim=1)


def _both_rows(
    left: Float[Tensor, "b N 5"], right: Float[Tensor, "b 5 M"], rows: int
) -> tuple[Int[Tensor, "b N"], Int[Tensor, "b M"]]:
    to_b, to_a, nearest = [], None, None
    for start in range(0, left.shape[1], rows):
        squared = torch.bmm(left[:, start : start + rows], right)  # (b, rows, M)
        to_b.append(_first_minimum(squared, 2))
        place = _first_minimum(squared, 1)  # (b, M)
        value = squared.gather(1, place[:, None])[:, 0]
        if to_a is None:
            to_a, nearest = place, value
            continue
        to_a = torch.where(value < nearest, place + start, to_a)
        nearest = torch.minimum(value, nearest)
    return torch.cat(to_b, dim=1), to_a


def _parts(count: int, k: int) -> int:
    """Into how many parts to sort `count` scores; 1 where parts do not pay."""
    size = round((count / k) ** 0.5)  # so that parts and candidates are equally many
    return -(-count // size) if size > 2 and k > 1 else 1


def _smallest(
    scores: Float[Tensor, "B n M"], k: int, parts: int
) -> Int[Tensor, "B n k"]:
    """Indices of the k smallest of M scores, smallest first.

    The k smallest lie in the k parts whose own minima are smallest: of any other part
    even the minimum has k scores before it. So a selection among the minima, which are
    quickly had, and one among the k parts replace the one among all scores. Part j
    holds the scores j, j + parts, j + 2 parts and so on.
    """
    if k == 1:
        return _first_minimum(scores, 2)[..., None]
    if parts <= k:
        return scores.topk(k, largest=False).indices
    table = scores.unflatten(2, (-1, parts))  # (B, n, M / parts, parts)
    part = table.amin(2).topk(k, largest=False, sorted=False).indices  # (B, n, k)
    rows = table.shape[2]
    chosen = table.gather(3, part[:, :, None].expand(-1, -1, rows, -1)).flatten(2)
    best = chosen.topk(k, largest=False).indices  # (B, n, k) into rows x k
    return best // k * parts + part.gather(2, best % k)


def _first_minimum(table: Float[Tensor, "B N M"], dim: int) -> Tensor:
    """argmin over dimension 1 or 2, by way of the minima of parts of 32.

    Minima are found by vector instructions, their places are not.
    """
    if table.shape[dim] % 32:
        return table.argmin(dim)
    parts = table.unflatten(dim, (-1, 32))
    part = parts.amin(dim + 1).argmin(dim)  # (B, M) or (B, N)
    wanted = part[:, None, None] if dim == 1 else part[..., None, None]
    shape = [-1, -1, -1, -1]
    shape[dim + 1] = 32
    chosen = parts.gather(dim, wanted.expand(*shape)).squeeze(dim)
    return part * 32 + chosen.argmin(dim)
