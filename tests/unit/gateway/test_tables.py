from __future__ import annotations

import base64
import json
from typing import Any, cast

import pytest
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from spincycle.model.job_chain import VALUE_DEPTH
from spincycle.model.revision import encode_revision
from spincycle.rest_codec import extras, messages
from spincycle.rest_codec.codecs import (
    ANY,
    ANY_MAP,
    AnyMap,
    Anything,
    Bytes,
    Codec,
    Flag,
    JsonPath,
    Mismatch,
    Nanoseconds,
    Text,
    Time,
    Unreadable,
    Whole,
)
from spincycle.rest_codec.encoding import to_text
from spincycle.rest_codec.full import FULL_ENTRY
from spincycle.rest_codec.tables import KeyedListCodec, ListOf, MapOf, MessageCodec
from spincycle.v1 import job_chain_pb2, job_log_pb2, request_pb2

TABLES = [
    value
    for module in (messages, extras)
    for value in vars(module).values()
    if isinstance(value, MessageCodec)
]

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
# Minus zero is the one number that JSON readers do not agree on.
NUMBERS = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
TIMES = st.builds(
    Timestamp, seconds=st.integers(-(10**9), 4 * 10**9), nanos=st.integers(1, 999_999_999)
)


def as_struct(plain: dict[str, Any]) -> Struct:
    return ANY_MAP.decode(plain, JsonPath())


def as_value(plain: Any) -> Value:
    return ANY.decode(plain, JsonPath())


def values(kind: Codec) -> st.SearchStrategy[Any]:  # noqa: PLR0911, PLR0912 # a case per kind
    """What a message can hold where the kind stands."""
    match kind:
        case KeyedListCodec(_value=None):
            return st.lists(values(kind.element), max_size=3, unique_by=lambda job: job.id).map(
                lambda jobs: sorted(jobs, key=lambda job: job.id)
            )
        case KeyedListCodec():
            return st.dictionaries(TEXTS, st.lists(TEXTS, min_size=1, max_size=3), max_size=3).map(
                lambda edges: [
                    job_chain_pb2.AdjacentJobs(job_id=key, next_job_ids=edges[key])
                    for key in sorted(edges)
                ]
            )
        case ListOf():
            return st.lists(values(kind.element), max_size=3)
        case MapOf():
            return st.dictionaries(TEXTS, values(kind.element), max_size=3)
        case MessageCodec():
            return messages_of(kind)
        case extras.Named():
            return st.sampled_from(list(kind._names))
        case messages.Always():
            return st.just(kind.value)
        case extras.RevisionNumber():
            return st.integers(1, 2**63 - 1).map(encode_revision)
        case extras.OneText():
            return st.lists(TEXTS.filter(bool), min_size=1, max_size=1)
        case extras.RolledBack():
            return st.integers(1, 2**32 - 1).map(
                lambda number: request_pb2.JobCounts(rolled_back=number)
            )
        case Text():
            return TEXTS
        case Flag():
            return st.booleans()
        case Whole():
            numbers = st.integers(kind._least, kind._end - 1)
            return st.integers(0, 7) if kind.go == "uint8" else numbers
        case Bytes():
            return st.binary(max_size=8)
        case Time() | Nanoseconds():
            return TIMES
        case AnyMap():
            return st.dictionaries(TEXTS, PLAIN, max_size=3).map(as_struct)
        case Anything():
            return PLAIN.map(as_value)
    raise AssertionError(kind)


def messages_of(table: MessageCodec[Any]) -> st.SearchStrategy[Any]:
    oneof = [field for field in table.fields if field.presence and table is extras.EVENT]

    @st.composite
    def message(draw: st.DrawFn) -> Any:
        chosen = draw(st.sampled_from(oneof)) if oneof else None
        held = {}
        for field in table.fields:
            if field in oneof and field is not chosen:
                continue
            if draw(st.booleans()) or field is chosen:
                value = draw(values(field.kind))
                empty_struct = isinstance(value, Struct) and not value.fields and not field.presence
                if not empty_struct and not (
                    isinstance(value, Value) and not value.WhichOneof("kind")
                ):
                    held[field.name] = value
        return table.message(**held)

    return message()


def cleaned(message: Any) -> Any:
    """The message with what JSON cannot tell apart made equal, all the way down."""
    for descriptor, value in message.ListFields():
        if descriptor.full_name in OMITTED_AT_ZERO and not value:
            message.ClearField(descriptor.name)
        if (
            descriptor.message_type is None
            or descriptor.message_type.file.package != "spincycle.v1"
        ):
            if descriptor.full_name in NULLABLE and value.WhichOneof("kind") == "null_value":
                message.ClearField(descriptor.name)
            continue
        if descriptor.message_type.GetOptions().map_entry:
            continue
        for inner in value if hasattr(value, "__len__") else [value]:
            cleaned(inner)
    return message


OMITTED_AT_ZERO = {"spincycle.v1.JobStatus.percent"}
NULLABLE = {"spincycle.v1.RequestArg.default_value", "spincycle.v1.RequestArg.value"}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@settings(max_examples=25)
@given(data=st.data())
def test_a_message_reads_back_as_it_was_written(
    table: MessageCodec[Any], data: st.DataObject
) -> None:
    message = cleaned(data.draw(messages_of(table)))

    decoded = table.decode(json.loads(to_text(table.encode(message))))

    assert decoded == message


@given(PLAIN)
def test_free_values_keep_their_shape(plain: Any) -> None:
    text = to_text(ANY.encode(as_value(plain)))

    assert json.loads(text, parse_int=float) == plain


def test_an_empty_job_has_only_the_keys_that_are_never_left_out() -> None:
    assert to_text(messages.JOB.encode(job_chain_pb2.Job())) == (
        b'{"id":"","name":"","type":"","state":0,"retry":0,"sequenceId":"","sequenceRetry":0}\n'
    )


def test_an_empty_chain_has_nulls_for_its_maps() -> None:
    assert to_text(messages.JOB_CHAIN.encode(job_chain_pb2.JobChain())) == (
        b'{"requestId":"","jobs":null,"adjacencyList":null,"state":0,"finishedJobs":0}\n'
    )


def test_an_entry_that_never_ran_has_zeros_for_its_times() -> None:
    encoded = messages.JOB_LOG.encode(job_log_pb2.JobLog())

    assert (encoded["startedAt"], encoded["finishedAt"]) == (0, 0)


@pytest.mark.parametrize("key", ["requestId", "REQUESTID", "requestid", "reque\u017ftId"])
def test_keys_match_in_any_case(key: str) -> None:
    assert messages.REQUEST_PROGRESS.decode({key: "a"}).request_id == "a"


def test_the_last_of_equal_keys_wins() -> None:
    decoded = messages.REQUEST_PROGRESS.decode({"requestId": "a", "requestID": "b"})

    assert decoded.request_id == "b"


def test_unknown_keys_are_ignored() -> None:
    assert messages.REQUEST_PROGRESS.decode({"what": [1]}) == messages.REQUEST_PROGRESS.message()


def test_the_key_of_a_job_is_its_id() -> None:
    chain = messages.JOB_CHAIN.decode({"jobs": {"aaaa": {"name": "n"}, "bbbb": None}})

    assert [job.id for job in chain.jobs] == ["aaaa", "bbbb"]


@pytest.mark.parametrize(
    ("table", "value", "go", "field"),
    [
        (messages.JOB_LOG, {"try": 1.0}, "uint", "try"),
        (messages.JOB_LOG, {"try": True}, "uint", "try"),
        (messages.JOB_LOG, {"try": -1}, "uint", "try"),
        (messages.JOB_LOG, {"state": 256}, "uint8", "state"),
        (messages.JOB_LOG, {"exit": 2**63}, "int64", "exit"),
        (messages.JOB_LOG, {"name": 1}, "string", "name"),
        (messages.JOB_LOG, [], "proto.JobLog", ""),
        (messages.JOB_CHAIN, {"jobs": []}, "map[string]proto.Job", "jobs"),
        (messages.JOB_CHAIN, {"jobs": {"a": 1}}, "proto.Job", "jobs"),
        (messages.JOB_CHAIN, {"jobs": {"a": {"bytes": 1}}}, "[]uint8", "jobs.bytes"),
        (messages.JOB_CHAIN, {"adjacencyList": {"a": "b"}}, "[]string", "adjacencyList"),
        (messages.JOB_CHAIN, {"adjacencyList": {"a": [1]}}, "string", "adjacencyList"),
        (messages.SUSPENDED_JOB_CHAIN, {"jobChain": {"state": "1"}}, "uint8", "jobChain.state"),
    ],
)
def test_a_wrong_type_is_named_as_go_names_it(
    table: MessageCodec[Any], value: Any, go: str, field: str
) -> None:
    with pytest.raises(Mismatch) as refused:
        table.decode(value)

    assert (refused.value.go, refused.value.field) == (go, field)


def test_free_values_may_be_nested_as_deep_as_the_services_take_them() -> None:
    value: Any = 1
    for _ in range(VALUE_DEPTH):
        value = {"a": value}

    request = messages.CREATE_REQUEST.decode({"Args": {"deep": value}})

    assert type(request).FromString(request.SerializeToString()) == request
    with pytest.raises(Unreadable):
        messages.CREATE_REQUEST.decode({"Args": {"deep": [value]}})


@pytest.mark.parametrize("text", ["a", "====", "YQ", "Y Q=="])
def test_bytes_must_be_base64(text: str) -> None:
    with pytest.raises(Unreadable):
        messages.JOB.decode({"bytes": text})


def test_line_ends_within_base64_are_skipped() -> None:
    encoded = base64.encodebytes(b"x" * 100).decode()

    assert messages.JOB.decode({"bytes": encoded}).bytes == b"x" * 100


def test_a_value_that_may_be_missing_may_be_null_in_the_description() -> None:
    described = cast("Any", FULL_ENTRY.described())

    assert described["properties"]["data"]["type"] == ["object", "null"]
