"""`evaluate` and `report`: what a user reads and what programs read, from held-out predictions in the store."""

from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
import yaml
from scipy import sparse

from geoplantnet import occurrences as occ
from geoplantnet.sdm.evaluate import METRICS
from geoplantnet.sdm.held_out import FOLDER, HeldOut
from geoplantnet.sdm.odmap import ELEMENTS
from geoplantnet.sdm.run_file import read_run, score_run
from geoplantnet.sdm.species_report import SpeciesTables
from geoplantnet.storage import sha256
from pipelines.context import Run
from pipelines.ledger import Cost, Ledger
from pipelines.maps import overview_of
from pipelines.tables import stored_species


@pytest.fixture
def predicted(opened, store):
    """The store with held-out predictions of 90 made-up plots beside its model."""
    species, rng = stored_species(opened), np.random.default_rng(0)
    n, s = 90, len(species)
    p = rng.random((n, s)).astype(np.float32) ** 2
    held_out = HeldOut(
        species=species,
        event=tuple(f"virtual-plots:{i}" for i in range(n)),
        fold=np.arange(n) % 3,
        block=np.arange(n) // 6,
        truth=sparse.csr_array((rng.random((n, s)) < p).astype(np.uint8)),
        p={"model": p, "location only": np.full((n, s), 0.3, np.float32)},
        xy=rng.random((n, 2)) * 10_000 + [4_100_000, 2_600_000],
    )
    held_out.save(store / "model" / FOLDER)
    return held_out


def test_what_training_left_is_scored_and_explained(cli, reference, store, opened, tmp_path):
    """Evaluation of a run as it is: the ledger's skill again, the mapped model first, and the explanation in the report."""
    held_out = HeldOut.load(store / "model" / FOLDER)
    told = Ledger(store).record("train", "model").stats["skill"]
    assert list(held_out.p) == ["model", "location-only", "prevalence"] and set(told) == set(held_out.p)
    assert cli("report", reference.recipe, "--store", store, "--output", tmp_path / "r", "--bootstrap", "2").code == 0
    scores = json.loads((tmp_path / "r" / "evaluation.json").read_text(encoding="utf-8"))["scores"]
    for name, skill in told.items():
        assert scores[name]["ece"]["value"] == pytest.approx(skill["ece"])
        assert scores[name]["richness_bias"]["value"] == pytest.approx(skill["richness_bias"])
    text = (tmp_path / "r" / "report.md").read_text(encoding="utf-8")
    assert "### Contribution of modalities" in text and "| terrain |" in text and "### Permutation importance of predictors" in text
    assert "### Responses" in text and "figures/responses.png" in text


def test_pages_of_species_say_what_training_and_evaluation_found(cli, reference, store, opened, tmp_path):
    """By name or id, each once; counts of the plots learnt from, scores of the evaluation, figures inside; twice the same bytes."""
    species, held_out = stored_species(opened), HeldOut.load(store / "model" / FOLDER)
    k = int(held_out.found().sum(axis=0).argmax())
    taxon, other = species[k], species[k - 1]
    asked = [argument for name in (taxon.scientific_name, taxon.taxon_id, other.taxon_id) for argument in ("--species", name)]
    for name in ("a", "b"):
        ended = cli("report", reference.recipe, "--store", store, "--output", tmp_path / name, "--bootstrap", "5", *asked)
        assert ended.code == 0, ended.text
    assert "pages of species" in ended.out
    written = sorted(p.name for p in (tmp_path / "a" / "species").iterdir())
    assert written == sorted(f"{t.taxon_id}.{kind}" for t in (taxon, other) for kind in ("html", "json"))
    for path in written:
        assert (tmp_path / "a" / "species" / path).read_bytes() == (tmp_path / "b" / "species" / path).read_bytes()
    told = json.loads((tmp_path / "a" / "species" / f"{taxon.taxon_id}.json").read_text(encoding="utf-8"))
    tables = SpeciesTables.load(store / "model" / "explanation")
    assert told == tables.report(taxon.taxon_id, auc=told["auc"], interval=tuple(told["interval"])).to_dict()
    found = occ.load(opened.records)
    events = found.events.set_index("eventID")["sampling"]
    here = events[found.occurrences.loc[found.occurrences["taxonID"] == taxon.taxon_id, "eventID"].unique()]
    tested = int(held_out.found()[:, k].sum())
    assert told["plots"] == 150 - len(held_out) and told["presences"] == (here == "presence-absence").sum() - tested
    scores = pd.read_csv(tmp_path / "a" / "species.csv").query("model == 'model'").set_index("taxonID").loc[taxon.taxon_id]
    assert scores["presences"] == tested and told["auc"] == pytest.approx(scores["auc"], rel=1e-4)
    page = (tmp_path / "a" / "species" / f"{taxon.taxon_id}.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2 and 'src="figures' not in page and f"it was found on {tested}" in page
    assert all(note.split("(")[0] in page for note in told["notes"])
    report = (tmp_path / "a" / "report.md").read_text(encoding="utf-8")
    assert f"[*{taxon.scientific_name}*](species/{taxon.taxon_id}.html)" in report and (tmp_path / "a" / "report.html").is_file()


def test_a_species_that_is_not_modelled_or_not_explained_is_an_error(cli, reference, store, opened):
    """Exit 4 with the nearest names; and without an explanation, how to have one."""
    call = ("report", reference.recipe, "--store", store, "--bootstrap", "2", "--species")
    name = stored_species(opened)[0].scientific_name
    ended = cli(*call, name[:-1])
    assert ended.code == 4 and "UnknownSpecies" in ended.err and "Did you mean" in ended.err and not (store / "reports").exists()
    shutil.rmtree(store / "model" / "explanation")
    ended = cli(*call, name)
    assert ended.code == 4 and "training.explain: true" in ended.err
    assert cli(*call[:-1]).code == 0 and not (store / "reports" / "figures" / "responses.png").exists()


def test_evaluate_prints_the_model_beside_its_baseline_and_writes_the_scores(cli, reference, store, predicted):
    """Every metric with an interval, the paired difference, the classes; JSON and CSV hold the same numbers."""
    ended = cli("evaluate", reference.recipe, "--store", store, "--bootstrap", "20")
    assert ended.code == 0, ended.text
    assert all(m.title in ended.out for m in METRICS) and "model - location only" in ended.out.replace("\n", " ")
    assert "90 held-out plots in 3 folds" in " ".join(ended.out.split()) and "15 spatial blocks" in " ".join(ended.out.split())
    scores = json.loads((store / "reports" / "evaluation.json").read_text(encoding="utf-8"))
    auc = scores["scores"]["model"]["auc"]
    assert f"{auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]" in ended.out
    table = pd.read_csv(store / "reports" / "species.csv")
    assert len(table) == 2 * len(predicted.species) and set(table["model"]) == {"model", "location only"}


def test_evaluate_writes_json_and_a_run_file_where_it_is_told(cli, reference, store, predicted, tmp_path):
    """The run holds every held-out plot once and scores what was printed."""
    ended = cli(
        "evaluate",
        reference.recipe,
        "--store",
        store,
        "--bootstrap",
        "5",
        "--json",
        tmp_path / "s.json",
        "--run-file",
        tmp_path / "run.csv",
    )
    assert ended.code == 0, ended.text
    assert not (store / "reports" / "evaluation.json").exists()
    scores = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    run, ids, found = read_run(tmp_path / "run.csv"), [t.taxon_id for t in predicted.species], predicted.found()
    truth = {event: {ids[k] for k in np.flatnonzero(found[i])} for i, event in enumerate(predicted.event)}
    score = score_run(run, truth)
    assert score.missing == 0 and score.samples_f1 == pytest.approx(scores["scores"]["model"]["samples_f1"]["value"])
    assert f"samples-F1 {score.samples_f1:.4f}" in ended.out
    k = [ids.index(name) for name in run[predicted.event[0]]]
    assert (np.diff(predicted.p["model"][0, k]) <= 0).all()


@pytest.mark.parametrize("verb", ["evaluate", "report"])
def test_a_store_without_predictions_says_which_verb_makes_them(cli, reference, store, tmp_path, verb):
    """Exit 4, also on an empty store; a damaged folder too; a wrong number of draws is a usage error."""
    shutil.rmtree(store / "model" / FOLDER)
    for place in (store, tmp_path / "empty"):
        ended = cli(verb, reference.recipe, "--store", place)
        assert ended.code == 4 and "ModelError" in ended.err and "geoplantnet train" in ended.err and "Traceback" not in ended.text
    (store / "model" / FOLDER).mkdir(exist_ok=True)
    (store / "model" / FOLDER / "held_out.json").write_text("{", encoding="utf-8")
    ended = cli(verb, reference.recipe, "--store", store)
    assert ended.code == 4 and "damaged" in ended.err
    assert cli(verb, reference.recipe, "--store", store, "--bootstrap", "0").code == 2
    assert cli(verb, "--help").code == 0


def test_report_is_whole_and_repeatable(cli, reference, store, predicted, tmp_path):
    """Every file is there, links lead somewhere, figures are inside the page, and a second report is the same bytes."""
    for name in ("a", "b"):
        ended = cli("report", reference.recipe, "--store", store, "--output", tmp_path / name, "--bootstrap", "10")
        assert ended.code == 0, ended.text
    assert "report.html" in ended.out and "mandatory elements are left" in ended.out
    files = sorted(p.relative_to(tmp_path / "a").as_posix() for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert files == sorted(
        ["report.md", "report.html", "model_card.md", "mlm.json", "odmap.csv", "odmap.md", "evaluation.json", "species.csv"]
        + [
            f"figures/{name}.png"
            for name in ("roc", "precision_recall", "reliability", "threshold", "auc_prevalence", "plots", "responses")
        ]
        + ["figures/map_richness.png", "figures/map_applicability.png"]
    )
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    text = (tmp_path / "a" / "report.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (tmp_path / "a" / link).is_file(), link
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    drawn = sum(f.endswith(".png") for f in files)
    assert page.count("data:image/png;base64,") == drawn and 'src="figures' not in page and "<table>" in page and "<script" not in page


def test_what_the_report_states_is_what_the_run_recorded(cli, reference, store, predicted, tmp_path, opened):
    """Model card, MLM item and ODMAP against recipe, ledger and weights."""
    assert cli("report", reference.recipe, "--store", store, "--output", tmp_path / "r", "--bootstrap", "5").code == 0
    run, folder = Run.open(reference.recipe, store=store), tmp_path / "r"
    _, front, body = (folder / "model_card.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(front)["datasets"] == ["virtual-plots", "virtual-records"] and run.recipe.notice in body
    item = pystac.Item.from_file(folder / "mlm.json")
    names = [part["name"] for part in item.properties["mlm:input"]]
    assert names == [m.name for m in run.model_modalities] and all(part["value_scaling"] for part in item.properties["mlm:input"])
    assert item.properties["mlm:total_parameters"] > 1000
    file = store / "model" / "member-00" / "weights.safetensors"
    asset = item.assets["member-00"]
    assert list(item.assets) == ["member-00"] and (folder / asset.href).resolve() == file.resolve()
    assert asset.extra_fields["file:checksum"] == f"1220{sha256(file)}" and sha256(file) in body
    with (folder / "odmap.csv").open(encoding="utf-8", newline="") as file:
        values = {(r["subsection"], r["element"]): r["Value"] for r in csv.DictReader(file)}
    assert len(values) == len(ELEMENTS) == 84
    assert values["Authorship", "Study title"] == run.recipe.title and "to be filled by the author" in values["Authorship", "Author names"]
    assert (
        "150 plots" in values["Biodiversity data", "Absence data"]
        and "EPSG:3035" in values["Predictor variables", "Coordinate reference system"]
    )


def test_an_explanation_beside_the_model_becomes_a_section(cli, reference, store, predicted, tmp_path):
    """Its tables are shown; without one a sentence says so; a broken one is an error that names the file."""
    (store / "model" / "explanation.json").unlink()
    call = ("report", reference.recipe, "--store", store, "--output", tmp_path / "r", "--bootstrap", "2")
    assert cli(*call).code == 0 and "have not been computed" in (tmp_path / "r" / "report.md").read_text(encoding="utf-8")
    rows = [{"modality": "climate", "shapley": 0.123456, "share": 0.8}, {"modality": "terrain", "shapley": None, "share": 0.2}]
    file = store / "model" / "explanation.json"
    file.write_text(json.dumps({"score": "auc", "plots": 90, "contributions": rows}), encoding="utf-8")
    assert cli(*call).code == 0
    text = (tmp_path / "r" / "report.md").read_text(encoding="utf-8")
    assert "### Contribution of modalities" in text and "| climate | 0.1235 | 0.8 |" in text and "| terrain | - | 0.2 |" in text
    for broken in ("[", '{"contributions": [1]}', '{"modalities": "x"}'):
        file.write_text(broken, encoding="utf-8")
        ended = cli(*call)
        assert ended.code == 4 and "explanation.json is no explanation" in ended.err


def test_names_in_a_report_cannot_become_html(cli, write_recipe, store, predicted, tmp_path):
    """Tags in a recipe's title and notice stay text."""
    recipe = write_recipe({"title": "<script>alert(1)</script>", "notice": "<b onclick=x>bold</b>"})
    assert cli("report", recipe, "--store", store, "--output", tmp_path / "r", "--bootstrap", "2").code == 0
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "<b onclick" not in page and "&lt;script&gt;" in page
    shown = cli("evaluate", recipe, "--store", store, "--bootstrap", "2")
    assert shown.code == 0 and "<script>" in shown.out


def test_any_run_file_is_scored_without_a_recipe(cli, tmp_path):
    """As the challenge does: 2 of 3 right with 2 forgotten, one survey left out, one empty; JSON says the same."""
    run, truth = tmp_path / "run.csv", tmp_path / "truth.csv"
    run.write_text("surveyId,predictions\n1,3301 7301 9\n2,\n", encoding="utf-8")
    truth.write_text(
        "lon,surveyId,speciesId\n" + "".join(f"3.1,{s},{k}.0\n" for s, k in ((1, 3301), (1, 7301), (1, 4), (1, 5), (2, 4), (3, 4)))
    )
    ended = cli("evaluate", "--score", run, "--truth", truth, "--json", tmp_path / "score.json")
    assert ended.code == 0, ended.text
    wanted = 2 / 3.5 / 3
    assert f"samples-F1 {wanted:.4f}, mean over 3 surveys" in ended.out and "1 of 3 species of the run are in no survey" in ended.out
    assert "1 surveys of the truth are not in the run" in ended.out and "another edition" not in ended.out
    told = json.loads((tmp_path / "score.json").read_text(encoding="utf-8"))
    assert told["samples_f1"] == pytest.approx(wanted) and (told["surveys"], told["missing"], told["empty"]) == (3, 1, 1)
    run.write_text("surveyId,predictions\n1,a b\n", encoding="utf-8")
    assert "another edition" in cli("evaluate", "--score", run, "--truth", truth).out


def test_a_run_file_that_cannot_be_scored_says_why(cli, tmp_path):
    """Half of the call, too much of it, files that are none or of another edition; never a traceback."""
    run, truth = tmp_path / "run.csv", tmp_path / "truth.csv"
    run.write_text("surveyId,predictions\n1,3301\n", encoding="utf-8")
    truth.write_text("surveyId,speciesId\n2,3301\n", encoding="utf-8")
    for call, code, says in (
        (("--score", run), 2, "go together"),
        (("--truth", truth), 2, "go together"),
        ((), 2, "say what to score"),
        (("demo", "--score", run, "--truth", truth), 2, "drop a recipe"),
        (("--score", run, "--truth", truth, "--run-file", tmp_path / "x.csv", "--store", tmp_path), 2, "drop --store, --run-file"),
        (("--score", tmp_path / "no.csv", "--truth", truth), 4, "cannot read"),
        (("--score", truth, "--truth", truth), 4, "predictions missing"),
        (("--score", run, "--truth", truth), 4, "1 surveys of the run are none of the 1 of the truth"),
    ):
        ended = cli("evaluate", *call)
        assert ended.code == code and says in ended.err and "Traceback" not in ended.text, (call, ended.text)


def test_the_report_shows_the_maps_that_are_of_its_model(cli, reference, store, opened, tmp_path):
    """Richness and applicability of all tiles, from their own products; none that is of another model, and then it says so."""
    overview = overview_of(Run.open(reference.recipe, store=store))
    assert overview.tiles == overview.of == 3 and overview.richness.shape == overview.inside.shape == (200, 200)
    tile = opened.tiles[0]
    west, _, _, north = opened.tile(tile).bounds
    y, x = round((overview.bounds[3] - north) / overview.pixel), round((west - overview.bounds[0]) / overview.pixel)
    with rasterio.open(store / "tiles" / tile / "richness.tif") as file:
        whole = file.read(1, masked=True).filled(0) * file.scales[0]
    np.testing.assert_allclose(overview.richness[y : y + 100, x : x + 100], whole, rtol=1e-6)
    records = [Ledger(store).record("map", t).stats for t in opened.tiles]
    outside = sum(s["extrapolated"] * s["valid"] for s in records) / sum(s["valid"] for s in records)
    assert overview.extrapolated == pytest.approx(outside)
    assert np.isnan(overview.richness[:100, 100:]).all() and np.isfinite(overview.richness[100:]).all()

    call = ("report", reference.recipe, "--store", store, "--output", tmp_path / "r", "--bootstrap", "2")
    assert cli(*call).code == 0
    text = (tmp_path / "r" / "report.md").read_text(encoding="utf-8")
    assert "](figures/map_richness.png)" in text and "](figures/map_applicability.png)" in text and "3 tiles" in text
    odmap = (tmp_path / "r" / "odmap.md").read_text(encoding="utf-8")
    assert f"({100 * outside:.0f} % of the mapped cells)" in odmap
    train = store / "ledger" / "train" / "model.json"
    record = json.loads(train.read_text(encoding="utf-8"))
    Ledger(store).commit("train", "model", record["fingerprint"], [store / "model" / "model.json"], record["stats"], Cost())
    assert cli(*call).code == 0
    text = (tmp_path / "r" / "report.md").read_text(encoding="utf-8")
    assert "map_richness" not in text and "is up to date with this model" in text
    assert "of the mapped cells" not in (tmp_path / "r" / "odmap.md").read_text(encoding="utf-8")
