"""The manifests hold together whichever image and components an operator chooses, and where."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from tests.manifests.rendered import (
    DIRECTORIES,
    MODELS,
    OVERLAYS,
    REPOSITORY,
    Manifest,
    Manifests,
    render,
    rendered,
)
from tests.manifests.variants import (
    COMPONENTS,
    IMAGES,
    ON_TOP,
    WITH_COMPONENTS,
    WITH_IMAGES,
    Variant,
    rendered_variant,
    write,
)

from spincycle.runtime.config import print_config

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

PART_OF = "app.kubernetes.io/part-of"

WITHOUT_NAMESPACE = {"Namespace"}
"""The kinds in these manifests whose objects belong to the cluster."""


def job_of_migrations(manifests: Manifests) -> str:
    """Name of the only Job."""
    (name,) = manifests.of_kind("Job")
    return name


def fields(value: object, name: str) -> list[Manifest]:
    """All maps that a manifest has under a key, at any depth."""
    found: list[Manifest] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == name:
                found.append(inner)
            found += fields(inner, name)
    elif isinstance(value, list):
        for inner in value:
            found += fields(inner, name)
    return found


@pytest.mark.parametrize("variant", WITH_IMAGES, ids=str)
def test_every_workload_has_the_image_that_the_operator_names(variant: Variant) -> None:
    manifests = rendered_variant(variant)

    workloads = manifests.pods().keys() - {"postgres"}
    assert {name: manifests.container(name)["image"] for name in workloads} == dict.fromkeys(
        workloads, variant.image
    )


@pytest.mark.parametrize("variant", WITH_IMAGES, ids=str)
def test_the_name_of_the_migration_job_is_a_dns_label_with_a_hash(variant: Variant) -> None:
    name = job_of_migrations(rendered_variant(variant))

    assert DNS_LABEL.fullmatch(name)
    assert re.fullmatch(r"migrate-[a-z0-9]{10}", name), (
        "kustomize appended no hash: another image would be refused, because a Job is immutable"
    )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_image_has_a_migration_job_of_its_own_wherever_it_is_named(overlay: str) -> None:
    names: dict[str, set[str]] = {}
    for variant in WITH_IMAGES:
        if variant.overlay == overlay:
            job = job_of_migrations(rendered_variant(variant))
            names.setdefault(variant.image, set()).add(job)
    original = job_of_migrations(rendered(overlay))

    assert all(len(same) == 1 for same in names.values()), names
    assert len({original}.union(*names.values())) == len(IMAGES) + 1


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_rendering_again_gives_the_same_migration_job(overlay: str) -> None:
    again = render(REPOSITORY / "k8s/overlays" / overlay)

    assert again.of_kind("Job") == rendered(overlay).of_kind("Job")


def test_a_migration_job_that_ended_is_removed_after_a_day(manifests: Manifests) -> None:
    (job,) = manifests.of_kind("Job").values()

    assert job["spec"]["ttlSecondsAfterFinished"] == 24 * 60 * 60
    assert "annotations" not in job["metadata"], "the annotation is meant for kustomize only"


def belongs_together(manifests: Manifests) -> None:
    """Assert that every object is in the only namespace and part of Spin Cycle."""
    (namespace,) = manifests.of_kind("Namespace")
    for manifest in manifests.all:
        metadata, kind = manifest["metadata"], manifest["kind"]
        expected = None if kind in WITHOUT_NAMESPACE else namespace
        assert metadata.get("namespace") == expected, (kind, metadata["name"])
        assert metadata["labels"][PART_OF] == "spincycle", (kind, metadata["name"])


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_each_object_has_its_namespace_and_the_label_of_the_whole(directory: str) -> None:
    belongs_together(render(REPOSITORY / "k8s" / directory))


@pytest.mark.parametrize("variant", WITH_IMAGES + WITH_COMPONENTS, ids=str)
def test_each_object_of_a_variant_has_its_namespace_and_the_label_of_the_whole(
    variant: Variant,
) -> None:
    belongs_together(rendered_variant(variant))


@pytest.mark.parametrize("namespaced", ["overlays/prod", "overlays/on-top"])
def test_the_objects_of_components_follow_the_services_to_another_namespace(
    tmp_path: Path, namespaced: str
) -> None:
    root = shutil.copytree(REPOSITORY / "k8s", tmp_path / "k8s")
    added = tuple(name for name in COMPONENTS if name != "tls")
    on_top = write(Variant("prod", ON_TOP, components=added), root)
    file = root / namespaced / "kustomization.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"namespace": "elsewhere"}))

    manifests = render(on_top)

    belongs_together(manifests)
    assert list(manifests.of_kind("Namespace")) == ["elsewhere"]


@pytest.mark.parametrize("variant", WITH_COMPONENTS, ids=str)
def test_components_change_nothing_of_an_overlay_but_its_runners_and_tls_its_services(
    variant: Variant,
) -> None:
    changed = {
        manifest["metadata"]["name"]
        for manifest in rendered(variant.overlay).all
        if manifest not in rendered_variant(variant).all and manifest["kind"] != "ConfigMap"
    }

    assert changed == (set(MODELS) if "tls" in variant.components else {"job-runner"})


@pytest.mark.parametrize(
    "variant", [variant for variant in WITH_COMPONENTS if "tls" in variant.components], ids=str
)
@pytest.mark.parametrize("name", MODELS)
def test_the_component_tls_makes_of_another_overlay_what_it_makes_of_prod(
    variant: Variant, name: str
) -> None:
    manifests, prod = rendered_variant(variant), rendered("prod")

    assert manifests.certificates() == prod.certificates()
    assert print_config(manifests.configuration(name)) == print_config(prod.configuration(name))
    assert manifests.mounts(name) == prod.mounts(name)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert manifests.container(name)[probe] == prod.container(name)[probe]
    assert manifests.of_kind("Service").get(name) == prod.of_kind("Service").get(name)


@pytest.mark.parametrize("variant", WITH_COMPONENTS, ids=str)
def test_each_reference_to_a_field_names_the_version_of_the_api(variant: Variant) -> None:
    # Otherwise the API server adds it, and kubectl's server-side apply has a conflict.
    references = fields(list(rendered_variant(variant).all), "fieldRef")

    assert references
    assert {reference["apiVersion"] for reference in references} == {"v1"}
