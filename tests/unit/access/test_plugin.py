"""A plug-in decides within its deadline, and access is refused if it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint

import pytest

from spincycle.access.caller import SERVICE, Caller
from spincycle.access.credentials import Credentials
from spincycle.access.plugin import (
    ENTRY_POINTS,
    Denied,
    Plugin,
    PluginFailed,
    RequestAccess,
    load_plugin,
)
from spincycle.errors import AuthenticationUnavailable, NotAuthenticated
from spincycle.model.operation import Operation
from spincycle.runtime.config import ConfigError

CALLER = Caller("alice", ("ops",))
HERE = "tests.unit.access.test_plugin"


class ByHeader:
    """Knows one person by a header."""

    async def authenticate(self, metadata: Mapping[str, Sequence[str]], peer: str) -> Caller | None:
        match metadata.get("x-badge"):
            case None:
                return None
            case ["slow"]:
                await asyncio.Event().wait()
            case ["broken"]:
                raise KeyError("badge")
            case ["service"]:
                return Caller("job-runner", authenticator=SERVICE)
            case ["text"]:
                return "alice"  # type: ignore[return-value] # plug-ins are not type-checked
            case ["7"]:
                return Caller("alice", ("ops",), peer=peer)
        raise Denied("the badge is not known")

    async def authorize(
        self, caller: Caller, operation: Operation, request: RequestAccess | None
    ) -> None:
        if request is None:
            await asyncio.Event().wait()
        elif operation is Operation.STOP:
            raise Denied("nothing is stopped on a Friday")
        elif operation is Operation.SKIP:
            raise ZeroDivisionError


class WithoutAuthorize:
    async def authenticate(self) -> None: ...


def unable() -> None:
    raise RuntimeError("no server")


def badge(text: str) -> Credentials:
    return Credentials({"x-badge": [text]}, peer="192.0.2.7:5")


@pytest.fixture
def plugin() -> Plugin:
    return Plugin(ByHeader(), deadline=0.01)


async def test_a_plugin_authenticates_by_headers(plugin: Plugin) -> None:
    assert await plugin.authenticate(Credentials()) is None
    caller = await plugin.authenticate(badge("7"))
    assert caller == Caller("alice", ("ops",), "plugin", "192.0.2.7:5")


async def test_a_plugin_cannot_return_a_service(plugin: Plugin) -> None:
    caller = await plugin.authenticate(badge("service"))
    assert caller
    assert not caller.is_service


async def test_a_plugin_refuses_a_credential(plugin: Plugin) -> None:
    with pytest.raises(NotAuthenticated, match="the badge is not known"):
        await plugin.authenticate(badge("8"))


@pytest.mark.parametrize("how", ["slow", "broken", "text"])
async def test_a_plugin_that_fails_authenticates_nobody(plugin: Plugin, how: str) -> None:
    with pytest.raises(AuthenticationUnavailable, match="plug-in"):
        await plugin.authenticate(badge(how))


async def test_a_plugin_denies_an_operation(plugin: Plugin) -> None:
    request = RequestAccess("restart-host")
    await plugin.authorize(CALLER, Operation.START, request)
    with pytest.raises(Denied, match="Friday"):
        await plugin.authorize(CALLER, Operation.STOP, request)


async def test_a_plugin_that_fails_allows_nothing(plugin: Plugin) -> None:
    with pytest.raises(PluginFailed):
        await plugin.authorize(CALLER, Operation.SKIP, RequestAccess("restart-host"))
    with pytest.raises(PluginFailed, match="within"):
        await plugin.authorize(CALLER, Operation.ADMIN, None)


async def test_a_call_that_is_cancelled_cancels_the_plugin() -> None:
    asking = asyncio.create_task(Plugin(ByHeader()).authenticate(badge("slow")))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


def test_the_named_plugin_is_loaded() -> None:
    installed = [EntryPoint("badges", f"{HERE}:ByHeader", ENTRY_POINTS)]
    assert isinstance(load_plugin("badges", installed), Plugin)
    assert load_plugin("", installed) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing", "0 installed distributions"),
        ("twice", "2 installed distributions"),
        ("partial", "no method authorize"),
        ("unable", "RuntimeError: no server"),
        ("gone", "cannot make the plug-in"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_prevents_the_start(name: str, problem: str) -> None:
    values = {
        "twice": "ByHeader",
        "partial": "WithoutAuthorize",
        "unable": "unable",
        "gone": "NoSuchName",
    }
    installed = [
        EntryPoint(name, f"{HERE}:{value}", ENTRY_POINTS) for name, value in values.items()
    ]
    installed.append(EntryPoint("twice", f"{HERE}:ByHeader", ENTRY_POINTS))

    with pytest.raises(ConfigError, match=problem):
        load_plugin(name, installed)
