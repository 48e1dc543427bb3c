from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from google.rpc import code_pb2, error_details_pb2

from spincycle import errors
from spincycle.errors import FieldViolation, InvalidArgs, RemoteError, SpinCycleError, catalogue
from spincycle.rpc.status import from_message, from_status, to_message, to_status

PROTOS = Path(__file__).parents[3] / "protos" / "spincycle"
ENTRIES = [entry for entry in catalogue().values() if entry is not RemoteError]

# HTTP statuses of gRPC's codes; 409, 413 and 415 where the catalogue is more specific.
HTTP = {
    "NOT_FOUND": {404},
    "INVALID_ARGUMENT": {400, 415},
    "ALREADY_EXISTS": {409},
    "FAILED_PRECONDITION": {409},
    "OUT_OF_RANGE": {410, 400},
    "RESOURCE_EXHAUSTED": {413, 429, 503},
    "UNAVAILABLE": {503},
    "DEADLINE_EXCEEDED": {504},
    "UNIMPLEMENTED": {501},
    "INTERNAL": {500},
    "PERMISSION_DENIED": {403},
    "UNAUTHENTICATED": {401},
    "ABORTED": {409},
}


def sample(entry: type[SpinCycleError]) -> SpinCycleError:
    """Return an error of the class, with a recognizable value in each field."""
    values: dict[str, Any] = {}
    for field in fields(entry):  # type: ignore[arg-type] # every entry is a dataclass
        if field.default is not MISSING:
            continue
        values[field.name] = 7 if field.type in {"int", "float"} else f"<{field.name}>"
    return entry(**values)


def test_every_class_is_in_the_catalogue_under_its_own_reason() -> None:
    defined = [
        thing
        for thing in vars(errors).values()
        if isinstance(thing, type)
        and issubclass(thing, SpinCycleError)
        and thing is not SpinCycleError
    ]

    assert sorted(entry.__name__ for entry in catalogue().values()) == sorted(
        entry.__name__ for entry in defined
    )


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_has_a_reason_a_code_and_a_matching_http_status(
    entry: type[SpinCycleError],
) -> None:
    assert re.fullmatch(r"[A-Z]+(_[A-Z]+)*", entry.reason)
    assert entry.code in code_pb2.Code.keys()  # noqa: SIM118 # an enum wrapper is no mapping
    assert entry.http in HTTP[entry.code]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_message_is_one_sentence_with_its_fields_filled_in(
    entry: type[SpinCycleError],
) -> None:
    message = sample(entry).message

    assert message
    assert "\n" not in message
    assert "{" not in message
    assert not message.endswith(".")


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.retryable])
def test_retryable_errors_are_not_client_errors(
    entry: type[SpinCycleError],
) -> None:
    assert entry.http >= 500 or entry.http == 429


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_error_survives_the_round_trip_through_a_status(entry: type[SpinCycleError]) -> None:
    sent = sample(entry)

    arrived = from_status(to_status(sent))

    assert arrived.message == sent.message
    assert (arrived.reason, arrived.code, arrived.http) == (sent.reason, sent.code, sent.http)
    assert arrived.retryable == sent.retryable
    assert arrived.violations == sent.violations
    assert arrived.request_id_or_empty == sent.request_id_or_empty


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_status_carries_error_info_and_the_message_of_the_contract(
    entry: type[SpinCycleError],
) -> None:
    status = to_status(sample(entry))
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)

    assert code_pb2.Code.Name(status.code) == entry.code
    assert (info.reason, info.domain) == (entry.reason, "spincycle")
    assert status.details[-1].type_url.endswith("spincycle.v1.Error")


def test_each_invalid_field_is_reported() -> None:
    wrong = (FieldViolation("args.a", "is missing"), FieldViolation("args.b", "is no number"))

    arrived = from_status(to_status(InvalidArgs("two arguments are wrong", "stop-host", wrong)))

    assert arrived.violations == wrong


def test_an_error_of_a_newer_version_keeps_its_fields() -> None:
    message = to_message(RemoteError("new", request_id="r", reason="BRAND_NEW", http=418))

    arrived = from_message(message, "ABORTED")

    assert (arrived.reason, arrived.code, arrived.http) == ("BRAND_NEW", "ABORTED", 418)
    assert arrived.request_id_or_empty == "r"


def test_braces_in_a_field_are_not_interpreted() -> None:
    assert errors.RequestNotFound("{nasty} {0}").message == "request {nasty} {0} not found"


def test_every_reason_that_the_contract_names_is_in_the_catalogue() -> None:
    known = set(catalogue())
    named = set()
    for proto in PROTOS.rglob("*.proto"):
        comments = " ".join(
            line.strip().removeprefix("//").strip()
            for line in proto.read_text(encoding="utf-8").splitlines()
            if line.strip().startswith("//")
        )
        for reasons in re.findall(r"\(reasons? ([A-Z_, or]+?)\)", comments):
            named |= set(re.findall(r"[A-Z_]{4,}", reasons))

    assert named
    assert named <= known
