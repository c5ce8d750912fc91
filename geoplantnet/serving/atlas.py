"""What a server shows: layers by name, in today's map and in those of scenarios and of other models.

Some twenty layers are advertised. Species are not: ten thousand of them would make ten megabytes of capabilities. Each is a layer all
the same, ``species.<taxonID>``, made when it is asked for and drawn from the tiles' predictions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from geoplantnet import __version__
from geoplantnet.catalog import Catalog, open_catalog
from geoplantnet.catalog.overview import SPECIES, SpeciesOverview
from geoplantnet.catalog.product import Layer, Uncertainty, readable_end
from geoplantnet.catalog.species_records import SPECIES_RECORDS
from geoplantnet.catalog.stac import CATALOG
from geoplantnet.errors import ConfigurationError, LayerNotFound, UnknownSpecies, did_you_mean
from geoplantnet.serving import styles
from geoplantnet.serving.cache import takes_time
from geoplantnet.serving.exceptions import InvalidDimensionValue, shown
from geoplantnet.serving.fields import Kept
from geoplantnet.serving.mosaic import CACHE_BYTES, LATENT, PREDICTED, Mosaic
from geoplantnet.serving.sensitive import Sensitivity, sensitivities, sensitivity
from geoplantnet.serving.taxa import TaxonRecords
from geoplantnet.taxonomy import Taxon

SPECIES_PREFIX = "species."
TODAY = "today"
"""Name of the epoch of a store's own map, beside those of its scenarios."""
SCENARIOS = "scenarios"
"""Folder of a store that holds theirs."""
_OPEN_FILES = 256


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One map of everything: today's, that of a scenario, or that of another model."""

    name: str
    title: str
    start: datetime
    end: datetime
    """What the map stands for, UTC."""
    published: datetime
    """When its catalog was written."""
    mosaic: Mosaic

    @property
    def catalog(self) -> Catalog:
        return self.mosaic.catalog


def _everything(layer_id: str) -> bool:
    return True


class Atlas:
    """The epochs of a store and the layers they show. Shared by all requests and threads."""

    def __init__(self, epochs: tuple[Epoch, ...], may: Callable[[str], bool] = _everything) -> None:
        """`may` tells whether a layer, by its id, is to be shown; `epochs` show no others."""
        self.epochs, self._may = epochs, may
        found: dict[str, Layer] = {}
        for epoch in epochs:
            for layer in epoch.catalog.layers.values():
                styles.check_layer(layer)
                found.setdefault(layer.id, layer)
        self.layers: Mapping[str, Layer] = MappingProxyType(found)
        """Those that are advertised: what the publisher lists, in that order."""
        versions = [epoch.catalog.version for epoch in epochs]
        self.version = versions[0] if len(versions) == 1 else hashlib.sha256("".join(versions).encode()).hexdigest()
        """Changes when any published byte does: the catalog's own, or of all of them together."""
        shown_ids = sorted(layer_id for epoch in epochs for layer_id in epoch.catalog.layers) if may is not _everything else []
        hides = [taxon.taxon_id for taxon in self.taxa] if may is not _everything else []
        told = "\n".join((self.version, __version__, *shown_ids, *hides))
        self.seal = hashlib.sha256(told.encode()).hexdigest()
        """The same where the same bytes, the same program and the same layers are shown: what an ETag begins with."""

    @property
    def today(self) -> Epoch:
        return self.epochs[0]

    @property
    def catalog(self) -> Catalog:
        """Of today's map: title, notice, licence, extent."""
        return self.today.catalog

    @property
    def models(self) -> dict[str, Path]:
        """Stores of other models, as `open_atlas` took them."""
        own = self.catalog.root
        return {epoch.name: epoch.catalog.root for epoch in self.epochs if not epoch.catalog.root.is_relative_to(own)}

    def showing(self, may: Callable[[str], bool]) -> Atlas:
        """The same as if only the layers whose ids may be seen were there."""
        return Atlas(tuple(replace(epoch, mosaic=epoch.mosaic.showing(may)) for epoch in self.epochs), may)

    # ---- species

    @cached_property
    def species(self) -> SpeciesOverview | None:
        """All species, with what is known of them; None for a store published without."""
        predictions = self.today.mosaic.predictions
        return predictions.overview if predictions else None

    @cached_property
    def taxa(self) -> tuple[Taxon, ...]:
        """The species that are shown, in the order of the list; none of those withheld."""
        return tuple(t for t in self._visible if not self._is_withheld(t.taxon_id))

    @cached_property
    def withheld(self) -> tuple[Taxon, ...]:
        """Sensitive species that no list holds: to be counted, and not to be named."""
        return tuple(t for t in self._visible if self._is_withheld(t.taxon_id))

    @cached_property
    def _visible(self) -> tuple[Taxon, ...]:
        return tuple(t for t in self.species.species if self._may(f"{SPECIES_PREFIX}{t.taxon_id}")) if self.species else ()

    @cached_property
    def taxon_records(self) -> TaxonRecords | None:
        """The species that are shown, as they are told; None for a store published without."""
        return TaxonRecords(self.species, self.taxa, self.generalised) if self.species else None

    def sensitivity(self, taxon_id: str) -> Sensitivity | None:
        """What is done to a species because it is sensitive; None for one that is not."""
        return self.sensitive.get(taxon_id)

    def generalised(self, taxon_id: str) -> int | None:
        """Metres of the squares whose means are told of a sensitive species; None for one that is told cell by cell."""
        found = self.sensitive.get(taxon_id)
        return found.generalised if found else None

    @cached_property
    def sensitive(self) -> Mapping[str, Sensitivity]:
        """What is done to every sensitive taxon id, those withheld and those not shown to this client among them."""
        return sensitivities(self.species) if self.species else {}

    def _is_withheld(self, taxon_id: str) -> bool:
        found = self.sensitive.get(taxon_id)
        return found is not None and found.withheld

    @property
    def shown(self) -> frozenset[str]:
        """Ids of all layers that are shown, in any epoch, advertised or of species."""
        return frozenset(self.layers) | {f"{SPECIES_PREFIX}{taxon.taxon_id}" for taxon in self.taxa}

    @property
    def hides_species(self) -> bool:
        """Whether there are species that are not shown to this client; those withheld from all are in no file either."""
        return self.species is not None and len(self._visible) < len(self.species.species)

    of_species = frozenset({*PREDICTED, "assemblage", "coverage", "species", SPECIES, SPECIES_RECORDS})
    """Keys of the assets that species lie in, which are no files to hand out where some are hidden."""

    @property
    def kept_back(self) -> frozenset[str]:
        """Keys of the assets that are no files to hand out: where species are hidden all that species lie in, and where some are sensitive the
        latent vectors: a head fitted to the means of their squares would tell again what was made coarse.
        """
        if self.hides_species:
            return self.of_species
        return frozenset({LATENT}) if self.sensitive else frozenset()

    def taxon(self, taxon_id: str) -> Taxon:
        """Raises UnknownSpecies with the nearest spellings."""
        if self.species is None:
            raise UnknownSpecies("no species are served here; the store was published without them")
        if taxon_id in self.species.species and self._may(f"{SPECIES_PREFIX}{taxon_id}") and not self._is_withheld(taxon_id):
            return self.species.species[self.species.species.index_of(taxon_id)]
        takes_time()
        near = did_you_mean(taxon_id[:60], (taxon.taxon_id for taxon in self.taxa))
        raise UnknownSpecies(f"{shown(taxon_id)} is none of the {len(self.taxa)} species of {self.catalog.title}.{near}")

    def species_layer(self, taxon_id: str) -> Layer:
        """The layer of a species. Raises UnknownSpecies."""
        if published := self.layers.get(f"{SPECIES_PREFIX}{taxon_id}"):
            return published
        taxon = self.taxon(taxon_id)
        assert self.species
        k = self.species.species.index_of(taxon.taxon_id)
        assets = self.catalog.tiles[0].assets
        asset = next(key for key in PREDICTED if key in assets)
        common = f" ({taxon.vernacular_name})" if taxon.vernacular_name else ""
        plot = f" on a plot of {self.species.plot_area:g} m²" if self.species.plot_area else ""
        spread = Uncertainty(
            band=k + 1,
            title=f"{taxon.scientific_name}: disagreement of models",
            range=(0.0, 0.25),
            direction="yellow = models disagree, blue = they agree",
            fr=f"{taxon.scientific_name} : désaccord des modèles",
        )
        sensitive = self.sensitivity(taxon.taxon_id)
        said, dit = (f"; {sensitive.legend(language)}" if sensitive else "" for language in ("en", "fr"))
        return Layer(
            id=f"{SPECIES_PREFIX}{taxon.taxon_id}",
            title=taxon.scientific_name + common,
            description=f"Predicted probability of finding {taxon.scientific_name}{plot}. "
            f"{f'{sensitive.generalisation}. ' if sensitive else ''}{self.catalog.notice}",
            family="Species",
            asset=asset,
            band=k + 1,
            range=(0.0, readable_end(float(self.species.highest[k]), least=0.02)),
            direction=f"yellow = most likely, violet = unlikely{said}",
            fr={
                "title": taxon.scientific_name,
                "description": f"Probabilité prédite de trouver {taxon.scientific_name}{plot.replace('on a plot of', 'sur une placette de')}"
                f"{dit}.",
                "direction": f"jaune = le plus probable, violet = improbable{dit}",
            },
            attribution=next((layer.attribution for layer in self.layers.values()), ""),
            uncertainty=spread if (assets[asset] / "member_bias").exists() else None,
            generalised=sensitive.generalised if sensitive else None,
        )

    # ---- by name

    def layer(self, name: str) -> Layer:
        """The layer named `name`, advertised or of a species. Raises LayerNotFound with the nearest spellings."""
        if len(name) > 100:
            raise LayerNotFound(f"{shown(name)} names no layer: it has {len(name)} characters")
        layer = self.layers.get(name)
        if layer is not None:
            return layer
        if name.startswith(SPECIES_PREFIX) and self.species:
            try:
                return self.species_layer(name.removeprefix(SPECIES_PREFIX))
            except UnknownSpecies as error:
                raise LayerNotFound(str(error)) from None
        raise LayerNotFound(
            f"{name!r} is not among the {len(self.layers)} layers of {self.catalog.title}.{did_you_mean(name, self.layers)}"
        )

    def epochs_of(self, layer: Layer) -> tuple[Epoch, ...]:
        """The epochs that show a layer; those of change are of scenarios alone."""
        if layer.asset in PREDICTED:
            return tuple(epoch for epoch in self.epochs if epoch.mosaic.predictions)
        return tuple(epoch for epoch in self.epochs if layer.id in epoch.catalog.layers)

    def epoch(self, layer: Layer, *, time: str = "", scenario: str = "") -> Epoch:
        """The epoch that shows a layer at a time, of a scenario, or both; without either today's, or else the first that has the layer.

        `time` is a date or moment (ISO 8601), or ``start/end``: the epoch it lies in, or else the nearest one, counts. Raises
        InvalidDimensionValue.
        """
        choice = self.epochs_of(layer)
        if scenario:
            choice = tuple(epoch for epoch in choice if epoch.name == scenario)
            if not choice:
                names = [epoch.name for epoch in self.epochs_of(layer)]
                raise InvalidDimensionValue(
                    f"scenario {shown(scenario)} does not show layer {layer.id!r}; use one of {', '.join(names)}."
                    f"{did_you_mean(scenario[:30], names)}"
                )
        if not time or time.lower() in ("current", "default"):
            return choice[0]
        start, end = moments(time)
        return min(choice, key=lambda epoch: max((epoch.start - end).total_seconds(), (start - epoch.end).total_seconds(), 0))

    def shown_by(self, layer: Layer, epoch: Epoch) -> Layer:
        """The layer as that epoch tells it: its range and words may differ."""
        return epoch.catalog.layers.get(layer.id, layer)

    def close(self) -> None:
        """Close the files not in use."""
        for epoch in self.epochs:
            epoch.mosaic.close()


def open_atlas(path: str | Path, *, cache_bytes: int = CACHE_BYTES, models: Mapping[str, Path] | None = None) -> Atlas:
    """The catalog at `path`, those of the scenarios in its store, and those of the stores of other `models` by name, as they stand now.

    Raises what `open_catalog` raises, IntegrityError for an overview of species that cannot be read, and ConfigurationError for a layer that
    cannot be drawn, for a model whose name is taken or whose species are others, and for maps whose sensitive species are others.
    """
    catalogs = {TODAY: open_catalog(path)}
    folder = catalogs[TODAY].root / SCENARIOS
    for own in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (own / CATALOG).is_file():
            catalogs[own.name] = open_catalog(own)
    for name, store in (models or {}).items():
        if name in catalogs:
            raise ConfigurationError(
                f"serving.models: {name!r} is the name of the store's own map or of a scenario; call the model otherwise"
            )
        catalogs[name] = open_catalog(store)
    kept = Kept(cache_bytes, _OPEN_FILES)
    epochs = {name: _epoch(name, catalog, kept) for name, catalog in catalogs.items()}
    atlas = Atlas(tuple(epochs.values()))
    species = atlas.species  # opened now: a damaged overview is told to who starts the server
    for name in models or {}:
        other = epochs[name].mosaic.predictions
        if other and (species is None or other.overview.species.hash != species.species.hash):
            raise ConfigurationError(
                f"serving.models: {name!r} maps another list of species than the store; train both on the same occurrences"
            )
    for epoch in atlas.epochs[1:] if atlas.sensitive else ():
        _require_as_coarse(atlas, epoch)
    return atlas


def _require_as_coarse(atlas: Atlas, epoch: Epoch) -> None:
    """Raises ConfigurationError for a map that keeps back less of a species than today's: it would tell what today's does not."""
    predictions = epoch.mosaic.predictions
    traits = predictions.overview.traits if predictions else {}
    for taxon_id, today in atlas.sensitive.items() if predictions else ():
        then = sensitivity(traits.get(taxon_id, {}))
        if then is None or (today.withheld, today.withheld_in_part, today.generalised) != (
            then.withheld,
            then.withheld_in_part,
            then.generalised,
        ):
            raise ConfigurationError(
                f"{epoch.name} was mapped when other rules held for sensitive species, and today's map tells less of {taxon_id}; map it again "
                f"(`geoplantnet run RECIPE --scenario {epoch.name}`, or the recipe of the model), or leave {epoch.catalog.root} out"
            )


def _epoch(name: str, catalog: Catalog, kept: Kept) -> Epoch:
    start, end = (datetime.fromisoformat(moment) for moment in catalog.interval)
    published = datetime.fromtimestamp((catalog.root / CATALOG).stat().st_mtime, UTC)
    mosaic = Mosaic(catalog, kept=kept)
    return Epoch(name=name, title=catalog.title, start=start, end=end, published=published, mosaic=mosaic)


def moments(text: str) -> tuple[datetime, datetime]:
    """The two ends of a time as clients write it; one that is no interval begins and ends at once. Raises InvalidDimensionValue."""
    parts = text.split("/")
    if len(parts) > 3:
        raise InvalidDimensionValue(f"TIME={shown(text)} is no time; write a date such as 2025-01-01, or start/end")
    ends = [_moment(part, text) for part in parts[:2]]
    return ends[0], ends[-1]


def _moment(part: str, text: str) -> datetime:
    padded = part + {4: "-01-01", 7: "-01"}.get(len(part), "")
    try:
        moment = datetime.fromisoformat(padded)
    except ValueError:
        raise InvalidDimensionValue(f"TIME={shown(text)} is no time; write a date such as 2025-01-01, or start/end") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
