"""The catalog's records of species: counted from those the model learnt from, with altitudes of the cubes, and told no finer than the rules say."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.catalog import check, open_catalog
from geoplantnet.catalog.species_records import FILE, SPECIES_RECORDS, SpeciesRecords
from geoplantnet.config.rooms import name_tables
from geoplantnet.occurrences import load
from geoplantnet.occurrences.record_counts import ROUGHEST
from geoplantnet.serving.sensitive import sensitivity
from geoplantnet.taxonomy import NameTable
from pipelines import ingest_occurrences, sensitive
from pipelines.context import Run
from pipelines.species_records import write_records
from pipelines.tables import stored_species


@pytest.fixture(scope="module")
def records(reference) -> SpeciesRecords:
    return SpeciesRecords(open_catalog(reference.store).assets[SPECIES_RECORDS])


def rows(records: SpeciesRecords, facet: str) -> pd.DataFrame:
    """All species' counts of a facet."""
    told = [(taxon, row) for taxon in (f"v{i:03d}" for i in range(1, 21)) if (found := records.of(taxon)) for row in found.counts]
    return pd.DataFrame([{"taxonID": taxon, **row} for taxon, row in told if row["facet"] == facet])


def test_every_record_is_counted_by_month_and_kind(reference, opened: Run, records: SpeciesRecords) -> None:
    """Of each species as many as the stored records have; those of the virtual volunteers have months, plots have none."""
    found = load(opened.records)
    species = [taxon.taxon_id for taxon in stored_species(opened)]
    assert len(records) == len(species)
    expected = found.occurrences.loc[found.occurrences["taxonID"].isin(species), "taxonID"].value_counts().sort_index()
    for facet in ("sampling", "year", "month", "altitude", "dataset"):
        counted = rows(records, facet).groupby("taxonID")["count"].sum()
        pd.testing.assert_series_equal(counted, expected, check_names=False, check_dtype=False)
    months, kinds = rows(records, "month"), rows(records, "sampling").set_index("label")["count"].groupby("label").sum()
    assert months.loc[months["untold"] == "unknown", "count"].sum() == kinds["presence-absence"]
    assert months.loc[months["untold"] == "", "count"].sum() == kinds["presence-only"]
    assert open_catalog(reference.store).assets[SPECIES_RECORDS].is_file() and check(reference.store) == []


def test_altitudes_are_of_the_relief_at_the_place(opened: Run, records: SpeciesRecords) -> None:
    """Plots have their own; of precise records it is the source's elevation there, as class; of others it is said why there is none."""
    found = load(opened.records)
    events = found.events.set_index("eventID")
    volunteers = events[events["sampling"] == "presence-only"]
    terrain = opened.source("terrain")
    ground = pd.Series(terrain.at(volunteers[["x", "y"]])[:, list(terrain.bands).index("elevation")], index=volunteers.index)
    inside = pd.Series(np.isin(opened.grid.tile_ids_at(volunteers["x"], volunteers["y"]), opened.tiles), index=volunteers.index)
    precise = volunteers["coordinateUncertaintyInMeters"] <= ROUGHEST
    species = [taxon.taxon_id for taxon in stored_species(opened)]
    of = found.occurrences[found.occurrences["taxonID"].isin(species)].set_index("eventID")["taxonID"]
    of = of[of.index.isin(volunteers.index)]
    expected = of.to_frame().assign(low=np.floor(ground.reindex(of.index) / 100) * 100)[(precise & inside).reindex(of.index)]
    told = rows(records, "altitude")
    relief = told[told["label"] == "relief"].set_index(["taxonID", "lower"])["count"].sort_index()
    wanted = expected.groupby(["taxonID", "low"]).size()
    # The terrain modality computes on cells, the source at points: a record on the edge of a class may fall on either side.
    assert relief.sum() == wanted.sum() and relief.sub(wanted, fill_value=0).abs().sum() <= 0.02 * wanted.sum() + 2
    assert told.loc[told["untold"] == "imprecise", "count"].sum() == int((~precise & inside).reindex(of.index).sum())
    assert (
        told.loc[told["label"] == "recorded", "count"].sum()
        == rows(records, "sampling").query("label == 'presence-absence'")["count"].sum()
    )


def test_the_same_run_writes_the_same_bytes(opened: Run, reference, tmp_path: Path) -> None:
    """Counted again it is the same file."""
    shutil.copytree(reference.store, tmp_path / "store")
    again = Run.open(reference.recipe, store=tmp_path / "store")
    before = (again.store / FILE).read_bytes()
    write_records(again, again.tiles)
    assert (again.store / FILE).read_bytes() == before


def test_sensitive_species_are_counted_coarsely_or_not_at_all(reference, write_recipe, tmp_path: Path) -> None:
    """By the recipe's table: one without altitudes, one without a row, and no altitude of what grew with the first."""
    shutil.copytree(reference.store, tmp_path / "store")
    found = load(tmp_path / "store" / "occurrences" / "records").occurrences
    both = found.merge(found, on="eventID").query("taxonID_x < taxonID_y")[["taxonID_x", "taxonID_y"]].value_counts()
    first, third = both.index[0]
    species = [taxon.taxon_id for taxon in stored_species(Run.open(reference.recipe, store=tmp_path / "store"))]
    second = next(taxon for taxon in species if taxon not in (first, third))
    (tmp_path / "sensitive.csv").write_text(f"taxon,region,category,reason,review\n{first},,3,dug up,\n{second},,1,trampled,\n")
    run = Run.open(write_recipe({"sensitive": str(tmp_path / "sensitive.csv")}), store=tmp_path / "store")
    write_records(run, run.tiles)
    told = SpeciesRecords(run.store / FILE)
    coarse, other = told.of(first), told.of(third)
    assert told.of(second) is None and second not in pd.read_parquet(run.store / FILE)["taxonID"].tolist()
    assert coarse and other and {row["untold"] for row in coarse.counts if row["facet"] in ("altitude", "dataset")} == {"withheld"}
    assert all(row["upper"] - row["lower"] == 9 for row in coarse.counts if row["facet"] == "year" and not row["untold"])
    assert sum(row["count"] for row in other.counts if row["untold"] == "withheld") == both.iloc[0] > 0


@given(st.dictionaries(st.sampled_from(["withheld", "withheld_in_part"]), st.just(True)), st.sampled_from([None, 1_250]))
def test_records_are_coarse_as_the_server_tells_them(flags: dict[str, bool], metres: int | None) -> None:
    """The pipeline's squares are those of the serving room, for every combination of what a tile may do to a species."""
    traits = {**flags, **({"generalised": metres} if metres else {}), "generalisation": "Words"}

    class Told:
        recipe = type("Recipe", (), {"sensitive": Path("table.csv")})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sensitive, "sensitive_traits", lambda run: {"v001": traits})
        found = sensitivity(traits)
        assert found is not None and sensitive.records_squares(Told()) == {"v001": found.records_square}  # type: ignore[arg-type]


def test_another_table_of_names_makes_the_records_due(write_recipe, tmp_path: Path) -> None:
    """The recipe's tables reach the taxonomy as they are written; their bytes are part of what the stage is asked for."""
    for name in ("reference.csv", "synonyms.csv", "records.csv", "names.csv"):
        (tmp_path / name).write_text("x\n")
    backbone = {
        "reference": str(tmp_path / "reference.csv"),
        "synonyms": str(tmp_path / "synonyms.csv"),
        "vernacular": [{"names": str(tmp_path / "names.csv"), "source": "A flora"}],
    }
    recipe = write_recipe({"backbone": backbone, "occurrences": [{"kind": "darwin-core", "file": str(tmp_path / "records.csv")}]})
    asked = lambda: ingest_occurrences.settings(Run.open(recipe, store=tmp_path / "store"))("all")  # noqa: E731
    assert name_tables(Run.open(recipe).recipe) == (NameTable(names=tmp_path / "names.csv", source="A flora"),)
    before = asked()
    assert before == asked()
    (tmp_path / "names.csv").write_text("another\n")
    assert before != asked()
