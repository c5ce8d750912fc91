"""Photos that are shown: of the store and of the similarity index, in three sizes, without what cameras wrote into them.

An address holds the reference of a photo, signed with the server's secret: only photos whose address the server gave out can be had, and it gives
out those under an open licence alone. Small ones are made by the processes that decode what strangers send.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType

from geoplantnet.errors import InputError, StorageError
from geoplantnet.identify.observations import ObservationStore
from geoplantnet.identify.photos import SURVEY, Decoder, read_header, stripped
from geoplantnet.serving.identify.problems import refuse

SIZES: Mapping[str, int] = MappingProxyType({"o": 0, "m": 600, "s": 150})
"""Name -> longest side, pixels; o is the original."""
_KEPT_BYTES = 64_000_000
_SHA = re.compile(r"[0-9a-f]{64}")
_OPEN = re.compile(r"(?i)\bcc[ -]?(0|by)|creativecommons\.org/(licenses|publicdomain)/|public domain")
_PATH = re.compile(r"([oms])/([A-Za-z0-9_-]{1,2000})\.([0-9a-f]{32})")


def is_open(license: str) -> bool:
    """Whether a licence lets everybody see a photo: one of Creative Commons, or the public domain."""
    return _OPEN.search(license) is not None


class Media:
    """Signs addresses of photos, and answers them."""

    def __init__(self, *, secret: bytes, decoder: Decoder, store: ObservationStore | None) -> None:
        self._secret, self._decoder, self._store = hashlib.sha256(b"photos" + secret).digest(), decoder, store
        self._kept: OrderedDict[str, tuple[bytes, str]] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def urls(self, image: str, site: str) -> dict[str, str]:
        """Size -> address of a photo, given by its SHA-256 in the store or by its path. Ask first whether its licence is open."""
        reference = base64.urlsafe_b64encode(bytes.fromhex(image) if _SHA.fullmatch(image) else b"/" + image.encode()).rstrip(b"=").decode()
        return {size: f"{site}/v2/media/{size}/{reference}.{self._signature(reference)}" for size in SIZES}

    def answer(self, path: str) -> tuple[bytes, str]:
        """The bytes and media type of a photo, by what follows ``/v2/media/``. For a thread. Raises Refused (404)."""
        found = _PATH.fullmatch(path)
        if found is None or not hmac.compare_digest(self._signature(found[2]), found[3]):
            raise refuse(HTTPStatus.NOT_FOUND, "there is no such photo; use the addresses that answers hold", "media")
        size = found[1]
        with self._lock:
            if path in self._kept:
                self._kept.move_to_end(path)
                return self._kept[path]
        data, kind = self._read(found[2])
        longest = SIZES[size]
        made = (self._decoder.resized(data, longest, SURVEY), "image/jpeg") if longest else (stripped(data), f"image/{_named(kind)}")
        if longest:
            self._keep(path, made)
        return made

    def _read(self, reference: str) -> tuple[bytes, str]:
        raw = base64.urlsafe_b64decode(reference + "=" * (-len(reference) % 4))
        try:
            if raw.startswith(b"/"):
                file = Path(raw[1:].decode())
                if file.stat().st_size > SURVEY.bytes:
                    raise InputError(f"{file} is larger than {SURVEY.bytes} bytes")
                data = file.read_bytes()
                return data, read_header(data, SURVEY).format
            if self._store is None:
                raise StorageError("there is no store of observations")
            return self._of_store(self._store, raw.hex())
        except (OSError, InputError, StorageError, binascii.Error) as error:
            raise refuse(HTTPStatus.NOT_FOUND, "this photo is not there any more", "media") from error

    @staticmethod
    def _of_store(store: ObservationStore, digest: str) -> tuple[bytes, str]:
        try:
            return store.images.get(digest, "jpg"), "jpg"
        except StorageError:
            return store.images.get(digest, "png"), "png"

    def _keep(self, path: str, made: tuple[bytes, str]) -> None:
        with self._lock:
            if path not in self._kept:
                self._kept[path] = made
                self._kept_bytes += len(made[0])
            while self._kept_bytes > _KEPT_BYTES:
                _, (data, _) = self._kept.popitem(last=False)
                self._kept_bytes -= len(data)

    def _signature(self, reference: str) -> str:
        return hmac.new(self._secret, reference.encode(), hashlib.sha256).hexdigest()[:32]


def _named(kind: str) -> str:
    return "jpeg" if kind == "jpg" else kind
