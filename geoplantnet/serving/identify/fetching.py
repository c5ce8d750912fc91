"""Photos by their addresses, as Pl@ntNet's GET route has them: from origins that the operator names, from nowhere by default.

A server that fetches what strangers name can be turned against others, or against its own network: so an origin is compared whole (scheme, host, port),
redirects are not followed, no proxy or password of the environment is used, and bytes and seconds are counted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

import requests

from geoplantnet.errors import TryAgain
from geoplantnet.identify.photos import IDENTIFY, RefusedPhoto
from geoplantnet.serving.exceptions import shown
from geoplantnet.serving.identify.problems import refuse
from geoplantnet.serving.identify.uploads import Upload, upload_of

_SILENCE_S, _WHOLE_S = 5.0, 15.0
"""Seconds without a byte, and for all of a photo."""
_PIECE = 1 << 16


def fetched(addresses: Sequence[str], origins: Sequence[str]) -> list[Upload]:
    """The photos at some addresses, in their order. For a thread.

    Raises Refused (400) for an address of another origin and for one that has no photo, RefusedPhoto for a photo of too many bytes, TryAgain where
    the other server does not answer in time.
    """
    if not origins:
        raise refuse(
            HTTPStatus.BAD_REQUEST,
            "addresses of photos are not fetched here: a server that fetches what strangers name can be turned against others. "
            "POST the photos as multipart/form-data",
            "address",
        )
    for address in addresses:
        parts = urlsplit(address)
        if f"{parts.scheme}://{parts.netloc}".lower() not in origins:
            known = ", ".join(origins)
            raise refuse(HTTPStatus.BAD_REQUEST, f"photos are fetched from {known} alone, not from {shown(address)}", "address")
    return [upload_of("images", urlsplit(address).path.rpartition("/")[2], _bytes(address)) for address in addresses]


def _bytes(address: str) -> bytes:
    began, found = time.monotonic(), bytearray()
    try:
        with requests.Session() as session:
            session.trust_env = False
            with session.get(address, stream=True, allow_redirects=False, timeout=_SILENCE_S) as answer:
                if answer.status_code != HTTPStatus.OK:
                    raise refuse(HTTPStatus.BAD_REQUEST, f"{shown(address)} answers {answer.status_code}; a photo is wanted", "address")
                for piece in answer.iter_content(_PIECE):
                    found += piece
                    if len(found) > IDENTIFY.bytes:
                        raise RefusedPhoto("too-large", f"{shown(address)} has more than {IDENTIFY.bytes:,} bytes; name a smaller photo")
                    if time.monotonic() - began > _WHOLE_S:
                        raise TryAgain(f"{shown(address)} did not come within {_WHOLE_S:g} seconds; send the photo itself, or try again")
    except (requests.RequestException, UnicodeError) as error:
        raise TryAgain(f"{shown(address)} cannot be fetched ({type(error).__name__}); send the photo itself, or try again") from error
    return bytes(found)
