from __future__ import annotations

import asyncio
import random

import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.load import Load
from tests.chaos.proxy import Weather
from tests.chaos.storm import Storm

FAULTS = {
    "delay": Weather(delay=0.4),
    "half-open": Weather(swallow_up=True, swallow_down=True),
    "only-answers": Weather(swallow_up=True),
    "only-calls": Weather(swallow_down=True),
    "refusing": Weather(refuse=True),
}


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("shape", [Shape(gateway=False, proxied=True)], ids=[""])
async def test_nothing_is_lost_when_connections_fail_in_every_way(cluster: Cluster) -> None:
    load = Load(cluster.request_manager, seed=4)
    storm = Storm(cluster, load)
    draw = random.Random(4)
    kinds = list(cluster.transport.proxies.values())
    proxies = [proxy for each in kinds for proxy in each]

    async def faults() -> None:
        for name in [*FAULTS, *draw.choices([*FAULTS, "reset"], k=10)]:
            await asyncio.sleep(2)
            struck = [draw.choice(proxies), *draw.choice(kinds)]
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
