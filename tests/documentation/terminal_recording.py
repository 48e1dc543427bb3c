"""Records a rolling restart at a terminal as docs/images/rolling-restart.svg.

`python -m tests.documentation.terminal_recording` starts a stack of its own, runs the command in a
pseudo terminal, and writes each screen, with the text as it was printed, as one frame of the image.
"""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pexpect
import pyte
from pyte.screens import Char

REPOSITORY = Path(__file__).parents[2]
IMAGE = REPOSITORY / "docs" / "images" / "rolling-restart.svg"
PROGRAMS = Path(sys.executable).parent
COMMAND = "spinc start rolling-restart hosts=web1,web2,web3 settle=1500 --yes --watch"
COLUMNS, ROWS = 90, 28
WIDTH, HEIGHT, SIZE = 8.4, 19, 14
"""Pixels of a character, of a line, and of the font."""

FRAME_INTERVAL = 0.4
"""Least number of seconds between two frames."""

LAST_FRAME = 4.0
"""Seconds for which the last frame stands before the recording begins again."""

COLOURS = {
    "default": "#c9d1d9",
    "red": "#ff7b72",
    "green": "#56d364",
    "brown": "#e3b341",
    "yellow": "#e3b341",
    "blue": "#79c0ff",
    "magenta": "#d2a8ff",
    "cyan": "#76e3ea",
    "white": "#f0f6fc",
}


@dataclass(frozen=True)
class Frame:
    """One screen, and when it was shown."""

    seconds: float
    lines: tuple[str, ...]


def record(environment: dict[str, str]) -> list[Frame]:
    """Run the command in a pseudo terminal and return its screens."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    frames = [Frame(0.0, ())]
    start = time.monotonic()
    program, *arguments = COMMAND.split()
    child: pexpect.spawn[bytes] = pexpect.spawn(
        str(PROGRAMS / program),
        arguments,
        dimensions=(ROWS, COLUMNS),
        env=environment,
        timeout=60,
    )
    while True:
        try:
            stream.feed(child.read_nonblocking(65536, timeout=60))
            ended = False
        except pexpect.EOF:
            ended = True
        seconds = time.monotonic() - start
        lines = drawn(screen)
        if lines == frames[-1].lines and not ended:
            continue
        if ended or seconds - frames[-1].seconds >= FRAME_INTERVAL:
            frames.append(Frame(seconds, lines))
        if ended:
            return frames


def drawn(screen: pyte.Screen) -> tuple[str, ...]:
    """The lines of a screen as the contents of SVG text elements."""
    lines = [line([screen.buffer[row][column] for column in range(COLUMNS)]) for row in range(ROWS)]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)


def line(characters: list[Char]) -> str:
    """One line: a tspan for each run of characters of one style."""
    while characters and characters[-1].data == " ":
        characters = characters[:-1]
    spans = []
    for (colour, bold), run in groupby(characters, key=lambda one: (one.fg, one.bold)):
        text = html.escape("".join(one.data for one in run), quote=False)
        weight = ' font-weight="bold"' if bold else ""
        fill = COLOURS.get(colour.removeprefix("bright"), COLOURS["default"])
        spans.append(f'<tspan fill="{fill}"{weight}>{text}</tspan>')
    return "".join(spans)


def svg(frames: list[Frame]) -> str:
    """The recording as an animated image; without animation it shows the last frame."""
    rows = max(len(frame.lines) for frame in frames)
    total = frames[-1].seconds + LAST_FRAME
    width, height = COLUMNS * WIDTH + 32, rows * HEIGHT + 48
    styles, groups = [], []
    for index, frame in enumerate(frames):
        begin = 100 * frame.seconds / total
        end = 100 * frames[index + 1].seconds / total if index + 1 < len(frames) else 100
        name = f"f{index}"
        last = index + 1 == len(frames)
        before = "" if index == 0 else f"0%,{begin:.2f}%{{opacity:0}}"
        after = "" if last else f"{end:.2f}%,100%{{opacity:0}}"
        styles.append(
            f"@keyframes {name}{{{before}"
            f"{begin + 0.01:.2f}%,{end - 0.01:.2f}%{{opacity:1}}{after}}}"
            f"#{name}{{opacity:{int(last)};animation:{name} {total:.1f}s infinite step-end}}"
        )
        texts = "".join(
            f'<text x="16" y="{48 + number * HEIGHT}" xml:space="preserve">{text}</text>\n'
            for number, text in enumerate(frame.lines)
            if text
        )
        groups.append(f'<g id="{name}">\n{texts}</g>\n')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img">\n'
        f"<title>{html.escape(COMMAND)}</title>\n"
        f"<style>text{{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',"
        f"monospace;font-size:{SIZE}px}}{''.join(styles)}"
        "@media (prefers-reduced-motion: reduce){g{animation:none!important}}</style>\n"
        f'<rect width="100%" height="100%" rx="8" fill="#0d1117" stroke="#30363d"/>\n'
        '<circle cx="20" cy="18" r="5" fill="#ff7b72"/><circle cx="38" cy="18" r="5" '
        'fill="#e3b341"/><circle cx="56" cy="18" r="5" fill="#56d364"/>\n'
        f'<text x="76" y="23" fill="#8b949e">$ {html.escape(COMMAND)}</text>\n'
        f"{''.join(groups)}</svg>\n"
    )


def main() -> None:
    """Start a stack, record the command on it, stop the stack and write the image."""
    stack = subprocess.Popen(
        [PROGRAMS / "spincycle", "dev", "--ephemeral", "--free-ports"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert stack.stdout is not None
        addresses: dict[str, str] = {}
        for text in stack.stdout:
            if found := re.match(r"  (request-manager|job-log) +(\S+:\d+) +\(gRPC\)", text):
                addresses[found[1]] = found[2]
            if text.startswith("Ctrl-C"):
                break
        frames = record(
            os.environ
            | {
                "SPINC_ADDR": addresses["request-manager"],
                "SPINC_JOB_LOG": addresses["job-log"],
                "TERM": "xterm-256color",
            }
        )
    finally:
        stack.terminate()
        stack.communicate()
    IMAGE.write_text(svg(frames), encoding="utf-8")


if __name__ == "__main__":
    main()
