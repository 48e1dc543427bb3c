"""Secret values are replaced in texts and in streams, however they are encoded or cut."""

from __future__ import annotations

import json
import re
import shlex
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from spincycle.model.job_chain import ChainJob, Value
from spincycle.model.request_arg import REDACTED
from spincycle.model.scrubber import MAX_FORMS, Scrubber
from spincycle.model.secret_forms import forms_of, secret_texts

KEY = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEAx+/9\nq83v7Lk2/t3==\nend\n-----END KEY-----\n"

ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "base64": lambda text: b64encode(text.encode()).decode(),
    "base64 without padding": lambda text: b64encode(text.encode()).decode().rstrip("="),
    "base64 for URLs": lambda text: urlsafe_b64encode(text.encode()).decode(),
    "base64 after one byte": lambda text: b64encode(b"u" + text.encode()).decode(),
    "base64 in the middle": lambda text: b64encode(b"u:" + text.encode() + b"@h").decode(),
    "URL": quote,
    "URL without slashes": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "lower-case URL": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text)),
    "JSON": json.dumps,
    "JSON as UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "Python": repr,
    "Python bytes": lambda text: repr(text.encode()),
    "shell": shlex.quote,
    "shell trace": lambda text: "'" + text.replace("'", "'\\''") + "'",
}

# The mark has parentheses and letters, so texts of others cannot be part of a mark.
words = st.text(alphabet="ab'\"\\ $é+/=\n%€\U0001f600", min_size=1, max_size=12)
secrets = words.map(str.strip).filter(lambda text: len(text) >= 4)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("secret", ["hunter2", "pässé wörd", "a/b+c?d&e", 'it\'s "$quoted"\\', KEY])
def test_a_secret_is_replaced_in_each_encoding(secret: str, encoding: str) -> None:
    scrubber = Scrubber([secret])

    text = scrubber.text(f"before {ENCODINGS[encoding](secret)} after")

    assert REDACTED in text
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert not any(form in text.encode() for form in forms_of(secret))


def test_one_mark_stands_for_the_value_and_the_text_around_it_stays() -> None:
    text = "login as dana with hunter2: hunter2 rejected"

    assert Scrubber(["hunter2"]).text(text) == "login as dana with (secret): (secret) rejected"


def test_padded_base64_leaves_no_digit_behind() -> None:
    encoded = b64encode(b"hunter2").decode()

    assert encoded.endswith("==")
    assert Scrubber(["hunter2"]).text(f"[{encoded}]") == "[(secret)]"


def test_overlapping_values_are_both_replaced() -> None:
    assert Scrubber(["pass1234", "1234word"]).text("x pass1234word y") == "x (secret) y"


def test_each_longer_line_of_a_value_is_a_secret_and_a_short_one_is_not() -> None:
    text = Scrubber([KEY]).text("MIIEpAIBAAKCAQEAx+/9\nthe end\n")

    assert text == "(secret)\nthe end\n"


def test_a_value_is_recognised_without_the_newline_that_it_ends_with() -> None:
    assert Scrubber(["s3cret\n"]).text("got s3cret!") == "got (secret)!"


def test_a_value_of_three_characters_is_not_replaced() -> None:
    assert Scrubber(["abc"]).text("abc") == "abc"


def test_values_within_lists_and_objects_and_numbers_are_secrets_but_keys_are_not() -> None:
    value: Value = {"user": ["alpha-1", {"pin": 123456}], "size": 2.0**20, "on": True}
    jobs = [ChainJob("a", "a", "t", args={"x": value, "y": "open"}, secret_args=("x", "gone"))]

    assert secret_texts(jobs) == {"alpha-1", "123456", "1048576.0", "1048576"}


def test_the_secrets_of_many_jobs_are_collected_once() -> None:
    shared: Value = ["one-secret"] * 1_000
    jobs = [
        ChainJob(str(number), "n", "t", args={"x": shared}, secret_args=("x",))
        for number in range(10_000)
    ]

    assert secret_texts(jobs) == {"one-secret"}


def test_jobs_without_secrets_need_no_scrubber() -> None:
    assert Scrubber.of_jobs([ChainJob("a", "a", "t", args={"x": "hunter2"})]) is None


def test_data_is_scrubbed_in_depth_and_a_number_only_if_it_is_the_secret() -> None:
    scrubber = Scrubber(["hunter2", "123456"])

    scrubbed = scrubber.value({"a": ["x hunter2"], "hunter2": None, "n": 123456, "m": 1234567})

    assert scrubbed == {"a": ["x (secret)"], REDACTED: None, "n": REDACTED, "m": 1234567}


def test_a_text_is_withheld_as_a_whole_if_there_are_too_many_secrets() -> None:
    scrubber = Scrubber([f"secret-{number}" for number in range(MAX_FORMS)])
    stream = scrubber.stream()

    assert scrubber.text("any text") == REDACTED
    assert stream.write(b"any") + stream.write(b" text") + stream.flush() == REDACTED.encode()


@settings(max_examples=50)
@given(st.lists(secrets, min_size=1, max_size=3), st.lists(words, max_size=4), st.data())
def test_no_form_of_a_secret_is_left_in_a_text(
    values: list[str], around: list[str], data: st.DataObject
) -> None:
    assume(not any(form in REDACTED.encode() for value in values for form in forms_of(value)))
    encode = [data.draw(st.sampled_from(list(ENCODINGS.values()))) for _ in values]
    parts = around + [call(value) for call, value in zip(encode, values, strict=True)]
    text = "".join(data.draw(st.permutations(parts)))

    scrubbed = Scrubber(values).text(text)

    for value in values:
        assert not any(form.decode() in scrubbed for form in forms_of(value))


@settings(max_examples=50)
@given(st.lists(secrets, max_size=3), words)
def test_a_text_without_secrets_is_unchanged(values: list[str], text: str) -> None:
    assume(not any(form in text.encode() for value in values for form in forms_of(value)))

    assert Scrubber(values).text(text) == text


@example(["abab", "babb"], b"xababab" * 3 + b"b", [3, 4, 9])
@example(["aaaa"], b"a" * 20, list(range(20)))
@example(["ababa", "ababbbb"], b"ababacccccc", [5, 7])
@given(
    st.lists(st.text(alphabet="ab", min_size=4, max_size=9), min_size=1, max_size=4),
    st.text(alphabet="abc", max_size=60).map(str.encode),
    st.lists(st.integers(0, 60)),
)
def test_a_stream_is_scrubbed_like_its_text_wherever_it_is_cut(
    values: list[str], data: bytes, cuts: list[int]
) -> None:
    scrubber = Scrubber(values)
    longest = max(len(form) for value in values for form in forms_of(value))
    stream = scrubber.stream()
    given_out = b""
    borders = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in pairwise(borders):
        given_out += stream.write(data[start:end])
        assert len(stream._held) < longest

    given_out += stream.flush()

    assert given_out == scrubber.text(data.decode()).encode()
    covered = _covered(data, values)
    assert given_out.replace(REDACTED.encode(), b"") == bytes(
        byte for place, byte in enumerate(data) if place not in covered
    )


def test_only_what_may_be_the_beginning_of_a_secret_is_held_back() -> None:
    stream = Scrubber(["hunter2"]).stream()

    assert stream.write(b"a line\n") == b"a line\n"
    assert not stream.holds
    assert stream.write(b"password: hun") == b"password: "
    assert stream.holds
    assert stream.write(b"ger\n") == b"hunger\n"
    assert stream.write(b"hunt") + stream.flush() == b"hunt"


def test_bytes_that_are_not_text_pass_through_a_stream() -> None:
    data = bytes(range(256))
    stream = Scrubber(["hunter2"]).stream()

    assert stream.write(data) + stream.flush() == data


def _covered(data: bytes, values: list[str]) -> set[int]:
    covered: set[int] = set()
    for form in {form for value in values for form in forms_of(value)}:
        for start in range(len(data) - len(form) + 1):
            if data[start : start + len(form)] == form:
                covered.update(range(start, start + len(form)))
    return covered
