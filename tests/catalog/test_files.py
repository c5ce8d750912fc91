"""Files that leave the store: their names, and the list of their SHA-256."""

from __future__ import annotations

import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.catalog.files import SUMS, disown, read_sums, stem_of, vouch
from geoplantnet.errors import InputError


@given(st.lists(st.text(max_size=150), unique=True, min_size=2, max_size=8))
def test_stems_are_safe_everywhere_and_never_shared(names):
    """Small letters, digits, - and _ only, not too long, and different for different names."""
    stems = [stem_of(name) for name in names]
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,99}", stem) for stem in stems)
    assert len(set(stems)) == len(names)


@pytest.mark.parametrize("name", ["con", "com1", "Abies", "abies", "../abies", "abies/alba", "a.b", "", "."])
def test_names_that_a_system_would_take_for_another_get_a_digest(name):
    """Devices of Windows, capital letters, paths and dots; `abies` itself stays, unless something else is called so."""
    assert (stem_of(name) == name) == (name == "abies")
    assert stem_of("abies", taken={"abies"}).startswith("abies-")


def test_coreutils_checks_the_list_and_names_a_damaged_file(tmp_path):
    """`sha256sum -c` agrees; later files join the list, replaced ones leave it, and what is gone is not listed."""
    for name in ("a.tif", "b.tif", "c.tif"):
        (tmp_path / name).write_text(name)
    vouch(tmp_path, [tmp_path / "a.tif", tmp_path / "b.tif"])
    vouch(tmp_path, [tmp_path / "c.tif"])
    assert list(read_sums(tmp_path)) == ["a.tif", "b.tif", "c.tif"]
    check = ["sha256sum", "--quiet", "-c", SUMS]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True).returncode == 0
    (tmp_path / "b.tif").write_text("damaged")
    damaged = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True)
    assert damaged.returncode == 1 and "b.tif" in damaged.stdout and "a.tif" not in damaged.stdout
    disown(tmp_path, {"b.tif"})
    (tmp_path / "a.tif").unlink()
    vouch(tmp_path, [])
    assert list(read_sums(tmp_path)) == ["c.tif"]


def test_a_list_that_is_none_is_refused_and_kept(tmp_path):
    """Somebody else's file of that name is not overwritten."""
    (tmp_path / SUMS).write_text("my notes\n")
    with pytest.raises(InputError, match="line 1"):
        vouch(tmp_path, [])
    assert (tmp_path / SUMS).read_text() == "my notes\n"
