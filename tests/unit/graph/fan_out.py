"""A sequence of many equal jobs, and the memory of the process that builds it."""

from __future__ import annotations

from pathlib import Path

FAN_OUT = """
sequences:
  r:
    request: true
    args: {required: [{name: xs}, {name: what}]}
    nodes:
      one: {category: job, type: t, each: ["xs:x"], args: [{expected: what, given: what}]}
"""


def peak() -> int:
    """Return the peak resident memory of this process in bytes."""
    status = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
