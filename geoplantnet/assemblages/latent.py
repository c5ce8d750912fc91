"""The latent tile: what a model says about a tile, kept as z (y, x, d) and a species head instead of S rasters.

The probability of species k at a cell is one dot product:

    p_k = availability * sigmoid(z . w_k + b_k)

Quantising z to int8 with a scale per dimension keeps 10,000 species in the bytes of 64 MB a tile; the error it makes
is measured when the tile is written, and z stays float16 when it is too large.

The mean logit of an ensemble is one dot product, too: the members' vectors lie side by side in z, and the head's weights
are theirs, divided by their number (`sdm.ensemble.joined_head`). With a bias a member the tile gives each member's
probabilities back, and so how far they disagree (`spread`). It can also say where the model extrapolates: the dissimilarity
of a cell to the plots learnt from (`sdm.applicability`), kept in steps of a thousandth of the largest one inside.

Of a sensitive species the tile keeps means over squares, or nothing, and no weights: nothing in it says more (`generalised`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zarr
from odc.geo.geobox import GeoBox
from zarr.codecs import ZstdCodec

from geoplantnet.assemblages.assemblage import Assemblage, means_of, open_assemblage, require_list, require_whole
from geoplantnet.assemblages.coarse import WITHHELD, Coarse, Squares, coarse_from, means_over, stacked
from geoplantnet.assemblages.dissimilarity import inside_of, packed, unpacked
from geoplantnet.assemblages.sets import expected_f1_threshold
from geoplantnet.errors import IntegrityError, ModelError, StorageError, UsageError
from geoplantnet.grid.tile_grid import MetaTile, TileGrid
from geoplantnet.taxonomy.species_list import SpeciesList

Float = npt.NDArray[np.float32]

_FLOATS, _LATER_FLOATS = ("scale", "head_weights", "head_bias"), ("member_bias", "threshold")
"""Arrays of floating point numbers: that every tile has, and that some have."""
_ROWS = 32
"""Rows of z that are worked on at a time."""
MEAN_ERROR = 0.002
"""Largest mean |dp| that int8 may cost."""
TAIL_ERROR = 0.02
"""Largest 99.9th percentile of |dp| that int8 may cost."""
_NEVER = -30.0
"""Logit in a head's row that has been emptied: to a program that looks at the head alone the species is nowhere."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeciesHead:
    """One vector and one bias a species, in the order of the species list. Calibration is folded in."""

    species: SpeciesList
    weights: Float
    """(species, d)"""
    bias: Float
    """(species,), logits"""

    def __post_init__(self) -> None:
        if self.weights.shape[0] != len(self.species) or self.bias.shape != (len(self.species),):
            raise ModelError(
                f"species head is {self.weights.shape} + {self.bias.shape} for {len(self.species)} species; load the head that belongs to the list"
            )

    def probabilities(self, z: Float, species: slice = slice(None)) -> Float:
        """(n, d) latent vectors -> (species, n) probabilities, float32."""
        logits = self.weights[species] @ z.T
        logits += self.bias[species, None]
        return _sigmoid(logits)


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentTile:
    """Predictions of all species on one meta-tile. Arrays are (y, x, ...), rows north to south."""

    tile: MetaTile
    z: npt.NDArray[np.generic]
    """(y, x, d) int8 or float16 (see `scale`)."""
    scale: Float
    """(d,): latent value = z * scale."""
    valid: npt.NDArray[np.bool_]
    """(y, x): False where the model had nothing to predict from."""
    availability: Float
    """(y, x) in [0, 1]: share of the cell where plants can stand (1 - glacier - water ...); 1 where not asked for."""
    head: SpeciesHead
    stored_threshold: Float | None = None
    """(y, x): the species set's threshold where it is known already, such as `Assemblage.threshold`; see `threshold`."""
    attributes: Mapping[str, object] = field(default_factory=dict)
    """Model version, plot area in m2, epoch: what a map must state."""
    member_bias: Float | None = None
    """(member, species): biases of the members of an ensemble of equal shares, whose latent vectors of d / members values lie side
    by side in z; None = one member."""
    dissimilarity: Float | None = None
    """(y, x): dissimilarity index DI to the plots learnt from, NaN where none is comparable; None = not known of this model."""
    dissimilarity_threshold: float = np.nan
    """Largest DI inside the area of applicability."""
    assemblage: Assemblage | None = None
    """Species sets and means of 1 km, where they have been made."""
    coarse: Coarse | None = None
    """What is told of sensitive species, whose rows of the head are empty; None = no species is."""

    def __post_init__(self) -> None:
        if self.member_bias is not None and (
            self.member_bias.shape != (self.members, len(self.species)) or self.head.weights.shape[1] % self.members
        ):
            raise ModelError(
                f"members' biases are {self.member_bias.shape} for {len(self.species)} species and {self.head.weights.shape[1]} latent "
                "values; give every member one bias a species and as many latent values"
            )

    @property
    def species(self) -> SpeciesList:
        return self.head.species

    @property
    def members(self) -> int:
        """How many models were joined."""
        return 1 if self.member_bias is None else len(self.member_bias)

    @property
    def inside(self) -> npt.NDArray[np.bool_] | None:
        """(y, x): whether a cell lies in the area of applicability; False where DI is NaN, None where it is not known of the model."""
        return inside_of(self.dissimilarity, self.dissimilarity_threshold)

    @property
    def shape(self) -> tuple[int, int]:
        """Cells (y, x)."""
        return self.valid.shape[0], self.valid.shape[1]

    @property
    def geobox(self) -> GeoBox:
        return self.tile.geobox()

    @cached_property
    def threshold(self) -> Float:
        """(y, x): a species is in the cell's set when p exceeds it (MaxExp, see `sets.expected_f1_threshold`); NaN where not valid."""
        if self.stored_threshold is not None:
            return self.stored_threshold
        if self.assemblage is not None:
            return self.assemblage.threshold
        return np.asarray(expected_f1_threshold(self.blocks, self.shape), np.float32)

    @cached_property
    def _flat(self) -> Float:
        """(valid cells, d) latent values."""
        flat = self.z[self.valid].astype(np.float32)
        flat *= self.scale
        return flat

    def block(self, species: slice) -> Float:
        """Probabilities (species, y, x) of a slice of the species axis, float32, NaN where not valid."""
        p = self.head.probabilities(self._flat, species) * self.availability[self.valid]
        if self.coarse is not None:
            first, last, _ = species.indices(len(self.species))
            self.coarse.lay(p.T, slice(first, last), *np.nonzero(self.valid))
        out = np.full((p.shape[0], *self.shape), np.nan, np.float32)
        out[:, self.valid] = p
        return out

    def blocks(self, size: int = 64) -> Iterator[tuple[slice, Float]]:
        """All species in blocks of `size`: (slice of the species axis, probabilities (species, y, x))."""
        for start in range(0, len(self.species), size):
            part = slice(start, min(start + size, len(self.species)))
            yield part, self.block(part)

    def species_map(self, k: int, window: tuple[slice, slice] = (slice(None), slice(None)), level: int = 0) -> Float:
        """Probability (y, x) of species k over a window of rows and columns, NaN where not valid; see `species_tile.SpeciesTile`."""
        if level:
            return means_of(self.assemblage, k, level)[window]
        valid = self.valid[window]
        out = np.full(valid.shape, np.nan, np.float32)
        if self.coarse is not None and k in self.coarse.squares:
            rows, columns = (np.arange(n)[part] for n, part in zip(self.shape, window))
            return np.where(valid, self.coarse.of(k, rows[:, None], columns), out)
        if self.z.dtype == np.int8:
            from geoplantnet.assemblages import kernels  # numba takes a while to import, and few who open a tile draw a map of it

            weights, bias = self.head.weights[k] * self.scale, self.head.bias[k]
            kernels.map_of_integers(self.z[window], valid, weights, bias, self.availability[window], out)
            return out
        z = self.z[window][valid].astype(np.float32) * self.scale
        out[valid] = self.head.probabilities(z, slice(k, k + 1))[0] * self.availability[window][valid]
        return out

    def member(self, m: int) -> LatentTile:
        """What one member alone says of the tile; species sets keep the threshold of all. Raises UsageError for one there is not."""
        if not 0 <= m < self.members:
            raise UsageError(f"the tile has {self.members} members, numbered from 0; there is no {m}")
        return self if self.member_bias is None else replace(self._alone(m), stored_threshold=self.threshold)

    def _alone(self, m: int) -> LatentTile:
        """A member with sets and means of its own, which are not made until they are asked for."""
        if self.member_bias is None:
            return self
        d = self.z.shape[2] // self.members
        own = slice(m * d, (m + 1) * d)
        weights = self.head.weights[:, own] * np.float32(self.members)
        head = SpeciesHead(species=self.species, weights=weights, bias=self.member_bias[m])
        coarse = None if self.coarse is None else self.coarse.of_member(m)
        member = replace(self, z=self.z[..., own], scale=self.scale[own], head=head, member_bias=None, coarse=coarse)
        return replace(member, stored_threshold=None, assemblage=None)

    def spread_of(self, measure: Callable[[LatentTile], npt.NDArray[np.floating]]) -> Float:
        """Standard deviation between members of whatever `measure` makes of a tile, such as an indicator; 0 for one member.

        The members' own deviation (divided by their number): what seeds or folds disagree on, and not what none of them knows.
        NaN where a member has no value.
        """
        return _deviation(measure(self.member(m)) for m in range(self.members))

    def spread(self, k: int, window: tuple[slice, slice] = (slice(None), slice(None))) -> Float:
        """Standard deviation (y, x) between members of the probability of species k over a window, NaN where not valid."""
        return _deviation(self._alone(m).species_map(k, window) for m in range(self.members))

    def at(self, rows: npt.ArrayLike, columns: npt.ArrayLike) -> Float:
        """Probabilities (n, species) at cells, NaN where not valid."""
        r, c = np.atleast_1d(np.asarray(rows, int)), np.atleast_1d(np.asarray(columns, int))
        p = self.head.probabilities(self.z[r, c].astype(np.float32) * self.scale) * self.availability[r, c]
        if self.coarse is not None:
            self.coarse.lay(p.T, slice(0, len(self.species)), r, c)
        p[:, ~self.valid[r, c]] = np.nan
        return p.T


def _deviation(values: Iterable[npt.NDArray[np.floating]]) -> Float:
    """Standard deviation of arrays that come one after the other, by Welford 1962: one pass, no cancellation."""
    mean: npt.NDArray[np.float64] | float = 0.0
    squares: npt.NDArray[np.float64] | float = 0.0
    count = 0
    for count, value in enumerate(values, start=1):
        gap = np.asarray(value, np.float64) - mean
        mean = mean + gap / count
        squares = squares + gap * (value - mean)
    return np.sqrt(squares / count).astype(np.float32)


def quantise(
    z: Float, valid: npt.NDArray[np.bool_], head: SpeciesHead, *, sample: int = 2000
) -> tuple[npt.NDArray[np.generic], Float, dict[str, float]]:
    """Z (y, x, d) -> stored z, scale (d,), and the error made: int8 where it is small enough, else float16.

    The error is measured on up to `sample` evenly spaced valid cells, for all species: mean and 99.9th percentile of
    |dp| against the unquantised latent (limits MEAN_ERROR, TAIL_ERROR).
    """
    places = np.argwhere(valid)
    rows, columns = places[np.linspace(0, len(places) - 1, min(sample, len(places))).astype(int)].T if len(places) else places.T
    chosen = z[rows, columns]
    peak = np.zeros(z.shape[2], np.float32)
    for strip in _strips(z.shape[0]):
        np.maximum(peak, np.abs(z[strip][valid[strip]]).max(axis=0, initial=0.0), out=peak)
    scale = np.where(peak > 0, peak / 127, 1).astype(np.float32)
    exact = head.probabilities(chosen)
    error = np.abs(head.probabilities(np.rint(chosen / scale) * scale) - exact) if len(chosen) else np.zeros((1, 1), np.float32)
    mean, tail = float(error.mean()), float(np.quantile(error, 0.999))
    small = mean <= MEAN_ERROR and tail <= TAIL_ERROR
    stored = np.empty(z.shape, np.int8 if small else np.float16)
    for strip in _strips(z.shape[0]):
        clean = np.where(valid[strip][..., None], z[strip], 0)
        stored[strip] = np.rint(clean / scale) if small else clean
    if small:
        return stored, scale, {"dtype_bits": 8, "mean_dp": mean, "p999_dp": tail}
    error = np.abs(head.probabilities(chosen.astype(np.float16).astype(np.float32)) - exact)
    found = {"dtype_bits": 16, "mean_dp": float(error.mean()), "p999_dp": float(np.quantile(error, 0.999))}
    return stored, np.ones_like(scale), found


def emptied(head: SpeciesHead, species: Iterable[int]) -> SpeciesHead:
    """The head without what it says of some species, by position."""
    rows = list(species)
    weights, bias = head.weights.copy(), head.bias.copy()
    weights[rows], bias[rows] = 0, _NEVER
    return SpeciesHead(species=head.species, weights=weights, bias=bias)


def generalised(tile: LatentTile, squares: Squares) -> LatentTile:
    """The tile with means over squares in the place of some species' probabilities, of the members' own too, and none of those withheld.

    A mean is over the valid cells of a square. Their rows of the head are emptied: what is returned holds nothing finer.
    """
    if not squares:
        return tile
    told = [k for k, side in squares.items() if side != WITHHELD]
    means = {k: [means_over(tile.species_map(k), squares[k])] for k in told}
    for m in range(tile.members if tile.members > 1 and told else 0):
        alone = tile._alone(m)
        for k in told:
            means[k].append(means_over(alone.species_map(k), squares[k]))
    bias = None if tile.member_bias is None else tile.member_bias.copy()
    if bias is not None:
        bias[:, list(squares)] = _NEVER
    return replace(tile, head=emptied(tile.head, squares), member_bias=bias, coarse=stacked(squares, means))


def _strips(height: int) -> Iterator[slice]:
    for start in range(0, height, _ROWS):
        yield slice(start, min(start + _ROWS, height))


def write_latent(tile: LatentTile, path: str | os.PathLike[str]) -> None:
    """Write a latent tile as Zarr v3 at `path`, which must not exist (wrap it in `storage.write_beside`)."""
    attributes = {
        "tile": tile.tile.id,
        "crs": tile.tile.grid.crs,
        "tile_size": tile.tile.grid.tile_size,
        "cell_size": tile.tile.grid.cell_size,
        "species": tile.species.to_dict(),
        **tile.attributes,
    }
    if tile.dissimilarity is not None:
        attributes["dissimilarity_threshold"] = tile.dissimilarity_threshold
    root = zarr.create_group(str(path), zarr_format=3, attributes=attributes)
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "z": tile.z,
        "scale": tile.scale,
        "valid": tile.valid,
        "availability": np.rint(tile.availability * 255).astype(np.uint8),
        "head_weights": tile.head.weights,
        "head_bias": tile.head.bias,
    }
    if tile.member_bias is not None:
        arrays["member_bias"] = tile.member_bias
    if tile.coarse is not None:
        arrays |= tile.coarse.arrays()
    if tile.dissimilarity is not None:
        arrays["dissimilarity"] = packed(tile.dissimilarity, tile.dissimilarity_threshold)
    for name, values in arrays.items():
        # With a checksum: of a chunk with a flipped bit every second one would be read without complaint, as other values.
        codec = ZstdCodec(level=0, checksum=True)
        root.create_array(name, data=np.ascontiguousarray(values), chunks=tuple(min(n, 256) for n in values.shape), compressors=codec)


def open_latent(path: str | os.PathLike[str], grid: TileGrid, *, assemblage: str | os.PathLike[str] | None = None) -> LatentTile:
    """Read a latent tile, and its assemblage where a path to it is given.

    Raises StorageError when one is absent, IntegrityError when it cannot be a tile of `grid`, UsageError for an assemblage of another list.
    """
    if not Path(path).exists():
        raise StorageError(f"no latent tile at {path}; make it with `geoplantnet map`")
    try:
        root = zarr.open_group(str(path), mode="r")
        held = {name: np.asarray(array[...]) for name, array in root.arrays()}
        attributes: dict[str, object] = dict(root.attrs)
        made_on = attributes.pop("crs"), attributes.pop("tile_size"), attributes.pop("cell_size")
        if made_on != (grid.crs, grid.tile_size, grid.cell_size):
            raise IntegrityError(
                f"{path} was made on another grid than {grid.crs} {grid.tile_size} m / {grid.cell_size} m; map the tile again"
            )
        tile = _tile_of(held, attributes, grid)
        require_whole(path, held)
    except IntegrityError:
        raise
    except Exception as error:
        raise IntegrityError(f"{path} cannot be read as a latent tile ({error}); delete it and run again") from error
    if assemblage is None:
        return tile
    sets = open_assemblage(assemblage, grid)
    require_list(sets, tile.species.hash)
    return replace(tile, assemblage=sets)


def _tile_of(held: Mapping[str, npt.NDArray[np.generic]], attributes: dict[str, object], grid: TileGrid) -> LatentTile:
    """A tile from what a store holds; takes out of `attributes` what it has fields for. Raises whatever does not fit."""
    floats = {name: held[name].astype(np.float32) for name in (*_FLOATS, *_LATER_FLOATS) if name in held or name in _FLOATS}
    species = SpeciesList.from_dict(attributes.pop("species"))  # type: ignore[arg-type]
    edge = float(attributes.pop("dissimilarity_threshold")) if "dissimilarity" in held else np.nan  # type: ignore[arg-type]
    tile = LatentTile(
        tile=grid.tile(str(attributes.pop("tile"))),
        z=held["z"],
        scale=floats["scale"],
        valid=held["valid"].astype(bool),
        availability=held["availability"].astype(np.float32) / np.float32(255),
        head=SpeciesHead(species=species, weights=floats["head_weights"], bias=floats["head_bias"]),
        stored_threshold=floats.get("threshold"),
        attributes=attributes,
        member_bias=floats.get("member_bias"),
        dissimilarity=unpacked(held["dissimilarity"], edge) if "dissimilarity" in held else None,
        dissimilarity_threshold=edge,
    )
    side, d = grid.cells_per_side, tile.head.weights.shape[1]
    tile = replace(tile, coarse=coarse_from(held, len(species), tile.members, side))
    cellwise = {name: (side, side) for name in ("valid", "availability", "dissimilarity", "threshold")}
    for name, wanted in {"z": (side, side, d), "scale": (d,), **cellwise}.items():
        if name in held and held[name].shape != wanted:
            raise ValueError(f"{name} is {held[name].shape}, not {wanted}")
    return tile


def _sigmoid(logits: Float) -> Float:
    """In place, without overflow."""
    np.negative(np.abs(logits, out=(magnitude := np.empty_like(logits))), out=magnitude)
    np.exp(magnitude, out=magnitude)
    positive = 1 / (1 + magnitude)
    return np.where(logits >= 0, positive, magnitude * positive)
