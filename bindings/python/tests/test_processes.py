"""fork, threads, and who waits for whom."""

import atexit
import gc
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import MS, NOON

import tickstore


def in_child(store, table, scan, path, out):
    said = []
    for call in (
        lambda: store.put("A", NOON, 1, 2),
        lambda: store.put_many("A", [NOON], [1], [2]),
        lambda: store.symbol("B"),
        lambda: store.recent("A"),
        lambda: store.range("A"),
        lambda: list(scan),
        lambda: store.stats(),
        lambda: store.flush(1),
        lambda: store.close(),
    ):
        try:
            call()
            said.append("nothing")
        except tickstore.ForkError as error:
            said.append(str(error))
    with store:  # leaving the block is no error
        pass
    said.append([q.bid for q in table])  # what was read is still there
    for place in (path, path.with_name("own")):
        try:
            tickstore.Store(place)
        except tickstore.ForkError as error:
            said.append("exec" in str(error) and not place.with_name("own").exists())
    out.put(said)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork(store, path):
    store.put("A", NOON, 1, 2)
    store.flush(10)
    table, scan = store.range("A"), store.scan("A")
    context = multiprocessing.get_context("fork")
    out = context.Queue()
    child = context.Process(target=in_child, args=(store, table, scan, path, out))
    child.start()
    *said, bids, here, elsewhere = out.get(timeout=60)
    child.join(60)
    assert child.exitcode == 0 and bids == [1.0] and here and elsewhere
    assert len(said) == 9 and all("fork" in line for line in said)
    store.put("A", NOON + 1, 3, 4)  # the parent goes on
    store.flush(10)
    assert len(store.range("A")) == 2


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_exits_leaves_the_store_alone(path):
    store = tickstore.Store(path)
    store.put("A", NOON, 1, 2)
    pid = os.fork()
    if pid == 0:
        import atexit

        atexit._run_exitfuncs()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    store.put("A", NOON + 1, 3, 4)
    store.close()
    with tickstore.Store(path) as store:
        assert len(store.range("A")) == 2


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks_while_threads_put_and_read(path):
    """Each child gets its answers and comes to its end, by os._exit or through the interpreter's whole exit (with the
    store still open there); the parent loses nothing.
    """
    rounds = int(os.environ.get("TKS_RACES", 500)) // 10
    store = tickstore.Store(path, throttle_relative=-1, batch_records=50, queue_policy="block")
    done, puts, reads = threading.Event(), [0], [0]

    def put():
        while not done.is_set():
            store.put("A", NOON + puts[0], puts[0], None)
            puts[0] += 1

    def read():
        while not done.is_set():
            reads[0] += len(store.range("A", limit=1000))

    threads = [threading.Thread(target=f) for f in (put, read)]
    for thread in threads:
        thread.start()
    try:
        for number in range(rounds):
            was = puts[0]
            while puts[0] == was:  # they do run meanwhile
                time.sleep(0)
            pid = os.fork()
            if pid == 0:
                end_of_child(store, path, number)
            assert os.waitpid(pid, 0)[1] == 0, number
    finally:
        done.set()
        for thread in threads:
            thread.join()
        store.close()
    with tickstore.Store(path) as store:
        assert store.range("A").bid.tolist() == list(range(puts[0]))
    assert reads[0] > 0


def end_of_child(store, path, number):
    signal.alarm(60)  # a hang ends as a failure
    code = 1
    try:
        for call in (
            lambda: store.put("A", NOON, 1, 2),
            lambda: store.range("A"),
            lambda: store.flush(1),
            lambda: tickstore.Store(path.with_name("own")),
            store.close,
        ):
            with pytest.raises(tickstore.ForkError):
                call()
        code = 0
    finally:
        if code == 0 and number % 2 == 0:
            # What an interpreter does at its exit, without pytest's own reports.
            atexit._run_exitfuncs()
            gc.collect()
        os._exit(code)


LEAVE = """
import os, sys, threading
import tickstore
store = tickstore.Store(sys.argv[1], throttle_relative=-1, queue_policy="block")
count = 0
more = threading.Event()
def put():
    global count
    try:
        while True:
            store.put("A", 1_709_640_000_000_000_000 + count, count, None)
            count += 1
            more.set()
    except tickstore.ClosedError:
        pass
threading.Thread(target=put, daemon=True).start()
more.wait()
pid = os.fork()  # the child goes through the whole exit of the interpreter too, with the parent's store
if pid:
    assert os.waitpid(pid, 0)[1] == 0
    print(count)
"""


def test_an_interpreter_that_ends_with_a_store_open_loses_nothing(path):
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", LEAVE, path], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        with tickstore.Store(path) as store:
            bids = store.range("A").bid.tolist()
            assert bids == list(range(len(bids))) and len(bids) >= int(done.stdout)
        shutil.rmtree(path)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_read_beside_the_writer(store, path, method):
    store.put_many("A", range(NOON, NOON + 100), range(100), None)
    store.flush(10)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(count, [str(path)] * 4) == [100] * 4


def count(path):
    with tickstore.Store(path, read_only=True) as store:
        return len(store.range("A"))


def test_exceptions_cross_processes():
    import pickle

    error = tickstore.PriceError("bid is inf", -22, 3)
    error.index = 7
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is tickstore.PriceError and (copy.code, copy.detail, copy.index, str(copy)) == (
        -22,
        3,
        7,
        "bid is inf",
    )
    quote = tickstore.Quote(1, "A", 1.0, 2.0, 0.0, 0.0, None, 1, 0, None)
    assert pickle.loads(pickle.dumps(quote)) == quote


def run_all(functions):
    failures = []

    def guarded(function):
        try:
            function()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures, failures


def test_threads_put_and_read_at_once(path):
    each = 3000
    done = threading.Event()
    with tickstore.Store(path, throttle_relative=-1, queue_records=4096) as store:

        def put(n):
            for i in range(each):
                assert store.put(f"S{n % 3}", NOON + i * MS, 1 + i, 2 + i, source=f"T{n}") > 0

        def put_many(n):
            for k in range(0, each, 500):
                ts = range(NOON + k * MS, NOON + (k + 500) * MS, MS)
                bad = [float("inf") if i == 250 else 1.0 + i for i in range(500)]
                result = store.put_many("M", ts, bad, None, source=f"T{n}", errors="return")
                assert (result.accepted, result.refused, result.first_bad) == (499, 1, 250)

        def read():
            while not done.is_set():
                for table in (store.recent("S0", 200), store.range("M", limit=500), store.latest_all()):
                    assert all(q.symbol[0] in "SM" for q in table)
                assert store.stats().received >= 0 and store.durable_seq >= 0

        def write():
            try:
                run_all([lambda n=n: put(n) for n in range(4)] + [lambda n=n: put_many(n) for n in range(4, 6)])
            finally:
                done.set()

        run_all([write, read, read])
        store.flush(60)
        stats = store.stats()
        assert stats.accepted == stats.sinks[0].written == 4 * each + 2 * (each - each // 500)
        assert sum(len(store.range(f"S{n}")) for n in range(3)) == 4 * each
        for n in range(4):
            own = store.range(f"S{n % 3}", source=f"T{n}")
            assert [q.bid for q in own] == [1.0 + i for i in range(each)]


def test_one_waits_others_run(path):
    """flush holds the GIL no more than any other wait."""
    with tickstore.Store(path, flush_interval_ms=3_600_000, batch_records=1000) as store:
        ticks = []
        stop = threading.Event()

        def count():
            while not stop.is_set():
                ticks.append(time.monotonic())
                time.sleep(0.001)

        thread = threading.Thread(target=count)
        thread.start()
        for i in range(2000):
            store.put("A", NOON + i, 1 + i, 2 + i)
            if i % 200 == 0:
                store.flush(10)
        stop.set()
        thread.join()
        assert len(ticks) > 3


def test_close_beside_calls(path):
    store = tickstore.Store(path, throttle_relative=-1)
    accepted = []

    def put(n):
        count = 0
        try:
            while True:
                count += store.put(f"S{n}", NOON + count, 1 + count, 2 + count) > 0
        except tickstore.ClosedError:
            accepted.append(count)

    def close():
        time.sleep(0.2)
        store.close()

    run_all([lambda n=n: put(n) for n in range(3)] + [close])
    with tickstore.Store(path) as again:
        assert sum(symbol.quotes for symbol in again.symbols()) == sum(accepted) > 0


def test_log_from_the_library_s_threads(path):
    lines = []
    with tickstore.Store(
        path, log=lambda level, text: lines.append((level, text)), log_level="debug", backend="dual"
    ) as store:
        for i in range(3000):
            store.put("A", NOON + i, 1 + i, 2 + i)
        store.flush(30)
    assert all(level in ("debug", "info", "warn", "error") and text for level, text in lines)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_log_that_raises_is_no_disaster(path, capfd):
    def log(level, text):
        raise RuntimeError("no")

    store = tickstore.Store(path)
    store.put("A", NOON, 1, 2)
    store.close()
    manifest = path / "store.json"
    manifest.write_text(
        manifest.read_text().replace('"clean":true', '"clean":false').replace('"clean": true', '"clean": false')
    )
    with tickstore.Store(path, log=log) as store:
        assert store.latest("A").bid == 1.0
