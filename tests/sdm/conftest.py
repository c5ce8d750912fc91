"""Held-out predictions of a made-up study, small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from geoplantnet.cubes import Modality
from geoplantnet.grid.time_axis import TimeAxis
from geoplantnet.sdm.evaluate import Evaluation, evaluate
from geoplantnet.sdm.held_out import HeldOut
from geoplantnet.sdm.study import Predictor, RecordSource, Study, Weights
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon


@pytest.fixture(scope="session")
def held_out() -> HeldOut:
    """150 plots in 3 folds of 15 blocks, 12 species from rare to common (the last never found), a model, a worse one and prevalence."""
    rng = np.random.default_rng(5)
    n, s = 150, 12
    block = rng.integers(0, 15, n)
    logit = np.linspace(-3.5, 1, s) + rng.normal(size=(n, 1)) * rng.normal(size=s) * 1.5
    found = (rng.random((n, s)) < 1 / (1 + np.exp(-logit))).astype(np.uint8)
    found[:, -1] = 0
    noise = {"model": 0.5, "location only": 2.0}
    p = {name: (1 / (1 + np.exp(-logit - rng.normal(size=(n, s)) * sd))).astype(np.float32) for name, sd in noise.items()}
    p["prevalence"] = np.tile(found.mean(axis=0, dtype=np.float32), (n, 1))
    taxa = tuple(Taxon(taxon_id=f"t{k}", scientific_name=f"Planta {k}", genus="Planta", family="Plantaceae") for k in range(s))
    return HeldOut(
        species=SpeciesList(checklist="made up, v1", taxa=taxa),
        event=tuple(f"plot:{i}" for i in range(n)),
        fold=block % 3,
        block=block,
        truth=sparse.csr_array(found),
        p=p,
        xy=rng.random((n, 2)) * 1e5 + 4e6,
    )


@pytest.fixture(scope="session")
def evaluation(held_out: HeldOut) -> Evaluation:
    return evaluate(held_out, draws=40, seed=1)


@pytest.fixture(scope="session")
def study(held_out: HeldOut) -> Study:
    """Everything recorded, nothing real."""
    terrain = Modality(
        name="terrain", bands=("elevation", "slope"), resolution=50, units=("m", "degree"), title="Terrain", credit="Survey & Co"
    )
    image = Modality(name="image", bands=("red", "nir"), resolution=10, window=25, halo=64)
    months = TimeAxis(step="month", first="2020-01", count=3)
    climate = Modality(name="climate", bands=("t", "p"), resolution=1000, halo=1, time=months)
    return Study(
        title="Plants | of *nowhere*",
        description="A study for tests.",
        notice="Predicted, not observed.",
        licence="CC-BY-4.0",
        attribution=("Nobody",),
        interval=("2000-01-01T00:00:00Z", "2020-12-31T23:59:59Z"),
        crs="EPSG:3035",
        lonlat=(7.0, 46.0, 8.0, 47.0),
        tiles=4,
        tile_size=25_000,
        cell_size=50,
        plot_area=100.0,
        species=held_out.species,
        records=(RecordSource(dataset="survey", read=1000, used=900),),
        events={"presence-absence": 150, "presence-only": 40},
        rejected={"no coordinates": 100},
        filters=(
            "Species are modelled that were found in at least 3 plots.",
            "Presence-only records outside the mapped tiles are refused.",
        ),
        clipping=("Presence-only records outside the mapped tiles are refused.",),
        predictors=(
            Predictor(modality=terrain, source="raster", learnt=True, scaling=((800.0, 200.0), (10.0, 5.0))),
            Predictor(modality=image, source="sentinel2-stac", learnt=True),
            Predictor(modality=climate, source="netcdf", learnt=True, scaling=((5.0, 2.0),) * 6),
            Predictor(modality=Modality(name="mask", bands=("water",), resolution=50), source="raster", learnt=False),
        ),
        algorithm="a network",
        architecture="network",
        settings={"batch": 32, "latent": 16},
        steps=("both, epochs 3",),
        record_losses=("deep_maxent",),
        clip=4.0,
        background=500,
        plots=150,
        presence_only_sites=540,
        block=5000.0,
        autocorrelation=None,
        buffer=0.0,
        folds=3,
        every_fold=True,
        members_of_folds=False,
        differ_by=("seed",),
        calibration="platt",
        kept_apart=True,
        tested_on=(),
        indicators=("richness",),
        dissimilarity=0.25,
        extrapolated=0.125,
        post_processing=("Cells without any of terrain stay empty.",),
        seed=1,
        software={"python": "3.11.2", "torch": "2.13.0"},
        weights=tuple(
            Weights(
                name=f"member-0{i}",
                path=f"/store/model/member-0{i}/weights.safetensors",
                bytes=5000 + i,
                sha256=f"{i:064x}",
                parameters=617,
            )
            for i in range(2)
        ),
    )
