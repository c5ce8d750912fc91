"""Held-out predictions come back as they were left, or not at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geoplantnet.errors import InputError, ModelError
from geoplantnet.sdm.held_out import HeldOut
from geoplantnet.storage import sha256


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_is_loaded_is_what_was_saved(held_out, tmp_path, dtype):
    """Every field, bit for bit, in half and single precision, with blocks and without; models in their order."""
    for block in (held_out.block, None):
        left = replace(held_out, p={name: p.astype(dtype) for name, p in held_out.p.items()}, block=block)
        left.save(tmp_path / "held_out")
        back = HeldOut.load(tmp_path / "held_out")
        assert back.species == left.species and back.event == left.event and list(back.p) == list(left.p)
        assert (back.block is None) == (block is None)
        for name in ("fold", "xy", "block"):
            if (value := getattr(left, name)) is not None:
                np.testing.assert_array_equal(getattr(back, name), value)
        np.testing.assert_array_equal(back.found(), left.found())
        for name, p in left.p.items():
            np.testing.assert_array_equal(back.p[name], p)
            assert back.p[name].dtype == dtype


def test_the_same_predictions_are_the_same_bytes(held_out, tmp_path):
    """Whatever order the presences of a row were in."""
    held_out.save(tmp_path / "a")
    shuffled = held_out.truth.copy()
    for i in range(shuffled.shape[0]):
        row = slice(shuffled.indptr[i], shuffled.indptr[i + 1])
        shuffled.indices[row] = shuffled.indices[row][::-1]
    shuffled.has_sorted_indices = False
    replace(held_out, truth=shuffled).save(tmp_path / "b")
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")


@pytest.mark.parametrize(
    "change",
    [
        lambda h: {"event": h.event[:-1]},
        lambda h: {"event": (h.event[1], *h.event[1:])},
        lambda h: {"fold": h.fold[:-1]},
        lambda h: {"block": h.block[:-1]},
        lambda h: {"truth": h.truth[:, :-1]},
        lambda h: {"p": {}},
        lambda h: {"p": {"model": h.p["model"][:-1]}},
        lambda h: {"p": {"model": h.p["model"].astype(np.float64)}},
        lambda h: {"p": {"model": h.p["model"] + np.float32(1)}},
        lambda h: {"p": {"model": np.where(h.p["model"] > 0.9, np.float32(np.nan), h.p["model"])}},
    ],
)
def test_what_does_not_hang_together_is_refused(held_out, change):
    """Lengths, repeated plots, shapes, types, NaN, no probabilities."""
    with pytest.raises(InputError):
        replace(held_out, **change(held_out))


def test_none_is_a_clear_error(tmp_path):
    """It names the command that makes them."""
    with pytest.raises(ModelError, match="geoplantnet train"):
        HeldOut.load(tmp_path / "held_out")


@pytest.mark.parametrize("name", ["held_out.json", "plots.parquet", "predictions.safetensors"])
@pytest.mark.parametrize("cut", [0, 0.5])
def test_a_damaged_folder_is_told_from_a_missing_one(held_out, tmp_path, name, cut):
    """Each file emptied or cut in half."""
    held_out.save(tmp_path / "held_out")
    file = tmp_path / "held_out" / name
    raw = file.read_bytes()
    file.write_bytes(raw[: int(cut * len(raw))])
    with pytest.raises(ModelError, match="damaged"):
        HeldOut.load(tmp_path / "held_out")


def test_files_of_two_trainings_are_not_mixed(held_out, tmp_path):
    """Fewer plots in one file than in the others."""
    held_out.save(tmp_path / "a")
    half = np.arange(75)
    fewer = replace(
        held_out,
        event=held_out.event[:75],
        fold=held_out.fold[half],
        block=held_out.block[half],
        truth=held_out.truth[half],
        xy=held_out.xy[half],
        p={name: p[half] for name, p in held_out.p.items()},
    )
    fewer.save(tmp_path / "b")
    for name in ("plots.parquet", "predictions.safetensors"):
        held_out.save(tmp_path / "a")
        (tmp_path / "b" / name).replace(tmp_path / "a" / name)
        fewer.save(tmp_path / "b")
        with pytest.raises(ModelError, match="damaged"):
            HeldOut.load(tmp_path / "a")
