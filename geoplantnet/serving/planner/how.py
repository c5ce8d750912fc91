"""How a layer was made, in words for a person who has to defend it: inputs, records, rule, skill, caveats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from geoplantnet.catalog.product import Layer
from geoplantnet.serving.atlas import SPECIES_PREFIX, Atlas
from geoplantnet.serving.dimensions import written
from geoplantnet.serving.languages import language_of, notice_in, told_in

_GROUND = "Terrain"
"""Family of layers that show the ground, and predict nothing."""
_SCORES = ("auc", "brier", "ece", "richness_bias")
"""Of the published skill, in the order told."""

_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "input": "cells of {resolution:g} m",
        "virtual": "computed for a virtual landscape, not measured",
        "period": "{first} to {last}",
        "licence": "licence: {licence}",
        "rule": "A species counts as present in a cell where its probability lies above the cell's threshold, which makes the expected F1 of "
        "the cell's list largest (MaxExp). The threshold differs from cell to cell.",
        "other-rule": "A species counts as present by the rule: {rule}.",
        "auc": "Ranking of places (AUC; 0.5 is chance, 1 perfect)",
        "brier": "Mean squared error of the probabilities (Brier score; 0 is perfect)",
        "ece": "Calibration error (0 is perfect)",
        "richness_bias": "Bias of the number of species (share of what was found; 0 is none)",
        "accuracy": "Plots whose habitat is named rightly",
        "top3": "Plots whose habitat is among the three named first",
        "of": "{plots} plots held out in blocks, {species} species",
        "of-habitats": "held-out plots",
        "habitat-caveat": "The habitat is the likeliest by the species predicted; a cell can hold several.",
        "predicted": "Predicted by a model, not observed: a species told for a place may be absent there, and one not told may grow there. "
        "Visit the place before a decision.",
        "cells": "A cell is {cell:g} m wide, but some inputs are coarser ({coarser}): neighbouring cells differ less than they may in the field.",
        "plot": "Probabilities are of finding a species on a plot of {area:g} m².",
        "applicability": "Outside the area of applicability (hatched) the environment is unlike every plot the model has learnt from, and nobody "
        "has tested it there.",
        "presence-only": "Many records say where a species was seen, not where it is absent, and come from where people go; the model corrects "
        "for that in part.",
        "generalised": "This species is sensitive: everything told of it is a mean over squares of {metres:g} m.",
        "change": "Change is of the places that suit a species; whether it arrives or leaves in time is not said.",
        "ground": "Computed from measured elevation; nothing is predicted.",
    },
    "fr": {
        "input": "cellules de {resolution:g} m",
        "virtual": "calculé pour un paysage virtuel, non mesuré",
        "period": "{first} à {last}",
        "licence": "licence : {licence}",
        "rule": "Une espèce compte comme présente dans une cellule si sa probabilité dépasse le seuil de la cellule, celui qui rend le F1 attendu "
        "de sa liste le plus grand (MaxExp). Le seuil varie d'une cellule à l'autre.",
        "other-rule": "Une espèce compte comme présente selon la règle : {rule}.",
        "auc": "Classement des lieux (AUC ; 0,5 : hasard, 1 : parfait)",
        "brier": "Erreur quadratique moyenne des probabilités (score de Brier ; 0 : parfait)",
        "ece": "Erreur de calibration (0 : parfait)",
        "richness_bias": "Biais du nombre d'espèces (part de ce qui a été trouvé ; 0 : aucun)",
        "accuracy": "Placettes dont l'habitat est bien nommé",
        "top3": "Placettes dont l'habitat est parmi les trois premiers nommés",
        "of": "{plots} placettes mises à part par blocs, {species} espèces",
        "of-habitats": "placettes mises à part",
        "habitat-caveat": "L'habitat est le plus probable d'après les espèces prédites ; une cellule peut en contenir plusieurs.",
        "predicted": "Prédit par un modèle, non observé : une espèce annoncée peut être absente du lieu, une autre non annoncée y pousser. "
        "Visitez le lieu avant de décider.",
        "cells": "Une cellule mesure {cell:g} m, mais des données d'entrée sont plus grossières ({coarser}) : des cellules voisines diffèrent moins "
        "qu'elles ne le peuvent sur le terrain.",
        "plot": "Les probabilités sont celles de trouver une espèce sur une placette de {area:g} m².",
        "applicability": "Hors du domaine d'applicabilité (hachuré), l'environnement ne ressemble à aucune placette dont le modèle a appris, et "
        "personne ne l'y a vérifié.",
        "presence-only": "Bien des relevés disent où une espèce a été vue, non où elle est absente, et viennent de là où l'on va ; le modèle "
        "n'en corrige qu'une partie.",
        "generalised": "Cette espèce est sensible : tout ce qui en est dit est une moyenne sur des carrés de {metres:g} m.",
        "change": "Le changement est celui des lieux favorables à une espèce ; qu'elle arrive ou parte à temps n'est pas dit.",
        "ground": "Calculé à partir d'altitudes mesurées ; rien n'est prédit.",
    },
}
_CALIBRATED = {"none", "identity"}
"""Names of calibrations that change nothing."""


def how_made(atlas: Atlas, layer: Layer, language: str = "", *, scenario: str = "") -> dict[str, Any]:
    """What is known of how a layer was made; what is not known is None. `language` is one of `languages.LANGUAGES`, else English.

    Raises InvalidDimensionValue for a scenario that does not show the layer.
    """
    language = language_of(language)
    epoch = atlas.epoch(layer, scenario=scenario)
    made, told = epoch.catalog.made, told_in(atlas.shown_by(layer, epoch), language)
    ground = layer.family == _GROUND
    metres = atlas.generalised(layer.id.removeprefix(SPECIES_PREFIX)) if layer.id.startswith(SPECIES_PREFIX) else None

    def say(key: str, **values: Any) -> str:
        return _WORDS[language][key].format(**values)

    records = made.get("records", {})
    model = made.get("model", {})
    predicted = not ground and bool(made)
    return {
        "title": told.title,
        "description": told.description,
        "inputs": [_input(one, say) for one in made.get("inputs", ())] if predicted else [],
        "records": {name: records.get(name) if predicted else None for name in ("presence_only", "presence_absence", "plots")},
        "threshold_rule": _rule(made, say) if predicted else None,
        "skill": _skill(made, layer, say) if predicted else [],
        "calibration": name if predicted and (name := made.get("calibration")) and name not in _CALIBRATED else None,
        "caveats": [say("ground")] if ground else _caveats(notice_in(epoch.catalog, language), layer, made, metres, say),
        "date": written(epoch.published),
        "period": {"start": written(epoch.start), "end": written(epoch.end)},
        "licence": epoch.catalog.license,
        "attribution": layer.attribution or "; ".join(made.get("attribution", ())) or None,
        "model": {name: model.get(name) if predicted else None for name in ("name", "version", "members")},
        "generalised": None if metres is None else {"metres": metres, **_why(atlas, layer)},
        "software": made.get("software"),
        "catalog_version": epoch.catalog.version,
        "epoch": epoch.name,
    }


def _input(one: Mapping[str, Any], say: Callable[..., str]) -> dict[str, str]:
    """One kind of data the model sees."""
    detail = [say("input", resolution=one["resolution_m"])]
    if one.get("from"):
        detail.append(say("period", first=one["from"], last=one["to"]) if one["from"] != one["to"] else one["from"])
    if str(one.get("source", "")).startswith("virtual"):
        return {"title": one.get("title") or one["name"], "detail": "; ".join([*detail, say("virtual")])}
    if one.get("credit"):
        detail.append(one["credit"])
    if one.get("licence"):
        detail.append(say("licence", licence=one["licence"]))
    return {"title": one.get("title") or one["name"], "detail": "; ".join(detail)}


def _rule(made: Mapping[str, Any], say: Callable[..., str]) -> str | None:
    rule = made.get("threshold_rule")
    return None if not rule else say("rule") if str(rule).startswith("MaxExp") else say("other-rule", rule=rule)


def _skill(made: Mapping[str, Any], layer: Layer, say: Callable[..., str]) -> list[dict[str, Any]]:
    """Scores of the mapped model on plots it had not seen; of habitats for their layer, of species for the others."""
    if layer.classes and layer.id == "habitat" and made.get("habitats"):
        told = made["habitats"]
        return [
            {"name": say(name), "value": told[name], "unit": "1", "of": say("of-habitats")} for name in ("accuracy", "top3") if name in told
        ]
    scores = made.get("skill", {}).get("model", {})
    known = all(scores.get(name) is not None for name in ("plots", "species"))
    of = say("of", plots=scores["plots"], species=scores["species"]) if known else say("of-habitats")
    return [{"name": say(name), "value": scores[name], "unit": "1", "of": of} for name in _SCORES if scores.get(name) is not None]


def _caveats(notice: str, layer: Layer, made: Mapping[str, Any], metres: float | None, say: Callable[..., str]) -> list[str]:
    """What the map does not say."""
    told = [notice, say("predicted")]
    if metres is not None:
        told.insert(0, say("generalised", metres=metres))
    cell = made.get("cell_size_m")
    coarser = [one for one in made.get("inputs", ()) if cell and one["resolution_m"] > cell]
    if coarser:
        told.append(
            say("cells", cell=cell, coarser=", ".join(f"{one.get('title') or one['name']}: {one['resolution_m']:g} m" for one in coarser))
        )
    if made.get("plot_area_m2") and layer.id.startswith(SPECIES_PREFIX):
        told.append(say("plot", area=made["plot_area_m2"]))
    if layer.id == "habitat":
        told.append(say("habitat-caveat"))
    if layer.id.startswith("change."):
        told.append(say("change"))
    if made.get("applicability") or layer.applicable:
        told.append(say("applicability"))
    if made.get("records", {}).get("presence_only"):
        told.append(say("presence-only"))
    return [text for text in told if text]


def _why(atlas: Atlas, layer: Layer) -> dict[str, Any]:
    """Why a species is generalised: its category, and the operator's words."""
    sensitive = atlas.sensitivity(layer.id.removeprefix(SPECIES_PREFIX))
    return {
        "category": sensitive.category if sensitive else None,
        "reason": (sensitive.reason or sensitive.generalisation) if sensitive else None,
    }
