#!/usr/bin/env python3
"""No test passes or fails by how long something took: on a busy machine that proves nothing.

An assertion that something took at most so long is found by its words. What must not take less than a time may be asserted,
and so may what an injected clock says.
"""

import os
import pathlib
import re
import sys

ASSERTION = re.compile(
    r"\b(cr_assert\w*|cr_expect\w*|CHECK|FAKE_ABORT_UNLESS|assert|self\.assert\w+|require\w*|t\.(?:Error|Fatal)f?)\b"
)
READING = re.compile(
    r"took|elapsed|duration|perf_counter|time\.(?:time|monotonic|Since)|clock_gettime|clock_(?:monotonic|now)_ns\(\)"
    r"|\bmonotonic_ns\(\)|per_second|flush_time_(?:max|sum)_us"
)
UPPER_BOUND = re.compile(r"_lt\b|_leq\b|assertLess|<(?!<)|must_be_below")


def statements(text):
    """(line number, statement) with continued lines joined: up to the next ; or, in Python, a closed parenthesis."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if not ASSERTION.search(line):
            continue
        statement = line
        for further in lines[at + 1 : at + 6]:
            if statement.rstrip().endswith(";") or statement.count("(") <= statement.count(")"):
                break
            statement += " " + further.strip()
        # Comments and texts are not what is compared.
        yield at + 1, re.sub(r'"(\\.|[^"\\])*"|/\*.*?\*/|#.*$', '""', statement)


def timed(text):
    for number, statement in statements(text):
        if READING.search(statement) and UPPER_BOUND.search(statement):
            yield number, statement.strip()


def check_the_check():
    bad = [
        "  cr_assert_lt(result.took_ns, 5000000);",
        "  cr_assert(tks__clock_monotonic_ns() - before < limit);",
        "  cr_assert_leq(monotonic_ns() -\n      started, 1000);",
        "    self.assertLess(time.monotonic() - started, 15)",
        "    assert elapsed < 2",
    ]
    good = [
        "  cr_assert_geq(tks__clock_monotonic_ns() - before, 30 * TKS__NS_PER_MS);",
        '  cr_assert_leq(most, BOUND, "the log took %llu bytes", most);',
        "  int64_t took = monotonic_ns() - before;",
        "  while (time.monotonic() < deadline) {",
    ]
    return all(list(timed(text)) for text in bad) and not any(list(timed(text)) for text in good)


def main():
    if not check_the_check():
        print("FAILED: the check itself")
        return 1
    top = pathlib.Path(os.environ["TICKSTORE_SOURCE_DIR"])
    files = [
        p
        for d in ("tests", "bindings")
        for p in sorted((top / d).rglob("*"))
        if p.suffix in (".c", ".h", ".py", ".go")
        and p.name not in (pathlib.Path(__file__).name, "table.py", "bench.py")
        and not p.name.startswith("bench")
    ]
    found = [(p, *where) for p in files for where in timed(p.read_text(encoding="utf-8"))]
    for path, number, statement in found:
        print(f"FAILED: {path.relative_to(top)}:{number}: {statement}")
    if not found:
        print(f"ok: {len(files)} files, no assertion on how long something takes")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
