"""The door: sizes, methods, spellings, bodies that lie and bodies that dawdle."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time

import pytest
import uvicorn
from hypothesis import example, given
from hypothesis import strategies as st

from geoplantnet.errors import ConfigurationError
from geoplantnet.serving import server as port
from geoplantnet.serving.guard import Guard
from geoplantnet.serving.settings import ServerSettings
from tests.serving.guard.asgi import Client, hello, run, until

POST = "/ogc/processes/area-report/execution"


def ask(guard: Guard, *arguments, **options):
    return run(Client(guard.around(hello), *arguments, **options).send())


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"path": "/" + "x" * 2047}, 200),
        ({"path": "/" + "x" * 2048}, 414),
        ({"query": b"x" * 8192}, 200),
        ({"query": b"x" * 8193}, 414),
        ({"query": b"&".join([b"a=1"] * 64)}, 200),
        ({"query": b"&".join([b"a=1"] * 65)}, 400),
        ({"headers": [(b"x-a", b"1" * 16_000)]}, 200),
        ({"headers": [(b"x-a", b"1" * 17_000)]}, 431),
        ({"headers": [(b"host", b"localhost")]}, 400),
        ({"method": "HEAD"}, 200),
        ({"method": "POST"}, 405),
        ({"method": "OPTIONS"}, 405),
        ({"method": "TRACE"}, 405),
        ({"method": "X" * 500}, 405),
        ({"path": POST, "method": "POST"}, 200),
        ({"path": POST + "/more", "method": "POST"}, 405),
        ({"path": "/ogc/processes/a/b/execution", "method": "POST"}, 405),
        ({"path": POST, "method": "DELETE"}, 405),
        ({"headers": [(b"content-length", b"4194305")]}, 413),
        ({"headers": [(b"content-length", b"9" * 5000)]}, 413),
        ({"headers": [(b"content-length", b"-1")]}, 413),
        ({"path": POST, "method": "POST", "headers": [(b"content-length", b"5000000")]}, 413),
    ],
)
def test_each_limit_holds_and_nothing_below_it_is_refused(options, status):
    """At the limit it is answered, one beyond it refused with the status HTTP has for it."""
    told = ask(Guard(ServerSettings()), **options)
    assert told.status == status, told.body
    if status == 405:
        assert told.header("allow") == ("GET, HEAD, POST" if options.get("path") == POST else "GET, HEAD")


@pytest.mark.parametrize(
    ("path", "methods"), [("/wms", "GET, HEAD"), (POST, "GET, HEAD, POST"), ("/ogc/jobs/1", "GET, HEAD"), ("/", "GET, HEAD")]
)
def test_a_browser_is_told_what_other_pages_may_send(path, methods):
    """A preflight is 204, with the methods of its path and the headers clients send, whoever asks and however full the server is."""
    asks = [(b"origin", b"https://elsewhere.example"), (b"access-control-request-method", b"GET")]
    guard = Guard(ServerSettings(max_concurrent=1, max_waiting=0))
    assert guard.work.try_enter()
    told = ask(guard, path, method="OPTIONS", headers=[*asks, (b"access-control-request-headers", b"x-api-key")])
    assert (told.status, told.body) == (204, b"")
    assert told.header("access-control-allow-origin") == "*" and told.header("access-control-allow-methods") == methods
    allowed = {name.lower() for name in told.header("access-control-allow-headers").split(", ")}
    assert allowed >= {"x-api-key", "authorization", "if-none-match", "range", "content-type"}
    assert int(told.header("access-control-max-age")) > 0 and not told.header("access-control-allow-credentials")
    assert ask(guard, path + "x" * 3000, method="OPTIONS", headers=asks).status == 414


@pytest.mark.parametrize(
    "path", [b"/a%00", b"/%2e%2e/x", b"/a%2fb", b"/a%5Cb", b"/a\\b", b"/a%zz", b"/a%", b"/a%1", b"/a%0d%0aX:1", b"/a b", b"/\xff", b"/a%7f"]
)
def test_paths_that_may_be_read_in_two_ways_are_refused(path):
    """Escaped separators, dots, controls; what is no percent-encoding; bytes that no path has."""
    assert ask(Guard(ServerSettings()), raw_path=path).status == 400


def test_paths_of_ours_pass():
    """Names with spaces, umlauts and punctuation, as links write them."""
    for path in (b"/wms/family/A%20b%C3%A4", b"/wmts/1.0.0/species.v001/default/WebMercatorQuad/0/0/0.png", b"/x;a=1,2:3@4!$&'()*+=~"):
        assert ask(Guard(ServerSettings()), raw_path=path).status == 200


@given(path=st.binary(max_size=40), query=st.binary(max_size=60), method=st.text(max_size=5), value=st.binary(max_size=40))
@example(path=b"", query=b"%", method="", value=b"")
def test_whatever_knocks_is_answered(path, query, method, value):
    """Any bytes as path, query, method and headers: an answer or a refusal, never a fault of the server."""
    guard = Guard(ServerSettings())
    names = (b"host", b"x-request-id", b"x-api-key", b"authorization", b"content-length", b"cookie")
    for name in names:
        told = ask(guard, "/" + path.decode("latin-1"), raw_path=b"/" + path, query=query, method=method or "GET", headers=[(name, value)])
        assert told.status == 200 or 400 <= told.status < 500
        assert all(c >= 32 for _, v in told.headers for c in v)


@pytest.mark.parametrize(
    "headers", [[], [(b"content-length", b"3")], [(b"transfer-encoding", b"chunked")]], ids=["none", "lying", "chunked"]
)
def test_a_body_is_counted_whatever_its_length_claims(headers):
    """An endless body is refused with 413 after as much as is allowed was read, and never reaches the application."""
    guard = Guard(ServerSettings(max_body=10_000))
    told = ask(guard, POST, method="POST", headers=headers, endless=True)
    assert told.status == 413 and told.taken <= 12 and told.header("connection") == "close"
    assert guard.work.inside == 0


def test_a_body_that_dawdles_holds_up_nobody():
    """It is refused with 408 after its time; meanwhile it has no place, and others are served."""

    async def scene():
        guard = Guard(ServerSettings(max_concurrent=1, body_s=0.2))
        app = guard.around(hello)
        slow = Client(app, POST, method="POST", body=[])
        task = asyncio.create_task(slow.send())
        await asyncio.sleep(0.02)
        assert (await Client(app).send()).status == 200 and guard.work.inside == 0
        await until(task.done)
        assert slow.told.status == 408 and slow.told.header("connection") == "close"
        leaver = Client(app, POST, method="POST", body=[])
        task = asyncio.create_task(leaver.send())
        await asyncio.sleep(0.02)
        leaver.leave()
        await until(task.done)
        assert leaver.told.status == 0

    run(scene())


@pytest.fixture(scope="module")
def address():
    """Host and port of a guarded application on a real socket."""
    guard = Guard(ServerSettings(max_body=10_000, body_s=0.5))
    server = uvicorn.Server(uvicorn.Config(guard.around(hello), host="127.0.0.1", port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[:2]
    server.should_exit = True
    thread.join(timeout=10)


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (b"Content-Length: 3\r\n", b"abc", b"200"),
        (b"Content-Length: 99999\r\n", b"abc", b"413"),
        (b"Content-Length: 50\r\n", b"abc", b"408"),
        (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"200"),
        (b"Transfer-Encoding: chunked\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n", b"408"),
        (b"Transfer-Encoding: chunked\r\n", (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 30, b"413"),
    ],
    ids=["right", "too long", "unfinished", "chunks", "unfinished chunks", "endless chunks"],
)
def test_bodies_on_a_real_socket(address, head, body, status):
    """What a server hands on of bodies that claim, lie, dawdle and never end; and it closes on those it did not read."""
    with socket.create_connection(address, timeout=10) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"POST " + POST.encode() + b" HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n" + body)
        if status != b"200":
            with contextlib.suppress(ConnectionError):
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
        else:
            answer = connection.recv(65536)
    assert answer.split(b" ", 2)[1] == status


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET / HTTP/1.1\r\nHost: loc", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /again HT"],
    ids=["nothing", "half a request", "one and a half"],
)
def test_headers_that_never_end_are_hung_up_on(monkeypatch, begun):
    """A connection on which no request comes to the end of its headers is closed; one that asks in time is answered, more than once."""
    monkeypatch.setattr(port, "_HEAD_S", 0.3)
    app = Guard(ServerSettings()).around(hello)
    server = uvicorn.Server(uvicorn.Config(app, http=port.ImpatientProtocol, lifespan="off", log_level="critical"))
    listener = port._listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        with socket.create_connection(listener.getsockname(), timeout=10) as slow, socket.create_connection(listener.getsockname()) as good:
            slow.sendall(begun)
            for _ in range(3):
                good.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = b""
                while not answer.endswith(b"0\r\n\r\n"):
                    answer += good.recv(65536)
                assert answer.startswith(b"HTTP/1.1 200")
                time.sleep(0.15)
            answer = b"".join(iter(lambda: slow.recv(65536), b""))
            assert answer.count(b"HTTP/1.1 200") == begun.count(b"\r\n\r\n")
    finally:
        server.should_exit = True
        thread.join(timeout=10)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux cuts off who reads nothing")
def test_connections_inherit_the_time_after_which_a_reader_is_given_up():
    """What is set on the listening socket holds for each connection."""
    with port._listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == port._STALLED_MS


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_concurrent": 0},
        {"timeout_s": -1.0},
        {"body_s": float("nan")},
        {"url": "maps.example.org"},
        {"access_log": "xml"},
        {"private_layers": ("Species/*",)},
        {"trusted_proxies": ("proxy",)},
        {"post_paths": ("ogc",)},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    """With the name of the setting."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        ServerSettings(**wrong)
