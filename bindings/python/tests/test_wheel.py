"""pip builds a wheel with the library in it, which works in a fresh virtual environment away from the checkout."""

import os
import re
import subprocess
import sys
import venv
import zipfile

import pytest
from conftest import ROOT

HERE = ROOT / "bindings" / "python"
PROGRAM = """
import sys, tickstore
assert "site-packages" in tickstore.library_path, tickstore.library_path
with tickstore.Store(sys.argv[1]) as store:
    store.put("EURUSD", 1709640000000000000, 1.5, 2.5, source="X")
    store.flush(10)
    print(tickstore.library_version, store.latest("EURUSD").bid, len(store.range("EURUSD")))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if not (ROOT / "CMakeLists.txt").exists():
        pytest.skip("not in a checkout")
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source" / "bindings" / "python"
    # A copy, so that nothing is left in the checkout.
    for part in ("CMakeLists.txt", "libtickstore", "pkgconfig"):
        copy(ROOT / part, out / "source" / part)
    for part in ("pyproject.toml", "setup.py", "README.md", "src"):
        copy(HERE / part, source / part)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:  # no index to fetch the build's own needs from: what is installed will do
        done = subprocess.run([*command, "--no-build-isolation"], capture_output=True, text=True)
        if "No module named 'setuptools'" in done.stderr or "BackendUnavailable" in done.stderr:
            pytest.skip("setuptools can neither be fetched nor is it installed")
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.glob("*.whl")
    return made


def copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-r", source, target], check=True)


def test_name_and_content(wheel):
    assert re.fullmatch(r"tickstore-\d+\.\d+\.\d+-py3-none-linux_\w+\.whl", wheel.name)
    names = zipfile.ZipFile(wheel).namelist()
    assert "tickstore/py.typed" in names and "tickstore/_native/libtickstore.so.0" in names
    assert not [name for name in names if "test" in name or name.endswith((".c", ".o"))]


def test_library_links_the_system_s_sqlite(wheel, tmp_path):
    zipfile.ZipFile(wheel).extract("tickstore/_native/libtickstore.so.0", tmp_path)
    library = tmp_path / "tickstore/_native/libtickstore.so.0"
    try:
        said = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("no readelf")
    needed = re.findall(r"NEEDED.*\[(.*)\]", said)
    assert "libsqlite3.so.0" in needed and "SONAME" in said
    assert "RPATH" not in said and "RUNPATH" not in said


def test_fresh_environment(wheel, tmp_path):
    try:
        venv.create(tmp_path / "venv", with_pip=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no pip for a fresh environment: {error}")
    python = tmp_path / "venv" / "bin" / "python"
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "TICKSTORE_LIBRARY")}
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-index", str(wheel)], check=True, env=environment, cwd=tmp_path
    )
    done = subprocess.run(
        [python, "-c", PROGRAM, str(tmp_path / "store")], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == "0.1.0 1.5 1\n"
