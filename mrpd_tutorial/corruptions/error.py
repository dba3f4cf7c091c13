"""Corruption errors as the benchmarks publish them."""

from collections.abc import Mapping, Sequence

from mrpd_tutorial.checks import check_between

__all__ = [
    "POINTCLOUD_C_DGCNN_ERRORS",
    "corruption_error",
    "mean_corruption_error",
    "relative_mean_corruption_error",
]

POINTCLOUD_C_DGCNN_ERRORS = {
    "clean": 0.074,
    "scale": 0.094,
    "jitter": 0.316,
    "rotate": 0.215,
    "dropout_global": 0.248,
    "dropout_local": 0.207,
    "add_global": 0.295,
    "add_local": 0.275,
}
"""1 - overall accuracy of the DGCNN that PointCloud-C [arXiv 2202.03377] divides by,
averaged over its five levels, by the corruption's `title`; "clean" beside them."""


def _mean(name: str, errors: float | Sequence[float]) -> float:
    values = [errors] if isinstance(errors, (int, float)) else list(errors)
    if not values:
        raise ValueError(
            f"errors must hold at least one error rate; {name!r} has none."
        )
    for value in values:
        check_between(f"errors[{name!r}]", value, 0, 1)
    return sum(values) / len(values)


def corruption_error(
    errors: float | Sequence[float], reference_errors: float | Sequence[float] | None
) -> float:
    """The error under one corruption, as a multiple of a reference model's.

    CE = sum_l (1 - OA_l) / sum_l (1 - OA_l of the reference), Ren et al. 2022 [arXiv
    2202.03377, section 4].

    Args:
        errors: 1 - accuracy at each severity, or their mean; in 0..1.
        reference_errors: the same of the reference model; None: the plain mean error,
            as ModelNet40-C [arXiv 2201.12296] publishes it.

    Raises:
        ValueError: if a rate is outside 0..1, none is given, or the reference makes no
            error.

    Example:
        >>> corruption_error([0.1, 0.3], 0.4)
        0.5
    """
    own = _mean("model", errors)
    if reference_errors is None:
        return own
    reference = _mean("reference", reference_errors)
    if reference == 0:
        raise ValueError(
            "reference_errors must be above 0: nothing is a multiple of no error. Pass "
            "None for plain error rates."
        )
    return own / reference


def mean_corruption_error(
    errors: Mapping[str, float | Sequence[float]],
    reference_errors: Mapping[str, float | Sequence[float]] | None = None,
) -> float:
    """mCE: the corruption errors' mean over all corruptions.

    Args:
        errors: corruption -> error rates, one for each severity or their mean.
            "clean", if there, does not count.
        reference_errors: the same of the reference model (for PointCloud-C:
            POINTCLOUD_C_DGCNN_ERRORS); None: plain error rates, ModelNet40-C's way.
            PointCloud-C's own code rounds to three digits on the way; this does not.

    Raises:
        ValueError: as corruption_error; also if the two name different corruptions.

    Example:
        >>> mean_corruption_error({"jitter": 0.316, "rotate": 0.43},
        ...                       {"jitter": 0.316, "rotate": 0.215})
        1.5
    """
    names = _names(errors, reference_errors)
    terms = [
        corruption_error(
            errors[name], None if reference_errors is None else reference_errors[name]
        )
        for name in names
    ]
    return sum(terms) / len(terms)


def relative_mean_corruption_error(
    errors: Mapping[str, float | Sequence[float]],
    reference_errors: Mapping[str, float | Sequence[float]],
) -> float:
    """RmCE: as mCE, of what corruptions add to the clean error.

    RCE = (error - clean error) / (reference's error - reference's clean error), Ren et
    al. 2022 [arXiv 2202.03377]; both must hold "clean".

    Raises:
        ValueError: as mean_corruption_error; also if "clean" is missing, or a
            corruption adds no error to the reference.
    """
    names = _names(errors, reference_errors)
    for role, given in (("errors", errors), ("reference_errors", reference_errors)):
        if "clean" not in given:
            raise ValueError(f'{role} must hold "clean", the error without corruption.')
    clean = _mean("clean", errors["clean"])
    reference_clean = _mean("clean", reference_errors["clean"])
    terms = []
    for name in names:
        added = _mean(name, reference_errors[name]) - reference_clean
        if added <= 0:
            raise ValueError(
                f"reference_errors[{name!r}] must be above the reference's clean error."
            )
        terms.append((_mean(name, errors[name]) - clean) / added)
    return sum(terms) / len(terms)


def _names(errors: Mapping, reference_errors: Mapping | None) -> list[str]:
    names = [name for name in errors if name != "clean"]
    if not names:
        raise ValueError("errors must name at least one corruption; it names none.")
    if reference_errors is not None:
        wrong = set(names) ^ (set(reference_errors) - {"clean"})
        if wrong:
            raise ValueError(
                "errors and reference_errors must name the same corruptions; only one "
                f"of them has {', '.join(sorted(wrong))}."
            )
    return names
