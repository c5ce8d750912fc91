"""Reports of single species: what is kept comes back, what is counted was found, and a known niche is told as it is."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import expit

from geoplantnet.cubes import TablePatches
from geoplantnet.errors import ModelError, UnknownSpecies
from geoplantnet.sdm.explain import Responses, explain_predictions
from geoplantnet.sdm.sites import BACKGROUND, Sites, tabulate
from geoplantnet.sdm.species_report import FEW, SpeciesTables, niche, niche_words, species_tables
from geoplantnet.storage import sha256

COLUMNS = {"terrain": ("elevation", "slope"), "soil": ("ph",)}
OPTIMA = np.linspace(600, 2400, 12)
WIDTH = 250.0


def niches(where, rows):
    """Twelve species that each live around one elevation, the last everywhere alike; slope and pH are nothing to them."""
    elevation = np.nan_to_num(tabulate(where.patches, rows).values[:, 0].astype(float), nan=1500)
    p = 0.9 * np.exp(-0.5 * ((elevation[:, None] - OPTIMA) / WIDTH) ** 2) + 0.001
    p[:, -1] = 0.3
    return p.astype(np.float32)


@pytest.fixture(scope="module")
def sites(species):
    """300 plots from 200 to 2800 m, of which the last 60 are presence-only records."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"elevation": rng.uniform(200, 2800, 300), "slope": rng.uniform(0, 45, 300), "ph": rng.normal(6, 1, 300)})
    plots = np.arange(300) < 240
    bare = Sites(
        species=species,
        patches=TablePatches(frame, COLUMNS),
        labels=sparse.csr_array((300, 12), dtype=np.uint8),
        presence_absence=plots,
        group=np.where(plots, 0, BACKGROUND),
        xy=rng.random((300, 2)) * 1e4,
    )
    found = rng.random((300, 12)) < niches(bare, np.arange(300))
    return replace(bare, labels=sparse.csr_array(found.astype(np.uint8)))


@pytest.fixture(scope="module")
def tables(sites):
    rows = np.arange(300)
    names = ["terrain.elevation", "terrain.slope", "soil.ph"]
    explained = explain_predictions(niches, sites, rows, predictors=names, points=40, repeats=1, score="log_likelihood")
    return species_tables(explained, sites, rows)


def assert_same(one: SpeciesTables, other: SpeciesTables):
    assert (one.species, one.score, one.plots) == (other.species, other.score, other.plots)
    for name in ("found", "contributions", "importance"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.responses.sites == other.responses.sites
    for name in ("predictors", "species", "richness"):
        pd.testing.assert_frame_equal(getattr(one.responses, name), getattr(other.responses, name), check_column_type=False)


def test_what_is_kept_comes_back_and_is_the_same_bytes(tables, tmp_path):
    """Loaded equals saved, exactly; saved again it is the same folder."""
    tables.save(tmp_path / "a")
    read = SpeciesTables.load(tmp_path / "a")
    assert_same(read, tables)
    read.save(tmp_path / "b")
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")


def test_an_explanation_without_responses_is_kept_too(sites, tmp_path):
    """No band that matters: empty tables go and come back, and a report says nothing of responses."""
    rows = np.arange(300)
    explained = explain_predictions(niches, sites, rows, predictors=["terrain.slope"], repeats=1)
    kept = species_tables(explained, sites, rows)
    kept.save(tmp_path / "none")
    read = SpeciesTables.load(tmp_path / "none")
    assert_same(read, kept)
    report = read.report("s03")
    assert report.niche.empty and json.loads(json.dumps(report.to_dict(), allow_nan=False))["curves"] == []


def test_a_report_counts_what_was_found_and_fits_in_json(tables, sites, species):
    """Plots, presences and records of the rows; tables sorted, the largest first; only the species' own curves."""
    labels = sites.labels.toarray()[:, 4]
    report = tables.report("Testus species4", auc=0.8, interval=(0.7, 0.9), top=2)
    assert (report.taxon_id, report.plots) == ("s04", 240)
    assert (report.presences, report.records) == (labels[:240].sum(), labels[240:].sum())
    assert report.prevalence == pytest.approx(labels[:240].mean())
    assert len(report.predictors) == 2 and report.predictors["importance"].is_monotonic_decreasing
    assert report.predictors["name"][0] == report.responses.predictors["predictor"][0] == "terrain.elevation"
    assert report.modalities["modality"][0] == "terrain" and report.modalities["shapley"].is_monotonic_decreasing
    assert set(report.responses.species["taxon_id"]) == {"s04"}
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert set(told) >= {f.name for f in fields(report)} - {"responses"}
    assert told["interval"] == [0.7, 0.9] and len(told["curves"]) == 40 * len(told["response_predictors"])
    only_records = species_tables(explain_predictions(niches, sites, np.arange(240), curves=0), sites, np.arange(240, 300))
    told = only_records.report("s04").to_dict()
    assert told["prevalence"] is None and told["plots"] == 0 and told["records"] == labels[240:].sum()
    with pytest.raises(UnknownSpecies, match=r"Did you mean 's04'"):
        tables.report("s4")


def test_a_known_niche_is_told_as_it_is(tables):
    """Optimum and half width of every species within a step of the curve; who lives everywhere alike has none."""
    step = 2600 / 39
    for k, optimum in enumerate(OPTIMA[:-1]):
        report = tables.report(f"s{k:02d}")
        about = report.responses.predictors.set_index("predictor").loc["terrain.elevation"]
        (row,) = (r for _, r in report.niche.iterrows() if r["predictor"] == "terrain.elevation")
        half = WIDTH * np.sqrt(2 * np.log(2))
        assert row["optimum"] == pytest.approx(optimum, abs=step) and not row["at_edge"]
        assert row["low"] == pytest.approx(max(optimum - half, about["low"]), abs=step)
        assert row["high"] == pytest.approx(min(optimum + half, about["high"]), abs=step)
        assert f"best at {row['optimum']:,.0f}" in niche_words(row, about)
    report = tables.report("s11")
    row = report.niche.iloc[0]
    assert row["effect"] == 0 and "hardly matters" in niche_words(row, report.responses.predictors.iloc[0])


@settings(max_examples=50, deadline=None)
@given(slope=st.sampled_from([-1, 1]), steep=st.floats(0.5, 5), unit=st.sampled_from(["", "m"]))
def test_an_optimum_at_the_end_of_the_plots_is_said_to_be_open(slope, steep, unit):
    """A response that rises or falls throughout: at which end, and that the truth may lie beyond."""
    value = np.linspace(-1, 1, 21)
    curves = pd.DataFrame({"predictor": "a.b", "value": value, "taxon_id": "t", "mean": expit(slope * steep * value - 2), "inside": True})
    words = niche_words(niche(curves).iloc[0], pd.Series({"unit": unit, "low": -1.0, "high": 1.0}))
    assert f"the {'upper' if slope > 0 else 'lower'} end" in words and "may lie beyond" in words


def test_reports_of_little_evidence_say_so(tables):
    """Few presences, few plots beside many records, no score, a score like a coin's: each a note; none where all is well."""

    def notes(presences, records, **how):
        found = tables.found.copy()
        found.loc["s04"] = [presences, records]
        return " ".join(replace(tables, found=found).report("s04", **how).notes)

    good = {"auc": 0.8, "interval": (0.7, 0.9)}
    assert notes(FEW, 0, **good) == ""
    assert f"from {FEW - 1} presences only" in notes(9, FEW - 10, **good)
    assert "9 plots only" in notes(9, FEW, **good)
    assert "skill is unknown" in notes(FEW, 0) and "told apart" in notes(FEW, 0, auc=0.6, interval=(0.45, 0.75))


def test_what_is_not_kept_or_damaged_says_how_to_make_it(tables, tmp_path):
    """No folder, a missing or foreign table, a list that is not its own."""
    with pytest.raises(ModelError, match="train again with `training"):
        SpeciesTables.load(tmp_path / "nowhere")
    tables.save(tmp_path / "t")
    (tmp_path / "t" / "responses.parquet").write_bytes(b"no parquet")
    with pytest.raises(ModelError, match="damaged"):
        SpeciesTables.load(tmp_path / "t")
    replace(tables, found=tables.found.iloc[1:]).save(tmp_path / "t")
    with pytest.raises(ModelError, match="other species"):
        SpeciesTables.load(tmp_path / "t")


def test_the_curves_of_a_species_are_ordered_by_what_matters_to_it(tables):
    """Bands that matter to all come in the order of the species' own importance."""
    several = [tables.responses.predictors.iloc[0].to_dict() | {"predictor": name} for name in ("a.x", "b.y", "c.z")]
    curves = pd.concat([tables.responses.species.assign(predictor=name) for name in ("a.x", "b.y", "c.z")], ignore_index=True)
    importance = pd.DataFrame({"a.x": 0.1, "b.y": 0.3, "c.z": 0.2}, index=tables.importance.index)
    responses = Responses(predictors=pd.DataFrame(several), species=curves, richness=tables.responses.richness, sites=3)
    report = replace(tables, importance=importance, responses=responses).report("s01")
    assert report.niche["predictor"].tolist() == ["b.y", "c.z", "a.x"] == report.responses.predictors["predictor"].tolist()
