"""The index of images: as brute force finds them, whatever was added, removed, saved and opened before."""

import dataclasses
import itertools
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from geoplantnet.errors import InputError, LookupFailed, ModelError
from geoplantnet.identify.network import ORGANS, Card
from geoplantnet.identify.similarity import ImageIndex, IndexedImage, fit_hyperplanes, nearest
from geoplantnet.identify.similarity.images import Column
from geoplantnet.identify.similarity.index import named
from geoplantnet.identify.similarity.rmmh import unit_features

D = 12
FLORAS = {"alps": ["s0", "s1", "s2"], "coast": ["s2", "s3", "s9"], "none": []}


def hashing(bits=64):
    return fit_hyperplanes(np.random.default_rng(0).normal(size=(50, D)), bits=bits)


def photos(rng, n, *, start=0, species=5, per_observation=3):
    """Features in clusters of species, and their images."""
    of = rng.integers(0, species, n)
    features = np.random.default_rng(7).normal(size=(species, D))[of] + 0.7 * rng.normal(size=(n, D))
    images = [
        IndexedImage(
            image=f"{start + i:064x}",
            observation=f"o{(start + i) // per_observation}" if i % 7 else "",
            species=f"s{of[i]}",
            organ=("leaf", "flower", "")[i % 3],
            author=f"author {i % 4}",
            license="CC BY-SA 4.0",
            date=f"2024-05-{1 + i % 28:02}",
        )
        for i in range(n)
    ]
    return features, images


def brute(rows, query, *, k, species=None, flora=None, organ=None, observations=True):
    """What a search should find: cosines of float16 features to six places, the oldest of equals first."""
    unit = unit_features(query[None])[0]
    ranked = []
    for age, (feature, image) in enumerate(rows):
        if species is not None and image.species not in species:
            continue
        if flora is not None and image.species not in FLORAS[flora]:
            continue
        if organ is not None and image.organ != organ:
            continue
        stored = unit_features(feature[None])[0].astype(np.float16).astype(np.float32)
        ranked.append((-round(float(stored @ unit), 6), age, image))
    ranked.sort(key=lambda hit: hit[:2])
    found, seen = [], set()
    for similarity, _, image in ranked:
        if observations and image.observation:
            if image.observation in seen:
                continue
            seen.add(image.observation)
        found.append((image, -similarity))
    return found[:k]


def agree(hits, expected):
    """The same images at the same similarity; sums may differ in the sixth place, which may swap what is equal to it."""
    assert [hit.similarity for hit in hits] == pytest.approx([s for _, s in expected], abs=2e-6)
    for hit, (image, similarity) in zip(hits, expected, strict=True):
        assert hit.image == image or any(hit.image == other and abs(s - similarity) < 3e-6 for other, s in expected)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(0, 180),
    k=st.integers(1, 12),
    species=st.none() | st.sets(st.sampled_from(["s0", "s1", "s4", "s8"])),
    flora=st.none() | st.sampled_from(list(FLORAS)),
    organ=st.none() | st.sampled_from(ORGANS[:3]),
    observations=st.booleans(),
)
def test_a_small_index_is_brute_force(seed, n, k, species, flora, organ, observations):
    """Among few images every search, however narrowed, is that of all cosines sorted."""
    rng = np.random.default_rng(seed)
    features, images = photos(rng, n)
    index = ImageIndex(hashing(), floras=FLORAS)
    index.add(features, images)
    query = rng.normal(size=D)
    asked = {"k": k, "species": species, "flora": flora, "organ": organ, "observations": observations}
    agree(index.search(query, **asked), brute(list(zip(features, images, strict=True)), query, **asked))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(300, 900), flora=st.none() | st.just("alps"), organ=st.none() | st.just("leaf"))
def test_a_large_index_ranks_the_shortlist_of_its_codes(seed, n, flora, organ):
    """Beyond what is searched exactly: cosine's order of the images whose codes are the nearest, the oldest of equals first."""
    rng = np.random.default_rng(seed)
    features, images = photos(rng, n)
    index = ImageIndex(hashing(), floras=FLORAS)
    index.add(features, images)
    query = rng.normal(size=D)
    rows = [
        (f, i)
        for f, i in zip(features, images, strict=True)
        if (flora is None or i.species in FLORAS[flora]) and (organ is None or i.organ == organ)
    ]
    if len(rows) > 200:
        codes = index.hashing.codes(unit_features(np.stack([f for f, _ in rows])))
        distance = np.bitwise_count(codes ^ index.hashing.codes(unit_features(query[None]))).sum(1)
        rows = [rows[i] for i in np.sort(np.argsort(distance, kind="stable")[:100])]
    agree(index.search(query, k=5, flora=flora, organ=organ), brute(rows, query, k=5))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 400), max_size=4))
def test_how_images_came_does_not_matter(seed, cuts):
    """Added at once or in parts, with searches in between: the same answers."""
    rng = np.random.default_rng(seed)
    features, images = photos(rng, 400)
    whole, parts = ImageIndex(hashing(), floras=FLORAS), ImageIndex(hashing(), floras=FLORAS)
    whole.add(features, images)
    edges = [0, *sorted(cuts), 400]
    for a, b in itertools.pairwise(edges):
        parts.search(features[0], k=3, flora="alps")
        parts.search(features[0], k=3, organ="leaf")
        parts.add(features[a:b], images[a:b])
    for asked in ({}, {"flora": "alps"}, {"organ": "leaf"}, {"flora": "coast", "organ": "flower"}, {"species": {"s1"}}):
        assert whole.search(features[3], k=9, **asked) == parts.search(features[3], k=9, **asked)


class AnIndexAgainstAList(RuleBasedStateMachine):
    """Adding, replacing, removing, saving and opening, in any order, against a plain list."""

    def __init__(self):
        super().__init__()
        self.index = ImageIndex(hashing(), floras=FLORAS)
        self.rows = []
        self.made = 0
        self.rng = np.random.default_rng(11)

    @rule(n=st.integers(0, 20))
    def add(self, n):
        features, images = photos(self.rng, n, start=self.made)
        assert self.index.add(features, images) == 0
        self.rows += zip(features, images, strict=True)
        self.made += n

    @rule(which=st.integers(0, 10_000), species=st.sampled_from(["s0", "s3", "s9"]))
    def replace(self, which, species):
        if self.rows:
            _, image = self.rows.pop(which % len(self.rows))
            feature, image = self.rng.normal(size=D), dataclasses.replace(image, species=species)
            assert self.index.add(feature[None], [image]) == 1
            self.rows.append((feature, image))

    @rule(share=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    def remove(self, share):
        gone = {image.image for _, image in self.rows if self.rng.random() < share}
        assert self.index.remove([*gone, "unknown"]) == len(gone)
        self.rows = [row for row in self.rows if row[1].image not in gone]

    @rule()
    def save_and_open(self):
        with tempfile.TemporaryDirectory() as folder:
            self.index.save(Path(folder) / "index")
            self.index = ImageIndex.open(Path(folder) / "index")

    @invariant()
    def agrees(self):
        assert len(self.index) == len(self.rows)
        assert [image for image in self.index] == [image for _, image in self.rows]
        assert all(image.image in self.index for _, image in self.rows)
        query = np.random.default_rng(self.made).normal(size=D)
        for asked in ({}, {"flora": "coast"}, {"organ": "leaf", "observations": False}, {"species": {"s3", "s9"}}):
            agree(self.index.search(query, k=4, **asked), brute(self.rows, query, k=4, **asked))


TestAnIndexAgainstAList = AnIndexAgainstAList.TestCase
TestAnIndexAgainstAList.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)


def test_equal_images_are_told_in_the_order_they_came():
    """Ties are broken by age, again and again the same."""
    feature = np.random.default_rng(0).normal(size=D)
    index = ImageIndex(hashing())
    index.add(np.repeat(feature[None], 500, 0), [IndexedImage(image=f"i{i}") for i in range(500)])
    for _ in range(3):
        assert [hit.image.image for hit in index.search(feature, k=5)] == ["i0", "i1", "i2", "i3", "i4"]
    assert index.search(3 * feature, k=1)[0].similarity == pytest.approx(1, abs=1e-3)


def test_an_observation_of_many_images_does_not_hide_the_others():
    """900 nearly equal photos of one observation: the search goes on until it has k observations."""
    rng = np.random.default_rng(1)
    one, others = rng.normal(size=D) + 0.01 * rng.normal(size=(900, D)), rng.normal(size=(4, D))
    images = [IndexedImage(image=f"a{i}", observation="same") for i in range(900)]
    images += [IndexedImage(image=f"b{i}", observation=f"o{i}") for i in range(4)]
    index = ImageIndex(hashing())
    index.add(np.concatenate([one, others]), images)
    found = index.search(one[0], k=5)
    assert found[0].image.observation == "same"
    assert {hit.image.observation for hit in found} == {"same", "o0", "o1", "o2", "o3"}
    assert len(index.search(one[0], k=5, observations=False)) == 5


def test_cells_of_a_large_index_change_little(monkeypatch):
    """Parted into cells, read one in eight: nearly the same images as without, also those added after the parting."""
    rng = np.random.default_rng(2)
    features, images = photos(rng, 4_000, species=40, per_observation=1)
    index = ImageIndex(hashing(256), floras=FLORAS)
    index.add(features[:3_200], images[:3_200])
    queries = features[rng.choice(4_000, 60, replace=False)] + 0.1 * rng.normal(size=(60, D))
    monkeypatch.setattr(nearest, "PARTED", 1_000)
    index.search(queries[0], k=1)
    index.add(features[3_200:], images[3_200:])
    parted = [{hit.image.image for hit in index.search(query, k=5)} for query in queries]
    monkeypatch.setattr(nearest.Parting, "of", lambda self, codes: None)
    whole = [{hit.image.image for hit in index.search(query, k=5)} for query in queries]
    assert np.mean([len(p & w) / 5 for p, w in zip(parted, whole, strict=True)]) > 0.95
    assert all(len(p) == 5 for p in parted)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 400), m=st.integers(1, 400), k=st.integers(1, 60), width=st.sampled_from([1, 2, 8, 32]), seed=st.integers(0, 1000))
def test_the_nearest_codes_are_a_stable_sort(n, m, k, width, seed):
    """With and without cells of which all are looked at, and with codes added after: the k nearest, equals in their order."""
    rng = np.random.default_rng(seed)
    codes, code = rng.integers(0, 256, (n + m, width), dtype=np.uint8), rng.integers(0, 256, width, dtype=np.uint8)
    distance = np.bitwise_count(codes ^ code).sum(1)
    expected = np.argsort(distance, kind="stable")[:k]
    assert np.array_equal(nearest.by_hamming(code, codes, k), expected)
    looked_at, nearest.LOOKED_AT = nearest.LOOKED_AT, 1
    try:
        cells = nearest.Cells(codes[:n])
    finally:
        nearest.LOOKED_AT = looked_at
    found = nearest.by_hamming(code, codes, k, cells)
    assert np.array_equal(distance[found], distance[expected])
    before = nearest.by_hamming(code, codes[: n // 2], k, cells)  # a search that began before the parting
    assert (before < n // 2).all()


def test_every_half_is_widened_exactly():
    """All finite float16, also subnormal ones and -0, are the float32 that numpy makes of them."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    expected = halves.astype(np.float32)
    assert np.array_equal(nearest.widened(halves).view(np.uint32), expected.view(np.uint32))
    assert np.array_equal(nearest.widened(halves[: 2 * 300].reshape(2, 300)), expected[: 2 * 300].reshape(2, 300))


def test_related_images_of_candidates_are_of_the_organ_shown():
    """Each species' nearest of the same organ first, of the others where too few; of each observation one; as brute force has them."""
    rng = np.random.default_rng(4)
    features, images = photos(rng, 300, species=6)
    rows = list(zip(features, images, strict=True))
    index = ImageIndex(hashing())
    index.add(features, images)
    query = rng.normal(size=D)
    wanted = ["s3", "s0", "unknown"]
    leaves = index.related(query, wanted, k=4, organs=["leaf"])
    for name, hits in zip(wanted, leaves, strict=True):
        agree(hits, brute(rows, query, k=4, species={name}, organ="leaf"))
    any_organ = index.related(query, wanted, k=4)
    for name, hits in zip(wanted, any_organ, strict=True):
        agree(hits, brute(rows, query, k=4, species={name}))
    many = index.related(query, ["s3"], k=30, organs=["leaf"])[0]
    shown = [hit.image.organ for hit in many]
    first = shown.count("leaf")
    assert 0 < first < len(many)
    assert set(shown[:first]) == {"leaf"}
    named_ones = [hit.image.observation for hit in many if hit.image.observation]
    assert len(named_ones) == len(set(named_ones))


def test_each_view_is_compared_with_its_organ():
    """A flower and a leaf of one plant: images of flowers by the flower, of leaves by the leaf; the order of views says nothing."""
    rng = np.random.default_rng(5)
    flower, leaf = rng.normal(size=(2, D))
    images = [
        IndexedImage(image="flower", species="s", organ="flower"),
        IndexedImage(image="leaf", species="s", organ="leaf"),
        IndexedImage(image="flower that looks like the leaf", species="s", organ="flower"),
    ]
    index = ImageIndex(hashing())
    index.add(np.stack([flower + 0.1 * rng.normal(size=D), leaf + 0.2 * rng.normal(size=D), leaf]), images)
    found = index.related(np.stack([flower, leaf]), ["s"], k=2, organs=["flower", "leaf"])[0]
    assert [hit.image.image for hit in found] == ["flower", "leaf"]
    assert found == index.related(np.stack([leaf, flower]), ["s"], k=2, organs=["leaf", "flower"])[0]
    unknown = index.related(np.stack([flower, leaf]), ["s"], k=1, organs=["", ""])[0]
    assert unknown[0].image.image == "flower that looks like the leaf"


def test_what_does_not_fit_is_refused_and_nothing_is_added():
    """Features of another net, not finite, of another number; images without a name, twice, of no organ: InputError, and the index as before."""
    rng = np.random.default_rng(6)
    features, images = photos(rng, 5)
    index = ImageIndex(hashing(), floras=FLORAS)
    for wrong, of, match in (
        (features[:, :5], images, "of 5 dimensions"),
        (np.where(np.arange(5)[:, None] == 2, np.inf, features), images, "row 2"),
        (features[:4], images, "4 features and 5 images"),
        (features, [images[0]] * 5, "given twice"),
        (features, [*images[:4], IndexedImage(image="")], "without a name"),
        (features, [*images[:4], IndexedImage(image="x", organ="root")], "organ of image x is 'root'"),
        (features, [*images[:4], IndexedImage(image="x", author=None)], "author of image x is None"),
        (features, [*images[:4], IndexedImage(image="x", author="\ud800")], "text was expected"),
    ):
        with pytest.raises(InputError, match=match):
            index.add(wrong, of)
        assert len(index) == 0
        assert index.search(features[0], k=3) == []
    with pytest.raises(LookupFailed, match=r"'alp' .* Did you mean 'alps'"):
        index.search(features[0], k=3, flora="alp")
    with pytest.raises(InputError, match="0 images were asked for"):
        index.search(features[0], k=0)
    with pytest.raises(InputError, match="0 images were asked for"):
        index.related(features[0], ["s0"], k=0)
    with pytest.raises(InputError, match="1 photos and 2 organs"):
        index.related(features[0], ["s0"], organs=["leaf", "leaf"])
    with pytest.raises(InputError, match="of the same net"):
        index.search(features[0, :3], k=1)


@pytest.mark.parametrize("fails", range(1, 6))
def test_an_addition_that_fails_leaves_the_index_whole(tmp_path, monkeypatch, fails):
    """Wherever memory ends within it: searches, later additions and the saved files are those of an index that was never asked."""
    rng = np.random.default_rng(fails)
    features, images = photos(rng, 40)
    index, like = ImageIndex(hashing(), floras=FLORAS), ImageIndex(hashing(), floras=FLORAS)
    for one in (index, like):
        one.add(features[:20], images[:20])
    extend, calls = Column.extend, iter(range(1, 100))

    def failing(self, values):
        if next(calls) == fails:
            raise MemoryError
        extend(self, values)

    monkeypatch.setattr(Column, "extend", failing)
    with pytest.raises(MemoryError):
        index.add(features[18:30], images[18:30])
    monkeypatch.undo()
    assert len(index) == 20 and images[25].image not in index
    for one in (index, like):
        one.add(features[30:], images[30:])
    index.save(tmp_path / "index")
    for one in (index, ImageIndex.open(tmp_path / "index")):
        for i in (*range(20), *range(30, 40)):
            assert one.search(features[i], k=3) == like.search(features[i], k=3)
            assert one.related(features[i], [images[i].species], k=2) == like.related(features[i], [images[i].species], k=2)


def test_what_is_kept_of_an_image_is_told():
    """Its facts and its features, with which it can be told anew; LookupFailed for one that is not there."""
    features, images = photos(np.random.default_rng(4), 9)
    index = ImageIndex(hashing())
    index.add(features, images)
    told = dataclasses.replace(images[3], species="another")
    assert index.image(images[3].image) == images[3]
    assert index.add(index.features_of([images[3].image]), [told]) == 1
    assert index.image(images[3].image) == told and index.search(features[3], k=1)[0].image == told
    for asked in (lambda: index.image("x"), lambda: index.features_of([images[0].image, "x"])):
        with pytest.raises(LookupFailed, match="'x' is not in the index"):
            asked()


def test_an_index_is_of_one_net():
    """Features of another net, or of another training, are not comparable: ModelError."""
    card = Card(name="lite0", version="2", backbone="lite0", size=224)
    index = ImageIndex(hashing(), network=named(card))
    index.check(card, D)
    with pytest.raises(ModelError, match=r"'lite0 2'.*'lite0 3'"):
        index.check(dataclasses.replace(card, version="3"))
    with pytest.raises(ModelError, match="12 dimensions, the net gives 16"):
        index.check(card, 16)


def test_searches_while_images_come_and_go_see_one_state():
    """Threads that search while another adds and removes: no error, only images that are there throughout or were, each with its own facts."""
    rng = np.random.default_rng(8)
    stay_features, stay = photos(rng, 600)
    index = ImageIndex(hashing(), floras=FLORAS)
    index.add(stay_features, stay)
    known = {image.image: image for image in stay}
    batches = [photos(rng, 60, start=1_000 + 60 * i) for i in range(25)]
    known |= {image.image: image for _, images in batches for image in images}
    done, faults = threading.Event(), []

    def search(asked):
        try:
            while not done.is_set():
                for hit in index.search(stay_features[5], k=8, **asked):
                    assert hit.image == known[hit.image.image]
                    assert asked.get("organ") in (None, hit.image.organ)
                    assert "flora" not in asked or hit.image.species in FLORAS[asked["flora"]]
                assert index.search(stay_features[5], k=1, observations=False, **asked)[0].image == stay[5]
                assert index.related(stay_features[5], [stay[5].species], k=1)[0][0].image == stay[5]
        except Exception as error:  # a thread's failure is the test's
            faults.append(error)

    home = next(name for name, species in FLORAS.items() if stay[5].species in species) if stay[5].species != "s4" else None
    ways = [{}, {"organ": stay[5].organ}, {"species": {stay[5].species}}, *([{"flora": home}] if home else [])]
    threads = [threading.Thread(target=search, args=(asked,)) for asked in ways]
    for thread in threads:
        thread.start()
    for i, (features, images) in enumerate(batches):
        index.add(features, images)
        if i % 3 == 2:
            index.remove([image.image for image in images[::2]])
    done.set()
    for thread in threads:
        thread.join()
    assert not faults
    assert len(index) == 600 + 25 * 60 - 8 * 30
