"""`geoplantnet export --format cog | qml | geotiff | gti | vrt`: maps of species and indicators as rasters, and their styles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError

from geoplantnet.assemblages.species_tile import SpeciesTile
from geoplantnet.assemblages.stores import open_species_tile
from geoplantnet.catalog.files import SUMS, disown, stem_of, vouch
from geoplantnet.catalog.geotiff import Compression, encode, read_header, write_cog
from geoplantnet.catalog.virtual_mosaic import TileFiles, write_gti, write_vrt
from geoplantnet.errors import RasterError, UsageError
from geoplantnet.grid.mosaic import in_blocks, place_of, window_around
from geoplantnet.grid.tile_grid import MetaTile
from geoplantnet.indicators import INDICATORS
from geoplantnet.storage import write_beside
from geoplantnet.taxonomy.species_list import Taxon
from pipelines.change import CHANGE
from pipelines.change import TITLE as CHANGE_TITLE
from pipelines.context import HABITAT, Run
from pipelines.habitats import chosen_indicators
from pipelines.plan import Inside
from pipelines.publish import NODATA, SCALE
from pipelines.selection import Exported, Selection

MAPS_AT_ONCE = 2**29
"""Bytes of species maps of a block that are held together: each tile is opened once for so many."""
WHOLE_TILES = "Whole tiles: an index copies no pixel and so cuts none at the region's edge."


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """How probabilities are stored: one byte in steps of 0.004, or floating point with an error of at most `max_error`."""

    compress: Compression = "lerc_zstd"
    max_error: float = 0.0

    @property
    def dtype(self) -> str:
        return "float32" if self.max_error else "uint8"

    @property
    def described(self) -> dict[str, Any]:
        """What `write_cog` is told of a band."""
        scale, nodata = (1.0, np.nan) if self.max_error else (SCALE, NODATA)
        return {"scale": scale, "nodata": nodata, "unit": "1", "compress": self.compress, "max_error": self.max_error}

    def stored(self, p: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        return p if self.max_error else encode(p, scale=SCALE, nodata=NODATA).values


def export_cog(
    selection: Selection, output: str | Path, inside: Inside, *, compress: Compression = "lerc_zstd", max_error: float | None = None
) -> Exported:
    """A COG a species or indicator and mosaic block, named after both, and their SHA256SUMS, in a folder.

    A file spans the block's chosen tiles; cells without a tile or outside the region are nodata. Raises UsageError, RasterError for a
    published tile that cannot be read, StorageError.
    """
    folder, pixels = Path(output), _pixels(compress, max_error)
    if max_error is not None and not selection.species:
        raise UsageError(
            "--max-error is of probabilities, and only indicators are asked for, which are stored in steps of their own; drop it"
        )
    blocks = in_blocks(selection.tiles)
    stems = _stems(selection)
    names = [f"{stem}_{block}.tif" for block in blocks for stem in (*stems.values(), *selection.indicators)]

    def files() -> Iterator[Path]:
        for block, tiles in blocks.items():
            window = window_around(tiles)
            together = max(1, MAPS_AT_ONCE // (window.shape[0] * window.shape[1] * np.dtype(pixels.dtype).itemsize))
            for start in range(0, len(selection.species), together):
                group = selection.species[start : start + together]
                for k, whole in zip(group, _maps(selection, group, tiles, window, pixels)):
                    taxon = selection.axis[k]
                    yield write_cog(
                        folder / f"{stems[taxon.taxon_id]}_{block}.tif",
                        whole[None],
                        window,
                        band_names=[taxon.taxon_id],
                        band_descriptions=[taxon.scientific_name],
                        tags=_probability_of(selection, taxon.scientific_name) | _said_of(selection, [taxon]),
                        **pixels.described,
                    )
            for name in selection.indicators:
                yield _indicator(selection, name, tiles, window, folder / f"{name}_{block}.tif", compress)

    return Exported(files=_vouched(folder, names, files(), inside), tiles=len(selection.tiles))


def export_geotiff(
    selection: Selection, output: str | Path, inside: Inside, *, compress: Compression = "lerc_zstd", max_error: float | None = None
) -> Exported:
    """A GeoTIFF a tile, a band a species, and their SHA256SUMS, in a folder."""
    folder, pixels = Path(output), _pixels(compress, max_error)

    def bands(tile: MetaTile) -> Iterator[npt.NDArray[Any]]:
        latent, outside = _open(selection, tile), _outside(selection, tile)
        return (pixels.stored(_map(latent, k, outside)) for k in selection.species)

    files = (
        write_cog(
            folder / f"{tile.id}.tif",
            bands(tile),
            tile.geobox(),
            dtype=pixels.dtype,
            band_names=[taxon.taxon_id for taxon in selection.taxa],
            band_descriptions=[taxon.scientific_name for taxon in selection.taxa],
            tags=_probability_of(selection, f"{len(selection.taxa)} species") | _said_of(selection, selection.taxa),
            **pixels.described,
        )
        for tile in selection.tiles
    )
    return Exported(files=_vouched(folder, [f"{tile.id}.tif" for tile in selection.tiles], files, inside), tiles=len(selection.tiles))


def export_qml(selection: Selection, output: str | Path, inside: Inside) -> Exported:
    """The published colours of what `export_cog` writes of the same choice: a ``.qml`` a file, which QGIS takes up with the file beside it.

    Raises UsageError where the serving extra is missing, what `open_catalog` raises, LayerNotFound for what the catalog does not show.
    """
    try:
        from geoplantnet.serving.atlas import open_atlas
        from geoplantnet.serving.qgis import style
    except ImportError as error:
        raise UsageError(f"--format qml needs the serving extra ({error.name} is missing): pip install 'geoplantnet[serving]'") from error
    folder, atlas = Path(output), open_atlas(selection.run.store)
    chosen = {stem: atlas.species_layer(taxon_id) for taxon_id, stem in _stems(selection).items()}
    chosen |= {name: atlas.layer("change.gain" if name == CHANGE else name) for name in selection.indicators}
    atlas.close()
    styles = {f"{stem}_{block}.qml": style(layer, band=1) for block in in_blocks(selection.tiles) for stem, layer in chosen.items()}

    def files() -> Iterator[Path]:
        for name, body in styles.items():
            with write_beside(folder / name) as temporary:
                temporary.write_bytes(body)
            yield folder / name

    return Exported(files=_vouched(folder, list(styles), files(), inside), tiles=len(selection.tiles))


def export_vrt(selection: Selection, output: str | Path, inside: Inside) -> Exported:
    """A VRT over what is published: the chosen species, then every band of the chosen indicators."""
    products = [TileFiles(files=_published(selection, name)) for name in selection.indicators]
    _require_species(selection)
    if selection.species:
        products.insert(0, TileFiles(files=_published(selection, "species"), bands=tuple(k + 1 for k in selection.species)))
    written = write_vrt(output, products, title=selection.run.recipe.title)
    return Exported(files=(written,), tiles=len(selection.tiles), words=WHOLE_TILES if selection.region else "")


def export_gti(selection: Selection, output: str | Path, inside: Inside) -> Exported:
    """A GDAL tile index over what is published: all species, or one indicator. Raises UsageError for any other choice."""
    _require_species(selection)
    wanted = [*selection.indicators, *(("species",) if selection.species else ())]
    if len(wanted) != 1 or (selection.species and not selection.every_species):
        raise UsageError("a GTI lists one file a tile: one --indicator, or all species; write --format vrt for some of them or several")
    written = write_gti(output, TileFiles(files=_published(selection, wanted[0])), title=selection.run.recipe.title)
    return Exported(files=(written,), tiles=len(selection.tiles), words=WHOLE_TILES if selection.region else "")


def _pixels(compress: Compression, max_error: float | None) -> Pixels:
    if max_error is not None and not 0 < max_error < 1:
        raise UsageError(f"--max-error {max_error:g} must be more than 0 and less than 1; without it probabilities have steps of {SCALE}")
    if max_error is not None and compress != "lerc_zstd":
        raise UsageError(f"--max-error needs --compress lerc_zstd, which alone keeps to it; got --compress {compress}")
    return Pixels(compress=compress, max_error=max_error or 0.0)


def _stems(selection: Selection) -> dict[str, str]:
    """Taxon id -> how its files' names begin."""
    return {taxon.taxon_id: stem_of(taxon.taxon_id, taken=(*INDICATORS, HABITAT, CHANGE)) for taxon in selection.taxa}


def _probability_of(selection: Selection, subject: str) -> dict[str, str]:
    return _tags(selection, f"Probability of presence on {selection.run.recipe.map.plot_area:g} m2: {subject}")


def _said_of(selection: Selection, taxa: Sequence[Taxon]) -> dict[str, str]:
    """What a file says of the sensitive species in it."""
    told = [f"{taxon.scientific_name}: {words}" for taxon in taxa if (words := selection.generalisations.get(taxon.taxon_id))]
    return {"dataGeneralizations": " | ".join(told)} if told else {}


def _tags(selection: Selection, title: str) -> dict[str, str]:
    recipe = selection.run.recipe
    scenario = {"scenario": selection.run.scenario} if selection.run.scenario else {}
    return {"title": title, "notice": recipe.notice, "licence": recipe.licence, "attribution": "; ".join(recipe.attribution)} | scenario


def _vouched(folder: Path, names: Sequence[str], files: Iterator[Path], inside: Inside) -> tuple[Path, ...]:
    """Write files, and list the sums of those that were finished, whatever happens. Meanwhile the list vouches for none of them."""
    disown(folder, set(names))
    written: list[Path] = []
    try:
        for file in files:
            written.append(file)
            inside(len(written), len(names), file.name)
    finally:
        if written:
            vouch(folder, written)
    return (*written, folder / SUMS)


def _require_species(selection: Selection) -> None:
    """Raises UsageError where species are asked for of rasters that were not published."""
    if selection.species and not selection.run.recipe.publish.species:
        raise UsageError(
            "the recipe publishes no rasters of species (publish.species: false), so no index can be made of them; "
            "name an --indicator, or write species by --format cog"
        )


def _open(selection: Selection, tile: MetaTile) -> SpeciesTile:
    return open_species_tile(selection.run.predictions(tile.id), selection.run.grid)


def _outside(selection: Selection, tile: MetaTile) -> npt.NDArray[np.bool_] | None:
    return None if selection.region is None else ~selection.region.mask(tile)


def _map(mapped: SpeciesTile, k: int, outside: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.float32]:
    p = mapped.species_map(k)
    if outside is not None:
        p[outside] = np.nan
    return p


def _maps(selection: Selection, species: Sequence[int], tiles: Sequence[MetaTile], window: GeoBox, pixels: Pixels) -> npt.NDArray[Any]:
    """Maps (species, y, x) of a window as they are stored, tile by tile."""
    whole = np.full((len(species), *window.shape), pixels.described["nodata"], pixels.dtype)
    for tile in tiles:
        latent, outside, place = _open(selection, tile), _outside(selection, tile), place_of(tile, window)
        for of_species, k in zip(whole, species):
            of_species[place] = pixels.stored(_map(latent, k, outside))
    return whole


def _indicator(selection: Selection, name: str, tiles: Sequence[MetaTile], window: GeoBox, path: Path, compress: Compression) -> Path:
    """All bands of an indicator or of a scenario's change, as the published tiles hold them."""
    files = {tile: selection.run.product(tile.id, f"{name}.tif") for tile in tiles}
    header, title = read_header(files[tiles[0]]), _title_of(selection.run, name)
    nodata = header.bands[0].nodata
    whole = np.full((len(header.bands), *window.shape), nodata, header.dtype)
    for tile, file in files.items():
        if [band.name for band in read_header(file).bands] != [band.name for band in header.bands]:
            raise RasterError(f"{file} has other bands than {files[tiles[0]]}; make both again with `geoplantnet run`")
        outside, place = _outside(selection, tile), place_of(tile, window)
        try:
            with rasterio.open(file, driver="GTiff") as raster:
                stored = raster.read()
        except RasterioError as error:
            raise RasterError(
                f"cannot read {file} ({error}); make it again with `geoplantnet verify --drop` and `geoplantnet run`"
            ) from error
        if outside is not None:
            stored[:, outside] = nodata
        whole[(slice(None), *place)] = stored
    return write_cog(
        path,
        whole,
        window,
        band_names=[band.name for band in header.bands],
        band_descriptions=[band.description for band in header.bands],
        scale=[band.scale for band in header.bands],
        nodata=nodata,
        unit=[band.unit for band in header.bands],
        overview_resampling=["mode" if band.unit == "class" else "average" for band in header.bands],
        tags=_tags(selection, title),
        compress=compress,
    )


def _title_of(run: Run, name: str) -> str:
    """Title of an indicator, habitats among them, or of a scenario's change."""
    return CHANGE_TITLE if name == CHANGE else next(one.info.title for one in chosen_indicators(run) if one.info.id == name)


def _published(selection: Selection, name: str) -> dict[MetaTile, Path]:
    return {tile: selection.run.product(tile.id, f"{name}.tif") for tile in selection.tiles}
