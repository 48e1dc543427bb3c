"""The message after the start of a stack: its addresses, and commands to try."""

from __future__ import annotations

import os
import shlex
import shutil
import sysconfig
from pathlib import Path

from spincycle.dev.services import Ports
from spincycle.dev.sockets import LINK
from spincycle.dev.stack import Stack

_LIST = "spincycle.v1.SpecService/ListSpecs"


def addresses(stack: Stack) -> list[tuple[str, str]]:
    """Return name and address of each listener."""
    return [
        ("REST", f"{stack.gateway}/api/v1/"),
        ("request-manager", f"{stack.request_manager}  (gRPC)"),
        ("job-log", f"{stack.job_log}  (gRPC)"),
        ("internal", f"{stack.home / LINK}/  (gRPC over Unix sockets)"),
        ("PostgreSQL", stack.dsn if stack.postgres else "as given by --postgres-dsn"),
    ]


def examples(stack: Stack) -> list[str]:
    """Return commands to try, for the current working directory."""
    manager = stack.request_manager
    spinc = _spinc(stack)
    examples = ["start test", "start rolling-restart hosts=web1,web2,web3"]
    return [
        *(f"{spinc} {words}" for words in examples if stack.has_examples),
        *_as_people(stack),
        *([] if stack.has_examples else [spinc]),
        f"curl -s {stack.gateway}/api/v1/request-list",
        f"{program('grpcurl')} -plaintext {manager} list",
        f"{program('buf')} curl --protocol grpc --http2-prior-knowledge http://{manager}/{_LIST}",
    ]


def _as_people(stack: Stack) -> list[str]:
    if stack.people is None:
        return []
    spinc = f"{program('spinc')} --config {shlex.quote(str(stack.people.spinc_config))}"
    return [f"{spinc} --context {shlex.quote(name)} whoami" for name in stack.people_names]


def program(name: str) -> str:
    """Return the command for a program of this installation from the working directory."""
    scripts = Path(sysconfig.get_path("scripts"))
    try:
        return str((scripts / name).relative_to(Path.cwd()))
    except ValueError:
        on_path = shutil.which(name)
        return name if on_path and Path(on_path).parent == scripts else str(scripts / name)


def _spinc(stack: Stack) -> str:
    default = Ports()
    variables = []
    if stack.ports.request_manager != default.request_manager:
        variables.append(f"SPINC_ADDR={stack.request_manager}")
    if stack.ports.job_log != default.job_log:
        variables.append(f"SPINC_JOB_LOG={stack.job_log}")
    return " ".join([*variables, program("spinc")])


def welcome(stack: Stack) -> str:
    """Return the message."""
    address_lines = "\n".join(f"  {name:<16} {address}" for name, address in addresses(stack))
    example_lines = "\n".join(f"  {line}" for line in examples(stack))
    return (
        f"Spin Cycle is up: process {os.getpid()}, files in {stack.home}\n\n"
        f"{address_lines}\n\nTry:\n{example_lines}\n"
    )
