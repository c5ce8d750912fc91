"""Surveys of the virtual world: they follow the truth, their bias is the stated one, they repeat."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyproj import Transformer

from geoplantnet.errors import NoDataError, UsageError
from geoplantnet.sources.virtual import VirtualLandscape, VirtualSpecies, VirtualTerrain, noise, sample_plots, sample_presence_only
from geoplantnet.sources.virtual.noise import Pixels

FRACTAL = VirtualLandscape.fractal((4_000_000, 3_000_000, 4_016_000, 3_016_000), seed=7)
EDGE = VirtualLandscape.on_dem(seed=1, bounds=(4_123_000, 2_573_000, 4_129_000, 2_579_000))
WORLD = VirtualSpecies.generate(40, landscape=FRACTAL, seed=2)
EDGE_WORLD = VirtualSpecies.generate(40, landscape=EDGE, seed=2)

EVENT_COLUMNS = [
    "eventID",
    "x",
    "y",
    "decimalLongitude",
    "decimalLatitude",
    "coordinateUncertaintyInMeters",
    "year",
    "samplingProtocol",
    "sampleSizeValue",
    "sampleSizeUnit",
    "elevation",
    "slope",
    "aspect",
]
RECORD_COLUMNS = [
    "occurrenceID",
    "eventID",
    "recordedBy",
    "taxonID",
    "scientificName",
    "x",
    "y",
    "decimalLongitude",
    "decimalLatitude",
    "coordinateUncertaintyInMeters",
    "year",
    "eventDate",
    "basisOfRecord",
    "occurrenceStatus",
]


def layer_at(landscape: VirtualLandscape, name: str, table: pd.DataFrame) -> np.ndarray:
    layers = landscape.layers
    return noise.nearest(getattr(layers, name), layers.origin, 50, Pixels.holding(50, table.x, table.y))


@pytest.mark.parametrize("world", [WORLD, EDGE_WORLD], ids=["fractal", "edge"])
def test_plots_are_darwin_core_on_land(world):
    """Events and occurrences have the stated columns and ids, lie inside on dry land with data, and carry true degrees."""
    events, occurrences = sample_plots(world, 300, seed=1)
    assert events.columns.tolist() == EVENT_COLUMNS and len(events) == 300 and events.eventID.is_unique
    assert occurrences.columns.tolist() == ["eventID", "taxonID", "scientificName", "occurrenceStatus"]
    assert occurrences.eventID.isin(events.eventID).all() and not occurrences.duplicated(["eventID", "taxonID"]).any()
    assert set(occurrences.taxonID) <= {t.taxon_id for t in world.species_list}
    west, south, east, north = world.landscape.bounds
    assert events.x.between(west, east).all() and events.y.between(south, north).all()
    assert (layer_at(world.landscape, "water", events) < 0.5).all()
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:3035", always_xy=True).transform(events.decimalLongitude, events.decimalLatitude)
    np.testing.assert_allclose([x, y], [events.x, events.y], atol=0.2)
    assert (events.sampleSizeValue == 100).all() and (events.sampleSizeUnit == "square metre").all()
    terrain = pd.DataFrame(VirtualTerrain(world.landscape).at(events[["x", "y"]]), columns=VirtualTerrain(world.landscape).bands)
    assert np.abs(events.elevation - terrain.elevation).max() < 25
    assert events.slope.isna().mean() < 0.15 and events.aspect.dropna().between(0, 360).all()


def test_presences_follow_the_true_probability():
    """Over 6,000 plots every species' count agrees with the sum of its probabilities, and so do bins of probability."""
    events, occurrences = sample_plots(WORLD, 6_000, seed=4)
    p = WORLD.true_probability(x=events.x, y=events.y).astype(float)
    found = np.zeros(p.shape, bool)
    rows = pd.Series(np.arange(len(events)), index=events.eventID)[occurrences.eventID].to_numpy()
    found[rows, [WORLD.species_list.index_of(t) for t in occurrences.taxonID]] = True
    z = (found.sum(0) - p.sum(0)) / np.sqrt((p * (1 - p)).sum(0))
    assert np.abs(z).max() < 4.5 and 0.6 < z.std() < 1.5
    for low in np.arange(0, 1, 0.1):
        chosen = (p >= low) & (p < low + 0.1)
        if chosen.sum() > 200:
            assert abs(found[chosen].mean() - p[chosen].mean()) < 5 * np.sqrt(p[chosen].mean() / chosen.sum())


def test_plots_are_spread_evenly():
    """A systematic grid leaves no two plots nearer than two thirds of its spacing."""
    events, _ = sample_plots(WORLD, 400, seed=5)
    xy = events[["x", "y"]].to_numpy()
    gap = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1))
    gap[np.diag_indices(400)] = np.inf
    assert gap.min() > 0.66 * (16_000**2 / 400) ** 0.5


@pytest.mark.parametrize("world", [WORLD, EDGE_WORLD], ids=["fractal", "edge"])
def test_records_are_darwin_core(world):
    """Opportunistic records have the stated columns, known species, positions inside, and true degrees."""
    records = sample_presence_only(world, 500, seed=1)
    assert records.columns.tolist() == RECORD_COLUMNS and len(records) == 500 and records.occurrenceID.is_unique
    names = {t.taxon_id: t.scientific_name for t in world.species_list}
    assert (records.scientificName == records.taxonID.map(names)).all()
    west, south, east, north = world.landscape.bounds
    assert (records.x.between(west, east, inclusive="left") & records.y.between(south, north, inclusive="left")).all()
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:3035", always_xy=True).transform(records.decimalLongitude, records.decimalLatitude)
    np.testing.assert_allclose([x, y], [records.x, records.y], atol=0.2)
    assert records.year.between(2000, 2023).all() and (records.basisOfRecord == "HumanObservation").all()


def test_records_crowd_along_roads_and_recorders():
    """Records lie nearer to paths than plots do, few recorders make most of them, and precise ones grow where species grow."""
    records = sample_presence_only(WORLD, 3_000, seed=6)
    events, _ = sample_plots(WORLD, 1_500, seed=6)
    assert np.median(layer_at(FRACTAL, "path_distance", records)) < 0.5 * np.median(layer_at(FRACTAL, "path_distance", events))
    people = records.recordedBy.value_counts(normalize=True)
    assert people.iloc[:5].sum() > 0.5
    precise = records[records.coordinateUncertaintyInMeters <= 10]
    p = WORLD.true_probability(x=precise.x, y=precise.y)
    index = [WORLD.species_list.index_of(t) for t in precise.taxonID]
    assert p[np.arange(len(p)), index].mean() > 2 * p.mean()


def test_records_are_made_in_season():
    """Days are true days of the record's year; months of all species together, and of the commonest, come as the phenology says."""
    records = sample_presence_only(WORLD, 4_000, seed=3)
    days = pd.to_datetime(records.eventDate, format="%Y-%m-%d")
    assert (days.dt.year == records.year).all() and days.dt.day.max() == 31
    phenology = WORLD.phenology
    assert phenology.shape == (40, 12) and (phenology > 0).all()
    np.testing.assert_allclose(phenology.sum(axis=1), 1)
    species = np.array([WORLD.species_list.index_of(t) for t in records.taxonID])
    for chosen in (np.full(len(species), True), species == np.bincount(species).argmax()):
        expected = phenology[species[chosen]].sum(axis=0)
        found = np.bincount(days.dt.month[chosen] - 1, minlength=12)
        assert (np.abs(found - expected) < 4.5 * np.sqrt(expected) + 1).all()


def test_dates_change_no_other_draw():
    """Everything but the day is drawn as it was before records had days: the first records of a known world, pinned."""
    records = sample_presence_only(WORLD, 500, seed=1)
    columns = ["recordedBy", "taxonID", "x", "y", "coordinateUncertaintyInMeters", "year"]
    assert [*records[columns].iloc[:3].itertuples(index=False, name=None)] == [
        ("virtual-recorder-01", "v021", 4003807.6, 3004673.5, 10.0, 2016),
        ("virtual-recorder-01", "v031", 4002336.4, 3003636.0, 250.0, 2017),
        ("virtual-recorder-03", "v006", 4015140.4, 3007527.4, 250.0, 2022),
    ]


def test_samples_are_reproducible():
    """Equal arguments give equal tables; another seed, or another world's seed, gives others; `within` confines both."""
    for draw in (sample_plots, sample_presence_only):
        first, again, other = (draw(WORLD, 100, seed=s) for s in (1, 1, 2))
        one, two, three = (x[0] if isinstance(x, tuple) else x for x in (first, again, other))
        pd.testing.assert_frame_equal(one, two)
        assert not one.x.equals(three.x)
        corner = (4_000_000, 3_000_000, 4_006_000, 3_007_000)
        inside = draw(WORLD, 50, seed=1, within=corner)
        inside = inside[0] if isinstance(inside, tuple) else inside
        assert inside.x.between(corner[0], corner[2]).all() and inside.y.between(corner[1], corner[3]).all()


def test_impossible_samples_are_refused():
    """No samples, bounds elsewhere, and more plots than the land can hold raise typed errors."""
    for draw in (sample_plots, sample_presence_only):
        with pytest.raises(UsageError, match="at least one"):
            draw(WORLD, 0, seed=1)
        with pytest.raises(NoDataError, match="outside"):
            draw(WORLD, 5, seed=1, within=(0, 0, 1_000, 1_000))
    with pytest.raises(UsageError, match="fewer"):
        sample_plots(WORLD, 500, seed=1, within=(4_000_000, 3_000_000, 4_000_100, 3_000_100))
