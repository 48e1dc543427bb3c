"""Recordings of the original's output, and the data reconstructed from them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.cli_samples import text_arg

from spincycle.model.state import State
from spincycle.v1 import job_log_pb2, request_pb2, status_pb2

PLACE = Path(__file__).parent / "recorded"

_SECTIONS = re.compile(r"^\[(exit code|stdin|stdout|stderr)\]", re.MULTILINE)
_FIND = (20, 40, 16, 9, 23, 23, 23)
_PS = (20, 20, 4, 9, 8, 3, 22)
_PS_GAPS = (1, 1, 2, 1, 1, 1, 1)


@dataclass(frozen=True)
class Recording:
    """One call of the original.

    Attributes:
        name: name of the recording.
        args: what followed `spinc` on the command line.
        address: where its request manager was.
    """

    name: str
    args: list[str]
    address: str
    code: int
    stdin: str
    out: str
    err: str


def read(name: str) -> Recording:
    """Load a recording by name."""
    text = (PLACE / f"{name}.txt").read_text()
    head, *parts = _SECTIONS.split(text)
    found = dict(zip(parts[::2], parts[1::2], strict=True))
    address, command = head.splitlines()
    sections = {key: value.removeprefix("\n") for key, value in found.items()}
    return Recording(
        name,
        shlex.split(command)[2:],
        address.removeprefix("# SPINC_ADDR="),
        int(found["exit code"]),
        sections["stdin"],
        sections["stdout"],
        sections["stderr"],
    )


def names(*prefixes: str) -> list[str]:
    """Return the names of recordings with these prefixes."""
    return sorted(path.stem for path in PLACE.glob("*.txt") if path.stem.startswith(prefixes))


def requests_found(out: str) -> list[request_pb2.Request]:
    """Return the requests in a table of `find`."""
    requests: list[request_pb2.Request] = []
    for line in out.splitlines()[1:]:
        cells, rest = _cells(line, _FIND, (1,) * len(_FIND))
        finished, total = rest.split(" / ")
        request = request_pb2.Request(
            id=cells[0],
            type=cells[1],
            user=cells[2],
            state=State[cells[3]].value,  # type: ignore[arg-type] # same numbers
            finished_jobs=int(finished),
            total_jobs=int(total),
        )
        for field, text in zip(("created_at", "started_at", "finished_at"), cells[4:], strict=True):
            if text != "N/A":
                moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
                getattr(request, field).FromSeconds(round(moment.timestamp()))
        requests.append(request)
    return requests


def request_shown(request_id: str, out: str) -> request_pb2.Request:
    """Return the request in the output of `status` or `info`, without durations."""
    fields = dict(line.lstrip().split(": ", 1) for line in out.splitlines())
    finished, total = 0, 0
    if "jobs" in fields:
        total, finished = map(int, re.findall(r"\d+", fields["jobs"]))
    else:
        finished, total = int(fields["progress"].rstrip("%")), 100
    request = request_pb2.Request(
        id=request_id,
        type=fields["request"],
        user=fields["caller"],
        state=State[fields["state"]].value,  # type: ignore[arg-type] # same numbers
        finished_jobs=finished,
        total_jobs=total,
    )
    for field in ("created", "started", "finished"):
        moment = fields.get(field, "2026-11-23 22:34:52 UTC")[:23]
        stamp = datetime.strptime(moment, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
        getattr(request, f"{field}_at").FromSeconds(round(stamp.timestamp()))
    request.args.extend(text_arg(*word.split("=", 1)) for word in fields["args"].split())
    return request


def jobs_running(out: str) -> tuple[list[status_pb2.JobStatus], list[request_pb2.Request]]:
    """Return the jobs in the output of `ps`, and their requests."""
    jobs: list[status_pb2.JobStatus] = []
    requests: dict[str, request_pb2.Request] = {}
    for line in out.splitlines()[1:]:
        cells, rest = _cells(line, _PS, _PS_GAPS)
        requests[cells[1]] = request_pb2.Request(
            id=cells[1],
            type=cells[0],
            user=cells[3],
            finished_jobs=int(cells[2].rstrip("%")),
            total_jobs=100,
        )
        jobs.append(
            status_pb2.JobStatus(
                request_id=cells[1],
                job_id="aaaa",
                name=cells[6],
                status=rest,
                try_number=int(cells[5]),
            )
        )
        jobs[-1].started_at.GetCurrentTime()
    return jobs, list(requests.values())


def entries_logged(request_id: str, out: str) -> list[job_log_pb2.JobLog]:
    """Return the journal entries in the output of `log`."""
    entries: list[job_log_pb2.JobLog] = []
    for place, block in enumerate(re.split(r"^--\n", out, flags=re.MULTILINE), 1):
        head, stdout, stderr = re.split(r"^std(?:out|err):   ?", block, flags=re.MULTILINE)
        fields = dict(re.findall(r"^([a-z ]+): *(.*)$", head, flags=re.MULTILINE))
        entry = job_log_pb2.JobLog(
            request_id=request_id,
            job_id=fields["job id"],
            name=fields["job name"],
            type=fields["job type"],
            state=State[fields["state"]].value,  # type: ignore[arg-type] # same numbers
            exit=int(fields["exit"]),
            error=fields["error"],
            stdout=stdout.removesuffix("\n"),
            stderr=stderr.removesuffix("\n"),
            position=place,
            try_number=int(fields["try"]),
        )
        for field in ("started", "finished"):
            whole, _, fraction = fields[field].removesuffix(" +0000 UTC").partition(".")
            moment = datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
            stamp = getattr(entry, f"{field}_at")
            stamp.FromSeconds(round(moment.timestamp()))
            stamp.nanos = int(fraction.ljust(9, "0"))
        entries.append(entry)
    return entries


def _cells(line: str, widths: tuple[int, ...], gaps: tuple[int, ...]) -> tuple[list[str], str]:
    cells: list[str] = []
    for width, gap in zip(widths, gaps, strict=True):
        cells.append(line[:width].strip())
        assert not line[width : width + gap].strip(), line
        line = line[width + gap :]
    return cells, line
