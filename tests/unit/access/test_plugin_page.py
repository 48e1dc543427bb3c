"""The plug-in of docs/how-to/access-plugin.md works as the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from spincycle.access.caller import Caller
from spincycle.access.credentials import Credentials
from spincycle.access.plugin import Denied, Plugin, RequestAccess
from spincycle.errors import NotAuthenticated
from spincycle.model.operation import Operation

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "access-plugin.md"


@pytest.fixture
def plugin() -> Plugin:
    source = re.search(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert source
    names: dict[str, Any] = {}
    exec(compile(source[1], str(PAGE), "exec"), names)
    return Plugin(names["Badges"]())


async def test_the_plugin_authenticates_by_its_header(plugin: Plugin) -> None:
    caller = await plugin.authenticate(Credentials({"x-badge": ["7"]}))

    assert caller == Caller("alice", ("ops",), "plugin")
    assert await plugin.authenticate(Credentials()) is None
    for badges in (["8"], ["7", "7"]):
        with pytest.raises(NotAuthenticated, match="the badge is not known"):
            await plugin.authenticate(Credentials({"x-badge": badges}))


async def test_the_plugin_denies_one_host(plugin: Plugin) -> None:
    caller = Caller("alice")
    await plugin.authorize(caller, Operation.START, None)
    await plugin.authorize(
        caller, Operation.START, RequestAccess("restart-host", args={"host": "a"})
    )
    with pytest.raises(Denied, match="never restarted"):
        await plugin.authorize(
            caller, Operation.START, RequestAccess("restart-host", args={"host": "db1"})
        )
