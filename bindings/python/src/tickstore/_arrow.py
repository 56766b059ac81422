"""Arrow C streams from the library: reading them, sharing their batches, and handing them on as PyCapsules.

A batch's memory belongs to the library and is counted there. :class:`Batch` holds it for as long as any view of it is
alive in Python; consumers of a capsule hold it on their own.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections import deque
from ctypes import byref, c_int32, c_ubyte, c_void_p, py_object, pythonapi
from typing import Any, Callable, Deque, Dict, Iterator, Optional, Tuple

from . import _abi
from ._lib import check, lib
from .errors import TickstoreError, make_error

#: name: (place, memoryview format, bytes an element); in the order of the stream's schema.
COLUMNS: Dict[str, Tuple[int, str, int]] = {
    "ts": (0, "q", 8),
    "symbol": (1, "i", 4),
    "bid": (2, "d", 8),
    "ask": (3, "d", 8),
    "bid_size": (4, "d", 8),
    "ask_size": (5, "d", 8),
    "source": (6, "i", 4),
    "seq": (7, "Q", 8),
    "flags": (8, "I", 4),
    "recv": (9, "q", 8),
}


# ------------------------------------------------------------------ capsules
#
# A capsule points to a struct that its consumer empties ("moves"). A destructor that releases what nobody took cannot
# be written in Python: capsules die while exceptions are on their way, and while the interpreter is taken down. So they
# have none. Instead each is kept here, with its struct, until nobody else refers to it; what it still holds is released
# then. That is looked at with every new capsule and with the end of every batch.

# Prototypes of our own: those hanging on ctypes.pythonapi are shared with everybody in the process.
_capsule_new = ctypes.PYFUNCTYPE(py_object, c_void_p, c_void_p, c_void_p)(("PyCapsule_New", pythonapi))
_hold_for_ever = ctypes.PYFUNCTYPE(None, py_object)(("Py_IncRef", pythonapi))

_exported: Deque[Tuple[Any, Any]] = deque()
_hold_for_ever(_exported)  # capsules may outlive this module
_names = {name: ctypes.create_string_buffer(name) for name in (b"arrow_array_stream", b"arrow_schema")}
_hold_for_ever(_names)


def _holders(exported: Deque[Tuple[Any, Any]], count: Callable[[Any], int]) -> Tuple[int, Any, Any]:
    """Takes the oldest one out: how many references it has, it, and its struct."""
    capsule, content = exported.popleft()
    return count(capsule), capsule, content


def _export(content: Any, name: bytes) -> Any:
    capsule = _capsule_new(ctypes.addressof(content), ctypes.addressof(_names[name]), None)
    _exported.append((capsule, content))
    return capsule


_export(_abi.ArrowSchema(), b"arrow_schema")
_ALONE = _holders(_exported, sys.getrefcount)[0]  # this many when nobody else has one


def _sweep(
    exported: Deque[Tuple[Any, Any]] = _exported,
    holders: Any = _holders,
    count: Callable[[Any], int] = sys.getrefcount,
    alone: int = _ALONE,
    refer: Any = byref,
) -> None:
    # Taken out one by one: none is looked at by two threads at once. Everything comes in as an argument, because
    # modules are taken apart before the last objects go.
    for _ in range(len(exported)):
        try:
            references, capsule, content = holders(exported, count)
        except IndexError:
            return  # another thread took it
        if references > alone:
            exported.append((capsule, content))
        elif content.release:
            content.release(refer(content))


# ------------------------------------------------------------------- batches


class Batch:
    """One record batch; gives it back when nothing refers to it any more."""

    __slots__ = ("__weakref__", "array", "length")

    def __init__(self, array: _abi.ArrowArray) -> None:
        self.array = array
        self.length: int = array.length

    def __del__(self, sweep: Callable[[], None] = _sweep, refer: Any = byref) -> None:
        array = self.array
        if array.release:
            array.release(refer(array))
        sweep()

    def _view(self, address: int, size: int, form: Any) -> Any:
        memory = (c_ubyte * size).from_address(address)
        memory._batch = self  # type: ignore[attr-defined]  # the view keeps `memory` alive, and that keeps the batch
        return memoryview(memory).cast("B").toreadonly().cast(form)

    def column(self, name: str) -> memoryview[Any]:
        """The values of all rows, in the library's own memory."""
        place, form, width = COLUMNS[name]
        view: memoryview[Any] = self._view(self.array.children[place].contents.buffers[1], self.length * width, form)
        return view

    def validity(self, name: str) -> Optional[memoryview[int]]:
        """A bit a row, the lowest first; None where no row is null."""
        address = self.array.children[COLUMNS[name][0]].contents.buffers[0]
        return self._view(address, (self.length + 7) // 8, "B") if address else None

    def words(self, name: str) -> Tuple[str, ...]:
        """What the indexes of a dictionary column stand for."""
        words = self.array.children[COLUMNS[name][0]].contents.dictionary.contents
        count = words.length
        offsets = (c_int32 * (count + 1)).from_address(words.buffers[1])
        text = ctypes.string_at(words.buffers[2], offsets[count]) if count else b""
        return tuple(text[offsets[i] : offsets[i + 1]].decode("utf-8") for i in range(count))


# ------------------------------------------------------------------- reading

_REPORT = re.compile(r"TKS_(\w+)(?: \((-?\d+)\))?: (.*)", re.DOTALL)


def stream_error(stream: _abi.ArrowArrayStream) -> TickstoreError:
    text = (stream.get_last_error(byref(stream)) or b"").decode("utf-8", "replace")
    match = _REPORT.match(text)
    if match is None:
        return make_error(_abi.STATUS["EINTERNAL"], text)
    return make_error(_abi.STATUS.get(match[1], _abi.STATUS["EINTERNAL"]), match[3], int(match[2] or 0))


def batches(stream: _abi.ArrowArrayStream) -> Iterator[Batch]:
    """Reads a stream to its end and releases it, also when it fails or is left early."""
    try:
        while True:
            array = _abi.ArrowArray()
            if stream.get_next(byref(stream), byref(array)) != 0:
                raise stream_error(stream)
            if not array.release:
                return
            yield Batch(array)
    finally:
        if stream.release:
            stream.release(byref(stream))


def quotes_stream(store: int, quotes: Any, count: int) -> _abi.ArrowArrayStream:
    """Over a copy of an array of tks_quote."""
    stream, error = _abi.ArrowArrayStream(), _abi.Error()
    check(lib.tks_quotes_arrow(store, quotes, count, byref(stream), byref(error)), error)
    return stream


def share(batch: Optional[Batch], first: int, count: int) -> _abi.ArrowArrayStream:
    """Over rows of a batch, in the same memory."""
    stream, error = _abi.ArrowArrayStream(), _abi.Error()
    array = byref(batch.array) if batch is not None else None
    check(lib.tks_arrow_share(array, first, count, byref(stream), byref(error)), error)
    return stream


# ------------------------------------------------------------------ handing on


def stream_capsule(stream: _abi.ArrowArrayStream) -> Any:
    _sweep()
    return _export(stream, b"arrow_array_stream")


def schema_of(stream: _abi.ArrowArrayStream) -> Any:
    """The schema's capsule; releases the stream."""
    _sweep()
    try:
        schema = _abi.ArrowSchema()
        if stream.get_schema(byref(stream), byref(schema)) != 0:
            raise stream_error(stream)
        return _export(schema, b"arrow_schema")
    finally:
        stream.release(byref(stream))
