"""A notebook in JupyterLab, driven as a reader would: menus, keys, mouse.

What the reader sees is asked of the page; whether cells have run, and what they put
out, of JupyterLab's own model, because cells out of sight may not be drawn.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["LabPage", "matters"]

SOON = 300_000  # milliseconds after which a test gives up: machines may be busy

_NOISE = re.compile(r"favicon\.ico")

_NOTEBOOK = "jupyterapp.shell.currentWidget"


def matters(error: str) -> bool:
    """Whether an error in the browser's console says something about this package."""
    return not _NOISE.search(error)


class LabPage:
    """One notebook in one browser tab.

    Args:
        page: a Playwright page.
        shots: the folder for pictures.
        name: what the names of its pictures begin with.

    Attributes:
        errors: what the browser's console called an error, and exceptions of the page.
        foreign: addresses outside this machine that the page has asked for.
    """

    def __init__(self, page: Any, shots: Path, name: str) -> None:
        self.page, self.shots, self.name = page, shots, name
        self.errors: list[str] = []
        self.foreign: list[str] = []
        page.set_default_timeout(SOON)
        page.on("console", self._heard)
        page.on("pageerror", self._thrown)
        page.on("request", self._asked)

    def _heard(self, message: Any) -> None:
        where = f"{message.text} ({message.location.get('url', '')})"
        if message.type == "error" and matters(where):
            self.errors.append(where)

    def _thrown(self, error: Any) -> None:
        if matters(str(error)):
            self.errors.append(str(error))

    def _asked(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            self.foreign.append(request.url)

    def open(self, address: str) -> None:
        """Open a notebook and wait for its kernel."""
        self.page.goto(address, wait_until="domcontentloaded")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        self.page.wait_for_function(
            f"() => {_NOTEBOOK}?.sessionContext?.session?.kernel?.status === 'idle'"
        )

    def shot(self, name: str) -> None:
        """Keep a picture of what is to be seen."""
        self.shots.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self.shots / f"{self.name}_{name}.png")

    def index_of(self, text: str) -> int:
        """The first code cell that holds a text."""
        found = self.page.evaluate(
            f"""(text) => {_NOTEBOOK}.content.widgets.findIndex((cell) =>
              cell.model.type === "code"
              && cell.model.sharedModel.getSource().includes(text))""",
            text,
        )
        assert found >= 0, f"no code cell holds {text!r}"
        return found

    def cell(self, index: int) -> Any:
        """The cell as the page shows it."""
        return self.page.locator(
            f'.jp-Notebook .jp-Cell[data-windowed-list-index="{index}"]'
        )

    def scroll_to(self, index: int) -> Any:
        """Bring a cell into view; it comes back."""
        self.page.evaluate(
            f"(i) => {_NOTEBOOK}.content.scrollToItem(i, 'start')", index
        )
        self.cell(index).wait_for()
        return self.cell(index)

    def menu(self, name: str, item: str) -> None:
        """Choose from the menu bar."""
        self.page.get_by_role("menuitem", name=name, exact=True).first.click()
        self.page.locator(f'.lm-Menu-itemLabel:text-is("{item}")').first.click()

    def run_all(self) -> None:
        """Run > Run All Cells, until the last one is done."""
        self._forget("true")
        self.menu("Run", "Run All Cells")
        self._numbered("true")

    def run(self, index: int, wait: bool = True) -> None:
        """Choose a cell and press Shift+Enter."""
        self.scroll_to(index)
        self._forget(f"i === {index}")
        self.page.evaluate(
            f"""(i) => {{
              const notebook = {_NOTEBOOK}.content;
              notebook.deselectAll();
              notebook.activeCellIndex = i;
              notebook.mode = "command";
              notebook.activate();
            }}""",
            index,
        )
        self.page.keyboard.press("Shift+Enter")
        if wait:
            self._numbered(f"i === {index}")

    def _forget(self, which: str) -> None:
        """Take the numbers in brackets away: a new one says that the cell has run."""
        self.page.evaluate(
            f"""() => {_NOTEBOOK}.content.widgets.forEach((cell, i) => {{
              if (cell.model.type === "code" && {which})
                cell.model.executionCount = null;
            }})"""
        )

    def _numbered(self, which: str) -> None:
        """Wait until cells have their numbers, and the kernel is idle."""
        self.page.wait_for_function(
            f"""() => {_NOTEBOOK}.content.widgets.every((cell, i) =>
                cell.model.type !== "code" || !({which}) || cell.model.executionCount)
              && {_NOTEBOOK}.sessionContext.session?.kernel?.status === "idle" """
        )

    def restart_kernel(self) -> None:
        """Kernel > Restart Kernel, and yes."""
        self.menu("Kernel", "Restart Kernel…")
        self.page.get_by_role("dialog").get_by_role(
            "button", name="Confirm Kernel Restart"
        ).click()
        self.page.wait_for_function(
            f"() => {_NOTEBOOK}.sessionContext.session?.kernel?.status !== 'idle'"
        )
        self.page.wait_for_function(
            f"() => {_NOTEBOOK}.sessionContext.session?.kernel?.status === 'idle'"
        )

    def counts(self) -> list[int]:
        """The numbers in brackets beside the code cells."""
        return self.page.evaluate(
            f"""() => {_NOTEBOOK}.content.widgets
              .filter((cell) => cell.model.type === "code")
              .map((cell) => cell.model.executionCount)"""
        )

    def active(self) -> int:
        """Which cell is chosen."""
        return self.page.evaluate(f"() => {_NOTEBOOK}.content.activeCellIndex")

    def write(self, index: int, source: str) -> None:
        """Put another source into a cell."""
        self.page.evaluate(
            f"""([i, source]) =>
              {_NOTEBOOK}.content.widgets[i].model.sharedModel.setSource(source)""",
            [index, source],
        )

    def source(self, index: int) -> str:
        """What stands in a cell."""
        return self.page.evaluate(
            f"(i) => {_NOTEBOOK}.content.widgets[i].model.sharedModel.getSource()",
            index,
        )

    def outputs(self, index: int) -> Sequence[dict[str, Any]]:
        """What a cell has put out, in the notebook format."""
        return self.page.evaluate(
            f"(i) => {_NOTEBOOK}.content.widgets[i].model.outputs?.toJSON() ?? []",
            index,
        )

    def text(self, index: int) -> str:
        """What a cell has printed."""
        streams = [o for o in self.outputs(index) if o["output_type"] == "stream"]
        return "".join("".join(stream["text"]) for stream in streams)

    def complaints(self) -> list[str]:
        """Errors and whatever went to stderr, of all cells."""
        found = []
        number = self.page.evaluate(f"() => {_NOTEBOOK}.content.widgets.length")
        for index in range(number):
            for output in self.outputs(index):
                if output["output_type"] == "error":
                    found.append(f"cell {index}: {output['ename']}")
                elif output.get("name") == "stderr":
                    found.append(f"cell {index}: {output['text']}")
        return found
