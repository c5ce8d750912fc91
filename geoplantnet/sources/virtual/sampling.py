"""Surveys of a virtual world: plots with presences and absences, and what few volunteers report from along the roads.

Plain tables with Darwin Core terms. Equal arguments give equal tables.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyproj import Transformer

from geoplantnet.errors import NoDataError, UsageError
from geoplantnet.sources.virtual import noise
from geoplantnet.sources.virtual.landscape import CELL, CRS, Bounds
from geoplantnet.sources.virtual.noise import Field, Pixels
from geoplantnet.sources.virtual.species import VirtualSpecies

RECORDERS = 24
"""How many people report; a few of them report most."""


def sample_plots(world: VirtualSpecies, n: int, *, seed: int, within: Bounds | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Presence-absence survey: `n` plots of `world.plot_area` on a square grid with a random start, over dry land with data.

    Returns (events, occurrences). A species listed for an event was present; every other species of `world.species_list`
    was absent. Presence is drawn with the true probability. Elevation, slope and aspect were measured on the spot, with
    small errors, and are NaN where not measured. `within` (EPSG:3035) defaults to the landscape's bounds. Raises
    UsageError for n < 1 or plots closer than their own size, NoDataError when there is no land.
    """
    bounds = _inside(world, n, within)
    rng = np.random.default_rng([world.seed, seed, 1])
    x, y = _systematic(world, n, bounds, rng)
    presence = rng.random((n, world.n)) < world.true_probability(x=x, y=y)
    layers, cells = world.landscape.layers, Pixels.holding(CELL, x, y)
    elevation, slope, aspect = (
        noise.nearest(layers.terrain[name], layers.origin, CELL, cells) for name in ("elevation", "slope", "aspect")
    )
    skipped = rng.random(n) < 0.05
    event = np.array([f"virtual-plot-{i + 1:05d}" for i in range(n)])
    longitude, latitude = _degrees(x, y)
    events = pd.DataFrame(
        {
            "eventID": event,
            "x": x,
            "y": y,
            "decimalLongitude": longitude,
            "decimalLatitude": latitude,
            "coordinateUncertaintyInMeters": 5.0,
            "year": rng.integers(2018, 2023, n),
            "samplingProtocol": "virtual plot survey: systematic grid with a random start, all virtual species recorded",
            "sampleSizeValue": world.plot_area,
            "sampleSizeUnit": "square metre",
            "elevation": np.round(elevation + 4 * rng.standard_normal(n)),
            "slope": np.where(skipped, np.nan, np.round(np.clip(slope + 1.5 * rng.standard_normal(n), 0, 89))),
            "aspect": np.where(skipped, np.nan, np.round(aspect + 6 * rng.standard_normal(n)) % 360),
        }
    )
    which, species = np.nonzero(presence)
    ids, names = _taxa(world)
    occurrences = pd.DataFrame(
        {"eventID": event[which], "taxonID": ids[species], "scientificName": names[species], "occurrenceStatus": "present"}
    )
    return events, occurrences


def sample_presence_only(world: VirtualSpecies, n: int, *, seed: int, within: Bounds | None = None) -> pd.DataFrame:
    """`n` opportunistic records: few recorders, each around a village, mostly near roads and paths, each with favourite groups.

    A record needs the species: at a visited place species are met in proportion to their true probability, conspicuous
    and favoured ones more often. Positions are off by up to their stated uncertainty, and days follow `world.phenology`. `within` (EPSG:3035) defaults to
    the landscape's bounds. Raises UsageError for n < 1, NoDataError when nothing grows within reach.
    """
    bounds = _inside(world, n, within)
    rng = np.random.default_rng([world.seed, seed, 2])
    place, reach, homes = _accessible(world, bounds)
    conspicuous = np.exp(0.9 * rng.standard_normal(world.n) + 0.5 * world.traits["tree"].to_numpy())
    group_of = np.unique(world.groups, return_inverse=True)[1]
    activity = np.sort(1 / np.arange(1, RECORDERS + 1) ** 1.2)[::-1]
    recorder = np.sort(rng.choice(RECORDERS, size=n, p=activity / activity.sum()))
    parts = []
    for person in range(RECORDERS):
        home = homes[rng.integers(len(homes))]
        roams = rng.uniform(3_000, 12_000)
        taste = np.exp(0.8 * rng.standard_normal(group_of.max() + 1))[group_of] * conspicuous
        wanted = int((recorder == person).sum())
        visits = reach * np.exp(-np.hypot(place[:, 0] - home[0], place[:, 1] - home[1]) / roams)
        parts.append(_records(world, wanted, place, visits, taste, rng))
    x, y, species = (np.concatenate(part) for part in zip(*parts))
    order = rng.permutation(n)
    recorder, x, y, species = recorder[order], x[order], y[order], species[order]
    uncertainty = rng.choice([5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1_000.0], size=n, p=[0.3, 0.25, 0.15, 0.12, 0.08, 0.06, 0.04])
    x, y = _displaced(x, y, uncertainty, bounds, rng)
    longitude, latitude = _degrees(x, y)
    year = 2000 + np.floor(24 * np.sqrt(rng.random(n))).astype(int)
    ids, names = _taxa(world)
    return pd.DataFrame(
        {
            "occurrenceID": [f"virtual-record-{i + 1:06d}" for i in range(n)],
            "eventID": [f"virtual-visit-{i + 1:06d}" for i in range(n)],
            "recordedBy": [f"virtual-recorder-{p + 1:02d}" for p in recorder],
            "taxonID": ids[species],
            "scientificName": names[species],
            "x": x,
            "y": y,
            "decimalLongitude": longitude,
            "decimalLatitude": latitude,
            "coordinateUncertaintyInMeters": uncertainty,
            "year": year,
            "eventDate": _dates(world, species, year, np.random.default_rng([world.seed, seed, 3])),
            "basisOfRecord": "HumanObservation",
            "occurrenceStatus": "present",
        }
    )


def _inside(world: VirtualSpecies, n: int, within: Bounds | None) -> Bounds:
    if n < 1:
        raise UsageError(f"asked for {n} samples; ask for at least one")
    west, south, east, north = world.landscape.extent
    bounds = world.landscape.bounds if within is None else within
    clipped = max(bounds[0], west), max(bounds[1], south), min(bounds[2], east), min(bounds[3], north)
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise NoDataError(f"sampling bounds {bounds} lie outside the virtual landscape {world.landscape.bounds} (EPSG:3035)")
    return clipped


def _land(world: VirtualSpecies, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Whether points lie on mostly dry cells with data."""
    layers = world.landscape.layers
    water = noise.nearest(layers.water, layers.origin, CELL, Pixels.holding(CELL, x, y))
    return water < 0.5  # NaN, where there is no relief, is not


def _systematic(
    world: VirtualSpecies, n: int, bounds: Bounds, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points (n,) of a square grid with a random start that fall on land, rounded to 0.1 m."""
    west, south, east, north = bounds
    start = rng.random(2)
    step = ((east - west) * (north - south) / n) ** 0.5
    while True:
        x, y = np.meshgrid(np.arange(west + start[0] * step, east, step), np.arange(south + start[1] * step, north, step))
        x, y = np.round(x.ravel(), 1), np.round(y.ravel(), 1)
        land = _land(world, x, y) & (x < east) & (y < north)
        found = int(land.sum())
        if step < world.plot_area**0.5:
            if found == 0:
                raise NoDataError(f"sampling bounds {bounds} hold no dry land with relief; choose others")
            raise UsageError(
                f"{n} plots of {world.plot_area:g} m2 do not fit the land with data within {bounds} on a grid wider than a plot; "
                "ask for fewer or widen the bounds"
            )
        if found >= n:
            chosen = np.sort(rng.choice(np.flatnonzero(land), size=n, replace=False))
            return x[chosen], y[chosen]
        step *= 0.97


def _accessible(world: VirtualSpecies, bounds: Bounds) -> tuple[npt.NDArray[np.float64], Field, npt.NDArray[np.float64]]:
    """Centres (cell, 2) of land cells within bounds, how readily people go there (cell,), and recorders' homes (home, 2)."""
    layers = world.landscape.layers
    west, south, east, north = bounds
    x, y = np.meshgrid(np.arange(west // CELL * CELL + CELL / 2, east, CELL), np.arange(south // CELL * CELL + CELL / 2, north, CELL))
    x, y = x.ravel(), y.ravel()
    land = _land(world, x, y) & (x > west) & (y > south)
    if not land.any():
        raise NoDataError(f"sampling bounds {bounds} hold no dry land with relief; choose others")
    x, y = x[land], y[land]
    cells = Pixels.holding(CELL, x, y)
    path, village = (noise.nearest(layer, layers.origin, CELL, cells) for layer in (layers.path_distance, layers.village_distance))
    reach = (np.exp(-path / np.float32(150)) + np.float32(0.02)) * (np.exp(-village / np.float32(3_000)) + np.float32(0.15))
    homes: list[tuple[float, float]] = [(v.x, v.y) for v in layers.villages if west <= v.x < east and south <= v.y < north]
    return np.stack([x, y], axis=1), reach.astype(np.float32), np.array(homes or [((west + east) / 2, (south + north) / 2)], float)


def _records(
    world: VirtualSpecies, n: int, place: npt.NDArray[np.float64], visits: Field, taste: npt.NDArray[np.float64], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Positions and species of one recorder's `n` records: cells by `visits`, then a species met there, or none."""
    found: list[tuple[npt.NDArray, npt.NDArray]] = [(np.empty((0, 2)), np.empty(0, np.int64))]
    cumulative = np.cumsum(visits, dtype=np.float64)
    missing = n
    for _ in range(200):
        if missing == 0:
            break
        cells = np.searchsorted(cumulative, rng.random(2 * missing + 20) * cumulative[-1], side="right").clip(max=len(place) - 1)
        spots = place[cells]
        met = np.cumsum(world.true_probability(x=spots[:, 0], y=spots[:, 1]) * taste, axis=1, dtype=np.float64)
        # Where little grows a visit often ends without a record.
        draw = rng.random(len(cells)) * np.maximum(met[:, -1], 0.5 * taste.mean())
        hit = draw < met[:, -1]
        species = (met[hit] <= draw[hit, None]).sum(axis=1)
        found.append((spots[hit][:missing], species[:missing]))
        missing -= min(missing, int(hit.sum()))
    if missing:
        raise NoDataError(
            f"no virtual species grows within a recorder's reach in {world.landscape.bounds}; sample a larger or greener region"
        )
    spots = np.concatenate([f[0] for f in found]) + rng.uniform(-CELL / 2, CELL / 2, (n, 2))
    return spots[:, 0], spots[:, 1], np.concatenate([f[1] for f in found])


def _displaced(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], uncertainty: npt.NDArray[np.float64], bounds: Bounds, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points moved uniformly within their uncertainty, kept in place where that would leave the bounds; rounded to 0.1 m."""
    radius, angle = uncertainty * np.sqrt(rng.random(len(x))), 2 * np.pi * rng.random(len(x))
    moved = np.round(np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)]), 1)
    west, south, east, north = bounds
    stays = (moved[0] < west) | (moved[0] >= east) | (moved[1] < south) | (moved[1] >= north)
    moved[:, stays] = np.floor(np.stack([x, y])[:, stays] * 10) / 10
    return moved[0], moved[1]


def _dates(
    world: VirtualSpecies, species: npt.NDArray[np.int64], year: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.str_]:
    """A day (YYYY-MM-DD) in each year, in a month by the species' phenology. Draws from a stream of its own."""
    season = np.cumsum(world.phenology, axis=1)[species]
    month = (season[:, :-1] <= rng.random(len(species))[:, None]).sum(axis=1)
    first = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + month
    days = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(np.int64)
    return np.datetime_as_string(first.astype("datetime64[D]") + np.floor(rng.random(len(species)) * days).astype(np.int64))


def _degrees(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    longitude, latitude = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)
    return np.round(longitude, 6), np.round(latitude, 6)


def _taxa(world: VirtualSpecies) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_]]:
    taxa = world.species_list.taxa
    return np.array([t.taxon_id for t in taxa]), np.array([t.scientific_name for t in taxa])
