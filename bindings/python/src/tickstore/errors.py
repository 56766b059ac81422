"""What can go wrong, by code. Every exception that stands for a status of the library is a :class:`TickstoreError`."""

from __future__ import annotations

from typing import Any, ClassVar, Dict, Optional, Tuple, Type

from ._abi import STATUS


class LibraryError(ImportError):
    """The C library was not found, could not be loaded, or has a version that this package was not made for."""


class TickstoreError(Exception):
    """A call that the library refused or could not do.

    Attributes:
        code: the library's status, negative; ``name`` is what its header calls it ("TKS_EPRICE").
        detail: SQLite's extended result code or errno where one stood behind it, else 0.
        message: one line that names the field and its value.
        partial: what could be read all the same, where a call says so; else None.
        result: the :class:`~tickstore.PutResult` where the call was ``put_many``; else None.
        index: where in the arrays of ``put_many`` the first bad quote stands; else None.
    """

    CODES: ClassVar[Tuple[str, ...]] = ()

    def __init__(self, message: str, code: int = STATUS["EINTERNAL"], detail: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.detail = detail
        self.partial: Any = None
        self.result: Any = None
        self.index: Optional[int] = None

    @property
    def name(self) -> str:
        return "TKS_" + next((name for name, value in STATUS.items() if value == self.code), str(self.code))

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.message, self.code, self.detail), {"index": self.index}


class InvalidArgumentError(TickstoreError, ValueError):
    """An argument that makes no sense: a range that ends before it starts, a struct of another version."""

    CODES: ClassVar[Tuple[str, ...]] = ("EINVAL", "ENULL", "ESTRUCT")


class LimitError(InvalidArgumentError):
    """A limit or a count that is zero, negative or too large."""

    CODES = ("ELIMIT",)


class ConfigError(InvalidArgumentError):
    """A configuration field out of its range; the message names the field and the range."""

    CODES = ("ECONFIG",)


class InvalidNameError(InvalidArgumentError):
    """A symbol or source whose name is empty, longer than 64 bytes, not UTF-8, or has control characters or dot
    components.
    """

    CODES = ("ENAMEEMPTY", "ENAMELONG", "ENAMECONTROL", "ENAMEUTF8", "ENAMEPATH")


class UnknownNameError(TickstoreError, LookupError):
    """An id that this store never gave out."""

    CODES = ("ESYMBOL", "ESOURCE")


class TableFullError(TickstoreError):
    """``max_symbols`` or ``max_sources`` is reached."""

    CODES = ("ETABLEFULL",)


class NotFoundError(TickstoreError, LookupError):
    """Nothing is stored for this symbol."""

    CODES = ("ENOTFOUND",)


class RefusedError(TickstoreError, ValueError):
    """A quote that the store refuses. It has left nothing but a count in the statistics."""


class SidesError(RefusedError):
    """Both sides are absent."""

    CODES = ("ESIDES",)


class PriceError(RefusedError):
    """A price is infinite."""

    CODES = ("EPRICE",)


class SizeError(RefusedError):
    """A size is negative or not finite."""

    CODES = ("ESIZE",)


class TimeWindowError(RefusedError):
    """The event time is before ``min_time_ns`` or more than ``max_ahead_s`` in the future."""

    CODES = ("ETIME",)


class CrossedError(RefusedError):
    """Bid above ask, and ``crossed_policy`` is "refuse"."""

    CODES = ("ECROSSED",)


class QueueFullError(TickstoreError):
    """There was no room: the quote is in memory and in ``recent``, but will not be written, and is counted as
    dropped.
    """

    CODES = ("EQUEUEFULL",)


class ClosedError(TickstoreError):
    """The store is closed."""

    CODES = ("ECLOSED",)


class ForkError(TickstoreError):
    """The store was opened before a fork. A child that was forked while a store was open can open none itself:
    start workers with "spawn" or "forkserver".
    """

    CODES = ("EFORK",)


class ReadOnlyError(TickstoreError):
    """The store is open for reading only."""

    CODES = ("EREADONLY",)


class LockedError(TickstoreError):
    """Another process or handle has the store open for writing."""

    CODES = ("ELOCKED",)


class NotAStoreError(TickstoreError):
    """There is no store at this path, or its store.json cannot be read."""

    CODES = ("ENOTSTORE",)


class FormatError(TickstoreError):
    """The store has a newer format than this library reads."""

    CODES = ("EFORMAT",)


class StorageError(TickstoreError, OSError):
    """Input or output failed; ``detail`` has errno or SQLite's code."""

    CODES = ("EIO",)


class DiskFullError(StorageError):
    """No space left on the device."""

    CODES = ("EDISKFULL",)


class DayFileError(TickstoreError):
    """A day file is damaged. ``partial`` has what could be read, if the call gives that."""

    CODES = ("EDAYFILE",)


class FlushTimeoutError(TickstoreError, TimeoutError):
    """The time limit ran out first; the message names the sink and its last error."""

    CODES = ("ETIMEOUT",)


class ReadDeadlineError(TickstoreError, TimeoutError):
    """A read took longer than ``read_deadline_ms``."""

    CODES = ("EDEADLINE",)


class UnwrittenError(TickstoreError):
    """Some accepted quotes could not be written; the message says how many each sink lacks."""

    CODES = ("EUNWRITTEN",)


class OutOfMemoryError(TickstoreError, MemoryError):
    """The library could not get memory."""

    CODES = ("ENOMEM",)


class InternalError(TickstoreError):
    """A bug of the library; please report it."""

    CODES = ("EINTERNAL",)


def _classes(base: Type[TickstoreError]) -> Dict[int, Type[TickstoreError]]:
    found: Dict[int, Type[TickstoreError]] = {}
    for cls in base.__subclasses__():
        found.update({STATUS[name]: cls for name in cls.__dict__.get("CODES", ())})
        found.update(_classes(cls))
    return found


#: Status code to exception.
BY_CODE: Dict[int, Type[TickstoreError]] = _classes(TickstoreError)


def make_error(code: int, message: str, detail: int = 0) -> TickstoreError:
    return BY_CODE.get(code, TickstoreError)(message, code, detail)


__all__ = [name for name, value in list(globals().items()) if isinstance(value, type) and issubclass(value, Exception)]
