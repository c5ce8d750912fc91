"""The records a model learnt from, as points: only where the operator says so, and never nearer than they were told to be.

Places of plants can be sensitive. A record is told as the middle of a square of the reference grid that is as wide as its uncertainty
and as wide as the operator asks for, and is looked for by that square alone: a box does not find out more than the answer says.

A record of a sensitive species is told in the squares that its predictions are told in, or in wider ones that hold whole ones of these: two
lattices would cut each other's squares into finer pieces. What was recorded with it, at the same event, is told in that square too, since
it was at the same place. Records of species that are withheld anywhere are told nowhere.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from geoplantnet.errors import ConfigurationError
from geoplantnet.serving.crs import CRS84, transformer
from geoplantnet.serving.ogc.features import Feature, Query, Schema, Unchanging
from geoplantnet.serving.ogc.parameters import Parameter, text

RECORDS = Path("occurrences", "records")
"""Of the store, where they lie."""
SQUARES = (10, 100, 1_000, 5_000, 10_000, 50_000, 100_000)
"""Sides of the squares, metres."""
WITHHELD = 0
UNKNOWN = 10_000
"""Side of the square of a record that says nothing of its uncertainty."""


class Records:
    """The records of a store, in the order they were kept. Read once, when the first is asked for, whoever sees which of them."""

    def __init__(self, store: Path, *, square: int, crs: str, sensitive: Mapping[str, int] | None = None) -> None:
        """`square`: the least side of a square, one of `SQUARES`; `crs`: that of the records' x and y; `sensitive`: taxon id -> metres of the
        squares it is told in, `WITHHELD` where it is not. Raises ConfigurationError.
        """
        if square not in SQUARES:
            raise ConfigurationError(f"occurrences are generalised to {square} m; use one of {', '.join(map(str, SQUARES))}")
        if not (store / RECORDS / "occurrences.parquet").is_file():
            raise ConfigurationError(f"{store / RECORDS} holds no records to serve; leave occurrences out, or serve the store they lie in")
        self.crs = crs
        self._folder, self._square, self._sensitive = store / RECORDS, square, dict(sensitive or {})
        self._lock = threading.Lock()
        self._table: pd.DataFrame | None = None

    @property
    def table(self) -> pd.DataFrame:
        """A row a record; x and y are the middles of squares. Threads that come together wait for one that reads."""
        with self._lock:
            if self._table is None:
                self._table = self._read()
            return self._table

    def _read(self) -> pd.DataFrame:
        events = pd.read_parquet(
            self._folder / "events.parquet",
            columns=["eventID", "x", "y", "coordinateUncertaintyInMeters", "year", "sampling", "datasetID"],
        )
        rows = pd.read_parquet(self._folder / "occurrences.parquet", columns=["eventID", "taxonID", "scientificName", "occurrenceStatus"])
        rows = rows[~rows["taxonID"].isin([taxon for taxon, side in self._sensitive.items() if side == WITHHELD])]
        table = rows.merge(events, on="eventID", validate="many_to_one").reset_index(drop=True)
        side = _sides(table["coordinateUncertaintyInMeters"].to_numpy(), self._square)
        own = pd.Series([self._sensitive.get(taxon, 0) for taxon in table["taxonID"]], index=table.index, dtype=float)
        found = own.where(table["occurrenceStatus"] == "present", 0.0).groupby(table["eventID"]).transform("max")
        lattice = np.maximum(own.to_numpy(), found.to_numpy())
        side = np.where(lattice > 0, np.ceil(side / np.where(lattice > 0, lattice, 1)) * lattice, side)
        table = table.assign(generalised=lattice.astype(int)).drop(columns="eventID")
        x, y = (np.floor(table[axis].to_numpy() / side) * side + side / 2 for axis in ("x", "y"))
        table = table.assign(x=x, y=y, side=side)
        for name in ("taxonID", "scientificName", "occurrenceStatus", "sampling", "datasetID"):
            table[name] = table[name].astype("category")
        return table


class Occurrences(Unchanging):
    """The records that are told, numbered as if there were no others."""

    fields: Mapping[str, Schema] = (
        {name: {"type": "string"} for name in ("taxonID", "scientificName", "occurrenceStatus", "datasetID", "basis")}
        | {name: {"type": "integer"} for name in ("year", "coordinateUncertaintyInMeters")}
        | {"dataGeneralizations": {"type": "string"}}
    )
    parameters: Sequence[Parameter] = (
        *(Parameter(name=name, about=f"records of this {name}", schema=text()) for name in ("taxonID", "scientificName", "datasetID")),
        Parameter(name="year", about="records of this year", schema={"type": "integer", "minimum": 0, "maximum": 9999}),
    )

    def __init__(self, records: Records, *, hidden: frozenset[str] = frozenset(), words: Mapping[str, str] | None = None) -> None:
        """`hidden`: taxa that are not told; `words`: what is said of each sensitive taxon."""
        self._records, self._hidden, self._words = records, hidden, words or {}

    def page(self, query: Query, offset: int, limit: int) -> tuple[list[Feature], int | None]:
        """See `Features.page`. A time finds the records of its years."""
        table = self._records.table
        meets = np.ones(len(table), bool)
        for name, value in query.equal.items():
            meets &= (table[name] == (int(value) if name == "year" else value)).to_numpy()
        start, end = query.times
        year = table["year"].to_numpy()
        meets &= ((year >= start.year) if start else True) & ((year <= end.year) if end else True)
        if query.box:
            area = query.box.polygon(self._records.crs)
            meets &= shapely.intersects_xy(area, table["x"].to_numpy(), table["y"].to_numpy()) if area is not None else False
        found = np.flatnonzero(meets[self._told])
        return [self._feature(int(i)) for i in found[offset : offset + limit]], len(found)

    def by_id(self, id: str) -> Feature | None:
        """See `Features.by_id`."""
        return self._feature(int(id)) if id.isdecimal() and len(id) < 12 and int(id) < len(self._told) else None

    def nearest(self, x: float, y: float, count: int) -> list[dict[str, Any]]:
        """The records of presence nearest to a place (in the records' CRS), by the distance to the middles of their squares."""
        rows, east, north = self._present
        away = np.hypot(east - x, north - y)
        near = np.argpartition(away, count)[:count] if len(away) > count else np.arange(len(away))
        found = near[np.lexsort((near, away[near]))].tolist()
        return [
            {
                "taxonID": str(row["taxonID"]),
                "scientificName": str(row["scientificName"]),
                "year": int(row["year"]) if np.isfinite(row["year"]) else None,
                "distance_m": round(float(away[i])),
                "square_m": int(row["side"]),
                "basis": str(row["sampling"]),
            }
            for i, row in ((i, self._records.table.iloc[rows[i]]) for i in found)
        ]

    @cached_property
    def _present(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Rows of the records of presence that are told, and where their squares' middles lie."""
        table = self._records.table
        rows = self._told[(table["occurrenceStatus"] == "present").to_numpy()[self._told]]
        return rows, table["x"].to_numpy()[rows], table["y"].to_numpy()[rows]

    @cached_property
    def _told(self) -> npt.NDArray[np.intp]:
        """Rows of the records that are told. (Threads that come together find the same.)"""
        return np.flatnonzero(~self._records.table["taxonID"].isin(self._hidden).to_numpy())

    def _feature(self, i: int) -> Feature:
        row = self._records.table.iloc[self._told[i]]
        longitude, latitude = transformer(self._records.crs, CRS84.name).transform(row["x"], row["y"])
        properties: dict[str, Any] = {
            "taxonID": str(row["taxonID"]),
            "scientificName": str(row["scientificName"]),
            "occurrenceStatus": str(row["occurrenceStatus"]),
            "datasetID": str(row["datasetID"]),
            "basis": str(row["sampling"]),
            "year": int(row["year"]) if np.isfinite(row["year"]) else None,
            "coordinateUncertaintyInMeters": int(row["side"]),
        }
        if row["generalised"]:
            properties["dataGeneralizations"] = self._words.get(properties["taxonID"]) or (
                f"Told in a square of {row['generalised']} m: recorded together with a sensitive species"
            )
        point = {"type": "Point", "coordinates": [round(longitude, 7), round(latitude, 7)]}
        return {"type": "Feature", "id": str(i), "geometry": point, "properties": properties}


def _sides(uncertainty: npt.NDArray[np.float64], least: int) -> npt.NDArray[np.float64]:
    """The side of each record's square: the smallest that is no narrower than its uncertainty and than `least`."""
    squares = np.array(SQUARES, float)
    wanted = np.maximum(np.where(np.isfinite(uncertainty), uncertainty, UNKNOWN), least)
    return squares[np.minimum(np.searchsorted(squares, wanted), len(squares) - 1)]
