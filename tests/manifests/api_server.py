"""An API server for kubectl: it stores objects, adds defaults, and moves when it is watched."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.manifests.api_defaults import with_defaults
from tests.manifests.api_discovery import RESOURCES, discovery
from tests.manifests.rendered import Manifest

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
INITIAL_EVENTS_END = "k8s.io/initial-events-end"

PATH = re.compile(
    r"/(?:api|apis)/(?P<version>v1|[^/]+/[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<resource>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?(?P<scale>/scale)?"
)

Key = tuple[str, str]
"""Resource and name; every test has one namespace."""


class Refused(Exception):
    """A call is refused.

    Attributes:
        status: HTTP status.
        reason: the API server's word for it.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Cluster:
    """The objects of a cluster, whose Jobs and Deployments make progress only during a watch.

    Attributes:
        objects: by resource and name, as stored.
        patches: body of each PATCH of an object, by resource and name.
        pods: by name of a Deployment, the number of its pods that run.
        running_at_stop: by name of a Deployment, those that had pods when it was last scaled to 0.
        pods_during_jobs: by name of a Job, how many of them ran when it completed.
        watched: resource and name of each object that a client has watched.
    """

    def __init__(self) -> None:
        self.objects: dict[Key, Manifest] = {}
        self.patches: list[tuple[Key, Manifest]] = []
        self.pods: dict[str, int] = {}
        self.running_at_stop: dict[str, set[str]] = {}
        self.pods_during_jobs: dict[str, int] = {}
        self.watched: set[Key] = set()

    def create(self, resource: str, manifest: Manifest) -> Manifest:
        """Store a new object."""
        key = resource, manifest["metadata"]["name"]
        if key in self.objects:
            raise Refused(409, "AlreadyExists", f"{'/'.join(key)} already exists")
        stored = with_defaults(manifest)
        stored["metadata"] |= {"uid": "/".join(key), "resourceVersion": "1", "generation": 1}
        self.objects[key] = stored
        return stored

    def apply_patch(self, key: Key, patch: Manifest) -> Manifest:
        """Store the configuration that kubectl apply has put into its patch.

        Raises:
            Refused: the patch changes a Job's template.
        """
        self.patches.append((key, patch))
        stored = self.get(key)
        applied = patch.get("metadata", {}).get("annotations", {}).get(LAST_APPLIED)
        if applied is None:
            return stored
        changed = with_defaults(json.loads(applied))
        if key[0] == "jobs" and changed["spec"]["template"] != stored["spec"]["template"]:
            message = f'Job.batch "{key[1]}" is invalid: spec.template: field is immutable'
            raise Refused(422, "Invalid", message)
        changed["metadata"].setdefault("annotations", {})[LAST_APPLIED] = applied
        changed["metadata"] = stored["metadata"] | changed["metadata"]
        if "replicas" not in json.loads(applied).get("spec", {}) and key[0] == "deployments":
            changed["spec"]["replicas"] = stored["spec"]["replicas"]
        changed["metadata"]["generation"] += changed.get("spec") != stored.get("spec")
        changed["status"] = stored.get("status", {})
        self.objects[key] = changed
        return changed

    def delete(self, key: Key) -> Manifest:
        """Remove an object and return it.

        Raises:
            Refused: there is none.
        """
        removed = self.get(key)
        del self.objects[key]
        return removed

    def scale(self, name: str, replicas: int) -> None:
        """Set the replicas of a Deployment; its pods follow with the next progress."""
        deployment = self.get(("deployments", name))
        deployment["spec"]["replicas"] = replicas
        deployment["metadata"]["generation"] += 1
        if replicas == 0:
            running = {other for other, count in self.pods.items() if count > 0}
            self.running_at_stop[name] = running

    def get(self, key: Key) -> Manifest:
        """Return an object.

        Raises:
            Refused: there is none.
        """
        if found := self.find(key[0], "", f"metadata.name={key[1]}"):
            return found[0]
        raise Refused(404, "NotFound", f'{key[0]} "{key[1]}" not found')

    def find(self, resource: str, labels: str, fields: str) -> list[Manifest]:
        """Return the objects, or pods of Deployments, that match both selectors."""
        candidates = (
            list(self._pods())
            if resource == "pods"
            else [stored for _, stored in self.of(resource)]
        )
        name = fields.removeprefix("metadata.name=")
        return [
            candidate
            for candidate in candidates
            if name in ("", candidate["metadata"]["name"])
            and _selects(labels, candidate["metadata"].get("labels", {}))
        ]

    def progress(self) -> None:
        """Complete the Jobs that did not fail, start and stop pods, roll out Deployments.

        A Deployment is rolled out only after a Job with its image has completed.
        """
        migrated = set()
        for name, job in self.of("jobs"):
            if not job.setdefault("status", {}).get("failed"):
                self.pods_during_jobs.setdefault(name, sum(self.pods.values()))
                job["status"]["conditions"] = [{"type": "Complete", "status": "True"}]
                migrated.add(image_of(job))
        for name, deployment in self.of("deployments"):
            self.pods[name] = deployment["spec"]["replicas"]
            if image_of(deployment) in migrated:
                counts = ("replicas", "updatedReplicas", "availableReplicas")
                deployment["status"] = dict.fromkeys(counts, self.pods[name])
                generation = deployment["metadata"]["generation"]
                deployment["status"]["observedGeneration"] = generation

    def of(self, resource: str) -> list[tuple[str, Manifest]]:
        """Return name and object of all that a resource has."""
        return [(name, stored) for (kind, name), stored in self.objects.items() if kind == resource]

    def _pods(self) -> Iterator[Manifest]:
        for name, deployment in self.of("deployments"):
            for number in range(self.pods.get(name, 0)):
                metadata = {"name": f"{name}-{number}", "uid": f"{name}-{number}"}
                metadata |= {"namespace": "spincycle", "resourceVersion": "1"}
                labels = deployment["spec"]["template"]["metadata"]["labels"]
                yield {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {**metadata, "labels": labels},
                }


def image_of(workload: Manifest) -> str:
    """Image of the only container of a Job's or Deployment's pods."""
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    return str(container["image"])


def _selects(selector: str, labels: dict[str, str]) -> bool:
    """Return whether a selector, `name=value` or `name in (value,value)`, matches labels."""
    if not selector:
        return True
    name, values = re.split(r"=| in ", selector, maxsplit=1)
    return labels.get(name) in values.strip("()").split(",")


class ApiServer(ThreadingHTTPServer):
    """Serves a cluster on loopback, from `with` to its end."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.cluster = Cluster()
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=[0.01])

    @property
    def url(self) -> str:
        """Address for the kubeconfig."""
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


Method = Callable[[Cluster, re.Match[str], Any], Manifest]
"""Carries out a call with a cluster, the matched path and the body, and returns the response."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # One packet per response: kubectl acknowledges the first of two late.
    server: ApiServer

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if document := discovery(url.path):
            self._send(200, document)
        elif query.get("watch") in ("1", "true"):
            self._watch(url.path, query)
        else:
            self._call(lambda cluster, match, _: _read(cluster, match, query))

    def do_POST(self) -> None:
        self._call(lambda cluster, match, body: cluster.create(match["resource"], body))

    def do_PATCH(self) -> None:
        self._call(_patch)

    def do_DELETE(self) -> None:
        self._call(lambda cluster, match, _: cluster.delete((match["resource"], match["name"])))

    def _call(self, method: Method) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        try:
            match = _matched(self.path)
            with self.server.lock:
                answer = json.dumps(method(self.server.cluster, match, body)).encode()
        except Refused as error:
            failure = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
            failure |= {"message": str(error), "reason": error.reason}
            self._send(error.status, failure | {"code": error.status})
        else:
            self._send(200, answer)

    def _watch(self, path: str, query: dict[str, str]) -> None:
        """Send the objects as they are if that is wanted, let the cluster make progress, send them.

        Nothing more happens until the server is closed.
        """
        match = _matched(path)
        cluster = self.server.cluster
        events: list[bytes] = []

        def add(kind: str, manifest: Manifest) -> None:
            events.append(json.dumps({"type": kind, "object": manifest}).encode() + b"\n")

        with self.server.lock:
            before = _read(cluster, match, query)
            if query.get("sendInitialEvents") == "true":
                for each in before["items"]:
                    add("ADDED", each)
                metadata = {"resourceVersion": "1", "annotations": {INITIAL_EVENTS_END: "true"}}
                kind = before["kind"].removesuffix("List")
                bookmark = {"apiVersion": before["apiVersion"], "kind": kind, "metadata": metadata}
                add("BOOKMARK", bookmark)
            cluster.progress()
            after = _read(cluster, match, query)["items"]
            for each in before["items"]:
                cluster.watched.add((match["resource"], each["metadata"]["name"]))
                add("MODIFIED" if each in after else "DELETED", each)
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"".join(events))
        self.wfile.flush()
        self.server.closing.wait()

    def _send(self, status: int, answer: Manifest | bytes) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _matched(path: str) -> re.Match[str]:
    match = PATH.fullmatch(urlsplit(path).path)
    if match and match["resource"] in RESOURCES.get(match["version"], {}):
        return match
    raise Refused(404, "NotFound", f"{path} is not served")


def _read(cluster: Cluster, match: re.Match[str], query: dict[str, str]) -> Manifest:
    version, resource = match["version"], match["resource"]
    if match["name"]:
        return cluster.get((resource, match["name"]))
    return {
        "apiVersion": version,
        "kind": f"{RESOURCES[version][resource]}List",
        "metadata": {"resourceVersion": "1"},
        "items": cluster.find(
            resource, query.get("labelSelector", ""), query.get("fieldSelector", "")
        ),
    }


def _patch(cluster: Cluster, match: re.Match[str], body: Manifest) -> Manifest:
    key = match["resource"], match["name"]
    if not match["scale"]:
        return cluster.apply_patch(key, body)
    cluster.scale(match["name"], body["spec"]["replicas"])
    metadata = {"name": match["name"], "namespace": match["namespace"]}
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": metadata,
        "spec": body["spec"],
    }
