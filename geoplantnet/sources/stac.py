"""Items of a STAC API or of a static catalog that meet a GeoBox, in a fixed order, each once; and their assets, checked.

    endpoint = StacEndpoint(url="https://earth-search.aws.element84.com/v1")
    patience = endpoint.budget.begin()
    items = search(endpoint, collection="sentinel-2-c1-l2a", geobox=box, start=start, end=end, patience=patience)
    with opened(endpoint, items, patience) as assets:
        cube = with_retries(lambda: odc.stac.load(items, geobox=box, nodata=0, patch_url=assets, ...), patience, assets=assets)

The search is pystac-client's; going to the network is `sources.http`'s.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import quote, urljoin, urlsplit

import numpy as np
import numpy.typing as npt
import pystac
import shapely
import shapely.geometry
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pystac_client import Client
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import PystacClientWarning
from requests.adapters import BaseAdapter
from shapely.geometry.base import BaseGeometry

from geoplantnet.errors import ConfigurationError, CrsError, InputError, did_you_mean
from geoplantnet.sources.http import Assets, Budget, Expected, Http, Patience, Sign, gdal_environment, public
from geoplantnet.sources.signing import AzureTokens, S3Signature

Signing: TypeAlias = Literal["none", "planetary-computer", "headers", "s3"]

_LOG = logging.getLogger(__name__)
_PAGE = 100  # items asked a page: what most servers allow
_DENSITY = 16  # points along each side of a GeoBox when its outline is brought to longitude and latitude
_AZURE = AzureTokens()  # tokens are worth keeping from one tile to the next


@dataclass(frozen=True, kw_only=True)
class StacEndpoint:
    """Where items come from, and how their assets may be read."""

    url: str
    """Root of an API, or path or URL of a static catalog, collection, item or FeatureCollection (.json, .geojson), or items a line (.ndjson)."""
    sign: Signing = "none"
    """"planetary-computer": a token in the URL of each asset; "s3": Amazon's signature; "headers": `headers` are enough."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent to the endpoint's own host and to `header_hosts`, to no other. ``${NAME}``: an environment variable, looked up at use."""
    header_hosts: tuple[str, ...] = ()
    alternate: str = ""
    """Read assets at this alternate address of theirs, such as "s3" (STAC alternate-assets extension), where they have it."""
    gdal: Mapping[str, str] = field(default_factory=dict, repr=False)
    """More GDAL options; of s3: AWS_NO_SIGN_REQUEST, AWS_REQUEST_PAYER, AWS_REGION, AWS_S3_ENDPOINT."""
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        if self.sign not in ("none", "planetary-computer", "headers", "s3"):
            raise ConfigurationError(f"sign {self.sign!r} is unknown; use none, planetary-computer, headers or s3")
        if self.sign == "headers" and not self.headers:
            raise ConfigurationError(f"{public(self.url)}: sign: headers, but there are no headers; add some, or sign: none")
        if self.headers and not self.is_remote:
            raise ConfigurationError(f"{self.url} is a path of this machine, headers cannot be sent to it; leave them out")
        for name in ("headers", "gdal"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        object.__setattr__(self, "header_hosts", tuple(self.header_hosts))

    def __hash__(self) -> int:
        return hash((self.url, self.sign, self.budget))

    @property
    def is_remote(self) -> bool:
        """Whether the catalog is asked over the network."""
        return urlsplit(self.url).scheme in ("http", "https")

    def http(self, patience: Patience, *, assets: bool = False, adapter: BaseAdapter | None = None) -> Http:
        """The way to the network for this endpoint; `assets` signs as assets need it."""
        hosts = frozenset(h for h in (urlsplit(self.url).hostname, *self.header_hosts) if h)
        sign: Sign | None = None
        if assets and self.sign == "planetary-computer":
            sign = _AZURE
        elif assets and (self.sign == "s3" or self.gdal):
            sign = S3Signature(self.gdal)
        https_only = urlsplit(self.url).scheme == "https"
        return Http(patience, headers=self.headers, hosts=hosts, https_only=https_only, sign=sign, adapter=adapter)


class Items(list[pystac.Item]):
    """Items by (datetime, id), each once; and what was left out, and why."""

    def __init__(self, items: Iterable[pystac.Item] = (), rejected: Mapping[str, tuple[str, ...]] | None = None) -> None:
        super().__init__(items)
        self.rejected: dict[str, tuple[str, ...]] = dict(rejected or {})
        """Reason -> ids of the items rejected for it, sorted."""


def search(
    endpoint: StacEndpoint,
    *,
    collection: str,
    geobox: GeoBox,
    start: datetime,
    end: datetime,
    max_cloud: float | None = None,
    query: Mapping[str, Mapping[str, Any]] | None = None,
    patience: Patience | None = None,
) -> Items:
    """Items whose footprint meets `geobox` (give it with its margin) and whose time is in [start, end), UTC.

    `max_cloud` is the highest `eo:cloud_cover`, percent, inclusive; `query` is that of the STAC query extension, such as
    ``{"platform": {"eq": "sentinel-2a"}}``. Both are asked of servers that know how, and applied here in any case.
    No item is an empty list. An item without id, geometry, time or assets, or without a property that is compared, is
    rejected and counted in `rejected`.

    Raises TryAgain when the budget is spent; InputError for a catalog that breaks the standard, pages without end, or a geobox
    that is not on the globe; ConfigurationError for a server that refuses.
    """
    patience = patience or endpoint.budget.begin()
    start, end = _utc(start), _utc(end)
    if not start < end:
        raise ConfigurationError(f"time {start.isoformat()} to {end.isoformat()} holds nothing; the end must come after the start")
    conditions: dict[str, Mapping[str, Any]] = {name: dict(tests) for name, tests in (query or {}).items()}
    if max_cloud is not None:
        conditions["eo:cloud_cover"] = {**conditions.get("eo:cloud_cover", {}), "lte": max_cloud}
    _check_conditions(conditions)
    outline = footprint(geobox)
    found: dict[str, tuple[datetime, pystac.Item]] = {}
    rejected: dict[str, set[str]] = {}
    duplicates = 0
    collections: set[str] = set()
    for feature in _features(endpoint, collection, outline, start, end, conditions, patience):
        collections.add(str(feature.get("collection", collection)))
        name = str(feature.get("id") or "(no id)")
        reason, when, item = _judged(_at_alternate(feature, endpoint.alternate), collection, outline, start, end, conditions)
        if reason is not None:
            rejected.setdefault(reason, set()).add(name)
        elif item is not None and when is not None:
            duplicates += name in found
            found.setdefault(name, (when, item))
    if collections and collection not in collections:
        raise ConfigurationError(
            f"{public(endpoint.url)} has no collection {collection!r}; it has {', '.join(sorted(collections))}."
            + did_you_mean(collection, collections)
        )
    result = Items(
        (item for _, (_, item) in sorted(found.items(), key=lambda entry: (entry[1][0], entry[0]))),
        {reason: tuple(sorted(names)) for reason, names in sorted(rejected.items())},
    )
    if result.rejected or duplicates:
        counts = ", ".join(f"{len(names)} {reason}" for reason, names in result.rejected.items())
        _LOG.warning(
            "%s %s: %d items; left out: %s; repeated: %d", public(endpoint.url), collection, len(result), counts or "none", duplicates
        )
    return result


@contextmanager
def opened(endpoint: StacEndpoint, items: Iterable[pystac.Item], patience: Patience) -> Iterator[Assets]:
    """What opens the assets of items: `patch_url` of odc.stac.load, or `rasterio.open(assets(href))`. GDAL's options are set inside."""
    expected = {
        href: Expected(
            size=size if isinstance(size := asset.extra_fields.get("file:size"), int) else None,
            checksum=asset.extra_fields.get("file:checksum"),
        )
        for item in items
        for asset in item.assets.values()
        if (href := asset.get_absolute_href()) is not None
    }
    assets = Assets(endpoint.http(patience, assets=True), expected=expected, local=not endpoint.is_remote)
    with closing(assets.http), gdal_environment(endpoint.gdal):
        try:
            yield assets
        finally:
            assets.forget()


def footprint(geobox: GeoBox) -> BaseGeometry:
    """Outline of a GeoBox in longitude and latitude: a polygon, or two where it crosses the antimeridian.

    Raises CrsError without a CRS, InputError where the CRS has no such place or the outline runs around a pole.
    """
    if geobox.crs is None:
        raise CrsError("the GeoBox has no CRS; build it with crs='EPSG:3035' or the grid's own CRS")
    to_globe, back = geobox.crs.transformer_to_crs(CRS("EPSG:4326")), CRS("EPSG:4326").transformer_to_crs(geobox.crs)
    ring = np.asarray(geobox.boundary(_DENSITY), float)
    a = geobox.affine
    x, y = a.a * ring[:, 0] + a.b * ring[:, 1] + a.c, a.d * ring[:, 0] + a.e * ring[:, 1] + a.f
    lon, lat = (np.asarray(v, float) for v in to_globe(x, y))
    bounds = ", ".join(f"{v:.0f}" for v in geobox.boundingbox)
    finite = np.isfinite(lon).all() and np.isfinite(lat).all()
    if finite:
        again = np.stack([np.asarray(v, float) for v in back(lon, lat)])
        finite = bool(np.abs(again - np.stack([x, y])).max() <= abs(geobox.resolution.x))
    if not finite or np.abs(lat).max() > 90:
        raise InputError(f"GeoBox {bounds} of {geobox.crs} is not on the globe; take a tile inside the area of its CRS")
    lon = _unwrapped(lon)
    if (abs(lon[-1] - lon[0]) > 180 and _closed(ring)) or np.ptp(lon) > 180:
        raise InputError(f"GeoBox {bounds} of {geobox.crs} holds a pole or half the globe; take a smaller tile")
    return _split(shapely.Polygon(np.column_stack([lon, lat])))


def _closed(ring: npt.NDArray[np.float64]) -> bool:
    return bool((ring[0] == ring[-1]).all())


def _unwrapped(lon: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Longitudes without jumps of 360 degrees."""
    return np.unwrap(lon, period=360)


def _split(polygon: BaseGeometry) -> BaseGeometry:
    """A polygon whose longitudes leave -180..180, brought back in parts."""
    west, _, east, _ = polygon.bounds
    parts = []
    for turn in range(int(np.floor((west + 180) / 360)), int(np.floor((east + 180) / 360)) + 1):
        part = shapely.intersection(polygon, shapely.box(-180 + 360 * turn, -90, 180 + 360 * turn, 90))
        if part.area > 0:
            parts.append(shapely.transform(part, lambda xy, turn=turn: xy - [360 * turn, 0]))  # type: ignore[misc]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon([p for part in parts for p in getattr(part, "geoms", [part])])


def _ground(geometry: Mapping[str, Any]) -> BaseGeometry:
    """The place of an item. Rings that jump from 180 to -180 degrees mean the short way round. Raises ValueError."""
    try:
        shape = shapely.geometry.shape(geometry)
    except Exception as error:  # shapely raises nearly anything for a malformed geometry
        raise ValueError(str(error)) from error
    if shape.is_empty or not np.isfinite(shape.bounds).all():
        raise ValueError("empty")
    west, _, east, _ = shape.bounds
    if east - west > 180 and shape.geom_type in ("Polygon", "MultiPolygon"):
        polygons = getattr(shape, "geoms", [shape])
        rings = [np.asarray(polygon.exterior.coords)[:, :2] for polygon in polygons]
        shape = shapely.union_all(
            [shapely.make_valid(shapely.Polygon(np.column_stack([_unwrapped(ring[:, 0]), ring[:, 1]]))) for ring in rings]
        )
    return shapely.make_valid(shape)


def _meets(shape: BaseGeometry, outline: BaseGeometry) -> bool:
    return any(shapely.intersects(shapely.transform(shape, lambda xy, t=turn: xy + np.array([t, 0])), outline) for turn in (0, 360, -360))  # type: ignore[misc]


def _judged(
    feature: Mapping[str, Any],
    collection: str,
    outline: BaseGeometry,
    start: datetime,
    end: datetime,
    conditions: Mapping[str, Mapping[str, Any]],
) -> tuple[str | None, datetime | None, pystac.Item | None]:
    """Why an item is rejected, its time, the item: (reason, None, None), (None, when, item) or, not wanted, three times None."""
    if not isinstance(feature.get("id"), str) or not feature["id"]:
        return "without id", None, None
    if feature.get("collection", collection) != collection:
        return None, None, None
    if not (isinstance(feature.get("assets"), dict) and feature["assets"]):
        return "without assets", None, None
    properties = feature.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    try:
        when = _utc(datetime.fromisoformat(properties.get("datetime") or properties["start_datetime"]))
    except (KeyError, ValueError, TypeError):
        return "without a readable datetime", None, None
    if not feature.get("geometry"):
        return "without geometry", None, None
    try:
        shape = _ground(feature["geometry"])
    except ValueError:
        return "with a malformed geometry", None, None
    if not (start <= when < end) or not _meets(shape, outline):
        return None, None, None
    for name, tests in conditions.items():
        if properties.get(name) is None:
            return f"without {name}, which is compared", None, None
        if not all(_COMPARISONS[operator](properties[name], value) for operator, value in tests.items()):
            return None, None, None
    try:
        item = pystac.Item.from_dict(dict(feature))
        for asset in item.assets.values():
            asset.get_absolute_href()  # raises for an address that is none
        return None, when, item
    except Exception:  # pystac raises nearly anything for a malformed item
        return "that are no STAC items", None, None


def _comparable(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def safe(a: Any, b: Any) -> bool:
        try:
            return compare(a, b)
        except TypeError:
            return False

    return safe


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "lt": _comparable(lambda a, b: a < b),
    "lte": _comparable(lambda a, b: a <= b),
    "gt": _comparable(lambda a, b: a > b),
    "gte": _comparable(lambda a, b: a >= b),
    "in": _comparable(lambda a, b: a in b),
    "startsWith": _comparable(lambda a, b: str(a).startswith(b)),
    "endsWith": _comparable(lambda a, b: str(a).endswith(b)),
    "contains": _comparable(lambda a, b: b in a),
}
_CQL2 = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "in": "in"}


def _check_conditions(conditions: Mapping[str, Mapping[str, Any]]) -> None:
    for name, tests in conditions.items():
        unknown = [operator for operator in tests if operator not in _COMPARISONS]
        if unknown or not tests:
            raise ConfigurationError(f"query: {name} is compared by {unknown or 'nothing'}; use {', '.join(_COMPARISONS)}")


def _features(
    endpoint: StacEndpoint,
    collection: str,
    outline: BaseGeometry,
    start: datetime,
    end: datetime,
    conditions: Mapping[str, Mapping[str, Any]],
    patience: Patience,
) -> Iterator[dict[str, Any]]:
    """Items as a server or a catalog gives them, with absolute addresses of their assets; some twice, some not wanted."""
    if not endpoint.is_remote:
        yield from _walk(endpoint.url, _read_local, patience)
        return
    with closing(endpoint.http(patience)) as http:
        yield from _remote_features(endpoint, collection, outline, start, end, conditions, _RobustIO(http), patience)


def _remote_features(
    endpoint: StacEndpoint,
    collection: str,
    outline: BaseGeometry,
    start: datetime,
    end: datetime,
    conditions: Mapping[str, Mapping[str, Any]],
    io: _RobustIO,
    patience: Patience,
) -> Iterator[dict[str, Any]]:
    root = io.document(endpoint.url)
    if "conformsTo" not in root:
        yield from _walk(endpoint.url, lambda href: root if href == endpoint.url else io.document(href), patience)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PystacClientWarning)  # a server that forgets to say what it can is asked all the same
        client = _client(endpoint, root, io)
        links = [link for link in client.get_links("search") if link.get_absolute_href()]
        if not links:
            raise ConfigurationError(f"{public(endpoint.url)} has no search; give the address of an API that has, or of a static catalog")
        post = any(str(link.extra_fields.get("method", "")).upper() == "POST" for link in links)
        asked: dict[str, Any] = {}
        if conditions and client.conforms_to("QUERY"):
            asked["query"] = conditions
        elif conditions and post and client.conforms_to("FILTER"):
            asked["filter"], asked["filter_lang"] = _as_cql2(conditions), "cql2-json"
        empty = True
        for polygon in getattr(outline, "geoms", [outline]):
            for feature in client.search(
                method="POST" if post else "GET",
                collections=[collection],
                bbox=list(polygon.bounds),
                datetime=(start, end),
                limit=_PAGE,
                **asked,
            ).items_as_dicts():
                empty = False
                yield _with_absolute_assets(feature, _self_of(feature) or endpoint.url)
        if empty and client.get_single_link("data") is not None:  # an unknown collection is empty, too
            _require_collection(endpoint, collection, io)


def _require_collection(endpoint: StacEndpoint, collection: str, io: _RobustIO) -> None:
    """Raise ConfigurationError, with the nearest spellings, when an API does not have a collection."""
    every = f"{endpoint.url.rstrip('/')}/collections"
    try:
        io.document(f"{every}/{quote(collection)}")
    except ConfigurationError as unknown:
        raise ConfigurationError(f"{unknown}.{did_you_mean(collection, io.collections(every))}") from unknown


def _client(endpoint: StacEndpoint, root: dict[str, Any], io: StacApiIO) -> Client:
    """pystac-client on our way to the network. Raises InputError when the root is none."""
    try:
        client = Client.from_dict(root, href=endpoint.url, preserve_dict=False, migrate=True)
    except Exception as error:  # pystac raises nearly anything for a malformed document
        raise InputError(f"{public(endpoint.url)} is no root of a STAC API ({type(error).__name__}: {error}); mend the address") from error
    client._stac_io = io
    client.set_self_href(endpoint.url)
    client.set_root(client)  # or every link asks for it again
    return client


def _self_of(feature: Mapping[str, Any]) -> str | None:
    return next((link["href"] for link in _links(feature) if link.get("rel") == "self"), None)


def _as_cql2(conditions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Conditions as CQL2 JSON; those it has no plain word for are left to us."""
    terms = [
        {"op": _CQL2[operator], "args": [{"property": name}, value]}
        for name, tests in conditions.items()
        for operator, value in tests.items()
        if operator in _CQL2
    ]
    return {"op": "and", "args": terms}


def _walk(root: str, read: Callable[[str], Any], patience: Patience) -> Iterator[dict[str, Any]]:
    """Items of a static catalog, document after document, each read once; no more than the budget allows."""
    pending, seen, count = [root], {root}, 0
    while pending:
        href = pending.pop()
        document = read(href)
        kind = document.get("type")
        if kind == "FeatureCollection":
            features = document.get("features") or []
        elif kind == "Feature":
            features = [document]
        elif kind in ("Catalog", "Collection"):
            features = []
            for link in reversed(_links(document)):
                if link.get("rel") in ("child", "item", "items"):
                    target = _resolved(link["href"], href)
                    if target not in seen:
                        seen.add(target)
                        pending.append(target)
        else:
            raise InputError(f"{public(href)} is a {kind!r}, no STAC catalog, collection, item or FeatureCollection; mend the address")
        if len(seen) > patience.budget.max_pages:
            raise InputError(
                f"{public(root)} has more than {patience.budget.max_pages} documents; raise max_pages of the budget or use an API"
            )
        if not (isinstance(features, list) and all(isinstance(feature, dict) for feature in features)):
            raise InputError(f"{public(href)} has features that are no objects; mend the catalog")
        count += len(features)
        if count > patience.budget.max_items:
            raise InputError(f"{public(root)} has more than {patience.budget.max_items} items; raise max_items of the budget or use an API")
        for feature in features:
            yield _with_absolute_assets(feature, href)


def _links(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Links of a document that lead anywhere."""
    links = document.get("links")
    return [k for k in links if isinstance(k, dict) and isinstance(k.get("href"), str) and k["href"]] if isinstance(links, list) else []


def _with_absolute_assets(feature: dict[str, Any], base: str) -> dict[str, Any]:
    if not isinstance(feature.get("assets"), dict):
        return feature
    assets = {
        name: {**asset, "href": _resolved(asset["href"], base)} if isinstance(asset, dict) and isinstance(asset.get("href"), str) else asset
        for name, asset in feature["assets"].items()
    }
    return {**feature, "assets": assets}


def _at_alternate(feature: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A feature whose assets have the addresses called `name` in the place of their first."""
    if not name or not isinstance(feature.get("assets"), dict):
        return feature
    assets = {}
    for key, asset in feature["assets"].items():
        others = asset.get("alternate") if isinstance(asset, dict) else None
        other = others.get(name) if isinstance(others, dict) else None
        assets[key] = {**asset, "href": other["href"]} if isinstance(other, dict) and other.get("href") else asset
    return {**feature, "assets": assets}


def _resolved(href: str, base: str) -> str:
    """An address relative to the document that holds it; one that is malformed stays, and is refused where it is asked for."""
    try:
        if urlsplit(href).scheme:
            return href
        if urlsplit(base).scheme in ("http", "https"):
            return urljoin(base, href)
    except ValueError:
        return href
    return os.path.normpath(Path(base).absolute().parent / href)


def _read_local(path: str) -> Any:
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".ndjson":
            return {"type": "FeatureCollection", "features": [json.loads(line) for line in text.splitlines() if line.strip()]}
        document = json.loads(text)
    except OSError as error:
        raise InputError(f"catalog {path} cannot be read: {error.strerror}; mend the path") from error
    except ValueError as error:
        raise InputError(f"catalog {path} is no JSON: {error}; fetch it again") from error
    if not isinstance(document, dict):
        raise InputError(f"catalog {path} holds a {type(document).__name__}, no STAC object; fetch it again")
    return document


class _RobustIO(StacApiIO):
    """pystac-client's way to the network, by `Http`: retries, checks, and an end to endless pages."""

    def __init__(self, http: Http) -> None:
        super().__init__(max_retries=None)
        self._http = http

    def document(self, url: str) -> Any:
        return self._http.json(url, check=_wrong_document)

    def collections(self, url: str) -> list[str]:
        """Ids of an API's collections; none where it does not tell."""
        try:
            told = self._http.json(url, params={"limit": 1000})["collections"]
            return [c["id"] for c in told]
        except (ConfigurationError, KeyError, TypeError):
            return []

    def request(self, href: str, method: str | None = None, headers: Any = None, parameters: Any = None) -> str:
        return json.dumps(self._ask(href, method, headers, parameters))

    def get_pages(self, url: str, method: str | None = None, parameters: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        budget, count, number = self._http.patience.budget, 0, 0
        asked: set[str] = set()
        request: tuple[str, str, Any, Any] | None = (url, method or "GET", None, parameters)
        while request is not None:
            key = json.dumps([request[0], request[1], request[3]], sort_keys=True, default=str)
            number += 1
            if key in asked:
                raise InputError(
                    f"{public(url)}: page {number} leads back to an earlier page; the server's paging is broken, ask its operator"
                )
            if number > budget.max_pages:
                raise InputError(
                    f"{public(url)} has more than {budget.max_pages} pages; ask for less (time, cloud cover) or raise max_pages of the budget"
                )
            asked.add(key)
            page = self._ask(*request)
            count += len(page["features"])
            if count > budget.max_items:
                raise InputError(
                    f"{public(url)} has more than {budget.max_items} items; ask for less (time, cloud cover) or raise max_items of the budget"
                )
            yield page
            request = self._next(page, url, parameters)

    def _ask(self, href: str, method: str | None, headers: Any, parameters: Any) -> Any:
        if (method or "GET").upper() == "POST":
            return self._http.json(href, method="POST", body=parameters, headers=headers, check=_wrong_page)
        return self._http.json(href, params=parameters, headers=headers, check=_wrong_page)

    @staticmethod
    def _next(page: Mapping[str, Any], url: str, parameters: Mapping[str, Any] | None) -> tuple[str, str, Any, Any] | None:
        """The question for the next page: its link says all, or what to change in the first body (`merge`)."""
        link = next((link for link in _links(page) if link.get("rel") == "next"), None)
        if link is None:
            return None
        for part in ("headers", "body"):
            if not isinstance(link.get(part) or {}, dict):
                raise InputError(f"{public(url)}: its link to the next page has a {part} that is no object; ask the server's operator")
        href, method = _resolved(link["href"], url), str(link.get("method") or "GET").upper()
        if method != "POST":
            return href, method, link.get("headers"), None
        body = link.get("body") or {}
        return href, method, link.get("headers"), {**(parameters or {}), **body} if link.get("merge") else body


def _wrong_document(document: Any) -> str | None:
    if not isinstance(document, dict) or document.get("type") not in ("Catalog", "Collection", "Feature", "FeatureCollection"):
        return f"no STAC object but {str(document)[:120]}"
    return None


def _wrong_page(page: Any) -> str | None:
    if not isinstance(page, dict) or page.get("type") != "FeatureCollection" or not isinstance(page.get("features"), list):
        return f"no FeatureCollection but {str(page)[:120]}"
    if not all(isinstance(feature, dict) for feature in page["features"]):
        return "a FeatureCollection with features that are no objects"
    return None


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
