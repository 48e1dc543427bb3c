from __future__ import annotations

import re

import yaml
from tests.integration.kubernetes_job.conftest import Runner
from tests.kubernetes_api.server import FakeApiServer
from tests.manifests.rendered import REPOSITORY

VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "GET": "get"}


def right(call: str) -> tuple[str, str]:
    """The resource and the verb that a cluster's rights speak of."""
    method, path = call.split(" ")
    watches = path.endswith("?watch")
    steps = re.sub(r".*/namespaces/[^/]+/", "", path.removesuffix("?watch")).split("/")
    resource = "/".join([steps[0], *steps[2:]])
    verb = VERBS[method] if method != "GET" or len(steps) > 1 else "list"
    return resource, "watch" if watches else verb


async def test_the_role_has_the_rights_that_are_used_and_no_others(
    api: FakeApiServer, runner: Runner
) -> None:
    first = runner.begin(1, "1.1")
    await first.says("Pending")
    await first.die()
    second = runner.begin(2, "1.1", startTimeout="1s")
    await second.end()
    third = runner.begin(3, "1.2")
    await third.says("Pending")
    api.cluster.run()
    await third.says("Running")
    api.cluster.end()
    await third.end()
    fourth = runner.begin(4, "1.3")
    await fourth.says("Pending")
    await fourth.stop()

    used = {right(call) for call in api.calls}
    roles = yaml.safe_load_all((REPOSITORY / "k8s/kubernetes-job/access.yaml").read_text())
    [role] = [one for one in roles if one["kind"] == "Role"]
    given = {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert used == given
