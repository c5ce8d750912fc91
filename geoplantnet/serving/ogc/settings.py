"""What an operator decides about the OGC APIs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OgcSettings:
    """Nothing of it is needed: without any, all is read from the store, and nothing outlives the server."""

    postgis: str = ""
    """Address of the database that coverage was loaded into (`geoplantnet export`), such as ``postgresql://geoplantnet_reader@db/plants``; its
    password by PGPASSWORD, ~/.pgpass or a connection service. Empty: coverage is read from the tiles' GeoPackages."""
    postgis_schema: str = "geoplantnet"
    occurrences: int = 0
    """Side of the squares (m) that the places of records are generalised to, at least; 0: records are not served."""
