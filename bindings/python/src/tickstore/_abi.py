"""The C ABI in ctypes: statuses, structs and prototypes, in the order of tickstore.h. Nothing here has a will of its
own.

A test compares every name, value, size and offset with the header.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char,
    c_char_p,
    c_double,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any, Dict, List, Tuple

#: The version of the header that this module was written from.
VERSION = (0, 1, 0)

STATUS: Dict[str, int] = {
    "OK": 0,
    "THROTTLED": 1,
    "CROSSED_DROPPED": 2,
    "PARTIAL": 3,
    "KEPT": 4,
    "EINVAL": -1,
    "ENULL": -2,
    "ENOMEM": -3,
    "ECLOSED": -4,
    "EFORK": -5,
    "EREADONLY": -6,
    "ELOCKED": -7,
    "EFORMAT": -8,
    "ENOTSTORE": -9,
    "EIO": -10,
    "EDISKFULL": -11,
    "ETIMEOUT": -12,
    "EQUEUEFULL": -13,
    "ENAMEEMPTY": -14,
    "ENAMELONG": -15,
    "ENAMECONTROL": -16,
    "ENAMEUTF8": -17,
    "ENAMEPATH": -18,
    "ESYMBOL": -19,
    "ESOURCE": -20,
    "ESIDES": -21,
    "EPRICE": -22,
    "ESIZE": -23,
    "ETIME": -24,
    "ECROSSED": -25,
    "ELIMIT": -26,
    "ETABLEFULL": -27,
    "EDAYFILE": -28,
    "EDEADLINE": -29,
    "ESTRUCT": -30,
    "ECONFIG": -31,
    "EUNWRITTEN": -32,
    "ENOTFOUND": -33,
    "EINTERNAL": -34,
}

OK = STATUS["OK"]
PARTIAL = STATUS["PARTIAL"]

NAME_MAX = 64
MAX_RECORDS = 0x7FFFFFFF
NO_LIMIT = TIME_MAX = 2**63 - 1
TIME_MIN = -(2**63)
FLAG_CROSSED = 0x1
FLAG_USER_MASK = 0xFFFF0000
RANGE_DESCENDING = 0x1
CHECK_QUICK = 0
CHECK_FULL = 1
FLUSH_BUCKETS = 18

#: Words for the values of configuration fields.
PRESETS = {"production": 0, "migration": 1, "development": 2}
BACKENDS = {"sqlite": 1, "json": 2, "dual": 3}
QUEUE_POLICIES = {"drop": 0, "block": 1}
CROSSED_POLICIES = {"keep": 0, "drop": 1, "refuse": 2}
SYNCHRONOUS = {"normal": 1, "full": 2}
LOG_LEVELS = {"debug": 0, "info": 1, "warn": 2, "error": 3, "off": 4}
SINK_STATES = ("off", "ok", "retrying", "degraded")
GAP_CAUSES = {"full": 1, "journal": 2, "backlog": 3, "close": 4, "recovery": 5, "backend": 6}


class Error(Structure):
    _fields_ = [("code", c_int32), ("detail", c_int32), ("message", c_char * 248)]


class Quote(Structure):
    _fields_ = [
        ("ts_ns", c_int64),
        ("recv_ns", c_int64),
        ("seq", c_uint64),
        ("bid", c_double),
        ("ask", c_double),
        ("bid_size", c_double),
        ("ask_size", c_double),
        ("symbol", c_uint32),
        ("source", c_uint32),
        ("flags", c_uint32),
        ("reserved", c_uint32),
    ]


#: The same for struct and for NumPy.
QUOTE_FORMAT = "<qqQddddIIII"
QUOTE_DTYPE = [
    ("ts_ns", "<i8"),
    ("recv_ns", "<i8"),
    ("seq", "<u8"),
    ("bid", "<f8"),
    ("ask", "<f8"),
    ("bid_size", "<f8"),
    ("ask_size", "<f8"),
    ("symbol", "<u4"),
    ("source", "<u4"),
    ("flags", "<u4"),
    ("reserved", "<u4"),
]

LOG_FN = CFUNCTYPE(None, c_void_p, c_int32, c_void_p, c_size_t)


class Config(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("backend", c_uint32),
        ("read_only", c_uint32),
        ("ring_records", c_uint32),
        ("queue_records", c_uint32),
        ("queue_policy", c_uint32),
        ("block_limit_ms", c_uint32),
        ("batch_records", c_uint32),
        ("flush_interval_ms", c_uint32),
        ("backlog_records", c_uint32),
        ("throttle_max_age_ms", c_uint32),
        ("reserved0", c_uint32),
        ("throttle_relative", c_double),
        ("crossed_policy", c_uint32),
        ("max_symbols", c_uint32),
        ("max_sources", c_uint32),
        ("max_ahead_s", c_uint32),
        ("min_time_ns", c_int64),
        ("retry_attempts", c_uint32),
        ("retry_pause_ms", c_uint32),
        ("degraded_retry_ms", c_uint32),
        ("sync_interval_ms", c_uint32),
        ("close_limit_ms", c_uint32),
        ("late_close_s", c_uint32),
        ("max_open_days", c_uint32),
        ("synchronous", c_uint32),
        ("checkpoint_pages", c_uint32),
        ("busy_timeout_ms", c_uint32),
        ("temp_store_memory", c_uint32),
        ("reserved1", c_uint32),
        ("page_cache_bytes", c_uint64),
        ("mmap_bytes", c_uint64),
        ("read_connections", c_uint32),
        ("connection_life_s", c_uint32),
        ("read_deadline_ms", c_uint32),
        ("log_level", c_uint32),
        ("log", LOG_FN),
        ("log_context", c_void_p),
        ("broker_id", c_char_p),
        ("broker_id_length", c_uint64),
        ("journal", c_uint32),
        ("journal_sync_ms", c_uint32),
        ("journal_bytes", c_uint64),
    ]


class SymbolInfo(Structure):
    _fields_ = [
        ("count", c_uint64),
        ("first_ns", c_int64),
        ("last_ns", c_int64),
        ("id", c_uint32),
        ("name_length", c_uint32),
        ("name", c_char * NAME_MAX),
    ]


class PutResult(Structure):
    _fields_ = [
        ("accepted", c_uint64),
        ("throttled", c_uint64),
        ("crossed_dropped", c_uint64),
        ("refused", c_uint64),
        ("dropped", c_uint64),
        ("first_seq", c_uint64),
        ("last_seq", c_uint64),
        ("first_bad", c_uint64),
        ("first_bad_code", c_int32),
        ("reserved", c_int32),
    ]


class Range(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("symbol", c_uint32),
        ("from_ns", c_int64),
        ("to_ns", c_int64),
        ("limit", c_int64),
        ("flags", c_uint32),
        ("source", c_uint32),
    ]


class SinkStats(Structure):
    _fields_ = [
        ("sink", c_uint32),
        ("state", c_uint32),
        ("written", c_uint64),
        ("lost", c_uint64),
        ("backlog", c_uint64),
        ("batches", c_uint64),
        ("retries", c_uint64),
        ("errors", c_uint64),
        ("rotations", c_uint64),
        ("written_seq", c_uint64),
        ("durable_seq", c_uint64),
        ("wal_bytes", c_uint64),
        ("open_files", c_uint64),
        ("last_error_ns", c_int64),
        ("last_error_code", c_int32),
        ("last_error_detail", c_int32),
        ("flush_time_sum_us", c_uint64),
        ("flush_time_max_us", c_uint64),
        ("flush_time_buckets", c_uint64 * FLUSH_BUCKETS),
        ("last_error", c_char * 128),
    ]


class StoreStats(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("backend", c_uint32),
        ("received", c_uint64),
        ("accepted", c_uint64),
        ("throttled", c_uint64),
        ("crossed_dropped", c_uint64),
        ("refused", c_uint64),
        ("refused_symbol", c_uint64),
        ("refused_source", c_uint64),
        ("refused_sides", c_uint64),
        ("refused_price", c_uint64),
        ("refused_size", c_uint64),
        ("refused_time", c_uint64),
        ("refused_crossed", c_uint64),
        ("refused_memory", c_uint64),
        ("dropped", c_uint64),
        ("blocked", c_uint64),
        ("held", c_uint64),
        ("wakeups", c_uint64),
        ("first_seq", c_uint64),
        ("last_seq", c_uint64),
        ("durable_seq", c_uint64),
        ("durable_lag_ms", c_uint64),
        ("symbols", c_uint64),
        ("sources", c_uint64),
        ("ring_records", c_uint64),
        ("ring_bytes", c_uint64),
        ("read_connections", c_uint64),
        ("sinks", SinkStats * 2),
        ("recovered", c_uint64),
        ("journal_bytes", c_uint64),
        ("journal_seq", c_uint64),
        ("journal_stalls", c_uint64),
    ]


class Gap(Structure):
    _fields_ = [
        ("from_seq", c_uint64),
        ("to_seq", c_uint64),
        ("records", c_uint64),
        ("first_ns", c_int64),
        ("last_ns", c_int64),
        ("cause", c_uint32),
        ("sink", c_uint32),
        ("symbol", c_uint32),
        ("reserved", c_uint32),
        ("reserved1", c_uint64 * 2),
    ]


class DayInfo(Structure):
    _fields_ = [
        ("day_ns", c_int64),
        ("sink", c_uint32),
        ("code", c_int32),
        ("count", c_uint64),
        ("symbols", c_uint64),
        ("files", c_uint64),
        ("bytes", c_uint64),
        ("wal_bytes", c_uint64),
        ("last_seq", c_uint64),
        ("message", c_char * 152),
    ]


#: Struct name in the header to its class; what the layout test walks.
STRUCTS: Dict[str, Any] = {
    "tks_error": Error,
    "tks_quote": Quote,
    "tks_config": Config,
    "tks_symbol_info": SymbolInfo,
    "tks_put_result": PutResult,
    "tks_range": Range,
    "tks_sink_stats": SinkStats,
    "tks_store_stats": StoreStats,
    "tks_gap": Gap,
    "tks_day_info": DayInfo,
}

# ------------------------------------------- Arrow C data and stream interfaces


class ArrowSchema(Structure):
    pass


class ArrowArray(Structure):
    pass


class ArrowArrayStream(Structure):
    pass


ArrowSchema._fields_ = [
    ("format", c_char_p),
    ("name", c_char_p),
    ("metadata", c_char_p),
    ("flags", c_int64),
    ("n_children", c_int64),
    ("children", POINTER(POINTER(ArrowSchema))),
    ("dictionary", POINTER(ArrowSchema)),
    ("release", CFUNCTYPE(None, POINTER(ArrowSchema))),
    ("private_data", c_void_p),
]
ArrowArray._fields_ = [
    ("length", c_int64),
    ("null_count", c_int64),
    ("offset", c_int64),
    ("n_buffers", c_int64),
    ("n_children", c_int64),
    ("buffers", POINTER(c_void_p)),
    ("children", POINTER(POINTER(ArrowArray))),
    ("dictionary", POINTER(ArrowArray)),
    ("release", CFUNCTYPE(None, POINTER(ArrowArray))),
    ("private_data", c_void_p),
]
ArrowArrayStream._fields_ = [
    ("get_schema", CFUNCTYPE(c_int, POINTER(ArrowArrayStream), POINTER(ArrowSchema))),
    ("get_next", CFUNCTYPE(c_int, POINTER(ArrowArrayStream), POINTER(ArrowArray))),
    ("get_last_error", CFUNCTYPE(c_char_p, POINTER(ArrowArrayStream))),
    ("release", CFUNCTYPE(None, POINTER(ArrowArrayStream))),
    ("private_data", c_void_p),
]

# -------------------------------------------------------------------- prototypes

# Arrays of quotes are c_void_p: bytes, bytearrays and NumPy's memory go in by address.
_STORE = c_void_p
_ERROR = POINTER(Error)
_U32 = POINTER(c_uint32)
_U64 = POINTER(c_uint64)
_SIZE = POINTER(c_size_t)

#: (name, result, arguments)
FUNCTIONS: List[Tuple[str, Any, List[Any]]] = [
    ("tks_version", c_uint32, []),
    ("tks_version_string", c_char_p, []),
    ("tks_strerror", c_char_p, [c_int]),
    ("tks_config_init", c_int, [POINTER(Config), c_size_t, c_int, _ERROR]),
    ("tks_open", c_int, [c_char_p, c_size_t, POINTER(Config), POINTER(c_void_p), _ERROR]),
    ("tks_close", c_int, [_STORE, _ERROR]),
    ("tks_flush", c_int, [_STORE, c_int64, _ERROR]),
    ("tks_durable_seq", c_int, [_STORE, _U64, _ERROR]),
    ("tks_sink_flush", c_int, [_STORE, c_uint32, c_int64, _ERROR]),
    ("tks_sink_durable_seq", c_int, [_STORE, c_uint32, _U64, _ERROR]),
    ("tks_symbol", c_int, [_STORE, c_char_p, c_size_t, _U32, _ERROR]),
    ("tks_source", c_int, [_STORE, c_char_p, c_size_t, _U32, _ERROR]),
    ("tks_symbol_name", c_int, [_STORE, c_uint32, c_void_p, c_size_t, _SIZE, _ERROR]),
    ("tks_source_name", c_int, [_STORE, c_uint32, c_void_p, c_size_t, _SIZE, _ERROR]),
    ("tks_symbols", c_int, [_STORE, POINTER(SymbolInfo), c_size_t, _SIZE, _ERROR]),
    ("tks_put_quote", c_int, [_STORE, c_void_p, _U64, _ERROR]),
    ("tks_put_quotes", c_int, [_STORE, c_void_p, c_size_t, c_void_p, POINTER(PutResult), _ERROR]),
    (
        "tks_put",
        c_int,
        [_STORE, c_char_p, c_size_t, c_double, c_double, c_char_p, c_size_t, c_int64, _U64, _ERROR],
    ),
    ("tks_recent", c_int, [_STORE, c_uint32, c_size_t, c_void_p, _SIZE, _ERROR]),
    ("tks_latest", c_int, [_STORE, c_uint32, POINTER(Quote), _ERROR]),
    ("tks_latest_all", c_int, [_STORE, c_void_p, c_size_t, _SIZE, _ERROR]),
    ("tks_range_open", c_int, [_STORE, POINTER(Range), POINTER(c_void_p), _ERROR]),
    ("tks_cursor_next", c_int, [c_void_p, c_void_p, c_size_t, _SIZE, _ERROR]),
    ("tks_cursor_close", None, [c_void_p]),
    ("tks_range_arrow", c_int, [_STORE, POINTER(Range), c_uint32, POINTER(ArrowArrayStream), _ERROR]),
    ("tks_quotes_arrow", c_int, [_STORE, c_void_p, c_size_t, POINTER(ArrowArrayStream), _ERROR]),
    ("tks_arrow_share", c_int, [POINTER(ArrowArray), c_uint64, c_uint64, POINTER(ArrowArrayStream), _ERROR]),
    ("tks_stats", c_int, [_STORE, POINTER(StoreStats), _ERROR]),
    ("tks_gaps", c_int, [_STORE, c_uint64, POINTER(Gap), c_size_t, _SIZE, _ERROR]),
    ("tks_days", c_int, [_STORE, c_uint32, POINTER(DayInfo), c_size_t, _SIZE, _ERROR]),
]


def declare(library: ctypes.CDLL) -> None:
    """Gives every function its prototype; AttributeError names one that the library lacks."""
    for name, result, arguments in FUNCTIONS:
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
