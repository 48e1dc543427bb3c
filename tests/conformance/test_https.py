"""The API over HTTPS, served by a gateway process."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from tests.conformance import backends, samples
from tests.conformance.backends import Backend
from tests.conformance.gateway_process import next_line, process
from tests.conformance.samples import ID
from tests.identities import Authority
from tests.waiting import until

from spincycle.v1 import request_event_pb2
from spincycle.v1 import request_manager_service_pb2 as rm

HOST = "127.0.0.1"

PATIENCE = 20


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "files")


class Https:
    """A gateway that serves HTTPS.

    Attributes:
        log: further lines of its log.
    """

    def __init__(
        self,
        running: asyncio.subprocess.Process,
        address: str,
        authority: Authority,
        manager: Backend,
    ) -> None:
        self.running = running
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.manager = manager
        self.context = ssl.create_default_context(cafile=authority.file)
        self.log: list[str] = []

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, verify=self.context, timeout=PATIENCE)

    async def shown(self) -> bytes:
        """The certificate that a new connection is shown, DER."""
        _, writer = await asyncio.open_connection(self.host, self.port, ssl=self.context)
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        assert isinstance(certificate, bytes)
        return certificate

    async def read_log(self) -> None:
        assert self.running.stderr
        while line := await self.running.stderr.readline():
            self.log.append(line.decode())


@asynccontextmanager
async def https(authority: Authority, **environment: str) -> AsyncIterator[Https]:
    certificate, key = authority.certify("gateway", names=[HOST])
    manager = backends.request_manager()
    await manager.start()
    async with process(
        SPINCYCLE_GATEWAY_TLS__CERTIFICATE=str(certificate),
        SPINCYCLE_GATEWAY_TLS__KEY=str(key),
        SPINCYCLE_GATEWAY_REQUEST_MANAGER=manager.address,
        **environment,
    ) as running:
        address = str((await next_line(running))["address"])
        served = Https(running, address, authority, manager)
        reading = asyncio.create_task(served.read_log())
        try:
            yield served
        finally:
            if running.returncode is None:
                running.kill()
            await reading
            await manager.stop()


async def test_the_api_is_served_over_https_only(authority: Authority) -> None:
    async with https(authority) as served, served.client() as http:
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/openapi.json")).status_code == 200

        # Neither a response nor a traceback.
        async with httpx.AsyncClient(base_url=f"http://{served.host}:{served.port}") as plain:
            with pytest.raises(httpx.RemoteProtocolError):
                await plain.get("/healthz")
        reader, writer = await asyncio.open_connection(served.host, served.port)
        writer.write(os.urandom(2000))
        assert await reader.read() is not None
        writer.close()

        assert (await http.get("/healthz")).status_code == 200
        await http.aclose()
        served.running.terminate()
        assert await served.running.wait() == 0
    lines = [json.loads(line) for line in served.log]
    assert {line["level"] for line in lines} <= {"info"}


async def test_old_protocols_are_refused_and_http_1_1_is_negotiated(authority: Authority) -> None:
    async with https(authority) as served:
        served.context.set_alpn_protocols(["h2", "http/1.1"])
        _, writer = await asyncio.open_connection(served.host, served.port, ssl=served.context)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        writer.close()

        old = ssl.create_default_context(cafile=authority.file)
        old.set_ciphers("DEFAULT@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(served.host, served.port, ssl=old)


async def test_a_renewed_certificate_is_served_without_a_restart(authority: Authority) -> None:
    async with https(authority) as served, served.client() as http:
        before = await served.shown()
        assert (await http.get("/healthz")).status_code == 200
        key = authority.directory / "gateway-1.key"

        # First a certificate whose key is not there yet, ...
        previous_key = key.read_bytes()
        certificate, _ = authority.certify("gateway", names=[HOST])
        key.write_bytes(previous_key)
        await until(lambda: any("certificate not reloaded" in line for line in served.log))
        assert await served.shown() == before

        # ... then both.
        authority.certify("gateway", names=[HOST])
        expected = ssl.PEM_cert_to_DER_cert(certificate.read_text())

        async def is_renewed() -> bool:
            return await served.shown() == expected

        await until(is_renewed)
        # The connection that was open stays open.
        assert (await http.get("/healthz")).status_code == 200


async def test_half_open_handshakes_block_nobody_and_end(authority: Authority) -> None:
    async with (
        https(authority, SPINCYCLE_GATEWAY_LIMITS__HEADER_TIMEOUT="1") as served,
        AsyncExitStack() as stack,
    ):
        readers = []
        for number in range(100):
            reader, writer = await asyncio.open_connection(served.host, served.port)
            stack.callback(writer.close)
            # Half of them begin a handshake.
            writer.write(b"\x16\x03\x01\x02\x00" if number % 2 else b"")
            readers.append(reader)

        async with asyncio.timeout(PATIENCE), served.client() as http:
            for _ in range(20):
                assert (await http.get("/healthz")).status_code == 200

        async with asyncio.timeout(PATIENCE):
            ended = await asyncio.gather(*(each.read() for each in readers), return_exceptions=True)
        assert len(ended) == 100


async def test_headers_have_their_own_time_after_the_handshake(authority: Authority) -> None:
    async with https(authority, SPINCYCLE_GATEWAY_LIMITS__HEADER_TIMEOUT="0.5") as served:
        reader, writer = await asyncio.open_connection(served.host, served.port, ssl=served.context)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x")
        async with asyncio.timeout(PATIENCE):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_caller_that_does_not_read_is_disconnected(authority: Authority) -> None:
    async with https(authority, SPINCYCLE_GATEWAY_LIMITS__ANSWER_TIMEOUT="0.5") as served:
        request = samples.a_request()
        request.args.add(name="big").value.string_value = "x" * 20_000_000
        served.manager.respond(Get=rm.GetResponse(request=request))
        reader, writer = await asyncio.open_connection(
            served.host, served.port, ssl=served.context, limit=1024
        )
        writer.write(f"GET /api/v1/requests/{ID} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")

        mine = writer.get_extra_info("sockname")[1]
        assert established(served.port, mine)
        await until(lambda: not established(served.port, mine))
        writer.transport.abort()


def established(port: int, peer: int) -> bool:
    """Whether the kernel has an open connection between these two local ports."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ends = [
        (row[1].rpartition(":")[2], row[2].rpartition(":")[2]) for row in rows if row[3] == "01"
    ]
    return (f"{port:04X}", f"{peer:04X}") in ends


async def test_events_are_streamed(authority: Authority) -> None:
    async with https(authority) as served, served.client() as http:
        event = request_event_pb2.RequestEvent(
            request_id=ID, cursor="c1", occurred_at=samples.CREATED, request=samples.a_request()
        )
        served.manager.respond(Watch=[rm.WatchResponse(events=[event])])
        async with http.stream("GET", f"/api/v1/requests/{ID}/events") as response:
            assert response.status_code == 200
            lines = [line async for line in response.aiter_lines()]
        assert lines[:2] == ["id: c1", "event: request"]


async def test_spinc_trusts_a_private_authority(authority: Authority, tmp_path: Path) -> None:
    async with https(authority) as served:
        served.manager.respond(Get=rm.GetResponse(request=samples.a_request()))
        spinc = Path(sys.executable).parent / "spinc"

        async def run(*arguments: str) -> tuple[int | None, str]:
            ran = await asyncio.create_subprocess_exec(
                spinc, *arguments,
                env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)},
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            output, _ = await ran.communicate()
            return ran.returncode, output.decode()

        code, output = await run(
            "context", "set", "web", "--rest", served.url, "--ca", str(authority.file)
        )
        assert code == 0, output
        code, output = await run("--context", "web", "status", ID)
        assert (code, "request: drain" in output) == (0, True), output

        other = Authority(tmp_path / "other")
        await run("context", "set", "web", "--rest", served.url, "--ca", str(other.file))
        code, output = await run("--context", "web", "status", ID)
        assert (code, "its certificate is not trusted" in output) == (1, True), output


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"LISTEN": "0.0.0.0:0"}, "set tls.certificate and tls.key, or listen on 127.0.0.1"),
        ({"TLS__CERTIFICATE": "{certificate}"}, "tls.certificate and tls.key must both be set"),
        (
            {"TLS__CERTIFICATE": "/none.pem", "TLS__KEY": "{key}"},
            "cannot read /none.pem: No such file",
        ),
        ({"TLS__CERTIFICATE": "{expired}", "TLS__KEY": "{key}"}, "it expired on "),
        (
            {"TLS__CERTIFICATE": "{certificate}", "TLS__KEY": "{expired}"},
            "the key is not a private key in PEM",
        ),
    ],
)
async def test_a_gateway_without_a_usable_certificate_does_not_start(
    authority: Authority, settings: dict[str, str], problem: str
) -> None:
    certificate, key = authority.certify("gateway", names=[HOST])
    expired, _ = authority.certify_for(
        "expired",
        [x509.DNSName("gateway")],
        timedelta(days=1),
        datetime.now(UTC) - timedelta(days=2),
    )
    files = {"certificate": certificate, "key": key, "expired": expired}
    environment = {
        f"SPINCYCLE_GATEWAY_{name}": text.format(**files) for name, text in settings.items()
    }

    async with process(**environment) as running:
        line = await next_line(running)
        assert await running.wait() == 2

    assert line["event"] == "cannot start"
    assert problem in str(line["problem"])


async def test_a_gateway_with_a_certificate_may_listen_beyond_loopback(
    authority: Authority,
) -> None:
    everybody = {"SPINCYCLE_GATEWAY_LISTEN": "0.0.0.0:0", "SPINCYCLE_GATEWAY_AUTH__NONE": "true"}
    async with https(authority, **everybody) as served:
        assert served.host == "0.0.0.0"
