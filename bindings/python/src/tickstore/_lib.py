"""Finds and loads the C library, once, when the package is imported.

Looked at in this order: the file that the environment variable TICKSTORE_LIBRARY names (then nothing else is tried),
the copy bundled with this package, the system's.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes.util import find_library
from pathlib import Path
from typing import Any, List, Tuple

from . import _abi
from .errors import LibraryError, make_error

VARIABLE = "TICKSTORE_LIBRARY"
SONAME = f"libtickstore.so.{_abi.VERSION[0]}"


def candidates() -> List[Tuple[str, str]]:
    """(where it comes from, what to load), in order."""
    named = os.environ.get(VARIABLE)
    if named:
        return [(f"${VARIABLE}", named)]
    bundled = Path(__file__).resolve().parent / "_native" / SONAME
    return [("bundled", str(bundled)), ("system", SONAME), ("system", find_library("tickstore") or "libtickstore.so")]


def fits(version: int) -> bool:
    """The same ABI: until 1.0 the same minor version, from then on the same major and no older minor."""
    major, minor = version // 1000000, version // 1000 % 1000
    if _abi.VERSION[0] == 0:
        return (major, minor) == _abi.VERSION[:2]
    return major == _abi.VERSION[0] and minor >= _abi.VERSION[1]


def load_one(path: str) -> ctypes.CDLL:
    """OSError or LibraryError says why not."""
    library = ctypes.CDLL(path)  # not PyDLL: every call lets other Python threads run
    try:
        library.tks_version.restype = ctypes.c_uint32
        version = int(library.tks_version())
        if not fits(version):
            raise LibraryError(
                f"is version {version // 1000000}.{version // 1000 % 1000}.{version % 1000}, "
                f"this package is made for {'.'.join(map(str, _abi.VERSION))}"
            )
        _abi.declare(library)
    except AttributeError as error:
        raise LibraryError(f"is not libtickstore {'.'.join(map(str, _abi.VERSION))}: {error}") from None
    return library


def load() -> Tuple[ctypes.CDLL, str]:
    """The library and where it was found."""
    if sys.byteorder != "little" or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise LibraryError("tickstore runs on 64-bit little-endian machines only")
    tried = []
    for where, path in candidates():
        if where == "bundled" and not os.path.exists(path):
            tried.append(f"  {where}: {path}: not there")
            continue
        try:
            return load_one(path), path
        except (OSError, LibraryError) as error:
            tried.append(f"  {where}: {path}: {error}")
    raise LibraryError(
        "libtickstore was not found. Looked at:\n"
        + "\n".join(tried)
        + f"\nInstall it, or name the file in the environment variable {VARIABLE}."
    )


lib, path = load()


def check(code: int, error: Any) -> int:
    """Raises for a negative code, from a filled tks_error."""
    if code < 0:
        raise make_error(code, error.message.decode("utf-8", "replace"), error.detail)
    return code
