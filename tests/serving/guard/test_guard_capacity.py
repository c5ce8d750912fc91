"""Capacity: so many at once, so many waiting, so long; and a place is taken for as long as its work goes on."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.serving import create_app
from geoplantnet.serving.guard import Guard
from geoplantnet.serving.guard.door import ClientGone
from geoplantnet.serving.guard.gate import Capacity, Gate
from geoplantnet.serving.guard.refusal import Refused
from geoplantnet.serving.settings import ServerSettings
from tests.serving.guard.asgi import Client, hello, run, until


class Workshop:
    """An application that works in a thread until it is told to end, and counts its threads."""

    def __init__(self) -> None:
        self.end, self.lock = threading.Event(), threading.Lock()
        self.now = self.most = self.begun = 0

    def _work(self) -> None:
        with self.lock:
            self.now += 1
            self.begun += 1
            self.most = max(self.most, self.now)
        self.end.wait(30)
        with self.lock:
            self.now -= 1

    async def __call__(self, scope, receive, send):
        if scope["path"] not in ("/healthz", "/metrics", "/v2/_status"):
            await anyio.to_thread.run_sync(self._work)
        await hello(scope, receive, send)


def test_so_many_are_answered_so_many_wait_and_the_others_are_told_at_once():
    """Of 12 clients at once, 3 are worked on by 3 threads, 4 wait and are served after them, 5 are told to come back; then all is free."""

    async def scene():
        shop = Workshop()
        guard = Guard(ServerSettings(max_concurrent=3, max_waiting=4))
        tasks = [asyncio.create_task(Client(guard.around(shop)).send()) for _ in range(12)]
        await until(lambda: sum(task.done() for task in tasks) == 5 and shop.now == 3)
        assert (guard.work.inside, guard.work.waiting) == (3, 4)
        refused = [task.result() for task in tasks if task.done()]
        assert {told.status for told in refused} == {503} and all(int(told.header("retry-after")) > 0 for told in refused)
        health = [await Client(guard.around(shop), path).send() for path in ("/healthz", "/metrics", "/v2/_status")]
        assert [told.status for told in health] == [200] * 3, "whoever looks after a full server must reach it"
        shop.end.set()
        assert Counter([(await task).status for task in tasks]) == {200: 7, 503: 5}
        assert (guard.work.inside, guard.work.waiting, shop.most) == (0, 0, 3)

    run(scene())


def test_who_waits_too_long_is_told_so():
    """A request whose turn does not come in time is answered 503, and is no longer in the queue."""

    async def scene():
        shop = Workshop()
        guard = Guard(ServerSettings(max_concurrent=1, max_wait_s=0.05))
        first = asyncio.create_task(Client(guard.around(shop)).send())
        await until(lambda: shop.now == 1)
        assert (await Client(guard.around(shop)).send()).status == 503
        assert guard.work.waiting == 0
        shop.end.set()
        assert (await first).status == 200 and guard.work.inside == 0

    run(scene())


def test_a_late_answer_is_503_and_its_place_stays_taken_until_the_thread_ends():
    """The client is freed in time; the thread, which nobody can stop, keeps its place, so that there are never more threads than places."""

    async def scene():
        shop = Workshop()
        guard = Guard(ServerSettings(max_concurrent=2, max_wait_s=0.05, timeout_s=0.1))
        clients = [Client(guard.around(shop), "/tiles/x") for _ in range(2)]
        tasks = [asyncio.create_task(client.send()) for client in clients]
        await until(lambda: all(client.told.body for client in clients))
        assert [client.told.status for client in clients] == [503, 503] and clients[0].told.header("retry-after")
        assert shop.now == 2 and guard.work.inside == 2 and not any(task.done() for task in tasks)
        assert (await Client(guard.around(shop)).send()).status == 503, "no place is free, though nobody is waited for"
        shop.end.set()
        await asyncio.gather(*tasks)
        assert guard.work.inside == 0 and shop.begun == shop.most == 2
        assert (await Client(guard.around(shop)).send()).status == 200

    run(scene())


def test_what_awaits_is_ended_by_the_clock():
    """Work that is no thread is ended when its time is over, and its place is free at once."""

    async def scene():
        ended = asyncio.Event()

        async def sleeper(scope, receive, send):
            try:
                await asyncio.sleep(3600)
            finally:
                ended.set()

        guard = Guard(ServerSettings(timeout_s=0.05))
        assert (await Client(guard.around(sleeper)).send()).status == 503
        assert ended.is_set() and guard.work.inside == 0

    run(scene())


def test_who_leaves_while_waiting_leaves_the_queue():
    """The place that such a client waited for goes to the next."""

    async def scene():
        shop = Workshop()
        guard = Guard(ServerSettings(max_concurrent=1, max_waiting=2))
        app = guard.around(shop)
        first = asyncio.create_task(Client(app).send())
        await until(lambda: shop.now == 1)
        leaving, patient = Client(app), Client(app)
        tasks = [asyncio.create_task(client.send()) for client in (leaving, patient)]
        await until(lambda: guard.work.waiting == 2)
        leaving.leave()
        await until(tasks[0].done)
        assert leaving.told.status == 0 and guard.work.waiting == 1
        shop.end.set()
        await asyncio.gather(first, *tasks)
        assert patient.told.status == 200 and guard.work.inside == 0 and shop.begun == 2

    run(scene())


def test_who_leaves_a_long_answer_frees_its_place():
    """An endless download ends with its client."""

    async def scene():
        async def endless(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})

        guard = Guard(ServerSettings())
        client = Client(guard.around(endless), "/stac/big.tif")
        task = asyncio.create_task(client.send())
        await until(lambda: len(client.told.body) > 1000)
        assert (guard.files.inside, guard.work.inside) == (1, 0), "files have places of their own"
        client.leave()
        await until(task.done)
        assert guard.files.inside == 0

    run(scene())


def test_a_client_that_is_cut_off_frees_its_place():
    """Whatever a server does to the task of a request: waiting or at work, its place is given back."""

    async def scene():
        async def sleeper(scope, receive, send):
            await asyncio.sleep(3600)

        guard = Guard(ServerSettings(max_concurrent=1, max_waiting=5))
        tasks = [asyncio.create_task(Client(guard.around(sleeper)).send()) for _ in range(4)]
        await until(lambda: guard.work.waiting == 3)
        for task in (tasks[2], tasks[0], tasks[1], tasks[3]):
            task.cancel()
            await asyncio.sleep(0.01)
        assert (guard.work.inside, guard.work.waiting) == (0, 0)

    run(scene())


@given(st.lists(st.sampled_from(["come", "leave", "give up", "hang up"]), max_size=40), st.integers(1, 3), st.integers(0, 3))
def test_a_gate_never_lets_in_too_many_and_ends_empty(steps, concurrent, waiting):
    """Whatever comes, leaves, gives up and hangs up in whatever order; and those that wait enter in the order they came."""

    async def scene():
        gate = Gate(Capacity(concurrent=concurrent, waiting=waiting, wait_s=60))
        entered, queue, number = [], [], 0

        async def visit(me, gone):
            try:
                if not gate.try_enter():
                    await gate.wait(gone.wait())
            except (ClientGone, Refused):
                return
            entered.append(me)

        inside = []
        for step in [*steps, *(["leave"] * 60)]:
            if step == "come":
                gone = asyncio.Event()
                queue.append((asyncio.create_task(visit(number, gone)), gone))
                number += 1
            elif step == "leave" and gate.inside and len(entered) > len(inside):
                inside.append(entered[len(inside)])
                gate.leave()
            elif step in ("give up", "hang up") and any(not task.done() for task, _ in queue):
                task, gone = next((task, gone) for task, gone in queue if not task.done())
                _ = task.cancel() if step == "give up" else gone.set()
            for _ in range(4):
                await asyncio.sleep(0)
            assert gate.inside == len(entered) - len(inside) <= concurrent and gate.waiting <= waiting
        assert entered == sorted(entered) and gate.inside == gate.waiting == 0

    run(scene())


def test_the_body_reaches_who_had_to_wait():
    """A posted body is read before its request waits, and is whole after."""

    async def scene():
        shop = Workshop()
        guard = Guard(ServerSettings(max_concurrent=1, post_paths=("/ogc/processes/*/execution",)))
        path = "/ogc/processes/area-report/execution"
        first = asyncio.create_task(Client(guard.around(shop)).send())
        await until(lambda: shop.now == 1)
        posted = asyncio.create_task(Client(guard.around(shop), path, method="POST", body=[b"a", b"rea"]).send())
        await until(lambda: guard.work.waiting == 1)
        shop.end.set()
        assert (await posted).body == b"hello area" and (await first).status == 200

    run(scene())


def test_a_refusal_speaks_the_language_of_its_route(store):
    """ServiceException for WMS in the version asked, ExceptionReport for WMTS, both names for OGC APIs, RFC 9457 elsewhere."""
    app = create_app(store, settings=ServerSettings(max_query=20))
    long = b"VERSION=%s&" + b"a" * 30

    async def scene():
        wms3 = await Client(app, "/wms", query=long % b"1.3.0").send()
        wms1 = await Client(app, "/wms", query=long % b"1.1.1").send()
        wmts = await Client(app, "/wmts", query=long).send()
        ogc = await Client(app, "/ogc/collections", query=long).send()
        api = await Client(app, "/api/layers", query=long).send()
        assert {told.status for told in (wms3, wms1, wmts, ogc, api)} == {414}
        assert b'version="1.3.0"' in wms3.body and wms3.header("content-type") == "text/xml"
        assert b'version="1.1.1"' in wms1.body and wms1.header("content-type") == "application/vnd.ogc.se_xml"
        assert b"ExceptionReport" in wmts.body and b"at most 20" in wmts.body
        assert ogc.json["description"] == ogc.json["detail"] and ogc.json["code"]
        assert api.json["status"] == 414 and api.header("content-type") == "application/problem+json"
        for told in (wms3, wms1, wmts, ogc, api):
            assert told.header("content-security-policy") and told.header("x-request-id")

    run(scene())


def test_no_trace_of_a_fault_leaves_wherever_it_is_raised(monkeypatch, caplog):
    """In the application, in the guard, in the shape of a refusal: 500 without a detail, and the whole of it in the server's log."""

    async def scene():
        async def broken(scope, receive, send):
            raise RuntimeError("secret of the inside")

        def shape(scope, status, message):
            raise RuntimeError("secret of the shape")

        plain, shaped = Guard(ServerSettings()), Guard(ServerSettings(), shapes={"wms": shape})
        inside = Guard(ServerSettings())
        monkeypatch.setattr(inside._door, "check", lambda scope: 1 / 0)
        for guard in (plain, shaped, inside):
            told = await Client(guard.around(broken)).send()
            assert told.status == 500 and b"secret" not in told.body and b"Traceback" not in told.body and b"division" not in told.body
            assert told.json["status"] == 500 and guard.work.inside == 0

        async def breaks_off(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise RuntimeError("secret of the end")

        with pytest.raises(RuntimeError):  # all a server can do now is to close the connection
            await Client(plain.around(breaks_off)).send()
        assert plain.work.inside == 0

    run(scene())
    assert "secret of the inside" in caplog.text and "secret of the shape" in caplog.text and "ZeroDivisionError" in caplog.text
