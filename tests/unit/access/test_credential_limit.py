"""A stream ends with the credential of its caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from tests.waiting import until

from spincycle.access.authentication import Authentication, OnChange
from spincycle.access.caller import Caller
from spincycle.access.credential_limit import CredentialLimit
from spincycle.access.credentials import Credentials
from spincycle.errors import AuthenticationUnavailable, NotAuthenticated


class Stream:
    """Yields one item, and waits."""

    def __init__(self) -> None:
        self.is_cancelled = False

    async def items(self) -> AsyncIterator[int]:
        yield 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise


async def endless() -> AsyncIterator[int]:
    while True:
        yield 1


class Badges:
    """Accepts whoever is in `accepted`, which changes when `change` is set."""

    name = "badges"

    def __init__(self) -> None:
        self.accepted: Callable[[], Caller | None] = lambda: Caller("alice", ("ops",), self.name)
        self.change = asyncio.Event()
        self.rechecked = asyncio.Event()

    async def authenticate(self, credentials: Credentials) -> Caller | None:
        return self.accepted()

    async def watch(self, on_change: OnChange) -> None:
        await self.change.wait()
        await on_change()
        self.rechecked.set()


def caller(seconds: float | None) -> Caller:
    return Caller("alice", expires_at=None if seconds is None else time.time() + seconds)


async def drain(items: AsyncIterator[int]) -> list[int]:
    return [item async for item in items]


async def test_a_stream_ends_when_the_credential_expires() -> None:
    stream = Stream()

    with pytest.raises(NotAuthenticated, match="the credential has expired"):
        await drain(CredentialLimit(caller(0.02)).limit(stream.items()))

    assert stream.is_cancelled


async def test_a_stream_that_never_waits_ends_too() -> None:
    with pytest.raises(NotAuthenticated, match="expired"):
        async for _ in CredentialLimit(caller(0.01)).limit(endless()):
            pass


async def test_a_stream_of_a_lasting_credential_ends_only_by_itself() -> None:
    async def three() -> AsyncIterator[int]:
        for item in range(3):
            await asyncio.sleep(0)
            yield item

    assert await drain(CredentialLimit(caller(None)).limit(three())) == [0, 1, 2]


async def test_a_timeout_of_the_stream_itself_is_not_an_expired_credential() -> None:
    async def failing() -> AsyncIterator[int]:
        yield 1
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await drain(CredentialLimit(caller(60)).limit(failing()))


async def test_a_cancelled_stream_is_cancelled() -> None:
    stream = Stream()
    draining = asyncio.create_task(drain(CredentialLimit(caller(60)).limit(stream.items())))
    await asyncio.sleep(0.01)
    draining.cancel()

    with pytest.raises(asyncio.CancelledError):
        await draining
    assert stream.is_cancelled


def revoked() -> Caller | None:
    return None


def refused() -> Caller | None:
    raise NotAuthenticated("the key is gone")


def demoted() -> Caller | None:
    return Caller("alice", (), "badges")


def unavailable() -> Caller | None:
    raise AuthenticationUnavailable("the issuer is away")


@pytest.mark.parametrize(
    ("now", "problem"),
    [(revoked, "was revoked"), (refused, "the key is gone"), (demoted, "roles of the caller")],
)
async def test_a_stream_ends_when_its_credential_is_revoked(
    now: Callable[[], Caller | None], problem: str
) -> None:
    badges = Badges()
    authentication = Authentication([badges])
    known = await authentication.authenticate(Credentials())
    draining = asyncio.create_task(
        drain(authentication.limit(known, Credentials()).limit(Stream().items()))
    )
    watching = asyncio.create_task(authentication.watch())
    await until(lambda: authentication._streams)

    badges.accepted = now
    badges.change.set()

    with pytest.raises(NotAuthenticated, match=problem):
        await draining
    assert not authentication._streams
    await watching


@pytest.mark.parametrize("now", [None, unavailable])
async def test_a_stream_goes_on_while_its_credential_may_be_valid(
    now: Callable[[], Caller | None] | None,
) -> None:
    badges = Badges()
    authentication = Authentication([badges])
    known = await authentication.authenticate(Credentials())
    draining = asyncio.create_task(
        drain(authentication.limit(known, Credentials()).limit(Stream().items()))
    )
    watching = asyncio.create_task(authentication.watch())
    await until(lambda: authentication._streams)

    badges.accepted = now or badges.accepted
    badges.change.set()
    await badges.rechecked.wait()
    await asyncio.sleep(0)

    assert not draining.done()
    draining.cancel()
    await watching
