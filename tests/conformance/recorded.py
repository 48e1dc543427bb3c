"""Recordings of the original, and what of an answer must be as it was there.

A recording is one call and its answer. Ids, times and counts of jobs differ from one run to
the next; the original's chains also have jobs around each sequence and batch, which do nothing.
The original's jobs have no path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "recordings"

_REQUEST_ID = re.compile(r"\b[0-9a-v]{20}\b")
_JOB_ID = re.compile(r"[0-9A-Za-z]{4}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z")
# A runner of `spincycle dev` listens on a Unix socket, which has no URL.
_URL = re.compile(r"http://[0-9.]+:\d+|unix:/[^ ]+")
_COUNTS = frozenset({"totalJobs", "finishedJobs"})
_FIRST_NANOSECOND = 10**18


@dataclass(frozen=True, slots=True)
class Recording:
    """One call of the original's API and how it was answered."""

    case: str
    server: str
    method: str
    path: str
    content: str | None
    headers: Mapping[str, str]
    status: int
    answered: Mapping[str, str]
    body: str


def recordings() -> list[Recording]:
    """All of them, by name."""
    found = []
    for file in sorted(FOLDER.glob("*.json")):
        recording = json.loads(file.read_text())
        request, answer = recording["request"], recording["response"]
        found.append(
            Recording(
                recording["case"],
                request["server"],
                request["method"],
                request["path"],
                request["body"],
                request["headers"],
                answer["status"],
                answer["headers"],
                answer["body"],
            )
        )
    return found


def likeness(body: str) -> Any:
    """What of a body must be the same in every run; keys keep their order."""
    if not body.startswith(("{", "[", "null")):
        return body
    return _alike(json.loads(body, object_pairs_hook=_Members), "")


class _Members(list[tuple[str, Any]]):
    """An object as it was written."""


def _alike(value: Any, key: str) -> Any:
    if isinstance(value, _Members):
        if [name for name, _ in value][:2] == ["requestId", "jobs"]:
            return _chain(dict(value))
        if key == "requests":
            return [_alike(inner, "") for _, inner in value]
        return _members(value)
    if isinstance(value, list):
        return _listed([_alike(inner, key) for inner in value])
    if isinstance(value, str):
        return _text(value, key)
    if key in _COUNTS:
        return "<count>"
    if isinstance(value, int) and value > _FIRST_NANOSECOND:
        return "<nanoseconds>"
    return value


def _members(members: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(name, _alike(inner, name)) for name, inner in members if name != "path"]


def _text(value: str, key: str) -> str:
    if key in {"jobId", "id", "sequenceId"} and _JOB_ID.fullmatch(value):
        return "<job>"
    for pattern, name in ((_TIME, "<time>"), (_URL, "<url>")):
        if pattern.fullmatch(value):
            return name
    return _REQUEST_ID.sub("<request>", value)


def _listed(elements: list[Any]) -> list[Any]:
    """Requests that look the same once; entries and statuses of jobs by name and try."""
    if elements and isinstance(elements[0], list) and "createdAt" in dict(elements[0]):
        return [one for at, one in enumerate(elements) if one not in elements[:at]]
    if elements and isinstance(elements[0], list) and dict(elements[0]).get("jobId"):
        kept = [entry for entry in elements if not _template(dict(entry)["name"])]
        return sorted(kept, key=lambda entry: (dict(entry)["name"], dict(entry)["try"]))
    return elements


def _chain(chain: dict[str, Any]) -> Any:
    """Its keys, its jobs, those that look the same once, and which comes after which."""
    jobs = {job_id: dict(job) for job_id, job in chain["jobs"]}
    following = dict(chain["adjacencyList"])
    kept = {job_id for job_id, job in jobs.items() if not _template(job["name"])}
    after = {
        (jobs[job_id]["name"], jobs[later]["name"])
        for job_id in kept
        for later in _reached(job_id, following)
        if later in kept and jobs[later]["name"] != jobs[job_id]["name"]
    }
    shown = [_members(job) for job_id, job in chain["jobs"] if job_id in kept]
    alike = [job for at, job in enumerate(shown) if job not in shown[:at]]
    return list(chain), sorted(alike, key=str), sorted(after)


def _reached(job_id: str, following: Mapping[str, Iterable[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = list(following.get(job_id, ()))
    while waiting:
        later = waiting.pop()
        if later not in reached:
            reached.add(later)
            waiting.extend(following.get(later, ()))
    return reached


def _template(name: str) -> bool:
    """Whether a job does nothing and stands around a called sequence or a batch of `each`."""
    return bool(re.fullmatch(r"(?!request_|sequence_|conditional_|noop_).+_(begin|end)", name))
