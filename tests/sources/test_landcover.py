"""Land cover fractions: they sum to one, have no staircase, and follow the satellite where it sees the ground."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine

from geoplantnet.errors import InputError, RasterError
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.sources.landcover import COVERS, FRACTIONS, LandCoverSource
from geoplantnet.sources.sentinel2 import Sentinel2Scene
from geoplantnet.sources.source import Source

TILE = TileGrid().tile("25kmE4125N2575")
BOX = TILE.geobox()[:100, :100]
WEST, NORTH = TILE.west, TILE.south + 25_000
NAMES = list(FRACTIONS)


def write(path: Path, values: np.ndarray, pixel: float, west: float = WEST, north: float = NORTH) -> Path:
    profile = {"driver": "GTiff", "count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    with rasterio.open(path, "w", crs="EPSG:3035", transform=Affine(pixel, 0, west, 0, -pixel, north), nodata=0, **profile) as dataset:
        dataset.write(values)
    return path


@pytest.fixture
def systems(tmp_path: Path) -> LandCoverSource:
    """Random land systems of 1 km around the corner of the tile."""
    codes = np.random.default_rng(0).integers(1, len(NAMES) + 1, (1, 12, 12)).astype(np.uint8)
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps({str(i + 1): name for i, name in enumerate(NAMES)}))
    return LandCoverSource(landsystem=write(tmp_path / "systems.tif", codes, 1000, WEST - 3000, NORTH + 3000), classes=classes)


@pytest.fixture
def scene(tmp_path: Path) -> Sentinel2Scene:
    """Two km of 10 m pixels over the corner: west dense spruce, then meadow, roofs, a lake; the last rows under cloud."""
    spruce, meadow, roof, lake = (200, 300, 250, 2200), (500, 900, 500, 4500), (1800, 1800, 1900, 2000), (300, 400, 200, 100)
    columns = np.repeat([spruce, meadow, roof, lake], 50, axis=0).T
    pixels = np.repeat(columns[:, None, :], 200, axis=1).astype(np.uint16)
    scl = np.repeat(np.repeat([4, 4, 5, 6], 50)[None], 200, axis=0).astype(np.uint16)
    scl[150:] = 9
    return Sentinel2Scene(path=write(tmp_path / "scene.tif", np.concatenate([pixels, scl[None]]), 10))


def test_the_table_is_complete_and_sums_to_one() -> None:
    """Every land system has fractions over known covers that sum to 1, and 26 systems are known."""
    assert len(FRACTIONS) == 26
    for name, row in FRACTIONS.items():
        assert set(row) <= set(COVERS), name
        assert sum(row.values()) == pytest.approx(1), name
    assert {max(row, key=lambda cover: row[cover]) for row in FRACTIONS.values()} == set(COVERS)


def test_fractions_sum_to_one_and_have_no_staircase(systems: LandCoverSource, scene: Sentinel2Scene) -> None:
    """0 <= fraction <= 1, sum 1, with and without a scene; a step between neighbouring cells is a small part of that between pixels."""
    for source in (systems, replace(systems, sentinel2=scene)):
        assert isinstance(source, Source)
        got = pickle.loads(pickle.dumps(source)).read(BOX)
        assert got.dims == ("band", "y", "x") and got.dtype == np.float32 and tuple(got.band.values) == COVERS
        assert float(got.min()) >= 0 and float(got.max()) <= 1 + 1e-6
        np.testing.assert_allclose(got.sum("band"), 1, atol=1e-5)
    assert np.abs(np.diff(systems.read(BOX).values, axis=2)).max() < 0.05


def test_a_window_is_the_window_and_points_get_their_cell(systems: LandCoverSource, scene: Sentinel2Scene) -> None:
    """No seams, and `at` is `read`."""
    source = replace(systems, sentinel2=scene)
    whole = source.read(BOX).values
    np.testing.assert_array_equal(source.read(BOX[13:60, 20:57]).values, whole[:, 13:60, 20:57])
    rng = np.random.default_rng(1)
    x, y = WEST + rng.uniform(0, 5000, 40), NORTH - rng.uniform(0.01, 5000, 40)
    got = source.at(pd.DataFrame({"x": x, "y": y}))
    np.testing.assert_array_equal(got, whole[:, ((NORTH - y) // 50).astype(int), ((x - WEST) // 50).astype(int)].T)
    assert np.isnan(source.at(pd.DataFrame({"x": [np.nan], "y": [0.0]}))).all()


def test_the_scene_sharpens_what_it_sees(systems: LandCoverSource, scene: Sentinel2Scene, tmp_path: Path) -> None:
    """Spruce is forest, a roof built or bare, the lake water, a meadow none of these; under cloud the land system stands."""
    mosaic = np.full((1, 12, 12), 1 + NAMES.index("medium-intensity grassland"), np.uint8)
    plain = replace(systems, landsystem=write(tmp_path / "mosaic.tif", mosaic, 1000, WEST - 3000, NORTH + 3000))
    before, after = (s.read(BOX) for s in (plain, replace(plain, sentinel2=scene)))
    spruce, meadow, roof, lake = (after.values[:, 14, c] for c in (4, 14, 24, 34))
    assert dict(zip(COVERS, spruce))["forest"] == pytest.approx(1)
    assert dict(zip(COVERS, meadow))["grassland"] == pytest.approx(0.8, abs=1e-5)
    assert dict(zip(COVERS, roof))["built"] + dict(zip(COVERS, roof))["bare"] == pytest.approx(1)
    assert dict(zip(COVERS, lake))["water"] == pytest.approx(1)
    np.testing.assert_array_equal(after.values[:, 31:, :], before.values[:, 31:, :])
    np.testing.assert_array_equal(after.values[:, :, 41:], before.values[:, :, 41:])
    assert {p["href"] for p in after.attrs["provenance"]} == {"mosaic.tif", "scene.tif"}
    assert any("Copernicus" in p.get("credit", "") for p in after.attrs["provenance"])


def test_scores_become_bands(systems: LandCoverSource, tmp_path: Path) -> None:
    """Lights and built-up pressure, 0..10, are bands 0..1; other numbers are refused."""
    lights = write(tmp_path / "lights.tif", np.full((1, 12, 12), 5, np.uint8), 1000, WEST - 3000, NORTH + 3000)
    source = replace(systems, lights=lights, built=lights)
    assert source.bands == (*COVERS, "night_lights", "built_up")
    np.testing.assert_allclose(source.read(BOX).sel(band=["night_lights", "built_up"]), 0.5)
    with pytest.raises(RasterError, match=r"radiance\.tif, score of night_lights"):
        replace(systems, lights=write(tmp_path / "radiance.tif", np.full((1, 12, 12), 63, np.uint8), 1000, WEST - 3000, NORTH + 3000)).read(
            BOX
        )


def test_unknown_classes_are_refused(systems: LandCoverSource, tmp_path: Path) -> None:
    """A code without a name, a name without fractions and a table that is none name themselves; code 0 is unknown: NaN."""
    short = tmp_path / "short.json"
    short.write_text('{"1": "water body"}')
    with pytest.raises(RasterError, match=r"systems\.tif holds class codes \[\d+"):
        replace(systems, classes=short).read(BOX)
    short.write_text('{"1": "water bodies"}')
    with pytest.raises(InputError, match=r"without known fractions: \['water bodies'\]\. Did you mean 'water body'"):
        replace(systems, classes=short).read(BOX)
    for text in ("", "[]", "{}", '{"x": 1}'):
        short.write_text(text)
        with pytest.raises(InputError, match=r"short\.json"):
            replace(systems, classes=short).read(BOX)
    empty = write(tmp_path / "empty.tif", np.zeros((1, 12, 12), np.uint8), 1000, WEST - 3000, NORTH + 3000)
    assert np.isnan(replace(systems, landsystem=empty).read(BOX).values).all()


def test_the_real_alps(data_folder: Path) -> None:
    """The great Aletsch glacier is glacier, the lakes of Thun and Brienz are water."""
    source = LandCoverSource(
        landsystem=data_folder / "europe_env_edc" / "landsystem_1km_3035.tif",
        classes=data_folder / "europe_env_edc" / "landsystem_classes.json",
    )
    got = source.read(TileGrid().tile("25kmE4150N2575").geobox(500))
    np.testing.assert_allclose(got.sum("band"), 1, atol=1e-5)
    assert float((got.sel(band="glacier") > 0.5).mean()) > 0.2
    lake = source.at(pd.DataFrame({"x": [4_146_000.0], "y": [2_622_000.0]}))[0]
    assert lake[COVERS.index("water")] > 0.5
