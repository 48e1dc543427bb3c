"""Addresses and credentials of the services, from options, environment, contexts and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spincycle.cli.config_files import Contexts, load_files
from spincycle.cli.credential import (
    NO_CREDENTIAL,
    Credential,
    from_file,
    from_login,
    from_variable,
    token_file_of,
)
from spincycle.cli.login_settings import LoginSettings
from spincycle.cli.problem import Problem

DEFAULT_ADDR = "127.0.0.1:32310"
DEFAULT_JOB_LOG = "127.0.0.1:32312"
DEFAULT_TIMEOUT = 5000
TOKEN_VARIABLE = "SPINC_TOKEN"  # noqa: S105 # the name of a variable
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
        credential: the bearer token, and the addresses that it is for.
        login: file in which `spinc login` stores the token for these addresses and this context;
            None without config files.
        login_settings: where `spinc login` logs in.
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
    credential: Credential = NO_CREDENTIAL
    login: Path | None = None
    login_settings: LoginSettings = field(default_factory=LoginSettings)
    tls: Tls | None = None
    given: tuple[tuple[str, str], ...] = ()

    @property
    def target(self) -> str:
        """Address to print: the gateway's or the request manager's."""
        return self.rest or self.addr

    @property
    def addresses(self) -> frozenset[str]:
        """All addresses in use: the gateway's, or those of the services."""
        return frozenset({self.rest} if self.rest else {self.addr, self.job_log})

    @property
    def token_hint(self) -> str:
        """What was sent of the token, for callers that are refused; empty without a token."""
        credential = self.credential
        if not credential.token:
            return ""
        others = sorted(a for a in self.addresses if not credential.is_for(a))
        if not others:
            return f"the token of {credential.source} was sent: replace it, or log in: spinc login"
        own = ", ".join(sorted(credential.addresses or ()))
        return f"the token of {credential.source} is for {own}, and is not sent to {others[0]}"


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~")
"""Characters of an address or a context that its file name has, too."""

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
    paths = config_paths(options, environment)
    files = load_files(paths)
    name = options.get("context") or from_environment.get("context") or files.current
    merged: dict[str, Any] = {**files.plain, **_context(files, name)}
    for source in (from_environment, options):
        if "addr" in source:
            # An address given here overrides a gateway from a file or a context.
            merged.pop("rest", None)
        merged |= source
    settings = _settings(merged, name or "", options)
    login = _login_file(paths, settings)
    credential = _credential(files, settings, login, environment)
    return replace(settings, login=login, credential=credential)


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
    addr, job_log, rest = _addresses(merged)
    tls = merged.get("tls")
    return Settings(
        addr=addr,
        job_log=job_log,
        rest=rest,
        timeout=_milliseconds(merged.get("timeout", DEFAULT_TIMEOUT)) / 1000,
        env=str(merged.get("env", "")),
        debug=_is_true(merged.get("debug", False)),
        context=context,
        tls=None if tls is None else _tls(tls),
        login_settings=LoginSettings.of(merged.get("login")),
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


def _addresses(merged: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the addresses of the request manager and the job log, and the URL of the gateway."""
    addr = str(merged.get("addr", DEFAULT_ADDR))
    rest = str(merged.get("rest", ""))
    if addr.startswith(("http://", "https://")):
        # The original's address is a URL of its REST API, which the gateway serves.
        rest, addr = rest or addr, DEFAULT_ADDR
    return addr, str(merged.get("job-log", DEFAULT_JOB_LOG)), rest.rstrip("/")


def _credential(
    files: Contexts, settings: Settings, login: Path | None, environment: Mapping[str, str]
) -> Credential:
    """Return the token of the variable, of the context, of `spinc login` or of the files.

    A token file is for the addresses beside which it is configured, whichever are in use.
    """
    if token := environment.get(TOKEN_VARIABLE):
        return from_variable(token, TOKEN_VARIABLE)
    context = _context(files, settings.context)
    found: list[Credential] = []
    if file := token_file_of(context):
        found.append(from_file(file, _bound({**files.plain, **context})))
    if login:
        found.append(from_login(login))
    if file := token_file_of(files.plain):
        found.append(from_file(file, _bound(files.plain)))
    usable = [one for one in found if one.is_for(settings.target)]
    return next(iter([*usable, *filter(_has_token, found)]), NO_CREDENTIAL)


def _has_token(credential: Credential) -> bool:
    return bool(credential.token)


def _bound(keys: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(filter(None, _addresses(keys)))


def _login_file(paths: list[Path], settings: Settings) -> Path | None:
    """Return the file of the login: each context has one for each address that it is used with."""
    if not paths:
        return None
    name = f"{_file_name(settings.context)}@{_file_name(settings.target)}.json"
    return _login_directory(paths[-1]) / name


def delete_logins(config: Path, context: str) -> None:
    """Delete the logins of a context in a config file.

    Raises:
        Problem: a file cannot be deleted.
    """
    begin = f"{_file_name(context)}@"
    for file in _login_directory(config).glob("*.json"):
        if file.name.startswith(begin):
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise Problem(f"cannot delete {file}: {error.strerror}")


def _login_directory(config: Path) -> Path:
    return config.with_name(f"{config.stem}.tokens")


def _file_name(text: str) -> str:
    """Return a text with "%" and two hex digits for each byte that a file name should not have.

    As urllib.parse.quote does, whose import would take 3 ms of every command.
    """
    return "".join(chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}" for byte in text.encode())
