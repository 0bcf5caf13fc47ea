"""Draws what `cargo run --release --example scaling` measured, as SVG.

    cargo run --release --example scaling > scaling.csv
    python3 benches/plot.py scaling.csv docs/performance

One picture for each kind of x. Points are measurements; a line is the model whose formula follows
its name, fitted by least squares of the relative error.
"""

import csv
import math
import sys
from collections import defaultdict
from pathlib import Path

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 420, 70, 330, 40, 50
COLOURS = ["#1b6ca8", "#c8553d", "#3a7d44", "#7b4ea3"]
TITLES = {
    "workers": ("Cost by number of workers", "workers"),
    "tasks": ("Cost by number of tasks under way", "tasks"),
    "bytes": ("Loops by size of the array", "bytes of the array"),
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
        text = f"{found[0]:.3g} + {found[1] * 2**20:.0f} B n" if found else ""
        return found and (text, lambda x: found[0] + found[1] * x)
    # A rate: the time is that of a call plus the bytes at a constant rate, from memory, not caches.
    large = [(x, x / y) for x, y in points if x >= 1 << 28] or points[-2:]
    small = min(points)
    call = small[0] / small[1]
    rate = sum(x for x, _ in large) / sum(time for _, time in large)
    text = f"x / ({call / 1e3:.3g} us + x / {rate:.3g} GB/s)"
    return text, lambda x: x / (call + x / rate)


def ticks(low, high):
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**power for power in range(first, last + 1)]


def si(value):
    for limit, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g} {sign}"
    return f"{value:g}"


def draw(kind, series):
    """One picture, with logarithmic axes."""
    every = [point for points in series.values() for point in points]
    xs, ys = ticks(*bounds([x for x, _ in every])), ticks(*bounds([y for _, y in every]))
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x, y):
        fraction = lambda v, marks: math.log10(v / marks[0]) / math.log10(marks[-1] / marks[0])
        return LEFT + across * fraction(x, xs), TOP + down * (1 - fraction(y, ys))

    title, label = TITLES[kind]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="16">{title}</text>',
        f'<text x="{LEFT + across / 2}" y="{HEIGHT - 12}" text-anchor="middle">{label}</text>',
    ]
    for x in xs:
        at = place(x, ys[0])[0]
        parts.append(f'<path d="M{at:.1f} {TOP}V{TOP + down}" stroke="#ddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{TOP + down + 18}" text-anchor="middle">{si(x)}</text>')
    for y in ys:
        at = place(xs[0], y)[1]
        parts.append(f'<path d="M{LEFT} {at:.1f}H{LEFT + across}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{si(y)}</text>')
    for index, (name, points) in enumerate(series.items()):
        colour, legend = COLOURS[index % len(COLOURS)], TOP + 20 + 44 * index
        for x, y in points:
            cx, cy = place(x, y)
            parts.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3.5" fill="{colour}"/>')
        parts.append(f'<circle cx="{LEFT + across + 20}" cy="{legend - 4}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT + across + 32}" y="{legend}">{name}</text>')
        found = model(kind, name.split("_")[-1], sorted(points))
        if found:
            text, function = found
            low, high = bounds([x for x, _ in points])
            curve = [low * (high / low) ** (step / 60) for step in range(61)]
            dots = [place(x, max(function(x), ys[0])) for x in curve]
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in dots)
            parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.2"/>')
            parts.append(f'<text x="{LEFT + across + 32}" y="{legend + 16}" fill="#555">{text}</text>')
    return "\n".join(parts + ["</svg>"]) + "\n"


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
