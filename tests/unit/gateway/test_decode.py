from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spincycle.gateway.decode import decode_body
from spincycle.gateway.error_responses import HttpError
from spincycle.gateway.parsing import LARGE
from spincycle.gateway.scanner import MAX_NESTING, SyntaxProblem, first_value, locate
from spincycle.rest_codec.messages import CREATE_REQUEST, FINISH_REQUEST, JOB_LOG
from spincycle.rest_codec.tables import MessageCodec
from spincycle.rpc.limits import MAX_VALUES

JSON = "application/json"
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def status_of(body: bytes, table: MessageCodec[Any]) -> int:
    try:
        decode_body(body, JSON, table)
    except HttpError as refused:
        return refused.status
    return 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "EOF"),
        ("{", "unexpected EOF"),
        ('{"a"', "unexpected EOF"),
        ('"\\u12', "unexpected EOF"),
        ("{a}", "offset=2, error=invalid character 'a' looking for beginning of object key string"),
        ('{"a":1,}', ("offset=8, error=invalid character '}' looking for beginning of object key "
         "string")),
        ('{"a" 1}', "offset=6, error=invalid character '1' after object key"),
        ('{"a":1 2}', "offset=8, error=invalid character '2' after object key:value pair"),
        ("[1 2]", "offset=4, error=invalid character '2' after array element"),
        ("[1,]", "offset=4, error=invalid character ']' looking for beginning of value"),
        ("x", "offset=1, error=invalid character 'x' looking for beginning of value"),
        ("nul!", "offset=4, error=invalid character '!' in literal null (expecting 'l')"),
        ("[-]", "offset=3, error=invalid character ']' in numeric literal"),
        ("[1.x]", "offset=4, error=invalid character 'x' after decimal point in numeric literal"),
        ("[1e+]", "offset=5, error=invalid character ']' in exponent of numeric literal"),
        ("[01]", "offset=3, error=invalid character '1' after array element"),
        ('"\n"', "offset=2, error=invalid character '\\n' in string literal"),
        ('"\\q"', "offset=3, error=invalid character 'q' in string escape code"),
        ('"\\u1x"', "offset=5, error=invalid character 'x' in \\u hexadecimal character escape"),
        ("'", "offset=1, error=invalid character '\\'' looking for beginning of value"),
    ],
)  # fmt: skip
def test_invalid_json_is_rejected_with_the_message_of_go(body: str, message: str) -> None:
    with pytest.raises(SyntaxProblem) as refused:
        first_value(body.encode())

    assert str(refused.value).removeprefix("Syntax error: ") == message


@given(VALUES, st.sampled_from(["", " ", " trailing", "}", ' {"b":2}']))
def test_the_first_value_is_found_whatever_follows_it(value: Any, rest: str) -> None:
    text = " " + json.dumps(value)
    separated = rest if not rest or rest[0] in " }" else " " + rest

    assert json.loads(first_value((text + separated).encode())) == value


@given(st.binary(max_size=40))
def test_no_bytes_break_the_decoder(body: bytes) -> None:
    assert status_of(body, CREATE_REQUEST) in {200, 400}


@given(VALUES)
def test_no_value_breaks_the_decoder(value: Any) -> None:
    body = json.dumps({"Type": value, "args": value, "state": value, "bytes": value}).encode()

    for table in (CREATE_REQUEST, JOB_LOG):
        assert status_of(body, table) in {200, 400}


@pytest.mark.parametrize("nesting", [MAX_NESTING + 1, 100_000])
def test_deep_nesting_is_rejected(nesting: int) -> None:
    with pytest.raises(HttpError, match="exceeded max depth"):
        decode_body(b"[" * nesting, JSON, CREATE_REQUEST)


def test_deep_nesting_under_an_ignored_key_is_accepted() -> None:
    body = b'{"type":"t","other":' + b"[" * 400 + b"]" * 400 + b"}"

    assert decode_body(body, JSON, CREATE_REQUEST).type == "t"


def test_arguments_that_nest_too_deep_are_rejected() -> None:
    body = b'{"args":{"a":' + b"[" * 40 + b"]" * 40 + b"}}"

    with pytest.raises(HttpError, match="Args: nested deeper than 24 levels"):
        decode_body(body, JSON, CREATE_REQUEST)


def test_invalid_utf8_becomes_a_replacement_character() -> None:
    assert decode_body(b'{"type":"a\xffb"}', JSON, CREATE_REQUEST).type == "a\ufffdb"


def test_a_lone_surrogate_becomes_a_replacement_character() -> None:
    body = b'{"type":"a\\ud800b","args":{"\\udc00":"\\ud83d\\ude00"}}'

    decoded = decode_body(body, JSON, CREATE_REQUEST)

    assert decoded.type == "a\ufffdb"
    assert dict(decoded.args) == {"\ufffd": "\U0001f600"}


@pytest.mark.parametrize("number", ["1e400", "1" * 400, "-" + "9" * 5000])
def test_a_number_beyond_a_double_is_rejected(number: str) -> None:
    with pytest.raises(HttpError, match=rf"got=number {number}, field=Args"):
        decode_body(f'{{"args":{{"a":{number}}}}}'.encode(), JSON, CREATE_REQUEST)


def test_a_large_whole_argument_becomes_a_double() -> None:
    body = b'{"args":{"a":123456789012345678901234567890}}'

    assert decode_body(body, JSON, CREATE_REQUEST).args["a"] == 123456789012345678901234567890.0


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_recognized_by_its_media_type(content_type: str) -> None:
    assert decode_body(b'{"type":"t"}', content_type, CREATE_REQUEST).type == "t"


@pytest.mark.parametrize("content_type", ["application/xml", "application/x-www-form-urlencoded"])
def test_forms_and_xml_give_an_empty_message(content_type: str) -> None:
    assert decode_body(b"type=t", content_type, CREATE_REQUEST).type == ""


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/octet-stream"])
def test_other_bodies_are_rejected_unless_they_are_empty(content_type: str) -> None:
    with pytest.raises(HttpError) as refused:
        decode_body(b"{}", content_type, CREATE_REQUEST)

    assert refused.value.status == 415
    assert decode_body(b"", content_type, CREATE_REQUEST).type == ""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ((), (1, "")),
        (("a",), (7, "1")),
        (("b",), (15, "")),
        (("b", 1), (21, '"x"')),
        (("c\u00e9", "d"), (41, "null")),
    ],
)
def test_the_offset_of_a_value_is_that_of_go(
    path: tuple[str | int, ...], found: tuple[int, str]
) -> None:
    text = b'{"a" :1, "b": [2, "x"], "c\\u00e9":{"d":null}}'

    offset, literal = locate(text, path)

    assert literal == found[1]
    assert text[:offset].endswith(literal.encode() or b"{" if path != ("b",) else b"[")


PAD = b'"pad":"' + b"x" * LARGE + b'",'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{" + PAD, "unexpected EOF"),
        (b" " * (LARGE + 1), "unexpected EOF"),
        (
            b"{" + PAD + b'"type":3}',
            "Unmarshal type error: expected=string, got=number, field=Type",
        ),
        (b"{" + PAD + b"type", "Syntax error: offset="),
        (b"{" + PAD + b'"a":"\\ud800","b":NaN}', "Syntax error: error=NaN is not a JSON number"),
        (b"{" + PAD + b'"args":{"a":1e999}}', "Unmarshal type error: expected=float64"),
        (b"[" * (LARGE + 1), "Syntax error: offset=1026, error=exceeded max depth"),
        (b'{"a":[' + b"1," * MAX_VALUES + b"1]}", "the body has more than 250000 values"),
    ],
    ids=range(8),
)
def test_an_error_in_a_large_body_has_a_shorter_message(body: bytes, message: str) -> None:
    with pytest.raises(HttpError) as refused:
        decode_body(body, JSON, CREATE_REQUEST)

    assert refused.value.message.startswith(message)


@pytest.mark.parametrize(
    "end",
    [
        b'"type":"t"}',
        b'"type":"t"} trailing',
        b'"a":"\xff","type":"t"}',
        b'"a":"\\ud800","type":"t"} x',
    ],
    ids=range(4),
)
def test_a_large_body_is_parsed_as_leniently_as_a_small_one(end: bytes) -> None:
    assert decode_body(b"{" + PAD + end, JSON, CREATE_REQUEST).type == "t"


def test_a_long_text_is_shortened_in_the_error() -> None:
    body = b'{"finishedAt":"' + b"1" * 100_000 + b'"}'

    with pytest.raises(HttpError) as refused:
        decode_body(body, JSON, FINISH_REQUEST)

    assert len(refused.value.message) < 1100
