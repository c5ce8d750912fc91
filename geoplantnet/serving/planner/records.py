"""What the data show of a species: its names, and of its records the years, months, altitudes and data sets; and what is not told, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from geoplantnet.catalog.species_records import RecordsOfTaxon
from geoplantnet.occurrences.record_counts import ROUGHEST
from geoplantnet.serving.atlas import Atlas
from geoplantnet.serving.languages import language_of
from geoplantnet.taxonomy import Taxon

_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "counts": "These are the records the model learnt from, counted. They say when and where people looked as much as how the plant lives: "
        "few records in winter need not mean few plants.",
        "relief": "Where nobody measured it, the altitude is that of the ground at the record's place, if this is known to {rough:g} m.",
        "not-published": "These maps were published without a summary of the records.",
        "no-names": "No common name is known here.",
        "no-records": "No record of this species is among those the model learnt from.",
        "no-years": "No record tells its year.",
        "no-months": "No record tells its month; surveys of plots often state the year alone.",
        "no-altitudes": "No altitude is known: nobody measured it, and no place is known well enough to read it from the relief.",
        "withheld-records": "This species is sensitive, and withheld in part of the area: nothing is told of its records.",
        "withheld-altitudes": "Altitudes are not told: the species is sensitive, and an altitude within the squares it is told in would lead to it.",
        "withheld-years": "Years are told by decade: the species is sensitive.",
        "withheld-datasets": "Data sets are not told: the species is sensitive.",
        "beside": "The altitude of {n} records is not told: a sensitive species was recorded with them.",
    },
    "fr": {
        "counts": "Ce sont les relevés dont le modèle a appris, comptés. Ils disent quand et où l'on a regardé autant que la vie de la plante : peu "
        "de relevés en hiver ne veut pas dire peu de plantes.",
        "relief": "Là où personne ne l'a mesurée, l'altitude est celle du sol au lieu du relevé, si ce lieu est connu à {rough:g} m près.",
        "not-published": "Ces cartes ont été publiées sans résumé des relevés.",
        "no-names": "Aucun nom commun n'est connu ici.",
        "no-records": "Aucun relevé de cette espèce n'est parmi ceux dont le modèle a appris.",
        "no-years": "Aucun relevé n'indique son année.",
        "no-months": "Aucun relevé n'indique son mois ; les relevés de placettes ne donnent souvent que l'année.",
        "no-altitudes": "Aucune altitude n'est connue : personne ne l'a mesurée, et aucun lieu n'est assez précis pour la lire sur le relief.",
        "withheld-records": "Cette espèce est sensible et non communiquée dans une partie de la zone : rien n'est dit de ses relevés.",
        "withheld-altitudes": "Les altitudes ne sont pas dites : l'espèce est sensible, et une altitude dans les carrés où elle est montrée mènerait "
        "à elle.",
        "withheld-years": "Les années sont dites par décennie : l'espèce est sensible.",
        "withheld-datasets": "Les jeux de données ne sont pas dits : l'espèce est sensible.",
        "beside": "L'altitude de {n} relevés n'est pas dite : une espèce sensible a été relevée avec eux.",
    },
}
_SENSITIVE, _UNKNOWN, _NOT_PUBLISHED = "sensitive", "unknown", "not-published"


def records_told(atlas: Atlas, taxon: Taxon, found: RecordsOfTaxon | None, *, published: bool, language: str = "") -> dict[str, Any]:
    """What is told of a species that is shown, JSON-able. `found`: its row of the catalog's file; `published`: whether there is such a file.

    What is not told is None, and an entry of ``missing`` says why, in words too. `language`: one of `languages.LANGUAGES`, else English.
    """
    words = _WORDS[language_of(language)]
    sensitive = atlas.sensitivity(taxon.taxon_id)
    names = [
        {"name": name["vernacularName"], "language": name["language"] or None, "source": name["source"]}
        for name in (found.names if found else ())
    ]
    if not published and taxon.vernacular_name:
        names = [{"name": taxon.vernacular_name, "language": "en", "source": atlas.catalog.title}]
    told: dict[str, Any] = {
        "taxonID": taxon.taxon_id,
        "scientificName": taxon.scientific_name,
        "names": names,
        "records": None,
        **dict.fromkeys(("sampling", "years", "months", "altitudes", "datasets")),
    }
    missing = [] if names else [_missing("names", _UNKNOWN, words["no-names"])]
    notes: list[str] = []
    if sensitive and not sensitive.records_square:
        missing.append(_missing("records", _SENSITIVE, words["withheld-records"]))
    elif not published:
        missing.append(_missing("records", _NOT_PUBLISHED, words["not-published"]))
    elif found is None or not found.counts:
        told["records"] = 0
        missing.append(_missing("records", _UNKNOWN, words["no-records"]))
    else:
        told |= _counted(found.counts, sensitive=sensitive is not None)
        missing += _not_told(told, words, sensitive=sensitive is not None)
        notes = [words["counts"]]
        altitudes = told["altitudes"] or {}
        if altitudes.get("relief"):
            notes.append(words["relief"].format(rough=ROUGHEST))
        if altitudes.get("classes") and altitudes["withheld"]:
            notes.append(words["beside"].format(n=altitudes["withheld"]))
    made = atlas.catalog.made
    return told | {
        "missing": missing,
        "notes": notes,
        "generalised": None if sensitive is None else {"metres": sensitive.generalised, "text": sensitive.generalisation},
        "licence": atlas.catalog.license,
        "attribution": list(made.get("attribution", ())),
        "catalog_version": atlas.catalog.version,
    }


def _counted(counts: Iterable[Mapping[str, Any]], *, sensitive: bool) -> dict[str, Any]:
    """The facets of a species with records; years and months that no record tells are None, and what is not told of a sensitive species."""
    facets: dict[str, list[Mapping[str, Any]]] = {}
    for row in counts:
        facets.setdefault(row["facet"], []).append(row)
    of = lambda facet: [row for row in facets.get(facet, ()) if not row["untold"]]  # noqa: E731

    def untold(facet: str, why: str) -> int:
        return sum(row["count"] for row in facets.get(facet, ()) if row["untold"] == why)

    months = dict.fromkeys(range(1, 13), 0) | {int(row["lower"]): row["count"] for row in of("month")}
    years = [{"from": int(row["lower"]), "to": int(row["upper"]), "count": row["count"]} for row in of("year")]
    classes: dict[tuple[int, int], int] = {}
    for row in of("altitude"):
        ends = int(row["lower"]), int(row["upper"])
        classes[ends] = classes.get(ends, 0) + row["count"]
    sources = {name: sum(row["count"] for row in of("altitude") if row["label"] == name) for name in ("recorded", "relief")}
    return {
        "records": sum(row["count"] for row in of("sampling")),
        "sampling": [{"basis": row["label"], "count": row["count"]} for row in of("sampling")],
        "years": {"first": years[0]["from"], "last": years[-1]["to"], "classes": years, "unknown": untold("year", "unknown")}
        if years
        else None,
        "months": {"counts": [*months.values()], "unknown": untold("month", "unknown")} if of("month") else None,
        "altitudes": None
        if sensitive
        else {
            "classes": [{"from": low, "to": high, "count": count} for (low, high), count in sorted(classes.items())],
            **sources,
            **{why: untold("altitude", why) for why in ("imprecise", "unknown", "withheld")},
        },
        "datasets": [{"datasetID": row["label"], "count": row["count"]} for row in of("dataset")] or None,
    }


def _not_told(told: Mapping[str, Any], words: Mapping[str, str], *, sensitive: bool) -> list[dict[str, str]]:
    found = [_missing(what, _UNKNOWN, words[f"no-{what}"]) for what in ("years", "months") if told[what] is None]
    if sensitive:
        whats = (*(["years"] if told["years"] else []), "altitudes", "datasets")
        return found + [_missing(what, _SENSITIVE, words[f"withheld-{what}"]) for what in whats]
    altitudes = told["altitudes"]
    if altitudes["classes"]:
        return found
    if altitudes["withheld"]:
        return [*found, _missing("altitudes", _SENSITIVE, words["beside"].format(n=altitudes["withheld"]))]
    return [*found, _missing("altitudes", _UNKNOWN, words["no-altitudes"])]


def _missing(what: str, why: str, text: str) -> dict[str, str]:
    return {"what": what, "why": why, "text": text}
