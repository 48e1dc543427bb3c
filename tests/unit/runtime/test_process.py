from __future__ import annotations

import pytest

from spincycle.runtime import process
from spincycle.runtime.config import ConfigError
from spincycle.runtime.process import supervise


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "RESTART_DELAY", 0)


async def test_a_background_task_that_fails_unexpectedly_is_restarted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    starts: list[int] = []

    async def work() -> None:
        starts.append(len(starts))
        if len(starts) < 3:
            raise ZeroDivisionError("test")

    await supervise("counting", work)

    assert starts == [0, 1, 2]
    assert "ZeroDivisionError: test" in capsys.readouterr().out


async def test_a_background_task_with_an_invalid_configuration_is_not_restarted() -> None:
    async def work() -> None:
        raise ConfigError("test")

    with pytest.raises(ConfigError):
        await supervise("counting", work)
