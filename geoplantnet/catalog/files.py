"""Files that leave the store: names that every system takes, and the SHA-256 that vouches for each."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path

from geoplantnet.errors import InputError
from geoplantnet.storage import sha256, write_beside

SUMS = "SHA256SUMS"
"""In the format of coreutils: `sha256sum -c SHA256SUMS` checks a folder."""

_SAFE = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
_DEVICES = re.compile(r"con|prn|aux|nul|(com|lpt)\d")
"""Names that Windows keeps to itself."""
_LINE = re.compile(r"(?P<sum>[0-9a-f]{64}) [ *](?P<name>[^/\\]+)")


def stem_of(name: str, *, taken: Collection[str] = ()) -> str:
    """A name as part of a file's: itself where that is safe and not `taken`, else its letters and digits and eight digits of its SHA-256.

    Two names never share one, not even where capital letters do not count.
    """
    if _SAFE.fullmatch(name) and not _DEVICES.fullmatch(name) and name not in taken:
        return name
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60]
    return f"{words or 'name'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def read_sums(folder: Path) -> dict[str, str]:
    """File name -> SHA-256 (hex) that a folder's list promises; empty without a list. Raises InputError for a line that is none."""
    path = folder / SUMS
    if not path.is_file():
        return {}
    sums = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise InputError(f"{path}, line {number}: {line[:80]!r} is no SHA-256 and name of a file; mend or delete the list")
        sums[match["name"]] = match["sum"]
    return sums


def vouch(folder: Path, files: Iterable[Path]) -> Path:
    """Commit the sums of some files of a folder, beside those of others that were listed and are still there."""
    listed = {name: digest for name, digest in read_sums(folder).items() if (folder / name).is_file()}
    return _write(folder, listed | {file.name: sha256(file) for file in files})


def disown(folder: Path, names: Collection[str]) -> None:
    """Take files off a folder's list, which are about to be replaced."""
    listed = read_sums(folder)
    if not listed.keys().isdisjoint(names):
        _write(folder, {name: digest for name, digest in listed.items() if name not in names})


def _write(folder: Path, sums: dict[str, str]) -> Path:
    with write_beside(folder / SUMS) as temporary:
        temporary.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())), encoding="utf-8")
    return folder / SUMS
