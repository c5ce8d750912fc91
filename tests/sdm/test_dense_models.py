"""A cell of a densely mapped tile gets what the model predicts at a site on it, whatever kinds its members are of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from geoplantnet.cubes import PatchReader, build_cube, write_cube
from geoplantnet.errors import ModelError, NoDataError
from geoplantnet.sdm.calibrate import Calibration
from geoplantnet.sdm.cells import cell_tables
from geoplantnet.sdm.dense import predict_dense
from geoplantnet.sdm.ensemble import Ensemble, flattened
from geoplantnet.sdm.model import Architecture
from geoplantnet.sdm.models import MODELS
from geoplantnet.sdm.sites import Sites, tabulate
from geoplantnet.sdm.train import Step, TrainingPlan

PLAN = TrainingPlan(steps=(Step(name="plots", updates=4, pa=1.0),), threads=1)
MEMBERS = {
    "glm": lambda: MODELS["glm"](ridge=5.0),
    "maxent": lambda: MODELS["maxent"](classes="lq"),
    "random-forest": lambda: MODELS["random-forest"](trees=8, records=0.0),
    "boosting": lambda: MODELS["boosting"](rounds=10),
    "deep-sdm": lambda: MODELS["deep-sdm"](architecture=Architecture(width=8, latent=8), plan=PLAN),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory, small_grid, modalities, sources, species):
    """A tile's cube and sites: 120 plots at random, then 60 cells of which the first four are the corners."""
    tile = small_grid.tile("2kmE4200N2600")
    path = tmp_path_factory.mktemp("cube") / "cube.zarr"
    write_cube(build_cube(tile, modalities, sources), path, modalities)
    rng, side = np.random.default_rng(2), small_grid.cells_per_side
    rows, columns = rng.integers(0, side, (2, 180))
    rows[120:124], columns[120:124] = (0, 0, side - 1, side - 1), (0, side - 1, 0, side - 1)
    west, _, _, north = tile.bounds
    points = pd.DataFrame({"x": west + (columns + 0.5) * 50.0, "y": north - (rows + 0.5) * 50.0})
    reader = PatchReader(points, grid=small_grid, modalities=modalities, sources=sources, cubes={tile.id: path})
    steep = tabulate(reader, np.arange(180)).values[:, 5]
    found = rng.random((180, len(species))) < np.linspace(0.2, 0.6, len(species)) * (0.5 + (steep > np.nanmedian(steep)))[:, None]
    sites = Sites(
        species=species,
        patches=reader,
        labels=sparse.csr_array(found.astype(np.uint8)),
        presence_absence=np.ones(180, bool),
        group=np.zeros(180, np.int64),
        xy=points.to_numpy(),
    )
    return tile, path, sites, rows[120:], columns[120:], np.arange(120), np.arange(120, 180)


@pytest.fixture(scope="module")
def fitted(world):
    """One model of each kind."""
    return {name: make().fit(world[2], world[5]) for name, make in MEMBERS.items()}


def mapped(model, world, modalities, **how):
    tile, path, *_ = world
    calibration = how.pop("calibration", Calibration.identity(12))
    strips = list(predict_dense(model, tile, path, modalities=modalities, calibration=calibration, plot_area=100.0, **how))
    assert [rows.start for rows, _ in strips] == [0, *(rows.stop for rows, _ in strips[:-1])] and strips[-1][0].stop == 40
    return np.concatenate([p for _, p in strips], axis=1)


@pytest.mark.parametrize("name", [*MEMBERS, "all of them"])
def test_a_cell_mapped_is_the_prediction_at_a_site_on_it(world, fitted, modalities, name):
    """For every kind of model and their weighted mean: calibrated, times what of the cell can hold plants; with gaps in the cube.

    To a thousandth: means over windows are summed in another order, and MaxEnt's features are steep.
    """
    _, _, sites, rows, columns, _, cells = world
    model = Ensemble(list(fitted.values()), weights=[3, 1, 1, 1, 2]) if name == "all of them" else flattened(fitted[name])
    calibration = Calibration(slope=0.7, offsets=np.linspace(-1, 0.5, 12))
    availability = np.random.default_rng(0).choice(np.float32([1, 0.25]), (40, 40))
    p = mapped(model, world, modalities, calibration=calibration, availability=availability)
    expected = calibration.apply(model.predict(sites, cells)) * availability[rows, columns, None]
    assert np.isnan(tabulate(sites.patches, cells).values).any() and expected.std(axis=0).max() > 0.01
    np.testing.assert_allclose(p[:, rows, columns].T, expected, rtol=0, atol=1e-3)


def test_a_table_of_the_tile_is_that_of_its_patches(world, modalities):
    """Names and values of `tabulate`, cell by cell; and a model says of a table what it says of the sites it was made of."""
    tile, path, sites, rows, columns, _, cells = world
    table = tabulate(sites.patches, cells)
    strips = dict(((r.start, r.stop), t) for r, t in cell_tables(tile, path, modalities))
    assert set(strips) == {(0, 40)} and strips[0, 40].names == table.names
    np.testing.assert_allclose(strips[0, 40].values.reshape(40, 40, -1)[rows, columns], table.values, rtol=1e-5, atol=1e-5)


def test_a_model_says_of_a_table_what_it_says_of_its_sites(world, fitted):
    """Columns are found by name; one that lacks is named."""
    _, _, sites, _, _, _, cells = world
    table = tabulate(sites.patches, cells)
    turned = type(table)(values=table.values[:, ::-1], names=table.names[::-1], modality=table.modality[::-1])
    short = type(table)(values=table.values[:, 1:], names=table.names[1:], modality=table.modality[1:])
    for name in ("glm", "maxent", "random-forest", "boosting"):
        np.testing.assert_array_equal(fitted[name].predict_table(turned), fitted[name].predict(sites, cells))
        with pytest.raises(ModelError, match=r"predictor 'image.red'"):
            fitted[name].predict_table(short)
    with pytest.raises(ModelError, match="learnt nothing"):
        MODELS["glm"]().predict_table(table)


def test_cells_left_out_have_no_data_and_no_other_changes(world, fitted, modalities):
    """`where` chooses cells; a strip's height changes nothing."""
    model = flattened(fitted["random-forest"])
    where = np.random.default_rng(1).random((40, 40)) < 0.3
    whole, some = mapped(model, world, modalities), mapped(model, world, modalities, where=where)
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(some, np.where(where, whole, np.nan))
    with pytest.raises(NoDataError, match="no cell to map has data"):
        mapped(model, world, modalities, where=np.zeros((40, 40), bool))


def test_what_cannot_be_mapped_is_refused(world, fitted, modalities):
    """A model that looks at no predictor; other modalities than it learnt from, of a table or of patches."""
    _, _, sites, _, _, plots, _ = world
    with pytest.raises(ModelError, match="'prevalence' looks at no predictor"):
        mapped(flattened(MODELS["prevalence"]().fit(sites, plots)), world, modalities)
    for name in ("glm", "deep-sdm"):
        with pytest.raises(ModelError, match="trained with modality 'image'"):
            mapped(flattened(fitted[name]), world, modalities[1:])


def test_flattening_keeps_every_share(world, fitted):
    """Ensembles of ensembles predict as before; members that come out alike need no weights."""
    _, _, sites, _, _, _, cells = world
    glm, forest, boosting = (fitted[name] for name in ("glm", "random-forest", "boosting"))
    nested = Ensemble([Ensemble([glm, forest], weights=[1, 3]), boosting], weights=[2, 1])
    flat = flattened(nested)
    assert flat.members == (glm, forest, boosting) and flat.shares == pytest.approx([1 / 6, 1 / 2, 1 / 3])
    np.testing.assert_allclose(flat.predict(sites, cells), nested.predict(sites, cells), atol=1e-6)
    assert flattened(Ensemble([Ensemble([glm, forest]), Ensemble([boosting, glm])])).weights is None
