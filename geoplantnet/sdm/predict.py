"""Dense mapping: the model over a whole tile, each modality encoded once, in strips of rows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from geoplantnet.cubes.modality import STEM_OVERLAP, Modality
from geoplantnet.cubes.patches import Patch, tile_patch
from geoplantnet.errors import ConfigurationError, ModelError, NoDataError
from geoplantnet.grid.tile_grid import MetaTile, TileGrid
from geoplantnet.sdm.devices import Accelerator, Precision, kind_of
from geoplantnet.sdm.model import DeepSDM, repeatable
from geoplantnet.sdm.runtime import Runtime

Float = npt.NDArray[np.float32]

_ROWS: Mapping[Precision, int] = {"32": 25, "bf16": 50}
"""Rows of cells a strip: more share their surroundings, fewer stay in a processor's cache."""
_CUDA_ROWS = 125


def predict_tile(
    models: DeepSDM | Sequence[DeepSDM],
    tile: MetaTile,
    cube: Path,
    *,
    rows_per_strip: int | None = None,
    precision: Precision = "32",
    threads: int = 1,
    runtime: Runtime = "torch",
    accelerator: Accelerator = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Float, npt.NDArray[np.bool_]]:
    """Latent vectors z (y, x, d) float32 and validity (y, x) of a tile, from its stored cube; those of several models side by side.

    Equal to predicting every cell from its own patch, and the same bits on every worker: a strip is one CPU thread's, `threads` are
    at work on so many strips. With `precision` bf16 the
    networks multiply in bfloat16: faster, and |dp| of a few thousandths, as much as int8 makes of z. `runtime` openvino has that run the
    encoders, on the CPU. `accelerator` cuda, or auto where there is any, maps there, strip after strip. Memory is bounded by the strip and z, not by the
    cube. `progress` hears how many of the cells are done. Raises NoDataError when no modality the model knows holds anything over the
    tile, ModelError for models of other modalities than the first one's, ConfigurationError for a runtime or accelerator that is not here.
    """
    members = [models] if isinstance(models, DeepSDM) else list(models)
    modalities = members[0].modalities
    if any(model.modalities != modalities for model in members):
        raise ModelError("the models learnt from different modalities; map together what learnt from the same")
    on_cuda = kind_of(accelerator) == "cuda" and not (runtime == "openvino" and accelerator == "auto")
    if runtime == "openvino":
        if on_cuda:
            raise ConfigurationError("openvino maps on the CPU; say accelerator auto or cpu, or runtime torch")
        members = [model.on_openvino(precision) for model in members]
    elif precision == "bf16":
        members = [model.in_bfloat16() for model in members]
    if on_cuda:
        members, threads = [copy.deepcopy(model).to("cuda") for model in members], 1
    patches = {m.name: tile_patch(cube, m, tile) for m in modalities}
    side, widths = tile.grid.cells_per_side, [model.architecture.latent for model in members]
    z = np.empty((side, side, sum(widths)), np.float32)
    valid = np.empty((side, side), bool)

    def one(rows: slice) -> None:
        with torch.inference_mode():  # each thread's own
            part = {m.name: _strip(patches[m.name], m, tile.grid, rows) for m in modalities}
            for model, end, width in zip(members, np.cumsum(widths), widths):
                latent, present = model.latent(part)
                z[rows, :, end - width : end] = latent[0].permute(1, 2, 0).float().cpu().numpy()
            valid[rows] = present[0].cpu().numpy()

    strips = list(_strips(side, rows_per_strip or (_CUDA_ROWS if on_cuda else _ROWS[precision])))
    with _exact(), ThreadPoolExecutor(threads) as pool:
        done = 0
        for rows, _ in zip(strips, pool.map(one, strips)):
            done += (rows.stop - rows.start) * side
            progress(done, side * side)
    if not valid.any():
        raise NoDataError(
            f"tile {tile.id}: none of the model's modalities ({', '.join(patches)}) has data there; give sources that cover it or drop the tile"
        )
    return z, valid


@contextmanager
def _exact() -> Iterator[None]:
    """Repeatable, and 32 bits where 32 are asked for; memory that is about to be written is not filled first."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        with repeatable():
            yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before[:2]
        torch.utils.deterministic.fill_uninitialized_memory = before[2]  # type: ignore[attr-defined]


def _strips(side: int, height: int) -> Iterator[slice]:
    for start in range(0, side, height):
        yield slice(start, min(start + height, side))


def _strip(patch: Patch, m: Modality, grid: TileGrid, rows: slice) -> Patch:
    """The rows of a tile's patch that a strip of cells needs."""
    if patch.weight_y is not None:
        used = np.flatnonzero(patch.weight_y[0, rows].any(axis=0))
        need = slice(used[0], used[-1] + 1)
        return Patch(values=patch.values[..., need, :], weight_y=patch.weight_y[:, rows, need], weight_x=patch.weight_x)
    ratio = int(m.cell_ratio(grid))
    around = 2 * ((m.window // 2) * ratio + (STEM_OVERLAP if ratio > 1 else 0))
    return Patch(values=patch.values[..., rows.start * ratio : rows.stop * ratio + around, :])


def covered(valid: Mapping[str, npt.NDArray[np.bool_]], required: tuple[str, ...], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(y, x): cells where at least one of the `required` modalities is valid; everywhere when none is required."""
    if not required:
        return np.ones(shape, bool)
    return np.logical_or.reduce([valid[name] for name in required])
