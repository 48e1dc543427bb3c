"""Validates the manifests and their variants with the schemas of Kubernetes; `make manifests`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial

import kubernetes_validate
from tests.manifests import cert_manager
from tests.manifests.rendered import DIRECTORIES, REPOSITORY, Manifests, render
from tests.manifests.variants import WITH_COMPONENTS, WITH_IMAGES, rendered_variant

RELEASES = ("1.30", "1.37")
"""The oldest release of Kubernetes that the manifests are for, and the newest one known."""


def renderings() -> Iterator[tuple[str, Callable[[], Manifests]]]:
    """Yield the name of every directory and variant, and a function that renders it."""
    for directory in DIRECTORIES:
        yield f"k8s/{directory}", partial(render, REPOSITORY / "k8s" / directory)
    for variant in WITH_IMAGES + WITH_COMPONENTS:
        yield str(variant), partial(rendered_variant, variant)


def errors() -> Iterator[str]:
    """Yield each error of the manifests, with the names of variant and object."""
    for name, rendering in renderings():
        try:
            manifests = rendering()
        except subprocess.CalledProcessError as refused:
            yield f"{name}: {refused.stderr.strip()}"
            continue
        for manifest in manifests.all:
            for error in _errors_of_object(json.dumps(manifest)):
                yield f"{name}: {manifest['kind']} {manifest['metadata']['name']}: {error}"


@cache
def _errors_of_object(manifest: str) -> tuple[str, ...]:
    """Return the errors of an object, which is given as JSON: most variants have the same ones."""
    parsed = json.loads(manifest)
    if parsed["apiVersion"] == cert_manager.VERSION:
        return tuple(cert_manager.errors_of(parsed))
    found = []
    for release in RELEASES:
        try:
            kubernetes_validate.validate(json.loads(manifest), release, strict=True)
        except kubernetes_validate.SchemaNotFoundError as error:
            found.append(f"Kubernetes {release}: {error.message}")
        except kubernetes_validate.ValidationError as error:
            found.append(f"Kubernetes {release}: {error.json_path}: {error.message}")
    return tuple(found)


def main() -> int:
    """Print the errors to stderr; return 1 if there are any, else 0."""
    # The validator reads the schemas of a release, some MB, anew for each object.
    utils = kubernetes_validate.utils
    utils.schema_contents = cache(utils.schema_contents)
    status = 0
    for error in errors():
        sys.stderr.write(f"error: {error}\n")
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
