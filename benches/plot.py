"""Draws what `cargo run --release --example scaling` measured, as SVG.

    cargo run --release --example scaling > scaling.csv
    python3 benches/plot.py scaling.csv docs/performance

One picture for each kind of x. Points are measurements; a line is the model whose formula follows
its name, fitted by least squares of the relative error.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

from drawing import SERIES, decades, dot, log_place, path, picture, si, text

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 420, 70, 330, 40, 50
TITLES = {
    "workers": ("Cost by number of workers", "workers"),
    "tasks": ("Cost by number of tasks under way", "tasks"),
    "bytes": ("Loops by size of the array", "bytes of the array"),
    "chunk": ("Loops over 256 MiB of f32 by size of a chunk", "elements of a chunk"),
}


def fit(points, terms):
    """Coefficients of the sum of `terms`, functions of x, with the least relative error to y."""
    rows = [([term(x) / y for term in terms], 1.0) for x, y in points]
    size = len(terms)
    normal = [[sum(row[i] * row[j] for row, _ in rows) for j in range(size)] for i in range(size)]
    right = [sum(row[i] * y for row, y in rows) for i in range(size)]
    for i in range(size):
        pivot = max(range(i, size), key=lambda k: abs(normal[k][i]))
        normal[i], normal[pivot] = normal[pivot], normal[i]
        right[i], right[pivot] = right[pivot], right[i]
        if abs(normal[i][i]) < 1e-30:
            return None
        for k in range(size):
            if k != i:
                factor = normal[k][i] / normal[i][i]
                normal[k] = [a - factor * b for a, b in zip(normal[k], normal[i])]
                right[k] -= factor * right[i]
    return [right[i] / normal[i][i] for i in range(size)]


def model(kind, unit, points):
    """A formula, and the function that it denotes; None if no model is claimed."""
    if len(points) < 3:
        return None
    one, linear, inverse = (lambda x: 1.0), (lambda x: x), (lambda x: 1.0 / x)
    if kind == "workers":
        found = fit(points, [one, linear])
        return found and (f"{found[0]:.3g} + {found[1]:.3g} w", lambda x: found[0] + found[1] * x)
    if kind == "tasks" and unit == "ns":
        found = fit(points, [one, inverse])
        return found and (f"{found[0]:.3g} + {found[1]:.3g} / n", lambda x: found[0] + found[1] / x)
    if kind == "tasks":
        found = fit(points, [one, linear])
        formula = f"{found[0]:.3g} + {found[1] * 2**20:.0f} B n" if found else ""
        return found and (formula, lambda x: found[0] + found[1] * x)
    if kind == "chunk":
        return None
    # A rate: the time is that of a call plus the bytes at a constant rate, from memory, not caches.
    large = [(x, x / y) for x, y in points if x >= 1 << 28] or points[-2:]
    small = min(points)
    call = small[0] / small[1]
    rate = sum(x for x, _ in large) / sum(time for _, time in large)
    formula = f"x / ({call / 1e3:.3g} us + x / {rate:.3g} GB/s)"
    return formula, lambda x: x / (call + x / rate)


def draw(kind, series):
    """One picture, with logarithmic axes."""
    every = [point for points in series.values() for point in points]
    xs, ys = decades(*bounds([x for x, _ in every])), decades(*bounds([y for _, y in every]))
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x, y):
        return LEFT + across * log_place(x, xs), TOP + down * (1 - log_place(y, ys))

    title, label = TITLES[kind]
    parts = [
        text(LEFT, 24, title, size=16),
        text(LEFT + across / 2, HEIGHT - 12, label, "faint", "middle"),
    ]
    for x in xs:
        at = place(x, ys[0])[0]
        parts.append(path(f"M{at:.1f} {TOP}V{TOP + down}", "grid"))
        parts.append(text(at, TOP + down + 18, si(x), "faint", "middle"))
    for y in ys:
        at = place(xs[0], y)[1]
        parts.append(path(f"M{LEFT} {at:.1f}H{LEFT + across}", "grid"))
        parts.append(text(LEFT - 8, at + 4, si(y), "faint", "end"))
    for index, (name, points) in enumerate(series.items()):
        kind_of, legend = SERIES[index % len(SERIES)], TOP + 20 + 44 * index
        parts += [dot(*place(x, y), kind_of) for x, y in points]
        parts.append(dot(LEFT + across + 20, legend - 4, kind_of, 4))
        parts.append(text(LEFT + across + 32, legend, name))
        found = model(kind, name.split("_")[-1], sorted(points))
        if found:
            formula, function = found
            low, high = bounds([x for x, _ in points])
            curve = [low * (high / low) ** (step / 60) for step in range(61)]
            dots = [place(x, max(function(x), ys[0])) for x in curve]
            line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in dots)
            parts.append(path(line, kind_of, 1.2))
            parts.append(text(LEFT + across + 32, legend + 16, formula, "faint"))
    return picture(WIDTH, HEIGHT, title, parts)


def bounds(values):
    return min(values), max(values)


def main():
    if len(sys.argv) != 3:
        sys.exit("plot: needs a CSV file of `scaling` and a directory; see its first lines")
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    kinds = defaultdict(dict)
    try:
        with source.open(newline="") as lines:
            for row in csv.DictReader(lines):
                name, kind = row["series"].split(" by ")
                kinds[kind].setdefault(name, []).append((float(row["x"]), float(row["y"])))
        target.mkdir(parents=True, exist_ok=True)
        for kind, series in kinds.items():
            (target / f"by-{kind}.svg").write_text(draw(kind, series))
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"plot: {source}: {error}")


if __name__ == "__main__":
    main()
