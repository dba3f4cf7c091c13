"""How a report looks: one self-contained page of HTML; nothing is fetched."""

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from mrpd_tutorial.plotting.display import picture

__all__ = ["Drawing", "Section", "page", "table"]

_STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #fff; color: #222; line-height: 1.55;
  font: 17px/1.55 Georgia, "Times New Roman", "Liberation Serif", serif; }
main { max-width: 1000px; margin: 0 auto; padding: 32px 24px 64px; }
h1, h2, nav, table, figcaption, .facts { font-family: system-ui, "Helvetica Neue",
  "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 30px; line-height: 1.2; margin: 8px 0 12px; font-weight: 650; }
h2 { font-size: 21px; margin: 52px 0 8px; font-weight: 650; }
p { margin: 8px 0 12px; max-width: 70ch; }
nav { font-size: 14px; margin: 20px 0; columns: 2; column-gap: 32px; }
nav a { color: #0072B2; text-decoration: none; display: block; padding: 2px 0; }
figure { margin: 18px 0 4px; }
figcaption { font-size: 14px; color: #555; max-width: 75ch; }
.facts { font-size: 14px; color: #555; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 15px; margin: 18px 0 8px; }
th, td { text-align: left; padding: 6px 16px 6px 0; border-bottom: 1px solid #ddd;
  vertical-align: top; white-space: nowrap; }
th { font-weight: 600; border-bottom: 2px solid #999; }
td small { color: #666; }
code { font-size: 14px; overflow-wrap: anywhere; }
.print { display: none; }
@media (max-width: 620px) { nav { columns: 1; } }
@media print { .screen { display: none; } .print { display: block; max-width: 100%; }
  nav { display: none; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""
_CONFIG = {"responsive": True, "displaylogo": False, "displayModeBar": "hover"}


@dataclass(frozen=True)
class Drawing:
    """A figure in both forms: the function that draws it, and what it is given."""

    name: str
    make: Callable[..., go.Figure]
    args: Sequence[Any]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    caption: str = ""

    def png(self) -> bytes:
        """The static form."""
        return picture(self.make, *self.args, **self.kwargs)

    def interactive(self) -> str:
        """The interactive form, without plotly.js, which the page holds once."""
        figure = self.make(*self.args, **self.kwargs)
        return figure.to_html(
            full_html=False,
            include_plotlyjs=False,
            include_mathjax=False,
            config=_CONFIG,
            div_id=f"figure-{self.name}",
        )


@dataclass(frozen=True)
class Section:
    """A part of the report: a heading, paragraphs of HTML, and figures."""

    anchor: str
    heading: str
    body: Sequence[str]
    drawings: Sequence[Drawing] = ()


def page(
    title: str,
    introduction: Sequence[str],
    sections: Sequence[Section],
    pictures: Mapping[str, bytes],
) -> str:
    """Put a report together.

    Args:
        title: the page's title, plain text.
        introduction: paragraphs of HTML before the first section.
        sections: the parts; they are numbered here.
        pictures: drawing name -> PNG, shown where the page is printed.

    Returns:
        One document of HTML. It asks for no other file and no address.
    """
    links, parts = [], []
    for number, section in enumerate(sections, start=1):
        heading = f"{number}. {html.escape(section.heading)}"
        links.append(f'<a href="#{section.anchor}">{heading}</a>')
        parts.append(f'<section id="{section.anchor}"><h2>{heading}</h2>')
        parts += section.body
        parts += [_figure(drawing, pictures) for drawing in section.drawings]
        parts.append("</section>")
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{html.escape(title)}</title><style>{_STYLE}</style>",
            f"<script>{get_plotlyjs()}</script></head><body><main>",
            f"<h1>{html.escape(title)}</h1>",
            *introduction,
            f"<nav>{''.join(links)}</nav>",
            *parts,
            "</main></body></html>\n",
        ]
    )


def _figure(drawing: Drawing, pictures: Mapping[str, bytes]) -> str:
    caption = html.escape(drawing.caption)
    picture = base64.b64encode(pictures[drawing.name]).decode("ascii")
    return (
        f'<figure><div class="screen">{drawing.interactive()}</div>'
        f'<img class="print" alt="{html.escape(drawing.name)}" '
        f'src="data:image/png;base64,{picture}"><figcaption>{caption}</figcaption>'
        "</figure>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of HTML cells (already escaped); it scrolls where it is too wide."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="scroll"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
