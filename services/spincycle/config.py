"""Configuration of a process: defaults, then a YAML file, then the environment.

Each process has a frozen model of its own on top of `Config`, and an environment prefix of
its own, so that all of them can live in one environment. An unknown key is an error in the
file and in the environment alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

Seconds = Annotated[float, Field(gt=0)]
"""A duration in seconds."""


class ConfigError(Exception):
    """The configuration cannot be used; the message names each key and where it stands."""


class Section(BaseModel):
    """A group of keys within a configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LogConfig(Section):
    """What is written to standard error."""

    level: str = Field("info", pattern="^(debug|info|warning|error)$")
    """Least severity that is written: debug, info, warning or error."""

    format: str = Field("auto", pattern="^(auto|human|json)$")
    """human, json, or auto: human on a terminal and json elsewhere."""


class BackendTlsConfig(Section):
    """TLS with the services that a process calls, in PEM files."""

    certificate: Path | None = None
    """Certificate chain of this process."""

    key: Path | None = None
    """Private key of that certificate."""

    ca: Path | None = None
    """Authorities of the services that this process calls; calls go over TLS if it is set."""

    server_name: str = ""
    """Name that the certificates of those services must have; empty: the address's own."""


class TlsConfig(BackendTlsConfig):
    """TLS with callers too: it is spoken if there are a certificate and its key."""

    client_ca: Path | None = None
    """Authorities of callers: one without a certificate of theirs is refused."""


class DatabaseConfig(Section):
    """The PostgreSQL database of a service."""

    dsn: SecretStr = SecretStr("postgresql://127.0.0.1:5432/spincycle")
    """Where the database is, as a postgresql:// address."""

    max_connections: int = Field(8, ge=1)
    """Most connections of this process."""

    statement_timeout: Seconds = 15.0
    """Seconds after which a statement is given up."""

    migrate: bool = True
    """Bring the schema up to date at start."""


class MetricsConfig(Section):
    """Figures for operators and autoscalers, in the format of Prometheus."""

    listen: str = ""
    """Address to serve /metrics on, host:port; empty for none."""


class Config(BaseSettings):
    """What every process is told."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_nested_delimiter="__", use_attribute_docstrings=True
    )

    log: LogConfig = LogConfig()
    """What is written to standard error."""

    metrics: MetricsConfig = MetricsConfig()
    """Figures for operators and autoscalers."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 # part of the signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 # part of the signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over what the file says."""
        from_file = (
            init_settings.init_kwargs if isinstance(init_settings, InitSettingsSource) else {}
        )
        return env_settings, InitSettingsSource(settings_cls, init_kwargs=from_file)


C = TypeVar("C", bound=Config)


def load_config(
    model: type[C], file: Path | None, environment: Mapping[str, str] | None = None
) -> C:
    """The configuration of a process.

    Raises:
        ConfigError: a key is unknown or a value is wrong; all of them are named.
    """
    environment = os.environ if environment is None else environment
    said = _read(file) if file else {}
    problems = list(_unknown_variables(model, environment))
    try:
        config = model(**said)
    except ValidationError as error:
        origin = str(file) if file else "the environment"
        problems += [
            f"{'.'.join(str(part) for part in problem['loc']) or 'configuration'}: "
            f"{problem['msg'][0].lower()}{problem['msg'][1:]} (in {origin} or a "
            f"{model.model_config['env_prefix']}… variable)"
            for problem in error.errors()
        ]
        raise ConfigError("\n".join(problems))
    if problems:
        raise ConfigError("\n".join(problems))
    return config


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


def _unknown_variables(model: type[Config], environment: Mapping[str, str]) -> Iterator[str]:
    prefix = str(model.model_config.get("env_prefix"))
    known = {prefix + name.upper() for name in _variables(model)}
    for name in sorted(environment):
        if name.upper().startswith(prefix) and name.upper() not in known:
            yield f"{name}: no such configuration key; --print-config shows the known ones"


def _variables(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from (f"{name}__{inner}" for inner in _variables(field.annotation))


def print_config(config: Config) -> str:
    """The configuration as a YAML file that would give it again, secrets masked."""
    prefix = str(type(config).model_config.get("env_prefix"))
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return f"# Each key can also be set as {prefix}KEY, or {prefix}SECTION__KEY.\n{text}"
