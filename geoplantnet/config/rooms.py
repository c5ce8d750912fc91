"""Recipe sections -> the value objects of each room."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Literal

from geoplantnet.config.recipe import (
    ClimateSection,
    CubeRecipe,
    EndpointSection,
    FileSection,
    LandCoverSection,
    LandsatStacSection,
    NetcdfSection,
    RasterSection,
    Recipe,
    RemoteSection,
    Sentinel2StacSection,
    SentinelSection,
    SourceSection,
    TerrainSection,
    VirtualSource,
)
from geoplantnet.cubes.modality import Modality
from geoplantnet.errors import ConfigurationError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.sources.change import DeltaChange
from geoplantnet.sources.climate import LapseRateClimate
from geoplantnet.sources.gridded import GriddedSource
from geoplantnet.sources.http import Budget
from geoplantnet.sources.landcover import LandCoverSource
from geoplantnet.sources.landsat import StacLandsat
from geoplantnet.sources.raster import Access, RasterSource
from geoplantnet.sources.sentinel2 import Sentinel2Scene, StacSentinel2
from geoplantnet.sources.source import Source
from geoplantnet.sources.stac import StacEndpoint
from geoplantnet.sources.terrain import TerrainSource
from geoplantnet.sources.units import conversion
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
from geoplantnet.taxonomy.vernacular import NameTable

_VIRTUAL: dict[str, Callable[[VirtualLandscape], Source]] = {
    "virtual-sentinel2": VirtualSentinel2,
    "virtual-landsat": VirtualLandsat,
    "virtual-climate": VirtualClimate,
    "virtual-bioclim": VirtualBioclim,
    "virtual-terrain": VirtualTerrain,
    "virtual-landcover": VirtualLandCover,
}


def grid_of(recipe: CubeRecipe) -> TileGrid:
    """The recipe's grid."""
    return TileGrid(tile_size=recipe.grid.tile_size, cell_size=recipe.grid.cell_size)


def bounds_of(grid: TileGrid, tiles: tuple[str, ...]) -> tuple[int, int, int, int]:
    """West, south, east, north around tiles, metres."""
    west, south, east, north = zip(*(grid.tile(t).bounds for t in tiles))
    return min(west), min(south), max(east), max(north)


def landscape_of(recipe: CubeRecipe, grid: TileGrid, tiles: tuple[str, ...]) -> VirtualLandscape:
    """The virtual landscape under the recipe's tiles. Raises ConfigurationError when the recipe has no world."""
    if recipe.world is None:
        raise ConfigurationError("the recipe has no `world:` section; add one to use virtual sources")
    bounds = bounds_of(grid, tiles)
    if recipe.world.relief == "fractal":
        return VirtualLandscape.fractal(bounds, seed=recipe.seed)
    return VirtualLandscape.on_dem(seed=recipe.seed, bounds=bounds)


def world_of(recipe: CubeRecipe, grid: TileGrid, tiles: tuple[str, ...]) -> VirtualSpecies:
    """The virtual species of the recipe's world."""
    landscape = landscape_of(recipe, grid, tiles)
    assert recipe.world is not None
    return VirtualSpecies.generate(recipe.world.species, landscape=landscape, seed=recipe.seed)


def name_tables(recipe: Recipe) -> tuple[NameTable, ...]:
    """The recipe's tables of common names."""
    sections = recipe.backbone.vernacular if recipe.backbone else ()
    return tuple(NameTable(names=section.names, source=section.source, taxa=section.taxa) for section in sections)


def sources_of(recipe: CubeRecipe, grid: TileGrid, tiles: tuple[str, ...], modalities: Iterable[Modality]) -> dict[str, Source]:
    """A source for every modality, by name. Nothing is read yet."""
    return {m.name: _changed(_source(recipe.modalities[m.name].source, m, recipe, grid, tiles), m, recipe) for m in modalities}


def _changed(source: Source, modality: Modality, recipe: CubeRecipe) -> Source:
    """The source with the change that the recipe puts on it. Raises ConfigurationError for a band it does not have."""
    change = recipe.modalities[modality.name].change
    if change is None:
        return source
    try:
        return DeltaChange(source, add=change.add, multiply=change.multiply)
    except ConfigurationError as error:
        raise ConfigurationError(f"modalities.{modality.name}: {error}") from error


def _source(section: SourceSection, modality: Modality, recipe: CubeRecipe, grid: TileGrid, tiles: tuple[str, ...]) -> Source:
    place: dict[str, Any] = {"crs": grid.crs, "cell_size": float(grid.cell_size)}
    match section:
        case VirtualSource():
            return _VIRTUAL[section.kind](landscape_of(recipe, grid, tiles))
        case TerrainSection():
            about: dict[str, Any] = {"credit": modality.credit, "licence": modality.licence}
            return TerrainSource(dems=section.dems, bands=modality.bands, access=_access(section), **about, **place)
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
        case Sentinel2StacSection():
            return StacSentinel2(bands=modality.bands, resampling=_of_images(modality), **_imagery(section, modality), **place)
        case LandsatStacSection():
            return StacLandsat(bands=modality.bands, resampling=_of_images(modality), **_imagery(section, modality), **place)
        case LandCoverSection():
            scene = _scene(section.scene, grid) if section.scene else None
            return LandCoverSource(
                landsystem=section.land_systems, classes=section.classes, lights=section.lights, sentinel2=scene, **place
            )
        case RasterSection():
            return RasterSource(
                section.path,
                section.bands or modality.bands,
                indexes=section.indexes,
                scale=section.scale,
                offset=section.offset,
                classes=section.classes,
                nodata=section.nodata,
                **_files(section, modality),
                plausible=section.plausible,
                **place,
            )
        case NetcdfSection():
            return GriddedSource(
                path=section.path,
                bands=modality.bands,
                variables=section.variables,
                climatology=section.climatology,
                aggregate=section.aggregate,
                select=section.select,
                reaches=section.reaches,
                nodata=section.nodata,
                file_crs=section.crs,
                crs=grid.crs,
                **_files(section, modality),
            )


def _files(section: FileSection, modality: Modality) -> dict[str, Any]:
    """What rasters and NetCDF files are told alike. Raises ConfigurationError for units that cannot become the modality's."""
    _check_units(section.units, modality)
    own = dict(zip(modality.bands, modality.units))
    bands = getattr(section, "bands", None) or modality.bands  # a file may have them in another order
    converted = section.units is not None or any(unit != "1" for unit in modality.units)
    return {
        "units": section.units,
        "target_units": tuple(own.get(band, "1") for band in bands) if converted else None,
        "resampling": modality.resampling,
        "periods": modality.time.periods if modality.time else (),
        "credit": modality.credit,
        "licence": modality.licence,
        "access": _access(section),
    }


def _check_units(units: str | tuple[str, ...] | dict[str, str] | None, modality: Modality) -> None:
    """Found out before a task of thousands does."""
    match units:
        case dict():
            pairs = [(units[band], own) for band, own in zip(modality.bands, modality.units) if band in units]
        case str():
            pairs = [(units, own) for own in modality.units]
        case _:
            return  # nothing is said, or it is said in the order of the file's bands
    for said, own in pairs:
        try:
            conversion(said, own, period=modality.time.periods[0] if modality.time else None)
        except ConfigurationError as error:
            raise ConfigurationError(f"modalities.{modality.name}.source.units: {error}") from error


def _access(section: RemoteSection) -> Access:
    return Access(budget=Budget(**section.budget.model_dump()), headers=section.headers, gdal=section.gdal)


def _scene(section: SentinelSection, grid: TileGrid) -> Sentinel2Scene:
    return Sentinel2Scene(path=section.file, stored=section.stored, offset=section.offset, crs=grid.crs)


def endpoint_of(section: EndpointSection) -> StacEndpoint:
    """The value object of an endpoint."""
    return StacEndpoint(
        url=section.url or str(section.path),
        sign=section.sign,
        headers=section.headers,
        header_hosts=section.header_hosts,
        alternate=section.alternate,
        gdal=section.gdal,
        budget=Budget(**section.budget.model_dump()),
    )


def _imagery(section: Sentinel2StacSection | LandsatStacSection, modality: Modality) -> dict[str, Any]:
    """What composites of both satellites are told. Raises ConfigurationError when it is not said which scenes to take."""
    where = f"modalities.{modality.name}.source"
    collection = section.collection or section.endpoint.collections.get(section.kind)
    if collection is None:
        known = ", ".join(section.endpoint.collections) or "none"
        raise ConfigurationError(f"{where}.collection: missing, and the endpoint names none for {section.kind} (it names: {known}); add it")
    if (section.start is None) == (modality.time is None):
        said = "both `start`, `end` and a time axis" if modality.time else "neither `start` and `end` nor a time axis (`time`)"
        raise ConfigurationError(f"{where}: {said} were given; one of them says which days count")
    when: dict[str, Any] = {"periods": modality.time.periods} if modality.time else {}
    if section.start and section.end:
        when = {"interval": (section.start, section.end + timedelta(days=1))}
    return {
        "endpoint": endpoint_of(section.endpoint),
        "collection": collection,
        "assets": {**section.endpoint.assets.get(section.kind, {}), **section.assets},
        "months": section.months,
        "max_cloud": section.max_cloud,
        "snow": section.snow,
        **when,
    }


def _of_images(modality: Modality) -> Literal["nearest", "bilinear", "average"]:
    if modality.resampling not in ("nearest", "bilinear", "average"):
        raise ConfigurationError(
            f"modality {modality.name!r}: images come onto the grid by nearest, bilinear or average, not {modality.resampling}"
        )
    return modality.resampling
