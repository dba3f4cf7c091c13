"""How the report says numbers and norms."""

import html
from collections.abc import Mapping
from typing import Any


def escape(text: str) -> str:
    """Text for a page."""
    return html.escape(text, quote=False)


def norm_in_words(norm: str) -> str:
    """A norm as the subject of a budget."""
    names = {
        "per_point": "each point at most",
        "l2": "the whole cloud at most (L2)",
        "linf": "each coordinate at most",
    }
    return names.get(norm, norm)


def percent(row: Mapping[str, Any]) -> str:
    """A row's accuracy."""
    return share(row["accuracy"])


def share(value: float, sign: str = "") -> str:
    """A number in [0, 1] as a percentage."""
    # A space that does not break, and a true minus sign.
    return f"{100 * value:{sign}.1f}\u00a0%".replace("-", "\u2212")


def interval(row: Mapping[str, Any]) -> str:
    """A row's interval, in percent."""
    return f"{100 * row['low']:.0f}–{100 * row['high']:.0f}"


def change_in_points(after: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """The difference of two rows' accuracies."""
    change = 100 * (after["accuracy"] - before["accuracy"])
    return f"{change:+.1f} percentage points".replace("-", "\u2212")
