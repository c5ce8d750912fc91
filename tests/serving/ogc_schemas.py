"""The OGC's schemas without a network: `validate` holds a document to those that it names itself."""

from __future__ import annotations

import functools
import io
from pathlib import Path

from lxml import etree

SCHEMAS = Path(__file__).parents[1] / "data" / "ogc"
_SITE = "http://schemas.opengis.net/"
_XSI = "{http://www.w3.org/2001/XMLSchema-instance}schemaLocation"


def local(url: str) -> Path:
    """The copy of a schema of schemas.opengis.net. Raises FileNotFoundError for one that is not here."""
    path = SCHEMAS / url.removeprefix(_SITE)
    if not url.startswith(_SITE) or not path.is_file():
        raise FileNotFoundError(f"{url} is not among the schemas in {SCHEMAS}")
    return path


def validate(document: bytes) -> etree._Element:
    """The root of a document that is valid by the schemas, or the DTD, that it names; raises etree.DocumentInvalid with what is wrong."""
    root = etree.fromstring(document, etree.XMLParser(no_network=True, resolve_entities=False))
    dtd = root.getroottree().docinfo.system_url
    if dtd:
        with local(dtd).open("rb") as file:
            etree.DTD(file).assertValid(root)
        return root
    named = root.get(_XSI).split()
    _schema(tuple(zip(named[::2], named[1::2], strict=True))).assertValid(root)
    return root


@functools.cache
def _schema(named: tuple[tuple[str, str], ...]) -> etree.XMLSchema:
    imports = "".join(f'<import namespace="{space}" schemaLocation="{local(url).as_uri()}"/>' for space, url in named)
    text = f'<schema xmlns="http://www.w3.org/2001/XMLSchema">{imports}</schema>'
    return etree.XMLSchema(etree.parse(io.BytesIO(text.encode()), etree.XMLParser(no_network=True)))
