"""Records commands in a terminal as an animated SVG.

    python3 benches/terminal.py docs/pictures/terminal.svg COMMAND...

It runs the commands one after the other, with standard output and error in a terminal of its own,
and draws what they print. Each line appears when it was printed; a pause is shortened to
`PAUSE_MAX_S`. A reader who wants less motion, or whose program does not animate, sees the end.
"""

import os
import pty
import re
import sys
import time
from pathlib import Path

from drawing import box, picture, text

WIDTH, LINE_HEIGHT, LEFT, TOP, COLUMNS = 900, 18, 20, 52, 116
PAUSE_MAX_S, TYPING_S = 0.8, 1.0


def run(command):
    """Runs a command in a terminal; returns its lines with the seconds at which each came."""
    started, seen, lines = time.monotonic(), b"", []
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(COLUMNS=str(COLUMNS), TERM="dumb", NO_COLOR="1")
        os.execvp("sh", ["sh", "-c", command])
    while True:
        try:
            read = os.read(terminal, 4096)
        except OSError:  # The terminal's last user has ended.
            break
        if not read:
            break
        *whole, seen = (seen + read).split(b"\n")
        at = time.monotonic() - started
        lines += [(at, line.decode(errors="replace").rstrip("\r")) for line in whole]
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        sys.exit(f"terminal: {command!r} ended with code {code}: {lines}")
    return lines


def wrapped(line):
    """The line in pieces that fit, without what moves the cursor."""
    line = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line.split("\r")[-1]).expandtabs()
    line = line.encode("ascii", "replace").decode()
    pieces, indent = [], ""
    while len(indent + line) > COLUMNS:
        at = line.rfind(" ", 0, COLUMNS - len(indent))
        at = at if at > 0 else COLUMNS - len(indent)
        pieces.append(indent + line[:at])
        line, indent = line[at:].lstrip(" "), "    "
    pieces.append(indent + line)
    return pieces


def film(commands):
    """All lines with their class and the time at which they appear."""
    now, shown = 0.5, []
    for command in commands:
        shown.append((now, "$ " + command, "text"))
        now += TYPING_S
        before = 0.0
        for at, line in run(command):
            now += min(at - before, PAUSE_MAX_S)
            before = at
            kind = "c1" if re.search(r"killed|panicked|timeout|time limit", line) else "text"
            shown += [(now, piece, kind) for piece in wrapped(line)]
        now += 0.5
        shown.append((now, "", "text"))
    return shown[:-1]


def draw(commands):
    shown = film(commands)
    parts = [box(0, 0, WIDTH, 34, "band", 6)]
    parts += [f'<circle class="grid" cx="{20 + 18 * i}" cy="17" r="6"/>' for i in range(3)]
    for row, (at, line, kind) in enumerate(shown):
        if line:
            weight = "bold" if line.startswith("$ ") else None
            drawn = text(LEFT, TOP + LINE_HEIGHT * (row + 1), line, kind, weight=weight)
            # Spaces count, as in a terminal.
            style = f' xml:space="preserve" style="animation-delay:{at:.2f}s"'
            parts.append(drawn.replace("<text", "<text" + style, 1))
    extra = (
        "text{animation:appear 1ms backwards}@keyframes appear{from{opacity:0}}"
        "@media (prefers-reduced-motion:reduce){text{animation:none}}"
    )
    height = TOP + LINE_HEIGHT * (len(shown) + 2)
    title = "A terminal: " + "; ".join(commands)
    return picture(WIDTH, height, title, parts, font="monospace", extra=extra)


def main():
    if len(sys.argv) < 3:
        sys.exit("terminal: needs a file and commands; see its first lines")
    Path(sys.argv[1]).write_text(draw(sys.argv[2:]))


if __name__ == "__main__":
    main()
