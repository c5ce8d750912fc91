"""Documents of the OGC APIs as plain pages for people: no script, no style and no picture of another host."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

_MOST_ROWS = 1000
_LONGEST = 60
"""Letters of an address that is shown in a table."""
_WORDY = {"type", "title", "description"}
"""Properties of an item that its own page tells, and a list of items does not."""
_SKIPPED = {"links", "title", "description", "stac_version", "$schema", "$id"}


def page(told: Mapping[str, Any], title: str = "") -> str:
    """A JSON document: its title and words, where it leads, and what it holds, as tables where it can be one."""
    title = title or str(told.get("title") or told.get("id") or told.get("type") or "OGC API")
    parts = [f"<h1>{_text(title)}</h1>"]
    if words := told.get("description"):
        parts.append(f"<p>{_text(words)}</p>")
    links = [link for link in told.get("links", []) if isinstance(link, dict) and _leads(link)]
    parts += _content(told)
    if links:
        parts.append(
            "<h2>Links</h2><ul>" + "".join(f"<li>{_anchor(link['href'], link.get('title', link['href']))}</li>" for link in links) + "</ul>"
        )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{_text(title)}</title></head><body>{''.join(parts)}</body></html>"
    )


def _content(told: Mapping[str, Any]) -> list[str]:
    """What a document holds, each part as it is best read."""
    if "collections" in told:
        return [_listing(told["collections"], "title", "description", "Collections")]
    if "processes" in told:
        return [_listing(told["processes"], "title", "description", "Processes")]
    if "jobs" in told:
        return [_table(told["jobs"], ("jobID", "processID", "status", "progress", "created", "message"), link="jobID")]
    for kind in ("styles", "tilesets", "tileMatrixSets"):
        if isinstance(told.get(kind), list):
            return [_listing(told[kind], "title", "description", told.get("title", kind))]
    if "features" in told:
        return [_features(told)]
    if told.get("type") == "Feature":
        return [_facts(told["properties"]), _facts({"geometry": told.get("geometry")})]
    if "paths" in told:
        return [_paths(told)]
    if isinstance(told.get("properties"), dict):
        rows = [{"name": name, **value} for name, value in told["properties"].items() if isinstance(value, dict)]
        return [_table(rows, ("name", "title", "type", "description", "enum", "x-ogc-unit"))]
    if "jobControlOptions" in told:
        inputs = [{"input": name, "what": one["title"], "required": bool(one["minOccurs"])} for name, one in told.get("inputs", {}).items()]
        facts = {name: told[name] for name in ("id", "version", "jobControlOptions")} | {"outputs": list(told.get("outputs", {}))}
        schemas = {name: one["schema"] for name, one in told.get("inputs", {}).items()}
        return [_facts(facts), "<h2>Inputs</h2>", _table(inputs, ("input", "what", "required")), "<h2>Their schemas</h2>", _facts(schemas)]
    if "conformsTo" in told:
        return ["<ul>" + "".join(f"<li>{_text(uri)}</li>" for uri in told["conformsTo"]) + "</ul>"]
    return [_facts({name: value for name, value in told.items() if name not in _SKIPPED})]


def _listing(documents: Sequence[Mapping[str, Any]], name: str, about: str, heading: str) -> str:
    """Documents by their names, which lead to their own pages."""
    rows = "".join(
        f"<tr><td>{_anchor(own_page(one.get('links', [])), one[name])}</td><td>{_text(one.get('id', ''))}</td><td>{_text(one.get(about, ''))}</td></tr>"
        for one in documents
    )
    return f'<h2>{heading}</h2><table border="1"><tr><th>name</th><th>id</th><th>about</th></tr>{rows}</table>'


def _features(told: Mapping[str, Any]) -> str:
    """Items as a table, an item a row."""
    features = told["features"]
    of = f" of {told['numberMatched']:,}" if "numberMatched" in told else ""
    base = next((link["href"] for link in told.get("links", []) if link.get("rel") == "collection"), "")
    rows = [{"id": feature["id"], **(feature.get("properties") or {})} for feature in features]
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in _WORDY]
    around = [link for link in told.get("links", []) if link.get("rel") in ("prev", "next")]
    turns = " ".join(_anchor(link["href"].replace("f=json", "f=html"), link["title"]) for link in around)
    head = f"<p>{len(features):,}{of} items. {turns}</p>"
    return head + _table(rows, names, link="id", base=f"{base}/items/" if base else "")


def _paths(told: Mapping[str, Any]) -> str:
    rows = [
        {
            "path": path,
            "method": verb.upper(),
            "what": operation.get("summary", ""),
            "parameters": ", ".join(parameter["name"] for parameter in operation.get("parameters", [])),
        }
        for path, verbs in told["paths"].items()
        for verb, operation in verbs.items()
        if isinstance(operation, dict)
    ]
    at = "".join(f"<p>At {_anchor(server['url'], server['url'])}</p>" for server in told.get("servers", []))
    return at + _table(rows, ("path", "method", "what", "parameters"))


def _table(rows: Sequence[Mapping[str, Any]], names: Iterable[str], *, link: str = "", base: str = "") -> str:
    shown = [name for name in names if any(row.get(name) not in (None, "") for row in rows)]
    head = "".join(f"<th>{_text(name)}</th>" for name in shown)

    def cell(row: Mapping[str, Any], name: str) -> str:
        value = row.get(name)
        if name == link and (base or own_page(row.get("links", []))):
            return _anchor(f"{base}{value}?f=html" if base else own_page(row.get("links", [])), value)
        return _value(value)

    body = "".join("<tr>" + "".join(f"<td>{cell(row, name)}</td>" for name in shown) + "</tr>" for row in rows[:_MOST_ROWS])
    return f'<table border="1"><tr>{head}</tr>{body}</table>'


def _facts(facts: Mapping[str, Any]) -> str:
    rows = "".join(f"<tr><th>{_text(name)}</th><td>{_value(value)}</td></tr>" for name, value in facts.items())
    return f'<table border="1">{rows}</table>'


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return _anchor(value, value if len(value) <= _LONGEST else "open") if _leads({"href": value}) else _text(value)
    if isinstance(value, dict | list):
        if isinstance(value, list) and not any(isinstance(one, dict | list) for one in value):
            return _text(", ".join(map(str, value)))
        if value and isinstance(value, list) and all(isinstance(one, dict) for one in value):
            return _table(value, list(dict.fromkeys(name for one in value for name in one)))
        if value and isinstance(value, dict) and all(not isinstance(one, dict | list) for one in value.values()):
            return _facts(value)
        return f"<pre>{_text(json.dumps(value, indent=1, ensure_ascii=False)[:20_000])}</pre>"
    return _text(f"{value:g}" if isinstance(value, float) else value)


def _anchor(href: str, text: Any) -> str:
    return f'<a href="{_text(href)}">{_text(text)}</a>' if href else _text(text)


def _leads(link: Mapping[str, Any]) -> bool:
    return urlsplit(str(link.get("href", ""))).scheme in ("http", "https")


def _text(value: Any) -> str:
    return html.escape(str(value))


def own_page(links: Sequence[Mapping[str, Any]]) -> str:
    """The HTML page of a document, among its links."""
    own = [str(link["href"]) for link in links if link.get("rel") in ("alternate", "self")]
    return next((href for href in own if href.endswith("f=html")), own[0] if own else "")
