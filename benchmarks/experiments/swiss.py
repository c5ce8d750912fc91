"""Swiss plots of package dave: relevés chosen by eye (ek) and systematic forest plots (ws, 500 m2), one table of predictors.

Predictors are mappable (rasters at 1 to 25 km) plus what a surveyor notes on the spot: elevation and slope. No coordinates.
Lapse rates of temperature are annual, summer and winter means of the Alps; indices are named where they are made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from geoplantnet.cubes import TablePatches
from geoplantnet.grid.raster import sample_at
from geoplantnet.occurrences import presence_matrix
from geoplantnet.occurrences.splits import spatial_blocks
from geoplantnet.occurrences.surveys import read_ek, read_ws
from geoplantnet.sdm.sites import Sites
from geoplantnet.sources.climate import LapseRateClimate
from geoplantnet.sources.landcover import LandCoverSource
from geoplantnet.taxonomy import SpeciesList, Taxon
from geoplantnet.taxonomy.backbone import Backbone, species_list_from

LAPSE = {1: 5.6, 5: 6.4, 6: 4.8, 8: 5.8, 9: 5.4, 10: 6.4, 11: 4.8}
"""K/km by BIOCLIM variable of temperature: mean, warm and cold seasons."""
TYPICAL_SLOPE = 23.0
"""Degrees: the median of the relevés, where a slope was not noted."""
LEAST_SPREAD = 0.3
"""Per cent: land-cover fractions that vary less among the relevés tell nothing."""
BLOCK = 50_000
"""Side of a spatial block, metres."""
RELEVES, PLOTS = 0, 1
"""Groups of `Sites`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Swiss:
    """Relevés first, then plots."""

    sites: Sites
    """Relevés are presence-only, plots presence-absence."""
    releves: npt.NDArray[np.int64]
    plots: npt.NDArray[np.int64]
    fold: npt.NDArray[np.int64]
    """(site,): fold of the site's spatial block, 0 to 4, over both surveys; each has about as many plots."""
    frame: pd.DataFrame
    """Every predictor, and columns x, y."""


def load(data: Path, *, names: str = "accepted", minimum: int = 10, seed: int = 0) -> Swiss:
    """Both surveys with species found at least `minimum` times in one of them.

    `names`: "accepted" joins names through the backbone; "binomial" by the first two words as written, as the quick baseline did.
    """
    backbone = Backbone.read(data / "reference/species_reference.csv", data / "reference/synonyms_germansl.csv")
    found = [read_ek(data / "swiss_plots_dave", backbone), read_ws(data / "swiss_plots_dave", backbone)]
    events = [f.events.reset_index(drop=True) for f in found]
    if names == "accepted":
        listed = sorted({name for f in found for name in f.occurrences["scientificName"]})
        species = species_list_from(listed, backbone)
        labels = sparse.vstack([presence_matrix(f, species, list(e["eventID"])) for f, e in zip(found, events)], format="csr")
    else:
        species, labels = _by_binomial(data, events)
    counts = [np.asarray(part.sum(axis=0)).ravel() for part in (labels[: len(events[0])], labels[len(events[0]) :])]
    enough = np.flatnonzero((counts[0] >= minimum) | (counts[1] >= minimum))
    species = SpeciesList(checklist=species.checklist, taxa=tuple(species[int(i)] for i in enough))
    labels = sparse.csr_array(sparse.csc_array(labels)[:, enough]).astype(np.uint8)
    table = pd.concat([predictors(e, data) for e in events], ignore_index=True)
    first = np.arange(len(events[0]))
    table = table[[c for c in table if not c.startswith("cci") or table.loc[first, c].std() > LEAST_SPREAD]]
    where = pd.concat([e[["eventID", "x", "y"]] for e in events], ignore_index=True)
    plots = np.arange(len(first), len(table))
    fold = np.asarray(spatial_blocks(where, BLOCK, 5, seed, plots=np.isin(np.arange(len(table)), plots)), np.int64)
    sites = Sites(
        species=species,
        patches=TablePatches(table, modalities(table)),
        labels=sparse.csr_array(labels),
        presence_absence=np.arange(len(table)) >= len(first),
        group=np.where(np.arange(len(table)) >= len(first), PLOTS, RELEVES).astype(np.int64),
        xy=where[["x", "y"]].to_numpy(np.float64),
        plot_area=np.where(np.arange(len(table)) >= len(first), 500, np.nan).astype(np.float32),
    )
    return Swiss(sites=sites, releves=first, plots=plots, fold=fold, frame=table.assign(x=where["x"], y=where["y"]))


def both_often(swiss: Swiss, least: int = 30) -> npt.NDArray[np.bool_]:
    """(species,): found at least so often in both surveys."""
    labels = swiss.sites.labels
    return np.logical_and.reduce([np.asarray(labels[rows].sum(axis=0)).ravel() >= least for rows in (swiss.releves, swiss.plots)])


def modalities(table: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Columns by what they describe."""
    cover = tuple(c for c in table if c.startswith(("cci", "land_")))
    relief = tuple(c for c in table if c in ("elevation", "slope") or c.startswith("relief_"))
    return {"climate": tuple(c for c in table if c not in cover + relief), "terrain": relief, "landcover": cover}


def predictors(events: pd.DataFrame, data: Path) -> pd.DataFrame:
    """One row an event: climate, relief, land cover."""
    x, y = events["x"].to_numpy(), events["y"].to_numpy()
    edc, era = data / "europe_env_edc", data / "era5_climatology_eu"
    f: dict[str, npt.NDArray[np.floating]] = {}

    def take(path: Path, names: list[str]) -> None:
        near = sample_at(path, x, y, "EPSG:3035", method="nearest")
        smooth = sample_at(path, x, y, "EPSG:3035")
        for i, name in enumerate(names):
            f[name] = np.where(np.isnan(smooth[:, i]), near[:, i], smooth[:, i]).astype(float)

    take(edc / "eobs_bioclim_1987_2017_0p1deg.tif", [f"bio{i}" for i in range(1, 20)])
    take(edc / "eobs_elevation_0p1deg.tif", ["eobs_elevation"])
    take(edc / "eudem_altitude_0p11deg.tif", [f"relief_{s}" for s in ("mean", "median", "lowest", "highest", "sd")])
    take(edc / "esacci_landcover_fraction_2018.tif", [f"cci{i}" for i in range(22)])
    climate = LapseRateClimate(
        temperature=era / "era5_t2m_monthly_2000_2025.tif",
        precipitation=era / "era5_precip_monthly_2000_2025.tif",
        reference_elevation=edc / "eudem_altitude_0p11deg.tif",
    )
    f |= {f"era5_{band}": v.astype(float) for band, v in zip(climate.bands, climate.at(events).T)}
    cover = LandCoverSource(landsystem=edc / "landsystem_1km_3035.tif", classes=edc / "landsystem_classes.json")
    f |= {f"land_{band}": v.astype(float) for band, v in zip(cover.bands, cover.at(events).T)}
    t = pd.DataFrame(f)
    measured = events.reindex(columns=["elevation", "slope"]).astype(float)
    z = t["elevation"] = np.where(np.isfinite(measured["elevation"]), measured["elevation"], t["relief_mean"])
    t["slope"] = measured["slope"].fillna(TYPICAL_SLOPE).to_numpy()
    for number, rate in LAPSE.items():
        t[f"bio{number}_here"] = t[f"bio{number}"] + rate / 1000 * (t["eobs_elevation"] - z)
    t["relief_above_mean"] = z - t["relief_mean"]
    t["relief_relative"] = t["relief_above_mean"] / (t["relief_sd"] + 20)
    t["relief_share"] = (z - t["relief_lowest"]) / (t["relief_highest"] - t["relief_lowest"] + 50)
    t["relief_below_top"], t["relief_range"] = t["relief_highest"] - z, t["relief_highest"] - t["relief_lowest"]
    t["continentality_gams"] = np.arctan(z / t["bio12"])  # Gams 1931
    t["aridity_martonne"] = t["bio12"] / (t["bio1_here"] + 15)  # after de Martonne 1926; 15 K keep it finite above the tree line
    t["summer_moisture"] = t["bio18"] / (t["bio10_here"] + 10)
    t["summer_share"], t["winter_share"] = t["bio18"] / t["bio12"], t["bio19"] / t["bio12"]
    t["era5_gams"] = np.arctan(z / t["era5_bio12"])
    t["era5_summer_moisture"] = t["era5_bio18s"] / (t["era5_bio5m"] + 10)
    t["era5_summer_share"] = t["era5_bio18s"] / t["era5_bio12"]
    t["era5_range"] = t["era5_bio5m"] - t["era5_bio6m"]
    return t.drop(columns="eobs_elevation")


def _by_binomial(data: Path, events: list[pd.DataFrame]) -> tuple[SpeciesList, sparse.csr_array]:
    """Species by the first two words of the names as written, layers put together, no synonyms."""

    def words(name: str) -> str:
        return " ".join([part for part in re.split(r"[._ ]+", re.sub(r"^[BSKMF]\.", "", name)) if part][:2])

    tables = [pd.read_parquet(data / "swiss_plots_dave" / f) for f in ("ek_long.parquet", "ws500_long.parquet")]
    listed = sorted(set.intersection(*(set(t["species"].map(words)) for t in tables)))
    position = {name: i for i, name in enumerate(listed)}
    parts = []
    for table, event in zip(tables, events):
        row = {int(name.split(":")[1]): i for i, name in enumerate(event["eventID"])}
        known = table[table["plot"].isin(row) & table["species"].map(words).isin(position)]
        pairs = pd.MultiIndex.from_arrays([known["plot"].map(row), known["species"].map(words).map(position)]).unique()
        shape = (len(event), len(listed))
        parts.append(sparse.csr_array((np.ones(len(pairs), np.uint8), (pairs.get_level_values(0), pairs.get_level_values(1))), shape=shape))
    taxa = tuple(Taxon(taxon_id=name, scientific_name=name, genus=name.split()[0]) for name in listed)
    return SpeciesList(checklist="binomials", taxa=taxa), sparse.vstack(parts, format="csr")
