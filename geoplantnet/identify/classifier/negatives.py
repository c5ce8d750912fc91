"""Photos that show no plant: real ones of the user's, and made-up textures where there are none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError
from geoplantnet.identify.photos.squares import Squares

KINDS = ("noise", "gradient", "stripes", "tiles", "blobs")


def textures(n: int, size: int, seed: int, kinds: Sequence[str] = KINDS) -> npt.NDArray[np.uint8]:
    """(n, size, size, 3): fractal noise (sky, soil, walls), gradients, stripes, tiles with joints, and blobs, in all colours; as many of each of `kinds`."""
    rng = np.random.default_rng(seed)
    return np.stack([_texture(kinds[i % len(kinds)], size, rng) for i in range(n)]) if n else np.zeros((0, size, size, 3), np.uint8)


def photos_below(folder: str | os.PathLike[str], size: int, *, at_most: int = 2000) -> npt.NDArray[np.uint8]:
    """(n, size, size, 3): the JPEG and PNG files below a folder, in the order of their names, evenly thinned to `at_most`.

    Raises InputError for a folder without any, and for one that cannot be read.
    """
    files = sorted(str(p) for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        raise InputError(f"{folder} holds no JPEG or PNG; give a folder of photos that show no plant")
    chosen = files if len(files) <= at_most else [files[i] for i in np.linspace(0, len(files) - 1, at_most).round().astype(int)]
    with Squares(chosen, size) as squares:
        return squares[np.arange(len(chosen))]


def _texture(kind: str, size: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[0:size, 0:size] / size
    angle, scale = rng.uniform(0, np.pi), rng.uniform(2, 20)
    along = np.cos(angle) * x + np.sin(angle) * y
    fine = _fractal(size, rng.uniform(0.8, 2.2), rng)
    if kind == "noise":
        field = fine
    elif kind == "gradient":
        field = along * rng.uniform(1, 3) + 0.1 * fine
    elif kind == "stripes":
        field = np.sign(np.sin(along * scale * 2 * np.pi)) + 0.3 * fine
    elif kind == "tiles":
        across = -np.sin(angle) * x + np.cos(angle) * y
        joint = (np.abs((along * scale) % 1 - 0.5) > 0.45) | (np.abs((across * scale * rng.uniform(0.4, 1)) % 1 - 0.5) > 0.45)
        field = np.where(joint, -2.0, 0.5) + 0.4 * fine
    else:
        field = np.where(_fractal(size, 2.5, rng) > rng.uniform(-0.5, 1), 1.0, -1.0) + 0.2 * fine
    low, high = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)
    share = (field - field.min()) / max(float(np.ptp(field)), 1e-9)
    coloured = low + share[..., None] * (high - low) + rng.normal(0, rng.uniform(0, 12), (size, size, 1))
    return np.clip(coloured, 0, 255).astype(np.uint8)


def _fractal(size: int, exponent: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Noise whose power falls with frequency ** (2 exponent), of mean 0 and variance 1."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    waves = np.fft.rfft2(rng.normal(size=(size, size))) / frequency**exponent
    field = np.fft.irfft2(waves, s=(size, size))
    return field / max(float(field.std()), 1e-12)
