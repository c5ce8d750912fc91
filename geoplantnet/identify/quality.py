"""Trusted queries: which records of a store an exchange format or a species distribution model may take, and why the others are left out.

Nothing is repaired and nothing is lost: every record read is kept, or is counted under the first of `REASONS` that is true of it. Checks of places
follow Zizka et al. 2019 (CoordinateCleaner, Methods Ecol. Evol. 10: 744-751); that a record is trusted by people or by a model above 0.95 is how
Pl@ntNet publishes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.errors import InputError, UsageError
from geoplantnet.identify.calibration import Calibration
from geoplantnet.identify.floras import STATUSES, Floras
from geoplantnet.identify.records import validate_records
from geoplantnet.identify.regions import Regions, distances

Flags = npt.NDArray[np.bool_]

AGAIN = "occurrenceID again"
NO_PLACE = "no coordinates"
SWAPPED = "swapped coordinates"
RANGE = "coordinates out of range"
ZERO = "zero coordinates"
OUTSIDE = "outside the study area"
BAD_UNCERTAINTY = "coordinate uncertainty is no distance"
UNCERTAIN = "coordinate uncertainty too large"
SEA = "in the sea"
CENTROID = "at the centre of a country or institution"
NO_DATE = "no date"
NOT_ISO = "date is not ISO 8601"
OLD = "date too early"
FUTURE = "date in the future"
YEAR = "year outside the window"
NOT_A_PLANT = "not a plant"
MALFORMED = "several species or malformed"
CULTIVATED = "potted or cultivated"
POOR = "image quality too low"
UNDETERMINED = "nobody determined it"
FEW = "too few determinations"
NOT_VALID = "label not valid"
DISAGREE = "the model disagrees with a label that is not valid"
UNCALIBRATED = "the model has no calibration"
BELOW = "the model's score is too low"
NAMELESS = "the model's taxon has no known name"
ABSENT = "species not in the checklist of its region"
STATUS = "species has another status in its region"
DUPLICATE = "same observer, species, day and place again"
SAME_IMAGE = "same image in another observation"
REASONS = (
    *(AGAIN, NO_PLACE, SWAPPED, RANGE, ZERO, OUTSIDE, BAD_UNCERTAINTY, UNCERTAIN, SEA, CENTROID),
    *(NO_DATE, NOT_ISO, OLD, FUTURE, YEAR, NOT_A_PLANT, MALFORMED, CULTIVATED, POOR),
    *(UNDETERMINED, FEW, UNCALIBRATED, NAMELESS, DISAGREE, NOT_VALID, BELOW, ABSENT, STATUS, DUPLICATE, SAME_IMAGE),
)
"""In the order they are asked: a record is counted under the first."""

PEOPLE = "validated by people"
VERIFICATION = "verification"
"""Column that kept records carry besides `RECORD_COLUMNS`: what trusts them, Darwin Core's identificationVerificationStatus."""

_AROUND_ZERO = 0.5  # degrees, as in CoordinateCleaner: 0, 0 lies in the sea, 600 km from any plant
_ISO = (
    "(?P<{0}year>[0-9]{{4}})(?:-(?P<{0}month>0[1-9]|1[0-2])(?:-(?P<{0}day>0[1-9]|[12][0-9]|3[01])"
    "(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]+)?)?(?:Z|[+-](?:0[0-9]|1[0-4]):?[0-5][0-9])?)?)?)?"
)
_DATE = rf"\A{_ISO.format('')}(?P<interval>/{_ISO.format('end_')})?\Z"
_SHORT_ENDS = (  # 2007-11-13/15, 2007-11-13/12-02, 2007-11/12: the end without what it shares with the start
    *(r"\A([0-9]{4}-[0-9]{2}-)([0-9]{2})/([0-9]{2})\Z", r"\A([0-9]{4}-)([0-9]{2}-[0-9]{2})/([0-9]{2}-[0-9]{2})\Z"),
    r"\A([0-9]{4}-)([0-9]{2})/([0-9]{2})\Z",
)


@dataclass(frozen=True, kw_only=True)
class TrustRules:
    """What a record must be. Raises UsageError for a limit that means nothing."""

    validated_by_people: bool = True
    """Whether a valid label is trusted."""
    determinations: int = 1
    """People's votes a valid label needs, at least 1: a label nobody voted for stands on a model and is asked for its score."""
    ai_score: float | None = 0.95
    """A model is trusted above this calibrated score (strictly), where people did not determine otherwise; None = never."""
    calibration_records: int = 500
    """Validated records a model's calibration must rest on."""
    max_uncertainty: float | None = 10_000.0
    """Of the coordinates, metres; an unknown one passes. None = any."""
    bounds: tuple[float, float, float, float] | None = None
    """Study area: west, south, east, north, degrees; None = the world. What would lie in it with coordinates exchanged is told as such."""
    sea_distance: float = 50_000.0
    """Metres from the coast that a record may lie at sea (or as far as it is uncertain). The default suits the countries that are shipped, which lack
    islets: of 80,000 records of Tuscany 12 % lie up to 45 km off their coasts, on Giglio, Capraia and the like. With fine coasts take 1,000."""
    centroid_distance: float = 1_000.0
    """Metres around a centroid in which a record is refused, unless its uncertainty is known and smaller: such a place was measured."""
    border_distance: float = 5_000.0
    """Metres from a border within which the neighbour's flora may speak too (or as far as the record is uncertain)."""
    statuses: tuple[str, ...] = ("native", "introduced")
    """How a species may be known in its region; of native, introduced, doubtful."""
    years: tuple[int, int] | None = None
    """First and last, inclusive; None = any."""
    earliest: int = 1800
    """First year of a date that is believed."""
    undated: bool = False
    """Whether a record without a date passes."""
    malformed: float = 0.5
    """Share of weight, from which on several species (or no one plant) are seen."""
    not_a_plant: float = 0.5
    """Share of weight, from which on no plant is seen."""
    cultivated: float = 0.5
    """Share of weight, from which on a plant is potted or cultivated."""
    min_quality: float | None = None
    """Of the images, -1 bad to 1 good; an unknown one passes. None = any."""
    duplicates: bool = False
    """Whether the same observer's record of the species on the same day within 10 m passes a second time."""

    def __post_init__(self) -> None:
        if not self.validated_by_people and self.ai_score is None:
            raise UsageError("neither people nor a model are trusted; set validated_by_people or ai_score")
        if self.ai_score is not None and not 0 <= self.ai_score < 1:
            raise UsageError(f"ai_score {self.ai_score} must lie in [0, 1)")
        for name in ("malformed", "not_a_plant", "cultivated"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"{name} {getattr(self, name)} must lie in (0, 1]: a record with this share or more is refused")
        for name, least in {
            "determinations": 1,
            "calibration_records": 1,
            "sea_distance": 0,
            "centroid_distance": 0,
            "border_distance": 0,
        }.items():
            if not least <= getattr(self, name) < np.inf:
                raise UsageError(f"{name} {getattr(self, name)} must be at least {least}, and finite")
        if self.max_uncertainty is not None and not self.max_uncertainty > 0:
            raise UsageError(f"max_uncertainty {self.max_uncertainty} must be positive metres, or None")
        if self.min_quality is not None and not -1 <= self.min_quality <= 1:
            raise UsageError(f"min_quality {self.min_quality} must lie in [-1, 1]")
        if self.years is not None and not self.years[0] <= self.years[1]:
            raise UsageError(f"years {self.years} are empty; give first, last")
        if self.bounds is not None and not (self.bounds[0] < self.bounds[2] and self.bounds[1] < self.bounds[3]):
            raise UsageError(f"bounds {self.bounds} are empty; give west, south, east, north in degrees")
        unknown = set(self.statuses) - set(STATUSES)
        if unknown or not self.statuses:
            raise UsageError(f"statuses {', '.join(self.statuses) or '()'} must be some of {', '.join(STATUSES)}")


def trusted(
    chunks: Iterable[pd.DataFrame],
    rules: TrustRules | None = None,
    *,
    calibrations: Mapping[str, Calibration] | None = None,
    floras: Floras | None = None,
    land: Regions | None = None,
    centroids: pd.DataFrame | None = None,
    names: pd.DataFrame | None = None,
    today: date | None = None,
) -> TrustedQuery:
    """Records (chunks of `RECORD_COLUMNS`) -> those that `rules` trust, chunk by chunk, each with the column `verification`.

    `calibrations`: by model (``ai_model``); a model without one is not trusted, and the kept `ai_score` is the calibrated one. `floras`: a species
    must be in the checklist of the region it was seen in; where no flora is known it passes. `land`: polygons of the land (`regions.countries()`),
    None = the sea is not asked. `centroids`: columns longitude, latitude, degrees; None = not asked. `names`: columns taxonID, scientificName,
    genus, family, of taxa that only a model named: such a record gets the model's taxon for its own. `today` (UTC) tells the future; an observer
    may be a day ahead of it.

    Records must come in an order that stays the same: of duplicates the first that is otherwise trusted is kept.
    """
    return TrustedQuery(
        chunks,
        rules or TrustRules(),
        calibrations=calibrations or {},
        floras=floras,
        land=land,
        centroids=centroids,
        names=names,
        today=today or datetime.now(UTC).date(),
    )


class TrustedQuery:
    """Iterator over kept chunks, once. What it has read and refused so far is told at any time; read = kept + sum of counts."""

    def __init__(
        self,
        chunks: Iterable[pd.DataFrame],
        rules: TrustRules,
        *,
        calibrations: Mapping[str, Calibration],
        floras: Floras | None,
        land: Regions | None,
        centroids: pd.DataFrame | None,
        names: pd.DataFrame | None,
        today: date,
    ):
        self._chunks = iter(chunks)
        self.rules = rules
        self._calibrations = calibrations
        self._floras = floras
        self._land = land
        self._centroids = centroids
        self._names = _checked_names(names)
        self._today = today
        self.read = 0
        """Records read."""
        self.kept = 0
        """Records kept."""
        self._refused: dict[tuple[str, str], list[Any]] = {}
        self._ids, self._sightings, self._images = _Seen(), _Seen(), _Seen()

    def __iter__(self) -> Iterator[pd.DataFrame]:
        return self

    def __next__(self) -> pd.DataFrame:
        """The next chunk that is left of what was read, possibly empty. Raises InputError for a table that is none of records."""
        records = next(self._chunks)
        validate_records(records)
        records = records.reset_index(drop=True)
        judged, reason = self._judge(records)
        self.read += len(records)
        self.kept += int((reason == "").sum())
        self._count(records, reason)
        return judged[reason == ""].reset_index(drop=True)

    @property
    def counts(self) -> dict[str, int]:
        """Records refused by reason, in the order of `REASONS`; reasons that did not occur are left out."""
        found = dict.fromkeys(REASONS, 0)
        for (_, reason), (count, _) in self._refused.items():
            found[reason] += count
        return {reason: count for reason, count in found.items() if count}

    @property
    def rejections(self) -> pd.DataFrame:
        """As of an OccurrenceSet: datasetID, table (occurrences), reason, count, example (the least occurrenceID)."""
        rows = [(dataset, "occurrences", reason, count, least) for (dataset, reason), (count, least) in sorted(self._refused.items())]
        return pd.DataFrame(rows, columns=["datasetID", "table", "reason", "count", "example"]).astype({"count": "int64"})

    def _judge(self, records: pd.DataFrame) -> tuple[pd.DataFrame, npt.NDArray[np.object_]]:
        """The records as they would be kept, and why not: (n,) reasons, empty = kept."""
        judged = records.copy()
        reason = np.full(len(records), "", object)

        def refuse(why: str, where: npt.ArrayLike) -> None:
            reason[(reason == "") & np.asarray(where, bool)] = why

        refuse(AGAIN, self._ids.again(_hashed(records[["occurrenceID"]]), np.ones(len(records), bool)))
        self._place(records, refuse)
        self._date(records["eventDate"], refuse)
        for why, column in ((NOT_A_PLANT, "not_a_plant"), (MALFORMED, "malformed"), (CULTIVATED, "cultivated")):
            refuse(why, records[column] >= getattr(self.rules, column))
        if self.rules.min_quality is not None:
            refuse(POOR, records["quality"] < self.rules.min_quality)
        self._label(judged, refuse)
        self._flora(judged, reason, refuse)
        if not self.rules.duplicates:
            refuse(DUPLICATE, self._sightings.again(_hashed(_sighting(judged)), (reason == "") & (judged["recordedByID"] != "").to_numpy()))
        refuse(SAME_IMAGE, self._seen_image(judged, reason == ""))
        return judged, reason

    def _place(self, records: pd.DataFrame, refuse: Any) -> None:
        x, y = records["decimalLongitude"].to_numpy(float), records["decimalLatitude"].to_numpy(float)
        uncertainty = records["coordinateUncertaintyInMeters"].to_numpy(float)
        refuse(NO_PLACE, np.isnan(x) | np.isnan(y))
        in_range = (np.abs(x) <= 180) & (np.abs(y) <= 90)
        exchanged = (np.abs(y) <= 180) & (np.abs(x) <= 90)
        if self.rules.bounds is None:
            refuse(SWAPPED, ~in_range & exchanged)
        else:
            here = in_range & _within(x, y, self.rules.bounds)
            refuse(SWAPPED, ~here & exchanged & _within(y, x, self.rules.bounds))
        refuse(SWAPPED, self._swapped_in_flora(records["flora"], x, y, in_range & exchanged))
        refuse(RANGE, ~in_range)
        refuse(ZERO, (np.abs(x) <= _AROUND_ZERO) & (np.abs(y) <= _AROUND_ZERO))
        if self.rules.bounds is not None:
            refuse(OUTSIDE, ~_within(x, y, self.rules.bounds))
        refuse(BAD_UNCERTAINTY, (uncertainty < 0) | np.isinf(uncertainty))
        if self.rules.max_uncertainty is not None:
            refuse(UNCERTAIN, uncertainty > self.rules.max_uncertainty)
        placed = in_range & ~np.isnan(x)
        if self._land is not None:
            wet = np.flatnonzero(placed & ~self._land.covered(x, y))
            far = self._land.border_distance(x[wet], y[wet]) > np.fmax(self.rules.sea_distance, uncertainty[wet])
            refuse(SEA, _mask(len(x), wet[far]))
        if self._centroids is not None:
            near = distances(x, y, self._centroids)[0] <= self.rules.centroid_distance
            refuse(CENTROID, placed & near & ~(uncertainty < self.rules.centroid_distance))

    def _swapped_in_flora(self, flora: pd.Series, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], could: Flags) -> Flags:
        """Whether a record lies outside the flora its author named, and inside it with coordinates exchanged."""
        found = np.zeros(len(x), bool)
        if self._floras is None or self._floras.regions is None:
            return found
        for code in flora.unique():
            if code in self._floras.regions.codes:
                there = self._floras.regions.select([code])
                rows = np.flatnonzero((flora == code).to_numpy() & could)
                rows = rows[~there.covered(x[rows], y[rows]) & (there.border_distance(x[rows], y[rows]) > self.rules.border_distance)]
                found[rows] = there.covered(y[rows], x[rows])
        return found

    def _date(self, written: pd.Series, refuse: Any) -> None:
        first, last, iso = dates(written)
        empty = (written == "").to_numpy()
        if not self.rules.undated:
            refuse(NO_DATE, empty)
        refuse(NOT_ISO, ~empty & ~iso)
        year = np.where(iso, first // 10_000, self.rules.earliest)
        refuse(OLD, year < self.rules.earliest)
        tomorrow = self._today + timedelta(days=1)
        refuse(FUTURE, iso & (last > tomorrow.year * 10_000 + tomorrow.month * 100 + tomorrow.day))
        if self.rules.years is not None:
            refuse(YEAR, iso & ((first // 10_000 < self.rules.years[0]) | (last // 10_000 > self.rules.years[1])))

    def _label(self, judged: pd.DataFrame, refuse: Any) -> None:
        """Refuses what nobody vouches for; writes verification, the calibrated score, and the model's taxon where it is the only one."""
        rules = self.rules
        labelled, predicted = (judged["taxonID"] != "").to_numpy(), (judged["ai_taxonID"] != "").to_numpy()
        valid = labelled & judged["valid"].to_numpy()
        enough = (judged["determinations"] >= rules.determinations).to_numpy()
        people = valid & enough & rules.validated_by_people
        asked = predicted & (rules.ai_score is not None)
        score, calibrated = self._calibrated(judged, predicted)
        high = asked & (score > (rules.ai_score or 0.0))
        agrees = ~labelled | (judged["taxonID"] == judged["ai_taxonID"]).to_numpy()
        named = labelled | judged["ai_taxonID"].isin(self._names.index).to_numpy()
        model = high & calibrated & agrees & named
        left = ~people & ~model
        refuse(UNDETERMINED, left & ~labelled & ~asked)
        refuse(FEW, left & valid & rules.validated_by_people)
        refuse(UNCALIBRATED, left & high & agrees & ~calibrated)
        refuse(NAMELESS, left & high & ~named)
        refuse(DISAGREE, left & high & calibrated & ~agrees)
        refuse(NOT_VALID, left & labelled & rules.validated_by_people)
        refuse(BELOW, left)
        alone = np.flatnonzero(model & ~labelled)
        known = self._names.reindex(judged["ai_taxonID"].iloc[alone])
        for column in ("scientificName", "genus", "family"):
            judged.loc[alone, column] = known[column].to_numpy()
        judged.loc[alone, "taxonID"] = judged["ai_taxonID"].iloc[alone].to_numpy()
        judged["ai_score"] = score
        judged[VERIFICATION] = np.where(people, PEOPLE, f"model above {rules.ai_score or 0:g}")

    def _calibrated(self, judged: pd.DataFrame, predicted: Flags) -> tuple[npt.NDArray[np.float64], Flags]:
        """Scores on the scale of their model's calibration, as they stand where there is none; and whether there is one that rests on enough."""
        score = judged["ai_score"].to_numpy(float, copy=True)
        calibrated = np.zeros(len(judged), bool)
        for model in judged["ai_model"].unique():
            calibration = self._calibrations.get(model)
            if calibration is not None and calibration.records >= self.rules.calibration_records:
                rows = predicted & (judged["ai_model"] == model).to_numpy()
                score[rows] = calibration.apply(score[rows])
                calibrated |= rows
        return score, calibrated

    def _flora(self, judged: pd.DataFrame, reason: npt.NDArray[np.object_], refuse: Any) -> None:
        if self._floras is None:
            return
        rows = np.flatnonzero(reason == "")
        part = judged.iloc[rows]
        reach = np.fmax(self.rules.border_distance, part["coordinateUncertaintyInMeters"].to_numpy(float))
        status = self._floras.status(part["taxonID"], part["decimalLongitude"], part["decimalLatitude"], reach)
        refuse(ABSENT, _mask(len(judged), rows[status == "absent"]))
        refuse(STATUS, _mask(len(judged), rows[~np.isin(status, ["", *self.rules.statuses])]))

    def _seen_image(self, judged: pd.DataFrame, candidates: Flags) -> Flags:
        """Which candidates show an image that an earlier kept record showed."""
        rows = np.flatnonzero(candidates & (judged["images"] != "").to_numpy())
        images = judged["images"].iloc[rows].str.split("|").explode()
        images = images[
            ~(images.index.to_series().astype(str) + images).duplicated().to_numpy()
        ]  # an image twice in one observation is one
        again = self._images.again(_hashed(images.to_frame()), np.ones(len(images), bool))
        return _mask(len(judged), images.index.to_numpy()[again])

    def _count(self, records: pd.DataFrame, reason: npt.NDArray[np.object_]) -> None:
        table = records.loc[reason != "", ["datasetID", "occurrenceID"]].assign(reason=reason[reason != ""])
        for key, ids in table.groupby(["datasetID", "reason"])["occurrenceID"]:
            entry = self._refused.setdefault((str(key[0]), str(key[1])), [0, ids.min()])
            entry[0] += len(ids)
            entry[1] = min(entry[1], ids.min())


class _Seen:
    """A set of 64-bit hashes that grows by chunks: sorted runs, each twice as long as the next, so that a chunk costs few merges."""

    def __init__(self) -> None:
        self._runs: list[npt.NDArray[np.uint64]] = []

    def again(self, keys: npt.NDArray[np.uint64], candidates: Flags) -> Flags:
        """(n,): which candidates were there before, in an earlier chunk or row; the others among the candidates are there from now on.

        Two different things are taken for one with a probability of n^2 / 2^65: 3e-6 for ten million.
        """
        rows = np.flatnonzero(candidates)
        values, first = np.unique(keys[rows], return_index=True)
        old = np.zeros(len(values), bool)
        for run in self._runs:
            old |= run[np.minimum(np.searchsorted(run, values), len(run) - 1)] == values
        if (~old).any():
            self._runs.append(values[~old])
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            self._runs.append(np.sort(np.concatenate([self._runs.pop(), self._runs.pop()])))
        return _mask(len(keys), np.setdiff1d(rows, rows[first[~old]]))


def dates(written: pd.Series) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Flags]:
    """ISO 8601 dates and intervals -> first and last day as yyyymmdd (what is left open: its first and last), and whether it is one.

    A date may be a year, a month, a day, or a day and time; an interval has two of them, the second not before the first
    and without what it shares with it, if so written (2007-11-13/15). A day that is in no
    calendar (2023-02-30) is no date.
    """
    codes, texts = pd.factorize(written)
    unique = pd.Series(texts, dtype=object).astype(str)
    for short in _SHORT_ENDS:
        unique = unique.str.replace(short, r"\1\2/\1\3", regex=True)
    parts = unique.str.extract(_DATE)
    start, last, iso = _days(parts, "")
    _, end, ended = _days(parts, "end_")
    interval = parts["interval"].notna().to_numpy()
    return start[codes], np.where(interval, end, last)[codes], (iso & (~interval | (ended & (end >= start))))[codes]


def _days(parts: pd.DataFrame, prefix: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Flags]:
    year, month, day = (parts[f"{prefix}{name}"].astype(float).to_numpy() for name in ("year", "month", "day"))
    length = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[np.where(np.isnan(month), 12, month).astype(int)]
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    length = length + (leap & (month == 2))
    first = np.nan_to_num(year) * 10_000 + np.where(np.isnan(month), 1, month) * 100 + np.where(np.isnan(day), 1, day)
    last = np.nan_to_num(year) * 10_000 + np.where(np.isnan(month), 12, month) * 100 + np.where(np.isnan(day), length, day)
    good = ~np.isnan(year) & (np.isnan(day) | (day <= length))
    return first.astype(np.int64), last.astype(np.int64), good


def _checked_names(names: pd.DataFrame | None) -> pd.DataFrame:
    columns = ["taxonID", "scientificName", "genus", "family"]
    if names is None:
        return pd.DataFrame(columns=columns).set_index("taxonID")
    if not set(columns) <= set(names):
        raise InputError(f"names have the columns {', '.join(map(str, names))}; they need {', '.join(columns)}")
    if names["taxonID"].duplicated().any():
        raise InputError(f"names hold {names['taxonID'][names['taxonID'].duplicated()].iloc[0]} twice; keep one row a taxon")
    return names[columns].set_index("taxonID")


def _sighting(records: pd.DataFrame) -> pd.DataFrame:
    """Observer, species, day, and the place to four decimals of a degree: 11 m from north to south, less from east to west."""
    return pd.DataFrame(
        {
            "observer": records["recordedByID"],
            "taxon": records["taxonID"],
            "day": records["eventDate"].str.slice(0, 10),
            "x": records["decimalLongitude"].round(4) + 0.0,  # -0 is 0
            "y": records["decimalLatitude"].round(4) + 0.0,
        }
    )


def _hashed(table: pd.DataFrame) -> npt.NDArray[np.uint64]:
    return np.asarray(pd.util.hash_pandas_object(table, index=False), np.uint64)


def _within(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], bounds: tuple[float, float, float, float]) -> Flags:
    west, south, east, north = bounds
    return (x >= west) & (x <= east) & (y >= south) & (y <= north)


def _mask(n: int, rows: npt.NDArray[np.intp]) -> Flags:
    found = np.zeros(n, bool)
    found[rows] = True
    return found
