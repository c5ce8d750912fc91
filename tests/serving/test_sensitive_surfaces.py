"""Sensitive species on every surface of a server: what lies inside their squares changes no byte of any answer, and ten thousand questions find
no plant nearer than its square.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urljoin

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import shapely
from starlette.testclient import TestClient

from geoplantnet.assemblages.assemblage import Assemblage, open_assemblage, write_assemblage
from geoplantnet.assemblages.coverage import polygon_weights
from geoplantnet.assemblages.dense import open_dense, write_dense
from geoplantnet.assemblages.reporting import reporting_tables
from geoplantnet.assemblages.stores import survey
from geoplantnet.catalog import COG, Layer, Product, write_catalog, write_cog, write_item
from geoplantnet.catalog.geopackage import write_coverage
from geoplantnet.catalog.overview import write_overviews
from geoplantnet.catalog.product import GEOPACKAGE, ZARR
from geoplantnet.catalog.species_records import FILE, PARQUET, SPECIES_RECORDS, write_species_records
from geoplantnet.grid import TileGrid
from geoplantnet.indicators import asked_sums, from_sums
from geoplantnet.occurrences import from_records, record_counts
from geoplantnet.serving import create_app
from geoplantnet.serving.atlas import open_atlas
from geoplantnet.serving.crs import CRSS, transformer
from geoplantnet.serving.settings import ServerSettings
from geoplantnet.storage import files_of, sha256
from geoplantnet.taxonomy import SpeciesList, Taxon, common_names
from tests.serving.epochs import TILES as EPOCH_TILES
from tests.serving.epochs import publish_model

GRID = TileGrid(tile_size=5_000, cell_size=100)
TILES = ("5kmE4100N2550", "5kmE4105N2550")
WEST, NORTH, CELLS, SIDE = 4_100_000, 2_555_000, 50, 25
"""Squares of 2.5 km: 25 cells, the least that divide a tile and are as wide as 0.01 degrees."""
COARSE, HIDDEN, COMMON = "cypripedium-calceolus", "orchis-militaris", "abies-alba"
LIST = SpeciesList(
    checklist="test",
    taxa=tuple(Taxon(taxon_id=id, scientific_name=id.capitalize().replace("-", " ")) for id in (COMMON, "fagus-sylvatica", COARSE, HIDDEN)),
)
WHY = "category 3 of Chapman 2020: dug up; to be reviewed by 2030-12-31"
TRAITS = {
    COARSE: {
        "generalised": 2_500,
        "sensitive_category": "3",
        "sensitive_reason": "dug up",
        "generalisation": f"Mean over squares of 2.5 km: the species is sensitive ({WHY})",
    },
    HIDDEN: {"withheld": True, "generalisation": f"Information withheld: the species is sensitive ({WHY})"},
}
RULES = {2: SIDE, 3: 0}
INDICATORS = ("richness", "shannon")


def publish(root: Path, p: npt.NDArray[np.float32], places: npt.NDArray[np.float64], *, rules: bool = True) -> Path:
    """A store of two tiles of p (species, 50, 100), with indicators, coverage, overviews, and records of both sensitive species at `places`."""
    items = []
    for number, tile_id in enumerate(TILES):
        tile, own = GRID.tile(tile_id), p[:, :, number * CELLS : (number + 1) * CELLS]
        folder, dense, sets = root / "tiles" / tile_id, root / "dense" / f"{tile_id}.zarr", root / "assemblage" / f"{tile_id}.zarr"
        for made in (folder, dense.parent, sets.parent):
            made.mkdir(parents=True, exist_ok=True)
        blocks = lambda own=own: iter([(slice(0, len(LIST)), own)])  # noqa: E731
        write_dense(blocks, dense, tile=tile, species=LIST, dtype="uint16", squares=RULES if rules else None)
        opened, traits = open_dense(dense, GRID), pd.DataFrame(index=[taxon.taxon_id for taxon in LIST])
        found = survey(opened, asked_sums(INDICATORS, traits))
        assemblage = Assemblage(
            tile=tile, species=len(LIST), list_hash=LIST.hash, threshold=found.threshold, sets=found.sets, means=found.means
        )
        write_assemblage(assemblage, sets)
        cells, rows = reporting_tables(open_assemblage(sets, GRID), LIST, 1_000)
        write_coverage(folder / "coverage.gpkg", cells, rows, {"title": "Species coverage"})
        indicators = from_sums(INDICATORS, found.sums, opened.valid)
        products = [
            Product.of(folder / "coverage.gpkg", key="coverage", media_type=GEOPACKAGE, title="Species coverage"),
            Product.of(dense, key="dense", media_type=ZARR, title="Probabilities"),
            Product.of(sets, key="assemblage", media_type=ZARR, title="Species sets"),
        ]
        for name in INDICATORS:
            bands = [band for band in map(str, indicators) if band.startswith(name)]
            values = np.stack([indicators[band].values for band in bands]).astype(np.float32)
            file = write_cog(folder / f"{name}.tif", values, tile.geobox(), band_names=bands, nodata=float("nan"), unit="1")
            products.append(Product.of(file, key=name, media_type=COG, title=name))
        interval = datetime(2017, 1, 1, tzinfo=UTC), datetime(2021, 12, 31, tzinfo=UTC)
        items.append(write_item(root, tile, products, interval=interval))
    layers = [
        Layer(id=name, title=name, description=name, family="Ecosystem", asset=name, nodata=float("nan"), range=(0.0, 4.0))
        for name in INDICATORS
    ]
    overviews = write_overviews(root, items, layers, species=LIST, traits=TRAITS if rules else {})
    words = {"title": "Orchids", "description": "Two tiles.", "notice": "Predicted, not observed.", "license": "CC-BY-4.0"}
    write_catalog(root, **words, layers=layers, items=items, overviews=overviews, products=[_summary(root, places, rules=rules)])
    _records(root, places)
    return root


def _records(root: Path, places: npt.NDArray[np.float64]) -> None:
    """At every place both sensitive species and a common one, found together; the common one also somewhere else."""
    folder, count = root / "occurrences" / "records", len(places)
    folder.mkdir(parents=True)
    x, y = np.append(places[:, 0], WEST + 4_321.0), np.append(places[:, 1], NORTH - 1_234.0)
    known = {"coordinateUncertaintyInMeters": 5.0, "year": 2019.0, "sampling": "presence-only", "datasetID": "walks"}
    events = pd.DataFrame({"eventID": [f"e{i}" for i in range(count + 1)], "x": x, "y": y} | known)
    told = [(f"e{i}", id) for i in range(count) for id in (COMMON, COARSE, HIDDEN)] + [(f"e{count}", COMMON)]
    rows = pd.DataFrame(told, columns=["eventID", "taxonID"]).assign(occurrenceStatus="present")
    rows["scientificName"] = rows["taxonID"].str.capitalize()
    events.to_parquet(folder / "events.parquet")
    rows.to_parquet(folder / "occurrences.parquet")


def _summary(root: Path, places: npt.NDArray[np.float64], *, rules: bool) -> Product:
    """What those records show of every species that is told; the ground climbs so steeply that an altitude is a place."""
    x, y = np.append(places[:, 0], WEST + 4_321.0), np.append(places[:, 1], NORTH - 1_234.0)
    seen = [(i, id) for i in range(len(places)) for id in (COMMON, COARSE, HIDDEN)] + [(len(places), COMMON)]
    event, taxa = [i for i, _ in seen], [id for _, id in seen]
    rows = pd.DataFrame({"eventID": event, "taxonID": taxa, "scientificName": taxa, "x": x[event], "y": y[event], "year": 2019, "month": 6})
    found = from_records(rows.assign(coordinateUncertaintyInMeters=5.0), dataset_id="walks")
    relief = (found.events["x"] - WEST) + 7 * (NORTH - found.events["y"])
    told = [taxon for taxon in LIST if taxon.taxon_id != HIDDEN or not rules]
    squares = {COARSE: TRAITS[COARSE]["generalised"], HIDDEN: 0} if rules else {}
    counts = record_counts(found, [taxon.taxon_id for taxon in told], relief=relief, sensitive=squares)
    path = write_species_records(root, told, counts, common_names(LIST, None), {"title": "Orchids"})
    return Product.of(path, key=SPECIES_RECORDS, media_type=PARQUET, title="Records")


def background(seed: int) -> npt.NDArray[np.float32]:
    """Two species that everybody may know, and none of the others; some cells hold no data."""
    random = np.random.default_rng(seed)
    p = np.zeros((len(LIST), CELLS, 2 * CELLS), np.float32)
    p[:2] = random.random((2, CELLS, 2 * CELLS)) * np.array([0.9, 0.3], np.float32)[:, None, None]
    p[:, 7:9] = np.nan
    return p


def exchanged(p: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """The same with the sensitive species' values put elsewhere: inside squares, or anywhere at all for one that is withheld."""
    random, moved = np.random.default_rng(seed), p.copy()
    known = np.isfinite(p[3])
    moved[3, known] = random.random(int(known.sum()))
    for y in range(0, CELLS, SIDE):
        for x in range(0, 2 * CELLS, SIDE):
            own = moved[2, y : y + SIDE, x : x + SIDE]
            own[np.isfinite(own)] = random.permutation(own[np.isfinite(own)])
    return moved


def middle_of(row: npt.ArrayLike, column: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Easting, northing of cells."""
    return np.stack([WEST + (np.asarray(column) + 0.5) * 100, NORTH - (np.asarray(row) + 0.5) * 100], axis=-1)


def lonlat(shape: shapely.Geometry) -> dict:
    moved = shapely.transform(shape, lambda xy: np.stack(transformer("EPSG:3035", "CRS:84").transform(xy[:, 0], xy[:, 1]), axis=1))
    return json.loads(shapely.to_geojson(moved))


def tile_at(z: int, easting: float, northing: float) -> tuple[int, int]:
    """The XYZ tile that holds a place."""
    x, y = transformer("EPSG:3035", "EPSG:3857").transform(easting, northing)
    half = 20_037_508.342789244
    return int((x + half) / (2 * half) * 2**z), int((half - y) / (2 * half) * 2**z)


def surfaces() -> Iterator[tuple[str, str, dict]]:
    """A question of every kind: method, address, JSON to post."""
    box, layers = "2551000,4101000,2554000,4108000", (f"species.{COARSE}", f"species.{COMMON}", *INDICATORS)
    for name in layers:
        for style in ("default", "presence") if name.startswith("species") else ("default",):
            wms = f"service=WMS&version=1.3.0&crs=EPSG:3035&bbox={box}&layers={name}&styles={style}"
            yield "GET", f"/wms?{wms}&request=GetMap&width=140&height=60&format=image/png", {}
            yield "GET", f"/wms?{wms}&request=GetMap&width=7&height=3&format=image/png", {}
            for place in ((3, 4), (90, 40), (139, 59)):
                click = f"&query_layers={name}&width=140&height=60&i={place[0]}&j={place[1]}&info_format=application/json"
                yield "GET", f"/wms?{wms}&request=GetFeatureInfo{click}", {}
        yield "GET", f"/wms?service=WMS&version=1.3.0&request=GetLegendGraphic&layer={name}&format=image/png", {}
        for z in (8, 11, 12, 13, 15):
            x, y = tile_at(z, WEST + 3_000, NORTH - 2_000)
            yield "GET", f"/tiles/{name}/{z}/{x}/{y}.png", {}
        yield "GET", f"/api/layers/{name}", {}
    for name in ("species-probability", *INDICATORS):
        chosen = f"properties={COARSE},{COMMON}&" if name == "species-probability" else ""
        yield "GET", f"/ogc/collections/{name}/coverage?{chosen}f=GTiff", {}
        yield "GET", f"/ogc/collections/{name}/coverage?{chosen}bbox={box}&bbox-crs=http://www.opengis.net/def/crs/EPSG/0/3035", {}
    yield from (("GET", path, {}) for path in ("/api/layers", "/wms?service=WMS&request=GetCapabilities", "/stac/catalog.json"))
    yield from (("GET", f"/ogc/collections/{name}/items?limit=1000&f=json", {}) for name in ("species", "coverage", "occurrences", "tiles"))
    area = lonlat(shapely.box(WEST + 1_234, NORTH - 3_210, WEST + 7_654, NORTH - 987))
    for process, more in (
        ("species-in-area", {}),
        ("area-report", {}),
        ("export", {"species": [COARSE, COMMON], "indicators": ["richness"]}),
    ):
        yield "POST", f"/ogc/processes/{process}/execution", {"inputs": {"area": area, **more}}
    for form in ("text/csv", "application/geo+json", "text/html"):
        outputs = {"report": {"format": {"mediaType": form}}}
        yield "POST", "/ogc/processes/area-report/execution", {"inputs": {"area": area}, "outputs": outputs}
    for place in ((WEST + 2_000, NORTH - 1_500), (WEST + 6_420, NORTH - 4_321)):
        lon, lat = transformer("EPSG:3035", "CRS:84").transform(*place)
        yield "GET", f"/api/here?lon={lon}&lat={lat}", {}
    yield from (("GET", path, {}) for path in ("/api/species", "/api/species?q=orch", "/api/families", f"/api/layers/species.{COARSE}/how"))
    yield from (("GET", f"/api/species/{id}/records?lang={lang}", {}) for id in (COMMON, COARSE) for lang in ("en", "fr"))
    yield "GET", "/stac/species/records.parquet", {}


def bytes_of(root: Path) -> dict[str, str]:
    """SHA-256 of every published file; the records are no product."""
    return {name: sha256(file) for file in files_of(root) if not (name := file.relative_to(root).as_posix()).startswith("occurrences")}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two stores that differ inside the squares of the sensitive species alone."""
    folder, random = tmp_path_factory.mktemp("worlds"), np.random.default_rng(5)
    p = background(5)
    p[2:, np.isfinite(p[0])] = random.random((2, int(np.isfinite(p[0]).sum()))) * 0.8
    cells = random.integers(0, SIDE, (2, 9, 2)) + np.stack(np.meshgrid([10, 25, 25], [25, 50, 75]), -1).reshape(-1, 2) // SIDE * SIDE
    one, other = (middle_of(*c.T) for c in cells)
    made = publish(folder / "one", p, one), publish(folder / "other", exchanged(p, 6), other)
    for root in made:
        os.utime(root / "catalog.json", (1.6e9, 1.6e9))  # capabilities say when it was written
    return made


def test_what_lies_inside_squares_changes_no_published_byte(worlds) -> None:
    """Predictions, sets, indicators with their uncertainty, coverage, overviews and catalog of the two worlds are the same files."""
    one, other = map(bytes_of, worlds)
    assert one == other and len(one) > 30


def test_what_lies_inside_squares_changes_no_answer(worlds) -> None:
    """Maps at several scales, tiles, clicks, legends, coverages, features, records and processes of the two worlds are the same bytes."""
    settings = ServerSettings(occurrences=100)
    asked = list(surfaces())
    answers = []
    for root in worlds:
        with TestClient(create_app(root, settings=settings)) as client:
            answers.append([client.request(method, url, **({"json": body} if body else {})) for method, url, body in asked])
    for (_, url, _), one, other in zip(asked, *answers, strict=True):
        assert one.status_code == 200, (url, one.text)
        assert _timeless(one.content) == _timeless(other.content), url


def _timeless(content: bytes) -> bytes:
    """Without the moment at which it was asked."""
    try:
        told = json.loads(content)
    except ValueError:
        return content
    if isinstance(told, dict):
        told.pop("timeStamp", None)
    return json.dumps(told).encode()


def test_records_of_a_sensitive_species_lead_nowhere(worlds) -> None:
    """Neither altitude, year nor data set of it; no altitude of what was found with it, but of the same plant elsewhere; of a withheld one none."""
    with TestClient(create_app(worlds[0])) as client:
        coarse, common, hidden = (client.get(f"/api/species/{id}/records") for id in (COARSE, COMMON, HIDDEN))
        told = coarse.json()
        assert told["records"] == 9 and told["months"]["counts"][5] == 9 and told["altitudes"] is told["datasets"] is None
        assert told["years"] == {"first": 2010, "last": 2019, "classes": [{"from": 2010, "to": 2019, "count": 9}], "unknown": 0}
        assert {one["what"]: one["why"] for one in told["missing"] if one["what"] != "names"} == {
            what: "sensitive" for what in ("years", "altitudes", "datasets")
        }
        assert told["generalised"]["metres"] == 2_500 and "dug up" in told["generalised"]["text"]
        beside = common.json()["altitudes"]
        assert beside["withheld"] == 9 and [one["count"] for one in beside["classes"]] == [1]
        assert hidden.status_code == 404 and HIDDEN not in hidden.json()["detail"].replace(f"'{HIDDEN}' is none", "")
    assert HIDDEN not in (worlds[0] / FILE).read_bytes().decode("latin-1")


def test_without_rules_a_record_shows_its_place(tmp_path: Path) -> None:
    """The same attack on a store without rules: the altitudes of two worlds differ, so the test above can fail."""
    p, place = background(5), middle_of(20, 30)[None]
    told = []
    for name, shift in (("one", 0.0), ("other", 700.0)):
        root = publish(tmp_path / name, p, place + shift, rules=False)
        with TestClient(create_app(root)) as client:
            told.append(client.get(f"/api/species/{COARSE}/records").json()["altitudes"]["classes"])
    assert told[0] != told[1]


def test_it_is_always_said(worlds) -> None:
    """Layer, legend, click, list, coverage row and record say that a species is generalised; one that is withheld is named nowhere."""
    with TestClient(create_app(worlds[0], settings=ServerSettings(occurrences=100))) as client:
        layer = client.get(f"/api/layers/species.{COARSE}").json()
        assert layer["generalised"] == 2_500 and "mean over squares of 2.5 km: the species is sensitive" in layer["direction"]
        assert "dug up" in layer["description"] and client.get(f"/api/layers/species.{COMMON}").json()["generalised"] is None
        click = "service=WMS&version=1.3.0&request=GetFeatureInfo&crs=EPSG:3035&bbox=2551000,4101000,2554000,4108000&width=140&height=60&i=9&j=9"
        for form in ("application/json", "text/plain", "text/html", "application/vnd.ogc.gml"):
            told = client.get(f"/wms?{click}&layers=species.{COARSE}&query_layers=species.{COARSE}&info_format={form}").text
            assert "generalised" in told
        species = client.get("/ogc/collections/species/items?f=json").json()
        assert {f["id"]: f["properties"].get("generalised") for f in species["features"]} == {
            COMMON: None,
            "fagus-sylvatica": None,
            COARSE: 2_500,
        }
        records = client.get("/ogc/collections/occurrences/items?f=json&limit=1000").json()["features"]
        assert {f["properties"]["taxonID"] for f in records} == {COMMON, COARSE}
        sides = {(f["properties"]["taxonID"], f["properties"]["coordinateUncertaintyInMeters"]) for f in records}
        assert sides == {(COARSE, 2_500), (COMMON, 2_500), (COMMON, 100)}
        assert all("2.5 km" in f["properties"]["dataGeneralizations"] for f in records if f["properties"]["taxonID"] == COARSE)
        rows = client.get(f"/ogc/collections/coverage/items?f=json&taxonID={COARSE}").json()["features"]
        assert rows and {f["properties"]["generalised"] for f in rows} == {2_500}
        assert client.get(f"/api/layers/species.{HIDDEN}").status_code == 404
        for method, url, body in surfaces():
            answer = client.request(method, url, **({"json": body} if body else {}))
            assert HIDDEN.encode() not in answer.content and b"Orchis" not in answer.content, url


# ---- an attacker


QUESTIONS = {"clicks": 3_000, "tiles": 1_500, "polygons": 5_400, "clicks over HTTP": 100}


def localised(root: Path, plants: npt.NDArray[np.int64]) -> int:
    """How many plants (row, column) an attacker finds: cells of the plant's square that no answer rules out span less than the square, the
    plant among them, and are fewer than a quarter of it.
    """
    atlas, random = open_atlas(root), np.random.default_rng(1)
    mosaic, layer = atlas.today.mosaic, atlas.species_layer(COARSE)
    evidence = np.full((3, CELLS, 2 * CELLS), np.nan)
    for row, column in random.integers(0, (CELLS, 2 * CELLS), (QUESTIONS["clicks"], 2)):
        evidence[0, row, column] = mosaic.value_at(layer, *middle_of(row, column)) or 0.0
    for row, column in random.integers(0, (CELLS - 16, 2 * CELLS - 16), (QUESTIONS["tiles"], 2)):
        (west, north), window = middle_of(row - 0.5, column - 0.5), (slice(row, row + 16), slice(column, column + 16))
        bbox = west, north - 1_600, west + 1_600, north
        evidence[(0, *window)] = np.ma.filled(mosaic.sample(layer, CRSS["EPSG:3035"], bbox, 16, 16), 0.0)
    evidence[1] = _by_polygons(root, random)
    richness = mosaic.cells(atlas.layer("richness"), (WEST, NORTH - 5_000, WEST + 10_000, NORTH))[0].filled(np.nan)
    others = [mosaic.cells(atlas.species_layer(id), (WEST, NORTH - 5_000, WEST + 10_000, NORTH))[0] for id in (COMMON, "fagus-sylvatica")]
    evidence[2] = richness - sum(stored.filled(0) / 65_534 for stored in others)
    with TestClient(create_app(root)) as client:
        for row, column in random.integers(0, (CELLS, 2 * CELLS), (QUESTIONS["clicks over HTTP"], 2)):
            query = (
                f"layers=species.{COARSE}&query_layers=species.{COARSE}&width=100&height=50&i={column}&j={row}&info_format=application/json"
            )
            url = "/wms?service=WMS&version=1.3.0&request=GetFeatureInfo&crs=EPSG:3035&bbox=2550000,4100000,2555000,4110000"
            told = client.get(f"{url}&styles=&{query}").json()
            evidence[0, row, column] = told["features"][0]["properties"]["value"] or 0.0
    atlas.close()
    return sum(_found(evidence, row, column) for row, column in plants)


def _by_polygons(root: Path, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """What a cell adds to overlapping polygons: the species' area in one that holds it, less that in the same polygon without it."""
    cells = random.integers(0, (CELLS, 2 * CELLS), (QUESTIONS["polygons"] // 2, 2))
    found = np.full((CELLS, 2 * CELLS), np.nan)
    for number, tile_id in enumerate(TILES):
        own = cells[cells[:, 1] // CELLS == number]
        sets, whole = open_assemblage(root / "assemblage" / f"{tile_id}.zarr", GRID), []
        for row, column in own:
            x, y = middle_of(row, column)
            west, east = (x - 50, min(x + random.integers(200, 900), WEST + (number + 1) * 5_000))
            whole += [shapely.box(west, y - 50, east, y + 50), shapely.box(west + 100, y - 50, max(east, west + 150), y + 50)]
        share, known = sets.coverage(polygon_weights(gpd.GeoSeries(whole, crs="EPSG:3035"), sets.tile.geobox()))
        area = np.nan_to_num(share[:, 2]) * known
        found[own[:, 0], own[:, 1]] = np.round(area[::2] - area[1::2], 3)
    return found


def _found(evidence: npt.NDArray[np.float64], row: int, column: int) -> bool:
    """Whether answers of any one kind leave few cells of the plant's square, near each other, with the plant among them."""
    top, left = row // SIDE * SIDE, column // SIDE * SIDE
    for kind in evidence[:, top : top + SIDE, left : left + SIDE]:
        if not np.isfinite(kind).any():
            continue
        best = np.nanmax(kind)
        left_over = np.isfinite(kind) & (kind >= best - 1e-4)
        if best < 1e-4 or not left_over[row - top, column - left]:
            continue
        rows, columns = np.nonzero(left_over)
        if max(np.ptp(rows), np.ptp(columns)) + 1 < SIDE and left_over.sum() < SIDE * SIDE / 4:
            return True
    return False


def test_an_attacker_with_ten_thousand_questions_finds_no_plant(tmp_path) -> None:
    """Clicks, tiles, small and nested polygons, and richness less the known species: without rules every plant is found, with them none."""
    assert sum(QUESTIONS.values()) == 10_000
    random, p = np.random.default_rng(9), background(9)
    plants = []
    for y in range(0, CELLS, SIDE):
        for x in range(0, 2 * CELLS, SIDE):
            row, column = np.array([y, x]) + random.integers(10, SIDE, 2)
            plants.append((row, column))
            p[2, row, column] = 0.95
    found = np.array(plants)
    control = publish(tmp_path / "control", p, middle_of(*found.T), rules=False)
    guarded = publish(tmp_path / "guarded", p, middle_of(*found.T))
    assert localised(control, found) == len(found) == 8
    assert localised(guarded, found) == 0


def test_latent_vectors_are_no_file_where_a_species_is_sensitive(tmp_path, monkeypatch, epochs_client) -> None:
    """A head could be fitted to them: neither the item, the collection nor the file is there; without sensitive species all are."""
    told = {"generalised": 12_500, "generalisation": "Generalised to squares of 12.5 km"}
    monkeypatch.setattr("tests.serving.epochs.TRAITS", {"v001": told})
    client = TestClient(create_app(publish_model(tmp_path)))
    item = f"/stac/tiles/{EPOCH_TILES[0]}/{EPOCH_TILES[0]}.json"
    href = epochs_client.get(item).json()["assets"]["latent"]["href"]
    file = f"{urljoin(item, href)}/zarr.json"
    assert "latent" in epochs_client.get("/stac/tiles/collection.json").json()["item_assets"] and epochs_client.get(file).status_code == 200
    assert "latent" not in client.get(item).json()["assets"] and "assemblage" in client.get(item).json()["assets"]
    assert "latent" not in client.get("/stac/tiles/collection.json").json()["item_assets"] and client.get(file).status_code == 404
    assert client.get("/api/layers/species.v001").json()["generalised"] == 12_500
