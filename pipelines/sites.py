"""From the stored records to what models learn from: sites with their labels, predictors, weights and effort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from geoplantnet import occurrences as occ
from geoplantnet.cubes import PatchReader
from geoplantnet.errors import InputError
from geoplantnet.sdm.sites import BACKGROUND, Sites
from geoplantnet.taxonomy.species_list import SpeciesList
from pipelines.build_cubes import empty_tiles, key_of
from pipelines.context import Run
from pipelines.ledger import Ledger
from pipelines.tables import stored_species

BACKGROUND_ID = "background"
Float = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Gathered:
    """Everything a model may learn from; arrays share the axis `site`."""

    sites: Sites
    events: pd.DataFrame
    """A row a site: eventID, x, y, sampling, datasetID and more of Darwin Core."""
    scored: npt.NDArray[np.bool_]
    """(site,): presence-absence plots that models are scored on."""
    lost: int
    """Sites left out, since they lie in tiles whose cube failed or is empty."""


def learnt_of(run: Run, tile_id: str) -> list[tuple[str, str]]:
    """(stage, key) of what the model learns from of a tile's cube."""
    return [("cubes", key_of(tile_id, m.name)) for m in run.model_modalities]


def learnt_tiles(run: Run) -> list[str]:
    """Tiles of which nothing that the model learns from has failed."""
    failed = {("cubes", f.key) for f in Ledger(run.store).failures("cubes")}
    return [tile for tile in run.tiles if failed.isdisjoint(learnt_of(run, tile))]


def gather(run: Run) -> Gathered:
    """Plots, records and background of a run. Raises InputError without a plot to be scored on, or for weights the records cannot give."""
    t, species, found = run.recipe.training, stored_species(run), occ.load(run.records)
    events, labels, weight = _sites(run, found, species)
    learnt = learnt_tiles(run)
    empty = set(empty_tiles(run, learnt))
    cubes = {tile: run.cube(tile) for tile in learnt if tile not in empty}
    sound = _in_sound_tiles(run, events, set(cubes))
    events, labels, weight = events[sound].reset_index(drop=True), labels[np.flatnonzero(sound)], weight[sound]
    absence, group = (events["sampling"] == "presence-absence").to_numpy(), _groups(events)
    xy = events[["x", "y"]].to_numpy(np.float64)
    sites = Sites(
        species=species,
        patches=PatchReader(events, grid=run.grid, modalities=run.model_modalities, sources=run.sources, cubes=cubes, measured=t.measured),
        labels=labels,
        presence_absence=absence,
        group=group,
        xy=xy,
        plot_area=_plot_areas(events, absence) if t.plot_area_offset else None,
        weight=weight if t.uncertainty_weight else None,
        effort=_effort(events, xy, absence, group, t.effort) if t.effort else None,
        presence_weight=_presence_weight(found, species, events, t.abundance_weights) if t.abundance_weights else None,
    )
    test = run.recipe.validation.test
    scored = absence & (events["datasetID"].isin(test).to_numpy() if test else True)
    if not scored.any():
        raise InputError(
            f"validation.test {list(test)} holds no presence-absence plot; there are {sorted(set(events.loc[absence, 'datasetID']))}"
        )
    return Gathered(sites=sites, events=events, scored=scored, lost=int((~sound).sum()))


def _in_sound_tiles(run: Run, events: pd.DataFrame, cubes: set[str]) -> npt.NDArray[np.bool_]:
    """(event,) False in a tile of the recipe whose cube failed or is empty: what its sources say there cannot be trusted."""
    tiles = pd.Series(run.grid.tile_ids_at(events["x"], events["y"]))
    return (~tiles.isin(set(run.tiles) - cubes)).to_numpy()


def _sites(run: Run, found: occ.OccurrenceSet, species: SpeciesList) -> tuple[pd.DataFrame, sparse.csr_array, Float]:
    """Events, labels (event, species) and weights (event,), with uniform background sites appended; sites without any label
    only count where absences do, or as background. Column `records`: species recorded at an event, modelled or not.
    """
    t = run.recipe.training
    events = pd.DataFrame(found.events.drop(columns="geometry"))
    labels = sparse.csr_array(occ.presence_matrix(found, species, list(events["eventID"])))
    present = found.occurrences.loc[found.occurrences["occurrenceStatus"] == "present", "eventID"]
    events["records"] = events["eventID"].map(present.value_counts()).fillna(0)
    absence = (events["sampling"] == "presence-absence").to_numpy()
    useful = absence | (np.asarray(labels.sum(axis=1)).ravel() > 0)
    if t.target_group:
        useful[_target_group(events, ~useful, t.target_group)] = True
    weight = np.ones(len(events), np.float32)
    if t.uncertainty_weight:
        certainty = occ.share_inside(events["coordinateUncertaintyInMeters"].to_numpy(float), t.uncertainty_weight)
        weight *= np.where(absence, np.float32(1), certainty)
    events, labels, weight = events[useful].reset_index(drop=True), labels[np.flatnonzero(useful)], weight[useful]
    if t.background:
        events = pd.concat([events, _background(run, t.background)], ignore_index=True)
        labels = sparse.csr_array(sparse.vstack([labels, sparse.csr_array((t.background, len(species)), dtype=labels.dtype)]))
        weight = np.concatenate([weight, np.ones(t.background, np.float32)])
    return events, labels, weight


def _target_group(events: pd.DataFrame, others: npt.NDArray[np.bool_], cell: float) -> npt.NDArray[np.int64]:
    """Positions of sites of other species' records, one a data set and square of `cell` metres."""
    rows = np.flatnonzero(others & (events["records"] > 0).to_numpy())
    if not rows.size:
        return rows
    here = events.iloc[rows]
    group = pd.factorize(here["datasetID"], sort=True)[0]
    return rows[occ.target_group(here[["x", "y"]].to_numpy(float), here["records"], group, cell=cell).row]


def _presence_weight(found: occ.OccurrenceSet, species: SpeciesList, events: pd.DataFrame, strength: float) -> sparse.csr_array:
    """(site, species): what presences count by their cover, 1 where it is unknown; background, which stands last, has none."""
    recorded = events.loc[events["datasetID"] != BACKGROUND_ID, "eventID"]
    weight = occ.abundance_weights(occ.abundance_matrix(found, species, list(recorded)), strength=strength)
    weight.resize((len(events), len(species)))
    return weight


def _groups(events: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The presence-only group of every site: its data set, by name; those of presence-only records come first."""
    records = set(events.loc[events["sampling"] == "presence-only", "datasetID"]) - {BACKGROUND_ID}
    names = [*sorted(records), *sorted(set(events["datasetID"]) - records - {BACKGROUND_ID})]
    return events["datasetID"].map({BACKGROUND_ID: BACKGROUND, **{name: i for i, name in enumerate(names)}}).to_numpy(np.int64)


def _plot_areas(events: pd.DataFrame, absence: npt.NDArray[np.bool_]) -> Float:
    """(site,) m2. Raises InputError unless plots are of several areas."""
    areas = events["sampleSizeValue"].to_numpy(np.float32)
    known = np.unique(areas[absence & np.isfinite(areas)])
    if known.size < 2:
        said = f"all are of {known[0]:g} m2" if known.size else "none states its own"
        raise InputError(f"training.plot_area_offset needs plots of several areas, and {said}; drop the key, or add plots of another area")
    return areas


def _effort(
    events: pd.DataFrame, xy: npt.NDArray[np.float64], absence: npt.NDArray[np.bool_], group: npt.NDArray[np.int64], bandwidth: Any
) -> Float:
    """(site,) log of the density of all species' presence-only records, relative to its mean over these sites; 0 at plots."""
    log = np.zeros(len(events), np.float32)
    records = ~absence & (group != BACKGROUND)
    if not records.any():
        raise InputError("training.effort is the density of presence-only records, and there are none; drop the key")
    counts = events.loc[records, "records"].to_numpy(float)
    log[~absence] = occ.effort(xy[records], xy[~absence], records=counts, bandwidth=None if bandwidth == "scott" else bandwidth).log
    return log


def _background(run: Run, count: int) -> pd.DataFrame:
    """Uniform points over the mapped tiles: places the presence-only softmax must rank below the records."""
    rng = np.random.default_rng([run.recipe.seed, 77])
    corners = np.array([run.tile(t).bounds[:2] for t in run.tiles])
    inside = rng.random((count, 2)) * run.grid.tile_size
    x, y = (corners[rng.integers(len(corners), size=count)] + inside).T
    names = [f"background:{i}" for i in range(count)]
    unknown = dict.fromkeys(("elevation", "slope", "aspect", "sampleSizeValue"), np.nan)
    return pd.DataFrame(
        {"eventID": names, "x": x, "y": y, "sampling": "presence-only", "datasetID": BACKGROUND_ID, "records": 0.0, **unknown}
    )
