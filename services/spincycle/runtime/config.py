"""Configuration of a process: defaults, overridden by a YAML file, then by the environment.

Each process has its own frozen model based on `Config`, and its own prefix of environment
variables, so that all processes can share one environment. An unknown key is an error, both in the
file and in the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
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
    """The configuration is invalid; the message names each invalid key and its source."""


class Secret:
    """A text that is masked in every output; only `reveal` returns it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        """Return a mask."""
        return "**********"


class Section(msgspec.Struct, frozen=True):
    """A group of configuration keys."""


class LogConfig(Section, frozen=True):
    """The log, which is written to standard error."""

    level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$")] = "info"
    """Lowest severity that is logged: debug, info, warning or error."""

    format: Annotated[str, Meta(pattern="^(auto|human|json)$")] = "auto"
    """human, json, or auto: human on a terminal and json elsewhere."""


class PublicTlsConfig(Section, frozen=True):
    """TLS with people and programs; all files are PEM, and are read again when they change."""

    certificate: Path | None = None
    """Certificate chain of the public listener; with the key it enables TLS."""

    key: Path | None = None
    """Private key of that certificate."""

    allow_plaintext: bool = False
    """Allow listening without TLS on addresses other than loopback; otherwise startup fails."""


class TlsConfig(PublicTlsConfig, frozen=True):
    """TLS with people and programs, who may have to present certificates, too."""

    client_ca: Path | None = None
    """CA certificates of clients; set, clients must present a certificate signed by one of them."""


class DatabaseConfig(Section, frozen=True):
    """The PostgreSQL database of a service."""

    dsn: Secret = Secret("postgresql://127.0.0.1:5432/spincycle")
    """Connection URL of the database, postgresql://…."""

    max_connections: Annotated[int, Meta(ge=1)] = 8
    """Maximum number of connections of this process."""

    statement_timeout: Seconds = 15.0
    """Seconds after which a statement is cancelled."""

    migrate: bool = True
    """Apply missing migrations at startup."""


class IdentityConfig(Section, frozen=True):
    """How this process and the other services identify themselves to each other.

    Over TCP by certificates with SPIFFE IDs; all files are PEM, and are read again when they
    change. Over Unix sockets by tokens.
    """

    certificate: Path | None = None
    """Certificate chain of this process. Its certificate has exactly one URI as subject
    alternative name, spiffe://<trust domain>/spincycle/<service>/<instance>, and the DNS name
    <service>.<trust domain>."""

    key: Path | None = None
    """Private key of that certificate."""

    ca: Path | None = None
    """CA certificates for verifying the other services."""

    trust_domain: Annotated[str, Meta(pattern="^[a-z0-9._-]{1,255}$")] = "spincycle"
    """Trust domain of all services."""

    token: Secret = Secret("")
    """Token of this process, shown over Unix sockets."""


class InternalConfig(IdentityConfig, frozen=True):
    """The listener for the other services, and the identities of both sides."""

    listen: str = ""
    """Address of the listener for internal calls: host:port, or unix:/path of a socket."""

    tokens: dict[str, str] = {}
    """Identities of the other services over a Unix socket: the SHA-256 digest of a token in hex
    letters, and the SPIFFE ID of the service that has it."""

    allow_unidentified: bool = False
    """Allow calls without identity and in plain text: all who reach the listener may then run
    commands on runners and change every request. Otherwise startup fails without certificates and
    without tokens."""


class HealthConfig(Section, frozen=True):
    """An additional listener for health probes only, without TLS."""

    listen: str = ""
    """Address of the listener, host:port; empty for none. Every other listener serves gRPC health
    too."""


class MetricsConfig(Section, frozen=True):
    """Metrics for operators and autoscalers, in the Prometheus text format."""

    listen: str = ""
    """Address of the listener that serves /metrics, host:port; empty for none."""


class Config(Section, frozen=True):
    """Configuration keys that every process has."""

    prefix: ClassVar[str] = ""
    """Prefix of the process's environment variables."""

    log: LogConfig = LogConfig()
    """The log, which is written to standard error."""

    metrics: MetricsConfig = MetricsConfig()
    """Metrics for operators and autoscalers."""

    dumpable: bool = False
    """Let other processes of the same account, such as debuggers, profilers and jobs, read the
    memory and environment of this process, and the kernel write core files of it."""


C = TypeVar("C", bound=Config)
S = TypeVar("S", bound=Section)

_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")

_TEXT_TYPES = frozenset({str, Path, Secret, NoneType})
"""Types of keys whose environment variables are taken literally; others are parsed as YAML."""


def load_config(
    model: type[C], file: Path | None, environment: Mapping[str, str] | None = None
) -> C:
    """Load the configuration of a process.

    Raises:
        ConfigError: keys are unknown or values are invalid; the message names all of them.
    """
    document = _read(file) if file else {}
    loader = _Loader(file, os.environ if environment is None else environment)
    config = loader.section(model(), document, "", model.prefix)
    loader.check_unknown_variables(model.prefix)
    if loader.problems:
        raise ConfigError("\n".join(loader.problems))
    return config


def close_inherited(file: Path | None) -> None:
    """Close the descriptor that `file` names, such as /dev/fd/7, so that no child inherits it.

    Standard input, output and error stay open.
    """
    named = _DESCRIPTOR.fullmatch(str(file))
    if named and int(named[1]) > 2:
        os.close(int(named[1]))


def print_config(config: Config) -> str:
    """Return the configuration as an equivalent YAML file, with secrets masked."""
    text = yaml.safe_dump(
        msgspec.to_builtins(config, enc_hook=str), sort_keys=False, allow_unicode=True
    )
    return (
        f"# Each key can also be set as {config.prefix}KEY, or {config.prefix}SECTION__KEY.\n{text}"
    )


class _Loader:
    """Loads the keys one by one, and collects every problem with its key and source."""

    def __init__(self, file: Path | None, environment: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self._file = _name_of(file) if file else ""
        self._environment = {name.upper(): (name, text) for name, text in environment.items()}
        self._known: dict[str, None] = {}

    def section(self, default: S, document: object, path: str, variable_prefix: str) -> S:
        """Load a section from its part of the file and from the environment.

        Keys that are not set keep the values of `default`. `path` is the prefix of the section's
        keys in messages, `variable_prefix` that of its environment variables.
        """
        values = self._keys(document, path, default)
        for field in msgspec.structs.fields(type(default)):
            key, variable = path + field.name, variable_prefix + field.name.upper()
            current = getattr(default, field.name)
            if isinstance(current, Section):
                values[field.name] = self.section(
                    current, values.get(field.name), f"{key}.", f"{variable}__"
                )
                continue
            self._known[variable] = None
            try:
                if variable in self._environment:
                    source, text = self._environment[variable]
                    values[field.name] = _convert(_parse(text, field.type), field.type)
                elif field.name in values:
                    source = self._file
                    values[field.name] = _convert(values[field.name], field.type)
            except msgspec.ValidationError as error:
                self.problems.append(f"{key}: {_lower(str(error))} (in {source})")
                values.pop(field.name, None)
        return msgspec.structs.replace(default, **values)

    def check_unknown_variables(self, prefix: str) -> None:
        """Report each variable that has the prefix of this process but no key."""
        for variable, (name, _) in sorted(self._environment.items()):
            if variable.startswith(prefix) and variable not in self._known:
                suffix = f"__{variable.removeprefix(prefix)}"
                nested = [known for known in self._known if known.endswith(suffix)]
                suggestion = _suggestion(variable, nested, self._known)
                self.problems.append(
                    f"{name}: no such configuration key{suggestion}; "
                    "--print-config shows the known ones"
                )

    def _keys(self, document: object, path: str, default: Section) -> dict[str, Any]:
        if document is None:
            return {}
        if not isinstance(document, dict):
            problem = f"must be a mapping of keys, not {type(document).__name__}"
            self.problems.append(f"{path.removesuffix('.')}: {problem} (in {self._file})")
            return {}
        known = [field.name for field in msgspec.structs.fields(default)]
        defaults = {name: getattr(default, name) for name in known}
        for key in [key for key in document if key not in known]:
            nested = [
                f"{path}{name}.{key}"
                for name, section in defaults.items()
                if isinstance(section, Section) and hasattr(section, str(key))
            ]
            suggestion = _suggestion(str(key), nested, known)
            self.problems.append(
                f"{path}{key}: no such configuration key{suggestion} (in {self._file})"
            )
        return {key: document[key] for key in known if key in document}


def _read(file: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{_name_of(file)}: {error.strerror}")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{_name_of(file)}: not valid YAML: {error}")
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise ConfigError(f"{_name_of(file)}: must be a mapping of configuration keys")
    return document


def _name_of(file: Path) -> str:
    """Return the name of a file for messages; of an anonymous one, the name its creator chose."""
    if _DESCRIPTOR.fullmatch(str(file)):
        with suppress(OSError):
            target = str(file.readlink())
            if target.startswith("/memfd:"):
                return target.removeprefix("/memfd:").removesuffix(" (deleted)")
    return str(file)


def _parse(text: str, key_type: Any) -> Any:
    """Return the value of an environment variable for a key of a type, before conversion."""
    if get_origin(key_type) is Annotated:
        key_type = get_args(key_type)[0]
    types = set(get_args(key_type)) if isinstance(key_type, UnionType) else {key_type}
    if types <= _TEXT_TYPES:
        return None if not text and NoneType in types else text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _convert(value: Any, key_type: Any) -> Any:
    return msgspec.convert(value, key_type, dec_hook=_from_text)


def _from_text(key_type: Any, value: object) -> Any:
    if not isinstance(value, str):
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
    return key_type(value)


def _suggestion(name: str, nested: Sequence[str], known: Iterable[str]) -> str:
    """Return a question to append to a message: nested keys of that name, or a similar key."""
    if not nested:
        return did_you_mean(name, known)
    quoted = [f'"{key}"' for key in nested]
    return f" (did you mean {' or '.join(quoted)}?)"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
