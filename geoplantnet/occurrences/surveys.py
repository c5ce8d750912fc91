"""Readers of named surveys. A folder (or file) and a Backbone in, an OccurrenceSet out.

The Swiss plots are the tables of the R package dave (Wildi 2013, Data Analysis in Vegetation Ecology), as parquet: ``*_sites`` (one row a plot,
Swiss coordinates EPSG:21781) and ``*_long`` (plot, species, value). Layers of one species (``B.`` tree, ``S.`` shrub, ``K.`` herb) are one
occurrence; mosses (``M.``) and lichens (``F.``) are counted as refused.

Values of the forest plots, 1 to 7, are the seven steps r, +, 1 to 5 of Braun-Blanquet's scale. The package says only "a numerical scale from 0 to
7"; the reading is ours, and fits: with the middle of each class the tree layers cover 69 % of a releve and 58 % of a 500 m2 plot on average (42
and 29 % were every value a step lower, 87 and 82 % a step higher), and the systematic survey has no r. The values of the mires are "a
0 to 4 step scale" whose classes we found nowhere; up to 15 species of a plot have the highest, so it is not Braun-Blanquet's: they are kept as steps
of an ordinal scale, without an abundance.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.errors import OccurrenceError, UsageError
from geoplantnet.occurrences.abundance import BRAUN_BLANQUET, ORDINAL
from geoplantnet.occurrences.darwin_core import OccurrenceSet, count_rejections, from_tables, tidy_rejections, to_grid
from geoplantnet.taxonomy.backbone import Backbone

WS_AREAS = (30, 200, 500)
"""Nested plot areas of the systematic forest survey, square metres."""
SEVEN_STEPS = dict(enumerate(("r", "+", "1", "2", "3", "4", "5"), start=1))
"""Braun-Blanquet's code of a value in the forest plots."""
_WINDS = dict(
    zip(["N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW"], np.arange(16) * 22.5)
)


def read_ws(folder: str | os.PathLike[str], backbone: Backbone, area: int = 500) -> OccurrenceSet:
    """Swiss forests on a systematic 4 km grid (Wohlgemuth et al. 2008): 726 plots of 30, 200 or 500 m2, presence-absence.

    Elevation is `hoehe`, the plot's own; `elev` is left aside, it is a terrain model read at the grid node. `slp` is the slope in degrees
    (checked against SRTM: as percent it would be half as steep). No aspect, no year. The place is the grid node; 50 m of uncertainty is what the
    difference of field and model elevations (22 to 49 m on slopes of about 28 degrees) allows.
    """
    if area not in WS_AREAS:
        raise UsageError(f"the survey has plots of {', '.join(map(str, WS_AREAS))} m2, not {area} m2")
    sites = _parquet(folder, "ws_sites.parquet")
    dataset = f"swiss-ws{area}"
    events = _swiss(sites, dataset, sites["x.coord"], sites["y.coord"]).assign(
        coordinateUncertaintyInMeters=50.0,
        samplingProtocol=f"complete vegetation survey of a {area} m2 plot, systematic 4 km grid, forest",
        sampleSizeValue=float(area),
        elevation=_measured(sites["hoehe"], 0.1),
        slope=_measured(sites["slp"], 0),
    )
    return _plots(folder, f"ws{area}_long.parquet", events, dataset, backbone, "presence-absence", BRAUN_BLANQUET)


def read_ek(folder: str | os.PathLike[str], backbone: Backbone) -> OccurrenceSet:
    """Swiss forest releves of the 1930s to 1969 (Ellenberg & Kloetzli 1972), placed by preference: presence-only.

    -99, -999 and -99999 are missing. `Neigung_in_Prozent` becomes degrees, `Exposition` (``_SSW``; ``--`` flat, ``_?`` unknown) degrees
    clockwise from north. Uncertainty is half the diagonal of the square the coordinates were rounded to (10 m, 100 m or 1 km).
    """
    sites = _parquet(folder, "ek_sites.parquet")
    east, north = _measured(sites["Y.Koordinate"], 0.1), _measured(sites["X.Koordinate"], 0.1)
    events = _swiss(sites, "swiss-ek", east, north).assign(
        coordinateUncertaintyInMeters=np.round(_rounding(east, north) * np.sqrt(0.5), 1),
        year=_measured(sites["Jahr"], 1),
        samplingProtocol="phytosociological releve, preferential",
        elevation=_measured(sites["Hoehe_u.M."], 0.1),
        slope=np.degrees(np.arctan(_measured(sites["Neigung_in_Prozent"], 0) / 100)),
        aspect=sites["Exposition"].str.strip("_").map(_WINDS).astype(float),
    )
    return _plots(folder, "ek_long.parquet", events, "swiss-ek", backbone, "presence-only", BRAUN_BLANQUET)


def read_wet(folder: str | os.PathLike[str], backbone: Backbone) -> OccurrenceSet:
    """Swiss mires (Graf et al. 2010): 1,496 patches of 9 m2 to 1.7 ha with complete species lists, presence-absence.

    The place is the patch's centre; uncertainty is the radius of a circle of the patch's area. Slope is left unknown: the table's comes from a
    terrain model.
    """
    sites = _parquet(folder, "wet_sites.parquet")
    short = pd.to_numeric(sites["Datum"].str.rsplit(".", n=1).str[-1], errors="coerce")
    events = _swiss(sites, "swiss-wet", sites["X"], sites["Y"]).assign(
        coordinateUncertaintyInMeters=np.round(np.sqrt(sites["Area"] / np.pi), 1),
        year=short + np.where(short >= 50, 1900, 2000),
        samplingProtocol="complete vegetation survey of a mire patch",
        sampleSizeValue=_measured(sites["Area"], 0.1),
        elevation=_measured(sites["Z"], 0.1),
    )
    return _plots(folder, "wet_long.parquet", events, "swiss-wet", backbone, "presence-absence", ORDINAL)


def read_eu_forest(
    path: str | os.PathLike[str], backbone: Backbone, bounds: tuple[float, float, float, float] | None = None
) -> OccurrenceSet:
    """EU-Forest (Mauri, Strona & San-Miguel-Ayanz 2017): tree species on the 1 km EEA grid, presence-only, undated.

    `path` is the zip with EUForestspecies.csv; `bounds` (west, south, east, north, EPSG:3035, metres) keeps a part. One event a place. Uncertainty
    is the half diagonal of the cell, 707 m; the 4 % of places given on a cell's edge or corner may lie in either cell: 1,118 or 1,414 m.
    """
    rows = _zipped_csv(path, "EUForestspecies.csv", ["X", "Y", "SPECIES NAME"])
    west, south, east, north = bounds or (-np.inf, -np.inf, np.inf, np.inf)
    inside = (rows["X"] >= west) & (rows["X"] < east) & (rows["Y"] >= south) & (rows["Y"] < north)
    outside = pd.Series(np.where(inside, "", "outside the asked bounds"), index=rows.index)
    rows["eventID"] = "eu-forest:E" + rows["X"].astype(str) + "N" + rows["Y"].astype(str)
    places = rows.drop_duplicates("eventID")
    counted = [
        count_rejections("eu-forest", "events", outside[places.index], places["eventID"]),
        count_rejections("eu-forest", "occurrences", outside, rows["SPECIES NAME"]),
    ]
    places, rows = places[inside[places.index]].sort_values("eventID"), rows[inside].sort_values(["eventID", "SPECIES NAME"])
    width = [np.where(places[c] % 1000 == 500, 500.0, 1000.0) for c in ("X", "Y")]
    events = pd.DataFrame(
        {
            "eventID": places["eventID"],
            "x": places["X"].astype(float),
            "y": places["Y"].astype(float),
            "coordinateUncertaintyInMeters": np.round(np.hypot(*width)),
            "samplingProtocol": "national forest inventories and monitoring plots, gathered on a 1 km grid",
        }
    )
    names = rows[["eventID"]].assign(scientificName=rows["SPECIES NAME"])
    found = from_tables(events, names, sampling="presence-only", dataset_id="eu-forest", backbone=backbone)
    return OccurrenceSet(found.events, found.occurrences, tidy_rejections([found.rejections, *counted]))


def _plots(
    folder: str | os.PathLike[str], file: str, events: pd.DataFrame, dataset: str, backbone: Backbone, sampling: str, scale: str
) -> OccurrenceSet:
    long = _parquet(folder, file).sort_values(["plot", "species"], kind="stable")
    steps = long["value"].map(lambda value: f"{value:g}")
    names = pd.DataFrame(
        {
            "eventID": _event_ids(dataset, long["plot"]),
            "scientificName": long["species"],
            "organismQuantity": long["value"].map(SEVEN_STEPS).fillna("step " + steps) if scale == BRAUN_BLANQUET else steps,
            "organismQuantityType": scale,
        }
    )
    return from_tables(events, names, sampling=sampling, dataset_id=dataset, backbone=backbone)


def _swiss(sites: pd.DataFrame, dataset: str, east: pd.Series, north: pd.Series) -> pd.DataFrame:
    x, y, longitude, latitude = to_grid(east, north, "EPSG:21781")
    return pd.DataFrame(
        {"eventID": _event_ids(dataset, sites["plot"]), "x": x, "y": y, "decimalLongitude": longitude, "decimalLatitude": latitude}
    )


def _event_ids(dataset: str, plot: pd.Series) -> pd.Series:
    return dataset + ":" + plot.astype(str)


def _measured(values: pd.Series, minimum: float) -> pd.Series:
    """Floats with the surveys' marks for missing (-99, -999, -99999, and a zero elevation) as NaN."""
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    return numbers.where(numbers >= minimum)


def _rounding(east: pd.Series, north: pd.Series) -> npt.NDArray[np.float64]:
    """Side of the square a pair of coordinates was rounded to: 1,000, 100 or 10 m; NaN where missing."""
    steps = [((east % s == 0) & (north % s == 0)).to_numpy() for s in (1000, 100)]
    return np.select([east.isna().to_numpy(), *steps], [np.nan, 1000.0, 100.0], 10.0)


def _parquet(folder: str | os.PathLike[str], name: str) -> pd.DataFrame:
    path = Path(folder) / name
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise OccurrenceError(f"{path} cannot be read ({error}); give the folder of the Swiss plots, with {name}") from error


def _zipped_csv(path: str | os.PathLike[str], member: str, columns: list[str]) -> pd.DataFrame:
    options: dict[str, Any] = {"usecols": columns}
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            return pd.read_csv(stream, **options)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise OccurrenceError(
            f"{path} cannot be read ({error}); give the EU-Forest zip with {member}, columns {', '.join(columns)}"
        ) from error
