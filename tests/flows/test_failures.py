"""A tile that fails is named and left out, the rest completes, and after mending only what is missing is done."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import cloudpickle
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rich.console import Console

from geoplantnet.catalog.catalog import open_catalog
from geoplantnet.errors import InputError, PartialResult, StorageError, TryAgain
from geoplantnet.storage import write_json
from pipelines import flow as flow_module
from pipelines import ledger as ledger_module
from pipelines import workers as workers_module
from pipelines.context import Run
from pipelines.flow import Flow
from pipelines.ledger import Ledger
from pipelines.plan import Stage
from pipelines.progress import Reporter
from pipelines.stages import TaskFailed

FAILURE = {"stage", "key", "kind", "message", "exit_code", "details", "fingerprint", "attempts"}
ONE, TWO, THREE = "5kmE4100N2600", "5kmE4105N2600", "5kmE4100N2605"
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


def write_raster(path, tiles, *, crs="EPSG:3035", value=1.0):
    """A GeoTIFF of 50 m pixels over `tiles` and 5 km around, one internal block a tile, each compressed by itself."""
    west, south = 4_095_000, 2_595_000
    values = np.full((400, 400), value, np.float32) + np.arange(400, dtype=np.float32)[:, None] / 400
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=400,
        height=400,
        count=1,
        dtype="float32",
        crs=crs,
        nodata=-1,
        transform=from_origin(west, south + 20_000, 50, 50),
        tiled=True,
        blockxsize=112,
        blockysize=112,
        compress="deflate",
    ) as raster:
        raster.write(values, 1)
    return path


def with_raster(write_recipe, path):
    """The tiny recipe with a user's own raster beside the world's modalities."""
    recipe = write_recipe()
    text = recipe.read_text(encoding="utf-8")
    section = f"  soil:\n    definition: soil\n    source: {{kind: raster, path: {path}, bands: [ph]}}\n"
    recipe.write_text(text.replace("modalities:\n", "modalities:\n" + section), encoding="utf-8")
    (recipe.parent / "modalities").mkdir()
    (recipe.parent / "modalities" / "soil.yaml").write_text("bands: [ph]\nresolution: 50\n", encoding="utf-8")
    return recipe


def break_block(path, tile):
    """Overwrite the compressed block under the middle of a tile."""
    with rasterio.open(path) as raster:
        west, south, east, north = tile.bounds
        row, column = raster.index((west + east) / 2, (south + north) / 2)
        block = (column // 112, row // 112)
        offset, size = (int(raster.get_tag_item(f"BLOCK_{what}_{block[0]}_{block[1]}", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE"))
    content = bytearray(path.read_bytes())
    content[offset : offset + size] = b"\xff" * size
    path.write_bytes(content)


@pytest.fixture(scope="module")
def partial(write_recipe, run_recipe, opened, tmp_path_factory):
    """A run in which the raster cannot be read over tile TWO: recipe, raster, store, and the error."""
    folder = tmp_path_factory.mktemp("partial")
    raster = write_raster(folder / "soil.tif", [ONE, TWO, THREE])
    good = raster.read_bytes()
    break_block(raster, opened.tile(TWO))
    recipe = with_raster(write_recipe, raster)
    with pytest.raises(PartialResult) as error:
        run_recipe(recipe, folder / "store")
    return recipe, raster, good, folder / "store", error.value


def test_a_failing_tile_is_quarantined_with_its_reason_and_the_others_complete(partial):
    """Exit 5; the error names tile, stage and cause; the ledger keeps it; the catalog holds the other two."""
    *_, store, error = partial
    assert error.exit_code == 5 and TWO in str(error) and "damaged" in str(error) and "1 of 3 tiles" in str(error)
    (failure,) = Ledger(store).failures()
    assert (failure.stage, failure.key, failure.kind, failure.exit_code) == ("cubes", f"{TWO}.soil", "RasterError", 4)
    assert [tile.id for tile in open_catalog(store).tiles] == sorted([ONE, THREE])
    cube = store / "cubes" / f"{TWO}.zarr"
    assert (cube / "climate").exists() and not (cube / "soil").exists() and not (store / "tiles" / TWO).exists()


def test_a_later_stage_says_which_tiles_it_leaves_out(partial, run_recipe):
    """No silent drop: a stage run by itself ends with the same error, though it did nothing new."""
    recipe, *_, store, _ = partial
    with pytest.raises(PartialResult, match=rf"{TWO}\.soil .*damaged"):
        run_recipe(recipe, store, names=["indicators"])


def test_after_mending_the_next_run_completes(partial, run_recipe, products, tmp_path):
    """The tile is made, the model learns from it too, and the store is that of a run which never failed."""
    recipe, raster, good, store, _ = partial
    raster.write_bytes(good)
    run_recipe(recipe, store)
    assert Ledger(store).failures() == [] and len(open_catalog(store).tiles) == 3
    run_recipe(recipe, tmp_path / "scratch")
    assert products(store) == products(tmp_path / "scratch")


def test_a_tile_that_worked_and_now_fails_is_not_published_from_its_old_products(
    reference, store, write_recipe, run_recipe, opened, tmp_path
):
    """An old record does not stand in for a task that failed: the tile leaves the catalog until it is mended."""
    raster = write_raster(tmp_path / "soil.tif", [ONE, TWO, THREE])
    break_block(raster, opened.tile(TWO))
    with pytest.raises(PartialResult):
        run_recipe(with_raster(write_recipe, raster), store)
    assert TWO not in [tile.id for tile in open_catalog(store).tiles]
    run_recipe(reference.recipe, store)
    assert len(open_catalog(store).tiles) == 3


def test_a_raster_without_a_crs_stops_the_run_with_a_typed_error(write_recipe, run_recipe, tmp_path):
    """Every tile fails of it, so the run ends with the error's own exit code and names the fix."""
    raster = write_raster(tmp_path / "soil.tif", [ONE], crs=None)
    with pytest.raises(TaskFailed, match="no CRS; assign the right one") as error:
        run_recipe(with_raster(write_recipe, raster), tmp_path / "store", names=["occurrences", "cubes"])
    assert (error.value.exit_code, error.value.kind) == (4, "CrsError")
    assert {f.kind for f in Ledger(tmp_path / "store").failures()} == {"CrsError"}
    assert not list((tmp_path / "store").glob("cubes/*/soil"))


def test_a_raster_that_is_not_there_is_a_typed_error(write_recipe, run_recipe, tmp_path):
    """Named with its path."""
    with pytest.raises(TaskFailed, match=r"nowhere\.tif") as error:
        run_recipe(with_raster(write_recipe, tmp_path / "nowhere.tif"), tmp_path / "store", names=["cubes"])
    assert error.value.exit_code == 4


def test_an_all_nodata_tile_is_named_and_the_others_complete(write_recipe, run_recipe, tmp_path):
    """Two tiles on the relief of the Aletsch region and one beyond its edge, where no modality holds anything."""
    beyond = "5kmE4205N2600"
    recipe = write_recipe({"world": {"relief": "aletsch", "species": 20}, "grid.tiles": ["5kmE4185N2600", "5kmE4190N2600", beyond]})
    with pytest.raises(PartialResult, match=f"{beyond} .*nodata over it; drop the tile"):
        run_recipe(recipe, tmp_path / "store")
    assert [tile.id for tile in open_catalog(tmp_path / "store").tiles] == ["5kmE4185N2600", "5kmE4190N2600"]


def a_flow(run, stage):
    with Flow(run, Reporter(Console(quiet=True))) as flow:
        return flow.carry_out(stage)


def a_stage(work, **more):
    return Stage("cubes", keys=lambda run: run.chosen, settings=lambda run: lambda key: [], needs=lambda run, key: [], work=work, **more)


def test_an_unforeseen_error_in_one_task_does_not_take_the_others_down(reference, tmp_path):
    """It becomes a failure with its name and, in the ledger, its traceback; the others commit."""

    def work(run, key, inside):
        if key == ONE:
            raise ZeroDivisionError("a defect")
        return [write_json(run.store / f"{key}.json", 1)], {}

    outcome = a_flow(Run.open(reference.recipe, store=tmp_path), a_stage(work))
    assert sorted(outcome.done) == sorted([TWO, THREE])
    (failure,) = outcome.failures
    assert (failure.kind, failure.message, failure.exit_code) == ("ZeroDivisionError", "a defect", 1)
    assert "Traceback" in Ledger(tmp_path).failures()[0].details


def test_a_worker_killed_once_costs_nothing_but_time(reference, write_recipe, tmp_path, monkeypatch):
    """Its task is given to the next worker; the stage completes."""
    monkeypatch.setattr(flow_module, "FIRST_DELAY", 0.1)

    def work(run, key, inside):
        marker = run.store / "killed"
        if key == ONE and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [write_json(run.store / f"{key}.json", 1)], {}

    outcome = a_flow(Run.open(write_recipe(cluster={"workers": 1}), store=tmp_path), a_stage(work))
    assert len(outcome.done) == 3 and not outcome.failures


def test_workers_that_never_come_back_end_the_run(reference, write_recipe, tmp_path, monkeypatch):
    """A run without workers ends and says so; it does not wait for ever, and nothing is held against the tasks."""
    monkeypatch.setattr(workers_module, "WITHOUT_WORKERS", "1s")
    run = Run.open(write_recipe(cluster={"workers": 1}), store=tmp_path)
    with Flow(run, Reporter(Console(quiet=True))) as flow, pytest.raises(TryAgain, match="all workers are gone"):
        workers = flow._connect()
        workers.cluster.scale(0)
        while workers.threads:
            time.sleep(0.05)
        flow.carry_out(a_stage(lambda run, key, inside: ([], {})))
    assert Ledger(tmp_path).failures() == []


def test_a_full_store_ends_the_stage_at_once(reference, tmp_path):
    """StorageError, exit 6: the other tiles would fail of it too and are not tried."""

    def work(run, key, inside):
        (run.store / f"tried-{key}").touch()
        raise StorageError("cannot write x: No space left on device; free space")

    with pytest.raises(StorageError, match="No space left") as error:
        a_flow(Run.open(reference.recipe, store=tmp_path), a_stage(work))
    assert error.value.exit_code == 6 and len(list(tmp_path.glob("tried-*"))) < 3
    assert Ledger(tmp_path).failures() == []


def test_two_runs_on_one_store_have_one_winner(reference, store, run_recipe, products):
    """The second gets TryAgain, exit 75, and touches nothing."""
    with Ledger(store).locked(), pytest.raises(TryAgain, match="another run holds") as error:
        run_recipe(reference.recipe, store)
    assert error.value.exit_code == 75 and products(store) == reference.bytes_of
    run_recipe(reference.recipe, store)


def test_a_run_waits_for_the_last_tasks_of_a_killed_one(store, monkeypatch):
    """A task may outlive its run. The store is nobody's until it has ended, and then its litter is swept."""
    monkeypatch.setattr(ledger_module, "PATIENCE", 0.2)
    litter = store / ".tmp-1-x-a.tif"
    with Ledger(store).writing():
        litter.write_text("half")
        with pytest.raises(TryAgain, match="still write"), Ledger(store).locked():
            pass
        assert litter.exists()
    with Ledger(store).locked():
        assert not litter.exists()


def test_a_scheduler_that_does_not_answer_is_a_typed_error(write_recipe, run_recipe, tmp_path, monkeypatch):
    """InputError that names the address."""
    monkeypatch.setattr(workers_module, "PATIENCE", 1)
    with pytest.raises(InputError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9") as error:
        run_recipe(write_recipe(cluster={"scheduler": "tcp://127.0.0.1:9"}), tmp_path / "store")
    assert error.value.exit_code == 4


def test_failures_are_plain_json(partial):
    """What an operator's own tools read."""
    *_, store, _ = partial
    files = list((store / "ledger").glob("*/*.failed"))
    assert all(set(json.loads(f.read_text())) == FAILURE for f in files)
