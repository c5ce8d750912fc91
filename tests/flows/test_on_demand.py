"""A tile on demand: which tiles the pipeline is run for, and what its ends mean."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

from geoplantnet.errors import InputError, StorageError, TryAgain, UnknownTile
from pipelines import on_demand
from pipelines.context import Run

TILES = ("25kmE4125N2575", "25kmE4150N2575", "25kmE4150N2600")


@pytest.fixture
def said(monkeypatch, tmp_path):
    """A store with one published tile; the pipeline is not run, what it is called with is kept, and it ends as told."""
    (tmp_path / "tiles" / TILES[0]).mkdir(parents=True)
    (tmp_path / "tiles" / TILES[0] / f"{TILES[0]}.json").write_text("{}")
    monkeypatch.setattr(Run, "open", classmethod(lambda cls, recipe, **chosen: SimpleNamespace(tiles=TILES, store=tmp_path)))
    told = SimpleNamespace(command=[], ends=0, says="")

    def run(command, **options):
        told.command = command
        return subprocess.CompletedProcess(command, told.ends, "", told.says)

    monkeypatch.setattr(on_demand.subprocess, "run", run)
    return told


def test_the_published_tiles_stay_in_the_catalog(said, tmp_path):
    """The run is for those that are published and the one asked for."""
    assert on_demand.map_tile("demo", None, tmp_path, TILES[2])["tiles"] == 2
    words = said.command[said.command.index("run") :]
    assert words == ["run", "demo", "--store", str(tmp_path), "--tile", TILES[0], "--tile", TILES[2]]


@pytest.mark.parametrize(("ends", "kind"), [(75, TryAgain), (6, StorageError), (4, InputError), (1, InputError)])
def test_what_fails_is_told(said, tmp_path, ends, kind):
    """Another run at work is a bad moment; all else is told in the pipeline's own words."""
    said.ends, said.says = ends, "the disk is full"
    with pytest.raises(kind, match="try again" if ends == 75 else "the disk is full"):
        on_demand.map_tile("demo", None, tmp_path, TILES[1])


def test_only_tiles_of_the_recipe_are_mapped(said, tmp_path):
    """Another tile is refused before anything is run."""
    with pytest.raises(UnknownTile, match="none of the 3 tiles"):
        on_demand.map_tile("demo", None, tmp_path, "25kmE0N0")
    assert said.command == []
