"""Laws of the virtual worlds that models are measured on, and of the measures of the study of opportunistic records."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from benchmarks.experiments import opportunistic, virtual
from geoplantnet.sdm.forest import RandomForest
from geoplantnet.sdm.sites import tabulate
from geoplantnet.taxonomy import SpeciesList, Taxon


@pytest.fixture(scope="module")
def world() -> virtual.World:
    return virtual.world(12, 150, 200, seed=1, side=20_000, cells=150)


def test_no_test_cell_is_near_a_training_site_and_no_training_site_knows_the_held_out_climate(world: virtual.World) -> None:
    warmth = tabulate(world.sites.patches, np.arange(len(world.sites))).values[:, 0]
    assert warmth[world.outside].max() < warmth[world.train].min()
    found = world.train[world.sites.group[world.train] == 0]
    apart = cKDTree(world.sites.xy[found]).query(world.sites.xy[world.inside])[0]
    assert apart.min() >= virtual.APART
    np.testing.assert_allclose(world.colder, warmth[world.train].min() - warmth[world.outside], atol=1.0)
    assert (world.colder > 0).all()


def test_a_model_that_knows_the_truth_scores_perfectly(world: virtual.World, monkeypatch: pytest.MonkeyPatch) -> None:
    tested = np.concatenate([world.inside, world.outside])

    class Oracle(RandomForest):
        def predict(self, sites, rows):  # type: ignore[no-untyped-def]
            return world.virtual.true_probability(x=sites.xy[rows, 0], y=sites.xy[rows, 1])

    monkeypatch.setattr(virtual, "world", lambda *a, **k: world)
    found = virtual.measure(lambda: Oracle(trees=1, records=0), 12, 1)
    assert found["r"] == pytest.approx(1) and found["r_cold"] == pytest.approx(1) and found["error"] == 0
    assert found["richness_bias"] == pytest.approx(0, abs=1e-6) and found["ece"] < 0.05
    assert world.truth.shape == (tested.size, 12)


def test_the_same_seed_gives_the_same_world(world: virtual.World) -> None:
    again = virtual.world(12, 150, 200, seed=1, side=20_000, cells=150)
    assert (again.sites.labels != world.sites.labels).nnz == 0
    rows = np.arange(len(world.sites))
    np.testing.assert_array_equal(tabulate(again.sites.patches, rows).values, tabulate(world.sites.patches, rows).values)


def test_overlap_of_worked_maps() -> None:
    """Warren et al. 2008: p = (1/2, 1/2, 0), q = (1/2, 0, 1/2): D = 1/2; I = 1 - (1/2)(1/2 + 1/2) = 1/2; scale does not matter."""
    a, b = np.array([[2.0, 1.0], [2.0, 0.0], [0.0, 0.0]]), np.array([[0.1, 0.0], [0.0, 0.0], [0.1, 3.0]])
    for measure in opportunistic.overlap(a, b):
        np.testing.assert_allclose(measure, [0.5, 0.0], atol=1e-12)
    for measure in opportunistic.overlap(a, 7 * a):
        np.testing.assert_allclose(measure, [1.0, 1.0])


def test_wrong_names_are_mostly_relatives_and_less_confident() -> None:
    taxa = SpeciesList(
        checklist="t",
        taxa=tuple(Taxon(taxon_id=f"t{i}", scientific_name=f"S {i}", genus=f"G{i // 3}", family=f"F{i // 9}") for i in range(27)),
    )
    true = np.random.default_rng(0).integers(0, 27, 20_000)
    named, confidence = opportunistic.identify(taxa, true, np.random.default_rng(1))
    wrong = named != true
    genus, family = true // 3 == named // 3, true // 9 == named // 9
    assert np.mean(genus[wrong]) == pytest.approx(opportunistic.CONGENER + 0.1 * 2 / 26, abs=0.03)
    assert np.mean(family[wrong]) == pytest.approx(0.9 + 0.1 * 8 / 26, abs=0.03)
    assert confidence[wrong].mean() < confidence[~wrong].mean()
