"""A report's species as CSV (RFC 4180) and, with the polygon, as GeoJSON (RFC 7946)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from geoplantnet.serving.report.content import Report, sides_of

COLUMNS = (
    "taxonID",
    "scientificName",
    "vernacularName",
    "family",
    "genus",
    "iucn",
    "tree",
    "invasive",
    "directive",
    "narrowRanged",
    "coverage",
    "low",
    "high",
    "cells",
    "probability",
    "generalised",
)
"""Of the table, named as in JSON. Numbers are those of JSON: coverage from 0 to 1, `generalised` in metres."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a cell begins with that a spreadsheet may run (OWASP, CSV injection)."""
_SUMMARY = (
    "notice",
    "header",
    "epoch",
    "version",
    "licence",
    "min_coverage",
    "count",
    "withheld",
    "generalised",
    "members",
    "groups",
    "habitats",
)


def csv_of(report: Report) -> bytes:
    """The table of species, in UTF-8 with the mark by which spreadsheets know it; of two sides one below the other, told apart by `side`.

    Every row says which polygon and which maps it is of. A text that a spreadsheet could take for a formula begins with an apostrophe.
    """
    sides = sides_of(report)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    several = ["side"] if len(sides) > 1 else []
    writer.writerow([*several, *COLUMNS, "epoch", "area_sha256", "catalog_version"])
    for letter, side in zip("AB", sides):
        about = [side["epoch"]["name"], side["area"]["sha256"], side["version"]["catalog"]]
        for row in side["species"]:
            cells = [_cell(row.get(column)) for column in COLUMNS]
            writer.writerow([*([letter] if several else []), *cells, *map(_cell, about)])
    return ("\ufeff" + out.getvalue()).encode()


def _cell(value: Any) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return value
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def geojson_of(report: Report, geometries: Sequence[Mapping[str, Any]], *, made: str, link: str = "") -> bytes:
    """The polygon as a feature, with the report in its properties; of two sides a collection of two features.

    `geometries` are the polygons as they were asked for, in longitude, latitude.
    """
    features = []
    for k, (side, geometry) in enumerate(zip(sides_of(report), geometries)):
        properties = {
            **({"side": "AB"[k]} if "compare" in report else {}),
            **{key: value for key, value in side["area"].items() if key != "bounds"},
            **{key: side[key] for key in _SUMMARY if key in side},
            "made": made,
            **({"link": link} if link else {}),
            **_coarse(side),
            "indicators": side.get("indicators", []),
            "species": side["species"],
        }
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    told: Mapping[str, Any] = features[0] if len(features) == 1 else {"type": "FeatureCollection", "features": features}
    return json.dumps(told, ensure_ascii=False, allow_nan=False).encode()


def _coarse(report: Report) -> dict[str, str]:
    """What was made coarser before it was told (Darwin Core's dataGeneralizations)."""
    told = sorted({row["generalised"] for row in report["species"] if row.get("generalised")})
    if not told:
        return {}
    sizes = ", ".join(f"{size:g} m" for size in told)
    return {"dataGeneralizations": f"Sensitive species are told as means over squares of {sizes}; each says its own as `generalised`."}
