"""The shape of a table: which key of an object is which field of a message.

One table serves to encode, to decode and to describe a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message as ProtoMessage

from spincycle.rest_codec.codecs import Codec, JsonPath
from spincycle.rest_codec.encoding import Json

M = TypeVar("M", bound=ProtoMessage)


@dataclass(frozen=True, slots=True)
class Field:
    """One key of an object.

    Attributes:
        key: the key in JSON.
        name: the field of the message.
        kind: how its value travels.
        omitted: whether the key is left out when the value is empty.
        presence: whether an unset field differs from an empty one; it is then null or left out.
        doc: what the key means, for the API's description.
    """

    key: str
    name: str
    kind: Codec
    omitted: bool = False
    presence: bool = False
    doc: str = ""


class MessageCodec(Codec, Generic[M]):
    """A message as an object.

    Args:
        go: name of the original's type.
        message: class of the message.
        fields: the keys, in the order in which they are written.
        name: name of the shape in the API's description; by default the type's.
        required: keys that must be there; by default those that are always written.
    """

    def __init__(
        self,
        go: str,
        message: type[M],
        fields: Sequence[Field],
        name: str | None = None,
        required: Sequence[str] | None = None,
    ) -> None:
        self.go = go
        self.message = message
        self.fields = tuple(fields)
        self.name = name or go.rpartition(".")[2]
        always = [field.key for field in fields if not field.omitted]
        self._required = always if required is None else list(required)
        self._by_key = {field.key.casefold(): field for field in fields}

    def without(self, name: str, *keys: str) -> MessageCodec[M]:
        """The same shape with some keys never written."""
        kept = [field for field in self.fields if field.key not in keys]
        return MessageCodec(self.go, self.message, kept, name)

    def with_field(self, name: str, changed: Field) -> MessageCodec[M]:
        """The same shape with one key described otherwise."""
        fields = [changed if field.key == changed.key else field for field in self.fields]
        return MessageCodec(self.go, self.message, fields, name)

    def encode(self, value: M) -> Json:
        """The object, its keys in the order of the table."""
        encoded: dict[str, Json] = {}
        for field in self.fields:
            if field.presence and not value.HasField(field.name):
                if not field.omitted:
                    encoded[field.key] = None
                continue
            inner = field.kind.encode(getattr(value, field.name))
            if inner or not field.omitted:
                encoded[field.key] = inner
        return encoded

    def decode(self, value: Json, place: JsonPath = JsonPath()) -> M:  # noqa: B008 # a frozen value
        """The message; keys match in any case, unknown ones are ignored, the last one wins.

        Raises:
            Mismatch, Unreadable: as `Codec.decode`.
        """
        if not isinstance(value, dict):
            raise place.mismatch(self.go, value)
        found: dict[str, Any] = {}
        for key, inner in value.items():
            field = self._by_key.get(key.casefold())
            if field is None or inner is None:
                continue
            found[field.name] = field.kind.decode(inner, place.at(key, field.key))
        return self.message(**{name: inner for name, inner in found.items() if inner is not None})

    def schema(self) -> dict[str, Json]:
        """A reference to the shape in the API's description."""
        return {"$ref": f"#/components/schemas/{self.name}"}

    def described(self) -> dict[str, Json]:
        """The shape itself."""
        properties: dict[str, Json] = {}
        for field in self.fields:
            shape = field.kind.schema()
            if field.presence and not field.omitted:
                shape = _or_null(shape)
            if field.doc:
                shape = {**shape, "description": field.doc}
            properties[field.key] = shape
        described: dict[str, Json] = {"type": "object", "properties": properties}
        if self._required:
            described["required"] = self._required
        return described


class ListOf(Codec):
    """A list; written as null when it is empty if Go's nil slice stands there."""

    zero = ()

    def __init__(self, element: Codec, *, null: bool = False) -> None:
        self.element = element
        self.go = f"[]{element.go}"
        self._null = null

    def encode(self, value: Sequence[Any]) -> Json:
        """The elements in order."""
        encode = self.element.encode
        return [encode(element) for element in value] or (None if self._null else [])

    def decode(self, value: Json, place: JsonPath) -> list[Any]:
        """An array; null in it is a zero value."""
        if not isinstance(value, list):
            raise place.mismatch(self.go, value)
        return [
            _zero(self.element) if element is None else self.element.decode(element, place.at(at))
            for at, element in enumerate(value)
        ]

    def schema(self) -> dict[str, Json]:
        """An array, or null where that is written."""
        return {
            "type": ["array", "null"] if self._null else "array",
            "items": self.element.schema(),
        }


class MapOf(Codec):
    """Values by name, sorted by it."""

    def __init__(self, element: Codec, *, null: bool = True) -> None:
        self.element = element
        self.go = f"map[string]{element.go}"
        self._null = null

    def encode(self, value: Any) -> Json:
        """The values by name; Go's nil map, if it is empty, as null."""
        encode = self.element.encode
        return {key: encode(value[key]) for key in sorted(value)} or (None if self._null else {})

    def decode(self, value: Json, place: JsonPath) -> Any:
        """An object; null in it is a zero value."""
        return dict(self.decode_members(value, place))

    def decode_members(self, value: Json, place: JsonPath) -> list[tuple[str, Any]]:
        """The members in the order in which they are written."""
        if not isinstance(value, dict):
            raise place.mismatch(self.go, value)
        return [
            (
                key,
                _zero(self.element) if inner is None else self.element.decode(inner, place.at(key)),
            )
            for key, inner in value.items()
        ]

    def schema(self) -> dict[str, Json]:
        """An object of such values, or null."""
        return {
            "type": ["object", "null"] if self._null else "object",
            "additionalProperties": self.element.schema(),
        }


class KeyedListCodec(MapOf):
    """A repeated message as an object: each message under the value of one of its fields.

    With `value` only that field of the message is written, in place of the whole.
    """

    def __init__(
        self, element: MessageCodec[Any], key: str, value: Field | None = None, *, null: bool = True
    ) -> None:
        super().__init__(value.kind if value else element, null=null)
        self._message = element.message
        self._key = key
        self._value = value

    def encode(self, value: Sequence[Any]) -> Json:
        """The messages by key, sorted; of two with one key the last."""
        name = self._value.name if self._value else None
        by_key = {getattr(message, self._key): message for message in value}
        if name:
            return super().encode({key: getattr(by_key[key], name) for key in by_key})
        return super().encode(by_key)

    def decode(self, value: Json, place: JsonPath) -> list[Any]:
        """The messages in the order in which they are written, each with its key."""
        decoded = []
        for key, inner in self.decode_members(value, place):
            if self._value:
                message = self._message(**{self._key: key, self._value.name: inner})
            else:
                message = inner
                setattr(message, self._key, key)
            decoded.append(message)
        return decoded


def _or_null(shape: dict[str, Json]) -> dict[str, Json]:
    kind = shape.get("type")
    if isinstance(kind, str):
        return {**shape, "type": [kind, "null"]}
    return {"anyOf": [shape, {"type": "null"}]} if "$ref" in shape else shape


def _zero(kind: Codec) -> Any:
    return kind.message() if isinstance(kind, MessageCodec) else kind.zero
