"""The standard library is enough: the same package in a Python that has nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import tickstore

PROGRAM = r"""
import array, sys
for name in ("numpy", "pandas", "polars", "pyarrow", "duckdb", "matplotlib"):
    sys.modules[name] = None  # import fails
import tickstore

NOON = 1709640000000000000
count = 10000
with tickstore.Store(sys.argv[1], throttle_relative=-1) as store:
    ts = array.array("q", range(NOON, NOON + count))
    bid = array.array("d", (i / 8 for i in range(count)))
    ask = [None if i % 3 == 0 else i / 8 + 1 for i in range(count)]
    names, sources = ["A", "B"] * (count // 2), [None, "S", "T", None] * (count // 4)
    result = store.put_many(names, ts, bid, ask, source=sources, recv=[None, NOON] * (count // 2), codes=True)
    assert result.accepted == count and result.codes.tolist() == [0] * count
    assert store.put_many({"ts": ts[:2], "bid": [1, 2]}, symbol="C").accepted == 2
    assert store.put_many("D", "2024-03-05T12:00:00Z", 1, None).accepted == 1
    assert store.put_many("E", [], [], []).accepted == 0
    table = store.range("B")
    assert [q.bid for q in table] == bid[1::2].tolist()
    assert [q.source for q in table] == sources[1::2]
    assert table.buffer("ts").tolist() == ts[1::2].tolist() and table.names("source") == ("S",)
    assert store.put_many(store.range("A")[:10]).accepted == 10
    assert repr(table).startswith("Table: 5,000 quotes") and "<table>" in table._repr_html_()
    assert "arrow_array_stream" in repr(table.__arrow_c_stream__())
    for bad in (lambda: table.bid, lambda: table.to_pandas(), lambda: table.to_arrow(), lambda: table.plot()):
        try:
            bad()
        except ImportError as error:
            assert str(error)
        else:
            raise SystemExit("no ImportError")
    wrong = (TypeError, [NOON], ["1"], [2]), (TypeError, [1.5], [1], [2]), (ValueError, [NOON], [1, 2], [3])
    for kind, *columns in wrong:
        try:
            store.put_many("A", *columns)
        except kind:
            pass
        else:
            raise SystemExit("no " + kind.__name__)
    try:
        store.put_many("A", ts[:5], [1, 2, float("inf"), 4, 5], None, codes=True)
    except tickstore.PriceError as error:
        assert error.index == 2 and error.result.codes.tolist() == [0, 0, -22, 0, 0]
    else:
        raise SystemExit("no PriceError")
print("plain")
"""


def test_without_anything(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(tickstore.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "s")], env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr, done.returncode) == ("plain\n", "", 0)
