"""The book: executed once, complete without a network, and honest about failures."""

import base64
import json
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

for module in ("myst_nb", "sphinx_book_theme"):
    pytest.importorskip(module, reason="the book extra is not installed")

ROOT = Path(__file__).resolve().parent.parent
# Shown like mrpd_tutorial.plotting.show does, without importing torch.
FIGURE = """
from base64 import b64decode
print("drawn " + "here")
picture = b64decode("{picture}")
scene = {{"type": "scatter3d", "x": [0, 1], "y": [0, 1], "z": [0, 1]}}
layout = {{"height": 321, "title": {{"text": "a </script> b"}}}}
display({{
    "application/vnd.plotly.v1+json": {{"data": [scene], "layout": layout}},
    "image/jpeg": picture,
    "text/plain": "attack_figure: a cloud",
}}, raw=True)
""".format(picture=base64.b64encode(b"a picture").decode())
WORDS = r"""# 1 · First

An inline $\frac{\partial L}{\partial r_i}$ & a block:

$$\|x'-x\|_2 \leftarrow \alpha$$

See the [glossary](glossary.md) and `02_second`; `03_absent` is no page.

<details><summary>Solution</summary>

```python
quokka = 1
```

</details>
"""


def write(folder: Path, name: str, *cells) -> None:
    book = new_notebook(cells=list(cells))
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(book, folder / name)


def build(folder: Path) -> subprocess.CompletedProcess:
    program = [sys.executable, str(ROOT / "scripts/build_book.py"), "--made-from"]
    places = ["--notebooks", str(folder / "notebooks"), "--out", str(folder / "out")]
    return subprocess.run([*program, *places], capture_output=True, text=True)


class Loaded(HTMLParser):
    """What a page loads, and the text of its scripts."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.modules = 0
        self.figures: list[dict] = []
        self._in_figure = False
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self._in_figure = known.get("type") == "application/json"
        self.modules += known.get("type") == "module"
        if tag != "a" and not (tag == "link" and known.get("rel") in ("next", "prev")):
            self.addresses += [
                known[k] for k in ("src", "href", "data") if known.get(k)
            ]

    def handle_data(self, data):
        if self._in_figure:
            self.figures.append(json.loads(data))
            self._in_figure = False


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with two notebooks, built; and what the build said."""
    folder = tmp_path_factory.mktemp("book")
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    (notebooks / "glossary.md").write_text("# Glossary\n\nA word.\n", encoding="utf-8")
    words, figure = new_markdown_cell(WORDS), new_code_cell(FIGURE)
    write(notebooks, "01_first.ipynb", words, figure)
    write(notebooks, "02_second.ipynb", new_markdown_cell("# 2 · Second"))
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture(scope="module")
def site(made):
    return made[0] / "out" / "book"


def test_pages_load_nothing_from_elsewhere(site):
    pages = sorted(site.glob("*.html"))
    assert {page.stem for page in pages} >= {"index", "01_first", "glossary", "search"}
    for page in pages:
        loaded = Loaded(page)
        assert len(loaded.addresses) > 5, "the parser found what a page loads"
        assert loaded.modules == 0, "browsers refuse modules from the file system"
        for address in loaded.addresses:
            assert not re.match(r"(?i)(\w+:)?//", address), f"{page.name}: {address}"
            path = (site / re.split(r"[?#]", address)[0]).resolve()
            assert path.exists(), f"{page.name} names {address}, which is not there"
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(url\(|@import)\s*['\"]?(\w+:)?//", text), sheet
    # A summary of what was found would be fetched.
    options = (site / "_static/documentation_options.js").read_text()
    assert "SHOW_SEARCH_SUMMARY: false" in " ".join(options.split())


def test_search_finds_prose_and_solutions(site):
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert index.startswith("Search.setIndex(")
    assert "quokka" in index and "glossary" in index


def test_figures_turn_and_keep_a_picture(site):
    text = (site / "01_first.html").read_text(encoding="utf-8")
    (figure,) = Loaded(site / "01_first.html").figures
    assert figure["layout"]["height"] == 321
    assert figure["layout"]["title"]["text"] == "a </script> b"
    assert figure["data"][0]["type"] == "scatter3d"
    assert "--height:321px" in text and 'alt="attack_figure: a cloud"' in text
    (picture,) = (site / "_static/pictures").iterdir()
    assert picture.read_bytes() == b"a picture"
    assert f'src="_static/pictures/{picture.name}"' in text
    assert "drawn here" in text
    # Once beside the pages, not in them; a page loads it when a figure comes near.
    assert (site / "_static/plotly.min.js").stat().st_size > 10**6
    assert len(text) < 10**5 and 'src="_static/figures.js' in text


def test_formulas_are_outlines(site):
    text = (site / "01_first.html").read_text(encoding="utf-8")
    assert text.count('<svg class="formula"') == 2
    assert r'aria-label="\frac{\partial L}{\partial r_i}"' in text
    assert r'aria-label="\|x&#x27;-x\|_2 \leftarrow \alpha"' in text
    for outline in re.findall(r'<path transform="scale\(1 -1\)" d="([^"]*)"', text):
        assert re.fullmatch(r"([MLQC][-\d. ]+|Z)+", outline)


def test_an_unknown_command_in_a_formula_is_named():
    formula = runpy.run_path(str(ROOT / "book/conf.py"))["formula"]
    with pytest.raises(ValueError, match=r"Unknown symbol: \\nosuch"):
        formula(r"x + \nosuch")


def test_links_between_pages_resolve(site):
    text = (site / "01_first.html").read_text(encoding="utf-8")
    content = text[text.index("<article") : text.index("</article>")]
    assert re.search(r'href="glossary.html"[^>]*>.*?glossary', content)
    assert re.search(r'href="02_second.html"[^>]*>.*?02_second', content)
    assert "03_absent.html" not in content and "03_absent" in content
    assert re.search(r"<details><summary>Solution</summary>.*quokka", content, re.S)


@pytest.mark.parametrize("edits", [0, 1])
def test_a_widget_turns_unless_it_was_redrawn(tmp_path, monkeypatch, edits):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from book_pages import write_page

    array = {"dtype": "float32", "shape": [2, 3]}
    trace = {"type": "heatmap", "z": dict(array)}
    path = ["_widget_data", 0, "z", "buffer"]
    bytes_of_it = base64.b64encode(bytes(24)).decode()
    live = {"_widget_data": [trace], "_widget_layout": {"title": {"text": "live"}}}
    live |= {"_last_trace_edit_id": edits, "_last_layout_edit_id": 0}
    models = {
        "box": {"state": {"children": ["IPY_MODEL_label", "IPY_MODEL_figure"]}},
        "label": {"state": {"value": "no figure"}},
        "figure": {"state": live, "buffers": [{"path": path, "data": bytes_of_it}]},
    }
    still = base64.b64encode(b"as it is now").decode()
    words = "GateExplorer, a still of it: 3 of 4 pass"
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "box"}}
    cell = new_code_cell("explorer")
    cell.outputs = [
        new_output("display_data", {"image/jpeg": still, "text/plain": words}),
        new_output("display_data", {**view, "text/plain": "run this cell"}),
    ]
    book = new_notebook(cells=[cell])
    kind = "application/vnd.jupyter.widget-state+json"
    book.metadata["widgets"] = {kind: {"state": models}}
    nbformat.write(book, tmp_path / "01_widget.ipynb")

    write_page(tmp_path / "01_widget.ipynb", tmp_path / "source")
    page = nbformat.read(tmp_path / "source/01_widget.ipynb", as_version=4)
    assert "widgets" not in page.metadata
    (shown,) = page.cells[0].outputs
    element = shown.data["text/html"]
    assert "<figcaption>GateExplorer, without its controls: 3 of 4 pass" in element
    (picture,) = (tmp_path / "source/_static/pictures").iterdir()
    assert picture.read_bytes() == b"as it is now" and picture.name in element
    if edits:
        assert "json" not in element, "what it showed first is not what it shows"
    else:
        drawn = json.loads(re.search(r"json\">(.*)</script>", element)[1])
        packed = {"dtype": "float32", "shape": "2, 3", "bdata": bytes_of_it}
        assert drawn["data"] == [{"type": "heatmap", "z": packed}]


def test_a_second_build_executes_what_changed(made):
    folder, first = made
    assert "executed before" not in first.stdout
    changed = folder / "notebooks" / "02_second.ipynb"
    write(folder / "notebooks", changed.name, new_markdown_cell("# 2 · Renamed"))
    again = build(folder)
    assert again.returncode == 0, again.stderr
    assert "01_first.ipynb: executed before" in again.stdout
    assert "02_second.ipynb: executed before" not in again.stdout
    assert "Renamed" in (folder / "out/book/index.html").read_text(encoding="utf-8")


def test_a_notebook_that_fails_stops_the_build(tmp_path):
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    failed = build(tmp_path)
    assert failed.returncode == 1 and "holds no notebooks" in failed.stderr
    write(notebooks, "01_good.ipynb", new_code_cell("2 + 2"))
    write(notebooks, "02_broken.ipynb", new_code_cell("raise KeyError('the reason')"))
    write(notebooks, "03_never.ipynb", new_code_cell("2 + 2"))
    failed = build(tmp_path)
    assert failed.returncode == 1
    assert "02_broken.ipynb failed; mend it and run this again" in failed.stderr
    assert "KeyError: 'the reason'" in failed.stderr and "\x1b" not in failed.stderr
    assert {path.name for path in (tmp_path / "out/book_executed").iterdir()} == {
        "01_good.ipynb"
    }
    assert not (tmp_path / "out/book").exists()
