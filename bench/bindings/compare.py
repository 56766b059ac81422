"""Runs the bindings' own benchmarks in turn and prints one table, with the marks that they have to meet.

    compare.py --build BUILD [--go PROGRAM] [--python INTERPRETER] [--rounds N] [--runs N] [--markdown]

In each of N rounds (default 5) Go's benchmark runs, then Python's, each with N repetitions (default 10) of every way to
put and to read, in turn. A difference or a share is taken within a repetition, between neighbours in time, and so it is
what noise of the machine touches least; the marks are compared with the median of those.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
AT_WORK = ", writer at work"

#: What is printed, in order: nanoseconds a quote, with the writer asleep and at work.
PUTS = [
    "C put",
    "C put_quotes of 256",
    "Go Put by handle",
    "Go Put by string",
    "Go PutBatch of 256",
    "C put_quotes of 256, called from Python",
    "Python put by handle",
    "Python put by string",
    "Python put_many, ids",
    "Python put_many, names",
]
READS = [
    "range: C cursor",
    "range to Arrow",
    "range to pandas",
    "range to polars",
    "range to Table",
    "scan, 65,536 rows at a time",
    "Go Cursor.Read",
    "Go Cursor.Next",
]
#: (what, figure, measured against, how, mark, unit)
MARKS = [
    ("Go Put by handle, above the C put", "Go Put by handle", "C put", "above", 80, "ns"),
    ("Go PutBatch of 256, above the C batch, a tick", "Go PutBatch of 256", "C put_quotes of 256", "above", 10, "ns"),
    ("Python put_many, a tick", "Python put_many, ids", None, "itself", 100, "ns"),
    ("range to Arrow, of the C cursor", "range to Arrow", "range: C cursor", "share", 80, "%"),
]


def go_round(program, runs, directory):
    path = Path(directory) / "samples"
    path.write_text("")
    subprocess.run(
        [program, "-test.run=^$", "-test.bench=.", f"-test.benchtime={runs}x"],
        cwd=ROOT / "bindings" / "go",
        env={**os.environ, "TICKSTORE_BENCH_SAMPLES": str(path), "TMPDIR": directory},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return [json.loads(line) for line in path.read_text().splitlines()]


def python_round(interpreter, runs, directory):
    program = ROOT / "bindings" / "python" / "bench.py"
    done = subprocess.run(
        [interpreter, str(program), "--json", "--runs", str(runs), "--dir", directory],
        stdout=subprocess.PIPE,
        check=True,
    )
    return [json.loads(done.stdout)["samples"]]


def measure(options):
    samples = {}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.dir) as directory:
            parts = go_round(options.go, options.runs, directory) if options.go else []
            parts += python_round(options.python, options.runs, directory) if options.python else []
        for part in parts:
            for name, values in part.items():
                samples.setdefault(name, []).extend(values)
    return samples


def quartiles(values):
    """(median, first quartile, third quartile)"""
    if len(values) == 1:
        return values[0], values[0], values[0]
    first, median, third = statistics.quantiles(values, n=4, method="inclusive")
    return median, first, third


def shown(values, unit):
    if not values:
        return "-"
    scale, form = (1e6, "{:.2f}") if unit == "rows/s" else (1, "{:,.1f}")
    median, first, third = (form.format(value / scale) for value in quartiles(values))
    return f"{median} ({first} to {third})"


def mark(samples, row, suffix):
    """(values, met) of one mark; None where nothing was measured."""
    _, figure, against, how, limit, _ = row
    values = samples.get(figure + suffix)
    if not values:
        return None
    if how == "above":
        values = [a - b for a, b in zip(values, samples[against + suffix])]
    elif how == "share":
        values = [a / b * 100 for a, b in zip(values, samples[against + suffix])]
    median = quartiles(values)[0]
    return values, median >= limit if how == "share" else median <= limit


def machine(options):
    cpu = "an unknown CPU"
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE)
        cpu = found[1] if found else platform.machine()
    cache = (Path(options.build) / "CMakeCache.txt").read_text()
    kind = re.search(r"^CMAKE_BUILD_TYPE:\w+=(.*)$", cache, re.MULTILINE)
    said = [
        f"{os.cpu_count()} cores of {cpu}",
        f"{platform.system()} {platform.release()}",
        f"build {kind[1]}" if kind else "",
    ]
    if options.go:
        said.append(
            subprocess.run(["go", "env", "GOVERSION"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        )
    if options.python:
        ask = "import sys, numpy, tickstore as t; print(f'libtickstore {t.library_version}, Python {sys.version.split()[0]}, NumPy {numpy.__version__}')"
        said.append(
            subprocess.run([options.python, "-c", ask], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg()[:2])
    return ", ".join(filter(None, said)) + f"; load before: {load}"


def tables(samples):
    puts = [["ns a quote", "writer asleep", "writer at work"]]
    puts += [
        [name, shown(samples.get(name), "ns"), shown(samples.get(name + AT_WORK), "ns")]
        for name in PUTS
        if name in samples
    ]
    reads = [["million rows/s", "median (quartiles)", "of the C cursor"]]
    for name in READS:
        if name in samples:
            share = ""
            if "range" in name or "scan" in name:
                pairs = zip(samples[name], samples[READS[0]])
                share = f"{statistics.median(a / b * 100 for a, b in pairs):.0f} %"
            reads.append([name, shown(samples[name], "rows/s"), share])
    marks = [["mark", "", "writer asleep", "writer at work"]]
    for row in MARKS:
        what, _, _, how, limit, unit = row
        cells = []
        for suffix in ("", AT_WORK):
            found = mark(samples, row, suffix)
            cells.append("" if found is None else f"{shown(found[0], unit)}: {'met' if found[1] else 'NOT MET'}")
        marks.append([what, f"{'at least' if how == 'share' else 'at most'} {limit} {unit}", *cells])
    return [table for table in (puts, reads, marks) if len(table) > 1]


def printed(table, markdown):
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    for number, row in enumerate(table):
        if markdown:
            print("| " + " | ".join(row) + " |")
            if number == 0:
                print("|---" * len(row) + "|")
        else:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print()


def main():
    parser = argparse.ArgumentParser(description="What the bindings cost beside C, in one run.")
    parser.add_argument("--build", required=True)
    parser.add_argument("--go", help="the compiled tests of bindings/go")
    parser.add_argument("--python", help="an interpreter that finds the tickstore package")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--dir", default=tempfile.gettempdir(), help="where stores are made")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    where = machine(options)
    samples = measure(options)
    print(f"{where}.")
    print(
        f"{options.rounds} rounds of {options.runs} repetitions, median (quartiles); 128 symbols at random, full rings.\n"
    )
    for table in tables(samples):
        printed(table, options.markdown)


if __name__ == "__main__":
    main()
