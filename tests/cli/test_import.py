#!/usr/bin/env python3
"""tickstore import: every format, what it refuses, and that a file is stored once however often it is given.

What was stored is read with Python's sqlite3 and json from the store's files, not through the library.
"""

import glob
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import unittest
import zipfile
from datetime import datetime, timezone
from decimal import Decimal

COMMAND = os.environ.get("TICKSTORE_COMMAND", "")
DATA = pathlib.Path(os.environ.get("TICKSTORE_TEST_DATA", "/nonexistent"))
DAY_NS = 86_400_000_000_000


def setUpModule():
    if not COMMAND or not os.access(COMMAND, os.X_OK):
        raise unittest.SkipTest("TICKSTORE_COMMAND names no program")


def metadata():
    if not (DATA / "metadata.json").is_file():
        raise unittest.SkipTest("TICKSTORE_TEST_DATA has no metadata.json")
    return json.loads((DATA / "metadata.json").read_text())


def midnight_ns(day):
    return int(datetime.strptime(day, "%Y%m%d").replace(tzinfo=timezone.utc).timestamp()) * 1_000_000_000


def lean_rows(path):
    """(time in ns after midnight, bid, ask) of a Lean zip, by decimal arithmetic."""
    with zipfile.ZipFile(path) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    rows = []
    for line in text.split():
        ms, bid, ask = line.split(",")
        rows.append((int(Decimal(ms) * 1_000_000), float(bid), float(ask)))
    return rows


class ImportTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="import-")
        self.addCleanup(scratch.cleanup)
        self.dir = pathlib.Path(scratch.name)
        self.store = self.dir / "store"

    # ------------------------------------------------------------- helpers

    def run_command(self, *arguments, stdin=None, env=None):
        return subprocess.run(
            [COMMAND, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            timeout=900,
            env={**os.environ, "TICKSTORE_PATH": "", **(env or {})},
        )

    def load(self, *arguments, code=0, stdin=None, store=None, balanced=True):
        """Runs an import with a JSON report and returns the report."""
        done = self.run_command("import", "--store", store or self.store, "--report", "json", *arguments, stdin=stdin)
        self.assertEqual(done.returncode, code, done.stderr.decode(errors="replace"))
        report = json.loads(done.stdout)
        rows = report["rows"]
        unwritten = 0 if balanced else rows["unwritten"]
        self.assertEqual(rows["read"], rows["stored"] + rows["throttled"] + rows["refused"] + unwritten)
        self.stderr = done.stderr.decode(errors="replace")
        return report

    def write(self, name, text):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def append(self, path, text):
        with open(path, "ab") as file:
            file.write(text.encode())

    def sqlite_rows(self, columns="symbol, timestamp_ns, bid, ask, lp_source", order="id"):
        rows = []
        for path in sorted(glob.glob(f"{self.store}/db/**/*.db", recursive=True)):
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
                rows += db.execute(f"SELECT {columns}, id FROM ticks").fetchall()
        return [row[:-1] for row in (sorted(rows, key=lambda row: row[-1]) if order == "id" else rows)]

    def json_objects(self):
        objects = []
        for path in sorted(glob.glob(f"{self.store}/json/*/*.jsonl")):
            with open(path, encoding="utf-8") as file:
                objects += [json.loads(line) for line in file]
        return objects

    def assert_same(self, found, expected):
        """assertEqual of long lists spends minutes on describing the difference."""
        self.assertEqual(len(found), len(expected))
        for i, (a, b) in enumerate(zip(found, expected)):
            if a != b:
                self.fail(f"row {i}: {a}, expected {b}")

    def reasons(self, report):
        return [(entry.get("line", entry.get("record")), entry["reason"]) for entry in report["first_refusals"]]

    def assert_refused(self, report, expected):
        """expected: [(line, word in the reason)]"""
        found = self.reasons(report)
        self.assertEqual([number for number, _ in found], [number for number, _ in expected], found)
        for (_, reason), (number, word) in zip(found, expected):
            self.assertIn(word, reason, f"line {number}")


class Csv(ImportTest):
    def test_columns_in_any_order_and_case_quotes_bom_and_crlf(self):
        path = self.write(
            "a.csv",
            '\ufeffASK, Bid ,"Time",note,symbol,bid_size\r\n'
            '1.2,1.1,2024-01-02T03:04:05.123456789+05:30,"hello, ""x""\r\nline 2",EUR/USD,5\r\n'
            ',1.3,2024-01-02T03:04:06Z,,"A""B",\r\n'
            "\r\n"
            "1.2,NaN,2024-01-02T03:04:07Z,,AB,\r\n",
        )
        report = self.load("--format", "csv", "--source", "LP", path)
        self.assertEqual(report["rows"]["stored"], 3)
        self.assertIn('ignored columns: "note"', self.stderr)
        self.assertEqual(
            self.sqlite_rows("symbol, timestamp_ns, bid, ask, bid_size, lp_source"),
            [
                ("EUR/USD", 1704144845123456789, 1.1, 1.2, 5.0, "LP"),
                ('A"B', 1704164646000000000, 1.3, None, 0.0, "LP"),
                ("AB", 1704164647000000000, None, 1.2, 0.0, "LP"),
            ],
        )

    def test_every_time_column(self):
        for column, value in [
            ("timestamp_ns", "1700000000123456789"),
            ("timestamp_us", "1700000000123456.789"),
            ("timestamp_ms", "1700000000123.456789"),
            ("time", "2023-11-14T22:13:20.123456789Z"),
            ("TIMESTAMP", "1700000000123.456789"),
            ("timestamp", "2023-11-14T22:13:20.123456789Z"),
        ]:
            with self.subTest(column=column, value=value):
                shutil.rmtree(self.store, ignore_errors=True)
                self.load("--format", "csv", "--symbol", "X", self.write("t.csv", f"bid,ask,{column}\n1,2,{value}\n"))
                self.assertEqual(self.sqlite_rows("timestamp_ns"), [(1700000000123456789,)])

    def test_what_is_refused_is_named_with_its_line_and_the_rest_is_stored(self):
        path = self.write(
            "bad.csv",
            "timestamp_ms,bid,ask,symbol,bid_size\n"
            "1700000000000,1,2,A,\n"  # 2
            "1700000000000,1e400,2,A,\n"  # 3
            "1700000000000,NaN,,A,\n"  # 4
            "1,2\n"  # 5
            "1700000000000,1,inf,A,\n"  # 6
            "x,1,2,A,\n"  # 7
            "5,1,2,A,\n"  # 8
            "1700000000000,1,2,../A,\n"  # 9
            "1700000000000,1,2,A,-1\n"  # 10
            "1700000000000,1,2,,\n"  # 11
            '1700000000000,1,2,"A,\n'  # 12
            '1700000000000,1,2,"A"b,\n'  # 13
            "1700000000000,3,4,B,7\n",
        )  # 14
        report = self.load("--format", "csv", path, code=1)
        self.assertEqual(report["rows"], {"read": 13, "stored": 2, "throttled": 0, "refused": 11, "unwritten": 0})
        self.assert_refused(
            report,
            [
                (3, "1e400"),
                (4, "neither bid nor ask"),
                (5, "2 fields where the header has 5"),
                (6, '"inf"'),
                (7, '"x"'),
                (8, "outside the accepted window"),
                (9, "../A"),
                (10, "size"),
                (11, "no symbol"),
                (12, "quote"),
            ],
        )
        self.assertEqual(self.sqlite_rows("symbol, bid"), [("A", 1.0), ("B", 3.0)])

    def test_a_stray_quote_costs_its_own_line_alone(self):
        lines = [f"{1700000000000 + i},1,2,A" for i in range(1000)]
        lines[10] = '1700000000010,1,2,"A'
        lines[600] = '1700000000600,1,2,"A"x'
        report = self.load(
            "--format", "csv", self.write("q.csv", "timestamp_ms,bid,ask,symbol\n" + "\n".join(lines)), code=1
        )
        self.assertEqual((report["rows"]["stored"], report["rows"]["refused"]), (998, 2))

    def test_lines_of_megabytes_are_refused_not_fatal(self):
        good = "1700000000000,1,2,A\n"
        path = self.write(
            "long.csv",
            "timestamp_ms,bid,ask,symbol\n"
            + good
            + "x" * 3_000_000
            + "\n"
            + good
            + '1,"'
            + "y" * 3_000_000
            + "\n"
            + good,
        )
        report = self.load("--format", "csv", path, code=1)
        self.assertEqual((report["rows"]["stored"], report["rows"]["refused"]), (3, 2))
        self.assert_refused(report, [(3, "longer"), (5, "longer")])

    def test_headers_that_will_not_do(self):
        for header, word in [
            ("", "empty"),
            ("bid,ask\n", "timestamp_ns"),
            ("time,bid\n", "no column ask"),
            ("time,ask\n", "no column bid"),
            ("time,bid,bid,ask\n", "second column"),
            ("time,bid,ask\n", "--symbol"),
            ("\0\xff\n", "timestamp_ns"),
        ]:
            with self.subTest(header=header):
                report = self.load("--format", "csv", self.write("h.csv", header), code=1)
                self.assertEqual(report["files"]["failed"], 1)
                self.assertIn(word, self.stderr)

    def test_a_last_line_without_end(self):
        whole = self.write("whole.csv", "timestamp_ms,bid,ask\n1700000000000,1,2\n1700000000001,1,2")
        self.assertEqual(self.load("--format", "csv", "--symbol", "X", whole)["rows"]["stored"], 2)
        cut = self.write("cut.csv", "timestamp_ms,bid,ask\n1700000000002,1,2\n1700000000003,1")
        report = self.load("--format", "csv", "--symbol", "X", cut, code=1)
        self.assertEqual(report["rows"]["stored"], 1)
        self.assert_refused(report, [(3, "cut off")])
        self.append(cut, ",2\n1700000000004,1,2\n")
        self.assertEqual(self.load("--format", "csv", "--symbol", "X", cut)["rows"]["stored"], 2)
        self.append(whole, ".5\n1700000000005,1,2\n")  # what was taken as 2 goes on as 2.5
        report = self.load("--format", "csv", "--symbol", "X", whole, code=1)
        self.assertEqual(report["rows"]["stored"], 1)
        self.assert_refused(report, [(3, "before it was complete")])

    def test_a_last_line_without_end_is_said_and_refused_if_strict(self):
        text = "timestamp_ms,bid,ask\n1700000000000,1,2\n1700000000001,1,1.3"
        options = ("--format", "csv", "--symbol", "X")
        path = self.write("a.csv", text)
        report = self.load(*options, "--strict", path, code=1)
        self.assert_refused(report, [(3, "no line end")])
        self.assertEqual(report["rows"]["stored"], 1)
        report = self.load(*options, path)
        self.assertEqual((report["rows"]["stored"], report["files"]["without_final_line_end"]), (1, 1))
        self.assertIn("a.csv: last line has no line end; taken as it stands", self.stderr)
        report = self.load(*options, self.write("b.csv", text[:-1]), code=1)
        self.assert_refused(report, [(3, "ends in a point")])
        zipped = self.dir / "20140501_quote.zip"
        with zipfile.ZipFile(zipped, "w") as archive:
            archive.writestr("20140501_quote.csv", "1,1,2\n2,1,2")
        report = self.load("--format", "lean", "--symbol", "L", "--strict", zipped)
        self.assertEqual((report["rows"]["stored"], report["files"]["without_final_line_end"]), (2, 0))

    def test_a_damaged_day_file_is_said_and_ends_in_1(self):
        options = ("--format", "csv", "--symbol", "X")
        self.load(*options, self.write("a.csv", "timestamp_ms,bid,ask\n1700000000000,1,2\n"))
        (day,) = glob.glob(f"{self.store}/db/**/*.db", recursive=True)
        pathlib.Path(day).write_bytes(b"no day file" * 1000)
        self.load(*options, self.write("b.csv", "timestamp_ms,bid,ask\n1700000000001,1,2\n"), code=1)
        self.assertIn("set aside as", self.stderr)

    def test_standard_input_has_no_identity(self):
        text = b"timestamp_ms,bid,ask\n1700000000000,1,2\n"
        for _ in range(2):
            self.assertEqual(self.load("--format", "csv", "--symbol", "X", "-", stdin=text)["rows"]["stored"], 1)
        self.assertEqual(len(self.sqlite_rows()), 2)

    def test_history_is_not_throttled_unless_asked(self):
        text = "timestamp_ms,bid,ask\n" + "".join(f"{1700000000000 + i},1,2\n" for i in range(100))
        report = self.load("--format", "csv", "--symbol", "X", self.write("a.csv", text))
        self.assertEqual(report["rows"]["stored"], 100)
        report = self.load("--format", "csv", "--symbol", "Y", "--throttle", "0", self.dir / "a.csv")
        self.assertEqual((report["rows"]["stored"], report["rows"]["throttled"]), (1, 99))

    def test_what_range_writes_comes_back_in(self):
        rows = [(1700000000000000001 + 7 * i, 1 / (i + 3), 1 / (i + 2.5)) for i in range(500)]
        text = "timestamp_ns,bid,ask,bid_size,source\n" + "".join(
            f"{t},{bid!r},{ask!r},{i},LP{i % 3}\n" for i, (t, bid, ask) in enumerate(rows)
        )
        self.load("--format", "csv", "--symbol", "EUR/USD", self.write("in.csv", text))
        out = self.run_command("range", "--store", self.store, "EUR/USD", "--format", "csv")
        self.assertEqual(out.returncode, 0, out.stderr)
        before = self.sqlite_rows("symbol, timestamp_ns, bid, ask, bid_size, ask_size, lp_source")
        self.assertEqual(len(before), 500)
        self.store = self.dir / "second"
        self.load("--format", "csv", self.write("out.csv", out.stdout))
        self.assertEqual(self.sqlite_rows("symbol, timestamp_ns, bid, ask, bid_size, ask_size, lp_source"), before)


class Lean(ImportTest):
    def lean(self, name, text, inner=None):
        path = self.dir / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(inner or name.replace(".zip", ".csv"), text)
        return path

    def test_exact_times_and_the_zone(self):
        path = self.lean("20140501_quote.zip", "0,1.1,1.2\r\n62.2662,1.3,1.2\r\n86399999.999999,1,2\r\n")
        self.load("--format", "lean", "--symbol", "X", path)
        start = midnight_ns("20140501")
        self.assertEqual(
            self.sqlite_rows("timestamp_ns, bid"), [(start, 1.1), (start + 62266200, 1.3), (start + DAY_NS - 1, 1.0)]
        )
        report = self.load("--format", "lean", "--symbol", "X", "--utc-offset", "-05:00", path)
        self.assertEqual(report["rows"]["stored"], 3)
        self.assertEqual(self.sqlite_rows("timestamp_ns")[3], (start + 5 * 3600 * 10**9,))

    def test_an_unpacked_csv_and_a_renamed_zip(self):
        self.load("--format", "lean", "--symbol", "X", self.write("20140501_quote.csv", "1,1,2\n"))
        renamed = self.lean("copy.zip", "1,1,2\n", inner="20140501_eurusd_tick_quote.csv")
        self.assertEqual(self.load("--format", "lean", "--symbol", "X", renamed)["files"]["already_imported"], 1)

    def test_what_is_no_quote_is_refused(self):
        path = self.lean("20140501_quote.zip", "1,1,2\n86400000,1,2\n-1,1,2\n1e3,1,2\n5,1,2,3\n6,x,2\n7,1,2\n")
        report = self.load("--format", "lean", "--symbol", "X", path, code=1)
        self.assert_refused(report, [(2, "86400000"), (3, "-1"), (4, "1e3"), (5, "4 fields"), (6, '"x"')])
        self.assertEqual(report["rows"]["stored"], 2)

    def test_files_that_will_not_do(self):
        several = self.dir / "20140501_two.zip"
        with zipfile.ZipFile(several, "w") as archive:
            archive.writestr("a.txt", "1")
            archive.writestr("b.txt", "1")
        for path, word in [
            (self.lean("quote.zip", "1,1,2\n"), "YYYYMMDD"),
            (several, "several files"),
            (self.lean("20140502_quote.zip", "1,1,2\n", inner="20140501_quote.csv"), "not that of"),
            (self.lean("20141301_quote.zip", "1,1,2\n"), "YYYYMMDD"),
            (self.write("20140501_quote.zip", b"PK\3\4 and nothing else"), "zip"),
        ]:
            with self.subTest(path=path.name):
                report = self.load("--format", "lean", "--symbol", "X", path, code=1)
                self.assertEqual((report["files"]["failed"], report["rows"]["read"]), (1, 0))
                self.assertIn(word, self.stderr)

    def import_real(self, folder, symbol, *options):
        paths = sorted((DATA / folder).glob("*.zip"))
        expected = [
            entry
            for entry in metadata()
            if entry.get("files") and entry["files"][0].get("file", "").startswith(folder + "/")
        ][0]
        report = self.load("--format", "lean", "--symbol", symbol, *options, DATA / folder)
        self.assertEqual(report["rows"]["stored"], expected["rows"])
        self.assertEqual(report["rows"]["refused"], 0)
        offset = 5 * 3600 * 10**9 if options else 0
        rows = []
        for path in paths:
            start = midnight_ns(path.name[:8]) + offset
            rows += [(start + ns, bid, ask) for ns, bid, ask in lean_rows(path)]
        self.assert_same(self.sqlite_rows("timestamp_ns, bid, ask"), rows)
        again = self.load("--format", "lean", "--symbol", symbol, *options, *paths)
        self.assertEqual((again["rows"]["read"], again["files"]["already_imported"]), (0, len(paths)))

    def test_oanda_eurusd(self):
        metadata()
        self.import_real("fx-oanda/eurusd", "EURUSD")

    def test_oanda_nzdusd(self):
        metadata()
        self.import_real("fx-oanda/nzdusd", "NZDUSD")

    def test_fxcm_crossed_quotes(self):
        metadata()
        self.import_real("fx-fxcm/eurusd", "EURUSD", "--utc-offset", "-05:00")
        crossed = sum(flags & 1 for (flags,) in self.sqlite_rows("flags"))
        self.assertEqual(crossed, 16052)

    def test_gold_below_the_millisecond(self):
        metadata()
        self.import_real("gold-oanda/xauusd", "XAUUSD")


class LegacyJson(ImportTest):
    def record(self, i, **changes):
        fields = {
            "broker_id": "default",
            "symbol": "EURUSD",
            "bid": 1 + i / 100,
            "ask": 1.5 + i / 100,
            "spread": 0.5,
            "timestamp": f"2026-01-19T17:21:{i:02}.8972685+05:30",
            "lp": "L",
        }
        fields.update(changes)
        return json.dumps({key: value for key, value in fields.items() if value != "absent"}, separators=(",", ":"))

    def bids(self):
        return [bid for (bid,) in self.sqlite_rows("bid")]

    def test_a_tree_with_offsets_and_seven_digits(self):
        tree = self.dir / "tree"
        self.write("tree/EURUSD/2026-01-19.json", "[" + self.record(1) + "," + self.record(2, symbol="absent") + "]")
        self.write(
            "tree/GBPUSD/2026-01-19.json",
            "\ufeff[\r\n"
            + self.record(3, symbol="absent", lp="", bid=None)
            + ",\r\n"
            + self.record(4, symbol="GBPUSD", bid=2, timestamp="2026-01-19T11:51:54Z")
            + "\r\n]\r\n",
        )
        self.write("tree/notes.txt", "nothing")
        report = self.load("--format", "legacy-json", tree)
        self.assertEqual((report["files"]["given"], report["rows"]["stored"]), (2, 4))
        start = 1768823460897268500  # 2026-01-19T11:51:00.8972685Z
        self.assertEqual(
            self.sqlite_rows(),
            [
                ("EURUSD", start + 1 * 10**9, 1.01, 1.51, "L"),
                ("EURUSD", start + 2 * 10**9, 1.02, 1.52, "L"),
                ("GBPUSD", start + 3 * 10**9, None, 1.53, None),
                ("GBPUSD", 1768823514000000000, 2.0, 1.54, "L"),
            ],
        )

    def test_a_file_cut_off_anywhere_gives_its_whole_records(self):
        records = [self.record(i) for i in range(5)]
        whole = "[" + ",".join(records) + "]"
        ends = [whole.index(record) + len(record) for record in records]
        for cut in list(range(1, len(whole), 37)) + ends + [len(whole) - 1]:
            with self.subTest(cut=cut):
                shutil.rmtree(self.store, ignore_errors=True)
                report = self.load("--format", "legacy-json", self.write("EURUSD/a.json", whole[:cut]), code=1)
                self.assertEqual(report["rows"]["stored"], sum(end <= cut for end in ends))
                self.assertEqual(report["files"]["truncated"], 1)

    def test_a_file_that_was_cut_off_goes_on_where_it_ended(self):
        records = [self.record(i) for i in range(5)]
        path = self.write("EURUSD/a.json", ("[" + ",".join(records))[:-10])
        self.assertEqual(self.load("--format", "legacy-json", path, code=1)["rows"]["stored"], 4)
        again = self.load("--format", "legacy-json", path, code=1)
        self.assertEqual((again["rows"]["read"], again["files"]["truncated"]), (0, 1))
        whole = self.write("EURUSD/a.json", "[" + ",".join(records) + "]")
        report = self.load("--format", "legacy-json", whole)
        self.assertEqual((report["rows"]["stored"], report["files"]["continued"]), (1, 1))
        self.assertEqual(self.bids(), [1.0, 1.01, 1.02, 1.03, 1.04])

    def test_a_broken_record_costs_itself_alone(self):
        for name, broken in [
            ("no value", self.record(3).replace("1.03", "")),
            ("no closing brace", self.record(3)[:-1]),
            ("no closing quote", self.record(3).replace('"EURUSD"', '"EURUSD')),
            ("an overflow", self.record(3).replace("1.03", "1e400")),
            ("not an object", '7,"x",[null]'),
            ("text for a number", self.record(3, bid="1.2")),
            ("no time", self.record(3, timestamp="absent")),
            ("a time that is none", self.record(3, timestamp="2026-02-30T00:00:00Z")),
            ("a number for a time", self.record(3, timestamp=5)),
            ("a long name", self.record(3, symbol="X" * 65)),
            ("a path", self.record(3, symbol="../../etc/x")),
            ("a NUL", self.record(3, symbol="A\0B")),
            ("no sides", self.record(3, bid=None, ask="absent")),
            ("a record of 300 KB", '{"x":"' + "z" * 300_000 + '","bid":1}'),
        ]:
            with self.subTest(name):
                shutil.rmtree(self.store, ignore_errors=True)
                records = [self.record(i) for i in range(3)] + [broken] + [self.record(i) for i in range(4, 10)]
                path = self.write("EURUSD/a.json", "[" + ",".join(records) + "]")
                report = self.load("--format", "legacy-json", path, code=1)
                self.assertEqual((report["rows"]["stored"], report["rows"]["refused"]), (9, 1), report)
                self.assertEqual(self.reasons(report)[0][0], 4)

    def test_integers_as_prices(self):
        path = self.write("X/a.json", "[" + self.record(1, bid=2, ask=10**30) + "]")
        self.load("--format", "legacy-json", path)
        self.assertEqual(self.sqlite_rows("bid, ask"), [(2.0, 1e30)])

    def test_files_that_will_not_do(self):
        for text, word in [
            ("", "empty"),
            (" ", "empty"),
            ('{"a":1}', "--format jsonl"),
            ("hello", "does not start with"),
        ]:
            with self.subTest(text=text):
                self.load("--format", "legacy-json", self.write("X/a.json", text), code=1)
                self.assertIn(word, self.stderr)

    def test_the_real_tree_in_both_sinks(self):
        expected = [entry for entry in metadata() if "rows_per_symbol" in entry][0]
        archive = DATA / "rtx-json" / "ticks-2026-01-19.tar.zst"
        if not archive.is_file() or not shutil.which("zstd"):
            self.skipTest("no archive, or no zstd to unpack it")
        tree = self.dir / "tree"
        tree.mkdir()
        subprocess.run(f"zstd -dc '{archive}' | tar -x -C '{tree}'", shell=True, check=True)
        report = self.load("--backend", "dual", "--format", "legacy-json", tree)
        self.assertEqual(report["rows"]["stored"], expected["rows"])
        self.assertEqual(report["rows"]["refused"], 0)
        source = []
        for path in sorted(tree.glob("*/*.json")):
            source += json.loads(path.read_text())
        values = sorted((entry["symbol"], entry["bid"], entry["ask"], entry["lp"]) for entry in source)
        self.assert_same(sorted(self.sqlite_rows("symbol, bid, ask, lp_source")), values)
        self.assert_same(
            sorted((entry["symbol"], entry["bid"], entry["ask"], entry["lp"]) for entry in self.json_objects()), values
        )
        counts = {}
        for (symbol,) in self.sqlite_rows("symbol"):
            counts[symbol] = counts.get(symbol, 0) + 1
        self.assertEqual(counts, expected["rows_per_symbol"])
        again = self.load("--backend", "dual", "--format", "legacy-json", tree)
        self.assertEqual((again["rows"]["read"], again["files"]["already_imported"]), (0, 9))


class JsonLines(ImportTest):
    def test_round_trip_of_everything_a_line_holds(self):
        lines = [
            {
                "broker_id": "b",
                "symbol": "EUR/USD",
                "bid": 1.1,
                "ask": None,
                "spread": None,
                "timestamp": "2024-01-02T03:04:05.123456789Z",
                "lp": "",
                "seq": 9,
                "bid_size": 5.5,
            },
            {
                "broker_id": "b",
                "symbol": 'ä"\\',
                "bid": -37.63,
                "ask": 1e-300,
                "spread": 37.63,
                "timestamp": "2024-01-02T03:04:05.123456789Z",
                "lp": "LP 1",
                "seq": 10,
                "ask_size": 3.25,
                "recv_ns": 1704164645999999999,
                "flags": 0xABCD0000,
            },
        ]
        path = self.write("in.jsonl", "\n".join(json.dumps(line) for line in lines) + "\n")
        self.load("--backend", "json", "--broker-id", "b", "--format", "jsonl", path)
        first = self.json_objects()
        self.store, source = self.dir / "second", self.store
        self.load("--backend", "json", "--broker-id", "b", "--format", "jsonl", source / "json")
        second = self.json_objects()
        wanted = {line["symbol"]: line for line in lines}
        for objects in first, second:
            self.assertEqual(len(objects), 2)
            for found in objects:
                line = wanted[found["symbol"]]
                for key in line.keys() - {"seq", "spread", "flags"}:
                    self.assertEqual(found[key], line[key], key)
                self.assertEqual(found.get("flags", 0) & 0xFFFF0000, line.get("flags", 0))

    def test_a_line_cut_off_and_grown(self):
        line = '{"symbol":"A","bid":1,"ask":2,"timestamp":"2024-01-02T03:04:05Z","lp":"L"}'
        path = self.write("a.jsonl", line + "\nnot json\n" + line[:30])
        report = self.load("--format", "jsonl", path, code=1)
        self.assertEqual((report["rows"]["stored"], report["rows"]["refused"]), (1, 2))
        self.append(path, line[30:])
        self.assertEqual(self.load("--format", "jsonl", path)["rows"]["stored"], 1)
        self.append(path, "\n" + line + "\n")
        self.assertEqual(self.load("--format", "jsonl", path)["rows"]["stored"], 1)
        self.assertEqual(len(self.sqlite_rows()), 3)

    def test_the_store_is_not_imported_into_itself(self):
        line = '{"symbol":"A","bid":1,"ask":2,"timestamp":"2024-01-02T03:04:05Z","lp":"L"}\n'
        self.load("--backend", "json", "--format", "jsonl", self.write("a.jsonl", line))
        done = self.run_command("import", "--store", self.store, "--format", "jsonl", self.store / "json")
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"inside the store", done.stderr)
        report = self.load("--format", "jsonl", self.dir)
        self.assertEqual((report["files"]["given"], report["files"]["already_imported"]), (1, 1))


class Once(ImportTest):
    def text(self, rows, start=0):
        return "".join(f"{1700000000000 + i},1,2\n" for i in range(start, start + rows))

    def csv(self, *paths, code=0, options=()):
        return self.load("--format", "csv", "--symbol", "X", *options, *paths, code=code)

    def count(self):
        return len(self.sqlite_rows("bid"))

    def test_twice_in_one_run_in_two_runs_copied_and_renamed(self):
        path = self.write("a.csv", "timestamp_ms,bid,ask\n" + self.text(1000))
        report = self.csv(path, path)
        self.assertEqual((report["rows"]["stored"], report["files"]["already_imported"]), (1000, 1))
        shutil.copy(path, self.dir / "copy.csv")
        path.rename(self.dir / "renamed.csv")
        report = self.csv(self.dir / "copy.csv", self.dir / "renamed.csv")
        self.assertEqual((report["rows"]["read"], report["files"]["already_imported"]), (0, 2))
        self.assertEqual(report["files"]["already_imported_rows"], 2000)
        self.assertEqual(self.count(), 1000)

    def test_identical_rows_are_all_stored(self):
        path = self.write("a.csv", "timestamp_ms,bid,ask\n" + "1700000000000,1,2\n" * 50)
        self.csv(path)
        self.append(path, "1700000000000,1,2\n" * 50)
        self.csv(path)
        self.assertEqual(self.count(), 100)

    def test_another_meaning_is_another_file(self):
        path = self.write("a.csv", "timestamp_ms,bid,ask\n" + self.text(10))
        for options in [("--symbol", "X"), ("--symbol", "Y"), ("--symbol", "X", "--source", "S")]:
            self.assertEqual(self.load("--format", "csv", *options, path)["rows"]["stored"], 10)
        self.assertEqual(self.load("--format", "csv", "--symbol", "Y", path)["rows"]["stored"], 0)

    def test_growing_in_steps_of_all_sizes(self):
        path = self.write("a.csv", "timestamp_ms,bid,ask\n")
        total = 0
        for step in [1, 1, 3, 50, 1000, 5000, 1, 20000, 1]:  # the head's length changes on the way
            self.append(path, self.text(step, total))
            self.assertEqual(self.csv(path)["rows"]["stored"], step)
            total += step
        self.assert_same(
            [t for (t,) in self.sqlite_rows("timestamp")], list(range(1700000000000, 1700000000000 + total))
        )

    def test_the_shorter_and_the_longer_one_are_both_known(self):
        header = "timestamp_ms,bid,ask\n"
        short, long = self.write("s.csv", header + self.text(10)), self.write("l.csv", header + self.text(30))
        other = self.write("o.csv", header + self.text(10) + self.text(20, 500))
        self.assertEqual(
            [self.csv(path)["rows"]["stored"] for path in (short, long, other, short, long, other)],
            [10, 20, 20, 0, 0, 0],
        )

    def test_a_changed_file_is_another_file(self):
        header = "timestamp_ms,bid,ask\n"
        path = self.write("a.csv", header + self.text(9000))
        self.csv(path)
        changed = self.text(9000).replace("1700000008999,1,2", "1700000008999,1,3")
        self.write("a.csv", header + changed)
        self.assertEqual(self.csv(path)["rows"]["stored"], 9000)

    def test_a_legacy_file_without_symbols_belongs_to_its_directory(self):
        text = '[{"bid":1,"ask":2,"timestamp":"2024-01-02T03:04:05Z"}]'
        named = '[{"symbol":"S","bid":1,"ask":2,"timestamp":"2024-01-02T03:04:05Z"}]'
        for name in "A", "B":
            self.write(f"{name}/x.json", text)
            self.write(f"{name}/y.json", named)
        stored = [
            self.load("--format", "legacy-json", self.dir / path)["rows"]["stored"]
            for path in ("A/x.json", "B/x.json", "A/y.json", "B/y.json", "A/x.json", "B/x.json")
        ]
        self.assertEqual(stored, [1, 1, 1, 0, 0, 0])
        self.assertEqual([symbol for (symbol,) in self.sqlite_rows("symbol")], ["A", "B", "S"])

    def test_strict_stops_before_the_bad_row_and_goes_on_after_it_is_mended(self):
        header = "timestamp_ms,bid,ask\n"
        path = self.write("a.csv", header + self.text(10) + "5,1,2\n" + self.text(10, 20))
        report = self.csv(path, options=["--strict"], code=1)
        self.assertEqual((report["outcome"], report["rows"]["stored"]), ("stopped", 10))
        self.assert_refused(report, [(12, "outside the accepted window")])
        self.write("a.csv", header + self.text(10) + "1700000000015,1,2\n" + self.text(10, 20))
        report = self.csv(path, options=["--strict"])
        self.assertEqual((report["rows"]["stored"], report["files"]["continued"]), (11, 1))

    def big(self, rows):
        return self.write("big.csv", "timestamp_ms,bid,ask\n" + self.text(rows))

    def interrupt(self, path, number, checkpointed):
        """Starts an import and signals it as soon as the ledger has an entry; its exit code."""
        process = subprocess.Popen(
            [COMMAND, "import", "--store", str(self.store), "--format", "csv", "--symbol", "X", str(path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if checkpointed():
                process.send_signal(number)
                break
            time.sleep(0.002)
        return process.wait(timeout=120)

    def ledger_rows(self):
        try:
            with sqlite3.connect(f"file:{self.store}/imports.db?mode=ro", uri=True) as db:
                return db.execute("SELECT coalesce(sum(rows_stored), 0) FROM imports").fetchone()[0]
        except sqlite3.Error:
            return 0

    def test_ctrl_c_stores_what_was_read_and_the_next_run_the_rest(self):
        rows = 1_500_000
        path = self.big(rows)
        code = self.interrupt(path, signal.SIGINT, lambda: self.ledger_rows() > 0)
        if code == 0:
            self.skipTest("this machine was too fast to be interrupted")
        self.assertEqual(code, 130)
        stored = self.count()
        self.assertLess(stored, rows)
        self.assertEqual(self.ledger_rows(), stored)
        report = self.csv(path)
        self.assertEqual((report["rows"]["stored"], report["files"]["continued"]), (rows - stored, 1))
        self.assertEqual(self.count(), rows)

    def spread(self, rows):
        """Rows over three days and two symbols, in no order of time, many with equal times."""
        base = 1700000000000
        return self.write(
            "spread.csv",
            "timestamp_ms,bid,ask,symbol\n"
            + "".join(f"{base + (i % 3) * 86400000 + i // 30},{i},{i + 1},{'AB'[i % 7 == 0]}\n" for i in range(rows)),
        )

    def start(self, path, *options, env=None):
        return subprocess.Popen(
            [COMMAND, "import", "--store", str(self.store), "--format", "csv", *options, str(path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill_and_finish(self, path, rows, moments, backend, number=signal.SIGKILL):
        """Kills one import after the other, then lets one end: every row is there once."""
        killed = 0
        for moment in moments:
            process = self.start(path, "--backend", backend)
            time.sleep(moment)
            process.send_signal(number)
            killed += process.wait(timeout=120) != 0
        done = self.run_command(
            "import", "--store", self.store, "--format", "csv", "--backend", backend, "--report", "json", path
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(report["files"]["doubtful_rows"], 0, done.stderr)
        wanted = [float(i) for i in range(rows)]
        if backend != "json":
            self.assert_same(sorted(bid for (bid,) in self.sqlite_rows("bid", order="")), wanted)
        if backend == "json" or (backend == "dual" and b"only one of" not in done.stderr):
            self.assert_same(sorted(entry["bid"] for entry in self.json_objects()), wanted)
        again = self.load("--format", "csv", "--backend", backend, path)
        self.assertEqual((again["rows"]["read"], again["files"]["recovered_rows"]), (0, 0))
        return killed, report

    def test_killed_at_any_moment_every_row_is_stored_once(self):
        rows = 600_000
        path = self.spread(rows)
        picks = random.Random(os.environ.get("TICKSTORE_TEST_SEED"))
        killed = 0
        latest = 0.9
        for done in range(20):
            if done >= 3 and killed > 0:
                break
            shutil.rmtree(self.store, ignore_errors=True)
            moments = [picks.uniform(0, latest) for _ in range(3)]
            before = killed
            with self.subTest(moments=moments):
                killed += self.kill_and_finish(path, rows, moments, "sqlite")[0]
            if killed == before:
                latest /= 2  # this machine is done earlier
        self.assertGreater(killed, 0)

    def killed_with(self, backend, rounds):
        rows = 60_000
        path = self.spread(rows)
        picks = random.Random(os.environ.get("TICKSTORE_TEST_SEED"))
        for _ in range(rounds):
            shutil.rmtree(self.store, ignore_errors=True)
            moments = [picks.uniform(0.01, 0.2) for _ in range(2)]
            with self.subTest(moments=moments):
                self.kill_and_finish(path, rows, moments, backend)

    def test_killed_with_json(self):
        self.killed_with("json", 3)

    def test_killed_with_both(self):
        self.killed_with("dual", 6)

    def test_killed_among_many_small_files(self):
        for i in range(200):
            self.write(
                f"many/{i:03}.csv",
                "timestamp_ms,bid,ask,symbol\n"
                + "".join(f"{1700000000000 + k},{i * 100 + k},{i * 100 + k + 1},A\n" for k in range(100)),
            )
        picks = random.Random(os.environ.get("TICKSTORE_TEST_SEED"))
        self.kill_and_finish(self.dir / "many", 20_000, [picks.uniform(0.01, 0.4) for _ in range(4)], "sqlite")

    def test_sighup_ends_it_like_sigterm(self):
        path = self.big(1_500_000)
        code = self.interrupt(path, signal.SIGHUP, lambda: self.ledger_rows() > 0)
        if code == 0:
            self.skipTest("this machine was too fast to be interrupted")
        self.assertEqual(code, 129)
        self.assertEqual(self.ledger_rows(), self.count())

    def test_killed_with_throttling_it_says_what_may_be_there_twice(self):
        path = self.spread(600_000)
        process = self.start(path, "--throttle", "0")
        while process.poll() is None and not self.count_or_none():
            time.sleep(0.01)
        process.kill()
        if process.wait(timeout=60) == 0:
            self.skipTest("this machine was too fast to be killed")
        report = self.load("--format", "csv", "--throttle", "0", path)
        if report["files"]["doubtful_rows"] == 0:
            self.skipTest("killed at a checkpoint")
        self.assertIn("rows may be stored twice", self.stderr)
        self.assertLessEqual(self.count() - 600_000, report["files"]["doubtful_rows"])

    def count_or_none(self):
        try:
            return self.count()
        except sqlite3.Error:
            return 0

    @unittest.skipIf(os.geteuid() != 0, "needs root to mount a small file system")
    def test_a_full_disk(self):
        mount = self.dir / "small"
        mount.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", mount], capture_output=True).returncode:
            self.skipTest("cannot mount a tmpfs")
        self.addCleanup(subprocess.run, ["umount", "-l", str(mount)], capture_output=True)
        self.store = mount / "store"
        rows = 600_000
        path = self.spread(rows)
        report = self.load("--format", "csv", path, code=1, balanced=False)
        self.assertEqual((report["outcome"], report["files"]["imported"]), ("failed", 0))
        self.assertRegex(self.stderr.splitlines()[0], "full|no space|No space")
        self.assertEqual(report["rows"]["stored"], self.count(), self.stderr)
        subprocess.run(["mount", "-o", "remount,size=400m", mount], check=True)
        again = self.load("--format", "csv", path)
        self.assertEqual(again["files"]["doubtful_rows"], 0)
        self.assert_same(sorted(bid for (bid,) in self.sqlite_rows("bid", order="")), [float(i) for i in range(rows)])


class Usage(ImportTest):
    def usage(self, *arguments, word):
        done = self.run_command("import", *arguments)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(done.stderr.count(b"\n"), 1)
        self.assertIn(word, done.stderr.decode())

    def test_each_mistake_is_one_line_and_exit_code_2(self):
        a = self.write("a.csv", "x")
        store = ("--store", self.store)
        self.usage(*store, a, word="--format")
        self.usage(*store, "--format", "xml", a, word="xml")
        self.usage("--format", "csv", a, word="--store")
        self.usage(*store, "--format", "csv", word="files")
        self.usage(*store, "--format", "csv", "--symbol", "../x", a, word="../x")
        self.usage(*store, "--format", "csv", "--source", "", a, word="empty")
        self.usage(*store, "--format", "csv", "--backend", "both", a, word="both")
        self.usage(*store, "--format", "csv", "--throttle", "-1", a, word="-1")
        self.usage(*store, "--format", "csv", "--throttle", "nan", a, word="nan")
        self.usage(*store, "--format", "csv", "--utc-offset", "-05:00", a, word="lean")
        self.usage(*store, "--format", "lean", a, word="--symbol")
        self.usage(*store, "--format", "lean", "--symbol", "X", "--utc-offset", "5", a, word="utc-offset")
        self.usage(*store, "--format", "lean", "--symbol", "X", "-", word="lean")
        self.usage(*store, "--format", "csv", "-", "-", word="twice")
        self.usage(*store, "--format", "csv", "--report", "xml", a, word="xml")
        self.usage(*store, "--bogus", word="--bogus")
        self.assertFalse(self.store.exists())

    def test_help(self):
        done = self.run_command("import", "--help")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        for word in (b"--format", b"--strict", b"legacy-json", b"imports.db", b"Exit codes"):
            self.assertIn(word, done.stdout)

    def test_a_missing_file_does_not_stop_the_others(self):
        path = self.write("a.csv", "timestamp_ms,bid,ask\n1700000000000,1,2\n")
        report = self.load("--format", "csv", "--symbol", "X", self.dir / "none.csv", path, code=1)
        self.assertEqual((report["rows"]["stored"], report["files"]["failed"]), (1, 1))

    def test_the_text_report_goes_to_stderr_and_quiet_means_quiet(self):
        path = self.write("a.csv", "timestamp_ms,bid,ask,x\n1700000000000,1,2,\n")
        done = self.run_command(
            "import", "--format", "csv", "--symbol", "X", path, env={"TICKSTORE_PATH": str(self.store)}
        )
        self.assertEqual((done.returncode, done.stdout), (0, b""))
        self.assertIn(b"1 rows read, 1 stored", done.stderr)
        done = self.run_command("import", "-q", "--store", self.store, "--format", "csv", "--symbol", "X", path)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))

    def test_a_store_keeps_the_files_that_it_has(self):
        text = "timestamp_ms,bid,ask\n1700000000000,1,2\n"
        self.load("--backend", "json", "--format", "csv", "--symbol", "X", self.write("a.csv", text))
        self.load("--format", "csv", "--symbol", "Y", self.dir / "a.csv")
        self.assertIn("JSON files only", self.stderr)
        self.assertEqual((len(self.json_objects()), len(self.sqlite_rows())), (2, 0))
        self.load("--backend", "sqlite", "--format", "csv", "--symbol", "Z", self.dir / "a.csv")
        self.assertIn("SQLite files only", self.stderr)

    def test_a_ledger_that_cannot_be_read(self):
        path = self.write("a.csv", "timestamp_ms,bid,ask\n1700000000000,1,2\n")
        self.store.mkdir()
        self.write("store/imports.db", "this is no database, and long enough to be seen as none" * 10)
        done = self.run_command("import", "--store", self.store, "--format", "csv", "--symbol", "X", path)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"imports.db", done.stderr)


if __name__ == "__main__":
    unittest.main()
