"""The files a catalog lists, as far as a request may see what is in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

from geoplantnet.catalog import Catalog
from geoplantnet.catalog.stac import CATALOG, COLLECTION, LAYERS


class Files:
    """Files by their path below the catalog's root. Nothing else can be asked for.

    Where layers are hidden, a file is handed out only if layers lie in it and all of them may be seen: what has no layer of
    its own (species sets, coverage, cubes) may hold anything. STAC documents are told without what is hidden, and without
    checksums of documents that are told so.
    """

    def __init__(self, catalog: Catalog) -> None:
        documents = [catalog.root / CATALOG, catalog.root / COLLECTION / "collection.json"]
        documents += [catalog.root / COLLECTION / tile.id / f"{tile.id}.json" for tile in catalog.tiles]
        assets = [(path, key) for tile in catalog.tiles for key, path in tile.assets.items()]
        self._root = catalog.root
        self._layers = {layer.id: layer.asset for layer in catalog.layers.values()}
        self._documents = frozenset(documents)
        self._folders = {path: key for path, key in assets if path.is_dir()}
        listed = [*((path, "") for path in documents), *assets]
        self._files = {path.relative_to(catalog.root).as_posix(): (path, key) for path, key in listed if path not in self._folders}
        self._hidden: frozenset[str] = frozenset()
        self._whole: frozenset[str] = frozenset()

    def showing(self, may: Callable[[str], bool]) -> Files:
        """The same as far as the layers may be seen."""
        seen = copy(self)
        seen._hidden = frozenset(id for id in self._layers if not may(id))
        seen._whole = frozenset(self._layers.values()) - {self._layers[id] for id in seen._hidden}
        return seen

    def find(self, path: str) -> Path | None:
        """The file at a path below the root, or inside a listed folder (Zarr), if the catalog lists it and it is there."""
        listed, key = self._files.get(path, (None, ""))
        if listed is None and self._folders and "\0" not in path:
            inside = (self._root / path).resolve()
            key = next((self._folders[folder] for folder in inside.parents if folder in self._folders), "")
            listed = inside if key else None
        return listed if listed is not None and self._shows(key) and listed.is_file() else None

    def document(self, path: Path) -> bytes | None:
        """A STAC document without what is hidden; None where the file itself is to be handed out."""
        if not self._hidden or path not in self._documents:
            return None
        document: dict[str, Any] = json.loads(path.read_bytes())
        document["links"] = [{k: v for k, v in link.items() if not k.startswith("file:")} for link in document.get("links", [])]
        for member in ("assets", "item_assets"):
            if member in document:
                document[member] = {key: asset for key, asset in document[member].items() if self._shows(key)}
        if LAYERS in document:
            document[LAYERS] = [layer for layer in document[LAYERS] if layer["id"] not in self._hidden]
        return json.dumps(document, ensure_ascii=False).encode()

    def _shows(self, key: str) -> bool:
        """Whether an asset, or a document (no key), may be handed out."""
        return not self._hidden or not key or key in self._whole
