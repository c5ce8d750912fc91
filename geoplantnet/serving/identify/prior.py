"""The map as evidence for photos: how likely each species of a net is at a place, from the store that a server publishes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError
from geoplantnet.serving.atlas import Atlas
from geoplantnet.serving.cache import Cache
from geoplantnet.serving.crs import CRS84, transformer
from geoplantnet.serving.here import applicable, tile_at
from geoplantnet.taxonomy import SpeciesList

OUTSIDE = 0.5
"""Trust in the map outside of its model's area of applicability."""
_CACHE_BYTES = 32_000_000
_NONE = 64  # bytes of knowing that there is nothing


def tells_species(atlas: Atlas) -> bool:
    """Whether a published store holds predictions of species: one of rasters alone is no evidence for photos."""
    return atlas.today.mosaic.predictions is not None and atlas.species is not None


def positions_on_map(atlas: Atlas, species: SpeciesList) -> npt.NDArray[np.intp]:
    """(species,): of each species of a net's list, its position among those of the map (`atlas.species.species`); -1 where the map does not show it.

    By taxonID where both lists are of one checklist, else by scientific name: an id of another checklist may be another plant's.
    """
    if atlas.species is None:
        return np.full(len(species), -1, np.intp)
    own, shown = atlas.species.species, {taxon.taxon_id for taxon in atlas.taxa}
    by_id = {taxon.taxon_id: i for i, taxon in enumerate(own) if taxon.taxon_id in shown} if own.checklist == species.checklist else {}
    by_name = {taxon.scientific_name: i for i, taxon in enumerate(own) if taxon.taxon_id in shown}
    return np.array([by_id.get(taxon.taxon_id, by_name.get(taxon.scientific_name, -1)) for taxon in species], np.intp)


class MapPrior:
    """A `PlacePrior` of a published map: today's. Safe to share between threads.

    Species are found in the map as `positions_on_map` does. A genus of the net's list that is none of the
    map's is there where any of its species is. Species that the map withholds are not known to it: an answer must not tell where they grow. Those told in squares are read so.
    """

    def __init__(self, atlas: Atlas, species: SpeciesList) -> None:
        """`species`: the net's. Raises InputError for a store published without predictions of species."""
        if not tells_species(atlas):
            raise InputError(
                f"{atlas.catalog.root} is published without species; map them (map_species) and publish anew, or identify without a map"
            )
        overview = atlas.species
        assert overview is not None
        self._atlas, self._species = atlas, species
        own, shown = overview.species, {taxon.taxon_id for taxon in atlas.taxa}
        self._at = positions_on_map(atlas, species)
        self._genera = {
            k: np.array(members, np.intp)
            for k, taxon in enumerate(species)
            if self._at[k] < 0 and taxon.genus == taxon.scientific_name
            if (members := [i for i, other in enumerate(own) if other.genus == taxon.genus and other.taxon_id in shown])
        }
        self._cells = Cache(_CACHE_BYTES)

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """(species,): whether the map knows it."""
        found = self._at >= 0
        found[list(self._genera)] = True
        return found

    def at(self, longitude: float, latitude: float) -> npt.NDArray[np.float32] | None:
        """(species,): p(present) in the cell there, NaN = not known; None outside of the map, and where it has no data. Raises what reading a tile raises."""
        epoch = self._atlas.today
        predictions = epoch.mosaic.predictions
        assert predictions is not None
        easting, northing = transformer(CRS84.name, epoch.catalog.crs).transform(longitude, latitude)
        tile = tile_at(epoch, easting, northing) if math.isfinite(easting) and math.isfinite(northing) else None
        if tile is None:
            return None
        west, _, _, north = tile.bounds
        row, column = math.floor((north - northing) / predictions.cell), math.floor((easting - west) / predictions.cell)

        def read() -> npt.NDArray[np.float32] | None:
            if math.isnan(float(predictions.sets(tile).threshold[row, column])):
                return None
            return self._of_net(predictions.opened(tile).at(row, column)[0])

        return self._cells.get((tile.id, row, column), read, lambda p: _NONE if p is None else p.nbytes)

    def trust(self, longitude: float, latitude: float) -> float:
        """1 within the area of applicability, `OUTSIDE` beyond; 1 where nobody knows."""
        epoch = self._atlas.today
        easting, northing = transformer(CRS84.name, epoch.catalog.crs).transform(longitude, latitude)
        if not (math.isfinite(easting) and math.isfinite(northing)):
            return OUTSIDE
        return OUTSIDE if applicable(epoch, easting, northing) is False else 1.0

    def _of_net(self, p: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The map's probabilities in the order of the net's species."""
        found = np.where(self._at >= 0, p[np.maximum(self._at, 0)], np.float32(np.nan)).astype(np.float32)
        for k, members in self._genera.items():
            each = p[members]
            if not np.isnan(each).all():
                found[k] = 1 - np.prod(1 - np.nan_to_num(each))
        found.flags.writeable = False  # shared by all who ask
        return found
