"""Trusted records -> rows of a Darwin Core Archive: occurrences, their images, and who called them what. The store's table in, chunks of tables out.

Quality has chosen the records already; what is not validated, not one species, or no plant is refused here again and counted, since what has left
cannot be called back. A record stands on people (`HumanObservation`) or on the model alone (`MachineObservation`), and says which. Records of
sensitive species are told as `protection` says, at the end, in an order that says nothing.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from geoplantnet.errors import UsageError
from geoplantnet.identify.protection import NOT_SENSITIVE, Protection, told_month, told_places
from geoplantnet.identify.quality import PEOPLE, VERIFICATION
from geoplantnet.identify.records import validate_records
from geoplantnet.occurrences.archive import Coverage, DatasetDescription, Table, Written, eml, write_archive
from geoplantnet.occurrences.archive.layout import IDENTIFICATION, MULTIMEDIA, OCCURRENCE
from geoplantnet.occurrences.archive.writer import CORE_ID
from geoplantnet.taxonomy.sensitive import WITHHELD

HUMAN, MACHINE = "HumanObservation", "MachineObservation"
BY_MODEL = "model"
"""How `quality.VERIFICATION` begins of a record that is trusted for the model's score alone."""
CORE = Table.of(
    "occurrence.txt",
    OCCURRENCE,
    (
        *("occurrenceID", "basisOfRecord", "occurrenceStatus", "eventDate", "recordedBy"),
        *("decimalLatitude", "decimalLongitude", "geodeticDatum", "coordinateUncertaintyInMeters"),
        *("taxonID", "scientificName", "kingdom", "family", "genus", "verbatimIdentification", "nomenclaturalCode"),
        *("identifiedBy", "identificationVerificationStatus", "degreeOfEstablishment", "associatedMedia"),
        *("datasetID", "datasetName", "license", "rightsHolder", "dataGeneralizations", "informationWithheld", "dynamicProperties"),
    ),
)
IMAGES = Table.of(
    "multimedia.txt",
    MULTIMEDIA,
    ("type", "format", "identifier", "description", "created", "creator", "license", "rightsHolder"),
)
IDENTIFICATIONS = Table.of(
    "identification.txt",
    IDENTIFICATION,
    ("identificationID", "identifiedBy", "taxonID", "scientificName", "identificationVerificationStatus", "identificationRemarks"),
)
UNVALIDATED, MANY_SPECIES, NO_PLANT = "not validated", "several species, or not one plant", "not a plant"
NOT_THE_MODELS, NO_NAME, NO_PLACE = "trusted for a model's score that is not there", "no species name", "no place"
WITHHELD_SPECIES, UNTOLD = "sensitive species, withheld", "sensitive species, outside the lattice of squares"
REASONS = (NO_NAME, UNVALIDATED, NOT_THE_MODELS, MANY_SPECIES, NO_PLANT, NO_PLACE, WITHHELD_SPECIES, UNTOLD)
"""Why a record is refused, in the order in which they are looked for: it is counted under the first."""
WORDS = MappingProxyType(
    {
        "place": "Sensitive species: told as the middle of a square of {side} on the ETRS89-LAEA lattice (EPSG:3035); date told to the month",
        "rest": "Observer, identifiers, votes, images, day, data set and the author's own words are withheld: the species is sensitive",
    }
)
METHODS = (
    "People photograph plants and say what they are; others vote on the species, on the organ, on the quality of photos, and say where a photo "
    "shows no plant, several species, or a planted one.",
    "A user's vote weighs by the number of species the user has been right about (Lefort et al. 2024, Methods in Ecology and Evolution). A label is "
    "validated where enough weight agrees; HumanObservation are records whose label people validated, MachineObservation those whose label stands "
    "on the calibrated score of a model alone. dynamicProperties holds confidence, agreement and score.",
)
"""How the records came to be, for `eml.xml`."""
_FORMATS = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}
_DECIMALS = 7
_AT_ONCE = 10_000
"""Records whose rows are made together."""


@dataclass(frozen=True, kw_only=True)
class ExportRules:
    """What every export of a publisher says and asks."""

    license: str
    """URL of the licence of records that name none."""
    rights_holder: str
    """Who holds the rights of records that name nobody, and stands for whom sensitive records do not name."""
    dataset_name: str
    images: str = ""
    """URL of an image with `{sha256}` in the place of its SHA-256; empty = images are not published."""
    most_doubt: float = 0.5
    """Share of weight, 0 to 1, from which `malformed` or `not_a_plant` refuses a record; a `cultivated` one is told as such."""
    ai_score: float = 0.95
    """Calibrated probability from which a label may stand on the model."""

    def __post_init__(self) -> None:
        if self.images and "{sha256}" not in self.images:
            raise UsageError(f"the address of images {self.images!r} has no {{sha256}}; every image would have the same")
        if not 0 < self.most_doubt <= 1 or not 0 < self.ai_score <= 1:
            raise UsageError(f"shares are above 0 and at most 1, got {self.most_doubt} of doubt and a score of {self.ai_score}")


@dataclass(kw_only=True)
class ExportReport:
    """The books: read = written + all that is refused."""

    read: int = 0
    written: Counter[str] = field(default_factory=Counter)
    """By basisOfRecord."""
    refused: Counter[str] = field(default_factory=Counter)
    """By reason, see `REASONS`."""
    generalised: int = 0
    """Of those written: told in squares."""
    unsaid: int = 0
    """Determinations left out of other species' records, since they name a sensitive species."""
    unmatched: tuple[str, ...] = ()
    """Rules of taxa that are in no record and, where the checklist is known, not in it: mistyped, so that nobody protects them?"""


class Export:
    """Records as chunks of `CORE`, `IMAGES` and `IDENTIFICATIONS`, to be iterated once; then `report` and `coverage` are complete.

    `records`: chunks of `RECORD_COLUMNS`, and `verification` where quality has said what a record is trusted for. `names`: taxon id -> scientific
    name, of the store's checklist: what the model's determinations are called. Memory: a chunk; sensitive records wait in a temporary database.
    """

    def __init__(
        self,
        records: Iterable[pd.DataFrame],
        rules: ExportRules,
        *,
        protection: Protection | None = None,
        names: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.report = ExportReport()
        self.rules, self.protection = rules, protection
        self._records, self._names = records, names
        self._box = np.array([np.inf, np.inf, -np.inf, -np.inf])
        self._first, self._last = "", ""
        self._taxa: set[tuple[str, str]] = set(names.items())

    @property
    def coverage(self) -> Coverage | None:
        """Box and years of what was told so far; None of nothing."""
        if not np.isfinite(self._box).all():
            return None
        west, south, east, north = map(float, self._box)
        return Coverage(west=west, south=south, east=east, north=north, first=self._first, last=self._last)

    def __iter__(self) -> Iterator[dict[str, pd.DataFrame]]:
        with closing(_Waiting()) as waiting:
            for chunk in self._records:
                validate_records(chunk)
                for start in range(0, len(chunk), _AT_ONCE):
                    yield self._chunk(chunk.iloc[start : start + _AT_ONCE].reset_index(drop=True), waiting)
            for rows in waiting.chunks():
                yield self._counted(rows)
        if self.protection:
            self.report.unmatched = tuple(rule.taxon for rule in self.protection.unmatched(self._taxa))

    def _chunk(self, records: pd.DataFrame, waiting: _Waiting) -> dict[str, pd.DataFrame]:
        """One chunk's records that are not sensitive; those that are wait."""
        machine = _on_model(records)
        sides = self._sides(records)
        reasons = self._reasons(records, machine, sides)
        self.report.read += len(records)
        self.report.refused.update(Counter(reasons[reasons != ""].tolist()))
        kept, careful = (reasons == "").to_numpy(), sides != NOT_SENSITIVE
        if (kept & careful).any():
            waiting.add(self._generalised(records[kept & careful], machine[kept & careful], sides[kept & careful]))
        return self._counted(self._plain(records[kept & ~careful].reset_index(drop=True), machine[kept & ~careful]))

    def _sides(self, records: pd.DataFrame) -> np.ndarray:
        if self.protection is None:
            return np.full(len(records), NOT_SENSITIVE)
        self._taxa.update(records[["taxonID", "scientificName"]].drop_duplicates().itertuples(index=False, name=None))
        return self.protection.sides(records["taxonID"], records["scientificName"])

    def _reasons(self, records: pd.DataFrame, machine: np.ndarray, sides: np.ndarray) -> pd.Series:
        rules = self.rules
        by_people = records["valid"].to_numpy() & ~machine
        score = records["ai_score"].to_numpy()
        models = (
            (records["ai_taxonID"] == records["taxonID"]).to_numpy() & (records["ai_model"] != "").to_numpy() & (score >= rules.ai_score)
        )
        longitude, latitude = records["decimalLongitude"], records["decimalLatitude"]
        placed = (longitude.abs() <= 180) & (latitude.abs() <= 90)
        untold = np.zeros(len(records), bool)
        if self.protection and (careful := (sides > WITHHELD) & placed.to_numpy()).any():
            east, north = longitude.to_numpy()[careful], latitude.to_numpy()[careful]
            untold[careful] = np.isnan(told_places(east, north, np.zeros(len(east)), sides[careful], self.protection.grid.crs).longitude)
        wrong = {
            NO_NAME: (records["scientificName"].str.strip() == "") | (records["taxonID"] == ""),
            UNVALIDATED: ~by_people & ~machine,
            NOT_THE_MODELS: machine & ~models,
            MANY_SPECIES: ~(records["malformed"] < rules.most_doubt),
            NO_PLANT: ~(records["not_a_plant"] < rules.most_doubt),
            NO_PLACE: ~placed,
            WITHHELD_SPECIES: sides == WITHHELD,
            UNTOLD: untold,
        }
        return pd.Series(np.select([np.asarray(wrong[reason]) for reason in REASONS], list(REASONS), ""), index=records.index, dtype=object)

    def _plain(self, records: pd.DataFrame, machine: np.ndarray) -> dict[str, pd.DataFrame]:
        """The tables of records that may be told as they are."""
        core = self._core(records, machine).assign(
            decimalLatitude=records["decimalLatitude"].round(_DECIMALS),
            decimalLongitude=records["decimalLongitude"].round(_DECIMALS),
            coordinateUncertaintyInMeters=records["coordinateUncertaintyInMeters"].round(2),
            eventDate=records["eventDate"],
            recordedBy=records["recordedBy"],
            verbatimIdentification=self._harmless(records["verbatimScientificName"]),
            datasetID=records["datasetID"],
            rightsHolder=records["rightsHolder"].mask(records["rightsHolder"] == "", self.rules.rights_holder),
        )
        images, core["associatedMedia"] = self._images(records, core)
        return {CORE.file: core, IMAGES.file: images, IDENTIFICATIONS.file: self._identifications(records, core)}

    def _generalised(self, records: pd.DataFrame, machine: np.ndarray, sides: np.ndarray) -> pd.DataFrame:
        """Core rows of records of sensitive species: everything that could tie one to another record, or to its author, is empty."""
        assert self.protection is not None
        told = told_places(
            records["decimalLongitude"].to_numpy(),
            records["decimalLatitude"].to_numpy(),
            records["coordinateUncertaintyInMeters"].to_numpy(),
            sides,
            self.protection.grid.crs,
        )
        model = records["ai_model"].where(pd.Series(machine, index=records.index), "")
        return self._core(records, machine).assign(
            occurrenceID=[self.protection.pseudonym(own) for own in records["occurrenceID"]],
            decimalLatitude=np.round(told.latitude, _DECIMALS),
            decimalLongitude=np.round(told.longitude, _DECIMALS),
            coordinateUncertaintyInMeters=told.uncertainty,
            eventDate=told_month(records["eventDate"].tolist()),
            identifiedBy=model,
            rightsHolder=self.rules.rights_holder,
            dynamicProperties=_properties(records, of_people=False),
            dataGeneralizations=[WORDS["place"].format(side=_length(side)) for side in told.side],
            informationWithheld=WORDS["rest"],
        )

    def _core(self, records: pd.DataFrame, machine: np.ndarray) -> pd.DataFrame:
        """What is said of every record, sensitive or not; columns that `_plain` or `_generalised` do not fill are empty."""
        alone = pd.Series(machine, index=records.index)
        people = pd.Series([_listed(names) for names in records["identifiedBy"]], index=records.index, dtype=object)
        said = _said(records)
        filled = {
            "occurrenceID": records["occurrenceID"],
            "basisOfRecord": np.where(machine, MACHINE, HUMAN),
            "occurrenceStatus": "present",
            "geodeticDatum": "EPSG:4326",
            "kingdom": "Plantae",
            "nomenclaturalCode": "ICN",
            **{name: records[name] for name in ("taxonID", "scientificName", "family", "genus")},
            "identifiedBy": people.mask(alone, records["ai_model"]),
            "identificationVerificationStatus": said.mask(said == "", PEOPLE),
            "degreeOfEstablishment": np.where(records["cultivated"] >= self.rules.most_doubt, "cultivated", ""),
            "datasetName": self.rules.dataset_name,
            "license": records["license"].mask(records["license"] == "", self.rules.license),
            "dynamicProperties": _properties(records),
        }
        return pd.DataFrame({term: filled.get(term, "") for term in CORE.terms}, index=records.index)

    def _images(self, records: pd.DataFrame, core: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        """A row an image, and the addresses of each record's; none where images are not published."""
        rows, media = list[tuple[str, ...]](), [""] * len(records)
        if self.rules.images:
            kind = _FORMATS.get(Path(self.rules.images).suffix.lower(), "")
            columns = (core[name] for name in ("occurrenceID", "eventDate", "recordedBy", "license", "rightsHolder"))
            for n, (hashes, organs, own, *said) in enumerate(zip(records["images"], records["organs"], *columns, strict=True)):
                if not hashes:
                    continue
                addresses = [self.rules.images.replace("{sha256}", sha256) for sha256 in hashes.split("|")]
                rows += [
                    (own, "StillImage", kind, address, organ, *said)
                    for address, organ in zip_longest(addresses, organs.split("|")[: len(addresses)], fillvalue="")
                ]
                media[n] = " | ".join(addresses)
        return pd.DataFrame(rows, columns=[CORE_ID, *IMAGES.terms], dtype=object), media

    def _identifications(self, records: pd.DataFrame, core: pd.DataFrame) -> pd.DataFrame:
        """The label, the author's own determination where it is another, the model's where there is one. A row a determination, in this order."""
        own = core["occurrenceID"]
        called = pd.Series([self._names.get(taxon, "") for taxon in records["ai_taxonID"]], index=records.index, dtype=object)
        called = called.mask(records["ai_taxonID"] == records["taxonID"], records["scientificName"])
        known = self._harmless(called)
        remarks = ["the model's determination" + ("" if score != score else f", score {score:.4f}") for score in records["ai_score"]]
        standing = {CORE_ID: own, "taxonID": records["taxonID"], "scientificName": records["scientificName"]}
        label = pd.DataFrame(
            {
                **standing,
                "identificationID": own + "/label",
                "identifiedBy": core["identifiedBy"],
                "identificationVerificationStatus": core["identificationVerificationStatus"],
                "identificationRemarks": "the record's label",
            }
        )
        author = pd.DataFrame(
            {
                CORE_ID: own,
                "taxonID": "",
                "scientificName": core["verbatimIdentification"],
                "identificationID": own + "/author",
                "identifiedBy": records["recordedBy"],
                "identificationVerificationStatus": "",
                "identificationRemarks": "as the observer called it",
            }
        )[((core["verbatimIdentification"] != "") & (core["verbatimIdentification"] != records["scientificName"])).to_numpy()]
        model = pd.DataFrame(
            {
                CORE_ID: own,
                "taxonID": records["ai_taxonID"],
                "scientificName": known,
                "identificationID": own + "/model",
                "identifiedBy": records["ai_model"],
                "identificationVerificationStatus": "",
                "identificationRemarks": remarks,
            }
        )[((records["ai_taxonID"] != "") & (known != "") & (core["basisOfRecord"] != MACHINE)).to_numpy()]
        rows = pd.concat([label, author, model]).sort_index(kind="stable").reset_index(drop=True)
        return rows[[CORE_ID, *IDENTIFICATIONS.terms]]

    def _harmless(self, texts: pd.Series) -> pd.Series:
        """Texts that name other determinations, empty where they name a sensitive species: at another's precise place they would tell of its own."""
        if self.protection is None:
            return texts
        tells = self.protection.mentioned(texts)
        self.report.unsaid += int(tells.sum())
        return texts.mask(tells, "")

    def _counted(self, chunk: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        core = chunk[CORE.file]
        self.report.written.update(Counter(core["basisOfRecord"].tolist()))
        self.report.generalised += int((core["dataGeneralizations"] != "").sum())
        if len(core):
            places = core[["decimalLongitude", "decimalLatitude"]].to_numpy(float)
            self._box = np.concatenate([np.minimum(self._box[:2], places.min(axis=0)), np.maximum(self._box[2:], places.max(axis=0))])
            years = core["eventDate"].str.extract(r"^(\d{4})(?!\d)", expand=False).dropna().tolist()
            self._first = min(filter(None, (*years, self._first)), default="")
            self._last = max((*years, self._last))
        return chunk


class _Waiting:
    """Core rows of sensitive records, on disk once they are many; they come back in the order of their new ids."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # a temporary file of SQLite's own, gone when it is closed
        self._database.execute("CREATE TABLE rows (id TEXT, row TEXT)")

    def add(self, core: pd.DataFrame) -> None:
        rows = core[list(CORE.terms)].to_numpy(object).tolist()
        with self._database:
            self._database.executemany(
                "INSERT INTO rows VALUES (?, ?)", zip(core["occurrenceID"], (json.dumps(row) for row in rows), strict=True)
            )

    def chunks(self) -> Iterator[dict[str, pd.DataFrame]]:
        found = self._database.execute("SELECT row FROM rows ORDER BY id")
        while rows := found.fetchmany(_AT_ONCE):
            core = pd.DataFrame([json.loads(row) for (row,) in rows], columns=list(CORE.terms))
            label = core.assign(identificationRemarks="the record's label", identificationID=core["occurrenceID"] + "/label")
            label[CORE_ID] = core["occurrenceID"]
            images = pd.DataFrame(columns=[CORE_ID, *IMAGES.terms], dtype=object)
            yield {CORE.file: core, IMAGES.file: images, IDENTIFICATIONS.file: label[[CORE_ID, *IDENTIFICATIONS.terms]]}

    def close(self) -> None:
        self._database.close()


def write_darwin_core(path: str | os.PathLike[str], export: Export, description: DatasetDescription) -> Written:
    """Commit the export as a Darwin Core Archive. Raises as `write_archive`, and InputError for records that are no records."""
    notes = (
        (
            "Records of sensitive species are generalised or withheld after Chapman (2020), Current Best Practices for Generalizing Sensitive "
            "Species Occurrence Data: see dataGeneralizations and informationWithheld of each.",
        )
        if export.protection
        else ()
    )
    return write_archive(
        path,
        export,
        core=CORE,
        key="occurrenceID",
        extensions=(IMAGES, IDENTIFICATIONS),
        metadata=lambda: eml(description, export.coverage, methods=METHODS, notes=notes),
    )


def _said(records: pd.DataFrame) -> pd.Series:
    """What quality trusts each record for; empty where it was not asked."""
    return records[VERIFICATION] if VERIFICATION in records else pd.Series("", index=records.index, dtype=object)


def _on_model(records: pd.DataFrame) -> np.ndarray:
    """Which records stand on the model: quality trusts its score, or a label is valid that nobody voted for."""
    voted = (records["determinations"] > 0) | (records["identifiedBy"] != "")
    said = _said(records).str.startswith(BY_MODEL)
    return (said | (records["valid"] & ~voted)).to_numpy(bool)


def _properties(records: pd.DataFrame, *, of_people: bool = True) -> list[str]:
    """What is known of the determination, as JSON. Without what is `of_people`: summed weights are a user's own where one alone voted, and know the
    user again in another record.
    """
    agrees = records["ai_taxonID"] == records["taxonID"]
    columns = zip(
        records["confidence"],
        records["agreement"],
        records["determinations"],
        records["ai_model"],
        records["ai_score"],
        agrees,
        strict=True,
    )
    found = []
    for confidence, agreement, votes, model, score, same in columns:
        told: dict[str, object] = {}
        if of_people:
            told |= {"confidence": _number(confidence, 2), "agreement": _number(agreement, 3), "determinations": _number(votes, 0)}
        if model and score == score:
            told |= {"model": model, "modelScore": _number(score, 4 if of_people else 2), "modelAgrees": bool(same)}
        found.append(json.dumps({name: value for name, value in told.items() if value is not None}, ensure_ascii=False, sort_keys=True))
    return found


def _number(value: float, decimals: int) -> float | int | None:
    if not np.isfinite(value):
        return None
    rounded = round(value, decimals)
    return int(rounded) if rounded == int(rounded) else rounded


def _listed(names: str) -> str:
    """Names separated by |, as Darwin Core separates them."""
    return " | ".join(filter(None, (name.strip() for name in names.split("|"))))


def _length(metres: float) -> str:
    return f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
