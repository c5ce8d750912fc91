"""The command line: verbs, what they print, and how they end. Never a traceback."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import geopandas as gpd
import pytest
import yaml
from shapely import box

from pipelines.ledger import Cost, Failure, Ledger
from pipelines.run import STAGES

ONE, TWO, THREE = "5kmE4100N2600", "5kmE4105N2600", "5kmE4100N2605"
VERBS = ["grid", "occurrences", "cubes", "train", "map", "indicators", "publish", "run", "demo", "serve", "keys", "status", "verify"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(cli, verb):
    """--help ends with 0 and tells what the verb does."""
    ended = cli(verb, "--help")
    assert ended.code == 0 and verb in ended.out and "--help" in ended.out


def test_help_lists_every_verb_and_version_is_one_line(cli):
    """What a newcomer types first."""
    assert all(verb in cli("--help").out for verb in VERBS)
    ended = cli("--version")
    assert ended.code == 0 and ended.out.startswith("geoplantnet ") and len(ended.out.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["fly"], ["run"], ["run", "demo", "--no-such"], ["serve", "demo", "--port", "99999"], ["verify", "demo", "extra"]]
)
def test_a_wrong_call_ends_with_2(cli, arguments):
    """Unknown verbs, options and values, missing arguments."""
    ended = cli(*arguments)
    assert ended.code == 2 and "Traceback" not in ended.text and ended.err


def test_grid_lists_tiles_bounds_and_what_was_made(cli, reference, tmp_path):
    """Before and after a run."""
    empty = cli("grid", "show", reference.recipe, "--store", tmp_path)
    assert (
        empty.code == 0 and all(tile in empty.out for tile in (ONE, TWO, THREE)) and "4100000" in empty.out and "publish" not in empty.out
    )
    assert "cubes, map, indicators, publish" in cli("grid", "show", reference.recipe, "--store", reference.store).out


def test_a_half_built_cube_is_counted(cli, reference, store):
    """Modalities there of those wanted."""
    Ledger(store).forget("cubes", f"{ONE}.terrain")
    assert f"{ONE} " in (said := cli("grid", "show", reference.recipe, "--store", store).out) and "cubes 2/3, map" in said


def test_named_grids_are_listed_and_shown(cli):
    """Names with their number of tiles; one with what is known of every tile."""
    listed = cli("grid", "list")
    assert listed.code == 0 and all(name in listed.out for name in ("alps", "europe", "greece")) and "Mediterranean" in listed.out
    shown = cli("grid", "show", "greece")
    assert shown.code == 0 and shown.out.count("25kmE") > 300 and "biogeographic_region" in shown.out
    ended = cli("grid", "show", "grece")
    assert ended.code == 3 and "Traceback" not in ended.text


def test_a_grid_of_ones_own_is_made_from_polygons_and_built_on(cli, tmp_path, monkeypatch):
    """Four tiles around a corner; the table lies where recipes look; a second of the name is refused, a bad file too."""
    geometry = tmp_path / "area.gpkg"
    gpd.GeoSeries([box(4_120_000, 2_570_000, 4_130_000, 2_580_000)], crs="EPSG:3035").to_file(geometry, driver="GPKG")
    monkeypatch.chdir(tmp_path)
    made = cli("grid", "make", "--geometry", geometry, "--name", "corner")
    assert made.code == 0 and "4 tiles of 25 km for 100 km2" in made.out
    assert (tmp_path / "tiles" / "corner.csv").read_text(encoding="utf-8").count(",CH,CH,Alpine") == 4
    assert cli("grid", "make", "--geometry", geometry, "--name", "corner").code == 2
    assert cli("grid", "make", "--geometry", tmp_path / "no.gpkg", "--name", "other").code == 4
    assert "4 tiles" in cli("grid", "show", "corner").out


def test_status_counts_and_names_failures(cli, reference, store):
    """A line a stage; a failure with its reason."""
    whole = cli("status", reference.recipe, "--store", store)
    assert whole.code == 0 and all(stage in whole.out for stage in STAGES)
    Ledger(store).forget("map", TWO)
    (store / "ledger" / "map" / f"{TWO}.failed").write_text(
        f'{{"stage": "map", "key": "{TWO}", "kind": "NoDataError", "message": "nothing [here]", "exit_code": 4}}'
    )
    assert f"map {TWO}: NoDataError: nothing [here]" in cli("status", reference.recipe, "--store", store).out


def test_a_run_that_is_up_to_date_says_so(cli, reference, store):
    """Exit 0, whatever the verb."""
    ended = cli("run", reference.recipe, "--store", store)
    assert ended.code == 0 and "Nothing to do" in ended.out
    for verb in ("occurrences", "cubes", "train", "map", "indicators", "publish"):
        ended = cli(verb, reference.recipe, "--store", store)
        assert ended.code == 0 and f"{verb}: nothing to do, up to date in" in ended.out


def test_one_verb_makes_what_is_missing(cli, reference, store, products):
    """Lines of progress where there is no terminal."""
    shutil.rmtree(store / "latent")
    ended = cli("map", reference.recipe, "--store", store, "--tile", ONE, "--tile", TWO)
    assert ended.code == 0 and "map          2/2" in ended.out
    assert cli("map", reference.recipe, "--store", store).code == 0 and products(store) == reference.bytes_of


def test_verify_tells_the_count_or_the_damage(cli, reference, store, products):
    """Exit 0 when all is as recorded; 6 and each damaged asset by name otherwise; --drop lets the next run mend it."""
    whole = cli("verify", reference.recipe, "--store", store)
    assert whole.code == 0 and "assets verified, all as recorded" in whole.out
    for name in (f"tiles/{ONE}/shannon.tif", "catalog.json"):
        (store / name).write_bytes((store / name).read_bytes()[:-1] + b"?")
    damaged = cli("verify", reference.recipe, "--store", store)
    assert damaged.code == 6 and "IntegrityError" in damaged.err and "2 damaged" in damaged.err and "add --drop" in damaged.err
    assert f"indicators {ONE}: tiles/{ONE}/shannon.tif differs from its recorded SHA-256" in damaged.out
    assert "catalog catalog: catalog.json differs" in damaged.out
    assert "makes them again" in cli("verify", reference.recipe, "--store", store, "--drop").err
    assert cli("run", reference.recipe, "--store", store).code == 0
    assert cli("verify", reference.recipe, "--store", store).code == 0 and products(store) == reference.bytes_of


def test_cubes_alone_are_looked_at_like_whole_runs(cli, reference, tmp_path):
    """A recipe of cubes: status has its one stage, verify its assets; a fault in what looks like a whole recipe is told as ever."""
    whole = yaml.safe_load(reference.recipe.read_text(encoding="utf-8"))
    file = tmp_path / "cubes.yaml"
    file.write_text(yaml.safe_dump({k: whole[k] for k in ("title", "store", "seed", "grid", "world", "modalities")}), encoding="utf-8")
    said = cli("status", file, "--store", reference.store)
    (line,) = (line for line in said.out.splitlines() if " cubes " in line)
    assert said.code == 0 and line.split()[3:7:2] == ["9", "9"] and " map " not in said.out
    assert cli("verify", file, "--store", reference.store).code == 0
    ended = cli("verify", file, "--store", tmp_path / "empty")
    assert ended.code == 6 and "`geoplantnet cubes`" in ended.err
    file.write_text(yaml.safe_dump({k: v for k, v in whole.items() if k != "map"}), encoding="utf-8")
    ended = cli("status", file)
    assert ended.code == 3 and "map: missing; add it" in ended.err


def test_cubes_of_a_named_grid_are_looked_at_with_the_words_that_built_them(cli, tmp_path):
    """status, verify and grid show: what is done of one tile, what failed of another, a damaged byte."""
    store, words = tmp_path / "store", ("--grid", "demo", "--modalities", "footprint, landcover", "--data", tmp_path)
    cube = store / "cubes" / "25kmE4125N2575.zarr" / "footprint"
    cube.mkdir(parents=True)
    (cube / "zarr.json").write_text("{}", encoding="utf-8")
    ledger = Ledger(store)
    ledger.commit("cubes", "25kmE4125N2575.footprint", "mark", [cube], {"valid": 1, "pixels": 1, "asked": ""}, Cost())
    ledger.fail(Failure(stage="cubes", key="25kmE4150N2575.landcover", kind="InputError", message="no file"))
    said = cli("status", *words, "--store", store)
    (line,) = (line for line in said.out.splitlines() if " cubes " in line)
    assert said.code == 0 and [w for w in line.split() if w.isdigit()] == ["1", "8", "0", "1"]
    assert "cubes 25kmE4150N2575.landcover: InputError: no file" in said.out
    assert "1 assets verified" in cli("verify", *words, "--store", store).out
    (cube / "zarr.json").write_text("[]", encoding="utf-8")
    assert cli("verify", *words, "--store", store).code == 6
    ledger.commit("cubes", "25kmE5625N1450.footprint", "mark", [cube], {}, Cost())
    shown = cli("grid", "show", "greece", "--store", store).out.splitlines()
    assert [line.split()[1] for line in shown if "footprint" in line] == ["25kmE5625N1450"]
    for wrong in ((), ("--grid", "demo"), ("demo", "--grid", "demo")):
        assert cli("status", *wrong).code == cli("verify", *wrong).code == 2


def test_verify_of_nothing_is_an_error(cli, reference, tmp_path):
    """An empty store is not a sound one."""
    ended = cli("verify", reference.recipe, "--store", tmp_path / "empty")
    assert ended.code == 6 and "holds no products; make them with" in ended.err


def test_a_faulty_recipe_ends_with_3(cli, write_recipe, tmp_path):
    """Each fault a line, before any worker is started; a misspelt indicator too."""
    ended = cli("run", write_recipe({"indicators": ["richnes"]}), "--store", tmp_path)
    assert (
        ended.code == 3 and "ConfigurationError: " in ended.err and "Did you mean 'richness'" in ended.err and "Traceback" not in ended.text
    )
    ended = cli("run", "dmo", "--store", tmp_path)
    assert ended.code == 3 and "Did you mean 'demo'?" in ended.err
    assert not list(tmp_path.iterdir())


def test_unusable_input_ends_with_4(cli, write_recipe, reference, tmp_path):
    """A tile that is none of the recipe's, a stage before its upstream, more plots per species than there are."""
    ended = cli("map", reference.recipe, "--store", tmp_path / "a", "--tile", "5kmE4100N260")
    assert ended.code == 4 and "Did you mean" in ended.err
    ended = cli("map", reference.recipe, "--store", tmp_path / "a")
    assert ended.code == 4 and "run `geoplantnet train` first" in ended.err
    ended = cli("occurrences", write_recipe({"species.minimum_plots": 1000}), "--store", tmp_path / "b")
    assert ended.code == 4 and "lower species.minimum_plots" in ended.err and "Traceback" not in ended.text


def test_a_store_that_cannot_be_one_ends_with_6(cli, reference, tmp_path):
    """A file in the place of the folder."""
    (tmp_path / "store").write_text("a file")
    ended = cli("run", reference.recipe, "--store", tmp_path / "store")
    assert ended.code == 6 and "choose another with --store" in ended.err and "Traceback" not in ended.text


def test_a_held_store_ends_with_75(cli, reference, store):
    """Nothing is wrong: try again. Looking is allowed meanwhile."""
    with Ledger(store).locked():
        ended = cli("run", reference.recipe, "--store", store)
        assert ended.code == 75 and "TryAgain" in ended.err and "another run holds" in ended.err
        assert cli("verify", reference.recipe, "--store", store, "--drop").code == 75
        assert cli("status", reference.recipe, "--store", store).code == 0
        assert cli("verify", reference.recipe, "--store", store).code == 0


def test_ctrl_c_while_nothing_runs_ends_with_130(reference, tmp_path):
    """The map server, or a run that has not begun: no traceback."""
    listen = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's background jobs inherit a deaf one
    interrupt = "c.Run.open = lambda *a, **k: os.kill(os.getpid(), signal.SIGINT)"
    code = f"import os, signal, pipelines.cli as c; {listen}; {interrupt}; c.main()"
    ended = subprocess.run([sys.executable, "-c", code, "status", str(reference.recipe)], capture_output=True, text=True, check=False)
    assert ended.returncode in (130, -signal.SIGINT) and "Traceback" not in ended.stderr


def test_the_map_server_of_an_empty_store_says_what_to_do(cli, reference, tmp_path):
    """There is nothing to serve yet."""
    ended = cli("serve", reference.recipe, "--store", tmp_path / "empty", "--port", "0")
    assert ended.code == 6 and "nothing is published" in ended.err and "Traceback" not in ended.text


@pytest.mark.parametrize("verb", ["status", "grid show", "verify", "run", "cubes", "cubes --dry-run"])
def test_a_store_that_is_a_file_is_a_storage_error(verb, reference, tmp_path):
    """No traceback, exit 6, and the path is named."""
    (tmp_path / "store").write_text("not a folder")
    code = "import pipelines.cli as c; c.main()"
    command = [sys.executable, "-c", code, *verb.split(), str(reference.recipe), "--store", str(tmp_path / "store")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 6 and "Traceback" not in ended.stderr and str(tmp_path / "store") in ended.stderr
