"""What records show of each species: how many there are, of which years, months, altitudes and data sets.

A long table: taxon by taxon and, of each `FACETS`, a row a class, in that order. The classes of a facet never overlap, and every record of
presence is in exactly one of them, or in a row that says why it is in none: of every taxon all facets sum to the same number.

Of a sensitive species neither altitudes, data sets nor single years are counted: it is told in squares of known ground, and an altitude within
a square is a line on a map. For the same reason no altitude is counted of what was recorded with it, at the same event. Of a species that is
withheld nothing is counted, and nothing left out because of it, which would show that it is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.errors import OccurrenceError
from geoplantnet.occurrences.darwin_core import OccurrenceSet

FACETS = ("sampling", "year", "month", "altitude", "dataset")
COUNT_COLUMNS = ("taxonID", "facet", "label", "lower", "upper", "untold", "count")
"""`label`: the kind of sampling, the data set, or where an altitude comes from (`RECORDED`, `RELIEF`); `lower` and `upper`: first and last
year or month of a class, or metres of the ends of one of altitudes (the upper one is the next class's); `untold`: why records are in no class,
one of `UNTOLD`, else empty; `count`: records."""
UNKNOWN, IMPRECISE, WITHHELD = "unknown", "imprecise", "withheld"
UNTOLD = (UNKNOWN, IMPRECISE, WITHHELD)
"""Nobody noted it; the place is known too roughly to have one altitude; it would show where a sensitive species grows."""
RECORDED, RELIEF = "recorded", "relief"
"""Altitudes that were measured on the spot, and those read off the relief at the record's place."""
ALTITUDE_CLASS = 100
"""Metres."""
ROUGHEST = 250.0
"""Metres of uncertainty up to which the relief at a place is its altitude: on a slope of 20 degrees, 90 m or one class."""
DECADE = 10
"""Years of a class of a sensitive species."""


def record_counts(
    found: OccurrenceSet,
    taxa: Iterable[str],
    *,
    relief: npt.ArrayLike | None = None,
    sensitive: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """Records of presence -> counts, `COUNT_COLUMNS`, of the taxon ids asked for, in their order; a taxon without records has no rows.

    `relief`: altitude of the ground at each event, (event,), metres, NaN where it is not known; used where no elevation was recorded and the
    place is known to `ROUGHEST`. `sensitive`: taxon id -> metres of the squares it is told in, 0 where it is withheld. Equal sets give equal
    tables, whatever the order of their rows. Raises OccurrenceError for a relief of another length.
    """
    coarse = {taxon for taxon, metres in (sensitive or {}).items() if metres > 0}
    wanted = pd.Index([taxon for taxon in dict.fromkeys(taxa) if taxon in coarse or taxon not in (sensitive or {})], dtype=object)
    present = found.occurrences[found.occurrences["occurrenceStatus"] == "present"]
    beside = found.events["eventID"].isin(present.loc[present["taxonID"].isin(coarse), "eventID"]).to_numpy()
    of_event = _classes(found, _ground(found, relief), beside)
    taxon = wanted.get_indexer(pd.Index(present["taxonID"], dtype=object))
    event = pd.Index(found.events["eventID"]).get_indexer(pd.Index(present["eventID"]))[taxon >= 0]
    taxon = taxon[taxon >= 0]
    hidden = wanted.isin(coarse)[taxon]
    parts = [
        _counted(taxon[these], event[these], classes[facet]).assign(facet=facet)
        for these, classes in ((~hidden, of_event), (hidden, _of_sensitive(of_event)))
        for facet in FACETS
        if these.any() or not hidden.any()
    ]
    whole = pd.concat(parts, ignore_index=True)
    place = np.array([FACETS.index(facet) for facet in whole["facet"]], np.int64)
    keys = [*(whole[column].to_numpy() for column in ("label", "lower", "untold")), place, whole["taxon"].to_numpy()]
    order = np.lexsort(keys)
    return whole.assign(taxonID=wanted.to_numpy()[whole["taxon"]])[list(COUNT_COLUMNS)].iloc[order].reset_index(drop=True)


def _ground(found: OccurrenceSet, relief: npt.ArrayLike | None) -> npt.NDArray[np.float64]:
    ground = np.full(len(found.events), np.nan) if relief is None else np.asarray(relief, float)
    if ground.shape != (len(found.events),):
        raise OccurrenceError(
            f"relief holds {ground.shape} altitudes for {len(found.events)} events; give one an event, NaN where it is not known"
        )
    return ground


def _classes(found: OccurrenceSet, ground: npt.NDArray[np.float64], beside: npt.NDArray[np.bool_]) -> dict[str, pd.DataFrame]:
    """Of each facet the class of every event: label, lower, upper, untold. `beside`: events at which a species told in squares was found."""
    events, measured = found.events, found.events["elevation"].to_numpy()
    precise = events["coordinateUncertaintyInMeters"].to_numpy() <= ROUGHEST  # of a place that may be anywhere nothing is read
    of_relief = ~np.isfinite(measured) & precise & np.isfinite(ground)
    metres = np.where(of_relief, ground, measured)
    why = np.select([beside, np.isfinite(metres), ~precise & np.isfinite(ground)], [WITHHELD, "", IMPRECISE], UNKNOWN)
    altitude = np.where(why == "", np.floor(metres / ALTITUDE_CLASS) * ALTITUDE_CLASS, np.nan)
    source = np.where(why == "", np.where(of_relief, RELIEF, RECORDED), "")
    year, month = events["year"].to_numpy(), events["month"].to_numpy()
    return {
        "sampling": _class_of(events["sampling"].to_numpy()),
        "year": _class_of("", year, year, np.where(np.isfinite(year), "", UNKNOWN)),
        "month": _class_of("", month, month, np.where(np.isfinite(month), "", UNKNOWN)),
        "altitude": _class_of(source, altitude, altitude + ALTITUDE_CLASS, why),
        "dataset": _class_of(events["datasetID"].to_numpy()),
    }


def _of_sensitive(of_event: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The same classes, as far as a sensitive species is told by them."""
    year = of_event["year"]
    first = np.floor(year["lower"].to_numpy() / DECADE) * DECADE
    nothing = _class_of(np.full(len(year), ""), untold=WITHHELD)
    return {
        **of_event,
        "year": _class_of("", first, first + DECADE - 1, year["untold"].to_numpy()),
        "altitude": nothing,
        "dataset": nothing,
    }


def _class_of(
    label: npt.NDArray[np.str_] | str,
    lower: npt.NDArray[np.float64] | float = np.nan,
    upper: npt.NDArray[np.float64] | float = np.nan,
    untold: npt.NDArray[np.str_] | str = "",
) -> pd.DataFrame:
    length = max(np.size(column) for column in (label, lower, upper, untold))
    columns = {"label": label, "lower": lower, "upper": upper, "untold": untold}
    return pd.DataFrame({name: np.broadcast_to(column, length) for name, column in columns.items()}).astype(
        {"label": object, "untold": object}
    )


def _counted(taxon: npt.NDArray[np.intp], event: npt.NDArray[np.intp], of_event: pd.DataFrame) -> pd.DataFrame:
    """Records by taxon and class: a row each, with the class's own columns."""
    here, event = np.unique(event, return_inverse=True)
    own = of_event.iloc[here]
    which = own.groupby([*own], dropna=False, sort=False).ngroup().to_numpy()
    classes = own.iloc[np.unique(which, return_index=True)[1]].reset_index(drop=True)
    pair, count = np.unique(taxon * len(classes) + which[event], return_counts=True)
    found = classes.iloc[pair % max(len(classes), 1)].reset_index(drop=True)
    return found.assign(taxon=pair // max(len(classes), 1), count=count.astype(np.int64))
