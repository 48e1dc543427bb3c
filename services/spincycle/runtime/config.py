"""Configuration of a process: defaults, then a YAML file, then the environment.

Each process has a frozen model of its own on top of `Config`, and an environment prefix of
its own, so that all of them can live in one environment. An unknown key is an error in the
file and in the environment alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin

import msgspec
import yaml
from msgspec import Meta

from spincycle.text.nearest import did_you_mean

Seconds = Annotated[float, Meta(gt=0)]
"""A duration in seconds."""


class ConfigError(Exception):
    """The configuration cannot be used; the message names each key and where it stands."""


class Secret:
    """A text that is shown nowhere, unless somebody asks for it by name."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text."""
        return self._text

    def __repr__(self) -> str:
        """Something in its place."""
        return "**********"


class Section(msgspec.Struct, frozen=True):
    """A group of keys within a configuration."""


class LogConfig(Section, frozen=True):
    """What is written to standard error."""

    level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$")] = "info"
    """Least severity that is written: debug, info, warning or error."""

    format: Annotated[str, Meta(pattern="^(auto|human|json)$")] = "auto"
    """human, json, or auto: human on a terminal and json elsewhere."""


class BackendTlsConfig(Section, frozen=True):
    """TLS with the services that a process calls, in PEM files."""

    certificate: Path | None = None
    """Certificate chain of this process."""

    key: Path | None = None
    """Private key of that certificate."""

    ca: Path | None = None
    """Authorities of the services that this process calls; calls go over TLS if it is set."""

    server_name: str = ""
    """Name that the certificates of those services must have; empty: the address's own."""


class GatewayTlsConfig(BackendTlsConfig, frozen=True):
    """TLS of a process that listens without TLS."""

    allow_plaintext: bool = False
    """Listen without TLS beyond loopback; without it the process does not start there."""


class TlsConfig(GatewayTlsConfig, frozen=True):
    """TLS with callers too: it is spoken if there are a certificate and its key."""

    client_ca: Path | None = None
    """Authorities of callers: one without a certificate of theirs is refused."""


class DatabaseConfig(Section, frozen=True):
    """The PostgreSQL database of a service."""

    dsn: Secret = Secret("postgresql://127.0.0.1:5432/spincycle")
    """Where the database is, as a postgresql:// address."""

    max_connections: Annotated[int, Meta(ge=1)] = 8
    """Most connections of this process."""

    statement_timeout: Seconds = 15.0
    """Seconds after which a statement is given up."""

    migrate: bool = True
    """Bring the schema up to date at start."""


class InternalConfig(Section, frozen=True):
    """The listener for the other services."""

    listen: str = ""
    """Address to serve the internal calls on: host:port, or unix:/path of a socket."""


class HealthConfig(Section, frozen=True):
    """A listener for probes alone, without TLS."""

    listen: str = ""
    """Address to serve gRPC health on, host:port; empty for none. Every other listener serves
    health too."""


class MetricsConfig(Section, frozen=True):
    """Figures for operators and autoscalers, in the format of Prometheus."""

    listen: str = ""
    """Address to serve /metrics on, host:port; empty for none."""


class Config(Section, frozen=True):
    """What every process is told."""

    prefix: ClassVar[str] = ""
    """What the names of its variables in the environment begin with."""

    log: LogConfig = LogConfig()
    """What is written to standard error."""

    metrics: MetricsConfig = MetricsConfig()
    """Figures for operators and autoscalers."""


C = TypeVar("C", bound=Config)
S = TypeVar("S", bound=Section)

_TEXTS = frozenset({str, Path, Secret, NoneType})
"""For keys of these kinds a variable is taken as it is; for others it is read as YAML."""


def load_config(
    model: type[C], file: Path | None, environment: Mapping[str, str] | None = None
) -> C:
    """The configuration of a process.

    Raises:
        ConfigError: a key is unknown or a value is wrong; all of them are named.
    """
    said = _read(file) if file else {}
    reading = _Reading(file, os.environ if environment is None else environment)
    config = reading.section(model(), said, "", model.prefix)
    reading.look_for_unknown_variables(model.prefix)
    if reading.problems:
        raise ConfigError("\n".join(reading.problems))
    return config


def print_config(config: Config) -> str:
    """The configuration as a YAML file that would give it again, secrets masked."""
    text = yaml.safe_dump(
        msgspec.to_builtins(config, enc_hook=str), sort_keys=False, allow_unicode=True
    )
    return (
        f"# Each key can also be set as {config.prefix}KEY, or {config.prefix}SECTION__KEY.\n{text}"
    )


class _Reading:
    """Reads each key by itself, so that all mistakes are found and each is told where it is."""

    def __init__(self, file: Path | None, environment: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self._file = file
        self._environment = {name.upper(): (name, text) for name, text in environment.items()}
        self._known: dict[str, None] = {}

    def section(self, default: S, said: object, path: str, variables: str) -> S:
        """A section of the file, whose keys are under a path and have such variables.

        Keys that are not set have the values of `default`.
        """
        kind = type(default)
        fields = msgspec.structs.fields(kind)
        values = self._keys(said, path, default)
        for field in fields:
            here, variable = path + field.name, variables + field.name.upper()
            inner = getattr(default, field.name)
            if isinstance(inner, Section):
                values[field.name] = self.section(
                    inner, values.get(field.name), f"{here}.", f"{variable}__"
                )
                continue
            self._known[variable] = None
            try:
                if variable in self._environment:
                    where, text = self._environment[variable]
                    values[field.name] = _converted(_plain(text, field.type), field.type)
                elif field.name in values:
                    where = str(self._file)
                    values[field.name] = _converted(values[field.name], field.type)
            except msgspec.ValidationError as error:
                self.problems.append(f"{here}: {_lower(str(error))} (in {where})")
                values.pop(field.name, None)
        return msgspec.structs.replace(default, **values)

    def look_for_unknown_variables(self, prefix: str) -> None:
        """Have a variable that looks like one of this process and is none be a mistake."""
        for variable, (name, _) in sorted(self._environment.items()):
            if variable.startswith(prefix) and variable not in self._known:
                within = f"__{variable.removeprefix(prefix)}"
                moved = [known for known in self._known if known.endswith(within)]
                meant = _meant(variable, moved, self._known)
                self.problems.append(
                    f"{name}: no such configuration key{meant}; --print-config shows the known ones"
                )

    def _keys(self, said: object, path: str, default: Section) -> dict[str, Any]:
        if said is None:
            return {}
        if not isinstance(said, dict):
            problem = f"must be a mapping of keys, not {type(said).__name__}"
            self.problems.append(f"{path.removesuffix('.')}: {problem} (in {self._file})")
            return {}
        known = [field.name for field in msgspec.structs.fields(default)]
        inner = {name: getattr(default, name) for name in known}
        for key in [key for key in said if key not in known]:
            moved = [
                f"{path}{name}.{key}"
                for name, section in inner.items()
                if isinstance(section, Section) and hasattr(section, str(key))
            ]
            meant = _meant(str(key), moved, known)
            self.problems.append(f"{path}{key}: no such configuration key{meant} (in {self._file})")
        return {key: said[key] for key in known if key in said}


def _read(file: Path) -> dict[str, Any]:
    try:
        said = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid YAML: {error}")
    if said is None:
        return {}
    if not isinstance(said, dict) or not all(isinstance(key, str) for key in said):
        raise ConfigError(f"{file}: must be a mapping of configuration keys")
    return said


def _plain(text: str, kind: Any) -> Any:
    """What a variable says, for a key of a kind."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    kinds = set(get_args(kind)) if isinstance(kind, UnionType) else {kind}
    if kinds <= _TEXTS:
        return None if not text and NoneType in kinds else text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _converted(value: Any, kind: Any) -> Any:
    return msgspec.convert(value, kind, dec_hook=_of_text)


def _of_text(kind: Any, value: object) -> Any:
    if not isinstance(value, str):
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
    return kind(value)


def _meant(name: str, moved: Sequence[str], known: Iterable[str]) -> str:
    """A question to append to a message: keys of that name in sections, or else a similar name."""
    if not moved:
        return did_you_mean(name, known)
    quoted = [f'"{key}"' for key in moved]
    return f" (did you mean {' or '.join(quoted)}?)"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
