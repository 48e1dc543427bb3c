"""Spinc against recordings of the original: same commands, same columns, same exit codes.

Intended differences are listed here only.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from tests.cli_samples import FAIL, RUNNING, request, spec_arg
from tests.integration.cli import recording
from tests.integration.cli.conftest import Ran, Tty
from tests.integration.cli.fake_services import FakeServices, Memory
from tests.integration.cli.recording import Recording

from spincycle.v1 import spec_pb2

Spinc = Callable[..., Ran]

REQUESTS = ("choose", "fail", "fan-each", "greet", "one-noop", "sleeper", "test")
PRINTED = [
    *recording.names("no-args", "help-request", "info", "log", "ps", "running", "status"),
    "find",
    "find-limit",
    "stop-running",
]
_SPAN = re.compile(r"\b(?:\d+h)?(?:\d+m)?\d+s\b")


def without_spans(text: str) -> str:
    """Replace every duration, and the blanks that pad it, by a placeholder."""
    return re.sub(r"<span> +", "<span> ", _SPAN.sub("<span>", text))


@pytest.fixture
def recorded(services: FakeServices) -> Callable[[str], Recording]:
    """Load a recording and give the services the state that the original had."""

    def prepare(name: str) -> Recording:
        one = recording.read(name)

        def fill(memory: Memory) -> None:
            memory.specs = [spec_pb2.RequestSpec(name=name) for name in REQUESTS]
            greet = memory.specs[REQUESTS.index("greet")]
            greet.args.append(spec_arg("name", "Who to greet"))
            greet.args.append(spec_arg("greeting", "Word to greet with", "hello"))
            memory.requests.clear()
            command, *args = one.args or ["listing"]
            if command == "find":
                memory.requests |= {r.id: r for r in recording.requests_found(one.out)}
            elif command in {"status", "info"} and one.code == 0:
                memory.requests[args[0]] = recording.request_shown(args[0], one.out)
            elif command == "log":
                memory.requests[args[0]] = request(id=args[0])
                memory.entries[args[0]] = recording.entries_logged(args[0], one.out)
            elif command == "ps":
                jobs, requests = recording.jobs_running(one.out)
                memory.running.status.jobs.extend(jobs)
                for each in requests:
                    memory.running.status.requests[each.id].CopyFrom(each)
                memory.running.has_running_requests = True
            elif command == "stop" and one.code == 0:
                memory.requests[args[0]] = request(id=args[0], state=RUNNING)
            elif command == "running":
                state = RUNNING if one.code == 0 else FAIL
                memory.requests[args[0]] = request(id=args[0], state=state)
            elif found := re.search(r"started \S+ request (\S+)", one.out):
                memory.next_id = found[1]

        services.update(fill)
        return one

    return prepare


@pytest.mark.parametrize("way", ["grpc", "rest"])
@pytest.mark.parametrize(
    "name",
    PRINTED,
)
def test_the_same_data_is_printed_as_the_original_printed_it(
    services: FakeServices,
    spinc: Spinc,
    recorded: Callable[[str], Recording],
    name: str,
    way: str,
) -> None:
    one = recorded(name)
    address = services.gateway if way == "rest" else services.address

    ran = spinc(*one.args, SPINC_ADDR=address)

    out = ran.out.replace(f"address: {address}", f"address: {one.address}")
    assert without_spans(out) == without_spans(one.out)
    assert (ran.code, ran.err) == (one.code, "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stop-not-found", "request vvvvvvvvvvvvvvvvvvvv not found"),
        ("find-states-bad", "invalid state 'bogus'"),
        ("unknown-command", "unknown command: bogus"),
        ("connection-refused", "the gateway at http://127.0.0.1:1 cannot be reached"),
    ],
)
def test_errors_have_the_exit_code_of_the_original(
    services: FakeServices,
    spinc: Spinc,
    recorded: Callable[[str], Recording],
    name: str,
    expected: str,
) -> None:
    """Errors have other texts: `error: ` and what is wrong, then what to do."""
    one = recorded(name)
    address = one.address if name == "connection-refused" else services.gateway

    ran = spinc(*one.args, SPINC_ADDR=address)

    assert (ran.code, ran.out) == (one.code, one.out)
    assert ran.err.startswith(f"error: {expected}")


def test_start_prints_as_the_original_without_prompting_on_a_pipe(
    spinc: Spinc, recorded: Callable[[str], Recording]
) -> None:
    one = recorded("start-greet-args")

    ran = spinc(*one.args)

    question = "Enter 'ok' to start, or ctrl-c to abort: "
    assert (ran.code, ran.out) == (one.code, one.out.replace(question, ""))


def test_start_prompts_as_the_original_on_a_terminal(
    tty: Callable[..., Tty], recorded: Callable[[str], Recording]
) -> None:
    one = recorded("start-greet-prompts")
    spinc = tty(*one.args)

    for question, reply in zip(("name=", "greeting=", "abort: "), ("zed", "", "ok"), strict=True):
        spinc.see(question)
        spinc.type(reply)

    assert spinc.end() == one.code
    # The terminal shows what was typed; a recording of pipes does not.
    typed = one.out.replace("name=\n", "name=zed\n\n").replace("greeting=g", "greeting=\ng")
    typed = typed.replace("abort: ", "abort: ok\n").replace("\n\n\n", "\n\n")
    assert spinc.screen.text == typed.rstrip() + "\n"


def test_the_help_lists_every_option_and_command_of_the_original_in_its_words(
    spinc: Spinc, recorded: Callable[[str], Recording]
) -> None:
    one = recorded("help")
    # The address is that of gRPC here.
    otherwise = {"--addr": "Request Manager address (default: 127.0.0.1:32310)"}

    ran = spinc(*one.args)

    assert ran.out.splitlines()[0] == one.out.splitlines()[0]
    said = {line.split()[0].rstrip(","): " ".join(line.split()) for line in table_lines(ran.out)}
    for line in table_lines(one.out):
        name = line.split()[0]
        expected = otherwise.get(name) or re.split(r"  +", line.strip())[-1]
        assert said[name].endswith(expected), name


def table_lines(usage: str) -> list[str]:
    return [line for line in usage.splitlines() if line.startswith("  ")]


def test_the_help_of_a_command_and_the_version_exist(
    spinc: Spinc, recorded: Callable[[str], Recording]
) -> None:
    assert spinc(*recorded("help-start").args).out.startswith("Usage: spinc start")
    version = recorded("version")
    assert re.fullmatch(r"spinc \d+\.\d+\.\d+\n", spinc(*version.args).out)


def test_no_recording_is_left_out() -> None:
    held = recording.names(
        "no-args",
        "find",
        "help",
        "info",
        "log",
        "ps",
        "running",
        "status",
        "stop",
        "version",
        "start-greet",
        "unknown-command",
        "connection-refused",
    )

    assert held == recording.names("")
