"""`geoplantnet export --format ebvcube`: species of a run's tiles as one EBVCube netCDF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from geoplantnet import __version__
from geoplantnet.assemblages.assemblage import block_side, open_assemblage
from geoplantnet.assemblages.stores import open_species_tile
from geoplantnet.catalog.ebvcube import About, Group, Part, write_ebvcube
from geoplantnet.config.rooms import bounds_of
from geoplantnet.errors import StorageError, UsageError
from geoplantnet.taxonomy import SpeciesList
from pipelines.compute_indicators import INDICATORS
from pipelines.context import Run
from pipelines.map_species import MAP
from pipelines.maps import current
from pipelines.sensitive import generalisations, require_told, withheld
from pipelines.tables import stored_species
from pipelines.trained import kinds_of

UNSTATED = "not stated"


def export_ebvcube(
    run: Run,
    path: Path,
    *,
    species: Sequence[str] = (),
    resolution: int | None = None,
    creator: str = UNSTATED,
    institution: str = UNSTATED,
    email: str = UNSTATED,
    created: date | None = None,
) -> tuple[Path, int]:
    """Write the probabilities of some species (names or ids; none = all) over the tiles that are up to date; also says how many these are.

    `resolution` in metres: the cells', or by default 1,000, whose values are means of the cells of a block. Raises UsageError for another
    one and for a species that is withheld, UnknownSpecies with the nearest spelling, StorageError when no tile is up to date.
    """
    block = run.grid.cell_size * block_side(run.grid)
    resolution = resolution or block
    if resolution not in (block, run.grid.cell_size):
        raise UsageError(f"--resolution may be {run.grid.cell_size} (the cells) or {block} (means of them), got {resolution}")
    axis = stored_species(run)
    silent = withheld(run)
    chosen = [axis.index_of(name) for name in dict.fromkeys(species)] or [k for k in range(len(axis)) if k not in silent]
    require_told(run, axis, chosen)
    sensitive = generalisations(run)
    coarse = [f"{axis[k].scientific_name}: {sensitive[axis[k].taxon_id]}" for k in chosen if axis[k].taxon_id in sensitive]
    tiles = current(run, MAP, INDICATORS)
    if not tiles:
        raise StorageError(f"no tile in {run.store} is up to date; make them with `geoplantnet run`")
    west, south, east, north = bounds_of(run.grid, tuple(tiles))
    geobox = GeoBox.from_bbox((west, south, east, north), run.grid.crs, resolution=resolution)
    start, end = (datetime.fromisoformat(moment) for moment in run.recipe.interval)
    area = f"{run.recipe.map.plot_area:g} m2"
    written = write_ebvcube(
        path,
        _parts(run, tiles, chosen, resolution, (west, north), means=resolution == block),
        about=About(
            title=run.recipe.title,
            summary=f"Predicted probability of presence on a plot of {area}. {run.recipe.description} {run.recipe.notice}".strip(),
            source=f"geoplantnet {__version__}: {' and '.join(kinds_of(run.model)).replace('deep-sdm', 'deep-SDM')} of {', '.join(m.name for m in run.model_modalities)}",
            licence=run.recipe.licence,
            created=created or date.today(),
            creator_name=creator,
            creator_institution=institution,
            creator_email=email,
            place=f"{len(tiles)} meta-tiles of {run.grid.tile_size // 1000} km: {', '.join(tiles[:6])}{' ...' if len(tiles) > 6 else ''}",
            comment="; ".join((*run.recipe.attribution, *coarse)),
        ),
        species=SpeciesList(checklist=axis.checklist, taxa=tuple(axis[k] for k in chosen)),
        geobox=geobox,
        times=[(start, end)],
        metrics=[Group(standard_name="Probability of presence", long_name=f"Probability of finding the species on a plot of {area}")],
    )
    return written, len(tiles)


def _parts(
    run: Run, tiles: Sequence[str], chosen: Sequence[int], resolution: int, corner: tuple[float, float], *, means: bool
) -> Iterator[Part]:
    """Tile by tile; at the cells' resolution species by species, too."""
    for tile_id in tiles:
        left, _, _, top = run.tile(tile_id).bounds
        y, x, side = (round(gap / resolution) for gap in (corner[1] - top, left - corner[0], run.grid.tile_size))
        window = slice(y, y + side), slice(x, x + side)
        if means:
            yield Part(
                None, 0, slice(0, len(chosen)), 0, *window, open_assemblage(run.assemblage(tile_id), run.grid).means[np.asarray(chosen)]
            )
        else:
            mapped = open_species_tile(run.predictions(tile_id), run.grid)
            for i, k in enumerate(chosen):
                yield Part(None, 0, slice(i, i + 1), 0, *window, mapped.species_map(k)[None])
