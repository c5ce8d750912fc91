"""Stage `occurrences`: read every source of records, check and name them, choose the species axis and its traits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from pyproj import Transformer
from scipy import sparse

from geoplantnet import occurrences as occ
from geoplantnet.config.recipe import (
    DarwinCoreFile,
    EuForest,
    OccurrenceSection,
    SwissForestPlots,
    SwissForestReleves,
    SwissWetlandPlots,
    VirtualPlots,
    VirtualRecords,
)
from geoplantnet.config.rooms import bounds_of, name_tables, world_of
from geoplantnet.errors import InputError
from geoplantnet.occurrences.archive import read_archive
from geoplantnet.sources.virtual import sample_plots, sample_presence_only
from geoplantnet.taxonomy import CHECKLIST, Backbone, SpeciesList, common_names, load_traits
from pipelines.context import Run
from pipelines.flow import Inside, Made, Stage
from pipelines.ledger import identity, paths_in
from pipelines.tables import NAMES, SPECIES, TRAITS, store_species

VIRTUAL = (VirtualPlots, VirtualRecords)


def settings(run: Run) -> Callable[[str], object]:
    """Everything the recipe says of records, and the files they come from."""
    r = run.recipe
    world = [r.world.model_dump(), run.tiles] if r.world else None
    backbone = r.backbone.model_dump(mode="json") if r.backbone else None
    sections = [o.model_dump(mode="json") for o in r.occurrences]
    asked = [
        sections,
        backbone,
        r.species.model_dump(),
        r.quality.model_dump(),
        r.quality.in_tiles and run.tiles,
        world,
        r.seed,
        sorted(map(str, _input_files(run))),
    ]
    return lambda key: asked


def work(run: Run, key: str, inside: Inside) -> Made:
    """Commit records, species axis, traits and common names."""
    backbone = Backbone.read(run.recipe.backbone.reference, run.recipe.backbone.synonyms) if run.recipe.backbone else None
    parts = []
    for i, section in enumerate(run.recipe.occurrences):
        parts.append(_read(run, section, i, backbone))
        inside(i + 1, len(run.recipe.occurrences), f"read {section.kind}")
    found = _checked(run, occ.concat(parts))
    species = _species(run, found, backbone)
    occ.save(found, run.records)
    store_species(run, species, _traits(run, species, backbone, found), common_names(species, backbone, name_tables(run.recipe)))
    return [run.records, *(run.occurrences / name for name in (SPECIES, TRAITS, NAMES))], _account(found, species)


def _checked(run: Run, found: occ.OccurrenceSet) -> occ.OccurrenceSet:
    """What passes the recipe's rules of quality; the rest is counted."""
    q = run.recipe.quality
    found = occ.check(found, bounds=_bounds(run), max_uncertainty=q.maximum_uncertainty, duplicate_surveys=q.duplicate_surveys)
    if q.in_tiles:
        found = occ.in_tiles(found, run.grid, run.tiles)
    if q.thin:
        found = occ.thinned(found, distance=q.thin.distance, grid=q.thin.grid, seed=run.recipe.seed)
    return found


def _read(run: Run, section: OccurrenceSection, position: int, backbone: Backbone | None) -> occ.OccurrenceSet:
    """One source of records. Seeds follow the position in the recipe, so two samples of one world differ."""
    if isinstance(section, VIRTUAL):
        world, within = world_of(run.recipe, run.grid, run.tiles), bounds_of(run.grid, run.tiles)
        if isinstance(section, VirtualPlots):
            events, names = sample_plots(world, section.plots, seed=run.recipe.seed + position, within=within)
            return occ.from_tables(events, names, sampling="presence-absence", dataset_id="virtual-plots")
        records = sample_presence_only(world, section.records, seed=run.recipe.seed + position, within=within)
        return occ.from_records(records, dataset_id="virtual-records")
    assert backbone is not None  # the recipe was refused otherwise
    match section:
        case SwissForestPlots():
            return occ.read_ws(section.folder, backbone, section.area)
        case SwissForestReleves():
            return occ.read_ek(section.folder, backbone)
        case SwissWetlandPlots():
            return occ.read_wet(section.folder, backbone)
        case EuForest():
            return occ.read_eu_forest(section.archive, backbone, _bounds(run))
        case DarwinCoreFile() if section.file.suffix.lower() == ".zip" or section.file.is_dir():
            return read_archive(section.file, dataset_id=section.file.stem, backbone=backbone)
        case DarwinCoreFile():
            return occ.read_records(section.file, dataset_id=section.file.stem, backbone=backbone)
    raise AssertionError(section)


def _bounds(run: Run) -> tuple[float, float, float, float]:
    """The study area in the grid's CRS, metres: the rectangle around the recipe's box in degrees, as far as the grid goes."""
    grid = run.grid.bounds
    if run.recipe.quality.bounds is None:
        return grid
    west, south, east, north = Transformer.from_crs("EPSG:4326", run.grid.crs, always_xy=True).transform_bounds(*run.recipe.quality.bounds)
    return max(west, grid[0]), max(south, grid[1]), min(east, grid[2]), min(north, grid[3])


def _species(run: Run, found: occ.OccurrenceSet, backbone: Backbone | None) -> SpeciesList:
    """Species found in enough plots and records. Raises InputError when none is."""
    absence = found.events.loc[found.events["sampling"] == "presence-absence", "eventID"]
    rows = found.occurrences[found.occurrences["occurrenceStatus"] == "present"]
    surveyed = rows["eventID"].isin(absence)
    plots, records = rows.loc[surveyed, "taxonID"].value_counts(), rows.loc[~surveyed, "taxonID"].value_counts()
    wanted = run.recipe.species
    enough = [t for t, n in plots.items() if n >= wanted.minimum_plots and records.get(t, 0) >= wanted.minimum_records]
    if not enough:
        most = int(plots.max()) if len(plots) else 0
        raise InputError(
            f"no species is found in {wanted.minimum_plots} plots and {wanted.minimum_records} records (the commonest is in {most} plots); lower species.minimum_plots"
        )
    if backbone is None:
        world = world_of(run.recipe, run.grid, run.tiles).species_list
        return SpeciesList(checklist=world.checklist, taxa=tuple(t for t in world if t.taxon_id in set(enough)))
    names = rows.drop_duplicates("taxonID").set_index("taxonID").loc[enough, "scientificName"]
    return SpeciesList(checklist=CHECKLIST, taxa=tuple(backbone.taxon(name) for name in sorted(map(str, names))))


def _traits(run: Run, species: SpeciesList, backbone: Backbone | None, found: occ.OccurrenceSet) -> pd.DataFrame:
    """What lists say of the species, and what the records do."""
    if backbone is None:
        traits = world_of(run.recipe, run.grid, run.tiles).traits
    else:
        assert run.recipe.backbone is not None
        traits = load_traits(species, run.recipe.backbone.reference, run.recipe.backbone.iucn, backbone=backbone)
    ids = [taxon.taxon_id for taxon in species]
    return traits.reindex(ids).assign(
        range_squares=occ.range_squares(found, ids).to_numpy(), specialisation=_specialisation(run, species, found)
    )


def _specialisation(run: Run, species: SpeciesList, found: occ.OccurrenceSet) -> np.ndarray:
    """Told from the largest survey of plots: lists of all its taxa, also those too rare to be modelled."""
    plots = found.events[found.events["sampling"] == "presence-absence"]
    if plots.empty:
        return np.full(len(species), np.nan)
    events = plots[plots["datasetID"] == plots["datasetID"].mode().iloc[0]]
    taxa = pd.Index([t.taxon_id for t in species]).append(pd.Index(found.occurrences["taxonID"].unique())).drop_duplicates()
    rows = found.occurrences[(found.occurrences["occurrenceStatus"] == "present") & found.occurrences["eventID"].isin(events["eventID"])]
    at = pd.Index(events["eventID"]).get_indexer(pd.Index(rows["eventID"])), taxa.get_indexer(pd.Index(rows["taxonID"]))
    presence = sparse.csr_array((np.ones(len(rows), np.uint8), at), shape=(len(events), len(taxa)))
    return occ.specialisation(presence, seed=run.recipe.seed)[: len(species)]


def _account(found: occ.OccurrenceSet, species: SpeciesList) -> dict[str, Any]:
    """The books of the stage: read = used + rejected, by reason."""
    books = occ.summary(found)
    records = books[books["table"] == "occurrences"]
    refused = found.rejections[found.rejections["table"] == "occurrences"]
    events = found.rejections[found.rejections["table"] == "events"]
    quantities = found.rejections[found.rejections["table"] == "quantities"]
    kinds = found.events["sampling"].value_counts()
    return {
        "read": int(records["read"].sum()),
        "used": int(records["used"].sum()),
        "rejected": {str(k): int(v) for k, v in refused.groupby("reason")["count"].sum().items()},
        "events_rejected": {str(k): int(v) for k, v in events.groupby("reason")["count"].sum().items()},
        "quantities_refused": {str(k): int(v) for k, v in quantities.groupby("reason")["count"].sum().items()},
        "events": {str(k): int(v) for k, v in kinds.items()},
        "by_dataset": {
            str(name): [int(read), int(used)] for name, read, used in zip(records["datasetID"], records["read"], records["used"])
        },
        "species": len(species),
        "modelled": int(np.isin(found.occurrences["taxonID"], [t.taxon_id for t in species]).sum()),
    }


def _input_files(run: Run) -> list[list[object]]:
    paths = paths_in([*run.recipe.occurrences, run.recipe.backbone])
    return [entry for path in sorted(set(paths)) for entry in identity(path)]


def describe(stats: dict[str, Any]) -> str:
    """Records used and species chosen."""
    quantities = sum(stats["quantities_refused"].values())
    note = f"; {quantities:,} quantities refused, their records kept as presences" if quantities else ""
    return f"{stats['used']:,} of {stats['read']:,} records used, {stats['species']} species{note}"


OCCURRENCES: Stage[Run] = Stage(
    "occurrences", keys=lambda run: ("all",), settings=settings, needs=lambda run, key: [], work=work, describe=describe, of_tiles=False
)
