"""A Zarr store by HTTP: only a chunk that is not there is missing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter
from zarr.core.buffer import default_buffer_prototype

from geoplantnet.errors import GeoPlantNetError
from geoplantnet.sources.http import Budget, Http
from geoplantnet.sources.zarr_http import HttpStore


class Says(BaseAdapter):
    """A network that always gives one answer."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__()
        self.status, self.body = status, body
        self.urls: list[str] = []

    def send(self, request: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        from io import BytesIO

        from urllib3 import HTTPResponse

        self.urls.append(request.url)
        response = requests.Response()
        response.status_code, response.url, response.request = self.status, request.url, request
        response.raw = HTTPResponse(BytesIO(self.body), status=self.status, preload_content=False)
        return response

    def close(self) -> None:
        pass


def store(network: Says, url: str = "https://h/s.zarr") -> HttpStore:
    return HttpStore(url, Http(Budget(seconds=5, attempts=1).begin(), adapter=network))


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_not_there_is_missing(status: int) -> None:
    """Zarr fills it."""
    assert asyncio.run(store(Says(status, b"")).get("c/0/0", default_buffer_prototype())) is None
    assert asyncio.run(store(Says(status, b"")).exists("c/0/0")) is False


def test_a_refusal_that_speaks_of_404_is_no_missing_chunk() -> None:
    """A gateway's words about another server must not become fill values."""
    with pytest.raises(GeoPlantNetError, match="status 400"):
        asyncio.run(store(Says(400, b"upstream answered: status 404")).get("c/0/0", default_buffer_prototype()))


def test_a_query_stays_behind_the_key() -> None:
    """Signed stores: read and asked for at the same address."""
    network = Says(200, b"x")
    one = store(network, "https://h/s.zarr/?sig=1")
    asyncio.run(one.get("zarr.json", default_buffer_prototype()))
    assert asyncio.run(one.exists("zarr.json"))
    assert network.urls == ["https://h/s.zarr/zarr.json?sig=1"] * 2
