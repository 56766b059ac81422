"""Tables: a sequence of quotes, columns over the library's memory, streams for others."""

import gc
import math
import sys
import weakref

import pytest
from conftest import MS, NOON

import tickstore
from tickstore import _arrow


@pytest.fixture
def table(store):
    count = 1000
    store.put_many(
        ["A"] * count,
        range(NOON, NOON + count * MS, MS),
        [None if i % 7 == 0 else i * 0.5 for i in range(count)],
        [None if i % 7 == 1 else i * 0.5 + 1 for i in range(count)],
        bid_size=range(count),
        source=[None, "S", "T"][1:] * 250 + [None, "U"] * 250,
        recv=[None if i % 3 else NOON + i for i in range(count)],
        flags=0x50000,
    )
    return store.range("A")


def test_sequence(table):
    quotes = list(table)
    assert len(quotes) == len(table) == 1000 and isinstance(quotes[0], tickstore.Quote)
    for i, q in enumerate(quotes):
        assert (q.ts_ns, q.symbol, q.bid_size, q.ask_size, q.flags) == (NOON + i * MS, "A", i, 0.0, 0x50000)
        assert math.isnan(q.bid) if i % 7 == 0 else q.bid == i * 0.5
        assert math.isnan(q.ask) if i % 7 == 1 else q.ask == i * 0.5 + 1
        assert q.source == (["S", "T"][i % 2] if i < 500 else [None, "U"][i % 2])
        assert q.recv_ns == (None if i % 3 else NOON + i)
    assert repr(table[3]) == repr(quotes[3]) and repr(table[-1]) == repr(quotes[-1])
    for bad in (1000, -1001, 2**70):
        with pytest.raises(IndexError):
            table[bad]


@pytest.mark.parametrize("cut", [(0, 1000), (1, 999), (499, 507), (8, 16), (5, 5), (900, 2000), (-3, None), (7, 3)])
def test_slices(table, cut):
    part = table[slice(*cut)]
    want = list(table)[slice(*cut)]
    assert repr(list(part)) == repr(want) and len(part) == len(want)
    np = pytest.importorskip("numpy")
    assert part.bid_size.tolist() == [q.bid_size for q in want]
    assert part.source.tolist() == [q.source for q in want]
    assert np.array_equal(part.bid, table.bid[slice(*cut)], equal_nan=True)
    pa = pytest.importorskip("pyarrow")
    arrow = pa.table(part)
    arrow.validate(full=True)
    assert arrow["source"].to_pylist() == [q.source for q in want]
    assert arrow["bid"].null_count == sum(math.isnan(q.bid) for q in want)
    again = part[1:3]
    assert repr(list(again)) == repr(want[1:3])
    assert pa.table(again)["bid_size"].to_pylist() == [q.bid_size for q in want[1:3]]


def test_head_and_tail(table):
    assert [q.bid_size for q in table.head(2)] == [0, 1] and [q.bid_size for q in table.tail(2)] == [998, 999]
    assert len(table.head(0)) == len(table.tail(0)) == len(table.head(-1)) == len(table.tail(-1)) == 0
    assert len(table.head(5000)) == len(table.tail(5000)) == 1000
    with pytest.raises(ValueError):
        table[::2]


def test_columns(table):
    np = pytest.importorskip("numpy")
    for name in table.columns:
        column = table[name]
        assert column.shape == (1000,)
        if name not in ("symbol", "source"):
            assert not column.flags.writeable and not column.flags.owndata
            with pytest.raises(ValueError):
                column[0] = column[1]
            with pytest.raises(ValueError):
                column.setflags(write=True)
            assert table[name].ctypes.data == column.ctypes.data
    assert np.array_equal(table["spread"], table.ask - table.bid, equal_nan=True)
    assert np.array_equal(table.mid, (table.ask + table.bid) / 2, equal_nan=True)
    assert table.ts[0] == np.datetime64("2024-03-05T12:00:00")
    assert np.isnat(table.recv).sum() == 666 and (table.seq.dtype, table.flags.dtype) == ("u8", "u4")
    assert table.codes("source").tolist()[498:502] == [0, 1, -1, 2] and table.names("source") == ("S", "T", "U")
    for bad in ("price", "columns", "_batch", ""):
        with pytest.raises(KeyError):
            table[bad]
    with pytest.raises(KeyError):
        table.names("bid")


def test_buffers(table):
    assert table.buffer("bid_size").tolist() == list(range(1000))
    assert table[5:9].buffer("seq").tolist() == table.buffer("seq").tolist()[5:9]
    for name in table.columns:
        view = table.buffer(name)
        assert view.readonly and len(view) == 1000
        with pytest.raises(TypeError):
            view[0] = view[1]


def test_views_keep_the_memory(store):
    np = pytest.importorskip("numpy")
    store.put_many("A", NOON, 1.0, None, bid_size=range(1000))
    table = store.range("A")
    batch = weakref.ref(table._batch)
    view, part = table.bid_size, table[10:20].bid_size[2:4]
    del table
    gc.collect()
    store.close()
    junk = [np.full(1000, 7.0) for _ in range(100)]  # what is freed would be taken
    assert view.tolist() == list(range(1000)) and part.tolist() == [12, 13] and len(junk) == 100
    del view
    assert batch() is not None
    del part
    gc.collect()
    assert batch() is None


def test_empty(store):
    table = store.range("A")
    assert (
        len(table) == 0
        and list(table) == []
        and repr(table) == "Table: no quotes"
        and "0 quotes" in table._repr_html_()
    )
    assert table.names("symbol") == () and len(table[0:5]) == 0
    pytest.importorskip("numpy")
    assert [len(table[name]) for name in table.columns] == [0] * 10 and table.codes("source").tolist() == []
    store.put_many(table)
    for module, use in (
        ("pandas", lambda _: table.to_pandas().shape),
        ("polars", lambda _: table.to_polars().shape),
        ("pyarrow", lambda _: table.to_arrow().shape),
    ):
        shape = use(pytest.importorskip(module))
        assert shape in ((0, 10), (0, 9))


def test_shows(table):
    text = repr(table).split("\n")
    assert text[0] == "Table: 1,000 quotes" and len(text) == 13
    assert text[1].split() == ["time", "symbol", "bid", "ask", "bid_size", "source", "seq"]
    assert text[2].split()[:4] == ["2024-03-05T12:00:00Z", "A", "-", "1.0"] and text[7].split() == ["..."] * 7
    assert len({line.index("A") for line in text[2:7]}) == 1
    assert repr(table[:1]).startswith("Table: 1 quote\n") and len(repr(table[:10]).split("\n")) == 12
    html = table._repr_html_()
    assert html.count("<tr>") == 12 and "<caption>1,000 quotes</caption>" in html


def test_html_is_escaped(store):
    store.put("<b>&", NOON, 1, 2)
    assert "&lt;b&gt;&amp;" in store.range("<b>&")._repr_html_()


# --------------------------------------------------------------------- streams


def test_nulls_and_dictionaries_arrive(table, store):
    pa = pytest.importorskip("pyarrow")
    want = [
        {**q._asdict(), "bid": None if q.bid != q.bid else q.bid, "ask": None if q.ask != q.ask else q.ask}
        for q in table
    ]
    for source in (table, store.scan("A", chunk_records=7), store.scan("A", chunk_records=300)):
        arrow = pa.table(source)
        arrow.validate(full=True)
        for name in ("symbol", "bid", "ask", "bid_size", "ask_size", "source", "seq", "flags"):
            assert arrow[name].to_pylist() == [row[name] for row in want], name
        assert arrow["ts"].cast("int64").to_pylist() == [row["ts_ns"] for row in want]
        assert arrow["recv"].cast("int64").to_pylist() == [row["recv_ns"] for row in want]
        frame = arrow.to_pandas()
        assert [None if x != x else x for x in frame["source"].tolist()] == [row["source"] for row in want]
    pl = pytest.importorskip("polars")
    for source in (table, store.scan("A", chunk_records=7)):
        frame = pl.DataFrame(source)
        assert frame["source"].cast(pl.String).to_list() == [row["source"] for row in want]
        assert frame["bid"].to_list() == [row["bid"] for row in want]
    duckdb = pytest.importorskip("duckdb")
    scan = store.scan("A", chunk_records=7)
    for name in ("table_", "scan"):
        table_ = table  # "table" itself is a word of SQL
        rows = duckdb.sql(f"SELECT source::VARCHAR, bid, ask, seq FROM {name}").fetchall()
        assert len(table_) == len(rows) == sum(map(len, scan))
        assert rows == [(row["source"], row["bid"], row["ask"], row["seq"]) for row in want]


def test_pandas_nulls(table):
    pytest.importorskip("pandas")
    frame = table.to_pandas()
    assert frame.source.isna().sum() == 250 and frame.bid.isna().sum() == 143 and frame.recv.isna().sum() == 666
    frame.loc[frame.index[0], "bid"] = 5.0  # its own memory
    assert math.isnan(table.bid[0])


def test_two_streams_are_independent(table):
    pa = pytest.importorskip("pyarrow")
    one, two = pa.RecordBatchReader.from_stream(table), pa.RecordBatchReader.from_stream(table)
    first = one.read_next_batch()
    assert len(first) == 1000 and len(two.read_next_batch()) == 1000
    for reader in (one, two):
        with pytest.raises(StopIteration):
            reader.read_next_batch()
    capsules = [table.__arrow_c_stream__() for _ in range(3)]
    del table
    gc.collect()
    assert all("arrow_array_stream" in repr(capsule) for capsule in capsules)
    assert [len(pa.table(Given(capsule))) for capsule in capsules] == [1000] * 3
    with pytest.raises(Exception, match=r"(?i)released|invalid"):
        pa.table(Given(capsules[0]))  # taken once
    assert first["bid_size"].to_pylist() == list(range(1000))


class Given:
    def __init__(self, capsule):
        self.capsule = capsule

    def __arrow_c_stream__(self, requested_schema=None):
        return self.capsule


def test_schema(table, store):
    pa = pytest.importorskip("pyarrow")
    want = pa.schema(
        [
            pa.field("ts", pa.timestamp("ns", "UTC"), False),
            pa.field("symbol", pa.dictionary(pa.int32(), pa.string()), False),
            pa.field("bid", pa.float64()),
            pa.field("ask", pa.float64()),
            pa.field("bid_size", pa.float64(), False),
            pa.field("ask_size", pa.float64(), False),
            pa.field("source", pa.dictionary(pa.int32(), pa.string())),
            pa.field("seq", pa.uint64(), False),
            pa.field("flags", pa.uint32(), False),
            pa.field("recv", pa.timestamp("ns", "UTC")),
        ]
    )
    for source in (table, store.scan("A"), store.range("never")):
        assert pa.schema(source) == want
        assert pa.table(source).schema == want


def test_capsules_that_nobody_takes(store):
    """Their streams are released, though a capsule has no destructor."""
    store.put("A", NOON, 1, 2)
    table = store.range("A")
    batch = weakref.ref(table._batch)
    streams = [table.__arrow_c_stream__() for _ in range(5)]
    content = [weakref.ref(struct) for _, struct in _arrow._exported]
    assert len(content) == 5 and all(ref().release for ref in content)
    _arrow._sweep()
    assert all(ref().release for ref in content)  # somebody may still take them
    del streams
    gc.collect()
    _arrow._sweep()
    assert [ref() for ref in content] == [None] * 5
    kept = table.__arrow_c_stream__()
    del table
    gc.collect()
    assert batch() is None and len(_arrow._exported) == 1
    del kept
    _arrow._sweep()
    assert not _arrow._exported


def test_memory_is_given_back(store):
    pa = pytest.importorskip("pyarrow")
    count = 200_000
    store.put_many("M", range(NOON, NOON + count), [float(i) for i in range(count)], None)
    store.flush(30)

    def resident():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    before = None
    for round_ in range(60):
        table = store.range("M")
        half = table[: count // 2]
        capsule = half.__arrow_c_stream__()
        arrow = pa.table(table)
        view = table.bid
        del table, half, capsule, arrow, view
        if round_ == 10:
            before = resident()
    assert resident() - before < 40 * 2**20  # each round made 13 MB


def test_plot(table):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    price, spread = table.plot()
    assert [line.get_label() for line in price.get_lines()] == ["bid", "ask"] and len(spread.get_lines()) == 1
    assert price.get_title() == "A" and len(price.get_lines()[0].get_xdata()) == 1000
    _, axes = plt.subplots(2)
    assert table[:10].plot(axes) is axes
    plt.close("all")


def test_plot_of_many_symbols(store):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    store.put_many(["A", "B"], [NOON, NOON + 1], [1, 2], [3, 4])
    price, spread = store.latest_all().plot()
    assert [line.get_label() for line in price.get_lines()] == ["bid A", "ask A", "bid B", "ask B"]
    assert len(spread.get_lines()) == 2
    store.range("never").plot()


def test_references_are_counted_right():
    """The base that _sweep compares with: one fresh capsule, nobody else."""
    assert not _arrow._exported
    capsule = _arrow.schema_of(_arrow.share(None, 0, 0))
    assert sys.getrefcount(capsule) > 1
    _arrow._sweep()
    assert len(_arrow._exported) == 1
    del capsule
    _arrow._sweep()
    assert not _arrow._exported
