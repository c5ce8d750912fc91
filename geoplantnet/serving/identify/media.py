"""Photos that are shown: of the store and of the similarity index, in three sizes, without what cameras wrote into them.

An address holds the reference of a photo, sealed with the server's secret (AES-SIV, RFC 5297: alike for alike, so that browsers keep photos): only
photos whose address the server gave out can be had, nothing tells where they lie, and those under an open licence alone are given out. Photos of an
observation that somebody called by a sensitive name since are given out no longer, but by the other address that its author was told. Small ones
are made by the processes that decode what strangers send.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from geoplantnet.errors import InputError, StorageError
from geoplantnet.identify.observations import ObservationStore
from geoplantnet.identify.photos import SURVEY, Decoder, read_header, stripped
from geoplantnet.serving.identify.problems import refuse

SIZES: Mapping[str, int] = MappingProxyType({"o": 0, "m": 600, "s": 150})
"""Name -> longest side, pixels; o is the original."""
_KEPT_BYTES = 64_000_000
_KEPT_S = 300.0
"""Seconds after which a small photo is made anew: other workers learn so that one was taken back."""
_SHA = re.compile(r"[0-9a-f]{64}")
_OPEN = re.compile(r"(?i)\bcc[ -]?(0|by)|creativecommons\.org/(licenses|publicdomain)/|public domain")
_PATH = re.compile(r"([oms])/([A-Za-z0-9_-]{22,8000})")
_OF_STORE, _OF_OWN, _FILE = b"\0", b"\1", b"/"
"""First byte of a reference: what follows is a SHA-256, the same for who may see what is hidden, or a path."""
_CACHED = {
    _OF_STORE: "public, max-age=600",
    _OF_OWN: "private, max-age=600",
    _FILE: "public, max-age=31536000, immutable",
}
"""How long others may keep a photo: those of the store may be taken back, or hidden."""


def is_open(license: str) -> bool:
    """Whether a licence lets everybody see a photo: one of Creative Commons, or the public domain."""
    return _OPEN.search(license) is not None


@dataclass(frozen=True, kw_only=True)
class Photo:
    """As it is answered."""

    data: bytes
    media_type: str
    cached: str
    """Cache-Control."""


class Media:
    """Gives out addresses of photos, and answers them."""

    def __init__(
        self, *, secret: bytes, decoder: Decoder, store: ObservationStore | None, hidden: Callable[[str], bool] = lambda image: False
    ) -> None:
        """`hidden`: whether an image of the store, by its SHA-256, may not be seen by everybody."""
        self._seal, self._decoder, self._store = AESSIV(hashlib.sha512(b"photos" + secret).digest()), decoder, store
        self._hidden = hidden
        self._kept: OrderedDict[str, tuple[Photo, float]] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def urls(self, image: str, site: str, *, own: bool = False) -> dict[str, str]:
        """Size -> address of a photo, given by its SHA-256 in the store or by its path. Ask first whether its licence is open.

        `own`: for who may see it though it is hidden from others.
        """
        reference = (_OF_OWN if own else _OF_STORE) + bytes.fromhex(image) if _SHA.fullmatch(image) else _FILE + image.encode()
        sealed = base64.urlsafe_b64encode(self._seal.encrypt(reference, None)).rstrip(b"=").decode()
        return {size: f"{site}/v2/media/{size}/{sealed}" for size in SIZES}

    def answer(self, path: str) -> Photo:
        """A photo, by what follows ``/v2/media/``. For a thread. Raises Refused (404)."""
        found = _PATH.fullmatch(path)
        reference = self._opened(found[2]) if found is not None else None
        if found is None or reference is None:
            raise refuse(HTTPStatus.NOT_FOUND, "there is no such photo; use the addresses that answers hold", "media")
        size = found[1]
        with self._lock:
            made, until = self._kept.get(path, (None, 0.0))
            if made is not None and time.monotonic() < until:
                self._kept.move_to_end(path)
                return made
        data, kind = self._read(reference)
        longest = SIZES[size]
        shown, media_type = (
            (self._decoder.resized(data, longest, SURVEY), "image/jpeg") if longest else (stripped(data), f"image/{_named(kind)}")
        )
        photo = Photo(data=shown, media_type=media_type, cached=_CACHED[reference[:1]])
        if longest:
            self._keep(path, photo)
        return photo

    def _opened(self, sealed: str) -> bytes | None:
        try:
            return self._seal.decrypt(base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)), None)
        except (InvalidTag, binascii.Error):
            return None

    def _read(self, reference: bytes) -> tuple[bytes, str]:
        try:
            if reference.startswith(_FILE):
                file = Path(reference[1:].decode())
                if file.stat().st_size > SURVEY.bytes:
                    raise InputError(f"{file} is larger than {SURVEY.bytes} bytes")
                data = file.read_bytes()
                return data, read_header(data, SURVEY).format
            if self._store is None:
                raise StorageError("there is no store of observations")
            if reference.startswith(_OF_STORE) and self._hidden(reference[1:].hex()):
                raise StorageError("hidden from everybody but its author")
            return self._of_store(self._store, reference[1:].hex())
        except (OSError, InputError, StorageError) as error:
            raise refuse(HTTPStatus.NOT_FOUND, "this photo is not there any more", "media") from error

    @staticmethod
    def _of_store(store: ObservationStore, digest: str) -> tuple[bytes, str]:
        try:
            return store.images.get(digest, "jpg"), "jpg"
        except StorageError:
            return store.images.get(digest, "png"), "png"

    def _keep(self, path: str, photo: Photo) -> None:
        with self._lock:
            self._drop(path)
            self._kept[path] = photo, time.monotonic() + _KEPT_S
            self._kept_bytes += len(photo.data)
            while self._kept_bytes > _KEPT_BYTES:
                self._drop(next(iter(self._kept)))

    def _drop(self, path: str) -> None:
        photo, _ = self._kept.pop(path, (None, 0.0))
        self._kept_bytes -= len(photo.data) if photo is not None else 0

    def forget(self) -> None:
        """Make every small photo anew: one may have been taken back."""
        with self._lock:
            self._kept.clear()
            self._kept_bytes = 0


def _named(kind: str) -> str:
    return "jpeg" if kind == "jpg" else kind
