"""What identifies plants, opened from what a user names: a net, floras, an index, what a place may say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from geoplantnet.errors import InputError, ModelError, UsageError

if TYPE_CHECKING:
    from geoplantnet.identify.engine import Identifier
    from geoplantnet.identify.network import Network
    from geoplantnet.identify.prior import PlaceWeight
    from geoplantnet.identify.projects import Projects
    from geoplantnet.serving.atlas import Atlas

ModelArg = Annotated[Path, typer.Argument(help="A trained classifier, or the folder that `identify export` wrote.")]
FlorasOption = Annotated[
    Path | None, typer.Option("--floras", help="Checklists by region (CSV: region, taxonID or scientificName, status).")
]
ExpertsOption = Annotated[int | None, typer.Option(min=0, help="Of a partition: experts that answer a photo; default 2, 0 = all.")]
PLACE_FILE = "place.json"
"""In a classifier's folder: what `identify place` learnt."""


def check_output(folder: Path, written: Sequence[str]) -> None:
    """Whether a verb may put its folder there: what stands there is replaced whole, so nothing may lie in it but what such a verb wrote.

    `written`: patterns of names. Raises UsageError.
    """
    here = Path.cwd()
    if folder.resolve() in (here, *here.parents):
        raise UsageError(f"--output {folder} is the folder you are in, or one around it; name a new one")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output {folder} is a file; name a folder")
    strange = sorted(one.name for one in folder.iterdir() if not any(map(one.match, written))) if folder.is_dir() else []
    if strange:
        more = f" and {len(strange) - 1:,} more" if len(strange) > 1 else ""
        raise UsageError(
            f"--output {folder} would be replaced, and holds {strange[0]}{more}, which this program did not write there; name another folder"
        )


def network_of(folder: Path, *, threads: int = 1, experts: int | None = None) -> Network:
    """A trained net, run by torch or, from an exported folder, by onnxruntime; of a partition `experts` answer a photo (None: two, 0: all).

    Raises ModelError for a folder that holds none, UsageError where experts are wanted of a single net.
    """
    if (folder / "partition.json").is_file():
        from geoplantnet.identify.classifier.partition import open_partition

        return open_partition(folder, k=2 if experts is None else experts or None)
    if experts is not None:
        raise UsageError(f"--experts {experts}: {folder} is one net, which has none; leave it out, or train with --partition")
    if (folder / "model.onnx").is_file():
        from geoplantnet.identify.offline import OnnxNetwork

        return OnnxNetwork(folder, threads=threads)
    from geoplantnet.identify.classifier.checkpoint import load

    return load(folder)


def projects_of(floras: Path, network: Network) -> Projects:
    """The floras of a file as projects of a net; names are looked up among the net's own species."""
    from geoplantnet.identify.projects import Projects
    from geoplantnet.identify.regions import countries

    return Projects.read(floras, network.species, countries())


def place_weight_of(folder: Path) -> PlaceWeight | None:
    """What `identify place` learnt for a classifier; None where it did not. Raises ModelError for a file that is none of its."""
    from geoplantnet.identify.prior import PlaceWeight

    if not (folder / PLACE_FILE).is_file():
        return None
    try:
        told = json.loads((folder / PLACE_FILE).read_text(encoding="utf-8"))
        return PlaceWeight(weight=float(told["weight"]), floor=float(told["floor"]))
    except (OSError, ValueError, TypeError, KeyError, InputError) as error:
        raise ModelError(f"{folder / PLACE_FILE} cannot be read ({error}); learn it anew with `geoplantnet identify place`") from error


@dataclass(frozen=True, kw_only=True)
class Maker:
    """What makes an `Identifier` in each process of a server; the maps that are served beside it bring in the place."""

    model: Path
    index: Path | None = None
    floras: Path | None = None
    experts: int | None = None
    threads: int = 1

    def __call__(self, atlas: Atlas | None) -> Identifier:
        from geoplantnet.identify.engine import Identifier
        from geoplantnet.identify.projects import Projects
        from geoplantnet.identify.regions import countries
        from geoplantnet.identify.similarity import ImageIndex
        from geoplantnet.serving.identify.prior import MapPrior, tells_species

        if self.index is not None and not self.index.is_dir():
            raise InputError(f"there is no index at {self.index}; make one with `geoplantnet identify index`")
        network = network_of(self.model, threads=self.threads, experts=self.experts)
        projects: Projects | None = None
        if self.floras is not None:
            projects = projects_of(self.floras, network)
        elif (self.model / "projects.json").is_file():
            projects = Projects.open(self.model / "projects.json", network.species, countries())
        folder = self.index or (self.model / "index")
        images = ImageIndex.open(folder) if folder.is_dir() else None
        prior = MapPrior(atlas, network.species) if atlas is not None and tells_species(atlas) else None
        weight = place_weight_of(self.model) if prior is not None else None
        return Identifier(network, projects=projects, prior=prior, index=images, place_weight=weight)


def ids_of(network: Network, species: np.ndarray) -> list[str]:
    """Ids of positions in a net's list."""
    return [network.species[int(i)].taxon_id for i in species]
