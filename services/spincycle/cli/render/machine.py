"""Messages of the contract as JSON and YAML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf import duration_pb2, struct_pb2, timestamp_pb2
from google.protobuf.descriptor import FieldDescriptor

from spincycle.cli.values import SECRET, plain

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from spincycle.model.job_chain import Value


_OUTPUT = "spincycle.v1.JobOutput"

_KEYS = {
    f"spincycle.v1.{field}": key
    for field, key in (
        ("ExplainResponse.message", "waitsFor"),
        ("JobLog.sequence_try_number", "sequenceTry"),
        ("JobLog.try_number", "try"),
        ("JobOutput.try_number", "try"),
        ("JobStatus.try_number", "try"),
        ("ListSpecsResponse.specs_hash", "specRevision"),
        ("Plan.plan_hash", "hash"),
        ("Plan.specs_hash", "specRevision"),
        ("ReloadSpecsResponse.specs_hash", "specRevision"),
        ("Request.rerun_of_request_id", "rerunOf"),
        ("Request.specs_hash", "specRevision"),
        ("Request.state_message", "reason"),
        ("RequestArg.default_value", "default"),
        ("RequestArg.kind", "type"),
    )
}
"""Keys of fields that the output names differently from the contract, as the REST API does."""


_COUNTS = {
    "spincycle.v1.Request.counts": (("rolled_back", "rolledBackJobs"),),
    "spincycle.v1.RequestEvent.counts": (
        ("finished", "finishedJobs"),
        ("rolled_back", "rolledBackJobs"),
    ),
}
"""Keys of the counts that stand in the message itself."""

_HIDDEN = {"spincycle.v1.ExplainResponse.next_page_token"}
"""Fields of paging, which spinc does itself."""

_NUMBERS = {"spincycle.v1.Request.revision", "spincycle.v1.RequestEvent.revision"}
"""Texts of digits that are numbers in the output."""


def to_plain(message: Message) -> Value:
    """Return the message as plain values: camelCase keys, state names, RFC 3339 times.

    Zero fields are included; unset messages are null. Bytes fields are left out, except the data
    of JobOutput, which is decoded to text. The values of secret arguments are masked.
    """
    if isinstance(message, timestamp_pb2.Timestamp):
        return message.ToJsonString()
    if isinstance(message, duration_pb2.Duration):
        return message.ToJsonString()
    if isinstance(message, struct_pb2.Value):
        return plain(message)
    if isinstance(message, struct_pb2.Struct):
        return {name: plain(value) for name, value in message.fields.items()}
    values: dict[str, Value] = {}
    for field in message.DESCRIPTOR.fields:
        if field.full_name in _HIDDEN:
            continue
        if field.full_name in _COUNTS:
            counts = getattr(message, field.name)
            values |= {key: getattr(counts, name) for name, key in _COUNTS[field.full_name]}
        elif field.full_name in _NUMBERS:
            values[field.camelcase_name] = int(getattr(message, field.name) or 0)
        elif field.type != FieldDescriptor.TYPE_BYTES and _is_shown(message, field):
            values[_KEYS.get(field.full_name, field.camelcase_name)] = _field(message, field)
    if message.DESCRIPTOR.full_name == _OUTPUT:
        values["data"] = message.data.decode(errors="replace")  # type: ignore[attr-defined] # checked by its name
    if values.get("secret") is True and "value" in values:
        values["value"] = SECRET
    return values


def _is_shown(message: Message, field: Any) -> bool:
    # protoc puts each optional field into a oneof of its own, whose name begins with "_".
    choice = field.containing_oneof
    return choice is None or choice.name.startswith("_") or message.HasField(field.name)


def _field(message: Message, field: Any) -> Value:
    value = getattr(message, field.name)
    if field.is_repeated:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            kind = entry.fields_by_name["value"]
            return {str(key): _single(item, kind) for key, item in sorted(value.items())}
        return [_single(item, field) for item in value]
    if field.message_type is not None and not message.HasField(field.name):
        return None
    return _single(value, field)


def _single(value: Any, field: Any) -> Value:
    if field.message_type is not None:
        return to_plain(value)
    if field.enum_type is not None:
        return _enum_name(int(value), field)
    result: Value = value
    return result


def _enum_name(number: int, field: Any) -> str:
    names = field.enum_type.values_by_number
    if number not in names:
        return str(number)
    prefix = "".join(
        "_" + letter if letter.isupper() and place else letter
        for place, letter in enumerate(field.enum_type.name)
    ).upper()
    return str(names[number].name).removeprefix(prefix + "_")


def dump(data: Value, form: str, *, unicode: bool = True) -> str:
    """Serialize `data` as json or yaml without a final line feed; ASCII only without `unicode`."""
    if form == "json":
        return json.dumps(data, indent=2, ensure_ascii=not unicode)
    import yaml

    text: str = yaml.safe_dump(
        data, sort_keys=False, allow_unicode=unicode, default_flow_style=False
    )
    return text.removesuffix("\n")


def dump_next(data: Value, form: str, *, unicode: bool = True) -> str:
    """Serialize `data` as one item of a stream: a line of JSON, or a YAML document."""
    if form == "json":
        return json.dumps(data, ensure_ascii=not unicode, separators=(",", ":"))
    return "---\n" + dump(data, form, unicode=unicode)
