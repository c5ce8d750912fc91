"""Photos made to break a server, through its own door: no answer of 5xx, no metadata out, memory bounded."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from starlette.testclient import TestClient

from geoplantnet.identify.observations import ObservationStore
from geoplantnet.serving.identify.problems import OF_PHOTO

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "faults"))
from photos import crafted, leaks, mutated, rich_jpeg, rich_png

_MOST_MB = 700


def memory() -> float:
    """MB of this process and those it started."""
    this = psutil.Process()
    return sum(one.memory_info().rss for one in (this, *this.children(recursive=True))) / 1e6


@pytest.fixture
def roomy(client_of: Callable[..., TestClient]) -> TestClient:
    return client_of(key="", changes={"anonymous_quota": 100_000})


def sent(client: TestClient, data: bytes) -> int:
    answer = client.post("/v2/identify/all?no-reject=true", files=[("images", ("a.jpg", data))])
    assert answer.json().get("statusCode", 200) == answer.status_code
    return answer.status_code


def test_crafted_photos_are_answered_or_refused_each_by_its_kind(roomy: TestClient) -> None:
    """Bombs, polyglots, cut and odd ones: 200 for those to be taken, else the status of their kind; memory does not grow with them."""
    before = memory()
    for name, data, kind in crafted():
        status = sent(roomy, data)
        assert status == (200 if kind is None else OF_PHOTO[kind]), name
    assert memory() - before < _MOST_MB


def test_mutated_photos_never_break_the_server(roomy: TestClient) -> None:
    """150 damaged photos, each answered or refused."""
    statuses = Counter(sent(roomy, data) for data in mutated(150, seed=11))
    assert set(statuses) <= {200, 400, 413, 415} and statuses[200]


def test_no_metadata_comes_out_of_what_was_given(client_of: Callable[..., TestClient], tmp_path: Path) -> None:
    """Of a camera's JPEG and PNG with place and owner, no byte of these in any size, in the store's files or in the JSON."""
    with ObservationStore.open(tmp_path / "s.sqlite", create=True) as store:
        client = client_of(store=store)
        for data in (rich_jpeg(), rich_png()):
            told = client.post("/v2/observations", files=[("images", ("x", data))], data={"license": "cc0", "no-reject": "true"})
            assert told.status_code == 201, told.text
            assert not leaks_text(told.content)
            for url in told.json()["images"][0]["url"].values():
                assert leaks(client.get(url).content) == []
        files = [path for path in Path(f"{tmp_path}/s.sqlite.images").rglob("*") if path.is_file()]
        assert len(files) == 2 and all(leaks(path.read_bytes()) == [] for path in files)


def leaks_text(data: bytes) -> bool:
    return b"CANARY" in data


def forms(n: int, seed: int) -> Iterator[tuple[bytes, str]]:
    """Damaged multipart bodies and headers."""
    stir = random.Random(seed)
    sound = (
        b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        + rich_jpeg()
        + b'\r\n--b\r\nContent-Disposition: form-data; name="organs"\r\n\r\nleaf\r\n--b--\r\n'
    )
    kinds = (
        "multipart/form-data; boundary=b",
        'multipart/form-data; boundary="b"',
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=b",
        "",
        "multipart/form-data; boundary=b; charset=utf-99",
    )
    for _ in range(n):
        body = bytearray(sound)
        for _ in range(stir.choice((0, 1, 3))):
            at = min(stir.choice((stir.randrange(200), stir.randrange(len(body) + 1))), max(len(body) - 1, 0))
            match stir.randrange(4):
                case 0 if body:
                    body[at] = stir.randrange(256)
                case 1:
                    del body[at : at + stir.randrange(1, 40)]
                case 2:
                    body[at:at] = stir.choice((b"\r\n--b\r\n", b"--b--", b"\0" * 20, b"\r\n\r\n", b'"; filename="x', stir.randbytes(8)))
                case _:
                    del body[at:]
        yield bytes(body), stir.choice((kinds[0],) * 6 + kinds)


def test_damaged_forms_never_break_the_server(roomy: TestClient) -> None:
    """150 bodies that are nearly forms: each answered or refused, in the shape of the contract."""
    statuses: Counter[int] = Counter()
    for body, kind in forms(150, seed=5):
        answer = roomy.post("/v2/identify/all?no-reject=true", content=body, headers={"content-type": kind})
        assert answer.json().get("statusCode", 200) == answer.status_code
        statuses[answer.status_code] += 1
    assert set(statuses) <= {200, 400, 413, 415} and statuses[200]
