"""Files of images by their content: `ab/abcdef...jpg` below a folder or any address fsspec knows. The same bytes are stored once.

What cameras and editors write into them (EXIF with place and owner, thumbnails, texts; all but pixels and how the image is turned) is taken
out before, so an image is named by what is left of it (`identify.photos.stripped`). It is not decoded: who shows it to a net does that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from geoplantnet.errors import StorageError
from geoplantnet.identify.photos.container import parsed
from geoplantnet.identify.photos.limits import IDENTIFY, SURVEY, Limits
from geoplantnet.storage import write_beside

LARGEST = Limits(bytes=IDENTIFY.bytes, pixels=SURVEY.pixels)
"""Of an image that is stored."""


class ImageFiles:
    """A folder of images, local or remote."""

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        self._files, self._root = fsspec.core.url_to_fs(self.url)

    def put(self, data: bytes) -> tuple[str, str, int]:
        """Store an image without its metadata -> (SHA-256 in hex, format, bytes) of what is stored.

        Raises RefusedPhoto for what is no whole JPEG or PNG within `LARGEST`, StorageError when there is no space.
        """
        header, data = parsed(data, LARGEST)
        kind, digest = header.format, hashlib.sha256(data).hexdigest()
        path = self._path(digest, kind)
        try:
            if not (self._files.exists(path) and self._files.size(path) == len(data)):
                self._write(path, data)
        except OSError as error:
            raise StorageError(f"cannot store an image in {self.url}: {error.strerror or error}") from error
        return digest, kind, len(data)

    def get(self, digest: str, kind: str) -> bytes:
        """The bytes of an image. Raises StorageError where they are missing or others than were stored."""
        try:
            data: bytes = self._files.cat_file(self._path(digest, kind))
        except OSError as error:
            raise StorageError(f"image {digest}.{kind} is not in {self.url}: {error}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise StorageError(f"image {digest}.{kind} in {self.url} has other bytes than were stored; bring back a copy")
        return data

    def holds(self, digest: str, kind: str) -> bool:
        """Whether an image is there."""
        return bool(self._files.exists(self._path(digest, kind)))

    def remove(self, digest: str, kind: str) -> None:
        """Take an image away; one that is not there is. Raises StorageError."""
        try:
            self._files.rm_file(self._path(digest, kind))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StorageError(
                f"cannot remove an image from {self.url}: {error.strerror or error}; take the observation back again"
            ) from error

    def address(self, digest: str) -> str | None:
        """Where the image lies, as fsspec opens it; None where it is not there."""
        for kind in ("jpg", "png"):
            path = self._path(digest, kind)
            if self._files.exists(path):
                return str(self._files.unstrip_protocol(path)) if not isinstance(self._files, LocalFileSystem) else path
        return None

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
