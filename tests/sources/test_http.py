"""The network as it fails: what is retried, what ends, and that no wrong byte becomes a pixel."""

from __future__ import annotations

import hashlib
import io
import json
import random
import sys
from datetime import UTC, datetime
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
import requests
import urllib3
from hypothesis import given, settings
from hypothesis import strategies as st
from requests.adapters import BaseAdapter

from geoplantnet.errors import ConfigurationError, InputError, RasterError, TryAgain
from geoplantnet.sources.http import (
    TRANSIENT,
    Assets,
    Budget,
    Expected,
    Fault,
    Http,
    Patience,
    gdal_environment,
    gdal_options,
    matches,
    public,
    with_retries,
)
from geoplantnet.sources.signing import AzureTokens, S3Signature, signed_headers

sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))
from proxy import ASSET_FAULTS, FaultProxy, StacServer, world

NOW = 1_700_000_000.0
QUICK = Budget(seconds=5, attempts=4, timeout=0.25, first_pause=0.001, longest_pause=0.002)


class Clock:
    """A clock that moves by sleeping alone."""

    def __init__(self) -> None:
        self.time, self.pauses = 0.0, []

    def __call__(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds

    def patience(self, seed: int = 0, **budget: float) -> Patience:
        limits = Budget(**{"seconds": 100.0, "attempts": 5, **budget})
        return Patience(limits, clock=self, sleep=self.sleep, now=lambda: NOW + self.time, chance=random.Random(seed))


class Script(BaseAdapter):
    """Answers requests with what is written: (status, headers, body) or an exception; the last one for ever."""

    def __init__(self, *answers: object) -> None:
        super().__init__()
        self.answers, self.asked = list(answers), []

    def send(self, request, **_):
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, headers, body = answer
        response = requests.Response()
        response.status_code, response.url, response.request = status, request.url, request
        response.headers = requests.structures.CaseInsensitiveDict({"Content-Length": str(len(body)), **headers})
        raw = io.BytesIO(body)
        raw.read1 = lambda size, decode_content=True, read=raw.read: read(size)  # type: ignore[attr-defined]
        response.raw = raw
        response.close = lambda: None
        return response

    def close(self) -> None:
        pass


OK = (200, {"Content-Type": "application/json"}, b'{"a": 1}')


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "bad",
    [
        *[(status, {}, b"busy") for status in sorted(TRANSIENT)],
        requests.ConnectionError("reset"),
        requests.ReadTimeout("slow"),
        requests.exceptions.ChunkedEncodingError("IncompleteRead"),
        requests.exceptions.ContentDecodingError("gzip"),
        ConnectionResetError("reset"),
        (200, {"Content-Length": "99"}, b'{"a": 1}'),
        (200, {"Content-Type": "text/html"}, b"<html>maintenance</html>"),
        (200, {}, b"\n<?xml version='1.0'?>"),
        (200, {}, b'{"a": '),
        (200, {}, b""),
        (200, {}, b'{"code": 500, "description": "timeout"}'),
    ],
    ids=lambda bad: str(bad)[:40],
)
def test_what_may_pass_is_asked_again_with_get_and_post(method, bad):
    """Busy servers, broken and truncated answers, text and errors with status 200: two of them, then the answer."""
    clock, script = Clock(), Script(bad, bad, OK)
    http = Http(clock.patience(), adapter=script)

    def wrong(document):
        return None if "a" in document else "an error"

    assert http.json("https://h/x", method=method, body={"q": 1} if method == "POST" else None, check=wrong) == {"a": 1}
    assert len(script.asked) == 3 and len(clock.pauses) == 2
    assert {request.method for request in script.asked} == {method}
    assert method == "GET" or {bytes(request.body) for request in script.asked} == {b'{"q": 1}'}


@pytest.mark.parametrize(
    ("status", "error", "fix"),
    [
        (400, InputError, "refuses"),
        (401, ConfigurationError, "sign"),
        (403, ConfigurationError, "headers"),
        (404, InputError, "mend"),
        (405, InputError, "refuses"),
    ],
)
def test_what_will_not_pass_is_asked_once_and_names_the_fix(status, error, fix):
    """400, 401, 403, 404: a typed error at once; the query, which may hold a secret, is not in it."""
    clock, script = Clock(), Script((status, {}, b'{"detail": "bad bbox"}'))
    with pytest.raises(error, match=fix) as raised:
        Http(clock.patience(), adapter=script).ask("GET", "https://h/x?sig=secret", wrong=InputError)
    assert len(script.asked) == 1 and not clock.pauses and "secret" not in str(raised.value)


def test_the_end_of_the_budget_says_what_was_tried():
    """TryAgain names the address, the attempts, the causes with their counts, and the time; its cause is the last fault."""
    clock, script = Clock(), Script((503, {}, b""), (429, {}, b""), (503, {}, b""))
    with pytest.raises(TryAgain, match=r"https://h/x: given up after 4 attempts \(status 429 x 1, status 503 x 3\)") as raised:
        Http(clock.patience(attempts=4), adapter=script).json("https://u:pw@h/x?key=secret")
    assert raised.value.__cause__.cause == "status 503" and "secret" not in str(raised.value) and "pw" not in str(raised.value)


@given(
    st.integers(1, 12), st.floats(0.1, 300), st.integers(0, 99), st.lists(st.one_of(st.none(), st.floats(0, 400)), min_size=1, max_size=12)
)
@settings(max_examples=200, deadline=None)
def test_no_attempt_begins_after_the_budget(attempts, seconds, seed, waits):
    """Law: whatever the server asks, pauses end inside the budget, attempts are counted, and Retry-After is honoured."""
    clock = Clock()
    patience = clock.patience(seed, attempts=attempts, seconds=seconds)
    asked = []

    def fail():
        asked.append(clock.time)
        raise Fault("busy", retry_after=waits[len(asked) % len(waits)])

    with pytest.raises(TryAgain):
        patience.attempt("x", fail)
    assert 1 <= len(asked) <= attempts and clock.time < seconds
    assert patience.faults["busy"] == len(asked)
    for i, (before, after) in enumerate(pairwise(asked)):
        wait = waits[(i + 1) % len(waits)] or 0
        least = min(0.5 * 2**i, 60) / 2
        assert after - before >= max(wait, least) - 1e-6 and after - before <= max(wait, 2 * least) + 1e-6


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7, 7),
        (formatdate(NOW + 9, usegmt=True), 9, 9),
        (formatdate(NOW - 9, usegmt=True), 0.25, 0.5),
        ("soon", 0.25, 0.5),
        ("-3", 0.25, 0.5),
        ("nan", 0.25, 0.5),
        ("0", 0.25, 0.5),
    ],
)
def test_retry_after_in_seconds_and_as_a_date(header, least, most):
    """Both forms are waited for; nonsense and the past fall back on our own pause."""
    clock = Clock()
    Http(clock.patience(), adapter=Script((429, {"Retry-After": header}, b""), OK)).json("https://h/x")
    assert least <= clock.pauses[0] <= most


def test_a_wish_longer_than_the_budget_ends_at_once():
    """A server that asks for an hour is not waited for, and the error says so."""
    clock = Clock()
    with pytest.raises(TryAgain, match="asks to wait 3600 s"):
        Http(clock.patience(), adapter=Script((503, {"Retry-After": "3600"}, b""))).json("https://h/x")
    assert not clock.pauses


def test_equal_seeds_pause_equally_and_others_do_not():
    """Jitter is chance given from outside."""

    def pauses(seed):
        clock = Clock()
        with pytest.raises(TryAgain):
            Http(clock.patience(seed), adapter=Script((503, {}, b""))).json("https://h/x")
        return clock.pauses

    assert pauses(1) == pauses(1) != pauses(2)


def test_secrets_go_to_their_host_alone():
    """Headers reach the named host, not the one it redirects to, nor any other; the environment is asked at use."""
    script = Script((302, {"Location": "https://other/y"}, b""), OK)
    http = Http(
        Clock().patience(), headers={"Authorization": "Bearer ${GEOPLANTNET_TEST_TOKEN}"}, hosts=frozenset({"mine"}), adapter=script
    )
    with pytest.raises(ConfigurationError, match="GEOPLANTNET_TEST_TOKEN is not set"):
        http.json("https://mine/x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOPLANTNET_TEST_TOKEN", "s3cret")
        http.json("https://mine/x")
    assert [request.headers.get("Authorization") for request in script.asked] == ["Bearer s3cret", None]


@pytest.mark.parametrize(
    ("method", "status", "target", "why"),
    [
        ("GET", 302, "file:///etc/passwd", "no http or https"),
        ("GET", 302, "gopher://h/", "no http or https"),
        ("GET", 302, "http://h/plain", "from https to http"),
        ("GET", 302, "https://[h/", "an address that is none"),
        ("GET", 302, "https://h:port/", "Port could not be cast"),
        ("POST", 302, "https://h/y", "redirects a POST"),
        ("GET", 302, "/x", "more than 5 redirects"),
    ],
)
def test_redirects_that_are_refused(method, status, target, why):
    """Other schemes, a step down to http, a POST that would become a GET, a circle."""
    with pytest.raises(ConfigurationError, match=why):
        Http(Clock().patience(), adapter=Script((status, {"Location": target}, b""))).ask(method, "https://h/x")


@pytest.mark.parametrize("url", ["https://h:port/x", "https://h:99999/x", "https://[::1/x", "https://u:s3cret@[/x"])
def test_a_malformed_address_is_a_typed_error(url):
    """What a catalog calls an address may be none: said without its secrets, never a ValueError of the standard library."""
    with pytest.raises(ConfigurationError, match="malformed address") as refused:
        Http(Clock().patience(), adapter=Script(OK)).json(url)
    assert "s3cret" not in str(refused.value)
    assets = Assets(Http(Clock().patience(), adapter=Script(OK)))
    with pytest.raises(RasterError, match="malformed address"):
        with_retries(lambda: rasterio.open(assets(url)), Clock().patience(), assets=assets)


def test_secrets_are_not_sent_in_clear_where_only_https_will_do():
    """A link to the same host without the s of https gets no header."""
    script = Script(OK, OK)
    http = Http(Clock().patience(), headers={"Authorization": "s3cret"}, hosts=frozenset({"mine"}), https_only=True, adapter=script)
    http.json("https://mine/x")
    http.json("http://mine/x")
    assert [request.headers.get("Authorization") for request in script.asked] == ["s3cret", None]


def test_the_body_of_a_redirect_is_not_read_to_its_end():
    """It may have none: an endless or exploding body behind a 302 must not fill the memory."""
    furthest = 0

    class Body(io.BytesIO):
        def close(self):
            nonlocal furthest
            furthest = self.tell()
            super().close()

    served = Body(bytes(50_000_000))

    class Long(BaseAdapter):
        def send(self, request, **options):
            response = requests.Response()
            response.status_code, response.url, response.request = 302, request.url, request
            response.headers["Location"] = "https://[h/"
            response.raw = urllib3.HTTPResponse(served, status=302, preload_content=False)
            return response

        def close(self):
            pass

    with pytest.raises(ConfigurationError, match="an address that is none"):
        Http(Clock().patience(), adapter=Long()).ask("GET", "https://h/x")
    assert 0 < furthest < 1_000_000


def test_a_post_follows_307_with_its_body():
    """307 keeps method and body."""
    script = Script((307, {"Location": "https://other/y"}, b""), OK)
    assert Http(Clock().patience(), adapter=script).json("https://h/x", method="POST", body={"q": 1}) == {"a": 1}
    assert script.asked[1].method == "POST" and json.loads(script.asked[1].body) == {"q": 1}


@pytest.mark.parametrize("url", ["ftp://h/x", "file:///etc/passwd", "/etc/passwd", "http://", "s3://bucket/key"])
def test_only_http_and_https_are_asked(url):
    """Anything else is refused before a byte is sent."""
    with pytest.raises(ConfigurationError, match="no http or https address"):
        Http(Clock().patience(), adapter=Script(OK)).json(url)


def test_json_has_a_size():
    """A document larger than the budget allows is a typed error, declared or not."""
    large = b"[" + b" " * 5000 + b"]"
    for headers in ({}, {"Content-Length": ""}):
        with pytest.raises(ConfigurationError, match="more than the 1000 bytes"):
            Http(Clock().patience(max_json=1000), adapter=Script((200, headers, large))).json("https://h/x")


@pytest.mark.parametrize("field", ["seconds", "attempts", "timeout", "max_pages", "max_items", "max_json"])
def test_an_impossible_budget_is_refused(field):
    """Nothing can be done in no time, no attempt, no page."""
    with pytest.raises(ConfigurationError, match=field):
        Budget(**{field: 0})


def test_public_has_no_secrets():
    """User, password, query and fragment are left out."""
    assert public("https://me:pw@h:81/a/b.tif?sig=x#y") == "https://h:81/a/b.tif" and public("/a/b") == "/a/b"


@given(st.binary(max_size=200), st.sampled_from(["sha1", "sha256", "sha512", "md5", "sha3_256", "blake2b"]))
def test_checksums_are_those_of_hashlib(data, name):
    """Oracle: multihashes built with hashlib are recognised; one changed bit is not."""
    prefix = {"sha1": "1114", "sha256": "1220", "sha512": "1340", "md5": "d50110", "sha3_256": "1620", "blake2b": "a0e40220"}[name]
    digest = hashlib.blake2b(data, digest_size=32) if name == "blake2b" else hashlib.new(name, data)
    assert matches(prefix + digest.hexdigest(), data) and not matches(prefix + digest.hexdigest(), data + b"\0")


@pytest.mark.parametrize("checksum", ["", "zz", "1220", "1220ab", "ff", "00" + "ab" * 20])
def test_a_checksum_that_is_none_is_an_error(checksum):
    """It is never taken for 'verified'."""
    with pytest.raises(InputError, match="no multihash"):
        matches(checksum, b"x")


WITHOUT_RANGES = ("whole file", "zeros past half")


# --- rasters -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    """Two rasters: B04 stored plainly, B08 deflated."""
    _, files = world()
    with StacServer(files={"plain.tif": files["scene0/B04.tif"], "deflated.tif": files["scene0/B08.tif"]}) as running:
        yield running


def pixels(data: bytes) -> np.ndarray:
    with rasterio.io.MemoryFile(data) as memory, memory.open() as raster:
        return raster.read(1)


def assets_of(url: str, budget: Budget = QUICK, **options) -> tuple[Assets, Patience]:
    patience = budget.begin()
    return Assets(Http(patience), **options), patience


def read(url: str, budget: Budget = QUICK, expected: Expected | None = None, window=None) -> np.ndarray:
    """The band of a raster at a URL, as sources read it."""
    assets, patience = assets_of(url, budget, expected={url: expected} if expected else None)

    def call():
        with rasterio.open(assets(url)) as raster:
            return raster.read(1, window=window)

    with gdal_environment():
        return with_retries(call, patience, assets=assets)


def nth(fault: str, n: int | None):
    """A weather with one fault at the n-th request, or at all."""
    return lambda number, kind, path: fault if n is None or number == n else None


@pytest.mark.parametrize("name", ["plain.tif", "deflated.tif"])
@pytest.mark.parametrize("fault", [f for f in ASSET_FAULTS if "wait" not in f])
def test_one_bad_answer_leaves_no_trace(server, name, fault):
    """Whatever one answer does, wherever it comes: the right pixels."""
    truth = pixels(server.files[name])
    for n in range(3):
        with FaultProxy({"": server.url}, nth(fault, n)) as proxy:
            np.testing.assert_array_equal(read(f"{proxy.url}/{name}"), truth)
            assert n > 1 or proxy.seen[fault] == 1


@pytest.mark.parametrize("fault", [f for f in ASSET_FAULTS if f not in WITHOUT_RANGES])
def test_bad_answers_for_ever_are_a_typed_error_inside_the_budget(server, fault):
    """Never a pixel."""
    with FaultProxy({"": server.url}, nth(fault, None)) as proxy, pytest.raises((TryAgain, RasterError)):
        read(f"{proxy.url}/plain.tif", Budget(seconds=1.5, attempts=2, timeout=0.3, first_pause=0.001, longest_pause=0.002))


@pytest.mark.parametrize("fault", WITHOUT_RANGES)
def test_a_server_without_ranges_is_read_whole(server, fault):
    """And a file larger than the budget allows is a RasterError that says what to do. A part with status 200 is not taken for the whole."""
    with FaultProxy({"": server.url}, nth(fault, None)) as proxy:
        np.testing.assert_array_equal(read(f"{proxy.url}/plain.tif"), pixels(server.files["plain.tif"]))
        with pytest.raises(RasterError, match="copy the file"):
            read(f"{proxy.url}/plain.tif", Budget(max_whole=70_000))


def gdal_alone(url: str) -> np.ndarray:
    with rasterio.Env(**gdal_options()), rasterio.open(url) as raster:
        return raster.read(1)


def outcomes(server: StacServer, fault: str, reader) -> set[str]:
    """How a reader ends when one of its answers is spoilt: "same", "raises", "WRONG"."""
    truth, ends = pixels(server.files["plain.tif"]), set()
    for n in range(4):
        with FaultProxy({"": server.url}, nth(fault, n)) as proxy:
            try:
                ends.add("same" if np.array_equal(reader(f"{proxy.url}/plain.tif"), truth) else "WRONG")
            except (rasterio.RasterioIOError, TryAgain, RasterError):
                ends.add("raises")
    return ends


@pytest.mark.parametrize("fault", ["shifted range", "zeros past half"])
def test_why_gdal_does_not_read_the_network_here(server, fault):
    """GDAL takes another range than it asked for, and a range with zeros and status 200, for pixels; our reader does not."""
    assert "WRONG" in outcomes(server, fault, gdal_alone)
    assert outcomes(server, fault, read) == {"same"}


@pytest.mark.parametrize("fault", ["truncated range", "html", "json error"])
def test_gdal_remembers_a_bad_answer(server, fault):
    """With its usual options GDAL refuses one bad answer, and the same file for ever after; our reader asks again."""
    with FaultProxy({"": server.url}, lambda number, kind, path: fault if number == 1 else None) as proxy:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
            for _ in range(2):
                with pytest.raises(rasterio.RasterioIOError), rasterio.open(f"{proxy.url}/plain.tif") as raster:
                    raster.read(1)
        assert proxy.seen[fault] == 1
    assert outcomes(server, fault, read) == {"same"}


@pytest.mark.parametrize("fault", ["flipped", "shifted silently"])
def test_lies_are_found_by_their_checksum(server, fault):
    """Wrong bytes with right headers: once, the right pixels after all; always, an error. Without checksum nobody can know."""
    data = server.files["plain.tif"]
    expected = Expected(size=len(data), checksum="1220" + hashlib.sha256(data).hexdigest())
    with FaultProxy({"": server.url}, nth(fault, 0)) as proxy:
        np.testing.assert_array_equal(read(f"{proxy.url}/plain.tif", expected=expected), pixels(data))
        assert proxy.seen[fault] == 1
    with FaultProxy({"": server.url}, nth(fault, None)) as proxy, pytest.raises(TryAgain, match="wrong checksum x 4"):
        read(f"{proxy.url}/plain.tif", expected=expected)
    with FaultProxy({"": server.url}, nth("flipped", 1)) as proxy:
        assert not np.array_equal(read(f"{proxy.url}/plain.tif"), pixels(data))


def test_a_file_that_is_not_of_its_items_size_is_refused(server):
    """`file:size` is held against the size the server tells, without fetching the file."""
    with pytest.raises(TryAgain, match="wrong size"):
        read(f"{server.url}/plain.tif", expected=Expected(size=1000))


def test_a_file_that_changes_while_it_is_read_is_read_anew():
    """Half of the old and half of the new never meet: the pixels are wholly those of the new file."""
    _, files = world()
    with StacServer(files={"a.tif": files["scene0/B04.tif"]}) as server:

        def exchange(number, kind, path):
            if number == 1:
                server.files["a.tif"] = files["scene1/B04.tif"]

        with FaultProxy({"": server.url}, exchange) as proxy:
            np.testing.assert_array_equal(read(f"{proxy.url}/a.tif"), pixels(files["scene1/B04.tif"]))


def test_only_what_is_needed_is_fetched(server):
    """A window costs the header and its blocks, not the file."""
    assets, _ = assets_of(server.url)
    with gdal_environment(), rasterio.open(assets(f"{server.url}/plain.tif")) as raster:
        window = raster.read(1, window=rasterio.windows.Window(192, 192, 64, 64))
    np.testing.assert_array_equal(window, pixels(server.files["plain.tif"])[192:, 192:])
    assert assets.bytes_read < len(server.files["plain.tif"]) - 16_384


def test_neighbouring_blocks_come_in_one_request(server):
    """The header, then all blocks of the file: two requests, not seventeen."""
    before = len(server.log)
    read(f"{server.url}/plain.tif")
    assert len(server.log) == before + 2


def test_odc_stac_opens_our_address_as_any_other(server):
    """The address is a str, and opens again and again, with overviews, sidecars not asked for."""
    assets, _ = assets_of(server.url)
    address = assets(f"{server.url}/plain.tif?sig=1")
    assert isinstance(address, str) and address == f"{server.url}/plain.tif?sig=1"
    before = len(server.log)
    with gdal_environment():
        for _ in range(2):
            with rasterio.open(address, "r", sharing=False) as raster:
                assert raster.read(1).shape == (256, 256)
    assert {path.split("?")[0] for _, path, _ in server.log[before:]} == {"/plain.tif"}


@pytest.mark.parametrize("name", ["vrt", "png"])
def test_what_is_no_tiff_and_no_jpeg_2000_is_not_opened(tmp_path, server, name):
    """GDAL would follow a VRT to any file it names."""
    secret = tmp_path / "secret.tif"
    secret.write_bytes(server.files["plain.tif"])
    vrt = f'<VRTDataset rasterXSize="256" rasterYSize="256"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource><SourceFilename>{secret}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>'
    content = {"vrt": vrt.encode(), "png": b"\x89PNG\r\n\x1a\n" + b"\0" * 100}[name]
    server.files["odd.tif"] = content
    with pytest.raises((TryAgain, RasterError), match=r"text in place of a raster|neither TIFF"):
        read(f"{server.url}/odd.tif")
    (tmp_path / "odd.tif").write_bytes(content)
    with pytest.raises(RasterError, match="neither TIFF nor JPEG 2000"):
        assets_of("", local=True)[0](str(tmp_path / "odd.tif"))


@pytest.mark.parametrize("href", ["/etc/passwd", "/vsicurl/http://h/x.tif", "file:///etc/passwd", "ftp://h/x.tif", "GTIFF_DIR:1:x"])
def test_a_catalog_of_the_network_names_no_path_of_this_machine(href):
    """Its assets are URLs, or refused."""
    with pytest.raises(RasterError, match="asset"):
        assets_of("")[0](href)


def test_a_missing_asset_is_a_raster_error(server):
    """404 will not pass: one request, no retries."""
    before = len(server.log)
    with pytest.raises(RasterError, match="status 404"):
        read(f"{server.url}/nothing.tif")
    assert len(server.log) == before + 1


@pytest.mark.parametrize("where", ["here", "there"])
def test_a_damaged_raster_is_a_raster_error(tmp_path, where):
    """Truncated here, or on the server: not an invitation to try again."""
    _, files = world()
    broken = files["scene0/B08.tif"][:30_000]
    (tmp_path / "broken.tif").write_bytes(broken)
    with StacServer(files={"broken.tif": broken}) as server:
        if where == "there":
            with pytest.raises(RasterError, match="damaged"):
                read(f"{server.url}/broken.tif")
        else:
            assets, patience = assets_of("", local=True)
            path = assets(str(tmp_path / "broken.tif"))
            with pytest.raises(RasterError, match="decoded: "):
                with_retries(lambda: rasterio.open(path).read(1), patience, assets=assets)


def test_a_raster_that_stays_undecodable_is_fetched_thrice():
    """Garbage where a block should be, with right headers: it may have been a lie, so it is asked again; then it is damaged."""
    _, files = world()
    data = bytearray(files["scene0/B08.tif"])
    data[40_000:60_000] = bytes(20_000)
    with StacServer(files={"broken.tif": bytes(data)}) as server, pytest.raises(RasterError, match=r"decoded \(3 times"):
        read(f"{server.url}/broken.tif")


def test_a_failed_byte_is_an_error_even_when_the_reader_hides_it(server):
    """A caller that swallows GDAL's exception, or a GDAL that goes on, cannot turn a gap into data."""
    with FaultProxy({"": server.url}, lambda number, kind, path: "503" if number >= 1 else None) as proxy:
        assets, patience = assets_of("")

        def careless():
            try:
                with rasterio.open(assets(f"{proxy.url}/plain.tif")) as raster:
                    return raster.read(1)
            except rasterio.RasterioIOError:
                return np.zeros((256, 256))

        with gdal_environment(), pytest.raises(TryAgain, match="status 503 x 4"):
            with_retries(careless, patience, assets=assets)


def test_errors_that_are_not_of_rasters_pass_unchanged():
    """A bug in the reading code is not retried."""
    with pytest.raises(ZeroDivisionError):
        with_retries(lambda: 1 / 0, QUICK)


# --- signatures ----------------------------------------------------------------------------------------------------


def test_s3_signature_is_amazons():
    """The worked example of Amazon's documentation ("GET Object", signature version 4)."""
    got = signed_headers(
        "GET", "examplebucket.s3.amazonaws.com", "/test.txt", {"range": "bytes=0-9"}, datetime(2013, 5, 24, tzinfo=UTC), "us-east-1",
        "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    )  # fmt: skip
    assert got["Authorization"].endswith("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
    assert "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date" in got["Authorization"]


def test_s3_addresses_become_https(monkeypatch):
    """Public, requester pays and another endpoint; without keys the error names the variables."""
    patience = Clock().patience()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    public_bucket = S3Signature({"AWS_NO_SIGN_REQUEST": "YES", "AWS_REGION": "us-west-2"})
    assert public_bucket("GET", "s3://b-ucket/a b/c.tif", patience) == ("https://b-ucket.s3.us-west-2.amazonaws.com/a%20b/c.tif", {})
    assert public_bucket("GET", "https://h/x", patience) == ("https://h/x", {})
    with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID is not set"):
        S3Signature()("GET", "s3://bucket/x", patience)
    own = S3Signature({"AWS_ACCESS_KEY_ID": "${MINE}", "AWS_SECRET_ACCESS_KEY": "${MINE}"})
    monkeypatch.setenv("MINE", "mine")
    assert "Credential=mine/" in own("GET", "s3://bucket/x", patience)[1]["Authorization"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    url, headers = S3Signature({"AWS_S3_ENDPOINT": "eodata.example", "AWS_REQUEST_PAYER": "requester"})("GET", "s3://bucket/x", patience)
    assert (
        url == "https://eodata.example/bucket/x"
        and headers["x-amz-request-payer"] == "requester"
        and "x-amz-request-payer" in headers["Authorization"]
    )


def test_tokens_of_azure_are_kept_until_they_expire():
    """One request a container, again shortly before the end; other hosts, public blobs and signed URLs stay as they are."""
    clock, blob = Clock(), "https://account.blob.core.windows.net/box/a.tif"
    token = {"msft:expiry": "2023-11-14T22:30:20Z", "token": "sig=abc"}  # 1,020 s after NOW
    with StacServer(documents={"/account/box": token}) as server:
        sign, patience = AzureTokens(server.url), clock.patience(seconds=10_000)
        assert sign("GET", blob, patience) == (f"{blob}?sig=abc", {}) == sign("GET", blob, patience)
        assert sign("GET", blob + "?x=1", patience)[0] == f"{blob}?x=1&sig=abc"
        for plain in ("https://h/x.tif", "https://ai4edatasetspublicassets.blob.core.windows.net/a/b", f"{blob}?sig=mine"):
            assert sign("GET", plain, patience) == (plain, {})
        assert len(server.log) == 1
        clock.time = 970
        sign("GET", blob, patience)
        assert [path for _, path, _ in server.log] == ["/account/box"] * 2


@pytest.mark.parametrize(
    "answer", [{"token": "sig=abc"}, {"msft:expiry": "soon", "token": "sig=abc"}, {"msft:expiry": "2023-11-14T22:30:20Z"}, []]
)
def test_an_answer_without_a_token_is_asked_again(answer):
    """A token service that answers 200 and nonsense."""
    with StacServer(documents={"/account/box": answer}) as server, pytest.raises(TryAgain, match="error with status 200"):
        AzureTokens(server.url)("GET", "https://account.blob.core.windows.net/box/a.tif", QUICK.begin())
