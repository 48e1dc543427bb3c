"""Loopback addresses, and the check for plain text on other addresses."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv6Address, ip_address


def is_loopback(listen: str) -> bool:
    """Return whether a listener on host:port accepts connections from this machine only.

    The only host name accepted is localhost: the addresses of other names can change.
    """
    host = listen.rpartition(":")[0].strip("[]")
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback


def host_of_listener(host: str, *, is_ipv6: bool) -> str:
    """Return the address at which callers over loopback reach a listener on `host`."""
    host = host.strip("[]")
    with suppress(ValueError):
        if not ip_address(host).is_unspecified:
            return host
    return "::1" if is_ipv6 else "127.0.0.1"


def check_plaintext(listen: str, setting: str, *, allowed: bool, encrypt: str) -> None:
    """Check that a listener without TLS is on loopback, or that plain text is allowed.

    Args:
        listen: address of the listener, host:port.
        setting: configuration key of the address.
        allowed: value of `tls.allow_plaintext`.
        encrypt: instruction for the operator to use TLS, for the message.

    Raises:
        ConfigError: other machines would connect in plain text, and that is not allowed.
    """
    # Imported late: spinc, which only asks for loopback addresses, starts faster without it.
    from spincycle.runtime.config import ConfigError

    if not allowed and not is_loopback(listen):
        raise ConfigError(
            f"{setting}: {listen} is not a loopback address, and the listener has no TLS: "
            f"{encrypt}, or set tls.allow_plaintext: true to accept calls in plain text"
        )
