"""Every fault of a recipe is one sentence: file, key, value, what is allowed, the nearest spelling. Never a traceback."""

from __future__ import annotations

import copy
import re
import typing
from dataclasses import fields
from datetime import date
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoplantnet.config.load import MAX_BYTES, find_recipe, load_recipe
from geoplantnet.errors import ConfigurationError
from pipelines.context import CubeRun, Run
from pipelines.ledger import paths_in

TINY = Path(__file__).parents[1] / "data" / "tiny.yaml"
RECIPE = yaml.safe_load(TINY.read_text(encoding="utf-8"))
GONE = object()


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch):
    """A user's own data folder changes nothing here."""
    monkeypatch.delenv("GEOPLANTNET_DATA", raising=False)


def changed(dotted, value):
    """The tiny recipe with one key set, or gone."""
    recipe = copy.deepcopy(RECIPE)
    *sections, last = (int(part) if part.isdigit() else part for part in dotted.split("."))
    section = recipe
    for part in sections:
        section = section[part]
    if value is GONE:
        del section[last]
    else:
        section[last] = value
    return recipe


def message_of(tmp_path, recipe):
    """What opening it says, with the file's name taken off."""
    file = tmp_path / "recipe.yaml"
    if isinstance(recipe, bytes):
        file.write_bytes(recipe)
    else:
        file.write_text(recipe if isinstance(recipe, str) else yaml.safe_dump(recipe), encoding="utf-8")
    with pytest.raises(ConfigurationError) as error:
        Run.open(file)
    assert error.value.exit_code == 3
    lines = str(error.value).splitlines()
    assert all(line.startswith(f"{file}: ") for line in lines), lines  # every fault names its file
    return "\n".join(line.removeprefix(f"{file}: ") for line in lines)


@pytest.mark.parametrize("recipe", [TINY, "demo", "alps"])
def test_shipped_recipes_open(recipe, monkeypatch, tmp_path):
    """Tiny, demo and alps are without fault, wherever the data lie."""
    monkeypatch.setenv("GEOPLANTNET_DATA", str(tmp_path))
    assert Run.open(recipe).tiles


def test_the_recipe_of_all_europe_has_every_modality_of_every_tile(monkeypatch, tmp_path):
    """Cubes need no records: all shipped modalities, each with a source, on a grid of thousands of tiles."""
    monkeypatch.setenv("GEOPLANTNET_DATA", str(tmp_path))
    run = CubeRun.open_cubes("europe")
    assert len(run.tiles) > 15_000 and len(run.sources) == 8
    with pytest.raises(ConfigurationError, match="occurrences: missing; add it"):
        Run.open("europe")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        # unknown keys, at each level
        ("trainng", {}, "trainng: unknown key 'trainng'; allowed: attribution, .* world. Did you mean 'training'?"),
        ("training.widht", 3, "training.widht: unknown key 'widht'; allowed: .*width. Did you mean 'width'?"),
        ("training.steps.0.epoch", 3, "training.steps.0.epoch: unknown key 'epoch'; allowed: epochs, .*Did you mean 'epochs'?"),
        ("occurrences.0.plotss", 3, "occurrences.0.plotss: unknown key 'plotss'; allowed: kind, plots. Did you mean 'plots'?"),
        ("modalities.terrain.trained", True, "modalities.terrain.trained: unknown key .* Did you mean 'train'?"),
        ("modalities.terrain.source.dems", [], "modalities.terrain.source.dems: unknown key 'dems'; allowed: kind."),
        # a word that is none of the allowed ones
        ("world.relief", "fractual", "world.relief: 'fractual' is none of aletsch, fractal. Did you mean 'fractal'?"),
        ("validation.held_out", "some", "validation.held_out: 'some' is none of one, all."),
        ("validation.block", "autocorelation", "validation.block: Input should be a valid number"),
        ("validation.baselines", ["randomforest"], "validation.baselines.0: 'randomforest' is none of .* Did you mean 'random-forest'?"),
        ("training.steps.0.loss", "deepmaxent", "training.steps.0.loss: 'deepmaxent' is none of .* Did you mean 'deep_maxent'?"),
        ("training.members", "fold", "training.members: Input should be a valid integer"),
        ("training.members", "folds", "training.members: folds needs validation.held_out: all"),
        ("training.calibration", "always", "training.calibration: 'always' is none of auto, none."),
        ("training.model", "joint", "training: `model` 'joint' says it all; drop batch, latent, steps, threads, width, or `model`"),
        ("training", {"model": "togethr"}, "training.model: no model 'togethr'; there are .* Did you mean 'together'?"),
        (
            "occurrences.0.kind",
            "virtual-plot",
            "occurrences.0.kind: 'virtual-plot' is none of virtual-plots, .* Did you mean 'virtual-plots'",
        ),
        ("modalities.climate.source.kind", "virtual-climat", "modalities.climate.source.kind: .* Did you mean 'virtual-climate'"),
        ("occurrences.0.kind", 5, "occurrences.0.kind: '5' is none of virtual-plots,"),
        ("occurrences.0.kind", GONE, "occurrences.0.kind: missing; add one of virtual-plots,"),
        # missing
        ("training", GONE, "training: missing; add it"),
        ("training.steps", GONE, "training: `steps` is missing; add it, or name a `model`"),
        ("store", GONE, "store: missing; add it"),
        ("world", GONE, "world: missing, but virtual-plots needs it; add a `world:` section"),
        # wrong type
        ("title", 5, "title: Input should be a valid string .found 5"),
        ("training.batch", "many", "training.batch: Input should be a valid integer.* .found 'many'"),
        ("modalities.climate.train", "perhaps", "modalities.climate.train: Input should be a valid boolean.*'perhaps'"),
        ("training", [1], r"training: a section with the keys abundance_weights, accelerator, .* was expected .found \[1\]"),
        ("world", 5, "world: a section with the keys relief, species was expected .found 5"),
        ("modalities.climate.source", 5, "modalities.climate.source: a section with the keys .* was expected .found 5"),
        ("attribution", "me", "attribution: Input should be a valid list .found 'me'"),
        ("grid.tiles", 5, "grid.tiles: Input should be a valid string .found 5"),
        ("data", ["x"], "data: Input is not a valid path .found"),
        # out of range
        ("training.batch", 1, "training.batch: Input should be greater than or equal to 2 .found 1"),
        ("training.dropout", 1.5, "training.dropout: Input should be less than 1 .found 1.5"),
        ("map.plot_area", -1, "map.plot_area: Input should be greater than 0 .found -1"),
        ("seed", -1, "seed: Input should be greater than or equal to 0"),
        ("indicators", [], "indicators: List should have at least 1 item"),
        ("training.steps", [], "training: `steps` is missing; add it, or name a `model`"),
        ("grid.tile_size", 5500, "grid.tile_size: Input should be a multiple of 1000 .found 5500"),
        ("grid.tile_size", 7000, "grid: grid bounds .* are not multiples of tile_size 7000 m"),
        ("grid.cell_size", 70, "grid: cell_size 70 m does not divide tile_size 5000 m"),
        ("quality", {"bounds": [12, 45, 5, 47]}, "quality.bounds: west, south, east, north in degrees were expected, west < east"),
        ("interval", ["2002-01-01T00:00:00Z", "2001-01-01T00:00:00Z"], "interval: the first moment comes after the last"),
        ("interval", ["2001-01-01", "2002-01-01"], "interval: moments need a time zone, such as"),
        ("interval", ["soon", "later"], "interval: Invalid isoformat string: 'soon'"),
        ("interval", ["2001-01-01T00:00:00Z"], "interval.1: missing; add it"),
        ("cluster", {"memory": "lots"}, "cluster.memory: auto, or an amount such as 4GB .* was expected .found 'lots'"),
        ("cluster", {"kind": "slurn"}, "cluster.kind: 'slurn' is none of local, slurm, kubernetes. Did you mean 'slurm'?"),
        ("cluster", {"options": {"queue": "long"}}, "cluster: options .'queue'. are for kind slurm or kubernetes"),
        ("cluster", {"kind": "slurm"}, "cluster: memory: kind slurm needs an amount for each worker"),
        (
            "cluster",
            {"kind": "slurm", "memory": "8GB", "scheduler": "tcp://10.0.0.1:1"},
            "cluster: scheduler names a running cluster, kind slurm starts one",
        ),
        (
            "modalities.climate.time",
            {"step": "month", "first": "soon", "count": 3},
            "time: first must be a month such as 2019-01, got 'soon'",
        ),
        ("modalities.extra", {"definition": "terain"}, "modalities.extra.definition: no definition 'terain'; .* Did you mean 'terrain'?"),
        ("modalities.extra", {"definition": "virtual_landcover"}, "modalities.extra.source: missing; add it"),
        (
            "modalities.extra",
            {"definition": "sentinel2", "source": {"kind": "sentinel2-stac", "endpoint": "earth_search", "start": "2022-01-01"}},
            "modalities.extra.source: start and end belong together",
        ),
        (
            "modalities.extra",
            {"definition": "sentinel2", "source": {"kind": "sentinel2-stac", "endpoint": "earth_serch"}},
            "modalities.extra.source.endpoint: no endpoint 'earth_serch'; there are .* Did you mean 'earth_search'?",
        ),
        (
            "modalities.extra",
            {"definition": "sentinel2", "source": {"kind": "sentinel2-stac", "endpoint": {"url": "https://a.b", "signn": "s3"}}},
            "modalities.extra.source.endpoint.signn: unknown key 'signn'; .* Did you mean 'sign'?",
        ),
        (
            "modalities.extra",
            {"definition": "sentinel2", "source": {"kind": "sentinel2-stac", "endpoint": {"title": "a"}}},
            "modalities.extra.source.endpoint: an endpoint needs `url`",
        ),
        ("cluster", {"scheduler": "nowhere"}, "cluster.scheduler: an address such as tcp://.* was expected .found 'nowhere'"),
        # names that must be known
        ("grid.tiles", "alp", "grid.tiles: no grid named 'alp'; there are alps, .*demo.* Did you mean 'alps'?"),
        ("grid.tiles", ["5kmE4100N2601"], "grid.tiles: '5kmE4100N2601' is not a tile of the grid: corners are multiples of 5 km"),
        ("grid.tiles", ["25kmE4100N2600"], "grid.tiles: '25kmE4100N2600' names a 25 km tile; this grid has 5 km tiles"),
        ("grid.tiles", ["Bern"], "grid.tiles: 'Bern' is no meta-tile id; write it like"),
        ("grid.tiles", ["5kmE4100N2600"] * 2, "grid.tiles: '5kmE4100N2600' stands twice"),
        ("grid.tiles", [], "grid.tiles: no tile is named"),
        (
            "modalities.climate.definition",
            "climate_month",
            "modalities.climate.definition: no definition 'climate_month'; .* Did you mean 'climate_monthly'?",
        ),
        ("indicators", ["richnes"], "indicators: 'richnes' is no indicator; there are .* Did you mean 'richness'"),
        ("map.require_any", ["terain"], "map.require_any: 'terain' is none of the modalities .* Did you mean 'terrain'?"),
        ("map.unavailable", {"terain": ["x"]}, "map.unavailable: 'terain' is none of the modalities .* Did you mean 'terrain'?"),
        ("map.unavailable", {"terrain": ["slop"]}, "map.unavailable.terrain: 'slop' is none of its bands .* Did you mean 'slope'?"),
        ("training.measured", ["soil"], "training.measured: 'soil' is none of the modalities"),
        (
            "occurrences",
            [{"kind": "darwin-core", "file": "x.csv"}],
            "backbone: missing, but real occurrences need it; add a `backbone:` section",
        ),
        (
            "occurrences",
            [{"kind": "darwin-core", "file": "{data}/x.csv"}],
            r"'\{data\}/x.csv' needs `data:` in the recipe, --data, or the environment",
        ),
        (
            "modalities.extra",
            {"definition": "terrain", "source": {"kind": "raster", "bands": ["elevation"]}},
            "modalities.extra.source.path: missing; add it",
        ),
    ],
)
def test_a_fault_names_key_value_allowed_and_nearest_spelling(tmp_path, key, value, said):
    """One changed key, one sentence."""
    message = message_of(tmp_path, changed(key, value))
    assert re.match(said, message), message


def test_all_faults_are_told_at_once(tmp_path):
    """Three faults, three lines."""
    recipe = changed("training.batch", 1) | {"seeed": 5}
    del recipe["title"]
    assert len(message_of(tmp_path, recipe).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a mapping of keys was expected, found NoneType"),
        ("- a\n- b", "a mapping of keys was expected, found list"),
        ("title: a\ntitle: b", r"key 'title' stands twice .*line 2"),
        ("grid: {tiles: a, tiles: b}", "key 'tiles' stands twice"),
        ("a: &x [1]\nb: *x", r"aliases \(\*name\) are not allowed.*line 2"),
        ("a: &a [lol]\n" + "".join(f"a{i}: &a{i} [*a]\n" for i in range(9)), "aliases"),
        ("title: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("title: [unclosed", "not valid YAML: .*line"),
        ("title: \t\tx: y", "not valid YAML"),
        ("interval: [2000-13-01, 2001-01-01]", "not valid YAML: month must be in"),
        ("seed: " + "9" * 5000, "not valid YAML"),
        ("a: !!bool perhaps", "not valid YAML"),
        ("a: !!timestamp x", "not valid YAML"),
        ("? [a]\n: b", "unhashable key"),
        ("[" * 3000, "not valid YAML"),
        (b"title: \xe9t\xe9\n", "not valid YAML: 'utf-8' codec can't decode"),
        (b"\xff\xfet\x00", "not valid YAML: 'utf-8' codec"),
        (b"title: a\x00b", "not valid YAML"),
        (b" " * 2_000_000, f"2000000 bytes; a recipe has at most {MAX_BYTES}"),
    ],
    ids=range(19),
)
def test_a_text_that_is_no_recipe_is_refused_before_it_is_understood(tmp_path, text, said):
    """Empty, lists, repeated keys, alias bombs, foreign tags, other encodings, and 2 MB of nothing."""
    assert re.search(said, message_of(tmp_path, text), re.DOTALL)


def test_a_recipe_that_is_not_there_names_those_that_are():
    """The nearest shipped recipe is suggested."""
    with pytest.raises(ConfigurationError, match=r"no recipe 'dema'; give a path, or one of alps, demo, europe\. Did you mean 'demo'?"):
        find_recipe("dema")


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ({"bands": ["a"], "resolutoin": 50}, "unknown key 'resolutoin'; allowed: .* Did you mean 'resolution'?"),
        ({"bands": ["a"]}, "resolution: missing; add it"),
        ({"bands": "elevation", "resolution": 50}, "bands: Input should be a valid list .found 'elevation'"),
        ({"bands": ["a", "a"], "resolution": 50}, "bands must be a non-empty list of distinct names"),
        ({"bands": ["a"], "resolution": "fine"}, "resolution: Input should be a valid number.*'fine'"),
        ({"bands": ["a"], "resolution": 50, "window": 4}, "window must be an odd number of cells"),
        ({"bands": ["a"], "resolution": 50, "window": 5, "halo": 1}, "halo 1 px is smaller than the 2 px its window needs"),
        ({"bands": ["a"], "resolution": 30}, "resolution 30.0 m does not nest with 50 m cells"),
        ({"bands": ["a"], "resolution": 1000, "window": 3, "halo": 2}, "coarser than the cell, so its window must be 1"),
        ({"bands": ["a"], "resolution": 50, "dtype": "uint8"}, "dtype uint8 needs a nodata value"),
        ({"bands": ["a"], "resolution": 50, "dtype": "uint64"}, "dtype must be float32, uint8, uint16 or int16, got 'uint64'"),
        ({"bands": ["a"], "resolution": 50, "units": "kelvni"}, "kelvni.* Did you mean .*kelvin"),
        ({"bands": {"a": {"units": "degreeC", "plausibel": [0, 1]}}, "resolution": 50}, "bands.a: unknown key 'plausibel'.*'plausible'"),
        ({"bands": {"a": {"plausible": [1]}}, "resolution": 50}, "plausible.0"),
        ({"bands": {"a": 5}, "resolution": 50}, "bands.a: a mapping with the keys units, plausible, long_name was expected .found 5"),
        ({"bands": {"a": None}, "units": "m", "resolution": 50}, "units: say it of each band, since `bands` is a mapping here"),
        ({"bands": ["a"], "resolution": 50, "units": ["m", "m"]}, "units must be one for all or one for each of 1 bands, got 2"),
        ({"bands": ["a"], "resolution": 50, "resampling": "nearst"}, "resampling"),
        ({"bands": ["a"], "resolution": 50, "time": {"step": "quater", "first": "2019-12", "count": 4}}, "time.step: 'quater' is none of"),
        ({"bands": ["a"], "resolution": 50, "time": {"step": "quarter", "first": 2019, "count": 4}}, "time.first: "),
        (
            {"bands": ["a"], "resolution": 50, "time": {"step": "year", "first": "2019-1", "count": 4}},
            "a month such as 2019-01, got '2019-1'",
        ),
        ([1], "a mapping of keys was expected"),
    ],
)
def test_a_modality_definition_is_checked_like_the_recipe(tmp_path, definition, said):
    """The message names the recipe's key, the definition's file and the fault."""
    (tmp_path / "modalities").mkdir()
    (tmp_path / "modalities" / "mine.yaml").write_text(yaml.safe_dump(definition), encoding="utf-8")
    message = message_of(tmp_path, changed("modalities.terrain.definition", "mine"))
    assert message.startswith("modalities.terrain.definition: ")
    assert re.search(said, message), message


def test_a_users_definition_wins_over_the_shipped_one(tmp_path):
    """Beside the recipe first."""
    (tmp_path / "modalities").mkdir()
    (tmp_path / "modalities" / "terrain.yaml").write_text("bands: [elevation]\nresolution: 50\n", encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    opened = Run.open(tmp_path / "recipe.yaml")
    assert next(m for m in opened.modalities if m.name == "terrain").bands == ("elevation",)


def test_data_is_the_option_else_the_environment_else_the_recipe(tmp_path, monkeypatch):
    """And stands for {data} wherever it is written."""
    recipe = changed("data", "of-recipe") | {"title": "in {data}"}
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    assert load_recipe(file).title == "in of-recipe"
    monkeypatch.setenv("GEOPLANTNET_DATA", "of-environment")
    assert load_recipe(file).title == "in of-environment"
    assert load_recipe(file, data=Path("of-option")).title == "in of-option"
    assert load_recipe(file, store=Path("elsewhere")).store == Path("elsewhere")


def places(section, path=()):
    """Every key path of a nested value."""
    entries = section.items() if isinstance(section, dict) else enumerate(section) if isinstance(section, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from places(value, (*path, key))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.lists(st.sampled_from(sorted(places(RECIPE), key=str)), min_size=1, max_size=3), value=anything)
def test_whatever_stands_in_a_recipe_it_opens_or_is_refused(tmp_path, where, value):
    """Any value at any place: a Run, or a ConfigurationError that names the file. Nothing else."""
    recipe = copy.deepcopy(RECIPE)
    for path in where:
        section = recipe
        try:
            for part in path[:-1]:
                section = section[part]
            section[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    try:
        Run.open(file)
    except ConfigurationError as error:
        assert str(file) in str(error)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.integers(0, 3000))
def test_damaged_bytes_open_or_are_refused(tmp_path, noise, position):
    """Noise written over a good recipe."""
    content = bytearray(TINY.read_bytes())
    content[position : position + len(noise)] = noise
    file = tmp_path / "recipe.yaml"
    file.write_bytes(content)
    try:
        Run.open(file)
    except ConfigurationError as error:
        assert str(file) in str(error)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (
            {"definition": "sentinel2", "source": {"kind": "sentinel2-stac", "endpoint": "a.json"}},
            "collection: missing, and the endpoint names none",
        ),
        (
            {"definition": "sentinel2", "source": {"kind": "sentinel2-stac", "endpoint": "earth_search"}},
            "neither `start` and `end` nor a time axis",
        ),
        (
            {"definition": "landsat", "source": {"kind": "landsat-stac", "endpoint": "local", "start": "2020-01-01", "end": "2020-12-31"}},
            "both `start`, `end` and a time axis",
        ),
    ],
)
def test_imagery_must_know_its_collection_and_its_days(tmp_path, section, said):
    """Said twice or not at all: an error before anything is searched."""
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(changed("modalities.extra", section)), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=f"modalities.extra.source.*{said}"):
        _ = Run.open(file).sources


LIME = {"bands": {"caco3": {"units": "g kg-1"}, "ph": {"units": "pH"}}, "resolution": 50}


def lime(folder, source):
    """A recipe with a raster of two bands and two units."""
    (folder / "modalities").mkdir()
    (folder / "modalities" / "lime.yaml").write_text(yaml.safe_dump({"title": "Lime", **LIME}), encoding="utf-8")
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(changed("modalities.lime", {"definition": "lime", "source": source})), encoding="utf-8")
    return Run.open(file)


def test_units_follow_the_bands_of_the_file(tmp_path):
    """A file that has its bands in another order than the modality: each still becomes its own unit."""
    source = lime(tmp_path, {"kind": "raster", "path": "lime.tif", "bands": ["ph", "caco3"], "units": {"caco3": "%"}}).source("lime")
    assert (source.bands, source.target_units) == (("ph", "caco3"), ("pH", "g kg-1"))


@pytest.mark.parametrize("units", ["mm", {"caco3": "mm"}])
@pytest.mark.parametrize("kind", ["raster", "netcdf"])
def test_units_that_measure_something_else_are_refused_before_a_task_starts(tmp_path, kind, units):
    """ConfigurationError that names the key, when the source is made."""
    run = lime(tmp_path, {"kind": kind, "path": "lime.tif", "units": units})
    with pytest.raises(ConfigurationError, match=r"modalities\.lime\.source\.units: 'mm' cannot become 'g kg-1'"):
        run.source("lime")


def test_an_endpoint_reaches_its_source_whole(tmp_path):
    """Address, collection, assets, days and seasons of a recipe are those of the source; a local catalog counts as an input file."""
    catalog = tmp_path / "items.ndjson"
    recipe = changed(
        "modalities.image",
        {
            "definition": "sentinel2",
            "source": {
                "kind": "sentinel2-stac",
                "endpoint": str(catalog),
                "collection": "mine",
                "assets": {"B02": "blue"},
                "start": "2022-06-01",
                "end": "2022-06-30",
                "months": [6],
                "max_cloud": 20,
            },
        },
    )
    recipe["modalities"]["series"] = {
        "definition": "landsat",
        "time": {"step": "year", "first": "2019-01", "count": 2},
        "source": {"kind": "landsat-stac", "endpoint": "planetary_computer"},
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    opened = Run.open(file)
    image, series = opened.sources["image"], opened.sources["series"]
    assert (image.endpoint.url, image.collection, image.assets) == (str(catalog), "mine", {"B02": "blue"})
    assert (image.interval, image.months, image.max_cloud) == ((date(2022, 6, 1), date(2022, 7, 1)), (6,), 20)
    assert (series.collection, series.endpoint.sign, len(series.periods)) == ("landsat-c2-l2", "planetary-computer", 2)
    assert catalog in paths_in([opened.recipe.modalities["image"].source])
    assert not image.endpoint.is_remote and series.endpoint.is_remote


def test_every_file_of_a_template_is_an_input(tmp_path):
    """One file a band: each counts, so that a changed one is noticed; an address stays an address."""
    for name in ("a_ph.tif", "a_clay.tif", "b_ph.tif"):
        (tmp_path / name).touch()
    recipe = changed("modalities.extra", {"definition": "soil", "source": {"kind": "raster", "path": str(tmp_path / "a_{band}.tif")}})
    recipe["modalities"]["far"] = {"definition": "soil", "source": {"kind": "raster", "path": "https://a.b/c_{band}.tif"}}
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    opened = Run.open(file)
    sections = opened.recipe.modalities
    assert list(paths_in([sections["extra"].source])) == [tmp_path / "a_clay.tif", tmp_path / "a_ph.tif"]
    assert list(paths_in([sections["far"].source])) == []
    assert opened.is_remote("far") and not opened.is_remote("extra") and not opened.is_remote("climate")
    assert opened.sources["far"].path == "https://a.b/c_{band}.tif"


def test_losses_and_baselines_are_those_there_are():
    """The names are written out in the recipe, since a machine that only serves has no torch to ask them from."""
    from geoplantnet.config.recipe import Baseline, Loss
    from geoplantnet.sdm.losses import LOSSES
    from geoplantnet.sdm.models import MODELS
    from geoplantnet.sdm.tabular import Classical

    assert set(typing.get_args(Loss)) == set(LOSSES)
    assert set(typing.get_args(Baseline)) == {name for name, kind in MODELS.items() if issubclass(kind, Classical)}


def test_keys_of_training_are_those_of_architecture_plan_and_step():
    """What the engine can be told, a recipe can say, with the same defaults."""
    from geoplantnet.config.recipe import StepSection, TrainingSection
    from geoplantnet.sdm.model import Architecture
    from geoplantnet.sdm.train import Step, TrainingPlan

    elsewhere = {"plot_area", "steps", "seed", "species_block"}
    for kind, section in ((Architecture, TrainingSection), (TrainingPlan, TrainingSection), (Step, StepSection)):
        for f in fields(kind):
            if f.name in elsewhere:
                continue
            own = section.model_fields[f.name]
            assert own.default == f.default or own.is_required(), f.name
