"""What every entry of the catalogue has."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One thing that is wrong with the input.

    Attributes:
        field: path of the field, for example `args.hosts`.
        description: what is wrong with it and what to do.
    """

    field: str
    description: str


class SpinCycleError(Exception):
    """The base of the catalogue; never raised itself.

    Attributes:
        reason: stable name in upper snake case.
        code: name of the gRPC status code.
        http: HTTP status under which the gateway answers it.
        retryable: whether the same call can be made again without harm and with hope.
        retry_after: seconds that a caller had better wait before that.
        remedy: what to do about it, for the table in docs/reference/errors.md.
    """

    reason: str
    code: str
    http: int
    retryable: bool = False
    retry_after: float = 1.0
    remedy: str

    @property
    def message(self) -> str:
        """The sentence for a person."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type] # every entry is a dataclass
        return " ".join((type(self).__doc__ or "").split()).format(**values)

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """What is wrong with the input, field by field; empty for most errors."""
        return ()

    @property
    def metadata(self) -> dict[str, str]:
        """The plain fields as text, for ErrorInfo."""
        plain: dict[str, str] = {}
        for field in fields(self):  # type: ignore[arg-type] # every entry is a dataclass
            value = getattr(self, field.name)
            if isinstance(value, str | int | float) and value != "":
                plain[field.name] = str(value)
        return plain

    @property
    def request_id_or_empty(self) -> str:
        """Request that the failure is about."""
        return str(getattr(self, "request_id", ""))

    def __str__(self) -> str:
        return self.message
