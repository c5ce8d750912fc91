"""A report as one HTML page that needs nothing else: maps inside, one style that its policy knows by hash, no script."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from geoplantnet.serving.report.content import Block, Cell, Content, Picture, Section, Table, Text
from geoplantnet.serving.report.words import Words

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 62rem; margin: 0 auto; padding: 1rem 1.25rem 3rem; }
header { border-bottom: 3px solid #1b4d3e; margin-bottom: 1rem; }
.header { display: inline-block; margin: 0; padding: .2rem .7rem; background: #7a1f1f; color: #fff; font-weight: 700; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .6rem 0 0; }
.name { font-size: 1.25rem; font-weight: 600; margin: .1rem 0; overflow-wrap: anywhere; }
.made, .notice { margin: .15rem 0 .5rem; color: #444; }
.notice { font-weight: 600; color: #1a1a1a; }
h2 { font-size: 1.25rem; margin: 1.8rem 0 .4rem; color: #1b4d3e; border-bottom: 1px solid #b9c7c0; }
p { margin: .4rem 0; max-width: 50rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .4rem 0 .8rem; font-size: .92em; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
th, td { text-align: left; vertical-align: top; padding: .22rem .5rem; border-bottom: 1px solid #d9dfdc; }
td, tbody th { overflow-wrap: anywhere; }
thead th { background: #e6eeea; border-bottom: 2px solid #1b4d3e; }
tbody th { font-weight: 400; min-width: 9rem; }
.facts tbody th { width: 32%; color: #444; }
.end { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; overflow-wrap: normal; }
.keep { white-space: nowrap; overflow-wrap: normal; }
.note { display: block; font-size: .85em; color: #555; font-style: normal; }
svg { vertical-align: middle; margin-left: .4rem; }
figure { display: grid; grid-template-columns: minmax(0, 1fr) 17.5rem; gap: .3rem 1rem; margin: 1rem 0; align-items: start; }
figcaption { grid-column: 1 / -1; font-weight: 600; }
figcaption span { font-weight: 400; color: #555; }
figure img { max-width: 100%; height: auto; }
.beside { display: grid; grid-template-columns: 1fr 1fr; gap: 0 1rem; }
.beside figure { grid-template-columns: 1fr; }
figure .map { border: 1px solid #777; width: 100%; box-sizing: border-box; }
footer { margin-top: 2rem; border-top: 1px solid #b9c7c0; color: #444; }
@media (max-width: 44rem) { figure, .beside { grid-template-columns: 1fr; } }
@page { size: A4; margin: 16mm 14mm 18mm;
  @bottom-right { content: counter(page) " / " counter(pages); font: 9pt sans-serif; color: #444; } }
@media print {
  body { font-size: 9.5pt; max-width: none; padding: 0; }
  h2 { break-after: avoid; }
  tr, figure, .facts { break-inside: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; }
  .header, thead th { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  figure { grid-template-columns: minmax(0, 1fr) 62mm; }
  .beside { break-inside: avoid; }
  a { color: inherit; }
}
"""
POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""The Content-Security-Policy a page is sent with: its own style and images, no script, no other address."""
_BAR = 72
"""Pixels of a bar of 100 %."""


def html_of(told: Content, words: Words) -> bytes:
    """A report as a page, well-formed as XML too."""
    title = f"{told.title}: {told.name}"
    parts = [
        f'<!DOCTYPE html>\n<html lang="{words.lang}" dir="ltr"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/><meta name="robots" content="noindex"/>'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f'<header><p class="header">{escape(told.header)}</p><h1>{escape(told.title)}</h1>'
        f'<p class="name"><bdi>{escape(told.name)}</bdi></p><p class="made">{escape(told.made)}</p>'
        + (f'<p class="notice">{escape(told.notice)}</p>' if told.notice else "")
        + "</header><main>",
        *(_section(section, number, words) for number, section in enumerate(told.sections)),
        f"</main><footer><p>{escape(told.header)}. {escape(told.made)}.</p></footer></body></html>\n",
    ]
    return "".join(parts).encode()


def _section(section: Section, number: int, words: Words) -> str:
    blocks = "".join(_block(block, words) for block in section.blocks)
    return f'<section aria-labelledby="s{number}"><h2 id="s{number}">{escape(section.title)}</h2>{blocks}</section>'


def _block(block: Block, words: Words) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Text):
        return _text(block)
    if isinstance(block, Picture):
        return _picture(block, words)
    return f'<div class="beside">{"".join(_picture(one, words) for one in block.pictures)}</div>'


def _text(block: Text) -> str:
    if block.strong:
        return f"<h3>{escape(block.text)}</h3>"
    text = escape(block.text)
    return f'<p><a href="{escape(block.href)}">{text}</a></p>' if block.href else f"<p>{text}</p>"


def _table(block: Table) -> str:
    heads = "".join(
        f'<th scope="col"{_class(column.right)}>{escape(column.title)}</th>' if column.title else "<td></td>" for column in block.columns
    )
    head = f"<thead><tr>{heads}</tr></thead>" if block.heads else ""
    rows = "".join(f"<tr>{''.join(_cell(cell, block, k) for k, cell in enumerate(row))}</tr>" for row in block.rows)
    kind = "" if block.columns[0].title else ' class="facts"'
    return f'<div class="scroll"><table{kind}><caption>{escape(block.title)}</caption>{head}<tbody>{rows}</tbody></table></div>'


def _cell(cell: Cell, table: Table, k: int) -> str:
    text = f"<bdi>{escape(cell.text)}</bdi>" if k == 0 else escape(cell.text)
    text = f"<i>{text}</i>" if cell.italic else text
    if cell.share is not None:
        wide = max(0.0, min(1.0, cell.share)) * _BAR
        text += (
            f'<svg width="{_BAR}" height="9" aria-hidden="true"><rect width="{_BAR}" height="9" fill="#e3e8e5"/>'
            f'<rect width="{wide:.1f}" height="9" fill="#2f7d62"/></svg>'
        )
    if cell.note:
        text += f'<span class="note">{escape(cell.note)}</span>'
    if k == 0:
        return f'<th scope="row">{text}</th>'
    keep = ' class="keep"' if table.longest else ""
    return f"<td{_class(table.columns[k].right) or keep}>{text}</td>"


def _class(right: bool) -> str:
    return ' class="end"' if right else ""


def _picture(picture: Picture, words: Words) -> str:
    def image(png: bytes, alt: str, kind: str) -> str:
        return f'<img class="{kind}" alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}"/>'

    legend = image(picture.legend, words("legend.alt", title=picture.title), "legend") if picture.legend else ""
    return (
        f"<figure><figcaption>{escape(picture.title)} <span>{escape(picture.frame)}</span></figcaption>"
        f"{image(picture.map, words('map.alt', title=picture.title), 'map')}{legend}</figure>"
    )
