"""Draws brigade beside its rivals, from the records, as SVG.

    python3 benches/plot_rivals.py

It writes docs/performance/*.svg, and needs no package. Each picture names its record. In a picture
of ratios a dot is one rival: its time divided by brigade's, or brigade's rate divided by its own.
So 1 is brigade, and a rival on the left is faster.
"""

import csv
import sys
from pathlib import Path

from drawing import SERIES, box, decades, dot, log_place, path, picture, si, text

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "benches" / "record"
TARGET = ROOT / "docs" / "performance"

INTEL = "intel-r-xeon-r-processor-6-207-2cpu/2026-11-29.csv"
AMD = "amd-epyc-26-2-2cpu/2026-11-22.csv"
AMD_ARRAYS = "amd-epyc-25-1-2cpu/2026-11-30.csv"
THREE_WAYS = "amd-epyc-25-1-2cpu/2026-11-30-three-ways.csv"
MACHINES = {
    INTEL: "Intel Xeon (Emerald Rapids), 2 virtual processors, 2026-11-29",
    AMD: "AMD EPYC (Zen 5), 2 virtual processors, 2026-11-22",
    AMD_ARRAYS: "AMD EPYC (Zen 3), 2 virtual processors, 2026-11-30",
}

# What kind of library a contender is -> its colour and its members.
FAMILIES = {
    "threads in one process": (
        "c1", "rayon rayon-outside crossbeam-channel rtrb std threads threads-huge polars",
    ),
    "Python's process pools": (
        "c2", "executor-fork executor-forkserver executor-spawn loky pool-fork shared-memory "
              "multiprocessing pillow pillow-draft opencv-reduced",
    ),
    "numeric libraries": (
        "c3", "mkl openblas faer gemm matrixmultiply gmp flint dashu-int num-bigint malachite-nz "
              "cpython numpy scipy opencv bottleneck numexpr fast-histogram apply-parallel",
    ),
    "other processes": ("c4", "ipc-channel iceoryx2 mogrify parallel vipsthumbnail"),
}  # fmt: skip

# Label, workload, part of the parameters, figure.
ENGINE = [
    ("one task, there and back", "submit", "", "submit_join_p50_us"),
    ("a million empty tasks", "burst", "", "tasks_per_s"),
    ("map of 10 million tiny items", "map", "", "map_items_per_s"),
    ("empty loop, for each chunk", "loop", "", "loop_overhead_ns_per_chunk"),
    ("start of a pool", "start", "host_gib=0", "start_ms"),
    ("start, 4 GiB in the host", "start", "host_gib=4", "start_ms"),
    ("64 MiB to a worker, its sum back", "handoff", "", "array_handoff_us"),
    ("new memory, 1 GiB", "alloc", "", "alloc_gib_s"),
    ("sum of 1 GiB", "sum", "", "sum_gbps"),
    ("messages, one by one", "messages", "", "messages_per_s"),
    ("message, there and back", "round-trip", "", "round_trip_us"),
    ("lock and unlock", "lock", "", "lock_unlock_ns"),
    ("matrix product, 2048 x 2048", "matmul", "dtype=f64 m=2048 k=2048 n=2048 workers=2", "gflops"),
    ("matrix product, 64 x 64", "matmul", "dtype=f64 m=64 k=64 n=64 workers=1", "gflops"),
    ("product of 1 000 000 limbs", "product", "a=1000000 b=1000000 workers=2", "product_ms"),
    ("product of 10 limbs", "product", "a=10 b=10 ", "product_ms"),
    ("10^7 factorial", "factorial", "n=10000000", "factorial_ms"),
]  # fmt: skip
ARRAYS = [
    ("sort, 10^6 f64", "sort", "call=sort dtype=f64", "call_ms"),
    ("sort, 10^6 f32", "sort", "call=sort dtype=f32", "call_ms"),
    ("argsort, 10^6 f64", "sort", "call=argsort dtype=f64", "call_ms"),
    ("unique, 10^6 f64", "sort", "call=unique dtype=f64", "call_ms"),
    ("searchsorted, 10^6 f64", "sort", "call=searchsorted dtype=f64", "call_ms"),
    ("mean", "reduce", "call=mean ", "call_ms"),
    ("argmax", "reduce", "call=argmax ", "call_ms"),
    ("variance along an axis", "reduce", "call=var_axis0", "call_ms"),
    ("histogram", "elements", "call=histogram", "call_ms"),
    ("cumulative sum", "elements", "call=cumsum", "call_ms"),
    ("transpose", "elements", "call=transpose", "call_ms"),
    ("normal random numbers", "random", "call=normal", "call_ms"),
    ("Gaussian filter", "filter", "call=gaussian", "call_ms"),
    ("Sobel filter", "filter", "call=sobel", "call_ms"),
    ("48 photographs made small", "images", "", "pictures_per_s"),
]


def read(record):
    with (RECORDS / record).open(newline="") as lines:
        return list(csv.DictReader(lines))


def family(contender):
    for name, (kind, members) in FAMILIES.items():
        if contender in members.split():
            return name, kind
    raise ValueError(f"{contender!r} is in no family of plot_rivals.py")


def ratios(rows, jobs):
    """For each job the rivals, with how many times slower than brigade each is."""
    found = []
    for label, workload, parameters, figure in jobs:
        rivals = {
            row["contender"]: float(row["ahead"])
            for row in rows
            if row["workload"] == workload
            and (row["parameters"] + " ").startswith(parameters)
            or (row["workload"] == workload and parameters and parameters in row["parameters"])
            if row["figure"] == figure and row["ahead"]
        }
        if not rivals:
            raise ValueError(f"no rival in {workload} {parameters}")
        found.append((label, sorted(rivals.items(), key=lambda pair: pair[1])))
    return found


def draw_ratios(title, machine, jobs):
    """A row for each job, a dot for each rival, on a logarithmic axis."""
    width, left, right, top, row_height = 900, 240, 210, 116, 24
    height, across = top + row_height * len(jobs) + 44, width - left - right
    every = [ratio for _, rivals in jobs for _, ratio in rivals]
    marks = decades(min(every) * 0.95, max(every))
    bottom = height - 44

    def place(ratio):
        return left + across * log_place(ratio, marks)

    one = place(1)
    parts = [
        text(24, 30, title, size=17, weight="bold"),
        text(24, 50, machine, "faint"),
        text(one - 8, top - 14, "rival is faster", "faint", "end"),
        text(one + 8, top - 14, "brigade is faster", "faint"),
        text(left + across + 24, top - 14, "the fastest rival", "faint"),
    ]
    for row, (label, rivals) in enumerate(jobs):
        y = top + row_height * (row + 0.5)
        if row % 2 == 0:
            parts.append(box(12, y - row_height / 2, width - 24, row_height, "band", 3))
        parts.append(text(left - 16, y + 4, label, anchor="end"))
        name, ratio = rivals[0]
        parts.append(text(left + across + 24, y + 4, f"{name}: {ratio:.3g}"))
    for mark in marks:
        parts.append(path(f"M{place(mark):.1f} {top}V{bottom}", "grid"))
        parts.append(text(place(mark), bottom + 18, f"{mark:g}", "faint", "middle"))
    parts.append(path(f"M{one:.1f} {top}V{bottom}", "c0", 2))
    shown = {}
    for row, (_, rivals) in enumerate(jobs):
        for contender, ratio in rivals:
            name, kind = family(contender)
            shown[name] = kind
            parts.append(dot(place(ratio), top + row_height * (row + 0.5), kind, 4.5))
    axis = "times slower than brigade"
    parts.append(text(left + across / 2, bottom + 36, axis, "faint", "middle"))
    x = 24
    for name in (name for name in FAMILIES if name in shown):
        parts += [dot(x + 5, 68 - 4, shown[name], 4.5), text(x + 15, 68, name, "faint")]
        x += 40 + 6.4 * len(name)
    parts += [path(f"M{x} 64h14", "c0", 2), text(x + 20, 68, "brigade", "faint")]
    return picture(width, height, title, parts)


def draw_lines(title, subtitle, labels, series, is_log=False):
    """Lines through medians, with the lowest and highest as thin bars.

    `series`: name -> points of x, median, lowest, highest; the first is brigade.
    """
    width, height, left, right, top, bottom = 900, 400, 70, 190, 76, 52
    across, down = width - left - right, height - top - bottom
    xs = sorted({point[0] for points in series.values() for point in points})
    every = [y for points in series.values() for point in points for y in point[1:]]
    ys = decades(min(every), max(every)) if is_log else steps(max(every))

    def place(x, y):
        along = log_place(x, [xs[0], xs[-1]])
        up = log_place(y, ys) if is_log else y / ys[-1]
        return left + 16 + (across - 32) * along, top + down * (1 - up)

    parts = [
        text(24, 30, title, size=17, weight="bold"),
        text(24, 50, f"{subtitle}; medians, and thin bars from lowest to highest", "faint"),
        text(left + across / 2, height - 12, labels[0], "faint", "middle"),
        text(left - 8, top - 10, labels[1], "faint", "middle"),
    ]
    free = 0.0
    for x in xs:
        at = place(x, ys[-1])[0]
        if at >= free:
            label = si(x) if is_log else f"{x:g}"
            parts.append(text(at, height - bottom + 18, label, "faint", "middle"))
            free = at + 40
    for y in ys:
        at = place(xs[0], y)[1]
        parts.append(path(f"M{left} {at:.1f}H{left + across}", "grid"))
        parts.append(text(left - 8, at + 4, f"{y:g}", "faint", "end"))
    ends = []
    for index, (name, points) in enumerate(series.items()):
        kind = SERIES[index % len(SERIES)]
        line = "M" + "L".join("{:.1f} {:.1f}".format(*place(x, y)) for x, y, _, _ in points)
        parts.append(path(line, kind, 2.5 if index == 0 else 1.5))
        for x, median, lowest, highest in points:
            (at, low), (_, high) = place(x, lowest), place(x, highest)
            parts.append(path(f"M{at + index * 2:.1f} {low:.1f}V{high:.1f}", kind, 1,
                              ' opacity="0.45"'))  # fmt: skip
            parts.append(dot(*place(x, median), kind, 4 if index == 0 else 3))
        ends.append((place(*points[-1][:2])[1], name, kind))
    for row, (_, name, kind) in enumerate(sorted(ends)):
        y = top + 10 + 22 * row
        parts += [dot(left + across + 30, y - 4, kind, 4.5), text(left + across + 42, y, name)]
    return picture(width, height, title, parts)


def steps(most):
    """Round marks from 0 to at least `most`."""
    size = next(s for s in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500) if most / s <= 7)
    return [size * i for i in range(int(-(-most // size)) + 1)]


def series_of(rows, x_of, figure, contenders, accept):
    found = {}
    for name in contenders:
        points = [
            (x_of(row), *(float(row[k]) for k in ("median", "lowest", "highest")))
            for row in rows
            if row["contender"] == name and row["figure"] == figure and accept(row["parameters"])
        ]
        if points:
            found[name] = sorted(points)
    return found


def parameter(name):
    return lambda row: int(dict(p.split("=") for p in row["parameters"].split())[name])


def draw_products(record):
    def accept(parameters):
        words = dict(p.split("=") for p in parameters.split())
        square = len({words[k] for k in "mkn"}) == 1
        return words["dtype"] == "f64" and words["workers"] == "2" and square

    rows = [row for row in read(record) if row["workload"] == "matmul"]
    names = ["brigade", "mkl", "openblas", "faer", "gemm", "matrixmultiply"]
    series = series_of(rows, parameter("n"), "gflops", names, accept)
    title = "Products of n by n matrices of f64 by two workers"
    return draw_lines(title, MACHINES[record], ("n", "GFLOP/s"), series)


def draw_numbers(record):
    def accept(parameters):
        words = dict(p.split("=") for p in parameters.split())
        return words["a"] == words["b"] and words["workers"] == "1"

    rows = [row for row in read(record) if row["workload"] == "product"]
    names = ["brigade", "gmp", "flint", "dashu-int", "num-bigint", "malachite-nz"]
    series = series_of(rows, parameter("a"), "product_ms", names, accept)
    title = "Products of two natural numbers of equal length in one thread"
    labels = ("limbs of 64 bits", "ms")
    return draw_lines(title, MACHINES[record], labels, series, is_log=True)


def draw_ways(record):
    """Bars: the time of each job by each way."""
    rows = read(record)
    jobs = list(dict.fromkeys(row["job"] for row in rows))
    names = {
        "compute": "compute: 200 tasks of arithmetic",
        "ask": "ask: 200 answers, each after 10 ms",
        "ask-compute": "ask, then compute",
        "empty": "100 000 empty tasks",
    }
    kinds = {"processes": "c0", "processes-64": "c4", "threads": "c1", "thread-per-task": "c5",
             "async": "c2"}  # fmt: skip
    width, left, right, line = 900, 160, 130, 22
    y, parts = 70, [
        text(24, 30, "One job, three ways", size=17, weight="bold"),
        text(24, 50, f"{MACHINES[AMD_ARRAYS]}; two workers or threads, unless it says 64", "faint"),
    ]  # fmt: skip
    for job in jobs:
        taken = [row for row in rows if row["job"] == job]
        most = max(float(row["median_ms"]) for row in taken)
        y += 14
        parts.append(text(24, y + 6, names[job], weight="bold"))
        y += 16
        for row in taken:
            median = float(row["median_ms"])
            length = max(2, (width - left - right) * median / most)
            parts.append(text(left - 8, y + 14, row["way"], "faint", "end"))
            parts.append(box(left, y + 3, length, line - 7, kinds[row["way"]], 2))
            parts.append(text(left + length + 8, y + 14, f"{float(f'{median:.3g}'):g} ms"))
            y += line
    return picture(width, y + 20, "One job, three ways", parts)


def main():
    pictures = {
        "rivals-intel": lambda: draw_ratios(
            "brigade and its rivals", MACHINES[INTEL], ratios(read(INTEL), ENGINE)
        ),
        "arrays-amd": lambda: draw_ratios(
            "Calls on arrays, and a program", MACHINES[AMD_ARRAYS], ratios(read(AMD_ARRAYS), ARRAYS)
        ),
        "matmul-intel": lambda: draw_products(INTEL),
        "matmul-amd": lambda: draw_products(AMD),
        "numbers-intel": lambda: draw_numbers(INTEL),
    }
    if (RECORDS / THREE_WAYS).exists():
        pictures["three-ways"] = lambda: draw_ways(THREE_WAYS)
    TARGET.mkdir(parents=True, exist_ok=True)
    try:
        for name, draw in pictures.items():
            (TARGET / f"{name}.svg").write_text(draw())
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"plot_rivals: {name}: {error}")


if __name__ == "__main__":
    main()
