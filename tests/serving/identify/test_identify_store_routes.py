"""Observations, votes and the queue of review below /v2, over a real store."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from geoplantnet.identify.engine import Identifier
from geoplantnet.identify.observations import ObservationStore
from geoplantnet.identify.photos import Decoder
from geoplantnet.serving.guard import KeyRing, Refused
from geoplantnet.serving.identify import IdentifySettings
from geoplantnet.serving.identify.media import Media


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObservationStore]:
    with ObservationStore.open(tmp_path / "store.sqlite", create=True) as store:
        yield store


@pytest.fixture
def others(settings: IdentifySettings, key: str) -> dict[str, str]:
    """Keys of other accounts; the last may see sensitive species."""
    assert settings.keys is not None
    ring = KeyRing(settings.keys)
    keys = {name: ring.add(name) for name in ("ada", "bea", "cai")} | {"warden": ring.add("warden", layers=("sensitive",))}
    ring.close()
    return keys


def given(client: TestClient, photo: bytes, *, key: str = "", again: str = "", **fields: str) -> Any:
    """`again`: the client's own id of the contribution."""
    data = {"license": "cc-by-sa", "species": "gentiana-lutea", "lat": "46.4321", "lon": "8.0512", "date": "2026-05-12", **fields} | (
        {"key": again} if again else {}
    )
    headers = {"Api-Key": key} if key else {}
    return client.post("/v2/observations", files=[("images", ("DSC01.jpg", photo))], data=data, headers=headers)


def test_a_contribution_is_kept_once_and_told_to_others_without_its_exact_place(
    client_of: Callable[..., TestClient], store: ObservationStore, others: dict[str, str], photo: Callable[..., bytes]
) -> None:
    """Sent twice it is one observation; its author sees where it was, others the middle of a coarse square until the label is valid."""
    client = client_of(store=store)
    first, again = (given(client, photo(1), key="", author="Flora G.") for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201), first.text
    assert first.json()["id"] == again.json()["id"]
    assert store.statistics()["observations"] == 1
    assert first.json()["place"] == {"latitude": 46.4321, "longitude": 8.0512, "uncertainty": None}
    seen = client.get(f"/v2/observations/{first.json()['id']}", headers={"Api-Key": others["ada"]}).json()
    assert seen["place"] == {"latitude": 46.45, "longitude": 8.05, "uncertainty": 8000.0}
    assert seen["author"] == "Flora G." and not seen["own"]
    assert "flora" not in str({name: value for name, value in seen.items() if name != "images"})


def test_what_one_gave_one_may_take_back(
    client_of: Callable[..., TestClient], store: ObservationStore, others: dict[str, str], photo: Callable[..., bytes]
) -> None:
    """The author alone, for good: no route tells of it any more, its photos are gone, and it is not given again by a lost answer's repetition."""
    client = client_of(store=store)
    ada = {"Api-Key": others["ada"]}
    kept, gone = (given(client, photo(i), key=others["ada"]).json() for i in (1, 2))
    assert client.get("/v2/observations/own").json() == {"results": [], "next": None}
    assert [one["id"] for one in client.get("/v2/observations/own", headers=ada).json()["results"]] == [gone["id"], kept["id"]]
    first = client.get("/v2/observations/own?limit=1", headers=ada).json()
    second = client.get(f"/v2/observations/own?limit=1&after={first['next']}", headers=ada).json()
    assert [page["results"][0]["id"] for page in (first, second)] == [gone["id"], kept["id"]]
    addresses = [gone["images"][0]["url"][size] for size in "oms"]
    assert [client.get(url).status_code for url in addresses] == [200] * 3

    where = f"/v2/observations/{gone['id']}"
    assert client.delete(where, headers={"Api-Key": others["bea"]}).status_code == 403
    assert client.delete("/v2/observations/nothing", headers=ada).status_code == 404
    answers = [client.delete(where, headers=ada) for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 2, "the answer may have been lost"
    assert [client.get(url).status_code for url in addresses] == [404] * 3
    assert client.get(where, headers=ada).status_code == 404
    assert client.post(f"{where}/votes/cultivated", json={"value": True}, headers={"Api-Key": others["bea"]}).status_code == 410
    assert given(client, photo(2), key=others["ada"]).status_code == 410
    assert given(client, photo(2), key=others["ada"]).json()["message"].count("another id") == 1
    assert [one["id"] for one in client.get("/v2/observations/own", headers=ada).json()["results"]] == [kept["id"]]
    queue = client.get("/v2/observations/review", headers={"Api-Key": others["bea"]}).json()["results"]
    assert [one["id"] for one in queue] == [kept["id"]]
    assert client_of(store=store, key="", changes={"keys": None}).delete(where).status_code == 401


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("uncertainty", "abc", "no radius"),
        ("uncertainty", "-3", "no radius"),
        ("uncertainty", "inf", "no radius"),
        ("date", "0001-01-01", "before there were photos"),
        ("date", "2999-01-01", "still to come"),
        ("date", "yesterday", "ISO 8601"),
    ],
)
def test_what_is_said_of_a_contribution_is_taken_or_refused(
    client_of: Callable[..., TestClient], store: ObservationStore, photo: Callable[..., bytes], field: str, value: str, words: str
) -> None:
    """Nothing that was said of a plant is dropped without a word, and nothing is kept of what was refused."""
    client = client_of(store=store)
    answer = given(client, photo(1), **{field: value})
    assert answer.status_code == 400 and words in answer.json()["message"]
    assert given(client, photo(1), uncertainty="25.5").json()["place"]["uncertainty"] == 25.5


def test_votes_of_others_make_a_label_valid_and_end_the_review(
    client_of: Callable[..., TestClient], store: ObservationStore, others: dict[str, str], photo: Callable[..., bytes]
) -> None:
    """The queue holds others' observations that are not agreed on, until the account has spoken or all agree; votes replace each other."""
    client = client_of(store=store)
    name = given(client, photo(1)).json()["id"]
    assert client.get("/v2/observations/review").json()["results"] == []
    as_ada = {"Api-Key": others["ada"]}
    queue = client.get("/v2/observations/review", headers=as_ada).json()
    assert [one["id"] for one in queue["results"]] == [name] and queue["next"] is None
    url = f"/v2/observations/{name}/votes/determination"
    assert client.post(url, json={"species": "Picea abies"}, headers=as_ada).json()["new"]
    assert client.get("/v2/observations/review", headers=as_ada).json()["results"] == []
    assert client.post(url, json={"species": "gentiana-lutea", "key": "1"}, headers=as_ada).json()["new"]
    assert not client.post(url, json={"species": "gentiana-lutea", "key": "1"}, headers=as_ada).json()["new"]
    store.update()
    seen = client.get(f"/v2/observations/{name}", headers=as_ada).json()
    assert seen["species"]["id"] == "gentiana-lutea" and seen["votes"] == 2
    assert [(answer["species"]["id"], answer["votes"]) for answer in seen["answers"]] == [("gentiana-lutea", 2)]


def test_flags_organs_and_qualities_are_votes(
    client_of: Callable[..., TestClient], store: ObservationStore, others: dict[str, str], photo: Callable[..., bytes]
) -> None:
    """What the page and Pl@ntNet's routes send is logged as the store's kinds of votes; what means nothing is refused and says why."""
    client = client_of(store=store)
    told = given(client, photo(2)).json()
    name, image = told["id"], told["images"][0]["id"]
    as_bea = {"Api-Key": others["bea"]}
    votes = f"/v2/observations/{name}/votes"
    assert client.post(f"{votes}/determination", json={"kind": "not_a_plant"}, headers=as_bea).status_code == 200
    assert client.post(f"{votes}/cultivated", json={"value": True}, headers=as_bea).status_code == 200
    assert client.post(f"{votes}/image/{image}/organ", json={"value": "flower"}, headers=as_bea).status_code == 200
    assert client.post(f"{votes}/image/{image}/quality", json={"value": -1}, headers=as_bea).status_code == 200
    log = store.history(name)
    mine = log[log["user_id"] == "bea"]
    assert list(zip(mine["kind"], mine["value"], strict=True)) == [
        ("not_a_plant", "1"),
        ("cultivated", "1"),
        ("organ", "flower"),
        ("quality", "-1"),
    ]
    for path, body, status in (
        ("determination", {"species": "Rosa nulla"}, 400),
        ("image/" + image + "/organ", {"value": "root"}, 400),
        ("image/" + "0" * 64 + "/organ", {"value": "leaf"}, 404),
        ("image/" + image + "/colour", {"value": "red"}, 404),
        ("applause", {"value": True}, 404),
        ("determination", {"surprise": 1}, 400),
        ("determination", [1], 400),
    ):
        answer = client.post(f"{votes}/{path}", json=body, headers=as_bea)
        assert answer.status_code == status, (path, answer.text)
        assert set(answer.json()) >= {"statusCode", "error", "message"}
    assert client.post("/v2/observations/none/votes/determination", json={"species": "picea-abies"}, headers=as_bea).status_code == 404


def test_without_a_key_nothing_is_given_voted_or_reviewed(
    client_of: Callable[..., TestClient], store: ObservationStore, photo: Callable[..., bytes]
) -> None:
    """An account is needed, and a licence."""
    client = client_of(store=store)
    bare = client_of(key="", store=store)
    assert given(bare, photo(1)).status_code == 401
    assert bare.get("/v2/observations/review").status_code == 401
    name = given(client, photo(1)).json()["id"]
    assert bare.post(f"/v2/observations/{name}/votes/determination", json={"species": "picea-abies"}).status_code == 401
    assert given(client, photo(3), license="").status_code == 400
    assert given(client, photo(3), license="all rights reserved").status_code == 400
    assert given(client, photo(3), date="2999-01-01").status_code == 400
    assert given(client, photo(3), lat="").status_code == 400
    assert given(client, photo(3), species="Rosa nulla").status_code == 400
    assert store.statistics()["observations"] == 1


def test_nothing_is_kept_of_photos_that_are_only_identified(
    client_of: Callable[..., TestClient], store: ObservationStore, photo: Callable[..., bytes], tmp_path: Path
) -> None:
    """Identification leaves no row and no file."""
    client = client_of(store=store)
    before = sorted(path for path in tmp_path.rglob("*") if path.suffix in (".jpg", ".png"))
    for seed in range(3):
        assert client.post("/v2/identify/all", files=[("images", ("a.jpg", photo(seed)))]).status_code == 200
    assert sorted(path for path in tmp_path.rglob("*") if path.suffix in (".jpg", ".png")) == before
    assert store.statistics()["observations"] == 0 and store.statistics()["images"] == 0


def test_photos_are_shown_by_signed_addresses_without_metadata(
    client_of: Callable[..., TestClient], store: ObservationStore, photo: Callable[..., bytes]
) -> None:
    """Three sizes; no EXIF; an address that was not given out, or was changed, leads nowhere."""
    with Image.open(io.BytesIO(photo(1, size=(900, 700)))) as image:
        exif = Image.Exif()
        exif[0x010F] = "SECRETCAMERA"
        out = io.BytesIO()
        image.save(out, "JPEG", exif=exif)
    client = client_of(store=store)
    image = given(client, out.getvalue()).json()["images"][0]
    assert (image["license"], image["citation"].rpartition(", ")[2]) == ("cc-by-sa", "CC BY-SA")
    urls = image["url"]
    longest = {}
    for size, url in urls.items():
        answer = client.get(url)
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
        assert b"SECRETCAMERA" not in answer.content
        with Image.open(io.BytesIO(answer.content)) as shown:
            longest[size] = max(shown.size)
    assert longest == {"o": 900, "m": 600, "s": 150}
    other = urls["s"][:-8] + ("B" if urls["s"][-8] == "A" else "A") + urls["s"][-7:]
    for wrong in (other, urls["s"].replace("/s/", "/x/"), urls["s"].replace("/s/", "/s/A"), "/v2/media/s/abc.def"):
        assert client.get(wrong).status_code in (400, 404)


def test_an_address_tells_nothing_of_where_a_photo_lies(tmp_path: Path, photo: Callable[..., bytes]) -> None:
    """Of an indexed file: the same address every time, which another server cannot read, and which holds no letter of the path."""
    file = tmp_path / "private-collection" / "photo.jpg"
    file.parent.mkdir()
    file.write_bytes(photo(5))
    with Decoder(workers=1) as decoder:
        ours, theirs = (Media(secret=secret, decoder=decoder, store=None) for secret in (b"a", b"b"))
        path = ours.urls(str(file), "")["s"].removeprefix("/v2/media/")
        assert path == ours.urls(str(file), "")["s"].removeprefix("/v2/media/")
        raw = base64.urlsafe_b64decode(path[2:] + "=" * (-len(path[2:]) % 4))
        assert not any(raw[i : i + 4] in str(file).encode() for i in range(len(raw) - 3))
        assert ours.answer(path).media_type == "image/jpeg"
        with pytest.raises(Refused):
            theirs.answer(path)


def test_of_sensitive_species_neither_place_nor_photos_are_told(
    client_of: Callable[..., TestClient], store: ObservationStore, others: dict[str, str], photo: Callable[..., bytes], tmp_path: Path
) -> None:
    """One vote for a sensitive species is enough to hide an observation from everybody but its author and who is granted to see it."""
    table = tmp_path / "sensitive.csv"
    table.write_text("taxon,region,category,reason,review\nCypripedium calceolus,,2,collected,\n")
    client = client_of(store=store, changes={"sensitive": table})
    before = given(client, photo(6)).json()
    assert before["prediction"]["species"]["id"] != "cypripedium-calceolus"
    name = before["id"]
    for who in ("bea", "cai", "ada"):  # a valid one, of which a species' page shows photos
        store.add_user(who)
        store.set_weight(who, fixed=5.0)
        client.post(f"/v2/observations/{name}/votes/determination", json={"species": "gentiana-lutea"}, headers={"Api-Key": others[who]})
    store.update()
    addresses = [before["images"][0]["url"][size] for size in "oms"]
    shown = client.get("/v2/species/gentiana-lutea", headers={"Api-Key": others["ada"]}).json()["images"]
    assert [image["observation"] for image in shown] == [name]
    assert [client.get(url).status_code for url in addresses] == [200] * 3
    client.post(
        f"/v2/observations/{name}/votes/determination", json={"species": "cypripedium-calceolus"}, headers={"Api-Key": others["bea"]}
    )
    client.post(f"/v2/observations/{name}/votes/determination", json={"species": "gentiana-lutea"}, headers={"Api-Key": others["bea"]})
    store.update()
    assert client.get("/v2/species/gentiana-lutea").json()["images"] == [], "though the vote was changed, and the label is another's"
    assert client.get(addresses[0]).status_code == 404, "an address given out before is of no use"
    for who in ({}, {"Api-Key": others["warden"]}):
        own = client.get(f"/v2/observations/{name}", headers=who).json()["images"][0]["url"]
        photos = [client.get(own[size]) for size in "oms"]
        assert [one.status_code for one in photos] == [200] * 3 and all("private" in one.headers["cache-control"] for one in photos)
    stranger = client.get(f"/v2/observations/{name}", headers={"Api-Key": others["ada"]}).json()
    assert stranger["place"] is None and stranger["images"] == [] and stranger["date"] == "2026-05" and stranger["dataGeneralizations"]
    assert client.get("/v2/observations/review", headers={"Api-Key": others["ada"]}).json()["results"] == []
    for who in ({}, {"Api-Key": others["warden"]}):
        seen = client.get(f"/v2/observations/{name}", headers=who).json()
        assert seen["place"]["latitude"] == 46.4321 and seen["images"]
    again = f"/v2/projects/all/observations/{name}/identify"
    assert client.get(again, headers={"Api-Key": others["ada"]}).status_code == 404
    assert client.get(again).status_code == 200


def test_an_account_that_was_silenced_hides_nothing(
    client_of: Callable[..., TestClient], store: ObservationStore, others: dict[str, str], photo: Callable[..., bytes], tmp_path: Path
) -> None:
    """One vote hides, so one vandal could hide everything: `observations weight USER --fixed 0` undoes it, and taking that back hides again."""
    table = tmp_path / "sensitive.csv"
    table.write_text("taxon,region,category,reason,review\nCypripedium calceolus,,2,collected,\n")
    client = client_of(store=store, changes={"sensitive": table})
    name = given(client, photo(6)).json()["id"]
    bea, ada = ({"Api-Key": others[who]} for who in ("bea", "ada"))

    def shown() -> bool:
        return bool(client.get(f"/v2/observations/{name}", headers=ada).json()["images"])

    assert shown()
    client.post(f"/v2/observations/{name}/votes/determination", json={"species": "cypripedium-calceolus"}, headers=bea)
    assert not shown()
    store.set_weight("bea", fixed=0.0)
    assert shown()
    store.set_weight("bea", fixed=None)
    assert not shown()


def test_a_vote_said_again_is_no_new_act_and_votes_are_not_endless(
    client_of: Callable[..., TestClient], store: ObservationStore, others: dict[str, str], photo: Callable[..., bytes]
) -> None:
    """The same again is not logged; with a key it is an act of its own; beyond the day's votes 429; what was refused is not counted."""
    client = client_of(store=store, changes={"vote_quota": 8})
    name, ada = given(client, photo(6)).json()["id"], {"Api-Key": others["ada"]}
    before = store.statistics()["votes"]

    def vote(**said: Any) -> Any:
        return client.post(f"/v2/observations/{name}/votes/determination", json=said, headers=ada)

    told = [vote(species="gentiana-lutea").json()["new"] for _ in range(3)]
    assert told == [True, False, False] and store.statistics()["votes"] == before + 1
    assert vote(species="gentiana-verna").json()["new"] and vote(species="gentiana-lutea", key="phone-1").json()["new"]
    assert not vote(species="gentiana-lutea", key="phone-1").json()["new"]
    missing = client.post("/v2/observations/nowhere/votes/determination", json={"species": "gentiana-lutea"}, headers=ada)
    assert missing.status_code in (400, 404)
    assert [vote(species="gentiana-verna").status_code for _ in range(3)] == [200, 200, 429]
    assert client.get("/v2/quota", headers=ada).json()["count"] == {"identify": 0, "survey": 0}
    assert client.get("/v2/quota/history", headers=ada).json() == []


def test_names_are_taken_as_they_are_told(
    client_of: Callable[..., TestClient], store: ObservationStore, others: dict[str, str], photo: Callable[..., bytes], tmp_path: Path
) -> None:
    """With authorship, as `scientificName` and `bestMatch` have it; without; and by id."""
    facts = tmp_path / "facts.csv"
    facts.write_text("taxonID,scientificNameAuthorship\ngentiana-verna,L.\ngentiana-lutea,L.\n")
    client = client_of(store=store, changes={"facts": facts})
    name = given(client, photo(6), species="Gentiana verna L.").json()["id"]
    for i, said in enumerate(("Gentiana lutea L.", "Gentiana  lutea L.", "Gentiana lutea", "gentiana-lutea")):
        told = client.post(
            f"/v2/observations/{name}/votes/determination", json={"name": said, "key": f"k{i}"}, headers={"Api-Key": others["ada"]}
        )
        assert told.status_code == 200 and told.json()["value"] == "gentiana-lutea", told.text
    wrong = client.post(f"/v2/observations/{name}/votes/determination", json={"name": "Gentiana lutea Mill."})
    assert wrong.status_code == 400


class OneSpot:
    """A map that knows a plant at one spot alone."""

    def __init__(self, species: int) -> None:
        self.species = species

    def at(self, longitude: float, latitude: float) -> np.ndarray:
        present = np.full(self.species, 1e-3)
        if abs(longitude - 8.0512) < 5e-4 and abs(latitude - 46.4321) < 5e-4:
            present[0] = 1.0
        return present

    def trust(self, longitude: float, latitude: float) -> float:
        return 1.0


def test_scores_tell_no_place_that_is_not_told(
    client_of: Callable[..., TestClient],
    store: ObservationStore,
    others: dict[str, str],
    photo: Callable[..., bytes],
    identifier: Identifier,
) -> None:
    """What the net says again of an observation is said of its exact place to its author alone, to others of the coarse one."""
    knows = Identifier(identifier.network, prior=OneSpot(len(identifier.network.species)))
    client = client_of(store=store, identifier=knows)
    name = given(client, photo(4)).json()["id"]

    def scores(answer: Any) -> dict[str, float]:
        assert answer.status_code == 200, answer.text
        return {row["taxonID"]: row["score"] for row in answer.json()["results"]}

    def asked(lat: float, lon: float) -> dict[str, float]:
        files = [("images", ("a.jpg", photo(4)))]
        return scores(client.post(f"/v2/identify/all?lat={lat}&lon={lon}&no-reject=true", files=files))

    again = f"/v2/projects/all/observations/{name}/identify"
    mine, theirs = (scores(client.get(again, headers=who)) for who in ({}, {"Api-Key": others["ada"]}))
    assert mine == pytest.approx(asked(46.4321, 8.0512), abs=1e-4) and theirs == pytest.approx(asked(46.45, 8.05), abs=1e-4)
    assert mine != pytest.approx(theirs, abs=1e-3)


def test_of_what_is_not_kept_no_photo_is_kept(
    client_of: Callable[..., TestClient], store: ObservationStore, photo: Callable[..., bytes]
) -> None:
    """The same key with another photo, or with other facts, is refused, and leaves no file; so does what is taken back."""
    client = client_of(store=store)
    first = given(client, photo(1), again="one")
    assert first.status_code == 201 and given(client, photo(1), again="one").json()["id"] == first.json()["id"]
    for seed, fields in ((2, {}), (1, {"date": "2026-05-13"}), (3, {"date": "2026-05-13"})):
        answer = given(client, photo(seed), again="one", **fields)
        assert answer.status_code == 409 and "key of its own" in answer.json()["message"], answer.text
    assert len(list(store.images.found())) == 1 and store.verify().sound
    client.delete(f"/v2/observations/{first.json()['id']}")
    assert list(store.images.found()) == []
    assert given(client, photo(1), again="two", date="20260513").json()["date"] == "2026-05-13"


def test_votes_in_the_words_of_plantnets_clients(
    client_of: Callable[..., TestClient], store: ObservationStore, others: dict[str, str], photo: Callable[..., bytes]
) -> None:
    """A name with a score, quality yes or no, an organ; what is null is withdrawn; keys of the server's own acts are not taken."""
    client, bea = client_of(store=store), {"Api-Key": others["bea"]}
    seen = given(client, photo(1)).json()
    votes = f"/v2/observations/{seen['id']}/votes"
    image = f"{votes}/image/{seen['images'][0]['id']}"
    for where, body, value in (
        (f"{votes}/determination", {"name": "Gentiana lutea", "score": 1}, "gentiana-lutea"),
        (f"{image}/quality", {"quality": True}, "1"),
        (f"{image}/quality", {"quality": False}, "-1"),
        (f"{image}/organ", {"organ": "leaf", "score": 0.5}, "leaf"),
        (f"{votes}/determination", {"species": None}, ""),
        (f"{votes}/cultivated", {"value": "true", "key": None}, "1"),
    ):
        told = client.post(where, json=body, headers=bea)
        assert told.status_code == 200 and told.json()["value"] == value and told.json()["updated"] is True, (body, told.text)
    refused = client.post(f"{votes}/cultivated", json={"value": True, "key": f"withdrawn-{seen['id']}"})
    assert refused.status_code == 400 and "choose another" in refused.json()["message"]
    assert client.delete(f"/v2/observations/{seen['id']}").status_code == 204


def test_the_queue_has_pages_in_the_order_of_certainty(
    client_of: Callable[..., TestClient], store: ObservationStore, others: dict[str, str], photo: Callable[..., bytes]
) -> None:
    """Pages follow each other without a gap or an overlap; the least sure come first."""
    client = client_of(store=store)
    names = [given(client, photo(10 + i), species="gentiana-lutea" if i % 2 else "").json()["id"] for i in range(7)]
    as_cai, found, after = {"Api-Key": others["cai"]}, [], ""
    while after is not None:
        page = client.get("/v2/observations/review", params={"limit": 3, "after": after}, headers=as_cai).json()
        found += page["results"]
        after = page["next"]
    assert sorted(one["id"] for one in found) == sorted(names)
    assert [one["weight"] for one in found] == sorted(one["weight"] for one in found)
    assert client.get("/v2/observations/review?after=x", headers=as_cai).status_code == 400


def test_a_species_is_told_with_its_months_and_photos(
    client_of: Callable[..., TestClient], store: ObservationStore, others: dict[str, str], photo: Callable[..., bytes]
) -> None:
    """What was validly seen of it, month by month; a species that is none is 404."""
    client = client_of(store=store)
    name = given(client, photo(5), date="2026-05-12").json()["id"]
    for who in ("ada", "bea", "cai"):
        store.add_user(who)
        store.set_weight(who, fixed=5.0)
        client.post(f"/v2/observations/{name}/votes/determination", json={"species": "gentiana-lutea"}, headers={"Api-Key": others[who]})
    store.update()
    told = client.get("/v2/species/gentiana-lutea?lang=fr").json()
    assert told["months"] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0] and told["recordCount"] == 1
    assert len(told["images"]) == 1 and told["genus"]["scientificName"] == "Gentiana"
    assert client.get("/v2/observations/review", headers={"Api-Key": others["warden"]}).json()["results"] == []
    assert client.get(f"/v2/observations/{name}", headers={"Api-Key": others["warden"]}).json()["place"]["latitude"] == 46.4321
    assert client.get("/v2/species/rosa-nulla").status_code == 404
