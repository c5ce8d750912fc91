"""Processes: what they count against brute force over cells, what they refuse, and what becomes of jobs."""

from __future__ import annotations

import base64
import gc
import json
import pickle
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import geopandas as gpd
import numpy as np
import pytest
import shapely
from distributed import LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from geoplantnet.assemblages.coverage import polygon_weights
from geoplantnet.assemblages.dense import assembled, open_dense
from geoplantnet.errors import TryAgain
from geoplantnet.grid import TileGrid
from geoplantnet.serving.atlas import open_atlas
from geoplantnet.serving.crs import transformer
from geoplantnet.serving.exceptions import TooLarge
from geoplantnet.serving.guard import KeyRing
from geoplantnet.serving.ogc.areas import Survey, area_of, indicators_of, survey, tiles_of
from geoplantnet.serving.ogc.executions import SYNC_AT_ONCE
from geoplantnet.serving.ogc.jobs import MOST_OWN, Budget, Dismissed, Jobs, Result
from geoplantnet.serving.ogc.processes import PROCESSES

GRID = TileGrid(tile_size=5_000, cell_size=100)
TILES = ("5kmE4100N2550", "5kmE4105N2550")


def lonlat(shape: shapely.Polygon) -> dict:
    """A polygon of the grid as GeoJSON."""
    moved = shapely.transform(shape, lambda xy: np.stack(transformer("EPSG:3035", "CRS:84").transform(xy[:, 0], xy[:, 1]), axis=1))
    return json.loads(shapely.to_geojson(moved))


WEDGE = shapely.Polygon([(4_103_211.3, 2_551_041.7), (4_107_930, 2_550_520), (4_106_400, 2_554_760), (4_104_010, 2_553_330)])


@pytest.fixture(scope="session")
def cells(plants) -> gpd.GeoDataFrame:
    """Every cell of both tiles with its set of species, its richness and whether it is valid: read cell by cell."""
    import rasterio

    parts = []
    for tile_id in TILES:
        tile = open_dense(plants / "dense" / f"{tile_id}.zarr", GRID)
        sets = assembled(tile)
        box = tile.geobox
        x, y = np.meshgrid(box.coordinates["x"].values, box.coordinates["y"].values)
        x, y = x.ravel(), y.ravel()
        with rasterio.open(plants / "tiles" / tile_id / "richness.tif") as raster:
            richness = raster.read(1).ravel()
        with rasterio.open(plants / "tiles" / tile_id / "habitat.tif") as raster:
            habitat = raster.read(1).ravel()
        member = np.zeros((x.size, len(tile.species)), bool)
        for cell in range(x.size):
            member[cell, sets.sets.of(cell)] = True
        frame = gpd.GeoDataFrame(
            {"valid": sets.valid.ravel(), "richness": richness, "habitat": habitat}, geometry=shapely.box(x - 50, y - 50, x + 50, y + 50)
        )
        for k, taxon in enumerate(tile.species):
            frame[taxon.taxon_id] = member[:, k]
        parts.append(frame)
    return gpd.pd.concat(parts, ignore_index=True)


def run(client, process: str, headers: dict | None = None, **inputs: object):
    return client.post(f"/ogc/processes/{process}/execution", json={"inputs": inputs}, headers=headers or {})


def ended(client, job: dict) -> dict:
    until = time.monotonic() + 30
    while job["status"] in ("accepted", "running"):
        assert time.monotonic() < until
        time.sleep(0.02)
        job = client.get(f"/ogc/jobs/{job['jobID']}").json()
    return job


# ---- what they count


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.tuples(st.floats(4_099_000, 4_111_000), st.floats(2_549_500, 2_555_500)), min_size=3, max_size=8).map(
        lambda points: shapely.MultiPoint(points).convex_hull
    )
)
def test_coverage_is_that_of_brute_force(flora, cells, hull):
    """Each species' share is the area of the cells that hold it, inside the polygon, over that of the valid cells: over both tiles."""
    if hull.geom_type != "Polygon" or hull.area < 1e4 or not hull.intersects(shapely.box(4_100_000, 2_550_000, 4_110_000, 2_555_000)):
        return
    answer = run(flora, "species-in-area", area=lonlat(hull))
    inside = shapely.area(shapely.intersection(cells.geometry.to_numpy(), hull)) / 1e4 * cells["valid"]
    told = answer.json()
    assert answer.status_code == 200, told
    assert told["area"]["cells"] == pytest.approx(inside.sum(), rel=1e-4, abs=1e-2)
    assert told["area"]["mapped_km2"] == pytest.approx(inside.sum() / 100, rel=1e-4, abs=1e-4)
    found = {row["taxonID"]: row for row in told["species"]}
    for taxon in cells.columns[4:]:
        wanted = float((inside * cells[taxon]).sum())
        assert found.get(taxon, {"cells": 0})["cells"] == pytest.approx(wanted, rel=1e-3, abs=2e-2), taxon
        if taxon in found:
            assert found[taxon]["coverage"] == pytest.approx(wanted / inside.sum(), rel=1e-3, abs=1e-4)
    assert [row["coverage"] for row in told["species"]] == sorted((row["coverage"] for row in told["species"]), reverse=True)


def test_a_report_counts_groups_and_averages_indicators(flora, cells):
    """Names of the protected, invasive, threatened and narrow-ranged species there; what is not known is told; means by the cells inside."""
    told = run(
        flora,
        "area-report",
        area={"bbox": list(shapely.from_geojson(json.dumps(lonlat(shapely.box(4_100_100, 2_550_000, 4_109_900, 2_553_000)))).bounds)},
    ).json()
    names = {group: one["species"] for group, one in told["groups"].items()}
    assert names == {
        "protected": ["cypripedium-calceolus"],
        "invasive": ["impatiens-glandulifera"],
        "threatened": ["cypripedium-calceolus"],
        "narrow_ranged": ["gentiana-lutea", "cypripedium-calceolus"],
        "trees": ["abies-alba", "fagus-sylvatica"],
    }
    assert told["groups"]["protected"]["unknown"] == 1 and told["groups"]["threatened"]["unknown"] == 2
    told = run(flora, "area-report", area=lonlat(WEDGE)).json()
    inside = shapely.area(shapely.intersection(cells.geometry.to_numpy(), WEDGE)) / 1e4
    known = cells["richness"].notna().to_numpy()
    indicators = {one["layer"]: one for one in told["indicators"]}
    assert indicators["richness"]["mean"] == pytest.approx(np.average(cells["richness"][known], weights=inside[known]), rel=1e-5)
    woods = inside[cells["habitat"] == 1].sum() / inside[cells["habitat"] > 0].sum()
    assert indicators["habitat"]["classes"][0] == {"value": 1, "label": "Woodland", "share": pytest.approx(woods, rel=1e-5)}
    assert told["area"]["km2"] == pytest.approx(WEDGE.area / 1e6, rel=1e-6)
    assert told["habitats"] == sorted(indicators["habitat"]["classes"], key=lambda one: -one["share"])
    assert len(told["version"]["catalog"]) == 64 and told["notice"] == "Predicted, not observed."


def test_the_hash_is_of_the_area_and_the_scenario_of_the_map(flora):
    """The same polygon from another vertex, the other way round, has the same hash; a scenario has other species sets."""
    turned = shapely.Polygon(list(WEDGE.exterior.coords)[2::-1] + list(WEDGE.exterior.coords)[3:1:-1])
    assert turned.equals(WEDGE)
    one, other = (run(flora, "species-in-area", area=lonlat(shape)).json() for shape in (WEDGE, turned))
    assert one["area"]["sha256"] == other["area"]["sha256"] and one["species"] == other["species"]
    warm = run(flora, "species-in-area", area=lonlat(WEDGE), scenario="warmer").json()
    assert warm["epoch"]["start"].startswith("2070") and warm["species"] != one["species"]
    assert warm["version"]["catalog"] != one["version"]["catalog"]


def test_an_export_holds_the_cells_whose_centre_is_inside(flora, plants):
    """A GeoTIFF of species and indicators has the stored values inside and no data outside, in its place."""
    answer = run(flora, "export", area=lonlat(WEDGE), species=["abies-alba"], indicators=["richness"])
    assert answer.headers["content-type"].startswith("image/tiff") and "export.tif" in answer.headers["content-disposition"]
    with MemoryFile(answer.content) as memory, memory.open(driver="GTiff") as raster:
        assert raster.descriptions == ("species.abies-alba", "richness") and raster.crs.to_epsg() == 3035
        fir, richness = raster.read(masked=True)
        columns, rows = np.meshgrid(np.arange(raster.width) + 0.5, np.arange(raster.height) + 0.5)
        x, y = raster.transform * (columns, rows)
    assert (fir.mask == ~shapely.contains_xy(WEDGE, x, y)).all() and (richness.mask == fir.mask).all()
    np.testing.assert_allclose(fir.compressed(), ((x - 4_100_000) / 10_000)[~fir.mask], atol=1e-4)
    alone = run(flora, "export", area=lonlat(WEDGE), species=["abies-alba"])
    with MemoryFile(alone.content) as memory, memory.open(driver="GTiff") as raster:
        assert raster.dtypes == ("uint16",)
        np.testing.assert_allclose(raster.read(1, masked=True).compressed() * raster.scales[0], fir.compressed(), atol=1e-6)


def test_a_geopackage_holds_the_reporting_cells_met(flora, plants, coverage_rows, tmp_path):
    """The rows of the species asked for in the cells the area meets, as the tiles' own files have them."""
    answer = run(flora, "export", area=lonlat(WEDGE), species=["abies-alba", "gentiana-lutea"], format="geopackage")
    path = tmp_path / "export.gpkg"
    path.write_bytes(answer.content)
    found = gpd.read_file(path, layer="species_coverage_map").sort_values(["cell_id", "taxonID"], ignore_index=True)
    wanted = coverage_rows(plants)
    wanted = wanted[wanted.intersects(WEDGE) & wanted["taxonID"].isin(["abies-alba", "gentiana-lutea"])]
    wanted = wanted.sort_values(["cell_id", "taxonID"], ignore_index=True)
    assert found["cell_id"].tolist() == wanted["cell_id"].tolist() and len(found) > 20
    np.testing.assert_array_equal(found["coverage"], wanted["coverage"])


class Watching(Budget):
    """Notes the memory in use before each tile."""

    def __init__(self) -> None:
        super().__init__(600)  # a traced process is slow
        self.bytes: list[int] = []

    def step(self, done: int, of: int) -> None:
        gc.collect()
        self.bytes.append(tracemalloc.get_traced_memory()[0])


def test_what_a_report_holds_does_not_grow_with_its_tiles(plants):
    """Sums are kept of a tile, not its cells (40 kB a map here), and each tile counts in the sums."""
    atlas = open_atlas(plants)
    area = area_of(lonlat(shapely.box(4_100_000, 2_550_000, 4_110_000, 2_555_000)), atlas.catalog.crs)
    tiles = tiles_of(atlas.today, area, 16)[:1]

    def asked(times: int) -> tuple[Survey, list[int]]:
        budget = Watching()
        found = survey(atlas.today, area, tiles * times, atlas.species.species.hash, budget, indicators_of(atlas.today))
        return found, budget.bytes

    asked(1)  # compiles, and opens what is kept of a tile
    tracemalloc.start()
    try:
        (one, _), (many, held) = asked(1), asked(25)
    finally:
        tracemalloc.stop()
    assert held[-1] - held[4] < 800_000  # 20 tiles of two maps were 1.6 MB; what else the process does counts here too
    assert many.cover.cells == pytest.approx(25 * one.cover.cells) and len(many.indicators) == 2
    for few, all_ in zip(one.indicators, many.indicators):
        assert all_["cells"] == pytest.approx(25 * few["cells"]) and all_.get("mean") == pytest.approx(few.get("mean"))


def test_weights_are_found_once_a_tile_of_what_lies_in_it(flora, monkeypatch):
    """However many maps are gone through, and however many vertices lie elsewhere."""
    asked: list[tuple[int, tuple[float, ...]]] = []

    def weights(polygons, box):
        asked.append((int(shapely.get_num_coordinates(polygons.to_numpy()).sum()), tuple(box.boundingbox.bbox)))
        return polygon_weights(polygons, box)

    monkeypatch.setattr("geoplantnet.serving.ogc.areas.polygon_weights", weights)
    lake = shapely.Point(4_107_500, 2_552_500).buffer(1_500, quad_segs=500).union(shapely.box(4_103_000, 2_552_400, 4_107_500, 2_552_600))
    told = run(flora, "area-report", area=lonlat(lake)).json()
    assert len(told["indicators"]) == 2 and told["area"]["cells"] == pytest.approx(lake.area / 1e4, rel=1e-3)
    assert len(asked) == told["area"]["tiles"] == 2
    assert min(vertices for vertices, _ in asked) < 10 and len({box for _, box in asked}) == 2


# ---- what they refuse

SQUARE = lonlat(shapely.box(4_101_000, 2_551_000, 4_102_000, 2_552_000))


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"inputs": {"area": {"href": "http://127.0.0.1/area.json"}}}, 400, "no address of a request is ever opened"),
        ({"inputs": {"area": {"type": "Polygon", "href": "file:///etc/passwd"}}}, 400, "no address"),
        ({"inputs": {"area": SQUARE}, "subscriber": {"successUri": "http://127.0.0.1:1/"}}, 400, "not called back"),
        ({"inputs": {}}, 400, "'area' is missing"),
        ({"inputs": {"area": SQUARE, "colour": 1}}, 400, "no input of"),
        ({"inputs": {"area": SQUARE, "min_coverage": "much"}}, 400, "not as the process describes"),
        ({"inputs": {"area": SQUARE, "min_coverage": 2}}, 400, "not as the process describes"),
        ({"inputs": {"area": "POLYGON((0 0))"}}, 400, "no GeoJSON Polygon"),
        ({"inputs": {"area": {"type": "Point", "coordinates": [7, 46]}}}, 400, "no GeoJSON Polygon"),
        ({"inputs": {"area": {"type": "Polygon", "coordinates": [[[7.1, 46], [7.2, 46], [7.1, 46]]]}}}, 400, "no valid polygon"),
        ({"inputs": {"area": {"type": "Polygon", "coordinates": []}}}, 400, "empty"),
        (
            {"inputs": {"area": {"type": "Polygon", "coordinates": [[[7, 46], [8, 47], [8, 46], [7, 47], [7, 46]]]}}},
            400,
            "Self-intersection",
        ),
        ({"inputs": {"area": {"type": "Polygon", "coordinates": [[[4e6, 2e6], [5e6, 2e6], [5e6, 3e6], [4e6, 2e6]]]}}}, 400, "longitude"),
        ({"inputs": {"area": {"bbox": [8, 46, 7, 47]}}}, 400, "minimum before maximum"),
        ({"inputs": {"area": {"bbox": [20, 46, 21, 47]}}}, 400, "no mapped tile"),
        ({"inputs": {"area": {"bbox": [10**400, 46, 21, 47]}}}, 400, "four numbers"),
        ({"inputs": {"area": {"type": "Polygon", "coordinates": [[[7, 46]] * 200_001]}}}, 400, "200001 vertices, at most 200000"),
        ({"inputs": {"area": SQUARE, "scenario": "colder"}}, 400, "no scenario"),
        ({"inputs": {"area": SQUARE}, "outputs": {"map": {}}}, 400, "no output"),
        ({"inputs": {"area": SQUARE}, "outputs": {"species": {"transmissionMode": "reference"}}}, 400, "values only"),
        ({"inputs": {"area": SQUARE}, "mode": "async"}, 400, "not known"),
        ([1], 400, "no JSON object"),
    ],
)
def test_faults_say_what_to_do(flora, body, status, says):
    """A wrong execution is refused in words, before anything is computed."""
    answer = flora.post("/ogc/processes/species-in-area/execution", json=body)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]


def test_bodies_are_json_and_not_too_large(flora, serving):
    """No JSON, numbers that are none, and a body beyond the limit are refused; so is a GET, and a process there is not."""
    path = "/ogc/processes/species-in-area/execution"
    assert flora.post(path, content=b"\xff{").status_code == 400
    assert flora.post(path, content=b"[" * 100_000).status_code == 400
    nan = '{"inputs": {"area": {"bbox": [7, 46, NaN, Infinity]}}}'
    assert flora.post(path, content=nan).status_code == 400
    least = '{"inputs": {"area": {"bbox": [7.1, 46.0, 7.2, 46.1]}, "min_coverage": %s}}'
    assert [flora.post(path, content=least % number).status_code for number in ("0.1", "NaN", "-Infinity")] == [200, 400, 400]
    assert serving(max_body=1000).post(path, content=b" " * 1001).status_code == 413
    assert flora.get(path).status_code == 405
    gone = flora.post("/ogc/processes/echo/execution", json={"inputs": {}})
    assert gone.status_code == 404 and gone.json()["type"].endswith("/no-such-process")
    assert flora.post("/ogc/processes/map-tile/execution", json={"inputs": {"tile": TILES[0]}}).status_code == 404


def test_unknown_species_are_named(flora):
    """A taxon id that is not there is 404 with the nearest spelling."""
    answer = run(flora, "export", area=SQUARE, species=["abies-albu"])
    assert answer.status_code == 404 and "abies-alba" in answer.json()["detail"]


def test_private_species_are_in_no_report(serving):
    """Neither by name nor in a count, and none is exported."""
    client = serving(private_layers=("species.cyp*", "habitat"))
    corner = {"bbox": [7.0, 46.0, 7.4, 46.2]}
    told = run(client, "area-report", area=corner)
    assert "cypripedium" not in told.text and "Woodland" not in told.text and told.json()["groups"]["protected"]["count"] == 0
    assert told.json()["habitats"] == [] and [one["layer"] for one in told.json()["indicators"]] == ["richness"]
    assert run(client, "export", area=corner, species=["cypripedium-calceolus"]).status_code == 404
    assert run(client, "export", area=corner, indicators=["habitat"]).status_code == 404
    everything = run(client, "export", area=corner, format="geopackage")
    assert everything.status_code == 200 and b"cypripedium" not in everything.content


# ---- jobs


def test_a_job_answers_as_the_request_would(flora):
    """Asynchronous: 201 with a place to look at, then a result with the same bytes; as a document where one was asked for."""
    at_once = run(flora, "species-in-area", area=lonlat(WEDGE))
    made = run(flora, "species-in-area", {"Prefer": "respond-async, wait=5"}, area=lonlat(WEDGE))
    assert made.status_code == 201 and made.headers["preference-applied"] == "respond-async"
    assert made.headers["location"].endswith(f"/ogc/jobs/{made.json()['jobID']}")
    job = ended(flora, made.json())
    assert (job["status"], job["progress"], job["processID"]) == ("successful", 100, "species-in-area")
    result = flora.get(next(link["href"] for link in job["links"] if link["rel"].endswith("/results")))
    assert result.json() == at_once.json()
    body = {"inputs": {"area": lonlat(WEDGE), "species": ["abies-alba"]}, "response": "document"}
    told = flora.post("/ogc/processes/export/execution", json=body).json()["file"]
    assert told["mediaType"].startswith("image/tiff") and base64.b64decode(told["value"])[:2] in (b"II", b"MM")


def test_a_failed_job_tells_why(flora):
    """Its status is failed, its result the fault with the status it would have had."""
    job = ended(flora, run(flora, "species-in-area", {"Prefer": "respond-async"}, area={"bbox": [20, 46, 21, 47]}).json())
    assert job["status"] == "failed" and "no mapped tile" in job["message"]
    answer = flora.get(f"/ogc/jobs/{job['jobID']}/results")
    assert answer.status_code == 400 and "no mapped tile" in answer.json()["detail"]


def test_a_dismissed_job_has_no_result(flora):
    """DELETE dismisses; a job there is not is told as the standard says."""
    job = ended(flora, run(flora, "area-report", {"Prefer": "respond-async"}, area=SQUARE).json())
    assert flora.delete(f"/ogc/jobs/{job['jobID']}").json()["status"] == "dismissed"
    gone = flora.get(f"/ogc/jobs/{job['jobID']}/results")
    assert gone.status_code == 404 and gone.json()["type"].endswith("/result-not-ready")
    for path in ("/ogc/jobs/nothing", "/ogc/jobs/" + "a" * 22, "/ogc/jobs/nothing/results"):
        answer = flora.get(path)
        assert answer.status_code == 404 and answer.json()["type"].endswith("/no-such-job")


def slow(started: threading.Event, budget: Budget) -> Result:
    """Works until nobody waits any more."""
    started.set()
    for _ in range(3000):
        time.sleep(0.01)
        budget.check()
    raise AssertionError("it was never ended")


@pytest.fixture
def keys(tmp_path):
    """A file of keys and two of them."""
    ring = KeyRing(tmp_path / "keys", create=True)
    made = ring.add("botanist", layers=("habitat",)), ring.add("guest")
    ring.close()
    return tmp_path / "keys", *made


def test_a_job_of_a_key_is_there_for_that_key_alone(serving, keys):
    """Without it, or with another, status, result and dismissal are those of a job there is not; no cache keeps any of them."""
    file, own, other = keys
    client = serving(keys=file, private_layers=("habitat",))
    mine = {"X-API-Key": own}
    made = run(client, "area-report", {**mine, "Prefer": "respond-async"}, area=SQUARE).json()["jobID"]
    until = time.monotonic() + 30
    while (told := client.get(f"/ogc/jobs/{made}", headers=mine)).json()["status"] != "successful":
        assert time.monotonic() < until
    nothing = "a" * 22
    for headers in ({}, {"X-API-Key": other}):
        for method, path in (("GET", "/ogc/jobs/{}"), ("GET", "/ogc/jobs/{}/results"), ("DELETE", "/ogc/jobs/{}")):
            refused, unknown = (client.request(method, path.format(id), headers=headers) for id in (made, nothing))
            assert refused.status_code == unknown.status_code == 404
            assert refused.text.replace(made, nothing) == unknown.text
            assert refused.headers["cache-control"] == "no-store"
        assert client.get("/ogc/jobs", headers=headers).json()["jobs"] == []
    result = client.get(f"/ogc/jobs/{made}/results", headers=mine)
    assert result.status_code == 200 and "habitat" in result.text
    listed = client.get("/ogc/jobs", headers=mine)
    assert [one["jobID"] for one in listed.json()["jobs"]] == [made]
    dismissed = client.delete(f"/ogc/jobs/{made}", headers=mine)
    assert dismissed.json()["status"] == "dismissed"
    assert {one.headers["cache-control"] for one in (told, result, listed, dismissed)} == {"no-store"}


def test_a_job_without_a_key_is_there_for_who_knows_its_id(flora):
    """It is in no list, since clients behind a proxy share an address; its id is enough to look at it, and to end it."""
    job = ended(flora, run(flora, "species-in-area", {"Prefer": "respond-async"}, area=SQUARE).json())
    assert flora.get("/ogc/jobs").json()["jobs"] == [] and "jobID" not in flora.get("/ogc/jobs?f=html").text
    assert flora.get(f"/ogc/jobs/{job['jobID']}/results").headers["cache-control"] == "no-store"
    assert flora.delete(f"/ogc/jobs/{job['jobID']}").json()["status"] == "dismissed"


def test_processes_leave_room_for_maps(serving, monkeypatch):
    """While as many run as may at once, another is told to come back, a job is still taken, and a place that is free again is given."""
    client, inside, go_on = serving(), threading.Semaphore(0), threading.Event()

    def waits(*of_the_survey: object) -> None:
        inside.release()
        assert go_on.wait(30)
        raise TooLarge("enough; ask for less")

    with monkeypatch.context() as patched, ThreadPoolExecutor(SYNC_AT_ONCE) as others:
        patched.setattr("geoplantnet.serving.ogc.processes.survey", waits)
        waiting = [others.submit(run, client, "species-in-area", area=SQUARE) for _ in range(SYNC_AT_ONCE)]
        try:
            assert all(inside.acquire(timeout=10) for _ in waiting)
            refused = run(client, "species-in-area", area=SQUARE)
            job = run(client, "species-in-area", {"Prefer": "respond-async"}, area=SQUARE)
        finally:
            go_on.set()
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0 and "respond-async" in refused.json()["detail"]
        assert job.status_code == 201 and [one.result().status_code for one in waiting] == [400] * SYNC_AT_ONCE
        ended(client, job.json())
    assert run(client, "species-in-area", area=SQUARE).status_code == 200


def test_a_running_job_ends_when_it_is_dismissed_and_one_client_cannot_take_all(tmp_path):
    """Its thread is free again soon; more jobs than one client may have are refused, and another client still has room."""
    jobs = Jobs(tmp_path)
    started = threading.Event()
    made = [jobs.submit("slow", "me", slow, started) for _ in range(MOST_OWN)]
    assert started.wait(10)
    with pytest.raises(TryAgain, match="try again"):
        jobs.submit("slow", "me", slow, started)
    other = jobs.submit("quick", "you", lambda budget: Result(body=b"1", media_type="text/plain"))
    for job in made:
        jobs.dismiss(job)
    until = time.monotonic() + 20
    while jobs.job(other.id).status != "successful":
        assert time.monotonic() < until
        time.sleep(0.01)
    assert {jobs.job(job.id).status for job in made} == {"dismissed"}
    assert [job.id for job in jobs.jobs("you", 10, 0)[0]] == [other.id]
    jobs.close()


def test_jobs_outlive_the_server_and_those_of_the_dead_have_failed(tmp_path, monkeypatch):
    """Another process finds the results in the folder; what a process that is gone was working on has failed; old ones are forgotten."""
    jobs = Jobs(tmp_path)
    done = jobs.submit("quick", "me", lambda budget: Result(body=b"1", media_type="text/plain"))
    while jobs.job(done.id).status != "successful":
        time.sleep(0.01)
    started = threading.Event()
    lost = jobs.submit("slow", "me", slow, started)
    assert started.wait(10)
    monkeypatch.setattr("geoplantnet.serving.ogc.jobs._name_of", lambda pid: f"{__import__('socket').gethostname()}:{pid}:later")
    again = Jobs(tmp_path)
    assert again.result(again.job(done.id)).body == b"1"
    assert again.job(lost.id).status == "failed" and again.job(lost.id).code == 503
    monkeypatch.setattr("geoplantnet.serving.ogc.jobs.KEPT_S", -1)
    assert again.jobs("me", 10, 0) == ([], 0) and not list(tmp_path.glob("*.result"))
    jobs.close()
    again.close()


def test_time_is_bounded():
    """A budget that is used up ends the work with a word on what to do; one that nobody waits for, without."""
    with pytest.raises(TooLarge, match="smaller area"):
        Budget(-1).check()
    budget = Budget(100)
    budget.check()
    budget.dismissed.set()
    with pytest.raises(Dismissed):
        budget.step(1, 2)


def test_progress_never_goes_back(plants):
    """Also where two areas are gone through, one after the other; and who dismisses the whole ends its parts."""
    told: list[float] = []
    budget = Budget(60, told.append)
    wide = lonlat(shapely.box(4_100_100, 2_550_100, 4_109_900, 2_554_900))
    with closing(open_atlas(plants)) as atlas:
        PROCESSES["area-report"].run(atlas, {"area": wide, "compare": {"scenario": "warmer"}}, budget, 16)
    assert len(told) >= 4 and told == sorted(told) and told[0] == 0 and 0.5 < told[-1] <= 1
    budget.dismissed.set()
    with pytest.raises(Dismissed):
        budget.part(1, 2).check()


def test_a_cluster_does_the_jobs(serving, flora):
    """Handed to Dask, a job has the result the server itself finds."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        client = serving(scheduler=cluster.scheduler_address)
        job = ended(client, run(client, "species-in-area", {"Prefer": "respond-async"}, area=lonlat(WEDGE)).json())
        assert job["status"] == "successful", job
        assert client.get(f"/ogc/jobs/{job['jobID']}/results").json() == run(flora, "species-in-area", area=lonlat(WEDGE)).json()
        client.__exit__(None, None, None)


@pytest.mark.parametrize("scenario", ["today", "warmer"])
def test_a_worker_of_a_cluster_tells_no_private_layer(serving, monkeypatch, scenario):
    """Neither an indicator nor a species that the client may not see, of any epoch, is in a job's report or export."""
    with ThreadPoolExecutor(1) as cluster:

        class Far:
            """Hands work over as plain bytes, as a cluster does."""

            def submit(self, work, task):
                return cluster.submit(work, pickle.loads(pickle.dumps(task)))

        monkeypatch.setattr(Jobs, "_workers", lambda self: Far())
        client = serving(private_layers=("species.cyp*", "habitat"), scheduler="tcp://127.0.0.1:1")
        asked = {"area": {"bbox": [7.0, 46.0, 7.4, 46.2]}, "scenario": scenario}
        job = ended(client, run(client, "area-report", {"Prefer": "respond-async"}, **asked).json())
        assert job["status"] == "successful", job
        told = client.get(f"/ogc/jobs/{job['jobID']}/results")
        assert [one["layer"] for one in told.json()["indicators"]] == ["richness"] and "cypripedium" not in told.text
        for private in ({"indicators": ["habitat"]}, {"species": ["cypripedium-calceolus"]}):
            job = ended(client, run(client, "export", {"Prefer": "respond-async"}, **asked, **private).json())
            assert job["status"] == "failed" and client.get(f"/ogc/jobs/{job['jobID']}/results").status_code == 404


def test_tiles_are_mapped_only_for_who_may(plants, tmp_path):
    """The process is there for a key that grants it alone, always as a job, and calls the operator's function with the tile."""
    from starlette.testclient import TestClient

    from geoplantnet.serving import create_app
    from geoplantnet.serving.settings import ServerSettings

    ring = KeyRing(tmp_path / "keys", create=True)
    operator, guest = ring.add("operator", layers=("process.map-tile",)), ring.add("guest", layers=("species.*",))
    ring.close()
    mapped: list[str] = []

    def map_tile(tile: str) -> dict:
        mapped.append(tile)
        return {"tile": tile}

    app = create_app(plants, settings=ServerSettings(keys=tmp_path / "keys"), operator=map_tile)
    with TestClient(app, raise_server_exceptions=False) as client:
        path, body = "/ogc/processes/map-tile/execution", {"inputs": {"tile": TILES[0]}}
        for headers in ({}, {"X-API-Key": guest}):
            assert client.post(path, json=body, headers=headers).status_code == 404
            assert "map-tile" not in client.get("/ogc/processes", headers=headers).text
        assert "map-tile" in client.get("/ogc/processes", headers={"X-API-Key": operator}).text
        made = client.post(path, json=body, headers={"X-API-Key": operator})
        assert made.status_code == 201
        client.headers["X-API-Key"] = operator
        assert ended(client, made.json())["status"] == "successful" and mapped == [TILES[0]]
        del client.headers["X-API-Key"]
        assert client.get("/ogc/jobs").json()["jobs"] == []
        assert client.post(path, json={"inputs": {"tile": "../etc"}}, headers={"X-API-Key": operator}).status_code == 400
