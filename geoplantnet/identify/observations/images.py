"""Files of images by their content: `ab/abcdef...jpg` below a folder or any address fsspec knows. The same bytes are stored once.

Bytes are stored as they came; what cameras write into them (EXIF) is for who takes images in to look at or strip before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from geoplantnet.errors import InputError, StorageError
from geoplantnet.storage import write_beside

FORMATS = {"jpg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n"}
"""Kinds of images that are taken, and their first bytes."""
LARGEST = 20_000_000
"""Bytes of an image, at most."""


def format_of(data: bytes) -> str:
    """`jpg` or `png`, by the first bytes. Raises InputError for another file, an empty one, or one above `LARGEST`."""
    if len(data) > LARGEST:
        raise InputError(f"an image of {len(data):,} bytes; at most {LARGEST:,} are taken. Send it smaller")
    for kind, begin in FORMATS.items():
        if data.startswith(begin):
            return kind
    raise InputError(f"a file that begins with {data[:8]!r} is neither JPEG nor PNG; send one of these")


class ImageFiles:
    """A folder of images, local or remote."""

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        self._files, self._root = fsspec.core.url_to_fs(self.url)

    def put(self, data: bytes) -> tuple[str, str]:
        """Store an image -> (SHA-256 in hex, format). Raises InputError for what is none, StorageError when there is no space."""
        kind, digest = format_of(data), hashlib.sha256(data).hexdigest()
        path = self._path(digest, kind)
        try:
            if not (self._files.exists(path) and self._files.size(path) == len(data)):
                self._write(path, data)
        except OSError as error:
            raise StorageError(f"cannot store an image in {self.url}: {error.strerror or error}") from error
        return digest, kind

    def get(self, digest: str, kind: str) -> bytes:
        """The bytes of an image. Raises StorageError where they are missing or others than were stored."""
        try:
            data: bytes = self._files.cat_file(self._path(digest, kind))
        except OSError as error:
            raise StorageError(f"image {digest}.{kind} is not in {self.url}: {error}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise StorageError(f"image {digest}.{kind} in {self.url} has other bytes than were stored; bring back a copy")
        return data

    def found(self) -> Iterator[str]:
        """Names of all files, such as `abcdef...jpg`."""
        for path in self._files.find(self._root):
            yield path.rpartition("/")[2]

    def _path(self, digest: str, kind: str) -> str:
        return f"{self._root}/{digest[:2]}/{digest}.{kind}"

    def _write(self, path: str, data: bytes) -> None:
        if isinstance(self._files, LocalFileSystem):
            with write_beside(path) as temporary:
                temporary.write_bytes(data)
        else:  # stores of objects show one whole or not at all
            self._files.pipe_file(path, data)
