from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from spincycle.job import ArgNotSet, Attempt, JobError, JobId, Value, WrongArgType
from spincycle.kubernetes_jobs.arguments import KNOWN, read_container
from spincycle.kubernetes_jobs.container import Container
from spincycle.kubernetes_jobs.manifest import job_name, manifest

ID = JobId("kubernetes/job", "Build & Test", "aB3d", "bsd4h2ab5ku0lml7v3b0")


def made(data: dict[str, Value] | None = None, **args: Value) -> dict[str, Any]:
    """Return the manifest for these arguments, encoded and decoded as in the job chain."""
    container = Container.from_bytes(read_container({"image": "i:1", **args}).to_bytes())
    return manifest(container, ID, Attempt(3, "1.2"), data or {})


def pod(**args: Value) -> dict[str, Any]:
    spec: dict[str, Any] = made(None, **args)["spec"]["template"]["spec"]
    return spec


def container(**args: Value) -> dict[str, Any]:
    [only] = pod(**args)["containers"]
    assert isinstance(only, dict)
    return only


def test_a_job_with_every_argument_is_a_valid_manifest() -> None:
    job = made(
        command="run --fast",
        args=["a b", 1, True],
        env={"A": "1", "B": {"secretKeyRef": {"name": "s", "key": "k"}}},
        namespace="batch",
        serviceAccount="builder",
        cpu="500m",
        memory="1Gi",
        timeout="1h",
        startTimeout="2m",
        grace=7,
        nodeSelector="disk=ssd zone=a",
        labels=["team=infra"],
        ttl="2h",
        restricted=True,
        host="web1",
    )
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    spec = job["spec"]["template"]["spec"]
    [only] = spec["containers"]

    assert only["command"] == ["run", "--fast"]
    assert only["args"] == ["a b", "1", "true"]
    assert only["env"][3:] == [
        {"name": "host", "value": "web1"},
        {"name": "A", "value": "1"},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    assert only["resources"] == {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"memory": "1Gi"},
    }
    assert spec["nodeSelector"] == {"disk": "ssd", "zone": "a"}
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("builder", True)
    assert spec["terminationGracePeriodSeconds"] == 7
    assert spec["securityContext"]["runAsNonRoot"]
    assert job["metadata"]["labels"]["team"] == "infra"
    assert job["metadata"]["annotations"]["spincycle/try"] == "3"
    assert (job["spec"]["activeDeadlineSeconds"], job["spec"]["ttlSecondsAfterFinished"]) == (
        3600,
        7200,
    )


def test_a_job_with_an_image_only_has_no_token_and_no_limits() -> None:
    assert pod()["automountServiceAccountToken"] is False
    assert "resources" not in container()
    assert "activeDeadlineSeconds" not in made()["spec"]


def test_the_container_receives_request_and_job_as_variables() -> None:
    variables = {variable["name"]: variable["value"] for variable in container()["env"]}
    assert variables == {
        "SPINCYCLE_REQUEST_ID": ID.request_id,
        "SPINCYCLE_JOB_ID": ID.id,
        "SPINCYCLE_JOB_NAME": ID.name,
    }


def test_the_container_receives_the_job_data_unless_it_is_too_large() -> None:
    def variables(data: dict[str, Value]) -> dict[str, str]:
        [only] = made(data)["spec"]["template"]["spec"]["containers"]
        return {variable["name"]: variable["value"] for variable in only["env"]}

    assert variables({"n": 1})["SPINCYCLE_DATA"] == '{"n": 1}'
    assert "SPINCYCLE_DATA" not in variables({"n": "x" * 200_000})


def test_the_name_is_unique_to_the_attempt() -> None:
    others = [
        ("1.2", ID),
        ("1.3", ID),
        ("2.2", ID),
        ("1.2", JobId(ID.type, ID.name, "ab3d", ID.request_id)),
        ("1.2", JobId(ID.type, ID.name, ID.id, "bsd4h2ab5ku0lml7v3bg")),
    ]
    names = [job_name(job_id, key) for key, job_id in others]
    assert len(set(names)) == len(names)
    assert job_name(ID, "1.2") == names[0]
    assert names[0].startswith("build-test-")


@pytest.mark.parametrize("name", ["x" * 300, "Ü", "-", "a" * 39 + "-b", "1"])
def test_the_name_is_always_valid_in_kubernetes(name: str) -> None:
    made = job_name(JobId(ID.type, name, ID.id, ID.request_id), "1.1")
    assert len(made) <= 57
    assert made[0].isalnum()
    assert made.replace("-", "").isalnum()
    assert made.isascii()
    assert made == made.lower()


def test_an_image_is_needed() -> None:
    with pytest.raises(ArgNotSet, match="image not set in job args"):
        read_container({})


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"image": "a b"}, 'image: "a b" is not a valid image name: it contains white space'),
        ({"cpu": "two"}, 'cpu: "two" is not valid: it must be an amount such as 500m or 2'),
        (
            {"memory": "1GB"},
            'memory: "1GB" is not valid: it must be an amount such as 512Mi or 2Gi',
        ),
        ({"namespace": "A"}, 'namespace: "A" is not valid: it must be a name such as batch-jobs'),
        ({"timeout": "soon"}, 'timeout: "soon" is not a duration'),
        ({"timeout": "0"}, "timeout: 0 is out of range: it must be 1s to 8760h"),
        ({"ttl": "1s"}, "ttl: 1s is out of range: it must be 60s to 8760h"),
        ({"args": "'a"}, "args: no closing quotation in: 'a"),
        ({"imgae": "x"}, 'imgae is not an argument of kubernetes/job (did you mean "image"?)'),
        ({"env": ["A"]}, 'env: "A" is not valid: write name=value'),
        ({"env": {"A": {"secret": "x"}}}, "env.A: write a string, or secretKeyRef"),
        ({"env": {"a-b": "1"}}, '"a-b" is not a valid name of an environment variable'),
        ({"labels": {"a b": "1"}}, 'labels: "a b" is not a valid label name'),
        ({"labels": {"a": "x y"}}, 'labels: "x y" is not a valid label value'),
        ({"labels": {"spincycle/try": "1"}}, 'labels: "spincycle/try" is reserved by Spin Cycle'),
        ({"restricted": "maybe"}, 'restricted: "maybe" is not valid: it must be true or false'),
    ],
)
def test_an_invalid_argument_is_named(args: dict[str, Value], error: str) -> None:
    with pytest.raises(JobError) as refused:
        read_container({"image": "i", **args})
    assert str(refused.value).startswith(error)


@pytest.mark.parametrize(
    "args",
    [
        {"image": ["a"]},
        {"command": 7},
        {"args": [["a"]]},
        {"env": 7},
        {"timeout": True},
        {"labels": {"a": ["b"]}},
    ],
)
def test_an_argument_of_the_wrong_type_is_named(args: dict[str, Value]) -> None:
    with pytest.raises(WrongArgType, match=next(iter(args))):
        read_container({"image": "i", **args})


def test_the_page_has_every_argument_and_no_other() -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "kubernetes-job.md").read_text()
    table = page.partition("## Arguments")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` ", table, re.MULTILINE) == list(KNOWN)
