"""Draws a request as a tree of styled lines, without reading a clock or a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

from spincycle.cli.live_request import LiveJob, LiveRequest, LiveSequence
from spincycle.cli.render.job_path import shorten_path
from spincycle.cli.render.text import cell_width, head, one_line
from spincycle.cli.render.times import short_span
from spincycle.model.state import State

Segment: TypeAlias = tuple[str, str]
"""Text and its style: names of colours and weights, separated by blanks."""

Line: TypeAlias = list[Segment]


@dataclass(frozen=True, slots=True)
class Signs:
    """Symbols of states, branches and the progress bar."""

    states: dict[State, str]
    waiting: str
    tee: str
    corner: str
    bar: str
    full: str
    empty: str
    dot: str
    mark: str


UNICODE = Signs(
    {
        State.PENDING: "○",
        State.RUNNING: "●",
        State.COMPLETE: "✔",
        State.FAIL: "✘",
        State.STOPPED: "■",
        State.SUSPENDED: "◌",
    },
    waiting="◌",
    tee="├─ ",
    corner="└─ ",
    bar="│  ",
    full="━",
    empty="─",
    dot=" · ",
    mark="…",
)

ASCII = Signs(
    {
        State.PENDING: ".",
        State.RUNNING: "*",
        State.COMPLETE: "+",
        State.FAIL: "x",
        State.STOPPED: "#",
        State.SUSPENDED: "~",
    },
    waiting="~",
    tee="|- ",
    corner="`- ",
    bar="|  ",
    full="=",
    empty="-",
    dot=" - ",
    mark="...",
)

_STYLES = {
    State.PENDING: "dim",
    State.RUNNING: "cyan",
    State.COMPLETE: "green",
    State.FAIL: "red",
    State.STOPPED: "yellow",
    State.SUSPENDED: "yellow",
}

_BAR_WIDTH = 24
_SHORTEST_TITLE = 16
"""Columns for the title of a job are two thirds of the terminal, but at least these."""
_SHORTEST_RUN = 3
"""Fewest neighbours in one state that are folded into one line."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Options of a drawing.

    Attributes:
        width: columns of the terminal.
        height: most lines to use.
        signs: symbols to draw with.
        note: state of the stream, such as "reconnecting"; empty if connected.
        left: estimated seconds until the request ends; None without an estimate.
    """

    width: int = 80
    height: int = 24
    signs: Signs = UNICODE
    note: str = ""
    left: float | None = None


def draw(request: LiveRequest, now: float, picture: Picture) -> list[Line]:
    """Draw the request at `now`: a heading, then the tree, folded to fit.

    Finished sequences are folded first, then waiting ones, then runs of neighbours; lines that
    still do not fit are left out. Running and failed jobs are never folded.
    """
    top = _heading(request, now, picture)
    cut_top = [_cut(line, picture.width, picture.signs.mark) for line in top]
    return [*cut_top, *draw_tree(request, now, picture, picture.height - len(top))]


def draw_tree(request: LiveRequest, now: float, picture: Picture, height: int) -> list[Line]:
    """Draw the tree without a heading in at most `height` lines."""
    room = max(height, 1)
    tree: list[Line] = []
    title_width = max(2 * picture.width // 3, _SHORTEST_TITLE)
    for level in range(4):
        folding = _Folding(level, now, picture.signs, title_width)
        tree = list(folding.children(request.root, []))
        if len(tree) <= room:
            break
    if len(tree) > room:
        hidden = len(tree) - room + 1
        tree = [*_kept(tree, room - 1), [(f"{picture.signs.mark} {hidden} more lines", "dim")]]
    return [_cut(line, picture.width, picture.signs.mark) for line in tree]


def _kept(tree: list[Line], room: int) -> list[Line]:
    """Return `room` lines in order, preferring those of running and failed jobs."""
    preferred = {"cyan", "red"}
    busy = [any(style in preferred for _, style in line) for line in tree]
    spare = max(room - sum(busy), 0)
    kept: list[Line] = []
    for line, is_busy in zip(tree, busy, strict=True):
        if is_busy:
            kept.append(line)
        elif spare:
            spare -= 1
            kept.append(line)
    return kept[:room]


def _heading(request: LiveRequest, now: float, picture: Picture) -> list[Line]:
    signs = picture.signs
    title: Line = [
        (request.type or "request", "bold"),
        (f" {request.state.name} ", _STYLES.get(request.state, "")),
        (request.id, "dim"),
    ]
    if picture.note:
        title.append((signs.dot + picture.note, "yellow"))
    elif request.reason:
        title.append((signs.dot + one_line(request.reason), "dim"))
    return [title, _progress(request, now, picture)]


def _progress(request: LiveRequest, now: float, picture: Picture) -> Line:
    signs = picture.signs
    total = max(request.total_jobs, 1)
    complete = request.complete_jobs
    share = min(complete / total, 1.0)
    width = min(_BAR_WIDTH, max(picture.width - 40, 4))
    full = int(share * width)
    facts = [f"{complete}/{request.total_jobs} jobs"]
    if request.started is not None:
        end = request.finished if request.finished is not None else now
        facts.append(short_span(end - request.started))
    if picture.left is not None and not request.ended:
        facts.append(f"about {short_span(picture.left)} left")
    return [
        (signs.full * full, _STYLES.get(request.state, "")),
        (signs.empty * (width - full), "dim"),
        (f" {100 * share:3.0f}%  ", "bold"),
        (signs.dot.join(facts), ""),
    ]


@dataclass(frozen=True, slots=True)
class _Folding:
    """Draws a tree at one level of folding, from 0 (nothing folded) to 3."""

    level: int
    now: float
    signs: Signs
    title_width: int

    def children(self, sequence: LiveSequence, stem: list[str]) -> Iterator[Line]:
        items = list(self._grouped(sequence.children))
        for place, item in enumerate(items):
            last = place == len(items) - 1
            branch: Line = [
                ("".join([*stem, self.signs.corner if last else self.signs.tee]), "dim")
            ]
            below = [*stem, "   " if last else self.signs.bar]
            if isinstance(item, list):
                yield branch + self._run(item)
            elif isinstance(item, LiveJob):
                yield branch + self._job(item)
            elif self._is_folded(item):
                yield branch + self._folded(item)
            else:
                yield branch + self._sequence(item)
                yield from self.children(item, below)

    def _grouped(
        self, children: list[LiveJob | LiveSequence]
    ) -> Iterator[LiveJob | LiveSequence | list[LiveJob | LiveSequence]]:
        if self.level < 3:
            yield from children
            return
        for state, group in groupby(children, lambda child: child.state):
            run = list(group)
            if state in {State.COMPLETE, State.PENDING} and len(run) >= _SHORTEST_RUN:
                yield run
            else:
                yield from run

    def _is_folded(self, sequence: LiveSequence) -> bool:
        if self.level == 0:
            return False
        state = sequence.state
        return state is State.COMPLETE or (self.level >= 2 and state is State.PENDING)

    def _run(self, run: list[LiveJob | LiveSequence]) -> Line:
        state = run[0].state
        word = "complete" if state is State.COMPLETE else "waiting"
        first, last = (
            self._title(item.begin if isinstance(item, LiveSequence) else item)
            for item in (run[0], run[-1])
        )
        style = _STYLES[state]
        return [
            (f"{self.signs.states[state]} ", style),
            (f"{len(run)} {word}: {first} {self.signs.mark} {last}", "dim"),
        ]

    def _folded(self, sequence: LiveSequence) -> Line:
        count = sum(1 for _ in sequence.jobs())
        jobs = f"{count} job" if count == 1 else f"{count} jobs"
        line = self._sequence(sequence)
        line.append((f"  ({jobs})", "dim"))
        return line

    def _sequence(self, sequence: LiveSequence) -> Line:
        state = sequence.state
        begin = sequence.begin
        line: Line = [
            (f"{self.signs.states.get(state, '?')} ", _STYLES.get(state, "")),
            (self._title(begin), "dim" if state is State.PENDING else "bold"),
        ]
        if begin.tries > 1:
            line.append((f"  try {begin.tries}/{begin.allowed_tries}", "yellow"))
        if begin.retry_at is not None and begin.retry_at > self.now:
            line.append((f"  retry in {short_span(begin.retry_at - self.now)}", "yellow"))
        started, finished = sequence.span
        if started is not None and state is not State.PENDING:
            end = self.now if state is State.RUNNING or finished is None else finished
            line.append((f"  {short_span(end - started)}", "dim"))
        return line

    def _job(self, job: LiveJob) -> Line:
        waits = job.retry_at is not None and job.retry_at > self.now
        sign = self.signs.waiting if waits else self.signs.states.get(job.state, "?")
        style = "yellow" if waits else _STYLES.get(job.state, "")
        line: Line = [
            (f"{sign} ", style),
            (self._title(job), "dim" if job.state is State.PENDING else ""),
        ]
        if job.tries > 1:
            allowed = f"/{job.allowed_tries}" if job.allowed_tries >= job.tries else ""
            line.append((f"  try {job.tries}{allowed}", "yellow"))
        if job.retry_at is not None and waits:
            line.append((f"  retry in {short_span(job.retry_at - self.now)}", "yellow"))
        elif job.started is not None and job.state is not State.PENDING:
            end = self.now if job.state is State.RUNNING or job.finished is None else job.finished
            line.append((f"  {short_span(end - job.started)}", "dim"))
        if job.percent and job.state is State.RUNNING:
            line.append((f"  {job.percent}%", "cyan"))
        failed = job.state is State.FAIL or waits
        if failed and job.error:
            line.append((f"  {one_line(job.error)}", "red"))
        elif job.status and job.state is State.RUNNING:
            line.append((f"  {one_line(job.status)}", "dim"))
        return line

    def _title(self, job: LiveJob) -> str:
        title = one_line(f"{job.name} {job.label}" if job.label else job.name)
        return shorten_path(title, self.title_width)


def _cut(line: Line, width: int, mark: str) -> Line:
    if sum(cell_width(text) for text, _ in line) <= width:
        return line
    kept: Line = []
    room = width
    for text, style in line:
        if cell_width(text) < room:
            kept.append((text, style))
            room -= cell_width(text)
        else:
            kept.append((head(text, max(room - cell_width(mark), 0)) + mark, style))
            break
    return kept


def plain_text(lines: list[Line]) -> str:
    """Return the lines without their styles."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)
