"""The course for a class: copies of the notebooks, and grades of what comes back."""

from mrpd_tutorial.course.copies import student_copy, teacher_copy, write_copies
from mrpd_tutorial.course.grade import grade
from mrpd_tutorial.course.marking import Limits
from mrpd_tutorial.course.notebook import Task, find_notebooks, read_notebook, tasks

__all__ = [
    "Limits",
    "Task",
    "find_notebooks",
    "grade",
    "read_notebook",
    "student_copy",
    "tasks",
    "teacher_copy",
    "write_copies",
]
