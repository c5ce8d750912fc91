"""Floor 1, who: `SpeciesList` and `Taxon`, `Backbone` (verbatim name -> accepted species), traits and common names per species."""

from geoplantnet.taxonomy.backbone import CHECKLIST, Backbone, ParsedName, parse_name, slug, species_list_from
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon
from geoplantnet.taxonomy.traits import TRAITS, load_traits, validate_traits
from geoplantnet.taxonomy.vernacular import NameTable, common_names

__all__ = [
    "CHECKLIST",
    "TRAITS",
    "Backbone",
    "NameTable",
    "ParsedName",
    "SpeciesList",
    "Taxon",
    "common_names",
    "load_traits",
    "parse_name",
    "slug",
    "species_list_from",
    "validate_traits",
]
