from __future__ import annotations

import pytest

from spincycle.cli import spinc as entry


def fail(*_: object, **__: object) -> None:
    raise KeyError("jobs")


def test_an_internal_error_is_printed_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry.spinc, "main", fail)

    assert entry._run(["ps"]) == 1

    assert capsys.readouterr().err.splitlines() == [
        "error: internal error in spinc: KeyError: 'jobs'",
        "       --debug prints a traceback",
    ]


def test_debug_raises_an_internal_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry.spinc, "main", fail)

    with pytest.raises(KeyError):
        entry._run(["--debug", "ps"])
