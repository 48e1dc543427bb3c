"""What the manifests tell the services is what the services read, and hangs together."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest
import yaml
from tests.manifests.rendered import MODELS, POD_IP, PREFIXES, SCRIPTS, Manifests

from spincycle.config import load_config

SERVICES = tuple(MODELS)


def config(manifests: Manifests, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a service makes of its environment."""
    environment = manifests.environment(name)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    return load_config(MODELS[name], None, environment)


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_understands_all_that_it_is_told_and_nothing_is_left_over(
    manifests: Manifests, name: str
) -> None:
    container = manifests.container(name)
    bare = {key: value for key, value in os.environ.items() if not key.startswith("SPINCYCLE_")}
    said = manifests.environment(name)
    command = [SCRIPTS / container["command"][0], *container["command"][1:], "--print-config"]
    ended = subprocess.run(command, check=False, env=bare | said, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr
    assert [key for key in said if not key.startswith(PREFIXES[name])] in ([], ["POD_IP"])
    shown = yaml.safe_load(ended.stdout)
    assert shown["listen"] == said[f"{PREFIXES[name]}LISTEN"]


@pytest.mark.parametrize("name", SERVICES)
def test_the_port_is_the_one_that_the_service_listens_on(
    manifests: Manifests, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen = config(manifests, name, monkeypatch).listen
    assert listen.startswith("0.0.0.0:"), "other pods must reach it"
    container = manifests.container(name)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    (first, *_) = ports.values()

    assert first == port_of(listen)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe].get("grpc") or container[probe]["httpGet"]
        assert ports.get(asked["port"], asked["port"]) == port_of(listen)
    if service := manifests.of_kind("Service").get(name):
        (port, *_) = service["spec"]["ports"]
        assert (port["port"], ports[port["targetPort"]]) == (port_of(listen), port_of(listen))


@pytest.mark.parametrize("name", SERVICES)
def test_figures_are_served_where_they_are_scraped(
    manifests: Manifests, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen = config(manifests, name, monkeypatch).metrics.listen
    annotations = manifests.pods()[name]["metadata"]["annotations"]
    ports = {port["name"]: port["containerPort"] for port in manifests.container(name)["ports"]}
    (rule,) = manifests.of_kind("NetworkPolicy")["metrics"]["spec"]["ingress"]

    assert listen.startswith("0.0.0.0:")
    assert ports["metrics"] == port_of(listen)
    assert int(annotations["prometheus.io/port"]) == port_of(listen)
    assert rule["ports"] == [{"port": port_of(listen)}]


def test_clients_of_grpc_services_know_every_copy(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = manifests.of_kind("Service")
    for name in SERVICES:
        for callee in ("request-manager", "job-log"):
            key = callee.replace("-", "_")
            address = getattr(config(manifests, name, monkeypatch), key, None)
            if name == callee or address is None:
                continue
            scheme, _, place = address.partition(":///")
            host = place.rpartition(":")[0]
            assert scheme == "dns", f"{name} reaches one copy of {callee} only"
            assert services[host]["spec"]["clusterIP"] == "None"
            assert services[host]["spec"]["ports"][0]["port"] == port_of(address)


def test_a_runner_is_reached_at_its_own_pod(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = config(manifests, "job-runner", monkeypatch)

    assert runner.advertise == f"{POD_IP}:{port_of(runner.listen)}"
    names = [one["name"] for one in manifests.container("job-runner")["env"]]
    assert names.index("POD_IP") < names.index("SPINCYCLE_JR_ADVERTISE"), "or it is not replaced"


def test_services_leave_the_schema_to_the_migration_job(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("request-manager", "job-log"):
        assert not config(manifests, name, monkeypatch).database.migrate

    said = manifests.environment(next(iter(manifests.of_kind("Job"))))
    assert set(said) == {
        f"{PREFIXES[name]}DATABASE__DSN" for name in ("request-manager", "job-log")
    }


def test_the_migration_job_is_named_for_the_image_so_that_the_next_one_is_another(
    manifests: Manifests,
) -> None:
    ((name, job),) = manifests.of_kind("Job").items()
    image = job["spec"]["template"]["spec"]["containers"][0]["image"]

    assert name == f"migrate-{image.rpartition(':')[2]}"


def test_all_pods_have_the_same_image_with_a_tag(manifests: Manifests) -> None:
    images = {manifests.container(name)["image"] for name in manifests.pods() if name != "postgres"}

    assert len(images) == 1, images
    assert ":" in images.pop()


def test_commands_for_operators_take_the_options_that_they_are_given(manifests: Manifests) -> None:
    for name in (*manifests.of_kind("Job"), *manifests.of_kind("CronJob")):
        program, *words = manifests.container(name)["command"]
        ended = subprocess.run(
            # Options are read from left to right, and the last of these ends the command.
            [SCRIPTS / program, *words, "--help"],
            check=False,
            capture_output=True,
            text=True,
        )

        assert ended.returncode == 0, ended.stderr
        assert program == "spincycle"
        for option in (word for word in words if word.startswith("--")):
            assert option in ended.stdout


def test_a_service_has_the_time_to_end_that_it_may_take(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What may follow on the grace: last words of a runner, the journal's last writes, closing.
    after = {"request-manager": 10, "job-runner": 15, "job-log": 15, "gateway": 5}
    for name in SERVICES:
        spec = manifests.pods()[name]["spec"]
        grace = config(manifests, name, monkeypatch).grace
        hook = manifests.container(name).get("lifecycle", {}).get("preStop", {})
        asleep = hook.get("sleep", {}).get("seconds", 0)

        assert spec["terminationGracePeriodSeconds"] >= asleep + grace + after[name], name


def test_a_runner_has_time_for_jobs_that_are_slow_to_stop(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = config(manifests, "job-runner", monkeypatch)

    assert runner.grace > runner.stop_limit


def test_all_copies_together_leave_connections_of_the_database_to_others(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0
    for name in ("request-manager", "job-log"):
        # A rolling upgrade has one more, and each listens on a connection of its own.
        copies = manifests.of_kind("HorizontalPodAutoscaler")[name]["spec"]["maxReplicas"] + 1
        most += copies * (config(manifests, name, monkeypatch).database.max_connections + 1)

    assert most <= 140
    if "postgres" in manifests.of_kind("StatefulSet"):
        assert manifests.container("postgres")["args"] == ["-c", "max_connections=200"]


def test_the_specs_are_where_the_request_managers_look(
    manifests: Manifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = manifests.pods()["request-manager"]["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    directory = str(config(manifests, "request-manager", monkeypatch).specs_dir)

    assert "subPath" not in mounts[directory], "a change would never be seen"
    name = volumes[mounts[directory]["name"]]["configMap"]["name"]
    assert name == "specs"
    assert manifests.of_kind("ConfigMap")[name]["data"]
    assert config(manifests, "request-manager", monkeypatch).specs_interval > 0
