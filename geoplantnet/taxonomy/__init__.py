"""Floor 1, who: `SpeciesList` and `Taxon`, `Backbone` (verbatim name -> accepted species), and traits per species."""

from geoplantnet.taxonomy.backbone import CHECKLIST, Backbone, ParsedName, parse_name, slug, species_list_from
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon
from geoplantnet.taxonomy.traits import TRAITS, load_traits, validate_traits

__all__ = [
    "CHECKLIST",
    "TRAITS",
    "Backbone",
    "ParsedName",
    "SpeciesList",
    "Taxon",
    "load_traits",
    "parse_name",
    "slug",
    "species_list_from",
    "validate_traits",
]
