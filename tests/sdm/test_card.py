"""The model card and the STAC MLM item say what the study and its evaluation say, and nothing else."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pystac
import pytest
import yaml
from pystac.extensions.mlm import MLMExtension

from geoplantnet.errors import InputError
from geoplantnet.sdm.card import classes_table, markdown_table, metrics_table, model_card
from geoplantnet.sdm.evaluate import METRICS, Estimate
from geoplantnet.sdm.stac_mlm import REQUIRED, SCHEMA, check_item, mlm_item, slug
from geoplantnet.sdm.study import TO_FILL

SECTIONS = (  # Mitchell et al. 2019, figure 1
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
)


def parts(card):
    _, front, body = card.split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_card_has_mitchells_sections_in_their_order(study, evaluation):
    """All nine."""
    _, body = parts(model_card(study, evaluation))
    found = [line.removeprefix("## ") for line in body.splitlines() if line.startswith("## ")]
    assert tuple(found) == SECTIONS


def test_the_front_matter_is_what_the_hub_reads(study, evaluation):
    """YAML with a licence in small letters and a model index whose values are the evaluation's."""
    front, _ = parts(model_card(study, evaluation))
    assert front["license"] == "cc-by-4.0" and front["datasets"] == ["survey"]
    (result,) = front["model-index"][0]["results"]
    assert {"task", "dataset", "metrics"} == set(result)
    told = {m["type"]: m["value"] for m in result["metrics"]}
    assert told == {k: round(e.value, 4) for k, e in evaluation.scores["model"].items()}


def test_what_nobody_recorded_is_left_to_the_author(study, evaluation):
    """Developers, users, ethics are asked for; without credit that is asked for too, never made up."""
    card = model_card(study, evaluation)
    assert card.count(TO_FILL) >= 4
    assert model_card(replace(study, attribution=()), evaluation).count(TO_FILL) == card.count(TO_FILL) + 1


def test_every_number_of_the_table_is_the_evaluations(evaluation):
    """A row a metric; model columns and difference columns."""
    rows = metrics_table(evaluation).splitlines()
    assert len(rows) == 2 + len(METRICS) and rows[0].count("|") == 1 + 1 + 3 + 2
    auc = evaluation.scores["model"]["auc"]
    assert f"{auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]" in rows[2]
    assert "| - |" in next(row for row in rows if row.startswith("| Boyce"))
    assert len(classes_table(evaluation).splitlines()) == 2 + 4


def test_names_cannot_break_a_table():
    """A bar in a cell stays in its cell."""
    table = markdown_table([["a", "b"], ["x|y", "1"]])
    assert table.splitlines()[2] == "| x\\|y | 1 |"


def test_the_item_reads_back_with_pystac(study):
    """A STAC 1.1 item whose MLM fields pystac's own extension understands; what goes in and out is the model's."""
    item = pystac.Item.from_dict(json.loads(json.dumps(mlm_item(study), allow_nan=False)))
    mlm = MLMExtension.ext(item)
    assert SCHEMA in item.stac_extensions and MLMExtension.get_schema_uri() == SCHEMA
    assert mlm.mlm_name == slug(study.title) and mlm.total_parameters == 2 * 617 and mlm.pretrained is False
    shapes = {part.name: part.input.shape for part in mlm.input}
    assert shapes == {"terrain": [-1, 2, 1, 1], "image": [-1, 2, 129, 129], "climate": [-1, 6, -1, -1]}
    (output,) = mlm.output
    assert output.result.shape == [-1, len(study.species)] and len(output.classes) == len(study.species)
    scaled = {part["name"]: len(part.get("value_scaling", ())) for part in item.properties["mlm:input"]}
    assert scaled == {"terrain": 2, "image": 0, "climate": 6}
    assert item.properties["mlm:pretrained_source"] is None


def test_the_item_is_valid_stac_of_the_core_schema(study):
    """By the schema that pystac carries, no network; and the schema does refuse one without a geometry."""
    item = pystac.Item.from_dict(mlm_item(study))
    item.stac_extensions = []
    assert item.validate() == ["https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"]
    item.geometry = {"type": "Polygon", "coordinates": "nowhere"}
    with pytest.raises(pystac.STACValidationError):
        item.validate()


def test_every_member_has_its_own_asset(study):
    """Path, size, checksum and parameters of each, none told for another; the item counts them all."""
    made = mlm_item(study)
    assert made["properties"]["mlm:hyperparameters"]["members"] == 2 and made["properties"]["mlm:memory_size"] == 10_001
    assert made["properties"]["mlm:total_parameters"] == sum(asset["mlm:total_parameters"] for asset in made["assets"].values())
    assert list(made["assets"]) == ["member-00", "member-01"]
    for i, asset in enumerate(made["assets"].values()):
        assert asset["href"] == f"/store/model/member-0{i}/weights.safetensors"
        assert asset["file:size"] == 5000 + i and asset["file:checksum"] == f"1220{i:064x}" and "mlm:model" in asset["roles"]


def test_links_lead_from_the_folder_they_are_in(study):
    """Relative paths, whatever the folder; nothing else changes."""
    moved = study.seen_from("/store/reports")
    assert [w.path for w in moved.weights] == [f"../model/member-0{i}/weights.safetensors" for i in range(2)]
    assert replace(moved, weights=study.weights) == study


def test_the_card_has_the_checksum_of_every_member(study, evaluation):
    """And says what is mapped: the mean logit, and what it has seen."""
    body = model_card(study, evaluation)
    assert all(f"{w.name} `{w.sha256}`" in body for w in study.weights)
    assert "logits of 2 networks" in body and "fitted on all data" in body and "1,234 weights" in body
    folds = model_card(replace(study, members_of_folds=True), evaluation)
    assert "fitted on all data" not in folds and "their mean, which is mapped, is not" in folds


def test_the_card_says_how_far_the_map_can_be_trusted(study, evaluation):
    """Threshold and share outside; that nobody knows, where nobody does; what becomes of probabilities, and the dead zone."""
    body = model_card(replace(study, buffer=750.0), evaluation)
    assert "index above 0.25" in body and "12 % of the mapped cells" in body and "stay empty" in body and "within 750 m" in body
    assert "no area of applicability" in model_card(replace(study, dissimilarity=None, extrapolated=None), evaluation)


def test_the_output_is_described_as_it_is_computed(study):
    """The inverse logit of the mean logit, calibrated where a calibration was kept; inputs say where they are clipped."""
    said = mlm_item(study)["properties"]
    assert "logits of 2 networks" in said["mlm:output"][0]["description"] and "calibrated (platt)" in said["mlm:output"][0]["description"]
    assert "calibrated" not in mlm_item(replace(study, calibration="identity"))["properties"]["mlm:output"][0]["description"]
    assert all("stop 4 standard deviations off" in part["description"] for part in said["mlm:input"])


@pytest.mark.parametrize("field", REQUIRED)
def test_an_item_without_a_required_field_is_refused(study, field):
    """Each field by itself, by name."""
    item = copy.deepcopy(mlm_item(study))
    del item["properties"][field]
    with pytest.raises(InputError, match=field):
        check_item(item)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda i: i.update(stac_extensions=[]), "stac_extensions lacks"),
        (lambda i: i["properties"].update({"mlm:name": "1 x"}), "mlm:name"),
        (lambda i: i["properties"]["mlm:input"][0].pop("bands"), r"mlm:input\[0\].bands"),
        (lambda i: i["properties"]["mlm:input"][0]["input"].pop("shape"), r"mlm:input\[0\].input.shape"),
        (lambda i: i["properties"]["mlm:output"][0].pop("tasks"), r"mlm:output\[0\].tasks"),
        (lambda i: i["properties"].update(bands=[]), "not described in properties.bands"),
        (lambda i: i["properties"].update({"mlm:hyperparameters": {"a b": 1}}), "hyper-parameter 'a b'"),
        (lambda i: i["assets"]["member-01"].pop("mlm:artifact_type"), "mlm:artifact_type"),
        (lambda i: [asset.update(roles=["data"]) for asset in i["assets"].values()], "role mlm:model"),
        (lambda i: i["assets"]["member-01"].update(href=""), "href"),
    ],
)
def test_an_item_of_another_form_is_refused(study, spoil, says):
    """What the extension's schema demands beyond the presence of fields."""
    item = copy.deepcopy(mlm_item(study))
    spoil(item)
    with pytest.raises(InputError, match=says):
        check_item(item)


@pytest.mark.parametrize(
    ("title", "wanted"), [("Plants of ü", "plants-of"), ("3 trees", "model-3-trees"), ("", "model-sdm"), ("é", "model-sdm")]
)
def test_a_title_becomes_a_name(title, wanted):
    """Letters, digits and hyphens, a letter first."""
    assert slug(title) == wanted


def test_an_estimate_without_value_is_a_dash(evaluation):
    """Undefined is not zero."""
    from geoplantnet.sdm.card import show

    nan = float("nan")
    assert show(Estimate(value=nan, low=nan, high=nan), METRICS[0]) == "-"
    assert show(Estimate(value=0.5, low=nan, high=nan), METRICS[0]) == "0.500"
