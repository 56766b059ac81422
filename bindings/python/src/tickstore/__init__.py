"""tickstore: an embedded capture store for market data.

    with tickstore.Store("quotes") as store:
        store.put("EURUSD", "2026-01-20T09:06:40Z", 1.08484, 1.08499, source="OANDA")
        store.put_many("EURUSD", ts, bid, ask)          # arrays
        frame = store.range("EURUSD", "2026-01-20", "2026-01-21").to_pandas()

The standard library is enough; NumPy, pandas, polars, pyarrow, DuckDB and matplotlib are used when they are there.
"""

from . import _abi, _lib, errors
from ._time import Time, to_ns
from .errors import *  # noqa: F403
from .errors import __all__ as _error_names
from .store import DayInfo, Gap, PutResult, Scan, SinkStats, Source, Stats, Store, Symbol, SymbolInfo
from .table import Quote, Table

__version__ = ".".join(map(str, _abi.VERSION))

#: The version of the C library that is loaded, and the file it was loaded from.
library_version: str = _lib.lib.tks_version_string().decode()
library_path: str = _lib.path

FLAG_CROSSED = _abi.FLAG_CROSSED
FLAG_USER_MASK = _abi.FLAG_USER_MASK

__all__ = [
    "FLAG_CROSSED",
    "FLAG_USER_MASK",
    "DayInfo",
    "Gap",
    "PutResult",
    "Quote",
    "Scan",
    "SinkStats",
    "Source",
    "Stats",
    "Store",
    "Symbol",
    "SymbolInfo",
    "Table",
    "Time",
    "errors",
    "library_path",
    "library_version",
    "to_ns",
]
__all__ += _error_names
