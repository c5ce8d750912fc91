"""The OpenAPI document: whole in itself, true to what is served, and what Schemathesis makes of it."""

from __future__ import annotations

import contextlib
import json
import re

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from geoplantnet.serving import create_app
from geoplantnet.serving.settings import ServerSettings

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance, negative_data_rejection]


@pytest.fixture(scope="module")
def described(plants):
    """What Schemathesis reads of a server that serves everything, and that refuses nothing for its length."""
    everything = ServerSettings(occurrences=1000, max_query=10**6, max_path=10**6, max_header_bytes=10**6)
    return schemathesis.openapi.from_asgi("/ogc/openapi", create_app(plants, settings=everything))


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_answer_is_as_it_is_described(described, mode):
    """Requests of all kinds, right ones and wrong ones, of every path: no 5xx, only the statuses, types and shapes of the document; and what
    the document forbids is refused.
    """
    seen = 0
    for found in described.get_all_operations():
        operation = found.ok()

        @settings(max_examples=6, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case) -> None:
            nonlocal seen
            seen += 1
            case.call_and_validate(checks=CHECKS)

        with contextlib.suppress(Unsatisfiable):  # nothing can be wrong with a request that takes no parameter
            check()
    assert seen > 120


def test_the_document_needs_nobody_else(flora):
    """Every reference is inside it, every path is served, every operation has an answer; only jobs are made and dismissed."""
    told = flora.get("/ogc/openapi").json()
    assert told["openapi"].startswith("3.0") and told["servers"][0]["url"].endswith("/ogc")
    text = json.dumps(told)
    for reference in set(re.findall(r'"\$ref": "([^"]+)"', text)):
        assert reference.startswith("#/components/schemas/") and reference.rpartition("/")[2] in told["components"]["schemas"]
    changing = {(verb, path) for path, verbs in told["paths"].items() for verb in verbs if verb not in ("get", "parameters")}
    assert changing == {("post", f"/processes/{name}/execution") for name in ("species-in-area", "area-report", "export")} | {
        ("delete", "/jobs/{jobId}")
    }
    values = {
        "{collectionId}": "tiles",
        "{coverageId}": "richness",
        "{mapId}": "richness",
        "{styleId}": "default",
        "{tileMatrixSetId}": "WebMercatorQuad",
        "{processId}": "export",
        "{z}/{row}/{col}": "0/0/0",
    }
    for path, verbs in told["paths"].items():
        filled = path
        for name, value in values.items():
            filled = filled.replace(name, value)
        if "get" in verbs and "{" not in filled:
            assert flora.get(f"/ogc{filled}").status_code == 200, filled


def test_conformance_names_no_door_that_is_shut(flora):
    """No transactions, no callbacks, no CQL, no EDR are claimed; each class once."""
    told = flora.get("/ogc/conformance").json()["conformsTo"]
    assert len(told) == len(set(told)) > 40
    assert not [uri for uri in told if re.search("create-replace-delete|callback|cql|edr|ogcapi-stac|update", uri)]
