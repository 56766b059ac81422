#!/usr/bin/env python3
"""The include law: base <- ingest <- persist <- query <- store.

A folder below libtickstore/src includes itself and what stands left of it; the files at the top (store, tickstore)
include anything. What the library stands on is included in few places, named here.
"""

import fnmatch
import os
import pathlib
import re
import sys
import tempfile

LAYERS = ["base", "ingest", "persist", "query"]

# header: files that may include it, relative to libtickstore/src
ALLOWED = {
    "sqlite3.h": [
        "persist/dayfile.*",
        "persist/feed.c",
        "persist/gap_file.c",
        "persist/gaps.c",
        "query/pool.*",
        "query/sqlite_day.*",
    ],
    "uv.h": ["persist/writer.*"],
    "jansson.h": ["persist/json_line.*", "persist/manifest.*"],
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def violations(src):
    """Yields one line of text for every include below `src` that breaks the law."""
    for path in sorted(src.rglob("*.[ch]")):
        file = path.relative_to(src).as_posix()
        folder = file.split("/")[0] if "/" in file else None
        if folder is not None and folder not in LAYERS:
            yield f"{file}: {folder}/ is not a layer ({', '.join(LAYERS)})"
            continue
        for quote, target in INCLUDE.findall(path.read_text(encoding="utf-8")):
            if target in ALLOWED and not any(fnmatch.fnmatch(file, pattern) for pattern in ALLOWED[target]):
                yield f"{file}: includes <{target}>, which is for {', '.join(ALLOWED[target])}"
            if quote == "<" or target.startswith("tickstore/") or folder is None:
                continue
            if "/" not in target and (path.parent / target).exists():
                continue
            layer = target.split("/")[0] if "/" in target else None
            if layer not in LAYERS:
                yield f'{file}: includes "{target}", which is in no layer; write "layer/file.h"'
            elif LAYERS.index(layer) > LAYERS.index(folder):
                yield f'{file}: includes "{target}", but {folder} stands left of {layer}'


def check_the_check():
    """Plants each kind of violation, and one file that is fine."""
    planted = {
        "base/up.c": '#include "ingest/ring.h"\n',
        "base/store.c": '#  include "store.h"\n',
        "ingest/odd.h": '#include "../persist/batch.h"\n',
        "persist/batch.c": "#include <sqlite3.h>\n",
        "query/cursor.c": "  #include <uv.h>\n",
        "store.c": "#include <jansson.h>\n",
        "extra/new.c": "#include <stdio.h>\n",
    }
    fine = {
        "persist/dayfile.c": '#include <sqlite3.h>\n#include "base/utc.h"\n#include "dayfile.h"\n'
        '#include "tickstore/tickstore.h"\n/* "query/pool.h" is only mentioned */\n',
        "persist/dayfile.h": "",
        "tickstore.c": '#include "store.h"\n#include "query/pool.h"\n',
    }
    with tempfile.TemporaryDirectory() as directory:
        src = pathlib.Path(directory)
        for file, text in {**planted, **fine}.items():
            (src / file).parent.mkdir(parents=True, exist_ok=True)
            (src / file).write_text(text, encoding="utf-8")
        caught = {line.split(":")[0] for line in violations(src)}
    if caught != set(planted):
        print("FAILED: the check itself")
        print("  not caught:", sorted(set(planted) - caught))
        print("  wrongly caught:", sorted(caught - set(planted)))
        return False
    print(f"ok: {len(planted)} planted violations are caught")
    return True


def main():
    if not check_the_check():
        return 1
    src = pathlib.Path(os.environ["TICKSTORE_SOURCE_DIR"]) / "libtickstore" / "src"
    found = list(violations(src))
    for line in found:
        print("FAILED:", line)
    files = len(list(src.rglob("*.[ch]")))
    if files == 0:
        print("FAILED: no sources below", src)
        return 1
    if not found:
        print(f"ok: {files} files keep the law")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
