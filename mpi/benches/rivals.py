"""Farms of two ranks or workers: brigade-mpi beside mpi4py.futures and dask.

    python3 -m venv venv && venv/bin/pip install mpi4py dask distributed
    cargo build --release -p brigade-mpi --example cost_cluster
    venv/bin/python mpi/benches/rivals.py

Prints one line for each figure of each contender: the median and the range of some rounds, in each
of which a figure is the median of as many repetitions for all. The contenders take turns. A
contender runs as many empty tasks as take about a second or more. Every contender has a process that gives out tasks and two that run them, or
(brigade-mpi) two ranks with a worker each, of which rank 0 also gives them out. All run on one
machine; dask speaks TCP over the loopback device, the others use shared memory.
"""

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np"]
ROUNDS, TASKS, MIB = 3, 20_000, 64
# Repetitions of each figure, as in the example cost_cluster.
RATES, TRIPS, ARGUMENTS = 3, 200, 5
FIGURES = {
    "tasks_per_s": "empty tasks a second",
    "chunked_per_s": "the same, 1000 in a chunk",
    "trip_us": "one task, there and back, us",
    "argument_ms": f"one task with an argument of {MIB} MiB, ms",
    "kill": "what runs the task is killed (kill -9)",
}


def nothing(number):
    return number


def length(data):
    return len(data)


def end(_):
    os.kill(os.getpid(), signal.SIGKILL)


def median_of(repeat, call):
    times = []
    for _ in range(repeat):
        since = time.perf_counter()
        call()
        times.append(time.perf_counter() - since)
    return statistics.median(times)


def say(name, value):
    print(name, value, flush=True)


def measure(tasks, run_all, run_one, run_chunks=None):
    """Figures of a contender whose `run_all` maps, and whose `run_one` runs one task."""
    run_all(nothing, range(100))
    say("tasks_per_s", tasks / median_of(RATES, lambda: run_all(nothing, range(tasks))))
    if run_chunks:
        many = range(20 * tasks)
        say("chunked_per_s", len(many) / median_of(RATES, lambda: run_chunks(nothing, many)))
    say("trip_us", 1e6 * median_of(TRIPS, lambda: run_one(nothing, 1)))
    data = b"7" * (MIB << 20)
    say("argument_ms", 1e3 * median_of(ARGUMENTS, lambda: run_one(length, data)))


def mpi4py(is_killing):
    from mpi4py.futures import MPICommExecutor

    with MPICommExecutor() as pool:
        if pool is None:
            return
        if is_killing:
            print("kill", repr(pool.submit(end, 0).exception(timeout=30)))
            return
        measure(
            TASKS,
            lambda function, items: list(pool.map(function, items)),
            lambda function, item: pool.submit(function, item).result(),
            lambda function, items: list(pool.map(function, items, chunksize=1000)),
        )


def dask(is_killing):
    from distributed import Client, LocalCluster

    settings = {"n_workers": 2, "threads_per_worker": 1, "protocol": "tcp://"}
    with LocalCluster(dashboard_address=None, **settings) as cluster, Client(cluster) as client:
        # Not kept by its key, which is that of the arguments.
        run = {"pure": False}
        if is_killing:
            started = time.perf_counter()
            task = client.submit(end, 0, retries=0, **run)
            other = client.submit(nothing, 7, **run)
            error = type(task.exception(timeout=60)).__name__
            print("kill", error, f"after {time.perf_counter() - started:.1f} s,", other.result())
            return
        measure(
            TASKS // 10,
            lambda function, items: client.gather(client.map(function, items, **run)),
            lambda function, item: client.submit(function, item, **run).result(),
        )


def brigade(directory):
    """The figures that the example prints."""
    program = [str(directory / "cost_cluster"), "--workers", "1", "--size", "300"]
    command = [*MPIRUN, "2", *program, "--mib", str(MIB)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    units = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "ms": 1e-3, "s": 1.0}

    def seconds(pattern):
        value, unit = re.search(rf"([\d.]+)(\w+) for {pattern}", text).groups()
        return float(value) * units[unit]

    return {
        "tasks_per_s": float(re.search(r"(\d+) empty tasks", text)[1]),
        "trip_us": 1e6 * seconds("a task on every rank"),
        "argument_ms": 1e3 * seconds("a task with an argument"),
    }


def contender(name):
    """The figures that this program prints as a contender."""
    command = [sys.executable, __file__, name]
    if name == "mpi4py":
        command = [*MPIRUN, "3", *command]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {line.split()[0]: float(line.split()[1]) for line in text.splitlines()}


def killed(name, directory):
    """What happens if what runs a task is killed."""
    sizes = ["--size", "300", "--tasks", "2000", "--mib", "1"]
    command = [*MPIRUN, "2", str(directory / "cost_cluster"), *sizes]
    if name != "brigade":
        command = [sys.executable, __file__, name, "kill"]
        command = [*MPIRUN, "3", *command] if name == "mpi4py" else command
    since = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    took = time.perf_counter() - since
    lines = (run.stdout.strip() or run.stderr.strip()).splitlines()[-2:]
    return f"exit {run.returncode} after {took:.1f} s: {' / '.join(lines)}"


def main():
    target = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target"))
    directory = target / "release/examples"
    calls = {"brigade": lambda: brigade(directory)}
    calls |= {name: lambda name=name: contender(name) for name in ("mpi4py", "dask")}
    rounds = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            rounds[name].append(call())
    for figure, title in FIGURES.items():
        for name, found in rounds.items():
            values = [one[figure] for one in found if figure in one]
            if values:
                spread = f"{min(values):.4g} to {max(values):.4g}"
                print(f"{title}: {name}: {statistics.median(values):.4g} ({spread})", flush=True)
    for name in calls:
        print(f"{FIGURES['kill']}: {name}: {killed(name, directory)}", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["mpi4py" | "dask" as name, *rest]:
            {"mpi4py": mpi4py, "dask": dask}[name](bool(rest))
        case _:
            main()
