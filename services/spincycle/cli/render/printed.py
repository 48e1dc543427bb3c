"""What tries print: every byte once, from the live stream and then from the journal."""

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

_COMPARED = 512
"""Bytes told last that must stand in the journal before what is taken for new."""

_CUT = re.compile(rb"\n\[\.\.\. (at least )?(\d+) bytes cut \.\.\.\]\n")


@dataclass(slots=True)
class _Told:
    """How far one stream of one try was told.

    Attributes:
        end: bytes that the try had printed up to there.
        last: the last of them.
        held: bytes after them that begin a character.
    """

    end: int = 0
    last: bytes = b""
    held: bytes = b""


class OutputDeduplicator:
    """Drops what was told before: after a reconnection, and in the journal."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, int], dict[int, _Told]] = {}
        self._ended: set[tuple[str, int]] = set()

    def new(self, piece: JobOutput) -> JobOutput | None:
        """What of the piece was not told, in whole characters; None if that is nothing."""
        attempt = (piece.job_id, piece.try_number)
        if attempt in self._ended:
            return None
        told = self._told.setdefault(attempt, {}).setdefault(piece.stream, _Told())
        known = told.end + len(told.held)
        if piece.offset + len(piece.data) <= known:
            return None
        if piece.offset > known:
            begin, data = piece.offset, piece.data
        else:
            begin, data = told.end, told.held + piece.data[known - piece.offset :]
        whole = _whole_characters(data)
        told.held = data[whole:]
        return self._tell(piece, told, begin, data[:whole])

    def _tell(self, like: JobOutput, told: _Told, begin: int, data: bytes) -> JobOutput | None:
        told.last = data[-_COMPARED:] if begin != told.end else (told.last + data)[-_COMPARED:]
        told.end = begin + len(data)
        if not data:
            return None
        piece = JobOutput()
        piece.CopyFrom(like)
        piece.offset, piece.data = begin, data
        return piece

    def rest(self, entry: job_log_pb2.JobLog, *, whole: bool = False) -> list[JobOutput]:
        """What a try has printed and was not told, now that it has ended.

        If nothing was told of it, that is nothing, as all of it is in the entry; with `whole`
        it is everything.
        """
        attempt = (entry.job_id, entry.try_number)
        self._ended.add(attempt)
        streams = self._told.pop(attempt, None)
        if streams is None and not whole:
            return []
        pieces: list[JobOutput] = []
        for stream, text in ((STDOUT, entry.stdout), (STDERR, entry.stderr)):
            told = (streams or {}).get(stream, _Told())
            begin, data = _after(told, text.encode())
            like = JobOutput(
                request_id=entry.request_id, job_id=entry.job_id, name=entry.name, stream=stream
            )
            like.try_number = attempt[1]
            if piece := self._tell(like, told, begin, data):
                pieces.append(piece)
        return pieces


def _after(told: _Told, journal: bytes) -> tuple[int, bytes]:
    """What stands in the journal after what was told, and its offset.

    A job may leave in the journal something else than what it printed, and a try that was
    lost may be made again: what does not contain what was told is new from its beginning.
    """
    if not told.last:
        return told.end, journal
    if journal[: told.end].endswith(told.last) and len(journal) >= told.end:
        return told.end, journal[told.end :]
    cut = _CUT.search(journal)
    if cut is not None:
        tail_begin = cut.start() + int(cut[2])
        tail, place = journal[cut.end() :], told.end - tail_begin
        if place <= 0:
            return told.end, journal[cut.start() + 1 :]
        if place <= len(tail) and tail[:place].endswith(told.last[-place:]):
            return told.end, tail[place:]
    # Bytes that are no text are more in the journal, and what was hidden may be fewer.
    last = told.last.decode(errors="replace").encode()
    place = journal.find(last, max(told.end - len(told.last), 0))
    if place < 0:
        place = journal.rfind(last)
    return told.end, journal[place + len(last) :] if place >= 0 else journal


def _whole_characters(data: bytes) -> int:
    """Length of `data` without the beginning of a character at its end."""
    for back in range(1, min(len(data), 3) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        needed = 2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4
        return len(data) - back if byte >= 0xC0 and needed > back else len(data)
    return len(data)
