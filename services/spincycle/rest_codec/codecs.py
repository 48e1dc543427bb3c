"""How single values travel: as JSON, as part of a message, and as a schema.

A kind encodes what a message holds into JSON, and decodes JSON as Go's encoding/json would:
null leaves the zero value, numbers must fit, and nothing is converted silently.
"""

from __future__ import annotations

import base64
import binascii
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from google.protobuf.struct_pb2 import ListValue, NullValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from spincycle.model.job_chain import VALUE_DEPTH
from spincycle.rest_codec.encoding import Json, number
from spincycle.rest_codec.times import (
    ZERO_TIME,
    format_time,
    from_nanoseconds,
    parse_time,
    to_nanoseconds,
)

Path = tuple[str | int, ...]
"""Where a value stands in a JSON text: keys as they are written there, and indexes."""

_UINT32_END = 2**32
_INT64_END = 2**63
_BYTE_END = 256


class Mismatch(Exception):
    """A value of the wrong JSON type, or a number that does not fit.

    Attributes:
        go: type that was expected, in Go's words.
        path: where the value stands.
        field: path of the field, in the keys of the contract.
        got: what stands there, in Go's words; a number is to be quoted behind it.
    """

    def __init__(self, go: str, path: Path, field: str, value: Json) -> None:
        super().__init__(f"{field}: expected {go}")
        self.go = go
        self.path = path
        self.field = field
        self.got = json_kind(value)


class Unreadable(Exception):
    """A string that does not hold what it should; the message says so in Go's words."""


def json_kind(value: Json) -> str:
    """Go's name for the JSON type of a value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


@dataclass(frozen=True, slots=True)
class JsonPath:
    """Where decoding is: in the text, and in the contract."""

    path: Path = ()
    field: str = ""

    def at(self, key: str | int, name: str | None = None) -> JsonPath:
        """The place of an inner value; `name` if it is a field of the contract."""
        field = self.field
        if name is not None:
            field = f"{field}.{name}" if field else name
        return JsonPath((*self.path, key), field)

    def mismatch(self, go: str, value: Json) -> Mismatch:
        """The failure that `value` is no `go`."""
        return Mismatch(go, self.path, self.field, value)


class Codec(ABC):
    """One way for a value to travel.

    Attributes:
        go: name of the type, as the original's error texts give it.
        zero: what a missing or null value decodes to.
    """

    go: str
    zero: Any = None

    @abstractmethod
    def encode(self, value: Any) -> Json:
        """The JSON of a value out of a message."""

    @abstractmethod
    def decode(self, value: Json, place: JsonPath) -> Any:
        """The value that belongs into the message; `value` is not null.

        Raises:
            Mismatch: `value` has the wrong type or does not fit.
            Unreadable: it is a string with the wrong content.
        """

    @abstractmethod
    def schema(self) -> dict[str, Json]:
        """JSON schema of what `encode` gives."""


class Text(Codec):
    """A string."""

    go = "string"
    zero = ""

    def encode(self, value: str) -> Json:
        """As it is."""
        return value

    def decode(self, value: Json, place: JsonPath) -> str:
        """Lone surrogates become U+FFFD, as in Go."""
        if not isinstance(value, str):
            raise place.mismatch(self.go, value)
        if value.isascii():
            return value
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def schema(self) -> dict[str, Json]:
        """A string."""
        return {"type": "string"}


class Flag(Codec):
    """A truth value."""

    go = "bool"
    zero = False

    def encode(self, value: bool) -> Json:  # noqa: FBT001 # the value that a Flag is for
        """As it is."""
        return value

    def decode(self, value: Json, place: JsonPath) -> bool:
        """Only true and false."""
        if not isinstance(value, bool):
            raise place.mismatch(self.go, value)
        return value

    def schema(self) -> dict[str, Json]:
        """A truth value."""
        return {"type": "boolean"}


class Whole(Codec):
    """A whole number within bounds, written without point and exponent."""

    zero = 0

    def __init__(self, go: str, least: int, end: int) -> None:
        self.go = go
        self._least = least
        self._end = end

    def encode(self, value: int) -> Json:
        """As it is."""
        return int(value)

    def decode(self, value: Json, place: JsonPath) -> int:
        """A whole number that fits."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise place.mismatch(self.go, value)
        if not self._least <= value < self._end:
            raise place.mismatch(self.go, value)
        return value

    def schema(self) -> dict[str, Json]:
        """A whole number with its bounds."""
        return {"type": "integer", "minimum": self._least, "maximum": self._end - 1}


class Bytes(Codec):
    """Bytes, as standard base64."""

    go = "[]uint8"
    zero = b""

    def encode(self, value: bytes) -> Json:
        """Padded base64."""
        return base64.b64encode(value).decode("ascii")

    def decode(self, value: Json, place: JsonPath) -> bytes:
        """Padded base64; line ends in it are skipped, as in Go."""
        if not isinstance(value, str):
            raise place.mismatch(self.go, value)
        try:
            return base64.b64decode(value.replace("\r", "").replace("\n", ""), validate=True)
        except (binascii.Error, ValueError):
            raise Unreadable(f"illegal base64 data in field {place.field}")

    def schema(self) -> dict[str, Json]:
        """A string in base64."""
        return {"type": "string", "contentEncoding": "base64"}


class Time(Codec):
    """A time that is always written: Go's zero time if it is unset."""

    go = "time.Time"

    def encode(self, value: Timestamp) -> Json:
        """RFC 3339."""
        return format_time(value) if value.seconds or value.nanos else ZERO_TIME

    def decode(self, value: Json, place: JsonPath) -> Timestamp | None:
        """RFC 3339; the zero time is unset."""
        if not isinstance(value, str):
            raise Unreadable(f"Time.UnmarshalJSON: input is not a JSON string: {place.field}")
        try:
            return None if value == ZERO_TIME else parse_time(value)
        except ValueError as error:
            raise Unreadable(str(error))

    def schema(self) -> dict[str, Json]:
        """A time."""
        return {"type": "string", "format": "date-time"}


class OptionalTime(Time):
    """A time that is null while it is unset."""

    def encode(self, value: Timestamp) -> Json:
        """RFC 3339 or null."""
        return format_time(value) if value.seconds or value.nanos else None

    def schema(self) -> dict[str, Json]:
        """A time or null."""
        return {"type": ["string", "null"], "format": "date-time"}


class Nanoseconds(Codec):
    """A time as nanoseconds since 1970, 0 if it is unset."""

    go = "int64"

    def encode(self, value: Timestamp) -> Json:
        """Nanoseconds."""
        return to_nanoseconds(value)

    def decode(self, value: Json, place: JsonPath) -> Timestamp | None:
        """Nanoseconds; 0 is unset."""
        nanoseconds = INT64.decode(value, place)
        return from_nanoseconds(nanoseconds) if nanoseconds else None

    def schema(self) -> dict[str, Json]:
        """A whole number."""
        return INT64.schema()


class Anything(Codec):
    """A free-form value; numbers are float64."""

    go = "interface {}"

    def encode(self, value: Value) -> Json:
        """The value; null if it is unset."""
        kind = value.WhichOneof("kind")
        if kind == "string_value":
            return value.string_value
        if kind == "number_value":
            return number(value.number_value)
        if kind == "struct_value":
            return ANY_MAP.encode(value.struct_value)
        if kind == "list_value":
            return [self.encode(element) for element in value.list_value.values]
        return value.bool_value if kind == "bool_value" else None

    def decode(self, value: Json, place: JsonPath) -> Value:
        """The value."""
        return self._decode(value, place, VALUE_DEPTH)

    def _decode(self, value: Json, place: JsonPath, depth: int) -> Value:
        if value is None:
            return Value(null_value=NullValue.NULL_VALUE)
        if isinstance(value, bool):
            return Value(bool_value=value)
        if isinstance(value, str):
            return Value(string_value=TEXT.decode(value, place))
        if isinstance(value, int | float):
            return Value(number_value=_float64(value, place))
        if not depth:
            raise Unreadable(f"{place.field}: nested deeper than {VALUE_DEPTH} levels")
        if isinstance(value, list):
            elements = [
                self._decode(element, place.at(at), depth - 1) for at, element in enumerate(value)
            ]
            return Value(list_value=ListValue(values=elements))
        return Value(struct_value=self.decode_map(value, place, depth - 1))

    def decode_map(
        self, value: dict[str, Json], place: JsonPath, depth: int = VALUE_DEPTH
    ) -> Struct:
        """The members of an object."""
        return Struct(
            fields={
                TEXT.decode(key, place): self._decode(member, place.at(key), depth)
                for key, member in value.items()
            }
        )

    def schema(self) -> dict[str, Json]:
        """Anything."""
        return {}


def _float64(value: float, place: JsonPath) -> float:
    converted = float(value)
    if math.isinf(converted):
        raise place.mismatch("float64", value)
    return converted


class AnyMap(Codec):
    """Free-form values by name."""

    go = "map[string]interface {}"

    def encode(self, value: Struct) -> Json:
        """The values by name, sorted."""
        fields = value.fields
        return {key: ANY.encode(fields[key]) for key in sorted(fields)}

    def decode(self, value: Json, place: JsonPath) -> Struct:
        """An object."""
        if not isinstance(value, dict):
            raise place.mismatch(self.go, value)
        return ANY.decode_map(value, place)

    def schema(self) -> dict[str, Json]:
        """An object of anything."""
        return {"type": "object"}


TEXT = Text()
FLAG = Flag()
UINT = Whole("uint", 0, _UINT32_END)
UINT64 = Whole("uint64", 0, 2**64)
INT = Whole("int", -(2**31), 2**31)
INT64 = Whole("int64", -_INT64_END, _INT64_END)
STATE = Whole("uint8", 0, _BYTE_END)
BYTES = Bytes()
TIME = Time()
OPTIONAL_TIME = OptionalTime()
NANOSECONDS = Nanoseconds()
ANY = Anything()
ANY_MAP = AnyMap()
