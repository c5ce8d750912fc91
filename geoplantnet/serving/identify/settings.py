"""What an operator decides about an identification server: keys, quotas, limits, languages, licences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from geoplantnet.errors import ConfigurationError
from geoplantnet.serving.settings import ServerSettings

MOST_BODY = 52_428_800
"""Bytes of a request's body, all photos together, as Pl@ntNet's API takes them."""
LICENCES: Mapping[str, str] = MappingProxyType(
    {
        "cc0": "https://creativecommons.org/publicdomain/zero/1.0/",
        "cc-by": "https://creativecommons.org/licenses/by/4.0/",
        "cc-by-sa": "https://creativecommons.org/licenses/by-sa/4.0/",
        "cc-by-nc": "https://creativecommons.org/licenses/by-nc/4.0/",
        "cc-by-nc-sa": "https://creativecommons.org/licenses/by-nc-sa/4.0/",
    }
)
"""Word -> address. All let others see a photo: nothing is kept that could not be shown."""
_POSTS = (
    "/v2/identify/*",
    "/v2/survey/*/*",
    "/v2/cost/survey/*",
    "/v2/observations",
    "/v2/observations/*/votes/*",
    "/v2/observations/*/votes/image/*/*",
    "/v2/diseases/identify",
    "/v2/varieties/identify",
)
_DELETES = ("/v2/observations/*",)


@dataclass(frozen=True, kw_only=True)
class IdentifySettings:
    """An identification server's limits, sane for one machine behind a reverse proxy. Limits but quotas hold for each worker process.

    Raises ConfigurationError for a number that is not above zero (quotas may be zero), and for an address that is none.
    """

    title: str = "geoplantnet"
    """What the page and the API's document are called."""
    url: str = ""
    """Address the server is reached by from outside, such as ``https://id.example.org``; empty: that of each request."""
    keys: Path | None = None
    """File of API keys (`geoplantnet keys`); their quota is of photos identified a day. None: nobody has an account."""
    quota: Path | None = None
    """SQLite file that counts what was asked; made where it is not there. None: counted in memory, of one process, and lost with it."""
    daily_quota: int = 500
    """Identifications a day (UTC) of a key that names no quota."""
    survey_quota: int = 2000
    """Tiles of surveys a day of a key with the `daily_quota`; of others as many in proportion."""
    vote_quota: int = 2000
    """Votes a day of each key."""
    anonymous_quota: int = 500
    """Identifications, and tiles of surveys, a day of an address without a key; 0: a key is needed."""
    errors_cost: bool = True
    """Whether a request that fails by the client's making costs as one that is answered, as Pl@ntNet's free plan has it."""
    origins: tuple[str, ...] = ("*",)
    """Whose pages may read answers, such as ``https://app.example.org``; ``*``: everybody's."""
    photo_origins: tuple[str, ...] = ()
    """Origins whose photos may be named by their address, such as ``https://photos.example.org``; none by default."""
    licences: Mapping[str, str] = field(default_factory=lambda: dict(LICENCES))
    """What a contribution may be licensed by: word -> address."""
    facts: Path | None = None
    """CSV table of species: taxonID (or scientificName), scientificNameAuthorship, gbifID, powoID, iucnID, iucnCategory."""
    names: Path | None = None
    """JSON of common names: language -> taxonID -> names, as `names.json` of an offline folder; None: that of the model's folder."""
    sensitive: Path | None = None
    """CSV table of sensitive species (`geoplantnet.taxonomy.sensitive`): places of their observations are told to nobody else."""
    workers: int = 1
    """Processes that share the port."""
    decoders: int = 2
    """Processes that decode photos, of each worker."""
    drain_s: int = 20
    """Seconds that requests at work have to end in, after SIGTERM."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; none by default."""
    max_connections: int = 1000
    """Open connections; further ones are answered 503."""
    max_concurrent: int = 4
    """Requests worked on at once."""
    max_waiting: int = 64
    """Requests that wait for one of those to end."""
    max_wait_s: float = 20.0
    """Seconds one waits before it is answered 503."""
    timeout_s: float = 60.0
    """Seconds after which a request whose answer has not begun is answered 503."""
    body_s: float = 60.0
    """Seconds in which a body must have arrived."""
    max_bodies: int = 268_435_456
    """Bytes of all bodies held in memory at once; further ones are answered 503."""
    max_tiles: int = 1000
    """Tiles of one survey."""
    update_s: float = 5.0
    """Seconds between two looks whether votes have changed labels."""
    access_log: str = "auto"
    """``json``: a line a request; ``text``: lines for people; ``none``; ``auto``: text on a terminal, else json. Keys stand in none."""
    metrics: bool = True
    """Whether ``/metrics`` is answered."""

    def __post_init__(self) -> None:
        for name, value in ((f.name, getattr(self, f.name)) for f in fields(self)):
            least = -1 if name.endswith("_quota") or name == "max_waiting" else 0
            if isinstance(value, int | float) and not isinstance(value, bool) and not value > least:
                raise ConfigurationError(f"identify.{name} is {value}; a number above {least} was expected")
        for origin in self.origins:
            parts = urlsplit(origin)
            if origin != "*" and not (parts.scheme in ("http", "https") and parts.netloc and not parts.path):
                raise ConfigurationError(f"identify.origins: {origin!r} is none; write * or an address such as https://app.example.org")
        for origin in self.photo_origins:
            parts = urlsplit(origin)
            if not (parts.scheme in ("http", "https") and parts.hostname and origin == f"{parts.scheme}://{parts.netloc}".lower()):
                raise ConfigurationError(f"identify.photo_origins: {origin!r} is none; write an address such as https://photos.example.org")
        if self.keys is None and self.anonymous_quota == 0:
            raise ConfigurationError("identify: without keys and with an anonymous_quota of 0 nobody could ask; name a file of keys")

    @property
    def server(self) -> ServerSettings:
        """The same, as the guard reads it. Keys are not for the guard: it would count every request, this API counts photos."""
        return ServerSettings(
            url=self.url,
            workers=self.workers,
            drain_s=self.drain_s,
            trusted_proxies=self.trusted_proxies,
            max_connections=self.max_connections,
            max_concurrent=self.max_concurrent,
            max_waiting=self.max_waiting,
            max_wait_s=self.max_wait_s,
            timeout_s=self.timeout_s,
            max_body=MOST_BODY,
            body_s=self.body_s,
            post_paths=_POSTS,
            delete_paths=_DELETES,
            access_log=self.access_log,
            metrics=self.metrics,
        )
