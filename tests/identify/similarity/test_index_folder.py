"""An index as a folder: what was saved is what is opened, and what was damaged, foreign or half-replaced is said."""

import json
import threading

import numpy as np
import pytest

from geoplantnet.errors import GeoPlantNetError, InputError, IntegrityError, StorageError
from geoplantnet.identify.similarity import ImageIndex, IndexedImage, files, fit_hyperplanes
from geoplantnet.storage import files_of, sha256

D = 6


def an_index(n=40, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, D))
    index = ImageIndex(fit_hyperplanes(rng.normal(size=(40, D)), bits=32), floras={"été": ["s1", "s2"]}, network="lite0 1")
    index.add(
        features,
        [
            IndexedImage(image=f"i{i}", observation=f"o{i // 2}", species=f"s{i % 4}", organ="leaf", author=f"Zoë\n{i}", license="CC0")
            for i in range(n)
        ],
    )
    return index, features


def test_what_was_saved_is_what_is_opened(tmp_path):
    """The same images, facts, floras, net and answers; the same index gives the same bytes; saving over itself, while mapped, works."""
    index, features = an_index()
    index.save(tmp_path / "a")
    opened = ImageIndex.open(tmp_path / "a")
    assert list(opened) == list(index)
    assert (opened.floras, opened.network) == (index.floras, "lite0 1")
    for asked in ({}, {"flora": "été"}, {"species": {"s3"}, "observations": False}):
        assert opened.search(features[3], k=6, **asked) == index.search(features[3], k=6, **asked)
    opened.save(tmp_path / "b")
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")
    opened.remove(["i1"])
    opened.add(features[:1], [IndexedImage(image="new")])
    opened.save(tmp_path / "a")
    assert opened.search(features[0], k=1, observations=False)[0].image.image == "i0"
    again = ImageIndex.open(tmp_path / "a", floras={"other": ["s0"]})
    assert list(again) == list(opened)
    assert set(again.floras) == {"other"}
    assert list(again.related(features[0], ["s0"], k=3)) == list(opened.related(features[0], ["s0"], k=3))


def test_an_empty_index_is_one(tmp_path):
    """Without images it can be saved, opened, searched and added to."""
    index, _ = an_index(0)
    index.save(tmp_path / "a")
    opened = ImageIndex.open(tmp_path / "a")
    assert opened.search(np.ones(D), k=3) == []
    assert opened.related(np.ones(D), ["s1"]) == [[]]
    opened.add(np.ones((1, D)), [IndexedImage(image="first")])
    assert opened.search(np.ones(D), k=3)[0].image.image == "first"


def test_what_was_removed_is_not_in_the_files(tmp_path):
    """No name, author or observation of a removed image is left in the folder, nor its features."""
    index, _ = an_index()
    index.remove([f"i{i}" for i in range(40) if i % 2])
    index.save(tmp_path / "a")
    text = b"".join(file.read_bytes() for file in files_of(tmp_path / "a"))
    assert b'"i20"' in text
    assert b'"i21"' not in text
    assert "Zoë\\n21".encode() not in text
    assert np.load(tmp_path / "a" / "features.npy").shape == (20, D)


@pytest.mark.parametrize("name", ["planes.npy", "offsets.npy", "codes.npy", "features.npy", "images.json", "columns.npy"])
def test_a_damaged_file_is_named(tmp_path, name):
    """A bit turned, a file cut short, gone, or another's: IntegrityError, which names the file."""
    index, _ = an_index()
    index.save(tmp_path / "a")
    file = tmp_path / "a" / name
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) * 2 // 3] ^= 4
    for damaged in (bytes(flipped), whole[:-7], b"", None):
        if damaged is None:
            file.unlink()
        else:
            file.write_bytes(damaged)
        with pytest.raises(IntegrityError, match=name):
            ImageIndex.open(tmp_path / "a")


def test_files_that_do_not_fit_each_other_are_refused(tmp_path):
    """Hashes that fit, contents that do not (another's card, words that are not there): IntegrityError, never a wrong answer."""
    for change in (
        {"bits": 64},
        {"dimensions": 7},
        {"images": 39},
        {"floras": [1]},
        {"files": []},
    ):
        index, _ = an_index()
        index.save(tmp_path / "a")
        card = json.loads((tmp_path / "a" / "index.json").read_text())
        (tmp_path / "a" / "index.json").write_text(json.dumps(card | change))
        with pytest.raises(IntegrityError):
            ImageIndex.open(tmp_path / "a")
    for name, content in (("columns", np.full((40, 6), 99, np.int32)), ("codes", np.zeros((40, 4), np.int32)), ("planes", np.array([{}]))):
        index.save(tmp_path / "a")
        np.save(tmp_path / "a" / f"{name}.npy", content, allow_pickle=True)
        card["files"][f"{name}.npy"] = sha256(tmp_path / "a" / f"{name}.npy")
        (tmp_path / "a" / "index.json").write_text(json.dumps(card))
        with pytest.raises(IntegrityError):
            ImageIndex.open(tmp_path / "a")
        card["files"] = json.loads((tmp_path / "a" / "index.json").read_text())["files"]


def test_what_is_no_index_is_not_opened_nor_overwritten(tmp_path):
    """A folder of something else, of a newer version, or none: InputError; saving over a folder that holds something else leaves it."""
    index, _ = an_index()
    with pytest.raises(InputError, match="holds no index"):
        ImageIndex.open(tmp_path / "none")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("dear")
    with pytest.raises(InputError, match="holds something that is no index"):
        index.save(tmp_path / "other")
    assert (tmp_path / "other" / "thesis.txt").read_text() == "dear"
    index.save(tmp_path / "a")
    card = tmp_path / "a" / "index.json"
    whole = json.loads(card.read_text())
    for change, match in (({"version": 2}, "version 2"), ({"format": "STAC"}, "another program")):
        card.write_text(json.dumps(whole | change))
        with pytest.raises(InputError, match=match):
            ImageIndex.open(tmp_path / "a")
    for text in ("[]", "null"):
        card.write_text(text)
        with pytest.raises(InputError, match="another program"):
            ImageIndex.open(tmp_path / "a")
    card.write_text("{")
    with pytest.raises(IntegrityError, match=r"index\.json"):
        ImageIndex.open(tmp_path / "a")


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    """A device that is full in the middle of the features: StorageError, the folder as before, no litter."""
    index, features = an_index()
    index.save(tmp_path / "a")
    before = sha256(tmp_path / "a")
    index.add(features[:1], [IndexedImage(image="one more")])

    def full(*_):
        raise OSError(28, "No space left on device")
        yield

    with pytest.raises(StorageError, match="No space left"):
        files.write(tmp_path / "a", files.read(tmp_path / "a", verify=True), full())
    assert sha256(tmp_path / "a") == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_one_opens_while_another_saves(tmp_path):
    """Whoever opens a folder while it is replaced, again and again, gets one whole index or the other."""
    few, _ = an_index(20)
    many, features = an_index(60)
    few.save(tmp_path / "a")
    done, found = threading.Event(), []

    def read():
        while not done.is_set():
            try:
                opened = ImageIndex.open(tmp_path / "a")
                found.append(len(opened))
                opened.search(features[0], k=5)
            except GeoPlantNetError as error:
                found.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(20):
        (many, few)[i % 2].save(tmp_path / "a")
    done.set()
    reader.join()
    assert set(found) <= {20, 60}, found
    assert found
