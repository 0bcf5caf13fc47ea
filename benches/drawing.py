"""Parts of the SVG pictures that `plot*.py` and `terminal.py` draw.

A picture follows the reader's colour scheme, light or dark, and brings its own ground, so it is
legible where the page has the other scheme.
"""

import math
from html import escape

# Class -> colour in a light scheme, colour in a dark one.
COLOURS = {
    "ground": ("#ffffff", "#0d1117"),
    "text": ("#1f2328", "#e6edf3"),
    "faint": ("#57606a", "#9198a1"),
    "grid": ("#d8dee4", "#30363d"),
    "band": ("#f3f6f9", "#161b22"),
    "c0": ("#1b6ca8", "#58a6ff"),
    "c1": ("#c8553d", "#ff8a6b"),
    "c2": ("#3a7d44", "#56d364"),
    "c3": ("#7b4ea3", "#bc8cff"),
    "c4": ("#9a6700", "#e3b341"),
    "c5": ("#6b7280", "#8b949e"),
}
SERIES = ["c0", "c1", "c2", "c3", "c4", "c5"]


def style(extra=""):
    """The style sheet: `.c0` fills, `.c0s` strokes."""

    def rules(scheme):
        return "".join(
            f".{name}{{fill:{pair[scheme]}}}.{name}s{{stroke:{pair[scheme]};fill:none}}"
            for name, pair in COLOURS.items()
        )

    dark = f"@media (prefers-color-scheme:dark){{{rules(1)}}}"
    return f"<style>{rules(0)}{dark}{extra}</style>"


def picture(width, height, title, parts, font="sans-serif", extra=""):
    """The whole file. `title` is read aloud by screen readers."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="{font}" font-size="12"><title>{escape(title)}</title>'
    )
    ground = f'<rect class="ground" width="{width}" height="{height}" rx="6"/>'
    return "\n".join([head, style(extra), ground, *parts, "</svg>"]) + "\n"


def text(x, y, words, kind="text", anchor="start", size=None, weight=None):
    more = f' font-size="{size}"' if size else ""
    more += f' font-weight="{weight}"' if weight else ""
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{where}{more}>{escape(words)}</text>'


def path(data, kind, width=1.0, more=""):
    return f'<path class="{kind}s" d="{data}" stroke-width="{width}"{more}/>'


def dot(x, y, kind, radius=3.5):
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'


def box(x, y, width, height, kind, radius=0):
    round_ = f' rx="{radius}"' if radius else ""
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}"{round_}/>'
    )


def decades(low, high):
    """Powers of ten that enclose an interval."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**power for power in range(first, last + 1)]


def log_place(value, marks):
    """Where a value lies between the first mark (0) and the last (1) of a logarithmic axis."""
    return math.log10(value / marks[0]) / math.log10(marks[-1] / marks[0])


def si(value):
    for limit, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g} {sign}"
    return f"{value:g}"
