from __future__ import annotations

import re

import yaml
from tests.integration.kubernetes_job.conftest import Runner
from tests.kubernetes_api.server import FakeApiServer
from tests.manifests.rendered import REPOSITORY

VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "GET": "get"}


def permission(call: str) -> tuple[str, str]:
    """Return the resource and the verb that a role must allow for a call."""
    method, path = call.split(" ")
    watches = path.endswith("?watch")
    steps = re.sub(r".*/namespaces/[^/]+/", "", path.removesuffix("?watch")).split("/")
    resource = "/".join([steps[0], *steps[2:]])
    verb = VERBS[method] if method != "GET" or len(steps) > 1 else "list"
    return resource, "watch" if watches else verb


async def test_the_role_has_exactly_the_permissions_that_are_used(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.start(1, "1.1")
    await first.until_reported("Pending")
    await first.crash()
    second = runner.start(2, "1.1", startTimeout="1s")
    await second.end()
    third = runner.start(3, "1.2")
    await third.until_reported("Pending")
    api.cluster.run()
    await third.until_reported("Running")
    api.cluster.end()
    await third.end()
    fourth = runner.start(4, "1.3")
    await fourth.until_reported("Pending")
    await fourth.stop()

    used = {permission(call) for call in api.calls}
    roles = yaml.safe_load_all((REPOSITORY / "k8s/kubernetes-job/access.yaml").read_text())
    [role] = [one for one in roles if one["kind"] == "Role"]
    given = {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert used == given
