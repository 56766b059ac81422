"""What _abi.py says is what the header says."""

import ctypes
import os
import re
import shutil
import subprocess

import pytest
from conftest import ROOT

import tickstore
from tickstore import _abi, errors

INCLUDE = ROOT / "libtickstore" / "include"
HEADER = INCLUDE / "tickstore" / "tickstore.h"
pytestmark = pytest.mark.skipif(not HEADER.exists(), reason="not in a checkout: no header")


def code_of_header():
    return re.sub(r"/\*.*?\*/", " ", HEADER.read_text(), flags=re.DOTALL)


def test_version():
    numbers = re.findall(r"^#define TKS_VERSION_\w+ (\d+)$", HEADER.read_text(), re.MULTILINE)
    assert tuple(map(int, numbers)) == _abi.VERSION
    assert tickstore.__version__ == ".".join(numbers) == tickstore.library_version


def test_statuses():
    found = re.findall(r"^  X\((\w+), (-?\d+), ", HEADER.read_text(), re.MULTILINE)
    assert {name: int(value) for name, value in found} == _abi.STATUS


def test_every_negative_status_has_an_exception():
    negative = {value for value in _abi.STATUS.values() if value < 0}
    assert set(errors.BY_CODE) == negative
    for code, cls in errors.BY_CODE.items():
        error = errors.make_error(code, "why", 7)
        assert type(error) is cls
        assert (error.code, error.detail, str(error)) == (code, 7, "why")
        assert _abi.STATUS[error.name[4:]] == code
        assert isinstance(error, tickstore.TickstoreError)
        assert cls.__name__ in tickstore.__all__


def test_structs():
    """The compiler's sizes and offsets, field by field."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("no C compiler to ask")
    lines = ["#include <stdio.h>", '#include "tickstore/tickstore.h"', "int main(void) {"]
    want = []
    for name, struct in _abi.STRUCTS.items():
        lines.append(f'printf("%zu\\n", sizeof({name}));')
        want.append((name, ctypes.sizeof(struct)))
        for field in (item[0] for item in struct._fields_):
            lines.append(f'printf("%zu %zu\\n", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));')
            place = getattr(struct, field)
            want.append((f"{name}.{field}", f"{place.offset} {place.size}"))
    lines.append("return 0; }")
    target = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"tickstore-abi-{os.getpid()}")
    try:
        subprocess.run(
            [compiler, "-x", "c", "-", f"-I{INCLUDE}", "-o", target], input="\n".join(lines), text=True, check=True
        )
        said = subprocess.run([target], capture_output=True, text=True, check=True).stdout.split("\n")
    finally:
        if os.path.exists(target):
            os.unlink(target)
    assert [(name, str(value)) for name, value in want] == [(name, line) for (name, _), line in zip(want, said)]


def test_fields_are_all_there():
    code = code_of_header()
    for name, struct in _abi.STRUCTS.items():
        body = re.search(rf"typedef struct {name} \{{(.*?)\n\}} {name};", code, re.DOTALL)[1]
        fields = re.findall(r"(\w+)(?:\[\w+\])?;", body)
        assert fields == [item[0] for item in struct._fields_], name


def test_quote_has_one_layout():
    import struct

    assert struct.calcsize(_abi.QUOTE_FORMAT) == ctypes.sizeof(_abi.Quote)
    names = [item[0] for item in _abi.Quote._fields_]
    assert names == [name for name, _ in _abi.QUOTE_DTYPE]
    np = pytest.importorskip("numpy")
    dtype = np.dtype(_abi.QUOTE_DTYPE)
    assert dtype.itemsize == ctypes.sizeof(_abi.Quote)
    for name in names:
        assert dtype.fields[name][1] == getattr(_abi.Quote, name).offset


def test_functions():
    """Every function is declared, in order, with as many parameters, each a pointer where the header has one."""
    declared = re.findall(r"TKS_API ([\w ]+?\*?)\s*(tks_\w+)\((.*?)\);", code_of_header(), re.DOTALL)
    assert [name for _, name, _ in declared] == [name for name, _, _ in _abi.FUNCTIONS]
    for (result, name, parameters), (_, restype, argtypes) in zip(declared, _abi.FUNCTIONS):
        parameters = [] if parameters == "void" else parameters.split(",")
        assert len(parameters) == len(argtypes), name
        assert (result.strip() == "void") == (restype is None), name
        for parameter, argtype in zip(parameters, argtypes):
            pointer = argtype in (ctypes.c_void_p, ctypes.c_char_p) or hasattr(argtype, "contents")
            assert ("*" in parameter) == pointer, f"{name}: {parameter}"
            if not pointer:
                kind = parameter.strip().rsplit(" ", 1)[0]
                size = {"int": 4, "double": 8, "size_t": 8}.get(kind) or int(re.search(r"\d+", kind)[0]) // 8
                assert ctypes.sizeof(argtype) == size, f"{name}: {parameter}"


@pytest.mark.parametrize(
    "words, prefix",
    [
        (_abi.PRESETS, "PRESET_"),
        (_abi.QUEUE_POLICIES, "QUEUE_"),
        (_abi.CROSSED_POLICIES, "CROSSED_"),
        (_abi.SYNCHRONOUS, "SYNC_"),
        (_abi.LOG_LEVELS, "LOG_"),
        (_abi.GAP_CAUSES, "GAP_"),
        (dict(zip(_abi.SINK_STATES, range(9))), "SINK_"),
        (_abi.BACKENDS, ""),
    ],
)
def test_words(words, prefix):
    found = re.findall(rf"TKS_{prefix}(\w+)\s*(?:= )?(\d|0x\du)\b", code_of_header())
    values = {name.lower(): int(value.rstrip("u"), 0) for name, value in found}
    assert words == {name: values[name] for name in words}


def test_constants():
    code = code_of_header()
    for name in ("NAME_MAX", "MAX_RECORDS", "FLAG_CROSSED", "FLAG_USER_MASK", "RANGE_DESCENDING", "FLUSH_BUCKETS"):
        value = re.search(rf"#define TKS_{name} (\w+)", code)[1]
        assert int(value.rstrip("u"), 0) == getattr(_abi, name), name
