"""Finding the library: what is missing or wrong is explained at import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tickstore
from tickstore import _abi, _lib

PACKAGE = Path(tickstore.__file__).parent.parent


def import_with(library, code="import tickstore; print(tickstore.library_path)"):
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE), "TICKSTORE_LIBRARY": str(library)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def compile_library(tmp_path, text):
    source, library = tmp_path / "other.c", tmp_path / "libother.so"
    source.write_text(text)
    try:
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", source, "-o", library], check=True)
    except FileNotFoundError:
        pytest.skip("no C compiler")
    return library


def test_the_variable_names_it():
    done = import_with(tickstore.library_path)
    assert done.stdout.strip() == tickstore.library_path, done.stderr


def test_a_file_that_is_not_there(tmp_path):
    done = import_with(tmp_path / "nothing.so")
    assert done.returncode == 1
    assert "LibraryError: libtickstore was not found. Looked at:" in done.stderr
    assert f"$TICKSTORE_LIBRARY: {tmp_path}/nothing.so" in done.stderr
    assert "bundled" not in done.stderr  # what is named is meant


def test_a_file_that_is_no_library(tmp_path):
    (tmp_path / "text.so").write_text("not a library")
    done = import_with(tmp_path / "text.so")
    assert "text.so" in done.stderr and "LibraryError" in done.stderr


def test_another_library(tmp_path):
    done = import_with(compile_library(tmp_path, "int x;"))
    assert "is not libtickstore 0.1.0" in done.stderr and "tks_version" in done.stderr


@pytest.mark.parametrize("version", ["999000000", "2000"])
def test_another_version(tmp_path, version):
    done = import_with(compile_library(tmp_path, f"unsigned tks_version(void) {{ return {version}u; }}"))
    assert "this package is made for 0.1.0" in done.stderr
    assert "is version" in done.stderr


def test_a_library_that_lacks_a_function(tmp_path):
    done = import_with(compile_library(tmp_path, "unsigned tks_version(void) { return 1000u; }"))
    assert "is not libtickstore 0.1.0" in done.stderr and "tks_version_string" in done.stderr


def test_it_can_be_caught(tmp_path):
    done = import_with(tmp_path / "x", "try:\n import tickstore\nexcept ImportError as e: print('said:', e)")
    assert "said: libtickstore was not found" in done.stdout


def test_order(monkeypatch):
    monkeypatch.delenv(_lib.VARIABLE, raising=False)
    assert [where for where, _ in _lib.candidates()] == ["bundled", "system", "system"]
    monkeypatch.setenv(_lib.VARIABLE, "x.so")
    assert _lib.candidates() == [("$TICKSTORE_LIBRARY", "x.so")]


def test_versions_that_fit(monkeypatch):
    assert _lib.fits(1000) and _lib.fits(1007)
    assert not _lib.fits(2000) and not _lib.fits(1001000)
    monkeypatch.setattr(_abi, "VERSION", (1, 2, 3))
    assert _lib.fits(1002000) and _lib.fits(1009000)
    assert not _lib.fits(1001009) and not _lib.fits(2002000) and not _lib.fits(2003)
