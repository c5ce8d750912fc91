"""Stage `map`: the model over every tile -> latent tile, or dense tile of a model that is no head on a latent vector."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from geoplantnet.assemblages import LatentTile, quantise, write_latent
from geoplantnet.assemblages.coarse import WITHHELD, Squares
from geoplantnet.assemblages.dense import open_dense, write_dense_rows
from geoplantnet.assemblages.latent import emptied, generalised
from geoplantnet.assemblages.species_tile import SpeciesTile
from geoplantnet.config.rooms import world_of
from geoplantnet.cubes import node_named, open_cube, require_data
from geoplantnet.errors import NoDataError
from geoplantnet.grid.tile_grid import MetaTile
from geoplantnet.sdm import checkpoint
from geoplantnet.sdm.applicability import Applicability, applicability_of_tile
from geoplantnet.sdm.deep import Deep
from geoplantnet.sdm.dense import predict_dense
from geoplantnet.sdm.devices import Precision, mapping_precision
from geoplantnet.sdm.ensemble import joined_head
from geoplantnet.sdm.evaluate import agreement
from geoplantnet.sdm.predict import covered, predict_tile
from geoplantnet.storage import write_beside
from pipelines.build_cubes import cube_of
from pipelines.context import Run
from pipelines.flow import Inside, Made, Stage
from pipelines.sensitive import asked, rules_by_tile, seal, squares_of
from pipelines.tables import stored_species
from pipelines.trained import Trained

SEAL = "sensitive"
"""Attribute of a tile that was mapped with sensitive species: `sensitive.seal` of their rules."""
TRUTH_STEP = 7
"""Cells between two at which a map of a virtual world is compared with its truth."""


def settings(run: Run) -> Callable[[str], object]:
    """How the recipe wants tiles mapped, the words a tile carries, and which species are sensitive there."""
    words = [run.recipe.map.model_dump(mode="json"), run.recipe.interval, run.recipe.notice]
    sensitive = rules_by_tile(run)
    return lambda tile_id: [*words, asked(sensitive[tile_id])] if tile_id in sensitive else words


def needs(run: Run, tile_id: str) -> list[tuple[str, str]]:
    """The model and the tile's whole cube."""
    return [("train", "model"), *cube_of(run, tile_id)]


def work(run: Run, tile_id: str, inside: Inside) -> Made:
    """Map one tile and commit what its cells are predicted to hold: as a latent tile, where one holds the model, else as a dense one.

    Raises NoDataError where no modality has any data, or none of those required.
    """
    trained = Trained.load(run.model)
    tile, cube = run.tile(tile_id), open_cube(run.cube(tile_id))
    require_data(tile, {m.name: node_named(cube, m.name) for m in run.modalities})
    how = run.recipe.map
    # What no latent tile holds is made on the CPU, networks included.
    precision, networks = (
        mapping_precision(how.precision, how.accelerator if trained.nets else "cpu"),
        any(isinstance(m, Deep) for m in trained.model.members),
    )
    attributes: dict[str, object] = {
        **({"precision": precision} if networks else {}),
        "plot_area_m2": run.recipe.map.plot_area,
        "interval": list(run.recipe.interval),
        "notice": run.recipe.notice,
        **({SEAL: seal(rules)} if (rules := rules_by_tile(run).get(tile_id, ())) else {}),
    }
    mapped, other = (run.latent(tile_id), run.dense(tile_id)) if trained.nets else (run.dense(tile_id), run.latent(tile_id))
    squares = squares_of(run, tile_id, stored_species(run))
    stored, error = (_latent if trained.nets else _dense)(run, trained, tile, precision, attributes, squares, inside)
    if other.exists():
        shutil.rmtree(other)  # of the model before
    stats: dict[str, Any] = {"valid": round(float(stored.valid.mean()), 4), **error}
    if stored.inside is not None:
        stats["extrapolated"] = round(float((stored.valid & ~stored.inside).sum() / stored.valid.sum()), 4)
    if run.recipe.world and not run.scenario:  # the world's truth is that of its own climate
        stats["truth"] = _against_truth(run, stored, squares)
    if run.recipe.sensitive is not None:
        stats["sensitive"] = {
            "generalised": sum(side != WITHHELD for side in squares.values()),
            "withheld": sum(side == WITHHELD for side in squares.values()),
        }
    return [mapped], stats


def _latent(
    run: Run, trained: Trained, tile: MetaTile, precision: Precision, attributes: dict[str, object], squares: Squares, inside: Inside
) -> tuple[SpeciesTile, dict[str, Any]]:
    """Commit the latent tile of networks; also the error that quantising z made, of the species whose every cell is told."""
    checkpoint.require_modalities(trained.nets[0], run.modalities)
    how = run.recipe.map
    z, valid = predict_tile(
        trained.nets,
        tile,
        run.cube(tile.id),
        precision=precision,
        runtime=how.runtime,
        accelerator=how.accelerator,
        progress=_speed(inside),
    )
    valid &= _required(run, tile.id, valid.shape)
    _some(run, tile.id, valid)
    heads = trained.heads(run.recipe.map.plot_area)
    head = joined_head(heads)
    stored, scale, error = quantise(z, valid, emptied(head, squares) if squares else head)
    del z
    latent = LatentTile(
        tile=tile,
        z=stored,
        scale=scale,
        valid=valid,
        availability=_availability(run, tile.id, valid.shape),
        head=head,
        member_bias=np.stack([h.bias for h in heads]) if len(heads) > 1 else None,
        **_dissimilarity(run, trained.applicability, tile, valid),
        attributes=attributes,
    )
    latent = generalised(latent, squares)
    with write_beside(run.latent(tile.id)) as path:
        write_latent(latent, path)
    return latent, {"quantisation": error}


def _dense(
    run: Run, trained: Trained, tile: MetaTile, precision: Precision, attributes: dict[str, object], squares: Squares, inside: Inside
) -> tuple[SpeciesTile, dict[str, Any]]:
    """Commit the dense tile of any other model."""
    shape = (run.grid.cells_per_side, run.grid.cells_per_side)
    required = _required(run, tile.id, shape)
    _some(run, tile.id, required)
    strips = predict_dense(
        trained.model,
        tile,
        run.cube(tile.id),
        modalities=run.model_modalities,
        calibration=trained.calibration,
        plot_area=run.recipe.map.plot_area,
        where=required,
        availability=_availability(run, tile.id, shape),
        precision=precision,
    )
    found = _dissimilarity(run, trained.applicability, tile, required)
    species = stored_species(run)
    with write_beside(run.dense(tile.id)) as path:
        write_dense_rows(
            _told(strips, _speed(inside), tile), path, tile=tile, species=species, attributes=attributes, squares=squares, **found
        )
    return open_dense(run.dense(tile.id), run.grid), {}


def _required(run: Run, tile_id: str, shape: tuple[int, int]) -> np.ndarray:
    """(y, x): cells where one of the modalities is valid that the recipe requires."""
    return covered(_valid_cells(run, tile_id), run.recipe.map.require_any, shape)


def _some(run: Run, tile_id: str, valid: np.ndarray) -> None:
    """Raises NoDataError where not a single cell is left to map."""
    if not valid.any():
        raise NoDataError(
            f"tile {tile_id}: none of {', '.join(run.recipe.map.require_any)} covers a single cell; drop the tile or change map.require_any"
        )


def _told(
    strips: Iterator[tuple[slice, npt.NDArray[np.float32]]], say: Callable[[int, int], None], tile: MetaTile
) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """The strips, each told of as it is made."""
    side = tile.grid.cells_per_side
    for rows, p in strips:
        say(rows.stop * side, side * side)
        yield rows, p


def _speed(inside: Inside) -> Callable[[int, int], None]:
    """Tells how many cells are mapped, and how many a second."""
    began = time.monotonic()

    def say(done: int, total: int) -> None:
        inside(done, total, f"{done / max(time.monotonic() - began, 1e-3):,.0f} cells/s")

    return say


def _dissimilarity(run: Run, applicability: Applicability | None, tile: MetaTile, valid: np.ndarray) -> dict[str, Any]:
    """How far every cell is from what the model learnt from, as fields of a tile; none where that cannot be told."""
    if applicability is None:
        return {}
    index = applicability_of_tile(applicability, tile, run.cube(tile.id), run.model_modalities)
    return {"dissimilarity": np.where(valid, index, np.nan), "dissimilarity_threshold": applicability.threshold}


def _valid_cells(run: Run, tile_id: str) -> dict[str, np.ndarray]:
    """Validity (y, x) on the cells of the modalities a mapped cell must have one of."""
    found = {}
    cube, tile = open_cube(run.cube(tile_id)), run.tile(tile_id)
    for m in run.modalities:
        if m.name in run.recipe.map.require_any:
            found[m.name] = _on_cells(node_named(cube, m.name)["valid"].values > 0, m.halo, m.cell_ratio(run.grid), tile)
    return found


def _on_cells(pixels: np.ndarray, halo: int, ratio: float, tile: MetaTile) -> np.ndarray:
    """Pixels with halo (y, x) -> the pixel at each cell's centre."""
    centres = ((np.arange(tile.grid.cells_per_side) + 0.5) * ratio).astype(int) + halo
    return pixels[np.ix_(centres, centres)]


def _availability(run: Run, tile_id: str, shape: tuple[int, int]) -> np.ndarray:
    """1 minus the share of the cell that cannot hold plants, by the bands the recipe names; unknown counts as available."""
    lost = np.zeros(shape, np.float32)
    cube, tile = open_cube(run.cube(tile_id)), run.tile(tile_id)
    for m in run.modalities:
        for band in run.recipe.map.unavailable.get(m.name, ()):
            share = node_named(cube, m.name)["data"].sel(band=band).values
            lost += np.nan_to_num(_on_cells(share, m.halo, m.cell_ratio(run.grid), tile))
    return np.clip(1 - lost, 0, 1)


def _against_truth(run: Run, mapped: SpeciesTile, sensitive: Squares) -> dict[str, float]:
    """Agreement of the map with the virtual world's true probabilities, at a lattice of cells, of species that are not sensitive."""
    rows, columns = (a.ravel() for a in np.mgrid[: mapped.shape[0] : TRUTH_STEP, : mapped.shape[1] : TRUTH_STEP])
    west, _, _, north = mapped.tile.bounds
    cell = run.grid.cell_size
    world = world_of(run.recipe, run.grid, run.tiles)
    of_world = [world.species_list.index_of(t.taxon_id) for t in stored_species(run)]
    truth = world.true_probability(x=west + (columns + 0.5) * cell, y=north - (rows + 0.5) * cell)[:, of_world]
    known = mapped.valid[rows, columns] & np.isfinite(truth).all(axis=1)
    fine = np.delete(np.arange(len(of_world)), list(sensitive))
    return agreement(mapped.at(rows[known], columns[known])[:, fine], truth[np.ix_(known, fine)])


def describe(stats: dict[str, Any]) -> str:
    """Mapped share, how much of it is extrapolation, and how the map follows the truth, where that is known."""
    outside = f", {100 * stats['extrapolated']:.0f} % of them outside the area of applicability" if "extrapolated" in stats else ""
    truth = f", r with the truth {stats['truth']['pooled']:.2f}" if "truth" in stats else ""
    found = stats.get("sensitive", {})
    sensitive = f", {found['generalised']} species generalised, {found['withheld']} withheld" if found else ""
    return f"{100 * stats['valid']:.0f} % of cells{outside}{truth}{sensitive}"


MAP: Stage[Run] = Stage("map", keys=lambda run: run.chosen, settings=settings, needs=needs, work=work, describe=describe)
