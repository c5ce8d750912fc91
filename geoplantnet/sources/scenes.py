"""One scene of Sentinel-2 or Landsat: what its numbers mean, which of its pixels count, which scenes are one date.

    harmonise   item -> Harmonised: scale, offset, mask, datatake, and why
    settled     Harmonised + its dark pixels -> Harmonised: where they disagree the pixels win
    dates       scenes -> one list a date, best first, duplicates left out

Catalogs lie both ways about the offset of Sentinel-2's processing baseline 04.00 (they say it was removed when it was not, and
that it was not when it was), and reprocessed archives carry baselines 05.xx whatever the day of sensing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pystac
import shapely
import shapely.geometry

from geoplantnet.errors import RasterError

Mask: TypeAlias = Literal["scl", "qa_pixel"]

INVALID_SCL = (0, 1, 3, 8, 9, 10)
"""Scene classes without a usable surface: no data, saturated or defective, cloud shadow, cloud (medium, high), thin cirrus.

Codes of Sen2Cor's scene classification: 2 dark area, 4 vegetation, 5 not vegetated, 6 water, 7 unclassified, 11 snow or ice.
"""
DARK_SCL = (2, 3, 4, 6)
"""Scene classes that always hold pixels of nearly no red light: dark areas, cloud shadow, vegetation, water."""

INVALID_QA = 0b11111
"""Bits of Landsat's QA_PIXEL without a usable surface: fill, dilated cloud, cirrus, cloud, cloud shadow."""
SNOW_QA = 1 << 5

MASK_FILL: dict[Mask, int] = {"scl": 0, "qa_pixel": 1}
"""What a mask holds outside its scene."""

OFFSET = -1000
"""What baselines from 04.00 (25 January 2022) ask to add to the stored numbers, in all bands (BOA_ADD_OFFSET)."""

_DARK_PERCENTILE = 2.0
_FEWEST_DARK = 200  # samples; fewer say nothing
_SURELY_BARE = 800  # stored red: with the offset of 1000 in it, it would be a reflectance of -0.02
_SURELY_RAISED = (1000, 2000)  # stored red of the darkest 2 % of dark classes: without an offset, a reflectance of .1 to .2
_LANDSAT_SCALE, _LANDSAT_OFFSET = 0.0000275, -0.2  # Collection 2 level 2 surface reflectance, all sensors

_SYNONYMS = {
    **{"nir": ("nir08",), "swir1": ("swir16",), "swir2": ("swir22",), "nir08": ("nir",), "swir16": ("swir1",), "swir22": ("swir2",)},
    **{"B01": ("coastal",), "B02": ("blue",), "B03": ("green",), "B04": ("red",), "B05": ("rededge1",), "B06": ("rededge2",)},
    **{"B07": ("rededge3",), "B08": ("nir",), "B8A": ("nir08",), "B09": ("nir09",), "B11": ("swir16",), "B12": ("swir22",)},
}
"""Other names of the same light: common names of Landsat's bands, and Sentinel-2's bands by Earth Search."""

_NEWER = {"blue": 2, "green": 3, "red": 4, "nir": 5, "swir1": 6, "swir2": 7}  # Landsat 8 and 9: SR_B<n>
_OLDER = {"blue": 1, "green": 2, "red": 3, "nir": 4, "swir1": 5, "swir2": 7}  # Landsat 4, 5 and 7


class Unusable(Exception):
    """Why an item is left out: a few words, the same for the same trouble; it is counted and reported, not raised to users."""


@dataclass(frozen=True, kw_only=True)
class Harmonised:
    """What makes reflectance of a scene's stored numbers: (stored + offset) * scale."""

    id: str
    collection: str
    when: datetime
    """Time of sensing, UTC."""
    scale: float
    offset: float
    """Added to the stored numbers before they are scaled; whole numbers for Sentinel-2."""
    mask: Mask
    datatake: str
    """Scenes of one datatake are one observation: its id without the baseline, or platform, orbit and day."""
    place: str
    """The granule: MGRS tile, or path and row; empty when unknown."""
    rank: tuple[Any, ...]
    """Of two scenes of one granule and datatake the higher wins: baseline, then time of processing."""
    why: str
    """How the offset was decided, for people and provenance."""
    assets: Mapping[str, str]
    """Our name of a band -> address."""
    baseline: str | None = None
    geometry: Mapping[str, Any] | None = field(default=None, compare=False)
    checksums: Mapping[str, str] = field(default_factory=dict)
    """Our name of a band -> `file:checksum` of its asset, where the item has one."""

    @property
    def lowest(self) -> float:
        """The lowest offset scenes of its kind can have: brought to it, none loses its darkest pixels."""
        return OFFSET if self.mask == "scl" else self.offset

    def provenance(self) -> dict[str, Any]:
        """What a product says about a scene it is made of."""
        said: dict[str, Any] = {"id": self.id, "collection": self.collection, "datetime": self.when.strftime("%Y-%m-%dT%H:%M:%SZ")}
        if self.baseline is not None:
            said["baseline"] = self.baseline
        said |= {"scale": self.scale, "offset": self.offset, "why": self.why}
        return said | ({"checksums": dict(sorted(self.checksums.items()))} if self.checksums else {})


def harmonise(item: pystac.Item, bands: Sequence[str], assets: Mapping[str, str] | None = None, *, mask: str) -> Harmonised:
    """What an item's metadata say. `assets` maps our names of bands and of the mask to the item's; without, names and
    common names are looked up. `mask` is our name of the mask: SCL or qa_pixel.

    Raises Unusable: missing assets, not surface reflectance as we know it.
    """
    found = {name: _asset(item, name, (assets or {}).get(name)) for name in (*bands, mask)}
    missing = [name for name, asset in found.items() if asset is None]
    if missing:
        raise Unusable(f"without {', '.join(missing)}")
    kept = {name: asset for name, asset in found.items() if asset is not None}
    properties = item.properties
    when = item.datetime or datetime.fromisoformat(properties["start_datetime"])
    common: dict[str, Any] = {
        "id": item.id,
        "collection": item.collection_id or "",
        "when": when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC),
        "geometry": item.geometry,
        "assets": {name: _address(asset) for name, asset in kept.items()},
        "checksums": {n: a.extra_fields["file:checksum"] for n, a in kept.items() if "file:checksum" in a.extra_fields},
    }
    if mask.lower() == "qa_pixel":
        return _landsat(item, common)
    return _sentinel2(item, kept, common, [b for b in bands if b != mask])


def _sentinel2(item: pystac.Item, assets: Mapping[str, pystac.Asset], common: dict[str, Any], bands: Sequence[str]) -> Harmonised:
    properties = item.properties
    baseline = _baseline(item)
    offset, why = _offset(properties, baseline, [_said_offset(assets[b]) for b in bands])
    processed = properties.get("s2:generation_time") or properties.get("created") or properties.get("updated") or ""
    return Harmonised(
        **common,
        scale=1e-4,
        offset=offset,
        mask="scl",
        datatake=_datatake(item, common["when"]),
        place=_mgrs(item),
        rank=(_number(baseline), str(processed), str(properties.get("s2:sequence", "")), item.id),
        why=why,
        baseline=baseline,
    )


def _landsat(item: pystac.Item, common: dict[str, Any]) -> Harmonised:
    properties = item.properties
    collection = str(properties.get("landsat:collection_number", "02"))
    if collection != "02":
        raise Unusable(f"of Landsat Collection {collection}, not 02")
    level = re.match(r"L\d", str(properties.get("landsat:correction") or next(iter(re.findall(r"^L\w\d\d_(L\d\w\w)_", item.id)), "")))
    if level is not None and level[0] != "L2":
        raise Unusable(f"of Landsat level {level[0][1]}, no surface reflectance")
    path, row = (str(properties.get(f"landsat:wrs_{name}", "")).zfill(3) for name in ("path", "row"))
    platform = str(properties.get("platform", "")).lower().replace("_", "-")
    tier = str(properties.get("landsat:collection_category", ""))
    processed = re.findall(r"_(\d{8})(?=_|$)", item.id)
    return Harmonised(
        **common,
        scale=_LANDSAT_SCALE,
        offset=_LANDSAT_OFFSET / _LANDSAT_SCALE,
        mask="qa_pixel",
        datatake=f"{platform} {path} {common['when']:%Y-%m-%d}",
        place=f"{path}{row}" if path.strip("0") else "",
        rank=({"T1": 2, "T2": 1}.get(tier, 0), processed[-1] if len(processed) > 1 else "", item.id),
        why="Landsat Collection 2 level 2",
        baseline=tier or None,
    )


def _offset(properties: Mapping[str, Any], baseline: str | None, said: Sequence[float | None]) -> tuple[int, str]:
    """What the metadata ask to add, and why."""
    applied = next((properties[k] for k in ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied") if k in properties), None)
    version = _number(baseline)
    if applied is True or str(applied).lower() == "true":
        return 0, f"baseline {baseline or 'unknown'}, boa_offset_applied is true"
    if baseline is not None and version < (4, 0):
        return 0, f"baseline {baseline} is before 04.00"
    if baseline is not None:
        flag = "" if applied is None else ", boa_offset_applied is false"
        return OFFSET, f"baseline {baseline} is not before 04.00{flag}"
    known = {round(value) for value in said if value is not None}
    if known == {OFFSET}:
        return OFFSET, "no baseline, but its bands say an offset of -0.1"
    return 0, "no baseline and no offset in the metadata"


def settled(scene: Harmonised, red: npt.NDArray[np.integer[Any]], scl: npt.NDArray[np.integer[Any]]) -> Harmonised:
    """The scene with its offset checked by pixels: `red` and its scene classes `scl`, equal shapes, sampled all over the scene.

    The darkest 2 % of vegetation, water, shadow and dark areas reflect nearly no red light. Stored below 800 they hold no
    offset of 1000; from 1000 to 2000 they hold it. In between, and where too few are seen, the metadata stand, with a note.
    """
    if scene.mask != "scl":
        return scene
    dark = red[np.isin(scl, DARK_SCL) & (red > 0)]
    if dark.size >= _FEWEST_DARK:
        low = float(np.percentile(dark, _DARK_PERCENTILE))
        seen = f"dark pixels at {low:.0f}"
        if low < _SURELY_BARE:
            return _decided(scene, 0, seen)
        if _SURELY_RAISED[0] <= low <= _SURELY_RAISED[1]:
            return _decided(scene, OFFSET, seen)
        return replace(scene, why=f"{scene.why}; {seen} do not tell")
    land = red[~np.isin(scl, INVALID_SCL) & (red > 0)]  # bright ground may lack dark classes, yet hold less than the offset
    if land.size >= _FEWEST_DARK and (low := float(np.percentile(land, _DARK_PERCENTILE))) < _SURELY_BARE:
        return _decided(scene, 0, f"clear pixels at {low:.0f}")
    return replace(scene, why=f"{scene.why}; too few dark pixels to tell")


def _decided(scene: Harmonised, offset: int, seen: str) -> Harmonised:
    if offset == scene.offset:
        return replace(scene, why=f"{scene.why}; {seen} agree")
    return replace(scene, offset=offset, why=f"{seen} say {offset}, against the metadata: {scene.why}")


def dates(scenes: Iterable[Harmonised]) -> tuple[list[list[Harmonised]], dict[str, int]]:
    """Scenes of one observation together, the best first, dates in order; and how many were left out, by reason.

    A scene is left out when a better one of its granule and datatake covers it. Granules that overlap or complete each other
    stay: their pixels are taken from the best scene that has them.
    """
    groups: dict[str, list[Harmonised]] = {}
    for scene in sorted(scenes, key=lambda s: (s.rank, s.id), reverse=True):
        groups.setdefault(scene.datatake, []).append(scene)
    kept, duplicates = [], 0
    for group in groups.values():
        chosen: list[Harmonised] = []
        for scene in group:
            if any(_covers(better, scene) for better in chosen):
                duplicates += 1
            else:
                chosen.append(scene)
        kept.append(chosen)
    kept.sort(key=lambda group: (min(s.when for s in group), group[0].id))
    return kept, {"duplicates of a datatake": duplicates} if duplicates else {}


def usable(mask: npt.NDArray[np.integer[Any]], rule: Mask, *, snow: bool = True) -> npt.NDArray[np.bool_]:
    """Where a mask shows a surface that counts; `snow` counts unless said otherwise."""
    if rule == "scl":
        table = np.ones(256, dtype=bool)
        table[[*INVALID_SCL, *(() if snow else (11,))]] = False
        return table[mask.astype(np.uint8, copy=False)]
    return (mask & (INVALID_QA | (0 if snow else SNOW_QA))) == 0


def inside(mask: npt.NDArray[np.integer[Any]], rule: Mask) -> npt.NDArray[np.bool_]:
    """Where a scene has pixels at all, clear or not."""
    return (mask & 1) == 0 if rule == "qa_pixel" else mask != 0


def _covers(better: Harmonised, scene: Harmonised) -> bool:
    if not better.place or better.place != scene.place:
        return False
    if better.geometry is None or scene.geometry is None:
        return True
    whole, part = (shapely.make_valid(shapely.geometry.shape(s.geometry)) for s in (better, scene))
    return bool(shapely.covers(shapely.buffer(whole, 1e-4), part))  # 1e-4 degrees: outlines are rounded


def _asset(item: pystac.Item, name: str, key: str | None) -> pystac.Asset | None:
    """The asset of a band: the one named so by the user, else by its key, else by the bands it says it holds."""
    if key is not None:
        return item.assets.get(key)
    wanted = [name, *_SYNONYMS.get(name, ())]
    for candidate in wanted:
        for spelling in (candidate, candidate.lower(), candidate.upper()):
            if spelling in item.assets:
                return item.assets[spelling]
    for asset in item.assets.values():
        told = asset.extra_fields.get("eo:bands") or asset.extra_fields.get("bands") or []
        if len(told) == 1 and isinstance(told[0], dict) and _is_raster(asset):
            names = {told[0].get(k) for k in ("name", "common_name", "eo:common_name")}
            if names & set(wanted):
                return asset
    if name in _NEWER:  # catalogs without common names; the numbers mean other bands on older satellites
        older = re.match(r"L[ETM][0-7]|LT0|LE0", item.id) is not None
        return item.assets.get(f"SR_B{(_OLDER if older else _NEWER)[name]}")
    return None


def _is_raster(asset: pystac.Asset) -> bool:
    kind = (asset.media_type or "").lower()
    return "tiff" in kind or "jp2" in kind or not kind


def _address(asset: pystac.Asset) -> str:
    href = asset.get_absolute_href()
    if href is None:
        raise Unusable("with relative addresses and no place of its own")
    return href


def _said_offset(asset: pystac.Asset) -> float | None:
    """The offset an asset says, in stored numbers (STAC 1.0: raster:bands, 1.1: raster:offset of the asset or its bands)."""
    fields = asset.extra_fields
    for told in (*(fields.get("raster:bands") or ()), *(fields.get("bands") or ()), fields):
        for prefix in ("", "raster:"):
            if isinstance(told, dict) and isinstance(told.get(f"{prefix}offset"), int | float):
                return float(told[f"{prefix}offset"]) / float(told.get(f"{prefix}scale") or 1e-4)
    return None


def _baseline(item: pystac.Item) -> str | None:
    """Processing baseline such as 05.09, from whatever names it."""
    properties = item.properties
    for key in ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version"):
        match = re.fullmatch(r"(\d{2})\.?(\d{2})", str(properties.get(key, "")))
        if match:
            return f"{match[1]}.{match[2]}"
    for key in ("s2:product_uri", "sentinel:product_id", "s2:datatake_id", "s2:datastrip_id"):
        match = re.search(r"_N(\d{2})\.?(\d{2})(?:_|\.|$)", str(properties.get(key, "")))
        if match:
            return f"{match[1]}.{match[2]}"
    match = re.search(r"_N(\d{2})(\d{2})_", item.id)
    return f"{match[1]}.{match[2]}" if match else None


def _number(baseline: str | None) -> tuple[int, int]:
    if baseline is None:
        return (-1, 0)
    major, minor = baseline.split(".")
    return int(major), int(minor)


def _datatake(item: pystac.Item, when: datetime) -> str:
    """A datatake's id without its baseline; else platform, start of sensing and orbit of the product; else platform and day."""
    told = str(item.properties.get("s2:datatake_id", ""))
    if told:
        return re.sub(r"_N\d{2}\.\d{2}$", "", told)
    for name in (item.properties.get("s2:product_uri"), item.properties.get("sentinel:product_id"), item.id):
        match = re.match(r"(S2[A-D])_MSIL2A_(\d{8}T\d{6})_(?:N\d{4}_)?(R\d{3})", str(name or ""))
        if match:
            return " ".join(match.groups())
    platform = str(item.properties.get("platform") or item.properties.get("constellation") or item.collection_id)
    return f"{platform.lower()} {when:%Y-%m-%d}"


def _mgrs(item: pystac.Item) -> str:
    properties = item.properties
    told = str(properties.get("grid:code") or properties.get("s2:mgrs_tile") or "")
    if told:
        return told.removeprefix("MGRS-").lstrip("T")
    for text in (str(properties.get("s2:product_uri", "")), str(properties.get("sentinel:product_id", "")), item.id):
        match = re.search(r"_T?(\d{1,2}[C-X][A-Z]{2})_", text)
        if match:
            return match[1].zfill(5)
    return ""


def scenes_of(items: Iterable[pystac.Item], read: Callable[[pystac.Item], Harmonised]) -> tuple[list[Harmonised], dict[str, int]]:
    """Items harmonised, and how many were left out, by reason. Raises RasterError when none is left of some."""
    kept: list[Harmonised] = []
    left_out: dict[str, int] = {}
    for item in items:
        try:
            kept.append(read(item))
        except Unusable as reason:
            left_out[str(reason)] = left_out.get(str(reason), 0) + 1
    if left_out and not kept:
        told = "; ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        raise RasterError(
            f"none of {sum(left_out.values())} items can be used: {told}; name the bands' assets in `assets` or ask another collection"
        )
    return kept, left_out
