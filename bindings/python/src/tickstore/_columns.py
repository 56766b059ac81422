"""What put_many is given, as columns of the C struct: arrays of NumPy, pandas, polars, Arrow, or plain sequences.

With NumPy, nothing here touches single elements but lists and object arrays. Each function returns a scalar, which
stands for every row, or an array.
"""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ._time import to_ns

if TYPE_CHECKING:
    import numpy as np

NAT = -(2**63)

#: Names that a table's columns may have.
ALIASES = {
    "ts": ("ts", "ts_ns", "timestamp_ns"),
    "symbol": ("symbol",),
    "bid": ("bid",),
    "ask": ("ask",),
    "bid_size": ("bid_size",),
    "ask_size": ("ask_size",),
    "source": ("source",),
    "flags": ("flags",),
    "recv": ("recv", "recv_ns"),
}


class Words:
    """A dictionary-encoded column: `codes` into `names`; a code of -1 is no name."""

    def __init__(self, codes: Any, names: Sequence[Optional[str]]) -> None:
        self.codes = codes
        self.names = names

    def __len__(self) -> int:
        return len(self.codes)


def package(value: Any) -> str:
    """Which library a value is of: "numpy", "pandas", "polars", "pyarrow" or another."""
    return type(value).__module__.partition(".")[0]


def is_absent(value: Any) -> bool:
    """None, NaN, NaT, or pandas.NA, which is the one that cannot be asked whether it equals itself."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return type(value).__name__ == "NAType"


def is_scalar(value: Any) -> bool:
    return isinstance(value, (str, bytes)) or not hasattr(value, "__len__")


# -------------------------------------------------------------------- tables


def is_table(value: Any) -> bool:
    kind = package(value)
    if isinstance(value, Mapping) or hasattr(value, "_columns_for_put"):
        return True
    if kind == "numpy":
        return getattr(value.dtype, "names", None) is not None
    if kind == "pandas":
        return hasattr(value, "columns") and hasattr(value, "index")
    if kind == "polars":
        return hasattr(value, "get_columns")
    return hasattr(value, "column_names") or hasattr(value, "schema") or hasattr(value, "__arrow_c_stream__")


def _plain(table: Any) -> Tuple[Iterable[str], Callable[[str], Any]]:
    """The names of a table's columns and how to get one."""
    kind = package(table)
    if isinstance(table, Mapping):
        return list(table), lambda name: table[name]
    if kind == "numpy":
        return table.dtype.names, lambda name: table[name]
    if kind == "pandas":
        names = [str(name) for name in table.columns]
        if "ts" in names or type(table.index).__name__ != "DatetimeIndex":
            return names, lambda name: table[name]
        return names + ["ts"], lambda name: table.index if name == "ts" else table[name]
    if kind in ("polars", "pyarrow") and hasattr(table, "columns"):
        if hasattr(table, "get_column"):
            return table.columns, table.get_column
        return table.column_names if hasattr(table, "column_names") else table.schema.names, table.column
    for module, read in (("pyarrow", "table"), ("polars", "DataFrame")):
        try:
            return _plain(getattr(__import__(module), read)(table))
        except ImportError:
            continue
    raise TypeError(f"{type(table).__name__} is an Arrow table, which takes pyarrow or polars to read; neither is here")


def table_columns(table: Any) -> Dict[str, Any]:
    if hasattr(table, "_columns_for_put"):
        found: Dict[str, Any] = table._columns_for_put()
        return found
    names, get = _plain(table)
    present = set(names)
    columns: Dict[str, Any] = {}
    for field, aliases in ALIASES.items():
        having = [alias for alias in aliases if alias in present]
        if len(having) > 1:
            raise ValueError(f"the table has both {having[0]} and {having[1]}")
        if having:
            columns[field] = get(having[0])
    if "ts" not in columns:
        raise ValueError(f"the table has no column ts (or ts_ns, timestamp_ns); it has {', '.join(map(str, names))}")
    return columns


# ------------------------------------------------------------ columns, NumPy


def _array(value: Any) -> np.ndarray[Any, Any]:
    """As NumPy has it, without a copy where that is possible."""
    import numpy as np

    kind = package(value)
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        array = _unmasked(value)
    elif kind == "pyarrow":
        array = value.to_numpy() if hasattr(value, "num_chunks") else value.to_numpy(zero_copy_only=False)
    elif kind in ("polars", "pandas") and hasattr(value, "to_numpy"):
        array = value.to_numpy()
    else:
        array = np.asarray(value)
    if array.ndim != 1:
        raise ValueError(f"an array of {array.ndim} dimensions, where one is expected")
    result: np.ndarray[Any, Any] = array
    return result


def _unmasked(value: Any) -> np.ndarray[Any, Any]:
    """What lies below a mask is no value."""
    import numpy as np

    array: np.ndarray[Any, Any] = value.data.copy() if value.dtype.kind == "M" else value.data.astype(object)
    array[np.ma.getmaskarray(value)] = np.datetime64("NaT", "ns") if value.dtype.kind == "M" else None
    return array


def _is_all_absent(array: np.ndarray[Any, Any]) -> bool:
    """What becomes of an empty list, or of a column without a single value in it, is of floats."""
    return array.dtype.kind == "f" and bool((array != array).all())


def _datetimes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    try:
        exact = array.astype("datetime64[ns]", copy=False)
        fits = exact.dtype == array.dtype or np.array_equal(exact.astype(array.dtype), array, equal_nan=True)
    except OverflowError:
        fits = False
    if not fits:
        raise ValueError(f"times of {array.dtype} do not fit nanoseconds")
    return exact.view("i8")


def np_times(value: Any) -> Any:
    """int64 nanoseconds; an absent time is NAT."""
    import numpy as np

    if is_scalar(value):
        return to_ns(value)
    if package(value) == "pandas" and getattr(value.dtype, "tz", None) is not None:
        index = sys.modules["pandas"].DatetimeIndex(value)
        return _datetimes(index.tz_convert("UTC").tz_localize(None).to_numpy())
    array = _array(_whole_numbers(value))
    if array.dtype.kind == "M":
        return _datetimes(array)
    if array.dtype.kind == "i":
        return array.astype("i8", copy=False)
    if array.dtype.kind == "u":
        if array.size and int(array.max()) >= 2**63:
            raise ValueError(f"{array.max()} ns do not fit 64 bits")
        return array.astype("i8")
    if array.dtype.kind in "OU":
        return np.fromiter(map(_time_or_none, array.tolist()), "i8", len(array))
    if _is_all_absent(array):
        return np.full(len(array), NAT)
    raise TypeError(f"times of {array.dtype}: nanoseconds are int64, or datetime64; float loses them")


def _whole_numbers(value: Any) -> Any:
    """NumPy has no absent integers: it would get floats, which lose nanoseconds. NAT stands for them before that."""
    kind = package(value)
    if kind == "pyarrow" and value.null_count and str(value.type).startswith(("int", "uint")):
        return value.cast("int64").fill_null(NAT)
    if kind == "polars" and value.null_count() and value.dtype.is_integer():
        return value.cast(sys.modules["polars"].Int64).fill_null(NAT)
    if kind == "pandas" and getattr(value.dtype, "kind", "") in "iu" and bool(value.isna().any()):
        return value.astype("Int64").to_numpy("i8", na_value=NAT)
    return value


def _time_or_none(value: Any) -> int:
    return NAT if is_absent(value) else to_ns(value)


def np_numbers(value: Any, name: str) -> Any:
    """float64; an absent one is NaN."""
    import numpy as np

    if value is None:
        return float("nan")
    if is_scalar(value):
        return _number(value, name)
    array = _array(value)
    if array.dtype.kind == "O":
        return np.fromiter((_number_or_nan(item, name) for item in array.tolist()), "f8", len(array))
    return array.astype("f8", copy=False) if array.dtype.kind in "fiu" else _no_numbers(name)


def _is_number(value: Any) -> bool:
    return value is None or (not isinstance(value, (str, bytes)) and hasattr(value, "__float__"))


def _number_or_nan(value: Any, name: str) -> float:
    return float("nan") if is_absent(value) else _number(value, name)


def _number(value: Any, name: str) -> float:
    return float(value) if _is_number(value) else _no_numbers(name)


def _no_numbers(name: str) -> Any:
    raise TypeError(f"{name} is not of numbers")


def np_flags(value: Any) -> Any:
    if is_scalar(value):
        return _flag(value)
    array = _array(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"flags of {array.dtype}: 32-bit integers are expected")
    if array.size and (int(array.min()) < 0 or int(array.max()) >= 2**32):
        raise ValueError("flags do not fit 32 bits")
    return array.astype("u4", copy=False)


def _flag(value: Any) -> int:
    flags = int(value)
    if not 0 <= flags < 2**32:
        raise ValueError(f"flags are {flags}, which do not fit 32 bits")
    return flags


Intern = Callable[[Any], int]


def _ids(names: Iterable[Any], intern: Intern) -> np.ndarray[Any, Any]:
    """One id a name, and 0 at the end, where a code of -1 points to."""
    import numpy as np

    return np.array([intern(name) for name in names] + [0], "u4")


def np_names(value: Any, intern: Intern) -> Any:
    """uint32 ids. `intern` is called once for each name; it is given None where there is none."""
    import numpy as np

    if is_scalar(value):
        return intern(value)
    kind = package(value)
    if isinstance(value, Words):
        codes = np.asarray(value.codes)
        if codes.size and int(codes.min()) < 0:
            intern(None)
        return _ids(value.names, intern)[codes]
    if kind == "pyarrow":
        return _arrow_names(value, intern)
    if kind == "polars" and not value.dtype.is_numeric():
        unique = value.unique()
        ids = type(value)("ids", [intern(name) for name in unique.to_list()], sys.modules["polars"].UInt32)
        return value.replace_strict(unique, ids, return_dtype=ids.dtype).to_numpy()
    if kind == "pandas" and hasattr(value, "cat"):
        return np_names(Words(value.cat.codes.to_numpy(), list(value.cat.categories)), intern)
    if kind == "pandas" and hasattr(value, "codes"):
        return np_names(Words(value.codes, list(value.categories)), intern)
    array = _array(value)
    if array.dtype.kind in "iu":
        if array.size and (int(array.min()) < 0 or int(array.max()) >= 2**32):
            raise ValueError("ids do not fit 32 bits")
        return array.astype("u4", copy=False)
    if _is_all_absent(array):
        return np.full(len(array), intern(None) if len(array) else 0, "u4")
    if array.dtype.kind not in "OUT":
        raise TypeError(f"names of {array.dtype}: text, or ids from symbol() and source(), are expected")
    pandas = sys.modules.get("pandas")
    if pandas is not None and len(array) > 1000:
        codes, names = pandas.factorize(array.astype(object, copy=False))
        return np_names(Words(codes, list(names)), intern)
    return np.fromiter(plain_names(array.tolist(), intern), "u4", len(array))


def _arrow_names(value: Any, intern: Intern) -> Any:
    import numpy as np

    chunks = value.chunks if hasattr(value, "chunks") else [value]
    parts = []
    for chunk in chunks:
        if str(chunk.type).startswith(("int", "uint")):
            parts.append(np_names(chunk.fill_null(0).to_numpy(zero_copy_only=False), intern))
            continue
        if not hasattr(chunk, "indices"):
            chunk = chunk.dictionary_encode()
        codes = chunk.indices.cast("int64").fill_null(-1).to_numpy(zero_copy_only=False)
        parts.append(np_names(Words(codes, chunk.dictionary.to_pylist()), intern))
    return np.concatenate(parts) if parts else np.empty(0, "u4")


# ----------------------------------------------------- columns, without NumPy


def plain_times(value: Any) -> Any:
    return to_ns(value) if is_scalar(value) else [_time_or_none(item) for item in value]


def plain_numbers(value: Any, name: str) -> Any:
    if value is None:
        return float("nan")
    if is_scalar(value):
        return _number(value, name)
    return [_number_or_nan(item, name) for item in value]


def plain_flags(value: Any) -> Any:
    return _flag(value) if is_scalar(value) else [_flag(item) for item in value]


def plain_names(value: Any, intern: Intern) -> Any:
    if is_scalar(value):
        return intern(value)
    known: Dict[Any, int] = {}
    ids: List[int] = []
    if isinstance(value, Words):
        value = (value.names[code] if code >= 0 else None for code in value.codes)
    for name in value:
        found = known.get(name)
        if found is None:
            found = known[name] = intern(name)
        ids.append(found)
    return ids


def cut(column: Any, first: int, count: int) -> Any:
    """The same rows of any column, as something to iterate over."""
    return column[first : first + count] if hasattr(column, "__len__") else itertools.repeat(column, count)
