"""Nothing half-written at a final path; digests change with every byte."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.errors import StorageError
from geoplantnet.storage import sha256, size_of, sweep, write_beside, write_json


def test_an_error_leaves_what_stood_there(tmp_path):
    """A failing write removes its temporary and keeps the old file."""
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), write_beside(target) as path:
        path.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_directory_replaces_a_directory_whole(tmp_path):
    """No file of the old directory survives in the new one."""
    target = tmp_path / "cube.zarr"
    for names in (("a", "b"), ("c",)):
        with write_beside(target) as path:
            path.mkdir()
            for name in names:
                (path / name).write_text(name)
    assert [p.name for p in target.iterdir()] == ["c"]
    assert [p.name for p in tmp_path.iterdir()] == ["cube.zarr"]


def test_a_file_does_not_replace_a_folder_nor_a_folder_a_file(tmp_path):
    photos, table = tmp_path / "photos", tmp_path / "table.csv"
    photos.mkdir()
    (photos / "rose.jpg").write_bytes(b"a year of work")
    table.write_text("as dear")
    with (
        pytest.raises(StorageError, match="photos is a folder, and a file is to be written there"),
        write_beside(photos) as written,
    ):
        written.write_text("figures")
    with (
        pytest.raises(StorageError, match=r"table\.csv is a file, and a folder is to be written there"),
        write_beside(table) as written,
    ):
        written.mkdir()
    assert (photos / "rose.jpg").read_bytes() == b"a year of work" and table.read_text() == "as dear"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos", "table.csv"]


def test_a_full_disk_is_a_storage_error(tmp_path):
    """ENOSPC becomes StorageError naming the path, and nothing stays behind."""
    with pytest.raises(StorageError, match=r"a\.txt"), write_beside(tmp_path / "a.txt") as path:
        path.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not list(tmp_path.iterdir())


@given(st.binary(min_size=1, max_size=200), st.integers(0, 199), st.integers(1, 255))
def test_any_changed_byte_changes_the_digest_of_file_and_directory(tmp_path_factory, content, position, change):
    """SHA-256 of a file and of the directory around it both see every flipped bit."""
    folder = tmp_path_factory.mktemp("d")
    file = folder / "x.bin"
    file.write_bytes(content)
    before = sha256(file), sha256(folder)
    flipped = bytearray(content)
    flipped[position % len(content)] ^= change
    file.write_bytes(bytes(flipped))
    assert sha256(file) != before[0]
    assert sha256(folder) != before[1]
    assert size_of(folder) == len(content)


def test_names_count_in_a_directory_digest(tmp_path):
    """A renamed file is another directory."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("1")
    before = sha256(tmp_path / "d")
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    assert sha256(tmp_path / "d") != before


def test_json_is_the_same_bytes_for_the_same_value(tmp_path):
    """Key order does not matter; NaN is refused rather than written."""
    write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, "é"]})
    write_json(tmp_path / "b.json", {"a": [1.5, "é"], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "c.json", {"a": float("nan")})
    assert not (tmp_path / "c.json").exists()


def test_a_killed_writer_leaves_no_file_and_its_litter_is_swept(tmp_path):
    """SIGKILL in the middle of a write: the final path is absent, the temporary is recognised and removed."""
    code = f"""
import time
from geoplantnet.storage import write_beside
with write_beside({str(tmp_path / "big.bin")!r}) as path:
    with path.open("wb") as f:
        f.write(b"x" * 1000); f.flush()
        print("writing", flush=True)
        time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.05)
    assert not (tmp_path / "big.bin").exists()
    assert sweep(tmp_path) == 1
    assert not list(tmp_path.iterdir())
