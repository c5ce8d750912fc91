"""Recipe sections -> the value objects of each room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geoplantnet.config.recipe import (
    ClimateSection,
    LandCoverSection,
    RasterSection,
    Recipe,
    SentinelSection,
    SourceSection,
    TerrainSection,
    VirtualSource,
)
from geoplantnet.errors import ConfigurationError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.sources.climate import LapseRateClimate
from geoplantnet.sources.landcover import LandCoverSource
from geoplantnet.sources.raster import RasterSource
from geoplantnet.sources.sentinel2 import Sentinel2Scene
from geoplantnet.sources.source import Source
from geoplantnet.sources.terrain import TerrainSource
from geoplantnet.sources.virtual import (
    VirtualBioclim,
    VirtualClimate,
    VirtualLandCover,
    VirtualLandsat,
    VirtualLandscape,
    VirtualSentinel2,
    VirtualSpecies,
    VirtualTerrain,
)

_VIRTUAL: dict[str, Callable[[VirtualLandscape], Source]] = {
    "virtual-sentinel2": VirtualSentinel2,
    "virtual-landsat": VirtualLandsat,
    "virtual-climate": VirtualClimate,
    "virtual-bioclim": VirtualBioclim,
    "virtual-terrain": VirtualTerrain,
    "virtual-landcover": VirtualLandCover,
}


def grid_of(recipe: Recipe) -> TileGrid:
    """The recipe's grid."""
    return TileGrid(tile_size=recipe.grid.tile_size, cell_size=recipe.grid.cell_size)


def bounds_of(grid: TileGrid, tiles: tuple[str, ...]) -> tuple[int, int, int, int]:
    """West, south, east, north around tiles, metres."""
    west, south, east, north = zip(*(grid.tile(t).bounds for t in tiles))
    return min(west), min(south), max(east), max(north)


def landscape_of(recipe: Recipe, grid: TileGrid, tiles: tuple[str, ...]) -> VirtualLandscape:
    """The virtual landscape under the recipe's tiles. Raises ConfigurationError when the recipe has no world."""
    if recipe.world is None:
        raise ConfigurationError("the recipe has no `world:` section; add one to use virtual sources")
    bounds = bounds_of(grid, tiles)
    if recipe.world.relief == "fractal":
        return VirtualLandscape.fractal(bounds, seed=recipe.seed)
    return VirtualLandscape.on_dem(seed=recipe.seed, bounds=bounds)


def world_of(recipe: Recipe, grid: TileGrid, tiles: tuple[str, ...]) -> VirtualSpecies:
    """The virtual species of the recipe's world."""
    landscape = landscape_of(recipe, grid, tiles)
    assert recipe.world is not None
    return VirtualSpecies.generate(recipe.world.species, landscape=landscape, seed=recipe.seed)


def sources_of(recipe: Recipe, grid: TileGrid, tiles: tuple[str, ...]) -> dict[str, Source]:
    """A source for every modality, by name. Nothing is read yet."""
    return {name: _source(section.source, recipe, grid, tiles) for name, section in recipe.modalities.items()}


def _source(section: SourceSection, recipe: Recipe, grid: TileGrid, tiles: tuple[str, ...]) -> Source:
    place: dict[str, Any] = {"crs": grid.crs, "cell_size": float(grid.cell_size)}
    match section:
        case VirtualSource():
            return _VIRTUAL[section.kind](landscape_of(recipe, grid, tiles))
        case TerrainSection():
            return TerrainSource(dems=section.dems, **place)
        case ClimateSection():
            terrain = TerrainSource(dems=section.dems, **place) if section.dems else None
            return LapseRateClimate(
                temperature=section.temperature,
                precipitation=section.precipitation,
                reference_elevation=section.reference_elevation,
                terrain=terrain,
                **place,
            )
        case SentinelSection():
            return _scene(section, grid)
        case LandCoverSection():
            scene = _scene(section.scene, grid) if section.scene else None
            return LandCoverSource(
                landsystem=section.land_systems, classes=section.classes, lights=section.lights, sentinel2=scene, **place
            )
        case RasterSection():
            return RasterSource(
                section.path, section.bands, scale=section.scale, offset=section.offset, plausible=section.plausible, crs=grid.crs
            )


def _scene(section: SentinelSection, grid: TileGrid) -> Sentinel2Scene:
    return Sentinel2Scene(path=section.file, stored=section.stored, offset=section.offset, crs=grid.crs)
