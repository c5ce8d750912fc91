"""Make the shipped named grids anew: `python tiles/make_grids.py DATA [FOLDER]`.

DATA holds `boundaries/ne_countries_10m_europe.gpkg` (Natural Earth) and
`europe_env_edc/eea_grid10km_biogeographic_regions.parquet` (European Environment Agency). Same data, same bytes.
What each grid is, and why: README.md beside this file.
"""

from __future__ import annotations

import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from geoplantnet.grid.named import describe, describe_like, majority_regions, on_grid, outline, tiles_of, write_grid
from geoplantnet.grid.tile_grid import TileGrid

GRID = TileGrid()

CODES = {
    **{"Albania": "AL", "Algeria": "DZ", "Andorra": "AD", "Armenia": "AM", "Austria": "AT", "Azerbaijan": "AZ", "Belarus": "BY"},
    **{"Belgium": "BE", "Bosnia and Herz.": "BA", "Bulgaria": "BG", "Croatia": "HR", "Cyprus": "CY", "Czechia": "CZ", "Denmark": "DK"},
    **{"Estonia": "EE", "Faeroe Is.": "FO", "Finland": "FI", "France": "FR", "Georgia": "GE", "Germany": "DE", "Gibraltar": "GI"},
    **{"Greece": "GR", "Greenland": "GL", "Guernsey": "GG", "Hungary": "HU", "Iceland": "IS", "Iran": "IR", "Iraq": "IQ", "Ireland": "IE"},
    **{"Isle of Man": "IM", "Italy": "IT", "Jersey": "JE", "Kosovo": "XK", "Latvia": "LV", "Lebanon": "LB", "Liechtenstein": "LI"},
    **{"Lithuania": "LT", "Luxembourg": "LU", "Macedonia": "MK", "Malta": "MT", "Moldova": "MD", "Monaco": "MC", "Montenegro": "ME"},
    **{"Morocco": "MA", "Netherlands": "NL", "Norway": "NO", "Poland": "PL", "Portugal": "PT", "Romania": "RO", "Russia": "RU"},
    **{"San Marino": "SM", "Serbia": "RS", "Slovakia": "SK", "Slovenia": "SI", "Spain": "ES", "Sweden": "SE", "Switzerland": "CH"},
    **{"Syria": "SY", "Tunisia": "TN", "Turkey": "TR", "Ukraine": "UA", "United Kingdom": "GB", "Åland": "AX"},
    **dict.fromkeys(("N. Cyprus", "Cyprus U.N. Buffer Zone", "Akrotiri", "Dhekelia"), "CY"),
}
"""Natural Earth's names -> ISO 3166-1 alpha-2; XK (Kosovo) is user-assigned, CY is the whole island."""

BEYOND = {"AM", "AZ", "DZ", "GE", "GL", "IQ", "IR", "LB", "MA", "SY", "TN"}
"""Countries in the data that the grid `europe` does not cover; they still count as neighbours on its border tiles."""

LABELS = {
    **{"25kmE4125N2575": "Aletsch south-west", "25kmE4125N2600": "Aletsch north-west"},
    **{"25kmE4150N2575": "Aletsch south-east", "25kmE4150N2600": "Aletsch north-east"},
    **{"25kmE4175N2575": "Aletsch far south-east", "25kmE4175N2600": "Aletsch far north-east"},
    **{"25kmE4225N2625": "Glarus south-west", "25kmE4250N2625": "Glarus south-east"},
    **{"25kmE4225N2650": "Glarus north-west", "25kmE4250N2650": "Glarus north-east"},
    **{"25kmE4400N2575": "Bolzano south-west", "25kmE4425N2575": "Bolzano east"},
    **{"25kmE4400N2600": "Bolzano north", "25kmE4425N2600": "Bolzano north-east"},
}
"""The tiles of `alps`, in its order; `demo` is the first four."""

_RUSSIA_AT_180 = (
    ((-179.99242178, 68.98062728), (179.77319773, 68.98906999), (176.3714516, 65.0548007), (-172.0854594, 65.06624506)),
    ((-178.68937349, 70.99160579), (178.69000474, 70.95974522), (180.0, 71.53713309), (-178.64887921, 70.99376962)),
)
"""Two strips around the world, lon lat, that the file turned inside out where Russia crosses 180 degrees (mainland, Wrangel Island)."""

_CRIMEA = shapely.box(32.0, 44.0, 36.7, 46.3)
"""Natural Earth draws de facto lines; the codes follow ISO 3166, where Crimea is a part of UA."""

CBNMED = shapely.MultiPolygon(
    [
        shapely.Polygon(
            [
                *((1.72, 42.57), (1.80, 42.58), (1.93, 42.62), (1.97, 42.66), (2.02, 42.66), (2.16, 42.66), (2.17, 42.70), (2.10, 42.74)),
                *((2.02, 42.74), (1.98, 42.78), (1.90, 42.77), (1.87, 42.82), (1.95, 42.87), (1.95, 42.94), (1.99, 43.02), (2.02, 43.05)),
                *((1.95, 43.09), (1.87, 43.13), (1.75, 43.17), (1.69, 43.20), (1.69, 43.27), (1.76, 43.33), (1.82, 43.35), (1.80, 43.38)),
                *((1.88, 43.42), (1.97, 43.44), (2.04, 43.43), (2.15, 43.39), (2.24, 43.43), (2.38, 43.42), (2.46, 43.43), (2.57, 43.43)),
                *((2.62, 43.47), (2.66, 43.48), (2.63, 43.53), (2.60, 43.57), (2.62, 43.62), (2.68, 43.65), (2.79, 43.64), (2.92, 43.69)),
                *((2.99, 43.70), (3.05, 43.69), (3.06, 43.75), (3.07, 43.83), (3.19, 43.82), (3.26, 43.89), (3.35, 43.92), (3.43, 43.91)),
                *((3.37, 43.97), (3.30, 44.02), (3.27, 44.10), (3.35, 44.16), (3.38, 44.18), (3.20, 44.19), (3.13, 44.26), (3.14, 44.32)),
                *((3.13, 44.40), (3.11, 44.45), (3.07, 44.50), (3.05, 44.56), (2.99, 44.64), (3.01, 44.70), (3.07, 44.74), (3.04, 44.80)),
                *((3.10, 44.83), (3.11, 44.88), (3.18, 44.87), (3.25, 44.92), (3.35, 44.97), (3.42, 44.94), (3.48, 44.87), (3.58, 44.83)),
                *((3.66, 44.87), (3.74, 44.83), (3.79, 44.75), (3.86, 44.75), (3.91, 44.67), (3.90, 44.60), (3.98, 44.52), (3.94, 44.45)),
                *((4.04, 44.40), (4.07, 44.33), (4.14, 44.32), (4.25, 44.27), (4.32, 44.33), (4.40, 44.33), (4.50, 44.34), (4.56, 44.31)),
                *((4.65, 44.27), (4.65, 44.32), (4.71, 44.33), (4.81, 44.31), (4.81, 44.25), (4.92, 44.27), (5.04, 44.29), (5.17, 44.25)),
                *((5.16, 44.21), (5.29, 44.21), (5.38, 44.21), (5.44, 44.15), (5.50, 44.12), (5.51, 44.06), (5.54, 43.96), (5.61, 43.91)),
                *((5.55, 43.84), (5.66, 43.83), (5.65, 43.77), (5.76, 43.73), (5.83, 43.75), (5.90, 43.73), (5.97, 43.69), (6.06, 43.70)),
                *((6.18, 43.75), (6.23, 43.80), (6.35, 43.74), (6.42, 43.76), (6.53, 43.80), (6.68, 43.79), (6.64, 43.82), (6.72, 43.88)),
                *((6.86, 43.91), (6.91, 43.93), (6.83, 44.00), (6.72, 44.06), (6.69, 44.17), (6.75, 44.27), (6.86, 44.35), (6.90, 44.37)),
                *((7.10, 44.40), (8.00, 44.30), (8.00, 43.00), (4.00, 42.00), (1.50, 42.00)),
            ]
        ),
        shapely.Polygon([(4.91, 44.34), (4.92, 44.41), (5.00, 44.44), (5.07, 44.42), (5.07, 44.34)]),
    ]
)
"""Territory of the Conservatoire botanique national méditerranéen, lon lat, drawn by hand along the outer borders of its nine
departments to within some 5 km; towards the sea, Spain and Italy it runs wide and France ends it. Second part: the enclave of Valréas."""


def land_of(data: Path) -> dict[str, BaseGeometry]:
    """Country code -> its land, EPSG:3035."""
    countries = gpd.read_file(data / "boundaries" / "ne_countries_10m_europe.gpkg")
    areas = countries.geometry.map(_polygons)
    russia = countries.index[countries["name"] == "Russia"][0]
    window = shapely.box(-60, 20, 100, 84)
    mended = areas[russia].intersection(window)
    for strip in _RUSSIA_AT_180:
        mended = mended.symmetric_difference(shapely.Polygon(strip).intersection(window))
    parts = np.array(_polygons(mended).geoms, dtype=object)
    within = shapely.within(parts, _CRIMEA)
    ukraine = countries.index[countries["name"] == "Ukraine"][0]
    areas[russia] = shapely.MultiPolygon(list(parts[~within]))
    areas[ukraine] = _polygons(shapely.union_all([areas[ukraine], *parts[within]]))
    return {str(code): on_grid(rows, GRID) for code, rows in areas.groupby(countries["name"].map(CODES))}


def regions_of(data: Path) -> pd.DataFrame:
    """Cells of 10 km with their biogeographic region: x, y (centre, EPSG:3035), region."""
    cells = pd.read_parquet(data / "europe_env_edc" / "eea_grid10km_biogeographic_regions.parquet")
    return cells.rename(columns={"X": "x", "Y": "y", "biogeographical_region": "region"})[["x", "y", "region"]]


def areas_of(land: dict[str, BaseGeometry], regions: pd.DataFrame) -> dict[str, BaseGeometry]:
    """Name -> area of the grids that an area defines, EPSG:3035."""
    mapped = outline(majority_regions(regions, GRID), GRID).union_all()
    parts = [land[code] if code != "RU" else land[code].intersection(mapped) for code in sorted(land) if code not in BEYOND]
    return {
        "europe": _polygons(shapely.union_all(parts)),
        "greece": land["GR"],
        "cbnmed": _polygons(land["FR"].intersection(on_grid(CBNMED, GRID, crs="EPSG:4326"))),
    }


def make(land: dict[str, BaseGeometry], regions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Name -> table of every shipped grid."""
    areas = {name: tiles_of(area, GRID, crs=GRID.crs) for name, area in areas_of(land, regions).items()}
    countries = gpd.GeoDataFrame({"code": list(land)}, geometry=list(land.values()), crs=GRID.crs)
    europe = describe(areas.pop("europe"), GRID, countries=countries, regions=regions)
    alps = europe.set_index("tile_id").loc[list(LABELS)].reset_index()
    alps.insert(1, "region", list(LABELS.values()))
    return {"europe": europe, "alps": alps, "demo": alps.head(4), **{name: describe_like(tiles, europe) for name, tiles in areas.items()}}


def _polygons(geometry: BaseGeometry) -> BaseGeometry:
    """The polygons alone: the file holds stray lines, and overlays leave some."""
    parts = np.array([geometry], dtype=object)
    while (shapely.get_type_id(parts) > 3).any():  # collections and multi-parts
        parts = shapely.get_parts(parts)
    return shapely.MultiPolygon([part for part in parts if part.geom_type == "Polygon" and not part.is_empty])


if __name__ == "__main__":
    source, target = Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent
    for grid_name, table in make(land_of(source), regions_of(source)).items():
        print(f"{write_grid(table, target / f'{grid_name}.csv')}: {len(table)} tiles, {table.land_share.sum() * 625:.0f} km2")
