"""Products of two ranks: brigade-mpi beside ScaLAPACK's pdgemm over OpenBLAS.

    apt-get install -y libscalapack-openmpi-dev libopenblas-dev
    cargo build --release -p brigade-mpi --example matmul_cluster
    python3 mpi/benches/pdgemm.py > mpi/benches/pdgemm.csv

Both programs run in turn, on as many ranks, each bound in the same way and with one thread of
computation a rank. The grid and the block of pdgemm are the best of some, found first. C of both is
compared by its check. Seconds are medians over all rounds.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
# How ranks are bound, and the sizes measured so.
SIZES = {"none": (1000, 2000, 3000, 4000, 5000, 6000), "core": (2000,)}
RANKS, ROUNDS, REPEAT, TUNE_SIZE = 2, 3, 1, 2000
OPTIONS = ["--allow-run-as-root", "--oversubscribe"]


def run(program: list[str], binding: str) -> tuple[list[float], str]:
    """The seconds of each product, and the check of the result."""
    command = ["mpirun", *OPTIONS, "--bind-to", binding, "-np", str(RANKS), *program]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    text = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    lines = [line.split() for line in text.stdout.splitlines()]
    seconds = [float(value) for name, value in lines if name == "seconds"]
    return seconds, next(value for name, value in lines if name == "check")


def main() -> None:
    target = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target"))
    ours = target / "release/examples/matmul_cluster"
    with tempfile.TemporaryDirectory() as directory:
        theirs = Path(directory) / "pdgemm"
        source = HERE / "pdgemm.c"
        build = ["mpicc", "-O2", str(source), "-o", str(theirs), "-lscalapack-openmpi", "-lopenblas"]
        subprocess.run(build, check=True)
        compare(str(ours), str(theirs))


def compare(ours: str, theirs: str) -> None:
    def brigade(size: int) -> list[str]:
        return [ours, "--size", str(size), "--repeat", str(REPEAT), "--workers", "1"]

    def pdgemm(size: int, layout: tuple[int, int, int]) -> list[str]:
        return [theirs, str(size), str(REPEAT), *map(str, layout)]

    print("binding,size,brigade_s,pdgemm_s,brigade_gflops,pdgemm_gflops,speedup,block,grid")
    for binding, sizes in SIZES.items():
        layouts = [(b, r, RANKS // r) for b in (64, 128, 256, 512) for r in (1, RANKS)]
        tuned = {layout: min(run(pdgemm(TUNE_SIZE, layout), binding)[0]) for layout in layouts}
        layout = min(tuned, key=tuned.__getitem__)
        print(f"tuned: {tuned}", file=sys.stderr)
        for size in sizes:
            seconds: dict[str, list[float]] = {"brigade": [], "pdgemm": []}
            checks = set()
            for _ in range(ROUNDS):
                for name, program in (("brigade", brigade(size)), ("pdgemm", pdgemm(size, layout))):
                    times, check = run(program, binding)
                    seconds[name] += times
                    checks.add(check)
            if len(checks) != 1:
                sys.exit(f"the results of size {size} differ: {checks}")
            a, b = (statistics.median(seconds[name]) for name in ("brigade", "pdgemm"))
            rate = 2e-9 * size**3
            block, rows, columns = layout
            rates = f"{rate / a:.1f},{rate / b:.1f},{b / a:.3f}"
            row = f"{binding},{size},{a:.4f},{b:.4f},{rates},{block},{rows}x{columns}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
