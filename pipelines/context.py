"""`CubeRun` and `Run`: a recipe made concrete (grid, tiles, modalities, sources) and where its products lie."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from geoplantnet.config.load import (
    cube_recipe,
    find_recipe,
    load_cluster,
    load_cube_recipe,
    load_modality,
    load_recipe,
    load_tile_ids,
    modality_folders,
)
from geoplantnet.config.recipe import SCENARIOS, ChangeSection, CubeRecipe, Recipe, StacSection
from geoplantnet.config.rooms import bounds_of, grid_of, sources_of
from geoplantnet.config.typology import load_typology
from geoplantnet.cubes.modality import Modality
from geoplantnet.errors import ConfigurationError, InputError, UnknownTile, UsageError, did_you_mean
from geoplantnet.grid.tile_grid import MetaTile, TileGrid
from geoplantnet.indicators import indicator
from geoplantnet.sources.source import Source
from pipelines.ledger import fingerprint

R = TypeVar("R", bound="CubeRun")
HABITAT = "habitat"
"""The indicator that is made from a typology of the recipe's."""


@dataclass(frozen=True, kw_only=True)
class CubeRun:
    """What the cubes of one recipe on one store need. Picklable: workers get one, not what was made of it."""

    recipe: CubeRecipe
    grid: TileGrid
    tiles: tuple[str, ...]
    """All tiles of the recipe."""
    chosen: tuple[str, ...]
    """The tiles whose own tasks are carried out; what concerns all tiles (records, world, training, catalog) stays whole."""
    modalities: tuple[Modality, ...]
    """All modalities of the recipe."""
    wanted: tuple[str, ...]
    """Names of the modalities whose cubes are built."""
    store: Path

    @classmethod
    def of_grid(
        cls,
        grid: str,
        modalities: Sequence[str],
        *,
        data: Path | None = None,
        store: Path | None = None,
        tiles: tuple[str, ...] = (),
        cluster: str | None = None,
    ) -> CubeRun:
        """The cubes of a named grid from shipped modalities and the sources these name. Raises ConfigurationError."""
        recipe = cube_recipe(grid=grid, modalities=modalities, store=store, data=data)
        return CubeRun(**_concrete(recipe, Path(f"--grid {grid}"), tiles, (), cluster))

    @classmethod
    def open_cubes(
        cls,
        recipe: str | Path,
        *,
        data: Path | None = None,
        store: Path | None = None,
        tiles: tuple[str, ...] = (),
        modalities: tuple[str, ...] = (),
        cluster: str | None = None,
    ) -> CubeRun:
        """The cubes of a recipe, which may say no more than these need; else like `Run.open`."""
        file = find_recipe(recipe)
        return CubeRun(**_concrete(load_cube_recipe(file, data=data, store=store), file, tiles, modalities, cluster))

    def modality(self, name: str) -> Modality:
        return next(m for m in self.modalities if m.name == name)

    def source(self, name: str) -> Source:
        """The source of a modality; made once a process."""
        if name not in self._sources:
            self._sources.update(sources_of(self.recipe, self.grid, self.tiles, [self.modality(name)]))
        return self._sources[name]

    @cached_property
    def _sources(self) -> dict[str, Source]:
        return {}

    @property
    def sources(self) -> dict[str, Source]:
        """A source for every modality."""
        return {m.name: self.source(m.name) for m in self.modalities}

    def is_remote(self, name: str) -> bool:
        """Whether a modality is read over the network."""
        section = self.recipe.modalities[name].source
        if isinstance(section, StacSection):
            return section.endpoint.path is None
        if section.kind.startswith("virtual"):
            return False  # no world need be made to know it
        return bool(getattr(self.source(name), "remote", False))

    @cached_property
    def asked(self) -> dict[str, str]:
        """Hash of what is asked for of every modality (definition, source, world), the same wherever the data lie."""
        return {m.name: self._asked(m) for m in self.modalities}

    def _asked(self, modality: Modality) -> str:
        source = self.recipe.modalities[modality.name].source
        words = source.model_dump_json(exclude={"endpoint": {"budget"}})  # patience with a server changes no pixel
        world = self.recipe.world
        if self.recipe.data is not None:
            words = words.replace(os.fspath(self.recipe.data), "{data}")
        virtual = (
            [world.model_dump(), self.recipe.seed, bounds_of(self.grid, self.tiles)]
            if world and source.kind.startswith("virtual")
            else None
        )
        change = self.recipe.modalities[modality.name].change
        return fingerprint(asdict(modality), words, virtual, *([change.model_dump()] if change else []))

    def tile(self, tile_id: str) -> MetaTile:
        return self.grid.tile(tile_id)

    def cube(self, tile_id: str) -> Path:
        return self.store / "cubes" / f"{tile_id}.zarr"

    def __getstate__(self) -> dict[str, Any]:
        """Fields alone: what was derived is derived again where it is needed."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, kw_only=True)
class Run(CubeRun):
    """One whole recipe on one store, or one of its scenarios on a store inside that."""

    recipe: Recipe
    scenario: str = ""
    """Name of the scenario; empty for the recipe's own climate and years."""
    base: Run | None = None
    """A scenario's: the run of the recipe itself, whose model and records it takes over."""
    other: tuple[str, ...] = ()
    """A scenario's: names of the modalities that are others than its base's."""

    @classmethod
    def open(
        cls,
        recipe: str | Path,
        *,
        data: Path | None = None,
        store: Path | None = None,
        tiles: tuple[str, ...] = (),
        modalities: tuple[str, ...] = (),
        cluster: str | None = None,
    ) -> Run:
        """Read a recipe and everything it names. `tiles` and `modalities` choose some of the recipe's, `cluster` replaces its
        own (see `load_cluster`). Raises ConfigurationError.
        """
        file = find_recipe(recipe)
        run = cls(**_concrete(load_recipe(file, data=data, store=store), file, tiles, modalities, cluster))
        _check_indicators(run.recipe, file)
        _check_unavailable(run, file)
        _check_cellwise(run, file)
        _check_habitats(run, file)
        _check_model(run, file)
        _check_sensitive(run, file)
        for name in run.recipe.scenarios:
            scenario = run.under(name)
            for other in scenario.other:
                section = scenario.recipe.modalities[other]
                _check_change(section.change, scenario.modality(other), f"{file}: scenarios.{name}.modalities.{other}.change")
        return run

    def under(self, name: str) -> Run:
        """The run of one scenario of the recipe. Raises UsageError with the nearest spelling."""
        if name not in self.recipe.scenarios:
            known = ", ".join(self.recipe.scenarios) or "none"
            near = did_you_mean(name, self.recipe.scenarios)
            raise UsageError(f"--scenario: {name!r} is no scenario of {self.recipe.title!r}; there are {known}.{near}")
        recipe = self.recipe.under(name)
        other = {m.name: recipe.modalities[m.name].time or m.time for m in self.modalities}
        modalities = tuple(replace(m, time=other[m.name]) for m in self.modalities)
        for before, after in zip(self.modalities, modalities):
            if before.times != after.times:
                raise ConfigurationError(
                    f"scenarios.{name}.modalities.{after.name}.time: {after.times} periods, the model learns from {before.times}; give as many"
                )
        return replace(
            self,
            recipe=recipe,
            modalities=modalities,
            store=self.store / SCENARIOS / name,
            scenario=name,
            base=self,
            other=tuple(self.recipe.scenarios[name].modalities),
        )

    @property
    def model_modalities(self) -> tuple[Modality, ...]:
        """The modalities the model learns from."""
        return tuple(m for m in self.modalities if self.recipe.modalities[m.name].train)

    def latent(self, tile_id: str) -> Path:
        return self.store / "latent" / f"{tile_id}.zarr"

    def dense(self, tile_id: str) -> Path:
        return self.store / "dense" / f"{tile_id}.zarr"

    def predictions(self, tile_id: str) -> Path:
        """What the model says of a tile, in whichever store it lies (`assemblages.stores.open_species_tile`)."""
        dense = self.dense(tile_id)
        return dense if dense.exists() else self.latent(tile_id)

    def assemblage(self, tile_id: str) -> Path:
        return self.store / "assemblage" / f"{tile_id}.zarr"

    def product(self, tile_id: str, name: str) -> Path:
        return self.store / "tiles" / tile_id / name

    @property
    def occurrences(self) -> Path:
        return self.store / "occurrences"

    @property
    def records(self) -> Path:
        return self.occurrences / "records"

    @property
    def model(self) -> Path:
        return self.store / "model"


def _concrete(recipe: CubeRecipe, file: Path, tiles: tuple[str, ...], wanted: tuple[str, ...], cluster: str | None) -> dict[str, Any]:
    """The fields of a run."""
    if cluster:
        recipe = recipe.model_copy(update={"cluster": load_cluster(cluster)})
    try:
        grid = grid_of(recipe)
    except UsageError as error:
        raise ConfigurationError(f"{file}: grid: {error}") from error
    try:
        ids = load_tile_ids(recipe.grid.tiles, grid)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from error
    known = set(ids)
    for tile_id in tiles:
        if tile_id not in known:
            raise UnknownTile(f"{tile_id!r} is none of the {len(ids)} tiles of {file}.{did_you_mean(tile_id, ids)}")
    for name in wanted:
        if name not in recipe.modalities:
            near = did_you_mean(name, recipe.modalities)
            raise UsageError(f"--modalities: {name!r} is none of {', '.join(recipe.modalities)} of {file}.{near}")
    return {
        "recipe": recipe,
        "grid": grid,
        "tiles": tuple(ids),
        "chosen": tuple(dict.fromkeys(tiles)) or tuple(ids),
        "modalities": tuple(_modality(name, recipe, file, grid) for name in recipe.modalities),
        "wanted": tuple(dict.fromkeys(wanted)) or tuple(recipe.modalities),
        "store": recipe.store.resolve(),
    }


def _modality(name: str, recipe: CubeRecipe, file: Path, grid: TileGrid) -> Modality:
    """One modality of the recipe, with the recipe's own periods, fit for its grid."""
    section = recipe.modalities[name]
    try:
        modality = load_modality(section.definition, modality_folders(file), key=name)
        if section.time is not None:
            modality = replace(modality, time=section.time)
        modality.check_against(grid)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: modalities.{name}.definition: {error}") from error
    _check_change(section.change, modality, f"{file}: modalities.{name}.change")
    return modality


def _check_change(change: ChangeSection | None, modality: Modality, where: str) -> None:
    """The bands that a change names are there."""
    for band in (*change.add, *change.multiply) if change else ():
        if band not in modality.bands:
            near = did_you_mean(band, modality.bands)
            raise ConfigurationError(f"{where}: {band!r} is none of its bands {', '.join(modality.bands)}.{near}")


def _check_unavailable(run: Run, file: Path) -> None:
    """The bands the map section names are there."""
    for name, bands in run.recipe.map.unavailable.items():
        known = run.modality(name).bands
        for band in bands:
            if band not in known:
                near = did_you_mean(band, known)
                raise ConfigurationError(f"{file}: map.unavailable.{name}: {band!r} is none of its bands {', '.join(known)}.{near}")


def _check_indicators(recipe: Recipe, file: Path) -> None:
    for name in recipe.indicators:
        if name == HABITAT:
            continue
        try:
            indicator(name)
        except ConfigurationError as error:
            raise ConfigurationError(f"{file}: indicators: {error}") from error


def _check_habitats(run: Run, file: Path) -> None:
    """The typology it names is there, and what it reads plots' land cover from is learnt from."""
    if run.recipe.habitats is None:
        return
    try:
        typology = load_typology(run.recipe.habitats.typology)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: habitats.typology: {error}") from error
    learnt = {m.name: m.bands for m in run.model_modalities}
    if typology.modality is None:
        return
    if typology.modality not in learnt:
        near = did_you_mean(typology.modality, learnt)
        raise ConfigurationError(f"{file}: habitats: its typology reads {typology.modality!r}, which the model does not learn from.{near}")
    for band in (band for habitat in typology.habitats for band in habitat.bands):
        if band not in learnt[typology.modality]:
            near = did_you_mean(band, learnt[typology.modality])
            raise ConfigurationError(f"{file}: habitats: its typology reads band {band!r} of {typology.modality}, which has none.{near}")


def _check_model(run: Run, file: Path) -> None:
    """The model recipe it names is there, can be read and can be mapped; found out now, not after hours of cubes."""
    if run.recipe.training.model is None:
        return
    try:
        from geoplantnet.config.models import mapped_model  # here: it needs torch
    except ModuleNotFoundError:
        return  # a machine that only serves, or plans, trains nothing
    try:
        mapped_model(run.recipe, run.recipe.seed, run.grid)
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from error


def _check_sensitive(run: Run, file: Path) -> None:
    """The table of sensitive species can be read, and names regions that the tiles have: a species left unprotected is found out now."""
    if run.recipe.sensitive is None:
        return
    from pipelines.sensitive import rules  # here: it builds on this module

    try:
        rules(run)
    except InputError as error:
        raise InputError(f"{file}: sensitive: {error}") from error


def _check_cellwise(run: Run, file: Path) -> None:
    """Measured values and shares that cannot hold plants belong to single cells; refuse them of any other modality."""
    cellwise = {m.name for m in run.modalities if m.window == 1 and m.resolution == run.grid.cell_size}
    for where, names in (("training.measured", run.recipe.training.measured), ("map.unavailable", run.recipe.map.unavailable)):
        for name in names:
            if name not in cellwise:
                known = ", ".join(sorted(cellwise)) or "none here"
                raise ConfigurationError(f"{file}: {where}: {name!r} is not on the cells with a window of 1; those that are: {known}")
