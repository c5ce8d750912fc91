"""An index as a folder of plain arrays.

Numpy alone reads it:

index.json      format, version, bits, dimensions, images, network, floras, and the SHA-256 of each file beside it
planes.npy      (bits, d) float32; offsets.npy (bits,) float32: the hashing
codes.npy       (n, bits / 8) uint8
features.npy    (n, d) float16, of length 1
images.json     names of the images, and the words of the other columns
columns.npy     (n, columns) int32: each image's words, by position
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError, IntegrityError
from geoplantnet.identify.similarity.images import ImageTable
from geoplantnet.identify.similarity.rmmh import Hashing
from geoplantnet.storage import json_text, sha256, write_beside

FORMAT, VERSION = "geoplantnet images by similarity", 1
CHUNK = 10_000
"""Rows of features written at a time."""
_FILES = ("planes.npy", "offsets.npy", "codes.npy", "features.npy", "images.json", "columns.npy")
_TRIES, _PAUSE = 5, 0.1
"""While a folder is being replaced it is away for a moment."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """What an index holds."""

    hashing: Hashing
    floras: Mapping[str, Collection[str]]
    network: str
    table: ImageTable
    codes: npt.NDArray[np.uint8]
    features: npt.NDArray[np.float16]
    """(n, d); of an index that was opened, mapped from its file."""


def write(folder: Path, contents: Contents, features: Iterable[npt.NDArray[np.float16]]) -> None:
    """Commit an index, its features from parts. Raises InputError for a folder that holds something else, which stays."""
    hashing, table = contents.hashing, contents.table
    if folder.exists() and not (folder / "index.json").is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} holds something that is no index; save to an empty or new folder")
    n, d = len(table), hashing.dimensions
    with write_beside(folder) as temporary:
        temporary.mkdir()
        np.save(temporary / "planes.npy", hashing.planes)
        np.save(temporary / "offsets.npy", hashing.offsets)
        np.save(temporary / "codes.npy", contents.codes)
        np.save(temporary / "columns.npy", table.codes.view())
        with (temporary / "features.npy").open("wb") as stream:
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False, "shape": (n, d)}
            np.lib.format.write_array_header_1_0(stream, header)
            for part in features:
                stream.write(np.ascontiguousarray(part).tobytes())
        words = json.dumps({"names": table.names, "words": table.words}, ensure_ascii=False, separators=(",", ":"))
        (temporary / "images.json").write_text(words, encoding="utf-8")
        card = {
            "format": FORMAT,
            "version": VERSION,
            "bits": hashing.bits,
            "dimensions": d,
            "images": n,
            "network": contents.network,
            "floras": {name: sorted(species) for name, species in contents.floras.items()},
            "files": {name: sha256(temporary / name) for name in _FILES},
        }
        (temporary / "index.json").write_text(json_text(card), encoding="utf-8")


def read(folder: Path, *, verify: bool) -> Contents:
    """The index in a folder; see `ImageIndex.open`."""
    for last in (*[False] * (_TRIES - 1), True):
        before = _identity(folder)
        try:
            contents = _read(folder, verify=verify)
        except (InputError, IntegrityError):
            if last or (before is not None and _identity(folder) == before):
                raise
        else:
            if last or _identity(folder) == before:
                return contents
        time.sleep(_PAUSE)  # another one took its place while it was read
    raise AssertionError


def _identity(folder: Path) -> int | None:
    try:
        return folder.stat().st_ino
    except OSError:
        return None


def _read(folder: Path, *, verify: bool) -> Contents:
    card = _card(folder)
    for name in _FILES:
        if (verify or name != "features.npy") and card["files"].get(name) != _digest(folder / name):
            raise IntegrityError(f"{folder / name} differs from the SHA-256 in index.json; index the images anew, or restore the folder")
    try:
        arrays = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("planes", "offsets", "codes", "columns")}
        n, d = int(card["images"]), int(card["dimensions"])
        features = np.load(folder / "features.npy", mmap_mode="r" if n else None, allow_pickle=False)
        kept = json.loads((folder / "images.json").read_text(encoding="utf-8"))
        hashing = Hashing(planes=arrays["planes"], offsets=arrays["offsets"])
        shapes = {
            "planes": (arrays["planes"], (card["bits"], d), np.float32),
            "offsets": (arrays["offsets"], (card["bits"],), np.float32),
            "codes": (arrays["codes"], (n, card["bits"] // 8), np.uint8),
            "columns": (arrays["columns"], (n, len(ImageTable.WORDS)), np.int32),
            "features": (features, (n, d), np.float16),
        }
        for name, (array, shape, kind) in shapes.items():
            if array.shape != shape or array.dtype != kind:
                raise IntegrityError(f"{name}.npy of {folder} is {array.dtype} {array.shape}; {np.dtype(kind)} {shape} was expected")
        words = {word: kept["words"][word] for word in ImageTable.WORDS}
        most = np.array([len(words[word]) for word in ImageTable.WORDS])
        if len(kept["names"]) != n or (arrays["columns"] < 0).any() or (arrays["columns"] >= most).any():
            raise IntegrityError(f"images.json of {folder} does not fit its columns: {len(kept['names'])} names for {n} images")
        floras = {name: frozenset(species) for name, species in card["floras"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"the index in {folder} cannot be read: {error}; index the images anew, or restore the folder") from error
    table = ImageTable(kept["names"], words, arrays["columns"])
    return Contents(hashing=hashing, floras=floras, network=str(card["network"]), table=table, codes=arrays["codes"], features=features)


def _card(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{folder} holds no index of images: index.json is missing; `geoplantnet identify index` makes one") from error
    except (OSError, ValueError) as error:
        raise IntegrityError(f"index.json of {folder} cannot be read: {error}; index the images anew, or restore the folder") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise InputError(f"index.json of {folder} is of another program; {FORMAT!r} was expected as its format")
    if card.get("version") != VERSION:
        raise InputError(
            f"the index in {folder} is of version {card.get('version')!r}, this program reads {VERSION}; update it, or index the images anew"
        )
    missing = {"bits", "dimensions", "images", "network", "floras", "files"} - card.keys()
    if missing or not isinstance(card["files"], dict):
        raise IntegrityError(
            f"index.json of {folder} lacks {', '.join(sorted(missing)) or 'its files'}; index the images anew, or restore the folder"
        )
    return card


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read: {error.strerror}; index the images anew, or restore the folder") from error
