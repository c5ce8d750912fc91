"""Habitats in the flow: which habitat plots are, what is learnt of it, and the recipe's indicators with that of habitats among them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet import occurrences as occ
from geoplantnet.config.typology import Typology, load_typology
from geoplantnet.indicators import Indicator, affinity_column, habitat_of, indicator
from geoplantnet.sdm.habitats import FOLDER, Affinities, learn_affinities, require_habitats
from geoplantnet.sdm.held_out import HeldOut
from geoplantnet.sdm.sites import Sites, tabulate
from pipelines.context import HABITAT, Run
from pipelines.tables import stored_traits


def habitat_labels(run: Run, sites: Sites, events: pd.DataFrame, held_out: npt.NDArray[np.bool_]) -> pd.Series | None:
    """Habitat of the plots by eventID, "" where unknown; None where the recipe names none.

    `held_out` (site,): plots that affinities are to be learnt from. Raises InputError where too few of them have a habitat: told before hours
    of training.
    """
    section = run.recipe.habitats
    if section is None:
        return None
    typology = load_typology(section.typology)
    labels = _by_cover(run, typology, sites, events) if typology.modality else occ.dominant_habitats(occ.load(run.records), typology.rules)
    of_sites = labels.reindex(events["eventID"]).fillna("")
    require_habitats(of_sites.to_numpy(object)[held_out], section.minimum_plots)
    return of_sites


def learnt_habitats(run: Run, labels: pd.Series | None, held_out: HeldOut) -> Affinities | None:
    """Affinities of the species to the habitats of the recipe, from the held-out plots; None without labels."""
    if labels is None or run.recipe.habitats is None:
        return None
    of_plots = labels.reindex(list(held_out.event)).fillna("").to_numpy(object)
    p = next(iter(held_out.p.values()))
    return learn_affinities(p, of_plots, held_out.fold, blocks=held_out.block, minimum_plots=run.recipe.habitats.minimum_plots)


def _by_cover(run: Run, typology: Typology, sites: Sites, events: pd.DataFrame) -> pd.Series:
    """Habitat of every plot by the land cover of its cell, by eventID."""
    rows = np.flatnonzero(sites.presence_absence)
    table = tabulate(sites.patches, rows)
    shares = np.zeros((len(rows), len(typology.habitats)))
    for i, habitat in enumerate(typology.habitats):
        for band in habitat.bands:
            shares[:, i] += np.nan_to_num(table.values[:, table.names.index(f"{typology.modality}.{band}")])
    codes = [h.code for h in typology.habitats]
    return pd.Series(occ.majority_habitats(shares, codes), index=events["eventID"].to_numpy()[rows])


def chosen_indicators(run: Run) -> list[Indicator]:
    """The recipe's indicators, in its order. Raises ModelError when habitats are asked for and were not learnt."""
    return [_habitat(run) if name == HABITAT else indicator(name) for name in run.recipe.indicators]


def indicator_traits(run: Run) -> pd.DataFrame:
    """Traits of the species axis, and their affinities to habitats where the recipe asks for them."""
    traits = stored_traits(run)
    if run.recipe.habitats is None:
        return traits
    learnt = Affinities.load(run.model / FOLDER)
    return traits.assign(**{affinity_column(code): learnt.weights[:, i] for i, code in enumerate(learnt.codes)})


def _habitat(run: Run) -> Indicator:
    assert run.recipe.habitats is not None  # held by the recipe
    typology = load_typology(run.recipe.habitats.typology)
    return habitat_of(typology.title, typology.chosen(Affinities.load(run.model / FOLDER).codes), typology_fr=typology.title_fr)
