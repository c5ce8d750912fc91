"""Photos of made-up plants, drawn: what a small net can learn in seconds."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from geoplantnet.identify.photo_set import PhotoSet
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon

COLOURS = ((200, 40, 40), (60, 60, 220), (230, 210, 60), (160, 60, 180))


def species_of(n: int) -> SpeciesList:
    """The first two share a genus, and so do the next two; all are of one family."""
    taxa = tuple(
        Taxon(taxon_id=f"s{i}", scientific_name=f"Genus{i // 2} species{i}", genus=f"Genus{i // 2}", family="Familiaceae") for i in range(n)
    )
    return SpeciesList(checklist="drawn", taxa=taxa)


def plant(species: int, rng: np.random.Generator, side: int = 48) -> npt.NDArray[np.uint8]:
    """A disc of the species' colour somewhere on a green ground, both noisy."""
    y, x = np.mgrid[0:side, 0:side] / side
    centre = rng.uniform(0.35, 0.65, 2)
    disc = np.hypot(y - centre[0], x - centre[1]) < rng.uniform(0.2, 0.3)
    ground = np.array([40, 120, 50]) * rng.uniform(0.7, 1.3)
    pixels = np.where(disc[..., None], np.array(COLOURS[species]), ground) + rng.normal(0, 15, (side, side, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def drawn_set(folder: Path, n_species: int = 3, each: int = 16, *, seed: int = 0, views: int = 2) -> PhotoSet:
    """`each` photos a species, `views` of each plant; the first view a flower, the others leaves."""
    rng, rows = np.random.default_rng(seed), []
    folder.mkdir(parents=True, exist_ok=True)
    for species in range(n_species):
        for k in range(each):
            path = folder / f"{species}-{k:03}.jpg"
            path.write_bytes(jpeg(plant(species, rng)))
            organ = "flower" if k % views == 0 else "leaf"
            rows.append({"image": str(path), "species": species, "organ": organ, "observation": f"{species}-{k // views}"})
    table = pd.DataFrame(rows).assign(split="", author="", license="")
    return PhotoSet(species=species_of(n_species), table=table)
