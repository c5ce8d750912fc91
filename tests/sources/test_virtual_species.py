"""Virtual species: known truth, plausible richness, long-tailed prevalence, consistent traits."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from geoplantnet.errors import CrsError, NoDataError, UsageError
from geoplantnet.sources.virtual import VirtualLandCover, VirtualLandscape, VirtualSpecies, VirtualTerrain

FRACTAL = VirtualLandscape.fractal((4_000_000, 3_000_000, 4_004_000, 3_004_000), seed=7)
ALETSCH = VirtualLandscape.on_dem(seed=1, bounds=(4_150_000, 2_576_000, 4_174_000, 2_604_000))
EDGE = VirtualLandscape.on_dem(seed=1, bounds=(4_123_000, 2_573_000, 4_129_000, 2_579_000))
WORLD = VirtualSpecies.generate(160, landscape=ALETSCH, seed=2)
SMALL = VirtualSpecies.generate(24, landscape=FRACTAL, seed=2)


def whole(landscape: VirtualLandscape, resolution: int = 100) -> GeoBox:
    return GeoBox.from_bbox(landscape.bounds, crs="EPSG:3035", resolution=resolution, tight=True)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return WORLD.true_probability(whole(ALETSCH))


@pytest.fixture(scope="module")
def elevation() -> np.ndarray:
    return VirtualTerrain(ALETSCH).read(whole(ALETSCH)).values[0]


@pytest.fixture(scope="module")
def cover() -> dict[str, np.ndarray]:
    source = VirtualLandCover(ALETSCH)
    return dict(zip(source.bands, source.read(whole(ALETSCH)).values))


def test_probabilities_are_probabilities(truth):
    """Truth is float32 (species, y, x) in 0..1, and every species can be met somewhere."""
    assert truth.shape == (160, 280, 240) and truth.dtype == np.float32
    assert np.isfinite(truth).all()
    assert truth.min() >= 0 and truth.max() <= 1
    assert (truth.max(axis=(1, 2)) > 0.01).all()


def test_truth_at_points_is_truth_on_the_map():
    """A point has the probability of the 50 m cell that holds it; coarser pixels hold the mean of their cells."""
    cells = SMALL.true_probability(whole(FRACTAL, 50))
    rng = np.random.default_rng(0)
    x, y = FRACTAL.bounds[0] + rng.uniform(0, 4_000, 40), FRACTAL.bounds[1] + rng.uniform(0, 4_000, 40)
    row, col = ((FRACTAL.bounds[3] - y) // 50).astype(int), ((x - FRACTAL.bounds[0]) // 50).astype(int)
    np.testing.assert_allclose(SMALL.true_probability(x=x, y=y), cells[:, row, col].T, rtol=1e-5, atol=1e-7)
    coarse = SMALL.true_probability(whole(FRACTAL, 200))
    np.testing.assert_allclose(coarse, cells.reshape(24, 20, 4, 20, 4).mean(axis=(2, 4)), rtol=1e-4, atol=1e-6)


def test_nothing_is_known_beyond_the_relief():
    """Truth is NaN exactly where the elevation model has a void, and at points outside."""
    world = VirtualSpecies.generate(12, landscape=EDGE, seed=2)
    values = world.true_probability(whole(EDGE, 50))
    void = np.isnan(VirtualTerrain(EDGE).read(whole(EDGE, 50)).values[0])
    assert 0 < void.mean() < 1
    np.testing.assert_array_equal(np.isnan(values), np.broadcast_to(void, values.shape))
    assert np.isnan(world.true_probability(x=[0.0], y=[0.0])).all()


def test_richness_is_alpine(truth, elevation, cover):
    """Expected richness falls towards the snow, is near zero on ice and lakes, and is highest in grassland."""
    richness = truth.sum(axis=0)
    by_height = [richness[(elevation >= z) & (elevation < z + 500)].mean() for z in range(500, 3_500, 500)]
    assert max(by_height[:4]) > 2 * by_height[-1]
    assert by_height[3] > by_height[4] > by_height[5]
    assert richness[cover["glacier"] > 0.98].mean() < 0.1
    means = {name: richness[share > 0.8].mean() for name, share in cover.items() if (share > 0.8).sum() > 20}
    assert 4 < means["conifer_forest"] < means["alpine_meadow"] < 40
    assert means["rock"] < means["alpine_meadow"]


def test_groups_live_where_their_name_says(truth, cover, elevation):
    """Alpine species live in alpine meadow, broadleaf ones in broadleaf forest, nival ones high up."""
    groups = np.array(WORLD.groups)

    def abundance(group: str) -> np.ndarray:
        return truth[groups == group].sum(axis=0)

    for group, land in (("alpine meadow", "alpine_meadow"), ("broadleaf forest", "broadleaf_forest"), ("hay meadow", "meadow")):
        found = abundance(group)
        assert found[cover[land] > 0.8].mean() > 4 * found[cover[land] < 0.1].mean()
    assert np.average(elevation, weights=abundance("nival scree")) > 2_500 > np.average(elevation, weights=abundance("hay meadow"))


def test_prevalence_has_a_long_tail(truth):
    """Few species are common, several are rarer than 1 %, and stated prevalence is the mean of the truth."""
    np.testing.assert_allclose(WORLD.prevalence, truth.mean(axis=(1, 2)), rtol=0.25, atol=0.003)
    assert WORLD.prevalence.max() > 0.15
    assert (WORLD.prevalence < 0.01).sum() >= 8
    assert np.mean(WORLD.prevalence) > 1.3 * np.median(WORLD.prevalence)
    np.testing.assert_array_equal(WORLD.traits["rare"], WORLD.prevalence < 0.01)


def test_larger_plots_hold_more():
    """Probability follows 1 - exp(-density x area): a plot of twice the area misses a species with the square of the chance."""
    small = VirtualSpecies.generate(24, landscape=FRACTAL, seed=2, plot_area=50)
    p, q = small.true_probability(whole(FRACTAL)), SMALL.true_probability(whole(FRACTAL))
    cells, doubled = small.true_probability(whole(FRACTAL, 50)), SMALL.true_probability(whole(FRACTAL, 50))
    np.testing.assert_allclose((1 - cells.astype(float)) ** 2, 1 - doubled.astype(float), atol=1e-5)
    assert (q >= p - 1e-6).all()


def test_names_and_traits_say_virtual():
    """The list is of checklist "virtual" with names that say so; a genus lies in one family; traits keep their rules."""
    species, traits = WORLD.species_list, WORLD.traits
    assert species.checklist == "virtual" and len(species) == 160
    assert species[0].taxon_id == "v001" and species[159].taxon_id == "v160"
    assert all(t.scientific_name.startswith(f"Virtual species {t.taxon_id[1:]} (") for t in species)
    assert len({(t.genus, t.family) for t in species}) == len({t.genus for t in species}) < 40
    assert traits.index.tolist() == [t.taxon_id for t in species] and traits.index.name == "taxon_id"
    assert traits.columns.tolist() == ["tree", "woody", "invasive", "eu_directive", "rare", "iucn"]
    for column in ("tree", "woody", "invasive", "eu_directive", "rare"):
        assert traits[column].dropna().isin([0.0, 1.0]).all() and traits[column].sum() > 0
    assert (traits.woody >= traits.tree).all()
    assert not ((traits.invasive == 1) & (traits.eu_directive == 1)).any()
    assert traits.iucn.dropna().isin(["CR", "EN", "VU", "NT", "LC", "DD"]).all()
    assert {"CR", "EN", "VU"} & set(traits.iucn.dropna()) and traits.iucn.isna().any()


def test_species_are_reproducible():
    """The same seed gives the same list, traits and bytes of truth, also after pickling; another seed gives others."""
    again = pickle.loads(pickle.dumps(VirtualSpecies.generate(24, landscape=FRACTAL, seed=2)))
    assert again == SMALL and len(pickle.dumps(again)) < 700
    assert again.species_list.hash == SMALL.species_list.hash and again.traits.equals(SMALL.traits)
    box = whole(FRACTAL)
    assert again.true_probability(box).tobytes() == SMALL.true_probability(box).tobytes()
    other = VirtualSpecies.generate(24, landscape=FRACTAL, seed=3)
    assert other.true_probability(box).tobytes() != SMALL.true_probability(box).tobytes()


def test_light_and_nutrients_matter_where_tables_are_equal():
    """Hidden gradients change the truth: open canopies hold other species than closed ones in equally pure conifer forest."""
    layers = ALETSCH.layers
    box = whole(ALETSCH, 50)
    inside = (slice(40, 40 + box.shape[0]), slice(40, 40 + box.shape[1]))
    forest = VirtualLandCover(ALETSCH).read(box).sel(band="conifer_forest").values > 0.97
    openness = layers.openness[inside]
    groups = np.array(WORLD.groups) == "montane conifer forest"
    values = WORLD.true_probability(box)[groups]
    low, high = np.quantile(openness[forest], [0.1, 0.9])
    closed, open_ = (values[:, forest & chosen].mean(axis=1) for chosen in (openness < low, openness > high))
    change = np.log((open_ + 1e-5) / (closed + 1e-5))
    assert (np.abs(change) > np.log(2)).mean() > 0.3
    assert (change > 0).any() and (change < 0).any()


def test_bad_calls_are_refused():
    """No species, impossible areas, half a point and places without a landscape raise typed errors."""
    for arguments in ({"n": 0}, {"n": 5, "plot_area": 0}, {"n": 5, "plot_area": 5_000}):
        with pytest.raises(UsageError):
            VirtualSpecies.generate(**arguments, landscape=FRACTAL, seed=1)
    for arguments in ({}, {"x": [1.0]}, {"geobox": whole(FRACTAL), "x": [1.0], "y": [1.0]}):
        with pytest.raises(UsageError, match="either"):
            SMALL.true_probability(**arguments)
    with pytest.raises(NoDataError, match="outside"):
        SMALL.true_probability(GeoBox.from_bbox((0, 0, 1_000, 1_000), crs="EPSG:3035", resolution=50, tight=True))
    with pytest.raises(CrsError):
        SMALL.true_probability(GeoBox.from_bbox((0, 0, 1_000, 1_000), crs="EPSG:2056", resolution=50, tight=True))
