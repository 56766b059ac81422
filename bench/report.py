#!/usr/bin/env python3
"""report.py --bench FILE --rivals FILE --docs DIR - writes DIR/benchmarks.md and DIR/plots/*.svg from the figures of one run.

What stands in benchmarks.md from the heading "What the figures come from" on is kept as it is: it is written by hand, and bench/bindings has its own
run."""

import argparse
import datetime
import json
import math
import pathlib

KEPT_FROM = "## What the figures come from"

# key, place on its curve or None, mark as text, test of the value (None: it is there to compare with); the label is the figure's own.
MARKS = [
    ("put_journal_mean", None, "60 ns (far: 40)", lambda v: v <= 60),
    ("put_journal_p999", None, "1 us (far: 500 ns)", lambda v: v <= 1000),
    ("put_journal_batch", None, "35 ns (far: 20)", lambda v: v <= 35),
    ("put_journal_ratio", None, "at most 1.3", lambda v: v <= 1.3),
    ("producers_alone_ratio", None, "", None),
    ("producers_different_ratio", None, "1.8", lambda v: v >= 1.8),
    ("producers_same_ratio", None, "1", lambda v: v >= 1),
    ("sustained_sqlite", 128, "500,000 (far: 1,000,000)", lambda v: v >= 5e5),
    ("sustained_sqlite", 1000, "300,000", lambda v: v >= 3e5),
    ("sustained_sqlite", 30000, "300,000", lambda v: v >= 3e5),
    ("sustained_dual", None, "250,000", lambda v: v >= 2.5e5),
    ("burst_p999", None, "2 us, nothing lost", lambda v: v <= 2000),
    ("recent_100", None, "1 us (far: 0.3)", lambda v: v <= 1),
    ("recent_10000", None, "100 us (far: 40)", lambda v: v <= 100),
    ("latest_all", None, "5 us", lambda v: v <= 5),
    ("range_live", None, "4 million", lambda v: v >= 4e6),
    ("days_first_row", 30, "2 ms", lambda v: v <= 2),
    ("days_point_live", 30, "20 us", lambda v: v <= 20),
    ("days_point_any", 30, "20 us", lambda v: v <= 20),
    ("memory_rings", None, "90 MB", lambda v: v <= 90),
    ("memory_resident", None, "90 MB", lambda v: v <= 90),
    ("idle_cpu", None, "none measurable", lambda v: v < 0.05),
]

TITLES = {
    "put": "put, one producer",
    "producers": "Two producers",
    "sustained": "Sustained writing",
    "burst": "A burst",
    "read": "Rings and a live day",
    "days": "Many day files",
    "growth": "Many symbols",
    "rest": "Memory, idleness, recovery",
    "workloads": "The four classic SQLite workloads",
}


def number(value):
    if value >= 1e4:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


# ------------------------------------------------------------------- tables


def by_key(run):
    return {(f["key"], f.get("x")): f for f in run["results"]}


def spread(figure):
    if len(figure["values"]) < 2:
        return ""
    return f"{number(figure['q1'])} to {number(figure['q3'])} ({number(figure['min'])} to {number(figure['max'])})"


def marks_table(figures):
    lines = ["| | mark | measured | | quartiles (range) |", "|---|---|---|---|---|"]
    for key, x, mark, met in MARKS:
        f = figures.get((key, x))
        if f is None:
            continue
        verdict = "" if met is None else "met" if met(f["median"]) else "**not met**"
        lines.append(f"| {f['label']} | {mark} | {number(f['median'])} {f['unit']} | {verdict} | {spread(f)} |")
    return lines


def group_table(run, group):
    rows = [f for f in run["results"] if f["group"] == group and not f["key"].endswith("_curve")]
    if not rows:
        return []
    notes = [note.split(": ", 1)[1] for note in run.get("notes", []) if note.startswith(group + ": ")]
    lines = ["", f"### {TITLES[group]}", ""] + [f"- {note}" for note in notes]
    lines += ["", "| | median | quartiles (range) |", "|---|---|---|"]
    return lines + [f"| {f['label']} | {number(f['median'])} {f['unit']} | {spread(f)} |" for f in rows]


def rivals_table(run):
    figures = [
        ("write", "written, ticks/s"),
        ("recent", "recent(100), us"),
        ("hour", "one hour, us"),
        ("day", "one day, us"),
    ]
    figures += [("scan", "count and sum, rows/s"), ("bytes", "bytes a tick")]
    values = {f["key"]: f for f in run["results"]}
    ways = [(f["key"].removeprefix("rival_write_"), f["label"].split(": ", 1)[1]) for f in run["results"]]
    ways = [(key, name) for key, name in ways if f"rival_write_{key}" in values]
    lines = ["| | " + " | ".join(label for _, label in figures) + " |", "|---" * (len(figures) + 1) + "|"]
    for way, name in ways:
        cells = [number(values[f"rival_{key}_{way}"]["median"]) for key, _ in figures]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


# -------------------------------------------------------------------- plots

COLOURS = ["#1b6ca8", "#c8553d", "#3a7d44", "#8e6c8a"]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 380, 76, 24, 48, 56


class Axis:
    """Values to pixels, linear or logarithmic, with ticks at round values."""

    def __init__(self, values, low, high, log):
        self.low_px, self.high_px, self.log = low, high, log
        if log:
            spare = 0 if low < high else 0.1  # of a decade, above and below; none on the horizontal axis
            self.low, self.high = math.log10(min(values)) - spare, math.log10(max(values)) + spare
            self.high = self.high if self.high > self.low else self.low + 1
        else:
            self.low, self.high = 0, max(values) * 1.08 or 1

    def at(self, value):
        share = ((math.log10(value) if self.log else value) - self.low) / (self.high - self.low)
        return self.low_px + share * (self.high_px - self.low_px)

    def ticks(self):
        if self.log:
            decades = [10**e for e in range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)]
            if len(decades) > 2:
                return decades
            fine = [m * 10**e for e in range(math.floor(self.low), math.ceil(self.high) + 1) for m in (1, 2, 5)]
            return [v for v in fine if self.low - 1e-9 <= math.log10(v) <= self.high + 1e-9]
        step = 10 ** math.floor(math.log10(self.high))
        while self.high / step < 4:
            step /= 2
        return [i * step for i in range(int(self.high / step) + 1)]


def short(value):
    for limit, suffix in ((1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:g}{suffix}"
    return f"{value:g}"


def text(x, y, words, anchor="middle", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{words}</text>'


def plot(title, x_label, y_label, curves, log_x=True, log_y=False, x_ticks=None):
    """curves: name to [(x, y, low, high)]; low and high are None where there is no spread. x_ticks: (place, words)."""
    points = [p for curve in curves.values() for p in curve]
    x = Axis([p[0] for p in points], LEFT, WIDTH - RIGHT, log_x)
    y = Axis(
        [v for p in points for v in (p[1], p[3] or p[1], (log_y and p[2]) or p[1])], HEIGHT - BOTTOM, TOP + 24, log_y
    )
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        '<g font-family="system-ui, sans-serif" font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        text(LEFT, 22, title, "start", ' font-size="15" font-weight="600"'),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_label),
        text(
            16, (TOP + HEIGHT - BOTTOM) / 2, y_label, extra=f' transform="rotate(-90 16 {(TOP + HEIGHT - BOTTOM) / 2})"'
        ),
    ]
    for value in y.ticks():
        at = y.at(value)
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e4e4e4"/>')
        out.append(text(LEFT - 8, at + 4, short(value), "end"))
    for value, words in x_ticks or [(v, short(v)) for v in x.ticks()]:
        at = x.at(value)
        out.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 5}" stroke="#888"/>'
        )
        out.append(text(at, HEIGHT - BOTTOM + 20, words))
    out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}" stroke="#888"/>')
    legend = LEFT
    for (name, curve), colour in zip(curves.items(), COLOURS):
        path = " ".join(f"{x.at(p[0]):.1f},{y.at(p[1]):.1f}" for p in curve)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for place, value, low, high in curve:
            at = x.at(place)
            if low is not None:
                out.append(
                    f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y.at(low):.1f}" y2="{y.at(high):.1f}" stroke="{colour}" '
                    'stroke-width="5" stroke-opacity="0.3"/>'
                )
            out.append(f'<circle cx="{at:.1f}" cy="{y.at(value):.1f}" r="3" fill="{colour}"/>')
        out.append(f'<rect x="{legend}" y="34" width="12" height="4" fill="{colour}"/>')
        out.append(text(legend + 17, 40, name, "start"))
        legend += 38 + 7 * len(name)
    return "\n".join(out) + "\n</g>\n</svg>\n"


def curve(run, key):
    rows = sorted((f for f in run["results"] if f["key"] == key), key=lambda f: f["x"])
    many = rows and len(rows[0]["values"]) > 1
    return [(f["x"], f["median"], f["q1"] if many else None, f["q3"] if many else None) for f in rows]


def distribution(run, key):
    """By how rare a put is: 1 in 10, 1 in 100 ..., so that the tail is not squeezed into the last pixel."""
    return [(1 / (1 - f[0]), max(f[1], 1), None, None) for f in curve(run, key) if f[0] >= 0.5]


def write_plots(run, folder):
    """Writes what the run has figures for, and returns the names."""
    rare = [
        (1.0 / (1 - s), w)
        for s, w in ((0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %"))
    ]
    wanted = {
        "throughput": (
            (
                "Sustained writing into SQLite",
                "symbols",
                "ticks/s until durable",
                {"libtickstore": curve(run, "sustained_sqlite")},
            ),
            {},
        ),
        "put-latency": (
            (
                "put, single calls, the clock subtracted",
                "share of calls that are at most so slow",
                "ns",
                {
                    "journal on": distribution(run, "put_journal_curve"),
                    "journal off": distribution(run, "put_memory_curve"),
                },
            ),
            {"log_y": True, "x_ticks": rare},
        ),
        "days": (
            (
                "Query time by day files",
                "day files",
                "us",
                {
                    "recent(100)": curve(run, "days_recent"),
                    "point in time, live day": curve(run, "days_point_live"),
                    "point in time, any day": curve(run, "days_point_any"),
                    "the same, a connection for each": curve(run, "days_point_held"),
                    "first row of all days": [
                        tuple(v and v * (1000 if i else 1) for i, v in enumerate(p))
                        for p in curve(run, "days_first_row")
                    ],
                },
            ),
            {"log_y": True, "x_ticks": [(p[0], f"{p[0]:g}") for p in curve(run, "days_recent")]},
        ),
        "symbols": (
            (
                "Cost of a call by symbols",
                "symbols",
                "us",
                {
                    "put": [
                        tuple(v and v / (1000 if i else 1) for i, v in enumerate(p)) for p in curve(run, "symbols_put")
                    ],
                    "recent(100)": curve(run, "symbols_recent"),
                    "point in time, live day": curve(run, "symbols_point"),
                },
            ),
            {"log_y": True},
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (what, how) in wanted.items():
        if all(what[3].values()):
            (folder / f"{name}.svg").write_text(plot(*what, **how))
            written.append((name, what[0]))
    return written


# --------------------------------------------------------------------- page


def machine(run):
    return (
        f"{run['cpu']}, {run['cores']} cores, {run['memory_gb']:.0f} GB, {run['system']}; compiler {run['compiler']}, "
        f"`{run['flags']}`, {run['assertions']}; SQLite {run['sqlite']}; load when it began {run['load']:.1f}; "
        f"a reading of the clock costs {run['clock_ns']:.0f} ns and is subtracted"
    )


HEAD = """# Benchmarks

    make bench                                    # everything, writes this page and its plots; then the bindings
    make bench BENCH_ARGS=--quick                 # small amounts, to see that it works; writes below the build directory
    build/bench/bench --groups put,read           # some of it; --json FILE for a program
    bench/compare build-before build-after        # two builds in turn, differences with their noise
    make bench-bindings                           # what Go and Python add to it: the last section

Each figure is measured once a run; what stands here is the median of the runs, with quartiles and range. Machines differ and are noisy: compare
figures of one run. 128 symbols at random unless said otherwise, production defaults (journal on, synchronous FULL). A run in which a single tick
is lost ends with an error: rows are counted through SQLite itself, while the store is open.
"""


def page(bench, rivals, plots, forms):
    lines = [HEAD, f"This run ({datetime.date.today()}, {bench['runs']} runs): {machine(bench)}.", ""]
    if bench["quick"]:
        lines += ["**A quick run: small amounts, not to be quoted.**", ""]
    lines += ["## Marks", ""] + marks_table(by_key(bench))
    if plots:
        lines += ["", "## Curves", ""]
        for name, title in plots:
            lines += [f"![{title}](plots/{name}.svg)", ""]
        lines += [
            'Bars are quartiles. "Any day" picks one of the days at random, so that its file is mostly one that no connection has open.'
        ]
    if rivals:
        lines += [
            "",
            "## Side by side",
            "",
            "The same ticks in one run, each way in its best reasonable form, on one thread:",
            "",
        ]
        lines += rivals_table(rivals) + [""] + [f"- {form}" for form in forms]
    lines += ["", "## Every figure"]
    for group in TITLES:
        lines += group_table(bench, group)
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=pathlib.Path, required=True)
    parser.add_argument("--rivals", type=pathlib.Path)
    parser.add_argument("--docs", type=pathlib.Path, required=True)
    options = parser.parse_args()
    bench = json.loads(options.bench.read_text())
    rivals = json.loads(options.rivals.read_text()) if options.rivals and options.rivals.exists() else None
    target = options.docs / "benchmarks.md"
    old = target.read_text() if target.exists() else ""
    kept = old[old.index(KEPT_FROM) :] if KEPT_FROM in old else ""
    plots = write_plots(bench, options.docs / "plots")
    forms = [note.split(": ", 1)[1] for note in rivals.get("notes", [])] if rivals else []
    target.write_text(page(bench, rivals, plots, forms) + ("\n" + kept if kept else ""))
    print(f"written: {target} and {len(plots)} plots")


if __name__ == "__main__":
    main()
