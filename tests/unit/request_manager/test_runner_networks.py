"""Addresses that runners may advertise."""

from __future__ import annotations

import pytest

from spincycle.errors import InvalidInput
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.request_manager.runners.runner_networks import RunnerNetworks
from spincycle.runtime.config import ConfigError

DEFAULT = RequestManagerConfig().runner_networks


def is_allowed(address: str, *networks: str) -> bool:
    try:
        RunnerNetworks(networks or DEFAULT).check(address)
    except InvalidInput:
        return False
    return True


@pytest.mark.parametrize("address", ["8.8.8.8:1", "runner-0:1"])
def test_a_refusal_names_the_setting(address: str) -> None:
    with pytest.raises(InvalidInput, match="runner_networks"):
        RunnerNetworks(DEFAULT).check(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:1",
        "127.9.9.9:1",
        "localhost:1",
        "LOCALHOST.:1",
        "[::1]:1",
        "10.1.2.3:32321",
        "172.16.0.1:1",
        "172.31.255.255:1",
        "192.168.0.1:1",
        "100.64.0.1:1",
        "[fd00::1]:1",
        "[::ffff:10.0.0.1]:1",
    ],
)
def test_loopback_and_private_addresses_are_allowed_by_default(address: str) -> None:
    assert is_allowed(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0:1",
        "[::]:1",
        "[::ffff:0.0.0.0]:1",
        "169.254.169.254:80",
        "[::ffff:169.254.169.254]:80",
        "[::ffff:a9fe:a9fe]:80",
        "[fe80::1]:1",
        "[fe80::1%eth0]:1",
        "[fd00:ec2::254]:80",
        "100.100.100.200:80",
        "224.0.0.1:1",
        "[ff02::1]:1",
        "255.255.255.255:1",
        "8.8.8.8:1",
        "172.32.0.1:1",
        "[2001:db8::1]:1",
        "[::127.0.0.1]:1",
        "[64:ff9b::a00:1]:1",
        "[2002:a00:1::]:1",
        "runner-0:1",
        "localhost.example:1",
        "127.1:1",
        "2130706433:1",
        "0x7f000001:1",
        "010.0.0.1:1",
    ],
)
def test_other_addresses_and_host_names_are_refused_by_default(address: str) -> None:
    assert not is_allowed(address)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("runner-0:1", True),
        ("RUNNER-0.:1", True),
        ("runner-1:1", False),
        ("a.runners.example:1", True),
        ("a.b.runners.example:1", True),
        ("runners.example:1", False),
        ("evilrunners.example:1", False),
        ("a.runners.example.evil:1", False),
        ("203.0.113.7:1", True),
        ("203.0.114.7:1", False),
        ("127.0.0.1:1", False),
        ("localhost:1", False),
    ],
)
def test_the_setting_replaces_the_default_by_networks_and_host_names(
    address: str, allowed: bool
) -> None:
    listed = ("runner-0", "*.runners.example", "203.0.113.0/24")

    assert is_allowed(address, *listed) is allowed


def test_addresses_that_no_host_has_are_refused_in_every_network() -> None:
    everything = ("0.0.0.0/0", "::/0")

    assert is_allowed("8.8.8.8:1", *everything)
    assert is_allowed("[2001:db8::1]:1", *everything)
    for address in ("0.0.0.0:1", "[::]:1", "224.0.0.1:1", "[ff02::1]:1"):
        assert not is_allowed(address, *everything)


def test_a_metadata_service_is_allowed_only_by_itself() -> None:
    assert not is_allowed("100.100.100.200:80", "100.100.100.0/24")
    assert is_allowed("100.100.100.200:80", "100.100.100.200/32")


@pytest.mark.parametrize(
    "item", ["10.0.0.1/8", "10/8", "300.0.0.0/8", "", "*", "*.", "a b", "1.2.3"]
)
def test_an_item_that_is_neither_a_network_nor_a_host_name_is_reported(item: str) -> None:
    with pytest.raises(ConfigError, match="runner_networks") as failure:
        RunnerNetworks(("10.0.0.0/8", item))

    assert f'"{item}"' in str(failure.value)
