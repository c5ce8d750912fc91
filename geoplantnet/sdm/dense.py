"""Dense mapping of any model: calibrated probabilities of all species at every cell of a tile, in strips of rows.

A cell gets what `Ensemble.predict` says of a site on it, calibrated. Networks encode the tile once, as for a latent tile (`predict_tile`);
models of a table read the cells' own (`cell_tables`). Memory is z of the networks, if any, and a strip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from geoplantnet.cubes.modality import Modality
from geoplantnet.errors import ModelError, NoDataError
from geoplantnet.grid.tile_grid import MetaTile
from geoplantnet.sdm import checkpoint
from geoplantnet.sdm.calibrate import Calibration
from geoplantnet.sdm.cells import cell_tables
from geoplantnet.sdm.deep import Deep
from geoplantnet.sdm.devices import Precision
from geoplantnet.sdm.ensemble import Ensemble, pooled
from geoplantnet.sdm.model import DeepSDM
from geoplantnet.sdm.predict import predict_tile
from geoplantnet.sdm.sites import Float, Integers, Table
from geoplantnet.sdm.tabular import FromTable

_VALUES = 2**23
"""Probabilities predicted at a time; logits of several members stand beside them in double precision."""
_Says = Callable[[Table, Integers, Integers], Float]
"""Table of a strip, positions in it, positions in the tile (n,) -> probabilities (n, species)."""


def predict_dense(
    model: Ensemble,
    tile: MetaTile,
    cube: Path,
    *,
    modalities: Sequence[Modality],
    calibration: Calibration,
    plot_area: float,
    where: npt.NDArray[np.bool_] | None = None,
    availability: Float | None = None,
    precision: Precision = "32",
) -> Iterator[tuple[slice, Float]]:
    """Strips of a tile, north to south: rows, and probabilities (species, rows, x), NaN = no data.

    `modalities` are those the model learnt from; `plot_area` (m2) is that of networks which have learnt from areas. A cell has data where
    a band of any modality is known at it, and for networks a modality as these see it. `where` (y, x) leaves other cells out;
    `availability` (y, x) in [0, 1] multiplies probabilities. `precision` is the networks', as in `predict_tile`. Raises ModelError for a member
    that sees neither patches nor a table, or other modalities; NoDataError when no cell has data.
    """
    nets = [_network(member) for member in model.members if isinstance(member, Deep)]
    for net in nets:
        checkpoint.require_modalities(net, modalities)
    side, species = tile.grid.cells_per_side, calibration.offsets.size
    wanted = np.ones((side, side), bool) if where is None else where
    z: Float = np.empty((side, side, 0), np.float32)
    if nets:
        z, seen = predict_tile(nets, tile, cube, precision=precision)
        wanted = wanted & seen
    says = list(_voices(model, modalities, z.reshape(side * side, -1), plot_area))
    height, any_data = max(1, _VALUES // (side * species)), False
    for strip, table in cell_tables(tile, cube, modalities):
        at_cell = [not name.endswith(" mean") for name in table.names]
        known = np.isfinite(table.values[:, at_cell]).any(axis=1) & wanted[strip].ravel()
        any_data |= bool(known.any())
        for start in range(strip.start, strip.stop, height):
            rows = slice(start, min(start + height, strip.stop))
            here = np.arange((rows.start - strip.start) * side, (rows.stop - strip.start) * side)
            cells = here[known[here]]
            out = np.full((species, here.size), np.nan, np.float32)
            if cells.size:
                places = cells + strip.start * side
                p = calibration.apply(pooled((share, say(table, cells, places)) for share, say in zip(model.shares, says)))
                if availability is not None:
                    p *= availability.ravel()[places, None]
                out[:, cells - here[0]] = p.T
            yield rows, out.reshape(species, -1, side)
    if not any_data:
        names = ", ".join(m.name for m in modalities)
        raise NoDataError(
            f"tile {tile.id}: no cell to map has data of the model's modalities ({names}); give sources that cover it or drop the tile"
        )


def _voices(model: Ensemble, modalities: Sequence[Modality], z: Float, plot_area: float) -> Iterator[_Says]:
    """What each member says, in order; `z` (cell, sum of d) holds the networks' latent vectors side by side."""
    end = 0
    for member in model.members:
        match member:
            case Deep():
                net = _network(member)
                end += net.architecture.latent
                yield _of_network(net, z[:, end - net.architecture.latent : end], plot_area)
            case FromTable():
                member.require_modalities(modalities)
                yield _of_table(member)
            case _:
                raise ModelError(f"a {member.name!r} looks at no predictor of a cell; map a model that does, such as random-forest")


def _of_network(net: DeepSDM, z: Float, plot_area: float) -> _Says:
    head = net.species_head(plot_area if net.architecture.plot_area else None)
    return lambda table, cells, places: head.probabilities(z[places]).T


def _of_table(model: FromTable) -> _Says:
    return lambda table, cells, places: model.predict_table(Table(values=table.values[cells], names=table.names, modality=table.modality))


def _network(member: Deep) -> DeepSDM:
    if member.net_ is None:
        raise ModelError("a network of the ensemble has not been fitted yet; fit it, or load a saved one")
    return member.net_
