"""Exercises of the notebooks: a reference and a seeded check for each.

In a notebook, `attempt = exercises.check("normalise", attempt)` says what it tested
and hands back a function to go on with: the attempt if it is right, else the reference.

One module for each notebook's theme. To add an exercise, write in its module a
reference and a test, list both in the module's EXERCISES, and plant two wrong answers
in `tests/wrong_answers`.
"""

from typing import Any

from mrpd_tutorial.checks import check_choice
from mrpd_tutorial.exercises import (
    ablations,
    at_scale,
    breaking,
    clouds,
    distilling,
    fooling,
    gate,
    real_world,
    robustness,
    segmentation,
    start_here,
    teachers,
)
from mrpd_tutorial.exercises.base import (
    LEVELS,
    STATUSES,
    Attempt,
    Exercise,
    Verdict,
    judge,
)

__all__ = [
    "EXERCISES",
    "LEVELS",
    "STATUSES",
    "THEMES",
    "Exercise",
    "Verdict",
    "check",
    "judge",
]

THEMES = {
    "00 start here": start_here.EXERCISES,
    "01 point clouds and depth maps": clouds.EXERCISES,
    "02 how to fool a point cloud": fooling.EXERCISES,
    "03 three teachers": teachers.EXERCISES,
    "04 the confidence gate": gate.EXERCISES,
    "05 distilling prompts": distilling.EXERCISES,
    "06 the robustness report": robustness.EXERCISES,
    "07 ablations": ablations.EXERCISES,
    "08 breaking the defense": breaking.EXERCISES,
    "09 the real world": real_world.EXERCISES,
    "10 beyond classification": segmentation.EXERCISES,
    "11 at paper scale": at_scale.EXERCISES,
}
"""Theme of a notebook -> its exercises by name."""

EXERCISES = {
    name: exercise for theme in THEMES.values() for name, exercise in theme.items()
}
"""Name of an exercise -> what it asks for and how it is judged."""

assert len(EXERCISES) == sum(map(len, THEMES.values())), "a name is taken twice"


def check(name: str, attempt: Any) -> Attempt:
    """Judge an attempt, say so, and hand back a function to go on with.

    Args:
        name: of the exercise, one of EXERCISES.
        attempt: the reader's function; an untouched stub raises NotImplementedError.

    Returns:
        The attempt if it passes, else the reference.

    Raises:
        ValueError: if there is no such exercise.
    """
    check_choice("name", name, tuple(EXERCISES))
    exercise = EXERCISES[name]
    verdict = judge(exercise, attempt)
    if verdict.status == "passed":
        print(f"{name}: passed. {verdict.message}")
        return attempt
    if verdict.status == "not attempted":
        print(f"{name}: not attempted. Going on with the reference.")
    else:
        said = {"not yet": "not yet. ", "stopped": "stopped with "}[verdict.status]
        print(f"{name}: {said}{verdict.message}\nGoing on with the reference.")
    return exercise.reference
