"""Times of every kind to nanoseconds since 1970-01-01T00:00:00Z, exactly, and back to text."""

from __future__ import annotations

import operator
import re
from datetime import date, datetime, timedelta, timezone
from typing import Any, Union

#: int: nanoseconds; datetime: aware; str: ISO 8601, a date or a time with its offset; numpy.datetime64: UTC.
Time = Union[int, datetime, str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d))?$")
_MICROSECOND = timedelta(microseconds=1)


def _from_datetime(value: datetime) -> int:
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone; give it one, for example tzinfo=datetime.timezone.utc")
    return (value - _EPOCH) // _MICROSECOND * 1000


def _from_text(text: str) -> int:
    match = _ISO.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time: 2014-05-02, or 2014-05-02T12:00:00.123456789Z with Z or an offset")
    day, clock, seconds, fraction, offset = match.groups()
    if clock is None:
        return _from_datetime(datetime.fromisoformat(day).replace(tzinfo=timezone.utc))
    if offset == "Z":
        offset = "+00:00"
    elif ":" not in offset:
        offset = offset[:3] + ":" + offset[3:]
    whole = datetime.fromisoformat(f"{day}T{clock}:{seconds or '00'}{offset}")
    return _from_datetime(whole) + int((fraction or "").ljust(9, "0"))


def _from_datetime64(value: Any) -> int:
    import numpy as np

    try:
        nanoseconds = value.astype("datetime64[ns]")
        fits = not np.isnat(value) and nanoseconds.astype(value.dtype) == value
    except OverflowError:
        fits = False
    if not fits:
        raise ValueError(f"{value!r} is no time in nanoseconds")
    return int(nanoseconds.view("i8"))


def to_ns(value: Time) -> int:
    """One time. TypeError for what is none (a float would lose nanoseconds), ValueError for what cannot be one."""
    if isinstance(value, str):
        return _from_text(value)
    if isinstance(value, datetime):
        if value != value:
            raise ValueError("NaT is no time")
        nanosecond = getattr(value, "nanosecond", 0)  # pandas.Timestamp is a datetime with more digits
        return _from_datetime(value) + (int(nanosecond) if nanosecond else 0)
    if type(value).__name__ == "datetime64":
        return _from_datetime64(value)
    if isinstance(value, date):
        return _from_datetime(datetime(value.year, value.month, value.day, tzinfo=timezone.utc))
    try:
        nanoseconds = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{value!r} is no time: an int of nanoseconds, an aware datetime, a datetime64 or ISO 8601 text is"
        ) from None
    if not -(2**63) <= nanoseconds < 2**63:
        raise ValueError(f"{nanoseconds} ns do not fit 64 bits")
    return nanoseconds


def text_of(ns: int) -> str:
    """2014-05-02T12:00:00.123456789Z, without the zeros at the end."""
    seconds, rest = divmod(ns, 1_000_000_000)
    try:
        text = f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}"
    except OverflowError:
        return f"{ns} ns"
    if rest:
        text += f".{rest:09d}".rstrip("0")
    return text + "Z"
