"""The base class of the error catalogue."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One invalid field of the input.

    Attributes:
        field: path of the field, for example `args.hosts`.
        description: what is wrong and how to correct it.
    """

    field: str
    description: str


class SpinCycleError(Exception):
    """Base class of the catalogue; never raised itself.

    Attributes:
        reason: stable name in upper snake case.
        code: name of the gRPC status code.
        http: HTTP status of the gateway's response.
        retryable: whether repeating the same call is safe and may succeed.
        retry_after: seconds to wait before repeating the call.
        remedy: what to do, for the table in docs/reference/errors.md.
    """

    reason: str
    code: str
    http: int
    retryable: bool = False
    retry_after: float = 1.0
    remedy: str

    @property
    def message(self) -> str:
        """The message for people: the class docstring with the fields filled in."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type] # every entry is a dataclass
        return " ".join((type(self).__doc__ or "").split()).format(**values)

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """The invalid fields of the input; empty for most errors."""
        return ()

    @property
    def metadata(self) -> dict[str, str]:
        """The scalar fields as text, for ErrorInfo."""
        plain: dict[str, str] = {}
        for field in fields(self):  # type: ignore[arg-type] # every entry is a dataclass
            value = getattr(self, field.name)
            if isinstance(value, str | int | float) and value != "":
                plain[field.name] = str(value)
        return plain

    @property
    def request_id_or_empty(self) -> str:
        """Id of the request that the error concerns; empty if there is none."""
        return str(getattr(self, "request_id", ""))

    def __str__(self) -> str:
        return self.message
