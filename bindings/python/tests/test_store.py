"""The store: configuration, names, reads, health."""

import contextlib
import gc
import logging
import sqlite3
import subprocess
import sys
import textwrap
import warnings
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from conftest import DAY, MS, NOON

import tickstore
from tickstore import _abi

# A value that is not the default and one that is refused, for every field of tks_config.
FIELDS = {
    "backend": ("dual", "none"),
    "read_only": (True, 2),
    "ring_records": (123, 0),
    "queue_records": (1024, 15),
    "queue_policy": ("drop", "wait"),
    "block_limit_ms": (77, 0),
    "batch_records": (100, 0),
    "flush_interval_ms": (250, 0),
    "backlog_records": (0, 268_435_457),
    "throttle_max_age_ms": (10, -1),
    "throttle_relative": (0.5, float("nan")),
    "crossed_policy": ("refuse", "no"),
    "max_symbols": (3, 0),
    "max_sources": (2, 65536),
    "max_ahead_s": (5, 2**32),
    "min_time_ns": ("2000-01-01", 2**63 - 1),
    "retry_attempts": (1, 101),
    "retry_pause_ms": (50, 0),
    "degraded_retry_ms": (100, 0),
    "sync_interval_ms": (100, 0),
    "close_limit_ms": (1000, 86_400_001),
    "late_close_s": (10, 0),
    "max_open_days": (2, 65),
    "synchronous": ("normal", "off"),
    "checkpoint_pages": (100, 0),
    "busy_timeout_ms": (100, 3_600_001),
    "temp_store_memory": (False, 2),
    "page_cache_bytes": (1 << 20, 2**36 + 1),
    "mmap_bytes": (0, 2**40 + 1),
    "read_connections": (1, 0),
    "connection_life_s": (10, 0),
    "read_deadline_ms": (500, 0),
    "log_level": ("error", "loud"),
    "broker_id": ("B2", "a\tb"),
    "journal": (False, 2),
    "journal_sync_ms": (0, 3_600_001),
    "journal_bytes": (1 << 21, (1 << 20) - 1),
}


def test_every_field_is_listed_here():
    inside = {"struct_size", "reserved0", "reserved1", "log", "log_context", "broker_id_length"}
    assert set(FIELDS) == {field[0] for field in _abi.Config._fields_} - inside


@pytest.mark.parametrize("field", FIELDS)
def test_field(field, path):
    good, _ = FIELDS[field]
    if field == "read_only":
        tickstore.Store(path).close()
    with tickstore.Store(path, **{field: good}) as store:
        if field != "read_only":
            store.put("A", NOON, 1, 2)
            assert len(store.recent("A")) == 1


@pytest.mark.parametrize("field", FIELDS)
def test_field_refused(field, path):
    _, bad = FIELDS[field]
    if field == "min_time_ns":
        with tickstore.Store(path, min_time_ns=bad) as store, pytest.raises(tickstore.TimeWindowError):
            store.put("A", NOON, 1, 2)
        return
    with pytest.raises(tickstore.ConfigError, match=field) as caught:
        tickstore.Store(path, **{field: bad})
    assert caught.value.code == _abi.STATUS["ECONFIG"]
    assert not path.exists() or not list(path.iterdir())


@pytest.mark.parametrize("value", [-1, 2**32, 2**64, 1.5])
def test_numbers_are_not_cut(value, path):
    with pytest.raises(tickstore.ConfigError, match="ring_records"):
        tickstore.Store(path, ring_records=value)


def test_fields_arrive():
    """What is set is what the C struct holds."""
    from tickstore.store import _make_config

    numbers = {name: good for name, (good, _) in FIELDS.items()}
    config, keep = _make_config("production", numbers, None)
    assert keep is None
    for name, value in numbers.items():
        got = getattr(config, name)
        words = {**_abi.BACKENDS, **_abi.QUEUE_POLICIES, **_abi.CROSSED_POLICIES, **_abi.SYNCHRONOUS, **_abi.LOG_LEVELS}
        if name == "broker_id":
            assert (got, config.broker_id_length) == (b"B2", 2)
        elif name == "min_time_ns":
            assert got == 946_684_800_000_000_000
        elif isinstance(value, str):
            table = {"backend": 3, "queue_policy": 0, "crossed_policy": 2, "synchronous": 1, "log_level": 3}
            assert got == table[name] and value in words
        else:
            assert got == value, name


def test_presets(path):
    with tickstore.Store(path / "m", preset="migration") as store:
        assert store.stats().backend == "dual"
    with tickstore.Store(path / "d", preset="development") as store:
        assert store.stats().backend == "json"
    with pytest.raises(tickstore.ConfigError, match="preset"):
        tickstore.Store(path / "x", preset="best")


@pytest.mark.parametrize("backend", ["sqlite", "json", "dual"])
def test_backends(path, backend):
    with tickstore.Store(path, backend=backend) as store:
        store.put("A/B", NOON, 1, 2, source="S")
        store.flush(10)
        assert {day.sink for day in store.days()} == ({"sqlite", "json"} if backend == "dual" else {backend})
    with tickstore.Store(path, backend=backend) as store:
        assert store.latest("A/B")[:7] == (NOON, "A/B", 1.0, 2.0, 0.0, 0.0, "S")


def test_path_kinds(tmp_path):
    for kind in (str, lambda p: str(p).encode(), lambda p: p):
        with tickstore.Store(kind(tmp_path / "ü")) as store:
            assert store.path == str(tmp_path / "ü")


def test_broker_id_is_in_the_lines(path):
    with tickstore.Store(path, backend="json", broker_id="MEINS") as store:
        store.put("A", NOON, 1, 2)
    assert '"MEINS"' in next((path / "json").rglob("*.jsonl")).read_text()


def test_log_function_and_logger(path, caplog):
    lines = []
    store = tickstore.Store(path, log=lambda level, text: lines.append((level, text)), log_level="debug")
    store.close()
    manifest = (path / "store.json").read_text()
    (path / "store.json").write_text(
        manifest.replace('"clean":true', '"clean":false').replace('"clean": true', '"clean": false')
    )
    with caplog.at_level(logging.DEBUG), tickstore.Store(path, log=logging.getLogger("ticks")):
        pass
    assert any("was not closed" in record.message for record in caplog.records if record.name == "ticks")


# --------------------------------------------------------------- life and death


def test_close_twice_and_calls_after_it(path):
    store = tickstore.Store(path)
    store.put("A", NOON, 1, 2)
    table = store.range("A")
    scan = store.scan("A")
    assert not store.closed and "closed" not in repr(store)
    store.close()
    store.close()
    assert store.closed and "closed" in repr(store)
    for call in (
        lambda: store.put("A", NOON, 1, 2),
        lambda: store.put_many("A", [NOON], [1], [2]),
        lambda: store.recent("A"),
        lambda: store.latest("A"),
        lambda: store.range("A"),
        lambda: list(scan),
        lambda: store.symbols(),
        lambda: store.stats(),
        lambda: store.days(),
        lambda: store.gaps(),
        lambda: store.flush(1),
        lambda: store.flush(1, sink="sqlite"),
        lambda: store.durable_seq,
        lambda: store.sink_durable_seq("sqlite"),
        lambda: store.symbol("new"),
    ):
        with pytest.raises(tickstore.ClosedError):
            call()
    assert table[0].bid == 1.0


def test_a_scan_that_the_store_leaves_behind(path):
    store = tickstore.Store(path, throttle_relative=-1)
    store.put_many("A", range(NOON, NOON + 100), [1.0] * 100, [2.0] * 100)
    reading = iter(store.scan("A", chunk_records=10))
    first = next(reading)
    store.close()
    assert len(first) == 10
    with pytest.raises(tickstore.ClosedError):
        next(reading)


def test_writer_lock_and_readers(store, path):
    with pytest.raises(tickstore.LockedError):
        tickstore.Store(path)
    store.put("A", NOON, 1, 2)
    store.flush(10)
    with tickstore.Store(path, read_only=True) as reader:
        assert reader.latest("A").bid == 1.0
        assert "read_only" in repr(reader)
        for call in (lambda: reader.put("A", NOON, 1, 2), lambda: reader.put_many("A", [NOON], [1], [2]), reader.flush):
            with pytest.raises(tickstore.ReadOnlyError):
                call()


def test_no_store(tmp_path):
    with pytest.raises(tickstore.NotAStoreError):
        tickstore.Store(tmp_path / "nothing", read_only=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(tickstore.TickstoreError):
        tickstore.Store(tmp_path / "file")
    with pytest.raises(tickstore.InvalidArgumentError):
        tickstore.Store("")


def test_newer_format(path):
    tickstore.Store(path).close()
    text = (path / "store.json").read_text()
    import json

    content = json.loads(text)
    key = next(key for key in content if "format" in key)
    content[key] = 99
    (path / "store.json").write_text(json.dumps(content))
    with pytest.raises(tickstore.FormatError):
        tickstore.Store(path)


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], capture_output=True, text=True
    )


def test_a_forgotten_store_is_written_at_exit(path):
    done = run(
        """
        import sys, tickstore
        store = tickstore.Store(sys.argv[1])
        store.put("A", 1709640000000000000, 1, 2)
        """,
        path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    with tickstore.Store(path) as store:
        assert store.latest("A").bid == 1.0


def test_a_collected_store_is_closed(path):
    store = tickstore.Store(path)
    store.put("A", NOON, 1, 2)
    del store
    gc.collect()
    with tickstore.Store(path) as store:
        assert len(store.range("A")) == 1


def test_results_may_outlive_the_interpreter(path):
    """Tables, views, streams and capsules that are still there when Python goes down."""
    done = run(
        """
        import sys, builtins, tickstore
        store = tickstore.Store(sys.argv[1])
        store.put("A", 1709640000000000000, 1, 2)
        table = store.range("A")
        builtins.kept = [table, table.buffer("bid"), table.__arrow_c_stream__(), table.__arrow_c_schema__(),
                         store.scan("A").__arrow_c_stream__(), iter(store.scan("A"))]
        next(builtins.kept[-1])
        sys.modules["kept"] = builtins.kept
        """,
        path,
    )
    assert (done.returncode, done.stderr) == (0, "")


# ------------------------------------------------------------------------ names


def test_symbols_and_sources(store):
    eur = store.symbol("EUR/USD")
    assert eur == store.symbol("EUR/USD") and eur.name == "EUR/USD" and repr(eur) == "Symbol(1, 'EUR/USD')"
    lp = store.source("LP ü")
    assert repr(lp) == "Source(1, 'LP ü')" and isinstance(lp, int)
    store.put(eur, NOON, 1, 2, source=lp)
    store.put("GBP", NOON, 1, 2)
    assert store.latest(eur).source == "LP ü"
    assert store.latest("EUR/USD") == store.latest(1)
    assert store.latest("GBP").source is None
    assert [(s.name, s.quotes) for s in store.symbols()] == [("EUR/USD", 1), ("GBP", 1)]


def test_long_names(store):
    name = "ä" * 32
    store.put(name, NOON, 1, 2, source="s" * 64)
    (info,) = store.symbols()
    assert info.name == name and info.first_ns == info.last_ns == NOON
    assert store.range(name)[0].source == "s" * 64


@pytest.mark.parametrize("name", ["", "x" * 65, "a\tb", "a\x00b", "../x", "\udc80", "a/../b"])
def test_names_refused(store, name):
    for call in (lambda: store.symbol(name), lambda: store.put(name, NOON, 1, 2), lambda: store.source(name)):
        with pytest.raises(tickstore.InvalidNameError) as caught:
            call()
        assert caught.value.name.startswith("TKS_ENAME")
    assert store.stats().symbols == 0 and store.stats().sources == 0


@pytest.mark.parametrize("name", [None, 1.5, b"A", True, ["A"], ("A",)])
def test_no_names(store, name):
    with pytest.raises(TypeError):
        store.put(name, NOON, 1, 2)
    with pytest.raises(TypeError):
        store.recent(name)


@pytest.mark.parametrize("number", [0, 99, -1, 2**32, 2**64])
def test_unknown_ids(store, number):
    for call in (
        lambda: store.put(number, NOON, 1, 2),
        lambda: store.recent(number),
        lambda: store.latest(number),
        lambda: store.range(number),
    ):
        with pytest.raises(tickstore.UnknownNameError) as caught:
            call()
        assert caught.value.name == "TKS_ESYMBOL"
    if number:
        with pytest.raises(tickstore.UnknownNameError):
            store.put("A", NOON, 1, 2, source=number)
        with pytest.raises(tickstore.UnknownNameError):
            store.range("A", source=number)


def test_tables_full(path):
    with tickstore.Store(path, max_symbols=1, max_sources=1) as store:
        store.put("A", NOON, 1, 2, source="S")
        with pytest.raises(tickstore.TableFullError, match="symbol"):
            store.symbol("B")
        with pytest.raises(tickstore.TableFullError, match="source"):
            store.put("A", NOON, 1, 2, source="T")


# ------------------------------------------------------------------------ reads


def fill(store, days=3, each=1000):
    count = days * each
    ts = [NOON + DAY * (i // each) + i * MS for i in range(count)]
    store.put_many(
        "A", ts, [float(i) for i in range(count)], [i + 1.0 for i in range(count)], source=["X", "Y"] * (count // 2)
    )
    return ts


def test_recent(path):
    with tickstore.Store(path, throttle_relative=-1, ring_records=100) as store:
        ts = fill(store, 1, 40000)
        for n in (1, 100, 101, 20000, 40000, 10**6, 2**31 - 1):
            table = store.recent("A", n)
            assert [q.ts_ns for q in table.head(3)] == ts[-n:][:3] and len(table) == min(n, 40000)
        assert len(store.recent("A")) == 100
        assert len(store.recent(store.symbol("none"))) == 0
        for n in (0, -1, 2**31):
            with pytest.raises(tickstore.LimitError):
                store.recent("A", n)


def test_latest(store):
    with pytest.raises(tickstore.NotFoundError):
        store.latest("A")
    store.put("A", NOON, 1, None)
    quote = store.latest("A")
    assert quote.ask != quote.ask and quote.recv_ns is None and quote.time == "2024-03-05T12:00:00Z"
    store.put("A", NOON + 1, 1, 2, recv=NOON + 5, bid_size=3, ask_size=4, flags=0x70001)
    quote = store.latest("A")
    assert (quote.bid_size, quote.ask_size, quote.flags, quote.recv_ns) == (3.0, 4.0, 0x70000, NOON + 5)
    assert (quote.spread, quote.mid) == (1.0, 1.5)


def test_latest_all(store):
    assert len(store.latest_all()) == 0
    names = [f"S{i}" for i in range(1000)]
    store.put_many(names, [NOON] * 1000, range(1000), range(1000))
    table = store.latest_all()
    assert [q.symbol for q in table] == names and [q.bid for q in table] == list(map(float, range(1000)))


def test_range_bounds(store):
    ts = fill(store)
    assert [q.ts_ns for q in store.range("A")] == ts
    assert [q.ts_ns for q in store.range("A", ts[10], ts[2500])] == ts[10:2500]
    assert [q.ts_ns for q in store.range("A", "2024-03-06", "2024-03-07")] == ts[1000:2000]
    assert [q.ts_ns for q in store.range("A", descending=True, limit=5)] == ts[:-6:-1]
    assert [q.ts_ns for q in store.range("A", source="X")] == ts[::2]
    start = datetime(2024, 3, 5, 14, 0, tzinfo=timezone(timedelta(hours=2)))
    assert len(store.range("A", start, start + timedelta(milliseconds=10))) == 10
    assert len(store.range("A", "2024-03-05T12:00:00Z", "2024-03-05T14:00:00.01+0200")) == 10
    assert len(store.range("A", ts[5], ts[5])) == 0 and len(store.range("never")) == 0
    with pytest.raises(tickstore.InvalidArgumentError):
        store.range("A", 5, 4)
    for limit in (0, -1, 2**63):
        with pytest.raises(tickstore.LimitError):
            store.range("A", limit=limit)
    with pytest.raises(ValueError):
        store.range("A", damaged="maybe")


def test_scan(store):
    ts = fill(store)
    scan = store.scan("A", chunk_records=700)
    assert [len(table) for table in scan] == [700] * 4 + [200]
    assert [q.ts_ns for table in scan for q in table] == ts  # again, from the start
    assert len(next(iter(scan))) == 700  # left early
    assert list(store.scan("never")) == []
    with pytest.raises(tickstore.LimitError):
        store.scan("A", chunk_records=0)


def test_a_damaged_day(path):
    with tickstore.Store(path, throttle_relative=-1) as store:
        ts = fill(store)
        store.flush(10)
    next(path.rglob("ticks_2024-03-06.db")).write_bytes(b"j" * 8192)
    with tickstore.Store(path, read_only=True) as store:
        with pytest.raises(tickstore.DayFileError, match="2024-03-06"):
            store.range("A")
        table = store.range("A", damaged="skip")
        assert [q.ts_ns for q in table] == ts[:1000] + ts[2000:]
        assert len(table.damaged) == 1 and "2024-03-06" in table.damaged[0] and table[5:].damaged == table.damaged
        seen = 0
        with pytest.raises(tickstore.DayFileError):
            for part in store.scan("A"):
                seen += len(part)
        assert seen == 1000
        with pytest.raises(tickstore.DayFileError) as caught:
            store.symbols()
        assert [(s.name, s.quotes) for s in caught.value.partial] == [("A", 2000)]
        days = store.days()
        assert [day.code for day in days] == [0, _abi.STATUS["EDAYFILE"], 0] and "2024-03-06" in days[1].message
        pa = pytest.importorskip("pyarrow")
        with pytest.raises(OSError, match=r"TKS_EDAYFILE.*2024-03-06"):
            pa.table(store.scan("A"))


# ----------------------------------------------------------------------- health


def test_flush_and_durable(store):
    seqs = [store.put("A", NOON + i, 1 + i, 2 + i) for i in range(10)]
    assert seqs == sorted(set(seqs))
    store.flush(timeout=10)
    assert store.durable_seq >= seqs[-1]
    store.flush(timeout=0)
    store.flush()
    with contextlib.closing(sqlite3.connect(next(Path(store.path).rglob("ticks_*.db")))) as db:
        assert db.execute("SELECT count(*) FROM ticks").fetchone() == (10,)


def test_flush_that_runs_out(path):
    with tickstore.Store(path) as store:
        store.put("A", NOON, 1, 2)
        try:
            store.flush(timeout=0)
        except tickstore.FlushTimeoutError as error:
            assert isinstance(error, TimeoutError) and error.name == "TKS_ETIMEOUT"


def test_stats(store):
    fill(store, 1, 100)
    store.put("A", NOON + 10**9, 5, 4)
    with pytest.raises(tickstore.PriceError):
        store.put("A", NOON, float("inf"), 1)
    store.flush(10)
    stats = store.stats()
    assert (stats.backend, stats.received, stats.accepted, stats.refused, stats.refused_price) == (
        "sqlite",
        102,
        101,
        1,
        1,
    )
    sqlite, json = stats.sinks
    assert (sqlite.sink, sqlite.state, sqlite.written) == ("sqlite", "ok", 101)
    assert (json.sink, json.state) == ("json", "off")
    assert sum(sqlite.flush_time_buckets) == sqlite.batches
    names = {field[0] for field in _abi.StoreStats._fields_} - {"struct_size"}
    assert names == set(stats._fields)
    assert {field[0] for field in _abi.SinkStats._fields_} == set(sqlite._fields)
    assert store.latest("A").flags == tickstore.FLAG_CROSSED


def test_days(store):
    fill(store)
    store.flush(10)
    for full in (False, True):
        days = store.days(full=full)
        assert [(day.day_ns, day.sink, day.code, day.quotes) for day in days] == [
            (NOON - DAY // 2 + i * DAY, "sqlite", 0, 1000) for i in range(3)
        ]
    assert {"count"} | {f[0] for f in _abi.DayInfo._fields_} == {"count"} | set(days[0]._fields) - {"quotes"}


def test_gaps(path):
    """Quotes lost on purpose, and every one of them in the ledger."""
    with tickstore.Store(
        path, journal=False, queue_policy="drop", queue_records=16, batch_records=16, throttle_relative=-1
    ) as store:
        assert store.gaps() == []
        dropped = 0
        for _ in range(1000):  # until the writer is late
            dropped += store.put_many("A", range(NOON, NOON + 10_000), [1.0] * 10_000, None, errors="return").dropped
            if dropped:
                break
        with contextlib.suppress(tickstore.UnwrittenError):
            store.flush(30)
        gaps = store.gaps()
        assert sum(gap.records for gap in gaps) == dropped == store.stats().dropped > 0
        assert {(gap.cause, gap.sink) for gap in gaps} == {("full", None)}
        assert {gap.symbol for gap in gaps} <= {"A", None}
        ends = [seq for gap in gaps for seq in (gap.from_seq, gap.to_seq)]
        assert ends == sorted(ends) and ends[-1] <= store.stats().last_seq
        assert store.gaps(ends[-1] + 1) == []
        for bad, cls in ((-1, tickstore.LimitError), (2**64, tickstore.LimitError), (1.5, TypeError)):
            with pytest.raises(cls):
                store.gaps(bad)


@pytest.mark.parametrize("backend", ["sqlite", "json", "dual"])
def test_sinks(path, backend):
    with tickstore.Store(path, backend=backend) as store:
        seq = store.put("A", NOON, 1, 2)
        for sink in ("sqlite", "json"):
            if backend in (sink, "dual"):
                store.flush(30, sink=sink)
                store.flush(sink=sink)
                assert store.sink_durable_seq(sink) >= seq
            else:
                for call in (lambda sink=sink: store.flush(sink=sink), lambda sink=sink: store.sink_durable_seq(sink)):
                    with pytest.raises(tickstore.InvalidArgumentError) as caught:
                        call()
                    assert caught.value.name == "TKS_EINVAL"
        for call in (lambda: store.flush(sink="dual"), lambda: store.sink_durable_seq("disk")):
            with pytest.raises(tickstore.InvalidArgumentError, match="sink is"):
                call()


def sick(path, **fields):
    """A store whose day files cannot be written: a file stands where their directory should be."""
    store = tickstore.Store(path, retry_attempts=0, degraded_retry_ms=20, close_limit_ms=0, **fields)
    (path / "db").write_text("")
    return store


def test_a_sick_sink_and_a_well_one(path):
    store = sick(path, backend="dual")
    seq = store.put("A", NOON, 1, 2)
    store.flush(30, sink="json")
    assert store.sink_durable_seq("json") >= seq > store.sink_durable_seq("sqlite")
    with pytest.raises(tickstore.FlushTimeoutError):
        store.flush(0.05, sink="sqlite")
    (path / "db").unlink()
    store.flush(30, sink="sqlite")
    store.close()


def test_kept(path):
    """A close that leaves quotes to the journal is no error, and the next open goes on with them."""
    with sick(path) as store:
        store.put("A", NOON, 1, 2)
    assert store.closed
    (path / "db").unlink()
    with tickstore.Store(path) as store:
        assert store.stats().recovered == 1
        store.flush(30)
        assert [q.ts_ns for q in store.range("A")] == [NOON]


def test_unwritten(path):
    store = sick(path, journal=False)
    store.put("A", NOON, 1, 2)
    with pytest.raises(tickstore.UnwrittenError, match="1"):
        store.close()
    assert store.closed


def test_no_warnings(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with tickstore.Store(path) as store:
            store.put("A", NOON, 1, 2)
        gc.collect()
