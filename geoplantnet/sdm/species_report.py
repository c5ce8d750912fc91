"""What a model says of single species. An explanation -> tables kept beside the model -> the report of any one species.

contributions.parquet   (taxon, modality): Shapley values of each species' own score
importance.parquet      (taxon, band): what exchanging a band costs it
found.parquet           a row a taxon: presences on the plots learnt from, presence-only records
responses.parquet       curves of every species along the most important bands; richness.parquet of all together
predictors.parquet      those bands: names for people, and what the plots learnt from have of them
species.json            the species axis and the counts that hold for all
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geoplantnet.errors import InputError, ModelError
from geoplantnet.sdm.explain import Explanation, Responses
from geoplantnet.sdm.sites import Integers, Sites
from geoplantnet.storage import json_text, write_beside
from geoplantnet.taxonomy.species_list import SpeciesList

FEW = 30
"""Presences below which no kind of model predicts consistently (Wisz et al. 2008, https://doi.org/10.1111/j.1472-4642.2008.00482.x)."""
FLAT = 0.8
"""A response whose lowest mean is at least this share of its highest hardly is one."""
_FACTS = "species.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeciesReport:
    """All that is known of the model of one species; `to_dict` for JSON, a report module for prose."""

    taxon_id: str
    scientific_name: str
    plots: int
    """Presence-absence plots learnt from."""
    presences: int
    """Of these, with the species."""
    prevalence: float
    """presences / plots; NaN without plots."""
    records: int
    """Presence-only sites with the species."""
    auc: float
    """On held-out plots; NaN when it could not be scored."""
    interval: tuple[float, float]
    """Of the AUC; NaN when there is none."""
    notes: tuple[str, ...]
    """What makes this report less reliable than others, in sentences."""
    score: str
    """What modalities and predictors are rated by, of `explain.SCORES`."""
    modalities: pd.DataFrame
    """`modality`, `shapley`: of the species' own score, NaN where it could not be scored; the largest first."""
    predictors: pd.DataFrame
    """`name`, `importance` for the species' own score; the most important first, at most the number asked for."""
    responses: Responses
    """Along the bands that matter most to all species, the most important to this one first; its own curves only."""
    niche: pd.DataFrame
    """Optimum and breadth along each of them (see `niche`)."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: NaN becomes None, tables lists of rows."""
        return {name: _plain(value) for name, value in vars(self).items() if name != "responses"} | {
            "response_predictors": _plain(self.responses.predictors),
            "response_sites": self.responses.sites,
            "curves": _plain(self.responses.species),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class SpeciesTables:
    """An explanation species by species: all that the report of any one needs. Tables hold float32."""

    species: SpeciesList
    score: str
    """What contributions and importance are of, of `explain.SCORES`."""
    plots: int
    """Presence-absence plots learnt from."""
    found: pd.DataFrame
    """(taxon): `presences` on these plots, `records`: presence-only sites with the species."""
    contributions: pd.DataFrame
    """(taxon, modality) Shapley values, see `explain.Contributions.species`."""
    importance: pd.DataFrame
    """(taxon, band), see `explain.Importance.species`."""
    responses: Responses

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Commit as a folder; the same tables give the same bytes."""
        facts = {"species": self.species.to_dict(), "score": self.score, "plots": self.plots, "sites": self.responses.sites}
        with write_beside(folder) as temporary:
            temporary.mkdir()
            (temporary / _FACTS).write_text(json_text(facts), encoding="utf-8")
            for name in ("found", "contributions", "importance"):
                getattr(self, name).to_parquet(temporary / f"{name}.parquet")
            for name, table in (("predictors", self.responses.predictors), ("richness", self.responses.richness)):
                table.to_parquet(temporary / f"{name}.parquet", index=False)
            self.responses.species.to_parquet(temporary / "responses.parquet", index=False, compression="zstd")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> SpeciesTables:
        """What `save` wrote. Raises ModelError when the folder holds none, or one that is damaged."""
        path = Path(folder)
        if not path.is_dir():
            raise ModelError(f"nothing is known of single species at {path}; train again with `training.explain: true`")
        try:
            facts = json.loads((path / _FACTS).read_text(encoding="utf-8"))
            read = {
                name: pd.read_parquet(path / f"{name}.parquet")
                for name in ("found", "contributions", "importance", "predictors", "responses", "richness")
            }
            tables = cls(
                species=SpeciesList.from_dict(facts["species"]),
                score=facts["score"],
                plots=facts["plots"],
                found=read["found"],
                contributions=read["contributions"],
                importance=read["importance"],
                responses=Responses(
                    predictors=read["predictors"], species=read["responses"], richness=read["richness"], sites=facts["sites"]
                ),
            )
            ids = [t.taxon_id for t in tables.species]
            if any(list(read[name].index) != ids for name in ("found", "contributions", "importance")):
                raise ValueError("its tables are of other species")
            return tables
        except (OSError, ValueError, KeyError, TypeError, InputError) as error:
            raise ModelError(f"the explanation at {path} is damaged ({error}); train again with `geoplantnet train`") from error

    def report(
        self, taxon: str, *, auc: float = math.nan, interval: tuple[float, float] = (math.nan, math.nan), top: int = 5
    ) -> SpeciesReport:
        """The report of one species (taxon id or scientific name), with the `top` bands.

        AUC and its interval are the caller's, from the evaluation. Raises UnknownSpecies.
        """
        found = self.species[self.species.index_of(taxon)]
        presences, records = (int(n) for n in self.found.loc[found.taxon_id, ["presences", "records"]])
        shapley = self.contributions.loc[found.taxon_id].sort_values(ascending=False, kind="stable")
        importance = self.importance.loc[found.taxon_id].dropna().sort_values(ascending=False, kind="stable")
        order = sorted(self.responses.predictors["predictor"], key=lambda name: -float(importance.get(name, -math.inf)))
        curves = _of_species(self.responses, found.taxon_id, order)
        return SpeciesReport(
            taxon_id=found.taxon_id,
            scientific_name=found.scientific_name,
            plots=self.plots,
            presences=presences,
            prevalence=presences / self.plots if self.plots else math.nan,
            records=records,
            auc=auc,
            interval=interval,
            notes=tuple(_notes(presences, records, auc, interval)),
            score=self.score,
            modalities=pd.DataFrame({"modality": shapley.index, "shapley": shapley.to_numpy()}),
            predictors=pd.DataFrame({"name": importance.index, "importance": importance.to_numpy()}).head(top),
            responses=curves,
            niche=niche(curves.species),
        )


def species_tables(explanation: Explanation, sites: Sites, rows: Integers) -> SpeciesTables:
    """What an explanation says of single species, counting what was found at `rows` (those learnt from)."""
    rows = sites.positions(rows)
    plots = sites.presence_absence[rows]
    ids = pd.Index([t.taxon_id for t in explanation.species], name="taxon_id")
    counts = {"presences": sites.labels[rows[plots]], "records": sites.labels[rows[~plots]]}
    responses = explanation.responses
    return SpeciesTables(
        species=explanation.species,
        score=explanation.score,
        plots=int(plots.sum()),
        found=pd.DataFrame({name: np.asarray((m > 0).sum(axis=0), np.int64).ravel() for name, m in counts.items()}, index=ids),
        contributions=explanation.contributions.species.astype(np.float32),
        importance=explanation.predictors.species.astype(np.float32),
        responses=replace(
            responses,
            predictors=_narrow(responses.predictors),
            species=_narrow(responses.species),
            richness=_narrow(responses.richness),
        ),
    )


def niche(curves: pd.DataFrame) -> pd.DataFrame:
    """Where along each band a species does best, from its response curves (`Responses.species`): a row a predictor and taxon.

    `optimum`: value of the highest mean response; `at_edge`: it is an end of the training range, so the true one may lie
    beyond; `low`, `high`: the outermost values at which the mean is at least half the highest; `highest`, `lowest`: the mean
    there and where it is least; `effect`: their difference. A flat curve has effect 0 and no optimum (NaN).
    """
    out = []
    for (predictor, taxon), curve in curves[curves["inside"].astype(bool)].groupby(["predictor", "taxon_id"], sort=False):
        value, mean = curve["value"].to_numpy(), curve["mean"].to_numpy()
        best, effect = int(mean.argmax()), float(mean.max() - mean.min())
        half = value[mean >= mean[best] / 2]
        told = effect > 0
        out.append(
            {
                "predictor": predictor,
                "taxon_id": taxon,
                "optimum": value[best] if told else np.nan,
                "at_edge": told and bool(value[best] in (value.min(), value.max())),
                "low": half.min() if told else np.nan,
                "high": half.max() if told else np.nan,
                "highest": mean[best],
                "lowest": mean.min(),
                "effect": effect,
            }
        )
    return pd.DataFrame(out, columns=["predictor", "taxon_id", "optimum", "at_edge", "low", "high", "highest", "lowest", "effect"])


def niche_words(row: pd.Series, about: pd.Series) -> str:
    """A row of `niche` as a sentence; `about` is the band's row of `Responses.predictors`."""
    unit = f" {about['unit']}" if about["unit"] else ""
    low, high = float(about["low"]), float(about["high"])
    digits = _digits(high - low)
    levels = f"from {_percent(row['lowest'])} to {_percent(row['highest'])}"
    if not row["effect"] > 0 or row["lowest"] >= FLAT * row["highest"]:
        return f"hardly matters by itself: mean probability {levels} over its whole range"
    best = f"best at {row['optimum']:,.{digits}f}{unit}"
    if row["at_edge"]:
        best += f", the {'upper' if row['optimum'] >= high else 'lower'} end of what plots have, so its optimum may lie beyond"
    breadth = f"from {row['low']:,.{digits}f} to {row['high']:,.{digits}f}{unit}"
    if row["low"] <= low and row["high"] >= high:
        breadth = "over the whole range"
    return f"{best}; at least half as likely {breadth}; mean probability {levels}"


def _digits(span: float) -> int:
    """Decimals that tell some hundred values of a range apart."""
    return max(0, 2 - math.floor(math.log10(span))) if span > 0 else 2


def _percent(p: float) -> str:
    return f"{100 * p:.2g} %" if p < 0.1 else f"{100 * p:.0f} %"


def _notes(presences: int, records: int, auc: float, interval: tuple[float, float]) -> list[str]:
    notes = []
    if presences + records < FEW:
        notes.append(
            f"Learnt from {presences + records} presences only. Below {FEW} no kind of model predicts consistently (Wisz et al. 2008), "
            "and much of what is said here is borrowed from related and common species."
        )
    elif presences < FEW:
        notes.append(
            f"Found on {presences} plots only; the other {records:,} presences are records without absences, which tell where, not how often."
        )
    if not math.isfinite(auc):
        notes.append("No held-out fold has enough presences and absences to score it: its skill is unknown.")
    elif interval[0] <= 0.5:
        notes.append("Its AUC cannot be told apart from a coin's (0.5): read the map and the curves as a guess.")
    return notes


def _of_species(responses: Responses, taxon_id: str, order: list[str]) -> Responses:
    """One species' curves, bands in an order."""
    own = responses.species[responses.species["taxon_id"] == taxon_id]
    parts = [own[own["predictor"] == name] for name in order]
    return replace(
        responses,
        predictors=responses.predictors.set_index("predictor", drop=False).loc[order].reset_index(drop=True),
        species=pd.concat([own.iloc[:0], *parts], ignore_index=True),
    )


def _narrow(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as float32."""
    return table.astype({name: np.float32 for name in table.columns if table[name].dtype == np.float64})


def _plain(value: object) -> object:
    if isinstance(value, pd.DataFrame):
        return [{str(k): _plain(v) for k, v in row.items()} for row in value.to_dict("records")]
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
