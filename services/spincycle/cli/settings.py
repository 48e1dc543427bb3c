"""Addresses and credentials of the services, from options, environment, contexts and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spincycle.cli.config_files import Contexts, load_files
from spincycle.cli.problem import Problem

DEFAULT_ADDR = "127.0.0.1:32310"
DEFAULT_JOB_LOG = "127.0.0.1:32312"
DEFAULT_TIMEOUT = 5000
DEFAULT_CONFIG = "/etc/spinc/spinc.yaml,~/.spinc.yaml"


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files of a TLS connection; empty paths are ignored.

    Attributes:
        ca: certificates to trust instead of the system's.
        cert: certificate of this client.
        key: private key of this client.
        server_name: name to expect in the server's certificate instead of its address.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one call of spinc.

    Attributes:
        addr: host:port of the request manager.
        job_log: host:port of the job log.
        rest: base URL of a gateway to use instead of both; empty for gRPC.
        timeout: seconds for one call.
        env: environment that the user works in; only printed.
        debug: whether to log every call on standard error.
        context: name of the context in use, or empty.
        token: bearer token, or empty.
        tls: files of a TLS connection; None for a plaintext one.
        given: options to repeat in commands that spinc prints, in order.
    """

    addr: str = DEFAULT_ADDR
    job_log: str = DEFAULT_JOB_LOG
    rest: str = ""
    timeout: float = DEFAULT_TIMEOUT / 1000
    env: str = ""
    debug: bool = False
    context: str = ""
    token: str = field(default="", repr=False)
    tls: Tls | None = None
    given: tuple[tuple[str, str], ...] = ()

    @property
    def target(self) -> str:
        """Address to print: the gateway's or the request manager's."""
        return self.rest or self.addr


_REPEATED = ("env", "addr", "config", "context", "job-log", "rest")


def resolve(options: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """Return the settings; defaults < files < context < environment < command line.

    Raises:
        Problem: a file or a value is invalid.
    """
    from_environment = {
        name: environment[variable]
        for name in ("addr", "job-log", "rest", "timeout", "env", "debug", "config", "context")
        if environment.get(variable := "SPINC_" + name.upper().replace("-", "_"))
    }
    if token := environment.get("SPINC_TOKEN"):
        from_environment["token"] = token
    files = load_files(config_paths(options, environment))
    name = options.get("context") or from_environment.get("context") or files.current
    merged: dict[str, Any] = {**files.plain, **_context(files, name)}
    for source in (from_environment, options):
        if "addr" in source:
            # An address given here overrides a gateway from a file or a context.
            merged.pop("rest", None)
        merged |= source
    return _settings(merged, name or "", options)


def config_paths(options: Mapping[str, Any], environment: Mapping[str, str]) -> list[Path]:
    """Return the config files to read; later ones override earlier ones."""
    text = options.get("config") or environment.get("SPINC_CONFIG") or DEFAULT_CONFIG
    return [Path(part.strip()).expanduser() for part in str(text).split(",") if part.strip()]


def _context(files: Contexts, name: str | None) -> dict[str, Any]:
    if not name:
        return {}
    if name not in files.contexts:
        raise Problem(f'there is no context "{name}"', "run 'spinc context list' to list contexts")
    return files.contexts[name]


def _settings(merged: Mapping[str, Any], context: str, options: Mapping[str, Any]) -> Settings:
    addr = str(merged.get("addr", DEFAULT_ADDR))
    rest = str(merged.get("rest", ""))
    if addr.startswith(("http://", "https://")):
        # The original's address is a URL of its REST API, which the gateway serves.
        rest, addr = rest or addr, DEFAULT_ADDR
    tls = merged.get("tls")
    return Settings(
        addr=addr,
        job_log=str(merged.get("job-log", DEFAULT_JOB_LOG)),
        rest=rest.rstrip("/"),
        timeout=_milliseconds(merged.get("timeout", DEFAULT_TIMEOUT)) / 1000,
        env=str(merged.get("env", "")),
        debug=_is_true(merged.get("debug", False)),
        context=context,
        token=_token(merged),
        tls=None if tls is None else _tls(tls),
        given=tuple((name, str(options[name])) for name in _REPEATED if name in options),
    )


def _milliseconds(value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number <= 0:
        raise Problem(f'timeout "{value}" is not a number of milliseconds above 0')
    return number


def _is_true(value: Any) -> bool:
    return str(value).strip().lower() not in {"", "0", "false", "no", "off"}


def _tls(value: Any) -> Tls:
    if not isinstance(value, Mapping):
        return Tls()
    return Tls(**{name.replace("-", "_"): str(text) for name, text in value.items()})


def _token(merged: Mapping[str, Any]) -> str:
    if "token" in merged:
        return str(merged["token"])
    file = merged.get("token-file")
    if not file:
        return ""
    try:
        return Path(str(file)).expanduser().read_text().strip()
    except OSError as error:
        raise Problem(f"cannot read the token file {file}: {error.strerror}")
    except UnicodeDecodeError:
        raise Problem(f"the token file {file} is not UTF-8 text")
