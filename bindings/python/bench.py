"""What the Python face costs, in one run, beside the C calls under it.

    python bench.py [--runs N] [--ticks N] [--dir DIR] [--json]

Every figure is measured in N runs (default 20), in turn with the others, and printed as median (minimum to maximum).
The C calls are made through ctypes, each for 256 or 65,536 quotes, so that what Python adds to them is next to nothing.
--json prints every single run, for bench/bindings, which sets them beside Go's and looks at the marks.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import tempfile
import time
from ctypes import byref
from typing import Any, Callable, Dict, List

import numpy as np

import tickstore
from tickstore import _abi
from tickstore._lib import check, lib

START = 1_768_867_200_000_000_000  # 2026-01-20T00:00:00Z
SYMBOLS = 128
BURST = 32_768
SINGLES = 4_096  # of a burst, for what takes a microsecond each
ROOM: Dict[str, Any] = {  # no burst fills it
    "queue_records": 1 << 18,
    "journal_bytes": 1 << 32,
    "block_limit_ms": 60_000,
}


def seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


class Burst:
    """Quotes of 128 symbols at random whose price always moves, so that nothing is throttled."""

    def __init__(self, random: Any, first: int, symbols: List[Any]) -> None:
        n = np.arange(first, first + BURST)
        self.which = random.integers(SYMBOLS, size=BURST)
        self.ids = np.array(symbols, "u4")[self.which]
        self.names = np.array([symbol.name for symbol in symbols], object)[self.which]
        bid = 1.0 + random.random(BURST)
        self.columns = {"ts": START + n % 800_000_000 * 100_000, "bid": bid, "ask": bid + 1e-4}

    def quotes(self, source: int) -> Any:
        quotes = np.zeros(BURST, _abi.QUOTE_DTYPE)
        quotes["ts_ns"], quotes["bid"], quotes["ask"] = (self.columns[name] for name in ("ts", "bid", "ask"))
        quotes["symbol"], quotes["source"] = self.ids, source
        return quotes

    def rows(self, symbols: List[Any]) -> List[Any]:
        return list(zip(symbols, *(column[:SINGLES].tolist() for column in self.columns.values())))


class Bench:
    def __init__(self, runs: int, ticks: int, directory: str) -> None:
        self.runs = runs
        self.ticks = ticks
        self.directory = directory
        self.samples: Dict[str, List[float]] = {}

    def add(self, name: str, value: float) -> None:
        self.samples.setdefault(name, []).append(value)

    # ----------------------------------------------------------------- putting

    def put(self, batch_records: int, circumstances: str) -> None:
        """Bursts after which the disk is waited for. The writer is woken by every `batch_records` quotes."""
        with (
            tempfile.TemporaryDirectory(dir=self.directory) as path,
            tickstore.Store(path, batch_records=batch_records, **ROOM) as store,
        ):
            random = np.random.default_rng(1)
            symbols = [store.symbol(f"SYM{i:03}") for i in range(SYMBOLS)]
            source = store.source("LP")
            first = 0

            def burst() -> Burst:
                nonlocal first
                first += BURST
                return Burst(random, first, symbols)

            def many(given: Burst, names: Any) -> float:
                return seconds(lambda: store.put_many(names, source=source, **given.columns)) / BURST

            def one(names: List[Any], lp: Any) -> float:
                rows = burst().rows(names)
                put = store.put

                def each() -> None:
                    for symbol, ts, bid, ask in rows:
                        put(symbol, ts, bid, ask, source=lp)

                return seconds(each) / SINGLES

            def c_batch() -> float:
                quotes = burst().quotes(source)
                return seconds(lambda: self.put_quotes(store, quotes)) / BURST

            def by_id() -> float:
                given = burst()
                return many(given, given.ids)

            def by_name() -> float:
                given = burst()
                return many(given, given.names)

            picked = random.integers(SYMBOLS, size=SINGLES)
            ways: Dict[str, Callable[[], float]] = {
                "C put_quotes of 256, called from Python": c_batch,
                "Python put_many, ids": by_id,
                "Python put_many, names": by_name,
                "Python put by handle": lambda: one([symbols[i] for i in picked], source),
                "Python put by string": lambda: one([symbols[i].name for i in picked], "LP"),
            }
            for _ in range(SYMBOLS * 12_000 // BURST):  # fill the rings: new memory costs more
                by_id()
                store.flush()
            before = self.waits(store)
            names = list(ways)
            for run in range(self.runs):
                for i in range(len(names)):
                    name = names[(i + run) % len(names)]  # nobody is always the one after whom somebody else was
                    store.flush()
                    self.add(name + circumstances, ways[name]() * 1e9)
            if self.waits(store) != before:
                raise SystemExit("puts waited for room: this measured the disk")

    @staticmethod
    def waits(store: tickstore.Store) -> int:
        stats = store.stats()
        return stats.blocked + stats.dropped

    @staticmethod
    def put_quotes(store: tickstore.Store, quotes: Any) -> None:
        error = _abi.Error()
        address, width = quotes.ctypes.data, quotes.dtype.itemsize
        for first in range(0, len(quotes), 256):
            count = min(256, len(quotes) - first)
            check(lib.tks_put_quotes(store._handle, address + first * width, count, None, None, byref(error)), error)

    # ----------------------------------------------------------------- reading

    def read(self) -> None:
        """A live day of one symbol, all of it on disk."""
        with tempfile.TemporaryDirectory(dir=self.directory) as path, tickstore.Store(path, **ROOM) as store:
            n = np.arange(self.ticks)
            bid = 1.0 + n % 997 * 1e-4
            store.put_many("EURUSD", START + n * 10_000, bid, bid + 1e-4, source="LP")
            store.flush()
            ways: Dict[str, Callable[[], int]] = {
                "range: C cursor": lambda: self.cursor(store),
                "range to Table": lambda: len(store.range("EURUSD")),
                "scan, 65,536 rows at a time": lambda: sum(len(table) for table in store.scan("EURUSD")),
            }
            for module, name, way in (
                ("pyarrow", "range to Arrow", lambda: store.range("EURUSD").to_arrow().num_rows),
                ("polars", "range to polars", lambda: store.range("EURUSD").to_polars().height),
                ("pandas", "range to pandas", lambda: len(store.range("EURUSD").to_pandas())),
            ):
                try:
                    __import__(module)
                except ImportError:
                    print(f"skipped: {module} is not installed", file=sys.stderr)
                    continue
                ways[name] = way
            names = list(ways)
            for run in range(-1, self.runs):  # the first warms up
                for i in range(len(names)):
                    name = names[(i + run) % len(names)]
                    rows = 0

                    def call(way: Callable[[], int] = ways[name]) -> None:
                        nonlocal rows
                        rows = way()

                    took = seconds(call)
                    assert rows == self.ticks, (name, rows)
                    if run >= 0:
                        self.add(name, rows / took)

    @staticmethod
    def cursor(store: tickstore.Store) -> int:
        spec = store._range("EURUSD", None, None, None, False, None)
        cursor, count, error = ctypes.c_void_p(), ctypes.c_size_t(), _abi.Error()
        block = np.empty(65_536, _abi.QUOTE_DTYPE)
        check(lib.tks_range_open(store._handle, byref(spec), byref(cursor), byref(error)), error)
        rows = 0
        while True:
            check(lib.tks_cursor_next(cursor, block.ctypes.data, len(block), byref(count), byref(error)), error)
            if count.value == 0:
                break
            rows += count.value
        lib.tks_cursor_close(cursor)
        return rows


def main() -> int:
    parser = argparse.ArgumentParser(description="What the Python face of libtickstore costs.")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--ticks", type=int, default=500_000, help="rows that are read back")
    parser.add_argument("--dir", default=tempfile.gettempdir(), help="where stores are made")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bench = Bench(options.runs, options.ticks, options.dir)
    bench.put(1 << 16, "")
    bench.put(500, ", writer at work")
    bench.read()
    if options.json:
        print(json.dumps({"python": sys.version.split()[0], "numpy": np.__version__, "samples": bench.samples}))
        return 0
    print(
        f"libtickstore {tickstore.library_version}, Python {sys.version.split()[0]}, NumPy {np.__version__}; "
        f"{options.runs} runs, median (minimum to maximum)"
    )
    for name, values in bench.samples.items():
        unit = "rows/s" if name.startswith(("range", "scan")) else "ns"
        print(f"{name:<56} {statistics.median(values):12,.0f} {unit:<7} ({min(values):,.0f} to {max(values):,.0f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
