"""Draws what a product is expected to take on many nodes, as SVG, from measured figures.

    python3 benches/plot_cluster.py docs/performance/cluster.svg

The figures stand below, with their commands. The picture has one line for each way of a product and
kind of node. Also prints some efficiencies.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path

from drawing import SERIES, log_place, path, picture, text

PANEL = 512
BYTES = 8
SIZE = 100_000


@dataclass(frozen=True)
class Node:
    """A kind of node: operations a second, bytes a second to another one, seconds of a message."""

    name: str
    rate: float
    bandwidth: float
    latency: float


# docs/cluster.md: a product of one rank with two workers, `scatter`, a task there and back.
MEASURED = Node("figures measured here", 87e9, 2.0e9, 43e-6)
# 64 workers at 31 GFLOP/s, which is what a worker of a full processor reaches; 100 Gbit/s.
LARGE = Node("64 workers, 100 Gbit/s", 2e12, 12.5e9, 5e-6)


def shape(ranks):
    """The grid of so many ranks, as mpi/src/product/grid.rs chooses it; None for a ring."""
    for p in range(math.isqrt(ranks), 1, -1):
        if ranks % p == 0 and ranks >= 9:
            return p, ranks // p
    return None


def transfer(node, elements):
    return node.latency + elements * BYTES / node.bandwidth


def product(node, ranks, size, way):
    """The seconds of a product of square matrices, by panels in a ring or on a grid."""
    compute = 2 * PANEL * size * size / ranks / node.rate
    panels = math.ceil(size / PANEL)
    if ranks == 1:
        return panels * compute
    if way == "ring":
        hop, hops, before, after = transfer(node, PANEL * size), ranks - 1, 0.0, 0.0
    else:
        p, q = shape(ranks)
        hop, hops = transfer(node, PANEL * size / q), p
        # The rows of A, and the blocks of C, of which a rank has one part in q already.
        before = transfer(node, size * size / p * (1 - 1 / q))
        after = transfer(node, size * size / ranks * (1 - 1 / q))
    # The first panel goes through all ranks; each other one travels beside a product.
    return before + hops * hop + panels * max(compute, hop) + after


def efficiency(node, ranks, way):
    return product(node, 1, SIZE, way) / ranks / product(node, ranks, SIZE, way)


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 380, 60, 290, 40, 50
COUNTS = [1, 2, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121, 144]


def draw():
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(ranks, value):
        return LEFT + across * log_place(ranks, COUNTS), TOP + down * (1 - value)

    title = f"Efficiency of a product of {SIZE} x {SIZE}, f64 (computed, not measured)"
    parts = [
        text(LEFT, 24, title, size=16),
        text(LEFT + across / 2, HEIGHT - 12, "nodes", "faint", "middle"),
    ]
    for value in (0, 0.2, 0.4, 0.6, 0.8, 1):
        y = place(1, value)[1]
        parts.append(path(f"M{LEFT} {y:.1f}h{across}", "grid"))
        parts.append(text(LEFT - 8, y + 4, f"{value:.1f}", "faint", "end"))
    for ranks in (1, 4, 16, 36, 64, 100, 144):
        x = place(ranks, 0)[0]
        parts.append(path(f"M{x:.1f} {TOP}v{down}", "grid"))
        parts.append(text(x, TOP + down + 18, str(ranks), "faint", "middle"))
    at, x = TOP + 20, LEFT + across + 16
    for kind, node in zip(SERIES, (MEASURED, LARGE)):
        for way in ("ring", "grid"):
            counts = [ranks for ranks in COUNTS if way == "ring" or shape(ranks)]
            points = [place(ranks, efficiency(node, ranks, way)) for ranks in counts]
            line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
            more = ' stroke-dasharray="6 4"' if way == "ring" else ""
            parts.append(path(line, kind, 2, more))
            parts.append(path(f"M{x} {at - 4}h30", kind, 2, more))
            parts.append(text(x + 38, at, f"{way}, {node.name}"))
            at += 22
    return picture(WIDTH, HEIGHT, title, parts)


def main():
    if len(sys.argv) != 2:
        sys.exit("plot_cluster: needs the path of the picture; see its first lines")
    Path(sys.argv[1]).write_text(draw())
    for node in (MEASURED, LARGE):
        for ranks in (2, 16, 100):
            ways = ["ring", "grid"] if shape(ranks) else ["ring"]
            figures = [f"{way} {efficiency(node, ranks, way):.2f}" for way in ways]
            print(f"{node.name}, {ranks} nodes: {', '.join(figures)}")


if __name__ == "__main__":
    main()
