"""What to export of a run: which tiles, species, indicators and region. Every format is given one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from geoplantnet.errors import StorageError, UsageError, did_you_mean
from geoplantnet.grid.region import Region
from geoplantnet.grid.tile_grid import MetaTile
from geoplantnet.taxonomy import SpeciesList
from geoplantnet.taxonomy.species_list import Taxon
from pipelines.change import CHANGE
from pipelines.context import Run
from pipelines.maps import current
from pipelines.plan import Stage
from pipelines.sensitive import generalisations, require_told, withheld
from pipelines.tables import stored_species


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A part of what was mapped."""

    run: Run
    tiles: tuple[MetaTile, ...]
    """Tiles that are up to date and hold a cell of the region."""
    axis: SpeciesList
    """All species of the run."""
    species: tuple[int, ...]
    """Positions on the axis, in the order asked for."""
    indicators: tuple[str, ...] = ()
    """Names of their rasters; of a scenario also `change`."""
    region: Region | None = None
    """None = everywhere."""

    @property
    def every_species(self) -> bool:
        """All but those withheld."""
        return len(self.species) == len(self.axis) - len(withheld(self.run))

    @cached_property
    def generalisations(self) -> dict[str, str]:
        """What is said of every sensitive taxon id."""
        return generalisations(self.run)

    @cached_property
    def taxa(self) -> tuple[Taxon, ...]:
        """The chosen species."""
        return tuple(self.axis[k] for k in self.species)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote."""

    files: tuple[Path, ...]
    tiles: int
    """Tiles it was made from."""
    words: str = ""
    """What a person should know about it, as a sentence."""
    where: str = ""
    """Where it went, in the place of what was said, which may hold a password."""


def select(
    run: Run,
    *,
    stages: Sequence[Stage[Run]],
    species: Sequence[str] = (),
    indicators: Sequence[str] = (),
    region: Path | None = None,
) -> Selection:
    """Look up what is asked for. `species` are names or ids; without any, and without indicators, it is all species.

    Tiles are those that all `stages` have made of what is there today. Raises UnknownSpecies and UsageError with the nearest spelling,
    UsageError for a species that is withheld; StorageError when no tile is up to date, InputError, CrsError or UnknownTile for a region that cannot be read or lies elsewhere.
    """
    axis, known = stored_species(run), (*run.recipe.indicators, *((CHANGE,) if run.scenario else ()))
    for name in indicators:
        if name == CHANGE and not run.scenario:
            raise UsageError(f"{CHANGE!r} is of a scenario against the recipe's own map; say which by --scenario")
        if name not in known:
            raise UsageError(
                f"{name!r} is none of the recipe's indicators: {', '.join(known) or 'there are none'}.{did_you_mean(name, known)}"
            )
    chosen, silent = tuple(dict.fromkeys(axis.index_of(name) for name in species)), withheld(run)
    require_told(run, axis, chosen)
    within = Region.read(region, run.grid) if region else None
    tiles = tuple(run.tile(tile_id) for tile_id in current(run, *stages))
    if not tiles:
        raise StorageError(f"no tile in {run.store} is up to date; make them with `geoplantnet run`")
    return Selection(
        run=run,
        tiles=within.tiles(tiles) if within else tiles,
        axis=axis,
        species=chosen or (() if indicators else tuple(k for k in range(len(axis)) if k not in silent)),
        indicators=tuple(dict.fromkeys(indicators)),
        region=within,
    )
