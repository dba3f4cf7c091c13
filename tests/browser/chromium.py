"""Debian's Chromium: where it is, and how it draws WebGL without a screen."""

import os
import shutil
from collections.abc import Callable, Mapping
from typing import NoReturn

import pytest

__all__ = ["FLAGS", "absent", "find_chromium"]

NAMES = ("chromium", "chromium-browser", "google-chrome")

FLAGS = (
    "--no-sandbox",  # in a container there is no other way
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",  # WebGL on the processor
    "--enable-unsafe-swiftshader",
    # Nothing but this machine can be reached, whatever a page asks for.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


def find_chromium(
    environ: Mapping[str, str] = os.environ,
    which: Callable[[str], str | None] = shutil.which,
) -> str | None:
    """The path of a Chromium: MRPD_CHROMIUM, or the first of NAMES that is installed.

    Raises:
        ValueError: if MRPD_CHROMIUM names what is not a program.
    """
    named = environ.get("MRPD_CHROMIUM")
    if named:
        found = which(named)
        if found is None:
            raise ValueError(
                f"MRPD_CHROMIUM must be the path of a browser; {named!r} is not a "
                "program. Unset it to look for chromium."
            )
        return found
    return next(filter(None, map(which, NAMES)), None)


def absent(what: str, environ: Mapping[str, str] = os.environ) -> NoReturn:
    """Skip, saying what is absent; but fail where CI is set: there nothing may be.

    Args:
        what: is absent, and how to get it.
        environ: the environment.
    """
    if environ.get("CI"):
        pytest.fail(f"{what} (CI is set: browser tests must not be skipped)", False)
    pytest.skip(what)
