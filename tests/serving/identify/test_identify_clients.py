"""Programs of other people against the server on a port: Node's fetch, Python's requests, and a generator of requests from our own document."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import jsonschema
import pytest
import requests
import uvicorn
from starlette.testclient import TestClient

from geoplantnet.identify.engine import Identifier
from geoplantnet.identify.observations import ObservationStore
from geoplantnet.identify.photos import Decoder
from geoplantnet.serving.guard import KeyRing
from geoplantnet.serving.identify import IdentifySettings, create_identify_app


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The address of an application on a free port."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture
def url(identifier: Identifier, decoder: Decoder, settings: IdentifySettings, key: str) -> Iterator[str]:
    """Of a server that wants a key."""
    with served(create_identify_app(identifier, settings=replace(settings, anonymous_quota=0), decoder=decoder)) as url:
        yield url


@pytest.fixture
def photos(photo: Callable[..., bytes], tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"plant{i}.jpg" for i in range(2)]
    for i, file in enumerate(files):
        file.write_bytes(photo(i, size=(400, 300)))
    return files


def test_a_client_written_for_plantnet_runs_unchanged_in_node(url: str, settings: IdentifySettings, photos: list[Path]) -> None:
    """But for the address: forms, the key in the query, errors by status, and exactly as many answers as its quota has."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed; apt-get install nodejs")
    assert settings.keys is not None
    ring = KeyRing(settings.keys)
    token = ring.add("integrator", quota=10)
    ring.close()
    script = Path(__file__).with_name("client.mjs")
    done = subprocess.run([node, str(script), url, token, *map(str, photos)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["status"]["body"] == {"status": "ok"} and told["languages"]["status"] == 200
    assert told["projects"]["body"][0]["id"] == "all"
    assert told["one"]["status"] == 200 and len(told["one"]["body"]["results"]) == 3 and told["one"]["limit"]
    assert told["several"]["status"] == 200 and all("images" in result for result in told["several"]["body"]["results"])
    assert told["unknown"]["status"] == 404 and told["empty"]["status"] in (400, 415)
    used = told["quota"]["body"]["count"]["identify"]
    assert used in (2, 3)  # an empty form may not be one
    assert told["storm"].count(200) == 10 - used and told["storm"].count(429) == 12 - (10 - used)
    assert int(told["spent"]["retry"]) > 0 and told["spent"]["body"]["statusCode"] == 429


def test_a_client_written_for_plantnet_runs_unchanged_in_python(url: str, key: str, photos: list[Path]) -> None:
    """As its documentation's example has it: lists of files and organs, the key in the query."""
    files = [("images", (str(file), file.open("rb"))) for file in photos]
    answer = requests.post(f"{url}/v2/identify/all?api-key={key}", files=files, data={"organs": ["flower", "leaf"]}, timeout=60)
    assert answer.status_code == 200
    told = answer.json()
    assert told["query"]["organs"] == ["flower", "leaf"] and told["predictedOrgans"][0]["filename"].endswith("plant0.jpg")


@pytest.mark.parametrize(("script", "route", "wanted"), [("benchmark", "identify", 4), ("benchmark-survey", "survey/tiles", 2)])
def test_plantnets_own_benchmarks_run_unchanged(
    script: str, route: str, wanted: int, url: str, key: str, photo: Callable[..., bytes], tmp_path: Path
) -> None:
    """The clients that Pl@ntNet publishes (my.plantnet on GitHub, GPL, so never kept here), from a checkout after `npm install`: only their env.json is ours."""
    checkout = os.environ.get("GEOPLANTNET_PLANTNET_CLIENTS")
    if not checkout:
        pytest.skip("GEOPLANTNET_PLANTNET_CLIENTS names no checkout of Pl@ntNet's example clients")
    shutil.copytree(Path(checkout) / script / "js", tmp_path / "client")
    answers, plant = tmp_path / "answers", tmp_path / "photos" / "gentiana_lutea"
    answers.mkdir()
    several = plant / "several"
    several.mkdir(parents=True)
    for i, file in enumerate([plant / "a.jpg", plant / "b.jpg", several / "c.jpg", several / "d.jpg"]):
        file.write_bytes(photo(i, size=(1300, 900)))
    told = {
        "url": f"{url}/v2/{route}",
        "apiKey": key,
        "mainFolderPath": str(tmp_path / "photos"),
        "outputFilesPath": str(answers),
        "projects": ["all", "best"] if script == "benchmark" else ["best"],
        **{"resultsLimit": 3, "maxParallelQueries": 5, "noReject": True},
        **{"sortBy": "max_score", "tile_size": 800, "tile_stride": 400, "multi_scale": False, "size_factor": None, "min_score": 0.1},
        "max_rank": 1,
    }
    (tmp_path / "client" / "env.json").write_text(json.dumps(told))
    done = subprocess.run(["node", f"{script}.js"], cwd=tmp_path / "client", capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    rows = next(answers.glob("*.csv")).read_text().splitlines()
    assert len(rows) == 1 + wanted + 2 * (script == "benchmark") and "FAILED" not in "".join(rows), rows


def test_slow_and_broken_clients_get_no_500(url: str, key: str) -> None:
    """A form that claims more than it sends, chunked bodies, pipelined nonsense: the server answers the next request."""
    head = {"Api-Key": key, "content-type": "multipart/form-data; boundary=b"}

    def parts() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
        yield b"\xff\xd8\xff"
        yield b"\r\n--b--\r\n"

    assert httpx.post(f"{url}/v2/identify/all", content=parts(), headers=head).status_code in (400, 415)
    assert httpx.get(f"{url}/v2/_status").status_code == 200


def _generate(operation: Any, token: str) -> str:
    """Ask some requests of one route -> which."""
    statuses = {int(status) for status in operation.definition.raw["responses"]}

    @hypothesis.settings(
        max_examples=6,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
        database=None,
        derandomize=True,
    )
    @hypothesis.given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        answer = case.call(headers={"Api-Key": token})
        assert answer.status_code in statuses, (operation.label, answer.status_code, answer.text)

    ask()
    return str(operation.label)


def test_requests_made_from_our_own_document_are_answered_as_it_says(
    identifier: Identifier, decoder: Decoder, settings: IdentifySettings, key: str, tmp_path: Path
) -> None:
    """Generated for every route, sound and not: no 5xx, and statuses that the OpenAPI document knows."""
    schemathesis = pytest.importorskip("schemathesis", reason="pip install schemathesis")
    assert settings.keys is not None
    ring = KeyRing(settings.keys)
    token = ring.add("generator", quota=10**6)
    ring.close()
    with ObservationStore.open(tmp_path / "s.sqlite", create=True) as store:
        roomy = replace(settings, survey_quota=10**6)
        with served(create_identify_app(identifier, settings=roomy, decoder=decoder, store=store)) as url:
            schema = schemathesis.openapi.from_url(f"{url}/v2/openapi.json")
            asked = set()
            for found in schema.get_all_operations():
                asked.add(_generate(found.ok(), token))
            assert len(asked) == 25


def test_answers_validate_against_our_own_document(
    client_of: Callable[..., TestClient], photo: Callable[..., bytes], tmp_path: Path
) -> None:
    """Each route that answers, once: nothing is missing, nothing is told beside it."""
    with ObservationStore.open(tmp_path / "s.sqlite", create=True) as store:
        client = client_of(store=store)
        document = client.get("/v2/openapi.json").json()
        files = [("images", ("a.jpg", photo(1)))]
        given = client.post("/v2/observations", files=files, data={"license": "cc0", "lat": "46", "lon": "8", "species": "Picea abies"})
        name, image = given.json()["id"], given.json()["images"][0]["id"]
        known = {
            "/v2/observations": lambda: given,
            "/v2/identify/{project}": lambda: client.post("/v2/identify/all?detailed=true&include-related-images=true", files=files),
            "/v2/survey/tiles/{project}": lambda: client.post(
                "/v2/survey/tiles/all?show_genus=true&show_family=true&detailed_reject=true",
                files=[("image", ("a.jpg", photo(1, size=(300, 200))))],
            ),
            "/v2/survey/custom/{project}": lambda: client.post(
                "/v2/survey/custom/all", files=[("image", ("a.jpg", photo(1)))], data={"pixels": "30,30", "sizes": "40"}
            ),
            "/v2/cost/survey/{project}": lambda: client.post("/v2/cost/survey/all?size=800x600"),
            "/v2/observations/{observation_id}/votes/{kind}": lambda: client.post(
                f"/v2/observations/{name}/votes/cultivated", json={"value": False}
            ),
            "/v2/observations/{observation_id}/votes/image/{image}/{kind}": lambda: client.post(
                f"/v2/observations/{name}/votes/image/{image}/quality", json={"value": 1}
            ),
        }
        fill = {"{project}": "all", "{observation_id}": name, "{taxon_id}": "picea-abies"}
        checked = set()
        for path, methods in document["paths"].items():
            for method, route in methods.items():
                if path in ("/v2/media/{path}", "/v2/prediction/geo/species") or (method, path) == ("get", "/v2/identify/{project}"):
                    continue
                place = path
                for hole, value in fill.items():
                    place = place.replace(hole, value)
                if method == "delete":
                    continue  # of no body, and what is asked for after it would be gone
                answer = known[path]() if method == "post" else client.get(place)
                assert answer.status_code in (200, 201), (method, path, answer.text)
                schema = route["responses"][str(answer.status_code)]["content"]["application/json"]["schema"]
                whole = {**schema, "components": document["components"]}
                jsonschema.Draft202012Validator(whole).validate(answer.json())
                checked.add((method, path))
        assert len(checked) == 21, sorted(checked)
