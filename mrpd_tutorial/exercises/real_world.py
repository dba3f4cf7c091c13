"""Exercises on the real world: corruption error, few points, staying on the surface."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mrpd_tutorial.attacks.surface import estimate_normals, tangent_part
from mrpd_tutorial.corruptions import mean_corruption_error
from mrpd_tutorial.exercises.base import Attempt, Exercise, expect, unchanged
from mrpd_tutorial.geometry import gather_points, knn
from mrpd_tutorial.runtime import generator

__all__ = ["EXERCISES", "corruption_error", "few_points", "surface_step"]

Errors = Mapping[str, Sequence[float]]


def corruption_error(errors: Errors, reference_errors: Errors) -> float:
    """mCE: of each corruption the error over the reference's, then the mean.

    Args:
        errors: corruption -> error rates at each severity.
        reference_errors: the same of the reference model.
    """
    return mean_corruption_error(errors, reference_errors)


def _test_corruption_error(attempt: Attempt) -> None:
    errors = {"jitter": [0.1, 0.2, 0.6], "rotate": [0.2, 0.2, 0.2], "drop": [0.5] * 3}
    reference = {
        "jitter": [0.2, 0.3, 0.4],
        "rotate": [0.1, 0.1, 0.1],
        "drop": [0.25] * 3,
    }
    sums = {name: (sum(errors[name]), sum(reference[name])) for name in errors}
    levels = [
        one / other
        for name in errors
        for one, other in zip(errors[name], reference[name], strict=True)
    ]
    expect(
        attempt(errors, reference),
        corruption_error(errors, reference),
        "Three corruptions, three severities",
        {
            "Divide corruption by corruption, then average: in a ratio of totals a "
            "corruption that is hard for everybody outweighs the others.": sum(
                own for own, _ in sums.values()
            )
            / sum(other for _, other in sums.values()),
            "That is the mean error: divide by the reference's first, so that 1 means "
            "as good as the reference.": sum(own for own, _ in sums.values()) / 9,
            "Within a corruption the severities are added up first, then divided: "
            "that is the mean of nine ratios.": sum(levels) / len(levels),
            "That is the sum over corruptions: take their mean.": 3
            * corruption_error(errors, reference),
        },
    )


def few_points(displacement: Tensor, count: int) -> Tensor:
    """Keep the `count` longest displacements of each cloud, no others (L0).

    Args:
        displacement: (B, N, 3).
        count: points that may move, 0..N.
    """
    length = displacement.norm(dim=-1)  # (B, N)
    kept = length.topk(count, dim=1).indices
    mask = torch.zeros_like(length, dtype=torch.bool).scatter(1, kept, True)
    return torch.where(mask[..., None], displacement, 0.0)


def _test_few_points(attempt: Attempt) -> None:
    # The clouds move by different amounts: the budget is each cloud's own.
    scale = torch.tensor([0.1, 0.3, 1.0])[:, None, None]
    displacement = scale * torch.randn(3, 20, 3, generator=generator(0))
    before = displacement.clone()
    found = attempt(displacement, 5)
    unchanged(before, displacement, "The displacement")
    length = displacement.norm(dim=-1)
    batch = length >= length.flatten().topk(15).values[-1]
    entries = displacement.abs().flatten(1)
    coordinates = entries >= entries.topk(15, 1).values[:, -1:]
    shortest = length <= length.topk(5, 1, largest=False).values[:, -1:]
    expect(
        found,
        few_points(displacement, 5),
        "5 of 20 points may move in each of three clouds",
        {
            "The longest of the whole batch were kept: each cloud has a budget of its "
            "own.": torch.where(batch[..., None], displacement, 0.0),
            "Single coordinates were kept: a point moves or it does not, with all "
            "three.": torch.where(coordinates.unflatten(1, (20, 3)), displacement, 0.0),
            "The shortest were kept.": torch.where(
                shortest[..., None], displacement, 0.0
            ),
            "The first were kept, not the longest.": torch.where(
                torch.arange(20)[:, None] < 5, displacement, 0.0
            ),
        },
    )
    expect(attempt(displacement, 0), torch.zeros_like(displacement), "No point")
    expect(attempt(displacement, 20), displacement, "All points")


def surface_step(points: Tensor, displacement: Tensor, k: int) -> Tensor:
    """What is left of each displacement in its point's tangent plane.

    The plane's normal is the direction in which the k nearest points (the point itself
    among them) vary least about their mean.

    Args:
        points: (B, N, 3), where the displacement begins.
        displacement: (B, N, 3).
        k: points of a neighbourhood.
    """
    return tangent_part(displacement, estimate_normals(points, k))


def _without_itself(points: Tensor, displacement: Tensor, k: int) -> Tensor:
    """The step with normals of the k nearest other points."""
    index = knn(points, points, k + 1)[1][..., 1:]  # (B, N, k)
    near = gather_points(points, index)  # (B, N, k, 3)
    near = near - near.mean(2, keepdim=True)
    normals = torch.linalg.eigh(near.transpose(2, 3) @ near)[1][..., 0]  # (B, N, 3)
    return tangent_part(displacement, normals)


def _test_surface_step(attempt: Attempt) -> None:
    # A wavy sheet, leaning, far from 0: normals are neither axes nor directions from 0.
    flat = torch.rand(2, 80, 2, generator=generator(1))
    height = 0.3 * (3 * flat).sin().sum(-1, keepdim=True) + 0.5 * flat[..., :1]
    points = torch.cat([flat, height], -1) + 2
    displacement = 0.1 * torch.randn(2, 80, 3, generator=generator(2))
    before = points.clone()
    found = attempt(points, displacement, 8)
    unchanged(before, points, "The input clouds")
    normals = estimate_normals(points, 8)
    outward = torch.nn.functional.normalize(points, dim=-1)
    centred = points - points.mean(1, keepdim=True)
    everyone = estimate_normals(points, 80)
    expect(
        found,
        surface_step(points, displacement, 8),
        "Two wavy sheets, neighbourhoods of 8",
        {
            "That is the part along the normal; the rest is wanted.": displacement
            - tangent_part(displacement, normals),
            "Nothing was taken away.": displacement,
            "The normal is not the direction from 0: that holds for a sphere "
            "alone.": tangent_part(displacement, outward),
            "The normal is not the direction from the centroid: that holds for a "
            "sphere alone.": tangent_part(
                displacement, torch.nn.functional.normalize(centred, dim=-1)
            ),
            "One plane was laid through the whole cloud: each point has a plane of "
            "its own.": tangent_part(displacement, everyone),
            "Those are k + 1 points: the point itself is one of the k.": surface_step(
                points, displacement, 9
            ),
            "Those are k - 1 points: with the point itself there are k.": surface_step(
                points, displacement, 7
            ),
            "The point itself was left out: it is one of the k.": (
                _without_itself(points, displacement, 8)
            ),
        },
        1e-3,
    )


EXERCISES = {
    "corruption_error": Exercise(
        reference=corruption_error,
        test=_test_corruption_error,
        tested="Three corruptions at three severities, against a reference model.",
        level="easy",
        minutes=5,
    ),
    "few_points": Exercise(
        reference=few_points,
        test=_test_few_points,
        tested="Five, none and all of 20 points moved, in each cloud by itself.",
        level="medium",
        minutes=10,
    ),
    "surface_step": Exercise(
        reference=surface_step,
        test=_test_surface_step,
        tested="On two wavy sheets every displacement lies in its tangent plane.",
        level="hard",
        minutes=25,
    ),
}
