"""A species as the planners' map tells it everywhere: in lists, at a place, in an area."""

from __future__ import annotations

from typing import Any

from geoplantnet.serving.atlas import Atlas
from geoplantnet.serving.ogc.features import trait_of
from geoplantnet.taxonomy import Taxon


def record(atlas: Atlas, taxon: Taxon) -> dict[str, Any]:
    """What is known of a species, as JSON holds it; None is unknown, never no.

    ``narrowRanged`` is of all species shown the quarter of the narrowest range (`Atlas.narrow_ranged`); ``generalised`` the metres of the
    squares that everything told of a sensitive species is a mean of.
    """

    def trait(name: str) -> Any:
        return trait_of(atlas, taxon.taxon_id, name)

    return {
        "taxonID": taxon.taxon_id,
        "scientificName": taxon.scientific_name,
        "vernacularName": taxon.vernacular_name or None,
        "family": taxon.family or None,
        "genus": taxon.genus or None,
        "iucn": trait("iucn"),
        "tree": trait("tree"),
        "invasive": trait("invasive"),
        "directive": trait("eu_directive"),
        "narrowRanged": atlas.narrow_ranged(taxon.taxon_id),
        "generalised": generalised(atlas, taxon.taxon_id),
    }


def generalised(atlas: Atlas, taxon_id: str) -> float | None:
    """Metres of the squares that a sensitive species is generalised to; None for a species that is told as it was predicted."""
    return trait_of(atlas, taxon_id, "generalised") or None


def listed(atlas: Atlas) -> tuple[Taxon, ...]:
    """The species that are shown and not withheld, in the order of the list."""
    traits = atlas.species.traits if atlas.species else {}
    return tuple(taxon for taxon in atlas.taxa if not traits.get(taxon.taxon_id, {}).get("withheld"))


def withheld(atlas: Atlas) -> int:
    """How many of the species shown are listed nowhere, since they are sensitive."""
    return len(atlas.taxa) - len(listed(atlas))
