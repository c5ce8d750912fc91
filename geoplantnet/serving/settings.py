"""What an operator decides about a server: addresses, limits, private layers, keys. Read nowhere but where it is handed in."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

from geoplantnet.errors import ConfigurationError

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?")
"""A host as a content security policy may name it: no wildcard, no user."""
_PATTERN = re.compile(r"[a-z0-9._*?-]{1,100}")
_PLACE = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")


@dataclass(frozen=True, kw_only=True)
class PlaceLayer:
    """A layer of polygons to choose an area from, such as communes or protected areas. Raises ConfigurationError for an id that is none."""

    id: str
    """In addresses: small letters, digits, ``-`` and ``_``."""
    title: str
    path: Path
    """GeoPackage or GeoJSON of one layer, or shapefile."""
    name: str
    """Column that names the places."""
    attribution: str = ""
    """Whose data they are, as their licence wants it told."""

    def __post_init__(self) -> None:
        if not _PLACE.fullmatch(self.id):
            raise ConfigurationError(f"serving.places: {self.id!r} is no id; use small letters, digits, - and _, such as communes")


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """A server's limits, sane for one machine behind a reverse proxy. Limits hold for each worker process.

    Raises ConfigurationError for a number that is not above zero, and for an address or pattern that is none.
    """

    url: str = ""
    """Address the server is reached by from outside, such as ``https://maps.example.org``; empty: that of each request."""
    workers: int = 1
    """Processes that share the port."""
    drain_s: int = 20
    """Seconds that requests at work have to end in, after SIGTERM."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; none by default."""
    max_connections: int = 1000
    """Open connections; further ones are answered 503."""

    max_concurrent: int = 16
    """Requests worked on at once, besides files: as many threads."""
    max_waiting: int = 64
    """Requests that wait for one of those to end."""
    max_wait_s: float = 10.0
    """Seconds one waits before it is answered 503."""
    timeout_s: float = 60.0
    """Seconds after which a request whose answer has not begun is answered 503."""
    max_downloads: int = 32
    """Files (of the catalog and the page) handed out at once: slow readers of files never hold up maps."""

    cache_bytes: int = 1_000_000_000
    """Bytes of files and predictions that a worker keeps in memory."""

    max_path: int = 2048
    """Bytes of a path, as sent."""
    max_query: int = 8192
    """Bytes of a query string, as sent."""
    max_parameters: int = 64
    """Parameters of a query string."""
    max_header_bytes: int = 16_384
    """Bytes of all header names and values."""
    max_body: int = 4_194_304
    """Bytes of a request's body."""
    body_s: float = 20.0
    """Seconds in which a body must have arrived."""
    post_paths: tuple[str, ...] = ("/ogc/processes/*/execution", "/api/upload")
    """Paths that may be posted to, ``*`` for one segment; elsewhere only GET and HEAD, and see `delete_paths`."""

    delete_paths: tuple[str, ...] = ("/ogc/jobs/*",)
    """Paths that may be deleted: jobs, by who knows their ids."""

    private_layers: tuple[str, ...] = ()
    """Patterns of layer ids, such as ``species.*``, that only keys which grant them may see."""
    keys: Path | None = None
    """File of API keys (`geoplantnet keys`); none: keys are not looked at."""

    access_log: str = "auto"
    """``json``: a line a request; ``text``: lines for people; ``none``; ``auto``: text on a terminal, else json."""
    metrics: bool = True
    """Whether ``/metrics`` is answered."""

    models: Mapping[str, Path] = field(default_factory=dict)
    """Stores of other models of the same species, by the name their maps are asked for beside the scenarios'."""

    basemap: str = "natural-earth"
    """What lies below the maps of the page: ``natural-earth`` (shipped), ``none``, or the address of tiles in Web Mercator with {z}, {x} and {y}, such
    as ``https://tiles.example.org/{z}/{x}/{y}.png`` or ``/basemap/{z}/{x}/{y}.png``: the one other host that the page may then ask, for images."""
    basemap_attribution: str = ""
    """Credit of those tiles, shown on the map."""

    postgis: str = ""
    """Address of the database that coverage was loaded into (`geoplantnet export`), such as ``postgresql://geoplantnet_reader@db/plants``; its
    password by PGPASSWORD, ~/.pgpass or a connection service. Empty: coverage is read from the tiles' GeoPackages."""
    postgis_schema: str = "geoplantnet"
    occurrences: int | None = None
    """Side of the squares (m) that the places of records are generalised to, at least; None: records are not served."""
    jobs: Path | None = None
    """Folder that keeps jobs of the OGC API Processes and their results for a day; None: they end with the server."""
    places: tuple[PlaceLayer, ...] = ()
    """Layers of polygons that planners may choose areas from."""
    scheduler: str = ""
    """Address of a Dask scheduler, such as ``tcp://10.0.0.5:8786``, whose workers see the store at the same path and do the jobs; empty: the
    server does."""

    def __post_init__(self) -> None:
        for name, value in ((f.name, getattr(self, f.name)) for f in fields(self)):
            if isinstance(value, int | float) and not isinstance(value, bool) and not value > (-1 if name == "max_waiting" else 0):
                raise ConfigurationError(f"serving.{name} is {value}; a number above 0 was expected")
        if self.url and (urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).hostname):
            raise ConfigurationError(f"serving.url is {self.url!r}; an address such as https://maps.example.org was expected")
        if self.access_log not in ("auto", "json", "text", "none"):
            raise ConfigurationError(f"serving.access_log is {self.access_log!r}; use auto, json, text or none")
        for name in self.models:
            if not _NAME.fullmatch(name):
                raise ConfigurationError(f"serving.models: {name!r} is no name; use small letters, digits, - and _")
        if self.basemap not in ("natural-earth", "none"):
            self._check_basemap()
        for pattern in self.private_layers:
            check_pattern(pattern, "serving.private_layers")
        for name in ("post_paths", "delete_paths"):
            for path in getattr(self, name):
                if not path.startswith("/"):
                    raise ConfigurationError(f"serving.{name}: {path!r} does not start with /")
        if len({place.id for place in self.places}) < len(self.places):
            raise ConfigurationError("serving.places: two layers have the same id; ids are unique")
        for network in self.trusted_proxies:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ConfigurationError(f"serving.trusted_proxies: {network!r} is no address or network ({error})") from error

    def _check_basemap(self) -> None:
        parts = urlsplit(self.basemap)
        ours = not parts.scheme and not parts.netloc and self.basemap.startswith("/")
        theirs = parts.scheme in ("http", "https") and _HOST.fullmatch(parts.netloc) is not None
        if not (ours or theirs) or not all(place in self.basemap for place in ("{z}", "{x}", "{y}")):
            raise ConfigurationError(
                f"serving.basemap is {self.basemap!r}; use natural-earth, none, or an address with {{z}}, {{x}} and {{y}}, such as "
                "https://tiles.example.org/{z}/{x}/{y}.png"
            )

    @property
    def basemap_told(self) -> dict[str, str]:
        """What the page is told of it: its kind, and of tiles their address and credit."""
        if self.basemap in ("natural-earth", "none"):
            return {"kind": self.basemap}
        return {"kind": "xyz", "url": self.basemap, "attribution": self.basemap_attribution}

    @property
    def basemap_host(self) -> str:
        """Scheme and host of the tiles below the maps, such as ``https://tiles.example.org``; empty where they are this server's own."""
        parts = urlsplit(self.basemap)
        return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def check_pattern(pattern: str, where: str) -> str:
    """A pattern of layer ids: their letters, ``*`` for any of these, ``?`` for one. Raises ConfigurationError."""
    if not _PATTERN.fullmatch(pattern):
        raise ConfigurationError(f"{where}: {pattern!r} is no pattern of layer ids; use their letters, * and ?, such as species.*")
    return pattern
