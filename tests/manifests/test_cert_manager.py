"""A misspelt or invalid field of an object of cert-manager is an error of `make manifests`."""

from __future__ import annotations

import copy

import pytest
from tests.manifests.cert_manager import errors_of
from tests.manifests.rendered import Manifest, rendered

IDENTITY = rendered("prod").of_kind("Certificate")["job-runner-identity"]


def changed(path: str, value: object) -> Manifest:
    """Return a certificate with another value at a path; with None it is removed."""
    manifest = copy.deepcopy(IDENTITY)
    *parents, last = path.split(".")
    target = manifest
    for key in parents:
        target = target[key]
    if value is None:
        del target[last]
    else:
        target[last] = value
    return manifest


def test_the_certificate_of_the_manifests_is_valid() -> None:
    assert list(errors_of(IDENTITY)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.uri", ["spiffe://spincycle/spincycle/job-runner/kubernetes"]),
        ("spec.uris", "spiffe://spincycle/spincycle/job-runner/kubernetes"),
        ("spec.uris", ["https://spincycle"]),
        ("spec.dnsNames", []),
        ("spec.usages", ["server authentication"]),
        ("spec.duration", "30d"),
        ("spec.secretName", None),
        ("spec.issuerRef.kind", "issuer"),
        ("spec.issuerRef.group", "certmanager.io"),
        ("spec.privateKey.rotationPolicy", "always"),
        ("spec.privateKey.algorithm", "EC"),
        ("metadata.namespace", None),
        ("kind", "Certificates"),
    ],
)
def test_an_invalid_certificate_has_an_error(path: str, value: object) -> None:
    assert list(errors_of(changed(path, value)))
