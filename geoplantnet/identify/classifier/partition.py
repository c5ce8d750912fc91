"""A master and its experts: as heads on shared features (`PartitionedHead`), or as nets of their own (`PartitionedNetwork`)."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax
from torch import Tensor, nn
from torch.nn import functional as F

from geoplantnet.errors import ConfigurationError, InputError, ModelError
from geoplantnet.identify.classifier import checkpoint
from geoplantnet.identify.classifier.levels import log_sums
from geoplantnet.identify.classifier.losses import LOSSES
from geoplantnet.identify.classifier.model import TorchNetwork
from geoplantnet.identify.classifier.train import Training, fit
from geoplantnet.identify.network import Card, Network, Outputs
from geoplantnet.identify.partition import Partition, asked
from geoplantnet.identify.photo_set import PhotoSet
from geoplantnet.storage import json_text, write_beside
from geoplantnet.taxonomy.species_list import SpeciesList

FACTS, MASTER = "partition.json", "master"
"""In a partition's folder: what its groups are, and the net that tells them apart."""


class PartitionedHead(nn.Module):
    """Features (photo, d) -> log p (photo, species), by a linear master over groups and linear experts within them.

    Their softmax is p itself, and cross-entropy of them is -ln p(group) - ln p(species | group): with all experts asked, as in training, it takes the
    place of any other head. The gradient of a photo reaches its own group's expert alone.
    """

    def __init__(self, d: int, partition: Partition) -> None:
        super().__init__()
        self.partition = partition
        self.master = nn.Linear(d, len(partition.names))
        self.experts = nn.Linear(d, len(partition.of))
        self.register_buffer("of", torch.from_numpy(partition.of), persistent=False)
        for layer in (self.master, self.experts):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    of: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """With every expert."""
        within = self.experts(features)
        inside = within - log_sums(within, self.of, len(self.partition.names))[:, self.of]
        return F.log_softmax(self.master(features), dim=1)[:, self.of] + inside

    @torch.no_grad()
    def answer(self, features: Tensor, k: int | None) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Log p (photo, species) with the experts of each photo's k likeliest groups (None: all) asked, and which were (photo, group).

        Only their rows are multiplied; within the other groups `Partition.shares` speak.
        """
        master = F.log_softmax(self.master(features), dim=1).cpu().numpy()
        chosen = asked(master, k)
        within = np.full((len(features), len(self.partition.of)), np.nan)
        for group, members in enumerate(self.partition.members):
            if len(rows := np.flatnonzero(chosen[:, group])):
                at = torch.from_numpy(members).to(features.device)
                told = F.linear(features[torch.from_numpy(rows).to(features.device)], self.experts.weight[at], self.experts.bias[at])
                within[np.ix_(rows, members)] = F.log_softmax(told, dim=1).cpu().numpy()
        return self.partition.joined(master, within).astype(np.float32), chosen


@dataclass
class Cost:
    """What answers have cost since it was opened."""

    photos: int = 0
    experts: int = 0
    """Nets asked beside the master, a photo counting each."""
    loads: int = 0
    """Times an expert was read from disk."""


@dataclass(eq=False)
class PartitionedNetwork:
    """A master net over groups and an expert net a group, as one `identify.network.Network`. Safe to call from several threads.

    Features, organs and plant are the master's. Logits are log p, temperatures of all parts in them, so that the card's own is 1 unless it is calibrated
    again as a whole. A group without an expert (of one species, or of too few photos) is answered by its shares.
    """

    card: Card
    species: SpeciesList
    partition: Partition
    master: Network
    experts: Mapping[int, Callable[[], Network]]
    """By group: what loads its expert, over the group's species in ascending order of position; called when first asked."""
    k: int | None = 2
    """Experts asked a photo; None = all."""
    kept: int = 64
    """Experts in memory; the one not asked for the longest leaves first."""
    cost: Cost = field(default_factory=Cost)
    _loaded: OrderedDict[int, Network] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        """Raises ModelError where the parts do not fit each other, InputError for k or kept below 1."""
        if len(self.species) != len(self.partition.of) or len(self.master.species) != len(self.partition.names):
            raise ModelError(
                f"{len(self.species)} species and a master of {len(self.master.species)} groups do not fit a partition of {len(self.partition.of)} "
                f"species into {len(self.partition.names)}"
            )
        if (self.k is not None and self.k < 1) or self.kept < 1:
            raise InputError(f"{self.k} experts a photo and {self.kept} kept; at least one of each was expected")

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> Outputs:
        """Of photos (n, size, size, 3)."""
        told = self.master(pixels)
        master = log_softmax(told.logits.astype(float) / self.master.card.temperature, axis=1)
        chosen = asked(master, self.k)
        within = np.full((len(pixels), len(self.species)), np.nan)
        runs = 0
        for group in np.flatnonzero(chosen.any(axis=0)):
            if int(group) not in self.experts:
                continue
            expert = self._expert(int(group))
            rows = np.flatnonzero(chosen[:, group])
            logits = expert(pixels[rows]).logits.astype(float)
            members = np.flatnonzero(self.partition.of == group)
            within[np.ix_(rows, members)] = log_softmax(logits / expert.card.temperature, axis=1)
            runs += len(rows)
        with self._lock:
            self.cost.photos += len(pixels)
            self.cost.experts += runs
        return replace(told, logits=self.partition.joined(master, within).astype(np.float32))

    def _expert(self, group: int) -> Network:
        """Two threads may load one expert at once; either's is kept."""
        with self._lock:
            if group in self._loaded:
                self._loaded.move_to_end(group)
                return self._loaded[group]
        found = self.experts[group]()
        wanted = tuple(self.species[i].taxon_id for i in np.flatnonzero(self.partition.of == group))
        if (seen := tuple(taxon.taxon_id for taxon in found.species)) != wanted or found.card.size != self.card.size:
            raise ModelError(
                f"the expert of group {self.partition.names[group]!r} is of {len(seen)} species at {found.card.size} pixels, not of the group's "
                f"{len(wanted)} at {self.card.size}; train it anew"
            )
        with self._lock:
            self.cost.loads += 1
            self._loaded[group] = found
            while len(self._loaded) > self.kept:
                self._loaded.popitem(last=False)
        return found


def master_photos(photos: PhotoSet, partition: Partition) -> PhotoSet:
    """The photos labelled by group."""
    table = photos.table.assign(species=partition.of[photos.labels])
    return replace(photos, species=partition.groups_list(photos.species.checklist), table=table)


def expert_photos(photos: PhotoSet, partition: Partition, group: int) -> PhotoSet:
    """The photos of a group's species, over these alone."""
    members = partition.members[group]
    own = photos.subset(np.isin(photos.labels, members))
    taxa = tuple(photos.species[int(i)] for i in members)
    listed = SpeciesList(checklist=f"{partition.names[group]} of {photos.species.checklist}", taxa=taxa)
    return replace(own, species=listed, table=own.table.assign(species=np.searchsorted(members, own.labels)))


def fit_partition(
    folder: str | os.PathLike[str],
    photos: PhotoSet,
    partition: Partition,
    training: Training,
    *,
    validation: PhotoSet | None = None,
    groups: Sequence[int] | None = None,
    without_plants: str | os.PathLike[str] | None = None,
    name: str = "partition",
    version: str = "1",
    device: str = "cpu",
    made: Mapping[str, Any] | None = None,
    on_part: Callable[[str], None] = lambda name: None,
) -> Path:
    """Train a master and an expert for every group with photos of two species or more, and commit them as `folder`: what `open_partition` opens.

    With `groups` only these experts are trained; the master and the other experts of the folder stay: a species more in one group costs one expert. The
    folder changes in one step at the end; what was begun and killed goes on, part by part. The temperatures of the parts come from `validation`.
    `without_plants`: photos that show none, of which the master learns; `made`: what is kept beside each part as its provenance. Raises InputError as `classifier.train.fit` and for a single group, ModelError
    for `groups` of a folder that holds no partition into the same ones, and ConfigurationError where parts of another training were begun there.
    """
    if len(partition.names) < 2:
        raise InputError("all species are in one group, which a master cannot tell apart; train without a partition")
    shared = partition.with_counts(photos.counts)
    root = Path(folder)
    begun = root.parent / f".{root.name}-begun"
    if groups is not None:
        _master(root, shared)
    kept = _parts(root) if groups is not None else {}
    wanted = [g for g in range(len(shared.names)) if groups is None or g in groups]
    _begin(
        begun,
        {
            "training": asdict(training),
            "groups": wanted,
            "of": shared.of.tolist(),
            "photos": list(photos.table["image"]),
            "labels": photos.labels.tolist(),
        },
    )

    def part(told: str, where: str, own: PhotoSet, judge: PhotoSet | None) -> None:
        if (begun / where).is_dir():  # done before it was killed
            return
        on_part(told)
        judge = judge if judge is not None and len(judge) else None
        fitted = fit(
            own,
            _for(training, len(own.species)),
            validation=judge,
            resume=begun / f"state-{where}",
            device=device,
            name=name if where == MASTER else f"{name}: {told}",
            version=version,
            without_plants=without_plants if where == MASTER else None,
            negatives=None if where == MASTER else np.zeros((0, 1, 1, 3), np.uint8),
        )  # an expert is not asked whether it is a plant
        checkpoint.save(fitted.network, begun / where, training=asdict(training), **(made or {}))
        shutil.rmtree(begun / f"state-{where}", ignore_errors=True)

    if groups is None:
        part("master", MASTER, master_photos(photos, shared), None if validation is None else master_photos(validation, shared))
    for group in wanted:
        own = expert_photos(photos, shared, group)
        if len(np.unique(own.labels)) >= 2:
            held = None if validation is None else expert_photos(validation, shared, group)
            part(f"expert {shared.names[group]}", _expert(group), own, held)
    facts = {"species": photos.species.to_dict(), "names": shared.names, "of": shared.of.tolist(), "shares": shared.shares.tolist()}
    with write_beside(root) as temporary:
        temporary.mkdir()
        for where, source in (kept | _parts(begun)).items():
            shutil.copytree(source, temporary / where)
        experts = [g for g in range(len(shared.names)) if (temporary / _expert(g)).is_dir()]
        (temporary / FACTS).write_text(json_text({**facts, "experts": experts}), encoding="utf-8")
    shutil.rmtree(begun, ignore_errors=True)
    return root


def _parts(folder: Path) -> dict[str, Path]:
    """Master and experts that lie in a folder, by name."""
    return {path.name: path for path in sorted(folder.iterdir()) if (path / checkpoint.FACTS).is_file()}


def _expert(group: int) -> str:
    return f"expert-{group:05d}"


def _for(training: Training, species: int) -> Training:
    """As `training`; a loss of the first k species has a k below the number of them."""
    k = training.loss_options.get("k", LOSSES[training.loss].options.get("k"))
    return training if k is None or k < species else replace(training, loss_options={**training.loss_options, "k": species - 1})


def _begin(folder: Path, of: Mapping[str, object]) -> None:
    """An empty folder for parts, unless it holds parts of the same training. Raises ConfigurationError where it holds parts of another."""
    told = json_text(json.loads(json.dumps(of)))
    if (folder / "of.json").is_file():
        if (folder / "of.json").read_text(encoding="utf-8") == told:
            return
        raise ConfigurationError(
            f"{folder} keeps {len(_parts(folder))} parts of a training of other photos, options or groups; start that one again to go on, or delete "
            "the folder to begin anew"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with write_beside(folder / "of.json") as temporary:
        temporary.write_text(told, encoding="utf-8")


def _master(root: Path, partition: Partition) -> TorchNetwork:
    """The master of a folder. Raises ModelError for one of other groups."""
    master = checkpoint.load(root / MASTER)
    if [taxon.taxon_id for taxon in master.species] != [taxon.taxon_id for taxon in partition.groups_list("")]:
        raise ModelError(
            f"{root} holds a master of {len(master.species)} other groups than the {len(partition.names)} given; train all of it anew"
        )
    return master


def open_partition(folder: str | os.PathLike[str], *, k: int | None = 2, kept: int = 64) -> PartitionedNetwork:
    """What `fit_partition` wrote; experts are read when they are first asked. Raises ModelError where the folder holds none."""
    root = Path(folder)
    try:
        facts = json.loads((root / FACTS).read_text(encoding="utf-8"))
        species = SpeciesList.from_dict(facts["species"])
        partition = Partition(names=tuple(facts["names"]), of=np.array(facts["of"], np.intp), shares=np.array(facts["shares"], float))
        experts = {int(group): root / _expert(int(group)) for group in facts["experts"]}
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        raise ModelError(f"no readable partition at {root} ({error}); train one with fit_partition") from error
    if absent := [path.name for path in experts.values() if not path.is_dir()]:
        raise ModelError(f"{root} lacks {', '.join(absent)}; bring them back, or train them anew with fit_partition(groups=...)")
    master = _master(root, partition)
    return PartitionedNetwork(
        card=replace(master.card, name=f"{master.card.name} and {len(experts)} experts", temperature=1.0, figures={}),
        species=species,
        partition=partition,
        master=master,
        experts={group: lambda path=path: checkpoint.load(path) for group, path in experts.items()},  # type: ignore[misc]
        k=k,
        kept=kept,
    )
