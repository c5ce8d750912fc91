"""Observers of a virtual world: their tables hang together, their biases and mistakes are the stated ones, they repeat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pyproj import Transformer

from geoplantnet.errors import NoDataError, UsageError
from geoplantnet.identify.simulated import KINDS, YEARS, Crowd, SimulatedObservations, appeal, simulate_observers
from geoplantnet.sources.virtual import VirtualLandscape, VirtualSpecies, noise
from geoplantnet.sources.virtual.noise import Pixels
from geoplantnet.sources.virtual.sampling import accessible

BOUNDS = (4_000_000, 3_000_000, 4_012_000, 3_012_000)
LANDSCAPE = VirtualLandscape.fractal(BOUNDS, seed=7)
WORLD = VirtualSpecies.generate(40, landscape=LANDSCAPE, seed=2)
N = 4_000


@pytest.fixture(scope="module")
def seen() -> SimulatedObservations:
    return simulate_observers(WORLD, N, seed=1)


@pytest.fixture(scope="module")
def determinations(seen: SimulatedObservations) -> pd.DataFrame:
    """Votes on the species, with who voted, on whose photo, and what was true."""
    votes = seen.votes[seen.votes["kind"] == "determination"].merge(seen.users, on="user_id")
    votes = votes.merge(seen.truth.rename(columns={"kind": "shows"}), on="observation_id")
    votes = votes.merge(seen.observations[["observation_id", "user_id", "event_date"]], on="observation_id", suffixes=("", "_author"))
    return votes.assign(own=votes["user_id"] == votes["user_id_author"], right=votes["value"] == votes["taxonID"])


def same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    return one.equals(other)


def test_observers_repeat_themselves(seen):
    """Equal arguments give equal tables; another seed gives others; with other voters the same photos are taken."""
    again, other = simulate_observers(WORLD, N, seed=1), simulate_observers(WORLD, N, seed=2)
    quiet = simulate_observers(WORLD, N, seed=1, crowd=Crowd(looks=0))
    for name in ("users", "observations", "votes", "predictions", "truth"):
        assert same(getattr(seen, name), getattr(again, name))
    assert not same(seen.truth, other.truth) and not same(seen.votes, other.votes)
    assert same(seen.truth, quiet.truth) and same(seen.predictions, quiet.predictions) and len(quiet.votes) < len(seen.votes)


def test_tables_hang_together(seen, determinations):
    """Every id refers, every place lies inside and its stated circle holds the true place, nobody votes twice on a species or before the photo."""
    observations, truth = seen.observations, seen.truth
    assert len(observations) == N and observations["observation_id"].is_unique and observations["event_date"].is_monotonic_increasing
    for name in ("truth", "predictions"):
        assert getattr(seen, name)["observation_id"].tolist() == observations["observation_id"].tolist()
    assert set(observations["user_id"]) | set(seen.votes["user_id"]) <= set(seen.users["user_id"])
    taxa = {taxon.taxon_id for taxon in seen.species}
    assert set(determinations["value"]) | set(seen.predictions["taxon_id"]) <= taxa and set(truth["taxonID"]) <= taxa | {""}
    assert set(truth["kind"]) == set(KINDS) and ((truth["taxonID"] == "") == (truth["kind"] == "not a plant")).all()
    years = pd.to_datetime(observations["event_date"]).dt.year
    assert years.min() >= YEARS[0] and years.max() <= YEARS[1]
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:3035", always_xy=True).transform(observations["longitude"], observations["latitude"])
    assert ((x > BOUNDS[0] - 1) & (x < BOUNDS[2] + 1) & (y > BOUNDS[1] - 1) & (y < BOUNDS[3] + 1)).all()
    off, radius = np.hypot(x - truth["x"], y - truth["y"]), observations["coordinate_uncertainty"]
    assert (off[radius.notna()] <= radius[radius.notna()] + 0.3).all() and 0.02 < radius.isna().mean() < 0.08
    assert not determinations.duplicated(["observation_id", "user_id"]).any() and seen.votes["key"].is_unique
    assert determinations["own"].groupby(determinations["observation_id"]).sum().eq(1).all()  # every author names the own photo
    assert seen.votes["at"].is_monotonic_increasing and (determinations["at"].str[:10] >= determinations["event_date"]).all()
    assert (seen.votes.loc[seen.votes["kind"] != "determination", "value"] == "1").all()


def test_wild_plants_grow_where_they_are_photographed(seen):
    """A wild species has a true probability above zero at its place, a planted one may have none; planted ones stand in villages."""
    truth = seen.truth[seen.truth["taxonID"] != ""]
    which = [seen.species.index_of(taxon) for taxon in truth["taxonID"]]
    p = pd.Series(WORLD.true_probability(x=truth["x"], y=truth["y"])[np.arange(len(truth)), which], index=truth.index)
    wild, planted = truth["kind"] == "wild", truth["kind"] == "cultivated"
    assert (p[wild] > 0).all() and p[planted].median() < p[wild].median() / 2
    layers = LANDSCAPE.layers
    away = noise.nearest(layers.village_distance, layers.origin, 50, Pixels.holding(50, truth["x"], truth["y"]))
    assert planted.sum() > 20 and np.median(away[planted]) < np.median(away[wild]) / 2


def test_experts_know_more_than_amateurs_and_spammers_nothing(determinations):
    """Shares of right names fall from experts over amateurs to spammers, on own and on others' photos; experts do most of the voting a head."""
    plants = determinations[determinations["taxonID"] != ""]
    right = plants.groupby(["own", "role"])["right"].mean().unstack()
    assert (right["expert"] > 0.9).all() and (right["expert"] > right["amateur"] + 0.05).all() and (right["spammer"] < 0.2).all()
    reviews = determinations[~determinations["own"]].groupby("role").size() / Crowd().size
    assert reviews["expert"] / Crowd().experts > 3 * reviews["amateur"] / Crowd().amateurs


def test_the_model_is_right_as_often_as_it_says(seen):
    """Among photos of plants, in ten classes of score, the share of right proposals differs from the mean score by chance only (4 sd)."""
    joined = seen.predictions.merge(seen.truth, on="observation_id")
    plants = joined[joined["kind"] != "not a plant"]
    right = (plants["taxon_id"] == plants["taxonID"]).groupby(pd.cut(plants["score"], np.linspace(0, 1, 11)), observed=True)
    mean, n = plants["score"].groupby(pd.cut(plants["score"], np.linspace(0, 1, 11)), observed=True).mean(), right.size()
    assert (np.abs(right.mean() - mean) < 4 * np.sqrt(mean * (1 - mean) / n) + 1e-9).all() and n.min() > 20
    assert joined.loc[joined["kind"] == "not a plant", "score"].median() < 0.2


def test_people_and_the_model_err_alike(seen, determinations):
    """Where an author and the model are both wrong, they give the same wrong name far more often than two independent mistakes would."""
    own = determinations[determinations["own"] & (determinations["role"] == "expert") & (determinations["taxonID"] != "")]
    both = own.merge(seen.predictions, on="observation_id")
    # Experts seldom follow the model: what they share with it is the look-alike.
    both = both[~both["right"] & (both["taxon_id"] != both["taxonID"])]
    assert (both["value"] == both["taxon_id"]).mean() > 0.25
    genus = {taxon.taxon_id: taxon.genus for taxon in seen.species}
    wrong = determinations[(determinations["role"] == "expert") & ~determinations["right"] & (determinations["taxonID"] != "")]
    assert (wrong["value"].map(genus) == wrong["taxonID"].map(genus)).mean() > 0.3


def test_beauty_food_and_size_draw_the_camera():
    """The stronger the appeal counts, the more the species' shares of wild photos follow it beyond what grows within reach."""
    crowd = Crowd(experts=0, spammers=0, amateurs=100)
    factor = np.log(appeal(WORLD).prod(axis=1))
    taxa = factor.index

    def share(strength: float) -> pd.Series:
        truth = simulate_observers(WORLD, N, seed=3, crowd=replace(crowd, appeal=strength)).truth
        return truth.loc[truth["kind"] == "wild", "taxonID"].value_counts().reindex(taxa, fill_value=0) + 0.5

    plain, drawn = share(0), share(2)
    assert np.corrcoef(np.log(drawn / plain), factor)[0, 1] > 0.7


def test_people_go_where_roads_go():
    """Photos are nearer to roads and paths than land is, and less so where roads do not bound people."""
    layers = LANDSCAPE.layers

    def away(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.median(noise.nearest(layers.path_distance, layers.origin, 50, Pixels.holding(50, x, y))))

    place, *_ = accessible(WORLD, BOUNDS)
    bound, free = (simulate_observers(WORLD, 1_500, seed=4, crowd=Crowd(roads=roads)).truth for roads in (1.0, 0.0))
    assert away(bound["x"].to_numpy(), bound["y"].to_numpy()) < 0.7 * away(free["x"].to_numpy(), free["y"].to_numpy())
    assert away(free["x"].to_numpy(), free["y"].to_numpy()) < 1.5 * away(*place.T)


def test_species_are_photographed_in_their_season(seen):
    """A species' photos fall in the months in which its phenology says it is noticed, rather than in others' months."""
    wild = seen.truth["kind"] == "wild"
    month = pd.to_datetime(seen.observations["event_date"]).dt.month.to_numpy()[wild] - 1
    which = np.array([seen.species.index_of(taxon) for taxon in seen.truth.loc[wild, "taxonID"]])
    noticed = WORLD.phenology
    assert noticed[which, month].mean() > 1.2 * noticed[np.random.default_rng(0).permutation(which), month].mean()


def test_others_tell_what_is_wrong_with_a_photo(seen):
    """Most of the votes that a photo shows no plant, several species or a planted one are true."""
    told = seen.votes.merge(seen.truth.rename(columns={"kind": "shows"}), on="observation_id")
    for kind, shows in {"not_a_plant": "not a plant", "malformed": "several species", "cultivated": "cultivated"}.items():
        votes = told[told["kind"] == kind]
        assert len(votes) > 10 and (votes["shows"] == shows).mean() > 0.5, kind


def test_bad_crowds_are_refused():
    """A crowd of nobody, shares beyond 1, negative strengths, no observations and a place outside are typed errors that say the value."""
    with pytest.raises(UsageError, match="0 experts, 0 amateurs"):
        Crowd(experts=0, amateurs=0, spammers=0)
    with pytest.raises(UsageError, match=r"cultivated .* 1\.5"):
        Crowd(cultivated=1.5)
    with pytest.raises(UsageError, match=r"looks .* -1"):
        Crowd(looks=-1)
    with pytest.raises(UsageError, match=r"appeal .* nan"):
        Crowd(appeal=float("nan"))
    with pytest.raises(UsageError, match="asked for 0"):
        simulate_observers(WORLD, 0, seed=0)
    with pytest.raises(NoDataError, match="outside"):
        simulate_observers(WORLD, 5, seed=0, within=(0, 0, 1000, 1000))


@pytest.mark.parametrize(
    "crowd", [Crowd(experts=1, amateurs=0, spammers=0), Crowd(experts=0, amateurs=0, spammers=2), Crowd(not_a_plant=1.0)]
)
@pytest.mark.parametrize("species", [1, 3])
def test_small_worlds_and_odd_crowds(crowd, species):
    """One species, one person, spammers only, or photos of nothing but non-plants: the tables are whole."""
    tiny = VirtualSpecies.generate(species, landscape=LANDSCAPE, seed=5)
    seen = simulate_observers(tiny, 7, seed=0, crowd=crowd)
    assert len(seen.observations) == 7 and len(seen.users) == crowd.size
    assert not seen.votes.isna().to_numpy().any() and not seen.truth.isna().to_numpy().any()
