"""A day of EURUSD in, and out through every way there is, value for value."""

import math

import pytest

import tickstore


@pytest.fixture(scope="module")
def filled(eurusd, tmp_path_factory):
    np = pytest.importorskip("numpy")
    ts, bid, ask = (np.array(column) for column in zip(*eurusd))
    with tickstore.Store(tmp_path_factory.mktemp("eurusd"), throttle_relative=-1) as store:
        result = store.put_many("EURUSD", ts, bid, ask, source="OANDA", recv=ts + 1)
        assert result.accepted == len(eurusd)
        assert result[1:5] == (0, 0, 0, 0)
        store.flush(30)
        yield store


@pytest.fixture
def table(filled):
    return filled.range("EURUSD", "2014-05-02", "2014-05-03")


@pytest.fixture(params=["range", "scan"])
def source(request, filled):
    """What both kinds of reading give to an Arrow reader; scan comes in many batches."""
    if request.param == "range":
        return filled.range("EURUSD")
    return filled.scan("EURUSD", chunk_records=1000)


def test_iteration(table, eurusd):
    assert [(q.ts_ns, q.bid, q.ask) for q in table] == eurusd
    assert {(q.symbol, q.source, q.bid_size, q.flags) for q in table} == {("EURUSD", "OANDA", 0.0, 0)}
    assert all(q.recv_ns == q.ts_ns + 1 for q in table)


def test_numpy(table, eurusd):
    assert table.ts_ns.tolist() == [row[0] for row in eurusd]
    assert table.ts.dtype == "M8[ns]" and table.ts.view("i8").tolist() == [row[0] for row in eurusd]
    assert table.bid.tolist() == [row[1] for row in eurusd]
    assert table.ask.tolist() == [row[2] for row in eurusd]
    assert (table.recv.view("i8") == table.ts_ns + 1).all()
    assert set(table.symbol) == {"EURUSD"} and set(table.source) == {"OANDA"}
    assert (table.seq[1:] > table.seq[:-1]).all()


def test_pandas(table, eurusd):
    pd = pytest.importorskip("pandas")
    frame = table.to_pandas()
    assert str(frame.index.dtype) == "datetime64[ns, UTC]" and frame.index.name == "ts"
    assert frame.index.asi8.tolist() == [row[0] for row in eurusd]
    assert frame.bid.tolist() == [row[1] for row in eurusd] and frame.ask.tolist() == [row[2] for row in eurusd]
    assert frame.symbol.unique().tolist() == ["EURUSD"] and frame.source.unique().tolist() == ["OANDA"]
    assert str(frame.recv.dtype) == "datetime64[ns, UTC]"
    assert (frame.recv - frame.index == pd.Timedelta(1, "ns")).all()
    assert frame.resample("1h").bid.count().sum() == len(eurusd)


def test_polars(source, eurusd):
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(source)
    assert frame.schema["ts"] == pl.Datetime("ns", "UTC")
    assert frame["ts"].to_physical().to_list() == [row[0] for row in eurusd]
    assert list(zip(frame["bid"], frame["ask"])) == [row[1:] for row in eurusd]
    assert frame["symbol"].cast(pl.String).unique().to_list() == ["EURUSD"]
    assert frame["source"].cast(pl.String).unique().to_list() == ["OANDA"]
    assert (frame["recv"] - frame["ts"]).to_physical().unique().to_list() == [1]


def test_polars_method(table, eurusd):
    pytest.importorskip("polars")
    assert table.to_polars()["bid"].to_list() == [row[1] for row in eurusd]


def test_pyarrow(source, eurusd):
    pa = pytest.importorskip("pyarrow")
    table = pa.table(source)
    table.validate(full=True)
    assert table["ts"].type == pa.timestamp("ns", "UTC")
    assert table["ts"].cast("int64").to_pylist() == [row[0] for row in eurusd]
    assert table["bid"].to_pylist() == [row[1] for row in eurusd]
    assert table["ask"].to_pylist() == [row[2] for row in eurusd]
    assert table["symbol"].unique().to_pylist() == ["EURUSD"]
    assert table["source"].unique().to_pylist() == ["OANDA"]


def test_pyarrow_method_shares_the_memory(table):
    pytest.importorskip("pyarrow")
    column = table.to_arrow()["bid"].chunk(0)
    assert column.buffers()[1].address == table.bid.ctypes.data


def test_duckdb(source, eurusd):
    duckdb = pytest.importorskip("duckdb")
    rows = duckdb.sql("SELECT epoch_ns(ts), bid, ask, symbol::VARCHAR, source::VARCHAR FROM source").fetchall()
    assert [row[:3] for row in rows] == eurusd
    assert {row[3:] for row in rows} == {("EURUSD", "OANDA")}


def test_duckdb_computes(table, eurusd):
    duckdb = pytest.importorskip("duckdb")
    query = "SELECT avg(ask - bid), count(*) FROM day WHERE hour(ts AT TIME ZONE 'UTC') = 12"
    day = table
    mean, count = duckdb.sql(query).fetchall()[0]
    assert day is table
    hour = [ask - bid for ts, bid, ask in eurusd if ts // 3_600_000_000_000 % 24 == 12]
    assert count == len(hour) and math.isclose(mean, sum(hour) / count, rel_tol=1e-9)


@pytest.mark.parametrize("kind", ["lists", "pandas", "polars", "pyarrow", "Table", "structured", "mapping", "stream"])
def test_every_kind_goes_in(kind, table, eurusd, path):
    given = {
        "lists": lambda: {name: list(c) for name, c in zip(("ts", "bid", "ask"), zip(*eurusd))},
        "mapping": lambda: {"ts": table.ts, "bid": table.bid, "ask": table.ask, "recv": table.recv},
        "pandas": table.to_pandas,
        "polars": table.to_polars,
        "pyarrow": table.to_arrow,
        "Table": lambda: table,
        "structured": lambda: table.to_pandas().reset_index()[["bid", "ask"]].assign(ts=table.ts_ns).to_records(),
        "stream": lambda: OnlyStream(table),
    }[kind]
    try:
        given = given()
    except ImportError as error:
        pytest.skip(str(error))
    names = {"symbol": "EURUSD"} if kind in ("lists", "mapping", "structured") else {}
    with tickstore.Store(path, throttle_relative=-1) as store:
        assert store.put_many(given, **names).accepted == len(eurusd)
        back = store.range("EURUSD")
        assert back.ts_ns.tolist() == [row[0] for row in eurusd]
        assert back.bid.tolist() == [row[1] for row in eurusd] and back.ask.tolist() == [row[2] for row in eurusd]
        if kind in ("pandas", "polars", "pyarrow", "Table", "stream"):
            assert (back.recv == table.recv).all() and set(back.source) == {"OANDA"}


class OnlyStream:
    """Of no library at all."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


def test_default_throttle_counts_what_it_skips(eurusd, path):
    with tickstore.Store(path) as store:
        result = store.put_many("EURUSD", *zip(*eurusd))
        assert result.throttled > 0 and result.accepted + result.throttled == len(eurusd)
        assert len(store.range("EURUSD")) == result.accepted
