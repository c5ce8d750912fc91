"""Every error the library raises on purpose, grouped by what a caller does next.

    GeoPlantNetError
    ├── UsageError            exit 2    call it differently (a wrong verb, flag or argument)
    ├── ConfigurationError    exit 3    mend the recipe (file, key, value, allowed, nearest spelling)
    ├── InputError            exit 4    mend or replace the data
    │   ├── CrsError                    a raster or table without a CRS, or in the wrong one
    │   ├── RasterError                 a raster that cannot be read, or holds nothing here
    │   │   └── NoDataError             every pixel is nodata over the asked extent
    │   ├── OccurrenceError             a table that is no Darwin Core table
    │   ├── CubeError                   a cube that breaks its contract
    │   ├── ModelError                  a checkpoint that does not fit what it is given
    │   └── LookupFailed                a name that is not there
    │       ├── UnknownSpecies
    │       ├── UnknownTile             a tile id that is malformed or outside the grid
    │       └── LayerNotFound
    ├── PartialResult         exit 5    some tiles failed and are named; run again after mending them
    ├── StorageError          exit 6    the store is full, locked by nobody we know, or damaged
    │   └── IntegrityError              bytes that differ from their manifest
    ├── TryAgain              exit 75   nothing is wrong: another run holds the store, a server is busy
    └── RequestError          HTTP 400  a request a server refuses (serving maps it to an OGC code)

`kind` is stable across versions and safe to match on; the message is for people.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class GeoPlantNetError(Exception):
    """Base of all; `exit_code` is what the command line ends with."""

    exit_code: ClassVar[int] = 1

    @property
    def kind(self) -> str:
        """The class name: stable, for programs."""
        return type(self).__name__


class UsageError(GeoPlantNetError):
    exit_code = 2


class ConfigurationError(GeoPlantNetError):
    exit_code = 3


class InputError(GeoPlantNetError):
    exit_code = 4


class CrsError(InputError):
    pass


class RasterError(InputError):
    pass


class NoDataError(RasterError):
    pass


class OccurrenceError(InputError):
    pass


class CubeError(InputError):
    pass


class ModelError(InputError):
    pass


class LookupFailed(InputError):
    pass


class UnknownSpecies(LookupFailed):
    pass


class UnknownTile(LookupFailed):
    pass


class LayerNotFound(LookupFailed):
    pass


class PartialResult(GeoPlantNetError):
    exit_code = 5


class StorageError(GeoPlantNetError):
    exit_code = 6


class IntegrityError(StorageError):
    pass


class TryAgain(GeoPlantNetError):
    exit_code = 75


class RequestError(GeoPlantNetError):
    exit_code = 2


def did_you_mean(name: str, known: Iterable[str], *, limit: int = 3) -> str:
    """The nearest spellings as a sentence to append to an error; empty when nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=limit, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
