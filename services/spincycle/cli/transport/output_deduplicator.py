"""Job output, each byte once: from the live stream, then from the journal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.v1 import job_output_pb2

if TYPE_CHECKING:
    from spincycle.v1 import job_log_pb2

JobOutput = job_output_pb2.JobOutput
STDOUT = job_output_pb2.OUTPUT_STREAM_STDOUT
STDERR = job_output_pb2.OUTPUT_STREAM_STDERR

_MATCHED_BYTES = 512
"""Bytes before the read position that must match the journal for it to continue the stream."""

_CUT = re.compile(rb"\n\[\.\.\. (at least )?(\d+) bytes cut \.\.\.\]\n")


@dataclass(slots=True)
class _Position:
    """How far one stream of one try has been delivered.

    Attributes:
        end: offset of the next byte, counted in what the try printed.
        last: the bytes before `end`, at most _MATCHED_BYTES.
        held: bytes after `end` that are the start of an incomplete character.
    """

    end: int = 0
    last: bytes = b""
    held: bytes = b""


class OutputDeduplicator:
    """Drops output that was already delivered, after a reconnect and from journal entries."""

    def __init__(self) -> None:
        self._positions: dict[tuple[str, int], dict[int, _Position]] = {}
        self._ended: set[tuple[str, int]] = set()

    def unseen(self, piece: JobOutput) -> JobOutput | None:
        """Return the part of the piece not yet delivered, in whole characters; None if empty."""
        attempt = (piece.job_id, piece.try_number)
        if attempt in self._ended:
            return None
        position = self._positions.setdefault(attempt, {}).setdefault(piece.stream, _Position())
        known = position.end + len(position.held)
        if piece.offset + len(piece.data) <= known:
            return None
        if piece.offset > known:
            begin, data = piece.offset, piece.data
        else:
            begin, data = position.end, position.held + piece.data[known - piece.offset :]
        whole = _whole_characters(data)
        position.held = data[whole:]
        return self._deliver(piece, position, begin, data[:whole])

    def _deliver(
        self, like: JobOutput, position: _Position, begin: int, data: bytes
    ) -> JobOutput | None:
        continues = begin == position.end
        position.last = ((position.last if continues else b"") + data)[-_MATCHED_BYTES:]
        position.end = begin + len(data)
        if not data:
            return None
        piece = JobOutput()
        piece.CopyFrom(like)
        piece.offset, piece.data = begin, data
        return piece

    def remaining(self, entry: job_log_pb2.JobLog, *, whole: bool = False) -> list[JobOutput]:
        """Return the output in the entry of an ended try that was not delivered.

        Empty for a try of which nothing was delivered, as its entry has all of it; with `whole`
        all of its output is returned.
        """
        attempt = (entry.job_id, entry.try_number)
        self._ended.add(attempt)
        streams = self._positions.pop(attempt, None)
        if streams is None and not whole:
            return []
        pieces: list[JobOutput] = []
        for stream, text in ((STDOUT, entry.stdout), (STDERR, entry.stderr)):
            position = (streams or {}).get(stream, _Position())
            begin, data = _after(position, text.encode())
            like = JobOutput(
                request_id=entry.request_id,
                job_id=entry.job_id,
                name=entry.name,
                path=entry.path,
                stream=stream,
            )
            like.try_number = attempt[1]
            if piece := self._deliver(like, position, begin, data):
                pieces.append(piece)
        return pieces


def _after(position: _Position, journal: bytes) -> tuple[int, bytes]:
    """Return the part of the journal after the delivered output, and its offset.

    The journal may differ from the live output: a job can store other output than it printed,
    and a lost try can run again. A journal that does not contain the delivered output is
    returned from its beginning.
    """
    if not position.last:
        return position.end, journal
    if journal[: position.end].endswith(position.last) and len(journal) >= position.end:
        return position.end, journal[position.end :]
    cut = _CUT.search(journal)
    if cut is not None:
        tail_begin = cut.start() + int(cut[2])
        tail, place = journal[cut.end() :], position.end - tail_begin
        if place <= 0:
            return position.end, journal[cut.start() + 1 :]
        if place <= len(tail) and tail[:place].endswith(position.last[-place:]):
            return position.end, tail[place:]
    # Bytes that are not UTF-8 are longer in the journal, and redacted ones may be shorter.
    last = position.last.decode(errors="replace").encode()
    place = journal.find(last, max(position.end - len(position.last), 0))
    if place < 0:
        place = journal.rfind(last)
    return position.end, journal[place + len(last) :] if place >= 0 else journal


def _whole_characters(data: bytes) -> int:
    """Return the length of `data` without an incomplete character at its end."""
    for back in range(1, min(len(data), 3) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        needed = 2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4
        return len(data) - back if byte >= 0xC0 and needed > back else len(data)
    return len(data)
