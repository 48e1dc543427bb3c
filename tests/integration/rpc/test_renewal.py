"""Certificates and authorities are replaced while calls run, and no call fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from cryptography import x509
from structlog.testing import capture_logs
from tests.identities import Authority
from tests.integration.rpc.conftest import SERVICE
from tests.waiting import until

from spincycle.identity.certificate_authority import CertificateAuthority
from spincycle.identity.service_identity import ServiceIdentity
from spincycle.rpc import dialer as dialer_module
from spincycle.rpc.dialer import Dialer
from spincycle.rpc.identified_channel import IdentifiedBlockingChannel, IdentifiedChannel
from spincycle.rpc.limits import INTERNAL
from spincycle.rpc.server import RpcServer, RpcService
from spincycle.runtime.config import IdentityConfig, InternalConfig

NAME = "test.Echo"

AGE = 0.3
"""Seconds after which the server closes connections, so that there are always new handshakes."""


@pytest.fixture(autouse=True)
def _frequent_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialer_module, "CHECK_INTERVAL", 0.02)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "files")


class Echo:
    """Returns the certificate of the caller; streams repeat each message.

    Attributes:
        open: number of streams that are open.
    """

    def __init__(self) -> None:
        self.open = 0

    async def unary_unary(self, _: bytes, context: Any) -> bytes:
        (certificate,) = context.auth_context()["x509_pem_cert"]
        assert isinstance(certificate, bytes)
        return certificate

    async def unary_stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(3):
            yield request
            await asyncio.sleep(0.001)

    async def stream_unary(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"".join([request async for request in requests])

    async def stream_stream(
        self, requests: AsyncIterator[bytes], context: Any
    ) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            async for request in requests:
                yield request
        finally:
            self.open -= 1

    def register(self, server: grpc.aio.Server) -> None:
        kinds = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
        handlers = {
            kind: getattr(grpc, f"{kind}_rpc_method_handler")(getattr(self, kind)) for kind in kinds
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))


@asynccontextmanager
async def serving(
    config: InternalConfig, age: float = AGE, grace: float = 600.0
) -> AsyncIterator[tuple[Echo, str]]:
    echo = Echo()
    server = RpcServer(internal=config, service="job-log", connection_age=age, stream_grace=grace)
    listener = server.listen(INTERNAL, "127.0.0.1:0").serve(RpcService(SERVICE, echo.register))
    await server.start()
    try:
        yield echo, listener.address
    finally:
        await server.stop(0)


@asynccontextmanager
async def dialing(
    config: IdentityConfig, address: str
) -> AsyncIterator[tuple[Dialer, IdentifiedChannel]]:
    """A dialer that watches its files, and a channel."""
    dialer = Dialer(config, "job-runner")
    watching = asyncio.create_task(dialer.watch())
    channel = dialer.to("job-log")(address)
    assert isinstance(channel, IdentifiedChannel)
    try:
        yield dialer, channel
    finally:
        await channel.close()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def get_certificate(channel: grpc.aio.Channel) -> Callable[..., Awaitable[bytes]]:
    call: Callable[..., Awaitable[bytes]] = channel.unary_unary(f"/{NAME}/unary_unary")
    return call


def open_stream(channel: grpc.aio.Channel) -> Any:
    return channel.stream_stream(f"/{NAME}/stream_stream")()


async def adopted(channel: IdentifiedChannel, certificate: Path) -> None:
    """Return when calls show this certificate."""
    call = get_certificate(channel)
    expected = certificate.read_bytes().strip()  # noqa: ASYNC240 # a small file

    async def is_shown() -> bool:
        return (await call(b"")).strip() == expected

    await until(is_shown)


class Load:
    """Calls of every kind without a pause, on one channel and on one of a thread.

    Attributes:
        calls: number of successful calls by kind.
    """

    def __init__(self, dialer: Dialer, channel: Any, address: str) -> None:
        self._channel = channel
        self._blocking = dialer.blocking_to("job-log")(address)
        self._is_over = False
        self._failures: list[BaseException] = []
        self.calls = dict.fromkeys(
            ("unary", "unary stream", "stream unary", "stream stream", "blocking"), 0
        )

    async def __aenter__(self) -> Self:
        kinds = (self._unary, self._unary_stream, self._stream_unary, self._stream_stream)
        self._tasks = [asyncio.create_task(self._repeat(kind)) for kind in kinds]
        self._thread = threading.Thread(target=self._block)
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)
        await asyncio.to_thread(self._thread.join)
        self._blocking.close()
        assert not self._failures

    async def more(self) -> None:
        """Return after twenty further successful calls of each kind."""
        before = dict(self.calls)
        await until(
            lambda: (
                all(count >= before[kind] + 20 for kind, count in self.calls.items())
                or self._failures
            )
        )

    async def _repeat(self, call: Callable[[], Awaitable[str]]) -> None:
        while not self._is_over:
            try:
                self.calls[await call()] += 1
            except BaseException as error:
                self._failures.append(error)
                raise

    async def _unary(self) -> str:
        assert await get_certificate(self._channel)(b"")
        return "unary"

    async def _unary_stream(self) -> str:
        call = self._channel.unary_stream(f"/{NAME}/unary_stream")(b"x")
        assert [each async for each in call] == [b"x"] * 3
        return "unary stream"

    async def _stream_unary(self) -> str:
        async def requests() -> AsyncIterator[bytes]:
            for each in (b"a", b"b"):
                yield each
                await asyncio.sleep(0.001)

        assert await self._channel.stream_unary(f"/{NAME}/stream_unary")(requests()) == b"ab"
        return "stream unary"

    async def _stream_stream(self) -> str:
        call = open_stream(self._channel)
        for each in (b"a", b"b"):
            await call.write(each)
            assert await call.read() == each
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        return "stream stream"

    def _block(self) -> None:
        call = self._blocking.unary_unary(f"/{NAME}/unary_unary")
        while not self._is_over:
            try:
                assert call(b"", timeout=10)
            except BaseException as error:
                self._failures.append(error)
                raise
            self.calls["blocking"] += 1


async def test_no_call_fails_while_both_certificates_and_the_authority_are_replaced(
    authority: Authority, tmp_path: Path
) -> None:
    server = authority.internal("", "job-log")
    client = authority.identity("job-runner")
    assert client.certificate is not None
    async with (
        serving(server) as (_, address),
        dialing(client, address) as (dialer, channel),
        Load(dialer, channel, address) as load,
    ):
        await load.more()
        # Renewal of each side.
        authority.certify("job-log")
        await load.more()
        authority.certify("job-runner")
        await adopted(channel, client.certificate)
        await load.more()

        # Another authority: first both sides trust both, ...
        old, new = authority.ca, CertificateAuthority.create(authority.trust_domain)
        before = channel.current
        authority.file.write_bytes(old.certificate + new.certificate)
        await until(lambda: channel.current is not before)
        await load.more()
        # ... then each gets a certificate of the new one, ...
        authority.ca = new
        authority.certify("job-runner")
        await adopted(channel, client.certificate)
        authority.certify("job-log")
        await load.more()
        # ... and at last nobody trusts the old one.
        before = channel.current
        authority.file.write_bytes(new.certificate)
        await until(lambda: channel.current is not before)
        await load.more()


async def test_a_stream_continues_on_the_connection_on_which_it_began(
    authority: Authority,
) -> None:
    client = authority.identity("job-runner")
    assert client.certificate is not None
    async with (
        serving(authority.internal("", "job-log"), age=600) as (_, address),
        dialing(client, address) as (_, channel),
    ):
        stream = open_stream(channel)
        await stream.write(b"before")
        assert await stream.read() == b"before"

        authority.certify("job-runner")
        await adopted(channel, client.certificate)

        await stream.write(b"after")
        assert await stream.read() == b"after"
        assert channel._retiring
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        await until(lambda: not channel._retiring)


async def test_the_server_ends_streams_of_a_connection_that_is_too_old(
    authority: Authority,
) -> None:
    config = authority.internal("", "job-log")
    async with (
        serving(config, age=0.2, grace=0.2) as (_, address),
        dialing(authority.identity("job-runner"), address) as (_, channel),
    ):
        stream = open_stream(channel)
        await stream.write(b"x")
        assert await stream.read() == b"x"

        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stream.read()

        # Not a cancellation, which would end the task that reads the stream.
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
        again = open_stream(channel)
        await again.write(b"again")
        assert await again.read() == b"again"


async def test_a_withdrawn_authority_gets_no_new_connection_and_loses_its_streams(
    authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    server = authority.internal("", "job-log")
    authority.file.write_bytes(authority.ca.certificate + other.ca.certificate)
    certificate, key = other.certify("job-runner")
    withdrawn = IdentityConfig(certificate=certificate, key=key, ca=authority.file)
    async with (
        serving(server, age=0.2, grace=0.2) as (_, address),
        dialing(withdrawn, address) as (_, channel),
    ):
        stream = open_stream(channel)
        await stream.write(b"x")
        assert await stream.read() == b"x"

        authority.file.write_bytes(authority.ca.certificate)
        with pytest.raises(grpc.aio.AioRpcError):
            await stream.read()

        async def is_refused() -> bool:
            try:
                await get_certificate(channel)(b"")
            except grpc.aio.AioRpcError as failure:
                return failure.code() is grpc.StatusCode.UNAVAILABLE
            return False

        await until(is_refused)


async def test_a_certificate_that_the_server_does_not_trust_yet_is_adopted_when_it_does(
    authority: Authority, tmp_path: Path
) -> None:
    server_files = Authority(tmp_path / "server")
    server_files.ca = authority.ca
    server_files.file.write_bytes(authority.ca.certificate)
    client = authority.identity("job-runner")
    assert client.certificate is not None
    async with (
        serving(server_files.internal("", "job-log")) as (_, address),
        dialing(client, address) as (dialer, channel),
        Load(dialer, channel, address) as load,
    ):
        await load.more()
        old, new = authority.ca, CertificateAuthority.create(authority.trust_domain)
        authority.ca = new
        with capture_logs() as logs:
            authority.certify("job-runner")
            await until(lambda: [each for each in logs if each["event"] == "certificates reloaded"])
        # Over new connections with the previous certificate, since connections are short-lived.
        await load.more()
        await asyncio.sleep(2 * AGE)
        await load.more()

        server_files.file.write_bytes(old.certificate + new.certificate)
        await adopted(channel, client.certificate)


async def test_closing_a_channel_ends_the_streams_of_its_previous_connections(
    authority: Authority,
) -> None:
    client = authority.identity("job-runner")
    assert client.certificate is not None
    async with serving(authority.internal("", "job-log"), age=600) as (echo, address):
        async with dialing(client, address) as (_, channel):
            streams = []
            for _ in range(3):
                stream = open_stream(channel)
                await stream.write(b"x")
                assert await stream.read() == b"x"
                streams.append(stream)
                authority.certify("job-runner")
                await adopted(channel, client.certificate)
            assert echo.open == 3
        assert not [task for task in asyncio.all_tasks() if "_retire" in repr(task)]

        await until(lambda: echo.open == 0)
        assert all(stream.done() for stream in streams)


async def test_a_channel_that_waits_for_its_new_connection_can_be_closed(
    authority: Authority,
) -> None:
    client = authority.identity("job-runner")
    dialer = Dialer(client)
    channel = dialer.to("job-log")("127.0.0.1:1")
    blocking = dialer.blocking_to("job-log")("127.0.0.1:1")
    assert isinstance(channel, IdentifiedChannel)
    assert isinstance(blocking, IdentifiedBlockingChannel)
    for _ in range(3):
        channel.renew()
        blocking.renew()
        with pytest.raises(grpc.RpcError):
            await asyncio.to_thread(
                partial(blocking.unary_unary(f"/{NAME}/unary_unary"), b"", timeout=1)
            )

    async with asyncio.timeout(10):
        await channel.close()
        blocking.close()

    assert not [task for task in asyncio.all_tasks() if "_adopt" in repr(task)]


async def test_watching_ends_when_it_is_cancelled(authority: Authority) -> None:
    watching = asyncio.create_task(Dialer(authority.identity("job-runner")).watch())
    await asyncio.sleep(0.05)

    watching.cancel()

    with pytest.raises(asyncio.CancelledError):
        await watching


def cut(authority: Authority) -> None:
    (authority.directory / "job-runner-1.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nMIIB")


def of_another_service(authority: Authority) -> None:
    issued = authority.ca.issue(ServiceIdentity(authority.trust_domain, "gateway", "1"))
    (authority.directory / "job-runner-1.key").write_bytes(issued.key)
    (authority.directory / "job-runner-1.pem").write_bytes(issued.certificate)


def expired(authority: Authority) -> None:
    authority.certify_for(
        "job-runner-1",
        [x509.UniformResourceIdentifier("spiffe://spincycle/spincycle/job-runner/1")],
        timedelta(days=1),
        datetime.now(UTC) - timedelta(days=2),
    )


def without_its_key(authority: Authority) -> None:
    issued = authority.ca.issue(ServiceIdentity(authority.trust_domain, "job-runner", "1"))
    (authority.directory / "job-runner-1.pem").write_bytes(issued.certificate)


def with_an_empty_authority(authority: Authority) -> None:
    authority.certify("job-runner")
    authority.file.write_bytes(b"")


def gone(authority: Authority) -> None:
    (authority.directory / "job-runner-1.key").unlink()


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (cut, "job-runner-1.pem cannot be used: it is not a certificate in PEM"),
        (of_another_service, "/gateway/1, but this process is a job-runner"),
        (expired, "job-runner-1.pem cannot be used: it expired on "),
        (without_its_key, "the key is that of another certificate"),
        (with_an_empty_authority, "ca.pem has no CA certificate in PEM"),
        (gone, "job-runner-1.key: No such file or directory"),
    ],
)
async def test_unusable_files_are_reported_once_and_not_used(
    authority: Authority, spoil: Callable[[Authority], None], problem: str
) -> None:
    client = authority.identity("job-runner")
    assert client.certificate is not None
    ca = authority.file.read_bytes()
    async with (
        serving(authority.internal("", "job-log"), age=600) as (_, address),
        dialing(client, address) as (_, channel),
    ):
        await adopted(channel, client.certificate)
        before = channel.current
        with capture_logs() as logs:
            spoil(authority)
            await until(lambda: logs)
            await asyncio.sleep(0.1)
        assert [each["event"] for each in logs] == ["certificates not reloaded"]
        assert problem in logs[0]["problem"]
        assert channel.current is before
        assert await get_certificate(channel)(b"")

        authority.file.write_bytes(ca)
        authority.certify("job-runner")
        await adopted(channel, client.certificate)


async def test_a_server_keeps_its_certificate_while_the_files_do_not_fit(
    authority: Authority,
) -> None:
    config = authority.internal("", "job-log")
    async with serving(config, age=600) as (_, address):
        client = authority.identity("job-runner")

        async def connects() -> None:
            async with dialing(client, address) as (_, channel):
                assert await get_certificate(channel)(b"")

        await connects()
        key, certificate = (authority.directory / f"job-log-1.{end}" for end in ("key", "pem"))
        issued = authority.ca.issue(ServiceIdentity(authority.trust_domain, "job-log", "1"))
        with capture_logs() as logs:
            certificate.write_bytes(issued.certificate)
            await connects()
            await connects()
            key.write_bytes(b"half a key")
            await connects()
        refused = [each["problem"] for each in logs if each["event"] == "certificates not reloaded"]
        assert len(refused) == 2
        assert "the key is that of another certificate" in refused[0]
        assert "the key is not a private key in PEM" in refused[1]

        key.write_bytes(issued.key)
        await connects()
