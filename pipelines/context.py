"""`Run`: a recipe made concrete (grid, tiles, modalities, sources) and where its products lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from geoplantnet.config.load import find_recipe, load_modality, load_recipe, load_tile_ids, modality_folders
from geoplantnet.config.recipe import Recipe
from geoplantnet.config.rooms import grid_of, sources_of
from geoplantnet.cubes.modality import Modality
from geoplantnet.errors import ConfigurationError, UnknownTile, UsageError, did_you_mean
from geoplantnet.grid.tile_grid import MetaTile, TileGrid
from geoplantnet.indicators import indicator
from geoplantnet.sources.source import Source


@dataclass(frozen=True, kw_only=True)
class Run:
    """One recipe on one store. Small and picklable: every task gets one."""

    recipe: Recipe
    grid: TileGrid
    tiles: tuple[str, ...]
    """All tiles of the recipe."""
    chosen: tuple[str, ...]
    """The tiles whose own tasks are carried out; what concerns all tiles (records, world, training, catalog) stays whole."""
    modalities: tuple[Modality, ...]
    store: Path

    @classmethod
    def open(cls, recipe: str | Path, *, data: Path | None = None, store: Path | None = None, tiles: tuple[str, ...] = ()) -> Run:
        """Read a recipe and everything it names. `tiles` chooses some of the recipe's. Raises ConfigurationError."""
        file = find_recipe(recipe)
        read = load_recipe(file, data=data, store=store)
        try:
            grid = grid_of(read)
        except UsageError as error:
            raise ConfigurationError(f"{file}: grid: {error}") from error
        try:
            ids = load_tile_ids(read.grid.tiles, grid)
        except ConfigurationError as error:
            raise ConfigurationError(f"{file}: {error}") from error
        for tile_id in tiles:
            if tile_id not in ids:
                raise UnknownTile(f"{tile_id!r} is none of the {len(ids)} tiles of {file}.{did_you_mean(tile_id, ids)}")
        _check_indicators(read, file)
        modalities = tuple(_modality(name, read, file, grid) for name in read.modalities)
        _check_cellwise(read, modalities, grid, file)
        return cls(
            recipe=read,
            grid=grid,
            tiles=tuple(ids),
            chosen=tuple(dict.fromkeys(tiles)) or tuple(ids),
            modalities=modalities,
            store=read.store.resolve(),
        )

    @property
    def model_modalities(self) -> tuple[Modality, ...]:
        """The modalities the model learns from."""
        return tuple(m for m in self.modalities if self.recipe.modalities[m.name].train)

    @cached_property
    def sources(self) -> dict[str, Source]:
        """A source for every modality."""
        return sources_of(self.recipe, self.grid, self.tiles)

    def tile(self, tile_id: str) -> MetaTile:
        return self.grid.tile(tile_id)

    def cube(self, tile_id: str) -> Path:
        return self.store / "cubes" / f"{tile_id}.zarr"

    def latent(self, tile_id: str) -> Path:
        return self.store / "latent" / f"{tile_id}.zarr"

    def product(self, tile_id: str, name: str) -> Path:
        return self.store / "tiles" / tile_id / name

    @property
    def occurrences(self) -> Path:
        return self.store / "occurrences"

    @property
    def records(self) -> Path:
        return self.occurrences / "records"

    @property
    def model(self) -> Path:
        return self.store / "model"


def _modality(name: str, recipe: Recipe, file: Path, grid: TileGrid) -> Modality:
    """One modality of the recipe, fit for its grid and for what the map section says of its bands."""
    try:
        modality = load_modality(recipe.modalities[name].definition, modality_folders(file), key=name)
        modality.check_against(grid)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: modalities.{name}.definition: {error}") from error
    for band in recipe.map.unavailable.get(name, ()):
        if band not in modality.bands:
            near = did_you_mean(band, modality.bands)
            raise ConfigurationError(f"{file}: map.unavailable.{name}: {band!r} is none of its bands {', '.join(modality.bands)}.{near}")
    return modality


def _check_indicators(recipe: Recipe, file: Path) -> None:
    for name in recipe.indicators:
        try:
            indicator(name)
        except ConfigurationError as error:
            raise ConfigurationError(f"{file}: indicators: {error}") from error


def _check_cellwise(recipe: Recipe, modalities: tuple[Modality, ...], grid: TileGrid, file: Path) -> None:
    """Measured values and shares that cannot hold plants belong to single cells; refuse them of any other modality."""
    cellwise = {m.name for m in modalities if m.window == 1 and m.resolution == grid.cell_size}
    for where, names in (("training.measured", recipe.training.measured), ("map.unavailable", recipe.map.unavailable)):
        for name in names:
            if name not in cellwise:
                known = ", ".join(sorted(cellwise)) or "none here"
                raise ConfigurationError(f"{file}: {where}: {name!r} is not on the cells with a window of 1; those that are: {known}")
