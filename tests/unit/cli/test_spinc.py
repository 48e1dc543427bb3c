from __future__ import annotations

import pytest

from spincycle.cli import spinc as entry


def fail(*_: object, **__: object) -> None:
    raise KeyError("jobs")


def test_a_mistake_in_spinc_itself_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry.spinc, "main", fail)

    assert entry._run(["ps"]) == 1

    assert capsys.readouterr().err.splitlines() == [
        "error: spinc itself has failed: KeyError: 'jobs'",
        "       --debug shows where",
    ]


def test_debug_shows_where_spinc_itself_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry.spinc, "main", fail)

    with pytest.raises(KeyError):
        entry._run(["--debug", "ps"])
