"""A report as a PDF of A4 pages: the sections of the HTML page, in letters that the file carries."""

from __future__ import annotations

import io
from datetime import date
from functools import lru_cache
from typing import Any
from xml.sax.saxutils import escape

from geoplantnet.serving import legend
from geoplantnet.serving.report.content import Beside, Cell, Column, Content, Picture, Section, Table, Text
from geoplantnet.serving.report.words import Words

MOST_ROWS = 500
"""Of the table of species: paper is no place for ten thousand."""
_INK, _FAINT, _GREEN, _PALE, _RED = "#1a1a1a", "#555555", "#1b4d3e", "#e6eeea", "#7a1f1f"
_MAP_WIDTH, _LEGEND_WIDTH = 0.58, 0.33
"""Of the width of the page: three maps fit one."""


def pdf_of(told: Content, words: Words, *, made: date) -> bytes:
    """The same bytes for the same content and day. Letters that the font (Bitstream Vera) lacks are spelled without their accents, or as ``?``."""
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import BaseDocTemplate, Frame, PageTemplate

    out = io.BytesIO()
    title = legend.plain(f"{told.title}: {told.name}")
    document = BaseDocTemplate(
        out, pagesize=A4, leftMargin=15 * mm, rightMargin=15 * mm, topMargin=24 * mm, bottomMargin=18 * mm, invariant=1,
        title=title, author="geoplantnet", subject=legend.plain(f"{told.header}. {told.made}. {told.notice}"), lang=words.lang,
        creator="geoplantnet", keywords=legend.plain(told.header),
    )  # fmt: skip
    styles = _styles()
    frame = Frame(document.leftMargin, document.bottomMargin, document.width, document.height, 0, 0, 0, 0, id="page")
    document.addPageTemplates(PageTemplate(id="page", frames=[frame]))
    parts = _head(told, styles)
    for section in told.sections:
        parts += _section(section, styles, document.width, words)
    document.build(parts, canvasmaker=lambda *args, **options: _pages(told, words, *args, **options))
    return out.getvalue()


@lru_cache(maxsize=1)
def _styles() -> dict[str, Any]:
    from reportlab.lib.colors import HexColor
    from reportlab.lib.enums import TA_RIGHT
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    for name, file in (("Vera", "Vera"), ("Vera-Bold", "VeraBd"), ("Vera-Italic", "VeraIt"), ("Vera-BoldItalic", "VeraBI")):
        pdfmetrics.registerFont(TTFont(name, str(legend.FONT.with_name(f"{file}.ttf"))))
    pdfmetrics.registerFontFamily("Vera", normal="Vera", bold="Vera-Bold", italic="Vera-Italic", boldItalic="Vera-BoldItalic")
    text = ParagraphStyle("text", fontName="Vera", fontSize=8.5, leading=12, textColor=HexColor(_INK), spaceAfter=4, splitLongWords=1)
    cell = ParagraphStyle("cell", text, fontSize=7.2, leading=9, spaceAfter=0)
    return {
        "text": text,
        "cell": cell,
        "right": ParagraphStyle("right", cell, alignment=TA_RIGHT),
        "head": ParagraphStyle("head", cell, fontName="Vera-Bold", fontSize=7),
        "head.right": ParagraphStyle("head.right", cell, fontName="Vera-Bold", fontSize=7, alignment=TA_RIGHT),
        "title": ParagraphStyle("title", text, fontName="Vera-Bold", fontSize=18, leading=22, spaceAfter=2),
        "name": ParagraphStyle("name", text, fontName="Vera-Bold", fontSize=12, leading=16, spaceAfter=2),
        "faint": ParagraphStyle("faint", text, textColor=HexColor(_FAINT)),
        "h2": ParagraphStyle("h2", text, fontName="Vera-Bold", fontSize=12, leading=15, textColor=HexColor(_GREEN), spaceBefore=10, keepWithNext=1),
        "h3": ParagraphStyle("h3", text, fontName="Vera-Bold", fontSize=9, leading=12, spaceBefore=4, keepWithNext=1),
    }  # fmt: skip


def _paragraph(text: str, style: Any) -> Any:
    from reportlab.platypus import Paragraph

    return Paragraph(text, style)


def _plain(text: str) -> str:
    """Text in the font's letters, as reportlab's markup. The narrow space becomes one that no line breaks at."""
    return escape(legend.plain(text.replace("\u202f", "\u00a0")))


def _head(told: Content, styles: dict[str, Any]) -> list[Any]:
    parts = [_paragraph(_plain(told.title), styles["title"]), _paragraph(_plain(told.name), styles["name"])]
    parts.append(_paragraph(_plain(told.made), styles["faint"]))
    if told.notice:
        parts.append(_paragraph(f"<b>{_plain(told.notice)}</b>", styles["text"]))
    return parts


def _section(section: Section, styles: dict[str, Any], width: float, words: Words) -> list[Any]:
    from reportlab.platypus import KeepTogether

    parts = [_paragraph(_plain(section.title), styles["h2"])]
    for block in section.blocks:
        if isinstance(block, Picture):
            parts.append(KeepTogether(_picture(block, styles, width)))
        elif isinstance(block, Beside):
            parts.append(KeepTogether(_beside(block, styles, width)))
        elif isinstance(block, Text) and block.href:
            parts.append(_paragraph(f'<a href="{_plain(block.href)}" color="#0b4f8a">{_plain(block.text)}</a>', styles["text"]))
        elif isinstance(block, Text):
            parts.append(_paragraph(_plain(block.text), styles["h3" if block.strong else "text"]))
        else:
            parts += _table(block, styles, width, words)
    return parts


def _picture(picture: Picture, styles: dict[str, Any], width: float) -> list[Any]:
    cells = [_image(picture.map, _MAP_WIDTH * width), _image(picture.legend, _LEGEND_WIDTH * width) if picture.legend else ""]
    return [_title(picture, styles), _grid([cells], [(_MAP_WIDTH + 0.02) * width, (0.98 - _MAP_WIDTH) * width])]


def _beside(block: Beside, styles: dict[str, Any], width: float) -> list[Any]:
    titles = [_title(picture, styles) for picture in block.pictures]
    maps = [_image(picture.map, 0.485 * width) for picture in block.pictures]
    legends = [_image(picture.legend, _LEGEND_WIDTH * width) if picture.legend else "" for picture in block.pictures]
    return [_grid([titles, maps, legends], [0.515 * width, 0.485 * width])]


def _title(picture: Picture, styles: dict[str, Any]) -> Any:
    return _paragraph(f'<b>{_plain(picture.title)}</b> <font color="{_FAINT}">{_plain(picture.frame)}</font>', styles["text"])


def _image(png: bytes, wide: float) -> Any:
    from reportlab.platypus import Image

    shown = Image(io.BytesIO(png))
    shown.drawWidth, shown.drawHeight = wide, wide * shown.imageHeight / shown.imageWidth
    shown.hAlign = "LEFT"
    return shown


def _grid(cells: list[list[Any]], widths: list[float]) -> Any:
    from reportlab.platypus import Table as Grid

    grid = Grid(cells, colWidths=widths, spaceAfter=6)
    sides = (("LEFT", 0), ("RIGHT", 0), ("TOP", 0), ("BOTTOM", 2))
    grid.setStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), *((f"{side}PADDING", (0, 0), (-1, -1), padding) for side, padding in sides)])
    return grid


def _table(block: Table, styles: dict[str, Any], width: float, words: Words) -> list[Any]:
    from reportlab.lib.colors import HexColor
    from reportlab.platypus import LongTable, Spacer

    rows = block.rows[:MOST_ROWS] if block.longest else block.rows
    whole = sum(column.width for column in block.columns)
    widths = [width * column.width / whole for column in block.columns]
    body = [[_cell(cell, column, styles, wide) for cell, column, wide in zip(row, block.columns, widths, strict=True)] for row in rows]
    head = [_paragraph(_plain(column.title), styles["head.right" if column.right else "head"]) for column in block.columns]
    grid = LongTable(([head] if block.heads else []) + body, colWidths=widths, repeatRows=int(block.heads), splitByRow=1)
    grid.setStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LINEBELOW", (0, 0), (-1, -1), 0.4, HexColor("#d0d7d3")),
            *((f"{side}PADDING", (0, 0), (-1, -1), padding) for side, padding in (("LEFT", 4), ("RIGHT", 4), ("TOP", 2), ("BOTTOM", 2))),
            *(
                [("BACKGROUND", (0, 0), (-1, 0), HexColor(_PALE)), ("LINEBELOW", (0, 0), (-1, 0), 0.8, HexColor(_GREEN))]
                if block.heads
                else []
            ),
        ]
    )
    parts = [grid, Spacer(1, 6)] if body else [_paragraph(words("none"), styles["text"])]
    if len(rows) < len(block.rows):
        left = words.number(len(block.rows) - len(rows))
        parts.append(_paragraph(f"<b>{_plain(words('species.cut', n=left))}</b>", styles["text"]))
    return parts


def _cell(cell: Cell, column: Column, styles: dict[str, Any], width: float) -> Any:
    text = _plain(cell.text)
    text = f"<i>{text}</i>" if cell.italic else text
    if cell.note:
        text += f'<br/><font size="6" color="{_FAINT}">{_plain(cell.note)}</font>'
    told = _paragraph(text, styles["right" if column.right else "cell"])
    return told if cell.share is None else [told, _bar(cell.share, width - 8)]


def _bar(share: float, width: float) -> Any:
    from reportlab.graphics.shapes import Drawing, Rect
    from reportlab.lib.colors import HexColor

    drawing = Drawing(width, 3.2)
    drawing.add(Rect(0, 0, width, 2.4, fillColor=HexColor("#e3e8e5"), strokeColor=None))
    drawing.add(Rect(0, 0, width * max(0.0, min(1.0, share)), 2.4, fillColor=HexColor("#2f7d62"), strokeColor=None))
    return drawing


def _pages(told: Content, words: Words, *args: Any, **options: Any) -> Any:
    """A canvas that numbers the pages once it knows how many there are, and heads each with what it is."""
    from reportlab.lib.colors import HexColor
    from reportlab.lib.units import mm
    from reportlab.pdfgen.canvas import Canvas

    class Pages(Canvas):  # type: ignore[misc]  # reportlab has no types
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._kept: list[dict[str, Any]] = []

        def showPage(self) -> None:
            self._kept.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, page in enumerate(self._kept, start=1):
                self.__dict__.update(page)
                self._frame(number, len(self._kept))
                super().showPage()
            super().save()

        def _frame(self, number: int, of: int) -> None:
            wide, high = self._pagesize
            self.setFillColor(HexColor(_RED))
            header = legend.plain(told.header)
            label = self.stringWidth(header, "Vera-Bold", 9) + 10
            self.rect(15 * mm, high - 17 * mm, label, 15, stroke=0, fill=1)
            self.setFillColor(HexColor("#ffffff"))
            self.setFont("Vera-Bold", 9)
            self.drawString(15 * mm + 5, high - 17 * mm + 4.5, header)
            self.setFillColor(HexColor(_FAINT))
            self.setFont("Vera", 7.5)
            self.drawRightString(wide - 15 * mm, high - 17 * mm + 4.5, _fitting(self, f"{told.title}: {told.name}", wide - 40 * mm - label))
            self.setStrokeColor(HexColor("#b9c7c0"))
            self.line(15 * mm, 14 * mm, wide - 15 * mm, 14 * mm)
            self.drawString(15 * mm, 10 * mm, legend.plain(told.made))
            self.drawRightString(wide - 15 * mm, 10 * mm, words("page", page=number, pages=of))

    return Pages(*args, **options)


def _fitting(canvas: Any, text: str, width: float) -> str:
    """Text cut to a width."""
    text = legend.plain(text)
    if canvas.stringWidth(text, "Vera", 7.5) <= width:
        return text
    while text and canvas.stringWidth(text + "…", "Vera", 7.5) > width:
        text = text[:-1]
    return text + "…"
