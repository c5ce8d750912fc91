"""Every package gives the nouns it lists, and those that need no torch do without it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import geoplantnet

ROOT = Path(geoplantnet.__file__).parent
PACKAGES = sorted(p.parent.relative_to(ROOT.parent).as_posix().replace("/", ".") for p in ROOT.rglob("__init__.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_of_a_package_can_be_imported(package):
    """Each name of `__all__` is there, once, in order; asked for by `from ... import *` too; another is an error that names it."""
    module = importlib.import_module(package)
    names = list(getattr(module, "__all__", []))
    found: dict[str, object] = {}
    exec(f"from {package} import *", found)
    assert set(names) <= set(found) and len(set(names)) == len(names)
    assert all(getattr(module, name) is found[name] for name in names) and set(names) <= set(dir(module))
    with pytest.raises(AttributeError, match="no_such_noun"):
        _ = module.no_such_noun


@pytest.mark.parametrize("package", ["geoplantnet.sdm", "geoplantnet.sdm.sites", "geoplantnet.assemblages"])
def test_importing_it_imports_no_torch(package):
    """In a fresh process; models are imported when they are asked for."""
    told = f"import sys, {package}; assert 'torch' not in sys.modules"
    more = (
        "; from geoplantnet.sdm import Deep, Sites; assert 'torch' in sys.modules and Deep.name == 'deep-sdm'"
        if package == "geoplantnet.sdm"
        else ""
    )
    subprocess.run([sys.executable, "-c", told + more], check=True)
