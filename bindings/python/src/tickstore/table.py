"""What reads give back: quotes in columns."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union, overload

from ._arrow import COLUMNS, Batch, batches, schema_of, share, stream_capsule
from ._columns import NAT, Words
from ._time import text_of
from .errors import LimitError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

_BLOCK = 4096  # rows turned into Python objects at a time
_SHOWN = 10  # rows of a repr


class Quote(NamedTuple):
    """One top-of-book quote. An absent side is NaN."""

    ts_ns: int  #: event time, nanoseconds since 1970-01-01T00:00:00Z
    symbol: str
    bid: float
    ask: float
    bid_size: float  #: 0 = none or not known
    ask_size: float
    source: Optional[str]
    seq: int  #: the store-wide sequence number
    flags: int  #: 1 = bid above ask; the upper 16 bits are the caller's
    recv_ns: Optional[int]  #: when it was received; None = not known

    @property
    def spread(self) -> float:
        return self.ask - self.bid

    @property
    def mid(self) -> float:
        return (self.bid + self.ask) / 2

    @property
    def time(self) -> str:
        """`ts_ns` as ISO 8601 text with all its digits, in UTC."""
        return text_of(self.ts_ns)


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        raise ImportError("the columns of a Table are NumPy arrays; without NumPy use buffer() or iterate") from None
    return numpy


class Table:
    """Quotes in columns, in the memory that the library filled; nothing is ever changed in it.

    ``len(table)``; iteration gives :class:`Quote`; ``table[3]`` one quote, ``table[10:20]`` a table over the same
    memory, ``table["bid"]`` a column. Columns are NumPy arrays of shape ``(len(table),)``, read-only views that stay
    valid for as long as they are held, whatever becomes of the table and the store.

    pyarrow, polars, pandas and DuckDB read it through ``__arrow_c_stream__`` without a copy, each time anew:
    ``pyarrow.table(table)``, ``polars.DataFrame(table)``, ``duckdb.sql("SELECT avg(ask - bid) FROM quotes")``.

    Attributes:
        damaged: messages of the damaged days that were left out (``Store.range(..., damaged="skip")``).
    """

    __slots__ = ("__weakref__", "_batch", "_count", "_first", "damaged")

    def __init__(self, batch: Optional[Batch], first: int = 0, count: Optional[int] = None) -> None:
        self._batch = batch
        self._first = first
        self._count = count if count is not None else (batch.length if batch is not None else 0)
        self.damaged: Tuple[str, ...] = ()

    @classmethod
    def _from_stream(cls, stream: Any) -> Table:
        found = list(batches(stream))
        if len(found) > 1:
            raise LimitError("more rows than one table holds; use scan()")
        return cls(found[0] if found else None)

    # ---------------------------------------------------------------- sequence

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Quote]:
        for first in range(0, self._count, _BLOCK):
            yield from self._rows(first, min(_BLOCK, self._count - first))

    def _rows(self, first: int, count: int) -> List[Quote]:
        columns: Dict[str, List[Any]] = {
            name: self.buffer(name)[first : first + count].tolist()
            for name in COLUMNS
            if name not in ("symbol", "source")
        }
        recv = [None if value == NAT else value for value in columns["recv"]]
        return [
            Quote(*row)
            for row in zip(
                columns["ts"],
                self._names("symbol", first, count),
                columns["bid"],
                columns["ask"],
                columns["bid_size"],
                columns["ask_size"],
                self._names("source", first, count),
                columns["seq"],
                columns["flags"],
                recv,
            )
        ]

    def _names(self, column: str, first: int, count: int) -> List[Optional[str]]:
        words = self._batch.words(column) if self._batch is not None else ()
        codes = self.buffer(column)[first : first + count].tolist()
        bits = self._batch.validity(column) if self._batch is not None else None
        if bits is None:
            return [words[code] for code in codes]
        start = self._first + first
        return [words[code] if bits[row >> 3] >> (row & 7) & 1 else None for row, code in enumerate(codes, start)]

    @overload
    def __getitem__(self, key: int) -> Quote: ...
    @overload
    def __getitem__(self, key: slice) -> Table: ...
    @overload
    def __getitem__(self, key: str) -> Array: ...

    def __getitem__(self, key: Union[int, slice, str]) -> Union[Quote, Table, Array]:
        if isinstance(key, str):
            if key not in COLUMNS and key not in ("ts_ns", "spread", "mid"):
                raise KeyError(key)
            array: Array = getattr(self, key)
            return array
        if isinstance(key, slice):
            first, stop, step = key.indices(self._count)
            if step != 1:
                raise ValueError("slices of a Table have step 1; take steps in its columns")
            part = Table(self._batch, self._first + first, max(0, stop - first))
            part.damaged = self.damaged
            return part
        index = key + self._count if key < 0 else key
        if not 0 <= index < self._count:
            raise IndexError(f"row {key} of {self._count}")
        return self._rows(index, 1)[0]

    def head(self, n: int = 5) -> Table:
        return self[: max(0, n)]

    def tail(self, n: int = 5) -> Table:
        return self[max(0, self._count - max(0, n)) :]

    # ----------------------------------------------------------------- columns

    @property
    def columns(self) -> Tuple[str, ...]:
        """The names of the columns, as Arrow readers see them."""
        return tuple(COLUMNS)

    def buffer(self, column: str) -> memoryview[Any]:
        """A column without NumPy: a read-only memoryview in the library's memory.

        int64 nanoseconds for ts and recv (-2**63: not known), float64 for prices and sizes (NaN: absent), uint64 for
        seq, uint32 for flags, int32 indexes into :meth:`names` for symbol and source (the index of an absent source
        means nothing).
        """
        if self._batch is None:
            form: Any = COLUMNS[column][1]
            empty: memoryview[Any] = memoryview(b"").cast(form)
            return empty
        return self._batch.column(column)[self._first : self._first + self._count]

    def names(self, column: str) -> Tuple[str, ...]:
        """What the indexes of ``buffer("symbol")`` and ``buffer("source")`` stand for."""
        if column not in ("symbol", "source"):
            raise KeyError(column)
        return self._batch.words(column) if self._batch is not None else ()

    def _view(self, column: str, dtype: str) -> Array:
        view: Array = _numpy().frombuffer(self.buffer(column), dtype)
        return view

    @property
    def ts(self) -> Array:
        """Event times, datetime64[ns], UTC. A view."""
        return self._view("ts", "M8[ns]")

    @property
    def ts_ns(self) -> Array:
        """Event times, int64 nanoseconds since 1970-01-01T00:00:00Z. A view."""
        return self._view("ts", "i8")

    @property
    def recv(self) -> Array:
        """Times of receipt, datetime64[ns], UTC; NaT where not known. A view."""
        return self._view("recv", "M8[ns]")

    @property
    def bid(self) -> Array:
        """float64; NaN where the side is absent. A view."""
        return self._view("bid", "f8")

    @property
    def ask(self) -> Array:
        """float64; NaN where the side is absent. A view."""
        return self._view("ask", "f8")

    @property
    def bid_size(self) -> Array:
        """float64; 0 = none or not known. A view."""
        return self._view("bid_size", "f8")

    @property
    def ask_size(self) -> Array:
        """float64; 0 = none or not known. A view."""
        return self._view("ask_size", "f8")

    @property
    def seq(self) -> Array:
        """Sequence numbers, uint64. A view."""
        return self._view("seq", "u8")

    @property
    def flags(self) -> Array:
        """uint32; 1 = bid above ask. A view."""
        return self._view("flags", "u4")

    @property
    def spread(self) -> Array:
        """ask - bid, in units of the price; NaN where a side is absent. A new array."""
        spread: Array = self.ask - self.bid
        return spread

    @property
    def mid(self) -> Array:
        """(bid + ask) / 2; NaN where a side is absent. A new array."""
        mid: Array = (self.bid + self.ask) / 2
        return mid

    def codes(self, column: str) -> Array:
        """int32 indexes into ``names(column)`` for symbol and source, -1 where there is none. A view if none is
        absent.
        """
        np = _numpy()
        codes: Array = self._view(column, "i4")
        bits = self._batch.validity(column) if self._batch is not None else None
        if bits is None:
            return codes
        valid = np.unpackbits(np.frombuffer(bits, "u1"), bitorder="little")
        absent: Array = np.where(valid[self._first : self._first + self._count] != 0, codes, np.int32(-1))
        return absent

    def _texts(self, column: str) -> Array:
        texts: Array = _numpy().array([*self.names(column), None], object)[self.codes(column)]
        return texts

    @property
    def symbol(self) -> Array:
        """Names, an object array of str. A new array; see also codes()."""
        return self._texts("symbol")

    @property
    def source(self) -> Array:
        """Names, an object array of str, None for none. A new array; see also codes()."""
        return self._texts("source")

    def _columns_for_put(self) -> Dict[str, Any]:
        try:
            words = {name: Words(self.codes(name), self.names(name)) for name in ("symbol", "source")}
        except ImportError:
            return {**{name: self.buffer(name) for name in COLUMNS if name != "seq"}, **self._plain_names()}
        numbers = {name: self[name] for name in ("ts", "bid", "ask", "bid_size", "ask_size", "flags", "recv")}
        return {**numbers, **words}

    def _plain_names(self) -> Dict[str, Any]:
        return {name: self._names(name, 0, self._count) for name in ("symbol", "source")}

    # ------------------------------------------------------------- other kinds

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The Arrow PyCapsule protocol: a stream of its own each time, over the same memory.

        Columns: ts timestamp[ns, UTC], symbol dictionary, bid and ask double (null = absent), bid_size, ask_size
        double, source dictionary (null = none), seq uint64, flags uint32, recv timestamp[ns, UTC] (null = not known).
        The requested schema is not followed, as the protocol allows.
        """
        return stream_capsule(share(self._batch, self._first, self._count))

    def __arrow_c_schema__(self) -> Any:
        return schema_of(share(None, 0, 0))

    def to_arrow(self) -> pa.Table:
        """A pyarrow.Table over the same memory."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_stream(self).read_all()

    def to_polars(self) -> pl.DataFrame:
        """A polars.DataFrame; ts and recv are Datetime("ns", "UTC"), symbol and source Categorical."""
        import polars as pl

        return pl.DataFrame(self)

    def to_pandas(self) -> pd.DataFrame:
        """A pandas.DataFrame of its own memory, indexed by ts (datetime64[ns, UTC]).

        symbol and source are Categorical, recv is datetime64[ns, UTC] with NaT, absent sides are NaN.
        """
        import pandas as pd

        def times(values: Array) -> Any:
            return pd.DatetimeIndex(values).tz_localize("UTC")

        def category(column: str) -> Any:
            codes: Any = self.codes(column)
            return pd.Categorical.from_codes(codes, categories=pd.Index(self.names(column), dtype="object"))

        columns = {
            "symbol": category("symbol"),
            "bid": self.bid,
            "ask": self.ask,
            "bid_size": self.bid_size,
            "ask_size": self.ask_size,
            "source": category("source"),
            "seq": self.seq,
            "flags": self.flags,
            "recv": times(self.recv),
        }
        return pd.DataFrame(columns, index=times(self.ts).rename("ts"))

    # -------------------------------------------------------------------- show

    def _shown(self) -> Tuple[List[Optional[Quote]], List[str]]:
        """The first and the last rows, None where some are left out, and which columns say anything."""
        rows: List[Optional[Quote]]
        if self._count > _SHOWN:
            rows = [*self.head(_SHOWN // 2), None, *self.tail(_SHOWN // 2)]
        else:
            rows = list(self)
        quotes = [row for row in rows if row is not None]
        columns = ["time", "symbol", "bid", "ask"]
        columns += [name for name in ("bid_size", "ask_size") if any(getattr(row, name) != 0 for row in quotes)]
        columns += ["source"] if any(row.source is not None for row in quotes) else []
        return rows, columns + ["seq"]

    @staticmethod
    def _cell(row: Quote, column: str) -> str:
        value = getattr(row, column)
        if value is None or value != value:
            return "-"
        return repr(value) if isinstance(value, float) else str(value)

    def _title(self) -> str:
        return f"{self._count:,} quote{'' if self._count == 1 else 's'}"

    def __repr__(self) -> str:
        rows, columns = self._shown()
        if not rows:
            return "Table: no quotes"
        lines = [columns] + [
            ["..."] * len(columns) if row is None else [self._cell(row, c) for c in columns] for row in rows
        ]
        widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
        body = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
        return "\n".join([f"Table: {self._title()}", *body])

    def _repr_html_(self) -> str:
        rows, columns = self._shown()
        head = "".join(f"<th>{column}</th>" for column in columns)
        body = "".join(
            "<tr>"
            + "".join(f"<td>{'…' if row is None else html.escape(self._cell(row, c))}</td>" for c in columns)
            + "</tr>"
            for row in rows
        )
        return f"<table><caption>{self._title()}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def plot(self, axes: Any = None) -> Any:
        """Draws bid and ask above, the spread below, over time; needs matplotlib.

        Args:
            axes: two matplotlib axes to draw on; None makes a figure.

        Returns: the two axes. Bid, ask and spread are in units of the price, time is UTC.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise ImportError("plot() draws with matplotlib, which is not installed") from None
        if axes is None:
            _, axes = plt.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
        price, spread = axes
        ts = self.ts
        symbols = sorted(set(self.names("symbol"))) if len(self.names("symbol")) > 1 else list(self.names("symbol"))
        codes = self.codes("symbol")
        for symbol in symbols:
            rows = codes == self.names("symbol").index(symbol)
            label = f" {symbol}" if len(symbols) > 1 else ""
            price.step(ts[rows], self.bid[rows], where="post", linewidth=0.8, label="bid" + label)
            price.step(ts[rows], self.ask[rows], where="post", linewidth=0.8, label="ask" + label)
            spread.step(ts[rows], self.spread[rows], where="post", linewidth=0.8, color=None if label else "gray")
        price.set_title(", ".join(symbols))
        price.set_ylabel("price")
        spread.set_ylabel("spread")
        spread.set_xlabel("UTC")
        if symbols:
            price.legend(loc="best")
        price.figure.autofmt_xdate()
        return axes
