"""Rivals that are Python's own: one workload a process, driven line by line.

The same protocol as in src/protocol.rs: `rivals.py RIVAL/WORKLOAD name=value ...` prints `ready`,
then answers each line `run` with one line of JSON.
"""

import atexit
import json
import math
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.pool
import multiprocessing.resource_tracker
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import array_rivals
import image_rivals
import linalg_rivals
import table_rivals
import video_rivals

EXIT_NO_SUCH_WORKLOAD = 3
EXIT_NOT_INSTALLED = 4

# A process pool takes 100 us a task and a queue 5 us a message: rates need no more than these.
TASKS_MAX = 3000
ITEMS_MAX = 1_000_000
MESSAGES_MAX = 100_000
MAP_CHUNK = 1000

Figures = dict[str, float]
Repetition = Callable[[], Figures]


def nothing() -> None:
    pass


def same(item: int) -> int:
    return item


def flip(item: int) -> int:
    return item ^ 1


def new_executor(name: str, workers: int) -> Executor:
    if name == "loky":
        import loky

        return loky.ProcessPoolExecutor(workers)
    method = name.removeprefix("executor-")
    return ProcessPoolExecutor(workers, multiprocessing.get_context(method))


def warm_executor(name: str, arguments: dict) -> Executor:
    executor = new_executor(name, arguments["workers"])
    executor.submit(nothing).result()
    return executor


def start(name: str, arguments: dict) -> Repetition:
    """How long does a program wait from making an executor to its first result?"""
    host = b"1" * (arguments["host_gib"] << 30)

    def once() -> float:
        # Private, but there is no other way to a second cold start.
        multiprocessing.forkserver._forkserver._stop()
        begin = time.perf_counter()
        with new_executor(name, arguments["workers"]) as executor:
            executor.submit(nothing).result()
            return time.perf_counter() - begin

    def repetition() -> Figures:
        assert len(host) == arguments["host_gib"] << 30
        return {"start_ms": median_seconds(arguments, once) * 1e3}

    return repetition


def submit(name: str, arguments: dict) -> Repetition:
    """How long does a caller wait for an empty task, one at a time?"""
    executor = warm_executor(name, arguments)

    def repetition() -> Figures:
        samples = latencies_us(arguments, lambda: executor.submit(nothing).result())
        return {
            "submit_join_p50_us": statistics.median(samples),
            "submit_join_p99_us": sorted(samples)[len(samples) * 99 // 100],
        }

    return repetition


def submit_idle(name: str, arguments: dict) -> Repetition:
    """How long does a caller wait for an empty task after a rest?"""
    executor = warm_executor(name, arguments)
    rest = arguments["idle_ms"] / 1e3

    def repetition() -> Figures:
        task = lambda: executor.submit(nothing).result()  # noqa: E731
        samples = latencies_us(arguments, task, before=lambda: time.sleep(rest))
        return {"submit_join_idle_p50_us": statistics.median(samples)}

    return repetition


def burst(name: str, arguments: dict) -> Repetition:
    """How many tasks a second that return their number, all submitted and then all joined?"""
    executor = warm_executor(name, arguments)
    count = min(arguments["tasks"], TASKS_MAX)

    def repetition() -> Figures:
        executor.submit(nothing).result()
        begin = time.perf_counter()
        futures = [executor.submit(same, number) for number in range(count)]
        assert sum(future.result() for future in futures) == count * (count - 1) // 2
        return {"tasks_per_s": count / (time.perf_counter() - begin)}

    return repetition


def map_items(name: str, arguments: dict) -> Repetition:
    """How many small items a second does a map take, in chunks, results added up?"""
    count = min(arguments["items"], ITEMS_MAX)
    if name == "pool-fork":
        pool = multiprocessing.get_context("fork").Pool(arguments["workers"])
        run = lambda: sum(pool.map(flip, range(count), MAP_CHUNK))  # noqa: E731
    else:
        executor = warm_executor(name, arguments)
        run = lambda: sum(executor.map(flip, range(count), chunksize=MAP_CHUNK))  # noqa: E731
    return lambda: {"map_items_per_s": count / seconds_a_call(arguments, run)}


def handoff(name: str, arguments: dict) -> Repetition:
    """How long does a worker take to receive an array and to return its sum?"""
    import numpy

    length = arguments["mib"] * 2**20 // 8
    if name == "shared-memory":
        share_tracker()
        executor = warm_executor("executor-fork", arguments)
        memory = SharedMemory(create=True, size=length * 8)
        atexit.register(memory.unlink)
        numpy.ndarray(length, buffer=memory.buf)[:] = 1.0
        run = lambda: executor.submit(sum_shared, memory.name).result()  # noqa: E731
    else:
        executor = warm_executor(name, arguments)
        array = numpy.ones(length)
        run = lambda: executor.submit(numpy.sum, array).result()  # noqa: E731
    assert run() == length
    return lambda: {"array_handoff_us": seconds_a_call(arguments, run) * 1e6}


def allocate(name: str, arguments: dict) -> Repetition:
    """How fast is new shared memory allocated by name, touched by all workers?"""
    import numpy  # noqa: F401, the workers' import is not to be measured

    del name
    share_tracker()
    pool = multiprocessing.get_context("fork").Pool(arguments["workers"])
    size, workers = arguments["mib"] << 20, arguments["workers"]

    def once() -> float:
        begin = time.perf_counter()
        memory = SharedMemory(create=True, size=size)
        pool.starmap(touch_shared, [(memory.name, part, workers) for part in range(workers)], 1)
        seconds = time.perf_counter() - begin
        memory.close()
        memory.unlink()
        return seconds

    return lambda: {"alloc_gib_s": size / 2**30 / median_seconds(arguments, once)}


def share_tracker() -> None:
    """Makes workers that are forked from now on use this process's tracker of shared memory."""
    # A worker's own tracker would unlink, when the worker ends, memory that it only attached.
    multiprocessing.resource_tracker.ensure_running()


def sum_shared(name: str) -> float:
    """The sum of an array in shared memory, in a worker that attaches to it by name."""
    import numpy

    memory = SharedMemory(name)
    total = numpy.ndarray(memory.size // 8, buffer=memory.buf).sum()
    memory.close()
    return float(total)


def touch_shared(name: str, part: int, parts: int) -> None:
    """A byte on each page of a worker's part."""
    import numpy

    memory = SharedMemory(name)
    pages = numpy.ndarray(memory.size, numpy.uint8, memory.buf)[::4096]
    pages[len(pages) * part // parts : len(pages) * (part + 1) // parts] = 1
    del pages
    memory.close()


def messages(name: str, arguments: dict) -> Repetition:
    """How many 64-byte messages a second pass from one process to another?"""
    del name
    context = multiprocessing.get_context("fork")
    count = min(arguments["messages"], MESSAGES_MAX)

    def send(queue: multiprocessing.Queue) -> None:
        for _ in range(count):
            queue.put(bytes(64))

    def repetition() -> Figures:
        queue = context.Queue()
        sender = context.Process(target=send, args=(queue,))
        sender.start()
        queue.get()
        begin = time.perf_counter()
        for _ in range(count - 1):
            queue.get()
        seconds = time.perf_counter() - begin
        sender.join()
        return {"messages_per_s": (count - 1) / seconds}

    return repetition


def round_trip(name: str, arguments: dict) -> Repetition:
    """How long is a round trip through a pipe between two processes?"""
    del name
    context = multiprocessing.get_context("fork")
    near, far = context.Pipe()

    def echo() -> None:
        near.close()
        try:
            while True:
                far.send_bytes(far.recv_bytes())
        except EOFError:
            pass

    context.Process(target=echo, daemon=True).start()
    far.close()

    def once() -> None:
        near.send_bytes(bytes(8))
        near.recv_bytes()

    return lambda: {"round_trip_us": statistics.median(latencies_us(arguments, once))}


def factorial(name: str, arguments: dict) -> Repetition:
    """How long does CPython take for n!?"""
    del name
    run = lambda: math.factorial(arguments["n"])  # noqa: E731
    return lambda: {"factorial_ms": seconds_a_call(arguments, run) * 1e3}


def matmul_files(name: str, arguments: dict) -> Repetition:
    """How long from two .npy files to a third that holds their product?"""
    import numpy

    n = arguments["n"]
    directory = tempfile.TemporaryDirectory(prefix="brigade-compare-")
    a, b, c = (Path(directory.name) / f"{letter}.npy" for letter in "abc")
    generator = numpy.random.default_rng(1)
    for path in (a, b):
        numpy.save(path, generator.random((n, n)))
    product = mkl_product(arguments["library"]) if name == "numpy-mkl" else numpy.matmul

    def run() -> None:
        # Named here so that the directory lives as long as the workload.
        assert directory
        numpy.save(c, product(numpy.load(a), numpy.load(b)))

    return lambda: {"files_ms": seconds_a_call(arguments, run) * 1e3}


def mkl_product(library: str) -> Callable:
    """NumPy's wheels come with OpenBLAS; this measures MKL in its place."""
    import ctypes

    import numpy

    gemm = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL).cblas_dgemm_64
    pointer, integer, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    modes, sizes = [ctypes.c_int] * 3, [integer] * 3
    factors = [pointer, integer] * 2
    gemm.argtypes = [*modes, *sizes, real, *factors, real, pointer, integer]
    gemm.restype = None

    def product(a: numpy.ndarray, b: numpy.ndarray) -> numpy.ndarray:
        (m, k), n = a.shape, b.shape[1]
        c = numpy.empty((m, n))
        pointers = a.ctypes.data, b.ctypes.data, c.ctypes.data
        gemm(101, 111, 111, m, n, k, 1.0, pointers[0], k, pointers[1], n, 0.0, pointers[2], n)
        return c

    check = numpy.arange(6.0).reshape(2, 3), numpy.arange(12.0).reshape(3, 4)
    assert numpy.array_equal(product(*check), check[0] @ check[1])
    return product


def array_sum(name: str, arguments: dict) -> Repetition:
    """How fast does NumPy sum a big array?"""
    import numpy

    del name
    a = numpy.ones(arguments["mib"] * 2**20 // 8)
    return lambda: {"sum_gbps": a.nbytes / seconds_a_call(arguments, a.sum) / 1e9}


def array_call(calls: Callable) -> Callable:
    """A workload whose calls are in a table of array_rivals.py."""

    def workload(name: str, arguments: dict) -> Repetition:
        call = calls(name, arguments)
        return lambda: {"call_ms": seconds_a_call(arguments, call) * 1e3}

    return workload


def sort(name: str, arguments: dict) -> Repetition:
    """How long does a sort of random keys take, or a search among them?"""
    operand, call = array_rivals.sort(name, arguments)

    def once() -> float:
        given = operand()
        begin = time.perf_counter()
        call(given)
        return time.perf_counter() - begin

    return lambda: {"call_ms": median_seconds(arguments, once) * 1e3}


def median_seconds(arguments: dict, once: Callable[[], float]) -> float:
    """The median of `once` for about the budget; the first call is a warm-up."""
    begin = time.perf_counter()
    samples: list[float] = []
    while len(samples) < 2 or time.perf_counter() - begin < arguments["budget_ms"] / 1e3:
        samples.append(once())
    return statistics.median(samples[1:])


def seconds_a_call(arguments: dict, run: Callable) -> float:
    """The median of calls for about the budget; the first counts only if it uses up the budget."""
    budget = arguments["budget_ms"] / 1e3
    samples: list[float] = []
    begin = time.perf_counter()
    while not samples or time.perf_counter() - begin < budget:
        call = time.perf_counter()
        run()
        samples.append(time.perf_counter() - call)
    return statistics.median(samples[1:] or samples)


def latencies_us(
    arguments: dict, run: Callable, before: Callable[[], None] = nothing
) -> list[float]:
    """Microseconds of calls one at a time; the first tenth of the budget is discarded."""
    budget = arguments["budget_ms"] / 1e3
    samples: list[float] = []
    begin = time.perf_counter()
    while not samples or time.perf_counter() - begin < budget:
        before()
        call = time.perf_counter()
        run()
        end = time.perf_counter()
        if end - begin > budget / 10:
            samples.append((end - call) * 1e6)
    return samples


WORKLOADS = {
    "start": start,
    "submit": submit,
    "submit-idle": submit_idle,
    "burst": burst,
    "map": map_items,
    "alloc": allocate,
    "handoff": handoff,
    "messages": messages,
    "round-trip": round_trip,
    "factorial": factorial,
    "matmul-files": matmul_files,
    "factor": array_call(linalg_rivals.factor),
    "small-systems": array_call(linalg_rivals.batch),
    "array-sum": array_sum,
    "reduce": array_call(array_rivals.reduce),
    "elements": array_call(array_rivals.elements),
    "random": array_call(array_rivals.random),
    "filter": array_call(array_rivals.filters),
    "sort": sort,
    "transform": array_call(array_rivals.transform),
    "images": image_rivals.images,
    "video": video_rivals.video,
    "stations": array_call(table_rivals.stations),
    "csv": array_call(table_rivals.csv),
}


def main() -> None:
    name, _, workload = sys.argv[1].partition("/")
    if workload not in WORKLOADS:
        print(f"no workload {workload!r} here; there are {', '.join(WORKLOADS)}", file=sys.stderr)
        sys.exit(EXIT_NO_SUCH_WORKLOAD)
    pairs = dict(word.split("=", 1) for word in sys.argv[2:])
    arguments = {key: int(text) if text.isdigit() else text for key, text in pairs.items()}
    try:
        if name == "loky":
            import loky  # noqa: F401, now and not while the clock runs
        repetition = WORKLOADS[workload](name, arguments)
    except array_rivals.Absent as call:
        print(f"no call {call} here", file=sys.stderr)
        sys.exit(EXIT_NO_SUCH_WORKLOAD)
    except ModuleNotFoundError as error:
        print(error.name, file=sys.stderr)
        sys.exit(EXIT_NOT_INSTALLED)
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() != "run":
            break
        print(json.dumps(repetition()), flush=True)


if __name__ == "__main__":
    main()
