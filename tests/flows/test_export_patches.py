"""`geoplantnet patches`: the cubes of a run, at points of a table, in GeoLifeCLEF's formats."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from pyproj import Transformer

from geoplantnet.cubes.geolifeclef import Layout, read_sentinel2
from geoplantnet.errors import InputError, UsageError
from pipelines.context import CubeRun
from pipelines.export_patches import export, read_points

X, Y = 4_102_522.0, 2_602_472.0


def test_points_in_degrees_and_in_metres_give_the_same_patches(reference, tmp_path):
    """Both tables export one survey on a tile and leave out one that lies beside all tiles, by its id."""
    run = CubeRun.open_cubes(reference.recipe, store=reference.store)
    lon, lat = Transformer.from_crs("EPSG:3035", "EPSG:4326", always_xy=True).transform([X, X + 50_000], [Y, Y])
    tables = {
        "metres": pd.DataFrame({"surveyId": [12, 13], "x": [X, X + 50_000], "y": [Y, Y]}),
        "degrees": pd.DataFrame({"surveyId": [12, 13], "lon": lon, "lat": lat}),
    }
    images = []
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        done = export(run, tmp_path / f"{name}.csv", tmp_path / name, subset="train", quality=90)
        assert (done.written, done.without_cube) == ((12,), (13,))
        paths = Layout(root=tmp_path / name, subset="train")
        images.append(read_sentinel2(paths.rgb(12), paths.nir(12)).values)
        assert json.loads((tmp_path / name / "export.json").read_text())
    assert images[0].shape == (4, 128, 128) and (images[0] == images[1]).all()


def test_cubes_without_what_the_formats_hold_are_refused_with_what_they_would_hold(tmp_path):
    """Nothing is written; the error names bands, not arguments of a function."""
    run = CubeRun.of_grid("demo", ["footprint"], data=tmp_path, store=tmp_path / "store")
    with pytest.raises(UsageError, match="none of footprint has what these formats hold: B02 B03 B04 B08; or blue"):
        export(run, tmp_path / "points.csv", tmp_path / "out", subset="train", quality=90)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x,y\n1,2\n", "no column surveyId; it needs surveyId, and x and y in EPSG:3035 or lon and lat"),
        ("surveyId,lon\n1,2\n", "no column lat"),
        ("", "cannot be read as a CSV table"),
    ],
)
def test_a_table_without_its_columns_is_refused(tmp_path, text, said):
    """The error names the column."""
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read_points(tmp_path / "points.csv", "EPSG:3035")
