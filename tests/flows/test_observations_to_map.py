"""From people's votes to the map: observers of a virtual world, the store, its labels, occurrences, a model, maps; and what one more photo changes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyproj import Transformer

from geoplantnet import occurrences as occ
from geoplantnet.assemblages.stores import open_species_tile
from geoplantnet.errors import UsageError
from geoplantnet.identify.quality import NOT_VALID, PEOPLE
from pipelines.context import Run
from pipelines.ledger import Ledger
from pipelines.observations import open_store
from pipelines.simulate import Simulated, simulate

pytest.importorskip("sqlalchemy", reason="needs the identify extra: pip install 'geoplantnet[identify]'")

TILE = "5kmE4100N2600"
UP_TO_THE_MAP = ["occurrences", "cubes", "train", "map"]
PHOTOS = 600


@dataclass(frozen=True)
class Mapped:
    """A run on simulated observations. Look, do not touch."""

    recipe: Path
    store: Path
    observations: Path
    simulated: Simulated

    @property
    def run(self) -> Run:
        return Run.open(self.recipe, store=self.store)


@pytest.fixture(scope="module")
def mapped(reference, write_recipe, run_recipe, tmp_path_factory) -> Mapped:
    """Plots and simulated observations of the tiny world, learnt by a logistic regression, as far as the map."""
    folder = tmp_path_factory.mktemp("observations")
    observations, store, model = folder / "observations.sqlite", folder / "store", folder / "glm.yaml"
    model.write_text("model: glm\n", encoding="utf-8")
    shutil.copytree(reference.store, store)
    sections = [{"kind": "virtual-plots", "plots": 150}, {"kind": "observations", "store": str(observations)}]
    training = {"model": str(model), "explain": False, "calibration": "none"}
    # The mapped model sees all folds: with one held out it might be that of the new photos.
    validation = {"block": 2000, "folds": 2, "held_out": "all", "baselines": ["prevalence"]}
    recipe = write_recipe({"occurrences": sections, "training": training, "validation": validation})
    simulated = simulate(Run.open(recipe, store=store), str(observations), observations=PHOTOS, seed=1)
    run_recipe(recipe, store, names=UP_TO_THE_MAP)
    return Mapped(recipe, store, observations, simulated)


@pytest.fixture
def own(mapped, write_recipe, tmp_path) -> Mapped:
    """Copies of both stores, to change; observation store and recipe lie elsewhere, so the recipe names the copy."""
    observations = tmp_path / mapped.observations.name
    with open_store(str(mapped.observations)):  # the log of a store that is closed is in its file
        pass
    for file in mapped.observations.parent.glob(f"{mapped.observations.name}*"):
        if file.is_file():
            shutil.copy(file, tmp_path / file.name)
    shutil.copytree(mapped.store, tmp_path / "store")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(mapped.recipe.read_text(encoding="utf-8").replace(str(mapped.observations), str(observations)), encoding="utf-8")
    return Mapped(recipe, tmp_path / "store", observations, mapped.simulated)


def probabilities(run: Run) -> np.ndarray:
    """The map of the tile, (species, y, x)."""
    return np.concatenate([block for _, block in open_species_tile(run.predictions(TILE), run.grid).blocks()])


def photograph(own: Mapped, taxon: str, x: np.ndarray, y: np.ndarray, *, begin: int = 0) -> list[str]:
    """Photos of a species at places (EPSG:3035), each named alike by its author and two other newcomers."""
    longitude, latitude = Transformer.from_crs("EPSG:3035", "EPSG:4326", always_xy=True).transform(x, y)
    ids = [f"photo-{begin + i}" for i in range(len(x))]
    observations = pd.DataFrame(
        {"observation_id": ids, "user_id": [f"author-{i}" for i in ids], "latitude": latitude, "longitude": longitude}
    ).assign(event_date="2025-06-01", coordinate_uncertainty=5.0)
    votes = pd.DataFrame(
        [(i, f"{who}-{i}", "determination", taxon) for i in ids for who in ("author", "second", "third")],
        columns=["observation_id", "user_id", "kind", "value"],
    )
    with open_store(str(own.observations)) as store:
        assert store.add_observations(observations).kept == len(ids) and store.add_votes(votes).kept == 3 * len(ids)
    return ids


def update(own: Mapped) -> None:
    with open_store(str(own.observations)) as store:
        store.update()


def test_every_observation_is_an_occurrence_or_counted(mapped):
    """Read = used + rejected; what is used was validated by people; observers, days, uncertainty and list lengths came along."""
    run = mapped.run
    stats = Ledger(run.store).record("occurrences", "all").stats
    (account,) = stats["stores"]
    read, used = stats["by_dataset"]["virtual-observers"]
    found = occ.load(run.records)
    rejected = found.rejections.query("datasetID == 'virtual-observers' and table == 'occurrences'").set_index("reason")["count"]
    assert read == account["read"] == PHOTOS and used + rejected.sum() == PHOTOS and NOT_VALID in rejected.index
    assert account["not_aggregated"] == 0 and account["verified"][PEOPLE] > PHOTOS / 4
    events = found.events[found.events["datasetID"] == "virtual-observers"]
    assert len(events) == used and events["recordedBy"].str.startswith("virtual-user-").all()
    assert events[["year", "month", "list_length"]].notna().all().all() and events["list_length"].max() > 1
    stated = mapped.simulated.truth.observations.set_index("observation_id")["coordinate_uncertainty"]
    np.testing.assert_array_equal(events["coordinateUncertaintyInMeters"], stated.loc[events["eventID"]])


def test_trusted_names_are_righter_than_authors(mapped):
    """Of the trusted occurrences more are of the true species than of all observations as their authors named them."""
    found, seen = occ.load(mapped.run.records).occurrences, mapped.simulated.truth
    true = seen.truth.set_index("observation_id")["taxonID"]
    kept = found[found["eventID"].isin(true.index)]
    own_names = seen.votes[seen.votes["kind"] == "determination"].merge(seen.observations, on=["observation_id", "user_id"])
    right = (kept["taxonID"].to_numpy() == true.loc[kept["eventID"]].to_numpy()).mean()
    assert right > (own_names["value"].to_numpy() == true.loc[own_names["observation_id"]].to_numpy()).mean() + 0.05


def test_nothing_new_is_nothing_due(own, run_recipe):
    """A second run does nothing; neither does a vote that is not aggregated, a look at the store, or an aggregation that sees nothing new."""
    assert run_recipe(own.recipe, own.store, names=UP_TO_THE_MAP).tasks == ()
    update(own)
    assert run_recipe(own.recipe, own.store, names=UP_TO_THE_MAP).tasks == ()
    photograph(own, "v001", np.array([4_102_525.0]), np.array([2_602_525.0]))
    assert run_recipe(own.recipe, own.store, names=UP_TO_THE_MAP).tasks == ()


def test_one_validated_photo_is_learnt_from(own, run_recipe):
    """After the next update the stage is due, the photo is among the occurrences, and model and map are made anew."""
    before = probabilities(own.run)
    (photo,) = photograph(own, "v003", np.array([4_102_525.0]), np.array([2_602_525.0]))
    update(own)
    ran = run_recipe(own.recipe, own.store, names=UP_TO_THE_MAP)
    assert ran.stages == ("occurrences", "train", "map")
    found = occ.load(own.run.records)
    assert found.occurrences.set_index("eventID").loc[photo, "taxonID"] == "v003"
    after = probabilities(own.run)
    species = open_species_tile(own.run.predictions(TILE), own.run.grid).species
    assert not np.array_equal(before[species.index_of("v003")], after[species.index_of("v003")])


def test_a_species_found_at_a_new_place_is_mapped_there(own, run_recipe):
    """Thirty validated photos of a species where the map hardly had it raise it there, far more than elsewhere and than other species."""
    before = probabilities(own.run)
    species = open_species_tile(own.run.predictions(TILE), own.run.grid).species
    recorded = occ.load(own.run.records).occurrences["taxonID"].value_counts()
    k = min(range(len(species)), key=lambda i: recorded[species[i].taxon_id])
    inner = before[k][10:-10, 10:-10]
    row, column = np.unravel_index(np.argmin(np.abs(inner - np.nanquantile(inner, 0.2))), inner.shape)
    rows, columns = row + 10 + np.repeat(np.arange(-3, 3), 5), column + 10 + np.tile(np.arange(-2, 3), 6)
    west, _, _, north = own.run.tile(TILE).bounds
    ids = photograph(own, species[k].taxon_id, west + (columns + 0.5) * 50, north - (rows + 0.5) * 50)
    update(own)
    run_recipe(own.recipe, own.store, names=UP_TO_THE_MAP)
    after = probabilities(own.run)
    assert occ.load(own.run.records).events["eventID"].isin(ids).sum() == 30
    rise = np.nanmean((after - before)[:, rows, columns], axis=1)
    assert rise[k] > 0.05 and rise.argmax() == k and rise[k] > 2 * np.nanmean(after[k] - before[k])


def test_photos_of_newcomers_alone_are_not_learnt_from(own, run_recipe):
    """A photo that only its author named is no occurrence: the stage runs, the books count it, and the occurrences stay as they were."""
    before, found = Ledger(own.store).record("occurrences", "all").stats, occ.load(own.run.records)
    longitude, latitude = Transformer.from_crs("EPSG:3035", "EPSG:4326", always_xy=True).transform(4_102_525.0, 2_602_525.0)
    with open_store(str(own.observations)) as store:
        store.add_observations(
            pd.DataFrame(
                {"observation_id": ["lone"], "user_id": ["new"], "latitude": latitude, "longitude": longitude, "event_date": "2025-06-01"}
            )
        )
        store.add_votes(pd.DataFrame({"observation_id": ["lone"], "user_id": ["new"], "kind": ["determination"], "value": ["v001"]}))
        store.update()
    assert run_recipe(own.recipe, own.store, names=["occurrences"]).stages == ("occurrences",)
    after = Ledger(own.store).record("occurrences", "all").stats
    assert after["read"] == before["read"] + 1 and after["used"] == before["used"]
    pd.testing.assert_frame_equal(pd.DataFrame(occ.load(own.run.records).events), pd.DataFrame(found.events))


def test_simulated_observations_are_never_mixed_with_others(mapped):
    """A store that holds observations is not simulated into: the error names it, and it stays as it was."""
    with open_store(str(mapped.observations)) as store:
        before = dict(store.statistics())
        with pytest.raises(UsageError, match="holds 600 observations already"):
            simulate(mapped.run, str(mapped.observations), observations=10, seed=2)
        assert dict(store.statistics()) == before


def test_the_command_line_simulates_into_a_new_store(mapped, cli, tmp_path):
    """The verb tells what it made; a second time, and for a recipe without a world, it ends with the error's code and says why."""
    store = tmp_path / "new.sqlite"
    made = cli("observations", "simulate", mapped.recipe, store, "--observations", 40, "--spammers", 0)
    assert made.code == 0 and "192 observers, 40 observations" in made.out and "% of them true" in made.out
    again = cli("observations", "simulate", mapped.recipe, store)
    assert again.code == 2 and "holds 40 observations already" in again.text


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [
        ("gone.sqlite", 4, "there is no store at"),
        ("empty.sqlite", 4, "has no labels yet; make them with `geoplantnet observations aggregate`"),
        ("${NO_SUCH_STORE}", 3, "the environment variable NO_SUCH_STORE is not set"),
    ],
)
def test_a_store_that_cannot_be_learnt_from_is_said(mapped, cli, tmp_path, address, code, said):
    """No store, one without labels, an address that nobody knows: one sentence with the fix, and no occurrences."""
    with open_store(str(tmp_path / "empty.sqlite"), create=True):
        pass
    recipe = tmp_path / "recipe.yaml"
    where = address if address.startswith("$") else str(tmp_path / address)
    recipe.write_text(mapped.recipe.read_text(encoding="utf-8").replace(str(mapped.observations), where), encoding="utf-8")
    ended = cli("occurrences", recipe, "--store", tmp_path / "store")
    assert ended.code == code and said in ended.text and not (tmp_path / "store" / "occurrences").exists()
