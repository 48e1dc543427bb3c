from __future__ import annotations

import pytest

from spincycle.errors import InvalidInput
from spincycle.request_manager.watch.cursor import Cursor, parse_cursor, parse_id_cursor


@pytest.mark.parametrize("db_snapshot", ["10:10:", "10:14:10,12"])
def test_a_cursor_is_parsed_from_its_text(db_snapshot: str) -> None:
    cursor = Cursor(db_snapshot, {"c0n4t8k9o5vg0a1b2c3d": 3, "a.runner=of its=own": 7})

    assert parse_cursor(cursor.text) == cursor


@pytest.mark.parametrize(
    "text",
    [
        "17",
        "a",
        "a10:10",
        "a10:9:",
        "a10:12:9",
        "a10:12:11,10",
        "a0:1:",
        "a10:10:.x",
        "x10:10:",
        "a10:10:.r=1 ",
        "a10:10:/11:11:/5/c0",
        "a" + "9" * 5000 + ":1:",
        "a1:1:.r=\u0663",
    ],
)
def test_text_that_is_not_a_cursor_is_rejected(text: str) -> None:
    with pytest.raises(
        InvalidInput, match="the cursor is not a cursor of a stream of many requests"
    ):
        parse_cursor(text)


def test_the_cursor_of_named_requests_has_a_revision_for_each() -> None:
    assert parse_id_cursor("5,0", ["a", "b"]) == {"a": 5, "b": 0}
    assert parse_id_cursor("", ["a"]) == {}


@pytest.mark.parametrize("text", ["5", "5,", "5,6,7", f"5,{2**64}", "5,-1", "a10:10:"])
def test_a_cursor_of_other_requests_is_rejected(text: str) -> None:
    with pytest.raises(InvalidInput, match="the cursor is not a cursor of"):
        parse_id_cursor(text, ["a", "b"])
