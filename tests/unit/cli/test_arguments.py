from __future__ import annotations

import io
import shlex
from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Struct
from tests.cli_samples import greet_spec, spec_arg

from spincycle.cli.arguments import (
    check_names,
    fill,
    full_command,
    missing,
    parse_args,
    values_to_remember,
    without_defaults,
)
from spincycle.cli.given_text import MAX_BYTES, GivenTexts
from spincycle.cli.problem import Problem


class Person(io.StringIO):
    """Standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_an_argument_is_split_at_its_first_equals_sign() -> None:
    assert parse_args(["foo=a=b", "empty="]) == {"foo": "a=b", "empty": ""}


def test_a_colon_announces_json() -> None:
    assert parse_args(['hosts:=["web1", 2]']) == {"hosts": ["web1", 2]}


@pytest.mark.parametrize("word", ["foo", "=x", ":=1", "foo:=[", "foo="])
def test_an_invalid_argument_is_rejected(word: str) -> None:
    words = ["foo=1", word] if word == "foo=" else [word]

    with pytest.raises(Problem):
        parse_args(words)


@pytest.mark.parametrize("word", ['id:="\\ud800"', 'id:=["\\ud800"]', 'id:={"\\udfff": 1}'])
def test_half_a_surrogate_pair_is_rejected(word: str) -> None:
    with pytest.raises(Problem, match="the value of id holds text that is not valid Unicode"):
        parse_args([word])


@pytest.mark.parametrize(
    ("word", "where"),
    [
        ("id:=1234567890123456789", "id"),
        ("id:=-9007199254740992", "id"),
        ("id:=1e300", "id"),
        ("id:=1e400", "id"),
        (f"id:={'9' * 5000}", "id"),
        ('ids:=[1, {"id": 36028797018963969}]', "ids[1].id"),
    ],
)
def test_a_number_that_cannot_be_stored_exactly_is_rejected(word: str, where: str) -> None:
    with pytest.raises(Problem) as refused:
        parse_args([word])

    assert refused.value.message.startswith(f"request arg {where}: a number beyond")
    assert "write it as text" in refused.value.message


def test_the_same_digits_as_text_are_accepted() -> None:
    words = ["a=1234567890123456789", 'b:="1234567890123456789"', "c:=9007199254740991"]

    assert parse_args(words) == {
        "a": "1234567890123456789",
        "b": "1234567890123456789",
        "c": 2**53 - 1,
    }


@pytest.mark.parametrize("word", ["a:=NaN", "a:=[Infinity]"])
def test_a_number_that_is_not_json_is_rejected(word: str) -> None:
    with pytest.raises(Problem, match="not JSON"):
        parse_args([word])


def test_a_value_is_read_from_a_file_without_its_last_newline(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes("s3cret=§\n\n".encode())

    assert parse_args([f"password=@{file}"]) == {"password": "s3cret=§\n"}
    file.write_bytes(b"s3cret\r\n")
    assert parse_args([f"password=@{file}"]) == {"password": "s3cret"}


def test_a_value_is_read_from_standard_input() -> None:
    texts = GivenTexts(io.TextIOWrapper(io.BytesIO(b"s3cret\n")))

    assert parse_args(["user=dana", "password=-"], texts) == {"user": "dana", "password": "s3cret"}


def test_a_value_is_prompted_for_if_standard_input_is_a_terminal() -> None:
    prompts: list[str] = []

    def read(prompt: str) -> str:
        prompts.append(prompt)
        return "s3cret"

    assert parse_args(["password=-"], GivenTexts(Person(), read)) == {"password": "s3cret"}
    assert prompts == ["password="]


def test_a_value_that_begins_with_an_at_sign_is_written_with_two() -> None:
    assert parse_args(["to=@@dana", "a=x@y", 'b:="-"']) == {"to": "@dana", "a": "x@y", "b": "-"}


def test_standard_input_is_read_for_one_argument_only() -> None:
    texts = GivenTexts(io.TextIOWrapper(io.BytesIO(b"s3cret\n")))

    with pytest.raises(Problem, match="request args a and b both read standard input"):
        parse_args(["a=-", "b=-"], texts)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot read request arg a from .*/value: No such file or directory"),
        ("directory", "cannot read request arg a from .*/value: Is a directory"),
        (b"\xff\xfe", "request arg a: .*/value is not UTF-8 text"),
        (b"x" * (MAX_BYTES + 1), "request arg a: .*/value is larger than 4194304 bytes"),
    ],
)
def test_a_file_that_is_not_a_value_is_rejected(
    tmp_path: Path, content: bytes | str | None, problem: str
) -> None:
    file = tmp_path / "value"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content:
        file.mkdir()

    with pytest.raises(Problem, match=problem):
        parse_args([f"a=@{file}"])


@pytest.mark.parametrize("word", ["a=@", "a=@x\0y"])
def test_a_name_that_no_file_has_is_rejected(word: str) -> None:
    with pytest.raises(Problem, match="cannot read request arg a from"):
        parse_args([word])


def test_the_full_command_repeats_how_a_value_was_read_and_not_the_value(tmp_path: Path) -> None:
    file = tmp_path / "name"
    file.write_text("hunter2")
    spec = greet_spec()
    spec.args.append(spec_arg("password", "", secret=True))
    texts = GivenTexts(io.TextIOWrapper(io.BytesIO(b"hunter2\n")))
    args = parse_args([f"name=@{file}", "password=-"], texts)

    command = full_command(spec, without_defaults(spec, args), ())

    assert command == f"spinc start greet name=@{file} password=-"


@pytest.mark.parametrize("text", ["-", "@dana", "@@", "--", "plain"])
def test_the_full_command_means_the_same_value(text: str) -> None:
    command = full_command(greet_spec(), {"name": text}, ())

    assert parse_args(shlex.split(command)[3:]) == {"name": text}


def test_a_value_that_was_read_reaches_the_message_and_not_the_history(tmp_path: Path) -> None:
    file = tmp_path / "name"
    file.write_text("zoe\n")
    args = parse_args([f"name=@{file}", "greeting=hi"])
    message = Struct()

    fill(message, args)

    assert dict(message) == {"name": "zoe", "greeting": "hi"}
    assert values_to_remember(greet_spec(), args) == {"greeting": "hi"}


def test_the_error_of_a_number_does_not_repeat_it() -> None:
    with pytest.raises(Problem) as refused:
        parse_args(["pin:=12345678901234567890"])

    assert "1234567890" not in f"{refused.value.message} {refused.value.hint}"


def test_an_unknown_name_suggests_a_similar_one() -> None:
    with pytest.raises(Problem) as refused:
        check_names(greet_spec(), {"greting": "hi"})

    assert refused.value.message == (
        'request greet has no argument "greting" (did you mean "greeting"?)'
    )
    assert refused.value.hint == "run 'spinc help greet' to list its arguments"


def test_all_unknown_arguments_are_named() -> None:
    with pytest.raises(Problem, match="unknown request args: a, b"):
        check_names(greet_spec(), {"a": "1", "b": "2"})


def test_missing_arguments_are_the_required_ones() -> None:
    assert [arg.name for arg in missing(greet_spec(), {})] == ["name"]


def test_the_full_command_omits_defaults_and_keeps_the_order_of_the_spec() -> None:
    args = without_defaults(greet_spec(), {"greeting": "hello", "name": "zoe"})

    assert full_command(greet_spec(), args, ()) == "spinc start greet name=zoe"


def test_the_full_command_repeats_options_and_quotes_values() -> None:
    args = without_defaults(greet_spec(), {"greeting": "good day", "name": 'a "b"'})

    command = full_command(greet_spec(), args, [("env", "my env"), ("addr", "rm:1")])

    assert command == (
        'spinc --env "my env" --addr rm:1 start greet name="a \\"b\\"" greeting="good day"'
    )


def test_the_full_command_masks_secrets() -> None:
    spec = greet_spec()
    spec.args.append(spec_arg("password", "", secret=True))

    assert "hunter2" not in full_command(spec, {"name": "x", "password": "hunter2"}, ())
