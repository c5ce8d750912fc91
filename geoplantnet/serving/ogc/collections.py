"""The collections of a store, as pygeoapi's configuration. Nothing is read from or written to files.

tiles                  features: the meta-tiles
species                records: one a species, with its traits and the names of its maps
coverage               features: a row a reporting cell and species
occurrences            features: the records learnt from, where the operator publishes them
species-probability    coverage: one field a species, chosen by `properties`
<layer id>             coverage: every other layer
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoplantnet.catalog.product import Layer
from geoplantnet.serving.atlas import SPECIES_PREFIX, Atlas
from geoplantnet.serving.capabilities import extents
from geoplantnet.serving.crs import CRS84, CRSS
from geoplantnet.serving.ogc.coverages import GEOTIFF
from geoplantnet.serving.ogc.features import Features, MetaTiles, SpeciesLayers, SpeciesRecords

MAX_ITEMS = 1000
"""Items of one answer."""
SPECIES_MAPS = "species-probability"
_PLUGINS = "geoplantnet.serving.ogc"


def gridded(atlas: Atlas) -> dict[str, Mapping[str, Layer]]:
    """The collections that are coverages and maps: their layers by the name of the field."""
    found: dict[str, Mapping[str, Layer]] = {}
    if species := SpeciesLayers(atlas):
        found[SPECIES_MAPS] = species
    for layer in atlas.layers.values():
        if not layer.id.startswith(SPECIES_PREFIX):
            found[layer.id] = {layer.id: layer}
    return found


def listed(atlas: Atlas, url: str, further: Mapping[str, Features]) -> dict[str, Features]:
    """The collections of features and records. `further` are those that are not made from the atlas alone."""
    found: dict[str, Features] = {"tiles": MetaTiles(atlas, url)}
    if records := SpeciesRecords(atlas, url):
        found["species"] = records
    return found | dict(further)


def configuration(atlas: Atlas, url: str, items: Mapping[str, Features]) -> dict[str, Any]:
    """Pygeoapi's configuration for a store served at `url`. `items`: see `listed`."""
    catalog = atlas.catalog
    west, south, east, north = extents(catalog)[CRS84.name]
    begin, end = min(epoch.start for epoch in atlas.epochs), max(epoch.end for epoch in atlas.epochs)
    extent = {
        "spatial": {"bbox": [west, south, east, north], "crs": CRS84.uri},
        "temporal": {"begin": f"{begin:%Y-%m-%dT%H:%M:%SZ}", "end": f"{end:%Y-%m-%dT%H:%M:%SZ}"},
    }

    def collection(title: str, description: str, provider: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "collection",
            "title": title,
            "description": description.strip(),
            "keywords": ["biodiversity", "plants"],
            "links": [{"type": "application/json", "rel": "describedby", "title": "STAC catalog", "href": f"{url}/stac/catalog.json"}],
            "extents": extent,
            "providers": [provider],
        }

    about = {
        "tiles": ("Meta-tiles", "Square tiles the maps are made and published by, with their files."),
        "species": ("Species", f"The mapped species with their traits; what is not known of one is null. {catalog.notice}"),
        "coverage": (
            "Coverage of reporting cells",
            "Share of the valid map cells of a reporting cell whose species set holds a species: a row a cell and species. Where there is no "
            f"row, the species is in no set of the cell. {catalog.notice}",
        ),
        "occurrences": (
            "Occurrences",
            "Records the model learnt from, each in the middle of the square it is generalised to (coordinateUncertaintyInMeters).",
        ),
    }
    storage = {"coverage": CRSS["EPSG:3035"].uri}
    resources = {}
    for name, source in items.items():
        kind = "record" if name == "species" else "feature"
        provider = {"type": kind, "name": f"{_PLUGINS}.features.Table", "data": source, "crs": [crs.uri for crs in CRSS.values()]}
        provider |= {"id_field": {"tiles": "tile", "species": "taxonID"}.get(name), "storage_crs": storage.get(name, CRS84.uri)}
        resources[name] = collection(*about[name], provider | ({"title_field": "title"} if name == "species" else {}))
    for name, layers in gridded(atlas).items():
        provider = {"type": "coverage", "name": f"{_PLUGINS}.coverages.Coverage", "options": {"layers": layers}, "format": GEOTIFF}
        if name == SPECIES_MAPS:
            title, words = "Species maps", f"One field a species; choose by properties=. {catalog.notice}"
            provider["data"] = atlas.today.mosaic
        else:
            (layer,) = layers.values()
            title, words = layer.title, f"{layer.description} {layer.direction}"
            provider["data"] = atlas.epochs_of(layer)[0].mosaic
        resources[name] = collection(title, words, provider)
    return {
        "server": {
            "bind": {"host": "127.0.0.1", "port": 80},
            "url": f"{url}/ogc",
            "mimetype": "application/json; charset=UTF-8",
            "encoding": "utf-8",
            "gzip": False,
            "languages": ["en-US"],
            "cors": False,
            "pretty_print": False,
            "admin": False,
            "limits": {"default_items": 10, "max_items": MAX_ITEMS, "on_exceed": "throttle"},
            "map": {"url": "", "attribution": ""},
        },
        "logging": {"level": "ERROR"},
        "metadata": {
            "identification": {
                "title": catalog.title,
                "description": f"{catalog.description} {catalog.notice}".strip(),
                "keywords": ["biodiversity", "plants", "species distribution model"],
                "keywords_type": "theme",
                "terms_of_service": catalog.license,
                "url": url,
            },
            "license": {"name": catalog.license, "url": f"{url}/stac/catalog.json"},
            "provider": {"name": catalog.title, "url": url},
            "contact": {"name": catalog.title, "url": url},
        },
        "resources": resources,
    }
