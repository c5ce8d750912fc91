"""What an observation tells, and whom.

A place is told as it is once the label is valid and nobody called the plant by the name of a sensitive species; to others than its author until then
as the middle of a square of 0.1 degrees: what a plant is called today may be wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from geoplantnet.errors import StorageError
from geoplantnet.identify.observations import KINDS, ObservationStore
from geoplantnet.identify.protection import told_month
from geoplantnet.serving.identify.desk import Desk
from geoplantnet.serving.identify.identification import cited, date_of
from geoplantnet.serving.identify.keys import Caller
from geoplantnet.serving.identify.media import is_open

SENSITIVE = "sensitive"
"""What a key must grant (`geoplantnet keys add --layers sensitive`) to be told of sensitive species' observations like of others'."""
FLAGS = ("malformed", "not_a_plant", "cultivated")
_COARSE = 0.1
"""Degrees."""
_HIDDEN = "place, day and photos are withheld: the species is sensitive, or was called by the name of one that is"
_COARSENED = "the place is the middle of a square of 0.1 degrees until the species is agreed on"


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """A record of the store, and what must be known to tell of it."""

    record: Mapping[str, Any]
    history: pd.DataFrame
    """Its votes."""
    sensitive: bool
    """It is called by the name of a sensitive species, or was by anybody whom no administrator silenced."""

    @classmethod
    def of(cls, desk: Desk, store: ObservationStore, record: Mapping[Any, Any]) -> Sighting:
        """A record with its votes."""
        name = str(record["occurrenceID"])
        return cls(record=record, history=store.history(name), sensitive=bool(desk.sensitive.hidden(store, [name])))

    def by(self, caller: Caller) -> bool:
        """The caller gave it."""
        return caller.key is not None and bool(self.record["recordedByID"] == caller.user)

    def known_to(self, caller: Caller) -> bool:
        """All of it may be told: to its author, and to a key that is told of sensitive species."""
        return self.by(caller) or (caller.key is not None and caller.key.grants(SENSITIVE))

    def found_by(self, caller: Caller) -> bool:
        """It may be told of at all: a licence that is not open keeps an observation to its author."""
        return self.by(caller) or is_open(str(self.record["license"]))

    def listed_for(self, caller: Caller) -> bool:
        """It stands in lists for others: of an open licence, and not sensitive but for keys that are told of such."""
        return is_open(str(self.record["license"])) and (self.known_to(caller) or not self.sensitive)

    def shows_photos_to(self, caller: Caller) -> bool:
        """It has photos, and they may be shown."""
        return bool(self.record["images"]) and (self.known_to(caller) or not self.sensitive)

    def place_for(self, caller: Caller) -> tuple[dict[str, Any] | None, str]:
        """The place as it is told (degrees, metres), None for none, and what was done to it."""
        open_to = self.known_to(caller)
        if self.sensitive and not open_to:
            return None, _HIDDEN
        longitude, latitude = float(self.record["decimalLongitude"]), float(self.record["decimalLatitude"])
        if math.isnan(longitude):
            return None, ""
        radius = float(self.record["coordinateUncertaintyInMeters"])
        if open_to or self.record["valid"]:
            return {"latitude": latitude, "longitude": longitude, "uncertainty": None if math.isnan(radius) else radius}, ""
        middle = [round((math.floor(degrees / _COARSE) + 0.5) * _COARSE, 2) for degrees in (latitude, longitude)]
        return {
            "latitude": min(middle[0], 89.95),
            "longitude": min(middle[1], 179.95),
            "uncertainty": max(8_000.0, 0.0 if math.isnan(radius) else radius),
        }, _COARSENED

    def told(self, desk: Desk, caller: Caller, language: str, site: str) -> dict[str, Any]:
        """An observation as one caller may know it. Ids of accounts are told to nobody."""
        record = self.record
        author = str(record["rightsHolder"] or record["recordedBy"])
        place, generalized = self.place_for(caller)
        day = str(record["eventDate"])
        return {
            "id": str(record["occurrenceID"]),
            "own": self.by(caller),
            "author": author,
            "date": day if self.known_to(caller) or not self.sensitive else told_month([day])[0],
            "place": place,
            "dataGeneralizations": generalized,
            "project": str(record["flora"]),
            "license": str(record["license"]),
            "species": _species(desk, str(record["taxonID"]), language),
            "valid": bool(record["valid"]),
            "confidence": round(float(record["agreement"]), 4),
            "weight": round(float(record["confidence"]), 4),
            "votes": int(record["determinations"]),
            "answers": _answers(desk, self.history, language),
            "prediction": {
                "species": _species(desk, str(record["ai_taxonID"]), language),
                "score": round(float(record["ai_score"]), 5),
                "model": str(record["ai_model"]),
            }
            if record["ai_taxonID"]
            else None,
            "flags": {flag: round(float(record[flag]), 4) for flag in FLAGS},
            "images": photos_of(desk, record, author, site, own=self.sensitive) if self.shows_photos_to(caller) else [],
        }


def photos_of(desk: Desk, record: Mapping[Any, Any], author: str, site: str, *, own: bool = False) -> list[dict[str, Any]]:
    """The images of a record, as results of identification tell related ones. `own`: for who may see them though they are hidden."""
    license = desk.licence(str(record["license"]))
    pairs = zip(str(record["images"]).split("|"), str(record["organs"]).split("|"), strict=True)
    return [
        {
            "id": digest,
            "organ": "other" if organ == "auto" else organ,
            "author": author or "unknown",
            "license": license,
            "date": date_of(str(record["eventDate"])[:10]),
            "citation": f"{author or 'unknown'}, {cited(license)}",
            "url": desk.media.urls(digest, site, own=own),
            "observation": str(record["occurrenceID"]),
        }
        for digest, organ in pairs
        if digest
    ]


def bytes_of(store: ObservationStore, digest: str) -> bytes:
    """A photo that the store keeps."""
    try:
        return store.images.get(digest, "jpg")
    except StorageError:
        return store.images.get(digest, "png")


def _answers(desk: Desk, history: pd.DataFrame, language: str) -> list[dict[str, Any]]:
    """What people say it is, each with its share of all weight, the greatest first."""
    stands = history[(history["kind"] == KINDS[0]) & history["stands"] & (history["value"] != "")]
    weights = stands["weight"].fillna(1.0).groupby(stands["value"]).agg(["sum", "size"]).sort_index()
    total = float(weights["sum"].sum())
    rows = [
        {
            "species": _species(desk, str(taxon), language),
            "share": round(float(row["sum"]) / total, 4) if total else 0.0,
            "votes": int(row["size"]),
        }
        for taxon, row in weights.iterrows()
    ]
    return sorted((row for row in rows if row["species"] is not None), key=lambda row: -row["share"])


def _species(desk: Desk, taxon_id: str, language: str) -> dict[str, Any] | None:
    """A species by its id; None for none, and for one that the net does not know."""
    species = desk.facts.species
    if not taxon_id or taxon_id not in species:
        return None
    return {"id": taxon_id, **desk.facts.described(species.index_of(taxon_id), language)}
