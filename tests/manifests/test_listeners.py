"""Container ports, Services, probes and addresses agree with the listeners of the services."""

from __future__ import annotations

import pytest
from tests.manifests.policies import admitted
from tests.manifests.rendered import MODELS, POD_IP, Manifests, listen_settings, listeners, port_of

GRPC_SERVICES = ("request-manager", "job-runner", "job-log")

HEADLESS_SERVICES = ("request-manager", "job-log")
"""Called by name; runners are called at the addresses that they register."""

UNPUBLISHED = {"health", "metrics"}
"""Ports that are reached at each pod, so no Service has them."""


LOOPBACK_ONLY = {"legacy_runner_listen", "job_runner_listen"}
"""Listeners of the gateway that no other pod could reach, so the manifests do not set them."""

OPTIONAL = {"auth.certificates.listen"}
"""Listeners for callers with certificates, whose authority an operator has to choose."""


def port_name(service: str, key: str) -> str:
    """Name of the container port for a configuration key: its section, or the public protocol."""
    section = key.rpartition(".")[0]
    return section or ("http" if service == "gateway" else "grpc")


@pytest.mark.parametrize("name", MODELS)
def test_each_container_port_has_a_listener_and_each_listener_has_a_container_port(
    manifests: Manifests, name: str
) -> None:
    configured = listeners(manifests.configuration(name))

    assert manifests.ports(name) == {
        port_name(name, key): port_of(address) for key, address in configured.items()
    }


@pytest.mark.parametrize("name", MODELS)
def test_the_manifests_set_each_listener_that_a_service_has(
    manifests: Manifests, name: str
) -> None:
    config = manifests.configuration(name)

    assert listeners(config).keys() == listen_settings(config) - LOOPBACK_ONLY - OPTIONAL


@pytest.mark.parametrize("name", MODELS)
def test_each_port_but_that_of_probes_is_in_a_policy_and_each_port_of_a_policy_is_a_container_port(
    manifests: Manifests, name: str
) -> None:
    in_policies = {port for workload, port in admitted(manifests) if workload == name}

    assert in_policies == manifests.ports(name).keys() - {"health"}


@pytest.mark.parametrize("name", MODELS)
def test_each_listener_accepts_connections_from_outside_its_pod(
    manifests: Manifests, name: str
) -> None:
    for key, address in listeners(manifests.configuration(name)).items():
        assert address.startswith("0.0.0.0:"), key


@pytest.mark.parametrize("name", GRPC_SERVICES)
def test_probes_call_the_health_listener(manifests: Manifests, name: str) -> None:
    container = manifests.container(name)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["grpc"]["port"] == manifests.ports(name)["health"], probe


def test_probes_of_the_gateway_call_its_api(manifests: Manifests) -> None:
    container = manifests.container("gateway")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == "http", probe


@pytest.mark.parametrize("name", [*HEADLESS_SERVICES, "gateway"])
def test_a_service_publishes_each_public_and_internal_port_and_no_other(
    manifests: Manifests, name: str
) -> None:
    published = manifests.of_kind("Service")[name]["spec"]["ports"]

    assert {port["name"]: port["port"] for port in published} == {
        port: number for port, number in manifests.ports(name).items() if port not in UNPUBLISHED
    }
    for port in published:
        assert port["targetPort"] == port["name"], "a headless Service does not map port numbers"


def test_runners_have_no_public_port_and_no_service(manifests: Manifests) -> None:
    assert manifests.ports("job-runner").keys() == {"internal", *UNPUBLISHED}
    assert "job-runner" not in manifests.of_kind("Service")


@pytest.mark.parametrize("name", MODELS)
def test_each_dns_address_is_the_internal_port_of_a_headless_service(
    manifests: Manifests, name: str
) -> None:
    for key, value in manifests.environment(name).items():
        if value.startswith("dns:"):
            host, _, port = value.removeprefix("dns:///").rpartition(":")
            service = manifests.of_kind("Service")[host]["spec"]
            ports = {each["name"]: each["port"] for each in service["ports"]}

            assert service["clusterIP"] == "None", f"{key} reaches one copy only"
            assert int(port) == ports["internal"], key


@pytest.mark.parametrize("name", MODELS)
def test_services_call_every_copy_of_each_other_by_name(manifests: Manifests, name: str) -> None:
    config = manifests.configuration(name)
    for callee in HEADLESS_SERVICES:
        address = getattr(config, callee.replace("-", "_"), None)

        assert address is None or address.startswith(f"dns:///{callee}:")


def test_a_runner_advertises_the_internal_port_of_its_own_pod(manifests: Manifests) -> None:
    runner = manifests.configuration("job-runner")

    assert runner.advertise == f"{POD_IP}:{manifests.ports('job-runner')['internal']}"
    names = [each["name"] for each in manifests.container("job-runner")["env"]]
    assert names.index("POD_IP") < names.index("SPINCYCLE_JR_ADVERTISE"), (
        "Kubernetes expands only variables that are defined earlier"
    )
