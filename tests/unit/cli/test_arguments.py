from __future__ import annotations

import pytest
from tests.cli_samples import greet_spec, spec_arg

from spincycle.cli.arguments import (
    check_names,
    full_command,
    missing,
    parse_args,
    without_defaults,
)
from spincycle.cli.problem import Problem


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
