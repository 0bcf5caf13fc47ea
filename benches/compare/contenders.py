"""How each contender is built, started, stopped, and which version it is."""

import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
PYTHON = VENV / "bin" / "python"
PACKAGES = (
    "numpy", "mkl", "scipy-openblas64", "gmpy2", "python-flint", "loky", "bottleneck", "numexpr",
    "fast-histogram", "scipy", "opencv-python-headless", "scikit-image", "dask", "polars", "duckdb",
    "pillow", "pyfftw",
)  # fmt: skip

# The source of a rival that is not a crate: its Python package, and its library inside the venv.
LIBRARIES = {
    "mkl": ("mkl", "lib/libmkl_rt.so*"),
    "numpy-mkl": ("mkl", "lib/libmkl_rt.so*"),
    "openblas": ("scipy-openblas64", "lib/python*/site-packages/scipy_openblas64/lib/*.so"),
    "gmp": ("gmpy2", "lib/python*/site-packages/gmpy2.libs/libgmp-*"),
    "flint": ("python-flint", "lib/python*/site-packages/python_flint.libs/libflint-*"),
}
IN_PYTHON = {
    "executor-fork", "executor-forkserver", "executor-spawn", "pool-fork", "multiprocessing",
    "loky", "shared-memory", "cpython", "numpy", "numpy-mkl", "bottleneck", "numexpr",
    "fast-histogram", "scipy", "opencv", "apply-parallel", "polars", "duckdb", "pillow",
    "pillow-draft", "opencv-reduced", "mogrify", "parallel", "vipsthumbnail", "ffmpeg",
    "turbojpeg", "pyfftw",
}  # fmt: skip
# Rivals whose package has another name.
WHEELS = {
    "opencv": "opencv-python-headless", "apply-parallel": "scikit-image",
    "bottleneck": "Bottleneck", "pillow-draft": "pillow", "opencv-reduced": "opencv-python-headless",
}  # fmt: skip
# Workloads that are programs, also ours: a script starts them.
PROGRAMS = {"images", "video"}
# Commands of the system, and how they tell their version.
COMMANDS = {
    "mogrify": "-version", "parallel": "--version", "vipsthumbnail": "--version",
    "ffmpeg": "-version",
}  # fmt: skip
# Rivals that are one crate used in two ways, or none at all.
CRATES = {"rayon-outside": "rayon"}
NO_CRATE = {"std", "threads", "threads-huge"}
# Our own program with its feature of that name: not a rival, but measured beside them.
TURBOJPEG = HERE.parents[1] / "target" / "release" / "images-turbojpeg"

# Libraries that the caller built, by the rival's name: they are preferred to those of the wheels.
OWN_LIBRARIES: dict[str, str] = {}

# MKL takes all its threads, and they sleep as soon as they are idle; a panic ends with its message.
FIXED = {"KMP_BLOCKTIME": "1", "MKL_DYNAMIC": "FALSE", "RUST_BACKTRACE": "0"}
# Variables that no contender inherits from the shell; OPENBLAS_CORETYPE, for one, picks a kernel.
STEERING = ("OPENBLAS_", "GOTO_", "MKL_", "OMP_", "KMP_", "RAYON_", "MATMUL_", "BRIGADE_")

EXIT_NO_SUCH_WORKLOAD = 3
EXIT_NOT_INSTALLED = 4
ANSWER_LIMIT_S = 600
LEAVE_LIMIT_S = 15


class Unavailable(Exception):
    """A contender that cannot take part, and why."""


def set_up() -> None:
    """Makes the virtual environment of the rivals from PyPI."""
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    for package in PACKAGES:
        # One by one: a rival that has no wheel for this machine is a gap, not an error.
        subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", package], check=False)


def build(suites: list[str]) -> None:
    """Builds the rivals in Rust, and ours, as far as these suites need them."""
    command = ["cargo", "build", "--release", "--quiet"]
    if "images" in suites and shutil.which("cmake") and shutil.which("nasm"):
        with_feature = [*command, "-p", "images", "--features", "turbojpeg"]
        subprocess.run(with_feature, cwd=HERE.parents[1], check=True)
        shutil.copy2(TURBOJPEG.with_name("images"), TURBOJPEG)
    for package in sorted(PROGRAMS.intersection(suites)):
        subprocess.run([*command, "-p", package], cwd=HERE.parents[1], check=True)
    if not PROGRAMS.issuperset(suites):
        subprocess.run(command, cwd=HERE, check=True)


def version(name: str) -> str:
    """The version of a contender, as far as its registry knows one."""
    if name in ("brigade", "turbojpeg"):
        command = ["git", "describe", "--always", "--exclude=*"]
        commit = subprocess.run(command, cwd=HERE, capture_output=True, text=True).stdout.strip()
        # The record that a run writes does not change what it measures.
        others = ["--", ":/", ":(top,exclude)benches/record"]
        command = ["git", "status", "--porcelain", "--untracked-files=no", *others]
        changes = subprocess.run(command, cwd=HERE, capture_output=True, text=True).stdout
        return commit + ("-dirty" if changes else "")
    if name in OWN_LIBRARIES:
        return OWN_LIBRARIES[name]
    if name in COMMANDS:
        found = subprocess.run([name, COMMANDS[name]], capture_output=True, text=True).stdout
        return found.partition("\n")[0]
    if name in NO_CRATE:
        command = ["rustc", "--version"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    package = LIBRARIES.get(name, (CRATES.get(name, WHEELS.get(name, name)), None))[0]
    found = wheels().get(package) or crates().get(package)
    return f"{package} {found}" if found else f"Python {platform.python_version()}"


@cache
def wheels() -> dict[str, str]:
    if not PYTHON.exists():
        return {}
    command = [PYTHON, "-m", "pip", "list", "--format", "json"]
    listing = subprocess.run(command, capture_output=True, text=True).stdout
    return {package["name"]: package["version"] for package in json.loads(listing or "[]")}


@cache
def crates() -> dict[str, str]:
    lock = tomllib.loads((HERE / "Cargo.lock").read_text())
    return {package["name"]: package["version"] for package in lock["package"]}


def library_of(name: str) -> str:
    if name in OWN_LIBRARIES:
        return OWN_LIBRARIES[name]
    package, pattern = LIBRARIES[name]
    found = sorted(VENV.glob(pattern))
    if not found:
        raise Unavailable(f"skipped, {package} is not installed; see --setup")
    return str(found[0])


def command_of(name: str, workload: str) -> list[str]:
    release = HERE / "target" / "release"
    if name == "brigade" and workload not in PROGRAMS:
        return [str(release / "ours"), workload]
    if name in IN_PYTHON or workload in PROGRAMS:
        # Those of the standard library need no virtual environment.
        python = PYTHON if PYTHON.exists() else sys.executable
        return [str(python), str(HERE / "rivals.py"), f"{name}/{workload}"]
    return [str(release / "rivals"), f"{name}/{workload}"]


def environment(workers: int) -> dict[str, str]:
    """Threads for those who read their number here, and what is the same for all."""
    names = ("OMP", "MKL", "OPENBLAS", "RAYON", "MATMUL", "NUMEXPR")
    threads = {f"{name}_NUM_THREADS": str(workers) for name in names}
    threads["POLARS_MAX_THREADS"] = str(workers)
    inherited = {key: text for key, text in os.environ.items() if not key.startswith(STEERING)}
    return inherited | threads | FIXED


class Contender:
    """A process that repeats one workload on request, and is stopped in between.

    It leads a process group, so that its children are stopped with it. The group stays in the
    driver's session: if the driver is killed, the kernel sends SIGHUP and SIGCONT to stopped ones.
    """

    def __init__(self, name: str, workload: str, parameters: dict) -> None:
        self.name = name
        if name in LIBRARIES:
            parameters = parameters | {"library": library_of(name)}
        self.complaints = tempfile.TemporaryFile("w+")
        if not Path(command_of(name, workload)[0]).exists():
            raise Unavailable("is not built")
        self.process = subprocess.Popen(
            command_of(name, workload) + [f"{key}={value}" for key, value in parameters.items()],
            env=environment(parameters.get("workers", 1)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            process_group=0,
            text=True,
        )
        try:
            self.answer()
        except Unavailable:
            self.leave()
            raise
        self.signal(signal.SIGSTOP)

    def repeat(self) -> dict[str, float]:
        """One repetition's figures."""
        self.signal(signal.SIGCONT)
        print("run", file=self.process.stdin, flush=True)
        figures = json.loads(self.answer())
        self.signal(signal.SIGSTOP)
        return figures

    def answer(self) -> str:
        # A contender writes one line at a time, so a readable pipe has exactly this one.
        readable, _, _ = select.select([self.process.stdout], [], [], ANSWER_LIMIT_S)
        line = self.process.stdout.readline() if readable else ""
        if line:
            return line
        if not readable:
            raise Unavailable(f"no answer in {ANSWER_LIMIT_S} s")
        code = self.process.wait()
        if code == EXIT_NO_SUCH_WORKLOAD:
            raise Unavailable("does not have it")
        self.complaints.seek(0)
        lines = self.complaints.read().strip().splitlines()
        last_words = [line for line in lines if not line.startswith("note: ")] or ["silent"]
        if code == EXIT_NOT_INSTALLED:
            raise Unavailable(f"skipped, {last_words[-1]} is not installed; see --setup")
        raise Unavailable(f"exit code {code}: {last_words[-1]}")

    def leave(self) -> None:
        """Ends the process, and kills its group if it does not end by itself."""
        self.signal(signal.SIGCONT)
        self.process.stdin.close()
        try:
            self.process.wait(LEAVE_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.wait()
        self.process.stdout.close()
        self.complaints.close()

    def signal(self, number: signal.Signals) -> None:
        # Unreaped, so that the group's number is still its own.
        if self.process.returncode is None:
            os.killpg(self.process.pid, number)
