"""Photos by their addresses: from origins that the operator named, and from nowhere else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from starlette.testclient import TestClient

from geoplantnet.errors import ConfigurationError
from geoplantnet.serving.identify import IdentifySettings


class Host:
    """Another server, with photos and with what is none."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.asked: list[str] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked.append(self.path)
                if self.path == "/away":
                    self.send_response(302)
                    self.send_header("Location", "/flower.jpg")
                    self.end_headers()
                    return
                if self.path == "/endless":
                    self.send_response(200)
                    self.end_headers()
                    for _ in range(400):
                        try:
                            self.wfile.write(b"\xff" * 100_000)
                        except OSError:
                            return
                    return
                found = files.get(self.path)
                self.send_response(200 if found is not None else 404)
                self.end_headers()
                self.wfile.write(found or b"")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def host(photo: Callable[..., bytes]) -> Iterator[Host]:
    host = Host({"/flower.jpg": photo(1), "/leaf.png": photo(2, kind="PNG"), "/page.html": b"<html>"})
    yield host
    host.server.shutdown()
    host.server.server_close()


def test_photos_named_by_their_addresses_are_answered_as_those_that_are_sent(
    client_of: Callable[..., TestClient], host: Host, photo: Callable[..., bytes]
) -> None:
    """The same species and scores, in the order of the addresses, with their organs; each request costs one."""
    client = client_of(changes={"photo_origins": (host.origin,)})
    query = f"images={host.origin}/flower.jpg&images={host.origin}/leaf.png&organs=flower&organs=leaf&nb-results=3"
    by_address = client.get(f"/v2/identify/all?{query}")
    files = [("images", ("flower.jpg", photo(1))), ("images", ("leaf.png", photo(2, kind="PNG")))]
    sent = client.post("/v2/identify/all?nb-results=3", files=files, data={"organs": ["flower", "leaf"]})
    assert by_address.status_code == sent.status_code == 200, by_address.text
    left = by_address.json().pop("remainingIdentificationRequests") - sent.json().pop("remainingIdentificationRequests")
    assert left == 1 and host.asked == ["/flower.jpg", "/leaf.png"]
    assert {**by_address.json(), "remainingIdentificationRequests": 0} == {**sent.json(), "remainingIdentificationRequests": 0}


def test_nothing_else_is_fetched(client_of: Callable[..., TestClient], host: Host) -> None:
    """Of other origins, ports, schemes and users not a byte is asked; redirects are not followed; what is no photo, or too much, is told."""
    client = client_of(changes={"photo_origins": (host.origin,)})
    port = host.origin.rpartition(":")[2]
    for address in (
        "http://127.0.0.1:1/flower.jpg",
        f"http://localhost:{port}/flower.jpg",
        f"https://127.0.0.1:{port}/flower.jpg",
        f"http://user@127.0.0.1:{port}/flower.jpg",
        f"{host.origin}.example.org/flower.jpg",
        "file:///etc/passwd",
        "flower.jpg",
    ):
        answer = client.get("/v2/identify/all", params={"images": address})
        assert answer.status_code == 400 and host.origin in answer.json()["message"], address
    assert host.asked == []
    for path, status in (("/away", 400), ("/gone.jpg", 400), ("/page.html", 415), ("/endless", 413)):
        answer = client.get("/v2/identify/all", params={"images": host.origin + path})
        assert answer.status_code == status, (path, answer.text)
    assert "/flower.jpg" not in host.asked
    assert client.get("/v2/identify/all", params={"images": [f"{host.origin}/flower.jpg"] * 6}).status_code == 400
    assert client.get("/v2/identify/nowhere", params={"images": f"{host.origin}/flower.jpg"}).status_code == 404


def test_by_default_no_address_is_fetched(client_of: Callable[..., TestClient], host: Host) -> None:
    """And who may not ask is told that first."""
    told = client_of().get("/v2/identify/all", params={"images": f"{host.origin}/flower.jpg"})
    assert told.status_code == 400 and "POST" in told.json()["message"] and host.asked == []
    stranger = client_of(key="", changes={"anonymous_quota": 0})
    assert stranger.get("/v2/identify/all", params={"images": f"{host.origin}/flower.jpg"}).status_code == 401


def test_a_server_that_is_down_costs_nothing(client_of: Callable[..., TestClient], host: Host) -> None:
    """It may be back soon: 503, and when to ask again."""
    host.server.shutdown()
    host.server.server_close()
    client = client_of(changes={"photo_origins": (host.origin,)})
    answer = client.get("/v2/identify/all", params={"images": f"{host.origin}/flower.jpg"})
    assert answer.status_code == 503 and answer.headers["retry-after"]
    assert client.get("/v2/quota").json()["count"]["identify"] == 0


def test_an_origin_is_scheme_host_and_port_alone() -> None:
    """A path or a missing scheme would let an operator believe that it limits what is fetched."""
    for wrong in ("photos.example.org", "https://photos.example.org/", "https://Photos.example.org", "ftp://photos.example.org"):
        with pytest.raises(ConfigurationError, match="photo_origins"):
            IdentifySettings(photo_origins=(wrong,))
