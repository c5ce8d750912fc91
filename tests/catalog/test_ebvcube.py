"""EBVCube: read back by libnetcdf through GDAL, which we did not write, and by the attributes of the format's description."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime

import h5netcdf
import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox

from geoplantnet.catalog.ebvcube import About, Group, Part, read_ebvcube, write_ebvcube
from geoplantnet.errors import InputError, IntegrityError
from geoplantnet.taxonomy import SpeciesList, Taxon

BOX = GeoBox((30, 40), rasterio.Affine(1000, 0, 4_100_000, 0, -1000, 2_600_000), "EPSG:3035")
TIMES = [(datetime(2000, 1, 1), datetime(2009, 12, 31)), (datetime(2010, 1, 1), datetime(2019, 12, 31))]
SPECIES = SpeciesList(
    checklist="a checklist, 2026",
    taxa=(
        Taxon(taxon_id="a1", scientific_name="Abies alba", genus="Abies", family="Pinaceae"),
        Taxon(taxon_id="b2", scientific_name="Isoëtes lacustris", genus="Isoëtes", family="Isoëtaceae"),
        Taxon(taxon_id="c3", scientific_name="Poa annua", genus="Poa", family="Some very long name of a family"),
    ),
)
ABOUT = About(
    title="Plants", summary="Where plants grow.", source="a model 1.0", licence="CC-BY-4.0", created=date(2026, 1, 2), creator_name="A", creator_institution="B"
)  # fmt: skip
METRICS = [Group(standard_name="Probability", long_name="Probability of presence on 100 m2")]


def values(n=3, seed=0, shape=(30, 40)):
    p = np.random.default_rng(seed).random((n, *shape), dtype=np.float32)
    p[0, 3, 4] = np.nan
    return p


def whole(scenario, time, p):
    return Part(scenario, 0, slice(0, len(p)), time, slice(0, 30), slice(0, 40), p)


def test_gdal_reads_every_entity_and_moment_where_it_lies(tmp_path):
    """Bands are entity x time; CRS, transform, no data and values are what was written."""
    first, second = values(seed=1), values(seed=2)
    parts = [whole(None, 0, first), *(Part(None, 0, slice(k, k + 1), 1, slice(0, 30), slice(0, 40), second[k : k + 1]) for k in range(3))]
    path = write_ebvcube(tmp_path / "e.nc", parts, about=ABOUT, species=SPECIES, geobox=BOX, times=TIMES, metrics=METRICS)
    with rasterio.open(f'NETCDF:"{path}":/metric_1/ebv_cube') as raster:
        assert raster.crs == "EPSG:3035" and raster.transform == BOX.transform and (raster.count, *raster.shape) == (6, 30, 40)
        for k in range(3):
            for t, expected in enumerate((first, second)):
                np.testing.assert_array_equal(raster.read(2 * k + t + 1, masked=True).filled(np.nan), expected[k])
    names, cube = read_ebvcube(path)
    assert names == ["Abies alba", "Isoëtes lacustris", "Poa annua"]
    np.testing.assert_array_equal(cube, np.stack([first, second], axis=1))


def test_scenarios_hold_every_metric(tmp_path):
    """scenario_n/metric_n, each with its words; what no part holds is no data."""
    metrics = [*METRICS, Group(standard_name="Spread", long_name="Standard deviation between models")]
    scenarios = [Group(standard_name="SSP1-2.6", long_name="low"), Group(standard_name="SSP5-8.5", long_name="high")]
    late = Part(1, 1, slice(1, 2), 1, slice(5, 7), slice(8, 11), np.full((1, 2, 3), 0.25, np.float32))
    path = write_ebvcube(
        tmp_path / "e.nc", [late], about=ABOUT, species=SPECIES, geobox=BOX, times=TIMES, metrics=metrics, scenarios=scenarios
    )
    _, cube = read_ebvcube(path, scenario=1, metric=1)
    assert np.isfinite(cube).sum() == 6 and (cube[1, 1, 5:7, 8:11] == 0.25).all()
    assert np.isnan(read_ebvcube(path, scenario=0, metric=0)[1]).all()
    with h5netcdf.File(path) as file:
        assert file["scenario_2"].attrs["standard_name"] == "SSP5-8.5" and file["scenario_2/metric_2"].attrs["units"] == "1"


def test_the_file_says_what_the_format_asks_for(tmp_path):
    """Dimensions, coordinates, taxonomy and attributes of the description; time without a limit."""
    path = write_ebvcube(
        tmp_path / "e.nc", [whole(None, 0, values())], about=ABOUT, species=SPECIES, geobox=BOX, times=TIMES, metrics=METRICS
    )
    with h5netcdf.File(path) as file:
        assert file.dimensions["time"].isunlimited() and file["metric_1/ebv_cube"].dimensions == ("entity", "time", "lat", "lon")
        assert file["time"][:].tolist() == [(start.date() - date(1860, 1, 1)).days for start, _ in TIMES]
        assert file["lat"][:2].tolist() == [2_599_500, 2_598_500] and file["lon"][0] == 4_100_500
        table = np.transpose(np.asarray(file["taxonomy_table"][...]))  # as the format's own example reads it
        assert [table[level, 1].tobytes().decode().strip() for level in range(3)] == ["Isoëtes lacustris", "Isoëtes", "Isoëtaceae"]
        levels = np.transpose(np.asarray(file["taxonomy_levels"][...]))
        assert [level.tobytes().decode().strip() for level in levels] == ["species", "genus", "family"]
        entity = file["entity"].attrs
        assert (entity["ebv_entity_type"], entity["ebv_entity_scope"]) == ("Species", "Vascular plants")
        assert file["crs"].attrs["grid_mapping_name"] == "lambert_azimuthal_equal_area" and "spatial_ref" in file["crs"].attrs
        told = dict(file.attrs)
    mandatory = "title date_created summary source creator_name creator_institution license publisher_name publisher_email "
    mandatory += "publisher_institution ebv_class ebv_name ebv_spatial_scope ebv_spatial_description time_coverage_resolution "
    mandatory += "time_coverage_start time_coverage_end ebv_domain Conventions ebv_vocabulary ebv_cube_dimensions"
    assert all(told.get(name) for name in mandatory.split())
    assert told["time_coverage_resolution"] == "P0010-00-00"
    # north before east, as EPSG:3035 has it
    assert told["geospatial_bounds"].startswith("POLYGON((2570000.0 4100000.0, 2600000.0 4100000.0, 2600000.0 4140000.0")
    assert told["Conventions"] == "CF-1.8, ACDD-1.3, EBV-1.0" and told["ebv_name"] == "Species distributions"
    assert (
        told["time_coverage_start"] == "2000-01-01" and told["time_coverage_end"] == "2019-12-31" and told["date_created"] == "2026-01-02"
    )


def test_parts_that_do_not_fit_leave_no_file(tmp_path):
    """A species, cell, moment, metric or scenario too many, an empty axis: refused, and nothing is written."""
    write = {"about": ABOUT, "species": SPECIES, "geobox": BOX, "times": TIMES, "metrics": METRICS}
    for part in (
        whole(None, 2, values()),
        whole(0, 0, values()),
        whole(None, 0, values(shape=(30, 39))),
        whole(None, 0, values(4)),
        whole(None, 0, values())._replace(metric=1),
        whole(None, 0, values())._replace(rows=slice(1, 31)),
    ):
        with pytest.raises(InputError, match="does not fit 3 species, 2 moments"):
            write_ebvcube(tmp_path / "e.nc", [part], **write)
    with pytest.raises(InputError, match="at least one species"):
        write_ebvcube(tmp_path / "e.nc", [], **{**write, "species": replace(SPECIES, taxa=())})
    assert not list(tmp_path.iterdir())
    (tmp_path / "no.nc").write_bytes(b"nothing")
    with pytest.raises(IntegrityError, match="is it an EBVCube"):
        read_ebvcube(tmp_path / "no.nc")
