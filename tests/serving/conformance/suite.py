"""The assertions of the OGC's test suite for WMS 1.3.0 by their ids: which group others, which do not apply here, which fail.

The ids, not the scripts, are those of opengeospatial/ets-wms13 (src/main/scripts/ctl, Apache-2.0): its modules as they stood when these cases
were written. An assertion whose id is listed under GROUPS only calls others, and holds when they do.

Run as a script it writes docs/conformance.md.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import pytest

Case = TypeVar("Case", bound=Callable[..., Any])

_NAMES = {
    "main": "main main-auto data-independent data-preconditions",
    "interactive": "interactive exceptions-inimage fees-and-access-constraints",
    "basic_elements": "main version-negotiation negotiate-no-version negotiate-basic_elements-version negotiate-higher-version"
    " negotiate-lower-version reserved-chars escaped-chars escaped-space param-rules extra-GetCapabilities-param extra-GetMap-param"
    " extra-GetFeatureInfo-param",
    "getcapabilities": "getcapabilities requests each-format no-format invalid-format updatesequence-ignored updatesequence-current"
    " updatesequence-lower updatesequence-higher xml-validation normative-schema validate-using-schemaLocation capability-metadata"
    " capability-onlineresource capability-xml-getcapabilities-format capability-xml-exception-format layer-properties resource-format"
    " resource-size logourls bbox-crs-advertised bbox-present bbox-distinct-crs crs-auto2-declarations crs-present crs-for-all-layers dataurls"
    " ex_geobbox-present ex_geobbox-coordinates featurelisturls authorityurl-unique identifier-matches-authorityurl metadataurls style-unique"
    " style-legendurls style-stylesheeturls style-styleurls dimensions dims-time dims-elevation-crs88 dims-no-redeclarations layer-extents",
    "getmap": "getmap bbox bbox-direct bbox-inherited bbox-below-scale bbox-above-scale bbox-minx-gt-maxx bbox-minx-eq-maxx bbox-miny-gt-maxy"
    " bbox-miny-eq-maxy bbox-no-overlap bbox-outside-crs crs crs-direct crs-inherited invalid-crs each-layer-crs-combination each-crs exceptions"
    " exceptions-default exceptions-xml exceptions-inimage-mime exceptions-blank-red exceptions-blank-transparent exceptions-blank-mime format"
    " invalid-format each-format layers two-layers three-layers invalid-layer first-layer-invalid second-layer-invalid layerlimit each-layer"
    " styles styles-direct styles-inherited two-styles three-styles invalid-style styles-default-single-layer styles-default-multiple-layers"
    " styles-default-commas styles-some-default first-style-invalid second-style-invalid each-style transparent transparent-default"
    " transparent-false transparent-opaque-layer width-and-height large-size small-size",
    "getfeatureinfo": "getfeatureinfo exceptions exceptions-default exceptions-xml info_format invalid-info_format each-info_format i-and-j"
    " invalid-i invalid-j query-layers two-query_layers three-query_layers less-query_layers invalid-query_layers query_layers-not-queryable"
    " each-queryable-layer",
    "dims": "main missing-no-default",
    "basic": "basic options-requirements gif-or-png getmap bbox bbox-exponential bbox-pixel-interpretation bgcolor no-bgcolor blue-bgcolor"
    " transparent transparent-true interactive basic-polygons-sanity-check blue-lake-sanity-check layer-order aspect-ratio",
    "queryable": "queryable options-requirements getfeatureinfo-supported std-data-queryable getfeatureinfo feature_count feature_count-default"
    " feature_count-1",
    "raster_elevation": "raster_elevation options-requirements dims terrain terrain-low-range terrain-mid-range terrain-high-range"
    " terrain-low-and-high-ranges terrain-range-and-value terrain-value terrain-invalid terrain-default terrain-and-other-layer",
    "vector_elevation": "vector_elevation options-requirements dims geometry geometry-low geometry-med geometry-high geometry-multiple-values"
    " geometry-nearest-value geometry-default-value geometry-and-other-layer",
    "time": "time options-requirements time-options-requirements dims time-dims time-each-instant time-interval time-interval-and-instant"
    " time-interval-list time-instant-list time-current-instant time-current-interval time-default time-and-other-layer",
    "recommendations": "recommendations service-keywords service-contact-info png-getmap-format layer-abstracts layer-keywordlists layer-crs"
    " metadataurls dims-no-whitespace dims-defaults",
}
ASSERTIONS: tuple[str, ...] = tuple(f"{module}:{name}" for module, names in _NAMES.items() for name in names.split())

GROUPS: frozenset[str] = frozenset(
    f"{module}:{name}"
    for module, names in {
        "main": "main main-auto data-independent",
        "interactive": "interactive",
        "basic_elements": "main version-negotiation reserved-chars param-rules",
        "getcapabilities": "getcapabilities requests xml-validation capability-metadata layer-properties dimensions",
        "getmap": "getmap bbox crs exceptions format layers styles transparent width-and-height",
        "getfeatureinfo": "getfeatureinfo exceptions info_format i-and-j query-layers",
        "dims": "main",
        "basic": "basic options-requirements getmap bbox bgcolor transparent interactive",
        "queryable": "queryable options-requirements getfeatureinfo feature_count",
        "raster_elevation": "raster_elevation options-requirements dims terrain",
        "vector_elevation": "vector_elevation options-requirements dims geometry",
        "time": "time options-requirements dims time-dims",
        "recommendations": "recommendations",
    }.items()
    for name in names.split()
)

_CITE = "asks for layers of the suite's own data set, drawn and judged by eye"
_ELEVATION = "no layer has an elevation"
_MULTIPLE = "the time dimension does not declare multipleValues: a map shows one epoch"
DOES_NOT_APPLY: dict[str, str] = {
    "main:data-preconditions": _CITE,
    "basic:basic-polygons-sanity-check": _CITE,
    "basic:blue-lake-sanity-check": _CITE,
    "queryable:std-data-queryable": _CITE,
    "time:time-options-requirements": _CITE,
    "basic_elements:escaped-space": "no layer's name has a space",
    "getcapabilities:updatesequence-ignored": "is of servers without an update sequence",
    "getcapabilities:logourls": "no LogoURL is declared",
    "getcapabilities:featurelisturls": "no FeatureListURL is declared",
    "getcapabilities:style-stylesheeturls": "no StyleSheetURL is declared",
    "getcapabilities:style-styleurls": "no StyleURL is declared",
    "getcapabilities:crs-auto2-declarations": "no AUTO2 projection is offered",
    "getcapabilities:dims-elevation-crs88": _ELEVATION,
    "getmap:bbox-direct": "the root layer's BoundingBox holds for all",
    "getmap:bbox-above-scale": "no MaxScaleDenominator is declared",
    "getmap:crs-direct": "the root layer's CRS hold for all",
    "getmap:transparent-opaque-layer": "no layer is opaque",
    "getfeatureinfo:query_layers-not-queryable": "every named layer is queryable",
    "dims:missing-no-default": "every dimension has a default",
    "time:time-interval": _MULTIPLE,
    "time:time-interval-and-instant": _MULTIPLE,
    "time:time-interval-list": _MULTIPLE,
    "time:time-instant-list": _MULTIPLE,
    "time:time-current-interval": "no interval that ends with current is declared",
    **{name: _ELEVATION for name in ASSERTIONS if name.startswith(("raster_elevation:", "vector_elevation:")) and name not in GROUPS},
}
FAILS: dict[str, str] = {
    "recommendations:service-contact-info": "an address, telephone or electronic mail address is recommended; STAC providers have none of"
    " them, so that only a name is told",
}

held: dict[str, str] = {}
"""Ids with a case, and the case's name: filled by `asserts`."""


def asserts(*ids: str) -> Callable[[Case], Case]:
    """A case that holds a service to these assertions; one that is said to fail is expected to, strictly."""

    def mark(case: Case) -> Case:
        for one in ids:
            assert one in ASSERTIONS and one not in held, one
            held[one] = case.__name__
        why = "; ".join(FAILS[one] for one in ids if one in FAILS)
        return pytest.mark.xfail(strict=True, reason=why)(case) if why else case

    return mark


def cases_of(source: str) -> set[str]:
    """Ids that the cases of a module are marked with, read from its text."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "asserts")
    return {str(ast.literal_eval(argument)) for call in calls for argument in call.args}


CASES = Path(__file__).with_name("test_wms13.py")
PAGE = Path(__file__).parents[3] / "docs" / "conformance.md"

_HEAD = """# WMS 1.3.0: what we hold ourselves to

**Not certified.** The Open Geospatial Consortium certifies software that its own test engine has run against; nobody has done that here.
What follows is our own reading of its test suite for WMS 1.3.0, opengeospatial/ets-wms13: each assertion, by its id, is a case in our own
code (`tests/serving/conformance`), or is named with the reason why it does not apply.

Where the suite asks for maps of its own data set (lakes, roads, a diamond), the case asks the same of the layers at hand. Each runs against
three services over one small store: `/wms`, `/wms/species/{taxonID}` and `/wms/family/{name}`.

"""
_TAIL = """
The suite is often said to have 217 tests. Its sources, as far as they could be read, hold the ids counted here, a few of them in two places.

Besides, every capabilities document and exception of both versions is validated by the OGC's own schemas and DTDs
(`tests/data/ogc`, `tests/serving/test_wms_services.py`).

Counted by `python tests/serving/conformance/suite.py`; a test fails when this page says anything else.
"""


def page(cases: Collection[str]) -> str:
    """docs/conformance.md as it must be when these ids have a case."""
    rows = ["| module | ids | of them groups | apply | hold | fail | do not apply |", "|---|--:|--:|--:|--:|--:|--:|"]
    total: Counter[str] = Counter()
    for module in dict.fromkeys(name.split(":")[0] for name in ASSERTIONS):
        own = Counter(kind for name in ASSERTIONS if name.split(":")[0] == module for kind in ("ids", _kind(name, cases)))
        rows.append(_row(module, own))
        total += own
    rows.append(_row("**all**", total))
    reasons: dict[str, list[str]] = {}
    for name, why in DOES_NOT_APPLY.items():
        reasons.setdefault(why, []).append(name)
    fails = "".join(f"| `{name}` | {why} |\n" for name, why in FAILS.items())
    without = "".join(f"| {why} | {_names(names)} |\n" for why, names in reasons.items())
    counted = "\n".join(rows)
    return (
        f"{_HEAD}{counted}\n\nA group calls other assertions and holds when they do.\n\n"
        f"| fails | why |\n|---|---|\n{fails}\n| does not apply, because | ids |\n|---|---|\n{without}{_TAIL}"
    )


def _kind(name: str, cases: Collection[str]) -> str:
    if name in GROUPS:
        return "group"
    return "without" if name in DOES_NOT_APPLY else "fail" if name in FAILS else "hold" if name in cases else "lacking"


def _row(module: str, own: Counter[str]) -> str:
    return f"| {module} | {own['ids']} | {own['group']} | {own['hold'] + own['fail']} | {own['hold']} | {own['fail']} | {own['without']} |"


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    PAGE.write_text(page(cases_of(CASES.read_text("utf-8"))), encoding="utf-8")
