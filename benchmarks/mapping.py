"""Mapping a tile: encoders, head, indicators, store and questions, each beside what does the same work otherwise.

    python -m benchmarks.mapping [--quick] --json FILE

The network has the shipped architecture (width and latent 256, 128 inside the image encoder), untrained, over a virtual landscape with six modalities; the head is drawn so that about fifty
of 10,000 species are expected in a cell. --quick maps 5 km instead of 25.
"""

from __future__ import annotations

import copy
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
import torch
from exactextract import exact_extract
from exactextract.raster import NumPyRasterSource
from matplotlib import pyplot as plt
from numcodecs import Zstd
from torch import nn

from benchmarks.rows import Row, main
from geoplantnet.assemblages import LatentTile, SpeciesHead, open_latent, quantise, write_latent
from geoplantnet.assemblages.assemblage import Assemblage, open_assemblage, write_assemblage
from geoplantnet.assemblages.coverage import polygon_weights
from geoplantnet.assemblages.stream import Streamed, stream
from geoplantnet.catalog.geotiff import encode, write_cog
from geoplantnet.cubes import Modality, PatchReader, build_cube, write_cube
from geoplantnet.cubes.modality import STEM_OVERLAP
from geoplantnet.cubes.patches import tile_patch
from geoplantnet.grid import MetaTile, TileGrid
from geoplantnet.grid.time_axis import TimeAxis
from geoplantnet.indicators import INDICATORS, SPARSE, Habitat, affinity_column, asked_sums, compute, from_sums, habitat_of
from geoplantnet.sdm.deep import ARCHITECTURE
from geoplantnet.sdm.devices import mapping_precision
from geoplantnet.sdm.encoders import ImageEncoder
from geoplantnet.sdm.model import DeepSDM, Normalisation
from geoplantnet.sdm.predict import predict_tile
from geoplantnet.sdm.products import int8_product
from geoplantnet.sdm.runtime import OpenVinoEncoder
from geoplantnet.sdm.train import predict_sites
from geoplantnet.sources.virtual import (
    VirtualBioclim,
    VirtualClimate,
    VirtualLandCover,
    VirtualLandsat,
    VirtualLandscape,
    VirtualSentinel2,
    VirtualTerrain,
)
from geoplantnet.taxonomy import SpeciesList, Taxon

SPECIES = 10_000
CELLS = 250_000
"""Of a tile of 25 km: what is measured on a smaller one is stated for so many."""
TERRAIN = ("elevation", "slope", "northness", "eastness", "tpi", "twi", "heat_load")
COVER = ("glacier", "rock", "shrub", "meadow", "conifer_forest", "broadleaf_forest", "cropland", "village", "water")
MODALITIES = (
    Modality(name="sentinel2", bands=("B02", "B03", "B04", "B08"), resolution=10, window=25, halo=64, dtype="uint16", scale=1e-4, nodata=0),
    Modality(
        name="landsat",
        bands=("blue", "green", "red", "nir", "swir1", "swir2"),
        resolution=50,
        time=TimeAxis(step="quarter", first="2019-12", count=8),
    ),
    Modality(name="terrain", bands=TERRAIN, resolution=50, window=25, halo=12),
    Modality(name="climate", bands=("tas", "tasmin", "tasmax", "pr"), resolution=1000, halo=1, time=TimeAxis(step="month", first="2020-01", count=24)),
    Modality(name="bioclim", bands=("bio1", "bio5", "bio6", "bio12", "bio18", "gdd5"), resolution=50),
    Modality(name="landcover", bands=COVER, resolution=50),
)  # fmt: skip
SOURCES: dict[str, Callable[[VirtualLandscape], object]] = {
    "sentinel2": VirtualSentinel2,
    "landsat": VirtualLandsat,
    "terrain": VirtualTerrain,
    "climate": VirtualClimate,
    "bioclim": VirtualBioclim,
    "landcover": VirtualLandCover,
}


@dataclass(frozen=True, kw_only=True)
class World:
    """A tile's cube on disk, and a network that fits it."""

    tile: MetaTile
    cube: Path
    model: DeepSDM
    reader: PatchReader
    image_reader: PatchReader
    """The same points, of Sentinel-2 alone."""
    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]
    """Cells of the reader's points."""

    @property
    def share(self) -> float:
        """Of a tile of 25 km, in cells."""
        return self.tile.grid.cells_per_side**2 / CELLS


def make_world(folder: Path, kilometres: int, points: int) -> World:
    """A virtual tile with its halo, and random cells of it as points."""
    grid = TileGrid(tile_size=1_000 * kilometres)
    tile = grid.tile_at(4_130_000, 2_580_000)
    landscape = VirtualLandscape.fractal(tile.bounds, seed=1)
    sources = {name: source(landscape) for name, source in SOURCES.items()}
    cube = folder / "cube.zarr"
    write_cube(build_cube(tile, MODALITIES, sources), cube, MODALITIES)  # type: ignore[arg-type]
    rows, columns = np.random.default_rng(0).integers(0, grid.cells_per_side, (2, points))
    west, _, _, north = tile.bounds
    frame = pd.DataFrame({"x": west + (columns + 0.5) * 50.0, "y": north - (rows + 0.5) * 50.0})
    reader = PatchReader(frame, grid=grid, modalities=MODALITIES, sources=sources, cubes={tile.id: cube})  # type: ignore[arg-type]
    image = next(m for m in MODALITIES if m.name == "sentinel2")
    image_reader = PatchReader(frame, grid=grid, modalities=(image,), sources={"sentinel2": sources["sentinel2"]}, cubes={tile.id: cube})  # type: ignore[dict-item]
    torch.manual_seed(0)
    model = DeepSDM(
        modalities=MODALITIES,
        grid=grid,
        species=species_list(100),
        normalisation={m.name: Normalisation.of(tile_patch(cube, m, tile).values) for m in MODALITIES},
        architecture=replace(ARCHITECTURE, dropout=0.0, encoder_dropout=0.0, survey_bias=False),
    ).eval()
    with torch.no_grad():
        for weight in (*model.encoders.parameters(), *model.fuse.parameters()):
            weight *= 1.5  # an untrained network hardly tells places apart
        model.species_vector.normal_(0, 0.5)
    return World(tile=tile, cube=cube, model=model, reader=reader, image_reader=image_reader, rows=rows, columns=columns)


def species_list(count: int) -> SpeciesList:
    return SpeciesList(checklist="benchmark", taxa=tuple(Taxon(taxon_id=f"s{i}", scientific_name=f"Species {i}") for i in range(count)))


def head_for(z: npt.NDArray[np.float32], species: int, seed: int = 0) -> SpeciesHead:
    """A head under which logits of species k are normal over the cells of z: mean -7.6 + 1.6 N(0, 1), deviation 1.6."""
    rng = np.random.default_rng(seed)
    some = z.reshape(-1, z.shape[2])[:: max(1, z.shape[0] * z.shape[1] // 4_000)]
    weights = rng.normal(size=(species, z.shape[2])).astype(np.float32)
    logits = some @ weights.T
    weights *= 1.6 / logits.std(axis=0)[:, None]
    bias = rng.normal(-7.6, 1.6, species).astype(np.float32) - (some @ weights.T).mean(axis=0)
    return SpeciesHead(species=species_list(species), weights=weights, bias=bias)


def traits_of(species: int) -> pd.DataFrame:
    """Flags of as many species as a flora of Europe has, a fifth unknown."""
    rng = np.random.default_rng(3)
    share = {"tree": 0.04, "woody": 0.15, "invasive": 0.01, "eu_directive": 0.05, "rare": 0.08}
    table = pd.DataFrame(
        {flag: np.where(rng.random(species) < 0.2, np.nan, rng.random(species) < part) for flag, part in share.items()}, dtype=float
    )
    table["range_squares"] = np.where(rng.random(species) < 0.2, np.nan, np.rint(rng.lognormal(3, 1.5, species)) + 1)
    table["specialisation"] = np.where(rng.random(species) < 0.2, np.nan, rng.random(species))
    for habitat in HABITATS:
        table[affinity_column(habitat.code)] = rng.normal(0, 3, species)
    table["iucn"] = rng.choice(np.array(["CR", "EN", "VU", "NT", "LC", None], object), species, p=[0.01, 0.02, 0.03, 0.04, 0.3, 0.6])
    return table  # fmt: skip


HABITATS = [Habitat(code=f"H{n}", value=n, title=f"Habitat {n}", title_fr=f"Habitat {n}", color="#000000") for n in range(1, 12)]
CHOSEN = [*INDICATORS.values(), habitat_of("a typology", HABITATS)]
"""Every indicator, that of eleven habitats among them."""


def cpu(work: Callable[[], object], repeats: int = 1) -> float:
    """CPU seconds of the best of several runs."""
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def wall(work: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the best of several runs, after one that warms up."""
    work()
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


class ResNet18(nn.Module):
    """As published (He et al. 2016), with four input channels: what a patch of 129 px is usually given to."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        blocks, before = [], 64
        for width in (64, 128, 256, 512):
            for i in range(2):
                blocks.append(_Residual(before, width, 2 if i == 0 and width > 64 else 1))
                before = width
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.stem(x)).mean((2, 3))


class _Residual(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        )  # fmt: skip
        short = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.short = short if stride > 1 or before != width else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.short(x))


def encoders(world: World, points: int) -> list[Row]:
    """Cells a second and core: the network over the tile, on patches, and a ResNet-18 on patches of Sentinel-2 alone."""
    cells = world.tile.grid.cells_per_side**2
    image = of_modalities(world, ("sentinel2",))
    speed = {p: cells / cpu(lambda p=p: predict_tile(world.model, world.tile, world.cube, precision=p), 2) for p in ("32", "bf16")}  # type: ignore[misc]
    image_speed = {p: cells / cpu(lambda p=p: predict_tile(image, world.tile, world.cube, precision=p), 2) for p in ("32", "bf16")}  # type: ignore[misc]
    with torch.inference_mode():
        resnet, batch = ResNet18().eval(), torch.rand(64, 4, 129, 129)
        resnet(batch)
        by_resnet = 64 / cpu(lambda: resnet(batch), 2)
        resnet, batch = (
            resnet.to(torch.bfloat16, memory_format=torch.channels_last),
            batch.to(torch.bfloat16, memory_format=torch.channels_last),
        )  # type: ignore[call-overload]
        resnet(batch)
        by_fast_resnet = 64 / cpu(lambda: resnet(batch), 2)
    start = time.process_time()
    patched = predict_sites(world.model, world.reader, np.arange(points), batch=64)
    by_patch = points / (time.process_time() - start)
    of_image = world.image_reader
    start = time.process_time()
    predict_sites(image, of_image, np.arange(points), batch=64)
    image_by_patch = points / (time.process_time() - start)
    z, _ = predict_tile(world.model, world.tile, world.cube)
    fast, _ = predict_tile(world.model, world.tile, world.cube, precision="bf16")
    head = world.model.species_head()
    exact = head.probabilities(z[world.rows, world.columns])
    error = float(np.abs(exact.T - patched).max())
    moved = np.abs(head.probabilities(fast[world.rows, world.columns]) - exact)
    best, best_image = speed[mapping_precision("auto")], image_speed[mapping_precision("auto")]
    told = f"all six modalities {speed['32']:,.0f} in fp32, {speed['bf16']:,.0f} in bf16; Sentinel-2 alone {image_speed['32']:,.0f} and {image_speed['bf16']:,.0f} cells/s/core"
    return [
        Row(name="encoder over the tile against ResNet-18 by patches", value=best_image / by_resnet, unit="x", reference=f"Sentinel-2, 129 px, fp32, batch 64: {by_resnet:,.0f} cells/s/core (both in fp32 {image_speed['32'] / by_resnet:,.0f} x, both in bf16 {image_speed['bf16'] / by_fast_resnet:,.0f} x); {told}", target=">= 1000", ok=best_image / by_resnet >= 1000),
        Row(name="the same network of Sentinel-2 over the tile against by patches, fp32", value=image_speed["32"] / image_by_patch, unit="x", reference=f"by patches of 129 px: {image_by_patch:,.0f} cells/s/core with reading; over the tile in {mapping_precision('auto')} {best_image / image_by_patch:,.0f} x", target=">= 150", ok=image_speed["32"] / image_by_patch >= 150),
        Row(name="the network of all six modalities over the tile against by patches, fp32", value=speed["32"] / by_patch, unit="x", reference=f"by patches: {by_patch:,.0f} cells/s/core with reading; over the tile in {mapping_precision('auto')} {best / by_patch:,.0f} x; most of it now is layers that see a cell at a time", target=">= 150", ok=speed["32"] / by_patch >= 150),
        Row(name="largest |dp|, tile - patch", value=error, unit="1", reference=f"{points} random cells, 100 species, fp32", target="<= 1e-4", ok=error <= 1e-4),
        Row(name="mean |dp| of bf16", value=float(moved.mean()), unit="1", reference=f"fp32; 99.9th percentile {np.quantile(moved, 0.999):.4f}", target="<= 0.002", ok=float(moved.mean()) <= 0.002),
    ]  # fmt: skip


def engines() -> list[Row]:
    """The image encoder over a strip of 50 rows by what may run it, one thread: torch, torch.compile, OpenVINO."""
    torch.manual_seed(0)
    encoder = ImageEncoder(5, 256, 25, 5, inner=ARCHITECTURE.image_width or 256).eval()
    strip = torch.randn(1, 5, 50 * 5 + 2 * (12 * 5 + STEM_OVERLAP), 2500 + 2 * (12 * 5 + STEM_OVERLAP))
    fast, packed = copy.deepcopy(encoder).to(torch.bfloat16, memory_format=torch.channels_last), strip.to(torch.bfloat16).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # fmt: skip
    speed: dict[str, float] = {}
    with torch.inference_mode():
        exact = encoder(strip)

        def timed(name: str, run: Callable[[], torch.Tensor]) -> float:
            apart = float((run().float() - exact).abs().max() / exact.abs().max())
            speed[name] = exact.shape[2] * exact.shape[3] / cpu(run, 3)
            return apart

        timed("torch fp32", lambda: encoder(strip))
        apart = {"torch bf16": timed("torch bf16", lambda: fast(packed))}
        for precision in ("32", "bf16"):
            engine = OpenVinoEncoder(encoder, precision)  # type: ignore[arg-type]
            name = f"OpenVINO {'fp32' if precision == '32' else precision}"
            apart[name] = timed(name, lambda engine=engine: engine(strip))  # type: ignore[misc]
        if shutil.which("g++"):
            for name, network, values in (("torch.compile fp32", encoder, strip), ("torch.compile bf16", fast, packed)):
                compiled = torch.compile(network)
                apart[name] = timed(name, lambda compiled=compiled, values=values: compiled(values))  # type: ignore[misc]
    return [
        Row(name=f"image encoder by {name}", value=value / speed["torch fp32"], unit="x", reference=f"torch fp32 {speed['torch fp32']:,.0f}, this {value:,.0f} cells/s/core; apart by {apart[name]:.1e} of the largest feature", target="")
        for name, value in speed.items()
        if name in apart
    ]  # fmt: skip


def of_modalities(world: World, names: tuple[str, ...]) -> DeepSDM:
    """The network with some of its modalities alone."""
    chosen = tuple(m for m in MODALITIES if m.name in names)
    old = world.model
    return DeepSDM(modalities=chosen, grid=old.grid, species=old.species, normalisation={m.name: old.normalisation[m.name] for m in chosen}, architecture=old.architecture).eval()  # fmt: skip


def random_tile(species: int, latent: int, kilometres: int, seed: int = 0) -> LatentTile:
    """Latent vectors without any structure: the cost of a pass does not depend on what they say."""
    tile = TileGrid(tile_size=1_000 * kilometres).tile_at(4_130_000, 2_580_000)
    side, rng = tile.grid.cells_per_side, np.random.default_rng(seed)
    z = rng.integers(-127, 128, (side, side, latent)).astype(np.int8)
    scale = np.full(latent, 1 / 70, np.float32)
    return LatentTile(
        tile=tile,
        z=z,
        scale=scale,
        valid=np.ones((side, side), bool),
        availability=np.ones((side, side), np.float32),
        head=head_for(z[:20, :200].astype(np.float32) * scale, species),
    )


def streamed_head(quick: bool) -> list[Row]:
    """CPU seconds a tile of the pass over 10,000 species and all indicators; beside it the plain way, and the bare product."""
    kilometres = 5 if quick else 10
    latent, traits = random_tile(SPECIES, 512, kilometres), traits_of(SPECIES)
    factor = CELLS / latent.valid.size
    stream(random_tile(1_000, 64, 1), asked_sums(CHOSEN, traits_of(1_000)), multiply=int8_product)  # compiles
    asked = asked_sums(CHOSEN, traits)
    ours = factor * cpu(lambda: stream(latent, asked, multiply=int8_product), 2)
    plain = factor * cpu(lambda: compute(CHOSEN, latent.blocks, traits, latent.shape))
    z = torch.from_numpy(latent.z.reshape(-1, 512)[:10_000]).bfloat16()
    weights = torch.from_numpy(latent.head.weights.T.copy()).bfloat16()

    def product() -> None:
        for start in range(0, len(z), 400):
            z[start : start + 400] @ weights

    product()
    bare = CELLS / len(z) * cpu(product, 3)
    return [
        Row(name="head and all indicators of 10,000 species, latent 512", value=ours, unit="CPU-s a tile", reference=f"measured on {kilometres} km", target=""),
        Row(name="the same against plain passes over blocks of probabilities", value=plain / ours, unit="x", reference=f"float32 products, every sum once, MaxExp by further passes: {plain:,.0f} CPU-s", target=">= 5", ok=plain / ours >= 5),
        Row(name="the same over the bare bf16 product", value=ours / bare, unit="x", reference=f"400 cells at a time, nothing kept: {bare:.1f} CPU-s", target="<= 2.5", ok=ours / bare <= 2.5),
    ]  # fmt: skip


def whole_tile(world: World, folder: Path) -> tuple[list[Row], LatentTile, Assemblage]:
    """From a cube to all that is kept of 10,000 species, written and opened again, on two threads."""
    precision, head = mapping_precision("auto"), head_for(predict_tile(world.model, world.tile, world.cube)[0], SPECIES)
    traits, start = traits_of(SPECIES), time.perf_counter()
    z, valid = predict_tile(world.model, world.tile, world.cube, precision=precision, threads=2)
    encoded = time.perf_counter() - start
    stored, scale, error = quantise(z, valid, head)
    latent = LatentTile(tile=world.tile, z=stored, scale=scale, valid=valid, availability=np.ones(valid.shape, np.float32), head=head)
    del z
    write_latent(latent, folder / "latent.zarr")
    streamed: Streamed[tuple[str, str]] = stream(latent, asked_sums(CHOSEN, traits), multiply=int8_product, threads=2)
    kept = Assemblage(
        tile=world.tile,
        species=SPECIES,
        list_hash=head.species.hash,
        threshold=streamed.threshold,
        sets=streamed.sets,
        means=streamed.means,
    )
    write_assemblage(kept, folder / "assemblage.zarr")
    found = from_sums(CHOSEN, streamed.sums, valid, least=SPARSE)
    for one in CHOSEN:
        bands = [found[band] for band in one.info.bands]
        scales = [float(band.encoding["scale_factor"]) for band in bands]
        write_cog(
            folder / f"{one.info.id}.tif",
            np.stack(
                [
                    encode(b.values, scale=s, nodata=one.info.storage.nodata, dtype=one.info.storage.dtype).values
                    for b, s in zip(bands, scales)
                ]
            ),
            world.tile.geobox(),
            band_names=list(one.info.bands),
            scale=scales,
            nodata=one.info.storage.nodata,
        )
    latent, kept = open_latent(folder / "latent.zarr", world.tile.grid), open_assemblage(folder / "assemblage.zarr", world.tile.grid)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = {part.name: sum(file.stat().st_size for file in (part, *part.rglob("*")) if file.is_file()) for part in folder.iterdir()}
    total = sum(v for name, v in size.items() if name != "cube.zarr") / 1e6
    told = ", ".join(f"{name.split('.')[0]} {v / 1e6:.0f}" for name, v in size.items() if name in ("latent.zarr", "assemblage.zarr"))
    some = np.linspace(0, SPECIES - 1, 100).astype(int)
    by_species = (
        sum(len(Zstd(level=9).encode(np.rint(np.nan_to_num(latent.species_map(k)) * 250).astype(np.uint8))) for k in some)
        * SPECIES
        / 100
        / 1e6
    )
    share = world.share
    rows = [
        Row(name=f"whole tile, 10,000 species, six modalities, {len(CHOSEN)} indicators, written and opened again", value=seconds / share, unit="s", reference=f"two threads, {precision}, encoders {encoded / share:.1f} s; {share:.2f} of a tile of 25 km", target="<= 30", ok=seconds / share <= 30),
        Row(name="largest memory of the process that made it", value=peak, unit="MB", reference="the whole benchmark so far", target="<= 3072", ok=peak <= 3072),
        Row(name="bytes of a tile", value=total / share, unit="MB", reference=f"{told} MB, the rest indicators; uint8 zstd by species: {by_species / share:,.0f} MB; the seed system: 1,050 MB", target="<= 130", ok=total / share <= 130),
        Row(name="mean |dp| of the stored latent", value=error["mean_dp"], unit="1", reference=f"unquantised; {error['dtype_bits']:.0f} bits", target="<= 0.002", ok=error["mean_dp"] <= 0.002),
        Row(name="99.9th percentile of |dp| of the stored latent", value=error["p999_dp"], unit="1", reference="unquantised", target="<= 0.02", ok=error["p999_dp"] <= 0.02),
    ]  # fmt: skip
    return rows, latent, kept


def questions(latent: LatentTile, kept: Assemblage) -> list[Row]:
    """What a map and a planner ask of a stored tile."""
    rows = []
    west, south, east, north = latent.tile.bounds
    middle = shapely.Point((west + east) / 2, (south + north) / 2)
    bounds = {"xmin": west, "ymin": south, "xmax": east, "ymax": north}
    row_of = np.repeat(np.arange(latent.valid.size), np.diff(kept.sets.start))
    some = np.linspace(0, SPECIES - 1, 20).astype(int)
    masks = [_mask(latent.shape, row_of[kept.sets.species == k]) for k in some]
    for radius, limit in ((1, 8), (4, 50), (12, 400)):
        if 1_000 * radius > (east - west) / 2:
            continue
        zone = gpd.GeoSeries([middle.buffer(1_000 * radius)], crs="EPSG:3035")
        ours = 1e3 * wall(lambda zone=zone: kept.coverage(polygon_weights(zone, latent.geobox)))  # type: ignore[misc]
        frame = gpd.GeoDataFrame(geometry=zone)
        each = [exact_extract(NumPyRasterSource(mask, **bounds), frame, ["mean"], output="pandas")["mean"].item() for mask in masks]
        peer = SPECIES / 20 * wall(lambda frame=frame: [exact_extract(NumPyRasterSource(m, **bounds), frame, ["mean"]) for m in masks], 1)  # type: ignore[misc]
        apart = float(np.abs(np.asarray(each) - kept.coverage(polygon_weights(zone, latent.geobox))[0][0, some]).max())
        rows.append(Row(name=f"coverage of 10,000 species in a circle of {radius} km", value=ours, unit="ms", reference=f"exactextract, species by species: {peer:.2f} s; largest difference {apart:.1e}", target=f"<= {limit}", ok=ours <= limit and apart < 1e-9))  # fmt: skip
    k = int(np.argmax(latent.head.bias))
    one_map, at = 1e3 * wall(lambda: latent.species_map(k)), 1e3 * wall(lambda: latent.at([7], [9]))
    rows += [
        Row(name="one species map of a tile, from an opened latent tile", value=one_map, unit="ms", reference=f"{latent.valid.size:,} cells", target="<= 60", ok=one_map <= 60),
        Row(name="all species at a point, from an opened latent tile", value=at, unit="ms", reference=f"{SPECIES:,} species", target="<= 2", ok=at <= 2),
    ]  # fmt: skip
    return rows


def _mask(shape: tuple[int, int], cells: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    out = np.zeros(shape)
    out.ravel()[cells] = 1.0
    return out


def growth(quick: bool) -> list[Row]:
    """CPU seconds of the pass by species, and wall seconds by tiles: linear or better."""
    rows, before = [], (0, 0.0)
    for species in (100, 1_000, 10_000, 50_000)[: 3 if quick else 4]:
        latent, traits = random_tile(species, 256, 2), traits_of(species)
        seconds = cpu(lambda latent=latent, traits=traits: stream(latent, asked_sums(CHOSEN, traits), multiply=int8_product), 2)  # type: ignore[misc]
        times = seconds / before[1] if before[0] else 1.0
        more = species / before[0] if before[0] else 1.0
        rows.append(Row(name=f"pass over {species:,} species", value=seconds / latent.valid.size * CELLS, unit="CPU-s a tile", reference=f"{times:.1f} times the row above for {more:.0f} times the species" if before[0] else "latent 256, on 2 km", target="linear or better" if before[0] else "", ok=times <= 1.15 * more))  # fmt: skip
        before = species, seconds
    tiles, traits = [random_tile(SPECIES, 256, 2, seed=n) for n in range(16)], traits_of(SPECIES)
    asked, first = asked_sums(CHOSEN, traits), 0.0
    for count in (2, 4, 16):
        with ThreadPoolExecutor(2) as pool:
            start = time.perf_counter()
            list(pool.map(lambda tile: stream(tile, asked, multiply=int8_product), tiles[:count]))
            seconds = time.perf_counter() - start
        first = first or seconds
        rows.append(Row(name=f"{count} tiles on two threads", value=seconds / count, unit="s a tile of 2 km", reference=f"{seconds / first:.1f} times as long as two tiles", target="linear or better" if count > 2 else "", ok=seconds <= 1.1 * count / 2 * first))  # fmt: skip
    return rows


def measure(quick: bool) -> list[Row]:
    """One tile of 5 km (quick) or 25 km."""
    torch.set_num_threads(1)
    points = 256 if quick else 2_048
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = make_world(folder, 5 if quick else 25, points)
        rows = [*encoders(world, points), *engines()]
        found, latent, kept = whole_tile(world, folder)
        rows += found + questions(latent, kept)
    grown = growth(quick)
    if not quick:
        _draw_growth(grown, Path("docs/img/growth.png"))
    return rows + streamed_head(quick) + grown


def _draw_growth(rows: list[Row], file: Path) -> None:
    """CPU seconds by species and wall seconds by tiles, both axes in powers, beside what is linear."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.4), layout="constrained")
    by_species = [(int(row.name.split()[2].replace(",", "")), row.value) for row in rows if row.name.startswith("pass over")]
    by_tiles = [(int(row.name.split()[0]), row.value * int(row.name.split()[0])) for row in rows if row.name.endswith("on two threads")]
    for axes, points, x, y in (
        (left, by_species, "species", "CPU-s a tile of 25 km"),
        (right, by_tiles, "tiles of 2 km, 10,000 species", "s on two threads"),
    ):
        counts, seconds = zip(*points)
        axes.loglog(counts, seconds, "o-", color="#21918c", label="measured")
        axes.loglog(counts, [seconds[0] * n / counts[0] for n in counts], "--", color="#777777", label="linear in the first")
        axes.set(xlabel=x, ylabel=y)
        axes.minorticks_off()
        axes.set_xticks(counts, [f"{n:,}" for n in counts])
        ends = [10.0**n for n in range(-1, 3) if min(seconds) / 3 < 10.0**n < max(seconds) * 3]
        axes.set_yticks(ends, [f"{end:g}" for end in ends])
        axes.legend(frameon=False)
    figure.savefig(file, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main(measure)
