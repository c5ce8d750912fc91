"""What one web service lists and answers: everything, one species, or a family.

Ten thousand species would make ten megabytes of capabilities. So the service of everything lists what the publisher lists and
answers ``species.<taxonID>`` beside; and each species, and each family up to a limit, has a small service of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from geoplantnet.catalog.product import Layer
from geoplantnet.errors import LayerNotFound, did_you_mean
from geoplantnet.serving.atlas import SPECIES_PREFIX, Atlas
from geoplantnet.serving.cache import takes_time
from geoplantnet.serving.exceptions import shown

MOST_SPECIES = 200
"""Species listed in the service of a family."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a service lists and answers."""

    path: str
    """Where it answers, below the server's own address: ``wms/species/abies-alba``."""
    title: str
    abstract: str
    keywords: tuple[str, ...]
    layers: tuple[Layer, ...]
    """Those that are listed."""
    whole: bool = False
    """Whether it answers all layers there are, and not those alone that it lists."""
    compact: bool = False
    """Whether palettes are told once for all layers, and not with a legend each."""

    def layer(self, atlas: Atlas, name: str) -> Layer:
        """The layer called `name`. Raises LayerNotFound with the nearest spellings."""
        if self.whole:
            return atlas.layer(name)
        found = next((layer for layer in self.layers if layer.id == name), None)
        if found is None:
            names = [layer.id for layer in self.layers]
            raise LayerNotFound(f"{shown(name)} is not served at /{self.path}.{did_you_mean(name[:100], names)} Ask /wms for all layers")
        return found


def everything(atlas: Atlas) -> Offer:
    """The service of the whole atlas."""
    catalog = atlas.catalog
    words = ("biodiversity", "plants", "species distribution model", "vegetation")
    abstract = " ".join(part for part in (catalog.notice, catalog.description) if part)
    return Offer(path="wms", title=catalog.title, abstract=abstract, keywords=words, layers=tuple(atlas.layers.values()), whole=True)


def one_species(atlas: Atlas, taxon_id: str) -> Offer:
    """The service of one species. Raises LayerNotFound."""
    layer = atlas.layer(f"{SPECIES_PREFIX}{taxon_id}")
    known = [taxon for taxon in atlas.taxa if taxon.taxon_id == taxon_id]
    words = [word for taxon in known for word in (taxon.scientific_name, taxon.vernacular_name, taxon.genus, taxon.family) if word]
    return Offer(
        path=f"wms/species/{quote(taxon_id, safe='')}",
        title=f"{layer.title}: {atlas.catalog.title}",
        abstract=layer.description,
        keywords=tuple(dict.fromkeys(words or [layer.title])),
        layers=(layer,),
    )


def one_family(atlas: Atlas, name: str) -> Offer:
    """The service of a family's species, by their scientific names, at most `MOST_SPECIES` of them. Raises LayerNotFound."""
    takes_time()
    taxa = [taxon for taxon in atlas.taxa if taxon.family.casefold() == name.casefold()]
    if not taxa or not name:
        raise LayerNotFound(
            f"no species of family {shown(name)} is served here.{did_you_mean(name[:100], sorted({taxon.family for taxon in atlas.taxa}))}"
        )
    taxa.sort(key=lambda taxon: taxon.scientific_name)
    listed, family = taxa[:MOST_SPECIES], taxa[0].family
    left = (
        f" {len(taxa) - len(listed)} more are left off here; /wms answers them as {SPECIES_PREFIX}<taxonID>."
        if len(taxa) > MOST_SPECIES
        else ""
    )
    return Offer(
        path=f"wms/family/{quote(family, safe='')}",
        title=f"{family}: {atlas.catalog.title}",
        abstract=f"{len(listed)} of {len(taxa)} species of {family}.{left} {atlas.catalog.notice}",
        keywords=(family, *sorted({taxon.genus for taxon in taxa if taxon.genus})),
        layers=tuple(atlas.species_layer(taxon.taxon_id) for taxon in listed),
        compact=True,
    )
