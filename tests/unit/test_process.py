from __future__ import annotations

import pytest

from spincycle.runtime import process
from spincycle.runtime.config import ConfigError
from spincycle.runtime.process import keep_up


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "BEGIN_AGAIN_AFTER", 0)


async def test_a_duty_that_fails_in_a_way_nobody_thought_of_begins_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    begun: list[int] = []

    async def work() -> None:
        begun.append(len(begun))
        if len(begun) < 3:
            raise ZeroDivisionError("as the test says")

    await keep_up("counting", work)

    assert begun == [0, 1, 2]
    assert "ZeroDivisionError: as the test says" in capsys.readouterr().out


async def test_a_duty_that_is_configured_wrongly_does_not_begin_again() -> None:
    async def work() -> None:
        raise ConfigError("as the test says")

    with pytest.raises(ConfigError):
        await keep_up("counting", work)
