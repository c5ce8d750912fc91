"""Mapping a tile gives at every cell what the model gives at that cell's own patch."""

from __future__ import annotations

import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from geoplantnet.cubes import PatchReader, build_cube, write_cube
from geoplantnet.errors import ConfigurationError, NoDataError
from geoplantnet.grid import TileGrid
from geoplantnet.sdm.encoders import box_mean
from geoplantnet.sdm.model import Architecture, DeepSDM, Normalisation
from geoplantnet.sdm.predict import predict_tile
from geoplantnet.sdm.train import predict_sites

MODALITIES = ("image", "terrain", "series", "climate")


def a_model(modalities, grid, species, seed=0, architecture=None):
    torch.manual_seed(seed)
    channels = {m.name: max(m.times, 1) * len(m.bands) for m in modalities}
    normalisation = {k: Normalisation(mean=np.full(n, 0.3, np.float32), std=np.full(n, 0.2, np.float32)) for k, n in channels.items()}
    model = DeepSDM(
        modalities=modalities,
        grid=grid,
        species=species,
        normalisation=normalisation,
        architecture=architecture or Architecture(width=16, latent=32),
    ).eval()
    with torch.no_grad():
        model.species_vector.normal_(0, 1)  # fresh weights would make every difference look small
        for weight in [*model.encoders.parameters(), *model.fuse.parameters()]:
            weight *= 2
    return model


@pytest.fixture(scope="module")
def mapped(tmp_path_factory, small_grid, modalities, sources, species):
    tile = small_grid.tile("2kmE4200N2600")
    path = tmp_path_factory.mktemp("cube") / "cube.zarr"
    write_cube(build_cube(tile, modalities, sources), path, modalities)
    model = a_model(modalities, small_grid, species)
    return tile, path, model


def random_cells(tile, n, seed):
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, tile.grid.cells_per_side, (2, n))
    west, _, _, north = tile.bounds
    points = pd.DataFrame({"x": west + (columns + 0.5) * 50.0, "y": north - (rows + 0.5) * 50.0})
    return rows, columns, points


def test_dense_map_equals_patch_prediction_at_200_cells(mapped, modalities, sources):
    """Predictions differ by at most 1e-4 between the map of the tile and 200 patches, in fp32, with all kinds of modality and with gaps."""
    tile, path, model = mapped
    z, valid = predict_tile(model, tile, path, rows_per_strip=7)
    rows, columns, points = random_cells(tile, 200, seed=1)
    reader = PatchReader(points, grid=tile.grid, modalities=modalities, sources=sources, cubes={tile.id: path})
    from_patches = predict_sites(model, reader, np.arange(200))
    dense = model.species_head().probabilities(z[rows, columns]).T
    assert valid[rows, columns].all()
    assert from_patches.std(axis=0).max() > 0.02  # the model does vary over the tile
    assert np.abs(dense - from_patches).max() <= 1e-4


def test_strips_do_not_show(mapped):
    """The height of the strips changes nothing."""
    tile, path, model = mapped
    one, _ = predict_tile(model, tile, path, rows_per_strip=40)
    many, _ = predict_tile(model, tile, path, rows_per_strip=3)
    assert np.abs(one - many).max() <= 1e-5


def test_threads_change_no_bit(mapped):
    """Strips at the same time give the bits of strips one after the other, in either precision."""
    tile, path, model = mapped
    for precision in ("32", "bf16"):
        one, three = (predict_tile(model, tile, path, rows_per_strip=6, precision=precision, threads=n)[0] for n in (1, 3))
        np.testing.assert_array_equal(one, three)


def test_bfloat16_moves_probabilities_by_thousandths(mapped):
    """Against fp32: mean |dp| within what int8 may cost, no cell by more than .05; strips do not show beyond that either."""
    tile, path, model = mapped
    exact, valid = predict_tile(model, tile, path)
    fast, valid_fast = predict_tile(model, tile, path, precision="bf16", rows_per_strip=7)
    assert (valid == valid_fast).all() and fast.dtype == np.float32
    head = model.species_head()
    error = np.abs(head.probabilities(fast[valid]) - head.probabilities(exact[valid]))
    assert 0 < error.mean() <= 0.002 and error.max() <= 0.05


def test_openvino_maps_what_torch_maps(mapped):
    """Encoders run by OpenVINO: |dp| <= 1e-4 in fp32, whatever the strips; threads change rounding, no more."""
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'geoplantnet[openvino]'")
    tile, path, model = mapped
    exact = predict_tile(model, tile, path)[0]
    one, three = (predict_tile(model, tile, path, rows_per_strip=6, runtime="openvino", threads=n) for n in (1, 3))
    np.testing.assert_allclose(one[0], three[0], atol=1e-5)
    head = model.species_head()
    p = lambda z: head.probabilities(z[::5, ::5].reshape(-1, z.shape[2]))  # noqa: E731
    assert one[1].all() and np.abs(p(one[0]) - p(exact)).max() <= 1e-4
    fast = predict_tile(model, tile, path, precision="bf16", runtime="openvino")[0]
    assert np.abs(p(fast) - p(exact)).mean() <= 0.002


def test_what_is_not_here_is_said(mapped, monkeypatch):
    """CUDA without a device, OpenVINO without the package: a ConfigurationError with the fix."""
    tile, path, model = mapped
    if not torch.cuda.is_available():
        with pytest.raises(ConfigurationError, match="finds no CUDA device"):
            predict_tile(model, tile, path, accelerator="cuda")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigurationError, match=re.escape("pip install 'geoplantnet[openvino]'")):
        predict_tile(model, tile, path, runtime="openvino")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_maps_what_the_cpu_maps(mapped):
    """On a GPU in 32 bits: |dp| <= 1e-4 of the CPU's."""
    tile, path, model = mapped
    cpu, cuda = (predict_tile(model, tile, path, accelerator=where)[0] for where in ("cpu", "cuda"))
    head = model.species_head()
    p = lambda z: head.probabilities(z[::5, ::5].reshape(-1, z.shape[2]))  # noqa: E731
    assert np.abs(p(cpu) - p(cuda)).max() <= 1e-4


def test_progress_ends_with_all_cells(mapped):
    """Every strip is told once it is done, in order, up to the whole tile."""
    tile, path, model = mapped
    heard: list[tuple[int, int]] = []
    predict_tile(model, tile, path, rows_per_strip=15, threads=2, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(600, 1600), (1200, 1600), (1600, 1600)]


def test_mapping_leaves_torch_as_it_was(mapped):
    """Switches that mapping sets are put back."""
    tile, path, model = mapped
    switches = lambda: (torch.backends.cudnn.allow_tf32, torch.utils.deterministic.fill_uninitialized_memory, torch.get_num_threads())  # noqa: E731
    before = switches()
    predict_tile(model, tile, path)
    assert switches() == before


def test_images_may_be_encoded_narrower_than_the_rest(modalities, small_grid, species):
    """`image_width` shrinks the layers inside the image encoder alone; what leaves it has the common width."""
    wide, narrow = (
        a_model(modalities, small_grid, species, architecture=Architecture(width=16, latent=32, image_width=n)) for n in (None, 8)
    )
    weights = lambda model, name: sum(w.numel() for w in model.encoders[name].parameters())  # noqa: E731
    assert weights(narrow, "image") < weights(wide, "image") / 2 and weights(narrow, "terrain") == weights(wide, "terrain")
    assert narrow.encoders["image"].out.out_channels == 16


@pytest.mark.parametrize("side", [1, 2, 5, 7, 12, 25])
def test_a_box_mean_is_the_mean_of_its_window(side):
    """By prime factors or at once: as avg_pool2d, and the bits of a window do not depend on where it lies."""
    x = torch.rand(2, 3, side + 6, side + 9)
    found = box_mean(x, side)
    torch.testing.assert_close(found, torch.nn.functional.avg_pool2d(x, side, stride=1))
    torch.testing.assert_close(box_mean(x[..., 2:, 3:], side), found[..., 2:, 3:], rtol=0, atol=0)
    torch.testing.assert_close(box_mean(x[..., :side, :side], side), found[..., :1, :1])


def test_a_tile_mapped_alone_equals_the_same_cells_of_a_larger_tile(tmp_path, modalities, sources, species):
    """No seams: a 2 km tile and the 4 km tile around it agree wherever both predict."""
    small, large = TileGrid(tile_size=2000), TileGrid(tile_size=4000)
    results = []
    for grid, tile_id in ((small, "2kmE4202N2602"), (large, "4kmE4200N2600")):
        path = tmp_path / tile_id
        tile = grid.tile(tile_id)
        write_cube(build_cube(tile, modalities, sources), path, modalities)
        results.append(predict_tile(a_model(modalities, grid, species), tile, path)[0])
    inner, outer = results
    assert np.abs(inner - outer[:40, 40:]).max() <= 1e-5


def test_a_missing_modality_is_not_a_value(mapped, modalities, sources, tmp_path):
    """Where the image is missing everywhere the tile still maps, and differs from an image of zeros."""
    tile, path, model = mapped
    from geoplantnet.sources.source import FakeSource

    nothing = {**sources, "image": FakeSource(red=lambda x, y: np.nan * (x + y), nir=lambda x, y: np.nan * (x + y))}
    write_cube(build_cube(tile, modalities, nothing), tmp_path / "c", modalities)
    z, valid = predict_tile(model, tile, tmp_path / "c")
    assert valid.all() and np.isfinite(z).all()
    assert np.abs(z - predict_tile(model, tile, path)[0]).max() > 0.01


def test_nothing_to_predict_from_is_an_error(mapped, modalities, sources, tmp_path, small_grid, species):
    """A tile on which every modality of the model is empty names itself and the fix."""
    tile = mapped[0]
    from geoplantnet.sources.source import FakeSource

    empty = FakeSource(red=lambda x, y: np.nan * (x + y), nir=lambda x, y: np.nan * (x + y))
    write_cube(build_cube(tile, modalities, {**sources, "image": empty}), tmp_path / "c", modalities)
    only_image = a_model(modalities[:1], small_grid, species)
    with pytest.raises(NoDataError, match=tile.id):
        predict_tile(only_image, tile, tmp_path / "c")
