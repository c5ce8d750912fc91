"""The files a catalog lists, as far as a request may see what is in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

from geoplantnet.catalog import Catalog
from geoplantnet.catalog.stac import CATALOG, COLLECTION, LAYERS, OVERVIEW
from geoplantnet.serving.atlas import SCENARIOS, Atlas, Epoch


class StacFiles:
    """Files by their path below the catalog's root, and those of its scenarios. Nothing else can be asked for.

    Where layers are hidden, STAC documents are told without them and the assets withheld, and without checksums of documents
    that are told so.
    """

    def __init__(self, catalog: Catalog, scenarios: Mapping[str, Catalog] | None = None) -> None:
        """`scenarios`: catalogs by their name, each in a folder of its own below the root; ``catalog.json`` is told with links to them."""
        self._titles = {name: other.title for name, other in (scenarios or {}).items()}
        self._scenarios = {name: StacFiles(other) for name, other in (scenarios or {}).items()}
        documents = [catalog.root / CATALOG, catalog.root / COLLECTION / "collection.json"]
        documents += [catalog.root / COLLECTION / tile.id / f"{tile.id}.json" for tile in catalog.tiles]
        assets = [(path, key) for tile in catalog.tiles for key, path in tile.assets.items()]
        assets += [(path, key) for whole in (catalog.overviews, catalog.assets) for key, path in whole.items()]
        self._root = catalog.root
        self._layers = frozenset(catalog.layers)
        self._documents = frozenset(documents)
        self._folders = {path: key for path, key in assets if path.is_dir()}
        listed = [*((path, "") for path in documents), *assets]
        self._files = {path.relative_to(catalog.root).as_posix(): (path, key) for path, key in listed if path not in self._folders}
        self._hidden: frozenset[str] = frozenset()
        self._withheld = catalog.withheld

    def showing(self, atlas: Atlas, epoch: Epoch | None = None) -> StacFiles:
        """The same, as far as a view of the atlas (`Atlas.showing`) has them: no predictions where a species is hidden. `epoch`: whose
        they are, if not today's.
        """
        files, catalog = copy(self), (epoch or atlas.today).catalog
        files._hidden = self._layers - frozenset(catalog.layers)
        files._withheld = catalog.withheld | atlas.kept_back
        files._scenarios = {
            name: other.showing(atlas, epoch) for name, other in self._scenarios.items() for epoch in atlas.epochs if epoch.name == name
        }
        return files

    def find(self, path: str) -> Path | None:
        """The file at a path below the root, or inside a listed folder (Zarr), if the catalog lists it and it is there."""
        for name, other in self._scenarios.items():
            if path.startswith(f"{SCENARIOS}/{name}/"):
                return other.find(path.removeprefix(f"{SCENARIOS}/{name}/"))
        listed, key = self._files.get(path, (None, ""))
        if listed is None and self._folders and "\0" not in path:
            inside = (self._root / path).resolve()
            key = next((self._folders[folder] for folder in inside.parents if folder in self._folders), "")
            listed = inside if key else None
        return listed if listed is not None and key not in self._withheld and listed.is_file() else None

    def document(self, path: Path) -> bytes | None:
        """A STAC document without what is hidden, and with links to scenarios; None where the file itself is to be handed out."""
        for other in self._scenarios.values():
            if path in other._documents:
                return other.document(path)
        has_scenarios = bool(self._scenarios) and path == self._root / CATALOG
        if path not in self._documents or not (self._hidden or self._withheld or has_scenarios):
            return None
        document: dict[str, Any] = json.loads(path.read_bytes())
        if self._hidden or self._withheld:
            document["links"] = [{k: v for k, v in link.items() if not k.startswith("file:")} for link in document.get("links", [])]
        if has_scenarios:
            document["links"] += [
                {"rel": "child", "type": "application/json", "href": f"./{SCENARIOS}/{name}/{CATALOG}", "title": self._titles[name]}
                for name in self._scenarios
            ]
        for member in ("assets", "item_assets"):
            if member in document:
                document[member] = {k: asset for k, asset in document[member].items() if k.removeprefix(OVERVIEW) not in self._withheld}
        if LAYERS in document:
            document[LAYERS] = [layer for layer in document[LAYERS] if layer["id"] not in self._hidden]
        return json.dumps(document, ensure_ascii=False).encode()
