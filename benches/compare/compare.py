"""Compares brigade with its rivals: A B A B, each in a separate process, by medians.

A contender that is not being measured is stopped by SIGSTOP, because its idle threads may spin and
take processor time from others. Absolute figures drift; only a ratio taken in one run counts.
"""

import argparse
import csv
import datetime
import math
import os
import platform
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from contenders import (
    HERE, LIBRARIES, OWN_LIBRARIES, Contender, Unavailable, build, set_up, version,
)  # fmt: skip
from suites import FIGURES, SUITES, Case

OURS = "brigade"
RECORD = HERE.parent / "record"
# If other programs use more than this share of processor time, nothing is recorded.
BUSY_MAX = 0.05
# A case that needs more of the available memory than this is left out.
MEMORY_SHARE_MAX = 0.8

Samples = dict[str, list[dict[str, float]]]
Row = dict[str, object]


def measure(case: Case, only: set[str], budget_ms: int, rounds: int) -> Samples:
    """Every contender's figures, round by round; prints which contenders could not take part."""
    contenders: list[Contender] = []
    samples: Samples = defaultdict(list)
    names = [OURS, *(rival for rival in case.rivals if not only or rival in only)]
    needed_gib, free_gib = case.memory_gib * len(names), available_gib()
    if needed_gib > MEMORY_SHARE_MAX * free_gib:
        print(f"  skipped: {len(names)} contenders need {needed_gib:.1f} of {free_gib:.1f} GiB")
        return samples
    try:
        for name in names:
            try:
                parameters = case.parameters | {"budget_ms": budget_ms}
                contenders.append(Contender(name, case.workload, parameters))
            except Unavailable as why:
                print(f"  {name}: {why}")
        for _ in range(rounds):
            for contender in list(contenders):
                try:
                    samples[contender.name].append(contender.repeat())
                except Unavailable as why:
                    print(f"  {contender.name}: {why}")
                    contenders.remove(contender)
                    contender.leave()
    finally:
        for contender in contenders:
            contender.leave()
    return samples


def rows_of(suite: str, case: Case, samples: Samples) -> list[Row]:
    """One row for each contender and figure; `ahead` is how many times better brigade is."""
    rows: list[Row] = []
    for figure in sorted({figure for taken in samples.values() for r in taken for figure in r}):
        values = {
            name: found
            for name, taken in samples.items()
            if (found := [r[figure] for r in taken if figure in r])
        }
        medians = {name: statistics.median(found) for name, found in values.items()}
        for name, median in medians.items():
            ahead = None
            if name != OURS and OURS in medians:
                ahead = medians[OURS] / median if FIGURES[figure] else median / medians[OURS]
            parameters = " ".join(f"{key}={value}" for key, value in case.parameters.items())
            rows.append(
                {
                    "suite": suite,
                    "workload": case.workload,
                    "parameters": parameters,
                    "figure": figure,
                    "contender": name,
                    "version": version(name),
                    "median": median,
                    "lowest": min(values[name]),
                    "highest": max(values[name]),
                    "repetitions": len(values[name]),
                    "ahead": ahead,
                }
            )
    return rows


def show(rows: list[Row]) -> None:
    figure = None
    for row in rows:
        if row["figure"] != figure:
            figure = row["figure"]
            better = "more" if FIGURES[figure] else "less"
            heading = f"  {figure} ({better} is better)"
            print(f"{heading:<44}{'median':>12}{'lowest':>12}{'highest':>12}{'ours ahead':>12}")
        numbers = "".join(f"{row[key]:>12.5g}" for key in ("median", "lowest", "highest"))
        ahead = f"{row['ahead']:>11.2f}x" if row["ahead"] is not None else ""
        print(f"    {row['contender']:<40}{numbers}{ahead}")


def summarise(rows: list[Row]) -> None:
    """Geometric mean and worst of our ratios, by rival, figure and number of workers."""
    groups: dict[tuple, list[Row]] = defaultdict(list)
    for row in rows:
        if row["ahead"] is not None:
            workers = re.search(r"workers=\d+", row["parameters"])
            group = row["workload"], row["figure"], workers.group() if workers else ""
            groups[(*group, row["contender"])].append(row)
    for (workload, figure, workers, rival), members in groups.items():
        if len(members) > 1:
            mean = math.exp(statistics.fmean(math.log(row["ahead"]) for row in members))
            worst = min(members, key=lambda row: row["ahead"])
            print(
                f"{workload} {figure} {workers} against {rival}: geometric mean {mean:.3f} of "
                f"{len(members)}, worst {worst['ahead']:.3f} at {worst['parameters']}"
            )


def busy_share() -> float:
    """The share of all processors' time that was used, or stolen, during one second."""

    def ticks() -> tuple[int, int]:
        numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        return sum(numbers), numbers[3] + numbers[4]

    before = ticks()
    time.sleep(1)
    after = ticks()
    return 1 - (after[1] - before[1]) / (after[0] - before[0])


def available_gib() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(dict(line.split(":") for line in lines)["MemAvailable"].split()[0]) / 2**20


def write_record(rows: list[Row], machine: str, busy: tuple[float, float]) -> None:
    """Writes one file of figures a day, and one that describes the machine.

    An existing case is replaced as a whole, because a ratio needs all figures of one rotation.
    """
    stem = RECORD / machine / datetime.datetime.now().strftime("%Y-%m-%d")
    stem.parent.mkdir(parents=True, exist_ok=True)
    figures, words = stem.with_suffix(".csv"), stem.with_suffix(".txt")
    measured = {case_of(row) for row in rows}
    if figures.exists():
        with figures.open(newline="") as file:
            kept = [row for row in csv.DictReader(file) if case_of(row) not in measured]
        rows = kept + rows
    with figures.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    if words.exists():
        run = [f"command: {shlex.join(['python3', *sys.argv])}", f"brigade: {version(OURS)}"]
        run += [f"busy before and after: {busy[0]:.1%} {busy[1]:.1%}", ""]
        words.write_text("\n".join(run) + words.read_text())
        print(f"added to {figures}")
        return
    description = [
        f"command: {shlex.join(['python3', *sys.argv])}",
        f"brigade: {version(OURS)}",
        f"busy before and after: {busy[0]:.1%} {busy[1]:.1%}",
        f"kernel: {platform.platform()}",
        f"python: {sys.version.split()[0]}",
        f"rustc: {output_of('rustc', '--version')}",
        f"memory: {Path('/proc/meminfo').read_text().splitlines()[0].split(':')[1].strip()}",
        *(f"{path.name}: {path.read_text().strip()}" for path in huge_page_settings()),
        "",
        output_of("lscpu"),
    ]
    words.write_text("\n".join(description) + "\n")
    print(f"recorded in {figures} and {words.name}")


def case_of(row: Row) -> tuple:
    return row["suite"], row["workload"], row["parameters"]


def huge_page_settings() -> list[Path]:
    folder = Path("/sys/kernel/mm/transparent_hugepage")
    return [path for path in (folder / "enabled", folder / "shmem_enabled") if path.exists()]


def output_of(*command: str) -> str:
    try:
        environment = os.environ | {"LC_ALL": "C"}
        return subprocess.check_output(command, text=True, env=environment).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine_name() -> str:
    """The processor and how many of it, as a folder's name."""
    lines = dict(line.split(":", 1) for line in output_of("lscpu").splitlines() if ":" in line)
    words = [lines.get(key, "").strip() for key in ("Model name", "CPU family", "Model")]
    text = f"{' '.join(words)} {os.cpu_count()}cpu"
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def remove_leftovers() -> None:
    """Removes files that iceoryx2 leaves behind, because it has no last user."""
    shutil.rmtree("/tmp/brigade-compare-iceoryx2", ignore_errors=True)
    for path in Path("/dev/shm").glob("brigade-compare-*"):
        path.unlink(missing_ok=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--setup", action="store_true", help="install the rivals from PyPI first")
    parser.add_argument("--quick", action="store_true", help="small sizes, two rounds, no record")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose title has TEXT")
    parser.add_argument("--rivals", default="", metavar="NAMES", help="only these, by commas")
    parser.add_argument(
        "--library", action="append", default=[], metavar="RIVAL=PATH",
        help="a C library of your own build, in place of the wheel's",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, help="repetitions of each contender (7)")
    parser.add_argument("--budget-ms", type=int, help="time of one repetition (300)")
    parser.add_argument("--machine", default=machine_name(), help="folder of the record")
    options = parser.parse_args()
    if unknown := set(options.suites) - set(SUITES):
        parser.error(f"no suite {', '.join(unknown)}; there are {', '.join(SUITES)}")
    for pair in options.library:
        name, _, path = pair.partition("=")
        if name not in LIBRARIES or not Path(path).is_file():
            parser.error(f"--library {pair}: wants one of {', '.join(LIBRARIES)} and a file")
        OWN_LIBRARIES[name] = path
    return options


def main() -> None:
    # Results must be visible even if the run is killed.
    sys.stdout.reconfigure(line_buffering=True)
    options = parse()
    if options.setup:
        set_up()
    build(options.suites or list(SUITES))
    before = busy_share()
    if before > BUSY_MAX:
        print(f"others use {before:.0%} of this machine: what follows is noise")
    rounds = options.rounds or (2 if options.quick else 7)
    budget_ms = options.budget_ms or (40 if options.quick else 300)
    only = set(filter(None, options.rivals.split(",")))
    rows: list[Row] = []
    for suite in options.suites or SUITES:
        for case in SUITES[suite](options.quick, options.workers):
            if options.only in case.title():
                print(f"\n{case.title()}")
                taken = rows_of(suite, case, measure(case, only, budget_ms, rounds))
                show(taken)
                rows += taken
    remove_leftovers()
    print()
    summarise(rows)
    after = busy_share()
    if not rows or options.quick:
        return
    if max(before, after) > BUSY_MAX:
        print(f"no record: others used {max(before, after):.0%} of the machine")
        return
    write_record(rows, options.machine, (before, after))


if __name__ == "__main__":
    main()
