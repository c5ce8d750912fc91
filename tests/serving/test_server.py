"""The socket the server listens on."""

from __future__ import annotations

import asyncio
import socket

import pytest

from geoplantnet.errors import ConfigurationError
from geoplantnet.serving.server import _listen


def test_connections_send_at_once():
    """An accepted connection has TCP_NODELAY: an answer is sent as head and body, and its body would wait 40 ms for the head's receipt."""

    async def accepted(listener: socket.socket) -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(answer, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.close()
            return await asyncio.wait_for(found, 10)

    assert asyncio.run(accepted(_listen("127.0.0.1", 0)))


def test_a_taken_port_is_an_error_that_names_the_way_out():
    """Two servers cannot have one port; the second is told to take another."""
    with _listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port}.*--port 0"):
            _listen("127.0.0.1", port)
