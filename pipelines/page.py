"""Reports as pages: Markdown -> one HTML file with its figures inside."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping
from pathlib import Path

from markdown_it import MarkdownIt

from geoplantnet.storage import write_beside

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: .9rem; margin: 1rem 0; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ccc; white-space: nowrap; }
img { max-width: 100%; height: auto; }
blockquote { border-left: 4px solid #d55e00; margin: 1rem 0; padding: .2rem 1rem; background: #fdf3ec; }
"""


def page(title: str, text: str, figures: Mapping[str, bytes]) -> str:
    """Markdown as a page; `figures` are the PNGs it shows, by the path it calls them. Raw HTML in names or titles stays text."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)

    def inside(match: re.Match[str]) -> str:
        return f'src="data:image/png;base64,{base64.b64encode(figures[match[1]]).decode()}"'

    body = re.sub(r'src="(figures/[a-z_]+\.png)"', inside, body)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    return f'<!doctype html>\n<html lang="en">\n<head>{head}<style>{_STYLE}</style></head>\n<body>\n{body}</body>\n</html>\n'


def write_text(path: Path, text: str) -> None:
    """Commit a text."""
    with write_beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
