"""What the Python face costs, in one run, beside the C calls under it.

    python bench.py [--runs N] [--ticks N] [--dir DIR] [--json]

Every figure is measured in N runs (default 5) and printed as median (minimum to maximum). Marks: put_many under
100 ns a tick; range to Arrow at no less than 80 % of the C cursor's speed, by the median of the runs. With --strict a
mark that is missed fails the program. The C calls are made through ctypes, each for 256 or 65,536 quotes, so that what
Python adds to them is next to nothing.
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


def seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


class Bench:
    def __init__(self, runs: int, ticks: int, directory: str) -> None:
        self.runs = runs
        self.ticks = ticks
        self.directory = directory
        self.results: List[Dict[str, Any]] = []

    def report(self, name: str, unit: str, values: List[float]) -> float:
        median = statistics.median(values)
        self.results.append({"name": name, "unit": unit, "median": median, "min": min(values), "max": max(values)})
        return median

    # ----------------------------------------------------------------- putting

    def columns(self, first: int) -> Dict[str, Any]:
        """The price always moves: nothing is throttled."""
        n = np.arange(first, first + self.ticks)
        bid = 1.0 + n % 997 * 1e-4
        return {"ts": START + n % 800_000_000 * 100_000, "bid": bid, "ask": bid + 1e-4}

    def put(self) -> None:
        with (
            tempfile.TemporaryDirectory(dir=self.directory) as path,
            tickstore.Store(path, block_limit_ms=60_000) as store,
        ):
            symbol, source = store.symbol("EURUSD"), store.source("BENCH")
            c_batch, many, many_names, one, one_by_name, many_cpu = ([] for _ in range(6))  # type: List[float]
            step = 0
            for _ in range(self.runs):
                for figure in (c_batch, many, many_names):
                    given = self.columns(step)
                    step += self.ticks
                    store.flush()
                    cpu = time.thread_time()
                    if figure is c_batch:
                        quotes = self.quotes(given, symbol, source)
                        took = seconds(lambda quotes=quotes: self.put_quotes(store, quotes))  # type: ignore[misc]
                    else:
                        names = symbol if figure is many else np.full(self.ticks, "EURUSD", object)
                        took = seconds(lambda names=names, given=given: store.put_many(names, source=source, **given))  # type: ignore[misc]
                    figure.append(took / self.ticks * 1e9)
                    if figure is many:
                        many_cpu.append((time.thread_time() - cpu) / self.ticks * 1e9)
                few = min(self.ticks, 50_000)
                given = self.columns(step)
                step += self.ticks
                for figure, name, lp in ((one, symbol, source), (one_by_name, "EURUSD", "BENCH")):
                    rows = list(zip(*(column[:few].tolist() for column in given.values())))
                    rows = [(ts + (figure is one), bid, ask + (figure is one)) for ts, bid, ask in rows]
                    store.flush()

                    def put_rows(rows: Any = rows, put: Any = store.put, name: Any = name, lp: Any = lp) -> None:
                        for ts, bid, ask in rows:
                            put(name, ts, bid, ask, source=lp)

                    figure.append(seconds(put_rows) / few * 1e9)
            self.report("C put_quotes of 256, a tick", "ns", c_batch)
            self.report("put_many by id, a tick (mark: 100)", "ns", many)
            self.report("put_many by id, a tick, the caller's CPU time", "ns", many_cpu)
            self.report("put_many by name for each row, a tick", "ns", many_names)
            self.report("put by id", "ns", one)
            self.report("put by name", "ns", one_by_name)

    def quotes(self, given: Dict[str, Any], symbol: int, source: int) -> Any:
        quotes = np.zeros(self.ticks, _abi.QUOTE_DTYPE)
        quotes["ts_ns"], quotes["bid"], quotes["ask"] = given["ts"], given["bid"], given["ask"]
        quotes["symbol"], quotes["source"] = symbol, source
        return quotes

    @staticmethod
    def put_quotes(store: tickstore.Store, quotes: Any) -> None:
        error = _abi.Error()
        address, width = quotes.ctypes.data, quotes.dtype.itemsize
        for first in range(0, len(quotes), 256):
            count = min(256, len(quotes) - first)
            check(lib.tks_put_quotes(store._handle, address + first * width, count, None, None, byref(error)), error)

    # ----------------------------------------------------------------- reading

    def read(self) -> None:
        with (
            tempfile.TemporaryDirectory(dir=self.directory) as path,
            tickstore.Store(path, block_limit_ms=60_000) as store,
        ):
            given = self.columns(0)
            store.put_many("EURUSD", source="BENCH", **given)
            store.flush()
            figures: Dict[str, List[float]] = {}
            ways: Dict[str, Callable[[], int]] = {
                "C cursor, 65,536 at a time": lambda: self.cursor(store),
                "range to Table": lambda: len(store.range("EURUSD")),
                "scan, 65,536 at a time": lambda: sum(len(table) for table in store.scan("EURUSD")),
            }
            for module, way in (
                ("pyarrow", lambda: store.range("EURUSD").to_arrow().num_rows),
                ("polars", lambda: store.range("EURUSD").to_polars().height),
                ("pandas", lambda: len(store.range("EURUSD").to_pandas())),
            ):
                try:
                    __import__(module)
                except ImportError:
                    print(f"skipped: {module} is not installed", file=sys.stderr)
                    continue
                ways[f"range to {module}"] = way
            for _ in range(self.runs):  # in turn, so that all of them see the same machine
                for name, way in ways.items():
                    rows = 0

                    def call(way: Callable[[], int] = way) -> None:
                        nonlocal rows
                        rows = way()

                    took = seconds(call)
                    assert rows == self.ticks, (name, rows)
                    figures.setdefault(name, []).append(rows / took)
            for name, values in figures.items():
                self.report(name, "rows/s", values)
            cursor = figures["C cursor, 65,536 at a time"]
            for name in ("range to Table", "range to pyarrow"):
                if name in figures:
                    shares = [a / b * 100 for a, b in zip(figures[name], cursor)]
                    self.report(f"{name}, of the C cursor (mark: 80)", "%", shares)

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
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--ticks", type=int, default=400_000, help="a burst that the store's backlog holds")
    parser.add_argument("--dir", default=tempfile.gettempdir(), help="where stores are made")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--strict", action="store_true", help="fail if a mark is missed")
    options = parser.parse_args()
    bench = Bench(options.runs, options.ticks, options.dir)
    bench.put()
    bench.read()
    if options.json:
        print(
            json.dumps(
                {"library": tickstore.library_version, "python": sys.version, "results": bench.results}, indent=2
            )
        )
    else:
        print(
            f"libtickstore {tickstore.library_version}, Python {sys.version.split()[0]}, NumPy {np.__version__};",
            end=" ",
        )
        print(f"{options.runs} runs of {options.ticks:,} ticks, median (minimum to maximum)")
        for r in bench.results:
            print(f"{r['name']:<48} {r['median']:12.5g} {r['unit']:<7} ({r['min']:.5g} to {r['max']:.5g})")
    medians = {r["name"]: r["median"] for r in bench.results}
    missed = [n for n, m in medians.items() if ("mark: 100" in n and m >= 100) or ("mark: 80" in n and m < 80)]
    for name in missed:
        print(f"missed: {name}: {medians[name]:.5g}", file=sys.stderr)
    return 1 if missed and options.strict else 0


if __name__ == "__main__":
    sys.exit(main())
