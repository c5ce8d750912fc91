"""How far the members of an ensemble agree on an area: of each, the share of the area where it would have put a species into the set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from geoplantnet.assemblages.coarse import Coarse
from geoplantnet.assemblages.latent import LatentTile

Double: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.integer]


@dataclass(frozen=True, kw_only=True, eq=False)
class Agreement:
    """Of some species over some cells, sums by the cells' weights."""

    mass: Double
    """(species,): weighted sum of p."""
    present: Double
    """(member, species): weight of the cells where a member's own p exceeds the cell's threshold."""


def agreement(
    tile: LatentTile,
    cells: npt.NDArray[np.integer],
    weight: Double,
    species: npt.NDArray[np.integer],
    threshold: npt.NDArray[np.float32],
) -> Agreement:
    """Valid cells of a tile (numbered from the north-west), their weights and thresholds (all (n,)), positions of species -> `Agreement`.

    Memory is a few times n x species float32.
    """
    from geoplantnet.assemblages import kernels  # numba takes a while to import

    rows, columns = np.divmod(cells, tile.shape[1])
    z = tile.z[rows, columns].astype(np.float32) * tile.scale
    availability = tile.availability[rows, columns]
    weights, members = tile.head.weights[species], tile.members
    own = z.shape[1] // members
    total = np.zeros((len(cells), len(species)), np.float32)
    p = np.empty_like(total)
    present = np.zeros((members, len(species)))
    for m in range(members):
        part = slice(m * own, (m + 1) * own)
        product = z[:, part] @ weights[:, part].T
        total += product
        if tile.member_bias is not None:  # the head's weights are the members', divided by their number
            product *= np.float32(members)
            kernels.from_floats(product, tile.member_bias[m, species], availability, p)
            _lay(tile.coarse and tile.coarse.of_member(m), p, species, rows, columns)
            present[m] = weight @ (p > threshold[:, None])
    kernels.from_floats(total, tile.head.bias[species], availability, p)
    _lay(tile.coarse, p, species, rows, columns)
    if tile.member_bias is None:
        present[0] = weight @ (p > threshold[:, None])
    return Agreement(mass=weight @ p, present=present)


def members_at(tile: LatentTile, row: int, column: int) -> npt.NDArray[np.float32]:
    """Probabilities (member, species) that each member alone gives at a valid cell."""
    if tile.member_bias is None:
        return tile.at(row, column)
    own = tile.z.shape[2] // tile.members
    z = (tile.z[row, column].astype(np.float32) * tile.scale * np.float32(tile.members)).reshape(tile.members, own)
    logits = np.einsum("kmd,md->mk", tile.head.weights.reshape(-1, tile.members, own), z) + tile.member_bias
    p = (tile.availability[row, column] * expit(logits)).astype(np.float32)
    for m in range(tile.members):
        _lay(tile.coarse and tile.coarse.of_member(m), p[m : m + 1], np.arange(p.shape[1]), np.array([row]), np.array([column]))
    return p


def _lay(coarse: Coarse | None, p: npt.NDArray[np.float32], species: Indices, rows: Indices, columns: Indices) -> None:
    """Put into p (cell, species) what is told of the sensitive ones among them, in place; of those withheld nothing."""
    if coarse is None:
        return
    for i in np.flatnonzero(np.isin(species, list(coarse.squares))).tolist():
        p[:, i] = np.nan_to_num(coarse.of(int(species[i]), rows, columns))
