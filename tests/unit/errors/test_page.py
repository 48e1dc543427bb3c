"""docs/reference/errors.md is up to date with the catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from spincycle.errors import RemoteError, SpinCycleError, catalogue
from spincycle.errors.page import error_page

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "errors.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == error_page(), "run make generate and commit it"


@pytest.mark.parametrize("entry", [one for one in catalogue().values() if one is not RemoteError])
def test_a_row_has_reason_code_status_and_remedy(entry: type[SpinCycleError]) -> None:
    (row,) = [
        line for line in error_page().splitlines() if line.startswith(f"| `{entry.reason}` |")
    ]
    cells = [cell.strip() for cell in row.strip("|").split("|")]

    assert cells[1:3] == [entry.code, str(entry.http)]
    assert (cells[3] != "no") is entry.retryable
    assert cells[5].endswith(".")
