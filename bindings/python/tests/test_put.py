"""put and put_many: every kind of column, every refusal, nothing lost uncounted."""

import array
import math
from datetime import datetime, timezone
from decimal import Decimal

import pytest
from conftest import MS, NOON

import tickstore
from tickstore import _abi

NAN, INF = float("nan"), float("inf")


# ------------------------------------------------------------------------ times


@pytest.mark.parametrize(
    "value, ns",
    [
        (5, 5),
        (-5, -5),
        ("1970-01-01", 0),
        ("2024-03-05T12:00:00Z", NOON),
        ("2024-03-05 12:00:00.123456789Z", NOON + 123456789),
        ("2024-03-05T13:30+01:30", NOON),
        ("2024-03-05T07:00:00.5-0500", NOON + 500 * MS),
        ("1969-12-31T23:59:59.999999999Z", -1),
        (datetime(2024, 3, 5, 12, 0, 0, 1, timezone.utc), NOON + 1000),
        (datetime(2024, 3, 5).date(), NOON - 43_200_000_000_000),
    ],
)
def test_time(value, ns):
    assert tickstore.to_ns(value) == ns


@pytest.mark.parametrize("value", [1.5, None, b"2024", [5], 1e18])
def test_no_time(value, store):
    with pytest.raises(TypeError):
        tickstore.to_ns(value)


@pytest.mark.parametrize(
    "value",
    [2**63, -(2**63) - 1, "", "yesterday", "2024-03-05T12:00:00", "2024-13-05", datetime(2024, 3, 5), "20240305"],
)
def test_bad_time(value, store):
    with pytest.raises(ValueError):
        tickstore.to_ns(value)
    with pytest.raises(ValueError):
        store.put("A", value, 1, 2)


def test_times_of_numpy_and_pandas():
    np = pytest.importorskip("numpy")
    assert tickstore.to_ns(np.datetime64("2024-03-05T12:00:00.000000001")) == NOON + 1
    assert tickstore.to_ns(np.datetime64("2024-03-05", "D")) == NOON - 43_200_000_000_000
    assert tickstore.to_ns(np.int64(NOON)) == NOON
    for bad in (np.datetime64("NaT", "ns"), np.datetime64("9999-01-01", "D"), np.datetime64(1, "ps")):
        with pytest.raises(ValueError):
            tickstore.to_ns(bad)
    pd = pytest.importorskip("pandas")
    assert tickstore.to_ns(pd.Timestamp("2024-03-05T13:00:00.000000001+01:00")) == NOON + 1
    with pytest.raises(ValueError):
        tickstore.to_ns(pd.Timestamp("2024-03-05"))


# -------------------------------------------------------------------------- put


def test_bits_are_kept(store):
    values = [5e-324, 0.0, 1.7976931348623157e308, 0.1, -37.63, math.pi, 1e-310]
    for i, value in enumerate(values):
        store.put("A", NOON + i, value, None)
        store.put("A", NOON + i, None, value)
    for from_disk in (False, True):
        table = store.range("A")
        sides = [(q.bid, q.ask) for q in table]
        for i, value in enumerate(values):
            assert sides[2 * i][0].hex() == value.hex() and sides[2 * i + 1][1].hex() == value.hex()
            assert math.isnan(sides[2 * i][1]) and math.isnan(sides[2 * i + 1][0])
        if not from_disk:
            store.flush(10)


REFUSED = [
    ({"bid": None, "ask": None}, tickstore.SidesError, "TKS_ESIDES"),
    ({"bid": INF}, tickstore.PriceError, "TKS_EPRICE"),
    ({"ask": -INF}, tickstore.PriceError, "TKS_EPRICE"),
    ({"bid_size": -1.0}, tickstore.SizeError, "TKS_ESIZE"),
    ({"ask_size": NAN}, tickstore.SizeError, "TKS_ESIZE"),
    ({"ts": 0}, tickstore.TimeWindowError, "TKS_ETIME"),
    ({"ts": 2**62}, tickstore.TimeWindowError, "TKS_ETIME"),
    ({"bid": 3.0, "ask": 2.0}, tickstore.CrossedError, "TKS_ECROSSED"),
    ({"symbol": 99}, tickstore.UnknownNameError, "TKS_ESYMBOL"),
    ({"source": 99}, tickstore.UnknownNameError, "TKS_ESOURCE"),
]


@pytest.mark.parametrize("change, cls, name", REFUSED)
def test_refused(path, change, cls, name):
    quote = {"symbol": "A", "ts": NOON, "bid": 1.0, "ask": 2.0, **change}
    with tickstore.Store(path, crossed_policy="refuse") as store:
        with pytest.raises(cls) as caught:
            store.put(**quote)
        error = caught.value
        assert error.name == name and error.code == _abi.STATUS[name[4:]] and str(error) == error.message != ""
        assert isinstance(error, (ValueError, LookupError))
        assert store.stats()[1:6] == (1, 0, 0, 0, 1)
        assert len(store.range("A")) == 0
        # The same in the middle of an array: all others are in.
        columns = {
            key: [value] * 5 for key, value in {**quote, "symbol": "A", "ts": NOON, "bid": 1.0, "ask": 2.0}.items()
        }
        columns["ts"] = [NOON + i for i in range(5)]
        columns["bid"] = [1.0 + i / 10 for i in range(5)]
        for key in columns:
            if key in change:
                good = {"bid_size": 0.0, "ask_size": 0.0, "source": None}.get(key)
                columns[key] = [good if key in ("bid_size", "ask_size", "source") else v for v in columns[key]]
                columns[key][2] = change[key]
        if "source" in columns or "symbol" in change:
            for key, plain in (("symbol", store.symbol("A")), ("source", store.source("S"))):
                if key in columns:
                    columns[key] = [plain if v in (None, "A") else v for v in columns[key]]
        columns["symbols"] = columns.pop("symbol")
        symbols = columns.pop("symbols")
        with pytest.raises(cls, match=r"^quote 2: ") as caught:
            store.put_many(symbols, **columns)
        assert caught.value.index == 2
        result = caught.value.result
        assert (result.accepted, result.refused, result.first_bad, result.first_bad_code) == (4, 1, 2, error.code)
        assert len(store.range("A")) == 4
        result = store.put_many(
            symbols,
            **{**columns, "bid": [b + 0.05 if b and b < INF else b for b in columns["bid"]]},
            errors="return",
            codes=True,
        )
        assert result.codes.tolist() == [0, 0, error.code, 0, 0]


@pytest.mark.parametrize(
    "change",
    [
        {"bid": "1"},
        {"ask": b"1"},
        {"bid_size": None},
        {"flags": "x"},
        {"flags": -1},
        {"flags": 2**32},
        {"recv": 1.5},
        {"bid": [1]},
    ],
)
def test_types(store, change):
    with pytest.raises((TypeError, ValueError)) as caught:
        store.put(**{"symbol": "A", "ts": NOON, "bid": 1.0, "ask": 2.0, **change})
    assert not isinstance(caught.value, tickstore.TickstoreError)
    assert store.stats().received == 0


def test_numbers_of_every_kind(store):
    np = pytest.importorskip("numpy")
    store.put("A", np.int64(NOON), np.float64(1), np.float32(2))
    store.put("A", NOON + 1, Decimal("1.5"), 2, flags=np.uint32(0x10000))
    assert len(store.range("A")) == 2


def test_skips(path):
    with tickstore.Store(path, crossed_policy="drop") as store:
        assert store.put("A", NOON, 1, 2) > 0
        assert store.put("A", NOON + 1, 1, 2) == 0
        assert store.put("A", NOON + 2, 3, 2) == 0
        result = store.put_many("A", [NOON + 3, NOON + 4, NOON + 5], [1, 3, 5], [2, 2, 6], codes=True)
        assert result[:5] == (1, 1, 1, 0, 0) and list(result.codes) == [1, 2, 0]
        assert store.stats().throttled == 2 and store.stats().crossed_dropped == 2


def test_full_queue_drops_when_told_to(path):
    count = 100_000
    ts, bid = range(NOON, NOON + count), [float(i) for i in range(count)]
    with tickstore.Store(
        path,
        journal=False,
        queue_policy="drop",
        queue_records=16,
        backlog_records=0,
        batch_records=16,
        throttle_relative=-1,
        ring_records=count,
    ) as store:
        for _ in range(1000):  # until the writer is late
            result = store.put_many("A", ts, bid, None, errors="return")
            assert result.accepted + result.dropped == count
            if result.dropped > 0:
                break
        assert result.dropped > 0
        assert result.first_bad_code == _abi.STATUS["EQUEUEFULL"]
        assert len(store.recent("A", count)) == count  # in memory all the same
        with pytest.raises(tickstore.QueueFullError) as caught:
            for _ in range(1000):
                store.put_many("A", ts, bid, None)
        assert caught.value.result.dropped > 0
        store.flush(30)
        stats = store.stats()
        assert stats.accepted == stats.sinks[0].written + stats.dropped


def test_full_queue_waits_by_default(path):
    with tickstore.Store(path, journal=False, queue_records=1000, throttle_relative=-1, ring_records=1) as store:
        result = store.put_many("A", range(NOON, NOON + 200_000), [1.0] * 200_000, None)
        assert result.accepted == 200_000 and store.stats().dropped == 0


# --------------------------------------------------------------------- put_many


def test_many_symbols_and_sources(store):
    names = ["EUR", "GBP", "EUR", "JPY"] * 3000
    sources = ["X", None, "", "Y"] * 3000
    ts = list(range(NOON, NOON + 12000))
    assert store.put_many(names, ts, ts, ts, source=sources).accepted == 12000
    assert [(s.name, s.quotes) for s in store.symbols()] == [("EUR", 6000), ("GBP", 3000), ("JPY", 3000)]
    assert [q.source for q in store.range("EUR")] == ["X", None] * 3000
    assert [q.ts_ns for q in store.range("JPY")] == ts[3::4]
    assert store.stats().sources == 2


def test_scalars_and_empty(store):
    assert store.put_many("A", NOON, 1, 2).accepted == 1
    assert (
        store.put_many("A", [NOON, NOON + 1], 1, [2, 3], bid_size=4, source="S", recv=NOON, flags=0x10000).accepted == 2
    )
    quote = store.latest("A")
    assert (quote.bid, quote.bid_size, quote.source, quote.recv_ns, quote.flags) == (1.0, 4.0, "S", NOON, 0x10000)
    result = store.put_many("A", [], [], [])
    assert result == tickstore.PutResult(0, 0, 0, 0, 0, 0, 0, None, 0)
    assert store.put_many("A", [], [], [], codes=True).codes.tolist() == []


def test_numbers_of_blocks(store):
    for count in (1, 4095, 4096, 4097, 12288):
        first = store.stats().last_seq + 1
        result = store.put_many("A", range(NOON, NOON + count), [1.0] * count, None)
        assert (result.accepted, result.first_seq, result.last_seq) == (count, first, first + count - 1)


def absent_times(kind):
    """Three times, the one in the middle absent, as each library has it."""
    np = pytest.importorskip("numpy")
    if kind == "masked integers":
        return np.ma.masked_array([NOON, 5, NOON + 2], [0, 1, 0])
    if kind == "masked datetimes":
        return np.ma.masked_array(np.array([NOON, NOON + 1, NOON + 2], "M8[ns]"), [0, 1, 0])
    if kind == "big-endian":
        return np.array([NOON, -(2**63), NOON + 2], ">i8").view(">M8[ns]")
    if kind == "objects":
        return np.array([NOON, np.datetime64("NaT", "ns"), np.datetime64(NOON + 2, "ns")], object)
    if kind.startswith("pandas"):
        pd = pytest.importorskip("pandas")
        first, last = (pd.Timestamp(ns, tz="Asia/Tokyo") for ns in (NOON, NOON + 2))
        return {
            "pandas objects": lambda: pd.Series([first, pd.NaT, last], dtype=object),
            "pandas NA": lambda: pd.Series([first, pd.NA, last], dtype=object),
            "pandas Int64": lambda: pd.array([NOON, None, NOON + 2], "Int64"),
            "pandas Series Int64": lambda: pd.Series([NOON, None, NOON + 2], dtype="UInt64"),
            "pandas tz": lambda: pd.Series([first, pd.NaT, last]),
        }[kind]()
    if kind == "polars":
        return pytest.importorskip("polars").Series([NOON, None, NOON + 2])
    pa = pytest.importorskip("pyarrow")
    return pa.chunked_array([pa.array([NOON, None]), pa.array([NOON + 2])])


@pytest.mark.parametrize(
    "kind",
    [
        "masked integers",
        "masked datetimes",
        "big-endian",
        "objects",
        "pandas objects",
        "pandas NA",
        "pandas Int64",
        "pandas Series Int64",
        "pandas tz",
        "polars",
        "pyarrow",
    ],
)
def test_absent_times(store, kind):
    """As a time of receipt: not known. As an event time: refused, and it alone. Never rounded, never made up."""
    times = absent_times(kind)
    assert store.put_many("A", [NOON, NOON + 1, NOON + 2], [1, 2, 3], [2, 3, 4], recv=times).accepted == 3
    assert [q.recv_ns for q in store.range("A")] == [NOON, None, NOON + 2]
    result = store.put_many("B", times, [1, 2, 3], [2, 3, 4], errors="return")
    assert (result.accepted, result.refused, result.first_bad) == (2, 1, 1)
    assert result.first_bad_code == _abi.STATUS["ETIME"]
    assert [q.ts_ns for q in store.range("B")] == [NOON, NOON + 2]


def test_absent_numbers(store):
    np = pytest.importorskip("numpy")
    pd = pytest.importorskip("pandas")
    for i, bid in enumerate(
        (
            np.ma.masked_array([1.0, 77.0, 3.0], [0, 1, 0]),
            np.ma.masked_array([1, 77, 3], [0, 1, 0]),
            pd.Series([1, pd.NA, 3], dtype=object),
            pd.Series([1, None, 3], dtype="Int64"),
            [1, None, Decimal(3)],
        )
    ):
        store.put_many(f"A{i}", [NOON, NOON + 1, NOON + 2], bid, [4, 5, 6])
        assert [None if math.isnan(q.bid) else q.bid for q in store.range(f"A{i}")] == [1.0, None, 3.0]


def absent_names(kind):
    pd = pytest.importorskip("pandas")
    pa = pytest.importorskip("pyarrow")
    if kind == "pandas string":
        return pd.Series(["S", None, "T"], dtype="string")
    if kind == "masked":
        np = pytest.importorskip("numpy")
        return np.ma.masked_array(np.array(["S", "X", "T"], object), [0, 1, 0])
    if kind == "polars to Arrow":
        pl = pytest.importorskip("polars")
        frame = pl.DataFrame({"source": pl.Series(["S", None, "T"], dtype=pl.Categorical)})
        return frame.to_arrow().column("source")
    codes = pa.array([0, None, 1], getattr(pa, kind)())
    dictionary = pa.DictionaryArray.from_arrays(codes, ["S", "T"])
    return pa.chunked_array([dictionary[:1], dictionary[1:]])


@pytest.mark.parametrize("kind", ["pandas string", "masked", "polars to Arrow", "uint8", "int16", "uint32", "uint64"])
def test_absent_names(store, kind):
    store.put_many("A", [NOON, NOON + 1, NOON + 2], [1, 2, 3], None, source=absent_names(kind))
    assert [q.source for q in store.range("A")] == ["S", None, "T"]
    assert store.stats().sources == 2


def test_absent_ids(store):
    pa = pytest.importorskip("pyarrow")
    source = store.source("S")
    ids = pa.array([int(source), None], pa.uint32())
    store.put_many("A", [NOON, NOON + 1], [1, 2], None, source=ids)
    assert [q.source for q in store.range("A")] == ["S", None]
    assert store.put_many(ids, [NOON, NOON + 1], [1, 2], None, errors="return").first_bad_code == _abi.STATUS["ESYMBOL"]


def test_symbols_are_no_sources(store):
    """Both count from 1: one in the other's place would be somebody else's id."""
    symbol, source = store.symbol("A"), store.source("S")
    for call in (
        lambda: store.put(source, NOON, 1, 2),
        lambda: store.put(symbol, NOON, 1, 2, source=symbol),
        lambda: store.put_many(source, NOON, 1, 2),
        lambda: store.put_many(symbol, [NOON], [1], [2], source=symbol),
        lambda: store.range(source),
        lambda: store.range(symbol, source=symbol),
        lambda: store.latest(source),
    ):
        with pytest.raises(TypeError, match="ids of their own"):
            call()
    assert store.stats().received == 0


def test_text_of_numpy_2(store):
    np = pytest.importorskip("numpy")
    if not hasattr(getattr(np, "dtypes", None), "StringDType"):
        pytest.skip("NumPy 2 has such text")
    store.put_many(np.array(["A", "B"], np.dtypes.StringDType()), [NOON, NOON], [1, 2], None)
    assert [s.name for s in store.symbols()] == ["A", "B"]


def test_lengths_and_shapes(store):
    np = pytest.importorskip("numpy")
    with pytest.raises(ValueError, match="length"):
        store.put_many("A", [NOON] * 3, [1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="dimensions"):
        store.put_many("A", np.full((2, 2), NOON), [1, 2], [1, 2])
    with pytest.raises(ValueError, match="errors"):
        store.put_many("A", NOON, 1, 2, errors="no")
    with pytest.raises(TypeError):
        store.put_many("A")
    with pytest.raises(TypeError):
        store.put_many("A", [float(NOON)], [1], [2])
    with pytest.raises(TypeError):
        store.put_many("A", [NOON], ["1.5"], [2])
    with pytest.raises(TypeError):
        store.put_many([None], [NOON], [1], [2])
    with pytest.raises(ValueError):
        store.put_many("A", np.array([2**63], "u8"), [1], [2])
    with pytest.raises(ValueError):
        store.put_many(np.array([-1]), [NOON], [1], [2])
    with pytest.raises(ValueError):
        store.put_many("A", np.array(["9999-01-01"], "M8[D]"), [1], [2])
    with pytest.raises(ValueError, match="no column ts"):
        store.put_many({"bid": [1]}, symbol="A")
    with pytest.raises(ValueError, match="symbol"):
        store.put_many({"ts": [NOON], "bid": [1]})
    with pytest.raises(ValueError, match="both"):
        store.put_many({"ts": [NOON], "ts_ns": [NOON], "bid": [1]}, symbol="A")
    assert store.stats().received == 0


def columns_of(kind):
    """Four quotes as columns of every kind of library: symbol, ts, bid, ask, source, recv."""
    np = pytest.importorskip("numpy")
    ts = [NOON, NOON + 1000, NOON + 2000, NOON + 3000]
    names, sources = ["A", "B", "A", "B"], ["S", None, "T", "S"]
    bid, ask = [1.0, 2.0, NAN, 4.0], [2, 3, 4, 5]
    base = {
        "list": lambda: (names, ts, bid, ask, sources, [NOON, None, NOON, NOON]),
        "tuple": lambda: tuple(map(tuple, (names, ts, [1.0, 2.0, None, 4.0], ask, sources, [NOON, None, NOON, NOON]))),
        "array": lambda: (names, array.array("q", ts), array.array("d", bid), array.array("i", ask), sources, None),
        "datetime": lambda: (
            names,
            [datetime.fromtimestamp(t // 1000 / 1e6, timezone.utc) for t in ts],
            bid,
            ask,
            sources,
            None,
        ),
        "numpy": lambda: (
            np.array(names),
            np.array(ts),
            np.array(bid),
            np.array(ask),
            np.array(sources, object),
            np.array(ts, "M8[ns]"),
        ),
        "numpy us": lambda: (
            np.array(names, object),
            np.array(ts, "M8[ns]").astype("M8[us]"),
            np.array(bid, "f4"),
            np.array(ask, "u1"),
            np.array(sources, object),
            np.array(["NaT"] * 4, "M8[s]"),
        ),
        "strided": lambda: tuple(
            np.repeat(np.array(column, dtype), 3)[::3]
            for column, dtype in ((names, object), (ts, "i8"), (bid, "f8"), (ask, "f8"), (sources, object), (ts, "i8"))
        ),
    }
    if kind in base:
        return base[kind]()
    if kind.startswith("pandas"):
        pd = pytest.importorskip("pandas")
        index = pd.DatetimeIndex(np.array(ts, "M8[ns]"), tz="UTC")
        if kind == "pandas":
            times = index.tz_convert("America/New_York")
            return (
                pd.Series(names),
                times,
                pd.Series(bid),
                pd.Series(ask),
                pd.Series(sources),
                pd.Series(times.as_unit("us")),
            )
        return (
            pd.Series(names, dtype="category"),
            index.tz_localize(None),
            pd.array([1, 2, None, 4], "Float64"),
            pd.Series(ask, dtype="Int64"),
            pd.Categorical(sources),
            pd.Series(index).where([True, False, True, True]),
        )
    if kind.startswith("polars"):
        pl = pytest.importorskip("polars")
        times = pl.Series(ts, dtype=pl.Int64).cast(pl.Datetime("ns", "UTC"))
        text = pl.Categorical if kind == "polars categorical" else pl.String
        return (
            pl.Series(names, dtype=text),
            times if kind == "polars" else times.dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("us"),
            pl.Series([1.0, 2.0, None, 4.0]),
            pl.Series(ask),
            pl.Series(sources, dtype=text),
            pl.Series([NOON, None, 1, 1]).cast(pl.Datetime("ns")),
        )
    pa = pytest.importorskip("pyarrow")
    times = pa.array(ts, pa.timestamp("ns", "UTC" if kind == "pyarrow" else "Asia/Tokyo"))
    columns = [pa.array(names), times, pa.array([1.0, 2.0, None, 4.0]), pa.array(ask), pa.array(sources), times]
    if kind == "pyarrow dictionary":
        columns[0], columns[4] = columns[0].dictionary_encode(), columns[4].dictionary_encode()
    if kind == "pyarrow chunked":
        columns = [pa.chunked_array([column[:1], column[1:1], column[1:]]) for column in columns]
    return columns


KINDS = [
    "list",
    "tuple",
    "array",
    "datetime",
    "numpy",
    "numpy us",
    "strided",
    "pandas",
    "pandas categorical",
    "polars",
    "polars categorical",
    "pyarrow",
    "pyarrow dictionary",
    "pyarrow chunked",
]


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_every_kind(kind, store):
    names, ts, bid, ask, source, recv = columns_of(kind)
    assert store.put_many(names, ts, bid, ask, source=source, recv=recv).accepted == 4
    quotes = [*store.range("A"), *store.range("B")]
    assert [q.ts_ns - NOON for q in quotes] == [0, 2000, 1000, 3000]
    assert [(q.source, q.ask) for q in quotes] == [("S", 2.0), ("T", 4.0), (None, 3.0), ("S", 5.0)]
    assert quotes[0].bid == 1.0 and math.isnan(quotes[1].bid) and [q.bid for q in quotes[2:]] == [2.0, 4.0]


def test_absent_times_of_receipt(store):
    np = pytest.importorskip("numpy")
    store.put_many("A", [NOON, NOON + 1], [1, 2], None, recv=np.array(["2024-03-05", "NaT"], "M8[ns]"))
    table = store.range("A")
    assert table[0].recv_ns == NOON - 43_200_000_000_000 and table[1].recv_ns is None
    assert np.isnat(table.recv).tolist() == [False, True]


def test_names_are_looked_up_once(store, monkeypatch):
    np = pytest.importorskip("numpy")
    pd = pytest.importorskip("pandas")
    asked = []
    lookup = store._symbol_id
    monkeypatch.setattr(store, "_symbol_id", lambda name: asked.append(name) or lookup(name))
    names = np.array(["A", "B", "C", "D"] * 10000, object)
    ts = np.arange(NOON, NOON + 40000)
    for column in (names, pd.Series(names), pd.Series(names, dtype="category"), names.astype(str), names.tolist()):
        asked.clear()
        store.put_many(column, ts, ts, None)
        assert sorted(asked) == ["A", "B", "C", "D"]


def test_columns_without_a_value(store):
    np = pytest.importorskip("numpy")
    nothing = np.array([NAN, NAN])
    assert store.put_many("A", [NOON, NOON + 1], [1, 2], None, source=nothing, recv=nothing).accepted == 2
    assert [(q.source, q.recv_ns) for q in store.range("A")] == [(None, None)] * 2
    with pytest.raises(TypeError):
        store.put_many(nothing, [NOON, NOON + 1], [1, 2], None)


def test_absent_event_time_is_refused(store):
    np = pytest.importorskip("numpy")
    with pytest.raises(tickstore.TimeWindowError):
        store.put_many("A", np.array(["NaT"], "M8[ns]"), [1], [2])


def test_the_caller_s_arrays_are_left_alone(store):
    np = pytest.importorskip("numpy")
    ts, bid = np.arange(NOON, NOON + 5000), np.arange(5000.0)
    kept = ts.copy(), bid.copy()
    for column in (ts, bid):
        column.setflags(write=False)
    store.put_many("A", ts, bid, bid + 1, recv=ts)
    assert (ts == kept[0]).all() and (bid == kept[1]).all()


def test_a_table_from_one_store_into_another(store, tmp_path):
    store.put_many(["A", "B"] * 100, range(NOON, NOON + 200), [1.0, None] * 100, [2.0] * 200, source=["S", None] * 100)
    with tickstore.Store(tmp_path / "other", throttle_relative=-1) as other:
        other.symbol("Z")  # ids differ
        for name in ("A", "B"):
            other.put_many(store.range(name)[10:20])
        for name in ("A", "B"):
            # seq differs
            want = [repr(q[:7] + q[8:]) for q in store.range(name)[10:20]]
            assert [repr(q[:7] + q[8:]) for q in other.range(name)] == want
