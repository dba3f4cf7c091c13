"""The demo's report: what it found, told with its numbers and no others."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from mrpd_tutorial.report_page import page
from mrpd_tutorial.report_story import Story
from mrpd_tutorial.runtime import atomic_path, write_json

__all__ = ["build_report", "write_report"]


def write_report(
    folder: str | PathLike,
    result: Mapping[str, Any],
    arrays: Mapping[str, Any],
    overwrite: bool = False,
) -> list[Path]:
    """Write report.html, a PNG of each figure, and, at last, result.json.

    Each file appears whole or not at all; result.json marks a finished report.

    Args:
        folder: made if need be.
        result: of `run_demo`, JSON values.
        arrays: of `run_demo`: clean, attacked, clean_maps, attacked_maps.
        overwrite: whether earlier files may be replaced.

    Returns:
        The files, report.html first.

    Raises:
        FileExistsError: before anything is written, if a file exists and overwrite is
            False.
    """
    folder = Path(folder)
    text, pictures = build_report(result, arrays)
    targets = [folder / "report.html", *(folder / f"{name}.png" for name in pictures)]
    targets.append(folder / "result.json")
    for path in targets:
        if path.exists() and not overwrite:
            raise FileExistsError(
                f"{path} exists already and is kept. Pass overwrite=True to replace "
                "it, or choose another folder."
            )
    for name, content in pictures.items():
        with atomic_path(folder / f"{name}.png", overwrite) as temporary:
            temporary.write_bytes(content)
    with atomic_path(folder / "report.html", overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
    write_json(folder / "result.json", result, overwrite)
    return targets


def build_report(
    result: Mapping[str, Any], arrays: Mapping[str, Any]
) -> tuple[str, dict[str, bytes]]:
    """Make the page and its pictures.

    Args:
        result: of `run_demo`, JSON values; every number of the page comes from it.
        arrays: of `run_demo`: clean, attacked, clean_maps, attacked_maps.

    Returns:
        The page (one self-contained document of HTML) and figure name -> PNG.
    """
    told = Story(result, arrays)
    sections = told.sections()
    drawings = [drawing for section in sections for drawing in section.drawings]
    pictures = {drawing.name: drawing.png() for drawing in drawings}
    title = "From a point cloud to a hardened student"
    return page(title, told.introduction(), sections, pictures), pictures
