from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spincycle.errors import InvalidPageToken
from spincycle.rpc.page_token import decode_page_token, encode_page_token

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
keys = texts | st.integers(-(2**63), 2**63 - 1)


@given(st.lists(keys), texts, st.integers(-(2**63), 2**63 - 1))
def test_a_token_holds_its_position(listed: list[str | int], name: str, number: int) -> None:
    token = encode_page_token(listed, (name, number))

    assert decode_page_token(listed, token, str, int) == (name, number)
    assert token.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "token",
    ["", "x", "====", "é", urlsafe_b64encode(b"[]").decode(), urlsafe_b64encode(b"{}").decode()],
)
def test_a_forged_token_is_rejected(token: str) -> None:
    with pytest.raises(InvalidPageToken):
        decode_page_token(["list"], token, int)


@pytest.mark.parametrize("position", ["a\0b", 2**63])
def test_a_position_outside_the_column_type_is_rejected(position: str | int) -> None:
    token = encode_page_token(["list"], (position,))

    with pytest.raises(InvalidPageToken):
        decode_page_token(["list"], token, type(position))


def test_a_token_of_another_list_is_rejected() -> None:
    with pytest.raises(InvalidPageToken):
        decode_page_token(["other"], encode_page_token(["list"], (1,)), int)


def test_a_token_with_another_type_of_position_is_rejected() -> None:
    token = encode_page_token(["list"], ("1",))

    for kinds in ((int,), (str, str), ()):
        with pytest.raises(InvalidPageToken):
            decode_page_token(["list"], token, *kinds)
