"""The certificates that an overlay orders from cert-manager, and the services that use them."""

from __future__ import annotations

import re
import shutil
import subprocess
import textwrap
from pathlib import Path, PurePath

import pytest
from tests.manifests.cert_manager import errors_of, hours
from tests.manifests.rendered import (
    MODELS,
    OVERLAYS,
    REPOSITORY,
    SCRIPTS,
    Manifest,
    Manifests,
    render,
    rendered,
)
from tests.manifests.variants import ON_TOP, Variant, write

from spincycle.access.token_file import TokenFile
from spincycle.identity.grant_key_file import open_grant_keys
from spincycle.identity.service_identity import ServiceIdentity, server_name

PAGE = (REPOSITORY / "docs/how-to/operations.md").read_text()

WITH_TLS = tuple(overlay for overlay in OVERLAYS if rendered(overlay).certificates())

AUTHORITY = "internal-ca"

GRANT_KEYS = "append-grants"

ACCESS_TOKENS = "access-tokens"

OPERATORS = {GRANT_KEYS, ACCESS_TOKENS, "sealing-keys", "audit-key"}
"""Secrets that an operator creates."""

WARNING_HOURS = 7 * 24
"""A service warns that long before its certificate expires."""


@pytest.fixture(params=WITH_TLS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return rendered(request.param)


def ordered(manifests: Manifests, name: str, directory: PurePath) -> Manifest:
    """Return the specification of the certificate in the Secret that is mounted at a directory."""
    return manifests.certificates()[manifests.secrets(name)[str(directory)]]


def leaves(manifests: Manifests) -> dict[str, Manifest]:
    """Return the certificates that are not authorities."""
    return {name: spec for name, spec in manifests.certificates().items() if not spec.get("isCA")}


def test_production_has_identities_and_the_development_overlay_says_that_it_has_none() -> None:
    assert set(WITH_TLS) == {"prod", "prod-with-options"}
    for name in MODELS:
        text = str(rendered("dev").environment(name))
        assert ("ALLOW_" in text) != ("CERTIFICATE" in text)


@pytest.mark.parametrize("name", MODELS)
def test_a_service_with_certificates_accepts_no_unidentified_callers_and_no_plain_text(
    manifests: Manifests, name: str
) -> None:
    assert [key for key in manifests.environment(name) if "ALLOW" in key] == []


@pytest.mark.parametrize("name", MODELS)
def test_the_identity_of_a_service_is_the_only_uri_of_its_certificate_with_the_name_for_callers(
    manifests: Manifests, name: str
) -> None:
    internal = manifests.configuration(name).internal
    directory = internal.certificate.parent
    spec = ordered(manifests, name, directory)

    (uri,) = spec["uris"]
    identity = ServiceIdentity.parse(uri)
    assert (identity.service, identity.trust_domain) == (name, internal.trust_domain)
    assert spec["dnsNames"] == [server_name(name, internal.trust_domain)]
    assert {"server auth", "client auth"} <= set(spec["usages"])
    assert internal.certificate == directory / "tls.crt"
    assert internal.key == directory / "tls.key"
    assert internal.ca == directory / "ca.crt"


@pytest.mark.parametrize("name", ["request-manager", "job-log", "gateway"])
def test_a_public_certificate_is_for_every_name_of_the_service_and_is_no_identity(
    manifests: Manifests, name: str
) -> None:
    config = manifests.configuration(name)
    spec = ordered(manifests, name, config.tls.certificate.parent)
    namespace = manifests.of_kind("Service")[name]["metadata"]["namespace"]

    names = [name, f"{name}.{namespace}", f"{name}.{namespace}.svc"]
    assert spec["dnsNames"] == [*names, f"{names[-1]}.cluster.local"]
    assert "uris" not in spec
    assert spec["usages"] == ["digital signature", "server auth"]
    assert config.tls.certificate.name == "tls.crt"
    assert config.tls.key == config.tls.certificate.parent / "tls.key"
    if name == "gateway":
        assert list(config.hosts) == spec["dnsNames"]


def test_each_private_key_is_mounted_by_one_service_and_that_of_the_authority_by_none(
    manifests: Manifests,
) -> None:
    mounting: dict[str, list[str]] = {secret: [] for secret in manifests.certificates()}
    for name in manifests.pods():
        for secret in set(manifests.secrets(name).values()) - OPERATORS:
            mounting[secret].append(name)

    assert mounting.pop(AUTHORITY) == []
    assert mounting == {secret: [secret.rpartition("-")[0]] for secret in mounting}


def test_request_managers_and_job_logs_and_no_others_mount_the_grant_keys(
    manifests: Manifests,
) -> None:
    mounting = {
        name: [path for path, secret in manifests.secrets(name).items() if secret == GRANT_KEYS]
        for name in manifests.pods()
    }

    assert {name for name, paths in mounting.items() if paths} == {"request-manager", "job-log"}
    for name in ("request-manager", "job-log"):
        (path,) = mounting[name]
        assert manifests.configuration(name).append_grant_keys == PurePath(path, "keys")


def test_all_services_that_people_call_and_no_others_mount_the_tokens(
    manifests: Manifests,
) -> None:
    mounting = {
        name: [path for path, secret in manifests.secrets(name).items() if secret == ACCESS_TOKENS]
        for name in manifests.pods()
    }

    callable_ = {"request-manager", "job-log", "gateway"}
    assert {name for name, paths in mounting.items() if paths} == callable_
    for name in callable_:
        (path,) = mounting[name]
        assert manifests.configuration(name).auth.token_file == PurePath(path, "tokens.yaml")
        assert not manifests.configuration(name).auth.none


def test_files_of_secrets_are_readable_by_the_group_of_the_process_only(
    manifests: Manifests,
) -> None:
    for name in MODELS:
        context = manifests.pods()[name]["spec"]["securityContext"]
        assert context["fsGroup"] == context["runAsGroup"], name
        for path in manifests.secrets(name):
            assert manifests.mounts(name)[path]["secret"]["defaultMode"] == 0o440, (name, path)
    for name in MODELS:
        for mount in manifests.container(name)["volumeMounts"]:
            if mount["mountPath"] in manifests.secrets(name):
                assert mount["readOnly"] is True, (name, mount["mountPath"])
                assert "subPath" not in mount, "a renewal would never be seen"


def test_one_authority_of_the_namespace_issues_all_certificates(manifests: Manifests) -> None:
    issuers = {name: issuer["spec"] for name, issuer in manifests.of_kind("Issuer").items()}
    authority = manifests.certificates()[AUTHORITY]

    assert authority["isCA"] is True
    assert issuers[authority["issuerRef"]["name"]] == {"selfSigned": {}}
    for name, spec in leaves(manifests).items():
        assert issuers[spec["issuerRef"]["name"]] == {"ca": {"secretName": AUTHORITY}}, name
        assert spec["issuerRef"]["kind"] == "Issuer", name


def test_certificates_are_renewed_before_services_warn_and_before_their_authority_expires(
    manifests: Manifests,
) -> None:
    authority = manifests.certificates()[AUTHORITY]
    for name, spec in leaves(manifests).items():
        assert WARNING_HOURS < hours(spec["renewBefore"]) < hours(spec["duration"]), name
        assert hours(spec["duration"]) < hours(authority["renewBefore"]), name


def test_renewals_change_each_key_but_that_of_the_authority(manifests: Manifests) -> None:
    policies = {
        name: spec["privateKey"]["rotationPolicy"]
        for name, spec in manifests.certificates().items()
    }

    assert policies.pop(AUTHORITY) == "Never", (
        "services with renewed certificates would refuse the others"
    )
    assert set(policies.values()) == {"Always"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_and_services_name_the_protocol_that_the_listeners_speak(overlay: str) -> None:
    manifests = rendered(overlay)
    grpc, scheme = ("https", "HTTPS") if overlay in WITH_TLS else ("kubernetes.io/h2c", "HTTP")

    for name in ("request-manager", "job-log", "gateway"):
        expected = scheme.lower() if name == "gateway" else grpc
        for port in manifests.of_kind("Service")[name]["spec"]["ports"]:
            assert port["appProtocol"] == expected, (name, port["name"])
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = manifests.container("gateway")[probe]["httpGet"]
        assert asked.get("scheme", "HTTP") == scheme, probe


def block(language: str, beginning: str) -> str:
    """Return the block of code on the operations page that begins with a text."""
    blocks = re.finditer(rf"^( *)```{language}\n(.*?)\n\1```", PAGE, re.DOTALL | re.MULTILINE)
    (found,) = [each[2] for each in blocks if each[2].strip().startswith(beginning)]
    return textwrap.dedent(found)


def test_the_documented_secret_has_the_grant_keys_where_the_services_read_them(
    tmp_path: Path,
) -> None:
    make, create = block("console", "$ spincycle grant-keys").splitlines()
    made = subprocess.run(
        [SCRIPTS / "spincycle", *make.split()[2:]],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert made.returncode == 0, made.stderr
    key, _, file = create.partition("--from-file=")[2].partition("=")
    assert open_grant_keys(tmp_path / file, required=True)
    for name in ("request-manager", "job-log"):
        manifests = rendered("prod")
        path = manifests.configuration(name).append_grant_keys
        assert path.name == key
        assert f"generic {manifests.secrets(name)[str(path.parent)]} " in create


def test_the_documented_secret_has_the_tokens_where_the_services_read_them(
    tmp_path: Path,
) -> None:
    make, create = block("console", "$ spincycle tokens").splitlines()
    made = subprocess.run(
        [SCRIPTS / "spincycle", *make.split()[2:]],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert made.returncode == 0, made.stderr
    file = create.partition("--from-file=")[2]
    assert TokenFile(tmp_path / file)
    for name in ("request-manager", "job-log", "gateway"):
        manifests = rendered("prod")
        path = manifests.configuration(name).auth.token_file
        assert path.name == file
        assert f"generic {manifests.secrets(name)[str(path.parent)]} " in create


def test_the_documented_secrets_have_the_keys_where_request_managers_read_them(
    tmp_path: Path,
) -> None:
    steps = block("console", "$ spincycle secrets").splitlines()
    manifests = rendered("prod")
    config = manifests.configuration("request-manager")
    for make, create, path in zip(
        steps[::2],
        steps[1::2],
        (config.secrets.key_file, config.audit.signing_key),
        strict=True,
    ):
        made = subprocess.run(
            [SCRIPTS / "spincycle", *make.split()[2:]],
            check=False,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

        assert made.returncode == 0, made.stderr
        key, _, file = create.partition("--from-file=")[2].rpartition("=")
        assert (tmp_path / file).exists()
        assert path.name == (key or PurePath(file).name)
        assert f"generic {manifests.secrets('request-manager')[str(path.parent)]} " in create


def test_the_documented_steps_replace_each_certificate_and_wait_for_each_identity() -> None:
    words = block("console", "$ kubectl -n spincycle delete secret internal-ca").split()

    assert set(rendered("prod").certificates()) <= set(words)
    identities = {f"secret/{name}-identity" for name in MODELS}
    assert {f"secret/{AUTHORITY}", *identities} == {w for w in words if w.startswith("secret/")}


def test_the_documented_patch_lets_another_issuer_sign_the_public_certificate(
    tmp_path: Path,
) -> None:
    root = shutil.copytree(REPOSITORY / "k8s", tmp_path / "k8s")
    on_top = write(Variant("prod", ON_TOP), root)
    with (on_top / "kustomization.yaml").open("a") as file:
        file.write(block("yaml", "patches:"))

    manifests = render(on_top)

    certificate = manifests.of_kind("Certificate")["gateway-public"]
    assert list(errors_of(certificate)) == []
    assert certificate["spec"]["issuerRef"]["kind"] == "ClusterIssuer"
    others = rendered("prod").certificates() | {"gateway-public": certificate["spec"]}
    assert manifests.certificates() == others
