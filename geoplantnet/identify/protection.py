"""Records of sensitive species that leave the store: where they are told, and what else of them is not said.

The place of a record is the middle of a square of the one lattice that maps and services use (decision 027): EPSG:3035, anchored at (0, 0), of
the side that `taxonomy.sensitive` gives a category in tiles of 25 km. Never random: averages undo noise. But a place can also be had from what
stands beside it: the same observer's other records of that hour, numbers that count up with time, a photo's background, a project's name, the
order of rows. So such a record keeps its taxon, square, month, licence and what is known of the determination, and nothing that ties it to another.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyproj import CRS, Geod, Transformer

from geoplantnet.errors import UsageError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.taxonomy.backbone import parse_name, slug
from geoplantnet.taxonomy.sensitive import WITHHELD, SensitiveRule, square

Floats = npt.NDArray[np.float64]
NOT_SENSITIVE = -1.0
_SHORTEST_KEY = 16
_STEP = 100
"""Metres that told uncertainties are rounded up to: one that is 13.37 m would know its record again."""


@dataclass(frozen=True, kw_only=True)
class Protection:
    """The rules, and the publisher's secret. Raises UsageError for a secret of fewer than 16 bytes."""

    rules: tuple[SensitiveRule, ...]
    """Of `taxonomy.sensitive.read_sensitive`. Records are told by the strictest rule of their taxon, whatever its region."""
    secret: bytes
    """From which ids of sensitive records are made: the same in every export, and nobody else finds the record by them."""
    grid: TileGrid = field(default_factory=TileGrid)
    """Whose tiles the squares divide; the CRS of the lattice."""

    def __post_init__(self) -> None:
        if len(self.secret) < _SHORTEST_KEY:
            raise UsageError(
                f"the secret has {len(self.secret)} bytes, wanted {_SHORTEST_KEY} or more; make one by `head -c 32 /dev/urandom > secret.key`"
            )

    def sides(self, taxa: pd.Series, names: pd.Series) -> Floats:
        """Metres of the squares of each taxon (ids and scientific names, row by row): `WITHHELD` or `NOT_SENSITIVE` where there are none.

        A rule is of the taxon whose id or name it names, without author; of all below a species; of all species where it names a genus.
        """
        pairs = pd.MultiIndex.from_arrays([taxa.astype(str), names.astype(str)])
        codes, distinct = pd.factorize(pairs)
        return np.array([self._side(*pair) for pair in distinct], float)[codes] if len(pairs) else np.zeros(0)

    def mentioned(self, texts: pd.Series) -> pd.Series:
        """Which texts name a sensitive taxon, wherever in them (bool, the index of `texts`)."""
        found = {text: self._side("", text) != NOT_SENSITIVE or self._anywhere.search(_fold(text)) is not None for text in texts.unique()}
        return texts.map(found).astype(bool)

    def unmatched(self, taxa: Iterable[tuple[str, str]]) -> tuple[SensitiveRule, ...]:
        """Rules that are of none of these (id, name): mistyped, or of plants that nobody recorded."""
        keys = {key for taxon, name in taxa for key in _keys(taxon, name)}
        return tuple(rule for rule in self.rules if not keys & _rule_keys(rule))

    def pseudonym(self, occurrence_id: str) -> str:
        """The id under which a sensitive record is told."""
        return "generalised-" + hmac.new(self.secret, occurrence_id.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]

    def _side(self, taxon: str, name: str) -> float:
        found = [self._by_key[key] for key in _keys(taxon, name) if key in self._by_key]
        if not found:
            return NOT_SENSITIVE
        return float(WITHHELD) if WITHHELD in found else max(found)

    @cached_property
    def _anywhere(self) -> re.Pattern[str]:
        names = sorted({key for rule in self.rules for key in _rule_keys(rule) if " " in key})
        return re.compile("|".join(map(re.escape, names)) or r"(?!)")

    @cached_property
    def _by_key(self) -> dict[str, float]:
        """Metres by what a rule names; of several rules the strictest."""
        found: dict[str, float] = {}
        for rule in self.rules:
            side = square(rule.category, self.grid.cells_per_side, self.grid.cell_size) * self.grid.cell_size
            for key in _rule_keys(rule):
                before = found.get(key, side)
                found[key] = WITHHELD if WITHHELD in (before, side) else max(before, side)
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Told:
    """Places as they are told, a row a record."""

    longitude: Floats
    """Degrees, WGS 84: middles of squares. NaN where the lattice does not reach: such a record cannot be told."""
    latitude: Floats
    uncertainty: Floats
    """Metres on the ground around the middle that hold the record's whole circle."""
    side: Floats
    """Metres, of its square."""


def told_places(longitude: Floats, latitude: Floats, uncertainty: Floats, lattice: Floats, crs: str) -> Told:
    """Places (degrees), their uncertainties and the sides of their lattice in `crs` (metres, > 0) -> where they are told, each (record,).

    A record less certain than the lattice's squares gets a square of whole ones of these: two lattices would cut each other into finer pieces.
    The uncertainty is the way from the middle to the farthest corner, on the ellipsoid, and the record's own, rounded up to 100 m.
    """
    reference = CRS.from_user_input(crs)
    forward, back = _transformers(reference.to_string())
    own = np.where(np.isfinite(uncertainty), uncertainty, 0.0)
    side = np.ceil(np.maximum(own, lattice) / lattice) * lattice
    x, y = forward.transform(longitude, latitude)
    east, north = (np.floor(np.asarray(axis, float) / side) * side + side / 2 for axis in (x, y))
    lon, lat = (np.asarray(axis, float) for axis in back.transform(east, north))
    reach, half = np.zeros(len(lon)), side / 2
    for right, up in ((-half, -half), (-half, half), (half, -half), (half, half)):
        corner = back.transform(east + right, north + up)
        reach = np.maximum(reach, Geod(ellps="WGS84").inv(lon, lat, *corner)[2])
    area = reference.area_of_use.bounds if reference.area_of_use else (-180.0, -90.0, 180.0, 90.0)
    inside = (longitude >= area[0]) & (longitude <= area[2]) & (latitude >= area[1]) & (latitude <= area[3])
    told = np.ceil((reach + own) / _STEP) * _STEP
    return Told(longitude=np.where(inside, lon, np.nan), latitude=np.where(inside, lat, np.nan), uncertainty=told, side=side)


def told_month(dates: Sequence[str]) -> list[str]:
    """ISO 8601 dates -> their month (2020-05), or year where they say no more; empty for none, and for an interval that is not within one."""
    return [_month(date) for date in dates]


def _month(date: str) -> str:
    ends = [re.match(r"\d{4}(-\d{2}(?!\d))?", end.strip()) for end in date.split("/")]
    found = {end.group() if end else "" for end in ends}
    if len(found) == 1:
        return found.pop()
    years = {text[:4] for text in found}
    return years.pop() if len(years) == 1 else ""


@lru_cache(maxsize=65_536)
def _keys(taxon: str, name: str) -> frozenset[str]:
    """What a rule can call a taxon by: id, name, species, genus."""
    parsed = parse_name(name)
    species = f"{parsed.genus} {parsed.epithets[0]}" if parsed.epithets else ""
    return frozenset(filter(None, (_fold(taxon), _fold(name), _fold(species), _fold(parsed.genus))))


def _rule_keys(rule: SensitiveRule) -> frozenset[str]:
    parsed = parse_name(rule.taxon)
    species = f"{parsed.genus} {parsed.epithets[0]}" if parsed.epithets else ""
    return frozenset(filter(None, (_fold(rule.taxon), _fold(species), slug(rule.taxon))))


def _fold(text: str) -> str:
    return " ".join(text.split()).casefold()


@lru_cache(maxsize=4)
def _transformers(crs: str) -> tuple[Transformer, Transformer]:
    return Transformer.from_crs("EPSG:4326", crs, always_xy=True), Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
