"""One contract for every estimator: what `fit`, `predict`, `save` and `load` promise, and bad input each of them survives.

A further estimator joins by one line of CASES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import expit

from geoplantnet.cubes import TablePatches
from geoplantnet.errors import InputError, ModelError, UsageError
from geoplantnet.sdm.estimator import Estimator
from geoplantnet.sdm.model import Architecture
from geoplantnet.sdm.models import MODELS, load_estimator
from geoplantnet.sdm.sites import BACKGROUND, Sites
from geoplantnet.sdm.train import Step, TrainingPlan
from geoplantnet.taxonomy import SpeciesList, Taxon


@dataclass(frozen=True)
class Case:
    """An estimator small enough to test, and what may be asked of it."""

    make: Callable[[], Estimator]
    predictors: bool = True
    """Whether it looks at predictors."""
    records_alone: bool = True
    """Whether presence-only rows are enough."""


SMALL = Architecture(width=8, latent=8)
SHORT = TrainingPlan(steps=(Step(name="both", updates=10, pa=1.0, po=1.0, learning_rate=0.01),), threads=1)
CASES = {
    "prevalence": Case(lambda: MODELS["prevalence"](), predictors=False),
    "location-only": Case(lambda: MODELS["location-only"](trees=8), predictors=False),
    "glm": Case(lambda: MODELS["glm"](pairwise=True)),
    "maxent": Case(lambda: MODELS["maxent"](classes="lqp")),
    "random-forest": Case(lambda: MODELS["random-forest"](trees=8)),
    "boosting": Case(lambda: MODELS["boosting"](rounds=20)),
    "deep-sdm": Case(lambda: MODELS["deep-sdm"](architecture=SMALL, plan=SHORT)),
    "ensemble": Case(lambda: MODELS["ensemble"]([MODELS["glm"](), MODELS["random-forest"](trees=4, records=0.0)])),
}
COLUMNS = {"climate": ("warmth", "rain"), "soil": ("acidity",)}
SPECIES = SpeciesList(
    checklist="test", taxa=tuple(Taxon(taxon_id=f"s{i}", scientific_name=f"Testus {i}", genus=f"g{i % 2}") for i in range(4))
)


def a_world(n=120, seed=0, *, plots=1.0, missing=0.0):
    """Sites whose species follow warmth; a share are plots, the others records of two groups, or background."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(size=n) for names in COLUMNS.values() for name in names})
    labels = (rng.random((n, len(SPECIES))) < expit(np.outer(frame["warmth"], np.linspace(-2, 2, len(SPECIES))) - 0.5)).astype(np.uint8)
    plot = rng.random(n) < plots
    group = np.where(plot, 2, rng.integers(-1, 2, size=n))
    labels[group == BACKGROUND] = 0
    frame = frame.mask(rng.random(frame.shape) < missing)
    return Sites(
        species=SPECIES,
        patches=TablePatches(frame, COLUMNS),
        labels=sparse.csr_array(labels),
        presence_absence=plot,
        group=group,
        xy=rng.random((n, 2)) * 1e4,
    )


def with_labels(sites, change):
    """The same sites, labels changed in place by `change`."""
    labels = sites.labels.toarray()
    change(labels)
    return replace(sites, labels=sparse.csr_array(labels))


MIXES = {"plots": 1.0, "records": 0.0, "both": 0.5}
ROWS, OUTER = np.arange(90), np.arange(90, 120)
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
each_mix = pytest.mark.parametrize("share", MIXES.values(), ids=MIXES.keys())


def world_for(case, share):
    """A world of plots, of records, or both. Skips records alone where an estimator needs plots."""
    if share == 0 and not case.records_alone:
        pytest.skip("needs plots")
    return a_world(plots=share)


def sound(p, rows=OUTER):
    """Shape, type and range as promised."""
    return (
        p.shape == (len(rows), len(SPECIES)) and p.dtype == np.float32 and bool(np.isfinite(p).all() and (p >= 0).all() and (p <= 1).all())
    )


def test_every_model_of_the_registry_is_tested():
    """No model without a contract."""
    assert set(MODELS) <= set(CASES) and all(MODELS[name].name == name for name in MODELS)


@each_case
@each_mix
def test_fit_returns_the_model_and_predictions_are_probabilities(case, share):
    """(n, species) float32 in [0, 1], finite, in the order asked, however few."""
    sites, model = world_for(case, share), case.make()
    assert model.fit(sites, ROWS) is model
    p = model.predict(sites, OUTER)
    assert sound(p)
    assert sound(model.predict(sites, OUTER[:0]), OUTER[:0])
    np.testing.assert_allclose(model.predict(sites, OUTER[::-1]), p[::-1], atol=1e-6)
    np.testing.assert_allclose(model.predict(sites, OUTER[3:4]), p[3:4], atol=1e-6)


@each_case
@each_mix
def test_a_saved_model_is_the_model(tmp_path, case, share):
    """Loaded, by its class or by its name, it predicts the same bits; nothing is pickled; saving again gives the same bytes."""
    sites = world_for(case, share)
    model = case.make().fit(sites, ROWS)
    model.save(tmp_path / "m")
    for back in (type(model).load(tmp_path / "m"), load_estimator(tmp_path / "m")):
        assert np.array_equal(back.predict(sites, OUTER), model.predict(sites, OUTER)) and back.unfitted_ == model.unfitted_
    back.save(tmp_path / "n")
    for file in (f for f in (tmp_path / "m").rglob("*") if f.is_file()):
        assert file.suffix in (".safetensors", ".json", ".txt")
        assert (tmp_path / "n" / file.relative_to(tmp_path / "m")).read_bytes() == file.read_bytes()


@each_case
def test_what_is_no_saved_model_is_refused(tmp_path, case):
    """Nothing there, another kind of model, or half a file: a ModelError."""
    kind = type(case.make())
    with pytest.raises(ModelError):
        kind.load(tmp_path / "none")
    with pytest.raises(ModelError):
        load_estimator(tmp_path / "none")
    case.make().fit(a_world(), ROWS).save(tmp_path / "m")
    other = next(m for m in MODELS.values() if m is not kind)
    with pytest.raises(ModelError):
        other.load(tmp_path / "m")
    for file in (tmp_path / "m").rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(ModelError):
        kind.load(tmp_path / "m")


@each_case
def test_nothing_learnt_nothing_told(tmp_path, case):
    """Before `fit` a model neither predicts nor is saved."""
    with pytest.raises(ModelError, match="fit"):
        case.make().predict(a_world(), OUTER)
    with pytest.raises(ModelError):
        case.make().save(tmp_path / "m")


@each_case
def test_other_species_or_predictors_are_refused(case):
    """A shorter list, a missing modality, a modality of other bands: a ModelError; more modalities, in any order, are fine."""
    sites = a_world()
    model = case.make().fit(sites, ROWS)
    fewer = replace(sites, species=SpeciesList(checklist="test", taxa=SPECIES.taxa[:3]), labels=sparse.csr_array(sites.labels[:, :3]))
    with pytest.raises(ModelError):
        model.predict(fewer, OUTER)
    if not case.predictors:
        return
    frame = pd.DataFrame(
        {
            m.bands[i]: sites.patches.read(np.arange(120))[m.name].values[:, i, 0, 0]
            for m in sites.patches.modalities
            for i in range(len(m.bands))
        }
    )
    for columns in ({"climate": ("warmth", "rain")}, {**COLUMNS, "climate": ("rain", "warmth")}):
        with pytest.raises(ModelError):
            model.predict(replace(sites, patches=TablePatches(frame, columns)), OUTER)
    more = TablePatches(frame.assign(relief=1.0), {"soil": ("acidity",), "relief": ("relief",), "climate": ("warmth", "rain")})
    assert np.array_equal(model.predict(replace(sites, patches=more), OUTER), model.predict(sites, OUTER))


@each_case
@each_mix
def test_the_same_seed_gives_the_same_model(case, share):
    """Bit for bit, in whatever order rows are given; sites not learnt from are not seen; global random state is neither asked
    nor touched.
    """
    sites = world_for(case, share)
    first = case.make().fit(sites, ROWS).predict(sites, OUTER)
    np.random.seed(7)
    state = np.random.get_state()[1].copy()
    shuffled = np.random.default_rng(1).permutation(ROWS)
    other = with_labels(sites, lambda y: y.__setitem__(OUTER, 1 - y[OUTER]))
    assert np.array_equal(case.make().fit(other, shuffled).predict(sites, OUTER), first)
    assert np.array_equal(np.random.get_state()[1], state)


@each_case
@each_mix
def test_rare_absent_and_ubiquitous_species(case, share):
    """One record, none, and everywhere: finite predictions; who was never recorded is low everywhere and counted."""
    sites = world_for(case, share)

    def change(y):
        y[:, 0] = 0
        y[np.flatnonzero(y[:90, 3])[0], 0] = 1
        y[:90, 1] = 0
        y[sites.group != BACKGROUND, 2] = 1

    sites = with_labels(sites, change)
    model = case.make().fit(sites, ROWS)
    p = model.predict(sites, OUTER)
    assert sound(p)
    assert np.ptp(p[:, 1]) < 0.05 and p[:, 1].max() < 0.1
    assert "s1" in model.unfitted_ and not {"s0", "s3"} & set(model.unfitted_)


@each_case
def test_a_mask_of_rows_is_those_rows(case):
    """Fitted on a mask of the sites and asked for a mask, a model is that of the positions; rows that are no sites are refused."""
    sites = a_world(plots=0.5)
    inner = np.isin(np.arange(120), ROWS)
    p = case.make().fit(sites, ROWS).predict(sites, OUTER)
    model = case.make().fit(sites, inner)
    assert np.array_equal(model.predict(sites, ~inner), p) and np.array_equal(model.predict(sites, (~inner).tolist()), p)
    for wrong in ([-1], [120], inner[:90], [0.5]):
        with pytest.raises(UsageError):
            case.make().fit(sites, wrong)
        with pytest.raises(UsageError):
            model.predict(sites, wrong)


@each_case
def test_a_site_of_weight_none_is_not_learnt_from(case):
    """It is as if it were not there: species found there alone are unfitted; no other site to learn from is an error."""
    sites = a_world(plots=0.5)
    out = np.flatnonzero(sites.group[:90] != BACKGROUND)[-5:]

    def change(y):
        y[:, 1] = 0
        y[out, 1] = 1

    sites = with_labels(sites, change)
    weight = np.ones(120, np.float32)
    weight[out] = 0
    model = case.make().fit(replace(sites, weight=weight), ROWS)
    assert "s1" in model.unfitted_
    others = case.make().fit(replace(sites, weight=np.ones(120)), np.setdiff1d(ROWS, out))
    assert np.array_equal(model.predict(sites, OUTER), others.predict(sites, OUTER))
    with pytest.raises(InputError):
        case.make().fit(replace(sites, weight=np.zeros(120)), ROWS)


@each_case
@each_mix
def test_presences_weighted_alike_are_not_weighted(case, share):
    """Whatever the number, one weight for all presences of a species changes nothing; weights of their own may."""
    sites = world_for(case, share)
    cover = sites.labels.toarray() * np.array([0.1, 1, 7, 50])
    plain = case.make().fit(sites, ROWS).predict(sites, OUTER)
    np.testing.assert_allclose(case.make().fit(replace(sites, presence_weight=cover), ROWS).predict(sites, OUTER), plain, atol=2e-3)
    uneven = sites.labels.toarray() * np.random.default_rng(0).uniform(0.01, 10, sites.labels.shape)
    assert sound(case.make().fit(replace(sites, presence_weight=uneven), ROWS).predict(sites, OUTER))


@each_case
@each_mix
def test_gaps_in_the_predictors(case, share):
    """Values missing here and there, a predictor missing everywhere while learning, everything missing while predicting."""
    case_world = world_for(case, share)
    gaps = a_world(plots=share, missing=0.3)
    assert sound(case.make().fit(gaps, ROWS).predict(gaps, OUTER))
    blind = case_world.masked(["soil"])
    model = case.make().fit(blind, ROWS)
    p = model.predict(case_world, OUTER)
    assert sound(p)
    np.testing.assert_allclose(p, model.predict(blind, OUTER), atol=1e-6)  # a column never seen says nothing
    assert sound(model.predict(case_world.masked(["soil", "climate"]), OUTER))
    nothing = case_world.masked(["soil", "climate"])
    assert sound(case.make().fit(nothing, ROWS).predict(case_world, OUTER))


@each_case
@each_mix
def test_duplicate_and_constant_sites(case, share):
    """The same site many times over, and one predictor value for all."""
    sites = world_for(case, share)
    assert sound(case.make().fit(sites, np.repeat(ROWS, 3)).predict(sites, OUTER))
    flat = replace(sites, patches=TablePatches(pd.DataFrame(np.ones((120, 3)), columns=["warmth", "rain", "acidity"]), COLUMNS))
    assert sound(case.make().fit(flat, ROWS).predict(flat, OUTER))


@each_case
def test_nothing_to_learn_from_is_an_error(case):
    """No rows, or rows without a presence: an InputError."""
    sites = a_world()
    with pytest.raises(InputError):
        case.make().fit(sites, ROWS[:0])
    with pytest.raises(InputError):
        case.make().fit(with_labels(sites, lambda y: y.fill(0)), ROWS)
