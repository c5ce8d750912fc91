"""YAML -> Recipe and Modality, with errors that name file, key, value, what is allowed and the nearest spelling."""

from __future__ import annotations

import os
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from geoplantnet.config.recipe import ClusterSection, CubeRecipe, Recipe, Section
from geoplantnet.cubes.modality import Modality
from geoplantnet.errors import ConfigurationError, UnknownTile, did_you_mean
from geoplantnet.grid.tile_grid import TileGrid
from geoplantnet.sources.units import parse

MAX_BYTES = 1_000_000
_NO_YAML = (yaml.YAMLError, UnicodeDecodeError, ValueError, LookupError, AttributeError, TypeError, RecursionError)
"""What PyYAML raises for a text that is no YAML, and for a scalar that is not what its tag or look says (2000-13-01)."""
_MODALITY = TypeAdapter(Modality)
S = TypeVar("S", bound=Section)
PACKAGED = Path(__file__).parent
_CHECKOUT = PACKAGED.parent.parent


class _Loader(yaml.SafeLoader):
    """Safe YAML without anchors (no alias bombs) and without repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()
            raise yaml.constructor.ConstructorError(None, None, "aliases (*name) are not allowed in a recipe", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", node.value[i][0].start_mark)
        return super().construct_mapping(node, deep)


def find_recipe(name: str | os.PathLike[str]) -> Path:
    """A recipe file: the path itself, or NAME.yaml of the working directory's, the checkout's or the package's recipes."""
    given = Path(name)
    candidates = [given, *(folder / f"{given}.yaml" for folder in recipe_folders())]
    for path in candidates:
        if path.is_file():
            return path
    known = sorted({p.stem for folder in recipe_folders() for p in folder.glob("*.yaml")})
    raise ConfigurationError(
        f"no recipe {str(name)!r}; give a path, or one of {', '.join(known) or 'none here'}.{did_you_mean(given.stem, known)}"
    )


def recipe_folders() -> list[Path]:
    """Where recipes are looked for by name."""
    return [p for p in (Path("configs"), _CHECKOUT / "configs", PACKAGED / "recipes") if p.is_dir()]


def load_recipe(path: str | os.PathLike[str], *, data: Path | None = None, store: Path | None = None) -> Recipe:
    """Read and check a recipe. `data` and `store` override the recipe's. Raises ConfigurationError with every fault found."""
    file = Path(path)
    return checked(Recipe, _raw_recipe(file, data, store), file)


def load_cube_recipe(path: str | os.PathLike[str], *, data: Path | None = None, store: Path | None = None) -> CubeRecipe:
    """Like `load_recipe`, also for a recipe that says no more than cubes need."""
    file = Path(path)
    raw = _raw_recipe(file, data, store)
    return checked(CubeRecipe if set(raw) <= set(CubeRecipe.model_fields) else Recipe, raw, file)


def _raw_recipe(file: Path, data: Path | None, store: Path | None) -> dict[str, Any]:
    """A recipe's keys with the command's own values, default sources and the data folder put in."""
    raw = read_yaml(file)
    chosen = os.fspath(data) if data else os.environ.get("GEOPLANTNET_DATA") or raw.get("data")
    raw = {**raw, **({"data": chosen} if chosen else {}), **({"store": str(store)} if store else {})}
    raw = _with_endpoints(_with_default_sources(raw, modality_folders(file), file), file)
    expanded: dict[str, Any] = _expand(raw, chosen if isinstance(chosen, str) else None, file)
    return expanded


def cube_recipe(
    *, grid: str, modalities: Sequence[str], store: str | os.PathLike[str] | None = None, data: str | os.PathLike[str] | None = None
) -> CubeRecipe:
    """The recipe of `geoplantnet cubes --grid NAME --modalities a,b`: shipped definitions with the sources these name.

    Raises ConfigurationError for a definition that is not there or names no source.
    """
    chosen = os.fspath(data) if data else os.environ.get("GEOPLANTNET_DATA")
    place = Path("--modalities")
    raw: dict[str, Any] = {
        "title": f"Cubes of {grid}",
        "store": os.fspath(store) if store else f"tiles/{grid}-cubes",
        "grid": {"tiles": grid},
        "modalities": {name: {"definition": name} for name in modalities},
        **({"data": chosen} if chosen else {}),
    }
    return checked(
        CubeRecipe, _expand(_with_endpoints(_with_default_sources(raw, modality_folders(place), place), place), chosen, place), place
    )


def load_cluster(name: str | os.PathLike[str]) -> ClusterSection:
    """A cluster section: a YAML file, or NAME.yaml of a `cluster` folder beside the shipped recipes. Raises ConfigurationError."""
    file = named_file(name, [folder / "cluster" for folder in recipe_folders()], what="cluster")
    return checked(ClusterSection, read_yaml(file), file)


def load_modality(name: str, folders: list[Path], *, key: str) -> Modality:
    """Read `NAME.yaml` of the first folder that has it; the modality is called `key`. Raises ConfigurationError."""
    file = named_file(name, folders, what="definition")
    raw = {k: v for k, v in read_yaml(file).items() if k != "source"}
    known = (set(Modality.__dataclass_fields__) - {"name"}) | {"source"}
    for unknown in sorted(set(raw) - known, key=str):
        raise ConfigurationError(
            f"{file}: unknown key {unknown!r}; allowed: {', '.join(sorted(known))}.{did_you_mean(str(unknown), known)}"
        )
    try:
        modality = _MODALITY.validate_python({**raw, **_band_fields(raw, file), "name": key})
        for unit in modality.units:
            parse(unit)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_sentence(e, Modality, file) for e in error.errors(include_url=False))) from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from error
    return modality


def _band_fields(raw: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """`bands` as a mapping name -> {units, plausible, long_name}, spread over the fields of a Modality; and one unit for all."""
    bands, units = raw.get("bands"), raw.get("units")
    if not isinstance(bands, Mapping):
        return {} if units is None else {"units": [str(u) for u in units] if isinstance(units, list) else [str(units)]}
    known = ("units", "plausible", "long_name")
    for band, facts in bands.items():
        if not isinstance(facts, Mapping | None):
            raise ConfigurationError(
                f"{file}: bands.{band}: a mapping with the keys {', '.join(known)} was expected (found {facts!r:.120})"
            )
        for key in facts or ():
            if key not in known:
                raise ConfigurationError(
                    f"{file}: bands.{band}: unknown key {key!r}; allowed: {', '.join(known)}.{did_you_mean(str(key), known)}"
                )
    for key in ("units", "plausible", "long_names"):
        if key in raw:
            raise ConfigurationError(f"{file}: {key}: say it of each band, since `bands` is a mapping here")
    facts_of = {str(band): facts or {} for band, facts in bands.items()}
    return {
        "bands": list(facts_of),
        "units": [str(facts.get("units", "1")) for facts in facts_of.values()],
        "plausible": [facts.get("plausible") for facts in facts_of.values()],
        "long_names": [str(facts.get("long_name", band)) for band, facts in facts_of.items()],
    }


def _with_default_sources(raw: dict[str, Any], folders: list[Path], file: Path) -> dict[str, Any]:
    """A recipe whose modalities all name a source, as far as their definitions do."""
    modalities = raw.get("modalities")
    if not isinstance(modalities, Mapping):
        return raw
    filled = dict(modalities)
    for key, section in modalities.items():
        if isinstance(section, Mapping) and isinstance(section.get("definition"), str) and "source" not in section:
            try:
                source = read_yaml(named_file(section["definition"], folders, what="definition")).get("source")
            except ConfigurationError as error:
                raise ConfigurationError(f"{file}: modalities.{key}.definition: {error}") from error
            if source is not None:
                filled[key] = {**section, "source": source}
    return {**raw, "modalities": filled}


def _with_endpoints(raw: dict[str, Any], file: Path) -> dict[str, Any]:
    """A recipe in which every endpoint that was named is written out: what its file says is part of what a cube is made from."""
    modalities = raw.get("modalities")
    if not isinstance(modalities, Mapping):
        return raw
    filled = dict(modalities)
    for key, section in modalities.items():
        if not (isinstance(section, Mapping) and isinstance(source := section.get("source"), Mapping)):
            continue
        if not isinstance(named := source.get("endpoint"), str):
            continue
        if re.match(r"[a-z0-9+.-]+://", named) or Path(named).suffix in (".json", ".geojson", ".ndjson"):
            endpoint: dict[str, Any] = {"url": named}
        else:
            try:
                endpoint = read_yaml(named_file(named, [folder / "sources" for folder in recipe_folders()], what="endpoint"))
            except ConfigurationError as error:
                raise ConfigurationError(f"{file}: modalities.{key}.source.endpoint: {error}") from error
        filled[key] = {**section, "source": {**source, "endpoint": endpoint}}
    return {**raw, "modalities": filled}


def named_file(name: str | os.PathLike[str], folders: Sequence[Path], *, what: str) -> Path:
    """NAME.yaml of the first folder that has it, or the file NAME itself."""
    given = Path(name)
    for file in (*(folder / f"{given}.yaml" for folder in folders), given):
        if file.is_file() and file.suffix in (".yaml", ".yml"):
            return file
    available = sorted({p.stem for folder in folders if folder.is_dir() for p in folder.glob("*.yaml")})
    raise ConfigurationError(f"no {what} {str(name)!r}; there are {', '.join(available) or 'none'}.{did_you_mean(str(name), available)}")


def modality_folders(recipe_file: Path) -> list[Path]:
    """Where modality definitions are looked for: beside the recipe, then with the shipped recipes."""
    return [recipe_file.parent / "modalities", *(folder / "modalities" for folder in recipe_folders())]


def named_grids() -> dict[str, Path]:
    """Name -> table of every named grid: of the working directory's, the checkout's or the package's, the first of a name wins."""
    folders = [p for p in (Path("tiles"), _CHECKOUT / "tiles", PACKAGED / "grids") if p.is_dir()]
    files = {file.stem: file for folder in reversed(folders) for file in folder.glob("*.csv")}
    return dict(sorted(files.items()))


def load_tile_ids(tiles: str | tuple[str, ...], grid: TileGrid) -> list[str]:
    """Tile ids of a named grid (first column of tiles/NAME.csv) or of a list, checked against the grid."""
    if isinstance(tiles, tuple):
        ids = list(tiles)
    else:
        known = named_grids()
        if (file := known.get(tiles)) is None:
            raise ConfigurationError(f"grid.tiles: no grid named {tiles!r}; there are {', '.join(known)}.{did_you_mean(tiles, known)}")
        ids = [line.split(",")[0] for line in file.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    if not ids:
        raise ConfigurationError("grid.tiles: no tile is named; list at least one tile id")
    if len(set(ids)) != len(ids):
        raise ConfigurationError(f"grid.tiles: {next(t for t in ids if ids.count(t) > 1)!r} stands twice")
    try:
        return [grid.tile(tile_id).id for tile_id in ids]
    except UnknownTile as error:
        raise ConfigurationError(f"grid.tiles: {error}") from error


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML mapping, safely. Raises ConfigurationError naming file and line."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ConfigurationError(f"{file}: {file.stat().st_size} bytes; a recipe has at most {MAX_BYTES}")
        value = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read ({error.strerror})") from error
    except _NO_YAML as error:
        raise ConfigurationError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{file}: a mapping of keys was expected, found {type(value).__name__}")
    return value


def _expand(value: Any, data: str | None, file: Path) -> Any:
    if isinstance(value, Mapping):
        return {k: _expand(v, data, file) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, data, file) for v in value]
    if isinstance(value, str) and "{data}" in value:
        if data is None:
            raise ConfigurationError(f"{file}: {value!r} needs `data:` in the recipe, --data, or the environment variable GEOPLANTNET_DATA")
        return value.replace("{data}", data)
    return value


def checked(model: type[S], raw: dict[str, Any], file: Path) -> S:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        faults = [_sentence(e, model, file) for e in error.errors(include_url=False)]
        raise ConfigurationError("\n".join(faults)) from error
    except ConfigurationError as error:  # of a value object inside, such as a time axis
        raise ConfigurationError(f"{file}: {error}") from error


def _sentence(error: Any, model: type[Any], file: Path) -> str:
    """One fault as a line: file: key: what is wrong with which value, what is allowed, the nearest spelling."""
    loc, sections = _follow(model, error["loc"])
    key = ".".join(str(p) for p in loc)
    value = error.get("input")
    if not key:  # a rule between several keys, which its message names
        return f"{file}: {error['msg'].removeprefix('Value error, ')}"
    if error["type"] == "extra_forbidden":
        allowed = sorted({name for section in _follow(model, error["loc"][:-1])[1] for name in section.model_fields})
        return f"{file}: {key}: unknown key {loc[-1]!r}; allowed: {', '.join(allowed)}.{did_you_mean(str(loc[-1]), allowed)}"
    if error["type"] == "missing":
        return f"{file}: {key}: missing; add it"
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        tags = [tag for section in sections for tag in _kinds(section)]
        found = value.get("kind") if isinstance(value, Mapping) else None
        wrong = "missing; add one of" if found is None else f"{str(found)!r} is none of"
        return f"{file}: {key}.kind: {wrong} {', '.join(tags)}.{did_you_mean(str(found), tags)}"
    if error["type"] == "literal_error":
        allowed = [a.strip().strip("'") for a in error["ctx"]["expected"].replace(" or ", ",").split(",")]
        return f"{file}: {key}: {value!r} is none of {', '.join(allowed)}.{did_you_mean(str(value), allowed)}"
    if error["type"] in ("model_type", "model_attributes_type") and sections:
        keys = ", ".join(sorted({name for section in sections for name in section.model_fields}))
        return f"{file}: {key}: a section with the keys {keys} was expected (found {value!r:.120})"
    found = "" if isinstance(value, Mapping) else f" (found {value!r:.120})"
    said = error["msg"].removeprefix("Value error, ").replace("tuple", "list").replace("Tuple", "List").split(" for <class")[0]
    return f"{file}: {key}: {said}{found}"


def _follow(model: type[Any], loc: tuple[Any, ...]) -> tuple[list[Any], list[type[BaseModel]]]:
    """A fault's location as a reader of the YAML sees it, and the sections it points into.

    pydantic also puts the tag that chose a section (its `kind`) into the location; the file has no such key.
    """
    shown: list[Any] = []
    here: Any = model
    for part in loc:
        if part == "[key]":  # pydantic's mark for a fault of the key itself
            continue
        sections = list(_sections(here))
        tagged = [s for s in sections if part in _kinds(s)]
        origin = typing.get_origin(here)
        if origin is dict or (origin is tuple and isinstance(part, int)):
            shown.append(part)
            here = typing.get_args(here)[1 if origin is dict else 0]
        elif len(sections) > 1 and tagged:
            here = tagged[0]
        elif origin in (typing.Union, types.UnionType) and not sections:
            continue  # pydantic's name for the member of the union it tried
        else:
            shown.append(part)
            here = next((s.model_fields[part].annotation for s in sections if part in s.model_fields), None)
    return shown, list(_sections(here))


def _kinds(section: type[BaseModel]) -> tuple[str, ...]:
    kind = section.model_fields.get("kind")
    return typing.get_args(kind.annotation) if kind else ()


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The section classes an annotation stands for: itself, or the members of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif typing.get_origin(annotation) in (typing.Annotated, typing.Union, types.UnionType):
        for inner in typing.get_args(annotation):
            yield from _sections(inner)
