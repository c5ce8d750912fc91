"""API keys: hashed, counted exactly, revocable; and private layers, of which nobody else learns."""

from __future__ import annotations

import asyncio
import hmac
import json
import multiprocessing
import sqlite3
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from geoplantnet.errors import ConfigurationError, StorageError, UsageError
from geoplantnet.serving import app as application
from geoplantnet.serving import create_app
from geoplantnet.serving.guard import AccessLog, Guard, KeyRing, Refused, exchange_of
from geoplantnet.serving.guard.keys import TOKEN, matches, token_of
from geoplantnet.serving.settings import ServerSettings
from pipelines.cli import main
from tests.serving.guard.asgi import Client, hello, run

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
PRIVATE = ("species.v002", "habitat")


@pytest.fixture
def ring(tmp_path):
    ring = KeyRing(tmp_path / "keys.sqlite", create=True)
    yield ring
    ring.close()


def spend(file, token, times):
    """So many requests by eight threads of a process of its own: how many were let through."""
    ring = KeyRing(file)
    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(lambda _: ring.use(token, now=NOON)[1], range(times)))


def test_a_quota_is_exact_across_threads_and_processes(ring):
    """1,000 requests of four processes with eight threads each, at once, on a quota of 100: exactly 100 pass."""
    token = ring.add("anna", quota=100, now=NOON).encode()
    with multiprocessing.get_context("fork").Pool(4) as pool:
        passed = pool.starmap(spend, [(ring.file, token, 250)] * 4)
    assert sum(passed) == 100
    assert ring.keys(now=NOON)[0].used == 100 and ring.keys(now=NOON + timedelta(days=1))[0].used == 0


def test_a_server_lets_through_as_many_as_the_quota_says(ring):
    """300 at once over the whole guard: 50 answers, 250 times 429 with when to come again, each telling what is left."""
    token = ring.add("anna", quota=50).encode()
    app = Guard(ServerSettings(keys=ring.file, max_waiting=1000)).around(hello)

    async def scene():
        return await asyncio.gather(*(Client(app, headers=[(b"x-api-key", token)]).send() for _ in range(300)))

    told = run(scene())
    assert Counter(one.status for one in told) == {200: 50, 429: 250}
    left = sorted(int(one.header("ratelimit").split(";")[1][2:]) for one in told if one.status == 200)
    assert left == list(range(50))
    over = next(one for one in told if one.status == 429)
    assert over.header("ratelimit-policy") == '"day";q=50;w=86400' and 0 < int(over.header("retry-after")) <= 86400
    assert over.json["violated-policies"] == ["day"] and over.json["type"].endswith("#quota-exceeded")


def test_a_day_has_a_quota_and_the_next_has_another(ring):
    """Days begin at midnight UTC."""
    token = ring.add("anna", quota=1, now=NOON).encode()
    late = datetime(2026, 6, 1, 23, 59, 59, tzinfo=UTC)
    assert [ring.use(token, now=moment)[1] for moment in (NOON, late, late + timedelta(seconds=1))] == [True, False, True]


@pytest.mark.parametrize("state", ["unknown", "revoked", "expired"])
def test_a_key_that_is_not_valid_is_401_at_once(ring, state):
    """Unknown, revoked, expired: the same words, a challenge, and no request counted."""
    token = ring.add("anna", expires=NOON + timedelta(days=1), now=NOON).encode()
    ring.use(token, now=NOON)
    if state == "unknown":
        token = token[:-8] + b"AAAAAAAA"
    if state == "revoked":
        ring.revoke("anna")
    with pytest.raises(Refused) as refused:
        ring.use(token, now=NOON + timedelta(days=state == "expired"))
    assert refused.value.status == 401 and "Bearer" in dict(refused.value.headers)["WWW-Authenticate"]
    assert str(refused.value) == "the API key is unknown, expired or revoked; ask the operator for another"
    assert ring.keys(now=NOON)[0].used == 1


def test_keys_travel_in_two_headers_and_nowhere_else(ring):
    """X-API-Key or Bearer, the same in both; two that differ are refused; other schemes are not ours; one in the query is refused."""
    token = ring.add("anna").encode()
    assert token_of([(b"x-api-key", token)]) == token_of([(b"authorization", b"bearer " + token)]) == token
    assert token_of([(b"x-api-key", token), (b"authorization", b"Bearer " + token)]) == token
    assert token_of([(b"authorization", b"Basic YTpi")]) is None
    for wrong in (b"", b"gpn_", token + b"x", b"Bearer", token.replace(b"gpn_", b"abc_")):
        with pytest.raises(Refused, match="malformed"):
            token_of([(b"x-api-key", wrong)])
    with pytest.raises(Refused, match="two different"):
        token_of([(b"x-api-key", token), (b"authorization", b"Bearer " + token[::-1])])
    told = run(Client(Guard(ServerSettings()).around(hello), query=b"key=" + token).send())
    assert told.status == 400 and token not in told.body


def test_only_hashes_are_kept_and_compared_in_constant_time(ring, monkeypatch):
    """Neither key nor half a key stands in the file; what decides is hmac.compare_digest on the whole hash."""
    token = ring.add("anna", layers=("species.*",)).encode()
    assert TOKEN.fullmatch(token)
    compared = []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    ring.use(token)
    assert [(len(a), len(b)) for a, b in compared] == [(32, 32)]
    stored = b"".join(file.read_bytes() for file in ring.file.parent.iterdir())
    assert token not in stored and token[4:24] not in stored and token[24:] not in stored
    assert ring.file.stat().st_mode & 0o077 == 0, "nobody else reads the names"


def test_keys_never_reach_log_errors_or_answers(ring, tmp_path, caplog):
    """Whether right, wrong or misplaced; with a fault of the server, and a file of keys that is broken."""
    token = ring.add("anna").encode()
    wrong = token[:-4] + b"AAAA"

    async def broken(scope, receive, send):
        raise RuntimeError(f"something about {dict(scope['headers'])}")

    with (tmp_path / "log").open("wb") as file:
        log = AccessLog(human=False, file=file.fileno())
        guard = Guard(ServerSettings(keys=ring.file), log=log)
        app, fails = guard.around(hello), guard.around(broken)
        answers = [run(Client(a, headers=[(b"x-api-key", t)]).send()) for a in (app, fails) for t in (token, wrong)]
        answers += [run(Client(app, query=b"api_key=" + token).send()), run(Client(app, "/" + token.decode()).send())]
        assert [told.status for told in answers] == [200, 401, 500, 401, 400, 200]
        guard.ring.close()
        answers.append(run(Client(app, headers=[(b"x-api-key", token)]).send()))
        assert answers[-1].status == 503, "without the file nobody is let in"
    told = (tmp_path / "log").read_bytes() + b"".join(told.body for told in answers)
    for secret in (token[4:], wrong[4:]):
        assert secret not in told
    assert [json.loads(line)["key"] for line in (tmp_path / "log").read_text().splitlines()] == [
        "anna",
        None,
        "anna",
        None,
        None,
        None,
        None,
    ]


def test_names_quotas_days_and_patterns_are_checked(ring, tmp_path):
    """What cannot be meant is refused, with what can."""
    ring.add("anna")
    for arguments in (
        {"name": "anna"},
        {"name": "a b"},
        {"name": ""},
        {"name": "b", "quota": 0},
        {"name": "b", "expires": NOON - timedelta(9999)},
    ):
        with pytest.raises(UsageError):
            ring.add(**arguments)
    with pytest.raises(ConfigurationError, match="pattern"):
        ring.add("b", layers=("[a-z]",))
    with pytest.raises(UsageError, match="Did you mean 'anna'"):
        ring.revoke("ana")
    with pytest.raises(ConfigurationError, match="keys add"):
        KeyRing(tmp_path / "none.sqlite")
    (tmp_path / "text.sqlite").write_text("no database" * 1000)
    with pytest.raises(StorageError, match=r"text\.sqlite"):
        KeyRing(tmp_path / "text.sqlite")


def test_a_file_that_others_write_is_waited_for(ring):
    """A writer in another connection delays a request, and does not fail it."""
    token = ring.add("anna").encode()
    other = sqlite3.connect(ring.file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ring.use, token)
        other.execute("COMMIT")
        assert waiting.result(timeout=10)[1]
    other.close()


def test_patterns_mean_what_they_say():
    """* any letters, ? one, a dot a dot, the whole id."""
    assert matches(("species.*",), "species.v001") and matches(("a", "b?"), "bc")
    assert not matches(("species.*",), "speciesXv001") and not matches(("species",), "species.v001") and not matches((), "a")


def test_the_command_line_adds_lists_and_revokes(tmp_path, monkeypatch, capsys):
    """The key alone on standard output, once; the list tells of keys and never shows one; a revoked one is worth nothing."""
    monkeypatch.setenv("COLUMNS", "200")
    file = tmp_path / "keys.sqlite"

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["geoplantnet", "keys", *map(str, arguments), "--file", file.as_posix()])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0), *capsys.readouterr()
        raise AssertionError("it did not end")

    assert call("list", "demo")[0] == 3, "there is no such file yet"
    code, out, err = call(
        "add", "demo", "anna", "--layers", "species.*", "--layers", "habitat", "--quota", "500", "--expires", "2999-01-01"
    )
    assert code == 0 and TOKEN.fullmatch(out.strip().encode()) and out.strip() not in err and "anna" in err
    code, listed, _ = call("list", "demo")
    assert code == 0 and out.strip() not in listed
    assert all(word in listed for word in ("anna", "species.*, habitat", "500", "2999-01-01", "valid"))
    assert call("add", "demo", "anna")[0] == 2 and call("revoke", "demo", "bert")[0] == 2 and call("revoke", "demo", "anna")[0] == 0
    assert "revoked" in call("list", "demo")[1]
    with pytest.raises(Refused):
        KeyRing(file).use(out.strip().encode())
    monkeypatch.setattr(sys, "argv", ["geoplantnet", "keys", "list", "demo"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2 and "serving: {keys: keys.sqlite}" in capsys.readouterr().err


def test_access_is_asked_by_scope_and_layer(ring):
    """Public to all; private to who holds a key that grants it; what was asked for is noted for the log. Without a guard nobody holds one."""
    token = ring.add("anna", layers=("species.v00?",)).encode()
    guard, found = Guard(ServerSettings(keys=ring.file, private_layers=("species.*",))), []

    async def app(scope, receive, send):
        names = ("richness", "species.v001", "species.v0012")
        found.append(([guard.access.allowed(scope, name) for name in names], exchange_of(scope).layers))
        await hello(scope, receive, send)

    for headers in ([], [(b"x-api-key", token)]):
        run(Client(guard.around(app), headers=headers).send())
    noted = ["richness", "species.v001", "species.v0012"]
    assert found == [([True, False, False], noted), ([True, True, False], noted)]
    assert guard.access.allowed({}, "richness") and not guard.access.allowed({}, "species.v001")


# ---- private layers, over all facades

WMS = "/wms?SERVICE=WMS&VERSION=1.3.0&REQUEST="
MAP = "&STYLES=&CRS=EPSG:3035&BBOX=2550000,4100000,2600000,4150000&WIDTH=8&HEIGHT=8&FORMAT=image/png"
LISTS = [
    f"{WMS}GetCapabilities",
    "/wms?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetCapabilities",
    "/api/layers",
    "/stac/catalog.json",
    "/stac/tiles/collection.json",
    "/stac/tiles/25kmE4100N2550/25kmE4100N2550.json",
    "/ogc/collections",
    "/ogc/collections/species/items",
    "/ogc/collections/tiles/items",
    "/ogc/collections/species-probability/schema",
    "/ogc/openapi",
    "/api/layers/habitatt",
    f"{WMS}GetLegendGraphic&LAYER=species.v02",
    "/healthz",
]
NAMED = [
    WMS + "GetMap&LAYERS={}" + MAP,
    WMS + "GetMap&LAYERS=richness,{}" + MAP.replace("STYLES=", "STYLES=,"),
    WMS + "GetFeatureInfo&LAYERS={0}&QUERY_LAYERS={0}&I=1&J=1&INFO_FORMAT=text/plain" + MAP,
    WMS + "GetLegendGraphic&LAYER={}",
    "/api/layers/{}",
]


@pytest.fixture(scope="module")
def served(store, tmp_path_factory):
    """An application with private layers, and keys for all, one and none of them."""
    ring = KeyRing(tmp_path_factory.mktemp("keys") / "keys.sqlite", create=True)
    keys = {"all": ring.add("all", layers=("species.*", "habitat")), "one": ring.add("one", layers=("habitat",)), "none": ring.add("none")}
    app = create_app(store, settings=ServerSettings(private_layers=PRIVATE, keys=ring.file))

    def ask(address, key=""):
        path, _, query = address.partition("?")
        headers = [(b"x-api-key", keys[key].encode())] if key else []
        return run(Client(app, path, query=quote(query, safe="=&,:/").encode(), headers=headers).send())

    return ask


@pytest.mark.parametrize("address", LISTS)
def test_no_list_names_a_private_layer_to_who_may_not_see_it(served, address):
    """Capabilities, catalog, collections, spelling hints: neither id nor title; with a key that grants them, as ever."""
    for key in ("", "none"):
        told = served(address, key).body
        assert told and b"species.v002" not in told and b"Fagus" not in told and b"abitat" not in told.replace(b"habitatt", b"")
    assert b"species.v002" not in served(address, "one").body
    if "/stac/tiles" not in address and "catalog.json" not in address and "healthz" not in address:
        assert served(address).body != served(address, "all").body


@pytest.mark.parametrize("address", NAMED)
def test_a_private_layer_is_answered_as_one_that_does_not_exist(served, address):
    """Without the key not a byte tells it from a name nobody ever gave; with it, it is served, for no shared cache to keep."""
    for name, other in (("species.v002", "species.v9zz"), ("habitat", "wqxyzab")):
        for key in ("", "none"):
            hidden, absent = served(address.format(name), key), served(address.format(other), key)
            assert hidden.status == absent.status == 404
            assert (
                hidden.body.replace(name.encode(), b"").split(b"Did you")[0]
                == absent.body.replace(other.encode(), b"").split(b"Did you")[0]
            )
            assert b"Did you mean 'species.v002'" not in absent.body
        shown = served(address.format(name), "all")
        assert shown.status == 200 and "public" not in shown.header("cache-control") and "x-api-key" in shown.header("vary")
    assert served(address.format("species.v001")).status == 200
    assert [served(address.format(name), "one").status for name in PRIVATE] == [404, 200]


def test_files_that_hold_a_private_layer_are_handed_to_who_may_see_all_of_it(served):
    """The species' raster with one private band; the habitat's; a file without private layers."""
    tile = "/stac/tiles/25kmE4100N2550"
    asked = {
        name: [served(f"{tile}/{name}.tif", key).status for key in ("", "none", "one", "all")]
        for name in ("species", "habitat", "richness")
    }
    assert asked == {"species": [404, 404, 404, 200], "habitat": [404, 404, 200, 200], "richness": [200, 200, 200, 200]}
    assert "file:checksum" in served("/stac/catalog.json", "all").body.decode()


OTHERS = ["/stac/tiles/25kmE4100N2550/habitat.tif", "/ogc/collections/habitat/coverage?f=json", "/ogc/collections/habitat/map?width=8"]


@pytest.mark.parametrize("address", [*LISTS[:-1], *OTHERS])
def test_no_answer_to_a_key_is_for_a_shared_cache(served, address):
    """Documents, files, coverages, refusals, whether the facade says how long its answer lasts or not."""
    said = served(address, "all").header("cache-control")
    assert said == "no-store" or said.startswith("private, "), said
    assert "public" not in said


def test_layers_are_described_once_for_all_who_may_see_the_same(store, tmp_path, monkeypatch):
    """However often it is asked: once without a key, once more for a key that shows more, each its own."""
    ring = KeyRing(tmp_path / "keys.sqlite", create=True)
    key, made = ring.add("all", layers=("*",)).encode(), []
    monkeypatch.setattr(application, "describe_atlas", lambda atlas, real=application.describe_atlas: made.append(atlas) or real(atlas))
    app = create_app(store, settings=ServerSettings(private_layers=PRIVATE, keys=ring.file))
    answers = [run(Client(app, "/api/layers", headers=headers).send()) for headers in ([], [(b"x-api-key", key)]) * 3]
    assert len(made) == 2
    assert len({told.body for told in answers[::2]}) == len({told.body for told in answers[1::2]}) == 1
    assert b"species.v002" not in answers[0].body and b"species.v002" in answers[1].body
    assert len({told.header("etag") for told in answers}) == 2


def test_without_private_layers_nothing_changes(client):
    """No Vary, and maps that shared caches may keep."""
    headers = client.get(WMS + "GetMap&LAYERS=habitat" + MAP).headers
    assert "vary" not in headers and headers["cache-control"].startswith("public")
