from __future__ import annotations

import asyncio

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from spincycle.batching.coalescer import Coalescer
from spincycle.errors import DatabaseUnavailable
from spincycle.metrics.exposition import Exposition
from spincycle.metrics.registry import Metrics
from spincycle.metrics.serving import serve_metrics
from spincycle.runtime.config import ConfigError, MetricsConfig
from spincycle.runtime.lag_histogram import LagHistogram


def read(text: bytes) -> dict[tuple[str, ...], float]:
    """Return every sample by its name and label values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


async def test_metrics_are_read_at_each_scrape() -> None:
    metrics = Metrics()
    chains = 1.0
    metrics.gauge("chains", "Chains", lambda: chains)
    assert read(await Exposition(metrics).text())["chains",] == 1

    chains = 2.0
    assert read(await Exposition(metrics).text())["chains",] == 2


async def test_batches_and_their_items_are_counted() -> None:
    async def write(items: list[object]) -> list[object]:
        return items

    coalescer = Coalescer[object, object](write)
    metrics = Metrics()
    metrics.batches({"finish": coalescer})
    await asyncio.gather(*(coalescer.submit(item) for item in range(5)))
    await coalescer.submit(5)

    samples = read(await Exposition(metrics).text())
    assert samples["spincycle_batches_total", "finish"] == 2
    assert samples["spincycle_batch_items_total", "finish"] == 6


async def test_a_failed_refresh_does_not_affect_other_metrics() -> None:
    metrics = Metrics()
    metrics.gauge("chains", "Chains", lambda: 1.0)

    async def refresh() -> None:
        raise DatabaseUnavailable

    metrics.refresh_with(refresh)

    assert read(await Exposition(metrics).text())["chains",] == 1


async def test_a_histogram_has_cumulative_buckets_a_count_and_a_sum_for_each_job_type() -> None:
    lags = LagHistogram()
    for seconds in (0.0, 0.3, 0.3):
        lags.observe(seconds)
    lags.observe(70.0, "copy")
    metrics = Metrics()
    metrics.event_loop_lag(lags)

    samples = read(await Exposition(metrics).text())

    name = "spincycle_event_loop_lag_seconds"
    assert samples[f"{name}_bucket", "", "0.25"] == 1
    assert samples[f"{name}_bucket", "", "0.5"] == 3
    assert samples[f"{name}_count", ""] == 3
    assert samples[f"{name}_sum", ""] == 0.6
    assert samples[f"{name}_bucket", "copy", "60.0"] == 0
    assert samples[f"{name}_bucket", "copy", "+Inf"] == 1


async def test_metrics_are_served_at_one_path_on_a_separate_port() -> None:
    metrics = Metrics()
    async with (
        serve_metrics(metrics, MetricsConfig(listen="127.0.0.1:0")) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
    ):
        answer = await client.get("/metrics")
        elsewhere = await client.get("/")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert read(answer.content)["process_cpu_seconds_total",] > 0
    assert elsewhere.status_code == 404
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection(*address.split(":"))


async def test_nothing_is_served_unless_it_is_configured() -> None:
    async with serve_metrics(Metrics(), MetricsConfig()) as address:
        assert address == ""
        assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("listen", ["nowhere", "127.0.0.1:http", "192.0.2.1:9464"])
async def test_an_unusable_address_is_a_configuration_error(
    listen: str,
) -> None:
    with pytest.raises(ConfigError, match="metrics"):
        async with serve_metrics(Metrics(), MetricsConfig(listen=listen)):
            pass
