from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.load import Load
from tests.chaos.proxy import Proxy, Weather
from tests.chaos.storm import Storm

FAULTS = {
    "delay": Weather(delay=0.4),
    "half-open": Weather(swallow_up=True, swallow_down=True),
    "only-answers": Weather(swallow_up=True),
    "only-calls": Weather(swallow_down=True),
    "refusing": Weather(refuse=True),
}


class Network:
    """A proxy in front of every request manager, job log and runner."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.proxies = {
            kind: [Proxy(port) for port in cluster.internal_ports(kind)]
            for kind in ("RM", "JL", "JR")
        }

    @property
    def all(self) -> list[Proxy]:
        return [proxy for proxies in self.proxies.values() for proxy in proxies]

    def reach(self) -> dict[tuple[str, str], str]:
        def address(kind: str) -> str:
            return "ipv4:" + ",".join(f"127.0.0.1:{proxy.port}" for proxy in self.proxies[kind])

        reach = {("JR", "RM"): address("RM"), ("JR", "JL"): address("JL")}
        reach |= {("RM", "JL"): address("JL")}
        for number, proxy in enumerate(self.proxies["JR"]):
            reach[str(number), "JR"] = f"127.0.0.1:{proxy.port}"
        return reach


@pytest.fixture
async def network(home: Path) -> AsyncIterator[Network]:
    network = Network(Cluster(home, Shape(gateway=False)))
    for proxy in network.all:
        await proxy.start()
    try:
        await network.cluster.start(network.reach())
        yield network
    finally:
        await network.cluster.stop()
        for proxy in network.all:
            await proxy.stop()


@pytest.mark.chaos
@pytest.mark.timeout(900)
async def test_nothing_is_lost_when_connections_fail_in_every_way(network: Network) -> None:
    cluster = network.cluster
    load = Load(cluster.request_manager, seed=4)
    storm = Storm(cluster, load)
    draw = random.Random(4)

    async def faults() -> None:
        for name in [*FAULTS, *draw.choices([*FAULTS, "reset"], k=10)]:
            await asyncio.sleep(2)
            struck = [draw.choice(network.all), *draw.choice(list(network.proxies.values()))]
            if name == "reset":
                for proxy in struck:
                    proxy.reset()
                continue
            for proxy in struck:
                proxy.weather = Weather(**vars(FAULTS[name]))
            await asyncio.sleep(draw.uniform(3, 14))
            for proxy in struck:
                proxy.calm()

    await storm.blow(faults, rate=3, ms=300)

    verdict = await storm.verdict()
    await load.close()
    print(verdict.figures(), dict(load.answers))
    assert verdict.wrong == []
