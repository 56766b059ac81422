"""The store."""

from __future__ import annotations

import ctypes
import logging
import operator
import os
import struct
import time
import warnings
import weakref
from ctypes import byref
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union, overload

from . import _abi, _columns
from ._arrow import batches, quotes_stream, schema_of, share, stream_capsule
from ._lib import check, lib
from ._time import Time, to_ns
from .errors import (
    ClosedError,
    ConfigError,
    DayFileError,
    FlushTimeoutError,
    ForkError,
    LimitError,
    TickstoreError,
    make_error,
)
from .table import Quote, Table

_pack_quote = struct.Struct(_abi.QUOTE_FORMAT).pack
_put_quote = lib.tks_put_quote
_QUOTE_BYTES = ctypes.sizeof(_abi.Quote)
_BLOCK = 4096  # quotes given to the library at a time: 288 KB, which stay in the cache while they are filled in
_NAN = float("nan")
_EDAYFILE = _abi.STATUS["EDAYFILE"]
_PY_LEVELS = {0: logging.DEBUG, 1: logging.INFO, 2: logging.WARNING, 3: logging.ERROR}


class Symbol(int):
    """A symbol's id in one store, with its name. Hand it to calls in place of the name to spare the look-up."""

    name: str

    def __new__(cls, number: int, name: str) -> Symbol:
        self = super().__new__(cls, number)
        self.name = name
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self)}, {self.name!r})"

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (int(self), self.name)


class Source(Symbol):
    """The same for a source (liquidity provider, venue)."""


Name = Union[str, int]
LogCallback = Union[Callable[[str, str], Any], logging.Logger]


class PutResult(NamedTuple):
    """What became of the quotes of one ``put_many``; the first five add up to their number."""

    accepted: int  #: have a sequence number and are on their way to the sinks
    throttled: int  #: repeat the last stored quote of their symbol and source
    crossed_dropped: int  #: bid above ask, dropped by configuration
    refused: int
    dropped: int  #: no room in the journal (or queue)
    first_seq: int  #: of the accepted ones, 0 if none; other threads' quotes may lie between
    last_seq: int
    first_bad: Optional[int]  #: index of the first refused or dropped one
    first_bad_code: int  #: and its status, 0 if there is none
    codes: Any = None  #: with codes=True each one's status, int32 (NumPy, or array.array without it)


class SymbolInfo(NamedTuple):
    """One symbol as it is stored, over all days."""

    name: str
    id: int
    quotes: int
    first_ns: int
    last_ns: int


class SinkStats(NamedTuple):
    """One sink: accepted + recovered by the store = written + backlog + lost + dropped."""

    sink: str  #: "sqlite" or "json"
    state: str  #: "off", "ok", "retrying" or "degraded"
    written: int
    lost: int
    backlog: int
    batches: int
    retries: int
    errors: int
    rotations: int
    written_seq: int
    durable_seq: int
    wal_bytes: int
    open_files: int
    last_error_ns: int
    last_error_code: int
    last_error_detail: int
    flush_time_sum_us: int
    flush_time_max_us: int
    flush_time_buckets: Tuple[int, ...]  #: bucket i counts writes of less than 64 << i microseconds
    last_error: str


class Stats(NamedTuple):
    """The whole store since it was opened: received = accepted + throttled + crossed_dropped + refused."""

    backend: str
    received: int
    accepted: int
    throttled: int
    crossed_dropped: int
    refused: int
    refused_symbol: int
    refused_source: int
    refused_sides: int
    refused_price: int
    refused_size: int
    refused_time: int
    refused_crossed: int
    refused_memory: int
    dropped: int
    blocked: int
    held: int  #: in the journal (or queue), since some sink does not have them durably
    wakeups: int
    first_seq: int
    last_seq: int
    durable_seq: int
    durable_lag_ms: int
    symbols: int
    sources: int
    ring_records: int
    ring_bytes: int
    read_connections: int
    sinks: Tuple[SinkStats, ...]  #: SQLite, JSON
    recovered: int  #: found in the journal when the store was opened
    journal_bytes: int  #: the journal's files on disk; 0 without a journal
    journal_seq: int  #: all up to here is synced in the journal, or durable, or lost
    journal_stalls: int  #: puts that waited for the next journal file to be prepared


class DayInfo(NamedTuple):
    """One UTC day in one sink."""

    day_ns: int  #: its midnight
    sink: str  #: "sqlite" or "json"
    code: int  #: 0, or the status that says what is wrong with it
    quotes: int
    symbols: int
    files: int
    bytes: int
    wal_bytes: int
    last_seq: int
    message: str  #: what is wrong; empty if nothing is


class Gap(NamedTuple):
    """A run of losses that belong together: ``records`` of the numbers from ``from_seq`` to ``to_seq``."""

    from_seq: int
    to_seq: int
    records: Optional[int]  #: how many were lost; None = not known
    first_ns: int  #: calendar time of the first and the last loss
    last_ns: int
    cause: str  #: "full", "journal", "backlog", "close", "recovery" or "backend"; see tks_gap_cause
    sink: Optional[str]  #: "sqlite" or "json": missing there only; None: in all
    symbol: Optional[str]  #: when all are of one symbol; None: several, or not known


_CAUSES = {value: word for word, value in _abi.GAP_CAUSES.items()}
_SINKS = {value: word for word, value in _abi.BACKENDS.items()}
_BITS = {ctypes.c_uint32: 2**32, ctypes.c_uint64: 2**64}
_WORDS = {
    "backend": _abi.BACKENDS,
    "queue_policy": _abi.QUEUE_POLICIES,
    "crossed_policy": _abi.CROSSED_POLICIES,
    "synchronous": _abi.SYNCHRONOUS,
    "log_level": _abi.LOG_LEVELS,
}


_CONFIG_FIELDS = [field[0] for field in _abi.Config._fields_]


def _config_error(message: str) -> ConfigError:
    return ConfigError(message, _abi.STATUS["ECONFIG"])


def _word(field: str, value: Any, words: Dict[str, int]) -> int:
    if isinstance(value, str):
        if value not in words:
            raise _config_error(f"{field} is {value!r}, it can be {', '.join(map(repr, words))}")
        return words[value]
    return int(value)


def _set_field(config: _abi.Config, field: str, kind: Any, value: Any) -> None:
    """ctypes would cut what does not fit."""
    if field in _WORDS:
        value = _word(field, value, _WORDS[field])
    if field == "min_time_ns":
        value = to_ns(value)
    elif field == "throttle_relative":
        value = float(value)
    elif kind in _BITS:
        number = int(value)
        if number != value or not 0 <= number < _BITS[kind]:
            raise _config_error(f"{field} is {value!r}, which does not fit {ctypes.sizeof(kind) * 8} bits")
        value = number
    setattr(config, field, value)


def _log_function(log: LogCallback) -> Any:
    """The C callback around a Python one; whoever hands it to the library keeps it alive."""
    levels = {value: word for word, value in _abi.LOG_LEVELS.items()}

    def write(context: Optional[int], level: int, message: int, length: int) -> None:
        text = ctypes.string_at(message, length).decode("utf-8", "replace")
        if isinstance(log, logging.Logger):
            log.log(_PY_LEVELS.get(level, logging.ERROR), "%s", text)
        else:
            log(levels.get(level, "error"), text)

    return _abi.LOG_FN(write)


def _make_config(preset: str, fields: Dict[str, Any], log: Optional[LogCallback]) -> Tuple[_abi.Config, Any]:
    config, error = _abi.Config(), _abi.Error()
    number = _word("preset", preset, _abi.PRESETS)
    check(lib.tks_config_init(byref(config), ctypes.sizeof(config), number, byref(error)), error)
    # The one default of this binding's own: arrays come faster than any disk, so a full queue means a short wait.
    config.queue_policy = _abi.QUEUE_POLICIES["block"]
    kinds = {field[0]: field[1] for field in _abi.Config._fields_}
    for field, value in fields.items():
        if value is None:
            continue
        if field == "broker_id":
            text = str(value).encode()
            config.broker_id, config.broker_id_length = text, len(text)
        else:
            _set_field(config, field, kinds[field], value)
    function = _log_function(log) if log is not None else None
    if function is not None:
        config.log = function
    return config, function


class _Scratch:
    """What one call of put needs besides the quote; reused, because making it costs as much as the call."""

    __slots__ = ("error", "error_ref", "seq", "seq_ref")

    def __init__(self) -> None:
        self.seq = ctypes.c_uint64()
        self.seq_ref = byref(self.seq)
        self.error = _abi.Error()
        self.error_ref = byref(self.error)


def _close_unclosed(handle: int, path: str, keep: Any) -> None:
    """At exit, or when a store is forgotten: what was accepted is written all the same."""
    error = _abi.Error()
    code = lib.tks_close(handle, byref(error))
    if code == _abi.STATUS["EFORK"]:
        return  # the parent's
    if code < 0 and code != _abi.STATUS["ECLOSED"]:
        warnings.warn(f"{path}: {error.message.decode('utf-8', 'replace')}", ResourceWarning, stacklevel=2)


class Store:
    """An embedded store of quotes in a directory.

    One process writes a store, any number read it (``read_only=True``). Every method may be called from any thread at
    any time; calls that wait let other Python threads run. Use it as a context manager, or call :meth:`close`: what
    was accepted is written then (also at a normal exit of the interpreter).

    A store must not be used across ``fork``: there every call raises :class:`ForkError`, opening another too.

    Times are nanoseconds since 1970-01-01T00:00:00Z as int, or aware ``datetime``, ``numpy.datetime64`` (UTC),
    ``pandas.Timestamp``, ISO 8601 text. Prices are floats, stored bit for bit; NaN or None means that the side is
    absent.

    Args:
        path: the directory; made if it is not there.
        preset: "production" (SQLite), "migration" (SQLite and JSON) or "development" (JSON, small rings); what the
            other
            arguments do not say comes from it.
        backend: "sqlite", "json" or "dual".
        read_only: open an existing store beside its writer, changing nothing.
        log: a function of (level, message), or a ``logging.Logger``; called from the library's threads too. It must
            not call
            back into the store.
        queue_policy: "block" (wait up to ``block_limit_ms`` when queue or journal is full; the default here) or "drop"
            (never wait, the
            default of the C library).

    The other arguments are the fields of tks_config with the same names, units and defaults; the C header
    says what each does: records, milliseconds (``_ms``), seconds (``_s``), bytes.

    Raises:
        ConfigError: a field out of its range. LockedError: open for writing elsewhere. NotAStoreError, FormatError,
        StorageError, DiskFullError, InvalidArgumentError (path).
    """

    def __init__(
        self,
        path: Union[str, bytes, os.PathLike[Any]],
        *,
        preset: str = "production",
        backend: Optional[str] = None,
        read_only: bool = False,
        log: Optional[LogCallback] = None,
        log_level: Optional[str] = None,
        ring_records: Optional[int] = None,
        queue_records: Optional[int] = None,
        queue_policy: Optional[str] = None,
        block_limit_ms: Optional[int] = None,
        batch_records: Optional[int] = None,
        flush_interval_ms: Optional[int] = None,
        backlog_records: Optional[int] = None,
        throttle_max_age_ms: Optional[int] = None,
        throttle_relative: Optional[float] = None,
        crossed_policy: Optional[str] = None,
        max_symbols: Optional[int] = None,
        max_sources: Optional[int] = None,
        max_ahead_s: Optional[int] = None,
        min_time_ns: Optional[Time] = None,
        retry_attempts: Optional[int] = None,
        retry_pause_ms: Optional[int] = None,
        degraded_retry_ms: Optional[int] = None,
        sync_interval_ms: Optional[int] = None,
        close_limit_ms: Optional[int] = None,
        late_close_s: Optional[int] = None,
        max_open_days: Optional[int] = None,
        synchronous: Optional[str] = None,
        checkpoint_pages: Optional[int] = None,
        busy_timeout_ms: Optional[int] = None,
        temp_store_memory: Optional[bool] = None,
        page_cache_bytes: Optional[int] = None,
        mmap_bytes: Optional[int] = None,
        read_connections: Optional[int] = None,
        connection_life_s: Optional[int] = None,
        read_deadline_ms: Optional[int] = None,
        broker_id: Optional[str] = None,
        journal: Optional[bool] = None,
        journal_sync_ms: Optional[int] = None,
        journal_bytes: Optional[int] = None,
    ) -> None:
        given = dict(locals())
        fields = {name: given[name] for name in _CONFIG_FIELDS if name in given and name != "log"}
        config, log_function = _make_config(preset, fields, log)
        raw = os.fsencode(path)
        handle, error = ctypes.c_void_p(), _abi.Error()
        check(lib.tks_open(raw, len(raw), byref(config), byref(handle), byref(error)), error)
        self.path: str = os.fsdecode(path)
        self.read_only = bool(read_only)
        self._handle: int = handle.value or 0
        self._symbols: Dict[Any, int] = {}
        self._sources: Dict[Any, int] = {None: 0, "": 0}
        self._names: Dict[Tuple[bool, int], Optional[str]] = {(False, 0): None}
        self._scratches: List[_Scratch] = []
        self._finalizer = weakref.finalize(self, _close_unclosed, self._handle, self.path, log_function)

    # --------------------------------------------------------------- lifecycle

    def close(self) -> None:
        """Writes all that was accepted, syncs and closes; waits at most ``close_limit_ms`` for sick sinks. A second
        call does nothing. What a sink still lacks then waits in the journal, and the next open goes on with it.

        Raises:
            UnwrittenError: closed all the same, but some accepted quotes could not be written (``journal=False``).
            StorageError: closed all the same, but quotes were lost that could not be written to the gap ledger.
            ForkError.
        """
        error = _abi.Error()
        code = lib.tks_close(self._handle, byref(error))
        if code != _abi.STATUS["EFORK"]:
            self._finalizer.detach()
        if code != _abi.STATUS["ECLOSED"]:
            check(code, error)

    @property
    def closed(self) -> bool:
        try:
            self.stats()
        except ClosedError:
            return True
        except TickstoreError:
            pass
        return False

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close()
        except ForkError:
            pass  # a forked child leaves the block; the store is the parent's

    def __repr__(self) -> str:
        return f"Store({self.path!r}{', read_only=True' if self.read_only else ''}{', closed' if self.closed else ''})"

    def flush(self, timeout: Optional[float] = None, *, sink: Optional[str] = None) -> None:
        """Waits until every quote accepted before the call is durable: on stable storage in every sink.

        Args:
            timeout: seconds; 0 only asks; None waits for as long as it takes (Ctrl-C works).
            sink: "sqlite" or "json": waits for this one only.

        Raises:
            FlushTimeoutError: with the sink and its last error in the message. UnwrittenError: a sink has lost some
            of them. InvalidArgumentError: the store does not write to this sink. ReadOnlyError, ClosedError,
            ForkError.
        """
        number = None if sink is None else _sink_number(sink)
        deadline = None if timeout is None else time.monotonic() + timeout
        target: Optional[int] = None
        error = _abi.Error()
        while True:
            left_ms = 500 if deadline is None else min(500, max(0, int((deadline - time.monotonic()) * 1000 + 0.999)))
            if target is None:
                target = self.stats().last_seq
            try:
                if number is None:
                    check(lib.tks_flush(self._handle, left_ms, byref(error)), error)
                else:
                    check(lib.tks_sink_flush(self._handle, number, left_ms, byref(error)), error)
                return
            except FlushTimeoutError:
                if (self.durable_seq if sink is None else self.sink_durable_seq(sink)) >= target:
                    return
                if deadline is not None and time.monotonic() >= deadline:
                    raise

    @property
    def durable_seq(self) -> int:
        """The highest sequence number up to which every accepted quote that was not reported lost is on stable
        storage.
        """
        seq, error = ctypes.c_uint64(), _abi.Error()
        check(lib.tks_durable_seq(self._handle, byref(seq), byref(error)), error)
        return seq.value

    def sink_durable_seq(self, sink: str) -> int:
        """``durable_seq`` of one sink, "sqlite" or "json".

        Raises: InvalidArgumentError: the store does not write to it.
        """
        seq, error = ctypes.c_uint64(), _abi.Error()
        check(lib.tks_sink_durable_seq(self._handle, _sink_number(sink), byref(seq), byref(error)), error)
        return seq.value

    # ------------------------------------------------------------------- names

    def _intern(self, function: Any, name: str) -> int:
        number, error = ctypes.c_uint32(), _abi.Error()
        text = name.encode("utf-8", "surrogatepass")
        check(function(self._handle, text, len(text), byref(number), byref(error)), error)
        return number.value

    def _symbol_id(self, symbol: Any) -> int:
        try:
            found = self._symbols.get(symbol)
        except TypeError:
            found = None
        if found is not None:
            return found
        if isinstance(symbol, str):
            number = self._symbols[symbol] = self._intern(lib.tks_symbol, symbol)
            return number
        return _id(symbol, "symbol")

    def _source_id(self, source: Any) -> int:
        try:
            found = self._sources.get(source)
        except TypeError:
            found = None
        if found is not None:
            return found
        if isinstance(source, str):
            number = self._sources[source] = self._intern(lib.tks_source, source)
            return number
        if _columns.is_absent(source):
            return 0  # pandas' signs for absent text
        return _id(source, "source")

    def symbol(self, name: str) -> Symbol:
        """A symbol's id, made when the name is new. Valid in this store until it is closed.

        Names are 1 to 64 bytes of UTF-8 without control characters and without . or .. between slashes.

        Raises: InvalidNameError, TableFullError.
        """
        return Symbol(self._symbol_id(name), name)

    def source(self, name: str) -> Source:
        """The same for a source (liquidity provider, venue)."""
        if not name:
            self._intern(lib.tks_source, name)
        return Source(self._source_id(name), name)

    def _name_of(self, symbol: bool, number: int) -> Optional[str]:
        key = (symbol, number)
        if key not in self._names:
            text, length, error = ctypes.create_string_buffer(_abi.NAME_MAX), ctypes.c_size_t(), _abi.Error()
            function = lib.tks_symbol_name if symbol else lib.tks_source_name
            check(function(self._handle, number, text, _abi.NAME_MAX, byref(length), byref(error)), error)
            self._names[key] = text.raw[: length.value].decode("utf-8")
        return self._names[key]

    def symbols(self) -> List[SymbolInfo]:
        """The symbols that have quotes, over all days, ordered by name.

        Raises: DayFileError for a damaged day, with all others' symbols in ``partial``.
        """
        total, error = ctypes.c_size_t(), _abi.Error()
        capacity = 0
        while True:
            infos = (_abi.SymbolInfo * capacity)()
            code = lib.tks_symbols(self._handle, infos, capacity, byref(total), byref(error))
            if code != _EDAYFILE:
                check(code, error)
            if total.value <= capacity:
                break
            capacity = total.value + 16
        found = [
            SymbolInfo(
                bytes(info)[_abi.SymbolInfo.name.offset :][: info.name_length].decode("utf-8"),
                info.id,
                info.count,
                info.first_ns,
                info.last_ns,
            )
            for info in infos[: total.value]
        ]
        _raise_for_damage(code, error, found)
        return found

    # ----------------------------------------------------------------- publish

    def put(
        self,
        symbol: Name,
        ts: Time,
        bid: Optional[float],
        ask: Optional[float],
        *,
        bid_size: float = 0.0,
        ask_size: float = 0.0,
        source: Optional[Name] = None,
        recv: Optional[Time] = None,
        flags: int = 0,
    ) -> int:
        """Gives one quote to the store.

        Args:
            symbol: its name, or what :meth:`symbol` gave.
            ts: event time; decides the UTC day file.
            bid, ask: prices; None or NaN = absent. One must be there. Negative is fine, infinite is not.
            bid_size, ask_size: 0 = none or not known.
            source: a name, or what :meth:`source` gave; None = none.
            recv: when it was received; None = not known.
            flags: the upper 16 bits are yours.

        Returns: the sequence number; 0 if it was skipped by configuration (throttled as a repeat, or crossed and
        dropped). Accepted is not durable: see :meth:`flush`.

        Raises: RefusedError (SidesError, PriceError, SizeError, TimeWindowError, CrossedError), UnknownNameError,
        InvalidNameError, QueueFullError, ReadOnlyError, ClosedError, ForkError.
        """
        try:
            packed = _pack_quote(
                ts if type(ts) is int else to_ns(ts),
                0 if recv is None else to_ns(recv),
                0,
                _NAN if bid is None else bid,
                _NAN if ask is None else ask,
                bid_size,
                ask_size,
                symbol if type(symbol) is Symbol else self._symbols.get(symbol) or self._symbol_id(symbol),
                0 if source is None else source if type(source) is Source else self._source_id(source),
                flags,
                0,
            )
        except struct.error as error:
            raise _not_a_quote(error, ts, bid, ask, bid_size, ask_size, flags) from None
        try:
            scratch = self._scratches.pop()
        except IndexError:
            scratch = _Scratch()
        code = _put_quote(self._handle, packed, scratch.seq_ref, scratch.error_ref)
        if code < 0:
            check(code, scratch.error)
        seq = scratch.seq.value
        self._scratches.append(scratch)
        return seq

    @overload
    def put_many(
        self,
        table: Any,
        /,
        *,
        symbol: Optional[Any] = None,
        source: Optional[Any] = None,
        errors: str = "raise",
        codes: bool = False,
    ) -> PutResult: ...
    @overload
    def put_many(
        self,
        symbols: Any,
        /,
        ts: Any,
        bid: Any,
        ask: Any,
        *,
        bid_size: Any = 0.0,
        ask_size: Any = 0.0,
        source: Any = None,
        recv: Any = None,
        flags: Any = 0,
        errors: str = "raise",
        codes: bool = False,
    ) -> PutResult: ...

    def put_many(
        self,
        symbols: Any,
        /,
        ts: Any = None,
        bid: Any = None,
        ask: Any = None,
        *,
        symbol: Any = None,
        bid_size: Any = 0.0,
        ask_size: Any = 0.0,
        source: Any = None,
        recv: Any = None,
        flags: Any = 0,
        errors: str = "raise",
        codes: bool = False,
    ) -> PutResult:
        """Gives many quotes to the store, in order.

        Either columns: ``put_many(symbols, ts, bid, ask, ...)``, each a scalar that stands for every row or a
        one-dimensional array of the same length: NumPy, pandas, polars, pyarrow, or any sequence. Or a table:
        ``put_many(frame)``, with columns ts (or ts_ns, timestamp_ns; a pandas frame's DatetimeIndex will do), bid,
        ask, and where there are symbol, source, bid_size, ask_size, recv (recv_ns), flags; ``symbol=`` and
        ``source=`` fill in what it lacks. pandas, polars, pyarrow, a :class:`Table`, a mapping of columns, a NumPy
        structured array, anything with ``__arrow_c_stream__``.

        With NumPy, columns are copied as wholes, and each distinct name is looked up once.

        Args:
            symbols: names, or ids from :meth:`symbol`.
            ts: int64 nanoseconds or datetime64 of any unit (UTC, or with a time zone where the library has them).
            errors: "raise" or "return".
            codes: give back each quote's status too.

        Returns: a :class:`PutResult`. A bad quote does not stop those after it.

        Raises: with errors="raise", the exception of the first refused or dropped quote, after all were given; its
        ``result`` is the PutResult, its ``index`` where that quote stands. TypeError and ValueError for columns that
        are none or do not fit each other: then nothing was put.
        """
        if errors not in ("raise", "return"):
            raise ValueError(f'errors is {errors!r}, it can be "raise" or "return"')
        if ts is None:
            if not _columns.is_table(symbols):
                raise TypeError("put_many takes a table, or symbols, ts, bid and ask")
            given = _columns.table_columns(symbols)
            for name, value in (("symbol", symbol), ("source", source)):
                if value is not None:
                    given[name] = value
            if given.get("symbol") is None:
                raise ValueError("the table has no column symbol; say symbol=")
        else:
            if symbol is not None:
                raise TypeError("symbol= goes with a table")
            given = {"symbol": symbols, "ts": ts, "bid": bid, "ask": ask, "bid_size": bid_size, "ask_size": ask_size}
            given.update(source=source, recv=recv, flags=flags)
        return _Put(self, given, codes).run(errors == "raise")

    # -------------------------------------------------------------------- read

    def _table(self, quotes: Any, count: int) -> Table:
        return Table._from_stream(quotes_stream(self._handle, quotes, count))

    def recent(self, symbol: Name, n: int = 100) -> Table:
        """The last ``n`` quotes of a symbol, oldest first: from memory without waiting for any writer, and where that
        ends from the day files.

        Raises: LimitError (n), UnknownNameError, ReadDeadlineError; DayFileError, with what memory has in ``partial``.
        """
        n = operator.index(n)
        if not 1 <= n <= _abi.MAX_RECORDS:
            raise LimitError(f"n is {n}, must be from 1 to {_abi.MAX_RECORDS}", _abi.STATUS["ELIMIT"])
        number = self._symbol_id(symbol)
        capacity = min(n, 16384)
        while True:  # room grows with what is really there
            memory = bytearray(capacity * _QUOTE_BYTES)
            quotes = (ctypes.c_char * len(memory)).from_buffer(memory)
            count, error = ctypes.c_size_t(), _abi.Error()
            code = lib.tks_recent(self._handle, number, capacity, quotes, byref(count), byref(error))
            if code != _EDAYFILE:
                check(code, error)
            if count.value < capacity or capacity == n:
                table = self._table(quotes, count.value)
                _raise_for_damage(code, error, table)
                return table
            capacity = min(n, capacity * 8)

    def latest(self, symbol: Name) -> Quote:
        """The newest quote of a symbol: the last that arrived or, if none did since the store was opened, the last by
        time on disk.

        Raises: NotFoundError, UnknownNameError, DayFileError, ReadDeadlineError.
        """
        quote, error = _abi.Quote(), _abi.Error()
        check(lib.tks_latest(self._handle, self._symbol_id(symbol), byref(quote), byref(error)), error)
        return Quote(
            quote.ts_ns,
            self._name_of(True, quote.symbol) or "",
            quote.bid,
            quote.ask,
            quote.bid_size,
            quote.ask_size,
            self._name_of(False, quote.source),
            quote.seq,
            quote.flags,
            quote.recv_ns or None,
        )

    def latest_all(self) -> Table:
        """The newest quote of every symbol that has one."""
        total, error = ctypes.c_size_t(), _abi.Error()
        capacity = 256
        while True:
            memory = bytearray(capacity * _QUOTE_BYTES)
            quotes = (ctypes.c_char * len(memory)).from_buffer(memory)
            check(lib.tks_latest_all(self._handle, quotes, capacity, byref(total), byref(error)), error)
            if total.value <= capacity:
                return self._table(quotes, total.value)
            capacity = total.value + 16

    def _range(
        self,
        symbol: Name,
        start: Optional[Time],
        end: Optional[Time],
        limit: Optional[int],
        descending: bool,
        source: Optional[Name],
    ) -> _abi.Range:
        if limit is not None and not 1 <= limit <= _abi.NO_LIMIT:
            raise LimitError(f"limit is {limit}, must be at least 1", _abi.STATUS["ELIMIT"])
        return _abi.Range(
            ctypes.sizeof(_abi.Range),
            self._symbol_id(symbol),
            _abi.TIME_MIN if start is None else to_ns(start),
            _abi.TIME_MAX if end is None else to_ns(end),
            _abi.NO_LIMIT if limit is None else limit,
            _abi.RANGE_DESCENDING if descending else 0,
            0 if source is None else self._source_id(source),
        )

    def range(
        self,
        symbol: Name,
        start: Optional[Time] = None,
        end: Optional[Time] = None,
        *,
        limit: Optional[int] = None,
        descending: bool = False,
        source: Optional[Name] = None,
        damaged: str = "raise",
    ) -> Table:
        """A symbol's quotes with start <= ts < end, ordered by time then sequence, over any number of days: what was
        accepted before the call, written or not.

        Args:
            start, end: None = no bound. ``range("EURUSD", "2014-05-02", "2014-05-03")`` is a day.
            limit: at most so many quotes.
            descending: newest first.
            source: only this source's.
            damaged: "raise", or "skip" to leave damaged days out; their messages are in the table's ``damaged``.

        For more than fits memory see :meth:`scan`.

        Raises: DayFileError, ReadDeadlineError, UnknownNameError, LimitError, InvalidArgumentError (start after end),
            ClosedError, ForkError.
        """
        if damaged not in ("raise", "skip"):
            raise ValueError(f'damaged is {damaged!r}, it can be "raise" or "skip"')
        spec = self._range(symbol, start, end, limit, descending, source)
        if damaged == "skip":
            return self._range_around_damage(spec)
        return Table._from_stream(self._range_stream(spec, _abi.MAX_RECORDS))

    def _range_stream(self, spec: _abi.Range, chunk_records: int) -> _abi.ArrowArrayStream:
        stream, error = _abi.ArrowArrayStream(), _abi.Error()
        check(lib.tks_range_arrow(self._handle, byref(spec), chunk_records, byref(stream), byref(error)), error)
        return stream

    def _range_around_damage(self, spec: _abi.Range) -> Table:
        cursor, error = ctypes.c_void_p(), _abi.Error()
        check(lib.tks_range_open(self._handle, byref(spec), byref(cursor), byref(error)), error)
        capacity, count = 16384, ctypes.c_size_t()
        block = ctypes.create_string_buffer(capacity * _QUOTE_BYTES)
        found, messages = bytearray(), []
        try:
            while True:
                code = lib.tks_cursor_next(cursor, block, capacity, byref(count), byref(error))
                if code == _EDAYFILE:
                    messages.append(error.message.decode("utf-8", "replace"))
                else:
                    check(code, error)
                found += memoryview(block)[: count.value * _QUOTE_BYTES]
                if code >= 0 and count.value == 0:
                    break
        finally:
            lib.tks_cursor_close(cursor)
        total = len(found) // _QUOTE_BYTES
        table = self._table((ctypes.c_char * len(found)).from_buffer(found) if total else None, total)
        table.damaged = tuple(messages)
        return table

    def scan(
        self,
        symbol: Name,
        start: Optional[Time] = None,
        end: Optional[Time] = None,
        *,
        limit: Optional[int] = None,
        descending: bool = False,
        source: Optional[Name] = None,
        chunk_records: int = 65536,
    ) -> Scan:
        """The same quotes as :meth:`range`, read piece by piece while they are used.

        Iterate over it for tables of ``chunk_records`` rows, or hand it to whatever reads Arrow streams. Each use
        reads anew.
        """
        if not 1 <= chunk_records <= _abi.MAX_RECORDS:
            raise LimitError(f"chunk_records is {chunk_records}, must be at least 1", _abi.STATUS["ELIMIT"])
        return Scan(self, self._range(symbol, start, end, limit, descending, source), chunk_records)

    # ------------------------------------------------------------------ health

    def stats(self) -> Stats:
        """The store's counters since it was opened; cheap enough for every second."""
        stats, error = _abi.StoreStats(), _abi.Error()
        stats.struct_size = ctypes.sizeof(stats)
        check(lib.tks_stats(self._handle, byref(stats), byref(error)), error)
        values = {name: getattr(stats, name) for name in Stats._fields}
        values["backend"] = _SINKS.get(stats.backend, str(stats.backend))
        values["sinks"] = tuple(_sink_stats(sink, i) for i, sink in enumerate(stats.sinks))
        return Stats(**values)

    def gaps(self, since: int = 0) -> List[Gap]:
        """The gap ledger: every loss since the store was made, in order of from_seq, from the one that reaches the
        sequence number ``since`` on.

        Raises: DayFileError (the ledger is damaged), StorageError, ClosedError, ForkError.
        """
        if not 0 <= operator.index(since) < 2**64:
            raise LimitError(f"since is {since}, which is no sequence number", _abi.STATUS["ELIMIT"])
        total, error = ctypes.c_size_t(), _abi.Error()
        capacity = 64
        while True:
            gaps = (_abi.Gap * capacity)()
            check(lib.tks_gaps(self._handle, since, gaps, capacity, byref(total), byref(error)), error)
            if total.value <= capacity:
                break
            capacity = total.value + 16
        return [
            Gap(
                gap.from_seq,
                gap.to_seq,
                gap.records or None,
                gap.first_ns,
                gap.last_ns,
                _CAUSES.get(gap.cause, str(gap.cause)),
                _SINKS.get(gap.sink, str(gap.sink)) if gap.sink else None,
                self._name_of(True, gap.symbol) if gap.symbol else None,
            )
            for gap in gaps[: total.value]
        ]

    def days(self, *, full: bool = False) -> List[DayInfo]:
        """The days on disk in order of time. Damaged ones are listed too: look at their ``code`` and ``message``.

        Args:
            full: read every row (SQLite's integrity check, counts against summaries, every JSON line); JSON counts
                are 0 without it.
        """
        total, error = ctypes.c_size_t(), _abi.Error()
        level = _abi.CHECK_FULL if full else _abi.CHECK_QUICK
        capacity = 64
        while True:
            days = (_abi.DayInfo * capacity)()
            check(lib.tks_days(self._handle, level, days, capacity, byref(total), byref(error)), error)
            if total.value <= capacity:
                break
            capacity = total.value + 16
        found = []
        for day in days[: total.value]:
            values = {name: getattr(day, "count" if name == "quotes" else name) for name in DayInfo._fields}
            values["sink"] = _SINKS.get(day.sink, str(day.sink))
            values["message"] = day.message.decode("utf-8", "replace")
            found.append(DayInfo(**values))
        return found


class Scan:
    """A range that is read while it is used; see :meth:`Store.scan`."""

    def __init__(self, store: Store, spec: _abi.Range, chunk_records: int) -> None:
        self._store = store
        self._spec = spec
        self._chunk_records = chunk_records

    def _stream(self) -> _abi.ArrowArrayStream:
        return self._store._range_stream(self._spec, self._chunk_records)

    def __iter__(self) -> Iterator[Table]:
        """Tables, one after the other. A damaged day raises DayFileError in its place."""
        return (Table(batch) for batch in batches(self._stream()))

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The Arrow PyCapsule protocol; columns as in :class:`Table`. Read errors come as the reader's own
        exceptions.
        """
        return stream_capsule(self._stream())

    def __arrow_c_schema__(self) -> Any:
        return schema_of(share(None, 0, 0))


# ------------------------------------------------------------------- put_many


class _Put:
    """One put_many: columns made ready as wholes, then put block by block."""

    def __init__(self, store: Store, given: Dict[str, Any], codes: bool) -> None:
        self.store = store
        try:
            import numpy

            self.np: Any = numpy
        except ImportError:
            self.np = None
        ready = self._ready_np(given) if self.np is not None else self._ready_plain(given)
        lengths = {name: len(column) for name, column in ready.items() if hasattr(column, "__len__")}
        if not lengths:
            lengths = {"ts": 1}
        self.count = next(iter(lengths.values()))
        if any(length != self.count for length in lengths.values()):
            raise ValueError("columns differ in length: " + ", ".join(f"{name} {n}" for name, n in lengths.items()))
        self.columns = ready
        self.codes: Any = None
        if codes and self.np is not None:
            self.codes = self.np.zeros(self.count, "i4")
        elif codes:
            self.codes = memoryview(bytearray(self.count * 4)).cast("i")

    def _ready_np(self, given: Dict[str, Any]) -> Dict[str, Any]:
        recv: Any = given.get("recv")
        recv = 0 if recv is None else _columns.np_times(recv)
        if hasattr(recv, "__len__"):
            recv = self.np.where(recv == _columns.NAT, 0, recv)
        return {
            "ts_ns": _columns.np_times(given["ts"]),
            "recv_ns": recv,
            **{name: _columns.np_numbers(given.get(name), name) for name in ("bid", "ask")},
            **{name: _columns.np_numbers(given.get(name, 0.0), name) for name in ("bid_size", "ask_size")},
            "symbol": _columns.np_names(given["symbol"], self.store._symbol_id),
            "source": _columns.np_names(given.get("source"), self.store._source_id),
            "flags": _columns.np_flags(given.get("flags", 0)),
        }

    def _ready_plain(self, given: Dict[str, Any]) -> Dict[str, Any]:
        recv: Any = given.get("recv")
        recv = 0 if recv is None else _columns.plain_times(recv)
        if hasattr(recv, "__len__"):
            recv = [0 if value == _columns.NAT else value for value in recv]
        return {
            "ts_ns": _columns.plain_times(given["ts"]),
            "recv_ns": recv,
            **{name: _columns.plain_numbers(given.get(name), name) for name in ("bid", "ask")},
            **{name: _columns.plain_numbers(given.get(name, 0.0), name) for name in ("bid_size", "ask_size")},
            "symbol": _columns.plain_names(given["symbol"], self.store._symbol_id),
            "source": _columns.plain_names(given.get("source"), self.store._source_id),
            "flags": _columns.plain_flags(given.get("flags", 0)),
        }

    def _blocks(self) -> Iterator[Tuple[int, int, Any]]:
        """(first, count, memory of so many quotes)"""
        if self.np is not None:
            block = self.np.zeros(min(self.count, _BLOCK), _abi.QUOTE_DTYPE)
            columns = []
            for name, column in self.columns.items():
                if hasattr(column, "__len__"):
                    columns.append((block[name], column))
                else:
                    block[name] = column
            for first in range(0, self.count, _BLOCK):
                count = min(_BLOCK, self.count - first)
                for field, column in columns:
                    field[:count] = column[first : first + count]
                yield first, count, block.ctypes.data
            return
        order = [name for name, _ in _abi.QUOTE_DTYPE]
        for first in range(0, self.count, _BLOCK):
            count = min(_BLOCK, self.count - first)
            rows = [_columns.cut(self.columns.get(name, 0), first, count) for name in order]
            yield first, count, b"".join(map(_pack_quote, *rows))

    def _codes_at(self, first: int) -> Optional[int]:
        if self.codes is None:
            return None
        if self.np is not None:
            return int(self.codes.ctypes.data) + first * 4
        return ctypes.addressof(ctypes.c_char.from_buffer(self.codes.obj)) + first * 4

    def run(self, raising: bool) -> PutResult:
        names = PutResult._fields[:5]
        sums = dict.fromkeys(names, 0)
        first_seq = last_seq = bad_code = 0
        first_bad: Optional[int] = None
        failure: Optional[TickstoreError] = None
        part, error = _abi.PutResult(), _abi.Error()
        for first, count, memory in self._blocks():
            code = lib.tks_put_quotes(
                self.store._handle, memory, count, self._codes_at(first), byref(part), byref(error)
            )
            for name in names:
                sums[name] += getattr(part, name)
            first_seq = first_seq or part.first_seq
            last_seq = part.last_seq or last_seq
            if part.first_bad_code != 0 and first_bad is None:
                first_bad, bad_code = first + part.first_bad, part.first_bad_code
                message = error.message.decode("utf-8", "replace")
                failure = make_error(bad_code, f"quote {first_bad}: {message}", error.detail)
                failure.index = first_bad
            if code < 0:  # the call as a whole: closed, read-only
                failure = make_error(code, error.message.decode("utf-8", "replace"), error.detail)
                raising = True
                break
        result = PutResult(**sums, first_seq=first_seq, last_seq=last_seq, first_bad=first_bad, first_bad_code=bad_code)
        result = result._replace(codes=self.codes)
        if raising and failure is not None:
            failure.result = result
            raise failure
        return result


# -------------------------------------------------------------------- helpers


def _id(value: Any, what: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{what} is {value!r}, a name or an id is expected")
    if isinstance(value, Symbol) and isinstance(value, Source) != (what == "source"):
        raise TypeError(f"{what} is {value!r}, symbols and sources have ids of their own")
    number = int(value)
    if not 0 <= number < 2**32:
        raise make_error(_abi.STATUS["E" + what.upper()], f"{what} is {number}, no such id")
    return number


def _not_a_quote(
    error: struct.error, ts: Any, bid: Any, ask: Any, bid_size: Any, ask_size: Any, flags: Any
) -> Exception:
    for name, value in (("bid", bid), ("ask", ask), ("bid_size", bid_size), ("ask_size", ask_size)):
        if value is not None and not isinstance(value, (int, float)):
            return TypeError(f"{name} is {value!r}, a number is expected")
    if isinstance(ts, int) and not -(2**63) <= ts < 2**63:
        return ValueError(f"ts is {ts} ns, which does not fit 64 bits")
    return TypeError(f"flags are {flags!r}, a 32-bit number is expected" if flags else str(error))


def _sink_number(sink: str) -> int:
    if sink not in ("sqlite", "json"):
        raise make_error(_abi.STATUS["EINVAL"], f'sink is {sink!r}, it can be "sqlite" or "json"')
    return _abi.BACKENDS[sink]


def _sink_stats(sink: _abi.SinkStats, place: int) -> SinkStats:
    values: Dict[str, Any] = {name: getattr(sink, name) for name in SinkStats._fields}
    values["sink"] = _SINKS.get(sink.sink, _SINKS[place + 1])
    values["state"] = _abi.SINK_STATES[sink.state]
    values["flush_time_buckets"] = tuple(values["flush_time_buckets"])
    values["last_error"] = sink.last_error.decode("utf-8", "replace")
    return SinkStats(**values)


def _raise_for_damage(code: int, error: _abi.Error, found: Any) -> None:
    """A damaged day leaves a result that is whole but for it."""
    try:
        check(code, error)
    except DayFileError as failure:
        failure.partial = found
        raise
