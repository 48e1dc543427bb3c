"""What the jobs of a request print while it is watched, by their places in the request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.cli.live_request import LiveRequest, LiveSequence
from spincycle.cli.render.printed_lines import PrintedLines
from spincycle.cli.render.text import harmless, one_line
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.cli.render.printed import JobOutput
    from spincycle.cli.render.terminal import Terminal
    from spincycle.v1 import job_log_pb2


class JobOutputView:
    """Makes lines of output as it comes, and of the end of each try."""

    def __init__(self, live: LiveRequest, terminal: Terminal) -> None:
        self._live = live
        self._terminal = terminal
        self._lines = PrintedLines(self._named, terminal)
        self._paths: dict[str, str] = {}
        self._root: LiveSequence | None = None

    def output(self, piece: JobOutput) -> list[str]:
        """The lines that a piece of output ends."""
        return self._lines.add(piece)

    def entry(self, entry: job_log_pb2.JobLog) -> list[str]:
        """What was not told of a try that has ended, under a line that names it.

        Nothing if it has printed nothing.
        """
        attempt = entry.try_number
        lines, told = self._lines.end(entry.job_id, attempt)
        texts = [] if told else [entry.stdout, entry.stderr]
        texts = [text for text in (*texts, entry.error) if text]
        path = self._path(entry.job_id)
        if not told and (path is None or not texts):
            return lines
        heading = f"-- {path or entry.name}, try {attempt}: {State(entry.state).name}"
        body = [line for text in texts for line in text.rstrip("\n").split("\n")]
        if self._terminal.is_screen:
            body = [harmless(line) for line in body]
        heading = self._terminal.styled(heading, "bold")
        return [*lines, heading, *("   " + line for line in body)]

    def end(self) -> list[str]:
        """What tries without an end have begun to print."""
        return self._lines.end_all()

    def _named(self, piece: JobOutput) -> str:
        path = self._path(piece.job_id) or one_line(piece.name)
        return f"{path}, try {piece.try_number}"

    def _path(self, job_id: str) -> str | None:
        if self._root is not self._live.root:
            self._root, self._paths = self._live.root, job_paths(self._live)
        return self._paths.get(job_id)


def job_paths(live: LiveRequest) -> dict[str, str]:
    """For each job that does something, the names of its sequences and its own."""
    paths: dict[str, str] = {}

    def walk(sequence: LiveSequence, above: str) -> None:
        for child in sequence.children:
            job = child.begin if isinstance(child, LiveSequence) else child
            path = above + one_line(f"{job.name} {job.label}" if job.label else job.name)
            if isinstance(child, LiveSequence):
                walk(child, path + " / ")
            else:
                paths[job.id] = path

    walk(live.root, "")
    return paths
