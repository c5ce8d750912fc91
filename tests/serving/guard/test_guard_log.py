"""Access logs: a line a request, whatever the request."""

from __future__ import annotations

import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.serving.guard import AccessLog, Guard
from geoplantnet.serving.guard.exchange import Exchange, exchange_of
from geoplantnet.serving.guard.log import JsonLines
from geoplantnet.serving.settings import ServerSettings
from tests.serving.guard.asgi import Client, hello, run


@pytest.fixture
def lines(tmp_path):
    """A log, and what stands in it."""
    with (tmp_path / "log").open("wb") as file:
        yield lambda human: AccessLog(human=human, file=file.fileno()), lambda: (tmp_path / "log").read_bytes().decode().splitlines()


def test_a_line_tells_what_an_operator_asks(lines):
    """Time, who, what, how it ended, how long it took, for which layer; and an id, the client's own where it sent one."""
    log, told = lines
    guard = Guard(ServerSettings(), log=log(False))

    async def app(scope, receive, send):
        exchange_of(scope).note_layer("richness")
        await hello(scope, receive, send)

    sent = run(Client(guard.around(app), query=b"LAYERS=richness&X=%20", headers=[(b"x-request-id", b"abc-1")]).send())
    record = json.loads(told()[0])
    assert record.pop("time").endswith("Z") and record.pop("ms") >= 0
    assert record == {
        "request": "abc-1",
        "client": "192.0.2.7",
        "method": "GET",
        "path": "/wms",
        "query": "LAYERS=richness&X=%20",
        "status": 200,
        "bytes": 6,
        "kind": "wms",
        "layer": "richness",
        "key": None,
    }
    assert sent.header("x-request-id") == "abc-1"
    for strange in (b"a b", b"x" * 65, b'"}', b"\x1b[31m"):
        assert run(Client(guard.around(app), headers=[(b"x-request-id", strange)]).send()).header("x-request-id") != strange.decode(
            "latin-1"
        )
    run(Client(guard.around(app), "/wms", query=b"%00").send())
    assert json.loads(told()[-1])["refused"] == "encoding" and json.loads(told()[-1])["status"] == 400
    before = len(told())
    run(Client(guard.around(app), "/healthz").send())
    assert len(told()) == before, "who looks every second whether the server is well fills no log"


@given(path=st.text(max_size=1500), query=st.binary(max_size=1500), method=st.text(max_size=30), human=st.booleans())
def test_nothing_a_client_sends_breaks_a_line(tmp_path_factory, path, query, method, human):
    """Line ends, escape sequences, quotes, other scripts: one line, of printable ASCII, that a pipe takes in one piece; JSON reads back."""
    exchange = Exchange({"path": "/" + path, "headers": []})
    exchange.note_layer(path)
    file = tmp_path_factory.getbasetemp() / "injected"
    with file.open("wb") as stream:
        scope = {"path": "/" + path, "query_string": query, "method": method.replace(" ", ""), "client": None}
        AccessLog(human=human, file=stream.fileno()).write(scope, exchange, 0.001)
    line = file.read_bytes()
    assert line.count(b"\n") == 1 and line.endswith(b"\n") and len(line) <= (20_000 if human else 4096)
    assert all(32 <= c < 127 for c in line[:-1])
    if not human:
        assert len(path) > 100 or json.loads(line)["path"] == "/" + path


def test_people_read_short_lines(lines):
    """On a terminal: status, time, size, what was asked; no control character reaches it."""
    log, told = lines
    guard = Guard(ServerSettings(), log=log(True))
    run(Client(guard.around(hello), "/tiles/\x1b[2J\r\nfake", raw_path=b"/tiles/x").send())
    (line,) = told()
    assert "200" in line and "GET /tiles/\\x1b[2J\\r\\nfake" in line and "\x1b" not in line


@pytest.mark.parametrize("human", [False, True])
def test_the_log_does_not_tell_where_somebody_found_a_plant(lines, human):
    """Neither kind of line keeps a place; the rest of the query stays."""
    make, told = lines
    guard = Guard(ServerSettings(), log=make(human))
    run(Client(guard.around(hello), "/v2/projects", query=b"lang=fr&lat=46.48&lon=8.01&flat=1").send())
    assert "lang=fr&lat=***&lon=***&flat=1" in told()[0] and "46.48" not in told()[0]
    query = b"topLeftLon=7.11&bottomRightLat=46.48&l%61t=46.48&least=0.1"
    run(Client(guard.around(hello), "/v2/prediction/geo/species", query=query).send())
    assert "46.48" not in told()[1] and "7.11" not in told()[1] and "least=0.1" in told()[1]


def test_a_log_that_cannot_be_written_stops_no_server():
    """A closed pipe."""
    guard = Guard(ServerSettings(), log=AccessLog(human=False, file=9999))
    assert run(Client(guard.around(hello)).send()).status == 200


def test_the_servers_own_messages_are_json_with_the_request_they_are_about(caplog):
    """So that the id a client was sent leads to the stack trace."""
    guard = Guard(ServerSettings())

    async def broken(scope, receive, send):
        raise RuntimeError("line one\nline two of gpn_" + "a" * 43)

    with caplog.at_level(logging.ERROR):
        formatter, made = JsonLines(), []

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                made.append(formatter.format(record))

        handler = Handler()
        logging.getLogger().addHandler(handler)
        try:
            told = run(Client(guard.around(broken)).send())
        finally:
            logging.getLogger().removeHandler(handler)
    record = json.loads(made[0])
    assert record["request"] == told.header("x-request-id") and "RuntimeError" in record["error"] and "\n" not in made[0]
    assert "aaaa" not in made[0] and told.status == 500


def test_the_kind_of_log_follows_the_settings():
    """Auto looks at the stream."""
    assert AccessLog.of("none", sys.__stderr__) is None
    assert AccessLog.of("json", sys.__stderr__).human is False and AccessLog.of("text", sys.__stderr__).human is True
    assert AccessLog.of("auto", sys.__stderr__).human is sys.__stderr__.isatty()
