"""Where added points begin: at critical points, in clusters of them, as objects."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mrpd_tutorial.attacks.search import Search

__all__ = [
    "aeroplane",
    "critical_order",
    "cluster_centres",
    "critical_clusters",
    "dbscan",
]


def critical_order(search: Search) -> Int[Tensor, "B N"]:
    """Points of the clean clouds, those first whose gradient is longest.

    The critical points of Xiang et al. 2019 [arXiv 1809.07016, section 4.2] in
    IF-Defense's reading: by the gradient of the cross-entropy. Points of equal gradient
    (those that a maximum over points does not see have none) keep their order.
    """
    index = torch.arange(len(search.clean), device=search.clean.device)
    points = search.clean.clone().requires_grad_(True)
    loss = search.cross_entropy(search.logits(points, index), index)
    length = search.gradient(loss, points, index).norm(dim=-1)  # (B, N)
    return length.argsort(dim=1, descending=True, stable=True)


def dbscan(
    points: Float[Tensor, "n 3"], radius: float, min_points: int
) -> Int[Tensor, "n"]:
    """Density-based clusters 0, 1, ... by their first core point; -1: in none.

    Implements Ester et al. 1996 (KDD): core points have `min_points` points, themselves
    included, within `radius`; core points within `radius` of one another share a
    cluster; other points join the first cluster with a core point within `radius`. All
    pairs at once: for the few hundred critical points of a cloud.
    """
    count = len(points)
    near = torch.cdist(points[None], points[None])[0] <= radius  # (n, n)
    core = near.sum(1) >= min_points
    reach = near & core[None, :]
    number = torch.arange(count, device=points.device)
    # Each core point takes the smallest number in reach, until none changes.
    label = torch.where(core, number, count)
    while True:
        smallest = torch.where(reach, label[None, :], count).amin(1)
        spread = torch.where(core, torch.minimum(label, smallest), label)
        if torch.equal(spread, label):
            break
        label = spread
    label = torch.where(core, label, smallest)
    found, renamed = label.unique(return_inverse=True)
    return torch.where(label == count, -1, renamed) if len(found) else label


def critical_clusters(
    critical: Float[Tensor, "n 3"],
    clusters: int,
    size: int,
    generator: torch.Generator,
    radius: float = 0.2,
    min_points: int = 3,
) -> list[Float[Tensor, "s 3"]]:
    """`size` points of each of the largest DBSCAN clusters of critical points.

    Xiang et al. 2019, section 4.2, with IF-Defense's radius 0.2 and 3 points. Points
    are drawn without repetition where a cluster has enough of them. Where there are too
    few clusters, the `size` critical points around one drawn at random stand in.

    Args:
        critical: (n, 3) the cloud's critical points.
        clusters: how many to return.
        size: points of each; fewer only where the cloud has fewer critical points.
        generator: source of randomness, on the CPU.
        radius: DBSCAN's, in units of the cloud.
        min_points: DBSCAN's.

    Returns:
        `clusters` tensors (size, 3).
    """
    label = dbscan(critical, radius, min_points)
    members = critical[label >= 0] if bool((label >= 0).any()) else critical
    counts = torch.bincount(label[label >= 0], minlength=1)
    largest = counts.argsort(descending=True, stable=True)[:clusters]
    chosen = []
    for number in largest[counts[largest] > 0].tolist():
        group = critical[label == number]
        if len(group) >= size:
            draw = torch.randperm(len(group), generator=generator)[:size]
        else:
            draw = torch.randint(len(group), (size,), generator=generator)
        chosen.append(group[draw.to(group.device)])
    while len(chosen) < clusters:
        centre = members[int(torch.randint(len(members), (1,), generator=generator))]
        around = (members - centre).norm(dim=1).argsort(stable=True)
        position = torch.arange(size, device=members.device) % len(members)
        chosen.append(members[around[position]])
    return chosen


def cluster_centres(groups: list[Tensor]) -> Float[Tensor, "c 3"]:
    """The point of each cluster that is nearest to its mean: it lies on the surface."""
    middle = [group - group.mean(0) for group in groups]
    return torch.stack(
        [
            group[offset.norm(dim=1).argmin()]
            for group, offset in zip(groups, middle, strict=True)
        ]
    )


def aeroplane(count: int, generator: torch.Generator) -> Float[Tensor, "count 3"]:
    """A small aeroplane made of ellipsoids, in the unit sphere, y up, nose along x.

    A shape of our own: Xiang et al. and IF-Defense add an aeroplane of ModelNet40,
    which we do not ship. Fuselage, wings, tail plane and fin are sampled in proportions
    of 5 : 3 : 1 : 1.

    Args:
        count: number of points, 1 or more.
        generator: source of randomness, on the CPU.
    """
    half_axes = torch.tensor(
        [[1.0, 0.12, 0.12], [0.18, 0.03, 0.9], [0.1, 0.02, 0.35], [0.12, 0.2, 0.02]]
    )
    centres = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [-0.9, 0.05, 0], [-0.9, 0.2, 0]])
    position = torch.arange(count) % 10
    part = (position >= 5).long() + (position >= 8).long() + (position >= 9).long()
    sphere = torch.randn(count, 3, generator=generator)
    sphere = sphere / sphere.norm(dim=1, keepdim=True)
    points = sphere * half_axes[part] + centres[part]
    points = points - points.mean(0)
    return points / points.norm(dim=1).amax().clamp(min=1e-6)
