"""How large a photo may be, and why one is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from geoplantnet.errors import InputError

Kind = Literal["too-large", "too-many-pixels", "not-an-image", "unsupported", "damaged", "too-slow"]
"""too-large: more bytes than the limit. too-many-pixels: more pixels than the limit. not-an-image: neither JPEG nor PNG.
unsupported: a JPEG or PNG of a sort that is not taken. damaged: broken, or cut. too-slow: decoding took longer than it may."""


class RefusedPhoto(InputError):
    """A photo that is not taken; the message says what to send."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self._kind = kind

    @property
    def kind(self) -> Kind:
        """One of `Kind`: stable, for programs."""
        return self._kind

    def __reduce__(self) -> tuple[type[RefusedPhoto], tuple[Kind, str]]:
        return type(self), (self._kind, str(self))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a photo is allowed, held to before anything of it is decoded."""

    bytes: int = 20_000_000
    """Size of the file."""
    pixels: int = 25_000_000
    """Width times height."""

    def __post_init__(self) -> None:
        if self.bytes < 1 or self.pixels < 1:
            raise InputError(f"limits of {self.bytes} bytes and {self.pixels} pixels; both have to be above 0")


IDENTIFY = Limits()
"""Of a photo of one plant."""
SURVEY = Limits(bytes=52_428_800, pixels=50_000_000)
"""Of a photo of a plot, which is cut into tiles."""
