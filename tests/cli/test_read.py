#!/usr/bin/env python3
"""The reading subcommands: symbols, recent, range, sql, stats, doctor, demo, and the manners of the command as a whole.

Stores are filled through `import --format csv`; what must come out is computed here from the same rows.
"""

import csv
import io
import json
import os
import pathlib
import random
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import tempfile
import time
import unittest
import zipfile
from datetime import datetime, timezone
from decimal import Decimal

COMMAND = os.environ.get("TICKSTORE_COMMAND", "")
DATA = pathlib.Path(os.environ.get("TICKSTORE_TEST_DATA", "/nonexistent"))
SECOND = 1_000_000_000
DAY = 86_400 * SECOND
START = int(datetime(2026, 1, 18, tzinfo=timezone.utc).timestamp()) * SECOND
SUBCOMMANDS = ["import", "symbols", "recent", "range", "sql", "stats", "gaps", "doctor", "demo"]
COLUMNS = ["time", "symbol", "bid", "ask", "bid_size", "ask_size", "source", "seq"]


def setUpModule():
    if not COMMAND or not os.access(COMMAND, os.X_OK):
        raise unittest.SkipTest("TICKSTORE_COMMAND names no program")


def rfc3339(ns):
    seconds, rest = divmod(ns, SECOND)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def run(*arguments, stdin=None, env=None, **options):
    environment = {**os.environ, "TICKSTORE_PATH": "", **(env or {})}
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=280,
        env=environment,
        **options,
    )


def csv_text(rows):
    """Rows of (ns, symbol, bid, ask, bid_size, ask_size, source); None is an absent side."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)  # blanks at edges
    writer.writerow(["timestamp_ns", "symbol", "bid", "ask", "bid_size", "ask_size", "source"])
    for row in rows:
        writer.writerow(["" if value is None else value for value in row])
    return out.getvalue()


def make_rows():
    """Four days, one of them without quotes; equal times, absent and crossed sides, names that need quoting."""
    seed = int(os.environ.get("TICKSTORE_TEST_SEED", "20260118"))
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    names = ["EURUSD", "XAUUSD", "EUR/USD", 'odd,"name"', "Ωμέγα", " edge "]
    rows = []
    for day in (0, 1, 3):
        at = START + day * DAY
        for _ in range(400):
            at += chance.choice([0, 1, 999, 250_000, 1_000_000, 17 * SECOND])
            bid = round(chance.uniform(0.5, 2), chance.choice([1, 5, 9]))
            ask = bid + chance.choice([0.00001, 0.1, 0, -0.00002, 1 / 3])
            side = chance.random()
            sizes = chance.choice([0, 1.5, 1e6]), chance.choice([0, 0.1, 250000])
            rows.append(
                (
                    at,
                    chance.choice(names),
                    None if side < 0.05 else bid,
                    None if side > 0.95 else ask,
                    *sizes,
                    chance.choice(["", "LP1", "LP,2"]),
                )
            )
        rows.append((START + (day + 1) * DAY - 1, "EURUSD", 1.25, 1.5, 0, 0, "LP1"))
    return rows


def fill(store, rows, *options):
    done = run("import", "--store", store, "--format", "csv", "--quiet", *options, "-", stdin=csv_text(rows))
    if done.returncode != 0:
        raise RuntimeError(f"import: {done.returncode} {done.stderr}")


def number(text):
    return None if text == "" else float(text)


class StoreTest(unittest.TestCase):
    """One store, filled once, that no test changes."""

    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="read-")
        cls.addClassCleanup(cls.scratch.cleanup)
        cls.store = pathlib.Path(cls.scratch.name) / "store"
        cls.rows = make_rows()
        fill(cls.store, cls.rows)

    def call(self, subcommand, *arguments, code=0, stdin=None):
        done = run(subcommand, "--store", self.store, *arguments, stdin=stdin)
        self.assertEqual(done.returncode, code, done.stderr)
        self.stderr = done.stderr
        return done.stdout

    def table(self, *arguments, **options):
        return list(csv.DictReader(io.StringIO(self.call(*arguments, "--format", "csv", **options))))

    def expected(self, symbol, start=None, end=None, source=None):
        """Ordered by time, then by arrival."""
        rows = [
            row
            for row in self.rows
            if row[1] == symbol
            and (start is None or row[0] >= start)
            and (end is None or row[0] < end)
            and (source is None or row[6] == source)
        ]
        return sorted(rows, key=lambda row: row[0])

    def assert_rows(self, got, expected):
        def values(row):
            return (
                row["time"],
                row["symbol"],
                number(row["bid"]),
                number(row["ask"]),
                number(row["bid_size"]),
                number(row["ask_size"]),
                row["source"],
            )

        self.assertEqual([values(row) for row in got], [(rfc3339(row[0]), *row[1:]) for row in expected])


class RangeTest(StoreTest):
    def test_everything(self):
        for symbol in sorted({row[1] for row in self.rows}):
            got = self.table("range", symbol)
            self.assert_rows(got, self.expected(symbol))
            self.assertEqual(list(got[0]), COLUMNS)
            keys = [(row["time"], int(row["seq"])) for row in got]
            self.assertEqual(keys, sorted(keys))
            self.assertEqual(len(set(keys)), len(keys))

    def test_is_half_open_in_every_notation_of_time(self):
        start, end = START + 40 * SECOND, START + DAY + 3 * SECOND
        expected = self.expected("EURUSD", start, end)
        self.assertGreater(len(expected), 3)
        moment = expected[1][0]
        for bounds in [
            (start, end),
            (rfc3339(start), rfc3339(end)),
            (f"{start}ns", f"{end // 1000}us"),
            (f"{start // 10**6}ms", f"{end // SECOND}s"),
            ("2026-01-18T02:00:40+02:00", "2026-01-18t22:00:03-02:00"),
        ]:
            self.assert_rows(self.table("range", "EURUSD", "--from", bounds[0], "--to", bounds[1]), expected)
        self.assert_rows(
            self.table("range", "EURUSD", "--from", "2026-01-19", "--to", "2026-01-20"),
            self.expected("EURUSD", START + DAY, START + 2 * DAY),
        )
        self.assert_rows(self.table("range", "EURUSD", "--from", moment, "--to", moment), [])
        self.assert_rows(
            self.table("range", "EURUSD", "--from", moment, "--to", moment + 1),
            self.expected("EURUSD", moment, moment + 1),
        )
        self.assert_rows(self.table("range", "EURUSD", "--to", "-1s"), [])

    def test_limit_descending_and_source(self):
        everything = self.table("range", "EURUSD")
        self.assertEqual(self.table("range", "EURUSD", "--desc"), everything[::-1])
        self.assertEqual(self.table("range", "EURUSD", "--limit", "7"), everything[:7])
        self.assertEqual(self.table("range", "EURUSD", "--limit", "7", "--desc"), everything[:-8:-1])
        self.assert_rows(self.table("range", "EURUSD", "--source", "LP,2"), self.expected("EURUSD", source="LP,2"))
        self.assertEqual(self.table("range", "EURUSD", "--source", "LP9"), [])
        self.assertIn("LP9", self.stderr)

    def test_csv_comes_back_through_import(self):
        other = pathlib.Path(self.scratch.name) / "other"
        for symbol in sorted({row[1] for row in self.rows}):
            done = run("import", "--store", other, "--format", "csv", "--quiet", "-", stdin=self.call("range", symbol))
            self.assertEqual(done.returncode, 0, done.stderr)
        for symbol in sorted({row[1] for row in self.rows}):
            again = run("range", "--store", other, symbol).stdout.splitlines()
            first = self.call("range", symbol).splitlines()
            self.assertEqual([line.rsplit(",", 1)[0] for line in again], [line.rsplit(",", 1)[0] for line in first])

    def test_json(self):
        lines = [json.loads(line) for line in self.call("range", "EURUSD", "--format", "json").splitlines()]
        expected = self.expected("EURUSD")
        self.assertEqual(len(lines), len(expected))
        for line, row in zip(lines, expected):
            self.assertEqual(list(line)[:7], ["symbol", "bid", "ask", "spread", "timestamp", "lp", "seq"])
            self.assertEqual(
                (
                    line["timestamp"],
                    line["symbol"],
                    line["bid"],
                    line["ask"],
                    line.get("bid_size", 0),
                    line.get("ask_size", 0),
                    line["lp"],
                ),
                (rfc3339(row[0]), *row[1:]),
            )
            if row[2] is None or row[3] is None:
                self.assertIsNone(line["spread"])
            else:
                self.assertAlmostEqual(line["spread"], row[3] - row[2], places=12)

    def test_table(self):
        lines = self.call("range", "XAUUSD", "--format", "table").splitlines()
        self.assertEqual(lines[0].split(), COLUMNS)
        self.assertEqual(len(lines), 1 + len(self.expected("XAUUSD")))
        column = lines[0].index("symbol")
        self.assertTrue(all(line[column:].startswith("XAUUSD") for line in lines[1:]))
        points = {match.start() for line in lines[1:] for match in [re.search(r"(?<=XAUUSD) +\d+(\.)", line)] if match}
        self.assertTrue(points)

    def test_timing_is_on_stderr(self):
        rows = self.table("range", "EURUSD", "--timing")
        self.assertRegex(self.stderr, rf"^{len(rows):,} rows in .*, .* rows/s$")

    def test_a_closed_pipe_is_no_failure(self):
        command = f"'{COMMAND}' range --store '{self.store}' EURUSD | head -n 1; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.stdout.splitlines(), [",".join(COLUMNS), "0"])
        self.assertEqual(done.stderr, "")

    @unittest.skipUnless(os.path.exists("/dev/full"), "there is no /dev/full")
    def test_a_full_disk_is_one(self):
        for arguments in [
            ("range", "EURUSD"),
            ("range", "EURUSD", "--format", "table"),
            ("symbols",),
            ("stats",),
            ("sql", "SELECT * FROM ticks"),
            ("doctor",),
        ]:
            with open("/dev/full", "w") as full:
                done = subprocess.run(
                    [COMMAND, *arguments[:1], "--store", self.store, *arguments[1:]],
                    stdout=full,
                    stderr=subprocess.PIPE,
                    text=True,
                    timeout=60,
                )
            self.assertEqual(done.returncode, 1, arguments)
            self.assertIn("No space left on device", done.stderr)


class RecentTest(StoreTest):
    def test_oldest_first_newest_last_over_days(self):
        everything = self.table("range", "EURUSD")
        for count in (1, 5, 10, len(everything) - 1, len(everything), len(everything) + 1, 2_000_000_000):
            self.assertEqual(self.table("recent", "EURUSD", "-n", count), everything[-count:])
        self.assertEqual(self.table("recent", "EURUSD"), everything[-10:])

    def test_json(self):
        last = json.loads(self.call("recent", "EURUSD", "-n", "1", "--format", "json"))
        self.assertEqual((last["bid"], last["ask"], last["lp"]), (1.25, 1.5, "LP1"))


class SymbolsTest(StoreTest):
    def test_counts_and_times(self):
        got = {row["symbol"]: row for row in self.table("symbols")}
        self.assertEqual(sorted(got), sorted({row[1] for row in self.rows}))
        for symbol, row in got.items():
            expected = self.expected(symbol)
            self.assertEqual(
                (int(row["count"]), row["first"], row["last"]),
                (len(expected), rfc3339(expected[0][0]), rfc3339(expected[-1][0])),
            )
        lines = [json.loads(line) for line in self.call("symbols", "--format", "json").splitlines()]
        self.assertEqual(
            {line["symbol"]: line["count"] for line in lines},
            {symbol: int(row["count"]) for symbol, row in got.items()},
        )

    def test_unknown_symbols_get_a_hint(self):
        for subcommand in ("recent", "range"):
            for name, hint in [("eurusd", "EURUSD"), ("EURUSE", "EURUSD"), ("XAU/USD", "XAUUSD"), ("Ωμέγ", "Ωμέγα")]:
                self.call(subcommand, name, code=1)
                self.assertRegex(self.stderr, f"did you mean .*{hint}")
                self.assertEqual(len(self.stderr.splitlines()), 1)
            self.call(subcommand, "COMPLETELYELSE", code=1)
            self.assertNotIn("did you mean", self.stderr)


class SqlTest(StoreTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.mirror = sqlite3.connect(":memory:")
        cls.addClassCleanup(cls.mirror.close)
        cls.mirror.execute(
            "CREATE TABLE ticks(id INTEGER, symbol TEXT, timestamp INTEGER, bid REAL, ask REAL,"
            " spread REAL, lp_source TEXT, created_at INTEGER, timestamp_ns INTEGER, bid_size REAL,"
            " ask_size REAL, flags INTEGER)"
        )
        insert = f"INSERT INTO ticks VALUES({','.join('?' * 12)})"
        for path in sorted((cls.store / "db").rglob("ticks_*.db")):
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as day:
                cls.mirror.executemany(insert, day.execute("SELECT * FROM ticks"))
            day.close()

    def same(self, query):
        expected = self.mirror.execute(query).fetchall()
        got = [list(row.values()) for row in map(json.loads, self.call("sql", "--format", "json", query).splitlines())]
        self.assertEqual(got, [list(row) for row in expected], query)

    def test_the_mirror_has_every_row(self):
        self.assertEqual(self.mirror.execute("SELECT COUNT(*) FROM ticks").fetchone()[0], len(self.rows))

    def test_like_one_table(self):
        for query in [
            "SELECT COUNT(*) AS c FROM ticks",
            "SELECT * FROM ticks ORDER BY id",
            "SELECT symbol, COUNT(*) AS c, MIN(timestamp) AS a, MAX(timestamp) AS b FROM ticks GROUP BY 1",
            "SELECT lp_source, COUNT(DISTINCT symbol) AS c FROM ticks GROUP BY 1 ORDER BY 1",
            "SELECT a.id, b.id AS other FROM ticks a JOIN ticks b ON a.symbol = b.symbol AND"
            " a.timestamp_ns = b.timestamp_ns WHERE a.id < b.id ORDER BY 1, 2",
            "SELECT id FROM ticks WHERE symbol IN (SELECT symbol FROM ticks WHERE bid > ask) ORDER BY timestamp_ns, id",
        ]:
            self.same(query)

    def test_conditions_that_are_pushed_down(self):
        chance = random.Random(7)
        symbols = sorted({row[1] for row in self.rows})

        def value(column):
            at = chance.choice(self.rows)[0] // (10**6 if column == "timestamp" else 1) + chance.choice([-1, 0, 0, 1])
            odd = [
                f"{at}.5",
                f"{at / 1.0!r}",
                f"'{at}'",
                "NULL",
                "'abc'",
                "1e30",
                "-1e30",
                "9223372036854775807",
                "-9223372036854775808",
            ]
            return chance.choice([f"{at}"] * 6 + odd)

        def term():
            column = chance.choice(["timestamp", "timestamp_ns"])
            name = chance.choice(symbols + ["nothing", "eurusd"]).replace("'", "''")
            return chance.choice(
                [
                    f"symbol = '{name}'",
                    f"symbol = '{name}' COLLATE NOCASE",
                    f"symbol IN ('{name}', 'EURUSD')",
                    f"symbol > '{name}'",
                    "bid IS NULL",
                    f"{column} BETWEEN {value(column)} AND {value(column)}",
                    f"{column} {chance.choice(['=', '<', '<=', '>', '>=', 'IS'])} {value(column)}",
                    f"({column} < {value(column)} OR symbol = '{name}')",
                ]
            )

        orders = [
            "timestamp_ns, id",
            "timestamp_ns DESC, id DESC",
            "timestamp, timestamp_ns, id",
            "timestamp, id",
            "timestamp DESC, timestamp_ns, id",
            "id",
        ]
        for _ in range(150):
            where = " AND ".join(term() for _ in range(chance.randint(1, 3)))
            self.same(f"SELECT COUNT(*) AS c, SUM(id) AS s, MAX(ask) AS m FROM ticks WHERE {where}")
            self.same(
                f"SELECT id, symbol, bid, timestamp_ns FROM ticks WHERE {where} ORDER BY {chance.choice(orders)}"
                f" LIMIT {chance.choice([3, 1000])}"
            )

    def test_days_and_symbols(self):
        days = self.table("sql", "SELECT * FROM days")
        self.assertEqual([day["day"] for day in days], ["2026-01-18", "2026-01-19", "2026-01-21"])
        self.assertEqual(sum(int(day["quotes"]) for day in days), len(self.rows))
        for day in days:
            self.assertEqual(os.path.getsize(day["path"]), int(day["bytes"]))
        symbols = self.table("sql", "SELECT symbol, count FROM symbols ORDER BY symbol")
        self.assertEqual(
            symbols,
            [
                {"symbol": row["symbol"], "count": row["count"]}
                for row in sorted(self.table("symbols"), key=lambda row: row["symbol"])
            ],
        )

    def test_several_statements_from_stdin(self):
        text = "SELECT 1 AS a;\n-- a remark\nSELECT 'x,y' AS b, NULL AS c;\n"
        out = self.call("sql", "--format", "csv", "-", stdin=text)
        self.assertEqual(out, 'a\n1\nb,c\n"x,y",\n')

    def test_formats(self):
        query = 'SELECT 1.5 AS "a b", \'q"\' AS t, NULL AS n, 1e999 AS inf'
        self.assertEqual(self.call("sql", "--format", "csv", query), 'a b,t,n,inf\n1.5,"q""",,inf\n')
        self.assertEqual(
            json.loads(self.call("sql", "--format", "json", query)), {"a b": 1.5, "t": 'q"', "n": None, "inf": "inf"}
        )
        self.assertEqual(self.call("sql", "--format", "table", "SELECT 'a' || char(27) || char(10) AS x"), "x\na??\n")
        wide = "SELECT char(155) || '2J' || char(160) AS x"  # CSI as one character, and the first that is none
        self.assertEqual(self.call("sql", "--format", "table", wide), "x\n?2J\u00a0\n")

    def test_json_stays_json_whatever_the_bytes(self):
        query = (
            "SELECT x'00ff22' AS b, x'' AS none, CAST(x'61ff62c3' AS TEXT) AS t, CAST(x'eda080f4908080' AS TEXT) AS u,"
            " 'Ωμ€😀' AS v, CAST(x'410042' AS TEXT) AS z"
        )
        expected = {"b": "00ff22", "none": "", "t": "a\ufffdb\ufffd", "u": "\ufffd" * 7, "v": "Ωμ€😀", "z": "A\0B"}
        self.assertEqual(json.loads(self.call("sql", "--format", "json", query)), expected)
        for form in ("csv", "table"):
            self.assertEqual(self.call("sql", "--format", form, "SELECT x'00ff22' AS b"), "b\n00ff22\n")

    def test_reads_only(self):
        for statement in [
            "DELETE FROM ticks",
            "INSERT INTO days VALUES(1)",
            "CREATE TABLE t(a)",
            "DROP TABLE days",
            "ATTACH 'x.db' AS x",
            "PRAGMA journal_mode = WAL",
            "VACUUM",
            "UPDATE ticks SET bid = 1",
            "BEGIN",
            "CREATE TEMP TABLE t(a)",
            "SELECT load_extension('x')",
        ]:
            self.call("sql", statement, code=1)
            self.assertEqual(len(self.stderr.splitlines()), 1, statement)
        self.same("SELECT COUNT(*) AS c FROM ticks")

    def test_errors(self):
        self.call("sql", "SELECT nonesuch FROM ticks", code=1)
        self.assertIn("no such column: nonesuch", self.stderr)
        self.call("sql", "SELEC", code=1)
        self.assertIn("syntax error", self.stderr)
        for empty in ("", " ; ", "-- nothing"):
            done = run("sql", "--store", self.store, "--", empty)
            self.assertEqual(done.returncode, 2, empty)


class StatsTest(StoreTest):
    def test_json(self):
        stats = json.loads(self.call("stats", "--format", "json"))
        times = [row[0] for row in self.rows]
        self.assertEqual(
            (stats["quotes"], stats["symbols"], stats["sqlite_days"], stats["sqlite_quotes"]),
            (len(self.rows), len({row[1] for row in self.rows}), 3, len(self.rows)),
        )
        self.assertEqual((stats["first"], stats["last"]), (rfc3339(min(times)), rfc3339(max(times))))
        last = self.table("sql", "SELECT MAX(id) AS id FROM ticks")[0]["id"]
        self.assertEqual(stats["sqlite_last_seq"], int(last))
        self.assertEqual(
            {row["name"]: row["value"] for row in self.table("stats")},
            {name: str(value) for name, value in stats.items()},
        )

    def test_prometheus(self):
        text = self.call("stats", "--format", "prometheus", "--per-symbol")
        samples = check_prometheus(self, text)
        self.assertEqual(samples["tickstore_disk_quotes"], len(self.rows))
        self.assertEqual(samples['tickstore_disk_days{sink="sqlite"}'], 3)
        self.assertIn('tickstore_symbol_quotes{symbol="odd,\\"name\\""}', samples)


def check_prometheus(test, text):
    """The rules of the text format that can be checked without a parser of it; returns the samples."""
    kinds, samples, family = {}, {}, None
    test.assertTrue(text.endswith("\n"))
    for line in text.splitlines():
        if line.startswith("# "):
            _, word, name, rest = line.split(" ", 3)
            if word == "HELP":
                test.assertNotIn(name, kinds, "a family comes once")
                test.assertTrue(rest)
                family, kinds[name] = name, None
            else:
                test.assertEqual((word, name), ("TYPE", family))
                test.assertIn(rest, ("counter", "gauge", "histogram"))
                kinds[name] = rest
            continue
        match = re.fullmatch(r'(\w+)((?:\{(?:\w+="(?:[^"\\]|\\.)*",?)*\})?) (\S+)', line)
        test.assertTrue(match, line)
        base = re.sub("_(bucket|sum|count)$", "", match[1]) if kinds[family] == "histogram" else match[1]
        test.assertEqual(base, family)
        test.assertTrue(base.startswith("tickstore_"))
        test.assertEqual(base.endswith("_total"), kinds[family] == "counter", base)
        test.assertNotRegex(base, "_(ms|us|ns)(_|$)")
        test.assertNotIn(match[1] + match[2], samples)
        samples[match[1] + match[2]] = float(match[3])
    return samples


class DoctorTest(StoreTest):
    def copy(self):
        target = pathlib.Path(tempfile.mkdtemp(dir=self.scratch.name)) / "store"
        shutil.copytree(self.store, target)
        return target

    def doctor(self, store, *options):
        done = run("doctor", "--store", store, "--format", "csv", *options)
        return done, list(csv.DictReader(io.StringIO(done.stdout)))

    def test_a_sound_store(self):
        for options in [(), ("--full",)]:
            done, days = self.doctor(self.store, *options)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(
                [(day["day"], day["status"]) for day in days],
                [("2026-01-18", "ok"), ("2026-01-19", "ok"), ("2026-01-21", "ok")],
            )
            self.assertIn("no writer has the store open", done.stderr)

    def test_damaged_days_are_named_and_the_others_work(self):
        for damage in ("text", "cut", "other tables"):
            store = self.copy()
            path = store / "db/2026/01/ticks_2026-01-19.db"
            whole = path.read_bytes()
            path.unlink()
            if damage == "text":
                path.write_text("this is no database\n" * 1000)
            elif damage == "cut":
                path.write_bytes(whole[:5000])
            else:
                day = sqlite3.connect(path)
                day.execute("CREATE TABLE something(a)")
                day.commit()
                day.close()
            self.check_damaged(store, damage)

    def change_day(self, path, *statements):
        day = sqlite3.connect(path)
        for statement in statements:
            day.execute(statement)
        day.commit()
        day.close()

    def test_sql_reads_no_file_that_is_not_that_days(self):
        """An empty file, one of another day, one without the view: named, and the other days answer."""
        first = (self.store / "db/2026/01/ticks_2026-01-18.db").read_bytes()
        changes = {
            "empty": None,
            "no tables": ["PRAGMA application_id = 0x544b5331", "PRAGMA user_version = 1"],
            "no view": ["DROP VIEW ticks"],
            "no application_id": ["PRAGMA application_id = 0"],
            "another day": [],
            "no day": ["DELETE FROM meta WHERE key = 'day'"],
            "newer": ["PRAGMA user_version = 2"],
        }
        for damage, statements in changes.items():
            store = self.copy()
            path = store / "db/2026/01/ticks_2026-01-20.db"
            path.write_bytes(b"" if damage in ("empty", "no tables") else first)
            if statements is not None:
                if damage not in ("no tables", "another day"):
                    statements = ["UPDATE meta SET value = '2026-01-20' WHERE key = 'day'", *statements]
                self.change_day(path, *statements)
            done = run("sql", "--store", store, "SELECT COUNT(*) AS c FROM ticks")
            self.assertEqual((done.returncode, done.stdout), (1, f"c\n{len(self.rows)}\n"), damage + done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, damage)
            self.assertIn("ticks_2026-01-20.db", done.stderr, damage)
            done = run("sql", "--store", store, f"SELECT 1 FROM ticks WHERE timestamp_ns < {START + DAY} LIMIT 1")
            self.assertEqual((done.returncode, done.stderr), (0, ""), damage)
            if damage != "newer":
                done = run("range", "--store", store, "EURUSD")
                self.assert_rows(list(csv.DictReader(io.StringIO(done.stdout))), self.expected("EURUSD"))

    def test_a_day_of_a_newer_version_hides_no_other(self):
        store = self.copy()
        self.change_day(store / "db/2026/01/ticks_2026-01-19.db", "PRAGMA user_version = 99")
        for command in (["range", "EURUSD"], ["recent", "EURUSD", "-n", "100000"]):
            done = run(*command, "--store", store)
            self.assertEqual(done.returncode, 1, command)
            self.assertIn("ticks_2026-01-19.db has day file format 99", done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            got = list(csv.DictReader(io.StringIO(done.stdout)))
            kept = [row for row in self.expected("EURUSD") if not START + DAY <= row[0] < START + 2 * DAY]
            self.assertGreater(len(kept), 0)
            self.assert_rows(got, kept)
        for command in ("symbols", "stats"):
            done = run(command, "--store", store, "--format", "json")
            self.assertNotEqual(done.stdout, "", command)
            self.assertIn("format 99", done.stderr, command)

    def test_recent_names_every_damaged_day_on_its_way(self):
        store = pathlib.Path(tempfile.mkdtemp(dir=self.scratch.name)) / "store"
        fill(store, [(START + day * DAY, "EURUSD", day + 1, 20, 0, 0, "") for day in range(9)])
        days = [f"2026-01-{18 + day}" for day in range(9)]
        for damaged in (2, 7):
            for day in days[1 : 1 + damaged]:
                (store / f"db/2026/01/ticks_{day}.db").write_text("no database " * 1000)
            done = run("recent", "--store", store, "EURUSD", "-n", "9")
            self.assertEqual(done.returncode, 1)
            self.assertEqual(
                [row["bid"] for row in csv.DictReader(io.StringIO(done.stdout))],
                [str(day + 1) for day in range(9) if not 1 <= day <= damaged],
            )
            named = [day for day in days if f"ticks_{day}.db" in done.stderr]
            self.assertEqual(named, days[1 : 1 + damaged][-5:], done.stderr)
            self.assertEqual("and 2 more damaged days" in done.stderr, damaged == 7)
            self.assertEqual(len(done.stderr.splitlines()), min(damaged, 6))
        done = run("recent", "--store", store, "EURUSD", "-n", "1")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_files_that_are_not_in_place(self):
        store = self.copy()
        day = store / "db/2026/01/ticks_2026-01-19.db"
        (store / "db/2026/02").mkdir()
        strays = [
            "db/2026/02/ticks_2026-01-19.db",
            "db/notes.txt",
            "db/2026/13x",
            "db/2026/01/copy.db",
            "db/2026/01/ticks_2026-01-22.db-wal",
            "db/2026/01/ticks_2026-02-30.db",
            "json/EURUSD/2026-01.jsonl",
            "json/EURUSD/2026-01-19.json",
            "json/EUR USD",
            "json/stray.jsonl",
        ]
        (store / "json/EURUSD").mkdir(parents=True)
        for stray in strays:
            shutil.copy(day, store / stray)
        shutil.copy(day, store / "db/2026/01/ticks_2026-01-23.db.damaged-1")
        done, days = self.doctor(store)
        self.assertEqual((done.returncode, len(days)), (0, 3), done.stderr)
        notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
        self.assertEqual(len(notes), len(strays), done.stderr)
        for stray in strays:
            self.assertEqual(sum(f"{store}/{stray} " in note for note in notes), 1, stray)
        for number in range(5):
            shutil.copy(day, store / f"db/more{number}")
        self.assertIn("and 5 more that are not in place", self.doctor(store)[0].stderr)

    @unittest.skipUnless(os.geteuid() == 0, "needs root, to be another user")
    def test_as_a_user_who_may_only_read(self):
        """Neither the lock nor a directory to make a -shm in: no claim about a writer, and advice that helps."""
        store = self.copy()
        path = store / "db/2026/01/ticks_2026-01-19.db"
        log = sqlite3.connect(path)
        log.execute("PRAGMA journal_mode = WAL")
        log.execute("UPDATE symbol SET quotes = quotes + 1")
        log.commit()
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{self.scratch.name}/kept{suffix}")
        log.close()
        for suffix in ("", "-wal"):
            shutil.copy(f"{self.scratch.name}/kept{suffix}", f"{path}{suffix}")
        os.chmod(self.scratch.name, 0o755)
        os.chmod(store.parent, 0o755)
        os.chmod(store / "lock", 0o600)
        command = pathlib.Path(self.scratch.name) / "tickstore"
        shutil.copy(COMMAND, command)

        def as_nobody():
            return subprocess.run(
                [command, "doctor", "--store", store],
                capture_output=True,
                text=True,
                timeout=60,
                user=65534,
                group=65534,
                extra_groups=[],
            )

        try:
            done = as_nobody()
        except PermissionError:
            self.skipTest("another user does not get into the directory of the tests")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("whether a writer has the store open could not be found out", done.stderr)
        self.assertNotIn("no writer", done.stderr)
        self.assertIn("make the directory writable", done.stderr, done.stdout + str(list(path.parent.iterdir())))
        self.assertIn("folded in", done.stderr)
        for parent in (path.parent, path, pathlib.Path(f"{path}-wal")):
            os.chown(parent, 65534, 65534)
        done = as_nobody()
        self.assertNotIn("no writer", done.stderr)
        self.assertIn("a writer may be working on", done.stderr)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_journal_left_behind(self):
        """A segment of 8 slots, of which 3 hold something, and free ones."""
        store = self.copy()
        head = struct.pack("=8sIIQ32sQQQQQ", b"TKSJRNL1", 0x01020304, 64, 8, b"", 1, 0, 100, 100, 0).ljust(4096, b"\0")
        slots = (b"x" * 64) * 3 + bytes(64 * 5)
        (store / "journal/1-1.segment").write_bytes(head + slots)
        (store / "journal/1-2.segment").write_bytes(head.replace(struct.pack("=Q", 100) * 2, bytes(16)) + slots)
        (store / "journal/1-3.segment").write_bytes(b"")
        done, _ = self.doctor(store)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("/journal holds 3 accepted quotes", done.stderr)
        self.assertIn("the last writer closed the store while a sink could not take them", done.stderr)
        manifest = store / "store.json"
        manifest.write_text(manifest.read_text().replace('"clean": true', '"clean": false'))
        done, _ = self.doctor(store)
        self.assertIn("the last writer ended without closing", done.stderr)

    def test_a_day_whose_writer_died_in_the_midst(self):
        """A hot rollback journal: not damage, and to be left alone."""
        store = self.copy()
        path = store / "db/2026/01/ticks_2026-01-19.db"
        with sqlite3.connect(path, isolation_level=None) as writer:
            for sql in ("PRAGMA cache_size = 2", "BEGIN IMMEDIATE", "CREATE TABLE filler(x)"):
                writer.execute(sql)
            writer.executemany("INSERT INTO filler VALUES(randomblob(?))", [(1000,)] * 500)
            for suffix in ("", "-journal"):
                shutil.copy(f"{path}{suffix}", f"{self.scratch.name}/hot{suffix}")
            writer.execute("ROLLBACK")
        writer.close()
        for suffix in ("", "-journal"):
            shutil.copy(f"{self.scratch.name}/hot{suffix}", f"{path}{suffix}")
        done, days = self.doctor(store)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual([day["status"] for day in days], ["ok", "needs repair", "ok"])
        self.assertIn("that repairs it", done.stderr)
        self.assertNotIn("move the file", done.stderr)

    def check_damaged(self, store, damage):
        done, days = self.doctor(store)
        self.assertEqual(done.returncode, 1, damage)
        self.assertEqual([day["status"] for day in days], ["ok", "damaged", "ok"], damage)
        self.assertIn("to do:", done.stderr)
        self.assertIn("2026-01-19", done.stderr)

        sound = [row for row in self.expected("EURUSD") if not START + DAY <= row[0] < START + 2 * DAY]
        done = run("range", "--store", store, "EURUSD")
        self.assertEqual(done.returncode, 1, damage)
        self.assertIn("2026-01-19", done.stderr)
        self.assert_rows(list(csv.DictReader(io.StringIO(done.stdout))), sound)

        done = run("sql", "--store", store, "SELECT COUNT(*) AS c FROM ticks WHERE symbol = 'EURUSD'")
        self.assertEqual((done.returncode, done.stdout), (1, f"c\n{len(sound)}\n"), damage)
        self.assertIn("2026-01-19", done.stderr)
        done = run("sql", "--store", store, f"SELECT COUNT(*) AS c FROM ticks WHERE timestamp_ns >= {START + 2 * DAY}")
        self.assertEqual(done.returncode, 0, "a day that is not needed is not looked at")
        for subcommand in ("symbols", "stats"):
            self.assertEqual(run(subcommand, "--store", store).returncode, 1, damage)

    def test_a_store_that_is_none(self):
        empty = tempfile.mkdtemp(dir=self.scratch.name)
        for path in (empty, empty + "/nothing", COMMAND):
            done = run("doctor", "--store", path)
            self.assertEqual(done.returncode, 1)
            self.assertIn("to do:", done.stderr)
            for subcommand in [
                ("symbols",),
                ("stats",),
                ("range", "EURUSD"),
                ("recent", "EURUSD"),
                ("sql", "SELECT 1"),
            ]:
                done = run(subcommand[0], "--store", path, *subcommand[1:])
                self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1), subcommand)


class MannersTest(StoreTest):
    def test_help(self):
        for arguments in [(), ("--help",), ("-h",), ("help",), ("help", "--help"), ("help", "-h"), ("help", "help")]:
            done = run(*arguments)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for subcommand in SUBCOMMANDS:
                self.assertRegex(done.stdout, rf"(?m)^  {subcommand} ")
        for subcommand in SUBCOMMANDS:
            done = run(subcommand, "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertTrue(done.stdout.startswith(f"usage: tickstore {subcommand} "))
            self.assertLess(max(map(len, done.stdout.splitlines())), 121)
            self.assertEqual(run("help", subcommand).stdout, done.stdout)
        self.assertRegex(run("--version").stdout, r"^tickstore \d+\.\d+\.\d+\n$")

    def test_wrong_usage_is_one_line_and_exit_code_2(self):
        for arguments in [
            ("nothing",),
            ("--nothing",),
            ("help", "nothing"),
            ("range",),
            ("range", "A", "B"),
            ("recent",),
            ("range", "EURUSD", "--nothing"),
            ("range", "EURUSD", "--from"),
            ("range", "EURUSD", "-x"),
            ("range", "EURUSD", "--from", "yesterday"),
            ("range", "EURUSD", "--to", "2026-02-30"),
            ("range", "EURUSD", "--from", "5 s"),
            ("range", "EURUSD", "--from", "99999999999999s"),
            ("range", "EURUSD", "--from", "2026-01-02", "--to", "2026-01-01"),
            ("range", "EURUSD", "--limit", "0"),
            ("range", "EURUSD", "--limit", "-1"),
            ("range", "EURUSD", "--limit", "9223372036854775808"),
            ("range", "EURUSD", "--desc=1"),
            ("range", "EURUSD", "--format", "xml"),
            ("range", "EURUSD", "--format", "prometheus"),
            ("recent", "EURUSD", "-n", "0"),
            ("recent", "EURUSD", "-n", "4294967296"),
            ("sql",),
            ("sql", "SELECT 1", "SELECT 2"),
            ("stats", "x"),
            ("symbols", "x"),
            ("doctor", "x"),
            ("demo", "--seconds", "0"),
            ("demo", "--rate", "x"),
            ("demo", "--symbols", "0"),
            ("demo", "x"),
        ]:
            done = run(*arguments, env={"TICKSTORE_PATH": str(self.store)})
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertEqual(len(done.stderr.splitlines()), 1, arguments)

    def test_times_that_cannot_be_given(self):
        out = [
            "9999-01-01",
            "1677-09-21",
            "2262-04-12T00:00:00Z",
            "0000-02-29",
            "99999999999999s",
            "-9300000000000000us",
            "99999999999999999999",
        ]
        for text in [*out, "yesterday", "2026-02-30", "2026-02-29", "9999-02-29", "9999-13-01", "5 s", "5h", "", "-"]:
            done = run("range", "EURUSD", "--to=" + text, env={"TICKSTORE_PATH": str(self.store)})
            self.assertEqual((done.returncode, done.stdout, len(done.stderr.splitlines())), (2, "", 1), text)
            self.assertEqual("1677-09-22 to 2262-04-11" in done.stderr, text in out, text)
            self.assertEqual("not a time" in done.stderr, text not in out, text)

    def test_the_store_comes_from_the_option_or_the_environment(self):
        done = run("symbols")
        self.assertEqual(done.returncode, 2)
        self.assertIn("TICKSTORE_PATH", done.stderr)
        self.assertEqual(run("symbols", env={"TICKSTORE_PATH": str(self.store)}).returncode, 0)
        done = run("symbols", "--store", "/nonexistent", env={"TICKSTORE_PATH": str(self.store)})
        self.assertEqual(done.returncode, 1)

    def test_reading_changes_nothing(self):
        def state():
            return sorted(
                (str(path), path.stat().st_size, path.stat().st_mtime_ns)
                for path in self.store.rglob("*")
                if not path.name.endswith("-shm") and path.is_file()
            )

        before = state()
        for arguments in [
            ("symbols",),
            ("stats",),
            ("recent", "EURUSD"),
            ("range", "EURUSD"),
            ("doctor", "--full"),
            ("sql", "SELECT COUNT(*) FROM ticks"),
        ]:
            self.call(*arguments)
        self.assertEqual(state(), before)

    def test_a_locale_does_not_change_numbers(self):
        plain = self.call("range", "EURUSD")
        done = run("range", "--store", self.store, "EURUSD", env={"LC_ALL": "de_DE.UTF-8"})
        self.assertEqual(done.stdout, plain)


class DualTest(unittest.TestCase):
    def test_json_stores_read_alike(self):
        with tempfile.TemporaryDirectory(prefix="read-") as scratch:
            rows = make_rows()
            for backend in ("json", "dual"):
                fill(f"{scratch}/{backend}", rows, "--backend", backend)
                done = run("symbols", "--store", f"{scratch}/{backend}")
                self.assertEqual(done.returncode, 0, done.stderr)
                counts = {row["symbol"]: int(row["count"]) for row in csv.DictReader(io.StringIO(done.stdout))}
                self.assertEqual(sum(counts.values()), len(rows), backend)
                self.assertEqual(run("doctor", "--store", f"{scratch}/{backend}", "--full").returncode, 0, backend)
            ranges = [run("range", "--store", f"{scratch}/{backend}", "EURUSD").stdout for backend in ("json", "dual")]
            self.assertEqual(ranges[0], ranges[1])
            stats = json.loads(run("stats", "--store", f"{scratch}/dual", "--format", "json").stdout)
            self.assertEqual((stats["quotes"], stats["sqlite_quotes"]), (len(rows), len(rows)))
            self.assertGreater(stats["json_files"], 3)

    def test_doctor_compares_the_sinks(self):
        with tempfile.TemporaryDirectory(prefix="read-") as scratch:
            store = pathlib.Path(scratch) / "store"
            rows = make_rows()
            fill(store, rows, "--backend", "dual")
            file = store / "json/EURUSD/2026-01-19.jsonl"
            whole = file.read_bytes()
            days = [sum(START + day * DAY <= row[0] < START + (day + 1) * DAY for row in rows) for day in range(4)]

            file.write_bytes(whole[:-5])
            done = run("doctor", "--store", store, "--full")
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(f"2026-01-19: json holds {days[1] - 1} of sqlite's {days[1]}; to do: ", done.stderr)
            self.assertRegex(done.stderr, f"(?m)^note: the last line of {file} is cut off")
            self.assertEqual(run("doctor", "--store", store).returncode, 0, "the sinks are compared in full only")

            file.write_bytes(whole + whole.splitlines(True)[-1].replace(b'"seq":', b'"seq":9999'))
            done = run("doctor", "--store", store, "--full")
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(f"2026-01-19: sqlite holds {days[1]} of json's {days[1] + 1}; to do: ", done.stderr)
            self.assertNotIn("cut off", done.stderr)

            file.unlink()
            fill(store, [(START, "EURUSD", 3, 4, 0, 0, "")], "--backend", "sqlite")
            done = run("doctor", "--store", store, "--full")
            self.assertEqual(done.returncode, 0, "JSON of a store that is not dual any more may end anywhere")
            self.assertIn("note: 2026-01-19: json holds", done.stderr)

            fill(store, [(START, "EURUSD", 5, 6, 0, 0, "")], "--backend", "dual")
            done = run("doctor", "--store", store, "--full")
            self.assertEqual(done.returncode, 0, "nor need they be alike once it is dual again")
            self.assertIn("note: 2026-01-19: json holds", done.stderr)

    def test_sql_names_the_days_that_are_json_only(self):
        with tempfile.TemporaryDirectory(prefix="read-") as scratch:
            store = pathlib.Path(scratch) / "store"
            fill(store, make_rows(), "--backend", "dual")
            (store / "db/2026/01/ticks_2026-01-19.db").unlink()
            query = "SELECT COUNT(*) AS c FROM ticks"
            done = run("sql", "--store", store, query + " AS a JOIN (SELECT 1) AS b")
            self.assertEqual((done.returncode, done.stdout), (1, "c\n802\n"))
            self.assertEqual(done.stderr, "tickstore sql: 2026-01-19 is held as JSON only and is not in sql's answer\n")
            for other in ("SELECT 1", f"{query} WHERE timestamp_ns < {START + DAY}", "SELECT * FROM symbols"):
                self.assertEqual(run("sql", "--store", store, other).returncode, 0, other)
            done = run("sql", "--store", store, "SELECT day, path IS NULL, quotes, problem FROM days")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stdout.splitlines()[2], "2026-01-19,1,,held as JSON only")
            self.assertEqual(len(done.stdout.splitlines()), 4)

            rows = [(START + day * DAY, "EURUSD", 1, 2, 0, 0, "") for day in range(9)]
            fill(f"{scratch}/json", rows, "--backend", "json")
            done = run("sql", "--store", f"{scratch}/json", query)
            self.assertEqual((done.returncode, done.stdout), (1, "c\n0\n"))
            lines = done.stderr.splitlines()
            self.assertEqual(len(lines), 6)
            self.assertIn("2026-01-18 is held as JSON only", lines[0])
            self.assertIn("and 4 more days", lines[5])


class LiveTest(unittest.TestCase):
    """Beside a writer, and after it was killed."""

    def rows(self, store):
        done = run("sql", "--store", store, "SELECT COUNT(*) AS c FROM ticks")
        self.assertEqual(done.returncode, 0, done.stderr)
        return int(done.stdout.split()[1])

    def wait_for_rows(self, store, more_than):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if (store / "store.json").exists() and run("symbols", "--store", store).stdout.count("\n") > 1:
                rows = self.rows(store)
                if rows > more_than:
                    return rows
            time.sleep(0.05)
        self.fail("the writer writes nothing")

    def test_reading_beside_a_writer_and_after_its_death(self):
        with tempfile.TemporaryDirectory(prefix="live-") as scratch:
            store = pathlib.Path(scratch) / "store"
            writer = subprocess.Popen(
                [COMMAND, "demo", "--seconds", "120", "--rate", "5000", "--store", store],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                first = self.wait_for_rows(store, 0)
                second = self.wait_for_rows(store, first)
                done = run("doctor", "--store", store)
                self.assertIn("a writer has the store open", done.stderr)
                self.assertNotIn("/journal holds", done.stderr)
                for arguments in [("recent", "EURUSD"), ("range", "EURUSD", "--desc", "--limit", "3"), ("stats",)]:
                    done = run(arguments[0], "--store", store, *arguments[1:])
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                done = run("demo", "--store", store)
                self.assertEqual(done.returncode, 1, "a second writer")
            finally:
                writer.kill()
                writer.wait()
            done = run("doctor", "--store", store, "--full")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("no writer has the store open", done.stderr)
            self.assertRegex(done.stderr, "note: .* write-ahead log")
            self.assertRegex(done.stderr, "note: .*/journal holds [1-9][0-9,]* accepted quotes")
            self.assertNotIn("gap ledger", done.stderr)
            (store / "journal/9-1.segment").write_bytes(b"TKSJRNL1 and no more")
            left = self.rows(store)
            self.assertGreaterEqual(left, second)
            done = run("demo", "--seconds", "1", "--rate", "1000", "--store", store)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertGreater(self.rows(store), left)
            done = run("doctor", "--store", store, "--full")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotIn("/journal holds", done.stderr)
            self.assertIn("/journal has 1 file that could not be used", done.stderr)
            self.assertIn("1 loss is in the gap ledger", done.stderr)


class RealDataTest(unittest.TestCase):
    """Real ticks through lean import and back out as CSV: the same times and prices, every row, in order."""

    def check(self, folder, symbol, days, offset="+00:00"):
        files = [DATA / folder / f"{day}_quote.zip" for day in days]
        if not all(path.is_file() for path in files):
            self.skipTest(f"TICKSTORE_TEST_DATA has no {folder}")
        expected = []
        for path in files:
            with zipfile.ZipFile(path) as archive:
                text = archive.read(archive.namelist()[0]).decode()
            midnight = datetime.strptime(path.name[:8] + offset, "%Y%m%d%z").timestamp()
            for line in text.split():
                ms, bid, ask = line.split(",")
                expected.append((int(midnight) * SECOND + int(Decimal(ms) * 1_000_000), float(bid), float(ask)))
        expected = [(rfc3339(ns), bid, ask) for ns, bid, ask in sorted(expected, key=lambda row: row[0])]
        with tempfile.TemporaryDirectory(prefix="real-") as scratch:
            done = run(
                "import",
                "--store",
                f"{scratch}/s",
                "--format",
                "lean",
                "--symbol",
                symbol,
                "--utc-offset",
                offset,
                "--quiet",
                *files,
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            done = run("range", "--store", f"{scratch}/s", symbol)
            self.assertEqual(done.returncode, 0, done.stderr)
            got = [(row[0], float(row[2]), float(row[3])) for row in csv.reader(done.stdout.splitlines()[1:])]
            self.assertEqual(len(got), len(expected))
            self.assertTrue(got == expected)

    def test_oanda_eurusd(self):
        self.check("fx-oanda/eurusd", "EURUSD", ["20140501", "20140502", "20140504"])

    def test_fxcm_eurusd_with_its_offset(self):
        self.check("fx-fxcm/eurusd", "EURUSD", ["20140501", "20140502"], "-05:00")

    def test_gold_below_the_millisecond(self):
        self.check("gold-oanda/xauusd", "XAUUSD", ["20140501", "20140504"])


class DemoTest(unittest.TestCase):
    def test_counts_are_equal(self):
        with tempfile.TemporaryDirectory(prefix="demo-") as scratch:
            done = run(
                "demo",
                "--seconds",
                "2",
                "--rate",
                "20000",
                "--store",
                f"{scratch}/s",
                "--metrics",
                f"{scratch}/metrics",
            )
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            samples = check_prometheus(self, pathlib.Path(f"{scratch}/metrics").read_text())
            accepted = int(samples["tickstore_quotes_accepted_total"])
            self.assertGreater(accepted, 5000)
            self.assertGreater(samples["tickstore_quotes_throttled_total"], 1000)
            found = 0
            for path in pathlib.Path(f"{scratch}/s/db").rglob("ticks_*.db"):
                day = sqlite3.connect(path)
                found += day.execute("SELECT COUNT(*) FROM ticks").fetchone()[0]
                day.close()
            self.assertEqual(found, accepted)
            if shutil.which("sqlite3"):
                self.assertIn(
                    f"OK: {accepted:,} quotes were accepted, and sqlite3 counts {accepted:,} rows", done.stdout
                )
            else:
                self.assertIn("There is no sqlite3 shell", done.stdout)
            again = run("demo", "--seconds", "1", "--rate", "2000", "--store", f"{scratch}/s")
            self.assertEqual(again.returncode, 0, again.stdout + again.stderr)

    def test_without_the_shell_and_with_a_temporary_store(self):
        with tempfile.TemporaryDirectory(prefix="demo-") as scratch:
            done = run("demo", "--seconds", "1", "--rate", "1000", env={"PATH": scratch, "TMPDIR": scratch})
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("There is no sqlite3 shell", done.stdout)
            self.assertEqual(os.listdir(scratch), [])

    def test_metrics_that_cannot_be_written(self):
        with tempfile.TemporaryDirectory(prefix="demo-") as scratch:
            os.mkdir(f"{scratch}/taken")
            for metrics in (f"{scratch}/nothing/metrics", f"{scratch}/taken"):
                # An hour: a demo that went on would not end in time.
                done = run("demo", "--seconds", "3600", "--metrics", metrics, env={"TMPDIR": scratch})
                self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
                self.assertIn(f"cannot write the metrics to {metrics}: ", done.stderr)
                self.assertEqual(len(done.stderr.splitlines()), 1)
                self.assertEqual(os.listdir(scratch), ["taken"])

    def test_interrupted_it_still_closes_and_counts(self):
        with tempfile.TemporaryDirectory(prefix="demo-") as scratch:
            demo = subprocess.Popen(
                [COMMAND, "demo", "--seconds", "60", "--rate", "5000"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "TMPDIR": scratch},
            )
            line = demo.stdout.readline()
            while not line.strip().startswith("1.") and demo.poll() is None:
                line = demo.stdout.readline()
            time.sleep(0.3)
            demo.send_signal(signal.SIGINT)
            out, error = demo.communicate(timeout=60)
            self.assertEqual(demo.returncode, 0, out + error)
            self.assertIn("removed", out)
            self.assertEqual(os.listdir(scratch), [])


if __name__ == "__main__":
    unittest.main()
