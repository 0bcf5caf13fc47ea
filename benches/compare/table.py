"""Prints the suites `tasks` and `memory` of a record as the table of docs/performance.md."""

import csv
import sys
from collections import defaultdict

from suites import FIGURES

# Which contenders share a column; the best of each is shown, by name if there are several.
COLUMNS = {
    "brigade": ("brigade",),
    "rayon": ("rayon", "rayon-outside"),
    "process pools": (
        "executor-fork", "executor-forkserver", "executor-spawn", "pool-fork", "loky",
        "shared-memory",
    ),
    "pinned threads": ("threads", "threads-huge"),
}  # fmt: skip
# Parameters that are the same in all cases, left out of the table.
USUAL = {"workers=2", "host_gib=0"}


def number(value: float) -> str:
    """Three significant digits; millions and more with a letter."""
    for size, letter in ((1e9, " G"), (1e6, " M")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}" if value < 1000 else f"{float(f'{value:.3g}'):.0f}"


def cell(found: dict[str, float], column: str, more_is_better: bool) -> str:
    taken = {name: found[name] for name in COLUMNS[column] if name in found}
    if not taken:
        return ""
    best = (max if more_is_better else min)(taken, key=taken.get)
    is_plain = best == COLUMNS[column][0] and column != "process pools"
    return number(taken[best]) + ("" if is_plain else f" `{best}`")


def main() -> None:
    lines: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    with open(sys.argv[1], newline="") as file:
        for row in csv.DictReader(file):
            if row["suite"] in ("tasks", "memory"):
                what = " ".join(word for word in row["parameters"].split() if word not in USUAL)
                lines[row["figure"], what][row["contender"]] = float(row["median"])
    print(f"| figure | of | {' | '.join(COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for (figure, what), found in lines.items():
        cells = (cell(found, column, FIGURES[figure]) for column in COLUMNS)
        print(f"| {figure} | {what} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
