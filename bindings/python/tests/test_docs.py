"""The programs of docs/python.md run, and the first does what the README's C program does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import tickstore

PAGE = ROOT / "docs" / "python.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="not in a checkout: no docs/python.md")


def programs():
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run(program, directory):
    environment = {**os.environ, "PYTHONPATH": str(Path(tickstore.__file__).parent.parent), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", program],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_first_program(tmp_path):
    out = run(programs()[0], tmp_path)
    assert out == "1768900000000000000 1.08484 1.08499\n1768900000001500000 1.08491 1.08505\n"


def test_it_does_what_the_c_program_does(tmp_path):
    example = Path(os.environ.get("TICKSTORE_BUILD_DIR", "/nonexistent")) / "examples" / "quickstart"
    if not example.exists():
        pytest.skip("no build of examples/quickstart in TICKSTORE_BUILD_DIR")
    (tmp_path / "c").mkdir()
    (tmp_path / "python").mkdir()
    said = subprocess.run([example], cwd=tmp_path / "c", capture_output=True, text=True, check=True).stdout
    assert run(programs()[0], tmp_path / "python") == said


def test_all_programs_in_turn(tmp_path):
    for module in ("numpy", "matplotlib"):
        pytest.importorskip(module)
    out = [run(program, tmp_path) for program in programs()]
    assert len(out) == 4
    assert out[1].startswith("100000\nTable: 100,0") and "0.0001 2026-01-20T09:00:00.000000000" in out[1]
    assert (tmp_path / "eurusd.png").stat().st_size > 1000
    assert out[3] == "TKS_EPRICE bid is inf\n"


def test_every_exception_is_named():
    text = PAGE.read_text(encoding="utf-8")
    for name in tickstore.errors.__all__:
        assert f"`{name}`" in text, name
