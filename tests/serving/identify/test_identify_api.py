"""The routes of identification as Pl@ntNet's clients ask them: what is answered, what is refused and how, and the contract of both."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from python_multipart.multipart import Field
from starlette.testclient import TestClient

from geoplantnet.identify.observations import ObservationStore
from geoplantnet.serving.identify import IdentifySettings, surveying

DATA = Path(os.environ.get("GEOPLANTNET_DATA", "../shared/data"))
CONTRACT = DATA / "reference" / "plantnet_api" / "openapi_plantnet_2.2.1.json"


def identify(client: TestClient, *photos: bytes, project: str = "all", query: str = "", **data: Any) -> Any:
    files = [("images", (f"plant{i}.jpg", photo, "image/jpeg")) for i, photo in enumerate(photos)]
    return client.post(f"/v2/identify/{project}{query}", files=files, data=data)


@pytest.fixture(scope="session")
def plantnet() -> dict[str, Any]:
    if not CONTRACT.is_file():
        pytest.skip(f"{CONTRACT} is not there; set GEOPLANTNET_DATA")
    document: dict[str, Any] = json.loads(CONTRACT.read_text())
    return document


def test_every_answer_keeps_the_published_contract(
    plantnet: dict[str, Any], client_of: Callable[..., TestClient], photo: Callable[..., bytes], tmp_path: Path
) -> None:
    """Each route of Pl@ntNet's OpenAPI document is there, its parameters are taken, and its answers validate against the document's schemas."""
    table = tmp_path / "facts.csv"
    table.write_text(
        "taxonID,scientificNameAuthorship,gbifID,powoID,iucnID,iucnCategory\n"
        "picea-abies,(L.) H.Karst.,5284884,urn:lsid:ipni.org:names:677089-1,42318,LC\ngentiana-lutea,L.,3169736,,,\n"
    )
    client = client_of(changes={"facts": table})
    taken = {
        "/v2/identify/{project}": lambda: identify(
            client,
            photo(1),
            photo(2),
            query="?include-related-images=true&detailed=true&lang=fr&type=kt&nb-results=6&no-reject=true",
            organs=["flower", "auto"],
        ),
    }
    asked = 0
    for path, methods in plantnet["paths"].items():
        for method, route in methods.items():
            if (method, path) == ("get", "/v2/identify/{project}"):
                assert client.get("/v2/identify/all?images=https://example.org/a.jpg").status_code == 400
                continue
            answer = taken[path]() if path in taken else client.get(path.replace("{project}", "all"))
            assert answer.status_code == 200, (path, answer.text)
            schema = {**route["responses"]["200"]["schema"], "definitions": plantnet["definitions"]}
            schema = json.loads(json.dumps(schema).replace("Identification%20result", "Identification result"))
            jsonschema.Draft4Validator(schema).validate(answer.json())
            asked += 1
            if method == "get":
                known = {parameter["name"] for parameter in route.get("parameters", ()) if parameter["in"] == "query"}
                assert known - {"authenix-access-token", "api-key"} <= _parameters(client, path, method), path
    assert asked == 9


def _parameters(client: TestClient, path: str, method: str) -> set[str]:
    document = client.get("/v2/openapi.json").json()
    return {parameter["name"] for parameter in document["paths"][path][method].get("parameters", ())}


def test_the_answer_tells_what_clients_read(client: TestClient, photo: Callable[..., bytes]) -> None:
    """Scores fall and are within 0 and 1, names come in three parts, organs are told of each photo, and what is left of the quota."""
    told = identify(
        client, photo(1), photo(2), query="?nb-results=3&detailed=true", organs=["flower", "auto"], lat="46.4", lon="8.05"
    ).json()
    scores = [result["score"] for result in told["results"]]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True) and 0 <= scores[-1] <= scores[0] <= 1
    assert told["bestMatch"] == told["results"][0]["species"]["scientificName"]
    assert told["query"]["organs"] == ["flower", "auto"] and len(told["query"]["images"]) == 2
    assert [organ["filename"] for organ in told["predictedOrgans"]] == ["plant0.jpg", "plant1.jpg"]
    assert told["remainingIdentificationRequests"] == 39
    assert told["evidence"] in ("sdm", "flora", "none")
    assert sum(one["score"] for one in told["otherResults"]["family"]) == pytest.approx(1, abs=0.2)
    assert not re.search(r"gpn_", json.dumps(told))


def test_the_same_photos_get_the_same_answer(client: TestClient, photo: Callable[..., bytes]) -> None:
    """But for what is left of the quota."""
    first, again = (identify(client, photo(1)).json() for _ in range(2))
    del first["remainingIdentificationRequests"], again["remainingIdentificationRequests"]
    assert first == again


def test_photos_of_no_plant_are_refused_as_clients_expect_and_say_why(client: TestClient, photo: Callable[..., bytes]) -> None:
    """404 with the words that clients look for, a structured reason beside them; `no-reject` answers all the same."""
    bare = photo(1, green=False)
    answer = identify(client, bare)
    assert answer.status_code == 404
    body = answer.json()
    assert (body["statusCode"], body["error"], body["message"]) == (404, "Not Found", "Species not found")
    assert body["rejected"]["reason"] == "not-a-plant" and body["rejected"]["images"][0]["plant"] < 0.5
    assert identify(client, bare, query="?no-reject=true").status_code == 200


REFUSED = [
    ({}, {"data": {"organs": "leaf"}, "files": [("x", b"")]}, 400, "images"),
    ({}, {"files": []}, 415, "multipart"),
    ({}, {"files": 6}, 400, "5"),
    ({}, {"files": 1, "data": {"organs": ["leaf", "leaf"]}}, 400, "organs"),
    ({}, {"files": 1, "data": {"organs": "root"}}, 400, "organ"),
    ({}, {"files": 2, "data": {"organs": ["habit", "other"]}}, 400, "alone"),
    ({"nb-results": "0"}, {"files": 1}, 400, "nb-results"),
    ({"lang": "xx"}, {"files": 1}, 400, "lang"),
    ({"type": "other"}, {"files": 1}, 400, "type"),
    ({"lat": "46"}, {"files": 1}, 400, "lon"),
    ({"lat": "91", "lon": "8"}, {"files": 1}, 400, "lat"),
    ({"lat": "nan", "lon": "8"}, {"files": 1}, 400, "lat"),
    ({"no-reject": "perhaps"}, {"files": 1}, 400, "no-reject"),
    ({}, {"data": {"images": "https://example.org/a.jpg"}, "files": [("other", b"x")]}, 400, "images"),
    ({}, {"content": b"{}", "headers": {"content-type": "application/json"}}, 415, "multipart"),
    ({}, {"content": b"--x\r\nnonsense", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400, "cut on its way"),
    ({}, {"content": b"", "headers": {"content-type": "multipart/form-data; boundary=" + "y" * 300}}, 400, ""),
]


@pytest.mark.parametrize(("query", "sent", "status", "word"), REFUSED)
def test_what_is_wrong_is_refused_in_the_shape_of_the_contract(
    client: TestClient, photo: Callable[..., bytes], query: dict[str, str], sent: dict[str, Any], status: int, word: str
) -> None:
    """Status, error and message, and the message names what is wrong."""
    given = dict(sent)
    if isinstance(given.get("files"), int):
        given["files"] = [("images", ("a.jpg", photo(i))) for i in range(given["files"])]
    answer = client.post("/v2/identify/all", params=query, **given)
    body = answer.json()
    assert answer.status_code == status == body["statusCode"], body
    assert isinstance(body["error"], str) and word in body["message"]


def test_unknown_projects_paths_and_methods_are_told_in_the_same_shape(client: TestClient, photo: Callable[..., bytes]) -> None:
    """404 and 405 too."""
    assert identify(client, photo(1), project="atlantis").json()["statusCode"] == 404
    assert client.get("/v2/projects/atlantis/species").json()["statusCode"] == 404
    assert client.get("/v2/nothing").json()["statusCode"] == 404
    assert client.delete("/v2/identify/all").json()["statusCode"] == 405
    for what in ("/v2/diseases", "/v2/varieties"):
        assert client.get(what).json()["statusCode"] == 404


def test_species_are_found_by_the_beginning_of_any_name_and_paged(client: TestClient) -> None:
    """Pages together are the whole list, once each, by name."""
    everything = client.get("/v2/species").json()
    paged = [one for page in (1, 2, 3) for one in client.get(f"/v2/species?pageSize=2&page={page}").json()]
    assert paged == everything and len(everything) == 6
    assert [one["id"] for one in client.get("/v2/species?prefix=GENTIANA%20l").json()] == ["gentiana-lutea"]
    assert [one["id"] for one in client.get("/v2/species?prefix=cowsl").json()] == ["primula-veris"]
    for word in ("lutea", "LUT\u00c9"):  # any word, whatever its accents
        assert "gentiana-lutea" in [one["id"] for one in client.get("/v2/species", params={"prefix": word}).json()]
    assert client.get("/v2/species?prefix=zzz").json() == []
    assert client.get("/v2/species?pageSize=null&prefix=&page").json() == everything
    assert client.get("/v2/species?pageSize=0").status_code == 400


def test_names_come_in_the_language_asked_and_else_in_english(client_of: Callable[..., TestClient], tmp_path: Path) -> None:
    """A language of which a name is not known falls back, `pt-br` by way of `pt`."""
    names = tmp_path / "names.json"
    names.write_text(
        json.dumps(
            {"fr": {"picea-abies": ["épicéa commun", "épicéa"]}, "en": {"picea-abies": ["spruce"]}, "pt": {"picea-abies": ["espruce"]}}
        )
    )
    client = client_of(changes={"names": names})
    of = lambda lang: client.get(f"/v2/species?prefix=Picea&lang={lang}").json()[0]["commonNames"]  # noqa: E731
    assert of("fr") == ["épicéa commun", "épicéa"] and of("de") == ["spruce"] and of("pt-br") == ["espruce"]
    for typed in ("épicéa", unicodedata.normalize("NFD", "épicéa")):
        assert client.get("/v2/species", params={"prefix": typed, "lang": "fr-CH"}).json()[0]["id"] == "picea-abies"


def test_a_key_is_taken_from_header_or_query_and_told_nowhere(
    client_of: Callable[..., TestClient], key: str, photo: Callable[..., bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    """Header, bearer and Pl@ntNet's `api-key` in the query all work; no answer, header or line of the log holds the key."""
    from geoplantnet.serving.guard import AccessLog

    bare = client_of(key="", changes={"anonymous_quota": 0}, log=AccessLog(human=False, file=2))
    ways: list[tuple[str, dict[str, str]]] = [
        ("", {"Api-Key": key}),
        ("", {"X-API-Key": key}),
        ("", {"Authorization": f"Bearer {key}"}),
        (f"?api-key={key}", {}),
        (f"?lang=en&api%2Dkey={key}&nb-results=1", {}),
    ]
    for query, headers in ways:
        answer = bare.post(f"/v2/identify/all{query}", files=[("images", ("a.jpg", photo(1)))], headers=headers)
        assert answer.status_code == 200, answer.text
        assert key not in answer.text and key not in str(answer.headers)
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    for query, headers in (("", {}), (f"?api-key={wrong}", {}), ("?api-key=2b10abc", {}), (f"?authenix-access-token={key}", {})):
        answer = bare.post(f"/v2/identify/all{query}", files=[("images", ("a.jpg", photo(1)))], headers=headers)
        assert answer.status_code == 401, (query, answer.text)
    assert bare.get(f"/v2/species?prefix={key}").status_code == 400
    told = capfd.readouterr()
    assert '"path"' in told.err and key[4:] not in told.err + told.out


def test_quota_routes_tell_what_was_asked(client: TestClient, photo: Callable[..., bytes]) -> None:
    """Count and remainder of the day, by category; a day that is none is refused."""
    for seed in range(3):
        identify(client, photo(seed))
    today = client.get("/v2/quota").json()
    assert today["count"]["identify"] == 3 and today["remaining"]["identify"] == 37 and today["quota"]["identify"] == 40
    assert client.get("/v2/quota/daily").json()["count"] == today["count"]
    assert client.get("/v2/quota/daily?day=2001-01-01").json()["count"]["identify"] == 0
    assert [day["count"]["identify"] for day in client.get("/v2/quota/history").json()] == [3]
    assert client.get("/v2/quota/daily?day=yesterday").status_code == 400
    assert client.get("/v2/subscription").json()["history"][0]["count"]["identify"] == 3


def test_what_is_beyond_a_quota_is_told_with_the_time_to_wait(client_of: Callable[..., TestClient], photo: Callable[..., bytes]) -> None:
    """429, Retry-After until midnight, and the RateLimit headers on every answer that cost something."""
    client = client_of(key="", changes={"anonymous_quota": 2})
    first = identify(client, photo(1))
    assert (
        first.headers["ratelimit"].startswith('"dailyQuota";r=1;t=')
        and '"dailyQuota";q=2;w=86400;pk=:' in first.headers["ratelimit-policy"]
    )
    assert identify(client, b"nothing").status_code == 415
    spent = identify(client, photo(1))
    assert spent.status_code == 429 and 0 < int(spent.headers["retry-after"]) <= 86_400
    assert ";r=0;" in spent.headers["ratelimit"]


def test_errors_are_free_where_the_operator_says_so(client_of: Callable[..., TestClient], photo: Callable[..., bytes]) -> None:
    """But not the answer that a photo shows no plant."""
    client = client_of(changes={"errors_cost": False})
    assert identify(client, b"nothing").status_code == 415
    assert identify(client, photo(1), organs="root").status_code == 400
    assert client.get("/v2/quota").json()["count"]["identify"] == 0
    assert identify(client, photo(1, green=False)).status_code == 404
    assert client.get("/v2/quota").json()["count"]["identify"] == 1


def test_our_own_fault_costs_nothing_and_says_nothing(
    client_of: Callable[..., TestClient], identifier: Any, photo: Callable[..., bytes]
) -> None:
    """An error inside is 500 without any detail, and the credit is given back."""

    class Broken:
        network = identifier.network
        projects = identifier.projects

        def identify(self, *args: object, **kwargs: object) -> None:
            raise RuntimeError("secret detail")

    client = client_of(identifier=Broken())
    answer = identify(client, photo(1))
    assert answer.status_code == 500 and "secret" not in answer.text and answer.json()["statusCode"] == 500
    assert client.get("/v2/quota").json()["count"]["identify"] == 0


def test_what_comes_too_late_costs_nothing(
    client_of: Callable[..., TestClient], identifier: Any, photo: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """503 in its place, and the credits are there again when the work has ended: of an answer, a contribution, a rejection, and every tile of a survey."""
    store, net = ObservationStore.open(tmp_path / "store.sqlite", create=True), type(identifier.network).__call__
    asked = type(identifier).identify
    monkeypatch.setattr(type(identifier), "identify", lambda *args, **kwargs: time.sleep(1) or asked(*args, **kwargs))
    looked = surveying.look
    monkeypatch.setattr(surveying, "look", lambda *args, **kwargs: time.sleep(1) or looked(*args, **kwargs))
    client = client_of(changes={"timeout_s": 0.3}, store=store)
    assert identify(client, photo(1)).status_code == 503
    given = {"files": [("images", ("a.jpg", photo(3)))], "data": {"license": "cc-by-sa"}}
    assert client.post("/v2/observations", **given).status_code == 503
    monkeypatch.setattr(type(identifier.network), "__call__", lambda self, pixels: replace(net(self, pixels), plant=np.zeros(len(pixels))))
    assert identify(client, photo(4)).status_code == 503, "that it shows no plant was said to nobody"
    files = [("image", ("plot.jpg", photo(2, size=(300, 220)), "image/jpeg"))]
    assert client.post("/v2/survey/tiles/all?tile_size=100&tile_stride=50", files=files).status_code == 503
    for _ in range(100):
        if not any((count := client.get("/v2/quota").json()["count"]).values()):
            break
        time.sleep(0.05)
    assert count == {"identify": 0, "survey": 0}
    store.close()


def test_a_survey_that_nobody_waits_for_ends(
    client_of: Callable[..., TestClient], identifier: Any, photo: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once 503 was said, no further square of it is looked at."""
    net = identifier.network
    seen: list[int] = []
    asked = type(net).__call__
    monkeypatch.setattr(type(net), "__call__", lambda self, pixels: time.sleep(0.5) or seen.append(len(pixels)) or asked(self, pixels))
    client = client_of(changes={"timeout_s": 0.3, "daily_quota": 40})
    files = [("image", ("plot.jpg", photo(2, size=(600, 400)), "image/jpeg"))]
    answer = client.post("/v2/survey/tiles/all?tile_size=64&tile_stride=32", files=files)
    assert answer.status_code == 503 and client.get("/v2/_status").status_code == 200
    for _ in range(100):
        if client.get("/v2/quota").json()["count"]["survey"] == sum(seen):
            break
        time.sleep(0.05)
    assert client.get("/v2/quota").json()["count"]["survey"] == sum(seen) > 0 and len(seen) == 1, "what was looked at costs"


def test_choices_of_files_that_were_left_empty_are_no_photos(client: TestClient, photo: Callable[..., bytes]) -> None:
    """A form of a page sends them all the same: without a name, and without a byte. A named file without a byte is a damaged photo."""
    told = {"Content-Type": "multipart/form-data; boundary=b"}

    def part(name: str, data: bytes) -> bytes:
        head = f'--b\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\nContent-Type: image/jpeg\r\n\r\n'
        return head.encode() + data + b"\r\n"

    one = client.post("/v2/identify/all", content=part("a.jpg", photo(1)) + part("", b"") + b"--b--\r\n", headers=told)
    assert one.status_code == 200 and len(one.json()["query"]["images"]) == 1, one.text
    for head in ('name="images"', "name=\"images\"; filename*=UTF-8''fleur%C3%A9.jpg"):  # as some libraries send names beyond ASCII
        body = f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + photo(1) + b"\r\n--b--\r\n"
        assert client.post("/v2/identify/all", content=body, headers=told).json()["results"] == one.json()["results"]
    for body in (part("", b""), part("a.jpg", photo(1)) + part("b.jpg", b"")):
        assert client.post("/v2/identify/all", content=body + b"--b--\r\n", headers=told).status_code in (400, 415)


def test_small_coordinates_are_numbers_as_languages_print_them(client: TestClient, photo: Callable[..., bytes]) -> None:
    """On the meridian of Greenwich and at the equator: 5e-05 of Python, 1e-7 of JavaScript."""
    for lat, lon in (("46", "5e-05"), ("-1E-7", "1e-7"), ("4.6e1", "8")):
        assert identify(client, photo(1), query=f"?lat={lat}&lon={lon}").status_code == 200
    for wrong in ("e5", "1e", "1e5", "nan", "1e999", "0x1"):
        assert identify(client, photo(1), query=f"?lat=1&lon={wrong}").status_code == 400


def test_a_form_that_was_cut_is_told_as_such(client: TestClient, photo: Callable[..., bytes]) -> None:
    """Wherever a body ends before its time, it says so, and that it was cut."""
    head = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = head + photo(1) + b"\r\n--b--\r\n"
    told = {"Content-Type": "multipart/form-data; boundary=b"}
    assert client.post("/v2/identify/all", content=body, headers=told).status_code == 200
    for length in (0, 20, len(head), len(body) // 2, len(body) - 4):
        answer = client.post("/v2/identify/all", content=body[:length], headers=told)
        assert answer.status_code == 400 and "cut on its way" in answer.json()["message"], length


def test_parameters_of_no_value_are_not_given_and_head_has_no_body(client: TestClient) -> None:
    """``pageSize=`` is what forms of pages send; monitors ask by HEAD."""
    assert client.get("/v2/species?pageSize=&page=&prefix=&lang=").json() == client.get("/v2/species").json()
    assert client.get("/v2/species?pageSize=none").status_code == 400
    whole, head = client.get("/v2/languages"), client.head("/v2/languages")
    assert head.status_code == 200 and head.content == b"" and head.headers["content-type"] == whole.headers["content-type"]
    assert client.head("/v2/nothing").status_code == 404


def test_forms_of_many_fields_are_refused_at_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the 65th field, or one that is long, the rest of the body is not read."""
    part = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n%b\r\n'
    for body in (part % b"1" * 100_000, part % (b"1" * 20_000), part % b"1" * 65):
        answer = client.post("/v2/identify/all", content=body + b"--b--\r\n", headers={"Content-Type": "multipart/form-data; boundary=b"})
        assert answer.status_code == 400 and "64 fields" in answer.json()["message"]
    seen: list[object] = []
    finish = Field.finalize
    monkeypatch.setattr(Field, "finalize", lambda self: seen.append(self) or finish(self))
    client.post(
        "/v2/identify/all", content=part % b"1" * 100_000 + b"--b--\r\n", headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert len(seen) == 65


def test_a_server_without_keys_takes_no_notice_of_those_that_clients_send(
    client_of: Callable[..., TestClient], photo: Callable[..., bytes]
) -> None:
    """Pl@ntNet's clients always send one, of another form than ours."""
    client = client_of(key="", changes={"keys": None})
    assert identify(client, photo(1), query="?api-key=2b10AbCdEf").status_code == 200
    answer = client.post("/v2/identify/all", files=[("images", ("a.jpg", photo(1)))], headers={"Api-Key": "2b10AbCdEf"})
    assert answer.status_code == 200


def test_pages_of_named_origins_alone_may_read(client_of: Callable[..., TestClient]) -> None:
    """Everybody's by default; else those named, each told its own name."""
    free = client_of().get("/v2/_status", headers={"Origin": "https://a.example"})
    assert free.headers["access-control-allow-origin"] == "*"
    strict = client_of(changes={"origins": ("https://a.example",)})
    assert strict.get("/v2/_status", headers={"Origin": "https://a.example"}).headers["access-control-allow-origin"] == "https://a.example"
    assert "access-control-allow-origin" not in strict.get("/v2/_status", headers={"Origin": "https://b.example"}).headers
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "api-key"}
    answer = strict.options("/v2/identify/all", headers=preflight)
    assert (
        answer.status_code == 204
        and "Api-Key" in answer.headers["access-control-allow-headers"]
        and "POST" in answer.headers["access-control-allow-methods"]
    )


def test_bodies_are_limited_while_they_arrive_and_all_together(client_of: Callable[..., TestClient], photo: Callable[..., bytes]) -> None:
    """A body above the limit is 413; more bodies than memory is set aside for are 503 with the time to wait."""
    client = client_of()
    assert identify(client, b"\xff" * 52_428_900).status_code == 413
    small = client_of(changes={"max_bodies": 2000})
    answer = identify(small, b"\xff" * 5000)
    assert answer.status_code == 503 and answer.headers["retry-after"]
    assert identify(small, photo(1)[:900]).status_code in (400, 415)
    keyed = client_of(key="", changes={"anonymous_quota": 0, "max_bodies": 2000})
    assert identify(keyed, b"\xff" * 5000).status_code == 401, "who may not ask is told so before a body is held for him"
    assert [keyed.get(f"/v2/{path}").status_code for path in ("species", "species/picea-abies", "projects")] == [401] * 3


def test_who_sends_slowly_leaves_room_for_others(client_of: Callable[..., TestClient], key: str) -> None:
    """Bodies that never end, of many without a key: one caller fills its share, all strangers theirs, and who has a key is answered."""
    app = client_of(changes={"max_bodies": 4 * 52_428_800}).app

    async def ask(address: str, token: str, sent: int, until: asyncio.Event) -> int:
        """Send some bytes of a body and no more until the event, then hang up -> the status that was told meanwhile, or 0."""
        told: list[int] = []
        headers = [(b"content-type", b"multipart/form-data; boundary=b"), (b"content-length", b"52428800")]
        headers += [(b"api-key", token.encode())] if token else []
        scope = {
            **{"type": "http", "http_version": "1.1", "method": "POST", "path": "/v2/identify/all", "raw_path": b"", "root_path": ""},
            **{"scheme": "http", "query_string": b"", "headers": headers, "client": (address, 1), "server": ("test", 80)},
        }
        parts = iter([{"type": "http.request", "body": b"\xff" * sent, "more_body": True}])

        async def receive() -> Any:
            if (part := next(parts, None)) is not None:
                return part
            await until.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                told.append(message["status"])

        work = asyncio.create_task(app(scope, receive, send))
        await asyncio.wait([work], timeout=1.0)
        if told:
            until.set()
        asking.append(work)
        return told[0] if told else 0

    asking: list[asyncio.Task[None]] = []

    async def storm() -> list[int]:
        end, big = asyncio.Event(), 50_000_000
        found = [await ask("10.0.0.1", "", big, end), await ask("10.0.0.1", "", big, asyncio.Event())]
        found += [await ask("10.0.0.2", "", big, end), await ask("10.0.0.3", "", big, asyncio.Event())]
        found += [await ask("10.0.0.4", key, big, end)]
        end.set()
        await asyncio.gather(*asking, return_exceptions=True)
        return [*found, await ask("10.0.0.5", "", big, end)]

    assert asyncio.run(storm()) == [0, 503, 0, 503, 0, 0], (
        "the second of one address, the third of all strangers; in the end all is free again"
    )


def test_documents_and_page_need_no_other_host(client: TestClient) -> None:
    """The OpenAPI document, its page and the page's configuration are there, and name nobody else."""
    document = client.get("/v2/openapi.json").json()
    assert document["openapi"].startswith("3.") and "/v2/identify/{project}" in document["paths"]
    assert document["components"]["securitySchemes"]["header"]["name"] == "Api-Key"
    assert not any("422" in told["responses"] for methods in document["paths"].values() for told in methods.values())
    page = client.get("/v2/docs")
    assert page.status_code == 200 and not re.search(r"https?://|<script", page.text)
    config = client.get("/identify/config.json").json()
    assert set(config) == {"title", "languages", "maps", "places", "model", "store", "licences"} and config["model"] is None
    assert client.get("/identify/model/card.json").status_code == 404
    assert client.get("/healthz").json()["status"] == "ok"


def test_the_offline_folder_is_served_beside_the_page(client_of: Callable[..., TestClient], tmp_path: Path) -> None:
    """Its files, and nothing outside of it."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "card.json").write_text("{}")
    (tmp_path / "secret").write_text("x")
    client = client_of(model_folder=folder)
    assert client.get("/identify/model/card.json").json() == {}
    assert client.get("/identify/model/%2e%2e/secret").status_code in (400, 404)
    assert client.get("/identify/config.json").json()["model"] == {"size": 2, "version": "1"}


def test_settings_that_cannot_be_are_refused() -> None:
    """With what to write instead."""
    from geoplantnet.errors import ConfigurationError

    for wrong in ({"anonymous_quota": 0}, {"max_concurrent": 0}, {"origins": ("example.org",)}, {"daily_quota": -1}):
        with pytest.raises(ConfigurationError):
            IdentifySettings(**wrong)  # type: ignore[arg-type]


def test_settings_reach_other_processes() -> None:
    """Workers get the same ones."""
    import pickle

    settings = IdentifySettings(title="Alps", origins=("https://a.example",))
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_store_of_another_checklist_is_refused_when_the_server_starts(client_of: Callable[..., TestClient], tmp_path: Path) -> None:
    """Votes would name species of the other list."""
    from geoplantnet.errors import ConfigurationError
    from geoplantnet.taxonomy import Taxon

    with ObservationStore.open(tmp_path / "other.sqlite", create=True) as store:
        store.add_taxa("another list", [Taxon(taxon_id="a", scientific_name="Abies alba")])
        with pytest.raises(ConfigurationError, match="another list"):
            client_of(store=store)
