"""`Run`: a recipe made concrete (grid, tiles, modalities, sources) and where its products lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from geoplantnet.config.load import find_recipe, load_modality, load_recipe, load_tile_ids, modality_folders
from geoplantnet.config.recipe import Recipe
from geoplantnet.config.rooms import grid_of, sources_of
from geoplantnet.cubes.modality import Modality
from geoplantnet.errors import ConfigurationError, UnknownTile, did_you_mean
from geoplantnet.grid.tile_grid import MetaTile, TileGrid
from geoplantnet.sources.source import Source


@dataclass(frozen=True, kw_only=True)
class Run:
    """One recipe on one store. Small and picklable: every task gets one."""

    recipe: Recipe
    grid: TileGrid
    tiles: tuple[str, ...]
    modalities: tuple[Modality, ...]
    store: Path

    @classmethod
    def open(cls, recipe: str | Path, *, data: Path | None = None, store: Path | None = None, tiles: tuple[str, ...] = ()) -> Run:
        """Read a recipe and everything it names. `tiles` keeps only these of the recipe's. Raises ConfigurationError."""
        file = find_recipe(recipe)
        read = load_recipe(file, data=data, store=store)
        grid = grid_of(read)
        ids = load_tile_ids(read.grid.tiles, grid)
        for tile_id in tiles:
            if tile_id not in ids:
                raise UnknownTile(f"{tile_id!r} is none of the {len(ids)} tiles of {file}.{did_you_mean(tile_id, ids)}")
        folders = modality_folders(file)
        modalities = tuple(load_modality(section.definition, folders, key=name) for name, section in read.modalities.items())
        for modality in modalities:
            try:
                modality.check_against(grid)
            except ConfigurationError as error:
                raise ConfigurationError(f"{file}: {error}") from error
        return cls(recipe=read, grid=grid, tiles=tiles or tuple(ids), modalities=modalities, store=read.store)

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
