"""The words and numbers of a report, in English and in French."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

NARROW, NO_BREAK = "\u202f", "\u00a0"
_ENGLISH: Mapping[str, str] = {
    "title": "Plants predicted in an area",
    "compared": "Plants predicted, side by side",
    "header": "Predicted, not observed",
    "of": "Report of {day}",
    "unnamed": "Area without a name",
    "unnamed.scenario": "The same area",
    "page": "Page {page} of {pages}",
    "months": "January February March April May June July August September October November December",
    "day": "{day} {month} {year}",
    "and": "and {n} more",
    "none": "none",
    "yes": "• yes",
    "no": "– no",
    "unknown": "? unknown",
    "summary": "In short",
    "map": "Map",
    "period": "Period the map stands for",
    "km2": "Area",
    "mapped": "Mapped part",
    "cells": "Cells",
    "count": "Species predicted",
    "partial": "Part of the area lies outside the map",
    "partial.yes": "yes: nothing is known of that part, and nothing here is told of it",
    "partial.no": "no",
    "least": "Smallest coverage counted",
    "generalised": "Species told coarsely",
    "generalised.note": "sensitive species: what is told of them are means over larger squares",
    "withheld": "Species withheld",
    "withheld.note": "not told here, to protect them",
    "centre": "Middle of the area",
    "groups": "Species that decisions ask about",
    "groups.note": "Not known counts the species predicted here whose status nobody told the map: they may belong to the group. "
    "Expected is the number of such species that a plot somewhere in the area holds on average, those too unlikely to be listed included.",
    "group": "Group",
    "group.protected": "Protected (Habitats Directive)",
    "group.invasive": "Invasive alien",
    "group.narrow_ranged": "Endemic (narrow range)",
    "group.threatened": "Threatened (VU, EN, CR)",
    "group.trees": "Trees",
    "group.count": "Species",
    "group.unknown": "Not known",
    "group.expected": "Expected",
    "group.species": "Which, widest first",
    "maps": "Maps",
    "map.place": "Where it is",
    "map.alt": "Map of {title} in and around the area, which is outlined.",
    "legend.alt": "Legend of {title}.",
    "map.note": "Outlined: the area. Paler: outside it. Hatched: no data.",
    "map.frame": "{width} × {height} km, {crs}",
    "habitats": "Habitats",
    "habitat": "Most likely habitat",
    "share": "Share of the area",
    "indicators": "Indicators",
    "indicator": "Indicator",
    "mean": "Mean",
    "unit": "Unit",
    "difference": "B − A",
    "shares": "Classes: share of the area",
    "species": "Species",
    "species.note": "Widest spread first. Coverage: share of the mapped cells of the area that a species is predicted in.",
    "species.range": "Range: the lowest and highest coverage among the {n} models of the ensemble.",
    "species.compared": "Coverage in A and in B, and the difference in percentage points; the largest differences first.",
    "species.cut": "{n} more species are left out here. The whole table is in the report's HTML, XLSX, CSV and GeoJSON.",
    "name": "Species",
    "family": "Family",
    "coverage": "Coverage",
    "range": "Range",
    "iucn": "IUCN",
    "tree": "Tree",
    "invasive": "Invasive",
    "directive": "Directive",
    "narrow_ranged": "Endemic",
    "where": "Found in",
    "where.both": "both",
    "where.A": "only A",
    "where.B": "only B",
    "points": "points",
    "coarse": "told coarsely, over squares of {metres} m",
    "legend.marks": "IUCN: LC least concern, NT near threatened, VU vulnerable, EN endangered, CR critically endangered, DD data deficient, "
    "? not known. Directive: annexes of the Habitats Directive. Endemic: of narrow range, among the quarter of all species with the smallest.",
    "method": "How this was made",
    "method.predicted": "Nothing here was counted in the field. A model learnt from records of plants, climate, relief and land cover "
    "how likely each species is in every cell of a grid.",
    "method.set": "Each cell has a set of species: those whose probability exceeds a threshold of that cell's own, by the rule the map was made "
    "with. Unless its publisher chose another, it is the set with the largest expected agreement (F1) with what grows there.",
    "method.coverage": "The coverage of a species is the share of the area's mapped cells whose set holds it; a cell on the edge counts by the "
    "part of it that lies inside, so no cell is counted twice.",
    "method.range": "The range is what the models of the ensemble tell one by one. It shows where they disagree; it is no confidence interval.",
    "method.limits": "The model cannot know what was planted, mown, cleared or built, nor what has not arrived yet. It tells of the species it "
    "has learnt only. A species missing here is not proven absent, nor is one listed here proven present: whoever decides "
    "about a site has to visit it.",
    "method.unknown": "Unknown is never counted as no.",
    "versions": "Versions and identity",
    "version.catalog": "Maps (catalog)",
    "version.species_list": "List of species",
    "version.model": "Model",
    "version.software": "Software",
    "sha256": "Area (SHA-256 of the polygon)",
    "licence": "Licence",
    "link": "This area on the map",
    "cite": "How to cite",
    "cite.text": "{map}. {title}: {name} (polygon {sha}). Version {catalog}, geoplantnet {software}, {day}.",
    "sheet.species": "Species",
    "sheet.indicators": "Indicators",
    "sheet.habitats": "Habitats",
    "sheet.metadata": "Metadata",
    "taxonID": "Id",
    "scientificName": "Scientific name",
    "vernacularName": "Common name",
    "genus": "Genus",
    "low": "Lowest of the models",
    "high": "Highest of the models",
    "cells.count": "Cells it is predicted in",
    "probability": "Mean probability",
    "metres": "Told coarsely (m)",
    "side": "Area",
    "layer": "Layer",
    "class": "Class",
    "row": "What",
    "value": "Value",
    "notice": "Notice",
    "made": "Made on",
    "units": "Units",
    "units.text": "coverage and shares: 0 to 1, shown as per cent; areas: km²; cells: number of cells, parts of cells as such; probability: 0 to 1",
}
_FRENCH: Mapping[str, str] = {
    "title": "Plantes prédites sur un territoire",
    "compared": "Plantes prédites, comparaison",
    "header": "Prédit, non observé",
    "of": "Rapport du {day}",
    "unnamed": "Territoire sans nom",
    "unnamed.scenario": "Le même territoire",
    "page": "Page {page} sur {pages}",
    "months": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "day": "{day} {month} {year}",
    "and": "et {n} autres",
    "none": "aucune",
    "yes": "• oui",
    "no": "– non",
    "unknown": "? inconnu",
    "summary": "En bref",
    "map": "Carte",
    "period": "Période que la carte représente",
    "km2": "Superficie",
    "mapped": "Partie cartographiée",
    "cells": "Mailles",
    "count": "Espèces prédites",
    "partial": "Une partie du territoire est hors de la carte",
    "partial.yes": "oui : rien n’est connu de cette partie, et rien n’en est dit ici",
    "partial.no": "non",
    "least": "Plus petite couverture comptée",
    "generalised": "Espèces données à maille large",
    "generalised.note": "espèces sensibles : ce qui en est dit est une moyenne sur des carrés plus grands",
    "withheld": "Espèces retenues",
    "withheld.note": "non citées ici, pour les protéger",
    "centre": "Centre du territoire",
    "groups": "Espèces qui comptent pour décider",
    "groups.note": "« Non connu » compte les espèces prédites ici dont le statut n’a pas été renseigné : elles appartiennent peut-être au groupe. "
    "« Attendu » est le nombre de ces espèces qu’abrite en moyenne une placette du territoire, y compris celles trop improbables pour être citées.",
    "group": "Groupe",
    "group.protected": "Protégées (directive Habitats)",
    "group.invasive": "Exotiques envahissantes",
    "group.narrow_ranged": "Endémiques (aire restreinte)",
    "group.threatened": "Menacées (VU, EN, CR)",
    "group.trees": "Arbres",
    "group.count": "Espèces",
    "group.unknown": "Non connu",
    "group.expected": "Attendu",
    "group.species": "Lesquelles, par couverture décroissante",
    "maps": "Cartes",
    "map.place": "Situation",
    "map.alt": "Carte de {title} sur le territoire, dont le contour est tracé, et autour.",
    "legend.alt": "Légende de {title}.",
    "map.note": "Contour : le territoire. Plus pâle : hors de lui. Hachures : sans donnée.",
    "map.frame": "{width} × {height} km, {crs}",
    "habitats": "Habitats",
    "habitat": "Habitat le plus probable",
    "share": "Part du territoire",
    "indicators": "Indicateurs",
    "indicator": "Indicateur",
    "mean": "Moyenne",
    "unit": "Unité",
    "difference": "B − A",
    "shares": "Classes : part du territoire",
    "species": "Espèces",
    "species.note": "Par couverture décroissante. Couverture : part des mailles cartographiées du territoire où l’espèce est prédite.",
    "species.range": "Intervalle : la plus petite et la plus grande couverture parmi les {n} modèles de l’ensemble.",
    "species.compared": "Couverture en A et en B, et différence en points de pourcentage ; les plus grandes différences d’abord.",
    "species.cut": "{n} autres espèces ne sont pas citées ici. Le tableau entier est dans le rapport en HTML, XLSX, CSV et GeoJSON.",
    "name": "Espèce",
    "family": "Famille",
    "coverage": "Couverture",
    "range": "Intervalle",
    "iucn": "UICN",
    "tree": "Arbre",
    "invasive": "Envahis.",
    "directive": "Directive",
    "narrow_ranged": "Endém.",
    "where": "Présence",
    "where.both": "les deux",
    "where.A": "A seul",
    "where.B": "B seul",
    "points": "points",
    "coarse": "donnée à maille large, par carrés de {metres} m",
    "legend.marks": "UICN : LC préoccupation mineure, NT quasi menacée, VU vulnérable, EN en danger, CR en danger critique, DD données "
    "insuffisantes, ? non connu. Envahis. : exotique envahissante. Directive : annexes de la directive Habitats. Endém. : d’aire restreinte, "
    "parmi le quart des espèces dont l’aire est la plus petite.",
    "method": "Comment ce rapport est fait",
    "method.predicted": "Rien ici n’a été compté sur le terrain. Un modèle a appris, à partir de relevés de plantes, du climat, du relief et de "
    "l’occupation du sol, combien chaque espèce est probable dans chaque maille d’une grille.",
    "method.set": "Chaque maille a un ensemble d’espèces : celles dont la probabilité dépasse un seuil propre à la maille, selon la règle "
    "avec laquelle la carte a été faite. Sauf autre choix de l’éditeur, c’est l’ensemble dont l’accord attendu (F1) avec ce qui y pousse est le plus grand.",
    "method.coverage": "La couverture d’une espèce est la part des mailles cartographiées du territoire dont l’ensemble la contient ; une maille "
    "du bord compte pour sa part à l’intérieur, si bien qu’aucune n’est comptée deux fois.",
    "method.range": "L’intervalle est ce que disent les modèles de l’ensemble un par un. Il montre où ils sont en désaccord ; ce n’est pas un "
    "intervalle de confiance.",
    "method.limits": "Le modèle ne peut savoir ce qui a été planté, fauché, défriché ou bâti, ni ce qui n’est pas encore arrivé. Il ne parle que "
    "des espèces qu’il a apprises. L’absence d’une espèce ici n’est pas prouvée, pas plus que la présence d’une espèce citée : "
    "qui décide d’un site doit s’y rendre.",
    "method.unknown": "L’inconnu n’est jamais compté comme un non.",
    "versions": "Versions et identité",
    "version.catalog": "Cartes (catalogue)",
    "version.species_list": "Liste d’espèces",
    "version.model": "Modèle",
    "version.software": "Logiciel",
    "sha256": "Territoire (SHA-256 du polygone)",
    "licence": "Licence",
    "link": "Ce territoire sur la carte",
    "cite": "Comment citer",
    "cite.text": "{map}. {title} : {name} (polygone {sha}). Version {catalog}, geoplantnet {software}, {day}.",
    "sheet.species": "Espèces",
    "sheet.indicators": "Indicateurs",
    "sheet.habitats": "Habitats",
    "sheet.metadata": "Métadonnées",
    "taxonID": "Id",
    "scientificName": "Nom scientifique",
    "vernacularName": "Nom commun",
    "genus": "Genre",
    "low": "Le plus bas des modèles",
    "high": "Le plus haut des modèles",
    "cells.count": "Mailles où elle est prédite",
    "probability": "Probabilité moyenne",
    "metres": "Maille large (m)",
    "side": "Territoire",
    "layer": "Couche",
    "class": "Classe",
    "row": "Quoi",
    "value": "Valeur",
    "notice": "Avertissement",
    "made": "Établi le",
    "units": "Unités",
    "units.text": "couverture et parts : de 0 à 1, affichées en pour cent ; superficies : km² ; mailles : nombre de mailles, parts comprises ; "
    "probabilité : de 0 à 1",
}
_TEXTS: Mapping[str, Mapping[str, str]] = {"en": _ENGLISH, "fr": _FRENCH}


@dataclass(frozen=True, kw_only=True)
class Words:
    """How a report is told in a language."""

    lang: str = "en"
    """``en`` or ``fr``."""

    def __call__(self, key: str, **values: object) -> str:
        """The words of a key, in which `values` are put."""
        text = _TEXTS[self.lang][key]
        return text.format(**values) if values else text

    def number(self, value: float | None, digits: int = 0) -> str:
        """With so many decimals, thousands told apart: 1,234.5 in English, 1 234,5 in French (narrow no-break space); ``?`` for None."""
        if value is None:
            return "?"
        text = f"{value:,.{digits}f}".replace("-", "−")
        if not text.strip("−0.,"):
            text = text.removeprefix("−")
        return text.translate({ord(","): NARROW, ord("."): ","}) if self.lang == "fr" else text

    def significant(self, value: float | None) -> str:
        """Three significant digits, all those before the decimal sign."""
        if value is None:
            return "?"
        before = len(str(int(abs(value)))) if abs(value) >= 1 else 0
        small = 0 if before or value == 0 else next((k for k in range(6) if abs(value) * 10**k >= 0.1), 6)
        return self.number(value, max(0, 3 - before + small) if value else 0)

    def percent(self, share: float | None) -> str:
        """12.3 %; what is above zero and rounds to it is told as less than 0.1 %."""
        if share is None:
            return "?"
        gap = NARROW if self.lang == "fr" else NO_BREAK
        few = 0 < share < 0.0005
        return f"{'<' + NO_BREAK if few else ''}{self.number(0.1 if few else 100 * share, 1)}{gap}%"

    def points(self, share: float) -> str:
        """A difference of two shares in percentage points, with its sign."""
        text = self.number(100 * share, 1)
        return f"+{text}" if share > 0 and text.strip("0.,") else text

    def day(self, day: date) -> str:
        """22 November 2026; the first of a month is `1er` in French."""
        first = "1er" if self.lang == "fr" and day.day == 1 else str(day.day)
        return self("day", day=first, month=self("months").split()[day.month - 1], year=day.year)

    def place(self, lon: float, lat: float) -> str:
        """Latitude, longitude, as people expect them."""
        west = "O" if self.lang == "fr" else "W"
        ns, ew = "N" if lat >= 0 else "S", "E" if lon >= 0 else west
        between = " ; " if self.lang == "fr" else ", "
        return f"{self.number(abs(lat), 4)}°{NO_BREAK}{ns}{between}{self.number(abs(lon), 4)}°{NO_BREAK}{ew}"

    def answer(self, value: bool | None) -> str:
        """Yes, no or unknown: a sign and a word."""
        return self("unknown" if value is None else "yes" if value else "no")


def clean(text: str) -> str:
    """Text without what is no letter of it: control characters, signs that turn the direction of reading, halves of letters."""
    return "".join(
        c for c in text if unicodedata.category(c) not in ("Cc", "Cs") and not 0x202A <= ord(c) <= 0x202E and not 0x2066 <= ord(c) <= 0x2069
    )
