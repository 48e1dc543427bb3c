"""What the manifests tell the services is what the services read, and hangs together."""

from __future__ import annotations

import os
import subprocess

import pytest
import yaml
from tests.manifests.rendered import MODELS, PREFIXES, SCRIPTS, Manifests, port_of

SERVICES = tuple(MODELS)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_understands_every_setting_of_its_manifest(
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
    assert shown["metrics"]["listen"] == said[f"{PREFIXES[name]}METRICS__LISTEN"]


@pytest.mark.parametrize("name", SERVICES)
def test_metrics_are_served_on_the_port_that_is_scraped(manifests: Manifests, name: str) -> None:
    listen = manifests.configuration(name).metrics.listen
    annotations = manifests.pods()[name]["metadata"]["annotations"]

    assert manifests.ports(name)["metrics"] == port_of(listen)
    assert int(annotations["prometheus.io/port"]) == port_of(listen)


def test_services_leave_the_schema_to_the_migration_job(manifests: Manifests) -> None:
    for name in ("request-manager", "job-log"):
        assert not manifests.configuration(name).database.migrate

    said = manifests.environment(next(iter(manifests.of_kind("Job"))))
    assert set(said) == {
        f"{PREFIXES[name]}DATABASE__DSN" for name in ("request-manager", "job-log")
    }


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


def test_the_termination_grace_period_covers_the_hook_and_the_grace_of_a_service(
    manifests: Manifests,
) -> None:
    # What may follow on the grace: last words of a runner, the journal's last writes, closing.
    after = {"request-manager": 10, "job-runner": 15, "job-log": 15, "gateway": 5}
    for name in SERVICES:
        spec = manifests.pods()[name]["spec"]
        grace = manifests.configuration(name).grace
        hook = manifests.container(name).get("lifecycle", {}).get("preStop", {})
        asleep = hook.get("sleep", {}).get("seconds", 0)

        assert spec["terminationGracePeriodSeconds"] >= asleep + grace + after[name], name


def test_a_runner_has_time_for_jobs_that_are_slow_to_stop(manifests: Manifests) -> None:
    runner = manifests.configuration("job-runner")

    assert runner.grace > runner.stop_limit


def test_all_copies_together_leave_database_connections_for_other_clients(
    manifests: Manifests,
) -> None:
    most = 0
    for name in ("request-manager", "job-log"):
        # A rolling upgrade has one more, and each listens on a connection of its own.
        copies = manifests.of_kind("HorizontalPodAutoscaler")[name]["spec"]["maxReplicas"] + 1
        most += copies * (manifests.configuration(name).database.max_connections + 1)

    assert most <= 140
    if "postgres" in manifests.of_kind("StatefulSet"):
        assert manifests.container("postgres")["args"] == ["-c", "max_connections=200"]


def test_the_specs_are_mounted_in_the_directory_that_request_managers_read(
    manifests: Manifests,
) -> None:
    spec = manifests.pods()["request-manager"]["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    directory = str(manifests.configuration("request-manager").specs_dir)

    assert "subPath" not in mounts[directory], "a change would never be seen"
    name = volumes[mounts[directory]["name"]]["configMap"]["name"]
    assert name == "specs"
    assert manifests.of_kind("ConfigMap")[name]["data"]
    assert manifests.configuration("request-manager").specs_interval > 0
