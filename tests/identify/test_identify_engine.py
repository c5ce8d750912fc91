"""The engine: photos in, species out, with flora and place as evidence, beside a fake net."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from geoplantnet.errors import InputError, LookupFailed, ModelError
from geoplantnet.identify.engine import CREDIBLE, Identifier
from geoplantnet.identify.floras import Floras
from geoplantnet.identify.network import ORGANS, Card, FakeNetwork, Outputs
from geoplantnet.identify.photos import square
from geoplantnet.identify.prior import FixedPrior, PlaceWeight
from geoplantnet.identify.projects import Projects
from geoplantnet.identify.regions import Regions
from geoplantnet.identify.similarity import ImageIndex, IndexedImage
from geoplantnet.taxonomy import SpeciesList, Taxon

SPECIES = SpeciesList(
    checklist="test",
    taxa=tuple(
        Taxon(taxon_id=f"t{i}", scientific_name=f"Genus{i // 3} s{i}", genus=f"Genus{i // 3}" if i < 10 else "", family=f"Family{i // 6}")
        for i in range(12)
    ),
)
NET = FakeNetwork(SPECIES)
LAND, OCEAN = (5.0, 5.0), (-40.0, 5.0)


def photo(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 60, 3), np.uint8)


class Scripted:
    """A net that says what it is told to, one row a photo."""

    def __init__(self, p, *, plant=1.0, organs=True, **card) -> None:
        self.card = Card(name="scripted", version="1", backbone="none", size=16, organs=organs, rejects=True, **card)
        self.species, self.p, self.plant = SPECIES, np.atleast_2d(p), np.atleast_1d(plant)

    def __call__(self, pixels) -> Outputs:
        n = len(pixels)
        organs = np.full((n, 6), 0.1, np.float32)
        organs[:, 1] = 0.5
        return Outputs(
            logits=(np.log(self.p[np.arange(n) % len(self.p)]) * self.card.temperature).astype(np.float32),
            features=np.tile(np.array([[1.0, 0.0]], np.float32), (n, 1)),
            organs=organs,
            plant=self.plant[np.arange(n) % len(self.plant)].astype(np.float32),
        )


def mostly(k: int, share: float = 0.7) -> np.ndarray:
    p = np.full(len(SPECIES), (1 - share) / (len(SPECIES) - 1))
    p[k] = share
    return p


@pytest.fixture(scope="module")
def projects() -> Projects:
    rows = [*(("land", f"t{i}") for i in range(6)), *(("useful", f"t{i}") for i in (0, 7)), *(("isle", f"t{i}") for i in range(6, 12))]
    regions = Regions({"land": shapely.box(0, 0, 10, 10), "isle": shapely.box(20, 0, 22, 2)})
    return Projects.from_floras(
        Floras(checklists=pd.DataFrame(rows, columns=["region", "taxonID"]).assign(status="native"), regions=regions), SPECIES
    )


def scores(answer) -> dict[int, float]:
    return {candidate.species: candidate.score for candidate in answer.candidates}


def test_one_photo_is_answered_as_the_net_says():
    """Scores are softmax(logits / temperature) of the one preparation, sorted; genera and families are their sums; nothing of the place is used."""
    answer = Identifier(NET).identify([photo(1)], top=12)
    p = softmax(NET(square(photo(1), 32)[None]).logits[0].astype(float))
    np.testing.assert_allclose([scores(answer)[i] for i in range(12)], p, rtol=1e-6)
    assert [c.score for c in answer.candidates] == sorted((c.score for c in answer.candidates), reverse=True)
    assert dict(answer.genera)["Genus1"] == pytest.approx(p[3:6].sum()) and dict(answer.families)["Family1"] == pytest.approx(p[6:].sum())
    assert "" not in dict(answer.genera) and sum(score for _, score in answer.families) == pytest.approx(1)
    assert (answer.project, answer.evidence, answer.outside, answer.switch, answer.rejected) == ("all", "none", (), "", False)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), n=st.integers(1, 5))
def test_photos_in_another_order_are_the_same_plant(seed, n):
    """So is each photo sent with its organ; what is told of each photo follows it."""
    photos, organs = [photo(seed + i) for i in range(n)], [ORGANS[(seed + i) % 6] for i in range(n)]
    engine, order = Identifier(NET), np.random.default_rng(seed).permutation(n)
    one, other = engine.identify(photos, organs, top=12), engine.identify([photos[i] for i in order], [organs[i] for i in order], top=12)
    assert scores(other) == pytest.approx(scores(one), rel=1e-6)
    assert [one.organs[i][0] for i in order] == [organ for organ, _ in other.organs]


def test_a_photo_sent_five_times_is_one():
    """The answer is the same, and no surer."""
    engine = Identifier(NET)
    assert scores(engine.identify([photo(4)] * 5, top=12)) == pytest.approx(scores(engine.identify([photo(4)], top=12)), rel=1e-6)


def test_a_photo_that_shows_no_plant_counts_only_where_none_does():
    """Beside a plant it says nothing; alone it is rejected, and what it would be is told."""
    net = Scripted([mostly(2), mostly(5, 0.99)], plant=[0.9, 0.1])
    answer = Identifier(net).identify([photo(1), photo(2)], top=1)
    assert answer.candidates[0].species == 2 and answer.candidates[0].score == pytest.approx(0.7) and not answer.rejected
    assert answer.plant == pytest.approx((0.9, 0.1))
    nothing = Identifier(Scripted(mostly(5), plant=0.1)).identify([photo(2)], top=1)
    assert nothing.rejected and nothing.candidates[0].species == 5


def test_a_project_keeps_its_own_species(projects):
    """Scores within it sum to 1 and keep their ratios; what it cut is told apart; most of the mass outside says where to go."""
    engine = Identifier(Scripted(mostly(8)), projects=projects)
    answer = engine.identify([photo(1)], project="land", top=12)
    assert set(scores(answer)) == set(range(6)) and sum(scores(answer).values()) == pytest.approx(1)
    assert answer.outside[0].species == 8 and answer.outside[0].score == pytest.approx(0.7)
    assert {c.species for c in answer.outside} == set(range(6, 12))
    assert (answer.project, answer.evidence, answer.switch) == ("land", "none", "all")
    assert Identifier(Scripted(mostly(8, 0.99)), projects=projects).identify([photo(1)], project="land").switch == "isle"
    assert engine.identify([photo(1)], project="isle").switch == ""
    assert dict(answer.families) == {"Family0": pytest.approx(1)}


def test_a_project_that_the_net_gives_nothing_is_still_answered(projects):
    """Probabilities too small for a float keep their order within the project."""
    p = np.full(12, 1e-30)
    p[8] = 1
    p[3] = 1e-20
    answer = Identifier(Scripted(p / p.sum()), projects=projects).identify([photo(1)], project="land", top=1)
    assert answer.candidates[0].species == 3 and answer.candidates[0].score == pytest.approx(1, abs=1e-6)


def test_a_place_is_told_by_its_map_then_by_its_flora_then_by_nothing(projects):
    """Without cover the map degrades to the flora of the place, without one to nothing; without a place neither is asked."""
    net, present = Scripted(mostly(8, 0.3)), np.linspace(0.9, 0.01, 12).astype(np.float32)
    mapped = Identifier(net, projects=projects, prior=FixedPrior(probabilities=present))
    empty = Identifier(net, projects=projects, prior=FixedPrior(probabilities=None))
    blind = Identifier(net, projects=projects, prior=FixedPrior(probabilities=np.full(12, np.nan, np.float32)))
    told = mapped.identify([photo(1)], place=LAND, top=12)
    assert (told.evidence, told.project) == ("sdm", "all") and scores(told)[0] > 2 * scores(told)[9]
    bare = Identifier(net, projects=projects, prior=FixedPrior(probabilities=np.array([0.0] * 11 + [np.nan], np.float32)))
    for engine in (empty, blind, bare):  # a lake, where nothing grows: the map does not tell one species from another
        flora = engine.identify([photo(1)], place=LAND, top=12)
        assert (flora.evidence, flora.project) == ("flora", "land")
        assert scores(flora)[0] > scores(flora)[9] and len(scores(flora)) == 12  # what is not listed is unlikely, and not impossible
        nowhere = engine.identify([photo(1)], place=OCEAN, top=12)
        assert (nowhere.evidence, nowhere.project) == ("none", "all") and scores(nowhere)[8] == pytest.approx(0.3)
    assert mapped.identify([photo(1)], top=12).evidence == "none"


def test_a_map_and_a_project_are_both_used(projects):
    """The project's species, ranked with the place; a garden plant asked for within its project is found."""
    present = np.zeros(12, np.float32)
    present[4] = 1
    answer = Identifier(Scripted(np.full(12, 1 / 12)), projects=projects, prior=FixedPrior(probabilities=present)).identify(
        [photo(1)], project="land", place=LAND, top=12
    )
    assert (answer.project, answer.evidence) == ("land", "sdm") and answer.candidates[0].species == 4 and len(answer.candidates) == 6


def test_what_the_photos_say_clearly_stands_against_the_place(projects):
    """At a place where the map has it impossible, a species that is surer than the bound stays first; trust 0 changes nothing."""
    present = np.ones(12, np.float32)
    present[8] = 0
    weight = PlaceWeight(weight=1, floor=0.01)
    sure = Identifier(Scripted(mostly(8, 0.995)), prior=FixedPrior(probabilities=present), place_weight=weight).identify(
        [photo(1)], place=LAND
    )
    assert sure.candidates[0].species == 8
    unsure = Identifier(Scripted(mostly(8, 0.3)), prior=FixedPrior(probabilities=present), place_weight=weight).identify(
        [photo(1)], place=LAND
    )
    assert unsure.candidates[0].species != 8
    distrusted = Identifier(Scripted(mostly(8, 0.3)), prior=FixedPrior(probabilities=present, believed=0), place_weight=weight)
    assert distrusted.identify([photo(1)], place=LAND).candidates[0].score == pytest.approx(0.3)


def test_the_answer_set_holds_what_it_says():
    """The fewest species with at least 90 % of the probability: dropping the last falls below."""
    answer = Identifier(NET).identify([photo(7)], top=12)
    held = [scores(answer)[k] for k in answer.answer_set]
    assert sum(held) >= CREDIBLE - 1e-9 and sum(held[:-1]) < CREDIBLE
    assert Identifier(Scripted(mostly(2, 0.95))).identify([photo(7)]).answer_set == (2,)


def test_a_net_that_cannot_tell_organs_says_so():
    """What was said of a photo is believed; else it is ``other``, with no more than chance. One that can tells what it sees."""
    net = Scripted(mostly(1), organs=False)
    assert Identifier(net).identify([photo(1), photo(2)], ["bark", ""]).organs == (("bark", 1.0), ("other", 1 / 6))
    assert Identifier(Scripted(mostly(1))).identify([photo(1)], ["bark"]).organs == (("flower", 0.5),)


def test_related_images_are_of_each_candidate_and_of_the_organ_first():
    """Images of the candidates' species, of the photo's organ before others; none without an index; an index of another net is refused."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 16)).astype(np.float32)
    images = [
        IndexedImage(image=f"i{i}", observation=f"o{i}", species=f"t{i % 12}", organ=("leaf", "flower")[i // 12 % 2], license="cc-by")
        for i in range(60)
    ]
    index = ImageIndex.train(features)
    index.add(features, images)
    answer = Identifier(NET, index=index).identify([photo(1)], ["flower"], top=4, related=2)
    for candidate in answer.candidates:
        assert [hit.image.species for hit in candidate.related] == [f"t{candidate.species}"] * 2
        assert {hit.image.organ for hit in candidate.related} == {"flower"}
    assert Identifier(NET).identify([photo(1)], related=2).candidates[0].related == ()


def test_what_cannot_be_asked_is_told(projects):
    """Numbers of photos, organs and candidates, places, projects, and projects of another net."""
    engine = Identifier(NET, projects=projects)
    for wrong, why in (
        (dict(photos=[]), "0 photos"),
        (dict(photos=[photo(1)] * 6), "6 photos"),
        (dict(photos=[photo(1)], organs=["leaf", "leaf"]), "2 organs"),
        (dict(photos=[photo(1)], organs=["root"]), "root"),
        (dict(photos=[photo(1)], top=0), "0 candidates"),
        (dict(photos=[photo(1)], place=(5, 95)), "longitude first"),
        (dict(photos=[photo(1)], place=(np.nan, 5)), "longitude first"),
    ):
        with pytest.raises(InputError, match=why):
            engine.identify(**wrong)
    with pytest.raises(LookupFailed, match="atlantis"):
        engine.identify([photo(1)], project="atlantis")
    assert engine.identify([photo(1)], project="best").project == "all"
    other = SpeciesList(checklist="another", taxa=SPECIES.taxa)
    with pytest.raises(InputError, match="make them for the net's list"):
        Identifier(FakeNetwork(other), projects=projects)


def test_an_index_of_another_net_is_refused():
    """Its features mean something else."""
    index = ImageIndex.train(np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32), network="other 9")
    with pytest.raises(ModelError, match="other"):
        Identifier(NET, index=index)
