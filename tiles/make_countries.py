"""Countries of the world by ISO code -> geoplantnet/identify/data/countries.parquet: what tells land from sea, and one country from another.

    python tiles/make_countries.py ../shared/data

Reads boundaries/countries-50m.json (world-atlas 2.0.2, TopoJSON of Natural Earth 1:50 m) and writes code, name, geometry (WKB; longitude, latitude
of WGS 84, degrees to four decimals). ISO 3166-1 numeric codes become alpha-2 by the package pycountry, which only this script needs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pycountry
import pyogrio
import shapely
from shapely import affinity
from shapely.geometry.base import BaseGeometry

from geoplantnet.storage import write_beside

CODES = {
    "Kosovo": "XK",
    "N. Cyprus": "CY",
    "Somaliland": "SO",
    "Indian Ocean Ter.": "AU",
    "Siachen Glacier": "IN",
    "Ashmore and Cartier Is.": "AU",
}
"""Features without an own code. Natural Earth draws de facto lines; the codes follow ISO 3166, XK is user-assigned."""
CRIMEA = shapely.box(32.0, 44.0, 36.7, 46.3)
"""Drawn as a part of RU, a part of UA in ISO 3166."""


def cut(polygon: BaseGeometry) -> BaseGeometry:
    """A polygon whose rings jump across 180 degrees, as valid polygons on either side of it."""
    halves = []
    for part in shapely.get_parts(polygon):
        rings = [_unrolled(np.asarray(ring.coords)) for ring in (part.exterior, *part.interiors)]
        whole = shapely.make_valid(shapely.Polygon(rings[0], rings[1:]))
        for turn in (-360, 0, 360):
            band = shapely.intersection(whole, shapely.box(-180 - turn, -90, 180 - turn, 90))
            halves.append(affinity.translate(band, xoff=turn))
    areas = [p for half in halves for p in shapely.get_parts(half) if p.geom_type == "Polygon"]
    return shapely.union_all(areas)


def _unrolled(ring: np.ndarray) -> np.ndarray:
    """The ring without jumps; one that goes once around a pole is closed along it."""
    longitude = np.degrees(np.unwrap(np.radians(ring[:, 0])))
    open_ring = np.column_stack([longitude, ring[:, 1]])
    if abs(longitude[-1] - longitude[0]) < 180:
        return open_ring
    pole = np.copysign(90, ring[:, 1].mean())
    return np.vstack([open_ring, [(longitude[-1], pole), (longitude[0], pole)]])


def main(data: Path, target: Path) -> None:
    """Write the file and say what it holds."""
    table = pyogrio.read_dataframe(data / "boundaries" / "countries-50m.json", layer="countries")
    alpha2 = {country.numeric: country.alpha_2 for country in pycountry.countries}
    code = [CODES.get(name) or alpha2[number] for name, number in zip(table["name"], table["id"])]
    shapes = np.array([shapely.set_precision(cut(polygon), 1e-4) for polygon in table.geometry], object)
    russia, ukraine = code.index("RU"), code.index("UA")
    parts = shapely.get_parts(shapes[russia])
    crimea = shapely.within(parts, CRIMEA)
    shapes[russia], shapes[ukraine] = shapely.union_all(parts[~crimea]), shapely.union_all([shapes[ukraine], *parts[crimea]])
    grouped = pd.DataFrame(
        {"code": code, "name": table["name"], "own": [n not in CODES or n == "Kosovo" for n in table["name"]], "shape": shapes}
    )
    rows = []
    for each, group in grouped.sort_values(["code", "own"], ascending=[True, False], kind="stable").groupby("code"):
        rows.append((each, group["name"].iloc[0], shapely.to_wkb(shapely.normalize(shapely.union_all(group["shape"].to_numpy())))))
    with write_beside(target) as temporary:
        pd.DataFrame(rows, columns=["code", "name", "geometry"]).to_parquet(
            temporary, index=False, compression="zstd", compression_level=19
        )
    print(f"{target}: {len(rows)} countries, {target.stat().st_size} bytes, {int(crimea.sum())} parts moved")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parents[1] / "geoplantnet" / "identify" / "data" / "countries.parquet")
