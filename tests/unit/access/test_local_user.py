from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from spincycle.access.credentials import Address, Credentials, TcpConnection
from spincycle.access.local_user import LocalUser, connection_owner
from spincycle.errors import NotAuthenticated

HERE = TcpConnection(Address("127.0.0.1", 40000), Address("127.0.0.1", 32310))
ELSEWHERE = TcpConnection(Address("10.0.0.7", 40000), Address("10.0.0.1", 32310))

OWN = os.geteuid()
NAMES = {uid: pwd.getpwuid(uid).pw_name for uid in (0, OWN)}


def local_user(owner: int | None) -> LocalUser:
    return LocalUser(("admin",), lambda _: owner)


@pytest.mark.parametrize("uid", sorted(NAMES))
async def test_root_and_the_account_of_the_service_are_accepted_by_name(uid: int) -> None:
    caller = await local_user(uid).authenticate(Credentials(connection=HERE))

    assert caller is not None
    assert (caller.name, caller.roles) == (NAMES[uid], ("admin",))


@pytest.mark.parametrize("uid", [OWN + 1, 65534, None])
async def test_another_account_is_refused_and_so_is_one_that_cannot_be_known(
    uid: int | None,
) -> None:
    with pytest.raises(NotAuthenticated, match="show a token"):
        await local_user(uid).authenticate(Credentials(connection=HERE))


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials(connection=ELSEWHERE),
        Credentials(),
        Credentials({"authorization": ["Bearer x"]}, connection=HERE),
        *(
            Credentials({header: ["10.0.0.7"]}, connection=HERE)
            for header in ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
        ),
    ],
)
async def test_a_call_from_elsewhere_with_a_token_or_through_a_proxy_is_none_of_a_local_user(
    credentials: Credentials,
) -> None:
    assert await local_user(OWN).authenticate(credentials) is None


@pytest.fixture(params=["127.0.0.1", "::1"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a connection over loopback, that of the client first."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with closing(socket.socket(family)) as listener:
        listener.bind((request.param, 0))
        listener.listen()
        client = socket.create_connection(listener.getsockname()[:2])
        server, _ = listener.accept()
    with client, server:
        yield client, server


def connection_of(client: socket.socket) -> TcpConnection:
    return TcpConnection(Address(*client.getsockname()[:2]), Address(*client.getpeername()[:2]))


def test_the_kernel_names_the_owner_of_a_connection(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    assert connection_owner(connection_of(ends[0])) == OWN


def test_a_connection_that_its_caller_has_closed_belongs_to_nobody(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """The kernel shows uid 0 for it, which must not be taken for root."""
    connection = connection_of(ends[0])
    ends[0].close()

    assert connection_owner(connection) is None


def test_a_connection_that_does_not_exist_belongs_to_nobody() -> None:
    assert connection_owner(TcpConnection(Address("127.0.0.1", 1), Address("127.0.0.1", 2))) is None
