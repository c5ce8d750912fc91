"""Compressed answers: the same bytes for who takes them and who does not, by ETags of their own; parts of files as they are."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from geoplantnet.serving.answers import PageFiles, accepts_gzip, json_answer

SCRIPT = b"export default 'words';\n" * 200
PICTURE = bytes(range(256)) * 10
BODY = json.dumps({"words": ["many"] * 500}).encode()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """A page of three files and an answer in JSON."""
    root = tmp_path_factory.mktemp("page")
    (root / "index.html").write_text("<!doctype html>" + "<p>words</p>" * 100)
    (root / "app.js").write_bytes(SCRIPT)
    (root / "a.png").write_bytes(PICTURE)
    (root / "tiny.css").write_text("a{}")

    def answer(request: Request):
        return json_answer(request, BODY, seal="one")

    return TestClient(Starlette(routes=[Route("/json", answer), Mount("/", PageFiles(directory=root, html=True))]))


def ask(site: TestClient, path: str, *, method: str = "GET", **headers: str) -> httpx.Response:
    return site.request(method, path, headers={"Accept-Encoding": "identity"} | {k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize("path", ["/app.js", "/", "/json"])
def test_packed_and_plain_are_the_same(site, path):
    """The two have the same content and different ETags, and say that the answer varies; both are asked for again each time."""
    plain, packed = ask(site, path), ask(site, path, Accept_Encoding="br, gzip;q=0.5")
    assert plain.content == packed.content and packed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert int(packed.headers["content-length"]) < len(plain.content) / 4 and int(plain.headers["content-length"]) == len(plain.content)
    assert plain.headers["etag"] != packed.headers["etag"]
    for one in (plain, packed):
        assert one.headers["vary"] == "Accept-Encoding" and one.headers["cache-control"] == "no-cache"
        assert one.headers["content-type"] == plain.headers["content-type"]


@pytest.mark.parametrize("path", ["/app.js", "/json"])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_who_has_it_is_told_so(site, path, coding):
    """304 to the ETag of the very representation, alone, weak or in a list; the whole answer to another."""
    tag = ask(site, path, Accept_Encoding=coding).headers["etag"]
    for held in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = ask(site, path, Accept_Encoding=coding, If_None_Match=held)
        assert answer.status_code == 304 and not answer.content and answer.headers["etag"] == tag and answer.headers["vary"]
    assert ask(site, path, Accept_Encoding=coding, If_None_Match='"other"').status_code == 200
    other = "gzip" if coding == "identity" else "identity"
    assert ask(site, path, Accept_Encoding=other, If_None_Match=tag).status_code == 200


def test_head_has_the_headers_of_get(site):
    """And no body, packed or not."""
    for coding in ("identity", "gzip"):
        get, head = ask(site, "/app.js", Accept_Encoding=coding), ask(site, "/app.js", method="HEAD", Accept_Encoding=coding)
        for name in ("etag", "content-length", "content-type", "vary"):
            assert head.headers[name] == get.headers[name]
        assert not head.content


def test_parts_are_of_the_plain_file(site):
    """A range counts the file's own bytes, whatever the client takes; one that is tied to the packed file gets the whole."""
    part = ask(site, "/app.js", Accept_Encoding="gzip", Range="bytes=7-13")
    assert part.status_code == 206 and part.content == SCRIPT[7:14] and "content-encoding" not in part.headers
    packed = ask(site, "/app.js", Accept_Encoding="gzip").headers["etag"]
    whole = ask(site, "/app.js", Accept_Encoding="gzip", Range="bytes=7-13", If_Range=packed)
    assert whole.status_code == 200 and whole.content == SCRIPT


def test_what_packing_does_not_help_is_sent_as_it_is(site):
    """Pictures and tiny files."""
    for path, content in (("/a.png", PICTURE), ("/tiny.css", b"a{}")):
        answer = ask(site, path, Accept_Encoding="gzip")
        assert answer.content == content and "content-encoding" not in answer.headers and "vary" not in answer.headers


def test_a_page_that_is_built_again_is_served_anew(tmp_path: Path):
    """The file's time and size tell."""
    site = TestClient(Starlette(routes=[Mount("/", PageFiles(directory=tmp_path))]))
    (tmp_path / "app.js").write_bytes(SCRIPT)
    before = ask(site, "/app.js", Accept_Encoding="gzip")
    (tmp_path / "app.js").write_bytes(SCRIPT + b"// more")
    after = ask(site, "/app.js", Accept_Encoding="gzip")
    assert after.content == SCRIPT + b"// more" and after.headers["etag"] != before.headers["etag"]


@pytest.mark.parametrize(
    ("said", "takes"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("br;q=1, *;q=0.1", True),
        ("gzip;q=0", False),
        ("*;q=0", False),
        ("", False),
        ("gzip;q=x", False),
        ("x-gzip", False),
        ("gzip;q=0, *", False),
        ("deflate, gzip ; q=0.3", True),
    ],
)
def test_what_a_client_takes(said, takes):
    """RFC 9110, 12.5.3."""
    assert accepts_gzip(Headers({"accept-encoding": said})) is takes


def test_maps_are_not_packed_again(client):
    """Tiles and files of the catalog are compressed in themselves; JSON of the page's addresses is packed on the wire."""
    assert "content-encoding" not in client.get("/tiles/richness/9/267/181.png").headers
    answer = client.get("/api/layers")
    assert answer.headers["content-encoding"] == "gzip" and answer.json()["title"]
