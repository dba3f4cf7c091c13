"""The command `mrpd`: demo, data, course, grade, env."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mrpd_tutorial import __version__
from mrpd_tutorial.checks import check_positive
from mrpd_tutorial.data import DATASETS
from mrpd_tutorial.runtime import environment_summary, tune_allocator

__all__ = ["main"]

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_DEMO = """\
Distil prompts, attack, evaluate, and write report.html, result.json and PNGs.

Finished results are never overwritten unasked: choose another --out, or pass
--overwrite, which starts anew and replaces them at the end, if all went well. Without
it, a run that was interrupted goes on where it stopped, if it is started again with the
same settings. What is computed only once is kept in the user's cache folder, or in
$MRPD_CACHE_DIR.
"""
_GRADE = """\
Grade FOLDER/STUDENT/NOTEBOOK.ipynb and FOLDER/STUDENT_NOTEBOOK.ipynb.

Answers are taken out of each notebook and judged by the package's own checks in a
process of their own, with limits of time and (on Linux) memory; what a notebook prints
counts for nothing. grades.csv, grades.md and grades.json are written into FOLDER.
Started again, it goes on: what is unchanged is not run again.

The answers run as Python with your rights. Grade the work of people whom you do not
trust in a container or on another account.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: as typed behind `mrpd`; None takes those of the process.

    Returns:
        0; 2 if the input was at fault; 130 after Ctrl-C.
    """
    chosen = _parser().parse_args(arguments)
    try:
        return chosen.run(chosen)
    except KeyboardInterrupt:
        resume = ""
        if chosen.run is _demo:
            resume = " The same command without --overwrite goes on where it stopped."
        _say(f"mrpd: interrupted; no file is half written.{resume}")
        return _INTERRUPTED
    except (ValueError, FileExistsError, FileNotFoundError) as error:
        _say(f"mrpd: {error}")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mrpd", description="Multimodal Robust Prompt Distillation: a tutorial."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(
        required=True, metavar="demo | data | course | grade | env"
    )
    demo = commands.add_parser(
        "demo",
        help="the whole path, from a point cloud to a hardened student",
        description=_DEMO,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.set_defaults(run=_demo)
    demo.add_argument("--data", choices=DATASETS, default="objects", help="data set")
    demo.add_argument("--root", type=Path, help="folder of the data set")
    demo.add_argument("--lab", type=Path, help="folder of another pre-trained lab")
    demo.add_argument("--out", type=Path, default=Path("build/demo"), help="folder")
    demo.add_argument("--quick", action="store_true", help="few clouds, few epochs")
    demo.add_argument(
        "--overwrite", action="store_true", help="start anew, replace results"
    )
    demo.add_argument("--seed", type=int, default=0, help="of everything random")
    for split, use in (("train", "learn from"), ("test", "measure on")):
        demo.add_argument(
            f"--{split}-clouds", type=int, help=f"{use} at most this many clouds"
        )
    demo.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    data = commands.add_parser("data", help="list data sets: where, how many, balance")
    data.set_defaults(run=_data)
    data.add_argument("--root", type=Path, help="folder that holds the data sets")
    _add_course(commands)
    env = commands.add_parser("env", help="versions, device and threads, as JSON")
    env.set_defaults(run=_env)
    return parser


def _add_course(commands: Any) -> None:
    where = {"type": Path, "help": "folder of the course's notebooks"}
    course = commands.add_parser(
        "course", help="copies of the notebooks, for students or with solutions"
    )
    course.set_defaults(run=_course)
    course.add_argument("kind", choices=("student", "teacher"))
    course.add_argument("out", type=Path, metavar="OUT", help="folder of the copies")
    course.add_argument("--notebooks", **where)
    course.add_argument("--overwrite", action="store_true", help="replace copies")
    grade = commands.add_parser(
        "grade",
        help="check a class's notebooks, and write a table",
        description=_GRADE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    grade.set_defaults(run=_grade)
    grade.add_argument("folder", type=Path, metavar="FOLDER", help="of the class")
    grade.add_argument("--notebooks", **where)
    grade.add_argument("--out", type=Path, help="folder of the tables, else FOLDER")
    grade.add_argument("--seconds", type=float, default=60, help="for an exercise")
    grade.add_argument("--memory", type=int, default=4096, help="MiB, Linux only")
    grade.add_argument("--full", action="store_true", help="run whole notebooks, too")
    grade.add_argument(
        "--full-seconds", type=float, default=600, help="for a whole notebook"
    )
    grade.add_argument("--again", action="store_true", help="also what is unchanged")


def _demo(chosen: argparse.Namespace) -> int:
    # Imported here: `mrpd env` needs no models, and --help answers at once.
    from mrpd_tutorial.demo import DemoConfig, run_demo
    from mrpd_tutorial.report import write_report
    from mrpd_tutorial.zoo import load_lab

    for split in ("train", "test"):
        if (count := getattr(chosen, f"{split}_clouds")) is not None:
            check_positive(f"--{split}-clouds", count)
    if (chosen.out / "result.json").exists() and not chosen.overwrite:
        raise FileExistsError(
            f"{chosen.out} holds a finished run already, and it is kept. Pass "
            "--overwrite to replace it, or another --out."
        )
    tune_allocator()
    config = DemoConfig.quick() if chosen.quick else DemoConfig()
    config = replace(
        config,
        data=chosen.data,
        root=chosen.root,
        seed=chosen.seed,
        distill=replace(config.distill, seed=chosen.seed),
        train_clouds=chosen.train_clouds or config.train_clouds,
        test_clouds=chosen.test_clouds or config.test_clouds,
        device=chosen.device,
    )
    done = run_demo(
        config,
        lab=load_lab("tiny", chosen.device, chosen.lab),
        distill_dir=chosen.out / "distill",
        overwrite=chosen.overwrite,
    )
    files = write_report(chosen.out, done.result, done.arrays, chosen.overwrite)
    print(f"\n{done.evaluation.table()}\n")
    if done.result["lab"]["is_stand_in"]:
        print(f"Stand-in models (lab {done.result['lab']['name']!r}), not the paper's.")
    print(f"{done.result['seconds']['total']:.0f} s; {files[0]}")
    return 0


def _data(chosen: argparse.Namespace) -> int:
    from mrpd_tutorial.data.listing import dataset_rows

    for row in dataset_rows(chosen.root):
        print(row)
    return 0


def _course(chosen: argparse.Namespace) -> int:
    from mrpd_tutorial.course import find_notebooks, write_copies

    paths = write_copies(
        chosen.kind,
        chosen.out,
        find_notebooks(chosen.notebooks),
        overwrite=chosen.overwrite,
    )
    for path in paths:
        print(path)
    return 0


def _grade(chosen: argparse.Namespace) -> int:
    from mrpd_tutorial.course import Limits, find_notebooks, grade

    limits = Limits(
        seconds=chosen.seconds,
        notebook_seconds=chosen.full_seconds,
        memory=chosen.memory * 2**20,
    )
    grade(
        chosen.folder,
        notebooks=find_notebooks(chosen.notebooks),
        out=chosen.out,
        limits=limits,
        full=chosen.full,
        again=chosen.again,
    )
    print((chosen.out or chosen.folder) / "grades.md")
    return 0


def _env(chosen: argparse.Namespace) -> int:
    print(json.dumps(environment_summary(), indent=1))
    return 0


def _say(message: str) -> None:
    print(f"\n{message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
