#!/usr/bin/env python3
"""tickstore gaps: stores whose ledger is written here, in the schema that docs/file-format.md shows."""

import csv
import io
import json
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import tempfile
import unittest
from datetime import datetime, timezone

COMMAND = os.environ.get("TICKSTORE_COMMAND", "")
SOURCE = pathlib.Path(os.environ.get("TICKSTORE_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
SECOND = 1_000_000_000
START = int(datetime(2026, 1, 20, 9, 6, 40, tzinfo=timezone.utc).timestamp()) * SECOND
COLUMNS = ["from_seq", "to_seq", "records", "symbol", "sink", "cause", "first", "last"]
CAUSES = {1: "full", 2: "journal", 3: "backlog", 4: "close", 5: "recovery", 6: "backend"}
SINKS = {0: "all", 1: "sqlite", 2: "json"}

# from_seq, sink, to_seq, records, cause, symbol: every cause and every sink, two sinks that lack the same
LOSSES = [
    (101, 0, 150, 50, 1, "EURUSD"),
    (201, 0, 201, 1, 2, 'odd,"name"'),
    (301, 1, 400, 90, 3, None),
    (301, 2, 350, 40, 4, None),
    (2**40, 0, 2**40 + 7, 0, 5, None),
]


def setUpModule():
    if not COMMAND or not os.access(COMMAND, os.X_OK):
        raise unittest.SkipTest("TICKSTORE_COMMAND names no program")


def run(*arguments, stdin=None):
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "TICKSTORE_PATH": ""},
    )


def schema():
    """What the documentation says, so that it cannot say anything else than what is read."""
    text = (SOURCE / "docs/file-format.md").read_text(encoding="utf-8")
    return re.search(r"```sql\n(CREATE TABLE gap\(.*?)```", text, re.DOTALL).group(1)


def rfc3339(ns):
    return f"{datetime.fromtimestamp(ns // SECOND, timezone.utc):%Y-%m-%dT%H:%M:%S}.{ns % SECOND:09d}Z"


def times(index):
    return START + index * SECOND + 1, START + index * SECOND + 250_000_000


def expected(losses):
    rows = []
    for index, (from_seq, sink, to_seq, records, cause, symbol) in enumerate(LOSSES):
        if (from_seq, sink) in [loss[:2] for loss in losses]:
            first, last = map(rfc3339, times(index))
            rows.append([from_seq, to_seq, records, symbol, SINKS[sink], CAUSES[cause], first, last])
    return rows


class GapsTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="gaps-")
        self.addCleanup(scratch.cleanup)
        self.store = pathlib.Path(scratch.name) / "store"
        done = run(
            "import",
            "--store",
            self.store,
            "--format",
            "csv",
            "--quiet",
            "-",
            stdin=f"timestamp_ns,symbol,bid,ask\n{START},EURUSD,1.25,1.5\n",
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.ledger = self.store / "gaps.db"

    def lose(self, losses=LOSSES):
        self.ledger.unlink(missing_ok=True)
        self.write(self.ledger, losses)

    def write(self, path, losses):
        database = sqlite3.connect(path)
        database.executescript(schema())
        for index, (from_seq, sink, to_seq, records, cause, symbol) in enumerate(LOSSES):
            if LOSSES[index] not in losses:
                continue
            database.execute(
                "INSERT INTO gap VALUES(?,?,?,?,?,?,?,?,?)",
                (from_seq, sink, to_seq, records, cause, CAUSES[cause], symbol, *times(index)),
            )
        database.commit()
        database.close()

    def gaps(self, *arguments, code):
        done = run("gaps", "--store", self.store, *arguments)
        self.assertEqual(done.returncode, code, done.stderr)
        self.stderr = done.stderr
        return done.stdout

    def rows(self, *arguments, code):
        lines = list(csv.reader(io.StringIO(self.gaps(*arguments, "--format", "csv", code=code))))
        self.assertEqual(lines[0], COLUMNS)
        return [[int(n) for n in line[:3]] + [line[3] or None] + line[4:] for line in lines[1:]]

    def test_nothing_was_lost(self):
        """The ledger of a new store, none, an empty file (it could not be made), a ledger without rows."""
        database = sqlite3.connect(self.ledger)
        self.assertEqual(database.execute("SELECT * FROM gaps").fetchall(), [])
        database.close()
        self.assertEqual(self.rows(code=0), [])
        self.ledger.unlink()
        self.assertEqual(self.rows(code=0), [])
        self.assertFalse(self.ledger.exists())  # looking makes none
        self.ledger.touch()
        self.assertEqual(self.rows(code=0), [])
        self.lose([])
        self.assertEqual(self.rows(code=0), [])
        self.assertEqual(self.gaps("--format", "json", code=0), "")
        self.assertEqual(self.stderr, "")

    def test_every_loss_in_every_format(self):
        self.lose()
        wanted = expected(LOSSES)
        self.assertEqual(self.rows(code=1), wanted)
        self.assertEqual(self.stderr, "")  # the exit code says it, nothing went wrong
        objects = [json.loads(line) for line in self.gaps("--format", "json", code=1).splitlines()]
        self.assertEqual(objects, [dict(zip(COLUMNS, row)) for row in wanted])
        table = self.gaps("--format", "table", code=1).splitlines()
        self.assertEqual(table[0].split(), COLUMNS)
        self.assertEqual([int(line.split()[0]) for line in table[1:]], [row[0] for row in wanted])
        self.assertEqual(self.gaps(code=1), self.gaps("--format", "csv", code=1))  # into a pipe

    def test_rows_that_could_not_be_written_yet(self):
        """They are in a file of their own, beside the ledger, which may not be readable now."""
        self.lose(LOSSES[:2])
        self.write(self.store / "gaps.pending.db", LOSSES[2:])
        self.assertEqual(self.rows(code=1), expected(LOSSES))
        self.ledger.write_bytes(b"no ledger" * 1000)
        self.assertEqual(self.rows(code=1), expected(LOSSES[2:]))
        self.assertIn("gaps.db", self.stderr)

    def test_since(self):
        """Those that reach the number: also one that began before it."""
        self.lose()
        for since in [0, 1, 101, 150, 151, 201, 202, 350, 351, 400, 401, 2**40 + 7, 2**40 + 8, 2**63 - 1]:
            wanted = expected([loss for loss in LOSSES if loss[2] >= since])
            self.assertEqual(self.rows("--since", since, code=1 if wanted else 0), wanted, since)

    def test_the_view_says_the_same(self):
        self.lose()
        database = sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True)
        view = database.execute(
            "SELECT from_seq, to_seq, records, symbol, sink, cause, first_time, last_time FROM gaps"
            " ORDER BY from_seq, sink = 'json'"
        ).fetchall()
        database.close()
        command = self.rows(code=1)
        self.assertEqual([list(row[:6]) for row in view], [row[:6] for row in command])
        for seen, row in zip(view, command):
            self.assertEqual([seen[6][:19], seen[7][:19]], [row[6][:19], row[7][:19]])  # milliseconds at most

    def test_reads_beside_a_damaged_day(self):
        self.lose()
        next(self.store.glob("db/*/*/*.db")).write_bytes(b"no database" * 1000)
        self.assertEqual(self.rows(code=1), expected(LOSSES))

    def test_a_damaged_ledger(self):
        self.lose()
        sound = self.ledger.read_bytes()
        other = sqlite3.connect(":memory:")
        other.execute("CREATE TABLE something(else_)")
        for name, content in [
            ("no database", b"no database, " * 1000),
            ("header only", sound[:100]),
            ("other tables", other.serialize() if hasattr(other, "serialize") else None),
        ]:
            if content is None:  # Python before 3.11
                continue
            with self.subTest(name):
                self.ledger.write_bytes(content)
                self.assertEqual(self.gaps(code=1), "")
                self.assertRegex(self.stderr, r"^tickstore gaps: .*gaps\.db")
                self.assertEqual(self.ledger.read_bytes(), content)  # a reader leaves it as it is
        other.close()

    def test_wrong_usage(self):
        for arguments in [
            ("--since", "-1"),
            ("--since", "x"),
            ("--since", ""),
            ("--since", "1.5"),
            ("--since", str(2**63)),
            ("--format", "prometheus"),
            ("--format", ""),
            ("more",),
            ("--no",),
        ]:
            with self.subTest(arguments):
                self.assertEqual(self.gaps(*arguments, code=2), "")
                self.assertNotEqual(self.stderr, "")

    def test_no_store(self):
        shutil.rmtree(self.store)
        self.assertEqual(self.gaps(code=1), "")
        self.assertRegex(self.stderr, "^tickstore gaps: ")
        self.assertEqual(run("gaps").returncode, 2)


if __name__ == "__main__":
    unittest.main()
