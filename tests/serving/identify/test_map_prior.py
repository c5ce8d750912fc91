"""The map as evidence: what a published store says of a place, in the order of a net's species."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from typer.testing import CliRunner

from geoplantnet.errors import InputError, ModelError
from geoplantnet.identify.engine import Identifier
from geoplantnet.identify.network import FakeNetwork
from geoplantnet.identify.prior import PlaceWeight
from geoplantnet.serving.atlas import Atlas, open_atlas
from geoplantnet.serving.crs import CRS84, transformer
from geoplantnet.serving.here import Place, here
from geoplantnet.serving.identify.prior import OUTSIDE, MapPrior
from geoplantnet.taxonomy import SpeciesList, Taxon
from pipelines.cli import app
from pipelines.identifier import Maker
from tests.serving import epochs
from tests.serving import test_sensitive_surfaces as sensitive

NET = SpeciesList(
    checklist="another",
    taxa=(
        Taxon(taxon_id="v003", scientific_name="Quercus robur", genus="Quercus"),  # an id that means another species in the map's checklist
        Taxon(taxon_id="p", scientific_name="Picea abies", genus="Picea"),
        Taxon(taxon_id="a", scientific_name="Abies alba", genus="Abies"),
        Taxon(taxon_id="f", scientific_name="Fagus", genus="Fagus"),
        Taxon(taxon_id="c", scientific_name="Carex", genus="Carex"),
    ),
)


def degrees(easting: float, northing: float) -> tuple[float, float]:
    return transformer("EPSG:3035", CRS84.name).transform(easting, northing)


@pytest.fixture(scope="module")
def prior(epochs_atlas: Atlas) -> MapPrior:
    return MapPrior(epochs_atlas, NET)


def test_it_says_what_a_click_on_the_map_says(epochs_atlas: Atlas, prior: MapPrior) -> None:
    """Probabilities of `here`, by scientific name; what only shares an id of another checklist, and what the map lacks, is not known."""
    rng = np.random.default_rng(0)
    for dx, dy in rng.uniform(1, 24_999, (20, 2)):
        lon, lat = degrees(epochs.WEST + dx, epochs.SOUTH + dy)
        told = {row["scientificName"]: row["probability"] for row in here(epochs_atlas, Place(lon=lon, lat=lat), None)["species"]}
        p = prior.at(lon, lat)
        assert p is not None and p.dtype == np.float32 and p.shape == (5,)
        assert math.isnan(p[0]) and math.isnan(p[4])
        np.testing.assert_allclose(p[1:4], [told["Picea abies"], told["Abies alba"], told["Fagus sylvatica"]], atol=5e-4)
    assert prior.known.tolist() == [False, True, True, True, False]


def test_of_one_checklist_the_id_counts(epochs_atlas: Atlas) -> None:
    """A name that was changed since is found by its id."""
    renamed = SpeciesList(
        checklist=epochs.SPECIES.checklist, taxa=(Taxon(taxon_id="v003", scientific_name="Picea excelsa", genus="Picea"),)
    )
    assert MapPrior(epochs_atlas, renamed).known.all()


def test_beyond_the_map_it_knows_nothing(prior: MapPrior) -> None:
    """Between its tiles, in the sea, at the poles and on the other side of the world: None, and no error."""
    assert prior.at(*degrees(epochs.WEST + 30_000, epochs.SOUTH + 1_000)) is None
    for place in ((0.0, 90.0), (0.0, -90.0), (180.0, 0.0), (-170.0, -52.0)):
        assert prior.at(*place) is None and 0 <= prior.trust(*place) <= 1


def test_it_is_trusted_less_outside_of_the_area_of_applicability(epochs_atlas: Atlas, prior: MapPrior) -> None:
    """As the layer says in each cell."""
    found = set()
    for dx, dy in np.random.default_rng(1).uniform(1, 24_999, (60, 2)):
        lon, lat = degrees(epochs.WEST + dx, epochs.SOUTH + dy)
        inside = here(epochs_atlas, Place(lon=lon, lat=lat), None)["applicable"]
        assert prior.trust(lon, lat) == (OUTSIDE if inside is False else 1.0)
        found.add(inside)
    assert True in found


def test_threads_get_the_same_and_cannot_change_it(prior: MapPrior) -> None:
    """What is remembered of a cell is shared, and read-only."""
    places = [degrees(epochs.WEST + 100 * i + 25, epochs.SOUTH + 5_025) for i in range(20)] * 5
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda place: prior.at(*place), places))
    for i, p in enumerate(found):
        np.testing.assert_array_equal(p, found[i % 20])
    with pytest.raises(ValueError, match="read-only"):
        found[0][1] = 1


def test_the_engine_takes_it_as_evidence(prior: MapPrior) -> None:
    """A photo in the map is answered with it, one beyond without."""
    photo = np.random.default_rng(2).integers(0, 256, (40, 40, 3), np.uint8)
    engine = Identifier(FakeNetwork(NET), prior=prior)
    assert engine.identify([photo], place=degrees(epochs.WEST + 5_000, epochs.SOUTH + 5_000)).evidence == "sdm"
    assert engine.identify([photo], place=(0, 0)).evidence == "none"


def test_what_is_withheld_is_not_known(tmp_path: Path) -> None:
    """A sensitive species that no list holds is NaN, and so is a genus of it alone: scores must not tell where it grows. A generalised one is told in squares."""
    p = np.random.default_rng(3).random((len(sensitive.LIST), 50, 100), np.float32)
    root = sensitive.publish(tmp_path / "store", p, np.zeros((0, 2)))
    net = SpeciesList(
        checklist="test",
        taxa=(*sensitive.LIST, Taxon(taxon_id="orchis", scientific_name="Orchis", genus="Orchis")),
    )
    atlas = open_atlas(root)
    try:
        prior = MapPrior(atlas, net)
        seen = [prior.at(*degrees(sensitive.WEST + x, sensitive.NORTH - y)) for x, y in ((150, 150), (1_250, 2_050), (2_650, 150))]
    finally:
        atlas.close()
    hidden, coarse = sensitive.LIST.index_of(sensitive.HIDDEN), sensitive.LIST.index_of(sensitive.COARSE)
    assert all(math.isnan(p[hidden]) and math.isnan(p[-1]) for p in seen)
    assert seen[0][coarse] == seen[1][coarse] != seen[2][coarse]
    assert seen[0][0] != seen[1][0]


def test_a_store_without_species_is_told(atlas: Atlas, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With what to do; a server has its maps beside all the same, and answers without the place."""
    with pytest.raises(InputError, match="publish anew"):
        MapPrior(atlas, NET)
    monkeypatch.setattr("pipelines.identifier.network_of", lambda folder, **_: FakeNetwork(NET))
    assert Maker(model=tmp_path)(atlas).prior is None


def test_how_much_the_place_may_say_is_learnt(
    epochs_store: Path, epochs_atlas: Atlas, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From photos of what the map finds likeliest where they were taken, by a net that guesses: the place is trusted, and the server goes by it."""
    network = FakeNetwork(epochs.SPECIES)
    for room in ("identifier", "identify"):
        monkeypatch.setattr(f"pipelines.{room}.network_of", lambda folder, **_: network)
    monkeypatch.chdir(tmp_path)
    prior, rng, lines = MapPrior(epochs_atlas, epochs.SPECIES), np.random.default_rng(5), ["file,label,decimalLongitude,decimalLatitude"]
    for i in range(80):
        lon, lat = degrees(epochs.WEST + rng.uniform(1, 24_999), epochs.SOUTH + rng.uniform(1, 24_999))
        p = prior.at(lon, lat)
        assert p is not None
        Picture.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(f"{i}.png")
        lines.append(f"{i}.png,{epochs.SPECIES[int(np.argmax(p))].scientific_name},{lon},{lat}")
    for name in "xy":
        Picture.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(f"{name}.png")
    Path("photos.csv").write_text("\n".join([*lines, "x.png,Abies alba,,", "y.png,Abies alba,999,50"]) + "\n")
    Path("model").mkdir()
    told = CliRunner().invoke(app, ["identify", "place", "model", "photos.csv", "--maps", str(epochs_store)], catch_exceptions=False)
    assert told.exit_code == 0 and "left out: 2 photos" in told.stderr
    figures = json.loads(Path("model/place.json").read_text())
    assert figures["photos"] == 80 and figures["weight"] > 0.5
    assert figures["top1_this_weight"] > figures["top1_photos_alone"] and figures["nll_held_out"] < figures["nll_photos_alone"]
    engine = Maker(model=Path("model"))(epochs_atlas)
    assert engine.place_weight == PlaceWeight(weight=figures["weight"], floor=figures["floor"])
    Path("model/place.json").write_text("{}")
    with pytest.raises(ModelError, match="learn it anew"):
        Maker(model=Path("model"))(epochs_atlas)
    Path("nowhere.csv").write_text("file,label\nx.png,Abies alba\n")
    with pytest.raises(InputError, match="photos taken there"):
        CliRunner().invoke(app, ["identify", "place", "model", "nowhere.csv", "--maps", str(epochs_store)], catch_exceptions=False)
