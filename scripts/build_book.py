"""Execute the notebooks one at a time and build them into a static site.

A notebook is executed again only when it, or something it is made from, has changed:
a build that was interrupted goes on where it was. An error in a notebook stops it.
"""

import argparse
import hashlib
import os
import re
import shutil
import sys
import time
from pathlib import Path

import nbformat
from book_pages import write_page
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from plotly.offline import get_plotlyjs
from sphinx.cmd.build import build_main

ROOT = Path(__file__).resolve().parent.parent
MADE_FROM = [ROOT / name for name in ("mrpd_tutorial", "data", "results")]


def fingerprint(paths: list[Path]) -> str:
    """One digest for files and all files in folders, their names included."""
    digest = hashlib.sha256()
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(path.parent)}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def execute(notebook: Path, executed: Path, made_from: list[Path], limit: int) -> None:
    """Run a notebook in a kernel of its own, unless its executed copy is up to date.

    Raises:
        SystemExit: if a cell fails, naming the notebook and the error.
    """
    stamp = fingerprint([notebook, *made_from])
    if executed.is_file():
        known = nbformat.read(executed, as_version=4).metadata.get("made_from")
        if known == stamp:
            print(f"{notebook.name}: executed before")
            return
    book = nbformat.read(notebook, as_version=4)
    client = NotebookClient(
        book,
        timeout=limit,
        kernel_name="python3",
        # Or each kernel warns that it talks over a port of this machine.
        extra_arguments=["--IPKernelApp.log_level=40"],
        record_timing=False,
        resources={"metadata": {"path": str(notebook.parent)}},
    )
    start = time.perf_counter()
    try:
        client.execute()
    except (CellControlSignal, DeadKernelError) as error:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
        raise SystemExit(
            f"{notebook.name} failed; mend it and run this again.\n{plain}"
        ) from error
    book.metadata["made_from"] = stamp
    # All or nothing: half a file would be taken for a notebook.
    part = executed.with_suffix(".part")
    nbformat.write(book, part)
    os.replace(part, executed)
    print(f"{notebook.name}: {time.perf_counter() - start:.0f} s", flush=True)


def lay_out(executed: list[Path], words: list[Path], source: Path) -> None:
    """Gather Sphinx's input: settings, pages, plotly.js from the installed package."""
    shutil.copytree(ROOT / "book", source)
    for path in executed:
        write_page(path, source)
    for path in words:
        shutil.copy(path, source)
    (source / "_static" / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks")
    parser.add_argument("--out", type=Path, default=ROOT / "build")
    parser.add_argument("--limit", type=int, default=1200, help="seconds for a cell")
    parser.add_argument(
        "--made-from", type=Path, nargs="*", default=MADE_FROM, help="see above"
    )
    options = parser.parse_args()
    notebooks = sorted(options.notebooks.glob("*.ipynb"))
    if not notebooks:
        raise SystemExit(f"{options.notebooks} holds no notebooks (*.ipynb).")
    folder = options.out / "book_executed"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.ipynb"):
        if old.name not in {path.name for path in notebooks}:
            old.unlink()
    for path in notebooks:
        execute(path, folder / path.name, options.made_from, options.limit)

    work, site = options.out / "book_work", options.out / "book"
    source, part = work / "source", work / "site"
    shutil.rmtree(work, ignore_errors=True)
    words = sorted(options.notebooks.glob("*.md"))
    lay_out([folder / path.name for path in notebooks], words, source)
    strict = ["--fail-on-warning", "--keep-going", "--quiet"]
    if build_main([*strict, "-d", str(work / "doctrees"), str(source), str(part)]):
        raise SystemExit("Sphinx warned (see above): the book was not built.")
    # The last good book stays until there is another.
    shutil.rmtree(site, ignore_errors=True)
    os.replace(part, site)
    print(f"The book: {site / 'index.html'}")


if __name__ == "__main__":
    sys.exit(main())
