"""The output of a watched request's jobs, each line prefixed with the job's path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.cli.live_request import LiveRequest, LiveSequence
from spincycle.cli.render.job_path import job_title, shorten_path
from spincycle.cli.render.output_lines import OutputLines, prefix_width
from spincycle.cli.render.text import one_line, printable
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.cli.render.terminal import Terminal
    from spincycle.cli.transport.output_deduplicator import JobOutput
    from spincycle.v1 import job_log_pb2


class JobOutputView:
    """Turns pieces of output and journal entries into lines."""

    def __init__(self, live: LiveRequest, terminal: Terminal) -> None:
        self._live = live
        self._terminal = terminal
        self._lines = OutputLines(self._name_of, terminal)
        self._paths: dict[str, str] = {}
        self._root: LiveSequence | None = None

    def output(self, piece: JobOutput) -> list[str]:
        """Return the lines completed by a piece of output."""
        return self._lines.add(piece)

    def entry(self, entry: job_log_pb2.JobLog) -> list[str]:
        """Return the undelivered output of an ended try below a heading.

        Empty if the try printed nothing.
        """
        attempt = entry.try_number
        lines, delivered = self._lines.end(entry.job_id, attempt)
        texts = [] if delivered else [entry.stdout, entry.stderr]
        texts = [text for text in (*texts, entry.error) if text]
        path = self.path(entry.job_id)
        if not delivered and (path is None or not texts):
            return lines
        heading = f"-- {path or job_title(entry)}, try {attempt}: {State(entry.state).name}"
        body = [line for text in texts for line in text.rstrip("\n").split("\n")]
        if self._terminal.is_screen:
            body = [printable(line) for line in body]
        heading = self._terminal.styled(heading, "bold")
        return [*lines, heading, *("   " + line for line in body)]

    def end(self) -> list[str]:
        """Return the incomplete lines of tries without an entry."""
        return self._lines.end_all()

    def _name_of(self, piece: JobOutput) -> str:
        path = self.path(piece.job_id) or job_title(piece)
        width = prefix_width(self._terminal)
        shown = path if width is None else shorten_path(path, width)
        return f"{shown}, try {piece.try_number}"

    def path(self, job_id: str) -> str | None:
        """Return the path of a job; None if it is structural or not in the chain."""
        if self._root is not self._live.root:
            self._root, self._paths = self._live.root, job_paths(self._live)
        return self._paths.get(job_id)


def job_paths(live: LiveRequest) -> dict[str, str]:
    """Return the path of each job without the structural ones.

    In a chain that was stored without paths, they are made of the titles in the tree.
    """
    paths: dict[str, str] = {}

    def walk(sequence: LiveSequence, above: str) -> None:
        for child in sequence.children:
            job = child.begin if isinstance(child, LiveSequence) else child
            path = above + one_line(f"{job.name} {job.label}" if job.label else job.name)
            if isinstance(child, LiveSequence):
                walk(child, path + " / ")
            else:
                paths[job.id] = one_line(job.path) or path

    walk(live.root, "")
    return paths
