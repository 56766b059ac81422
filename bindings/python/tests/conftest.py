import datetime
import io
import os
import re
import zipfile
from pathlib import Path

import pytest

import tickstore

ROOT = Path(__file__).resolve().parents[3]
NOON = 1_709_640_000_000_000_000  # 2024-03-05T12:00:00Z
DAY = 86_400_000_000_000
MS = 1_000_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(path):
    """A store that skips nothing."""
    with tickstore.Store(path, throttle_relative=-1) as store:
        yield store


@pytest.fixture(scope="session")
def data():
    """Real market data; tests that need it are skipped where it is absent."""
    found = os.environ.get("TICKSTORE_TEST_DATA")
    if not found or not Path(found).is_dir():
        pytest.skip("no real data: TICKSTORE_TEST_DATA names no directory")
    return Path(found)


def lean(file):
    """A Lean quote zip as lists of (ts_ns, bid, ask), parsed here and nowhere else."""
    day = datetime.datetime.strptime(re.match(r"(\d{8})", file.name)[1], "%Y%m%d")
    midnight = int(day.replace(tzinfo=datetime.timezone.utc).timestamp()) * 1_000_000_000
    rows = []
    with zipfile.ZipFile(file) as archive, archive.open(archive.namelist()[0]) as raw:
        for line in io.TextIOWrapper(raw, "ascii"):
            ms, bid, ask = line.split(",")[:3]
            whole, _, part = ms.partition(".")
            rows.append((midnight + int(whole) * MS + int(part.ljust(6, "0") or 0), float(bid), float(ask)))
    return rows


@pytest.fixture(scope="session")
def eurusd(data):
    rows = lean(data / "fx-oanda" / "eurusd" / "20140502_quote.zip")
    assert len(rows) > 40000
    return rows
