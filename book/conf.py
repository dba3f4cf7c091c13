"""Sphinx's settings for the book; `make book` copies this folder beside its pages.

Jupyter Book 2 fetches its theme from the network when it builds; Sphinx with myst-nb
and the sphinx-book-theme has all it needs in its packages.
"""

import html

from docutils import nodes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

project = "mrpd_tutorial"
author = "The mrpd_tutorial maintainers"
copyright = author
html_title = "Robust 3D point clouds"
extensions = ["myst_nb"]
root_doc = "index"

# The notebooks were executed before, one at a time, and come with their outputs.
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"
nb_render_image_options = {"alt": "the picture that the code above makes"}
# Default: two scripts from the network.
nb_ipywidgets_js = {}
myst_enable_extensions = ["dollarmath"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_use_index = False
# Asked for by fetch(), which browsers refuse to pages from the file system.
html_show_search_summary = False

html_theme = "sphinx_book_theme"
html_theme_options = {
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    # Search is in the sidebar already.
    "navbar_persistent": [],
}
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_js_files = ["figures.js"]
html_math_renderer = "outlines"


def formula(tex: str) -> str:
    """A formula as an SVG of matplotlib's outlines: no fonts or scripts from elsewhere.

    Raises:
        ValueError: if matplotlib does not know a command in it.
    """
    font = FontProperties(math_fontfamily="stix")
    # 100 units are one em; the letters are smaller than those of most screen fonts.
    path = TextPath((0, 0), f"${' '.join(tex.split())}$", size=112, prop=font)
    box = path.get_extents()
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    outline = "".join(
        letters[int(code)]
        + ("" if code == 79 else " ".join(f"{number:.1f}" for number in numbers))
        for numbers, code in path.iter_segments(simplify=False, curves=True)
    )
    x, y, width, height = box.x0 - 4, -box.y1 - 4, box.width + 8, box.height + 8
    return (
        f'<svg class="formula" role="img" aria-label="{html.escape(tex)}" '
        f'viewBox="{x:.1f} {y:.1f} {width:.1f} {height:.1f}" '
        f'style="width:{width / 100:.3f}em;height:{height / 100:.3f}em;'
        f'vertical-align:{(box.y0 - 4) / 100:.3f}em">'
        f'<path transform="scale(1 -1)" d="{outline}"/></svg>'
    )


def _inline(translator, node):
    translator.body.append(formula(node.astext()))
    raise nodes.SkipNode


def _block(translator, node):
    translator.body.append(f'<div class="formula">{formula(node.astext())}</div>')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("outlines", (_inline, None), (_block, None))
