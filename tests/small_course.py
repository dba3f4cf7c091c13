"""A course of one small notebook, and a class that has worked on it."""

import json
from pathlib import Path

from mrpd_tutorial.course import teacher_copy

NAME = "01_small"

STUBS = {
    "accuracy": "def mine(logits, labels):",
    "normalise": "def my_normalise(points):",
    "changed_share": "def my_share(before, after, threshold):",
    "worst_case": "def my_worst(correct):",
}
SOLUTIONS = {
    "accuracy": "    return float((logits.argmax(1) == labels).float().mean())",
    "normalise": "    centred = points - points.mean(0)\n"
    "    return centred / centred.norm(dim=1).max()",
    "changed_share": "    return share((after - before).abs() > threshold)",
    "worst_case": "    return share(correct.all(0))",
}
SHARE = "\n\ndef share(truths):\n    return float(truths.float().mean())"


def markdown(text):
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def code(text):
    return {
        "cell_type": "code",
        "metadata": {},
        "source": text,
        "outputs": [{"output_type": "stream", "name": "stdout", "text": "passed"}],
        "execution_count": 3,
    }


def notebook(answers=None):
    """The notebook of the course, or one with other bodies of its functions."""
    cells = [
        markdown("# 1 · Small"),
        code("import torch\nfrom mrpd_tutorial import exercises"),
    ]
    for name, head in STUBS.items():
        function = head.split("(")[0].removeprefix("def ")
        body = (answers or {}).get(name, "    raise NotImplementedError")
        solved = head + "\n" + SOLUTIONS[name]
        solved += SHARE if "share(" in SOLUTIONS[name] else ""
        cells += [
            code(
                f'{head}\n    """A stub."""\n{body}\n\n\n'
                f'{function} = exercises.check("{name}", {function})\nprint(done)'
            ),
            markdown(
                "<details><summary>Hint</summary>\n\nThink.\n\n</details>\n\n"
                "<details><summary>Solution</summary>\n\n"
                f"```python\n{solved}\n```\n\n</details>"
            ),
        ]
    for i, cell in enumerate(cells):
        cell["id"] = f"c{i}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def save(path: Path, book) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(book if isinstance(book, str) else json.dumps(book))
    return path


def right():
    return teacher_copy(notebook())


CLASS = {
    # Right, but for one that ends its process and one that never ends.
    "ada": {
        "accuracy": SOLUTIONS["accuracy"],
        "normalise": "    import os\n    os._exit(0)",
        "changed_share": "    while True:\n        print('passed')",
        "worst_case": "    return float(correct.all(0).float().mean())",
    },
    # Wrong, untouched, a typo, and a variable of the notebook.
    "bob": {
        "accuracy": "    return float(logits.softmax(1).amax(1).mean())",
        "changed_share": "    return befor - after",
        "worst_case": "    return done",
    },
    # Cheating: forged prints, a changed check, the reference, a changed tensor.
    "eve": {
        "accuracy": "    print('accuracy: passed. ' * 3)\n    return 2.0",
        "normalise": "    torch.Tensor.abs = lambda x: x * 0\n"
        "    torch.Tensor.norm = lambda x, **k: torch.ones(len(x))\n"
        "    torch.Tensor.mean = lambda x, *k: x[0] * 0\n"
        "    return points",
        "changed_share": "    return exercises.EXERCISES['changed_share']"
        ".reference(before, after, threshold)",
        "worst_case": "    import gc\n    return 1.0",
    },
}
