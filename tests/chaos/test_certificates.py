"""Certificates are replaced under load while all processes keep running.

Faults made here, chosen before any of them was run. Between two steps, all connections between the
services are cut, so that the next ones need the current files.

1. The CA is replaced in three steps: the new one is trusted, too; it issues all certificates; the
   old one is no longer trusted.
2. All certificates are renewed three times by the same CA.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

import httpx
import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.explained import explaining
from tests.chaos.load import Load
from tests.chaos.presented import presented_certificate
from tests.chaos.storm import Storm
from tests.chaos.transport import LISTENING, SERVICES, TlsTransport
from tests.identities import Authority
from tests.not_run import not_run
from tests.waiting import until

from spincycle.identity.certificate_authority import CertificateAuthority
from spincycle.identity.service_identity import GATEWAY
from spincycle.model.state import State
from spincycle.runtime.config import IdentityConfig

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(400),
    pytest.mark.parametrize("shape", [Shape(proxied=True)], ids=[""]),
]

RECONNECTED = 4.0
"""Seconds within which the services are connected again after a cut."""

REFUSED = '"call refused"'
"""Event that a service logs when it does not identify a caller or the call is not its own."""

FLAKY = "failed: as it does now and then"
"""Reason of a request whose job flaky has failed in all of its tries."""

FAILURES_OF_A_CUT = {"UNAVAILABLE", "503"}


@pytest.fixture
async def load(cluster: Cluster) -> AsyncIterator[Load]:
    # A cut may interrupt a job that must not be repeated, and fail its request.
    load = Load(cluster.request_manager, seed=1, types=("busy", "again"))
    yield load
    await load.close()


@pytest.fixture
def transport(cluster: Cluster) -> TlsTransport:
    if not isinstance(cluster.transport, TlsTransport):
        not_run("certificates", "services have tokens on Unix sockets")
    return cluster.transport


class Replacement:
    """Replaces files of all processes under load.

    Attributes:
        failures: calls that failed, by code, through the gateway and at the request managers.
    """

    def __init__(self, cluster: Cluster, transport: TlsTransport, load: Load) -> None:
        self._cluster = cluster
        self._transport = transport
        self._load = load
        self._reads: Counter[str] = Counter()
        self.storm = Storm(cluster, load)

    @property
    def failures(self) -> Counter[str]:
        """Failed calls by code."""
        answers = self._load.answers + self._reads
        return Counter({code: answers[code] for code in answers if code not in {"OK", "200"}})

    async def run(self, steps: Sequence[Callable[[], None]]) -> None:
        """Make the steps one after another, and check that none of them fails a call."""

        async def faults() -> None:
            await asyncio.sleep(2)
            for step in steps:
                before, reloads = self.failures, self._reloads()
                step()
                await until(lambda reloads=reloads: self._have_reloaded(reloads))
                await asyncio.sleep(1)
                assert self.failures == before, step.__name__
                for proxies in self._transport.proxies.values():
                    for proxy in proxies:
                        proxy.reset()
                await asyncio.sleep(RECONNECTED)

        async with explaining(self._load):
            reading = asyncio.create_task(self._read())
            try:
                await self.storm.blow(faults, rate=5, ms=200)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def check(self) -> None:
        """Check that every request completed and no call was refused."""
        verdict = await self.storm.verdict()
        print(verdict.figures(), dict(self._load.answers), dict(self.failures))
        assert verdict.wrong == []
        requests = verdict.testimony.requests.values()
        # A job of the load fails at random, now and then in each of its tries.
        ended = [each for each in requests if FLAKY not in each.reason]
        assert [each for each in ended if each.state is not State.COMPLETE] == []
        assert set(self.failures) <= FAILURES_OF_A_CUT
        for member in self._cluster.members:
            assert [line for line in member.log.read_text().splitlines() if REFUSED in line] == []

    def _reloads(self) -> dict[str, int]:
        """Return how often each process that calls others has read its files again."""
        return {
            member.service.name: member.log.read_text().count('"certificates reloaded"')
            for member in self._cluster.members
            if member not in self._cluster.job_logs
        }

    def _have_reloaded(self, before: dict[str, int]) -> bool:
        now = self._reloads()
        return all(now[name] > count for name, count in before.items())

    async def _read(self) -> None:
        """Call the gateway, which calls the request managers, until cancelled."""
        async with httpx.AsyncClient(base_url=self._cluster.gateway, timeout=10) as client:
            while True:
                response = await client.get("/api/v1/requests")
                self._reads[str(response.status_code)] += 1
                await asyncio.sleep(0.05)


async def presented(
    transport: TlsTransport, identity: IdentityConfig
) -> dict[tuple[str, int], str]:
    """Return the certificate of each internal listener that trusts an identity, and is trusted."""
    found = {}
    for kind in LISTENING:
        for number in range(transport.copies[kind]):
            with suppress(OSError):
                found[kind, number] = await presented_certificate(
                    transport.listen(kind, number), SERVICES[kind], identity
                )
    return found


def written(transport: TlsTransport) -> dict[tuple[str, int], str]:
    """Return the certificate in the file of each process with an internal listener."""
    return {
        (kind, number): transport.authority.files(SERVICES[kind], str(number))[0].read_text()
        for kind in LISTENING
        for number in range(transport.copies[kind])
    }


async def test_nothing_is_lost_when_the_ca_is_replaced_in_three_steps(
    cluster: Cluster, transport: TlsTransport, load: Load
) -> None:
    authority, pids = transport.authority, [member.pid for member in cluster.members]
    old, new = authority.ca, CertificateAuthority.create(authority.trust_domain)
    stranger = Authority(cluster.home / "stranger", authority.trust_domain)
    stranger.ca = old
    stranger.trust(old, new)
    outdated = stranger.identity(GATEWAY)
    first = await presented(transport, outdated)

    def trust_both() -> None:
        authority.trust(old, new)

    def certify() -> None:
        authority.ca = new
        transport.certify()

    def trust_the_new_one_only() -> None:
        authority.trust(new)

    replacement = Replacement(cluster, transport, load)
    await replacement.run([trust_both, certify, trust_the_new_one_only])

    await replacement.check()
    assert [member.pid for member in cluster.members] == pids
    assert len(first) == len(written(transport))
    assert await presented(transport, authority.identity(GATEWAY, "tester")) == written(transport)
    assert await presented(transport, outdated) == {}


async def test_nothing_is_lost_when_certificates_are_renewed(
    cluster: Cluster, transport: TlsTransport, load: Load
) -> None:
    pids = [member.pid for member in cluster.members]
    first = written(transport)

    replacement = Replacement(cluster, transport, load)
    await replacement.run([transport.certify] * 3)

    await replacement.check()
    assert [member.pid for member in cluster.members] == pids
    now = await presented(transport, transport.authority.identity(GATEWAY, "tester"))
    assert now == written(transport)
    assert not set(now.values()) & set(first.values())
