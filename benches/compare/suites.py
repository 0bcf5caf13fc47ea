"""The cases of the comparison: workloads, sizes and contenders."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """One workload at one size. Brigade takes part in each, if it has the workload."""

    workload: str
    parameters: dict[str, Any]
    rivals: tuple[str, ...]
    # The memory that each contender needs; all of them have it at the same time.
    memory_gib: float = 0

    def title(self) -> str:
        return " ".join([self.workload, *(f"{k}={v}" for k, v in self.parameters.items())])


# Figure -> whether more is better. Its name ends in its unit.
FIGURES = {
    "gflops": True,
    "files_ms": False,
    "product_ms": False,
    "factorial_ms": False,
    "decimal_ms": False,
    "start_ms": False,
    "submit_join_p50_us": False,
    "submit_join_p99_us": False,
    "submit_join_idle_p50_us": False,
    "tasks_per_s": True,
    "map_items_per_s": True,
    "fork_join_us": False,
    "loop_overhead_ns_per_chunk": False,
    "loop_call_us": False,
    "sum_gbps": True,
    "axpy_gbps": True,
    "alloc_gib_s": True,
    "realloc_gib_s": True,
    "rezero_gib_s": True,
    "array_handoff_us": False,
    "array_sum_us": False,
    "messages_per_s": True,
    "round_trip_us": False,
    "lock_unlock_ns": False,
    "call_ms": False,
    "pictures_per_s": True,
    "frames_per_s": True,
}

EXECUTORS = ("executor-fork", "executor-forkserver", "executor-spawn")


def matmul(quick: bool, workers: int) -> Iterator[Case]:
    """C = A*B for squares of all sizes, and for odd and skinny shapes."""
    crates = ("faer", "gemm", "matrixmultiply")
    team = [512] if quick else [512, 777, 1000, 1024, 2048, 4096]
    alone = [48, 256] if quick else [48, 64, 96, 128, 192, 256, 384, *team]
    skinny = [
        (100, 1000, 257), (777, 333, 511), (4096, 64, 4096), (64, 4096, 64),
        (10000, 10, 10000), (1, 4096, 4096), (4096, 4096, 1), (32, 3000, 3000),
    ]  # fmt: skip

    def case(dtype: str, m: int, k: int, n: int, workers: int, rivals: tuple[str, ...]) -> Case:
        return Case("matmul", dict(dtype=dtype, m=m, k=k, n=n, workers=workers), rivals)

    for dtype in ("f64", "f32"):
        for n in team:
            yield case(dtype, n, n, n, workers, ("mkl", "openblas", *crates))
        for n in alone:
            yield case(dtype, n, n, n, 1, ("mkl", "openblas", "faer"))
        for m, k, n in skinny[:2] if quick else skinny:
            yield case(dtype, m, k, n, workers, ("mkl", "openblas", "faer"))
    n = 512 if quick else 4096
    yield Case("matmul-files", dict(n=n, workers=workers), ("numpy", "numpy-mkl"))


def linalg(quick: bool, workers: int) -> Iterator[Case]:
    """Factorisations of matrices of doubles, and many small systems."""
    for call in ("lu", "cholesky"):
        for n in [512] if quick else [256, 512, 1000, 1024, 2048, 4096]:
            for count in (1, workers):
                parameters = dict(call=call, n=n, workers=count)
                yield Case("factor", parameters, ("scipy", "numpy-mkl"))
    for call in ("qr", "eigh", "svd"):
        for n in [256] if quick else [256, 512, 1024, 2048]:
            yield Case("factor", dict(call=call, n=n, workers=workers), ("scipy",))
    count = 1000 if quick else 100_000
    yield Case("small-systems", dict(count=count, n=8, workers=workers), ("numpy",))


def bigint(quick: bool, workers: int) -> Iterator[Case]:
    """Products of given limbs, factorials and their decimal digits."""
    sizes = [(10**e, 10**e) for e in (range(1, 5) if quick else range(1, 7))]
    if not quick:
        sizes += [(3 * 10**6, 3 * 10**6), (10**6, 10**4)]
    for a, b in sizes:
        alone = ["gmp", "flint"]
        if a <= 10**6:
            alone += ["dashu-int"]
        if a <= 10**5:
            alone += ["num-bigint", "malachite-nz"]
        yield Case("product", dict(a=a, b=b, workers=1), tuple(alone))
        if b >= 10**4:
            yield Case("product", dict(a=a, b=b, workers=workers), ("gmp", "flint"))
    for exponent in range(4, 6 if quick else 8):
        slow = ("malachite-nz", "cpython") if exponent <= 5 else ()
        case = dict(n=10**exponent, workers=workers)
        yield Case("factorial", case, ("gmp", "flint", *slow))
        yield Case("decimal", case, ("gmp", "flint"))


def tasks(quick: bool, workers: int) -> Iterator[Case]:
    """The cost of a task, of a loop, and of the start of a pool."""

    def case(workload: str, rivals: tuple[str, ...], gib: float = 0, **parameters: int) -> Case:
        return Case(workload, dict(workers=workers) | parameters, rivals, gib)

    yield case("start", ("rayon", *EXECUTORS, "loky"), host_gib=0)
    host = 1 if quick else 4
    yield case("start", ("executor-fork", "executor-forkserver"), gib=host, host_gib=host)
    yield case("submit", ("rayon", *EXECUTORS, "loky"))
    for idle_ms in [10] if quick else [10, 1000]:
        yield case("submit-idle", ("rayon", "executor-fork"), idle_ms=idle_ms)
    burst = ("rayon", "rayon-outside", *EXECUTORS, "loky")
    yield case("burst", burst, tasks=10_000 if quick else 1_000_000)
    for count in [4] if quick else [2, 4, 8, 16]:
        yield case("fork-join", ("rayon",), workers=count, tasks=count)
    mappers = ("rayon", "executor-fork", "pool-fork")
    yield case("map", mappers, items=100_000 if quick else 10_000_000)
    yield case("loop", ("rayon",), chunks=65_536)


def channels(quick: bool, workers: int) -> Iterator[Case]:
    """Messages between two processes, and the lock that guards them."""
    del workers
    count = 20_000 if quick else 2_000_000
    senders = ("crossbeam-channel", "rtrb", "ipc-channel", "multiprocessing")
    yield Case("messages", dict(messages=count), senders)
    yield Case("messages-batched", dict(messages=count), ("crossbeam-channel",))
    yield Case("round-trip", {}, ("iceoryx2", "multiprocessing"))
    yield Case("lock", {}, ("std",))


def memory(quick: bool, workers: int) -> Iterator[Case]:
    """Streaming through big arrays, allocating them, and passing them to a worker."""
    size = dict(workers=workers, mib=64 if quick else 1024)
    gib = size["mib"] / 1024
    limits = ("threads", "threads-huge")
    yield Case("sum", size, ("rayon", *limits), gib)
    yield Case("axpy", size, ("rayon", *limits), 2 * gib)
    yield Case("alloc", size, ("rayon", "shared-memory", *limits), gib)
    yield Case("realloc", size, ("rayon",), gib)
    yield Case("rezero", size, ("rayon", "threads-huge"), gib)
    handoff = dict(workers=workers, mib=8 if quick else 64)
    rivals = ("rayon", "executor-fork", "executor-forkserver", "shared-memory")
    yield Case("handoff", handoff, rivals, 4 * handoff["mib"] / 1024)


REDUCTIONS = {
    "mean": (), "var": (), "min": ("bottleneck",), "argmax": ("bottleneck",), "dot": (),
    "norm": (), "sum_axis0": ("bottleneck",), "sum_axis1": ("bottleneck",),
    "var_axis0": ("bottleneck",), "max_axis1": ("bottleneck",), "argmax_axis0": ("bottleneck",),
}  # fmt: skip
ELEMENTS = {
    "cast": (), "map": ("numexpr",), "zip_rows": ("numexpr",), "histogram": ("fast-histogram",),
    "bincount": (), "quantiles": (), "cumsum": (), "transpose": (), "take": (), "compress": (),
    "where": ("numexpr",),
}  # fmt: skip
FILTERS = {
    "gaussian": ("scipy", "opencv", "apply-parallel"), "sobel": ("scipy", "opencv"),
    "correlate": ("scipy", "opencv"), "stencil": ("numpy",),
}  # fmt: skip


def arrays(quick: bool, workers: int) -> Iterator[Case]:
    """Calls on whole arrays, or along an axis."""
    mib = 64 if quick else 1024
    threads = ("threads", "threads-huge", "numpy")
    yield Case("array-sum", dict(workers=workers, mib=mib), threads, mib / 1024)
    n = 2**20 if quick else 2**25

    def case(workload: str, call: str, rivals: tuple[str, ...]) -> Case:
        parameters = dict(call=call, elements=n, workers=workers)
        return Case(workload, parameters, rivals, 4 * n * 8 / 2**30)

    for call, rivals in REDUCTIONS.items():
        yield case("reduce", call, ("numpy", *rivals))
    for call, rivals in ELEMENTS.items():
        yield case("elements", call, ("numpy", *rivals))
    for call in ("uniform", "normal", "integers", "shuffle", "permutation"):
        yield case("random", call, ("numpy",))
    for call, rivals in FILTERS.items():
        yield Case("filter", dict(call=call, workers=workers), rivals, 0.5)


def sort(quick: bool, workers: int) -> Iterator[Case]:
    """Sorts of random keys, and searches."""

    def case(call: str, dtype: str, exponent: int, rivals: tuple[str, ...]) -> Case:
        n = 10**exponent
        parameters = dict(call=call, dtype=dtype, elements=n, workers=workers)
        return Case("sort", parameters, rivals, 4 * n * 8 / 2**30)

    for exponent in [6] if quick else [6, 7, 8]:
        for dtype in ("u32", "u64", "i32", "i64", "f32", "f64"):
            yield case("sort", dtype, exponent, ("rayon", "numpy", "polars"))
    for exponent in [6] if quick else [6, 7]:
        for call in ("argsort", "unique", "top_k", "searchsorted"):
            for dtype in ("i64", "f64"):
                yield case(call, dtype, exponent, ("numpy", "polars"))


def fft(quick: bool, workers: int) -> Iterator[Case]:
    """Fourier transforms of doubles; the first word is the call, the second the shape."""
    shapes = ["fft 512x512", "fft 262144"] if quick else [
        "fft 4096x4096", "fft-axis0 4096x4096", "fft-in-place 4096x4096", "fft 256x256x256",
        "fft 16777216", "fft 1000x1000", "fft 256x256", "rfft 4096x4096", "rfft 16777216",
    ]  # fmt: skip
    for call in shapes:
        yield Case("transform", dict(call=call, workers=workers), ("scipy", "pyfftw"), 1)


PHOTOGRAPHERS = (
    "turbojpeg", "pillow", "pillow-draft", "opencv", "opencv-reduced", "mogrify", "parallel",
    "vipsthumbnail",
)  # fmt: skip


def images(quick: bool, workers: int) -> Iterator[Case]:
    """A folder of photographs of 12 megapixels becomes one of 256 pixels."""
    yield Case("images", dict(pictures=8 if quick else 48, workers=workers), PHOTOGRAPHERS)


def video(quick: bool, workers: int) -> Iterator[Case]:
    """A film of 1920 x 1080, filtered from a file to a file, both in memory."""
    frames = 20 if quick else 150
    for call in ("blur", "blur-near", "denoise", "edges", "grey"):
        for mode in ("bands", "frames"):
            parameters = dict(call=call, mode=mode, frames=frames, workers=workers)
            yield Case("video", parameters, ("ffmpeg",), 3 * frames * 3.1e6 / 2**30)


def tables(quick: bool, workers: int) -> Iterator[Case]:
    """A text that is grouped by name, and a CSV file that is read into arrays."""
    for workload, rows in {"stations": 10**8, "csv": 4 * 10**6}.items():
        rows = rows // 100 if quick else rows
        rivals = ("polars", "duckdb")
        yield Case(workload, dict(rows=rows, workers=workers), rivals, rows * 20 / 2**30)


SUITES = {
    "matmul": matmul,
    "linalg": linalg,
    "bigint": bigint,
    "tasks": tasks,
    "channels": channels,
    "memory": memory,
    "arrays": arrays,
    "sort": sort,
    "fft": fft,
    "images": images,
    "video": video,


    "tables": tables,
}
