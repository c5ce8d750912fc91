"""What a table of an archive looks like, and `meta.xml`, which says it: values -> XML and back.

The standard's defaults are commas and double quotes (http://rs.tdwg.org/dwc/text/tdwg_dwc_text.xsd), which readers often forget; we write
tabs, no quotes, and every attribute in full.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

from geoplantnet.errors import OccurrenceError

DWC, DCTERMS, GBIF = "http://rs.tdwg.org/dwc/terms/", "http://purl.org/dc/terms/", "http://rs.gbif.org/terms/1.0/"
OCCURRENCE, EVENT, IDENTIFICATION, MULTIMEDIA = f"{DWC}Occurrence", f"{DWC}Event", f"{DWC}Identification", f"{GBIF}Multimedia"
"""Row types of tables."""
_TEXT = "http://rs.tdwg.org/dwc/text/"
_SCHEMA = "http://rs.tdwg.org/dwc/text/tdwg_dwc_text.xsd"
_DUBLIN_CORE = frozenset(
    (
        *("accessRights", "bibliographicCitation", "created", "creator", "description", "format", "identifier", "language", "license"),
        *("modified", "publisher", "references", "rightsHolder", "source", "title", "type"),
    )
)
_ESCAPES = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\r\\n": "\r\n", "\\\\": "\\", "\\u0009": "\t", "\\u0001": "\x01"}
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_NOT_A_CHARACTER = re.compile("[\ud800-\udfff\ufffe\uffff]")
_CONTROL_BYTES = bytes((*range(0x20), 0x7F))
_MOST_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class Field:
    """What a column means."""

    term: str
    """URI of the term."""
    index: int | None
    """Column, from 0; None = the default stands for every row."""
    default: str = ""
    """What holds where a cell is empty."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of an archive: the core, or an extension whose rows name rows of the core."""

    file: str
    """Name inside the archive."""
    row_type: str
    """URI of what a row is: `OCCURRENCE`, `EVENT`, `IDENTIFICATION`, `MULTIMEDIA` ..."""
    key: int | None
    """Column of the core's id, or of the extension's coreid; None where a core says none."""
    fields: tuple[Field, ...]
    separator: str = "\t"
    quote: str = ""
    """What encloses cells; empty = nothing does."""
    line_end: str = "\n"
    header_lines: int = 1
    encoding: str = "UTF-8"

    @classmethod
    def of(cls, file: str, row_type: str, terms: Sequence[str]) -> Table:
        """A table as we write it: the key first, then a column a term (short names), in this order."""
        return cls(
            file=file, row_type=row_type, key=0, fields=tuple(Field(term=term_uri(t), index=i) for i, t in enumerate(terms, start=1))
        )

    @property
    def terms(self) -> tuple[str, ...]:
        """Short names of the fields, in their order."""
        return tuple(short_name(field.term) for field in self.fields)


def term_uri(name: str) -> str:
    """URI of a term's short name: Dublin Core's for what is its own, else Darwin Core's."""
    return f"{DCTERMS if name in _DUBLIN_CORE else DWC}{name}"


def short_name(uri: str) -> str:
    """Last part of a term's URI."""
    return re.split(r"[/#]", uri.rstrip("/"))[-1]


def cleaned(text: str) -> str:
    """Text that a table without quotes can hold: a run of control characters (tabs, ends of lines) becomes one space, what is no character U+FFFD.

    The format has no escapes that readers know. Text without such characters stays as it is, and the result of a second pass is that of the first.
    """
    return _NOT_A_CHARACTER.sub("\ufffd", _CONTROL.sub(" ", text))


def all_clean(texts: Sequence[str]) -> bool:
    """Whether `cleaned` would change none of them. One pass over all: nearly always none is."""
    joined = "".join(texts)
    if joined.isascii():
        data = joined.encode()
        return len(data.translate(None, _CONTROL_BYTES)) == len(data)
    return _CONTROL.search(joined) is None and _NOT_A_CHARACTER.search(joined) is None


def meta_xml(core: Table, extensions: Sequence[Table] = ()) -> bytes:
    """`meta.xml` of an archive whose metadata are `eml.xml`. Same tables, same bytes."""
    root = ET.Element(
        "archive",
        {
            "xmlns": _TEXT,
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:schemaLocation": f"{_TEXT} {_SCHEMA}",
            "metadata": "eml.xml",
        },
    )
    for tag, table in [("core", core), *(("extension", t) for t in extensions)]:
        written = {text: escape for escape, text in reversed(_ESCAPES.items())}
        node = ET.SubElement(
            root,
            tag,
            {
                "encoding": table.encoding,
                "fieldsTerminatedBy": written.get(table.separator, table.separator),
                "linesTerminatedBy": written.get(table.line_end, table.line_end),
                "fieldsEnclosedBy": table.quote,
                "ignoreHeaderLines": str(table.header_lines),
                "rowType": table.row_type,
            },
        )
        ET.SubElement(ET.SubElement(node, "files"), "location").text = table.file
        ET.SubElement(node, "id" if tag == "core" else "coreid", {"index": str(table.key)})
        for field in table.fields:
            place = {} if field.index is None else {"index": str(field.index)}
            default = {"default": field.default} if field.default else {}
            ET.SubElement(node, "field", {**place, "term": field.term, **default})
    ET.indent(root, "  ")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="utf-8") + b"\n"


def read_meta(text: bytes, where: str) -> tuple[Table, tuple[Table, ...]]:
    """Core and extensions of a `meta.xml`, the standard's defaults filled in.

    Raises OccurrenceError, which names `where`, for what is no such file, declares entities, spreads a table over several files, or describes no core.
    """
    if len(text) > _MOST_BYTES:
        raise OccurrenceError(f"{where} has {len(text)} bytes; a description of tables has at most {_MOST_BYTES}")
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise OccurrenceError(f"{where} declares a document type or entities, which no description of tables needs; write it without")
    try:
        root = ET.fromstring(text)
        cores = [node for node in root if _tag(node) == "core"]
        if len(cores) != 1:
            raise OccurrenceError(f"{where} describes {len(cores)} core tables, wanted one")
        extensions = [node for node in root if _tag(node) == "extension"]
        return _table(cores[0], "id", where), tuple(_table(node, "coreid", where) for node in extensions)
    except (ET.ParseError, ValueError) as error:
        raise OccurrenceError(f"{where} cannot be read ({error}); write it as the Darwin Core text guide says") from error


def _table(node: ET.Element, key: str, where: str) -> Table:
    files = [(found.text or "").strip() for found in node.iter() if _tag(found) == "location"]
    if len(files) != 1 or not files[0]:
        raise OccurrenceError(f"{where} names {len(files)} files for a table ({', '.join(files) or 'none'}), wanted one; join them")
    indices = [found.get("index") for found in node if _tag(found) == key]
    fields = tuple(
        Field(term=found.get("term", "").strip(), index=_index(found.get("index")), default=found.get("default", ""))
        for found in node
        if _tag(found) == "field"
    )
    separator, line_end = (
        _unescaped(node.get(name, default)) for name, default in (("fieldsTerminatedBy", ","), ("linesTerminatedBy", "\\n"))
    )
    quote = _unescaped(node.get("fieldsEnclosedBy", '"'))
    if len(separator) != 1 or len(quote) > 1 or line_end not in ("\n", "\r", "\r\n"):
        raise OccurrenceError(
            f"{where}: cells of {files[0]} end with {separator!r}, lines with {line_end!r}, quotes are {quote!r}; "
            "wanted one character, an end of line, and one character or none"
        )
    return Table(
        file=files[0],
        row_type=node.get("rowType", "").strip(),
        key=_index(indices[0]) if indices else None,
        fields=fields,
        separator=separator,
        quote=quote,
        line_end=line_end,
        header_lines=int(node.get("ignoreHeaderLines") or 0),
        encoding=node.get("encoding") or "UTF-8",
    )


def _tag(node: ET.Element) -> str:
    """Name without its namespace."""
    return str(node.tag).split("}")[-1]


def _index(written: str | None) -> int | None:
    if written is None or not written.strip():
        return None
    index = int(written)
    if not 0 <= index < 10_000:
        raise ValueError(f"column {index}")
    return index


def _unescaped(text: str) -> str:
    return _ESCAPES.get(text, text)
